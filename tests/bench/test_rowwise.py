#!/usr/bin/env python3
"""Tests of the row-wise bench that need no GPU: its data, its bars, its tables, its arguments, and what it asks the command for.

    test_rowwise.py [BUILD]     with a build folder, the emission of variants as well

Where torch is installed, every op's formula is held against the reference and autograd on the CPU; where Triton is too, its
kernels are compiled for sm_90. Both are skipped, with a message, elsewhere."""
import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import anchors  # noqa: E402
import bars  # noqa: E402
import cases  # noqa: E402
import kiln_side  # noqa: E402
import rowwise  # noqa: E402
import tables  # noqa: E402

BUILD = None
HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_TRITON = HAS_TORCH and importlib.util.find_spec("triton") is not None


def case_of(op, way, shape, dtype="bf16"):
    found = [c for c in cases.all_cases() if c.key == (op, way, shape, dtype)]
    assert len(found) == 1, (op, way, shape, dtype, len(found))
    return found[0]


class Anchors(unittest.TestCase):
    def test_every_figure_has_a_row_and_every_small_row_a_figure(self):
        keys = {c.key for c in cases.all_cases()}
        self.assertEqual(set(anchors.FIGURES) - keys, set())
        for c in cases.all_cases():
            if not c.big:
                self.assertIn(c.key, anchors.FIGURES)

    def test_best_is_the_smallest_of_all_measurements(self):
        self.assertEqual(anchors.best("rms_norm", "bwd", "8192x4096", "bf16"), (85.6, "compile", "graph"))
        self.assertEqual(anchors.best("rms_norm", "fwd", "8192x4096", "bf16"), (38.0, "liger", "norms"))
        self.assertEqual(anchors.best("layer_norm_adaln", "fwd", "64x186x128", "f32"), (9.22, "compile", "graph"))
        self.assertIsNone(anchors.best("softmax", "fwd", "65536x8192", "bf16"))

    def test_recorded_copy(self):
        self.assertAlmostEqual(anchors.recorded_copy_us(128 << 20), (128 << 20) / 3.58e6)
        self.assertAlmostEqual(anchors.recorded_copy_us(2 << 30), (2 << 30) / 4.25e6)
        sizes = [10 ** k for k in range(5, 12)]
        times = [anchors.recorded_copy_us(n) for n in sizes]
        self.assertEqual(times, sorted(times))


class Tables(unittest.TestCase):
    def test_a_row_of_an_op_without_gradient_and_of_one_with_both(self):
        def row(op, way, us, peers):
            return {"op": op, "way": way, "shape": "8x8", "dtype": "f16", "copy_us": 30.0, "kiln": {"us": us}, "peers": peers}

        lines = list(tables.rowwise_table([row("a", "fwd", 32.06, {"eager": {"us": 1040.2}, "triton": {"us": 40.0}, "compile": {"us": None}}),
                                           row("b", "fwd", 3.214, {}), row("b", "bwd", 1200.4, {"eager": {"us": 1100.6}})]))
        self.assertEqual(lines[2:], ["| a | 8x8 f16 | 32.1 | 0.936 | 40.0 triton | | | |",
                                     "| b | 8x8 f16 | 3.21 | - | | 1200 | 0.025 | 1101 eager |"])

    def test_a_product_has_a_line_for_each_set_of_peers(self):
        def row(aim_peer):
            return {"row": "gemm", "flop": 4e9, "must": {"share": 0.95, "peers": ["x"], "best": "x"},
                    "aim": {"share": 1.0, "peers": [aim_peer], "best": aim_peer}, "peers": {"x": {"us": 9.0}, "y": {"us": 8.0}},
                    "kiln": {"us": 10.0, "shares": {"must": 0.9, "aim": 0.8}}}

        lines = list(tables.product_table([row("x"), row("y")]))
        self.assertEqual(lines[2:], ["| gemm | 10.0 | 400 | x | 9.00 | 0.900 | 0.95 | 1.00 |", "| gemm | 10.0 | 400 | x | 9.00 | 0.900 | 0.95 | |",
                                     "| | | | y | 8.00 | 0.800 | | 1.00 |"])


class Cases(unittest.TestCase):
    def test_names_are_unique(self):
        keys = [c.key for c in cases.all_cases()]
        self.assertEqual(len(keys), len(set(keys)))

    def test_bytes(self):
        m = 8192 * 4096 * 2
        self.assertEqual(case_of("rms_norm", "fwd", "8192x4096").bytes(), 2 * m + 4096 * 2)
        self.assertEqual(case_of("rms_norm", "bwd", "8192x4096").bytes(), 3 * m + 2 * 4096 * 2)  # dy x dx, w dw
        self.assertEqual(case_of("layer_norm", "bwd", "8192x4096").bytes(), 3 * m + 3 * 4096 * 2)  # dy x dx, w dw db
        self.assertEqual(case_of("l2_normalize2", "bwd", "2x(8x512x4096)").bytes(), 3 * m)
        heads = 4 * 16 * 4096 * 128 * 2
        self.assertEqual(case_of("head_layer_norm", "bwd", "4x16x4096x128").bytes(), 6 * heads)
        self.assertEqual(case_of("rope", "bwd", "4x16x4096x128").bytes(), 4 * heads + 2 * 4096 * 128 * 4)
        self.assertEqual(case_of("quantize_u8", "fwd", "8192x4096", "f16").bytes(), 2 * m + m // 2 + 4)  # x twice
        self.assertEqual(case_of("add_rms_norm", "bwd", "65536x8192").bytes(), 4 * (1 << 30) + 2 * 8192 * 2)  # dy dh h dx, w dw
        self.assertEqual(case_of("layer_norm_adaln", "bwd", "64x186x128", "f32").bytes(), (3 * 186 + 3) * 64 * 128 * 4)

    def test_the_large_rows_move_as_many_bytes_as_65536x8192(self):
        for c in cases.all_cases():
            if c.big and c.way == "fwd":
                self.assertGreaterEqual(c.bytes(), 1.5 * (1 << 30), c.name)
        self.assertEqual({c.op for c in cases.all_cases() if c.big and c.way == "fwd"}, set(cases.OPS))
        self.assertLessEqual(cases.NORMS, {c.op for c in cases.all_cases() if c.big and c.way == "bwd"})

    def test_choice(self):
        self.assertEqual({c.op for c in cases.chosen(("softmax", "rope"))}, {"softmax", "rope"})
        self.assertTrue(all(c.dtype == "f32" and c.way == "bwd" for c in cases.chosen((), ("f32",), ("bwd",))))
        self.assertTrue(all("64x186" in c.shape for c in cases.chosen((), ("64x186",))))
        quick = cases.chosen(quick=True)
        self.assertTrue(quick and not any(c.big for c in quick))

    def test_custom(self):
        rows = cases.custom("rope", "B=1,H=2,T=8,N=64", "f16", ("fwd", "bwd"))
        self.assertEqual([c.way for c in rows], ["fwd", "bwd"])
        self.assertEqual(dict(rows[0].dims)["S"], 8)
        self.assertEqual(dict(rows[0].dims)["R"], 64)
        self.assertEqual([c.way for c in cases.custom("quantize_block", "M=4,N=256", "bf16", ("fwd", "bwd"))], ["fwd"])
        for text in ("B=1,M=2", "B=1,M=2,N=0", "B=1,M", "B=x,M=2,N=3"):
            with self.assertRaises(ValueError):
                cases.custom("rms_norm", text, "bf16", ("fwd",))


class Bars(unittest.TestCase):
    def test_large_rows(self):
        bar, = bars.bars(case_of("softmax", "fwd", "65536x8192"), 500.0, 1.0, {})
        self.assertAlmostEqual(bar.must_us, 500 / 0.93)
        self.assertAlmostEqual(bar.aim_us, 500 / 0.98)
        self.assertEqual([bar.verdict(us) for us in (510, 511, 537, 538)], ["aim", "must", "must", "MISSED"])
        bar, = bars.bars(case_of("rms_norm2", "bwd", "2x(8x4096x8192)"), 750.0, 1.0, {})
        self.assertAlmostEqual(bar.must_us, 750 / 0.85)
        self.assertAlmostEqual(bar.aim_us, 750 / 0.95)
        self.assertEqual(bars.bars(case_of("gated", "bwd", "65536x8192"), 750.0, 1.0, {}), [])

    def test_forward_stands_on_the_faster_of_compile_and_record_or_on_the_copy(self):
        case = case_of("layer_norm", "fwd", "8192x4096")  # recorded 51
        bar, = bars.bars(case, 37.0, 1.0, {"compile": 45.0, "triton": 20.0, "eager": 10.0})
        self.assertEqual((bar.must_us, bar.why), (45.0, "torch.compile"))
        self.assertAlmostEqual(bar.aim_us, 45 / 1.15)
        bar, = bars.bars(case, 37.0, 1.1, {"compile": 60.0})
        self.assertAlmostEqual(bar.must_us, 51 * 1.1)
        bar, = bars.bars(case, 40.0, 1.0, {"compile": 41.0})
        self.assertAlmostEqual(bar.must_us, 40 / 0.95)
        self.assertEqual(bar.why, "0.95 copy")
        self.assertAlmostEqual(bar.aim_us, 40 / 0.97)

    def test_backward_stands_on_the_record_or_on_the_copy(self):
        case = case_of("rms_norm", "bwd", "8192x4096")  # recorded 85.6
        bar, = bars.bars(case, 54.0, 1.3, {"compile": 50.0})
        self.assertEqual((bar.must_us, bar.why), (85.6, "recorded compile"))
        self.assertAlmostEqual(bar.aim_us, 85.6 / 1.5)
        bar, = bars.bars(case, 84.0, 1.0, {})
        self.assertAlmostEqual(bar.must_us, 84 / 0.93)
        self.assertAlmostEqual(bar.aim_us, 84 / 0.97)

    def test_fused_rows_have_two(self):
        found = bars.bars(case_of("ln_rope", "fwd", "4x16x4096x128"), 70.0, 1.0, {})
        self.assertEqual([b.name for b in found], ["fused", "figures"])
        self.assertAlmostEqual(found[0].must_us, 70 / 0.9)
        worst, verdict = bars.worst(found, 79.0)
        self.assertEqual((worst.name, verdict), ("fused", "MISSED"))

    def test_an_aim_is_never_easier_than_the_must(self):
        for case in cases.all_cases():
            for bar in bars.bars(case, anchors.recorded_copy_us(case.bytes()), 1.0, {"compile": 1.0}):
                self.assertLessEqual(bar.aim_us, bar.must_us, case.name)


class Tables(unittest.TestCase):
    def row(self, case, us, **peers):
        row = {"name": case.name, "copy_us": 37.0, "kiln": {"us": us, "variant": case.kiln_op() + "-bf16-r1x4096"} if us else
               {"word": "WRONG", "why": "y 1.0"}, "peers": {n: {"us": v} if v else {"word": "failed", "why": "x"} for n, v in peers.items()}}
        bars.judge(case, row, 1.0)
        return row

    def test_rows(self):
        case = case_of("rms_norm", "fwd", "8192x4096")
        cells = bars.table_row(case, self.row(case, 36.0, eager=50.0, compile=None, triton=45.0), wide=True)
        self.assertEqual(len(cells), len(bars.WIDE))
        self.assertEqual(dict(zip(bars.WIDE, cells))["best peer"], "triton 45.0")
        self.assertEqual(dict(zip(bars.WIDE, cells))["compile"], "failed")
        self.assertEqual(dict(zip(bars.WIDE, cells))["variant"], "bf16-r1x4096")
        self.assertEqual(dict(zip(bars.WIDE, cells))["ratio"], "1.25")
        self.assertEqual(dict(zip(bars.WIDE, cells))["copy"], "1.028")
        empty = bars.table_row(case, {"copy_us": None, "kiln": None, "peers": {}})
        self.assertEqual(len(empty), len(bars.HEADER))
        text = bars.table([cells, empty + ("-",) * 3], bars.WIDE)
        self.assertEqual(len(text.splitlines()), 3)

    def test_summary_and_status(self):
        case = case_of("rms_norm", "fwd", "8192x4096")
        good, slow, wrong = self.row(case, 36.0), self.row(case, 60.0), self.row(case, None)
        self.assertFalse(bars.failed([good]))
        self.assertTrue(bars.failed([good, slow]))
        self.assertTrue(bars.failed([good, wrong]))
        text = "\n".join(bars.summary([good, slow, wrong]))
        self.assertIn("1 reach their aim, 0 more hold, 1 missed, 1 not measured", text)
        self.assertIn("missed: rms_norm fwd 8192x4096 bf16: 60.0 us, must 38.9", text)
        self.assertIn("WRONG: y 1.0", text)
        self.assertEqual(wrong["verdict"], "")

    def test_numbers(self):
        self.assertEqual([bars.number(v) for v in (None, 4.871, 36.84, 512.3, 2056.2)], ["-", "4.87", "36.8", "512.3", "2056"])


class Arguments(unittest.TestCase):
    def refused(self, *argv):
        with contextlib.redirect_stderr(io.StringIO()) as text, self.assertRaises(SystemExit) as left:
            rowwise.parse(list(argv))
        self.assertEqual(left.exception.code, 2)
        return text.getvalue()

    def test_choices(self):
        options, chosen = rowwise.parse(["--op", "rms_norm,softmax", "--way", "bwd", "--only", "kiln"])
        self.assertEqual({c.op for c in chosen}, {"rms_norm", "softmax"})
        self.assertEqual({c.way for c in chosen}, {"bwd"})
        self.assertEqual(options.parts, ("kiln",))
        options, chosen = rowwise.parse(["--no-triton", "--quick"])
        self.assertEqual(options.parts, ("kiln", "eager", "compile"))
        self.assertEqual(options.samples, 7)
        self.assertTrue(all(c.quick for c in chosen))
        self.assertEqual(len(rowwise.parse([])[1]), len(cases.all_cases()))
        _, chosen = rowwise.parse(["--op", "rms_norm", "--size", "B=2,M=3,N=8", "--dtype", "f32"])
        self.assertEqual([(c.way, c.dtype, c.shape) for c in chosen], [("fwd", "f32", "2x3x8"), ("bwd", "f32", "2x3x8")])

    def test_refusals(self):
        self.assertIn("unknown op 'norm'", self.refused("--op", "norm"))
        self.assertIn("--only cuda", self.refused("--only", "cuda"))
        self.assertIn("no row is left", self.refused("--shape", "7x7"))
        self.assertIn("--size needs one op", self.refused("--size", "B=1"))
        self.assertIn("missing: N", self.refused("--op", "rms_norm", "--size", "B=1,M=2"))
        self.assertIn("goes with --schedules", self.refused("--schedule", "kind=regs"))

    def test_help_has_examples(self):
        text = rowwise.parser().format_help()
        for word in ("examples", "--schedules", "--only kiln", "--json"):
            self.assertIn(word, text)

    def test_list(self):
        _, chosen = rowwise.parse(["--op", "softmax"])
        lines = rowwise.list_text(chosen).splitlines()
        self.assertEqual(len(lines), 1 + len(chosen))
        self.assertIn("2147.5", lines[1])


CONTRACT = """//@ kiln 1
//@ op rms_norm.grad
//@ set dtype=bf16 w=yes
//@ schedule kind=regs rows=1
//@ tensor dy in bf16 [M0,N] strides [dy_0,1] align 16
//@ tensor dx out bf16 [M0,N] strides [dx_0,1] align 16
//@ tensor s in f32 [] strides [] align 4
//@ scalar eps f32 default 1e-06
//@ scalar pos i32 call
//@ end
.version 8.0
//@ tensor never in bf16
"""


class KilnSide(unittest.TestCase):
    def test_contract(self):
        found = kiln_side.read_contract(CONTRACT)
        self.assertEqual(found["tensors"], [("dy", "in", ["M0", "N"]), ("dx", "out", ["M0", "N"]), ("s", "in", [])])
        self.assertEqual(found["scalars"], [("eps", "default 1e-06"), ("pos", "call")])
        self.assertEqual((found["settings"], found["schedule"]), ("dtype=bf16 w=yes", "kind=regs rows=1"))

    def test_texts(self):
        self.assertEqual(kiln_side.schedule_text("kind=regs rows=1,vec=8"), "kind=regs,rows=1,vec=8")
        self.assertEqual(kiln_side.parse_variants("variant  schedule\na-r1  kind=regs rows=1\n\nb  kind=x\n"),
                         [("a-r1", "kind=regs rows=1"), ("b", "kind=x")])
        self.assertEqual([kiln_side.target_of(c) for c in ((7, 5), (8, 9), (9, 0), (10, 0), (12, 0))],
                         ["sm_75", "sm_89", "sm_90a", "sm_100a", "sm_120a"])

    def test_shapes(self):
        known = kiln_side.shapes(case_of("rms_norm2", "bwd", "2x(8x512x4096)"))
        self.assertEqual(known["rstd2"], ((8, 512), "f32"))
        self.assertEqual(known["dw1"], ((4096,), "bf16"))
        self.assertEqual(kiln_side.shapes(case_of("quantize_block", "fwd", "65536x8192"))["scale"], ((65536, 64), "f32"))
        self.assertEqual(kiln_side.spread((8, 512, 64), ["B", "M_0", "M_1", "M_2", "N"]), (8, 1, 1, 512, 64))
        self.assertEqual(kiln_side.spread((8, 64), ["B", "N"]), (8, 64))
        self.assertEqual(kiln_side.spread((8, 64), ["M_0", "M_1", "N"]), (8, 64))
        self.assertEqual(kiln_side.spread((), []), ())

    def test_emission(self):
        if not BUILD:
            self.skipTest("no build folder was given")
        case = case_of("rms_norm", "fwd", "8192x4096")
        with tempfile.TemporaryDirectory() as folder:
            emitter = kiln_side.Emitter(BUILD, "sm_90a", folder, threads=2)
            emitter.variants = lambda op, settings, all_of=emitter.variants: all_of(op, settings)[:3]
            emitter.prepare([case])
            at, contract = emitter.group(case)
            self.assertEqual(len(os.listdir(at)), 3)
            self.assertLessEqual({("x", "in"), ("y", "out")}, {t[:2] for t in contract["tensors"]})
            self.assertIn("dtype=bf16", contract["settings"].split())
            self.assertLessEqual({t[0] for t in contract["tensors"]}, set(kiln_side.shapes(case)))
            with self.assertRaises(kiln_side.Refused):
                emitter.emit("rms_norm", case.settings(), "kind=nonsense", os.path.join(folder, "x.ptx"))


SMALL = {"B": 3, "M": 7, "N": 64, "H": 2, "T": 5, "S": 5, "P": 5, "R": 64}


def small(case):
    dims = {k: min(v, SMALL[k]) for k, v in case.dims}
    if case.op == "rms_norm_rope":
        dims["R"] = 16
    if case.op == "quantize_block":
        dims["N"] = 256
    return cases.Case(case.op, case.way, case.shape, tuple(dims.items()), case.dtype, case.big, case.quick)


def one_of_each():
    found = {}
    for case in cases.all_cases():
        found.setdefault((case.op, case.way), case)
    return list(found.values())


@unittest.skipUnless(HAS_TORCH, "torch is not installed: formulas and references are not tested here")
class Torch(unittest.TestCase):
    def test_eager_agrees_with_the_reference(self):
        import peers_torch
        for case in map(small, one_of_each()):
            data = peers_torch.make_data(case, "cpu")
            results = peers_torch.results_of(case, peers_torch.eager_work(data)())
            right, text = peers_torch.check(results, peers_torch.reference(data), case.dtype)
            self.assertTrue(right, f"{case.name}: {text}")

    def test_a_wrong_result_is_seen(self):
        import peers_torch
        case = small(case_of("rms_norm", "fwd", "8192x4096"))
        data = peers_torch.make_data(case, "cpu")
        expected = peers_torch.reference(data)
        for spoil in (lambda y: y[0, 0, 0].fill_(float("nan")), lambda y: y[2, 6].mul_(1.05), lambda y: y[1, 3].zero_()):
            y = expected["y"].to(data.inputs["x"].dtype)
            self.assertTrue(peers_torch.check({"y": y}, expected, "bf16")[0])
            spoil(y)
            self.assertFalse(peers_torch.check({"y": y}, expected, "bf16")[0])
        self.assertFalse(peers_torch.check({}, expected, "bf16")[0])

    def test_arguments_of_a_plan(self):
        import peers_torch
        case = small(case_of("rms_norm", "bwd", "8192x4096"))
        data = peers_torch.make_data(case, "cpu")
        rows = ["B", "M_0", "M_1", "M_2"]
        tensors = [("dy", "in", rows + ["N"]), ("x", "in", rows + ["N"]), ("rstd", "in", rows), ("dx", "out", rows + ["N"]), ("dw", "out", ["N"])]
        contract = {"tensors": tensors, "scalars": []}
        given, results = kiln_side.arguments(data, contract, lambda: peers_torch.forward_results(data), peers_torch.DTYPES)
        self.assertEqual(list(given), ["dy", "x", "rstd", "dx", "dw"])
        self.assertEqual(tuple(given["rstd"].shape), (3, 1, 1, 7))
        self.assertEqual(tuple(given["dx"].shape), (3, 1, 1, 7, 64))
        self.assertEqual(tuple(given["dw"].shape), (64,))
        self.assertEqual(set(results), {"dx", "dw"})
        self.assertTrue(bool(results["dx"].isnan().all()))
        with self.assertRaises(kiln_side.Refused):
            kiln_side.arguments(data, {"tensors": [("what", "in", ["N"])]}, dict, peers_torch.DTYPES)


@unittest.skipUnless(HAS_TRITON, "torch and Triton are not both installed: its kernels are not compiled here")
class Triton(unittest.TestCase):
    def test_kernels_compile_for_sm_90(self):
        import torch
        import triton
        import peers_torch
        import peers_triton
        types = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32", torch.uint8: "*u8",
                 torch.float8_e4m3fn: "*fp8e4nv"}
        seen = set()

        def compile_only(kernel, grid, *args, warps=4, **meta):
            names, signature, constants, aligned = kernel.arg_names, {}, dict(meta), {}
            for i, (name, value) in enumerate(zip(names, args)):
                if isinstance(value, torch.Tensor):
                    signature[name] = types[value.dtype]
                    aligned[(i,)] = [["tt.divisibility", 16]]
                else:
                    signature[name] = "fp32" if isinstance(value, float) else "i32" if value < 1 << 31 else "i64"
            signature.update({name: "constexpr" for name in meta})
            key = (kernel.__name__, tuple(sorted(meta.items())), tuple(signature.values()))
            if (kernel.__name__, meta.get("KIND"), meta.get("WEIGHT"), meta.get("BACK")) in seen:
                return
            seen.add((kernel.__name__, meta.get("KIND"), meta.get("WEIGHT"), meta.get("BACK")))
            source = triton.compiler.ASTSource(fn=kernel, signature=signature, attrs=aligned,
                                               constexprs={(names.index(n),): v for n, v in constants.items()})
            done = triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", 90, 32), options={"num_warps": warps})
            self.assertIn(".target sm_90", done.asm["ptx"], key)

        def empty(case, tensors):
            return {t.name: torch.empty(case.shape_of(t), dtype=peers_torch.DTYPES[case.dtype_of(t)], device="meta") for t in tensors}

        real, peers_triton.launch = peers_triton.launch, compile_only
        try:
            for case in one_of_each():
                incoming = empty(case, case.spec.outputs()) if case.way == "bwd" else {}
                data = peers_torch.Data(case, empty(case, case.spec.inputs()), incoming)
                peers_triton.work(data, lambda: empty(case, case.spec.outputs()))()
        finally:
            peers_triton.launch = real
        self.assertGreater(len(seen), 15)


if __name__ == "__main__":
    if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]):
        BUILD = sys.argv.pop(1)
    for there, what in ((HAS_TORCH, "torch: the formulas of ops"), (HAS_TRITON, "torch with Triton: the compilation of kernels")):
        if not there:
            print(f"skipped, as it needs {what}")
    unittest.main()
