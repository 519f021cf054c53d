-- op.lua - an op's declaration taken apart: tensors, scalars, settings, and the values that a request gives them.
--
-- tensors: "NAME DIM DIM ... [dtype] [own] [in|out] [?]": dims are capital; a dtype fixes it; `own` gives the tensor a setting
--   NAME_dtype (default: the op's dtype); `?` makes it optional, with a setting NAME=yes|no.
-- scalars: "NAME dtype [= default]".
local text = use "kiln.text"
local op = {}

local DTYPES = { "bf16", "f16", "f32" } -- of activations; the first is the default
local FIXED = { "f64", "f32", "f16", "bf16", "i64", "i32", "u8", "bool" }
local SCALARS = { "f32", "f64", "i32", "i64" }

local function is_dim(word)
  local c = string.byte(word, 1)
  return c >= 65 and c <= 90
end

local function is_name(word)
  for i = 1, #word do
    local c = string.byte(word, i)
    local letter = c == 95 or c >= 65 and c <= 90 or c >= 97 and c <= 122
    if not letter and (i == 1 or c < 48 or c > 57) then return false end
  end
  return #word >= 1 and #word <= 40
end

-- Stops with a mistake in the op's declaration, at its place in the script.
function op.fail(o, message)
  core.at(o.loc[1], o.loc[2])
  error("op '" .. o.name .. "': " .. message, 0)
end

local function parse_tensor(spec)
  local words = type(spec) == "string" and text.split(spec, " ") or {}
  if #words == 0 then error("a tensor is a text \"NAME DIM ... [dtype] [own] [out] [?]\"") end
  local t = { name = words[1], dims = {}, spec = spec }
  for i = 2, #words do
    local w = words[i]
    if w == "?" then t.optional = true
    elseif w == "own" then t.own = true
    elseif w == "out" then t.out = true
    elseif w == "in" then t.out = nil
    elseif is_dim(w) then
      if text.has(t.dims, w) then error("tensor \"" .. spec .. "\" has the dim " .. w .. " twice") end
      table.insert(t.dims, w)
    elseif text.has(FIXED, w) then t.fixed = w
    else error("tensor \"" .. spec .. "\": '" .. w .. "' is neither a dim (capital), a dtype, own, out, nor ?") end
  end
  t.out = t.out or false
  return t
end

local function parse_scalar(spec)
  local words = type(spec) == "string" and text.split(spec, " ") or {}
  local well = #words == 1 or #words == 2 or #words == 4 and words[3] == "="
  if not well then error("scalar \"" .. tostring(spec) .. "\": expected \"NAME dtype [= default]\"") end
  local s = { name = words[1], dtype = words[2] or "f32" }
  if not text.has(SCALARS, s.dtype) then error("scalar \"" .. spec .. "\": its dtype is one of " .. table.concat(SCALARS, ", ")) end
  if words[4] then
    s.default = tonumber(words[4])
    if not s.default then error("scalar \"" .. spec .. "\": the default is not a number") end
    local whole = s.dtype == "i32" or s.dtype == "i64"
    if whole and not math.tointeger(s.default) then error("scalar \"" .. spec .. "\": the default is not a whole number") end
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
  o.family.names(o, claim)
end

local function add_setting(o, key, values, kind)
  for _, s in ipairs(o.settings) do
    if s.key == key then
      op.fail(o, "two settings are called '" .. key .. "' (tensors that may be left out or have a dtype of their own make settings, too)")
    end
  end
  if not is_name(key) then op.fail(o, "'" .. tostring(key) .. "' is no name for a setting") end
  if type(values) ~= "table" or #values == 0 then op.fail(o, "setting '" .. key .. "' is a list of words, the default first") end
  for _, v in ipairs(values) do
    if type(v) ~= "string" or not is_name(v) then op.fail(o, "setting '" .. key .. "': '" .. tostring(v) .. "' is no word") end
  end
  table.insert(o.settings, { key = key, values = values, kind = kind })
end

-- declared: the table that the script gave, at loc. family: its functions check the declaration, its settings join the op's.
function op.new(name, declared, family, loc)
  core.at(loc[1], loc[2]) -- mistakes here are about the declaration
  if type(name) ~= "string" or not is_name(name) then error("an op needs a name of letters, digits and _: family.op \"name\" { ... }") end
  if type(declared) ~= "table" or type(declared.tensors) ~= "table" then error("op '" .. name .. "' needs a list `tensors`") end
  local o = {
    name = name, doc = declared.doc or "", family = family, declared = declared, is_op = true,
    specs = {}, scalar_specs = {}, settings = {}, dims = {}, loc = loc,
  }
  if type(o.doc) ~= "string" then op.fail(o, "doc is a text") end
  if #declared.tensors == 0 then op.fail(o, "the list `tensors` is empty") end
  for _, spec in ipairs(declared.tensors) do table.insert(o.specs, parse_tensor(spec)) end
  for _, spec in ipairs(declared.scalars or {}) do table.insert(o.scalar_specs, parse_scalar(spec)) end
  for _, t in ipairs(o.specs) do
    for _, d in ipairs(t.dims) do if not text.has(o.dims, d) then table.insert(o.dims, d) end end
  end
  for _, d in ipairs(declared.dtypes or {}) do
    if not text.has(DTYPES, d) then op.fail(o, "dtypes: '" .. tostring(d) .. "' is none of " .. table.concat(DTYPES, ", ")) end
  end
  add_setting(o, "dtype", declared.dtypes or DTYPES, "dtype")
  for _, t in ipairs(o.specs) do
    if t.optional then
      local absent = t.out or declared.absent and declared.absent[t.name]
      add_setting(o, t.name, absent and { "no", "yes" } or { "yes", "no" }, "presence")
    end
    if t.own then add_setting(o, t.name .. "_dtype", { "same", "bf16", "f16", "f32" }, "own") end
  end
  for _, s in ipairs(family.settings or {}) do add_setting(o, s.key, s.values, s.kind) end
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
  local inst = {
    name = o.name, doc = o.doc, op = o, declared = o.declared, values = values, tensors = {},
    scalars = o.scalar_specs, by_name = {}, dims = {}, cases = o.declared.cases,
  }
  for _, spec in ipairs(o.specs) do
    local t = { name = spec.name, dims = spec.dims, out = spec.out, optional = spec.optional or false, present = true }
    local own = spec.own and values[spec.name .. "_dtype"]
    t.dtype = spec.fixed or (own and own ~= "same" and own) or values.dtype
    if spec.optional then t.present = values[spec.name] == "yes" end
    table.insert(inst.tensors, t)
    inst.by_name[t.name] = t
    for _, d in ipairs(t.dims) do if not text.has(inst.dims, d) then table.insert(inst.dims, d) end end
  end
  return inst
end

-- "dtype=bf16 w=yes act=none": every setting, for the contract's set line.
function op.values_text(inst)
  local list = {}
  for _, s in ipairs(inst.op.settings) do table.insert(list, s.key .. "=" .. inst.values[s.key]) end
  return table.concat(list, " ")
end

-- For the variant's name: the dtype, then what differs from the defaults.
function op.values_name(inst)
  local name = inst.values.dtype
  for _, s in ipairs(inst.op.settings) do
    local v = inst.values[s.key]
    if s.key ~= "dtype" and v ~= s.values[1] then
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
    out = out .. (ch == "-" and "_" or ch)
  end
  return out
end

return op
