"""warp.py - files for what a warp or a CTA does together: shuffles, votes, matches, reductions, barriers."""
from kernel import Kernel
from meaning import F32, NAN_RESULT, as_signed, is_nan, less, wrap
from memory import LANES, kernel_of, random_words, shared_address
from vectors import words_of

SEGMENTS = (0x1f, 0x1c1f, 0x0007, 0x1807, 0x001e, 0x0000)  # mask of the segment in bits 8..12, clamp in bits 0..4


def source_lane(mode, lane, b, c):
    clamp, mask = c & 31, c >> 8 & 31
    low, high = lane & mask, (lane & mask) | (clamp & ~mask & 31)
    b &= 31
    j, inside = {"up": (lane - b, lane - b >= high), "down": (lane + b, lane + b <= high),
                 "bfly": (lane ^ b, (lane ^ b) <= high), "idx": (low | (b & ~mask & 31), (low | (b & ~mask & 31)) <= high)}[mode]
    return (j, True) if inside else (lane, False)


def shuffle(form):
    """The lane operand differs from lane to lane, clamp and segment by row of the result; last, all three as immediates."""
    k, mode, pair = kernel_of(form), form.parts[2], form.id.endswith("_pred")
    cls = "f" if form.id.endswith("_f32") else "r"
    dtype, plain = ("f32", "f32") if cls == "f" else ("i32", "b32")
    value = [w & 0x7fbfffff for w in random_words(form.id, LANES, 32)]
    lanes = [w & 63 for w in random_words(form.id + "b", LANES, 32)]
    k.tensor("a", "in", dtype, given=value)
    k.tensor("b", "in", "i32", given=lanes)
    k.address("a", 4, "%l0")
    k.address("b", 4, "%l2")
    k.add(f"ld.global.{plain} %{cls}20, [%l0];\nld.global.b32 %r6, [%l2];")
    wanted, inside = [], []
    k.address("d", 4, "%l4")
    if pair:
        k.address("p", 4, "%l6")
    for row, c in enumerate(SEGMENTS + (0x1f,)):
        fixed = row == len(SEGMENTS)
        k.add(f"{form.opcode} %{cls}21{'|%p1' if pair else ''}, %{cls}20, {'5' if fixed else '%r6'}, {c}, 0xffffffff;\n"
              f"st.global.{plain} [%l4+{128 * row}], %{cls}21;")
        if pair:
            k.add(f"selp.b32 %r7, 1, 0, %p1;\nst.global.b32 [%l6+{128 * row}], %r7;")
        for lane in range(LANES):
            j, ok = source_lane(mode, lane, 5 if fixed else lanes[lane], c)
            wanted.append(value[j])
            inside.append(int(ok))
    k.tensor("d", "out", dtype, wanted=wanted)
    if pair:
        k.tensor("p", "out", "i32", wanted=inside)
    return k


def votes(form):
    """Rows of predicates: none, all, one, random ones; then a negated one, and one under a mask of half the warp."""
    k, mode = kernel_of(form), form.parts[2]
    rows = [0, 0xffffffff, 1 << 17, 0x7fffffff] + random_words(form.id, 2, 32)
    k.tensor("a", "in", "i32", given=rows)
    k.address("a", 0, "%l0")
    k.address("d", 4, "%l2")
    wanted = []

    def outcome(bits, members):
        bits &= members
        return {"all": int(bits == members), "any": int(bits != 0), "uni": int(bits in (0, members)), "ballot": bits}[mode]
    for row, bits in enumerate(rows):
        k.add(f"ld.global.b32 %r4, [%l0+{4 * row}];\nshr.u32 %r4, %r4, %r0;\nand.b32 %r4, %r4, 1;\nsetp.ne.b32 %p1, %r4, 0;")
        wanted += vote(k, form, mode, "%p1", 0xffffffff, 2 * row, outcome(bits, 0xffffffff))
        wanted += vote(k, form, mode, "!%p1", 0xffffffff, 2 * row + 1, outcome(~bits & 0xffffffff, 0xffffffff))
    k.add("setp.ge.u32 %p3, %r0, 16;\n@%p3 bra OUT;")
    half = vote(k, form, mode, "%p1", 0xffff, 2 * len(rows), outcome(rows[-1], 0xffff))
    k.add("OUT:")
    k.tensor("d", "out", "i32", wanted=wanted + half[:16])
    return k


def vote(k, form, mode, predicate, members, row, result):
    if mode == "ballot":
        k.add(f"{form.opcode} %r5, {predicate}, {members};")
    else:
        k.add(f"{form.opcode} %p2, {predicate}, {members};\nselp.b32 %r5, 1, 0, %p2;")
    k.add(f"st.global.b32 [%l2+{128 * row}], %r5;")
    return [result] * LANES


def match(form):
    k, every, bits = kernel_of(form), form.parts[1] == "all", int(form.parts[-1][1:])
    rows = [[w % 5 << bits - 32 for w in random_words(form.id, LANES, 32)], [1 << bits - 1 | 1] * LANES, random_words(form.id + "x", LANES, bits)]
    k.tensor("a", "in", f"i{bits}", given=sum(rows, []))
    k.address("a", bits // 8, "%l0")
    k.address("d", 4, "%l2")
    wanted, found, alone = [], [], form.id.endswith("_alone")
    value = "%r4" if bits == 32 else "%l20"
    if every and not alone:
        k.address("p", 4, "%l4")
    for row, values in enumerate(rows):
        k.add(f"ld.global.b{bits} {value}, [%l0+{4 * bits * row}];\n{form.opcode} %r5{'|%p1' if every and not alone else ''}, {value}, 0xffffffff;\n"
              f"st.global.b32 [%l2+{128 * row}], %r5;")
        same = [sum(1 << j for j in range(LANES) if values[j] == v) for v in values]
        wanted += [(s if s == 0xffffffff else 0) for s in same] if every else same
        found += [int(s == 0xffffffff) for s in same]
        if every and not alone:
            k.add(f"selp.b32 %r6, 1, 0, %p1;\nst.global.b32 [%l4+{128 * row}], %r6;")
    k.tensor("d", "out", "i32", wanted=wanted)
    if every and not alone:
        k.tensor("p", "out", "i32", wanted=found)
    return k


def reduce_integers(op, kind, values):
    read = (lambda w: as_signed(w, 32)) if kind == "s32" else (lambda w: w)
    if op in ("min", "max"):
        return (min if op == "min" else max)(values, key=read)
    out = values[0]
    for v in values[1:]:
        out = wrap(out + v, 32) if op == "add" else out & v if op == "and" else out | v if op == "or" else out ^ v
    return out


def reduce_floats(op, keep, words):
    numbers = [w for w in words if not is_nan(F32.decode(w))]
    if not numbers or (keep and len(numbers) < len(words)):
        return NAN_RESULT
    best = numbers[0]
    for w in numbers[1:]:
        if less(F32.decode(w), F32.decode(best)) == (op == "min"):
            best = w
    return best


def redux(form):
    k, op, kind = kernel_of(form), form.parts[2], form.parts[-1]
    cls = "f" if kind == "f32" else "r"
    dtype, plain = ("f32", "f32") if cls == "f" else ("i32", "b32")
    data = "f32" if cls == "f" else "u32"
    rows = [words_of(form.id + str(i), [data], LANES)[0] for i in range(2)]
    if cls == "f":
        rows.append([w for w in words_of(form.id + "n", [data], 99)[0] if not is_nan(F32.decode(w))][-LANES:])
    fold = (lambda ws: reduce_floats(op, "NaN" in form.parts, ws)) if cls == "f" else (lambda ws: reduce_integers(op, kind, ws))
    k.tensor("a", "in", dtype, given=sum(rows, []))
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    wanted = []
    for row, words in enumerate(rows):
        k.add(f"ld.global.{plain} %{cls}20, [%l0+{128 * row}];\n{form.opcode} %{cls}21, %{cls}20, 0xffffffff;\n"
              f"st.global.{plain} [%l2+{128 * row}], %{cls}21;")
        wanted += [fold(words)] * LANES
    k.add("setp.ge.u32 %p3, %r0, 16;\n@%p3 bra OUT;")
    k.add(f"{form.opcode} %{cls}21, %{cls}20, 0xffff;\nst.global.{plain} [%l2+{128 * len(rows)}], %{cls}21;\nOUT:")
    k.tensor("d", "out", dtype, wanted=wanted + [fold(rows[-1][:16])] * 16)
    return k


def elect(form):
    """One lane, and all lanes know which."""
    k = kernel_of(form)
    k.tensor("d", "out", "i32", wanted=[1] * LANES)
    k.address("d", 4, "%l0")
    k.add(f"{form.opcode} %r5|%p1, 0xffffffff;\nvote.sync.ballot.b32 %r6, %p1, 0xffffffff;\nmov.b32 %r7, 1;\n"
          f"shl.b32 %r7, %r7, %r5;\nsetp.eq.b32 %p2, %r6, %r7;\n"
          "selp.b32 %r8, 1, 0, %p2;\nst.global.b32 [%l0], %r8;")
    return k


def activemask(form):
    k = kernel_of(form)
    k.tensor("d", "out", "i32", wanted=[0xffffffff] * LANES)
    k.address("d", 4, "%l0")
    k.add("activemask.b32 %r5;\nst.global.b32 [%l0], %r5;")
    return k


def barrier(form):
    """Values cross between two warps: by number 0, by a register's number and count, and again by the same."""
    k = kernel_of(form, block=64)
    given = random_words(form.id, 64, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given[::-1] + [wrap(w + 1, 32) for w in given])
    k.shared = 256
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    shared_address(k, "%r2", "%r0", 4)
    k.add("sub.s32 %r3, 63, %r0;".replace("63, %r0", "%r0, 63") + "\nneg.s32 %r3, %r3;")
    shared_address(k, "%r4", "%r3", 4)
    k.add("ld.global.b32 %r5, [%l0];\nst.shared.b32 [%r2], %r5;\nbar.sync 0;\nld.shared.b32 %r6, [%r4];\n"
          "st.global.b32 [%l2], %r6;\nmov.b32 %r7, 3;\nmov.b32 %r8, 64;\n"
          "bar.sync %r7, %r8;\nadd.s32 %r6, %r6, 1;\nst.shared.b32 [%r2], %r6;\nbar.sync 3, 64;\n"
          "ld.shared.b32 %r6, [%r4];\nst.global.b32 [%l2+256], %r6;")
    return k


def barrier_arrive(form):
    """Warp 0 produces and does not wait; warp 1 waits."""
    k = kernel_of(form, block=64)
    given = random_words(form.id, LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given[::-1])
    k.shared = 128
    k.address("a", 0, "%l0")
    k.address("d", 0, "%l2")
    k.add("and.b32 %r1, %r0, 31;\nmad.wide.u32 %l0, %r1, 4, %l0;\nmad.wide.u32 %l2, %r1, 4, %l2;")
    shared_address(k, "%r2", "%r1", 4)
    k.add("sub.s32 %r3, %r1, 31;\nneg.s32 %r3, %r3;")
    shared_address(k, "%r4", "%r3", 4)
    k.add("setp.ge.u32 %p1, %r0, 32;\n@%p1 bra TAKE;\nld.global.b32 %r5, [%l0];\nst.shared.b32 [%r2], %r5;\n"
          "bar.arrive 1, 64;\nbra OUT;\nTAKE:\nbar.sync 1, 64;\n"
          "ld.shared.b32 %r6, [%r4];\nst.global.b32 [%l2], %r6;\nOUT:")
    return k


def barrier_red(form):
    k, op = kernel_of(form, block=64), next(p for p in form.parts if p in ("and", "or", "popc"))
    count = ", 64" if form.id.endswith("_count") else ""
    rows = [[0] * 64, [1] * 64, [int(i == 41) for i in range(64)], [int(i != 7) for i in range(64)], [w & 1 for w in random_words(form.id, 64, 8)]]
    fold = {"and": lambda r: int(all(r)), "or": lambda r: int(any(r)), "popc": sum}[op]
    k.tensor("a", "in", "i32", given=sum(rows, []))
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    wanted = []
    for row, values in enumerate(rows):
        k.add(f"ld.global.b32 %r4, [%l0+{256 * row}];\nsetp.ne.b32 %p1, %r4, 0;")
        for negated in (0, 1):
            source = ("!" if negated else "") + "%p1"
            k.add(f"{form.opcode} %r5, {row}{count}, {source};" if op == "popc" else f"{form.opcode} %p2, {row}{count}, {source};\n"
                  f"selp.b32 %r5, 1, 0, %p2;")
            k.add(f"st.global.b32 [%l2+{256 * (2 * row + negated)}], %r5;")
            wanted += [fold([v ^ negated for v in values])] * 64
    k.tensor("d", "out", "i32", wanted=wanted)
    return k


def warp_sync(form):
    """Lanes of two halves that went different ways meet again; what one has written the other reads."""
    k = kernel_of(form)
    given = random_words(form.id, LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=[given[i ^ 16] if i < 16 else wrap(given[i ^ 16] + 1, 32) for i in range(LANES)])
    k.shared = 128
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    shared_address(k, "%r2", "%r0", 4)
    k.add("xor.b32 %r3, %r0, 16;")
    shared_address(k, "%r4", "%r3", 4)
    k.add("ld.global.b32 %r5, [%l0];\nsetp.ge.u32 %p1, %r0, 16;\n@%p1 bra UPPER;\nadd.s32 %r5, %r5, 1;\n"
          "st.shared.b32 [%r2], %r5;\nbra MEET;\nUPPER:\nst.shared.b32 [%r2], %r5;\nMEET:\n"
          "bar.warp.sync 0xffffffff;\nld.shared.b32 %r6, [%r4];\nst.global.b32 [%l2], %r6;")
    return k


def barrier_by_new_name(form):
    maker = {"sync": barrier, "arrive": barrier_arrive, "red": barrier_red}.get(form.parts[1]) if form.parts[0] in ("bar", "barrier") else None
    if not maker:
        return None

    def renamed(form):
        k = maker(form)
        aligned = ".aligned" if "aligned" in form.parts else ""
        for old in ("bar.sync", "bar.arrive"):
            new = old.replace("bar.", form.parts[0] + ".") + aligned
            k.body = [line.replace(old + " ", new + " ") for line in k.body]
        return k
    return renamed


def find(form):
    return {"shfl": shuffle, "vote": votes, "match": match, "redux": redux, "elect": elect, "activemask": activemask}.get(form.parts[0]) or \
        {"bar_sync": barrier, "bar_arrive": barrier_arrive, "bar_red_and_pred": barrier_red, "bar_red_or_pred": barrier_red,
         "bar_red_popc_u32": barrier_red, "bar_warp_sync": warp_sync}.get(form.id) or barrier_by_new_name(form)
