-- f32.lua - products of f32 tiles, 64 x 64 in steps of 16 by four warps: by fma on sm_75; as tf32 since sm_80, each operand rounded, or
-- split in two. A step of a warp is 32 x 32 x 16: of 16 x 8 x 8 that is 16 products, three times as many where operands are split.
return gemm.op "f32" {
  doc      = "d = a b",
  tensors  = { "a B M K", "b B K N", "d B M N own out" },
  dtypes   = { "f32" },
  epilogue = function(e) return e.acc end,
}
-- four of k by one load where k is contiguous: 4 rows and 8 columns of a thread, four times
--! emit --target sm_75 --schedule bm=64,bn=64,bk=16,stages=2,wm=2,wn=2,vec=4,group=16,fill=first
--! of ld.shared,fma.rn: ( ld.shared.v4.f32*8 ... )*4 ...
--! of fma.rn: fma.rn.f32*512
--! no mma
-- columns in pairs, rows one by one where they are contiguous
--! emit --target sm_75 --set a_major=m,b_major=n --schedule bm=64,bn=64,bk=16,stages=2,wm=2,wn=2,vec=4,group=16,fill=first
--! of fma.rn: fma.rn.f32*512
--! of ld.shared.f32: ld.shared.f32*64
--! of ld.shared.v2.f32: ld.shared.v2.f32*64
-- two of 16 rows and two of 16 columns, each 8 of k, twice: by ldmatrix where k is contiguous, each register rounded
--! emit --target sm_80 --set f32=tf32 --schedule bm=64,bn=64,bk=16,stages=3,wm=2,wn=2,vec=4,group=16,fill=first
--! of ldmatrix: ldmatrix.sync.aligned.m8n8.x4.shared.b16*8
--! of cvt.rna: cvt.rna.tf32.f32*32
--! of mma: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32*16
--! no sub.rn
-- by words where it is not
--! emit --target sm_80 --set a_major=m,b_major=n,f32=tf32 --schedule bm=64,bn=64,bk=16,stages=3,wm=2,wn=2,vec=4,group=16,fill=first
--! of ld.shared.b32: ld.shared.b32*32
--! of mma: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32*16
--! no ldmatrix
-- split: a difference for each register, three products, and each step's sums are added to the accumulator in f32
--! emit --target sm_80 --schedule bm=64,bn=64,bk=16,stages=3,wm=2,wn=2,vec=4,group=16,fill=first
--! of sub.rn: sub.rn.f32*32
--! of mma: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32*48
--! of add.rn: add.rn.f32*64
--! no cvt.rna
-- by warpgroups, where that is exact enough and k is contiguous: 32 of k in 128 bytes, four products of 8
--! emit --target sm_90a --set f32=tf32 --schedule core=wgmma,way=coop,bm=128,bn=128,bk=32,stages=4,cluster=1,share=b,split=1,a=smem,group=8,out=2
--! of wgmma.mma_async: wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32*8
--! no cvt.rna
-- left operands in registers are rounded there: 64 rows and 32 of k of a group, 16 a thread
--! emit --target sm_90a --set f32=tf32 --schedule core=wgmma,way=coop,bm=128,bn=128,bk=32,stages=4,cluster=1,share=b,split=1,a=regs,group=8,out=2
--! of ld.shared,cvt.rna,wgmma.mma_async: ( ld.shared.f32*16 cvt.rna.tf32.f32*16 wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32*4 )*2 ...
--! emit --target sm_90a --schedule core=wgmma
--! fails: has no warpgroup products of f32
-- where it is not, the operand is turned first: squares of 64 x 64, 16 words a thread, through rows of 65
--! emit --target sm_90a --set f32=tf32,b_major=n --schedule core=wgmma,way=coop,bm=128,bn=128,bk=32,stages=4,cluster=1,share=b,split=1,a=smem,group=8,out=2
--! of ld.global,st.shared,bar.sync,ld.shared,st.global,wgmma.mma_async: ld.global.f32*16 st.shared.f32*16 bar.sync ld.shared.f32*16 st.global.f32*16 ... \
--!     wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32*8 ...
