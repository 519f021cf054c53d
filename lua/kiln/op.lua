-- op.lua - an op's declaration taken apart: tensors, scalars, settings, and the values that a request gives them.
--
-- tensors: "NAME DIM DIM ... [dtype] [own] [in|out] [saved] [const] [as OTHER] [with OTHER] [over OTHER] [?]":
--   dims are capital; one in brackets, "[B]", may be left out, with a setting NAME_B=no|yes
--   a dtype fixes it; `own` gives the tensor a setting NAME_dtype (default: the op's dtype); "e4m3|e5m2" a setting NAME_dtype of these
--   `finite`: an input of which nothing is said where it is infinite
--   `strided`: its last dim may have any stride, too, where a family wants it contiguous else
--   `?` makes it optional, with a setting NAME=yes|no; `with`: it is there exactly where OTHER is
--   `as`: it has OTHER's dtype and optional dims, and is absent where OTHER is
--   `saved`: an output for the backward only; `const`: an input without gradient; `over`: an output that may be OTHER's memory
-- scalars: "NAME dtype [= default] [call]"; `call`: it may change at each launch.
local text = use "kiln.text"
local op = {}

local DTYPES = { "bf16", "f16", "f32" } -- of activations; the first is the default
local FIXED = { "f64", "f32", "f16", "bf16", "e4m3", "e5m2", "i64", "i32", "u8", "i8", "bool" }
local SCALARS = { "f32", "f64", "i32", "i64" }

local function is_dim(word)
  local c = string.byte(word, 1)
  return c >= 65 and c <= 90
end

local function is_word(word)
  for i = 1, #word do
    local c = string.byte(word, i)
    if c ~= 95 and (c < 65 or c > 90) and (c < 97 or c > 122) and (c < 48 or c > 57) then return false end
  end
  return #word >= 1 and #word <= 40
end

-- A word that does not begin with a digit.
local function is_name(word)
  local c = string.byte(word, 1)
  return is_word(word) and (c < 48 or c > 57)
end

op.is_name = is_name

-- Stops with a mistake in the op's declaration, at its place in the script.
function op.fail(o, message)
  core.at(o.loc[1], o.loc[2])
  error("op '" .. o.name .. "': " .. message, 0)
end

local FLAGS = { ["?"] = "optional", own = "own", out = "out", saved = "saved", const = "const", strided = "strided", finite = "finite" }
local REFERS = { as = true, with = true, over = true }

-- The dim of "B" or "[B]"; nil: the word is none. Second: it may be left out.
local function dim_of(word)
  if string.byte(word, 1) ~= 91 then return is_dim(word) and word or nil end
  local inner = string.sub(word, 2, -2)
  return #inner > 0 and string.sub(word, -1) == "]" and is_dim(inner) and inner or nil, true
end

-- "e4m3|e5m2": dtypes to choose from, the first is the default.
local function choice_of(spec, word)
  local list = text.split(word, "|")
  for _, d in ipairs(list) do
    if not text.has(FIXED, d) then error("tensor \"" .. spec .. "\": '" .. d .. "' of '" .. word .. "' is no dtype") end
  end
  return list
end

local function parse_tensor(spec)
  local words = type(spec) == "string" and text.split(spec, " ") or {}
  if #words == 0 then error("a tensor is a text \"NAME DIM ... [dtype] [own] [out] [?]\"") end
  local t = { name = words[1], dims = {}, maybe = {}, spec = spec }
  local i = 2
  while i <= #words do
    local w = words[i]
    local dim, maybe = dim_of(w)
    if FLAGS[w] then t[FLAGS[w]] = true
    elseif REFERS[w] then
      i = i + 1
      t[w] = words[i] or error("tensor \"" .. spec .. "\": '" .. w .. "' names a tensor")
    elseif w == "in" then t.out = nil
    elseif dim then
      if text.has(t.dims, dim) then error("tensor \"" .. spec .. "\" has the dim " .. dim .. " twice") end
      table.insert(t.dims, dim)
      t.maybe[dim] = maybe
    elseif text.has(FIXED, w) then
      if t.fixed then error("tensor \"" .. spec .. "\": has the dtypes " .. t.fixed .. " and " .. w) end
      t.fixed = w
    elseif string.find(w, "|", 1, true) then t.choice = choice_of(spec, w)
    else
      error("tensor \"" .. spec .. "\": '" .. w .. "' is neither a dim (capital), a dtype, own, out, saved, const, strided, finite, as, with, over, nor ?")
    end
    i = i + 1
  end
  t.out = t.out or false
  if (t.fixed and 1 or 0) + (t.choice and 1 or 0) + (t.own and 1 or 0) > 1 then
    error("tensor \"" .. spec .. "\": has one dtype, a choice such as e4m3|e5m2, or `own`")
  end
  if (t.saved or t.over) and not t.out then error("tensor \"" .. spec .. "\": only an output is saved or over another") end
  if t.const and t.out then error("tensor \"" .. spec .. "\": const is said of inputs") end
  return t
end

local LARGEST = { f32 = 0x1.fffffep127, f64 = 0x1.fffffffffffffp1023, i32 = 0x7fffffff, i64 = math.maxinteger }

local function parse_scalar(spec)
  local words = type(spec) == "string" and text.split(spec, " ") or {}
  local call = #words > 2 and words[#words] == "call"
  local count = call and #words - 1 or #words
  local well = count == 1 or count == 2 or count == 4 and words[3] == "="
  if not well then error("scalar \"" .. tostring(spec) .. "\": expected \"NAME dtype [= default] [call]\"") end
  local s = { name = words[1], dtype = words[2] or "f32", call = call }
  if not text.has(SCALARS, s.dtype) then error("scalar \"" .. spec .. "\": its dtype is one of " .. table.concat(SCALARS, ", ")) end
  if count == 4 then
    s.default = tonumber(words[4])
    if not s.default then error("scalar \"" .. spec .. "\": the default is not a number") end
    local whole = s.dtype == "i32" or s.dtype == "i64"
    if whole and not math.tointeger(s.default) then error("scalar \"" .. spec .. "\": the default is not a whole number") end
    local most = LARGEST[s.dtype]
    if s.default > most or s.default < -most - (whole and 1 or 0) then error("scalar \"" .. spec .. "\": the default is none that " .. s.dtype .. " has") end
  end
  return s
end

-- Names that a contract's expressions have already (docs/contract.md).
local TAKEN = { sms = "the number of SMs", bw = "the memory rate", tensor = "the tensor rate", log2e = "a constant" }

-- Tensors, scalars and what the family adds to a contract share one space of names. family.names(o, claim) claims its own.
local function check_names(o)
  local owner = {}
  for name, what in pairs(TAKEN) do owner[name] = what .. " of every contract" end
  local function claim(name, what)
    if owner[name] then op.fail(o, what .. " is called '" .. name .. "' like " .. owner[name] .. "; give it another name") end
    owner[name] = what
  end
  for _, t in ipairs(o.specs) do
    if not is_name(t.name) then op.fail(o, "'" .. t.name .. "' is no name for a tensor; letters, digits and _ make one, 40 at most") end
    claim(t.name, "a tensor")
  end
  for _, s in ipairs(o.scalar_specs) do
    if not is_name(s.name) then op.fail(o, "'" .. s.name .. "' is no name for a scalar; letters, digits and _ make one, 40 at most") end
    claim(s.name, "a scalar")
    if s.dtype ~= "f32" then claim(s.name .. "_f32", "scalar '" .. s.name .. "' as f32") end
  end
  for _, d in ipairs(o.dims) do claim(d, "a dim") end
  for _, s in ipairs(o.settings) do -- what an op's function reads by its name, too
    if s.kind == "option" and owner[s.key] then op.fail(o, "a setting is called '" .. s.key .. "' like " .. owner[s.key] .. "; give it another name") end
  end
  o.family.names(o, claim)
end

-- of: the value of the setting `dtype` for which there is this one; nil: any. Its key is that dtype's name.
local function add_setting(o, key, values, kind, of)
  for _, s in ipairs(o.settings) do
    if s.key == key then
      op.fail(o, "two settings are called '" .. key .. "' (tensors that may be left out or have a dtype of their own make settings, too)")
    end
  end
  if not is_name(key) then op.fail(o, "'" .. tostring(key) .. "' is no name for a setting") end
  if type(values) ~= "table" or #values == 0 then op.fail(o, "setting '" .. key .. "' is a list of words, the default first") end
  for _, v in ipairs(values) do
    if type(v) ~= "string" or not is_word(v) then op.fail(o, "setting '" .. key .. "': '" .. tostring(v) .. "' is no word") end
  end
  table.insert(o.settings, { key = key, values = values, kind = kind, of = of })
end

op.add_setting = add_setting -- for what a family adds once it has looked at the op

-- Is there this setting, under these values of the others?
local function applies(s, values) return not s.of or values.dtype == s.of end

local function find(list, name)
  for _, t in ipairs(list) do if t.name == name then return t end end
end

local function position(list, t)
  for i, other in ipairs(list) do if other == t then return i end end
end

-- What `as`, `with` and `over` name is another tensor of the op; nothing follows itself.
local function check_references(o)
  for _, t in ipairs(o.all_specs) do
    for word in pairs(REFERS) do
      local other = t[word] and find(o.all_specs, t[word])
      if t[word] and (not other or other == t) then op.fail(o, "tensor '" .. t.name .. "': there is no other tensor '" .. t[word] .. "'") end
    end
    local at, steps = t, 0
    while at.with or at.as do
      at, steps = find(o.all_specs, at.with or at.as), steps + 1
      if not at then break end -- said when its turn comes
      if steps > #o.all_specs then op.fail(o, "tensor '" .. t.name .. "' follows itself") end
    end
    local under = t.over and find(o.all_specs, t.over)
    if under and (under.out or table.concat(under.dims, " ") ~= table.concat(t.dims, " ")) then
      op.fail(o, "tensor '" .. t.name .. "' is over '" .. t.over .. "', which is no input of the same dims")
    end
    if under and position(o.all_specs, under) > position(o.all_specs, t) then -- a contract names what is there before
      op.fail(o, "tensor '" .. t.name .. "' is over '" .. t.over .. "', which stands behind it in the list; an output stands behind what it is over")
    end
    if t.with and t.as then op.fail(o, "tensor '" .. t.name .. "': `as` says `with`, too") end
  end
end

local function add_tensor_settings(o, t)
  if t.optional and not t.with then
    local absent = t.out
    if o.declared.absent and o.declared.absent[t.name] ~= nil then absent = o.declared.absent[t.name] end
    add_setting(o, t.name, absent and { "no", "yes" } or { "yes", "no" }, "presence")
  end
  for _, d in ipairs(t.dims) do if t.maybe[d] and not t.as then add_setting(o, t.name .. "_" .. d, { "no", "yes" }, "dims") end end
  if t.own then add_setting(o, t.name .. "_dtype", { "same", "bf16", "f16", "f32" }, "own") end
  if t.choice then add_setting(o, t.name .. "_dtype", t.choice, "own") end
end

-- declared: the table that the script gave, at loc. family: its functions check the declaration, its settings join the op's.
-- declared.beside: tensors that are none of the op's own, yet have settings and may be followed (a gradient's: those of the op
-- it belongs to that it does not read).
function op.new(name, declared, family, loc)
  core.at(loc[1], loc[2]) -- mistakes here are about the declaration
  local base = type(name) == "string" and declared.gradient_of and string.sub(name, 1, -6) or name
  if type(base) ~= "string" or not is_name(base) then error("an op needs a name of letters, digits and _: family.op \"name\" { ... }") end
  if type(declared) ~= "table" or type(declared.tensors) ~= "table" then error("op '" .. name .. "' needs a list `tensors`") end
  local o = {
    name = name, doc = declared.doc or "", family = family, declared = declared, is_op = true,
    specs = {}, all_specs = {}, scalar_specs = {}, settings = {}, dims = {}, loc = loc,
  }
  if type(o.doc) ~= "string" then op.fail(o, "doc is a text") end
  if #declared.tensors == 0 then op.fail(o, "the list `tensors` is empty") end
  for _, spec in ipairs(declared.tensors) do table.insert(o.specs, parse_tensor(spec)) end
  for _, t in ipairs(o.specs) do table.insert(o.all_specs, t) end
  for _, spec in ipairs(declared.beside or {}) do table.insert(o.all_specs, parse_tensor(spec)) end
  for _, spec in ipairs(declared.scalars or {}) do table.insert(o.scalar_specs, parse_scalar(spec)) end
  for _, t in ipairs(o.specs) do
    for _, d in ipairs(t.dims) do if not text.has(o.dims, d) then table.insert(o.dims, d) end end
  end
  for _, d in ipairs(declared.dtypes or {}) do
    if not text.has(DTYPES, d) then op.fail(o, "dtypes: '" .. tostring(d) .. "' is none of " .. table.concat(DTYPES, ", ")) end
  end
  check_references(o)
  for name in pairs(not declared.gradient_of and declared.absent or {}) do -- a gradient's are derived
    local t = find(o.all_specs, name)
    if not t or not t.optional then op.fail(o, "absent: '" .. tostring(name) .. "' is no optional tensor; a field of it is NAME = true or false") end
  end
  add_setting(o, "dtype", declared.dtypes or DTYPES, "dtype")
  for _, t in ipairs(o.all_specs) do add_tensor_settings(o, t) end
  for _, s in ipairs(family.settings or {}) do add_setting(o, s.key, s.values, s.kind) end
  for key, values in pairs(declared.majors or {}) do add_setting(o, key, values, "major") end
  for key, values in pairs(declared.settings or {}) do add_setting(o, key, values, "option") end
  family.check(o)
  check_names(o)
  core.at()
  return o
end

function op.settings_text(o)
  local list = {}
  for _, s in ipairs(o.settings) do table.insert(list, s.key .. "=" .. table.concat(s.values, "|")) end
  return table.concat(list, " ")
end

-- The tensors under the values of the settings: first what each says of itself, then what it follows.
local function resolve(o, values)
  local made = {}
  for _, spec in ipairs(o.all_specs) do
    local own = spec.own and values[spec.name .. "_dtype"]
    local t = { name = spec.name, dims = {}, out = spec.out, optional = spec.optional or false, present = true, spec = spec }
    t.saved, t.const, t.over = spec.saved or false, spec.const or false, spec.over
    t.strided, t.finite = spec.strided or false, spec.finite or false
    t.dtype = spec.fixed or spec.choice and values[spec.name .. "_dtype"] or (own and own ~= "same" and own) or values.dtype
    if spec.optional and not spec.with then t.present = values[spec.name] == "yes" end
    made[spec.name] = t
  end
  -- What a tensor follows may itself follow another.
  local function root(spec) return spec.as and root(made[spec.as].spec) or spec end
  local function holds(spec, what)
    local other = spec.with or spec.as
    return made[spec.name][what], other and made[other].spec
  end
  local function is_present(spec)
    local own, other = holds(spec, "present")
    return own and (not other or is_present(other))
  end
  local function is_optional(spec)
    local own, other = holds(spec, "optional")
    return own or other ~= nil and is_optional(other)
  end
  for _, spec in ipairs(o.all_specs) do
    local t, as = made[spec.name], root(spec)
    t.dtype = made[as.name].dtype
    for _, d in ipairs(spec.dims) do
      if not spec.maybe[d] or values[as.name .. "_" .. d] == "yes" then table.insert(t.dims, d) end
    end
    if spec.with or spec.as then t.optional = is_optional(spec) end
  end
  for _, spec in ipairs(o.all_specs) do
    if not is_present(spec) then
      made[spec.name].present = false
      if values[spec.name] then values[spec.name] = "no" end
    end
  end
  return made
end

-- The op under a request: tensors with dtype and presence, scalars, and the settings' values.
function op.instance(o, set)
  local values = {}
  for _, s in ipairs(o.settings) do values[s.key] = s.values[1] end
  for _, key in ipairs(set or {}) do
    local known
    for _, s in ipairs(o.settings) do if s.key == key then known = s end end
    if not known then core.fail("op '" .. o.name .. "' has no setting '" .. key .. "'; it has " .. op.settings_text(o)) end
    if not text.has(known.values, set[key]) then
      core.fail("setting " .. key .. "=" .. set[key] .. " of op '" .. o.name .. "': expected one of " .. table.concat(known.values, ", "))
    end
    values[key] = set[key]
  end
  for _, s in ipairs(o.settings) do
    if not applies(s, values) then
      if set and set[s.key] then
        core.fail("setting " .. s.key .. " of op '" .. o.name .. "' is for dtype=" .. s.of .. "; here dtype is " .. values.dtype)
      end
      values[s.key] = nil
    end
  end
  local inst = {
    name = o.name, doc = o.doc, op = o, declared = o.declared, values = values, tensors = {},
    scalars = { table.unpack(o.scalar_specs) }, by_name = {}, dims = {}, cases = o.declared.cases,
  }
  local made = resolve(o, values)
  for _, spec in ipairs(o.specs) do
    local t = made[spec.name]
    table.insert(inst.tensors, t)
    inst.by_name[t.name] = t
  end
  if o.family.refine then o.family.refine(inst) end
  for _, t in ipairs(inst.tensors) do
    for _, d in ipairs(t.dims) do if not text.has(inst.dims, d) then table.insert(inst.dims, d) end end
  end
  return inst
end

-- The tensors that are there.
function op.present(inst)
  local list = {}
  for _, t in ipairs(inst.tensors) do if t.present then table.insert(list, t) end end
  return list
end

-- "dtype=bf16 w=yes act=none": every setting, for the contract's set line.
function op.values_text(inst)
  local list = {}
  for _, s in ipairs(inst.op.settings) do
    if applies(s, inst.values) then table.insert(list, s.key .. "=" .. inst.values[s.key]) end
  end
  return table.concat(list, " ")
end

-- For the variant's name: the dtype, then what differs from the defaults.
function op.values_name(inst)
  local name = inst.values.dtype
  for _, s in ipairs(inst.op.settings) do
    local v = inst.values[s.key]
    if v and s.key ~= "dtype" and v ~= s.values[1] then
      local short = v == "yes" and s.key or v == "no" and "no_" .. s.key or s.kind == "option" and v or s.key .. "_" .. v
      name = name .. "-" .. short
    end
  end
  return name
end

-- An entry's name: the variant's with _ for what PTX does not take.
function op.entry_name(name)
  local out = ""
  for i = 1, #name do
    local ch = string.sub(name, i, i)
    out = out .. ((ch == "-" or ch == ".") and "_" or ch)
  end
  return out
end

-- A function of an instance that is worked out once for each, and kept in its field `key`; what copies an instance copies the field, too.
function op.once(key, make)
  return function(inst)
    local kept = inst[key]
    if not kept or kept.of ~= inst then
      kept = { of = inst, value = make(inst) }
      inst[key] = kept
    end
    return kept.value
  end
end

return op
