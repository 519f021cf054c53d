#!/usr/bin/env python3
"""tensor_probe.py - which model of addition fits a device's tensor cores. Operands with exponents far apart, so that what is cut off shows.

    tensor_probe.py make FOLDER          writes a kernel for each kind of product
    isa_run --device cuda:0 --save OUT FOLDER
    tensor_probe.py fit OUT [EXPECTED]   prints for each the models that give every word; with EXPECTED ("m16n8k16.f32.f16.f16.f32=24/8 ...")
                                         tries those alone, and fails unless they fit

isa_run calls the files failed, since nothing is expected of their words; it saves them all the same.

A model is written fraction/group[/kept][a]: runtime/sim/exec/tensor.h says what that means; a: C is added apart. `fma` is the plain chain
of f32. Written from that description, and shares nothing with the simulator."""
import math
import os
import random
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kernel import Kernel  # noqa: E402
from matrix import BITS, DTYPES, places_a, places_b, places_c, format_of  # noqa: E402
from memory import PLAIN, braced, registers  # noqa: E402
from numbers_of_ptx import F16, of_float, to_float  # noqa: E402

TIMES = 6  # products of each kind
LEAST = {"f16": -14, "bf16": -126, "tf32": -126, "e4m3": -6, "e5m2": -14}
# name, shape, D, A, B, C, registers of D, A, B, C, sm, version
KINDS = [("m16n8k8", "f32", "f16", "4f 2r 1r 4f", "75", 65), ("m16n8k16", "f32", "f16", "4f 4r 2r 4f", "80", 70),
         ("m16n8k8", "f32", "bf16", "4f 2r 1r 4f", "80", 70), ("m16n8k16", "f32", "bf16", "4f 4r 2r 4f", "80", 70),
         ("m16n8k4", "f32", "tf32", "4f 2r 1r 4f", "80", 70), ("m16n8k8", "f32", "tf32", "4f 4r 2r 4f", "80", 70),
         ("m16n8k16", "f16", "f16", "2r 4r 2r 2r", "80", 70), ("m16n8k32", "f32", "e4m3", "4f 4r 2r 4f", "89", 84)]


def name_of(kind):
    shape, to, source = kind[:3]
    return f"{shape}.{to}.{source}.{source}.{to}"


def sizes(kind):
    return 16, 8, int(kind[0].split("k")[1])


def draw(rng, source, spread):
    """A word of the type with an exponent from a range, and any significand."""
    fmt = format_of(source)
    exponent = max(1, min(fmt.top - 1 - (0 if fmt.infinity else 1), fmt.bias + rng.randint(-spread, spread)))
    word = rng.getrandbits(1) << (fmt.exponent + fmt.mantissa) | exponent << fmt.mantissa | rng.getrandbits(fmt.mantissa)
    return word << 13 if source == "tf32" else word


def inputs(kind):
    m, n, depth = sizes(kind)
    rng = random.Random(name_of(kind))
    spread = 3 if kind[2] == "e4m3" or kind[1] == "f16" else 6
    a = [draw(rng, kind[2], spread) for _ in range(TIMES * m * depth)]
    b = [draw(rng, kind[2], spread) for _ in range(TIMES * depth * n)]
    c = [draw(rng, kind[1], 3 if kind[1] == "f16" else 8) for _ in range(TIMES * m * n)]
    return a, b, c


def kernel(kind):
    m, n, depth = sizes(kind)
    shape, to, source, tokens, sm, version = kind
    a, b, c = inputs(kind)
    k = Kernel("probe_" + name_of(kind).replace(".", "_"), "tensor cores", sm, version, "Warp-level Matrix: mma", note="which model fits")
    k.tensor("a", "in", DTYPES.get(source, source), given=a)
    k.tensor("b", "in", DTYPES.get(source, source), given=b)
    k.tensor("c", "in", to, given=c)
    k.tensor("d", "out", to, wanted=["?"] * len(c))
    operands = []
    shape_of_token = [(int(t[0]), t[1]) for t in tokens.split()]
    for name, (count, cls), address in zip("dabc", shape_of_token, ("%l6", "%l0", "%l2", "%l4")):
        k.address(name, 4 * count, address)
        operands.append((name, count, cls, address, {"d": 1, "a": 9, "b": 13, "c": 16}[name] + (20 if cls == "r" else 0)))
    for t in range(TIMES):
        texts = []
        for name, count, cls, address, base in operands:
            regs = registers(cls, count, base)
            texts.append(braced(regs, f"{count}{cls}"))
            for e, reg in enumerate(regs):
                if name != "d":
                    k.add(f"ld.global.{PLAIN[cls]} {reg}, [{address}+{128 * count * t + 4 * e}];")
        k.add(f"mma.sync.aligned.{shape}.row.col.{to}.{source}.{source}.{to} " + ", ".join(texts) + ";")
        _, count, cls, address, base = operands[0]
        for e, reg in enumerate(registers(cls, count, base)):
            k.add(f"st.global.{PLAIN[cls]} [{address}+{128 * count * t + 4 * e}], {reg};")
    return k


# ---- models ----

def exponent(x, least):
    return max(math.frexp(x)[1] - 1, least) if x else -10**6


def cut(x, bits):
    """Towards zero to `bits` bits behind the first."""
    if x == 0:
        return 0.0
    unit = math.frexp(x)[1] - 1 - bits
    return math.ldexp(int(math.ldexp(x, -unit)), unit)


def to_f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def fused(terms, c, fraction):
    """terms: (value, exponent)"""
    top = max([e for _, e in terms] + [exponent(c, -126)])
    if top < -10**5:
        return 0.0
    total = sum(int(math.ldexp(v, fraction - top)) for v, _ in terms) + int(math.ldexp(c, fraction - top))
    return math.ldexp(total, top - fraction)


def evaluate(model, terms, c, half):
    fraction, group, kept, apart = model
    r = 0.0 if apart else c
    for k in range(0, len(terms), group):
        r = fused(terms[k: k + group], r, fraction)
        if not half or k + group < len(terms) or apart:
            r = cut(r, kept)
    return to_f32(to_f32(r) + c) if apart else r


def chain(xs, ys, c):
    for x, y in zip(xs, ys):
        c = to_f32(x * y + c)  # the product is exact, the sum rounds once more at most in a double
    return c


def value(kind, word):
    return to_float(format_of(kind).decode(word >> 13 if kind == "tf32" else word))


def elements(kind):
    """For each word of D: factors and C."""
    m, n, depth = sizes(kind)
    a, b, c = inputs(kind)
    pa, pb, pc = places_a(m, depth, BITS[kind[2]]), places_b(depth, n, BITS[kind[2]]), places_c(m, n)
    for t in range(TIMES):
        va = {p: value(kind[2], w) for p, w in zip(pa, a[t * len(pa):])}
        vb = {p: value(kind[2], w) for p, w in zip(pb, b[t * len(pb):])}
        for (row, column), w in zip(pc, c[t * len(pc):]):
            yield [va[row, i] for i in range(depth)], [vb[i, column] for i in range(depth)], value(kind[1], w)


def word_of(x, to):
    return F16.encode(of_float(x)) if to == "f16" else struct.unpack("I", struct.pack("f", x))[0]


def text_of(model):
    fraction, group, kept, apart = model
    return f"{fraction}/{group}" + ("" if kept == 23 else f"/{kept}") + ("a" if apart else "")


def models_of(depth, only):
    for fraction in range(11, 30):
        for group in (2, 4, 8, 16, 32):
            for kept in (13, 23):
                for apart in (False, True):
                    model = (fraction, group, kept, apart)
                    if group <= depth and (not only or text_of(model) == only):
                        yield model


def fit(kind, got, only=None):
    """The models that give every word, and for each other how many it misses."""
    depth, least, half = sizes(kind)[2], LEAST[kind[2]], kind[1] == "f16"
    every = [(xs, ys, c, word) for (xs, ys, c), word in zip(elements(kind), got)]
    missed = {"fma": sum(word_of(chain(xs, ys, c), kind[1]) != w for xs, ys, c, w in every)}
    for model in models_of(depth, only):
        wrong, low = 0, -14 if model[3] and kind[2] in ("e4m3", "e5m2") else least
        for xs, ys, c, w in every:
            terms = [(x * y, exponent(x, low) + exponent(y, low)) for x, y in zip(xs, ys)]
            wrong += word_of(evaluate(model, terms, c, half), kind[1]) != w
            if wrong > len(every) // 4:
                break
        missed[text_of(model)] = wrong
    return missed, len(every)


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "make":
        os.makedirs(sys.argv[2], exist_ok=True)
        for kind in KINDS:
            k = kernel(kind)
            open(os.path.join(sys.argv[2], k.name + ".ptx"), "w").write(k.text())
        return 0
    if len(sys.argv) < 3 or sys.argv[1] != "fit":
        print(__doc__)
        return 2
    wanted = dict(pair.split("=") for pair in sys.argv[3].split()) if len(sys.argv) > 3 else {}
    saved = {line.split()[0]: line.split()[2:] for line in open(sys.argv[2]) if line.strip() and line.split()[1] == "d"}
    bad = 0
    for kind in KINDS:
        words = saved.get("probe_" + name_of(kind).replace(".", "_"))
        if not words:
            print(f"{name_of(kind):32} not run")
            continue
        if wanted and name_of(kind) not in wanted:
            continue
        missed, count = fit(kind, [int(w, 16) for w in words], wanted.get(name_of(kind)))
        fitting = [name for name, wrong in missed.items() if wrong == 0]
        closest = sorted(missed.items(), key=lambda x: x[1])[:3]
        print(f"{name_of(kind):32} " + ("fits: " + " ".join(fitting) if fitting else "no model fits; closest: " + ", ".join(
            f"{name} ({wrong} of {count} differ)" for name, wrong in closest)))
        if name_of(kind) in wanted and wanted[name_of(kind)] not in fitting:
            bad += 1
            print(f"    expected {wanted[name_of(kind)]}: {missed.get(wanted[name_of(kind)])} words differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
