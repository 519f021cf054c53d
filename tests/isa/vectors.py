"""vectors.py - operand values: the edges of each type in every combination that fits, then random ones; the same in every run."""
import random
from meaning import FORMATS, width_of

EDGES = {
    16: [0, 1, 2, 3, 7, 8, 15, 16, 0x7f, 0x80, 0xff, 0x100, 0x1234, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xff80, 0xfffe, 0xffff],
    32: [0, 1, 2, 3, 7, 31, 32, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x12345678, 0x7ffffffe, 0x7fffffff, 0x80000000,
         0x80000001, 0xffffff80, 0xffff8000, 0xfffffffe, 0xffffffff],
    64: [0, 1, 2, 63, 64, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x123456789abcdef0, 0x7ffffffffffffffe, 0x7fffffffffffffff,
         0x8000000000000000, 0x8000000000000001, 0xffffffff00000000, 0xffffffff80000000, 0xfffffffffffffffe, 0xffffffffffffffff],
}
COUNTS = [0, 1, 2, 4, 5, 8, 12, 15, 16, 17, 24, 31, 32, 33, 40, 47, 63, 64, 65, 127, 128, 200, 255]
FRACTIONS = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 3.0, -7.0, 126.5, 127.5, 255.5, 1.0, -1.0, 32767.5, 65504.0, 65520.0, 448.0, 464.0,
             57344.0, 61440.0, 1e-3, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 2.0**64, 1.0009765625, 1.00390625, 1.001953125]


def float_edges(fmt):
    from meaning import of_float
    one = fmt.encode(of_float(1.0))
    smallest = 1 << fmt.mantissa
    infinity = fmt.top << fmt.mantissa
    words = [0, 1, smallest - 1, smallest, one, one + 1, one - 1, fmt.largest, fmt.nan]
    if fmt.infinity:
        words += [infinity, infinity + 1]
    words += [w | fmt.sign for w in words]
    return words + [fmt.encode(of_float(x)) for x in FRACTIONS if abs(x) < 2.0**fmt.bias]


def random_float(fmt, rng):
    if rng.random() < 0.3:
        return rng.getrandbits(fmt.bits)
    exponent = max(1, min(fmt.top - 1, fmt.bias + rng.randint(-6, 8)))
    return rng.getrandbits(1) * fmt.sign | exponent << fmt.mantissa | rng.getrandbits(fmt.mantissa)


def pool_of(kind, domain, position):
    """(edges, a function that gives a random one)"""
    from meaning import of_float
    if kind == "pred":
        return [0, 1], lambda rng: rng.getrandbits(1)
    if kind == "place":
        return list(range(0, 32, 3)) + [31], lambda rng: rng.randint(0, 31)
    if kind == "offset":
        return [0, 1, 2, 3, 9, 40, (1 << 32) - 1, (1 << 32) - 2, (1 << 32) - 9], lambda rng: rng.randint(-12, 12) & 0xffffffff
    if kind == "count":
        return COUNTS, lambda rng: rng.randint(0, 40)
    if kind.startswith("divisor_"):
        edges, some = pool_of(kind[8:], None, position)
        bits = width_of(kind)
        minus_one = (1 << bits) - 1 if "_s" in kind else 0
        return [w for w in edges if w not in (0, minus_one)], lambda rng: rng.choice([some(rng) | 1, rng.randint(1, 1000)]) & ((1 << bits) - 2) | 2
    if kind.endswith("x2"):
        edges, some = pool_of(kind[:-2], domain, position)
        bits = FORMATS[kind[:-2]].bits
        paired = [w | edges[(i * 7 + 3) % len(edges)] << bits for i, w in enumerate(edges)]
        return paired, lambda rng: some(rng) | some(rng) << bits
    if kind in FORMATS:
        fmt = FORMATS[kind]
        if domain == "angle":
            return [fmt.encode(of_float(x)) for x in (0.0, -0.0, 0.5, 1.0, 3.0, -3.0)], \
                lambda rng: fmt.encode(of_float(rng.uniform(-3.14159, 3.14159)))
        if domain == "exponent":
            top = 14.0 if kind == "f16" else 120.0
            return float_edges(fmt), lambda rng: fmt.encode(of_float(rng.uniform(-top, top)))
        if domain == "divisor" and position == 1:
            return [fmt.encode(of_float(x)) for x in FRACTIONS], lambda rng: fmt.encode(of_float(rng.uniform(-1000, 1000) or 1.0))
        return float_edges(fmt), lambda rng: random_float(fmt, rng)
    bits = max(width_of(kind), 16)
    bits = 32 if width_of(kind) == 8 else bits
    return EDGES[bits], lambda rng: rng.getrandbits(bits) >> rng.choice([0, 0, 0, bits // 2, bits - 8])


def words_of(seed, kinds, count, domain=None):
    rng = random.Random(seed)
    pools = [pool_of(kind, domain, i) for i, kind in enumerate(kinds)]
    columns = [[] for _ in kinds]
    for lane in range(count):
        for i, (edges, some) in enumerate(pools):
            if i == 0 and lane < len(edges):
                word = edges[lane]
            elif lane < 3 * count // 4:
                word = rng.choice(edges)
            else:
                word = some(rng)
            columns[i].append(word)
    return columns
