"""The ops as this package calls them: their tensors, scalars and settings, in the words of lua/ops (lua/kiln/op.lua has the grammar).

kiln.torch and kiln.nn are made from this table; a test compares it with what the generator says. A row: name, tensors, scalars,
settings (the default first), and `reads`, which of the forward's tensors its gradient is offered. What the gradient's kernels do not
read of those is left out when a plan is made (kiln.torch._core).
"""
import collections

from . import errors

Tensor = collections.namedtuple("Tensor", "name dims maybe dtype own out saved const like over beside optional")
Scalar = collections.namedtuple("Scalar", "name dtype default call")
Op = collections.namedtuple("Op", "name tensors inputs outputs scalars settings reads of")

ROW_DIMS = 4       # leading dims of a row-wise tensor, at most
ALL_ROWS = 2147483647  # of q_rows and k_rows: every row turns
_DTYPES = ("f64", "f32", "f16", "bf16", "e4m3", "e5m2", "i64", "i32", "i16", "i8", "u8", "bool")


def _tensor(spec):
    words, fields = spec.split(), dict(dtype=None, own=False, out=False, saved=False, const=False, like=None, over=None, beside=None, optional=False)
    dims, maybe, at = [], [], 1
    while at < len(words):
        w = words[at]
        if w in ("as", "over", "with"):  # `with k`: there exactly where k is
            fields[{"as": "like", "over": "over", "with": "beside"}[w]] = words[at + 1]
            at += 1
        elif w == "?":
            fields["optional"] = True
        elif w in ("own", "out", "saved", "const"):
            fields[w] = True
        elif w in ("strided", "finite"):  # the first is said by products.py, the second of kiln check
            pass
        elif w in _DTYPES or "|" in w:  # (one of several)
            fields["dtype"] = w
        else:
            dims.append(w.strip("[]"))
            if w.startswith("["):
                maybe.append(dims[-1])
        at += 1
    fields["optional"] = fields["optional"] or fields["beside"] is not None
    return Tensor(words[0], tuple(dims), tuple(maybe), **fields)


def _scalar(spec):
    words = spec.split()
    call = words[-1] == "call"
    default = None
    if "=" in words:
        text = words[words.index("=") + 1]
        default = float(text) if words[1] in ("f32", "f64") else int(text)
    return Scalar(words[0], words[1], default, call)


def _op(name, tensors, scalars="", settings=None, reads="", of=None):
    rows = [_tensor(t) for t in tensors.split(";")] if isinstance(tensors, str) else tensors
    numbers = [_scalar(s) for s in scalars.split(";") if s.strip()] if isinstance(scalars, str) else scalars
    return Op(name, tuple(rows), tuple(t for t in rows if not t.out), tuple(t for t in rows if t.out), tuple(numbers),
              dict(settings or {}), tuple(reads.split()) if isinstance(reads, str) else reads, of)


_ROPE = "q B H T N; k B G S N ?; cos P R own const; sin P R own const; yq B H T N out over q; yk B G S N out over k with k"
_ROPE_SCALARS = "pos i32 = 0 call; q_rows i32 = 2147483647; k_rows i32 = 2147483647"
_TURNS = {"pairs": ("neighbours", "halves"), "table": ("channel", "pair")}
_HALVES = {"pairs": ("halves", "neighbours"), "table": ("pair", "channel")}

FORWARD = {op.name: op for op in [
    _op("rms_norm", "x B M N; w [B] N own ?; y B M N out; rstd B M f32 out saved ?", "eps f32 = 1e-6", reads="x w rstd"),
    _op("rms_norm2", "x1 B M1 N1; x2 B M2 N2; w1 [B] N1 own ?; w2 [B] N2 own ?; y1 B M1 N1 out; y2 B M2 N2 out; "
        "rstd1 B M1 f32 out saved ?; rstd2 B M2 f32 out saved ?", "eps f32 = 1e-6", reads="x1 x2 w1 w2 rstd1 rstd2"),
    _op("l2_normalize", "x M N; y M N out", "eps f32 = 1e-6", reads="x"),
    _op("l2_normalize2", "x1 M1 N1; x2 M2 N2; y1 M1 N1 out; y2 M2 N2 out", "eps f32 = 1e-6", reads="x1 x2"),
    _op("layer_norm", "x M N; w N own ?; b N own ?; y M N out; mean M f32 out saved ?; rstd M f32 out saved ?", "eps f32 = 1e-6",
        reads="x w b mean rstd"),
    _op("head_layer_norm", "q M1 N; k M2 N; yq M1 N out; yk M2 N out", "eps f32 = 1e-6", reads="q k"),
    _op("rope", _ROPE, _ROPE_SCALARS, _TURNS, reads="cos sin"),
    _op("ln_rope", _ROPE, "eps f32 = 1e-6; " + _ROPE_SCALARS, _TURNS, reads="q k cos sin"),
    _op("rms_norm_rope", "x B T N; w N own ?; cos P R own const; sin P R own const; y B T N out; rstd B T f32 out saved ?",
        "eps f32 = 1e-6; pos i32 = 0 call", _HALVES, reads="x w cos sin rstd"),
    _op("layer_norm_adaln", "x B M N; scale B N own; shift B N own; y B M N out; mean B M f32 out saved ?; rstd B M f32 out saved ?",
        "eps f32 = 1e-6", reads="x scale shift mean rstd"),
    _op("rms_norm_adaln", "x B M N; scale B N own; shift B N own; y B M N out; rstd B M f32 out saved ?", "eps f32 = 1e-6",
        reads="x scale shift rstd"),
    _op("add_rms_norm", "x B M N; r B M N; w [B] N own ?; y B M N out; h B M N out; rstd B M f32 out saved ?", "eps f32 = 1e-6",
        reads="w h rstd"),
    _op("gated", "gate M N; up M N; y M N out", "", {"act": ("silu", "gelu", "gelu_tanh")}, reads="gate up"),
    _op("softmax", "x M N; mask M N bool ?; y M N out", "scale f32 = 1", reads="mask y"),
]}

# Products have rules of their own for what lies how (kiln/products.py).
PRODUCT_DTYPES = ("bf16", "f16", "f32")  # of the operands of gemm, linear and gated_mlp
_SCALES = ("tensor", "row", "block", "block1")
_ON_THE_WAY = {"scale": _SCALES, "accumulate": ("fast", "promoted"), "format": ("e4m3", "e5m2")}
PRODUCTS = {op.name: op for op in [
    _op("gemm", "a B M K; b B K N; c B M N own ?; bias N own ?; d B M N own out; z B M N out saved ?", "alpha f32 = 1; beta f32 = 1",
        {"act": ("none", "relu", "gelu", "gelu_tanh", "silu")}),
    _op("linear", "x M K; w K N; bias N own ?; y M N own out; z M N out saved ?", "", {"act": ("none", "relu", "gelu", "gelu_tanh", "silu")}),
    _op("gated_mlp", "x B M K; wg B K N; wu B K N; y B M N own out; gate B M N out saved ?; up B M N out saved ?", "",
        {"act": ("silu", "gelu", "gelu_tanh")}),
    _op("fp8_gemm", "a B M K e4m3|e5m2; b B K N e4m3|e5m2; scale_a f32 strided finite; scale_b f32 strided finite; bias N own ?; d B M N own out", "",
        {"scale": _SCALES, "accumulate": ("fast", "promoted")}),
    _op("fp8_linear", "x B M K; w B K N e4m3|e5m2; scale_w f32 strided finite; bias N own ?; y B M N own out", "", _ON_THE_WAY),
    _op("fp8_gemm_wide", "a B M K; b B K N; bias N own ?; d B M N own out", "", _ON_THE_WAY),
    _op("fp8_gemm_u8", "a B M K u8; b B K N u8; scale_a f32; scale_b f32; d B M N out"),
]}

# Inputs whose gradients are equal: (x + r) has one gradient for both.
TWINS = {"add_rms_norm": (("r", "x"),)}


def differentiable_inputs(op):
    return tuple(t for t in op.inputs if not t.const and t.dtype is None)


def differentiable_outputs(op):
    return tuple(t for t in op.outputs if not t.saved)


def _gradient(op):
    rows = [Tensor("d" + y.name, y.dims, y.maybe, y.dtype, False, False, False, False, None, None, None, y.optional)
            for y in differentiable_outputs(op)]
    by_name = {t.name: t for t in op.tensors}
    for name in op.reads:
        t = by_name[name]
        rows.append(t._replace(out=False, saved=False, over=None, beside=None))
    rows += [x._replace(name="d" + x.name, out=True, like=x.name, optional=True) for x in differentiable_inputs(op)]
    return _op(op.name + ".grad", rows, op.scalars, op.settings, (), op.name)


GRADIENT = {name: _gradient(op) for name, op in FORWARD.items()}


# ---- from a caller's shapes to a declaration's ----

def is_group(dim):
    """M, M1, M2 stand for several leading dims."""
    return dim[0] == "M"


def fit(op, t, shape, strides):
    """(shape, strides) of a caller's tensor as the declaration counts its dims: sizes of 1 are put in or taken out, nothing is moved."""
    dims = t.dims
    if t.maybe and is_plain(t, shape):
        dims = tuple(d for d in dims if d not in t.maybe)
    group = [i for i, d in enumerate(dims) if is_group(d)]
    rank = len(shape)
    if not group:
        return _fit_fixed(op, t, dims, tuple(shape), tuple(strides))
    before, after = group[0], len(dims) - group[0] - 1
    rows = rank - after
    if rows < 0 or rows > ROW_DIMS:
        raise errors.BadRank("%s: tensor %s has %d dims; expected %d to %d" % (op.name, t.name, rank, after, after + ROW_DIMS))
    if not before:
        return tuple(shape), tuple(strides)
    named = before if rows > before else max(rows - 1, 0)  # with too few dims, the outer names are 1
    ones = before - named
    spread = ROW_DIMS - before - (rows - named)
    return ((1,) * ones + tuple(shape[:named]) + (1,) * spread + tuple(shape[named:]),
            (0,) * ones + tuple(strides[:named]) + (0,) * spread + tuple(strides[named:]))


def is_plain(t, shape):
    """A tensor with a dim in brackets that has it not: w (C), (1, C) or (1, 1, C)."""
    keep = len(t.dims) - len(t.maybe)
    return all(n == 1 for n in shape[:len(shape) - keep])


def _fit_fixed(op, t, dims, shape, strides):
    shape, strides = list(shape), list(strides)
    while len(shape) > len(dims) and 1 in shape[:-1]:  # of several, the first behind the outermost: (B, 1, C) keeps its B
        at = next((i for i in range(1, len(shape) - 1) if shape[i] == 1), 0)
        del shape[at], strides[at]
    if len(shape) > len(dims):
        raise errors.BadRank("%s: tensor %s has %d dims; expected %d" % (op.name, t.name, len(shape), len(dims)))
    missing = len(dims) - len(shape)
    return (1,) * missing + tuple(shape), (0,) * missing + tuple(strides)


def output_model(op, t, given):
    """(name, whole) of the input whose shape output t has; not whole: without its last dim. given: names of the inputs that are there."""
    if t.like and t.like in given:
        return t.like, True
    if t.over and t.over in given:
        return t.over, True
    for x in op.inputs:
        if x.name in given and x.dims == t.dims:
            return x.name, True
    for x in op.inputs:
        if x.name in given and x.dims[:-1] == t.dims:
            return x.name, False
    raise errors.MissingArg("%s: output %s has the shape of none of the tensors given" % (op.name, t.name), tensor=t.name)
