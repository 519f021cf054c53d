"""meaning.py - what a form of one value per thread does, by its opcode, on bit patterns: exact, from the PTX manual, for make.py.

`rule_of(opcode)` gives a function of the operands' bits to the result's bits (or NAN_RESULT: any NaN, or ANY: left open by the
manual), or None where make.py has a kernel of its own for the form."""
import math
from numbers_of_ptx import *

NAN_RESULT, ANY = "nan", "?"


def wrap(x, bits):
    return x & ((1 << bits) - 1)


def as_signed(x, bits):
    return x - (1 << bits) if x >> (bits - 1) else x


def width_of(kind):
    return {"pred": 1}.get(kind) or int("".join(c for c in kind if c.isdigit()))


def read_int(kind, word):
    word = wrap(word, width_of(kind))
    return as_signed(word, width_of(kind)) if kind[0] == "s" else word


# ---- integers ----

def truncated(a, b):
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def integer_rule(op, parts):
    kind = parts[-1]
    bits = width_of(kind)

    def on(fn, out=bits):
        return lambda *words: wrap(fn(*[read_int(kind, w) for w in words]), out)
    if op in ("add", "sub"):
        sign = 1 if op == "add" else -1
        return on(lambda a, b: clamp(a + sign * b, kind) if "sat" in parts else a + sign * b)
    if op in ("mul24", "mad24"):
        return product24(parts, kind)
    if op == "sad":
        return on(lambda a, b, c: abs(a - b) + c)
    if op == "mad" and "sat" in parts:
        return on(lambda a, b, c: clamp((a * b >> bits) + c, kind))
    if op in ("mul", "mad"):
        part = parts[1]
        if part == "lo":
            return on(lambda a, b, c=0: a * b + c)
        if part == "hi":
            return on(lambda a, b, c=0: (a * b >> bits) + c)
        def wide(a, b, c=0):
            return wrap(read_int(kind, a) * read_int(kind, b) + c, 2 * bits)
        return wide
    if op == "div":
        return on(truncated)
    if op == "rem":
        return on(lambda a, b: a - b * truncated(a, b))
    if op in ("min", "max"):
        return on(min if op == "min" else max)
    if op == "neg":
        return on(lambda a: -a)
    if op == "abs":
        return on(abs)
    return bit_rule(op, parts, kind, bits)


def field_position(b, c):
    return b & 0xff, c & 0xff


def extract(kind, bits):
    def rule(a, b, c):
        pos, length = field_position(b, c)
        if kind[0] == "u" or length == 0:
            fill = 0
        else:
            fill = a >> min(pos + length - 1, bits - 1) & 1
        return sum((a >> (pos + i) & 1 if i < length and pos + i < bits else fill) << i for i in range(bits))
    return rule


def insert(bits):
    def rule(a, b, c, d):
        pos, length = field_position(c, d)
        out = b
        for i in range(length):
            if pos + i < bits:
                out = out & ~(1 << (pos + i)) | (a >> i & 1) << (pos + i)
        return out
    return rule


def permute(a, b, c):
    data = [(b << 32 | a) >> 8 * i & 0xff for i in range(8)]
    out = 0
    for i in range(4):
        pick = c >> 4 * i & 15
        byte = data[pick & 7]
        out |= (0xff * (byte >> 7) if pick & 8 else byte) << 8 * i
    return out


def funnel(left, clamp):
    def rule(a, b, c):
        n = min(c, 32) if clamp else c & 31
        both = b << 32 | a
        return wrap(both << n >> 32, 32) if left else wrap(both >> n, 32)
    return rule


def product24(parts, kind):
    """mul24, mad24: of the low 24 bits of each; hi: bits 47 to 16 of the 48-bit product."""
    def rule(a, b, c=0):
        x, y = wrap(a, 24), wrap(b, 24)
        x, y = (as_signed(x, 24), as_signed(y, 24)) if kind[0] == "s" else (x, y)
        part = wrap(x * y if parts[1] == "lo" else x * y >> 16, 32)
        total = read_int(kind, part) + read_int(kind, c)
        return wrap(clamp(total, kind) if "sat" in parts else total, 32)
    return rule


def dot4(parts):
    """dp4a.A.B; dp2a: two halves of a with the lower or upper two bytes of b"""
    wide, first = (16, 0 if parts[1] == "lo" else 2) if parts[0] == "dp2a" else (8, 0)
    sa, sb = parts[-2][0], parts[-1][0]

    def rule(a, b, c):
        total = c
        for i in range(32 // wide):
            total += read_int(sa + str(wide), a >> wide * i) * read_int(sb + "8", b >> 8 * (i + first))
        return wrap(total, 32)
    return rule


# prmt's modes: the bytes that d.b3, d.b2, d.b1, d.b0 take, for each value of the selector's low two bits (PTX manual, prmt)
PERMUTES = {
    "f4e": ("3210", "4321", "5432", "6543"), "b4e": ("5670", "6701", "7012", "0123"), "rc8": ("0000", "1111", "2222", "3333"),
    "ecl": ("3210", "3211", "3222", "3333"), "ecr": ("0000", "1110", "2210", "3210"), "rc16": ("1010", "3232", "1010", "3232"),
}


def permute_by(mode):
    def rule(a, b, c):
        data = [(b << 32 | a) >> 8 * i & 0xff for i in range(8)]
        return sum(data[int(pick)] << 8 * (3 - i) for i, pick in enumerate(PERMUTES[mode][c & 3]))
    return rule


def differences(parts):
    def rule(a, b, c):
        each = [abs(read_int(parts[2][0] + "8", a >> 8 * i) - read_int(parts[3][0] + "8", b >> 8 * i)) for i in range(4)]
        return wrap(sum(each) + c, 32) if parts[-1] == "add" else sum(x << 8 * i for i, x in enumerate(each))
    return rule


def find_nth_set(mask, base, offset):
    offset = as_signed(offset, 32)
    places = [base] if offset == 0 else range(base, 32) if offset > 0 else range(base, -1, -1)
    left = max(abs(offset), 1)
    for p in places:
        if 0 <= p < 32 and mask >> p & 1:
            left -= 1
            if left == 0:
                return p
    return 0xffffffff


def ones_from(mode):
    def rule(a, b):
        if mode == "clamp":
            return sum(1 << i for i in range(32) if a <= i < a + b)
        return sum(1 << i for i in range(32) if (a & 31) <= i < (a & 31) + (b & 31))
    return rule


def extend(mode, kind):
    def rule(a, b):
        n = b if mode == "clamp" else b & 31
        if n >= 32:
            return a
        low = a & ((1 << n) - 1)
        return wrap(as_signed(low, n), 32) if n and kind[0] == "s" else low
    return rule


def bit_rule(op, parts, kind, bits):
    mask = (1 << bits) - 1
    if op in ("and", "or", "xor"):
        return {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}[op]
    if op == "not":
        return lambda a: ~a & mask
    if op == "shl":
        return lambda a, b: wrap(a << b, bits) if b < bits else 0
    if op == "shr":
        return lambda a, b: wrap(read_int(kind, a) >> min(b, bits), bits)
    if op == "popc":
        return lambda a: bin(a).count("1")
    if op == "clz":
        return lambda a: bits - a.bit_length()
    if op == "brev":
        return lambda a: int(format(a, "0%db" % bits)[::-1], 2)
    if op == "bfind":
        def highest(a):
            at = (~a & mask if kind[0] == "s" and a >> (bits - 1) else a).bit_length() - 1
            return wrap(bits - 1 - at if "shiftamt" in parts and at >= 0 else at, 32)
        return highest
    if op == "cnot":
        return lambda a: int(a == 0)
    if op == "fns":
        return find_nth_set
    if op == "bmsk":
        return ones_from(parts[1])
    if op == "szext":
        return extend(parts[1], kind)
    if op == "slct":
        return lambda a, b, c: a if read_int("s32", c) >= 0 else b
    if op == "bfe":
        return extract(kind, bits)
    if op == "bfi":
        return insert(bits)
    if op == "prmt":
        return permute
    if op == "shf":
        return funnel(parts[1] == "l", parts[2] == "clamp")
    if op in ("dp4a", "dp2a"):
        return dot4(parts)
    if op == "lop3":
        return lambda a, b, c, table: sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))
    if op == "selp":
        return lambda a, b, p: a if p else b
    return None


# ---- comparison ----

def compare(name, a, b, kind):
    if kind[0] in "sub" and kind != "bf16":
        x, y, unordered = read_int(kind, a), read_int(kind, b), False
        before, same = x < y, x == y
    else:
        x, y = FORMATS[kind].decode(a), FORMATS[kind].decode(b)
        unordered = is_nan(x) or is_nan(y)
        same = not unordered and equal(x, y)
        before = not unordered and not same and less(x, y)
    if name == "num":
        return not unordered
    if name == "nan":
        return unordered
    if unordered:
        return name.endswith("u")
    name = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(name, name)
    return {"eq": same, "ne": not same, "lt": before, "le": before or same, "gt": not before and not same, "ge": not before}[name[:2]]


def flushed(kind, words, parts):
    if "ftz" not in parts:
        return words
    fmt = FORMATS[kind]
    return [fmt.encode(fmt.flush(fmt.decode(w))) if is_finite(fmt.decode(w)) else w for w in words]


def setp_rule(parts):
    name, kind = parts[1], parts[-1]

    def holds(a, b):
        return int(compare(name, *flushed(kind, [a, b], parts), kind))
    join = {"and": lambda x, p: x & p, "or": lambda x, p: x | p, "xor": lambda x, p: x ^ p}.get(parts[2])
    return (lambda a, b, p: join(holds(a, b), p)) if join else holds


def set_rule(parts):
    """All ones, or 1.0 of the result's type, where the comparison holds."""
    name, to, kind = parts[1], parts[-2], parts[-1]
    if kind.endswith("x2"):
        half, one = kind[:-2], 0xffff if to in ("u32", "s32") else FORMATS[kind[:-2]].encode(ONE)
        return lambda a, b: tuple(one if compare(name, *flushed(half, [a >> 16 * i & 0xffff, b >> 16 * i & 0xffff], parts), half) else 0
                                  for i in (0, 1))
    yes = FORMATS[to].encode(ONE) if to in FORMATS else (1 << width_of(to)) - 1
    return lambda a, b: yes if compare(name, *flushed(kind, [a, b], parts), kind) else 0


def slct_rule(parts):
    def rule(a, b, c):
        v = F32.decode(c)
        v = F32.flush(v) if "ftz" in parts else v
        return b if is_nan(v) or (v[0] and v[1] != 0) else a
    return rule


def testp_rule(name, kind):
    def rule(a):
        v = FORMATS[kind].decode(a)
        tiny = is_finite(v) and 0 < v[1] < Fraction(2) ** (1 - FORMATS[kind].bias)
        return int({"finite": is_finite(v), "infinite": v[1] == "inf", "number": not is_nan(v), "notanumber": is_nan(v),
                    "normal": is_finite(v) and not tiny, "subnormal": tiny}[name])
    return rule


# ---- floating point ----

def pick(smaller, keep_nan, magnitudes=False):
    """magnitudes: of absolute values; the caller gives the result its sign"""
    def rule(a, b):
        if magnitudes:
            return pick(smaller, keep_nan)(*[v if is_nan(v) else (0, v[1]) for v in (a, b)])
        if is_nan(a) or is_nan(b):
            return NAN if keep_nan or (is_nan(a) and is_nan(b)) else b if is_nan(a) else a
        return a if less(a, b) == smaller else b
    return rule


def by_double(fn, domain=lambda x: True):
    def rule(a):
        if is_nan(a):
            return NAN
        x = to_float(a)
        return of_float(fn(x)) if domain(x) else NAN
    return rule


def power2(x):
    return math.inf if x >= 1024 else 0.0 if x < -1074 else 2.0**x


def logarithm2(x):
    return -math.inf if x == 0 else math.inf if math.isinf(x) else math.log2(x)


def inverse_root(a):
    root = square_root(a)
    return (root[0], "inf") if root[1] == 0 else divide((0, Fraction(1)), root)


ONE = (0, Fraction(1))


def sum_of(a, b, mode):
    """An exact sum of zero is +0, and -0 when rounding down, unless both have the same sign."""
    out = add(a, b)
    return (1, out[1]) if mode == "rm" and out[1] == 0 and (a[0] or b[0]) else out


VALUES = {
    "mul": multiply,
    "div": divide, "rcp": lambda a: divide(ONE, a), "sqrt": square_root, "rsqrt": inverse_root,
    "ex2": by_double(power2), "lg2": by_double(logarithm2, lambda x: x >= 0), "tanh": by_double(math.tanh),
    "sin": by_double(math.sin, math.isfinite), "cos": by_double(math.cos, math.isfinite),
}


def scalar_float_rule(op, parts, kind):
    fmt, ftz, relu = FORMATS[kind], "ftz" in parts, "relu" in parts
    if op in ("neg", "abs"):
        def bits_rule(a):
            if is_nan(fmt.decode(a)):
                return NAN_RESULT
            a = flushed(kind, [a], parts)[0]
            return a ^ fmt.sign if op == "neg" else a & ~fmt.sign
        return bits_rule
    if op == "copysign":
        return lambda a, b: NAN_RESULT if is_nan(fmt.decode(b)) else (a & fmt.sign) | (b & ~fmt.sign)
    mode = next((m for m in ("rz", "rm", "rp") if m in parts), "rn")
    sums = {"add": lambda a, b: sum_of(a, b, mode), "sub": lambda a, b: sum_of(a, negate(b), mode),
            "fma": lambda a, b, c: sum_of(multiply(a, b), c, mode), "mad": lambda a, b, c: sum_of(multiply(a, b), c, mode)}
    value = pick(op == "min", "NaN" in parts, "xorsign" in parts) if op in ("min", "max") else sums.get(op) or VALUES.get(op)
    if not value:
        return None

    def rule(*words):
        if op in ("rcp", "rsqrt") and kind == "f64" and ftz and words[0] >> 32 & (0x7fffffff if op == "rcp" else 0xffffffff) == 0x7ff00000:
            return words[0] & 1 << 63 if words[0] & 0xffffffff == 0 else ANY  # an H200 does not look at the lower half: such a NaN is infinity
        given = [fmt.decode(w) for w in words]
        out = value(*[fmt.flush(v) if ftz else v for v in given])
        if "sat" in parts and (is_nan(out) or out[0]):
            return 0
        if is_nan(out):
            return NAN_RESULT
        if "xorsign" in parts:  # also of a NaN's sign bit
            out = (int((words[0] ^ words[1]) & fmt.sign != 0), out[1])
        if relu and out[0]:
            return 0 if out[1] != 0 else ANY
        word = fmt.encode((0, min(out[1], 1) if is_finite(out) else Fraction(1)) if "sat" in parts else out, mode)
        return fmt.encode(fmt.flush(fmt.decode(word))) if ftz else word
    return rule


def halves(rule, kind):
    """The same on both halves of a register: (low, high), as the elements lie in memory."""
    bits = width_of(kind)
    return lambda *words: tuple(rule(*[w >> bits * i & ((1 << bits) - 1) for w in words]) for i in (0, 1))


def float_rule(op, parts):
    kind = parts[-1]
    if kind.endswith("x2"):
        rule = scalar_float_rule(op, parts, kind[:-2])
        return rule and halves(rule, kind[:-2])
    return scalar_float_rule(op, parts, kind)


# ---- conversions ----

def clamp(x, kind):
    bits = width_of(kind)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    return min(max(x, low), high)


def is_int(kind):
    return kind[0] in "su"


def integer_to_integer(to, source, saturate):
    register = max(width_of(to), 32) if width_of(to) == 8 else width_of(to)

    def rule(a):
        x = read_int(source, a)
        x = clamp(x, to) if saturate else read_int(to, wrap(x, width_of(to)))
        return wrap(x, register)
    return rule


def float_to_integer(to, source, mode, parts):
    bits = width_of(to)
    register = 32 if bits == 8 else bits

    def rule(a):
        v = FORMATS[source].decode(a)
        if "ftz" in parts and source == "f32" and not is_nan(v):
            v = F32.flush(v)
        if is_nan(v):  # Data Movement: cvt, the table of NaN results
            return (1 << (bits - 1) if bits >= 32 else ANY) if source == "f64" or bits == 64 else 0
        if v[1] == "inf":
            return wrap(clamp(-(1 << 80) if v[0] else 1 << 80, to), register)
        n = round_units(v[1], mode, v[0])
        return wrap(clamp(-n if v[0] else n, to), register)
    return rule


def float_to_float(to, source, parts):
    mode = next((m for m in ("rn", "rz", "rm", "rp") if m in parts), None)
    whole = next((m[:2] for m in ("rni", "rzi", "rmi", "rpi") if m in parts), None)
    target = FORMATS[to]

    def rule(a):
        v = FORMATS[source].decode(a)
        if "ftz" in parts and source == "f32" and is_finite(v):
            if to == "f16" and mode in ("rm", "rp") and F32.flush(v) != v:
                return ANY  # the manual says zero; an H200 rounds the subnormal itself
            v = F32.flush(v)
        if "sat" in parts:
            v = (0, Fraction(0)) if is_nan(v) or v[0] else (0, min(v[1], 1) if is_finite(v) else Fraction(1))
        if "relu" in parts and not is_nan(v) and v[0]:
            return 0 if v[1] != 0 else ANY  # the manual does not say which zero
        if is_nan(v):
            return target.nan if not target.infinity else NAN_RESULT
        if whole and is_finite(v):
            v = (v[0], Fraction(round_units(v[1], whole, v[0])))
        word = target.encode(v, mode or "rn", "satfinite" in parts)
        return flushed(to, [word], parts)[0] if to == "f32" else word
    return rule


def to_tf32(mode):
    def rule(a):
        v = F32.decode(a)
        if is_nan(v):  # an H200 gives infinity where the payload lies in the 13 bits that go; the manual says nothing of it
            return NAN_RESULT if a & 0x7fe000 else ANY
        return TF32.encode(v, mode) << 13
    return rule


def pack_rule(to):
    bits = width_of(to)
    return lambda a, b, c: wrap(c << 2 * bits, 32) | wrap(clamp(as_signed(a, 32), to), bits) << bits | wrap(clamp(as_signed(b, 32), to), bits)


def pack_two_rule(to):
    return lambda a, b: wrap(clamp(as_signed(a, 32), to), 16) << 16 | wrap(clamp(as_signed(b, 32), to), 16)


def pair_rule(to, source, parts):
    """d = {a, b}: a in the upper half. From a pair (f16x2, e4m3x2): half by half. Gives (low, high)."""
    out = to[:-2]
    one = float_to_float(out, source[:-2] if source.endswith("x2") else source, parts)

    def word(x):
        r = one(x)
        return 0x7f if r == NAN_RESULT and out == "e5m2" else r  # of e5m2's NaNs it is this one
    if source.endswith("x2"):
        bits = FORMATS[source[:-2]].bits
        return lambda a: (word(a & ((1 << bits) - 1)), word(a >> bits))
    return lambda a, b: (word(b), word(a))


def cvt_rule(parts):
    to, source = parts[-2], parts[-1]
    if parts[1] == "pack":
        return pack_rule(parts[3]) if len(parts) == 6 else pack_two_rule(parts[3])
    if to == "tf32":
        return to_tf32(parts[1])
    if to.endswith("x2"):
        return pair_rule(to, source, parts)
    mode = next((m for m in ("rz", "rm", "rp") if m in parts), "rn")
    if is_int(to) and is_int(source):
        return integer_to_integer(to, source, "sat" in parts)
    if is_int(source):
        return lambda a: FORMATS[to].encode(of_fraction(read_int(source, a)), mode)
    if is_int(to):
        return float_to_integer(to, source, next(m[:2] for m in ("rni", "rzi", "rmi", "rpi") if m in parts), parts)
    return float_to_float(to, source, parts)


def rule_of(opcode):
    parts = opcode.split(".")
    op, kind = parts[0], parts[-1]
    if op == "setp":
        return setp_rule(parts)
    if op == "testp":
        return testp_rule(parts[1], kind)
    if op == "cvt":
        return cvt_rule(parts)
    if op == "set":
        return set_rule(parts)
    if op == "slct" and kind == "f32":
        return slct_rule(parts)
    if op == "prmt" and kind in PERMUTES:
        return permute_by(kind)
    if op.startswith("vabsdiff"):
        return differences(parts)
    if op == "selp":
        return bit_rule(op, parts, kind, width_of(kind))
    if op == "mov":
        return lambda a: a
    if kind == "pred" and op in ("and", "or", "xor", "not"):
        return bit_rule(op, parts, kind, 1)
    if kind[0] == "f" or kind.startswith("bf"):
        return float_rule(op, parts)
    if kind[0] in "sub" and kind[1:].isdigit():
        return integer_rule(op, parts)
    return None
