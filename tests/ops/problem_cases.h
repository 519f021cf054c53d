/* problem_cases.h - see problem_cases.c. */
#ifndef KILN_TESTS_PROBLEM_CASES_H
#define KILN_TESTS_PROBLEM_CASES_H
#include <stdbool.h>

enum { CASES_SETTINGS = 12, CASES_SIZES = 6, CASES_SCALARS = 4, CASES_EXTREMES = 4 };

typedef struct OpCases {
  const char *op;                       /* NULL: the end */
  const char *forward[CASES_SETTINGS];  /* settings of the op; NULL: no more */
  const char *backward[CASES_SETTINGS]; /* of its gradient; those of the op itself apply to both */
  const char *sizes[CASES_SIZES], *scalars[CASES_SCALARS];
  const char *extremes[CASES_EXTREMES]; /* long rows, many rows, none: for kernels, with the first settings */
  double spread, offset;                /* of random inputs; spread 0: 1 */
  bool contiguous;                      /* the last dim of every tensor must be */
} OpCases;

extern const OpCases op_cases[];
int texts_in(const char *const *list, int room); /* how many before the first NULL */
#endif
