#!/usr/bin/env python3
"""Matrix products beside cuBLAS, cuBLASLt and torch.compile on this GPU: every row of products.py, or those that the arguments name.

Sides take turns (turns.py), on the same random normal inputs. kiln's results are compared with a product in f32 before they are timed.
Ops and dtypes that this binary lacks are left out, and said so. Without arguments also how long `kiln emit` takes as a process, and the first
plan of a gemm where the driver has its PTX not yet assembled."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import torch
except ImportError:
    sys.exit("gemm.py: compares with torch, which this Python lacks: pip install torch")

import bars
import kiln_side
import products
from gemm_files import Files, settings_of
from problems import PROBLEMS, kept, wrong
from turns import Turns, share, spread


# ---- a row ----

class Sides:
    """kiln's plans of one row, on a device that knows the row's files alone."""

    def __init__(self, package, row, files, problem):
        self.schedules, folder, contract, self.refused = files.of(row)
        self.device = package.Device("cuda:0", provider=False)
        self.device.add(folder)
        self.package, self.row, self.problem = package, row, problem
        self.settings = {name: value for name, value in settings_of(row).items() if name not in kept(row)}  # their tensors say it
        self.tensors = problem.arguments(contract)

    def plan(self, variant=None):
        return self.package.Plan(self.device, self.row.op, self.tensors, settings=self.settings, variant=variant, target=self.row.target)

    def checked(self, plan):
        """None, or how far the worst element is off."""
        for out in self.problem.out if isinstance(self.problem.out, list) else [self.problem.out]:
            out.fill_(float("nan"))
        plan()
        torch.cuda.synchronize()
        return wrong(self.problem.out, self.problem.reference(), self.problem.tolerance)


def left_out(row, why):
    print(f"-- {row.name}: left out: {why}", flush=True)
    return {"row": row.name, "why": str(why)}


def measure(turns, package, row, files, every):
    """The result of a row as --json has it. every: all variants that take the shape, not only the one that is selected."""
    try:
        problem = PROBLEMS[row.op](row)
        sides = Sides(package, row, files, problem)
        selected = sides.plan()
    except (kiln_side.Refused, package.KilnError) as why:
        return left_out(row, str(why).splitlines()[0])
    result = {"row": row.name, "op": row.op, "shape": row.shape, "dtype": row.dtype, "flop": row.flop, "variants": []}
    for kind in ("must", "aim"):
        bar = getattr(row, kind)
        result[kind] = {"share": bar.share, "peers": list(bar.peers)}
    plans = {selected.variant: selected}
    if every:
        for variant in sides.schedules:
            try:
                plans.setdefault(variant, sides.plan(variant))
            except package.KilnError as why:
                result["variants"].append({"variant": variant, "why": str(why).splitlines()[0]})
    off = {variant: sides.checked(plan) for variant, plan in plans.items()}
    problem.forget()
    peers, absent = problem.peers(row.peers())
    for name, why in absent.items():
        print(f"-- {row.name}: {name} is left out: {why}")
    times, seen = turns.compare({**{("kiln", v): p for v, p in plans.items()}, **{("peer", n): w for n, w in peers.items()}})
    theirs = {name: [t / getattr(work, "times", 1) for t in times["peer", name]] for name, work in peers.items()}
    result["peers"] = {name: {"us": statistics.median(t), "spread": spread(t)} for name, t in theirs.items()}
    result["meter"] = seen
    for variant in plans:
        mine = {"variant": variant, "schedule": sides.schedules.get(variant, ""), "us": statistics.median(times["kiln", variant]),
                "spread": spread(times["kiln", variant]), "wrong": off[variant], "shares": {}}
        for kind in ("must", "aim"):
            known = [n for n in getattr(row, kind).peers if n in theirs]
            best = min(known, key=lambda n: statistics.median(theirs[n]), default=None)
            if best is not None:
                mine["shares"][kind] = share(times["kiln", variant], theirs[best])
                result[kind]["best"] = best
        result["variants"].append(mine)
        if variant == selected.variant:
            result["kiln"] = mine
    result["verdict"] = products.verdict(result)
    return result


def show(result):
    """A row at length: peers, and every variant that was timed."""
    if "kiln" not in result:
        return
    rate = lambda us: f"{bars.number(us):>8} us {result['flop'] / us / 1e6:6.0f} TFLOP/s"  # noqa: E731
    print(f"\n{result['row']}{clock(result['meter'])}")
    for name, peer in result["peers"].items():
        print(f"  {rate(peer['us'])}  {peer['spread']:5.1%}         {name}")
    for v in sorted(result["variants"], key=lambda v: v.get("us") or 1e9):
        if "us" not in v:
            print(f"  {'-':>8}                                    {v['variant']}: {v['why']}")
            continue
        bad = f"  WRONG by {v['wrong']:.2g}" if v["wrong"] else ""
        print(f"{'*' if v is result['kiln'] else ' '} {rate(v['us'])}  {v['spread']:5.1%}  {v['shares'].get('must', 0):.3f}  {v['schedule']}{bad}", flush=True)


def clock(seen):
    if not seen:
        return ""
    watts = "" if seen["watts"] is None else f", up to {seen['watts']:.0f} W"
    return f"   (SM {seen['mhz']:.0f} MHz, at least {seen['least_mhz']}{watts})"


# ---- processes ----

def emission(build, target):
    """{op: median ms of `kiln emit OP` as a whole process}: alone on the machine, to nowhere."""
    command, times = os.path.join(build, "kiln"), {}
    listed = subprocess.run([command, "list"], capture_output=True, text=True, check=True).stdout
    for op in [line.split()[0] for line in listed.splitlines() if line.strip()]:
        taken = []
        for _ in range(9 if op == "gemm" else 5):
            start = time.perf_counter()
            done = subprocess.run([command, "emit", op, "--target", target, "-o", os.devnull], capture_output=True, text=True, check=False)
            taken.append((time.perf_counter() - start) * 1000)
        if done.returncode == 0:
            times[op] = statistics.median(taken)
    return times


def first_plans(build, folder, row, files):
    """{"cold_ms", "warm_ms"}: the first plan of a process, with the driver's cache empty and filled. Each in a process of its own."""
    schedules, ptx, _, _ = files.of(row)
    with tempfile.TemporaryDirectory(prefix="kiln-jit-", dir=folder) as cache:
        environment = dict(os.environ, CUDA_CACHE_PATH=cache, CUDA_CACHE_DISABLE="0", KILN_BUILD=os.path.abspath(build))
        program = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "first_plan.py"), ptx, row.shape, row.dtype]
        found = [json.loads(subprocess.run(program, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout)
                 for _ in range(2)]
    return {"cold_ms": found[0]["plan_ms"], "warm_ms": found[1]["plan_ms"], "open_ms": found[1]["open_ms"], "variant": found[0]["variant"],
            "files": len(schedules)}


def processes(build, folder, target, files):
    record = {"emission": emission(build, target)}
    gemm, others = record["emission"].get("gemm"), {op: ms for op, ms in record["emission"].items() if op != "gemm"}
    if gemm and others:
        slowest = max(others, key=others.get)
        print(f"\nkiln emit as a process: gemm {gemm:.1f} ms, of the others {slowest} takes longest, {others[slowest]:.1f} ms")
    row = products.chosen(["gemm"], ["bf16"], ["4096x4096x4096"])[0]
    try:
        files.prepare([row])
        record["first"] = first_plans(build, folder, row, files)
        print("first plan of gemm ({variant}): {cold_ms:.0f} ms with the driver's cache empty, {warm_ms:.1f} ms with it filled".format(**record["first"]))
    except (kiln_side.Refused, subprocess.SubprocessError, ValueError) as why:
        print(f"-- first plan: {why}: {getattr(why, 'stderr', '')}")
    return record


# ---- the command ----

def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="example: gemm.py --op gemm --dtype bf16 --shape 8192x8192x8192 --schedules all")
    parser.add_argument("--op", action="append", default=[], choices=sorted(PROBLEMS), help="rows of this op only; may be repeated")
    parser.add_argument("--dtype", action="append", default=[], help="bf16, f16, tf32, e4m3; may be repeated")
    parser.add_argument("--shape", action="append", default=[], metavar="MxNxK", help="one that has a bar, or any other; may be repeated")
    parser.add_argument("--set", default="", metavar="K=V,..", help="more settings of the op: a_major=m")
    parser.add_argument("--schedules", choices=["selected", "all"], default="selected", help="all: every variant that takes the shape")
    parser.add_argument("--schedule", action="append", default=[], metavar="K=V,..", help="these instead of those on offer; may be repeated")
    parser.add_argument("--seconds", type=float, default=0.3, help="of GPU time for each row (0.3)")
    parser.add_argument("--list", action="store_true", help="the rows, and nothing else")
    parser.add_argument("--build", default=os.environ.get("KILN_BUILD", "build"))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    options.set = dict(pair.split("=", 1) for pair in options.set.split(",") if pair)
    options.narrow = bool(options.op or options.dtype or options.shape or options.set or options.schedule or options.schedules == "all")
    return options


def main():
    options = arguments()
    rows = products.chosen(options.op, options.dtype, options.shape, options.set)
    if options.list:
        print("\n".join(row.name for row in rows))
        return 0
    if not torch.cuda.is_available():
        sys.exit("gemm.py: torch sees no GPU")
    package, results = kiln_side.load_package(options.build), []
    target = kiln_side.target_of(torch.cuda.get_device_capability())
    record = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "results": results}
    with tempfile.TemporaryDirectory(prefix="kiln-gemm-") as folder:
        files = Files(options.build, folder, target, options.schedule)
        if not options.narrow:  # before anything else keeps the cores busy
            record.update(processes(options.build, folder, target, files))
        files.prepare(rows)
        turns = Turns(options.seconds)
        for row in rows:
            results.append(measure(turns, package, row, files, options.schedules == "all" or bool(options.schedule)))
            show(results[-1])
            torch.cuda.empty_cache()
            if options.json:
                with open(options.json, "w") as file:
                    json.dump(record, file, indent=1)
    print("\n" + bars.table(products.table_lines(results), products.HEADER, products.LEFT))
    return 1 if any(v.get("wrong") for r in results for v in r.get("variants", [])) else 0


if __name__ == "__main__":
    sys.exit(main())
