/* wgmma.h - products of a warpgroup: each warp computes its 16 rows of D. PTX ISA, Asynchronous warpgroup-level matrix instructions.
 *
 * Operands in shared memory are read in core matrices (descriptor.h); from there on the arithmetic is mma.sync's (mma.h, tensor.h): of D,
 * registers 4j to 4j + 3 are an m16 n8 fragment of columns 8j and on; A in registers is an m16 fragment of 32 bytes of K. */

enum { WG_F32, WG_F16, WG_S32 };
enum { WG_U8 = 5, WG_S8 = 6 }; /* after MMA_E5M2 */
#define WG_TYPE_A(in) ((in)->sub & 15)
#define WG_TYPE_B(in) ((in)->sub >> 4 & 15)
#define WG_KIND(in) ((in)->sub >> 8 & 3)     /* of D */
#define WG_A_REGS(in) ((in)->sub >> 10 & 1)
#define WG_NEGATE(in) ((in)->sub >> 11 & 1)  /* the product of the scales of A and B is -1 */
#define WG_TRANS_A(in) ((in)->sub >> 12 & 1)
#define WG_TRANS_B(in) ((in)->sub >> 13 & 1)
#define WG_D_REGS(in) ((in)->n * (WG_KIND(in) == WG_F16 ? 2 : 4)) /* n: N / 8 */

static inline int wg_elements(int type) { return type <= MMA_BF16 ? 8 : type == MMA_TF32 ? 4 : 16; } /* in 16 bytes */

/* A core matrix as 8 rows of M or N, 16 bytes of K each. */
static inline void wg_core(const SimWarp *w, const SimDescriptor *d, bool transposed, uint32_t i, uint32_t j, L32 *core) {
  uint16_t lines[64] __attribute__((aligned(64)));
  for (uint32_t r = 0; r < 8; r++)
    memcpy(transposed ? (void *)(lines + 8 * r) : (void *)(core + 4 * r), w->shared + sim_descriptor_line(d, transposed, i, j, r), 16);
  if (transposed) transpose8(core, lines);
}

static inline float wg_element(const L32 *row, int type, int e) {
  int per = wg_elements(type) / 4;
  return mma_element(row[e / per], type, e % per);
}

/* Rows of A, 8 by 8 values at a + 128 * (block of 8 k) + 64 * (which 8 rows), row by row, as multiply_rows reads them. */
static void wg_a_shared(const SimWarp *w, const SimInstr *in, const SimDescriptor *d, float *a) {
  int type = WG_TYPE_A(in), n = wg_elements(type);
  uint32_t first = (w->index & 3) * 2;
  for (uint32_t r = 0; r < 2; r++)
    for (uint32_t j = 0; j < 2; j++) {
      L32 core[32] __attribute__((aligned(64)));
      wg_core(w, d, WG_TRANS_A(in), first + r, j, core);
      if (n == 8) widen_a(core, type == MMA_BF16, a + 128 * j + 64 * r);
      else
        for (int g = 0; g < 8; g++)
          for (int e = 0, k = (int)j * n; e < n; e++, k++) a[128 * (k / 8) + 64 * r + 8 * g + k % 8] = wg_element(core + 4 * g, type, e);
    }
}

static void wg_a_registers(SimWarp *w, const SimInstr *in, int first, float *a) {
  int type = WG_TYPE_A(in), n = wg_elements(type), per = n / 4;
  for (int i = 0; i < 4; i++) {
    const L32 *reg = R32(first + i);
    if (n == 8) widen_a(reg, type == MMA_BF16, a + 64 * i);
    else
      for (int l = 0; l < SIM_LANES; l++)
        for (int e = 0; e < per; e++) {
          int k = (i >> 1) * n + (l & 3) * per + e;
          a[128 * (k / 8) + 64 * (i & 1) + 8 * (l >> 2) + k % 8] = mma_element(reg[l], type, e);
        }
  }
}

/* Eight columns of B: b + 64 * (block of 8 k) + 8 * k, columns in the order 0 2 4 6 1 3 5 7. */
static void wg_b(const SimWarp *w, const SimInstr *in, const SimDescriptor *d, uint32_t column8, float *b) {
  int type = WG_TYPE_B(in), n = wg_elements(type);
  for (uint32_t j = 0; j < 2; j++) {
    L32 core[32] __attribute__((aligned(64)));
    wg_core(w, d, WG_TRANS_B(in), column8, j, core);
    if (n == 8) widen_b(core, type == MMA_BF16, b + 64 * j);
    else
      for (int c = 0; c < 8; c++)
        for (int e = 0, k = (int)j * n; e < n; e++, k++) b[8 * k + c / 2 + 4 * (c & 1)] = wg_element(core + 4 * c, type, e);
  }
}

/* Eight columns: d += a * b, as mma.sync has it; with mma=exact as tensor.h does. */
static void wg_multiply(const SimWarp *w, const SimInstr *in, const float *a, const float *b, int k8, F32 (*d)[SIM_LANES], bool half) {
  if (!w->cta->launch->dev->mma_exact) {
    multiply_rows(a, b, k8, d[0], d[1]);
    multiply_rows(a + 64, b, k8, d[2], d[3]);
    return;
  }
  int ta = WG_TYPE_A(in), tb = WG_TYPE_B(in);
  const TensorModel *m = tensor_model(w, ta >= MMA_E4M3 ? TENSOR_WG_FP8 : tensor_kind(ta));
  for (int row = 0; row < 16; row++) {
    int g = row & 7, high = row >> 3;
    float x[32];
    for (int h = 0; h < k8; h++) memcpy(x + 8 * h, a + 128 * h + 64 * high + 8 * g, 32);
    for (int j = 0; j < 8; j++) {
      F32 *c = &d[2 * high + j / 4][4 * g + j % 4];
      *c = exact_element(m, ta, tb, x, b + j, 8, 8 * k8, *c, half);
    }
  }
}

static void wg_columns_f32(SimWarp *w, const SimInstr *in, int j, const float *a, const float *b, int k8, bool add) {
  F32 d[4][SIM_LANES] __attribute__((aligned(64)));
  for (int i = 0; i < 4; i++) {
    if (add) memcpy(d[i], R32(4 * j + i), 128);
    else memset(d[i], 0, 128);
  }
  wg_multiply(w, in, a, b, k8, d, false);
  for (int i = 0; i < 4; i++) {
    F32 *out = RF32(4 * j + i);
    LANES { out[l] = canon(d[i][l]); }
  }
}

static void wg_columns_f16(SimWarp *w, const SimInstr *in, int j, const float *a, const float *b, int k8, bool add) {
  F32 d[4][SIM_LANES] __attribute__((aligned(64)));
  for (int i = 0; i < 2; i++) {
    const L32 *c = R32(2 * j + i);
    LANES {
      d[2 * i][l] = add ? f32_of_f16(c[l] & 0xffff) : 0;
      d[2 * i + 1][l] = add ? f32_of_f16(c[l] >> 16) : 0;
    }
  }
  wg_multiply(w, in, a, b, k8, d, true);
  for (int i = 0; i < 2; i++) {
    L32 *out = R32(2 * j + i);
    LANES { out[l] = f16_of_f32(d[2 * i][l]) | f16_of_f32(d[2 * i + 1][l]) << 16; }
  }
}

/* ---- 8-bit integers, exact, wrapping ---- */

static inline int32_t wg_byte(uint32_t word, int e, bool is_signed) {
  return is_signed ? (int8_t)(word >> 8 * e) : (int32_t)(word >> 8 * e & 0xff);
}

static void wg_integers(SimWarp *w, const SimInstr *in, const SimDescriptor *da, const SimDescriptor *db, bool add) {
  int32_t a[16][32], b[32][8];
  L32 core[32] __attribute__((aligned(64)));
  bool as = WG_TYPE_A(in) == WG_S8, bs = WG_TYPE_B(in) == WG_S8;
  int first = WG_D_REGS(in);
  for (uint32_t i = 0; i < 4; i++) { /* quarters as registers hold them: rows 8 * (i & 1), k 16 * (i >> 1) and on */
    const L32 *quarter = core;
    if (WG_A_REGS(in)) quarter = R32(first + (int)i);
    else wg_core(w, da, false, (w->index & 3) * 2 + (i & 1), i >> 1, core);
    for (int g = 0; g < 8; g++)
      for (int e = 0; e < 16; e++) a[8 * (i & 1) + (uint32_t)g][16 * (i >> 1) + (uint32_t)e] = wg_byte(quarter[4 * g + e / 4], e & 3, as);
  }
  for (int j = 0; j < in->n; j++) {
    uint32_t c[16][8];
    for (uint32_t k = 0; k < 2; k++) {
      wg_core(w, db, false, (uint32_t)j, k, core);
      for (int col = 0; col < 8; col++)
        for (int e = 0; e < 16; e++) b[16 * k + (uint32_t)e][col] = wg_byte(core[4 * col + e / 4], e & 3, bs);
    }
    for (int l = 0; l < SIM_LANES; l++)
      for (int i = 0; i < 4; i++) c[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)] = add ? R32(4 * j + i)[l] : 0;
    for (int i = 0; i < 16; i++)
      for (int k = 0; k < 32; k++)
        for (int col = 0; col < 8; col++) c[i][col] += (uint32_t)(a[i][k] * b[k][col]);
    for (int l = 0; l < SIM_LANES; l++)
      for (int i = 0; i < 4; i++) R32(4 * j + i)[l] = c[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)];
  }
}

/* The whole product of one warp: D = A * B (+ D), by what lies in shared memory now. */
static void wg_product(SimWarp *w, const SimInstr *in, const SimDescriptor *da, const SimDescriptor *db, bool add) {
  float a[512] __attribute__((aligned(64))), b[256] __attribute__((aligned(64)));
  int k8 = wg_elements(WG_TYPE_A(in)) / 4;
  w->macs += 16 * 8 * 8 * (uint64_t)k8 * in->n;
  if (WG_KIND(in) == WG_S32) {
    wg_integers(w, in, da, db, add);
    return;
  }
  if (WG_A_REGS(in)) wg_a_registers(w, in, WG_D_REGS(in), a);
  else wg_a_shared(w, in, da, a);
  for (int i = 0; WG_NEGATE(in) && i < 128 * k8; i++) a[i] = -a[i];
  for (int j = 0; j < in->n; j++) {
    wg_b(w, in, db, (uint32_t)j, b);
    if (WG_KIND(in) == WG_F32) wg_columns_f32(w, in, j, a, b, k8, add);
    else wg_columns_f16(w, in, j, a, b, k8, add);
  }
}

/* ---- in flight: from issue to the wait that covers its group ----
 * The operands in shared memory are marked as being read, the registers that it holds as in use: op_tracked (level.h) reports whoever
 * touches them. The result is computed at the wait (lazy), at issue (eager) or at one of the moments between. */

typedef struct SimProduct { const SimInstr *in; uint64_t a, b; uint32_t group; bool add, done; } SimProduct;

#define WG_FAULT(lane, kind, space, address, ...) sim_fault(w, in, lane, DRV_LAUNCH_FAILED, kind, space, address, __VA_ARGS__)

static int wg_uniform(SimWarp *w, const SimInstr *in, int slot, const char *what) {
  const L64 *v = R64(slot);
  for (int l = 1; l < SIM_LANES; l++)
    if (v[l] != v[0]) return WG_FAULT(l, "collective", "", 0, "the descriptor of %s is not the same in all lanes: 0x%llx in lane 0, 0x%llx here", what,
                                      (unsigned long long)v[0], (unsigned long long)v[l]);
  return STEP_NEXT;
}

/* A line of 16 bytes is read from now on: judged, unless its cells are of the write that was judged last. */
static inline bool wg_read_line(SimWarp *w, const SimInstr *in, uint32_t address, uint32_t *known) {
  uint32_t first = (address - w->shared_first) >> w->shift, n = 16u >> w->shift, other = 0, v = *known;
  if (address < w->shared_first || address + 16 > w->shared_end)
    return sim_fault(w, in, -1, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", address, "wgmma reads 16 bytes of a matrix here; the block has %u to %u",
                     w->shared_first, w->shared_end), false;
  if (!w->checks) return true;
  for (uint32_t i = 0; i < n; i++) other |= w->wr[first + i] ^ v, w->rd[first + i] = SIM_FLIGHT;
  if (!other) return true;
  *known = w->wr[first];
  for (uint32_t i = 1; i < n; i++)
    if (w->wr[first + i] != *known) *known = SIM_FULL; /* of several writes: none is remembered */
  return sim_area_read(w, in, -1, (SimArea){w->cta, address, 16}, true);
}

static inline void wg_release_line(SimWarp *w, uint32_t address) {
  uint32_t first = (address - w->shared_first) >> w->shift, n = 16u >> w->shift, now = SIM_READ(w->cta->group->time, SIM_LANE_WARP);
  for (uint32_t i = 0; i < n; i++) w->rd[first + i] = w->rd[first + i] == SIM_FLIGHT ? now : w->rd[first + i];
}

static inline void wg_mark_line(SimWarp *w, uint32_t address) {
  uint32_t first = (address - w->shared_first) >> w->shift, n = 16u >> w->shift;
  for (uint32_t i = 0; i < n; i++) w->rd[first + i] = SIM_FLIGHT;
}

typedef enum { WG_JUDGE, WG_RELEASE, WG_MARK } WgLines;

/* The core matrices of groups `first` and on that the warp reads, or has read, or goes on reading. */
static bool wg_lines(SimWarp *w, const SimInstr *in, const SimDescriptor *d, bool transposed, uint32_t first, uint32_t groups, WgLines how) {
  uint32_t known = SIM_FULL; /* no cell */
  for (uint32_t i = first; i < first + groups; i++)
    for (uint32_t j = 0; j < 2; j++)
      for (uint32_t r = 0; r < 8; r++) {
        uint32_t at = sim_descriptor_line(d, transposed, i, j, r);
        if (how == WG_RELEASE) wg_release_line(w, at);
        else if (how == WG_MARK) wg_mark_line(w, at);
        else if (!wg_read_line(w, in, at, &known)) return false;
      }
  return true;
}

static bool wg_areas(SimWarp *w, const SimInstr *in, const SimProduct *p, WgLines how) {
  SimDescriptor a = sim_descriptor(p->a), b = sim_descriptor(p->b);
  if (!WG_A_REGS(in) && !wg_lines(w, in, &a, WG_TRANS_A(in), (w->index & 3) * 2, 2, how)) return false;
  return wg_lines(w, in, &b, WG_TRANS_B(in), 0, in->n, how);
}

typedef struct WgRange { uint32_t low, high; } WgRange;

/* Where a matrix lies, at most. */
static WgRange wg_range(const SimDescriptor *d, bool transposed, uint32_t first, uint32_t groups) {
  WgRange r = {UINT32_MAX, 0};
  for (uint32_t i = first; i < first + groups; i += groups > 1 ? groups - 1 : 1)
    for (uint32_t j = 0; j < 2; j++)
      for (uint32_t line = 0; line < 8; line += 7) {
        uint32_t at = sim_descriptor_line(d, transposed, i, j, line);
        if ((at & ~127u) < r.low) r.low = at & ~127u;
        if ((at | 127u) > r.high) r.high = at | 127u;
      }
  return r;
}

static uint32_t wg_ranges(const SimWarp *w, const SimProduct *p, WgRange r[2]) {
  SimDescriptor a = sim_descriptor(p->a), b = sim_descriptor(p->b);
  uint32_t n = 0;
  r[n++] = wg_range(&b, WG_TRANS_B(p->in), 0, p->in->n);
  if (!WG_A_REGS(p->in)) r[n++] = wg_range(&a, WG_TRANS_A(p->in), (w->index & 3) * 2, 2);
  return n;
}

/* What a product has read others of the warp may be reading still: that stays marked. */
static void wg_still_read(SimWarp *w, const SimProduct *done, uint32_t ndone, const SimProduct *left, uint32_t nleft) {
  for (uint32_t k = 0; k < nleft; k++) {
    WgRange mine[2], other[2];
    uint32_t n = wg_ranges(w, &left[k], mine);
    bool meets = false;
    for (uint32_t i = 0; i < ndone && !meets; i++)
      for (uint32_t x = 0, m = wg_ranges(w, &done[i], other); x < m; x++)
        for (uint32_t y = 0; y < n; y++) meets |= mine[y].low <= other[x].high && other[x].low <= mine[y].high;
    if (meets) wg_areas(w, left[k].in, &left[k], WG_MARK);
  }
}

static bool wg_descriptor_ok(SimWarp *w, const SimInstr *in, uint64_t bits, const char *what) {
  SimDescriptor d = sim_descriptor(bits);
  if (d.reserved) return WG_FAULT(-1, "wgmma", "", 0, "the descriptor 0x%llx of %s has bits set that must be 0", (unsigned long long)bits, what), false;
  if (d.base_offset)
    return WG_FAULT(-1, "wgmma", "", 0, "the descriptor 0x%llx of %s has a base offset: only tiles at a multiple of their swizzle's period are simulated",
                    (unsigned long long)bits, what), false;
  return true;
}

/* The registers that the product holds, by their indices among the watched ones. */
static const uint32_t *wg_held(const SimWarp *w, const SimInstr *in, uint32_t *n) {
  const SimFunction *f = w->cta->launch->fn;
  const SimTrack *t = &f->tracks[in->track];
  *n = t->nheld;
  return f->track_regs + t->first + t->nread + t->nmaybe + t->nwrite;
}

static int wg_registers(SimWarp *w, const SimInstr *in) {
  uint32_t n;
  const uint32_t *held = wg_held(w, in, &n);
  for (uint32_t i = 0; i < n && w->checks; i++)
    if (w->touch[held[i]] & 1)
      return WG_FAULT(-1, "wgmma", "", 0, "a register of this product was used by another instruction, or not at all yet, and no wgmma.fence has followed");
  for (uint32_t i = 0; i < n; i++) w->touch[held[i]] += 2;
  return STEP_NEXT;
}

static void wg_compute(SimWarp *w, SimProduct *p) {
  SimDescriptor a = sim_descriptor(p->a), b = sim_descriptor(p->b);
  if (!p->done) wg_product(w, p->in, &a, &b, p->add);
  p->done = true;
}

HANDLER(wgmma) { /* D, A, B, scale-d, ... */
  int first_a = WG_D_REGS(in), first_b = first_a + (WG_A_REGS(in) ? 4 : 1);
  uint32_t add = PRED(in->imm2);
  if (whole_collective(w, in, mask, "wgmma.mma_async") != STEP_NEXT) return STEP_YIELD;
  if (w->cta->nwarps < 4) return WG_FAULT(-1, "collective", "", 0, "wgmma needs a warpgroup of four warps, the block has %u", w->cta->nwarps);
  if (add && add != SIM_FULL) return WG_FAULT((int)__builtin_ctz(~add), "collective", "", 0, "scale-d is not the same in all lanes");
  if ((!WG_A_REGS(in) && wg_uniform(w, in, first_a, "A") != STEP_NEXT) || wg_uniform(w, in, first_b, "B") != STEP_NEXT) return STEP_YIELD;
  SimProduct p = {.in = in, .a = WG_A_REGS(in) ? 0 : R64(first_a)[0], .b = R64(first_b)[0], .group = w->product_group, .add = add != 0};
  if ((!WG_A_REGS(in) && !wg_descriptor_ok(w, in, p.a, "A")) || !wg_descriptor_ok(w, in, p.b, "B")) return STEP_YIELD;
  if (wg_registers(w, in) != STEP_NEXT || !wg_areas(w, in, &p, WG_JUDGE)) return STEP_YIELD;
  w->spin.acted = true;
  w->nproducts++;
  w->product_hash = (w->product_hash ^ p.b ^ p.a << 1 ^ (uint64_t)in->line << 40) * 0x9e3779b97f4a7c15ull;
  if (w->checks) {
    w->cta->last_read[w->index] = SIM_FULL;
    w->flights++;
  }
  SimProduct *slot = sim_push(&w->products, sizeof *slot);
  if (!slot) return sim_fault(w, in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
  *slot = p;
  SimPolicy policy = w->checks ? w->cta->policy : POLICY_EAGER;
  bool now = policy == POLICY_EAGER || (policy == POLICY_RANDOM && (sim_group_random(w->cta->group) & 1));
  for (SimProduct *q = w->products.at; now && q <= slot; q++) wg_compute(w, q); /* in their order: they may add into the same registers */
  return STEP_NEXT;
}

HANDLER(wgmma_fence) {
  if (whole_collective(w, in, mask, "wgmma.fence") != STEP_NEXT) return STEP_YIELD;
  for (uint32_t i = 0, n = w->cta->launch->fn->ntracked; i < n; i++) w->touch[i] &= ~1u;
  return STEP_NEXT;
}

HANDLER(wgmma_commit) {
  if (whole_collective(w, in, mask, "wgmma.commit_group") != STEP_NEXT) return STEP_YIELD;
  w->product_group++;
  return STEP_NEXT;
}

HANDLER(wgmma_wait) { /* imm: groups that may stay in flight */
  if (whole_collective(w, in, mask, "wgmma.wait_group") != STEP_NEXT) return STEP_YIELD;
  uint32_t n = SIM_COUNT(&w->products, SimProduct), done = 0;
  SimProduct *p = w->products.at;
  for (; done < n && p[done].group < w->product_group && w->product_group - p[done].group > (uint64_t)in->imm; done++) {
    uint32_t nheld;
    const uint32_t *held = wg_held(w, p[done].in, &nheld);
    wg_compute(w, &p[done]);
    for (uint32_t i = 0; i < nheld; i++) w->touch[held[i]] -= 2;
    if (!w->checks) continue;
    wg_areas(w, p[done].in, &p[done], WG_RELEASE);
    if (--w->flights == 0) w->cta->last_read[w->index] = w->cta->group->time;
  }
  if (done) {
    if (w->checks) wg_still_read(w, p, done, p + done, n - done);
    memmove(p, p + done, (n - done) * sizeof *p);
    w->products.n -= done * sizeof *p;
  }
  return STEP_NEXT;
}

/* The warp ends. The last of its warpgroup sees whether all four have executed the same products. */
static int wg_end(SimWarp *w, const SimInstr *in) {
  SimCta *c = w->cta;
  if (w->products.n) {
    const SimInstr *first = SIM_AT(&w->products, SimProduct, 0).in;
    return sim_fault(w, first, -1, DRV_LAUNCH_FAILED, "unwaited_copy", "", 0,
                     "the warp ends while a product is in flight: no wgmma.wait_group has waited for it");
  }
  for (uint32_t i = w->index & ~3u; i < (w->index | 3u) + 1 && i < c->nwarps; i++) {
    const SimWarp *x = &c->warp[i];
    if (x->live || (x->nproducts == w->nproducts && x->product_hash == w->product_hash)) continue;
    return sim_fault(w, in, -1, DRV_LAUNCH_FAILED, "collective", "", 0,
                     "warps %u and %u of a warpgroup have not executed the same products of a warpgroup (%u and %u of them)", i, w->index, x->nproducts,
                     w->nproducts);
  }
  return STEP_NEXT;
}
