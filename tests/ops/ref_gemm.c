/* ref_gemm.c - see references.h. */
#include "references.h"

void ref_gemm(const RefGemm *g, double *d) {
  for (size_t b = 0; b < g->batch; b++)
    for (size_t i = 0; i < g->m; i++)
      for (size_t j = 0; j < g->n; j++) {
        size_t at = (b * g->m + i) * g->n + j;
        double sum = 0;
        for (size_t l = 0; l < g->k; l++) sum += g->a[(b * g->m + i) * g->k + l] * g->b[(b * g->k + l) * g->n + j];
        double x = g->alpha * sum;
        if (g->c) x += g->beta * g->c[at];
        if (g->bias) x += g->bias[j];
        d[at] = ref_activate(g->act, x);
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

void ref_gated_mlp(size_t batch, size_t m, size_t n, size_t k, const double *x, const double *wg, const double *wu, const char *act, double *y) {
  for (size_t b = 0; b < batch; b++)
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < n; j++) {
        double gate = 0, up = 0;
        for (size_t l = 0; l < k; l++) {
          gate += x[(b * m + i) * k + l] * wg[(b * k + l) * n + j];
          up += x[(b * m + i) * k + l] * wu[(b * k + l) * n + j];
        }
        y[(b * m + i) * n + j] = ref_activate(act, gate) * up;
      }
}
