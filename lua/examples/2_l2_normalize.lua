-- 2_l2_normalize.lua - a row sum: each row divided by its length, but never by less than eps.
return rowwise.op "l2_normalize_rows" {
  doc     = "y = x / max(|x|, eps)",
  tensors = { "x M N", "y M N out" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    t.y = x * rsqrt(max(sum(x * x), t.eps * t.eps))
  end,
}
