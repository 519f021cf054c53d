-- convert.lua - between 16 bits and f32: bf16 by shifts where the target has no bf16, with conversions of pairs where it has.
return rowwise.op "convert" {
  doc     = "y = 2 x",
  tensors = { "x M N", "y M N out" },
  forward = function(t) t.y = t.x:f32() * 2 end,
}
-- sm_75, bf16: to f32 the low half is shifted up and the high half masked; back, each is rounded to nearest even by an addition to its
-- bits, NaNs are kept as they are, and one permutation packs two.
--! emit --target sm_75 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8
--! in cvt: ( shl.b32 mov.b32 and.b32 mov.b32 )*4
--! in mul: mul.rn.f32*8
--! in cvt#2: ( mov.b32 shr.u32 and.b32 add.s32*2 setp.nan.f32 selp.b32 mov.b32 shr.u32 and.b32 add.s32*2 setp.nan.f32 selp.b32 prmt.b32 )*4
--! no cvt.rn.bf16x2
-- sm_80: two at once; the shifts to f32 stay, since they cost no more than a conversion.
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8
--! in cvt: ( shl.b32 mov.b32 and.b32 mov.b32 )*4
--! in cvt#2: cvt.rn.bf16x2.f32*4
-- f16: sm_75 converts one by one and packs, sm_80 in pairs.
--! emit --target sm_75 --set dtype=f16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8
--! in cvt: ( mov.b32 cvt.f32.f16*2 )*4
--! in cvt#2: ( cvt.rn.f16.f32*2 mov.b32 )*4
--! emit --target sm_80 --set dtype=f16 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=8
--! in cvt: ( mov.b32 cvt.f32.f16*2 )*4
--! in cvt#2: cvt.rn.f16x2.f32*4
-- f32 is converted nowhere.
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=4,threads=32,warps=4,cols=256,vec=4
--! of cvt.rn,cvt.f32:
--! of mul.rn: mul.rn.f32*8
