/* ref_gemm.c - see references.h. */
#include "references.h"
#include <math.h>
#include <string.h>

/* What the activation is given. */
static double linear_part(const RefGemm *g, size_t b, size_t i, size_t j) {
  if (g->z) return g->z[(b * g->m + i) * g->n + j];
  double sum = 0;
  for (size_t l = 0; l < g->k; l++) sum += g->a[(b * g->m + i) * g->k + l] * g->b[(b * g->k + l) * g->n + j];
  return g->alpha * sum + (g->c ? g->beta * g->c[(b * g->m + i) * g->n + j] : 0) + (g->bias ? g->bias[j] : 0);
}

void ref_gemm(const RefGemm *g, double *d, double *z) {
  for (size_t b = 0; b < g->batch; b++)
    for (size_t i = 0; i < g->m; i++)
      for (size_t j = 0; j < g->n; j++) {
        double part = linear_part(g, b, i, j);
        d[(b * g->m + i) * g->n + j] = ref_activate(g->act, part);
        if (z) z[(b * g->m + i) * g->n + j] = part;
      }
}

static size_t groups(size_t n, size_t of) { return of ? (n + of - 1) / of : 1; }
static size_t group_of(size_t i, size_t of) { return of ? i / of : 0; }

void ref_scaled_gemm(const RefScaledGemm *g, double *d) {
  size_t deep = groups(g->k, g->depth), rows = groups(g->m, g->rows_of), columns = groups(g->n, g->columns_of);
  bool one = !g->rows_of && !g->columns_of && !g->depth;
  for (size_t b = 0; b < g->batch; b++)
    for (size_t i = 0; i < g->m; i++)
      for (size_t j = 0; j < g->n; j++) {
        double sum = 0;
        for (size_t l = 0; l < g->k; l++) {
          size_t at_a = one ? 0 : (b * rows + group_of(i, g->rows_of)) * deep + group_of(l, g->depth);
          size_t at_b = one ? 0 : (b * deep + group_of(l, g->depth)) * columns + group_of(j, g->columns_of);
          sum += g->a[(b * g->m + i) * g->k + l] * g->scale_a[at_a] * (g->b[(b * g->k + l) * g->n + j] * g->scale_b[at_b]);
        }
        d[(b * g->m + i) * g->n + j] = sum + (g->bias ? g->bias[j] : 0);
      }
}

static size_t scale_of(const RefQuantize *q, size_t b, size_t i, size_t j) {
  if (!q->rows_of && !q->columns_of) return 0;
  size_t down = groups(q->rows, q->rows_of), across = groups(q->columns, q->columns_of);
  return (b * down + group_of(i, q->rows_of)) * across + group_of(j, q->columns_of);
}

void ref_quantize(const RefQuantize *q, double *code, double *scale) {
  size_t down = groups(q->rows, q->rows_of), across = groups(q->columns, q->columns_of), n = q->batch * down * across;
  for (size_t i = 0; i < n; i++) scale[i] = 0;
  for (size_t b = 0; b < q->batch; b++)
    for (size_t i = 0; i < q->rows; i++)
      for (size_t j = 0; j < q->columns; j++) {
        double *s = &scale[scale_of(q, b, i, j)];
        *s = fmax(*s, fabs(q->x[(b * q->rows + i) * q->columns + j]));
      }
  for (size_t i = 0; i < n; i++) scale[i] = q->as_f32(scale[i] > 0 ? fmax(scale[i] / q->largest, 0x1p-126) : 1);
  for (size_t b = 0; b < q->batch; b++)
    for (size_t i = 0; i < q->rows; i++)
      for (size_t j = 0; j < q->columns; j++) {
        size_t at = (b * q->rows + i) * q->columns + j;
        code[at] = q->store(q->x[at] * (1 / scale[scale_of(q, b, i, j)]));
      }
}

/* An element of x w, or what was saved of it. */
static double half(const RefGatedMlp *g, const double *saved, const double *w, size_t b, size_t i, size_t j) {
  if (saved) return saved[(b * g->m + i) * g->n + j];
  double sum = 0;
  for (size_t l = 0; l < g->k; l++) sum += g->x[(b * g->m + i) * g->k + l] * w[(b * g->k + l) * g->n + j];
  return sum;
}

void ref_gated_mlp(const RefGatedMlp *g, double *y, double *gate, double *up) {
  for (size_t b = 0; b < g->batch; b++)
    for (size_t i = 0; i < g->m; i++)
      for (size_t j = 0; j < g->n; j++) {
        size_t at = (b * g->m + i) * g->n + j;
        double of_gate = half(g, NULL, g->wg, b, i, j), of_up = half(g, NULL, g->wu, b, i, j);
        y[at] = ref_activate(g->act, of_gate) * of_up;
        if (gate) gate[at] = of_gate;
        if (up) up[at] = of_up;
      }
}

/* ---- gradients ---- */

/* What one element g of the adjoint of a product at (b, i, j) adds to its operands' gradients, scaled. */
typedef struct Spread { size_t m, n, k; const double *a, *b; double *da, *db, scale; } Spread;
static void spread_adjoint(const Spread *s, size_t b, size_t i, size_t j, double g) {
  for (size_t l = 0; l < s->k; l++) {
    if (s->da) s->da[(b * s->m + i) * s->k + l] += s->scale * g * s->b[(b * s->k + l) * s->n + j];
    if (s->db) s->db[(b * s->k + l) * s->n + j] += s->scale * g * s->a[(b * s->m + i) * s->k + l];
  }
}

static void clear(double *x, size_t n) {
  for (size_t i = 0; x && i < n; i++) x[i] = 0;
}
static double stored(double (*store)(double), double x) { return store ? store(x) : x; }

void ref_gemm_grad(const RefGemm *g, const double *dd, double (*store)(double), double *da, double *db, double *dc, double *dbias) {
  Spread s = {g->m, g->n, g->k, g->a, g->b, da, db, g->alpha};
  bool bent = strcmp(g->act, "none") != 0;
  clear(da, g->batch * g->m * g->k);
  clear(db, g->batch * g->k * g->n);
  clear(dbias, g->n);
  for (size_t b = 0; b < g->batch; b++)
    for (size_t i = 0; i < g->m; i++)
      for (size_t j = 0; j < g->n; j++) {
        size_t at = (b * g->m + i) * g->n + j;
        double adjoint = dd[at] * (bent ? ref_activate_slope(g->act, linear_part(g, b, i, j)) : 1), kept = stored(store, adjoint);
        spread_adjoint(&s, b, i, j, kept);
        if (dc) dc[at] = g->beta * adjoint;
        if (dbias) dbias[j] += bent ? kept : adjoint;
      }
}

void ref_gated_mlp_grad(const RefGatedMlp *g, const double *dy, double (*store)(double), double *dx, double *dwg, double *dwu) {
  Spread to_gate = {g->m, g->n, g->k, g->x, g->wg, dx, dwg, 1}, to_up = {g->m, g->n, g->k, g->x, g->wu, dx, dwu, 1};
  clear(dx, g->batch * g->m * g->k);
  clear(dwg, g->batch * g->k * g->n);
  clear(dwu, g->batch * g->k * g->n);
  for (size_t b = 0; b < g->batch; b++)
    for (size_t i = 0; i < g->m; i++)
      for (size_t j = 0; j < g->n; j++) {
        double gate = half(g, g->gate, g->wg, b, i, j), up = half(g, g->up, g->wu, b, i, j), d = dy[(b * g->m + i) * g->n + j];
        spread_adjoint(&to_gate, b, i, j, stored(store, d * up * ref_activate_slope(g->act, gate)));
        spread_adjoint(&to_up, b, i, j, stored(store, d * ref_activate(g->act, gate)));
      }
}
