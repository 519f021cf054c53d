"""The ops as plain torch mathematics: for tensors that are not on a GPU, and (on float64) as what tests compare with.

Arithmetic is in f32, or in f64 for f64 tensors; results have the dtype of the activations. Each function takes the op's inputs, scalars
and settings in the table's order, and returns a tuple of all its outputs.
"""
import math

import torch
from torch.nn import functional

from .. import errors


def _up(x):
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _per_row(w, x):
    """A weight (C), (1, 1, C), per sample (B, C) or (B, 1, C) as it broadcasts over x (B, ..., C)."""
    w = _up(w)
    if w.numel() == x.shape[-1]:
        return w.reshape(-1)
    return w.reshape((w.shape[0],) + (1,) * (x.dim() - 2) + (x.shape[-1],))


def _same(op, **given):
    """Activations of one op have one dtype."""
    names, dtype = list(given), next(iter(given.values())).dtype
    for name in names[1:]:
        if given[name] is not None and given[name].dtype != dtype:
            raise errors.BadDtype("%s: tensor %s is %s; expected %s, as tensor %s" % (op, name, given[name].dtype, dtype, names[0]))


def _rms(x, eps):
    return torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)


def _layer(x, eps):
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    rstd = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    return centred * rstd, mean, rstd


def rms_norm(x, w, eps):
    v = _up(x)
    r = _rms(v, eps)
    y = v * r if w is None else v * r * _per_row(w, x)
    return y.to(x.dtype), r.squeeze(-1)


def rms_norm2(x1, x2, w1, w2, eps):
    _same("rms_norm2", x1=x1, x2=x2)
    y1, r1 = rms_norm(x1, w1, eps)
    y2, r2 = rms_norm(x2, w2, eps)
    return y1, y2, r1, r2


def l2_normalize(x, eps):
    v = _up(x)
    length = (v * v).sum(-1, keepdim=True)
    return ((v * torch.rsqrt(length.clamp_min(eps * eps))).to(x.dtype),)


def l2_normalize2(x1, x2, eps):
    _same("l2_normalize2", x1=x1, x2=x2)
    return l2_normalize(x1, eps) + l2_normalize(x2, eps)


def layer_norm(x, w, b, eps):
    y, mean, rstd = _layer(_up(x), eps)
    if w is not None:
        y = y * _per_row(w, x)
    if b is not None:
        y = y + _per_row(b, x)
    return y.to(x.dtype), mean.squeeze(-1), rstd.squeeze(-1)


def head_layer_norm(q, k, eps):
    _same("head_layer_norm", q=q, k=k)
    return _layer(_up(q), eps)[0].to(q.dtype), _layer(_up(k), eps)[0].to(k.dtype)


def turn(v, cos, sin, pos, rows, pairs, table, heads=False):
    """The rotation of v (..., T, C) by tables (P, R). heads: every block of the width turns, not only the first."""
    cos, sin = cos.reshape(-1, cos.shape[-1]), sin.reshape(-1, sin.shape[-1])
    entries, length = cos.shape[-1], v.shape[-2]
    width = entries if table == "channel" else 2 * entries
    turned = min(length, rows)
    if turned and not 0 <= pos <= cos.shape[0] - turned:
        raise errors.BadSize("rope: tensor cos has %d rows; expected at least %d (pos %d and %d rows)"
                             % (cos.shape[0], pos + turned, pos, turned), tensor="cos")
    if width % 2 or (v.shape[-1] % width if heads else width > v.shape[-1]):
        raise errors.BadSize("rope: tensor cos turns %d channels; expected an even number that fits %d" % (width, v.shape[-1]), tensor="cos")
    head, half = v[..., :turned, :], width // 2
    blocks = head.unflatten(-1, (-1, width)) if heads else head[..., None, :width]
    c, s = _up(cos)[pos:pos + turned, None, :].to(v.dtype), _up(sin)[pos:pos + turned, None, :].to(v.dtype)
    if pairs == "neighbours":
        if table == "pair":
            c, s = c.repeat_interleave(2, -1), s.repeat_interleave(2, -1)
        a, b = blocks[..., 0::2], blocks[..., 1::2]
        partner = torch.stack((-b, a), -1).flatten(-2)
    else:
        if table == "pair":
            c, s = torch.cat((c, c), -1), torch.cat((s, s), -1)
        partner = torch.cat((-blocks[..., half:], blocks[..., :half]), -1)
    out = (blocks * c + partner * s).flatten(-2)
    if not heads and width < v.shape[-1]:
        out = torch.cat((out, head[..., width:]), -1)
    return out if turned == length else torch.cat((out, v[..., turned:, :]), -2)


def rope(q, k, cos, sin, pos, q_rows, k_rows, pairs, table):
    _same("rope", q=q, k=k)
    yq = turn(_up(q), cos, sin, pos, q_rows, pairs, table).to(q.dtype)
    return yq, None if k is None else turn(_up(k), cos, sin, pos, k_rows, pairs, table).to(k.dtype)


def ln_rope(q, k, cos, sin, eps, pos, q_rows, k_rows, pairs, table):
    _same("ln_rope", q=q, k=k)
    yq = turn(_layer(_up(q), eps)[0], cos, sin, pos, q_rows, pairs, table).to(q.dtype)
    return yq, None if k is None else turn(_layer(_up(k), eps)[0], cos, sin, pos, k_rows, pairs, table).to(k.dtype)


def rms_norm_rope(x, w, cos, sin, eps, pos, pairs, table):
    v = _up(x)
    r = _rms(v, eps)
    n = v * r if w is None else v * r * _per_row(w, x)
    return turn(n, cos, sin, pos, x.shape[-2], pairs, table, heads=True).to(x.dtype), r.squeeze(-1)


def layer_norm_adaln(x, scale, shift, eps):
    y, mean, rstd = _layer(_up(x), eps)
    return (y * (1 + _per_row(scale, x)) + _per_row(shift, x)).to(x.dtype), mean.squeeze(-1), rstd.squeeze(-1)


def rms_norm_adaln(x, scale, shift, eps):
    v = _up(x)
    r = _rms(v, eps)
    return (v * r * (1 + _per_row(scale, x)) + _per_row(shift, x)).to(x.dtype), r.squeeze(-1)


def add_rms_norm(x, r, w, eps):
    _same("add_rms_norm", x=x, r=r)
    h = (_up(x) + _up(r)).to(x.dtype)
    y, rstd = rms_norm(h, w, eps)
    return y, h, rstd


def activation(v, act):
    if act == "silu":
        return v * torch.sigmoid(v)
    if act == "gelu":
        return 0.5 * v * (1 + torch.erf(v * math.sqrt(0.5)))
    if act == "gelu_tanh":
        return functional.gelu(v, approximate="tanh")
    if act == "relu":
        return torch.relu(v)
    if act == "none":
        return v
    raise errors.BadSetting('setting act is "%s"; expected silu, gelu, gelu_tanh, and of products also relu or none' % act)


def gated(gate, up, act):
    _same("gated", gate=gate, up=up)
    return ((activation(_up(gate), act) * _up(up)).to(gate.dtype),)


def softmax(x, mask, scale):
    """Rows where everything is excluded give zeros, and zero gradients."""
    v = _up(x) * scale
    if mask is None:
        return (torch.softmax(v, -1).to(x.dtype),)
    none = mask.all(-1, keepdim=True)
    v = v.masked_fill(mask, -math.inf).masked_fill(none, 0.0)
    return (torch.softmax(v, -1).masked_fill(mask, 0.0).to(x.dtype),)


def gemm(a, b, c, bias, alpha, beta, act, dtype):
    """The result alone, not a tuple, as the other products below."""
    v = torch.matmul(_up(a), _up(b))
    v = v if alpha == 1 else alpha * v
    if c is not None:
        v = v + beta * _up(c)
    if bias is not None:
        v = v + _up(bias)
    return activation(v, act).to(dtype or a.dtype)


def linear(x, w, bias, act):
    return gemm(x, w.mT, None, bias, 1.0, 1.0, act, None)


def gated_mlp(x, wg, wu, act):
    gate, up = torch.matmul(_up(x), _up(wg).mT), torch.matmul(_up(x), _up(wu).mT)
    return (activation(gate, act) * up).to(x.dtype)


def linear_kept(x, w, bias, act):
    """The result, and what its activation is given."""
    return linear(x, w, bias, act), linear(x, w, bias, "none")


def gated_mlp_kept(x, wg, wu, act):
    """The result, and both products."""
    return gated_mlp(x, wg, wu, act), torch.matmul(_up(x), _up(wg).mT).to(x.dtype), torch.matmul(_up(x), _up(wu).mT).to(x.dtype)
