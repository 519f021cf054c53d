-- op.lua - an op's declaration taken apart: tensors, scalars, settings, and the values that a request gives them.
--
-- tensors: "NAME DIM DIM ... [dtype] [own] [in|out] [?]": dims are capital; a dtype fixes it; `own` gives the tensor a setting
--   NAME_dtype (default: the op's dtype); `?` makes it optional, with a setting NAME=yes|no.
-- scalars: "NAME dtype [= default]".
local text = use "kiln.text"
local op = {}

local DTYPES = { "bf16", "f16", "f32" } -- of activations; the first is the default
local FIXED = { "f64", "f32", "f16", "bf16", "i64", "i32", "u8", "bool" }

local function is_dim(word)
  local c = string.byte(word, 1)
  return c >= 65 and c <= 90
end

local function parse_tensor(spec)
  local words = text.split(spec, " ")
  local t = { name = words[1], dims = {}, spec = spec }
  for i = 2, #words do
    local w = words[i]
    if w == "?" then t.optional = true
    elseif w == "own" then t.own = true
    elseif w == "out" then t.out = true
    elseif w == "in" then t.out = nil
    elseif is_dim(w) then table.insert(t.dims, w)
    elseif text.has(FIXED, w) then t.fixed = w
    else error("tensor \"" .. spec .. "\": '" .. w .. "' is neither a dim (capital), a dtype, own, out, nor ?") end
  end
  t.out = t.out or false
  return t
end

local function parse_scalar(spec)
  local words = text.split(spec, " ")
  local s = { name = words[1], dtype = words[2] or "f32" }
  if words[3] == "=" then
    s.default = tonumber(words[4])
    if not s.default then error("scalar \"" .. spec .. "\": the default is not a number") end
  end
  return s
end

-- declared: the table that the script gave; family fills in defaults and its own settings.
function op.new(name, declared, family)
  if type(name) ~= "string" or name == "" then error("an op needs a name: family.op \"name\" { ... }", 3) end
  if type(declared) ~= "table" or type(declared.tensors) ~= "table" then error("op '" .. name .. "' needs a list `tensors`", 3) end
  local o = { name = name, doc = declared.doc or "", family = family, declared = declared, is_op = true, specs = {}, scalar_specs = {}, settings = {} }
  for _, spec in ipairs(declared.tensors) do table.insert(o.specs, parse_tensor(spec)) end
  for _, spec in ipairs(declared.scalars or {}) do table.insert(o.scalar_specs, parse_scalar(spec)) end
  local function setting(key, values, kind) table.insert(o.settings, { key = key, values = values, kind = kind }) end
  setting("dtype", declared.dtypes or DTYPES, "dtype")
  for _, t in ipairs(o.specs) do
    if t.optional then setting(t.name, t.out and { "no", "yes" } or declared.absent and declared.absent[t.name] and { "no", "yes" } or { "yes", "no" }, "presence") end
    if t.own then setting(t.name .. "_dtype", { "same", "bf16", "f16", "f32" }, "own") end
  end
  for _, s in ipairs(family.settings or {}) do setting(s.key, s.values, s.kind) end
  for key, values in pairs(declared.settings or {}) do setting(key, values, "option") end
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
  local inst = { name = o.name, doc = o.doc, op = o, declared = o.declared, values = values, tensors = {}, scalars = o.scalar_specs, by_name = {}, dims = {}, cases = o.declared.cases }
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
    if s.key ~= "dtype" and v ~= s.values[1] then name = name .. "-" .. (v == "yes" and s.key or v == "no" and "no_" .. s.key or s.kind == "option" and v or s.key .. "_" .. v) end
  end
  return name
end

return op
