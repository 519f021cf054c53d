/* frame.c - activations of functions within a warp.
 *
 * A call takes the calling lanes into a frame of their own: the callee's registers, and for each lane a stack that holds its parameters and
 * results, .local arrays, and the .param of its own calls. The caller's splits wait until every lane that called has come back or ended, and
 * then go on together. Frames are kept for the next call at that depth: constants and special registers are in place already if it is
 * the same function.
 *
 * Local addresses are per lane and the same in all lanes; each activation's stack has a range of its own, with nothing between. */
#include "sim.h"
#include "alloc.h"
#include "split.h"
#include <string.h>

enum { ALIGN = 128, STACK_FIRST = 256, STACK_ALIGN = 256, STACK_GUARD = 64, MAX_DEPTH = 1024 };

static size_t round_up(size_t v, size_t align) { return (v + align - 1) / align * align; }

void sim_fill_constants(const SimFunction *fn, char *regs) {
  for (uint32_t c = 0; c < fn->nfills; c++) {
    uint64_t where = fn->fills[2 * c], v = fn->fills[2 * c + 1];
    char *at = regs + (where >> 8);
    uint32_t width = where & 0xff, half = (uint32_t)v;
    if (width == 0) memcpy(at, &half, 4);
    for (int l = 0; l < SIM_LANES && width; l++) memcpy(at + width * (uint32_t)l, width == 8 ? (void *)&v : (void *)&half, width);
  }
}

void sim_fill_specials(const SimWarp *w, const SimFrame *f) {
  const SimFunction *fn = f->fn;
  for (uint32_t s = 0; s < fn->nspecials; s++) {
    uint64_t where = fn->specials[2 * s], which = fn->specials[2 * s + 1];
    char *at = f->regs + (where >> 8);
    for (uint32_t l = 0; l < SIM_LANES; l++) {
      uint64_t v = SIM_SPECIAL(which) == SPECIAL_STACK ? f->base + (which >> SIM_SPECIAL_BITS) : sim_special_value(w->cta, w->index, l, which);
      if ((where & 0xff) == 8) memcpy(at + 8 * l, &v, 8);
      else memcpy(at + 4 * l, &v, 4);
    }
  }
}

static bool more_frames(SimWarp *w) {
  uint32_t cap = w->frames_cap ? w->frames_cap * 2 : 4;
  SimFrame *p = kiln_mem(w->frames, w->frames_cap * sizeof *p, cap * sizeof *p);
  if (!p) return false;
  memset(p + w->frames_cap, 0, (cap - w->frames_cap) * sizeof *p);
  w->frames = p;
  w->frames_cap = cap;
  return true;
}

void sim_frames_free(SimWarp *w) {
  for (uint32_t i = 0; i < w->frames_cap; i++) sim_delete(w->frames[i].block, w->frames[i].bytes);
  if (w->frames) kiln_mem(w->frames, w->frames_cap * sizeof *w->frames, 0);
  w->frames = NULL;
  w->frames_cap = 0;
}

static bool make_room(SimFrame *f, size_t bytes) {
  if (f->bytes >= bytes) return true;
  sim_delete(f->block, f->bytes);
  f->filled = 0;
  f->block = sim_new(bytes);
  f->bytes = f->block ? bytes : 0;
  return f->block != NULL;
}

/* The warp's present becomes that of the frame. */
static void show_frame(SimWarp *w, const SimFrame *f) {
  const SimGroup *g = w->cta->group;
  const SimFunction *entry = w->cta->launch->fn;
  w->fn = f->fn;
  w->regs = f->regs;
  w->init = f->init;
  w->code = f->fn->code;
  w->lanes = g->lanes + (f->fn->entry ? 0 : entry->ncode + f->fn->code_base);
  w->cache = g->cache + (f->fn->entry ? 0 : entry->nmem + f->fn->mem_base);
}

bool sim_frame_begin(SimWarp *w) {
  const SimFunction *fn = w->cta->launch->fn;
  w->fn = fn;
  w->depth = 0;
  if (!w->frames_cap && !more_frames(w)) return false;
  SimFrame *f = &w->frames[0];
  f->fn = fn;
  f->regs = w->regs;
  f->init = w->init;
  f->base = STACK_FIRST;
  size_t bytes = (size_t)fn->stack_bytes * SIM_LANES;
  if (bytes && !make_room(f, bytes)) return false;
  f->stack = f->block;
  if (bytes) memset(f->stack, 0xff, bytes);
  return true;
}

static bool open_frame(SimWarp *w, SimFrame *f, const SimFunction *callee, const SimFrame *caller) {
  size_t regs = round_up(callee->file_bytes, ALIGN), init = round_up(callee->ntracked * sizeof *f->init, ALIGN);
  size_t stack = (size_t)callee->stack_bytes * SIM_LANES;
  uint64_t base = round_up(caller->base + caller->fn->stack_bytes + STACK_GUARD, STACK_ALIGN);
  if (!make_room(f, regs + init + stack + ALIGN)) return false;
  char *at = (char *)round_up((uintptr_t)f->block, ALIGN);
  bool ready = f->fn == callee && f->filled == w->cta->group->serial && f->base == base;
  f->fn = callee;
  f->base = base;
  f->regs = at;
  f->init = (uint32_t *)(void *)(at + regs);
  f->stack = at + regs + init;
  memset(f->init, 0, callee->ntracked * sizeof *f->init);
  memset(f->stack, 0xff, stack);
  if (ready) return true;
  sim_fill_constants(callee, f->regs);
  sim_fill_specials(w, f);
  f->filled = w->cta->group->serial;
  return true;
}

/* One value between a caller's stack or register and the callee's stack, in the lanes of mask. */
static void pass_value(const SimFrame *caller, const SimInstr *in, const SimArg *a, const SimFrame *f, const SimParam *formal, uint32_t mask,
                       bool back) {
  for (uint32_t m = mask; m; m &= m - 1) {
    uint32_t l = (uint32_t)__builtin_ctz(m);
    char *inner = f->stack + (size_t)l * f->fn->stack_bytes + formal->offset;
    char *outer = a->operand < 0 ? caller->stack + (size_t)l * caller->fn->stack_bytes + a->offset
                                 : caller->regs + in->o[a->operand] + l * (formal->bytes == 8 ? 8 : 4);
    if (!back) memcpy(inner, outer, formal->bytes);
    else {
      if (a->operand >= 0 && formal->bytes < 4) memset(outer, 0, 4);
      memcpy(outer, inner, formal->bytes);
    }
  }
}

static int check_shape(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask) {
  const SimArg *args = w->fn->args + call->first;
  bool ok = call->nargs == callee->nparams && call->nresults == callee->nresults;
  for (uint32_t i = 0; ok && i < call->nargs; i++) ok = args[i].bytes == callee->params[i].bytes;
  for (uint32_t i = 0; ok && i < call->nresults; i++) ok = args[call->nargs + i].bytes == callee->results[i].bytes;
  if (ok) return STEP_NEXT;
  return sim_fault(w, in, (int)__builtin_ctz(mask), DRV_LAUNCH_FAILED, "call", "", 0,
                   "calls '%.80s' with %u arguments and %u results; it has %u and %u, or their sizes differ", callee->name, call->nargs,
                   call->nresults, callee->nparams, callee->nresults);
}

int sim_frame_enter(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask) {
  if (call->callee == SIM_FULL && check_shape(w, in, call, callee, mask) != STEP_NEXT) return STEP_YIELD;
  if (w->depth + 1 == MAX_DEPTH)
    return sim_fault(w, in, (int)__builtin_ctz(mask), DRV_LAUNCH_FAILED, "stack", "", 0, "calls are nested deeper than %d", MAX_DEPTH);
  if ((w->depth + 1 == w->frames_cap && !more_frames(w)) || !open_frame(w, &w->frames[w->depth + 1], callee, &w->frames[w->depth]))
    return sim_fault(w, in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
  const SimFrame *caller = &w->frames[w->depth];
  SimFrame *f = &w->frames[++w->depth];
  const SimArg *args = w->fn->args + call->first;
  for (uint32_t i = 0; i < call->nargs; i++) pass_value(caller, in, &args[i], f, &callee->params[i], mask, false);
  f->call = in;
  f->mask = mask;
  f->returned = 0;
  f->pc = (uint32_t)(in - w->code) + 1;
  f->active = w->active & ~mask;
  f->nsplit = w->nsplit;
  memcpy(f->split, w->split, w->nsplit * sizeof *f->split);
  show_frame(w, f);
  w->pc = 0;
  w->active = mask;
  w->nsplit = 0;
  w->stop = SIM_FULL;
  return STEP_FRAME;
}

void sim_frame_leave(SimWarp *w) {
  const SimFrame *f = &w->frames[w->depth], *caller = &w->frames[--w->depth];
  const SimCall *call = &caller->fn->calls[f->call->sub];
  const SimArg *args = caller->fn->args + call->first + call->nargs;
  for (uint32_t i = 0; i < call->nresults; i++) pass_value(caller, f->call, &args[i], f, &f->fn->results[i], f->returned, true);
  show_frame(w, caller);
  w->pc = f->pc;
  w->active = f->active | f->returned;
  w->nsplit = f->nsplit;
  memcpy(w->split, f->split, f->nsplit * sizeof *f->split);
  find_stop(w);
}

uint32_t sim_code_index(const SimWarp *w, const SimInstr *in) {
  return (uint32_t)(w->lanes - w->cta->group->lanes) + (uint32_t)(in - w->code);
}

const SimInstr *sim_code_at(const SimLaunch *l, uint32_t index) {
  const SimFunction *entry = l->fn;
  if (index < entry->ncode) return &entry->code[index];
  index -= entry->ncode;
  for (uint32_t i = 0; i < SIM_COUNT(&entry->module->functions, SimFunction *); i++) {
    const SimFunction *f = SIM_AT(&entry->module->functions, SimFunction *, i);
    if (!f->entry && index >= f->code_base && index - f->code_base < f->ncode) return &f->code[index - f->code_base];
  }
  return entry->code; /* not reached */
}

char *sim_frame_local(const SimWarp *w, uint64_t address, uint32_t lane, uint32_t bytes) {
  for (uint32_t i = w->depth + 1; i-- > 0;) {
    const SimFrame *f = &w->frames[i];
    if (address < f->base) continue;
    uint64_t at = address - f->base, size = f->fn->stack_bytes;
    bool inside = at <= size && size - at >= bytes && f->fn->stack_map[at] && f->fn->stack_map[at + bytes - 1];
    return inside ? f->stack + (size_t)lane * size + at : NULL;
  }
  return NULL;
}
