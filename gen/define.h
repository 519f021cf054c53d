/* define.h - an op's mathematical definition: a graph over whole tensors with named dims, traced from the op's Lua function.
 *
 * The families lower it; `kiln check` evaluates it naively in double. The two share nothing but this graph.
 * A node's value is a tensor over a set of named dims (indices into KilnDef.dims, in ascending order); elementwise nodes
 * broadcast by name; a reduction removes a dim; `dot` multiplies and sums over one dim that both operands have. Nodes of dtype
 * i32 are integers (coordinates, sizes, integer scalars); all others are real numbers, or conditions. */
#ifndef KILN_DEFINE_H
#define KILN_DEFINE_H
#include "../runtime/kiln.h"
#include "base.h"

#define DEF_MAX_DIMS 16
#define DEF_MAX_TENSORS 24

typedef enum {
  DEF_ARG,      /* tensor argument `index` */
  DEF_SCALAR,   /* scalar argument `index` */
  DEF_CONST,    /* value */
  DEF_DIM,      /* size of dim `index` as a number */
  DEF_NEG, DEF_ABS, DEF_EXP, DEF_EXP2, DEF_LOG, DEF_LOG2, DEF_SQRT, DEF_RSQRT, DEF_RCP, DEF_TANH, DEF_ERF, DEF_SIN, DEF_COS,
  DEF_RINT,     /* the nearest whole number, of two the even one */
  DEF_NOT,
  DEF_ADD, DEF_SUB, DEF_MUL, DEF_DIV, DEF_MIN, DEF_MAX,
  DEF_LT, DEF_LE, DEF_EQ, DEF_NE, DEF_AND, DEF_OR,
  DEF_WHERE,    /* args: condition, then, else; selection, never multiplication */
  DEF_ROUND,    /* rounds to dtype and back: where the definition itself says a value is stored */
  DEF_SUM, DEF_AMAX, DEF_AMIN, /* over dim `index` */
  DEF_DOT,      /* sum over dim `index` of a*b. value: how exactly it is made; 0: in f32; -1: in accumulators that may keep 13 bits behind the
                   first; n > 0: n terms at a time in those, and these sums in f32 */
  DEF_INDEX,    /* i32: the coordinate along dim `index` */
  DEF_SIZE,     /* i32: the size of dim `index` */
  DEF_FLOAT,    /* an integer as a number */
  DEF_STOP,     /* its operand, which has no gradient by this path */
  DEF_IDIV, DEF_MOD,  /* integers >= 0, the divisor > 0 */
  DEF_SWAP_PAIRS,     /* along dim `index`, column c has what c^1 has; the last one of an odd row has 0 */
  DEF_SWAP_HALVES,    /* args: value, width (i32, even). Along dim `index`, in every whole block of width, the halves exchanged; beyond: 0 */
  DEF_LOOKUP,         /* args: a DEF_ARG of two dims, row, entry (i32): its element there; 0 outside */
  DEF_BLOCK_AMAX,     /* the largest of each block: dim `index` counts blocks of another dim, which it takes the place of */
  DEF_SPREAD,         /* the block's value at each of its elements: dim `index` gives way to the dim that it counts blocks of */
} DefOp;

/* How many operands a node has. */
static inline int def_operands(DefOp op) {
  switch (op) {
  case DEF_ARG: case DEF_SCALAR: case DEF_CONST: case DEF_DIM: case DEF_INDEX: case DEF_SIZE: return 0;
  case DEF_WHERE: case DEF_LOOKUP: return 3;
  case DEF_DOT: case DEF_IDIV: case DEF_MOD: case DEF_SWAP_HALVES: return 2;
  default: return op >= DEF_ADD && op <= DEF_OR ? 2 : 1;
  }
}

/* Does it go between the elements of a dim and its blocks (dim `index`)? */
static inline bool def_blocks(DefOp op) { return op == DEF_BLOCK_AMAX || op == DEF_SPREAD; }

/* Does it remove dim `index`? */
static inline bool def_reduces(DefOp op) { return op >= DEF_SUM && op <= DEF_DOT; }

/* How exactly DEF_DOT multiplies f32 operands; those of fewer bits are multiplied exactly. */
typedef enum { DEF_PRODUCTS_EXACT, DEF_PRODUCTS_TF32, DEF_PRODUCTS_SPLIT } DefProducts;

typedef struct DefNode {
  uint8_t op, nargs, dtype;
  uint8_t products; /* DefProducts */
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
  bool finite;               /* inputs: nothing is defined where it is infinite */
  uint8_t rank;
  uint8_t dim[DEF_MAX_DIMS]; /* index into KilnDef.dims, outermost first, as the caller sees the tensor */
  int32_t value;             /* outputs: the node that it stores, else -1 */
  int32_t over;              /* outputs: the input whose memory it may be, else -1 */
} DefTensor;

typedef struct DefScalar {
  const char *name;
  kiln_dtype dtype;
  double deflt;
  bool has_default, at_call; /* at_call: it comes with each launch */
} DefScalar;

typedef struct KilnDef {
  const char *op, *doc;
  const char *dims[DEF_MAX_DIMS];
  int ndims;
  struct {                   /* a dim that counts blocks of another one, the last of them maybe shorter */
    int8_t of;
    int32_t size;            /* elements of a block; 0: a dim of its own */
  } block[DEF_MAX_DIMS];
  uint32_t lead_dims;        /* mask of dims that stand for several leading dims of the caller's tensors ("M" of a row-wise op) */
  DefTensor tensor[DEF_MAX_TENSORS];
  int ntensors;
  DefScalar scalar[8];
  int nscalars;
  DefNode *node;
  uint32_t nnodes;
  const char *cases;         /* the op's own check cases, a line each: "M=3,N=1 w=f32 ..."; see gen/cli/check.c */
} KilnDef;
#endif
