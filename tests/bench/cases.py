"""The rows of the row-wise bench: which op, at which shape, in which direction, and how many bytes must move. No framework needed.

An op is described by its tensors, as `kiln list` names them. The bytes of a row are those of every tensor that the direction must
read, once, and of every tensor that it must write, once; the copy rate that a row is compared with is that of a device copy
moving as many bytes. What an implementation reads or writes beyond that counts against it."""
from dataclasses import dataclass, field

DTYPE_BYTES = {"bf16": 2, "f16": 2, "f32": 4, "u8": 1, "e4m3": 1, "bool": 1}
BIG_ROWS, BIG_COLS = 65536, 8192


@dataclass(frozen=True)
class Tensor:
    name: str
    dims: tuple          # names of Case.dims
    dtype: str = "op"    # "op": the row's own
    out: bool = False


def tensors(text):
    """Tensors of "x B M N; w N f32; > y B M N": outputs after >."""
    result = []
    for item in text.split(";"):
        words = item.split()
        out = words[0] == ">"
        words = words[1:] if out else words
        dims = tuple(w for w in words[1:] if w[0].isupper())
        dtype = next((w for w in words[1:] if not w[0].isupper()), "op")
        result.append(Tensor(words[0], dims, dtype, out))
    return tuple(result)


@dataclass(frozen=True)
class Op:
    name: str
    tensors: tuple
    grads: tuple = ()        # inputs that have a gradient
    backward_reads: tuple = ()  # forward tensors without which the gradients cannot be had; incoming gradients come on top
    scalars: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)   # of kiln
    grad_settings: dict = field(default_factory=dict)
    twice: tuple = ()        # inputs that must be read twice
    kiln: str = ""           # kiln's op, where it is not the name

    def inputs(self):
        return [t for t in self.tensors if not t.out]

    def outputs(self):
        return [t for t in self.tensors if t.out]

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)


EPS = {"eps": 1e-6}
ROTATE = "q B H T N; k B H S N; cos P R f32; sin P R f32; > yq B H T N; > yk B H S N"
TABLES = {"cos_dtype": "f32", "sin_dtype": "f32"}

OPS = {op.name: op for op in (
    Op("rms_norm", tensors("x B M N; w N; > y B M N"), ("x", "w"), ("x", "w"), EPS),
    Op("rms_norm2", tensors("x1 B M N; x2 B M N; w1 N; w2 N; > y1 B M N; > y2 B M N"), ("x1", "x2", "w1", "w2"),
       ("x1", "x2", "w1", "w2"), EPS),
    Op("l2_normalize", tensors("x B M N; > y B M N"), ("x",), ("x",), EPS),
    Op("l2_normalize2", tensors("x1 B M N; x2 B M N; > y1 B M N; > y2 B M N"), ("x1", "x2"), ("x1", "x2"), EPS),
    Op("layer_norm", tensors("x B M N; w N; b N; > y B M N"), ("x", "w", "b"), ("x", "w"), EPS),
    Op("head_layer_norm", tensors("q B H T N; k B H S N; > yq B H T N; > yk B H S N"), ("q", "k"), ("q", "k"), EPS),
    Op("rope", tensors(ROTATE), ("q", "k"), ("cos", "sin"), settings=TABLES),
    Op("ln_rope", tensors(ROTATE), ("q", "k"), ("q", "k", "cos", "sin"), EPS, TABLES),
    Op("rms_norm_rope", tensors("x B T N; w N; cos P R f32; sin P R f32; > y B T N"), ("x", "w"), ("x", "w", "cos", "sin"), EPS, TABLES),
    Op("layer_norm_adaln", tensors("x B M N; scale B N; shift B N; > y B M N"), ("x", "scale", "shift"), ("x", "scale"), EPS),
    Op("rms_norm_adaln", tensors("x B M N; scale B N; shift B N; > y B M N"), ("x", "scale", "shift"), ("x", "scale"), EPS),
    # dr equals dx, so that one of them is asked for; autograd hands out one tensor for both as well
    Op("add_rms_norm", tensors("x B M N; r B M N; w N; > y B M N; > h B M N"), ("x", "w"), ("h", "w"), EPS, grad_settings={"dr": "no"}),
    Op("gated", tensors("gate M N; up M N; > y M N"), ("gate", "up"), ("gate", "up"), settings={"act": "silu"}),
    Op("softmax", tensors("x M N; > y M N"), ("x",), ("y",), {"scale": 1.0}),
    Op("quantize_fp8", tensors("x M N; > q M N e4m3; > scale f32"), twice=("x",), settings={"format": "e4m3", "per": "tensor"}),
    Op("quantize_row", tensors("x M N; > q M N e4m3; > scale M f32"), settings={"format": "e4m3", "per": "row"}, kiln="quantize_fp8"),
    Op("quantize_block", tensors("x M N; > q M N e4m3; > scale M N/128 f32"), settings={"format": "e4m3", "per": "block1"}, kiln="quantize_fp8"),
    Op("quantize_u8", tensors("x M N; > q M N u8; > scale f32"), twice=("x",), settings={"format": "u8", "per": "tensor"}, kiln="quantize_fp8"),
    Op("dequantize_fp8", tensors("q M N e4m3; scale f32; > y M N"), settings={"format": "e4m3", "per": "tensor"}),
    Op("dequantize_u8", tensors("q M N u8; scale f32; > y M N"), settings={"format": "u8", "per": "tensor"}, kiln="dequantize_fp8"),
)}

NORMS = {"rms_norm", "rms_norm2", "l2_normalize", "l2_normalize2", "layer_norm", "head_layer_norm", "ln_rope", "rms_norm_rope",
         "layer_norm_adaln", "rms_norm_adaln", "add_rms_norm"}  # whose gradients have a bar at 65536x8192
FUSED = {"head_layer_norm", "rope", "ln_rope"}  # q and k in one launch: a bar of their own at FUSED_SHAPE
FUSED_SHAPE = "4x16x4096x128"


@dataclass(frozen=True)
class Case:
    op: str
    way: str     # fwd or bwd
    shape: str   # label, as in anchors.py
    dims: tuple  # of (name, size)
    dtype: str
    big: bool    # 65536x8192, or as many bytes
    quick: bool  # belongs to --quick

    @property
    def spec(self):
        return OPS[self.op]

    @property
    def name(self):
        return f"{self.op} {self.way} {self.shape} {self.dtype}"

    @property
    def key(self):
        return (self.op, self.way, self.shape, self.dtype)

    def kiln_op(self):
        name = self.spec.kiln or self.op
        return name if self.way == "fwd" else name + ".grad"

    def shape_of(self, tensor):
        sizes = dict(self.dims)
        return tuple(sizes[d.split("/")[0]] // int((d + "/1").split("/")[1]) for d in tensor.dims)

    def dtype_of(self, tensor):
        return self.dtype if tensor.dtype == "op" else tensor.dtype

    def bytes_of(self, tensor):
        n = DTYPE_BYTES[self.dtype_of(tensor)]
        for size in self.shape_of(tensor):
            n *= size
        return n

    def bytes(self):
        """Bytes that must move in this direction: each tensor once, but those that the op must read twice."""
        spec = self.spec
        if self.way == "fwd":
            moved = list(spec.tensors) + [spec.tensor(n) for n in spec.twice]
        else:
            moved = spec.outputs() + [spec.tensor(n) for n in spec.backward_reads + spec.grads]
        return sum(self.bytes_of(t) for t in moved)

    def settings(self):
        """The settings that kiln's variant is made and chosen with."""
        result = {"dtype": self.dtype, **self.spec.settings}
        if self.way == "bwd":
            result.update(self.spec.grad_settings)
        return result


def _dims(**sizes):
    return tuple(sizes.items())


def _heads(tokens, channels):
    return _dims(B=4, H=16, T=tokens, S=tokens, N=channels, P=tokens, R=channels)


ROWS_8192 = _dims(B=8, M=8192, N=8192)
# op, label, dims, dtype, big, quick; both directions where the op has gradients
_SHAPES = (
    [(op, label, dims, "bf16", False, quick) for op in ("rms_norm", "layer_norm") for label, dims, quick in (
        ("8192x4096", _dims(B=8, M=1024, N=4096), True), ("32768x1024", _dims(B=8, M=4096, N=1024), False),
        ("4096x8192", _dims(B=8, M=512, N=8192), False))] +
    [("rms_norm", "8192x4096", _dims(B=8, M=1024, N=4096), "f16", False, False),
     ("rms_norm2", "2x(8x512x4096)", _dims(B=8, M=512, N=4096), "bf16", False, True),
     ("l2_normalize", "8192x4096", _dims(B=8, M=1024, N=4096), "bf16", False, True),
     ("l2_normalize", "32768x1024", _dims(B=8, M=4096, N=1024), "bf16", False, False),
     ("l2_normalize2", "2x(8x512x4096)", _dims(B=8, M=512, N=4096), "bf16", False, True)] +
    [(op, f"4x16x4096x{n}", _heads(4096, n), "bf16", False, n == 128) for op in ("head_layer_norm", "rope", "ln_rope") for n in (64, 128)] +
    [("rms_norm_rope", "4x2048x4096", _dims(B=4, T=2048, N=4096, P=2048, R=32), "f16", False, True),
     ("quantize_u8", "8192x4096", _dims(M=8192, N=4096), "f16", False, True),
     ("dequantize_u8", "8192x4096", _dims(M=8192, N=4096), "f16", False, True)] +
    [(op, label, dims, dtype, False, label == "64x186x128") for op in ("layer_norm_adaln", "rms_norm_adaln") for label, dims, dtype in (
        ("64x186x128", _dims(B=64, M=186, N=128), "bf16"), ("64x186x128", _dims(B=64, M=186, N=128), "f32"),
        ("16x4096x1024", _dims(B=16, M=4096, N=1024), "bf16"))] +
    [("rms_norm", "65536x8192", ROWS_8192, "bf16", True, False), ("layer_norm", "65536x8192", ROWS_8192, "bf16", True, False),
     ("rms_norm2", "2x(8x4096x8192)", _dims(B=8, M=4096, N=8192), "bf16", True, False),
     ("l2_normalize", "65536x8192", ROWS_8192, "bf16", True, False),
     ("l2_normalize2", "2x(8x4096x8192)", _dims(B=8, M=4096, N=8192), "bf16", True, False),
     ("head_layer_norm", "4x16x32768x128", _heads(32768, 128), "bf16", True, False),
     ("rope", "4x16x32768x128", _heads(32768, 128), "bf16", True, False),
     ("ln_rope", "4x16x32768x128", _heads(32768, 128), "bf16", True, False),
     ("rms_norm_rope", "8x8192x8192", _dims(B=8, T=8192, N=8192, P=8192, R=64), "bf16", True, False),
     ("layer_norm_adaln", "16x4096x8192", _dims(B=16, M=4096, N=8192), "bf16", True, False),
     ("rms_norm_adaln", "16x4096x8192", _dims(B=16, M=4096, N=8192), "bf16", True, False),
     ("add_rms_norm", "65536x8192", ROWS_8192, "bf16", True, False),
     ("gated", "65536x8192", _dims(M=BIG_ROWS, N=BIG_COLS), "bf16", True, False),
     ("softmax", "65536x8192", _dims(M=BIG_ROWS, N=BIG_COLS), "bf16", True, False)] +
    [(op, "65536x8192", _dims(M=BIG_ROWS, N=BIG_COLS), "bf16", True, False) for op in (
        "quantize_fp8", "quantize_row", "quantize_block", "quantize_u8", "dequantize_fp8", "dequantize_u8")])


def all_cases():
    result = []
    for op, label, dims, dtype, big, quick in _SHAPES:
        for way in ("fwd", "bwd") if OPS[op].grads else ("fwd",):
            result.append(Case(op, way, label, dims, dtype, big, quick))
    return result


def chosen(ops=(), shapes=(), ways=(), quick=False):
    """The cases that the command line names: ops exactly, shapes by a part of their label or by a dtype; empty: all."""
    def wanted(case):
        return ((not ops or case.op in ops) and (not ways or case.way in ways) and (not quick or case.quick) and
                (not shapes or any(s in case.shape or s == case.dtype for s in shapes)))
    return [case for case in all_cases() if wanted(case)]


def parse_dims(text):
    """"B=8,M=1024,N=4096" as Case.dims."""
    result = []
    for pair in text.split(","):
        name, _, size = pair.partition("=")
        if not name or not size.isdigit() or int(size) == 0:
            raise ValueError(f"'{pair}': a size is NAME=NUMBER, as in B=8,M=1024,N=4096")
        result.append((name, int(size)))
    return tuple(result)


def custom(op, dims_text, dtype, ways):
    """Rows of a shape that the command line spells out."""
    spec, given = OPS[op], dict(parse_dims(dims_text))
    needed = {d.split("/")[0] for t in spec.tensors for d in t.dims}
    for alias, of in (("S", "T"), ("P", "T")):
        if alias in needed and alias not in given and of in given:
            given[alias] = given[of]
    if "R" in needed and "R" not in given and op != "rms_norm_rope":
        given["R"] = given.get("N")
    missing = sorted(needed - {k for k, v in given.items() if v})
    if missing:
        raise ValueError(f"{op} needs sizes for {', '.join(sorted(needed))}; missing: {', '.join(missing)}")
    label = "x".join(str(size) for size in dict(parse_dims(dims_text)).values())
    dims = tuple((k, v) for k, v in given.items())
    return [Case(op, way, label, dims, dtype, False, False) for way in ways if way == "fwd" or spec.grads]
