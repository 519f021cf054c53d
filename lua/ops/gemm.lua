-- gemm.lua - matrix product with scaling, addition, bias and activation.
return gemm.op "gemm" {
  doc      = "d = act(alpha * a b + beta * c + bias), batched",
  tensors  = { "a B M K", "b B K N", "c B M N own ?", "bias N own ?", "d B M N own out", "z B M N out saved ?" },
  absent   = { c = true, bias = true, z = true },
  scalars  = { "alpha f32 = 1", "beta f32 = 1" },
  dtypes   = { "bf16", "f16", "f32" },
  cases    = "B=2,M=70,K=96,N=136 z=yes act=gelu c=yes bias=yes\nB=1,M=9,K=7,N=33 unaligned z=yes act=silu dtype=f32",
  settings = { act = { "none", "relu", "gelu", "gelu_tanh", "silu" } },
  epilogue = function(e)
    local v = e.alpha * e.acc
    if e.c then v = v + e.beta * e.c end
    if e.bias then v = v + e.bias end
    e.z = v
    return e.act(v)
  end,
  curated = {
    { targets = "sm_80 sm_86 sm_90a sm_100a" },
    { targets = "sm_75", set = "dtype=f16" },
    { targets = "sm_75", set = "dtype=f32", schedule = "bm=64 bn=64 bk=16 stages=2 wm=2 wn=2" },
    { targets = "sm_80", set = "dtype=f32", schedule = "bm=64 bn=64 bk=32 stages=4 wm=2 wn=2" },
    { targets = "sm_90a", set = "dtype=f32 f32=tf32" },
    { targets = "sm_90a", schedule = "bm=64 bn=64 bk=64 stages=4 wm=2 wn=2" },
    { targets = "sm_90a", schedule = "core=wgmma way=coop bm=128 bn=128 bk=64 stages=5 cluster=1 share=b split=2 group=8 out=1" },
    { targets = "sm_90a", schedule = "core=wgmma way=coop bm=128 bn=256 bk=64 stages=4 cluster=2 share=b split=1 group=8 out=2" },
    { targets = "sm_80", set = "dtype=f16 a_major=m b_major=n bias=yes act=gelu", schedule = "bm=64 bn=64 bk=64 stages=4 wm=2 wn=2" },
    { targets = "sm_80", schedule = "bm=64 bn=64 bk=32 stages=3 wm=2 wn=2 vec=1" },
  },
  curated_grad = { { targets = "sm_90a" } },
}
