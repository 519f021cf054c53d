/* order.c - happens-before: clocks, what fences and strong accesses hand on, and who spins on what.
 *
 * PTX ISA, Memory Consistency Model. A release pattern on a location (st.release, red or atom with .release, or a fence followed by a
 * strong write) synchronises with an acquire pattern (ld.acquire, atom with .acquire, or a strong read followed by a fence) that reads
 * the written value, directly or through a chain of atomics, if the two are morally strong: the scope of each includes the other.
 * What each location holds is therefore kept by how far its releases reach, and what a warp has read by how far the reading reaches. */
#include "sim.h"
#include "alloc.h"
#include <string.h>

typedef struct Release { SimClock *clock; uint64_t cta, group; } Release; /* cta, group: of the only releaser; MANY: of several */
#define MANY UINT64_MAX

typedef struct SimPlace {      /* a location that strong accesses meet */
  uint64_t address;         /* 0: free */
  Release release[REACHES]; /* what an acquiring reader of the present value gets */
  uint32_t watchers;        /* warps that spin on it */
} SimPlace;

typedef struct SimOrder {
  pthread_mutex_t lock;     /* groups on several host cores */
  SimPlaces places;         /* in global memory */
  uint32_t rows;            /* groups that have released something */
  uint32_t *row;            /* of each group + 1, in a kernel that meets */
  SimBuf watching;          /* SimWarp*: those that spin on places in global memory */
} SimOrder;

/* ---- clocks ---- */

static size_t clock_bytes(uint32_t rows, uint32_t agents) { return sizeof(SimClock) + (size_t)rows * agents * 4; }

static SimClock *hold(SimClock *c) {
  if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

static void drop(SimClock **p) {
  SimClock *c = *p;
  *p = NULL;
  if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) sim_delete(c, clock_bytes(c->rows, c->agents));
}

static SimClock *new_clock(uint32_t rows, uint32_t agents) {
  SimClock *c = sim_new(clock_bytes(rows, agents));
  if (!c) return NULL;
  atomic_init(&c->refs, 1);
  c->rows = rows;
  c->agents = agents;
  return c;
}

static bool covers(const SimClock *a, const SimClock *b) { /* a knows all that b knows */
  if (!b || a == b) return true;
  if (!a || a->rows < b->rows) return false;
  uint32_t bad = 0;
  for (uint32_t i = 0, n = b->rows * b->agents; i < n; i++) bad |= a->t[i] < b->t[i];
  return !bad;
}

static bool join(SimClock **to, SimClock *from) { /* false: out of memory */
  SimClock *a = *to;
  if (covers(a, from)) return true;
  if (covers(from, a)) {
    drop(to);
    *to = hold(from);
    return true;
  }
  SimClock *c = new_clock(a->rows > from->rows ? a->rows : from->rows, a->agents);
  if (!c) return false;
  memcpy(c->t, a->t, (size_t)a->rows * a->agents * 4);
  for (uint32_t i = 0, n = from->rows * from->agents; i < n; i++)
    if (from->t[i] > c->t[i]) c->t[i] = from->t[i];
  drop(to);
  *to = c;
  return true;
}

static void lost(const SimWarp *w) { /* memory for a clock: the launch ends as out of memory, since it can no longer be judged */
  sim_fault((SimWarp *)w, NULL, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
}

static void join_in(const SimWarp *w, SimClock **to, SimClock *from) {
  if (!join(to, from)) lost(w);
}

/* All that w knows now, its own past included, as a clock for anybody. */
static SimClock *snapshot(const SimWarp *w) {
  SimGroup *g = w->cta->group;
  SimOrder *o = g->launch->order;
  if (!g->order) {
    g->order = __atomic_add_fetch(&o->rows, 1, __ATOMIC_RELAXED);
    if (o->row) __atomic_store_n(&o->row[g->index], g->order, __ATOMIC_RELEASE);
  }
  const SimClock *far = w->past[CLOCK_GENERIC].far;
  uint32_t rows = far && far->rows > g->order ? far->rows : g->order;
  uint32_t width = g->ncolumns * g->launch->clocks; /* of a row: all that is known by one proxy, then by the other */
  SimClock *c = new_clock(rows, width);
  if (!c) {
    lost(w);
    return NULL;
  }
  if (far) memcpy(c->t, far->t, (size_t)far->rows * far->agents * 4);
  const SimClock *told = g->launch->clocks < CLOCKS ? NULL : w->past[CLOCK_ASYNC].far; /* of other groups, by a proxy fence of w */
  for (uint32_t r = 0; told && r < told->rows && r < rows; r++)
    for (uint32_t a = 0; a < g->ncolumns; a++) {
      uint32_t *t = c->t + (size_t)r * width + g->ncolumns + a, known = told->t[(size_t)r * width + a];
      if (known > *t) *t = known;
    }
  uint32_t *own = c->t + (size_t)(g->order - 1) * width;
  for (uint32_t k = 0; k < g->launch->clocks; k++)
    for (uint32_t a = 0; a < g->ncolumns; a++) own[k * g->ncolumns + a] = sim_known_at_most(w, (int)k, a);
  own[w->agent] = g->time;
  return c;
}

uint32_t sim_order_row(const SimLaunch *l, uint64_t group) {
  return l->order->row ? __atomic_load_n(&l->order->row[group], __ATOMIC_ACQUIRE) : 0;
}

/* ---- pasts ---- */

/* After a change of its hb row: min_hb. */
static void refresh(SimWarp *w) {
  const SimGroup *g = w->cta->group;
  uint32_t low = SIM_FULL;
  for (uint32_t a = 0; a < g->nagents; a++) /* engines are always looked at */
    if (a != w->agent && w->hb[a] < low) low = w->hb[a];
  w->min_hb = low;
}

void sim_order_tick(SimWarp *w) {
  SimGroup *g = w->cta->group;
  if (g->time < SIM_MAX_TIME) {
    g->time++;
    return;
  }
  if (w->checks) sim_fault(w, NULL, -1, DRV_LAUNCH_TIMEOUT, "limit", "", 0, "the block has synchronised %u times: race checks count no further", g->time);
}

void sim_past_place(SimPast *p, uint32_t *block, uint32_t ncolumns) {
  p->near = block;
  p->part = block + ncolumns;
  p->who = block + 2 * (size_t)ncolumns;
}

/* Besides what p knows of an agent: what these of its lanes did up to this time. */
static void add_part(const SimGroup *g, SimPast *p, uint32_t agent, uint32_t time, uint32_t who) {
  uint32_t all = g->warp[agent].threads;
  if (time <= p->near[agent]) return;
  if (p->part[agent] <= p->near[agent]) p->part[agent] = time, p->who[agent] = who;
  else p->part[agent] = time > p->part[agent] ? time : p->part[agent], p->who[agent] |= who;
  if ((p->who[agent] & all) == all) p->near[agent] = p->part[agent];
}

static void join_near(const SimGroup *g, SimPast *to, const SimPast *from) {
  for (uint32_t a = 0; a < g->ncolumns; a++)
    if (from->near[a] > to->near[a]) to->near[a] = from->near[a];
  for (uint32_t a = 0; g->parted && a < g->nagents; a++)
    if (from->part[a] > from->near[a]) add_part(g, to, a, from->part[a], from->who[a]);
}

static bool is_whole(const SimWarp *w, uint32_t mask) { return (mask & w->live) == w->live; }

/* What the lanes of mask have done themselves becomes known to p: with it what the others did, if that is nothing since all were joined. */
static void add_own(SimWarp *w, SimPast *p, uint32_t mask) {
  SimGroup *g = w->cta->group;
  if (is_whole(w, mask) || !(w->dirty & ~mask)) {
    p->near[w->agent] = g->time;
    return;
  }
  for (uint32_t m = w->parted ? mask : 0; m; m &= m - 1) mask |= w->mates[__builtin_ctz(m)]; /* what they know of one another */
  g->parted = true;
  add_part(g, p, w->agent, g->time, mask);
}

/* From now on these lanes know more than the others. */
static void set_apart(SimWarp *w, uint32_t mask) {
  const SimGroup *g = w->cta->group;
  for (uint32_t k = 0; !w->solo_mask && k < g->launch->clocks; k++) memcpy(w->solo[k].near, w->past[k].near, SIM_PAST_ROWS * g->ncolumns * 4);
  w->solo_mask |= mask;
}

static void rejoin(SimWarp *w) {
  const SimGroup *g = w->cta->group;
  for (uint32_t k = 0; w->solo_mask && k < g->launch->clocks; k++) join_near(g, &w->past[k], &w->solo[k]);
  w->solo_mask = 0;
}

/* A part of the warp meets, as the tiles of a cooperative group do, each on its own: its lanes know what these have done. */
static void join_mates(SimWarp *w, uint32_t mask) {
  uint32_t all = mask;
  w->parted = true;
  for (uint32_t m = mask; m; m &= m - 1) all |= w->mates[__builtin_ctz(m)];
  for (uint32_t m = mask; m; m &= m - 1) {
    w->mates[__builtin_ctz(m)] = all;
    w->mate_time[__builtin_ctz(m)] = w->cta->group->time;
  }
}

static void forget_mates(SimWarp *w) { /* all lanes have been joined */
  if (w->parted) memset(w->mates, 0, sizeof w->mates), memset(w->mate_time, 0, sizeof w->mate_time);
  w->parted = false;
}

void sim_order_joined(SimWarp *w) {
  w->solo_mask = 0; /* the barrier has handed on what they knew */
  forget_mates(w);
  w->dirty = 0;
}

void sim_order_join(SimWarp *w, uint32_t mask) {
  SimGroup *g = w->cta->group;
  if (is_whole(w, mask)) {
    rejoin(w);
    forget_mates(w);
    w->past[CLOCK_GENERIC].near[w->agent] = g->time;
    w->dirty = 0;
  } else {
    join_mates(w, mask);
    if (!w->solo_mask || w->solo_mask & mask) { /* if others know more of other warps, these are only told what they themselves did */
      set_apart(w, mask);
      g->parted = true;
      add_part(g, &w->solo[CLOCK_GENERIC], w->agent, g->time, mask);
    }
  }
  sim_order_tick(w);
  refresh(w);
}

void sim_past_release(SimPast past[CLOCKS], SimWarp *w, uint32_t mask) {
  const SimGroup *g = w->cta->group;
  for (uint32_t k = 0; k < g->launch->clocks; k++) {
    join_near(g, &past[k], &w->past[k]);
    if (w->solo_mask & mask) join_near(g, &past[k], &w->solo[k]);
    if (k == CLOCK_GENERIC) add_own(w, &past[k], mask);
    if (w->past[k].far) join_in(w, &past[k].far, w->past[k].far);
    if (w->past[k].narrow) join_in(w, &past[k].narrow, w->past[k].narrow);
  }
}

void sim_past_acquire(SimWarp *w, const SimPast past[CLOCKS], uint32_t mask) {
  const SimGroup *g = w->cta->group;
  if (!is_whole(w, mask)) set_apart(w, mask);
  for (uint32_t k = 0; k < g->launch->clocks; k++) {
    if (is_whole(w, mask)) join_near(g, &w->past[k], &past[k]);
    if (w->solo_mask) join_near(g, &w->solo[k], &past[k]);
    if (past[k].far) join_in(w, &w->past[k].far, past[k].far);
    if (past[k].narrow) join_in(w, &w->past[k].narrow, past[k].narrow);
  }
  if (is_whole(w, w->solo_mask)) rejoin(w);
  refresh(w);
}

void sim_past_clear(SimPast past[CLOCKS], const SimGroup *g) {
  for (int k = 0; k < CLOCKS; k++) {
    memset(past[k].near, 0, SIM_PAST_ROWS * g->ncolumns * 4);
    drop(&past[k].far);
    drop(&past[k].narrow);
  }
}

void sim_past_keep(SimPast to[CLOCKS], const SimPast from[CLOCKS], const SimGroup *g) {
  for (uint32_t k = 0; k < g->launch->clocks; k++) {
    memcpy(to[k].near, from[k].near, SIM_PAST_ROWS * g->ncolumns * 4);
    if (from[k].far) join_in(g->warp, &to[k].far, from[k].far);
    if (from[k].narrow) join_in(g->warp, &to[k].narrow, from[k].narrow);
  }
}

void sim_past_drop(SimPast *past) {
  drop(&past->far);
  drop(&past->narrow);
}

void sim_order_proxy(SimWarp *w, uint32_t mask) {
  const SimGroup *g = w->cta->group;
  SimPast *to = &w->past[CLOCK_ASYNC], *from = &w->past[CLOCK_GENERIC];
  if (g->launch->clocks < CLOCKS) return;
  if (!is_whole(w, mask)) set_apart(w, mask);
  if (is_whole(w, mask)) join_near(g, to, from), add_own(w, to, mask);
  if (w->solo_mask) join_near(g, &w->solo[CLOCK_ASYNC], &w->solo[CLOCK_GENERIC]), add_own(w, &w->solo[CLOCK_ASYNC], mask);
  if (from->far) join_in(w, &to->far, from->far);
  sim_order_tick(w);
}

/* A clock that w acquires: its own group's row belongs to the near past. */
static void acquire_clock(SimWarp *w, SimClock *c, bool enough) {
  const SimGroup *g = w->cta->group;
  SimPast *past = &w->past[CLOCK_GENERIC];
  if (!enough) {
    join_in(w, &past->narrow, c);
    return;
  }
  if (g->order && g->order <= c->rows) {
    const uint32_t *own = c->t + (size_t)(g->order - 1) * c->agents;
    for (uint32_t k = 0; k < g->launch->clocks; k++)
      for (uint32_t a = 0; a < g->ncolumns; a++)
        if (own[k * g->ncolumns + a] > w->past[k].near[a]) w->past[k].near[a] = own[k * g->ncolumns + a];
    refresh(w);
  }
  join_in(w, &past->far, c);
}

/* ---- locations ---- */

static uint32_t hash_address(uint64_t a) { return (uint32_t)((a >> 2) * 0x9e3779b97f4a7c15ull >> 32); }

static bool grow_places(SimPlaces *p) {
  uint32_t cap = p->cap ? p->cap * 2 : 64;
  SimPlace *at = sim_new(cap * sizeof *at);
  if (!at) return false;
  for (uint32_t i = 0; i < p->cap; i++) {
    if (!p->at[i].address) continue;
    uint32_t h = hash_address(p->at[i].address) & (cap - 1);
    while (at[h].address) h = (h + 1) & (cap - 1);
    at[h] = p->at[i];
  }
  sim_delete(p->at, p->cap * sizeof *p->at);
  p->at = at;
  p->cap = cap;
  return true;
}

static SimPlace *find_place(SimPlaces *p, uint64_t address) { /* NULL: out of memory */
  if (2 * p->n >= p->cap && !grow_places(p)) return NULL;
  uint32_t h = hash_address(address) & (p->cap - 1);
  while (p->at[h].address && p->at[h].address != address) h = (h + 1) & (p->cap - 1);
  if (!p->at[h].address) {
    p->at[h] = (SimPlace){.address = address};
    p->n++;
  }
  return &p->at[h];
}

static void free_places(SimPlaces *p) {
  for (uint32_t i = 0; i < p->cap; i++)
    for (int r = 0; r < REACHES; r++) drop(&p->at[i].release[r].clock);
  sim_delete(p->at, p->cap * sizeof *p->at);
  *p = (SimPlaces){0};
}

static int reach_of(uint32_t scope) { return scope <= SCOPE_CTA ? REACH_CTA : scope == SCOPE_CLUSTER ? REACH_CLUSTER : REACH_GPU; }

/* ---- accesses ---- */

static bool acquires(const SimInstr *in) { return in->sem == SEM_ACQUIRE || in->sem == SEM_ACQ_REL || in->sem == SEM_SC; }
static bool releases(const SimInstr *in) { return in->sem == SEM_RELEASE || in->sem == SEM_ACQ_REL || in->sem == SEM_SC; }

static void read_place(SimWarp *w, const SimInstr *in, SimPlace *p) {
  const SimCta *c = w->cta;
  int mine = reach_of(in->scope);
  for (int r = 0; r < REACHES; r++) {
    Release *e = &p->release[r];
    if (!e->clock) continue;
    int needs = e->cta == c->index ? REACH_CTA : e->group == c->group->index ? REACH_CLUSTER : REACH_GPU;
    bool enough = r >= needs && mine >= needs;
    if (acquires(in)) acquire_clock(w, e->clock, enough);
    else if (!enough) acquire_clock(w, e->clock, false);
    if (enough) join_in(w, &w->pending[needs], e->clock);
  }
}

static void add_release(SimWarp *w, SimPlace *p, int reach, SimClock *clock) {
  Release *e = &p->release[reach];
  if (!e->clock) *e = (Release){NULL, w->cta->index, w->cta->group->index};
  if (e->cta != w->cta->index) e->cta = MANY;
  if (e->group != w->cta->group->index) e->group = MANY;
  join_in(w, &e->clock, clock);
}

static void write_place(SimWarp *w, const SimInstr *in, SimPlace *p, bool update) {
  int mine = reach_of(in->scope);
  for (int r = 0; r < REACHES && !update; r++) drop(&p->release[r].clock); /* a store ends what earlier writers have released */
  if (releases(in)) {
    SimClock *c = snapshot(w);
    if (c) add_release(w, p, mine, c);
    drop(&c);
    sim_order_tick(w);
    return;
  }
  SimClock *last = NULL;
  for (int r = REACHES - 1; r >= 0; r--) { /* fences before it, each as far as both reach */
    SimClock *c = w->fence[r];
    if (c && c != last) add_release(w, p, r < mine ? r : mine, c);
    last = c;
  }
}

static void wake_watchers(SimWarp *w, uint64_t address) {
  SimBuf *list = &w->cta->launch->order->watching;
  for (uint32_t i = 0; i < SIM_COUNT(list, SimWarp *); i++) {
    SimWarp *x = SIM_AT(list, SimWarp *, i);
    for (uint32_t k = 0; k < x->spin.n; k++)
      if (x != w && x->spin.at[k].watched && (x->spin.at[k].address & ~(uint64_t)3) == address) sim_schedule_wake(w->cta->group, x);
  }
}

/* The location of a generic address, with the lock on it if it may be others' as well. NULL: out of memory. */
static SimPlace *enter_place(SimWarp *w, uint64_t address, bool global) {
  SimGroup *g = w->cta->group;
  SimOrder *o = g->launch->order;
  if (global && g->launch->ncores > 1) pthread_mutex_lock(&o->lock);
  uint64_t key = address & ~(uint64_t)3;
  if (!global) { /* by rank and offset, whichever CTA names it (engine.h) */
    uint32_t rank = (uint32_t)address >> SIM_RANK_SHIFT;
    key = (key & ~(uint64_t)UINT32_MAX) | (key & ((1u << SIM_RANK_SHIFT) - 1)) | (uint64_t)(rank ? rank - 1 : w->cta->rank) << 32;
  }
  SimPlace *p = find_place(global ? &o->places : &g->places, key);
  if (!p) lost(w);
  return p;
}

static void leave_place(SimWarp *w, bool global) {
  if (global && w->cta->launch->ncores > 1) pthread_mutex_unlock(&w->cta->launch->order->lock);
}

static bool is_global(uint64_t address) { return (address & ~SIM_WINDOW_MASK) != SIM_SHARED_BASE; }

void sim_order_read(SimWarp *w, const SimInstr *in, uint64_t address) {
  if (!w->checks) return;
  bool global = is_global(address);
  SimPlace *p = enter_place(w, address, global);
  if (p) read_place(w, in, p);
  leave_place(w, global);
}

void sim_order_write(SimWarp *w, const SimInstr *in, uint64_t address, bool update, bool changed) {
  bool global = is_global(address);
  if (!global && !w->checks) return;
  SimPlace *p = enter_place(w, address, global);
  if (p && w->checks) write_place(w, in, p, update);
  if (p && changed && p->watchers) wake_watchers(w, p->address);
  leave_place(w, global);
}

void sim_order_fence(SimWarp *w, const SimInstr *in) {
  int reach = reach_of(in->scope);
  if (!w->checks) return;
  for (int r = 0; r <= reach; r++)
    if (w->pending[r]) acquire_clock(w, w->pending[r], true);
  for (int r = reach + 1; r < REACHES; r++)
    if (w->pending[r]) acquire_clock(w, w->pending[r], false);
  SimClock *c = snapshot(w);
  for (int r = 0; r <= reach && c; r++) {
    drop(&w->fence[r]);
    w->fence[r] = hold(c);
  }
  drop(&c);
  sim_order_tick(w);
}

/* ---- spinning: a loop that has done nothing but look, and is in the same state as a turn ago, would do the same for ever ---- */

static void lock_order(SimOrder *o, const SimWarp *w) {
  if (w->cta->launch->ncores > 1) pthread_mutex_lock(&o->lock);
}
static void unlock_order(SimOrder *o, const SimWarp *w) {
  if (w->cta->launch->ncores > 1) pthread_mutex_unlock(&o->lock);
}

/* From the second turn of a loop on, global locations are watched from the moment at which they are read, which is one in virtual
 * time, and not from the moment at which the warp parks. */
static void watch(SimWarp *w, SimWatch *s) {
  SimOrder *o = w->cta->launch->order;
  SimPlace *p = find_place(&o->places, s->address & ~(uint64_t)3);
  SimWarp **slot = w->spin.watches || !p ? NULL : sim_push(&o->watching, sizeof *slot);
  if (slot) *slot = w;
  if (!p || (!slot && !w->spin.watches)) {
    lost(w);
    return;
  }
  w->spin.watches = true;
  p->watchers++;
  s->watched = true;
}

void sim_spin_read(SimWarp *w, uint64_t address, const char *at, uint32_t bytes) {
  SimOrder *o = w->cta->launch->order;
  SimWatch s = {.address = address, .at = at, .bytes = bytes > 8 ? 8 : bytes, .global = is_global(address)};
  uint32_t k = 0;
  memcpy(&s.value, at, s.bytes);
  while (k < w->spin.n && w->spin.at[k].address != address) k++;
  if (k == SIM_MAX_WATCH) {
    w->spin.acted = true;
    return;
  }
  bool shared = w->spin.watches || (s.global && w->spin.pc != SIM_FULL); /* others may look at the list */
  if (shared) lock_order(o, w);
  if (k < w->spin.n) s.watched = w->spin.at[k].watched;
  else w->spin.n++;
  w->spin.at[k] = s;
  if (s.global && !s.watched && w->spin.pc != SIM_FULL) watch(w, &w->spin.at[k]);
  if (shared) unlock_order(o, w);
}

static uint64_t hash_words(uint64_t h, const void *at, size_t bytes) {
  const char *p = at;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t v;
    memcpy(&v, p + i, 8);
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  return h;
}

static uint64_t hash_state(const SimWarp *w, uint32_t mask) {
  uint64_t h = hash_words(mask * 0x9e3779b97f4a7c15ull ^ w->live, w->regs, w->fn->file_bytes);
  for (uint32_t i = 0; i < w->nsplit; i++) h = (h ^ ((uint64_t)w->split[i].pc << 32 | w->split[i].mask)) * 0xbf58476d1ce4e5b9ull;
  return h;
}

bool sim_spin_again(SimWarp *w, uint32_t pc, uint32_t mask) {
  uint64_t h = hash_state(w, mask);
  if (w->spin.pc == pc && !w->spin.acted && w->spin.hash == h) return true;
  sim_spin_leave(w);
  w->spin.pc = pc;
  w->spin.hash = h;
  return false;
}

void sim_spin_leave(SimWarp *w) {
  SimOrder *o = w->cta->launch->order;
  if (w->spin.watches) {
    lock_order(o, w);
    uint32_t n = SIM_COUNT(&o->watching, SimWarp *), i = 0;
    while (i < n && SIM_AT(&o->watching, SimWarp *, i) != w) i++;
    if (i < n) {
      SIM_AT(&o->watching, SimWarp *, i) = SIM_AT(&o->watching, SimWarp *, n - 1);
      o->watching.n -= sizeof(SimWarp *);
    }
    for (uint32_t k = 0; k < w->spin.n; k++) {
      SimPlace *p = w->spin.at[k].watched ? find_place(&o->places, w->spin.at[k].address & ~(uint64_t)3) : NULL;
      if (p) p->watchers--;
    }
    w->spin.n = 0;
    unlock_order(o, w);
  }
  atomic_store(&w->wake, 0);
  w->spin.watches = w->spin.acted = false;
  w->spin.n = 0;
  w->spin.pc = SIM_FULL;
}

bool sim_spin_changed(const SimWarp *w, bool global) {
  for (uint32_t k = 0; k < w->spin.n; k++) {
    const SimWatch *s = &w->spin.at[k];
    if (s->global == global && memcmp(s->at, &s->value, s->bytes) != 0) return true;
  }
  return false;
}

/* ---- groups and launches ---- */

void sim_order_begin(SimGroup *g) {
  g->order = 0;
  for (uint32_t i = 0; i < g->nagents; i++) {
    g->warp[i].spin.pc = SIM_FULL;
    refresh(&g->warp[i]);
  }
}

void sim_order_end(SimGroup *g) {
  for (uint32_t i = 0; i < g->nagents; i++) {
    SimWarp *w = &g->warp[i];
    if (w->cta) sim_spin_leave(w); /* it has begun */
    for (int k = 0; k < CLOCKS; k++) drop(&w->past[k].far), drop(&w->past[k].narrow);
    for (int r = 0; r < REACHES; r++) drop(&w->fence[r]), drop(&w->pending[r]);
  }
  for (uint32_t i = 0; i < g->nctas; i++)
    for (int b = 0; b < SIM_MAX_BARRIERS; b++)
      for (int k = 0; k < CLOCKS; k++) drop(&g->cta[i].barrier[b].released[k].far), drop(&g->cta[i].barrier[b].released[k].narrow);
  free_places(&g->places);
}

bool sim_order_open(SimLaunch *l) {
  SimOrder *o = l->order = sim_new(sizeof *o);
  if (!o) return false;
  pthread_mutex_init(&o->lock, NULL);
  if (l->fn->meets && l->checks) o->row = sim_new(l->ngroups * sizeof *o->row);
  return o->row || !(l->fn->meets && l->checks);
}

void sim_order_close(SimLaunch *l) {
  SimOrder *o = l->order;
  if (!o) return;
  free_places(&o->places);
  sim_buf_free(&o->watching);
  sim_delete(o->row, o->row ? l->ngroups * sizeof *o->row : 0);
  pthread_mutex_destroy(&o->lock);
  sim_delete(o, sizeof *o);
  l->order = NULL;
}
