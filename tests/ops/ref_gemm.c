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
