/* api_stream.c - driver entry points: streams beyond their making. Work is done when it is asked for, so that a stream never has any
 * pending: what asks to be called after it is called at once. */
#include "api.h"
#include <stdint.h>

DRV_EXPORT DrvResult cuStreamCreateWithPriority(DrvStream *stream, unsigned flags, int priority) {
  (void)priority; /* clamped to the only one */
  return cuStreamCreate(stream, flags);
}

static DrvResult about_stream(DrvStream stream, void *out, SimDevice **d) {
  *d = sim_current_device();
  if (!out) return DRV_INVALID_VALUE;
  if (!*d) return DRV_INVALID_CONTEXT;
  return sim_stream_ok(stream) ? DRV_SUCCESS : DRV_INVALID_HANDLE;
}

static bool is_own(DrvStream stream) { return stream && stream != DRV_STREAM_LEGACY && stream != DRV_STREAM_PER_THREAD; }

#define ASK(type, name, value)                                                                                         \
  DRV_EXPORT DrvResult name(DrvStream stream, type *out) {                                                             \
    sim_enter();                                                                                                       \
    SimDevice *d;                                                                                                      \
    DrvResult code = about_stream(stream, out, &d);                                                                    \
    if (!code) *out = value;                                                                                           \
    return sim_leave(code);                                                                                            \
  }
ASK(int, cuStreamGetPriority, 0)
ASK(unsigned, cuStreamGetFlags, is_own(stream) ? stream->flags : 0)
ASK(DrvContext, cuStreamGetCtx, is_own(stream) ? stream->ctx : sim_current())
ASK(unsigned long long, cuStreamGetId, (unsigned long long)(uintptr_t)stream)
ASK(unsigned, cuStreamIsCapturing, 0)
ASK(int, cuStreamGetDevice, d->ordinal)

/* Called without the lock: the function may do what a stream's functions may not, and should say so itself. */
DRV_EXPORT DrvResult cuLaunchHostFunc(DrvStream stream, void (*function)(void *), void *user) {
  sim_enter();
  bool ok = function && sim_stream_ok(stream);
  DrvResult code = !function ? DRV_INVALID_VALUE : ok ? DRV_SUCCESS : DRV_INVALID_HANDLE;
  sim_leave(code);
  if (ok) function(user);
  return code;
}

DRV_EXPORT DrvResult cuStreamAddCallback(DrvStream stream, void (*function)(DrvStream, DrvResult, void *), void *user, unsigned flags) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  if (!function || flags) return sim_leave(sim_say(DRV_INVALID_VALUE, "cuStreamAddCallback takes a function and flags 0"));
  if (!sim_stream_ok(stream)) return sim_leave(DRV_INVALID_HANDLE);
  DrvResult failed = d->pending; /* a launch before it may have failed */
  sim_leave(DRV_SUCCESS);
  function(stream, failed, user);
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuEventRecordWithFlags(DrvEvent event, DrvStream stream, unsigned flags) {
  if (flags > 1) return DRV_INVALID_VALUE; /* 1: an event of another capture */
  return cuEventRecord(event, stream);
}

DRV_EXPORT DrvResult cuEventElapsedTime_v2(float *ms, DrvEvent start, DrvEvent end) { return cuEventElapsedTime(ms, start, end); }
