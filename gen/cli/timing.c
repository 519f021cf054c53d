/* timing.c - see timing.h. */
#include "timing.h"
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static Spread summarize(double *sample, int n) {
  qsort(sample, (size_t)n, sizeof *sample, by_value);
  return (Spread){sample[n / 2], sample[n / 4], sample[n - 1 - n / 4], n};
}

/* Samples are queued several at a time behind flushes that last longer than the CPU takes to queue one, so that the GPU is never
 * idle in between: neither launch cost nor a clock that has fallen is in them. */
#define FLUSH_BYTES ((size_t)512 << 20)
#define SAMPLES_MAX 200

kiln_status timer_open(Timer *t, const Group *g) {
  kiln_device *dev = g->device.dev;
  memset(t, 0, sizeof *t);
  t->g = g;
  t->batch = g->device.info.simulated ? 1 : TIMER_BATCH;
  kiln_status status = kiln_stream_create(dev, &t->stream);
  for (int i = 0; i < t->batch; i++) {
    if (status == KILN_OK) status = kiln_event_create(dev, &t->start[i]);
    if (status == KILN_OK) status = kiln_event_create(dev, &t->end[i]);
  }
  size_t l2 = (size_t)g->device.info.l2_bytes * 2 + (1 << 20);
  t->flush_bytes = g->device.info.simulated ? 0 : l2 > FLUSH_BYTES ? l2 : FLUSH_BYTES;
  if (status == KILN_OK && t->flush_bytes) status = kiln_malloc(dev, &t->flush, t->flush_bytes);
  return status;
}

void timer_close(Timer *t) {
  kiln_device *dev = t->g->device.dev;
  kiln_free(dev, t->flush);
  for (int i = 0; i < t->batch; i++) {
    kiln_event_destroy(dev, t->start[i]);
    kiln_event_destroy(dev, t->end[i]);
  }
  kiln_stream_destroy(dev, t->stream);
}

static kiln_status time_batch(Timer *t, WorkFn work, void *user, double *ns) {
  kiln_device *dev = t->g->device.dev;
  kiln_status status = KILN_OK;
  for (int i = 0; i < t->batch && status == KILN_OK; i++) {
    if (t->flush_bytes) status = kiln_fill(dev, t->flush, 0, t->flush_bytes, t->stream);
    if (status == KILN_OK) status = kiln_event_record(dev, t->start[i], t->stream);
    if (status == KILN_OK) status = work(user, t->stream);
    if (status == KILN_OK) status = kiln_event_record(dev, t->end[i], t->stream);
  }
  for (int i = 0; i < t->batch && status == KILN_OK; i++) status = kiln_event_elapsed(dev, t->start[i], t->end[i], &ns[i]);
  return status;
}

/* Until a third of a second is spent, at least 11 and at most SAMPLES_MAX times; the first launches only warm up. */
kiln_status timer_measure(Timer *t, WorkFn work, void *user, Spread *out) {
  double sample[SAMPLES_MAX + TIMER_BATCH], spent = 0, warm[TIMER_BATCH];
  bool simulated = t->g->device.info.simulated;
  int n = 0, least = simulated ? 1 : 11;
  kiln_status status = simulated ? KILN_OK : time_batch(t, work, user, warm);
  while (status == KILN_OK && n < SAMPLES_MAX && (n < least || spent < 3.3e8)) {
    DeviceCounters before, after;
    bool counted = simulated && device_counters(&t->g->device, &before);
    status = time_batch(t, work, user, &sample[n]);
    if (counted && device_counters(&t->g->device, &after)) sample[n] = (after.seconds - before.seconds) * 1e9;
    for (int i = 0; i < t->batch; i++) spent += sample[n++];
  }
  if (status == KILN_OK) *out = summarize(sample, n);
  return status;
}

typedef struct Launch { const kiln_plan *plan; kiln_call call; } Launch;
static kiln_status work_launch(void *user, void *stream) {
  Launch *l = user;
  return kiln_launch(l->plan, &l->call, stream);
}

kiln_status timer_launches(Timer *t, const CaseData *d, const kiln_plan *plan, Timed *out) {
  const Group *g = t->g;
  kiln_plan_info info;
  void *pointers[DEF_MAX_TENSORS] = {0}, *workspace = NULL;
  kiln_status status = kiln_plan_query(plan, &info);
  if (status != KILN_OK) return status;
  tensors_pointers(d, plan, info.ntensors < DEF_MAX_TENSORS ? info.ntensors : DEF_MAX_TENSORS, pointers);
  if (info.workspace_bytes) status = kiln_malloc(g->device.dev, &workspace, info.workspace_bytes);
  kiln_scalar scalars[8];
  tensors_scalars(d, plan, info.nscalars < 8 ? info.nscalars : 8, scalars);
  Launch launch = {plan, {.pointers = pointers, .scalars = scalars, .workspace = workspace}};
  DeviceCounters before, after;
  bool counted = device_counters(&g->device, &before);
  if (status == KILN_OK) status = timer_measure(t, work_launch, &launch, &out->launch);
  out->counted = status == KILN_OK && counted && device_counters(&g->device, &after);
  if (out->counted) { /* every launch executes the same, in all its steps */
    double n = out->launch.n;
    out->counters = (DeviceCounters){(after.lane_instructions - before.lane_instructions) / n,
                                     (after.warp_instructions - before.warp_instructions) / n,
                                     (after.tensor_macs - before.tensor_macs) / n, out->launch.median * 1e-9};
  }
  kiln_free(g->device.dev, workspace);
  return status;
}
