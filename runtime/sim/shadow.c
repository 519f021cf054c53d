/* shadow.c - the race check of shared memory, exactly: what the vector test of exec/mem.h could not rule out.
 *
 * A cell holds time and agent of its last write, and per warp the time of its last read (order.h). Strong accesses and atomics do not
 * race with one another: within a CTA every scope is wide enough. */
#include "sim.h"

static uint32_t address_of(const SimWarp *w, uint32_t cell) { return w->shared_first + (cell << w->shift); }

/* Nobody has written the cell. Perhaps its writer comes later, and a barrier is missing: then its write is reported as a race, and
 * this finding is dropped; it stands if the CTA ends otherwise. */
static bool suspect_unwritten(SimWarp *w, const SimInstr *in, int lane, uint32_t address) {
  SimCta *c = w->cta;
  SimGroup *g = c->group;
  if (g->suspected) return false;
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "uninitialised", "shared", address, "reads shared memory that nobody has written");
  if (g->nagents == 1) return true;
  g->suspect = g->finding;
  g->suspected = true;
  g->faulted = false;
  return false;
}

/* The cell's last write was a bulk copy's. */
static bool engine_wrote(SimWarp *w, const SimInstr *in, int lane, uint32_t v, uint32_t address, const char *what) {
  uint32_t column = sim_column(w->cta->group, v & SIM_CELL_AGENT);
  if ((v & SIM_CELL_MBAR) == SIM_CELL_MBAR) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "mbarrier", "shared", address, "%s an mbarrier, which only mbarrier instructions may touch", what);
    return true;
  }
  if (v & SIM_CELL_PENDING) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
              "%s what an asynchronous copy is still writing: the phase of its mbarrier has not been waited for", what);
    return true;
  }
  if (v >> SIM_CELL_TIME <= w->hb[column]) return false;
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
            "%s what an asynchronous copy has written: this warp has not waited for the phase of its mbarrier", what);
  return true;
}

bool sim_shadow_read_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane) {
  uint32_t v = w->wr[cell], agent = v & SIM_CELL_AGENT, writer = agent % w->cta->nwarps, address = address_of(w, cell);
  if (v & SIM_CELL_ENGINE) return engine_wrote(w, in, lane, v, address, "reads");
  if (v == 0) return suspect_unwritten(w, in, lane, address);
  if (v & SIM_CELL_PENDING) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
              "reads what an asynchronous copy of warp %u is still writing: its group has not been waited for", writer);
    return true;
  }
  if (agent == w->agent || v >> SIM_CELL_TIME <= w->hb[agent] || (in->sem && v & SIM_CELL_STRONG)) return false;
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
            "reads what warp %u has written, with no barrier between the two", writer);
  return true;
}

bool sim_shadow_write_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t flags) {
  const SimCta *c = w->cta;
  uint32_t v = w->wr[cell], agent = v & SIM_CELL_AGENT, writer = agent % c->nwarps, address = address_of(w, cell);
  bool strong = flags & SIM_CELL_STRONG;
  bool flies = w->flights && w->rd[cell] >= SIM_FLIGHT;
  const char *what = flags & SIM_CELL_PENDING ? "starts a copy over" : strong && in->sub ? "updates" : "overwrites";
  if (v & SIM_CELL_ENGINE && engine_wrote(w, in, lane, v, address, what)) return true;
  if (v & SIM_CELL_PENDING) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
              "%s what an asynchronous copy of warp %u is still writing: its group has not been waited for", what, writer);
    return true;
  }
  if (v && !(v & SIM_CELL_ENGINE) && agent != w->agent && v >> SIM_CELL_TIME > w->hb[agent] && !(strong && v & SIM_CELL_STRONG)) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address, "%s what warp %u has written, with no barrier between the two",
              what, writer);
    return true;
  }
  for (uint32_t r = 0; r < c->nwarps; r++) {
    uint32_t read = c->rd[r * c->cells + cell], reader = c->rank * c->nwarps + r;
    if (flies || (reader != w->agent && read >= SIM_FLIGHT)) {
      sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "in_flight", "shared", address,
                "%s what an asynchronous operation of warp %u is still reading: nobody has waited for it", what, flies ? w->index : r);
      return true;
    }
    if (reader == w->agent || read >> 1 <= w->hb[reader] || (strong && read & 1)) continue;
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address, "%s what warp %u has read, with no barrier between the two", what, r);
    return true;
  }
  return false;
}
