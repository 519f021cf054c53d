/* lanes.h - what every handler stands on: lane types, masked stores, number formats. Included once per host level. */
#ifndef KILN_SIM_LANES_H
#define KILN_SIM_LANES_H
#include "../descriptor.h"
#include "../engine.h"
#include "../split.h"
#include <string.h>

#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* divisions and the like stay scalar */
#define LANES _Pragma("clang loop vectorize(assume_safety)") for (int l = 0; l < SIM_LANES; l++)
#else
#define LANES _Pragma("GCC ivdep") for (int l = 0; l < SIM_LANES; l++)
#endif
#ifdef __clang__
#define UNROLL8 _Pragma("clang loop unroll(full)")
#else
#define UNROLL8 _Pragma("GCC unroll 8")
#endif
#define ALIAS __attribute__((may_alias))
typedef uint32_t ALIAS L32;
typedef int32_t ALIAS I32;
typedef uint64_t ALIAS L64;
typedef int64_t ALIAS I64;
typedef float ALIAS F32;
typedef double ALIAS F64;
typedef uint16_t ALIAS L16;
typedef uint8_t ALIAS L8;
typedef int16_t ALIAS I16;
typedef int8_t ALIAS I8;
typedef unsigned __int128 u128;
typedef __int128 s128;

#define SLOT(i) __builtin_assume_aligned(w->regs + in->o[i], 64)
#define R32(i) ((L32 *)SLOT(i))
#define R64(i) ((L64 *)SLOT(i))
#define RF32(i) ((F32 *)SLOT(i))
#define RF64(i) ((F64 *)SLOT(i))
#define PRED(i) (*(L32 *)(w->regs + in->o[i]))
#define HANDLER(name) static int op_##name(SimWarp *w, const SimInstr *in, uint32_t mask)

static const uint32_t lane_bit[32] __attribute__((aligned(64))) = {
  1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,  1u << 8,  1u << 9,  1u << 10,
  1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15, 1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21,
  1u << 22, 1u << 23, 1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31};

static inline float f32_of(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static inline uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
static inline double f64_of(uint64_t u) {
  double f;
  memcpy(&f, &u, 8);
  return f;
}
static inline uint64_t bits_of64(double f) {
  uint64_t u;
  memcpy(&u, &f, 8);
  return u;
}

/* NaN results are the canonical one (ptx numerics: 0x7fffffff). */
static inline float canon(float f) { return f == f ? f : f32_of(0x7fffffffu); }
static inline double canon64(double f) { return f == f ? f : f64_of(0x7fffffffffffffffull); }
static inline float ftz(float f) { /* subnormals to zero of the same sign */
  uint32_t u = bits_of(f);
  return f32_of((u & 0x7f800000u) == 0 ? u & 0x80000000u : u);
}

/* f16: 1/5/10. Straight-line, so that loops over lanes become vector code. */
static inline float f32_of_f16(uint32_t h) {
  uint32_t em = h & 0x7fff, sign = (h & 0x8000) << 16;
  float scaled = f32_of(em << 13) * 0x1p112f; /* exact; makes subnormals normal */
  uint32_t u = em > 0x7c00 ? 0x7fffffffu : em == 0x7c00 ? 0x7f800000u : bits_of(scaled);
  return f32_of(em > 0x7c00 ? u : u | sign);
}
static inline uint32_t f16_of_f32(float f) { /* nearest even */
  uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
  uint32_t small = bits_of(f32_of(a) + 0.5f) - 0x3f000000u;        /* below 2^-14: the sum rounds at bit 2^-24 */
  uint32_t normal = (a + 0xc8000fffu + ((a >> 13) & 1)) >> 13;     /* rebias by -112, round */
  uint32_t h = a < 0x38800000u ? small : a >= 0x477ff000u ? 0x7c00u : normal;
  return a > 0x7f800000u ? 0x7fffu : h | sign;
}
static inline uint32_t f16_of_f32_rz(float f) {
  uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000u) return 0x7fff;
  if (a == 0x7f800000u) return sign | 0x7c00;
  if (a >= 0x47800000u) return sign | 0x7bff;
  if (a < 0x38800000u) { /* below 2^-14: the multiple of 2^-24 below */
    return sign | (uint32_t)(f32_of(a) * 0x1p24f);
  }
  return sign | ((a - 0x38000000u) >> 13);
}
static inline float f32_of_bf16(uint32_t h) {
  return f32_of((h & 0x7fff) > 0x7f80 ? 0x7fffffffu : h << 16);
}
static inline uint32_t bf16_of_f32(float f) {
  uint32_t u = bits_of(f);
  return (u & 0x7fffffff) > 0x7f800000u ? 0x7fffu : (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}
static inline uint32_t bf16_of_f32_rz(float f) {
  uint32_t u = bits_of(f);
  return (u & 0x7fffffff) > 0x7f800000u ? 0x7fffu : u >> 16;
}
/* An f64 result to f16 or bf16 in one rounding: first to f32 by round-to-odd, then nearest even. */
static inline float f32_odd(double d) {
  float f = (float)d;
  if (d != d || (double)f == d) return f;
  uint32_t u = bits_of(f);
  if ((f < 0 ? -(double)f : (double)f) > (d < 0 ? -d : d)) u--; /* towards zero */
  return f32_of(u | 1);
}
static inline uint32_t f16_of_f64(double d) { return f16_of_f32(f32_odd(d)); }
static inline uint32_t bf16_of_f64(double d) { return bf16_of_f32(f32_odd(d)); }

/* e4m3: 1/4/3, bias 7, no infinity, NaN s.1111.111; e5m2: 1/5/2 like f16's upper byte */
static inline float f32_of_e4m3(uint32_t b) {
  uint32_t em = b & 0x7f;
  if (em == 0x7f) return f32_of(0x7fffffffu);
  float v = f32_of(em << 20) * 0x1p120f;
  return b & 0x80 ? -v : v;
}
static inline float f32_of_e5m2(uint32_t b) { return f32_of_f16(b << 8); }
static inline uint32_t round_small(float a, int mantissa, int min_exp) { /* nearest even to exp:mantissa bits, a >= 0 finite */
  uint32_t u = bits_of(a);
  int e = (int)(u >> 23) - 127;
  if (e < min_exp) { /* the step below the smallest normal is 2^(min_exp - mantissa) */
    float scaled = a * f32_of((uint32_t)(127 + mantissa - min_exp) << 23);
    return bits_of(scaled + 0x1p23f) - 0x4b000000u;
  }
  uint32_t drop = 23 - (uint32_t)mantissa;
  u += (1u << (drop - 1)) - 1 + ((u >> drop) & 1);
  return (u >> drop) - ((uint32_t)(127 + min_exp - 1) << mantissa);
}
static inline uint32_t e4m3_of_f32(float f) { /* satfinite */
  uint32_t u = bits_of(f), sign = (u >> 24) & 0x80;
  if (f != f) return 0x7f;
  float a = f32_of(u & 0x7fffffff);
  return sign | (a >= 448.0f ? 0x7e : round_small(a, 3, -6));
}
static inline uint32_t e5m2_of_f32(float f) {
  uint32_t u = bits_of(f), sign = (u >> 24) & 0x80;
  if (f != f) return 0x7f;
  float a = f32_of(u & 0x7fffffff);
  return sign | (a >= 57344.0f ? 0x7b : round_small(a, 2, -14));
}

#define ACTIVE(l, m) for (uint32_t m_ = (m), l; m_ && (l = (uint32_t)__builtin_ctz(m_), 1); m_ &= m_ - 1)

/* a 32-lane condition as a mask */
static inline uint32_t mask_of(const int32_t *t); /* level.h: by the host's movemask */

#endif
