"""kiln.torch and kiln.nn with torch: on the GPU where there is one (called from tests/gpu.sh), else their kernels on the simulator.

    KILN_BUILD=build PYTHONPATH=runtime/python python3 -m unittest discover -s tests/python -p 'test_torch.py'

Values and gradients of every op are compared with plain mathematics in float64, within the tolerances of the systems that kiln covers.
"""
import concurrent.futures
import os
import re
import statistics
import sys
import time
import unittest

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "runtime", "python"), os.path.dirname(os.path.abspath(__file__))]
try:
    import torch
except ImportError:
    if __name__ == "__main__":
        print("skipped: torch is not installed")
        sys.exit(77)
    raise unittest.SkipTest("torch is not installed")

import kiln  # noqa: E402
import kiln.nn  # noqa: E402
import kiln.torch as kt  # noqa: E402
from kiln import ops  # noqa: E402
from kiln.torch import _core, _fp8, _gradients, _math  # noqa: E402
from op_cases import cases, differentiable  # noqa: E402

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# (relative, absolute); close() says where the latter grows with the largest value
TOLERANCE = {torch.float32: (1.3e-6, 1e-5), torch.float16: (1e-3, 1e-5), torch.bfloat16: (1.6e-2, 2e-5)}
on_gpu = unittest.skipUnless(GPU, "no GPU")


def arguments(op, tensors, keywords, save=None):
    """In the order of torch.ops.kiln.NAME."""
    flat = list(tensors) + [None] * (len(op.inputs) - len(tensors))
    rest = [keywords.get(s.name, s.default) for s in op.scalars] + [keywords.get(s, v[0]) for s, v in op.settings.items()]
    return flat + rest + ([save] if save is not None and any(t.saved for t in op.outputs) else [])


def wide(x):
    return x.double() if x is not None and x.is_floating_point() else x


def listed(out):
    return list(out) if isinstance(out, tuple) else [out]


def reference(name, tensors, keywords, dys, wanted):
    """(outputs, gradients of the inputs at `wanted`) in float64, from what the kernels are given."""
    op = ops.FORWARD[name]
    leaves = [wide(x).detach().cpu() if torch.is_tensor(x) else x for x in tensors]
    if name == "add_rms_norm":  # the sum is rounded, and the norm reads it back
        rounded = (tensors[0].float() + tensors[1].float()).to(tensors[0].dtype)
        leaves[0], leaves[1] = wide(rounded).detach().cpu(), torch.zeros(rounded.shape, dtype=torch.float64)
    for i in wanted:
        leaves[i] = leaves[i].clone().requires_grad_()
    outs = getattr(_math, name)(*arguments(op, leaves, keywords))
    outs = [y for t, y in zip(op.outputs, outs) if not t.saved and y is not None]
    dys = [dy.double().cpu() for dy in dys]
    grads = torch.autograd.grad(outs, [leaves[i] for i in wanted], dys, allow_unused=True)
    return [y.detach() for y in outs], [g if g is not None else torch.zeros_like(leaves[i]) for i, g in zip(wanted, grads)]


def fresh(tensors, wanted):
    """The tensors as leaves of a new graph, with their strides."""
    out = []
    for i, x in enumerate(tensors):
        if torch.is_tensor(x):
            x = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).copy_(x) if i in wanted and _dense(x) else x.detach()
            x = x.requires_grad_() if i in wanted else x
        out.append(x)
    return out


def _dense(x):
    return torch.empty_like(x).stride() == x.stride()


def random_like(outs, seed=11):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.device, y.dtype) for y in outs]


class Comparison(unittest.TestCase):
    def close(self, got, want, dtype, what, rows=1, rounded=False):
        relative, absolute = TOLERANCE[dtype]
        eps = torch.finfo(dtype).eps
        peak = float(want.abs().max()) if want.numel() else 0.0
        if rows > 1:  # a sum over rows: as its sources bound it
            absolute *= 3 * rows * want.shape[-1] ** 0.5
        absolute = max(absolute, (4 if rounded else 1) * eps * peak)
        got = got.double().cpu()
        self.assertEqual(got.shape, want.shape, what)
        bad = (got - want).abs() > relative * want.abs() + absolute
        self.assertFalse(bool((bad | (got.isnan() != want.isnan())).any()),
                         "%s: %d of %d differ, by up to %g (largest %g)" % (what, int(bad.sum()), want.numel(),
                                                                         float((got - want).abs().max()), peak))


class Values(Comparison):
    """Forward and backward of every op, dtype and layout against float64."""

    def run_gpu(self, name, tensors, keywords, wanted):
        leaves = fresh(tensors, wanted)
        outs = listed(getattr(kt, name)(*leaves, **keywords))
        with torch.no_grad():
            short = listed(getattr(kt, name)(*leaves, **keywords))
        for a, b in zip(outs, short):  # another variant: what the backward reads is not written
            relative, absolute = TOLERANCE[a.dtype]
            torch.testing.assert_close(a.detach(), b, rtol=relative, atol=absolute)
        dys = random_like(outs)
        return outs, dys, torch.autograd.grad(outs, [leaves[i] for i in wanted], dys)

    def run_simulated(self, name, tensors, keywords, wanted):
        op = ops.FORWARD[name]
        function = _gradients.function(op, SIMULATOR.launch(op), SIMULATOR.launch(ops.GRADIENT[name]))
        leaves = fresh(tensors, wanted)
        outs = [y for y in function.apply(*arguments(op, leaves, keywords)) if y is not None]
        dys = random_like(outs)
        return outs, dys, torch.autograd.grad(outs, [leaves[i] for i in wanted], dys)

    def warm(self, every):
        """Makes the plans of all cases at once: on a machine of many cores, emitting their kernels takes the time of this test."""
        def one(case):
            name, _, tensors, keywords = case
            try:
                self.run_gpu(name, tensors, keywords, differentiable(ops.FORWARD[name], tensors))
            except kiln.KilnError:
                pass  # compare() comes to it, and says so
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(one, every))

    def compare(self, dtype):
        if GPU:
            self.warm(cases(DEVICE, dtype))
        for name, word, tensors, keywords in cases(DEVICE, dtype):
            with self.subTest(op=name, case=word, dtype=str(dtype)):
                wanted = differentiable(ops.FORWARD[name], tensors)
                outs, dys, grads = (self.run_gpu if GPU else self.run_simulated)(name, tensors, keywords, wanted)
                want, want_grads = reference(name, tensors, keywords, dys, wanted)
                rounded = name in ("add_rms_norm", "softmax")
                for i, (y, w) in enumerate(zip(outs, want)):
                    self.assertEqual(y.dtype, dtype)
                    self.close(y, w, dtype, "output %d" % i, rounded=rounded)
                for i, g, w in zip(wanted, grads, want_grads):
                    x = tensors[i]
                    rows = tensors[0].numel() // tensors[0].shape[-1] if x.numel() < tensors[0].numel() and len(outs) == 1 else 1
                    self.assertEqual((g.dtype, g.shape), (x.dtype, x.shape))
                    self.close(g.reshape(w.shape), w, x.dtype if x.dtype == dtype else dtype, "gradient of input %d" % i, rows, True)

    def test_f32(self):
        self.compare(torch.float32)

    def test_f16(self):
        self.compare(torch.float16)

    def test_bf16(self):
        self.compare(torch.bfloat16)

    def test_some_gradients(self):
        """An output that nobody used, an input that needs no gradient, and the gradient of two inputs at once."""
        op = ops.FORWARD["add_rms_norm"]
        x, r, w = (torch.randn(2, 5, 24, device=DEVICE, requires_grad=True) for _ in range(3))
        w = w.detach()[0, 0]
        run = kt.add_rms_norm if GPU else lambda *a: _gradients.function(op, SIMULATOR.launch(op), SIMULATOR.launch(ops.GRADIENT[op.name])).apply(*a, 1e-6)
        y, h = run(x, r, w)
        dy = torch.randn(2, 5, 24, device=DEVICE)
        for used, dys in ((y, [dy, torch.zeros_like(dy)]), (h, [torch.zeros_like(dy), dy])):
            dx, dr = torch.autograd.grad(used, [x, r], dy, retain_graph=True)
            _, want = reference("add_rms_norm", (x, r, w), {}, dys, [0, 1])
            self.close(dx, want[0], torch.float32, "dx", rounded=True)
            self.assertTrue(torch.equal(dx, dr))
        (only,) = torch.autograd.grad(y, [r], dy, create_graph=True)
        with self.assertRaises(RuntimeError):  # once differentiable
            torch.autograd.grad(only.sum(), [x])

    def test_special_rows(self):
        """Rows of nothing; gradients with stride 0, as sum() makes them."""
        launch = SIMULATOR.launch(ops.FORWARD["rms_norm"]) if not GPU else _core.launcher(ops.FORWARD["rms_norm"])
        back = SIMULATOR.launch(ops.GRADIENT["rms_norm"]) if not GPU else _core.launcher(ops.GRADIENT["rms_norm"])
        x, w = torch.randn(0, 24, device=DEVICE), torch.randn(24, device=DEVICE)
        y, rstd = launch(x, w, 1e-6, True)
        self.assertEqual((y.shape, rstd.shape), ((0, 24), (0,)))
        dx, dw = back(y, x, w, rstd, 1e-6, True, True)
        self.assertEqual(dx.shape, (0, 24))
        self.assertEqual(float(dw.abs().max()), 0.0)
        x = torch.randn(3, 5, 24, device=DEVICE)
        y, rstd = launch(x, w, 1e-6, True)
        one = torch.ones((), device=DEVICE).expand(3, 5, 24)
        dx, dw = back(one, x, w, rstd, 1e-6, True, True)
        _, (want_x, want_w) = reference("rms_norm", (x, w), {}, [one], [0, 1])
        self.close(dx, want_x, torch.float32, "dx")
        self.close(dw, want_w, torch.float32, "dw", rows=15)

    def test_unaligned(self):
        """A base that is not a multiple of 16 bytes gets a plan of its own, before and after an aligned one."""
        launch = SIMULATOR.launch(ops.FORWARD["rms_norm"]) if not GPU else _core.launcher(ops.FORWARD["rms_norm"])
        memory = torch.randn(5 * 64 + 8, device=DEVICE).bfloat16()
        for first in (0, 1, 4, 0):
            x = memory[first:first + 320].view(5, 64)
            y, _ = launch(x, None, 1e-6, False)
            self.close(y, _math.rms_norm(wide(x).cpu(), None, 1e-6)[0], torch.bfloat16, "first element %d" % first)

    def test_devices_are_looked_at_in_each_call(self):
        """A plan that is kept says nothing of where the tensors of the next call are."""
        class Elsewhere(torch.Tensor):
            device = property(lambda _: torch.device("cuda", 5))

            def get_device(self):
                return 5

        launch = SIMULATOR.launch(ops.FORWARD["rms_norm"]) if not GPU else _core.launcher(ops.FORWARD["rms_norm"])
        x, w = torch.randn(4, 24, device=DEVICE), torch.randn(24, device=DEVICE)
        away = w.cpu() if GPU else w.as_subclass(Elsewhere)
        launch(x, w, 1e-6, False)
        with self.assertRaises(kiln.BadPointer) as caught:
            launch(x, away, 1e-6, False)
        self.assertEqual(caught.exception.tensor, "w")
        kt._products.launch_linear(x, w.expand(24, 24), None, "none")
        with self.assertRaises(kiln.BadPointer) as caught:
            kt._products.launch_linear(x, away.expand(24, 24), None, "none")
        self.assertEqual(caught.exception.tensor, "w")
        q, scale = kt._fp8.launch_quantize(x, None, "e4m3", "row")
        kt._fp8.launch_dequantize(q, scale, "e4m3", "row", torch.float32)
        with self.assertRaises(kiln.BadPointer) as caught:
            kt._fp8.launch_dequantize(q, scale.cpu() if GPU else scale.as_subclass(Elsewhere), "e4m3", "row", torch.float32)
        self.assertEqual(caught.exception.tensor, "scale")

    def test_signs_beside_the_memory(self):
        """torch negates z.conj().imag by a bit of the tensor, which its memory does not show."""
        launch = SIMULATOR.launch(ops.FORWARD["rms_norm"]) if not GPU else _core.launcher(ops.FORWARD["rms_norm"])
        back = SIMULATOR.launch(ops.GRADIENT["rms_norm"]) if not GPU else _core.launcher(ops.GRADIENT["rms_norm"])
        negated = lambda: torch.view_as_complex(torch.randn(4, 24, 2, device=DEVICE)).conj().imag  # noqa: E731
        x, dy, w = negated(), negated(), torch.randn(24, device=DEVICE)
        plain_x, plain_dy = x.resolve_neg().contiguous(), dy.resolve_neg().contiguous()
        self.assertTrue(x.is_neg() and not plain_x.is_neg())
        torch.testing.assert_close(launch(x, w, 1e-6, False)[0], launch(plain_x, w, 1e-6, False)[0])
        for got, want in zip(back(dy, x, w, None, 1e-6, True, True), back(plain_dy, plain_x, w, None, 1e-6, True, True)):
            torch.testing.assert_close(got, want)
        w = torch.randn(16, 24, device=DEVICE)
        torch.testing.assert_close(kt._products.launch_linear(x, w, None, "none"), kt._products.launch_linear(plain_x, w, None, "none"))
        for got, want in zip(kt._fp8.launch_quantize(x, None, "e4m3", "row"), kt._fp8.launch_quantize(plain_x, None, "e4m3", "row")):
            torch.testing.assert_close(got.float(), want.float())
        with self.assertRaises(kiln.BadStride):
            kiln.Plan("sim:sm_80", "rms_norm", {"x": x, "y": plain_x})

    def test_in_place(self):
        op = ops.FORWARD["rope"]
        q, k = torch.randn(1, 2, 6, 16, device=DEVICE), torch.randn(1, 2, 4, 16, device=DEVICE)
        cos, sin = kt.axial_rope_table(100, 2, 3, 16, device=DEVICE)
        want = [w.to(DEVICE) for w in kt.rope(q.cpu(), k.cpu(), cos.cpu(), sin.cpu(), table="pair")]
        if GPU:
            got = kt.rope_(q, k, cos, sin, table="pair")
        else:
            got = SIMULATOR.launch(op)(*arguments(op, (q, k, cos, sin), {"table": "pair"}), True)
        self.assertIs(got[0], q)
        torch.testing.assert_close(q, want[0])
        torch.testing.assert_close(k, want[1])

    def test_plans_are_kept(self):
        launch = SIMULATOR.launch(ops.FORWARD["gated"]) if not GPU else _core.launcher(ops.FORWARD["gated"])
        kiln.clear()
        make = lambda *shape, dtype=torch.float32: torch.randn(*shape, device=DEVICE).to(dtype)  # noqa: E731
        for count, (gate, up, act) in enumerate([
                (make(4, 32), make(4, 32), "silu"), (make(4, 32), make(4, 32), "gelu"), (make(5, 32), make(5, 32), "silu"),
                (make(32, 4).t(), make(4, 32), "silu"), (make(4, 32, dtype=torch.float16), make(4, 32, dtype=torch.float16), "silu")], 1):
            for _ in range(3):
                launch(gate, up, act)
            self.assertEqual(kiln.cache()["plans"], count)
        limit = kiln.cache()["limit"]
        self.assertEqual(kiln.cache(limit=2)["plans"], 2)
        kiln.cache(limit=limit)
        kiln.clear()
        self.assertEqual(kiln.cache()["plans"], 0)


class Known(unittest.TestCase):
    """Worked values of the systems that kiln covers, by plain mathematics and by the kernels."""

    def both(self, name, tensors, keywords, *want):
        op, results = ops.FORWARD[name], []
        results.append(listed(getattr(kt, name)(*tensors, **keywords)))
        if GPU:
            results.append(listed(getattr(kt, name)(*[x.cuda() if x is not None else None for x in tensors], **keywords)))
        else:
            results.append([y for t, y in zip(op.outputs, SIMULATOR.launch(op)(*arguments(op, tensors, keywords, False))) if not t.saved])
        for outs in results:
            for y, w in zip(outs, want):
                torch.testing.assert_close(y.cpu().flatten(), torch.tensor(w), rtol=0, atol=2e-6)

    def test_values(self):
        x, w = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([1, 0.5, 2, 1])
        self.both("rms_norm", (x, w), {}, [.365148, .365148, 2.190891, 1.460593])
        q = x.view(1, 1, 1, 4)
        angle = torch.tensor([[0.5, 0.5, 0.1, 0.1]])
        self.both("rope", (q, None, angle.cos(), angle.sin()), {}, [-.081269, 2.234591, 2.585679, 4.279517])
        angle = torch.tensor([[0.5, 0.1]])
        self.both("rms_norm_rope", (torch.arange(1.0, 9).view(1, 1, 8), torch.ones(8), angle.cos(), angle.sin()), {},
                  [-.111034, .315001, .616302, .827701, .204353, 1.024081, 1.691213, 1.694941])
        one, two = torch.tensor([[1.0]]), torch.tensor([[2.0]])
        self.both("gated", (one, two), {}, [1.462117])
        self.both("gated", (one, two), {"act": "gelu"}, [1.682689])
        scale, shift = torch.full((1, 4), 0.5), torch.full((1, 4), 0.25)
        self.both("layer_norm_adaln", (x, scale, shift), {}, [-1.762460, -.420820, .920821, 2.262460])
        self.both("rms_norm_adaln", (x, scale, shift), {}, [.797723, 1.345445, 1.893168, 2.440890])

    def test_gradients(self):
        x = torch.tensor([[1.0, 2, 3, 4]], device=DEVICE, requires_grad=True)
        w = torch.tensor([1, 0.5, 2, 1], device=DEVICE, requires_grad=True)
        kt.rms_norm(x, w)[0, 0].backward()
        torch.testing.assert_close(x.grad.cpu().flatten(), torch.tensor([.352977, -.024343, -.036515, -.048686]), rtol=0, atol=2e-6)
        torch.testing.assert_close(w.grad.cpu(), torch.tensor([.365148, 0, 0, 0]), rtol=0, atol=2e-6)
        angle = torch.tensor([[0.5, 0.1]], device=DEVICE)
        q = torch.tensor([1.0, 2, 3, 4], device=DEVICE).view(1, 1, 1, 4).requires_grad_()
        y = kt.rope(q, None, angle.cos(), angle.sin(), table="pair").flatten()
        (y[0] + y[3]).backward()
        torch.testing.assert_close(q.grad.cpu().flatten(), torch.tensor([.877583, -.479426, .099833, .995004]), rtol=0, atol=2e-6)


class Eight(Comparison):
    """quantize_fp8 and dequantize_fp8."""

    @staticmethod
    def quantize(x, scale, format, per):
        if GPU:
            return kt.quantize_fp8(x, scale, format=format, per="tensor" if per == "given" else per)
        return _fp8.launch_quantize(x, scale, format, per)

    @staticmethod
    def dequantize(q, scale, format, per, dtype):
        return kt.dequantize_fp8(q, scale, per=per, dtype=dtype) if GPU else _fp8.launch_dequantize(q, scale, format, per, dtype)

    def test_codes(self):
        device = "cuda" if GPU else "cpu"
        x = torch.randn(3, 200, 260, device=device).bfloat16() * torch.logspace(-3, 3, 260, device=device).bfloat16()
        x[1, 7] = 0
        for format in ("e4m3", "e5m2", "u8"):
            for per in ("tensor", "row", "column", "block1", "block128"):
                with self.subTest(format=format, per=per):
                    q, scale = self.quantize(x, None, format, per)
                    want, want_scale = _fp8.quantize(x.cpu(), None, format, per)
                    torch.testing.assert_close(scale.cpu(), want_scale, rtol=1e-6, atol=0)
                    self.assertEqual((q.dtype, q.shape), (_fp8.CODES[format], x.shape))
                    step = (q.cpu().view(torch.uint8).int() - want.view(torch.uint8).int()).abs()
                    self.assertLessEqual(int(step.max()), 1)  # the reciprocal of a scale is rounded, and so may a code be
                    self.assertLess(float((step > 0).float().mean()), 0.02)
                    y = self.dequantize(q, scale, format, per, torch.float32)
                    torch.testing.assert_close(y.cpu(), _fp8.dequantize(q.cpu(), scale.cpu(), format, per, torch.float32), rtol=1e-6 if
                                               format != "u8" else 1e-3, atol=0)
        q, scale = self.quantize(x, torch.tensor(0.25, device=device), "e4m3", "given")
        self.assertEqual(float(scale), 0.25)
        torch.testing.assert_close(q.cpu().float(), (x.cpu().float() * 4).clamp(-448, 448).to(torch.float8_e4m3fn).float(), rtol=0, atol=0)
        with self.assertRaises(kiln.BadSetting):
            kt.quantize_fp8(x, per="head")
        with self.assertRaises(kiln.BadDtype):
            kt.dequantize_fp8(x, scale)

    def test_known(self):
        x = torch.tensor([-3, 0, 1, 2.5, 1.5], device="cuda" if GPU else "cpu")
        q, scale = self.quantize(x, None, "u8", "tensor")
        self.assertEqual(q.tolist(), [1, 128, 170, 234, 192])
        self.assertAlmostEqual(float(scale), 149.3333, places=3)
        self.assertEqual(self.dequantize(q, scale, "u8", "tensor", torch.float16).tolist(), [-3, 0, .9921875, 2.50390625, 1.51171875])

    def test_opcheck_and_compile(self):
        x = torch.randn(4, 260, device="cuda" if GPU else "cpu")
        for per in ("tensor", "block1"):
            torch.library.opcheck(torch.ops.kiln.quantize_fp8.default, (x, None, "e4m3", per))
        q, scale = kt.quantize_fp8(x)
        u8 = torch.ops.kiln.quantize_fp8(x, None, "u8", "tensor")  # (opcheck itself does arithmetic on inputs, which torch lacks for fp8)
        torch.library.opcheck(torch.ops.kiln.dequantize_fp8.default, u8 + ("u8", "tensor", torch.float16))
        torch._dynamo.reset()
        both = torch.compile(lambda v: kt.dequantize_fp8(*kt.quantize_fp8(v), dtype=v.dtype), fullgraph=True,
                             backend="inductor" if GPU else "aot_eager")
        torch.testing.assert_close(both(x), kt.dequantize_fp8(q, scale, dtype=x.dtype))


class Library(Comparison):
    """torch.library: opcheck, torch.compile, torch.amp; on the GPU if there is one, and on the CPU."""

    def devices(self):
        return ["cpu", "cuda"] if GPU else ["cpu"]

    def test_opcheck(self):
        seen = set()
        for device in self.devices():
            for name, word, tensors, keywords in cases(device, torch.float32):
                if device == "cuda" and name in seen and word != "both weights":
                    continue  # one of each on the GPU
                seen |= {name} if device == "cuda" else set()
                op = ops.FORWARD[name]
                leaves = fresh(tensors, differentiable(op, tensors))
                with self.subTest(op=name, case=word, device=device):
                    torch.library.opcheck(getattr(torch.ops.kiln, name).default, tuple(arguments(op, leaves, keywords, True)))
        q, cos = torch.randn(1, 1, 4, 8), torch.randn(4, 8)
        torch.library.opcheck(torch.ops.kiln.rope_.default, (q, None, cos, cos, 0, ops.ALL_ROWS, ops.ALL_ROWS, "halves", "channel"))

    def test_gradients_without_a_gpu(self):
        """The public functions (autograd of plain mathematics) and the custom ops on the CPU give the same."""
        for name, word, tensors, keywords in cases("cpu", torch.float64):
            op = ops.FORWARD[name]
            wanted = differentiable(op, tensors)
            with self.subTest(op=name, case=word):
                results = []
                for call in (lambda *x: listed(getattr(kt, name)(*x, **keywords)), lambda *x: self.through_library(op, x, keywords)):
                    leaves = fresh(tensors, wanted)
                    outs = call(*leaves)
                    results.append([y.detach() for y in outs] + list(torch.autograd.grad(outs, [leaves[i] for i in wanted], random_like(outs))))
                for a, b in zip(*results):
                    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    @staticmethod
    def through_library(op, tensors, keywords):
        outs = listed(getattr(torch.ops.kiln, op.name).default(*arguments(op, tensors, keywords, True)))
        return [y for t, y in zip(op.outputs, outs) if not t.saved and not (t.optional and y.numel() == 0)]

    def test_compile(self):
        device = self.devices()[-1]
        inductor = (("rms_norm", "weight"), ("add_rms_norm", ""), ("rope", "channel, neighbours"), ("gated", "silu"))  # the others take its time
        chosen = ("weight", "both weights", "affine", "", "channel, neighbours", "halves", "silu", "mask, scale", "no weight", "first rows")
        for name, word, tensors, keywords in cases(device, torch.float32):
            if word not in chosen:
                continue
            with self.subTest(op=name, case=word):
                torch._dynamo.reset()
                wanted = differentiable(ops.FORWARD[name], tensors)

                def both(*x):
                    outs = listed(getattr(kt, name)(*[t * 1.0 if i in wanted else t for i, t in enumerate(x)], **keywords))
                    return tuple(y * 2.0 for y in outs)

                results = []
                for f in (both, torch.compile(both, fullgraph=True, backend="inductor" if GPU and (name, word) in inductor else
                                              "aot_eager")):
                    leaves = fresh(tensors, wanted)
                    outs = f(*leaves)
                    results.append([y.detach() for y in outs] + list(torch.autograd.grad(outs, [leaves[i] for i in wanted], random_like(outs))))
                for a, b in zip(*results):
                    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)

    def test_autocast(self):
        device = self.devices()[-1]
        x, w = torch.randn(4, 32, device=device), torch.randn(32, device=device, requires_grad=True)
        linear = torch.nn.Linear(32, 32, device=device)
        with torch.autocast(device, torch.bfloat16):
            h = linear(x)
            self.assertEqual(h.dtype, torch.bfloat16)
            y = kt.rms_norm(h, w)
            self.assertEqual(y.dtype, torch.bfloat16)
            if GPU:
                z = kt.gated(x, h)  # the widest of the two
                self.assertEqual(z.dtype, torch.float32)
        y.float().sum().backward()
        self.assertEqual(w.grad.dtype, torch.float32)
        self.assertEqual(linear.weight.grad.dtype, torch.float32)

    def test_modules(self):
        device = self.devices()[-1]
        like = dict(device=device)
        nn, q, k, x = kiln.nn, torch.randn(2, 3, 6, 16, **like), torch.randn(2, 3, 6, 16, **like), torch.randn(2, 6, 48, **like)
        cos, sin = kt.axial_rope_table(100, 2, 3, 16, **like)
        s = torch.randn(2, 1, 48, **like)
        for module, given in [
                (nn.RMSNorm(48, **like), (x,)), (nn.RMSNorm(48, elementwise_affine=False), (x, s)), (nn.RMSNorm2((48, 16), **like), (x, x[..., :16])),
                (nn.AddRMSNorm(48, **like), (x, x)), (nn.LayerNorm(48, **like), (x,)), (nn.LayerNorm(48, bias=False, **like), (x,)),
                (nn.LayerNormAdaLN(), (x, s, s)), (nn.RMSNormAdaLN(), (x, s, s)), (nn.L2Normalize(), (x,)), (nn.L2Normalize2(), (x, x)),
                (nn.HeadLayerNorm(), (q, k)), (nn.RoPE(table="pair"), (q, k, cos, sin)), (nn.AxialRoPE(100, 2, 3, 16, **like), (q, k)),
                (nn.RoPE(table="pair", heads_second=False), (q.transpose(1, 2), None, cos, sin)), (nn.LNRoPE(table="pair"), (q, k, cos, sin)),
                (nn.RMSNormRoPE(48, **like), (x, cos, sin)), (nn.Gated(), (x,)),
                (nn.DequantizeFP8(dtype=torch.float32), nn.QuantizeFP8()(x)), (nn.Gated("gelu", interleaved=True), (x,)), (nn.Softmax(0.5), (x,))]:
            with self.subTest(module=str(module)):
                outs = listed(module(*given))
                self.assertTrue(all(y.isfinite().all() for y in outs))
                plain = listed(module.cpu()(*[g.cpu() if g is not None else None for g in given]))
                for a, b in zip(outs, plain):
                    torch.testing.assert_close(a.cpu(), b, rtol=2e-5, atol=2e-5)
        self.assertEqual(nn.Gated()(x).shape, (2, 6, 24))

    def test_masks_broadcast(self):
        device = self.devices()[-1]
        x, mask = torch.randn(2, 3, 8, device=device), torch.rand(2, 1, 8, device=device) < 0.5
        want = torch.softmax(x.masked_fill(mask, -torch.inf), -1).nan_to_num(0.0)
        torch.testing.assert_close(kt.softmax(x, mask), want, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(kt.softmax(x, mask[0, 0]), torch.softmax(x.masked_fill(mask[0, 0], -torch.inf), -1).nan_to_num(0.0), rtol=1e-5, atol=1e-6)

    def test_errors(self):
        device = self.devices()[-1]
        x = torch.randn(4, 32, device=device)
        with self.assertRaises(kiln.BadDtype) as caught:
            kt.gated(x, x.half())
        self.assertEqual((caught.exception.tensor, caught.exception.expected), ("up", "torch.float32, as tensor gate"))
        cos = torch.ones(3, 8, device=device)
        with self.assertRaises(kiln.BadSize) as caught:
            kt.rope(x.view(1, 1, 4, 32), None, cos, cos)
        self.assertEqual(caught.exception.tensor, "cos")
        with self.assertRaises(kiln.BadSize):
            kt.rope(x.view(1, 1, 4, 32)[:, :, :2], None, cos, cos, pos=2)
        with self.assertRaises(kiln.BadCall):
            kt.rope_(x.view(1, 1, 4, 32).requires_grad_(), None, cos, cos)
        for strange in (x + 0j, x.int(), x > 0):  # plain mathematics dropped the imaginary part
            for call in (lambda: kt.rms_norm(strange), lambda: kt.softmax(strange), lambda: kt.gated(strange, strange)):
                with self.assertRaises(kiln.BadDtype):
                    call()
            with self.assertRaises(kiln.BadDtype) as caught:
                kt.quantize_fp8(strange)
            self.assertEqual(caught.exception.tensor, "x")
        codes, scale = kt.quantize_fp8(x)
        with self.assertRaises(kiln.BadDtype):
            kt.dequantize_fp8(codes, scale, dtype=torch.int8)
        with self.assertRaises(kiln.MissingArg):
            kt.dequantize_fp8(codes, None)
        table = torch.ones(4, 16, device=device)
        for words in ({"pairs": "no_such_word"}, {"table": "no_such_word"}):
            with self.assertRaises(kiln.BadSetting) as caught:
                kt.rope(x.view(1, 1, 4, 32), None, table, table, **words)
            self.assertEqual(caught.exception.actual, '"no_such_word"')


class OnGpu(Comparison):
    """What only a GPU shows: streams, graphs, and the time of a call."""

    @on_gpu
    def test_errors_of_launches(self):
        x = torch.randn(4, 32, device="cuda")
        with self.assertRaises(kiln.BadSize) as caught:
            kt.rms_norm(x, torch.ones(31, device="cuda"))
        self.assertEqual(caught.exception.tensor, "w")
        with self.assertRaises(kiln.BadPointer):
            kt.rms_norm(x, torch.ones(32))
        with self.assertRaises(kiln.BadDtype) as caught:
            kt.rms_norm(x.double())
        self.assertEqual((caught.exception.tensor, caught.exception.actual), ("x", "torch.float64"))

    @on_gpu
    def test_side_stream(self):
        x = torch.randn(4096, 4096, device="cuda")
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(20_000_000)  # what comes before on this stream is waited for
            x.fill_(2.0)
            y = kt.rms_norm(x)
        stream.synchronize()
        self.assertTrue(torch.allclose(y, torch.ones_like(y)))

    @on_gpu
    def test_graph(self):
        x, w = torch.randn(64, 1024, device="cuda"), torch.randn(1024, device="cuda", requires_grad=True)
        for _ in range(2):  # plans are made before the capture
            torch.autograd.grad(kt.rms_norm(x, w).sum(), w)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = kt.rms_norm(x, w)
            (dw,) = torch.autograd.grad(y.sum(), w)
        x.copy_(torch.randn(64, 1024, device="cuda"))
        graph.replay()
        torch.cuda.synchronize()
        want, grads = reference("rms_norm", (x, w), {}, [torch.ones_like(y)], [1])
        self.close(y.detach(), want[0], torch.float32, "y")
        self.close(dw, grads[0], torch.float32, "dw", rows=64)

    @on_gpu
    def test_low_level_plan(self):
        x = torch.randn(16, 512, device="cuda", dtype=torch.bfloat16)
        y = torch.empty_like(x)
        plan = kiln.Plan(x.device, "rms_norm", {"x": x, "y": y}, scalars={"eps": 1e-6})
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            plan()
        stream.synchronize()
        self.close(y, _math.rms_norm(wide(x).cpu(), None, 1e-6)[0], torch.bfloat16, "y")
        self.assertGreater(plan.steps[0].registers, 0)

    @on_gpu
    def test_cpu_time(self):
        """A cached call that needs no gradient costs the CPU at most torch's add_ and 8 us more."""
        x = torch.randn(8, 1024, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(1024, device="cuda", dtype=torch.bfloat16)
        q, cos = torch.randn(1, 4, 16, 128, device="cuda", dtype=torch.bfloat16), torch.randn(16, 128, device="cuda")
        add = cpu_time(lambda: x.add_(1))
        print("\nCPU time of a call, us: torch add_ %.2f, torch rms_norm %.2f" % (add, cpu_time(lambda: torch.nn.functional.rms_norm(x, (1024,), w))))
        for name, call in [("rms_norm", lambda: kt.rms_norm(x, w)), ("gated", lambda: kt.gated(x, x)), ("add_rms_norm", lambda: kt.add_rms_norm(x, x, w)),
                           ("rope", lambda: kt.rope(q, q, cos, cos)), ("rms_norm with a gradient", with_gradient(x, w))]:
            spent = cpu_time(call)
            print("  kiln %-26s %6.2f   add_ + %5.2f" % (name, spent, spent - add))
            if name == "rms_norm":
                self.assertLessEqual(spent, add + 8)


class Docs(unittest.TestCase):
    def test_examples(self):
        """The blocks of docs/python.md and README.md that need torch; without a GPU on the CPU, and compiled without a C compiler."""
        ran = 0
        for page in ("docs/python.md", "README.md"):
            with open(os.path.join(ROOT, page), encoding="utf-8") as f:
                for text in re.findall(r"^```python\n(.*?)^```$", f.read(), re.MULTILINE | re.DOTALL):
                    if "torch" in text or "kiln.nn" in text:
                        text = text if GPU else text.replace('"cuda"', '"cpu"').replace("fullgraph=True", "fullgraph=True, backend='aot_eager'")
                        exec(compile(text, page, "exec"), {})
                        ran += 1
        self.assertGreaterEqual(ran, 3)


def with_gradient(x, w):
    leaf = w.detach().requires_grad_()
    return lambda: kt.rms_norm(x, leaf)


def cpu_time(call, batch=200, batches=31):
    """Microseconds of CPU per call: the median of batches that the GPU's queue holds."""
    for _ in range(50):
        call()
    times = []
    for _ in range(batches):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - start) / batch)
    torch.cuda.synchronize()
    return statistics.median(times) * 1e6


if not GPU:
    from simulated import Simulator
    SIMULATOR = Simulator(os.environ.get("KILN_TEST_DEVICE", "sim:sm_90a"))

if __name__ == "__main__":
    unittest.main()
