-- contract.lua - composes the lines of a file's contract (docs/contract.md).
local op = use "kiln.op"
local scope = use "kiln.scope"
local contract = {}

-- A stage of a chain writes into its scope.
function contract.line(fmt, ...)
  local line = string.format(fmt, ...)
  if scope.current then scope.current:line(line) else core.contract(line) end
end

-- Lines that every file begins with.
function contract.begin(inst, schedule)
  if scope.current then
    scope.current.schedule = schedule
    return
  end
  contract.line("kiln 1")
  contract.line("op %s", inst.name)
  contract.line("target %s", core.target.name)
  contract.line("set %s", op.values_text(inst))
  for _, s in ipairs(inst.op.settings) do
    if s.kind == "option" and inst.values[s.key] then contract.line("option %s %s default %s", s.key, inst.values[s.key], s.values[1]) end
  end
  contract.line("schedule %s", schedule)
end

-- A tensor's line. dims: list of names or numbers; strides: names, or "1".
function contract.tensor(t, dims, strides, align, tail)
  if scope.current then return scope.current:tensor(t, dims, strides, align, tail) end
  contract.line("tensor %s %s %s [%s] strides [%s] align %d%s", t.name, t.out and "out" or "in", t.dtype,
    table.concat(dims, ","), table.concat(strides, ","), align, tail and " " .. tail or "")
end

-- Where a dim is the first one of all tensors that have it, callers' tensors may have several leading dims in its place, as long as they lie as
-- one: it gets three more before it, which collapse with it. Names that this takes, beside the op's own:
function contract.lead_names(specs, dim)
  local names = {}
  for i = 0, 2 do
    table.insert(names, dim .. "_lead" .. i)
    for _, t in ipairs(specs) do if t.dims[1] == dim then table.insert(names, t.name .. "_lead" .. i) end end
  end
  return names
end

-- nil: there are no such dims. Otherwise a function that gives a tensor its dims, strides and words with them.
function contract.leading(tensors, dim)
  if scope.current then return nil end
  for _, t in ipairs(tensors) do
    for i, d in ipairs(t.present and t.dims or {}) do if d == dim and i > 1 then return nil end end
  end
  contract.line("collapse %s_lead0 %s_lead1 %s_lead2 %s", dim, dim, dim, dim)
  return function(t, dims, strides)
    if t.dims[1] ~= dim then return dims, strides, nil end
    local all, named = {}, {}
    for i = 0, 2 do all[i + 1], named[i + 1] = dim .. "_lead" .. i, t.name .. "_lead" .. i end
    for i = 1, #dims do all[i + 3], named[i + 3] = dims[i], strides[i] end
    return all, named, "lead 4"
  end
end

function contract.require_rows(dim)
  contract.line("require %s_lead0*%s_lead1*%s_lead2==1 \"the leading dims lie as the rows of one matrix do\"", dim, dim, dim)
end

-- Kernels compute in f32: other scalars reach them as a derived value NAME_f32.
function contract.scalar(s)
  if scope.current then return scope.current:scalar(s) end
  if s.call then
    contract.line("scalar %s %s call", s.name, s.dtype)
    return
  end
  contract.line("scalar %s %s%s", s.name, s.dtype, s.default and string.format(" default %.17g", s.default) or "")
  if s.dtype ~= "f32" then contract.line("derived %s_f32 f32 %s", s.name, s.name) end
end

contract.bytes_of = { f64 = 8, f32 = 4, f16 = 2, bf16 = 2, i64 = 8, i32 = 4, e4m3 = 1, e5m2 = 1, i8 = 1, u8 = 1, bool = 1 }

return contract
