-- gemm_common.lua - what the skeletons of products share: how tensors lie, where a tile is, and the values of an epilogue.
local tile = use "kiln.tile"
local contract = use "kiln.contract"
local evaluate = use "kiln.evaluate"

local common = {}

function common.bytes(t) return contract.bytes_of[t.dtype] end

-- Of an operand: is it stored with k as the contiguous dim?
function common.is_k_major(inst, name) return inst.values[name .. "_major"] == "k" end

function common.strides_of(t, inst)
  local s = {}
  for i = 1, #t.dims do s[i] = t.name .. "_" .. (i - 1) end
  local turned = (t.name == "a" and not common.is_k_major(inst, "a")) or (t.name == "b" and common.is_k_major(inst, "b"))
  s[turned and #s - 1 or #s] = "1"
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
  if strides[rank] ~= "1" then -- stored the other way round: the view has the dims as stored
    sizes[rank], sizes[rank - 1] = sizes[rank - 1], sizes[rank]
    strides[rank], strides[rank - 1] = strides[rank - 1], strides[rank]
  end
  return tile.view {
    tensor = t.name, rank = rank, dtype = t.dtype, align = align, sizes = table.concat(sizes, ","), strides = table.concat(strides, ","), multiple = multiple,
  }
end

-- Batch, row and column of a tile by its index, in tiles; tiles_m and tiles_n are the contract's. Tiles go in groups of `group` rows of
-- tiles, so that CTAs that run together share columns of b in L2.
function common.tile_of(index, group)
  local i32 = function(name) return tile.to(tile.param(name, "i64"), "i32") end
  local tm, tn = i32("tiles_m"), i32("tiles_n")
  local per_batch = tm * tn
  local batch = index / per_batch
  local within = index - batch * per_batch
  local width = tn * tile.min(tm, tile.const(group, "i32")) -- at most all tiles of a batch: stays below 2^31
  local band = within / width
  local first = band * group
  local height = tile.min(tm - first, tile.const(group, "i32"))
  local inside = within - band * width
  local across = inside / height
  return batch, first + (inside - across * height), across
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

-- The epilogue over a part of the accumulator, whose first element is at (batch, m, n): an evaluator of the definition's nodes.
function common.epilogue(inst, view, part, spread, batch, m, n)
  local e = evaluate.new()
  local sum = tile.read(part)
  e.spread = spread
  e.special = function(node) return node.op == "dot" and sum or nil end
  e.argument = function(node)
    local t = inst.by_name[node.name]
    return tile.f32(tile.load_like(view[t.name], part, common.at(t, batch, m, n), { cache = "nc", dims = common.dims_of(t) }))
  end
  return e
end

-- Tensors and scalars in the contract; align_of(t): bytes.
function common.put_tensors(inst, align_of)
  local bound = false -- by the first tensor that has it; the others may be broadcast
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local dims = {}
      for k, d in ipairs(t.dims) do dims[k] = d == "B" and bound and not t.out and "B|1" or d end
      for _, d in ipairs(t.dims) do bound = bound or d == "B" end
      contract.tensor(t, dims, common.strides_of(t, inst), align_of(t), t.dims[1] == "B" and "lead 1" or nil)
    end
  end
  for _, sc in ipairs(inst.scalars) do contract.scalar(sc) end
end

function common.put_work(inst)
  local ea, ed = common.bytes(inst.by_name.a), common.bytes(inst.by_name.d)
  contract.line("bytes B*(M*K+K*N)*%d+B*M*N*%d", ea, ed * (inst.by_name.c and inst.by_name.c.present and 2 or 1))
  contract.line("flop 2*B*M*N*K")
end

return common
