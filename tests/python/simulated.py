"""kiln.torch's launches on the simulator: torch tensors in host memory, copied to the device and back around each launch. What runs is
the package's own code (keys, plans, packing, settings) and the kernels; only torch's allocator and stream are not CUDA's."""
import ctypes

import torch

import kiln
from kiln import _lib, plan, tensors
from kiln.torch import _core, _fp8


def _reach(shape, strides):
    return sum((n - 1) * s for n, s in zip(shape, strides)) + 1 if all(shape) else 0


def empty(shape, strides, dtype):
    return torch.empty_strided(shape, strides, dtype=dtype)


class Simulator:
    """launch(op) gives the op's launch function on this device."""

    def __init__(self, where):
        self.device, self.known, self.launches = kiln.device(where), {}, {}
        self.somewhere = self.device.empty(4096, "u8")
        _core.where = lambda _: self.device
        _core.view, _core.launch_parts, _core.current_stream, _core.empty = self.view, self.call, lambda _: None, empty
        _core.plan = _fp8.plan = self  # Plan and explain, as kiln.plan has them
        self.explain = plan.explain

    def Plan(self, *args):
        made = plan.Plan(*args)
        self.known[made.handle] = (made, [(v.shape, v.strides, v.dtype) for v in made.views])
        return made

    def view(self, x, shape=None, strides=None):
        """Sizes only; what is not aligned says so by an address."""
        odd = x.data_ptr() & 15
        return tensors.View(self.somewhere.pointer + odd if odd else 0, tensors.torch_dtype_name(x.dtype), x.shape if shape is None else shape,
                            x.stride() if strides is None else strides, x)

    def launch(self, op):
        if op.name not in self.launches:
            self.launches[op.name] = _core.make_launch(op, call=self.call, stream=lambda _: None, MANY=False, empty=empty)
        return self.launches[op.name]

    def call(self, handle, packed, scalars, scratch, stream):
        """kiln_launch_parts with host addresses: memory that overlaps on the host is one piece of device memory."""
        made, kinds = self.known[handle.value]
        addresses = [int.from_bytes(packed[8 * i:8 * i + 8], "little") for i in range(len(kinds))]
        spans = sorted((a, a + _reach(s, st) * tensors.BYTES[d]) for a, (s, st, d) in zip(addresses, kinds) if _reach(s, st))
        pieces = []
        for begin, end in spans:
            begin &= ~255
            if pieces and begin < pieces[-1][1]:
                pieces[-1][1] = max(pieces[-1][1], end)
            else:
                pieces.append([begin, end])
        held = []
        for begin, end in pieces:
            memory = self.device.empty(end - begin, "u8")
            first = min(a for a, _ in spans if begin <= a < end)
            _lib.check(_lib.LIB.kiln_upload(self.device.handle, memory.pointer + first - begin, first, end - first))
            held.append((begin, end, memory))
        moved = []
        for a, (shape, strides, _) in zip(addresses, kinds):
            at = next(((b, m) for b, e, m in held if b <= a < e), None)
            moved.append(at[1].pointer + a - at[0] if at and _reach(shape, strides) else 0)
        buffer = self.device.empty(made.workspace_bytes, "u8") if scratch else None
        status = _lib.LIB.kiln_launch_parts(made.handle, made.pack(*moved), scalars, buffer and buffer.pointer, None)
        if not status:
            _lib.check(_lib.LIB.kiln_sync(self.device.handle))
            for begin, end in spans:  # not whole pieces: between tensors lies what the allocator may have changed meanwhile
                at, memory = next((b, m) for b, e, m in held if b <= begin < e)
                _lib.check(_lib.LIB.kiln_download(self.device.handle, begin, memory.pointer + begin - at, end - begin))
        return status


assert ctypes.sizeof(ctypes.c_void_p) == 8
