-- rope.lua - rotary position embedding of q and k in one launch: pairs of channels turn by angles from a table of cosines and sines.
-- Channels and rows beyond those that turn pass through. In place where q and yq are one tensor.

-- rows: how many of dim turn.
local function turn(t, x, dim, rows)
  local n = index(dim)
  local turned, turns = rotate(x, { cos = t.cos, sin = t.sin, row = n + t.pos, entries = size "R", pairs = t.pairs, table = t.table })
  return where(all(turns, lt(n, rows)), turned, x)
end

return rowwise.op "rope" {
  doc      = "yq = q with pairs of channels turned by the angles of table row n + pos, yk likewise of k",
  tensors  = {
    "q B H T N", "k B G S N ?", "cos P R own const", "sin P R own const", "yq B H T N out over q", "yk B G S N out over k with k",
  },
  scalars  = { "pos i32 = 0 call", "q_rows i32 = 2147483647", "k_rows i32 = 2147483647" },
  settings = { pairs = { "neighbours", "halves" }, table = { "channel", "pair" } },
  forward  = function(t)
    t.yq = turn(t, t.q, "T", t.q_rows)
    if t.k then t.yk = turn(t, t.k, "S", t.k_rows) end
  end,
  cases = "B=2,H=3,T=5,N=64,G=2,S=7,P=16,R=32\nB=1,H=2,T=31,N=128,G=2,S=31,P=32,R=64 strided pairs=halves table=pair\n" ..
    "B=2,H=2,T=4,N=96,G=1,S=4,P=8,R=40 k=no pairs=halves\nB=2,H=2,T=4,N=7,G=1,S=3,P=8,R=3 table=pair\n" ..
    "B=1,H=1,T=2,N=5001,G=1,S=2,P=6,R=2400 in_place unaligned pairs=halves table=pair",
  curated  = { { targets = "sm_80 sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
