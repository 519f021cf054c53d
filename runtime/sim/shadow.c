/* shadow.c - the race check of shared memory, exactly: what the vector test of exec/mem.h could not rule out.
 *
 * A cell holds time and agent of its last write, and per warp the time of its last read (order.h). Strong accesses and atomics do not
 * race with one another: within a CTA every scope is wide enough. */
#include "sim.h"

/* What a report adds if it would be in order once the lanes of a warp had been joined. */
const char *sim_lanes_apart(const SimWarp *w, int lane, uint32_t column, uint32_t time) {
  const SimPast *p = lane >= 0 && w->solo_mask >> lane & 1 ? &w->solo[CLOCK_GENERIC] : &w->past[CLOCK_GENERIC];
  if (column == w->agent || time > sim_known_at_most(w, CLOCK_GENERIC, column)) return "";
  if (time <= p->part[column]) return " (only other lanes of that warp have said so: bar.warp.sync comes before they do)";
  return " (only other lanes of this warp have been told: bar.warp.sync hands it on)";
}

/* Does a lane of w know that a read of an agent is over? Its own lane's is. */
bool sim_read_known(const SimWarp *w, int lane, uint32_t agent, uint32_t read) {
  uint32_t code = SIM_READ_LANE(read);
  if (agent == w->agent && ((int)code == lane || code == SIM_LANE_WARP)) return true;
  return sim_knows(w, lane, CLOCK_GENERIC, agent, SIM_READ_TIME(read), code);
}

/* Has another CTA read a cell of c, and w does not know that this is over? */
bool sim_far_read_unknown(const SimWarp *w, const SimCta *c, uint32_t cell, int lane) {
  if (!c->last_far || !c->far[cell]) return false;
  uint32_t agent = c->far[cell] & SIM_CELL_AGENT;
  return agent != w->agent && !sim_knows(w, lane, CLOCK_GENERIC, agent, c->far[cell] >> SIM_CELL_TIME, SIM_LANE_WARP);
}

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
  if (sim_knows(w, lane, CLOCK_GENERIC, column, v >> SIM_CELL_TIME, SIM_LANE_WARP)) return false;
  const char *apart = sim_lanes_apart(w, lane, column, v >> SIM_CELL_TIME);
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
            "%s what an asynchronous copy has written: this %s has not waited for the phase of its mbarrier%s", what, *apart ? "lane" : "warp", apart);
  return true;
}

/* code: lane, or SIM_LANE_MANY where the warp accesses memory together (a matrix) */
bool sim_shadow_read_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t code) {
  uint32_t v = w->wr[cell], agent = v & SIM_CELL_AGENT, writer = agent % w->cta->nwarps, address = address_of(w, cell);
  if (v & SIM_CELL_ENGINE) return engine_wrote(w, in, lane, v, address, "reads");
  if (v == 0) return suspect_unwritten(w, in, lane, address);
  if (v & SIM_CELL_PENDING) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
              "reads what an asynchronous copy of warp %u is still writing: its group has not been waited for", writer);
    return true;
  }
  if ((agent == w->agent && (w->wl[cell] == code || w->wl[cell] == SIM_LANE_WARP)) || (in->sem && v & SIM_CELL_STRONG)) return false;
  if (sim_knows(w, code < SIM_LANES ? lane : -1, CLOCK_GENERIC, agent, v >> SIM_CELL_TIME, w->wl[cell])) return false;
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
            agent == w->agent ? "reads what another lane of warp %u has written, with no bar.warp.sync between the two%s"
                              : "reads what warp %u has written, with no barrier between the two%s", writer,
            sim_lanes_apart(w, lane, agent, v >> SIM_CELL_TIME));
  return true;
}

bool sim_shadow_write_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t code, uint32_t flags) {
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
  int knower = code < SIM_LANES ? lane : -1;
  bool own = agent == w->agent && (w->wl[cell] == code || w->wl[cell] == SIM_LANE_WARP);
  if (v && !(v & SIM_CELL_ENGINE) && !own && !(strong && v & SIM_CELL_STRONG) &&
      !sim_knows(w, knower, CLOCK_GENERIC, agent, v >> SIM_CELL_TIME, w->wl[cell])) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
              agent == w->agent ? "%s what another lane of warp %u has written, with no bar.warp.sync between the two%s"
                                : "%s what warp %u has written, with no barrier between the two%s", what, writer,
              sim_lanes_apart(w, lane, agent, v >> SIM_CELL_TIME));
    return true;
  }
  if (sim_far_read_unknown(w, c, cell, knower)) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
              "%s what warp %u of the CTA of rank %u has read, with no barrier of the cluster between the two", what,
              (c->far[cell] & SIM_CELL_AGENT) % c->nwarps, (c->far[cell] & SIM_CELL_AGENT) / c->nwarps);
    return true;
  }
  for (uint32_t r = 0; r < c->nwarps; r++) {
    uint32_t read = c->rd[r * c->cells + cell], reader = c->rank * c->nwarps + r;
    if (flies || (reader != w->agent && read >= SIM_FLIGHT)) {
      sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "in_flight", "shared", address,
                "%s what an asynchronous operation of warp %u is still reading: nobody has waited for it", what, flies ? w->index : r);
      return true;
    }
    if (read >= SIM_FLIGHT || sim_read_known(w, knower, reader, read) || (strong && read & 1)) continue;
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
              reader == w->agent ? "%s what another lane of warp %u has read, with no bar.warp.sync between the two%s"
                                 : "%s what warp %u has read, with no barrier between the two%s", what, r,
              sim_lanes_apart(w, lane, reader, SIM_READ_TIME(read)));
    return true;
  }
  return false;
}
