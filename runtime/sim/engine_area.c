/* engine_area.c - areas of shared memory that asynchronous operations and other CTAs of the cluster touch: who may read and write them.
 * PTX ISA, Memory Consistency Model: Proxies. The shadow is shadow.c's; what is asked here besides is what the issuer knows by the
 * asynchronous proxy, and what is still being read. */
#include "engine.h"
#include <stdio.h>
#include <string.h>

static uint32_t first_cell(const SimWarp *w, const SimArea *a) { return (a->address - w->shared_first) >> w->shift; }
static uint32_t cells_of(const SimWarp *w, const SimArea *a) {
  uint32_t n = a->bytes >> w->shift;
  return n ? n : 1;
}

SimCta *sim_cluster_cta(const SimWarp *w, uint32_t address, uint32_t *offset) {
  SimGroup *g = w->cta->group;
  uint32_t rank = address >> SIM_RANK_SHIFT;
  *offset = address & ((1u << SIM_RANK_SHIFT) - 1);
  if (rank == 0) return w->cta;
  return rank <= g->nctas ? &g->cta[rank - 1] : NULL;
}

bool sim_area_in(const SimArea *a) {
  const SimWarp *w = &a->cta->warp[0];
  return a->address >= w->shared_first && a->address <= w->shared_end && w->shared_end - a->address >= a->bytes;
}

static const char *name_writer(const SimWarp *w, uint32_t agent, char *text, size_t bytes) {
  const SimGroup *g = w->cta->group;
  uint32_t nwarps = w->cta->nwarps;
  if (agent & SIM_CELL_ENGINE) snprintf(text, bytes, "an asynchronous copy");
  else if (g->nctas > 1) snprintf(text, bytes, "warp %u of the CTA of rank %u", agent % nwarps, agent / nwarps);
  else snprintf(text, bytes, "warp %u", agent);
  return text;
}

/* What the last write of a cell means for w, who reads it or writes over it. */
static bool judge_write(SimWarp *w, const SimInstr *in, int lane, uint32_t v, uint32_t code, uint32_t address, bool async, const char *verb) {
  uint32_t agent = v & SIM_CELL_AGENT, time = v >> SIM_CELL_TIME, column = sim_column(w->cta->group, agent);
  char who[64];
  if (!v) return true;
  if ((v & SIM_CELL_MBAR) == SIM_CELL_MBAR)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "mbarrier", "shared", address, "%s an mbarrier, which only mbarrier instructions may touch", verb),
           false;
  if (v & SIM_CELL_PENDING)
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
                     "%s what an asynchronous copy is still writing", verb), false;
  name_writer(w, agent, who, sizeof who);
  bool own = agent == w->agent && (code == SIM_LANE_WARP || (int)code == lane);
  if (!own && !sim_knows(w, lane, CLOCK_GENERIC, column, time, code)) {
    const char *missing = agent & SIM_CELL_ENGINE ? "the phase of its mbarrier has not been waited for"
                          : agent == w->agent     ? "by another lane, with no bar.warp.sync between the two"
                                                  : "with no barrier between the two";
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address, "%s what %s has written: %s%s", verb, who, missing,
                     sim_lanes_apart(w, lane, column, time)), false;
  }
  if (async && !sim_knows(w, lane, CLOCK_ASYNC, column, time, code))
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "proxy", "shared", address,
                     "an asynchronous operation %s what %s has written by ordinary stores, with no fence.proxy.async between the two: it may not "
                     "see that write", verb, who), false;
  return true;
}

bool sim_area_read(SimWarp *w, const SimInstr *in, int lane, SimArea a, bool async) {
  if (!w->checks) return true;
  const uint32_t *wr = a.cta->wr + first_cell(w, &a);
  const uint8_t *wl = a.cta->wl + first_cell(w, &a);
  if (lane >= 0) w->dirty |= 1u << lane;
  for (uint32_t i = 0, n = cells_of(w, &a), last = 0; i < n; i++) {
    if (i && wr[i] == last && wl[i] == wl[i - 1]) continue; /* the same write as that of the cell before */
    last = wr[i];
    uint32_t address = a.address + (i << w->shift);
    if (!last)
      return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "uninitialised", "shared", address, "reads shared memory that nobody has written"), false;
    if (!judge_write(w, in, lane, last, wl[i], address, async, "reads")) return false;
  }
  return true;
}

static bool judge_readers(SimWarp *w, const SimInstr *in, int lane, const SimArea *a, uint32_t first, uint32_t n) {
  const SimCta *c = a->cta;
  for (uint32_t r = 0; r < c->nwarps; r++) {
    uint32_t agent = c->rank * c->nwarps + r, known = SIM_READ_SEEN(w->hb[agent]);
    if (c->last_read[r] != SIM_FULL && c->last_read[r] <= w->hb[agent]) continue;
    const uint32_t *rd = c->rd + r * c->cells + first;
    for (uint32_t i = 0; i < n; i++) {
      if (rd[i] <= known) continue;
      uint32_t address = a->address + (i << w->shift);
      if (rd[i] >= SIM_FLIGHT)
        return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "in_flight", "shared", address,
                         "overwrites what an asynchronous operation of warp %u is still reading: nobody has waited for it", r), false;
      if (sim_read_known(w, lane, agent, rd[i])) continue;
      return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
                       agent == w->agent ? "overwrites what another lane of warp %u has read, with no bar.warp.sync between the two%s"
                                         : "overwrites what warp %u has read, with no barrier between the two%s", r,
                       sim_lanes_apart(w, lane, agent, SIM_READ_TIME(rd[i]))), false;
    }
  }
  return true;
}

bool sim_area_write(SimWarp *w, const SimInstr *in, int lane, SimArea a, bool async) {
  if (!w->checks) return true;
  uint32_t first = first_cell(w, &a), n = cells_of(w, &a), last = 0;
  const uint32_t *wr = a.cta->wr + first;
  const uint8_t *wl = a.cta->wl + first;
  if (lane >= 0) w->dirty |= 1u << lane;
  for (uint32_t i = 0; i < n; i++) {
    if (wr[i] == last && (!i || wl[i] == wl[i - 1])) continue;
    last = wr[i];
    if (!judge_write(w, in, lane, last, wl[i], a.address + (i << w->shift), async, "overwrites")) return false;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (!sim_far_read_unknown(w, a.cta, first + i, lane)) continue;
    uint32_t agent = a.cta->far[first + i] & SIM_CELL_AGENT;
    return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", a.address + (i << w->shift),
                     "overwrites what warp %u of the CTA of rank %u has read, with no barrier of the cluster between the two", agent % a.cta->nwarps,
                     agent / a.cta->nwarps), false;
  }
  return judge_readers(w, in, lane, &a, first, n);
}

/* A warp of another CTA has read it. Of several that have read a cell the last one is remembered. */
void sim_area_far_read(SimWarp *w, SimArea a) {
  if (!w->checks || a.cta == w->cta) return;
  uint32_t *far = a.cta->far + first_cell(w, &a), now = w->cta->group->time << SIM_CELL_TIME | w->agent;
  for (uint32_t i = 0, n = cells_of(w, &a); i < n; i++) far[i] = now;
  a.cta->last_far = w->cta->group->time;
}

void sim_area_mark(SimWarp *w, SimArea a, uint32_t from, uint32_t to) {
  uint32_t *rd = a.cta->rd + w->index * a.cta->cells + first_cell(w, &a);
  for (uint32_t i = 0, n = cells_of(w, &a); i < n; i++)
    if (from == SIM_FULL || rd[i] == from) rd[i] = to;
}

void sim_area_reading(SimWarp *w, SimArea a) {
  if (!w->checks) return;
  sim_area_mark(w, a, SIM_FULL, SIM_FLIGHT);
  w->cta->last_read[w->index] = SIM_FULL;
  w->flights++;
}

void sim_area_was_read(SimWarp *w, SimArea a, uint32_t lane) {
  if (!w->checks) return;
  uint32_t time = w->cta->group->time;
  sim_area_mark(w, a, SIM_FLIGHT, SIM_READ(time, lane));
  if (lane < SIM_LANES) w->dirty |= 1u << lane;
  if (--w->flights == 0) w->cta->last_read[w->index] = time;
}

void sim_area_written(SimArea a, uint32_t cell, uint32_t lane) {
  const SimWarp *w = &a.cta->warp[0];
  if (!w->checks) return;
  uint32_t *wr = a.cta->wr + first_cell(w, &a), n = cells_of(w, &a);
  memset(a.cta->wl + first_cell(w, &a), (int)lane, n);
  for (uint32_t i = 0; i < n; i++) wr[i] = cell;
}
