"""kiln.torch's products with torch: on the GPU where there is one (called from tests/gpu.sh), else their kernels on the simulator.

    KILN_BUILD=build PYTHONPATH=runtime/python python3 -m unittest discover -s tests/python -p 'test_torch_products.py'
"""
import concurrent.futures
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import test_torch  # noqa: E402 - skips, or stops, where torch is not installed
except unittest.SkipTest as skip:
    if __name__ == "__main__":
        print("skipped: %s" % skip)
        sys.exit(77)
    raise
import torch  # noqa: E402

import kiln  # noqa: E402
import kiln.nn  # noqa: E402
import kiln.torch as kt  # noqa: E402
from kiln import ops  # noqa: E402
from kiln.torch import _fp8, _fp8_products, _math, _products  # noqa: E402

GPU, DEVICE, SHORT = test_torch.GPU, test_torch.DEVICE, (torch.bfloat16, torch.float16)
if GPU:
    CALLS = _products.LIBRARY_CALLS
else:
    CALLS = _products.LAUNCH_CALLS  # by the simulator's kernels
    CALLS.gated_gradient = test_torch.SIMULATOR.launch(ops.GRADIENT["gated"])
LAUNCHED = {name: _products.function(name, op.launch, CALLS).apply for name, op in _products.OPS.items() if op.backward}


class Maker:
    """Random tensors of one dtype. turned: the last two dims the other way round in memory; wide: columns of something wider."""

    def __init__(self, dtype, seed=3):
        self.dtype, self.generator = dtype, torch.Generator().manual_seed(seed)

    def __call__(self, *shape, dtype=None, scale=1.0):
        return (torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale).to(DEVICE, dtype or self.dtype)

    def turned(self, *shape):
        return self(*shape[:-2], shape[-1], shape[-2]).mT

    def wide(self, *shape, step=1, more=3):
        return self(*shape[:-1], step * shape[-1] + more)[..., : step * shape[-1] : step]


def cases(dtype):
    """(op, a word about it, tensors, keywords)."""
    make, f32 = Maker(dtype), torch.float32
    x, w = make(3, 5, 64), make(24, 64, scale=0.2)
    return [
        ("gemm", "rows", (make(33, 64), make(64, 40)), {}),
        ("gemm", "k-major weight", (make(33, 64), make.turned(64, 40)), {"alpha": 0.5}),
        ("gemm", "m-major", (make.turned(40, 64), make(64, 40)), {}),
        ("gemm", "leading dims as rows", (make(2, 3, 5, 64), make.turned(64, 24)), {"act": "relu"}),
        ("gemm", "rows of a joint projection", (make.wide(2, 5, 64, more=64), make.turned(64, 24)), {}),
        ("gemm", "heads: two strides for rows", (make(2, 5, 3, 64).transpose(1, 2), make(64, 24)), {}),
        ("gemm", "batches", (make(4, 9, 16), make.turned(4, 16, 24)), {"act": "silu"}),
        ("gemm", "broadcast batches", (make(3, 1, 9, 16), make(2, 16, 24)), {}),
        ("gemm", "one left for all", (make(9, 16), make(3, 16, 24)), {}),
        ("gemm", "c and bias of their own dtypes", (make(2, 9, 32), make(32, 24), make(2, 9, 24, dtype=f32), make(24, dtype=f32)), {"beta": -2.0, "act": "gelu"}),
        ("gemm", "c broadcasts", (make(2, 9, 32), make(32, 24), make(9, 1)), {"alpha": 2.0}),
        ("gemm", "f32 result", (make(17, 64), make(64, 24), None, make(24)), {"dtype": f32, "act": "gelu_tanh"}),
        ("gemm", "odd sizes and strides", (make.wide(7, 13), make(13, 11)), {}),
        ("gemm", "no contiguous dim", (make.wide(7, 16, step=2), make.wide(16, 24, step=3)), {}),
        ("linear", "bias", (x, w, make(24)), {}),
        ("linear", "no bias", (make(7, 64), w), {"act": "silu"}),
        ("linear", "relu", (x, w, make(24, dtype=f32)), {"act": "relu"}),
        ("linear", "transposed weight", (x, make(64, 24).t(), make(24)), {"act": "gelu_tanh"}),
        ("linear", "one row", (make(1, 64), w, make(24)), {"act": "gelu"}),
        ("gated_mlp", "silu", (x, w, make(24, 64, scale=0.2)), {}),
        ("gated_mlp", "gelu", (make(17, 64), w, make(24, 64, scale=0.2)), {"act": "gelu"}),
        ("gated_mlp", "weights lie differently", (x, w, make.turned(24, 64) * 0.2), {"act": "gelu_tanh"}),
        ("gated_mlp", "halves of one weight", (x,) + tuple(make(48, 64, scale=0.2).chunk(2)), {}),
    ]


def arguments(name, tensors, keywords):
    """In the order of torch.ops.kiln.NAME."""
    flat = list(tensors) + [None] * (_products.OPS[name].tensors - len(tensors))
    if name == "gemm":
        return flat + [keywords.get("alpha", 1.0), keywords.get("beta", 1.0), keywords.get("act", "none"), keywords.get("dtype")]
    return flat + [keywords.get("act", ops.PRODUCTS["gated_mlp"].settings["act"][0] if name == "gated_mlp" else "none")]


def leaves_of(tensors):
    return [None if x is None else x.detach().requires_grad_() for x in tensors]


def reference(name, tensors, keywords, dy):
    wide = leaves_of([None if x is None else x.detach().double().cpu() for x in tensors])
    y = getattr(_math, name)(*arguments(name, wide, dict(keywords, dtype=torch.float64 if "dtype" in keywords else None)))
    return y.detach(), torch.autograd.grad(y, [x for x in wide if x is not None], dy.double().cpu())


class Values(test_torch.Comparison):
    """Forward and backward against float64."""

    def near(self, got, want, dtype, what):
        """Operands of 16 bits, sums in f32, and intermediates of the backward rounded once: units of the largest."""
        self.assertEqual(got.shape, want.shape, what)
        peak, eps = float(want.abs().max()) if want.numel() else 0.0, max(torch.finfo(dtype).eps, 2.0 ** -19)  # f32: in two parts of tf32
        off = (got.double().cpu() - want).abs()
        self.assertTrue(bool((off <= 2 * eps * want.abs() + 2 * eps * peak + 1e-6).all()), "%s: off by %g, largest %g" % (what, float(off.max()), peak))

    def warm(self, dtype):
        """All plans at once: on a machine of many cores, emitting their kernels takes the time of this test."""
        def one(case):
            name, _, tensors, keywords = case
            try:
                given = leaves_of(tensors)
                y = getattr(kt, name)(*given, **keywords)
                torch.autograd.grad(y, [x for x in given if x is not None], torch.ones_like(y))
            except kiln.KilnError:
                pass  # compare() comes to it, and says so
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(one, cases(dtype)))

    @staticmethod
    def ways(name, keywords):
        """(word, the function): as it is called; and where the gradient may read what the forward run has kept, with and without that."""
        if name == "gemm" or name == "linear" and keywords.get("act", "none") in ("none", "relu"):
            ways = [("", name, {})]
        else:
            ways = [(", kept", name + "_kept", {}), (", made again", name, {"recompute": True})]
        for word, launched, more in ways:
            yield word, (lambda *given: getattr(kt, name)(*given, **keywords, **more)) if GPU else (  # noqa: B023
                lambda *given: LAUNCHED[launched](*arguments(name, given, keywords)))  # noqa: B023

    def compare(self, dtype):
        if GPU:
            self.warm(dtype)
        for name, word, tensors, keywords, call in ((n, w + more, t, k, call) for n, w, t, k in cases(dtype) for more, call in self.ways(n, k)):
            with self.subTest(op=name, case=word, dtype=str(dtype)):
                given = leaves_of(tensors)
                y = call(*given)
                dy = test_torch.random_like([y])[0]
                found = torch.autograd.grad(y, [x for x in given if x is not None], dy)
                want, want_grads = reference(name, tensors, keywords, dy)
                self.assertEqual(y.dtype, keywords.get("dtype", dtype))
                self.assertTrue(y.is_contiguous())
                self.near(y.detach(), want, dtype, "result")
                for x, g, w, label in zip([x for x in tensors if x is not None], found, want_grads, "abcd"):
                    self.assertEqual((g.dtype, g.shape), (x.dtype, x.shape))
                    self.near(g, w, dtype, "gradient " + label)

    def test_bf16(self):
        self.compare(torch.bfloat16)

    def test_f16(self):
        self.compare(torch.float16)

    def test_f32(self):
        self.compare(torch.float32)

    def test_tf32(self):
        """As torch's switch has it; plans of both kinds stand side by side."""
        make, off = Maker(torch.float32), {}
        x, w = make(40, 256), make(24, 256)
        want = x.double().cpu() @ w.double().cpu().t()
        before = torch.backends.cuda.matmul.allow_tf32
        try:
            for allowed in (False, True, False):
                torch.backends.cuda.matmul.allow_tf32 = allowed
                y = _products.launch_linear(x, w, None, "none")
                off[allowed] = float((y.double().cpu() - want).abs().max() / want.abs().max())
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
        self.assertLess(off[False], 2 ** -18)
        self.assertLess(off[True], 2 ** -8)
        self.assertGreater(off[True], 2 ** -14)

    def test_nothing_is_copied(self):
        """Views of all kinds get a plan at once; only what has no contiguous dim, or needs two strides for its batches, is moved."""
        copied = {"no contiguous dim", "heads: two strides for rows", "weights lie differently", "broadcast batches", "c broadcasts"}
        products = {"gemm": _products.GEMM, "linear": _products.LINEAR, "gated_mlp": _products.GATED_MLP}
        for name, word, tensors, keywords in cases(torch.bfloat16):
            given = tensors + (None,) * (_products.OPS[name].tensors - len(tensors))
            self.assertEqual(bool(products[name].arrangement(given).copies), word in copied, word)

    def test_whole_gradients(self):
        """One plan of NAME.grad where tensors lie as rows of one matrix; else products of their own; whichever are wanted."""
        make = Maker(torch.bfloat16)
        x, w, wu, bias, dy = make(2, 5, 64), make(24, 64), make(24, 64), make(24), make(2, 5, 24)
        settings = (("act", "gelu"),)
        leaves = leaves_of([t.double().cpu() for t in (x, w, bias)])
        want = torch.autograd.grad(_math.linear(*leaves, "gelu"), leaves, dy.double().cpu())
        def compare(found, wants, what):
            for g, wanted, wish in zip(found, want, wants):
                self.assertEqual(g is not None, wish)
                if wish:
                    self.near(g, wanted, torch.bfloat16, what)

        z = _math.linear(*[t.double() for t in (x, w, bias)], "none").bfloat16()
        for wants in ((True, True, True), (False, True, False), (True, False, True), (False, False, True)):
            for kept in ((), (z,)):
                compare(_products.LINEAR_GRADIENT.launch(dy, (x, w, bias), settings, wants, kept), wants, "linear")
        found = _products.LINEAR_GRADIENT.launch(dy[..., :1].expand(2, 5, 24), (x, make(64, 24).t(), None), settings, (True, True, False))
        self.assertEqual((found[0].stride(), found[1].stride(), found[2]), ((320, 64, 1), (1, 24), None))
        leaves = leaves_of([t.double().cpu() for t in (x, w, wu)])
        want = torch.autograd.grad(_math.gated_mlp(*leaves, "gelu"), leaves, dy.double().cpu())
        kept = [(x.double() @ v.double().mT).bfloat16() for v in (w, wu)]
        for saved in ((), kept, [t.double().mT.contiguous().mT.bfloat16() for t in kept]):
            found = _products.GATED_MLP_GRADIENT.launch(dy, (x, w, wu), settings, (True, True, True), saved)
            if saved and not saved[0].is_contiguous():
                self.assertIsNone(found)  # made of products of their own
                found = _products.launch_gated_mlp_gradients(dy, x, w, wu, *saved, "gelu", True, True, True)
            compare(found, (True, True, True), "gated_mlp")
        for wants in ((True, False, False), (False, True, True), (False, False, True)):  # what none of the kernels reads is there all the same
            compare(_products.GATED_MLP_GRADIENT.launch(dy, (x, w, wu), settings, wants, kept), wants, "gated_mlp")
        wrong = _products.GATED_MLP_GRADIENT.launch(dy, (x, w, wu), settings, (True, True, True), [2 * t for t in kept])  # they are what is read
        self.assertGreater(float((wrong[0].double().cpu() - want[0]).abs().max()), 0.1 * float(want[0].abs().max()))
        heads = make(2, 3, 5, 64).transpose(1, 2)
        self.assertIsNone(_products.LINEAR_GRADIENT.launch(make(2, 5, 3, 24), (heads, w, None), settings, (True, True, False)))

    def test_gradient_of_a_weight_lies_as_the_weight(self):
        x, w = Maker(torch.bfloat16)(5, 32).requires_grad_(), Maker(torch.bfloat16)(24, 32).requires_grad_()
        y = kt.linear(x, w) if GPU else LAUNCHED["linear"](*arguments("linear", (x, w), {}))
        dw, = torch.autograd.grad(y.sum(), [w])
        self.assertEqual(dw.stride(), w.stride())

    def test_nothing_to_do(self):
        make = Maker(torch.float16)
        launch = lambda name, *t, **k: _products.OPS[name].launch(*arguments(name, t, k))  # noqa: E731
        self.assertEqual(launch("gemm", make(0, 16), make(16, 8)).shape, (0, 8))
        self.assertEqual(launch("gemm", make(0, 3, 16), make(0, 16, 8)).shape, (0, 3, 8))
        self.assertEqual(launch("gemm", make(3, 16), make(16, 0)).shape, (3, 0))
        bias = make(8)
        torch.testing.assert_close(launch("gemm", make(3, 0), make(0, 8), None, bias), bias.expand(3, 8))

    def test_plans_are_kept(self):
        make = Maker(torch.bfloat16)
        kiln.clear()
        x, w = make(8, 64), make(16, 64)
        for count, (a, b, act) in enumerate([(x, w, "none"), (x, w, "relu"), (make(4, 64), w, "none"), (x, make(64, 16).t(), "none")], 1):
            for _ in range(3):
                _products.launch_linear(a, b, None, act)
            self.assertEqual(kiln.cache()["plans"], count)

    def test_unaligned(self):
        memory, w = Maker(torch.bfloat16)(8 * 64 + 8), Maker(torch.bfloat16)(16, 64)
        for first in (0, 1, 4, 0):
            x = memory[first:first + 512].view(8, 64)
            want = _math.linear(x.double().cpu(), w.double().cpu(), None, "none")
            self.near(_products.launch_linear(x, w, None, "none"), want, torch.bfloat16, "first element %d" % first)


class Eight(test_torch.Comparison):
    """fp8_gemm and fp8_linear: against the same codes multiplied in float64, and fp8_linear's kept weights."""

    def codes(self, shape, format, per, seed):
        return _fp8.quantize(Maker(torch.float32, seed)(*shape).cpu(), None, format, per)

    def near(self, got, want, what, share=2 ** -6):
        self.assertEqual(got.shape, want.shape, what)
        off = float((got.double().cpu() - want).abs().max() / want.abs().max())
        self.assertLess(off, share, what)

    @staticmethod
    def launched(name, *arguments):
        return _products.OPS[name].launch(*arguments)

    def test_codes(self):
        """Every kind of scale, batches, leading dims as rows, both formats, weights either way round."""
        for scale, (of_a, of_b) in _fp8_products.PER.items():
            for shape_a, shape_b, word in (((40, 272), (136, 272), "rows"), ((2, 3, 24, 144), (72, 144), "leading dims"), ((3, 24, 144), (3, 72, 144), "batches")):
                with self.subTest(scale=scale, case=word):
                    (a, sa), (w, sw) = self.codes(shape_a, "e4m3", of_a, 1), self.codes(shape_b, "e5m2" if word == "batches" else "e4m3", of_b, 2)
                    bias = Maker(torch.float32)(shape_b[-2]).cpu() if word == "rows" else None
                    sb = sw.mT if scale[0] == "b" else sw
                    want = _fp8_products.math_fp8_gemm(a.double(), w.double().mT, sa.double(), sb.double(), bias, scale, "fast", torch.float64)
                    moved = [None if x is None else x.to(DEVICE) for x in (a, w.mT, sa, sb, bias)]
                    for accumulate, dtype in (("fast", torch.bfloat16), ("promoted", torch.float32)):
                        d = self.launched("fp8_gemm", *moved, scale, accumulate, dtype)
                        self.assertEqual(d.dtype, dtype)
                        self.near(d, want, "%s, %s" % (accumulate, dtype))
                    if GPU:
                        d = kt.fp8_gemm(*moved, scale=scale, dtype=torch.float32)
                        self.near(d, want, "function")
                    else:
                        self.near(kt.fp8_gemm(a, w.mT, sa, sb, bias, scale=scale, dtype=torch.float32), want, "plain", 1e-5)

    def test_wider(self):
        """What is quantised on the way is near the product, and exactly that of its codes; u8 goes by f16."""
        make = Maker(torch.bfloat16)
        a, b = make(40, 256), make(256, 72)
        want = a.double().cpu() @ b.double().cpu()
        for scale in _fp8_products.SCALES:
            d = self.launched("fp8_linear", a, b.mT, None, scale, "fast", "e4m3", False)
            self.assertEqual(d.dtype, torch.bfloat16)
            self.near(d, want, scale, 0.05)
            self.near(d, _fp8_products.math_fp8_linear(a.cpu(), b.mT.cpu(), None, scale, "fast", "e4m3", False).double(), scale, 2 ** -6)
            self.near(kt.fp8_gemm(a, b, scale=scale, dtype=torch.float32), want, scale, 0.05)
        for scale, of_a, of_b in (("tensor", "tensor", "tensor"), ("row", "row", "column"), ("block", "block1", "block128")):
            (qa, sa), (qb, sb) = kt.quantize_fp8(a, format="u8", per=of_a), kt.quantize_fp8(b, format="u8", per=of_b)
            d = kt.fp8_gemm(qa, qb, sa, sb, scale=scale)
            self.assertEqual(d.dtype, torch.float16)
            self.near(d, want, "u8 " + scale, 0.03)
            if scale == "tensor":
                for dtype in (torch.float16, torch.bfloat16, torch.float32):
                    whole = _fp8_products.U8.launch((qa, qb, None, sa, sb), (), (), dtype)
                    self.assertEqual((whole.dtype, whole.float().half().to(dtype).equal(whole)), (dtype, True))
                    self.near(whole, d.double().cpu(), "in one plan, %s" % dtype, 2 ** -7 if dtype == torch.bfloat16 else 2 ** -9)

    def test_kept_weights(self):
        """Quantised once; an update in place, other memory, and kiln.clear() make them anew."""
        made = []

        def quantize(x, scale, format, per):
            made.append(per)
            return _fp8.launch_quantize(x, scale, format, per)

        make = Maker(torch.float32)
        w, x = torch.nn.Parameter(make(24, 64)), make(5, 64)
        for _ in range(3):
            q, s = _fp8_products.kept(quantize, w, "e4m3", "row")
        self.assertEqual(len(made), 1)
        _fp8_products.kept(quantize, w, "e4m3", "tensor")
        self.assertEqual(made, ["row", "tensor"])
        with torch.no_grad():
            w.mul_(2)
        again, _ = _fp8_products.kept(quantize, w, "e4m3", "row"), self.assertEqual(len(made), 3)
        torch.testing.assert_close(again[1], 2 * s)
        w.data = w.data.clone()
        _fp8_products.kept(quantize, w, "e4m3", "row")
        self.assertEqual(len(made), 4)
        kiln.clear()
        _fp8_products.kept(quantize, w, "e4m3", "row")
        self.assertEqual(len(made), 5)
        with torch.inference_mode():
            frozen = make(24, 64)
            for _ in range(2):
                _fp8_products.kept(quantize, frozen, "e4m3", "row")
        self.assertEqual(len(made), 7)
        before = len(_fp8_products._kept)
        del w
        self.assertEqual(len(_fp8_products._kept), before - 1)
        self.assertEqual(kt.fp8_linear(x, torch.nn.Parameter(make(24, 64))).shape, (5, 24))

    def test_updates_show(self):
        module, x = kiln.nn.FP8Linear(64, 24, scale="row", device=DEVICE, dtype=torch.bfloat16), Maker(torch.bfloat16)(5, 64)
        first = module(x)
        torch.testing.assert_close(module(x), first, rtol=0, atol=0)
        with torch.no_grad():
            module.weight.neg_()
            module.bias.neg_()
        torch.testing.assert_close(module(x), -first, rtol=1e-2, atol=1e-2)
        torch.optim.SGD(module.parameters(), lr=1.0).step()
        module(x).float().sum().backward()
        torch.optim.SGD(module.parameters(), lr=0.5).step()
        self.assertGreater(float((module(x) + first).abs().max()), 0.1)

    def test_gradients(self):
        """As if nothing had been quantised: those of linear, in 16 bits."""
        for dtype, of_w in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
            make = Maker(dtype)
            x, w, bias, dy = make(2, 5, 64), make(24, 64, dtype=of_w), make(24), make(2, 5, 24)
            leaves = leaves_of((x, w, bias))
            y = kt.fp8_linear(*leaves, scale="row") if GPU else LAUNCHED["fp8_linear"](*leaves, "row", "fast", "e4m3", True)
            found = torch.autograd.grad(y, leaves, dy)
            want = dy.double() @ w.double(), dy.double().flatten(0, 1).t() @ x.double().flatten(0, 1), dy.double().sum((0, 1))
            for g, wanted, leaf in zip(found, want, leaves):
                self.assertEqual(g.dtype, leaf.dtype)
                self.near(g, wanted.cpu(), "gradient", 2 ** -7)
            a, b = leaves_of((x, w.t()))
            da, db = torch.autograd.grad(kt.fp8_gemm(a, b), [a, b], dy)
            self.near(da, want[0].cpu(), "of a", 2 ** -7)
            self.near(db, want[1].t().cpu(), "of b", 2 ** -7)

    def test_library(self):
        make = Maker(torch.bfloat16 if GPU else torch.float32)
        x, w, bias = make(2, 9, 128), make(32, 128), make(32)
        torch.library.opcheck(torch.ops.kiln.fp8_linear.default, (*leaves_of((x, w, bias)), "tensor", "fast", "e4m3", True))
        torch._dynamo.reset()
        both = torch.compile(lambda x, w: kt.fp8_linear(x, w, scale="row"), fullgraph=True, backend="inductor" if GPU else "aot_eager")
        torch.testing.assert_close(both(x, w), kt.fp8_linear(x, w, scale="row"))
        module = kiln.nn.FP8Linear(128, 32, device=DEVICE)
        with torch.autocast(DEVICE, torch.bfloat16):
            y = module(x.float())
        self.assertEqual(y.dtype, torch.bfloat16)
        y.float().sum().backward()
        self.assertEqual(module.weight.grad.dtype, torch.float32)

    def test_errors(self):
        make = Maker(torch.bfloat16)
        a, w = make(16, 256), make(24, 256)
        (qa, sa), (qw, sw) = (kt.quantize_fp8(t, per="row") for t in (a, w))
        for cls, tensor, call in [
                (kiln.BadSize, "scale_a", lambda: kt.fp8_gemm(qa, qw.t(), sa[:15], sw, scale="row")), (kiln.BadSize, "scale_b", lambda: kt.fp8_gemm(qa, qw.t(), sa, sw[:, None], scale="row")),
                (kiln.BadSize, "scale_a", lambda: kt.fp8_gemm(qa, qw.t(), sa, sw)), (kiln.MissingArg, "scale_b", lambda: kt.fp8_gemm(qa, qw.t(), sa, scale="row")),
                (kiln.BadDtype, "b", lambda: kt.fp8_gemm(qa, w.t(), sa, sw)), (kiln.BadDtype, "scale_a", lambda: kt.fp8_gemm(qa, qw.t(), sa.half(), sw, scale="row")),
                (kiln.UnknownArg, "scale_a", lambda: kt.fp8_gemm(a, w.t(), sa)), (kiln.BadSetting, "scale", lambda: kt.fp8_gemm(qa, qw.t(), sa, sw, scale="column")),
                (kiln.BadSize, "w", lambda: kt.fp8_linear(a, w[:, :255])), (kiln.BadDtype, "x", lambda: kt.fp8_linear(a.int(), w))]:
            with self.assertRaises(cls) as caught:
                call()
            self.assertEqual(caught.exception.tensor, tensor)


class Library(test_torch.Comparison):
    """torch.library: opcheck, torch.compile, torch.amp, modules and errors; on the GPU if there is one, else on the CPU."""

    dtype = torch.bfloat16 if GPU else torch.float32

    def test_opcheck(self):
        make = Maker(self.dtype)
        for name, tensors, keywords in [("gemm", (make(2, 9, 32), make(32, 24), make(2, 9, 24), make(24)), {"act": "gelu"}),
                                        ("gemm", (make(9, 32), make.turned(32, 24)), {}),
                                        ("linear", (make(2, 9, 32), make(24, 32), make(24)), {"act": "relu"}),
                                        ("linear_kept", (make(2, 9, 32), make(24, 32), make(24)), {"act": "gelu"}),
                                        ("gated_mlp", (make(9, 32), make(24, 32), make(24, 32)), {}),
                                        ("gated_mlp_kept", (make(9, 32), make(24, 32), make(24, 32)), {"act": "silu"})]:
            with self.subTest(op=name):
                torch.library.opcheck(getattr(torch.ops.kiln, name).default, tuple(arguments(name, leaves_of(tensors), keywords)))

    def test_gradients_without_a_gpu(self):
        """The public functions (autograd of plain mathematics) and the custom ops on the CPU give the same."""
        if GPU:
            self.skipTest("there is one")
        for name, word, tensors, keywords in cases(torch.float64):
            if any(x is not None and x.dtype is not torch.float64 for x in tensors) or "dtype" in keywords:
                continue
            with self.subTest(op=name, case=word):
                results = []
                for call in (lambda *t: getattr(kt, name)(*t, **keywords), lambda *t: getattr(torch.ops.kiln, name)(*arguments(name, t, keywords))):
                    given = leaves_of(tensors)
                    y = call(*given)
                    results.append([y.detach()] + list(torch.autograd.grad(y, [x for x in given if x is not None], test_torch.random_like([y])[0])))
                for a, b in zip(*results):
                    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    def test_compile(self):
        make = Maker(self.dtype)
        tensors = make(3, 5, 64), make(24, 64), make(24, 64), make(24), make(40, 24)

        def block(x, wg, wu, bias, down):
            h = kt.gated_mlp(x * 1.0, wg, wu) * 0.1 + kt.linear(x, wg, bias, act="relu") + kt.linear(x, wu, bias, act="gelu")
            h = h + kt.gated_mlp(x, wu, wg, recompute=True) * 0.1
            return kt.gemm(h, down.t(), alpha=0.5)

        torch._dynamo.reset()
        results = []
        for f in (block, torch.compile(block, fullgraph=True, backend="inductor" if GPU else "aot_eager")):
            given = leaves_of(tensors)
            y = f(*given)
            results.append([y.detach()] + list(torch.autograd.grad(y, given, test_torch.random_like([y])[0])))
        for a, b in zip(*results):
            torch.testing.assert_close(a, b, rtol=2e-2 if GPU else 1e-5, atol=2e-2 * float(a.abs().max()) if GPU else 1e-5)

    def test_autocast(self):
        """As torch.nn.functional.linear: operands are cast, gradients come back in the parameters' dtype; also where it is traced."""
        for dtype in SHORT:
            module, x = kiln.nn.Linear(32, 24, device=DEVICE), torch.randn(5, 32, device=DEVICE, requires_grad=True)
            twin = torch.nn.Linear(32, 24, device=DEVICE)
            twin.load_state_dict(module.state_dict())
            torch._dynamo.reset()
            for f in (module, torch.compile(module, fullgraph=True, backend="aot_eager"),
                      lambda v: torch.ops.kiln.linear(v, module.weight, module.bias, "none")):  # noqa: B023
                with torch.autocast(DEVICE, dtype):
                    y, want = f(x), twin(x)
                self.assertEqual(y.dtype, dtype)
                torch.testing.assert_close(y, want, rtol=2e-2, atol=2e-2)
                dx, dw = torch.autograd.grad(y.float().sum(), [x, module.weight])
                self.assertEqual((dx.dtype, dw.dtype), (torch.float32, torch.float32))
                wx, ww = torch.autograd.grad(want.float().sum(), [x, twin.weight])
                torch.testing.assert_close(dx, wx, rtol=2e-2, atol=2e-2)
                torch.testing.assert_close(dw, ww, rtol=2e-2, atol=2e-2)
            mlp = kiln.nn.GatedMLP(32, 24, device=DEVICE)
            with torch.autocast(DEVICE, dtype):
                self.assertEqual(mlp(x).dtype, dtype)
                self.assertEqual(kt.gemm(x, x.mT).dtype, dtype)

    def test_modules(self):
        like = dict(device=DEVICE, dtype=self.dtype)
        x = torch.randn(2, 6, 48, **like)
        for module, given in [(kiln.nn.Linear(48, 24, **like), (x,)), (kiln.nn.Linear(48, 24, bias=False, act="gelu", **like), (x,)),
                              (kiln.nn.GatedMLP(48, 24, **like), (x,)), (kiln.nn.Gemm(act="silu", alpha=0.5), (x, x.mT))]:
            with self.subTest(module=str(module)):
                y = module(*given)
                plain = module.double().cpu()(*[g.double().cpu() for g in given])
                eps = torch.finfo(self.dtype).eps
                self.assertTrue(bool(((y.double().cpu() - plain).abs() <= 8 * eps * plain.abs().max()).all()))
        self.assertEqual(sorted(kiln.nn.Linear(4, 2).state_dict()), ["bias", "weight"])

    def refused(self, cls, call, **facts):
        with self.assertRaises(cls) as caught:
            call()
        for fact, want in facts.items():
            self.assertEqual(getattr(caught.exception, fact), want)

    def test_errors(self):
        make = Maker(self.dtype)
        x, w = make(5, 32), make(24, 32)
        self.refused(kiln.BadSize, lambda: kt.linear(x, make(24, 31)), tensor="w", actual="31", expected="32, as in tensor x")
        self.refused(kiln.BadSize, lambda: kt.gemm(x, w), tensor="b", actual="24", expected="32, as in tensor a")
        self.refused(kiln.BadSize, lambda: kt.gated_mlp(x, w, make(23, 32)), tensor="wu", actual="23", expected="24, as in tensor wg")
        self.refused(kiln.BadSize, lambda: kt.linear(x, w, make(23)), tensor="bias", expected="[24]")
        self.refused(kiln.BadSize, lambda: kt.gemm(x, w.t(), make(4, 24)), tensor="c", actual="[4, 24]")
        self.refused(kiln.BadSize, lambda: kt.gemm(make(2, 5, 32), make(3, 32, 24)), tensor="b", actual="3", expected="2")
        self.refused(kiln.BadRank, lambda: kt.linear(x[0], w), tensor="x")
        self.refused(kiln.BadDtype, lambda: kt.linear(x, w.double()), tensor="w", actual="torch.float64", expected="%s, as tensor x" % self.dtype)
        self.refused(kiln.BadDtype, lambda: kt.linear(x.int(), w.int()), tensor="x", actual="torch.int32")
        self.refused(kiln.BadDtype, lambda: kt.gemm(x, w.t(), dtype=torch.int8))
        self.refused(kiln.BadSetting, lambda: kt.linear(x, w, act="tanh"))
        self.refused(kiln.BadSetting, lambda: kt.gated_mlp(x, w, w, act="relu"))
        if GPU:
            self.refused(kiln.BadDtype, lambda: kt.linear(x.double(), w.double()), tensor="x")
            self.refused(kiln.BadPointer, lambda: kt.linear(x, w.cpu()), tensor="w")


class OnGpu(test_torch.Comparison):
    @test_torch.on_gpu
    def test_large(self):
        """Sizes that take every kind of schedule, beside torch."""
        for m, n, k in [(4096, 4096, 1024), (128, 4096, 4096), (1000, 520, 264), (77, 4104, 72)]:
            x, w = torch.randn(m, k, device="cuda").bfloat16(), torch.randn(n, k, device="cuda").bfloat16()
            want = x.float() @ w.float().t()
            torch.testing.assert_close(kt.linear(x, w).float(), want, rtol=1.6e-2, atol=1e-2 * k ** 0.5)
            gate = torch.nn.functional.silu(want)
            got = kt.gated_mlp(x, w, w).float()
            self.assertLess(float((got - gate * want).abs().max() / (gate * want).abs().max()), 2 ** -7)

    @test_torch.on_gpu
    def test_graph(self):
        module, x = kiln.nn.Linear(256, 128, device="cuda", dtype=torch.bfloat16), torch.randn(64, 256, device="cuda").bfloat16()
        module(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            y = module(x)
        x.copy_(torch.randn(64, 256, device="cuda"))
        graph.replay()
        torch.cuda.synchronize()
        torch.testing.assert_close(y, torch.nn.functional.linear(x, module.weight, module.bias), rtol=1.6e-2, atol=1e-2)

    @test_torch.on_gpu
    def test_cpu_time(self):
        x, w = torch.randn(16, 256, device="cuda").bfloat16(), torch.randn(256, 256, device="cuda").bfloat16()
        add = test_torch.cpu_time(lambda: x.add_(1))
        for name, call in [("torch linear", lambda: torch.nn.functional.linear(x, w)), ("kiln linear", lambda: kt.linear(x, w)),
                           ("kiln gated_mlp", lambda: kt.gated_mlp(x, w, w)), ("kiln gemm", lambda: kt.gemm(x, w))]:
            spent = test_torch.cpu_time(call)
            print("\n  %-26s %6.2f us   add_ + %5.2f" % (name, spent, spent - add), end="")
            self.assertLess(spent, add + 30, name)
        print()


if __name__ == "__main__":
    unittest.main()
