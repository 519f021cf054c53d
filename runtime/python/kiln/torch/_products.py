"""gemm, linear and gated_mlp: products of matrices on tensor cores, with gradients, for eager calls, torch.compile and torch.amp.

Tensors are taken as they lie (kiln.products): leading dims, strides and transposed weights cost no copy. What is kept of a call is keyed
on shapes, strides, dtypes and alignment, as for the other ops (_core). Under autocast operands are cast to its dtype, as
torch.nn.functional.linear's are.
"""
import collections
from ctypes import c_void_p

import torch
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from .. import errors, ops, products, tensors
from .._cache import keep, plans
from . import _core, _functions, _math, _product_gradients
from ._library import _PT2, LIBRARY

DTYPES = tuple(_core._DTYPES[name] for name in ops.PRODUCT_DTYPES)  # of operands
OUTPUTS = (torch.bfloat16, torch.float16, torch.float32)
WIDE = OUTPUTS + (torch.float64,)  # of plain mathematics


# ---- launches ----

class Product:
    """A product's launches. left: the name of its (..., M, K); rights: of its matrices, stored (N, K) where `turned`; tile, vector: of what
    the epilogue reads, or None. op: what kiln calls it; known: its names there, the result's last. others: what further tensors there are."""

    def __init__(self, name, left, rights, tile=None, vector=None, turned=True, op=None, known=None, others=()):
        self.name, self.left, self.rights, self.tile, self.vector, self.turned, self.op = name, left, rights, tile, vector, turned, op or name
        self.names = (left,) + rights + (tile,) * (tile is not None) + (vector,) * (vector is not None) + others
        self.known = known or self.names + ("y",)

    def launch(self, given, numbers, settings, dtype=None, kept=()):
        """The result. given: the tensors in the order of names, None for one that is not there; numbers and settings: pairs of name and value. With
        names of outputs for the gradient, kept, a tuple of the result and these."""
        first = given[0]
        device = first.get_device()
        if _core.is_elsewhere(device):
            with torch.cuda.device(device):
                return self.launch(given, numbers, settings, dtype, kept)
        pointers, kinds, align = [], [], 0
        for x in given:
            if x is not None:
                if x.get_device() != device:
                    self.check(given)
                if x.is_neg():  # torch keeps the sign beside the memory
                    return self.launch([x if x is None else x.resolve_neg() for x in given], numbers, settings, dtype, kept)
                pointers.append(x.data_ptr())
                align |= pointers[-1]
                kinds.append((x.shape, x.stride(), x.dtype))
            else:
                pointers.append(0)
                kinds.append(None)
        align &= 15
        if align:
            align = tuple(p & 15 for p in pointers)
        key = (self.name, device, align, tuple(kinds), numbers, settings, dtype, kept, bool(self.precision(first)))
        e = plans.get(key)
        if e is None:
            e = self.entry(given, numbers, settings, dtype, kept)
            keep(key, e)
        if e.copies:
            moved = [x if x is None or name not in e.copies else x.expand(e.copies[name]).contiguous() for name, x in zip(self.names, given)]
            return self.launch(moved, numbers, settings, dtype, kept)
        out = _core.empty(*e.outs[0])
        more = [_core.empty(*o) for o in e.outs[1:]]
        buffer = _core.empty(*e.scratch) if e.scratch else None
        stream = _core.current_stream(device)
        status = _core.launch_parts(e.handle, e.pack(*pointers, out.data_ptr(), *[o.data_ptr() for o in more]), None,
                                    c_void_p(buffer.data_ptr()) if e.scratch else None, c_void_p(stream) if stream else None)
        if status:
            raise _core.error(status)
        return (out, *more) if more else out

    precision = staticmethod(_product_gradients.precision)

    def arrangement(self, given, settings=()):
        """How the tensors lie; checks sizes."""
        lay = {name: products.given(name, x.shape, x.stride(), self.turned and name in self.rights)
               for name, x in zip(self.names, given) if x is not None}
        return products.arrange(self.name, lay[self.left], [lay[name] for name in self.rights], lay.get(self.tile), lay.get(self.vector))

    def check(self, given, operands=DTYPES, others=OUTPUTS):
        """Dtypes and devices of the tensors."""
        first = given[0]
        for name, x in zip(self.names, given):
            if x is None:
                if name in self.rights:
                    raise errors.MissingArg("%s: argument %s: this tensor is missing" % (self.name, name))
            elif x.device != first.device:
                raise errors.BadPointer("%s: tensor %s is on %s; expected %s" % (self.name, name, x.device, first.device), tensor=name)
            elif name == self.left and x.dtype not in operands:
                raise errors.BadDtype("%s: tensor %s is %s; expected %s" % (self.name, name, x.dtype, _words(operands)), tensor=name)
            elif name in self.rights and x.dtype != first.dtype:
                raise errors.BadDtype("%s: tensor %s is %s; expected %s, as tensor %s" % (self.name, name, x.dtype, first.dtype, self.left), tensor=name)
            elif x.dtype not in others:
                raise errors.BadDtype("%s: tensor %s is %s; expected %s" % (self.name, name, x.dtype, _words(others)), tensor=name)

    def entry(self, given, numbers, settings, dtype, kept):
        """A plan for these tensors, or an entry that says which of them have to be copied first."""
        self.check(given)
        found = self.arrangement(given, settings)
        e = _core.Entry()
        e.copies = found.copies
        if e.copies:
            return e
        first = given[0]
        with torch.cuda.device(first.device) if first.is_cuda else _core._nothing:
            outs = {self.known[-1]: first.new_empty(found.shape, dtype=dtype or first.dtype), **{name: first.new_empty(found.shape) for name in kept}}
            left_shape = found.views[self.left][0]
            shape = (left_shape[0], left_shape[1], found.shape[-1])
            views = {own: _core.view(x, *found.views[name]) for own, name, x in zip(self.known, self.names, given) if x is not None}
            views.update({name: _core.view(out, shape, tensors.dense(shape)) for name, out in outs.items()})
            made = _core.plan.Plan(_core.where(first.device), self.op, views, dict(numbers), dict(settings, **found.settings, **self.precision(first)))
        e.plan, e.handle, e.scalars = made, c_void_p(made.handle), None
        e.outs = [(tuple(out.shape), out.stride(), out.dtype) for out in outs.values()]
        e.scratch = ((made.workspace_bytes,), (1,), torch.uint8) if made.workspace_bytes else None
        order = [(self.known + kept).index(name) for name in made.tensors]
        e.pack = lambda *pointers: made.pack(*[pointers[i] for i in order])
        made.views = []
        return e


def _words(dtypes):
    return " or ".join(map(str, dtypes))


GEMM = Product("gemm", "a", ("b",), tile="c", vector="bias", turned=False, known=("a", "b", "c", "bias", "d"))
# (by the op gemm, which takes rows in batches as well)
LINEAR = Product("linear", "x", ("w",), vector="bias", op="gemm", known=("a", "b", "bias", "d"))
GATED_MLP = Product("gated_mlp", "x", ("wg", "wu"))


def launch_gemm(a, b, c, bias, alpha, beta, act, dtype):
    return GEMM.launch((a, b, c, bias), (("alpha", alpha), ("beta", beta)), (("act", act),), dtype)


def launch_linear(x, w, bias, act):
    return LINEAR.launch((x, w, bias), (), (("act", act),))


def launch_gated_mlp(x, wg, wu, act):
    return GATED_MLP.launch((x, wg, wu), (), (("act", act),))


# What the gradients read instead of multiplying again: what the activation was given, rounded to the operands' dtype.
LINEAR_KEPT, GATED_MLP_KEPT = ("z",), ("gate", "up")


def launch_linear_kept(x, w, bias, act):
    return LINEAR.launch((x, w, bias), (), (("act", act),), None, LINEAR_KEPT)


def launch_gated_mlp_kept(x, wg, wu, act):
    return GATED_MLP.launch((x, wg, wu), (), (("act", act),), None, GATED_MLP_KEPT)


LINEAR_GRADIENT = _product_gradients.Gradient(LINEAR, LINEAR_KEPT)
GATED_MLP_GRADIENT = _product_gradients.Gradient(GATED_MLP, GATED_MLP_KEPT)


def launch_linear_gradients(dy, x, w, bias, y, z, act, *wants):
    """Of x, w and bias, None where not wanted. relu's is found from y, at the cost of one pass over it; others from z, or by linear's products once
    more."""
    found = None if act == "relu" else LINEAR_GRADIENT.launch(dy, (x, w, bias), (("act", act),), wants, () if z is None else (z,))
    return found or _product_gradients.linear_gradients(LAUNCH_CALLS, dy, x, w, bias, y, z, act, *wants)


def launch_gated_mlp_gradients(dy, x, wg, wu, gate, up, act, *wants):
    found = GATED_MLP_GRADIENT.launch(dy, (x, wg, wu), (("act", act),), wants, () if gate is None else (gate, up))
    return found or _product_gradients.gated_mlp_gradients(LAUNCH_CALLS, dy, x, wg, wu, gate, up, act, *wants)


LAUNCH_CALLS = _product_gradients.Calls(launch_gemm, _core.launcher(ops.GRADIENT["gated"]), launch_linear_gradients, launch_gated_mlp_gradients)


# ---- autograd: for torch's library and, by the same two functions, for eager calls ----

def _needs_more(act):
    return act not in ("none", "relu")  # whose gradients are found from the result, or without


def _remember_gemm(ctx, inputs, d):
    a, b, c, bias, ctx.alpha, ctx.beta, ctx.act, _ = inputs
    ctx.of_c = None if c is None else (c.shape, c.dtype)
    ctx.save_for_backward(a, b, c if _needs_more(ctx.act) else None, bias, d if ctx.act == "relu" else None)


def _backward_gemm(calls, ctx, dd):
    return _product_gradients.gemm_gradients(calls, ctx.needs_input_grad, dd, *ctx.saved_tensors, ctx.alpha, ctx.beta, ctx.act, ctx.of_c) + (None,) * 4


def _parts(outs):
    return outs if isinstance(outs, tuple) else (outs,)


def _remember_linear(ctx, inputs, outs):
    x, w, bias, ctx.act = inputs
    y, *z = _parts(outs)
    ctx.save_for_backward(x, w, bias, y if ctx.act == "relu" else None, *(z or (None,)))


def _backward_linear(calls, ctx, dy):
    return _if_needed(ctx, calls.linear(dy, *ctx.saved_tensors, ctx.act, *ctx.needs_input_grad[:3])) + (None,)


def _remember_gated_mlp(ctx, inputs, outs):
    x, wg, wu, ctx.act = inputs
    ctx.save_for_backward(x, wg, wu, *(_parts(outs)[1:] or (None, None)))


def _backward_gated_mlp(calls, ctx, dy):
    return _if_needed(ctx, calls.gated_mlp(dy, *ctx.saved_tensors, ctx.act, *ctx.needs_input_grad[:3])) + (None,)


def _if_needed(ctx, gradients):
    return tuple(g if need else None for g, need in zip(gradients, ctx.needs_input_grad))


def function(name, launch, calls):
    """The op as an autograd function of its arguments, by these launches. What it keeps is remembered, not returned."""
    op = OPS[name]

    def forward(ctx, *arguments):
        outs = launch(*arguments)
        op.remember(ctx, arguments, outs)
        return _parts(outs)[0]

    return type(name, (torch.autograd.Function,), {"forward": staticmethod(forward),
                                                   "backward": staticmethod(once_differentiable(lambda ctx, dy: op.backward(calls, ctx, dy)))})


# ---- torch's library ----

def _fake_gemm(a, b, c, bias, alpha, beta, act, dtype):
    return a.new_empty(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + (a.shape[-2], b.shape[-1]), dtype=dtype or a.dtype)


def _fake_linear(x, w, bias, act):
    return _fake_gemm(x, w.mT, None, bias, 1.0, 1.0, act, None)


def _fake_gated_mlp(x, wg, wu, act):
    return _fake_gemm(x, wg.mT, None, None, 1.0, 1.0, act, None)


def _fake_linear_kept(x, w, bias, act):
    y = _fake_linear(x, w, bias, act)
    return y, torch.empty_like(y)


def _fake_gated_mlp_kept(x, wg, wu, act):
    y = _fake_gated_mlp(x, wg, wu, act)
    return y, torch.empty_like(y), torch.empty_like(y)


# schema; launch: by kiln's kernels; mathematics: plain; fake: shapes for tracing; remember, backward: for gradients, or None; tensors: how many
# of the arguments are some; casts: how many of those autocast casts; smooth: whether autograd of the mathematics gives the gradients. NAME_kept
# gives beside the result of NAME what its gradient reads, which the caller does not see.
Op = collections.namedtuple("Op", "schema launch mathematics fake remember backward tensors casts smooth", defaults=(True,))
OPS = {
    "gemm": Op("(Tensor a, Tensor b, Tensor? c, Tensor? bias, float alpha, float beta, str act, ScalarType? dtype) -> Tensor",
               launch_gemm, _math.gemm, _fake_gemm, _remember_gemm, _backward_gemm, 4, 4),
    "linear": Op("(Tensor x, Tensor w, Tensor? bias, str act) -> Tensor",
                 launch_linear, _math.linear, _fake_linear, _remember_linear, _backward_linear, 3, 3),
    "gated_mlp": Op("(Tensor x, Tensor wg, Tensor wu, str act) -> Tensor",
                    launch_gated_mlp, _math.gated_mlp, _fake_gated_mlp, _remember_gated_mlp, _backward_gated_mlp, 3, 3),
    "linear_kept": Op("(Tensor x, Tensor w, Tensor? bias, str act) -> (Tensor, Tensor)",
                      launch_linear_kept, _math.linear_kept, _fake_linear_kept, _remember_linear, _backward_linear, 3, 3),
    "gated_mlp_kept": Op("(Tensor x, Tensor wg, Tensor wu, str act) -> (Tensor, Tensor, Tensor)",
                         launch_gated_mlp_kept, _math.gated_mlp_kept, _fake_gated_mlp_kept, _remember_gated_mlp, _backward_gated_mlp, 3, 3),
}
FUNCTIONS = {}
_AUTOCAST = {"cuda": "AutocastCUDA", "cpu": "AutocastCPU"}


def cast(kind, given):
    """What autocast makes of operands: as torch's own products have it, all but f64 are cast."""
    dtype = torch.get_autocast_dtype(kind)
    return [x.to(dtype) if x is not None and x.is_floating_point() and x.dtype is not torch.float64 else x for x in given]


def _under_autocast(kind, operator, count):
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _AUTOCAST[kind]))

    def call(*arguments):
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operator(*cast(kind, arguments[:count]), *arguments[count:])
    return call


def define(name):
    """Registers an op of OPS; once, at import."""
    op = OPS[name]
    LIBRARY.define(name + op.schema, tags=_PT2)
    operator = getattr(torch.ops.kiln, name).default
    LIBRARY.impl(name, op.launch, "CUDA")
    several = op.schema.endswith(")")

    def cpu(*arguments):
        outs = tuple(x.contiguous() for x in _parts(op.mathematics(*arguments)))
        return outs if several else outs[0]

    def setup_context(ctx, inputs, output):
        if several:
            ctx.mark_non_differentiable(*output[1:])
            ctx.set_materialize_grads(False)  # else a zero for each element that is kept
        op.remember(ctx, inputs, output)

    LIBRARY.impl(name, cpu, "CPU")
    for kind, key in _AUTOCAST.items() if op.casts else ():
        LIBRARY.impl(name, _under_autocast(kind, operator, op.casts), key)
    torch.library.register_fake("kiln::" + name, op.fake, lib=LIBRARY)
    if op.backward:
        torch.library.register_autograd("kiln::" + name, lambda ctx, dy, *_: op.backward(LIBRARY_CALLS, ctx, dy), setup_context=setup_context,
                                        lib=LIBRARY)
        FUNCTIONS[name] = function(name, op.launch, LIBRARY_CALLS)


def _owned(given, gradients):
    """Gradients as a schema has them: dense, laid out as their tensors; an empty tensor for None."""
    outs = []
    for x, g in zip(given, gradients):
        if g is None:
            outs.append(given[0].new_empty(0))
            continue
        out = _product_gradients.empty_gradient(x)
        outs.append(g if g.stride() == out.stride() else out.copy_(g))
    return tuple(outs)


def define_gradients(name, tensors, launch, composed):
    """Registers NAME_grad: its tensors, the activation, and which gradients are wanted. All is found again in plain mathematics by `composed`."""
    count = len(tensors.split(","))
    LIBRARY.define("%s_grad(Tensor dy, %s, str act, bool want_0, bool want_1, bool want_2) -> (Tensor, Tensor, Tensor)" % (name, tensors), tags=_PT2)

    def fake(dy, *rest):
        return tuple(_product_gradients.empty_gradient(x) if want else dy.new_empty(0) for x, want in zip(rest, rest[count + 1:]))

    LIBRARY.impl(name + "_grad", lambda dy, *rest: _owned(rest, launch(dy, *rest)), "CUDA")
    LIBRARY.impl(name + "_grad", lambda dy, *rest: _owned(rest, composed(LIBRARY_CALLS, dy, *rest)), "CPU")
    torch.library.register_fake("kiln::%s_grad" % name, fake, lib=LIBRARY)


define_gradients("linear", "Tensor x, Tensor w, Tensor? bias, Tensor? y, Tensor? z", launch_linear_gradients, _product_gradients.linear_gradients)
define_gradients("gated_mlp", "Tensor x, Tensor wg, Tensor wu, Tensor? gate, Tensor? up", launch_gated_mlp_gradients, _product_gradients.gated_mlp_gradients)
LIBRARY_CALLS = _product_gradients.Calls(lambda *arguments: torch.ops.kiln.gemm.default(*arguments), torch.ops.kiln.gated_grad.default,
                                         torch.ops.kiln.linear_grad.default, torch.ops.kiln.gated_mlp_grad.default)
for _name in list(OPS):
    define(_name)


# ---- what users call ----

ACTS = {name: ops.PRODUCTS[name].settings["act"] for name in ("gemm", "linear", "gated_mlp")}


def _is_special(given):
    """Whether a call takes the way through torch's library: what an autograd function around a launch would not see."""
    return (_functions._COMPILING() or _functions._MODES() or _functions._TRANSFORMS() or forward_ad._current_level >= 0
            or any(x is not None and type(x) not in _functions.PLAIN for x in given))


def check_word(name, setting, value, words):
    if value not in words:
        raise errors.BadSetting('%s: setting %s is "%s"; expected one of %s' % (name, setting, value, ", ".join(words)))


def call(name, given, rest, check=None, keeps=False):
    """The op of the tensors and what follows them in its schema. check: of tensors that are not on a GPU, once they are cast. keeps: where a gradient
    will be asked for, by NAME_kept."""
    op, first = OPS[name], given[0]
    recording = op.backward and torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
    kind = first.device.type
    autocast = op.casts and kind in _AUTOCAST and torch.is_autocast_enabled(kind)
    special = first.is_cuda and _is_special(given)
    if autocast and not special:
        given = cast(kind, given[: op.casts]) + list(given[op.casts:])
    if not first.is_cuda:
        if check is not None:
            check(given)
        if op.smooth:
            return op.mathematics(*given, *rest)
    if keeps and recording and not _functions._TRANSFORMS() and forward_ad._current_level < 0:
        name += "_kept"
    if special or not first.is_cuda:
        return _parts(getattr(torch.ops.kiln, name).default(*given, *rest))[0]
    if recording:
        return FUNCTIONS[name].apply(*given, *rest)
    return op.launch(*given, *rest)


def _call(product, given, rest, act, keeps=False):
    check_word(product.name, "act", act, ACTS[product.name])

    def check(tensors):
        product.check(tensors, WIDE, WIDE)
        product.arrangement(tensors)
    return call(product.name, given, rest, check, keeps)


def gemm(a, b, c=None, bias=None, *, alpha=1.0, beta=1.0, act="none", dtype=None):
    """d = act(alpha * a b + beta * c + bias). a: (..., M, K), b: (..., K, N), leading dims broadcast; c broadcasts to d; bias: (N).

    act    "none", "relu", "gelu", "gelu_tanh" or "silu"
    dtype  of d: None is a's; c and bias may have others, as well
    Operands are bfloat16, float16 or float32 and lie anyhow; either of the last two dims may be the contiguous one. Sums are f32.
    """
    if dtype is not None and dtype not in WIDE:
        raise errors.BadDtype("gemm: the result's dtype is %s; expected %s" % (dtype, _words(OUTPUTS)))
    return _call(GEMM, (a, b, c, bias), (float(alpha), float(beta), act, dtype), act)


def linear(x, w, bias=None, *, act="none", recompute=False):
    """y = act(x w' + bias) as torch.nn.functional.linear: x (..., K), w (N, K), bias (N). act as in gemm.

    recompute  what the activation was given (of silu and gelu) is not kept for the backward, which multiplies once more: less memory, more time
    """
    return _call(LINEAR, (x, w, bias), (act,), act, _needs_more(act) and not recompute)


def gated_mlp(x, wg, wu, *, act="silu", recompute=False):
    """y = act(x wg') * (x wu'), both products in one kernel: x (..., K), wg and wu (N, K). act: silu, gelu or gelu_tanh.

    recompute  both products are not kept for the backward, which makes them once more: less memory, more time
    """
    return _call(GATED_MLP, (x, wg, wu), (act,), act, not recompute)
