"""kiln: kernels from tile descriptions, through libkiln.

    import kiln, numpy as np
    dev = kiln.Device("sim:sm_90a")                 # or "cuda:0"
    x = dev.array(np.ones((4, 8), np.float32))
    y = dev.empty(x.shape)
    kiln.Plan(dev, "rms_norm", {"x": x, "y": y}, scalars={"eps": 1e-6})()
    y.numpy()

kiln.torch has the ops as functions of torch tensors, with gradients; kiln.nn has them as modules. docs/python.md is the manual.
"""
from . import errors
from ._cache import cache, clear
from ._lib import COMMAND_PATH, LIB, LIBRARY_PATH
from .device import Array, Device, device
from .errors import *  # noqa: F401,F403 - an exception for each status
from .errors import KilnError
from .plan import Plan, Step, Verdict, explain
from .rotary import axial_rope_table
from .tensors import View, from_dlpack

__version__ = LIB.kiln_version().decode()
__all__ = ["Array", "COMMAND_PATH", "Device", "KilnError", "LIBRARY_PATH", "Plan", "Step", "Verdict", "View", "__version__",
           "axial_rope_table", "cache", "clear", "device", "errors", "explain", "from_dlpack"] + [c.__name__ for c in errors.BY_STATUS.values()]
