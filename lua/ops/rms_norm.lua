-- rms_norm.lua - root mean square normalisation of rows.
return rowwise.op "rms_norm" {
  doc     = "y = x * rsqrt(mean(x^2) + eps) * w, row by row; w one for all, or per sample; rstd = rsqrt(mean(x^2) + eps)",
  tensors = { "x B M N", "w [B] N own ?", "y B M N out", "rstd B M f32 out saved ?" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    local r = rsqrt(mean(x * x) + t.eps)
    t.rstd = r
    t.y = t.w and x * r * t.w or x * r
  end,
  cases = "B=3,M=5,N=4096 w_B=yes\nB=2,M=3x2,N=100 strided w_B=yes w_dtype=f32",
  curated = {
    { targets = "sm_75 sm_80 sm_90a sm_120a" },
    { targets = "sm_80 sm_90a", set = "dtype=f16 rstd=yes" },
    { targets = "sm_80 sm_90a", set = "dtype=f32 w=no" },
    { targets = "sm_90a", schedule = "kind=regs rows=1 threads=256 warps=8 cols=8192 vec=8" },
    { targets = "sm_90a", schedule = "kind=regs rows=2 threads=64 warps=4 cols=1024 vec=8" },
    { targets = "sm_80 sm_90a", schedule = "kind=shared rows=1 threads=1024 warps=32 vec=8" },
    { targets = "sm_80", schedule = "kind=passes rows=1 threads=1024 warps=32 cols=8192 vec=1" },
  },
  curated_grad = { { targets = "sm_80 sm_90a" } },
}
