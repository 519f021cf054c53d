-- autodiff.lua - the gradient of an op, derived from its definition: NAME.grad is an op of the same family, whose function traces
-- the op under the same settings and differentiates the graph. It knows primitives and the rules of compositions, never an op.
--
-- Reverse mode. The adjoint of a value has the value's dims, and may have row dims beside them: what has to be summed over the
-- rows (a weight's gradient) is summed once, at the end, so that such a sum is the last thing done to an output. Sums over
-- columns are made where they arise; what does not have the column dim is drawn out of them (kiln/algebra.lua).
local trace = use "kiln.trace"
local algebra = use "kiln.algebra"
local op = use "kiln.op"
local text = use "kiln.text"
local f = trace.functions
local autodiff = {}

-- ---- rules: each gives { {argument, contribution}, .. } of a node n whose adjoint is c; A is the graph's algebra ----

local rules, composed = {}, {}

function rules.add(A, n, c) return { { n.args[1], c }, { n.args[2], c } } end
function rules.sub(A, n, c) return { { n.args[1], c }, { n.args[2], A:neg(c) } } end
function rules.neg(A, n, c) return { { n.args[1], A:neg(c) } } end
function rules.mul(A, n, c)
  local a, b = n.args[1], n.args[2]
  if a.index == b.index then return { { a, A:product({ c, a }, 2) } } end
  return { { a, A:product { c, b } }, { b, A:product { c, a } } }
end
function rules.div(A, n, c)
  local b = n.args[2]
  return { { n.args[1], A:product({ c }, 1, b) }, { b, A:product({ c, n }, -1, b) } }
end
function rules.exp(A, n, c) return { { n.args[1], A:product { c, n } } } end
function rules.exp2(A, n, c) return { { n.args[1], A:product({ c, n }, 0.69314718055994531) } } end
function rules.log(A, n, c) return { { n.args[1], A:product({ c }, 1, n.args[1]) } } end
function rules.log2(A, n, c) return { { n.args[1], A:product({ c }, 1.4426950408889634, n.args[1]) } } end
function rules.sqrt(A, n, c) return { { n.args[1], A:product({ c }, 0.5, n) } } end
function rules.rsqrt(A, n, c) return { { n.args[1], A:product({ c, n, n, n }, -0.5) } } end
function rules.rcp(A, n, c) return { { n.args[1], A:product({ c, n, n }, -1) } } end
function rules.tanh(A, n, c) return { { n.args[1], A:product { c, (1 - n) * (1 + n) } } } end
function rules.erf(A, n, c) return { { n.args[1], A:product({ c, f.exp(-(n.args[1] * n.args[1])) }, 1.1283791670955126) } } end
function rules.sin(A, n, c) return { { n.args[1], A:product { c, f.cos(n.args[1]) } } } end
function rules.cos(A, n, c) return { { n.args[1], A:product({ c, f.sin(n.args[1]) }, -1) } } end
function rules.abs(A, n, c)
  local x = n.args[1]
  return { { x, f.where(f.eq(x, 0), 0, f.where(f.lt(x, 0), A:neg(c), c)) } }
end
function rules.round(A, n, c) return { { n.args[1], c } } end -- as the identity

-- By selection, never by multiplication. At equal operands of min and max the gradient goes to the first.
function rules.where(A, n, c)
  return { { n.args[2], A:where(n.args[1], c, 0) }, { n.args[3], A:where(n.args[1], 0, c) } }
end
function rules.max(A, n, c)
  local first = f.le(n.args[2], n.args[1])
  return { { n.args[1], A:where(first, c, 0) }, { n.args[2], A:where(first, 0, c) } }
end
function rules.min(A, n, c)
  local first = f.le(n.args[1], n.args[2])
  return { { n.args[1], A:where(first, c, 0) }, { n.args[2], A:where(first, 0, c) } }
end

-- Of d = a b over some dim: c bT and aT c, as sums over the dims that the operand lacks. true: its dims are the operand's already.
function rules.dot(A, n, c)
  local list = {}
  for i = 1, 2 do
    local own, other = n.args[i], n.args[3 - i]
    for d in pairs(n.dims) do
      if not own.dims[d] then
        table.insert(list, { own, trace.new(A.graph, { op = "dot", args = { c, other }, dim = d, dims = own.dims, products = n.products }), true })
      end
    end
  end
  return list
end

function rules.sum(A, n, c) return { { n.args[1], c } } end
-- Shared among the elements that are the extreme.
function rules.amax(A, n, c)
  local is = f.eq(n.args[1], n)
  return { { n.args[1], A:where(is, A:product({ c }, 1, A:sum(f.where(is, 1, 0), n.dim)), 0) } }
end
rules.amin = rules.amax

-- Moves along the row are their own adjoints. A value that is the same in the whole row is laid along it first.
local function along(A, c, dim)
  if c.dims[dim] then return c end
  return A:where(f.lt(f.index(dim), f.size(dim)), c, 0)
end

-- Is the integer a multiple of what trades places: of two columns, or of the width of a block?
local function is_multiple(n, width)
  if width and n.index == width.index then return true end
  if n.op == "const" then return not width and n.value % 2 == 0 end
  return n.op == "mul" and (is_multiple(n.args[1], width) or is_multiple(n.args[2], width))
end

-- Does the condition hold for both or none of what trades places?
local function is_even(c, n)
  if not c.dims[n.dim] then return true end
  if c.op == "lt" then return c.args[1].op == "index" and is_multiple(c.args[2], n.args[2]) end
  if c.op ~= "and" and c.op ~= "or" and c.op ~= "not" then return false end
  for _, a in ipairs(c.args) do if not is_even(a, n) then return false end end
  return true
end

-- Such a selection comes after the move, where others like it can join it.
local function moved(A, n, c)
  if c.op == "const" and c.value == 0 then return c end
  if c.op == "where" and is_even(c.args[1], n) then return A:where(c.args[1], moved(A, n, c.args[2]), moved(A, n, c.args[3])) end
  return n.op == "swap_pairs" and f.swap_pairs(along(A, c, n.dim)) or f.swap_halves(along(A, c, n.dim), n.args[2])
end
function rules.swap_pairs(A, n, c) return { { n.args[1], moved(A, n, c) } } end
rules.swap_halves = rules.swap_pairs

function composed.sigmoid(A, n, c) return A:product { c, n, 1 - n } end
function composed.silu(A, n, c)
  local s = f.sigmoid(n.of)
  return A:product { c, s + n * (1 - s) }
end
function composed.gelu_tanh(A, n, c) -- where the sigmoid is 0 or 1 its factor may be infinite
  local s = 1 / n.args[2]
  local t = n * (1 - s)
  local slope = f.where(f.eq(t, 0), 0, t * (1.5957691216057308 * (1 + 0.134145 * n.of * n.of)))
  return A:product { c, s + slope }
end
function composed.var(A, n, c) -- the mean held
  local sum = n.args[1]
  return A:product({ c, n.of - f.mean(n.of, sum.dim) }, 2, A:extent(sum.dim))
end
local function row_dim_of(n) -- of a value made by softmax or logsumexp: the dim that its function's operand has and the sum has not
  for d in pairs(n.of.dims) do if trace.is_column(n.graph, d) then return d end end
end
function composed.softmax(A, n, c) return A:product { n, A:sub(c, A:sum(A:product { c, n }, row_dim_of(n))) } end
function composed.logsumexp(A, n, c) return A:product { c, f.softmax(n.of) } end

-- ---- reverse mode ----

-- Row dims of an adjoint beyond those of its value, as a key.
local function pending(c, dims)
  local list = {}
  for d in pairs(c.dims) do if not dims[d] then table.insert(list, d) end end
  return table.concat(list, " ")
end

local function accumulate(A, adjoint, n, c)
  local of = adjoint[n.index] or {}
  adjoint[n.index] = of
  local key = pending(c, n.dims)
  of[key] = of[key] and A:add(of[key], c) or c
end

-- A contribution c, made at a value with `dims`, to an operand that may lack some of them.
local function narrow(A, c, dims, to)
  for d in pairs(dims) do
    if not to[d] and (trace.is_column(A.graph, d) or not c.dims[d]) then c = A:sum(c, d) end
  end
  return c
end

local function active_nodes(nodes, count, wanted)
  local active = {}
  for i = 1, count do
    local n = nodes[i]
    active[i] = wanted[i] or false
    if n.op ~= "stop" and n.dtype == "f32" then for _, a in ipairs(n.args) do active[i] = active[i] or active[a.index] end end
  end
  return active
end

local function contributions(A, n, c)
  if n.rule then return { { n.of, composed[n.rule](A, n, c) } } end
  if (n.op == "sum" or n.op == "amax" or n.op == "amin") and c.dims[n.dim] then c = A:sum(c, n.dim) end
  local rule = rules[n.op]
  if rule then return rule(A, n, c) end
  A.graph.without = A.graph.without or n
  return {}
end

-- roots: list of { node, adjoint }; inputs: list of argument nodes. The gradient of each, or nil where none flows.
local function differentiate(graph, roots, inputs)
  local A, adjoint, wanted, count = algebra.new(graph), {}, {}, #graph.nodes
  for _, n in ipairs(inputs) do wanted[n.index] = true end
  local active = active_nodes(graph.nodes, count, wanted)
  for _, r in ipairs(roots) do
    if active[r[1].index] then accumulate(A, adjoint, r[1], narrow(A, r[2], r[2].dims, r[1].dims)) end
  end
  for i = count, 1, -1 do
    local n = graph.nodes[i]
    for _, c in pairs(active[i] and not wanted[i] and adjoint[i] or {}) do
      graph.loc = n.loc
      for _, to in ipairs(contributions(A, n, c)) do
        if active[to[1].index] then accumulate(A, adjoint, to[1], to[3] and to[2] or narrow(A, to[2], n.dims, to[1].dims)) end
      end
    end
  end
  local gradients = {}
  for k, n in ipairs(inputs) do
    graph.loc = n.loc
    for key, c in pairs(adjoint[n.index] or {}) do
      local dims = text.split(key, " ")
      for j = #dims, 1, -1 do c = trace.reduce(graph, "sum", c, dims[j]) end
      gradients[k] = gradients[k] and A:add(gradients[k], c) or c
    end
  end
  return gradients
end

-- ---- the op's graph with its gradients ----

local FLOATS = { f64 = true, f32 = true, f16 = true, bf16 = true }
local function has_gradient(spec) return not (spec.fixed and not FLOATS[spec.fixed]) and not spec.const and not spec.saved end

-- Is there anything to derive? An op that calls a tensor dX beside X is somebody's gradient already.
function autodiff.possible(o)
  local inputs, outputs, names = false, false, {}
  for _, t in ipairs(o.specs) do names[t.name] = true end
  for _, t in ipairs(o.specs) do
    if names["d" .. t.name] then return false end
    if has_gradient(t) then inputs, outputs = inputs or not t.out, outputs or t.out end
  end
  local can = o.family.has_gradient
  if type(can) == "function" then can = can(o) end
  return can and inputs and outputs or false
end

-- inst: the op itself under some settings. Returns { graph, values (by output), gradients (by input) }.
local function derive(inst)
  local outer = trace.current()
  local graph = inst.op.family.trace(inst)
  graph.count = #graph.nodes
  graph.kept = {}
  local roots, inputs, by_name = {}, {}, {}
  for i = 1, graph.count do
    local n = graph.nodes[i]
    if n.op == "arg" and has_gradient(inst.by_name[n.name].spec) then
      table.insert(inputs, n)
      by_name[n.name] = #inputs
    end
  end
  for i, t in ipairs(inst.tensors) do
    local v = graph.values[t.name]
    if v then graph.kept[v.index] = true end
    if v and t.present and has_gradient(t.spec) then
      graph.loc = v.loc
      table.insert(roots, { v, trace.argument(graph, { name = "d" .. t.name, dims = t.dims, dtype = t.dtype }, #inst.tensors + i) })
    end
  end
  local list, gradients = differentiate(graph, roots, inputs), {}
  for name, k in pairs(by_name) do gradients[name] = list[k] end
  if outer then trace.resume(outer) end
  return { inst = inst, graph = graph, values = graph.values, gradients = gradients }
end

-- Which nodes are read from memory instead: by index, the name of the output. outputs: set of names.
local function readings(d, outputs)
  local read = {}
  for _, t in ipairs(d.inst.tensors) do
    local v = t.present and outputs[t.name] and d.values[t.name]
    if v and #pending({ dims = trace.set(t.dims) }, v.dims) == 0 then
      read[v.index] = t.name
      for _, n in ipairs(d.graph.nodes) do
        if n.op == "round" and n.args[1].index == v.index and n.round == t.dtype then read[n.index] = t.name end
      end
    end
  end
  return read
end

-- What the gradients need with these readings: names of tensors, how many row sums, and how many of the op's products once more.
local function needs(d, read)
  local names, seen, sums, products = {}, {}, 0, 0
  local function visit(n)
    if seen[n.index] then return end
    seen[n.index] = true
    local name = read[n.index] or n.op == "arg" and n.name
    if name then
      names[name] = true
      return
    end
    if (n.op == "sum" or n.op == "amax" or n.op == "amin") and trace.is_column(d.graph, n.dim) then sums = sums + 1 end
    if n.op == "dot" and n.index <= d.graph.count then products = products + 1 end
    for _, a in ipairs(n.args) do visit(a) end
  end
  for _, n in pairs(d.gradients) do visit(n) end
  return names, sums, products
end

local BYTES = { f64 = 8, f32 = 4, f16 = 2, bf16 = 2, i64 = 8, i32 = 4, u8 = 1, bool = 1 }

-- Bytes of a row of 4096, as what has no row dim counts nothing beside it.
local function row_bytes(d, names)
  local bytes = 0
  for _, t in ipairs(d.inst.tensors) do
    local columns, rows = false, false
    for _, dim in ipairs(t.dims) do
      local column = trace.is_column(d.graph, dim)
      columns, rows = columns or column, rows or not column
    end
    if names[t.name] and rows then bytes = bytes + BYTES[t.dtype] * (columns and 4096 or 1) end
  end
  return bytes
end

-- The outputs that the backward reads: fewest products, then fewest bytes, then fewest row sums, then fewest outputs. Saved ones it reads anyway.
local function choose(d)
  local saved, free = {}, {}
  for _, t in ipairs(d.inst.tensors) do
    if t.spec.saved then saved[t.name] = true
    elseif t.out and not t.spec.optional and not t.spec.with and #free < 4 then table.insert(free, t.name) end
  end
  local best, best_bytes, best_sums, best_products
  for mask = 0, (1 << #free) - 1 do -- in order of the number's bits: of equals the first stays
    local outputs = {}
    for name in pairs(saved) do outputs[name] = true end
    for i, name in ipairs(free) do if mask >> (i - 1) & 1 == 1 then outputs[name] = true end end
    local names, sums, products = needs(d, readings(d, outputs))
    local bytes = row_bytes(d, names)
    local better = bytes < (best_bytes or math.huge) or bytes == best_bytes and sums < best_sums
    if not best or products < best_products or products == best_products and better then
      best, best_bytes, best_sums, best_products = outputs, bytes, sums, products
    end
  end
  return best
end

-- ---- the gradient as an op ----

-- Copies a node of the derived graph, and what it needs, into the gradient op's graph.
local function transplant(read, graph, t)
  local copies = {}
  local function copy(n)
    if copies[n.index] then return copies[n.index] end
    local c
    local name = read[n.index] or (n.op == "arg" or n.op == "scalar") and n.name
    graph.loc = n.loc
    if name then c = t[name]
    elseif n.op == "stop" then c = copy(n.args[1])
    else
      local args = {}
      for i, a in ipairs(n.args) do args[i] = copy(a) end
      c = trace.new(graph, { op = n.op, args = args, dims = n.dims, dim = n.dim, value = n.value, dtype = n.dtype, round = n.round, loc = n.loc })
    end
    copies[n.index] = c
    return c
  end
  return copy
end

-- The op's instance under the settings of its gradient's.
local function forward_instance(o, values, given)
  local set = {}
  for _, s in ipairs(o.settings) do
    local v = given and given[s.key] or values and values[s.key]
    if v then
      set[s.key] = v
      table.insert(set, s.key)
    end
  end
  return op.instance(o, set)
end

-- The derivation under a gradient's settings, and what it reads of the outputs that its caller gives.
local function derive_for(o, inst, outputs)
  local d, there = derive(forward_instance(o, inst.values)), {}
  for name in pairs(outputs) do
    local tensor = inst.by_name[name]
    there[name] = tensor and tensor.present or nil
  end
  return d, readings(d, there)
end

local function make_forward(o, outputs)
  return function(t)
    local graph = trace.current()
    local inst = graph.op
    local d, read = derive_for(o, inst, outputs)
    local copy, any = transplant(read, graph, t), false
    for _, spec in ipairs(o.specs) do
      local out = inst.by_name["d" .. spec.name]
      if out and out.out and out.present then
        local v = d.gradients[spec.name]
        v = v and copy(v) or trace.const(graph, 0)
        graph.loc = v.loc
        t[out.name] = v
        graph.outputs[#graph.outputs].loc = v.loc
        any = true
      end
    end
    graph.loc = nil
    if not any then core.refuse("no gradient of '" .. o.name .. "' is asked for") end
  end
end

-- The text of a tensor's declaration again; what: words instead of its own from the dims on.
local function declaration(spec, name, more)
  local words = { name }
  for _, d in ipairs(spec.dims) do table.insert(words, spec.maybe[d] and "[" .. d .. "]" or d) end
  for _, w in ipairs(more) do table.insert(words, w) end
  return table.concat(words, " ")
end

local function words_of(spec, input)
  local list = {}
  if spec.fixed then table.insert(list, spec.fixed) end
  for _, w in ipairs { "own", "const" } do if spec[w] then table.insert(list, w) end end
  for _, w in ipairs { "as", "with" } do
    if spec[w] then
      table.insert(list, w)
      table.insert(list, spec[w])
    end
  end
  if spec.optional then table.insert(list, "?") end
  if spec.out and not input then table.insert(list, "out") end
  return list
end

-- Tensors that the gradient needs under any of the op's settings; inputs that have any influence; a node without derivative, if any. whole: the
-- derivation with all that is optional, under the settings `present`.
local function needed_by_any(o, outputs, present, whole)
  local all, flows, without, unsaved = {}, {}, nil, {}
  for _, t in ipairs(o.specs) do if outputs[t.name] and not (t.saved and t.optional) then unsaved[t.name] = true end end
  local function take(given)
    without = without or given.graph.without
    -- What the caller has not kept is made again, of inputs that nothing else may need.
    for _, read in ipairs { outputs, unsaved } do for name in pairs((needs(given, readings(given, read)))) do all[name] = true end end
    for name in pairs(given.gradients) do flows[name] = true end
  end
  local function with(more)
    local given = {}
    for _, list in ipairs { present, more } do for k, v in pairs(list) do given[k] = v end end
    take(derive(forward_instance(o, nil, given)))
  end
  take(whole)
  -- Where an input is absent others may stand in for it.
  local absent, optional = {}, 0
  for _, t in ipairs(o.specs) do
    if present[t.name] and not t.out then
      absent[t.name], optional = "no", optional + 1
      with { [t.name] = "no" }
    end
  end
  if optional > 1 then with(absent) end
  for _, s in ipairs(o.settings) do
    for i = 2, s.kind == "option" and not s.of and #s.values or 0 do with { [s.key] = s.values[i] } end
  end
  return all, flows, without
end

-- A family whose gradients are chains says of which stages (families/gemm_gradient.lua): the gradients' family, definition and stages.
local function in_stages(o, outputs)
  local maker = o.family.gradient()
  local function plan(inst)
    if inst.plan then return inst.plan end
    local d, read = derive_for(o, inst, outputs)
    for _, n in ipairs(d.graph.nodes) do -- in the stages dims have other names
      if n.op == "size" then core.refuse("the gradient of '" .. o.name .. "', which reads the size of " .. n.dim .. ", is not made yet") end
    end
    inst.plan = maker.plan(inst, d, read)
    return inst.plan
  end
  local function forward(t) maker.define(plan(trace.current().op), t) end
  return maker.family(o), forward, function(c) return maker.stages(plan(c.inst)) end
end

-- The op NAME.grad; or nil and why there is none.
function autodiff.gradient(o)
  local present = {}
  for _, s in ipairs(o.settings) do if s.kind == "presence" then present[s.key] = "yes" end end
  local whole = derive(forward_instance(o, nil, present))
  local outputs = choose(whole)
  local needed, flows, without = needed_by_any(o, outputs, present, whole)
  if without then
    local hint = without.op == "lookup" and "; its table is declared const" or ""
    return nil, "'" .. without.op .. "' has no derivative" .. hint, without.loc
  end
  local tensors, beside, absent, results = {}, {}, {}, {}
  for _, t in ipairs(o.specs) do
    if t.out and has_gradient(t) then table.insert(tensors, declaration(t, "d" .. t.name, { "as", t.name })) end
    if flows[t.name] then table.insert(results, "d" .. t.name) end
  end
  if #results == 0 then return nil, "no input has an influence that has a derivative", o.loc end
  for _, t in ipairs(o.specs) do
    local as_input = needed[t.name]
    if as_input then table.insert(tensors, declaration(t, t.name, words_of(t, true)))
    elseif not t.saved then table.insert(beside, declaration(t, t.name, words_of(t))) end
    if o.declared.absent then absent[t.name] = o.declared.absent[t.name] end
    if as_input and t.saved then absent[t.name] = absent[t.name] or false end
  end
  for _, t in ipairs(o.specs) do
    if flows[t.name] then
      table.insert(tensors, declaration(t, "d" .. t.name, { "as", t.name, "out", #results > 1 and "?" or nil }))
      absent["d" .. t.name] = false
    end
  end
  local family, forward, stages = o.family, make_forward(o, outputs), nil
  if o.family.gradient then family, forward, stages = in_stages(o, outputs) end
  return op.new(o.name .. ".grad", {
    doc = "derived from " .. o.name .. ": " .. table.concat(results, ", "), tensors = tensors, beside = beside, absent = absent, scalars = o.declared.scalars,
    settings = o.declared.settings, dtypes = o.declared.dtypes, cases = o.declared.cases, curated = o.declared.curated_grad,
    forward = forward, stages = stages, rows = stages and o.flat and "M" or nil, gradient_of = o.name,
  }, family, o.loc)
end

return autodiff
