/* number.c - see number.h. The small floats share one encoder and one decoder, driven by a table of formats. */
#include "number.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct Format {
  uint8_t bytes, exponent, mantissa; /* widths in bits; exponent 0: an integer */
  bool has_inf;
  double largest;                    /* largest finite value; of integers: largest value */
  uint64_t poison;
} Format;

static const Format formats[] = {
    [KILN_F64] = {8, 11, 52, true, DBL_MAX, 0xFFF5A5A5A5A5A5A5u},
    [KILN_F32] = {4, 8, 23, true, FLT_MAX, 0xFFE5A5A5u},
    [KILN_F16] = {2, 5, 10, true, 65504.0, 0xFEA5u},
    [KILN_BF16] = {2, 8, 7, true, 0x1.FEp127, 0xFFE5u},
    [KILN_E4M3] = {1, 4, 3, false, 448.0, 0xFFu},
    [KILN_E5M2] = {1, 5, 2, true, 57344.0, 0xFFu},
    [KILN_I64] = {8, 0, 63, false, 0x1p63, 0xA5A5A5A5A5A5A5A5u},
    [KILN_I32] = {4, 0, 31, false, 2147483647.0, 0xA5A5A5A5u},
    [KILN_I16] = {2, 0, 15, false, 32767.0, 0xA5A5u},
    [KILN_I8] = {1, 0, 7, false, 127.0, 0xA5u},
    [KILN_U8] = {1, 0, 8, false, 255.0, 0xA5u},
    [KILN_BOOL] = {1, 0, 1, false, 1.0, 0xA5u},
};

static const Format *format_of(kiln_dtype t) {
  if ((unsigned)t >= sizeof formats / sizeof formats[0] || !formats[t].bytes) return NULL;
  return &formats[t];
}

size_t number_bytes(kiln_dtype t) {
  const Format *f = format_of(t);
  return f ? f->bytes : 0;
}

bool number_is_float(kiln_dtype t) {
  const Format *f = format_of(t);
  return f && f->exponent > 0;
}

/* ---- floats of 8 and 16 bits ---- */

static int bias_of(const Format *f) { return (1 << (f->exponent - 1)) - 1; }

static double decode(const Format *f, uint32_t bits) {
  int mantissa = f->mantissa, top = (1 << f->exponent) - 1;
  uint32_t fraction = bits & ((1u << mantissa) - 1u);
  int exponent = (int)(bits >> mantissa) & top;
  double sign = (bits >> (mantissa + f->exponent)) & 1 ? -1.0 : 1.0;
  if (exponent == top && f->has_inf) return fraction ? NAN : sign * INFINITY;
  if (exponent == top && !f->has_inf && fraction == (1u << mantissa) - 1u) return NAN;
  if (exponent == 0) return sign * ldexp(fraction, 1 - bias_of(f) - mantissa);
  return sign * ldexp((double)(fraction + (1u << mantissa)), exponent - bias_of(f) - mantissa);
}

/* Rounds once, from double: going through float first would round twice. */
static double round_to(const Format *f, double x) {
  if (x == 0 || !isfinite(x)) return x;
  int exponent;
  frexp(x, &exponent); /* |x| in [2^(exponent-1), 2^exponent) */
  int lowest = 1 - bias_of(f);
  int unit = (exponent - 1 < lowest ? lowest : exponent - 1) - f->mantissa;
  double r = ldexp(nearbyint(ldexp(x, -unit)), unit);
  if (fabs(r) <= f->largest) return r;
  return f->has_inf ? copysign(INFINITY, x) : NAN;
}

/* A normal number that stays one: the double's own bits, rounded at the narrower mantissa and with the exponent moved. */
static bool encode_normal(const Format *f, double x, uint32_t *bits) {
  uint64_t d;
  memcpy(&d, &x, 8);
  int shift = 52 - f->mantissa;
  uint64_t rounded = (d & ~(1ull << 63)) + (1ull << (shift - 1)) - 1 + (d >> shift & 1);
  int64_t biased = (int64_t)(rounded >> 52) - 1023 + bias_of(f);
  if (biased < 1 || biased >= (1 << f->exponent) - 1) return false;
  uint64_t moved = (rounded >> shift) - ((uint64_t)(1023 - bias_of(f)) << f->mantissa);
  *bits = (uint32_t)(d >> 63) << (f->mantissa + f->exponent) | (uint32_t)moved;
  return true;
}

static uint32_t encode(const Format *f, double x) {
  int mantissa = f->mantissa;
  uint32_t sign = (signbit(x) ? 1u : 0u) << (mantissa + f->exponent), top = (1u << f->exponent) - 1u, bits;
  if (encode_normal(f, x, &bits)) return bits;
  double r = round_to(f, x);
  if (isnan(r)) return f->has_inf ? (top << mantissa) | (1u << (mantissa - 1)) : (top << mantissa) | ((1u << mantissa) - 1u);
  if (isinf(r)) return sign | top << mantissa;
  if (r == 0) return sign;
  int exponent;
  frexp(r, &exponent);
  int biased = exponent - 1 + bias_of(f);
  if (biased < 1) return sign | (uint32_t)ldexp(fabs(r), mantissa - (1 - bias_of(f)));
  uint32_t whole = (uint32_t)ldexp(fabs(r), mantissa - (exponent - 1)); /* with the hidden bit */
  return sign | (uint32_t)biased << mantissa | (whole - (1u << mantissa));
}

/* ---- fast ways for the types that carry nearly all elements ---- */

static double load_bf16(const void *at) {
  uint16_t h;
  memcpy(&h, at, 2);
  uint32_t w = (uint32_t)h << 16;
  float x;
  memcpy(&x, &w, 4);
  return x;
}

/* The exponent is moved up by multiplying with 2^112, which also normalises subnormals; infinities and NaN are patched. */
static double load_f16(const void *at) {
  uint16_t h;
  memcpy(&h, at, 2);
  uint32_t w = (uint32_t)(h & 0x7FFF) << 13;
  float x;
  memcpy(&x, &w, 4);
  double r = (double)x * 0x1p112;
  if ((h & 0x7C00) == 0x7C00) r = h & 0x3FF ? NAN : INFINITY;
  return h & 0x8000 ? -r : r;
}

double number_load(kiln_dtype t, const void *at) {
  union { double d; float f; int64_t l; int32_t i; int16_t s; int8_t c; uint8_t u; } w;
  switch (t) {
  case KILN_F32: memcpy(&w, at, 4); return w.f;
  case KILN_BF16: return load_bf16(at);
  case KILN_F16: return load_f16(at);
  case KILN_F64: memcpy(&w, at, 8); return w.d;
  case KILN_I64: memcpy(&w, at, 8); return (double)w.l;
  case KILN_I32: memcpy(&w, at, 4); return w.i;
  case KILN_I16: memcpy(&w, at, 2); return w.s;
  case KILN_I8: memcpy(&w, at, 1); return w.c;
  case KILN_U8: case KILN_BOOL: memcpy(&w, at, 1); return w.u;
  case KILN_E4M3: case KILN_E5M2: memcpy(&w, at, 1); return decode(format_of(t), w.u);
  case KILN_NO_DTYPE: break;
  }
  return NAN;
}

static int64_t clamp_integer(const Format *f, double x) {
  if (isnan(x)) return 0;
  double low = f->poison == 0xA5u && f->mantissa != 7 ? 0 : -f->largest - 1; /* u8 and bool begin at 0 */
  if (f->bytes == 8 && x >= 0x1p63) return INT64_MAX;
  if (f->bytes == 8 && x <= -0x1p63) return INT64_MIN;
  if (x < low) x = low;
  if (x > f->largest) x = f->largest;
  return (int64_t)x;
}

void number_store(kiln_dtype t, void *at, double x) {
  const Format *f = format_of(t);
  if (!f) return;
  if (t == KILN_F64) {
    memcpy(at, &x, 8);
  } else if (t == KILN_F32) {
    float y = (float)x;
    memcpy(at, &y, 4);
  } else if (f->exponent) {
    uint16_t bits = (uint16_t)encode(f, x);
    memcpy(at, &bits, f->bytes);
  } else {
    int64_t i = clamp_integer(f, x);
    memcpy(at, &i, f->bytes); /* little-endian, as every machine that CUDA runs on */
  }
}

double number_round(kiln_dtype t, double x) {
  const Format *f = format_of(t);
  if (!f || t == KILN_F64) return x;
  if (t == KILN_F32) return (float)x;
  return f->exponent ? round_to(f, x) : (double)clamp_integer(f, x);
}

double number_unit(kiln_dtype t) {
  const Format *f = format_of(t);
  return f && f->exponent ? ldexp(1, -f->mantissa - 1) : 0;
}

double number_tiny(kiln_dtype t) {
  const Format *f = format_of(t);
  return f && f->exponent ? ldexp(1, 1 - bias_of(f) - f->mantissa - 1) : 0;
}

double number_largest(kiln_dtype t) {
  const Format *f = format_of(t);
  return f ? f->largest : 0;
}

uint64_t number_poison(kiln_dtype t) {
  const Format *f = format_of(t);
  return f ? f->poison : 0;
}

uint64_t number_bits(kiln_dtype t, const void *at) {
  uint64_t bits = 0;
  memcpy(&bits, at, number_bytes(t));
  return bits;
}

void number_fill(kiln_dtype t, void *at, size_t elems, uint64_t bits) {
  size_t bytes = number_bytes(t);
  for (size_t i = 0; i < elems; i++) memcpy((char *)at + i * bytes, &bits, bytes);
}
