/* reason.h - why a variant costs what it costs: the parts of its contract's cost line with their values. For people; only the command asks. */
#ifndef KILN_REASON_H
#define KILN_REASON_H
#include "kiln.h"

typedef enum ReasonKind {
  REASON_TERM,  /* a summand of the cost, in ns */
  REASON_CALL,  /* a call inside it: ceildiv(tiles,sms) are the waves */
  REASON_NAME,  /* a name that it reads */
  REASON_BYTES, /* the contract's bytes line; then its flop line */
  REASON_FLOP,
} ReasonKind;

/* text of `bytes` bytes: as the contract has it. */
typedef void (*ReasonFn)(void *user, ReasonKind kind, const char *text, size_t bytes, double value);

/* Of one variant by its name, for these arguments; a variant without the line gives none. Statuses as kiln_plan_create_with's, before loading. */
kiln_status reason_cost(kiln_device *dev, const char *op, const kiln_arg *args, int nargs, const char *variant, ReasonFn fn, void *user);
#endif
