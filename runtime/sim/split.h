/* split.h - a warp whose lanes have parted: a set of splits (pc, lanes). The one with the lowest pc runs, and splits that meet at a pc
 * become one. Those that wait at a collective or spin stand aside (exec/warp.h). */
#ifndef KILN_SIM_SPLIT_H
#define KILN_SIM_SPLIT_H
#include "sim.h"

static inline bool can_run(const SimSplit *s) { return !s->members && !s->asleep; }

static inline void add_split(SimWarp *w, uint32_t pc, uint32_t mask) {
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].pc == pc && can_run(&w->split[i])) {
      w->split[i].mask |= mask;
      return;
    }
  w->split[w->nsplit++] = (SimSplit){.pc = pc, .mask = mask};
}

static inline void find_stop(SimWarp *w) {
  w->stop = SIM_FULL;
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].pc < w->stop && can_run(&w->split[i])) w->stop = w->split[i].pc;
}

static inline void run_split(SimWarp *w, uint32_t i) {
  w->pc = w->split[i].pc;
  w->active = w->split[i].mask;
  w->split[i] = w->split[--w->nsplit];
  find_stop(w);
}

static inline bool take_split(SimWarp *w) { /* the lowest that can run becomes the running one; false: there is none */
  uint32_t best = SIM_LANES;
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (can_run(&w->split[i]) && (best == SIM_LANES || w->split[i].pc < w->split[best].pc)) best = i;
  if (best == SIM_LANES) return false;
  run_split(w, best);
  return true;
}

/* The running split has reached or passed the pc of a waiting one. */
static inline void meet_split(SimWarp *w) {
  add_split(w, w->pc, w->active);
  take_split(w);
}

#endif
