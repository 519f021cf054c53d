/* references.h - the shipped ops and their gradients, written by hand in double from their definitions on paper. They share
 * nothing with kiln: no layouts, no number formats, no definition graph, no derivation. Everything is dense, row-major double.
 *
 * A gradient is that of the sum over all outputs of (incoming gradient * output). Results that are NULL are not wanted. */
#ifndef KILN_TESTS_REFERENCES_H
#define KILN_TESTS_REFERENCES_H
#include <stdbool.h>
#include <stddef.h>

/* ---- products ---- */

/* d[b,m,n] = act(alpha * sum over k of a[b,m,k] b[b,k,n] + beta * c[b,m,n] + bias[n]). c, bias NULL: none. */
typedef struct RefGemm {
  size_t batch, m, n, k;
  const double *a, *b, *c, *bias;
  double alpha, beta;
  const char *act;
  const double *z; /* gradients: what the activation was given, as the forward saved it; NULL: computed again */
} RefGemm;
void ref_gemm(const RefGemm *g, double *d, double *z); /* z: NULL, or what the activation is given */
/* Gradients. store: what an adjoint is stored as before it is multiplied (NULL: exactly); where there is an activation, dbias is a sum of what
 * was stored. */
void ref_gemm_grad(const RefGemm *g, const double *dd, double (*store)(double), double *da, double *db, double *dc, double *dbias);
/* d[b,m,n] = sum over k of a sa b sb + bias[n]. Of so many rows (columns) and so many k one scale, dense after the batch: sa [rows, k],
 * sb [k, columns]; 0: of all together (all 0: one number, the batches' too). */
typedef struct RefScaledGemm {
  size_t batch, m, n, k;
  const double *a, *b, *bias, *scale_a, *scale_b;
  size_t rows_of, columns_of, depth;
} RefScaledGemm;
void ref_scaled_gemm(const RefScaledGemm *g, double *d);
/* Codes and scales of x [batch, rows, columns], in groups of rows_of x columns_of (0: all; both 0: the batches' too): scale = largest magnitude
 * over `largest`, 1 where that is 0, at least 2^-126, as f32; code = store(x / scale). */
typedef struct RefQuantize {
  size_t batch, rows, columns, rows_of, columns_of;
  const double *x;
  double largest;
  double (*store)(double), (*as_f32)(double);
} RefQuantize;
void ref_quantize(const RefQuantize *q, double *code, double *scale);
/* y = act(gate) up, gate = x wg, up = x wu: x [b,m,k], wg, wu [b,k,n]. gate and up of the structure: of
 * gradients what the forward saved; NULL: computed again. */
typedef struct RefGatedMlp { size_t batch, m, n, k; const double *x, *wg, *wu, *gate, *up; const char *act; } RefGatedMlp;
void ref_gated_mlp(const RefGatedMlp *g, double *y, double *gate, double *up); /* these two: where to put them, or NULL */
void ref_gated_mlp_grad(const RefGatedMlp *g, const double *dy, double (*store)(double), double *dx, double *dwg, double *dwu);

/* ---- norms of rows ---- */

/* x, y, dx, dy: [samples, rows, n]; mean, rstd: [samples, rows]. */
typedef struct RefNorm {
  size_t samples, rows, n;
  const double *x;
  const double *w, *b;        /* weight and bias: [n], or [samples, n] with per_sample; NULL: ones, zeros */
  bool per_sample;            /* dw and db then too */
  double eps;
  const double *mean, *rstd;  /* gradients: what the forward saved; NULL: computed again */
} RefNorm;

/* rstd = 1/sqrt(mean x^2 + eps), y = x rstd w. */
void ref_rms_norm(const RefNorm *a, double *y, double *rstd);
void ref_rms_norm_grad(const RefNorm *a, const double *dy, double *dx, double *dw);
/* rstd = 1/sqrt(mean (x - mean)^2 + eps), y = (x - mean) rstd w + b. */
void ref_layer_norm(const RefNorm *a, double *y, double *mean, double *rstd);
void ref_layer_norm_grad(const RefNorm *a, const double *dy, double *dx, double *dw, double *db);
/* The same with w = 1 + scale and b = shift: `w` of the structure is scale, `b` shift, dw and db are theirs. rms: no mean. */
void ref_adaln(const RefNorm *a, bool rms, double *y, double *mean, double *rstd);
void ref_adaln_grad(const RefNorm *a, bool rms, const double *dy, double *dx, double *dscale, double *dshift);
/* h = x + r; y = rms_norm of store(h), the residual as it is kept (NULL: exactly). dx and dr are equal: only one is computed. */
void ref_add_rms_norm(const RefNorm *a, const double *r, double (*store)(double), double *y, double *h, double *rstd);
void ref_add_rms_norm_grad(const RefNorm *a, const double *r, double (*store)(double), const double *dy, const double *dh, double *dx,
                           double *dw);
/* y = x / max(|x|, eps), of rows x n; below eps the gradient is dy / eps. */
void ref_l2_normalize(size_t rows, size_t n, const double *x, double eps, double *y);
void ref_l2_normalize_grad(size_t rows, size_t n, const double *x, double eps, const double *dy, double *dx);

/* ---- rotations ---- */

/* x, y: [outer, rows, n]: outer is whatever shares a row's angles. Row t of the tables is used for row t - pos of x. A pair
 * (a, b) of channels becomes (a c - b s, b c + a s), with one entry of the tables per channel, or per pair. */
typedef struct RefRope {
  size_t outer, rows, n;
  const double *x;
  const double *cos, *sin;    /* [table_rows, r]; beyond them: 0 */
  size_t table_rows, r;
  long pos;
  long first;                 /* rows from here on pass through */
  bool halves;                /* pairs are (i, i + width/2), else neighbours; width is r, with pair entries 2r */
  bool pair_entries;          /* an entry per pair, else per channel */
  bool every_head;            /* every whole block of `width` channels turns, else only the first one */
} RefRope;

void ref_rope(const RefRope *a, double *y);
void ref_rope_grad(const RefRope *a, const double *dy, double *dx); /* a->x is not read */
/* Layer norm without weight, then the rotation. */
void ref_ln_rope(const RefRope *a, double eps, double *y);
void ref_ln_rope_grad(const RefRope *a, double eps, const double *dy, double *dx);
/* RMS norm over all n channels with weight w (NULL: ones), then the rotation. rstd of the gradient as saved, or NULL. */
void ref_rms_norm_rope(const RefRope *a, const double *w, double eps, double *y, double *rstd);
void ref_rms_norm_rope_grad(const RefRope *a, const double *w, double eps, const double *rstd, const double *dy, double *dx, double *dw);

/* ---- gates and softmax ---- */

/* act: "none" "relu" "gelu" "gelu_tanh" "silu", and its derivative. */
double ref_activate(const char *act, double x);
double ref_activate_slope(const char *act, double x);
/* y = act(gate) up. */
void ref_gated(const char *act, size_t elems, const double *gate, const double *up, double *y);
void ref_gated_grad(const char *act, size_t elems, const double *gate, const double *up, const double *dy, double *dgate, double *dup);

/* Softmax of scale x over rows of n; where mask is not 0 the element has no part. A row without any is zeros. */
void ref_softmax(size_t rows, size_t n, const double *x, const double *mask, double scale, double *y);
/* From y. */
void ref_softmax_grad(size_t rows, size_t n, const double *y, const double *mask, double scale, const double *dy, double *dx);
#endif
