/* order.h - what happens before what: times, clocks, pasts, locations. Included by sim.h.
 *
 * An agent is a warp of a group (SimWarp.agent). A group has one time, which advances at every release; an access is known by its agent
 * and the time then. A past says, for every agent, up to which time its accesses happen before: `near` for the agents of the own group,
 * `far` for those of other groups. Far clocks are immutable and shared by reference, since few warps ever meet another group.
 *
 * A warp has two pasts (PTX ISA, Memory Consistency Model: Proxies): CLOCK_GENERIC is what its own accesses may rely on, CLOCK_ASYNC what
 * an asynchronous operation that it issues may rely on. fence.proxy.async raises the second to the first (sim_order_proxy). Every release
 * and acquire hands on both. */
#ifndef KILN_SIM_ORDER_H
#define KILN_SIM_ORDER_H

typedef struct SimClock {  /* times of groups that have released something, by SimGroup.order */
  atomic_uint refs;
  uint32_t rows, agents;
  uint32_t t[];            /* rows x agents */
} SimClock;

typedef struct SimPast {
  uint32_t *near;          /* by column: all lanes' accesses up to this time */
  uint32_t *part, *who;    /* by agent: up to this time what the lanes `who` did, if later than near; behind near in one block */
  SimClock *far;           /* NULL: nothing */
  SimClock *narrow;        /* would be known too if every scope on the way were wide enough: for the report */
} SimPast;
typedef enum { ACCESS_LOAD, ACCESS_STORE, ACCESS_UPDATE } SimAccess;
enum { CLOCK_GENERIC, CLOCK_ASYNC, CLOCKS };
enum { REACH_CTA, REACH_CLUSTER, REACH_GPU, REACHES }; /* how far a scope has to reach; gpu and sys are one device's */

typedef struct SimPlaces { struct SimPlace *at; uint32_t n, cap; } SimPlaces; /* locations that strong accesses have met */

struct SimWarp;
struct SimGroup;
struct SimLaunch;
struct SimInstr;

/* The lanes of a warp are agents in their own right as far as shared memory goes: a column's `near` is what all of them did. What some lanes
 * release (an elected one that arrives at an mbarrier) is what they did themselves and what all had done when they were last joined, by
 * bar.warp.sync or a barrier of the CTA; what some lanes acquire the others do not know (SimWarp.solo) until then. Where several lanes of a
 * warp release on their own, their times are taken together: too much is thought to be ordered rather than too little. */

/* A warp's past grows by an acquire, a past somewhere (a barrier, an mbarrier's phase, a location) by a release. The releasing side
 * then calls sim_order_tick, so that what it does later is not included. */
void sim_past_release(SimPast past[CLOCKS], struct SimWarp *w, uint32_t mask);  /* mask: the lanes that do it */
void sim_past_acquire(struct SimWarp *w, const SimPast past[CLOCKS], uint32_t mask);
void sim_past_clear(SimPast past[CLOCKS], const struct SimGroup *g);
void sim_past_keep(SimPast to[CLOCKS], const SimPast from[CLOCKS], const struct SimGroup *g); /* a copy, besides what it holds */
void sim_past_drop(SimPast *past);                    /* its references */
void sim_order_tick(struct SimWarp *w);
void sim_order_proxy(struct SimWarp *w, uint32_t mask); /* fence.proxy.async */
void sim_order_join(struct SimWarp *w, uint32_t mask);  /* bar.warp.sync: each of the lanes knows what the others did and know */
void sim_order_joined(struct SimWarp *w);               /* all lanes have met at a barrier of the CTA */
#define SIM_PAST_ROWS 3                                 /* of a past's block: near, part, who */
void sim_past_place(SimPast *p, uint32_t *block, uint32_t ncolumns);

/* fence, membar: the release of later strong writes, the acquire of earlier strong reads, as far as its scope reaches. */
void sim_order_fence(struct SimWarp *w, const struct SimInstr *in);

/* A lane's strong access or atomic at a generic address (shared: with its window), in the order in which they happen, global ones in
 * their turn: what it acquires (before its check by the shadow), what it releases (after it), by the instruction's sem and scope and the
 * warp's fences. `update`: an atomic, which goes on with what earlier writers released; `changed`: those who look at it are woken. */
void sim_order_read(struct SimWarp *w, const struct SimInstr *in, uint64_t address);
void sim_order_write(struct SimWarp *w, const struct SimInstr *in, uint64_t address, bool update, bool changed);

uint32_t sim_order_row(const struct SimLaunch *l, uint64_t group); /* of a group in far clocks, + 1; 0: it has released nothing */
static inline bool sim_clock_knows(const SimClock *c, uint32_t order, uint32_t agent, uint32_t time) {
  return c && order && order <= c->rows && c->t[(size_t)(order - 1) * c->agents + agent] >= time;
}

/* Spinning: a strong read, or an atomic that left things as they were, has found the bytes at `at`. At a backward branch of lanes mask:
 * is everything as it was there a turn ago (then the warp, or these lanes, can park)? Whatever others could see sets spin.acted. */
void sim_spin_read(struct SimWarp *w, uint64_t address, const char *at, uint32_t bytes);
bool sim_spin_again(struct SimWarp *w, uint32_t pc, uint32_t mask);
void sim_spin_leave(struct SimWarp *w);
bool sim_spin_changed(const struct SimWarp *w, bool global); /* one of the locations there holds another value now */

bool sim_order_open(struct SimLaunch *l);
void sim_order_close(struct SimLaunch *l);
void sim_order_begin(struct SimGroup *g);             /* a group starts: nothing known */
void sim_order_end(struct SimGroup *g);               /* its references are dropped */
#endif
