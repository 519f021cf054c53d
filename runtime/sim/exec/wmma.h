/* wmma.h - wmma.load, wmma.store, wmma.mma (PTX ISA, Warp-level matrix instructions: wmma). Which lane holds which element of a fragment is
 * left open by the manual; here lane l holds, in order, the elements of the matrix, row by row, from l times as many as it holds on; a
 * fragment with room for more holds the matrix again.
 *
 * imm2: M | N << 8 | K << 16. sub: type | what << 4 (0 a, 1 b, 2 c and d) | by columns << 6; wmma.mma: types of a, c << 4, d << 8 */

enum { FRAG_F16, FRAG_BF16, FRAG_TF32, FRAG_F32, FRAG_F64, FRAG_S32, FRAG_S8, FRAG_U8, FRAG_S4, FRAG_U4, FRAG_B1 };
enum { WMMA_MAX = 1024 }; /* elements of a matrix */
#define WMMA_M(in) ((in)->imm2 & 0xff)
#define WMMA_N(in) ((in)->imm2 >> 8 & 0xff)
#define WMMA_K(in) ((in)->imm2 >> 16 & 0xff)

static int frag_bits(int type) {
  static const uint8_t bits[] = {16, 16, 32, 32, 64, 32, 8, 8, 4, 4, 1};
  return bits[type];
}

/* ---- between fragments and matrices of words, row by row ---- */

static void read_fragment(SimWarp *w, const SimInstr *in, int slot, int regs, int bits, int total, uint64_t *m) {
  int per = bits == 64 ? 1 : 32 / bits;
  uint64_t keep = bits == 64 ? ~(uint64_t)0 : ((uint64_t)1 << bits) - 1;
  for (int l = SIM_LANES - 1; l >= 0; l--)
    for (int i = 0; i < regs; i++) {
      uint64_t word = bits == 64 ? R64(slot + i)[l] : R32(slot + i)[l];
      for (int e = 0; e < per; e++) m[((l * regs + i) * per + e) % total] = word >> bits * e & keep;
    }
}

static void write_fragment(SimWarp *w, const SimInstr *in, int slot, int regs, int bits, int total, const uint64_t *m) {
  int per = bits == 64 ? 1 : 32 / bits;
  for (int l = 0; l < SIM_LANES; l++)
    for (int i = 0; i < regs; i++) {
      uint64_t word = 0;
      for (int e = 0; e < per; e++) word |= m[((l * regs + i) * per + e) % total] << bits * e;
      if (bits == 64) R64(slot + i)[l] = word;
      else R32(slot + i)[l] = (uint32_t)word;
    }
}

/* ---- memory: rows or columns of the matrix lie together, each `stride` elements after the last ---- */

typedef struct Matrix { int rows, cols, bits, runs, length; uint64_t base, stride; bool by_cols; } Matrix;

static int matrix_of(SimWarp *w, const SimInstr *in, uint32_t mask, int address, int stride, Matrix *x) {
  int what = in->sub >> 4 & 3;
  *x = (Matrix){.rows = what == 1 ? WMMA_K(in) : WMMA_M(in), .cols = what == 0 ? WMMA_K(in) : WMMA_N(in), .bits = frag_bits(in->sub & 15),
                .by_cols = in->sub >> 6 & 1};
  x->runs = x->by_cols ? x->cols : x->rows;
  x->length = x->by_cols ? x->rows : x->cols;
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  if (whole_collective(w, in, mask, "wmma") != STEP_NEXT) return STEP_YIELD;
  read_addresses(w, in, address, in->flags & SIM_I_ADDR32, in->imm, addr);
  for (int l = 1; l < SIM_LANES; l++)
    if (addr[l] != addr[0])
      return sim_fault(w, in, l, DRV_LAUNCH_FAILED, "collective", "", addr[l], "wmma needs the same address in all lanes");
  x->base = addr[0];
  x->stride = stride < 0 ? (uint64_t)x->length : R32(stride)[0];
  return STEP_NEXT;
}

/* Pieces of at most 16 bytes, 32 at a time. The buffer holds run after run. */
static int move_matrix(SimWarp *w, const SimInstr *in, const Matrix *x, char *buffer, bool write) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64))) = {0}, window = x->base & ~SIM_WINDOW_MASK;
  uint32_t run = (uint32_t)(x->length * x->bits / 8), bytes = run < 16 ? run : 16, pieces = run / bytes * (uint32_t)x->runs;
  bool shared = in->space == SPACE_SHARED || (in->space == SPACE_GENERIC && window == SIM_SHARED_BASE);
  bool local = in->space == SPACE_GENERIC && window == SIM_LOCAL_BASE;
  Readers readers;
  if (shared && write && w->checks) find_readers(w, &readers);
  if (write) w->spin.acted = true;
  for (uint32_t first = 0; first < pieces; first += SIM_LANES) {
    char *p[SIM_LANES] = {0};
    uint32_t n = pieces - first < SIM_LANES ? pieces - first : SIM_LANES, mask = n == SIM_LANES ? SIM_FULL : (1u << n) - 1;
    for (uint32_t i = 0; i < n; i++) {
      uint32_t at = (first + i) * bytes;
      addr[i] = x->base + (at / run) * (x->stride * (uint64_t)x->bits / 8) + at % run;
      if (shared || local) addr[i] &= SIM_WINDOW_MASK;
    }
    if (shared) {
      if (shared_bad(w, mask, addr, bytes)) return fault_shared(w, in, mask, addr, bytes, write ? "writes" : "reads");
      ACTIVE(l, mask) {
        int step = !w->checks ? STEP_NEXT : write ? shadow_write_together(w, in, (uint32_t)addr[l], bytes, (int)l, &readers)
                                                  : shadow_read_together(w, in, (uint32_t)addr[l], bytes, (int)l);
        if (step != STEP_NEXT) return step;
        p[l] = w->shared + addr[l];
      }
    } else if (local ? !resolve_local(w, in, mask, addr, bytes, write ? "writes" : "reads", p)
                     : !resolve_global(w, in, mask, addr, bytes, write ? ACCESS_STORE : ACCESS_LOAD, p)) {
      return STEP_YIELD;
    }
    ACTIVE(l, mask) {
      char *inner = buffer + (size_t)(first + l) * bytes;
      memcpy(write ? p[l] : inner, write ? inner : p[l], bytes);
    }
  }
  return STEP_NEXT;
}

static inline uint64_t get_element(const char *buffer, int i, int bits) {
  uint64_t v = 0;
  if (bits >= 8) memcpy(&v, buffer + (size_t)i * (size_t)bits / 8, (size_t)bits / 8);
  else v = (uint8_t)buffer[i * bits / 8] >> i * bits % 8 & ((1u << bits) - 1);
  return v;
}

HANDLER(wmma_load) { /* registers (n of them), address [, stride]; size: 1 with a stride */
  Matrix x;
  char buffer[WMMA_MAX * 8];
  uint64_t m[WMMA_MAX];
  if (matrix_of(w, in, mask, in->n, in->size ? in->n + 1 : -1, &x) != STEP_NEXT) return STEP_YIELD;
  if (move_matrix(w, in, &x, buffer, false) != STEP_NEXT) return STEP_YIELD;
  for (int r = 0; r < x.rows; r++)
    for (int c = 0; c < x.cols; c++) m[r * x.cols + c] = get_element(buffer, x.by_cols ? c * x.rows + r : r * x.cols + c, x.bits);
  write_fragment(w, in, 0, in->n, x.bits, x.rows * x.cols, m);
  return STEP_NEXT;
}

HANDLER(wmma_store) { /* address, registers (n of them) [, stride]; elements of 16 bits and more */
  Matrix x;
  char buffer[WMMA_MAX * 8];
  uint64_t m[WMMA_MAX];
  if (matrix_of(w, in, mask, 0, in->size ? in->n + 1 : -1, &x) != STEP_NEXT) return STEP_YIELD;
  read_fragment(w, in, 1, in->n, x.bits, x.rows * x.cols, m);
  for (int r = 0; r < x.rows; r++)
    for (int c = 0; c < x.cols; c++) {
      size_t at = (size_t)(x.by_cols ? c * x.rows + r : r * x.cols + c) * (size_t)x.bits / 8;
      memcpy(buffer + at, &m[r * x.cols + c], (size_t)x.bits / 8);
    }
  return move_matrix(w, in, &x, buffer, true);
}

/* ---- products ---- */

static void frag_floats(const uint64_t *m, int type, int n, float *out) {
  for (int i = 0; i < n; i++)
    out[i] = type == FRAG_F16    ? f32_of_f16((uint32_t)m[i])
             : type == FRAG_BF16 ? f32_of((uint32_t)m[i] << 16)
             : type == FRAG_TF32 ? f32_of((uint32_t)m[i] & 0xffffe000u)
                                 : f32_of((uint32_t)m[i]);
}

typedef struct Product { uint64_t a[WMMA_MAX], b[WMMA_MAX], c[WMMA_MAX]; int M, N, K; } Product;

static void multiply_floats(SimWarp *w, Product *p, int ta, int tc, int td) {
  static const uint8_t kind[] = {[FRAG_F16] = MMA_F16, [FRAG_BF16] = MMA_BF16, [FRAG_TF32] = MMA_TF32};
  float a[WMMA_MAX], b[WMMA_MAX], c[WMMA_MAX];
  bool exact = w->cta->launch->dev->mma_exact, half = td == FRAG_F16;
  frag_floats(p->a, ta, p->M * p->K, a);
  frag_floats(p->b, ta, p->K * p->N, b);
  frag_floats(p->c, tc, p->M * p->N, c);
  for (int i = 0; i < p->M; i++)
    for (int j = 0; j < p->N; j++) {
      float r = exact ? exact_element(tensor_model(w, tensor_kind(kind[ta])), kind[ta], kind[ta], a + i * p->K, b + j, p->N, p->K, c[i * p->N + j], half)
                      : plain_element(a + i * p->K, b + j, p->N, p->K, c[i * p->N + j]);
      p->c[i * p->N + j] = half ? f16_of_f32(r) : bits_of(canon(r));
    }
}

static void multiply_doubles(Product *p) {
  for (int i = 0; i < p->M; i++)
    for (int j = 0; j < p->N; j++) {
      double r = f64_of(p->c[i * p->N + j]);
      for (int k = 0; k < p->K; k++) r = __builtin_fma(f64_of(p->a[i * p->K + k]), f64_of(p->b[k * p->N + j]), r);
      p->c[i * p->N + j] = bits_of64(canon64(r));
    }
}

static void multiply_integers(Product *p, int type, bool with_and) {
  int bits = frag_bits(type);
  bool is_signed = type == FRAG_S8 || type == FRAG_S4;
  for (int i = 0; i < p->M; i++)
    for (int j = 0; j < p->N; j++) {
      uint32_t r = (uint32_t)p->c[i * p->N + j];
      for (int k = 0; k < p->K; k++) {
        int32_t x = mma_integer((uint32_t)p->a[i * p->K + k], bits, 0, is_signed), y = mma_integer((uint32_t)p->b[k * p->N + j], bits, 0, is_signed);
        r += (uint32_t)(bits > 1 || with_and ? x * y : x ^ y);
      }
      p->c[i * p->N + j] = r;
    }
}

/* d, a, b, c. n: registers of a | of b << 4; size: of d | of c << 4; flag TRANS: b1 with and */
HANDLER(wmma_mma) {
  Product p = {.M = WMMA_M(in), .N = WMMA_N(in), .K = WMMA_K(in)};
  int ta = in->sub & 15, tc = in->sub >> 4 & 15, td = in->sub >> 8, nd = in->size & 15, na = in->n & 15, nb = in->n >> 4, nc = in->size >> 4;
  if (whole_collective(w, in, mask, "wmma.mma") != STEP_NEXT) return STEP_YIELD;
  read_fragment(w, in, nd, na, frag_bits(ta), p.M * p.K, p.a);
  read_fragment(w, in, nd + na, nb, frag_bits(ta), p.K * p.N, p.b);
  read_fragment(w, in, nd + na + nb, nc, frag_bits(tc), p.M * p.N, p.c);
  if (ta == FRAG_F64) multiply_doubles(&p);
  else if (tc == FRAG_S32) multiply_integers(&p, ta, in->flags & SIM_I_TRANS);
  else multiply_floats(w, &p, ta, tc, td);
  write_fragment(w, in, 0, nd, frag_bits(td), p.M * p.N, p.c);
  w->macs += (uint64_t)p.M * (uint64_t)p.N * (uint64_t)p.K;
  return STEP_NEXT;
}
