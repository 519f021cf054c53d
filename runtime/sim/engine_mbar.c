/* engine_mbar.c - the mbarriers of a CTA: where they lie, who may use them, who waits for them. PTX ISA, mbarrier; mbarrier.init. */
#include "engine.h"
#include <string.h>

static SimMbar *find_mbar(const SimCta *c, uint32_t address) {
  for (uint32_t i = 0; i < SIM_COUNT(&c->mbars, SimMbar *); i++)
    if (SIM_AT(&c->mbars, SimMbar *, i)->address == address) return SIM_AT(&c->mbars, SimMbar *, i);
  return NULL;
}

static bool place_of(SimWarp *w, const SimInstr *in, int lane, uint32_t address, SimArea *a) {
  a->cta = sim_cluster_cta(w, address, &a->address);
  a->bytes = 8;
  if (!a->cta)
    return sim_fault(w, in, lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", address, "an mbarrier in the CTA of rank %u: the cluster has %u",
                     (address >> SIM_RANK_SHIFT) - 1, w->cta->group->nctas), false;
  if (a->address % 8)
    return sim_fault(w, in, lane, DRV_MISALIGNED_ADDRESS, "misaligned", "shared", a->address, "an mbarrier at an address that is no multiple of 8"),
           false;
  if (!sim_area_in(a))
    return sim_fault(w, in, lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", a->address, "an mbarrier outside the block's shared memory"), false;
  return true;
}

/* Its initialisation happens before what w does with it. */
static bool known_to(SimWarp *w, const SimInstr *in, int lane, const SimMbar *b) {
  if (!w->checks || (b->maker == w && b->lane == lane)) return true;
  if (!sim_knows(w, lane, CLOCK_GENERIC, b->maker->agent, b->made, (uint32_t)b->lane))
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", b->address,
                     b->maker == w ? "uses an mbarrier that another lane of warp %u has initialised (ptx line %u), with no bar.warp.sync between the two"
                                   : "uses an mbarrier that warp %u has initialised (ptx line %u), with no barrier between the two",
                     b->maker->index, b->line), false;
  if (b->cta != w->cta && !b->fenced)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "proxy", "shared", b->address,
                     "uses an mbarrier of another CTA, which has not executed fence.mbarrier_init after its initialisation (ptx line %u)", b->line), false;
  return true;
}

SimMbar *sim_mbar_signalled(SimWarp *w, const SimInstr *in, int lane, uint32_t address) {
  SimArea a;
  if (!place_of(w, in, lane, address, &a)) return NULL;
  SimMbar *b = find_mbar(a.cta, a.address);
  if (!b || !b->live) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "mbarrier", "shared", a.address, "there is no mbarrier here: %s",
              b ? "it has been invalidated" : "nobody has initialised one");
    return NULL;
  }
  if (!sim_cluster_lives(w, in, lane, a.cta, a.address)) return NULL;
  return known_to(w, in, lane, b) ? b : NULL;
}

SimMbar *sim_mbar_at(SimWarp *w, const SimInstr *in, int lane, uint32_t address) {
  SimMbar *b = sim_mbar_signalled(w, in, lane, address);
  if (!b || !sim_cluster_reach(w, in, lane, b->cta, b->address)) return NULL;
  b->used[w->agent] = w->cta->group->time;
  return b;
}

static SimMbar *new_mbar(SimCta *c, uint32_t address) {
  SimGroup *g = c->group;
  SimMbar **slot = sim_push(&c->mbars, sizeof *slot);
  SimMbar *b = slot ? sim_new(sizeof *b) : NULL;
  if (slot && !b) c->mbars.n -= sizeof *slot;
  if (!b) return NULL;
  *slot = b;
  b->cta = c;
  b->address = address;
  b->agent = SIM_CELL_ENGINE | (c->rank * g->nengines + (SIM_COUNT(&c->mbars, SimMbar *) - 1) % g->nengines);
  for (int k = 0; k < CLOCKS; k++) {
    uint32_t *past = sim_new(SIM_PAST_ROWS * g->ncolumns * 4), *seen = sim_new(SIM_PAST_ROWS * g->ncolumns * 4);
    if (past) sim_past_place(&b->past[k], past, g->ncolumns);
    if (seen) sim_past_place(&b->seen[k], seen, g->ncolumns);
    if (!past || !seen) return NULL; /* stays in the list, and is freed with it */
  }
  b->used = sim_new(g->nagents * sizeof *b->used);
  return b;
}

int sim_mbar_make(SimWarp *w, const SimInstr *in, int lane, uint32_t address, uint32_t count) {
  SimArea a;
  SimGroup *g = w->cta->group;
  if (!place_of(w, in, lane, address, &a)) return STEP_YIELD;
  SimMbar *b = find_mbar(a.cta, a.address);
  if (b && b->live)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "mbarrier", "shared", a.address,
                     "initialises an mbarrier that is live since ptx line %u: mbarrier.inval comes first", b->line);
  if (!b) b = new_mbar(a.cta, a.address);
  if (!b || !b->used) return sim_fault(w, in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
  SimMbarFault f = sim_mbar_init(&b->s, count);
  if (f) return sim_mbar_fault_at(w, in, lane, b, f);
  if (!sim_area_write(w, in, lane, a, false)) return STEP_YIELD;
  sim_area_written(a, g->time << SIM_CELL_TIME | SIM_CELL_MBAR, (uint32_t)lane);
  sim_past_clear(b->past, g);
  sim_past_clear(b->seen, g);
  memset(b->used, 0, g->nagents * sizeof *b->used);
  b->live = true;
  b->fenced = false;
  b->maker = w;
  b->lane = lane;
  b->made = g->time;
  b->line = in->line;
  return STEP_NEXT;
}

int sim_mbar_drop(SimWarp *w, const SimInstr *in, int lane, uint32_t address) {
  SimMbar *b = sim_mbar_at(w, in, lane, address);
  if (!b) return STEP_YIELD;
  for (uint32_t i = 0; i < b->cta->nwarps; i++)
    if (b->cta->warp[i].held == b)
      return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "mbarrier", "shared", b->address, "invalidates an mbarrier that warp %u waits for", i);
  const SimGroup *g = w->cta->group;
  for (uint32_t i = 0; i < g->nagents && w->checks; i++)
    if (i != w->agent && b->used[i] && !sim_knows(w, lane, CLOCK_GENERIC, i, b->used[i], SIM_LANE_WARP))
      return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", b->address,
                       "invalidates an mbarrier that warp %u has used, with no barrier between the two", i % w->cta->nwarps);
  b->live = false;
  sim_area_written((SimArea){b->cta, b->address, 8}, w->cta->group->time << SIM_CELL_TIME | w->agent, (uint32_t)lane);
  return STEP_NEXT;
}

int sim_mbar_fault_at(SimWarp *w, const SimInstr *in, int lane, const SimMbar *b, SimMbarFault f) {
  return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "mbarrier", "shared", b->address, "%s (phase %u: %u of %u arrivals and %d bytes are still missing)",
                   sim_mbar_fault(f), b->s.phase, b->s.pending, b->s.expected, b->s.bytes);
}

void sim_mbar_ended(SimMbar *b, SimWarp *by) {
  if (by->checks) sim_past_keep(b->seen, b->past, b->cta->group);
  for (uint32_t i = 0; i < b->cta->nwarps; i++) {
    SimWarp *x = &b->cta->warp[i];
    if (x->held != b && !(x->held && x->held_any)) continue;
    if (x->state == WARP_HELD) sim_group_ready(x);
    else if (x->held_any) continue;
    else
      sim_fault(by, &x->code[x->pc], -1, DRV_LAUNCH_FAILED, "mbarrier", "shared", b->address,
                "warp %u waits for a phase, and the one after it has ended before that warp could see it: arrivals must wait for the waiters", i);
  }
}

int sim_mbar_park(SimWarp *w, const SimInstr *in, SimMbar *b) {
  w->held = b;
  w->state = WARP_HELD;
  w->waits = "at an mbarrier";
  w->pc = (uint32_t)(in - w->code);
  return STEP_YIELD;
}

void sim_mbar_close(SimCta *c) {
  for (uint32_t i = 0; i < SIM_COUNT(&c->mbars, SimMbar *); i++) {
    SimMbar *b = SIM_AT(&c->mbars, SimMbar *, i);
    for (int k = 0; k < CLOCKS; k++) {
      sim_past_drop(&b->past[k]);
      sim_past_drop(&b->seen[k]);
      sim_delete(b->past[k].near, SIM_PAST_ROWS * c->group->ncolumns * 4);
      sim_delete(b->seen[k].near, SIM_PAST_ROWS * c->group->ncolumns * 4);
    }
    sim_delete(b->used, c->group->nagents * sizeof *b->used);
    sim_delete(b, sizeof *b);
  }
  sim_buf_free(&c->mbars);
}
