/* memory.c - memory, streams and events of a device: each a driver call in the device's context. */
#include "device.h"
#include "error.h"

/* The calls differ only in name and arguments; what surrounds them is here once. */
#define CHECK_DEVICE(dev, call) \
  if (!(dev)) return error_set(KILN_BAD_CALL, call ": dev is NULL")
#define IN_CONTEXT(dev, name, ...)                                      \
  do {                                                                  \
    DeviceScope scope_;                                                 \
    kiln_status s_ = device_enter((dev), &scope_);                      \
    if (s_) return s_;                                                  \
    s_ = device_result((dev), (dev)->driver->name(__VA_ARGS__), #name); \
    device_leave((dev), &scope_);                                       \
    return s_;                                                          \
  } while (0)

static DrvPtr address(const void *ptr) { return (DrvPtr)(uintptr_t)ptr; }

static kiln_status call_alloc(kiln_device *dev, DrvPtr *out, size_t bytes) { IN_CONTEXT(dev, cuMemAlloc_v2, out, bytes); }

kiln_status kiln_malloc(kiln_device *dev, void **out, size_t bytes) {
  if (out) *out = NULL;
  CHECK_DEVICE(dev, "kiln_malloc");
  if (!out) return error_set(KILN_BAD_CALL, "kiln_malloc: out is NULL");
  if (bytes == 0) return KILN_OK;
  DrvPtr ptr = 0;
  kiln_status s = call_alloc(dev, &ptr, bytes);
  if (s == KILN_NO_DEVICE_MEMORY)
    return error_set(s, "kiln_malloc: %zu bytes on %s, which has %llu in all: out of device memory", bytes, dev->info.name,
                     (unsigned long long)dev->info.memory_bytes);
  if (!s) *out = (void *)(uintptr_t)ptr;
  return s;
}

kiln_status kiln_free(kiln_device *dev, void *ptr) {
  CHECK_DEVICE(dev, "kiln_free");
  if (!ptr) return KILN_OK;
  IN_CONTEXT(dev, cuMemFree_v2, address(ptr));
}

kiln_status kiln_upload(kiln_device *dev, void *to, const void *from, size_t bytes) {
  CHECK_DEVICE(dev, "kiln_upload");
  if (bytes == 0) return KILN_OK;
  if (!to || !from) return error_set(KILN_BAD_CALL, "kiln_upload: %s is NULL", to ? "from" : "to");
  IN_CONTEXT(dev, cuMemcpyHtoD_v2, address(to), from, bytes);
}

kiln_status kiln_download(kiln_device *dev, void *to, const void *from, size_t bytes) {
  CHECK_DEVICE(dev, "kiln_download");
  if (bytes == 0) return KILN_OK;
  if (!to || !from) return error_set(KILN_BAD_CALL, "kiln_download: %s is NULL", to ? "from" : "to");
  IN_CONTEXT(dev, cuMemcpyDtoH_v2, to, address(from), bytes);
}

kiln_status kiln_copy(kiln_device *dev, void *to, const void *from, size_t bytes, void *stream) {
  CHECK_DEVICE(dev, "kiln_copy");
  if (bytes == 0) return KILN_OK;
  if (!to || !from) return error_set(KILN_BAD_CALL, "kiln_copy: %s is NULL", to ? "from" : "to");
  IN_CONTEXT(dev, cuMemcpyDtoDAsync_v2, address(to), address(from), bytes, (DrvStream)stream);
}

kiln_status kiln_fill(kiln_device *dev, void *to, unsigned char value, size_t bytes, void *stream) {
  CHECK_DEVICE(dev, "kiln_fill");
  if (bytes == 0) return KILN_OK;
  if (!to) return error_set(KILN_BAD_CALL, "kiln_fill: to is NULL");
  IN_CONTEXT(dev, cuMemsetD8Async, address(to), value, bytes, (DrvStream)stream);
}

kiln_status kiln_sync(kiln_device *dev) {
  CHECK_DEVICE(dev, "kiln_sync");
  IN_CONTEXT(dev, cuCtxSynchronize);
}

kiln_status kiln_stream_create(kiln_device *dev, void **out) {
  if (out) *out = NULL;
  CHECK_DEVICE(dev, "kiln_stream_create");
  if (!out) return error_set(KILN_BAD_CALL, "kiln_stream_create: out is NULL");
  IN_CONTEXT(dev, cuStreamCreate, (DrvStream *)out, DRV_STREAM_NON_BLOCKING);
}

kiln_status kiln_stream_destroy(kiln_device *dev, void *stream) {
  CHECK_DEVICE(dev, "kiln_stream_destroy");
  if (!stream) return KILN_OK;
  IN_CONTEXT(dev, cuStreamDestroy_v2, (DrvStream)stream);
}

kiln_status kiln_stream_sync(kiln_device *dev, void *stream) {
  CHECK_DEVICE(dev, "kiln_stream_sync");
  IN_CONTEXT(dev, cuStreamSynchronize, (DrvStream)stream);
}

kiln_status kiln_event_create(kiln_device *dev, void **out) {
  if (out) *out = NULL;
  CHECK_DEVICE(dev, "kiln_event_create");
  if (!out) return error_set(KILN_BAD_CALL, "kiln_event_create: out is NULL");
  IN_CONTEXT(dev, cuEventCreate, (DrvEvent *)out, DRV_EVENT_DEFAULT);
}

kiln_status kiln_event_destroy(kiln_device *dev, void *event) {
  CHECK_DEVICE(dev, "kiln_event_destroy");
  if (!event) return KILN_OK;
  IN_CONTEXT(dev, cuEventDestroy_v2, (DrvEvent)event);
}

kiln_status kiln_event_record(kiln_device *dev, void *event, void *stream) {
  CHECK_DEVICE(dev, "kiln_event_record");
  if (!event) return error_set(KILN_BAD_CALL, "kiln_event_record: event is NULL");
  IN_CONTEXT(dev, cuEventRecord, (DrvEvent)event, (DrvStream)stream);
}

static kiln_status call_event_sync(kiln_device *dev, void *event) { IN_CONTEXT(dev, cuEventSynchronize, (DrvEvent)event); }

static kiln_status call_event_elapsed(kiln_device *dev, float *ms, void *start, void *end) {
  IN_CONTEXT(dev, cuEventElapsedTime, ms, (DrvEvent)start, (DrvEvent)end);
}

kiln_status kiln_event_elapsed(kiln_device *dev, void *start, void *end, double *ns) {
  if (ns) *ns = 0;
  CHECK_DEVICE(dev, "kiln_event_elapsed");
  if (!start || !end || !ns)
    return error_set(KILN_BAD_CALL, "kiln_event_elapsed: %s is NULL", !start ? "start" : !end ? "end" : "ns");
  float ms = 0;
  kiln_status s = call_event_sync(dev, end);
  if (!s) s = call_event_elapsed(dev, &ms, start, end);
  if (!s) *ns = (double)ms * 1e6;
  return s;
}
