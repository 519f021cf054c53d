/* problem_ops.c - which reference belongs to which op: the tensors, scalars and settings of each by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "problem.h"

static size_t product(const Problem *p, const char *const *dims) {
  size_t n = 1;
  for (; *dims; dims++) n *= problem_size(p, *dims);
  return n;
}
#define PRODUCT(p, ...) product(p, (const char *const[]){__VA_ARGS__, NULL})

/* ---- norms ---- */

/* Of the tensors x, w, rstd with a suffix ("", "1", "2"). In a gradient, with what it was given of the saved values. */
static RefNorm norm_named(const Problem *p, const char *suffix) {
  char x[8] = "x", w[8] = "w", rstd[8] = "rstd", rows[8] = "M", n[8] = "N";
  char *const names[] = {x, w, rstd, rows, n};
  for (size_t i = 0; i < 5; i++) strcat(names[i], suffix);
  return (RefNorm){.samples = problem_size(p, "B"),
                   .rows = problem_size(p, rows),
                   .n = problem_size(p, n),
                   .x = problem_in(p, x),
                   .w = problem_in(p, w),
                   .per_sample = problem_has_dim(p, w, "B"),
                   .eps = problem_scalar(p, "eps"),
                   .rstd = p->forward ? problem_own(p, rstd) : NULL};
}

static void rms_norm(Problem *p) {
  RefNorm a = norm_named(p, "");
  ref_rms_norm(&a, problem_out(p, "y"), problem_out(p, "rstd"));
}
static void rms_norm_grad(Problem *p) {
  RefNorm a = norm_named(p, "");
  ref_rms_norm_grad(&a, problem_in(p, "dy"), problem_out(p, "dx"), problem_out(p, "dw"));
}

static void rms_norm2(Problem *p) {
  RefNorm a = norm_named(p, "1"), b = norm_named(p, "2");
  ref_rms_norm(&a, problem_out(p, "y1"), problem_out(p, "rstd1"));
  ref_rms_norm(&b, problem_out(p, "y2"), problem_out(p, "rstd2"));
}
static void rms_norm2_grad(Problem *p) {
  RefNorm a = norm_named(p, "1"), b = norm_named(p, "2");
  ref_rms_norm_grad(&a, problem_in(p, "dy1"), problem_out(p, "dx1"), problem_out(p, "dw1"));
  ref_rms_norm_grad(&b, problem_in(p, "dy2"), problem_out(p, "dx2"), problem_out(p, "dw2"));
}

static RefNorm layer_named(const Problem *p) {
  RefNorm a = norm_named(p, "");
  a.samples = 1;
  a.b = problem_in(p, "b");
  a.mean = p->forward ? problem_own(p, "mean") : NULL;
  return a;
}
static void layer_norm(Problem *p) {
  RefNorm a = layer_named(p);
  ref_layer_norm(&a, problem_out(p, "y"), problem_out(p, "mean"), problem_out(p, "rstd"));
}
static void layer_norm_grad(Problem *p) {
  RefNorm a = layer_named(p);
  ref_layer_norm_grad(&a, problem_in(p, "dy"), problem_out(p, "dx"), problem_out(p, "dw"), problem_out(p, "db"));
}

static RefNorm head(const Problem *p, const char *x, const char *rows) {
  return (RefNorm){.samples = 1, .rows = problem_size(p, rows), .n = problem_size(p, "N"), .x = problem_in(p, x), .eps = problem_scalar(p, "eps")};
}
static void head_layer_norm(Problem *p) {
  RefNorm q = head(p, "q", "M1"), k = head(p, "k", "M2");
  ref_layer_norm(&q, problem_out(p, "yq"), NULL, NULL);
  ref_layer_norm(&k, problem_out(p, "yk"), NULL, NULL);
}
static void head_layer_norm_grad(Problem *p) {
  RefNorm q = head(p, "q", "M1"), k = head(p, "k", "M2");
  ref_layer_norm_grad(&q, problem_in(p, "dyq"), problem_out(p, "dq"), NULL, NULL);
  ref_layer_norm_grad(&k, problem_in(p, "dyk"), problem_out(p, "dk"), NULL, NULL);
}

static RefNorm adaln(const Problem *p, bool rms) {
  RefNorm a = norm_named(p, "");
  a.w = problem_in(p, "scale");
  a.b = problem_in(p, "shift");
  a.per_sample = true;
  a.mean = p->forward && !rms ? problem_own(p, "mean") : NULL;
  return a;
}
static void adaln_forward(Problem *p, bool rms) {
  RefNorm a = adaln(p, rms);
  ref_adaln(&a, rms, problem_out(p, "y"), problem_out(p, "mean"), problem_out(p, "rstd"));
}
static void adaln_backward(Problem *p, bool rms) {
  RefNorm a = adaln(p, rms);
  ref_adaln_grad(&a, rms, problem_in(p, "dy"), problem_out(p, "dx"), problem_out(p, "dscale"), problem_out(p, "dshift"));
}
static void layer_norm_adaln(Problem *p) { adaln_forward(p, false); }
static void layer_norm_adaln_grad(Problem *p) { adaln_backward(p, false); }
static void rms_norm_adaln(Problem *p) { adaln_forward(p, true); }
static void rms_norm_adaln_grad(Problem *p) { adaln_backward(p, true); }

/* What the residual is stored as. The references take a function of one number, hence one per dtype. */
static double store_f32(double x) { return problem_round(KILN_F32, x); }
static double store_f16(double x) { return problem_round(KILN_F16, x); }
static double store_bf16(double x) { return problem_round(KILN_BF16, x); }
typedef double (*Store)(double);
static Store store_as(kiln_dtype dtype) { return dtype == KILN_F32 ? store_f32 : dtype == KILN_F16 ? store_f16 : store_bf16; }

static void add_rms_norm(Problem *p) {
  RefNorm a = norm_named(p, "");
  ref_add_rms_norm(&a, problem_in(p, "r"), store_as(problem_dtype(p, "h")), problem_out(p, "y"), problem_out(p, "h"), problem_out(p, "rstd"));
}
static void add_rms_norm_grad(Problem *p) {
  RefNorm a = norm_named(p, "");
  double *dx = problem_out(p, "dx"), *dr = problem_out(p, "dr");
  ref_add_rms_norm_grad(&a, problem_in(p, "r"), store_as(problem_dtype(p, "h")), problem_in(p, "dy"), problem_in(p, "dh"), dx,
                        problem_out(p, "dw"));
  memcpy(dr, dx, PRODUCT(p, "B", "M", "N") * sizeof *dr);
}

static void l2_normalize(Problem *p) {
  ref_l2_normalize(problem_size(p, "M"), problem_size(p, "N"), problem_in(p, "x"), problem_scalar(p, "eps"), problem_out(p, "y"));
}
static void l2_normalize_grad(Problem *p) {
  ref_l2_normalize_grad(problem_size(p, "M"), problem_size(p, "N"), problem_in(p, "x"), problem_scalar(p, "eps"), problem_in(p, "dy"),
                        problem_out(p, "dx"));
}
static void l2_normalize2(Problem *p) {
  ref_l2_normalize(problem_size(p, "M1"), problem_size(p, "N1"), problem_in(p, "x1"), problem_scalar(p, "eps"), problem_out(p, "y1"));
  ref_l2_normalize(problem_size(p, "M2"), problem_size(p, "N2"), problem_in(p, "x2"), problem_scalar(p, "eps"), problem_out(p, "y2"));
}
static void l2_normalize2_grad(Problem *p) {
  ref_l2_normalize_grad(problem_size(p, "M1"), problem_size(p, "N1"), problem_in(p, "x1"), problem_scalar(p, "eps"), problem_in(p, "dy1"),
                        problem_out(p, "dx1"));
  ref_l2_normalize_grad(problem_size(p, "M2"), problem_size(p, "N2"), problem_in(p, "x2"), problem_scalar(p, "eps"), problem_in(p, "dy2"),
                        problem_out(p, "dx2"));
}

/* ---- rotations ---- */

static RefRope rope_named(const Problem *p, const char *x, const char *first, const char *pairs, const char *table) {
  bool is_q = strcmp(x, "q") == 0;
  return (RefRope){.outer = is_q ? PRODUCT(p, "B", "H") : PRODUCT(p, "B", "G"),
                   .rows = problem_size(p, is_q ? "T" : "S"),
                   .n = problem_size(p, "N"),
                   .x = problem_in(p, x),
                   .cos = problem_in(p, "cos"),
                   .sin = problem_in(p, "sin"),
                   .table_rows = problem_size(p, "P"),
                   .r = problem_size(p, "R"),
                   .pos = (long)problem_scalar(p, "pos"),
                   .first = (long)problem_scalar(p, first),
                   .halves = strcmp(problem_setting(p, "pairs", pairs), "halves") == 0,
                   .pair_entries = strcmp(problem_setting(p, "table", table), "pair") == 0};
}

static void rope(Problem *p) {
  RefRope q = rope_named(p, "q", "q_rows", "neighbours", "channel"), k = rope_named(p, "k", "k_rows", "neighbours", "channel");
  ref_rope(&q, problem_out(p, "yq"));
  if (k.x) ref_rope(&k, problem_out(p, "yk"));
}
static void rope_grad(Problem *p) {
  RefRope q = rope_named(p, "q", "q_rows", "neighbours", "channel"), k = rope_named(p, "k", "k_rows", "neighbours", "channel");
  ref_rope_grad(&q, problem_in(p, "dyq"), problem_out(p, "dq"));
  if (k.x) ref_rope_grad(&k, problem_in(p, "dyk"), problem_out(p, "dk"));
}
static void ln_rope(Problem *p) {
  RefRope q = rope_named(p, "q", "q_rows", "neighbours", "channel"), k = rope_named(p, "k", "k_rows", "neighbours", "channel");
  ref_ln_rope(&q, problem_scalar(p, "eps"), problem_out(p, "yq"));
  if (k.x) ref_ln_rope(&k, problem_scalar(p, "eps"), problem_out(p, "yk"));
}
static void ln_rope_grad(Problem *p) {
  RefRope q = rope_named(p, "q", "q_rows", "neighbours", "channel"), k = rope_named(p, "k", "k_rows", "neighbours", "channel");
  ref_ln_rope_grad(&q, problem_scalar(p, "eps"), problem_in(p, "dyq"), problem_out(p, "dq"));
  if (k.x) ref_ln_rope_grad(&k, problem_scalar(p, "eps"), problem_in(p, "dyk"), problem_out(p, "dk"));
}

static RefRope heads(const Problem *p) {
  return (RefRope){.outer = problem_size(p, "B"),
                   .rows = problem_size(p, "T"),
                   .n = problem_size(p, "N"),
                   .x = problem_in(p, "x"),
                   .cos = problem_in(p, "cos"),
                   .sin = problem_in(p, "sin"),
                   .table_rows = problem_size(p, "P"),
                   .r = problem_size(p, "R"),
                   .pos = (long)problem_scalar(p, "pos"),
                   .first = 0x7FFFFFFF,
                   .halves = strcmp(problem_setting(p, "pairs", "halves"), "halves") == 0,
                   .pair_entries = strcmp(problem_setting(p, "table", "pair"), "pair") == 0,
                   .every_head = true};
}
static void rms_norm_rope(Problem *p) {
  RefRope a = heads(p);
  ref_rms_norm_rope(&a, problem_in(p, "w"), problem_scalar(p, "eps"), problem_out(p, "y"), problem_out(p, "rstd"));
}
static void rms_norm_rope_grad(Problem *p) {
  RefRope a = heads(p);
  ref_rms_norm_rope_grad(&a, problem_in(p, "w"), problem_scalar(p, "eps"), problem_own(p, "rstd"), problem_in(p, "dy"), problem_out(p, "dx"),
                         problem_out(p, "dw"));
}

/* ---- gates, softmax, products ---- */

static void gated(Problem *p) {
  ref_gated(problem_setting(p, "act", "silu"), PRODUCT(p, "M", "N"), problem_in(p, "gate"), problem_in(p, "up"), problem_out(p, "y"));
}
static void gated_grad(Problem *p) {
  ref_gated_grad(problem_setting(p, "act", "silu"), PRODUCT(p, "M", "N"), problem_in(p, "gate"), problem_in(p, "up"), problem_in(p, "dy"),
                 problem_out(p, "dgate"), problem_out(p, "dup"));
}
static void softmax(Problem *p) {
  ref_softmax(problem_size(p, "M"), problem_size(p, "N"), problem_in(p, "x"), problem_in(p, "mask"), problem_scalar(p, "scale"),
              problem_out(p, "y"));
}
static void softmax_grad(Problem *p) {
  ref_softmax_grad(problem_size(p, "M"), problem_size(p, "N"), problem_in(p, "y"), problem_in(p, "mask"), problem_scalar(p, "scale"),
                   problem_in(p, "dy"), problem_out(p, "dx"));
}

static RefGemm gemm_named(const Problem *p, const char *a, const char *b) {
  return (RefGemm){.batch = problem_size(p, "B"),
                   .m = problem_size(p, "M"),
                   .n = problem_size(p, "N"),
                   .k = problem_size(p, "K"),
                   .a = problem_in(p, a),
                   .b = problem_in(p, b),
                   .c = problem_in(p, "c"),
                   .bias = problem_in(p, "bias"),
                   .alpha = 1,
                   .beta = 1,
                   .act = problem_setting(p, "act", "none"),
                   .z = p->forward ? problem_own(p, "z") : NULL};
}
static RefGemm gemm_of(const Problem *p) {
  RefGemm g = gemm_named(p, "a", "b");
  g.alpha = problem_scalar(p, "alpha");
  g.beta = problem_scalar(p, "beta");
  return g;
}
static void gemm(Problem *p) {
  RefGemm g = gemm_of(p);
  ref_gemm(&g, problem_out(p, "d"), problem_out(p, "z"));
}
static void gemm_grad(Problem *p) {
  RefGemm g = gemm_of(p);
  ref_gemm_grad(&g, problem_in(p, "dd"), store_as(problem_dtype(p, "a")), problem_out(p, "da"), problem_out(p, "db"), problem_out(p, "dc"),
                problem_out(p, "dbias"));
}
static void linear(Problem *p) {
  RefGemm g = gemm_named(p, "x", "w");
  ref_gemm(&g, problem_out(p, "y"), problem_out(p, "z"));
}
static void linear_grad(Problem *p) {
  RefGemm g = gemm_named(p, "x", "w");
  ref_gemm_grad(&g, problem_in(p, "dy"), store_as(problem_dtype(p, "x")), problem_out(p, "dx"), problem_out(p, "dw"), NULL,
                problem_out(p, "dbias"));
}

/* Which rows of a and columns of b share a scale, and how much of k; see RefScaledGemm. */
static RefScaledGemm scaled_gemm(const Problem *p) {
  const char *scale = problem_setting(p, "scale", "tensor");
  bool blocks = strncmp(scale, "block", 5) == 0, row = strcmp(scale, "row") == 0;
  return (RefScaledGemm){
      .batch = problem_size(p, "B"), .m = problem_size(p, "M"), .n = problem_size(p, "N"), .k = problem_size(p, "K"),
      .bias = problem_in(p, "bias"),
      .rows_of = row || blocks ? 1 : 0, .columns_of = row || strcmp(scale, "block1") == 0 ? 1 : blocks ? 128 : 0, .depth = blocks ? 128 : 0,
  };
}
static void fp8_gemm(Problem *p) {
  RefScaledGemm g = scaled_gemm(p);
  g.a = problem_in(p, "a"), g.b = problem_in(p, "b"), g.scale_a = problem_in(p, "scale_a"), g.scale_b = problem_in(p, "scale_b");
  ref_scaled_gemm(&g, problem_out(p, "d"));
}

static double store_e4m3(double x) { return problem_round(KILN_E4M3, x); }
static double store_e5m2(double x) { return problem_round(KILN_E5M2, x); }

/* Codes, then scales: for the caller to free. */
static double *quantize(const Problem *p, const double *x, size_t rows, size_t columns, size_t rows_of, size_t columns_of) {
  bool e5m2 = strcmp(problem_setting(p, "format", "e4m3"), "e5m2") == 0;
  size_t elems = problem_size(p, "B") * rows * columns;
  double *made = calloc(2 * elems + 1, sizeof *made);
  RefQuantize q = {.batch = problem_size(p, "B"), .rows = rows, .columns = columns, .rows_of = rows_of, .columns_of = columns_of, .x = x,
                   .largest = e5m2 ? 57344 : 448, .store = e5m2 ? store_e5m2 : store_e4m3, .as_f32 = store_f32};
  ref_quantize(&q, made, made + elems);
  return made;
}
static void fp8_linear(Problem *p) {
  RefScaledGemm g = scaled_gemm(p);
  double *x = quantize(p, problem_in(p, "x"), g.m, g.k, g.rows_of, g.depth);
  g.a = x, g.scale_a = x + g.batch * g.m * g.k, g.b = problem_in(p, "w"), g.scale_b = problem_in(p, "scale_w");
  ref_scaled_gemm(&g, problem_out(p, "y"));
  free(x);
}
static void fp8_gemm_wide(Problem *p) {
  RefScaledGemm g = scaled_gemm(p);
  double *a = quantize(p, problem_in(p, "a"), g.m, g.k, g.rows_of, g.depth), *b = quantize(p, problem_in(p, "b"), g.k, g.n, g.depth, g.columns_of);
  g.a = a, g.scale_a = a + g.batch * g.m * g.k, g.b = b, g.scale_b = b + g.batch * g.k * g.n;
  ref_scaled_gemm(&g, problem_out(p, "d"));
  free(a);
  free(b);
}

static RefGatedMlp gated_mlp_named(const Problem *p) {
  return (RefGatedMlp){.batch = problem_size(p, "B"), .m = problem_size(p, "M"), .n = problem_size(p, "N"), .k = problem_size(p, "K"),
                       .x = problem_in(p, "x"), .wg = problem_in(p, "wg"), .wu = problem_in(p, "wu"), .act = problem_setting(p, "act", "silu"),
                       .gate = p->forward ? problem_own(p, "gate") : NULL, .up = p->forward ? problem_own(p, "up") : NULL};
}
static void gated_mlp(Problem *p) {
  RefGatedMlp g = gated_mlp_named(p);
  ref_gated_mlp(&g, problem_out(p, "y"), problem_out(p, "gate"), problem_out(p, "up"));
}
static void gated_mlp_grad(Problem *p) {
  RefGatedMlp g = gated_mlp_named(p);
  ref_gated_mlp_grad(&g, problem_in(p, "dy"), store_as(problem_dtype(p, "x")), problem_out(p, "dx"), problem_out(p, "dwg"),
                     problem_out(p, "dwu"));
}

static const struct { const char *op; void (*refer)(Problem *p); } references[] = {
    {"rms_norm", rms_norm},                 {"rms_norm.grad", rms_norm_grad},
    {"rms_norm2", rms_norm2},               {"rms_norm2.grad", rms_norm2_grad},
    {"layer_norm", layer_norm},             {"layer_norm.grad", layer_norm_grad},
    {"head_layer_norm", head_layer_norm},   {"head_layer_norm.grad", head_layer_norm_grad},
    {"layer_norm_adaln", layer_norm_adaln}, {"layer_norm_adaln.grad", layer_norm_adaln_grad},
    {"rms_norm_adaln", rms_norm_adaln},     {"rms_norm_adaln.grad", rms_norm_adaln_grad},
    {"add_rms_norm", add_rms_norm},         {"add_rms_norm.grad", add_rms_norm_grad},
    {"l2_normalize", l2_normalize},         {"l2_normalize.grad", l2_normalize_grad},
    {"l2_normalize2", l2_normalize2},       {"l2_normalize2.grad", l2_normalize2_grad},
    {"rope", rope},                         {"rope.grad", rope_grad},
    {"ln_rope", ln_rope},                   {"ln_rope.grad", ln_rope_grad},
    {"rms_norm_rope", rms_norm_rope},       {"rms_norm_rope.grad", rms_norm_rope_grad},
    {"gated", gated},                       {"gated.grad", gated_grad},
    {"gemm", gemm},                         {"gemm.grad", gemm_grad},
    {"gated_mlp", gated_mlp},               {"gated_mlp.grad", gated_mlp_grad},
    {"linear", linear},                     {"linear.grad", linear_grad},
    {"fp8_gemm", fp8_gemm},                 {"fp8_linear", fp8_linear},
    {"fp8_gemm_wide", fp8_gemm_wide},
    {"softmax", softmax},                   {"softmax.grad", softmax_grad},
};

void problem_refer(Problem *p) {
  for (size_t i = 0; i < sizeof references / sizeof references[0]; i++)
    if (strcmp(references[i].op, p->spec.op) == 0) {
      references[i].refer(p);
      return;
    }
  fail_msg("%s has no reference", p->spec.op);
}
