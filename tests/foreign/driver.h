/* driver.h - the part of the CUDA driver API that these programs use, declared as cuda.h declares it, so that they build where no CUDA
 * is installed. -DWITH_CUDA_H takes cuda.h itself instead. The programs know nothing of kiln. */
#ifndef FOREIGN_DRIVER_H
#define FOREIGN_DRIVER_H
#ifdef WITH_CUDA_H
#include <cuda.h>
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device); /* newer headers declare newer versions alone */
#else
#include <stddef.h>
#include <stdint.h>

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;

#define CUDA_SUCCESS 0
#define CU_STREAM_NON_BLOCKING 1
#define CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES 8
#define CU_FUNC_ATTRIBUTE_NUM_REGS 4
#define CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT 16
#define CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR 75
#define CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR 76
#define CU_JIT_ERROR_LOG_BUFFER 5
#define CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES 6
#define CU_LAUNCH_PARAM_END ((void *)0)
#define CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)1)
#define CU_LAUNCH_PARAM_BUFFER_SIZE ((void *)2)

#define cuCtxDestroy cuCtxDestroy_v2
#define cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2
#define cuDeviceTotalMem cuDeviceTotalMem_v2
#define cuModuleGetGlobal cuModuleGetGlobal_v2
#define cuMemAlloc cuMemAlloc_v2
#define cuMemAllocHost cuMemAllocHost_v2
#define cuMemFree cuMemFree_v2
#define cuMemGetInfo cuMemGetInfo_v2
#define cuMemcpyHtoD cuMemcpyHtoD_v2
#define cuMemcpyDtoH cuMemcpyDtoH_v2
#define cuMemcpyHtoDAsync cuMemcpyHtoDAsync_v2
#define cuMemcpyDtoHAsync cuMemcpyDtoHAsync_v2
#define cuMemcpyDtoDAsync cuMemcpyDtoDAsync_v2
#define cuMemsetD8 cuMemsetD8_v2
#define cuMemsetD32 cuMemsetD32_v2
#define cuStreamDestroy cuStreamDestroy_v2
#define cuEventDestroy cuEventDestroy_v2

/* A row per function: name, parameters, arguments. by_name.c reads them too. */
#define FUNCTIONS(F)                                                                                                                 \
  F(cuInit, (unsigned flags), (flags))                                                                                               \
  F(cuDriverGetVersion, (int *version), (version))                                                                                   \
  F(cuGetErrorName, (CUresult error, const char **text), (error, text))                                                              \
  F(cuGetErrorString, (CUresult error, const char **text), (error, text))                                                            \
  F(cuDeviceGetCount, (int *count), (count))                                                                                         \
  F(cuDeviceGet, (CUdevice *device, int ordinal), (device, ordinal))                                                                 \
  F(cuDeviceGetName, (char *name, int bytes, CUdevice device), (name, bytes, device))                                                \
  F(cuDeviceGetAttribute, (int *value, unsigned attribute, CUdevice device), (value, attribute, device))                             \
  F(cuCtxCreate_v2, (CUcontext *context, unsigned flags, CUdevice device), (context, flags, device))                                 \
  F(cuCtxDestroy, (CUcontext context), (context))                                                                                    \
  F(cuDevicePrimaryCtxRetain, (CUcontext *context, CUdevice device), (context, device))                                              \
  F(cuDevicePrimaryCtxRelease, (CUdevice device), (device))                                                                          \
  F(cuCtxSetCurrent, (CUcontext context), (context))                                                                                 \
  F(cuCtxSynchronize, (void), ())                                                                                                    \
  F(cuModuleLoad, (CUmodule *module, const char *path), (module, path))                                                              \
  F(cuModuleLoadData, (CUmodule *module, const void *image), (module, image))                                                        \
  F(cuModuleLoadDataEx, (CUmodule *module, const void *image, unsigned n, unsigned *options, void **values),                         \
    (module, image, n, options, values))                                                                                             \
  F(cuModuleUnload, (CUmodule module), (module))                                                                                     \
  F(cuModuleGetFunction, (CUfunction *function, CUmodule module, const char *name), (function, module, name))                        \
  F(cuModuleGetGlobal, (CUdeviceptr *ptr, size_t *bytes, CUmodule module, const char *name), (ptr, bytes, module, name))             \
  F(cuFuncGetAttribute, (int *value, unsigned attribute, CUfunction function), (value, attribute, function))                         \
  F(cuFuncSetAttribute, (CUfunction function, unsigned attribute, int value), (function, attribute, value))                          \
  F(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *blocks, CUfunction function, int threads, size_t shared),                     \
    (blocks, function, threads, shared))                                                                                             \
  F(cuMemAlloc, (CUdeviceptr *ptr, size_t bytes), (ptr, bytes))                                                                      \
  F(cuMemFree, (CUdeviceptr ptr), (ptr))                                                                                             \
  F(cuMemAllocHost, (void **ptr, size_t bytes), (ptr, bytes))                                                                        \
  F(cuMemFreeHost, (void *ptr), (ptr))                                                                                               \
  F(cuMemcpyHtoD, (CUdeviceptr to, const void *from, size_t bytes), (to, from, bytes))                                               \
  F(cuMemcpyDtoH, (void *to, CUdeviceptr from, size_t bytes), (to, from, bytes))                                                     \
  F(cuMemcpyHtoDAsync, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream), (to, from, bytes, stream))                 \
  F(cuMemcpyDtoHAsync, (void *to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream))                       \
  F(cuMemsetD8, (CUdeviceptr to, unsigned char value, size_t n), (to, value, n))                                                     \
  F(cuMemsetD32, (CUdeviceptr to, unsigned value, size_t n), (to, value, n))                                                         \
  F(cuMemsetD32Async, (CUdeviceptr to, unsigned value, size_t n, CUstream stream), (to, value, n, stream))                           \
  F(cuStreamCreate, (CUstream *stream, unsigned flags), (stream, flags))                                                             \
  F(cuStreamDestroy, (CUstream stream), (stream))                                                                                    \
  F(cuStreamSynchronize, (CUstream stream), (stream))                                                                                \
  F(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags), (stream, event, flags))                                     \
  F(cuEventCreate, (CUevent *event, unsigned flags), (event, flags))                                                                 \
  F(cuEventDestroy, (CUevent event), (event))                                                                                        \
  F(cuEventRecord, (CUevent event, CUstream stream), (event, stream))                                                                \
  F(cuEventSynchronize, (CUevent event), (event))                                                                                    \
  F(cuLaunchKernel,                                                                                                                  \
    (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,   \
     void **params, void **extra),                                                                                                   \
    (f, gx, gy, gz, bx, by, bz, shared, stream, params, extra))                                                                      \
  F(cuLaunchCooperativeKernel,                                                                                                       \
    (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,   \
     void **params),                                                                                                                 \
    (f, gx, gy, gz, bx, by, bz, shared, stream, params))

#ifndef FOREIGN_NAMES_ONLY
#define DECLARE(name, params, args) CUresult name params;
FUNCTIONS(DECLARE)
#undef DECLARE
#endif
#endif
#endif
