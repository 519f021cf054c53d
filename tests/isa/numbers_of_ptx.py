"""numbers_of_ptx.py - exact arithmetic on the formats of PTX, for make.py: a value is (sign, magnitude), the magnitude a Fraction, "inf" or
"nan". Every operation is exact, and `encode` rounds once. Written from IEEE 754 and the PTX manual; shares nothing with the simulator."""
import functools
import math
from fractions import Fraction

NAN = (0, "nan")


class Format:
    def __init__(self, bits, exponent, mantissa, infinity=True):
        self.bits, self.exponent, self.mantissa, self.infinity = bits, exponent, mantissa, infinity
        self.bias = (1 << (exponent - 1)) - 1
        self.top = (1 << exponent) - 1  # the exponent field of infinities and NaNs, where the format has them
        self.sign = 1 << (exponent + mantissa)
        if infinity:
            self.largest = (self.top << mantissa) - 1
        else:
            self.largest = (self.top << mantissa | ((1 << mantissa) - 1)) - 1  # e4m3: all ones is the only NaN
        self.nan = self.sign - 1

    @functools.lru_cache(None)
    def decode(self, word):
        sign, field = word >> (self.exponent + self.mantissa) & 1, word >> self.mantissa & self.top
        fraction = word & ((1 << self.mantissa) - 1)
        if self.infinity and field == self.top:
            return (0, "nan") if fraction else (sign, "inf")
        if not self.infinity and (word & (self.sign - 1)) == self.nan:
            return NAN
        if field == 0:
            return (sign, Fraction(fraction) * Fraction(2) ** (1 - self.bias - self.mantissa))
        return (sign, Fraction(fraction | 1 << self.mantissa) * Fraction(2) ** (field - self.bias - self.mantissa))

    @functools.lru_cache(None)
    def encode(self, value, mode="rn", saturate=False):
        """The nearest word: modes rn rna rz rm rp. Overflow gives what the mode says, or the largest with `saturate`."""
        sign, size = value
        high = self.sign if sign else 0
        if size == "nan":
            return self.nan
        if size == "inf":
            return high | (self.largest if saturate or not self.infinity else self.top << self.mantissa)
        if size == 0:
            return high
        scale = max(exponent_of(size), 1 - self.bias) - self.mantissa  # of the last place
        units = size / Fraction(2) ** scale
        whole = round_units(units, mode, sign)
        word = whole + ((scale + self.mantissa + self.bias - 1) << self.mantissa) if whole >= 1 << self.mantissa else whole
        if word > self.largest:
            toward_zero = mode == "rz" or (mode == "rm" and not sign) or (mode == "rp" and sign)
            word = self.largest if saturate or toward_zero or not self.infinity else self.top << self.mantissa
        return high | word

    def flush(self, value):
        return (value[0], Fraction(0)) if is_finite(value) and value[1] < Fraction(2) ** (1 - self.bias) else value


def exponent_of(size):
    e = size.numerator.bit_length() - size.denominator.bit_length()
    return e if size >= Fraction(2) ** e else e - 1


def round_units(units, mode, sign):
    whole = units.numerator // units.denominator
    rest = units - whole
    half = Fraction(1, 2)
    up = {"rn": rest > half or (rest == half and whole & 1), "rna": rest >= half, "rz": False,
          "rm": sign and rest > 0, "rp": not sign and rest > 0}[mode]
    return whole + 1 if up else whole


F16, BF16, F32, F64 = Format(16, 5, 10), Format(16, 8, 7), Format(32, 8, 23), Format(64, 11, 52)
TF32, E4M3, E5M2 = Format(19, 8, 10), Format(8, 4, 3, infinity=False), Format(8, 5, 2)
FORMATS = {"f16": F16, "bf16": BF16, "f32": F32, "f64": F64, "e4m3": E4M3, "e5m2": E5M2}


def is_nan(v):
    return v[1] == "nan"


def is_finite(v):
    return not isinstance(v[1], str)


def signed(v):
    return -v[1] if v[0] else v[1]


def of_fraction(x, zero_sign=0):
    x = Fraction(x)
    return (zero_sign, x) if x == 0 else (1, -x) if x < 0 else (0, x)


def negate(v):
    return v if is_nan(v) else (1 - v[0], v[1])


def add(a, b):
    if is_nan(a) or is_nan(b):
        return NAN
    if a[1] == "inf" or b[1] == "inf":
        if a[1] == b[1] == "inf" and a[0] != b[0]:
            return NAN
        return a if a[1] == "inf" else b
    return of_fraction(signed(a) + signed(b), 1 if a[0] and b[0] else 0)  # x - x is +0 when rounding to nearest


def multiply(a, b):
    if is_nan(a) or is_nan(b):
        return NAN
    sign = a[0] ^ b[0]
    if a[1] == "inf" or b[1] == "inf":
        return NAN if a[1] == 0 or b[1] == 0 else (sign, "inf")
    return (sign, a[1] * b[1])


def divide(a, b):
    if is_nan(a) or is_nan(b):
        return NAN
    sign = a[0] ^ b[0]
    if a[1] == "inf":
        return NAN if b[1] == "inf" else (sign, "inf")
    if b[1] == "inf":
        return (sign, Fraction(0))
    if b[1] == 0:
        return NAN if a[1] == 0 else (sign, "inf")
    return (sign, a[1] / b[1])


def square_root(a):
    """To 140 bits and a sticky one: enough for one correct rounding to any format here."""
    if is_nan(a) or (a[0] and a[1] != 0):
        return NAN
    if a[1] == "inf" or a[1] == 0:
        return a
    shift = 2 * (140 + abs(exponent_of(a[1])))
    scaled = a[1] * 2**shift
    whole = scaled.numerator // scaled.denominator
    root = math.isqrt(whole)
    sticky = 0 if root * root == scaled else Fraction(1, 2)
    return (0, (root + sticky) / Fraction(2) ** (shift // 2))


def of_float(x):
    """A Python float, for what is only known to double precision."""
    if math.isnan(x):
        return NAN
    sign = 1 if math.copysign(1, x) < 0 else 0
    return (sign, "inf") if math.isinf(x) else (sign, abs(Fraction(x)))


def to_float(v):
    if is_nan(v):
        return math.nan
    size = math.inf if v[1] == "inf" else float(v[1])
    return -size if v[0] else size


def less(a, b):
    """Of two that are no NaN; -0 is below +0."""
    def key(v):
        size = signed(v) if is_finite(v) else (-1 if v[0] else 1) * Fraction(2) ** 5000
        return (size, 0 if v[0] else 1)
    return key(a) < key(b)


def equal(a, b):
    return a[1] == b[1] and (a[0] == b[0] or a[1] == 0)
