-- gemm_warp.lua - products by mma.sync, the skeleton of every target: tiles of a and b stream through a ring of shared slots (cp.async,
-- or registers where the target has none), ldmatrix, mma.sync; the result is turned in shared memory so that it leaves in rows.
-- Operands of f32 are multiplied as tf32, or split into two of it (the setting f32), and by fma where the target has no tf32.
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local contract = use "kiln.contract"
local schedule = use "kiln.schedule"
local op = use "kiln.op"
local text = use "kiln.text"
local common = use "families.gemm_common"
local block_scales = use "families.gemm_scales"

local warp = {}
local KEYS = { "bm", "bn", "bk", "stages", "wm", "wn", "vec", "group", "fill" }
local bytes, is_k_major = common.bytes, common.is_k_major

local MMA = { f16 = "mma_m16n8k8_f32_f16_f16_f32", bf16 = "mma_m16n8k16_f32_bf16_bf16_f32", f32 = "mma_m16n8k8_f32_tf32_tf32_f32" }

local function dtype(inst) return common.operands(inst)[1].dtype end
local function is_fma(inst) return dtype(inst) == "f32" and not core.has(MMA.f32) end
local function is_split(inst) return inst.values.f32 == "3xtf32" and not is_fma(inst) end
local function results(inst) return #common.outputs(inst) end

-- Do several results read what is wider than the operands? Eight of it at a time would be too much at once.
local function reads_wide(inst)
  for _, t in ipairs(inst.tensors) do
    if t.present and not t.out and #t.dims > 1 and bytes(t) > bytes(common.operands(inst)[1]) then return results(inst) > 1 end
  end
  return false
end

-- Eight columns of a thread in a row, where they can be chosen.
local function has_runs(inst, s)
  return is_k_major(inst, "b") and not is_fma(inst) and not reads_wide(inst) and s.vec > 1 and s.bn // s.wn % 32 == 0
end

-- Can a CTA walk over tiles? Shared memory is the next tile's by then: results have to leave from registers.
local function can_cross(inst, s)
  return has_runs(inst, s) and #inst.op.products == 1 and inst.op.phases == 1 and not (inst.has_blocks or is_split(inst))
end

local function step_of(inst) return 32 // bytes(common.operands(inst)[1]) end -- elements of k

-- ---- schedules ----

local function shared_bytes(inst, s) return s.stages * common.operand_bytes(inst, s.bm, s.bn, s.bk) end

local function shared_fit(inst, s) return core.target.shared_sm // (shared_bytes(inst, s) + 1024) end -- CTAs of an SM

-- Elements of accumulators of a thread.
local MOST_HELD = 128
local function held_elements(inst, s) return s.bm * s.bn * #inst.op.products * (inst.promote and 2 or 1) // (s.wm * s.wn * 32) end

local function is_staged() return not core.has("cp_async_cg_16") end

-- Where several products share a CTA's registers, operands are not fetched ahead, and tiles are smaller.
local function candidates_of_several(staged, split, few, add) -- few: 32 elements of each product and thread
  if staged then
    add(64, 64, 32, 2, 2, 2)
    add(64, 64, 32, 2, 2, 2, 1)
    return
  end
  if split then
    add(128, 64, 32, 4, 4, 2)
    add(64, 64, 32, 4, 2, 4)
  else
    if few then add(64, 128, 32, 3, 2, 4) else add(128, 128, 32, 3, 2, 4) end -- several results keep what they share
    add(64, 64, 64, 3, 2, 2)
  end
  add(64, 64, 32, 3, 2, split and 4 or 2, 1)
end

-- Does the epilogue read a tensor of the result's size?
local function reads_tile(inst)
  for _, t in ipairs(inst.tensors) do
    if t.present and not t.out and not inst.op.side[t.name] and text.has(t.dims, "M") and text.has(t.dims, "N") then return true end
  end
  return false
end

-- Split operands take twice the registers, and a step's sums some more. Warps have few rows, as left operands are split all at once.
local function candidates_of_split(inst, add)
  if not common.is_heavy(inst) then
    add(128, 128, 64, 3, 4, 2)
    add(64, 128, 64, 3, 2, 2)
  end
  add(64, 64, 64, 4, 2, 2)
  add(64, 64, 32, 3, 2, 2, 1)
end

-- Several results of one product: 32 elements of a thread, so that what they share stays in registers.
local function candidates_of_results(list, add)
  add(128, 64, 64, 3, 4, 2)
  add(64, 128, 64, 3, 2, 4)
  add(64, 64, 64, 4, 2, 2)
  add(64, 64, 32, 3, 2, 2, 1)
  return list
end

-- Sums over 128 of k have accumulators of their own: half as many elements of a warp.
local function candidates_of_sums(add)
  add(64, 128, 128, 3, 2, 4)
  add(64, 64, 128, 3, 2, 2)
  add(64, 64, 128, 2, 2, 2, 1)
end

local candidates = op.once("mma_candidates", function(inst)
  local list, several = {}, #inst.op.products > 1
  local size = bytes(common.operands(inst)[1])
  local staged, vec = is_staged(), 16 // size
  local function add(bm, bn, bk, stages, wm, wn, v) -- bk: of 16-bit elements; of bytes there are twice as many, of f32 half
    local s = { bm = bm, bn = bn, bk = bk, stages = stages, wm = wm, wn = wn, vec = v or vec, group = 16 }
    s.fill = (staged or several or inst.promote or size == 1 and v == 1) and "first" or "ahead"
    if not inst.promote then s.bk = bk * 2 // size end
    -- CTAs that share an SM hide each other's beginnings and ends; products of bytes, and epilogues that are heavy or read a tile, have no registers left.
    local light = size > 1 and not common.is_heavy(inst) and not reads_tile(inst)
    if s.fill == "ahead" and bm * bn > 128 * 128 and light and can_cross(inst, s) then s.fill = "across" end
    if shared_bytes(inst, s) <= core.target.shared_block and held_elements(inst, s) <= MOST_HELD then table.insert(list, s) end
  end
  if inst.promote then
    candidates_of_sums(add)
    return list
  end
  if size == 1 then -- smaller: where products of bytes are made of those of f16 (sm_90a), the conversions take registers
    add(128, 128, 64, 3, 2, 4)
    add(128, 128, 32, 4, 2, 4)
    add(64, 128, 64, 3, 2, 4)
    add(64, 64, 64, 4, 2, 2)
    add(64, 64, 32, 3, 2, 2, 1)
    return list
  end
  if several then
    candidates_of_several(staged, is_split(inst), results(inst) > 1 or #inst.op.products > 2, add)
    return list
  end
  if is_split(inst) then
    candidates_of_split(inst, add)
    return list
  end
  if staged then
    add(128, 128, 32, 2, 2, 4)
    add(64, 64, 32, 2, 2, 2)
    add(64, 64, 32, 2, 2, 2, 1)
    return list
  end
  if results(inst) > 1 and size == 2 then return candidates_of_results(list, add) end
  add(128, 256, 64, 3, 2, 4)
  add(128, 256, 32, 4, 2, 4)
  -- Where both operands are turned, its copies hold more multiples of strides than there are registers; bk = 32 halves them.
  if is_k_major(inst, "a") or is_k_major(inst, "b") then add(128, 128, 64, 3, 2, 2) end
  add(128, 128, 32, 4, 2, 2)
  add(64, 128, 64, 3, 2, 2)
  add(64, 64, 64, 4, 2, 2)
  add(128, 128, 32, 3, 2, 4, 1)
  add(64, 64, 32, 3, 2, 2, 1)
  return list
end)

local function check_schedule(inst, s)
  local function refuse(why) core.fail("schedule " .. schedule.print(s, KEYS) .. ": " .. why) end
  local function power(v) return v & (v - 1) == 0 end
  if not (power(s.wm) and power(s.wn)) or s.wm * s.wn > 32 then refuse("wm and wn (warps down and across) are powers of two, at most 32 warps") end
  if not (power(s.bm) and power(s.bn) and power(s.bk)) then refuse("bm, bn and bk are powers of two") end
  if s.bm // s.wm < 16 or s.bn // s.wn < 16 then refuse("a warp's part is at least 16 x 16") end
  if s.bm // s.wm > 128 or s.bn // s.wn > 128 then refuse("a warp's part is at most 128 x 128") end
  local held = held_elements(inst, s)
  if held > MOST_HELD then refuse(string.format("a thread would hold %d elements of accumulators; %d are possible", held, MOST_HELD)) end
  if s.bk < step_of(inst) or s.bk > 128 then refuse("bk is " .. step_of(inst) .. " to 128") end
  if inst.promote and s.bk ~= inst.promote then refuse(string.format("bk is %d, of which the sums are promoted", inst.promote)) end
  local fetches = s.fill == "ahead" or s.fill == "across"
  if inst.promote and fetches then refuse("fill=" .. s.fill .. " has no place for sums that are promoted; take first or last") end
  if s.stages < 2 or s.stages > 5 then refuse("the ring has 2 to 5 stages") end
  if is_staged() and s.stages ~= 2 then refuse(core.target.name .. " has no cp.async: its ring has 2 stages") end
  if s.fill ~= "first" and s.fill ~= "last" and not fetches then
    refuse("fill is first, last (when the next slot's copies are issued), ahead (operands are fetched one step ahead) or across (the same from tile to tile)")
  end
  if s.fill == "across" and not can_cross(inst, s) then
    refuse("fill=across is for one product, not split, whose results leave from registers: b_major=k, 32 columns or more of a warp, vec above 1; "
      .. "take fill=ahead")
  end
  if fetches and (is_staged() or s.stages < 3 or s.bk < 2 * step_of(inst)) then
    refuse("fill=" .. s.fill .. " needs cp.async, 3 stages or more and bk of " .. 2 * step_of(inst) .. " or more")
  end
  if not power(s.vec) or s.vec < 1 or s.vec > 16 // bytes(common.operands(inst)[1]) then
    refuse("vec is a power of two, at most 16 bytes of an operand's elements")
  end
  local threads = s.wm * s.wn * 32
  local function check_copy(rows, cols)
    local per_row = math.min(math.max(cols // s.vec, 1), threads)
    if rows * per_row % threads == 0 then return end
    refuse(string.format("%d threads cannot share the copy of a tile of %d x %d in pieces of %d; take larger tiles or fewer warps",
      threads, rows, cols, s.vec))
  end
  if inst.values.a_major == "k" then check_copy(s.bm, s.bk) else check_copy(s.bk, s.bm) end
  if inst.values.b_major == "k" then check_copy(s.bn, s.bk) else check_copy(s.bk, s.bn) end
  if shared_bytes(inst, s) > core.target.shared_block then
    refuse(string.format("the ring takes %d bytes of shared memory, %s has %d", shared_bytes(inst, s), core.target.name, core.target.shared_block))
  end
end

function warp.schedules(inst)
  local texts = {}
  for _, s in ipairs(candidates(inst)) do table.insert(texts, schedule.print(s, KEYS)) end
  return texts
end

-- ---- contract ----

-- The pieces in which a tensor is touched: 16 bytes where the schedule counts on alignment.
local function align_of(t, s) return (s.vec == 1 or #t.dims == 0) and bytes(t) or #t.dims == 1 and 2 * bytes(t) or 16 end

-- In elements: what the contiguous size is a multiple of. What is no operand of a product goes by at least two bytes an element.
local function piece_of(inst, t, s) return inst.op.side[t.name] and s.vec or math.min(s.vec, 8) end

local function put_contract(inst, s, line)
  contract.begin(inst, line)
  common.put_tensors(inst, function(t) return align_of(t, s) end)
  contract.line("let tiles_m ceildiv(M,%d)", s.bm)
  contract.line("let tiles_n ceildiv(N,%d)", s.bn)
  common.put_tiles(s.group)
  if s.vec > 1 then
    local said = {}
    local function need(d, piece)
      if (said[d] or 0) >= piece then return end
      contract.line("require %s%%%d==0 \"the contiguous dims are read and written in pieces of %d elements\"", d, piece, piece)
      said[d] = piece
    end
    need(is_k_major(inst, "a") and "K" or "M", s.vec)
    need(is_k_major(inst, "b") and "K" or "N", s.vec)
    need("N", math.min(s.vec, 8))
  end
  if s.fill == "across" then common.require_walk() end
  for _, b in ipairs(inst.blocks) do
    if b.of ~= "K" then contract.line("require %s<%d \"blocks of %s are found in 32 bits\"", b.of, 1 << 31, b.of) end
  end
end

-- Of each tile: the share of the tensor rate at which an SM works through many of them, and how many times longer a CTA takes
-- that has its SM to itself, as few CTAs do not hide each other's latencies. Measured on an H200 (docs/performance.md).
local MEASURED = {
  [128 * 256] = { rate = 0.72, alone = 1.0 },
  [128 * 128] = { rate = 0.69, alone = 1.28 },
  [64 * 128] = { rate = 0.53, alone = 1.76 },
  [64 * 64] = { rate = 0.44, alone = 2.1 },
}

-- Of f32 likewise: split, small tiles keep up; as tf32, and by fma, all tiles go at this share of the rate that they have with 16 bits.
local SPLIT = { [128 * 128] = 0.058, [64 * 128] = 0.0605, [64 * 64] = 0.0612 }
local TF32, FMA = 0.255, 0.1

local function rate_of(inst, s, measured)
  if dtype(inst) ~= "f32" then return measured end
  return is_fma(inst) and measured * FMA or is_split(inst) and (SPLIT[s.bm * s.bn] or 0.05) or measured * TF32
end

local function put_cost(inst, s)
  common.put_work(inst)
  local measured = MEASURED[s.bm * s.bn] or { rate = 0.5, alone = 1.5 }
  local rate = rate_of(inst, s, measured.rate) / (s.vec == 1 and 5 or 1) * (s.bk >= 4 * step_of(inst) and 1 or 0.95)
  if step_of(inst) == 32 then rate = rate * 0.53 end -- bytes, on Hopper: products of f16 behind conversions
  -- what the busiest SM has to do, in tiles
  contract.line("cost max(ceildiv(tiles,sms),%.4g)*%d*(K+64)/((tensor/sms)*%.4f)+2000", measured.alone,
    2 * s.bm * s.bn * #inst.op.products * inst.op.phases, rate)
end

-- ---- emission ----

-- The loop over slots with the operands of each step of k (16, or 32 bytes) fetched while the products of the one before are under way,
-- across slots too: the slot of this iteration travels in a carrier, and the wait for the next one comes before the last products of this.
-- body(slots): calls slots(count) as often as it likes, which works through so many.
local function stream_ahead(inst, s, ring, accs, operands, fill, body)
  local sets = { [0] = {}, {} }
  for i, acc in ipairs(accs) do
    local p = inst.op.products[i]
    for k = 0, 1 do sets[k][i] = tile.mma_operands(acc, inst.by_name[p.left].dtype, inst.by_name[p.right].dtype) end
  end
  local function fetch(set, pairs_, k) for i, p in ipairs(pairs_) do tile.mma_fetch(sets[set][i], p.a, p.b, k) end end
  local first = tile.wait(ring)
  local current = tile.carry(first)
  fetch(0, operands(current), 0)
  local per_slot, attrs = s.bk // step_of(inst), is_split(inst) and { split = true } or nil
  local function slot_of(i)
    local here = operands(current)
    for k = 0, per_slot - 1 do
      if k < per_slot - 1 then
        fetch((k + 1) % 2, here, k + 1)
      else
        local next = tile.wait(ring)
        tile.release(tile.swap(current, next))
        fetch((k + 1) % 2, operands(current), 0)
      end
      for j, acc in ipairs(accs) do tile.mma_issue(acc, sets[k % 2][j], attrs) end
      if k == 0 then
        local empty = tile.acquire(ring)
        fill(empty, i)
        tile.commit(empty)
      end
    end
  end
  body(function(count) tile.for_(tile.const(0, "i32"), count, 1, slot_of) end)
  tile.release(tile.take(current))
  tile.drain(ring)
end

-- Bytes with k outermost bring neighbouring rows (columns) to a thread.
local function accumulator_layout(inst, s)
  local byte = step_of(inst) == 32
  return layout.mma_accumulator(s.bm, s.bn, s.wm, s.wn, byte and not is_k_major(inst, "a"),
    has_runs(inst, s) and "runs" or byte and not is_k_major(inst, "b") and "neighbours" or nil)
end
local function accumulator(inst, s) return tile.frag("f32", { s.bm, s.bn }, accumulator_layout(inst, s)) end

-- The first row and column of a tile by its index, and its batch.
local function place_of(index, s)
  local batch, m, n = common.tile_of(index, s.group)
  return tile.i64(batch), tile.i64(m) * s.bm, tile.i64(n) * s.bn
end

-- The tiles of a CTA one after the other (fill=across): its copies run ahead of its products by s.stages - 1 slots, from one tile into the next.
local function tiles_in_turn(inst, s, walks, steps)
  local self, total, filled = {}, tile.to(tile.param("tiles", "i64"), "i32"), tile.var(tile.cta(0))
  local function brought(slots) return tile.const(slots, "i32") % tile.max(steps, 1) end -- of the tile that the last of so many slots is of
  local function go_on() -- to the first slot of the next tile; behind the last one there is nothing but zeros
    tile.put(filled, tile.get(filled) + tile.ctas(0))
    local some = tile.lt(tile.get(filled), total)
    local batch, m, n = place_of(tile.where(some, tile.get(filled), 0), s)
    local k = tile.where(some, tile.const(0, "i64"), tile.param("K", "i64"))
    for _, t in ipairs(common.operands(inst)) do tile.rewalk(walks[t.name], common.operand_at(inst, t, batch, m, n, k)) end
  end
  function self.after(slots) tile.if_(tile.eq(brought(slots), 0), go_on) end -- so many slots have been filled
  -- The slot behind which the copies go on is the same one of every tile: up to there, and from there on, by one loop run twice. (A test
  -- within it would be a hundred instructions of every slot: ptxas makes predicates of them.)
  function self.each(begin, slots, finish)
    local own = steps - brought(s.stages - 1) -- slots of a tile whose copies bring more of it
    tile.for_(tile.cta(0), total, tile.ctas(0), function(t)
      begin()
      tile.for_(tile.const(0, "i32"), tile.min(steps, 2), 1, function(round)
        local first = tile.eq(round, 0)
        slots(tile.where(first, own, steps - own))
        tile.if_(first, go_on)
      end)
      finish(t)
    end)
  end
  return self
end

-- Streams tiles of the operands through the ring into the accumulators; finish(ring, batch, m, n) takes each tile's sums.
local function main_loop(inst, s, view, accs, finish)
  local batch, m, n = place_of(tile.cta(0), s)
  local names, tiles, all, phases = {}, {}, common.operands(inst), inst.op.phases
  for i, t in ipairs(all) do names[i], tiles[i] = t.name, common.operand_tile(inst, t, s.bm, s.bn, s.bk) end
  local staged = is_staged()
  local ring = tile.ring({ stages = s.stages, filled_by = staged and "threads" or "cp.async" }, names, tiles)
  local walks = {} -- of each product that an accumulator adds up
  for phase = 1, phases do
    walks[phase] = {}
    for _, t in ipairs(all) do
      local own = common.operand_of(inst, t, phase)
      local k = is_k_major(inst, inst.op.side[t.name]) and 1 or 0
      walks[phase][t.name] = tile.walk(ring, t.name, view[own.name], common.operand_at(inst, own, batch, m, n, 0), k, s.bk)
    end
  end
  local steps = tile.to((tile.param("K", "i64") + (s.bk - 1)) / s.bk, "i32")
  local across = s.fill == "across" and tiles_in_turn(inst, s, walks[1], steps)
  local function fill(slot, phase)
    for _, t in ipairs(all) do tile.fill_slot(slot, t.name, walks[phase or 1][t.name]) end
  end
  -- The i-th tiles of k: of one product after the other, where an accumulator adds up several.
  local within = staged and phases > 1 -- what waits in registers is stored where it was loaded
  local function fill_nth(slot, i, phase)
    local function own()
      fill(slot, phase)
      if within then tile.commit(slot) end
    end
    if phase == phases then return own() end
    tile.if_(tile.lt(i, steps), own, function() fill_nth(slot, i - steps, phase + 1) end)
  end
  for i = 0, s.stages - 2 do
    local slot = tile.acquire(ring)
    if phases == 1 then fill(slot) else fill_nth(slot, tile.const(i, "i32"), 1) end
    if not within then tile.commit(slot) end
    if across then across.after(i + 1) end
  end
  local function begin() for _, acc in ipairs(accs) do tile.zero(acc) end end
  if not across then begin() end -- while the first copies are on their way
  local function fill_ahead(slot, i) -- beyond K: zeros, without traffic
    if phases == 1 then fill(slot) else fill_nth(slot, i + (s.stages - 1), 1) end
  end
  local function operands(slot) -- of each product
    local field, list = {}, {}
    for _, t in ipairs(all) do field[t.name] = common.as_operand(inst, t.name, tile.field(slot, t.name)) end
    for i, p in ipairs(inst.op.products) do list[i] = { a = field[p.left], b = field[p.right] } end
    return list
  end
  local total = phases > 1 and steps * phases or steps
  if across then
    return stream_ahead(inst, s, ring, accs, operands, fill_ahead, function(slots)
      across.each(begin, slots, function(t) finish(ring, place_of(t, s)) end)
    end)
  end
  if s.fill == "ahead" then
    stream_ahead(inst, s, ring, accs, operands, fill_ahead, function(slots) slots(total) end)
    return finish(ring, batch, m, n)
  end
  local scales
  local function step(i)
    local full = tile.wait(ring)
    local here = operands(full)
    local function multiply()
      local next = scales and scales:fetch(i + 1) -- on their way while this step's products are
      for j, p in ipairs(here) do
        if not inst.promote then tile.mma(accs[j], p.a, p.b, is_split(inst) and { split = true } or nil) else
          local part = accumulator(inst, s)
          tile.mma(part, p.a, p.b, { zero = true })
          block_scales.promote(accs[j], part, scales, 1, j, 1)
        end
      end
      if scales then scales:put(next, 1) end
    end
    if s.fill == "last" then multiply() end
    local empty = tile.acquire(ring)
    fill_ahead(empty, i)
    if not staged then tile.commit(empty) end
    if s.fill == "first" then multiply() end
    if staged and not within then tile.commit(empty) end -- its loads had the product's time to come back
    tile.release(full)
  end
  local zero = tile.const(0, "i32")
  if inst.has_blocks then -- which there are none of where K is 0
    tile.if_(tile.lt(zero, total), function()
      scales = block_scales.new(inst, view, { { row = 0, column = 0, accs = accs } }, batch, m, n, 1)
      tile.for_(zero, total, 1, step)
    end)
  else
    tile.for_(zero, total, 1, step)
  end
  tile.drain(ring)
  finish(ring, batch, m, n)
end

local function spread(inst, value, s) return tile.spread(value, { s.bm, s.bn }, accumulator_layout(inst, s)) end

local function store_result(inst, s, view, output, value, ring, batch, m, n)
  local t = output.tensor
  value = spread(inst, value, s)
  core.at(output.loc[1], output.loc[2])
  local out = tile.to(value, t.dtype)
  local vec = 16 // bytes(t)
  local warps = s.wm * s.wn
  if s.vec == 1 or has_runs(inst, s) or s.bm * s.bn * bytes(t) > shared_bytes(inst, s) then
    tile.store(view[t.name], out, common.at(t, batch, m, n))
    core.at()
    return
  end
  local turned = tile.smem(t.dtype, { s.bm, s.bn }, { alias = ring, name = t.name })
  tile.store(turned, out, { 0, 0 })
  local rows = layout.rowwise(s.bm, s.bn, warps, math.min(s.bn // vec, warps * 32), vec)
  tile.store(view[t.name], tile.load(turned, { 0, 0 }, { shape = { s.bm, s.bn }, layout = rows }), common.at(t, batch, m, n))
  core.at()
end

local function refuse_dtype(inst)
  for _, t in ipairs(common.operands(inst)) do
    local byte = common.is_byte(t.dtype)
    if not byte and not MMA[t.dtype] then
      core.refuse(inst.name .. " multiplies f32, f16, bf16, e4m3 and e5m2 here; " .. t.dtype .. " operands have no skeleton yet, convert them first")
    end
    if not is_fma(inst) and not core.has(byte and "mma_m16n8k32_f32_e4m3_e4m3_f32" or MMA[t.dtype]) then
      core.refuse(core.target.name .. " has no mma.sync for " .. t.dtype .. (byte and " (sm_89 has)" or " (sm_80 has); use dtype=f16 or f32 there"))
    end
  end
end

-- Small tiles could be many on an SM by their registers, and ptxas spills for it: three are enough, no more are there than shared
-- memory holds, and two where operands are split, or single elements are copied along m or n or of several products, each with a predicate
-- and an address of its own, or there are several results. Products of bytes, and several of split operands, keep what they need; but for a small
-- tile with four stages and several results, for the large tile of single tf32 elements, and for bytes whose sums are promoted, ptxas would have
-- more CTAs and spill.
local function min_ctas(inst, s)
  if inst.promote then return s.wm * s.wn > 4 and 1 or 2 end
  if dtype(inst) == "f32" and s.vec == 1 and s.bm * s.bn >= 128 * 128 then return 1 end
  if is_split(inst) and #inst.op.products > 1 then return results(inst) > 1 and s.bm * s.bn <= 64 * 64 and s.stages > 3 and 1 or nil end
  if s.bm * s.bn > 32 * 32 * s.wm * s.wn or step_of(inst) == 32 then return nil end
  local fit = shared_fit(inst, s)
  local turned = not (is_k_major(inst, "a") and is_k_major(inst, "b"))
  if results(inst) > 1 and s.wm * s.wn > 4 then return 1 end
  local two = is_split(inst) or s.vec == 1 and (turned or #inst.op.products > 1) or results(inst) > 1
  return math.max(1, math.min(fit, two and 2 or 3))
end

-- CTAs that an SM holds at once, whatever registers they take.
local function resident(inst, s)
  return math.max(1, math.min(shared_fit(inst, s), 65536 // (s.wm * s.wn * 32 * 255)))
end

function warp.emit(inst, graph, given)
  refuse_dtype(inst)
  local s = schedule.read(given, candidates(inst)[1], KEYS)
  if not (given and given.fill) and s.fill == "across" and not can_cross(inst, s) then s.fill = "ahead" end
  check_schedule(inst, s)
  put_contract(inst, s, schedule.print(s, KEYS))
  put_cost(inst, s)
  local name = string.format("%s-%s-%dx%dx%d-s%d-w%dx%d%s", inst.name, op.values_name(inst),
    s.bm, s.bn, s.bk, s.stages, s.wm, s.wn, s.vec == 1 and "-any" or "")
  tile.kernel({ name = op.entry_name(name), threads = s.wm * s.wn * 32, min_ctas = min_ctas(inst, s) }, function()
    local view = {}
    for _, t in ipairs(inst.tensors) do if t.present then view[t.name] = common.view_of(inst, t, align_of(t, s), piece_of(inst, t, s)) end end
    local accs = {}
    for i in ipairs(inst.op.products) do accs[i] = accumulator(inst, s) end
    main_loop(inst, s, view, accs, function(ring, batch, m, n)
      local e = common.epilogue(inst, graph, view, accs, function(v) return spread(inst, v, s) end, batch, m, n)
      for i, o in ipairs(graph.outputs) do
        if i > 1 then e:forget() end -- several results share nothing: it would be kept for all elements
        store_result(inst, s, view, o, e:value(o.value), ring, batch, m, n)
      end
    end)
  end)
  local grid = s.fill == "across" and string.format("min(tiles,%d*sms)", resident(inst, s)) or "tiles"
  contract.line("step main entry $entry0 grid %s,1,1 block $block0 shared $shared0 when M>0&&N>0&&B>0 args $args0", grid)
  return name
end

return warp
