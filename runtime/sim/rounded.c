/* rounded.c - arithmetic in every rounding of IEEE 754, by the host's own rounding mode. Apart from exec/, since there the compiler may
 * take it for granted that the mode is to nearest. */
#include "rounded.h"
#include <fenv.h>
#include <math.h>

#if defined(__clang__)
#pragma STDC FENV_ACCESS ON
#endif

static int enter_mode(int how) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  int old = fegetround();
  fesetround(modes[how & 3]);
  return old;
}

/* The operands pass through memory that the compiler must not look through, so that nothing is computed before the mode is set. */
float sim_rounded_f32(int op, int how, float a, float b, float c) {
  volatile float x = a, y = b, z = c, r = 0;
  int old = enter_mode(how);
  switch (op) {
  case SIM_ADD: r = x + y; break;
  case SIM_SUB: r = x - y; break;
  case SIM_MUL: r = x * y; break;
  case SIM_FMA: r = fmaf(x, y, z); break;
  case SIM_DIV: r = x / y; break;
  case SIM_RCP: r = 1.0f / x; break;
  default: r = sqrtf(x); break;
  }
  fesetround(old);
  return r;
}

double sim_rounded_f64(int op, int how, double a, double b, double c) {
  volatile double x = a, y = b, z = c, r = 0;
  int old = enter_mode(how);
  switch (op) {
  case SIM_ADD: r = x + y; break;
  case SIM_SUB: r = x - y; break;
  case SIM_MUL: r = x * y; break;
  case SIM_FMA: r = fma(x, y, z); break;
  case SIM_DIV: r = x / y; break;
  case SIM_RCP: r = 1.0 / x; break;
  default: r = sqrt(x); break;
  }
  fesetround(old);
  return r;
}

float sim_narrow_f64(int how, double a) {
  volatile double x = a;
  int old = enter_mode(how);
  volatile float r = (float)x;
  fesetround(old);
  return r;
}

double sim_f64_of_int(int how, int64_t v, bool is_unsigned) {
  volatile int64_t s = v;
  volatile uint64_t u = (uint64_t)v;
  int old = enter_mode(how);
  volatile double r = is_unsigned ? (double)u : (double)s;
  fesetround(old);
  return r;
}

float sim_f32_of_int(int how, int64_t v, bool is_unsigned) {
  volatile int64_t s = v;
  volatile uint64_t u = (uint64_t)v;
  int old = enter_mode(how);
  volatile float r = is_unsigned ? (float)u : (float)s;
  fesetround(old);
  return r;
}
