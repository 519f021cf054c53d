-- head_layer_norm.lua - layer normalisation of the heads of q and of k in one launch, without weight or bias. Heads before or after
-- the sequence are strides: the caller permutes its views.
local function norm(x, eps) return (x - mean(x)) * rsqrt(var(x) + eps) end
return rowwise.op "head_layer_norm" {
  doc     = "yq = (q - mean) * rsqrt(var(q) + eps), yk likewise of k, per head",
  tensors = { "q M1 N", "k M2 N", "yq M1 N out", "yk M2 N out" },
  scalars = { "eps f32 = 1e-6" },
  forward = function(t)
    t.yq = norm(t.q, t.eps)
    t.yk = norm(t.k, t.eps)
  end,
  cases = "M1=2x3x5,M2=2x3x4,N=64\nM1=2x3x31,M2=2x3x7,N=97 strided",
  curated = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
