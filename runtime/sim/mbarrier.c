/* mbarrier.c - the state machine of an mbarrier object: pure, so that it can be tested alone. */
#include "mbarrier.h"

/* A token: the phase, and how many arrivals it still waited for before this one. */
static uint64_t make_token(const SimMbarState *b) { return (uint64_t)b->phase << 20 | b->pending; }
uint32_t sim_mbar_token_pending(uint64_t token) { return token & SIM_MBAR_MOST; }

const char *sim_mbar_fault(SimMbarFault f) {
  switch (f) {
  case MBAR_COUNT: return "a count outside 1 to 1048575";
  case MBAR_ARRIVALS: return "more arrivals than the phase waits for";
  case MBAR_BYTES: return "the bytes expected and not yet come leave the range of -1048575 to 1048575";
  case MBAR_COMPLETES: return "an arrival with .noComplete that would end the phase";
  case MBAR_PHASE: return "a state that is neither of the present phase nor of the one before";
  default: return "";
  }
}

SimMbarFault sim_mbar_init(SimMbarState *b, uint32_t count) {
  if (count < 1 || count > SIM_MBAR_MOST) return MBAR_COUNT;
  *b = (SimMbarState){.expected = count, .pending = count};
  return MBAR_OK;
}

static bool end_phase(SimMbarState *b) {
  if (b->pending || b->bytes) return false;
  b->phase++;
  b->pending = b->expected;
  return true;
}

static bool add_bytes(SimMbarState *b, int64_t n) {
  int64_t sum = b->bytes + n;
  if (n > SIM_MBAR_MOST || n < -SIM_MBAR_MOST || sum > SIM_MBAR_MOST || sum < -SIM_MBAR_MOST) return false;
  b->bytes = (int32_t)sum;
  return true;
}

SimMbarFault sim_mbar_arrive(SimMbarState *b, const SimMbarArrival *a, uint64_t *token, bool *ended) {
  *ended = false;
  if (a->count < 1 || a->count > SIM_MBAR_MOST) return MBAR_COUNT;
  if (!add_bytes(b, a->expect)) return MBAR_BYTES;
  *token = make_token(b);
  if (a->count > b->pending || (a->drop && a->count > b->expected)) return MBAR_ARRIVALS;
  if (a->no_complete && a->count == b->pending) return MBAR_COMPLETES;
  b->pending -= a->count;
  if (a->drop) b->expected -= a->count;
  *ended = end_phase(b);
  return MBAR_OK;
}

SimMbarFault sim_mbar_bytes(SimMbarState *b, int64_t expect, bool *ended) {
  *ended = false;
  if (!add_bytes(b, expect)) return MBAR_BYTES;
  *ended = end_phase(b);
  return MBAR_OK;
}

SimMbarFault sim_mbar_test(const SimMbarState *b, uint64_t token, bool *ended) {
  uint32_t phase = (uint32_t)(token >> 20);
  *ended = phase != b->phase;
  return phase == b->phase || phase + 1 == b->phase ? MBAR_OK : MBAR_PHASE;
}
