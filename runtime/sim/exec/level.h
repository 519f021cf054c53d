/* level.h - everything of exec/ for one instruction-set level of the host: level_base.c, level_v3.c, level_v4.c include it with
 * SIM_LEVEL (the table's name) and SIM_LEVEL_NAME, after choosing the compiler's target. */
#include "lanes.h"

static inline uint32_t mask_of(const int32_t *t) { /* bit l: t[l] is negative */
#if defined(SIM_HAS_AVX2)
  uint32_t m = 0;
  for (int i = 0; i < 4; i++) m |= (uint32_t)_mm256_movemask_ps(_mm256_load_ps((const float *)t + 8 * i)) << 8 * i;
  return m;
#elif defined(__SSE2__)
  uint32_t m = 0;
  for (int i = 0; i < 8; i++) m |= (uint32_t)_mm_movemask_ps(_mm_load_ps((const float *)t + 4 * i)) << 4 * i;
  return m;
#else
  uint32_t m = 0;
  for (int l = 0; l < SIM_LANES; l++) m |= (uint32_t)(t[l] < 0) << l;
  return m;
#endif
}

/* Four words per lane in memory, a register per word: 4x4 transposes. */
#ifdef __SSE2__
static inline void load_quads(SimWarp *w, const SimInstr *in, const char *src) {
  float *d0 = (float *)SLOT(0), *d1 = (float *)SLOT(1), *d2 = (float *)SLOT(2), *d3 = (float *)SLOT(3);
  const float *s = (const float *)(const void *)src;
  for (int i = 0; i < SIM_LANES; i += 4, s += 16) {
    __m128 a = _mm_loadu_ps(s), b = _mm_loadu_ps(s + 4), c = _mm_loadu_ps(s + 8), d = _mm_loadu_ps(s + 12);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_store_ps(d0 + i, a), _mm_store_ps(d1 + i, b), _mm_store_ps(d2 + i, c), _mm_store_ps(d3 + i, d);
  }
}
static inline void store_quads(SimWarp *w, const SimInstr *in, char *dst) {
  const float *s0 = (const float *)SLOT(1), *s1 = (const float *)SLOT(2), *s2 = (const float *)SLOT(3), *s3 = (const float *)SLOT(4);
  float *t = (float *)(void *)dst;
  for (int i = 0; i < SIM_LANES; i += 4, t += 16) {
    __m128 a = _mm_load_ps(s0 + i), b = _mm_load_ps(s1 + i), c = _mm_load_ps(s2 + i), d = _mm_load_ps(s3 + i);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(t, a), _mm_storeu_ps(t + 4, b), _mm_storeu_ps(t + 8, c), _mm_storeu_ps(t + 12, d);
  }
}
#else
static inline void load_quads(SimWarp *w, const SimInstr *in, const char *src) {
  for (int i = 0; i < 4; i++)
    for (int l = 0; l < SIM_LANES; l++) memcpy(&R32(i)[l], src + 16 * l + 4 * i, 4);
}
static inline void store_quads(SimWarp *w, const SimInstr *in, char *dst) {
  for (int i = 0; i < 4; i++)
    for (int l = 0; l < SIM_LANES; l++) memcpy(dst + 16 * l + 4 * i, &R32(i + 1)[l], 4);
}
#endif

#include "alu.h"
#include "arith.h"
#include "cvt.h"
#include "mem.h"
#include "strong.h"
#include "async.h"
#include "matrix.h"
#include "tensor.h"
#include "mma.h"
#include "wgmma.h"
#include "wmma.h"
#include "warp.h"
#include "hopper.h"
#include "call.h"

/* None of them may be in the hands of a product; a fence must come before the next one. */
static int touch_registers(SimWarp *w, const SimInstr *in, const uint32_t *reg, uint32_t n) {
  if (w->depth) return STEP_NEXT; /* products are the entry's, and so are their registers */
  for (uint32_t i = 0; i < n; i++) {
    if (w->touch[reg[i]] > 1)
      return sim_fault(w, in, -1, DRV_LAUNCH_FAILED, "in_flight", "register", 0,
                       "uses a register of a wgmma.mma_async that is in flight: no wgmma.wait_group has waited for it");
    w->touch[reg[i]] = 1;
  }
  return STEP_NEXT;
}

/* A shfl whose value some lanes have not written (`defined`: those that have): only a lane that is read must have. Lanes that are not
 * here yet may still write it. */
static bool exchange_undefined(SimWarp *w, const SimInstr *in, uint32_t mask, uint32_t defined) {
  const L32 *b = R32(in->n + 1), *c = R32(in->n + 2);
  if (!(mask & ~defined)) return false;
  ACTIVE(l, mask) {
    bool inside;
    int from = shfl_source(in->sub, (int)l, b[l], c[l], &inside);
    if (!(mask & ~defined & lane_bit[from])) continue;
    sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "uninitialised", "register", 0, "reads a register that lane %d has not written", from);
    return true;
  }
  return false;
}

/* An instruction whose registers are watched: reads must be defined in the executing lanes, writes define them. */
static int op_tracked(SimWarp *w, const SimInstr *in, uint32_t mask) {
  const SimFunction *f = w->fn;
  const SimTrack *t = &f->tracks[in->track];
  const uint32_t *reg = f->track_regs + t->first;
  for (uint32_t i = 0; i < t->nread; i++) {
    uint32_t bad = w->checks ? mask & ~w->init[reg[i]] : 0;
    if (bad)
      return sim_fault(w, in, (int)__builtin_ctz(bad), DRV_LAUNCH_FAILED, "uninitialised", "register", 0,
                       "reads a register that this lane has not written");
    if (i == 0 && t->guarded) { /* the guard comes first */
      mask &= *(L32 *)(w->regs + t->guard) ^ t->flip;
      if (!mask) return STEP_NEXT;
    }
  }
  if (t->nheld) { /* a product: what it adds to must be defined */
    uint32_t add = *(L32 *)(w->regs + in->o[in->imm2]);
    for (uint32_t i = 0; i < t->nmaybe && add && w->checks; i++)
      if (~w->init[reg[t->nread + i]] & mask)
        return sim_fault(w, in, (int)__builtin_ctz(~w->init[reg[t->nread + i]] & mask), DRV_LAUNCH_FAILED, "uninitialised", "register", 0,
                         "adds into an accumulator that this lane has not written (scale-d is true)");
  } else if (w->checks && t->nmaybe && exchange_undefined(w, in, mask, w->init[reg[t->nread]])) {
    return STEP_YIELD;
  } else if (w->checks && touch_registers(w, in, reg, t->nread + t->nmaybe + t->nwrite) != STEP_NEXT) {
    return STEP_YIELD;
  }
  reg += t->nread + t->nmaybe;
  for (uint32_t i = 0; i < t->nwrite; i++) w->init[reg[i]] |= mask;
  return t->inner(w, in, mask);
}

static void run_warp(SimWarp *w) {
  const SimInstr *code = w->code;
  uint64_t *lanes = w->lanes, budget = w->budget;
  uint32_t pc = w->pc, active = w->active, stop = w->stop;
  char *regs = w->regs;
  for (;;) {
    if (__builtin_expect(pc >= stop, 0)) {
      w->pc = pc;
      w->active = active;
      meet_split(w);
      pc = w->pc;
      active = w->active;
      stop = w->stop;
    }
    const SimInstr *in = code + pc;
    uint32_t mask = active & (*(L32 *)(regs + in->guard) ^ in->flip);
    if (__builtin_expect(budget-- == 0, 0)) {
      w->budget = 0;
      w->pc = pc;
      w->active = active;
      if (!sim_warp_refill(w)) return;
      budget = w->budget - 1;
      if (w->budget) continue;
      sim_fault(w, in, -1, DRV_LAUNCH_TIMEOUT, "limit", "", 0, "the warp has executed %llu instructions (option limit)",
                (unsigned long long)w->cta->launch->dev->limit);
      return;
    }
    if (__builtin_expect(mask == SIM_FULL, 1)) lanes[pc] += SIM_LANES;
    else if (mask) lanes[pc] += (uint64_t)__builtin_popcount(mask);
    else {
      pc++;
      continue;
    }
    w->budget = budget;
    int step = in->fn(w, in, mask);
    if (__builtin_expect(step == STEP_NEXT, 1)) {
      pc++;
      continue;
    }
    if (step == STEP_YIELD) return;
    if (step == STEP_FRAME) {
      code = w->code;
      lanes = w->lanes;
      regs = w->regs;
    }
    pc = w->pc;
    active = w->active;
    stop = w->stop;
  }
}

#define LANE1(name, ...) op_##name,
#define LANE2(name, ...) op_##name,
#define LANE3(name, ...) op_##name,
#define PAIR1(name, ...) op_##name,
#define PAIR2(name, ...) op_##name,
#define PAIR3(name, ...) op_##name,
#define CALL(name) op_##name,
static const SimHandler handlers[] = {
#include "../handlers.def"
};

static SimHandler handler_at(uint16_t i) { return handlers[i]; }

const SimLevel SIM_LEVEL = {SIM_LEVEL_NAME, handlers, op_tracked, run_warp};
