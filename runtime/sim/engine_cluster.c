/* engine_cluster.c - CTAs of a cluster: their barrier, and that none ends while another may still touch its shared memory. PTX ISA, Parallel
 * Synchronization: barrier.cluster; Cluster of Cooperative Thread Arrays. */
#include "engine.h"

static bool ended(const SimCta *c) {
  for (uint32_t i = 0; i < c->nwarps; i++)
    if (c->warp[i].live) return false;
  return true;
}

bool sim_cluster_lives(SimWarp *w, const SimInstr *in, int lane, const SimCta *c, uint32_t address) {
  if (c != w->cta && ended(c))
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "cluster", "shared", address,
                     "touches the shared memory of the CTA of rank %u, which has ended", c->rank), false;
  return true;
}

/* A CTA of the cluster may begin later than w: does w know of one of its warps, in whatever way? */
static bool has_begun(SimWarp *w, const SimCta *c) {
  const SimGroup *g = c->group;
  for (uint32_t a = c->rank * c->nwarps, end = a + c->nwarps; a < end && !(w->begun >> c->rank & 1); a++)
    if (g->settled[a] || sim_known_at_most(w, CLOCK_GENERIC, a)) w->begun |= 1u << c->rank;
  return w->begun >> c->rank & 1;
}

bool sim_cluster_reach(SimWarp *w, const SimInstr *in, int lane, SimCta *c, uint32_t address) {
  if (!sim_cluster_lives(w, in, lane, c, address)) return false;
  if (c != w->cta && w->checks && !has_begun(w, c))
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "cluster", "shared", address,
                     "touches the shared memory of the CTA of rank %u, which may not have begun: no barrier of the cluster comes before", c->rank), false;
  if (c != w->cta) c->touched[w->agent] = w->cta->group->time;
  return true;
}

/* Its last warp ends: all that others did to its shared memory must be known to have happened. */
bool sim_cluster_leave(SimWarp *w, const SimInstr *in) {
  const SimCta *c = w->cta;
  const SimGroup *g = c->group;
  for (uint32_t a = 0; a < g->ncolumns; a++) {
    uint32_t known = g->settled[a];
    if (!c->touched[a]) continue;
    for (uint32_t i = 0; i < c->nwarps; i++)
      if (sim_known_at_most(&c->warp[i], CLOCK_GENERIC, a) > known) known = sim_known_at_most(&c->warp[i], CLOCK_GENERIC, a);
    if (c->touched[a] <= known) continue;
    if (a >= g->nagents)
      return sim_fault(w, in, -1, DRV_LAUNCH_FAILED, "unwaited_copy", "", 0,
                       "the block ends, and nobody in it has waited for the last copy to its shared memory"), false;
    return sim_fault(w, in, -1, DRV_LAUNCH_FAILED, "cluster", "", 0,
                     "the block ends while warp %u of the CTA of rank %u may still touch its shared memory: nothing orders the two", a % c->nwarps,
                     a / c->nwarps), false;
  }
  return true;
}

static uint32_t threads_left(const SimGroup *g) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->nagents; i++) n += (uint32_t)__builtin_popcount(g->warp[i].live);
  return n;
}

static bool complete(SimGroup *g) {
  SimClusterBarrier *b = g->barrier;
  if (!b->arrived || b->arrived < threads_left(g)) return false;
  b->phase++;
  b->arrived = 0;
  if (g->launch->checks) sim_past_keep(b->seen, b->past, g);
  for (uint32_t i = 0; i < g->nagents; i++) {
    SimWarp *w = &g->warp[i];
    if (w->arrived) g->settled[w->agent] = w->arrival;
    w->passed |= w->arrived;
    w->arrived = 0;
    if (w->state == WARP_HELD && w->waits_cluster) sim_group_ready(w);
  }
  return true;
}

int sim_cluster_arrive(SimWarp *w, const SimInstr *in, uint32_t mask) {
  SimGroup *g = w->cta->group;
  SimClusterBarrier *b = g->barrier;
  if ((w->arrived | w->passed) & mask)
    return sim_fault(w, in, (int)__builtin_ctz((w->arrived | w->passed) & mask), DRV_LAUNCH_FAILED, "barrier", "", 0,
                     "arrives at the cluster's barrier again without barrier.cluster.wait between");
  w->arrived |= mask;
  w->arrival = g->time;
  b->arrived += (uint32_t)__builtin_popcount(mask);
  w->spin.acted = true;
  if (w->checks && !in->sub) sim_past_release(b->past, w, mask); /* .relaxed hands nothing on */
  sim_order_tick(w);
  complete(g);
  return g->faulted ? STEP_YIELD : STEP_NEXT;
}

int sim_cluster_wait(SimWarp *w, const SimInstr *in, uint32_t mask) {
  SimGroup *g = w->cta->group;
  w->waits_cluster = false;
  if ((w->passed & mask) == mask) {
    w->passed &= ~mask;
    if (w->checks) sim_past_acquire(w, g->barrier->seen, mask);
    return STEP_NEXT;
  }
  uint32_t missing = mask & ~(w->arrived | w->passed);
  if (missing)
    return sim_fault(w, in, (int)__builtin_ctz(missing), DRV_LAUNCH_FAILED, "barrier", "", 0, "waits at the cluster's barrier without having arrived");
  w->waits_cluster = true;
  w->waits = "at the cluster's barrier";
  w->state = WARP_HELD;
  w->pc = (uint32_t)(in - w->code);
  return STEP_YIELD;
}

bool sim_cluster_ended(SimGroup *g) { return complete(g); }
