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
      cmocka_unit_test(operations_mean_what_they_say),
      cmocka_unit_test(undecided_comparisons_widen_the_selection),
      cmocka_unit_test(refuses_broken_definitions),
      cmocka_unit_test(survives_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
