/* prefer.h - measurements of `kiln tune` as selection looks at them: per op, target, settings and axes the winners by size, of which the
 * nearest to the arguments' sizes counts. All under the device's lock. */
#ifndef KILN_PREFER_H
#define KILN_PREFER_H
#include "device.h"

typedef struct TunedWin {
  const char *op, *target, *settings, *axes, *schedule; /* as contracts write them; axes: "B*M,N" */
  double figure;
  int naxes;
  int64_t size[TUNED_MAX_AXES];
  float level[TUNED_MAX_AXES]; /* logarithms of the sizes */
  bool loaded;                 /* an added file has this schedule */
  bool asked;                  /* the provider was asked for it */
} TunedWin;

/* The axes of a contract: each list of dims that may merge is one, each other dim is one by itself. naxes 0: more than are kept. */
void prefer_axes(const Contract *c, TunedPlace *out);
int64_t prefer_size(const TunedPlace *place, int axis, const ExprValue *value); /* the product; INT64_MAX if it does not fit */

/* What was found for one variant holds for its neighbours with the same axes. */
typedef struct PreferMemo {
  int first; /* of the winners that it looked through; -1: none yet */
  TunedWin *win;
  double distance;
} PreferMemo;

/* The winner measured at the sizes that v has with these values, or at the nearest sizes of which each is within a factor of 2; NULL: none. */
TunedWin *prefer_nearest(kiln_device *dev, Variant *v, const ExprValue *value, PreferMemo *memo);

void prefer_free(kiln_device *dev);
#endif
