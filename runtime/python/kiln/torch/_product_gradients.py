"""Gradients of products: by NAME.grad, one plan for all of them, where the tensors lie as it takes them; else out of gemm and gated's gradient,
which is also what stands for them in plain mathematics."""
from ctypes import c_void_p

import torch

from .. import products
from .._cache import keep, plans
from . import _core


class Calls:
    """What gradients are made of: gemm as launch_gemm has it, gated's gradient as _core has its launch, and the gradients of linear and
    gated_mlp as the functions below have them."""

    def __init__(self, gemm, gated_gradient, linear, gated_mlp):
        self.gemm, self.gated_gradient, self.linear, self.gated_mlp = gemm, gated_gradient, linear, gated_mlp

    def product(self, a, b, c=None, alpha=1.0, dtype=None):
        return self.gemm(a, b, c, None, alpha, 1.0, "none", dtype)


# ---- NAME.grad ----

def lies_turned(x):
    """Whether the gradient of an operand or weight has its last two dims the other way round in memory: as x, but dense."""
    return x.dim() == 2 and x.stride(0) == 1 and x.stride(1) != 1


def empty_gradient(x):
    return x.new_empty(x.shape[::-1]).t() if lies_turned(x) else x.new_empty(x.shape)


_TF32, _EXACT = {"f32": "tf32"}, {}


def precision(x):
    """The setting of how exactly f32 is multiplied, as torch's own switch says; none for other dtypes."""
    return _TF32 if x.dtype is torch.float32 and torch.backends.cuda.matmul.allow_tf32 else _EXACT


class Gradient:
    """Launches of NAME.grad. product: the forward's (_products.Product); names of gradients are those of its tensors with a d in front. kept: names
    of what the forward run may have saved."""

    def __init__(self, product, kept):
        self.product, self.name, self.kept = product, product.name + ".grad", kept

    def launch(self, dy, given, settings, wants, kept=()):
        """The gradients of given, None where not wanted; or None: the tensors do not lie as this op takes them. wants: of all but None. kept: what
        the forward run has saved, or None, and nothing at all of what it has not."""
        device = dy.get_device()
        if _core.is_elsewhere(device):
            with torch.cuda.device(device):
                return self.launch(dy, given, settings, wants, kept)
        every = (dy,) + tuple(given) + tuple(kept)
        if any(x is not None and x.is_neg() for x in every):  # torch keeps the sign beside the memory
            plain = lambda list: [x if x is None else x.resolve_neg() for x in list]  # noqa: E731
            return self.launch(dy.resolve_neg(), plain(given), settings, wants, plain(kept))
        pointers = [0 if x is None else x.data_ptr() for x in every]
        kinds = tuple(None if x is None else (x.shape, x.stride(), x.dtype) for x in every)
        key = (self.name, device, tuple(p & 15 for p in pointers), kinds, settings, wants, bool(precision(dy)))
        e = plans.get(key)
        if e is None:
            e = self.entry(dy, given, settings, wants, kept)
            keep(key, e)
        if e.copies:  # dy alone
            return self.launch(dy.contiguous(), given, settings, wants, kept)
        if e.handle is None:
            return None
        outs = [None if o is None else _core.empty(*o) for o in e.outs]
        buffer = _core.empty(*e.scratch) if e.scratch else None
        stream = _core.current_stream(device)
        status = _core.launch_parts(e.handle, e.pack(*pointers, *[0 if o is None else o.data_ptr() for o in outs]), None,
                                    c_void_p(buffer.data_ptr()) if e.scratch else None, c_void_p(stream) if stream else None)
        if status:
            raise _core.error(status)
        return outs

    def entry(self, dy, given, settings, wants, kept):
        """A plan; or an entry without one."""
        e, product = _core.Entry(), self.product
        e.copies, e.handle = {}, None
        found = product.arrangement(given)
        left = None if found.copies else found.views[product.left]
        if not left or left[0][0] != 1 or dy.shape != found.shape or any(x is not None and x.dim() != 2 for x in given[1:1 + len(product.rights)]):
            return e
        rows, n = left[0][1], found.shape[-1]
        of_dy = products.merged(dy.shape[:-1], dy.stride()[:-1])
        if of_dy is None or n > 1 and dy.stride(-1) != 1:
            e.copies = {"dy": dy.shape}
            return e
        views = {"dy": _core.view(dy, (rows, n), (of_dy[1], dy.stride(-1)))}
        for name, x in zip(self.kept, kept):
            if x is None:
                continue
            if x.shape != found.shape or not x.is_contiguous():
                return e
            views[name] = _core.view(x, (rows, n), (n, 1))
        outs, flat = {}, []
        for name, x, want in zip(product.names, given, wants):
            if x is None:
                flat.append(None)
                continue
            view = found.views[name] if name == product.vector else tuple(part[1:] for part in found.views[name])
            views[name] = _core.view(x, *view)
            made = self._out(x, name, view, found.settings) if want else None
            flat.append(made)
            if want and made is None:
                return e
            if want:
                outs["d" + name] = made
        with torch.cuda.device(dy.device) if dy.is_cuda else _core._nothing:
            views.update({name: _core.view(x, *view) for name, (x, view) in outs.items()})
            made = _core.plan.Plan(_core.where(dy.device), self.name, views, None, dict(settings, **found.settings, **precision(dy)))
        e.plan, e.handle, e.scalars = made, c_void_p(made.handle), None
        e.outs = [None if o is None else (tuple(o[0].shape), o[0].stride(), o[0].dtype) for o in flat]
        e.scratch = ((made.workspace_bytes,), (1,), torch.uint8) if made.workspace_bytes else None
        names = ("dy",) + product.names + self.kept[:len(kept)] + tuple("d" + name for name in product.names)
        order = [names.index(name) for name in made.tensors]
        e.pack = lambda *pointers: made.pack(*[pointers[i] for i in order])
        made.views = []
        return e

    def _out(self, x, name, view, majors):
        """(tensor, its shape and strides for the plan) of a gradient, which lies as x does but dense; None: it cannot."""
        if name == self.product.vector:
            return torch.empty_like(x, memory_format=torch.contiguous_format), (x.shape, (1,))
        is_left, (rows, columns) = name == self.product.left, view[0]
        turned = self.product.turned and not is_left
        last = majors["a_major"] == "k" if is_left else majors["b_major"] == ("k" if turned else "n")  # x's own last dim is the contiguous one
        if last == lies_turned(x):  # of one row or column, or with leading dims
            return None
        out = empty_gradient(x)
        return out, ((rows, columns), (1, rows) if last == turned else (columns, 1))


# ---- out of products ----

def _rows(x):
    return x.reshape(-1, x.shape[-1])


def _before_activation(calls, dd, a, b, c, bias, d, alpha, beta, act, z=None):
    """The gradient of what the activation was given; that is z, or is found again, in f32."""
    if act == "none":
        return dd
    if act == "relu":
        return torch.where(d > 0, dd, 0)
    if z is None:
        z = calls.gemm(a, b, c, bias, alpha, beta, "none", torch.float64 if a.dtype is torch.float64 else torch.float32)
    dd = dd.to(z.dtype)
    if act == "silu":
        return torch.ops.aten.silu_backward(dd, z)
    return torch.ops.aten.gelu_backward(dd, z, approximate="tanh" if act == "gelu_tanh" else "none")


def _of_right(calls, a, b, g, alpha, dtype=None):
    """The gradient of b (..., K, N), laid out as b."""
    if b.numel() == b.shape[-2] * b.shape[-1]:  # one matrix for all rows
        a, g = _rows(a), _rows(g)
    turned = b.stride(-2) == 1 and b.stride(-1) != 1
    db = calls.product(g.mT, a, alpha=alpha, dtype=dtype).mT if turned else calls.product(a.mT, g, alpha=alpha, dtype=dtype)
    return db.sum_to_size(b.shape) if db.dim() >= b.dim() else db.reshape(b.shape)


def gemm_gradients(calls, needs, dd, a, b, c, bias, d, alpha, beta, act, of_c=None, z=None):
    """Of a, b, c and bias; None where not needed. of_c: (shape, dtype) of c; c itself and d are there where the activation needs them. z: what it
    was given, if that has been kept."""
    dz = _before_activation(calls, dd, a, b, c, bias, d, alpha, beta, act, z)
    g = dz.to(a.dtype)
    da = calls.product(g, b.mT, alpha=alpha).sum_to_size(a.shape) if needs[0] else None
    db = _of_right(calls, a, b, g, alpha) if needs[1] else None
    dc = (dz * beta).to(of_c[1]).sum_to_size(of_c[0]) if of_c is not None and needs[2] else None
    return da, db, dc, _of_bias(dz, bias) if needs[3] else None


def _of_bias(dz, bias):
    wide = torch.float64 if dz.dtype is torch.float64 else torch.float32
    return None if bias is None else _rows(dz).sum(0, dtype=wide).to(bias.dtype)


def linear_gradients(calls, dy, x, w, bias, y, z, act, *needs):
    """Of x, w and bias; None where not needed."""
    dx, dw, _, dbias = gemm_gradients(calls, (needs[0], needs[1], False, needs[2]), dy, x, w.mT, None, bias, y, 1.0, 1.0, act, None, z)
    return dx, None if dw is None else dw.mT, dbias


def gated_mlp_gradients(calls, dy, x, wg, wu, gate, up, act, *needs):
    """Of x, wg and wu; None where not needed. Gate and up that were not kept are found again, rounded to the operands' dtype as they would be."""
    if gate is None:
        gate, up = calls.product(x, wg.mT), calls.product(x, wu.mT)
    dgate, dup = calls.gated_gradient(_rows(dy), _rows(gate), _rows(up), act, True, True)
    dgate, dup, dx = dgate.view(gate.shape), dup.view(up.shape), None
    if needs[0]:
        wide = torch.float64 if x.dtype is torch.float64 else torch.float32
        dx = calls.product(dup, wu, calls.product(dgate, wg, dtype=wide), dtype=x.dtype).sum_to_size(x.shape)
    of = lambda need, g, w: _of_right(calls, x, w.mT, g, 1.0).mT if need else None  # noqa: E731
    return dx, of(needs[1], dgate, wg), of(needs[2], dup, wu)
