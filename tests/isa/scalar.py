"""scalar.py - files for forms with more than one result, or that hand something on to the next: carries, pairs of predicates."""
from elementwise import CLASS_TYPE, FIRST
from kernel import Kernel
from meaning import as_signed, bit_rule, compare, flushed, wrap, width_of
from memory import kernel_of
from vectors import words_of

COUNT = 64


def sources(k, form, kinds, cls, count=COUNT):
    given = words_of(form.id, kinds, count)
    dtype = {"h": "i16", "r": "i32", "l": "i64"}[cls]
    for i, words in enumerate(given):
        k.tensor("abcm"[i], "in", dtype, given=words)
        k.address("abcm"[i], {"h": 2, "r": 4, "l": 8}[cls], f"%l{2 * i}")
        k.add(f"ld.global.{CLASS_TYPE[cls]} %{cls}{FIRST[cls] + i}, [%l{2 * i}];")
    return given


def carries(form):
    """The carry comes from an addition of c and c (its top bit), or for differences of 0 and c; it goes to a register by addc or subc."""
    kind = form.parts[-1]
    bits, op, cls = width_of(kind), form.parts[0], "r" if width_of(kind) == 32 else "l"
    k = Kernel(form.id, form.opcode, form.sm, form.version, form.section, block=COUNT)
    reads, writes, minus = op[-1] == "c", "cc" in form.parts, op.startswith("sub")
    a, b, c, m = sources(k, form, [kind] * 4, cls, COUNT)
    reg = [f"%{cls}{FIRST[cls] + i}" for i in range(8)]
    plain = f"u{bits}"
    if reads:
        k.add(f"sub.cc.{plain} {reg[6]}, 0, {reg[2]};" if minus else f"add.cc.{plain} {reg[6]}, {reg[2]}, {reg[2]};")
    operands = f"{reg[0]}, {reg[1]}" + (f", {reg[3]}" if op.startswith("mad") else "")
    k.add(f"{form.opcode} {reg[4]}, {operands};")
    if writes:
        k.add(f"{'subc' if minus else 'addc'}.{plain} {reg[5]}, 0, 0;")
    values, carry = [], []
    for x, y, z, w in zip(a, b, c, m):
        before = 0 if not reads else int(z != 0) if minus else z >> (bits - 1)
        if op.startswith("mad"):
            p = (as_signed(x, bits) * as_signed(y, bits)) if kind[0] == "s" else x * y
            total = wrap(p >> bits if "hi" in form.parts else p, bits) + w + before
        else:
            total = x - y - before if minus else x + y + before
        values.append(wrap(total, bits))
        carry.append(wrap(-(total < 0), bits) if minus else total >> bits & 1)
    dtype = "i32" if bits == 32 else "i64"
    k.tensor("d", "out", dtype, wanted=values)
    k.address("d", bits // 8, "%l8")
    k.add(f"st.global.b{bits} [%l8], {reg[4]};")
    if writes:
        k.tensor("e", "out", dtype, wanted=carry)
        k.address("e", bits // 8, "%l10")
        k.add(f"st.global.b{bits} [%l10], {reg[5]};")
    return k


def pairs(form):
    """setp of two halves: a predicate for each."""
    kind = form.parts[-1]
    k = kernel_of(form, block=COUNT)
    given = words_of(form.id, [kind, kind], COUNT)
    half = kind[:-2]
    for i, words in enumerate(given):
        k.tensor("ab"[i], "in", half, given=[w >> 16 * e & 0xffff for w in words for e in (0, 1)])
        k.address("ab"[i], 4, f"%l{2 * i}")
        k.add(f"ld.global.b32 %r{8 + i}, [%l{2 * i}];")
    wanted = [int(compare(form.parts[1], *flushed(half, [x >> 16 * e & 0xffff, y >> 16 * e & 0xffff], form.parts), half)) for x, y in zip(*given) for e in (0, 1)]
    k.tensor("d", "out", "i32", wanted=wanted)
    k.address("d", 8, "%l8")
    k.add(f"{form.opcode} %p1|%p2, %r8, %r9;\nselp.b32 %r10, 1, 0, %p1;\nselp.b32 %r11, 1, 0, %p2;\nst.global.v2.b32 [%l8], {{%r10, %r11}};")
    return k


def logic(form):
    """lop3 with a predicate: whether the result is not zero, joined with another."""
    k = kernel_of(form, block=COUNT)
    a, b, c, m = sources(k, form, ["u32"] * 3 + ["u32"], "r")
    table = 0x80 if form.parts[1] == "or" else 0xe8
    rule = bit_rule("lop3", form.parts, "b32", 32)
    words = [rule(x, y, z, table) for x, y, z in zip(a, b, c)]
    k.tensor("d", "out", "i32", wanted=words)
    join = (lambda x, q: x | q) if form.parts[1] == "or" else (lambda x, q: x & q)
    k.tensor("e", "out", "i32", wanted=[join(int(w != 0), int(q & 1)) for w, q in zip(words, m)])
    k.address("d", 4, "%l8")
    k.address("e", 4, "%l10")
    k.add(f"and.b32 %r12, %r11, 1;\nsetp.ne.b32 %p2, %r12, 0;\n{form.opcode} %r13|%p1, %r8, %r9, %r10, {table}, %p2;\n"
          "st.global.b32 [%l8], %r13;\nselp.b32 %r14, 1, 0, %p1;\nst.global.b32 [%l10], %r14;")
    return k


def find(form):
    if form.parts[0] in ("addc", "subc", "madc") or "cc" in form.parts:
        return carries
    if form.parts[0] == "setp" and form.result.endswith("|p"):
        return pairs
    if form.parts[0] == "lop3" and form.result.endswith("|p"):
        return logic
    return None
