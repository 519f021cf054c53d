-- layout.lua - fragment layouts as texts of modes: r|l|w (register, lane, warp) EXTENT @ DIM : STRIDE; '*' for DIM where the
-- element is held by every one of them. gen/layout.h explains the algebra.
local layout = {}

local function modes(list)
  local out = {}
  for _, m in ipairs(list) do
    if m[2] > 1 then table.insert(out, m[3] < 0 and string.format("%s%d@*", m[1], m[2]) or string.format("%s%d@%d:%d", m[1], m[2], m[3], m[4])) end
  end
  return table.concat(out, " ")
end

-- rows x cols over `warps` warps; `row_threads` threads share a row; each holds vectors of `vec` consecutive columns.
function layout.rowwise(rows, cols, warps, row_threads, vec)
  local lanes = math.min(row_threads, 32)
  local row_warps, lane_rows = row_threads // lanes, 32 // lanes
  local warp_rows = warps // row_warps
  local at_once = lane_rows * warp_rows
  if cols % (vec * row_threads) ~= 0 or rows % at_once ~= 0 then
    error(string.format("a tile of %d x %d cannot be spread over %d warps with %d threads per row and vectors of %d", rows, cols, warps, row_threads, vec))
  end
  return modes {
    { "r", vec, 1, 1 }, { "r", cols // (vec * row_threads), 1, vec * row_threads }, { "r", rows // at_once, 0, at_once },
    { "l", lanes, 1, vec }, { "l", lane_rows, 0, 1 }, { "w", row_warps, 1, vec * lanes }, { "w", warp_rows, 0, lane_rows },
  }
end

-- One value per row of that layout: its register columns gone, held alike by all threads of a row.
function layout.rows_of(rows, warps, row_threads)
  local lanes = math.min(row_threads, 32)
  local row_warps, lane_rows = row_threads // lanes, 32 // lanes
  local warp_rows = warps // row_warps
  local at_once = lane_rows * warp_rows
  return modes {
    { "r", rows // at_once, 0, at_once }, { "l", lanes, -1, 0 }, { "l", lane_rows, 0, 1 }, { "w", row_warps, -1, 0 }, { "w", warp_rows, 0, lane_rows },
  }
end

-- n elements along one dim, neighbours in neighbouring threads of so many warps; n: as `whole` makes it.
function layout.one_dim(n, warps)
  local own = math.min(warps, n // 32)
  return modes { { "r", n // (32 * own), 0, 32 * own }, { "l", 32, 0, 1 }, { "w", own, 0, 32 }, { "w", warps // own, -1, 0 } }
end

-- The least number from n on that can lie so: 32 of one warp, of two, ..., a multiple of what all have.
function layout.whole(n, warps)
  local own = 1
  while own < warps and 32 * own < n do own = own * 2 end
  return (n + 32 * own - 1) // (32 * own) * (32 * own)
end

-- The accumulator of bm x bn on wm x wn warps by products of 16 x 8. rows: of operands of bytes, the left one is stored with k outermost: a
-- thread then has neighbouring rows, where else they are 8 apart. cols: "neighbours", where the right one is; "runs": a thread has eight
-- columns that follow one another, where the right one is stored with k innermost and a warp has a multiple of 32.
function layout.mma_accumulator(bm, bn, wm, wn, rows, cols)
  local near, runs = cols == "neighbours", cols == "runs"
  local own = runs and 8 or near and 4 or 2 -- columns of a thread, before the next products'
  return modes {
    { "r", runs and 8 or 2, 1, near and 2 or 1 }, { "r", 2, 0, rows and 1 or 8 }, { "r", near and 2 or 1, 1, 1 },
    { "r", bn // wn // (4 * own), 1, 4 * own }, { "r", bm // wm // 16, 0, 16 },
    { "l", 4, 1, own }, { "l", 8, 0, rows and 2 or 1 }, { "w", wm, 0, bm // wm }, { "w", wn, 1, bn // wn },
  }
end

-- The accumulator of a warpgroup, m x n: each warp has 16 of every 64 rows.
function layout.wgmma_accumulator(m, n)
  return modes {
    { "r", 2, 1, 1 }, { "r", 2, 0, 8 }, { "r", n // 8, 1, 8 }, { "r", m // 64, 0, 64 },
    { "l", 4, 1, 2 }, { "l", 8, 0, 1 }, { "w", 4, 0, 16 },
  }
end

-- The left operand of a warpgroup's product in registers, m x k of elements of so many bytes.
function layout.wgmma_operand(m, k, bytes)
  local word = 4 // bytes
  return modes {
    { "r", word, 1, 1 }, { "r", 2, 0, 8 }, { "r", k // (4 * word), 1, 4 * word }, { "r", m // 64, 0, 64 },
    { "l", 4, 1, word }, { "l", 8, 0, 1 }, { "w", 4, 0, 16 },
  }
end

return layout
