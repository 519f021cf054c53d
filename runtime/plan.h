/* plan.h - a plan: a variant with its arguments, ready to launch. One block of memory, never written after creation. */
#ifndef KILN_PLAN_H
#define KILN_PLAN_H
#include "bind.h"

enum { PLAN_WORKSPACE_ALIGN = 256 };

typedef struct PlanTensor {
  const char *name;
  void *data;             /* as given at creation; may be NULL */
  int64_t extent_bytes;   /* 0: no elements, the pointer is not looked at */
  uint32_t align_mask;
} PlanTensor;

typedef struct PlanPair { /* an output and a tensor that it must not overlap */
  uint16_t output, other;
  bool alias;             /* may be the same memory: same pointer, sizes and strides are known to be equal */
} PlanPair;

typedef struct PlanScalar {
  const char *name;
  uint8_t dtype;
} PlanScalar;

typedef struct PlanMemset { int64_t offset, bytes; } PlanMemset; /* in the workspace */

/* Where a parameter's value stands: in the plan's own slots, or in what comes with the call. */
typedef struct PlanPatch {
  uint16_t param, kind, index; /* kind: ARG_TENSOR, ARG_WORKSPACE (index: into workspace), ARG_MAP (into map), ARG_CALL */
} PlanPatch;

/* A tensor map but for its address, which each launch puts into a copy of its own. */
typedef struct PlanMap {
  unsigned char bytes[sizeof(DrvTensorMap)]; /* the driver's, unaligned here */
  uint16_t kind, index; /* its memory: ARG_TENSOR, ARG_WORKSPACE */
  uint16_t source;      /* index into the contract's maps */
  uint64_t dim[CONTRACT_MAX_MAP_RANK], stride_bytes[CONTRACT_MAX_MAP_RANK - 1]; /* for people; innermost first */
} PlanMap;

typedef struct PlanStep {
  DrvFunction function;
  unsigned grid[3], cluster[3], block, shared_bytes;
  bool extended;               /* needs cuLaunchKernelEx */
  bool pdl;
  uint16_t nparams, npatches;
  void *const *params;         /* addresses of values; those of patched parameters are NULL */
  const PlanPatch *patches;
  uint16_t source;             /* index into the contract's steps */
} PlanStep;

struct kiln_plan {
  kiln_device *dev;
  Variant *variant;
  const DriverTable *driver;
  DrvContext context;
  int ntensors, npairs, nscalars, nlimits, nsteps, nmemsets, nworkspaces, nmaps;
  PlanTensor *tensor;
  PlanPair *pair;
  PlanScalar *scalar;
  BoundLimit *limit;
  PlanStep *step;
  PlanMemset *memset;
  PlanMap *map;                /* those that a step takes */
  int64_t *workspace_offset;
  ArgView *views;              /* one per tensor, for exact overlap; their args point into this block */
  int64_t workspace_bytes;
  double cost_ns, bytes, flop;
  size_t block_bytes;
};
#endif
