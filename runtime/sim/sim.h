/* sim.h - the simulator's inner structures: device, memory, module, predecoded instruction, warp, CTA, launch.
 *
 * One way through: lex.c, parse.c, operand.c read PTX; decode.c turns a row of gen/isa into a handler and operands; flow.c finds
 * register lifetimes and gives them slots; launch.c spreads CTAs over host cores; cta.c runs the warps of one; exec/ holds the
 * handlers, compiled once per instruction-set level of the host; memory.c and shadow.c are the checker's; api_*.c the driver. */
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

/* Generic addresses: where the windows of the state spaces lie. Beyond any host address, so that a host pointer is never valid. */
#define SIM_GLOBAL_BASE 0x0010000000000000ull
#define SIM_SHARED_BASE 0x0020000000000000ull
#define SIM_LOCAL_BASE 0x0030000000000000ull
#define SIM_PARAM_BASE 0x0040000000000000ull
#define SIM_CODE_BASE 0x0050000000000000ull /* addresses of functions: the i-th at i + 1 steps */
#define SIM_CODE_STEP 16u
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
typedef struct SimTarget {
  const char *name;
  uint16_t sm;             /* 90 */
  char suffix;             /* 0, 'a', 'f' */
  uint32_t shared_block, shared_sm, shared_static; /* bytes; per block opt-in, per SM, static without opt-in */
  uint16_t threads_sm, ctas_sm;
  uint32_t shared_first;   /* where a CTA's shared memory begins in its window */
  uint32_t reserved;       /* shared memory of the SM that the system takes per CTA */
} SimTarget;
const SimTarget *sim_target_find(const char *name, size_t n);
const SimTarget *sim_target_default(void);
const char *sim_target_names(void);
/* May code for `have` (a .target word) use what needs `needs` (a row's sm word)? May it be loaded on `dev`? */
bool sim_target_allows(const char *have, size_t n, const char *needs);
bool sim_target_loads(const char *have, size_t n, const SimTarget *dev);

/* ---- global memory (memory.c) ---- */
typedef struct SimAlloc {
  uint64_t base, bytes;
  char *host;
  uint8_t *init;       /* a bit per byte: written since allocation; NULL once all are */
  atomic_bool all_init;
  bool freed, constant; /* constant: a module's .const array */
  uint64_t serial;     /* nth allocation of the device */
} SimAlloc;

typedef struct SimMemory {
  SimBuf allocs;       /* SimAlloc*, ascending base; freed ones stay as tombstones for a while */
  uint64_t next_base, serial, live_bytes, total_bytes;
} SimMemory;
DrvResult sim_memory_alloc(SimMemory *m, uint64_t bytes, uint64_t *base);
DrvResult sim_memory_free(SimMemory *m, uint64_t base);
SimAlloc *sim_memory_find(const SimMemory *m, uint64_t addr);       /* the allocation containing addr, freed or not; NULL */
SimAlloc *sim_memory_nearest(const SimMemory *m, uint64_t addr);    /* the last one at or below addr */
SimAlloc *sim_memory_range(const SimMemory *m, uint64_t addr, uint64_t bytes); /* live and wholly inside, or NULL */
void sim_memory_mark(SimAlloc *a, uint64_t addr, uint64_t bytes);   /* written */
bool sim_memory_written(const SimAlloc *a, uint64_t addr, uint64_t bytes, uint64_t *first_bad);
void sim_memory_settle(SimAlloc *a);                                /* drops the bitmap if every byte is written */
void sim_memory_close(SimMemory *m);

/* ---- device (device.c) ---- */
typedef enum { POLICY_LAZY, POLICY_EAGER, POLICY_RANDOM, POLICY_ALTERNATE } SimPolicy;
#define SIM_MAX_CORES 64
typedef struct SimBlock { void *at; size_t bytes; } SimBlock;
typedef struct SimDevice {
  char *options;
  const SimTarget *target;
  int ordinal, sms, cores;
  bool checks;
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
  SimBlock block[SIM_MAX_CORES]; /* memory of the workers, kept from launch to launch */
  struct CUctx_st *primary;
  int primary_users;
  SimBuf print;            /* output of device code that no synchronising call has passed on */
  uint64_t heap;           /* of malloc in device code; 0: none yet */
} SimDevice;
typedef struct SimFormCount { const char *opcode; uint64_t lanes; } SimFormCount;

/* ---- module ---- */
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
  uint8_t flags;           /* SIM_I_* */
  uint8_t space;
  uint32_t mem;            /* index for the look-up cache of memory instructions */
  int32_t imm2;            /* offset of the second memory operand (cp.async) */
  uint32_t track;          /* first entry in SimFunction.tracks, 0: registers need no run-time check */
};
enum { SIM_I_ADDR32 = 1, SIM_I_SIGNED = 2, SIM_I_WIDE = 4, SIM_I_NEGATE = 8, SIM_I_TRANS = 16, SIM_I_ADDR32B = 32, SIM_I_CONTROL = 64,
       SIM_I_MACS = 128 };

typedef struct SimTrack { /* the registers of one instruction whose definedness must be watched at run time */
  SimHandler inner;
  uint32_t first, nread, nwrite; /* in SimFunction.track_regs: indices of init masks, reads first; see flow.c */
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
  SPECIAL_LANEMASK_GT, SPECIAL_LANEMASK_GE, SPECIAL_DYNAMIC_SMEM, SPECIAL_TOTAL_SMEM,
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
  uint32_t reqntid[3], maxntid[3];
  uint32_t shift;         /* shared shadow: log2 of bytes per cell */
  uint32_t max_dynamic;   /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
  bool uses_cp_async;
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

enum { WARP_READY, WARP_BARRIER, WARP_DONE };

typedef struct SimSplit { uint32_t pc, mask; } SimSplit;

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
  uint64_t *lanes;                  /* lane count per instruction, of the worker */
  uint32_t pc, active, live, stop;  /* stop: lowest pc at which another split waits */
  SimSplit split[SIM_LANES];
  uint32_t nsplit;
  uint32_t index, state, threads;   /* threads: mask of lanes that exist */
  uint32_t barrier, min_hb;         /* where it is parked; lowest of its hb row (itself left out) */
  uint64_t budget;                  /* warp instructions left before the limit */
  uint64_t macs;
  uint32_t *init;                   /* definedness masks of watched registers */
  SimCopy *copies;                  /* in flight, oldest first */
  uint32_t ncopies, copies_cap, group; /* groups committed */
  uint32_t *hb;                     /* hb[r]: accesses of warp r up to this time happen before this warp's present */
  struct SimCta *cta;
  bool checks;
  char *shared;                     /* shared memory of the CTA minus its first address */
  uint32_t shared_first, shared_end;
  uint32_t *wr;                     /* shadow: time<<8 | pending<<7 | atomic<<6 | warp of the last write; 0: never written */
  uint32_t *rd;                     /* shadow: time of this warp's last read, per cell */
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
  uint32_t released[SIM_MAX_WARPS];            /* what the arrivals hand on: times per warp */
} SimBarrier;

typedef struct SimCta {
  struct SimLaunch *launch;
  struct SimWorker *worker;
  uint64_t index;
  uint32_t id[3];
  uint32_t nwarps;
  SimWarp warp[SIM_MAX_WARPS];
  SimBarrier barrier[SIM_MAX_BARRIERS];
  uint32_t hb[SIM_MAX_WARPS][SIM_MAX_WARPS];
  uint32_t last_read[SIM_MAX_WARPS];  /* latest time of any shared read by the warp */
  uint32_t time;
  uint64_t random;
  SimPolicy policy;                   /* of this CTA: lazy, eager or random */
  bool faulted, suspected;
  kilnsim_finding finding, suspect;   /* suspect: an unwritten cell was read; a race, if its writer comes later */
  DrvResult code;
} SimCta;

typedef struct SimWorker {
  struct SimLaunch *launch;
  SimCta cta;
  char *files;       /* register files of all warps */
  size_t zeroed;     /* bytes of its block that a launch clears */
  char *shared;
  uint32_t *wr, *rd;
  size_t shared_bytes, cells;
  uint64_t *lanes;
  uint32_t *init;
  SimAlloc **cache;
  uint64_t macs, warp_instructions, serial; /* serial: CTAs begun */
  pthread_t thread;
  bool started;
} SimWorker;

typedef struct SimLaunch {
  SimDevice *dev;
  const SimFunction *fn;
  uint32_t grid[3], block[3], threads, nwarps;
  uint32_t shared_bytes, dynamic_bytes;
  uint64_t ctas;
  const uint8_t *params;
  bool checks;
  uint64_t seed;
  SimPolicy policy;
  atomic_uint_fast64_t next, stop_at; /* next CTA to take; CTAs from here on need not run (one before has failed) */
  pthread_mutex_t lock;
  uint64_t fault_cta;
  SimBuf prints, printed;             /* builtin.c: records and text, under the lock */
  kilnsim_finding finding;
  DrvResult code;
} SimLaunch;

DrvResult sim_launch_run(SimLaunch *l);               /* launch.c */
void sim_cta_run(SimCta *c);                          /* cta.c */
/* The warp arrives at a barrier; value: its lanes' predicate for a reduction. Parks it if `park`. */
int sim_cta_barrier(SimWarp *w, const SimInstr *in, uint32_t id, uint32_t threads, bool park, uint32_t value);
bool sim_cta_more_copies(SimWarp *w);                 /* room for another copy in flight; false: out of memory */
uint64_t sim_cta_random(SimCta *c);

/* frame.c: calls. begin: the entry's frame; false: out of memory. enter: the lanes of mask call; leave: all lanes of the running frame
 * have come back or ended. Both return what the handler is to return. */
bool sim_frame_begin(SimWarp *w);
int sim_frame_enter(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask);
int sim_frame_leave(SimWarp *w);
void sim_frames_free(SimWarp *w);
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
int sim_builtin_call(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask);

/* fault.c: every one records the finding of the CTA (the first stays) and returns STEP_YIELD. */
int sim_fault(SimWarp *w, const SimInstr *in, int lane, DrvResult code, const char *kind, const char *space, uint64_t address,
              const char *fmt, ...) __attribute__((format(printf, 8, 9)));
int sim_fault_global(SimWarp *w, const SimInstr *in, int lane, uint64_t address, uint32_t bytes, const char *verb);

/* shadow.c: slow paths of the race check, called when the vector test could not rule a race out. Return true if there is one. */
bool sim_shadow_read_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane);
bool sim_shadow_write_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t flags);
/* The warps that waited at a barrier take over what its arrivals handed on. */
void sim_shadow_release(SimCta *c, const uint32_t *released, uint32_t waiters);

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
