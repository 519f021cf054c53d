"""The functions that users call, written out from the table: the short way for eager calls on a GPU, straight to the launch or, where a
gradient is wanted, to an autograd function around it; the general way through torch's library for torch.compile, subclasses, functorch
and dispatch modes; plain mathematics for what is not on a GPU."""
import torch
from torch.autograd import forward_ad

from .. import errors, ops
from . import _core, _gradients, _library, _math, _source

PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))

# Where torch does not say, every call takes the general way.
_MODES = getattr(torch._C, "_len_torch_dispatch_stack", None) or (lambda: 1)
# (to torch.compile a constant, True; the other ways of tracing show by the tensors' type)
_COMPILING = getattr(torch.compiler, "is_dynamo_compiling", torch.compiler.is_compiling)
_TRANSFORMS = getattr(torch._C, "_are_functorch_transforms_active", None) or (lambda: True)

DOC = {
    "rms_norm": "y = x * rsqrt(mean(x^2) + eps) * w over the last dim. x: (..., C); w: (C), (1, 1, C), or per sample (B, C) or (B, 1, C).",
    "rms_norm2": "rms_norm of two tensors in one launch: (y1, y2). N and C may differ; the first dim (B) and the dtype are the same.",
    "l2_normalize": "y = x / max(|x|, eps) over the last dim.",
    "l2_normalize2": "l2_normalize of two tensors in one launch: (y1, y2).",
    "layer_norm": "y = (x - mean) * rsqrt(var + eps) * w + b over the last dim; w and b (C) may be None.",
    "head_layer_norm": "Layer norm without affine of q and k over their last dim, in one launch: (yq, yk). (B, H, N, D) or (B, N, H, D).",
    "rope": "Rotary embedding of q, and of k unless None, (B, H, T, D): yq or (yq, yk). Row n takes row n + pos of cos and sin (P, R).\n"
            "table: \"channel\": an entry per channel, the first R turn; \"pair\": one per pair, the first 2R turn. pairs: \"neighbours\"\n"
            "(2i, 2i+1) or \"halves\" (i, i + width/2). Rows from q_rows (k_rows) on, and channels beyond, pass through.",
    "ln_rope": "Layer norm without affine, then rope: yq or (yq, yk).",
    "rms_norm_rope": "rms_norm of whole rows x (B, T, C), then the rotation of every head of the table's width.",
    "layer_norm_adaln": "y = layer_norm(x) * (1 + scale) + shift; x (B, ..., C), scale and shift (B, C) or (B, 1, C).",
    "rms_norm_adaln": "y = rms_norm(x) * (1 + scale) + shift; x (B, ..., C), scale and shift (B, C) or (B, 1, C).",
    "add_rms_norm": "h = x + r, y = rms_norm(h) * w: (y, h).",
    "gated": "y = act(gate) * up; act: silu, gelu or gelu_tanh.",
    "softmax": "softmax(scale * x) over the last dim; where mask (bool, of x's shape or broadcast to it) is True, x is excluded; all excluded: zeros.",
}


def promote(op, *activations):
    """Under torch.amp, activations of different dtypes become the widest of them; otherwise that is an error."""
    first = activations[0]
    if not torch.is_autocast_enabled():
        names = [t.name for t in _source.activations(op)]
        name, x = next((n, x) for n, x in zip(names, activations) if x is not None and x.dtype != first.dtype)
        raise errors.BadDtype("%s: tensor %s is %s; expected %s, as tensor %s" % (op.name, name, x.dtype, first.dtype, names[0]))
    dtype = first.dtype
    for x in activations[1:]:
        if x is not None:
            dtype = torch.promote_types(dtype, x.dtype)
    return tuple(None if x is None else x.to(dtype) for x in activations)


_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # the last one by plain mathematics alone


def check_call(op, given, words):
    """What plain mathematics would take and make something else of: complex numbers and integers, unknown words."""
    for t, x in zip(op.inputs, given):
        if x is not None and t.dtype is None and x.dtype not in _FLOATS:
            raise errors.BadDtype("%s: tensor %s is %s; expected float32, float16 or bfloat16" % (op.name, t.name, x.dtype), tensor=t.name)
    _core.check_words(op, zip(op.settings, words))


def no_gradient(name):
    return errors.BadCall("%s: it works in place, which has no gradient; expected tensors that require none, or torch.no_grad()" % name)


def _doc(op, in_place):
    text = DOC[op.name]
    return text + "\n\nIn place: q (and k) are overwritten and returned; no gradient." if in_place else text


def make(op):
    """{name: function} of an op."""
    space = _source.compiled(op.name, _source.functions(op), {
        "PLAIN": PLAIN, "OP": op, "OPERATOR": getattr(torch.ops.kiln, op.name).default, "compiling": _COMPILING,
        "modes": _MODES, "transforms": _TRANSFORMS, "forward_ad": forward_ad,
        "recording": torch.is_grad_enabled, "launch": _core.launcher(op),
        "with_gradient": _gradients.function(op, _core.launcher(op), _core.launcher(ops.GRADIENT[op.name])).apply, "mathematics": getattr(_math, op.name), "promote": promote,
        "check_call": check_call,
        "check": _core.check_table, "no_gradient": no_gradient,
        "IN_PLACE": getattr(torch.ops.kiln, op.name + "_").default if _source.is_in_place(op) else None})
    functions = {}
    for name in [op.name] + [op.name + "_"] * _source.is_in_place(op):
        f = functions[name] = space[name]
        f.__module__, f.__doc__ = "kiln.torch", _doc(op, name != op.name)
    return functions


def make_all():
    _library.define()
    functions = {}
    for op in ops.FORWARD.values():
        functions.update(make(op))
    return functions


