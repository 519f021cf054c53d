/* The hand-written references by themselves: their gradients against finite differences of their own forward, and their values
 * against those that are known from elsewhere. Needs nothing of kiln. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "references.h"

#define ELEMS_MAX 256
#define PARTS_MAX 4

/* A function from some arrays to others, and its gradient. `state` says which and how. */
typedef struct Slope {
  const char *name;
  size_t inputs, outputs;
  size_t in_elems[PARTS_MAX], out_elems[PARTS_MAX];
  void (*forward)(const struct Slope *s, double *const in[], double *const out[]);
  void (*backward)(const struct Slope *s, double *const in[], const double *const dout[], double *const din[]);
  size_t samples, rows, n; /* of the arrays */
  double eps, scale;       /* scale of the inputs too: rows below and above eps */
  bool per_sample, rms;
  const char *act;
  const double *mask;
  RefRope rope;
} Slope;

static uint64_t seed = 0x9E3779B97F4A7C15;

static double draw(void) { /* (-1, 1), evenly; fresh numbers each time the program runs are not needed here */
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (double)(seed >> 11) * 0x1p-52 - 1;
}

static double loss(const Slope *s, double *const in[], const double *const dout[]) {
  static double room[PARTS_MAX][ELEMS_MAX];
  double *out[PARTS_MAX], sum = 0;
  for (size_t k = 0; k < PARTS_MAX; k++) out[k] = room[k];
  s->forward(s, in, out);
  for (size_t k = 0; k < s->outputs; k++)
    for (size_t i = 0; i < s->out_elems[k]; i++) sum += out[k][i] * dout[k][i];
  return sum;
}

static double central(const Slope *s, double *const in[], const double *const dout[], double *x, double h) {
  double kept = *x;
  *x = kept + h;
  double above = loss(s, in, dout);
  *x = kept - h;
  double below = loss(s, in, dout);
  *x = kept;
  return (above - below) / (2 * h);
}

/* Two steps of Richardson's extrapolation: what is left of the error is of order h^6. */
static double difference(const Slope *s, double *const in[], const double *const dout[], double *x, double h) {
  double a = central(s, in, dout, x, h), b = central(s, in, dout, x, h / 2), c = central(s, in, dout, x, h / 4);
  double ab = (4 * b - a) / 3, bc = (4 * c - b) / 3;
  return (16 * bc - ab) / 15;
}

static bool near(double got, double want, double size) { return fabs(got - want) <= 1e-8 * (fabs(want) + size); }

static void check_slope(const Slope *s) {
  static double in_room[PARTS_MAX][ELEMS_MAX], dout_room[PARTS_MAX][ELEMS_MAX], din_room[PARTS_MAX][ELEMS_MAX];
  double *in[PARTS_MAX], *din[PARTS_MAX];
  const double *dout[PARTS_MAX];
  double unit = s->scale > 0 ? s->scale : 1;
  double step = 0.02 * (s->eps > 0 ? fmin(unit, sqrt(s->eps) / 2) : unit); /* what curves a norm has the width sqrt(eps) */
  size_t twins = 0;
  for (size_t k = 0; k < PARTS_MAX; k++) {
    in[k] = in_room[k];
    din[k] = din_room[k];
    dout[k] = dout_room[k];
    for (size_t i = 0; i < ELEMS_MAX; i++) {
      in_room[k][i] = unit * draw();
      dout_room[k][i] = draw();
      din_room[k][i] = NAN;
    }
  }
  s->backward(s, in, dout, din);
  for (size_t k = 0; k < s->inputs; k++) {
    double want[ELEMS_MAX], size = 0;
    assert_true(s->in_elems[k] <= ELEMS_MAX);
    for (size_t i = 0; i < s->in_elems[k]; i++) {
      want[i] = difference(s, in, dout, &in[k][i], step);
      size = fmax(size, fabs(want[i]));
    }
    for (size_t i = 0; i < s->in_elems[k]; i++) {
      if (!near(din[k][i], want[i], size)) fail_msg("%s: d%zu[%zu] = %.12g, by differences %.12g", s->name, k, i, din[k][i], want[i]);
      twins += size > 0 && !near(din[k][i] + size * 1e-6, want[i], size); /* a millionth more would have been refused */
      assert_true(size > 0 || s->mask);
    }
  }
  assert_true(twins > 0 || s->mask);
}

/* ---- norms ---- */

static RefNorm norm_of(const Slope *s, double *const in[]) {
  return (RefNorm){.samples = s->samples,
                   .rows = s->rows,
                   .n = s->n,
                   .x = in[0],
                   .w = s->inputs > 1 ? in[1] : NULL,
                   .b = s->inputs > 2 ? in[2] : NULL,
                   .per_sample = s->per_sample,
                   .eps = s->eps};
}

static void rms_forward(const Slope *s, double *const in[], double *const out[]) {
  RefNorm a = norm_of(s, in);
  ref_rms_norm(&a, out[0], NULL);
}
static void rms_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefNorm a = norm_of(s, in);
  ref_rms_norm_grad(&a, dout[0], din[0], din[1]);
}
static void layer_forward(const Slope *s, double *const in[], double *const out[]) {
  RefNorm a = norm_of(s, in);
  ref_layer_norm(&a, out[0], NULL, NULL);
}
static void layer_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefNorm a = norm_of(s, in);
  ref_layer_norm_grad(&a, dout[0], din[0], din[1], din[2]);
}
static void adaln_forward(const Slope *s, double *const in[], double *const out[]) {
  RefNorm a = norm_of(s, in);
  ref_adaln(&a, s->rms, out[0], NULL, NULL);
}
static void adaln_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefNorm a = norm_of(s, in);
  ref_adaln_grad(&a, s->rms, dout[0], din[0], din[1], din[2]);
}

/* in: x, w, r; out: y, h */
static void add_forward(const Slope *s, double *const in[], double *const out[]) {
  RefNorm a = norm_of(s, in);
  a.b = NULL;
  ref_add_rms_norm(&a, in[2], NULL, out[0], out[1], NULL);
}
static void add_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefNorm a = norm_of(s, in);
  a.b = NULL;
  ref_add_rms_norm_grad(&a, in[2], NULL, dout[0], dout[1], din[0], din[1]);
  memcpy(din[2], din[0], s->in_elems[0] * sizeof(double));
}
static void l2_forward(const Slope *s, double *const in[], double *const out[]) { ref_l2_normalize(s->rows, s->n, in[0], s->eps, out[0]); }
static void l2_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  ref_l2_normalize_grad(s->rows, s->n, in[0], s->eps, dout[0], din[0]);
}

static void norms_have_their_slopes(void **state) {
  (void)state;
  static const size_t lengths[] = {1, 2, 7, 16};
  static const double eps[] = {1e-2, 1}, scales[] = {1, 4};
  for (size_t i = 0; i < 4 * 2 * 2 * 2; i++) {
    size_t n = lengths[i / 8], samples = 2, rows = 3, elems = samples * rows * n;
    bool per_sample = i & 1;
    size_t weights = per_sample ? samples * n : n;
    Slope s = {.samples = samples, .rows = rows, .n = n, .eps = eps[i / 2 % 2], .scale = scales[i / 4 % 2], .per_sample = per_sample,
               .outputs = 1, .in_elems = {elems, weights, weights}, .out_elems = {elems, elems}};
    s.name = "rms_norm", s.inputs = 2, s.forward = rms_forward, s.backward = rms_backward;
    check_slope(&s);
    s.name = "rms_norm without weight", s.inputs = 1;
    check_slope(&s);
    s.name = "rms_norm_adaln", s.rms = true, s.inputs = 3, s.forward = adaln_forward, s.backward = adaln_backward;
    check_slope(&s);
    s.name = "add_rms_norm", s.outputs = 2, s.in_elems[2] = elems, s.forward = add_forward, s.backward = add_backward;
    check_slope(&s);
    if (n == 1) continue; /* nothing is left of x: the slope is 0 */
    s.name = "layer_norm_adaln", s.rms = false, s.outputs = 1, s.in_elems[2] = weights;
    s.forward = adaln_forward, s.backward = adaln_backward;
    check_slope(&s);
    s.name = "layer_norm", s.forward = layer_forward, s.backward = layer_backward;
    check_slope(&s);
    s.name = "layer_norm without affine", s.inputs = 1;
    check_slope(&s);
  }
}

static void lengths_have_their_slopes(void **state) {
  (void)state;
  Slope s = {.name = "l2_normalize", .rows = 4, .n = 9, .inputs = 1, .outputs = 1, .in_elems = {36}, .out_elems = {36}, .scale = 1,
             .forward = l2_forward, .backward = l2_backward};
  s.eps = 1e-2; /* every row is longer */
  check_slope(&s);
  s.eps = 100; /* every row is shorter */
  check_slope(&s);
  const double zeros[3] = {0, 0, 0}, dy[3] = {1, -2, 3};
  double y[3], dx[3];
  ref_l2_normalize(1, 3, zeros, 0.5, y);
  ref_l2_normalize_grad(1, 3, zeros, 0.5, dy, dx);
  for (int i = 0; i < 3; i++) assert_true(y[i] == 0 && dx[i] == 2 * dy[i]);
}

/* What was saved is used: another rstd and mean give another gradient, the right ones the same. */
static void saved_values_are_used(void **state) {
  (void)state;
  double x[6] = {1, 2, 4, -1, 0.5, 3}, dy[6] = {1, 0, -1, 2, 1, 0}, y[6], mean[2], rstd[2], own[6], with[6];
  RefNorm a = {.samples = 1, .rows = 2, .n = 3, .x = x, .eps = 0.1};
  ref_layer_norm(&a, y, mean, rstd);
  ref_layer_norm_grad(&a, dy, own, NULL, NULL);
  a.mean = mean, a.rstd = rstd;
  ref_layer_norm_grad(&a, dy, with, NULL, NULL);
  for (int i = 0; i < 6; i++) assert_true(own[i] == with[i]);
  rstd[0] *= 2;
  ref_layer_norm_grad(&a, dy, with, NULL, NULL);
  assert_true(with[0] != own[0] && with[3] == own[3]);
}

/* ---- rotations ---- */

static RefRope rope_of(const Slope *s, double *const in[]) {
  RefRope a = s->rope;
  a.x = in[0];
  return a;
}
static void rope_forward(const Slope *s, double *const in[], double *const out[]) {
  RefRope a = rope_of(s, in);
  ref_rope(&a, out[0]);
}
static void rope_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefRope a = rope_of(s, in);
  ref_rope_grad(&a, dout[0], din[0]);
}
static void ln_rope_forward(const Slope *s, double *const in[], double *const out[]) {
  RefRope a = rope_of(s, in);
  ref_ln_rope(&a, s->eps, out[0]);
}
static void ln_rope_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefRope a = rope_of(s, in);
  ref_ln_rope_grad(&a, s->eps, dout[0], din[0]);
}
static void rms_rope_forward(const Slope *s, double *const in[], double *const out[]) {
  RefRope a = rope_of(s, in);
  ref_rms_norm_rope(&a, s->inputs > 1 ? in[1] : NULL, s->eps, out[0], NULL);
}
static void rms_rope_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefRope a = rope_of(s, in);
  ref_rms_norm_rope_grad(&a, s->inputs > 1 ? in[1] : NULL, s->eps, NULL, dout[0], din[0], s->inputs > 1 ? din[1] : NULL);
}

/* Tables of unrelated numbers: pairs whose two entries differ, no rotations at all. */
static void rotations_have_their_slopes(void **state) {
  (void)state;
  double cos[64], sin[64];
  for (int i = 0; i < 64; i++) cos[i] = draw(), sin[i] = draw();
  static const struct { size_t n, r; long pos, first; bool pair; } forms[] = {
      {8, 8, 0, 100, false}, {10, 6, 1, 100, false}, {9, 4, 0, 2, false}, {8, 4, 2, 100, true}, {12, 4, 0, 3, true}, {8, 4, 0, 0, true}};
  for (size_t i = 0; i < 2 * sizeof forms / sizeof forms[0]; i++) {
    size_t n = forms[i / 2].n;
    Slope s = {.name = "rope", .n = n, .inputs = 1, .outputs = 1, .in_elems = {2 * 4 * n, n}, .out_elems = {2 * 4 * n}, .eps = 0.3, .scale = 1};
    s.rope = (RefRope){.outer = 2, .rows = 4, .n = n, .cos = cos, .sin = sin, .table_rows = 64 / forms[i / 2].r, .r = forms[i / 2].r,
                       .pos = forms[i / 2].pos, .first = forms[i / 2].first, .halves = i & 1, .pair_entries = forms[i / 2].pair};
    s.forward = rope_forward, s.backward = rope_backward;
    check_slope(&s);
    s.name = "ln_rope", s.forward = ln_rope_forward, s.backward = ln_rope_backward;
    check_slope(&s);
    s.name = "rms_norm_rope", s.rope.every_head = true, s.forward = rms_rope_forward, s.backward = rms_rope_backward;
    check_slope(&s);
    s.inputs = 2;
    check_slope(&s);
  }
}

/* ---- gates and softmax ---- */

static void gated_forward(const Slope *s, double *const in[], double *const out[]) { ref_gated(s->act, s->in_elems[0], in[0], in[1], out[0]); }
static void gated_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  ref_gated_grad(s->act, s->in_elems[0], in[0], in[1], dout[0], din[0], din[1]);
}
static void softmax_forward(const Slope *s, double *const in[], double *const out[]) {
  ref_softmax(s->rows, s->n, in[0], s->mask, s->eps, out[0]);
}
static void softmax_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  double y[ELEMS_MAX];
  ref_softmax(s->rows, s->n, in[0], s->mask, s->eps, y);
  ref_softmax_grad(s->rows, s->n, y, s->mask, s->eps, dout[0], din[0]);
}

static void gates_have_their_slopes(void **state) {
  (void)state;
  static const char *const acts[] = {"silu", "gelu", "gelu_tanh", "none"};
  for (size_t i = 0; i < 4; i++) {
    Slope s = {.name = acts[i], .act = acts[i], .inputs = 2, .outputs = 1, .in_elems = {64, 64}, .out_elems = {64}, .forward = gated_forward,
               .backward = gated_backward};
    for (s.scale = 0.5; s.scale < 20; s.scale *= 3) check_slope(&s);
  }
}

static void softmax_has_its_slope(void **state) {
  (void)state;
  double mask[60];
  for (int i = 0; i < 60; i++) mask[i] = i / 12 == 1 || draw() < 0; /* row 1 has nothing at all */
  Slope s = {.name = "softmax", .rows = 5, .n = 12, .inputs = 1, .outputs = 1, .in_elems = {60}, .out_elems = {60}, .forward = softmax_forward,
             .backward = softmax_backward};
  for (s.eps = 0.25; s.eps < 3; s.eps *= 2) { /* the scale, here */
    s.mask = NULL;
    check_slope(&s);
    s.mask = mask;
    check_slope(&s);
  }
  double x[12], y[12], dx[12], ones[12];
  for (int i = 0; i < 12; i++) x[i] = draw(), ones[i] = 1;
  ref_softmax(1, 12, x, ones, 1, y);
  ref_softmax_grad(1, 12, y, ones, 1, x, dx);
  for (int i = 0; i < 12; i++) assert_true(y[i] == 0 && dx[i] == 0);
}

/* ---- products ---- */

/* a [2,3,4], b [2,4,5], c and d [2,3,5], bias [5]; the scale stands for alpha, too. */
static RefGemm gemm_of(const Slope *s, double *const in[]) {
  return (RefGemm){.batch = 2, .m = 3, .n = 5, .k = 4, .a = in[0], .b = in[1], .c = s->inputs > 2 ? in[2] : NULL, .bias = s->inputs > 2 ? in[3] : NULL,
                   .alpha = s->scale, .beta = 0.75, .act = s->act};
}
static void gemm_forward(const Slope *s, double *const in[], double *const out[]) {
  RefGemm g = gemm_of(s, in);
  ref_gemm(&g, out[0], NULL);
}
static void gemm_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefGemm g = gemm_of(s, in);
  ref_gemm_grad(&g, dout[0], NULL, din[0], din[1], s->inputs > 2 ? din[2] : NULL, s->inputs > 2 ? din[3] : NULL);
}
static void gated_mlp_forward(const Slope *s, double *const in[], double *const out[]) {
  RefGatedMlp g = {.batch = 2, .m = 3, .n = 5, .k = 4, .x = in[0], .wg = in[1], .wu = in[2], .act = s->act};
  ref_gated_mlp(&g, out[0], NULL, NULL);
}
static void gated_mlp_backward(const Slope *s, double *const in[], const double *const dout[], double *const din[]) {
  RefGatedMlp g = {.batch = 2, .m = 3, .n = 5, .k = 4, .x = in[0], .wg = in[1], .wu = in[2], .act = s->act};
  ref_gated_mlp_grad(&g, dout[0], NULL, din[0], din[1], din[2]);
}
static void products_have_their_slopes(void **state) {
  (void)state;
  static const char *const acts[] = {"none", "silu", "gelu", "gelu_tanh"};
  for (size_t i = 0; i < 4; i++) {
    Slope s = {.name = acts[i], .act = acts[i], .inputs = 2, .outputs = 1, .in_elems = {24, 40, 30, 5}, .out_elems = {30}, .scale = 0.8,
               .forward = gemm_forward, .backward = gemm_backward};
    check_slope(&s);
    s.inputs = 4;
    check_slope(&s);
    Slope mlp = {.name = acts[i], .act = acts[i], .inputs = 3, .outputs = 1, .in_elems = {24, 40, 40}, .out_elems = {30}, .scale = 0.8,
                 .forward = gated_mlp_forward, .backward = gated_mlp_backward};
    check_slope(&mlp);
  }
}

static double halved(double x) { return x / 2; }

/* What is stored is what is multiplied, and what a bias below an activation sums. */
static void stored_adjoints_are_used(void **state) {
  (void)state;
  double a[1] = {3}, b[1] = {2}, dd[1] = {1}, da[1], db[1], dc[1], dbias[1];
  RefGemm g = {.batch = 1, .m = 1, .n = 1, .k = 1, .a = a, .b = b, .c = a, .bias = b, .alpha = 1, .beta = 1, .act = "none"};
  ref_gemm_grad(&g, dd, halved, da, db, dc, dbias);
  assert_true(da[0] == 1 && db[0] == 1.5 && dc[0] == 1 && dbias[0] == 1);
  g.act = "relu";
  ref_gemm_grad(&g, dd, halved, da, db, dc, dbias);
  assert_true(da[0] == 1 && db[0] == 1.5 && dc[0] == 1 && dbias[0] == 0.5);
}

/* ---- known values, to their printed digits ---- */

static void assert_values(const double *got, const double *want, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!(fabs(got[i] - want[i]) <= 1.5e-6)) fail_msg("[%zu] = %.9f, not %.6f", i, got[i], want[i]);
}

static void norms_give_known_values(void **state) {
  (void)state;
  const double x[4] = {1, 2, 3, 4}, w[4] = {1, 0.5, 2, 1}, dy[4] = {1, 0, 0, 0}, scale[4] = {0.5, 0.5, 0.5, 0.5};
  const double shift[4] = {0.25, 0.25, 0.25, 0.25};
  double y[4], dx[4], dw[4];
  RefNorm a = {.samples = 1, .rows = 1, .n = 4, .x = x, .w = w, .eps = 1e-6};
  ref_rms_norm(&a, y, NULL);
  ref_rms_norm_grad(&a, dy, dx, dw);
  assert_values(y, (double[]){0.365148, 0.365148, 2.190891, 1.460593}, 4);
  assert_values(dx, (double[]){0.352977, -0.024343, -0.036515, -0.048686}, 4);
  assert_values(dw, (double[]){0.365148, 0, 0, 0}, 4);
  a.w = scale, a.b = shift, a.per_sample = true;
  ref_adaln(&a, false, y, NULL, NULL);
  assert_values(y, (double[]){-1.762460, -0.420820, 0.920821, 2.262460}, 4);
  ref_adaln(&a, true, y, NULL, NULL);
  assert_values(y, (double[]){0.797723, 1.345445, 1.893168, 2.440890}, 4);
}

static void rotations_give_known_values(void **state) {
  (void)state;
  const double x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, dy[4] = {1, 0, 0, 1}, angle[2] = {0.5, 0.1};
  double c[4], s[4], pair_c[2], pair_s[2], y[8], dx[4];
  for (int i = 0; i < 4; i++) c[i] = cos(angle[i / 2]), s[i] = sin(angle[i / 2]);
  for (int i = 0; i < 2; i++) pair_c[i] = cos(angle[i]), pair_s[i] = sin(angle[i]);
  RefRope a = {.outer = 1, .rows = 1, .n = 4, .x = x, .cos = c, .sin = s, .table_rows = 1, .r = 4, .first = 1};
  ref_rope(&a, y);
  assert_values(y, (double[]){-0.081269, 2.234591, 2.585679, 4.279517}, 4);
  ref_rope_grad(&a, dy, dx);
  assert_values(dx, (double[]){0.877583, -0.479426, 0.099833, 0.995004}, 4);
  RefRope pairs = {.outer = 1, .rows = 1, .n = 8, .x = x, .cos = pair_c, .sin = pair_s, .table_rows = 1, .r = 2, .first = 1, .halves = true,
                   .pair_entries = true, .every_head = true};
  ref_rms_norm_rope(&pairs, NULL, 1e-6, y, NULL);
  assert_values(y, (double[]){-0.111034, 0.315001, 0.616302, 0.827701, 0.204353, 1.024081, 1.691213, 1.694941}, 8);
}

static void gates_give_known_values(void **state) {
  (void)state;
  double one = 1, two = 2, y[2];
  ref_gated("silu", 1, &one, &two, &y[0]);
  ref_gated("gelu", 1, &one, &two, &y[1]);
  assert_values(y, (double[]){1.462117, 1.682689}, 2);
  ref_gated("silu", 1, &two, &one, &y[0]);
  ref_gated("gelu", 1, &two, &one, &y[1]);
  assert_values(y, (double[]){1.761594, 1.954500}, 2);
  double b[4] = {0, log(2), 0, 0}, p[4], mask[4] = {0, 1, 0, 1};
  ref_softmax(2, 2, b, NULL, 1, p);
  assert_values(p, (double[]){1.0 / 3, 2.0 / 3, 0.5, 0.5}, 4);
  ref_softmax(2, 2, b, mask, 1, p);
  assert_values(p, (double[]){1, 0, 1, 0}, 4);
}

/* Far below 0 the activations keep their digits: gelu(-30) is -30 Q(30), Q(30) = 4.906713927148187e-198. */
static void activations_keep_their_digits(void **state) {
  (void)state;
  assert_true(fabs(ref_activate("gelu", -30) / (-30 * 4.906713927148187e-198) - 1) < 1e-9);
  assert_true(fabs(ref_activate("silu", -40) / (-40 * exp(-40)) - 1) < 1e-14);
  assert_true(fabs(ref_activate_slope("silu", -40) / (-39 * exp(-40)) - 1) < 1e-14);
  assert_true(ref_activate("gelu_tanh", -200) == 0 && ref_activate_slope("gelu_tanh", -200) == 0);
  for (int i = 0; i < 3; i++) {
    const char *act = ((const char *[]){"silu", "gelu", "gelu_tanh"})[i];
    assert_true(ref_activate(act, 200) == 200 && ref_activate_slope(act, 200) == 1 && ref_activate(act, 0) == 0);
    assert_true(ref_activate_slope(act, 0) == 0.5);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norms_have_their_slopes),
      cmocka_unit_test(lengths_have_their_slopes),
      cmocka_unit_test(saved_values_are_used),
      cmocka_unit_test(rotations_have_their_slopes),
      cmocka_unit_test(gates_have_their_slopes),
      cmocka_unit_test(softmax_has_its_slope),
      cmocka_unit_test(products_have_their_slopes),
      cmocka_unit_test(stored_adjoints_are_used),
      cmocka_unit_test(norms_give_known_values),
      cmocka_unit_test(rotations_give_known_values),
      cmocka_unit_test(gates_give_known_values),
      cmocka_unit_test(activations_keep_their_digits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
