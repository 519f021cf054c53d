/* arith.h - arithmetic with a rounding, flush or saturation that the fast handlers of handlers.def do not have, sums in pieces with a carry,
 * comparisons that give numbers, and the rarer integer operations. */
#include "../rounded.h"

/* sub of arith: the operation, rounding << 4, and these */
enum { ARITH_FTZ = 1 << 6, ARITH_SAT = 1 << 7, ARITH_RELU = 1 << 8, ARITH_NAN = 1 << 9, ARITH_MAGNITUDE = 1 << 10 };
#define ARITH_OP(sub) ((sub) & 15)
#define ARITH_ROUND(sub) ((sub) >> 4 & 3)

static inline double saturate(double r) { return r >= 0 ? (r > 1 ? 1 : r == 0 ? 0 : r) : 0; } /* a NaN: +0 */

/* min, max: of magnitudes with the signs' exclusive or (minus); a NaN loses, or wins */
static inline double choose(double a, double b, int sub, bool minus) {
  if (sub & ARITH_MAGNITUDE) a = __builtin_fabs(a), b = __builtin_fabs(b);
  double r;
  if (a != a || b != b) r = (sub & ARITH_NAN) || a == a ? (sub & ARITH_NAN) ? __builtin_nan("") : a : b;
  else {
    bool before = a < b || (a == b && __builtin_signbit(a));
    r = before == (ARITH_OP(sub) == SIM_MIN) ? a : b;
  }
  return (sub & ARITH_MAGNITUDE) && minus ? -r : r;
}

static float arith_f32(int sub, float a, float b, float c) {
  if (sub & ARITH_FTZ) a = ftz(a), b = ftz(b), c = ftz(c);
  float r;
  switch (ARITH_OP(sub)) {
  case SIM_MIN:
  case SIM_MAX: r = (float)choose(a, b, sub, (bits_of(a) ^ bits_of(b)) >> 31); break;
  case SIM_ABS: r = f32_of(bits_of(a) & 0x7fffffffu); break;
  case SIM_NEG: r = f32_of(bits_of(a) ^ 0x80000000u); break;
  default: r = sim_rounded_f32(ARITH_OP(sub), ARITH_ROUND(sub), a, b, c);
  }
  if (sub & ARITH_FTZ) r = ftz(r);
  return canon(sub & ARITH_SAT ? (float)saturate(r) : r);
}

static inline float flush_half(float f, bool is_bf16) { /* subnormals of the 16-bit format */
  float least = is_bf16 ? 0x1p-126f : 0x1p-14f, size = f32_of(bits_of(f) & 0x7fffffffu);
  return size < least ? f32_of(bits_of(f) & 0x80000000u) : f;
}

/* One of 16 bits: wider, then rounded once. */
static uint32_t arith_half(int sub, uint32_t x, uint32_t y, uint32_t z, bool is_bf16) {
  float a = is_bf16 ? f32_of_bf16(x) : f32_of_f16(x), b = is_bf16 ? f32_of_bf16(y) : f32_of_f16(y), c = is_bf16 ? f32_of_bf16(z) : f32_of_f16(z);
  if (sub & ARITH_FTZ) a = flush_half(a, is_bf16), b = flush_half(b, is_bf16), c = flush_half(c, is_bf16);
  uint32_t r;
  switch (ARITH_OP(sub)) {
  case SIM_ADD: r = is_bf16 ? bf16_of_f64((double)a + b) : f16_of_f64((double)a + b); break;
  case SIM_SUB: r = is_bf16 ? bf16_of_f64((double)a - b) : f16_of_f64((double)a - b); break;
  case SIM_MUL: r = is_bf16 ? bf16_of_f64((double)a * b) : f16_of_f64((double)a * b); break;
  case SIM_FMA: r = is_bf16 ? bf16_of_fma(a, b, c) : f16_of_f64((double)a * b + c); break;
  case SIM_ABS: return (sub & ARITH_FTZ && a == 0 ? x & 0x8000 : x) & 0x7fff;
  case SIM_NEG: return (sub & ARITH_FTZ && a == 0 ? x & 0x8000 : x) ^ 0x8000;
  default: {
    double best = choose(a, b, sub, (x ^ y) >> 15 & 1);
    r = is_bf16 ? bf16_of_f64(best) : f16_of_f64(best);
  }
  }
  if (sub & ARITH_RELU) r = relu16(r);
  float v = is_bf16 ? f32_of_bf16(r) : f32_of_f16(r);
  if (sub & ARITH_FTZ && flush_half(v, is_bf16) == 0) r &= 0x8000;
  if (!(sub & ARITH_SAT)) return r;
  return v > 1 ? (is_bf16 ? 0x3f80 : 0x3c00) : v > 0 ? r : 0;
}

/* Sources that the operation does not have are its first again. */
#define ARITH_SLOTS int n1 = in->n > 1 ? 2 : 1, n2 = in->n > 2 ? 3 : 1
HANDLER(arith_f32) {
  ARITH_SLOTS;
  F32 *d = RF32(0);
  const F32 *a = RF32(1), *b = RF32(n1), *c = RF32(n2);
  ACTIVE(l, mask) d[l] = arith_f32(in->sub, a[l], b[l], c[l]);
  return STEP_NEXT;
}
HANDLER(arith_f64) {
  ARITH_SLOTS;
  F64 *d = RF64(0);
  const F64 *a = RF64(1), *b = RF64(n1), *c = RF64(n2);
  ACTIVE(l, mask) d[l] = canon64(sim_rounded_f64(ARITH_OP(in->sub), ARITH_ROUND(in->sub), a[l], b[l], c[l]));
  return STEP_NEXT;
}
HANDLER(arith_half) { /* size: 2, or 4 for a pair; flag SIGNED: bf16 */
  ARITH_SLOTS;
  bool bf = in->flags & SIM_I_SIGNED;
  L32 *d = R32(0);
  const L32 *a = R32(1), *b = R32(n1), *c = R32(n2);
  ACTIVE(l, mask) {
    uint32_t r = arith_half(in->sub, a[l] & 0xffff, b[l] & 0xffff, c[l] & 0xffff, bf);
    if (in->size == 4) r |= arith_half(in->sub, a[l] >> 16, b[l] >> 16, c[l] >> 16, bf) << 16;
    d[l] = r;
  }
  return STEP_NEXT;
}

/* ---- sums in pieces. The carry is the last operand: written with .cc, read by addc, subc, madc. sub: 0 add, 1 sub, 2 mad.lo, 3 mad.hi;
 * 4: reads it, 8: writes it; SIGNED. Operands: d a b [c] carry [carry] ---- */

static inline uint64_t high_product(uint64_t a, uint64_t b, int bits, bool is_signed) {
  if (bits == 32) return is_signed ? (uint32_t)(((int64_t)(int32_t)a * (int32_t)b) >> 32) : (uint32_t)((a * b) >> 32);
  return is_signed ? (uint64_t)(((s128)(int64_t)a * (int64_t)b) >> 64) : (uint64_t)(((u128)a * b) >> 64);
}

HANDLER(carry) {
  int kind = in->sub & 3, bits = in->size * 8, last = kind >= 2 ? 4 : 3;
  bool is_signed = in->flags & SIM_I_SIGNED;
  uint32_t carry = in->sub & 4 ? PRED(last) : 0, out = 0;
  uint64_t keep = bits == 64 ? ~(uint64_t)0 : 0xffffffffu;
  ACTIVE(l, mask) {
    uint64_t x = bits == 64 ? R64(1)[l] : R32(1)[l], y = bits == 64 ? R64(2)[l] : R32(2)[l];
    if (kind >= 2) {
      x = (kind == 2 ? x * y : high_product(x, y, bits, is_signed)) & keep;
      y = bits == 64 ? R64(3)[l] : R32(3)[l];
    }
    uint64_t one = carry >> l & 1;
    u128 r = kind == 1 ? (u128)x - y - one : (u128)x + y + one;
    if (bits == 64) R64(0)[l] = (uint64_t)r;
    else R32(0)[l] = (uint32_t)r;
    out |= (r >> bits & 1) ? lane_bit[l] : 0;
  }
  if (in->sub & 8) set_pred(&PRED(last + (in->sub & 4 ? 1 : 0)), out, mask);
  return STEP_NEXT;
}

/* ---- comparisons lane by lane: set, and the pairs of halves ---- */

enum { SET_S32, SET_U32, SET_F32, SET_F16, SET_BF16 };
static bool compare_floats(int how, float a, float b) {
  bool unordered = a != a || b != b;
  switch (how) {
  case CMP_EQ: return a == b;
  case CMP_NE: return !unordered && a != b;
  case CMP_LT: return a < b;
  case CMP_LE: return a <= b;
  case CMP_GT: return a > b;
  case CMP_GE: return a >= b;
  case CMP_EQU: return unordered || a == b;
  case CMP_NEU: return unordered || a != b;
  case CMP_LTU: return unordered || a < b;
  case CMP_LEU: return unordered || a <= b;
  case CMP_GTU: return unordered || a > b;
  case CMP_GEU: return unordered || a >= b;
  case CMP_NUM: return !unordered;
  default: return unordered;
  }
}

static bool compare_words(int how, int type, uint32_t a, uint32_t b, bool flush) {
  if (type == SET_U32 || type == SET_S32) {
    bool before = type == SET_U32 ? a < b : (int32_t)a < (int32_t)b;
    switch (how) {
    case CMP_EQ: return a == b;
    case CMP_NE: return a != b;
    case CMP_LT: return before;
    case CMP_LE: return before || a == b;
    case CMP_GT: return !before && a != b;
    default: return !before;
    }
  }
  float x = type == SET_F32 ? f32_of(a) : type == SET_F16 ? f32_of_f16(a & 0xffff) : f32_of_bf16(a & 0xffff);
  float y = type == SET_F32 ? f32_of(b) : type == SET_F16 ? f32_of_f16(b & 0xffff) : f32_of_bf16(b & 0xffff);
  if (flush) {
    x = type == SET_F32 ? ftz(x) : flush_half(x, type == SET_BF16);
    y = type == SET_F32 ? ftz(y) : flush_half(y, type == SET_BF16);
  }
  return compare_floats(how, x, y);
}

/* sub: comparison | type << 4; n: 1 all ones, 2 1.0; size 2 (halves), 4, or 8 for a pair of halves; SIGNED: flush */
HANDLER(set) {
  static const uint32_t one[] = {[SET_F32] = 0x3f800000u, [SET_F16] = 0x3c00, [SET_BF16] = 0x3f80};
  int how = in->sub & 15, type = in->sub >> 4;
  bool flush = in->flags & SIM_I_SIGNED, pair = in->size == 8;
  uint32_t yes = in->n == 1 ? SIM_FULL : in->flags & SIM_I_WIDE ? one[SET_F32] : one[type];
  L32 *d = R32(0);
  const L32 *a = R32(1), *b = R32(2);
  ACTIVE(l, mask) {
    uint32_t r = compare_words(how, type, a[l], b[l], flush) ? yes : 0;
    if (in->size != 4) r &= 0xffff;
    if (pair && compare_words(how, type, a[l] >> 16, b[l] >> 16, flush)) r |= yes << 16;
    d[l] = r;
  }
  return STEP_NEXT;
}

HANDLER(setp_pair) { /* p|q: low halves, high halves; sub and flags as of set */
  uint32_t low = 0, high = 0;
  bool flush = in->flags & SIM_I_SIGNED;
  const L32 *a = R32(2), *b = R32(3);
  ACTIVE(l, mask) {
    low |= compare_words(in->sub & 15, in->sub >> 4, a[l], b[l], flush) ? lane_bit[l] : 0;
    high |= compare_words(in->sub & 15, in->sub >> 4, a[l] >> 16, b[l] >> 16, flush) ? lane_bit[l] : 0;
  }
  set_pred(&PRED(0), low, mask);
  return set_pred(&PRED(1), high, mask);
}

HANDLER(setp_flushed) { /* setp.ftz: sub: comparison | join << 8, as of setp; size: the type */
  const L32 *a = R32(1), *b = R32(2);
  uint32_t v = 0;
  ACTIVE(l, mask) v |= compare_words(in->sub & 15, in->size, a[l], b[l], true) ? lane_bit[l] : 0;
  return join_pred(w, in, mask, v);
}

/* ---- tests, choices, approximations ---- */

HANDLER(testp_f64) {
  const L64 *a = R64(1);
  uint32_t v = 0;
  for (int l = 0; l < SIM_LANES; l++) {
    uint64_t x = a[l] & 0x7fffffffffffffffull, infinity = 0x7ff0000000000000ull, normal = 0x0010000000000000ull;
    bool r = in->sub == TEST_FINITE       ? x < infinity
             : in->sub == TEST_INFINITE   ? x == infinity
             : in->sub == TEST_NUMBER     ? x <= infinity
             : in->sub == TEST_NOTANUMBER ? x > infinity
             : in->sub == TEST_NORMAL     ? x == 0 || (x >= normal && x < infinity)
                                          : x > 0 && x < normal;
    v |= (uint32_t)r << l;
  }
  return set_pred(&PRED(0), v, mask);
}

#define CHOOSE(name, T, R)                                                                                             \
  HANDLER(name) { /* a if the third is not negative. sub: 1 it is a float, 2 and flushed */                            \
    T *d = R(0);                                                                                                       \
    const T *a = R(1), *b = R(2);                                                                                      \
    const L32 *c = R32(3);                                                                                             \
    ACTIVE(l, mask) {                                                                                                  \
      bool yes = in->sub & 1 ? (in->sub & 2 ? ftz(f32_of(c[l])) : f32_of(c[l])) >= 0 : (int32_t)c[l] >= 0;             \
      d[l] = yes ? a[l] : b[l];                                                                                        \
    }                                                                                                                  \
    return STEP_NEXT;                                                                                                  \
  }
CHOOSE(slct_b32, L32, R32)
CHOOSE(slct_b64, L64, R64)

HANDLER(lop3_pred) { /* d|p a b c table q: p is the result's being not zero, joined with q. sub: table | 256 for and */
  int join_and = in->sub >> 8;
  L32 *d = R32(0);
  const L32 *a = R32(2), *b = R32(3), *c = R32(4);
  uint32_t q = PRED(6) ^ (in->flags & SIM_I_NEGATE ? SIM_FULL : 0), v = 0;
  ACTIVE(l, mask) {
    uint32_t r = 0;
    for (int i = 0; i < 8; i++)
      if (in->sub >> i & 1) r |= ((i & 4) ? a[l] : ~a[l]) & ((i & 2) ? b[l] : ~b[l]) & ((i & 1) ? c[l] : ~c[l]);
    d[l] = r;
    v |= r ? lane_bit[l] : 0;
  }
  return set_pred(&PRED(1), join_and ? v & q : v | q, mask);
}
