-- layer_norm_adaln.lua - layer normalisation with scale and shift of the sample (adaptive layer norm).
return rowwise.op "layer_norm_adaln" {
  doc     = "y = (x - mean) * rstd * (1 + scale) + shift, row by row; scale and shift per sample; rstd = rsqrt(var(x) + eps)",
  tensors = { "x B M N", "scale B N own", "shift B N own", "y B M N out", "mean B M f32 out saved ?", "rstd B M f32 out saved ?" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    local m = mean(x)
    local r = rsqrt(var(x) + t.eps)
    t.mean, t.rstd = m, r
    t.y = (x - m) * r * (1 + t.scale) + t.shift
  end,
  cases = "B=8,M=186,N=128\nB=3,M=5,N=1000 strided scale_dtype=f32 shift_dtype=f32",
  curated = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
