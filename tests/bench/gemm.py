#!/usr/bin/env python3
"""Matrix products beside cuBLAS on this GPU: every variant of kiln that takes a shape, and the one that is selected, in one run.

GPU time as in peers.py (L2 flushed before each run, median, the better of direct launches and graph replays), for both sides. Each
result is compared with torch's before it is timed. A last table gives the selected variant's share of cuBLAS."""
import argparse
import json
import os
import sys
import tempfile

import torch

import kiln_side
from peers import Timer

SHAPES = ["4096x4096x4096", "8192x8192x8192", "4096x11008x4096", "8192x4096x4096", "2048x2048x16384", "128x4096x4096", "512x4096x4096"]
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


def problem(m, n, k, dtype):
    """a (m, k), b as (k, n) with k contiguous, an output of NaN, and the product."""
    a = torch.randn(m, k, device="cuda").to(DTYPES[dtype])
    b = torch.randn(n, k, device="cuda").to(DTYPES[dtype])
    return a, b.t(), torch.full((m, n), float("nan"), device="cuda", dtype=DTYPES[dtype])


def wrong(out, want):
    """None, or how far the worst element is off in units of the largest: one rounding to 16 bits is below 2^-8."""
    error = ((out.float() - want.float()).abs().max() / want.float().abs().max()).item()
    return None if error < 2 ** -7 else error


def emit(build, folder, dtype, target, schedules):
    """Files of the schedules given, or of all that are offered."""
    emitter = kiln_side.Emitter(build, target, folder)
    settings = {"dtype": dtype}
    wanted = [(f"given{i}", s) for i, s in enumerate(schedules)] or emitter.variants("gemm", settings)
    jobs = [emitter.pool.submit(emitter.emit, "gemm", settings, s, os.path.join(folder, f"{dtype}-{name}.ptx")) for name, s in wanted]
    for job in jobs:
        try:
            job.result()
        except kiln_side.Refused as why:
            print(f"-- {why}")


def variants_of(folder, dtype):
    """{schedule: text of a file}"""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith(dtype + "-"):
            with open(os.path.join(folder, name)) as file:
                text = file.read()
            found[kiln_side.read_contract(text)["schedule"]] = text
    return found


def make_plan(package, device, tensors, dtype):
    return package.Plan(device, "gemm", dict(zip("abd", tensors)), settings={"dtype": dtype})


def measure(timer, package, files, shape, dtype, most):
    m, n, k = map(int, shape.split("x"))
    a, b, out = problem(m, n, k, dtype)
    want = torch.mm(a, b)
    ours = torch.empty_like(out)
    cublas, _, _ = timer.best_us(lambda: torch.mm(a, b, out=ours))
    rows, every = [], package.Device("cuda:0", provider=False)
    for schedule, text in files.items():
        every.add_text(schedule, text)
    entries = {step.entry for step in make_plan(package, every, (a, b, out), dtype).steps}
    offered = [s for s in files if s.startswith("core=")] + [s for s in files if not s.startswith("core=")][:1]
    for schedule in offered[:most]:
        device = package.Device("cuda:0", provider=False)
        device.add_text(schedule, files[schedule])
        try:
            plan = make_plan(package, device, (a, b, out), dtype)
        except package.KilnError as why:
            rows.append({"schedule": schedule, "us": None, "why": str(why).splitlines()[0]})
            continue
        out.fill_(float("nan"))
        plan()
        torch.cuda.synchronize()
        off = wrong(out, want)
        us, spread, _ = timer.best_us(plan)
        rows.append({"schedule": schedule, "us": us, "spread": spread, "wrong": off, "selected": any(f".entry {e}(" in files[schedule] for e in entries)})
    return {"shape": shape, "dtype": dtype, "flop": 2 * m * n * k, "cublas_us": cublas, "rows": rows}


def show(result):
    flop, cublas = result["flop"], result["cublas_us"]
    print(f"\n{result['shape']} {result['dtype']}: cuBLAS {cublas:.1f} us, {flop / cublas / 1e6:.0f} TFLOP/s")
    for row in sorted(result["rows"], key=lambda r: r["us"] or 1e9):
        if row["us"] is None:
            print(f"  {'-':>8}                      {row['schedule']}: {row['why']}")
            continue
        mark = "*" if row["selected"] else " "
        bad = f"  WRONG by {row['wrong']:.2g}" if row["wrong"] else ""
        print(f"{mark} {row['us']:8.1f} us {flop / row['us'] / 1e6:6.0f} TFLOP/s {cublas / row['us']:6.3f}  {row['schedule']}{bad}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="example: KILN_BUILD=build gemm.py --shape 4096x4096x4096 --json gemm.json")
    parser.add_argument("--shape", action="append", metavar="MxNxK", help="instead of the shapes that have a bar; may be repeated")
    parser.add_argument("--dtype", action="append", choices=sorted(DTYPES), help="bf16 unless said; may be repeated")
    parser.add_argument("--schedule", action="append", default=[], help="instead of those on offer; may be repeated")
    parser.add_argument("--most", type=int, default=99, help="variants per shape")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--build", default=os.environ.get("KILN_BUILD", "build"))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gemm.py: torch sees no GPU")
    package = kiln_side.load_package(options.build)
    target = kiln_side.target_of(torch.cuda.get_device_capability())
    timer, results, failed = Timer(options.repeats), [], False
    with torch.cuda.stream(torch.cuda.Stream()), tempfile.TemporaryDirectory(prefix="kiln-gemm-") as folder:
        for dtype in options.dtype or ["bf16"]:
            emit(options.build, folder, dtype, target, options.schedule)
            files = variants_of(folder, dtype)
            for shape in options.shape or SHAPES:
                results.append(measure(timer, package, files, shape, dtype, options.most))
                show(results[-1])
                failed |= any(r.get("wrong") for r in results[-1]["rows"])
                torch.cuda.empty_cache()
    print(f"\n{'shape':18} {'dtype':5} {'cuBLAS us':>10} {'kiln us':>9} {'of cuBLAS':>9}  best")
    for r in results:
        best = min((x for x in r["rows"] if x["us"]), key=lambda x: x["us"], default=None)
        mine = next((x for x in r["rows"] if x.get("selected")), best)
        if best:
            print(f"{r['shape']:18} {r['dtype']:5} {r['cublas_us']:10.1f} {mine['us']:9.1f} {r['cublas_us'] / mine['us']:9.3f}  "
                  f"{r['cublas_us'] / best['us']:.3f} {best['schedule']}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "results": results}, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
