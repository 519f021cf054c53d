/* cta.c - one CTA: what its warps begin with, its barriers, copies in flight. */
#include "sim.h"
#include "alloc.h"
#include <string.h>

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

static void clear_barrier(SimBarrier *b, const SimGroup *g) {
  SimPast past[CLOCKS];
  memcpy(past, b->released, sizeof past);
  sim_past_clear(past, g);
  *b = (SimBarrier){0};
  memcpy(b->released, past, sizeof past);
}

static void complete_barrier(SimCta *c, SimBarrier *b) {
  SimWarp *any = NULL;
  if (c->launch->checks)
    for (uint32_t m = b->waiters; m; m &= m - 1) /* what the waiters know meanwhile is not less than at their arrival */
      sim_past_acquire(&c->warp[__builtin_ctz(m)], b->released, SIM_FULL), sim_order_joined(&c->warp[__builtin_ctz(m)]);
  for (uint32_t m = b->waiters; m; m &= m - 1) {
    SimWarp *w = any = &c->warp[__builtin_ctz(m)];
    if (b->reduces) write_reduction(w, b);
    sim_group_ready(w);
  }
  if (any) sim_order_tick(any);
  clear_barrier(b, c->group);
}

static int bad_barrier(SimWarp *w, const SimInstr *in, uint32_t id, uint32_t threads, uint32_t expected, bool reduces) {
  const SimCta *c = w->cta;
  const SimBarrier *b = &c->barrier[id];
  int lane = __builtin_ctz(w->live);
  if (expected > c->nwarps)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u waits for %u threads, the block has %u warps", id, threads, c->nwarps);
  if (b->arrived && b->expected != expected)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: this warp expects %u warps, those before it expect %u", id,
                     expected, b->expected);
  if (b->waiters >> w->index & 1 || b->arrivers >> w->index & 1)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: this warp arrives a second time before the first is complete", id);
  if (b->arrived && b->reduces != reduces)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "barrier %u: some warps execute bar.red, others bar.sync", id);
  return STEP_NEXT;
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
  bool reduces = strcmp(sim_handler_name(in->handler), "bar_red") == 0;
  if (bad_barrier(w, in, id, threads, expected, reduces) != STEP_NEXT) return STEP_YIELD;
  b->reduces = reduces;
  b->whole = threads == 0;
  b->expected = expected;
  b->arrived++;
  b->arrived_threads += (uint32_t)__builtin_popcount(w->live);
  b->votes += (uint32_t)__builtin_popcount(value);
  if (c->launch->checks) sim_past_release(b->released, w, SIM_FULL); /* what the arriver knows is handed on, and its own past */
  w->spin.acted = true;
  if (park) {
    b->waiters |= 1u << w->index;
    w->state = WARP_BARRIER;
    w->barrier = id;
  } else {
    b->arrivers |= 1u << w->index;
    sim_order_tick(w); /* what it does from now on is not handed over */
  }
  if (b->arrived == b->expected) complete_barrier(c, b);
  return park ? STEP_YIELD : STEP_NEXT;
}

/* A barrier of the whole CTA waits for threads that have not exited; the end of a warp completes it if nobody else is missing
 * (exit). A barrier with a count goes on waiting for its count. What the ended warps did is not handed on: nothing says so. */
bool sim_cta_ended(SimCta *c) {
  uint32_t ended = 0;
  bool any = false;
  for (uint32_t i = 0; i < c->nwarps; i++) ended += c->warp[i].state == WARP_DONE;
  for (uint32_t id = 0; id < SIM_MAX_BARRIERS && ended; id++) {
    SimBarrier *b = &c->barrier[id];
    if (!b->waiters || !b->whole || b->arrived + ended != c->nwarps) continue;
    complete_barrier(c, b);
    any = true;
  }
  return any;
}

/* ---- the start ---- */

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
  case SPECIAL_ENVREG1: return l->workspace >> 32; /* where cooperative groups look for the grid's workspace */
  case SPECIAL_ENVREG2: return (uint32_t)l->workspace;
  case SPECIAL_CLUSTERID_X: return c->id[0] / l->cluster[0];
  case SPECIAL_CLUSTERID_Y: return c->id[1] / l->cluster[1];
  case SPECIAL_CLUSTERID_Z: return c->id[2] / l->cluster[2];
  case SPECIAL_NCLUSTERID_X: return l->grid[0] / l->cluster[0];
  case SPECIAL_NCLUSTERID_Y: return l->grid[1] / l->cluster[1];
  case SPECIAL_NCLUSTERID_Z: return l->grid[2] / l->cluster[2];
  case SPECIAL_CLUSTER_CTAID_X: return c->id[0] % l->cluster[0];
  case SPECIAL_CLUSTER_CTAID_Y: return c->id[1] % l->cluster[1];
  case SPECIAL_CLUSTER_CTAID_Z: return c->id[2] % l->cluster[2];
  case SPECIAL_CLUSTER_NCTAID_X: return l->cluster[0];
  case SPECIAL_CLUSTER_NCTAID_Y: return l->cluster[1];
  case SPECIAL_CLUSTER_NCTAID_Z: return l->cluster[2];
  case SPECIAL_CLUSTER_CTARANK: return c->rank;
  case SPECIAL_CLUSTER_NCTARANK: return l->group_ctas;
  default: return 0; /* clocks have a handler of their own */
  }
}

static void begin_warp(SimCta *c, uint32_t i) {
  const SimLaunch *l = c->launch;
  const SimFunction *fn = l->fn;
  SimGroup *g = c->group;
  SimWarp *w = &c->warp[i];
  uint32_t left = l->threads - i * SIM_LANES, agent = c->rank * c->nwarps + i;
  SimCopy *copies = w->copies;
  SimBuf products = w->products;
  SimFrame *frames = w->frames;
  uint32_t cap = w->copies_cap, frames_cap = w->frames_cap;
  memset(w, 0, sizeof *w);
  w->products.at = products.at;
  w->products.cap = products.cap;
  w->frames = frames;
  w->frames_cap = frames_cap;
  w->regs = g->files + (size_t)agent * fn->file_bytes;
  w->code = fn->code;
  w->lanes = g->lanes;
  w->stop = SIM_FULL;
  w->index = i;
  w->agent = agent;
  w->self = (uint32_t)(g->index * g->nagents + agent);
  w->cta = c;
  w->init = g->init + 2 * (size_t)agent * fn->ntracked;
  w->touch = w->init + fn->ntracked;
  w->nregs = sim_launch_registers(l);
  w->copies = copies;
  w->copies_cap = cap;
  for (uint32_t k = 0; k < CLOCKS; k++) {
    uint32_t *block = g->hb + ((size_t)k * g->nagents + agent) * 2 * SIM_PAST_ROWS * g->ncolumns;
    sim_past_place(&w->past[k], block, g->ncolumns);
    sim_past_place(&w->solo[k], block + SIM_PAST_ROWS * g->ncolumns, g->ncolumns);
  }
  w->hb = w->past[CLOCK_GENERIC].near;
  w->checks = l->checks;
  w->cache = g->cache;
  w->threads = left >= SIM_LANES ? SIM_FULL : (1u << left) - 1;
  w->active = w->live = w->threads;
  w->shared_first = l->dev->target->shared_first;
  w->shared_end = w->shared_first + l->shared_bytes;
  w->shared = c->shared - w->shared_first;
  w->wr = c->wr;
  w->rd = c->rd ? c->rd + i * c->cells : NULL;
  w->wl = c->wl;
  w->shift = fn->shift;
  memset(w->init, 0, fn->ntracked * sizeof *w->init);
  for (uint32_t r = 0; r < fn->ntracked; r++) w->touch[r] = 1; /* no fence yet */
  if (!sim_frame_begin(w)) {
    sim_fault(w, NULL, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
    return;
  }
  sim_fill_specials(w, &w->frames[0]);
}

void sim_cta_begin(SimCta *c) {
  const SimLaunch *l = c->launch;
  c->policy = l->policy;
  for (int b = 0; b < SIM_MAX_BARRIERS; b++) clear_barrier(&c->barrier[b], c->group);
  memset(c->last_read, 0, sizeof c->last_read);
  c->last_far = 0;
  if (c->cells) {
    memset(c->wr, 0, c->cells * sizeof *c->wr);
    if (l->group_ctas > 1) memset(c->far, 0, c->cells * sizeof *c->far);
    memset(c->rd, 0, c->cells * c->nwarps * sizeof *c->rd);
  }
  if (l->shared_bytes) memset(c->shared, 0xff, l->shared_bytes);
  for (uint32_t i = 0; i < c->nwarps; i++) begin_warp(c, i);
}
