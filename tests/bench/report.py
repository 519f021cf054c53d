#!/usr/bin/env python3
"""The table of bars that tests/gpu.sh ends with, from what its parts left in a folder. Exit status 1 if a bar was missed."""
import argparse
import json
import os
import re
import sys

NORM_BARS = [("65536x8192", "M=65536,N=8192"), ("8192x4096", "M=8192,N=4096"), ("32768x1024", "M=32768,N=1024")]


class Results:
    """Figures of one run; what a part did not leave behind is None."""

    def __init__(self, folder):
        self.folder = folder
        self.json = {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                self.json[name[:-5]] = self.load(name)

    def load(self, name):
        try:
            with open(os.path.join(self.folder, name)) as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def text(self, name):
        try:
            with open(os.path.join(self.folder, name), errors="replace") as file:
                return file.read()
        except OSError:
            return None

    def status(self, part):
        text = self.text(part + ".status")
        return int(text) if text else None

    def ran(self, parts):
        """Whether one of the parts was asked for, whatever became of it."""
        return any(self.status(part) is not None for part in parts)

    def bench(self, name, key, scale=1):
        record = self.json.get("bench-" + name)
        return record[key] * scale if isinstance(record, dict) and key in record else None

    def peer_us(self, op, shape, prefix):
        peers = self.json.get("peers") or {}
        times = [r["us"] for r in peers.get("rows", []) if r["op"] == op and r["shape"] == shape and r["peer"].startswith(prefix)]
        return min(times) if times else None


def number(value, text):
    return "-" if value is None else text.format(value)


def norm_rows(r):
    for name, shape in NORM_BARS:
        us, copy = r.bench("norm-" + name, "median_ns", 1e-3), r.bench("norm-" + name, "copy_fraction")
        peer = r.peer_us("rms_norm", shape, "torch.compile")
        eager = r.peer_us("rms_norm", shape, "torch eager")
        what = f"rms_norm bf16 {name}"
        got = f"{number(us, '{:.2f} us')}, {number(copy, '{:.3f}')} of the copy rate"
        if name == "65536x8192":
            met = None if copy is None else copy >= 0.93
            yield what, got, "0.93 of the copy rate", met
        else:
            met = None if us is None or peer is None else us <= peer
            yield what, got, f"torch.compile: {number(peer, '{:.2f} us')}", met
        yield "", "", f"(torch eager {number(eager, '{:.2f} us')}, torch.compile {number(peer, '{:.2f} us')})", None


def gemm_rows(r):
    rate = r.bench("gemm-4096", "flop_per_second", 1e-12)
    ceiling = (r.json.get("ceiling") or {}).get("ceiling_tflops")
    fraction = rate / ceiling if rate and ceiling else None
    got = f"{number(rate, '{:.1f} TFLOP/s')}, {number(fraction, '{:.3f}')} of the ceiling"
    yield "gemm bf16 4096^3, sm_80 PTX", got, f"0.75 of {number(ceiling, '{:.1f} TFLOP/s')}", None if fraction is None else fraction >= 0.75
    cublas = r.peer_us("gemm", "M=4096,N=4096,K=4096", "cuBLAS")
    yield "", "", f"(cuBLAS {number(cublas, '{:.1f} us')}, kiln {number(r.bench('gemm-4096', 'median_ns', 1e-3), '{:.1f} us')})", None


def product_rows(r):
    """The rows of tests/bench/gemm.py: the selected variant beside the peers that its bars stand on."""
    record = r.json.get("gemm") or {}
    for result in record.get("results", []):
        mine = result.get("kiln")
        if not mine:
            yield result["row"], "left out", result["why"][:44], None
            continue
        for kind in ("must", "aim"):
            bar, share = result[kind], mine["shares"].get(kind)
            if kind == "aim" and bar["peers"] == result["must"]["peers"]:
                continue
            best = bar.get("best")
            text = f"{bar['share']:.2f} of {best or ' or '.join(bar['peers'])}" + (f", {number(result['peers'][best]['us'], '{:.1f} us')}" if best else "")
            if kind == "must":
                bad = any(v.get("wrong") for v in result["variants"])
                got = f"{mine['us']:.1f} us, {number(share, '{:.3f}')}" + (", a variant is WRONG" if bad else "")
                aim = f"; aim {result['aim']['share']:.2f}" if bar["peers"] == result["aim"]["peers"] else ""
                yield result["row"], got, text + aim, None if share is None else share >= bar["share"] and not bad
            else:
                yield "", number(share, "{:.3f}"), f"(aim: {text})", None
    emission = record.get("emission") or {}
    others = [op for op in emission if op != "gemm"]
    for what, ops, bar, aim in (("kiln emit gemm, whole process", ["gemm"], 30, 10), ("kiln emit, any other op", others, 50, 15)):
        if ops and all(op in emission for op in ops):
            slowest = max(ops, key=emission.get)
            yield what, f"{emission[slowest]:.1f} ms" + (f" ({slowest})" if len(ops) > 1 else ""), f"{bar} ms; aim {aim} ms", emission[slowest] <= bar
    first = record.get("first")
    if first:
        yield "first plan of gemm, cold driver", f"{first['cold_ms']:.0f} ms; {first['warm_ms']:.1f} ms when cached", "to be stated; aim 300 ms", True


def launch_rows(r):
    launch = r.json.get("launch") or {}
    ours, bare, plan = (launch.get(k) for k in ("kiln_launch_ns", "bare_launch_ns", "plan_ns"))
    ratio = ours / bare if ours and bare else None
    got = f"{number(ours and ours / 1e3, '{:.3f} us')}, {number(ratio, '{:.3f}')} of cuLaunchKernel"
    yield "CPU time of kiln_launch", got, f"1.2 of {number(bare and bare / 1e3, '{:.3f} us')}", None if ratio is None else ratio <= 1.2
    maps = launch.get("maps") or {}
    if maps.get("bare_launch_ns"):
        each = (maps["kiln_launch_ns"] - 1.05 * maps["bare_launch_ns"]) / maps["number"]
        ratio = maps["kiln_launch_ns"] / maps["bare_launch_ns"]
        got = f"{number(maps['kiln_launch_ns'] / 1e3, '{:.3f} us')}, {ratio:.3f}; {each:.0f} ns a map beyond 1.05"
        yield f"CPU time with {maps['number']} tensor maps", got, f"1.2 of {maps['bare_launch_ns'] / 1e3:.3f} us; aim 1.05 and 50 ns a map", ratio <= 1.2
    yield "plan creation, module loaded", number(plan and plan / 1e3, "{:.2f} us"), "30 us", None if plan is None else plan <= 30000


def check_rows(r):
    for part, what in (("check", "kiln check --quick of every op"), ("memcheck", "memcheck over it"), ("racecheck", "racecheck over it")):
        status, log = r.status(part), r.text(part + ".log") or ""
        closing = re.findall(r"^\d+ passed, \d+ failed.*$", log, re.M)
        errors = sorted(set(re.findall(r"ERROR SUMMARY: .*|RACECHECK SUMMARY: .*", log)))
        got = "; ".join(closing[-1:] + errors[:2]) or "-"
        if status is None:
            yield what, "not run", "clean", None
        else:
            yield what, got if status == 0 else f"status {status}; {got}", "clean", status == 0 and bool(closing)


def rowwise_rows(r):
    """A line for each op and direction: how many bars its rows hold, and the row that is furthest from its own. What misses has a line."""
    record = r.json.get("rowwise") or {}
    groups = {}
    for row in record.get("rows", []):
        if row.get("kiln"):
            groups.setdefault((row["op"], row["way"]), []).append(row)
    for (op, way), rows in groups.items():
        good = [row for row in rows if row["kiln"].get("us")]
        bars = [bar for row in good for bar in row["bars"]]
        missed = [(row, bar) for row in good for bar in row["bars"] if bar["verdict"] == "MISSED"]
        fractions = [row["copy_us"] / row["kiln"]["us"] for row in good if row.get("copy_us")]
        aims = sum(bar["verdict"] == "aim" for bar in bars)
        got = f"copy rate {min(fractions):.3f} to {max(fractions):.3f}; {aims} of {len(bars)} aims" if fractions else "-"
        met = None if not bars and len(good) == len(rows) else not missed and len(good) == len(rows)
        yield f"{op} {way}", got, f"{len(bars) - len(missed)} of {len(bars)} bars, {len(good)} of {len(rows)} rows right", met
        for row, bar in missed:
            yield "", f"{row['kiln']['us']:.1f} us at {row['shape']} {row['dtype']}", f"{bar['must_us']:.1f} us ({bar['why']})", False
        for row in rows:
            if not row["kiln"].get("us"):
                yield "", f"{row['kiln'].get('word')} at {row['shape']} {row['dtype']}: {row['kiln'].get('why', '')}"[:88], "", False
    cpu = record.get("cpu") or {}
    if "us" in cpu:
        yield "CPU time of a cached eager call", f"{cpu['us']:.2f} us", f"{cpu['must_us']:.2f} us (torch add_ + 8)", cpu["us"] <= cpu["must_us"]
    elif record:
        yield "CPU time of a cached eager call", cpu.get("why", "not measured")[:44], "torch add_ + 8 us", None


def python_rows(r):
    status, log = r.status("python"), r.text("python.log") or ""
    if status is not None:
        ran, verdicts = re.findall(r"^Ran (\d+) tests?", log, re.M), re.findall(r"^(?:OK|FAILED).*", log, re.M)  # of each file
        yield "the Python package with torch", f"{sum(map(int, ran))} tests: {', '.join(verdicts) or f'status {status}'}", "all pass", status == 0


SECTIONS = [(check_rows, ("check", "memcheck", "racecheck")), (python_rows, ("python",)), (norm_rows, ("bench", "peers")),
            (gemm_rows, ("bench", "ceiling", "peers")), (launch_rows, ("launch",)), (product_rows, ("gemm",)), (rowwise_rows, ("rowwise",))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what the parts of tests/gpu.sh left")
    parser.add_argument("--json", metavar="FILE", help="all figures in one file")
    options = parser.parse_args()
    r = Results(options.folder)
    rows = [row for work, parts in SECTIONS if r.ran(parts) for row in work(r)]
    print(f"{'what':32} {'this run':44} {'bar':44} verdict")
    for what, got, bar, met in rows:
        verdict = "" if not what and met is not False else "not measured" if met is None else "met" if met else "MISSED"
        print(f"{what:32} {got:44} {bar:44} {verdict}")
    if options.json:
        table = [{"what": w, "got": g, "bar": b, "met": m} for w, g, b, m in rows if w]
        with open(options.json, "w") as file:
            json.dump({"table": table, "parts": r.json}, file, indent=1)
    sys.exit(1 if any(met is False for *_, met in rows) else 0)


if __name__ == "__main__":
    main()
