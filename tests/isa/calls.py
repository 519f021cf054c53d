"""calls.py - files for device functions: calls, parameters on the stack, jumps through a table."""
import memory

REGISTERS = "    .reg .pred %p<8>; .reg .b16 %h<24>; .reg .b32 %r<64>; .reg .b64 %l<40>; .reg .f32 %f<32>; .reg .f64 %d<24>;"


def parameter(form):
    """A piece of 32 bytes goes to a function, which writes it out: the form stores it (st.param) or loads it (ld.param)."""
    a, k = memory.Access(form), memory.kernel_of(form)
    given = memory.random_words(form.id, memory.LANES * a.n, 8 * a.size)
    stores = form.parts[0] == "st"
    k.tensor("a", "in", a.dtype(), given=given)
    regs = memory.registers(a.cls, a.n)
    out_size = a.size if stores or a.size >= 4 or a.cls == "h" else 4
    extended = out_size != a.size
    k.tensor("d", "out", "i32" if extended else a.dtype(),
             wanted=[memory.wrap(memory.as_signed(w, 8 * a.size), 32) if a.type[0] == "s" and extended else w for w in given])
    k.address("a", a.bytes, "%l0")
    k.address("d", out_size * a.n, "%l2")
    plain_load, plain_store = a.plain("ld", "param"), a.plain("st", "param")
    write = "st.global.u8" if a.size == 1 and stores else f"st.global.{memory.PLAIN[a.cls]}" if out_size >= 4 or a.cls == "h" else "st.global.u16"
    inner = [f"    {form.opcode} {memory.braced(regs, a.token)}, [p+16];"] if not stores else \
        [f"    {plain_load} {reg}, [p+{16 + e * a.size}];" for e, reg in enumerate(regs)]
    inner += [f"    {write} [%l2+{e * out_size}], {reg};" for e, reg in enumerate(regs)]
    k.prelude = "\n".join([".func take(.param .align 16 .b8 p[32], .param .b64 to)", "{", REGISTERS, "    ld.param.b64 %l2, [to];"] + inner +
                          ["    ret;", "}"])
    for e, reg in enumerate(regs):
        k.add(f"{a.plain('ld', 'global')} {reg}, [%l0+{e * a.size}];")
    outer = [f"{form.opcode} [piece+16], {memory.braced(regs, a.token)};"] if stores else \
        [f"{plain_store} [piece+{16 + e * a.size}], {reg};" for e, reg in enumerate(regs)]
    k.add("{\n.param .align 16 .b8 piece[32];\n.param .b64 where;\n" + "\n".join(outer) + "\nst.param.b64 [where], %l2;\n"
          "call take, (piece, where);\n}")
    return k


TRIANGLE = """.func (.param .b32 r) triangle(.param .b32 n)
{
    .reg .pred %p; .reg .b32 %r<5>;
    ld.param.b32 %r1, [n];
    mov.b32 %r2, 0;
    setp.eq.s32 %p, %r1, 0;
    @%p bra DONE;
    sub.s32 %r3, %r1, 1;
    {
    .param .b32 less;
    .param .b32 rest;
    st.param.b32 [less], %r3;
    OPCODE (rest), triangle, (less);
    ld.param.b32 %r4, [rest];
    }
    add.s32 %r2, %r4, %r1;
DONE:
    st.param.b32 [r], %r2;
    ret;
}
.func (.param .b32 r) double(.param .b32 n)
{
    .reg .b32 %r<3>;
    ld.param.b32 %r1, [n];
    add.s32 %r2, %r1, %r1;
    st.param.b32 [r], %r2;
    ret;
}"""


def call(form):
    """By name, recursively, each lane as deep as its number; then by address, odd lanes another function than even ones."""
    k = memory.kernel_of(form)
    uniform = form.id == "call_uni"
    k.prelude = TRIANGLE.replace("OPCODE", "call")
    direct = [i * (i + 1) // 2 for i in range(memory.LANES)]
    chosen = [2 * i if uniform or i % 2 else i * (i + 1) // 2 for i in range(memory.LANES)]
    k.tensor("d", "out", "i32", wanted=direct + chosen)
    k.address("d", 4, "%l0")
    k.add("and.b32 %r1, %r0, 1;\nsetp.ne.s32 %p1, %r1, 0;\nmov.u64 %l4, triangle;\nmov.u64 %l5, double;")
    k.add("mov.b64 %l6, %l5;" if uniform else "selp.b64 %l6, %l5, %l4, %p1;")
    k.add("{\n.param .b32 n;\n.param .b32 r;\nst.param.b32 [n], %r0;\n" + f"{form.opcode} (r), triangle, (n);\nld.param.b32 %r5, [r];\n}}")
    k.add("st.global.b32 [%l0], %r5;\nshape: .callprototype (.param .b32 _) _ (.param .b32 _);")
    k.add("{\n.param .b32 n;\n.param .b32 r;\nst.param.b32 [n], %r0;\n" + f"{form.opcode} (r), %l6, (n), shape;\nld.param.b32 %r5, [r];\n}}")
    k.add("st.global.b32 [%l0+128], %r5;")
    return k


def jump_table(form):
    """Four places by the lane's number modulo 4, one of them by falling through."""
    k = memory.kernel_of(form)
    uniform = form.id == "brx_idx_uni"
    k.tensor("d", "out", "i32", wanted=[{0: 111, 1: 110, 2: 1000 + i, 3: 5}[2 if uniform else i % 4] for i in range(memory.LANES)])
    k.address("d", 4, "%l0")
    k.add("TABLE: .branchtargets A, B, C, D;\nand.b32 %r1, %r0, 3;\nmov.b32 %r5, 100;" + ("\nmov.b32 %r1, 2;" if uniform else ""))
    k.add(f"{form.opcode} %r1, TABLE;\nA:\nadd.s32 %r5, %r5, 1;\nB:\nadd.s32 %r5, %r5, 10;\nbra OUT;\n"
          "C:\nadd.s32 %r5, %r0, 1000;\nbra OUT;\nD:\nmov.b32 %r5, 5;\nOUT:\nst.global.b32 [%l0], %r5;")
    return k
