/* compare.h - compares a kernel's result with the evaluator's, element by element, within a bound that follows from the element
 * type and from the evaluator's error analysis (docs/exactness.md), and proves by a perturbed twin that the comparison bites. */
#ifndef KILN_CLI_COMPARE_H
#define KILN_CLI_COMPARE_H
#include "../../runtime/kiln.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct CompareTwin { int64_t index; double want, e; bool seen; } CompareTwin; /* index: as numbered by the caller */

typedef struct Compare {
  kiln_dtype dtype;
  int64_t seen, bad, passed;
  double worst_error, worst_bound, worst_ratio;            /* of the element that came nearest to its bound, or went past it */
  int64_t first_index;                                     /* the first bad element: as numbered by the caller */
  double first_got, first_want, first_bound;
  int64_t twin_index, twin_stride;                         /* which element the twin perturbs; stride: or any this far apart, 0: no other */
  CompareTwin twin[2];                                     /* the candidate known best relative to its size; the one known best */
  double sum_squares;
  double rounding;                                         /* relative error of the coarsest rounding on the way to the result */
} Compare;

/* Is `got` right where `want` is exact and a kernel may be off by e before it rounds to dtype? Fills error and bound. */
bool compare_element(kiln_dtype dtype, double got, double want, double e, double *error, double *bound);

void compare_start(Compare *c, kiln_dtype dtype, int64_t twin_index);
void compare_add(Compare *c, int64_t index, double got, double want, double e);
void compare_pass(Compare *c); /* an element of which nothing can be said: whether f32 makes it infinite or NaN is undecided */

/* The candidate that the twin perturbs; NULL: nothing was compared. */
const CompareTwin *compare_twin(const Compare *c);
/* Perturbs it by an eighth of its size (a quarter, where values are rounded to e5m2 on the way and fewer than 1024 elements were compared; or
 * of the result's root mean square, where that is larger; or of 1, where fewer than 16 elements were compared, or all of them are 0 but for
 * double's rounding) and compares again: true if that is refused, as it must be. Also true if nothing was compared. */
bool compare_twin_fails(const Compare *c);
/* Is the result 0 as a whole, but for double's rounding, so that its size says nothing? */
bool compare_vanishes(const Compare *c);
/* The same of a candidate that is made of terms of this size (> 0): what has cancelled is known to a share of its terms, not of itself. Where
 * the result is less than 1/128 of them, it is moved by 1/1024 of them (or 8 roundings, where those on the way are coarser); else by
 * an eighth of its size or of the root mean square, and refused only where compare_twin_fails says so, too. */
bool compare_twin_fails_by(const Compare *c, const CompareTwin *t, double terms);
#endif
