#!/usr/bin/env python3
"""Tests of the bench of products that need no GPU: its rows and bars, its choice of rows, its tables, its emission.

    test_gemm.py [BUILD]     with a build folder, the emission of variants as well

Where torch is installed, inputs and references are held against their peers on the CPU."""
import importlib.util
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bars  # noqa: E402
import gemm_files  # noqa: E402
import kiln_side  # noqa: E402
import products  # noqa: E402
import report  # noqa: E402

BUILD = None
HAS_TORCH = importlib.util.find_spec("torch") is not None


def result_of(row, us, theirs, wrong=None):
    """A result as gemm.py leaves it, from kiln's time and the peers'."""
    result = {"row": row.name, "op": row.op, "shape": row.shape, "dtype": row.dtype, "flop": row.flop, "meter": {"mhz": 1500, "least_mhz": 1400, "watts": 690},
              "peers": {n: {"us": t, "spread": 0.01} for n, t in theirs.items()}}
    mine = {"variant": "v", "schedule": "bm=64", "us": us, "spread": 0.01, "wrong": wrong, "shares": {}}
    for kind in ("must", "aim"):
        bar = getattr(row, kind)
        best = min((n for n in bar.peers if n in theirs), key=theirs.get, default=None)
        result[kind] = {"share": bar.share, "peers": list(bar.peers), "best": best}
        if best:
            mine["shares"][kind] = theirs[best] / us
    result.update(kiln=mine, variants=[mine])
    result["verdict"] = products.verdict(result)
    return result


class Rows(unittest.TestCase):
    def test_every_bar_has_a_row(self):
        rows = products.table()
        self.assertEqual(len({r.name for r in rows}), len(rows))
        count = lambda **what: sum(all(getattr(r, k) == v for k, v in what.items()) for r in rows)  # noqa: E731
        self.assertEqual((count(op="gemm", dtype="bf16"), count(op="gemm", dtype="f16"), count(dtype="tf32")), (8, 5, 1))
        self.assertEqual([count(scales=s) for s in ("tensor", "row", "block")], [5, 5, 1])
        self.assertEqual(count(op="gated_mlp"), 3)
        for row in rows:
            self.assertLessEqual(row.must.share, row.aim.share, row.name)
            self.assertTrue(row.must.peers and row.aim.peers)

    def test_work(self):
        gemm, mlp = products.chosen(["gemm"], ["bf16"], ["128x4096x4096"])[0], products.chosen(["gated_mlp"], shapes=["4096x11008x4096"])[0]
        self.assertEqual(gemm.flop, 2 * 128 * 4096 * 4096)
        self.assertEqual(mlp.flop, 4 * 4096 * 11008 * 4096)
        self.assertEqual(mlp.peers(), ("torch.compile", "cuBLAS of 2N"))

    def test_choice(self):
        self.assertEqual(len(products.chosen()), len(products.table()))
        self.assertEqual([r.shape for r in products.chosen(["gemm.grad"])], ["4096x4096x4096", "8192x8192x8192"])
        self.assertTrue(all(r.dtype == "f16" for r in products.chosen(dtypes=["f16"])))
        cube = products.chosen(["gemm"], ["bf16"], ["4096x4096x4096"])
        self.assertEqual([r.target for r in cube], [None, "sm_80"])
        new = products.chosen(["gemm", "fp8_gemm"], shapes=["256x512x1024"])
        self.assertEqual({(r.op, r.dtype, r.scales) for r in new}, {("gemm", "bf16", None), ("gemm", "f16", None), ("gemm", "tf32", None), ("fp8_gemm", "e4m3", "tensor"),
                                                                    ("fp8_gemm", "e4m3", "row"), ("fp8_gemm", "e4m3", "block")})
        self.assertEqual({r.shape for r in new}, {"256x512x1024"})
        turned = products.chosen(["gemm"], ["f16"], ["8192x8192x8192"], {"a_major": "m"})
        self.assertEqual([gemm_files.settings_of(r) for r in turned], [{"dtype": "f16", "a_major": "m"}])
        self.assertIn("a_major=m", turned[0].name)

    def test_verdicts(self):
        row = products.chosen(["gemm"], ["bf16"], ["128x4096x4096"])[0]
        for us, wanted in ((100, "aim"), (140, "must"), (148, "MISSED")):
            self.assertEqual(result_of(row, us, {"cuBLAS": 140})["verdict"], wanted)
        self.assertEqual(result_of(row, 10, {"cuBLAS": 140}, wrong=0.5)["verdict"], "WRONG")
        self.assertIsNone(result_of(row, 10, {})["verdict"])
        self.assertIsNone(products.verdict({"row": row.name, "why": "no such op"}))
        fp8 = products.chosen(["fp8_gemm"], shapes=["4096x4096x4096"])[0]
        result = result_of(fp8, 100, {"tensor": 110, "row fast": 96})
        self.assertEqual((result["must"]["best"], result["verdict"]), ("row fast", "must"))  # the fastest form is the bar


class Tables(unittest.TestCase):
    def results(self):
        gemm, mlp = products.chosen(["gemm"], ["bf16"], ["512x4096x4096"])[0], products.chosen(["gated_mlp"], shapes=["4096x11008x4096"])[0]
        return [result_of(gemm, 28.0, {"cuBLAS": 28.5}), result_of(mlp, 1100.0, {"torch.compile": 1159.0, "cuBLAS of 2N": 1083.0}),
                {"row": "fp8_gemm e4m3 row-wise 8192x8192x8192", "why": "no op of that name"}]

    def test_table(self):
        lines = bars.table(products.table_lines(self.results()), products.HEADER, products.LEFT).splitlines()
        self.assertEqual(len(lines), 5)  # the gated MLP has one for each of its peers
        self.assertRegex(lines[1], r"^gemm bf16 512x4096x4096 +28.0 +614 +cuBLAS +28.5 +1.018 +0.95 +1.15 +must +1500 +bm=64$")
        self.assertRegex(lines[2], r"torch.compile +1159 +1.054 +1.00 +must")
        self.assertRegex(lines[3], r"^ +cuBLAS of 2N +1083 +0.985 +1.00")
        self.assertIn("no op of that name", lines[4])

    def test_report(self):
        with tempfile.TemporaryDirectory() as folder:
            record = {"results": self.results(), "emission": {"gemm": 12.0, "softmax": 61.0, "rope": 9.0}, "first": {"cold_ms": 250.0, "warm_ms": 3.0}}
            with open(os.path.join(folder, "gemm.json"), "w", encoding="utf-8") as file:
                json.dump(record, file)
            rows = list(report.product_rows(report.Results(folder)))
        self.assertEqual([met for what, _, _, met in rows if what], [True, True, None, True, False, True])
        self.assertIn("61.0 ms (softmax)", [got for _, got, _, _ in rows])

    def test_a_wrong_variant_fails(self):
        row = products.chosen(["gemm"], ["bf16"], ["512x4096x4096"])[0]
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "gemm.json"), "w", encoding="utf-8") as file:
                json.dump({"results": [result_of(row, 10.0, {"cuBLAS": 28.5}, wrong=0.1)]}, file)
            (_, got, _, met), = report.product_rows(report.Results(folder))
        self.assertIs(met, False)
        self.assertIn("WRONG", got)


class Emission(unittest.TestCase):
    def setUp(self):
        if BUILD is None:
            self.skipTest("no build folder given")

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            files = gemm_files.Files(BUILD, folder, "sm_90a", ["bm=64 bn=64 bk=64 stages=3 wm=2 wn=2", "bm=7"])
            row, absent = products.chosen(["gemm"], ["f16"], ["128x64x64"])[0], products.Product("no_such_op", "bf16", "1x1x1", None, None)
            files.prepare([row, absent])
            schedules, ptx, contract, refused = files.of(row)
            self.assertEqual(list(schedules), ["given0"])
            self.assertIn("bm=64 bn=64 bk=64 stages=3", schedules["given0"])
            self.assertEqual(len(refused), 1)
            self.assertEqual([name for name, _, _ in contract["tensors"]], ["a", "b", "d"])
            self.assertEqual(os.listdir(ptx), ["given0.ptx"])
            with self.assertRaises(kiln_side.Refused):
                files.of(absent)


@unittest.skipUnless(HAS_TORCH, "torch is not installed")
class Problems(unittest.TestCase):
    def setUp(self):
        import problems
        import torch
        problems.DEVICE = "cpu"
        torch.manual_seed(1)
        self.problems, self.torch = problems, torch

    def test_references_are_the_peers(self):
        rows = products.chosen(["gemm", "linear", "gated_mlp"], shapes=["64x96x128"])
        rows += products.chosen(["gemm"], ["bf16"], ["64x96x128"], {"a_major": "m", "b_major": "n"})
        for row in rows + products.chosen(["linear"], shapes=["64x96x128"], settings={"z": "yes"}):
            problem = self.problems.PROBLEMS[row.op](row)
            known = problem.known()
            if row.op == "gemm":
                known["cuBLAS"]()
                self.assertIsNone(self.problems.wrong(problem.theirs, problem.reference(), problem.tolerance), row.name)
                self.assertIsNotNone(self.problems.wrong(problem.theirs + problem.reference().max(), problem.reference(), problem.tolerance))
                self.assertEqual(problem.a.stride(1) == 1, row.settings.get("a_major") != "m")
            elif row.op == "linear":
                y = known["torch.compile"]().detach()
                self.assertEqual(len(problem.reference()), 1 + (row.settings.get("z") == "yes"))
                self.assertIsNone(self.problems.wrong(y, problem.reference()[0], problem.tolerance))
            else:
                known["cuBLAS of 2N"]()
                gate, up = problem.wide.float().chunk(2, 1)
                self.assertIsNone(self.problems.wrong([self.torch.nn.functional.silu(gate) * up], problem.reference(), problem.tolerance))

    def test_gradients(self):
        for op in ("gemm.grad", "linear.grad", "gated_mlp.grad"):
            saved = {"linear.grad": {"act": "gelu_tanh", "z": "yes"}, "gated_mlp.grad": {"gate": "yes", "up": "yes"}}.get(op, {"b_major": "n"})
            for row in products.chosen([op], shapes=["64x96x128"]) + products.chosen([op], shapes=["64x96x128"], settings=saved):
                problem = self.problems.PROBLEMS[op](row)
                found = list(problem.known()["torch"]())
                self.assertIsNone(self.problems.wrong(found, problem.reference(), problem.tolerance), row.name)
                self.assertIsNotNone(self.problems.wrong([found[0], found[1] * 1.1, *found[2:]], problem.reference(), problem.tolerance))
                problem.known()["cuBLAS"]()
                if BUILD is not None:  # by the names and sizes that kiln's contract has
                    with tempfile.TemporaryDirectory() as folder:
                        files = gemm_files.Files(BUILD, folder, "sm_90a")
                        files.prepare([row])
                        contract = files.of(row)[2]
                    given = problem.arguments(contract)
                    self.assertEqual({name for name, _, _ in contract["tensors"]}, set(given), row.name)
                    self.assertTrue(all(given[name].data_ptr() == t.data_ptr() for name, t in zip([n for n in given if n in ("dx", "da")], problem.out)))

    def test_fp8(self):
        torch = self.torch
        for row in products.chosen(["fp8_gemm"], shapes=["128x256x384"]):
            problem = self.problems.PROBLEMS[row.op](row)
            x, w = problem.x.double(), problem.w.double()
            off = (problem.reference().double() - x @ w.t()).abs().max() / (x @ w.t()).abs().max()
            self.assertLess(float(off), 0.05, row.name)
            self.assertGreater(float(off), 0)
            wrong = torch.full_like(problem.out, float("nan"))
            self.assertIsNotNone(self.problems.wrong(wrong, problem.reference(), problem.tolerance))


if __name__ == "__main__":
    if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]):
        BUILD = sys.argv.pop(1)
    unittest.main()
