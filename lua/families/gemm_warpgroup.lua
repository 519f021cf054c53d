-- gemm_warpgroup.lua - products by warpgroups (wgmma) on tiles that bulk copies bring: one warp starts copies into a ring of slots, two
-- groups of four warps multiply, and results leave by bulk copies from shared memory. CTAs stay and walk over tiles.
--
--   way=coop      both groups on one tile of bm x bn, each on half of its rows
--   way=pingpong  each group on a tile of its own; while one writes its result, the other has the tensor cores
--
-- The CTAs of a cluster take neighbouring tiles, and each brings its share of the operands that are the same for all: share=b, tiles one
-- above the other; share=a, side by side.
-- split: so many CTAs of a cluster share a tile's k. Each then has a share of the tile's columns, which it adds up from what the others leave
-- in their shared memory, its own first and theirs in the order of their ranks after it: the same bits every time.
-- a=regs: left operands go to registers first, and from there to the products.
-- One product stays in flight: a slot is given back one step after it was read; its token travels in a carrier. Where sums over 128 of k
-- are promoted, each such sum is waited for, scaled and added to the accumulator while the other group multiplies.
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local contract = use "kiln.contract"
local schedule = use "kiln.schedule"
local op = use "kiln.op"
local common = use "families.gemm_common"
local block_scales = use "families.gemm_scales"
local turn = use "families.gemm_turn"

local warpgroup = {}
local KEYS = { "core", "way", "bm", "bn", "bk", "stages", "cluster", "share", "split", "a", "group", "out" }
local GROUPS, LOAD_REGS, MATH_REGS = 2, 24, 240
local SCALE_SETS = 2 -- of scales of blocks, that take turns
local bytes, is_k_major = common.bytes, common.is_k_major

-- Elements of k in a row of 128 bytes of an operand's panel.
local function panel(inst) return 128 // bytes(common.operands(inst)[1]) end

-- ---- schedules ----

local outputs = common.outputs

local function group_rows(s) return s.way == "coop" and s.bm // GROUPS or s.bm end
local function out_rows(inst, s) return inst.promote and 64 or group_rows(s) end -- that leave together
local function own_columns(s) return s.bn // s.split end -- of a tile that several CTAs have summed
local function ctas(s) return s.cluster * s.split end -- of a cluster
-- Columns of the pieces in which results leave: 128 bytes, or all there are; of several results 16 elements of a thread, which keeps what
-- they share, of heavy ones 32.
local function out_columns(inst, s)
  local columns, list = own_columns(s), outputs(inst)
  for _, t in ipairs(list) do columns = math.min(columns, 128 // bytes(t)) end
  local most = #list > 1 and 16 or common.is_heavy(inst) and 32
  return most and math.min(columns, most * 128 // group_rows(s)) or columns
end

local function shared_bytes(inst, s)
  local total = s.stages * (common.operand_bytes(inst, s.bm, s.bn, s.bk) + 16)
  for _, t in ipairs(outputs(inst)) do total = total + GROUPS * s.out * out_rows(inst, s) * out_columns(inst, s) * bytes(t) end
  total = total + (s.split - 1) * #inst.op.products * s.bm * own_columns(s) * 4
  if block_scales.has_columns(inst) then total = total + GROUPS * SCALE_SETS * 512 end -- a row of at most 128
  return total + 2048 -- rings begin at multiples of 1024
end

local function can_write(inst)
  for _, t in ipairs(outputs(inst)) do if t.dtype ~= "f32" and t.dtype ~= "f16" and t.dtype ~= "bf16" then return false end end
  return true
end

-- Why a schedule cannot be; nil: it can.
local function fault(inst, s)
  if s.way ~= "coop" and s.way ~= "pingpong" then return "way is coop or pingpong" end
  if group_rows(s) % 64 ~= 0 or group_rows(s) == 0 then return "a group has 64 rows or a multiple of it" end
  if s.bn % 8 ~= 0 or s.bn > 256 or s.bm > 256 then return "bn is a multiple of 8 up to 256, bm at most 256" end
  local whole = panel(inst)
  if s.bk ~= whole // 4 and s.bk ~= whole // 2 and s.bk ~= whole and s.bk ~= 2 * whole then
    return string.format("bk is %d, %d, %d or %d", whole // 4, whole // 2, whole, 2 * whole)
  end
  if inst.promote and (s.way ~= "coop" or s.bk ~= inst.promote or s.split ~= 1 or s.a ~= "smem") then
    return string.format("sums over %d of k are promoted by way=coop with bk=%d, split=1 and a=smem: one group multiplies while the other adds",
      inst.promote, inst.promote)
  end
  if inst.promote and s.bn > 128 and s.bn % 128 ~= 0 then return "bn is at most 128, or 256, where sums are promoted" end
  if block_scales.has_columns(inst) and (group_rows(s) > 64 or s.bn > 128) then
    return "bm and bn are at most 128 with scales of each column, which have registers of their own"
  end
  if group_rows(s) * s.bn * #inst.op.products > 128 * 128 then
    return "a group's accumulators are at most 128 x 128 or 64 x 256 in all: 128 registers of a thread"
  end
  for _, t in ipairs(outputs(inst)) do
    local columns = out_columns(inst, s)
    if own_columns(s) % columns ~= 0 or columns * bytes(t) % 32 ~= 0 then
      return string.format("bn / split is 16, 32 or a multiple of %d, the columns in which '%s' leaves", columns, t.name)
    end
  end
  if s.cluster ~= 1 and s.cluster ~= 2 and s.cluster ~= 4 then return "cluster is 1, 2 or 4" end
  if s.split ~= 1 and s.split ~= 2 and s.split ~= 4 and s.split ~= 8 or ctas(s) > 8 then return "split is 1, 2, 4 or 8, and a cluster has at most 8 CTAs" end
  if s.split > 1 and s.way ~= "coop" then return "split is for way=coop" end
  if s.bn % (16 * s.split) ~= 0 then return "each CTA of a split has 16 columns or a multiple of it" end
  if s.a ~= "smem" and s.a ~= "regs" then return "a is smem or regs, from where products read left operands" end
  if s.a == "regs" and not (is_k_major(inst, "a") and s.bk * bytes(common.operands(inst)[1]) == 128) then
    return "a=regs is for left operands with k contiguous, 128 bytes of it in a slot"
  end
  if s.share ~= "a" and s.share ~= "b" then return "share is a or b, the side that the CTAs of a cluster bring to all" end
  local shared_rows = is_k_major(inst, s.share) and (s.share == "a" and s.bm or s.bn) or s.bk
  if shared_rows % (8 * s.cluster) ~= 0 then return "the CTAs of a cluster share operands in pieces of 8 rows" end
  if not is_k_major(inst, "b") and s.bn ~= 16 and s.bn ~= 32 and s.bn % 64 ~= 0 then
    return "right operands with n contiguous come in 16 or 32 columns, or a multiple of 64"
  end
  if s.stages < 2 or s.stages > 16 then return "the ring has 2 to 16 stages" end
  if shared_bytes(inst, s) > core.target.shared_block then
    return string.format("takes %d bytes of shared memory, %s has %d", shared_bytes(inst, s), core.target.name, core.target.shared_block)
  end
end

-- f32 is multiplied as tf32, where that is exact enough.
local function can_multiply(inst)
  for _, p in ipairs(inst.op.products) do
    local l, r = inst.by_name[p.left].dtype, inst.by_name[p.right].dtype
    if l == "f32" and inst.values.f32 == "tf32" then l, r = "tf32", "tf32" end
    if l == "f32" or not core.has(string.format("wgmma_f32_%s_%s_n8", l, r)) then return false end
    if bytes(inst.by_name[p.left]) ~= 2 and not (is_k_major(inst, "a") and is_k_major(inst, "b")) then return false end -- 16 bits may lie either way
  end
  return true
end

local candidates = op.once("wgmma_candidates", function(inst)
  local list = {}
  if not can_multiply(inst) or not can_write(inst) then return list end
  local function add(way, bm, bn, stages, cluster, share, out, split)
    local s = {
      core = "wgmma", way = way, bm = bm, bn = bn, bk = panel(inst), stages = stages, cluster = cluster, share = share, split = split or 1, a = "smem",
      group = 8, out = out or 2,
    }
    while s.stages > 2 and shared_bytes(inst, s) > core.target.shared_block do s.stages = s.stages - 1 end
    if not fault(inst, s) then table.insert(list, s) end
  end
  if #inst.op.products > 1 then -- their accumulators share a thread's registers
    local bn = 128 // #inst.op.products // 16 * 16
    add("pingpong", 128, bn, 5, 2, "b")
    add("coop", 256, bn, 4, 2, "b", 1)
    add("coop", 128, 2 * bn, 4, 2, "b")
    add("pingpong", 64, 2 * bn, 5, 1, "b")
    return list
  end
  if inst.promote then
    local out = block_scales.has_columns(inst) and 1 or 2 -- their shared memory comes out of this, not out of the ring
    add("coop", 128, 256, 4, 1, "b", out)
    add("coop", 128, 256, 4, 2, "b", out)
    add("coop", 256, 128, 4, 2, "b", 1)
    add("coop", 128, 128, 6, 1, "b", out)
    add("coop", 128, 64, 8, 1, "b", out)
    return list
  end
  if panel(inst) ~= 32 then
    add("pingpong", 128, 128, 5, 1, "b")
    add("coop", 128, 256, 4, 1, "b")
  end
  add("coop", 128, 256, 4, 2, "b")
  add("coop", 256, 128, 4, 2, "b", 1)
  add("pingpong", 128, 128, 5, 2, "b")
  add("coop", 128, 128, 6, 2, "a")
  add("coop", 128, 128, 6, 1, "b")
  add("coop", 128, 64, 8, 2, "a")
  add("pingpong", 128, 64, 8, 1, "b", 1)
  add("pingpong", 64, 64, 12, 1, "b", 1)
  for _, split in ipairs { 2, 4, 8 } do add("coop", 128, 128, 5, 1, "b", 1, split) end -- few tiles and a long k
  return list
end)

function warpgroup.schedules(inst)
  local texts = {}
  for _, s in ipairs(candidates(turn.straight(inst))) do table.insert(texts, schedule.print(s, KEYS)) end
  return texts
end

-- ---- contract ----

-- Does the epilogue read tensors along n? Then in pairs, and their size must allow it.
local function reads_columns(inst)
  for _, t in ipairs(inst.tensors) do
    if t.present and not t.out and not t.strided and not inst.op.side[t.name] and t.dims[#t.dims] == "N" then return true end
  end
  return false
end

-- own: the op as its caller sees it.
local function put_contract(own, inst, s)
  contract.begin(own, schedule.print(s, KEYS))
  common.put_tensors(own, function(t) return inst.turned and inst.turned[t.name] and turn.align(t) or #t.dims == 0 and bytes(t) or 16 end)
  turn.put_contract(inst)
  contract.line("let tiles_m ceildiv(M,%d)", s.bm * (s.share == "b" and s.cluster or 1))
  contract.line("let tiles_n ceildiv(N,%d)", s.bn * (s.share == "a" and s.cluster or 1))
  common.put_tiles(s.group)
  contract.line("let k_tiles ceildiv(ceildiv(K,%d),%d)", s.bk, s.split) -- of one CTA; beyond K are zeros
  local piece = 0
  for _, t in ipairs(outputs(inst)) do piece = math.max(piece, 16 // bytes(t)) end
  if reads_columns(inst) then piece = math.max(piece, 8) end
  contract.line("require N%%%d==0 \"bulk copies write whole pieces of 16 bytes of a row\"", piece)
  common.require_walk()
  contract.line("require max(M,max(N,K))<=%d \"coordinates of bulk copies have 32 bits\"", (1 << 31) - (1 << 16)) -- the last tiles reach beyond
end

-- Share of the tensor rate (of half of it for tf32) at which an SM works through many tiles; other tiles go by their accumulators. What is not
-- hidden: a tile's first and last slots (as elements of K; a pingpong's once for all of its tiles), half of the time that the operands need from memory, and
-- 4 us for a launch. Measured on an H200 (docs/performance.md).
local RATE = {
  ["pingpong 128x128 1b"] = 0.855, ["coop 128x256 1b"] = 0.85, ["coop 128x256 2b"] = 0.85, ["pingpong 128x128 2b"] = 0.84, ["coop 256x128 2b"] = 0.83,
  ["coop 128x128 1b"] = 0.81, ["coop 128x128 2a"] = 0.76,
  ["pingpong 128x64x2 2b"] = 0.86, ["coop 256x64x2 2b"] = 0.83, ["coop 128x128x2 2b"] = 0.83, ["pingpong 128x64 1b"] = 0.72,
  [256 * 128] = 0.81, [128 * 128] = 0.76, [128 * 64] = 0.63, [64 * 64] = 0.44,
}

-- The same for operands of bytes, whose products go at twice the rate; promoted sums apart, those with scales of each column, and k that is split.
local BYTES = {
  fast = {
    ["pingpong 128x128 1b"] = 1.68, ["coop 128x256 1b"] = 1.70, ["coop 128x256 2b"] = 1.66, ["coop 256x128 2b"] = 1.64, ["pingpong 128x128 2b"] = 1.62,
    ["coop 128x128 1b"] = 1.58, ["coop 128x128 2a"] = 1.52, ["coop 128x64 2a"] = 1.22, ["pingpong 128x64 1b"] = 1.05, ["pingpong 64x64 1b"] = 0.83,
  },
  promoted = {
    ["coop 128x256 1b"] = 1.27, ["coop 128x256 2b"] = 1.24, ["coop 128x128 1b"] = 1.11, ["coop 256x128 2b"] = 1.04, ["coop 128x128 2b"] = 1.0,
    ["coop 128x64 1b"] = 0.69,
  },
  columns = { ["coop 128x128 1b"] = 0.79, ["coop 128x64 1b"] = 0.59 },
  split = 1.15,
}

-- How many clusters there is room for. Larger ones do not fill the SMs of a GPC, of which there are 14 to 18.
local function clusters(s)
  local c = ctas(s)
  return c > 2 and string.format("max(1,sms*10/%d)", 11 * c) or c == 2 and "max(1,sms/2)" or "sms"
end

local function put_cost(inst, s)
  common.put_work(inst)
  local each, operands = s.bm * s.bn * #inst.op.products, {}
  local several = #inst.op.products > 1 and "x" .. #inst.op.products or ""
  local key = string.format("%s %dx%d%s %d%s", s.way, s.bm, s.bn, several, s.cluster, s.share)
  local rate = RATE[key] or RATE[each] or 0.4
  for _, t in ipairs(inst.tensors) do if inst.op.side[t.name] then table.insert(operands, table.concat(t.dims, "*") .. "*" .. bytes(t)) end end
  if panel(inst) == 128 then
    local kind = block_scales.has_columns(inst) and "columns" or inst.promote and "promoted" or "fast"
    rate = s.split > 1 and BYTES.split or BYTES[kind][key] or rate * (inst.promote and 1.2 or 1.75)
  end
  if panel(inst) == 32 then rate = rate / 2 end
  local waves = string.format("ceildiv(tiles,%s)", clusters(s))
  local steps = s.split > 1 and string.format("%s*(k_tiles*%d+896)", waves, s.bk) or string.format(s.way == "coop" and "%s*(K+256)" or "%s*(K+64)+640", waves)
  contract.line("cost %d*(%s)/((tensor/sms)*%.4g)+(%s)/bw/2+4000%s", 2 * each * inst.op.phases, steps, rate, table.concat(operands, "+"), turn.cost(inst))
end

-- ---- emission ----

local function make_maps(inst, s, view)
  local map = {}
  local function add(t, rows, columns)
    local order, box, rank = {}, { rows, columns }, #t.dims
    for i, d in ipairs(t.dims) do order[i] = d end
    if common.is_turned(inst, t) then order[rank], order[rank - 1] = order[rank - 1], order[rank] end
    if rank == 3 then table.insert(box, 1, 1) end
    map[t.name] = tile.map(view[t.name], { dims = table.concat(order, ","), box = box, swizzle = columns * bytes(t), l2 = 256,
      round = t.dtype == "f32" and not t.out and "tf32" or nil })
  end
  for _, t in ipairs(common.operands(inst)) do
    local side = inst.op.side[t.name]
    local rows = not common.is_k_major(inst, side) and s.bk or side == "a" and s.bm or s.bn
    local columns = common.is_k_major(inst, side) and s.bk or side == "a" and s.bm or s.bn
    columns = math.min(columns, panel(inst)) -- rows of 32, 64 or 128 bytes, swizzled so
    for k = 1, inst.op.phases do add(common.operand_of(inst, t, k), side == s.share and rows // s.cluster or rows, columns) end
  end
  for _, t in ipairs(outputs(inst)) do add(t, out_rows(inst, s), out_columns(inst, s)) end
  return map
end

-- The first row and column of this CTA's part of a tile of the scheduler.
local function place(s, index)
  local batch, m, n = common.tile_of(index, s.group)
  if s.cluster > 1 then
    local rank = tile.cta(0) % s.cluster
    if s.share == "b" then m = m * s.cluster + rank else n = n * s.cluster + rank end
  end
  return batch, m * s.bm, n * s.bn
end

-- This CTA's number among those that share k; those with the same part of k stand next to one another.
local function split_rank(s) return tile.cta(0) / s.cluster % s.split end

local function load_role(inst, s, map, ring, tiles, k_tiles)
  tile.role({ name = "load", warps = 4, regs = LOAD_REGS }, function()
    tile.each(tiles, nil, function(index)
      local batch, m, n = place(s, index)
      local first = s.split > 1 and split_rank(s) * k_tiles
      tile.elect(function()
        for phase = 1, inst.op.phases do
          tile.for_(tile.const(0, "i32"), k_tiles, 1, function(i)
            local slot = tile.acquire(ring)
            local k = (first and i + first or i) * s.bk
            for _, t in ipairs(common.operands(inst)) do
              local own = common.operand_of(inst, t, phase)
              tile.fill_slot(slot, t.name, map[own.name], common.operand_at(inst, own, batch, m, n, k))
            end
            tile.commit(slot)
          end)
        end
      end)
      if s.split > 1 then -- the math role's two
        tile.cluster_sync({ relaxed = true })
        tile.cluster_sync({ relaxed = true })
      end
    end)
    -- No CTA leaves while its peers may still tell it of slots that they have read. Both groups of coop read all slots in order.
    if s.cluster > 1 then tile.drain(ring, s.way == "coop" and 1 or nil) end
  end)
end

-- The products of one tile. Returns the slot that is still in use, in a carrier; or nil.
local function multiply(inst, s, ring, accs, group, k_tiles)
  local rows, regs = group_rows(s), s.a == "regs"
  local function operand(slot, t)
    local whole, left = tile.field(slot, t.name), inst.op.side[t.name] == "a"
    if s.way == "coop" and left then whole = tile.part(whole, group, is_k_major(inst, "a") and 0 or 1, rows) end
    if left and regs then return tile.load(whole, { 0, 0 }, { shape = { rows, s.bk }, layout = layout.wgmma_operand(rows, s.bk, bytes(t)) }) end
    return common.as_operand(inst, t.name, whole)
  end
  local function products(slot, attrs)
    local of = {}
    for _, t in ipairs(common.operands(inst)) do of[t.name] = operand(slot, t) end
    for i, p in ipairs(inst.op.products) do (regs and tile.mma_rs or tile.mma)(accs[i], of[p.left], of[p.right], attrs) end
    tile.mma_commit()
  end
  local first = tile.wait(ring)
  products(first, { zero = true })
  local before = not regs and tile.carry(first)
  local function complete(slot) -- the next step writes the registers
    tile.mma_wait(0)
    tile.release(slot)
  end
  if regs then complete(first) end
  tile.for_(tile.const(1, "i32"), k_tiles, 1, function()
    local slot = tile.wait(ring)
    products(slot)
    if regs then
      complete(slot)
    else
      tile.mma_wait(1) -- the products before these have read their slot
      tile.release(tile.swap(before, slot))
    end
  end)
  return before
end

-- Sums to be promoted are made of 64 rows and 128 columns at a time, so that their registers serve one part of a group's tile after the
-- other, each with an accumulator of its own: { row =, column =, columns =, accs = }.
local function promoted_parts(inst, s)
  local list, columns = {}, math.min(s.bn, 128)
  for row = 0, group_rows(s) - 1, 64 do
    for column = 0, s.bn - 1, columns do
      local accs = {}
      for i in ipairs(inst.op.products) do accs[i] = tile.frag("f32", { 64, columns }, layout.wgmma_accumulator(64, columns)) end
      table.insert(list, { row = row, column = column, columns = columns, accs = accs })
    end
  end
  return list
end

local function multiply_promoted(inst, s, ring, view, parts, group, batch, m, n, k_tiles)
  local columns = parts[1].columns
  local function new_sums()
    local sums = {}
    for i in ipairs(inst.op.products) do sums[i] = tile.frag("f32", { 64, columns }, layout.wgmma_accumulator(64, columns)) end
    return sums
  end
  for _, part in ipairs(parts) do for _, acc in ipairs(part.accs) do tile.zero(acc) end end
  local function operand(slot, t, part)
    local left = inst.op.side[t.name] == "a"
    local whole, size = tile.field(slot, t.name), left and 64 or columns
    local at = left and group * (group_rows(s) // 64) + part.row // 64 or part.column // columns
    return common.as_operand(inst, t.name, (left and s.bm or s.bn) == size and whole or tile.part(whole, at, 0, size))
  end
  -- Scales come two steps ahead, into sets of registers that take turns: a step is shorter than the way to L2. Those of each column are too
  -- many for the registers of every thread, and go through shared memory while products are under way.
  local share = block_scales.has_columns(inst) and function(width)
    return tile.part(tile.smem("f32", { GROUPS, width }, { swizzle = 0 }), group, 0, 1)
  end
  local scales = inst.has_blocks and block_scales.new(inst, view, parts, batch, m, n, SCALE_SETS, share)
  local function products(slot, part, sums)
    local field = {}
    for _, t in ipairs(common.operands(inst)) do field[t.name] = operand(slot, t, part) end
    for i, p in ipairs(inst.op.products) do tile.mma(sums[i], field[p.left], field[p.right], { zero = true }) end
    tile.mma_commit()
  end
  local function promote(at, sums, set)
    for i, acc in ipairs(parts[at].accs) do block_scales.promote(acc, sums[i], scales, at, i, set) end
  end
  local function during(k, set) if scales then scales:during(k, set) end end
  local function after(k, set) if scales then scales:after(k, set) end end
  local odd = tile.eq(k_tiles % 2, 1)
  if #parts > 1 then -- registers for one part's sums: the other group multiplies while this one adds
    local sums = new_sums()
    local function step(k, set)
      local slot = tile.wait(ring)
      for at, part in ipairs(parts) do
        products(slot, part, sums)
        if at == 1 then during(k, set) end
        tile.mma_wait(0)
        if at == #parts then tile.release(slot) end
        promote(at, sums, set)
      end
      after(k, set)
    end
    tile.for_(tile.const(0, "i32"), k_tiles - k_tiles % 2, 2, function(k)
      step(k, 1)
      step(k + 1, 2)
    end)
    tile.if_(odd, function() step(k_tiles - 1, 1) end)
    return
  end
  -- Registers for two steps' sums: while those of one are added up, the products of the next are under way.
  local sums = { new_sums(), new_sums() }
  local first = tile.wait(ring)
  products(first, parts[1], sums[1])
  local before = tile.carry(first)
  local function step(k, set) -- the products of the k-th step, and the sums of the one before it, which is of the other set
    local slot = tile.wait(ring)
    products(slot, parts[1], sums[set])
    during(k - 1, 3 - set)
    tile.mma_wait(1)
    tile.release(tile.swap(before, slot))
    promote(1, sums[3 - set], 3 - set)
    after(k - 1, 3 - set)
  end
  local function last(set)
    tile.mma_wait(0)
    promote(1, sums[set], set)
  end
  tile.for_(tile.const(2, "i32"), k_tiles, 2, function(k)
    step(k - 1, 2)
    step(k, 1)
  end)
  tile.if_(odd, function() last(1) end, function()
    step(k_tiles - 1, 2)
    last(2)
  end)
  tile.release(tile.take(before))
end

-- Where a CTA leaves what it has of the columns of the others: those of the CTA that is j after it, by product.
local function make_stage(inst, s)
  local stage = {}
  for i in ipairs(inst.op.products) do
    stage[i] = {}
    for j = 1, s.split - 1 do stage[i][j] = tile.smem("f32", { s.bm, own_columns(s) }) end
  end
  return stage
end

-- The sums over all of k in this CTA's columns, from what every CTA of the split has for the whole tile.
local function sum_split(s, stage, accs, group)
  local rows, columns = group_rows(s), own_columns(s)
  local shape, lay = { rows, columns }, layout.wgmma_accumulator(rows, columns)
  local rank, sums = split_rank(s), {}
  for i in ipairs(accs) do sums[i] = tile.frag("f32", shape, lay) end
  local function mine(i, j) return tile.part(stage[i][j], group, 0, rows) end
  local function leave(r)
    for i, acc in ipairs(accs) do
      tile.set(sums[i], tile.slice(acc, { 0, r * columns }, shape, lay))
      for j = 1, s.split - 1 do tile.store(mine(i, j), tile.slice(acc, { 0, (r + j) % s.split * columns }, shape, lay), { 0, 0 }) end
    end
  end
  local function from(r) -- one of these ranks
    if r == s.split - 1 then return leave(r) end
    tile.if_(tile.eq(rank, r), function() leave(r) end, function() from(r + 1) end)
  end
  from(0)
  tile.cluster_sync()
  local within = tile.cta(0) % s.cluster
  for i, sum in ipairs(sums) do
    for j = 1, s.split - 1 do
      local from = (rank + (s.split - j)) % s.split * s.cluster + within
      tile.set(sum, tile.read(sum) + tile.load(tile.peer(mine(i, j), from), { 0, 0 }, { shape = shape, layout = lay }))
    end
  end
  tile.cluster_sync() -- all have read: the next tile may be left there, or the CTA may end
  return sums
end

-- The result leaves in pieces of 128 bytes of columns, each through a slot of the group's own. Of several results ptxas would interleave the
-- pieces for their latencies until accumulators are spilled; so each further piece stands in a block of its own, behind a branch that is always
-- taken, as a grid has CTAs, which ptxas does not know.
local function put_results(inst, s, graph, view, map, out, accs, batch, m, n, width)
  local rows = out_rows(inst, s)
  local columns = out_columns(inst, s)
  local function piece(first)
    local shape, lay = { rows, columns }, layout.wgmma_accumulator(rows, columns)
    local parts = {}
    for i, acc in ipairs(accs) do parts[i] = tile.slice(acc, { 0, first }, shape, lay) end
    local spread = function(v) return tile.spread(v, shape, lay) end
    local e = common.epilogue(inst, graph, view, parts, spread, batch, m, n + first)
    for _, o in ipairs(graph.outputs) do
      local t = o.tensor
      local value = spread(e:value(o.value))
      core.at(o.loc[1], o.loc[2])
      local slot = tile.acquire(out[t.name])
      tile.put_slot(slot, t.name, tile.to(value, t.dtype))
      tile.store_slot(slot, t.name, map[t.name], common.at(t, batch, m, n + first))
      tile.commit(slot)
      core.at()
    end
  end
  for first = 0, width - 1, columns do
    if #graph.outputs > 1 and first > 0 then tile.if_(tile.lt(0, tile.ctas(0)), function() piece(first) end) else piece(first) end
  end
end

local function math_role(inst, s, graph, view, map, ring, out, stage, turns, tiles, k_tiles)
  local pingpong = s.way == "pingpong"
  tile.role({ name = "math", warps = 4, groups = GROUPS, regs = MATH_REGS }, function(group)
    local rows = group_rows(s)
    local accs, parts = {}, inst.promote and promoted_parts(inst, s)
    for i in ipairs(inst.op.products) do
      if not parts then accs[i] = tile.frag("f32", { rows, s.bn }, layout.wgmma_accumulator(rows, s.bn)) end
    end
    if pingpong then tile.skip(ring, group * k_tiles) end -- group 1 begins with the second tile
    tile.each(tiles, pingpong and { start = true, step = GROUPS } or nil, function(index)
      local batch, m, n = place(s, index)
      if not pingpong then m = m + group * rows end
      if parts then
        multiply_promoted(inst, s, ring, view, parts, group, batch, m, n, k_tiles)
        for _, p in ipairs(parts) do put_results(inst, s, graph, view, map, out, p.accs, batch, m + p.row, n + p.column, p.columns) end
        return
      end
      if pingpong then tile.enter(turns.main) end
      local before = multiply(inst, s, ring, accs, group, k_tiles) -- a map has no empty dim, so that there is one step at least
      if pingpong then tile.leave(turns.main) end
      tile.mma_wait(0)
      if before then tile.release(tile.take(before)) end
      if pingpong then
        tile.skip(ring, k_tiles) -- the other group's tile
        tile.enter(turns.epilogue)
      end
      local sums = accs
      if s.split > 1 then
        sums = sum_split(s, stage, accs, group)
        n = n + split_rank(s) * own_columns(s)
      end
      put_results(inst, s, graph, view, map, out, sums, batch, m, n, own_columns(s))
      if pingpong then tile.leave(turns.epilogue) end
    end)
    for _, t in ipairs(outputs(inst)) do tile.drain(out[t.name]) end
  end)
end

function warpgroup.emit(own, graph, given)
  local inst = turn.straight(own)
  if not candidates(inst)[1] then
    core.refuse(inst.name .. ": " .. core.target.name .. " has no warpgroup products of " .. common.operands(inst)[1].dtype .. " here; leave out core=wgmma")
  end
  local s = schedule.read(given, candidates(inst)[1], KEYS)
  local why = fault(inst, s)
  if why then core.fail("schedule " .. schedule.print(s, KEYS) .. ": " .. why) end
  put_contract(own, inst, s)
  put_cost(inst, s)
  local name = string.format("%s-%s-%s-%dx%dx%d-s%d%s", inst.name, op.values_name(own), s.way, s.bm, s.bn, s.bk, s.stages,
    (s.cluster > 1 and "-" .. s.share .. s.cluster or "") .. (s.split > 1 and "-k" .. s.split or "") .. (s.a == "regs" and "-rs" or ""))
  local attrs = { name = op.entry_name(name), threads = (GROUPS + 1) * 128, min_ctas = 1, cluster = ctas(s) > 1 and { ctas(s), 1, 1 } or nil }
  local before = turn.emit(own, inst, name)
  tile.kernel(attrs, function()
    local view = {}
    for _, t in ipairs(inst.tensors) do
      if inst.turned and inst.turned[t.name] then view[t.name] = turn.view(inst, t)
      elseif t.present then view[t.name] = common.view_of(inst, t, 16, reads_columns(inst) and 8 or 1) end
    end
    local map = make_maps(inst, s, view)
    local i32 = function(v) return tile.to(tile.param(v, "i64"), "i32") end
    local k_tiles = i32("k_tiles")
    local names, slots, shared = {}, {}, {}
    for i, t in ipairs(common.operands(inst)) do names[i], slots[i] = t.name, common.operand_tile(inst, t, s.bm, s.bn, s.bk) end
    for i, t in ipairs(common.operands(inst, s.share)) do shared[i] = t.name end
    local ring = tile.ring({
      stages = s.stages, filled_by = "tma", emptied_by = s.way == "coop" and "math" or "math/1",
      multicast = s.cluster > 1 and table.concat(shared, ",") or nil, among = s.cluster > 1 and s.split > 1 and s.cluster or nil,
    }, names, slots)
    local out = {}
    for _, t in ipairs(outputs(inst)) do
      local columns = out_columns(inst, s)
      local slot = tile.smem(t.dtype, { out_rows(inst, s), columns }, { name = t.name, swizzle = columns * bytes(t) })
      out[t.name] = tile.ring({ stages = s.out, filled_by = "store", per_group = true }, { t.name }, { slot })
    end
    local turns = s.way == "pingpong" and { main = tile.order(GROUPS), epilogue = tile.order(GROUPS) }
    local tiles = tile.sched({ i32("tiles") }, { kind = "persistent" })
    local stage = make_stage(inst, s)
    load_role(inst, s, map, ring, tiles, k_tiles)
    local steps = inst.op.phases > 1 and k_tiles * inst.op.phases or k_tiles
    math_role(inst, s, graph, view, map, ring, out, stage, turns, tiles, steps)
  end)
  local c = ctas(s)
  contract.line("step main entry $entry%d grid %s,1,1 block $block%d shared $shared%d%s when M>0&&N>0&&B>0 args $args%d", before,
    c > 1 and string.format("min(%s,tiles)*%d", clusters(s), c) or "min(sms,tiles)", before, before,
    c > 1 and string.format(" cluster %d,1,1", c) or "", before)
  return name
end

return warpgroup
