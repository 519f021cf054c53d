#!/usr/bin/env python3
"""Times kiln, torch eager, torch.compile and Triton on a GPU, in one run, for every row-wise op forward and backward.

kiln comes first: a line for each row as soon as it is measured, every result checked against a reference before it is timed. The
peers follow; then a table with each row's bar, and a JSON file that is rewritten after every row. What fails is a word in its cell
and a reason in the JSON, not the end. timing.py says how times are taken, cases.py what the rows are, bars.py what they must reach."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import anchors
import bars
import cases

PARTS = ("kiln",) + bars.PEERS
EXAMPLES = """examples
  rowwise.py --json rowwise.json                 all rows, all peers: under 6 minutes on an H200
  rowwise.py --only kiln                         no peers: under a minute
  rowwise.py --only kiln --op rms_norm,softmax --way bwd
  rowwise.py --op layer_norm_adaln --shape 64x186x128 --no-triton
  rowwise.py --op rms_norm --size B=4,M=1000,N=5120 --dtype f16
  rowwise.py --op rms_norm --shape 8192x4096 --way fwd --schedules --schedule "kind=regs rows=1 threads=128 warps=4 cols=4096 vec=8"
  rowwise.py --selected --op rope                the variants that a GPU of 132 SMs would get, by kiln's own prediction; needs no GPU
  rowwise.py --list                              the rows, their bytes and the best recorded figures; needs no GPU

A row holds its bar ("must") or reaches its aim ("aim") or has MISSED. Exit status 1 if a bar was missed or a result was wrong."""


def parser():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--op", metavar="OP,..", help="only these ops")
    p.add_argument("--shape", metavar="TEXT,..", help="only shapes that contain one of these texts, or rows of a dtype (bf16, f16, f32)")
    p.add_argument("--way", choices=("fwd", "bwd"), help="only forward or only backward rows")
    p.add_argument("--size", metavar="B=..,M=..,N=..", help="a shape of one's own for the op named by --op, in place of the table's")
    p.add_argument("--dtype", choices=("bf16", "f16", "f32"), default="bf16", help="of --size (default bf16)")
    p.add_argument("--quick", action="store_true", help="a row or two of each op, none of the largest; fewer samples")
    p.add_argument("--only", metavar="PART,..", help="of kiln, eager, compile, triton (default: all)")
    p.add_argument("--no-triton", action="store_true", help="without the Triton version")
    p.add_argument("--samples", type=int, help="samples of each time (default 15; with --quick 7)")
    p.add_argument("--rotate", type=int, default=1, metavar="N", help="kiln over N sets of tensors in turn (default 1; timing.py says why)")
    p.add_argument("--json", metavar="FILE", help="all figures")
    p.add_argument("--wide", action="store_true", help="the last table with a column for each peer")
    p.add_argument("--budget", type=float, default=340, metavar="S", help="seconds after which no further peer is started (default 340)")
    p.add_argument("--workers", type=int, metavar="N", help="processes that compile for the peers beforehand (default: 3/4 of the cores, 12 at most)")
    p.add_argument("--build", metavar="DIR", default=os.environ.get("KILN_BUILD", "build"), help="where kiln and libkiln.so are (default $KILN_BUILD, or build)")
    p.add_argument("--target", metavar="SM", help="emit for this target instead of the GPU's own (sm_80 runs on all later ones)")
    p.add_argument("--lua", metavar="DIR", help="the language, families and ops from this folder, not those inside the command")
    p.add_argument("--ptx", metavar="DIR", help="keep the emitted files here (default: a temporary folder)")
    p.add_argument("--schedules", action="store_true", help="time every variant of the chosen rows and print them ranked; no peers")
    p.add_argument("--schedule", action="append", default=[], metavar="TEXT", help="with --schedules: this one as well (may be repeated)")
    p.add_argument("--selected", nargs="?", const="sim:sm_90a,sms=132", metavar="DEVICE",
                   help="print which variant each row gets on a device, with its predicted time, and stop (default sim:sm_90a,sms=132)")
    p.add_argument("--list", action="store_true", help="print the rows and stop")
    p.add_argument("--warm", metavar="I/N", help=argparse.SUPPRESS)  # a compiling process of --workers
    return p


def words(text):
    return tuple(w for w in (text or "").split(",") if w)


def parse(argv):
    """(options, cases); bad requests end in usage."""
    p = parser()
    options = p.parse_args(argv)
    ops, ways = words(options.op), (options.way,) if options.way else ()
    for op in ops:
        if op not in cases.OPS:
            p.error(f"unknown op '{op}'; there are {', '.join(cases.OPS)}")
    options.parts = words(options.only) or PARTS
    for part in options.parts:
        if part not in PARTS:
            p.error(f"--only {part}: there are {', '.join(PARTS)}")
    if options.no_triton:
        options.parts = tuple(part for part in options.parts if part != "triton")
    if options.schedule and not options.schedules:
        p.error("--schedule goes with --schedules")
    if options.size:
        if len(ops) != 1:
            p.error("--size needs one op, named by --op")
        try:
            chosen = cases.custom(ops[0], options.size, options.dtype, ways or ("fwd", "bwd"))
        except ValueError as why:
            p.error(f"--size: {why}")
    else:
        chosen = cases.chosen(ops, words(options.shape), ways, options.quick)
    if not chosen:
        p.error("no row is left; --list shows them")
    options.samples = options.samples or (7 if options.quick else 15)
    return options, chosen


def list_text(chosen):
    lines = []
    for case in chosen:
        best = anchors.best(*case.key)
        lines.append((case.op, case.way, case.shape, case.dtype, f"{case.bytes() / 1e6:.1f}", f"{anchors.recorded_copy_us(case.bytes()):.1f}",
                      f"{best[1]} {bars.number(best[0])} ({best[2]})" if best else "-"))
    return bars.table(lines, ("op", "way", "shape", "dtype", "MB", "copy us", "best recorded"),
                      {"op", "way", "shape", "dtype", "best recorded"})


def selected_text(options, chosen, folder):
    """What kiln selects for each row, and how the time that it predicts compares with a copy at the device's nominal rate."""
    import kiln_side
    kiln = kiln_side.Kiln(options.build, options.ptx or folder, options.selected, options.target, options.lua)
    kiln.emitter.prepare(chosen)
    rate, lines = kiln.device.info["bandwidth_bytes_ns"], []
    for case in chosen:
        try:
            plan = kiln.selected(case)
            copy_us = case.bytes() / rate / 1e3
            lines.append((case.op, case.way, case.shape, case.dtype, bars.number(plan.cost_ns / 1e3), f"{copy_us / plan.cost_ns * 1e3:.3f}",
                          f"{plan.bytes / case.bytes():.3f}", plan.variant, plan.schedule, kiln_side.steps_text(plan)))
        except Exception as error:  # a row that gets none
            lines.append((case.op, case.way, case.shape, case.dtype, "-", "-", "-", reason(error)[:120], "", ""))
    names = ("op", "way", "shape", "dtype", "predicted us", "of copy", "bytes", "variant", "schedule", "")
    return bars.table(lines, names, {"op", "way", "shape", "dtype", "variant", "schedule", ""})


# ---- a run ----

FLUSH_CHECK = ("rms_norm", "fwd", "8192x4096", "bf16")


class Stopped(BaseException):
    """SIGTERM: what is there is printed. No failure of a cell, so that nothing takes it for one."""


class DeviceLost(Exception):
    """A kernel failed in a way that no later call survives."""


def reason(error):
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


class Bench:
    def __init__(self, options, chosen, folder):
        self.options, self.chosen, self.folder = options, chosen, folder
        self.started = time.monotonic()
        self.rows = [{"name": c.name, "op": c.op, "way": c.way, "shape": c.shape, "dtype": c.dtype, "bytes": c.bytes(), "copy_us": None,
                      "kiln": None, "peers": {}} for c in chosen]
        self.cpu, self.notes, self.copy_ratio, self.floor_us = {}, [], 1.0, None
        import torch
        import peers_torch
        import timing
        self.torch, self.peers_torch, self.timing = torch, peers_torch, timing
        torch.cuda.set_stream(torch.cuda.Stream())
        self.timer = timing.Timer(options.samples)
        self.kiln = None

    def seconds(self):
        return time.monotonic() - self.started

    def say(self, text):
        print(text, flush=True)

    def note(self, text):
        self.notes.append(text)
        self.say(text)

    # -- what all parts share --

    def release(self, case):
        if case.big:
            self.torch.cuda.empty_cache()

    def guarded(self, what, work):
        """work()'s cell, or one that says how it failed. A device that is lost ends the run."""
        try:
            return work()
        except Exception as error:  # a failure is a cell
            why = reason(error)
            del error
            try:
                self.torch.cuda.synchronize()
            except Exception as dead:
                self.note(f"{what}: {why}; the GPU's context is lost: {reason(dead)}")
                raise DeviceLost(why) from None
            return {"word": "refused" if why.startswith("Refused") else "failed", "why": why}

    def save(self):
        if not self.options.json:
            return
        torch = self.torch
        record = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "seconds": round(self.seconds(), 1),
                  "copy_ratio": self.copy_ratio, "floor_us": self.floor_us, "rows": self.rows, "cpu": self.cpu, "notes": self.notes}
        with open(self.options.json + ".new", "w") as file:
            json.dump(record, file, indent=1)
        os.replace(self.options.json + ".new", self.options.json)

    def measure_copies(self):
        self.copy_ratio = self.timer.copy_us(anchors.COPY_BYTES) / anchors.recorded_copy_us(anchors.COPY_BYTES)
        self.say(f"copy of 64 MiB each way: {anchors.COPY_BYTES / self.timer.copy_us(anchors.COPY_BYTES) / 1e6:.2f} TB/s; its time over the "
                 f"recorded one's: {self.copy_ratio:.3f}")
        word = self.torch.zeros(1, device="cuda")
        self.floor_us = self.timer.gpu(lambda: word.fill_(1.0))["us"]
        self.say(f"a kernel that writes one word: {self.floor_us:.2f} us, the floor of what follows")

    def judge(self, i):
        row = self.rows[i]
        if row["copy_us"] is None:
            row["copy_us"] = self.timer.copy_us(row["bytes"])
        bars.judge(self.chosen[i], row, self.copy_ratio)

    # -- kiln --

    def open_kiln(self):
        import kiln_side
        self.kiln = kiln_side.Kiln(self.options.build, self.options.ptx or os.path.join(self.folder, "ptx"), "cuda:0", self.options.target,
                                    self.options.lua)
        start = time.monotonic()
        self.kiln.emitter.prepare(self.chosen)
        refused = sum(isinstance(f, Exception) for f in self.kiln.emitter.groups.values())
        self.say(f"kiln {self.kiln.package.__version__}, {self.kiln.target}: emitted in {time.monotonic() - start:.1f} s" +
                 (f", {refused} of {len(self.kiln.emitter.groups)} ops refused" if refused else ""))

    def saved(self, data):
        left = {}

        def get():
            if not left:
                left.update(self.peers_torch.forward_results(data))
            return left
        return get

    def kiln_cell(self, case, variant=None, check=True):
        from kiln_side import steps_text
        data = self.peers_torch.make_data(case)
        plan, results = self.kiln.plan(data, self.saved(data), variant)
        cell = {"variant": plan.variant, "target": plan.target, "settings": plan.settings, "schedule": plan.schedule,
                "predicted_us": plan.cost_ns / 1e3, "steps": steps_text(plan), "workspace": plan.workspace_bytes}
        plan()
        if check:
            right, cell["distance"] = self.peers_torch.check(results, self.peers_torch.reference(data), case.dtype)
            if not right:
                cell.update(word="WRONG", why=f"against the reference: {cell['distance']}")
                return cell
        cell.update(self.timer.gpu(plan, *self.others(case, variant, self.options.rotate - 1)))
        if case.key == FLUSH_CHECK and self.options.rotate == 1 and variant is None:
            self.check_flush(case, plan, cell)
        return cell

    def others(self, case, variant, count):
        """Plans of the case over further tensors."""
        plans = []
        for seed in range(1, count + 1):
            data = self.peers_torch.make_data(case, seed=seed)
            plans.append(self.kiln.plan(data, self.saved(data), variant)[0])
        return plans

    def check_flush(self, case, plan, cell):
        """Whether the flush leaves anything of the inputs in L2: then tensors in turn would take longer."""
        turns = self.timer.gpu(plan, *self.others(case, None, 5))
        cell["rotated_us"] = turns["us"]
        self.say(f"flush: {case.name} takes {cell['us']:.2f} us on the same tensors, {turns['us']:.2f} us on six sets in turn")

    def time_kiln(self):
        try:
            self.open_kiln()
        except Exception as error:
            self.note(f"kiln cannot be opened: {reason(error)}")
            for row in self.rows:
                row["kiln"] = {"word": "failed", "why": reason(error)}
            return
        for i, (case, row) in enumerate(zip(self.chosen, self.rows)):
            row["kiln"] = self.guarded(case.name, lambda: self.kiln_cell(case))
            self.release(case)
            row["copy_us"] = self.timer.copy_us(row["bytes"])
            self.judge(i)
            self.save()
            self.say(kiln_line(case, row))
        self.release_all()

    def release_all(self):
        self.torch.cuda.empty_cache()

    def time_calls(self):
        """CPU time of an eager call with everything cached, beside torch's add_."""
        torch = self.torch

        def work():
            import importlib
            kt = importlib.import_module("kiln.torch")
            x, w = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for shape in ((8, 16, 1024), (1024,)))
            calls = {"add_": lambda: x.add_(1.0), "kiln.torch.rms_norm": lambda: kt.rms_norm(x, w), "F.rms_norm":
                     lambda: torch.nn.functional.rms_norm(x, (1024,), w, 1e-6)}
            return self.timing.cpu_us(calls)
        cell = self.guarded("CPU time", work)
        if "add_" not in cell:
            self.cpu = cell
            self.say(f"CPU time of a cached eager call: {cell['why']}")
            return
        self.cpu = {"us": cell["kiln.torch.rms_norm"], "add_us": cell["add_"], "must_us": cell["add_"] + 8, "aim_us": cell["add_"] + 4, "calls": cell}
        self.cpu["verdict"] = bars.Bar("call", self.cpu["must_us"], self.cpu["aim_us"], "add_").verdict(self.cpu["us"])
        self.say(cpu_line(self.cpu))

    # -- peers --

    def compile_beforehand(self):
        """Processes that fill the caches of torch.compile and Triton, so that compiling costs cores instead of time."""
        workers = self.options.workers
        if workers is None:
            workers = min(12, (os.cpu_count() or 2) * 3 // 4)
        if workers < 2 or not {"compile", "triton"} & set(self.options.parts):
            return
        start = time.monotonic()
        command = [sys.executable, os.path.abspath(__file__), "--only", ",".join(self.options.parts), "--build", self.options.build]
        for flag in ("op", "shape", "way", "size"):
            if getattr(self.options, flag):
                command += ["--" + flag, getattr(self.options, flag)]
        command += ["--dtype", self.options.dtype] + (["--quick"] if self.options.quick else [])
        running = []
        for i in range(workers):
            log = open(os.path.join(self.folder, f"warm-{i}.log"), "w")
            running.append(subprocess.Popen(command + ["--warm", f"{i}/{workers}"], stdout=log, stderr=subprocess.STDOUT))
            log.close()
        try:
            limit = start + max(10.0, min(120.0, self.options.budget - self.seconds() - 60))
            while any(p.poll() is None for p in running) and time.monotonic() < limit:
                time.sleep(0.2)
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        whole = sum(p.returncode == 0 for p in running)
        self.say(f"compiled for the peers by {workers} processes in {time.monotonic() - start:.1f} s" +
                 ("" if whole == workers else f"; {workers - whole} of them did not come to their end"))

    def peer_cell(self, who, data):
        if who == "eager":
            return self.timer.gpu(self.peers_torch.eager_work(data))
        if who == "compile":
            best = None
            for name, work in self.peers_torch.compiled_works(data):
                cell = {**self.timer.gpu(work), "function": name}
                best = cell if best is None or cell["us"] < best["us"] else best
            return best
        import peers_triton
        work = peers_triton.work(data, self.saved(data))
        right, far = self.peers_torch.check(work(), self.peers_torch.reference(data), data.case.dtype)
        if not right:
            return {"word": "wrong", "why": far}
        return {**self.timer.gpu(work), "distance": far}

    def time_peers(self):
        wanted = [who for who in bars.PEERS if who in self.options.parts]
        if not wanted:
            return
        self.peers_torch.prepare_compiler()
        self.compile_beforehand()
        for i, (case, row) in enumerate(zip(self.chosen, self.rows)):
            data = None
            for who in wanted:
                if self.seconds() > self.options.budget:
                    row["peers"][who] = {"word": "time", "why": f"the budget of {self.options.budget:.0f} s was spent"}
                    continue
                if data is None:
                    data = self.peers_torch.make_data(case)
                row["peers"][who] = self.guarded(f"{case.name}, {who}", lambda: self.peer_cell(who, data))
                self.release(case)
            del data
            self.judge(i)
            self.save()
            self.say(peers_line(case, row))

    # -- the end --

    def finish(self):
        for i in range(len(self.rows)):
            try:
                self.judge(i)
            except Exception:  # a lost device copies no more
                break
        self.save()
        self.say("")
        wide = self.options.wide
        self.say(bars.table([bars.table_row(c, r, wide) for c, r in zip(self.chosen, self.rows)], bars.WIDE if wide else bars.HEADER,
                            bars.LEFT))
        self.say("")
        if self.cpu:
            self.say(cpu_line(self.cpu))
        for line in bars.summary(self.rows):
            self.say(line)
        self.say(f"{self.seconds():.0f} s")
        return 1 if bars.failed(self.rows) or self.cpu.get("verdict") == "MISSED" else 0


def kiln_line(case, row):
    cell = row["kiln"]
    if not cell.get("us"):
        return f"{case.name:46} {cell.get('word', 'failed')}: {cell.get('why', '')}"
    bar = f"must {bars.number(row['must_us'])} ({row['why']}): {row['verdict']}" if row.get("must_us") else "no bar"
    return (f"{case.name:46} {bars.number(cell['us']):>7} us ±{cell['spread']:.1%}  {row['copy_us'] / cell['us']:.3f} of copy  {cell['variant']} "
            f"({cell['steps']}; {cell['how']})  {bar}  [{cell['distance']}]")


def peers_line(case, row):
    def text(who):
        cell = row["peers"].get(who)
        if not cell:
            return ""
        if not cell.get("us"):
            return f"  {who} {cell['word']} ({cell['why'][:80]})"
        return f"  {who} {bars.number(cell['us'])}" + ("" if cell["how"].startswith("graph") else f" ({cell['how']})")
    return f"{case.name:46} kiln {bars.cell(row['kiln'])}" + "".join(text(who) for who in bars.PEERS)


def cpu_line(cpu):
    if "us" not in cpu:
        return f"CPU time of a cached eager call: {cpu.get('word')}: {cpu.get('why')}"
    return (f"CPU time of a cached eager kiln.torch.rms_norm: {cpu['us']:.2f} us; torch add_ {cpu['add_us']:.2f} us, must {cpu['must_us']:.2f}, "
            f"aim {cpu['aim_us']:.2f}: {cpu['verdict']} (F.rms_norm {cpu['calls']['F.rms_norm']:.2f} us)")


# ---- schedules: every variant of a row, ranked ----

def rank_schedules(bench):
    bench.open_kiln()
    for case in bench.chosen:
        bench.say(f"\n{case.name}: {case.bytes() / 1e6:.1f} MB, copy {bars.number(bench.timer.copy_us(case.bytes()))} us")
        cell = bench.guarded(case.name, lambda: rank_case(bench, case))
        if isinstance(cell, dict):
            bench.say(f"  {cell['word']}: {cell['why']}")
        bench.release_all()


def rank_case(bench, case):
    emitter = bench.kiln.emitter
    folder, _ = emitter.group(case)
    names = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".ptx"))
    bench.kiln.add(folder)
    chosen = bench.guarded(case.name, lambda: bench.kiln_cell(case))
    for i, schedule in enumerate(bench.options.schedule):
        path = os.path.join(bench.folder, f"try{i}-{case.kiln_op()}-{case.dtype}.ptx")
        try:
            bench.kiln.device.add(emitter.emit(case.kiln_op(), case.settings(), schedule, path))
            names.append(os.path.basename(path)[:-4])
        except Exception as error:
            bench.say(f"  {schedule}: {reason(error)}")
    cells, unfit = [], []
    for name in names:
        cell = bench.guarded(name, lambda: bench.kiln_cell(case, name))
        (cells if cell.get("us") else unfit).append((name, cell))
    cells.sort(key=lambda pair: pair[1]["us"])
    copy_us, lines = bench.timer.copy_us(case.bytes()), []
    for name, cell in cells:
        lines.append((name + (" *" if name == chosen.get("variant") else ""), bars.number(cell["us"], 2), f"{copy_us / cell['us']:.3f}",
                      f"{cell['spread']:.1%}", bars.number(cell["predicted_us"]), cell["steps"], cell["schedule"]))
    bench.say(bars.table(lines, ("variant (* selected)", "us", "copy", "spread", "predicted us", "", "schedule"),
                         {"variant (* selected)", "", "schedule"}))
    for name, cell in unfit:
        if cell["word"] == "WRONG" or "failed" == cell["word"] and "requires" not in cell["why"]:
            bench.say(f"  {name}: {cell['word']}: {cell['why']}")
    row = {"name": case.name, "variants": [{"name": n, **c} for n, c in cells + unfit]}
    bench.notes.append(row)
    bench.save()


# ---- a compiling process ----

def warm(options, chosen):
    """Compiles a share of the peers' kernels into the caches that the environment names; a lock keeps tuning runs from each other."""
    import fcntl
    import torch
    import peers_torch
    index, count = (int(n) for n in options.warm.split("/"))
    lock = open(os.path.join(os.environ["TRITON_CACHE_DIR"], "..", "warm.lock"), "w")
    try:
        from torch._inductor.runtime.triton_heuristics import CachingAutotuner
        tune = CachingAutotuner.autotune_to_one_config

        def alone(self, *args, **kwargs):
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                return tune(self, *args, **kwargs)
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
        CachingAutotuner.autotune_to_one_config = alone
    except (ImportError, AttributeError):
        pass  # another release of torch: tuning runs may meet
    peers_torch.prepare_compiler()
    failures = 0
    for case in chosen[index::count]:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            try:
                data = peers_torch.make_data(case)
                torch.cuda.synchronize()
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
            if "compile" in options.parts:
                for _, work in peers_torch.compiled_works(data):
                    work()
            if "triton" in options.parts:
                import peers_triton
                peers_triton.work(data, lambda: peers_torch.forward_results(data))()
            torch.cuda.synchronize()
        except Exception as error:  # the row itself will say so
            failures += 1
            print(f"{case.name}: {reason(error)}", flush=True)
        data = None
        torch.cuda.empty_cache()
    return 1 if failures else 0


# ---- main ----

def stop(*_):
    raise Stopped()


def run(options, chosen, folder):
    import torch
    bench = Bench(options, chosen, folder)
    bench.say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {len(chosen)} rows; ready after {bench.seconds():.1f} s")
    bench.measure_copies()
    if options.schedules:
        rank_schedules(bench)
        return 0
    try:
        if "kiln" in options.parts:
            bench.time_kiln()
            if not options.op or "rms_norm" in words(options.op):
                bench.time_calls()
            bench.say(f"kiln done after {bench.seconds():.1f} s")
        bench.time_peers()
    except (Stopped, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        bench.note("stopped by a signal; what was measured follows")
    except DeviceLost:
        pass
    return bench.finish()


def main():
    options, chosen = parse(sys.argv[1:])
    if options.list:
        print(list_text(chosen))
        return 0
    if options.selected:
        with tempfile.TemporaryDirectory(prefix="kiln-bench-") as folder:
            print(selected_text(options, chosen, folder))
        return 0
    try:
        import torch
    except ImportError:
        sys.exit("rowwise.py: torch is not installed; only --list and --selected work without it")
    if not torch.cuda.is_available():
        sys.exit("rowwise.py: torch sees no GPU; only --list works without one")
    if options.warm:
        return warm(options, chosen)
    if not os.path.exists(os.path.join(options.build, "kiln")) and "kiln" in options.parts:
        sys.exit(f"rowwise.py: {options.build}/kiln is not there; --build or KILN_BUILD names the folder")
    signal.signal(signal.SIGTERM, stop)
    folder = tempfile.mkdtemp(prefix="kiln-bench-")
    try:
        return run(options, chosen, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def set_caches():
    """Caches of the compilers in a folder of this run (before torch is imported), so that no run profits from another."""
    if {"--warm", "--list", "--selected"} & set(sys.argv):
        return None
    folder = tempfile.mkdtemp(prefix="kiln-bench-caches-")
    os.environ.update(TORCHINDUCTOR_CACHE_DIR=os.path.join(folder, "inductor"), TRITON_CACHE_DIR=os.path.join(folder, "triton"),
                      TORCHINDUCTOR_FX_GRAPH_CACHE="1", TORCHINDUCTOR_AUTOGRAD_CACHE="1", TORCHINDUCTOR_COMPILE_THREADS="1",
                      XDG_CACHE_HOME=os.path.join(folder, "xdg"))
    for name in ("inductor", "triton", "xdg"):
        os.mkdir(os.path.join(folder, name))
    return folder


if __name__ == "__main__":
    caches = set_caches()
    try:
        status = main()
    finally:
        if caches:
            shutil.rmtree(caches, ignore_errors=True)
    sys.exit(status)
