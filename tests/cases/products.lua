-- products.lua - the product of tiles, 64 x 64 in steps of 32 by four warps: m16n8k8 and slots filled through registers on sm_75;
-- m16n8k16 and cp.async since sm_80. A step of a warp is 32 x 32 x 32: 32 products of 16 x 8 x 8, or 16 of 16 x 8 x 16.
return gemm.op "products" {
  doc      = "d = a b",
  tensors  = { "a B M K", "b B K N", "d B M N own out" },
  dtypes   = { "bf16", "f16" },
  epilogue = function(e) return e.acc end,
}
--! emit --target sm_75 --set dtype=f16 --schedule bm=64,bn=64,bk=32,stages=2,wm=2,wn=2,vec=8,group=16,fill=first
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.shared.b16*8 mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32*32
-- the first slot, then in the loop: the next one is loaded before the barrier that frees it is passed
--! of ld.global,st.shared,cp,bar,mma: ld.global.v4.b32*4 st.shared.v4.b32*4 bar.sync ...
--! of st.global: st.global.v4.b32*4
--! no cp
-- two slots ahead of the loop, one in it; a barrier after each wait; threads have runs of 8 columns of the result
--! emit --target sm_80 --set dtype=f16 --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.shared.b16*8 mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32*16
--! of ld.global,st.shared,cp,bar: ( cp.async.cg.shared.global*4 cp.async.commit_group )*2 cp.async.wait_group bar.sync cp.async.cg.shared.global*4 \
--!     cp.async.commit_group cp.async.wait_group
--! of st.shared,st.global: st.global.v4.b32*4
--! no ld.global
-- of b with n innermost columns come as ldmatrix.trans brings them: the result goes to memory by way of shared
--! emit --target sm_80 --set dtype=f16,b_major=n --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of bar,st.shared,st.global: bar.sync bar.sync st.shared.b32*16 bar.sync st.global.v4.b32*4
-- CTAs that walk over tiles: the copies in the loop are the same
--! emit --target sm_80 --set dtype=f16 --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=across
--! of cp,st.global: ( cp.async.cg.shared.global*4 cp.async.commit_group )*2 cp.async.wait_group cp.async.cg.shared.global*4 \
--!     cp.async.commit_group cp.async.wait_group st.global.v4.b32*4 cp.async.wait_group
--! emit --target sm_80 --set dtype=bf16 --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of mma: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32*16
-- operands one step ahead: fetched before the loop, and in it before the products of the step before
--! emit --target sm_80 --set dtype=bf16 --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=ahead
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.shared.b16*8 ... mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32*8 ...
-- and the number of steps is no division, of which ptxas would call a subroutine
--! no div
-- without the alignment no 16-byte copies
--! emit --target sm_80 --set dtype=bf16 --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=1,group=16,fill=ahead
--! no cp.async.cg
--! of ld.global: ld.global.b16*
--! emit --target sm_75 --set dtype=bf16
--! fails: bf16
