/* ref_rms_norm.c - see references.h. */
#include "references.h"
#include <math.h>

void ref_rms_norm(size_t m, size_t n, const double *x, const double *w, double eps, double *y, double *rstd) {
  for (size_t i = 0; i < m; i++) {
    const double *row = x + i * n;
    double sum = 0;
    for (size_t j = 0; j < n; j++) sum += row[j] * row[j];
    double r = 1 / sqrt(sum / (double)n + eps);
    if (rstd) rstd[i] = r;
    for (size_t j = 0; j < n; j++) y[i * n + j] = row[j] * r * (w ? w[j] : 1);
  }
}
