-- rowwise_kernels.lua - the skeletons of row-wise kernels. Each works on one segment of an op, from a linear index of its tile.
--
--   regs     a tile of rows in the registers of a CTA: every tensor is read once
--   pieces   a row in pieces: once per level of row sums, once for the outputs; from shared memory (kind shared: what is read more than once) or global
--   loop     a CTA walks over tiles of rows that a ring brings ahead, and sums columns in registers as it goes
--   columns  a CTA sums columns of a block over rows, with the row sums that an earlier step left in a workspace
--   finish   adds the CTAs' sums in one fixed order
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local segments = use "families.rowwise_segments"
local sizes = use "families.rowwise_sizes"
local values = use "families.rowwise_values"
local kernels = {}

local function i32_param(name) return tile.to(tile.param(name, "i64"), "i32") end

-- ---- coordinates ----

-- Quotient and remainder by the size or count `name`.
local function divide(ctx, index, name)
  local quotient = tile.fastdiv(index, tile.param(sizes.divisor(ctx.asks, name), "i64"))
  return quotient, index - quotient * i32_param(name)
end

-- Coordinates by slot of tile `index` (i32): slots from the last one on, the tiled one in blocks of `rows`. Where only one of
-- the slots is more than 1, which `lead` says, nothing is divided.
local function take_apart(ctx, at, slots, index, rows, blocks, lead)
  local tiled = slots[#slots]
  if #slots == 1 then
    at[tiled] = tile.i64(index) * rows
    return
  end
  local block, var = tile.var(index), {}
  for i = 1, #slots - 1 do var[i] = tile.var(tile.const(0, "i32")) end
  tile.if_(tile.param(lead, "i64"):ne(tile.const(1, "i64")), function()
    local rest, own = divide(ctx, index, blocks)
    tile.put(block, own)
    for i = #slots - 1, 2, -1 do
      rest, own = divide(ctx, rest, slots[i])
      tile.put(var[i], own)
    end
    tile.put(var[1], rest)
  end)
  for i = 1, #slots - 1 do at[slots[i]] = tile.i64(tile.get(var[i])) end
  at[tiled] = tile.i64(tile.get(block)) * rows
end

-- Coordinates of the kept slots from their linear index.
local function take_kept(ctx, at, slots, index)
  local own
  for i = #slots, 2, -1 do
    index, own = divide(ctx, index, slots[i])
    at[slots[i]] = tile.i64(own)
  end
  if slots[1] then at[slots[1]] = tile.i64(index) end
end

-- ---- regs ----

-- What has a value per row (mean, rstd) leaves last: its addresses are not in registers beside the rows then.
local function write_all(seg, p, e)
  for _, along in ipairs { true, false } do
    for _, o in ipairs(seg.outputs) do if values.is_along(p, o) == along then values.write(p, e, o) end end
  end
end

-- One tile, from its loads to its stores.
local function tile_of_rows(seg, p, e)
  values.preload(p, e) -- every load is on its way before the first barrier
  for d, level in ipairs((values.levels(seg))) do
    values.reduce_level(e, level, function(_, n) return values.masked_summand(p, e, n) end, d)
  end
  write_all(seg, p, e)
end

-- Do tiles in turn differ in their leading coordinates, not in their rows?
function kernels.by_heads(s) return s.walk ~= "rows" end

-- `s.reuse` tiles in turn that share what does not depend on where they differ: in the leading coordinates (walk=heads, planes: a table
-- of rotations serves many heads), or in the rows (walk=rows: scale and shift of a sample serve its rows). `s.stages` of them are on
-- their way at once. Neighbouring CTAs have other heads of the same rows (heads), which reads long tables from memory once, or the next rows of
-- the same heads (planes), which goes through memory in its order but needs tables that stay in L2.
local function tiles_in_turn(ctx, seg, p, e, index)
  local s, at, slots, name = ctx.s, p.at, seg.slots, seg.name
  local tiled, heads = slots[#slots], kernels.by_heads(s)
  local blocks, leading, walked = i32_param(name.blocks), {}, {}
  for k = 1, #slots - 1 do leading[k] = slots[k] end
  for _, d in ipairs(seg.rows) do -- of a dim that stands for several only the innermost is not walked by heads
    local tile_alone = d == seg.tiled and (not heads or (seg.count[d] or 1) == 1)
    walked[d] = tile_alone ~= heads or nil
  end
  local other, first, last, group
  if heads then
    if s.walk == "planes" then group, other = divide(ctx, index, name.blocks) else other, group = divide(ctx, index, name.groups) end
    first, last = group * s.reuse, i32_param(name.lead)
    at[tiled] = tile.i64(other) * s.rows
  else
    other, group = divide(ctx, index, name.groups)
    first, last = group * s.reuse, blocks
    take_kept(ctx, at, leading, other)
  end
  local function go(k)
    if heads then take_kept(ctx, at, leading, k) else at[tiled] = tile.i64(k) * s.rows end
  end
  values.like(p)
  values.need_heads(p)
  p.fixed, p.read = {}, function(n)
    local v = p.current and p.current[n.name] or p.fixed[n.name]
    return values.number(v or values.raw(p, n))
  end
  local streams = {}
  for _, n in ipairs(seg.nodes) do
    if n.op == "arg" and not values.is_table(seg, n) then
      local varies = false
      for d in pairs(n.dims) do varies = varies or walked[d] end
      if varies and s.stages > 1 and n.dims[seg.column] and n.dims[seg.tiled] then table.insert(streams, n)
      elseif not varies and n.dims[seg.column] and p.cols // s.threads <= 16 then p.fixed[n.name] = values.raw(p, n, "nc") end
    end
  end
  local again = values.keep_fixed(p, e, walked)
  local count = tile.min(first + s.reuse, last)
  -- `s.stages` tiles from the k-th one on: all loads, then one after the other as far as they are there.
  local function some(k)
    local places, loaded = {}, {}
    for i = 1, s.stages do
      go(i == 1 and k or tile.min(k + (i - 1), count - 1))
      places[i], loaded[i] = values.copy(at), {}
      for _, n in ipairs(streams) do loaded[i][n.name] = values.raw(p, n) end
    end
    for i = 1, s.stages do
      local function work()
        for slot, c in pairs(places[i]) do at[slot] = c end
        p.current = loaded[i]
        again()
        tile_of_rows(seg, p, e)
      end
      -- a branch also before the first one: ptxas leaves the other loads where they are, ahead of it
      if s.stages == 1 then work() else tile.if_(tile.lt(k + (i - 1), count), work) end
    end
  end
  if s.reuse == s.stages then some(first) else tile.for_(first, count, s.stages, some) end
end

function kernels.regs(ctx, seg, index)
  local s, at = ctx.s, {}
  local p = values.place {
    inst = ctx.inst, seg = seg, view = ctx.view, s = s, rows = s.rows, cols = s.cols, at = at, asks = ctx.asks, sure = s.rows == 1,
  }
  local e = values.evaluator(p)
  if kernels.in_turn(s, seg) then
    tiles_in_turn(ctx, seg, p, e, index)
  else
    take_apart(ctx, at, seg.slots, index, s.rows, seg.name.blocks, seg.name.lead)
    tile_of_rows(seg, p, e)
  end
end

-- Does a CTA take several tiles of the segment, one after the other?
function kernels.in_turn(s, seg) return s.kind == "regs" and s.reuse > 1 and (s.walk == "rows" or #seg.slots > 1) end

-- Do the CTAs of two segments take turns?
function kernels.take_turns(s, list)
  if #list ~= 2 or not kernels.by_heads(s) then return false end
  for _, seg in ipairs(list) do if not kernels.in_turn(s, seg) or #seg.outputs == 0 then return false end end
  return true
end

-- ---- pieces ----

function kernels.pieces(ctx, seg, index)
  local s, inst, at = ctx.s, ctx.inst, {}
  take_apart(ctx, at, seg.slots, index, 1, seg.name.blocks, seg.name.lead)
  local cols = s.kind == "shared" and s.threads * (inst.halves[seg.column] and 2 or 1) * s.vec or s.cols
  local p = values.place { inst = inst, seg = seg, view = ctx.view, s = s, rows = 1, cols = cols, at = at, asks = ctx.asks, sure = true }
  local pieces = tile.to((tile.param(sizes.span(inst, seg.column), "i64") + (cols - 1)) / cols, "i32")
  local levels, memo = values.levels(seg)
  local rows, filled = {}, {}
  for _, name in ipairs(s.kind == "shared" and values.rows_read_again(p) or {}) do
    rows[name] = tile.smem(inst.by_name[name].dtype, { 1, s.cols }, { swizzle = 0 })
  end
  values.like(p)
  values.need_heads(p)
  local e = values.evaluator(p)
  local function walk(body)
    tile.for_(tile.const(0, "i32"), pieces, 1, function(i)
      local fresh = {}
      values.move_to(p, e, tile.i64(i) * cols)
      p.read = function(n)
        local row = rows[n.name]
        if not row then return values.read(p, n) end
        local piece = tile.part(row, i, 1, cols)
        if filled[n.name] then return tile.f32(tile.load(piece, { 0, 0 }, { shape = { 1, cols }, layout = p.lay })) end
        local f = values.raw(p, n, "nc")
        tile.store(piece, f, { 0, 0 })
        fresh[n.name] = true
        return values.number(f)
      end
      body()
      for name in pairs(fresh) do filled[name] = true end
    end)
  end
  -- What is one value per row is made between the walks: a value made inside a walk would end with it.
  local function settle(level)
    values.move_to(p, e, 0)
    p.read = nil
    for _, n in ipairs(seg.nodes) do
      if not n.dims[seg.column] and values.depth(n, seg.column, memo) <= level then values.settle(p, e, n) end
    end
  end
  settle(0)
  for d, level in ipairs(levels) do
    local sums = {}
    for k, n in ipairs(level) do
      sums[k] = tile.frag("f32", { 1, cols }, p.lay)
      tile.fill(sums[k], n.op == "sum" and 0.0 or n.op == "amax" and -math.huge or math.huge)
    end
    walk(function()
      for k, n in ipairs(level) do
        local v, f = values.summand(p, e, n), tile.read(sums[k])
        tile.set(sums[k], n.op == "sum" and f + v or n.op == "amax" and f:max(v) or f:min(v))
      end
    end)
    values.reduce_level(e, level, function(k) return tile.read(sums[k]) end, d)
    settle(d)
  end
  local along = false
  for _, o in ipairs(seg.outputs) do
    if values.is_along(p, o) then along = true else values.write(p, e, o) end
  end
  if along then
    walk(function()
      for _, o in ipairs(seg.outputs) do if values.is_along(p, o) then values.write(p, e, o) end end
    end)
  end
end

-- ---- sums over rows ----

-- f: running sums; v: what is added.
local function accumulate(kind, f, v)
  local sum = tile.read(f)
  tile.set(f, kind == "sum" and sum + v or kind == "max" and sum:max(v) or sum:min(v))
end

local NOTHING = { sum = 0.0, max = -math.huge, min = math.huge }

local function start_sums(p, seg)
  local acc = {}
  for k, sum in ipairs(seg.sums) do
    acc[k] = tile.frag("f32", { p.rows, p.cols }, p.lay)
    tile.fill(acc[k], NOTHING[sum.kind])
  end
  return acc
end

-- Rows beyond the end add nothing, whatever they come to.
local function add_rows(p, e, seg, acc)
  local tiled = seg.slots[#seg.slots]
  local left = tile.param(tiled, "i64") - p.at[tiled]
  if p.s.kind == "columns" then left = tile.min(left, 1 << 30) end -- of a loop the contract says how many rows there are at most
  left = tile.to(left, "i32")
  for k, sum in ipairs(seg.sums) do
    local v = values.spread(p, e:value(sum.value))
    core.at(sum.loc[1], sum.loc[2])
    if p.rows > 1 then v = tile.where(tile.lt(tile.coord(v, 0), left), v, NOTHING[sum.kind]) end
    accumulate(sum.kind, acc[k], v)
    core.at()
  end
end

-- Where a CTA's sums go: the output itself where it is the only one of its kept coordinates, a workspace otherwise.
local function put_sums(ctx, p, seg, acc, kept, part)
  for k, sum in ipairs(seg.sums) do
    core.at(sum.loc[1], sum.loc[2])
    local v = tile.reduce(tile.read(acc[k]), sum.kind, 0)
    local t = sum.tensor
    if ctx.direct then
      tile.store(ctx.view[t.name], tile.to(v, t.dtype), values.coordinates(p, t, p.column), { dims = { #segments.slots_of(ctx.inst, t) - 1 } })
    else
      tile.store(ctx.parts[t.name], v, { tile.i64(kept), tile.i64(part), p.column }, { dims = { 2 } })
    end
    core.at()
  end
end

-- Values that no step over the rows changes: arguments are kept as they were read, what is made of them is made again. resident:
-- shared tiles for those along the columns, or nil.
local function keep_fixed(p, e, seg, walked, resident)
  p.depths, p.stats, p.resident = {}, p.stats or {}, {}
  local taken = {}
  local function is_fixed(n)
    for d in pairs(n.dims) do if walked[d] then return false end end
    return true
  end
  local _, seen = segments.reach(p.wanted)
  for _, n in ipairs(seg.nodes) do
    local is_early = values.depth(n, seg.column, p.depths) == 0 and not p.stats[n.index]
    if seen[n.index] and is_fixed(n) and is_early and not n.dims[seg.column] and n.op ~= "arg" then e.kept[n.index] = e:value(n) end
    if seen[n.index] and n.op == "arg" and is_fixed(n) and not values.is_table(seg, n) then
      -- Beyond 16 columns of a thread registers are scarcer than shared memory.
      if not n.dims[seg.column] or p.cols // p.s.threads <= 16 then
        p.fixed[n.name] = values.raw(p, n, "nc")
      elseif resident and resident[#taken + 1] and resident[#taken + 1].dtype == p.inst.by_name[n.name].dtype then
        table.insert(taken, n.name)
        p.resident[n.name] = resident[#taken]
        tile.store(p.resident[n.name], values.raw(p, n, "nc"), { 0, 0 }, values.order(p))
      end
    end
  end
  for index, v in pairs(e.memo) do e.kept[index] = e.kept[index] or v end
  e.memo = {}
end

local function walked_dims(seg)
  local walked = {}
  for i = #seg.kept + 1, #seg.rows do walked[seg.rows[i]] = true end
  return walked
end

-- ---- loop ----

local function is_staged() return not core.has("cp_async_cg_16_zfill") end

-- Tiles for what is the same in all rows of a segment, which its segments share; nothing where registers hold it, or no room is left.
local function resident_tiles(ctx, list)
  local tiles, s = {}, ctx.s
  if not ctx.has_room or s.cols // s.threads <= 16 then return tiles end
  for _, seg in ipairs(list) do
    local k, has = 0, {}
    for _, n in ipairs(seg.nodes) do
      local dtype = n.op == "arg" and n.dims[seg.column] and ctx.inst.by_name[n.name].dtype
      local walked = false
      for d in pairs(walked_dims(seg)) do walked = walked or n.dims[d] end
      if dtype and dtype ~= "bool" and dtype ~= "i64" and not walked and not has[n.name] then
        k, has[n.name] = k + 1, true
        tiles[k] = tiles[k] or tile.smem(dtype, { 1, s.cols }, { swizzle = 0 })
      end
    end
  end
  return tiles
end

-- A loop kernel's ring, a field per tensor that is read along the rows, by number; and its resident tiles. Declared before the segments
-- part ways.
function kernels.loop_memory(ctx, list)
  local dtypes = {}
  for _, seg in ipairs(list) do
    local ringed = values.split_arguments { inst = ctx.inst, seg = seg }
    for i, n in ipairs(ringed) do
      dtypes[i] = ctx.inst.by_name[n.name].dtype -- the same in each segment (row_inputs of rowwise.lua)
    end
  end
  local names, tiles = {}, {}
  for i, dtype in ipairs(dtypes) do
    names[i] = "row" .. i
    tiles[i] = tile.smem(dtype, { ctx.s.rows, ctx.s.cols }, { swizzle = 0, name = names[i] })
  end
  return tile.ring({ stages = ctx.s.stages, filled_by = is_staged() and "threads" or "cp.async" }, names, tiles), resident_tiles(ctx, list)
end

-- A CTA: one of the kept coordinates, one of `parts` shares of its rows. Tile after tile: part, part + parts, ...
function kernels.loop(ctx, seg, cta)
  local s, inst, name = ctx.s, ctx.inst, seg.walk
  local at, parts = {}, ctx.direct and tile.const(1, "i32") or i32_param(name.parts)
  local kept, part = cta, tile.const(0, "i32")
  if not ctx.direct then
    kept, part = divide(ctx, cta, name.parts)
  end
  take_kept(ctx, at, seg.kept_slots, kept)
  local p = values.place { inst = inst, seg = seg, view = ctx.view, s = s, rows = s.rows, cols = s.cols, at = at, asks = ctx.asks, fixed = {} }
  p.wanted = values.wanted(seg)
  values.like(p)
  values.need_heads(p)
  local e = values.evaluator(p, function() return false end)
  local walked = walked_dims(seg)
  local ringed, row_args = values.split_arguments(p)
  keep_fixed(p, e, seg, walked, ctx.resident)
  local acc = start_sums(p, seg)

  local tiles = i32_param(name.tiles)
  local last, tiled = tiles - 1, seg.slots[#seg.slots]
  -- Coordinates of the CTA's k-th tile; beyond the last one, rows that are not there.
  local function go(k)
    local index = part + k * parts
    take_apart(ctx, at, seg.walked_slots, tile.max(tile.min(index, last), tile.const(0, "i32")), s.rows, name.blocks, name.lead)
    at[tiled] = tile.where(tile.le(index, last), at[tiled], tile.param(tiled, "i64"))
  end
  local function back_to(place) for slot, c in pairs(place) do at[slot] = c end end
  local staged, ring = is_staged(), ctx.ring
  local function fill(slot)
    for i, n in ipairs(ringed) do tile.fill_slot(slot, "row" .. i, ctx.view[n.name], values.coordinates(p, inst.by_name[n.name], 0), true) end
  end
  for k = 0, s.stages - 2 do
    go(tile.const(k, "i32"))
    local slot = tile.acquire(ring)
    fill(slot)
    tile.commit(slot)
  end
  -- One value per row (rstd): read one tile ahead, into registers.
  local ahead = {}
  go(tile.const(0, "i32"))
  for i, n in ipairs(row_args) do
    local first = values.raw(p, n, "nc")
    ahead[i] = tile.frag(first.dtype, { s.rows }, values.row_layout(p))
    tile.set(ahead[i], first)
  end
  local levels, fixed, tables = values.levels(seg), e.kept, values.lookups(seg)
  e.keeps = function(n) return not n.dims[seg.column] end
  tile.for_(tile.const(0, "i32"), (tiles - part + parts - 1) / parts, 1, function(k)
    -- What lies along the row is read again after each barrier: shared memory has room for it, registers have not.
    local function fresh()
      e:forget()
      p.own_head_memo = nil
    end
    fresh()
    e.kept = values.copy(fixed)
    local here
    if #tables > 0 then -- on their way before the slot is waited for: nothing brings them ahead
      go(k)
      here = values.copy(at)
      p.lookup_cache = "keep_written" -- as if this kernel wrote them: ptxas would move loads of what is never written behind the barrier
      for _, n in ipairs(tables) do e:value(n) end
      p.lookup_cache = nil
    end
    local full = tile.wait(ring)
    local slot, row_value = {}, {}
    for i, n in ipairs(ringed) do slot[n.name] = tile.field(full, "row" .. i) end
    p.read = function(n)
      local row = slot[n.name] or p.resident[n.name]
      if row then return values.number(tile.load(row, { 0, 0 }, values.order(p, { shape = { s.rows, s.cols }, layout = p.lay }))) end
      local v = row_value[n.name] or p.fixed[n.name]
      if v then return values.number(v) end
      return values.read(p, n)
    end
    go(k + (s.stages - 1))
    local empty = tile.acquire(ring)
    fill(empty)
    if not staged then tile.commit(empty) end
    local next_value = {}
    for i, n in ipairs(row_args) do row_value[n.name] = tile.copy(ahead[i]) end
    if #row_args > 0 then
      if s.stages > 2 then go(k + 1) end
      for i, n in ipairs(row_args) do next_value[i] = values.raw(p, n, "nc") end
    end
    if here then back_to(here) else go(k) end
    for d, level in ipairs(levels) do
      values.reduce_level(e, level, function(_, n) return values.masked_summand(p, e, n) end, d)
      fresh()
    end
    write_all(seg, p, e)
    add_rows(p, e, seg, acc)
    for i in ipairs(row_args) do tile.set(ahead[i], next_value[i]) end -- at the end: taking a value waits for its load
    if staged then tile.commit(empty) end
    tile.release(full)
  end)
  tile.drain(ring)
  put_sums(ctx, p, seg, acc, kept, part)
end

-- ---- columns ----

-- Geometry of the columns' kernel under a schedule.
function kernels.columns_schedule(inst, seg, s)
  local each = math.max(4, s.vec, inst.halves[seg.column] and 2 * sizes.piece(inst, seg.column, s.vec) or 1)
  return { kind = "columns", rows = 8, threads = 32, warps = 8, vec = s.vec, cols = 32 * each, cache = "plain" }
end

-- A CTA: a block of columns, one of the kept coordinates, one share of the rows.
function kernels.columns(ctx, seg, cta)
  local s, name, at = ctx.s, seg.walk, {}
  local parts = i32_param(name.parts)
  local rest, block = divide(ctx, cta, name.col_blocks)
  local kept, part = divide(ctx, rest, name.parts)
  take_kept(ctx, at, seg.kept_slots, kept)
  local column = tile.i64(block) * s.cols
  local p = values.place {
    inst = ctx.inst, seg = seg, view = ctx.view, s = s, rows = s.rows, cols = s.cols, at = at, asks = ctx.asks, fixed = {}, column = column,
  }
  p.wanted = {}
  for _, sum in ipairs(seg.sums) do table.insert(p.wanted, sum.value) end
  values.like(p)
  values.need_heads(p)
  local e = values.evaluator(p, function() return false end)
  local special = e.special
  e.special = function(n)
    local view = ctx.stats[n.index]
    if not view then return special(n) end
    local c = {}
    for _, slot in ipairs(seg.slots) do table.insert(c, at[slot]) end
    local v = tile.load_like(view, values.like(p), c, { cache = "nc", dims = { #seg.slots - 1, -1 } })
    return n.dtype == "bool" and tile.ne(v, 0.0) or v
  end
  local walked = walked_dims(seg)
  p.stats = ctx.stats
  keep_fixed(p, e, seg, walked)
  local acc = start_sums(p, seg)
  local tiles = i32_param(name.tiles)
  p.read = function(n)
    if p.fixed[n.name] then return values.number(p.fixed[n.name]) end
    return values.read(p, n)
  end
  tile.for_(part, tiles, parts, function(k)
    e:forget()
    p.own_head_memo = nil
    take_apart(ctx, at, seg.walked_slots, k, s.rows, name.blocks, name.lead)
    add_rows(p, e, seg, acc)
  end)
  put_sums(ctx, p, seg, acc, kept, part)
end

-- ---- finish ----

-- For many addends, and for few; a CTA's rows are so many of them at a time.
local FINISH = { many = { rows = 320, cols = 32, threads = 8, vec = 4 }, few = { rows = 32, cols = 256, threads = 64, vec = 4 }, warps = 16 }
kernels.FINISH = FINISH

-- A CTA: a block of columns of one output at its own kept coordinates; all partial sums below it, in their order.
local function finish_by(ctx, sum, outer, block, shape)
  local lay = layout.rowwise(shape.rows, shape.cols, FINISH.warps, shape.threads, shape.vec)
  local t, column, at = sum.tensor, tile.i64(block) * shape.cols, {}
  take_kept(ctx, at, sum.kept_slots, outer)
  local acc = tile.frag("f32", { shape.rows, shape.cols }, lay)
  tile.fill(acc, NOTHING[sum.kind])
  local pad = NOTHING[sum.kind]
  tile.for_(tile.const(0, "i32"), i32_param(sum.name.addends), shape.rows, function(k)
    local v = tile.load(ctx.gathered[t.name], { tile.i64(outer), tile.i64(k), column },
      { shape = { shape.rows, shape.cols }, layout = lay, dims = { 1, 2 }, cache = "nc", pad = pad ~= 0 and pad or nil })
    accumulate(sum.kind, acc, v)
  end)
  core.at(sum.loc[1], sum.loc[2])
  local v = tile.reduce(tile.read(acc), sum.kind, 0)
  local c = {}
  for _, slot in ipairs(segments.slots_of(ctx.inst, t)) do table.insert(c, segments.is_column(slot) and column or at[slot]) end
  tile.store(ctx.view[t.name], tile.to(v, t.dtype), c, { dims = { #c - 1 } })
  core.at()
end

function kernels.finish(ctx, _, sum, cta)
  local outer, block = divide(ctx, cta, sum.name.blocks)
  tile.if_(tile.le(i32_param(sum.name.addends), FINISH.few.rows),
    function() finish_by(ctx, sum, outer, block, FINISH.few) end, function() finish_by(ctx, sum, outer, block, FINISH.many) end)
end

return kernels
