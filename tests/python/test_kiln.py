"""The Python package without a framework: NumPy on the simulator. Exit code 77 (skipped) where NumPy is not there.

    KILN_BUILD=build python3 tests/python/test_kiln.py [unittest's arguments]
"""
import contextlib
import ctypes
import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile

try:
    import numpy as np
except ImportError:
    if __name__ != "__main__":
        raise unittest.SkipTest("NumPy is not installed")
    if os.access("/usr/bin/python3", os.X_OK) and "KILN_TEST_AGAIN" not in os.environ:  # the system's own may have it
        os.environ["KILN_TEST_AGAIN"] = "1"
        os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)
    print("skipped: NumPy is not installed (apt install python3-numpy)")
    sys.exit(77)

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PACKAGE = os.path.join(ROOT, "runtime", "python")
sys.path.insert(0, PACKAGE)
os.environ.setdefault("KILN_BUILD", os.path.join(ROOT, "build"))
CACHE = tempfile.TemporaryDirectory()
os.environ["XDG_CACHE_HOME"] = CACHE.name

import kiln  # noqa: E402
from kiln import _cache, errors, formats, ops, products, tensors  # noqa: E402

DEVICE = kiln.device("sim:sm_90a")
UNIT = {"f32": 2.0 ** -24, "f16": 2.0 ** -11, "bf16": 2.0 ** -8}  # half a unit in the last place, relative


def random(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rms_norm(x, w=None, eps=1e-6):
    x = x.astype(np.float64)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return y if w is None else y * w


class Plans(unittest.TestCase):
    def check_norm(self, x, w, y):
        error = np.abs(y.numpy() - rms_norm(x.numpy(), None if w is None else w.numpy()))
        bound = 1.01 * UNIT[y.dtype] * np.abs(rms_norm(x.numpy(), None if w is None else w.numpy())) + 1e-6
        self.assertTrue((error <= bound).all(), "worst %g" % (error / bound).max())
        self.assertGreater(np.abs(y.numpy()).max(), 0.5)

    def test_dtypes(self):
        for dtype in ("f32", "f16", "bf16"):
            x, w = DEVICE.array(random(5, 96), dtype), DEVICE.array(random(96, seed=2), dtype) if dtype == "bf16" else None
            y = DEVICE.empty((5, 96), dtype)
            plan = kiln.Plan(DEVICE, "rms_norm", {"x": x, "w": w, "y": y}, scalars={"eps": 1e-6}, settings={"w_B": "no"} if w else None)
            plan()
            self.check_norm(x, w, y)
            self.assertIn("dtype=" + dtype, plan.settings)
            self.assertEqual(plan.target, "sm_90a")
            self.assertTrue(plan.variant.startswith("rms_norm"))
            self.assertEqual(plan.tensors, ("x", "w", "y") if w else ("x", "y"))
            self.assertGreaterEqual(len(plan.steps), 1)
            self.assertGreater(plan.steps[0].block, 0)
            self.assertIn("step main", plan.describe())

    def test_other_tensors(self):
        x, y = DEVICE.array(random(3, 40)), DEVICE.empty((3, 40))
        plan = kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y})
        x2, y2 = DEVICE.array(random(3, 40, seed=5)), DEVICE.empty((3, 40))
        plan({"x": x2, "y": y2})
        self.check_norm(x2, None, y2)
        with self.assertRaises(kiln.BadSize) as caught:
            plan({"x": DEVICE.empty((4, 40))})
        self.assertEqual((caught.exception.tensor, caught.exception.expected), ("x", "[3, 40], as in the plan"))
        with self.assertRaises(kiln.BadDtype):
            plan({"x": DEVICE.empty((3, 40), "bf16")})
        with self.assertRaises(kiln.UnknownArg):
            plan({"w": y2})

    def test_strides(self):
        wide = DEVICE.array(random(2, 3, 120), "bf16")
        x = wide.strided((2, 3, 40), (360, 120, 1), offset=40)
        y = DEVICE.empty((2, 3, 40), "bf16")
        kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y})()
        np.testing.assert_array_equal(x.codes(), wide.codes()[:, :, 40:80])
        self.check_norm(x, None, y)

    def test_optional_output(self):
        x, y, rstd = DEVICE.array(random(6, 24)), DEVICE.empty((6, 24)), DEVICE.empty((6,))
        kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y, "w": None, "rstd": rstd}, scalars={"eps": 0.5})()
        np.testing.assert_allclose(rstd.numpy(), 1 / np.sqrt((x.numpy().astype(np.float64) ** 2).mean(-1) + 0.5), rtol=1e-6)

    def test_settings_and_product(self):
        a, b, d = DEVICE.array(random(32, 64), "f16"), DEVICE.array(random(64, 48, seed=3), "f16"), DEVICE.empty((32, 48), "f16")
        plan = kiln.Plan(DEVICE, "gemm", {"a": a, "b": b, "d": d}, scalars={"alpha": 0.125}, settings={"act": "relu"})
        plan()
        want = np.maximum(0.125 * a.numpy().astype(np.float64) @ b.numpy().astype(np.float64), 0)
        np.testing.assert_allclose(d.numpy(), want, rtol=2e-3, atol=2e-3)
        self.assertIn("act=relu", plan.settings)

    def test_pinned_and_explained(self):
        x, y = DEVICE.array(random(3, 40)), DEVICE.empty((3, 40))
        plan = kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y}, target="sm_80")
        self.assertEqual(plan.target, "sm_80")
        same = kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y}, variant=plan.variant)
        self.assertEqual(same.file, plan.file)
        verdicts = kiln.explain(DEVICE, "rms_norm", {"x": x, "y": y})
        self.assertEqual(sum(v.wins for v in verdicts), 1)
        self.assertTrue(all(v.status or not v.rule for v in verdicts))
        with self.assertRaises(kiln.NoVariant):
            kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y}, variant="none_such")

    def test_streams_and_empty(self):
        stream = ctypes.c_void_p()
        create = kiln.LIB.kiln_stream_create
        create.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
        self.assertEqual(create(DEVICE.handle, ctypes.byref(stream)), 0)
        x, y = DEVICE.array(random(3, 40)), DEVICE.empty((3, 40))
        kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y})(stream=stream.value)
        DEVICE.sync()
        self.check_norm(x, None, y)
        empty = DEVICE.empty((0, 40))
        plan = kiln.Plan(DEVICE, "rms_norm", {"x": empty, "y": DEVICE.empty((0, 40))})
        self.assertEqual(plan.steps, [])
        plan()

    def test_files_without_provider(self):
        with kiln.Device("sim:sm_80", provider=False) as device:
            x, y = device.array(random(3, 64), "bf16"), device.empty((3, 64), "bf16")
            with self.assertRaises(kiln.NoOp):
                kiln.Plan(device, "rms_norm", {"x": x, "y": y})
            text = subprocess.run([kiln.COMMAND_PATH, "emit", "rms_norm", "--target", "sm_80", "--set", "w=no"], check=True,
                                  stdout=subprocess.PIPE).stdout
            device.add_text("mine.ptx", text)
            plan = kiln.Plan(device, "rms_norm", {"x": x, "y": y})
            plan()
            self.assertEqual(plan.variant, "mine")
            self.check_norm(x, None, y)
            del plan, x, y


def activation(v, act):
    if act == "gelu_tanh":
        return 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v ** 3)))
    return {"none": v, "relu": np.maximum(v, 0), "silu": v / (1 + np.exp(-v))}[act]


class Products(unittest.TestCase):
    """gemm and gated_mlp on tensors as a caller has them: leading dims, views, weights (N, K); nothing is copied."""

    def run_op(self, op, arrays, numbers=None, settings=None, turned=(), out="f32"):
        """arrays: {name: Array}, left first; the result as NumPy has it."""
        lay = {name: products.given(name, a.shape, a.strides, name in turned) for name, a in arrays.items()}
        names = list(arrays)
        rights = [lay[n] for n in (["b"] if op == "gemm" else ["wg", "wu"])]
        found = products.arrange(op, lay[names[0]], rights, lay.get("c"), lay.get("bias"))
        self.assertEqual(found.copies, {})
        views = {n: kiln.View(arrays[n].pointer, arrays[n].dtype, *found.views[n]) for n in names}
        result = DEVICE.empty(found.shape, out)
        rows = found.views[names[0]][0]
        views["d" if op == "gemm" else "y"] = kiln.View(result.pointer, out, (rows[0], rows[1], found.shape[-1]))
        plan = kiln.Plan(DEVICE, op, views, numbers, dict(found.settings, **(settings or {})))
        plan()
        return result.numpy(), plan

    def close(self, got, want):
        self.assertEqual(got.shape, want.shape)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 * np.abs(want).max())

    def test_gemm(self):
        joint = DEVICE.array(random(2, 5, 96), "bf16")
        a = joint.strided((2, 5, 32), (480, 96, 1), offset=32)  # the middle of a joint projection
        w, bias = DEVICE.array(random(24, 32, seed=2), "bf16"), DEVICE.array(random(24, seed=3), "bf16")
        got, plan = self.run_op("gemm", {"a": a, "b": w, "bias": bias}, {"alpha": 0.5}, {"act": "silu"}, turned=("b",))
        self.close(got, activation(0.5 * (a.numpy().astype(float) @ w.numpy().T.astype(float)) + bias.numpy(), "silu"))
        self.assertIn("b_major=k", plan.settings)
        a, b, c = (DEVICE.array(random(*s, seed=i), "f16") for i, s in enumerate([(3, 7, 16), (3, 16, 24), (7, 24)]))
        got, _ = self.run_op("gemm", {"a": a, "b": b, "c": c}, {"beta": 2}, {"act": "gelu_tanh"})
        self.close(got, activation(a.numpy().astype(float) @ b.numpy().astype(float) + 2 * c.numpy().astype(float), "gelu_tanh"))
        got, plan = self.run_op("gemm", {"a": a.strided((3, 16, 7), (112, 1, 16)), "b": a})  # a' a: m-major
        self.close(got, a.numpy().astype(float).transpose(0, 2, 1) @ a.numpy().astype(float))
        self.assertIn("a_major=m", plan.settings)

    def test_gated_mlp(self):
        x = DEVICE.array(random(2, 9, 32), "bf16")
        for turned, strides in ((("wg", "wu"), (32, 1)), ((), None)):
            wg, wu = DEVICE.array(random(24, 32, seed=2), "bf16"), DEVICE.array(random(24, 32, seed=3), "bf16")
            if strides is None:  # the same weights as (K, N) views
                wg, wu = (w.strided((32, 24), (1, 32)) for w in (wg, wu))
            got, plan = self.run_op("gated_mlp", {"x": x, "wg": wg, "wu": wu}, turned=turned)
            g, u = (w.numpy().astype(float) if strides is None else w.numpy().T.astype(float) for w in (wg, wu))
            self.close(got, activation(x.numpy().astype(float) @ g, "silu") * (x.numpy().astype(float) @ u))
            self.assertEqual(len(plan.steps), 1)

    def test_fp8_gemm(self):
        """Codes with scales of rows, leading dims as rows, the weight (N, K) as it is, by the provider's choice of settings."""
        values = random(2, 5, 160), random(24, 160, seed=2)
        scales = [np.abs(v).max(-1) / 448 for v in values]
        a, w = (DEVICE.array(v / s[..., None], "e4m3") for v, s in zip(values, scales))
        sa, sw = (DEVICE.array(s.astype(np.float32)) for s in scales)
        given = {n: (products.given(n, s.shape, s.strides), owner, products.scale_sizes("row", lead, rows, 160, owner == "a"))
                 for n, s, owner, lead, rows in (("scale_a", sa, "a", (2,), 5), ("scale_b", sw, "b", (), 24))}
        found = products.arrange("fp8_gemm", products.given("a", a.shape, a.strides), [products.given("b", w.shape, w.strides, True)], scales=given)
        self.assertEqual((found.copies, found.views["scale_a"], found.views["scale_b"]), ({}, ((1, 10), (0, 1)), ((1, 24), (0, 1))))
        for dtype, accumulate in (("f32", "promoted"), ("bf16", "fast")):
            d = DEVICE.empty((2, 5, 24), dtype)
            views = {n: kiln.View(t.pointer, t.dtype, *found.views[n]) for n, t in (("a", a), ("b", w), ("scale_a", sa), ("scale_b", sw))}
            plan = kiln.Plan(DEVICE, "fp8_gemm", dict(views, d=kiln.View(d.pointer, dtype, (1, 10, 24))), settings={"scale": "row", "accumulate": accumulate})
            plan()
            want = (a.numpy() * sa.numpy()[..., None]).astype(float) @ (w.numpy() * sw.numpy()[:, None]).astype(float).T
            np.testing.assert_allclose(d.numpy(), want, rtol=2e-5 if dtype == "f32" else 1e-2, atol=(1e-5 if dtype == "f32" else 1e-2) * np.abs(want).max())
            self.assertIn("accumulate=" + accumulate, plan.settings)

    def arranged(self, left, right, tile=None, vector=None, turned=False):
        given = lambda name, spec, turned=False: None if spec is None else products.given(name, *spec, turned)  # noqa: E731
        return products.arrange("gemm", given("a", left), [given("b", right, turned)], given("c", tile), given("bias", vector))

    def test_rows_and_batches(self):
        weight = ((64, 24), (24, 1))
        found = self.arranged(((2, 3, 5, 64), (960, 320, 64, 1)), weight)
        self.assertEqual((found.shape, found.views["a"], found.settings), ((2, 3, 5, 24), ((1, 30, 64), (0, 64, 1)), {"a_major": "k", "b_major": "n"}))
        found = self.arranged(((5, 64), (64, 1)), ((24, 64), (64, 1)), turned=True)
        self.assertEqual((found.views["b"], found.settings["b_major"]), (((1, 64, 24), (0, 1, 64)), "k"))
        found = self.arranged(((4, 5, 64), (64, 256, 1)), weight)  # (5, 4, 64) with its first dims exchanged: batches
        self.assertEqual(found.views["a"], ((4, 5, 64), (64, 256, 1)))
        found = self.arranged(((5, 64), (64, 1)), ((3, 64, 24), (1536, 24, 1)))
        self.assertEqual((found.views["a"][0], found.views["a"][1][0]), ((3, 5, 64), 0))  # repeated
        found = self.arranged(((2, 5, 64), (320, 64, 1)), weight, ((5, 24), (24, 1)), ((24,), (1,)))
        self.assertEqual((found.views["a"][0], found.views["c"]), ((2, 5, 64), ((2, 5, 24), (0, 24, 1))))
        found = self.arranged(((3, 0, 64), (0, 64, 1)), weight)
        self.assertEqual((found.shape, found.views["a"][0]), ((3, 0, 24), (1, 0, 64)))

    def test_what_has_to_be_copied(self):
        weight = ((64, 24), (24, 1))
        self.assertEqual(self.arranged(((5, 64), (128, 2)), weight).copies, {"a": (5, 64)})
        self.assertEqual(self.arranged(((1, 64), (128, 2)), weight).copies, {})  # of one row the other dim's stride is any
        self.assertEqual(self.arranged(((2, 3, 5, 64), (960, 64, 192, 1)), weight).copies, {"a": (2, 3, 5, 64)})
        self.assertEqual(self.arranged(((2, 1, 5, 64), (320, 320, 64, 1)), ((3, 64, 24), (1536, 24, 1))).copies, {"a": (2, 3, 5, 64), "b": (2, 3, 64, 24)})
        self.assertEqual(self.arranged(((5, 64), (64, 1)), weight, ((5, 1), (1, 1))).copies, {"c": (5, 24)})
        self.assertEqual(self.arranged(((5, 64), (64, 1)), weight, None, ((24,), (2,))).copies, {"bias": (24,)})

    def test_refused(self):
        left = ((5, 64), (64, 1))
        for cls, name, arguments in [(kiln.BadSize, "b", (left, ((63, 24), (24, 1)))), (kiln.BadRank, "a", (((64,), (1,)), ((64, 24), (24, 1)))),
                                     (kiln.BadSize, "c", (left, ((64, 24), (24, 1)), ((4, 24), (24, 1)))),
                                     (kiln.BadSize, "bias", (left, ((64, 24), (24, 1)), None, ((23,), (1,)))),
                                     (kiln.BadSize, "b", (((2, 5, 64), (320, 64, 1)), ((3, 64, 24), (1536, 24, 1))))]:
            with self.assertRaises(cls) as caught:
                self.arranged(*arguments)
            self.assertEqual(caught.exception.tensor, name)
            self.assertTrue(cls is kiln.BadRank or caught.exception.expected and caught.exception.actual)


class Errors(unittest.TestCase):
    def test_one_class_per_status(self):
        with open(os.path.join(ROOT, "runtime", "status.def"), encoding="utf-8") as f:
            rows = re.findall(r'^KILN_STATUS\((\w+), (\d+), "', f.read(), re.MULTILINE)
        self.assertEqual({int(value) for _, value in rows} - {0}, set(errors.BY_STATUS))
        for value, cls in errors.BY_STATUS.items():
            self.assertIs(getattr(kiln, cls.__name__), cls)
            self.assertEqual(cls.status, value)
            self.assertTrue(issubclass(cls, kiln.KilnError))

    def refused(self, cls, call):
        with self.assertRaises(cls) as caught:
            call()
        return caught.exception

    def test_sizes_that_memory_cannot_have(self):
        """What ctypes would cut to 64 bits, and what int() would round: an array of 2^62 + 1 elements had 4 bytes."""
        for shape in [(-2, 3), (-2, -3), (1 << 62, 4), ((1 << 62) + 1,), (2.5,), None]:
            e = self.refused(kiln.BadSize, lambda: DEVICE.empty(shape))
            self.assertTrue(str(e).startswith("array: "))
        for cls, arguments in [(kiln.BadSize, (0, "f32", (2.7,))), (kiln.BadSize, (0, "f32", (-1,))), (kiln.BadPointer, (-5, "f32", (2,))), (kiln.BadPointer, (1 << 64, "f32", (2,))),
                               (kiln.BadStride, (0, "f32", (2,), (1.5,))), (kiln.BadRank, (0, "f32", (2,), (1, 1)))]:
            self.refused(cls, lambda: kiln.View(*arguments))
        self.refused(kiln.BadStride, lambda: DEVICE.empty((4, 8)).strided((4,), (1.5,)))

    def test_memory_of_others(self):
        other = kiln.Device("sim:sm_90a,sms=2")
        same = kiln.Device(DEVICE.where)
        x, y, away = DEVICE.array(random(4, 64)), DEVICE.empty((4, 64)), other.array(random(4, 64))
        e = self.refused(kiln.BadPointer, lambda: kiln.Plan(DEVICE, "rms_norm", {"x": away, "y": y}))
        self.assertEqual(e.tensor, "x")
        plan = kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y})
        e = self.refused(kiln.BadPointer, lambda: plan({"x": away}))
        self.assertEqual(e.tensor, "x")
        plan({"x": same.array(random(4, 64))})
        dx, dw, w = DEVICE.empty((300, 64)), DEVICE.empty(64), DEVICE.array(random(64))
        x, dy = DEVICE.array(random(300, 64)), DEVICE.array(random(300, 64))
        back = kiln.Plan(DEVICE, "rms_norm.grad", {"dy": dy, "x": x, "w": w, "dx": dx, "dw": dw})
        self.assertGreater(back.workspace_bytes, 16)
        self.assertEqual(self.refused(kiln.BadSize, lambda: back(workspace=DEVICE.empty(back.workspace_bytes - 1, "u8"))).tensor, "workspace")
        self.refused(kiln.BadPointer, lambda: back(workspace=other.empty(back.workspace_bytes, "u8")))
        self.refused(kiln.BadStride, lambda: back(workspace=DEVICE.empty(16, "u8").strided((back.workspace_bytes,), (0,))))
        back(workspace=DEVICE.empty(back.workspace_bytes, "u8"))

    def test_what_they_say(self):
        x, y = DEVICE.array(random(4, 64)), DEVICE.empty((4, 64))
        norm = lambda **given: kiln.Plan(DEVICE, "rms_norm", given)  # noqa: E731
        e = self.refused(kiln.BadSize, lambda: norm(x=x, y=DEVICE.empty((4, 63))))
        self.assertEqual((e.tensor, e.expected), ("y", "64, as in tensor x"))
        self.assertTrue(e.actual.endswith("63"))
        e = self.refused(kiln.BadDtype, lambda: norm(x=x, y=DEVICE.empty((4, 64), "i32")))
        self.assertEqual((e.tensor, e.actual, e.expected), ("y", "i32", "f32"))
        e = self.refused(kiln.Overlap, lambda: norm(x=x, y=x))
        self.assertEqual((e.tensor, e.expected), ("y", "separate memory"))
        e = self.refused(kiln.UnknownArg, lambda: norm(x=x, y=y, nothing=y))
        self.assertEqual((e.tensor, e.actual, e.expected), ("nothing", "given", "not given"))
        e = self.refused(kiln.MissingArg, lambda: norm(x=x))
        self.assertEqual((e.actual, e.expected), ("missing", "given"))
        e = self.refused(kiln.BadPointer, lambda: norm(x=np.ones((4, 64)), y=y))
        self.assertEqual(e.tensor, "x")
        self.assertIn("device.array", e.expected)
        e = self.refused(kiln.BadPointer, lambda: norm(x=kiln.View(4096, "f32", (4, 64)), y=y))
        self.assertEqual((e.tensor, e.expected), ("x", "a device pointer"))
        plan = norm(x=x, y=y)
        e = self.refused(kiln.BadAlign, lambda: plan({"x": kiln.View(x.pointer + 1, "f32", (4, 64))}))
        self.assertEqual((e.tensor, e.actual), ("x", hex(x.pointer + 1)))
        self.assertRegex(e.expected, "a multiple of [0-9]+ bytes")
        e = self.refused(kiln.NullPointer, lambda: plan({"x": kiln.View(0, "f32", (4, 64))}))
        self.assertEqual((e.tensor, e.actual), ("x", "null"))
        for stream in ("s", 1.5, -1, 1 << 64):
            self.assertIn("stream is", str(self.refused(kiln.BadCall, lambda: plan(stream=stream))))
        self.assertIn("scalar eps is 'a'", str(self.refused(kiln.BadCall, lambda: kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": y}, scalars={"eps": "a"}))))
        self.refused(kiln.ProviderFailed, lambda: kiln.Plan(DEVICE, "no_such_op", {"x": x}))
        self.refused(kiln.BadCall, lambda: kiln.Device("gpu"))
        self.refused(kiln.NotFound, lambda: DEVICE.add("/nowhere.ptx"))
        self.assertTrue(issubclass(kiln.NotFound, FileNotFoundError) and issubclass(kiln.NoMemory, MemoryError))


class Tensors(unittest.TestCase):
    def test_formats(self):
        values = np.array([0, -0.0, 1, -1.5, 3.14159, 448, 1e9, -1e9, 2.0 ** -9, 2.0 ** -10, np.nan], np.float32)
        for dtype, largest in (("bf16", None), ("e4m3", 448.0), ("e5m2", 57344.0)):
            back = formats.decode(formats.encode(values, dtype)[0], dtype)
            np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
            if largest:
                self.assertEqual(back[6:8].tolist(), [largest, -largest])
            self.assertEqual(back[:4].tolist(), [0.0, -0.0, 1.0, -1.5])
            self.assertTrue(np.signbit(back[1]))
        every = np.arange(256, dtype=np.uint8)
        for dtype in ("e4m3", "e5m2"):  # each number is the nearest of itself
            numbers = formats.decode(every, dtype)
            finite = np.isfinite(numbers)
            np.testing.assert_array_equal(formats.encode(numbers[finite], dtype)[0], every[finite])
        self.assertEqual(formats.encode([1 + 2.0 ** -8, 1 + 3 * 2.0 ** -8], "bf16")[0].tolist(), [0x3f80, 0x3f82])  # ties to even
        self.assertEqual(formats.decode(formats.encode([17.0, 19.0], "e4m3")[0], "e4m3").tolist(), [16.0, 20.0])
        with self.assertRaises(kiln.BadDtype):
            DEVICE.array(np.ones(3, np.complex64))

    def test_round_trip(self):
        for dtype in tensors.NAMES[1:]:
            codes = (np.arange(24).reshape(4, 6) % 2).astype(formats.STORAGE[dtype])
            array = DEVICE.array(codes, dtype)
            np.testing.assert_array_equal(array.codes(), codes)
            np.testing.assert_array_equal(array.strided((2, 3), (12, 2), offset=1).codes(), codes[::2, 1::2])
        with self.assertRaises(kiln.BadSize):
            DEVICE.empty((2, 2)).strided((3, 2), (2, 1))

    def test_dlpack(self):
        x, y = DEVICE.array(random(4, 64), "bf16"), DEVICE.empty((4, 64), "bf16")
        kiln.Plan(DEVICE, "rms_norm", {"x": Exported(x), "y": y})()
        want = DEVICE.empty((4, 64), "bf16")
        kiln.Plan(DEVICE, "rms_norm", {"x": x, "y": want})()
        np.testing.assert_array_equal(y.codes(), want.codes())
        v = kiln.from_dlpack(Exported(x.strided((2, 3), (64, 2), offset=5)))
        self.assertEqual((v.pointer, v.shape, v.strides, v.dtype), (x.pointer + 10, (2, 3), (64, 2), "bf16"))
        with self.assertRaises(kiln.BadPointer):
            kiln.from_dlpack(np.ones(3))

    def test_cache(self):
        before = kiln.cache()
        try:
            kiln.clear()
            for i in range(5):
                _cache.keep(i, object())
            self.assertEqual(kiln.cache(limit=3), {"plans": 3, "limit": 3})
            self.assertEqual(list(_cache.plans), [2, 3, 4])  # the oldest went
            kiln.clear()
            self.assertEqual(kiln.cache()["plans"], 0)
            with self.assertRaises(kiln.BadCall):
                kiln.cache(limit=0)
        finally:
            kiln.cache(limit=before["limit"])


class Exported:
    """A kiln.Array as another library would hand it out: a DLPack capsule whose memory Python owns."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, stream=None):
        a = self.array
        self.shape, self.strides = (ctypes.c_int64 * len(a.shape))(*a.shape), (ctypes.c_int64 * len(a.shape))(*a.strides)
        self.tensor = tensors._DLTensor(a.pointer - 4, 2, 0, len(a.shape), 4, 16, 1, self.shape, self.strides, 4)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


class Table(unittest.TestCase):
    def test_axial(self):
        cos, sin = kiln.axial_rope_table(100, 2, 2, 8)
        angles = np.array([[0, 0, 0, 0], [0, 0, 1, 0.1], [1, 0.1, 0, 0], [1, 0.1, 1, 0.1]])
        np.testing.assert_array_equal(cos, np.cos(angles).astype(np.float32))
        np.testing.assert_array_equal(sin, np.sin(angles).astype(np.float32))
        self.assertEqual(kiln.axial_rope_table(1e4, 0, 3, 64)[0].shape, (0, 32))
        for bad in ((100, 2, 2, 6), (100, -1, 2, 8), (0, 2, 2, 8)):
            with self.assertRaises(kiln.BadCall):
                kiln.axial_rope_table(*bad)

    def test_ops_are_the_generators(self):
        """Tensors, scalars and settings of kiln/ops.py are those of lua/ops."""
        seen, declared = 0, dict(ops.FORWARD, **ops.PRODUCTS)
        for path in glob.glob(os.path.join(ROOT, "lua", "ops", "*.lua")):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            for name, body in re.findall(r'(?:rowwise|gemm|chain)\.op "(\w+)" \{(.*?)^\s*(?:forward|epilogue|stages)', text, re.MULTILINE | re.DOTALL):
                if name not in declared:
                    continue
                seen += 1
                op = declared[name]
                specs = re.search(r"tensors\s*=\s*\{(.*?)\}", body, re.DOTALL).group(1)
                self.assertEqual(tuple(ops._tensor(s) for s in re.findall(r'"([^"]*)"', specs)), op.tensors, name)
                scalars = re.search(r"scalars\s*=\s*\{(.*?)\}", body, re.DOTALL)
                self.assertEqual(tuple(ops._scalar(s) for s in re.findall(r'"([^"]*)"', scalars.group(1) if scalars else "")), op.scalars, name)
                settings = re.search(r"settings\s*=\s*\{(.*?)\},?$", body, re.MULTILINE)
                found = {k: tuple(re.findall(r'"([^"]*)"', v)) for k, v in re.findall(r"(\w+)\s*=\s*\{([^}]*)\}", settings.group(1) + "}" if settings else "")}
                self.assertEqual(found, op.settings, name)
                if name in ("gemm", "linear", "gated_mlp"):
                    dtypes = re.search(r"dtypes\s*=\s*\{([^}]*)\}", body)
                    self.assertEqual(tuple(re.findall(r'"(\w+)"', dtypes.group(1))) if dtypes else ("bf16", "f16", "f32"), ops.PRODUCT_DTYPES, name)
        self.assertEqual(seen, len(declared))

    def test_shapes(self):
        norm, rope = ops.FORWARD["rms_norm"], ops.FORWARD["rope"]
        x, w = norm.tensors[0], norm.tensors[1]
        self.assertEqual(ops.fit(norm, x, (2, 5, 24), (120, 24, 1)), ((2, 1, 1, 5, 24), (120, 0, 0, 24, 1)))
        self.assertEqual(ops.fit(norm, x, (5, 24), (24, 1)), ((1, 1, 1, 5, 24), (0, 0, 0, 24, 1)))
        self.assertEqual(ops.fit(norm, w, (1, 1, 24), (24, 24, 1)), ((24,), (1,)))
        self.assertEqual(ops.fit(norm, w, (2, 1, 24), (24, 24, 1)), ((2, 24), (24, 1)))
        self.assertEqual(ops.fit(rope, rope.tensors[2], (1, 7, 1, 16), (112, 16, 16, 1)), ((7, 16), (16, 1)))
        with self.assertRaises(kiln.BadRank):
            ops.fit(norm, x, (1, 2, 3, 4, 5, 6), (0,) * 6)
        with self.assertRaises(kiln.BadRank):
            ops.fit(rope, rope.tensors[2], (2, 7, 2, 16), (0,) * 4)


def blocks(page):
    """The Python blocks of a page, and whether they need torch."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        found = re.findall(r"^```python\n(.*?)^```$", f.read(), re.MULTILINE | re.DOTALL)
    return [(text, "torch" in text or "kiln.nn" in text) for text in found]


class Docs(unittest.TestCase):
    def test_examples(self):
        """Every block of docs/python.md and README.md that needs no torch runs, one after the other (test_torch.py runs the others)."""
        for page, least in (("docs/python.md", 5), ("README.md", 0)):
            space, ran = {}, 0
            for text, torch in blocks(page):
                if not torch:
                    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
                        exec(compile(text, page, "exec"), space)
                    ran += 1
            self.assertGreaterEqual(ran, least, page)

    def test_tables(self):
        with open(os.path.join(ROOT, "docs", "python.md"), encoding="utf-8") as f:
            page = f.read()
        for name in [c.__name__ for c in errors.BY_STATUS.values()] + list(ops.FORWARD) + list(ops.PRODUCTS):
            self.assertIn("`" + name, page.replace("`, `", "` `"))


class Wheel(unittest.TestCase):
    def test_wheel_stands_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            build = ("import sys; sys.path.insert(0, %r); import backend; print(backend.build_wheel(%r))" % (PACKAGE, folder))
            name = subprocess.run([sys.executable, "-c", build], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
            self.assertRegex(name, r"^kiln-%s-py3-none-linux_\w+\.whl$" % re.escape(kiln.__version__))
            with zipfile.ZipFile(os.path.join(folder, name)) as wheel:
                self.assertIsNone(wheel.testzip())
                wheel.extractall(os.path.join(folder, "site"))
                for item in wheel.infolist():  # as pip does
                    os.chmod(os.path.join(folder, "site", item.filename), item.external_attr >> 16)
            program = ("import kiln, subprocess, numpy as np; d = kiln.Device('sim:sm_80', provider=False); "
                       "d.add_text('n', subprocess.run([kiln.COMMAND_PATH, 'emit', 'rms_norm', '--target', 'sm_80', '--set', "
                       "'dtype=f32,w=no'], stdout=-1).stdout); x = d.array(np.full((2, 8), 3, np.float32)); y = d.empty((2, 8)); "
                       "kiln.Plan(d, 'rms_norm', {'x': x, 'y': y})(); print(kiln.LIBRARY_PATH, y.numpy().sum())")
            environment = dict(os.environ, PYTHONPATH=os.path.join(folder, "site"))
            del environment["KILN_BUILD"]
            out = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True, cwd=folder,
                                 env=environment).stdout.split()
            self.assertTrue(out[0].startswith(os.path.join(folder, "site", "kiln", "lib")))
            self.assertAlmostEqual(float(out[1]), 16.0, places=3)


if __name__ == "__main__":
    unittest.main()
