/* schedule.c - a grid over the host's cores.
 *
 * Kernels whose CTAs never meet (SimFunction.meets) are taken in order, group after group. In the others a group may wait for another, so
 * as many are resident as the device holds, and what they do to global memory in a way that others may see happens in the order of a
 * virtual time. Each group counts its own: warp instructions, plus delays drawn from the seed. It needs nobody's leave for what is its
 * own business; an operation at moment t is executed once no other resident group can still come up with an earlier one, which it cannot
 * before SIM_LATENCY from its present: that much an operation takes. A group that is not resident from the start begins at the moment at
 * which the earliest resident one ends. Nothing of this depends on how many host cores there are or how fast they are: one seed, one
 * trace. (Moments of two groups that are equal: the lower group first.) */
#include "sim.h"
#include "alloc.h"
#include <stdio.h>
#include <string.h>

typedef enum { SEAT_NEW, SEAT_RUNS, SEAT_TURN, SEAT_PARKED, SEAT_ENDED } SeatState;

typedef struct Seat {       /* a group of the grid */
  SimGroup *group;
  uint64_t base, at;        /* virtual time of its start; since then: next operation, or end */
  uint8_t state;
  bool placed, faulted;     /* placed: base is known */
} Seat;

typedef struct SimSchedule {
  atomic_uint_fast64_t next, stop_at; /* groups that never meet: the next, and the first that need not run (one before has failed) */
  /* groups that meet; everything below is under SimLaunch.lock unless it is atomic */
  pthread_cond_t moved;
  atomic_uint idle;                   /* host cores that wait for others */
  Seat *seat;
  uint64_t started, ended, placed;    /* groups: taken by a core, ended, with a place among the resident (in virtual time) */
  uint64_t *resident;                 /* indices of those that have one now */
  uint32_t nresident, running;
  atomic_uint_fast64_t halt;          /* moment of the first failure */
  bool over;
  DrvResult code;                     /* out of memory */
} SimSchedule;

/* ---- groups: opened when first needed, used again ---- */

static SimGroup *take_group(SimLaunch *l) { /* under the lock */
  SimGroup *g = l->free_groups;
  if (g) {
    l->free_groups = g->next;
    return g;
  }
  if (l->ngroups_open == l->groups_cap) {
    uint32_t cap = l->groups_cap ? l->groups_cap * 2 : 16;
    void *p = kiln_mem(l->groups, l->groups_cap * sizeof *l->groups, cap * sizeof *l->groups);
    if (!p) return NULL;
    l->groups = p;
    l->groups_cap = cap;
  }
  g = sim_group_open(l);
  if (g) l->groups[l->ngroups_open++] = g;
  return g;
}

static void give_group(SimLaunch *l, SimGroup *g) {
  g->next = l->free_groups;
  l->free_groups = g;
}

static void keep_fault(SimLaunch *l, const SimGroup *g) {
  l->failed = true;
  l->fault_group = g->index;
  l->finding = g->finding;
  l->code = g->code;
}

/* ---- groups that never meet ---- */

static void run_alone(SimLaunch *l) {
  SimSchedule *s = l->schedule;
  pthread_mutex_lock(&l->lock);
  SimGroup *g = take_group(l);
  if (!g) s->code = DRV_OUT_OF_MEMORY;
  pthread_mutex_unlock(&l->lock);
  while (g) {
    uint64_t i = atomic_fetch_add(&s->next, 1), key;
    if (i >= l->ngroups || i >= atomic_load(&s->stop_at)) return;
    sim_group_begin(g, i);
    g->horizon = UINT64_MAX;
    sim_group_run(g, &key);
    if (!g->faulted) continue;
    pthread_mutex_lock(&l->lock);
    if (!l->failed || i < l->fault_group) {
      keep_fault(l, g);
      atomic_store(&s->stop_at, i);
    }
    pthread_mutex_unlock(&l->lock);
  }
}

/* ---- virtual time ---- */

typedef struct Moment { uint64_t at, group; } Moment;
static const Moment never = {UINT64_MAX, UINT64_MAX};

static bool earlier(Moment a, Moment b) { return a.at < b.at || (a.at == b.at && a.group < b.group); }

/* Before `ends` the group does not end, before the result it does nothing that others could see. */
static Moment bound(const SimSchedule *s, uint64_t i, Moment *ends) {
  const Seat *t = &s->seat[i];
  *ends = never;
  switch (t->state) {
  case SEAT_PARKED: return never; /* others must come first */
  case SEAT_RUNS:
    *ends = (Moment){t->base + atomic_load(&t->group->seen), i};
    return (Moment){t->base + atomic_load(&t->group->acts), i};
  case SEAT_TURN:
    *ends = (Moment){t->base + t->at, i};
    return *ends;
  default: /* ended: another takes its place then */
    *ends = (Moment){t->base + (t->state == SEAT_ENDED ? t->at : 0), i};
    return (Moment){ends->at + SIM_LATENCY, i};
  }
}

static void meet_fault(SimLaunch *l, uint64_t i) { /* the group has failed, and its moment is known */
  SimSchedule *s = l->schedule;
  Seat *t = &s->seat[i];
  uint64_t at = t->base + t->at, halt = atomic_load(&s->halt);
  if (!l->failed || at < halt || (at == halt && i < l->fault_group)) {
    keep_fault(l, t->group);
    atomic_store(&s->halt, at);
  }
  give_group(l, t->group);
  t->group = NULL;
}

static uint64_t start_delay(const SimLaunch *l, uint64_t i) { /* drawn from the seed, so that groups do not march in step */
  if (!l->seed) return 0;
  uint64_t x = (l->seed ^ i * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
  return (x ^ x >> 29) >> 20 & 1023;
}

static void place(SimLaunch *l, uint32_t where, uint64_t at) { /* the next group becomes resident */
  SimSchedule *s = l->schedule;
  uint64_t i = s->placed++;
  Seat *t = &s->seat[i];
  t->base = at + start_delay(l, i);
  t->placed = true;
  s->resident[where] = i;
  if (t->faulted) meet_fault(l, i);
}

typedef struct Outlook {
  uint32_t first;      /* resident whose operation can come first */
  Moment when, next;   /* its, and the earliest of the others */
  Moment ends;         /* before this nobody ends who has not */
} Outlook;

static Outlook look_around(const SimSchedule *s, uint32_t *ended) { /* ended: the resident that has ended first; SIM_FULL: none */
  Outlook o = {0, never, never, never};
  Moment first = never;
  *ended = SIM_FULL;
  for (uint32_t k = 0; k < s->nresident; k++) {
    Moment ends, b = bound(s, s->resident[k], &ends);
    if (s->seat[s->resident[k]].state == SEAT_ENDED) {
      if (earlier(ends, first)) first = ends, *ended = k;
    } else if (earlier(ends, o.ends)) {
      o.ends = ends;
    }
    if (earlier(b, o.when)) {
      o.next = o.when;
      o.when = b;
      o.first = k;
    } else if (earlier(b, o.next)) {
      o.next = b;
    }
  }
  if (*ended != SIM_FULL && earlier(o.ends, first)) *ended = SIM_FULL; /* another may end before it */
  return o;
}

/* Ended groups leave in the order of their ends; those after them take their places. */
static Outlook outlook(SimLaunch *l) {
  SimSchedule *s = l->schedule;
  for (;;) {
    uint32_t k;
    Outlook o = look_around(s, &k);
    if (k == SIM_FULL) return o;
    if (s->placed < l->ngroups) place(l, k, s->seat[s->resident[k]].base + s->seat[s->resident[k]].at);
    else s->resident[k] = s->resident[--s->nresident];
  }
}

/* ---- running those that meet ---- */

static void file_result(SimLaunch *l, uint64_t i, SimGroupState r, uint64_t key) {
  SimSchedule *s = l->schedule;
  Seat *t = &s->seat[i];
  SimGroup *g = t->group;
  s->running--;
  if (r == GROUP_ENDS) {
    t->state = SEAT_ENDED;
    t->at = g->now;
    s->ended++;
    t->faulted = g->faulted;
    if (!t->faulted) {
      give_group(l, g);
      t->group = NULL;
    } else if (t->placed) {
      meet_fault(l, i);
    }
  } else {
    bool has = sim_group_next(g, &key); /* perhaps somebody has written meanwhile */
    t->state = has ? SEAT_TURN : SEAT_PARKED;
    t->at = has ? key : g->now;
  }
  pthread_cond_broadcast(&s->moved);
}

static void run_seat(SimLaunch *l, uint64_t i, Moment until) { /* the lock is given up meanwhile */
  SimSchedule *s = l->schedule;
  Seat *t = &s->seat[i];
  uint64_t key = 0;
  t->state = SEAT_RUNS;
  s->running++;
  /* before `until`, or at it if the other group has the higher number */
  uint64_t end = until.at == UINT64_MAX ? UINT64_MAX : until.at + (i < until.group);
  t->group->horizon = !t->placed ? 0 : end > t->base ? end - t->base : 0;
  atomic_store(&t->group->seen, t->at);
  atomic_store(&t->group->acts, t->at ? t->at : SIM_LATENCY);
  pthread_mutex_unlock(&l->lock);
  SimGroupState r = sim_group_run(t->group, &key);
  pthread_mutex_lock(&l->lock);
  file_result(l, i, r, key);
}

static bool start_next(SimLaunch *l) { /* false: out of memory */
  SimSchedule *s = l->schedule;
  uint64_t i = s->started++;
  SimGroup *g = s->seat[i].group = take_group(l);
  if (!g) {
    s->code = DRV_OUT_OF_MEMORY;
    s->over = true;
    pthread_cond_broadcast(&s->moved);
    return false;
  }
  sim_group_begin(g, i);
  Moment none = {0, 0};
  run_seat(l, i, none);
  return true;
}

/* Nobody runs and nobody can: plain writes may have changed what somebody looks at. False: a deadlock, or the end. */
static bool stir(SimLaunch *l) {
  SimSchedule *s = l->schedule;
  bool any = false;
  for (uint32_t k = 0; k < s->nresident; k++) {
    Seat *t = &s->seat[s->resident[k]];
    if (t->state != SEAT_PARKED) continue;
    for (uint32_t a = 0; a < t->group->nagents; a++) {
      SimWarp *w = &t->group->warp[a];
      if (w->state != WARP_PARKED || !sim_spin_changed(w, true)) continue;
      atomic_store(&w->wake, t->group->now ? t->group->now : 1);
      any = true;
    }
    uint64_t key;
    if (!sim_group_next(t->group, &key)) continue;
    t->state = SEAT_TURN;
    t->at = key;
  }
  return any;
}

static void report_deadlock(SimLaunch *l) { /* by the first of the groups that wait; it lists the others */
  SimSchedule *s = l->schedule;
  uint64_t first = UINT64_MAX;
  for (uint32_t k = 0; k < s->nresident; k++)
    if (s->seat[s->resident[k]].state == SEAT_PARKED && s->resident[k] < first) first = s->resident[k];
  if (first == UINT64_MAX || l->failed) return;
  SimGroup *g = s->seat[first].group;
  sim_group_stuck(g);
  size_t n = strlen(g->finding.text), room = sizeof g->finding.text;
  uint32_t others = 0;
  for (uint32_t k = 0; k < s->nresident; k++) others += s->resident[k] != first && s->seat[s->resident[k]].state == SEAT_PARKED;
  if (others) n += (size_t)snprintf(g->finding.text + n, room - n, "; and %u other CTAs that are resident wait likewise", others * l->group_ctas);
  if (s->placed < l->ngroups && n < room)
    snprintf(g->finding.text + n, room - n, "; %llu CTAs are not resident: %u multiprocessors hold %u at a time",
             (unsigned long long)((l->ngroups - s->placed) * l->group_ctas), (unsigned)l->dev->sms, l->resident * l->group_ctas);
  keep_fault(l, g);
}

static bool may_start(const SimLaunch *l) {
  const SimSchedule *s = l->schedule;
  return s->started < l->ngroups && s->started - s->ended < l->resident && !l->failed;
}

static void run_meeting(SimLaunch *l) {
  SimSchedule *s = l->schedule;
  pthread_mutex_lock(&l->lock);
  while (!s->over) {
    Outlook o = outlook(l);
    uint64_t i = s->nresident ? s->resident[o.first] : 0;
    bool known = s->nresident && o.when.at != UINT64_MAX;
    if (l->failed && (!known || (o.when.at > atomic_load(&s->halt) && o.ends.at > atomic_load(&s->halt)))) {
      s->over = true; /* whatever else comes is later than the failure */
    } else if (known && s->seat[i].state == SEAT_TURN) {
      run_seat(l, i, o.next);
    } else if (may_start(l)) {
      if (!start_next(l)) break;
    } else if (s->running) {
      atomic_fetch_add(&s->idle, 1);
      pthread_cond_wait(&s->moved, &l->lock);
      atomic_fetch_sub(&s->idle, 1);
    } else if (!s->nresident || !stir(l)) {
      if (s->nresident) report_deadlock(l);
      s->over = true;
    }
  }
  pthread_cond_broadcast(&s->moved);
  pthread_mutex_unlock(&l->lock);
}

void sim_schedule_progress(SimGroup *g, uint64_t now) {
  SimLaunch *l = g->launch;
  if (!l->fn->meets || l->ncores == 1) return;
  SimSchedule *s = l->schedule;
  uint64_t acts = now + SIM_LATENCY;
  if (acts > g->first_key) acts = g->first_key;
  atomic_store(&g->seen, now);
  if (acts > atomic_load(&g->acts)) atomic_store(&g->acts, acts);
  if (!atomic_load(&s->idle)) return;
  pthread_mutex_lock(&l->lock);
  pthread_cond_broadcast(&s->moved);
  pthread_mutex_unlock(&l->lock);
}

void sim_turn_done(SimWarp *w) { sim_schedule_progress(w->cta->group, w->cta->group->now); }

bool sim_schedule_halted(const SimGroup *g) {
  const SimLaunch *l = g->launch;
  const SimSchedule *s = l->schedule;
  if (!l->fn->meets) return g->index > atomic_load_explicit(&s->stop_at, memory_order_relaxed);
  uint64_t halt = atomic_load_explicit(&s->halt, memory_order_relaxed);
  return halt != UINT64_MAX && g->now > halt; /* its start may be later: then it stops at its next turn */
}

void sim_schedule_wake(SimGroup *g, SimWarp *w) {
  SimLaunch *l = g->launch;
  SimSchedule *s = l->schedule;
  SimGroup *h = w->cta->group;
  if (atomic_load(&w->wake)) return;
  uint64_t at = g->now;
  if (h != g) {
    pthread_mutex_lock(&l->lock);
    const Seat *from = &s->seat[g->index], *to = &s->seat[h->index];
    at = from->base + at > to->base ? from->base + at - to->base : 0;
  }
  atomic_store(&w->wake, at ? at : 1);
  if (h == g) return;
  Seat *t = &s->seat[h->index];
  if (t->state == SEAT_PARKED || t->state == SEAT_TURN) {
    t->state = sim_group_next(h, &t->at) ? SEAT_TURN : SEAT_PARKED;
  }
  if (g->horizon > g->now) g->horizon = g->now; /* the woken may come before its next operation */
  pthread_mutex_unlock(&l->lock);
}

bool sim_turn_ask(SimWarp *w, const SimInstr *in, uint32_t mask) {
  w->pc = (uint32_t)(in - w->code);
  w->state = WARP_TURN;
  w->lanes[w->pc] -= (uint64_t)__builtin_popcount(mask); /* it will be counted when it is executed */
  w->budget++;
  return false;
}

/* ---- the launch ---- */

static void *run_core(void *arg) {
  SimLaunch *l = arg;
  if (l->fn->meets) run_meeting(l);
  else run_alone(l);
  return NULL;
}

static bool open_seats(SimLaunch *l, SimSchedule *s) {
  s->seat = l->ngroups < SIZE_MAX / sizeof *s->seat ? sim_new(l->ngroups * sizeof *s->seat) : NULL;
  s->resident = sim_new(l->resident * sizeof *s->resident);
  if (!s->seat || !s->resident) return false;
  while (s->placed < l->ngroups && s->nresident < l->resident) place(l, s->nresident++, 0);
  return true;
}

DrvResult sim_schedule_run(SimLaunch *l) {
  SimSchedule *s = l->schedule = sim_new(sizeof *s);
  pthread_t *thread = sim_new(l->ncores * sizeof *thread);
  bool ok = s && thread;
  if (ok) {
    atomic_store(&s->stop_at, l->ngroups);
    atomic_store(&s->halt, UINT64_MAX);
    ok = !l->fn->meets || open_seats(l, s);
  }
  if (ok) {
    uint32_t n = 1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    while (n < l->ncores && pthread_create(&thread[n], NULL, run_core, l) == 0) n++;
    run_core(l);
    for (uint32_t i = 1; i < n; i++) pthread_join(thread[i], NULL);
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&l->lock);
    sim_race_conclude(l);
    if (s->code && !l->failed && !l->ngroups_open) ok = false; /* a core without memory leaves its share to the others */
    if (l->fn->meets && s->code) ok = false;
  }
  if (s) {
    sim_delete(s->seat, l->ngroups * sizeof *s->seat);
    sim_delete(s->resident, l->resident * sizeof *s->resident);
  }
  sim_delete(s, sizeof *s);
  sim_delete(thread, l->ncores * sizeof *thread);
  l->schedule = NULL;
  return !ok ? DRV_OUT_OF_MEMORY : l->code;
}
