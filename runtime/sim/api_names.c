/* api_names.c - driver entry points: names and texts of results, and the table by which a program asks for the others. */
#include "api.h"
#include <string.h>

static const struct { DrvResult code; const char *name, *text; } results[] = {
  {DRV_SUCCESS, "CUDA_SUCCESS", "no error"},
  {DRV_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
  {DRV_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
  {DRV_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "not initialised"},
  {DRV_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no device"},
  {DRV_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "no such device"},
  {DRV_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "the image is no PTX text"},
  {DRV_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "no valid context"},
  {DRV_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "the PTX is for another architecture"},
  {DRV_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "the PTX was refused"},
  {DRV_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the PTX version is not supported"},
  {301, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
  {DRV_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "no such handle"},
  {DRV_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "not found"},
  {DRV_NOT_READY, "CUDA_ERROR_NOT_READY", "not ready"},
  {DRV_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "the kernel accessed an illegal address"},
  {DRV_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources asked for at launch"},
  {DRV_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the kernel ran past its limit"},
  {DRV_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "the context is destroyed"},
  {DRV_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "the kernel accessed a misaligned address"},
  {DRV_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "the kernel failed"},
  {DRV_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "not supported"},
  {DRV_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static int find_result(DrvResult code) {
  for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
    if (results[i].code == code) return (int)i;
  return -1;
}

DRV_EXPORT DrvResult cuGetErrorName(DrvResult error, const char **text) {
  int i = find_result(error);
  if (!text) return DRV_INVALID_VALUE;
  *text = i < 0 ? NULL : results[i].name;
  return i < 0 ? DRV_INVALID_VALUE : DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuGetErrorString(DrvResult error, const char **text) {
  int i = find_result(error);
  if (!text) return DRV_INVALID_VALUE;
  *text = i < 0 ? NULL : results[i].text;
  return i < 0 ? DRV_INVALID_VALUE : DRV_SUCCESS;
}

/* Every entry point, with the suffix of its exact name set apart: a program asks for the name without it. */
#define ENTRIES(E)                                                                                                     \
  E(cuInit, "") E(cuDriverGetVersion, "") E(cuGetErrorName, "") E(cuGetErrorString, "") E(cuDeviceGetCount, "")        \
  E(cuDeviceGet, "") E(cuDeviceGetName, "") E(cuDeviceGetUuid, "") E(cuDeviceGetAttribute, "")                          \
  E(cuDeviceTotalMem, "_v2") E(cuDevicePrimaryCtxRetain, "") E(cuDevicePrimaryCtxRelease, "_v2") E(cuCtxCreate, "_v2")  \
  E(cuCtxDestroy, "_v2") E(cuCtxPushCurrent, "_v2") E(cuCtxPopCurrent, "_v2") E(cuCtxGetCurrent, "")                    \
  E(cuCtxSetCurrent, "") E(cuCtxGetDevice, "") E(cuCtxSynchronize, "") E(cuModuleLoad, "") E(cuModuleLoadData, "")      \
  E(cuModuleLoadDataEx, "") E(cuModuleUnload, "") E(cuModuleGetFunction, "") E(cuModuleGetGlobal, "_v2")                \
  E(cuFuncGetAttribute, "") E(cuFuncSetAttribute, "") E(cuOccupancyMaxActiveBlocksPerMultiprocessor, "")                \
  E(cuLaunchKernel, "") E(cuLaunchKernelEx, "") E(cuLaunchCooperativeKernel, "") E(cuMemAlloc, "_v2")                   \
  E(cuMemFree, "_v2") E(cuMemGetInfo, "_v2")                                                                             \
  E(cuMemcpy, "") E(cuMemcpyAsync, "") E(cuMemcpyHtoD, "_v2") E(cuMemcpyDtoH, "_v2") E(cuMemcpyDtoD, "_v2")             \
  E(cuMemcpyHtoDAsync, "_v2") E(cuMemcpyDtoHAsync, "_v2") E(cuMemcpyDtoDAsync, "_v2") E(cuMemsetD8, "_v2")              \
  E(cuMemsetD16, "_v2") E(cuMemsetD32, "_v2") E(cuMemsetD8Async, "") E(cuMemsetD16Async, "") E(cuMemsetD32Async, "")    \
  E(cuPointerGetAttribute, "") E(cuPointerGetAttributes, "") E(cuStreamCreate, "") E(cuStreamDestroy, "_v2")            \
  E(cuStreamSynchronize, "") E(cuStreamQuery, "") E(cuStreamWaitEvent, "") E(cuEventCreate, "")                         \
  E(cuEventDestroy, "_v2") E(cuEventRecord, "") E(cuEventSynchronize, "") E(cuEventQuery, "") E(cuEventElapsedTime, "") \
  E(cuGetProcAddress, "_v2")

/* Addresses by link name: the entry points have prototypes of their own kinds. */
#define DECLARE(name, suffix) extern const char entry_##name[] __asm__(#name suffix);
ENTRIES(DECLARE)
#define ENTRY(name, suffix) {#name, entry_##name},
static const struct { const char *name; const void *fn; } entries[] = {ENTRIES(ENTRY)};

DRV_EXPORT DrvResult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, unsigned *status) {
  (void)version, (void)flags;
  if (!symbol || !pfn) return DRV_INVALID_VALUE;
  *pfn = NULL;
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
    if (strcmp(entries[i].name, symbol) == 0) *pfn = (void *)(uintptr_t)entries[i].fn;
  if (status) *status = *pfn ? 0 : 1; /* found; symbol not found */
  return *pfn ? DRV_SUCCESS : DRV_NOT_FOUND;
}
