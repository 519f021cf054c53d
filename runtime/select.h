/* select.h - which of an op's files serves the arguments: every candidate is bound, the cheapest of the best target wins. */
#ifndef KILN_SELECT_H
#define KILN_SELECT_H
#include "bind.h"

/* Under the device's lock. The winner with its binding, or the refusal of the candidate that came closest, with the message. */
kiln_status select_variant(const kiln_device *dev, const char *op, const ArgView *views, int nviews,
                           const kiln_plan_options *options, Variant **out, Binding *binding);
#endif
