-- gemm_turn.lua - a step before a product by warpgroups: operands of f32 that lie with m or n contiguous are copied into workspaces with k
-- contiguous, in which order alone wgmma reads tf32. Two bytes of traffic for each byte of the operand, against a product that takes K times
-- as long as to read it.
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local contract = use "kiln.contract"
local op = use "kiln.op"
local common = use "families.gemm_common"

local turn = {}
local SIDE, THREADS = 64, 256 -- of a square that a CTA turns

local function needs(inst, t) return t.dtype == "f32" and not common.is_k_major(inst, inst.op.side[t.name]) end

-- The op as its product sees it: with k contiguous everywhere. own.turned: operands that are to be turned, by name.
function turn.straight(inst)
  local own, turned, any = {}, {}, false
  for _, t in ipairs(common.operands(inst)) do if needs(inst, t) then turned[t.name], any = t, true end end
  if inst.op.phases > 1 or not any then return inst end
  for k, v in pairs(inst) do own[k] = v end
  own.values, own.turned = {}, turned
  for k, v in pairs(inst.values) do own.values[k] = v end
  own.values.a_major, own.values.b_major = "k", "k"
  return own
end

local function other_dim(inst, t) return inst.op.side[t.name] == "a" and "M" or "N" end

-- Where a turned operand lies, as the product's kernel and the step see it.
function turn.view(inst, t)
  local flat, name = inst.op.flat, "turned_" .. t.name
  return tile.view {
    tensor = name, rank = flat and 2 or 3, dtype = t.dtype, align = 16, sizes = (flat and "" or "B,") .. other_dim(inst, t) .. ",K",
    strides = (flat and "" or name .. "_0,") .. "turned_K,1",
  }
end

-- Lines of the contract, before the product's.
function turn.put_contract(inst)
  if not inst.turned then return end
  contract.line("let turned_K roundup(K,4)")
  for _, t in pairs(inst.turned) do
    local dim = other_dim(inst, t)
    contract.line("let turned_%s_tiles ceildiv(%s,%d)", t.name, dim, SIDE)
    if inst.op.flat then contract.line("workspace turned_%s f32 [%s,turned_K]", t.name, dim)
    else -- one for all batches where the operand is
      contract.line("let turned_%s_0 %s_0==0?0:%s*turned_K", t.name, t.name, dim)
      contract.line("let turned_%s_B %s_0==0?min(B,1):B", t.name, t.name)
      contract.line("workspace turned_%s f32 [turned_%s_B,%s,turned_K]", t.name, t.name, dim)
    end
  end
end

-- Nanoseconds, as a summand of the contract's cost.
function turn.cost(inst)
  local sum = ""
  for _, t in pairs(inst.turned or {}) do sum = sum .. string.format("+8*%s/bw+3000", table.concat(t.dims, "*")) end
  return sum
end

local function turn_square(inst, straight, t)
  local i32 = function(v) return tile.to(tile.param(v, "i64"), "i32") end
  local across, down = i32("turned_" .. t.name .. "_tiles"), (i32("K") + (SIDE - 1)) / SIDE
  local index = tile.cta(0)
  local batch = index / (across * down)
  local within = index - batch * (across * down)
  local k = within / across
  local place = { tile.i64(k) * SIDE, tile.i64(within - k * across) * SIDE }
  local function at(first, second) return inst.op.flat and { first, second } or { batch, first, second } end
  local lanes = layout.rowwise(SIDE, SIDE, THREADS // 32, 32, 1)
  local shape = { shape = { SIDE, SIDE }, layout = lanes }
  local square = tile.smem(t.dtype, { SIDE, SIDE }, { pad = 1 })
  tile.store(square, tile.load(common.view_of(inst, t, common.bytes(t), 1), at(place[1], place[2]), shape), { 0, 0 })
  tile.store(turn.view(straight, t), tile.load(tile.trans(square), { 0, 0 }, shape), at(place[2], place[1]))
end

-- The kernels and their steps; returns how many there are. inst: the op as its caller sees it.
function turn.emit(inst, straight, name)
  local n = 0
  for _, t in pairs(straight.turned or {}) do
    tile.kernel({ name = op.entry_name(name .. "-turn_" .. t.name), threads = THREADS }, function() turn_square(inst, straight, t) end)
    local squares = string.format("turned_%s_tiles*ceildiv(K,%d)%s", t.name, SIDE, inst.op.flat and "" or "*turned_" .. t.name .. "_B")
    contract.line("step turn_%s entry $entry%d grid %s,1,1 block $block%d shared $shared%d when M>0&&N>0&&B>0 args $args%d", t.name, n, squares, n, n, n)
    n = n + 1
  end
  return n
end

return turn
