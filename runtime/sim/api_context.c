/* api_context.c - driver entry points: library, devices, contexts, streams, events. Everything runs at once and in order, so that
 * streams and events only keep the books. */
#include "api.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Thread_local struct CUctx_st *stack[SIM_MAX_STACK];
static _Thread_local int depth;

DRV_EXPORT DrvResult cuInit(unsigned flags) {
  sim_enter();
  if (flags) return sim_leave(sim_say(DRV_INVALID_VALUE, "cuInit takes flags 0"));
  DrvResult code = sim_device_default();
  if (!code && !sim_state.ready) sim_report_hand('d', sim_state.device[0]->target->name);
  if (!code) sim_state.ready = true;
  return sim_leave(code);
}

DRV_EXPORT DrvResult cuDriverGetVersion(int *version) {
  if (!version) return DRV_INVALID_VALUE;
  *version = 13000;
  return DRV_SUCCESS;
}

static DrvResult ready(void) { return sim_state.ready ? DRV_SUCCESS : sim_say(DRV_NOT_INITIALIZED, "cuInit has not been called"); }

DRV_EXPORT DrvResult cuDeviceGetCount(int *count) {
  sim_enter();
  if (!count) return sim_leave(DRV_INVALID_VALUE);
  DrvResult code = ready();
  *count = sim_state.ndevices;
  return sim_leave(code);
}

DRV_EXPORT DrvResult cuDeviceGet(DrvDevice *device, int ordinal) {
  sim_enter();
  if (!device) return sim_leave(DRV_INVALID_VALUE);
  if (ready()) return sim_leave(DRV_NOT_INITIALIZED);
  if (!sim_device_at(ordinal)) return sim_leave(DRV_INVALID_DEVICE);
  *device = ordinal;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDeviceGetName(char *name, int bytes, DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!name || bytes <= 0) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  snprintf(name, (size_t)bytes, "kiln simulator %s", d->target->name);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDeviceGetUuid(unsigned char *uuid, DrvDevice device) { /* 16 bytes */
  sim_enter();
  if (!uuid) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_device_at(device)) return sim_leave(DRV_INVALID_DEVICE);
  memcpy(uuid, "kiln-simulator\0", 15);
  uuid[15] = (unsigned char)device;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDeviceTotalMem_v2(size_t *bytes, DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!bytes) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  *bytes = d->memory.total_bytes;
  return sim_leave(DRV_SUCCESS);
}

static int attribute_value(const SimDevice *d, unsigned attribute) {
  const SimTarget *t = d->target;
  switch (attribute) {
  case DRV_DEVICE_MAX_THREADS_PER_BLOCK:
  case DRV_DEVICE_MAX_BLOCK_DIM_X:
  case DRV_DEVICE_MAX_BLOCK_DIM_Y: return 1024;
  case DRV_DEVICE_MAX_BLOCK_DIM_Z: return 64;
  case DRV_DEVICE_MAX_GRID_DIM_X: return 2147483647;
  case DRV_DEVICE_MAX_GRID_DIM_Y:
  case DRV_DEVICE_MAX_GRID_DIM_Z: return 65535;
  case DRV_DEVICE_MAX_SHARED_MEMORY_PER_BLOCK: return 49152;
  case DRV_DEVICE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return (int)t->shared_block;
  case DRV_DEVICE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return (int)t->shared_sm;
  case DRV_DEVICE_WARP_SIZE: return SIM_LANES;
  case DRV_DEVICE_CLOCK_RATE: return 1000000;
  case DRV_DEVICE_MEMORY_CLOCK_RATE: return 1000000;
  case DRV_DEVICE_GLOBAL_MEMORY_BUS_WIDTH: return 128 * d->sms; /* so that with any number of SMs memory and tensor cores are to each other as on a GPU */
  case DRV_DEVICE_L2_CACHE_SIZE: return 4 << 20;
  case DRV_DEVICE_MULTIPROCESSOR_COUNT: return d->sms;
  case DRV_DEVICE_MAX_THREADS_PER_MULTIPROCESSOR: return t->threads_sm;
  case DRV_DEVICE_MAX_BLOCKS_PER_MULTIPROCESSOR: return t->ctas_sm;
  case 12: /* registers per block */
  case DRV_DEVICE_MAX_REGISTERS_PER_MULTIPROCESSOR: return 65536;
  case DRV_DEVICE_COMPUTE_CAPABILITY_MAJOR: return t->sm / 10;
  case DRV_DEVICE_COMPUTE_CAPABILITY_MINOR: return t->sm % 10;
  case 41: /* unified addressing */ return 1;
  case DRV_DEVICE_CLUSTER_LAUNCH: return sim_target_clusters(t);
  case DRV_DEVICE_COOPERATIVE_LAUNCH: return 1;
  case 111: /* reserved shared memory per block */ return (int)t->reserved;
  default: return 0; /* what is not simulated is not there */
  }
}

DRV_EXPORT DrvResult cuDeviceGetAttribute(int *value, unsigned attribute, DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!value || attribute == 0 || attribute > 160) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  *value = attribute_value(d, attribute);
  return sim_leave(DRV_SUCCESS);
}

/* ---- contexts ---- */

struct CUctx_st *sim_current(void) {
  struct CUctx_st *c = depth ? stack[depth - 1] : NULL;
  if (c && c->dead) {
    sim_say(DRV_CONTEXT_IS_DESTROYED, "the current context is destroyed");
    return NULL;
  }
  if (!c) sim_say(DRV_INVALID_CONTEXT, "no context is current in this thread");
  return c;
}

SimDevice *sim_current_device(void) {
  struct CUctx_st *c = sim_current();
  return c ? c->dev : NULL;
}

static struct CUctx_st *new_context(SimDevice *d, bool primary) {
  struct CUctx_st *c = sim_new(sizeof *c);
  if (!c) return NULL;
  c->dev = d;
  c->primary = primary;
  if (sim_handle_add(&sim_state.contexts, c)) return c;
  sim_delete(c, sizeof *c);
  return NULL;
}

static void end_modules(SimDevice *d, struct CUctx_st *c) {
  for (uint32_t i = SIM_COUNT(&sim_state.modules, SimModule *); i-- > 0;) {
    SimModule *m = SIM_AT(&sim_state.modules, SimModule *, i);
    if (m->dev != d || m->ctx != c) continue;
    sim_handle_drop(&sim_state.modules, m);
    sim_module_free(m);
  }
}

DRV_EXPORT DrvResult cuDevicePrimaryCtxRetain(DrvContext *context, DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!context) return sim_leave(DRV_INVALID_VALUE);
  if (ready()) return sim_leave(DRV_NOT_INITIALIZED);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  if (!d->primary && !(d->primary = new_context(d, true))) return sim_leave(sim_say(DRV_OUT_OF_MEMORY, "out of memory"));
  d->primary_users++;
  *context = d->primary;
  return sim_leave(DRV_SUCCESS);
}

/* Modules and memory of a context end with it; with the last of them what the device keeps for launches. Memory of other contexts stays. */
static void end_context(SimDevice *d, struct CUctx_st *c) {
  end_modules(d, c);
  bool last = sim_memory_free_of(&d->memory, c);
  for (uint32_t i = 0; i < SIM_COUNT(&sim_state.modules, SimModule *); i++) last = last && SIM_AT(&sim_state.modules, SimModule *, i)->dev != d;
  if (!last) return;
  uint64_t next = d->memory.next_base, serial = d->memory.serial, total = d->memory.total_bytes;
  sim_memory_close(&d->memory);
  d->memory = (SimMemory){.next_base = next, .serial = serial, .total_bytes = total};
  sim_buf_free(&d->forms);
  sim_buf_free(&d->rows);
  for (uint32_t i = 0; i < SIM_COUNT(&d->blocks, SimBlock); i++) sim_delete(SIM_AT(&d->blocks, SimBlock, i).at, SIM_AT(&d->blocks, SimBlock, i).bytes);
  sim_buf_free(&d->blocks);
}

/* The context itself stays for the next retain. */
DRV_EXPORT DrvResult cuDevicePrimaryCtxRelease_v2(DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  if (!d->primary_users) return sim_leave(sim_say(DRV_INVALID_CONTEXT, "the primary context is not retained"));
  if (--d->primary_users == 0) {
    end_context(d, d->primary);
    d->pending = DRV_SUCCESS;
  }
  return sim_leave(DRV_SUCCESS);
}

static DrvResult push(struct CUctx_st *c) {
  if (c->dead) return sim_say(DRV_CONTEXT_IS_DESTROYED, "the context is destroyed");
  if (depth == SIM_MAX_STACK) return sim_say(DRV_OUT_OF_MEMORY, "more than %d contexts pushed", SIM_MAX_STACK);
  stack[depth++] = c;
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuCtxCreate_v2(DrvContext *context, unsigned flags, DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!context) return sim_leave(DRV_INVALID_VALUE);
  if (ready()) return sim_leave(DRV_NOT_INITIALIZED);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  struct CUctx_st *c = new_context(d, false);
  if (!c) return sim_leave(sim_say(DRV_OUT_OF_MEMORY, "out of memory"));
  c->flags = flags;
  *context = c;
  return sim_leave(push(c));
}

DRV_EXPORT DrvResult cuCtxDestroy_v2(DrvContext context) {
  sim_enter();
  if (!sim_handle_known(&sim_state.contexts, context) || context->primary || context->dead)
    return sim_leave(sim_say(DRV_INVALID_CONTEXT, "no context that can be destroyed"));
  end_context(context->dev, context);
  context->dead = true; /* other threads may still have it on their stacks */
  if (depth && stack[depth - 1] == context) depth--;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxPushCurrent_v2(DrvContext context) {
  sim_enter();
  if (!sim_handle_known(&sim_state.contexts, context)) return sim_leave(sim_say(DRV_INVALID_CONTEXT, "no such context"));
  return sim_leave(push(context));
}

DRV_EXPORT DrvResult cuCtxPopCurrent_v2(DrvContext *context) {
  sim_enter();
  if (!depth) return sim_leave(sim_say(DRV_INVALID_CONTEXT, "no context is current in this thread"));
  depth--;
  if (context) *context = stack[depth];
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxGetCurrent(DrvContext *context) {
  if (!context) return DRV_INVALID_VALUE;
  *context = depth ? stack[depth - 1] : NULL;
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuCtxSetCurrent(DrvContext context) {
  sim_enter();
  if (context && !sim_handle_known(&sim_state.contexts, context)) return sim_leave(sim_say(DRV_INVALID_CONTEXT, "no such context"));
  if (context && context->dead) return sim_leave(push(context)); /* which says so */
  if (depth) depth--;
  return sim_leave(context ? push(context) : DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxGetDevice(DrvDevice *device) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!device) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  *device = d->ordinal;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxSynchronize(void) {
  sim_enter();
  SimDevice *d = sim_current_device();
  return sim_leave(d ? sim_pending(d) : DRV_INVALID_CONTEXT);
}

/* ---- streams and events ---- */

bool sim_stream_ok(DrvStream s) {
  if (s == NULL || s == DRV_STREAM_LEGACY || s == DRV_STREAM_PER_THREAD || sim_handle_known(&sim_state.streams, s)) return true;
  sim_say(DRV_INVALID_HANDLE, "no such stream");
  return false;
}

bool sim_stream_of(DrvStream s, const SimDevice *dev) {
  if (s == NULL || s == DRV_STREAM_LEGACY || s == DRV_STREAM_PER_THREAD || s->dev == dev) return true;
  sim_say(DRV_INVALID_HANDLE, "the stream belongs to device %d, not to device %d", s->dev->ordinal, dev->ordinal);
  return false;
}

DRV_EXPORT DrvResult cuStreamCreate(DrvStream *stream, unsigned flags) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!stream) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  struct CUstream_st *s = sim_new(sizeof *s);
  if (!s || !sim_handle_add(&sim_state.streams, s)) {
    sim_delete(s, sizeof *s);
    return sim_leave(sim_say(DRV_OUT_OF_MEMORY, "out of memory"));
  }
  *s = (struct CUstream_st){d, sim_current(), flags};
  *stream = s;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuStreamDestroy_v2(DrvStream stream) {
  sim_enter();
  if (!sim_handle_known(&sim_state.streams, stream)) return sim_leave(sim_say(DRV_INVALID_HANDLE, "no such stream"));
  sim_handle_drop(&sim_state.streams, stream);
  sim_delete(stream, sizeof *stream);
  return sim_leave(DRV_SUCCESS);
}

static DrvResult stream_done(DrvStream stream) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  return sim_leave(sim_stream_ok(stream) ? sim_pending(d) : DRV_INVALID_HANDLE);
}
DRV_EXPORT DrvResult cuStreamSynchronize(DrvStream stream) { return stream_done(stream); }
DRV_EXPORT DrvResult cuStreamQuery(DrvStream stream) { return stream_done(stream); }

DRV_EXPORT DrvResult cuStreamWaitEvent(DrvStream stream, DrvEvent event, unsigned flags) {
  sim_enter();
  (void)flags;
  bool ok = sim_stream_ok(stream) && sim_handle_known(&sim_state.events, event);
  return sim_leave(ok ? DRV_SUCCESS : DRV_INVALID_HANDLE);
}

DRV_EXPORT DrvResult cuEventCreate(DrvEvent *event, unsigned flags) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!event) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  struct CUevent_st *e = sim_new(sizeof *e);
  if (!e || !sim_handle_add(&sim_state.events, e)) {
    sim_delete(e, sizeof *e);
    return sim_leave(sim_say(DRV_OUT_OF_MEMORY, "out of memory"));
  }
  e->dev = d;
  e->untimed = flags & DRV_EVENT_DISABLE_TIMING;
  *event = e;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuEventDestroy_v2(DrvEvent event) {
  sim_enter();
  if (!sim_handle_known(&sim_state.events, event)) return sim_leave(sim_say(DRV_INVALID_HANDLE, "no such event"));
  sim_handle_drop(&sim_state.events, event);
  sim_delete(event, sizeof *event);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuEventRecord(DrvEvent event, DrvStream stream) {
  sim_enter();
  bool ok = sim_stream_ok(stream) && sim_handle_known(&sim_state.events, event) && sim_stream_of(stream, event->dev);
  if (!ok) return sim_leave(DRV_INVALID_HANDLE);
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  event->seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
  event->recorded = true;
  return sim_leave(DRV_SUCCESS);
}

static DrvResult event_done(DrvEvent event) {
  sim_enter();
  if (!sim_handle_known(&sim_state.events, event)) return sim_leave(sim_say(DRV_INVALID_HANDLE, "no such event"));
  return sim_leave(sim_pending(event->dev));
}
DRV_EXPORT DrvResult cuEventSynchronize(DrvEvent event) { return event_done(event); }
DRV_EXPORT DrvResult cuEventQuery(DrvEvent event) { return event_done(event); }

DRV_EXPORT DrvResult cuEventElapsedTime(float *ms, DrvEvent start, DrvEvent end) {
  sim_enter();
  if (!ms) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_handle_known(&sim_state.events, start) || !sim_handle_known(&sim_state.events, end) || !start->recorded || !end->recorded ||
      start->untimed || end->untimed)
    return sim_leave(sim_say(DRV_INVALID_HANDLE, "both events must be recorded, and keep times"));
  *ms = (float)(1e3 * (end->seconds - start->seconds));
  return sim_leave(DRV_SUCCESS);
}
