"""Devices, and arrays on them for programs without a framework (NumPy on the simulator, or on a GPU)."""
import ctypes
import threading

from . import errors, formats, tensors
from ._lib import COMMAND_PATH, LIB, DeviceInfo, check

_FIELDS = [name for name, _ in DeviceInfo._fields_]


class Device:
    """A device as kiln_open takes it: "cuda:0", "current", "sim:sm_90a,sms=4", or None for the first GPU.

    provider  True: what is missing is emitted by the command `kiln emit` as a child process, and kept below ~/.cache/kiln
              (kiln_emit_provider); a path: by that command; False: only what add() has added
    """

    def __init__(self, where=None, provider=True):
        handle = ctypes.c_void_p()
        check(LIB.kiln_open(ctypes.byref(handle), None if where is None else str(where).encode()))
        self.handle, self.where, self._place = handle.value, where, None
        if provider:
            path = COMMAND_PATH if provider is True else provider
            self._command = None if path is None else ctypes.create_string_buffer(str(path).encode())
            check(LIB.kiln_set_provider(self.handle, ctypes.cast(LIB.kiln_emit_provider, ctypes.c_void_p),
                                        self._command and ctypes.cast(self._command, ctypes.c_void_p)))

    def close(self):
        """Gives the device up; plans that still exist keep what they need."""
        handle, self.handle = self.handle, None
        if handle:
            LIB.kiln_close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def add(self, path):
        """Adds a .ptx file, or every .ptx below a folder."""
        check(LIB.kiln_add(self.handle, str(path).encode()))

    def add_text(self, name, text):
        """Adds PTX from memory; name is what messages call it."""
        data = text if isinstance(text, bytes) else text.encode()
        check(LIB.kiln_add_text(self.handle, name.encode(), data, len(data)))

    @property
    def info(self):
        """kiln_device_info as a dict: name, target, sms, memory_bytes, bandwidth_bytes_ns and the rest."""
        info = DeviceInfo()
        check(LIB.kiln_device_query(self.handle, ctypes.byref(info)))
        values = {name: getattr(info, name) for name in _FIELDS}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}

    @property
    def place(self):
        """What memory belongs to: (1 for a simulated device, the driver's number). Two Devices may be of one."""
        if self._place is None:
            info = self.info
            self._place = (info["simulated"], info["ordinal"])
        return self._place

    def sync(self):
        """Waits for all work of the device; a kernel's failure shows here."""
        check(LIB.kiln_sync(self.handle))

    def empty(self, shape, dtype="f32"):
        """An Array whose elements are not set."""
        return Array(self, shape, dtype)

    def array(self, values, dtype=None):
        """An Array with the values of a NumPy array (or what becomes one). dtype: kiln's name; None: that of the values. bf16, e4m3
        and e5m2, which NumPy lacks, are rounded from floats, or taken as codes from uint16 and uint8."""
        codes, dtype = formats.encode(values, dtype)
        array = Array(self, codes.shape, dtype)
        if codes.nbytes:
            check(LIB.kiln_upload(self.handle, array.pointer, codes.ctypes.data, codes.nbytes))
        return array

    def __repr__(self):
        return "kiln.Device(%r)" % (self.where,)


class Array:
    """Memory on a device with dtype, shape and strides; freed when nothing refers to it. Views share it."""

    def __init__(self, device, shape, dtype="f32", strides=None, base=None, offset=0):
        shape = tensors.sizes((shape,) if isinstance(shape, int) else shape, "array")
        if dtype not in tensors.CODES or dtype == "none":
            raise errors.BadDtype("array: %r is no dtype; expected one of %s" % (dtype, " ".join(tensors.NAMES[1:])))
        self.device, self.shape, self.dtype = device, shape, dtype
        self.strides = tensors.dense(shape) if strides is None else tensors.whole(strides, "array: a stride", errors.BadStride)
        self.offset, self.base, element = offset, base, tensors.BYTES[dtype]
        self._owned = None
        if base is None:
            self.elements = _product(shape)
            if self.elements * element >= 1 << 63:
                raise errors.BadSize("array: %s of %s has %d bytes; expected fewer than 2^63" % (dtype, list(shape), self.elements * element))
            pointer = ctypes.c_void_p()
            check(LIB.kiln_malloc(device.handle, ctypes.byref(pointer), self.elements * element))
            self._owned = self.pointer = pointer.value or 0
        else:
            reach = offset + sum((n - 1) * s for n, s in zip(shape, self.strides)) + 1 if _product(shape) else offset
            if offset < 0 or min(self.strides, default=0) < 0 or reach > base.elements:
                raise errors.BadSize("view: it reaches element %d; expected 0 to %d" % (reach, base.elements))
            self.elements, self.pointer = base.elements, base.pointer + offset * element if base.pointer else 0

    def strided(self, shape, strides, offset=0):
        """A view: shape, strides and first element (of the whole memory) as given."""
        root = self.base or self
        return Array(self.device, shape, self.dtype, strides, root, offset)

    def codes(self):
        """The elements as NumPy holds them: bf16 as uint16, e4m3 and e5m2 as uint8."""
        import numpy
        root = self.base or self
        host = numpy.empty(root.elements, formats.STORAGE[self.dtype])
        if host.nbytes:
            check(LIB.kiln_download(self.device.handle, host.ctypes.data, root.pointer, host.nbytes))
        item = host.itemsize
        return numpy.ndarray(self.shape, host.dtype, host.data, self.offset * item, [s * item for s in self.strides]).copy()

    def numpy(self):
        """The elements as a NumPy array; bf16, e4m3 and e5m2 come as float32 of the same values."""
        return formats.decode(self.codes(), self.dtype)

    def kiln_view(self):
        return tensors.View(self.pointer, self.dtype, self.shape, self.strides, self)

    def __del__(self):
        pointer, self._owned = getattr(self, "_owned", None), None
        if pointer and self.device.handle:
            LIB.kiln_free(self.device.handle, pointer)

    def __repr__(self):
        return "kiln.Array(%s, %s, on %r)" % (list(self.shape), self.dtype, self.device.where)


def _product(shape):
    n = 1
    for size in shape:
        n *= size
    return n


_opened = {}
_lock = threading.Lock()


def device(where=None):
    """The one Device of a name, opened at its first use: of "cuda:0", a number, a torch.device, or a Device itself."""
    if isinstance(where, Device):
        return where
    if isinstance(where, int):
        where = "cuda:%d" % where
    elif where is not None and not isinstance(where, str):
        where = "%s:%d" % (where.type, where.index or 0)
    with _lock:
        found = _opened.get(where)
        if found is None or not found.handle:
            found = _opened[where] = Device(where)
        return found
