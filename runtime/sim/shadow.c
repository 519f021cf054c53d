/* shadow.c - the race check of shared memory, exactly: what the vector test of exec/mem.h could not rule out.
 *
 * Time of a CTA advances at every release (barrier completion or arrival). A cell holds time and warp of its last write, and per
 * warp the time of its last read. hb[w][r] is the time up to which the accesses of warp r happen before the present of warp w. */
#include "sim.h"

static uint32_t address_of(const SimWarp *w, uint32_t cell) { return w->shared_first + (cell << w->shift); }

/* Nobody has written the cell. Perhaps its writer comes later, and a barrier is missing: then its write is reported as a race, and
 * this finding is dropped; it stands if the CTA ends otherwise. */
static bool suspect_unwritten(SimWarp *w, const SimInstr *in, int lane, uint32_t address) {
  SimCta *c = w->cta;
  if (c->suspected) return false;
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "uninitialised", "shared", address, "reads shared memory that nobody has written");
  if (c->nwarps == 1) return true;
  c->suspect = c->finding;
  c->suspected = true;
  c->faulted = false;
  return false;
}

bool sim_shadow_read_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane) {
  uint32_t v = w->wr[cell], writer = v & 0x3f, address = address_of(w, cell);
  if (v == 0) return suspect_unwritten(w, in, lane, address);
  if (v & 0x80) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
              "reads what an asynchronous copy of warp %u is still writing: its group has not been waited for", writer);
    return true;
  }
  if (writer == w->index || v >> 8 <= w->hb[writer]) return false;
  sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address,
            "reads what warp %u has written, with no barrier between the two", writer);
  return true;
}

bool sim_shadow_write_slow(SimWarp *w, const SimInstr *in, uint32_t cell, int lane, uint32_t flags) {
  uint32_t v = w->wr[cell], writer = v & 0x3f, address = address_of(w, cell);
  const char *what = flags & 0x80 ? "starts a copy over" : flags & 0x40 ? "updates" : "overwrites";
  if (v & 0x80) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "pending_copy", "shared", address,
              "%s what an asynchronous copy of warp %u is still writing: its group has not been waited for", what, writer);
    return true;
  }
  bool both_atomic = (v & 0x40) && (flags & 0x40);
  if (v && writer != w->index && v >> 8 > w->hb[writer] && !both_atomic) {
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address, "%s what warp %u has written, with no barrier between the two",
              what, writer);
    return true;
  }
  const SimCta *c = w->cta;
  for (uint32_t r = 0; r < c->nwarps; r++) {
    if (r == w->index || c->worker->rd[(size_t)r * c->worker->cells + cell] <= w->hb[r]) continue;
    sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "race", "shared", address, "%s what warp %u has read, with no barrier between the two", what, r);
    return true;
  }
  return false;
}

static void refresh_limit(SimCta *c, uint32_t w) {
  uint32_t low = SIM_FULL;
  for (uint32_t r = 0; r < c->nwarps; r++)
    if (r != w && c->hb[w][r] < low) low = c->hb[w][r];
  c->warp[w].min_hb = low;
}

void sim_shadow_release(SimCta *c, const uint32_t *released, uint32_t waiters) {
  uint32_t joined[SIM_MAX_WARPS];
  for (uint32_t r = 0; r < c->nwarps; r++) joined[r] = released[r];
  for (uint32_t m = waiters; m; m &= m - 1)
    for (uint32_t r = 0, w = (uint32_t)__builtin_ctz(m); r < c->nwarps; r++)
      if (c->hb[w][r] > joined[r]) joined[r] = c->hb[w][r];
  for (uint32_t m = waiters; m; m &= m - 1) {
    uint32_t w = (uint32_t)__builtin_ctz(m);
    for (uint32_t r = 0; r < c->nwarps; r++) c->hb[w][r] = joined[r];
    refresh_limit(c, w);
  }
}
