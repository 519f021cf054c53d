/* split.h - a warp whose lanes have parted: a set of splits (pc, lanes). The one with the lowest pc runs, and splits that meet at a pc
 * become one. */
#ifndef KILN_SIM_SPLIT_H
#define KILN_SIM_SPLIT_H
#include "sim.h"

static inline void add_split(SimWarp *w, uint32_t pc, uint32_t mask) {
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].pc == pc) {
      w->split[i].mask |= mask;
      return;
    }
  w->split[w->nsplit].pc = pc;
  w->split[w->nsplit++].mask = mask;
}

static inline void find_stop(SimWarp *w) {
  w->stop = SIM_FULL;
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].pc < w->stop) w->stop = w->split[i].pc;
}

static inline void take_split(SimWarp *w) { /* the lowest becomes the running one */
  uint32_t best = 0;
  for (uint32_t i = 1; i < w->nsplit; i++)
    if (w->split[i].pc < w->split[best].pc) best = i;
  w->pc = w->split[best].pc;
  w->active = w->split[best].mask;
  w->split[best] = w->split[--w->nsplit];
  find_stop(w);
}

/* The running split has reached or passed the pc of a waiting one. */
static inline void meet_split(SimWarp *w) {
  add_split(w, w->pc, w->active);
  take_split(w);
}

#endif
