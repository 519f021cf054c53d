/* ref_rope.c - see references.h.
 *
 * In a pair (a, b) with the entries (ca, sa) and (cb, sb): a' = a ca - b sa, b' = b cb + a sb. Its transpose, which carries
 * gradients back: da = da' ca + db' sb, db = db' cb - da' sa. Where both entries agree that is the rotation by minus the angle. */
#include "references.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Entry { double c, s; } Entry;

static Entry entry(const RefRope *a, size_t row, size_t column) {
  long t = (long)row + a->pos;
  if (t < 0 || (size_t)t >= a->table_rows) return (Entry){0, 0};
  return (Entry){a->cos[(size_t)t * a->r + column], a->sin[(size_t)t * a->r + column]};
}

/* Turns the pair at columns i and k of one block, or carries its gradient back. */
static void turn(const RefRope *a, bool back, size_t row, const size_t column[2], const size_t of_table[2], double *v) {
  Entry p = entry(a, row, of_table[0]), q = entry(a, row, of_table[1]);
  double x = v[column[0]], y = v[column[1]];
  v[column[0]] = back ? x * p.c + y * q.s : x * p.c - y * p.s;
  v[column[1]] = back ? y * q.c - x * p.s : y * q.c + x * q.s;
}

/* One row, in place. */
static void turn_row(const RefRope *a, bool back, size_t row, double *v) {
  size_t width = a->pair_entries ? 2 * a->r : a->r, pairs = width / 2;
  if ((long)row >= a->first || width == 0) return;
  for (size_t block = 0; block + width <= a->n && (block == 0 || a->every_head); block += width)
    for (size_t i = 0; i < pairs; i++) {
      size_t one = a->halves ? i : 2 * i, other = a->halves ? i + pairs : 2 * i + 1;
      size_t column[2] = {block + one, block + other};
      size_t of_table[2] = {a->pair_entries ? i : one, a->pair_entries ? i : other};
      turn(a, back, row, column, of_table, v);
    }
}

static void turn_all(const RefRope *a, bool back, double *v) {
  for (size_t k = 0; k < a->outer * a->rows; k++) turn_row(a, back, k % a->rows, v + k * a->n);
}

static size_t elems_of(const RefRope *a) { return a->outer * a->rows * a->n; }

void ref_rope(const RefRope *a, double *y) {
  memcpy(y, a->x, elems_of(a) * sizeof *y);
  turn_all(a, false, y);
}

void ref_rope_grad(const RefRope *a, const double *dy, double *dx) {
  memcpy(dx, dy, elems_of(a) * sizeof *dx);
  turn_all(a, true, dx);
}

/* ---- after a norm: the gradient goes back through the rotation first ---- */

static RefNorm norm_of(const RefRope *a, const double *w, double eps) {
  return (RefNorm){.samples = a->outer, .rows = a->rows, .n = a->n, .x = a->x, .w = w, .eps = eps};
}

void ref_ln_rope(const RefRope *a, double eps, double *y) {
  RefNorm norm = norm_of(a, NULL, eps);
  ref_layer_norm(&norm, y, NULL, NULL);
  turn_all(a, false, y);
}

void ref_ln_rope_grad(const RefRope *a, double eps, const double *dy, double *dx) {
  RefNorm norm = norm_of(a, NULL, eps);
  double *turned = malloc((elems_of(a) + 1) * sizeof *turned);
  ref_rope_grad(a, dy, turned);
  ref_layer_norm_grad(&norm, turned, dx, NULL, NULL);
  free(turned);
}

void ref_rms_norm_rope(const RefRope *a, const double *w, double eps, double *y, double *rstd) {
  RefNorm norm = norm_of(a, w, eps);
  ref_rms_norm(&norm, y, rstd);
  if (y) turn_all(a, false, y);
}

void ref_rms_norm_rope_grad(const RefRope *a, const double *w, double eps, const double *rstd, const double *dy, double *dx, double *dw) {
  RefNorm norm = norm_of(a, w, eps);
  double *turned = malloc((elems_of(a) + 1) * sizeof *turned);
  norm.rstd = rstd;
  ref_rope_grad(a, dy, turned);
  ref_rms_norm_grad(&norm, turned, dx, dw);
  free(turned);
}
