"""The products that have a bar: what is computed, who the peers are, and which share of their speed is asked for. No framework needed.

A share is the peer's time over kiln's. `must` and `aim` may stand on different peers: a gated MLP has to be faster than torch.compile, and is
to be as fast as cuBLAS on both products without the activation."""
from dataclasses import dataclass, field, replace

import bars

FIVE = ("4096x4096x4096", "8192x8192x8192", "4096x11008x4096", "8192x4096x4096", "2048x2048x16384")
FP8_FORMS = ("tensor fast", "tensor", "row fast", "row")  # torch._scaled_mm: scales, and whether it accumulates fast


@dataclass(frozen=True)
class Bar:
    share: float
    peers: tuple  # names; the fastest of them counts


@dataclass(frozen=True)
class Product:
    """shape: M x N x K, of a gated MLP rows x inter x hidden. scales: of fp8, None, "tensor", "row" or "block"."""
    op: str
    dtype: str
    shape: str
    must: Bar
    aim: Bar
    scales: str = None
    settings: dict = field(default_factory=dict, hash=False)  # beside those that dtype and scales imply
    target: str = None  # of another generation

    @property
    def mnk(self):
        return tuple(int(n) for n in self.shape.split("x"))

    @property
    def flop(self):
        m, n, k = self.mnk
        products = {"gated_mlp": 2, "gemm.grad": 2, "linear.grad": 2, "gated_mlp.grad": 4}  # without what a gradient computes again
        return 2 * m * n * k * products.get(self.op, 1)

    @property
    def name(self):
        kind = {"tensor": " tensor-wise", "row": " row-wise", "block": " 128-blocks"}.get(self.scales, "")
        more = "".join(f" {k}={v}" for k, v in sorted(self.settings.items()))
        return f"{self.op} {self.dtype}{kind} {self.shape}{more}" + (f", {self.target} PTX" if self.target else "")

    def peers(self):
        """All that the bars name, each once."""
        return tuple(dict.fromkeys(self.must.peers + self.aim.peers))


def against(peers, must, aim):
    return {"must": Bar(must, peers), "aim": Bar(aim, peers)}


CUBLAS = ("cuBLAS",)


def table():
    """Every product that has a bar."""
    rows = [Product("gemm", dtype, shape, **against(CUBLAS, 0.95, 1.03)) for dtype in ("bf16", "f16") for shape in FIVE]
    rows += [Product("gemm", "bf16", "128x4096x4096", **against(CUBLAS, 0.95, 1.4)),
             Product("gemm", "bf16", "512x4096x4096", **against(CUBLAS, 0.95, 1.15)),
             Product("gemm", "tf32", "8192x8192x8192", **against(CUBLAS, 0.95, 1.0))]
    rows += [Product("fp8_gemm", "e4m3", shape, scales=scales, **against(FP8_FORMS, 0.95, 1.05)) for scales in ("tensor", "row") for shape in FIVE]
    rows += [Product("fp8_gemm", "e4m3", "4096x7168x16384", scales="block", **against(("tensor",), 0.85, 1.0))]
    rows += [Product("gated_mlp", "bf16", shape, Bar(1.0, ("torch.compile",)), Bar(1.0, ("cuBLAS of 2N",)))
             for shape in ("4096x11008x4096", "8192x14336x4096", "16384x5632x2048")]
    return rows + [Product("gemm", "bf16", "4096x4096x4096", target="sm_80", **against(("mma.sync",), 0.80, 0.88))]


def gradients():
    """Gradients, and forward runs that keep what these read: timed when they are named. No bar is theirs; what stands here is what one would wish
    for: faster than torch's backward alone, which has kept what it needs of the forward run, and as fast as cuBLAS's products without the rest."""
    wish = {"must": Bar(1.0, ("torch", "torch.compile")), "aim": Bar(1.0, ("cuBLAS",))}
    forward = {"must": Bar(1.0, ("torch.compile",)), "aim": Bar(1.0, ("cuBLAS",))}
    gelu, z, both = {"act": "gelu_tanh"}, {"act": "gelu_tanh", "z": "yes"}, {"gate": "yes", "up": "yes"}
    rows = [Product("gemm.grad", "bf16", shape, **wish) for shape in ("4096x4096x4096", "8192x8192x8192")]
    rows += [Product("linear", "bf16", "4096x11008x4096", settings=s, **forward) for s in (gelu, z)]
    rows += [Product("linear.grad", "bf16", "4096x4096x4096", **wish)]
    rows += [Product("linear.grad", "bf16", "4096x11008x4096", settings=s, **wish) for s in (gelu, z)]
    shapes = ("4096x11008x4096", "8192x14336x4096")
    rows += [Product("gated_mlp", "bf16", shape, Bar(1.0, ("torch.compile",)), Bar(1.0, ("cuBLAS of 2N",)), settings=both) for shape in shapes]
    return rows + [Product("gated_mlp.grad", "bf16", shape, settings=s, **wish) for s in ({}, both) for shape in shapes]


def chosen(ops=(), dtypes=(), shapes=(), settings=None):
    """Rows of the table, and of gradients that are named, narrowed by what is given. A shape that has no row of an op, dtype and scales gets one,
    with the bars of their first."""
    rows = [r for r in table() + [g for g in gradients() if g.op in ops] if (not ops or r.op in ops) and (not dtypes or r.dtype in dtypes)]
    if shapes:
        kinds, found = {}, []
        for r in rows:
            if not r.target:
                kinds.setdefault((r.op, r.dtype, r.scales), r)
        for shape in shapes:
            same = [r for r in rows if r.shape == shape]
            known = {(r.op, r.dtype, r.scales) for r in same if not r.target}
            found += same + [replace(r, shape=shape) for kind, r in kinds.items() if kind not in known]
        rows = found
    return [replace(r, settings={**r.settings, **settings}) for r in rows] if settings else rows


def verdict(result):
    """"aim", "must" or "MISSED" by the shares of a result; "WRONG" before all; None: not measured."""
    mine = result.get("kiln")
    if not mine:
        return None
    if mine.get("wrong"):
        return "WRONG"
    shares = mine.get("shares", {})
    if "must" not in shares:
        return None
    if shares["must"] < result["must"]["share"]:
        return "MISSED"
    return "aim" if shares.get("aim", 0) >= result["aim"]["share"] else "must"


# ---- the table of a run ----

HEADER = ("product", "kiln us", "TFLOP/s", "best peer", "its us", "share", "must", "aim", "verdict", "MHz", "schedule")
LEFT = {"product", "best peer", "verdict", "schedule"}


def table_lines(results):
    """Cells of the last table; a second line where the aim stands on another peer."""
    for r in results:
        if "kiln" not in r:
            yield (r["row"], "-", "", r["why"][:60]) + ("",) * 7
            continue
        mine, shown = r["kiln"], False
        for kind in ("must", "aim"):
            bar = r[kind]
            if kind == "aim" and bar["peers"] == r["must"]["peers"]:
                continue
            best = bar.get("best")
            cells = (best or "none", bars.number(r["peers"][best]["us"]) if best else "-", f"{mine['shares'][kind]:.3f}" if best else "-")
            bounds = (f"{bar['share']:.2f}" if kind == "must" else "", f"{r['aim']['share']:.2f}" if kind == "aim" or bar["peers"] == r["aim"]["peers"] else "")
            head = ("", "", "") if shown else (r["row"], bars.number(mine["us"]), f"{r['flop'] / mine['us'] / 1e6:.0f}")
            tail = ("",) * 3 if shown else (r["verdict"] or "-", f"{r['meter']['mhz']:.0f}" if r["meter"] else "-", mine["schedule"])
            yield head + cells + bounds + tail
            shown = True
