"""fragments.py - files for wmma. Which lane holds which element is open, so that a file goes from memory to memory: the form, with the
plainest of the others around it. A product's operands come through wmma.load, its result leaves through wmma.store."""
import random

from matrix import BITS, DTYPES, dot, draw_exact, packed, result_word, shape_of, value_of
from memory import kernel_of

NAMES = ("f16", "bf16", "tf32", "f32", "f64", "s32", "s8", "u8", "s4", "u4", "b1")


def plan(form):
    """(kind of a and b, of c, of d, layouts of a and b, layout of c and d) of the product that the form is shown in."""
    kinds = [p for p in form.parts if p in NAMES]
    layouts = [p for p in form.parts if p in ("row", "col")]
    what = form.parts[1]
    if what == "mma":
        d, c = kinds[0], kinds[-1]
        return kinds[1] if len(kinds) == 4 else "f16", c, d, layouts, "row"
    kind = kinds[0]
    if form.parts[2] in ("a", "b"):
        total = "f64" if kind == "f64" else "s32" if kind in ("s8", "u8", "s4", "u4", "b1") else "f32"
        other = "col" if form.parts[2] == "a" else "row"
        if kind in ("s4", "u4", "b1"):
            return kind, total, total, ["row", "col"], "row"
        return kind, total, total, [layouts[0], other] if form.parts[2] == "a" else [other, layouts[0]], "row"
    m, n, depth = shape_of(form)
    kind_a = {"f64": "f64", "s32": {16: "s8", 32: "s4", 128: "b1"}.get(depth)}.get(kind, "tf32" if depth == 8 else "f16")
    return kind_a, kind, kind, ["row", "col"], layouts[0]


def count(kind, what, shape):
    """(registers, their class) of a fragment."""
    m, n, depth = shape
    if what in "ab":
        if kind == "f16":
            return 8, "r"
        if kind == "f64":
            return 1, "d"
        return (m if what == "a" else n) * depth * BITS[kind] // 1024, "r"
    return (m * n * BITS[kind] // 1024, "r" if kind in ("f16", "s32") else "f") if kind != "f64" else (2, "d")


def registers(base, n, cls):
    return "{" + ", ".join(f"%{cls}{base + i}" for i in range(n)) + "}"


def lay(values, rows, columns, layout, stride):
    """Element (r, c) at r * stride + c, or c * stride + r; what lies between stays zero."""
    runs, length = (rows, columns) if layout == "row" else (columns, rows)
    out = [0] * ((runs - 1) * stride + length)
    for r in range(rows):
        for c in range(columns):
            out[r * stride + c if layout == "row" else c * stride + r] = values[r][c]
    return out


def opcodes(form, kind_a, kc, kd, layouts, layout):
    shape = next(p for p in form.parts if p[0] == "m" and "n" in p and "k" in p and p[1].isdigit())
    out = {"a": f"wmma.load.a.sync.aligned.{layouts[0]}.{shape}.{kind_a}", "b": f"wmma.load.b.sync.aligned.{layouts[1]}.{shape}.{kind_a}",
           "c": f"wmma.load.c.sync.aligned.{layout}.{shape}.{kc}", "d": f"wmma.store.d.sync.aligned.{layout}.{shape}.{kd}"}
    pair = ".".join(layouts)
    if kind_a == "f16":
        out["mma"] = f"wmma.mma.sync.aligned.{pair}.{shape}.{kd}.{kc}"
    elif kind_a == "b1":
        out["mma"] = f"wmma.mma.xor.popc.sync.aligned.{pair}.{shape}.s32.b1.b1.s32"
    else:
        out["mma"] = f"wmma.mma.sync.aligned.{pair}.{shape}.{kd}.{kind_a}.{kind_a}.{kc}" + (".rn" if kind_a == "f64" else "")
    out[form.parts[1] if form.parts[1] == "mma" else form.parts[2]] = form.opcode
    return out


def fragments(form):
    k, rng = kernel_of(form), random.Random(form.id)
    m, n, depth = shape = shape_of(form)
    kind_a, kc, kd, layouts, layout = plan(form)
    names = opcodes(form, kind_a, kc, kd, layouts, layout)
    pad = 0 if BITS[kind_a] < 8 else 16 * 8 // BITS[kind_a]  # strides: a multiple of 16 bytes more than a row
    matrices = {}
    for what, rows, columns, kind, where in (("a", m, depth, kind_a, layouts[0]), ("b", depth, n, kind_a, layouts[1]), ("c", m, n, kc, layout)):
        words = [[draw_exact(rng, kind) for _ in range(columns)] for _ in range(rows)]
        stride = (columns if where == "row" else rows) + (pad if what != "c" else 16 * 8 // BITS[kind])
        k.tensor(what, "in", DTYPES.get(kind, kind), given=packed(kind, lay(words, rows, columns, where, stride)))
        matrices[what] = ([[value_of(kind, w) for w in row] for row in words], stride)
    a, b, c = (matrices[x][0] for x in "abc")
    probe = type("Probe", (), {"parts": names["mma"].split(".")})
    d = [[result_word(kd, dot(probe, a[i], [b[j][s] for j in range(depth)], c[i][s], kd)) for s in range(n)] for i in range(m)]
    stride = n if layout == "row" else m
    k.tensor("d", "out", DTYPES.get(kd, kd), wanted=lay(d, m, n, layout, stride))
    place = {}
    for i, what in enumerate("abcd"):
        k.address(what, 0, f"%l{2 * i}")
        kind = kind_a if what in "ab" else kc if what == "c" else kd
        number, cls = count(kind, what, shape)
        place[what] = registers({"a": 8, "b": 16, "c": 24, "d": 32}[what] if cls == "r" else {"a": 1, "b": 2, "c": 8, "d": 16}[what], number, cls)
        if what != "d":
            at = through_shared(k, f"%l{2 * i}") if "shared" in names[what].split(".") else f"%l{2 * i}"
            k.add(f"{names[what]} {place[what]}, [{at}], {matrices[what][1]};")
    k.add(f"{names['mma']} {place['d']}, {place['a']}, {place['b']}, {place['c']};")
    if "shared" in form.parts and form.parts[1] == "store":
        words = k.tensors[-1].count * BITS[kd] // 32
        k.shared = 4 * words
        k.add(f"mov.u32 %r2, pool;\n{names['d']} [%r2], {place['d']}, {stride};\nbar.warp.sync 0xffffffff;\nmad.lo.s32 %r2, %r0, 4, %r2;")
        k.address("d", 4, "%l6")
        for i in range(words // 32):
            k.add(f"ld.shared.b32 %r3, [%r2+{128 * i}];\nst.global.b32 [%l6+{128 * i}], %r3;")
    else:
        k.add(f"{names['d']} [%l6], {place['d']}, {stride};")
    return k


def through_shared(k, register):
    """The words of the last input go to shared memory; gives the register with their address. Some more than there are stay behind."""
    words = k.tensors[0].count // 2 // 32 * 32
    k.tensors[0].given += [0] * (2 * (words + 32) - k.tensors[0].count)
    k.tensors[0].count = len(k.tensors[0].given)
    k.shared = 4 * (words + 32)
    k.add(f"mov.u32 %r2, pool;\nmad.lo.s32 %r2, %r0, 4, %r2;\nmad.wide.u32 %l20, %r0, 4, {register};")
    for i in range(words // 32 + 1):
        k.add(f"ld.global.b32 %r3, [%l20+{128 * i}];\nst.shared.b32 [%r2+{128 * i}], %r3;")
    k.add("bar.warp.sync 0xffffffff;\nmov.u32 %r2, pool;")
    return "%r2"
