/* api_names.c - driver entry points: names and texts of results, and how a program asks for the others (entries.def). */
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
  {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "the memory is registered already"},
  {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "the memory is not registered"},
  {DRV_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "the kernel accessed a misaligned address"},
  {DRV_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "the kernel failed"},
  {DRV_COOPERATIVE_LAUNCH_TOO_LARGE, "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", "the blocks of a cooperative launch do not fit at a time"},
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

/* Addresses by link name: the entry points have prototypes of their own kinds. */
#define ENTRY(name, suffix, since) extern const char entry_##name##suffix[] __asm__(#name #suffix);
#include "entries.def"
#define ENTRY(name, suffix, since) {#name, entry_##name##suffix, since},
static const struct { const char *name; const void *fn; int since; } entries[] = {
#include "entries.def"
};

static const void *find_entry(const char *symbol, int version, bool *newer) {
  const void *found = NULL;
  *newer = false;
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
    if (strcmp(entries[i].name, symbol) != 0) continue;
    if (entries[i].since <= version) found = entries[i].fn;
    else *newer = true;
  }
  return found;
}

DRV_EXPORT DrvResult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, unsigned *status) {
  bool newer;
  (void)flags; /* per-thread default streams are the same here */
  if (!symbol || !pfn) return DRV_INVALID_VALUE;
  *pfn = (void *)(uintptr_t)find_entry(symbol, version, &newer);
  if (status) *status = *pfn ? 0 : newer ? 2 : 1; /* found; the version does not suffice; no such symbol */
  return *pfn ? DRV_SUCCESS : DRV_NOT_FOUND;
}
DRV_EXPORT DrvResult cuGetProcAddress(const char *symbol, void **pfn, int version, uint64_t flags) {
  return cuGetProcAddress_v2(symbol, pfn, version, flags, NULL);
}
