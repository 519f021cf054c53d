/* sim.h - the simulator's inner structures: device, memory, module, predecoded instruction, warp, CTA, launch.
 *
 * One way through: lex.c, parse.c, operand.c read PTX; decode.c turns a row of gen/isa into a handler and operands; flow.c finds
 * register lifetimes and gives them slots; launch.c opens a grid, schedule.c decides which groups of CTAs are resident and whose turn
 * it is, group.c runs one group, cta.c its barriers; exec/ holds the handlers, compiled once per instruction-set level of the host;
 * order.c keeps what happens before what, shadow.c and race.c judge shared and global memory by it; api_*.c is the driver. */
#ifndef KILN_SIM_H
#define KILN_SIM_H
#include "cuda/driver_abi.h"
#include "isa/isa.h"
#include "kilnsim.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_FULL 0xffffffffu
#define SIM_LANES 32
#define SIM_MAX_WARPS 32
#define SIM_MAX_BARRIERS 16
#define SIM_MAX_AGENTS 512 /* warps of a group */

/* A cell of the shadow of shared memory says who wrote last, when, and how. */
#define SIM_CELL_AGENT 0x3ffu
#define SIM_CELL_ENGINE 0x200u  /* of the agent: not a warp, but an engine of asynchronous copies (engine.h) */
#define SIM_CELL_MBAR (SIM_CELL_PENDING | SIM_CELL_AGENT) /* nobody may access it: an mbarrier is here */
#define SIM_CELL_STRONG 0x400u  /* atomically, or by a strong store */
#define SIM_CELL_PENDING 0x800u /* an asynchronous copy, not complete */
#define SIM_CELL_TIME 12        /* from this bit on */
#define SIM_FLIGHT (0xffffffffu - 1) /* instead of a read: it is still going on */
/* A read: when, by which lane of the warp (or SIM_LANE_*), and whether it was strong. Beside a cell's last write stands its lane too. */
#define SIM_READ(time, lane) ((time) << 7 | (uint32_t)(lane) << 1)
#define SIM_READ_LANE(read) ((read) >> 1 & 63)
#define SIM_READ_TIME(read) ((read) >> 7)
#define SIM_READ_SEEN(time) ((time) << 7 | 127) /* the latest of that time */
#define SIM_LANE_MANY 32u /* several, each in its own right: ordered before others by what joins lanes alone */
#define SIM_LANE_WARP 33u /* the warp as one, by an operation of the engine that all of its lanes have waited for */
#define SIM_MAX_TIME ((1u << (32 - SIM_CELL_TIME)) - 1)

/* Generic addresses: where the windows of the state spaces lie. Beyond any host address, so that a host pointer is never valid. */
#define SIM_GLOBAL_BASE 0x0010000000000000ull
#define SIM_DEVICE_STEP 0x0000040000000000ull /* each device has a part of the global window, so that an address says whose it is */
#define SIM_SHARED_BASE 0x0020000000000000ull
#define SIM_LOCAL_BASE 0x0030000000000000ull
#define SIM_PARAM_BASE 0x0040000000000000ull
#define SIM_CODE_BASE 0x0050000000000000ull /* addresses of functions: the i-th at i + 1 steps */
#define SIM_CODE_STEP 16u
#define SIM_RANK_SHIFT 24 /* of a shared address: from here on the rank of its CTA in the cluster + 1, or 0 (engine.h) */
#define SIM_WINDOW_MASK 0x0000ffffffffffffull
#define SIM_GUARD_BYTES 65536u /* unmapped space between allocations */

/* ---- heap (sim_heap.c): kiln_mem with a growable array on top ---- */
typedef struct SimBuf { void *at; size_t n, cap; } SimBuf; /* counts are bytes */
void *sim_new(size_t bytes);                               /* zeroed; NULL when out of memory */
void sim_delete(void *p, size_t bytes);
void *sim_push(SimBuf *b, size_t bytes);                   /* address of the new zeroed bytes, NULL when out of memory */
void sim_buf_free(SimBuf *b);
char *sim_copy_text(const char *s, size_t n);
#define SIM_AT(buf, T, i) (((T *)(buf)->at)[i])
#define SIM_COUNT(buf, T) ((uint32_t)((buf)->n / sizeof(T)))

/* ---- targets (target.c) ---- */
typedef enum { SIM_TENSOR_TURING, SIM_TENSOR_AMPERE, SIM_TENSOR_ADA, SIM_TENSOR_HOPPER, SIM_TENSOR_BLACKWELL, SIM_TENSOR_BLACKWELL_RTX,
               SIM_TENSOR_GENERATIONS } SimTensor;
typedef struct SimTarget {
  const char *name;
  uint16_t sm;             /* 90 */
  char suffix;             /* 0, 'a', 'f' */
  uint32_t shared_block, shared_sm, shared_static; /* bytes; per block opt-in, per SM, static without opt-in */
  uint16_t threads_sm, ctas_sm;
  uint32_t shared_first;   /* where a CTA's shared memory begins in its window */
  uint32_t reserved;       /* shared memory of the SM that the system takes per CTA */
  uint8_t tensor;          /* SimTensor: how its tensor cores add up */
} SimTarget;
const SimTarget *sim_target_find(const char *name, size_t n);
const SimTarget *sim_target_default(void);
const char *sim_target_names(void);
/* May code for `have` (a .target word) use what needs `needs` (a row's sm word)? May it be loaded on `dev`? */
bool sim_target_allows(const char *have, size_t n, const char *needs);
bool sim_target_clusters(const SimTarget *t);
bool sim_target_loads(const char *have, size_t n, const SimTarget *dev);

/* ---- global memory (memory.c) ---- */
typedef struct SimAlloc {
  uint64_t base, bytes;
  char *host;
  uint8_t *init;       /* a bit per byte: written since allocation; NULL once all are */
  atomic_bool all_init;
  bool freed, constant; /* constant: a module's .const array */
  const struct CUctx_st *owner; /* the context that ends it at the latest; NULL: the device */
  uint64_t serial;     /* nth allocation of the device */
  struct SimRacePage **pages; /* race.c; NULL until a checked launch touches it */
} SimAlloc;

typedef struct SimMemory {
  SimBuf allocs;       /* SimAlloc*, ascending base; freed ones stay as tombstones for a while */
  uint64_t next_base, serial, live_bytes, total_bytes;
} SimMemory;
DrvResult sim_memory_alloc(SimMemory *m, uint64_t bytes, uint64_t *base);
DrvResult sim_memory_free(SimMemory *m, uint64_t base);
bool sim_memory_free_of(SimMemory *m, const struct CUctx_st *owner); /* all that is the owner's; true: no context owns anything any more */
SimAlloc *sim_memory_find(const SimMemory *m, uint64_t addr);       /* the allocation containing addr, freed or not; NULL */
SimAlloc *sim_memory_nearest(const SimMemory *m, uint64_t addr);    /* the last one at or below addr */
SimAlloc *sim_memory_range(const SimMemory *m, uint64_t addr, uint64_t bytes); /* live and wholly inside, or NULL */
void sim_memory_mark(SimAlloc *a, uint64_t addr, uint64_t bytes);   /* written */
bool sim_memory_written(const SimAlloc *a, uint64_t addr, uint64_t bytes, uint64_t *first_bad);
void sim_memory_unmark(SimAlloc *a, uint64_t addr, uint64_t bytes); /* not written any more: multiples of 8 */
void sim_memory_settle(SimAlloc *a);                                /* drops the bitmap if every byte is written */
void sim_memory_close(SimMemory *m);

/* ---- device (device.c) ---- */
typedef enum { POLICY_LAZY, POLICY_EAGER, POLICY_RANDOM, POLICY_ALTERNATE } SimPolicy;
#define SIM_MAX_CORES 64
typedef struct SimBlock { void *at; size_t bytes; } SimBlock; /* memory of a group, kept from launch to launch */
typedef struct SimDevice {
  char *options;
  const SimTarget *target;
  int ordinal, sms, cores;
  bool checks, meter, mma_exact;
  const struct SimLevel *level; /* handlers for this host */
  uint64_t seed, limit;
  SimPolicy policy;
  SimMemory memory;
  uint64_t launches;
  kilnsim_finding finding;
  bool found;              /* the last launch failed */
  DrvResult pending;       /* its code, not yet returned by a synchronising call */
  kilnsim_counters counters, total; /* of the last launch; of all */
  SimBuf forms;            /* SimFormCount */
  SimBuf rows;             /* kilnsim_meter_row */
  SimBuf blocks;           /* SimBlock, the nth for the nth group that is open at a time */
  struct CUctx_st *primary;
  int primary_users;
  SimBuf print;            /* output of device code that no synchronising call has passed on */
  uint64_t heap;           /* of malloc in device code; 0: none yet */
  uint64_t workspace;      /* of cooperative launches; 0: none yet */
} SimDevice;
typedef struct SimFormCount { const char *opcode; uint64_t lanes; } SimFormCount;

/* ---- module ---- */
/* Semantics and scope (PTX ISA, Memory Consistency Model: Operation Types, Scope). Weak accesses have neither. */
typedef enum { SEM_WEAK, SEM_RELAXED, SEM_ACQUIRE, SEM_RELEASE, SEM_ACQ_REL, SEM_SC } SimSem;
typedef enum { SCOPE_NONE, SCOPE_CTA, SCOPE_CLUSTER, SCOPE_GPU, SCOPE_SYS } SimScope;

typedef enum { SPACE_NONE, SPACE_GLOBAL, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM, SPACE_CONST, SPACE_GENERIC } SimSpace;
typedef struct SimWarp SimWarp;
typedef struct SimInstr SimInstr;
typedef struct SimLevel SimLevel;
typedef int (*SimHandler)(SimWarp *w, const SimInstr *in, uint32_t mask);

/* what a handler returns: go on; pc or masks changed; leave the warp; another function's code, registers and counters */
enum { STEP_NEXT, STEP_JUMP, STEP_YIELD, STEP_FRAME };

struct SimInstr {          /* predecoded; 64 bytes or a little more */
  SimHandler fn;
  const uint32_t *o;       /* byte offsets of its operands in the warp's register file, in the row's order, vectors flattened */
  uint32_t guard, flip;    /* executing lanes: active & (predicate at guard ^ flip) */
  int64_t imm;             /* byte offset of the (first) memory operand, or what the handler says */
  uint32_t target;         /* branch: index of the instruction jumped to; SIM_FULL: none. Others: flow.c and the handler say */
  uint32_t line;           /* in the PTX text */
  uint32_t src_line;       /* of .loc */
  uint16_t src_file;       /* index into SimModule.files, 0: none */
  uint16_t form;           /* IsaId */
  uint16_t handler;        /* index of fn in the handler tables */
  uint16_t sub;            /* handler's own */
  uint8_t n, size;         /* vector length; bytes per element */
  uint16_t flags;          /* SIM_I_* */
  uint8_t space;
  uint8_t sem, scope;      /* SimSem, SimScope of a memory access, an atomic or a fence */
  uint32_t mem;            /* index for the look-up cache of memory instructions */
  int32_t imm2, imm3;      /* offsets of the second and third memory operand (cp.async; bulk copies) */
  uint32_t track;          /* first entry in SimFunction.tracks, 0: registers need no run-time check */
};
enum { SIM_I_ADDR32 = 1, SIM_I_SIGNED = 2, SIM_I_WIDE = 4, SIM_I_NEGATE = 8, SIM_I_TRANS = 16, SIM_I_ADDR32B = 32, SIM_I_CONTROL = 64,
       SIM_I_MACS = 128, SIM_I_ADDR32C = 256, SIM_I_REMOTE = 512,
       SIM_I_MASKS = 1024 }; /* MASKS: a member mask out of a register, in which lanes may differ */

typedef struct SimTrack { /* the registers of one instruction whose definedness must be watched at run time */
  SimHandler inner;
  uint32_t first, nread, nmaybe, nwrite, nheld; /* in SimFunction.track_regs: indices of init masks, in this order; see flow.c */
  bool guarded;                  /* its guard is watched: the first read; the instruction itself is then unguarded */
  uint32_t guard, flip;
} SimTrack;

typedef enum { VREG_PLAIN, VREG_CONST, VREG_SPECIAL, VREG_SINK } SimVregKind;
typedef struct SimVreg {
  uint8_t kind;
  uint8_t width;     /* bytes of a lane: 0 predicate, 4 (16- and 32-bit), 8 */
  uint8_t type;      /* declared: 'p' 'b' 'u' 's' 'f' */
  uint8_t bits;      /* declared: 1 16 32 64 */
  uint32_t name;     /* plain: offset in SimParser names, for messages */
  uint64_t value;    /* const: its bits; special: SimSpecial */
  uint32_t offset;   /* in the register file, once placed */
} SimVreg;

typedef enum {
  SPECIAL_NONE, SPECIAL_TID_X, SPECIAL_TID_Y, SPECIAL_TID_Z, SPECIAL_NTID_X, SPECIAL_NTID_Y, SPECIAL_NTID_Z, SPECIAL_CTAID_X,
  SPECIAL_CTAID_Y, SPECIAL_CTAID_Z, SPECIAL_NCTAID_X, SPECIAL_NCTAID_Y, SPECIAL_NCTAID_Z, SPECIAL_LANEID, SPECIAL_WARPID,
  SPECIAL_NWARPID, SPECIAL_SMID, SPECIAL_NSMID, SPECIAL_GRIDID, SPECIAL_LANEMASK_EQ, SPECIAL_LANEMASK_LT, SPECIAL_LANEMASK_LE,
  SPECIAL_LANEMASK_GT, SPECIAL_LANEMASK_GE,
  SPECIAL_CLUSTERID_X, SPECIAL_CLUSTERID_Y, SPECIAL_CLUSTERID_Z, SPECIAL_NCLUSTERID_X, SPECIAL_NCLUSTERID_Y, SPECIAL_NCLUSTERID_Z,
  SPECIAL_CLUSTER_CTAID_X, SPECIAL_CLUSTER_CTAID_Y, SPECIAL_CLUSTER_CTAID_Z, SPECIAL_CLUSTER_NCTAID_X, SPECIAL_CLUSTER_NCTAID_Y,
  SPECIAL_CLUSTER_NCTAID_Z, SPECIAL_CLUSTER_CTARANK, SPECIAL_CLUSTER_NCTARANK,
  SPECIAL_DYNAMIC_SMEM, SPECIAL_TOTAL_SMEM, SPECIAL_ENVREG1, SPECIAL_ENVREG2,
  SPECIAL_STACK, /* local address of the activation's stack, plus what stands above SIM_SPECIAL_BITS */
  SPECIAL_CLOCK, SPECIAL_CLOCK64, SPECIAL_TIMER,
} SimSpecial;
#define SIM_SPECIAL_BITS 8
#define SIM_SPECIAL(value) ((value) & ((1u << SIM_SPECIAL_BITS) - 1))

typedef struct SimParam { uint32_t offset, bytes, align; } SimParam;

/* A call: its arguments, then its results, as pieces of the caller's stack or registers, in the order of the callee's own. */
typedef struct SimArg { uint32_t offset, bytes; int operand; } SimArg; /* operand: index into SimInstr.o; -1: at offset on the stack */
typedef struct SimCall {
  uint32_t callee;        /* index into SimModule.functions; SIM_FULL: the address in operand `operand` */
  int operand;
  uint32_t first, nargs, nresults; /* in SimFunction.args */
} SimCall;
typedef struct SimVar { char *name; uint64_t address, bytes; } SimVar; /* module-scope .global or .const array */

typedef struct SimFunction {
  char *name;
  struct SimModule *module;
  SimInstr *code;
  uint32_t ncode, code_cap;
  uint32_t *pool;         /* operand offsets of all instructions */
  uint32_t npool;
  SimTrack *tracks;       /* [0] unused */
  uint32_t ntracks;
  uint32_t *track_regs;
  uint32_t ntrack_regs, ntracked;
  uint64_t *fills;        /* what a register file holds from the start: pairs offset<<8|width, value */
  uint32_t nfills;
  uint64_t *specials;     /* likewise: pairs offset<<8|width, SimSpecial */
  uint32_t nspecials;
  uint32_t file_bytes;    /* register file of a warp, predicates first */
  uint32_t regs;          /* estimate of registers per thread */
  uint32_t nmem;          /* memory instructions */
  SimParam *params;
  uint32_t nparams, param_bytes;
  /* a device function (.func): parameters and results lie on its stack; so do .local arrays and the .param of its calls */
  bool entry, declared, defined;
  uint32_t used_line;     /* where it is first called or its address taken, 0: nowhere */
  uint8_t builtin;        /* SimBuiltin */
  SimParam *results;
  uint32_t nresults;
  uint32_t stack_bytes;   /* of one lane */
  uint8_t *stack_map;     /* a byte per byte of it: 1 where something is declared; between .local arrays lies a gap */
  SimCall *calls;
  uint32_t ncalls;
  SimArg *args;
  uint32_t nargs;
  uint32_t *targets;      /* of brx.idx: lists of instructions, each after its length */
  uint32_t ntargets;
  uint32_t code_base, mem_base; /* where a device function's counters and look-up caches begin, behind those of the entry */
  uint32_t shared_static, shared_align; /* static shared memory; alignment of what comes after it */
  bool dynamic_shared;
  uint32_t reqntid[3], maxntid[3], minnctapersm, maxnreg;
  uint32_t reqcluster[3], maxrank; /* .reqnctapercluster, .maxclusterrank; 0: not given */
  uint32_t shift;         /* shared shadow: log2 of bytes per cell */
  uint32_t max_dynamic;   /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
  bool large_clusters;    /* CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED */
  bool uses_cp_async;
  bool uses_async;        /* has operations of the asynchronous proxy */
  bool meets;             /* has strong accesses or atomics that may touch global memory: its CTAs may wait for one another */
  uint32_t granule;       /* global shadow: log2 of the bytes of its narrowest access */
} SimFunction;

typedef struct SimModule {
  struct CUctx_st *ctx;
  SimDevice *dev;
  char target[16];
  int version;            /* .version times ten */
  SimBuf functions;       /* SimFunction*: entries and device functions */
  uint32_t func_code, func_mem; /* instructions and memory instructions of all device functions */
  SimBuf vars;            /* SimVar */
  SimBuf files;           /* char*, index 0 unused */
} SimModule;

/* sim_parse_module: NULL with the message in log (never empty) when the text is refused, result in *code. */
SimModule *sim_parse_module(SimDevice *dev, const char *text, DrvResult *code, char *log, size_t log_bytes);
void sim_module_free(SimModule *m);

/* ---- execution ---- */
#include "order.h"

typedef struct SimCopy { /* one cp.async instruction of a warp, not complete */
  uint32_t group;        /* commit serial it belongs to */
  uint32_t mask, line;
  const SimInstr *in;
  uint8_t bytes;
  bool landed;           /* data is in place, though nobody may look yet */
  uint32_t dst[SIM_LANES];
  uint32_t src_bytes[SIM_LANES];
  const char *src[SIM_LANES];
} SimCopy;

/* Why a warp does not run. WARP_TURN: at an operation on global memory that others may see, until its moment in virtual time.
 * WARP_PARKED: in a loop that has only looked at memory and would find the same again, until somebody writes there. WARP_HELD: waits
 * for what exec/ decides (an mbarrier, an asynchronous operation); whoever fulfils it calls sim_group_ready. */
enum { WARP_READY, WARP_BARRIER, WARP_TURN, WARP_PARKED, WARP_HELD, WARP_DONE };

#define SIM_MAX_WATCH 8
typedef struct SimWatch { /* one location that a spinning warp has read */
  uint64_t address;       /* generic: in the window of its space */
  const char *at;
  uint32_t bytes;
  bool global, watched;   /* watched: a write there sets the warp's wake */
  uint64_t value;         /* what it read */
} SimWatch;

typedef struct SimSplit { /* lanes of a warp that stand elsewhere; see exec/warp.h */
  uint32_t pc, mask;
  uint32_t members;       /* they wait at the collective at pc for these lanes; 0: they do not */
  uint32_t asleep;        /* backward branch + 1 of the loop in which they spin; 0: they do not */
} SimSplit;

/* One activation of a function: frames[0] is the entry's. frame.c */
typedef struct SimFrame {
  const SimFunction *fn;
  char *block;                      /* registers, definedness, stack of 32 lanes; of a device function */
  size_t bytes;
  uint64_t filled;                  /* the CTA (serial of its worker) for which constants and special registers are in place */
  char *regs, *stack;
  uint32_t *init;
  uint64_t base;                    /* local address of the stack */
  const SimInstr *call;             /* who called; the caller's state as it will go on */
  uint32_t mask, returned;          /* lanes that called; that have come back */
  uint32_t pc, active, nsplit;
  SimSplit split[SIM_LANES];
} SimFrame;

struct SimWarp {
  char *regs;                       /* predicates, then slots of 32 lanes */
  const SimInstr *code;
  uint64_t *lanes;                  /* lane count per instruction, of the group */
  uint32_t pc, active, live, stop;  /* stop: lowest pc at which another split waits that can go on */
  SimSplit split[SIM_LANES];
  uint32_t nsplit;
  uint32_t index, state, threads;   /* threads: mask of lanes that exist */
  uint32_t self;                    /* its number in the launch */
  uint32_t agent;                   /* its number in the group: rank of its CTA x warps per CTA + index */
  uint32_t barrier, min_hb;         /* where it is parked; lowest of its hb row (itself left out) */
  uint64_t budget, left;            /* warp instructions until it tells how far it is (sim_warp_refill); after that, before the limit */
  uint64_t key;                     /* WARP_TURN: virtual time of its operation */
  atomic_uint_fast64_t wake;        /* virtual time at which a location that it looks at was first written since then; 0: not yet */
  bool granted;                     /* the operation at pc may be executed */
  const char *waits;                /* WARP_HELD: for what, for the report of a deadlock */
  uint64_t macs;
  uint32_t *init;                   /* definedness masks of watched registers */
  uint32_t *touch;                  /* of those that products hold (exec/wgmma.h): operations in flight << 1 | used since the last fence */
  SimBuf products;                  /* SimProduct: of a warpgroup, in flight, oldest first */
  uint32_t product_group;           /* groups of products committed */
  uint32_t nproducts;               /* products so far, and what they were: the same in all warps of a warpgroup */
  uint64_t product_hash;
  struct SimMbar *held;             /* WARP_HELD: the mbarrier whose phase it waits for */
  bool held_any;                    /* or any other of its CTA */
  uint32_t depended;                /* time of its griddepcontrol.wait, 0: not yet */
  bool expired;                     /* its try_wait ends without success, since nobody can go on */
  uint32_t begun;                   /* CTAs of the cluster, by rank, that it knows to have begun */
  bool waits_cluster, waits_regs;   /* WARP_HELD: at the cluster's barrier; for registers */
  uint32_t flights;                 /* areas of shared memory that its asynchronous operations are reading */
  uint32_t bulk_group[SIM_LANES];   /* groups of bulk copies that the thread has committed */
  uint32_t nregs;                   /* registers per thread as setmaxnreg left them; 0: not known */
  uint32_t arrived, passed;         /* lanes that have arrived at the cluster's barrier; of the phase that has ended, not waited for yet */
  uint32_t arrival;                 /* time of that */
  SimCopy *copies;                  /* in flight, oldest first */
  uint32_t ncopies, copies_cap, group; /* groups committed */
  uint32_t *hb;                     /* hb[a]: accesses of agent a of its group up to this time happen before this warp's present */
  SimPast past[CLOCKS];             /* all that it knows (order.h); past[CLOCK_GENERIC].near is hb */
  SimClock *fence[REACHES];         /* its past at the last fence that reaches so far: what its relaxed writes release */
  SimClock *pending[REACHES];       /* what its relaxed reads have seen: acquired by a fence that reaches so far */
  struct {                          /* the loop it may be spinning in */
    uint32_t pc, n;                 /* its backward branch; locations that it has looked at since then */
    uint64_t hash;                  /* of registers and splits there */
    bool acted, watches;            /* since then it has done more than look; it is on the list of those that watch (order.c) */
    SimWatch at[SIM_MAX_WATCH];
  } spin;
  struct SimCta *cta;
  bool checks;
  char *shared;                     /* shared memory of the CTA minus its first address */
  uint32_t shared_first, shared_end;
  uint32_t *wr;                     /* shadow: SIM_CELL_* of the last write; 0: never written */
  uint32_t *rd;                     /* shadow: SIM_READ of this warp's last read, per cell */
  uint8_t *wl;                      /* shadow: the lane of the last write, or SIM_LANE_* */
  uint32_t dirty;                   /* lanes that have accessed shared memory since all lanes were last joined, at least */
  uint32_t mates[SIM_LANES], mate_time[SIM_LANES]; /* by lane: whom it was joined with without the others, and when */
  bool parted;                      /* there are such */
  uint32_t solo_mask;               /* lanes that have waited for something without the others, and know what stands in solo */
  SimPast solo[CLOCKS];             /* near alone: all that past knows and more */
  uint32_t shift;
  SimAlloc **cache;                 /* per memory instruction: the allocation it met last */
  const SimFunction *fn;            /* whose code runs */
  SimFrame *frames;                 /* the activations, frames[depth] the running one */
  uint32_t depth, frames_cap;
};

typedef struct SimBarrier {
  uint32_t expected, arrived, arrived_threads; /* warps, warps, threads */
  uint32_t waiters, arrivers;                  /* warps parked here; warps that only arrived */
  uint32_t votes;                              /* bar.red: threads whose predicate holds */
  bool reduces, whole;                         /* whole: no count was given, so it waits for those warps that have not ended */
  SimPast released[CLOCKS];                    /* what the arrivals hand on */
} SimBarrier;

typedef struct SimCta {
  struct SimLaunch *launch;
  struct SimGroup *group;
  uint64_t index;
  uint32_t id[3], rank;               /* rank in the group */
  uint32_t nwarps;
  SimWarp *warp;
  SimBarrier barrier[SIM_MAX_BARRIERS];
  uint32_t last_read[SIM_MAX_WARPS];  /* latest time of any shared read by the warp */
  SimPolicy policy;                   /* lazy, eager or random */
  char *shared;
  uint32_t *wr, *rd;                  /* shadow of shared memory: cells of the last write; nwarps rows of cells of reads */
  uint8_t *wl;                        /* lanes of the last writes */
  uint32_t *far;                      /* in a cluster: time and agent, like wr, of the last read of a cell by another CTA */
  uint32_t last_far;                  /* latest time of any */
  size_t cells;
  SimBuf mbars;                       /* struct SimMbar* */
  uint32_t free_regs;                 /* given back by setmaxnreg.dec, times 32 threads */
  uint32_t *touched;                  /* by column: last time that another CTA's warp, or a copy, touched its shared memory */
} SimCta;

/* A group: CTAs that are resident together and run on one host core at a time. A cluster, or a single CTA. Everything in it is
 * executed in one order that follows from the seed, so that only what it does to global memory needs a moment in virtual time. */
typedef struct SimMeter { /* of one instruction; see kilnsim.h */
  uint64_t shared_requests, shared_wavefronts, shared_ideal, global_requests, global_sectors, global_ideal;
  uint64_t read[KILNSIM_SPACES], written[KILNSIM_SPACES];
} SimMeter;

typedef struct SimGroup {
  struct SimLaunch *launch;
  uint64_t index;            /* nth of the grid */
  uint32_t nctas, nagents;
  uint32_t nengines, ncolumns; /* engines of a CTA; agents in all: a past has a column for each */
  SimCta *cta;
  SimWarp *warp;             /* of all its CTAs: nagents */
  uint32_t *hb;              /* nagents rows of nagents times */
  uint32_t time;             /* advances at every release */
  bool parted;               /* a part of a warp has released something without the others: SimPast.part counts */
  uint32_t order;            /* its row in far clocks + 1; 0: it has released nothing yet */
  SimPlaces places;          /* in its shared memory (order.c) */
  SimBuf bulks;              /* SimBulk: copies under way */
  uint32_t expired;          /* its time when tries to wait for mbarriers last ended without success */
  struct SimClusterBarrier *barrier;
  uint32_t *settled;         /* by column: up to which time an agent is known to have done what it did, without regard to memory order */
  uint64_t random;
  uint64_t now;              /* virtual time since its start: warp instructions, and delays drawn from the seed */
  uint64_t before, yield_at; /* the running warp: its count when it began, and at which it lets others go on */
  uint64_t first_key;        /* of its operations that wait for their turn, but for the one that is executed */
  atomic_uint_fast64_t seen, acts; /* for other host cores, a little late: now; the moment before which it has no operation */
  uint64_t horizon;          /* it may go on with operations before this moment without asking (schedule.c) */
  bool faulted, suspected;
  kilnsim_finding finding, suspect;   /* suspect: an unwritten cell was read; a race, if its writer comes later */
  DrvResult code;
  /* memory, one block: register files, lane counts, masks of defined registers, look-up caches, shared memory and its shadow */
  char *files, *scratch; /* scratch: registers for a collective whose members stand at several instructions */
  size_t zeroed;     /* bytes of its block that opening clears */
  size_t shared_bytes;
  uint64_t *lanes;
  uint32_t *init;
  SimAlloc **cache;
  SimMeter *meter;   /* per instruction, with the option */
  uint64_t macs, warp_instructions, serial; /* serial: of the CTAs that it has begun */
  struct SimGroup *next;     /* of the launch's list of free ones */
} SimGroup;

typedef struct SimRacer { uint32_t agent, how; } SimRacer; /* agent + 1, 0: none; how: race.c's */
typedef struct SimRace { /* the race between groups that is to be reported */
  uint64_t address;      /* 0: none */
  SimRacer writer[2], reader[2];
  uint8_t why;           /* race.c's: the worst of them */
} SimRace;

typedef struct SimLaunch {
  SimDevice *dev;
  const SimFunction *fn;
  uint32_t grid[3], block[3], cluster[3], threads, nwarps;
  uint32_t shared_bytes, dynamic_bytes;
  uint64_t ctas, ngroups;
  uint32_t group_ctas, resident;      /* CTAs of a group; groups that the device holds at a time */
  const uint8_t *params;
  uint64_t workspace;                 /* of a cooperative launch */
  bool checks, cooperative;
  bool overlaps;                      /* may start before the launch before it has ended (programmatic stream serialization) */
  uint32_t engines;                   /* per CTA */
  uint32_t clocks;                    /* 1, or CLOCKS if the kernel has operations of the asynchronous proxy */
  uint64_t seed;
  SimPolicy policy;
  uint32_t ncores;                    /* host cores at work */
  SimGroup **groups;                  /* opened so far; all are kept until the end, for their counters */
  uint32_t ngroups_open, groups_cap;
  SimGroup *free_groups;
  struct SimSchedule *schedule;       /* schedule.c */
  struct SimOrder *order;             /* order.c */
  uint64_t serial;                    /* of the device's launches, from 1 */
  SimRace race;
  pthread_mutex_t lock;
  bool failed;                        /* finding and code are of group fault_group */
  uint64_t fault_group;
  SimBuf prints, printed;             /* builtin.c: records and text, under the lock */
  kilnsim_finding finding;
  DrvResult code;
} SimLaunch;

/* The column of a cell's agent in a past: warps, then engines. */
static inline uint32_t sim_column(const SimGroup *g, uint32_t agent) {
  return agent & SIM_CELL_ENGINE ? g->nagents + (agent & ~SIM_CELL_ENGINE) : agent;
}

/* Does a lane of w (-1: all of them together) know of what agent's lane (SIM_LANE_*) did at a time? Its own is another matter. */
static inline bool sim_knows(const SimWarp *w, int lane, int clock, uint32_t column, uint32_t time, uint32_t code) {
  const SimPast *p = lane >= 0 && w->solo_mask >> lane & 1 ? &w->solo[clock] : &w->past[clock];
  if (time <= p->near[column]) return true;
  if (clock == CLOCK_GENERIC && column == w->agent && lane >= 0 && time <= w->mate_time[lane] &&
      (code == SIM_LANE_MANY || (code < SIM_LANES && w->mates[lane] >> code & 1)))
    return true;
  if (time > p->part[column]) return false;
  uint32_t all = w->cta->group->warp[column].threads;
  return code == SIM_LANE_WARP || (code < SIM_LANES ? p->who[column] >> code & 1 : (p->who[column] & all) == all);
}

/* Up to which time any of its lanes knows of any lane of an agent. */
static inline uint32_t sim_known_at_most(const SimWarp *w, int clock, uint32_t column) {
  uint32_t t = w->past[clock].near[column];
  if (w->past[clock].part[column] > t) t = w->past[clock].part[column];
  if (!w->solo_mask) return t;
  if (w->solo[clock].near[column] > t) t = w->solo[clock].near[column];
  return w->solo[clock].part[column] > t ? w->solo[clock].part[column] : t;
}

DrvResult sim_launch_run(SimLaunch *l);               /* launch.c */
/* Registers per thread that a kernel starts with, as far as its directives say so; 0: they do not. */
uint32_t sim_launch_registers(const SimLaunch *l);
uint32_t sim_launch_occupancy(const SimTarget *t, const SimFunction *f, uint32_t threads, uint64_t dynamic_bytes); /* CTAs per SM */

enum { SIM_SCRATCH_SLOTS = 8, SIM_SCRATCH_SLOT_BYTES = 256 };

/* ---- group.c ---- */
SimGroup *sim_group_open(SimLaunch *l);               /* memory for one more group; NULL: out of memory */
void sim_group_close(SimGroup *g);
void sim_group_begin(SimGroup *g, uint64_t index);
/* Runs until it ends (GROUP_ENDS, perhaps faulted), until its next operation on global memory (GROUP_TURN, at *key), or until others
 * must write what its warps look at (GROUP_PARKED). */
typedef enum { GROUP_ENDS, GROUP_TURN, GROUP_PARKED } SimGroupState;
SimGroupState sim_group_run(SimGroup *g, uint64_t *key);
bool sim_group_next(SimGroup *g, uint64_t *key);      /* virtual time of its next operation or waking; false: none */
uint64_t sim_group_random(SimGroup *g);
/* A warp that was WARP_HELD, or at a barrier, can go on. */
static inline void sim_group_ready(SimWarp *w) { w->state = WARP_READY; }
uint64_t sim_warp_count(const SimWarp *w);            /* warp instructions executed */
bool sim_warp_refill(SimWarp *w);                     /* its budget is used up; false: it lets others go on. A budget of 0: the limit */
void sim_group_stuck(SimGroup *g);                    /* records who waits for what, as a deadlock */

/* ---- schedule.c ---- */
DrvResult sim_schedule_run(SimLaunch *l);             /* the whole grid on ncores host cores */
#define SIM_LATENCY 1024 /* virtual time that an operation on global memory takes at least */
void sim_schedule_progress(SimGroup *g, uint64_t now); /* g has come so far: others may be waiting for that */
bool sim_schedule_halted(const SimGroup *g);          /* the launch has failed before g's present: it need not go on */
/* What w, of another group or of the same, looks at was written at the moment `now` of g: if it is parked, or will be, it goes on then. */
void sim_schedule_wake(SimGroup *g, SimWarp *w);
/* The handler of an operation on global memory that others may see asks for its turn. False: not yet, it must return STEP_YIELD and will
 * be executed again. */
bool sim_turn_ask(SimWarp *w, const SimInstr *in, uint32_t mask);
static inline bool sim_turn(SimWarp *w, const SimInstr *in, uint32_t mask) {
  if (w->granted) return w->granted = false, true;
  return sim_turn_ask(w, in, mask);
}
void sim_turn_done(SimWarp *w);                       /* it has executed it */

/* ---- cta.c ---- */
void sim_cta_begin(SimCta *c);
/* The warp arrives at a barrier; value: its lanes' predicate for a reduction. Parks it if `park`. */
int sim_cta_barrier(SimWarp *w, const SimInstr *in, uint32_t id, uint32_t threads, bool park, uint32_t value);
bool sim_cta_ended(SimCta *c);                        /* barriers that waited for warps which have ended are complete: true if any */
bool sim_cta_more_copies(SimWarp *w);                 /* room for another copy in flight; false: out of memory */

/* frame.c: calls. begin: the entry's frame; false: out of memory. enter: the lanes of mask call; leave: all lanes of the running frame
 * have come back or ended. Both return what the handler is to return. */
bool sim_frame_begin(SimWarp *w);
int sim_frame_enter(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask);
void sim_frame_leave(SimWarp *w); /* back to the caller: pc, lanes and splits as they go on; there may be none */
void sim_frames_free(SimWarp *w);
/* Instructions of a launch by number: the entry's, then those of all device functions. */
uint32_t sim_code_index(const SimWarp *w, const SimInstr *in);
const SimInstr *sim_code_at(const SimLaunch *l, uint32_t index);
/* Where a lane's bytes of local memory lie; NULL: outside of all that is live. */
char *sim_frame_local(const SimWarp *w, uint64_t address, uint32_t lane, uint32_t bytes);
uint64_t sim_special_value(const SimCta *c, uint32_t warp, uint32_t lane, uint64_t which); /* cta.c */
void sim_fill_constants(const SimFunction *fn, char *regs);
void sim_fill_specials(const SimWarp *w, const SimFrame *f);

/* builtin.c: what the driver defines and PTX declares as .extern .func */
typedef enum { BUILTIN_NONE, BUILTIN_VPRINTF, BUILTIN_ASSERTFAIL, BUILTIN_MALLOC, BUILTIN_FREE } SimBuiltin;
SimBuiltin sim_builtin_find(const char *name, size_t n);
void sim_print_collect(SimLaunch *l); /* the launch is over */
void sim_print_flush(SimDevice *dev);
bool sim_heap_open(SimDevice *dev);   /* false: out of memory */
bool sim_workspace_open(SimDevice *dev); /* memory in which the CTAs of a cooperative launch meet; likewise */
int sim_builtin_call(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask);

/* fault.c: every one records the finding of the CTA (the first stays) and returns STEP_YIELD. */
int sim_fault(SimWarp *w, const SimInstr *in, int lane, DrvResult code, const char *kind, const char *space, uint64_t address,
              const char *fmt, ...) __attribute__((format(printf, 8, 9)));
void sim_fault_text(kilnsim_finding *f, const SimFunction *fn, const SimInstr *in, const char *fmt, ...)
  __attribute__((format(printf, 4, 5))); /* places a finding whose other fields are filled, and writes its sentence */
int sim_fault_global(SimWarp *w, const SimInstr *in, int lane, uint64_t address, uint32_t bytes, const char *verb);

/* shadow.c: slow paths of the race check, called when the vector test could not rule a race out. Return true if there is one. */
const char *sim_lanes_apart(const SimWarp *w, int lane, uint32_t column, uint32_t time); /* a remark, or "" */
bool sim_far_read_unknown(const SimWarp *w, const SimCta *c, uint32_t cell, int lane);
bool sim_read_known(const SimWarp *w, int lane, uint32_t agent, uint32_t read);
bool sim_shadow_read_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t code);
bool sim_shadow_write_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t code, uint32_t flags);

/* race.c: bytes of an allocation that one instruction of w reads or writes; a bulk copy that begins, or is waited for. True: a race within
 * the group, which has faulted. */
typedef enum { RACE_ORDINARY, RACE_STARTED, RACE_WAITED } SimRaceKind;
bool sim_race_range(SimWarp *w, const SimInstr *in, SimAlloc *a, uint64_t offset, uint64_t bytes, bool write, SimRaceKind kind);
void sim_race_conclude(SimLaunch *l);                 /* the launch fails if groups have raced */
void sim_race_free(SimAlloc *a);
void sim_race_forget(const SimLaunch *l, SimAlloc *a, uint64_t offset, uint64_t bytes); /* these bytes begin anew */

/* meter.c */
bool sim_meter_wants(const SimInstr *in);             /* does the meter count at this instruction? */
int sim_metered(SimWarp *w, const SimInstr *in, uint32_t mask); /* the handler of such ones: counts, then does what they do */
void sim_meter_collect(SimLaunch *l); /* at the end of a launch; does nothing without the option */

/* exec/: one table per host level */
struct SimLevel {
  const char *name;
  const SimHandler *handler;
  SimHandler tracked;                 /* wraps an instruction whose registers are watched */
  void (*run)(SimWarp *w);            /* executes until the warp parks, ends or faults */
};
extern const SimLevel sim_level_base;
#if defined(__x86_64__) && !defined(KILN_SIM_ONE_LEVEL)
extern const SimLevel sim_level_v3, sim_level_v4;
#endif
const SimLevel *sim_level(const char *name, size_t n); /* of that name, if the host runs it; NULL name: the best */
int sim_handler_find(const char *name, size_t n);     /* -1: none */
const char *sim_handler_name(int handler);

#endif
