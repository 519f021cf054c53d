-- warpgroup.lua - products by warpgroups on sm_90a: one warp starts bulk copies, two groups multiply; what synchronises is counted.
return gemm.op "warpgroup" {
  doc      = "d = a b",
  tensors  = { "a B M K", "b B K N", "d B M N own out" },
  dtypes   = { "bf16", "f16" },
  epilogue = function(e) return e.acc end,
}
-- four slots: a full and an empty barrier each, and a wait on each when the loader ends; a step of 64 of k is four products, once before
-- the loop and once in it; the result leaves in two pieces of 64 columns
--! emit --target sm_90a --schedule core=wgmma,way=coop,bm=128,bn=128,bk=64,stages=4,cluster=1,share=b,group=8,out=2
--! of mbarrier.init,fence.mbarrier_init,bar.sync,setmaxnreg: mbarrier.init.shared.b64*8 fence.mbarrier_init.release.cluster bar.sync \
--!     setmaxnreg.dec.sync.aligned.u32 setmaxnreg.inc.sync.aligned.u32 ( bar.sync*2 )*2
--! of cp.async.bulk.tensor,mbarrier.arrive,wgmma: cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes*2 \
--!     mbarrier.arrive.expect_tx.shared.b64 wgmma.fence.sync.aligned wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16*4 \
--!     wgmma.commit_group.sync.aligned wgmma.fence.sync.aligned wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16*4 \
--!     wgmma.commit_group.sync.aligned wgmma.wait_group.sync.aligned mbarrier.arrive.shared.b64 wgmma.wait_group.sync.aligned \
--!     mbarrier.arrive.shared.b64 cp.async.bulk.tensor.3d.global.shared::cta.bulk_group*2
--! of mbarrier.try_wait: mbarrier.try_wait.parity.shared.b64*7
--! of stmatrix,st.shared,fence.proxy: ( stmatrix.sync.aligned.m8n8.x4.shared.b16*4 fence.proxy.async.shared::cta )*2
--! no ldmatrix
--! no mma.sync
-- a pair of CTAs: half of b goes to both, slots are given back to both
--! emit --target sm_90a --schedule core=wgmma,way=coop,bm=128,bn=256,bk=64,stages=4,cluster=2,share=b,group=8,out=2
--! of cp.async.bulk.tensor: cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes \
--!     cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
--!     cp.async.bulk.tensor.3d.global.shared::cta.bulk_group*4
--! of mapa,mbarrier.arrive: mbarrier.arrive.expect_tx.shared.b64 ( mapa.shared::cluster.u32 mbarrier.arrive.shared::cluster.b64 )*2
--! of barrier.cluster: barrier.cluster.arrive.release.aligned barrier.cluster.wait.acquire.aligned
-- two CTAs that share k: each leaves half of its sums in its shared memory, and reads the other's half of its own columns from there
--! emit --target sm_90a --schedule core=wgmma,way=coop,bm=128,bn=128,bk=64,stages=4,cluster=1,share=b,split=2,group=8,out=2
--! of barrier.cluster: ( barrier.cluster.arrive.release.aligned barrier.cluster.wait.acquire.aligned )*5
--! of ld.shared::cluster: ld.shared::cluster.v2.f32*16
--! of st.shared: st.shared.v2.f32*32
-- with two more that share b: mask and ranks are those of the pair
--! emit --target sm_90a --schedule core=wgmma,way=coop,bm=128,bn=128,bk=64,stages=4,cluster=2,share=b,split=2,group=8,out=1
--! of cp.async.bulk.tensor: cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes \
--!     cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
--!     cp.async.bulk.tensor.3d.global.shared::cta.bulk_group
--! emit --target sm_90a --schedule core=wgmma,way=pingpong,bm=64,bn=64,split=2
--! fails: split is for way=coop
--! emit --target sm_90a --schedule core=wgmma,way=coop,bm=128,bn=128,cluster=2,split=8
--! fails: at most 8 CTAs
-- groups that take turns: the last one lets the first begin; each waits for its turn and hands it on, for the products and for the way out
--! emit --target sm_90a --set dtype=f16 --schedule core=wgmma,way=pingpong,bm=64,bn=64,bk=64,stages=4,cluster=1,share=b,group=8,out=1
--! of bar.arrive: bar.arrive*4
--! of wgmma.mma_async: wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16*8
-- f32 results have no matrices to store by
--! emit --target sm_90a --set d_dtype=f32 --schedule core=wgmma,way=coop,bm=128,bn=64,bk=64,stages=4,cluster=1,share=b,group=8,out=2
--! no stmatrix
--! of st.shared: st.shared.v2.f32*16
-- the other majors: k outermost takes 16 rows of k a step
--! emit --target sm_90a --set a_major=m,b_major=n --schedule core=wgmma,way=coop,bm=128,bn=128,bk=64,stages=4,cluster=1,share=b,group=8,out=2
--! of wgmma.mma_async: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16*8
--! emit --target sm_80 --schedule core=wgmma
--! fails: has no warpgroup products
--! emit --target sm_90a --schedule core=wgmma,bm=96
--! fails: 64 rows
