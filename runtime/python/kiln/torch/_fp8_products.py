"""fp8_gemm and fp8_linear: products of e4m3 and e5m2 with scales, of codes as they are or of wider tensors quantised on the way.

Weights of fp8_linear are quantised once and kept as long as the tensor lives: an update in place, or other memory, makes them anew
(torch counts updates in `_version`). Gradients are products of 16 bits.
"""
import torch
from torch.utils.weak import WeakTensorKeyDictionary

from .. import _cache, errors, ops, products
from . import _fp8, _math, _product_gradients, _products
from ._library import _PT2, LIBRARY
from ._products import OUTPUTS, Product

SCALES, ACCUMULATE = (ops.PRODUCTS["fp8_gemm"].settings[key] for key in ("scale", "accumulate"))
BYTES = (torch.float8_e4m3fn, torch.float8_e5m2)
PER = {"tensor": ("tensor", "tensor"), "row": ("row", "row"), "block": ("block1", "block128"), "block1": ("block1", "block1")}  # of x, of w (N, K)


class Fp8Product(Product):
    """A product of left (..., M, K) and b (..., K, N) in eight bits. scales: {tensor: its operand}; dtypes: of left and right; majors: which of
    a_major and b_major the op has; a left operand without one has k contiguous, or is copied."""

    def __init__(self, name, left, right, out, scales, dtypes, majors):
        super().__init__(name, left, (right,), vector="bias", turned=False, others=tuple(scales), known=(left, right, "bias") + tuple(scales) + (out,))
        self.scales, self.dtypes, self.majors = scales, dtypes + (OUTPUTS,) + ((torch.float32,),) * len(scales), majors

    @staticmethod
    def precision(_):
        return {}

    def check(self, given, *_):
        for name, x, wanted in zip(self.names, given, self.dtypes):
            if x is None:
                continue
            if x.device != given[0].device:
                raise errors.BadPointer("%s: tensor %s is on %s; expected %s" % (self.name, name, x.device, given[0].device), tensor=name)
            if x.dtype not in wanted:
                raise errors.BadDtype("%s: tensor %s is %s; expected %s" % (self.name, name, x.dtype, _products._words(wanted)), tensor=name)

    def arrangement(self, given, settings=()):
        lay = {name: products.given(name, x.shape, x.stride()) for name, x in zip(self.names, given) if x is not None}
        kind, scales = dict(settings).get("scale", "tensor"), {}
        for name, owner in self.scales.items():
            shape, is_left = lay[owner].shape, owner == self.left
            if len(shape) >= 2:
                rows, k = shape[-2:] if is_left else shape[:-3:-1]
                sizes = products.scale_sizes(kind, shape[:-2], rows, k, is_left)
                if not sizes and given[self.names.index(name)].numel() != 1:
                    raise errors.BadSize("%s: tensor %s is %s; expected one element" % (self.name, name, list(lay[name].shape)), tensor=name,
                                         actual=str(list(lay[name].shape)), expected="one element")
                scales[name] = lay[name], owner, sizes
        found = products.arrange(self.name, lay[self.left], [lay[self.rights[0]]], None, lay.get("bias"), scales)
        if not found.copies and "a_major" not in self.majors and found.settings["a_major"] != "k":
            return found._replace(copies={self.left: lay[self.left].shape})
        return found._replace(settings={key: value for key, value in found.settings.items() if key in self.majors})


FP8_GEMM = Fp8Product("fp8_gemm", "a", "b", "d", {"scale_a": "a", "scale_b": "b"}, (BYTES, BYTES), ("a_major", "b_major"))
FP8_LINEAR = Fp8Product("fp8_linear", "x", "w", "y", {"scale_w": "w"}, (OUTPUTS, BYTES), ("b_major",))
FP8_WIDE = Fp8Product("fp8_gemm_wide", "a", "b", "d", {}, (OUTPUTS, OUTPUTS), ("b_major",))
U8 = Fp8Product("fp8_gemm_u8", "a", "b", "d", {"scale_a": "a", "scale_b": "b"}, ((torch.uint8,),) * 2, ("b_major",))


def launch_fp8_gemm(a, b, scale_a, scale_b, bias, scale, accumulate, dtype):
    settings = (("scale", scale), ("accumulate", accumulate), ("dtype", _fp8._core.tensors.torch_dtype_name(dtype)))
    return FP8_GEMM.launch((a, b, bias, scale_a, scale_b), (), settings, dtype)


# ---- plain mathematics ----

def _spread_to(scale, kind, shape, is_left):
    """Scales as they multiply a (..., M, K), or b (..., K, N)."""
    if kind == "tensor":
        return scale.reshape(())
    if kind == "row":
        return scale.unsqueeze(-1 if is_left else -2)
    scale = scale.repeat_interleave(128, -1 if is_left else -2)
    if kind == "block" and not is_left:
        scale = scale.repeat_interleave(128, -1)
    return scale[..., : shape[-2], : shape[-1]]


def math_fp8_gemm(a, b, scale_a, scale_b, bias, scale, accumulate, dtype):
    wide = a.float() * _spread_to(scale_a, scale, a.shape, True), b.float() * _spread_to(scale_b, scale, b.shape, False)
    return _math.gemm(*wide, None, bias, 1.0, 1.0, "none", dtype)


# ---- quantised on the way ----

def _scale_b(scale, kind):
    """Scales of a weight (N, K) as those of its transpose."""
    return scale.mT if kind in ("block", "block1") else scale


def quantised_linear(quantize, gemm, x, w, bias, scale, accumulate, format, keep):
    """The product of x and w by these two calls."""
    of_x, of_w = PER[scale]
    qx, sx = quantize(x, None, format, of_x)
    qw, sw = kept(quantize, w, format, of_w) if keep else quantize(w, None, format, of_w)
    return gemm(qx, qw.mT, sx, _scale_b(sw, scale), bias, scale, accumulate, x.dtype)


_kept = WeakTensorKeyDictionary()  # weight -> {(format, per): Kept}
_cache.forget.append(_kept.clear)


class Kept:
    """A weight's codes and scales, with what they were made from and on which stream."""

    __slots__ = ("version", "pointer", "shape", "strides", "codes", "scale", "stream", "done")

    def __init__(self, w, codes, scale):
        self.version, self.pointer, self.shape, self.strides, self.codes, self.scale = w._version, w.data_ptr(), w.shape, w.stride(), codes, scale
        self.stream = self.done = None
        if w.is_cuda:
            self.stream = torch.cuda.current_stream(w.device)
            self.done = self.stream.record_event()

    def is_of(self, w):
        return self.version == w._version and self.pointer == w.data_ptr() and self.shape == w.shape and self.strides == w.stride()

    def take(self):
        """The codes and scales, for the current stream."""
        if self.stream is not None:
            now = torch.cuda.current_stream(self.codes.device)
            if now != self.stream:
                now.wait_event(self.done)
                self.codes.record_stream(now)
                self.scale.record_stream(now)
        return self.codes, self.scale


def kept(quantize, w, format, per):
    """(codes, scales) of a weight. A graph that is captured quantises at each replay instead: what is kept may be gone by then. So does a
    tensor of torch.inference_mode, whose updates torch does not count."""
    if w.is_inference() or w.is_cuda and torch.cuda.is_current_stream_capturing():
        return quantize(w.detach(), None, format, per)
    of_w = _kept.get(w)
    found = of_w.get((format, per)) if of_w else None
    if found is None or not found.is_of(w):
        found = Kept(w, *quantize(w.detach(), None, format, per))  # what is kept must not hold the weight
        _kept.setdefault(w, {})[format, per] = found
    return found.take()


def launch_fp8_linear(x, w, bias, scale, accumulate, format, keep):
    """By one plan that quantises what is not kept; of two dtypes, or where b's scales run along what is not contiguous, by a plan for each step."""
    settings = (("scale", scale), ("accumulate", accumulate), ("format", format))
    lies = w.stride(-1) == 1 or w.shape[-1] == 1  # k is contiguous
    if keep:
        q, s = kept(_fp8.launch_quantize, w, format, PER[scale][1])
        return FP8_LINEAR.launch((x, q.mT, bias, _scale_b(s, scale)), (), settings)
    if x.dtype == w.dtype and (lies or scale != "block1"):
        return FP8_WIDE.launch((x, w.mT, bias), (), settings)
    return quantised_linear(_fp8.launch_quantize, launch_fp8_gemm, x, w, bias, scale, accumulate, format, keep)


def math_fp8_linear(x, w, bias, scale, accumulate, format, keep):
    return quantised_linear(_fp8.quantize, math_fp8_gemm, x, w, bias, scale, accumulate, format, keep)


# ---- gradients: of 16 bits, as if nothing had been quantised ----

def _remember(ctx, inputs, _):
    x, w, bias = inputs[:3]
    ctx.save_for_backward(x, w, bias)


def _backward(calls, ctx, dy):
    x, w, bias = ctx.saved_tensors
    short = x.dtype if x.dtype in (torch.bfloat16, torch.float16) else torch.bfloat16
    g, dx, dw = dy.to(short), None, None
    if ctx.needs_input_grad[0]:
        dx = calls.product(g, w.to(short), dtype=x.dtype).sum_to_size(x.shape)
    if ctx.needs_input_grad[1]:
        dw = _product_gradients._of_right(calls, x.to(short), w.mT, g, 1.0, w.dtype).mT
    return dx, dw, _product_gradients._of_bias(dy, bias) if ctx.needs_input_grad[2] else None, None, None, None, None


def _fake_linear(x, w, bias, scale, accumulate, format, keep):
    return _products._fake_linear(x, w, bias, "none")


def _fake_gemm(a, b, scale_a, scale_b, bias, scale, accumulate, dtype):
    return _products._fake_gemm(a, b, None, bias, 1.0, 1.0, "none", dtype)


_products.OPS["fp8_gemm"] = _products.Op(
    "(Tensor a, Tensor b, Tensor scale_a, Tensor scale_b, Tensor? bias, str scale, str accumulate, ScalarType dtype) -> Tensor",
    launch_fp8_gemm, math_fp8_gemm, _fake_gemm, None, None, 5, 0)
_products.OPS["fp8_linear"] = _products.Op(
    "(Tensor x, Tensor w, Tensor? bias, str scale, str accumulate, str format, bool keep) -> Tensor",
    launch_fp8_linear, math_fp8_linear, _fake_linear, _remember, _backward, 3, 1, False)
for _name in ("fp8_gemm", "fp8_linear"):
    _products.define(_name)


# ---- what users call ----

def _check_words(name, scale, accumulate, format):
    _products.check_word(name, "scale", scale, SCALES)
    _products.check_word(name, "accumulate", accumulate, ACCUMULATE)
    _products.check_word(name, "format", format, ("e4m3", "e5m2"))


def _check_wide(name, x, w, bias, names):
    """Of tensors that are quantised on the way."""
    for label, t in zip(names, (x, w, bias)):
        if t is not None and t.dtype not in OUTPUTS:
            raise errors.BadDtype("%s: tensor %s is %s; expected %s" % (name, label, t.dtype, _products._words(OUTPUTS)), tensor=label)
    lay = [products.given(names[0], x.shape, x.stride()), products.given(names[1], w.shape, w.stride(), True)]
    products.arrange(name, lay[0], lay[1:], None, None if bias is None else products.given(names[2], bias.shape, bias.stride()))


def _of_u8(a, b, scale_a, scale_b, bias, scale, dtype):
    """The linear format of triton-fused-ops: values in f16, then a product of these, through f16 as there."""
    given = (a, b, bias, scale_a, scale_b)
    if scale == "tensor" and bias is None and a.is_cuda and not _products._is_special(given):
        return U8.launch(given, (), (), dtype)
    of_a = {"tensor": "tensor", "row": "row"}.get(scale, "block1")
    a = _fp8.dequantize_fp8(a, scale_a, per=of_a, dtype=torch.float16)
    if scale == "block1":
        b = _fp8.dequantize_fp8(b.mT, scale_b.mT, per="block1", dtype=torch.float16).mT
    else:
        b = _fp8.dequantize_fp8(b, scale_b, per={"tensor": "tensor", "row": "column"}.get(scale, "block128"), dtype=torch.float16)
    return _products.gemm(a, b, None, bias).to(dtype)


def fp8_gemm(a, b, scale_a=None, scale_b=None, bias=None, *, scale="tensor", accumulate="fast", dtype=None, format="e4m3"):
    """d = (a * scale_a) (b * scale_b) + bias on the tensor cores of eight bits. a: (..., M, K), b: (..., K, N), bias: (N).

    a, b   codes (torch.float8_e4m3fn, float8_e5m2, or both) as quantize_fp8 makes them, with their scales; uint8, its format "u8", which is
           turned into f16 first; or bfloat16, float16, float32, which are quantised on the way, as `format`, without scales
    scale  "tensor"; "row": of a row of a (..., M) and a column of b (..., N); "block": of 128 of k in a row of a (..., M, K/128) and of
           128 x 128 of b (..., K/128, N/128); "block1": of 128 of k, of b in a column (..., K/128, N)
    accumulate  "fast": sums stay in the tensor cores, which keep some 14 bits; "promoted": every 128 of K are added up in f32
    dtype  of d: None is bfloat16 for codes, float16 for u8, else a's
    Of what is quantised on the way gradients are products of 16 bits, as if nothing had been.
    """
    _check_words("fp8_gemm", scale, accumulate, format)
    if dtype is not None and dtype not in OUTPUTS:
        raise errors.BadDtype("fp8_gemm: the result's dtype is %s; expected %s" % (dtype, _products._words(OUTPUTS)))
    coded = a.dtype in BYTES or a.dtype is torch.uint8
    if (b.dtype in BYTES, b.dtype is torch.uint8) != (a.dtype in BYTES, a.dtype is torch.uint8):
        raise errors.BadDtype("fp8_gemm: tensor b is %s; expected %s, as tensor a" % (b.dtype, a.dtype), tensor="b")
    for name, given in (("scale_a", scale_a), ("scale_b", scale_b)):
        if coded and given is None:
            raise errors.MissingArg("fp8_gemm: argument %s: this tensor is missing" % name)
        if not coded and given is not None:
            raise errors.UnknownArg("fp8_gemm: argument %s: given; expected none beside %s, whose scales are found" % (name, a.dtype))
    if a.dtype is torch.uint8:
        return _of_u8(a, b, scale_a, scale_b, bias, scale, dtype or torch.float16)
    if not coded:
        _check_wide("fp8_gemm", a, b.mT, bias, ("a", "b", "bias"))
        d = _products.call("fp8_linear", (a, b.mT, bias), (scale, accumulate, format, False))
        return d if dtype is None else d.to(dtype)
    apart = bias if bias is not None and bias.requires_grad and torch.is_grad_enabled() else None  # codes have no gradient, it has
    given = (a, b, scale_a, scale_b, bias if apart is None else None)

    def check(tensors):
        FP8_GEMM.check((tensors[0], tensors[1], tensors[4], tensors[2], tensors[3]))
        FP8_GEMM.arrangement((tensors[0], tensors[1], tensors[4], tensors[2], tensors[3]), (("scale", scale),))
    d = _products.call("fp8_gemm", given, (scale, accumulate, dtype or torch.bfloat16), check)
    return d if apart is None else d + apart.to(d.dtype)


def fp8_linear(x, w, bias=None, *, scale="tensor", accumulate="fast", format="e4m3"):
    """y = x w' + bias in eight bits: x (..., K) is quantised on the way, the weight w (N, K) once, and again after an update.

    Tensors are bfloat16, float16 or float32, y is of x's dtype; scale and accumulate as in fp8_gemm. Gradients are products of 16 bits:
    dx = dy w, dw = dy' x. The kept codes go when the weight does, or by kiln.clear(). What is written through `w.data` torch does not count.
    """
    _check_words("fp8_linear", scale, accumulate, format)
    _check_wide("fp8_linear", x, w, bias, ("x", "w", "bias"))
    return _products.call("fp8_linear", (x, w, bias), (scale, accumulate, format, True))
