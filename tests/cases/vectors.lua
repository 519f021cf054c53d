-- vectors.lua - how wide memory is touched follows from the alignment that the schedule counts on: 16 bytes, 8, or single elements.
-- A thread holds cols / threads elements of its row.
return rowwise.op "vectors" {
  doc     = "y = 2 x",
  tensors = { "x M N", "y M N out" },
  forward = function(t) t.y = t.x:f32() * 2 end,
}
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8,cache=plain
--! of ld.global,st.global: ld.global.nc.v4.b32 st.global.v4.b32
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=512,vec=8,cache=plain
--! of ld.global,st.global: ld.global.nc.v4.b32*2 st.global.v4.b32*2
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=4,cache=plain
--! of ld.global,st.global: ld.global.nc.v2.b32 st.global.v2.b32
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=1,cache=plain
--! of ld.global,st.global: ld.global.nc.b16*4 st.global.b16*4
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=4,cache=plain
--! of ld.global,st.global: ld.global.nc.v4.f32*2 st.global.v4.f32*2
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=4,threads=32,warps=4,cols=64,vec=2,cache=plain
--! of ld.global,st.global: ld.global.nc.v2.f32 st.global.v2.f32
-- Rows that are kept in the cache are read under a policy, which sm_75 does not have.
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8,cache=keep
--! of createpolicy,ld.global: createpolicy.fractional.L2::evict_last.b64 ld.global.nc.L2::cache_hint.v4.b32
--! emit --target sm_75 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8,cache=keep
--! no createpolicy
