"""kiln's part of the bench: emits the variants of a case beforehand, makes plans through the Python package, and runs them.

Which tensors a plan takes is read off the contract at the head of the emitted files, so that an op whose backward reads what its
forward left (rstd, y ..) finds it in the pool of a case: inputs, incoming gradients, what a forward leaves, outputs."""
import concurrent.futures
import importlib
import os
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


class Refused(RuntimeError):
    """kiln has no kernel for a case; the message says why."""


def settings_text(settings):
    return ",".join(f"{k}={v}" for k, v in sorted(settings.items()))


def schedule_text(schedule):
    """"kind=regs rows=1" or "kind=regs,rows=1" as the command takes it."""
    return ",".join(schedule.replace(",", " ").split())


# ---- contracts ----

def read_contract(text):
    """{"tensors": [(name, "in"|"out"|"inout", dims)], "scalars": [(name, how)], "settings": .., "schedule": ..} of emitted PTX; how: a
    default's text, "call", or None."""
    found = {"tensors": [], "scalars": [], "settings": "", "schedule": ""}
    for line in text.splitlines():
        if not line.startswith("//@ "):
            break
        words = line[4:].split()
        if words[0] == "tensor":
            found["tensors"].append((words[1], words[2], [d for d in words[4].strip("[]").split(",") if d]))
        elif words[0] == "scalar":
            found["scalars"].append((words[1], " ".join(words[3:]) or None))
        elif words[0] == "set":
            found["settings"] = " ".join(words[1:])
        elif words[0] == "schedule":
            found["schedule"] = " ".join(words[1:])
    return found


def parse_variants(text):
    """[(variant, schedule)] of what `kiln list --variants OP` prints."""
    rows = []
    for line in text.splitlines()[1:]:
        words = line.split(None, 1)
        if len(words) == 2:
            rows.append((words[0], words[1].strip()))
    return rows


# ---- emission ----

class Emitter:
    """Runs the command `kiln` of a build folder. Files go to FOLDER/<op>-<settings>/<variant>.ptx, each emitted once."""

    def __init__(self, build, target, folder, threads=None, lua=None):
        self.lua = ["--lua", lua] if lua else []
        self.command, self.target, self.folder = os.path.join(build, "kiln"), target, folder
        self.pool = concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count() or 2)
        self.groups = {}   # (op, settings) -> folder, or Refused

    def run(self, *args):
        done = subprocess.run([self.command, *args, *self.lua], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise Refused(" / ".join(line.strip() for line in lines[:3]) or f"kiln {args[0]}: status {done.returncode}")
        return done.stdout

    def group_folder(self, op, settings):
        return os.path.join(self.folder, f"{op}-{settings_text(settings)}".replace("=", "_").replace(",", "-"))

    def variants(self, op, settings):
        return parse_variants(self.run("list", "--variants", op, "--target", self.target, "--set", settings_text(settings)))

    def emit(self, op, settings, schedule, path):
        self.run("emit", op, "--target", self.target, "--set", settings_text(settings), "--schedule", schedule_text(schedule), "-o", path)
        return path

    def _group(self, op, settings):
        folder = self.group_folder(op, settings)
        os.makedirs(folder, exist_ok=True)
        return [(self.pool.submit(self.emit, op, settings, schedule, os.path.join(folder, name + ".ptx")), name)
                for name, schedule in self.variants(op, settings)]

    def prepare(self, cases):
        """Emits every offered variant of every case, many at a time. What cannot be emitted is remembered with its reason."""
        wanted = {}
        for case in cases:
            wanted.setdefault((case.kiln_op(), settings_text(case.settings())), case)
        listed = {}
        with concurrent.futures.ThreadPoolExecutor(len(wanted) or 1) as lists:
            for key, case in wanted.items():
                if key not in self.groups:
                    listed[key] = lists.submit(self._group, case.kiln_op(), case.settings())
        for key, waiting in listed.items():
            case = wanted[key]
            try:
                jobs, whys = waiting.result(), []
                for job, name in jobs:
                    try:
                        job.result()
                    except Refused as why:
                        whys.append(f"{name}: {why}")
                if len(whys) == len(jobs):
                    raise Refused(whys[0] if whys else "no variant is offered")
                self.groups[key] = self.group_folder(case.kiln_op(), case.settings())
            except (Refused, OSError, subprocess.SubprocessError) as why:
                self.groups[key] = why if isinstance(why, Refused) else Refused(str(why))

    def group(self, case):
        """The folder of a case's files, with the contract of one of them."""
        key = (case.kiln_op(), settings_text(case.settings()))
        if key not in self.groups:
            self.prepare([case])
        folder = self.groups[key]
        if isinstance(folder, Refused):
            raise folder
        for name in sorted(os.listdir(folder)):
            if name.endswith(".ptx"):
                with open(os.path.join(folder, name)) as file:
                    return folder, read_contract(file.read(1 << 16))
        raise Refused(f"{folder} holds no file")


# ---- the Python package ----

def load_package(build):
    """The package of this tree (or an installed one, if the tree has none), with the libraries of the build folder."""
    os.environ["KILN_BUILD"] = os.path.abspath(build)
    package = os.path.join(ROOT, "runtime", "python")
    if os.path.isdir(os.path.join(package, "kiln")) and package not in sys.path:
        sys.path.insert(0, package)
    return importlib.import_module("kiln")


def target_of(capability):
    """The architecture's own target: 8.0 is sm_80, 9.0 is sm_90a."""
    major, minor = capability
    return f"sm_{major}{minor}" + ("a" if major >= 9 else "")


class Kiln:
    """Plans of cases on one device; only emitted files are used, no provider."""

    def __init__(self, build, folder, where="cuda:0", target=None, lua=None):
        self.package = load_package(build)
        self.device = self.package.Device(where, provider=False)
        self.target = target or self.device.info["target"]
        self.emitter = Emitter(build, self.target, folder, lua=lua)
        self.added = set()

    def add(self, folder):
        if folder not in self.added:
            self.device.add(folder)
            self.added.add(folder)

    def plan(self, data, saved, variant=None, wrap=lambda tensor: tensor):
        """(plan, results): a Plan of the case's own tensors, and its outputs by name, filled with NaN (codes: with 0). saved: a
        function that gives what a forward left. wrap: what the plan is given of a tensor."""
        import peers_torch
        case = data.case
        folder, contract = self.emitter.group(case)
        self.add(folder)
        given, results = arguments(data, contract, saved, peers_torch.DTYPES)
        plan = self.package.Plan(self.device, case.kiln_op(), {n: wrap(t) for n, t in given.items()},
                                 scalars=scalars_of(case, contract), settings=case.settings(), variant=variant, target=self.target)
        return plan, results

    def selected(self, case):
        """The plan that a case would get, by sizes alone: nothing is allocated on the device."""
        folder, contract = self.emitter.group(case)
        self.add(folder)
        known, given = shapes(case), {}
        for name, _, dims in contract["tensors"]:
            if name not in known:
                raise Refused(f"the bench knows no tensor '{name}' of {case.kiln_op()}")
            given[name] = self.package.View(0, known[name][1], spread(known[name][0], dims))
        return self.package.Plan(self.device, case.kiln_op(), given, scalars=scalars_of(case, contract), settings=case.settings(),
                                 target=self.target)


def shapes(case):
    """{name: (shape, dtype)} of all that kiln's op may name in a case: the forward's tensors, gradients of outputs and of inputs, and
    statistics of rows (with a 1 or 2 behind their names for the ops on two tensors)."""
    found = {t.name: (case.shape_of(t), case.dtype_of(t)) for t in case.spec.tensors}
    for name, of in list(found.items()):
        found["d" + name] = of
    for suffix in ("", "1", "2"):
        if "x" + suffix in found:
            for name in ("mean", "rstd"):
                found[name + suffix] = (found["x" + suffix][0][:-1], "f32")
    return found


def spread(shape, dims):
    """The shape with as many dims as the contract: where the first is a sample's, what is missing are rows, and of size 1."""
    missing = len(dims) - len(shape)
    return shape if missing <= 0 or dims[0] != "B" else tuple(shape[:1]) + (1,) * missing + tuple(shape[1:])


def arguments(data, contract, saved, dtypes):
    """({name: tensor} that the contract names, {name: output}) of a case."""
    import torch
    case, known = data.case, shapes(data.case)
    pool = {**data.inputs, **{"d" + n: t for n, t in data.incoming.items()}}
    device = next(iter(data.inputs.values())).device
    given, results = {}, {}
    for name, way, dims in contract["tensors"]:
        if name not in known:
            raise Refused(f"the bench knows no tensor '{name}' of {case.kiln_op()}")
        if way == "in":
            if name not in pool:
                pool.update(saved())
            tensor = pool[name]
        else:
            tensor = results[name] = torch.empty(known[name][0], dtype=dtypes[known[name][1]], device=device)
            if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
                tensor.fill_(float("nan"))
            else:
                tensor.view(torch.uint8).zero_()
        given[name] = tensor.view(spread(tensor.shape, dims))
    return given, results


def scalars_of(case, contract):
    """Values for the contract's scalars: the case's own; 0 for what has no default."""
    values = {}
    for name, how in contract["scalars"]:
        if name in case.spec.scalars:
            values[name] = case.spec.scalars[name]
        elif how is None or how == "call":
            values[name] = 0
    return values


def steps_text(plan):
    """"2 steps, 64 registers, 4 CTAs/SM" of a plan; local bytes only where there are any."""
    steps = plan.steps
    if not steps:
        return "nothing to launch"
    main = max(steps, key=lambda s: s.grid[0] * s.grid[1] * s.grid[2] * s.block)
    text = f"{main.registers} regs, {main.blocks_sm} CTAs/SM, {main.shared_bytes + main.static_shared_bytes} B shared"
    local = max(s.local_bytes for s in steps)
    return text + (f", {local} B local" if local else "") + (f", {len(steps)} steps" if len(steps) > 1 else "")
