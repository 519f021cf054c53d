/* whole.h - rounding of doubles to whole numbers, written here so that libkiln needs no libm. */
#ifndef KILN_WHOLE_H
#define KILN_WHOLE_H
#include <stdint.h>

static inline double whole_toward_zero(double x) { /* from 2^52 on every double is whole; NaN stays */
  return x > -0x1p52 && x < 0x1p52 ? (double)(int64_t)x : x;
}

static inline double whole_down(double x) {
  double t = whole_toward_zero(x);
  return t > x ? t - 1 : t;
}

static inline double whole_up(double x) { return -whole_down(-x); }

/* a - b * trunc(a / b), with the sign of a, as `%` is for integers; NaN where b is 0. Exact for |a| up to 2^53, beyond within
 * its rounding; quotients beyond 2^52 give 0. */
static inline double whole_remainder(double a, double b) {
  double q = a / b;
  if (b == 0 || q != q) return b == 0 ? b / b : q;
  if (q >= 0x1p52 || q <= -0x1p52) return 0;
  double r = a - whole_toward_zero(q) * b, size = b < 0 ? -b : b;
  if (a >= 0 && r < 0) r += size; /* the quotient was rounded up to the next whole number */
  if (a < 0 && r > 0) r -= size;
  return r;
}
#endif
