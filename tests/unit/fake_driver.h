/* fake_driver.h - a driver for tests of the runtime: the whole table, no computation. It counts what is held, records launches, refuses
 * what a real driver refuses, and fails the Nth call on request.
 *
 * One header, so that each test program is one file: include it once, call fake_install. */
#ifndef FAKE_DRIVER_H
#define FAKE_DRIVER_H
#include "alloc.h"
#include "cuda/driver.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_PARAMS = 24, FAKE_LAUNCHES = 8, FAKE_BLOCKS = 64, FAKE_MAP_MARK = 0x7a9 };

typedef struct FakeMap { /* what the fake makes of a tensor map's 128 bytes */
  uint64_t mark, address;
  uint64_t dim[5], stride[4]; /* innermost first; bytes */
  uint16_t box[5];
  uint8_t type, rank, swizzle, l2, fill;
} FakeMap;
_Static_assert(sizeof(FakeMap) <= 128, "FakeMap");
struct CUtensorMap_st { _Alignas(64) unsigned char bytes[128]; };

typedef struct FakeLaunch {
  char entry[64];
  unsigned grid[3], block, shared, cluster[3];
  bool extended, pdl;
  void *stream;
  int nparams;
  uint64_t param[FAKE_PARAMS]; /* 8 bytes each, whatever the width; tensor maps apart */
  FakeMap map[FAKE_PARAMS];    /* of parameters of 128 bytes */
} FakeLaunch;

static struct Fake {
  int devices, capability, sms, occupancy; /* of every device */
  bool pageable, refuse_ptx;
  /* held now */
  int contexts, modules, memory, streams, events;
  /* recorded */
  FakeLaunch launch[FAKE_LAUNCHES];
  int launches, memsets, loads, encoded;
  unsigned refuse_stride; /* a stride in bytes that cuTensorMapEncodeTiled refuses, though no rule forbids it; 0: none */
  int clusters;           /* that cuOccupancyMaxActiveClusters answers */
  const char *jit_says;   /* in the log of what is compiled; NULL: nothing */
  uint64_t memset_at, memset_bytes;
  /* faults: calls are counted from 1; the fail_at-th answers `failure` */
  int calls, fail_at;
  DrvResult failure;
  const char *failed; /* name of the call that was failed */
} fake;

static _Thread_local DrvContext fake_stack[8];
static _Thread_local int fake_depth;
static _Thread_local uint64_t fake_mapped[2]; /* addresses of the first two maps of this thread's last launch */

typedef struct CUctx_st { int device; } FakeContext;
typedef struct CUmod_st { char *text; struct CUfunc_st *functions; } FakeModule;
typedef struct CUfunc_st { struct CUfunc_st *next; int nparams, dynamic; unsigned maps; bool large_clusters; char entry[64]; } FakeFunction;
static FakeContext fake_context[4] = {{0}, {1}, {2}, {3}};

/* Memory has addresses only; nothing is behind them. Device of an address: its bits 40 and up, less one. */
static uint64_t fake_next[4];

static DrvResult fake_cuInit(unsigned flags) { return flags ? DRV_INVALID_VALUE : fake.devices ? DRV_SUCCESS : DRV_NO_DEVICE; }
static DrvResult fake_cuDriverGetVersion(int *version) { return *version = 13000, DRV_SUCCESS; }
static DrvResult fake_cuGetErrorName(DrvResult error, const char **text) {
  *text = error == DRV_INVALID_PTX ? "CUDA_ERROR_INVALID_PTX" : "CUDA_ERROR_OF_THE_FAKE";
  return DRV_SUCCESS;
}
static DrvResult fake_cuGetErrorString(DrvResult error, const char **text) {
  (void)error;
  *text = "an error of the fake driver";
  return DRV_SUCCESS;
}
static DrvResult fake_cuDeviceGetCount(int *count) { return *count = fake.devices, DRV_SUCCESS; }
static DrvResult fake_cuDeviceGet(DrvDevice *device, int ordinal) {
  if (ordinal < 0 || ordinal >= fake.devices) return DRV_INVALID_DEVICE;
  return *device = ordinal, DRV_SUCCESS;
}
static DrvResult fake_cuDeviceGetName(char *name, int bytes, DrvDevice device) {
  snprintf(name, (size_t)bytes, "Fake %d", device);
  return DRV_SUCCESS;
}
static DrvResult fake_cuDeviceGetAttribute(int *value, unsigned attribute, DrvDevice device) {
  (void)device;
  switch (attribute) {
  case DRV_DEVICE_COMPUTE_CAPABILITY_MAJOR: *value = fake.capability / 10; break;
  case DRV_DEVICE_COMPUTE_CAPABILITY_MINOR: *value = fake.capability % 10; break;
  case DRV_DEVICE_MULTIPROCESSOR_COUNT: *value = fake.sms; break;
  case DRV_DEVICE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 101376; break;
  case DRV_DEVICE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 102400; break;
  case DRV_DEVICE_MAX_GRID_DIM_X: *value = 2147483647; break;
  case DRV_DEVICE_MAX_GRID_DIM_Y:
  case DRV_DEVICE_MAX_GRID_DIM_Z: *value = 65535; break;
  case DRV_DEVICE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
  case DRV_DEVICE_CLOCK_RATE: *value = 1500000; break;
  case DRV_DEVICE_MEMORY_CLOCK_RATE: *value = 1000000; break;
  case DRV_DEVICE_GLOBAL_MEMORY_BUS_WIDTH: *value = 4096; break;
  case DRV_DEVICE_L2_CACHE_SIZE: *value = 1 << 22; break;
  case DRV_DEVICE_PAGEABLE_MEMORY_ACCESS: *value = fake.pageable; break;
  case DRV_DEVICE_CLUSTER_LAUNCH: *value = fake.capability / 10 >= 9; break;
  default: return DRV_INVALID_VALUE;
  }
  return DRV_SUCCESS;
}
static DrvResult fake_cuDeviceTotalMem_v2(size_t *bytes, DrvDevice device) {
  (void)device;
  return *bytes = (size_t)1 << 30, DRV_SUCCESS;
}
static DrvResult fake_cuDevicePrimaryCtxRetain(DrvContext *context, DrvDevice device) {
  return *context = &fake_context[device], DRV_SUCCESS;
}
static DrvResult fake_cuDevicePrimaryCtxRelease_v2(DrvDevice device) {
  (void)device;
  return DRV_SUCCESS;
}
static DrvResult fake_cuCtxGetCurrent(DrvContext *context) {
  *context = fake_depth ? fake_stack[fake_depth - 1] : NULL;
  return DRV_SUCCESS;
}
static DrvResult fake_cuCtxGetDevice(DrvDevice *device) {
  if (!fake_depth) return DRV_INVALID_CONTEXT;
  return *device = fake_stack[fake_depth - 1]->device, DRV_SUCCESS;
}
static DrvResult fake_cuCtxPushCurrent_v2(DrvContext context) {
  if (fake_depth == 8) return DRV_INVALID_CONTEXT;
  return fake_stack[fake_depth++] = context, DRV_SUCCESS;
}
static DrvResult fake_cuCtxPopCurrent_v2(DrvContext *context) {
  if (!fake_depth) return DRV_INVALID_CONTEXT;
  return *context = fake_stack[--fake_depth], DRV_SUCCESS;
}
static DrvResult fake_need_context(void) { return fake_depth ? DRV_SUCCESS : DRV_INVALID_CONTEXT; }
static DrvResult fake_cuCtxSynchronize(void) { return fake_need_context(); }

static DrvResult fake_cuModuleLoadDataEx(DrvModule *module, const void *image, unsigned count, unsigned *options, void **values) {
  if (fake_need_context()) return DRV_INVALID_CONTEXT;
  if (fake.refuse_ptx) {
    for (unsigned i = 0; i + 1 < count; i++)
      if (options[i] == DRV_JIT_ERROR_LOG_BUFFER)
        snprintf(values[i], (size_t)(uintptr_t)values[i + 1], "ptxas application ptx input, line 7; fatal : a log of the fake");
    return DRV_INVALID_PTX;
  }
  for (unsigned i = 0; i + 1 < count && fake.jit_says; i++)
    if (options[i] == DRV_JIT_INFO_LOG_BUFFER) snprintf(values[i], (size_t)(uintptr_t)values[i + 1], "%s", fake.jit_says);
  FakeModule *m = calloc(1, sizeof *m);
  m->text = strdup(image);
  __atomic_add_fetch(&fake.loads, 1, __ATOMIC_RELAXED);
  return *module = m, DRV_SUCCESS;
}
static DrvResult fake_cuModuleUnload(DrvModule module) {
  for (FakeFunction *f = module->functions, *next; f; f = next) next = f->next, free(f);
  free(module->text);
  free(module);
  return DRV_SUCCESS;
}
static DrvResult fake_cuModuleGetFunction(DrvFunction *function, DrvModule module, const char *name) {
  char entry[96];
  snprintf(entry, sizeof entry, ".entry %s(", name);
  const char *at = strstr(module->text, entry);
  if (!at) return DRV_NOT_FOUND;
  FakeFunction *f = calloc(1, sizeof *f);
  snprintf(f->entry, sizeof f->entry, "%s", name);
  const char *end = strchr(at, ')');
  while ((at = strstr(at, ".param")) && at < end) {
    const char *bytes = strchr(++at, '['), *comma = strchr(at, ',');
    if (bytes && bytes < (comma ? comma : end) && strncmp(bytes, "[128]", 5) == 0) f->maps |= 1u << f->nparams;
    f->nparams++;
  }
  f->next = module->functions;
  module->functions = f;
  return *function = f, DRV_SUCCESS;
}
static DrvResult fake_cuFuncGetAttribute(int *value, unsigned attribute, DrvFunction function) {
  (void)function;
  *value = attribute == DRV_FUNC_NUM_REGS ? 24 : 0;
  return DRV_SUCCESS;
}
static DrvResult fake_cuFuncSetAttribute(DrvFunction function, unsigned attribute, int value) {
  if (attribute == DRV_FUNC_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) return function->large_clusters = value, DRV_SUCCESS;
  if (attribute != DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > 101376) return DRV_INVALID_VALUE;
  return function->dynamic = value, DRV_SUCCESS;
}
static DrvResult fake_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, DrvFunction function, int threads, size_t shared_bytes) {
  (void)function, (void)threads, (void)shared_bytes;
  return *blocks = fake.occupancy, DRV_SUCCESS;
}

static DrvResult fake_record(FakeFunction *f, const FakeLaunch *given, void **params) {
  const unsigned *grid = given->grid, block = given->block, shared = given->shared;
  if (fake_need_context()) return DRV_INVALID_CONTEXT;
  if (!grid[0] || !grid[1] || !grid[2] || !block || block > 1024) return DRV_INVALID_VALUE;
  if (shared > 49152 && (int)shared > f->dynamic) return DRV_INVALID_VALUE;
  FakeMap map[FAKE_PARAMS];
  for (int i = 0, n = 0; i < f->nparams && i < FAKE_PARAMS; i++) {
    if (!(f->maps >> i & 1)) continue;
    memcpy(&map[i], params[i], sizeof map[i]);
    if (map[i].mark != FAKE_MAP_MARK) return DRV_INVALID_VALUE;
    if (n < 2) fake_mapped[n++] = map[i].address;
  }
  int at = __atomic_fetch_add(&fake.launches, 1, __ATOMIC_RELAXED);
  if (at >= FAKE_LAUNCHES) return DRV_SUCCESS;
  FakeLaunch *l = &fake.launch[at];
  *l = *given;
  memcpy(l->entry, f->entry, sizeof l->entry);
  l->nparams = f->nparams;
  for (int i = 0; i < f->nparams && i < FAKE_PARAMS; i++) {
    if (f->maps >> i & 1) l->map[i] = map[i];
    else memcpy(&l->param[i], params[i], 8);
  }
  return DRV_SUCCESS;
}
static DrvResult fake_cuLaunchKernel(DrvFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                     unsigned block_y, unsigned block_z, unsigned shared_bytes, DrvStream stream, void **params,
                                     void **extra) {
  if (block_y != 1 || block_z != 1 || extra) return DRV_INVALID_VALUE;
  return fake_record(function, &(FakeLaunch){.grid = {grid_x, grid_y, grid_z}, .block = block_x, .shared = shared_bytes, .stream = stream}, params);
}
static DrvResult fake_cuLaunchKernelEx(const DrvLaunchConfig *c, DrvFunction function, void **params, void **extra) {
  if (extra) return DRV_INVALID_VALUE;
  FakeLaunch l = {.grid = {c->grid_x, c->grid_y, c->grid_z}, .block = c->block_x, .shared = c->shared_bytes, .stream = c->stream};
  l.extended = true;
  for (unsigned i = 0; i < c->count; i++) {
    const DrvLaunchAttribute *a = &c->attributes[i];
    if (a->id == DRV_LAUNCH_CLUSTER_DIMENSION) memcpy(l.cluster, &a->value.cluster, sizeof l.cluster);
    if (a->id == DRV_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION) l.pdl = a->value.programmatic_serialization;
  }
  unsigned blocks = l.cluster[0] * l.cluster[1] * l.cluster[2];
  for (int d = 0; blocks && d < 3; d++)
    if (l.grid[d] % l.cluster[d]) return DRV_INVALID_VALUE;
  if (blocks > 16 || (blocks > 8 && !function->large_clusters)) return DRV_INVALID_CLUSTER_SIZE;
  return fake_record(function, &l, params);
}
static DrvResult fake_cuOccupancyMaxActiveClusters(int *clusters, DrvFunction function, const DrvLaunchConfig *config) {
  (void)function;
  if (config->count != 1 || config->attributes->id != DRV_LAUNCH_CLUSTER_DIMENSION) return DRV_INVALID_VALUE;
  return *clusters = fake.clusters, DRV_SUCCESS;
}

/* The rules as cuda.h states them, written here once more. */
static DrvResult fake_cuTensorMapEncodeTiled(struct CUtensorMap_st *map, unsigned type, uint32_t rank, void *address, const uint64_t *dims,
                                             const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides,
                                             unsigned interleave, unsigned swizzle, unsigned l2, unsigned fill) {
  static const int bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  if ((uintptr_t)map % 64 || type > 12 || rank < 1 || rank > 5 || (uintptr_t)address % 16 || interleave || swizzle > 3 || l2 > 3 || fill > 1)
    return DRV_INVALID_VALUE;
  if (fill && type <= DRV_MAP_INT64) return DRV_INVALID_VALUE; /* whole numbers come first */
  if (box[0] * (unsigned)bytes[type] % 16 || (swizzle && box[0] * (unsigned)bytes[type] > 16u << swizzle)) return DRV_INVALID_VALUE;
  FakeMap m = {.mark = FAKE_MAP_MARK, .address = (uintptr_t)address, .type = (uint8_t)type, .rank = (uint8_t)rank};
  m.swizzle = (uint8_t)swizzle, m.l2 = (uint8_t)l2, m.fill = (uint8_t)fill;
  for (uint32_t i = 0; i < rank; i++) {
    if (!dims[i] || dims[i] > 1ull << 32 || !box[i] || box[i] > 256 || element_strides[i] != 1) return DRV_INVALID_VALUE;
    if (i && (strides[i - 1] % 16 || strides[i - 1] >> 40)) return DRV_INVALID_VALUE;
    if (i && fake.refuse_stride && strides[i - 1] == fake.refuse_stride) return DRV_INVALID_VALUE;
    m.dim[i] = dims[i], m.box[i] = (uint16_t)box[i];
    if (i) m.stride[i - 1] = strides[i - 1];
  }
  memcpy(map, &m, sizeof m);
  __atomic_add_fetch(&fake.encoded, 1, __ATOMIC_RELAXED);
  return DRV_SUCCESS;
}
static DrvResult fake_cuTensorMapReplaceAddress(struct CUtensorMap_st *map, void *address) {
  FakeMap m;
  memcpy(&m, map, sizeof m);
  if ((uintptr_t)map % 64 || m.mark != FAKE_MAP_MARK || (uintptr_t)address % 16) return DRV_INVALID_VALUE;
  m.address = (uintptr_t)address;
  memcpy(map, &m, sizeof m);
  return DRV_SUCCESS;
}

static DrvResult fake_cuMemAlloc_v2(DrvPtr *ptr, size_t bytes) {
  if (fake_need_context()) return DRV_INVALID_CONTEXT;
  if (bytes == 0) return DRV_INVALID_VALUE;
  if (bytes > (size_t)1 << 30) return DRV_OUT_OF_MEMORY;
  int device = fake_stack[fake_depth - 1]->device;
  uint64_t at = __atomic_fetch_add(&fake_next[device], (bytes + 1023) / 512 * 512, __ATOMIC_RELAXED);
  return *ptr = ((uint64_t)(device + 1) << 40) + at, DRV_SUCCESS;
}
static DrvResult fake_cuMemFree_v2(DrvPtr ptr) {
  if (fake_need_context() || ptr >> 40 == 0) return DRV_INVALID_VALUE;
  return DRV_SUCCESS;
}
static DrvResult fake_cuMemcpyHtoD_v2(DrvPtr to, const void *from, size_t bytes) { return (void)to, (void)from, (void)bytes, fake_need_context(); }
static DrvResult fake_cuMemcpyDtoH_v2(void *to, DrvPtr from, size_t bytes) {
  (void)from;
  memset(to, 0, bytes);
  return fake_need_context();
}
static DrvResult fake_cuMemcpyHtoDAsync_v2(DrvPtr to, const void *from, size_t bytes, DrvStream stream) {
  return (void)stream, fake_cuMemcpyHtoD_v2(to, from, bytes);
}
static DrvResult fake_cuMemcpyDtoHAsync_v2(void *to, DrvPtr from, size_t bytes, DrvStream stream) {
  return (void)stream, fake_cuMemcpyDtoH_v2(to, from, bytes);
}
static DrvResult fake_cuMemcpyDtoDAsync_v2(DrvPtr to, DrvPtr from, size_t bytes, DrvStream stream) {
  return (void)to, (void)from, (void)bytes, (void)stream, fake_need_context();
}
static DrvResult fake_cuMemsetD8Async(DrvPtr to, unsigned char value, size_t bytes, DrvStream stream) {
  (void)value, (void)stream;
  fake.memsets++;
  fake.memset_at = to;
  fake.memset_bytes = bytes;
  return fake_need_context();
}
static DrvResult fake_cuPointerGetAttribute(void *value, unsigned attribute, DrvPtr ptr) {
  if (ptr >> 40 == 0 || ptr >> 40 > 4) return DRV_INVALID_VALUE;
  if (attribute == DRV_POINTER_MEMORY_TYPE) *(unsigned *)value = DRV_MEMORYTYPE_DEVICE;
  else if (attribute == DRV_POINTER_DEVICE_ORDINAL) *(int *)value = (int)(ptr >> 40) - 1;
  else if (attribute == DRV_POINTER_IS_MANAGED) *(int *)value = 0;
  else return DRV_INVALID_VALUE;
  return DRV_SUCCESS;
}
static DrvResult fake_cuStreamCreate(DrvStream *stream, unsigned flags) {
  (void)flags;
  if (fake_need_context()) return DRV_INVALID_CONTEXT;
  return *stream = (DrvStream)(uintptr_t)0x5000, DRV_SUCCESS;
}
static DrvResult fake_cuStreamDestroy_v2(DrvStream stream) { return (void)stream, DRV_SUCCESS; }
static DrvResult fake_cuStreamSynchronize(DrvStream stream) { return (void)stream, fake_need_context(); }
static DrvResult fake_cuEventCreate(DrvEvent *event, unsigned flags) {
  (void)flags;
  if (fake_need_context()) return DRV_INVALID_CONTEXT;
  return *event = (DrvEvent)(uintptr_t)0x6000, DRV_SUCCESS;
}
static DrvResult fake_cuEventDestroy_v2(DrvEvent event) { return (void)event, DRV_SUCCESS; }
static DrvResult fake_cuEventRecord(DrvEvent event, DrvStream stream) { return (void)event, (void)stream, DRV_SUCCESS; }
static DrvResult fake_cuEventSynchronize(DrvEvent event) { return (void)event, DRV_SUCCESS; }
static DrvResult fake_cuEventElapsedTime(float *ms, DrvEvent start, DrvEvent end) {
  return (void)start, (void)end, *ms = 0.5f, DRV_SUCCESS;
}

/* The driver behind the counting: this fake, or the simulator's table. */
static DriverTable fake_behind, fake_front;

/* True: this call is the one to fail. Releases are carried out all the same: a driver that fails them has let go of the thing. */
static bool fake_fails(const char *name) {
  if (__atomic_add_fetch(&fake.calls, 1, __ATOMIC_RELAXED) != fake.fail_at) return false;
  fake.failed = name;
  return true;
}
static bool fake_is_release(const char *name) {
  return strstr(name, "Release") || strstr(name, "Unload") || strstr(name, "Destroy") || strstr(name, "Free") || strstr(name, "PopCurrent");
}

/* What is held, counted in front of whichever driver is behind. */
static void fake_track(const char *name) {
  static const struct { const char *take, *give; int *held; } kinds[] = {
      {"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", &fake.contexts},
      {"cuModuleLoadDataEx", "cuModuleUnload", &fake.modules},
      {"cuMemAlloc_v2", "cuMemFree_v2", &fake.memory},
      {"cuStreamCreate", "cuStreamDestroy_v2", &fake.streams},
      {"cuEventCreate", "cuEventDestroy_v2", &fake.events},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(name, kinds[i].take) == 0) __atomic_add_fetch(kinds[i].held, 1, __ATOMIC_RELAXED);
    if (strcmp(name, kinds[i].give) == 0) __atomic_sub_fetch(kinds[i].held, 1, __ATOMIC_RELAXED);
  }
}

#define DRIVER(need, name, params, args) \
  static DrvResult counted_##name params { \
    bool fails = fake_fails(#name), called = !fails || fake_is_release(#name); \
    DrvResult result = called ? fake_behind.name args : DRV_SUCCESS; \
    if (called && result == DRV_SUCCESS) fake_track(#name); \
    return fails ? fake.failure : result; \
  }
#include "cuda/driver.def"

/* Puts a counting table over `behind` in the place of `kind`. */
static void fake_count(DriverKind kind, const DriverTable *behind) {
  fake_behind = *behind;
  memset(&fake_front, 0, sizeof fake_front);
#define DRIVER(need, name, params, args) \
  if (fake_behind.name) fake_front.name = counted_##name;
#include "cuda/driver.def"
  fake.failure = DRV_UNKNOWN;
  driver_override(kind, &fake_front);
}

/* Two devices of the capability, in the place of libcuda. Rows of driver.def without a function here are absent, as optional ones may be. */
static void fake_install(int capability) {
  memset(&fake, 0, sizeof fake);
  fake.devices = 2;
  fake.capability = capability;
  fake.sms = 10;
  fake.occupancy = 2;
  fake.clusters = 10;
  fake_depth = 0;
  DriverTable t = {0};
#define FAKE(name) t.name = fake_##name
  FAKE(cuInit), FAKE(cuDriverGetVersion), FAKE(cuGetErrorName), FAKE(cuGetErrorString), FAKE(cuDeviceGetCount), FAKE(cuDeviceGet);
  FAKE(cuDeviceGetName), FAKE(cuDeviceGetAttribute), FAKE(cuDeviceTotalMem_v2), FAKE(cuDevicePrimaryCtxRetain);
  FAKE(cuDevicePrimaryCtxRelease_v2), FAKE(cuCtxGetCurrent), FAKE(cuCtxGetDevice), FAKE(cuCtxPushCurrent_v2), FAKE(cuCtxPopCurrent_v2);
  FAKE(cuCtxSynchronize), FAKE(cuModuleLoadDataEx), FAKE(cuModuleUnload), FAKE(cuModuleGetFunction), FAKE(cuFuncGetAttribute);
  FAKE(cuFuncSetAttribute), FAKE(cuOccupancyMaxActiveBlocksPerMultiprocessor), FAKE(cuLaunchKernel), FAKE(cuLaunchKernelEx);
  FAKE(cuMemAlloc_v2), FAKE(cuMemFree_v2), FAKE(cuMemcpyHtoD_v2), FAKE(cuMemcpyDtoH_v2), FAKE(cuMemcpyHtoDAsync_v2);
  FAKE(cuMemcpyDtoHAsync_v2), FAKE(cuMemcpyDtoDAsync_v2), FAKE(cuMemsetD8Async), FAKE(cuPointerGetAttribute), FAKE(cuStreamCreate);
  FAKE(cuStreamDestroy_v2), FAKE(cuStreamSynchronize), FAKE(cuEventCreate), FAKE(cuEventDestroy_v2), FAKE(cuEventRecord);
  FAKE(cuEventSynchronize), FAKE(cuEventElapsedTime), FAKE(cuTensorMapEncodeTiled), FAKE(cuTensorMapReplaceAddress);
  FAKE(cuOccupancyMaxActiveClusters);
#undef FAKE
  fake_count(DRIVER_CUDA, &t);
}

static inline int fake_held(void) { return fake.contexts + fake.modules + fake.memory + fake.streams + fake.events; }

/* ---- host memory: counts bytes that are held, and fails the Nth request ---- */
static struct FakeMemory { int64_t held; int requests, fail_at; } fake_memory;

static void *fake_mem(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user;
  if (new_bytes == 0) {
    __atomic_sub_fetch(&fake_memory.held, (int64_t)(ptr ? old_bytes : 0), __ATOMIC_RELAXED);
    free(ptr);
    return NULL;
  }
  if (__atomic_add_fetch(&fake_memory.requests, 1, __ATOMIC_RELAXED) == fake_memory.fail_at) return NULL;
  void *at = realloc(ptr, new_bytes);
  if (at) __atomic_add_fetch(&fake_memory.held, (int64_t)new_bytes - (int64_t)(ptr ? old_bytes : 0), __ATOMIC_RELAXED);
  return at;
}
#endif
