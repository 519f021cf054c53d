-- optional.lua - what is not there costs nothing: no load, no addition, no store. What has a value per row is stored after the rows.
return rowwise.op "optional" {
  doc     = "y = x + b; r = sum(x)",
  tensors = { "x M N", "b N ?", "y M N out", "r M f32 out ?" },
  forward = function(t)
    local x = t.x:f32()
    t.r = sum(x)
    t.y = t.b and x + t.b or x
  end,
}
--! emit --target sm_80 --set dtype=f32,b=yes,r=no --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=4,cache=plain
--! of ld.global,st.global,shfl: ld.global.nc.v4.f32*2 st.global.v4.f32
--! of add.rn: add.rn.f32*4
--! emit --target sm_80 --set dtype=f32,b=no,r=no --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=4,cache=plain
--! of ld.global,st.global,shfl: ld.global.nc.v4.f32 st.global.v4.f32
--! no add.rn
--! emit --target sm_80 --set dtype=f32,b=no,r=yes --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=4,cache=plain
--! of ld.global,shfl,st.global: ld.global.nc.v4.f32 shfl.sync.bfly.b32*5 st.global.v4.f32 st.global.f32
