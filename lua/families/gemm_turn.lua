-- gemm_turn.lua - a step before a product by warpgroups: operands of f32, e4m3 and e5m2 that lie with m or n contiguous are copied into
-- workspaces with k contiguous, in which order alone wgmma reads what is not of 16 bits. f32 at any alignment; bytes 16 at a time.
-- Two bytes of traffic for each byte of the operand, against a product that takes K times as long as to read it.
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local contract = use "kiln.contract"
local op = use "kiln.op"
local common = use "families.gemm_common"

local turn = {}
local THREADS = 256

local function is_byte(t) return common.is_byte(t.dtype) end
local function side_of(t) return is_byte(t) and 128 or 64 end -- of a square that a CTA turns
local function vec_of(t) return is_byte(t) and 16 or 1 end -- elements that are read and written together
function turn.align(t) return vec_of(t) * common.bytes(t) end

local function needs(inst, t) return common.bytes(t) ~= 2 and not common.is_k_major(inst, inst.op.side[t.name]) end

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

-- Where a turned operand lies, as the product's kernel sees it; rounded: as the step does, which writes whole pieces of a row.
function turn.view(inst, t, rounded)
  local flat, name = inst.op.flat, "turned_" .. t.name
  return tile.view {
    tensor = name, rank = flat and 2 or 3, dtype = t.dtype, align = 16,
    sizes = (flat and "" or "B,") .. other_dim(inst, t) .. (rounded and ",turned_K" or ",K"),
    strides = (flat and "" or name .. "_0,") .. "turned_K,1", multiple = rounded and vec_of(t) or nil,
  }
end

-- Lines of the contract, before the product's.
function turn.put_contract(inst)
  if not inst.turned then return end
  local any
  for _, t in pairs(inst.turned) do any = t end
  contract.line("let turned_K roundup(K,%d)", 16 // common.bytes(any))
  for _, t in pairs(inst.turned) do
    local dim = other_dim(inst, t)
    contract.line("let turned_%s_tiles ceildiv(%s,%d)", t.name, dim, side_of(t))
    if vec_of(t) > 1 then contract.line("require %s%%%d==0 \"'%s' is turned in pieces of %d elements\"", dim, vec_of(t), t.name, vec_of(t)) end
    if inst.op.flat then contract.line("workspace turned_%s %s [%s,turned_K]", t.name, t.dtype, dim)
    else -- one for all batches where the operand is
      contract.line("let turned_%s_0 %s_0==0?0:%s*turned_K", t.name, t.name, dim)
      contract.line("let turned_%s_B %s_0==0?min(B,1):B", t.name, t.name)
      contract.line("workspace turned_%s %s [turned_%s_B,%s,turned_K]", t.name, t.dtype, t.name, dim)
    end
  end
end

-- Nanoseconds, as a summand of the contract's cost.
function turn.cost(inst)
  local sum = ""
  for _, t in pairs(inst.turned or {}) do sum = sum .. string.format("+%d*%s/bw+3000", 2 * common.bytes(t), table.concat(t.dims, "*")) end
  return sum
end

local function turn_square(inst, straight, t)
  local i32 = function(v) return tile.to(tile.param(v, "i64"), "i32") end
  local side, vec = side_of(t), vec_of(t)
  local across, down = i32("turned_" .. t.name .. "_tiles"), (i32("K") + (side - 1)) / side
  local index = tile.cta(0)
  local batch = index / (across * down)
  local within = index - batch * (across * down)
  local k = within / across
  local place = { tile.i64(k) * side, tile.i64(within - k * across) * side }
  local function at(first, second) return inst.op.flat and { first, second } or { batch, first, second } end
  -- Bytes are read from shared memory one by one: two threads beside each other in a row, so that others read its neighbours, in the same words.
  local function spread(lanes) return { shape = { side, side }, layout = layout.rowwise(side, side, THREADS // 32, lanes, vec) } end
  local square = tile.smem(t.dtype, { side, side }, not is_byte(t) and { pad = 1 } or nil)
  tile.store(square, tile.load(common.view_of(inst, t, turn.align(t), vec), at(place[1], place[2]), spread(is_byte(t) and side // vec or 32)), { 0, 0 })
  tile.store(turn.view(straight, t, true), tile.load(tile.trans(square), { 0, 0 }, spread(is_byte(t) and 2 or 32)), at(place[2], place[1]))
end

-- The kernels and their steps; returns how many there are. inst: the op as its caller sees it.
function turn.emit(inst, straight, name)
  local n = 0
  for _, t in pairs(straight.turned or {}) do
    tile.kernel({ name = op.entry_name(name .. "-turn_" .. t.name), threads = THREADS }, function() turn_square(inst, straight, t) end)
    local squares = string.format("turned_%s_tiles*ceildiv(K,%d)%s", t.name, side_of(t), inst.op.flat and "" or "*turned_" .. t.name .. "_B")
    contract.line("step turn_%s entry $entry%d grid %s,1,1 block $block%d shared $shared%d when M>0&&N>0&&B>0 args $args%d", t.name, n, squares, n, n, n)
    n = n + 1
  end
  return n
end

return turn
