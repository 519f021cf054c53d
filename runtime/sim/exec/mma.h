/* mma.h - ldmatrix, stmatrix, movmatrix, mma.sync. Written from the manual's index formulas (PTX ISA, Warp-level matrix instructions),
 * not from the generator's layouts. Lane 4g+q (g row group 0..7, q 0..3):
 *
 *   8x8 matrix of 16 bits in a register   word (g, q) holds row g, columns 2q and 2q+1: the register's 32 words are the matrix, row by row
 *   A m16 k16 (16 bits)                   register i: rows g + 8*(i&1), k 8*(i>>1) + 2q, +1
 *   B k16 n8  (16 bits)                   register i: k 8*i + 2q, +1, column g: the words are B transposed, [n][k]
 *   C, D m16 n8 (32 bits)                 register i: row g + 8*(i>>1), column 2q + (i&1)
 *
 * Arithmetic: products exact, added in f32 by fused multiply-add, k ascending, starting from C (docs/simulator.md). */

static int whole_collective(SimWarp *w, const SimInstr *in, uint32_t mask, const char *what) {
  if (mask == SIM_FULL) return STEP_NEXT;
  return sim_fault(w, in, (int)__builtin_ctz(~mask), DRV_LAUNCH_FAILED, "collective", "", 0,
                   "%s needs all 32 lanes of the warp together; lanes 0x%08x are not here", what, ~mask);
}

/* ---- matrices between shared memory and registers ---- */

static int row_addresses(SimWarp *w, const SimInstr *in, uint32_t mask, int slot, bool write, uint64_t *addr) {
  uint32_t rows = in->n * 8u, need = rows == 32 ? SIM_FULL : (1u << rows) - 1;
  if (whole_collective(w, in, mask, write ? "stmatrix" : "ldmatrix") != STEP_NEXT) return STEP_YIELD;
  read_addresses(w, in, slot, in->flags & SIM_I_ADDR32, in->imm, addr);
  if (shared_bad(w, need, addr, 16)) return fault_shared(w, in, need, addr, 16, write ? "writes" : "reads");
  if (!w->checks) return STEP_NEXT;
  Readers readers;
  if (write) find_readers(w, &readers);
  for (uint32_t l = 0; l < rows; l++) {
    int r = write ? shadow_write(w, in, (uint32_t)addr[l], 16, (int)l, 0, &readers) : shadow_read(w, in, (uint32_t)addr[l], 16, (int)l);
    if (r != STEP_NEXT) return r;
  }
  return STEP_NEXT;
}

static inline void transpose8(L32 *d, const uint16_t *m) { /* 8x8 halves, row by row */
#ifdef __SSE2__
  __m128i r[8], t[8];
  UNROLL8 for (int i = 0; i < 8; i++) r[i] = _mm_load_si128((const __m128i *)(const void *)(m + 8 * i));
  UNROLL8 for (int i = 0; i < 4; i++) t[2 * i] = _mm_unpacklo_epi16(r[i], r[i + 4]), t[2 * i + 1] = _mm_unpackhi_epi16(r[i], r[i + 4]);
  UNROLL8 for (int i = 0; i < 4; i++) r[2 * i] = _mm_unpacklo_epi16(t[i], t[i + 4]), r[2 * i + 1] = _mm_unpackhi_epi16(t[i], t[i + 4]);
  UNROLL8 for (int i = 0; i < 4; i++) t[2 * i] = _mm_unpacklo_epi16(r[i], r[i + 4]), t[2 * i + 1] = _mm_unpackhi_epi16(r[i], r[i + 4]);
  UNROLL8 for (int i = 0; i < 8; i++) _mm_store_si128((__m128i *)(void *)(d + 4 * i), t[i]);
#else
  uint16_t t[64];
  for (int r = 0; r < 8; r++)
    for (int c = 0; c < 8; c++) t[c * 8 + r] = m[r * 8 + c];
  memcpy(d, t, 128);
#endif
}

HANDLER(ldmatrix) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  if (row_addresses(w, in, mask, in->n, false, addr) != STEP_NEXT) return STEP_YIELD;
  for (int j = 0; j < in->n; j++) {
    uint16_t m[64] __attribute__((aligned(64)));
    for (int r = 0; r < 8; r++) memcpy(m + 8 * r, w->shared + addr[8 * j + r], 16);
    if (in->flags & SIM_I_TRANS) transpose8(R32(j), m);
    else memcpy(R32(j), m, 128);
  }
  return STEP_NEXT;
}

HANDLER(stmatrix) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  if (row_addresses(w, in, mask, 0, true, addr) != STEP_NEXT) return STEP_YIELD;
  for (int j = 0; j < in->n; j++) {
    uint32_t m[32] __attribute__((aligned(64)));
    if (in->flags & SIM_I_TRANS) transpose8(m, (const uint16_t *)(const void *)R32(j + 1));
    else memcpy(m, R32(j + 1), 128);
    for (int r = 0; r < 8; r++) memcpy(w->shared + addr[8 * j + r], m + 4 * r, 16);
  }
  return STEP_NEXT;
}

HANDLER(movmatrix) {
  uint16_t m[64] __attribute__((aligned(64)));
  if (whole_collective(w, in, mask, "movmatrix") != STEP_NEXT) return STEP_YIELD;
  memcpy(m, R32(1), 128);
  transpose8(R32(0), m);
  return STEP_NEXT;
}

/* ---- m16n8 with f16 or bf16, f32 accumulation: the fast one. n = K/8. Columns of a row run 0 2 4 6 1 3 5 7, as C's registers do. ---- */

static inline void widen_a(const L32 *r, bool is_bf16, float *a) { /* 32 words -> 64 floats, row by row */
#ifdef SIM_HAS_AVX2
  if (!is_bf16) {
    for (int i = 0; i < 8; i++) _mm256_store_ps(a + 8 * i, _mm256_cvtph_ps(_mm_load_si128((const __m128i *)r + i)));
    return;
  }
#endif
#ifdef SIM_HAS_AVX2
  if (is_bf16) {
    for (int i = 0; i < 8; i++)
      _mm256_store_si256((__m256i *)(a + 8 * i), _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)r + i)), 16));
    return;
  }
#endif
  for (int i = 0; i < 32; i++) {
    a[2 * i] = is_bf16 ? f32_of(r[i] << 16) : f32_of_f16(r[i] & 0xffff);
    a[2 * i + 1] = is_bf16 ? f32_of(r[i] & 0xffff0000u) : f32_of_f16(r[i] >> 16);
  }
}

/* b[k][column order]: word (n, q) of the register holds k = 2q, 2q+1 of column n */
static inline void widen_b(const L32 *r, bool is_bf16, float *b) {
  static const uint8_t column[8] = {0, 2, 4, 6, 1, 3, 5, 7};
#ifdef SIM_HAS_AVX2
  const __m256i index = _mm256_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28); /* 4 * column */
  for (int q = 0; q < 4; q++) {
    __m256i v = _mm256_i32gather_epi32((const int *)r + q, index, 4);
    if (is_bf16) {
      _mm256_store_si256((__m256i *)(b + 16 * q), _mm256_slli_epi32(v, 16));
      _mm256_store_si256((__m256i *)(b + 16 * q + 8), _mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000)));
    } else {
      __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff)), high = _mm256_srli_epi32(v, 16);
      __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
      _mm256_store_ps(b + 16 * q, _mm256_cvtph_ps(_mm256_castsi256_si128(both)));
      _mm256_store_ps(b + 16 * q + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1)));
    }
  }
  return;
#else
  for (int q = 0; q < 4; q++)
    for (int c = 0; c < 8; c++) {
      uint32_t v = r[4 * column[c] + q];
      b[16 * q + c] = is_bf16 ? f32_of(v << 16) : f32_of_f16(v & 0xffff);
      b[16 * q + 8 + c] = is_bf16 ? f32_of(v & 0xffff0000u) : f32_of_f16(v >> 16);
    }
#endif
  (void)column;
}

/* rows of a: pointers into the widened registers; acc += a * b, k ascending */
static inline void multiply_rows(const float *a, const float *b, int k8, F32 *even, F32 *odd) {
#ifdef SIM_HAS_AVX2
  __m256 acc[8];
  UNROLL8 for (int g = 0; g < 8; g++)
    acc[g] = _mm256_set_m128(_mm_load_ps((const float *)odd + 4 * g), _mm_load_ps((const float *)even + 4 * g));
  for (int h = 0; h < k8; h++) {
    UNROLL8 for (int k = 0; k < 8; k++) {
      __m256 v = _mm256_load_ps(b + 64 * h + 8 * k);
      UNROLL8 for (int g = 0; g < 8; g++) acc[g] = _mm256_fmadd_ps(_mm256_broadcast_ss(a + 128 * h + 8 * g + k), v, acc[g]);
    }
  }
  UNROLL8 for (int g = 0; g < 8; g++) {
    _mm_store_ps((float *)even + 4 * g, _mm256_castps256_ps128(acc[g]));
    _mm_store_ps((float *)odd + 4 * g, _mm256_extractf128_ps(acc[g], 1));
  }
#else
  for (int g = 0; g < 8; g++)
    for (int c = 0; c < 8; c++) {
      F32 *d = c < 4 ? even + 4 * g + c : odd + 4 * g + c - 4;
      float acc = *d;
      for (int k = 0; k < 8 * k8; k++) acc = __builtin_fmaf(a[128 * (k / 8) + 8 * g + k % 8], b[8 * k + c], acc);
      *d = acc;
    }
#endif
}

static inline int multiply16(SimWarp *w, const SimInstr *in, uint32_t mask, bool is_bf16) {
  float a[256] __attribute__((aligned(64))), b[128] __attribute__((aligned(64)));
  F32 d[4][SIM_LANES] __attribute__((aligned(64)));
  int k8 = in->n, first_a = 4, first_b = 4 + 2 * k8, first_c = first_b + k8;
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
  for (int i = 0; i < 2 * k8; i++) widen_a(R32(first_a + i), is_bf16, a + 64 * i);
  for (int i = 0; i < k8; i++) widen_b(R32(first_b + i), is_bf16, b + 64 * i);
  for (int i = 0; i < 4; i++) memcpy(d[i], R32(first_c + i), 128);
  multiply_rows(a, b, k8, d[0], d[1]);      /* rows 0..7: a's registers 0 and 2 */
  multiply_rows(a + 64, b, k8, d[2], d[3]); /* rows 8..15: 1 and 3 */
  for (int i = 0; i < 4; i++) {
    F32 *out = RF32(i);
    LANES { out[l] = canon(d[i][l]); }
  }
  w->macs += 16 * 8 * 8 * (uint64_t)k8;
  return STEP_NEXT;
}
HANDLER(mma_f16) { return multiply16(w, in, mask, false); }
HANDLER(mma_bf16) { return multiply16(w, in, mask, true); }

/* ---- the other float shapes: element by element from the index formulas. sub = a type | b type << 4; n = K ---- */

enum { MMA_F16, MMA_BF16, MMA_TF32, MMA_E4M3, MMA_E5M2 };
static inline float mma_element(uint32_t word, int type, int i) { /* i-th element of a register */
  switch (type) {
  case MMA_F16: return f32_of_f16(word >> 16 * i & 0xffff);
  case MMA_BF16: return f32_of(word >> 16 * i << 16);
  case MMA_TF32: return f32_of(word & 0xffffe000u); /* the low 13 bits are not read */
  case MMA_E4M3: return f32_of_e4m3(word >> 8 * i & 0xff);
  default: return f32_of_e5m2(word >> 8 * i & 0xff);
  }
}

/* A's registers: rows g + 8*(i&1), then the next block of 4 words' worth of k; B's: the next such block. */
HANDLER(mma_general) {
  int ta = in->sub & 15, tb = in->sub >> 4 & 15, K = in->n;
  int per = ta == MMA_TF32 ? 1 : ta <= MMA_BF16 ? 2 : 4, step = 4 * per, blocks = K / step; /* elements per register; k of a block */
  bool half = in->flags & SIM_I_SIGNED;                                                     /* f16 C and D */
  int nc = half ? 2 : 4, first_a = nc, first_b = nc + 2 * blocks, first_c = first_b + blocks;
  float a[16][32], b[32][8], c[16][8];
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
  for (int l = 0; l < SIM_LANES; l++) {
    int g = l >> 2, q = l & 3;
    for (int i = 0; i < 2 * blocks; i++)
      for (int e = 0; e < per; e++) a[g + 8 * (i & 1)][(i >> 1) * step + q * per + e] = mma_element(R32(first_a + i)[l], ta, e);
    for (int i = 0; i < blocks; i++)
      for (int e = 0; e < per; e++) b[i * step + q * per + e][g] = mma_element(R32(first_b + i)[l], tb, e);
    for (int i = 0; i < 4; i++)
      c[g + 8 * (i >> 1)][2 * q + (i & 1)] =
        half ? f32_of_f16(R32(first_c + (i >> 1))[l] >> 16 * (i & 1) & 0xffff) : RF32(first_c + i)[l];
  }
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) c[i][j] = __builtin_fmaf(a[i][k], b[k][j], c[i][j]);
  for (int l = 0; l < SIM_LANES; l++) {
    int g = l >> 2, q = l & 3;
    for (int i = 0; i < nc; i++) {
      if (half) R32(i)[l] = f16_of_f32(c[g + 8 * i][2 * q]) | f16_of_f32(c[g + 8 * i][2 * q + 1]) << 16;
      else RF32(i)[l] = canon(c[g + 8 * (i >> 1)][2 * q + (i & 1)]);
    }
  }
  w->macs += 16 * 8 * (uint64_t)K;
  return STEP_NEXT;
}

/* ---- 8-bit integers, exact, wrapping. sub: 1 a signed, 2 b signed; size = rows (8 or 16) ---- */
HANDLER(mma_int) {
  int K = in->n, M = in->size, blocks = K / 16, halves = M / 8;
  int nc = 2 * halves, first_a = nc, first_b = nc + halves * blocks, first_c = first_b + blocks;
  int32_t a[16][32], b[32][8];
  uint32_t c[16][8];
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
#define BYTE(word, e, is_signed) ((is_signed) ? (int8_t)((word) >> 8 * (e)) : (int32_t)((word) >> 8 * (e) & 0xff))
  for (int l = 0; l < SIM_LANES; l++) {
    int g = l >> 2, q = l & 3;
    for (int e = 0; e < 4; e++) {
      for (int i = 0; i < halves * blocks; i++)
        a[g + 8 * (i % halves)][(i / halves) * 16 + 4 * q + e] = BYTE(R32(first_a + i)[l], e, in->sub & 1);
      for (int i = 0; i < blocks; i++) b[i * 16 + 4 * q + e][g] = BYTE(R32(first_b + i)[l], e, in->sub & 2);
    }
    for (int i = 0; i < nc; i++) c[g + 8 * (i >> 1)][2 * q + (i & 1)] = R32(first_c + i)[l];
  }
  for (int i = 0; i < M; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) c[i][j] += (uint32_t)(a[i][k] * b[k][j]);
  for (int l = 0; l < SIM_LANES; l++)
    for (int i = 0; i < nc; i++) R32(i)[l] = c[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)];
  w->macs += (uint64_t)M * 8 * (uint64_t)K;
  return STEP_NEXT;
}

/* m8n8k4 f64: a (g, k q), b (k q, g), c (g, 2q+i); an IEEE fma chain, k ascending */
HANDLER(mma_f64) {
  double a[8][4], b[4][8], c[8][8];
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
  for (int l = 0; l < SIM_LANES; l++) {
    int g = l >> 2, q = l & 3;
    a[g][q] = RF64(2)[l];
    b[q][g] = RF64(3)[l];
    c[g][2 * q] = RF64(4)[l];
    c[g][2 * q + 1] = RF64(5)[l];
  }
  for (int i = 0; i < 8; i++)
    for (int k = 0; k < 4; k++)
      for (int j = 0; j < 8; j++) c[i][j] = __builtin_fma(a[i][k], b[k][j], c[i][j]);
  for (int l = 0; l < SIM_LANES; l++)
    for (int i = 0; i < 2; i++) RF64(i)[l] = canon64(c[l >> 2][2 * (l & 3) + i]);
  w->macs += 8 * 8 * 4;
  return STEP_NEXT;
}
