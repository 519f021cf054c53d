-- blockwise_emit.lua - the contract and the kernels of a blockwise op; families/blockwise.lua says what the kinds are.
--
-- A CTA has a tile of rows x cols; tiles are numbered along the columns first. A value of the definition is, in a kernel, a whole
-- tile, one number per row or per column of it, or one number, by the dims that it has: a dim of blocks is one place of the tile.
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local contract = use "kiln.contract"
local evaluate = use "kiln.evaluate"
local text = use "kiln.text"
local op = use "kiln.op"

local MOST_PARTS = 1024 -- of a whole tensor; each CTA of the second kernel reads them all

-- ---- shape: what the kernels of one emission share ----

local function new_shape(inst, graph, s)
  local z = { inst = inst, graph = graph, s = s, blocks = {}, R = false, tensors = op.present(inst) }
  for _, t in ipairs(z.tensors) do for _, d in ipairs(t.dims) do z.R = z.R or d == "R" end end
  for _, b in ipairs(inst.blocks) do
    z.blocks[b.dim] = b
    z.R = z.R or b.of == "R"
  end
  z.leads = z.R and { "M0", "M1", "M2" } or { "M0", "M1", "M2", "M3" }
  z.row = z.R and "R" or "M3"
  z.layout = layout.rowwise(s.rows, s.cols, s.warps, s.threads, s.vec)
  return z
end

-- The dims of a tensor as the contract sees them: { size, name, stride, what } from the outermost on; what: lead, row, col, rows or
-- cols (a dim of blocks).
local function places(z, t)
  local list = {}
  -- Columns lie together where vectors are read and written; what is written once per column may lie anywhere.
  local together = z.s.vec > 1 and (not t.out or text.has(t.dims, z.R and "R" or "M"))
  local function put(size, name, what)
    table.insert(list, { size = size, name = name, stride = what == "col" and together and "1" or t.name .. "_" .. #list, what = what })
  end
  for _, d in ipairs(t.dims) do
    local b = z.blocks[d]
    if d == "M" then for _, m in ipairs(z.leads) do put(m, m, m == z.row and "row" or "lead") end
    elseif b then put(string.format("ceildiv(%s,%d)", b.of, b.size), d, b.of == "N" and "cols" or "rows")
    else put(d, d, d == "R" and "row" or "col") end
  end
  return list
end

local function has(z, t, what)
  for i, p in ipairs(places(z, t)) do if p.what == what then return i - 1 end end
end

-- Bytes that a pointer and the strides are a multiple of.
local function alignment(z, t)
  local bytes = contract.bytes_of[t.dtype]
  for _, p in ipairs(places(z, t)) do if p.what == "col" and p.stride == "1" then return math.min(16, bytes * z.s.vec) end end
  return bytes
end

-- ---- contract ----

-- Do all tensors that have columns have every row, too, and no largest value either? Rows may be merged with columns where they lie together.
local function merges_columns(z)
  if z.R or #z.inst.blocks > 0 or (z.s.kind ~= "map" and z.s.kind ~= "whole") then return false end
  for _, t in ipairs(z.tensors) do if (has(z, t, "col") == nil) ~= (has(z, t, "row") == nil) then return false end end
  return true
end

local function bytes_text(z)
  local terms = {}
  for _, t in ipairs(z.tensors) do
    local factors = { tostring(contract.bytes_of[t.dtype] * (not t.out and (z.s.kind == "whole" or z.s.kind == "column") and 2 or 1)) }
    for _, p in ipairs(places(z, t)) do table.insert(factors, p.size) end
    table.insert(terms, table.concat(factors, "*"))
  end
  return table.concat(terms, "+")
end

local function put_contract(z)
  local s = z.s
  contract.line("collapse %s%s", table.concat(z.leads, " "), merges_columns(z) and " N" or "")
  for _, t in ipairs(z.tensors) do
    local sizes, strides = {}, {}
    for _, p in ipairs(places(z, t)) do
      table.insert(sizes, p.size)
      table.insert(strides, p.stride)
    end
    contract.tensor(t, sizes, strides, alignment(z, t), t.dims[1] == "M" and "lead " .. #z.leads or nil)
  end
  for _, sc in ipairs(z.inst.scalars) do contract.scalar(sc) end
  for _, b in ipairs(z.inst.blocks) do contract.line("let %s ceildiv(%s,%d)", b.dim, b.of, b.size) end
  contract.line("let lead M0*M1*M2")
  contract.line("let rows_of ceildiv(%s,%d)", z.row, s.rows)
  contract.line(s.kind == "row" and "let cols_of max(1,ceildiv(N,%d))" or "let cols_of ceildiv(N,%d)", s.cols) -- a row of nothing has a scale
  contract.line("let tiles lead*rows_of*cols_of")
  for _, name in ipairs { "cols", "rows" } do contract.line("derived by_%s fastdiv %s_of", name, name) end
  for _, name in ipairs { "M1", "M2" } do contract.line("derived by_%s fastdiv %s", name, name) end
  if s.kind == "row" then contract.line("require N<=%d \"a row has at most %d columns in registers\"", s.cols, s.cols) end
  if s.vec > 1 then contract.line("require N%%%d==0 \"columns are read in pieces of %d elements\"", s.vec, s.vec) end
  local bytes = bytes_text(z)
  contract.line("bytes %s", bytes)
  local col_waste, row_waste = string.format("roundup(N,%d)/max(N,1)", s.cols), string.format("roundup(%s,%d)/max(%s,1)", z.row, s.rows, z.row)
  local again = (s.kind == "whole" or s.kind == "column") and "+4000" or ""
  for _, t in ipairs(z.tensors) do -- one value per column is read once per tile, from the cache, at about twice the rate
    if not t.out and has(z, t, "col") and not has(z, t, "row") and s.kind ~= "column" then
      again = again .. string.format("+lead*%s*N*%.6g/bw", z.row, contract.bytes_of[t.dtype] / s.rows / 2)
    end
  end
  local rate = (s.vec == 1 and 4 or s.kind == "row2" and 1.5 or 1) * (1 + 16 / s.cols) -- short pieces of rows are slower
  contract.line("cost (%s)*%.4g/bw*(0.7+0.3*%s*%s)%s", bytes, rate, col_waste, row_waste, again)
end

-- ---- places of a kernel ----

local function number(name) return tile.to(tile.param(name, "i64"), "i32") end

local function divide(index, name, by) -- quotient and remainder by the parameter `name`
  local q = tile.fastdiv(index, tile.param(by, "i64"))
  return q, index - q * number(name)
end

-- Leading coordinates from their number; one leading dim, of size 1, is the common case.
local function leads_at(lead)
  local m = {}
  for i = 1, 3 do m[i] = tile.var(tile.const(0, "i32")) end
  tile.if_(tile.param("lead", "i64"):ne(tile.const(1, "i64")), function()
    local rest, at = divide(lead, "M2", "by_M2")
    tile.put(m[3], at)
    rest, at = divide(rest, "M1", "by_M1")
    tile.put(m[2], at)
    tile.put(m[1], rest)
  end)
  for i = 1, 3 do m[i] = tile.i64(tile.get(m[i])) end
  return m
end

-- Where tile number `index` lies.
local function place(index)
  local p = {}
  local rest
  rest, p.ct = divide(index, "cols_of", "by_cols")
  p.lead, p.rt = divide(rest, "rows_of", "by_rows")
  p.m = leads_at(p.lead)
  return p
end

local function coordinates(z, t, p)
  local c, lead = {}, 0
  for _, d in ipairs(places(z, t)) do
    local b = z.blocks[d.name]
    if d.what == "lead" then
      lead = lead + 1
      table.insert(c, p.m[lead])
    elseif d.what == "row" then table.insert(c, tile.i64(p.rt) * z.s.rows)
    elseif d.what == "col" then table.insert(c, tile.i64(p.ct) * z.s.cols)
    elseif d.what == "cols" then table.insert(c, tile.i64(p.ct))
    else table.insert(c, tile.i64(p.rt / (b.size // z.s.rows))) end
  end
  return c
end

-- ---- memory ----

local function view_of(z, t)
  local sizes, strides = {}, {}
  for _, p in ipairs(places(z, t)) do
    table.insert(sizes, p.name)
    table.insert(strides, p.stride)
  end
  local along = has(z, t, "col")
  return tile.view {
    tensor = t.name, rank = #sizes, dtype = t.dtype, align = alignment(z, t),
    sizes = table.concat(sizes, ","), strides = table.concat(strides, ","), multiple = along and z.s.vec or 1,
  }
end

-- Views of the tensors that a kernel accesses, made at its beginning.
local function views(z, wanted)
  local v = {}
  for _, t in ipairs(z.tensors) do if wanted(t) then v[t.name] = view_of(z, t) end end
  return v
end

local function is_tile(z, t) return has(z, t, "row") ~= nil and has(z, t, "col") ~= nil end

-- A tile of one row is within the rows, of which there is a tile each.
local function inside_rows(z) return z.s.rows == 1 and { 0 } or nil end

local CACHE = { keep = "keep", some = "keep_some", plain = "nc" }

-- For which part of a tensor's lines L2 has room until the second kernel reads it, measured on an H200: two of five of 67 MB; of a gigabyte
-- all, as the second kernel begins with those that came last.
local KEPT = "kept"
local function put_kept(z)
  local bytes = 0 -- of one place of a tile, over all that is read
  for _, t in ipairs(z.tensors) do if not t.out and is_tile(z, t) then bytes = bytes + contract.bytes_of[t.dtype] end end
  contract.line("derived %s f32 min(1,max(0.4,tiles*%d/268435456))", KEPT, z.s.rows * z.s.cols * bytes)
end

-- An argument at a place, in f32. like(): a fragment of the tile's layout, whose slices values of one dim take. unsure: there may be
-- no tile there.
local function read_raw(z, view, t, p, like, unsure)
  local c, row, col = coordinates(z, t, p), has(z, t, "row"), has(z, t, "col")
  local cache, inside = CACHE[z.s.cache], not unsure and inside_rows(z) or nil
  if row and col then
    local share = z.s.cache == "some" and KEPT or nil
    return tile.load(view, c, { shape = { z.s.rows, z.s.cols }, layout = z.layout, dims = { row, col }, cache = cache, share = share, inside = inside })
  end
  if row then return tile.load_like(view, like(), c, { dims = { row, -1 }, cache = "nc", inside = inside }) end
  if col then return tile.load_like(view, like(), c, { dims = { -1, col }, cache = "nc" }) end
  return tile.load1(view, c)
end
local function computed(t, raw) return t.dtype == "bool" and raw or tile.f32(raw) end
local function read(z, view, t, p, like) return computed(t, read_raw(z, view, t, p, like)) end

local function is_whole(n) return n.op == "const" and math.tointeger(n.value) ~= nil end

-- What is made of a value rounded to i32 by adding whole numbers stays an integer on its way to an integer output; otherwise nil.
local function integer(e, n)
  if n.op == "round" and n.round == "i32" then return tile.to(e:value(n.args[1]), "i32") end
  if n.op ~= "add" and n.op ~= "sub" then return nil end
  local a = integer(e, n.args[1])
  if not a or not is_whole(n.args[2]) then return nil end
  local c = math.tointeger(n.args[2].value)
  return n.op == "add" and a + c or a - c
end
local INTEGERS = { u8 = true, i8 = true }

-- The value may lack dims of its output; then it is spread over them. cache: how it is stored.
local function write(z, view, output, e, p, cache)
  local t = output.tensor
  local n = output.value
  if n.op == "round" and n.round == t.dtype then n = n.args[1] end -- the assignment rounds
  local value = INTEGERS[t.dtype] and is_tile(z, t) and integer(e, n) or e:value(n)
  local c, row, col = coordinates(z, t, p), has(z, t, "row"), has(z, t, "col")
  core.at(output.loc[1], output.loc[2])
  if row and col then
    if value.dtype ~= "i32" then value = tile.spread(value, { z.s.rows, z.s.cols }, z.layout) end
    tile.store(view, tile.to(value, t.dtype), c, { dims = { row, col }, cache = cache, inside = inside_rows(z) })
  elseif row or col then
    if value.kind ~= "frag" then -- the same along it
      value = tile.reduce(tile.spread(value, { z.s.rows, z.s.cols }, z.layout), "max", row and 1 or 0)
    end
    tile.store(view, tile.to(value, t.dtype), c, { dims = { row or col }, inside = row and inside_rows(z) })
  else
    tile.store1(view, tile.to(value, t.dtype), c)
  end
  core.at()
end

local function like_of(z)
  local f
  return function()
    f = f or tile.frag("f32", { z.s.rows, z.s.cols }, z.layout)
    return f
  end
end

-- ---- the largest values ----

local function is_largest(n) return n.op == "amax" or n.op == "block_amax" end

local ONE = "has several largest values; a blockwise op has one, by one dim after the other"

-- The outermost of them, and the value that the innermost is taken of. nil: the op has none.
local function find_largest(z)
  local top
  for _, n in ipairs(z.graph.nodes) do
    if is_largest(n) then
      if top and n.args[1].index ~= top.index then op.fail(z.inst.op, ONE) end
      top = n
    end
  end
  local function is_inner(n) return is_largest(n) and n.index ~= top.index end
  for _, n in ipairs(z.graph.nodes) do
    for _, a in ipairs(n.args) do if is_inner(a) and not is_largest(n) then op.fail(z.inst.op, ONE) end end
  end
  for _, o in ipairs(z.graph.outputs) do if is_inner(o.value) then op.fail(z.inst.op, ONE) end end
  local inner = top
  while inner and is_largest(inner) do inner = inner.args[1] end
  if inner and not (inner.op == "abs" and inner.args[1].op == "arg") then
    op.fail(z.inst.op, "the largest values of a blockwise op are of abs(x), x an input: what lies beyond the tensor counts as 0")
  end
  return top, inner
end

-- Evaluates the graph at place p; top: the largest value there.
local function evaluator(z, view, p, like, top_node, top)
  local e = evaluate.new(function(n) return not n.dims.N or (z.s.kind == "column" and not n.dims.R) end)
  e.argument = function(n)
    local t = z.inst.by_name[n.name]
    return read(z, view[t.name], t, p, like)
  end
  e.spread = function(v) return tile.spread(v, { z.s.rows, z.s.cols }, z.layout) end
  e.special = function(n)
    if n.op == "spread" then return e:value(n.args[1]) end
    if top_node and n.index == top_node.index then return top end
  end
  return e
end

-- One walk: every CTA has all that its outputs need.
local function in_one_walk(z, top_node, inner)
  local p, like = place(tile.cta(0)), like_of(z)
  local view = views(z, function() return true end)
  local raw = {}
  for _, n in ipairs(z.graph.nodes) do -- every load is on its way before the first barrier
    if n.op == "arg" then raw[n.name] = read_raw(z, view[n.name], z.inst.by_name[n.name], p, like) end
  end
  local e = evaluator(z, view, p, like, top_node)
  e.argument = function(n) return computed(z.inst.by_name[n.name], raw[n.name]) end
  if top_node then
    local m = tile.reduce(e:value(inner), "max", 1)
    e.kept[top_node.index] = z.s.kind == "block" and tile.reduce(m, "max", 0) or m
  end
  for _, o in ipairs(z.graph.outputs) do write(z, view[o.tensor.name], o, e, p) end
end

-- A running maximum over what body(take) reads.
local function running_max(z, body)
  local most = tile.frag("f32", { z.s.rows, z.s.cols }, z.layout)
  tile.fill(most, 0.0)
  body(function(v) tile.set(most, tile.read(most):max(v)) end)
  return tile.read(most)
end

-- Rows too long for registers: read for the largest value, and read again.
local function in_two_walks(z, top_node, inner)
  local p, like = {}, like_of(z)
  p.lead, p.rt = divide(tile.cta(0), "rows_of", "by_rows")
  p.m, p.ct = leads_at(p.lead), tile.const(0, "i32")
  like()
  local view, pieces = views(z, function() return true end), number("cols_of")
  local function walk(body) tile.for_(tile.const(0, "i32"), pieces, 1, function(i) body({ m = p.m, rt = p.rt, ct = i, lead = p.lead }) end) end
  local m = running_max(z, function(take)
    walk(function(q) take(evaluator(z, view, q, like):value(inner)) end)
  end)
  local e = evaluator(z, view, p, like, top_node, tile.reduce(m, "max", 1))
  for _, n in ipairs(z.graph.nodes) do if not n.dims.N and n.op ~= "arg" then e:value(n) end end
  for _, o in ipairs(z.graph.outputs) do
    if not has(z, o.tensor, "col") then write(z, view[o.tensor.name], o, e, p) end
  end
  walk(function(q)
    e:forget()
    e.argument = function(n) return read(z, view[n.name], z.inst.by_name[n.name], q, like) end
    for _, o in ipairs(z.graph.outputs) do
      if has(z, o.tensor, "col") then write(z, view[o.tensor.name], o, e, q) end
    end
  end)
end

local function has_dims(n)
  for _ in pairs(n.dims) do return true end
  return false
end
local function only(n) return function(t) return t.name == n.args[1].name end end

-- ---- a whole tensor: parts, then each CTA joins all of them and walks ----

local function part_view() return tile.view { tensor = "part", rank = 1, dtype = "f32", align = 4, sizes = "parts", strides = "1", multiple = 1 } end

-- This CTA's tiles, each as body(place, raw): raw, by name, is what it reads of the tensors that have rows and columns. The tile after
-- it is on its way meanwhile. where(i): the place of the i-th.
local function tiles_ahead(z, view, where, like, body)
  local tiles, step, ahead = number("tiles"), tile.ctas(0), {}
  local function read_ahead(name, i)
    return read_raw(z, view[name], z.inst.by_name[name], where(tile.max(tile.min(i, tiles - 1), 0)), like, true)
  end
  like()
  for _, n in ipairs(z.graph.nodes) do
    local t = n.op == "arg" and view[n.name] and z.inst.by_name[n.name]
    if t and is_tile(z, t) and not ahead[n.name] then
      ahead[n.name] = tile.frag(t.dtype, { z.s.rows, z.s.cols }, z.layout)
      tile.set(ahead[n.name], read_ahead(n.name, tile.cta(0)))
    end
  end
  return function()
    tile.for_(tile.cta(0), tiles, step, function(i)
      local raw, next_raw = {}, {}
      for name, f in pairs(ahead) do
        raw[name] = tile.copy(f)
        next_raw[name] = read_ahead(name, i + step)
      end
      body(where(i), raw)
      for name, f in pairs(ahead) do tile.set(f, next_raw[name]) end -- taking a value waits for its load
    end)
  end
end

local function with_ahead(z, e, view, like, p, raw)
  e.argument = function(n)
    local t = z.inst.by_name[n.name]
    return raw[n.name] and computed(t, raw[n.name]) or read(z, view[n.name], t, p, like)
  end
  return e
end

local function parts_of_whole(z, inner)
  local view = views(z, only(inner))
  local part, like = part_view(), like_of(z)
  local m = running_max(z, function(take)
    tiles_ahead(z, view, place, like, function(p, raw) take(with_ahead(z, evaluator(z, view, p, like), view, like, p, raw):value(inner)) end)()
  end)
  tile.store1(part, tile.reduce(tile.reduce(m, "max", 1), "max", 0), { tile.cta(0) })
end

-- The last tiles come first: of those the first kernel has left most in the cache.
local function walk_whole(z, top_node)
  local view, like, e = views(z, function() return true end), like_of(z), nil
  local threads = z.s.warps * 32
  local each = MOST_PARTS // threads
  local lay = string.format("%sl32@0:%d w%d@0:%d", each > 1 and "r" .. each .. "@0:1 " or "", each, z.s.warps, 32 * each)
  local function from_last(i) return place(tile.max(number("tiles") - 1 - i, 0)) end
  local go = tiles_ahead(z, view, from_last, like, function(p, raw) -- the first is read before the parts are
    e:forget()
    with_ahead(z, e, view, like, p, raw)
    for _, o in ipairs(z.graph.outputs) do
      if is_tile(z, o.tensor) then write(z, view[o.tensor.name], o, e, p, "stream") end -- what is still to be read stays in the cache
    end
  end)
  local parts = tile.load(part_view(), { 0 }, { shape = { MOST_PARTS }, layout = lay })
  e = evaluator(z, view, nil, like, top_node, tile.reduce(parts, "max", 0))
  for _, n in ipairs(z.graph.nodes) do if not has_dims(n) and not is_largest(n) then e:value(n) end end
  tile.if_(tile.cta(0):eq(0), function()
    for _, o in ipairs(z.graph.outputs) do
      if not is_tile(z, o.tensor) then write(z, view[o.tensor.name], o, e, nil) end
    end
  end)
  go()
end

-- ---- columns: parts of some rows each, joined by a kernel of their own, then a walk by the same parts ----

local function column_views()
  local part = { tensor = "part", rank = 3, dtype = "f32", align = 4, sizes = "lead,parts,N", strides = "part_0,N,1", multiple = 1 }
  local top = { tensor = "top", rank = 2, dtype = "f32", align = 4, sizes = "lead,N", strides = "N,1", multiple = 1 }
  return part, top
end

-- CTA to leading coordinates, part and columns; the rows of the part as a loop.
local function part_place()
  local p, rest = {}, nil
  rest, p.ct = divide(tile.cta(0), "cols_of", "by_cols")
  p.lead, p.part = divide(rest, "parts", "by_parts")
  p.m = leads_at(p.lead)
  return p
end

local function each_row_tile(p, body)
  local first = p.part * number("part_tiles")
  local last = tile.min(first + number("part_tiles"), number("rows_of"))
  tile.for_(first, last, 1, function(i) body({ m = p.m, rt = i, ct = p.ct, lead = p.lead }) end)
end

local function parts_of_columns(z, inner)
  local view, attrs = views(z, only(inner)), column_views()
  local part, like, p = tile.view(attrs), like_of(z), part_place()
  local m = running_max(z, function(take)
    each_row_tile(p, function(q) take(evaluator(z, view, q, like):value(inner)) end)
  end)
  local most = tile.reduce(m, "max", 0)
  tile.store(part, most, { tile.i64(p.lead), tile.i64(p.part), tile.i64(p.ct) * z.s.cols }, { dims = { 2 } })
end

-- A CTA has the columns of a tile and goes through all parts of them.
local function join_columns(z, top_node)
  local view = views(z, function(t) return t.out and not is_tile(z, t) end)
  local part_attrs, top_attrs = column_views()
  local part, top, like = tile.view(part_attrs), tile.view(top_attrs), like_of(z)
  like()
  local p = {}
  p.lead, p.ct = divide(tile.cta(0), "cols_of", "by_cols")
  p.m = leads_at(p.lead)
  local column = tile.i64(p.ct) * z.s.cols
  local m = running_max(z, function(take)
    tile.for_(tile.const(0, "i32"), number("parts"), z.s.rows, function(i)
      take(tile.load(part, { tile.i64(p.lead), tile.i64(i), column }, { shape = { z.s.rows, z.s.cols }, layout = z.layout, dims = { 1, 2 } }))
    end)
  end)
  local most = tile.reduce(m, "max", 0)
  tile.store(top, most, { tile.i64(p.lead), column }, { dims = { 1 } })
  local e = evaluator(z, view, p, like, top_node, most)
  for _, o in ipairs(z.graph.outputs) do
    if not is_tile(z, o.tensor) then write(z, view[o.tensor.name], o, e, p) end
  end
end

local function walk_columns(z, top_node)
  local view = views(z, function(t) return not t.out or is_tile(z, t) end)
  local _, attrs = column_views()
  local top, like, p = tile.view(attrs), like_of(z), part_place()
  like()
  local m = tile.load_like(top, like(), { tile.i64(p.lead), tile.i64(p.ct) * z.s.cols }, { dims = { -1, 1 } })
  local e = evaluator(z, view, p, like, top_node, m)
  for _, n in ipairs(z.graph.nodes) do
    if not n.dims.R and not is_largest(n) and n.op ~= "arg" then e:value(n) end
  end
  each_row_tile(p, function(q)
    e:forget()
    e.argument = function(n) return read(z, view[n.name], z.inst.by_name[n.name], q, like) end
    for _, o in ipairs(z.graph.outputs) do
      if is_tile(z, o.tensor) then write(z, view[o.tensor.name], o, e, q) end
    end
  end)
end

-- ---- emission ----

local function kernel(z, name, body) tile.kernel({ name = name, threads = z.s.warps * 32, min_ctas = z.s.ctas > 1 and z.s.ctas or nil }, body) end

local STEPS = {}

function STEPS.map(z, entry, top, inner)
  kernel(z, entry, function() in_one_walk(z, top, inner) end)
  contract.line("step main entry $entry0 grid tiles,1,1 block $block0 shared $shared0 args $args0")
end
STEPS.row, STEPS.strip, STEPS.block = STEPS.map, STEPS.map, STEPS.map

function STEPS.row2(z, entry, top, inner)
  kernel(z, entry, function() in_two_walks(z, top, inner) end)
  contract.line("step main entry $entry0 grid lead*rows_of,1,1 block $block0 shared $shared0 args $args0")
end

function STEPS.whole(z, entry, top, inner)
  local resident = string.format("%d*sms", z.s.ctas > 1 and z.s.ctas or 8) -- the CTAs that run at once share the tiles
  contract.line("let parts max(1,min(tiles,min(%d,%s)))", MOST_PARTS, resident)
  contract.line("workspace part f32 [parts]")
  if z.s.cache == "some" then put_kept(z) end
  kernel(z, entry .. "_parts", function() parts_of_whole(z, inner) end)
  kernel(z, entry, function() walk_whole(z, top) end)
  contract.line("step parts entry $entry0 grid parts,1,1 block $block0 shared $shared0 args $args0")
  contract.line("step main entry $entry1 grid max(1,min(tiles,%s)),1,1 block $block1 shared $shared1 args $args1", resident)
end

-- About 2048 CTAs, but at most 256 parts for the second kernel to join.
function STEPS.column(z, entry, top, inner)
  contract.line("let part_tiles max(1,ceildiv(rows_of,max(1,min(256,ceildiv(2048,max(1,lead*cols_of))))))")
  contract.line("let parts max(1,ceildiv(rows_of,part_tiles))")
  contract.line("let part_0 parts*N")
  contract.line("derived by_parts fastdiv parts")
  contract.line("workspace part f32 [lead,parts,N]")
  contract.line("workspace top f32 [lead,N]")
  kernel(z, entry .. "_parts", function() parts_of_columns(z, inner) end)
  kernel(z, entry .. "_join", function() join_columns(z, top) end)
  kernel(z, entry, function() walk_columns(z, top) end)
  contract.line("step parts entry $entry0 grid lead*parts*cols_of,1,1 block $block0 shared $shared0 args $args0")
  contract.line("step join entry $entry1 grid lead*cols_of,1,1 block $block1 shared $shared1 args $args1")
  contract.line("step main entry $entry2 grid lead*parts*cols_of,1,1 block $block2 shared $shared2 args $args2")
end

return function(inst, graph, s, entry)
  local z = new_shape(inst, graph, s)
  put_contract(z)
  local top, inner = find_largest(z)
  STEPS[s.kind](z, entry, top, inner)
end
