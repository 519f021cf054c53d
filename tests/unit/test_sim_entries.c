/* test_sim_entries.c - the driver's entry points that programs other than kiln use: what entries.def lists is exported, asked for by
 * name and version, and does what it says: host memory, two dimensions, libraries, the linker, settings, occupancy. */
#include "sim_case.h"
#include <dlfcn.h>

static const char *const names[] = {
#define ENTRY(name, suffix, since) #name #suffix,
#include "sim/entries.def"
};

static const char text[] = PTX_HEAD ".visible .global .align 4 .b32 total;\n.visible .entry other() { ret; }\n"
                                    ".visible .entry k(.param .u32 n, .param .u64 x)\n{\n  ret;\n}\n";

/* Found in the library itself, which also must not export what has no row. */
static void *ask(const char *name) {
  static void *library;
  char path[1024];
  const char *build = getenv("KILN_TEST_BUILD");
  snprintf(path, sizeof path, "%s/libkilnsim.so.0", build ? build : "build");
  if (!library) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail_msg("%s", dlerror());
  return dlsym(library, name);
}

static void test_exports(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!ask(names[i])) fail_msg("%s is not exported", names[i]);
}

static void test_versions(void **state) {
  (void)state;
  DrvResult (*get)(const char *, void **, int, uint64_t, unsigned *);
  void *f;
  unsigned status;
  *(void **)&get = ask("cuGetProcAddress_v2");
  static const struct { const char *name, *exact; int version; } cases[] = {
    {"cuCtxCreate", "cuCtxCreate_v2", 4000}, {"cuCtxCreate", "cuCtxCreate_v3", 11040}, {"cuCtxCreate", "cuCtxCreate_v4", 13000},
    {"cuMemAlloc", "cuMemAlloc_v2", 3020},
    {"cuGetProcAddress", "cuGetProcAddress", 11030}, {"cuGetProcAddress", "cuGetProcAddress_v2", 12000},
    {"cuLaunchCooperativeKernel", "cuLaunchCooperativeKernel", 9000}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    OK(get(cases[i].name, &f, cases[i].version, 0, &status));
    assert_ptr_equal(f, ask(cases[i].exact));
    assert_int_equal(status, 0);
  }
  assert_int_equal(get("cuNothing", &f, 12000, 0, &status), DRV_NOT_FOUND);
  assert_int_equal(status, 1);
  assert_null(f);
}

#define FIND(type, name, params)                                                                                       \
  type (*name) params;                                                                                                 \
  *(void **)&name = ask(#name)

static DrvContext context;

static void *open_library(void) {
  FIND(DrvResult, cuInit, (unsigned));
  FIND(DrvResult, cuCtxCreate_v4, (DrvContext *, void *, unsigned, int));
  if (!context) {
    OK(cuInit(0));
    OK(cuCtxCreate_v4(&context, NULL, 8, 0));
  }
  return context;
}

static void test_settings(void **state) {
  (void)state;
  size_t v;
  unsigned u;
  FIND(DrvResult, cuCtxGetLimit, (size_t *, unsigned));
  FIND(DrvResult, cuCtxSetLimit, (unsigned, size_t));
  FIND(DrvResult, cuCtxGetFlags, (unsigned *));
  FIND(DrvResult, cuCtxSetCacheConfig, (unsigned));
  FIND(DrvResult, cuCtxGetCacheConfig, (unsigned *));
  open_library();
  OK(cuCtxGetLimit(&v, 0));
  assert_int_equal(v, 1024);
  OK(cuCtxSetLimit(0, 4096));
  OK(cuCtxGetLimit(&v, 0));
  assert_int_equal(v, 4096);
  assert_int_equal(cuCtxGetLimit(&v, 99), DRV_INVALID_VALUE);
  OK(cuCtxGetFlags(&u));
  assert_int_equal(u, 8);
  OK(cuCtxSetCacheConfig(2));
  OK(cuCtxGetCacheConfig(&u));
  assert_int_equal(u, 2);
}

typedef struct Copy2D {
  size_t from_x, from_y; unsigned from_type; const void *from_host; DrvPtr from; void *from_array; size_t from_pitch;
  size_t to_x, to_y; unsigned to_type; void *to_host; DrvPtr to; void *to_array; size_t to_pitch;
  size_t width, height;
} Copy2D;

static void test_memory(void **state) {
  (void)state;
  FIND(DrvResult, cuMemAllocHost_v2, (void **, size_t));
  FIND(DrvResult, cuMemFreeHost, (void *));
  FIND(DrvResult, cuMemHostRegister_v2, (void *, size_t, unsigned));
  FIND(DrvResult, cuMemHostUnregister, (void *));
  FIND(DrvResult, cuMemAllocPitch_v2, (DrvPtr *, size_t *, size_t, size_t, unsigned));
  FIND(DrvResult, cuMemcpy2D_v2, (const Copy2D *));
  FIND(DrvResult, cuMemsetD2D8_v2, (DrvPtr, size_t, unsigned char, size_t, size_t));
  FIND(DrvResult, cuMemGetAddressRange_v2, (DrvPtr *, size_t *, DrvPtr));
  FIND(DrvResult, cuMemFree_v2, (DrvPtr));
  FIND(DrvResult, cuMemAllocManaged, (DrvPtr *, size_t, unsigned));
  char *host, back[3][8], own[16];
  DrvPtr d, base;
  size_t pitch, bytes;
  open_library();
  OK(cuMemAllocHost_v2((void **)&host, 24));
  for (int i = 0; i < 24; i++) host[i] = (char)i;
  OK(cuMemAllocPitch_v2(&d, &pitch, 10, 4, 4));
  assert_true(pitch >= 10 && pitch % 4 == 0);
  OK(cuMemsetD2D8_v2(d, pitch, 0x55, 10, 4));
  Copy2D up = {.from_type = DRV_MEMORYTYPE_HOST, .from_host = host, .from_pitch = 8, .to_type = DRV_MEMORYTYPE_DEVICE, .to = d, .to_pitch = pitch, .to_x = 2,
               .to_y = 1, .width = 8, .height = 3};
  OK(cuMemcpy2D_v2(&up));
  Copy2D down = {.from_type = DRV_MEMORYTYPE_DEVICE, .from = d, .from_pitch = pitch, .from_y = 1, .to_type = DRV_MEMORYTYPE_HOST, .to_host = back,
                 .to_pitch = 8,
                 .width = 8, .height = 3};
  OK(cuMemcpy2D_v2(&down));
  for (int row = 0; row < 3; row++)
    for (int i = 0; i < 8; i++) assert_int_equal(back[row][i], i < 2 ? 0x55 : row * 8 + i - 2);
  up.height = 4; /* one row more than there is */
  assert_int_equal(cuMemcpy2D_v2(&up), DRV_INVALID_VALUE);
  OK(cuMemGetAddressRange_v2(&base, &bytes, d + 700));
  assert_true(base == d && bytes == 4 * pitch);
  OK(cuMemFree_v2(d));
  assert_int_equal(cuMemGetAddressRange_v2(&base, &bytes, d), DRV_NOT_FOUND);
  OK(cuMemFreeHost(host));
  assert_int_equal(cuMemFreeHost(host), DRV_INVALID_VALUE);
  OK(cuMemHostRegister_v2(own, sizeof own, 0));
  assert_int_equal(cuMemHostRegister_v2(own, sizeof own, 0), 712);
  assert_int_equal(cuMemFreeHost(own), DRV_INVALID_VALUE);
  OK(cuMemHostUnregister(own));
  assert_int_equal(cuMemHostUnregister(own), 713);
  assert_int_equal(cuMemAllocManaged(&d, 64, 1), DRV_NOT_SUPPORTED);
}

static void test_modules(void **state) {
  (void)state;
  FIND(DrvResult, cuLinkCreate_v2, (unsigned, unsigned *, void **, void **));
  FIND(DrvResult, cuLinkAddData_v2, (void *, unsigned, void *, size_t, const char *, unsigned, unsigned *, void **));
  FIND(DrvResult, cuLinkComplete, (void *, void **, size_t *));
  FIND(DrvResult, cuLinkDestroy, (void *));
  FIND(DrvResult, cuLibraryLoadData, (DrvModule *, const void *, unsigned *, void **, unsigned, unsigned *, void **, unsigned));
  FIND(DrvResult, cuLibraryGetKernel, (DrvFunction *, DrvModule, const char *));
  FIND(DrvResult, cuLibraryGetGlobal, (DrvPtr *, size_t *, DrvModule, const char *));
  FIND(DrvResult, cuKernelGetFunction, (DrvFunction *, DrvFunction));
  FIND(DrvResult, cuModuleGetFunctionCount, (unsigned *, DrvModule));
  FIND(DrvResult, cuFuncGetName, (const char **, DrvFunction));
  FIND(DrvResult, cuFuncGetParamInfo, (DrvFunction, size_t, size_t *, size_t *));
  FIND(DrvResult, cuLibraryUnload, (DrvModule));
  void *link, *image;
  size_t bytes, offset;
  DrvModule m;
  DrvFunction f;
  DrvPtr total;
  unsigned n;
  const char *name;
  open_library();
  OK(cuLinkCreate_v2(0, NULL, NULL, &link));
  assert_int_equal(cuLinkComplete(link, &image, &bytes), DRV_INVALID_VALUE);
  assert_int_equal(cuLinkAddData_v2(link, 0, (void *)(uintptr_t)text, sizeof text, "x", 0, NULL, NULL), DRV_INVALID_IMAGE);
  OK(cuLinkAddData_v2(link, 1, (void *)(uintptr_t)text, sizeof text, "x", 0, NULL, NULL));
  assert_int_equal(cuLinkAddData_v2(link, 1, (void *)(uintptr_t)text, sizeof text, "y", 0, NULL, NULL), DRV_NOT_SUPPORTED);
  OK(cuLinkComplete(link, &image, &bytes));
  OK(cuLibraryLoadData(&m, image, NULL, NULL, 0, NULL, NULL, 0));
  OK(cuLinkDestroy(link));
  assert_int_equal(cuLinkDestroy(link), DRV_INVALID_HANDLE);
  OK(cuModuleGetFunctionCount(&n, m));
  assert_int_equal(n, 2);
  OK(cuLibraryGetKernel(&f, m, "k"));
  OK(cuKernelGetFunction(&f, f));
  OK(cuFuncGetName(&name, f));
  assert_string_equal(name, "k");
  OK(cuFuncGetParamInfo(f, 1, &offset, &bytes));
  assert_true(offset == 8 && bytes == 8);
  assert_int_equal(cuFuncGetParamInfo(f, 2, &offset, &bytes), DRV_INVALID_VALUE);
  OK(cuLibraryGetGlobal(&total, &bytes, m, "total"));
  assert_int_equal(bytes, 4);
  OK(cuLibraryUnload(m));
  assert_int_equal(cuFuncGetName(&name, f), DRV_INVALID_HANDLE);
}

static size_t shared_of(int threads) { return (size_t)threads * 32; }

static void test_occupancy(void **state) {
  (void)state;
  FIND(DrvResult, cuModuleLoadData, (DrvModule *, const void *));
  FIND(DrvResult, cuModuleGetFunction, (DrvFunction *, DrvModule, const char *));
  FIND(DrvResult, cuModuleUnload, (DrvModule));
  FIND(DrvResult, cuOccupancyMaxPotentialBlockSize, (int *, int *, DrvFunction, size_t (*)(int), size_t, int));
  FIND(DrvResult, cuOccupancyAvailableDynamicSMemPerBlock, (size_t *, DrvFunction, int, int));
  FIND(DrvResult, cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *, DrvFunction, int, size_t));
  int grid, block, active;
  size_t bytes;
  DrvModule m;
  DrvFunction f;
  open_library();
  OK(cuModuleLoadData(&m, text));
  OK(cuModuleGetFunction(&f, m, "k"));
  OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, f, NULL, 0, 0));
  assert_true(block == 1024 && grid == 2 * 4); /* 2048 threads, four multiprocessors */
  OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, f, shared_of, 0, 256));
  assert_true(block <= 256 && block % 32 == 0 && grid > 0);
  OK(cuOccupancyAvailableDynamicSMemPerBlock(&bytes, f, 4, 128));
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&active, f, 128, bytes));
  assert_true(active >= 4);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&active, f, 128, bytes + 1));
  assert_true(active < 4 || bytes == 48 * 1024);
  OK(cuModuleUnload(m));
}

/* What a careless program asks for: refused, and neither a crash nor an endless loop. */
static void test_careless(void **state) {
  (void)state;
  FIND(DrvResult, cuMemAllocPitch_v2, (DrvPtr *, size_t *, size_t, size_t, unsigned));
  FIND(DrvResult, cuMemsetD2D8_v2, (DrvPtr, size_t, unsigned char, size_t, size_t));
  FIND(DrvResult, cuMemsetD2D32_v2, (DrvPtr, size_t, unsigned, size_t, size_t));
  FIND(DrvResult, cuMemcpy, (DrvPtr, DrvPtr, size_t));
  FIND(DrvResult, cuMemAlloc_v2, (DrvPtr *, size_t));
  FIND(DrvResult, cuMemFree_v2, (DrvPtr));
  FIND(DrvResult, cuModuleLoadData, (DrvModule *, const void *));
  FIND(DrvResult, cuModuleUnload, (DrvModule));
  FIND(DrvResult, cuModuleGetGlobal_v2, (DrvPtr *, size_t *, DrvModule, const char *));
  char own[16];
  DrvPtr d, total;
  size_t pitch;
  DrvModule m;
  open_library();
  assert_int_equal(cuMemAllocPitch_v2(&d, &pitch, SIZE_MAX, 2, 4), DRV_OUT_OF_MEMORY);
  OK(cuMemAlloc_v2(&d, 1024));
  OK(cuMemsetD2D8_v2(d, 0, 1, 0, SIZE_MAX)); /* nothing, many times */
  assert_int_equal(cuMemsetD2D32_v2(d, 12, 1, 4, 2), DRV_INVALID_VALUE);
  OK(cuMemsetD2D32_v2(d, 16, 1, 4, 64));
  assert_int_equal(cuMemcpy(0, (DrvPtr)(uintptr_t)own, 16), DRV_INVALID_VALUE);
  assert_int_equal(cuMemcpy((DrvPtr)(uintptr_t)own, 0, 16), DRV_INVALID_VALUE);
  OK(cuModuleLoadData(&m, text));
  OK(cuModuleGetGlobal_v2(&total, NULL, m, "total"));
  assert_int_equal(cuMemFree_v2(total), DRV_INVALID_VALUE); /* the module's, and not the program's */
  OK(cuModuleUnload(m));
  OK(cuMemFree_v2(d));
}

/* Memory ends with its context; that of others stays. */
static void test_contexts(void **state) {
  (void)state;
  FIND(DrvResult, cuCtxCreate_v2, (DrvContext *, unsigned, int));
  FIND(DrvResult, cuCtxDestroy_v2, (DrvContext));
  FIND(DrvResult, cuCtxSetCurrent, (DrvContext));
  FIND(DrvResult, cuCtxPushCurrent_v2, (DrvContext));
  FIND(DrvResult, cuDevicePrimaryCtxRetain, (DrvContext *, int));
  FIND(DrvResult, cuDevicePrimaryCtxRelease_v2, (int));
  FIND(DrvResult, cuMemAlloc_v2, (DrvPtr *, size_t));
  FIND(DrvResult, cuMemsetD8_v2, (DrvPtr, unsigned char, size_t));
  FIND(DrvResult, cuMemFree_v2, (DrvPtr));
  DrvContext primary, second;
  DrvPtr mine, theirs;
  open_library();
  OK(cuMemAlloc_v2(&mine, 64));
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuDevicePrimaryCtxRelease_v2(0)); /* a library that looks in */
  OK(cuMemsetD8_v2(mine, 0, 64));
  OK(cuCtxCreate_v2(&second, 0, 0));
  OK(cuMemAlloc_v2(&theirs, 64));
  OK(cuCtxDestroy_v2(second));
  assert_int_equal(cuMemsetD8_v2(theirs, 0, 64), DRV_INVALID_VALUE);
  OK(cuMemsetD8_v2(mine, 0, 64));
  assert_int_equal(cuCtxSetCurrent(second), DRV_CONTEXT_IS_DESTROYED);
  assert_int_equal(cuCtxPushCurrent_v2(second), DRV_CONTEXT_IS_DESTROYED);
  OK(cuMemFree_v2(mine)); /* what was current still is */
}

static int called;
static void count_call(void *user) { called += *(int *)user; }
static void count_callback(DrvStream stream, DrvResult result, void *user) { called += *(int *)user + (stream == NULL) + (int)result; }

static void test_streams(void **state) {
  (void)state;
  FIND(DrvResult, cuStreamCreateWithPriority, (DrvStream *, unsigned, int));
  FIND(DrvResult, cuStreamGetFlags, (DrvStream, unsigned *));
  FIND(DrvResult, cuStreamGetCtx, (DrvStream, DrvContext *));
  FIND(DrvResult, cuStreamIsCapturing, (DrvStream, unsigned *));
  FIND(DrvResult, cuLaunchHostFunc, (DrvStream, void (*)(void *), void *));
  FIND(DrvResult, cuStreamAddCallback, (DrvStream, void (*)(DrvStream, DrvResult, void *), void *, unsigned));
  FIND(DrvResult, cuStreamDestroy_v2, (DrvStream));
  DrvStream s;
  DrvContext c;
  unsigned u;
  int one = 1;
  DrvContext mine = open_library();
  OK(cuStreamCreateWithPriority(&s, DRV_STREAM_NON_BLOCKING, -1));
  OK(cuStreamGetFlags(s, &u));
  assert_int_equal(u, DRV_STREAM_NON_BLOCKING);
  OK(cuStreamGetCtx(s, &c));
  assert_ptr_equal(c, mine);
  OK(cuStreamIsCapturing(s, &u));
  assert_int_equal(u, 0);
  OK(cuLaunchHostFunc(s, count_call, &one));
  OK(cuStreamAddCallback(NULL, count_callback, &one, 0));
  assert_int_equal(called, 3);
  OK(cuStreamDestroy_v2(s));
  assert_int_equal(cuStreamGetFlags(s, &u), DRV_INVALID_HANDLE);
  assert_int_equal(cuLaunchHostFunc(s, count_call, &one), DRV_INVALID_HANDLE);
  assert_int_equal(called, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_exports), cmocka_unit_test(test_versions), cmocka_unit_test(test_settings),
                                     cmocka_unit_test(test_memory), cmocka_unit_test(test_careless), cmocka_unit_test(test_contexts),
                                     cmocka_unit_test(test_modules), cmocka_unit_test(test_occupancy), cmocka_unit_test(test_streams)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
