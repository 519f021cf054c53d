/* cta.c - one CTA: its warps run one at a time, from one synchronising operation to the next, in a seeded order; barriers; the end,
 * or who waits for what when nobody can go on. */
#include "sim.h"
#include "alloc.h"
#include <stdio.h>
#include <string.h>

uint64_t sim_cta_random(SimCta *c) { /* xorshift64* */
  uint64_t x = c->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  c->random = x;
  return (x * 2685821657736338717ull) >> 32;
}

bool sim_cta_more_copies(SimWarp *w) {
  uint32_t cap = w->copies_cap ? w->copies_cap * 2 : 16;
  void *p = kiln_mem(w->copies, w->copies_cap * sizeof *w->copies, cap * sizeof *w->copies);
  if (!p) return false;
  w->copies = p;
  w->copies_cap = cap;
  return true;
}

/* ---- barriers ---- */

/* The result of bar.red in every warp that waits at it. */
static void write_reduction(SimWarp *w, const SimBarrier *b) {
  const SimInstr *in = &w->code[w->pc - 1];
  if (in->sub == 3) {
    uint32_t *d = (uint32_t *)(void *)(w->regs + in->o[0]);
    for (int l = 0; l < SIM_LANES; l++)
      if (w->live >> l & 1) d[l] = b->votes;
    return;
  }
  uint32_t *p = (uint32_t *)(void *)(w->regs + in->o[0]);
  bool yes = in->sub == 1 ? b->votes == b->arrived_threads : b->votes != 0;
  *p = (*p & ~w->live) | (yes ? w->live : 0);
}

static void complete_barrier(SimCta *c, SimBarrier *b) {
  for (uint32_t m = b->waiters; m; m &= m - 1) {
    SimWarp *w = &c->warp[__builtin_ctz(m)];
    if (b->reduces) write_reduction(w, b);
    w->state = WARP_READY;
  }
  sim_shadow_release(c, b->released, b->waiters);
  c->time++;
  *b = (SimBarrier){0};
}

int sim_cta_barrier(SimWarp *w, const SimInstr *in, uint32_t id, uint32_t threads, bool park, uint32_t value) {
  SimCta *c = w->cta;
  int lane = __builtin_ctz(w->live);
  if (id >= SIM_MAX_BARRIERS)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: there are %d", id, SIM_MAX_BARRIERS);
  if (threads % SIM_LANES)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: a count of %u threads is no multiple of 32", id, threads);
  SimBarrier *b = &c->barrier[id];
  uint32_t expected = threads ? threads / SIM_LANES : c->nwarps;
  if (expected > c->nwarps)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u waits for %u threads, the block has %u warps", id, threads, c->nwarps);
  if (b->arrived && b->expected != expected)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: this warp expects %u warps, those before it expect %u", id,
                     expected, b->expected);
  if (b->waiters >> w->index & 1 || b->arrivers >> w->index & 1)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: this warp arrives a second time before the first is complete", id);
  bool reduces = strcmp(sim_handler_name(in->handler), "bar_red") == 0;
  if (b->arrived && b->reduces != reduces)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: some warps execute bar.red, others bar.sync", id);
  b->reduces = reduces;
  b->whole = threads == 0;
  b->expected = expected;
  b->arrived++;
  b->arrived_threads += (uint32_t)__builtin_popcount(w->live);
  b->votes += (uint32_t)__builtin_popcount(value);
  for (uint32_t r = 0; r < c->nwarps; r++) { /* what the arriver knows is handed on, and its own past */
    uint32_t known = r == w->index ? c->time : w->hb[r];
    if (known > b->released[r]) b->released[r] = known;
  }
  if (park) {
    b->waiters |= 1u << w->index;
    w->state = WARP_BARRIER;
    w->barrier = id;
  } else {
    b->arrivers |= 1u << w->index;
    c->time++; /* what it does from now on is not handed over */
  }
  if (b->arrived == b->expected) complete_barrier(c, b);
  return park ? STEP_YIELD : STEP_NEXT;
}

static uint32_t count_ended(const SimCta *c) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < c->nwarps; i++) n += c->warp[i].state == WARP_DONE;
  return n;
}

/* A barrier of the whole CTA waits for threads that have not exited; the end of a warp completes it if nobody else is missing
 * (exit). A barrier with a count goes on waiting for its count. What the ended warps did is not handed on: nothing says so. */
static bool complete_for_ended(SimCta *c) {
  uint32_t ended = count_ended(c);
  bool any = false;
  for (uint32_t id = 0; id < SIM_MAX_BARRIERS && ended; id++) {
    SimBarrier *b = &c->barrier[id];
    if (!b->waiters || !b->whole || b->arrived + ended != c->nwarps) continue;
    complete_barrier(c, b);
    any = true;
  }
  return any;
}

/* ---- the end ---- */

static void report_stuck(SimCta *c) {
  char list[400];
  size_t n = 0;
  SimWarp *first = NULL;
  uint32_t done = count_ended(c);
  for (uint32_t i = 0; i < c->nwarps; i++) {
    SimWarp *w = &c->warp[i];
    if (w->state != WARP_BARRIER) continue;
    const SimBarrier *b = &c->barrier[w->barrier];
    if (!first) first = w;
    if (n < sizeof list - 80)
      n += (size_t)snprintf(list + n, sizeof list - n, "%swarp %u at barrier %u (%u of %u warps), ptx line %u", n ? "; " : "", i, w->barrier,
                            b->arrived, b->expected, w->code[w->pc - 1].line);
  }
  if (!first) return;
  const SimInstr *in = &first->code[first->pc - 1];
  if (done)
    sim_fault(first, in, -1, DRV_LAUNCH_FAILED, "barrier", "", 0, "waits for warps that have ended (%u of %u): %s", done, c->nwarps, list);
  else sim_fault(first, in, -1, DRV_LAUNCH_FAILED, "deadlock", "", 0, "nobody can go on: %s", list);
}

/* ---- running ---- */

uint64_t sim_special_value(const SimCta *c, uint32_t warp, uint32_t lane, uint64_t which) {
  const SimLaunch *l = c->launch;
  uint32_t t = warp * SIM_LANES + lane;
  switch (which) {
  case SPECIAL_TID_X: return t % l->block[0];
  case SPECIAL_TID_Y: return t / l->block[0] % l->block[1];
  case SPECIAL_TID_Z: return t / l->block[0] / l->block[1];
  case SPECIAL_NTID_X: return l->block[0];
  case SPECIAL_NTID_Y: return l->block[1];
  case SPECIAL_NTID_Z: return l->block[2];
  case SPECIAL_CTAID_X: return c->id[0];
  case SPECIAL_CTAID_Y: return c->id[1];
  case SPECIAL_CTAID_Z: return c->id[2];
  case SPECIAL_NCTAID_X: return l->grid[0];
  case SPECIAL_NCTAID_Y: return l->grid[1];
  case SPECIAL_NCTAID_Z: return l->grid[2];
  case SPECIAL_LANEID: return lane;
  case SPECIAL_WARPID: return warp;
  case SPECIAL_NWARPID: return c->nwarps;
  case SPECIAL_SMID: return c->index % (uint64_t)l->dev->sms;
  case SPECIAL_NSMID: return (uint64_t)l->dev->sms;
  case SPECIAL_GRIDID: return l->dev->launches;
  case SPECIAL_LANEMASK_EQ: return 1u << lane;
  case SPECIAL_LANEMASK_LT: return (1u << lane) - 1;
  case SPECIAL_LANEMASK_LE: return lane == 31 ? SIM_FULL : (2u << lane) - 1;
  case SPECIAL_LANEMASK_GT: return lane == 31 ? 0 : SIM_FULL << (lane + 1);
  case SPECIAL_LANEMASK_GE: return SIM_FULL << lane;
  case SPECIAL_DYNAMIC_SMEM: return l->dynamic_bytes;
  case SPECIAL_TOTAL_SMEM: return l->shared_bytes;
  default: return 0; /* clocks have a handler of their own */
  }
}

static void begin_warp(SimCta *c, uint32_t i) {
  const SimLaunch *l = c->launch;
  const SimFunction *fn = l->fn;
  SimWorker *k = c->worker;
  SimWarp *w = &c->warp[i];
  uint32_t left = l->threads - i * SIM_LANES;
  SimCopy *copies = w->copies;
  uint32_t cap = w->copies_cap, frames_cap = w->frames_cap;
  SimFrame *frames = w->frames;
  *w = (SimWarp){.regs = k->files + (size_t)i * fn->file_bytes, .code = fn->code, .lanes = k->lanes, .stop = SIM_FULL, .index = i,
                 .cta = c, .budget = l->dev->limit, .init = k->init + (size_t)i * fn->ntracked, .copies = copies, .copies_cap = cap,
                 .hb = c->hb[i], .checks = l->checks, .cache = k->cache, .frames = frames, .frames_cap = frames_cap};
  w->threads = left >= SIM_LANES ? SIM_FULL : (1u << left) - 1;
  w->active = w->live = w->threads;
  w->shared_first = l->dev->target->shared_first;
  w->shared_end = w->shared_first + l->shared_bytes;
  w->shared = k->shared - w->shared_first;
  w->wr = k->wr;
  w->rd = k->rd ? k->rd + i * k->cells : NULL;
  w->shift = fn->shift;
  w->min_hb = c->nwarps == 1 ? SIM_FULL : 0;
  memset(w->init, 0, fn->ntracked * sizeof *w->init);
  if (!sim_frame_begin(w)) {
    sim_fault(w, NULL, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
    return;
  }
  sim_fill_specials(w, &w->frames[0]);
}

static void begin_cta(SimCta *c) {
  const SimLaunch *l = c->launch;
  SimWorker *k = c->worker;
  c->id[0] = (uint32_t)(c->index % l->grid[0]);
  c->id[1] = (uint32_t)(c->index / l->grid[0] % l->grid[1]);
  c->id[2] = (uint32_t)(c->index / l->grid[0] / l->grid[1]);
  c->nwarps = l->nwarps;
  k->serial++;
  c->time = 1;
  c->faulted = c->suspected = false;
  c->random = (l->seed + 1) * 0x9e3779b97f4a7c15ull ^ (c->index + 1) * 0xbf58476d1ce4e5b9ull;
  if (!c->random) c->random = 1;
  c->policy = l->policy;
  memset(c->barrier, 0, sizeof c->barrier);
  memset(c->hb, 0, sizeof c->hb);
  memset(c->last_read, 0, sizeof c->last_read);
  if (l->checks && k->cells) {
    memset(k->wr, 0, k->cells * sizeof *k->wr);
    memset(k->rd, 0, k->cells * c->nwarps * sizeof *k->rd);
  }
  if (k->shared_bytes) memset(k->shared, 0xff, k->shared_bytes);
  for (uint32_t i = 0; i < c->nwarps; i++) begin_warp(c, i);
}

/* One round: every warp that can run does, in an order drawn from the seed (seed 0: by number). */
static bool run_round(SimCta *c, const SimLevel *level) {
  uint8_t order[SIM_MAX_WARPS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < c->nwarps; i++)
    if (c->warp[i].state == WARP_READY) order[n++] = (uint8_t)i;
  for (uint32_t i = n; i > 1 && c->launch->seed; i--) {
    uint32_t j = (uint32_t)(sim_cta_random(c) % i);
    uint8_t t = order[i - 1];
    order[i - 1] = order[j];
    order[j] = t;
  }
  for (uint32_t i = 0; i < n && !c->faulted; i++) level->run(&c->warp[order[i]]);
  return n != 0;
}

void sim_cta_run(SimCta *c) {
  const SimLevel *level = c->launch->dev->level;
  begin_cta(c);
  do {
    while (!c->faulted && run_round(c, level)) {
    }
  } while (!c->faulted && complete_for_ended(c));
  if (!c->faulted) report_stuck(c);
  if (c->suspected && !(c->faulted && strcmp(c->finding.kind, "race") == 0)) {
    c->faulted = true;
    c->finding = c->suspect;
    c->code = DRV_LAUNCH_FAILED;
  }
  for (uint32_t i = 0; i < c->nwarps; i++) {
    c->worker->macs += c->warp[i].macs;
    c->worker->warp_instructions += c->launch->dev->limit - c->warp[i].budget;
    c->warp[i].ncopies = 0;
  }
}
