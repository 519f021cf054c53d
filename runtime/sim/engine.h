/* engine.h - the asynchronous side of a group: mbarriers, bulk copies, products of warpgroups, the cluster's barrier, register budgets.
 *
 * An asynchronous operation is recorded when it is issued. Until it is complete, what it reads is marked in the shadow as being read and
 * what it writes as pending, so that whoever touches it is reported whatever the moment. What a copy has written is a write of an engine,
 * an agent beside the warps (order.h); the mbarrier that it signals hands that write on to those who see its phase end, and to nobody
 * else. What an operation reads or writes over must be known to its issuer by the asynchronous proxy (CLOCK_ASYNC). */
#ifndef KILN_SIM_ENGINE_H
#define KILN_SIM_ENGINE_H
#include "mbarrier.h"
#include "sim.h"
#include "tensor_map.h"

/* ---- fields of SimInstr.sub ---- */
enum { MBAR_TRY = 1, MBAR_BY_PARITY = 2 };                                     /* mbarrier_wait */
enum { MBAR_DROP = 1, MBAR_EXPECT = 2, MBAR_NO_COMPLETE = 4, MBAR_RETURNS = 8 }; /* mbarrier_arrive */
enum { BULK_LOAD, BULK_PEER, BULK_STORE, BULK_REDUCE, BULK_REDUCE_PEER, BULK_KIND = 7, BULK_TENSOR = 8, BULK_MULTICAST = 16 };
enum { BULK_ADD, BULK_MIN, BULK_MAX, BULK_INC, BULK_DEC, BULK_AND, BULK_OR, BULK_XOR };                /* sub >> 5 & 7 */
enum { BULK_U32, BULK_S32, BULK_U64, BULK_S64, BULK_F16, BULK_BF16, BULK_F32, BULK_F64, BULK_TYPES };  /* sub >> 8 & 15 */
#define BULK_OP_OF(sub) ((sub) >> 5 & 7)
#define BULK_TYPE_OF(sub) ((sub) >> 8 & 15)
/* wgmma: type of A | type of B << 4 | kind of D << 8 (0 f32, 1 f16, 2 s32) and these; n: N / 8; imm2: the operand scale-d */
enum { WG_A_IN_REGS = 1 << 10, WG_MINUS = 1 << 11, WG_TRANSPOSE_A = 1 << 12, WG_TRANSPOSE_B = 1 << 13 };

/* ---- addresses in shared memory of a CTA of the cluster: its rank + 1 above 24 bits of offset; 0 there: the own CTA ---- */
SimCta *sim_cluster_cta(const SimWarp *w, uint32_t address, uint32_t *offset); /* NULL: no such CTA */

/* ---- mbarriers (engine_mbar.c) ---- */
typedef struct SimMbar {
  SimCta *cta;
  uint32_t address;
  bool live, fenced;       /* fenced: its initialisation is known to the asynchronous proxy and to other CTAs */
  SimWarp *maker;          /* who initialised it */
  int lane;                /* which lane of that */
  uint32_t agent;          /* engine of the copies that signal it */
  SimMbarState s;
  SimPast past[CLOCKS];    /* what its arrivals and copies hand on */
  SimPast seen[CLOCKS];    /* what those get that see its last phase end */
  uint32_t made, line;     /* of its initialisation: time, line */
  uint32_t *used;          /* by warp of the group: time of its last operation on it, 0: none */
} SimMbar;

/* The live mbarrier at a cluster address, known to w; NULL: faulted. */
SimMbar *sim_mbar_at(SimWarp *w, const SimInstr *in, int lane, uint32_t address);
SimMbar *sim_mbar_signalled(SimWarp *w, const SimInstr *in, int lane, uint32_t address); /* by a copy that w issues */
int sim_mbar_make(SimWarp *w, const SimInstr *in, int lane, uint32_t address, uint32_t count);
int sim_mbar_drop(SimWarp *w, const SimInstr *in, int lane, uint32_t address);
void sim_mbar_ended(SimMbar *b, SimWarp *by);              /* its phase has ended: those who wait for it go on */
/* w waits for the present phase; it is executed again when that has ended. */
int sim_mbar_park(SimWarp *w, const SimInstr *in, SimMbar *b);
int sim_mbar_fault_at(SimWarp *w, const SimInstr *in, int lane, const SimMbar *b, SimMbarFault f);
void sim_mbar_close(SimCta *c);

/* ---- areas of shared memory that asynchronous operations and other CTAs touch (engine_area.c) ---- */
typedef struct SimArea { SimCta *cta; uint32_t address, bytes; } SimArea;
/* May w (async: an operation that it issues) read it, or write over it? False: faulted. */
bool sim_area_read(SimWarp *w, const SimInstr *in, int lane, SimArea a, bool async);
bool sim_area_write(SimWarp *w, const SimInstr *in, int lane, SimArea a, bool async);
void sim_area_far_read(SimWarp *w, SimArea a);             /* w has read it: if it is another CTA's, that must not write there before it knows */
void sim_area_reading(SimWarp *w, SimArea a);              /* from now on, until sim_area_was_read */
void sim_area_was_read(SimWarp *w, SimArea a, uint32_t lane); /* lane: who has waited for that (SIM_LANE_*) */
void sim_area_mark(SimWarp *w, SimArea a, uint32_t from, uint32_t to); /* w's times of reading it that are `from` (SIM_FULL: all) */
void sim_area_written(SimArea a, uint32_t cell, uint32_t lane); /* cell: SIM_CELL_*; lane: SIM_LANE_* */
bool sim_area_in(const SimArea *a);                        /* inside the CTA's shared memory */

/* w touches the shared memory of c: which must not have ended, and must not end before it knows of that. False: faulted. */
bool sim_cluster_lives(SimWarp *w, const SimInstr *in, int lane, const SimCta *c, uint32_t address);
bool sim_cluster_reach(SimWarp *w, const SimInstr *in, int lane, SimCta *c, uint32_t address);

/* ---- bulk copies (engine_bulk.c) ---- */
typedef struct SimBulk {
  SimWarp *warp;
  const SimInstr *in;
  int lane;
  uint16_t sub, ctas;      /* ctas: the ranks that a load writes to */
  uint32_t group;          /* of the thread, for stores */
  uint32_t shared, bytes;  /* offset in the CTA's shared memory */
  uint32_t mbar;           /* likewise, in each of ctas */
  SimCta *from;            /* of a copy between CTAs: where it reads, at `source` */
  uint32_t source;
  uint64_t global;
  SimMap map;
  int32_t at[SIM_MAP_RANK];
  char *held;              /* what a store has read */
  bool read, waited;       /* a store: its source has been read; its thread knows that */
} SimBulk;
int sim_bulk_issue(SimBulk *b);
void sim_bulk_commit(SimWarp *w, uint32_t mask);
/* The thread's groups but the `keep` youngest: their sources are read (read), or they are complete. */
int sim_bulk_wait(SimWarp *w, const SimInstr *in, uint32_t mask, uint32_t keep, bool read);
bool sim_engine_step(SimGroup *g);                         /* completes one operation that is under way; false: there is none */
bool sim_engine_end(SimWarp *w, const SimInstr *in);       /* the warp ends: false if something of it is still under way, reported */
void sim_engine_begin(SimGroup *g);
void sim_engine_finish(SimGroup *g);                       /* all its warps have ended */
void sim_engine_close(SimGroup *g);

/* ---- the cluster's barrier (engine_cluster.c) ---- */
typedef struct SimClusterBarrier {
  uint32_t phase, arrived; /* threads */
  SimPast past[CLOCKS], seen[CLOCKS];
} SimClusterBarrier;
int sim_cluster_arrive(SimWarp *w, const SimInstr *in, uint32_t mask);
int sim_cluster_wait(SimWarp *w, const SimInstr *in, uint32_t mask);
bool sim_cluster_leave(SimWarp *w, const SimInstr *in);    /* the last warp of its CTA ends: false if that is too early, reported */
bool sim_cluster_ended(SimGroup *g);                       /* threads have ended: true if the barrier is complete by that */
#endif
