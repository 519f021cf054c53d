-- gated.lua - a gated activation. Gate and up may be halves of one tensor, or its even and odd columns: views with strides.
return rowwise.op "gated" {
  doc      = "y = act(gate) * up",
  tensors  = { "gate M N", "up M N", "y M N out" },
  settings = { act = { "silu", "gelu", "gelu_tanh" } },
  forward  = function(t) t.y = t.act(t.gate) * t.up end,
  cases    = "M=5,N=1000 strided act=gelu\nM=3x7,N=130 act=gelu_tanh",
  curated  = { { targets = "sm_90a" } },
  curated_grad = { { targets = "sm_90a" } },
}
