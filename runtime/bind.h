/* bind.h - arguments against one contract: names, dtypes, sizes, strides, alignment, overlap, requirements; what comes out are
 * the values of every name and the geometry of every step. */
#ifndef KILN_BIND_H
#define KILN_BIND_H
#include "device.h"

enum { BIND_MAX_ARGS = 64 };

/* What can be said of an argument without a contract. */
typedef struct ArgView {
  const kiln_arg *arg;
  int64_t stride[CONTRACT_MAX_RANK]; /* explicit, also where the caller gave NULL */
  int64_t elements;
  int64_t extent_bytes;              /* from the first byte to behind the last; 0 without elements */
} ArgView;

/* Checks what no contract can allow: bad ranks, negative sizes, overflow, a name given twice. */
kiln_status bind_view(const kiln_arg *args, int nargs, ArgView *views);

typedef struct BoundTensor {
  const kiln_tensor *arg;
  int view;                          /* index of its ArgView */
  int64_t shape[CONTRACT_MAX_RANK], stride[CONTRACT_MAX_RANK]; /* in the contract's rank; after bind_contract: collapsed */
} BoundTensor;

enum { BIND_MAX_CLUSTER = 16, BIND_PORTABLE_CLUSTER = 8 }; /* blocks; more than the second only where a kernel is allowed to */

typedef struct BoundStep {
  bool runs;
  bool extended; /* needs cuLaunchKernelEx: cluster or programmatic launch */
  unsigned grid[3], cluster[3], block, shared_bytes;
} BoundStep;

static inline unsigned bind_cluster_blocks(const BoundStep *x) { return x->cluster[0] * x->cluster[1] * x->cluster[2]; }

enum { BIND_MAP_ALIGN = 16 }; /* of a map's address and strides, in bytes */

/* A tensor map's geometry as the driver takes it: innermost dim first; strides in bytes, of dim 1 on. */
typedef struct BoundMap {
  bool used; /* a step that runs takes it; the rest is set only then */
  uint64_t dim[CONTRACT_MAX_MAP_RANK], stride_bytes[CONTRACT_MAX_MAP_RANK - 1];
} BoundMap;

/* What a call scalar may be at each launch. */
typedef struct BoundLimit {
  int64_t low, high;
  uint16_t scalar; /* of the call */
  uint16_t item;   /* of the contract */
} BoundLimit;

typedef struct Binding {
  ExprValue value[CONTRACT_MAX_SYMBOLS];
  BoundTensor tensor[CONTRACT_MAX_TENSORS];
  BoundStep step[CONTRACT_MAX_STEPS];
  int64_t workspace_bytes[CONTRACT_MAX_WORKSPACES];
  BoundMap map[CONTRACT_MAX_MAPS];
  DrvTensorMap encoded[CONTRACT_MAX_MAPS]; /* of used maps; their addresses come with each launch */
  BoundLimit limit[CONTRACT_MAX_LIMITS];
  int nlimits;
  bool empty;      /* no output has elements */
  double cost_ns;  /* HUGE_VAL if the contract has no cost */
  unsigned demand; /* after BAD_ALIGN: the alignment asked for; of two such refusals the milder one tells more */
} Binding;

/* KILN_OK, or the first rule that is broken. Rules are checked in the order of the statuses' values, so of several refusals
 * the highest came closest. quiet: no message is written (selection asks again about the one that matters). */
kiln_status bind_contract(const kiln_device *dev, const Contract *c, const ArgView *views, int nviews, bool quiet, Binding *out);
#endif
