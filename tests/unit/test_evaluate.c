/* The evaluator of definitions: against loops written here, over chunks, samples and broadcasts; and that its error analysis
 * covers what f32 arithmetic really does without admitting much more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/cli/evaluate.h"
#include "gen/cli/number.h"
#include "gen/cli/random.h"
#include "runtime/alloc.h"

static int64_t *ramp(int64_t n, int64_t step) {
  int64_t *at = malloc((size_t)(n ? n : 1) * sizeof *at);
  for (int64_t i = 0; i < n; i++) at[i] = i * step;
  return at;
}

static float *normals(Random *r, int64_t n) {
  float *x = malloc((size_t)n * sizeof *x);
  for (int64_t i = 0; i < n; i++) x[i] = (float)random_normal(r);
  return x;
}

typedef struct Collected { double *v, *e; int64_t columns; int row_dim, column_dim; int chunks; } Collected;

static void collect(void *user, const EvalChunk *c) {
  Collected *to = user;
  int64_t i = 0;
  to->chunks++;
  for (int64_t r = 0; r < (to->row_dim < 0 ? 1 : c->count[to->row_dim]); r++)
    for (int64_t k = 0; k < (to->column_dim < 0 ? 1 : c->count[to->column_dim]); k++, i++) {
      int64_t at = (to->row_dim < 0 ? 0 : c->start[to->row_dim] + r) * to->columns + k;
      to->v[at] = c->value[i];
      to->e[at] = c->error[i];
    }
}

/* y = x / sqrt(mean(x^2) + eps) * w over rows of length N */
static DefNode row_nodes[] = {
    {.op = DEF_ARG, .index = 0},        {.op = DEF_MUL, .arg = {0, 0}},  {.op = DEF_SUM, .index = 1, .arg = {1}},
    {.op = DEF_DIM, .index = 1},        {.op = DEF_DIV, .arg = {2, 3}},  {.op = DEF_SCALAR, .index = 0},
    {.op = DEF_ADD, .arg = {4, 5}},     {.op = DEF_RSQRT, .arg = {6}},   {.op = DEF_MUL, .arg = {0, 7}},
    {.op = DEF_ARG, .index = 1},        {.op = DEF_MUL, .arg = {8, 9}},
};
static KilnDef row_definition(void) {
  return (KilnDef){
      .op = "row",
      .dims = {"M", "N"},
      .ndims = 2,
      .lead_dims = 1,
      .ntensors = 3,
      .nscalars = 1,
      .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {0, 1}},
                 {.name = "w", .dtype = KILN_F32, .present = true, .rank = 1, .dim = {1}},
                 {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {0, 1}, .value = 10}},
      .scalar = {{.name = "eps", .dtype = KILN_F32}},
      .node = row_nodes,
      .nnodes = 11};
}

typedef struct Rows { int64_t m, n; float *x, *w; double *v, *e; } Rows;

static Rows evaluate_rows(int64_t m, int64_t n, const int64_t *sample, int64_t nsample) {
  Random r;
  random_start(&r, 7);
  Rows rows = {m, n, normals(&r, m * n), normals(&r, n), malloc((size_t)(m * n) * 8), malloc((size_t)(m * n) * 8)};
  KilnDef def = row_definition();
  int64_t *by_row = ramp(m, n), *by_column = ramp(n, 1);
  for (int64_t i = 0; i < nsample; i++) by_row[i] = sample[i] * n;
  EvalInput in = {.def = &def, .size = {m, n}, .count = {nsample ? nsample : m, n}, .scalar = {1e-6},
                  .tensor = {{KILN_F32, rows.x, {by_row, by_column}}, {KILN_F32, rows.w, {NULL, by_column}}}};
  Collected to = {rows.v, rows.e, n, 0, 1, 0};
  char why[256] = "";
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  free(by_row);
  free(by_column);
  return rows;
}

static void free_rows(Rows *r) {
  free(r->x);
  free(r->w);
  free(r->v);
  free(r->e);
}

static void rows_agree_with_loops(void **state) {
  (void)state;
  Rows r = evaluate_rows(70, 1500, NULL, 0); /* several chunks */
  for (int64_t i = 0; i < r.m; i++) {
    double sum = 0;
    for (int64_t j = 0; j < r.n; j++) sum += (double)r.x[i * r.n + j] * r.x[i * r.n + j];
    double scale = 1 / sqrt(sum / (double)r.n + (double)1e-6f);
    for (int64_t j = 0; j < r.n; j++) {
      double want = r.x[i * r.n + j] * scale * r.w[j];
      assert_true(fabs(r.v[i * r.n + j] - want) <= 1e-14 * fabs(want));
    }
  }
  free_rows(&r);
}

/* What f32 really gives, in the order of a plain loop, lies within the analysis; and the analysis is no wider than 200 units. */
static void the_analysis_covers_f32(void **state) {
  (void)state;
  Rows r = evaluate_rows(40, 1500, NULL, 0);
  for (int64_t i = 0; i < r.m; i++) {
    float sum = 0;
    for (int64_t j = 0; j < r.n; j++) sum += r.x[i * r.n + j] * r.x[i * r.n + j];
    float scale = 1 / sqrtf(sum / (float)r.n + 1e-6f);
    for (int64_t j = 0; j < r.n; j++) {
      int64_t at = i * r.n + j;
      float got = r.x[at] * scale * r.w[j];
      assert_true(fabs(got - r.v[at]) <= r.e[at]);
      assert_true(r.e[at] <= 200 * EVAL_U * fabs(r.v[at]) + 1e-300);
    }
  }
  free_rows(&r);
}

static void samples_are_the_same_rows(void **state) {
  (void)state;
  static const int64_t sample[] = {0, 3, 17, 69};
  Rows all = evaluate_rows(70, 1500, NULL, 0), some = evaluate_rows(70, 1500, sample, 4);
  for (int i = 0; i < 4; i++) assert_memory_equal(some.v + i * 1500, all.v + sample[i] * 1500, 1500 * sizeof(double));
  free_rows(&all);
  free_rows(&some);
}

/* ---- products ---- */

static void product_case(int64_t m, int64_t n, int64_t k, bool a_turned, bool b_turned) {
  DefNode nodes[] = {{.op = DEF_ARG, .index = 0}, {.op = DEF_ARG, .index = 1}, {.op = DEF_DOT, .index = 1, .arg = {0, 1}}};
  KilnDef def = {
      .op = "product",
      .dims = {"M", "K", "N"},
      .ndims = 3,
      .ntensors = 3,
      .tensor = {{.name = "a", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {0, 1}},
                 {.name = "b", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {1, 2}},
                 {.name = "d", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {0, 2}, .value = 2}},
      .node = nodes,
      .nnodes = 3};
  Random r;
  random_start(&r, random_entropy());
  float *a = normals(&r, m * k + 1), *b = normals(&r, k * n + 1);
  int64_t *am = ramp(m, a_turned ? 1 : k), *ak = ramp(k, a_turned ? m : 1), *bk = ramp(k, b_turned ? 1 : n),
          *bn = ramp(n, b_turned ? k : 1);
  EvalInput in = {.def = &def, .size = {m, k, n}, .count = {m, k, n},
                  .tensor = {{KILN_F32, a, {am, ak}}, {KILN_F32, b, {NULL, bk, bn}}}};
  double *v = malloc((size_t)(m * n + 1) * 8), *e = malloc((size_t)(m * n + 1) * 8);
  Collected to = {v, e, n, 0, 2, 0};
  char why[256] = "";
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      float rounded = 0;
      for (int64_t l = 0; l < k; l++) {
        sum += (double)a[am[i] + ak[l]] * b[bk[l] + bn[j]];
        rounded += a[am[i] + ak[l]] * b[bk[l] + bn[j]];
      }
      assert_true(fabs(v[i * n + j] - sum) <= 1e-12 * (1 + fabs(sum)));
      assert_true(fabs(rounded - sum) <= e[i * n + j]);
    }
  void *all[] = {a, b, am, ak, bk, bn, v, e};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void products_agree_with_loops(void **state) {
  (void)state;
  static const int64_t sizes[][3] = {{1, 1, 1},    {4, 8, 256}, {5, 9, 257}, {3, 17, 700},
                                     {64, 33, 40}, {7, 5, 0},   {0, 5, 3},   {130, 70, 513}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    for (int turned = 0; turned < 4; turned++)
      product_case(sizes[i][0], sizes[i][1], sizes[i][2], turned & 1, turned >> 1);
}

/* ---- nudged inputs ---- */

/* x over M N, all of it one element; k, integers, likewise. `outputs` are nodes of nudge_nodes. */
static DefNode nudge_nodes[] = {
    {.op = DEF_ARG, .index = 0},         {.op = DEF_ARG, .index = 0},                    /* the same tensor, read twice */
    {.op = DEF_SUB, .arg = {0, 1}},      {.op = DEF_SUM, .index = 1, .arg = {0}},
    {.op = DEF_DIM, .index = 1},         {.op = DEF_MUL, .arg = {0, 4}},
    {.op = DEF_SUB, .arg = {3, 5}},                                                      /* 6: the row's sum less n times an element */
    {.op = DEF_ARG, .index = 1},         {.op = DEF_NEG, .arg = {7}},
    {.op = DEF_ROUND, .arg = {0}, .dtype = KILN_BF16}, {.op = DEF_NEG, .arg = {9}},
    {.op = DEF_RINT, .arg = {0}},        {.op = DEF_NEG, .arg = {11}},
    {.op = DEF_INDEX, .index = 0, .dtype = KILN_I32}, {.op = DEF_INDEX, .index = 1, .dtype = KILN_I32},
    {.op = DEF_LOOKUP, .arg = {0, 13, 14}},
};
enum { ITSELF = 0, NOTHING = 2, CANCELS = 6, INTEGERS = 8, ROUNDED = 10, WHOLE = 12, LOOKED_UP = 15, NUDGE_N = 40 };

static void nudged(int output, int64_t m, double nudge, uint64_t seed, bool smooth, double *v) {
  KilnDef def = {
      .op = "nudged",
      .dims = {"M", "N"},
      .ndims = 2,
      .ntensors = 3,
      .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {0, 1}},
                 {.name = "k", .dtype = KILN_I32, .present = true, .rank = 2, .dim = {0, 1}},
                 {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {0, 1}, .value = output}},
      .node = nudge_nodes,
      .nnodes = sizeof nudge_nodes / sizeof nudge_nodes[0]};
  float x = 1.5f;
  int32_t k = 3;
  int64_t *zero = ramp(m, 0), *also = ramp(NUDGE_N, 0);
  double *e = malloc((size_t)(m * NUDGE_N) * 8);
  EvalInput in = {.def = &def, .size = {m, NUDGE_N}, .count = {m, NUDGE_N}, .nudge = nudge, .nudge_seed = seed, .smooth = smooth,
                  .tensor = {{KILN_F32, &x, {zero, also}}, {KILN_I32, &k, {zero, also}}}};
  Collected to = {v, e, NUDGE_N, 0, 1, 0};
  char why[256] = "";
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  if (m > 1000 && output == ITSELF) assert_true(to.chunks > 1);
  free(zero);
  free(also);
  free(e);
}

/* Root of the mean square of how far the values are from `from`. */
static double spread_around(const double *v, int64_t n, double from) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (v[i] - from) * (v[i] - from);
  return sqrt(sum / (double)n);
}

static void elements_are_nudged_each_by_itself(void **state) {
  (void)state;
  enum { M = 3000, N = NUDGE_N };
  double *v = malloc(M * N * 8), *w = malloc(M * N * 8), nudge = 0x1p-20;
  nudged(ITSELF, M, 0, 1, false, v);
  assert_true(spread_around(v, M * N, 1.5) == 0);
  nudged(ITSELF, M, nudge, 1, false, v); /* in several chunks, of which each goes on where the last one ended */
  assert_true(fabs(spread_around(v, M * N, 1.5) - 1.5 * nudge / sqrt(3)) < 0.02 * 1.5 * nudge);
  for (int64_t i = 1; i < M; i++) assert_true(v[i * N] != v[0] && fabs(v[i * N] - 1.5) <= 1.5 * nudge);
  nudged(ITSELF, M, nudge, 2, false, w);
  assert_true(v[0] != w[0] && v[5] != w[5]);
  nudged(LOOKED_UP, 3, nudge, 1, false, w); /* an element is the same one, however it is read */
  double third = v[2 * N + 7];
  nudged(ITSELF, 3, nudge, 1, false, v);
  assert_true(v[2 * N + 7] == third && w[2 * N + 7] == third);
  nudged(NOTHING, M, nudge, 1, false, v);
  assert_true(spread_around(v, M * N, 0) == 0);
  nudged(INTEGERS, 3, nudge, 1, false, v);
  assert_true(spread_around(v, 3 * N, -3) == 0);
  free(v);
  free(w);
}

/* The sum of n equal elements less n times one of them is 0, but made of terms: n - 1 of size x, and one n - 1 times as large. */
static void a_nudge_shows_what_cancels(void **state) {
  (void)state;
  enum { M = 200, N = NUDGE_N };
  double v[M * N], nudge = 0x1p-20, terms = 1.5 * sqrt((double)N * (N - 1) / 3);
  nudged(CANCELS, M, 0, 1, false, v);
  assert_true(spread_around(v, M * N, 0) == 0);
  nudged(CANCELS, M, nudge, 1, false, v);
  assert_true(fabs(spread_around(v, M * N, 0) / nudge - terms) < 0.05 * terms);
}

/* Smooth: what is rounded on the way moves with its operand; else most of it stays, and some jumps. */
static void smooth_values_are_not_rounded(void **state) {
  (void)state;
  enum { M = 50, N = NUDGE_N };
  double v[M * N], nudge = 0x1p-12;
  static const int outputs[] = {ROUNDED, WHOLE};
  for (int i = 0; i < 2; i++) {
    double still = outputs[i] == WHOLE ? -2 : -1.5;
    nudged(outputs[i], M, 0, 1, false, v);
    assert_true(spread_around(v, M * N, still) == 0);
    nudged(outputs[i], M, 0, 1, true, v);
    assert_true(spread_around(v, M * N, -1.5) == 0);
    nudged(outputs[i], M, nudge, 1, true, v);
    double terms = spread_around(v, M * N, -1.5) / nudge;
    assert_true(fabs(terms - 1.5 / sqrt(3)) < 0.05);
  }
}

/* ---- single operations ---- */

static double one(uint8_t op, double a, double b, double c, double *error) {
  DefNode nodes[] = {{.op = DEF_CONST, .value = a}, {.op = DEF_CONST, .value = b}, {.op = DEF_CONST, .value = c},
                     {.op = op, .arg = {0, 1, 2}, .dtype = KILN_BF16}};
  KilnDef def = {.op = "one",
                 .ntensors = 1,
                 .tensor = {{.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .value = 3}},
                 .node = nodes,
                 .nnodes = 4};
  double v = 12345;
  Collected to = {&v, error, 1, -1, -1, 0};
  char why[256] = "";
  EvalInput in = {.def = &def};
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  assert_int_equal(to.chunks, 1);
  return v;
}

static void operations_mean_what_they_say(void **state) {
  (void)state;
  double e;
  assert_true(one(DEF_MAX, NAN, 1, 0, &e) != one(DEF_MAX, NAN, 1, 0, &e)); /* NaN if either is */
  assert_true(one(DEF_MIN, 2, -3, 0, &e) == -3);
  assert_true(one(DEF_WHERE, 0, NAN, 7, &e) == 7); /* selection: the other side does not leak */
  assert_true(one(DEF_WHERE, 1, 5, INFINITY, &e) == 5);
  assert_true(one(DEF_LT, 1, 2, 0, &e) == 1 && e == 0);
  assert_true(one(DEF_LT, NAN, 2, 0, &e) == 0);
  assert_true(one(DEF_NE, NAN, NAN, 0, &e) == 1);
  assert_true(one(DEF_ROUND, 1 + 0x1p-9, 0, 0, &e) == 1);
  assert_true(one(DEF_SUB, 1, 1, 0, &e) == 0);
  assert_true(one(DEF_DIV, 1, 0, 0, &e) == INFINITY && e == 0);
  assert_true(fabs(one(DEF_ERF, 0.5, 0, 0, &e) - erf(0.5)) < 1e-15);
  assert_true(one(DEF_AND, 1, 0, 0, &e) == 0 && one(DEF_OR, 1, 0, 0, &e) == 1 && one(DEF_NOT, 0, 0, 0, &e) == 1);
}

/* Near the middle of two bf16 a kernel may land on either; elsewhere an error far below their distance rounds away. */
static void rounding_is_exact_away_from_borders(void **state) {
  (void)state;
  double e;
  assert_true(one(DEF_ROUND, 0.1, 0, 0, &e) == number_round(KILN_BF16, 0.1) && e == 0);
  assert_true(one(DEF_ROUND, 1 + 0x1p-8 + 1e-12, 0, 0, &e) == 1 + 0x1p-7 && e == 0x1p-7);
  assert_true(one(DEF_ROUND, 1 + 0x1p-8 - 1e-12, 0, 0, &e) == 1 && e == 0x1p-7);
}

/* 0.1 is not an f32: what compares with it within that error is undecided, and a selection by it carries the difference. */
static void undecided_comparisons_widen_the_selection(void **state) {
  (void)state;
  DefNode nodes[] = {{.op = DEF_CONST, .value = 0.1}, {.op = DEF_CONST, .value = (double)0.1f}, {.op = DEF_LT, .arg = {0, 1}},
                     {.op = DEF_CONST, .value = 5}, {.op = DEF_CONST, .value = 8}, {.op = DEF_WHERE, .arg = {2, 3, 4}}};
  KilnDef def = {.op = "undecided",
                 .ntensors = 1,
                 .tensor = {{.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .value = 5}},
                 .node = nodes,
                 .nnodes = 6};
  double v, e;
  Collected to = {&v, &e, 1, -1, -1, 0};
  char why[256];
  EvalInput in = {.def = &def};
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  assert_true(v == 5 && e == 3);
}

/* ---- sums over rows ---- */

/* y = x * sum_N(x) and s = sum_B sum_M (x * sum_N(x)), t = amax_M(x): x has dims B M N. */
static DefNode column_nodes[] = {
    {.op = DEF_ARG, .index = 0},       {.op = DEF_SUM, .index = 2, .arg = {0}}, {.op = DEF_MUL, .arg = {0, 1}},
    {.op = DEF_SUM, .index = 1, .arg = {2}}, {.op = DEF_SUM, .index = 0, .arg = {3}}, {.op = DEF_AMAX, .index = 1, .arg = {0}},
};
static KilnDef column_definition(void) {
  return (KilnDef){
      .op = "columns",
      .dims = {"B", "M", "N"},
      .ndims = 3,
      .lead_dims = 2,
      .ntensors = 4,
      .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 3, .dim = {0, 1, 2}},
                 {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 3, .dim = {0, 1, 2}, .value = 2},
                 {.name = "s", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 1, .dim = {2}, .value = 4},
                 {.name = "t", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {0, 2}, .value = 5}},
      .node = column_nodes,
      .nnodes = 6};
}

typedef struct Columns { int64_t b, m, n; double *v[4], *e[4]; int64_t seen[4]; } Columns;

static void collect_columns(void *user, const EvalChunk *c) {
  Columns *to = user;
  int64_t i = 0;
  for (int64_t b = 0; b < c->count[0]; b++)
    for (int64_t m = 0; m < c->count[1]; m++)
      for (int64_t n = 0; n < c->count[2]; n++, i++) {
        int64_t at = ((c->start[0] + b) * (c->tensor == 1 ? to->m : 1) + c->start[1] + m) * to->n + c->start[2] + n;
        to->v[c->tensor][at] = c->value[i];
        to->e[c->tensor][at] = c->error[i];
        to->seen[c->tensor]++;
      }
}

static void free_columns(Columns *c) {
  for (int t = 1; t < 4; t++) {
    free(c->v[t]);
    free(c->e[t]);
  }
}

/* group 0: everything at once; else a mask of outputs. */
static Columns evaluate_columns(const float *x, int64_t b, int64_t m, int64_t n, uint32_t outputs) {
  KilnDef def = column_definition();
  Columns to = {.b = b, .m = m, .n = n};
  for (int t = 1; t < 4; t++) {
    to.v[t] = calloc((size_t)(b * (m + 1) * n + n), 8);
    to.e[t] = calloc((size_t)(b * (m + 1) * n + n), 8);
  }
  int64_t *by_b = ramp(b, m * n), *by_m = ramp(m, n), *by_n = ramp(n, 1);
  EvalInput in = {.def = &def, .outputs = outputs, .size = {b, m, n}, .count = {b, m, n},
                  .tensor = {{KILN_F32, x, {by_b, by_m, by_n}}}};
  char why[256] = "";
  assert_true(evaluate(&in, collect_columns, &to, why, sizeof why));
  free(by_b);
  free(by_m);
  free(by_n);
  return to;
}

static void column_sums_agree_with_loops(void **state) {
  (void)state;
  static const int64_t shapes[][3] = {{1, 5, 3}, {2, 3, 7}, {1, 5000, 40}, {3, 700, 64}, {7, 1, 3000}, {400, 3, 50}, {2, 0, 5}, {0, 4, 5}};
  Random r;
  random_start(&r, random_entropy());
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
    int64_t b = shapes[k][0], m = shapes[k][1], n = shapes[k][2];
    float *x = normals(&r, b * m * n + 1);
    for (uint32_t outputs = 0; outputs < 16; outputs += 2) {
      Columns got = evaluate_columns(x, b, m, n, outputs);
      double *s = calloc((size_t)n, 8), *size = calloc((size_t)n, 8);
      for (int64_t i = 0; i < b * m; i++) {
        double row = 0;
        for (int64_t j = 0; j < n; j++) row += x[i * n + j];
        for (int64_t j = 0; j < n; j++) {
          s[j] += x[i * n + j] * row;
          size[j] += fabs(x[i * n + j] * row);
          if (got.seen[1]) assert_true(fabs(got.v[1][i * n + j] - x[i * n + j] * row) <= 1e-12 * (1 + fabs(row)));
        }
      }
      for (int64_t j = 0; j < n && got.seen[2]; j++) assert_true(fabs(got.v[2][j] - s[j]) <= 1e-12 * (1 + size[j]));
      for (int64_t i = 0; i < b && got.seen[3]; i++)
        for (int64_t j = 0; j < n; j++) {
          double most = -INFINITY;
          for (int64_t l = 0; l < m; l++) most = fmax(most, x[(i * m + l) * n + j]);
          assert_true(got.v[3][i * n + j] == most);
        }
      int64_t want[4] = {0, b * m * n, n, b * n};
      for (int t = 1; t < 4; t++) assert_int_equal(got.seen[t], outputs == 0 || outputs >> t & 1 ? want[t] : 0);
      free(s);
      free(size);
      free_columns(&got);
    }
    free(x);
  }
}

/* Three orders in which a kernel may sum 100000 rows in f32: one chain, partials of 256 rows, a tree. */
static float tree(const float *x, int64_t n, int64_t stride) {
  return n == 1 ? *x : tree(x, n / 2, stride) + tree(x + n / 2 * stride, n - n / 2, stride);
}

static void the_analysis_covers_column_sums(void **state) {
  (void)state;
  enum { M = 100000, N = 3 };
  Random r;
  random_start(&r, random_entropy());
  float *x = normals(&r, M * N), *y = malloc(sizeof(float) * M * N);
  Columns got = evaluate_columns(x, 1, M, N, 4);
  for (int i = 0; i < M; i++) {
    float row = x[i * N] + x[i * N + 1] + x[i * N + 2];
    for (int j = 0; j < N; j++) y[i * N + j] = x[i * N + j] * row;
  }
  for (int j = 0; j < N; j++) {
    float chain = 0, partials = 0;
    for (int i = 0; i < M; i += 256) {
      float part = 0;
      for (int k = i; k < i + 256 && k < M; k++) {
        part += y[k * N + j];
        chain += y[k * N + j];
      }
      partials += part;
    }
    double v = got.v[2][j], e = got.e[2][j];
    assert_true(fabs(chain - v) <= e && fabs(partials - v) <= e && fabs(tree(y + j, M, N) - v) <= e);
    assert_true(e <= 1e-3 * fabs(v)); /* about 10^5 terms of mean 1: a lost block of 256 rows would show */
  }
  free(x);
  free(y);
  free_columns(&got);
}

static void outputs_are_grouped_by_what_they_reduce(void **state) {
  (void)state;
  KilnDef def = column_definition();
  uint32_t group[DEF_MAX_TENSORS];
  assert_int_equal(evaluate_groups(&def, group), 3);
  assert_int_equal(group[0], 2);
  assert_int_equal(group[1], 4);
  assert_int_equal(group[2], 8);
  assert_int_equal(evaluate_samplable(&def, 2), 3); /* y: every row by itself */
  assert_int_equal(evaluate_samplable(&def, 4), 0);
  assert_int_equal(evaluate_samplable(&def, 8), 5); /* t: every column of every sample */
  assert_int_equal(evaluate_samplable(&def, 0), 0);
  KilnDef rows = row_definition();
  assert_int_equal(evaluate_groups(&rows, group), 1);
}

/* What is held grows with the columns, never with the rows. */
typedef struct Peak { int64_t bytes, most; } Peak;
static void *measure(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  Peak *p = user;
  p->bytes += (int64_t)new_bytes - (int64_t)old_bytes;
  if (p->bytes > p->most) p->most = p->bytes;
  if (new_bytes) return realloc(ptr, new_bytes);
  free(ptr);
  return NULL;
}

static void memory_does_not_grow_with_the_rows(void **state) {
  (void)state;
  float *x = calloc(400000 * 4, sizeof *x);
  Peak p = {0};
  kiln_mem_hook(measure, &p);
  Columns got = evaluate_columns(x, 1, 400000, 4, 4);
  kiln_mem_hook(NULL, NULL);
  assert_int_equal(p.bytes, 0);
  assert_true(p.most > 0 && p.most < 8 << 20); /* the input alone would be 12.8 MB as double */
  free_columns(&got);
  free(x);
}

/* ---- what goes by position ---- */

/* x over M N, table over P R; the value of `node` over the dims of y. */
static void position_case(const DefNode *nodes, uint32_t nnodes, int64_t m, int64_t n, const double *want) {
  float x[64], table[6] = {1, 2, 3, 4, 5, 6};
  double v[64], e[64];
  for (int i = 0; i < 64; i++) x[i] = (float)(i + 1);
  KilnDef def = {
      .op = "position",
      .dims = {"M", "N", "P", "R"},
      .ndims = 4,
      .ntensors = 3,
      .nscalars = 1,
      .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {0, 1}},
                 {.name = "table", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {2, 3}},
                 {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {0, 1},
                  .value = (int32_t)nnodes - 1}},
      .scalar = {{.name = "pos", .dtype = KILN_I32}},
      .nnodes = nnodes};
  def.node = (DefNode *)nodes;
  int64_t *by_m = ramp(m, n), *by_n = ramp(n, 1), *by_p = ramp(2, 3), *by_r = ramp(3, 1);
  EvalInput in = {.def = &def, .size = {m, n, 2, 3}, .count = {m, n, 2, 3}, .scalar = {1},
                  .tensor = {{KILN_F32, x, {by_m, by_n}}, {KILN_F32, table, {NULL, NULL, by_p, by_r}}}};
  Collected to = {v, e, n, 0, 1, 0};
  char why[256] = "";
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  for (int64_t i = 0; i < m * n; i++) assert_true(v[i] == want[i] && e[i] == 0);
  /* One row, asked for by itself, is the same: coordinates are those of the whole. */
  int64_t last = m - 1, at = last * n;
  in.count[0] = 1;
  in.index[0] = &last;
  in.tensor[0].offset[0] = &at;
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  for (int64_t i = 0; i < n; i++) assert_true(v[i] == want[at + i]);
  int64_t *all[] = {by_m, by_n, by_p, by_r};
  for (int i = 0; i < 4; i++) free(all[i]);
}

static void positions_move_values(void **state) {
  (void)state;
  const DefNode pairs[] = {{.op = DEF_ARG, .index = 0}, {.op = DEF_SWAP_PAIRS, .index = 1, .arg = {0}}};
  position_case(pairs, 2, 2, 5, (const double[]){2, 1, 4, 3, 0, 7, 6, 9, 8, 0});
  const DefNode halves[] = {{.op = DEF_ARG, .index = 0},
                            {.op = DEF_CONST, .value = 4, .dtype = KILN_I32},
                            {.op = DEF_SWAP_HALVES, .index = 1, .arg = {0, 1}}};
  position_case(halves, 3, 1, 10, (const double[]){3, 4, 1, 2, 7, 8, 5, 6, 0, 0});
  position_case(halves, 3, 1, 3, (const double[]){0, 0, 0});
  const DefNode whole[] = {{.op = DEF_ARG, .index = 0},
                           {.op = DEF_SIZE, .index = 1, .dtype = KILN_I32},
                           {.op = DEF_SWAP_HALVES, .index = 1, .arg = {0, 1}}};
  position_case(whole, 3, 1, 6, (const double[]){4, 5, 6, 1, 2, 3});
}

static void tables_are_looked_up(void **state) {
  (void)state;
  /* table[index M - 1 + pos, index N / 2] */
  const DefNode nodes[] = {
      {.op = DEF_ARG, .index = 1},
      {.op = DEF_INDEX, .index = 0, .dtype = KILN_I32},
      {.op = DEF_CONST, .value = 1, .dtype = KILN_I32},
      {.op = DEF_SUB, .arg = {1, 2}, .dtype = KILN_I32},
      {.op = DEF_SCALAR, .index = 0, .dtype = KILN_I32},
      {.op = DEF_ADD, .arg = {3, 4}, .dtype = KILN_I32},
      {.op = DEF_INDEX, .index = 1, .dtype = KILN_I32},
      {.op = DEF_CONST, .value = 2, .dtype = KILN_I32},
      {.op = DEF_IDIV, .arg = {6, 7}, .dtype = KILN_I32},
      {.op = DEF_LOOKUP, .arg = {0, 5, 8}},
  };
  position_case(nodes, 10, 3, 8, (const double[]){1, 1, 2, 2, 3, 3, 0, 0, 4, 4, 5, 5, 6, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
}

/* What f32 makes of an infinity times a value that it flushes to 0 is NaN, in double it is infinite: nothing can be said. */
static void what_f32_may_make_of_infinities_is_undecided(void **state) {
  (void)state;
  static const struct { uint8_t op; double a, b; bool undecided; } cases[] = {
      {DEF_MUL, INFINITY, 1e-85, true},  {DEF_MUL, INFINITY, 0, false},    {DEF_MUL, INFINITY, 2, false},
      {DEF_MUL, 1e60, 0, true},          {DEF_SUB, INFINITY, 1e60, true},  {DEF_SUB, INFINITY, 1, false},
      {DEF_DIV, INFINITY, 1e60, true},   {DEF_DIV, 1, INFINITY, false},    {DEF_DIV, INFINITY, 3, false},
      {DEF_DIV, 1e-60, 0, true},         {DEF_ADD, 1e60, INFINITY, true},  {DEF_ADD, 1, 2, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    double e;
    one(cases[i].op, cases[i].a, cases[i].b, 0, &e);
    assert_int_equal(isinf(e), cases[i].undecided);
  }
}

static void integers_stay_exact(void **state) {
  (void)state;
  /* index N mod 3, as a number; stopped on its way */
  const DefNode nodes[] = {{.op = DEF_INDEX, .index = 1, .dtype = KILN_I32},
                           {.op = DEF_CONST, .value = 3, .dtype = KILN_I32},
                           {.op = DEF_MOD, .arg = {0, 1}, .dtype = KILN_I32},
                           {.op = DEF_FLOAT, .arg = {2}},
                           {.op = DEF_STOP, .arg = {3}}};
  position_case(nodes, 5, 1, 5, (const double[]){0, 1, 2, 0, 1});
  DefNode large[] = {{.op = DEF_CONST, .value = 16777217, .dtype = KILN_I32},
                     {.op = DEF_MUL, .arg = {0, 0}, .dtype = KILN_I32},
                     {.op = DEF_FLOAT, .arg = {0}}};
  KilnDef def = {.op = "large",
                 .ntensors = 1,
                 .tensor = {{.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .value = 2}},
                 .node = large,
                 .nnodes = 3};
  double v, e;
  Collected to = {&v, &e, 1, -1, -1, 0};
  char why[256];
  EvalInput in = {.def = &def};
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  assert_true(v == 16777217 && e > 0 && e <= 2); /* no f32 */
}

/* y from x, both of f32 along N; y is the last node. */
static KilnDef one_row(DefNode *nodes, int n) {
  return (KilnDef){.op = "row",
                   .dims = {"N"},
                   .ndims = 1,
                   .ntensors = 2,
                   .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 1, .dim = {0}},
                              {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 1, .dim = {0}, .value = n - 1}},
                   .node = nodes,
                   .nnodes = (uint32_t)n};
}

/* x is known to some error, and so is its largest: yet the largest is the largest. And a value is no less than itself. */
static void the_own_extreme_is_decided(void **state) {
  (void)state;
  float x[3] = {1, 3, 2};
  int64_t at[3] = {0, 1, 2};
  DefNode nodes[] = {{.op = DEF_ARG, .index = 0},
                     {.op = DEF_CONST, .value = 0.1},
                     {.op = DEF_MUL, .arg = {0, 1}},
                     {.op = DEF_AMAX, .index = 0, .arg = {2}},
                     {.op = DEF_EQ, .arg = {2, 3}, .dtype = KILN_BOOL},
                     {.op = DEF_WHERE, .arg = {4, 2, 1}}};
  KilnDef def = one_row(nodes, 6);
  double v[3], e[3];
  Collected to = {v, e, 3, -1, 0, 0};
  char why[256];
  EvalInput in = {.def = &def, .size = {3}, .count = {3}, .tensor = {{KILN_F32, x, {at}}}};
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  assert_true(fabs(v[1] - 0.3) < 1e-15 && e[1] < 1e-7 && v[0] == 0.1 && v[2] == 0.1);
  nodes[4].op = DEF_LE;
  nodes[4].arg[1] = 2;
  assert_true(evaluate(&in, collect, &to, why, sizeof why));
  for (int i = 0; i < 3; i++) assert_true(fabs(v[i] - 0.1 * x[i]) < 1e-15 && e[i] < 1e-6);
}

/* Terms beyond f32: of one sign they are an infinity there, of both NaN, which a sum of doubles does not show. */
static void terms_beyond_f32_of_both_signs_are_undecided(void **state) {
  (void)state;
  static const struct { float x[3]; bool undecided; } cases[] = {
      {{1e30f, 2, 3e30f}, false}, {{1e30f, 2, -3e30f}, true}, {{-1e30f, 1e-30f, 1e30f}, true}, {{1e30f, INFINITY, 1}, false},
      {{-1e30f, INFINITY, 1}, true}, {{INFINITY, -INFINITY, 1}, false}, {{1e-9f, -2e-9f, 3e-9f}, false}};
  int64_t at[3] = {0, 1, 2};
  DefNode nodes[] = {{.op = DEF_ARG, .index = 0},
                     {.op = DEF_CONST, .value = 0x1p40},
                     {.op = DEF_MUL, .arg = {0, 1}},
                     {.op = DEF_SUM, .index = 0, .arg = {2}},
                     {.op = DEF_EQ, .arg = {1, 1}, .dtype = KILN_BOOL},
                     {.op = DEF_WHERE, .arg = {4, 3, 0}}};
  KilnDef def = one_row(nodes, 6);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    double v[3], e[3];
    Collected to = {v, e, 3, -1, 0, 0};
    char why[256];
    EvalInput in = {.def = &def, .size = {3}, .count = {3}, .tensor = {{KILN_F32, cases[i].x, {at}}}};
    assert_true(evaluate(&in, collect, &to, why, sizeof why));
    assert_int_equal(isinf(e[0]), cases[i].undecided);
  }
}

/* ---- definitions that are none ---- */

static void refuses_broken_definitions(void **state) {
  (void)state;
  float x[4] = {0};
  int64_t at[2] = {0, 1};
  static const DefNode broken[] = {
      {.op = DEF_NEG, .arg = {1}},              /* itself */
      {.op = DEF_NEG, .arg = {9}},              /* out of range */
      {.op = DEF_SUM, .index = 1, .arg = {0}},  /* a dim that x lacks */
      {.op = DEF_SUM, .index = 7, .arg = {0}},
      {.op = DEF_DOT, .index = 1, .arg = {0, 0}},
      {.op = 200, .arg = {0}},
      {.op = DEF_ARG, .index = 5},
      {.op = DEF_SCALAR, .index = 3},
      {.op = DEF_DIM, .index = 6},
      {.op = DEF_INDEX, .index = 6},
      {.op = DEF_SIZE, .index = 6},
      {.op = DEF_SWAP_PAIRS, .index = 1, .arg = {0}},
      {.op = DEF_SWAP_HALVES, .index = 0, .arg = {0, 0}}, /* a width that varies */
      {.op = DEF_LOOKUP, .arg = {0, 0, 0}},               /* in a tensor of one dim */
  };
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    DefNode nodes[2] = {{.op = DEF_ARG, .index = 0}, broken[i]};
    KilnDef def = {
        .op = "broken",
        .dims = {"M", "N"},
        .ndims = 2,
        .ntensors = 2,
        .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 1, .dim = {0}},
                   {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 1, .dim = {0}, .value = 1}},
        .node = nodes,
        .nnodes = 2};
    EvalInput in = {.def = &def, .size = {2, 2}, .count = {2, 2}, .tensor = {{KILN_F32, x, {at}}}};
    double v[4], e[4];
    Collected to = {v, e, 2, 0, -1, 0};
    char why[256] = "";
    assert_false(evaluate(&in, collect, &to, why, sizeof why));
    assert_non_null(strstr(why, "broken"));
  }
}

/* Every allocation fails once; each time it is said, and nothing leaks (the count of bytes ends at zero). */
typedef struct Meter { int64_t bytes; int left; } Meter;
static void *meter(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  Meter *m = user;
  if (new_bytes && m->left-- == 0) return NULL;
  m->bytes += (int64_t)new_bytes - (int64_t)old_bytes;
  if (!new_bytes) {
    free(ptr);
    return NULL;
  }
  return realloc(ptr, new_bytes);
}

static void survives_lack_of_memory(void **state) {
  (void)state;
  DefNode nodes[] = {{.op = DEF_ARG, .index = 0},
                     {.op = DEF_ARG, .index = 1},
                     {.op = DEF_DOT, .index = 1, .arg = {0, 1}},
                     {.op = DEF_EXP, .arg = {2}}};
  KilnDef def = {
      .op = "product",
      .dims = {"M", "K", "N"},
      .ndims = 3,
      .ntensors = 3,
      .tensor = {{.name = "a", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {0, 1}},
                 {.name = "b", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {1, 2}},
                 {.name = "d", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {0, 2}, .value = 3}},
      .node = nodes,
      .nnodes = 4};
  float x[16] = {0};
  int64_t at[4] = {0, 1, 2, 3};
  EvalInput in = {
      .def = &def, .size = {4, 4, 4}, .count = {4, 4, 4}, .tensor = {{KILN_F32, x, {at, at}}, {KILN_F32, x, {NULL, at, at}}}};
  double v[16], e[16];
  Collected to = {v, e, 4, 0, 2, 0};
  char why[256];
  for (int n = 0;; n++) {
    Meter m = {0, n};
    kiln_mem_hook(meter, &m);
    bool done = evaluate(&in, collect, &to, why, sizeof why);
    kiln_mem_hook(NULL, NULL);
    assert_int_equal(m.bytes, 0);
    if (done) {
      assert_true(n > 8);
      return;
    }
    assert_non_null(strstr(why, "out of memory"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_agree_with_loops),
      cmocka_unit_test(the_analysis_covers_f32),
      cmocka_unit_test(samples_are_the_same_rows),
      cmocka_unit_test(products_agree_with_loops),
      cmocka_unit_test(elements_are_nudged_each_by_itself),
      cmocka_unit_test(a_nudge_shows_what_cancels),
      cmocka_unit_test(smooth_values_are_not_rounded),
      cmocka_unit_test(operations_mean_what_they_say),
      cmocka_unit_test(undecided_comparisons_widen_the_selection),
      cmocka_unit_test(rounding_is_exact_away_from_borders),
      cmocka_unit_test(column_sums_agree_with_loops),
      cmocka_unit_test(the_analysis_covers_column_sums),
      cmocka_unit_test(outputs_are_grouped_by_what_they_reduce),
      cmocka_unit_test(memory_does_not_grow_with_the_rows),
      cmocka_unit_test(positions_move_values),
      cmocka_unit_test(tables_are_looked_up),
      cmocka_unit_test(integers_stay_exact),
      cmocka_unit_test(what_f32_may_make_of_infinities_is_undecided),
      cmocka_unit_test(terms_beyond_f32_of_both_signs_are_undecided),
      cmocka_unit_test(the_own_extreme_is_decided),
      cmocka_unit_test(refuses_broken_definitions),
      cmocka_unit_test(survives_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
