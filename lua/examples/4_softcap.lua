-- 4_softcap.lua - a product with an epilogue of one's own: bias, then a soft limit at +-cap, then a scale.
return gemm.op "linear_softcap" {
  doc      = "d = scale * cap * tanh((a b + bias) / cap)",
  tensors  = { "a B M K", "b B K N", "bias N own ?", "d B M N own out" },
  scalars  = { "cap f32 = 30", "scale f32 = 1" },
  dtypes   = { "bf16", "f16", "f32" },
  epilogue = function(e)
    local v = e.bias and e.acc + e.bias or e.acc
    return e.scale * e.cap * tanh(v / e.cap)
  end,
}
