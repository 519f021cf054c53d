-- rms_norm2.lua - root mean square normalisation of two tensors of different lengths and widths in one launch.
local function norm(x, w, eps)
  local r = rsqrt(mean(x * x) + eps)
  return w and x * r * w or x * r, r
end
return rowwise.op "rms_norm2" {
  doc     = "rms_norm of two tensors in one launch: rows and columns of each are free",
  tensors = {
    "x1 B M1 N1", "x2 B M2 N2", "w1 [B] N1 own ?", "w2 [B] N2 own ?", "y1 B M1 N1 out", "y2 B M2 N2 out",
    "rstd1 B M1 f32 out saved ?", "rstd2 B M2 f32 out saved ?",
  },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    t.y1, t.rstd1 = norm(t.x1, t.w1, t.eps)
    t.y2, t.rstd2 = norm(t.x2, t.w2, t.eps)
  end,
  cases = "B=4,M1=31,N1=64,M2=11,N2=80\nB=2,M1=1,N1=1024,M2=7,N2=97 strided w1_B=yes w2=no\nB=3,M1=5,N1=33,M2=9,N2=510 w1=no",
  curated = { { targets = "sm_90a" } },
}
