-- inline.lua - the definition of a chain (families/chain.lua): its stages' definitions one after the other, over the chain's dims. What a
-- stage writes is rounded to where it writes it, and that is what later stages read.
local trace = use "kiln.trace"

local REDUCE = { sum = true, amax = true, amin = true }
local OF_DIM = { dim = true, size = true, index = true, dot = true, block_amax = true, spread = true, swap_pairs = true, swap_halves = true }

-- One dim of the chain, where the stage's stands for one.
local function single(stage, n)
  local to = stage.dims[n.dim]
  if to and #to == 1 then return to[1] end
  if not to then return n.dim end
  core.fail(string.format("stage '%s': '%s' over its dim %s, which is bound to %d dims of the chain", stage.name, n.op, n.dim, #to))
end

local function index_of(list, name) for i, v in ipairs(list) do if v.name == name then return i end end end

-- Copies a stage's nodes into the chain's graph; inputs: node by tensor of the stage's op.
local function copier(graph, inst, stage, inputs)
  local copies = {}
  local copy
  local function make(n)
    if n.op == "arg" then return inputs[n.name] end
    if n.op == "scalar" then
      local to = stage.scalars[n.name]
      if type(to) == "number" then return trace.const(graph, to, n.dtype) end
      return trace.scalar(graph, to, index_of(inst.scalars, to.name))
    end
    local args, dims = {}, {}
    for i, a in ipairs(n.args) do args[i] = copy(a) end
    if REDUCE[n.op] then
      local v = args[1]
      for _, d in ipairs(stage.dims[n.dim]) do if v.dims[d] then v = trace.reduce(graph, n.op, v, d, n.loc) end end
      return v
    end
    for d in pairs(n.dims) do for _, p in ipairs(stage.dims[d] or { d }) do dims[p] = true end end
    return trace.new(graph, {
      op = n.op, args = args, dims = dims, dim = OF_DIM[n.op] and single(stage, n) or nil, value = n.value, dtype = n.dtype, round = n.round,
      products = n.products, loc = n.loc,
    })
  end
  function copy(n)
    copies[n.index] = copies[n.index] or make(n)
    return copies[n.index]
  end
  return copy
end

return function(inst, stages)
  local graph = trace.new_graph(nil)
  local known = {} -- by tensor or workspace of the chain
  graph.values = {}
  for i, t in ipairs(inst.tensors) do
    if t.present and not t.out then known[t.name] = trace.argument(graph, t, i) end
  end
  for _, stage in ipairs(stages) do
    local own = stage.inst.op.family.trace(stage.inst)
    trace.resume(graph)
    local inputs = {}
    for name, target in pairs(stage.targets) do inputs[name] = known[target.name] end
    local copy = copier(graph, inst, stage, inputs)
    for _, o in ipairs(own.outputs) do
      local value, target = copy(o.value), stage.targets[o.tensor.name]
      known[target.name] = trace.new(graph, { op = "round", args = { value }, round = target.dtype, loc = o.loc })
      if not target.workspace then
        table.insert(graph.outputs, { tensor = inst.by_name[target.name], value = value, loc = o.loc })
        graph.values[target.name] = value
      end
    end
  end
  return graph
end
