/* driver_abi.h - the driver API's types and numbers, in our own words, so that nothing of kiln needs a CUDA header.
 *
 * Shared by the runtime (which calls the entry points of driver.def) and the simulator (which exports them). The types are
 * compatible with cuda.h's: handles point to the same struct tags, enums are `unsigned` as the ABI passes them, and structs have
 * the same layout. tests/unit/test_driver_abi.c compares all of it with cuda.h where that is present. */
#ifndef KILN_DRIVER_ABI_H
#define KILN_DRIVER_ABI_H
#include <stddef.h>
#include <stdint.h>

typedef unsigned DrvResult;
typedef int DrvDevice;
typedef unsigned long long DrvPtr; /* a device address */
typedef struct CUctx_st *DrvContext;
typedef struct CUmod_st *DrvModule;
typedef struct CUfunc_st *DrvFunction;
typedef struct CUstream_st *DrvStream;
typedef struct CUevent_st *DrvEvent;
typedef struct CUgraph_st *DrvGraph;
typedef struct CUgraphExec_st *DrvGraphExec;

typedef union DrvLaunchValue {
  char pad[64];
  int cooperative;
  int programmatic_serialization;
  struct { unsigned x, y, z; } cluster;
  uint64_t align; /* the driver's union holds pointers */
} DrvLaunchValue;

typedef struct DrvLaunchAttribute {
  unsigned id;
  char pad[4];
  DrvLaunchValue value;
} DrvLaunchAttribute;

typedef struct DrvLaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  DrvStream stream;
  DrvLaunchAttribute *attributes; /* may be NULL when count is 0 */
  unsigned count;
} DrvLaunchConfig;

/* Storage of a tensor map. Only the driver reads the bytes; entry points take its address under the ABI's tag, which cuda.h completes,
 * and the simulator, each in its own way. (cuda.h of 13.0 aligns its own to 128; the driver asks for 64.) */
struct CUtensorMap_st;
typedef struct DrvTensorMap { _Alignas(64) unsigned char bytes[128]; } DrvTensorMap;

enum {
#define DRIVER_NUMBER(ours, theirs, value) ours = value,
#include "driver.def"
};

#define DRV_STREAM_LEGACY ((DrvStream)0x1)     /* the NULL stream, named */
#define DRV_STREAM_PER_THREAD ((DrvStream)0x2)
#define DRV_EXTRA_END ((void *)0x0)            /* markers in cuLaunchKernel's `extra` list */
#define DRV_EXTRA_BUFFER ((void *)0x1)
#define DRV_EXTRA_BUFFER_SIZE ((void *)0x2)

/* One function type per row: DrvFn_cuInit ... */
#define DRIVER(need, name, params, args) typedef DrvResult DrvFn_##name params;
#include "driver.def"
#endif
