-- layer_norm.lua - layer normalisation of rows, with or without weight and bias.
return rowwise.op "layer_norm" {
  doc     = "y = (x - mean) * rstd * w + b, row by row; rstd = rsqrt(var(x) + eps)",
  tensors = { "x M N", "w N own ?", "b N own ?", "y M N out", "mean M f32 out saved ?", "rstd M f32 out saved ?" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    local m = mean(x)
    local r = rsqrt(var(x) + t.eps)
    t.mean, t.rstd = m, r
    local y = (x - m) * r
    y = t.w and y * t.w or y
    t.y = t.b and y + t.b or y
  end,
  cases = "M=9,N=768 w=no b=no\nM=2x7,N=1000 strided mean=yes rstd=yes",
  curated = { { targets = "sm_80 sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
