#!/usr/bin/env python3
"""random_ops.py - scripts of random ops, each held by `kiln check` against its own definition, with its gradient: what nobody would write, but
could. Row-wise ops of tensors of all dims, dtypes and kinds of presence, sums of sums, moves along rows, tables; products with epilogues of
every kind; blockwise ops with largest values. What is computed stays tame: every value carries an interval, arguments of logarithms, roots
and quotients are kept away from poles, so that the bounds of docs/exactness.md mean something.

A run's seed decides script, target, settings and inputs. A failure is shown with its seed and its script, which stays in the folder of
--keep. Refusals that kiln words as its own (a gradient that is not made) count neither way and are listed at the end by their words."""
import argparse
import collections
import os
import random
import re
import subprocess
import sys
import tempfile
import time

TARGETS = ("sm_75", "sm_80", "sm_89", "sm_90a")
MOST = 24.0  # what a value may come to


class Value:
    """text of the script; kind f (a number), i (an integer) or b (a condition); dims; lo and hi; even: integers that are not negative"""

    def __init__(self, text, kind, dims, lo=0.0, hi=1.0, depth=0, plain=False):
        self.text, self.kind, self.dims, self.lo, self.hi = text, kind, frozenset(dims), lo, hi
        self.depth, self.plain = depth, plain  # plain: exact in f32 (an input, a whole number)

    @property
    def most(self):
        return max(abs(self.lo), abs(self.hi))


def number(r):
    return r.choice(("0.5", "2", "1", "-1", "0.25", "3", "1.5", "-0.75", "0.1", "-2", "0.3"))


class Body:
    """Statements of a function over a pool of values; where they lie (`dims`: what may be seen) is the family's."""

    def __init__(self, r, pool, columns, swap=None):
        self.r, self.pool, self.columns, self.lines, self.count = r, pool, columns, [], 0
        self.swap = {} if swap is None else swap

    def name(self, v):
        """v as a local of its own"""
        if re.fullmatch(r"v\d+", v.text):
            return v
        self.count += 1
        self.lines.append(f"local v{self.count} = {v.text}")
        return Value(f"v{self.count}", v.kind, v.dims, v.lo, v.hi, v.depth, v.plain)

    def column(self, v):
        return next((d for d in v.dims if d in self.columns), None)

    def pick(self, dims, kind="f", need=None):
        """a value whose dims lie in `dims`, younger ones rather than older"""
        list_ = [v for v in self.pool if v.kind == kind and v.dims <= dims and (need is None or need(v))]
        if not list_:
            return None
        i = max(self.r.randrange(len(list_)), self.r.randrange(len(list_)))
        return list_[i]

    def tame(self, v, most=MOST):
        if v.most <= most:
            return v
        r = self.r
        how = r.choice(("tanh", "scale", "clamp"))
        if how == "tanh":
            return Value(f"tanh({v.text} * {0.5 / max(v.most ** 0.5, 1):.3g})", "f", v.dims, -1, 1, v.depth)
        if how == "scale":
            s = float(f"{2.0 / v.most:.2g}")
            return Value(f"({v.text} * {s})", "f", v.dims, v.lo * s, v.hi * s, v.depth)
        return Value(f"max(min({v.text}, {most / 2:g}), -{most / 4:g})", "f", v.dims, max(v.lo, -most / 4), min(v.hi, most / 2), v.depth)

    def unary(self, v):
        r, t, lo, hi, m = self.r, v.text, v.lo, v.hi, v.most
        far = max(abs(lo), abs(hi))
        near = 0 if lo <= 0 <= hi else min(abs(lo), abs(hi))
        op = r.choice(("neg", "abs", "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "rcp", "tanh", "erf", "sin", "cos", "relu", "silu", "gelu",
                       "gelu_tanh", "sigmoid", "none", "square", "to", "rint", "div", "scale", "const", "stop", "clamp", "i32"))

        def made(text, lo, hi):
            return Value(text, "f", v.dims, lo, hi, v.depth + 1)
        if op == "neg":
            return made(f"-{t}", -hi, -lo)
        if op == "abs":
            return made(f"abs({t})", near, far)
        if op in ("exp", "exp2"):
            return made(f"{op}(min({t}, 2))", 0, 7.4) if hi > 2 else made(f"{op}({t})", 0, 7.4)
        if op in ("log", "log2"):
            return made(f"{op}(abs({t}) + 0.5)", -1, 5)
        if op == "sqrt":
            return made(f"sqrt(abs({t}) + 0.25)", 0.5, (far + 0.25) ** 0.5)
        if op == "rsqrt":
            return made(f"rsqrt({t} * {t} + 0.5)", 0, 1.42)
        if op == "rcp":
            return made(f"rcp(abs({t}) + 0.5)", 0, 2)
        if op in ("tanh", "erf"):
            return made(f"{op}({t})", -1, 1)
        if op in ("sin", "cos"):
            return made(f"{op}({t})", -1, 1) if m <= 6 else made(f"{op}(max(min({t}, 3), -3))", -1, 1)
        if op in ("relu", "silu", "gelu", "gelu_tanh"):
            return made(f"{op}({t})", -0.3, max(hi, 0))
        if op == "sigmoid":
            return made(f"sigmoid({t})", 0, 1)
        if op == "square" and m <= 5:
            return made(f"({t} * {t})", 0, m * m)
        if op == "to":
            return made(f"({t}):to \"{r.choice(('bf16', 'f16', 'f32'))}\"", lo, hi)
        if op == "rint" and v.plain:
            return made(f"rint({t} * 4)", 4 * lo - 1, 4 * hi + 1)
        if op == "i32" and v.plain:
            return Value(f"(({t} * 4):to \"i32\" * 0.25)", "f", v.dims, lo - 1, hi + 1, v.depth + 1)
        if op == "div":
            return made(f"({number(r)} / (abs({t}) + 1))", -3, 3)
        if op == "stop":
            return made(f"stop({t})", lo, hi)
        if op == "clamp":
            return made(f"min(max({t}, -1), 1.5)", max(lo, -1), min(hi, 1.5))
        if op == "const":
            n = number(r)
            return made(f"({t} + {n})", lo + float(n), hi + float(n))
        n = number(r)
        ends = (lo * float(n), hi * float(n))
        return made(f"{n} * {t}", min(ends), max(ends))

    def condition(self, dims, depth=0, exact=False):
        """a condition of values within `dims`; exact: of inputs and integers"""
        r = self.r
        kind = r.randrange(6)
        if kind == 0:
            c = self.pick(dims, "b", lambda v: v.plain or not exact)
            if c:
                return c
        if kind == 1 and depth < 2:
            a, b = self.condition(dims, depth + 1, exact), self.condition(dims, depth + 1, exact)
            if a and b:
                return Value(f"{r.choice(('all', 'any'))}({a.text}, {b.text})", "b", a.dims | b.dims)
        if kind == 2 and depth < 2:
            a = self.condition(dims, depth + 1, exact)
            if a:
                return Value(f"not_({a.text})", "b", a.dims)
        if kind == 3:
            a = self.pick(dims, "i")
            if a:
                m = r.randrange(2, 6)
                test = r.choice((f"eq({a.text} % {m}, {r.randrange(m)})", f"lt({a.text}, {r.randrange(1, 60)})",
                                 f"ne({a.text}, {r.randrange(9)})", f"le({r.randrange(9)}, {a.text})"))
                return Value(test, "b", a.dims)
        a, b = self.pick(dims, "f", lambda v: v.plain or not exact), self.pick(dims, "f", lambda v: v.plain or not exact)
        if not a:
            return None
        if r.random() < 0.5 or not b:
            return Value(f"{r.choice(('lt', 'le'))}({a.text}, {number(r)})", "b", a.dims)
        tests = ("lt", "le", "ne", "eq") if a.plain and b.plain else ("lt", "le")
        return Value(f"{r.choice(tests)}({a.text}, {b.text})", "b", a.dims | b.dims)

    def binary(self, a, b, dims):
        r = self.r
        d, depth = a.dims | b.dims, max(a.depth, b.depth) + 1
        op = r.choice(("add", "sub", "mul", "mul", "add", "div", "min", "max", "where", "where0", "fma", "mix"))
        if op == "add":
            return Value(f"({a.text} + {b.text})", "f", d, a.lo + b.lo, a.hi + b.hi, depth)
        if op == "sub":
            return Value(f"({a.text} - {b.text})", "f", d, a.lo - b.hi, a.hi - b.lo, depth)
        if op in ("mul", "fma", "mix"):
            ends = (a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi)
            lo, hi = min(ends), max(ends)
            if op == "fma":
                c = self.pick(dims) or a
                return Value(f"({a.text} * {b.text} + {c.text})", "f", d | c.dims, lo + c.lo, hi + c.hi, depth)
            if op == "mix":
                return Value(f"({a.text} * (1 + {b.text}))", "f", d, min(lo, hi) - a.most, max(lo, hi) + a.most, depth)
            return Value(f"{a.text} * {b.text}", "f", d, lo, hi, depth)
        if op == "div":
            form = r.choice(("{} / (abs({}) + 0.5)", "{0} / ({1} * {1} + 0.75)", "{} / (1 + exp(-max(min({}, 4), -4)))"))
            return Value(f"({form.format(a.text, b.text)})", "f", d, -2 * a.most, 2 * a.most, depth)
        if op in ("min", "max"):
            return Value(f"{op}({a.text}, {b.text})", "f", d, min(a.lo, b.lo), max(a.hi, b.hi), depth)
        c = self.condition(dims)
        if not c:
            return a
        if op == "where0":
            n = number(r)
            pair = (a.text, n) if r.random() < 0.5 else (n, a.text)
            return Value(f"where({c.text}, {pair[0]}, {pair[1]})", "f", a.dims | c.dims, min(a.lo, float(n)), max(a.hi, float(n)), depth)
        return Value(f"where({c.text}, {a.text}, {b.text})", "f", d | c.dims, min(a.lo, b.lo), max(a.hi, b.hi), depth)

    def reduce(self, v):
        r, n, t = self.r, self.column(v), v.text
        rest = v.dims - {n}
        depth = v.depth + 1
        op = r.choice(("mean", "mean", "sum", "amax", "amin", "var", "softmax", "logsumexp", "norm", "few", "named", "msq", "share"))
        if op == "mean":
            return Value(f"mean({t})", "f", rest, v.lo, v.hi, depth)
        if op == "sum":
            return Value(f"(sum({t}) * 0.01)", "f", rest, -4, 4, depth)
        if op in ("amax", "amin"):
            return Value(f"{op}({t})", "f", rest, v.lo, v.hi, depth)
        if op == "var":
            return Value(f"var({t})", "f", rest, 0, min(v.most ** 2, MOST), depth)
        if op == "softmax":
            return Value(f"softmax({t})", "f", v.dims, 0, 1, depth)
        if op == "logsumexp":
            return Value(f"logsumexp({t})", "f", rest, v.lo, v.hi + 8, depth)
        if op == "norm":
            return Value(f"({t} - mean({t})) * rsqrt(var({t}) + 0.1)", "f", v.dims, -8, 8, depth)
        if op == "few":
            c = self.condition(v.dims | rest, exact=True)  # where it is undecided, so is all of the row
            if c:
                return Value(f"softmax(where({c.text}, excluded, {t}))", "f", v.dims | c.dims, 0, 1, depth)
        if op == "named":
            return Value(f"mean({t}, \"{n}\")", "f", rest, v.lo, v.hi, depth)
        if op == "share":
            return Value(f"({t} / (sum(abs({t})) + 0.5))", "f", v.dims, -1, 1, depth)
        return Value(f"rsqrt(mean({t} * {t}) + 0.01)", "f", rest, 0, 10, depth)

    def move(self, v):
        r, n = self.r, self.column(v)
        how = self.swap.setdefault(n, r.choice(("pairs", "halves", "both")))
        width = self.swap.setdefault((n, "width"), r.choice((4, 8, 12, 64)) if how == "both" else r.choice((2, 4, 6, 8, 10, 32, 64, 96)))
        if how == "pairs" or how == "both" and r.random() < 0.5:
            return Value(f"swap_pairs({v.text})", "f", v.dims, min(v.lo, 0), max(v.hi, 0), v.depth + 1)
        return Value(f"swap_halves({v.text}, {width})", "f", v.dims, min(v.lo, 0), max(v.hi, 0), v.depth + 1)

    def integer(self, v):
        r = self.r
        other = self.pick(v.dims, "i") or v
        form = r.choice(("{} % 3", "{} // 2", "({} + 5)", "{} * 2", "({} - 1)", "min({}, 20)", "max({}, 3)", "{} % (1 + {} // 3)",
                         "where(eq({} % 2, 0), {}, 1)", "({} + {})", "abs({} - 7)"))
        if form == "abs({} - 7)":
            return Value(f"(max({v.text}, 7) - min({v.text}, 7))", "i", v.dims)
        return Value(f"({form.format(v.text, other.text)})" if form.count("{}") == 2 else f"({form.format(v.text)})", "i", v.dims | other.dims
                     if form.count("{}") == 2 else v.dims)

    def step(self, dims):
        """one more value of the pool, of the given dims at most"""
        r = self.r
        a = self.pick(dims)
        what = r.random()
        if what < 0.22 and self.columns:
            wide = self.pick(dims, need=lambda v: self.column(v))
            v = self.reduce(wide) if wide else self.unary(a)
        elif what < 0.30 and self.columns:
            wide = self.pick(dims, need=lambda v: self.column(v))
            v = self.move(wide) if wide else self.unary(a)
        elif what < 0.36 and self.pick(dims, "i", lambda v: v.depth < 3):
            i = self.pick(dims, "i", lambda v: v.depth < 3)
            if r.random() < 0.6:
                k = self.integer(i)
                k.depth = i.depth + 1
                self.pool.append(self.name(k))
                return
            v = Value(f"({a.text} + ({i.text} % 8) * 0.125)", "f", a.dims | i.dims, a.lo, a.hi + 1, a.depth + 1)
        elif what < 0.55:
            v = self.unary(a)
        else:
            b = self.pick(dims) or a
            v = self.binary(a, b, dims)
        v = self.tame(v)
        v.text = v.text if re.fullmatch(r"[\w.]+", v.text) else f"({v.text})"
        if r.random() < 0.7 or len(v.text) > 60:
            v = self.name(v)
        self.pool.append(v)


def tensor_value(name, dims, dtype):
    if dtype == "bool":
        return Value(f"t.{name}", "b", dims, plain=True)
    if dtype in ("i32", "i64"):
        return Value(f"t.{name}", "f", dims, -8, 8, 0, True)
    if dtype == "u8":
        return Value(f"(t.{name} - 128)", "f", dims, -8, 8, 0, True)
    return Value(f"t.{name}", "f", dims, -4.5, 4.5, 0, True)


class Op:
    def __init__(self):
        self.tensors, self.scalars, self.settings, self.body, self.choices, self.more = [], [], {}, [], {}, []
        self.family, self.function = "rowwise", "forward"

    def text(self, name):
        lines = [f"return {self.family}.op \"{name}\" {{", "  doc = \"random\",", "  tensors = {"]
        lines += [f"    \"{t}\"," for t in self.tensors] + ["  },"]
        if self.scalars:
            lines.append("  scalars = { " + ", ".join(f"\"{s}\"" for s in self.scalars) + " },")
        if self.settings:
            lines.append("  settings = { " + ", ".join(f"{k} = {{ {', '.join(chr(34) + w + chr(34) for w in v)} }}" for k, v in self.settings.items()) + " },")
        lines += self.more
        letter = "e" if self.function == "epilogue" else "t"
        lines += [f"  {self.function} = function({letter})"] + [f"    {s}" for s in self.body] + ["  end,", "}", ""]
        return "\n".join(lines)


def dtype_word(r, op, name):
    word = r.choice(("", "", "", "", "own", "own", "f32", "f16", "bf16"))
    if word == "own":
        op.choices[name + "_dtype"] = ("same", "bf16", "f16", "f32")
    return (" " + word if word else ""), word


def optional(op, name, present):
    op.choices[name] = ("yes", "no") if present else ("no", "yes")


ROWS = (["M"], ["M"], ["B", "M"], ["B", "T"], ["B", "H", "T"], ["T"], ["B", "H", "M"], ["H", "T", "M"])


def rowwise(r):
    op = Op()
    dtypes = r.choice((None, None, ["f32", "bf16"], ["f16", "f32"]))
    op.choices["dtype"] = dtypes or ["bf16", "f16", "f32"]
    if dtypes:
        op.more.append("  dtypes = { " + ", ".join(f"\"{d}\"" for d in dtypes) + " },")
    parts = 2 if r.random() < 0.2 else 1
    scalars = []
    for i in range(r.randrange(3)):
        kind = r.choice(("f32", "f32", "i32", "f64", "i64"))
        value = r.choice(("0.5", "1.25", "-2", "0.1")) if kind[0] == "f" else r.choice(("1", "3", "5", "2"))
        op.scalars.append(f"c{i} {kind} = {value}" + (" call" if r.random() < 0.4 else ""))
        scalars.append(Value(f"t.c{i}", "f" if kind[0] == "f" else "i", (), -8, 8, 0, True))  # `call`: changed between launches
    rows_list = []
    letters = iter("abcdefghijklmnopqrstuvw")
    fallback = []
    tables = None
    swap = {}
    pools = []
    for p in range(parts):
        rows = list(r.choice(ROWS))
        if p:
            rows = list(r.choice(([x for x in rows_list[0]], [("S" if x == "T" else "M2" if x == "M" else x) for x in rows_list[0]])))
        rows_list.append(rows)
        n = "N" if parts == 1 else f"N{p + 1}"
        pool = list(scalars)
        pool.append(Value(f"size \"{n}\"", "i", ()))
        pool.append(Value(f"index \"{n}\"", "i", (n,)))
        for d in rows:
            if d[0] != "M" and r.random() < 0.6:
                pool.append(Value(f"index \"{d}\"", "i", (d,)))
        # inputs: a whole one, and some more of any dims
        forms = [rows + [n]]
        for _ in range(r.randrange(5)):
            form = r.randrange(7)
            if form == 0:
                forms.append(rows + [n])
            elif form == 1:
                forms.append([n])
            elif form == 2:
                forms.append(list(rows))
            elif form == 3 and len(rows) > 1:
                forms.append([d for d in rows if r.random() < 0.5] + [n])
            elif form == 4 and len(rows) > 1:
                forms.append([d for d in rows if r.random() < 0.5])
            elif form == 5 and len(rows) > 1:
                forms.append(["[" + rows[0] + "]", n])
            else:
                forms.append([n])
        first = None
        for k, dims in enumerate(forms):
            if not dims:
                continue
            name = next(letters)
            bare = [d.strip("[]") for d in dims]
            word, dtype = dtype_word(r, op, name)
            kind = r.random()
            if k and kind < 0.08:
                word, dtype = " bool", "bool"
            elif kind < 0.16:
                word, dtype = " " + r.choice(("i32", "i64", "u8")), "int"
                dtype = word.strip()
            if dtype != "own":
                op.choices.pop(name + "_dtype", None)
            flags = ""
            if k and dtype not in ("bool", "i32", "i64", "u8") and r.random() < 0.1:
                flags += " const"
            maybe = k > 0 and r.random() < 0.3
            if maybe:
                flags += " ?"
                if dtype != "bool":
                    optional(op, name, True)
            if dims[0].startswith("["):
                op.choices[f"{name}_{bare[0]}"] = ("no", "yes")
            op.tensors.append(f"{name} {' '.join(dims)}{word}{flags}")
            v = tensor_value(name, bare, dtype)
            if k == 0:
                first = name
                firstv = v
            if maybe or dims[0].startswith("["):  # whatever dims it has here, it meets one that has all
                local, other = f"o_{name}", firstv.text
                if v.kind == "b":
                    met = f"{r.choice(('all', 'any'))}({v.text}, lt({other}, 0.25))"
                    without = f"lt({other}, 0.5)"
                else:
                    met = r.choice((f"{other} * {v.text}", f"{other} + {v.text}", f"({v.text} - {other})", f"max({other}, {v.text})"))
                    without = f"{other} * {r.choice(('1', '0.5', '2'))}"
                if r.random() < 0.3 and v.kind == "f":
                    met = f"tanh({met})"
                op.body.append(f"local {local} = t.{name} and {met} or {without}" if maybe else f"local {local} = {met}")
                v = Value(local, v.kind, firstv.dims, -20, 20, 1)
            pool.append(v)
        times = [d for d in rows if d[0] != "M"]
        if times and r.random() < 0.25:
            d = r.choice(times)
            if tables is None:
                word, _ = dtype_word(r, op, "tab")
                op.tensors.append(f"tab P R{word} const")
                op.scalars.append("pos i32 = 1" + (" call" if r.random() < 0.5 else ""))
                tables = True
            row = r.choice((f"index \"{d}\" + t.pos", f"index \"{d}\""))
            entry = r.choice((f"index \"{n}\" % size \"R\"", f"index \"{n}\"", f"index \"{n}\" // 2", f"index \"{n}\" % size \"R\" // 2"))
            pool.append(Value(f"lookup(t.tab, {row}, {entry})", "f", {d, n}, -4.5, 4.5, 0, True))
        body = Body(r, pool, {n}, swap)
        body.count = 100 * p
        dims = frozenset(rows + [n])
        if r.random() < 0.12 and any(d[0] != "M" for d in rows):
            turn = r.choice([d for d in rows if d[0] != "M"])
            if not any(t.startswith("cos ") for t in op.tensors):
                op.tensors += ["cos P2 R2 own const", "sin P2 R2 own const"]
            pairs, table = r.choice(("neighbours", "halves")), r.choice(("channel", "pair"))
            if (n, "turn") not in swap and n not in swap:
                swap[n], swap[(n, "turn")] = "pairs", True
                blocks = r.choice((", blocks = \"all\"", ", blocks = \"first\"", ""))
                if pairs == "halves":
                    swap[n] = "none"
                body.lines.append(f"local w{p}, c{p} = rotate({firstv.text}, {{ cos = t.cos, sin = t.sin, row = index \"{turn}\", entries = size \"R2\", "
                                  f"pairs = \"{pairs}\", table = \"{table}\"{blocks} }})")
                pool.append(Value(f"where(c{p}, w{p}, {firstv.text})", "f", dims, -12, 12, 1))
        if swap.get(n) == "none":
            body.move = body.unary
        for _ in range(r.randrange(2, 10)):
            body.step(dims)
        op.body += body.lines
        body.lines = []
        # outputs
        over = r.random() < 0.1 and not op.tensors[0].split()[-1] == "bool"
        main = body.pick(dims, need=lambda v: v.dims == dims) or body.pick(dims)
        outs = []
        whole = f"y{p}"
        word, _ = dtype_word(r, op, whole)
        outs.append((f"{whole} {' '.join(rows)} {n}{word} out" + (f" over {first}" if over else ""), whole, main))
        if r.random() < 0.4:
            v = body.pick(dims)
            name = f"z{p}"
            word, _ = dtype_word(r, op, name)
            flags = ""
            if r.random() < 0.3:
                flags = " saved ?" if len(v.text) % 2 else " ?"
                optional(op, name, False)
            outs.append((f"{name} {' '.join(rows)} {n}{word} out{flags}", name, v))
        if r.random() < 0.5:
            v = body.pick(frozenset(rows), need=lambda v: v.depth > 0)
            if v:
                name = f"s{p}"
                flags = r.choice(("", " f32", "", " f32"))
                saved = ""
                if r.random() < 0.4:
                    saved = " saved ?" if r.random() < 0.6 else " ?"
                    optional(op, name, False)
                outs.append((f"{name} {' '.join(rows)}{flags} out{saved}", name, v))
        for d in range(r.choice((0, 0, 0, 1, 1, 2))):  # sums over rows: the outermost are kept
            kept = rows[:r.randrange(len(rows))] if r.random() < 0.4 else []
            gone = [x for x in rows if x not in kept]
            v = body.pick(dims, need=lambda v: v.dims == dims)
            if v:
                name = f"k{p}{d}"
                form = r.choice(("sum", "sum", "mean", "amax", "amin"))
                text = v.text
                if form == "mean":  # what is drawn in front of a sum over rows stands inside
                    text = " / ".join([text] + [f"size \"{g}\"" for g in gone])
                for g in reversed(gone):
                    text = f"{'sum' if form == 'mean' else form}({text}, \"{g}\")"
                outs.append((f"{name} {' '.join(kept + [n])}{r.choice((' f32', ''))} out", name, Value(text, "f", set(kept) | {n})))
        order = list(outs)
        r.shuffle(order)
        for spec, name, v in order:
            op.tensors.append(spec)
        read_back = None
        for spec, name, v in outs:
            if name == f"z{p}" and read_back and r.random() < 0.4 and v.most < 12:
                v = Value(f"{v.text} + t.{read_back}", "f", v.dims)
            op.body.append(f"t.{name} = {v.text}")
            if name == whole:
                read_back = name if main.most < 12 else None
    if r.random() < 0.3 and not any(" over " in t for t in op.tensors):
        r.shuffle(op.tensors)
    return op


def product(r):
    op = Op()
    op.family, op.function = "gemm", "epilogue"
    flat = r.random() < 0.35
    b = "" if flat else "B "
    op.choices["dtype"] = ["bf16", "f16", "f32"]
    if r.random() < 0.4:
        op.more.append("  dtypes = { \"f16\", \"f32\" },")
        op.choices["dtype"] = ["f16", "f32"]
    count = r.choice((1, 1, 1, 1, 2, 2, 3))
    left, right, products, names = ["a"], ["b"], [("acc", "a", "b")], ["acc"]
    added = count > 1 and r.random() < 0.4
    for i in range(1, count):
        l_, r_ = "a", "b"
        while (l_, r_) in [(x[1], x[2]) for x in products]:
            l_ = f"a{i}" if r.random() < 0.4 else "a"
            r_ = f"b{i}" if r.random() < 0.8 else "b"
        if l_ not in left:
            left.append(l_)
        if r_ not in right:
            right.append(r_)
        products.append(("acc" if added else f"p{i}", l_, r_))
        if not added:
            names.append(f"p{i}")
    for name in left:
        op.tensors.append(f"{name} {b}M K")
    for name in right:
        op.tensors.append(f"{name} {b}K N")
    if count > 1:
        op.more.append("  products = { " + ", ".join(f"{{ \"{x}\", \"{y}\", \"{z}\" }}" for x, y, z in products) + " },")
    dims = frozenset(["M", "N"] + ([] if flat else ["B"]))
    pool = []
    op.body = []
    for x in names:
        scale = r.choice(("0.125", "0.25", "0.1"))
        op.body.append(f"local {x} = e.{x} * {scale}" if r.random() < 0.6 else f"local {x} = e.{x}")
        pool += [Value(x, "f", dims, -16, 16, 1)] * 3
    for i in range(r.randrange(3)):
        kind = r.choice(("f32", "f32", "i32", "f64", "i64"))
        value = r.choice(("0.5", "1.25", "-2", "0.1")) if kind[0] == "f" else r.choice(("1", "3", "5", "2"))
        op.scalars.append(f"c{i} {kind} = {value}" + (" call" if r.random() < 0.4 else ""))
        pool.append(Value(f"e.c{i}", "f" if kind[0] == "f" else "i", (), -8, 8, 0, True))
    forms = ["B M N", "M N", "B M", "B N", "M", "N", ""] if not flat else ["M N", "M", "N", ""]
    for i in range(r.randrange(4)):
        name = "cghijk"[i]
        form = r.choice(forms)
        word, dtype = dtype_word(r, op, name)
        if r.random() < 0.08:
            op.choices.pop(name + "_dtype", None)
            word = " " + r.choice(("i32", "i64"))
        flags = " strided" if r.random() < 0.15 else ""
        if (form == "" or r.random() < 0.15) and "i" not in word:
            flags += " const"
        maybe = r.random() < 0.4
        if maybe:
            flags += " ?"
            optional(op, name, True)
        op.tensors.append(f"{name} {form}{word}{flags}")
        v = Value(f"e.{name}", "f", form.split(), -8 if "i" in word and "f" not in word else -4.5, 8, 0, True)
        if maybe:
            op.body.append(f"local o_{name} = e.{name} and e.{name} * 1 or acc * 0.5" if r.random() < 0.5 else f"local o_{name} = e.{name} and e.{name} or acc + 1")
            v = Value(f"o_{name}", "f", set(form.split()) | dims, -9, 9, 1)
        pool.append(v)
    if r.random() < 0.3:
        op.settings["act"] = ["none", "relu", "gelu", "silu", "gelu_tanh"]
        op.choices["act"] = op.settings["act"]
    body = Body(r, pool, ())
    for _ in range(r.randrange(0, 8)):
        body.step(dims)
    op.body += body.lines
    main = pool[-1] if pool[-1].kind == "f" else pool[0]
    word, _ = dtype_word(r, op, "d")
    op.tensors.append(f"d {b}M N{word} out")
    for i in range(r.choice((0, 0, 0, 1, 1, 2))):
        name = f"f{i}"
        word, _ = dtype_word(r, op, name)
        v = body.pick(dims)
        op.tensors.append(f"{name} {b}M N{word} out" + r.choice(("", "", "", " ?", " saved ?", " saved ?")))
        if op.tensors[-1].endswith("?"):
            optional(op, name, False)
        op.body.append(f"e.{name} = {v.text}")
    result = main.text
    if "act" in op.settings:
        result = f"e.act({result})"
    op.body.append(f"return {result}")
    return op


def blockwise(r):
    op = Op()
    op.family = "blockwise"
    three = r.random() < 0.4
    dims = ["M", "R", "N"] if three else ["M", "N"]
    op.choices["dtype"] = ["bf16", "f16", "f32"]
    whole = frozenset(dims)
    wide = " ".join(dims)
    op.tensors.append(f"x {wide}{r.choice(('', '', ' f32', ' f16'))}")
    pool = [Value("t.x", "f", whole, -4.5, 4.5, 0, True)]
    for i in range(r.randrange(3)):
        name, form = "abc"[i], [d for d in dims if r.random() < 0.6]
        word = r.choice(("", " f32", " bf16", " e4m3", " e5m2", " i8", " u8", " bool"))
        op.tensors.append(f"{name} {' '.join(form)}{word}")
        kind = "b" if word == " bool" else "f"
        text = f"(t.{name} - 128)" if word == " u8" else f"t.{name}"
        pool.append(Value(text, kind, form, -8, 8, 0, True))
    body = Body(r, pool, ())
    outs = []
    block = r.choice((16, 32, 64, 128))
    how = r.choice(("none", "row", "tensor", "block", "square") if three else ("none", "row", "tensor", "block"))
    top = None
    if how == "row":
        body.lines.append("local m = amax(abs(t.x), \"N\")")
        top, form = Value("m", "f", [d for d in dims if d != "N"], 0, 6, 1), " ".join(dims[:-1])
    elif how == "tensor":
        body.lines.append("local m = amax(amax(abs(t.x), \"N\"), \"M\")" if not three else "local m = amax(amax(amax(abs(t.x), \"N\"), \"R\"), \"M\")")
        top, form = Value("m", "f", [], 0, 6, 1), ""
    elif how == "block":
        body.lines.append(f"local m = block_amax(abs(t.x), \"N/{block}\")")
        form = " ".join(dims[:-1] + [f"N/{block}"])
        top = Value(f"spread(m, \"N/{block}\")", "f", dims, 0, 6, 1)
    elif how == "square":
        body.lines.append("local m = block_amax(block_amax(abs(t.x), \"N/128\"), \"R/128\")")
        form = "M R/128 N/128"
        top = Value("spread(spread(m, \"R/128\"), \"N/128\")", "f", dims, 0, 6, 1)
    if top:
        pool += [top, top]
        op.tensors.append(f"s {form} {r.choice(('f32', ''))} out")
        outs.append("t.s = m * 0.5 + 1")
    for _ in range(r.randrange(1, 6)):
        body.step(whole)
    op.body += body.lines + outs
    v = body.pick(whole, need=lambda v: v.dims == whole) or body.pick(whole)
    op.tensors.append(f"y {wide} {r.choice(('e4m3', 'e5m2', '', 'f32', 'f16'))} out")
    op.body.append(f"t.y = {v.text}")
    if r.random() < 0.3:
        v = body.pick(whole)
        op.tensors.append(f"z {wide} {r.choice(('bf16', '', 'f32'))} out")
        op.body.append(f"t.z = {v.text}")
    return op


def make(seed, family=None):
    """the script, its target and the settings of a seed"""
    r = random.Random(seed)
    kind = r.random()
    if family:
        kind = {"rowwise": 0.0, "gemm": 0.7, "blockwise": 0.95}[family]
    op = (rowwise if kind < 0.62 else product if kind < 0.88 else blockwise)(r)
    target = r.choice(TARGETS)
    chosen = []
    if r.random() < 0.4:
        chosen = [f"{k}={r.choice(v)}" for k, v in sorted(op.choices.items()) if r.random() < 0.5]
    return op.text(f"op{seed}"), target, ",".join(chosen), r.getrandbits(31)


def assemble(kiln, ptxas, script, name, target, chosen, work):
    """what ptxas says of the op and of its gradient under these settings; empty: nothing"""
    for op in (name, name + ".grad"):
        ptx = os.path.join(work, "out.ptx")
        made = subprocess.run([kiln, "emit", f"{script}:{op}", "--target", target, "-o", ptx] + (["--set", chosen] if chosen and op == name else []),
                              capture_output=True, text=True)
        if made.returncode:
            continue  # said by `kiln check` already
        done = subprocess.run([ptxas, "-arch", target, "-o", "/dev/null", ptx], capture_output=True, text=True)
        if done.returncode or done.stderr.strip() or done.stdout.strip():
            return f"ptxas on {op}: {done.stdout}{done.stderr}"
    return ""


def is_loose(output):
    """Failed it only because bounds came out so wide that they admit a wrong element, which says nothing about the kernel?"""
    said = [x.strip() for x in output.splitlines() if x.startswith("    ") and not re.match(r"    \S+ \(", x)]
    return bool(said) and all("the check itself fails" in x or x.endswith("within inf") for x in said)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kiln", default="build/kiln", help="the command (build/kiln)")
    p.add_argument("--seed", type=int, default=None, help="of the first op; the others follow (default: the clock)")
    p.add_argument("--count", type=int, default=20, help="how many ops (20)")
    p.add_argument("--seconds", type=float, default=0, help="begin no further op after so many seconds (0: never)")
    p.add_argument("--family", choices=("rowwise", "gemm", "blockwise"), help="ops of this family only")
    p.add_argument("--target", choices=TARGETS, help="this target only")
    p.add_argument("--ptxas", help="assemble one variant of each op and gradient with this assembler, too")
    p.add_argument("--limit", type=float, default=150, help="seconds that a check may take (150)")
    p.add_argument("--keep", help="leave scripts and output of failures in this folder")
    p.add_argument("--print", action="store_true", help="show the script of --seed, and run nothing")
    a = p.parse_args()
    seed = a.seed if a.seed is not None else int(time.time() * 1000) % 1000000000
    if a.print:
        text, target, chosen, inputs = make(seed, a.family)
        print(text + f"-- kiln check SCRIPT --device sim:{a.target or target} --quick --seed {inputs}" + (f" --set {chosen}" if chosen else ""))
        return 0
    begin, failed, passed, refused, ran, loose = time.time(), 0, 0, collections.Counter(), 0, 0
    work = tempfile.mkdtemp(prefix="random_ops.")
    if a.keep:
        os.makedirs(a.keep, exist_ok=True)
    for s in range(seed, seed + a.count):
        if a.seconds and time.time() - begin > a.seconds:
            break
        text, target, chosen, inputs = make(s, a.family)
        target = a.target or target
        script = os.path.join(work, "op.lua")
        with open(script, "w") as f:
            f.write(text)
        command = [a.kiln, "check", script, "--device", f"sim:{target}", "--quick", "--seed", str(inputs)]
        # settings that the gradient has not (of a tensor that it does not read) are the op's alone
        if chosen:
            command[2] = f"{script}:op{s}"
            command += ["--set", chosen]
        ran += 1
        why = ""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=a.limit, errors="replace")
            output = done.stdout + done.stderr
            if done.returncode:
                why = f"exit code {done.returncode}"
            if why and is_loose(output):
                loose, why = loose + 1, ""
            if not why and re.search(r"refused: .*(bytes of shared memory|would hold|a loop reads)", output):
                why = "a schedule that is offered cannot be"
            for line in re.findall(r"refused: (.*)", output):
                refused[re.sub(r"'[^']*'|\d+", "..", line)[:150]] += 1
            found = re.search(r"^(\d+) passed", output, re.M)
            passed += int(found.group(1)) if found else 0
        except subprocess.TimeoutExpired as e:
            output, why = (e.stdout or b"").decode(errors="replace"), f"took more than {a.limit:g} s"
        if not why and a.ptxas:
            output = assemble(a.kiln, a.ptxas, script, f"op{s}", target, chosen, work)
            why = "ptxas" if output else ""
        if why:
            failed += 1
            lines = [x for x in output.splitlines() if "pass" not in x.split()[-1:] and x.strip()]
            print(f"FAIL seed {s}: {why}; {' '.join(command)}\n{text}" + "\n".join(lines[:24]) + "\n", flush=True)
            if a.keep:
                with open(os.path.join(a.keep, f"{s}.lua"), "w") as f:
                    f.write(text)
                with open(os.path.join(a.keep, f"{s}.log"), "w") as f:
                    f.write(" ".join(command) + "\n" + why + "\n" + output)
    for line, times in sorted(refused.items(), key=lambda x: -x[1]):
        print(f"refused {times:5d}  {line}")
    print(f"random ops: {ran} ops from seed {seed}, {passed} cases passed, {loose} ops with a bound too wide, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
