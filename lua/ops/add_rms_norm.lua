-- add_rms_norm.lua - a residual sum and its root mean square normalisation; the norm reads the sum as it is rounded.
return rowwise.op "add_rms_norm" {
  doc     = "h = x + r; y = h * rsqrt(mean(h^2) + eps) * w; rstd = rsqrt(mean(h^2) + eps)",
  tensors = { "x B M N", "r B M N", "w [B] N own ?", "y B M N out", "h B M N out", "rstd B M f32 out saved ?" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    t.h = t.x + t.r
    local h = t.h
    local s = rsqrt(mean(h * h) + t.eps)
    t.rstd = s
    t.y = t.w and h * s * t.w or h * s
  end,
  cases = "B=3,M=5,N=4096 w_B=yes\nB=2,M=3x2,N=100 strided w=no",
  curated = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
