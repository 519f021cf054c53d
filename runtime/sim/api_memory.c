/* api_memory.c - driver entry points: memory of the device, copies, fills, pointers. Whatever a copy or fill writes counts as written
 * for the check of uninitialised reads; a copy of unwritten bytes between device buffers carries that along. */
#include "api.h"
#include <string.h>

DRV_EXPORT DrvResult cuMemAlloc_v2(DrvPtr *ptr, size_t bytes) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!ptr) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  uint64_t base = 0;
  DrvResult code = sim_memory_alloc(&d->memory, bytes, &base);
  if (code) return sim_leave(sim_say(code, bytes ? "out of memory: %zu bytes asked for" : "an allocation needs at least one byte (%zu)", bytes));
  SimAlloc *a = sim_memory_find(&d->memory, base);
  a->owner = sim_current();
  if (!d->checks) atomic_store(&a->all_init, true);
  *ptr = base;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuMemFree_v2(DrvPtr ptr) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  if (ptr == 0) return sim_leave(DRV_SUCCESS);
  SimAlloc *a = sim_memory_find(&d->memory, ptr);
  DrvResult code = a && !a->owner ? DRV_INVALID_VALUE : sim_memory_free(&d->memory, ptr); /* a module's array is not the program's to free */
  return sim_leave(code ? sim_say(code, "0x%llx is not the start of a live allocation", ptr) : code);
}

DRV_EXPORT DrvResult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!free_bytes || !total) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  *total = d->memory.total_bytes;
  *free_bytes = d->memory.total_bytes - d->memory.live_bytes;
  return sim_leave(DRV_SUCCESS);
}

/* The device's bytes at ptr, all of them live; NULL with the message otherwise. */
static char *device_bytes(SimDevice *d, DrvPtr ptr, size_t bytes, SimAlloc **a) {
  *a = sim_memory_range(&d->memory, ptr, bytes);
  if (*a) return (*a)->host + (ptr - (*a)->base);
  SimAlloc *near = sim_memory_find(&d->memory, ptr);
  if (near)
    sim_say(DRV_INVALID_VALUE, "%zu bytes at offset %llu of allocation %llu, which %s %llu bytes", bytes,
            (unsigned long long)(ptr - near->base), (unsigned long long)near->serial, near->freed ? "is freed and had" : "has",
            (unsigned long long)near->bytes);
  else sim_say(DRV_INVALID_VALUE, "0x%llx is no device address", ptr);
  return NULL;
}

static void wrote(SimAlloc *a, uint64_t addr, uint64_t bytes) {
  sim_memory_mark(a, addr, bytes);
  sim_memory_settle(a);
}

static DrvResult to_device(SimDevice *d, DrvPtr to, const void *from, size_t bytes) {
  SimAlloc *a;
  if (bytes == 0) return DRV_SUCCESS;
  char *p = from ? device_bytes(d, to, bytes, &a) : NULL;
  if (!p) return DRV_INVALID_VALUE;
  memcpy(p, from, bytes);
  wrote(a, to, bytes);
  return DRV_SUCCESS;
}

static DrvResult to_host(SimDevice *d, void *to, DrvPtr from, size_t bytes) {
  SimAlloc *a;
  if (bytes == 0) return DRV_SUCCESS;
  char *p = to ? device_bytes(d, from, bytes, &a) : NULL;
  if (!p) return DRV_INVALID_VALUE;
  memcpy(to, p, bytes);
  return DRV_SUCCESS;
}

static DrvResult on_device(SimDevice *d, DrvPtr to, DrvPtr from, size_t bytes) {
  SimAlloc *a, *b;
  if (bytes == 0) return DRV_SUCCESS;
  char *p = device_bytes(d, to, bytes, &a), *q = p ? device_bytes(d, from, bytes, &b) : NULL;
  if (!q) return DRV_INVALID_VALUE;
  memmove(p, q, bytes);
  uint64_t bad;
  if (sim_memory_written(b, from, bytes, &bad)) wrote(a, to, bytes);
  else
    for (size_t i = 0; i < bytes; i++)
      if (sim_memory_written(b, from + i, 1, &bad)) sim_memory_mark(a, to + i, 1);
  return DRV_SUCCESS;
}

#define WITH_DEVICE(stream, call)                                                                                      \
  sim_enter();                                                                                                         \
  SimDevice *d = sim_current_device();                                                                                 \
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);                                                                       \
  if (!sim_stream_ok(stream)) return sim_leave(DRV_INVALID_HANDLE);                                                    \
  DrvResult code = call;                                                                                               \
  return sim_leave(code)

DRV_EXPORT DrvResult cuMemcpyHtoD_v2(DrvPtr to, const void *from, size_t bytes) { WITH_DEVICE(NULL, to_device(d, to, from, bytes)); }
DRV_EXPORT DrvResult cuMemcpyDtoH_v2(void *to, DrvPtr from, size_t bytes) { WITH_DEVICE(NULL, to_host(d, to, from, bytes)); }
DRV_EXPORT DrvResult cuMemcpyDtoD_v2(DrvPtr to, DrvPtr from, size_t bytes) { WITH_DEVICE(NULL, on_device(d, to, from, bytes)); }
DRV_EXPORT DrvResult cuMemcpyHtoDAsync_v2(DrvPtr to, const void *from, size_t bytes, DrvStream stream) {
  WITH_DEVICE(stream, to_device(d, to, from, bytes));
}
DRV_EXPORT DrvResult cuMemcpyDtoHAsync_v2(void *to, DrvPtr from, size_t bytes, DrvStream stream) {
  WITH_DEVICE(stream, to_host(d, to, from, bytes));
}
DRV_EXPORT DrvResult cuMemcpyDtoDAsync_v2(DrvPtr to, DrvPtr from, size_t bytes, DrvStream stream) {
  WITH_DEVICE(stream, on_device(d, to, from, bytes));
}

/* Unified: an address of the device's window is the device's, any other the host's. */
static DrvResult copy_any(SimDevice *d, DrvPtr to, DrvPtr from, size_t bytes) {
  bool to_dev = to >= SIM_GLOBAL_BASE, from_dev = from >= SIM_GLOBAL_BASE;
  if (to_dev && from_dev) return on_device(d, to, from, bytes);
  if (to_dev) return to_device(d, to, (const void *)(uintptr_t)from, bytes);
  if (from_dev) return to_host(d, (void *)(uintptr_t)to, from, bytes);
  if (bytes && (!to || !from)) return sim_say(DRV_INVALID_VALUE, "a copy from 0x%llx to 0x%llx", from, to);
  memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
  return DRV_SUCCESS;
}
DRV_EXPORT DrvResult cuMemcpy(DrvPtr to, DrvPtr from, size_t bytes) { WITH_DEVICE(NULL, copy_any(d, to, from, bytes)); }
DRV_EXPORT DrvResult cuMemcpyAsync(DrvPtr to, DrvPtr from, size_t bytes, DrvStream stream) {
  WITH_DEVICE(stream, copy_any(d, to, from, bytes));
}

static DrvResult fill(SimDevice *d, DrvPtr to, uint32_t value, size_t width, size_t n) {
  SimAlloc *a;
  if (n == 0) return DRV_SUCCESS;
  if (n > SIZE_MAX / width || to % width) return sim_say(DRV_INVALID_VALUE, "the address of a fill must be a multiple of %zu", width);
  char *p = device_bytes(d, to, n * width, &a);
  if (!p) return DRV_INVALID_VALUE;
  if (width == 1) memset(p, (int)value, n);
  else
    for (size_t i = 0; i < n; i++) memcpy(p + i * width, &value, width);
  wrote(a, to, n * width);
  return DRV_SUCCESS;
}
DRV_EXPORT DrvResult cuMemsetD8_v2(DrvPtr to, unsigned char v, size_t n) { WITH_DEVICE(NULL, fill(d, to, v, 1, n)); }
DRV_EXPORT DrvResult cuMemsetD16_v2(DrvPtr to, unsigned short v, size_t n) { WITH_DEVICE(NULL, fill(d, to, v, 2, n)); }
DRV_EXPORT DrvResult cuMemsetD32_v2(DrvPtr to, unsigned v, size_t n) { WITH_DEVICE(NULL, fill(d, to, v, 4, n)); }
DRV_EXPORT DrvResult cuMemsetD8Async(DrvPtr to, unsigned char v, size_t n, DrvStream stream) { WITH_DEVICE(stream, fill(d, to, v, 1, n)); }
DRV_EXPORT DrvResult cuMemsetD16Async(DrvPtr to, unsigned short v, size_t n, DrvStream stream) { WITH_DEVICE(stream, fill(d, to, v, 2, n)); }
DRV_EXPORT DrvResult cuMemsetD32Async(DrvPtr to, unsigned v, size_t n, DrvStream stream) { WITH_DEVICE(stream, fill(d, to, v, 4, n)); }

/* ---- pointers: any device's ---- */

static SimDevice *owner_of(DrvPtr ptr, SimAlloc **a) {
  for (int i = -1; i < sim_state.ndevices; i++) {
    SimDevice *d = i < 0 ? sim_current_device() : sim_state.device[i]; /* the one that it mostly is, first */
    if (!d) return NULL;
    if ((*a = sim_memory_find(&d->memory, ptr)) && !(*a)->freed) return d;
  }
  return NULL;
}

static DrvResult pointer_attribute(void *value, unsigned attribute, DrvPtr ptr) {
  SimAlloc *a;
  SimDevice *d = owner_of(ptr, &a);
  if (!d) return sim_say(DRV_INVALID_VALUE, "0x%llx is no live address of a device", ptr);
  switch (attribute) {
  case DRV_POINTER_MEMORY_TYPE: *(unsigned *)value = DRV_MEMORYTYPE_DEVICE; return DRV_SUCCESS;
  case 3: *(DrvPtr *)value = ptr; return DRV_SUCCESS; /* device pointer */
  case DRV_POINTER_IS_MANAGED: *(unsigned *)value = 0; return DRV_SUCCESS;
  case DRV_POINTER_DEVICE_ORDINAL: *(int *)value = d->ordinal; return DRV_SUCCESS;
  case 11: *(DrvPtr *)value = a->base; return DRV_SUCCESS;       /* start of the range */
  case 12: *(size_t *)value = (size_t)a->bytes; return DRV_SUCCESS; /* its size */
  default: return sim_say(DRV_NOT_SUPPORTED, "pointer attribute %u is not simulated", attribute);
  }
}

DRV_EXPORT DrvResult cuPointerGetAttribute(void *value, unsigned attribute, DrvPtr ptr) {
  sim_enter();
  if (!value) return sim_leave(DRV_INVALID_VALUE);
  return sim_leave(pointer_attribute(value, attribute, ptr));
}

DRV_EXPORT DrvResult cuPointerGetAttributes(unsigned n, unsigned *attributes, void **values, DrvPtr ptr) {
  sim_enter();
  if (!attributes || !values) return sim_leave(DRV_INVALID_VALUE);
  for (unsigned i = 0; i < n; i++) {
    DrvResult code = values[i] ? pointer_attribute(values[i], attributes[i], ptr) : DRV_INVALID_VALUE;
    if (code) return sim_leave(code);
  }
  return sim_leave(DRV_SUCCESS);
}
