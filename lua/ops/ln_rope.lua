-- ln_rope.lua - layer normalisation of the heads of q and k without weight or bias, then rope, in one launch.

local function norm(x, eps) return (x - mean(x)) * rsqrt(var(x) + eps) end

-- rows: how many of dim turn.
local function turn(t, x, dim, rows)
  local n = index(dim)
  local turned, turns = rotate(x, { cos = t.cos, sin = t.sin, row = n + t.pos, entries = size "R", pairs = t.pairs, table = t.table })
  return where(all(turns, lt(n, rows)), turned, x)
end

return rowwise.op "ln_rope" {
  doc      = "rope of (q - mean) * rsqrt(var(q) + eps), and likewise of k",
  tensors  = {
    "q B H T N", "k B G S N ?", "cos P R own const", "sin P R own const", "yq B H T N out over q", "yk B G S N out over k with k",
  },
  scalars  = { "eps f32 = 1e-6", "pos i32 = 0 call", "q_rows i32 = 2147483647", "k_rows i32 = 2147483647" },
  settings = { pairs = { "neighbours", "halves" }, table = { "channel", "pair" } },
  forward  = function(t)
    t.yq = turn(t, norm(t.q, t.eps), "T", t.q_rows)
    if t.k then t.yk = turn(t, norm(t.k, t.eps), "S", t.k_rows) end
  end,
  cases = "B=2,H=3,T=5,N=64,G=2,S=7,P=16,R=32\nB=1,H=2,T=31,N=128,G=2,S=31,P=32,R=64 strided pairs=halves table=pair\n" ..
    "B=2,H=2,T=4,N=96,G=1,S=4,P=8,R=40 k=no pairs=halves\nB=2,H=2,T=4,N=7,G=1,S=3,P=8,R=3 table=pair",
  curated  = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
