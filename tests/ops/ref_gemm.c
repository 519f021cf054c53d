/* ref_gemm.c - see references.h. */
#include "references.h"
#include <math.h>
#include <string.h>

/* gelu in forms whose terms do not cancel far below 0: 1 + erf(z) = erfc(-z), 1 + tanh(u) = 2 / (1 + exp(-2 u)). */
static double activate(const char *act, double x) {
  if (strcmp(act, "relu") == 0) return x > 0 ? x : 0;
  if (strcmp(act, "gelu") == 0) return x / 2 * erfc(-x / sqrt(2));
  if (strcmp(act, "gelu_tanh") == 0) return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
  if (strcmp(act, "silu") == 0) return x / (1 + exp(-x));
  return x;
}

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
        d[at] = activate(g->act, x);
      }
}
