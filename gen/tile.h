/* tile.h - the tile IR: a recorded builder. Statements in regions, values by index, layouts by index; docs/language.md has the
 * table of operations, made from tile.def. */
#ifndef KILN_TILE_H
#define KILN_TILE_H
#include "../runtime/kiln.h"
#include "base.h"
#include "layout.h"

typedef enum TileOp {
  TILE_NONE,
#define TILE(id, args, attrs, regions, result, scope, flags, doc) TILE_##id,
#include "tile.def"
#undef TILE
  TILE_OPS
} TileOp;

typedef enum { TK_NONE, TK_SCALAR, TK_FRAG, TK_VIEW, TK_MAP, TK_SMEM, TK_TMEM, TK_RING, TK_SLOT, TK_ORDER, TK_BARRIER, TK_SEMAPHORE, TK_SCHED, TK_VAR,
  TK_CARRY, TK_OPERANDS, TK_WALK } TileKind;

#define TILE_RANK 5
typedef struct TileType {
  uint8_t kind;            /* TileKind */
  uint8_t dtype;           /* kiln_dtype; predicates are KILN_BOOL, counters KILN_I32, sizes and offsets KILN_I64 */
  uint8_t rank;
  bool is_mutable;         /* a `frag` declaration: may be set */
  uint8_t along;           /* FRAG of rank 1: 1 + the dim of a two-dimensional fragment that it lies along (1: one value per row,
                              2: one per column); 0: not said */
  int32_t shape[TILE_RANK];/* FRAG, SMEM, TMEM: constant. MAP: box. VIEW: unused */
  uint32_t layout;         /* FRAG: index into TileProgram.frag_layouts; SMEM: into smem_layouts; 0: not completed yet */
} TileType;

typedef struct TileId { uint32_t i; } TileId; /* 0: none */

typedef enum {
#define TILE_ATTR(name) TA_##name,
#include "tile_attr.def"
#undef TILE_ATTR
  TA_COUNT
} TileAttrKey;
typedef struct TileAttr {
  uint8_t key;             /* TileAttrKey */
  char kind;               /* i n s l b d, as in tile.def */
  int64_t i;               /* i, b, d; l: number of elements */
  double n;                /* n */
  const char *s;           /* s, KEEP */
  const int64_t *list;     /* l, KEEP */
} TileAttr;

typedef VEC(uint32_t) TileRegion; /* node indices in order */

typedef struct TileNode {
  uint16_t op;
  uint8_t nargs, nattrs, nregions;
  bool sync_before;        /* set by hazard: a CTA barrier is needed before this node */
  int32_t derived;         /* set by hazard: copy groups that a ring's wait may leave in flight; of a store ring's acquire and drain, plus one */
  uint32_t args, attrs;    /* first index into the pools */
  uint32_t regions;        /* first index into TileProgram.regions */
  TileType type;
  const char *name;        /* of the value in the text form; NULL: v1, v2, ... KEEP */
  Loc loc;
} TileNode;

typedef struct TileProgram {
  Arena *arena;
  Diag *diag;
  VEC(TileNode) nodes;     /* 0 is unused; every node appears in exactly one region, kernels in `top` */
  VEC(uint32_t) args;
  VEC(TileAttr) attrs;
  VEC(TileRegion) regions;
  VEC(Layout) frag_layouts;       /* 0 is unused */
  VEC(SmemLayout) smem_layouts;   /* 0 is unused */
  TileRegion top;          /* kernels */
  VEC(uint32_t) open;      /* stack of open regions while building */
  uint32_t max_nodes;      /* ceiling; tile_node reports and returns 0 beyond it */
  uint16_t text_file;      /* tile_parse: the text itself; a place in it is not printed as a place in a script */
} TileProgram;

void tile_init(TileProgram *p, Arena *a, Diag *d);

/* Appends a node to the open region (or a kernel to top). Checks arity, operand classes and attributes, infers the type; a
 * mistake goes to diag at loc and returns {0}. Regions are opened and closed by the two calls below. */
TileId tile_node(TileProgram *p, TileOp op, const TileId *args, int nargs, const TileAttr *attrs, int nattrs, Loc loc);
void tile_open(TileProgram *p, TileId node, int region);
void tile_close(TileProgram *p);
void tile_name(TileProgram *p, TileId id, const char *name); /* a name for the text form; copied */
uint32_t tile_layout_intern(TileProgram *p, const Layout *l); /* index into frag_layouts, equal layouts sharing one */

/* Reading. */
static inline TileNode *tile_at(const TileProgram *p, TileId id) { return &p->nodes.at[id.i]; }
static inline TileId tile_arg(const TileProgram *p, const TileNode *n, int k) { return (TileId){k < n->nargs ? p->args.at[n->args + (uint32_t)k] : 0}; }
const TileRegion *tile_region(const TileProgram *p, const TileNode *n, int k);
const TileAttr *tile_attr(const TileProgram *p, const TileNode *n, TileAttrKey key); /* NULL: absent */
int64_t tile_attr_int(const TileProgram *p, const TileNode *n, TileAttrKey key, int64_t deflt);
const char *tile_attr_str(const TileProgram *p, const TileNode *n, TileAttrKey key, const char *deflt);
double tile_attr_num(const TileProgram *p, const TileNode *n, TileAttrKey key, double deflt);

typedef struct TileOpInfo {
  const char *name, *args, *attrs, *result, *flags, *doc;
  uint8_t regions;
  char scope;
} TileOpInfo;
const TileOpInfo *tile_op_info(TileOp op);
TileOp tile_op_find(const char *name); /* TILE_NONE: unknown */
bool tile_op_is(TileOp op, char flag); /* one of the letters of the flags column */
const char *tile_attr_name(TileAttrKey key);
const char *tile_dtype_name(int dtype);         /* "bf16" */
kiln_dtype tile_dtype_find(const char *name);   /* KILN_NO_DTYPE: unknown */
int tile_dtype_bytes(int dtype);
const char *tile_type_text(const TileProgram *p, const TileType *type); /* for messages, PASS: "a fragment f32[64,128]" */
int tile_operands_right(const TileProgram *p, const TileNode *operands); /* dtype of right operands, of a mma_operands */
TileId tile_slot_ring(const TileProgram *p, TileId token);              /* the ring of a slot token */

/* Text form; tile_parse(tile_print(p)) prints the same bytes again. Line comments start with --. */
void tile_print(const TileProgram *p, Text *out);
bool tile_parse(TileProgram *p, const char *name, const char *text, size_t n); /* to diag on error */

/* Whole-program checks that tile_node cannot make: scopes (collectives inside divergent or elected regions), definitions that
 * dominate uses, roles, slots used within acquire..release, shapes of mma, named barriers within 16. To diag. */
bool tile_check(TileProgram *p);
/* Roles take the block's warps in their order, each beginning at a multiple of its align. total: warps of all roles; may be NULL. */
int tile_role_first_warp(const TileProgram *p, TileId kernel, TileId role, int *total);
int tile_role_warps(const TileProgram *p, const TileNode *role); /* of all its groups */

/* layout completion (layout_complete.c) and hazards (hazard.c) */
bool tile_complete(TileProgram *p);
bool tile_has_groups(const TileProgram *p, TileId kernel); /* products that are committed and waited for, by warpgroups */
bool tile_hazard(TileProgram *p);
#endif
