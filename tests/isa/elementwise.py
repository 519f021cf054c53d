"""elementwise.py - files for the forms that work on each thread alone: operands from tensors, the instruction, results to tensors.
A form whose last operand may be an immediate is run with one too (tensor e)."""
from kernel import Kernel, LOAD, BYTES
from meaning import rule_of, width_of, F32, F16, BF16, F64, FORMATS, ANY
from vectors import words_of

CLASS_BYTES = {"h": 2, "r": 4, "f": 4, "l": 8, "d": 8, "p": 4}
CLASS_TYPE = {"h": "b16", "r": "b32", "f": "f32", "l": "b64", "d": "f64"}
FIRST = {"h": 1, "r": 8, "f": 1, "l": 16, "d": 1, "p": 1}

# what the manual allows an approximate result to be off by, and half a unit more, since the table itself is rounded; and the domain
BOUNDS = {
    "div.full.f32": ("rel 0x1p-22 abs 0x1p-149", "divisor"), "div.approx.f32": ("rel 0x1p-22 abs 0x1p-149", "divisor"),
    "div.approx.ftz.f32": ("rel 0x1p-22 abs 0x1p-126", "divisor"), "rcp.approx.f32": ("rel 0x1p-23 abs 0x1p-149", None),
    "rcp.approx.ftz.f32": ("rel 0x1p-23 abs 0x1p-126", None), "sqrt.approx.f32": ("rel 0x1.8p-23 abs 0x1p-149", None),
    "sqrt.approx.ftz.f32": ("rel 0x1.8p-23 abs 0x1p-126", None), "rsqrt.approx.f32": ("rel 0x1.92p-23", None),
    "rsqrt.approx.ftz.f32": ("rel 0x1.92p-23 abs 0x1p-126", None), "ex2.approx.f32": ("rel 0x1p-22 abs 0x1p-149", "exponent"),
    "ex2.approx.ftz.f32": ("rel 0x1p-22 abs 0x1p-126", "exponent"), "lg2.approx.f32": ("rel 0x1p-22 abs 0x1.6p-23", None),
    "lg2.approx.ftz.f32": ("rel 0x1p-22 abs 0x1.6p-23", None), "sin.approx.f32": ("abs 0x1.7p-21", "angle"),
    "sin.approx.ftz.f32": ("abs 0x1.7p-21", "angle"), "cos.approx.f32": ("abs 0x1.7p-21", "angle"),
    "cos.approx.ftz.f32": ("abs 0x1.7p-21", "angle"), "tanh.approx.f32": ("rel 0x1.03p-11 abs 0x1p-126", None),
    "rcp.approx.ftz.f64": ("rel 0x1p-19", None), "rsqrt.approx.ftz.f64": ("rel 0x1p-19", None), "rsqrt.approx.f64": ("rel 0x1p-20", None),
    "div.full.ftz.f32": ("rel 0x1p-22 abs 0x1p-126", "divisor"),
    "ex2.approx.f16": ("rel 0x1.93p-10 abs 0x1p-24", "exponent"), "tanh.approx.f16": ("abs 0x1.83p-11", None),
    # tanh.approx.bf16: the manual says 2^-8; an H200 was seen 1.24 times that away
    "ex2.approx.ftz.bf16": ("rel 0x1.4p-7 abs 0x1p-126", "exponent"), "tanh.approx.bf16": ("rel 0x1.0p-7 abs 0x1p-126", None),
}


def kinds_of(form):
    """What values each source is made of: the type that the opcode names, but for counts, predicates and wide addends."""
    parts, op = form.parts, form.parts[0]
    n = len(form.sources)
    kind = parts[-1]
    if op == "cvt":
        return ["s32", "s32", "u32"][:n] if parts[1] == "pack" else [kind] * n
    if op == "slct":
        return [parts[-2]] * 2 + [kind]
    if op == "prmt" or op.startswith("vabsdiff"):
        return ["u32"] * n
    kinds = [kind] * n
    if op in ("shl", "shr"):
        kinds[1] = "count"
    elif op == "shf":
        kinds[2] = "count"
    elif op in ("bfe", "bfi"):
        kinds[-2:] = ["count", "count"]
    elif op == "bmsk":
        kinds = ["count", "count"]
    elif op == "szext":
        kinds[1] = "count"
    elif op == "fns":
        kinds[1:] = ["place", "offset"]
    elif op == "mad" and parts[1] == "wide":
        kinds[2] = kind[0] + str(2 * width_of(kind))
    elif op in ("selp", "setp") and form.sources[-1].strip("!") == "p":
        kinds[-1] = "pred"
    elif op in ("div", "rem") and kind[0] in "su":
        kinds[1] = "divisor_" + kind
    return kinds


def dtype_of(kind, cls, form):
    if kind.endswith("x2"):
        return kind[:-2], 2
    if kind == "tf32":
        return "f32", 1
    if kind in FORMATS and cls in "hfd":
        return kind, 1
    return {2: "i16", 4: "i32", 8: "i64"}[CLASS_BYTES[cls]], 1


def result_kind(form):
    op = form.parts[0]
    if op == "cvt":
        return form.parts[-2] if form.parts[1] != "pack" else "b32"
    if op in ("set", "slct"):
        return form.parts[-1] if op == "set" and form.parts[-1].endswith("x2") else form.parts[-2]
    if op == "prmt" or op.startswith("vabsdiff"):
        return "b32"
    return form.parts[-1] if form.result not in "p" and op not in ("setp", "testp") else "pred"


def split(word, dtype, per):
    bits = 8 * BYTES[dtype]
    return [word >> bits * i & ((1 << bits) - 1) for i in range(per)]


def immediate(kind, cls, word):
    if cls == "f":
        return "0f%08X" % word
    if cls == "d":
        return "0d%016X" % word
    return str(word)


def make(form):
    rule = rule_of(form.opcode)
    if not rule:
        return None
    bare = form.opcode[:-2] if form.opcode.endswith("x2") and form.opcode in [b + "x2" for b in BOUNDS] else form.opcode
    bound, domain = BOUNDS.get(bare, (None, None))
    count = 32 if form.parts[0] in ("setp", "mov", "selp") else 64
    k = Kernel(form.id, form.opcode, form.sm, form.version, form.section, block=count)
    kinds = kinds_of(form)
    fixed = [s for s in form.sources if s.startswith("#")]
    sources = [s for s in form.sources if not s.startswith("#")]
    given = words_of(form.id, kinds[: len(sources)], count, domain)
    names = "abcm"
    registers = []
    for i, s in enumerate(sources):
        cls = s.strip("!i")
        dtype, per = dtype_of(kinds[i], cls, form)
        flat = [e for w in given[i] for e in split(w, dtype, per)]
        k.tensor(names[i], "in", dtype, given=flat)
        reg = f"%{cls}{FIRST[cls] + i}"
        k.address(names[i], CLASS_BYTES[cls], f"%l{2 * i}")
        if cls == "p":
            k.add(f"ld.global.b32 %r{20 + i}, [%l{2 * i}];\nsetp.ne.b32 {reg}, %r{20 + i}, 0;")
        else:
            k.add(f"ld.global.{CLASS_TYPE[cls]} {reg}, [%l{2 * i}];")
        registers.append(reg)
    table = 0x96 if fixed else None
    emit(k, form, rule, "d", registers + (["0x96"] if fixed else []), given + ([[table] * count] if fixed else []), bound, 0)
    if sources[-1].endswith("i") and form.parts[0] != "mov":
        at = next(i for i, w in enumerate(given[-1]) if i >= 3 and w not in (0, ANY) and is_plain(w, kinds[len(sources) - 1]))
        word = given[-1][at]
        imm = immediate(kinds[-1], sources[-1].strip("!i"), word)
        emit(k, form, rule, "e", registers[:-1] + [imm], given[:-1] + [[word] * count], bound, 1)
    if sources[-1] == "!p":
        emit(k, form, rule, "e", registers[:-1] + ["!" + registers[-1]], given[:-1] + [[1 - p for p in given[-1]]], bound, 1)
    return k


def is_plain(word, kind):
    """A constant that shows something: no NaN, infinity or zero."""
    fmt = FORMATS.get(kind)
    return not fmt or (word >> fmt.mantissa & fmt.top) not in (0, fmt.top)


def emit(k, form, rule, name, operands, words, bound, again):
    cls = form.result
    kind = result_kind(form)
    dtype, per = dtype_of(kind, "r" if cls == "p" else cls, form)
    wanted = []
    for lane in range(len(words[0])):
        out = rule(*[w[lane] for w in words])
        wanted += list(out) if isinstance(out, tuple) else [out] if isinstance(out, str) else split(out, dtype, per)
    k.tensor(name, "out", dtype, wanted=wanted, bound=bound)
    reg = f"%{cls}{FIRST[cls] + 5 + again}"
    address = f"%l{8 + 2 * again}"
    k.address(name, CLASS_BYTES[cls], address)
    k.add(f"{form.opcode} {reg}, " + ", ".join(operands) + ";")
    if cls == "p":
        k.add(f"selp.b32 %r{30 + again}, 1, 0, {reg};\nst.global.b32 [{address}], %r{30 + again};")
    else:
        k.add(f"st.global.{CLASS_TYPE[cls]} [{address}], {reg};")
