"""A module per op of kiln.torch. Weights of norms begin as ones, their biases as zeros, those of products as torch.nn.Linear's; where a
module has no weight of its own, forward takes one.

    norm = kiln.nn.RMSNorm(4096, dtype=torch.bfloat16, device="cuda")
    y = norm(x)
"""
import math

import torch
from torch import nn

from . import torch as kt
from .ops import ALL_ROWS


def _ones(wanted, dim, like):
    return nn.Parameter(torch.ones(dim, **like)) if wanted else None


def _matrix(rows, columns, like):
    """A weight (rows, columns) as torch.nn.Linear begins."""
    w = nn.Parameter(torch.empty(rows, columns, **like))
    nn.init.kaiming_uniform_(w, a=math.sqrt(5))
    return w


def _bias(wanted, rows, columns, like):
    if not wanted:
        return None
    b = nn.Parameter(torch.empty(rows, **like))
    bound = 1 / math.sqrt(columns) if columns else 0
    nn.init.uniform_(b, -bound, bound)
    return b


class _Module(nn.Module):
    """Shows its settings in print(model)."""
    SHOWN = ()

    def extra_repr(self):
        return ", ".join("%s=%r" % (name, getattr(self, name)) for name in self.SHOWN)


class RMSNorm(_Module):
    """kiln.torch.rms_norm. elementwise_affine=False: forward(x, weight) may bring a weight, (C) or per sample (B, 1, C)."""
    SHOWN = ("dim", "eps")

    def __init__(self, dim, eps=1e-6, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = _ones(elementwise_affine, dim, dict(device=device, dtype=dtype))

    def forward(self, x, weight=None):
        return kt.rms_norm(x, self.weight if weight is None else weight, eps=self.eps)


class RMSNorm2(_Module):
    """kiln.torch.rms_norm2: two tensors, dims (C1, C2), one launch."""
    SHOWN = ("dims", "eps")

    def __init__(self, dims, eps=1e-6, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.dims, self.eps = tuple(dims), eps
        like = dict(device=device, dtype=dtype)
        self.weight1, self.weight2 = (_ones(elementwise_affine, dim, like) for dim in self.dims)

    def forward(self, x1, x2, weight1=None, weight2=None):
        return kt.rms_norm2(x1, x2, self.weight1 if weight1 is None else weight1, self.weight2 if weight2 is None else weight2, eps=self.eps)


class AddRMSNorm(_Module):
    """kiln.torch.add_rms_norm: forward(x, residual) -> (rms_norm(h), h) with h = x + residual."""
    SHOWN = ("dim", "eps")

    def __init__(self, dim, eps=1e-6, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = _ones(elementwise_affine, dim, dict(device=device, dtype=dtype))

    def forward(self, x, residual):
        return kt.add_rms_norm(x, residual, self.weight, eps=self.eps)


class LayerNorm(_Module):
    """kiln.torch.layer_norm with weight and bias, with a weight alone (bias=False), or with neither (elementwise_affine=False)."""
    SHOWN = ("dim", "eps")

    def __init__(self, dim, eps=1e-6, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = _ones(elementwise_affine, dim, dict(device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(dim, device=device, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x):
        return kt.layer_norm(x, self.weight, self.bias, eps=self.eps)


class LayerNormAdaLN(_Module):
    """kiln.torch.layer_norm_adaln: forward(x, scale, shift)."""
    SHOWN = ("eps",)

    def __init__(self, eps=1e-6):
        super().__init__()
        self.eps = eps

    def forward(self, x, scale, shift):
        return kt.layer_norm_adaln(x, scale, shift, eps=self.eps)


class RMSNormAdaLN(LayerNormAdaLN):
    """kiln.torch.rms_norm_adaln: forward(x, scale, shift)."""

    def forward(self, x, scale, shift):
        return kt.rms_norm_adaln(x, scale, shift, eps=self.eps)


class L2Normalize(_Module):
    """kiln.torch.l2_normalize."""
    SHOWN = ("eps",)

    def __init__(self, eps=1e-6):
        super().__init__()
        self.eps = eps

    def forward(self, x):
        return kt.l2_normalize(x, eps=self.eps)


class L2Normalize2(L2Normalize):
    """kiln.torch.l2_normalize2: two tensors, one launch."""

    def forward(self, x1, x2):
        return kt.l2_normalize2(x1, x2, eps=self.eps)


class HeadLayerNorm(L2Normalize):
    """kiln.torch.head_layer_norm of q and k, any layout with the head's channels last."""

    def forward(self, q, k):
        return kt.head_layer_norm(q, k, eps=self.eps)


class RoPE(_Module):
    """kiln.torch.rope: forward(q, k, cos, sin, pos=0). heads_second: q and k are (B, H, T, D); else (B, T, H, D). in_place: q and k
    themselves are turned (no gradient)."""
    SHOWN = ("pairs", "table", "heads_second")

    def __init__(self, pairs="neighbours", table="channel", heads_second=True, in_place=False):
        super().__init__()
        self.pairs, self.table, self.heads_second, self.in_place = pairs, table, heads_second, in_place

    def function(self, q, k, cos, sin, **rest):
        return (kt.rope_ if self.in_place else kt.rope)(q, k, cos, sin, **rest)

    def forward(self, q, k, cos, sin, pos=0, q_rows=ALL_ROWS, k_rows=ALL_ROWS):
        rest = dict(pos=pos, q_rows=q_rows, k_rows=k_rows, pairs=self.pairs, table=self.table)
        if self.heads_second:
            return self.function(q, k, cos, sin, **rest)
        out = self.function(q.transpose(1, 2), None if k is None else k.transpose(1, 2), cos, sin, **rest)
        return out.transpose(1, 2) if k is None else (out[0].transpose(1, 2), out[1].transpose(1, 2))


class AxialRoPE(RoPE):
    """RoPE with the table of a grid of patches (kiln.torch.axial_rope_table): forward(q, k, pos=0)."""

    def __init__(self, base, rows, cols, dim, heads_second=True, in_place=False, device=None):
        super().__init__("neighbours", "pair", heads_second, in_place)
        cos, sin = kt.axial_rope_table(base, rows, cols, dim, device=device)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, q, k=None, pos=0):
        return super().forward(q, k, self.cos, self.sin, pos)


class LNRoPE(RoPE):
    """kiln.torch.ln_rope: layer norm without affine, then RoPE."""

    def __init__(self, eps=1e-6, pairs="neighbours", table="channel", heads_second=True):
        super().__init__(pairs, table, heads_second)
        self.eps = eps

    def function(self, q, k, cos, sin, **rest):
        return kt.ln_rope(q, k, cos, sin, eps=self.eps, **rest)


class RMSNormRoPE(_Module):
    """kiln.torch.rms_norm_rope: forward(x, cos, sin, pos=0)."""
    SHOWN = ("dim", "eps", "pairs", "table")

    def __init__(self, dim, eps=1e-6, pairs="halves", table="pair", elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.dim, self.eps, self.pairs, self.table = dim, eps, pairs, table
        self.weight = _ones(elementwise_affine, dim, dict(device=device, dtype=dtype))

    def forward(self, x, cos, sin, pos=0):
        return kt.rms_norm_rope(x, self.weight, cos, sin, eps=self.eps, pos=pos, pairs=self.pairs, table=self.table)


class Gated(_Module):
    """kiln.torch.gated: forward(gate, up), or forward(both) of tensors (..., 2C): halves one after the other, or interleaved."""
    SHOWN = ("act", "interleaved")

    def __init__(self, act="silu", interleaved=False):
        super().__init__()
        self.act, self.interleaved = act, interleaved

    def forward(self, gate, up=None):
        if up is None:
            gate, up = gate.unflatten(-1, (-1, 2)).unbind(-1) if self.interleaved else gate.chunk(2, -1)
        return kt.gated(gate, up, act=self.act)


class Softmax(_Module):
    """kiln.torch.softmax: forward(x, mask=None)."""
    SHOWN = ("scale",)

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x, mask=None):
        return kt.softmax(x, mask, scale=self.scale)


class Gemm(_Module):
    """kiln.torch.gemm: forward(a, b, c=None, bias=None)."""
    SHOWN = ("alpha", "beta", "act")

    def __init__(self, alpha=1.0, beta=1.0, act="none"):
        super().__init__()
        self.alpha, self.beta, self.act = alpha, beta, act

    def forward(self, a, b, c=None, bias=None):
        return kt.gemm(a, b, c, bias, alpha=self.alpha, beta=self.beta, act=self.act)


class Linear(_Module):
    """kiln.torch.linear with weight (out_features, in_features) and bias, and an activation; in the place of torch.nn.Linear."""
    SHOWN = ("in_features", "out_features", "act")

    def __init__(self, in_features, out_features, bias=True, act="none", device=None, dtype=None, recompute=False):
        super().__init__()
        self.in_features, self.out_features, self.act, self.recompute = in_features, out_features, act, recompute
        like = dict(device=device, dtype=dtype)
        self.weight = _matrix(out_features, in_features, like)
        self.bias = _bias(bias, out_features, in_features, like)

    def forward(self, x):
        return kt.linear(x, self.weight, self.bias, act=self.act, recompute=self.recompute)


class GatedMLP(_Module):
    """kiln.torch.gated_mlp: act(x gate') * (x up'), the gated half of an MLP. Weights gate and up (inter, hidden)."""
    SHOWN = ("hidden", "inter", "act")

    def __init__(self, hidden, inter, act="silu", device=None, dtype=None, recompute=False):
        super().__init__()
        self.hidden, self.inter, self.act, self.recompute = hidden, inter, act, recompute
        like = dict(device=device, dtype=dtype)
        self.gate, self.up = _matrix(inter, hidden, like), _matrix(inter, hidden, like)

    def forward(self, x):
        return kt.gated_mlp(x, self.gate, self.up, act=self.act, recompute=self.recompute)


class FP8Linear(_Module):
    """kiln.torch.fp8_linear with weight (out_features, in_features) and bias, kept as they are; the weight's codes are made at the first call and
    after each update."""
    SHOWN = ("in_features", "out_features", "scale", "accumulate", "format")

    def __init__(self, in_features, out_features, bias=True, scale="tensor", accumulate="fast", format="e4m3", device=None, dtype=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.scale, self.accumulate, self.format = scale, accumulate, format
        like = dict(device=device, dtype=dtype)
        self.weight = _matrix(out_features, in_features, like)
        self.bias = _bias(bias, out_features, in_features, like)

    def forward(self, x):
        return kt.fp8_linear(x, self.weight, self.bias, scale=self.scale, accumulate=self.accumulate, format=self.format)


class QuantizeFP8(_Module):
    """kiln.torch.quantize_fp8: forward(x) -> (codes, scales)."""
    SHOWN = ("format", "per")

    def __init__(self, format="e4m3", per="tensor"):
        super().__init__()
        self.format, self.per = format, per

    def forward(self, x, scale=None):
        return kt.quantize_fp8(x, scale, format=self.format, per=self.per)


class DequantizeFP8(_Module):
    """kiln.torch.dequantize_fp8: forward(codes, scales)."""
    SHOWN = ("per", "dtype")

    def __init__(self, per="tensor", dtype=torch.bfloat16):
        super().__init__()
        self.per, self.dtype = per, dtype

    def forward(self, q, scale):
        return kt.dequantize_fp8(q, scale, per=self.per, dtype=self.dtype)
