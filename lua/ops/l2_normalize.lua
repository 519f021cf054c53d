-- l2_normalize.lua - rows of length one; a row shorter than eps is divided by eps, and so is its gradient.
return rowwise.op "l2_normalize" {
  doc     = "y = x * rsqrt(max(sum(x^2), eps^2)), row by row",
  tensors = { "x M N", "y M N out" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    local x = t.x:f32()
    t.y = x * rsqrt(max(sum(x * x), t.eps * t.eps))
  end,
  cases = "M=14,N=32\nM=31,N=1023 strided",
  curated = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
