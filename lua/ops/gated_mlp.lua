-- gated_mlp.lua - the gated half of an MLP: both products of x and the gate's nonlinearity in one kernel. The weights are as they are:
-- x (M, K) and wg, wu (N, K) with k contiguous are b_major=k; the caller gives them as K x N with strides 1 and K.
return gemm.op "gated_mlp" {
  doc      = "y = act(x wg) * (x wu), gate and up in one kernel",
  tensors  = { "x B M K", "wg B K N", "wu B K N", "y B M N own out" },
  products = { { "gate", "x", "wg" }, { "up", "x", "wu" } },
  dtypes   = { "bf16", "f16", "f32" },
  settings = { act = { "silu", "gelu", "gelu_tanh" } },
  epilogue = function(e) return e.act(e.gate) * e.up end,
  curated  = {
    { targets = "sm_80 sm_90a" },
    { targets = "sm_75", set = "dtype=f16 act=gelu" },
  },
  curated_grad = { { targets = "sm_90a" } },
}
