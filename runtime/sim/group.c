/* group.c - one group of CTAs: its memory, its start, and its run: warps one at a time, from one synchronising operation to the next, in
 * a seeded order; operations on global memory one by one, each at its moment in virtual time. */
#include "engine.h"
#include "alloc.h"
#include <stdio.h>
#include <string.h>

enum { ALIGN = 128, CHUNK_MEETS = 512, SLICE_MEETS = 4096 };
#define SLICE_ALONE ((uint64_t)1 << 20) /* warp instructions before other warps get their chance */

uint64_t sim_group_random(SimGroup *g) { /* xorshift64* */
  uint64_t x = g->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  g->random = x;
  return (x * 2685821657736338717ull) >> 32;
}

uint64_t sim_warp_count(const SimWarp *w) { return w->cta->launch->dev->limit - w->left - w->budget; }

static void fill_budget(SimWarp *w) {
  uint64_t chunk = w->cta->launch->fn->meets ? CHUNK_MEETS : SLICE_ALONE;
  w->budget = w->left < chunk ? w->left : chunk;
  w->left -= w->budget;
}

bool sim_warp_refill(SimWarp *w) {
  SimGroup *g = w->cta->group;
  uint64_t count = sim_warp_count(w);
  fill_budget(w);
  sim_schedule_progress(g, g->now + count - g->before);
  return count < g->yield_at && !sim_schedule_halted(g);
}

/* ---- memory: one block, which the device keeps from launch to launch ---- */

typedef struct Carve { char *at; size_t used; } Carve;

static void *carve(Carve *c, size_t bytes) { /* aligned for the widest vectors; at NULL: only counts */
  size_t start = (c->used + ALIGN - 1) / ALIGN * ALIGN;
  c->used = start + bytes;
  return c->at ? c->at + start : NULL;
}

static void carve_cta(SimCta *cta, const SimLaunch *l, Carve *c) {
  SimCta dummy;
  if (!cta) cta = &dummy; /* counting */
  cta->cells = l->checks ? (l->shared_bytes >> l->fn->shift) + 1 : 0;
  cta->shared = carve(c, l->shared_bytes + ALIGN);
  cta->wr = carve(c, cta->cells * sizeof *cta->wr);
  cta->rd = carve(c, cta->cells * l->nwarps * sizeof *cta->rd);
  cta->wl = carve(c, cta->cells);
  cta->far = carve(c, l->group_ctas > 1 ? cta->cells * sizeof *cta->far : 0);
}

static void carve_barriers(SimCta *cta, const SimLaunch *l, Carve *c) {
  for (int b = 0; b < SIM_MAX_BARRIERS; b++)
    for (int k = 0; k < CLOCKS; k++) {
      uint32_t columns = l->group_ctas * (l->nwarps + l->engines), *block = carve(c, SIM_PAST_ROWS * (size_t)columns * sizeof *block);
      if (cta) sim_past_place(&cta->barrier[b].released[k], block, columns);
    }
}

static void carve_engines(SimGroup *g, const SimLaunch *l, Carve *c) {
  g->barrier = carve(c, sizeof *g->barrier);
  g->settled = carve(c, g->ncolumns * sizeof *g->settled);
  for (int k = 0; k < CLOCKS; k++) {
    uint32_t *past = carve(c, SIM_PAST_ROWS * g->ncolumns * sizeof *past), *seen = carve(c, SIM_PAST_ROWS * g->ncolumns * sizeof *seen);
    if (!c->at) continue;
    sim_past_place(&g->barrier->past[k], past, g->ncolumns);
    sim_past_place(&g->barrier->seen[k], seen, g->ncolumns);
  }
  for (uint32_t i = 0; i < l->group_ctas; i++) {
    uint32_t *touched = carve(c, g->ncolumns * sizeof *touched);
    if (c->at) g->cta[i].touched = touched;
  }
}

static size_t pasts_of(size_t warps) { return 2 * CLOCKS * warps; } /* of each warp: what all lanes know, and what some do */

static void carve_group(SimGroup *g, const SimLaunch *l, Carve *c) {
  const SimFunction *fn = l->fn;
  size_t n = (size_t)l->nwarps * l->group_ctas;
  g->files = carve(c, fn->file_bytes * n);
  g->scratch = carve(c, SIM_SCRATCH_SLOTS * SIM_SCRATCH_SLOT_BYTES);
  g->lanes = carve(c, (fn->ncode + fn->module->func_code) * sizeof *g->lanes);
  g->init = carve(c, 2 * fn->ntracked * n * sizeof *g->init); /* and what SimWarp.touch counts */
  g->cache = carve(c, (fn->nmem + fn->module->func_mem) * sizeof(SimAlloc *));
  g->meter = carve(c, l->dev->meter ? (fn->ncode + fn->module->func_code) * sizeof *g->meter : 0);
  g->cta = carve(c, l->group_ctas * sizeof *g->cta);
  g->warp = carve(c, n * sizeof *g->warp);
  for (uint32_t i = 0; i < l->group_ctas; i++) carve_barriers(c->at ? &g->cta[i] : NULL, l, c);
  carve_engines(g, l, c);
  g->zeroed = c->used; /* what follows is filled at the beginning of each group */
  g->hb = carve(c, pasts_of(n) * SIM_PAST_ROWS * g->ncolumns * sizeof *g->hb);
  for (uint32_t i = 0; i < l->group_ctas; i++) carve_cta(c->at ? &g->cta[i] : NULL, l, c);
}

static SimBlock *take_block(SimLaunch *l, uint32_t nth, size_t need) {
  SimBuf *blocks = &l->dev->blocks;
  while (SIM_COUNT(blocks, SimBlock) <= nth)
    if (!sim_push(blocks, sizeof(SimBlock))) return NULL;
  SimBlock *b = &SIM_AT(blocks, SimBlock, nth);
  if (b->bytes >= need) return b;
  sim_delete(b->at, b->bytes);
  *b = (SimBlock){sim_new(need), 0};
  if (b->at) b->bytes = need;
  return b->at ? b : NULL;
}

SimGroup *sim_group_open(SimLaunch *l) {
  Carve c = {0};
  SimGroup *g = sim_new(sizeof *g);
  if (!g) return NULL;
  g->launch = l;
  g->nctas = l->group_ctas;
  g->nagents = l->group_ctas * l->nwarps;
  g->nengines = l->engines;
  g->ncolumns = g->nagents + g->nctas * g->nengines;
  carve_group(g, l, &c);
  SimBlock *block = take_block(l, l->ngroups_open, c.used + ALIGN);
  if (!block) {
    sim_delete(g, sizeof *g);
    return NULL;
  }
  c = (Carve){(char *)(((uintptr_t)block->at + ALIGN - 1) / ALIGN * ALIGN), 0};
  carve_group(g, l, &c);
  memset(c.at, 0, g->zeroed);
  c.used = 0;
  carve_group(g, l, &c); /* again: clearing has taken the pointers of the CTAs */
  for (uint32_t i = 0; i < g->nctas; i++) {
    g->cta[i].launch = l;
    g->cta[i].group = g;
    g->cta[i].rank = i;
    g->cta[i].nwarps = l->nwarps;
    g->cta[i].warp = g->warp + i * l->nwarps;
  }
  for (uint32_t i = 0; i < g->nagents; i++) sim_fill_constants(l->fn, g->files + (size_t)i * l->fn->file_bytes);
  return g;
}

void sim_group_close(SimGroup *g) {
  sim_engine_close(g);
  sim_order_end(g);
  for (uint32_t i = 0; i < g->nagents; i++) {
    if (g->warp[i].copies) kiln_mem(g->warp[i].copies, g->warp[i].copies_cap * sizeof(SimCopy), 0);
    sim_frames_free(&g->warp[i]);
    sim_buf_free(&g->warp[i].products);
  }
  sim_delete(g, sizeof *g);
}

/* ---- the start ---- */

static void place_cta(SimCta *c, const SimGroup *g) {
  const SimLaunch *l = g->launch;
  uint64_t first[3] = {0}, n[3];
  for (int i = 0; i < 3; i++) n[i] = l->grid[i] / l->cluster[i];
  first[0] = g->index % n[0] * l->cluster[0];
  first[1] = g->index / n[0] % n[1] * l->cluster[1];
  first[2] = g->index / n[0] / n[1] * l->cluster[2];
  c->id[0] = (uint32_t)(first[0] + c->rank % l->cluster[0]);
  c->id[1] = (uint32_t)(first[1] + c->rank / l->cluster[0] % l->cluster[1]);
  c->id[2] = (uint32_t)(first[2] + c->rank / l->cluster[0] / l->cluster[1]);
  c->index = c->id[0] + (uint64_t)l->grid[0] * (c->id[1] + (uint64_t)l->grid[1] * c->id[2]);
}

void sim_group_begin(SimGroup *g, uint64_t index) {
  const SimLaunch *l = g->launch;
  g->index = index;
  g->serial++;
  g->time = 1;
  g->now = 0;
  g->first_key = UINT64_MAX;
  g->horizon = 0;
  g->faulted = g->suspected = false;
  g->expired = 0;
  g->random = (l->seed + 1) * 0x9e3779b97f4a7c15ull ^ (index + 1) * 0xbf58476d1ce4e5b9ull;
  if (!g->random) g->random = 1;
  memset(g->hb, 0, pasts_of(g->nagents) * SIM_PAST_ROWS * g->ncolumns * sizeof *g->hb);
  g->parted = false;
  for (uint32_t i = 0; i < g->nctas; i++) {
    place_cta(&g->cta[i], g);
    sim_cta_begin(&g->cta[i]);
  }
  sim_engine_begin(g);
  sim_order_begin(g);
  for (uint32_t i = 0; i < g->nagents; i++) {
    g->warp[i].left = l->dev->limit;
    fill_budget(&g->warp[i]);
  }
}

/* ---- running ---- */

static bool running(const SimGroup *g) { return !g->faulted && !sim_schedule_halted(g); }

/* One warp until it lets others go on; virtual time advances by what it has executed. */
static void run_warp(SimGroup *g, SimWarp *w) {
  g->before = sim_warp_count(w);
  g->yield_at = g->before + (g->launch->fn->meets ? SLICE_MEETS : SLICE_ALONE);
  g->launch->dev->level->run(w);
  g->now += sim_warp_count(w) - g->before;
  if (w->state == WARP_TURN) { /* the operation happens a little later: by seed */
    uint64_t r = g->launch->seed ? sim_group_random(g) : 0;
    w->key = g->now + SIM_LATENCY + (r & 7 ? (r >> 3) & 63 : (r >> 3) & 4095);
    if (w->key < g->first_key) g->first_key = w->key;
  }
  sim_schedule_progress(g, g->now);
}

/* One round: every warp that can run does, in an order drawn from the seed (seed 0: by number). */
static bool run_round(SimGroup *g) {
  uint16_t order[SIM_MAX_AGENTS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->nagents; i++)
    if (g->warp[i].state == WARP_READY) order[n++] = (uint16_t)i;
  for (uint32_t i = n; i > 1 && g->launch->seed; i--) {
    uint32_t j = (uint32_t)(sim_group_random(g) % i);
    uint16_t t = order[i - 1];
    order[i - 1] = order[j];
    order[j] = t;
  }
  for (uint32_t i = 0; i < n && running(g); i++) {
    run_warp(g, &g->warp[order[i]]);
    if (g->bulks.n && g->launch->policy == POLICY_RANDOM && (sim_group_random(g) & 3) == 0) sim_engine_step(g);
  }
  return n != 0;
}

/* Warps that look at shared memory alone go on when it holds something else now. */
static bool wake_by_value(SimGroup *g) {
  bool any = false;
  for (uint32_t i = 0; i < g->nagents; i++) {
    SimWarp *w = &g->warp[i];
    if (w->state != WARP_PARKED || !sim_spin_changed(w, false)) continue;
    sim_spin_leave(w);
    w->state = WARP_READY;
    any = true;
  }
  return any;
}

static void run_local(SimGroup *g) { /* until nobody can go on by itself */
  bool any = true;
  while (any && running(g)) {
    while (running(g) && run_round(g)) {
    }
    any = false;
    for (uint32_t i = 0; i < g->nctas && running(g); i++) any |= sim_cta_ended(&g->cta[i]);
    if (running(g) && !any) any = sim_cluster_ended(g) || wake_by_value(g) || sim_engine_step(g); /* copies as late as can be */
  }
}

static SimWarp *next_warp(SimGroup *g, uint64_t *key) { /* whose operation or waking comes first */
  SimWarp *best = NULL;
  for (uint32_t i = 0; i < g->nagents; i++) {
    SimWarp *w = &g->warp[i];
    uint64_t k = w->state == WARP_TURN ? w->key : w->state == WARP_PARKED ? atomic_load(&w->wake) : 0;
    if (w->state != WARP_TURN && !k) continue;
    if (best && k >= *key) continue;
    best = w;
    *key = k;
  }
  return best;
}

bool sim_group_next(SimGroup *g, uint64_t *key) {
  if (!next_warp(g, key)) return false;
  if (*key < g->now) *key = g->now;
  return true;
}

static bool parked(const SimGroup *g) {
  for (uint32_t i = 0; i < g->nagents; i++)
    if (g->warp[i].state == WARP_PARKED && g->warp[i].spin.watches) return true;
  return false;
}

static SimGroupState end_group(SimGroup *g) {
  if (running(g)) sim_group_stuck(g);
  if (!g->faulted) sim_engine_finish(g);
  if (g->suspected && !(g->faulted && strcmp(g->finding.kind, "race") == 0)) {
    g->faulted = true;
    g->finding = g->suspect;
    g->code = DRV_LAUNCH_FAILED;
  }
  for (uint32_t i = 0; i < g->nagents; i++) {
    g->macs += g->warp[i].macs;
    g->warp_instructions += sim_warp_count(&g->warp[i]);
    g->warp[i].ncopies = 0;
  }
  sim_order_end(g);
  return GROUP_ENDS;
}

static void begin_operation(SimGroup *g, const SimWarp *w, uint64_t key) {
  g->now = key;
  g->first_key = UINT64_MAX;
  for (uint32_t i = 0; i < g->nagents; i++) {
    const SimWarp *x = &g->warp[i];
    if (x != w && x->state == WARP_TURN && x->key < g->first_key) g->first_key = x->key;
  }
  atomic_store(&g->acts, key);
  atomic_store(&g->seen, key);
}

/* Tries to wait for an mbarrier end without success in the end. Only if that has led to nothing is it a deadlock. */
static bool expire_waits(SimGroup *g) {
  bool any = false;
  if (g->expired == g->time) return false;
  g->expired = g->time;
  for (uint32_t i = 0; i < g->nagents; i++) {
    SimWarp *w = &g->warp[i];
    if (w->state != WARP_HELD || !w->held) continue;
    w->expired = any = true;
    sim_group_ready(w);
  }
  return any;
}

SimGroupState sim_group_run(SimGroup *g, uint64_t *key) {
  for (;;) {
    run_local(g);
    SimWarp *w = running(g) ? next_warp(g, key) : NULL;
    if (!w && running(g) && !parked(g) && expire_waits(g)) continue;
    if (!w) return running(g) && parked(g) ? GROUP_PARKED : end_group(g);
    if (*key < g->now) *key = g->now;
    if (*key >= g->horizon) return GROUP_TURN;
    begin_operation(g, w, *key);
    if (w->state == WARP_PARKED) sim_spin_leave(w);
    else w->granted = true;
    w->state = WARP_READY;
    run_warp(g, w);
  }
}

/* ---- nobody can go on ---- */

static size_t list_warp(const SimWarp *w, char *at, size_t room) {
  const SimCta *c = w->cta;
  const SimInstr *in = &w->code[w->pc ? w->pc - 1 : 0];
  char who[48] = "";
  if (c->launch->ctas > 1) snprintf(who, sizeof who, "cta (%u,%u,%u) ", c->id[0], c->id[1], c->id[2]);
  int n = 0;
  if (w->state == WARP_BARRIER) {
    const SimBarrier *b = &c->barrier[w->barrier];
    n = snprintf(at, room, "%swarp %u at barrier %u (%u of %u warps), ptx line %u", who, w->index, w->barrier, b->arrived, b->expected, in->line);
  } else if (w->state == WARP_PARKED) {
    const SimWatch *s = &w->spin.at[0];
    n = snprintf(at, room, "%swarp %u for another value than 0x%llx at 0x%llx, ptx line %u", who, w->index, (unsigned long long)s->value,
                 (unsigned long long)s->address, w->code[w->spin.pc].line);
  } else if (w->state == WARP_HELD) {
    const SimInstr *held = &w->code[w->pc]; /* it is executed again */
    if (w->held)
      n = snprintf(at, room, "%swarp %u at the mbarrier 0x%x (phase %u: %u of %u arrivals and %d bytes missing), ptx line %u", who, w->index,
                   w->held->address, w->held->s.phase, w->held->s.pending, w->held->s.expected, w->held->s.bytes, held->line);
    else n = snprintf(at, room, "%swarp %u %s, ptx line %u", who, w->index, w->waits ? w->waits : "waits", held->line);
  }
  return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

void sim_group_stuck(SimGroup *g) {
  char list[420];
  size_t n = 0;
  SimWarp *first = NULL;
  uint32_t done = 0;
  for (uint32_t i = 0; i < g->nagents; i++) {
    SimWarp *w = &g->warp[i];
    if (w->state == WARP_DONE) {
      done++;
      continue;
    }
    if (!first) first = w;
    if (n > sizeof list - 140) continue;
    if (n) n += (size_t)snprintf(list + n, sizeof list - n, "; ");
    n += list_warp(w, list + n, sizeof list - n);
  }
  if (!first) return;
  uint32_t at = first->state == WARP_PARKED ? first->spin.pc : first->state == WARP_HELD || !first->pc ? first->pc : first->pc - 1;
  const SimInstr *in = &first->code[at];
  if (done && first->state == WARP_BARRIER)
    sim_fault(first, in, -1, DRV_LAUNCH_FAILED, "barrier", "", 0, "waits for warps that have ended (%u of %u): %s", done, g->nagents, list);
  else sim_fault(first, in, -1, DRV_LAUNCH_FAILED, "deadlock", "", 0, "nobody can go on: %s", list);
}
