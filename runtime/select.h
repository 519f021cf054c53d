/* select.h - which of an op's files serves the arguments: every candidate is bound; of those of the best target the one that was measured
 * fastest at these sizes wins, or else the cheapest. */
#ifndef KILN_SELECT_H
#define KILN_SELECT_H
#include "bind.h"
#include "prefer.h"

typedef struct Selection {
  Variant *variant;
  bool tuned;              /* a measurement decided */
  const TunedWin *missing; /* a measured winner nearer to these sizes, which no added file has */
} Selection;

/* Under the device's lock. The winner with its binding, or the refusal of the candidate that came closest, with the message. */
kiln_status select_variant(kiln_device *dev, const char *op, const ArgView *views, int nviews, const kiln_plan_options *options,
                           Selection *out, Binding *binding);
#endif
