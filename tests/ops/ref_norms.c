/* ref_norms.c - see references.h.
 *
 * With v = x - mean (or x), r = 1/sqrt(mean v^2 + eps), h = v r and y = h w + b, and g = dy w the gradient of h:
 *   dh_j / dx_i = r (delta_ij - h_i h_j / n), since dr/dx_i = -r^3 v_i / n, so that dx = r (g - h mean(g h));
 *   where the mean is taken off as well, dx = r (g - mean g - h mean(g h)), for mean h = 0 and mean v = 0;
 *   dw = sum of dy h and db = sum of dy, over the rows that share the weight. */
#include "references.h"
#include <math.h>
#include <stdlib.h>

typedef struct Form { /* what tells the norms apart */
  bool centred;       /* the mean is taken off */
  double plus;        /* added to the weight: 1 where it is a scale */
} Form;

typedef struct Row { double mean, rstd; } Row;

static double weight_of(const RefNorm *a, Form f, size_t sample, size_t j) {
  return a->w ? f.plus + a->w[(a->per_sample ? sample * a->n : 0) + j] : 1;
}

static double bias_of(const RefNorm *a, size_t sample, size_t j) {
  return a->b ? a->b[(a->per_sample ? sample * a->n : 0) + j] : 0;
}

/* Two passes: the squares are of what is left without the mean. */
static Row measure(const RefNorm *a, Form f, size_t row) {
  const double *x = a->x + row * a->n;
  Row m = {0, 0};
  double sum = 0;
  for (size_t j = 0; f.centred && j < a->n; j++) m.mean += x[j] / (double)a->n;
  for (size_t j = 0; j < a->n; j++) sum += (x[j] - m.mean) * (x[j] - m.mean);
  m.rstd = 1 / sqrt(sum / (double)a->n + a->eps);
  return m;
}

static void forward(const RefNorm *a, Form f, double *y, double *mean, double *rstd) {
  for (size_t row = 0; row < a->samples * a->rows; row++) {
    Row m = measure(a, f, row);
    size_t sample = row / a->rows;
    if (mean) mean[row] = m.mean;
    if (rstd) rstd[row] = m.rstd;
    for (size_t j = 0; y && j < a->n; j++)
      y[row * a->n + j] = (a->x[row * a->n + j] - m.mean) * m.rstd * weight_of(a, f, sample, j) + bias_of(a, sample, j);
  }
}

static void clear(double *at, size_t n) {
  for (size_t i = 0; at && i < n; i++) at[i] = 0;
}

static void backward(const RefNorm *a, Form f, const double *dy, double *dx, double *dw, double *db) {
  size_t n = a->n, weights = n * (a->per_sample ? a->samples : 1);
  clear(dw, weights);
  clear(db, weights);
  for (size_t row = 0; row < a->samples * a->rows; row++) {
    Row m = a->rstd && (a->mean || !f.centred) ? (Row){0, 0} : measure(a, f, row);
    if (a->rstd) m.rstd = a->rstd[row];
    if (a->mean && f.centred) m.mean = a->mean[row];
    const double *x = a->x + row * n, *in = dy + row * n;
    size_t sample = row / a->rows, base = a->per_sample ? sample * n : 0;
    double sum_g = 0, sum_gh = 0;
    for (size_t j = 0; j < n; j++) {
      double g = in[j] * weight_of(a, f, sample, j), h = (x[j] - m.mean) * m.rstd;
      sum_g += g;
      sum_gh += g * h;
      if (dw) dw[base + j] += in[j] * h;
      if (db) db[base + j] += in[j];
    }
    if (!f.centred) sum_g = 0;
    for (size_t j = 0; dx && j < n; j++) {
      double g = in[j] * weight_of(a, f, sample, j), h = (x[j] - m.mean) * m.rstd;
      dx[row * n + j] = m.rstd * (g - (sum_g + h * sum_gh) / (double)n);
    }
  }
}

void ref_rms_norm(const RefNorm *a, double *y, double *rstd) { forward(a, (Form){false, 0}, y, NULL, rstd); }

void ref_rms_norm_grad(const RefNorm *a, const double *dy, double *dx, double *dw) {
  backward(a, (Form){false, 0}, dy, dx, dw, NULL);
}

void ref_layer_norm(const RefNorm *a, double *y, double *mean, double *rstd) { forward(a, (Form){true, 0}, y, mean, rstd); }

void ref_layer_norm_grad(const RefNorm *a, const double *dy, double *dx, double *dw, double *db) {
  backward(a, (Form){true, 0}, dy, dx, dw, db);
}

void ref_adaln(const RefNorm *a, bool rms, double *y, double *mean, double *rstd) {
  forward(a, (Form){!rms, 1}, y, rms ? NULL : mean, rstd);
}

void ref_adaln_grad(const RefNorm *a, bool rms, const double *dy, double *dx, double *dscale, double *dshift) {
  backward(a, (Form){!rms, 1}, dy, dx, dscale, dshift);
}

/* ---- with a residual ---- */

/* As the norm reads it: as it was stored. */
static double *residual(const RefNorm *a, const double *r, double (*store)(double)) {
  size_t n = a->samples * a->rows * a->n;
  double *h = malloc((n + 1) * sizeof *h);
  for (size_t i = 0; h && i < n; i++) h[i] = store ? store(a->x[i] + r[i]) : a->x[i] + r[i];
  return h;
}

void ref_add_rms_norm(const RefNorm *a, const double *r, double (*store)(double), double *y, double *h, double *rstd) {
  RefNorm norm = *a;
  double *sum = residual(a, r, store);
  norm.x = sum;
  ref_rms_norm(&norm, y, rstd);
  for (size_t i = 0; h && i < a->samples * a->rows * a->n; i++) h[i] = a->x[i] + r[i];
  free(sum);
}

/* Storing counts as identity. What comes in for h joins what the norm sends back to it. dh NULL: none. */
void ref_add_rms_norm_grad(const RefNorm *a, const double *r, double (*store)(double), const double *dy, const double *dh, double *dx,
                           double *dw) {
  RefNorm norm = *a;
  double *sum = residual(a, r, store);
  norm.x = sum;
  ref_rms_norm_grad(&norm, dy, dx, dw);
  for (size_t i = 0; dx && dh && i < a->samples * a->rows * a->n; i++) dx[i] += dh[i];
  free(sum);
}

/* ---- by the length ---- */

static double length_of(size_t n, const double *x) {
  double sum = 0;
  for (size_t j = 0; j < n; j++) sum += x[j] * x[j];
  return sqrt(sum);
}

void ref_l2_normalize(size_t rows, size_t n, const double *x, double eps, double *y) {
  for (size_t i = 0; i < rows; i++) {
    double length = length_of(n, x + i * n);
    for (size_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] / (length > eps ? length : eps);
  }
}

/* y = x / l: dx = (dy - y sum(y dy)) / l; below eps the divisor is a constant. */
void ref_l2_normalize_grad(size_t rows, size_t n, const double *x, double eps, const double *dy, double *dx) {
  for (size_t i = 0; i < rows; i++) {
    const double *row = x + i * n, *in = dy + i * n;
    double length = length_of(n, row), along = 0;
    for (size_t j = 0; j < n && length > eps; j++) along += row[j] / length * in[j];
    for (size_t j = 0; j < n; j++) dx[i * n + j] = length > eps ? (in[j] - row[j] / length * along) / length : in[j] / eps;
  }
}
