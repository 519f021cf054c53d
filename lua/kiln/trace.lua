-- trace.lua - an op's definition as a graph: nodes over whole tensors with named dims. The op's Lua function is called once
-- with values that record what is done to them; families lower the graph, `kiln check` evaluates it, autodiff.lua derives gradients.
--
-- A node: { op, args, dims (set of names), dtype, value, dim, name, loc = {file, line}, index }; dtype is f32, i32 (coordinates,
-- sizes, integer scalars and what is computed of them) or bool. Equal nodes are one node, at the line that made it first.
-- `rule` names a rule of autodiff.lua for a value that is composed of several nodes; `of` is what it is a function of.
local op_library = use "kiln.op"
local text = use "kiln.text"
local trace = {}

local T = {} -- metatable of traced tensors

local function is_node(v) return type(v) == "table" and v.op ~= nil and v.graph ~= nil end

local current -- the graph that is being traced

-- What makes two nodes equal. (Most have two operands and nothing else: one concatenation.)
local function key_of(n)
  local a, b, c = n.args[1], n.args[2], n.args[3]
  if b and not c and not n.dim and n.dtype == "f32" then return n.op .. " " .. a.index .. " " .. b.index end
  local value = n.value and string.format("%.17g", n.value) or ""
  local key = n.op .. "," .. n.dtype .. "," .. (n.dim or "") .. "," .. (n.round or "") .. "," .. (n.index_of or "") .. "," .. value
  for _, arg in ipairs(n.args) do key = key .. " " .. arg.index end
  return key
end

local function new(graph, n)
  n.graph = graph
  n.args = n.args or {}
  n.dtype = n.dtype or "f32"
  local key = key_of(n)
  local known = graph.known[key]
  if known then return known end
  if not n.dims then
    n.dims = {}
    for _, a in ipairs(n.args) do
      for d in pairs(a.dims) do n.dims[d] = true end
    end
  end
  n.loc = n.loc or graph.loc or { core.where() }
  table.insert(graph.nodes, n)
  n.index = #graph.nodes
  graph.known[key] = n
  return setmetatable(n, T)
end

local function is_integer(v) return is_node(v) and v.dtype == "i32" or type(v) == "number" and math.tointeger(v) ~= nil end
local function const(graph, v, dtype) return new(graph, { op = "const", value = v + 0.0, dtype = dtype }) end
local function float(n) return n.dtype == "i32" and new(n.graph, { op = "float", args = { n } }) or n end

-- The arguments of a function as nodes of one graph, numbers included. Integers among real numbers become real; where all of
-- them, from the given one on, are integers, and one is not just a number, they stay integers (the second result).
local function operands(list, integers_from)
  local graph
  for i, v in ipairs(list) do
    if is_node(v) then graph = v.graph
    elseif type(v) ~= "number" then error("a traced tensor or a number is expected, argument " .. i .. " is a " .. type(v), 3) end
  end
  if not graph then error("a traced tensor is expected among the arguments; of numbers alone there are math.sqrt, math.exp and the like", 3) end
  local integers, traced = integers_from ~= nil, false
  for i = integers_from or 1, #list do
    integers = integers and is_integer(list[i])
    traced = traced or is_node(list[i]) and list[i].dtype == "i32"
  end
  integers = integers and traced
  for i, v in ipairs(list) do
    if type(v) == "number" then list[i] = const(graph, v, integers and "i32" or "f32")
    elseif not integers then list[i] = float(v) end
  end
  return graph, list, integers
end

local function expect_number(op, l, from)
  for i = from or 1, #l do
    if l[i].dtype == "bool" then error(op .. ": a condition is no number; where(c, 1, 0) makes one") end
  end
end
local function expect_condition(op, l)
  for i = 1, #l do
    if l[i].dtype ~= "bool" then error(op .. ": takes conditions: what lt le eq ne any all not_ give, and bool tensors") end
  end
end

-- The graph of a real number that is traced already, as nearly all operands are: nothing is to be asked of it.
local function graph_of_real(v) return type(v) == "table" and v.dtype == "f32" and v.graph end

local function unary(op)
  return function(a)
    local real = graph_of_real(a)
    if real then return new(real, { op = op, args = { a } }) end
    local g, l = operands { a }
    expect_number(op, l)
    return new(g, { op = op, args = l })
  end
end
local function binary(op)
  return function(a, b)
    local real = graph_of_real(a)
    if real and graph_of_real(b) then return new(real, { op = op, args = { a, b } }) end
    local g, l, integers = operands({ a, b }, op ~= "div" and 1 or nil)
    expect_number(op, l)
    return new(g, { op = op, args = l, dtype = integers and "i32" or "f32" })
  end
end
local function comparison(op)
  return function(a, b)
    local g, l = operands({ a, b }, 1)
    expect_number(op, l)
    return new(g, { op = op, args = l, dtype = "bool" })
  end
end
local function logical(op, name)
  return function(a, b)
    local g, l = operands { a, b }
    expect_condition(name, l)
    return new(g, { op = op, args = l, dtype = "bool" })
  end
end
local function integer(op)
  return function(a, b)
    local g, l, integers = operands({ a, b }, 1)
    if not integers then error(op .. ": takes integers: what index and size give, integer scalars, whole numbers", 2) end
    if l[2].op == "const" and l[2].value <= 0 then error(op .. ": the divisor is a positive number, this is " .. math.tointeger(l[2].value), 2) end
    return new(g, { op = op, args = l, dtype = "i32" })
  end
end

local f = {} -- the functions that scripts see
trace.functions = f
for _, op in ipairs { "neg", "abs", "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "rcp", "tanh", "erf", "sin", "cos", "rint" } do f[op] = unary(op) end
for _, op in ipairs { "min", "max" } do f[op] = binary(op) end
for _, op in ipairs { "lt", "le", "eq", "ne" } do f[op] = comparison(op) end
for _, op in ipairs { "idiv", "mod" } do f[op] = integer(op) end
f.all = logical("and", "all")
f.any = logical("or", "any")
f["not_"] = function(a)
  local g, l = operands { a }
  expect_condition("not_", l)
  return new(g, { op = "not", args = l, dtype = "bool" })
end
function f.where(c, a, b)
  local g, l, integers = operands({ c, a, b }, 2)
  if l[1].dtype ~= "bool" then error("where: the condition is a comparison: lt le eq ne any all, or a bool tensor", 2) end
  expect_number("where", l, 2)
  return new(g, { op = "where", args = l, dtype = integers and "i32" or "f32" })
end
f.excluded = -math.huge -- where(mask, excluded, x): no part of a softmax, no gradient

-- The value itself, through which no gradient goes.
function f.stop(a)
  local g, l = operands { a }
  expect_number("stop", l)
  return new(g, { op = "stop", args = l })
end

-- ---- along a dim ----

local function of_dim(op, dtype)
  return function(dim)
    if not current then error(op .. ": is there while an op's function runs", 2) end
    if type(dim) ~= "string" or current.dims and not text.has(current.dims, dim) then
      error(op .. ": the op has no dim '" .. tostring(dim) .. "'", 2)
    end
    local lead = op == "index" and current.op and current.op.op.family.lead
    if lead and string.sub(dim, 1, #lead) == lead then
      error("index: " .. dim .. " stands for several dims of the caller's; the one that is meant needs a name of its own, such as T in \"x M T N\"", 2)
    end
    return new(current, { op = op, dim = dim, dims = op == "index" and { [dim] = true } or {}, dtype = dtype })
  end
end
f.index = of_dim("index", "i32")
f.size = of_dim("size", "i32")
trace.size_number = of_dim("dim", "f32") -- the size as a real number

function trace.is_column(graph, dim)
  local known = graph.columns[dim]
  if known == nil then
    known = graph.row_dim ~= nil and string.sub(dim, 1, #graph.row_dim) == graph.row_dim
    graph.columns[dim] = known
  end
  return known
end

-- The one column dim of a value.
local function column_of(g, n, what)
  if not g.row_dim then error("this family has no row to " .. what .. " over: a gemm's epilogue sees one element at a time", 3) end
  local found
  for d in pairs(n.dims) do
    if trace.is_column(g, d) then
      if found then error("the value has the dims " .. found .. " and " .. d .. ": name the one to " .. what .. " over", 3) end
      found = d
    end
  end
  return found or error("the value is the same in the whole row: it has no dim " .. g.row_dim .. " to " .. what .. " over", 3)
end

function trace.reduce(g, op, a, dim, loc)
  local dims = {}
  for d in pairs(a.dims) do if d ~= dim then dims[d] = true end end
  return new(g, { op = op, args = { a }, dims = dims, dim = dim, loc = loc })
end

local function reduce(op)
  return function(a, dim)
    local g, l = operands { a }
    expect_number(op, l)
    if dim == nil then dim = column_of(g, l[1], "reduce")
    elseif not l[1].dims[dim] then error(op .. ": the value has no dim '" .. tostring(dim) .. "' to reduce over", 2) end
    return trace.reduce(g, op, l[1], dim)
  end
end
f.sum = reduce "sum"
f.amax = reduce "amax"
f.amin = reduce "amin"
function f.mean(a, dim)
  local s = f.sum(a, dim)
  return new(s.graph, { op = "div", args = { s, new(s.graph, { op = "dim", dim = s.dim, dims = {} }) } })
end

function f.swap_pairs(a)
  local g, l = operands { a }
  expect_number("swap_pairs", l)
  return new(g, { op = "swap_pairs", args = l, dim = column_of(g, l[1], "swap") })
end
function f.swap_halves(a, width)
  local g, l = operands { a }
  expect_number("swap_halves", l)
  local varies = false
  for _ in pairs(is_node(width) and width.dims or {}) do varies = true end
  if not is_integer(width) or varies then error("swap_halves: the width is an even integer, the same everywhere", 2) end
  if type(width) == "number" and (width % 2 ~= 0 or width <= 0) then error("swap_halves: the width is even, and 2 at least", 2) end
  width = is_node(width) and width or const(g, width, "i32")
  return new(g, { op = "swap_halves", args = { l[1], width }, dims = l[1].dims, dim = column_of(g, l[1], "swap") })
end

-- tab[row, entry]; 0 outside of the table.
function f.lookup(tab, row, entry)
  if not is_node(tab) or tab.op ~= "arg" or #tab.order ~= 2 then error("lookup: the table is a tensor of two dims, as it was given", 2) end
  local l, dims = { tab, row, entry }, {}
  for i = 2, 3 do
    if not is_integer(l[i]) then error("lookup: row and entry are integers: what index and size give, integer scalars", 2) end
    if not is_node(l[i]) then l[i] = const(tab.graph, l[i], "i32") end
    for d in pairs(l[i].dims) do dims[d] = true end
  end
  return new(tab.graph, { op = "lookup", args = l, dims = dims })
end

-- ---- compositions; those with a rule have a derivative of their own in autodiff.lua ----

local function ruled(n, rule, of)
  if n.rule == nil then n.rule, n.of = rule, of end
  return n
end

function f.var(x, dim)
  local c = x - f.mean(x, dim)
  return ruled(f.mean(c * c, dim), "var", x)
end

-- exp(x - its maximum), where a row in which everything is excluded has zeros.
local function exponentials(x)
  local m = f.stop(f.amax(x))
  m = f.where(f.eq(m, f.excluded), 0, m)
  return f.exp(x - m), m
end
function f.softmax(x)
  local e = exponentials(x)
  local s = f.sum(e)
  return ruled(e * f.rcp(f.where(f.eq(s, 0), 1, s)), "softmax", x)
end
function f.logsumexp(x)
  local e, m = exponentials(x)
  return ruled(m + f.log(f.sum(e)), "logsumexp", x)
end

-- Activations. gelu_tanh is x * sigmoid(2u), which keeps its relative accuracy where 1 + tanh(u) cancels.
function f.sigmoid(x) return ruled(1 / (1 + f.exp(-x)), "sigmoid", x) end
function f.silu(x) return ruled(x / (1 + f.exp(-x)), "silu", x) end
function f.relu(x) return f.where(f.lt(x, 0), 0, x) end
function f.gelu(x) return 0.5 * x * (1 + f.erf(x * 0.70710678118654752)) end
function f.gelu_tanh(x) return ruled(x / (1 + f.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x))), "gelu_tanh", x) end
function f.none(x) return x end

local function refuse(use) return function() error("a traced tensor cannot be compared or joined by an operator; use " .. use, 2) end end
T.__add = binary "add"
T.__sub = binary "sub"
T.__mul = binary "mul"
T.__div = binary "div"
T.__unm = function(a) return is_integer(a) and 0 - a or f.neg(a) end
T.__idiv = f.idiv
T.__mod = f.mod
T.__pow = function() error("there is no power; write x * x, sqrt(x), or exp2(y * log2(x))", 2) end
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
  a = float(a)
  if not ROUNDS[dtype or ""] then error("to: '" .. tostring(dtype) .. "' is none of bf16, f16, f32, i32") end
  expect_number("to", { a })
  return new(a.graph, { op = "round", args = { a }, round = dtype })
end

-- row_dim: what the names of column dims begin with; nil: the family has none. The graph is the one that is traced from now on.
function trace.new_graph(row_dim)
  current = { nodes = {}, outputs = {}, known = {}, columns = {}, row_dim = row_dim }
  return current
end
function trace.current() return current end
function trace.resume(graph) current = graph end
function trace.known(graph, op, a, b) return graph.known[key_of { op = op, dtype = "f32", args = { a, b } }] end
function trace.set(list)
  local s = {}
  for _, v in ipairs(list) do s[v] = true end
  return s
end
trace.new = new
trace.is_node = is_node
trace.const = const

function trace.argument(graph, tensor, index)
  local dims = {}
  for _, d in ipairs(tensor.dims) do dims[d] = true end
  local dtype = tensor.dtype == "bool" and "bool" or "f32"
  return new(graph, { op = "arg", name = tensor.name, index_of = index, dims = dims, order = tensor.dims, dtype = dtype, arg_dtype = tensor.dtype })
end

function trace.scalar(graph, scalar, index)
  local whole = scalar.dtype == "i32" or scalar.dtype == "i64"
  return new(graph, {
    op = "scalar", name = scalar.name, scalar_dtype = scalar.dtype, call = scalar.call, index_of = index, dims = {}, dtype = whole and "i32" or "f32",
  })
end

-- The table `t` that an op's function gets: reading gives arguments (nil where an optional one is absent), assigning an output
-- records it, reading an output back gives the value as it was rounded.
-- An option of the op is the function of its name, or a text. hidden: names of arguments that the function cannot read.
function trace.arguments(graph, op, extra, hidden)
  local cache, values, make = {}, {}, {}
  graph.op, graph.dims, graph.values = op, op.dims, values
  for _, s in ipairs(op.op.settings) do
    if s.kind == "option" then cache[s.key] = f[op.values[s.key]] or op.values[s.key] end
  end
  for i, tensor in ipairs(op.tensors) do
    if tensor.present and not tensor.out then make[tensor.name] = function() return trace.argument(graph, tensor, i) end end
  end
  for i, s in ipairs(op.scalars) do make[s.name] = function() return trace.scalar(graph, s, i) end end
  for k, v in pairs(extra or {}) do cache[k] = v end
  local t = {}
  setmetatable(t, {
    __index = function(_, key)
      if cache[key] ~= nil then return cache[key] end
      if hidden and hidden[key] then error("'" .. key .. "' is an operand of a product, which the epilogue does not see; it has the product", 2) end
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
      if type(v) == "number" then v = const(graph, v) end
      if not is_node(v) then
        local hint = type(v) == "boolean" and "; `==` and `~=` are Lua's own, write eq(a, b) or ne(a, b)" or ""
        error("an output takes a traced value, this is a " .. type(v) .. hint, 2)
      end
      v = float(v)
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
      if not found then op_library.fail(op.op, "output '" .. tensor.name .. "' is never assigned; it is nil until then, also where the caller wants it") end
    end
  end
end

-- The graph as core.define takes it. lead: what the names of dims begin with that stand for several of the caller's; or nil.
function trace.definition(graph, op, lead)
  local nodes, tensors, scalars, leads = {}, {}, {}, {}
  for _, d in ipairs(op.dims) do if lead and string.sub(d, 1, #lead) == lead then table.insert(leads, d) end end
  for i, n in ipairs(graph.nodes) do
    local args, dims = {}, {}
    for _, a in ipairs(n.args) do table.insert(args, a.index) end
    for _, d in ipairs(op.dims) do if n.dims[d] then table.insert(dims, d) end end
    nodes[i] = {
      op = n.op, args = args, dims = dims, dim = n.dim, value = n.value, dtype = n.round or n.dtype, line = n.loc, index = n.index_of, products = n.products,
    }
  end
  for i, t in ipairs(op.tensors) do
    local v
    for _, o in ipairs(graph.outputs) do if o.tensor == t then v = o.value.index end end
    tensors[i] = {
      name = t.name, dtype = t.dtype, out = t.out, optional = t.optional, present = t.present, dims = t.dims, value = v, over = t.over, finite = t.finite,
    }
  end
  for i, s in ipairs(op.scalars) do scalars[i] = { name = s.name, dtype = s.dtype, default = s.default, call = s.call } end
  core.define {
    op = op.name, doc = op.doc, dims = op.dims, lead = leads, tensors = tensors, scalars = scalars, nodes = nodes, cases = op.cases, blocks = op.blocks,
  }
end

return trace
