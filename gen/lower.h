/* lower.h - tile IR to PTX program: shared state of the lower_*.c files.
 *
 * Each tile operation is lowered by the function that the target's Arch names for it (arch/). A value of the tile IR becomes a
 * Val: registers by class, or what a memory operand needs to form addresses. */
#ifndef KILN_LOWER_H
#define KILN_LOWER_H
#include "ptx.h"
#include "tile.h"

typedef enum { VAL_NONE, VAL_CONST, VAL_SCALAR, VAL_FRAG, VAL_VIEW, VAL_SMEM, VAL_RING, VAL_SLOT, VAL_OPERANDS, VAL_WALK, VAL_MAP,
  VAL_ORDER, VAL_SCHED } ValKind;

typedef struct ViewVal {      /* a tensor in global memory */
  const char *tensor;
  int rank, elem_bytes, align, multiple;
  const char *size[TILE_RANK], *stride[TILE_RANK]; /* names of parameters, or decimal constants */
  const char *half, *by_half;  /* of a last dim whose halves take turns, in pieces of `run` elements; or NULL */
  int run;
} ViewVal;

typedef struct SmemVal {      /* a shared tile: bytes from a base register */
  uint32_t root;              /* node of the smem declaration or ring (for messages) */
  PtxReg base;                /* .b32: shared address of the tile's first byte */
  int64_t offset;             /* constant bytes added to base */
  int64_t room;               /* bytes from there that an alias may use */
  SmemLayout layout;
  int elem_bytes;
  bool transposed;            /* coordinates are exchanged */
  bool remote;                /* of another CTA of the cluster: base is in the cluster's window */
  int32_t start[2];           /* where a slice begins, in elements of the stored tile */
} SmemVal;

#define LOWER_MAPS 16
typedef struct MapVal {       /* a tensor map, a parameter of the kernel */
  const char *name, *line;    /* line: the contract's */
  const ViewVal *view;
  int rank, swizzle;          /* swizzle: bytes */
  int dim[TILE_RANK];         /* dims of the view, outermost first */
  int32_t box[TILE_RANK];
  PtxReg address;             /* .b64, generic */
} MapVal;

typedef enum {
  RING_GROUPS, /* filled by all threads: groups of cp.async, or loads that the commit stores; a barrier hands slots on */
  RING_BULK,   /* filled by bulk copies, handed on by mbarriers (lower_bulk.c) */
  RING_STORE,  /* emptied by bulk copies */
} RingKind;

#define RING_FIELDS 6
typedef struct RingVal {
  RingKind kind;
  int stages, nfields;
  int32_t slot_bytes;
  const char *field[RING_FIELDS];
  SmemVal tile[RING_FIELDS];  /* of slot 0 */
  PtxReg fill_at, wait_at;    /* variables: byte offset of the slot that acquire and wait hand out next */
  uint32_t node;
  /* BULK */
  PtxReg fill_bar, wait_bar;  /* variables: byte offset of its barrier among those of one kind */
  PtxReg fill_phase, wait_phase; /* variables: the parity that acquire and wait wait for */
  int64_t full, empty;        /* shared offsets of the first barriers */
  int64_t bytes;              /* of all fields: what a slot's copies bring */
  const char *multicast;      /* fields that CTAs of the cluster bring to one another; NULL: none */
  int among;                  /* so many neighbouring ones */
  /* STORE */
  bool per_group;
} RingVal;

typedef struct SlotVal {
  RingVal *ring;
  PtxReg at;                  /* .b32: byte offset of the slot; of a carrier: a variable */
  PtxReg bar;                 /* BULK: likewise of its barriers */
} SlotVal;

typedef struct RoleScope {    /* the threads that execute what is being lowered */
  bool inside;                /* a role; else all of the CTA */
  bool single;                /* one thread of the group alone */
  int warps, groups;          /* of a group; of the role */
  int barrier;                /* named barrier of its first group, the others' follow */
  PtxReg group;               /* .b32 */
} RoleScope;

typedef struct Val {
  uint8_t kind;               /* ValKind */
  uint8_t dtype;
  bool packed;                /* FRAG of 8- or 16-bit elements: four or two to a .b32 register, the first in the lowest bits */
  uint32_t n;                 /* registers */
  PtxReg *reg;
  int64_t i;                  /* CONST, integers and predicates */
  double f;                   /* CONST, floats */
  uint32_t layout;            /* FRAG */
  ViewVal *view;
  SmemVal *smem;
  RingVal *ring;
  SlotVal *slot;
  MapVal *map;
  struct WalkVal *walk;       /* lower_ring.c */
} Val;

typedef struct StagedCopy {   /* one piece of a fill that waits in registers for its commit */
  struct StagedCopy *next;
  PtxReg address;             /* shared */
  int64_t imm;
  PtxReg reg[4];
  int bytes;
  uint32_t slot;              /* id of the register that holds the slot's offset */
} StagedCopy;

typedef struct Lower {
  Arena *arena;
  Diag *diag;
  TileProgram *tiles;
  const Target *target;
  PtxProgram *ptx;
  Val *val;                   /* by node */
  TileId kernel;
  TileNode *node;             /* being lowered */
  PtxReg tid, lane, warp;     /* .b32; inside a role, of the group */
  int threads;                /* likewise */
  RoleScope role;
  PtxLabel roles_end;
  int barriers;               /* named barriers taken so far */
  int cluster;                /* CTAs of a cluster */
  bool groups;                /* products are asynchronous: the kernel closes groups of them */
  bool products;              /* a group of products is open */
  MapVal *map[LOWER_MAPS];
  int nmaps;
  PtxReg shared_base;         /* .b32 address of dynamic shared memory */
  PtxSym shared_sym;
  int64_t shared_bytes;       /* laid out so far */
  VEC(PtxSym) params;         /* in order of first use: the entry's parameter list */
  VEC(const char *) param_names;
  PtxReg *param_value;        /* loaded at the entry, so that they dominate every use */
  PtxReg policy;              /* of the load being lowered */
  StagedCopy *staged;         /* copies through registers that the next commit stores (targets without cp.async) */
  int lo, hi;                 /* elements of a thread that the node being lowered makes now; hi 0: all (lower_run) */
  int portion;                /* of a run, in elements of a thread, where the kernel says so; 0: lower.c's own */
  bool failed, refused;
} Lower;

/* What compile.c needs to finish the contract's step line. */
typedef struct LowerResult {
  const char *entry;
  int threads;
  int64_t shared_bytes;
  const char *const *args;
  int nargs;
  const char *map[LOWER_MAPS]; /* the contract's lines of its tensor maps */
  int nmaps;
  bool refused;               /* of a kernel that failed: only because the target lacks an operation */
} LowerResult;

/* Lowers one kernel node. false: a mistake or a missing lowering, in diag. */
bool lower_kernel(Arena *a, Diag *d, TileProgram *tiles, TileId kernel, const Target *t, PtxProgram **out, LowerResult *result);

/* ---- lower.c: values, scalars, control ---- */
void lower_error(Lower *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lower_refuse(Lower *l, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* the target lacks something */
void lower_region(Lower *l, const TileRegion *r);
Val *lower_val(Lower *l, TileId id);
Val *lower_arg(Lower *l, int k);                 /* of the node being lowered */
Val *lower_result(Lower *l);
TileType *lower_arg_type(Lower *l, int k);
PtxReg lower_param(Lower *l, const char *name); /* value of a kernel parameter */
PtxReg lower_size(Lower *l, const char *name);   /* i64: parameter or decimal constant */
bool lower_is_const(const char *name, int64_t *value);
PtxReg lower_scalar(Lower *l, const Val *v);     /* register of a scalar or constant, class by its dtype */
PtxReg lower_i64(Lower *l, const Val *v);        /* widened */
PtxReg lower_i32(Lower *l, const Val *v);
PtxReg lower_divide(Lower *l, PtxReg n, PtxReg magic); /* by a fastdiv parameter */
PtxClass dtype_class(kiln_dtype t);              /* class of one element's register */
/* The elements [*from, *to) of `total` that are wanted now; true if they are the first ones, so that results are to be made. */
bool lower_range(const Lower *l, int total, int *from, int *to);

/* ---- lower_elem.c ---- */
void lower_elementwise(Lower *l);
void lower_cvt(Lower *l);
void lower_where(Lower *l);
PtxReg elem_convert(Lower *l, PtxReg r, kiln_dtype from, kiln_dtype to);
void elem_unpack(Lower *l, PtxReg pair, kiln_dtype from, PtxReg *lo, PtxReg *hi);   /* to two f32 */
typedef struct ElemProduct { Val *v[2]; int slice_dim[2]; PtxReg same[2]; } ElemProduct;
bool elem_product(Lower *l, TileId id, const Layout *full, ElemProduct *p);                  /* false: not a product that a sum may take in */
PtxReg elem_product_add(Lower *l, const ElemProduct *p, const Layout *full, int r, PtxReg c); /* a * b + c of element r, rounded once */
PtxReg elem_binary(Lower *l, TileOp op, kiln_dtype t, PtxReg a, PtxReg b);
void elem_convert_frag(Lower *l, const Val *in, Val *out, uint32_t from, uint32_t to); /* elements from .. to, whole registers */

/* ---- lower_byte.c ---- */
bool byte_is_float(kiln_dtype t); /* e4m3, e5m2: through f32 */
bool byte_is_int(kiln_dtype t);   /* u8, i8: through i32 */
PtxReg byte_at(Lower *l, PtxReg word, int k);
PtxReg byte_join(Lower *l, const PtxReg b[4]);                                 /* of registers that hold one byte each */
void byte_unpack(Lower *l, PtxReg word, kiln_dtype from, PtxReg x[4]);         /* to four f32 or i32 */
PtxReg byte_pack(Lower *l, const PtxReg x[4], kiln_dtype to);
PtxReg byte_widen(Lower *l, PtxReg b, kiln_dtype from);                        /* a register with one byte */
PtxReg byte_narrow(Lower *l, PtxReg x, kiln_dtype to);

/* ---- lower_frag.c: fragments ---- */
bool frag_packed(const Layout *l, kiln_dtype t);
uint32_t frag_per_register(const Val *v);                                           /* elements: 1, 2 or 4 */
Val *frag_new(Lower *l, kiln_dtype t, uint32_t layout, bool variable);              /* registers made */
const Layout *frag_layout(Lower *l, uint32_t layout);
void frag_positions(Lower *l, const Layout *lay, PtxReg pos[LAYOUT_RANK], uint32_t bits[LAYOUT_RANK]); /* thread's part of each coordinate */
Val *frag_piece(Lower *l, const Val *in);                                           /* the slice at l->node, as its result */
void lower_frag(Lower *l);
void lower_set(Lower *l);
void lower_zero(Lower *l);
void lower_fill(Lower *l);
void lower_coord(Lower *l);
void lower_columns(Lower *l);
void lower_reduce(Lower *l);
uint32_t frag_joined(const Lower *l, const TileRegion *r, uint32_t first); /* reductions from there on that are lowered together */
void lower_reduce_joined(Lower *l, const TileRegion *r, uint32_t first, uint32_t count);
/* The same for reductions at the end of a run: begun before it, fed with each portion, ended after it. */
bool frag_reduce_start(Lower *l, const TileRegion *r, uint32_t first, uint32_t count);
void frag_reduce_portion(Lower *l, const TileRegion *r, uint32_t first, uint32_t count, int from, int to);
void frag_reduce_meet(Lower *l, const TileRegion *r, uint32_t first, uint32_t count);
void lower_exchange(Lower *l);
void lower_twice(Lower *l);
void lower_repeat(Lower *l);
void lower_even_odd(Lower *l);
void lower_read(Lower *l);
void lower_rows(Lower *l);

/* ---- lower_global.c, lower_shared.c: memory ---- */
void lower_view(Lower *l);
void lower_load(Lower *l);      /* global or shared */
void lower_gather(Lower *l);    /* global */
void lower_store(Lower *l);
void lower_load1(Lower *l);
void lower_store1(Lower *l);
void shared_load(Lower *l, Val *frag, const SmemVal *s, int first_coord);
void shared_store(Lower *l, const Val *frag, const SmemVal *s, int first_coord);
void lower_smem(Lower *l);
void lower_slice(Lower *l);
void lower_part(Lower *l);
void lower_trans(Lower *l);
void lower_peer(Lower *l);
int64_t shared_reserve(Lower *l, int64_t bytes, int64_t align);
/* Byte address base + swizzled(thread + constant) of a shared tile as register and immediate; thread: register with the
 * thread's linear byte offset, bits: the address bits it may set. */
PtxReg shared_address(Lower *l, const SmemVal *s, PtxReg thread, uint32_t bits, uint32_t constant, int64_t *imm);
void lower_pdl_wait(Lower *l);
void lower_pdl_launch(Lower *l);
void lower_nothing(Lower *l);    /* of a statement that the target fulfils by itself */
void lower_sync(Lower *l);
void lower_cluster_sync(Lower *l);
void lower_barrier(Lower *l);
void shared_put(Lower *l, const Val *frag, const SmemVal *s); /* the whole tile, by the threads of the fragment's layout */

PtxReg owner_predicate(Lower *l, const Layout *lay); /* true in the one thread of several that hold an element; {0}: none is held twice */

/* Pointer to an element of a view: base + sum coord*stride; used by global accesses and ring fills. */
typedef struct ViewCursor {
  const ViewVal *view;
  PtxReg pointer;             /* .b64: element (coord + thread position), thread part included */
  PtxReg column;              /* .b32: where halves take turns, the last dim's coordinate with the thread's part, which the pointer lacks then */
  bool aligned;               /* no thread's part of it is an odd number of pieces */
  PtxReg step[LAYOUT_RANK];   /* .b64: stride in bytes of each tile dim; {0}: the constant in step_bytes */
  int64_t step_bytes[LAYOUT_RANK];
  PtxReg whole[LAYOUT_RANK];  /* .pred: of every element there is, in the place of room; {0}: room says it */
  PtxReg room[LAYOUT_RANK];   /* .b32: elements from the thread's position to the end of the dim, may be <= 0 */
  int dim[LAYOUT_RANK];       /* view dim of each tile dim */
  int rank;
} ViewCursor;
ViewCursor view_cursor(Lower *l, const ViewVal *v, int first_coord, int tile_rank, const PtxReg *pos, const uint32_t *bits);
PtxReg view_pointer(Lower *l, const ViewCursor *c, const int32_t *at, int64_t *imm); /* register part `at` added */
PtxReg view_inside(Lower *l, const ViewCursor *c, const int32_t *at);                /* predicate: of the element there; {0}: always */
PtxReg turned_column(Lower *l, const ViewVal *v, PtxReg column, int32_t at, bool aligned);
bool lower_halves(Lower *l, ViewVal *v); /* of the node: does it say that halves take turns? */

/* ---- lower_role.c ---- */
bool lower_has_roles(const Lower *l);
int lower_most_groups(const Lower *l);          /* of any role */
PtxReg lower_uniform(Lower *l, PtxReg r);       /* a .b32 that all lanes have alike, known as such to ptxas */
void lower_group_barrier(Lower *l);             /* of the threads in l->role */
PtxLabel lower_single_begin(Lower *l);          /* for one thread of the group until lower_single_end */
void lower_single_end(Lower *l, PtxLabel end);
void lower_role(Lower *l);
void lower_elect(Lower *l);
void lower_order(Lower *l);
void lower_enter(Lower *l);
void lower_leave(Lower *l);
void lower_sched(Lower *l);
void lower_each(Lower *l);

/* ---- lower_bulk.c: what rings of kind BULK and STORE do ---- */
void lower_map(Lower *l);
void lower_skip(Lower *l);
void lower_put_slot(Lower *l);
void lower_store_slot(Lower *l);
void bulk_ring(Lower *l, RingVal *r);
void bulk_acquire(Lower *l, RingVal *r);
void bulk_fill(Lower *l, const SlotVal *slot);
void bulk_commit(Lower *l, const SlotVal *slot);
void bulk_wait(Lower *l, RingVal *r);
void bulk_release(Lower *l, const SlotVal *slot);
void bulk_drain(Lower *l, RingVal *r);

/* ---- lower_wgmma.c ---- */
void lower_mma_groups(Lower *l);   /* by warpgroups, asynchronously, or by mma.sync in a kernel without groups of products */
void lower_mma_rs(Lower *l);       /* with a in registers */
void lower_mma_commit(Lower *l);
void lower_mma_wait(Lower *l);

/* ---- lower_ring.c, lower_mma.c ---- */
SmemVal *ring_field(Lower *l, const SlotVal *s, const char *name); /* the tile of that slot; NULL: a mistake, in diag */
void lower_ring(Lower *l);
void lower_acquire(Lower *l);
void lower_fill_async(Lower *l);   /* cp.async */
void lower_fill_staged(Lower *l);  /* through registers */
void lower_commit_async(Lower *l);
void lower_commit_staged(Lower *l);
void lower_wait_async(Lower *l);
void lower_wait_staged(Lower *l);
void lower_release(Lower *l);
void lower_field(Lower *l);
void lower_drain_async(Lower *l);
void lower_drain_staged(Lower *l);
void lower_walk(Lower *l);
void lower_rewalk(Lower *l);
void lower_carry(Lower *l);
void lower_swap(Lower *l);
void lower_take(Lower *l);
void lower_mma_sync(Lower *l);
struct ArchMma; /* arch/arch.h */
typedef struct ProductShape {
  int mt, nt, ksteps, step;   /* products per warp; steps; elements of k in one */
  int wm, wn, warp_m, warp_n; /* warps; rows and columns per warp */
  bool rows;                  /* the accumulator's neighbouring rows are as bytes with k outermost bring them */
  MmaColumns cols;
} ProductShape;
PtxReg product_warp_row(Lower *l, const ProductShape *s);     /* the warp's first */
PtxReg product_warp_column(Lower *l, const ProductShape *s);
void product_sums(const ProductShape *s, const Val *acc, int m, int n, PtxReg out[4]); /* of the n-th product of 8 columns, m-th of 16 rows */
void product_issue(Lower *l, const struct ArchMma *f, const ProductShape *s, const PtxReg *x, const Val *acc); /* a step's products, as its registers are */

/* ---- lower_f32.c ---- */
void lower_product_tf32(Lower *l, const struct ArchMma *f, const ProductShape *s, const PtxReg *x, int n, const Val *acc);
void lower_product_fma(Lower *l, const ProductShape *s, const Val *acc, const SmemVal *a, const SmemVal *b, int k);
void lower_mma_operands(Lower *l);
void lower_mma_fetch(Lower *l);
void lower_mma_issue(Lower *l);
#endif
