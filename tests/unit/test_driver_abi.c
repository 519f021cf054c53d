/* test_driver_abi.c - driver.def against cuda.h where that is present, and the table's own consistency where it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#if defined(KILN_CUDA_H)
#include KILN_CUDA_H
#elif __has_include(<cuda.h>)
#include <cuda.h>
#elif __has_include("/usr/local/cuda/include/cuda.h")
#include "/usr/local/cuda/include/cuda.h"
#endif
#include "cuda/driver_abi.h"
#include <string.h>

#ifdef CUDA_VERSION
/* cuda.h renames entry points to their newest version by macros, so that cuMemAlloc is cuMemAlloc_v2; rows name the version themselves. */
#define CHECK_SAME(theirs, ours) \
  _Static_assert(__builtin_types_compatible_p(__typeof__(&theirs), __typeof__((ours *)0)), #theirs " differs from cuda.h");
#define CHECK_REQUIRED(theirs, ours) CHECK_SAME(theirs, ours)
#define CHECK_OPTIONAL(theirs, ours) CHECK_SAME(theirs, ours)
#define CHECK_SIMONLY(theirs, ours)
#define DrvFn_cuLaunchKernelEx __typeof__(cuLaunchKernelEx) /* its struct is compared field by field below */
#define DrvFn_cuOccupancyMaxActiveClusters __typeof__(cuOccupancyMaxActiveClusters)
#define DRIVER(need, name, params, args) CHECK_##need(name, DrvFn_##name)
#define DRIVER_NUMBER(ours, theirs, value) _Static_assert((int)theirs == (int)ours, #ours " differs from cuda.h");
#include "cuda/driver.def"

#define FIELD(ours, field, theirs, their_field) \
  _Static_assert(offsetof(ours, field) == offsetof(theirs, their_field) && \
                     sizeof((ours){0}.field) == sizeof((theirs){0}.their_field), #ours "." #field " differs from cuda.h")
_Static_assert(sizeof(DrvLaunchConfig) == sizeof(CUlaunchConfig), "DrvLaunchConfig differs from cuda.h");
_Static_assert(sizeof(DrvLaunchAttribute) == sizeof(CUlaunchAttribute), "DrvLaunchAttribute differs from cuda.h");
_Static_assert(_Alignof(DrvLaunchAttribute) == _Alignof(CUlaunchAttribute), "DrvLaunchAttribute differs from cuda.h");
FIELD(DrvLaunchConfig, grid_x, CUlaunchConfig, gridDimX);
FIELD(DrvLaunchConfig, grid_z, CUlaunchConfig, gridDimZ);
FIELD(DrvLaunchConfig, block_x, CUlaunchConfig, blockDimX);
FIELD(DrvLaunchConfig, block_z, CUlaunchConfig, blockDimZ);
FIELD(DrvLaunchConfig, shared_bytes, CUlaunchConfig, sharedMemBytes);
FIELD(DrvLaunchConfig, stream, CUlaunchConfig, hStream);
FIELD(DrvLaunchConfig, attributes, CUlaunchConfig, attrs);
FIELD(DrvLaunchConfig, count, CUlaunchConfig, numAttrs);
FIELD(DrvLaunchAttribute, id, CUlaunchAttribute, id);
FIELD(DrvLaunchAttribute, value, CUlaunchAttribute, value);
FIELD(DrvLaunchValue, cluster.x, CUlaunchAttributeValue, clusterDim.x);
FIELD(DrvLaunchValue, cluster.z, CUlaunchAttributeValue, clusterDim.z);
FIELD(DrvLaunchValue, programmatic_serialization, CUlaunchAttributeValue, programmaticStreamSerializationAllowed);
_Static_assert(sizeof(DrvTensorMap) == sizeof(CUtensorMap) && sizeof(CUtensorMap) == 8 * CU_TENSOR_MAP_NUM_QWORDS, "DrvTensorMap differs from cuda.h");
_Static_assert(sizeof(DrvPtr) == sizeof(CUdeviceptr) && sizeof(DrvDevice) == sizeof(CUdevice), "handles differ from cuda.h");
#endif

static const char *const names[] = {
#define DRIVER(need, name, params, args) #name,
#include "cuda/driver.def"
};

static void test_rows(void **state) {
  (void)state;
  size_t n = sizeof names / sizeof *names;
  for (size_t i = 0; i < n; i++) {
    assert_true(strncmp(names[i], "cu", 2) == 0 || strncmp(names[i], "kilnsim_", 8) == 0);
    for (size_t j = 0; j < i; j++) assert_string_not_equal(names[i], names[j]);
  }
  assert_int_equal(sizeof(DrvPtr), 8);
  assert_int_equal(sizeof(DrvLaunchValue), 64);
  assert_int_equal(sizeof(DrvTensorMap), 128);
  assert_int_equal(_Alignof(DrvTensorMap), 64);
}

static void test_cuda_header(void **state) {
  (void)state;
#ifdef CUDA_VERSION
  assert_true(CUDA_VERSION >= 11040); /* the rows were compared when this file was compiled */
#else
  skip(); /* no cuda.h here */
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_cuda_header)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
