"""Inputs, references and peers of the products in products.py, as torch tensors on the GPU."""
import ctypes

import torch
from torch.nn import functional

import mma_ceiling
from driver import Driver

DEVICE = "cuda"
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "tf32": torch.float32, "f32": torch.float32}
LARGEST_E4M3 = 448.0
BLOCK = 128


def normal(*shape, dtype):
    return torch.randn(*shape, device=DEVICE, dtype=torch.float32).to(dtype)


def exact(a, b):
    """a b in f32, without tf32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.mm(a.float(), b.float())


def wrong(out, want, tolerance):
    """None, or how far the worst element is off, in units of the largest. Of several results, the worst of them."""
    if isinstance(out, list):
        return max((w for w in map(wrong, out, want, [tolerance] * len(out)) if w), default=None)
    error = ((out.float() - want).abs().max() / want.abs().max()).item()
    return None if error < tolerance else error  # NaN is not below it


def sort_out(known, wanted):
    """({name: work}, {name: why it is absent}) of the peers wanted: each is run once."""
    works, absent = {}, {}
    for name in wanted:
        try:
            known[name]()
            torch.cuda.synchronize()
            works[name] = known[name]
        except (RuntimeError, ValueError, NotImplementedError) as why:
            absent[name] = str(why).splitlines()[0][:160]
    return works, absent


class Problem:
    """inputs, `out` (kiln's result, unset; a list of several), `tolerance` of `wrong`."""

    tolerance = 2 ** -7  # one rounding to 16 bits is below 2^-8

    def __init__(self, row):
        self.row, self.want = row, None
        self.m, self.n, self.k = row.mnk

    def reference(self):
        if self.want is None:
            self.want = self.compute()
        return self.want

    def forget(self):
        """The reference's memory, before anything is timed."""
        self.want = None

    def peers(self, wanted):
        return sort_out(self.known(), wanted)


class Gemm(Problem):
    """d = a b; both operands with k contiguous, unless the row's settings have it otherwise."""

    def __init__(self, row):
        super().__init__(row)
        dtype = DTYPES[row.dtype]
        turned = lambda rows, columns, yes: normal(columns, rows, dtype=dtype).t() if yes else normal(rows, columns, dtype=dtype)  # noqa: E731
        self.a = turned(self.m, self.k, row.settings.get("a_major") == "m")
        self.b = turned(self.k, self.n, row.settings.get("b_major", "k") == "k")
        self.out, self.theirs = (torch.empty(self.m, self.n, device=DEVICE, dtype=dtype) for _ in range(2))
        if row.dtype == "tf32":
            self.tolerance = 2 ** -8  # operands of 11 bits, sums of many

    def arguments(self, _):
        return {"a": self.a, "b": self.b, "d": self.out}

    def compute(self):
        return exact(self.a, self.b)

    def known(self):
        torch.backends.cuda.matmul.allow_tf32 = self.row.dtype == "tf32"
        return {"cuBLAS": lambda: torch.mm(self.a, self.b, out=self.theirs), "mma.sync": Ceiling(self.row.flop)}


class Ceiling:
    """Products from registers by mma.sync (mma_ceiling.py): `times` the work of a problem, so that its start and end do not count."""

    WARPS, times = 8, 10

    def __init__(self, flop):
        self.flop, self.function = flop, None

    def __call__(self):
        if self.function is None:
            self.gpu = Driver(torch.cuda.current_device())
            self.function = self.gpu.function(mma_ceiling.ptx_text(), "mma_ceiling")
            self.out = self.gpu.alloc(self.gpu.sms * self.WARPS * 32 * 4)
            self.rounds = ctypes.c_uint32(round(self.times * self.flop / (self.gpu.sms * self.WARPS * mma_ceiling.FLOP_PER_ROUND)))
        self.gpu.launch(self.function, self.gpu.sms, self.WARPS * 32, [self.out, self.rounds])


def kept(row):
    """Names of the outputs that the row's settings want saved for a gradient, which is given them."""
    return tuple(name for name in ("z", "gate", "up") if row.settings.get(name) == "yes")


class GatedMlp(Problem):
    """y = silu(x wg') * (x wu'); weights (inter, hidden). cuBLAS of 2N multiplies by both in one call and leaves it at that. With gate and up kept
    torch.compile runs a forward that has a backward, for which it keeps as much."""

    def __init__(self, row):
        super().__init__(row)
        dtype = DTYPES[row.dtype]
        self.x, self.both = normal(self.m, self.k, dtype=dtype), normal(2 * self.n, self.k, dtype=dtype)
        self.wg, self.wu = self.both[:self.n], self.both[self.n:]
        self.out = [torch.empty(self.m, self.n, device=DEVICE, dtype=dtype) for _ in ("y",) + kept(row)]
        self.wide = torch.empty(self.m, 2 * self.n, device=DEVICE, dtype=dtype)

    def arguments(self, _):
        return {"x": self.x, "wg": self.wg.t(), "wu": self.wu.t(), **dict(zip(("y",) + kept(self.row), self.out))}

    def compute(self):
        gate, up = exact(self.x, self.wg.t()), exact(self.x, self.wu.t())
        return [functional.silu(gate) * up] + ([gate, up] if kept(self.row) else [])

    def known(self):
        compiled = torch.compile(lambda x, wg, wu: functional.silu(functional.linear(x, wg)) * functional.linear(x, wu), dynamic=False)
        wg, wu = (w.detach().requires_grad_(bool(kept(self.row))) for w in (self.wg, self.wu))
        return {"torch.compile": lambda: compiled(self.x, wg, wu),
                "cuBLAS of 2N": lambda: torch.mm(self.x, self.both.t(), out=self.wide)}


class Linear(Problem):
    """y = act(x w' + bias), with z kept if the row says so: then torch.compile's forward has a backward, for which it keeps as much."""

    def __init__(self, row):
        super().__init__(row)
        dtype = DTYPES[row.dtype]
        self.x, self.w, self.bias = normal(self.m, self.k, dtype=dtype), normal(self.n, self.k, dtype=dtype), normal(self.n, dtype=dtype)
        self.out = [torch.empty(self.m, self.n, device=DEVICE, dtype=dtype) for _ in ("y",) + kept(row)]

    def arguments(self, _):
        return {"x": self.x, "w": self.w.t(), "bias": self.bias, **dict(zip(("y",) + kept(self.row), self.out))}

    def activated(self, z):
        return functional.gelu(z, approximate="tanh") if self.row.settings.get("act") == "gelu_tanh" else z

    def compute(self):
        z = exact(self.x, self.w.t()) + self.bias
        return [self.activated(z)] + [z] * len(kept(self.row))

    def known(self):
        compiled = torch.compile(lambda x, w, bias: self.activated(functional.linear(x, w, bias)), dynamic=False)
        w = self.w.detach().requires_grad_(bool(kept(self.row)))
        plain = torch.empty_like(self.out[0])
        return {"torch.compile": lambda: compiled(self.x, w, self.bias), "cuBLAS": lambda: torch.mm(self.x, self.w.t(), out=plain)}


def codes(x, axis=None):
    """(e4m3 codes, scale in f32): one scale, or one of each row (axis 1)."""
    most = x.abs().amax() if axis is None else x.abs().amax(axis, keepdim=True)
    scale = (most / LARGEST_E4M3).clamp_min(1e-12)
    return (x / scale).clamp(-LARGEST_E4M3, LARGEST_E4M3).to(torch.float8_e4m3fn), scale


def block_codes(x, rows):
    """Codes with a scale for each `rows` x 128."""
    m, k = x.shape
    tiles = x.view(m // rows, rows, k // BLOCK, BLOCK)
    scale = (tiles.abs().amax((1, 3), keepdim=True) / LARGEST_E4M3).clamp_min(1e-12)
    q = (tiles / scale).clamp(-LARGEST_E4M3, LARGEST_E4M3).to(torch.float8_e4m3fn)
    return q.view(m, k), scale.view(m // rows, k // BLOCK)


class Fp8Gemm(Problem):
    """d (bf16) of e4m3 codes with scales. The same numbers for every peer, each with scales of its own kind."""

    tolerance = 2 ** -5  # fast: sums are kept with some 13 bits

    def __init__(self, row):
        super().__init__(row)
        self.x, self.w = normal(self.m, self.k, dtype=torch.float32), normal(self.n, self.k, dtype=torch.float32)
        self.out = torch.empty(self.m, self.n, device=DEVICE, dtype=torch.bfloat16)
        if row.scales == "block":
            (self.a, self.sa), (self.b, self.sb) = block_codes(self.x, 1), block_codes(self.w, BLOCK)
        else:
            axis = None if row.scales == "tensor" else 1
            (self.a, self.sa), (self.b, self.sb) = codes(self.x, axis), codes(self.w, axis)

    def arguments(self, _):
        sa, sb = self.sa, self.sb
        if self.row.scales == "row":
            sa, sb = sa.flatten(), sb.flatten()
        elif self.row.scales == "block":
            sb = sb.t()  # (K/128, N/128)
        return {"a": self.a, "b": self.b.t(), "scale_a": sa, "scale_b": sb, "d": self.out}

    def compute(self):
        a, b = self.a.float(), self.b.float()
        if self.row.scales == "block":
            a *= self.sa.repeat_interleave(BLOCK, 1)
            b *= self.sb.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        else:
            a *= self.sa
            b *= self.sb
        return exact(a, b.t())

    def known(self):
        works = {}
        for kind, axis in (("tensor", None), ("row", 1)):
            if not any(name.startswith(kind) for name in self.row.peers()):
                continue
            (a, sa), (b, sb) = codes(self.x, axis), codes(self.w, axis)
            for fast in (True, False):
                works[kind + " fast" * fast] = lambda a=a, b=b, sa=sa, sb=sb, fast=fast: torch._scaled_mm(
                    a, b.t(), scale_a=sa, scale_b=sb.t() if sb.dim() else sb, out_dtype=torch.bfloat16, use_fast_accum=fast)
        del self.x, self.w
        return works


class Gradient(Problem):
    """Gradients of a forward formula `y(**inputs)` of torch, which gives the reference in f32 as well; a weight is (N, K), as torch has it."""

    def __init__(self, row):
        super().__init__(row)
        self.inputs = self.make(DTYPES[row.dtype])
        self.dy = normal(self.m, self.n, dtype=DTYPES[row.dtype])
        self.out = [torch.empty_like(x) for x in self.inputs.values()]
        for x in self.inputs.values():
            x.requires_grad_()
        self.weight = normal(self.n, self.k, dtype=DTYPES[row.dtype])

    def arguments(self, _):
        kiln = lambda name, t: t.detach().t() if name.startswith("w") else t.detach()  # noqa: E731
        given = {name: kiln(name, t) for name, t in self.inputs.items()}
        saved = dict(zip(kept(self.row), self.saved())) if kept(self.row) else {}
        return {**given, **saved, "dy": self.dy, **{"d" + name: kiln(name, t) for name, t in zip(self.inputs, self.out)}}

    def compute(self):
        torch.backends.cuda.matmul.allow_tf32 = False
        inputs = {name: t.detach().float().requires_grad_() for name, t in self.inputs.items()}
        return list(torch.autograd.grad(self.y(**inputs), list(inputs.values()), self.dy.float()))

    def known(self):
        def backward(function):
            kept = []  # the forward run, at the first call

            def work():
                kept[:] = kept or [function(**self.inputs)]
                return torch.autograd.grad(kept[0], list(self.inputs.values()), self.dy, retain_graph=True)

            return work

        import torch._functorch.config as functorch
        functorch.donated_buffer = False  # a backward run that is repeated keeps what the forward run left
        return {"torch": backward(self.y), "torch.compile": backward(torch.compile(self.y, dynamic=False)), "cuBLAS": self.products()}

    def products(self):
        """The products of the gradient alone, one call of cuBLAS each."""
        x, dy = self.inputs["x"].detach(), self.dy
        dx, dw = torch.empty_like(x), torch.empty_like(self.weight)

        def work():
            for _ in range(self.row.flop // (4 * self.m * self.n * self.k)):
                torch.mm(dy, self.weight, out=dx)
                torch.mm(dy.t(), x, out=dw)

        return work


class LinearGradient(Gradient):
    """Of y = act(x w' + bias)."""

    def make(self, dtype):
        return {"x": normal(self.m, self.k, dtype=dtype), "w": normal(self.n, self.k, dtype=dtype) * self.k ** -0.5, "bias": normal(self.n, dtype=dtype)}

    def saved(self):
        return [functional.linear(*self.inputs.values()).detach()]

    def y(self, x, w, bias):
        y = functional.linear(x, w, bias)
        return functional.gelu(y, approximate="tanh") if self.row.settings.get("act") == "gelu_tanh" else y


class GemmGradient(Gradient):
    """Of d = a b, whose names are others."""

    def make(self, dtype):
        return {"x": normal(self.m, self.k, dtype=dtype), "w": normal(self.n, self.k, dtype=dtype)}

    def y(self, x, w):
        return functional.linear(x, w)

    def arguments(self, contract):
        names = {"x": "a", "w": "b", "dy": "dd", "dx": "da", "dw": "db"}
        return {names[name]: t for name, t in super().arguments(contract).items()}


class GatedMlpGradient(Gradient):
    """Of y = silu(x wg') * (x wu')."""

    tolerance = 2 ** -6  # products of adjoints that were rounded to 16 bits

    def make(self, dtype):
        weight = lambda: normal(self.n, self.k, dtype=dtype) * self.k ** -0.5  # noqa: E731
        return {"x": normal(self.m, self.k, dtype=dtype), "wg": weight(), "wu": weight()}

    def saved(self):
        x, *weights = self.inputs.values()
        return [functional.linear(x, w).detach() for w in weights]

    def y(self, x, wg, wu):
        return functional.silu(functional.linear(x, wg)) * functional.linear(x, wu)


PROBLEMS = {
    "gemm": Gemm, "linear": Linear, "gated_mlp": GatedMlp, "fp8_gemm": Fp8Gemm,
    "gemm.grad": GemmGradient, "linear.grad": LinearGradient, "gated_mlp.grad": GatedMlpGradient,
}
