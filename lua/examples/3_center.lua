-- 3_center.lua - mean 0 and variance 1, with an optional bias per column. Its gradient, center.grad, is derived: dx and db, which is a
-- sum over all rows, from dy, x, and mu and rstd where the caller has kept them; without them they are computed again.
return rowwise.op "center" {
  doc     = "y = (x - mean(x)) / sqrt(var(x) + eps) + b",
  tensors = { "x M N", "b N ?", "y M N out", "mu M f32 out saved ?", "rstd M f32 out saved ?" },
  scalars = { "eps f32 = 1e-5" },
  forward = function(t)
    local x = t.x:f32()
    local mu, r = mean(x), rsqrt(var(x) + t.eps)
    t.mu, t.rstd = mu, r
    local y = (x - mu) * r
    t.y = t.b and y + t.b or y
  end,
}
