/* alu.h - the handlers of one expression per lane: helpers in plain C, then handlers.def turned into functions. */

/* ---- helpers named in handlers.def ---- */
static inline uint32_t reverse32(uint32_t a) {
  a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
  a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
  a = (a >> 4 & 0x0f0f0f0fu) | (a & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(a);
}
static inline uint32_t find_high(uint32_t a) { return a ? 31 - (uint32_t)__builtin_clz(a) : ~0u; }
static inline uint32_t find_high64(uint64_t a) { return a ? 63 - (uint32_t)__builtin_clzll(a) : ~0u; }
static inline uint32_t shift_amount(uint32_t high, uint32_t top) { return high == ~0u ? high : top - high; }
/* f64 approximations: subnormals count as zero; the result has the upper half of its bits */
static inline double flush_double(double a) { return (bits_of64(a) & 0x7ff0000000000000ull) ? a : f64_of(bits_of64(a) & 0x8000000000000000ull); }
/* rcp and rsqrt.approx.ftz.f64 do not look at the lower half on an H200: a NaN that has its bits there alone is infinity. */
static inline double upper_half(double a) { return f64_of(bits_of64(a) & 0xffffffff00000000ull); }
static inline uint64_t top_half(double r) {
  if (r != r) return 0x7fffffff00000000ull;
  return bits_of64(flush_double(r)) & 0xffffffff00000000ull;
}

/* bfe: position and length are bytes of their registers; what lies beyond the top is zero or the sign */
static inline uint64_t field_u64(uint64_t a, uint32_t pos, uint32_t len, uint32_t bits) {
  pos &= 0xff;
  len &= 0xff;
  if (pos >= bits || len == 0) return 0;
  a >>= pos;
  return len < 64 ? a & (((uint64_t)1 << len) - 1) : a;
}
static inline uint64_t field_s64(uint64_t a, uint32_t pos, uint32_t len, uint32_t bits) {
  pos &= 0xff;
  len &= 0xff;
  if (len == 0) return 0;
  int64_t s = bits == 32 ? (int32_t)a : (int64_t)a;
  uint32_t last = pos + len - 1 > bits - 1 ? bits - 1 : pos + len - 1;
  bool sign = (uint64_t)s >> last & 1;
  uint64_t v = pos >= bits ? 0 : (uint64_t)s >> pos;
  uint32_t have = pos >= bits ? 0 : last - pos + 1;
  if (have < 64) {
    v &= ((uint64_t)1 << have) - 1;
    if (sign) v |= ~(uint64_t)0 << have;
  }
  return v;
}
static inline uint32_t dot4(uint32_t a, uint32_t b, uint32_t c, int is_signed) {
  for (int i = 0; i < 4; i++) {
    int32_t x = is_signed ? (int8_t)(a >> 8 * i) : (int32_t)(a >> 8 * i & 0xff);
    int32_t y = is_signed ? (int8_t)(b >> 8 * i) : (int32_t)(b >> 8 * i & 0xff);
    c += (uint32_t)(x * y);
  }
  return c;
}
static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t sel) {
  uint64_t bytes = (uint64_t)b << 32 | a;
  uint32_t d = 0;
  for (int i = 0; i < 4; i++) {
    uint32_t s = sel >> 4 * i & 15, byte = (uint32_t)(bytes >> 8 * (s & 7)) & 0xff;
    if (s & 8) byte = byte & 0x80 ? 0xff : 0; /* replicate the sign */
    d |= byte << 8 * i;
  }
  return d;
}
/* the modes of prmt: which byte goes where, from the low two bits of the selector */
static inline uint32_t permute_mode(uint32_t a, uint32_t b, uint32_t c, int mode) {
  uint64_t bytes = (uint64_t)b << 32 | a;
  uint32_t d = 0, s = c & 3;
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t from = mode == 0 ? s + i : mode == 1 ? (s - i) & 7 : mode == 2 ? s : mode == 3 ? (i > s ? i : s) : mode == 4 ? (i < s ? i : s)
                                                                                                   : (s & 1) * 2 + (i & 1);
    d |= (uint32_t)(bytes >> 8 * from & 0xff) << 8 * i;
  }
  return d;
}
/* dp4a, dp2a with each operand's sign: bit 0 a, bit 1 b; from: the first byte of b */
static inline uint32_t dot_bytes(uint32_t a, uint32_t b, uint32_t c, int signs) {
  for (int i = 0; i < 4; i++) {
    int32_t x = signs & 1 ? (int8_t)(a >> 8 * i) : (int32_t)(a >> 8 * i & 0xff), y = signs & 2 ? (int8_t)(b >> 8 * i) : (int32_t)(b >> 8 * i & 0xff);
    c += (uint32_t)(x * y);
  }
  return c;
}
static inline uint32_t dot_halves(uint32_t a, uint32_t b, uint32_t c, int signs, int from) {
  for (int i = 0; i < 2; i++) {
    int64_t x = signs & 1 ? (int16_t)(a >> 16 * i) : (int32_t)(a >> 16 * i & 0xffff);
    int64_t y = signs & 2 ? (int8_t)(b >> 8 * (i + from)) : (int32_t)(b >> 8 * (i + from) & 0xff);
    c += (uint32_t)(x * y);
  }
  return c;
}
static inline uint32_t differences4(uint32_t a, uint32_t b, uint32_t c, bool is_signed, bool add) {
  uint32_t d = 0, sum = c;
  for (int i = 0; i < 4; i++) {
    int32_t x = is_signed ? (int8_t)(a >> 8 * i) : (int32_t)(a >> 8 * i & 0xff), y = is_signed ? (int8_t)(b >> 8 * i) : (int32_t)(b >> 8 * i & 0xff);
    uint32_t r = (uint32_t)(x < y ? y - x : x - y);
    d |= (r & 0xff) << 8 * i;
    sum += r;
  }
  return add ? sum : d;
}
/* the n-th set bit of a at or above base (n > 0), at or below it (n < 0); 0: base's own */
static inline uint32_t find_nth(uint32_t a, uint32_t base, int32_t n) {
  if (base > 31) return ~0u;
  if (n == 0) return a >> base & 1 ? base : ~0u;
  int32_t step = n < 0 ? -1 : 1, left = n < 0 ? -n : n;
  for (int32_t p = (int32_t)base; p >= 0 && p < 32; p += step)
    if ((a >> p & 1) && --left == 0) return (uint32_t)p;
  return ~0u;
}
static inline uint32_t bit_mask(uint32_t a, uint32_t b, bool clamp) { /* b ones from bit a up */
  uint32_t pos = a & 31, width = b & 31;
  if (clamp && a > 31) return 0;
  uint32_t low = ~0u << pos;
  if ((clamp && b > 31) || pos + width > 31) return low;
  return low & ~(~0u << (pos + width));
}
static inline uint32_t extend_bits(uint32_t a, uint32_t b, bool clamp, bool is_signed) { /* of b bits */
  uint32_t n = b & 31;
  if (clamp && b > 31) return a;
  uint32_t above = ~0u << n;
  return n && is_signed && (a >> (n - 1) & 1) ? a | above : a & ~above;
}
static inline int32_t low24(uint32_t a) { return (int32_t)(a << 8) >> 8; }
static inline int32_t clamp64(int64_t v) { return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : (int32_t)v; }
static inline int32_t clamp_to(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

/* min, max: a NaN loses against a number; -0 is below +0 */
static inline float smaller(float a, float b) {
  return a != a ? b : b != b ? a : (a < b || (a == b && (bits_of(a) >> 31))) ? a : b;
}
static inline float larger(float a, float b) {
  return a != a ? b : b != b ? a : (a > b || (a == b && !(bits_of(a) >> 31))) ? a : b;
}
static inline float divide_approx(float a, float b) { /* a divisor above 2^126 gives a signed zero, NaN for an infinite dividend */
  float big = f32_of(bits_of(b) & 0x7fffffff);
  if (big > 0x1p126f && big <= 3.402823466e38f)
    return (bits_of(a) & 0x7fffffff) == 0x7f800000u ? f32_of(0x7fffffffu) : f32_of((bits_of(a) ^ bits_of(b)) & 0x80000000u);
  return a / b;
}
static inline uint32_t relu16(uint32_t h) { return (h & 0x7fff) == 0x7fff ? 0x7fff : h & 0x8000 ? 0 : h; }

/* One rounding of a*b+c from bf16: the product is exact in f64, the sum is made odd where it is not. */
static inline uint32_t bf16_of_fma(float a, float b, float c) {
  double p = (double)a * b, s = p + (double)c;
  double t = s - p, err = (p - (s - t)) + ((double)c - t); /* two-sum */
  if (err != 0 && s - s == 0) {
    uint64_t u = bits_of64(s);
    if (!(u & 1)) u = ((err > 0) == (s > 0)) ? u | 1 : u - 1;
    s = f64_of(u);
  }
  return bf16_of_f64(s);
}

/* 2^x by a polynomial of 2^f, |f| <= 1/2, in double: error far below half an ulp of f32. The same operations on every host. */
static inline double power2(float x) {
  double d = x;
  d = d > 1100.0 ? 1100.0 : d < -1100.0 ? -1100.0 : d; /* NaN passes */
  double n = (d + 0x1.8p52) - 0x1.8p52, f = (d - n) * 0.6931471805599453094;
  double p = 1.0 / 479001600.0;
  p = p * f + 1.0 / 39916800.0;
  p = p * f + 1.0 / 3628800.0;
  p = p * f + 1.0 / 362880.0;
  p = p * f + 1.0 / 40320.0;
  p = p * f + 1.0 / 5040.0;
  p = p * f + 1.0 / 720.0;
  p = p * f + 1.0 / 120.0;
  p = p * f + 1.0 / 24.0;
  p = p * f + 1.0 / 6.0;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  /* scale in two halves, so that 2^n itself never overflows */
  double half = (n * 0.5 + 0x1.8p52) - 0x1.8p52, rest = n - half;
  uint64_t e1 = (bits_of64(half + 0x1.8p52) + 1023) << 52, e2 = (bits_of64(rest + 0x1.8p52) + 1023) << 52;
  return p * f64_of(e1) * f64_of(e2);
}

static inline double logarithm2(float x) { /* atanh series of (m-1)/(m+1), m in [sqrt(1/2), sqrt(2)) */
  double d = x;
  uint64_t u = bits_of64(d);
  uint64_t shifted = u - 0x3fe6a09e667f3bcdull; /* bits of sqrt(1/2) */
  uint64_t expo = (shifted + ((uint64_t)1024 << 52)) >> 52;
  double e = f64_of(0x4330000000000000ull | (expo & 0xfff)) - 0x1p52 - 1024.0;
  double m = f64_of(u - ((shifted >> 52) << 52));
  double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 21.0;
  p = p * z + 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  p = p * z + 1.0;
  double r = e + s * p * 2.8853900817779268147;
  uint32_t b = bits_of(x), a = b & 0x7fffffff;
  r = a == 0 ? -__builtin_inf() : r;
  r = a >= 0x7f800000u ? (double)x : r;
  return (a != 0 && b >> 31) ? f64_of(0x7ff8000000000000ull) : r;
}

static inline double tangent_h(float x) {
  double d = x;
  d = d > 40.0 ? 40.0 : d < -40.0 ? -40.0 : d;
  double big = 1.0 - 2.0 / (power2((float)(d * 2.8853900817779268147)) + 1.0);
  double small = d * (1.0 - d * d * (1.0 / 3.0 - d * d * (2.0 / 15.0)));
  return (d < 0.0625 && d > -0.0625) ? small : big;
}

/* ---- lane types: what a lane is (T), how it is stored (S), read (G) and written (W) ---- */
#define T_u32 uint32_t
#define T_s32 int32_t
#define T_u64 uint64_t
#define T_s64 int64_t
#define T_f32 float
#define T_f64 double
#define T_fc float
#define T_dc double
#define T_h uint32_t
#define T_sh int32_t
#define T_f16 float
#define T_bf16 float
#define S_u32 L32
#define S_s32 I32
#define S_u64 L64
#define S_s64 I64
#define S_f32 F32
#define S_f64 F64
#define S_fc F32
#define S_dc F64
#define S_h L32
#define S_sh L32
#define S_f16 L32
#define S_bf16 L32
#define G_u32(v) v
#define G_s32(v) v
#define G_u64(v) v
#define G_s64(v) v
#define G_f32(v) v
#define G_f64(v) v
#define G_h(v) v
#define G_sh(v) (int16_t)(v)
#define G_f16(v) f32_of_f16(v)
#define G_bf16(v) f32_of_bf16(v)
#define W_u32(v) (uint32_t)(v)
#define W_s32(v) (int32_t)(v)
#define W_u64(v) (uint64_t)(v)
#define W_s64(v) (int64_t)(v)
#define W_f32(v) (v)
#define W_f64(v) (v)
#define W_fc(v) canon(v)
#define W_dc(v) canon64(v)
#define W_h(v) ((uint32_t)(v) & 0xffff)

/* Results go through a local array: every source lane is read before the first destination lane is written. */
#define LANE_STORE(D, expr)                                                                                            \
  S_##D *d_ = (S_##D *)SLOT(0);                                                                                        \
  if (mask == SIM_FULL) {                                                                                              \
    LANES { LANE_READ d_[l] = W_##D(expr); }                                                                           \
  } else {                                                                                                             \
    LANES {                                                                                                            \
      LANE_READ                                                                                                        \
      S_##D v_ = W_##D(expr);                                                                                          \
      d_[l] = (mask & lane_bit[l]) ? v_ : d_[l];                                                                       \
    }                                                                                                                  \
  }                                                                                                                    \
  return STEP_NEXT;

#define LANE1(name, D, A, expr)                                                                                        \
  HANDLER(name) {                                                                                                      \
    const S_##A *a_ = (const S_##A *)SLOT(1);                                                                          \
    LANE_STORE(D, ({ T_##A a = G_##A(a_[l]); expr; }))                                                                 \
  }
#define LANE2(name, D, A, B, expr)                                                                                     \
  HANDLER(name) {                                                                                                      \
    const S_##A *a_ = (const S_##A *)SLOT(1);                                                                          \
    const S_##B *b_ = (const S_##B *)SLOT(2);                                                                          \
    LANE_STORE(D, ({ T_##A a = G_##A(a_[l]); T_##B b = G_##B(b_[l]); expr; }))                                         \
  }
#define LANE3(name, D, A, B, C, expr)                                                                                  \
  HANDLER(name) {                                                                                                      \
    const S_##A *a_ = (const S_##A *)SLOT(1);                                                                          \
    const S_##B *b_ = (const S_##B *)SLOT(2);                                                                          \
    const S_##C *c_ = (const S_##C *)SLOT(3);                                                                          \
    LANE_STORE(D, ({ T_##A a = G_##A(a_[l]); T_##B b = G_##B(b_[l]); T_##C c = G_##C(c_[l]); expr; }))                 \
  }
#define LANE_READ
#define HALF(A, x, h) G_##A((h) ? (x) >> 16 : (x) & 0xffff)
#define PAIR1(name, A, expr)                                                                                           \
  static inline uint32_t half_##name(uint32_t a_, int h) { T_##A a = HALF(A, a_, h); return expr; }                    \
  LANE1(name, u32, u32, half_##name(a, 0) | half_##name(a, 1) << 16)
#define PAIR2(name, A, expr)                                                                                           \
  static inline uint32_t half_##name(uint32_t a_, uint32_t b_, int h) {                                                \
    T_##A a = HALF(A, a_, h), b = HALF(A, b_, h);                                                                      \
    return expr;                                                                                                       \
  }                                                                                                                    \
  LANE2(name, u32, u32, u32, half_##name(a, b, 0) | half_##name(a, b, 1) << 16)
#define PAIR3(name, A, expr)                                                                                           \
  static inline uint32_t half_##name(uint32_t a_, uint32_t b_, uint32_t c_, int h) {                                   \
    T_##A a = HALF(A, a_, h), b = HALF(A, b_, h), c = HALF(A, c_, h);                                                  \
    return expr;                                                                                                       \
  }                                                                                                                    \
  LANE3(name, u32, u32, u32, u32, half_##name(a, b, c, 0) | half_##name(a, b, c, 1) << 16)
#define CALL(name)
#include "../handlers.def"

/* ---- handlers of several registers, predicates, or an operation in a field of the instruction ---- */

#define BITFIELD(name, T, R, BITS)                                                                                     \
  HANDLER(name) {                                                                                                      \
    T *d = R(0);                                                                                                       \
    const T *a = R(1), *b = R(2);                                                                                      \
    const L32 *p = R32(3), *n = R32(4);                                                                                \
    LANES {                                                                                                            \
      uint32_t pos = p[l] & 0xff, len = n[l] & 0xff;                                                                   \
      uint64_t m = len < 64 ? ((uint64_t)1 << len) - 1 : ~(uint64_t)0;                                                 \
      m = pos < BITS ? m << pos : 0;                                                                                   \
      uint64_t v = pos < BITS ? (uint64_t)a[l] << pos : 0;                                                             \
      T r = (T)((b[l] & ~m) | (v & m));                                                                                \
      d[l] = (mask & lane_bit[l]) ? r : d[l];                                                                          \
    }                                                                                                                  \
    return STEP_NEXT;                                                                                                  \
  }
BITFIELD(bfi_b32, L32, R32, 32)
BITFIELD(bfi_b64, L64, R64, 64)

HANDLER(lop3_b32) {
  L32 *d = R32(0);
  const L32 *a = R32(1), *b = R32(2), *c = R32(3);
  uint32_t table = in->sub;
  LANES {
    uint32_t r = 0;
    for (int i = 0; i < 8; i++) {
      uint32_t m = ((i & 4) ? a[l] : ~a[l]) & ((i & 2) ? b[l] : ~b[l]) & ((i & 1) ? c[l] : ~c[l]);
      r |= (table >> i & 1) ? m : 0;
    }
    d[l] = (mask & lane_bit[l]) ? r : d[l];
  }
  return STEP_NEXT;
}

static inline int set_pred(L32 *d, uint32_t v, uint32_t mask) {
  *d = (*d & ~mask) | (v & mask);
  return STEP_NEXT;
}
HANDLER(and_pred) { return set_pred(&PRED(0), PRED(1) & PRED(2), mask); }
HANDLER(or_pred) { return set_pred(&PRED(0), PRED(1) | PRED(2), mask); }
HANDLER(xor_pred) { return set_pred(&PRED(0), PRED(1) ^ PRED(2), mask); }
HANDLER(not_pred) { return set_pred(&PRED(0), ~PRED(1), mask); }
HANDLER(mov_pred) { return set_pred(&PRED(0), PRED(1), mask); }

#define SELECT(name, T, R)                                                                                             \
  HANDLER(name) {                                                                                                      \
    T *d = R(0);                                                                                                       \
    const T *a = R(1), *b = R(2);                                                                                      \
    uint32_t p = PRED(3);                                                                                              \
    LANES {                                                                                                            \
      T r = (p & lane_bit[l]) ? a[l] : b[l];                                                                           \
      d[l] = (mask & lane_bit[l]) ? r : d[l];                                                                          \
    }                                                                                                                  \
    return STEP_NEXT;                                                                                                  \
  }
SELECT(selp_b32, L32, R32)
SELECT(selp_b64, L64, R64)

/* setp: sub holds the comparison and, shifted by 8, how the third source joins: 0 not, 1 and, 2 or, 3 xor. n: 0, or the place of the
 * second result, which is the opposite comparison joined likewise */
enum { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_EQU, CMP_NEU, CMP_LTU, CMP_LEU, CMP_GTU, CMP_GEU, CMP_NUM, CMP_NAN };
static inline uint32_t join_bits(int join, uint32_t v, uint32_t c) { return join == 0 ? v : join == 1 ? v & c : join == 2 ? v | c : v ^ c; }
static inline int join_pred(SimWarp *w, const SimInstr *in, uint32_t mask, uint32_t v) {
  int join = in->sub >> 8;
  uint32_t c = join ? PRED(3) ^ (in->flags & SIM_I_NEGATE ? SIM_FULL : 0) : 0;
  if (in->n) set_pred(&PRED(in->n), join_bits(join, ~v, c), mask);
  return set_pred(&PRED(0), join_bits(join, v, c), mask);
}
#define CMP_CASE(which, expr)                                                                                          \
  case which: LANES { t[l] = -(int32_t)(expr); } break;
#define COMPARE(name, A, FLOATS)                                                                                       \
  HANDLER(name) {                                                                                                      \
    const S_##A *a_ = (const S_##A *)SLOT(1);                                                                          \
    const S_##A *b_ = (const S_##A *)SLOT(2);                                                                          \
    int32_t t[SIM_LANES] __attribute__((aligned(64)));                                                                 \
    switch (in->sub & 0xff) {                                                                                          \
      CMP_CASE(CMP_EQ, G_##A(a_[l]) == G_##A(b_[l]))                                                                   \
      CMP_CASE(CMP_NE, FLOATS(CMP_DIFFERS, G_##A(a_[l]), G_##A(b_[l]), G_##A(a_[l]) != G_##A(b_[l])))                  \
      CMP_CASE(CMP_LT, G_##A(a_[l]) < G_##A(b_[l]))                                                                    \
      CMP_CASE(CMP_LE, G_##A(a_[l]) <= G_##A(b_[l]))                                                                   \
      CMP_CASE(CMP_GT, G_##A(a_[l]) > G_##A(b_[l]))                                                                    \
      CMP_CASE(CMP_GE, G_##A(a_[l]) >= G_##A(b_[l]))                                                                   \
      CMP_CASE(CMP_EQU, FLOATS(CMP_SAME, G_##A(a_[l]), G_##A(b_[l]), 0))                                               \
      CMP_CASE(CMP_NEU, G_##A(a_[l]) != G_##A(b_[l]))                                                                  \
      CMP_CASE(CMP_LTU, !(G_##A(a_[l]) >= G_##A(b_[l])))                                                               \
      CMP_CASE(CMP_LEU, !(G_##A(a_[l]) > G_##A(b_[l])))                                                                \
      CMP_CASE(CMP_GTU, !(G_##A(a_[l]) <= G_##A(b_[l])))                                                               \
      CMP_CASE(CMP_GEU, !(G_##A(a_[l]) < G_##A(b_[l])))                                                                \
      CMP_CASE(CMP_NUM, FLOATS(CMP_NUMBERS, G_##A(a_[l]), G_##A(b_[l]), 1))                                            \
      default: LANES { t[l] = -(int32_t)(FLOATS(CMP_NANS, G_##A(a_[l]), G_##A(b_[l]), 0)); } break;                    \
    }                                                                                                                  \
    return join_pred(w, in, mask, mask_of(t));                                                                         \
  }
#define CMP_DIFFERS(x, y) ((x) < (y) || (x) > (y))
#define CMP_SAME(x, y) !((x) < (y) || (x) > (y))
#define CMP_NUMBERS(x, y) ((x) == (x) && (y) == (y))
#define CMP_NANS(x, y) ((x) != (x) || (y) != (y))
#define AS_FLOAT(how, x, y, integer) how(x, y)
#define AS_INT(how, x, y, integer) (integer)
COMPARE(setp_s32, s32, AS_INT)
COMPARE(setp_u32, u32, AS_INT)
COMPARE(setp_s64, s64, AS_INT)
COMPARE(setp_u64, u64, AS_INT)
COMPARE(setp_s16, sh, AS_INT)
COMPARE(setp_u16, h, AS_INT)
COMPARE(setp_f32, f32, AS_FLOAT)
COMPARE(setp_f64, f64, AS_FLOAT)
COMPARE(setp_f16, f16, AS_FLOAT)
COMPARE(setp_bf16, bf16, AS_FLOAT)

enum { TEST_FINITE, TEST_INFINITE, TEST_NUMBER, TEST_NOTANUMBER, TEST_NORMAL, TEST_SUBNORMAL };
HANDLER(testp_f32) {
  const L32 *a = R32(1);
  uint32_t v = 0;
  for (int l = 0; l < SIM_LANES; l++) {
    uint32_t x = a[l] & 0x7fffffffu;
    bool r = in->sub == TEST_FINITE        ? x < 0x7f800000u
             : in->sub == TEST_INFINITE    ? x == 0x7f800000u
             : in->sub == TEST_NUMBER      ? x <= 0x7f800000u
             : in->sub == TEST_NOTANUMBER  ? x > 0x7f800000u
             : in->sub == TEST_NORMAL      ? x == 0 || (x >= 0x00800000u && x < 0x7f800000u) /* zeros count as normal */
                                           : x > 0 && x < 0x00800000u;
    v |= (uint32_t)r << l;
  }
  return set_pred(&PRED(0), v, mask);
}

/* sin, cos: by the host's libm in double; bound of the manual 2^-20.5 in [-2 pi, 2 pi] */
#define LIBM(name, fn)                                                                                                 \
  HANDLER(name) {                                                                                                      \
    F32 *d = RF32(0);                                                                                                  \
    const F32 *a = RF32(1);                                                                                            \
    for (int l = 0; l < SIM_LANES; l++) {                                                                              \
      if (!(mask & lane_bit[l])) continue;                                                                             \
      float x = in->sub ? ftz(a[l]) : a[l], r = canon((float)fn((double)x));                                           \
      d[l] = in->sub ? ftz(r) : r;                                                                                     \
    }                                                                                                                  \
    return STEP_NEXT;                                                                                                  \
  }
LIBM(sin_approx_f32, __builtin_sin)
LIBM(cos_approx_f32, __builtin_cos)

#define TWO(name, n, expr)                                                                                             \
  static inline uint32_t one_##name(uint32_t x_, uint32_t y_, uint32_t z_) {                                           \
    float x = f32_of(x_), y = f32_of(y_), z = f32_of(z_);                                                              \
    (void)z;                                                                                                           \
    return bits_of(canon(expr));                                                                                       \
  }                                                                                                                    \
  HANDLER(name) {                                                                                                      \
    L64 *d = R64(0);                                                                                                   \
    const L64 *a = R64(1), *b = R64(2), *c = R64(n);                                                                   \
    LANES {                                                                                                            \
      uint64_t r = (uint64_t)one_##name((uint32_t)(a[l] >> 32), (uint32_t)(b[l] >> 32), (uint32_t)(c[l] >> 32)) << 32 | \
                   one_##name((uint32_t)a[l], (uint32_t)b[l], (uint32_t)c[l]);                                         \
      d[l] = (mask & lane_bit[l]) ? r : d[l];                                                                          \
    }                                                                                                                  \
    return STEP_NEXT;                                                                                                  \
  }
TWO(add_f32x2, 2, x + y)
TWO(mul_f32x2, 2, x *y)
TWO(fma_f32x2, 3, __builtin_fmaf(x, y, z))

/* mov between a register and its parts: the first element is the low one */
HANDLER(mov_unpack_b32_h) {
  L32 *d0 = R32(0), *d1 = R32(1);
  const L32 *a = R32(2);
  LANES {
    uint32_t v = a[l], on = mask & lane_bit[l];
    d0[l] = on ? v & 0xffff : d0[l];
    d1[l] = on ? v >> 16 : d1[l];
  }
  return STEP_NEXT;
}
HANDLER(mov_unpack_b64_r) {
  L32 *d0 = R32(0), *d1 = R32(1);
  const L64 *a = R64(2);
  LANES {
    uint64_t v = a[l];
    uint32_t on = mask & lane_bit[l];
    d0[l] = on ? (uint32_t)v : d0[l];
    d1[l] = on ? (uint32_t)(v >> 32) : d1[l];
  }
  return STEP_NEXT;
}
HANDLER(mov_pack_b64_h) {
  L64 *d = R64(0);
  const L32 *a0 = R32(1), *a1 = R32(2), *a2 = R32(3), *a3 = R32(4);
  LANES {
    uint64_t v = (uint64_t)a3[l] << 48 | (uint64_t)a2[l] << 32 | a1[l] << 16 | a0[l];
    d[l] = (mask & lane_bit[l]) ? v : d[l];
  }
  return STEP_NEXT;
}
HANDLER(mov_unpack_b64_h) {
  const L64 *a = R64(4);
  for (int i = 0; i < 4; i++) {
    L32 *d = R32(i);
    LANES { d[l] = (mask & lane_bit[l]) ? (uint32_t)(a[l] >> 16 * i) & 0xffff : d[l]; }
  }
  return STEP_NEXT;
}
HANDLER(mov_clock) { /* warp instructions that the CTA's warps have left, downwards: monotonic within a warp */
  uint64_t now = sim_warp_count(w);
  if (in->size == 8) {
    L64 *d = R64(0);
    LANES { d[l] = (mask & lane_bit[l]) ? now : d[l]; }
  } else {
    L32 *d = R32(0);
    LANES { d[l] = (mask & lane_bit[l]) ? (uint32_t)now : d[l]; }
  }
  return STEP_NEXT;
}
