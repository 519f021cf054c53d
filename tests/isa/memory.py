"""memory.py - files for loads, stores, atomics, moves between register classes, addresses, cp.async and control flow."""
import random
import re

import calls
from kernel import Kernel
from meaning import FORMATS, add, as_signed, less, wrap, width_of
from vectors import words_of

LANES = 32
SIZE = {"u8": 1, "s8": 1, "u16": 2, "s16": 2, "b16": 2, "b32": 4, "f32": 4, "u32": 4, "s32": 4, "b64": 8, "f64": 8, "u64": 8}
DTYPE = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
PLAIN = {"h": "b16", "r": "b32", "f": "f32", "l": "b64", "d": "f64"}
FIRST = {"h": 1, "r": 20, "f": 1, "l": 20, "d": 1}
SHUFFLED = [(5 * i + 3) % LANES for i in range(LANES)]  # thread i works on the place of thread SHUFFLED[i]


def kernel_of(form, **kwargs):
    return Kernel(form.id, form.opcode, form.sm, form.version, form.section, **kwargs)


def random_words(seed, count, bits):
    rng = random.Random(seed)
    return [rng.getrandbits(bits) for _ in range(count)]


def registers(cls, n, first=None):
    first = FIRST[cls] if first is None else first
    return [f"%{cls}{first + i}" for i in range(n)]


def braced(regs, token):
    return "{" + ", ".join(regs) + "}" if re.match(r"\d", token) else regs[0]


class Access:
    """What a load or store moves: elements of `size` bytes, `n` at once, in registers of class `cls`."""

    def __init__(self, form):
        token = (form.result or form.sources[1]).lstrip("=")
        self.token, self.cls = token, token[-1]
        self.n = int(token[0]) if token[0].isdigit() else 1
        self.type = next(p for p in reversed(form.parts) if p in SIZE)
        self.size = SIZE[self.type]
        self.bytes = self.n * self.size
        self.remote = "shared::cluster" in form.parts  # of any CTA of the cluster; the CTA here is alone in its own
        self.space = "shared" if self.remote else next((p for p in form.parts if p in ("global", "shared", "local", "const", "param")), "generic")

    def dtype(self):
        return self.type if self.type in ("f32", "f64") else DTYPE[self.size]

    def plain(self, op, space):
        """The simplest form that moves one element."""
        kind = "u8" if self.size == 1 else "u16" if self.type in ("u16", "s16") else PLAIN[self.cls]
        return f"{op}.{space}.{kind}"


def shuffled_address(k, name, size, register):
    k.address(name, 0, register)
    k.add(f"mad.lo.s32 %r1, %r0, 5, 3;\nand.b32 %r1, %r1, 31;\nmad.wide.u32 {register}, %r1, {size}, {register};\n"
          f"add.s64 {register}, {register}, -48;")


def shared_address(k, register, source, size):
    k.add(f"mov.u32 {register}, pool;\nmad.lo.s32 {register}, {source}, {size}, {register};")


def load(form):
    a, k = Access(form), kernel_of(form)
    given = random_words(form.id, LANES * a.n, 8 * a.size)
    k.tensor("a", "in", a.dtype(), given=given)
    regs = registers(a.cls, a.n)
    if a.space == "const":
        k.tensors = []
        k.prelude = constants("table", given, a.size)
        k.add(f"mov.u64 %l0, table;\nmad.lo.s32 %r1, %r0, 5, 3;\nand.b32 %r1, %r1, 31;\nmad.wide.u32 %l0, %r1, {a.bytes}, %l0;\n"
              "add.s64 %l0, %l0, -48;")
        place = "[%l0+48]"
    elif a.space in ("global", "generic"):
        shuffled_address(k, "a", a.bytes, "%l0")
        place = "[%l0+48]"
    else:
        k.address("a", a.bytes, "%l0")
        place = through(k, a, form)
    shuffled = a.space != "local"
    hint = cache_policy(k, form)
    k.add(f"{form.opcode} {braced(regs, a.token)}, {place}{hint};")
    out_size = 4 if a.cls == "r" else {"h": 2, "f": 4, "l": 8, "d": 8}[a.cls]
    extended = a.type in ("u8", "s8", "u16", "s16")
    wanted = []
    for i in range(LANES):
        for e in range(a.n):
            w = given[(SHUFFLED[i] if shuffled else i) * a.n + e]
            wanted.append(wrap(as_signed(w, 8 * a.size), 32) if a.type[0] == "s" else w)
    k.tensor("d", "out", "i32" if extended else a.dtype(), wanted=wanted)
    k.address("d", out_size * a.n, "%l2")
    for e, reg in enumerate(regs):
        k.add(f"st.global.{PLAIN[a.cls]} [%l2+{e * out_size}], {reg};")
    return k


def constants(name, words, size):
    data = ", ".join(str(b) for w in words for b in w.to_bytes(size, "little"))
    return f".const .align 16 .b8 {name}[{len(words) * size}] = {{{data}}};"


def cache_policy(k, form):
    """The operand of forms with L2::cache_hint."""
    if "L2::cache_hint" not in form.parts:
        return ""
    k.add("createpolicy.fractional.L2::evict_first.b64 %l28, 0f3F800000;")
    return ", %l28"


def through(k, a, form):
    """Brings the elements of %l0 to shared or local memory by plain stores; gives the place to load from."""
    stage = {"r": "%r40", "h": "%h20", "f": "%f20", "l": "%l30", "d": "%d20"}[a.cls]
    if a.space == "shared":
        k.shared = LANES * a.bytes
        shared_address(k, "%r2", "%r0", a.bytes)
        base = "%r2"
    else:
        k.body.insert(0, ".local .align 16 .b8 spot[64];")
        base = "spot+16"
    for e in range(a.n):
        k.add(f"{a.plain('ld', 'global')} {stage}, [%l0+{e * a.size}];\n{a.plain('st', a.space)} [{base}+{e * a.size}], {stage};"
              if a.space == "shared" else
              f"{a.plain('ld', 'global')} {stage}, [%l0+{e * a.size}];\n"
              f"{a.plain('st', 'local')} [spot+{16 + e * a.size}], {stage};")
    if a.space == "local":
        return "[spot+16]"
    k.add("bar.sync 0;\nmad.lo.s32 %r1, %r0, 5, 3;\nand.b32 %r1, %r1, 31;")
    shared_address(k, "%r3", "%r1", a.bytes)
    if a.remote:
        in_cluster(k, "%r3", "%r3")
    return "[%r3]"


def in_cluster(k, register, source):
    """The CTA's own place as every CTA of its cluster names it: rank 0, as there is no other."""
    k.sm, k.version = "90", max(k.version, 80)
    k.add(f"mov.b32 %r8, 0;\nmapa.shared::cluster.u32 {register}, {source}, %r8;")


def store(form):
    a, k = Access(form), kernel_of(form)
    given = random_words(form.id, LANES * a.n, 8 * a.size)
    k.tensor("a", "in", a.dtype(), given=given)
    k.address("a", a.bytes, "%l0")
    regs = registers(a.cls, a.n)
    for e, reg in enumerate(regs):
        k.add(f"{a.plain('ld', 'global')} {reg}, [%l0+{e * a.size}];")
        if a.size < 4 and a.cls == "r":
            k.add(f"or.b32 {reg}, {reg}, {0xabcd0000 if a.size == 2 else 0xabcdef00};")  # only the low part is stored
    if a.space in ("global", "generic"):
        shuffled_address(k, "d", a.bytes, "%l2")
        hint = cache_policy(k, form)
        k.add(f"{form.opcode} [%l2+48], {braced(regs, a.token)}{hint};")
        wanted = [0] * len(given)
        for i in range(LANES):
            wanted[SHUFFLED[i] * a.n: (SHUFFLED[i] + 1) * a.n] = given[i * a.n: (i + 1) * a.n]
        k.tensor("d", "out", a.dtype(), wanted=wanted)
        return k
    stage = {"r": "%r40", "h": "%h20", "f": "%f20", "l": "%l30", "d": "%d20"}[a.cls]
    k.address("d", a.bytes, "%l2")
    if a.space == "shared":
        k.shared = LANES * a.bytes
        shared_address(k, "%r2", "%r0", a.bytes)
        if a.remote:
            in_cluster(k, "%r2", "%r2")
        k.add(f"{form.opcode} [%r2], {braced(regs, a.token)};\nbar.sync 0;\nmad.lo.s32 %r1, %r0, 5, 3;\nand.b32 %r1, %r1, 31;")
        shared_address(k, "%r3", "%r1", a.bytes)
        base, order = "%r3+", SHUFFLED
    else:
        k.body.insert(0, ".local .align 16 .b8 spot[64];")
        k.add(f"{form.opcode} [spot+16], {braced(regs, a.token)};")
        base, order = "spot+", range(LANES)
    for e in range(a.n):
        at = e * a.size + (16 if a.space == "local" else 0)
        k.add(f"{a.plain('ld', a.space)} {stage}, [{base}{at}];\n{a.plain('st', 'global')} [%l2+{e * a.size}], {stage};")
    k.tensor("d", "out", a.dtype(), wanted=[given[i * a.n + e] for i in order for e in range(a.n)])
    return k


SCALARS = {"u8": ("i32", 305419896, 1, 0x56), "b16": ("i32", 305419896, 2, 0x1234), "b32": ("i32", -559038737, 0, 0xdeadbeef),
           "b64": ("i64", -81985529216486896, 0, wrap(-81985529216486896, 64)),
           "f32": ("f32", "1.5", 0, 0x3fc00000), "f64": ("f64", "-2.75", 0, 0xc006000000000000)}


def load_parameter(form):
    k, kind = kernel_of(form), form.parts[-1]
    dtype, value, offset, word = SCALARS[kind]
    cls = form.result
    out = {"h": "i16", "r": "i32", "l": "i64", "f": "f32", "d": "f64"}[cls]
    k.tensor("d", "out", out, wanted=[word] * LANES)
    k.scalars.append(("x", dtype, value))
    k.address("d", {"h": 2, "r": 4, "f": 4}.get(cls, 8), "%l0")
    reg = registers(cls, 1)[0]
    k.add(f"{form.opcode} {reg}, [x{'+%d' % offset if offset else ''}];\nst.global.{PLAIN[cls]} [%l0], {reg};")
    return k


# ---- atomics ----

def combine(op, kind):
    bits = width_of(kind[:-2] if kind.endswith("x2") else kind)
    if kind[0] == "f" or kind.startswith("bf"):
        fmt = FORMATS[kind[:-2] if kind.endswith("x2") else kind]
        if op in ("min", "max"):  # of numbers
            return lambda m, v: m if less(fmt.decode(m), fmt.decode(v)) == (op == "min") else v
        return lambda m, v: fmt.encode(add(fmt.decode(m), fmt.decode(v)))
    value = (lambda w: as_signed(w, bits)) if kind[0] == "s" else (lambda w: w)
    return {"add": lambda m, v: wrap(m + v, bits), "min": lambda m, v: min(m, v, key=value), "max": lambda m, v: max(m, v, key=value),
            "and": lambda m, v: m & v, "or": lambda m, v: m | v, "xor": lambda m, v: m ^ v, "exch": lambda m, v: v,
            "inc": lambda m, v: 0 if m >= v else m + 1, "dec": lambda m, v: v if m == 0 or m > v else m - 1}[op]


def whole_numbers(form, op, kind):
    """What memory holds and what is combined with it."""
    m, v = (words_of(form.id + x, [kind if kind[0] != "b" else "u" + kind[1:]], LANES)[0] for x in "mv")
    if op in ("inc", "dec"):
        v = [w if i % 2 else x for i, (w, x) in enumerate(zip(v, m))]
    return m, v


def atomic(form):
    """Each thread on a place of its own (old and new value), then, where the order does not matter, eight threads on each of four."""
    remote = "shared::cluster" in form.parts
    returns, space = form.parts[0] == "atom", "shared" if "shared" in form.parts or remote else "global"
    op = next(p for p in form.parts if p in ("add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"))
    kind = form.parts[-1] if form.parts[-1] != "add" else "f32"
    token = form.sources[1]
    n, cls = (int(token[0]), token[1]) if token[0].isdigit() else (1, token[0])
    per = 2 * n if kind.endswith("x2") else n
    floats = kind[0] == "f" or kind.startswith("bf")
    dtype = kind[:-2] if kind.endswith("x2") else kind if floats else DTYPE[width_of(kind) // 8]
    size = {"h": 2, "r": 4, "f": 4, "l": 8, "d": 8}[cls] * n
    k = kernel_of(form)
    k.shared = LANES * size if space == "shared" else 0
    fmt = FORMATS[dtype] if floats else None
    elems = width_of(dtype if floats else kind)
    if floats:  # small whole numbers and halves: every order gives the same sums
        rng = random.Random(form.id)
        from meaning import of_fraction, Fraction
        draw = lambda: [fmt.encode(of_fraction(Fraction(rng.randint(-40, 40), 2))) for _ in range(LANES * per)]
        m, v, c = draw(), draw(), draw()
    else:
        m, v = whole_numbers(form, op, kind)
        c = [w if i % 3 else w ^ 1 for i, w in enumerate(m)]
    step = combine(op, kind) if op != "cas" else None
    after = [v[i] if c[i] == m[i] else m[i] for i in range(LANES)] if op == "cas" else [step(x, y) for x, y in zip(m, v)]
    place = f"[{'%r6' if remote else '%r2' if space == 'shared' else '%l0'}]"
    regs, cmp = registers(cls, n), f"%{cls}{FIRST[cls] + 8}"
    olds = registers(cls, n, FIRST[cls] + 9)
    old = braced(olds, token)
    k.tensor("m", "inout", dtype, given=m, wanted=after)
    k.tensor("v", "in", dtype, given=v)
    k.address("m", size, "%l0")
    k.address("v", size, "%l2")
    for e, reg in enumerate(regs):
        k.add(f"ld.global.{PLAIN[cls]} {reg}, [%l2+{e * size // n}];")
    stage = f"%{cls}{FIRST[cls] + 7}"
    if space == "shared":
        shared_address(k, "%r2", "%r0", size)
        k.add(f"ld.global.{PLAIN[cls]} {stage}, [%l0];\nst.shared.{PLAIN[cls]} [%r2], {stage};\nbar.sync 0;")
        if remote:
            in_cluster(k, "%r6", "%r2")
    operands = braced(regs, token)
    if op == "cas":
        k.tensor("c", "in", dtype, given=c)
        k.address("c", size, "%l4")
        k.add(f"ld.global.{PLAIN[cls]} {cmp}, [%l4];")
        operands = cmp + ", " + operands
    hint = cache_policy(k, form)
    k.add(f"{form.opcode} {old + ', ' if returns else ''}{place}, {operands}{hint};")
    if returns:
        k.tensor("d", "out", dtype, wanted=m)
        k.address("d", size, "%l6")
        for e, reg in enumerate(olds):
            k.add(f"st.global.{PLAIN[cls]} [%l6+{e * size // n}], {reg};")
    if space == "shared":
        k.add(f"bar.sync 0;\nld.shared.{PLAIN[cls]} {stage}, [%r2];\nst.global.{PLAIN[cls]} [%l0], {stage};")
    if op not in ("exch", "cas", "inc", "dec"):
        contend(k, form, returns, space, cls, n, size, per, dtype, step, v, regs, token, old, stage)
    return k


def contend(k, form, returns, space, cls, n, size, per, dtype, step, v, regs, token, old, stage):
    start = [0] * (4 * per)
    total = list(start)
    for i in range(LANES):
        for e in range(per):
            total[(i % 4) * per + e] = step(total[(i % 4) * per + e], v[i * per + e])
    k.tensor("s", "inout", dtype, given=start, wanted=total)
    k.address("s", 0, "%l8")
    k.add(f"and.b32 %r3, %r0, 3;\nmad.wide.u32 %l8, %r3, {size}, %l8;")
    if space == "shared":
        shared_address(k, "%r4", "%r3", size)
        k.add(f"bar.sync 0;\nld.global.{PLAIN[cls]} {stage}, [%l8];\nsetp.lt.u32 %p1, %r0, 4;\n"
              f"@%p1 st.shared.{PLAIN[cls]} [%r4], {stage};\nbar.sync 0;")
    place = "%r4" if space == "shared" else "%l8"
    if "shared::cluster" in form.parts:
        place = "%r7"
        in_cluster(k, place, "%r4")
    k.add(f"{form.opcode} {old + ', ' if returns else ''}[{place}], {braced(regs, token)}"
          f"{', %l28' if 'L2::cache_hint' in form.parts else ''};")
    if space == "shared":
        k.add(f"bar.sync 0;\nld.shared.{PLAIN[cls]} {stage}, [%r4];\n@%p1 st.global.{PLAIN[cls]} [%l8], {stage};")


# ---- moves ----

def pack(form):
    """Between registers of different classes, and brace vectors: bits stay as they are."""
    k = kernel_of(form)
    (to, source) = (form.result, form.sources[0])
    def shape(token):
        return (int(token[0]), token[1]) if token[0].isdigit() else (1, token[0])
    (tn, tc), (sn, sc) = shape(to), shape(source)
    sizes = {"h": 2, "r": 4, "f": 4, "l": 8, "d": 8}
    total = tn * sizes[tc]
    given = words_of(form.id, ["u%d" % (8 * sizes[sc])], LANES * sn)[0]
    dtypes = {"h": "i16", "r": "i32", "f": "f32", "l": "i64", "d": "f64"}
    k.tensor("a", "in", dtypes[sc], given=given)
    k.address("a", total, "%l0")
    sources, targets = registers(sc, sn), registers(tc, tn, FIRST[tc] + 8)
    for e, reg in enumerate(sources):
        k.add(f"ld.global.{PLAIN[sc]} {reg}, [%l0+{e * sizes[sc]}];")
    k.add(f"{form.opcode} {braced(targets, to)}, {braced(sources, source)};")
    memory = b"".join(w.to_bytes(sizes[sc], "little") for w in given)
    wanted = [int.from_bytes(memory[i: i + sizes[tc]], "little") for i in range(0, len(memory), sizes[tc])]
    k.tensor("d", "out", dtypes[tc], wanted=wanted)
    k.address("d", total, "%l2")
    for e, reg in enumerate(targets):
        k.add(f"st.global.{PLAIN[tc]} [%l2+{e * sizes[tc]}], {reg};")
    return k


def specials(form):
    wide = form.opcode.startswith("mov.u64")
    if wide:  # the 64-bit ones are clocks: a later reading is not smaller
        k = kernel_of(form)
        k.tensor("d", "out", "i32", wanted=[1] * LANES)
        k.address("d", 4, "%l0")
        k.add("mov.u64 %l20, %clock64;\nmov.u64 %l21, %clock64;\nsetp.ge.u64 %p1, %l21, %l20;\n"
              "mov.u64 %l22, %globaltimer;\nmov.u64 %l23, %globaltimer;\n"
              "setp.ge.u64 %p2, %l23, %l22;\nand.pred %p1, %p1, %p2;\nselp.b32 %r5, 1, 0, %p1;\nst.global.b32 [%l0], %r5;")
        return k
    k = kernel_of(form, block=64, grid="3,2,1")
    names = ["%tid.x", "%tid.y", "%tid.z", "%ntid.x", "%ntid.y", "%ntid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z", "%nctaid.x", "%nctaid.y", "%nctaid.z",
             "%laneid", "%lanemask_eq", "%lanemask_lt", "%lanemask_le", "%lanemask_gt", "%lanemask_ge"]
    wanted = []
    for y in range(2):
        for x in range(3):
            for t in range(64):
                lane = t & 31
                one = 1 << lane
                wanted += [t, 0, 0, 64, 1, 1, x, y, 0, 3, 2, 1, lane, one, one - 1, 2 * one - 1, wrap(-2 * one, 32), wrap(-one, 32)]
    wanted = [w for i, w in enumerate(wanted)]
    k.tensor("d", "out", "i32", wanted=wanted[: 64 * 18])
    k.tensor("e", "out", "i32", wanted=wanted[5 * 64 * 18:])
    k.add("mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ctaid.y;\nmad.lo.s32 %r3, %r2, 3, %r1;")
    k.address("d", 4 * len(names), "%l0")
    k.address("e", 4 * len(names), "%l2")
    k.add("setp.eq.s32 %p1, %r3, 0;\nsetp.eq.s32 %p2, %r3, 5;")
    for i, name in enumerate(names):
        k.add(f"mov.u32 %r{20 + i}, {name};\n@%p1 st.global.b32 [%l0+{4 * i}], %r{20 + i};\n"
              f"@%p2 st.global.b32 [%l2+{4 * i}], %r{20 + i};")
    return k


def addresses(form):
    """Round trips: a value stored through one kind of address is read through another."""
    k = kernel_of(form)
    given = random_words(form.id, LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    k.address("d", 4, "%l2")
    local = "local" in form.id
    if local:
        k.body.insert(0, ".local .align 16 .b8 spot[64];")
    where = "spot" if local else "pool"
    if "const" in form.id:
        k.tensors.pop(0)
        k.prelude = constants("table", given, 4)
        k.add("mov.u64 %l4, table;\ncvta.const.u64 %l4, %l4;\nmad.wide.u32 %l4, %r0, 4, %l4;")
        k.add("ld.b32 %r5, [%l4];" if "_to_" not in form.id else "cvta.to.const.u64 %l5, %l4;\nld.const.b32 %r5, [%l5];")
    elif form.id == "cvta_to_param_u64":
        k.add("mov.u64 %l4, a;\ncvta.param.u64 %l4, %l4;\ncvta.to.param.u64 %l5, %l4;\nld.param.b64 %l0, [%l5];\n"
              "mad.wide.u32 %l4, %r0, 4, %l0;\nld.b32 %r5, [%l4];")
    elif "global" in form.id:
        k.add("ld.param.b64 %l0, [a];\ncvta.to.global.u64 %l4, %l0;")
        if form.id == "cvta_global_u64":
            k.add("cvta.global.u64 %l4, %l4;\nmad.wide.u32 %l4, %r0, 4, %l4;\nld.b32 %r5, [%l4];")
        else:
            k.add("mad.wide.u32 %l4, %r0, 4, %l4;\nld.global.b32 %r5, [%l4];")
    elif form.id == "cvta_param_u64":
        k.add("mov.u64 %l4, a;\ncvta.param.u64 %l4, %l4;\nld.b64 %l0, [%l4];\nmad.wide.u32 %l4, %r0, 4, %l0;\nld.b32 %r5, [%l4];")
    else:
        space = "local" if local else "shared"
        k.shared = 0 if local else 4 * LANES
        k.address("a", 4, "%l0")
        k.add("ld.global.b32 %r4, [%l0];")
        if form.id == "mov_u32_symbol":
            k.add("mov.u32 %r6, pool;\nshl.b32 %r7, %r0, 2;\nadd.s32 %r6, %r6, %r7;\nst.shared.b32 [%r6], %r4;\n"
                  "mov.u64 %l5, pool;\nmad.wide.u32 %l5, %r0, 4, %l5;\nld.shared.b32 %r5, [%l5];")
        else:
            scaled = "" if local else "mad.wide.u32 %l4, %r0, 4, %l4;"
            k.add(f"mov.u64 %l4, {where};\n{scaled}\nst.{space}.b32 [%l4], %r4;".replace("\n\n", "\n"))
            if form.id == "mov_u64_symbol":
                k.add("ld.shared.b32 %r5, [%l4];")
            else:
                k.add(f"cvta.{space}.u64 %l5, %l4;")
                k.add("ld.b32 %r5, [%l5];" if "_to_" not in form.id else f"cvta.to.{space}.u64 %l6, %l5;\n"
                      f"ld.{space}.b32 %r5, [%l6];")
    k.add("st.global.b32 [%l2], %r5;")
    return k


def touched(form):
    """Forms that do nothing that a result shows: the data around them stay what they are."""
    k = kernel_of(form)
    given = random_words(form.id, LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    if form.parts[0] in ("prefetch", "prefetchu"):
        place = "%l0"
        if "local" in form.parts:
            k.body.insert(0, ".local .align 16 .b8 spot[64];")
            place = "spot"
        k.add(f"{form.opcode} [{place}];\nld.global.b32 %r5, [%l0];\nst.global.b32 [%l2], %r5;")
    elif form.parts[0] in ("applypriority", "discard"):  # of 128 bytes; what is discarded is written anew
        k.address("d" if form.parts[0] == "discard" else "a", 0, "%l4")
        k.add(f"{form.opcode} [%l4], 128;\nbar.warp.sync 0xffffffff;\nld.global.b32 %r5, [%l0];\nst.global.b32 [%l2], %r5;")
    else:
        operand = " 40" if form.id.startswith("nanosleep") else " 3" if form.id == "pmevent" else ""
        k.add(f"ld.global.b32 %r5, [%l0];\nst.global.b32 [%l2], %r0;\n{form.opcode}{operand};\nst.global.b32 [%l2], %r5;")
    return k


def spaces(form):
    """Generic addresses of every space: is it this one?"""
    k = kernel_of(form)
    names = ("const", "global", "local", "shared", "param")
    k.prelude = constants("table", [1, 2, 3, 4], 4)
    k.shared = 64
    k.tensor("a", "in", "i32", given=[1, 2, 3, 4])
    k.tensor("d", "out", "i32", wanted=[int(n == form.parts[1]) for n in names for _ in range(LANES)])
    k.body.insert(0, ".local .align 16 .b8 spot[64];")
    k.address("d", 4, "%l0")
    k.add("mov.u64 %l2, table;\ncvta.const.u64 %l10, %l2;\nld.param.b64 %l11, [a];\nmov.u64 %l2, spot;\ncvta.local.u64 %l12, %l2;\n"
          "mov.u64 %l2, pool;\ncvta.shared.u64 %l13, %l2;")
    if form.parts[1] == "param":  # needs a later .version; the others ask nothing of parameters
        k.add("mov.u64 %l2, a;\ncvta.param.u64 %l14, %l2;")
    else:
        k.tensors[1].wanted = k.tensors[1].wanted[: 4 * LANES]
        k.tensors[1].count = 4 * LANES
        names = names[:4]
    for i in range(len(names)):
        k.add(f"{form.opcode} %p1, %l{10 + i};\nselp.b32 %r5, 1, 0, %p1;\nst.global.b32 [%l0+{128 * i}], %r5;")
    return k


def policy(form):
    """An opaque value: a load that is given it loads the same."""
    k = kernel_of(form)
    given = random_words(form.id, LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    k.add(f"mov.f32 %f1, 0f3F000000;\n{form.opcode} %l20, %f1;\n{form.opcode} %l21, 0f3F800000;\n"
          "ld.global.nc.L2::cache_hint.b32 %r5, [%l0], %l20;\nld.global.nc.L2::cache_hint.b32 %r6, [%l0], %l21;\n"
          "and.b32 %r5, %r5, %r6;\nst.global.b32 [%l2], %r5;")
    return k


# ---- cp.async ----

def async_copy(form):
    """Each thread copies a piece, then reads its neighbour's; with zfill, thread i takes i mod (size + 1) bytes of it."""
    size, zfill = int(form.sources[2][1:]), len(form.sources) > 3
    k = kernel_of(form)
    given = random_words(form.id, LANES * size // 4, 32)
    k.tensor("a", "in", "i32", given=given)
    k.shared = LANES * size
    k.address("a", size, "%l0")
    k.address("d", size, "%l2")
    shared_address(k, "%r2", "%r0", size)
    if zfill:
        k.add(f"rem.u32 %r5, %r0, {size + 1};")
    k.add(f"{form.opcode} [%r2], [%l0], {size}{', %r5' if zfill else ''};\ncp.async.commit_group;\n"
          f"cp.async.wait_group 0;\nbar.sync 0;")
    k.add("mad.lo.s32 %r1, %r0, 5, 3;\nand.b32 %r1, %r1, 31;")
    shared_address(k, "%r3", "%r1", size)
    memory = b"".join(w.to_bytes(4, "little") for w in given)
    wanted = []
    for i in range(LANES):
        j = SHUFFLED[i]
        taken = j % (size + 1) if zfill else size
        piece = memory[j * size: j * size + taken] + bytes(size - taken)
        wanted += [int.from_bytes(piece[e: e + 4], "little") for e in range(0, size, 4)]
    for e in range(size // 4):
        k.add(f"ld.shared.b32 %r{20 + e}, [%r3+{4 * e}];\nst.global.b32 [%l2+{4 * e}], %r{20 + e};")
    k.tensor("d", "out", "i32", wanted=wanted)
    return k


def async_wait(form):
    """Three groups in flight; the oldest is read as soon as it must be there, then the others."""
    k = kernel_of(form)
    given = random_words(form.id, 3 * LANES, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    k.shared = 3 * 4 * LANES
    k.address("a", 4, "%l0")
    k.address("d", 4, "%l2")
    shared_address(k, "%r2", "%r0", 4)
    for g in range(3):
        k.add(f"cp.async.ca.shared.global [%r2+{128 * g}], [%l0+{128 * g}], 4;\ncp.async.commit_group;")
    waits = ["cp.async.wait_all;", "", ""] if form.id == "cp_async_wait_all" else [f"cp.async.wait_group {n};" for n in (2, 1, 0)]
    for g in range(3):
        k.add((waits[g] + "\n" if waits[g] else "") + f"ld.shared.b32 %r5, [%r2+{128 * g}];\nst.global.b32 [%l2+{128 * g}], %r5;")
    return k


# ---- control ----

def control(form):
    """Threads 0..7 leave early, 8..19 jump over the second addition, all others fall through; a uniform loop before that."""
    k = kernel_of(form)
    k.tensor("d", "out", "i32", wanted=[1000 + 4 * 5 + (0 if i < 8 else 100 if i < 20 else 107) for i in range(LANES)])
    k.address("d", 4, "%l0")
    leave = form.opcode if form.id in ("ret", "ret_uni", "exit") else "bra OUT"
    jump = "bra.uni" if form.id == "bra_uni" else "bra"
    k.add(f"mov.b32 %r5, 1000;\nmov.b32 %r6, 0;\nLOOP:\nadd.s32 %r5, %r5, 5;\nadd.s32 %r6, %r6, 1;\n"
          f"setp.lt.s32 %p1, %r6, 4;\n@%p1 {jump} LOOP;\n"
          f"st.global.b32 [%l0], %r5;\nsetp.lt.s32 %p2, %r0, 8;\n@%p2 {leave};\nadd.s32 %r5, %r5, 100;\n"
          f"setp.lt.s32 %p3, %r0, 20;\n@!%p3 bra MORE;\n"
          "st.global.b32 [%l0], %r5;\nbra OUT;\nMORE:\nadd.s32 %r5, %r5, 7;\nst.global.b32 [%l0], %r5;\nOUT:")
    return k


def find(form):
    op = form.parts[0]
    if form.opcode.startswith("ld.param") and form.parts[-1] in SCALARS and len(form.parts) == 3 and form.id != "ld_param_s8":
        return load_parameter
    if "param" in form.parts and op in ("ld", "st"):
        return calls.parameter
    if op in ("ld", "ldu", "st"):
        return store if op == "st" else load
    if op == "isspacep":
        return spaces
    if op in ("atom", "red"):
        return atomic
    if op == "cvta" or form.id in ("mov_u32_symbol", "mov_u64_symbol"):
        return addresses
    if form.id in ("mov_u32_special", "mov_u64_special"):
        return specials
    if op == "mov" and (re.search(r"pack", form.id) or "_from_" in form.id):
        return pack
    if op in ("prefetch", "prefetchu", "applypriority", "discard", "membar", "fence", "nanosleep", "pmevent"):
        return touched
    if form.id.startswith("cp_async_c") and form.id != "cp_async_commit_group":
        return async_copy
    if op == "cp":
        return async_wait
    if op == "createpolicy":
        return policy
    if op in ("bra", "ret", "exit"):
        return control
    if op in ("call", "brx"):
        return calls.call if op == "call" else calls.jump_table
    return None
