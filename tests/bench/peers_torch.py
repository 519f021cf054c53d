"""Every op in torch: inputs, eager and torch.compile, gradients by autograd, and the reference that results are checked against.

A formula takes the op's inputs by name and the dtype that it computes in: float32 as a peer, float32 or float64 of the same inputs
as a reference. Where torch has a function of its own, that is the eager peer and one of those that are compiled."""
import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32, "u8": torch.uint8, "e4m3": torch.float8_e4m3fn,
          "bool": torch.bool}
# Largest distance of a row from the reference, over the row's own length: some roundings of the result's dtype.
TOLERANCE = {"bf16": 1.6e-2, "f16": 2e-3, "f32": 1e-4}
FP8_MAX = 448.0
U8_STEPS = 127.0  # of the compatibility format: code = 128 + round(x * scale / 448 * 127)


# ---- formulas: acc is the dtype of the arithmetic ----

def _mean_square(f, eps):
    return torch.rsqrt(f.square().mean(-1, keepdim=True) + eps)


def _standard(f, eps):
    centred = f - f.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)


def _weighted(y, w, acc):
    return y if w is None else y * w.to(acc)


def _rms(x, w, eps, acc):
    f = x.to(acc)
    return _weighted(f * _mean_square(f, eps), w, acc).to(x.dtype)


def _l2(x, eps, acc):
    f = x.to(acc)
    return (f * torch.rsqrt(f.square().sum(-1, keepdim=True).clamp_min(eps * eps))).to(x.dtype)


def _ln(x, eps, acc):
    return _standard(x.to(acc), eps)


def _neighbours(f, cos, sin, acc):
    """Pairs of neighbours turned by tables with an entry per channel, in acc."""
    c, s = cos.to(acc).unflatten(-1, (-1, 2)), sin.to(acc).unflatten(-1, (-1, 2))
    p = f.unflatten(-1, (-1, 2))
    a, b = p[..., 0], p[..., 1]
    return torch.stack((a * c[..., 0] - b * s[..., 0], b * c[..., 1] + a * s[..., 1]), -1).flatten(-2)


def _halves(f, cos, sin, acc):
    """In blocks of twice the table's width, channel i and the one half a block away."""
    c, s = cos.to(acc).unsqueeze(-2), sin.to(acc).unsqueeze(-2)
    heads = f.unflatten(-1, (-1, 2 * cos.shape[-1]))
    a, b = heads.chunk(2, -1)
    return torch.cat((a * c - b * s, a * s + b * c), -1).flatten(-2)


def rms_norm(t, acc=torch.float32, eps=1e-6):
    return (_rms(t["x"], t["w"], eps, acc),)


def rms_norm2(t, acc=torch.float32, eps=1e-6):
    return _rms(t["x1"], t["w1"], eps, acc), _rms(t["x2"], t["w2"], eps, acc)


def l2_normalize(t, acc=torch.float32, eps=1e-6):
    return (_l2(t["x"], eps, acc),)


def l2_normalize2(t, acc=torch.float32, eps=1e-6):
    return _l2(t["x1"], eps, acc), _l2(t["x2"], eps, acc)


def layer_norm(t, acc=torch.float32, eps=1e-6):
    return ((_weighted(_ln(t["x"], eps, acc), t["w"], acc) + t["b"].to(acc)).to(t["x"].dtype),)


def head_layer_norm(t, acc=torch.float32, eps=1e-6):
    return tuple(_ln(t[n], eps, acc).to(t[n].dtype) for n in ("q", "k"))


def rope(t, acc=torch.float32):
    return tuple(_neighbours(t[n].to(acc), t["cos"], t["sin"], acc).to(t[n].dtype) for n in ("q", "k"))


def ln_rope(t, acc=torch.float32, eps=1e-6):
    return tuple(_neighbours(_ln(t[n], eps, acc), t["cos"], t["sin"], acc).to(t[n].dtype) for n in ("q", "k"))


def rms_norm_rope(t, acc=torch.float32, eps=1e-6):
    f = t["x"].to(acc)
    return (_halves(f * _mean_square(f, eps) * t["w"].to(acc), t["cos"], t["sin"], acc).to(t["x"].dtype),)


def _modulated(y, t, acc):
    return ((y * (1 + t["scale"].to(acc).unsqueeze(1)) + t["shift"].to(acc).unsqueeze(1)).to(t["x"].dtype),)


def layer_norm_adaln(t, acc=torch.float32, eps=1e-6):
    return _modulated(_ln(t["x"], eps, acc), t, acc)


def rms_norm_adaln(t, acc=torch.float32, eps=1e-6):
    f = t["x"].to(acc)
    return _modulated(f * _mean_square(f, eps), t, acc)


def add_rms_norm(t, acc=torch.float32, eps=1e-6):
    h = t["x"] + t["r"]  # in the tensors' dtype: rounded, and the norm reads what was stored
    if "round" in t:
        h = h + (h.to(t["round"]).to(h.dtype) - h).detach()
    return _rms(h, t["w"], eps, acc), h


def gated(t, acc=torch.float32):
    return ((F.silu(t["gate"].to(acc)) * t["up"].to(acc)).to(t["gate"].dtype),)


def softmax(t, acc=torch.float32):
    return (torch.softmax(t["x"].to(acc), -1).to(t["x"].dtype),)


def _to_e4m3(f, scale):
    return (f / scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)


def quantize_fp8(t, acc=torch.float32):
    f = t["x"].to(acc)
    scale = f.abs().amax() / FP8_MAX
    return _to_e4m3(f, scale), scale.to(torch.float32)


def quantize_row(t, acc=torch.float32):
    f = t["x"].to(acc)
    scale = f.abs().amax(-1) / FP8_MAX
    return _to_e4m3(f, scale.unsqueeze(-1)), scale.to(torch.float32)


def quantize_block(t, acc=torch.float32):
    f = t["x"].to(acc).unflatten(-1, (-1, 128))
    scale = f.abs().amax(-1) / FP8_MAX
    return _to_e4m3(f, scale.unsqueeze(-1)).flatten(-2), scale.to(torch.float32)


def quantize_u8(t, acc=torch.float32):
    """127 steps each side of 128, scale = 448 / amax of the whole tensor."""
    f = t["x"].to(acc)
    scale = FP8_MAX / f.abs().amax()
    codes = torch.round((f * scale).clamp(-FP8_MAX, FP8_MAX) / FP8_MAX * U8_STEPS) + 128
    return codes.to(torch.uint8), scale.to(torch.float32)


def dequantize_fp8(t, acc=torch.float32):
    return ((t["q"].to(acc) * t["scale"].to(acc)).to(t["to"]),)


def dequantize_u8(t, acc=torch.float32):
    """Through f16, as that format's system has it."""
    return (((t["q"].to(acc) - 128) / U8_STEPS * FP8_MAX / t["scale"].to(acc)).to(torch.float16).to(t["to"]),)


def torch_rms_norm(t):
    return (F.rms_norm(t["x"], (t["x"].shape[-1],), t["w"], 1e-6),)


def torch_rms_norm2(t):
    return tuple(F.rms_norm(t[x], (t[x].shape[-1],), t[w], 1e-6) for x, w in (("x1", "w1"), ("x2", "w2")))


def torch_layer_norm(t):
    return (F.layer_norm(t["x"], (t["x"].shape[-1],), t["w"], t["b"], 1e-6),)


def torch_head_layer_norm(t):
    return tuple(F.layer_norm(t[n], (t[n].shape[-1],), None, None, 1e-6) for n in ("q", "k"))


def torch_softmax(t):
    return (torch.softmax(t["x"], -1),)


FORMULAS = {f.__name__: f for f in (rms_norm, rms_norm2, l2_normalize, l2_normalize2, layer_norm, head_layer_norm, rope, ln_rope,
                                    rms_norm_rope, layer_norm_adaln, rms_norm_adaln, add_rms_norm, gated, softmax, quantize_fp8,
                                    quantize_row, quantize_block, quantize_u8, dequantize_fp8, dequantize_u8)}
FUNCTIONS = {"rms_norm": torch_rms_norm, "rms_norm2": torch_rms_norm2, "layer_norm": torch_layer_norm,
             "head_layer_norm": torch_head_layer_norm, "softmax": torch_softmax}
BOTH_COMPILED = {"rms_norm", "rms_norm2"}  # the formula compiles to other kernels than the function, at times to faster ones


def compiled_functions(op):
    """What torch.compile is given; the fastest counts."""
    if op in BOTH_COMPILED:
        return [FORMULAS[op], FUNCTIONS[op]]
    return [FUNCTIONS.get(op, FORMULAS[op])]


# ---- a row's tensors ----

@dataclass
class Data:
    """Tensors of one case: inputs by name, and for gradients the incoming ones by name of the output."""
    case: object
    inputs: dict
    incoming: dict = field(default_factory=dict)

    def numbers(self):
        """What formulas read beside tensors."""
        if self.case.op.startswith("dequantize"):
            return {"to": DTYPES[self.case.dtype]}
        return {}


def angles(positions, entries, repeat, device):
    """cos and sin of a rotary table: entries a row, each `repeat` times in turn."""
    pairs = entries // repeat
    frequency = 10000.0 ** (-torch.arange(pairs, device=device, dtype=torch.float64) / pairs)
    angle = torch.outer(torch.arange(positions, device=device, dtype=torch.float64), frequency).repeat_interleave(repeat, -1)
    return angle.cos().float(), angle.sin().float()


def make_data(case, device="cuda", seed=0):
    """Random normal inputs, and incoming gradients if the case is a backward one. The same for every seed, whoever asks."""
    generator = torch.Generator(device=device).manual_seed(seed)

    def normal(shape, dtype):
        return torch.randn(shape, generator=generator, device=device, dtype=DTYPES[dtype])

    inputs = {}
    for t in case.spec.inputs():
        shape, dtype = case.shape_of(t), case.dtype_of(t)
        if t.name in ("cos", "sin"):
            repeat = 1 if case.op == "rms_norm_rope" else 2
            inputs["cos"], inputs["sin"] = angles(*shape, repeat, device) if t.name == "cos" else (inputs["cos"], inputs["sin"])
        elif dtype == "u8":
            inputs[t.name] = torch.randint(1, 256, shape, generator=generator, device=device, dtype=torch.uint8)
        elif dtype == "e4m3":
            inputs[t.name] = (normal(shape, "bf16") * 64).clamp_(-FP8_MAX, FP8_MAX).to(DTYPES[dtype])
        elif case.op.startswith("dequantize"):
            inputs[t.name] = torch.tensor(FP8_MAX / 5.0 if case.op == "dequantize_u8" else 5.0 / FP8_MAX, device=device)
        else:
            inputs[t.name] = normal(shape, dtype)
    incoming = {}
    if case.way == "bwd":
        for t in case.spec.outputs():
            incoming[t.name] = normal(case.shape_of(t), case.dtype_of(t))
    return Data(case, inputs, incoming)


# ---- reference ----

def reference(data, precise=None):
    """Results of the case by the formula in float64 (float32 where that would need too much memory): outputs for a forward row,
    {"d" + input} for a backward one."""
    case = data.case
    if precise is None:
        precise = max(t.numel() for t in data.inputs.values()) <= 1 << 26
    acc = torch.float64 if precise else torch.float32
    wide = {n: v.to(acc) if v.is_floating_point() and v.dtype != torch.float8_e4m3fn else v for n, v in data.inputs.items()}
    wide.update(data.numbers())
    if case.op == "add_rms_norm" and DTYPES[case.dtype] != torch.float32:
        wide["round"] = DTYPES[case.dtype]
    if case.op.startswith("dequantize"):
        wide["to"] = acc
    names = [t.name for t in case.spec.outputs()]
    if case.way == "fwd":
        with torch.no_grad():
            return dict(zip(names, FORMULAS[case.op](wide, acc)))
    for name in case.spec.grads:
        wide[name] = wide[name].detach().requires_grad_()
    outputs = FORMULAS[case.op](wide, acc)
    grads = torch.autograd.grad(outputs, [wide[n] for n in case.spec.grads], [data.incoming[n].to(acc) for n in names])
    return {"d" + n: g for n, g in zip(case.spec.grads, grads)}


def forward_results(data):
    """What a forward would have left for the backward: outputs in their dtypes, and statistics of the rows in float32 by the
    names that ops use for them (rstd, mean; with a 1 or 2 behind them for the ops on two tensors)."""
    case, extra = data.case, {}
    with torch.no_grad():
        outputs = FORMULAS[case.op]({**data.inputs, **data.numbers()})
        extra.update({t.name: v.contiguous() for t, v in zip(case.spec.outputs(), outputs)})
        source = {"": "x", "1": "x1", "2": "x2"}
        if case.op == "add_rms_norm":
            source[""] = None
        for suffix, name in source.items():
            x = extra["h"] if name is None else data.inputs.get(name)
            if x is None or not x.is_floating_point():
                continue
            f = x.float()
            mean = f.mean(-1)
            square = (f - mean.unsqueeze(-1)).square() if "layer_norm" in case.op else f.square()
            extra["mean" + suffix], extra["rstd" + suffix] = mean, torch.rsqrt(square.mean(-1) + 1e-6)
    return extra


def distance(got, expected):
    """Largest distance of a row from the reference's row, over that row's length (or a hundredth of the mean row's length, if that
    is more). NaN and wrong shapes are infinitely far."""
    if got.shape != expected.shape:
        return math.inf
    width = got.shape[-1] if got.dim() else 1
    a, b = got.reshape(-1, width), expected.reshape(-1, width)
    step = max(1, (1 << 26) // width)  # rows at a time: what a subtraction of the largest tensors needs stays small
    parts, lengths = [], []
    for i in range(0, a.shape[0], step):
        wide = b[i:i + step]
        parts.append((a[i:i + step].to(wide.dtype) - wide).norm(dim=-1))
        lengths.append(wide.norm(dim=-1))
    part, length = torch.cat(parts), torch.cat(lengths)
    far = (part / length.clamp_min(length.mean() * 1e-2 + 1e-30)).max().item()
    return math.inf if math.isnan(far) else far


def steps_apart(got, want):
    """(largest distance in steps of the codes, part of the codes that differ)."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return math.inf, 1.0

    def order(codes):
        if codes.dtype == torch.uint8:
            return codes.to(torch.int16)
        bits = codes.view(torch.uint8).to(torch.int16)
        return torch.where(bits > 127, 128 - bits, bits)  # sign and magnitude
    largest, differ, flat_got, flat_want = 0, 0, got.flatten(), want.flatten()
    step = 1 << 27
    for i in range(0, flat_got.numel(), step):
        apart = (order(flat_got[i:i + step]) - order(flat_want[i:i + step])).abs()
        largest, differ = max(largest, apart.max().item()), differ + apart.count_nonzero().item()
    return largest, differ / flat_got.numel()


def check(results, expected, dtype):
    """(right, text): whether results agree with the reference, and the distance of each."""
    texts, right = [], True
    for name, want in expected.items():
        got = results.get(name)
        if got is None:
            texts.append(f"{name} missing")
            right = False
            continue
        if got.dtype in (torch.uint8, torch.float8_e4m3fn):  # codes: a step off where a scaled value is near the middle of two
            far, wrong = steps_apart(got, want)
            ok = far <= 1 and wrong < 5e-2  # in eight bits, bf16 values over a scale are often ties
            texts.append(f"{name} {wrong:.1e} off by one" if ok else f"{name} off by {far:.0f}")
        else:
            far = distance(got, want)
            ok = far <= TOLERANCE[dtype]
            texts.append(f"{name} {far:.1e}")
        right = right and ok
    return right, ", ".join(texts)


# ---- peers ----

def results_of(case, values):
    names = [t.name for t in case.spec.outputs()] if case.way == "fwd" else ["d" + n for n in case.spec.grads]
    return dict(zip(names, values))


def torch_work(data, function):
    """A callable that runs the case's direction of function once and returns its results, as a framework's user would have it: the
    forward of a backward row has run before, and what it saved is there."""
    case = data.case
    if case.way == "fwd":
        inputs = {**data.inputs, **data.numbers()}

        def forward():
            with torch.no_grad():
                return function(inputs)
        return forward
    inputs = dict(data.inputs)
    for name in case.spec.grads:
        inputs[name] = inputs[name].detach().requires_grad_()
    leaves = [inputs[n] for n in case.spec.grads]
    outputs = function(inputs)
    incoming = [data.incoming[t.name] for t in case.spec.outputs()]
    return lambda: torch.autograd.grad(outputs, leaves, incoming, retain_graph=True)


def eager_work(data):
    return torch_work(data, FUNCTIONS.get(data.case.op, FORMULAS[data.case.op]))


def prepare_compiler():
    """Settings under which compiled backwards may run more than once, and every shape is compiled for itself."""
    import torch._functorch.config as functorch
    if hasattr(functorch, "donated_buffer"):
        functorch.donated_buffer = False  # the graph is kept for the next run


def compiled_works(data):
    """[(name, callable)] of the compiled peers of a case."""
    torch._dynamo.reset()
    works = []
    for function in compiled_functions(data.case.op):
        works.append((function.__name__, torch_work(data, torch.compile(function, dynamic=False))))
    return works
