-- halves.lua - halves of a block that change places lie side by side in a thread: rows are read and written once, and nothing meets.
return rowwise.op "halves" {
  doc     = "y = x + x with the halves of blocks of 64 exchanged",
  tensors = { "x M N", "y M N out" },
  forward = function(t) t.y = t.x + swap_halves(t.x, 64) end,
}
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=1,threads=128,warps=4,cols=2048,vec=8,cache=plain
--! of ld.global,st.global,bar,ld.shared: ld.global.nc.v4.b32*2 st.global.v4.b32*2
--! emit --target sm_80 --set dtype=f32 --schedule kind=passes,rows=1,threads=128,warps=4,cols=1024,vec=4,cache=plain
--! of ld.global,st.global,bar,ld.shared: ld.global.nc.v4.f32*2 st.global.v4.f32*2
-- Of elements one by one each is read once, too.
--! emit --target sm_80 --set dtype=f32 --schedule kind=regs,rows=4,threads=32,warps=4,cols=128,vec=1,cache=plain
--! of ld.global,st.global,bar,ld.shared: ld.global.nc.f32*4 st.global.f32*4
--! emit --target sm_80 --set dtype=bf16 --schedule kind=regs,rows=1,threads=256,warps=8,cols=2048,vec=8
--! fails: cols is a multiple of threads * vec * 2 (halves are exchanged)
-- A ring's rows lie as in memory, so that copies read whole sectors; the halves of a pair are two reads of shared memory.
--! emit --target sm_80 --set dtype=bf16 --schedule kind=loop,rows=4,threads=32,warps=4,cols=512,vec=8,stages=2,parts=264,ctas=2,cache=plain
--! of cp.async.cg,ld.shared,st.global: cp.async.cg.shared.global*4 ld.shared.v4.b32*2 st.global.v4.b32*2
