"""Plans: an op with its arguments, checked, selected and loaded; called as often as one likes."""
import collections
import ctypes
import struct

from . import errors, tensors
from ._lib import LIB, Arg, PlanInfo, PlanOptions, StepInfo, VerdictFn, check
from .device import Array
from .device import device as find_device

Step = collections.namedtuple("Step", "name entry grid block cluster shared_bytes static_shared_bytes local_bytes registers blocks_sm")
Verdict = collections.namedtuple("Verdict", "file variant target settings schedule status rule cost_ns wins tuned")

_FLOATS = (tensors.CODES["f32"], tensors.CODES["f64"])


class Arguments:
    """kiln_arg's of an op's tensors, scalars and settings; keeps what they point to."""

    def __init__(self, given, scalars=None, settings=None, stream=None):
        self.views, self.keep, rows = {}, [], []
        for name, tensor in given.items():
            if tensor is None:
                continue
            v = self.views[name] = tensors.view(tensor, name, stream)
            argument, alive = tensors.as_argument(v)
            self.keep.append((argument, alive))
            rows.append((name.encode(), ctypes.pointer(argument), 0.0, None))
        for name, value in (scalars or {}).items():
            rows.append((name.encode(), None, _number(name, value), None))
        for name, value in (settings or {}).items():
            rows.append((name.encode(), None, 0.0, str(value).encode()))
        self.array, self.count = (Arg * max(len(rows), 1))(*rows), len(rows)


def _number(name, value, kind=float):
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise errors.BadCall("scalar %s is %r; expected a number" % (name, value)) from None


def _whole(value):
    if int(value) != value:
        raise ValueError
    return int(value)


def _check_place(name, v, device):
    """Memory of another device, which at a launch is an address like any other; on simulated devices even the same one."""
    if isinstance(v.owner, Array) and v.owner.device is not device and v.owner.device.place != device.place:
        raise errors.BadPointer("tensor %s: memory of %r; expected memory of %r" % (name, v.owner.device, device), tensor=name)


def _options(target, variant):
    if target is None and variant is None:
        return None
    return ctypes.byref(PlanOptions(target and target.encode(), variant and variant.encode()))


def _current_stream(views):
    """The stream that torch's work goes to now, if a tensor is torch's; else the default stream."""
    for v in views:
        if getattr(v.owner, "is_cuda", False):
            import torch
            return torch.cuda.current_stream(v.owner.device).cuda_stream or None
    return None


class Plan:
    """An op on tensors by name.

        plan = kiln.Plan("cuda:0", "rms_norm", {"x": x, "w": w, "y": y}, scalars={"eps": 1e-6}, settings={})
        plan()                                      the tensors of creation
        plan({"x": x2, "y": y2}, stream=s)          others of the same shapes, strides and dtypes

    device    a name, a kiln.Device, or a torch.device
    tensors   torch tensors, kiln.Array, kiln.View, or anything with __dlpack__; None: left out
    scalars   numbers by name; those that come with each launch (`call`) may be given here as default
    settings  texts by name: {"act": "silu"}
    target, variant   only files of this target, or of this name (kiln_plan_options)

    A stream is the driver's handle as a number, or anything with cuda_stream; None is the current stream of torch where a tensor is
    torch's, and the default stream elsewhere. A plan that needs workspace has one of its own, so launches of one plan belong to one
    stream, unless each call brings its workspace.
    """

    def __init__(self, device, op, given, scalars=None, settings=None, target=None, variant=None):
        self.handle = None
        self.device = find_device(device)
        arguments = Arguments(given, scalars, settings)
        for name, v in arguments.views.items():
            _check_place(name, v, self.device)
        handle = ctypes.c_void_p()
        check(LIB.kiln_plan_create_with(ctypes.byref(handle), self.device.handle, op.encode(), arguments.array, arguments.count,
                                        _options(target, variant)))
        self.handle = handle.value
        info = PlanInfo()
        check(LIB.kiln_plan_query(self.handle, ctypes.byref(info)))
        for name in ("op", "variant", "target", "file", "settings", "schedule"):
            setattr(self, name, getattr(info, name).decode())
        self.workspace_bytes, self.nsteps = info.workspace_bytes, info.nsteps
        self.cost_ns, self.bytes, self.flop = info.cost_ns, info.bytes, info.flop
        self.tensors = tuple(LIB.kiln_plan_tensor_name(self.handle, i).decode() for i in range(info.ntensors))
        self.scalars = tuple(LIB.kiln_plan_scalar_name(self.handle, i).decode() for i in range(info.nscalars))
        self._formats = ["d" if LIB.kiln_plan_scalar_dtype(self.handle, i) in _FLOATS else "q" for i in range(info.nscalars)]
        self._values = dict(scalars or {})
        self.pack = struct.Struct("%dQ" % info.ntensors).pack
        self.views = [arguments.views[name] for name in self.tensors]
        self._workspace = None

    def __del__(self):
        handle, self.handle = getattr(self, "handle", None), None  # none where creation was refused early
        if handle:
            LIB.kiln_plan_destroy(handle)

    def pack_scalars(self, values=None):
        """The call scalars as kiln_launch reads them; None where there are none."""
        if not self.scalars:
            return None
        packed = b""
        for name, form in zip(self.scalars, self._formats):
            value = values.get(name) if values else None
            if value is None:
                value = self._values.get(name)
            if value is None:
                raise errors.MissingArg("%s: scalar %s comes with each launch; expected a number" % (self.op, name), tensor=name)
            value = _number(name, value, float if form == "d" else _whole)
            if form == "q" and not -1 << 63 <= value < 1 << 63:
                raise errors.TooLarge("%s: scalar %s is %d; expected an integer of 64 bits" % (self.op, name, value), tensor=name)
            packed += struct.pack(form, value)
        return packed

    def workspace(self):
        """The plan's own scratch memory: an address, or None where it needs none."""
        if not self.workspace_bytes:
            return None
        if self._workspace is None:
            owner = next((v.owner for v in self.views if getattr(v.owner, "is_cuda", False)), None)
            if owner is not None:
                import torch
                self._workspace = tensors.view(torch.empty(self.workspace_bytes, dtype=torch.uint8, device=owner.device))
            else:
                self._workspace = self.device.empty(self.workspace_bytes, "u8").kiln_view()
        return self._workspace.pointer

    def __call__(self, given=None, scalars=None, stream=None, workspace=None):
        """Puts the plan's kernels on the stream and returns."""
        views = self.views
        if given:
            for name in given:
                if name not in self.tensors:
                    raise errors.UnknownArg("%s: argument %s: the plan has no such tensor; expected some of %s"
                                            % (self.op, name, " ".join(self.tensors)), tensor=name)
            views = [self._same_kind(name, tensors.view(given[name], name)) if name in given else v
                     for name, v in zip(self.tensors, self.views)]
        if stream is None:
            stream = _current_stream(views)
        elif hasattr(stream, "cuda_stream"):
            stream = stream.cuda_stream
        if stream is not None and not (hasattr(stream, "__index__") and 0 <= stream < 1 << 64):
            raise errors.BadCall("%s: stream is %r; expected the driver's handle as a number, or anything with cuda_stream" % (self.op, stream))
        scratch = self.workspace() if workspace is None else self._brought(workspace)
        check(LIB.kiln_launch_parts(self.handle, self.pack(*[v.pointer for v in views]), self.pack_scalars(scalars), scratch,
                                    None if stream is None else int(stream)))

    def _brought(self, workspace):
        """The address of a workspace of the caller's, which must be large enough."""
        v = tensors.view(workspace, "workspace")
        _check_place("workspace", v, self.device)
        size = tensors.BYTES[v.dtype]
        for n in v.shape:
            size *= n
        if v.strides != tensors.dense(v.shape) and 0 not in v.shape:
            raise errors.BadStride("%s: tensor workspace has strides %s; expected dense memory" % (self.op, list(v.strides)), tensor="workspace")
        if size < self.workspace_bytes:
            raise errors.BadSize("%s: tensor workspace has %d bytes; expected at least %d" % (self.op, size, self.workspace_bytes), tensor="workspace")
        return v.pointer

    def _same_kind(self, name, v):
        mine = self.views[self.tensors.index(name)]
        _check_place(name, v, self.device)
        there, here = getattr(mine.owner, "is_cuda", False), getattr(v.owner, "is_cuda", None)
        if there and (here is False and not v.owner.is_pinned() or here and v.owner.device != mine.owner.device):
            raise errors.BadPointer("%s: tensor %s is on %s; expected %s, as in the plan" % (self.op, name, v.owner.device, mine.owner.device), tensor=name)
        if v.dtype != mine.dtype:
            raise errors.BadDtype("%s: tensor %s is %s; expected %s, as in the plan" % (self.op, name, v.dtype, mine.dtype))
        if v.shape != mine.shape:
            raise errors.BadSize("%s: tensor %s is %s; expected %s, as in the plan" % (self.op, name, list(v.shape), list(mine.shape)))
        if v.strides != mine.strides:
            raise errors.BadStride("%s: tensor %s has strides %s; expected %s, as in the plan"
                                   % (self.op, name, list(v.strides), list(mine.strides)))
        return v

    @property
    def steps(self):
        """What a launch starts, a Step each: name, entry, grid, block, shared memory, registers and the rest of kiln_step_info."""
        rows = []
        for i in range(self.nsteps):
            info = StepInfo()
            check(LIB.kiln_plan_step(self.handle, i, ctypes.byref(info)))
            rows.append(Step(info.name.decode(), info.entry.decode(), tuple(info.grid), info.block, tuple(info.cluster),
                             info.shared_bytes, info.static_shared_bytes, info.local_bytes, info.registers, info.blocks_sm))
        return rows

    def describe(self):
        """A readable account of the plan."""
        bytes_ = LIB.kiln_plan_describe(self.handle, None, 0) + 1
        text = ctypes.create_string_buffer(bytes_)
        LIB.kiln_plan_describe(self.handle, text, bytes_)
        return text.value.decode()

    def __repr__(self):
        return "kiln.Plan(%s: %s for %s on %r)" % (self.op, self.variant, self.target, self.device.where)


def explain(device, op, given, scalars=None, settings=None, target=None, variant=None):
    """What kiln_explain says: a Verdict for every file of the op that was added, in order of preference."""
    arguments = Arguments(given, scalars, settings)
    return explain_arguments(find_device(device), op, arguments, target, variant)


def explain_arguments(device, op, arguments, target=None, variant=None):
    rows = []

    def take(_, verdict):
        v = verdict.contents
        rows.append(Verdict(v.file.decode(), v.variant.decode(), v.target.decode(), v.settings.decode(), v.schedule.decode(),
                            v.status, v.rule.decode(errors="replace"), v.cost_ns, bool(v.wins), bool(v.tuned)))

    check(LIB.kiln_explain(device.handle, op.encode(), arguments.array, arguments.count, _options(target, variant), VerdictFn(take), None))
    return rows
