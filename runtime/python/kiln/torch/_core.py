"""Plans for torch tensors, kept by all that specialises them; and the launch behind every op of kiln.torch.

The functions `launch` are written out per op from the table in kiln/ops.py (_source), since a loop over arguments would cost more than
the launch itself: one key, one look-up, torch's allocation of the outputs, one call into libkiln.
"""
import struct
from ctypes import c_void_p

import torch

from .. import errors, ops, plan, tensors
from .._cache import keep, plans
from .._lib import LIB, error
from ..device import device as find_device
from . import _source

launch_parts = LIB["kiln_launch_parts"]  # without argtypes, which cost a conversion each: what it gets are c_void_p, bytes and None
_left_out = {}  # (op, which tensors, settings) -> what its kernels were found not to read

BAD_ALIGN = errors.BadAlign.status
UNKNOWN_ARG = errors.UnknownArg.status


class Entry:
    """A plan with what a launch needs of it.

    outs      per output: (shape, strides, dtype) for the allocation; None for one that is not written
    pack      the addresses of the op's inputs and outputs -> what kiln_launch_parts reads
    scalars   the call scalars -> bytes, or None
    scratch   (shape, strides, dtype) of the workspace, or None
    copies    of products: {name: shape} of the tensors that have to be expanded and copied first; then there is no plan
    """

    __slots__ = ("plan", "handle", "outs", "pack", "scalars", "scratch", "copies")


# ---- making a plan ----

def _outputs(op, given, wanted, written):
    """Per output a tensor of the shape it will have, or None; written: those that the caller brings (in place)."""
    present = {t.name: x for t, x in zip(op.inputs, given) if x is not None}
    outs = []
    for t, want in zip(op.outputs, wanted):
        if not want:
            outs.append(None)
        elif t.name in written:
            outs.append(written[t.name])
        else:
            outs.append(empty_output(op, t, present))
    return outs


def empty_output(op, t, present):
    """An output of the op, unset: laid out as the tensor whose shape it has, where that is dense; else row-major."""
    name, whole = ops.output_model(op, t, present)
    model = present[name]
    if whole:
        return torch.empty_like(model, dtype=_DTYPES[t.dtype] if t.dtype else None)
    return model.new_empty(model.shape[:-1], dtype=_DTYPES[t.dtype] if t.dtype else None)


_ACTIVATIONS = (torch.float32, torch.float16, torch.bfloat16)
_DTYPES = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "f16": torch.float16, "i32": torch.int32,
           "i64": torch.int64, "u8": torch.uint8, "bool": torch.bool}


def view(x, shape=None, strides=None):
    """A torch tensor as a plan takes it."""
    return tensors.View(x.data_ptr(), tensors.torch_dtype_name(x.dtype), x.shape if shape is None else shape,
                        x.stride() if strides is None else strides, x)


def _fitted(op, t, x):
    return view(x, *ops.fit(op, t, tuple(x.shape), x.stride()))


def _implied(op, given):
    """Settings that the tensors imply: whether one has a dim that it may lack (w_B); and of a gradient, what the forward's optional
    tensors were where its kernels do not take them themselves (b=yes b_dtype=f32)."""
    first = next(x for x in given if x is not None)
    texts = {}
    for t, x in zip(op.inputs, given):
        for dim in t.maybe if x is not None else ():
            texts[t.name + "_" + dim] = "no" if ops.is_plain(t, x.shape) else "yes"
        if op.of is not None and t.optional and not t.saved:
            texts[t.name] = "no" if x is None else "yes"
        if op.of is not None and t.own and x is not None:
            texts[t.name + "_dtype"] = "same" if x.dtype == first.dtype else tensors.torch_dtype_name(x.dtype)
    if op.of is not None:  # dyk is there: so was k
        there = {t.name for t, x in zip(op.inputs, given) if x is not None}
        texts.update({y.beside: "yes" if "d" + y.name in there else "no" for y in ops.FORWARD[op.of].outputs if y.beside})
    return texts


def _create(op, device, given, outs, scalars, settings):
    """The plan. Of a gradient's tensors and scalars, and of what is only implied, those are left out that no kernel reads."""
    views = {t.name: _fitted(op, t, x) for t, x in zip(op.inputs + op.outputs, list(given) + outs) if x is not None}
    numbers = {s.name: value for s, value in zip(op.scalars, scalars)}
    implied = _implied(op, given)
    spare = [t.name for t in op.inputs if op.of and t.name in ops.FORWARD[op.of].reads and t.name in views] + list(numbers)
    asked_for = dict(settings, **implied)
    if op.of:
        asked_for.update({t.name: "no" if x is None else "yes" for t, x in zip(op.outputs, outs)})
    memory = (op.name, tuple(sorted(views)), tuple(sorted(asked_for.items())))
    absent = _left_out.get(memory, frozenset())
    for _ in range(len(views) + len(numbers) + len(asked_for) + 1):
        tensors_, numbers_ = ({k: v for k, v in given_.items() if k not in absent} for given_ in (views, numbers))
        texts = {k: v for k, v in implied.items() if k not in tensors_ and not (k.endswith("_dtype") and k[:-6] in tensors_)}
        texts = {k: v for k, v in dict(settings, **texts).items() if "=" + k not in absent}
        try:
            made = plan.Plan(device, op.name, tensors_, numbers_, texts)
            _left_out[memory] = absent
            return made
        except errors.UnknownArg:
            more = _unread(op, plan.explain(device, op.name, tensors_, numbers_, texts), asked_for, spare if op.of else [],
                           [k for k in texts if op.of or k in implied])
            if not more:
                raise
            absent = absent | more
    raise errors.UnknownArg("%s: no kernel takes these arguments" % op.name)


def _unread(op, verdicts, asked_for, names, words):
    """One argument more that no kernel reads, by what kiln_explain says of the files with the settings in question: the name of a
    tensor or scalar, or "=name" of a setting."""
    rules = []
    for v in verdicts:
        has = dict(w.partition("=")[::2] for w in v.settings.split())
        if v.status == UNKNOWN_ARG and all(has.get(k, value) == value for k, value in asked_for.items()):
            rules.append(v.rule)
    for rule in rules:
        for name in names:
            if "argument %s: " % name in rule:
                return {name}
        for name in words:
            if "setting %s: " % name in rule:
                return {"=" + name}
    return None


def _packer(op, made):
    """A function of the addresses of all inputs and outputs, in the op's order."""
    names = [t.name for t in op.inputs + op.outputs]
    order = [names.index(name) for name in made.tensors]
    pack = made.pack
    if order == list(range(len(names))):
        return pack
    return eval("lambda %s: pack(%s)" % (", ".join("a%d" % i for i in range(len(names))), ", ".join("a%d" % i for i in order)),
                {"pack": pack})


def _scalar_packer(op, made):
    """A function of the op's call scalars, in the op's order."""
    calls = [s.name for s in op.scalars if s.call]
    if not made.scalars:
        return None
    order = [calls.index(name) for name in made.scalars]
    pack = struct.Struct("".join(made._formats)).pack
    return lambda *values: pack(*[values[i] for i in order])


def check_words(op, settings):
    """Pairs of a setting of the op and the word given for it."""
    for setting, word in settings:
        if word not in op.settings[setting]:
            raise errors.BadSetting('%s: setting %s is "%s"; expected one of %s' % (op.name, setting, word, ", ".join(op.settings[setting])))


def _entry(op, given, scalars, settings, wanted, written):
    device = next(x for x in given if x is not None).device
    check_table(op, given, scalars)
    check_words(op, settings)
    for t, x in zip(op.inputs, given):
        if x is None:
            if not t.optional:
                raise errors.MissingArg("%s: argument %s: this tensor is missing" % (op.name, t.name))
        elif x.device != device:
            misplaced(op, given)
        elif t.dtype is None and not t.own and x.dtype not in _ACTIVATIONS:
            raise errors.BadDtype("%s: tensor %s is %s; expected float32, float16 or bfloat16" % (op.name, t.name, x.dtype))
    with torch.cuda.device(device) if device.type == "cuda" else _nothing:
        outs = _outputs(op, given, wanted, written)
        made = _create(op, where(device), given, outs, scalars, settings)
    e = Entry()
    e.plan, e.handle = made, c_void_p(made.handle)
    e.outs = [None if x is None else (tuple(x.shape), tuple(x.stride()), x.dtype) for x in outs]
    e.pack, e.scalars = _packer(op, made), _scalar_packer(op, made)
    e.scratch = ((made.workspace_bytes,), (1,), torch.uint8) if made.workspace_bytes else None
    made.views = []  # no tensor stays alive for the plan's sake
    return e


def misplaced(op, given):
    """Raises the error of tensors on several devices."""
    first = next(x for x in given if x is not None)
    for t, x in zip(op.inputs, given):
        if x is not None and (x.device != first.device or x.get_device() != first.get_device()):
            raise errors.BadPointer("%s: tensor %s is on %s; expected %s" % (op.name, t.name, x.device, first.device), tensor=t.name)


def check_table(op, given, scalars, names=None):
    """The rows of a table of angles suffice for every row that turns, from `pos` on."""
    named = dict(zip([t.name for t in op.inputs], given))
    numbers = dict(zip([s.name for s in op.scalars], scalars))
    table = named.get("cos")
    if table is None:
        return
    rows, pos = table.numel() // max(table.shape[-1], 1), numbers.get("pos", 0)
    for name in ("q", "k", "x", "dyq", "dyk", "dy"):
        x = named.get(name)
        if x is not None:
            turned = min(x.shape[-2], numbers.get(name[-1] + "_rows", ops.ALL_ROWS))
            if turned and not 0 <= pos <= rows - turned:
                raise errors.BadSize("%s: tensor cos has %d rows; expected at least %d (pos %d and %d rows of %s)"
                                     % (op.name, rows, pos + turned, pos, turned, name), tensor="cos")


class _Nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


_nothing = _Nothing()


def where(device):
    """The kiln device of a torch device."""
    return find_device(device)


def miss(op, key, given, scalars, settings, wanted, written=None):
    """Makes the entry of a key that is not in the cache."""
    e = _entry(op, given, scalars, settings, wanted, written or {})
    keep(key, e)
    return e


def refused(op, status, given, scalars, settings, wanted, written, pointers, values, scratch, stream):
    """A launch was refused. Where an address was less aligned than the plan needs, one is made for this call; else it is an error."""
    problem = error(status)
    if status != BAD_ALIGN:
        raise problem
    outs = dict(written or {})
    e = _entry(op, given, scalars, settings, wanted, outs)
    buffer = empty(*e.scratch) if e.scratch else None
    status = launch_parts(e.handle, e.pack(*pointers), e.scalars(*values) if e.scalars else None,
                           c_void_p(buffer.data_ptr()) if e.scratch else None, stream)
    if status:
        raise problem


# ---- memory and streams ----

def _plain_empty(shape, strides, dtype):
    return torch.empty_strided(shape, strides, dtype=dtype, device="cuda")


def _choose_empty():
    """torch's own allocation without its dispatcher, as its compiled code calls it; on the current device, which launch() sees to."""
    found = getattr(getattr(getattr(torch._C, "_dynamo", None), "guards", None), "_empty_strided_cuda", None)
    return found or _plain_empty


empty = _choose_empty()
current_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (lambda i: torch.cuda.current_stream(i).cuda_stream)


# ---- launches ----

def is_elsewhere(device):
    """Whether torch's current device is another one."""
    return torch.cuda.device_count() > 1 and torch.cuda.current_device() != device


def make_launch(op, **names):
    """launch of the op; names: what tests put in the place of torch's allocator, stream and the rest."""
    space = {"NAME": op.name, "OP": op, "find": plans.get, "miss": miss, "empty": empty, "call": launch_parts, "stream": current_stream,
             "refused": refused, "misplaced": misplaced, "MANY": torch.cuda.is_available() and torch.cuda.device_count() > 1,
             "pointer": c_void_p, "current_device": torch.cuda.current_device, "guard": torch.cuda.device}
    return _source.compiled(op.name + " launch", _source.launch(op), dict(space, **names))["launch"]


LAUNCH = {}


def launcher(op):
    found = LAUNCH.get(op.name)
    if found is None:
        found = LAUNCH[op.name] = make_launch(op)
    return found
