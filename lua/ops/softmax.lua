-- softmax.lua - softmax of rows; what the mask marks has no part in it, and a row of only such elements gives zeros.
return rowwise.op "softmax" {
  doc     = "y = softmax(scale * x), row by row; where mask is true an element is excluded",
  tensors = { "x M N", "mask M N bool ?", "y M N out" },
  scalars = { "scale f32 = 1" },
  absent  = { mask = true },
  forward = function(t)
    local x = t.x * t.scale
    t.y = softmax(t.mask and where(t.mask, excluded, x) or x)
  end,
  cases = "M=5,N=1000 strided mask=yes\nM=3x7,N=1 mask=yes",
  curated = { { targets = "sm_80 sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
