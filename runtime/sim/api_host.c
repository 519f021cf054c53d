/* api_host.c - driver entry points: memory of the host, pitched memory, copies and fills of two dimensions. Kernels do not see host
 * memory: what maps it (managed memory, device pointers of host memory) is refused. */
#include "api.h"
#include <stdlib.h>
#include <string.h>

typedef struct HostBlock { void *at; size_t bytes; unsigned flags; bool registered; } HostBlock;

static HostBlock *find_block(const void *p) {
  for (uint32_t i = 0; i < SIM_COUNT(&sim_state.host, HostBlock); i++)
    if (SIM_AT(&sim_state.host, HostBlock, i).at == p) return &SIM_AT(&sim_state.host, HostBlock, i);
  sim_say(DRV_INVALID_VALUE, "%p is no memory of cuMemAllocHost, cuMemHostAlloc or cuMemHostRegister", p);
  return NULL;
}

static void drop_block(HostBlock *b) {
  *b = SIM_AT(&sim_state.host, HostBlock, SIM_COUNT(&sim_state.host, HostBlock) - 1);
  sim_state.host.n -= sizeof *b;
  if (!sim_state.host.n) sim_buf_free(&sim_state.host);
}

static DrvResult alloc_host(void **p, size_t bytes, unsigned flags) {
  if (!p) return DRV_INVALID_VALUE;
  if (!sim_current()) return DRV_INVALID_CONTEXT;
  if (bytes == 0) return sim_say(DRV_INVALID_VALUE, "an allocation needs at least one byte");
  HostBlock *b = sim_push(&sim_state.host, sizeof *b);
  void *at = b ? sim_new(bytes) : NULL;
  if (!at) {
    if (b) sim_state.host.n -= sizeof *b;
    if (b && !sim_state.host.n) sim_buf_free(&sim_state.host);
    return sim_say(DRV_OUT_OF_MEMORY, "out of memory: %zu bytes of the host asked for", bytes);
  }
  *b = (HostBlock){at, bytes, flags, false};
  *p = at;
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuMemAllocHost_v2(void **p, size_t bytes) {
  sim_enter();
  return sim_leave(alloc_host(p, bytes, 0));
}
DRV_EXPORT DrvResult cuMemHostAlloc(void **p, size_t bytes, unsigned flags) {
  sim_enter();
  return sim_leave(flags > 7 ? DRV_INVALID_VALUE : alloc_host(p, bytes, flags));
}

DRV_EXPORT DrvResult cuMemFreeHost(void *p) {
  sim_enter();
  HostBlock *b = p ? find_block(p) : NULL;
  if (!p) return sim_leave(DRV_SUCCESS);
  if (!b || b->registered) return sim_leave(DRV_INVALID_VALUE);
  sim_delete(b->at, b->bytes);
  drop_block(b);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuMemHostRegister_v2(void *p, size_t bytes, unsigned flags) {
  sim_enter();
  if (!p || !bytes) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_current()) return sim_leave(DRV_INVALID_CONTEXT);
  if (find_block(p)) return sim_leave(sim_say(712, "%p is registered already", p)); /* host memory already registered */
  HostBlock *b = sim_push(&sim_state.host, sizeof *b);
  if (!b) return sim_leave(sim_say(DRV_OUT_OF_MEMORY, "out of memory"));
  *b = (HostBlock){p, bytes, flags, true};
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuMemHostUnregister(void *p) {
  sim_enter();
  HostBlock *b = find_block(p);
  if (!b || !b->registered) return sim_leave(sim_say(713, "%p is not registered", p)); /* host memory not registered */
  drop_block(b);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuMemHostGetFlags(unsigned *flags, void *p) {
  sim_enter();
  HostBlock *b = flags ? find_block(p) : NULL;
  if (!b) return sim_leave(DRV_INVALID_VALUE);
  *flags = b->flags;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuMemHostGetDevicePointer_v2(DrvPtr *ptr, void *p, unsigned flags) {
  (void)ptr, (void)p, (void)flags;
  return sim_refuse("cuMemHostGetDevicePointer: kernels on the simulator do not see host memory; copy it");
}
DRV_EXPORT DrvResult cuMemAllocManaged(DrvPtr *ptr, size_t bytes, unsigned flags) {
  (void)ptr, (void)bytes, (void)flags;
  return sim_refuse("cuMemAllocManaged: managed memory is not simulated; use cuMemAlloc and copies");
}

/* ---- memory of the device ---- */

DRV_EXPORT DrvResult cuMemAllocPitch_v2(DrvPtr *ptr, size_t *pitch, size_t width, size_t height, unsigned element_bytes) {
  if (!ptr || !pitch || !width || !height || (element_bytes != 4 && element_bytes != 8 && element_bytes != 16)) return DRV_INVALID_VALUE;
  if (width > SIZE_MAX - 511) return DRV_OUT_OF_MEMORY;
  *pitch = (width + 511) / 512 * 512;
  return height > SIZE_MAX / *pitch ? DRV_OUT_OF_MEMORY : cuMemAlloc_v2(ptr, *pitch * height);
}

DRV_EXPORT DrvResult cuMemGetAddressRange_v2(DrvPtr *base, size_t *bytes, DrvPtr ptr) {
  sim_enter();
  SimDevice *d = sim_current_device();
  if (!d) return sim_leave(DRV_INVALID_CONTEXT);
  SimAlloc *a = sim_memory_find(&d->memory, ptr);
  if (!a || a->freed) return sim_leave(sim_say(DRV_NOT_FOUND, "0x%llx is no live address of the current device", ptr));
  if (base) *base = a->base;
  if (bytes) *bytes = (size_t)a->bytes;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuMemAllocAsync(DrvPtr *ptr, size_t bytes, DrvStream stream) {
  sim_enter();
  bool ok = sim_stream_ok(stream);
  sim_leave(DRV_SUCCESS);
  return ok ? cuMemAlloc_v2(ptr, bytes) : DRV_INVALID_HANDLE;
}
DRV_EXPORT DrvResult cuMemFreeAsync(DrvPtr ptr, DrvStream stream) {
  sim_enter();
  bool ok = sim_stream_ok(stream);
  sim_leave(DRV_SUCCESS);
  return ok ? cuMemFree_v2(ptr) : DRV_INVALID_HANDLE;
}

/* ---- two dimensions: row by row ---- */

typedef struct Side { size_t x, y; unsigned type; void *host; DrvPtr device; void *array; size_t pitch; } Side; /* as it lies in the ABI's struct */
typedef struct Copy2D { Side from, to; size_t width, height; } Copy2D;

static DrvResult side_address(const Side *s, size_t width, size_t height, DrvPtr *at) {
  bool host = s->type == DRV_MEMORYTYPE_HOST;
  if (!host && s->type != DRV_MEMORYTYPE_DEVICE && s->type != 4) return DRV_NOT_SUPPORTED; /* 4: unified; arrays are not there */
  size_t pitch = s->pitch ? s->pitch : width;
  if (height > 1 && pitch < s->x + width) return DRV_INVALID_VALUE;
  *at = (host ? (DrvPtr)(uintptr_t)s->host : s->device) + s->y * pitch + s->x;
  return DRV_SUCCESS;
}

static DrvResult copy_rows(const Copy2D *c, DrvStream stream) {
  DrvPtr from, to;
  if (!c) return DRV_INVALID_VALUE;
  DrvResult code = side_address(&c->from, c->width, c->height, &from);
  if (!code) code = side_address(&c->to, c->width, c->height, &to);
  if (code == DRV_NOT_SUPPORTED) return sim_refuse("cuMemcpy2D: arrays are not simulated");
  for (size_t row = 0; row < c->height && !code && c->width; row++) {
    code = cuMemcpyAsync(to, from, c->width, stream);
    from += c->from.pitch ? c->from.pitch : c->width;
    to += c->to.pitch ? c->to.pitch : c->width;
  }
  return code;
}
DRV_EXPORT DrvResult cuMemcpy2D_v2(const Copy2D *copy) { return copy_rows(copy, NULL); }
DRV_EXPORT DrvResult cuMemcpy2DUnaligned_v2(const Copy2D *copy) { return copy_rows(copy, NULL); }
DRV_EXPORT DrvResult cuMemcpy2DAsync_v2(const Copy2D *copy, DrvStream stream) { return copy_rows(copy, stream); }

#define FILL_ROWS(call, element)                                                                                       \
  DrvResult code = height > 1 && pitch / element < width ? DRV_INVALID_VALUE : DRV_SUCCESS;                            \
  for (size_t row = 0; row < height && width && !code; row++, to += pitch) code = call;                                         \
  return code

DRV_EXPORT DrvResult cuMemsetD2D8Async(DrvPtr to, size_t pitch, unsigned char v, size_t width, size_t height, DrvStream stream) {
  FILL_ROWS(cuMemsetD8Async(to, v, width, stream), 1);
}
DRV_EXPORT DrvResult cuMemsetD2D16Async(DrvPtr to, size_t pitch, unsigned short v, size_t width, size_t height, DrvStream stream) {
  FILL_ROWS(cuMemsetD16Async(to, v, width, stream), 2);
}
DRV_EXPORT DrvResult cuMemsetD2D32Async(DrvPtr to, size_t pitch, unsigned v, size_t width, size_t height, DrvStream stream) {
  FILL_ROWS(cuMemsetD32Async(to, v, width, stream), 4);
}
DRV_EXPORT DrvResult cuMemsetD2D8_v2(DrvPtr to, size_t pitch, unsigned char v, size_t width, size_t height) {
  return cuMemsetD2D8Async(to, pitch, v, width, height, NULL);
}
DRV_EXPORT DrvResult cuMemsetD2D16_v2(DrvPtr to, size_t pitch, unsigned short v, size_t width, size_t height) {
  return cuMemsetD2D16Async(to, pitch, v, width, height, NULL);
}
DRV_EXPORT DrvResult cuMemsetD2D32_v2(DrvPtr to, size_t pitch, unsigned v, size_t width, size_t height) {
  return cuMemsetD2D32Async(to, pitch, v, width, height, NULL);
}
