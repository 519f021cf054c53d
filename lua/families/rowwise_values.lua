-- rowwise_values.lua - the values of a definition's nodes on a tile of rows, and the moves along a row.
--
-- A place p of a kernel: { inst, seg, view, s (schedule), rows, cols (of the tile), lay (its layout), at (coordinates of the
-- first row by slot, i64), column (of the first column, i64 or 0), asks (what emission adds to the contract, rowwise_sizes.lua), sure
-- (the rows of the tile are all there), halves (of rows that are walked in turns of their halves, or nil) }.
--
-- Integers that advance by one along the columns are found once per vector, on the tile of the vectors' first elements, its "heads".
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local evaluate = use "kiln.evaluate"
local segments = use "families.rowwise_segments"
local sizes = use "families.rowwise_sizes"
local values = {}

local REDUCE = segments.REDUCE

-- ---- which columns are 0 beyond the end ----

local function is_finite(n) return n.op == "const" and n.value - n.value == 0 end

-- Beyond the end: made of zeros and of values of the row by +, - and *. Where it is not finite there, the row has no finite sum.
local function is_tame(n, column)
  if n.op == "arg" or not n.dims[column] then return true end
  if n.op == "add" or n.op == "sub" or n.op == "mul" then return is_tame(n.args[1], column) and is_tame(n.args[2], column) end
  if n.op == "neg" or n.op == "round" or n.op == "stop" then return is_tame(n.args[1], column) end
  return false
end

-- Is the value 0 beyond the row's end, where arguments read 0? What may be infinite, NaN or a divisor of 0 there, is not.
local function zero_outside(n, column)
  local a, b = n.args[1], n.args[2]
  if n.op == "arg" then return n.dims[column] or false end
  if n.op == "const" then return n.value == 0 end
  if n.op == "mul" then return zero_outside(a, column) and is_tame(b, column) or is_tame(a, column) and zero_outside(b, column) end
  if n.op == "div" then return zero_outside(a, column) and (b.op == "dim" or is_finite(b) and b.value ~= 0) end
  if n.op == "add" or n.op == "sub" or n.op == "min" or n.op == "max" then return zero_outside(a, column) and zero_outside(b, column) end
  if n.op == "neg" or n.op == "abs" or n.op == "round" or n.op == "stop" or n.op == "tanh" or n.op == "erf" or n.op == "sin" then
    return zero_outside(a, column)
  end
  return false
end

-- How many row sums lie one above the other below a node.
function values.depth(n, column, memo)
  if memo[n.index] then return memo[n.index] end
  local d = 0
  for _, a in ipairs(n.args) do d = math.max(d, values.depth(a, column, memo)) end
  if REDUCE[n.op] and n.dim == column then d = d + 1 end
  memo[n.index] = d
  return d
end

-- Row sums of a segment by depth: levels[d] is a list of nodes.
function values.levels(seg)
  local levels, memo = {}, {}
  for _, n in ipairs(seg.nodes) do
    if REDUCE[n.op] and n.dim == seg.column then
      local d = values.depth(n, seg.column, memo)
      for k = #levels + 1, d do levels[k] = {} end
      table.insert(levels[d], n)
    end
  end
  return levels, memo
end

-- ---- tiles of a place ----

local function has_dim(t, d)
  for _, own in ipairs(t.dims) do if own == d then return true end end
  return false
end

-- Vectors of the layout: of pairs at least, where neighbours meet or halves take turns.
local function lane_vec(p)
  if p.halves then return 2 * p.piece end
  for _, n in ipairs(p.seg.nodes) do
    if p.s.vec == 1 and (n.op == "swap_pairs" or n.op == "lookup") then return 2 end
  end
  return p.s.vec
end

function values.place(p)
  p.halves = p.inst.halves[p.seg.column]
  p.piece = sizes.piece(p.inst, p.seg.column, p.s.vec)
  p.lane_vec = lane_vec(p)
  p.lay = layout.rowwise(p.rows, p.cols, p.s.warps, p.s.threads, p.lane_vec)
  p.column = p.column or 0
  return p
end

-- Some fragment of the tile's layout, for slices to follow.
function values.like(p)
  p.outer = p.outer or tile.frag("f32", { p.rows, p.cols }, p.lay)
  return p.outer
end

local function spread(p, v) return tile.spread(v, { p.rows, p.cols }, p.lay) end

-- Coordinates of a tensor's tile.
function values.coordinates(p, t, column)
  local c = {}
  for _, slot in ipairs(segments.slots_of(p.inst, t)) do
    if segments.is_column(slot) then table.insert(c, column) else table.insert(c, p.at[slot]) end
  end
  return c
end

-- Which dims of the tensor the tile's rows and columns are; -1: none.
local function tile_dims(p, t)
  local rows, slots = -1, segments.slots_of(p.inst, t)
  local tiled = p.seg.slots[#p.seg.slots]
  for i, slot in ipairs(slots) do if slot == tiled then rows = i - 1 end end
  return { rows, has_dim(t, p.seg.column) and #slots - 1 or -1 }
end
values.tile_dims = tile_dims

-- Attributes of accesses to a shared tile that has a row as it lies in memory.
function values.order(p, attrs)
  attrs = attrs or {}
  if p.halves then attrs.halves, attrs.run = sizes.order(p.inst, p.seg.column), p.piece end
  return attrs
end

-- An argument's tile as it stands in memory; one value per row, per column, or altogether where it has no more.
function values.raw(p, n, cache)
  local t = p.inst.by_name[n.name]
  local dims, whole = tile_dims(p, t), false
  local view, c = p.view[t.name], values.coordinates(p, t, p.column)
  whole = dims[1] >= 0 and dims[2] >= 0
  if p.inst.written_over[t.name] then cache = whole and p.s.cache == "keep" and "keep_written" or nil
  else cache = cache or whole and p.s.cache == "keep" and "keep" or "nc" end
  local inside = dims[1] >= 0 and p.sure and { 0 } or nil
  if whole then return tile.load(view, c, { shape = { p.rows, p.cols }, layout = p.lay, cache = cache, dims = dims, inside = inside }) end
  if dims[1] < 0 and dims[2] < 0 then return tile.load1(view, c) end
  return tile.load_like(view, values.like(p), c, { cache = cache, dims = dims, inside = inside })
end

-- What was read, as the definition computes with it: f32, or a condition.
function values.number(v) return v.dtype == "bool" and v or tile.f32(v) end

function values.read(p, n) return values.number(values.raw(p, n)) end

-- Is the argument only a table that lookups read? (Asked of each argument at each place: what reads it is listed once.)
function values.is_table(seg, arg)
  if not seg.tables then
    local read = {}
    seg.tables = {}
    for _, n in ipairs(seg.nodes) do
      for i, a in ipairs(n.args) do
        local as_table = n.op == "lookup" and i == 1
        seg.tables[a.index] = as_table and not read[a.index] or nil
        read[a.index] = read[a.index] or not as_table
      end
    end
  end
  return seg.tables[arg.index] or false
end

-- Values that a loop over the rows computes.
function values.wanted(seg)
  local list = {}
  for _, o in ipairs(seg.outputs) do table.insert(list, o.value) end
  for _, sum in ipairs(seg.sums) do table.insert(list, sum.value) end
  return list
end

-- Does an output lie along the row, or at least its value? Then the last walk over the row makes it.
function values.is_along(p, o) return (o.value.dims[p.seg.column] or has_dim(o.tensor, p.seg.column)) and true or false end

-- A row in pieces is walked over once per level of row sums, and once for the outputs: names of the tensors that more than one of these
-- walks reads along the whole row. What is one value per row is made between the walks.
function values.rows_read_again(p)
  local names, first, again = {}, {}, {}
  local function read(n, walk, seen)
    if seen[n.index] or not n.dims[p.seg.column] then return end
    seen[n.index] = true
    for i, a in ipairs(n.args) do if n.op ~= "lookup" or i > 1 then read(a, walk, seen) end end
    local dims = n.op == "arg" and tile_dims(p, p.inst.by_name[n.name])
    if not dims or dims[1] < 0 or dims[2] < 0 or again[n.name] then return end
    first[n.name] = first[n.name] or walk
    if first[n.name] < walk then
      again[n.name] = true
      table.insert(names, n.name)
    end
  end
  local levels = values.levels(p.seg)
  for walk, level in ipairs(levels) do
    local seen = {}
    for _, n in ipairs(level) do read(n.args[1], walk, seen) end
  end
  local seen = {}
  for _, o in ipairs(p.seg.outputs) do if values.is_along(p, o) then read(o.value, #levels + 1, seen) end end
  return names
end

-- Arguments of a loop over rows: those with rows and columns that it walks over, and those with one value per row.
function values.split_arguments(p)
  local whole, row, has = {}, {}, {}
  for _, n in ipairs(p.seg.nodes) do
    if n.op == "arg" and not has[n.name] and not values.is_table(p.seg, n) then
      local dims = tile_dims(p, p.inst.by_name[n.name])
      has[n.name] = true
      if dims[1] >= 0 and dims[2] >= 0 then table.insert(whole, n)
      elseif dims[1] >= 0 then table.insert(row, n) end
    end
  end
  return whole, row
end

-- ---- columns as numbers ----

local function log2(n)
  local k = 0
  while n > 1 do
    n = n // 2
    k = k + 1
  end
  return k
end

-- A fragment of heads over the whole tile.
local function widen(p, v)
  for _ = 1, log2(p.s.vec) do v = tile.twice(v) end
  return v
end

-- A fragment of which each element stands for `step` of the tile's columns, or of its first `cols`.
local function like_of(p, step, cols)
  local n = (cols or p.cols) // step
  return tile.frag("f32", { p.rows, n }, layout.rowwise(p.rows, n, p.s.warps, p.s.threads, math.max(1, p.lane_vec // step)))
end

local function head_like(p)
  p.heads = p.heads or like_of(p, p.s.vec)
  return p.heads
end

-- Pairs of vectors from both halves: their heads, and the first vectors. Where elements are read in vectors, of a thread only its
-- first pair: its threads are to go over whole halves, so that all of its pairs have the same places in them.
local function pair_columns(p) return p.s.vec > 1 and 2 * p.s.vec * p.s.threads or p.cols end
local function pair_like(p)
  p.pairs = p.pairs or like_of(p, 2 * p.s.vec, pair_columns(p))
  return p.pairs
end
local function first_like(p)
  local n = pair_columns(p) // 2
  p.firsts = p.firsts or tile.frag("f32", { p.rows, n }, layout.rowwise(p.rows, n, p.s.warps, p.s.threads, p.s.vec))
  return p.firsts
end

-- A view that is walked in the row's order.
local function walked_view(p)
  for _, t in ipairs(p.inst.tensors) do if t.present and has_dim(t, p.seg.column) then return p.view[t.name] end end
end

local function columns_on(p, frag, step)
  if p.halves then return tile.columns(walked_view(p), frag, p.column, step) end
  local v = step > 1 and tile.coord(frag, 1) * step or tile.coord(frag, 1)
  if p.column == 0 then return v end
  return v + tile.to(p.column, "i32")
end

local function own_columns(p, on_heads)
  if on_heads then return columns_on(p, head_like(p), p.s.vec) end
  return columns_on(p, values.like(p), 1)
end

-- Columns on the whole tile from those of the heads: vectors are consecutive.
local function from_heads(p, heads)
  return widen(p, heads - own_columns(p, true)) + own_columns(p, false)
end

-- Does the integer advance by one within each vector, given requirements that it adds? (a column, or one within its block)
local function is_run(p, n, test)
  if n.op == "index" then return n.dim == p.seg.column end
  if n.op ~= "mod" or not is_run(p, n.args[1], test) then return false end
  local width = sizes.text(n.args[2])
  if width and not test then sizes.need_multiple(p.asks, width) end
  return width ~= nil
end

-- A comparison that comes out alike in each vector: of a run with a size that vectors divide.
local function is_even(p, n)
  if n.op ~= "lt" and n.op ~= "le" or p.s.vec == 1 then return false end
  local bound = sizes.text(n.args[2])
  if n.op ~= "lt" or not bound or not is_run(p, n.args[1], true) then return false end
  is_run(p, n.args[1])
  sizes.need_multiple(p.asks, bound)
  return true
end

local function last_column(p) return tile.to(tile.param(p.seg.column, "i64"), "i32") end

-- The condition that an element is within the row.
local function inside_row(p)
  local on_heads, inside = p.s.vec > 1, nil
  if p.halves then
    inside = tile.lt(own_columns(p, on_heads), last_column(p))
  else
    local left = tile.param(p.seg.column, "i64") - tile.i64(p.column)
    if p.s.kind == "passes" then left = tile.min(left, 1 << 30) end -- else a row has no more columns than a tile
    left = tile.to(left, "i32")
    inside = tile.lt(on_heads and tile.coord(head_like(p), 1) * p.s.vec or tile.coord(values.like(p), 1), left)
  end
  return on_heads and widen(p, inside) or inside
end

-- The value, and `nothing` beyond the row's end.
local function within_row(p, v, nothing) return tile.where(inside_row(p), v, nothing) end

-- ---- integers made of sizes ----

-- The parameter that a definition's integer is, or nil. Also a quotient or remainder by such a one: by multiplication.
local function by_sizes(p, e, n)
  if n.op == "const" or n.op == "size" or n.op == "scalar" or n.dtype ~= "i32" then return nil end
  local text = sizes.is_safe(n) and sizes.text(n)
  if text then return tile.to(tile.param(sizes.let(p.asks, text), "i64"), "i32") end
  if n.op ~= "idiv" and n.op ~= "mod" then return nil end
  text = sizes.is_safe(n.args[2]) and n.args[2].op ~= "const" and sizes.text(n.args[2])
  if not text then return nil end
  local name, a = sizes.let(p.asks, text), e:value(n.args[1])
  local quotient = tile.fastdiv(a, tile.param(sizes.divisor(p.asks, name), "i64"))
  return n.op == "idiv" and quotient or a - quotient * tile.to(tile.param(name, "i64"), "i32")
end

-- ---- the evaluator of a place ----

-- One entry of a table per column, from the table's row of this row.
local function lookup(p, e, n)
  local arg, row, entry = n.args[1], n.args[2], n.args[3]
  local t = p.inst.by_name[arg.name]
  local dim, shifts = sizes.split_row(row)
  if not dim or segments.is_column(dim) or segments.is_lead(dim) then
    core.at(n.loc[1], n.loc[2])
    error("lookup: the row is index \"T\" of a dim of the rows, or that plus a scalar", 0)
  end
  if sizes.shift(shifts) == false then
    core.at(n.loc[1], n.loc[2])
    error("lookup: what is added to index \"" .. dim .. "\" is 0 or more: a scalar, or made of sizes, numbers and scalars of the plan", 0)
  end
  local at = p.at[dim]
  for _, shift in ipairs(shifts) do at = at + tile.i64(e:value(shift)) end
  local dims = { dim == p.seg.tiled and 0 or -1, 1 }
  local function from(column) return dims[1] == 0 and column or tile.column_of_row(at, column, t.dims[1], t.dims[2]) end
  local cache = p.lookup_cache or "keep"
  if entry.op == "index" and not p.halves then
    return tile.f32(values.load_entries(p, p.view[t.name], { at, from(p.column) }, dims, cache))
  end
  local is_half = entry.op == "idiv" and entry.args[1].op == "index" and entry.args[2].op == "const" and entry.args[2].value == 2
  if is_half and not p.halves and dims[1] == 0 then
    local lay = layout.rowwise(p.rows, p.cols // 2, p.s.warps, p.s.threads, p.lane_vec // 2)
    local half = p.column == 0 and 0 or p.column / tile.const(2, "i64")
    local entries = tile.load(p.view[t.name], { at, half }, { shape = { p.rows, p.cols // 2 }, layout = lay, cache = cache, dims = dims })
    return tile.twice(tile.f32(entries))
  end
  local columns, run
  if p.halves and p.piece == p.s.vec and sizes.is_entry_of_half(p.halves, entry) then
    local width = e:value(entry.args[2])
    local name = sizes.let(p.asks, sizes.text(entry.args[2]))
    local c = columns_on(p, pair_like(p), 2 * p.s.vec)
    local first = c - tile.fastdiv(c, tile.param(sizes.divisor(p.asks, name), "i64")) * width
    columns = widen(p, first - tile.coord(pair_like(p), 1) * p.s.vec) + tile.coord(first_like(p), 1)
    if p.s.vec > 1 then is_run(p, entry) end
    local entries = tile.gather(p.view[t.name], columns, { at, from(0) }, { run = p.s.vec, cache = cache, dims = dims })
    local times = p.cols // pair_columns(p)
    if times > 1 then sizes.need_divisor(p.asks, p.halves.half, p.s.threads) end
    return tile.repeat_(tile.twice(tile.f32(entries), p.s.vec), times)
  end
  if p.s.vec > 1 and is_run(p, entry, true) then
    is_run(p, entry)
    columns, run = from_heads(p, e:on_heads(entry)), p.s.vec
  else
    columns, run = e:value(entry), 1
    if columns.kind ~= "frag" then error("lookup: the entry does not depend on the column", 0) end
  end
  return tile.f32(tile.gather(p.view[t.name], columns, { at, from(0) }, { run = run, cache = cache, dims = dims }))
end

-- The evaluator of a place. keeps(node): values that stay when the place moves along the row.
function values.evaluator(p, keeps)
  local e = evaluate.new(keeps or function(n) return not n.dims[p.seg.column] end)
  local column, tiled, depths = p.seg.column, p.seg.tiled, {}
  e.whole = function(n) return n.dims[tiled] and n.dims[column] or false end
  e.per_row = function(n) return not n.dims[column] and (n.dims[tiled] or values.depth(n, column, depths) > 0) end
  e.per_column = function(n) return n.dims[column] and not n.dims[tiled] or false end
  e.spread = function(v) return spread(p, v) end
  e.argument = function(n)
    if p.read then return p.read(n) end -- a skeleton that has it in shared memory, say
    return values.read(p, n)
  end
  e.index = function(n)
    if n.dim == column then return own_columns(p, p.head_memo ~= nil) end
    if n.dim == tiled then return tile.coord(values.like(p), 0) + tile.to(p.at[p.seg.slots[#p.seg.slots]], "i32") end
    return tile.to(p.at[n.dim], "i32")
  end
  e.swap_pairs = function(n, v)
    v = spread(p, v)
    if p.s.vec == 1 and not zero_outside(n.args[1], column) then v = within_row(p, v, 0.0) end -- the last of an odd row gets 0
    return tile.exchange(v)
  end
  -- The halves of a block are neighbouring vectors; blocks that are not whole get 0.
  e.swap_halves = function(n, v)
    local on_heads = p.s.vec > 1
    if p.piece > 1 then sizes.need_whole_pieces(p.asks, p.halves.text, p.piece) end
    if sizes.is_within_blocks_only(p.halves, p.seg, n) then return tile.exchange(spread(p, v), p.piece) end
    local whole = tile.lt(own_columns(p, on_heads), tile.to(tile.param(p.halves.whole, "i64"), "i32"))
    return tile.where(on_heads and widen(p, whole) or whole, tile.exchange(spread(p, v), p.piece), 0.0)
  end
  -- Which of two values holds at even and which at odd columns, or in which half, is known by register.
  e.alternates = function(c)
    local a, b = c.args[1], c.args[2]
    if p.head_memo or not b or a.op ~= "mod" or a.args[1].op ~= "index" or a.args[1].dim ~= column then return nil end
    local by = a.args[2]
    if c.op == "eq" and by.op == "const" and by.value == 2 and b.op == "const" and b.value == 0 then
      return (p.halves and p.piece or p.lane_vec) % 2 == 0 and 1 or nil
    end
    if c.op ~= "lt" or p.s.vec == 1 or not p.halves or not sizes.is_width(p.halves, by) or not sizes.is_half(p.halves, b) then return nil end
    sizes.need_positive(p.asks, p.halves.text)
    return p.s.vec
  end
  e.even_odd = function(a, b, run) return tile.even_odd(spread(p, a), spread(p, b), run) end
  -- An integer on the heads.
  function e:on_heads(n)
    local outer = p.head_memo
    p.head_memo = p.own_head_memo or {}
    p.own_head_memo = p.head_memo
    local v = self:within(p.head_memo, function() return self:value(n) end)
    p.head_memo = outer
    return v
  end
  e.special = function(n)
    local known = by_sizes(p, e, n)
    if known or p.head_memo or not is_even(p, n) then return known end
    return widen(p, e:on_heads(n))
  end
  e.lookup = function(n) return lookup(p, e, n) end
  e.reduce = function(n)
    core.at(n.loc[1], n.loc[2])
    error("a sum over the row within a value that is not made yet; sums come level by level", 0)
  end
  return e
end

-- What is looked up at places that no row sum changes.
function values.lookups(seg)
  local memo, list = {}, {}
  for _, n in ipairs(seg.nodes) do
    if n.op == "lookup" and values.depth(n, seg.column, memo) == 0 then table.insert(list, n) end
  end
  return list
end

-- Every load, before anything waits for one.
function values.preload(p, e)
  for _, n in ipairs(p.seg.nodes) do
    if n.op == "arg" and not values.is_table(p.seg, n) then e:value(n) end
  end
  for _, n in ipairs(values.lookups(p.seg)) do e:value(n) end
end

-- A value per row, between the walks over its pieces; a table is only looked up.
function values.settle(p, e, n)
  if not (n.op == "arg" and values.is_table(p.seg, n)) then e:value(n) end
end

function values.copy(list)
  local own = {}
  for k, v in pairs(list) do own[k] = v end
  return own
end

-- Does the value come from a table?
local function is_looked_up(n)
  if n.op == "lookup" then return true end
  for _, a in ipairs(n.args) do if is_looked_up(a) then return true end end
  return false
end

-- Makes, once, what does not depend on the dims `varies` and what does depend on them asks for: what is looked up, and where a
-- thread has few columns all that lies along them. Gives a function that forgets everything else, for the next tile at the same
-- columns.
function values.keep_fixed(p, e, varies)
  local few, depths = p.cols // p.s.threads <= 8, {} -- what rests on a row sum waits for it
  local function is_fixed(n)
    for d in pairs(n.dims) do if varies[d] then return false end end
    return true
  end
  for _, n in ipairs(p.seg.nodes) do
    for _, a in ipairs(not is_fixed(n) and n.op ~= "lookup" and n.args or {}) do
      local now = is_fixed(a) and a.dims[p.seg.column] and a.dtype ~= "i32" and values.depth(a, p.seg.column, depths) == 0
      if now and (few or is_looked_up(a)) then e:value(a) end
    end
  end
  local kept, memo, heads = e.kept, e.memo, p.own_head_memo
  return function() e.kept, e.memo, p.own_head_memo = values.copy(kept), values.copy(memo), heads and values.copy(heads) end
end

-- Declares the fragments of heads where integers will need them, outside of any loop.
function values.need_heads(p)
  for _, n in ipairs(p.seg.nodes) do
    if p.s.vec > 1 and (n.op == "swap_halves" or n.op == "lookup" or n.op == "lt" or REDUCE[n.op]) then head_like(p) end
    if p.halves and n.op == "lookup" then
      pair_like(p)
      first_like(p)
    end
  end
end

-- The layout of one value per row, as text.
function values.row_layout(p) return layout.rows_of(p.rows, p.s.warps, p.s.threads) end

-- Turns to another piece of the row.
function values.move_to(p, e, column)
  p.column = column
  p.own_head_memo = nil
  e:forget()
end

-- The argument of a row reduction, with nothing of it beyond the row's end.
function values.summand(p, e, n)
  local arg = n.args[1]
  if n.op == "sum" and zero_outside(arg, p.seg.column) then return spread(p, e:value(arg)) end
  if n.op == "sum" and arg.op == "mul" and is_tame(arg.args[1], p.seg.column) and is_tame(arg.args[2], p.seg.column) then
    local a, b = spread(p, e:value(arg.args[1])), spread(p, e:value(arg.args[2])) -- a factor, so that the product joins the sum
    return within_row(p, a, 0.0) * b
  end
  return within_row(p, spread(p, e:value(arg)), n.op == "sum" and 0.0 or n.op == "amax" and -math.huge or math.huge)
end

-- The same as a value and a condition, which select a vector's sum and not each of its elements.
function values.masked_summand(p, e, n)
  local arg = n.args[1]
  local v = spread(p, e:value(arg))
  if n.op == "sum" and zero_outside(arg, p.seg.column) then return v end
  return v, inside_row(p)
end

-- Row sums of one level, one barrier for all. summand(k, n): their tiles, and which elements count.
function values.reduce_level(e, level, summand, join)
  local v, mask = {}, {}
  for k, n in ipairs(level) do v[k], mask[k] = summand(k, n) end
  for k, n in ipairs(level) do
    core.at(n.loc[1], n.loc[2])
    e.kept[n.index] = tile.reduce(v[k], REDUCE[n.op], 1, #level > 1 and join or nil, mask[k])
    core.at()
  end
end

-- Stores an output's tile.
function values.write(p, e, o)
  local t = o.tensor
  local v = e:value(o.value)
  core.at(o.loc[1], o.loc[2])
  if v.dtype == "bool" then v = tile.where(v, tile.const(1.0, "f32"), 0.0) end
  if has_dim(t, p.seg.column) then
    v = spread(p, v)
  elseif v.kind ~= "frag" or #v.shape == 2 then -- the same for all rows; or with a row's number, which a thread has beside each of its columns
    v = tile.reduce(spread(p, v), "max", 1)
  end
  local dims = tile_dims(p, t)
  local inside = p.sure and dims[1] >= 0 and { 0 } or nil
  if not has_dim(t, p.seg.column) then dims = { dims[1] } end
  tile.store(p.view[t.name], tile.to(v, t.dtype), values.coordinates(p, t, p.column), { dims = dims, inside = inside })
  core.at()
end

-- A table's entries column by column: of a row for each of the tile's, or (dims[1] is -1) of one for all.
function values.load_entries(p, view, at, dims, cache)
  if dims[1] < 0 then return tile.load_like(view, values.like(p), at, { cache = cache, dims = dims }) end
  return tile.load(view, at, { shape = { p.rows, p.cols }, layout = p.lay, cache = cache, dims = dims })
end

values.spread = spread
return values
