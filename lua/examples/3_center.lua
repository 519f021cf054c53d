-- 3_center.lua - two row sums, the second of what the first left: mean 0 and variance 1, with an optional bias per column.
-- Beyond the end of a row (x - mean) is not 0; the family masks the second sum by itself.
return rowwise.op "center" {
  doc     = "y = (x - mean(x)) / sqrt(var(x) + eps) + b",
  tensors = { "x M N", "b N ?", "y M N out", "mu M f32 out ?" },
  scalars = { "eps f32 = 1e-5" },
  forward = function(t)
    local x = t.x:f32()
    local mu = mean(x)
    local c = x - mu
    local y = c * rsqrt(mean(c * c) + t.eps)
    t.mu = mu
    t.y = t.b and y + t.b or y
  end,
}
