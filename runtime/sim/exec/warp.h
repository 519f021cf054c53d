/* warp.h - branches, barriers, and the exchange of values within a warp.
 *
 * Lanes that wait at a collective for others, or spin on memory, stand aside until the others have come, or can go no further either
 * (independent thread scheduling of sm_70 and later). */

/* Operands of a collective, as bits by position: predicates, 64-bit registers, the predicate that SIM_I_NEGATE means. */
typedef struct Shape { uint8_t n, preds, wide, negated; } Shape;

static Shape shape_of(const SimInstr *in); /* n = 0: no collective of this kind */
static SimHandler handler_at(uint16_t i);

static bool is_barrier(const SimWarp *w, const SimSplit *s) {
  const SimInstr *in = &w->code[s->pc];
  return s->members && strncmp(isa_form((IsaId)in->form)->opcode, "bar", 3) == 0 && in->target == SIM_FULL && shape_of(in).n == 0;
}

/* All that live wait at barriers, since others have ended meanwhile: one of them executes its own again, and meets the others. */
static bool meet_at_barrier(SimWarp *w) {
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (!is_barrier(w, &w->split[i]) || !(w->split[i].members & ~w->live) || w->code[w->split[i].pc].handler != w->code[w->split[0].pc].handler)
      return false;
  w->split[0].members = 0;
  for (uint32_t i = 1; i < w->nsplit; i++) w->split[i].members = w->live;
  run_split(w, 0);
  return true;
}

/* No lanes can run. Those that spin do so again if anything may have changed, else the warp parks; if nobody spins, lanes wait for
 * others that cannot come. */
static int exhausted(SimWarp *w) {
  uint32_t sleepers = 0, last = 0;
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].asleep) sleepers++, last = i;
  if (!sleepers) {
    if (meet_at_barrier(w)) return STEP_JUMP;
    const SimSplit *s = &w->split[0];
    uint32_t missing = s->members & w->live & ~s->mask;
    const SimInstr *in = &w->code[s->pc];
    bool barrier = is_barrier(w, s);
    return sim_fault(w, in, (int)__builtin_ctz(missing ? missing : s->mask), DRV_LAUNCH_FAILED, barrier ? "barrier" : "collective", "", 0,
                     "%s: lanes 0x%08x wait for lanes 0x%08x of the member mask 0x%08x, which do not execute it with them: they wait elsewhere",
                     isa_form((IsaId)in->form)->opcode, s->mask, missing, s->members);
  }
  if (sleepers == 1 && !w->spin.acted && w->spin.n && w->spin.pc + 1 == w->split[last].asleep) {
    run_split(w, last);
    w->state = WARP_PARKED;
    return STEP_YIELD;
  }
  for (uint32_t i = 0; i < w->nsplit; i++) w->split[i].asleep = 0;
  sim_spin_leave(w);
  take_split(w);
  return STEP_JUMP;
}

/* A backward branch of all running lanes, after strong reads: are they spinning? */
static int spin_branch(SimWarp *w, const SimInstr *in, uint32_t mask) {
  uint32_t here = (uint32_t)(in - w->code);
  w->pc = in->target;
  if (!sim_spin_again(w, here, mask)) return STEP_JUMP;
  w->split[w->nsplit++] = (SimSplit){.pc = in->target, .mask = mask, .asleep = here + 1};
  return take_split(w) ? STEP_JUMP : exhausted(w);
}

HANDLER(bra) {
  uint32_t here = (uint32_t)(in - w->code), rest = w->active & ~mask;
  if (!rest) {
    if (__builtin_expect(w->spin.n != 0, 0) && in->target <= here) return spin_branch(w, in, mask);
    w->pc = in->target;
    return STEP_JUMP;
  }
  if (in->target <= here && w->spin.n) sim_spin_leave(w); /* some have left the loop */
  add_split(w, here + 1, rest);
  w->pc = in->target;
  w->active = mask;
  meet_split(w);
  return STEP_JUMP;
}

HANDLER(trap) {
  return sim_fault(w, in, (int)__builtin_ctz(mask), DRV_LAUNCH_FAILED, "trap", "", 0, "the kernel executes trap");
}

HANDLER(nop) {
  (void)w, (void)in, (void)mask;
  return STEP_NEXT;
}

/* ---- barriers of the CTA ---- */

static int op_bar_red(SimWarp *w, const SimInstr *in, uint32_t mask);

static bool same_kind(const SimInstr *a, const SimInstr *b) {
  return a->handler == b->handler && a->sub == b->sub && a->n == b->n && a->size == b->size;
}

/* Lanes that wait at the barrier, too: here, or, where it need not be aligned, at another that has no result. */
static bool is_same_barrier(const SimWarp *w, const SimInstr *in, const SimSplit *s, bool apart) {
  const SimInstr *other = &w->code[s->pc];
  return s->members && (other == in || (apart && same_kind(in, other) && handler_at(in->handler) != op_bar_red));
}

/* All lanes of the warp have come: those that wait here join, those that wait elsewhere go on from there when the barrier completes. */
static int join_barrier(SimWarp *w, const SimInstr *in, int id_slot) {
  uint32_t here = (uint32_t)(in - w->code), id = R32(id_slot)[__builtin_ctz(w->active)];
  for (uint32_t i = w->nsplit; i-- > 0;) {
    SimSplit *s = &w->split[i];
    if (s->pc == here) {
      w->active |= s->mask;
      *s = w->split[--w->nsplit];
      continue;
    }
    int lane = __builtin_ctz(s->mask);
    uint32_t other = ((L32 *)(w->regs + w->code[s->pc].o[id_slot]))[lane];
    if (other != id)
      return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "lanes 0x%08x are at barrier %u, lanes 0x%08x of the warp at barrier %u",
                       w->active, id, s->mask, other);
    s->members = 0;
    s->pc++;
  }
  find_stop(w);
  return STEP_NEXT;
}

/* All lanes of the warp must execute it: together if it is aligned, else each waits for the others that have not ended (PTX ISA,
 * barrier). Lanes that spin may still come in either case: on hardware the others would wait where they reconverge. */
static int warp_at_barrier(SimWarp *w, const SimInstr *in, uint32_t mask, int id_slot, const char *what) {
  if (mask == w->live) return STEP_NEXT;
  bool apart = !(isa_form((IsaId)in->form)->flags & ISA_COLLECTIVE);
  uint32_t here = (uint32_t)(in - w->code), together = mask, spinning = 0, rest = w->active & ~mask;
  for (uint32_t i = 0; i < w->nsplit; i++) {
    if (is_same_barrier(w, in, &w->split[i], apart)) together |= w->split[i].mask;
    if (w->split[i].asleep) spinning |= w->split[i].mask;
  }
  if (together == w->live) return join_barrier(w, in, id_slot);
  if (!apart && (!spinning || rest))
    return sim_fault(w, in, (int)__builtin_ctz(w->live & ~mask), DRV_LAUNCH_FAILED, "barrier", "", 0,
                     "%s is executed by lanes 0x%08x of the warp alone; lanes 0x%08x are elsewhere", what, mask, w->live & ~mask);
  if (rest) add_split(w, here + 1, rest);
  w->split[w->nsplit++] = (SimSplit){.pc = here, .mask = mask, .members = w->live};
  return take_split(w) ? STEP_JUMP : exhausted(w);
}

/* The same for what is always aligned. */
static int whole_warp(SimWarp *w, const SimInstr *in, uint32_t mask, const char *what) {
  if (mask == w->live) return STEP_NEXT;
  return sim_fault(w, in, (int)__builtin_ctz(w->live & ~mask), DRV_LAUNCH_FAILED, "barrier", "", 0,
                   "%s is executed by lanes 0x%08x of the warp alone; lanes 0x%08x are elsewhere", what, mask, w->live & ~mask);
}

static int at_barrier(SimWarp *w, const SimInstr *in, uint32_t mask, int id_slot, int count_slot, bool park, uint32_t value, const char *what) {
  int step = warp_at_barrier(w, in, mask, id_slot, what);
  if (step != STEP_NEXT) return step;
  mask = w->active;
  int lane = __builtin_ctz(mask);
  uint32_t id = R32(id_slot)[lane], count = count_slot >= 0 ? R32(count_slot)[lane] : 0;
  ACTIVE(l, mask) {
    if (R32(id_slot)[l] != id || (count_slot >= 0 && R32(count_slot)[l] != count))
      return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "barrier", "", 0, "%s: barrier number or thread count differs between lanes", what);
  }
  if (!park && !count) return sim_fault(w, in, lane, DRV_LAUNCH_FAILED, "barrier", "", 0, "%s needs a count of threads that is not 0", what);
  w->pc = (uint32_t)(in - w->code) + 1;
  step = sim_cta_barrier(w, in, id, count, park, value);
  return step == STEP_NEXT ? STEP_JUMP : step;
}

HANDLER(bar_sync) { return at_barrier(w, in, mask, 0, in->n ? 1 : -1, true, 0, "bar.sync"); }
HANDLER(bar_arrive) { return at_barrier(w, in, mask, 0, 1, false, 0, "bar.arrive"); }
HANDLER(bar_red) { /* d, barrier, predicate; the result is written when the barrier completes (cta.c) */
  uint32_t p = (PRED(in->n ? 3 : 2) ^ (in->flags & SIM_I_NEGATE ? SIM_FULL : 0)) & w->live;
  return at_barrier(w, in, mask, 1, in->n ? 2 : -1, true, p, "bar.red");
}

/* ---- collectives with a mask of members ---- */

static void move_operand(const Shape *s, int i, char *d, char *r, uint32_t mask, bool flip) {
  if (s->preds >> i & 1) {
    uint32_t v = *(L32 *)r ^ (flip ? SIM_FULL : 0);
    *(L32 *)d = (*(L32 *)d & ~mask) | (v & mask);
  } else if (s->wide >> i & 1) {
    ACTIVE(l, mask)((L64 *)d)[l] = ((L64 *)r)[l];
  } else {
    ACTIVE(l, mask)((L32 *)d)[l] = ((L32 *)r)[l];
  }
}


/* Lanes at several instructions of one kind: their operands are brought together in the group's scratch registers, the operation is
 * executed there, and its results go back to each. */
static void execute_together(SimWarp *w, const uint32_t *which, uint32_t n, uint32_t all) {
  const SimInstr *first = &w->code[w->split[which[0]].pc];
  Shape s = shape_of(first);
  SimInstr t = *first;
  uint32_t o[SIM_SCRATCH_SLOTS];
  char *regs = w->regs, *scratch = w->cta->group->scratch;
  for (int i = 0; i < s.n; i++) o[i] = (uint32_t)i * SIM_SCRATCH_SLOT_BYTES;
  t.o = o;
  t.flags &= (uint16_t)~(SIM_I_NEGATE | SIM_I_MASKS);
  for (int pass = 0; pass < 2; pass++) {
    for (uint32_t k = 0; k < n; k++) {
      const SimSplit *p = &w->split[which[k]];
      const SimInstr *in = &w->code[p->pc];
      for (int i = 0; i < s.n; i++) {
        bool flip = s.negated >> i & 1 && in->flags & SIM_I_NEGATE;
        if (pass == 0) move_operand(&s, i, scratch + o[i], regs + in->o[i], p->mask, flip);
        else move_operand(&s, i, regs + in->o[i], scratch + o[i], p->mask, flip);
      }
    }
    if (pass) continue;
    w->regs = scratch;
    w->cta->launch->dev->level->handler[t.handler](w, &t, all);
    w->regs = regs;
  }
}

/* Lanes that wait at collectives go on where all members have come. True: that has faulted. */
static bool meet_waiting(SimWarp *w) {
  for (uint32_t i = 0; i < w->nsplit; i++) {
    const SimSplit *a = &w->split[i];
    if (!a->members) continue;
    uint32_t which[SIM_LANES], n = 0, all = 0, members = a->members;
    for (uint32_t k = 0; k < w->nsplit; k++) {
      const SimSplit *b = &w->split[k];
      if (b->members != members || !same_kind(&w->code[a->pc], &w->code[b->pc])) continue;
      which[n++] = k;
      all |= b->mask;
    }
    if (members & w->live & ~all || shape_of(&w->code[a->pc]).n == 0) continue;
    execute_together(w, which, n, all);
    if (w->cta->group->faulted) return true;
    for (uint32_t k = 0; k < n; k++) {
      w->split[which[k]].members = 0;
      w->split[which[k]].pc++;
    }
    find_stop(w);
  }
  return false;
}

/* The members that live must execute it, here or at other instructions of the kind, and each executing lane must be a member.
 * STEP_NEXT: all are here. */
static int members_here(SimWarp *w, const SimInstr *in, uint32_t mask, uint32_t members, const char *what) {
  uint32_t missing = members & w->live & ~mask, outside = mask & ~members;
  if (!missing && !outside) return STEP_NEXT;
  if (outside)
    return sim_fault(w, in, (int)__builtin_ctz(outside), DRV_LAUNCH_FAILED, "collective", "", 0,
                     "%s: lanes 0x%08x execute it, the member mask 0x%08x leaves out 0x%08x", what, mask, members, outside);
  uint32_t here = (uint32_t)(in - w->code), rest = w->active & ~mask;
  if (rest) add_split(w, here + 1, rest);
  w->split[w->nsplit++] = (SimSplit){.pc = here, .mask = mask, .members = members};
  if (meet_waiting(w)) return STEP_YIELD;
  return take_split(w) ? STEP_JUMP : exhausted(w);
}

/* Lanes that name different sets of members (the tiles of a cooperative group): each set waits for its own, and is executed alone. */
static int members_apart(SimWarp *w, const SimInstr *in, uint32_t mask, const L32 *m, const char *what) {
  uint32_t here = (uint32_t)(in - w->code), rest = w->active & ~mask;
  if (rest) add_split(w, here + 1, rest);
  for (uint32_t left = mask; left;) {
    uint32_t members = m[__builtin_ctz(left)], same = 0;
    ACTIVE(l, left) same |= m[l] == members ? lane_bit[l] : 0;
    if (same & ~members) return members_here(w, in, same, members, what); /* which says so */
    w->split[w->nsplit++] = (SimSplit){.pc = here, .mask = same, .members = members};
    left &= ~same;
  }
  if (meet_waiting(w)) return STEP_YIELD;
  return take_split(w) ? STEP_JUMP : exhausted(w);
}

static bool members_differ(const SimInstr *in, uint32_t mask, const L32 *m) {
  uint32_t first = m[__builtin_ctz(mask)], other = 0;
  if (!(in->flags & SIM_I_MASKS)) return false;
  LANES { other |= (mask & lane_bit[l]) ? m[l] ^ first : 0; }
  return other != 0;
}

#define MEMBERS_HERE(slot, what)                                                                                       \
  do {                                                                                                                 \
    const L32 *m_ = R32(slot);                                                                                         \
    int step_ = members_differ(in, mask, m_) ? members_apart(w, in, mask, m_, what)                                    \
                                             : members_here(w, in, mask, m_[__builtin_ctz(mask)], what);               \
    if (__builtin_expect(step_ != STEP_NEXT, 0)) return step_;                                                         \
  } while (0)

HANDLER(bar_warp_sync) {
  MEMBERS_HERE(0, "bar.warp.sync");
  if (w->checks) sim_order_join(w, mask);
  return w->cta->group->faulted ? STEP_YIELD : STEP_NEXT;
}

enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };
static inline int shfl_source(int how, int lane, uint32_t b, uint32_t c, bool *inside) {
  int seg = (int)(c >> 8 & 31), bval = (int)(b & 31), cval = (int)(c & 31);
  int low = lane & seg, high = low | (cval & ~seg);
  int j = how == SHFL_UP ? lane - bval : how == SHFL_DOWN ? lane + bval : how == SHFL_BFLY ? lane ^ bval : (low | (bval & ~seg));
  *inside = how == SHFL_UP ? j >= high : j <= high;
  return *inside ? j : lane;
}

/* operands: d [p] a b c members; n is 2 when the predicate is there */
HANDLER(shfl) {
  L32 *d = R32(0);
  int k = in->n;
  const L32 *a = R32(k), *b = R32(k + 1), *c = R32(k + 2);
  MEMBERS_HERE(k + 3, "shfl.sync");
  uint32_t src[SIM_LANES] __attribute__((aligned(64)));
  memcpy(src, a, sizeof src);
  uint32_t other = 0; /* lanes may name different distances */
  LANES { other |= (b[l] ^ b[0]) | (c[l] ^ 31); }
  if (mask == SIM_FULL && k == 1 && in->sub == SHFL_BFLY && !other && b[0] < 32) { /* the frequent one */
    uint32_t x = b[0];
    for (int l = 0; l < SIM_LANES; l++) d[l] = src[(uint32_t)l ^ x];
    return STEP_NEXT;
  }
  uint32_t pred = 0;
  ACTIVE(l, mask) {
    bool inside;
    int j = shfl_source(in->sub, (int)l, b[l], c[l], &inside);
    if (w->checks && !(mask & lane_bit[j]))
      return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "collective", "", 0, "shfl.sync reads lane %d, which does not take part", j);
    d[l] = src[j];
    pred |= inside ? lane_bit[l] : 0;
  }
  return k == 2 ? set_pred(&PRED(1), pred, mask) : STEP_NEXT;
}

enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };
HANDLER(vote) { /* d predicate members */
  uint32_t p = (PRED(1) ^ (in->flags & SIM_I_NEGATE ? SIM_FULL : 0)) & mask;
  MEMBERS_HERE(2, "vote.sync");
  if (in->sub == VOTE_BALLOT) {
    L32 *d = R32(0);
    LANES { d[l] = (mask & lane_bit[l]) ? p : d[l]; }
    return STEP_NEXT;
  }
  bool r = in->sub == VOTE_ALL ? p == mask : in->sub == VOTE_ANY ? p != 0 : p == 0 || p == mask;
  return set_pred(&PRED(0), r ? SIM_FULL : 0, mask);
}

HANDLER(match) { /* d[|p] a members; n: 2 with p; sub: 1 all */
  int k = in->n;
  L32 *d = R32(0);
  uint64_t a[SIM_LANES];
  ACTIVE(i, mask) a[i] = in->size == 8 ? R64(k)[i] : R32(k)[i];
  MEMBERS_HERE(k + 1, "match.sync");
  uint32_t r[SIM_LANES];
  bool all = true;
  ACTIVE(l, mask) {
    r[l] = 0;
    ACTIVE(j, mask) r[l] |= a[j] == a[l] ? lane_bit[j] : 0;
    all = all && r[l] == mask;
  }
  ACTIVE(l, mask) d[l] = in->sub ? (all ? mask : 0) : r[l];
  return k == 2 ? set_pred(&PRED(1), all ? SIM_FULL : 0, mask) : STEP_NEXT;
}

HANDLER(activemask) {
  L32 *d = R32(0);
  (void)in;
  ACTIVE(l, mask) d[l] = mask;
  return STEP_NEXT;
}

enum { REDUX_ADD, REDUX_MIN, REDUX_MAX, REDUX_AND, REDUX_OR, REDUX_XOR };
HANDLER(redux) { /* d a members; size: 1 signed, 2 float, 3 float with NaN */
  L32 *d = R32(0);
  const L32 *a = R32(1);
  MEMBERS_HERE(2, "redux.sync");
  bool first = true;
  uint32_t r = 0;
  ACTIVE(l, mask) {
    uint32_t v = a[l];
    if (first) r = in->size >= 2 ? bits_of(canon(f32_of(v))) : v;
    else if (in->size >= 2) {
      float x = f32_of(r), y = f32_of(v);
      bool nan = in->size == 3 && (x != x || y != y);
      r = nan ? 0x7fffffffu : bits_of(canon(in->sub == REDUX_MIN ? smaller(x, y) : larger(x, y)));
    } else if (in->sub == REDUX_MIN || in->sub == REDUX_MAX) {
      bool below = in->size == 1 ? (int32_t)v < (int32_t)r : v < r;
      r = below == (in->sub == REDUX_MIN) ? v : r;
    } else {
      r = in->sub == REDUX_ADD ? r + v : in->sub == REDUX_AND ? r & v : in->sub == REDUX_OR ? r | v : r ^ v;
    }
    first = false;
  }
  ACTIVE(l, mask) d[l] = r;
  return STEP_NEXT;
}

HANDLER(elect) { /* d|p members: the lowest member */
  MEMBERS_HERE(2, "elect.sync");
  uint32_t leader = (uint32_t)__builtin_ctz(mask);
  L32 *d = R32(0);
  ACTIVE(l, mask) d[l] = leader;
  return set_pred(&PRED(1), lane_bit[leader], mask);
}

static Shape shape_of(const SimInstr *in) { /* n = 0: no collective of this kind */
  SimHandler f = handler_at(in->handler);
  uint8_t k = in->n;
  if (f == op_shfl) return (Shape){.n = (uint8_t)(k + 4), .preds = k == 2 ? 2 : 0};
  if (f == op_vote) return (Shape){.n = 3, .preds = in->sub == VOTE_BALLOT ? 2 : 3, .negated = 2};
  if (f == op_match) return (Shape){.n = (uint8_t)(k + 2), .preds = k == 2 ? 2 : 0, .wide = in->size == 8 ? (uint8_t)(1u << k) : 0};
  if (f == op_redux) return (Shape){.n = 3};
  if (f == op_elect) return (Shape){.n = 3, .preds = 2};
  if (f == op_bar_warp_sync) return (Shape){.n = 1};
  return (Shape){0};
}
