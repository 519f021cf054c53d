"""kiln's ops on torch tensors: custom ops with gradients, for eager calls, torch.compile and torch.amp, on the current stream.

    import kiln.torch as kt
    y = kt.rms_norm(x, w, eps=1e-6)

Tensors on a GPU go to kiln's kernels, whose plans are kept by everything that specialises them (kiln.cache, kiln.clear); tensors
elsewhere to plain torch mathematics. The ops are also there as torch.ops.kiln.NAME, with NAME_grad for the gradients.
"""
import torch as _torch

if tuple(int(n) for n in _torch.__version__.split("+")[0].split(".")[:2]) < (2, 5):
    raise ImportError("kiln.torch: torch is %s; expected 2.5 or newer" % _torch.__version__)

from .. import rotary as _rotary
from ._functions import make_all as _make_all

_made = _make_all()
globals().update(_made)
from ._fp8 import dequantize_fp8, quantize_fp8  # noqa: E402 - its ops join the library that the line before made
from ._products import gated_mlp, gemm, linear  # noqa: E402
from ._fp8_products import fp8_gemm, fp8_linear  # noqa: E402


def axial_rope_table(base, rows, cols, dim, device=None, dtype=_torch.float32):
    """(cos, sin) of a grid of patches, (rows * cols, dim / 2): an entry per pair, for table="pair" (kiln.axial_rope_table has the formula)."""
    turned = _torch.tensor(_rotary.angles(base, rows, cols, dim), dtype=_torch.float64).reshape(rows * cols, dim // 2)
    return turned.cos().to(device, dtype), turned.sin().to(device, dtype)


__all__ = sorted(_made) + ["axial_rope_table", "dequantize_fp8", "fp8_gemm", "fp8_linear", "gated_mlp", "gemm", "linear", "quantize_fp8"]
