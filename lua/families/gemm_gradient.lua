-- gemm_gradient.lua - the gradient of an op of products, as a chain of stages. kiln/autodiff.lua gives the gradients' graph: for acc = a b, the
-- products g bT and aT g with g, the adjoint of acc; sums of g over rows; and values of the epilogue's kind.
--
--   adjoint   where an adjoint is more than a tensor of the caller times scalars: the op's own products once more, with an epilogue that writes
--             the adjoints into workspaces, rounded to the operands' dtype, and whatever else is made element by element. Where nothing depends
--             on the products, a row-wise stage does it
--   dX        of an operand: one stage of products, which add up in one accumulator where several contribute. It is stored as X is stored
--   dX        of a vector: a row-wise stage that sums over rows, in an order that the shape fixes
--
-- Products that are made once more are made to f32's accuracy, whatever the setting f32 says: an adjoint that has lost digits already would lose
-- them again. Scalar factors are drawn out of the adjoints into the epilogues of what is made of them.
local trace = use "kiln.trace"
local op = use "kiln.op"
local text = use "kiln.text"
local chain = use "families.chain"

local gradient = {}

-- ---- taking the gradients' graph apart ----

local AGAIN = "3xtf32" -- how products of f32 are made once more

local function is_uniform(n)
  for _ in pairs(n.dims) do return false end
  return true
end

local function is_zero(n) return n.op == "const" and n.value == 0 end
local function times(a, b) return a and b and a * b or a or b end

-- A value as core * factor; the factor is the same everywhere, or nil. Only what the derivation itself has multiplied is taken apart.
local function peel(graph, n)
  if is_uniform(n) or n.index <= graph.count then return n, nil end
  if n.op == "neg" then
    local core, factor = peel(graph, n.args[1])
    return core, factor and -factor or trace.const(graph, -1)
  end
  if n.op == "where" and (is_zero(n.args[2]) or is_zero(n.args[3])) then
    local at = is_zero(n.args[2]) and 3 or 2
    local core, factor = peel(graph, n.args[at])
    if not factor then return n, nil end
    return trace.functions.where(n.args[1], at == 2 and core or 0, at == 3 and core or 0), factor
  end
  if n.op == "div" and is_uniform(n.args[2]) then
    local core, factor = peel(graph, n.args[1])
    return core, times(factor, 1 / n.args[2])
  end
  if n.op ~= "mul" then return n, nil end
  local core, factor
  for _, a in ipairs(n.args) do
    if is_uniform(a) then factor = times(factor, a)
    else
      local own, more = peel(graph, a)
      core, factor = times(core, own), times(factor, more)
    end
  end
  if not factor then return n, nil end
  return core, factor
end

-- The terms of a sum of adjoints: { node, sign }.
local function terms_of(graph, n, sign, list)
  if n.index > graph.count and (n.op == "add" or n.op == "sub") then
    terms_of(graph, n.args[1], sign, list)
    terms_of(graph, n.args[2], n.op == "sub" and -sign or sign, list)
  elseif n.index > graph.count and n.op == "neg" then
    terms_of(graph, n.args[1], -sign, list)
  else
    table.insert(list, { n, sign })
  end
  return list
end

local FULL = { B = true, M = true, N = true }
local function is_full(d, n)
  for dim in pairs(FULL) do if not n.dims[dim] and text.has(d.inst.dims, dim) then return false end end
  return true
end

-- What a gradient is: of an operand { kind = "product", terms = { { core, factor, other = the other operand, dim = what is summed } } };
-- { kind = "sum", dims = those summed, core, factor }; or { kind = "value", node }. nil: of no kind that has a stage.
local function classify(d, name, n)
  local graph = d.graph
  if d.inst.op.side[name] then
    local g = { kind = "product", terms = {} }
    for _, term in ipairs(terms_of(graph, n, 1, {})) do
      local dot, outer = peel(graph, term[1])
      if dot.op ~= "dot" or dot.args[2].op ~= "arg" then return nil end
      local core, factor = peel(graph, dot.args[1])
      if not is_full(d, core) then return nil end
      factor = times(factor, outer)
      if term[2] < 0 then factor = factor and -factor or trace.const(graph, -1) end
      table.insert(g.terms, { core = core, factor = factor, other = dot.args[2], dim = dot.dim })
    end
    return g
  end
  local dims, v = {}, n
  while v.op == "sum" and v.index > graph.count do
    table.insert(dims, v.dim)
    v = v.args[1]
  end
  if #dims == 0 then return is_full(d, n) and { kind = "value", node = n } or nil end
  local core, factor = peel(graph, v)
  return is_full(d, core) and { kind = "sum", dims = dims, core = core, factor = factor } or nil
end

-- ---- the plan ----

-- Everything that values need, without going beyond products and what is read from memory. visit(node) for each.
local function walk(d, read, values, visit)
  local seen = {}
  local function go(n)
    if seen[n.index] then return end
    seen[n.index] = true
    visit(n)
    if read[n.index] or d.graph.products[n] then return end
    for _, a in ipairs(n.args) do go(a) end
  end
  for _, v in ipairs(values) do go(v) end
end

local function needs_product(d, read, n)
  local found = false
  walk(d, read, { n }, function(v) found = found or d.graph.products[v] ~= nil and not read[v.index] end)
  return found
end

-- d: the derivation (kiln/autodiff.lua); read: by node, the output of the forward run that is read instead; inst: the gradient's instance.
-- adjoints: { node, name } of the workspaces; results: by tensor of the op, what its gradient is.
function gradient.plan(inst, d, read)
  local p = { d = d, read = read, inst = inst, adjoints = {}, results = {}, dtype = d.inst.values.dtype }
  local by_core = {}
  local function tensor_of(core) return core.op == "arg" and inst.by_name[core.name] or read[core.index] and inst.by_name[read[core.index]] end
  local function place(core)
    local tensor = tensor_of(core)
    if tensor and tensor.dtype == p.dtype and is_full(d, core) then return tensor.name end
    if not by_core[core.index] then
      by_core[core.index] = { node = core, name = "adjoint_" .. (#p.adjoints + 1) }
      table.insert(p.adjoints, by_core[core.index])
    end
    return by_core[core.index].name
  end
  for _, spec in ipairs(d.inst.op.specs) do
    local out, n = inst.by_name["d" .. spec.name], d.gradients[spec.name]
    if out and out.out and out.present then
      if not n then core.refuse("nothing flows to '" .. spec.name .. "' under these settings: its gradient is 0; leave it out, d" .. spec.name .. "=no") end
      local g = classify(d, spec.name, n)
      if not g or #out.dims == 0 then
        core.refuse("the gradient of '" .. spec.name .. "' is no product and no sum over rows; leave it out, d" .. spec.name .. "=no, or declare it const")
      end
      g.name, g.out = spec.name, out
      p.results[#p.results + 1] = g
      for _, t in ipairs(g.terms or {}) do t.from = place(t.core) end
    end
  end
  for _, g in ipairs(p.results) do -- a sum of what lies in a workspace for a product, or needs one to be made once more, reads that
    if g.kind == "sum" and not tensor_of(g.core) and (by_core[g.core.index] or needs_product(d, read, g.core)) then g.from = place(g.core) end
  end
  if #p.results == 0 then core.refuse("no gradient of '" .. d.inst.op.name .. "' is asked for") end
  return p
end

-- ---- copying values into other graphs ----

-- The value in the graph that is being traced. known(n): what stands for a node there, or nil.
local function copier(known)
  local memo = {}
  local function copy(n)
    local c = memo[n.index] or known(n)
    if not c then
      local args = {}
      for i, a in ipairs(n.args) do args[i] = copy(a) end
      c = n.op == "stop" and args[1] or
        trace.new(trace.current(), { op = n.op, args = args, dim = n.dim, value = n.value, dtype = n.dtype, round = n.round, loc = n.loc })
    end
    memo[n.index] = c
    return c
  end
  return copy
end

-- Arguments by name; products by `product`.
local function by_name(p, t, product)
  return function(n)
    local name = p.read[n.index] or (n.op == "arg" or n.op == "scalar") and n.name
    if name then return t[name] end
    return p.d.graph.products[n] and product and product(n) or nil
  end
end

-- ---- the definition ----

-- The gradients over the tensors t, adjoints rounded as their workspaces round them.
function gradient.define(p, t)
  local graph, copy = trace.current(), nil
  local known = by_name(p, t)
  copy = copier(function(n)
    if n.op ~= "dot" or p.read[n.index] then return known(n) end -- a product that the op has stored is read as it was rounded
    return trace.new(graph, { op = "dot", args = { copy(n.args[1]), copy(n.args[2]) }, dim = n.dim, dims = n.dims, value = n.value,
      products = n.products and AGAIN, loc = n.loc })
  end)
  local function adjoint(core, name)
    for _, a in ipairs(p.adjoints) do
      if a.name == name then return trace.new(graph, { op = "round", args = { copy(core) }, round = p.dtype }) end
    end
    return copy(core)
  end
  local function scaled(v, factor) return factor and v * copy(factor) or v end
  for _, g in ipairs(p.results) do
    local v
    graph.loc = p.d.gradients[g.name] and p.d.gradients[g.name].loc
    if g.kind == "product" then
      for _, term in ipairs(g.terms) do
        local dims = trace.set(g.out.dims)
        local args = { adjoint(term.core, term.from), copy(term.other) }
        local dot = trace.new(graph, { op = "dot", args = args, dim = term.dim, dims = dims, products = p.d.inst.values.f32 })
        v = v and v + scaled(dot, term.factor) or scaled(dot, term.factor)
      end
    elseif g.kind == "sum" then
      v = scaled(adjoint(g.core, g.from), g.factor)
      for k = #g.dims, 1, -1 do v = trace.reduce(graph, "sum", v, g.dims[k]) end
    else
      v = copy(g.node)
    end
    t[g.out.name] = v
  end
  graph.loc = nil
end

-- ---- stages ----

local function dims_text(dims) return table.concat(dims, " ") end

-- Declarations of scalars that values use.
local function scalars_of(p, values)
  local used, list = {}, {}
  walk(p.d, p.read, values, function(n) if n.op == "scalar" then used[n.name] = true end end)
  for _, spec in ipairs(p.d.inst.declared.scalars or {}) do
    if used[text.split(spec, " ")[1]] then table.insert(list, spec) end
  end
  return list
end

-- Tensors that values read, in the gradient's order.
local function tensors_of(p, values)
  local used, list = {}, {}
  walk(p.d, p.read, values, function(n)
    local name = p.read[n.index] or n.op == "arg" and n.name
    if name then used[name] = true end
  end)
  for _, t in ipairs(p.inst.tensors) do if used[t.name] then table.insert(list, t) end end
  return list
end

local function new_op(p, name, family, declared)
  local outer = trace.current()
  declared.dtypes = { p.dtype }
  local o = op.new(name, declared, family, p.d.inst.op.loc)
  if outer then trace.resume(outer) end
  return o
end

-- { name, node, dtype }: what the adjoints' stage writes.
local function written(p)
  local list = {}
  for _, a in ipairs(p.adjoints) do table.insert(list, { name = a.name, node = a.node, dtype = p.dtype }) end
  for _, g in ipairs(p.results) do if g.kind == "value" then table.insert(list, { name = g.out.name, node = g.node, dtype = g.out.dtype }) end end
  return list
end

-- Of the schedules of a row-wise stage those for rows of any length; only_any: no vectors, as what it reads does not lie along the columns.
local function any_length(only_any)
  return function(list)
    local few = {}
    for _, s in ipairs(list) do
      local vec1 = string.find(s .. " ", "vec=1 ", 1, true)
      if string.find(s, "kind=passes", 1, true) and (vec1 or not only_any) then table.insert(few, s) end
    end
    return few
  end
end

-- The op's products once more; the epilogue writes the list.
local function product_stage(p, list, values)
  local inst, used = p.d.inst, {}
  walk(p.d, p.read, values, function(n) if p.d.graph.products[n] then used[p.d.graph.products[n]] = n end end)
  local tensors, products, operand = {}, {}, {}
  for i, declared in ipairs(inst.op.declared.products or { { "acc", "a", "b" } }) do
    local at = inst.op.phases > 1 and 1 or i
    if used[at] then
      table.insert(products, declared)
      operand[declared[2]], operand[declared[3]] = true, true
    end
  end
  for _, t in ipairs(inst.tensors) do if operand[t.name] then table.insert(tensors, t.name .. " " .. dims_text(t.dims)) end end
  for _, t in ipairs(tensors_of(p, values)) do
    if not operand[t.name] then table.insert(tensors, t.name .. " " .. dims_text(t.dims) .. " " .. t.dtype) end
  end
  local all = text.has(inst.dims, "B") and "B M N" or "M N"
  for _, w in ipairs(list) do table.insert(tensors, w.name .. " " .. all .. " " .. w.dtype .. " out") end
  local o = new_op(p, "adjoint", inst.op.family, {
    tensors = tensors, products = products, scalars = scalars_of(p, values),
    epilogue = function(e)
      local copy = copier(by_name(p, e, function(n) return e[inst.op.products[p.d.graph.products[n]].name] end))
      for _, w in ipairs(list) do e[w.name] = copy(w.node) end
    end,
  })
  local set = { dtype = p.dtype, f32 = inst.values.f32 and AGAIN }
  for _, s in ipairs(inst.op.family.settings) do set[s.key] = inst.values[s.key] end
  return { name = "adjoint", op = o, set = set }
end

-- The dims that a row-wise stage has of these; names: by the op's.
local function row_dims(dims, names, order)
  local list = {}
  for _, d in ipairs(order) do if text.has(dims, d) then table.insert(list, names[d]) end end
  return dims_text(list)
end

-- A row-wise stage. order: the op's dims, the column last; more: what it reads beside the values' tensors; outputs: { name, dims, dtype };
-- forward(copy, t, names): names of its dims by the op's.
local function row_stage(p, name, values, more, outputs, order, only_any, forward)
  local names, dims, tensors = {}, {}, {}
  for i, d in ipairs(order) do
    names[d] = i == #order and "N" or d == "B" and "B" or "T"
    dims[names[d]] = d
  end
  for _, list in ipairs { tensors_of(p, values), more } do
    for _, t in ipairs(list) do table.insert(tensors, t.name .. " " .. row_dims(t.dims, names, order) .. " " .. t.dtype) end
  end
  for _, w in ipairs(outputs) do table.insert(tensors, w.name .. " " .. row_dims(w.dims, names, order) .. " " .. w.dtype .. " out") end
  local o = new_op(p, name, use "families.rowwise", {
    tensors = tensors, scalars = scalars_of(p, values),
    forward = function(t) forward(copier(by_name(p, t)), t, names) end,
  })
  return { name = name, op = o, set = { dtype = p.dtype }, dims = dims, schedules = any_length(only_any) }
end

local function value_stage(p, list, values)
  local order, outputs = {}, {}
  for _, d in ipairs { "B", "M", "N" } do if text.has(p.d.inst.dims, d) then table.insert(order, d) end end
  for i, w in ipairs(list) do outputs[i] = { name = w.name, dims = order, dtype = w.dtype } end
  return row_stage(p, "adjoint", values, {}, outputs, order, false, function(copy, t) for _, w in ipairs(list) do t[w.name] = copy(w.node) end end)
end

local function adjoint_stage(p)
  local list, values, product = written(p), {}, false
  for i, w in ipairs(list) do
    values[i] = w.node
    product = product or needs_product(p.d, p.read, w.node)
  end
  if #list == 0 then return nil end
  return (product and product_stage or value_stage)(p, list, values)
end

-- Which dim of a tensor or workspace lies together, in terms of the op's dims.
local function together(p, name)
  local inst = p.d.inst
  local side = inst.op.side[name]
  if side == "a" then return inst.values.a_major == "k" and "K" or "M" end
  if side == "b" then return inst.values.b_major == "k" and "K" or "N" end
  return "N"
end

-- dX of an operand. The stage's M and N are the rows and columns of dX as X is stored, its K what is summed.
local function operand_stage(p, g)
  local inst, batch = p.d.inst, text.has(p.d.inst.dims, "B") and "B " or ""
  local column, row = together(p, g.name), nil
  for _, d in ipairs(g.out.dims) do if d ~= "B" and d ~= column then row = d end end
  local dims = { M = row, N = column, K = g.terms[1].dim }
  local tensors, declared, products, factors = {}, {}, {}, {}
  local alike = true
  for _, t in ipairs(g.terms) do alike = alike and (t.factor and t.factor.index) == (g.terms[1].factor and g.terms[1].factor.index) end
  local set = { dtype = p.dtype, f32 = inst.values.f32 }
  local function operand(name, has) -- the one that has the row is the left one
    local left = text.has(has, row)
    set[left and "a_major" or "b_major"] = together(p, name) == dims.K and "k" or left and "m" or "n"
    if not declared[name] then table.insert(tensors, name .. " " .. batch .. (left and "M K" or "K N")) end
    declared[name] = true
    return left
  end
  for i, t in ipairs(g.terms) do
    local left = operand(t.from, { "M", "N" })
    operand(t.other.name, inst.by_name[t.other.name].dims)
    table.insert(products, { alike and "acc" or "acc" .. i, left and t.from or t.other.name, left and t.other.name or t.from })
    if t.factor then table.insert(factors, t.factor) end
  end
  for _, t in ipairs(tensors_of(p, factors)) do table.insert(tensors, t.name .. " " .. dims_text(t.dims) .. " " .. t.dtype) end -- of no dim, as factors are
  table.insert(tensors, g.out.name .. " " .. batch .. "M N " .. g.out.dtype .. " out")
  local o = new_op(p, g.out.name, inst.op.family, {
    tensors = tensors, products = products, scalars = scalars_of(p, factors),
    epilogue = function(e)
      local copy, v = copier(by_name(p, e)), nil
      if alike then return g.terms[1].factor and e.acc * copy(g.terms[1].factor) or e.acc end
      for i, t in ipairs(g.terms) do
        local part = t.factor and e["acc" .. i] * copy(t.factor) or e["acc" .. i]
        v = v and v + part or part
      end
      return v
    end,
  })
  return { name = g.out.name, op = o, set = set, dims = dims }
end

-- dX of a vector. Rows that are kept stand outermost; where the columns are summed and the rows kept, it goes by columns of the matrix turned.
local function sum_stage(p, g)
  local has, order = trace.set(g.out.dims), {}
  local inst = p.d.inst
  local function put(d) if text.has(inst.dims, d) then table.insert(order, d) end end
  local turned = has.M and not has.N and not has.B and text.has(inst.dims, "B")
  for _, d in ipairs(turned and { "B", "N", "M" } or has.M and not has.B and { "M", "B", "N" } or { "B", "M", "N" }) do put(d) end
  local values, more = { g.factor }, {}
  if g.from then more = { { name = g.from, dims = inst.dims, dtype = p.dtype } } else table.insert(values, g.core) end
  local out = { name = g.out.name, dims = g.out.dims, dtype = g.out.dtype }
  return row_stage(p, g.out.name, values, more, { out }, order, turned, function(copy, t, names)
    local v = g.from and t[g.from] or copy(g.core)
    if g.factor then v = v * copy(g.factor) end
    for k = #order, 1, -1 do if text.has(g.dims, order[k]) then v = trace.functions.sum(v, names[order[k]]) end end
    t[g.out.name] = v
  end)
end

function gradient.stages(p)
  local stages = { workspaces = {} }
  local all = text.has(p.d.inst.dims, "B") and "B M N " or "M N "
  for _, a in ipairs(p.adjoints) do table.insert(stages.workspaces, a.name .. " " .. all .. p.dtype) end
  table.insert(stages, adjoint_stage(p))
  for _, g in ipairs(p.results) do
    if g.kind == "product" then table.insert(stages, operand_stage(p, g))
    elseif g.kind == "sum" then table.insert(stages, sum_stage(p, g)) end
  end
  return stages
end

-- ---- the family of gradients: chains with the settings of the op's own family ----

function gradient.family(o)
  local family = {}
  for k, v in pairs(chain) do family[k] = v end
  family.settings = o.family.settings
  function family.check(gradient_op)
    for _, s in ipairs(o.settings) do if s.of then op.add_setting(gradient_op, s.key, s.values, s.kind, s.of) end end
    chain.check(gradient_op)
  end
  return family
end

return gradient
