/* overlap.h - do tensors share memory, one with another, or one with itself? */
#ifndef KILN_OVERLAP_H
#define KILN_OVERLAP_H
#include "bind.h"

/* Do the elements of two views share memory? Told at once of contiguous tensors that lie apart and of strided ones with a common period (columns
 * of one matrix); of others it is found out, and where that takes too long the answer is yes. Offsets are those of data pointers. */
bool overlap_pair(const ArgView *a, uint64_t a_address, const ArgView *b, uint64_t b_address);
bool overlap_same_elements(const ArgView *a, const ArgView *b); /* same sizes and, where they matter, same strides */

typedef enum OverlapMeeting { OVERLAP_APART, OVERLAP_MEET, OVERLAP_UNTOLD } OverlapMeeting;

/* The dims of a view that are longer than 1, by stride. Two elements meet where their coordinates differ by some d, not all 0, of which the
 * sum of d[k] * stride[k] is 0. */
typedef struct OverlapSteps {
  int n, visits;                       /* visits: of choices of a d[k] */
  int dim[CONTRACT_MAX_RANK];          /* of the view */
  int64_t size[CONTRACT_MAX_RANK], stride[CONTRACT_MAX_RANK];
  int64_t reach[CONTRACT_MAX_RANK];    /* the most that the dims before k can add */
  int64_t divisor[CONTRACT_MAX_RANK];  /* of the strides before k: what they add is a multiple; 0 for the first */
  int64_t period[CONTRACT_MAX_RANK], inverse[CONTRACT_MAX_RANK]; /* d[k] is -rest / divisor[k + 1] * inverse, and that plus periods */
  int64_t d[CONTRACT_MAX_RANK];
} OverlapSteps;

/* Do elements of a view share an address? Those of a layout whose every stride exceeds what the smaller ones reach do not, which is told at once;
 * of others it is found out, as far as that is cheap. MEET: s->d is the difference of two such elements. */
OverlapMeeting overlap_own(const ArgView *v, OverlapSteps *s);
#endif
