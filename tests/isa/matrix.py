"""matrix.py - files for mma, ldmatrix, stmatrix and movmatrix. Where an element of a matrix lies in a warp's registers is written
here from the figures of the manual, by bytes: registers are little-endian memory of 4 bytes, lanes one after the other."""
import random
import re

from kernel import BYTES, Kernel
from meaning import FORMATS, Fraction, TF32, add, as_signed, is_finite, multiply, of_fraction, signed, wrap
from memory import LANES, PLAIN, braced, kernel_of, random_words, registers

BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "b1": 1, "f64": 64, "f32": 32, "s32": 32}
DTYPES = {"tf32": "f32", "s8": "i8", "u8": "i8", "s32": "i32", "s4": "i32", "u4": "i32", "b1": "i32"}


def places_a(m, k, bits):
    """(row, column) of each element of a, in the order lane, register, element: groups of 8 rows, then of 16 bytes of a row."""
    per, out = max(32 // bits, 1), []
    for lane in range(LANES):
        for j in range(k // (4 * per)):
            for i in range(m // 8):
                for e in range(per):
                    out.append((lane // 4 + 8 * i, 4 * per * j + lane % 4 * per + e))
    return out


def places_b(k, n, bits):
    per, out = max(32 // bits, 1), []
    for lane in range(LANES):
        for j in range(k // (4 * per)):
            for e in range(per):
                out.append((4 * per * j + lane % 4 * per + e, lane // 4))
    return out


def places_c(m, n):
    return [(lane // 4 + 8 * i, lane % 4 * 2 + e) for lane in range(LANES) for i in range(m // 8) for e in range(2)]


def format_of(kind):
    return TF32 if kind == "tf32" else FORMATS[kind]


INTEGERS = ("s8", "u8", "s4", "u4", "b1", "s32")


def packed(kind, words):
    """Elements of less than a byte lie in words of 32 bits, the first lowest."""
    per = 32 // BITS[kind]
    if BITS[kind] >= 8:
        return words
    return [sum(w << BITS[kind] * e for e, w in enumerate(words[i: i + per])) for i in range(0, len(words), per)]


def word_of(kind, x):
    """A whole number or fraction that the type holds exactly."""
    if kind in INTEGERS:
        return wrap(int(x), BITS[kind])
    word = format_of(kind).encode(of_fraction(x))
    return word << 13 if kind == "tf32" else word


def value_of(kind, word):
    if kind in INTEGERS:
        return as_signed(word, BITS[kind]) if kind[0] == "s" else word
    return signed(format_of(kind).decode(word >> 13 if kind == "tf32" else word))


def draw_exact(rng, kind):
    """Such that every product and sum on the way is exact in every format, in any order."""
    if kind in INTEGERS:
        return rng.getrandbits(BITS[kind])
    return word_of(kind, rng.randint(-4, 4) if kind in ("e4m3", "e5m2", "f16") else Fraction(rng.randint(-16, 16), 4))


def draw_any(rng, kind):
    fmt = format_of(kind)
    exponent = fmt.bias + rng.randint(-2, 2)
    word = rng.getrandbits(1) << (fmt.exponent + fmt.mantissa) | exponent << fmt.mantissa | rng.getrandbits(fmt.mantissa)
    return word << 13 if kind == "tf32" else word


def shape_of(form):
    part = next(p for p in form.parts if re.fullmatch(r"m\d+n\d+k\d+", p))
    return [int(x) for x in re.findall(r"\d+", part)]


def dot(form, xs, ys, c, to):
    """One element: exact. Bits are joined before they are counted."""
    if "popc" in form.parts:
        return c + sum(x & y if "and" in form.parts else x ^ y for x, y in zip(xs, ys))
    total = sum(x * y for x, y in zip(xs, ys)) + c
    return min(max(total, -(1 << 31)), (1 << 31) - 1) if "satfinite" in form.parts else total


def result_word(to, total):
    return wrap(total, 32) if to == "s32" else FORMATS[to].encode(of_fraction(total))


def product(form, draw, suffix, note):
    m, n, depth = shape_of(form)
    to, ka, kb, kc = [p for p in form.parts if p in BITS]
    rng = random.Random(form.id + suffix)
    pa, pb, pc = places_a(m, depth, BITS[ka]), places_b(depth, n, BITS[kb]), places_c(m, n)
    a, b, c = ([draw(rng, kind) for _ in where] for kind, where in ((ka, pa), (kb, pb), (kc, pc)))
    va = {p: value_of(ka, w) for p, w in zip(pa, a)}
    vb = {p: value_of(kb, w) for p, w in zip(pb, b)}
    assert len(va) == m * depth and len(vb) == depth * n and len(set(pc)) == m * n
    wanted, largest = [], Fraction(0)
    for (row, column), w in zip(pc, c):
        terms = [va[row, i] * vb[i, column] for i in range(depth)] + [value_of(kc, w)]
        largest = max([largest] + [abs(Fraction(t)) for t in terms])
        wanted.append(result_word(to, dot(form, [va[row, i] for i in range(depth)], [vb[i, column] for i in range(depth)], value_of(kc, w), to)))
    k = Kernel(form.id + suffix, form.opcode, form.sm, form.version, form.section, note=note)
    bound = None
    if suffix:  # docs/simulator.md: (terms + 1) units in the last place of the largest term, and the rounding of the result
        units = 2.0 ** (-10 if to == "f16" else -23)
        bound = f"rel {units.hex()} abs {float(largest * (depth + 2) * Fraction(units)).hex()}"
    k.tensor("a", "in", DTYPES.get(ka, ka), given=packed(ka, a))
    k.tensor("b", "in", DTYPES.get(kb, kb), given=packed(kb, b))
    k.tensor("c", "in", DTYPES.get(kc, kc), given=c)
    k.tensor("d", "out", DTYPES.get(to, to), wanted=wanted, bound=bound)
    return through_registers(k, form)


def through_registers(k, form):
    """Each lane's words of a, b and c, the product, and its words of d."""
    operands = []
    tokens = [form.result] + form.sources
    for name, token, address in zip("dabc", tokens, ("%l6", "%l0", "%l2", "%l4")):
        count, cls = int(token[0]), token[1]
        size = 8 if cls == "d" else 4
        k.address(name, size * count, address)
        base = {"d": 1, "a": 9, "b": 13, "c": 16}[name] + (20 if cls == "r" else 0)
        regs = registers(cls, count, base)
        operands.append(braced(regs, token))
        if name != "d":
            for e, reg in enumerate(regs):
                k.add(f"ld.global.{PLAIN[cls]} {reg}, [{address}+{size * e}];")
    k.add(f"{form.opcode} " + ", ".join(operands) + ";")
    count, cls = int(tokens[0][0]), tokens[0][1]
    for e, reg in enumerate(registers(cls, count, 1 + (20 if cls == "r" else 0))):
        k.add(f"st.global.{PLAIN[cls]} [%l6+{(8 if cls == 'd' else 4) * e}], {reg};")
    return k


def quad_place(lane, i, is_float):
    """Row and column of element i of C and D of m8n8k4, by the manual's figures."""
    high = 0 if lane < 16 else 4
    return (high + (lane & 1) + (i & 2), (i & 4) + (lane & 2) + (i & 1)) if is_float else (high + lane % 4, i)


def quad_product(form):
    """m8n8k4: lanes 4q..4q+3 and 16+4q.. make a product of their own, for each q of 0 to 3."""
    to, _, _, kc = form.parts[-4:]
    rng = random.Random(form.id)
    a, b = ([draw_exact(rng, "f16") for _ in range(4 * LANES)] for _ in "ab")
    c = [draw_exact(rng, kc) for _ in range(8 * LANES)]
    va, vb, vc = {}, {}, {}
    for lane in range(LANES):
        quad, high = lane % 16 // 4, 0 if lane < 16 else 4
        for i in range(4):
            row = (high + lane % 4, i) if form.parts[4] == "row" else (high + i, lane % 4)
            column = (i, high + lane % 4) if form.parts[5] == "col" else (lane % 4, high + i)
            va[(quad,) + row] = value_of("f16", a[4 * lane + i])
            vb[(quad,) + column] = value_of("f16", b[4 * lane + i])
        for i in range(8):
            vc[(quad,) + quad_place(lane, i, kc == "f32")] = value_of(kc, c[8 * lane + i])
    wanted = []
    for lane in range(LANES):
        quad = lane % 16 // 4
        for i in range(8):
            r, s = quad_place(lane, i, to == "f32")
            wanted.append(result_word(to, sum(va[quad, r, j] * vb[quad, j, s] for j in range(4)) + vc[quad, r, s]))
    k = kernel_of(form)
    for name, kind, words in (("a", "f16", a), ("b", "f16", b), ("c", kc, c)):
        k.tensor(name, "in", kind, given=words)
    k.tensor("d", "out", to, wanted=wanted)
    return through_registers(k, form)


def products(form):
    if form.parts[3] == "m8n8k4" and form.parts[-2] == "f16":
        return [quad_product(form)]
    exact = product(form, draw_exact, "", "sums that are exact in any order")
    if "s32" in form.parts or "f64" in form.parts:
        return [exact]
    return [exact, product(form, draw_any, "-rounding", "sums that round")]


# ---- 8 by 8 matrices of 16 bits ----

def matrix_registers(matrix, trans):
    """What each lane holds: two neighbouring elements of a row, or of a column."""
    out = []
    for lane in range(LANES):
        r, c = lane // 4, lane % 4 * 2
        pair = (matrix[c][r], matrix[c + 1][r]) if trans else (matrix[r][c], matrix[r][c + 1])
        out.append(pair[0] | pair[1] << 16)
    return out


def stage_rows(k, n):
    """Row r of matrix i is stored at ((r * 5 + i * 3) mod 8n) * 16: rows need not lie in order. Gives each lane's row address in %r3."""
    k.add(f"mad.lo.s32 %r5, %r0, 5, 0;\nand.b32 %r5, %r5, {8 * n - 1};\nmov.u32 %r3, pool;\nmad.lo.s32 %r3, %r5, 16, %r3;")
    return [(lane % (8 * n)) * 5 % (8 * n) for lane in range(LANES)]


def load_matrix(form):
    k, n, trans = kernel_of(form), int(form.parts[4][1:]), "trans" in form.parts
    given = random_words(form.id, 8 * n * 8, 16)
    k.tensor("a", "in", "i16", given=given)
    k.shared = 8 * n * 16
    k.address("a", 4 * n, "%l0")
    k.address("d", 4 * n, "%l2")
    k.add(f"mov.u32 %r2, pool;\nmad.lo.s32 %r2, %r0, {4 * n}, %r2;")
    for e in range(n):
        k.add(f"ld.global.b32 %r10, [%l0+{4 * e}];\nst.shared.b32 [%r2+{4 * e}], %r10;")
    k.add("bar.sync 0;")
    rows = stage_rows(k, n)
    regs = registers("r", n)
    k.add(f"{form.opcode} {braced(regs, form.result)}, [%r3];")
    held = [matrix_registers([given[rows[8 * i + r] * 8: rows[8 * i + r] * 8 + 8] for r in range(8)], trans) for i in range(n)]
    for e, reg in enumerate(regs):
        k.add(f"st.global.b32 [%l2+{4 * e}], {reg};")
    k.tensor("d", "out", "i32", wanted=[held[e][lane] for lane in range(LANES) for e in range(n)])
    return k


def store_matrix(form):
    k, n, trans = kernel_of(form), int(form.parts[4][1:]), "trans" in form.parts
    given = random_words(form.id, LANES * n, 32)
    k.tensor("a", "in", "i32", given=given)
    k.shared = 8 * n * 16
    k.address("a", 4 * n, "%l0")
    k.address("d", 4 * n, "%l2")
    regs = registers("r", n)
    for e, reg in enumerate(regs):
        k.add(f"ld.global.b32 {reg}, [%l0+{4 * e}];")
    rows = stage_rows(k, n)
    k.add(f"{form.opcode} [%r3], {braced(regs, form.sources[1])};\nbar.sync 0;\nmov.u32 %r2, pool;\nmad.lo.s32 %r2, %r0, {4 * n}, %r2;")
    for e in range(n):
        k.add(f"ld.shared.b32 %r10, [%r2+{4 * e}];\nst.global.b32 [%l2+{4 * e}], %r10;")
    memory = [0] * (64 * n)
    for i in range(n):
        for lane in range(LANES):
            for half in (0, 1):
                r, c = lane // 4, lane % 4 * 2 + half
                if trans:
                    r, c = c, r
                memory[rows[8 * i + r] * 8 + c] = given[lane * n + i] >> 16 * half & 0xffff
    k.tensor("d", "out", "i16", wanted=memory)
    return k


def move_matrix(form):
    k = kernel_of(form)
    given = random_words(form.id, LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    k.add(f"ld.global.b32 %r5, [%l0];\n{form.opcode} %r6, %r5;\nst.global.b32 [%l2], %r6;")
    matrix = [[given[4 * r + c // 2] >> 16 * (c & 1) & 0xffff for c in range(8)] for r in range(8)]
    k.tensor("d", "out", "i32", wanted=matrix_registers(matrix, True))
    return k


def find(form):
    return {"ldmatrix": load_matrix, "stmatrix": store_matrix, "movmatrix": move_matrix}.get(form.parts[0])
