-- gemm_common.lua - what the skeletons of products share: how tensors lie, where a tile is, and the values of an epilogue.
local tile = use "kiln.tile"
local contract = use "kiln.contract"
local evaluate = use "kiln.evaluate"
local op = use "kiln.op"

local common = {}

function common.bytes(t) return contract.bytes_of[t.dtype] end
function common.is_byte(dtype) return contract.bytes_of[dtype] == 1 end

-- The operands of products in the op's order, of one side ("a": left, "b": right) or of both; of the first products where an accumulator adds
-- up several, which is what a slot holds.
local function operands_of(side)
  return function(inst)
    local list, first = {}, {}
    for _, p in ipairs(inst.op.products) do first[p.left], first[p.right] = true, true end
    for _, t in ipairs(inst.tensors) do
      if first[t.name] and (not side or inst.op.side[t.name] == side) then table.insert(list, t) end
    end
    return list
  end
end
local left, right = op.once("left_operands", operands_of "a"), op.once("right_operands", operands_of "b")
local both = op.once("operands", operands_of(nil))
function common.operands(inst, side) return (side == "a" and left or side == "b" and right or both)(inst) end

-- What is written, in the op's order.
common.outputs = op.once("outputs", function(inst)
  local list = {}
  for _, t in ipairs(inst.tensors) do if t.out and t.present then table.insert(list, t) end end
  return list
end)

-- What takes an operand's place in the k-th product of an accumulator.
function common.operand_of(inst, t, k)
  return k == 1 and t or inst.by_name[inst.op.later[t.name][k]]
end

-- Of the operands of a side: are they stored with k as the contiguous dim?
function common.is_k_major(inst, side) return inst.values[side .. "_major"] == "k" end

-- Is the tensor stored with its last two dims the other way round?
local function is_turned(inst, t)
  local side = inst.op.side[t.name]
  return side == "a" and not common.is_k_major(inst, "a") or side == "b" and common.is_k_major(inst, "b")
end
common.is_turned = is_turned

-- Does the epilogue keep so many values of an element that fewer elements have to do at a time? (The slope of gelu by tanh is 32 nodes, that of
-- the other functions at most 23.)
function common.is_heavy(inst) return inst.nodes > 28 end

-- Bytes of all operands' tiles of bk of k.
function common.operand_bytes(inst, bm, bn, bk)
  local total = 0
  for _, t in ipairs(common.operands(inst)) do total = total + (inst.op.side[t.name] == "a" and bm or bn) * bk * common.bytes(t) end
  return total
end

-- A shared tile for an operand, as it is stored.
function common.operand_tile(inst, t, bm, bn, bk)
  local rows = inst.op.side[t.name] == "a" and bm or bn
  return tile.smem(t.dtype, common.is_k_major(inst, inst.op.side[t.name]) and { rows, bk } or { bk, rows }, { name = t.name })
end

-- Where an operand's tile begins, in its view: first row (m) or column (n), and k.
function common.operand_at(inst, t, batch, m, n, k)
  local first = inst.op.side[t.name] == "a" and m or n
  local at = common.is_k_major(inst, inst.op.side[t.name]) and { first, k } or { k, first }
  if not inst.op.flat then table.insert(at, 1, batch) end
  return at
end

-- Of a slot's field: as a left operand [m, k], or a right one [k, n].
function common.as_operand(inst, name, field)
  local side = inst.op.side[name]
  local k_major = common.is_k_major(inst, side)
  if side == "a" then return k_major and field or tile.trans(field) end
  return k_major and tile.trans(field) or field
end

function common.strides_of(t, inst)
  local s = {}
  for i = 1, #t.dims do s[i] = t.name .. "_" .. (i - 1) end
  if not t.strided and #s > 0 then s[is_turned(inst, t) and #s - 1 or #s] = "1" end
  return s
end

-- align: bytes, as the contract demands them; multiple: what the contiguous size is a multiple of.
function common.view_of(inst, t, align, multiple)
  local sizes, strides, rank = {}, {}, #t.dims
  local named = common.strides_of(t, inst)
  for i = 1, rank do
    sizes[i] = t.dims[i]
    strides[i] = named[i]
  end
  if is_turned(inst, t) then -- stored the other way round: the view has the dims as stored
    sizes[rank], sizes[rank - 1] = sizes[rank - 1], sizes[rank]
    strides[rank], strides[rank - 1] = strides[rank - 1], strides[rank]
  end
  return tile.view {
    tensor = t.name, rank = rank, dtype = t.dtype, align = t.strided and common.bytes(t) or align, sizes = table.concat(sizes, ","),
    strides = table.concat(strides, ","), multiple = not t.strided and rank > 0 and multiple or nil,
  }
end

-- How many tiles there are, as one number: a product of parameters would take a register throughout.
-- What common.tile_of divides by: tiles of a batch, of a band of `group` rows of tiles, and rows of the last band.
function common.put_tiles(group)
  contract.line("let tiles tiles_m*tiles_n*B")
  contract.line("derived by_batch fastdiv tiles_m*tiles_n")
  contract.line("derived by_band fastdiv tiles_n*min(tiles_m,%d)", group)
  contract.line("derived by_last fastdiv tiles_m-(ceildiv(tiles_m,%d)-1)*%d", group, group)
end

-- A CTA that walks over tiles counts them in 32 bits, and looks ahead by no more than there are CTAs.
function common.require_walk()
  contract.line("require tiles<=%d \"tiles are counted in 32 bits by CTAs that walk over them\"", 1 << 30)
end

-- Batch, row and column of a tile by its index, in tiles; tiles_m and tiles_n are the contract's. Tiles go in bands of `group` rows of
-- tiles, so that CTAs that run together share columns of b in L2.
function common.tile_of(index, group)
  local i32 = function(name) return tile.to(tile.param(name, "i64"), "i32") end
  local function by(a, name) return tile.fastdiv(a, tile.param(name, "i64")) end
  local tm, tn, whole = i32("tiles_m"), i32("tiles_n"), tile.const(group, "i32")
  local batch = by(index, "by_batch")
  local within = index - batch * (tm * tn)
  local band = by(within, "by_band")
  local first = band * group
  local inside = within - band * (tn * tile.min(tm, whole)) -- at most all tiles of a batch: stays below 2^31
  local full = tile.le(first + group, tm)
  local across = tile.where(full, inside / group, by(inside, "by_last"))
  return batch, first + (inside - across * tile.where(full, whole, tm - first)), across
end

-- Coordinates of a tensor's tile.
function common.at(t, batch, m, n)
  local c = {}
  for i, d in ipairs(t.dims) do c[i] = d == "B" and batch or d == "M" and m or n end
  return c
end

-- Which of its dims are the tile's rows and columns; -1: it has none, and the value is the same along it.
function common.dims_of(t)
  local dims = { -1, -1 }
  for i, d in ipairs(t.dims) do if d ~= "B" then dims[d == "M" and 1 or 2] = i - 1 end end
  return dims
end

-- The epilogue over parts of the accumulators (one of each product), whose first element is at (batch, m, n): an evaluator of the
-- definition's nodes.
function common.epilogue(inst, graph, view, parts, spread, batch, m, n)
  local e = evaluate.new()
  local sums = {}
  for i, part in ipairs(parts) do sums[i] = tile.read(part) end
  e.spread = spread
  e.special = function(node) return sums[graph.products[node]] end
  e.argument = function(node)
    local t = inst.by_name[node.name]
    if #t.dims == 0 then return tile.f32(tile.load1(view[t.name], {})) end
    return tile.f32(tile.load_like(view[t.name], parts[1], common.at(t, batch, m, n), { cache = "nc", dims = common.dims_of(t) }))
  end
  return e
end

-- Tensors and scalars in the contract; align_of(t): bytes.
function common.put_tensors(inst, align_of)
  local bound = false -- by the first tensor that has it; the others may be broadcast
  local blocks = {}
  for _, b in ipairs(inst.blocks) do blocks[b.dim] = string.format("ceildiv(%s,%d)", b.of, b.size) end
  local leading = inst.op.flat and contract.leading(inst.tensors, "M")
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local dims = {}
      for k, d in ipairs(t.dims) do dims[k] = d == "B" and bound and not t.out and "B|1" or blocks[d] or d end
      for _, d in ipairs(t.dims) do bound = bound or d == "B" end
      local strides, words = common.strides_of(t, inst), t.dims[1] == "B" and "lead 1" or nil
      if leading then dims, strides, words = leading(t, dims, strides) end
      contract.tensor(t, dims, strides, t.strided and common.bytes(t) or align_of(t), words)
    end
  end
  if leading then contract.require_rows("M") end
  for _, b in ipairs(inst.blocks) do contract.line("let %s ceildiv(%s,%d)", b.dim, b.of, b.size) end
  for _, sc in ipairs(inst.scalars) do contract.scalar(sc) end
  if inst.op.flat then contract.line("let B 1") end
  for _, d in ipairs(inst.sized or {}) do contract.line("let size_%s %s", d, d) end
end

-- Bytes and operations, each tensor once.
function common.put_work(inst)
  local terms = {}
  for _, t in ipairs(inst.tensors) do
    if t.present and #t.dims > 1 and not inst.op.scaled[t.name] then table.insert(terms, table.concat(t.dims, "*") .. "*" .. common.bytes(t)) end
  end
  contract.line("bytes %s", table.concat(terms, "+"))
  contract.line("flop %d*B*M*N*K", 2 * #inst.op.products * inst.op.phases)
end

return common
