/* compare.c - see compare.h. */
#include "compare.h"
#include "number.h"
#include <math.h>
#include <string.h>

/* Results near the end of f32's range may vanish: approximate instructions flush subnormal values, and a quotient is 0 once its
 * divisor (an exponential, say) has passed 2^128, though the exact one times a moderate factor is still above 2^-126. */
#define FLUSHED 0x1p-120

/* Integers have no NaN, which becomes 0; and what is beyond a type that saturates (integers, those of eight bits) becomes the end of its range,
 * which brings two values no further apart: the bound stays. */
static bool is_eight_bits(kiln_dtype dtype) { return dtype == KILN_E4M3 || dtype == KILN_E5M2; }

static double as_stored(kiln_dtype dtype, double want) {
  if (is_eight_bits(dtype)) return fabs(want) > number_largest(dtype) ? copysign(number_largest(dtype), want) : want;
  if (number_is_float(dtype)) return want;
  if (isnan(want)) return number_round(dtype, want);
  return fmin(fmax(want, number_round(dtype, -INFINITY)), number_round(dtype, INFINITY));
}

static double smallest_step(kiln_dtype dtype) { return number_is_float(dtype) ? fmax(number_tiny(dtype), FLUSHED) : number_tiny(dtype); }

bool compare_element(kiln_dtype dtype, double got, double want, double e, double *error, double *bound) {
  *error = *bound = 0;
  want = as_stored(dtype, want);
  if (isnan(want) || isinf(want)) {
    bool same = isnan(want) ? isnan(got) : got == want;
    if (!same) *error = INFINITY;
    return same;
  }
  double unit = number_unit(dtype), reach = 2 * e;
  *bound = reach + unit * (fabs(want) + reach) + smallest_step(dtype);
  *error = fabs(got - want);
  if (!isfinite(*bound)) return false; /* a bound that admits everything is a mistake of the check */
  if (isnan(got)) {
    *error = INFINITY;
    return false;
  }
  /* Past the largest finite value both infinity and the largest value may stand for the result, if it is near enough. */
  if (isinf(got)) return !is_eight_bits(dtype) && isinf(number_round(dtype, want + copysign(*bound, want))) && signbit(got) == signbit(want);
  return *error <= *bound;
}

void compare_start(Compare *c, kiln_dtype dtype, int64_t twin_index) {
  memset(c, 0, sizeof *c);
  c->dtype = dtype;
  c->twin_index = twin_index;
  c->worst_ratio = -1;
}

void compare_add(Compare *c, int64_t index, double got, double want, double e) {
  double error, bound;
  want = as_stored(c->dtype, want);
  bool right = compare_element(c->dtype, got, want, e, &error, &bound);
  if (!right && c->bad++ == 0) {
    c->first_index = index;
    c->first_got = got;
    c->first_want = want;
    c->first_bound = bound;
  }
  double ratio = right && !isfinite(error) ? 0 : bound > 0 ? error / bound : error > 0 ? INFINITY : 0;
  if (ratio > c->worst_ratio || isnan(ratio)) {
    c->worst_ratio = isnan(ratio) ? INFINITY : ratio;
    c->worst_error = error;
    c->worst_bound = bound;
  }
  if (isfinite(want)) c->sum_squares += want * want;
  /* Of the candidates the one known best relative to its own size, and the one known best of all: a row of huge inputs whose sum
   * cancels may rightly be known to no eighth, and says nothing about the others. */
  bool candidate = c->seen == c->twin_index || (c->twin_stride > 0 && c->seen % c->twin_stride == c->twin_index % c->twin_stride);
  CompareTwin *own = &c->twin[0], *all = &c->twin[1];
  c->seen++;
  if (!candidate && own->seen) return;
  if (!own->seen || e * fabs(own->want) < own->e * fabs(want)) *own = (CompareTwin){index, want, e, true};
  if (isfinite(want) && (!all->seen || e < all->e)) *all = (CompareTwin){index, want, e, true};
}

void compare_pass(Compare *c) {
  c->seen++;
  c->passed++;
}

/* A handful of elements may all be small by chance (a bias of one column), and a result may cancel as a whole, to what double's own
 * rounding leaves of it (a centred row of equal values): there the inputs' size, which is 1, says more. */
enum { FEW = 16, A_ROW = 1024 };
#define NOTHING 0x1p-40

static double own_size(const Compare *c, const CompareTwin *t) { return fmax(fabs(t->want), sqrt(c->sum_squares / (double)c->seen)); }

static double size_of(const Compare *c, const CompareTwin *t) {
  double size = own_size(c, t);
  return size < NOTHING || c->seen < FEW ? fmax(size, 1) : size;
}

/* The one that is known better, relative to what it is moved by. */
const CompareTwin *compare_twin(const Compare *c) {
  const CompareTwin *own = &c->twin[0], *all = &c->twin[1];
  if (c->seen == c->passed) return NULL;
  return all->seen && isfinite(own->want) && all->e * size_of(c, own) < own->e * size_of(c, all) ? all : own;
}

/* An eighth of an e5m2 is half its last place; and where all results may be of one row, they may be off by it together. */
static double eighth(const Compare *c, double size) {
  return size * fmax(0.125, fmax(4 * number_unit(c->dtype), c->seen < A_ROW ? 2 * c->rounding : 0));
}

static double perturb(const Compare *c, const CompareTwin *t, double move) {
  double want = t->want;
  if (!isfinite(want)) return 0;
  if (c->dtype == KILN_BOOL) return want != 0 ? 0 : 1;
  if (!number_is_float(c->dtype)) return want > 0 ? want - 1 : want + 1;
  double largest = number_largest(c->dtype); /* beyond it an eighth less may be the same infinity */
  if (fabs(want) > largest) return copysign(largest / 2, want);
  move = fmax(move, 8 * smallest_step(c->dtype)); /* where results are smaller than the type's steps, four of them */
  return number_round(c->dtype, want > 0 ? want - move : want + move); /* towards zero: never past the largest value */
}

static bool is_refused(const Compare *c, const CompareTwin *t, double move) {
  double error, bound;
  return t->seen && !compare_element(c->dtype, perturb(c, t, move), t->want, t->e, &error, &bound);
}

bool compare_twin_fails(const Compare *c) {
  const CompareTwin *t = compare_twin(c);
  return !t || is_refused(c, t, eighth(c, size_of(c, t)));
}

bool compare_vanishes(const Compare *c) {
  const CompareTwin *t = compare_twin(c);
  return t && isfinite(t->want) && own_size(c, t) < NOTHING;
}

/* 2e of a sum of n terms of size s that cancel is U (4 sqrt(n) + 16) 4 sqrt(n) s, and their size together 0.6 sqrt(n) s (0.6: nudges are
 * uniform): less than this share of it up to n = 360000. Errors of what is summed add up, their sizes do not: over m rows of which each
 * is the mean of n values less the saved one, it is sqrt(m) times as much, less than the share up to m = 40 at n = 8192, 3500 at n = 40.
 * CANCELLED: elsewhere an eighth of the size is more than the share; and what fails by that fails whatever its terms. */
#define SHARE 0x1p-10
#define CANCELLED (8 * SHARE)

bool compare_twin_fails_by(const Compare *c, const CompareTwin *t, double terms) {
  double size = own_size(c, t), move = eighth(c, size);
  bool cancelled = size < CANCELLED * terms;
  if (cancelled) move = fmax(move, terms * fmax(SHARE, 8 * c->rounding));
  return (cancelled || compare_twin_fails(c)) && is_refused(c, t, move);
}
