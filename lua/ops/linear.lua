-- linear.lua - a linear layer. x has rows in as many leading dims as the caller likes; the weight (N, K), as torch.nn.Linear has it, is b_major=k: the
-- caller gives it as K x N with strides 1 and K.
return gemm.op "linear" {
  doc      = "y = act(x w + bias), row by row",
  tensors  = { "x M K", "w K N", "bias N own ?", "y M N own out", "z M N out saved ?" },
  absent   = { z = true },
  products = { { "acc", "x", "w" } },
  dtypes   = { "bf16", "f16", "f32" },
  cases    = "M=70,K=96,N=136 z=yes act=gelu\nM=130,K=40,N=72 strided z=yes act=silu bias=no\nM=9,K=7,N=33 unaligned z=yes act=relu dtype=f32",
  settings = { act = { "none", "relu", "gelu", "gelu_tanh", "silu" } },
  epilogue = function(e)
    local z = e.bias and e.acc + e.bias or e.acc
    e.z = z
    return e.act(z)
  end,
  curated  = {
    { targets = "sm_80 sm_90a" },
    { targets = "sm_90a", set = "z=yes act=gelu_tanh" },
  },
  curated_grad = {
    { targets = "sm_90a" },
    { targets = "sm_90a", set = "z=yes act=gelu_tanh" },
    { targets = "sm_80", set = "dx=no", schedule = "dw.bm=64 dw.bn=64 dw.bk=64 dw.stages=4" },
  },
}
