/* tensor.h - how tensor cores add up, as data: one row for each generation and kind of operands.
 *
 * One output element is computed in groups of `group` products and the accumulator. A product's significand is exact and its exponent the
 * sum of its factors' exponents, not normalised; subnormal factors keep the least exponent of their type; zeros take no part. All terms
 * are truncated towards zero to multiples of 2^(E - fraction), E being the largest exponent of the group, added exactly, and the sum is
 * truncated to `kept` bits behind its first. Groups follow one another, k ascending, each with the result of the last as its accumulator.
 * With `apart` (fp8 by way of f16) the groups start from zero and C is added at the end, rounded to nearest.
 *
 * Sources: the PTX ISA leaves this open. F. Fasi, N. Higham, M. Mikaitis, S. Pranesh, Numerical behavior of NVIDIA tensor cores (2021:
 * Volta to Ampere); M. Mikaitis and others on later parts; DeepSeek-V3 report (Hopper's fp8); tests/isa/tensor_probe.py asks a GPU. */

enum { MMA_F16, MMA_BF16, MMA_TF32, MMA_E4M3, MMA_E5M2 };
typedef enum { TENSOR_F16, TENSOR_TF32, TENSOR_FP8, TENSOR_WG_FP8, TENSOR_KINDS } TensorKind; /* f16: and bf16; WG: wgmma */
typedef struct TensorModel { uint8_t fraction, group, kept; bool apart; } TensorModel;

/*                                             f16, bf16              tf32                   e4m3, e5m2             the same in wgmma */
static const TensorModel tensor_models[SIM_TENSOR_GENERATIONS][TENSOR_KINDS] = {
  [SIM_TENSOR_TURING] =                      {{24, 8, 23, false},    {0},                   {0},                   {0}},
  [SIM_TENSOR_AMPERE] =                      {{24, 8, 23, false},    {24, 4, 23, false},    {0},                   {0}},
  [SIM_TENSOR_ADA] =                         {{24, 8, 23, false},    {24, 4, 23, false},    {13, 16, 13, false},   {0}},
  [SIM_TENSOR_HOPPER] =                      {{25, 16, 23, false},   {25, 8, 23, false},    {25, 16, 23, true},    {13, 32, 13, false}},
  [SIM_TENSOR_BLACKWELL] =                   {{25, 16, 23, false},   {25, 8, 23, false},    {25, 16, 23, true},    {0}},
  [SIM_TENSOR_BLACKWELL_RTX] =               {{25, 16, 23, false},   {25, 8, 23, false},    {25, 32, 23, false},   {0}},
};

static const TensorModel *tensor_model(const SimWarp *w, TensorKind kind) {
  const TensorModel *m = &tensor_models[w->cta->launch->dev->target->tensor][kind];
  return m->group ? m : &tensor_models[SIM_TENSOR_AMPERE][TENSOR_F16]; /* the form does not exist there */
}

enum { NO_EXPONENT = -100000 }; /* of zero: below every sum of two others */

static inline int32_t exponent_of(float f, int32_t least) {
  uint32_t u = bits_of(f) & 0x7fffffffu;
  int32_t e = (int32_t)(u >> 23) - 127;
  e = e > least ? e : least;
  return u ? e : NO_EXPONENT;
}

static inline double power_of_two(int32_t e) { return f64_of((uint64_t)(1023 + e) << 52); } /* e within the normal range */

static inline double truncate_kept(double r, int kept) { return f64_of(bits_of64(r) & ~(((uint64_t)1 << (52 - kept)) - 1)); }

static inline float narrow_to_zero(double r) { /* beyond the largest: infinity */
  double size = r < 0 ? -r : r;
  float f = (float)r;
  if (size >= 0x1p128) return r < 0 ? -__builtin_inff() : __builtin_inff();
  double got = f < 0 ? -(double)f : (double)f;
  return got > size ? f32_of(bits_of(f) - 1) : f;
}

/* One group, by the description above; not yet rounded to a type. a, b: n factors, b's sb apart. */
static double exact_group(const TensorModel *m, const float *a, int32_t least_a, const float *b, int sb, int32_t least_b, int n, double c) {
  int32_t top = c == 0 ? NO_EXPONENT : exponent_of((float)c, -126);
  double any = c;
  for (int k = 0; k < n; k++) {
    int32_t e = exponent_of(a[k], least_a) + exponent_of(b[k * sb], least_b);
    top = e > top ? e : top;
    any += (double)a[k] * b[k * sb];
  }
  if (any - any != 0) return any; /* an infinity or a NaN among them */
  if (top < NO_EXPONENT / 2) return 0;
  double scale = power_of_two(m->fraction - top);
  int64_t sum = (int64_t)(c * scale);
  for (int k = 0; k < n; k++) sum += (int64_t)((double)a[k] * b[k * sb] * scale);
  return (double)sum * power_of_two(top - m->fraction);
}

static int32_t least_exponent(int type) { return type == MMA_F16 || type == MMA_E5M2 ? -14 : type == MMA_E4M3 ? -6 : -126; }

static TensorKind tensor_kind(int ta) { return ta == MMA_TF32 ? TENSOR_TF32 : ta <= MMA_BF16 ? TENSOR_F16 : TENSOR_FP8; }

static float exact_element(const TensorModel *m, int ta, int tb, const float *a, const float *b, int sb, int K, float c, bool half) {
  int32_t least_a = least_exponent(m->apart ? MMA_F16 : ta), least_b = least_exponent(m->apart ? MMA_F16 : tb);
  double r = m->apart ? 0 : c;
  for (int k = 0; k < K; k += m->group) {
    int n = K - k < m->group ? K - k : m->group;
    r = exact_group(m, a + k, least_a, b + k * sb, sb, least_b, n, r);
    if (!half || k + n < K || m->apart) r = narrow_to_zero(truncate_kept(r, m->kept));
  }
  if (m->apart) r = (float)r + c;
  return half ? f32_of_f16(f16_of_f64(r)) : (float)r;
}

static float plain_element(const float *a, const float *b, int sb, int K, float c) {
  for (int k = 0; k < K; k++) c = __builtin_fmaf(a[k], b[k * sb], c);
  return c;
}

/* ---- m16n8 of f16 and bf16 with f32 accumulation: eight columns at once. Where the exponents stay within what f32 and 32-bit sums hold;
 * elsewhere element by element ---- */

typedef struct Octet { float scale[8]; double back[8]; } Octet;

static inline bool octet_exponents(const TensorModel *m, const int32_t *ea, const int32_t *eb, int n, const float *c, Octet *o) {
  int32_t odd = 0, top[8];
  for (int j = 0; j < 8; j++) top[j] = exponent_of(c[j], -126);
  for (int k = 0; k < n; k++)
    for (int j = 0; j < 8; j++) {
      int32_t e = ea[k] + eb[8 * k + j];
      top[j] = e > top[j] ? e : top[j];
    }
  for (int j = 0; j < 8; j++) {
    int32_t e = top[j] < NO_EXPONENT / 2 ? 0 : top[j];
    odd |= (e > 100) | (e < -90);
    o->scale[j] = f32_of((uint32_t)(127 + m->fraction - e) << 23);
    o->back[j] = f64_of((uint64_t)(uint32_t)(1023 + e - m->fraction) << 52);
  }
  return !odd;
}

/* Eight products and C stay below 2^30 at a fraction of 25, so that a half of the group is added up in 32 bits. */
static inline void octet_sums(const float *a, const float *b, int n, float *c, Octet *o) {
  double total[8] = {0};
  float scale[8];
  memcpy(scale, o->scale, sizeof scale);
  for (int first = 0; first < n; first += 8) {
    int32_t sum[8];
    for (int j = 0; j < 8; j++) sum[j] = first ? 0 : (int32_t)(c[j] * scale[j]);
    UNROLL8 for (int k = first; k < first + 8; k++)
      for (int j = 0; j < 8; j++) sum[j] += (int32_t)(a[k] * b[8 * k + j] * scale[j]);
    for (int j = 0; j < 8; j++) total[j] += sum[j];
  }
  for (int j = 0; j < 8; j++) c[j] = (float)(truncate_kept(total[j], 23) * o->back[j]);
}

/* a as widen_a leaves it (64 floats for each register: rows of 8 k), b as widen_b (64 for each: 8 columns for each k), d: C's registers */
static void exact_rows(const TensorModel *m, int32_t least, int k8, const float *a, const float *b, F32 (*d)[SIM_LANES]) {
  int32_t ea[256] __attribute__((aligned(64))), eb[128] __attribute__((aligned(64)));
  int blocks = m->group / 8 < k8 ? m->group / 8 : k8;
  bool wild = false;
  for (int i = 0; i < 128 * k8; i++) ea[i] = exponent_of(a[i], least);
  for (int i = 0; i < 64 * k8; i++) eb[i] = exponent_of(b[i], least);
  for (int row = 0; row < 16; row++) {
    int g = row & 7, high = row >> 3;
    F32 *even = d[2 * high] + 4 * g, *odd = d[2 * high + 1] + 4 * g;
    float c[8] __attribute__((aligned(32))), x[16];
    int32_t ex[16];
    memcpy(c, even, 16), memcpy(c + 4, odd, 16);
    for (int h = 0; h < k8; h += blocks) {
      Octet o __attribute__((aligned(64)));
      for (int i = 0; i < blocks; i++) {
        memcpy(x + 8 * i, a + 128 * (h + i) + 64 * high + 8 * g, 32);
        memcpy(ex + 8 * i, ea + 128 * (h + i) + 64 * high + 8 * g, 32);
      }
      wild = !octet_exponents(m, ex, eb + 64 * h, 8 * blocks, c, &o);
      if (!wild) octet_sums(x, b + 64 * h, 8 * blocks, c, &o);
      for (int j = 0; j < 8 && wild; j++) {
        double r = exact_group(m, x, least, b + 64 * h + j, 8, least, 8 * blocks, c[j]);
        c[j] = narrow_to_zero(truncate_kept(r, m->kept));
      }
    }
    memcpy(even, c, 16), memcpy(odd, c + 4, 16);
  }
}
