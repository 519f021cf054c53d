-- bytes.lua - elements of one byte: four to a register, converted by instructions from sm_89 on, by integers before.
return blockwise.op "bytes" {
  doc      = "y = x as it is, in eight bits; and back",
  tensors  = { "x M N", "y M N out" },
  settings = { format = { "e4m3", "e5m2", "u8", "back" } },
  forms    = function(set)
    if set.format == "back" then return { x = "M N e4m3" } end
    return { y = "M N " .. set.format }
  end,
  forward  = function(t) t.y = t.x:f32() end,
}
-- sm_90a: a pair at once, two pairs make a register.
--! emit --target sm_90a --set dtype=f32 --schedule kind=map,rows=1,cols=1024,threads=256,vec=4
--! in cvt: cvt.rn.satfinite.e4m3x2.f32*2 mov.b32
--! of st: st.global.b32
--! emit --target sm_90a --set dtype=f32,format=e5m2 --schedule kind=map,rows=1,cols=1024,threads=256,vec=4
--! in cvt: cvt.rn.satfinite.e5m2x2.f32*2 mov.b32
-- sm_80: rounded bits above the smallest normal number, a sum below it; the largest code; the sign; NaN.
--! emit --target sm_80 --set dtype=f32 --schedule kind=map,rows=1,cols=1024,threads=256,vec=4
--! of prmt: prmt.b32*3
--! of bfe,min.u32,add.rn: ( bfe.u32 add.rn.f32 min.u32 )*4
--! no cvt.rn.satfinite
-- u8: towards zero, saturated and packed two by two.
--! emit --target sm_80 --set dtype=f32,format=u8 --schedule kind=map,rows=1,cols=1024,threads=256,vec=4
--! in cvt: cvt.rzi.s32.f32*4 cvt.pack.sat.u8.s32.b32*2
-- Vectors of 16 bytes of 16-bit numbers are eight bytes of codes.
--! emit --target sm_90a --set dtype=bf16,format=back --schedule kind=map,rows=1,cols=2048,threads=256,vec=8
--! of ld.global: ld.global.nc.L2::cache_hint.v2.b32
--! of cvt.rn.f16x2: cvt.rn.f16x2.e4m3x2*4
--! of st: st.global.v4.b32
-- Without the instruction e4m3 is moved into the place of f16's bits, times 2^8.
--! emit --target sm_80 --set dtype=f32,format=back --schedule kind=map,rows=1,cols=1024,threads=256,vec=4
--! in cvt: prmt.b32 and.b32 shr.u32 and.b32 or.b32 mov.b32 cvt.f32.f16*2 mul.rn.f32 abs.f32 setp.le.f32 mov.b32*2 selp.f32 \
--! mul.rn.f32 abs.f32 setp.le.f32 selp.f32 \
--! prmt.b32 and.b32 shr.u32 and.b32 or.b32 mov.b32 cvt.f32.f16*2 ( mul.rn.f32 abs.f32 setp.le.f32 selp.f32 )*2
-- Elements that lie apart go byte by byte.
--! emit --target sm_90a --set dtype=f32 --schedule kind=map,rows=1,cols=512,threads=256,vec=1
--! of st: st.global.u8*2
