-- rms_norm_rope.lua - root mean square normalisation of whole rows, then the rotation of rope in every head of a row. A head is as
-- wide as its table says; columns after the last whole head are normalised only.
local function turn(t, x)
  local turned, turns = rotate(x, {
    cos = t.cos, sin = t.sin, row = index "T" + t.pos, entries = size "R", pairs = t.pairs, table = t.table, blocks = "all",
  })
  return where(turns, turned, x)
end

return rowwise.op "rms_norm_rope" {
  doc      = "rope, head by head, of x * rsqrt(mean(x^2) + eps) * w, the mean over the whole row; rstd = rsqrt(mean(x^2) + eps)",
  tensors  = { "x B T N", "w N own ?", "cos P R own const", "sin P R own const", "y B T N out", "rstd B T f32 out saved ?" },
  scalars  = { "eps f32 = 1e-6", "pos i32 = 0 call" },
  settings = { pairs = { "halves", "neighbours" }, table = { "pair", "channel" } },
  forward  = function(t)
    local x = t.x:f32()
    local r = rsqrt(mean(x * x) + t.eps)
    t.rstd = r
    t.y = turn(t, t.w and x * r * t.w or x * r)
  end,
  cases = "B=2,T=5,N=256,P=16,R=32\nB=2,T=3,N=192,P=4,R=48 strided table=channel\nB=1,T=4,N=100,P=5,R=8 pairs=neighbours w=no",
  curated  = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
