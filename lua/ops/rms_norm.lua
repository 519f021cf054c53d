-- rms_norm.lua - root mean square normalisation of rows.
return rowwise.op "rms_norm" {
  doc     = "y = x * rsqrt(mean(x^2) + eps) * w, row by row; rstd = rsqrt(mean(x^2) + eps)",
  tensors = { "x M N", "w N own ?", "y M N out", "rstd M f32 out ?" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    local r = rsqrt(mean(x * x) + t.eps)
    t.rstd = r
    t.y = t.w and x * r * t.w or x * r
  end,
  curated = {
    { targets = "sm_75 sm_80 sm_90a sm_120a" },
    { targets = "sm_80 sm_90a", set = "dtype=f16 rstd=yes" },
    { targets = "sm_80 sm_90a", set = "dtype=f32 w=no" },
    { targets = "sm_90a", schedule = "kind=regs rows=1 threads=256 warps=8 cols=8192 vec=8" },
    { targets = "sm_90a", schedule = "kind=regs rows=2 threads=64 warps=4 cols=1024 vec=8" },
    { targets = "sm_80 sm_90a", schedule = "kind=shared rows=1 threads=1024 warps=32 vec=8" },
    { targets = "sm_80", schedule = "kind=passes rows=1 threads=1024 warps=32 cols=8192 vec=1" },
  },
}
