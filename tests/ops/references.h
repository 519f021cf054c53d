/* references.h - the shipped ops written by hand in double, from their definitions on paper. They share nothing with kiln: no
 * layouts, no number formats, no definition graph. Everything is dense, row-major double. */
#ifndef KILN_TESTS_REFERENCES_H
#define KILN_TESTS_REFERENCES_H
#include <stddef.h>

/* y[m,n] = x[m,n] * rstd[m] * w[n], rstd[m] = 1/sqrt(mean over n of x[m,n]^2 + eps). w NULL: ones. rstd NULL: not wanted. */
void ref_rms_norm(size_t m, size_t n, const double *x, const double *w, double eps, double *y, double *rstd);

/* d[b,m,n] = act(alpha * sum over k of a[b,m,k] b[b,k,n] + beta * c[b,m,n] + bias[n]). c, bias NULL: none.
 * act: "none" "relu" "gelu" "gelu_tanh" "silu". */
typedef struct RefGemm {
  size_t batch, m, n, k;
  const double *a, *b, *c, *bias;
  double alpha, beta;
  const char *act;
} RefGemm;
void ref_gemm(const RefGemm *g, double *d);
#endif
