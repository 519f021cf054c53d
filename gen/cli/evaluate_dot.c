/* evaluate_dot.c - products of the evaluator: sum over one dim of a*b, in double, in blocks that stay in the caches.
 *
 * Dims of both operands (but the summed one) are batch dims; the others belong to rows (of a) or to columns (of b). */
#include "../../runtime/alloc.h"
#include "evaluate.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define KB 256 /* summed indices in a block: a column panel of 8 then takes 16 KB, half of a first-level cache */
#define MR 4
#define NR 8

typedef double Vec __attribute__((vector_size(32), aligned(8)));

typedef struct Side {   /* one operand: where its rows (or columns) begin, and how its error is known */
  const double *v, *e;
  int64_t n, step;      /* rows, and the stride of the summed dim */
  int64_t *at;          /* offset of each row, within a batch; n entries, then n of the result's offsets */
  double *norm;         /* per row: euclidean norm, largest finite magnitude, euclidean norm of the error; 3 n entries */
} Side;

typedef struct Product {
  Side a, b;
  int64_t k;
  DefProducts products;
  double reduced;          /* DefNode.value of a product: 0, or in accumulators of fewer bits */
  double *pack_a, *pack_b; /* [n/MR][KB][MR] and [KB][NR] */
} Product;

/* tile[MR][NR] += a panel times b panel over k steps. */
static inline __attribute__((always_inline)) void multiply_tile(const double *a, const double *b, int64_t k, double *tile) {
  Vec *t = (Vec *)tile, c00 = t[0], c01 = t[1], c10 = t[2], c11 = t[3], c20 = t[4], c21 = t[5], c30 = t[6], c31 = t[7];
  for (int64_t i = 0; i < k; i++, a += MR, b += NR) {
    Vec b0 = *(const Vec *)b, b1 = *(const Vec *)(b + 4);
    Vec a0 = {a[0], a[0], a[0], a[0]}, a1 = {a[1], a[1], a[1], a[1]}, a2 = {a[2], a[2], a[2], a[2]},
        a3 = {a[3], a[3], a[3], a[3]};
    c00 += a0 * b0;
    c01 += a0 * b1;
    c10 += a1 * b0;
    c11 += a1 * b1;
    c20 += a2 * b0;
    c21 += a2 * b1;
    c30 += a3 * b0;
    c31 += a3 * b1;
  }
  t[0] = c00, t[1] = c01, t[2] = c10, t[3] = c11, t[4] = c20, t[5] = c21, t[6] = c30, t[7] = c31;
}

static void multiply_plain(const double *a, const double *b, int64_t k, double *tile) { multiply_tile(a, b, k, tile); }

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static void multiply_avx2(const double *a, const double *b, int64_t k, double *tile) {
  multiply_tile(a, b, k, tile);
}
#endif

typedef void (*MultiplyFn)(const double *a, const double *b, int64_t k, double *tile);

static MultiplyFn choose_multiply(void) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return multiply_avx2;
#endif
  return multiply_plain;
}

/* ---- the two sides ---- */

/* Offsets of all combinations of the dims in mask, in an operand's array and in the result's. */
static void list_offsets(uint32_t mask, const EvalShape *s, uint32_t dims, uint32_t out_dims, int64_t n, int64_t *at,
                         int64_t *out_at) {
  int64_t index[DEF_MAX_DIMS] = {0};
  for (int64_t i = 0; i < n; i++) {
    at[i] = out_at[i] = 0;
    for (int d = 0; d < DEF_MAX_DIMS; d++)
      if (mask >> d & 1) {
        at[i] += index[d] * eval_stride(dims, s, d);
        out_at[i] += index[d] * eval_stride(out_dims, s, d);
      }
    for (int d = DEF_MAX_DIMS - 1; d >= 0; d--)
      if (mask >> d & 1) {
        if (++index[d] < s->extent[d]) break;
        index[d] = 0;
      }
  }
}

static bool make_side(Side *x, const EvalValue *operand, uint32_t own, int dim, uint32_t out_dims, const EvalShape *s) {
  x->v = operand->v;
  x->e = operand->e;
  x->n = eval_elems(own, s);
  x->step = eval_stride(operand->dims, s, dim);
  x->at = kiln_mem(NULL, 0, (size_t)(2 * x->n + 1) * sizeof(int64_t));
  x->norm = kiln_mem(NULL, 0, (size_t)(3 * x->n + 1) * sizeof(double));
  if (!x->at || !x->norm) return false;
  list_offsets(own, s, operand->dims, out_dims, x->n, x->at, x->at + x->n);
  return true;
}

static void free_side(Side *x) {
  if (x->at) kiln_mem(x->at, (size_t)(2 * x->n + 1) * sizeof(int64_t), 0);
  if (x->norm) kiln_mem(x->norm, (size_t)(3 * x->n + 1) * sizeof(double), 0);
}

static void measure_side(Side *x, int64_t base, int64_t k) {
  double *square = x->norm, *largest = x->norm + x->n, *error = x->norm + 2 * x->n;
  memset(x->norm, 0, (size_t)(3 * x->n) * sizeof(double));
  bool rows_outside = x->step == 1 || x->n == 1; /* walk memory in its order */
  int64_t outer = rows_outside ? x->n : k, inner = rows_outside ? k : x->n;
  for (int64_t i = 0; i < outer; i++)
    for (int64_t j = 0; j < inner; j++) {
      int64_t row = rows_outside ? i : j, at = base + x->at[row] + (rows_outside ? j : i) * x->step;
      double v = fabs(x->v[at]);
      square[row] += v * v;
      if (v > largest[row] && v <= DBL_MAX) largest[row] = v;
      if (x->e) error[row] += x->e[at] * x->e[at];
    }
  for (int64_t i = 0; i < x->n; i++) {
    square[i] = sqrt(square[i]);
    error[i] = sqrt(error[i]);
  }
}

typedef enum { PACK_VALUES, PACK_SQUARES, PACK_ERRORS } Packed; /* errors: their squares */

/* Packs up to `width` rows from `first` on, over k indices from k0 on; rows that are not there read as zero. */
static void pack(const Side *x, int64_t base, int64_t first, int width, int64_t k0, int64_t k, Packed what, double *to) {
  for (int r = 0; r < width; r++) {
    const double *array = what == PACK_ERRORS ? x->e : x->v;
    bool there = first + r < x->n && array;
    const double *from = there ? array + base + x->at[first + r] + k0 * x->step : NULL;
    for (int64_t i = 0; i < k; i++) {
      double v = there ? from[i * x->step] : 0;
      to[i * width + r] = what == PACK_VALUES ? v : v * v;
    }
  }
}

/* ---- one batch ---- */

static void add_tile(const Product *p, int64_t m, int64_t n, const double *tile, double *v) {
  const int64_t *row = p->a.at + p->a.n, *column = p->b.at + p->b.n;
  for (int r = 0; r < MR && m + r < p->a.n; r++)
    for (int c = 0; c < NR && n + c < p->b.n; c++) v[row[m + r] + column[n + c]] += tile[r * NR + c];
}

static void multiply_batch(const Product *p, int64_t base_a, int64_t base_b, Packed a, Packed b, double *v) {
  MultiplyFn multiply = choose_multiply();
  for (int64_t k0 = 0; k0 < p->k; k0 += KB) {
    int64_t k = p->k - k0 < KB ? p->k - k0 : KB;
    for (int64_t m = 0; m < p->a.n; m += MR) pack(&p->a, base_a, m, MR, k0, k, a, p->pack_a + m * KB);
    for (int64_t n = 0; n < p->b.n; n += NR) {
      pack(&p->b, base_b, n, NR, k0, k, b, p->pack_b);
      for (int64_t m = 0; m < p->a.n; m += MR) {
        double tile[MR * NR] __attribute__((aligned(32))) = {0};
        multiply(p->pack_a + m * KB, p->pack_b, k, tile);
        add_tile(p, m, n, tile, v);
      }
    }
  }
}

/* Of an infinite or undefined sum: does an infinity meet a factor that may be 0 in f32? */
static bool meets_infinity(const Product *p, int64_t base_a, int64_t base_b, int64_t m, int64_t n) {
  for (int64_t k = 0; k < p->k; k++) {
    int64_t i = base_a + p->a.at[m] + k * p->a.step, j = base_b + p->b.at[n] + k * p->b.step;
    if (eval_undecided_product(p->a.v[i], p->a.e ? p->a.e[i] : 0, p->b.v[j], p->b.e ? p->b.e[j] : 0)) return true;
  }
  return false;
}

/* Accumulators of fp8 on Ada and Hopper: of each group of 16 or 32 products and the running sum, all terms are truncated towards zero to a
 * multiple of 2^-13 of the largest one's power of two, and so is the sum. v: the result's size, s: the root of the sum of squared terms.
 * The running sum is v/2 + 0.7 s on the average of its way, and in its root mean square 0.6 v + 0.7 s; a truncation loses half a unit
 * on average. So the sum's own, which all err to one side, make k/16 halves of a unit; those of the terms err to both and make four or five
 * of their standard deviations, 2 sqrt(k); and where few terms are much larger than the rest, 8 units of what they are. */
static double truncations(double k, double v, double s) {
  return 0x1p-13 * ((k / 32 + 4) * (v / 2 + 0.7 * s) + 2 * sqrt(k) * (0.6 * v + 0.7 * s) + 8 * (v + s));
}

/* Promoted, blocks err apart from each other: each as much as its own sum, about its own s, and their roots of squares add up to s. */
static double reduced_error(const Product *p, double v, double s) {
  double k = (double)p->k;
  bool blocks = p->reduced > 0 && p->reduced < k;
  double whole = truncations(k, v, s), apart = blocks ? truncations(p->reduced, v + s, s) : whole;
  return fmin(whole, apart);
}

/* Tensor cores truncate after every group of 4 to 16 products, always towards zero, so the error grows with k and not with its
 * root. What they truncate are partial sums: near |sum| + 4 sqrt(sum (a b)^2), of which the root is bounded by either norm
 * times the other side's largest magnitude. Errors of the operands come in by the norms (Cauchy and Schwarz); an operand of which nothing
 * is known leaves nothing known of the sum. Of fp8 they add up as random terms do: the errors of codes are those of single elements that lie in
 * the middle between two codes (with 16 bits and a largest value that 7 divides, many do), and norms would admit their sum with one sign.
 *
 * tf32: each operand is rounded and errs by up to 2^-11 of itself, so products err by twice as much. What they err by on average takes that
 * share of the sum; what they differ by adds up as random terms do. Split in two
 * of tf32, a product loses up to 2^-20, but rather 2 units of f32: the 8 that stand there hold that. */
static void bound_batch(const Product *p, int64_t base_a, int64_t base_b, const double *v, const double *q, double *e) {
  const int64_t *row = p->a.at + p->a.n, *column = p->b.at + p->b.n;
  const double *na = p->a.norm, *la = na + p->a.n, *ea = la + p->a.n, *nb = p->b.norm, *lb = nb + p->b.n, *eb = lb + p->b.n;
  double steps = EVAL_U * ((double)p->k / 4 + 8), most = 0x1p127 / (double)(p->k > 0 ? p->k : 1);
  for (int64_t m = 0; m < p->a.n; m++)
    for (int64_t n = 0; n < p->b.n; n++) {
      int64_t at = row[m] + column[n];
      double spread = fmin(na[m] * lb[n], la[m] * nb[n]);
      double lost = p->products == DEF_PRODUCTS_TF32 ? 0x1p-10 * (fabs(v[at]) + spread) : 0;
      double operands = p->reduced != 0 ? 4 * sqrt(e[at]) : na[m] * eb[n] + ea[m] * nb[n] + ea[m] * eb[n];
      double error = lost + steps * (fabs(v[at]) + 4 * spread) + operands;
      if (p->reduced != 0) error += reduced_error(p, fabs(v[at]), sqrt(q[at]));
      bool finite = fabs(v[at]) <= DBL_MAX;
      bool overflows = !isnan(v[at]) && la[m] * lb[n] > most; /* f32 may meet infinities of both signs on the way */
      bool unknown = isinf(ea[m]) || isinf(eb[n]) || overflows || (!finite && meets_infinity(p, base_a, base_b, m, n));
      e[at] = unknown ? INFINITY : finite ? error : 0;
    }
}

static bool run_batches(Product *p, const EvalValue *a, const EvalValue *b, EvalValue *out, uint32_t batch, const EvalShape *s) {
  int64_t n = eval_elems(batch, s);
  size_t list_bytes = (size_t)(3 * n + 1) * sizeof(int64_t);
  int64_t *at = kiln_mem(NULL, 0, list_bytes);
  if (!at) return false;
  list_offsets(batch, s, a->dims, out->dims, n, at, at + 2 * n);
  list_offsets(batch, s, b->dims, out->dims, n, at + n, at + 2 * n);
  for (int64_t i = 0; i < n; i++) {
    measure_side(&p->a, at[i], p->k);
    measure_side(&p->b, at[n + i], p->k);
    multiply_batch(p, at[i], at[n + i], PACK_VALUES, PACK_VALUES, out->v + at[2 * n + i]);
    if (p->reduced != 0) {
      multiply_batch(p, at[i], at[n + i], PACK_SQUARES, PACK_SQUARES, out->q + at[2 * n + i]);
      if (p->b.e) multiply_batch(p, at[i], at[n + i], PACK_SQUARES, PACK_ERRORS, out->e + at[2 * n + i]);
      if (p->a.e) multiply_batch(p, at[i], at[n + i], PACK_ERRORS, PACK_SQUARES, out->e + at[2 * n + i]);
      if (p->a.e && p->b.e) multiply_batch(p, at[i], at[n + i], PACK_ERRORS, PACK_ERRORS, out->e + at[2 * n + i]);
    }
    bound_batch(p, at[i], at[n + i], out->v + at[2 * n + i], p->reduced != 0 ? out->q + at[2 * n + i] : NULL,
                out->e + at[2 * n + i]);
  }
  kiln_mem(at, list_bytes, 0);
  return true;
}

bool eval_dot(const DefNode *node, const EvalValue *a, const EvalValue *b, EvalValue *out, const EvalShape *s) {
  uint32_t sum = 1u << node->index, batch = a->dims & b->dims & ~sum;
  int64_t total = eval_elems(out->dims, s);
  bool reduced = node->value != 0;
  if (!eval_room(out, reduced ? EVAL_SQUARES : EVAL_ERROR, (size_t)total)) return false;
  if (reduced) memset(out->q, 0, (size_t)total * sizeof(double));
  memset(out->v, 0, (size_t)total * sizeof(double));
  memset(out->e, 0, (size_t)total * sizeof(double));
  if (total == 0) return true;
  Product p = {.k = s->extent[node->index], .products = (DefProducts)node->products, .reduced = node->value};
  bool ok = make_side(&p.a, a, a->dims & ~sum & ~batch, node->index, out->dims, s) &&
            make_side(&p.b, b, b->dims & ~sum & ~batch, node->index, out->dims, s);
  size_t bytes_a = (size_t)(p.a.n + MR) * KB * sizeof(double), bytes_b = KB * NR * sizeof(double);
  if (ok) {
    p.pack_a = kiln_mem(NULL, 0, bytes_a);
    p.pack_b = kiln_mem(NULL, 0, bytes_b);
    ok = p.pack_a && p.pack_b && run_batches(&p, a, b, out, batch, s);
  }
  if (p.pack_a) kiln_mem(p.pack_a, bytes_a, 0);
  if (p.pack_b) kiln_mem(p.pack_b, bytes_b, 0);
  free_side(&p.a);
  free_side(&p.b);
  return ok;
}
