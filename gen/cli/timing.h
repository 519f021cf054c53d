/* timing.h - the time of a plan's launches on a GPU; on the simulator, what they executed. */
#ifndef KILN_CLI_TIMING_H
#define KILN_CLI_TIMING_H
#include "variants.h"

typedef struct Spread { double median, low, high; int n; } Spread; /* ns; low and high: the quartiles */

enum { TIMER_BATCH = 8 };
typedef struct Timer {
  const Group *g;
  void *stream, *start[TIMER_BATCH], *end[TIMER_BATCH];
  void *flush; /* larger than the level-two cache, and written before each sample; NULL on the simulator */
  size_t flush_bytes;
  int batch;
} Timer;
kiln_status timer_open(Timer *t, const Group *g);
void timer_close(Timer *t); /* also after a failed timer_open */

typedef kiln_status (*WorkFn)(void *user, void *stream);
kiln_status timer_measure(Timer *t, WorkFn work, void *user, Spread *out);

typedef struct Timed {
  Spread launch;
  bool counted;
  DeviceCounters counters; /* per launch */
} Timed;
/* A case whose tensors lie on the device. */
kiln_status timer_launches(Timer *t, const CaseData *d, const kiln_plan *plan, Timed *out);
#endif
