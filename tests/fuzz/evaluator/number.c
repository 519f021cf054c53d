/* number.c - see number.h. */
#include "number.h"
#include <math.h>
#include <string.h>

const Format format_f16 = {10, -14, 15, 16, 0x7fff, 0x7bff, true}, format_bf16 = {7, -126, 127, 16, 0x7fff, 0x7f7f, true},
             format_f32 = {23, -126, 127, 32, 0x7fffffff, 0x7f7fffff, true},
             format_f64 = {52, -1022, 1023, 64, 0x7fffffffffffffff, 0x7fefffffffffffff, true},
             format_e4m3 = {3, -6, 8, 8, 0x7f, 0x7e, false}, format_e5m2 = {2, -14, 15, 8, 0x7f, 0x7b, true};

double double_of(uint64_t bits) {
  double x;
  memcpy(&x, &bits, 8);
  return x;
}
uint64_t bits_of_double(double x) {
  uint64_t bits;
  memcpy(&bits, &x, 8);
  return x != x ? format_f64.nan : bits;
}

static int sign_of(double x) { return (x > 0) - (x < 0); }

Exact exact_of(double x) { return (Exact){x, 0}; }

Exact exact_sum(double x, double y) { /* Knuth's two-sum */
  double s = x + y, b = s - x, error = (x - (s - b)) + (y - b);
  return (Exact){s, isfinite(s) ? sign_of(error) : 0};
}

Exact exact_quotient(double x, double y) {
  double q = x / y;
  if (!isfinite(q) || q == 0) return (Exact){q, 0};
  return (Exact){q, sign_of(fma(-q, y, x)) * sign_of(y)};
}

Exact exact_root(double x) {
  double r = sqrt(x);
  return (Exact){r, isfinite(r) ? sign_of(fma(-r, r, x)) : 0};
}

Exact exact_integer(__int128 v) {
  double x = (double)v;
  __int128 back = (__int128)x;
  return (Exact){x, (v > back) - (v < back)};
}

static uint64_t sign_bit(const Format *f) { return (uint64_t)1 << (f->bits - 1); }
static uint64_t exponent_mask(const Format *f) { return ((uint64_t)1 << (f->bits - 1)) - ((uint64_t)1 << f->mantissa); }

bool number_is_nan(const Format *f, uint64_t bits) {
  uint64_t magnitude = bits & (sign_bit(f) - 1);
  return f->infinite ? magnitude > exponent_mask(f) : magnitude == f->nan;
}

uint64_t number_flush(const Format *f, uint64_t bits) { return bits & exponent_mask(f) ? bits : bits & sign_bit(f); }

double number_value(const Format *f, uint64_t bits) {
  if (f->bits == 64) return double_of(bits);
  uint64_t magnitude = bits & (sign_bit(f) - 1);
  double v;
  if (number_is_nan(f, bits)) return NAN;
  if (f->infinite && magnitude == exponent_mask(f)) v = INFINITY;
  else {
    int e = (int)(magnitude >> f->mantissa);
    double m = (double)(magnitude & (((uint64_t)1 << f->mantissa) - 1));
    v = e ? ldexp(m + ldexp(1, f->mantissa), e - 1 + f->emin - f->mantissa) : ldexp(m, f->emin - f->mantissa);
  }
  return bits & sign_bit(f) ? -v : v;
}

/* |x| in steps of 2^q, rounded: the whole part, one more or one less, by what is left over (a tail counts as a little more or less) */
static double whole_steps(Exact x, int q, Rounding how) {
  bool minus = signbit(x.at);
  double scaled = ldexp(fabs(x.at), -q), whole = floor(scaled), rest = scaled - whole;
  int tail = minus ? -x.tail : x.tail; /* away from zero: 1 */
  if (rest == 0 && tail < 0) whole -= 1, rest = 0.75; /* just below a step: certainly above the half */
  else if (rest == 0 && tail > 0) rest = 0.25;
  else if (rest == 0.5 && tail) rest += 0.25 * tail;
  if (rest == 0) return whole;
  switch (how) {
  case TO_ZERO: return whole;
  case TO_MINUS: return whole + minus;
  case TO_PLUS: return whole + !minus;
  case TO_AWAY: return whole + (rest >= 0.5);
  default: return whole + (rest > 0.5 || (rest == 0.5 && fmod(whole, 2) != 0));
  }
}

static uint64_t overflow(const Format *f, bool minus, Rounding how) {
  uint64_t sign = minus ? sign_bit(f) : 0;
  bool stays = how == TO_ZERO || (how == TO_MINUS && !minus) || (how == TO_PLUS && minus);
  if (stays) return sign | f->most;
  return f->infinite ? sign | exponent_mask(f) : f->nan;
}

uint64_t number_round(const Format *f, Exact x, Rounding how) {
  bool minus = signbit(x.at);
  uint64_t sign = minus ? sign_bit(f) : 0;
  int e;
  if (x.at != x.at) return f->nan;
  if (isinf(x.at)) return f->infinite ? sign | exponent_mask(f) : f->nan;
  if (x.at == 0) return sign;
  bool below = fabs(frexp(x.at, &e)) == 0.5 && (minus ? x.tail > 0 : x.tail < 0); /* a power of two, and a little less */
  e -= below;
  int q = (e - 1 < f->emin ? f->emin : e - 1) - f->mantissa;
  double steps = whole_steps(x, q, how), two = ldexp(1, f->mantissa);
  if (steps >= 2 * two) steps /= 2, q++; /* rounded up to the next power of two */
  if (q + f->mantissa > f->emax) return overflow(f, minus, how);
  uint64_t bits = steps < two ? (uint64_t)steps : (uint64_t)(steps - two) + ((uint64_t)(q + f->mantissa - f->emin + 1) << f->mantissa);
  return bits > f->most ? overflow(f, minus, how) : sign | bits;
}
