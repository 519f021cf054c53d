"""What a tensor is to kiln: an address with dtype, shape and strides. Read off torch tensors, kiln.Array, raw views, and DLPack."""
import ctypes
import operator
from ctypes import c_int, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p

from . import errors
from ._lib import LIB

# The values of kiln_dtype.
NAMES = ("none", "f64", "f32", "f16", "bf16", "e4m3", "e5m2", "i64", "i32", "i16", "i8", "u8", "bool")
CODES = {name: code for code, name in enumerate(NAMES)}
BYTES = {name: LIB.kiln_dtype_bytes(code) for name, code in CODES.items()}
for _name, _code in CODES.items():
    if _code and LIB.kiln_dtype_from_name(_name.encode()) != _code:
        raise ImportError("kiln: libkiln has other dtypes than this package; run ./bootstrap build")

_TORCH = {"torch.float64": "f64", "torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16",
          "torch.float8_e4m3fn": "e4m3", "torch.float8_e5m2": "e5m2", "torch.int64": "i64", "torch.int32": "i32",
          "torch.int16": "i16", "torch.int8": "i8", "torch.uint8": "u8", "torch.bool": "bool"}
_TORCH_SEEN = {}  # torch.dtype -> name, filled as they come

_DLPACK = {(0, 8): "i8", (0, 16): "i16", (0, 32): "i32", (0, 64): "i64", (1, 8): "u8", (2, 16): "f16", (2, 32): "f32",
           (2, 64): "f64", (4, 16): "bf16", (6, 8): "bool", (10, 8): "e4m3", (12, 8): "e5m2"}  # as kiln_dlpack.h has them


class View:
    """An address on a device with dtype, shape and strides (in elements; None: dense row-major). Owns nothing.

    owner  kept alive as long as the view
    """

    __slots__ = ("pointer", "dtype", "shape", "strides", "owner")

    def __init__(self, pointer, dtype, shape, strides=None, owner=None):
        if dtype not in CODES or dtype == "none":
            raise errors.BadDtype("tensor: %r is no dtype; expected one of %s" % (dtype, " ".join(NAMES[1:])))
        self.pointer, self.dtype, self.owner = int(pointer), dtype, owner
        if not 0 <= self.pointer < 1 << 64:
            raise errors.BadPointer("tensor: %d is no address; expected 0 to 2^64 - 1" % self.pointer)
        self.shape = sizes(shape, "tensor")
        self.strides = dense(self.shape) if strides is None else whole(strides, "tensor: a stride", errors.BadStride)
        if len(self.strides) != len(self.shape):
            raise errors.BadRank("tensor has %d strides; expected %d, one for each dim" % (len(self.strides), len(self.shape)))

    def __repr__(self):
        return "kiln.View(%#x, %s, %s, strides=%s)" % (self.pointer, self.dtype, list(self.shape), list(self.strides))


def whole(numbers, what, error):
    """Them as a tuple of integers of 64 bits; never rounded."""
    try:
        numbers = tuple(operator.index(n) for n in numbers)
    except TypeError:
        raise error("%s of %r is no whole number; expected integers" % (what, numbers)) from None
    if any(not -1 << 63 <= n < 1 << 63 for n in numbers):
        raise error("%s of %s has more than 63 bits" % (what, list(numbers)))
    return numbers


def sizes(shape, what):
    """A shape as a tuple of integers from 0 on."""
    shape = whole(shape, what + ": a size", errors.BadSize)
    if any(n < 0 for n in shape):
        raise errors.BadSize("%s: a size of %s is negative; expected sizes from 0 on" % (what, list(shape)))
    return shape


def dense(shape):
    """The strides of a dense row-major tensor."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def torch_dtype_name(dtype):
    """"bf16" of torch.bfloat16; BadDtype for what kiln lacks."""
    name = _TORCH_SEEN.get(dtype)
    if name is None:
        name = _TORCH.get(str(dtype))
        if name is None:
            raise errors.BadDtype("tensor is %s; expected one of %s" % (dtype, " ".join(sorted(_TORCH))))
        _TORCH_SEEN[dtype] = name
    return name


def is_torch(tensor):
    """Whether it is a torch tensor, without importing torch."""
    return type(tensor).__module__.partition(".")[0] == "torch" or (hasattr(tensor, "data_ptr") and hasattr(tensor, "requires_grad"))


def view(tensor, name="", stream=None):
    """A View of whatever can be one. name: for messages."""
    if isinstance(tensor, View):
        return tensor
    if is_torch(tensor):
        if tensor.is_neg():
            raise errors.BadStride("tensor %s: torch keeps its sign beside the memory (is_neg), where kernels do not see it; expected plain memory: "
                                   "x.resolve_neg() makes a copy" % name, tensor=name or None)
        return View(tensor.data_ptr(), torch_dtype_name(tensor.dtype), tensor.shape, tensor.stride(), tensor)
    if hasattr(tensor, "kiln_view"):
        return tensor.kiln_view()
    if type(tensor).__module__.partition(".")[0] == "numpy":
        raise errors.BadPointer("tensor %s: host memory of NumPy; expected device memory: device.array(x) copies it there" % name,
                                tensor=name or None)
    if hasattr(tensor, "__dlpack__"):
        return from_dlpack(tensor, name, stream)
    raise errors.MissingArg("tensor %s is a %s; expected a tensor (torch, kiln.Array, kiln.View, or anything with __dlpack__)"
                            % (name, type(tensor).__name__), tensor=name or None)


# ---- DLPack ----

class _DLTensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32), ("code", c_uint8),
                ("bits", c_uint8), ("lanes", c_uint16), ("shape", ctypes.POINTER(c_int64)), ("strides", ctypes.POINTER(c_int64)),
                ("byte_offset", c_uint64)]


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = c_void_p, (ctypes.py_object, ctypes.c_char_p)


def from_dlpack(tensor, name="", stream=None):
    """A View of an object with __dlpack__, ordered after its producer's work on `stream` (None: the legacy default stream). The
    capsule is never consumed: it is the view's owner, and its own destructor returns what it holds."""
    kind, _ = tensor.__dlpack_device__()
    if int(kind) not in (2, 3, 13):  # kDLCUDA, kDLCUDAHost, kDLCUDAManaged
        raise errors.BadPointer("tensor %s: DLPack device type %d; expected memory of a CUDA device" % (name, kind), tensor=name or None)
    capsule = tensor.__dlpack__(stream=1 if stream is None else stream)
    t = ctypes.cast(_get_pointer(capsule, b"dltensor"), ctypes.POINTER(_DLTensor)).contents
    dtype = _DLPACK.get((t.code, t.bits)) if t.lanes == 1 else None
    if dtype is None:
        raise errors.BadDtype("tensor %s has DLPack type code %d, %d bits, %d lanes; expected one of kiln's dtypes"
                              % (name, t.code, t.bits, t.lanes), tensor=name or None)
    strides = [t.strides[i] for i in range(t.ndim)] if t.strides else None
    return View((t.data or 0) + t.byte_offset, dtype, [t.shape[i] for i in range(t.ndim)], strides, (capsule, tensor))


# ---- for libkiln ----

def as_argument(v):
    """(kiln_tensor, what must stay alive beside it)."""
    from ._lib import Tensor
    rank = len(v.shape)
    shape, strides = (c_int64 * rank)(*v.shape), (c_int64 * rank)(*v.strides)
    return Tensor(v.pointer or None, c_int(CODES[v.dtype]), rank, shape, strides), (shape, strides, v.owner)
