/* call.h - calls, returns, jumps through a table, and the end of a thread. Frames are frame.c's. */

/* The running split has no lane left: another one of this activation goes on, or the caller. False: nobody is left. */
static bool next_lanes(SimWarp *w, int *step) {
  for (*step = STEP_JUMP;; *step = STEP_FRAME) {
    if (w->active) return true;
    if (w->nsplit) { /* those that waited for the lanes which have gone may be complete */
      int other = meet_waiting(w) ? STEP_YIELD : take_split(w) ? STEP_JUMP : exhausted(w);
      if (other != STEP_JUMP) *step = other;
      return true;
    }
    if (!w->depth) return false;
    sim_frame_leave(w);
  }
}

HANDLER(exit) {
  int step;
  w->live &= ~mask;
  w->active &= ~mask;
  if (w->active) {
    w->pc = (uint32_t)(in - w->code) + 1;
    return STEP_JUMP;
  }
  if (next_lanes(w, &step)) return step;
  if (w->ncopies && w->checks) {
    const SimCopy *c = &w->copies[0];
    return sim_fault(w, c->in, (int)__builtin_ctz(c->mask), DRV_LAUNCH_FAILED, "unwaited_copy", "shared", c->dst[__builtin_ctz(c->mask)],
                     "the warp ends while %u asynchronous copies are in flight; nobody has waited for this one", w->ncopies);
  }
  drain_copies(w, w->group + 1);
  if (wg_end(w, in) != STEP_NEXT || !sim_engine_end(w, in)) return STEP_YIELD;
  w->state = WARP_DONE;
  return STEP_YIELD;
}

HANDLER(ret) { /* of a device function */
  int step;
  w->frames[w->depth].returned |= mask;
  w->active &= ~mask;
  if (w->active) {
    w->pc = (uint32_t)(in - w->code) + 1;
    return STEP_JUMP;
  }
  next_lanes(w, &step); /* the caller is left at least */
  return step;
}

/* An address that is a function's. NULL: none. */
static const SimFunction *function_at(const SimWarp *w, uint64_t address) {
  const SimModule *m = w->fn->module;
  uint64_t i = (address - SIM_CODE_BASE) / SIM_CODE_STEP - 1;
  if (address % SIM_CODE_STEP || i >= SIM_COUNT(&m->functions, SimFunction *)) return NULL;
  const SimFunction *f = SIM_AT(&m->functions, SimFunction *, i);
  return f->entry ? NULL : f;
}

HANDLER(call) { /* sub: which of the function's calls */
  const SimCall *call = &w->fn->calls[in->sub];
  const SimFunction *callee;
  if (call->callee != SIM_FULL) {
    callee = SIM_AT(&w->fn->module->functions, SimFunction *, call->callee);
  } else { /* lanes with another function call it afterwards */
    const L64 *to = R64(call->operand);
    int first = __builtin_ctz(mask);
    uint64_t address = to[first];
    callee = function_at(w, address);
    if (!callee)
      return sim_fault(w, in, first, DRV_ILLEGAL_ADDRESS, "call", "", address, "calls what is no function of this module");
    uint32_t others = 0;
    ACTIVE(l, mask) others |= to[l] != address ? lane_bit[l] : 0;
    if (others) {
      add_split(w, (uint32_t)(in - w->code), others);
      w->active &= ~others;
      mask &= ~others;
    }
  }
  if (!callee->builtin) return sim_frame_enter(w, in, call, callee, mask);
  int step = sim_builtin_call(w, in, call, callee, mask);
  if (step != STEP_NEXT) return step;
  find_stop(w); /* an indirect call of a builtin may have left a split */
  w->pc = (uint32_t)(in - w->code) + 1;
  return STEP_JUMP;
}

HANDLER(brx) { /* index; imm: its list of targets */
  const L32 *index = R32(0);
  const uint32_t *list = w->fn->targets + in->imm;
  uint32_t rest = w->active & ~mask;
  ACTIVE(l, mask) {
    if (index[l] >= list[0])
      return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "call", "", 0, "jumps to target %u of a list of %u", index[l], list[0]);
  }
  if (rest) add_split(w, (uint32_t)(in - w->code) + 1, rest);
  while (mask) {
    uint32_t to = index[__builtin_ctz(mask)], same = 0;
    ACTIVE(l, mask) same |= index[l] == to ? lane_bit[l] : 0;
    add_split(w, list[1 + to], same);
    mask &= ~same;
  }
  take_split(w);
  return STEP_JUMP;
}
