"""quantize_fp8 and dequantize_fp8: eight-bit codes with a scale per tensor, row, column, or block of 128 (1 x 128 or 128 x 128)."""
from ctypes import c_void_p

import torch

from .. import errors, plan
from .._cache import plans
from . import _core
from ._library import _PT2, LIBRARY

LARGEST = {"e4m3": 448.0, "e5m2": 57344.0, "u8": 448.0}
CODES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2, "u8": torch.uint8}
FORMATS = {dtype: name for name, dtype in CODES.items()}
PER = ("tensor", "row", "column", "block1", "block128")
WIDE = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # of values; the last one by plain mathematics alone
SMALLEST = 2.0 ** -126  # of a scale: its reciprocal is finite


def _blocks(n):
    return (n + 127) // 128


def scale_shape(shape, per):
    """Of the scales of a tensor (..., R, N)."""
    shape = tuple(shape)
    if per == "tensor":
        return ()
    if per == "row":
        return shape[:-1]
    if per == "column":
        return shape[:-2] + shape[-1:]
    if per == "block1":
        return shape[:-1] + (_blocks(shape[-1]),)
    return shape[:-2] + (_blocks(shape[-2]), _blocks(shape[-1]))


def _check(name, x, format, per):
    if format not in LARGEST:
        raise errors.BadSetting('%s: setting format is "%s"; expected e4m3, e5m2 or u8' % (name, format))
    if per not in PER + ("given",) * (name == "quantize_fp8"):
        raise errors.BadSetting('%s: setting per is "%s"; expected one of %s' % (name, per, " ".join(PER)))
    least = 2 if per in ("column", "block128") else 1
    if x.dim() < least:
        raise errors.BadRank("%s: tensor %s has %d dims; expected at least %d" % (name, "x" if name[0] == "q" else "q", x.dim(), least))


# ---- plain mathematics ----

def _spread(scale, shape, per):
    """Scales as they broadcast over the tensor."""
    if per == "row":
        return scale.unsqueeze(-1)
    if per == "column":
        return scale.unsqueeze(-2)
    if per in ("block1", "block128"):
        scale = scale.repeat_interleave(128, -1)[..., :shape[-1]]
    if per == "block128":
        scale = scale.repeat_interleave(128, -2)[..., :shape[-2], :]
    return scale


def _largest(x, per):
    """The largest magnitude of whatever has a scale of its own."""
    a = x.abs()
    if per == "tensor":
        return a.max() if a.numel() else a.new_zeros(())
    if per == "row":
        return a.amax(-1)
    if per == "column":
        return a.amax(-2)
    columns, rows = _blocks(x.shape[-1]), _blocks(x.shape[-2]) if per == "block128" else 0
    a = torch.nn.functional.pad(a, (0, columns * 128 - x.shape[-1])).unflatten(-1, (columns, 128)).amax(-1)
    if rows:
        a = torch.nn.functional.pad(a, (0, 0, 0, rows * 128 - x.shape[-2])).unflatten(-2, (rows, 128)).amax(-2)
    return a


def quantize(x, scale, format, per):
    """(codes, scales) as torch computes them."""
    v, top = x.float(), LARGEST[format]
    if per != "given":
        most = _largest(v, per)
        scale = torch.where(most == 0, 1.0, top / most if format == "u8" else (most / top).clamp_min(SMALLEST))
    wide = _spread(scale.float(), x.shape, per)
    v = v * (wide if format == "u8" else wide.reciprocal())
    v = v.clamp(-top, top)
    if format == "u8":
        return (torch.round(torch.nan_to_num(v) / top * 127) + 128).to(torch.uint8), scale
    return v.to(CODES[format]), scale


def dequantize(q, scale, format, per, dtype):
    wide = _spread(scale.float(), q.shape, per)
    if format == "u8":
        return ((q.float() - 128) / 127 * 448 * wide.reciprocal()).half().to(dtype)
    return (q.float() * wide).to(dtype)


# ---- launches ----

def _entry(key, name, tensors, settings):
    x = next(iter(tensors.values()))
    views = {n: _core.view(t) for n, t in tensors.items()}
    made = plan.Plan(_core.where(x.device), name, views, None, settings)
    e = _core.Entry()
    e.plan, e.handle, e.scalars = made, c_void_p(made.handle), None
    e.outs = [(tuple(t.shape), tuple(t.stride()), t.dtype) for t in tensors.values()]
    order = [list(tensors).index(n) for n in made.tensors]
    e.pack = lambda *pointers: made.pack(*[pointers[i] for i in order])
    e.scratch = ((made.workspace_bytes,), (1,), torch.uint8) if made.workspace_bytes else None
    made.views = []
    _core.keep(key, e)
    return e


def _run(e, device, *all_tensors):
    buffer = _core.empty(*e.scratch) if e.scratch else None
    stream = _core.current_stream(device)
    status = _core.launch_parts(e.handle, e.pack(*[t.data_ptr() for t in all_tensors]), None,
                                c_void_p(buffer.data_ptr()) if e.scratch else None, c_void_p(stream) if stream else None)
    if status:
        raise _core.error(status)


def _check_device(op, name, x, first):
    """The key of a plan holds the first tensor's device alone."""
    if x.get_device() != first.get_device():
        raise errors.BadPointer("%s: tensor %s is on %s; expected %s" % (op, name, x.device, first.device), tensor=name)


def launch_quantize(x, scale, format, per):
    """(codes, scales) by kiln's kernels."""
    device = x.get_device()
    if _core.is_elsewhere(device):
        with torch.cuda.device(device):
            return launch_quantize(x, scale, format, per)
    given = per == "given"
    if given:
        _check_device("quantize_fp8", "scale", scale, x)
    if x.is_neg():
        x = x.resolve_neg()
    align = (x.data_ptr() | (scale.data_ptr() if given else 0)) & 15
    key = ("quantize_fp8", device, align, x.shape, x.stride(), x.dtype, given and (scale.shape, scale.dtype), format, per)
    e = plans.get(key)
    if e is None:
        q = torch.empty_like(x, dtype=CODES[format])
        scale = scale if given else x.new_empty(scale_shape(x.shape, per), dtype=torch.float32)
        e = _entry(key, "quantize_fp8", {"x": x, "q": q, "scale": scale}, {"format": format, "per": per})
    q = _core.empty(*e.outs[1])
    scale = scale if given else _core.empty(*e.outs[2])
    _run(e, device, x, q, scale)
    return q, scale


def launch_dequantize(q, scale, format, per, dtype):
    """The values by kiln's kernels."""
    device = q.get_device()
    if _core.is_elsewhere(device):
        with torch.cuda.device(device):
            return launch_dequantize(q, scale, format, per, dtype)
    _check_device("dequantize_fp8", "scale", scale, q)
    align = (q.data_ptr() | scale.data_ptr()) & 15
    key = ("dequantize_fp8", device, align, q.shape, q.stride(), scale.shape, scale.stride(), scale.dtype, format, per, dtype)
    e = plans.get(key)
    if e is None:
        y = torch.empty_like(q, dtype=dtype)
        e = _entry(key, "dequantize_fp8", {"q": q, "scale": scale, "y": y},
                   {"format": format, "per": per, "dtype": _core.tensors.torch_dtype_name(dtype)})
    y = _core.empty(*e.outs[2])
    _run(e, device, q, scale, y)
    return y


# ---- torch's library ----

def _owned(x, pair, per):
    """A schema's results are new tensors: a scale that was given is not handed back."""
    q, scale = pair
    return q, x.new_empty(0, dtype=torch.float32) if per == "given" else scale


def _fake_quantize(x, scale, format, per):
    made = x.new_empty(0 if per == "given" else scale_shape(x.shape, per), dtype=torch.float32)
    return torch.empty_like(x, dtype=CODES[format]), made


def _cpu_quantize(x, scale, format, per):
    q, made = quantize(x, scale, format, per)
    outs = _fake_quantize(x, scale, format, per)
    return outs[0].copy_(q), outs[1] if per == "given" else outs[1].copy_(made)


def _cpu_dequantize(q, scale, format, per, dtype):
    return torch.empty_like(q, dtype=dtype).copy_(dequantize(q, scale, format, per, dtype))


def define():
    LIBRARY.define("quantize_fp8(Tensor x, Tensor? scale, str format, str per) -> (Tensor, Tensor)", tags=_PT2)
    LIBRARY.impl("quantize_fp8", lambda x, scale, format, per: _owned(x, launch_quantize(x, scale, format, per), per), "CUDA")
    LIBRARY.impl("quantize_fp8", _cpu_quantize, "CPU")
    torch.library.register_fake("kiln::quantize_fp8", _fake_quantize, lib=LIBRARY)
    LIBRARY.define("dequantize_fp8(Tensor q, Tensor scale, str format, str per, ScalarType dtype) -> Tensor", tags=_PT2)
    LIBRARY.impl("dequantize_fp8", launch_dequantize, "CUDA")
    LIBRARY.impl("dequantize_fp8", _cpu_dequantize, "CPU")
    torch.library.register_fake("kiln::dequantize_fp8", lambda q, scale, format, per, dtype: torch.empty_like(q, dtype=dtype), lib=LIBRARY)


define()


# ---- what users call ----

def quantize_fp8(x, scale=None, *, format="e4m3", per="tensor"):
    """(codes, scales) of x: code = x / scale, scale = amax / the format's largest value, found on the device without waiting for it.

    format  "e4m3" (torch.float8_e4m3fn), "e5m2", or "u8": the linear format of triton-fused-ops, 128 + 127 steps, its scale inverted
    per     what has a scale of its own: "tensor", "row", "column", "block1" (1 x 128), "block128" (128 x 128)
    scale   one f32 value on the device that takes the place of amax's; then `per` is not looked at
    Codes have no gradient.
    """
    per = "given" if scale is not None else per
    _check("quantize_fp8", x, format, per)
    if x.dtype not in WIDE:
        raise errors.BadDtype("quantize_fp8: tensor x is %s; expected float32, float16 or bfloat16" % x.dtype, tensor="x")
    x = x.detach()
    if torch.compiler.is_compiling() or type(x) is not torch.Tensor or not x.is_cuda:
        q, made = torch.ops.kiln.quantize_fp8.default(x, scale, format, per)
    else:
        q, made = launch_quantize(x, scale, format, per)
    return q, scale if per == "given" else made


def dequantize_fp8(q, scale, *, per="tensor", dtype=torch.bfloat16):
    """value = code * scale, in dtype (bfloat16, float16 or float32). The format is that of q; `per` is what quantize_fp8 was told."""
    if q.dtype not in FORMATS:
        raise errors.BadDtype("dequantize_fp8: tensor q is %s; expected one of %s" % (q.dtype, " ".join(str(d) for d in FORMATS)))
    format = FORMATS[q.dtype]
    _check("dequantize_fp8", q, format, per)
    if dtype not in WIDE[:3]:
        raise errors.BadDtype("dequantize_fp8: the result's dtype is %s; expected float32, float16 or bfloat16" % dtype)
    if scale is None:
        raise errors.MissingArg("dequantize_fp8: argument scale: this tensor is missing", tensor="scale")
    if torch.compiler.is_compiling() or type(q) is not torch.Tensor or not q.is_cuda:
        return torch.ops.kiln.dequantize_fp8.default(q, scale, format, per, dtype)
    return launch_dequantize(q, scale, format, per, dtype)
