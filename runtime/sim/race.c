/* race.c - the race check of global memory.
 *
 * Memory is divided into lines of 32 granules (bytes, halves or words: the kernel's narrowest access). A line knows who has written and
 * who has read which of its granules since the launch began, and when (order.h): an access by one agent at one time, with a mask. As
 * long as one agent alone uses a line, which is the rule, that is one write and one read; others come into a list. An access that
 * happens before a later one of the same granules, and conflicts with whatever that conflicts with, is forgotten. In a kernel whose CTAs
 * never meet nothing orders two groups, so that of granules which several have read no more needs to be known than that. In one whose CTAs
 * do meet, the lowest agents of other groups that have read a line stand for those beyond MAX_READERS.
 *
 * Shadows are made page by page when first touched, and emptied when a later launch touches them: launches are ordered.
 *
 * A race between groups is noted while both go on, and the launch fails in the end by the race at the lowest address, told by the two
 * lowest of its agents, so that the report does not depend on which host core came first. */
#include "sim.h"
#include "alloc.h"
#include <stdio.h>
#include <string.h>

enum { MAX_READERS = 16, PAGE_LINES = 256, LINE_BITS = 5, PAGE_BITS = LINE_BITS + 8 };
#define HOW_STRONG 0x80000000u
#define HOW_WRITE 0x40000000u
#define HOW_ASYNC 0x20000000u /* of a bulk copy */
#define HOW_PC 0x1fffffffu
#define UNWAITED 0xffffffffu  /* time of a bulk store that its thread has not waited for: nobody knows of it */

typedef struct Access { uint32_t agent, time, how, mask; } Access; /* how: instruction, HOW_*; mask: granules, 0: none */
typedef struct More { uint32_t n, cap; Access at[]; } More;

typedef struct Line {
  Access write, read;
  uint32_t many, many_how; /* granules that several groups have read, which never meet; an instruction that did */
  uint32_t many_agent[2];  /* the lowest readers of two groups */
  More *more;
} Line;

typedef struct SimRacePage {
  uint64_t launch;         /* whose accesses these are */
  atomic_flag lock;
  uint8_t granule;         /* of that launch */
  bool written;            /* `before` is not all 0 */
  uint32_t before[PAGE_LINES]; /* what the launch before has written, if this one may have started earlier than that has ended */
  Line line[PAGE_LINES];
} SimRacePage;

/* ---- pages ---- */

static size_t more_bytes(uint32_t cap) { return sizeof(More) + cap * sizeof(Access); }

static void empty_page(SimRacePage *p) {
  for (int i = 0; i < PAGE_LINES; i++)
    if (p->line[i].more) sim_delete(p->line[i].more, more_bytes(p->line[i].more->cap));
  memset(p->line, 0, sizeof p->line);
}

static size_t table_bytes(const SimAlloc *a) { return ((a->bytes >> PAGE_BITS) + 1) * sizeof(SimRacePage *); }

void sim_race_free(SimAlloc *a) {
  for (size_t i = 0; a->pages && i < table_bytes(a) / sizeof *a->pages; i++) {
    if (!a->pages[i]) continue;
    empty_page(a->pages[i]);
    sim_delete(a->pages[i], sizeof *a->pages[i]);
  }
  sim_delete(a->pages, a->pages ? table_bytes(a) : 0);
  a->pages = NULL;
}

/* What the launch has written stays known to the next one if that may overlap with it. */
static void keep_writes(SimRacePage *p) {
  p->written = false;
  for (int i = 0; i < PAGE_LINES; i++) {
    const Line *x = &p->line[i];
    uint32_t mask = x->write.mask;
    for (uint32_t k = 0; x->more && k < x->more->n; k++) mask |= x->more->at[k].how & HOW_WRITE ? x->more->at[k].mask : 0;
    p->before[i] = mask;
    p->written |= mask != 0;
  }
}

/* The page of this launch; NULL: out of memory. */
static SimRacePage *find_page(SimLaunch *l, SimAlloc *a, uint64_t index) {
  SimRacePage **table = __atomic_load_n(&a->pages, __ATOMIC_ACQUIRE);
  SimRacePage *p = table ? __atomic_load_n(&table[index], __ATOMIC_ACQUIRE) : NULL;
  if (p && __atomic_load_n(&p->launch, __ATOMIC_ACQUIRE) == l->serial) return p;
  pthread_mutex_lock(&l->lock);
  if (!a->pages) __atomic_store_n(&a->pages, sim_new(table_bytes(a)), __ATOMIC_RELEASE);
  p = a->pages ? a->pages[index] : NULL;
  if (a->pages && !p && (p = sim_new(sizeof *p))) __atomic_store_n(&a->pages[index], p, __ATOMIC_RELEASE);
  if (p && p->launch != l->serial) {
    if (l->overlaps && p->launch == l->serial - 1 && p->granule == l->fn->granule) keep_writes(p);
    else p->written = false;
    if (p->launch) empty_page(p);
    p->granule = (uint8_t)l->fn->granule;
    __atomic_store_n(&p->launch, l->serial, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&l->lock);
  return p;
}

/* ---- who comes before whom ---- */

typedef struct Now { /* the access that is judged */
  SimWarp *w;
  const SimInstr *in;
  SimAlloc *alloc;
  uint64_t line;        /* index in the allocation */
  uint32_t agent, time, how;
} Now;

static bool in_order(const Now *n, const Access *e) { /* e happens before the present */
  const SimGroup *g = n->w->cta->group;
  uint32_t group = e->agent / g->nagents, a = e->agent % g->nagents;
  if (group == (uint32_t)g->index) return e->time <= sim_known_at_most(n->w, CLOCK_GENERIC, a);
  return g->launch->fn->meets && sim_clock_knows(n->w->past[CLOCK_GENERIC].far, sim_order_row(g->launch, group), a, e->time);
}

/* An ordinary write, which happens before a bulk copy: does the asynchronous proxy know of it? A fence.proxy.async on the way tells it,
 * the writer's or one that comes after. */
static bool is_fenced(const Now *n, const Access *e) {
  const SimGroup *g = n->w->cta->group;
  uint32_t group = e->agent / g->nagents, a = e->agent % g->nagents, row;
  if (!(n->how & HOW_ASYNC) || (e->how & (HOW_WRITE | HOW_ASYNC)) != HOW_WRITE || g->launch->clocks < CLOCKS) return true;
  if (n->how & e->how & HOW_STRONG) return true; /* a reduction of both kinds: each adds to what is there */
  if (group == (uint32_t)g->index) return e->time <= sim_known_at_most(n->w, CLOCK_ASYNC, a);
  row = sim_order_row(g->launch, group);
  return sim_clock_knows(n->w->past[CLOCK_ASYNC].far, row, a, e->time) ||
         sim_clock_knows(n->w->past[CLOCK_GENERIC].far, row, g->ncolumns + a, e->time);
}

static uint32_t cta_of(const SimLaunch *l, uint32_t agent) { return agent / l->nwarps; }

/* Two strong accesses whose scopes include each other do not race (PTX ISA: morally strong). */
static bool morally_strong(const Now *n, const Access *e, bool *narrow) {
  const SimLaunch *l = n->w->cta->launch;
  if (!(e->how & n->how & HOW_STRONG)) return false;
  uint32_t mine = n->in->scope, other = sim_code_at(l, e->how & HOW_PC)->scope, low = mine < other ? mine : other;
  bool cta = cta_of(l, e->agent) == cta_of(l, n->agent), group = e->agent / n->w->cta->group->nagents == n->agent / n->w->cta->group->nagents;
  bool enough = low >= (cta ? SCOPE_CTA : group ? SCOPE_CLUSTER : SCOPE_GPU);
  *narrow = !enough;
  return enough;
}

/* ---- reports ---- */

static uint64_t address_of(const Now *n, uint32_t mask) {
  return n->alloc->base + (((n->line << LINE_BITS) + (uint32_t)__builtin_ctz(mask)) << n->w->cta->launch->fn->granule);
}

static const char *verb_of(uint32_t how) { return how & HOW_WRITE ? (how & HOW_STRONG ? "updates" : "writes") : "reads"; }
static const char *past_of(uint32_t how) { return how & HOW_WRITE ? "written" : "read"; }

static void place_agent(const SimLaunch *l, uint32_t agent, uint32_t id[3], uint32_t *warp) {
  uint64_t group = agent / (l->group_ctas * l->nwarps), rank = agent / l->nwarps % l->group_ctas, n[2];
  for (int i = 0; i < 2; i++) n[i] = l->grid[i] / l->cluster[i];
  id[0] = (uint32_t)(group % n[0] * l->cluster[0] + rank % l->cluster[0]);
  id[1] = (uint32_t)(group / n[0] % n[1] * l->cluster[1] + rank / l->cluster[0] % l->cluster[1]);
  id[2] = (uint32_t)(group / n[0] / n[1] * l->cluster[2] + rank / l->cluster[0] / l->cluster[1]);
  *warp = agent % l->nwarps;
}

static void keep_lowest(SimRacer *two, uint32_t agent, uint32_t how) { /* of one kind of access, in order */
  SimRacer r = {agent + 1u, how};
  for (int i = 0; i < 2; i++) {
    if (two[i].agent == r.agent) {
      if (r.how < two[i].how) two[i].how = r.how;
      return;
    }
    if (two[i].agent && two[i].agent < r.agent) continue;
    SimRacer t = two[i];
    two[i] = r;
    r = t;
    if (!r.agent) return;
  }
}

static void keep_racer(SimRace *r, uint32_t agent, uint32_t how) {
  keep_lowest(how & HOW_WRITE ? r->writer : r->reader, agent, how);
}

typedef enum { WHY_RACE, WHY_SCOPE, WHY_UNWAITED, WHY_PROXY } Why;
static const struct { const char *kind, *within, *between; } whys[] = {
  {"race", "with no synchronisation between the two", "with no synchronisation between the two"},
  {"scope", "ordered only if their scopes were wider", "ordered only if the scopes between the two were wider"},
  {"race", "by a bulk store that has not been waited for: cp.async.bulk.wait_group, without .read",
   "by a bulk store that had not been waited for: cp.async.bulk.wait_group, without .read"},
  {"proxy", "with no fence.proxy.async between the two", "with no fence.proxy.async between the two"},
};

static bool note_race(const Now *n, const Access *e, uint32_t mask, Why why) { /* between groups: false, they go on */
  SimLaunch *l = n->w->cta->launch;
  uint64_t address = address_of(n, mask);
  pthread_mutex_lock(&l->lock);
  if (!l->race.address || address < l->race.address) l->race = (SimRace){.address = address};
  if (address == l->race.address) {
    keep_racer(&l->race, e->agent, e->how);
    keep_racer(&l->race, n->agent, n->how);
    if (why > l->race.why) l->race.why = (uint8_t)why;
  }
  pthread_mutex_unlock(&l->lock);
  return false;
}

/* True: a fault of this group. */
static bool report(const Now *n, const Access *e, uint32_t mask, Why why) {
  SimGroup *g = n->w->cta->group;
  if (e->agent / g->nagents != (uint32_t)g->index) return note_race(n, e, mask, why);
  uint32_t id[3], warp;
  place_agent(g->launch, e->agent, id, &warp);
  sim_fault(n->w, n->in, -1, DRV_LAUNCH_FAILED, whys[why].kind, "global", address_of(n, mask), "%s what warp %u has %s at ptx line %u, %s",
            verb_of(n->how), warp, past_of(e->how), sim_code_at(g->launch, e->how & HOW_PC)->line, whys[why].within);
  return true;
}

void sim_race_conclude(SimLaunch *l) { /* told by the lowest writer and the lowest other agent */
  const SimRace *r = &l->race;
  SimRacer a = r->writer[0], b = r->writer[1], t;
  for (int i = 0; i < 2; i++)
    if (r->reader[i].agent && r->reader[i].agent != a.agent && (!b.agent || r->reader[i].agent < b.agent)) b = r->reader[i];
  if (!r->address || !b.agent || l->code == DRV_OUT_OF_MEMORY) return; /* a clock that is lost makes races of what is none */
  if (a.agent > b.agent) t = a, a = b, b = t;
  uint32_t id[3], other[3], warp, other_warp;
  place_agent(l, b.agent - 1, id, &warp);
  place_agent(l, a.agent - 1, other, &other_warp);
  kilnsim_finding *f = &l->finding;
  *f = (kilnsim_finding){.cta = {id[0], id[1], id[2]}, .warp = (int)warp, .lane = -1, .address = r->address};
  snprintf(f->kind, sizeof f->kind, "%s", whys[r->why].kind);
  snprintf(f->space, sizeof f->space, "global");
  sim_fault_text(f, l->fn, sim_code_at(l, b.how & HOW_PC), "%s what cta (%u,%u,%u) warp %u has %s at ptx line %u, %s", verb_of(b.how), other[0],
                 other[1], other[2], other_warp, past_of(a.how), sim_code_at(l, a.how & HOW_PC)->line, whys[r->why].between);
  l->failed = true;
  l->code = DRV_LAUNCH_FAILED;
}

/* ---- one line ---- */

/* What conflicts with e conflicts with the present access as well, if that is weak or both are strong. */
static bool stands_for(const Now *n, const Access *e) { return !(n->how & HOW_STRONG) || e->how & HOW_STRONG; }

static bool judge(const Now *n, Access *e, uint32_t m) { /* true: faulted */
  bool narrow = false, own = e->agent == n->agent;
  uint32_t both = e->mask & m;
  if (!both || !((e->how | n->how) & HOW_WRITE)) return false;
  if (own ? e->time != UNWAITED : in_order(n, e)) {
    if (!is_fenced(n, e)) return report(n, e, both, WHY_PROXY);
    if (!own && n->how & HOW_WRITE && stands_for(n, e)) e->mask &= ~m;
    return false;
  }
  if (own && n->how & HOW_ASYNC) return false;
  if (morally_strong(n, e, &narrow)) return false;
  if (e->time == UNWAITED) return report(n, e, both, WHY_UNWAITED);
  const SimGroup *g = n->w->cta->group;
  const SimClock *hyp = n->w->past[CLOCK_GENERIC].narrow;
  narrow |= sim_clock_knows(hyp, sim_order_row(g->launch, e->agent / g->nagents), e->agent % g->nagents, e->time);
  return report(n, e, both, narrow ? WHY_SCOPE : WHY_RACE);
}

static bool same_epoch(const Now *n, const Access *e) {
  return e->agent == n->agent && e->time == n->time && !((e->how ^ n->how) & (HOW_WRITE | HOW_STRONG | HOW_ASYNC));
}

static Access *free_access(Line *x, bool write) { /* NULL: out of memory */
  Access *own = write ? &x->write : &x->read;
  if (!own->mask) return own;
  for (uint32_t i = 0; x->more && i < x->more->n; i++)
    if (!x->more->at[i].mask) return &x->more->at[i];
  if (!x->more || x->more->n == x->more->cap) {
    uint32_t cap = x->more ? x->more->cap * 2 : 4;
    More *p = kiln_mem(x->more, x->more ? more_bytes(x->more->cap) : 0, more_bytes(cap));
    if (!p) return NULL;
    if (!x->more) p->n = 0;
    p->cap = cap;
    x->more = p;
  }
  return &x->more->at[x->more->n++];
}

static void keep_reader(const Now *n, Line *x, uint32_t agent, uint32_t how) {
  uint32_t a[2] = {x->many_agent[0], x->many_agent[1]}, size = n->w->cta->group->nagents, group = agent / size;
  if (a[0] == a[1]) a[0] = a[1] = SIM_FULL; /* there is none yet */
  if (agent < a[0]) {
    if (a[0] / size != group) a[1] = a[0];
    a[0] = agent;
    x->many_how = how;
  } else if (agent < a[1] && group != a[0] / size) {
    a[1] = agent;
  }
  x->many_agent[0] = a[0];
  __atomic_store_n(&x->many_agent[1], a[1], __ATOMIC_RELAXED); /* known_shared has not the lock */
}

/* Granules that another group has read as well, where nothing will ever order the two: they are marked, and need no more. */
static uint32_t share_reads(const Now *n, Line *x, Access *e, uint32_t m) {
  uint32_t both = e->mask & m;
  uint32_t size = n->w->cta->group->nagents;
  if (!both || e->how & HOW_WRITE || e->agent / size == n->agent / size) return m;
  keep_reader(n, x, e->agent, e->how);
  keep_reader(n, x, n->agent, n->how);
  __atomic_store_n(&x->many, x->many | both, __ATOMIC_RELEASE);
  e->mask &= ~both;
  return m & ~both;
}

/* A line that many read, such as weights: of other groups the highest reader gives way to the present one. */
static void limit_readers(const Now *n, Line *x) {
  uint32_t size = n->w->cta->group->nagents, count = 0;
  Access *highest = NULL;
  for (uint32_t i = 0; x->more && i < x->more->n + 1; i++) {
    Access *e = i ? &x->more->at[i - 1] : &x->read;
    if (!e->mask || e->how & HOW_WRITE || e->agent / size == n->agent / size) continue;
    count++;
    if (!highest || e->agent > highest->agent) highest = e;
  }
  if (count >= MAX_READERS) highest->mask = 0;
}

static bool enter_slow(const Now *n, Line *x, uint32_t m) { /* true: faulted */
  bool write = n->how & HOW_WRITE, meets = n->w->cta->group->launch->fn->meets;
  uint32_t others = x->more ? x->more->n : 0;
  Access *merge = NULL;
  if (write && x->many & m) {
    uint32_t group = x->many_agent[0] / n->w->cta->group->nagents;
    Access reader = {.agent = x->many_agent[group == (uint32_t)n->w->cta->group->index], .how = x->many_how, .mask = x->many};
    note_race(n, &reader, x->many & m, WHY_RACE);
  }
  uint32_t all = m; /* a reader of granules that many have read is judged with their writers: it may be the lowest */
  if (!write && x->many & m) keep_reader(n, x, n->agent, n->how);
  if (!write) m &= ~x->many;
  for (uint32_t i = 0; i < others + 2; i++) {
    Access *e = i == 0 ? &x->write : i == 1 ? &x->read : &x->more->at[i - 2];
    if (!e->mask) continue;
    if (judge(n, e, e->how & HOW_WRITE ? all : m)) return true;
    if (!write && !meets) m = share_reads(n, x, e, m);
    if (e->agent != n->agent) continue;
    if (same_epoch(n, e)) merge = e;
    else if ((write || !(e->how & HOW_WRITE)) && stands_for(n, e)) e->mask &= ~m;
  }
  if (!m) return false;
  if (merge) {
    merge->mask |= m;
    return false;
  }
  if (!write) limit_readers(n, x);
  Access *e = free_access(x, write);
  if (!e) {
    sim_fault(n->w, n->in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
    return true;
  }
  *e = (Access){n->agent, n->time, n->how, m};
  return false;
}

/* One agent alone uses the line, each granule at its last access: true if the access is entered. */
static inline bool enter_fast(const Now *n, Line *x, uint32_t m) {
  Access *w = &x->write, *r = &x->read;
  if (w->mask && (w->time == UNWAITED || n->how & HOW_ASYNC)) return false;
  if (x->more || (w->mask && w->agent != n->agent) || (r->mask && r->agent != n->agent) || (int32_t)n->how < 0) return false;
  if (n->how & HOW_WRITE) {
    if (x->many & m) return false;
    if (w->mask && !(same_epoch(n, w) || !(w->mask & ~m))) return false;
    m |= w->mask;
    *w = (Access){n->agent, n->time, n->how, m};
    r->mask &= ~m;
    return true;
  }
  if (r->mask && !(r->time == n->time || !(r->mask & ~m))) return false;
  m |= r->mask;
  *r = (Access){n->agent, n->time, n->how, m};
  return true;
}

static bool enter_lines(Now *n, SimRacePage *p, uint64_t last, uint32_t first_mask, uint32_t last_mask) {
  bool several = n->w->cta->launch->ncores > 1, bad = false;
  uint64_t first = n->line;
  if (several)
    while (atomic_flag_test_and_set_explicit(&p->lock, memory_order_acquire)) {
    }
  for (; n->line <= last && !bad; n->line++) {
    Line *x = &p->line[n->line % PAGE_LINES];
    uint32_t m = (n->line == first ? first_mask : SIM_FULL) & (n->line == last ? last_mask : SIM_FULL);
    if (!enter_fast(n, x, m)) bad = enter_slow(n, x, m);
  }
  if (several) atomic_flag_clear_explicit(&p->lock, memory_order_release);
  return bad;
}

/* Memory that device code has freed and is given out again: what was before is over for whoever gets it. The launch is locked. */
void sim_race_forget(const SimLaunch *l, SimAlloc *a, uint64_t offset, uint64_t bytes) {
  uint32_t granule = l->fn->granule;
  for (uint64_t at = offset >> granule, end = (offset + bytes) >> granule, next; at < end; at = next) {
    uint64_t line = at >> LINE_BITS;
    SimRacePage *p = a->pages ? a->pages[line / PAGE_LINES] : NULL;
    next = (line + 1) << LINE_BITS;
    if (!p || p->launch != l->serial) continue;
    uint32_t keep = ~(SIM_FULL << (at & 31) & (next > end ? SIM_FULL >> (next - end) : SIM_FULL));
    Line *x = &p->line[line % PAGE_LINES];
    while (atomic_flag_test_and_set_explicit(&p->lock, memory_order_acquire)) {
    }
    x->write.mask &= keep;
    x->read.mask &= keep;
    x->many &= keep;
    for (uint32_t i = 0; x->more && i < x->more->n; i++) x->more->at[i].mask &= keep;
    atomic_flag_clear_explicit(&p->lock, memory_order_release);
  }
}

/* Read by several groups, as weights are, two of them lower than this one: nothing to note. A write there is judged by the writer. */
static bool known_shared(const SimRacePage *p, uint64_t line, uint64_t last, uint32_t mask, uint32_t agent) {
  if (line != last) mask = SIM_FULL;
  for (; line <= last; line++) {
    const Line *x = &p->line[line % PAGE_LINES];
    if (mask & ~__atomic_load_n(&x->many, __ATOMIC_ACQUIRE) || agent < __atomic_load_n(&x->many_agent[1], __ATOMIC_RELAXED)) return false;
  }
  return true;
}

/* Has w, or a warp whose wait happens before its present, executed griddepcontrol.wait? */
static bool has_waited(const SimWarp *w) {
  const SimGroup *g = w->cta->group;
  if (w->depended) return true;
  for (uint32_t i = 0; i < g->nagents; i++)
    if (g->warp[i].depended && g->warp[i].depended <= sim_known_at_most(w, CLOCK_GENERIC, i)) return true;
  return false;
}

static bool too_early(const Now *n, const SimRacePage *p, uint64_t stop, uint32_t first_mask, uint32_t last_mask) {
  uint32_t mask = first_mask;
  if (!p->written || has_waited(n->w)) return false;
  for (uint64_t line = n->line; line <= stop; line++, mask = SIM_FULL) {
    if (line == stop) mask &= last_mask;
    uint32_t bad = p->before[line % PAGE_LINES] & mask;
    if (!bad) continue;
    Now at = *n;
    at.line = line;
    sim_fault(n->w, n->in, -1, DRV_LAUNCH_FAILED, "race", "global", address_of(&at, bad),
              "%s what the kernel before has written, and may still be writing: griddepcontrol.wait comes first", n->how & HOW_WRITE ? "overwrites" : "reads");
    return true;
  }
  return false;
}

bool sim_race_range(SimWarp *w, const SimInstr *in, SimAlloc *a, uint64_t offset, uint64_t bytes, bool write, SimRaceKind kind) {
  const SimGroup *g = w->cta->group;
  SimLaunch *l = g->launch;
  uint32_t granule = l->fn->granule;
  uint64_t first = offset >> granule, end = (offset + bytes - 1) >> granule, line = first >> LINE_BITS, last = end >> LINE_BITS;
  uint32_t first_mask = SIM_FULL << (first & 31), last_mask = SIM_FULL >> (31 - (end & 31));
  Now n = {.w = w, .in = in, .alloc = a, .agent = w->self, .time = kind == RACE_STARTED && write ? UNWAITED : g->time,
           .how = sim_code_index(w, in) | (write ? HOW_WRITE : 0) | (in->sem ? HOW_STRONG : 0) | (kind != RACE_ORDINARY ? HOW_ASYNC : 0)};
  if (write && a->constant)
    return sim_fault(w, in, -1, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "const", a->base + offset, "writes to an array of .const, which kernels only read"),
           true;
  while (line <= last) {
    uint64_t page = line / PAGE_LINES, stop = page * PAGE_LINES + PAGE_LINES - 1;
    if (stop > last) stop = last;
    SimRacePage *p = find_page(l, a, page);
    if (!p) return sim_fault(w, in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory"), true;
    n.line = line;
    if (l->overlaps && too_early(&n, p, stop, first_mask, stop == last ? last_mask : SIM_FULL)) return true;
    uint32_t stop_mask = stop == last ? last_mask : SIM_FULL;
    if (write || !known_shared(p, line, stop, first_mask & stop_mask, n.agent))
      if (enter_lines(&n, p, stop, first_mask, stop_mask)) return true;
    first_mask = SIM_FULL;
    line = stop + 1;
  }
  return false;
}
