/* ref_gated.c - activations, gates and softmax; see references.h.
 *
 * No form subtracts nearly equal numbers: 1 + erf(z) = erfc(-z), and with s(u) = 1 / (1 + exp(-u)), 1 + tanh(u) = 2 s(2u) and
 * 1 - s(u) = s(-u). */
#include "references.h"
#include <math.h>
#include <string.h>

static double logistic(double u) { return 1 / (1 + exp(-u)); }

/* Of gelu_tanh: the argument of the logistic function, and its derivative. */
static double cubic(double x) { return 2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x); }
static double cubic_slope(double x) { return 2 * sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * x * x); }

double ref_activate(const char *act, double x) {
  if (strcmp(act, "relu") == 0) return x > 0 ? x : 0;
  if (strcmp(act, "gelu") == 0) return x / 2 * erfc(-x / sqrt(2));
  if (strcmp(act, "gelu_tanh") == 0) return x * logistic(cubic(x));
  if (strcmp(act, "silu") == 0) return x * logistic(x);
  return x;
}

double ref_activate_slope(const char *act, double x) {
  if (strcmp(act, "relu") == 0) return x > 0;
  if (strcmp(act, "gelu") == 0) return erfc(-x / sqrt(2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * acos(-1));
  if (strcmp(act, "gelu_tanh") == 0)
    return logistic(cubic(x)) * (1 + x * cubic_slope(x) * logistic(-cubic(x)));
  if (strcmp(act, "silu") == 0) return logistic(x) * (1 + x * logistic(-x));
  return 1;
}

void ref_gated(const char *act, size_t elems, const double *gate, const double *up, double *y) {
  for (size_t i = 0; i < elems; i++) y[i] = ref_activate(act, gate[i]) * up[i];
}

void ref_gated_grad(const char *act, size_t elems, const double *gate, const double *up, const double *dy, double *dgate, double *dup) {
  for (size_t i = 0; i < elems; i++) {
    if (dgate) dgate[i] = dy[i] * up[i] * ref_activate_slope(act, gate[i]);
    if (dup) dup[i] = dy[i] * ref_activate(act, gate[i]);
  }
}

void ref_softmax(size_t rows, size_t n, const double *x, const double *mask, double scale, double *y) {
  for (size_t i = 0; i < rows; i++) {
    const double *row = x + i * n, *out = mask ? mask + i * n : NULL;
    double most = -INFINITY, sum = 0;
    for (size_t j = 0; j < n; j++)
      if (!(out && out[j] != 0) && scale * row[j] > most) most = scale * row[j];
    for (size_t j = 0; j < n; j++) {
      y[i * n + j] = out && out[j] != 0 ? 0 : exp(scale * row[j] - most);
      sum += y[i * n + j];
    }
    for (size_t j = 0; j < n; j++)
      if (!(out && out[j] != 0)) y[i * n + j] /= sum;
  }
}

/* dy_j / dx_i = scale y_j (delta_ij - y_i). */
void ref_softmax_grad(size_t rows, size_t n, const double *y, const double *mask, double scale, const double *dy, double *dx) {
  for (size_t i = 0; i < rows; i++) {
    const double *out = mask ? mask + i * n : NULL;
    double along = 0;
    for (size_t j = 0; j < n; j++)
      if (!(out && out[j] != 0)) along += y[i * n + j] * dy[i * n + j];
    for (size_t j = 0; j < n; j++)
      dx[i * n + j] = out && out[j] != 0 ? 0 : scale * y[i * n + j] * (dy[i * n + j] - along);
  }
}
