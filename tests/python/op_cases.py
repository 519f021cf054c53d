"""Inputs of every op of kiln.torch, small and awkward: what test_torch.py runs on."""
import torch


def _tables(rows, entries, device, dtype=torch.float32, seed=7):
    g = torch.Generator().manual_seed(seed)
    angle = torch.rand(rows, entries, generator=g, dtype=torch.float64) * 6
    return angle.cos().to(device, dtype), angle.sin().to(device, dtype)


def _paired(table):
    return tuple(t.repeat_interleave(2, -1) for t in table)


class Maker:
    """Random tensors of one dtype on one device; strided() is a view with other strides, as q of a joint projection is."""

    def __init__(self, device, dtype, seed=0):
        self.device, self.dtype, self.generator = device, dtype, torch.Generator().manual_seed(seed)

    def __call__(self, *shape, dtype=None, scale=1.0):
        return (torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale).to(self.device, dtype or self.dtype)

    def strided(self, *shape):
        wide = self(*shape[:-1], 3 * shape[-1])
        return wide[..., shape[-1]:2 * shape[-1]]

    def mask(self, *shape):
        m = torch.rand(*shape, generator=self.generator) < 0.4
        m.reshape(-1, shape[-1])[0] = True  # a row where everything is excluded
        return m.to(self.device)


def cases(device, dtype, seed=0):
    """(name of the op, a word about it, positional tensors, keywords)."""
    make, f32 = Maker(device, dtype, seed), torch.float32
    x = make(2, 5, 24)
    channel = _paired(_tables(9, 4, device))   # R = 8 channels
    pair = _tables(9, 4, device)               # 4 pairs: 8 channels
    wide = _tables(5, 6, device)
    q, k = make(2, 3, 7, 16), make(2, 3, 5, 16)
    return [
        ("rms_norm", "weight", (x, make(24)), {}),
        ("rms_norm", "no weight, 2-D", (make(7, 33),), {"eps": 1e-3}),
        ("rms_norm", "f32 weight (1, 1, C)", (x, make(1, 1, 24, dtype=f32)), {}),
        ("rms_norm", "weight per sample", (x, make(2, 1, 24)), {}),
        ("rms_norm", "strided", (make.strided(2, 5, 24), make(24)), {}),
        ("rms_norm", "transposed", (make(5, 2, 24).transpose(0, 1), make(24)), {}),
        ("rms_norm", "odd rows", (make(3, 4, 5, 7), make(7)), {}),
        ("rms_norm2", "both weights", (make(2, 5, 24), make(2, 3, 16), make(24), make(16)), {}),
        ("rms_norm2", "no weights", (make(2, 5, 24), make(2, 3, 16)), {}),
        ("l2_normalize", "", (make(2, 5, 24),), {}),
        ("l2_normalize", "below eps", (make(6, 16, scale=1e-3),), {"eps": 0.5}),
        ("l2_normalize2", "", (make(2, 5, 24), make(2, 3, 16)), {}),
        ("layer_norm", "affine", (x, make(24), make(24)), {}),
        ("layer_norm", "weight only", (x, make(24)), {"eps": 1e-5}),
        ("layer_norm", "plain", (make.strided(2, 5, 24),), {}),
        ("head_layer_norm", "heads second", (q, k), {}),
        ("head_layer_norm", "heads third", (make(2, 7, 3, 16), make(2, 5, 3, 16)), {}),
        ("rope", "channel, neighbours", (q, k) + channel, {}),
        ("rope", "pair, halves", (q, k) + pair, {"table": "pair", "pairs": "halves"}),
        ("rope", "q alone, later rows", (q, None) + pair, {"table": "pair", "pos": 2}),
        ("rope", "first rows", (q, k) + channel, {"q_rows": 4, "k_rows": 2}),
        ("rope", "transposed", (make(2, 7, 3, 16).transpose(1, 2), make(2, 5, 3, 16).transpose(1, 2)) + channel, {"pairs": "halves"}),
        ("ln_rope", "", (q, k) + channel, {}),
        ("ln_rope", "pair, halves", (q, k) + pair, {"table": "pair", "pairs": "halves", "pos": 1}),
        ("rms_norm_rope", "halves", (make(2, 5, 24), make(24)) + wide, {}),
        ("rms_norm_rope", "neighbours, no weight", (make(2, 4, 24), None) + wide, {"pairs": "neighbours", "pos": 1}),
        ("rms_norm_rope", "channel", (make(2, 5, 24), make(24)) + _paired(_tables(5, 3, device)), {"table": "channel", "pairs": "neighbours"}),
        ("layer_norm_adaln", "", (x, make(2, 1, 24), make(2, 1, 24)), {}),
        ("layer_norm_adaln", "(B, C)", (make.strided(2, 5, 24), make(2, 24, dtype=f32), make(2, 24, dtype=f32)), {}),
        ("rms_norm_adaln", "", (x, make(2, 1, 24), make(2, 1, 24)), {}),
        ("add_rms_norm", "", (x, make(2, 5, 24), make(24)), {}),
        ("add_rms_norm", "no weight", (x, make.strided(2, 5, 24)), {}),
        ("gated", "silu", (make(5, 24), make(5, 24)), {}),
        ("gated", "gelu, interleaved", tuple(make(5, 48).unflatten(-1, (24, 2)).unbind(-1)), {"act": "gelu"}),
        ("gated", "gelu_tanh", (make(2, 3, 24), make(2, 3, 24)), {"act": "gelu_tanh"}),
        ("softmax", "", (make(5, 24),), {}),
        ("softmax", "mask of each row", (make(2, 5, 24), make.mask(2, 1, 24).expand(2, 5, 24)), {}),
        ("softmax", "mask, scale", (make(2, 5, 24), make.mask(2, 5, 24)), {"scale": 0.5}),
    ]


def differentiable(op, tensors):
    """Positions of the tensors that may require a gradient."""
    return [i for i, (t, x) in enumerate(zip(op.inputs, tensors)) if x is not None and not t.const and x.is_floating_point()]
