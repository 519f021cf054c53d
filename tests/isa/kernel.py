"""kernel.py - one test file: a kernel with its contract, its inputs and what must come out, as text."""

BYTES = {"i8": 1, "u8": 1, "e4m3": 1, "e5m2": 1, "i16": 2, "f16": 2, "bf16": 2, "i32": 4, "f32": 4, "i64": 8, "f64": 8}
LOAD = {1: "u8", 2: "b16", 4: "b32", 8: "b64"}


class Tensor:
    def __init__(self, name, mode, dtype, given=None, wanted=None, bound=None):
        self.name, self.mode, self.dtype, self.given, self.wanted, self.bound = name, mode, dtype, given, wanted, bound
        self.count = len(given if given is not None else wanted)


class Kernel:
    """body: lines of PTX in which {x} is a register with the address of tensor x for this thread, [x] its parameter."""

    def __init__(self, name, form, sm, version, section, block=32, grid="1,1,1", note=""):
        self.name, self.form, self.section, self.note = name, form, section, note
        self.sm, self.version, self.block, self.grid = sm, max(version, 63), block, grid
        self.cluster = ""
        self.tensors, self.body, self.shared, self.scalars = [], [], 0, []
        self.prelude = ""  # what stands before the entry: functions, constants
        self.maps, self.directives = [], ""  # tensor maps as lines of the contract; what stands behind the parameters

    def tensor(self, *args, **kwargs):
        self.tensors.append(Tensor(*args, **kwargs))

    def add(self, text):
        self.body += [line.strip() for line in text.strip().split("\n")]

    def address(self, name, bytes_per_thread, register):
        self.add(f"ld.param.b64 {register}, [{name}];\ncvta.to.global.u64 {register}, {register};")
        if bytes_per_thread:
            self.add(f"mad.wide.u32 {register}, %r0, {bytes_per_thread}, {register};")

    def text(self):
        target = "sm_" + self.sm
        lines = ["//@ kiln 1", "//@ op " + ("isa_" + self.name.replace("-", "_"))[:63], "//@ target " + target]
        for t in self.tensors:
            lines.append(f"//@ tensor {t.name} {t.mode} {t.dtype} [{t.count}] strides [1] align 16")
        for name, dtype, value in self.scalars:
            lines.append(f"//@ scalar {name} {dtype} default {value}")
        lines += ["//@ " + m for m in self.maps]
        names = [m.split()[1] for m in self.maps]
        args = [t.name for t in self.tensors] + [s[0] for s in self.scalars] + names
        lines.append(f"//@ step main entry {self.entry()} grid {self.grid} block {self.block} shared {self.shared} {'cluster ' + self.cluster + ' ' if self.cluster else ''}args " + " ".join(args))
        lines += ["//@ end", f"// {self.form}: {self.section}" + (", " + self.note if self.note else "")]
        for t in self.tensors:
            if t.given is not None:
                lines += table("<", t, t.given)
            if t.wanted is not None:
                lines += table(">", t, t.wanted)
            if t.bound:
                lines.append(f"//~ {t.name} {t.bound}")
        lines += [f".version {self.version // 10}.{self.version % 10}", ".target " + target, ".address_size 64", ""]
        if self.shared:
            lines += [".extern .shared .align 128 .b8 pool[];", ""]
        if self.prelude:
            lines += self.prelude.strip().split("\n") + [""]
        types = {"i32": "u32", "f32": "f32", "f64": "f64", "i64": "u64"}
        params = [f"    .param .u64 {t.name}" for t in self.tensors] + [f"    .param .{types[d]} {n}" for n, d, _ in self.scalars]
        params += [f"    .param .align 64 .b8 {n}[128]" for n in names]
        lines += [f".visible .entry {self.entry()}(", ",\n".join(params) + ")" + (" " + self.directives if self.directives else ""), "{"]
        lines.append("    .reg .pred %p<8>; .reg .b16 %h<24>; .reg .b32 %r<64>; .reg .b64 %l<40>; .reg .f32 %f<32>; .reg .f64 %d<24>;")
        return "\n".join(lines + self.indented() + ["}"]) + "\n"

    def indented(self):
        return [line if line.endswith(":") else "    " + line for line in ["mov.u32 %r0, %tid.x;"] + self.body + ["ret;"]]

    def entry(self):
        return "k_" + self.name.replace("-", "_")


def table(mark, t, words):
    digits, lines, row = 2 * BYTES[t.dtype], [], []
    for w in words:
        row.append(w if isinstance(w, str) else format(w, f"0{digits}x"))
        if len(row) * (digits + 1) > 100:
            lines.append(f"//{mark} {t.name} " + " ".join(row))
            row = []
    return lines + ([f"//{mark} {t.name} " + " ".join(row)] if row else [])
