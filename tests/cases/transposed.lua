-- transposed.lua - ldmatrix transposes an operand whose contiguous dim is not K; the products stay as they are. A step is two slices of
-- 16 along K; in each, a takes two loads of four matrices (32 rows) and b two (32 columns).
return gemm.op "transposed" {
  doc      = "d = a b",
  tensors  = { "a B M K", "b B K N", "d B M N own out" },
  dtypes   = { "f16" },
  epilogue = function(e) return e.acc end,
}
--! emit --target sm_80 --set a_major=k,b_major=k --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.shared.b16*8 mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32*16
--! emit --target sm_80 --set a_major=m,b_major=k --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of ldmatrix,mma: ( ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16*2 ldmatrix.sync.aligned.m8n8.x4.shared.b16*2 )*2 \
--!     mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32*16
--! emit --target sm_80 --set a_major=k,b_major=n --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of ldmatrix,mma: ( ldmatrix.sync.aligned.m8n8.x4.shared.b16*2 ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16*2 )*2 \
--!     mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32*16
--! emit --target sm_80 --set a_major=m,b_major=n --schedule bm=64,bn=64,bk=32,stages=3,wm=2,wn=2,vec=8,group=16,fill=first
--! of ldmatrix,mma: ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16*8 mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32*16
