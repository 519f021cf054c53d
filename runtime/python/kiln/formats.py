"""NumPy beside kiln's dtypes: bf16 is kept in uint16, e4m3 and e5m2 in uint8, and converted here by rounding to nearest even."""
from . import errors, tensors

STORAGE = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "uint16", "e4m3": "uint8", "e5m2": "uint8", "i64": "int64",
           "i32": "int32", "i16": "int16", "i8": "int8", "u8": "uint8", "bool": "bool"}
_PLAIN = {storage: name for name, storage in STORAGE.items() if name not in ("bf16", "e4m3", "e5m2")}
_tables = {}


def _values(dtype):
    """The 256 values of an 8-bit float: e4m3 has no infinity and one NaN per sign, e5m2 is like IEEE."""
    import numpy
    if dtype in _tables:
        return _tables[dtype]
    exponent_bits, mantissa_bits, bias = (4, 3, 7) if dtype == "e4m3" else (5, 2, 15)
    table = numpy.empty(256, numpy.float32)
    for code in range(256):
        sign = -1.0 if code & 0x80 else 1.0
        exponent, mantissa = code >> mantissa_bits & ((1 << exponent_bits) - 1), code & ((1 << mantissa_bits) - 1)
        if dtype == "e4m3" and code & 0x7f == 0x7f:
            value = float("nan")
        elif dtype == "e5m2" and exponent == 31:
            value = float("nan") if mantissa else float("inf")
        elif exponent == 0:
            value = mantissa * 2.0 ** (1 - bias - mantissa_bits)
        else:
            value = (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)
        table[code] = sign * value
    _tables[dtype] = table
    return table


def _encode_bf16(x):
    import numpy
    bits = numpy.ascontiguousarray(x, numpy.float32).view(numpy.uint32)
    rounded = (bits + (((bits >> 16) & 1) + numpy.uint32(0x7fff))) >> 16
    return numpy.where(numpy.isnan(x), (bits >> 16) | 0x40, rounded).astype(numpy.uint16)


def _encode_8(x, dtype):
    """Nearest, ties to the even code; what is beyond the largest number becomes it (satfinite), NaN stays NaN."""
    import numpy
    last = 0x7e if dtype == "e4m3" else 0x7b
    positive = _values(dtype)[:last + 1].astype(numpy.float64)
    x = numpy.asarray(x, numpy.float64)
    size = numpy.minimum(numpy.abs(numpy.nan_to_num(x, nan=0.0, posinf=1e30, neginf=-1e30)), positive[-1])
    above = numpy.clip(numpy.searchsorted(positive, size), 1, last)
    below = above - 1
    down, up = size - positive[below], positive[above] - size
    code = numpy.where((down < up) | ((down == up) & (below % 2 == 0)), below, above)
    code = numpy.where(numpy.isnan(x), 0x7f if dtype == "e4m3" else 0x7e, code)
    return (code | numpy.where(numpy.signbit(x), 0x80, 0)).astype(numpy.uint8)


def encode(values, dtype=None):
    """(a contiguous NumPy array of the storage type, kiln's dtype)."""
    import numpy
    values = numpy.asarray(values)
    if dtype is None:
        dtype = _PLAIN.get(values.dtype.name)
        if dtype is None:
            raise errors.BadDtype("array is %s of NumPy; expected %s, or a dtype of kiln beside it" % (values.dtype, " ".join(sorted(_PLAIN))))
    if dtype not in STORAGE:
        raise errors.BadDtype("array: %r is no dtype; expected one of %s" % (dtype, " ".join(tensors.NAMES[1:])))
    if dtype == "bf16" and values.dtype != numpy.uint16:
        values = _encode_bf16(values.astype(numpy.float32))
    elif dtype in ("e4m3", "e5m2") and values.dtype != numpy.uint8:
        values = _encode_8(values, dtype)
    return numpy.ascontiguousarray(values, STORAGE[dtype]).reshape(values.shape), dtype


def decode(codes, dtype):
    """The values that codes stand for: float32 where NumPy lacks the dtype."""
    import numpy
    if dtype == "bf16":
        return (codes.astype(numpy.uint32) << 16).view(numpy.float32)
    if dtype in ("e4m3", "e5m2"):
        return _values(dtype)[codes]
    return codes
