/* warp.h - control flow, barriers, and the exchange of values within a warp.
 *
 * Divergence: the warp is a set of splits (pc, lanes); the one with the lowest pc runs, and splits that meet at a pc become one. */

/* ---- splits ---- */

static void add_split(SimWarp *w, uint32_t pc, uint32_t mask) {
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].pc == pc) {
      w->split[i].mask |= mask;
      return;
    }
  w->split[w->nsplit].pc = pc;
  w->split[w->nsplit++].mask = mask;
}

static void find_stop(SimWarp *w) {
  w->stop = SIM_FULL;
  for (uint32_t i = 0; i < w->nsplit; i++)
    if (w->split[i].pc < w->stop) w->stop = w->split[i].pc;
}

static void take_split(SimWarp *w) { /* the lowest becomes the running one */
  uint32_t best = 0;
  for (uint32_t i = 1; i < w->nsplit; i++)
    if (w->split[i].pc < w->split[best].pc) best = i;
  w->pc = w->split[best].pc;
  w->active = w->split[best].mask;
  w->split[best] = w->split[--w->nsplit];
  find_stop(w);
}

/* The running split has reached or passed the pc of a waiting one. */
static void meet_split(SimWarp *w) {
  add_split(w, w->pc, w->active);
  take_split(w);
}

HANDLER(bra) {
  uint32_t here = (uint32_t)(in - w->code), rest = w->active & ~mask;
  if (!rest) {
    w->pc = in->target;
    return STEP_JUMP;
  }
  add_split(w, here + 1, rest);
  w->pc = in->target;
  w->active = mask;
  meet_split(w);
  return STEP_JUMP;
}

HANDLER(exit) {
  w->live &= ~mask;
  w->active &= ~mask;
  if (w->active) {
    w->pc = (uint32_t)(in - w->code) + 1;
    return STEP_JUMP;
  }
  if (w->nsplit) {
    take_split(w);
    return STEP_JUMP;
  }
  if (w->ncopies && w->checks) {
    const SimCopy *c = &w->copies[0];
    return sim_fault(w, c->in, (int)__builtin_ctz(c->mask), DRV_LAUNCH_FAILED, "unwaited_copy", "shared", c->dst[__builtin_ctz(c->mask)],
                     "the warp ends while %u asynchronous copies are in flight; nobody has waited for this one", w->ncopies);
  }
  drain_copies(w, w->group + 1);
  w->state = WARP_DONE;
  return STEP_YIELD;
}

HANDLER(trap) {
  return sim_fault(w, in, (int)__builtin_ctz(mask), DRV_LAUNCH_FAILED, "trap", "", 0, "the kernel executes trap");
}

HANDLER(nop) {
  (void)w, (void)in, (void)mask;
  return STEP_NEXT;
}

/* ---- barriers of the CTA ---- */

static int whole_warp(SimWarp *w, const SimInstr *in, uint32_t mask, const char *what) {
  if (mask == w->live) return STEP_NEXT;
  return sim_fault(w, in, (int)__builtin_ctz(w->live & ~mask), DRV_LAUNCH_FAILED, "barrier", "", 0,
                   "%s is executed by lanes 0x%08x of the warp alone; lanes 0x%08x are elsewhere", what, mask, w->live & ~mask);
}

static int at_barrier(SimWarp *w, const SimInstr *in, uint32_t mask, int id_slot, int count_slot, bool park, uint32_t value, const char *what) {
  if (whole_warp(w, in, mask, what) != STEP_NEXT) return STEP_YIELD;
  int lane = __builtin_ctz(mask);
  uint32_t id = R32(id_slot)[lane], count = count_slot >= 0 ? R32(count_slot)[lane] : 0;
  ACTIVE(l, mask) {
    if (R32(id_slot)[l] != id || (count_slot >= 0 && R32(count_slot)[l] != count))
      return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "barrier", "", 0, "%s: barrier number or thread count differs between lanes", what);
  }
  w->pc = (uint32_t)(in - w->code) + 1;
  return sim_cta_barrier(w, in, id, count, park, value);
}

HANDLER(bar_sync) { return at_barrier(w, in, mask, 0, in->n ? 1 : -1, true, 0, "bar.sync"); }
HANDLER(bar_arrive) { return at_barrier(w, in, mask, 0, 1, false, 0, "bar.arrive"); }
HANDLER(bar_red) { /* d, barrier, predicate; the result is written when the barrier completes (cta.c) */
  uint32_t p = (PRED(2) ^ (in->flags & SIM_I_NEGATE ? SIM_FULL : 0)) & mask;
  return at_barrier(w, in, mask, 1, -1, true, p, "bar.red");
}

/* ---- collectives with a mask of members ---- */

/* All members that still live must execute this together, and each executing lane must be a member. */
static int members_here(SimWarp *w, const SimInstr *in, uint32_t mask, uint32_t members, const char *what) {
  uint32_t missing = members & w->threads & w->live & ~mask, outside = mask & ~members;
  if (!missing && !outside) return STEP_NEXT;
  if (outside)
    return sim_fault(w, in, (int)__builtin_ctz(outside), DRV_LAUNCH_FAILED, "collective", "", 0,
                     "%s: lanes 0x%08x execute it, the member mask 0x%08x leaves out 0x%08x", what, mask, members, outside);
  return sim_fault(w, in, (int)__builtin_ctz(missing), DRV_LAUNCH_FAILED, "collective", "", 0,
                   "%s: the member mask 0x%08x names lanes 0x%08x that do not execute it with the others (0x%08x do)", what, members,
                   missing, mask);
}

HANDLER(bar_warp_sync) { return members_here(w, in, mask, R32(0)[__builtin_ctz(mask)], "bar.warp.sync"); }

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
  if (members_here(w, in, mask, R32(k + 3)[__builtin_ctz(mask)], "shfl.sync") != STEP_NEXT) return STEP_YIELD;
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
  if (members_here(w, in, mask, R32(2)[__builtin_ctz(mask)], "vote.sync") != STEP_NEXT) return STEP_YIELD;
  if (in->sub == VOTE_BALLOT) {
    L32 *d = R32(0);
    LANES { d[l] = (mask & lane_bit[l]) ? p : d[l]; }
    return STEP_NEXT;
  }
  bool r = in->sub == VOTE_ALL ? p == mask : in->sub == VOTE_ANY ? p != 0 : p == 0 || p == mask;
  return set_pred(&PRED(0), r ? SIM_FULL : 0, mask);
}

HANDLER(match) { /* any: d a members; all (n = 2): d|p a members */
  int k = in->n;
  L32 *d = R32(0);
  const L32 *a = R32(k);
  if (members_here(w, in, mask, R32(k + 1)[__builtin_ctz(mask)], "match.sync") != STEP_NEXT) return STEP_YIELD;
  uint32_t r[SIM_LANES];
  bool all = true;
  ACTIVE(l, mask) {
    r[l] = 0;
    ACTIVE(j, mask) r[l] |= a[j] == a[l] ? lane_bit[j] : 0;
    all = all && r[l] == mask;
  }
  ACTIVE(l, mask) d[l] = k == 2 ? (all ? mask : 0) : r[l];
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
  if (members_here(w, in, mask, R32(2)[__builtin_ctz(mask)], "redux.sync") != STEP_NEXT) return STEP_YIELD;
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
  uint32_t members = R32(2)[__builtin_ctz(mask)];
  if (members_here(w, in, mask, members, "elect.sync") != STEP_NEXT) return STEP_YIELD;
  uint32_t leader = (uint32_t)__builtin_ctz(mask);
  L32 *d = R32(0);
  ACTIVE(l, mask) d[l] = leader;
  return set_pred(&PRED(1), lane_bit[leader], mask);
}
