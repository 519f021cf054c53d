-- fp8.lua - products of bytes: a step of k is 32 of them.
local FORMS = { row = { sa = "B M", sb = "N" }, block = { sa = "B M K/128", sb = "K/128 N/128" } }
return gemm.op "fp8" {
  doc      = "d = (a sa) (b sb)",
  tensors  = { "a B M K e4m3|e5m2", "b B K N e4m3|e5m2", "sa f32 strided", "sb f32 strided", "d B M N own out" },
  scales   = { a = "sa", b = "sb" },
  settings = { scale = { "row", "block" }, accumulate = { "fast", "promoted" } },
  forms    = function(set) return FORMS[set.scale] end,
  epilogue = function(e) return e.acc end,
}
-- 64 x 64 x 64 by four warps: two steps, in each four pieces of a and b and eight products of 16 x 8 x 32
--! emit --target sm_89 --schedule bm=64,bn=64,bk=64,stages=3,wm=2,wn=2,vec=16,group=16,fill=first
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.shared.b16*8 mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32*16
--! no prmt
--! emit --target sm_89 --set a_dtype=e5m2 --schedule bm=64,bn=64,bk=64,stages=3,wm=2,wn=2,vec=16,group=16,fill=first
--! of mma: mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e4m3.f32*16
-- fetched a step ahead: before the loop, and twice in it
--! emit --target sm_120a --set b_dtype=e5m2 --schedule bm=64,bn=64,bk=64,stages=3,wm=2,wn=2,vec=16,group=16,fill=ahead
--! of ldmatrix: ldmatrix.sync.aligned.m8n8.x4.shared.b16*12
--! of mma: mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32*16
-- bytes with k outermost come as pairs of neighbours, and are sorted
--! emit --target sm_89 --set a_major=m,b_major=n --schedule bm=64,bn=64,bk=64,stages=3,wm=2,wn=2,vec=16,group=16,fill=first
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16*8 mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32*16
--! of prmt: prmt.b32*32
-- single bytes, where nothing is aligned
--! emit --target sm_89 --schedule bm=64,bn=64,bk=64,stages=3,wm=2,wn=2,vec=1,group=16,fill=first
--! no cp.async.cg
--! of ld.global.u8,st.shared.u8: ( ld.global.u8*8 st.shared.u8*8 )*24
-- sums over 128 of k, from zero, scaled and added: 4 steps of 4 x 4 products, then as many fma as a thread has elements
--! emit --target sm_89 --set scale=block --schedule bm=64,bn=64,bk=128,stages=3,wm=2,wn=2,vec=16,group=16,fill=first
--! of mma: mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32*32
--! of fma: fma.rn.f32*32
--! emit --target sm_89 --set scale=block --schedule bm=64,bn=64,bk=64,stages=3,wm=2,wn=2,vec=16,group=16,fill=first
--! fails: of which the sums are promoted
-- by warpgroups: a step of 128 of k is four products; once before the loop, once in it
--! emit --target sm_90a --schedule core=wgmma,way=coop,bm=128,bn=128,bk=128,stages=4,cluster=1,share=b,group=8,out=2
--! of wgmma.mma_async: wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3*8
--! emit --target sm_90a --set a_dtype=e5m2 --schedule core=wgmma,way=pingpong,bm=64,bn=64,bk=128,stages=4,cluster=1,share=b,group=8,out=1
--! of wgmma.mma_async: wgmma.mma_async.sync.aligned.m64n64k32.f32.e5m2.e4m3*8
-- promoted: two sets of sums take turns, so that one is scaled while the next one's products run: a product before the loop, two steps in it, and
-- what is left after it, by whether that is one step or two. Three scales a step, two steps ahead: two before the loop, two in it, one after it
--! emit --target sm_90a --set scale=block --schedule core=wgmma,way=coop,bm=128,bn=128,bk=128,stages=4,cluster=1,share=b,group=8,out=2
--! of wgmma,fma: wgmma.fence.sync.aligned wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3*4 wgmma.commit_group.sync.aligned \
--!     ( wgmma.fence.sync.aligned wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3*4 wgmma.commit_group.sync.aligned \
--!     wgmma.wait_group.sync.aligned fma.rn.f32*64 )*2 wgmma.wait_group.sync.aligned fma.rn.f32*64 \
--!     wgmma.fence.sync.aligned wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3*4 wgmma.commit_group.sync.aligned \
--!     ( wgmma.wait_group.sync.aligned fma.rn.f32*64 )*2
--! of ld.global: ld.global.nc.f32*15
-- two parts of 64 rows after one another, in the same registers; two steps in the loop, one after it
--! emit --target sm_90a --set accumulate=promoted --schedule core=wgmma,way=coop,bm=256,bn=128,bk=128,stages=4,cluster=1,share=b,group=8,out=1
--! of wgmma,add.rn: ( wgmma.fence.sync.aligned wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3*4 wgmma.commit_group.sync.aligned \
--!     wgmma.wait_group.sync.aligned add.rn.f32*64 )*6
--! emit --target sm_90a --set scale=block --schedule core=wgmma,way=pingpong,bm=128,bn=128
--! fails: promoted by way=coop
-- the other major: turned by a kernel before, 16 bytes of a row of 128 x 128 at a time, 64 bytes of a thread one by one from shared memory
--! emit --target sm_90a --set b_major=n --schedule core=wgmma,way=coop,bm=128,bn=128,bk=128,stages=4,cluster=1,share=b,group=8,out=2
--! of ld.global,st.shared,bar,ld.shared,st.global: ld.global.v4.b32*4 st.shared.v4.b32*4 bar.sync ld.shared.u8*64 st.global.v4.b32*4 ...
--! of wgmma.mma_async: wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3*8
--! emit --target sm_80
--! fails: sm_89 has
