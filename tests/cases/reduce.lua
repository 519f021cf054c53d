-- reduce.lua - where a row's sums meet: within a warp by shuffles alone, across warps through shared memory with one barrier each (the
-- two sums use different bytes, so nobody has to wait before the second is written).
return rowwise.op "reduce" {
  doc     = "y = (x - mean(x)) * rsqrt(var(x))",
  tensors = { "x M N", "y M N out" },
  forward = function(t)
    local x = t.x:f32()
    local c = x - mean(x)
    t.y = c * rsqrt(mean(c * c))
  end,
}
-- a warp per row: five steps each
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=4
--! of shfl,bar,ld.shared,st.shared: shfl.sync.bfly.b32*10
-- half a warp per row: four
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=8,threads=16,warps=4,cols=64,vec=4
--! of shfl,bar,ld.shared,st.shared: shfl.sync.bfly.b32*8
-- four warps per row: one value per warp, read back as one vector
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=1,threads=128,warps=4,cols=512,vec=4
--! of shfl,bar,ld.shared,st.shared: ( shfl.sync.bfly.b32*5 st.shared.f32 bar.sync ld.shared.v4.f32 )*2
-- 32 warps per row
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=1,threads=1024,warps=32,cols=4096,vec=4
--! of shfl,bar,ld.shared,st.shared: ( shfl.sync.bfly.b32*5 st.shared.f32 bar.sync ld.shared.v4.f32*8 )*2
