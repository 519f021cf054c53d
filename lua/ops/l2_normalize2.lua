-- l2_normalize2.lua - rows of length one of two tensors of different lengths and widths in one launch.
local function normalize(x, eps) return x * rsqrt(max(sum(x * x), eps * eps)) end
return rowwise.op "l2_normalize2" {
  doc     = "l2_normalize of two tensors in one launch: rows and columns of each are free",
  tensors = { "x1 M1 N1", "x2 M2 N2", "y1 M1 N1 out", "y2 M2 N2 out" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    t.y1 = normalize(t.x1, t.eps)
    t.y2 = normalize(t.x2, t.eps)
  end,
  cases = "M1=31,N1=64,M2=11,N2=97\nM1=4x3,N1=1024,M2=2,N2=32 strided",
  curated = { { targets = "sm_90a" } },
}
