/* mma.h - mma.sync. Written from the manual's index formulas (PTX ISA, Warp-level matrix instructions), not from the generator's layouts.
 * Lane 4g+q (g row group 0..7, q 0..3):
 *
 *   A m16 k16 (16 bits)                   register i: rows g + 8*(i&1), k 8*(i>>1) + 2q, +1
 *   B k16 n8  (16 bits)                   register i: k 8*i + 2q, +1, column g: the words are B transposed, [n][k]
 *   C, D m16 n8 (32 bits)                 register i: row g + 8*(i>>1), column 2q + (i&1)
 *
 * Arithmetic: with mma=fast products exact, added in f32 by fused multiply-add, k ascending, starting from C; with mma=exact as tensor.h
 * has it (docs/simulator.md). */

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

static inline int multiply16(SimWarp *w, const SimInstr *in, uint32_t mask, bool is_bf16, const TensorModel *model) {
  float a[256] __attribute__((aligned(64))), b[128] __attribute__((aligned(64)));
  F32 d[4][SIM_LANES] __attribute__((aligned(64)));
  int k8 = in->n, first_a = 4, first_b = 4 + 2 * k8, first_c = first_b + k8;
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
  for (int i = 0; i < 2 * k8; i++) widen_a(R32(first_a + i), is_bf16, a + 64 * i);
  for (int i = 0; i < k8; i++) widen_b(R32(first_b + i), is_bf16, b + 64 * i);
  for (int i = 0; i < 4; i++) memcpy(d[i], R32(first_c + i), 128);
  if (model) {
    exact_rows(model, is_bf16 ? -126 : -14, k8, a, b, d);
  } else {
    multiply_rows(a, b, k8, d[0], d[1]);      /* rows 0..7: a's registers 0 and 2 */
    multiply_rows(a + 64, b, k8, d[2], d[3]); /* rows 8..15: 1 and 3 */
  }
  for (int i = 0; i < 4; i++) {
    F32 *out = RF32(i);
    LANES { out[l] = canon(d[i][l]); }
  }
  w->macs += 16 * 8 * 8 * (uint64_t)k8;
  return STEP_NEXT;
}
HANDLER(mma_f16) { return multiply16(w, in, mask, false, NULL); }
HANDLER(mma_bf16) { return multiply16(w, in, mask, true, NULL); }
HANDLER(mma_f16_exact) { return multiply16(w, in, mask, false, tensor_model(w, TENSOR_F16)); }
HANDLER(mma_bf16_exact) { return multiply16(w, in, mask, true, tensor_model(w, TENSOR_F16)); }

/* ---- the other float shapes: element by element from the index formulas. sub = a type | b type << 4; n = K ---- */

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
    for (int j = 0; j < 8; j++)
      c[i][j] = w->cta->launch->dev->mma_exact ? exact_element(tensor_model(w, tensor_kind(ta)), ta, tb, &a[i][0], &b[0][j], 8, K, c[i][j], half)
                                               : plain_element(&a[i][0], &b[0][j], 8, K, c[i][j]);
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

/* ---- integers of 8, 4 and 1 bits, exact. sub: 1 a signed, 2 b signed, 4 saturate, 8 and (1 bit; otherwise xor); size = rows (8 or 16);
 * n = K / 8; space: bits of an element ---- */

static inline int32_t mma_integer(uint32_t word, int bits, int i, bool is_signed) {
  uint32_t v = word >> bits * i;
  if (bits == 1) return v & 1;
  if (bits == 4) return is_signed ? (int32_t)(v << 28) >> 28 : (int32_t)(v & 15);
  return is_signed ? (int8_t)v : (int32_t)(v & 0xff);
}

HANDLER(mma_int) {
  int K = in->n * 8, M = in->size, bits = in->space, per = 32 / bits, blocks = K / (4 * per), halves = M / 8;
  int nc = 2 * halves, first_a = nc, first_b = nc + halves * blocks, first_c = first_b + blocks;
  int32_t a[16][256], b[256][8];
  int64_t c[16][8];
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
  for (int l = 0; l < SIM_LANES; l++) {
    int g = l >> 2, q = l & 3;
    for (int e = 0; e < per; e++) {
      for (int i = 0; i < halves * blocks; i++)
        a[g + 8 * (i % halves)][(i / halves) * 4 * per + per * q + e] = mma_integer(R32(first_a + i)[l], bits, e, in->sub & 1);
      for (int i = 0; i < blocks; i++) b[i * 4 * per + per * q + e][g] = mma_integer(R32(first_b + i)[l], bits, e, in->sub & 2);
    }
    for (int i = 0; i < nc; i++) c[g + 8 * (i >> 1)][2 * q + (i & 1)] = (int32_t)R32(first_c + i)[l];
  }
  for (int i = 0; i < M; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) c[i][j] += bits > 1 || in->sub & 8 ? a[i][k] * b[k][j] : a[i][k] ^ b[k][j];
  for (int l = 0; l < SIM_LANES; l++)
    for (int i = 0; i < nc; i++) {
      int64_t v = c[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)];
      R32(i)[l] = in->sub & 4 ? (uint32_t)clamp64(v) : (uint32_t)v;
    }
  w->macs += (uint64_t)M * 8 * (uint64_t)K;
  return STEP_NEXT;
}

/* ---- m8n8k4 of f16: four products, each of lanes 4p..4p+3 and 16+4p.. (p: 0..3). sub: 1 a by columns, 2 b by rows (the manual's .col and
 * .row), 4 f32 C, 8 f32 D. Layouts by the manual's figures for .m8n8k4 ---- */

static void quad_place(int lane, int i, bool is_f32, int *row, int *col) { /* of C and D */
  int high = lane < 16 ? 0 : 4;
  *row = high + (is_f32 ? (lane & 1) + (i & 2) : lane & 3);
  *col = is_f32 ? (i & 4) + (lane & 2) + (i & 1) : i;
}

HANDLER(mma_quad) {
  bool a_cols = in->sub & 1, b_rows = in->sub & 2, c32 = in->sub & 4, d32 = in->sub & 8;
  int first_a = d32 ? 8 : 4, first_c = first_a + 4, row, col;
  float a[4][8][4], b[4][4][8], c[4][8][8];
  if (whole_collective(w, in, mask, "mma.sync") != STEP_NEXT) return STEP_YIELD;
  for (int l = 0; l < SIM_LANES; l++) {
    int p = l % 16 / 4, high = l < 16 ? 0 : 4;
    for (int i = 0; i < 4; i++) {
      float x = f32_of_f16(R32(first_a + i / 2)[l] >> 16 * (i & 1) & 0xffff), y = f32_of_f16(R32(first_a + 2 + i / 2)[l] >> 16 * (i & 1) & 0xffff);
      if (a_cols) a[p][i + high][l & 3] = x;
      else a[p][(l & 3) + high][i] = x;
      if (b_rows) b[p][l & 3][i + high] = y;
      else b[p][i][(l & 3) + high] = y;
    }
    for (int i = 0; i < 8; i++) {
      quad_place(l, i, c32, &row, &col);
      c[p][row][col] = c32 ? RF32(first_c + i)[l] : f32_of_f16(R32(first_c + i / 2)[l] >> 16 * (i & 1) & 0xffff);
    }
  }
  for (int p = 0; p < 4; p++)
    for (int i = 0; i < 8; i++)
      for (int j = 0; j < 8; j++) c[p][i][j] = plain_element(&a[p][i][0], &b[p][0][j], 8, 4, c[p][i][j]);
  for (int l = 0; l < SIM_LANES; l++) {
    int p = l % 16 / 4;
    uint32_t h[8];
    for (int i = 0; i < 8; i++) {
      quad_place(l, i, d32, &row, &col);
      if (d32) RF32(i)[l] = canon(c[p][row][col]);
      h[i] = f16_of_f32(c[p][row][col]);
    }
    for (int i = 0; i < 4 && !d32; i++) R32(i)[l] = h[2 * i] | h[2 * i + 1] << 16;
  }
  w->macs += 4 * 8 * 8 * 4;
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
