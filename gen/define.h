/* define.h - an op's mathematical definition: a graph over whole tensors with named dims, traced from the op's Lua function.
 *
 * The families lower it; `kiln check` evaluates it naively in double. The two share nothing but this graph.
 * A node's value is a tensor over a set of named dims (indices into KilnDef.dims, in ascending order); elementwise nodes
 * broadcast by name; `reduce` removes a dim; `dot` multiplies and sums over one dim that both operands have. */
#ifndef KILN_DEFINE_H
#define KILN_DEFINE_H
#include "../runtime/kiln.h"
#include "base.h"

#define DEF_MAX_DIMS 8
#define DEF_MAX_TENSORS 24

typedef enum {
  DEF_ARG,      /* tensor argument `index` */
  DEF_SCALAR,   /* scalar argument `index` */
  DEF_CONST,    /* value */
  DEF_DIM,      /* size of dim `index` as a number */
  DEF_NEG, DEF_ABS, DEF_EXP, DEF_EXP2, DEF_LOG, DEF_LOG2, DEF_SQRT, DEF_RSQRT, DEF_RCP, DEF_TANH, DEF_ERF, DEF_SIN, DEF_COS,
  DEF_NOT,
  DEF_ADD, DEF_SUB, DEF_MUL, DEF_DIV, DEF_MIN, DEF_MAX,
  DEF_LT, DEF_LE, DEF_EQ, DEF_NE, DEF_AND, DEF_OR,
  DEF_WHERE,    /* args: condition, then, else; selection, never multiplication */
  DEF_ROUND,    /* rounds to dtype and back: where the definition itself says a value is stored */
  DEF_SUM, DEF_AMAX, DEF_AMIN, /* over dim `index` */
  DEF_DOT,      /* sum over dim `index` of a*b */
} DefOp;

typedef struct DefNode {
  uint8_t op, nargs, dtype;
  uint16_t index;
  uint32_t arg[3];
  double value;
  uint32_t dims;  /* bit i: has dim i */
  Loc loc;
} DefNode;

typedef struct DefTensor {
  const char *name;
  kiln_dtype dtype;
  bool is_out, optional, present;
  uint8_t rank;
  uint8_t dim[DEF_MAX_DIMS]; /* index into KilnDef.dims, outermost first, as the caller sees the tensor */
  int32_t value;             /* outputs: the node that it stores, else -1 */
} DefTensor;

typedef struct DefScalar { const char *name; kiln_dtype dtype; double deflt; bool has_default; } DefScalar;

typedef struct KilnDef {
  const char *op, *doc;
  const char *dims[DEF_MAX_DIMS];
  int ndims;
  int lead_dim;              /* dim that stands for up to four leading dims of the caller's tensors ("M" of a row-wise op), or -1 */
  DefTensor tensor[DEF_MAX_TENSORS];
  int ntensors;
  DefScalar scalar[8];
  int nscalars;
  DefNode *node;
  uint32_t nnodes;
  const char *cases;         /* the op's own check cases, a line each: "M=3,N=1 w=f32 ..."; see gen/cli/check.c */
} KilnDef;
#endif
