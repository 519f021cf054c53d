/* The row-wise ops of lua/rows.lua, which use every form of the language, each by hand in C: the evaluator on their traced
 * definitions must agree, and their kernels on the simulator. What `kiln check` cannot see is a script that is traced into
 * something else than it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "problem.h"

typedef struct Sample {
  const char *op;
  void (*refer)(Problem *p);
  const char *settings[3], *sizes[3], *scalars[3]; /* NULL: no more */
} Sample;

static KilnGen *generator;

/* ---- by hand ---- */

static size_t size(const Problem *p, const char *dim) { return problem_size(p, dim); }

static void heads(Problem *p) {
  const double *x = problem_in(p, "x"), *a = problem_in(p, "a"), *g = problem_in(p, "g"), *c = problem_in(p, "c");
  double *y = problem_out(p, "y"), *s = problem_out(p, "s");
  size_t heads = size(p, "H"), rows = size(p, "T"), n = size(p, "N");
  for (size_t row = 0; row < size(p, "B") * heads * rows; row++) {
    size_t t = row % rows, h = row / rows % heads, b = row / rows / heads;
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
      y[row * n + j] = x[row * n + j] * g[h] + a[(b * rows + t) * n + j] - c[h * n + j];
      sum += x[row * n + j] * c[h * n + j];
    }
    s[row] = sum / (double)n + g[h];
  }
}

static void segments(Problem *p) {
  const double *x = problem_in(p, "x"), *z = problem_in(p, "z"), *w = problem_in(p, "w");
  double *y = problem_out(p, "y"), *s = problem_out(p, "s"), *u = problem_out(p, "u");
  size_t n = size(p, "N1"), m = size(p, "N2");
  for (size_t i = 0; i < size(p, "B") * size(p, "M1"); i++) {
    s[i] = x[i * n];
    for (size_t j = 1; j < n; j++) s[i] = fmax(s[i], x[i * n + j]);
    for (size_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] - problem_round(problem_dtype(p, "s"), s[i]);
  }
  for (size_t i = 0; i < size(p, "M2"); i++) {
    double sum = 0;
    for (size_t j = 0; j < m; j++) sum += fabs(z[i * m + j]);
    for (size_t j = 0; j < m; j++) u[i * m + j] = z[i * m + j] * w[j] / (1 + sum);
  }
}

static void lookup(Problem *p) {
  const double *x = problem_in(p, "x"), *table = problem_in(p, "tab");
  double *y = problem_out(p, "y");
  size_t rows = size(p, "T"), n = size(p, "N"), r = size(p, "R");
  for (size_t i = 0; i < size(p, "B") * rows * n; i++) {
    size_t row = i / n % rows + (size_t)problem_scalar(p, "pos");
    y[i] = x[i] + (row < size(p, "P") ? table[row * r + i % n % r] : 0);
  }
}

static void turn(Problem *p) {
  const double *x = problem_in(p, "x"), *cos = problem_in(p, "cos"), *sin = problem_in(p, "sin");
  double *y = problem_out(p, "y");
  size_t rows = size(p, "T"), n = size(p, "N"), half = size(p, "R"), width = 2 * half;
  for (size_t i = 0; i < size(p, "B") * rows * n; i++) {
    size_t row = i / n % rows, c = i % n, in = c % width;
    bool whole = c - in + width <= n, low = in < half;
    double other = !whole ? 0 : low ? -x[i + half] : x[i - half];
    y[i] = (double)row < problem_scalar(p, "rows") ? x[i] * cos[row * half + in % half] + other * sin[row * half + in % half] : x[i];
  }
}

/* Halves of all whole blocks, a table entry per channel. */
static void rotated(Problem *p) {
  const double *x = problem_in(p, "x"), *cos = problem_in(p, "cos"), *sin = problem_in(p, "sin");
  double *y = problem_out(p, "y");
  size_t rows = size(p, "T"), n = size(p, "N"), r = size(p, "R"), half = r / 2, width = 2 * half;
  for (size_t i = 0; i < size(p, "B") * rows * n; i++) {
    size_t row = i / n % rows + (size_t)problem_scalar(p, "pos"), c = i % n;
    y[i] = x[i];
    if (width == 0 || c >= n / width * width) continue;
    size_t in = c % width, at = row * r + in;
    bool there = row < size(p, "P");
    y[i] = there ? x[i] * cos[at] + (in < half ? -x[i + half] : x[i - half]) * sin[at] : 0;
  }
}

static void swap_pairs(Problem *p) {
  const double *x = problem_in(p, "x");
  double *y = problem_out(p, "y");
  size_t n = size(p, "N");
  for (size_t i = 0; i < size(p, "M") * n; i++) {
    size_t c = i % n;
    y[i] = (c % 2 ? 2 * x[i - 1] : c + 1 < n ? 2 * x[i + 1] : 0) - x[i];
  }
}

static void swap_halves(Problem *p) {
  const double *x = problem_in(p, "x");
  double *y = problem_out(p, "y");
  size_t n = size(p, "N");
  for (size_t i = 0; i < size(p, "M") * n; i++) {
    size_t c = i % n;
    y[i] = 3 * x[i] + (c >= n / 6 * 6 ? 0 : c % 6 < 3 ? x[i + 3] : x[i - 3]);
  }
}

static void mask(Problem *p) {
  const double *x = problem_in(p, "x"), *m = problem_in(p, "m");
  double *y = problem_out(p, "y");
  for (size_t i = 0; i < size(p, "M") * size(p, "N"); i++) y[i] = m[i] != 0 ? -1 : x[i] * x[i];
}

static void causal(Problem *p) {
  const double *x = problem_in(p, "x");
  size_t rows = size(p, "T"), n = size(p, "N");
  double *hidden = calloc(rows * n + 1, sizeof *hidden);
  for (size_t i = 0; i < rows * n; i++) hidden[i] = (double)(i % n) > (double)(i / n) + problem_scalar(p, "shift");
  ref_softmax(rows, n, x, hidden, 1, problem_out(p, "y"));
  free(hidden);
}

static void integers(Problem *p) {
  const double *x = problem_in(p, "x");
  double *y = problem_out(p, "y");
  long n = (long)size(p, "N"), k = (long)problem_scalar(p, "k");
  for (size_t i = 0; i < size(p, "M") * (size_t)n; i++) {
    long c = (long)(i % (size_t)n), far = 2 * c < n - 1 - c / k ? 2 * c : n - 1 - c / k;
    y[i] = x[i] + (double)(c % 3 == 0 ? (c > k ? c - k : 0) : far) / 8;
  }
}

static void checkerboard(Problem *p) {
  const double *x = problem_in(p, "x");
  double *y = problem_out(p, "y");
  size_t n = size(p, "N");
  for (size_t i = 0; i < size(p, "T") * n; i++) y[i] = (i / n + i % n) % 2 ? -x[i] : x[i];
}

static void column_sums(Problem *p) {
  const double *x = problem_in(p, "x"), *dy = problem_in(p, "dy");
  double *dw = problem_out(p, "dw"), *db = problem_out(p, "db");
  size_t n = size(p, "N");
  for (size_t i = 0; i < size(p, "M") * n; i++) {
    dw[i % n] += dy[i] * x[i];
    db[i % n] += dy[i];
  }
}

static void column_sums_of_samples(Problem *p) {
  size_t rows = size(p, "M"), n = size(p, "N");
  RefNorm a = {.samples = size(p, "B"), .rows = rows, .n = n, .x = problem_in(p, "x"), .eps = problem_scalar(p, "eps")};
  const double *w = problem_in(p, "w");
  double *y = problem_out(p, "y"), *s = problem_out(p, "s");
  ref_rms_norm(&a, y, NULL);
  for (size_t i = 0; i < a.samples * rows * n; i++) {
    s[i / (rows * n) * n + i % n] += y[i] * y[i];
    y[i] *= w[i % n];
  }
}

static void norm_backward(Problem *p) {
  RefNorm a = {.samples = 1, .rows = size(p, "M"), .n = size(p, "N"), .x = problem_in(p, "x"), .w = problem_in(p, "w"), .eps = 1e-2};
  ref_rms_norm_grad(&a, problem_in(p, "dy"), problem_out(p, "dx"), problem_out(p, "dw"));
}

static void levels(Problem *p) {
  const double *x = problem_in(p, "x");
  double *y = problem_out(p, "y"), *s = problem_out(p, "s");
  size_t n = size(p, "N");
  double *d = calloc(n + 1, sizeof *d), *q = calloc(n + 1, sizeof *q);
  for (size_t i = 0; i < size(p, "M"); i++) {
    double mean = 0, size_of = 0, along = 0;
    for (size_t j = 0; j < n; j++) mean += x[i * n + j] / (double)n;
    for (size_t j = 0; j < n; j++) size_of += fabs(x[i * n + j] - mean) / (double)n;
    for (size_t j = 0; j < n; j++) d[j] = (x[i * n + j] - mean) / (size_of + 0.125);
    ref_softmax(1, n, d, NULL, 1, q);
    for (size_t j = 0; j < n; j++) along += q[j] * d[j];
    for (size_t j = 0; j < n; j++) y[i * n + j] = q[j] * (d[j] - along);
    s[i] = along;
  }
  free(d);
  free(q);
}

static void log_sum(Problem *p) {
  const double *x = problem_in(p, "x"), *m = problem_in(p, "m");
  double *y = problem_out(p, "y"), scale = problem_scalar(p, "scale");
  size_t n = size(p, "N");
  for (size_t i = 0; i < size(p, "M"); i++) {
    double most = scale * x[i * n], sum = 0; /* the first element is never hidden */
    for (size_t j = 1; j < n; j++)
      if (m[i * n + j] == 0) most = fmax(most, scale * x[i * n + j]);
    for (size_t j = 0; j < n; j++)
      if (j == 0 || m[i * n + j] == 0) sum += exp(scale * x[i * n + j] - most);
    y[i] = most + log(sum);
  }
}

static double keep_f32(double x) { return problem_round(KILN_F32, x); }
static double keep_f16(double x) { return problem_round(KILN_F16, x); }

static void over(Problem *p) {
  RefNorm a = {.samples = 1, .rows = size(p, "M"), .n = size(p, "N"), .x = problem_in(p, "x"), .eps = 1e-2};
  ref_add_rms_norm(&a, problem_in(p, "r"), problem_dtype(p, "x2") == KILN_F16 ? keep_f16 : keep_f32, problem_out(p, "y"), problem_out(p, "x2"), NULL);
}

static void per_sample(Problem *p) {
  const double *x = problem_in(p, "x"), *w = problem_in(p, "w");
  double *y = problem_out(p, "y");
  size_t rows = size(p, "M"), n = size(p, "N");
  for (size_t i = 0; i < size(p, "B") * rows * n; i++)
    y[i] = x[i] * (!w ? 1 : w[(problem_has_dim(p, "w", "B") ? i / (rows * n) * n : 0) + i % n]);
}

#define FLAT {"M=1 N=1", "M=2x5 N=77", "M=3 N=1040"}
#define DTYPES {"dtype=f16", "dtype=f32", "dtype=bf16"}
static const Sample samples[] = {
    {"r_heads", heads, {"dtype=f16", "dtype=f32"}, {"B=2 H=3 T=4 N=40", "B=1 H=2 T=3 N=1001", "B=3 H=1 T=1 N=1"}, {""}},
    {"r_segments", segments, {"dtype=f16", "dtype=f32"}, {"B=2 M1=3 N1=64 M2=2x3 N2=130", "B=1 M1=1 N1=1 M2=1 N2=1200"}, {""}},
    {"r_lookup", lookup, {"dtype=f16", "dtype=f32"}, {"B=2 T=5 N=72 P=8 R=7", "B=1 T=4 N=1000 P=5 R=8", "B=2 T=3 N=3 P=4 R=5"}, {"", "pos=0"}},
    {"r_turn", turn, {"dtype=f16 cos_dtype=f32", "dtype=f32"}, {"B=2 T=5 N=64 P=5 R=8", "B=1 T=4 N=100 P=6 R=12"}, {"", "rows=100", "rows=0"}},
    {"r_rotate", rotated, {"dtype=f16", "dtype=f32"}, {"B=2 T=5 N=64 P=6 R=16", "B=1 T=4 N=100 P=5 R=13", "B=1 T=2 N=2080 P=3 R=32"}, {"", "pos=0"}},
    {"r_swap_pairs", swap_pairs, DTYPES, {"M=1 N=1", "M=2x5 N=77", "M=3 N=1040"}, {""}},
    {"r_swap_halves", swap_halves, DTYPES, {"M=3 N=5", "M=2x5 N=77", "M=3 N=1038"}, {""}},
    {"r_mask", mask, DTYPES, FLAT, {""}},
    {"r_causal", causal, DTYPES, {"T=5 N=8", "T=12 N=77", "T=3 N=1040"}, {"", "shift=4", "shift=0"}},
    {"r_integers", integers, DTYPES, FLAT, {"", "k=1", "k=64"}},
    {"r_checkerboard", checkerboard, DTYPES, {"T=1 N=1", "T=12 N=77", "T=3 N=1040"}, {""}},
    {"r_column_sums", column_sums, DTYPES, {"M=1 N=1", "M=2x50 N=77", "M=300 N=48"}, {""}},
    {"r_column_sums_of_samples", column_sums_of_samples, DTYPES, {"B=1 M=1 N=1", "B=3 M=2x5 N=77", "B=40 M=6 N=64"}, {""}},
    {"r_norm_backward", norm_backward, {"dtype=f16 w_dtype=f32", "dtype=f32"}, {"M=1 N=1", "M=2x5 N=77", "M=130 N=264"}, {""}},
    {"r_levels", levels, DTYPES, FLAT, {""}},
    {"r_logsumexp", log_sum, DTYPES, FLAT, {"", "scale=0.5"}},
    {"r_over", over, {"dtype=f16", "dtype=f32"}, FLAT, {""}},
    {"r_per_sample", per_sample, {"w_B=yes dtype=f16", "w=no", "dtype=f32"}, {"B=2 M=3 N=64", "B=1 M=5 N=77", "B=3 M=2 N=1000"}, {""}},
};

static int count(const char *const list[3]) {
  int n = 0;
  while (n < 3 && list[n]) n++;
  return n;
}

/* Every settings at every size; kernels where the two numbers agree. */
static void sample_agrees(void **state) {
  const Sample *s = *state;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/ops/lua/rows.lua:%s", getenv("KILN_TEST_ROOT"), s->op);
  for (int i = 0; i < count(s->settings); i++)
    for (int z = 0; z < count(s->sizes); z++) {
      Problem p;
      ProblemSpec spec = {.op = path, .settings = s->settings[i], .sizes = s->sizes[z], .scalars = s->scalars[(i + z) % count(s->scalars)],
                          .lie = (Lie)((i + 2 * z) % LIES)};
      problem_open(&p, generator, &spec, NULL);
      s->refer(&p);
      problem_evaluate(&p);
      problem_assert_evaluated(&p);
      if (z % count(s->settings) == i) problem_assert_kernel(&p, i ? "sim:sm_75,cores=1" : "sim:sm_80,cores=1");
      problem_close(&p);
    }
}

static int open_generator(void **state) {
  (void)state;
  return kiln_gen_open(&generator, NULL) != KILN_GEN_OK;
}
static int close_generator(void **state) {
  (void)state;
  kiln_gen_close(generator);
  return 0;
}

int main(void) {
  struct CMUnitTest tests[sizeof samples / sizeof samples[0]];
  for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
    tests[i] = (struct CMUnitTest){.name = samples[i].op, .test_func = sample_agrees, .initial_state = (void *)(uintptr_t)&samples[i]};
  return _cmocka_run_group_tests("language", tests, sizeof tests / sizeof tests[0], open_generator, close_generator);
}
