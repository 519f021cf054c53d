-- rms_norm_adaln.lua - root mean square normalisation with scale and shift of the sample.
return rowwise.op "rms_norm_adaln" {
  doc     = "y = x * rstd * (1 + scale) + shift, row by row; scale and shift per sample; rstd = rsqrt(mean(x^2) + eps)",
  tensors = { "x B M N", "scale B N own", "shift B N own", "y B M N out", "rstd B M f32 out saved ?" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    local r = rsqrt(mean(x * x) + t.eps)
    t.rstd = r
    t.y = x * r * (1 + t.scale) + t.shift
  end,
  cases = "B=4,M=37,N=1024\nB=3,M=5,N=1000 strided scale_dtype=f32 shift_dtype=f32",
  curated = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
