/* strong.h - accesses that others may rely on: volatile, relaxed, acquire, release, atomics, and fences. PTX ISA, Memory Consistency
 * Model. Those of global memory are executed in their turn (schedule.c); what they hand on is order.c's. */

/* Lanes by state space. Generic addresses are sorted, those of a state space are its own. */
typedef struct Spaces {
  uint32_t global, shared;
  uint64_t addr[SIM_LANES] __attribute__((aligned(64))), local[SIM_LANES] __attribute__((aligned(64)));
} Spaces;

static void sort_lanes(SimWarp *w, const SimInstr *in, uint32_t mask, int slot, Spaces *s) {
  read_addresses(w, in, slot, in->flags & SIM_I_ADDR32, in->imm, s->addr);
  s->shared = s->global = 0;
  if (in->space == SPACE_GENERIC) {
    memset(s->local, 0, sizeof s->local);
    s->shared = in_window(mask, s->addr, SIM_SHARED_BASE, s->local);
    s->global = mask & ~s->shared;
    return;
  }
  if (in->space == SPACE_SHARED) {
    s->shared = mask;
    LANES { s->local[l] = s->addr[l], s->addr[l] |= SIM_SHARED_BASE; }
  } else {
    s->global = mask;
  }
}

/* The lanes whose generic address is one of their own local memory, which nobody else sees. */
static uint32_t own_lanes(Spaces *s) {
  uint32_t own = in_window(s->global, s->addr, SIM_LOCAL_BASE, s->local);
  s->global &= ~own;
  return own;
}

/* Where the lanes' pieces lie, checked. False: faulted. */
static bool place_lanes(SimWarp *w, const SimInstr *in, const Spaces *s, uint32_t bytes, SimAccess how, char **p) {
  const char *verb = how == ACCESS_STORE ? "writes" : how == ACCESS_LOAD ? "reads" : "updates";
  uint32_t far = far_lanes(s->shared, s->local), near = s->shared & ~far;
  if (far && !far_pieces(w, in, far, s->local, bytes, how, p)) return false;
  if (near && shared_bad(w, near, s->local, bytes)) return fault_shared(w, in, near, s->local, bytes, verb), false;
  ACTIVE(l, near) p[l] = w->shared + s->local[l];
  return !s->global || resolve_global(w, in, s->global, s->addr, bytes, how, p);
}

static bool shadow_lanes(SimWarp *w, const SimInstr *in, const Spaces *s, uint32_t bytes, bool write) {
  Readers readers;
  if (!w->checks || !s->shared) return true;
  if (write) find_readers(w, &readers);
  ACTIVE(l, s->shared & ~far_lanes(s->shared, s->local)) {
    uint32_t at = (uint32_t)s->local[l];
    int r = write ? shadow_write(w, in, at, bytes, (int)l, SIM_CELL_STRONG, &readers) : shadow_read(w, in, at, bytes, (int)l);
    if (r != STEP_NEXT) return false;
  }
  return true;
}

/* The lowest lane of each distinct address. */
static uint32_t distinct(const uint64_t *addr, uint32_t mask) {
  uint32_t m = mask, first = 0;
  while (m) {
    uint32_t l = (uint32_t)__builtin_ctz(m);
    first |= lane_bit[l];
    ACTIVE(k, m) m &= addr[k] == addr[l] ? ~lane_bit[k] : SIM_FULL;
  }
  return first;
}

HANDLER(ld_strong) {
  Spaces s;
  char *p[SIM_LANES];
  uint32_t bytes = (uint32_t)in->n * in->size, own;
  sort_lanes(w, in, mask, in->n, &s);
  if ((own = own_lanes(&s)) && load_local(w, in, own, s.local) != STEP_NEXT) return STEP_YIELD;
  if (!(mask &= ~own)) return STEP_NEXT;
  if (s.global && !sim_turn(w, in, mask)) return STEP_YIELD;
  uint32_t first = distinct(s.addr, mask);
  ACTIVE(l, first) sim_order_read(w, in, s.addr[l]);
  if (!place_lanes(w, in, &s, bytes, ACCESS_LOAD, p)) return STEP_YIELD;
  if (!shadow_lanes(w, in, &s, bytes, false)) return STEP_YIELD;
  load_lanes(w, in, mask, (const char *const *)p);
  ACTIVE(k, first) sim_spin_read(w, s.addr[k], p[k], bytes);
  if (s.global) sim_turn_done(w);
  return STEP_NEXT;
}

HANDLER(st_strong) {
  Spaces s;
  char *p[SIM_LANES];
  uint32_t bytes = (uint32_t)in->n * in->size, own;
  sort_lanes(w, in, mask, 0, &s);
  if ((own = own_lanes(&s)) && store_local(w, in, own, s.local) != STEP_NEXT) return STEP_YIELD;
  if (!(mask &= ~own)) return STEP_NEXT;
  if (s.global && !sim_turn(w, in, mask)) return STEP_YIELD;
  w->spin.acted = true;
  if (!place_lanes(w, in, &s, bytes, ACCESS_STORE, p) || !shadow_lanes(w, in, &s, bytes, true)) return STEP_YIELD;
  store_lanes(w, in, mask, p);
  if (w->checks && lanes_agree(w, in, mask, p, s.addr, s.global ? "global" : "shared") != STEP_NEXT) return STEP_YIELD;
  uint32_t first = distinct(s.addr, mask);
  ACTIVE(l, first) sim_order_write(w, in, s.addr[l], false, true);
  if (s.global) sim_turn_done(w);
  return STEP_NEXT;
}

/* operands: [d,] address, b (n of them for a vector red) [, c]; one lane: has memory changed? */
static bool atom_at(SimWarp *w, const SimInstr *in, uint32_t l, char *p, bool flush) {
  int first = ATOM_RETURNS(in) ? in->n + 1 : 1;
  bool changed = false;
  for (int i = 0; i < in->n; i++) {
    uint64_t b = in->size == 8 ? R64(first + i)[l] : R32(first + i)[l], now = 0;
    uint64_t c = ATOM_OP(in) != ATOM_CAS ? 0 : in->size == 8 ? R64(first + 1)[l] : R32(first + 1)[l];
    uint64_t old = atom_lane(p + i * in->size, in, b, c, flush);
    memcpy(&now, p + i * in->size, in->size);
    changed |= now != old;
    if (!ATOM_RETURNS(in)) continue;
    if (in->size == 8) R64(i)[l] = old;
    else R32(i)[l] = (uint32_t)old;
  }
  return changed;
}

HANDLER(atom) {
  Spaces s;
  char *p[SIM_LANES];
  uint32_t bytes = (uint32_t)in->n * in->size;
  sort_lanes(w, in, mask, ATOM_RETURNS(in) ? in->n : 0, &s);
  if (s.global && !sim_turn(w, in, mask)) return STEP_YIELD;
  uint32_t first = distinct(s.addr, mask), changed = 0;
  ACTIVE(l, first) sim_order_read(w, in, s.addr[l]);
  if (!place_lanes(w, in, &s, bytes, ACCESS_UPDATE, p)) return STEP_YIELD;
  if (!shadow_lanes(w, in, &s, bytes, true)) return STEP_YIELD;
  ACTIVE(j, mask) changed |= atom_at(w, in, j, p[j], s.global >> j & 1) ? lane_bit[j] : 0;
  w->spin.acted |= changed != 0;
  ACTIVE(k, first) {
    sim_order_write(w, in, s.addr[k], true, changed != 0);
    if (!changed) sim_spin_read(w, s.addr[k], p[k], bytes);
  }
  if (s.global) sim_turn_done(w);
  return STEP_NEXT;
}

HANDLER(fence) {
  (void)mask;
  sim_order_fence(w, in);
  return STEP_NEXT;
}
