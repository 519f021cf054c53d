/* matrix.h - ldmatrix, stmatrix, movmatrix. Written from the manual's index formulas (PTX ISA, Warp-level matrix instructions), not from
 * the generator's layouts. Lane 4g+q (g row group 0..7, q 0..3):
 *
 *   8x8 matrix of 16 bits in a register   word (g, q) holds row g, columns 2q and 2q+1: the register's 32 words are the matrix, row by row */

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
    int r = write ? shadow_write_together(w, in, (uint32_t)addr[l], 16, (int)l, &readers)
                  : shadow_read_together(w, in, (uint32_t)addr[l], 16, (int)l);
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
