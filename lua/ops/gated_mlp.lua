-- gated_mlp.lua - the gated half of an MLP: both products of x and the gate's nonlinearity in one kernel. The weights are as they are:
-- x (M, K) and wg, wu (N, K) with k contiguous are b_major=k; the caller gives them as K x N with strides 1 and K.
return gemm.op "gated_mlp" {
  doc      = "y = act(x wg) * (x wu), gate and up in one kernel",
  tensors  = { "x B M K", "wg B K N", "wu B K N", "y B M N own out", "gate B M N out saved ?", "up B M N out saved ?" },
  absent   = { gate = true, up = true },
  products = { { "g", "x", "wg" }, { "u", "x", "wu" } },
  dtypes   = { "bf16", "f16", "f32" },
  cases    = "B=2,M=70,K=96,N=136 gate=yes up=yes\nB=1,M=130,K=40,N=72 strided gate=yes up=yes act=gelu\nB=1,M=9,K=7,N=33 unaligned gate=yes up=yes dtype=f32",
  settings = { act = { "silu", "gelu", "gelu_tanh" } },
  epilogue = function(e)
    e.gate, e.up = e.g, e.u
    return e.act(e.g) * e.u
  end,
  curated  = {
    { targets = "sm_80 sm_90a" },
    { targets = "sm_90a", set = "gate=yes up=yes" },
    { targets = "sm_75", set = "dtype=f16 act=gelu" },
  },
  curated_grad = { { targets = "sm_90a" }, { targets = "sm_90a", set = "gate=yes up=yes" } },
}
