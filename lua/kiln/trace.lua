-- trace.lua - an op's definition as a graph: nodes over whole tensors with named dims. The op's Lua function is called once
-- with values that record what is done to them; families lower the graph, `kiln check` evaluates it, autodiff will read it.
--
-- A node: { op, args, dims (set of names), dtype, value, dim, name, loc = {file, line}, index }.
local op_library = use "kiln.op"
local trace = {}

local T = {} -- metatable of traced tensors

local function is_node(v) return type(v) == "table" and v.op ~= nil and v.graph ~= nil end

local function new(graph, n)
  n.graph = graph
  n.args = n.args or {}
  n.dtype = n.dtype or "f32"
  if not n.dims then
    n.dims = {}
    for _, a in ipairs(n.args) do
      for d in pairs(a.dims) do n.dims[d] = true end
    end
  end
  local file, line = core.where()
  n.loc = { file, line }
  table.insert(graph.nodes, n)
  n.index = #graph.nodes
  return setmetatable(n, T)
end

-- Both operands of a binary function as nodes of one graph.
local function operands(...)
  local list, graph = { ... }, nil
  for _, v in ipairs(list) do if is_node(v) then graph = v.graph end end
  if not graph then error("a traced tensor is expected among the arguments", 3) end
  for i, v in ipairs(list) do
    if type(v) == "number" then
      list[i] = new(graph, { op = "const", value = v + 0.0 })
    elseif not is_node(v) then
      error("a traced tensor or a number is expected, argument " .. i .. " is a " .. type(v), 3)
    end
  end
  return graph, list
end

local function expect_number(op, l, from)
  for i = from or 1, #l do
    if l[i].dtype == "bool" then error(op .. ": a condition is no number; where(c, 1, 0) makes one") end
  end
end
local function expect_condition(op, l)
  for i = 1, #l do
    if l[i].dtype ~= "bool" then error(op .. ": takes conditions: what lt le eq ne any all not_ give") end
  end
end

local function unary(op)
  return function(a)
    local g, l = operands(a)
    expect_number(op, l)
    return new(g, { op = op, args = l })
  end
end
local function binary(op, dtype)
  return function(a, b)
    local g, l = operands(a, b)
    expect_number(op, l)
    return new(g, { op = op, args = l, dtype = dtype })
  end
end
local function logical(op, name)
  return function(a, b)
    local g, l = operands(a, b)
    expect_condition(name, l)
    return new(g, { op = op, args = l, dtype = "bool" })
  end
end

local f = {} -- the functions that scripts see
trace.functions = f
for _, op in ipairs { "neg", "abs", "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "rcp", "tanh", "erf", "sin", "cos" } do f[op] = unary(op) end
for _, op in ipairs { "min", "max" } do f[op] = binary(op) end
for _, op in ipairs { "lt", "le", "eq", "ne" } do f[op] = binary(op, "bool") end
f.all = logical("and", "all")
f.any = logical("or", "any")
f["not_"] = function(a)
  local g, l = operands(a)
  expect_condition("not_", l)
  return new(g, { op = "not", args = l, dtype = "bool" })
end
function f.where(c, a, b)
  local g, l = operands(c, a, b)
  if l[1].dtype ~= "bool" then error("where: the condition is a comparison: lt le eq ne any all", 2) end
  expect_number("where", l, 2)
  return new(g, { op = "where", args = l })
end

local function reduce(op)
  return function(a)
    local g, l = operands(a)
    expect_number(op, l)
    local dim = g.row_dim
    if not dim then error("this family has no row to reduce over: a gemm's epilogue sees one element at a time", 2) end
    if not l[1].dims[dim] then error("the value is the same in the whole row: it has no dim " .. dim .. " to reduce over", 2) end
    local dims = {}
    for d in pairs(l[1].dims) do if d ~= dim then dims[d] = true end end
    return new(g, { op = op, args = l, dims = dims, dim = dim })
  end
end
f.sum = reduce "sum"
f.amax = reduce "amax"
f.amin = reduce "amin"
function f.mean(a)
  local s = f.sum(a)
  local n = new(s.graph, { op = "dim", dim = s.dim, dims = {} })
  return new(s.graph, { op = "div", args = { s, n } })
end

-- Activations. gelu_tanh is x * sigmoid(2u), which keeps its relative accuracy where 1 + tanh(u) cancels.
function f.sigmoid(x) return 1 / (1 + f.exp(-x)) end
function f.silu(x) return x / (1 + f.exp(-x)) end
function f.relu(x) return f.where(f.lt(x, 0), 0, x) end
function f.gelu(x) return 0.5 * x * (1 + f.erf(x * 0.70710678118654752)) end
function f.gelu_tanh(x) return x / (1 + f.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x))) end
function f.none(x) return x end

local function refuse(use) return function() error("a traced tensor cannot be compared or joined by an operator; use " .. use, 2) end end
T.__add = binary "add"
T.__sub = binary "sub"
T.__mul = binary "mul"
T.__div = binary "div"
T.__unm = f.neg
T.__lt = refuse "lt(a, b)"
T.__le = refuse "le(a, b)"
T.__eq = refuse "eq(a, b)"
T.__concat = refuse "a list"
T.__len = refuse "a named dim"
local methods = {}
T.__index = methods
function methods.f32(a) return a end -- every traced value is f32 already; widening is exact
local ROUNDS = { f32 = true, f16 = true, bf16 = true, i32 = true }
function methods.to(a, dtype)
  if not ROUNDS[dtype or ""] then error("to: '" .. tostring(dtype) .. "' is none of bf16, f16, f32, i32") end
  expect_number("to", { a })
  return new(a.graph, { op = "round", args = { a }, round = dtype })
end

function trace.new_graph(row_dim) return { nodes = {}, outputs = {}, row_dim = row_dim } end
trace.new = new
trace.is_node = is_node

function trace.argument(graph, tensor, index)
  local dims = {}
  for _, d in ipairs(tensor.dims) do dims[d] = true end
  return new(graph, { op = "arg", name = tensor.name, index_of = index, dims = dims, arg_dtype = tensor.dtype })
end

function trace.scalar(graph, scalar, index)
  return new(graph, { op = "scalar", name = scalar.name, scalar_dtype = scalar.dtype, index_of = index, dims = {} })
end

-- The table `t` that an op's function gets: reading gives arguments (nil where an optional one is absent), assigning an output
-- records it, reading an output back gives the value as it was rounded.
-- hidden: names of arguments that the function cannot read.
function trace.arguments(graph, op, extra, hidden)
  local cache, values, make = {}, {}, {}
  for i, tensor in ipairs(op.tensors) do
    if tensor.present and not tensor.out then make[tensor.name] = function() return trace.argument(graph, tensor, i) end end
  end
  for i, s in ipairs(op.scalars) do make[s.name] = function() return trace.scalar(graph, s, i) end end
  for k, v in pairs(extra or {}) do cache[k] = v end
  local t = {}
  setmetatable(t, {
    __index = function(_, key)
      if cache[key] ~= nil then return cache[key] end
      if hidden and hidden[key] then error("'" .. key .. "' is an operand of the product, which the epilogue does not see; it has acc", 2) end
      if make[key] then -- when first read, so that it carries that line of the script
        cache[key] = make[key]()
        return cache[key]
      end
      if values[key] then return methods.to(values[key], op.by_name[key].dtype) end
      if op.by_name[key] then return nil end
      error("the op has no tensor, scalar or setting '" .. tostring(key) .. "'", 2)
    end,
    __newindex = function(_, key, v)
      local tensor = op.by_name[key]
      if not tensor or not tensor.out then error("'" .. tostring(key) .. "' is not an output of the op", 2) end
      if type(v) == "number" then v = new(graph, { op = "const", value = v + 0.0, dims = {} }) end
      if not is_node(v) then error("an output takes a traced value", 2) end
      if values[key] then error("output '" .. key .. "' is assigned twice", 2) end
      for d in pairs(v.dims) do
        local has = false
        for _, own in ipairs(tensor.dims) do has = has or own == d end
        if not has then
          local what = "output '" .. key .. "' has no dim " .. d .. ", but the value assigned to it has"
          error(what .. "; a sum over " .. d .. " is not what an assignment makes", 2)
        end
      end
      values[key] = v
      local file, line = core.where()
      if tensor.present then table.insert(graph.outputs, { tensor = tensor, value = v, loc = { file, line } }) end
    end,
  })
  return t
end

-- Every present output must have been assigned.
function trace.finish(graph, op)
  for _, tensor in ipairs(op.tensors) do
    if tensor.out and tensor.present then
      local found = false
      for _, o in ipairs(graph.outputs) do found = found or o.tensor == tensor end
      if not found then op_library.fail(op.op, "output '" .. tensor.name .. "' is never assigned") end
    end
  end
end

-- The graph as core.define takes it.
function trace.definition(graph, op, lead)
  local nodes, tensors, scalars = {}, {}, {}
  for i, n in ipairs(graph.nodes) do
    local args, dims = {}, {}
    for _, a in ipairs(n.args) do table.insert(args, a.index) end
    for _, d in ipairs(op.dims) do if n.dims[d] then table.insert(dims, d) end end
    nodes[i] = { op = n.op, args = args, dims = dims, dim = n.dim, value = n.value, dtype = n.round or n.dtype, line = n.loc, index = n.index_of }
  end
  for i, t in ipairs(op.tensors) do
    local v
    for _, o in ipairs(graph.outputs) do if o.tensor == t then v = o.value.index end end
    tensors[i] = { name = t.name, dtype = t.dtype, out = t.out, optional = t.optional, present = t.present, dims = t.dims, value = v }
  end
  for i, s in ipairs(op.scalars) do scalars[i] = { name = s.name, dtype = s.dtype, default = s.default } end
  core.define { op = op.name, doc = op.doc, dims = op.dims, lead = lead, tensors = tensors, scalars = scalars, nodes = nodes, cases = op.cases }
end

return trace
