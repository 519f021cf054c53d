/* hopper.h - handlers of mbarriers, bulk copies, clusters, register budgets: they gather a lane's operands; what these mean is said in
 * engine.h and the files beside it. PTX ISA, Parallel Synchronization: mbarrier; Data Movement: cp.async.bulk, mapa. */

static inline uint32_t lane_address(SimWarp *w, const SimInstr *in, int slot, uint32_t narrow, int64_t offset, uint32_t l) {
  return (uint32_t)((in->flags & narrow ? R32(slot)[l] : R64(slot)[l]) + (uint64_t)offset);
}
static inline uint64_t lane_wide(SimWarp *w, const SimInstr *in, int slot, int64_t offset, uint32_t l) { return R64(slot)[l] + (uint64_t)offset; }

/* ---- mbarriers ---- */

HANDLER(mbarrier_init) {
  w->spin.acted = true;
  ACTIVE(l, mask)
    if (sim_mbar_make(w, in, (int)l, lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l), R32(1)[l]) != STEP_NEXT) return STEP_YIELD;
  return STEP_NEXT;
}

HANDLER(mbarrier_inval) {
  w->spin.acted = true;
  ACTIVE(l, mask)
    if (sim_mbar_drop(w, in, (int)l, lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l)) != STEP_NEXT) return STEP_YIELD;
  return STEP_NEXT;
}

/* operands: [state,] address [, count or bytes] */
HANDLER(mbarrier_arrive) {
  int at = in->sub & MBAR_RETURNS ? 1 : 0;
  bool expects = in->sub & MBAR_EXPECT;
  w->spin.acted = true;
  ACTIVE(l, mask) {
    SimMbar *b = sim_mbar_at(w, in, (int)l, lane_address(w, in, at, SIM_I_ADDR32, in->imm, l));
    if (!b) return STEP_YIELD;
    uint32_t n = in->n ? R32(at + 1)[l] : 1;
    SimMbarArrival a = {.count = expects ? 1 : n, .expect = expects ? n : 0, .drop = in->sub & MBAR_DROP, .no_complete = in->sub & MBAR_NO_COMPLETE};
    uint64_t token = 0;
    bool ended;
    SimMbarFault f = sim_mbar_arrive(&b->s, &a, &token, &ended);
    if (f) return sim_mbar_fault_at(w, in, (int)l, b, f);
    if (w->checks) sim_past_release(b->past, w, lane_bit[l]);
    if (in->sub & MBAR_RETURNS) R64(0)[l] = token;
    if (ended) sim_mbar_ended(b, w);
  }
  sim_order_tick(w);
  return w->cta->group->faulted ? STEP_YIELD : STEP_NEXT;
}

HANDLER(mbarrier_tx) { /* expect_tx; sub: complete_tx */
  w->spin.acted = true;
  ACTIVE(l, mask) {
    SimMbar *b = sim_mbar_at(w, in, (int)l, lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l));
    if (!b) return STEP_YIELD;
    bool ended;
    SimMbarFault f = sim_mbar_bytes(&b->s, in->sub ? -(int64_t)R32(1)[l] : (int64_t)R32(1)[l], &ended);
    if (f) return sim_mbar_fault_at(w, in, (int)l, b, f);
    if (ended) sim_mbar_ended(b, w);
  }
  return w->cta->group->faulted ? STEP_YIELD : STEP_NEXT;
}

/* Lanes that must wait stand aside for others of the warp that can go on; if there are none, the warp is held. */
static int wait_aside(SimWarp *w, const SimInstr *in, uint32_t mask, SimMbar *b) {
  uint32_t here = (uint32_t)(in - w->code);
  bool others = false, sleepers = false;
  for (uint32_t i = 0; i < w->nsplit; i++) others |= can_run(&w->split[i]), sleepers |= w->split[i].asleep != 0;
  if (others) {
    w->split[w->nsplit++] = (SimSplit){.pc = here, .mask = mask, .asleep = here + 1};
    take_split(w);
    return STEP_JUMP;
  }
  for (uint32_t i = 0; i < w->nsplit; i++) w->split[i].asleep = 0;
  find_stop(w);
  w->held_any = sleepers; /* they may wait for another mbarrier, and are asked again as well */
  return sim_mbar_park(w, in, b);
}

/* Lanes that wait for one phase learn together what it hands on: `told` are those of the last mbarrier that have not yet. */
static uint32_t wait_ended(SimWarp *w, const SimMbar *last, uint32_t told, const SimMbar *b, uint32_t lane) {
  if (last == b) return told | lane;
  if (told) sim_past_acquire(w, last->seen, told);
  return lane;
}

HANDLER(mbarrier_wait) { /* p, address, state or parity [, time] */
  SimMbar *last = NULL;
  uint32_t done = 0, told = 0;
  bool again = w->held != NULL;
  w->held = NULL;
  w->spin.acted = true;
  ACTIVE(l, mask) {
    SimMbar *b = sim_mbar_at(w, in, (int)l, lane_address(w, in, 1, SIM_I_ADDR32, in->imm, l));
    if (!b) return STEP_YIELD;
    bool ended;
    if (in->sub & MBAR_BY_PARITY) {
      if (R32(2)[l] > 1) return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "mbarrier", "shared", b->address, "a parity of %u: it is 0 or 1", R32(2)[l]);
      ended = sim_mbar_parity(&b->s, R32(2)[l]);
    } else {
      SimMbarFault f = sim_mbar_test(&b->s, R64(2)[l], &ended);
      if (f) return sim_mbar_fault_at(w, in, (int)l, b, f);
    }
    if (ended) done |= lane_bit[l];
    if (ended && w->checks) told = wait_ended(w, last, told, b, lane_bit[l]);
    last = b;
  }
  if (told) sim_past_acquire(w, last->seen, told);
  SimGroup *g = w->cta->group;
  bool gives_up = w->expired || (!again && w->cta->policy == POLICY_RANDOM && (sim_group_random(g) & 3) == 0); /* a try may end without success */
  w->expired = false;
  if (!done && (in->sub & MBAR_TRY) && !gives_up) return wait_aside(w, in, mask, last);
  if (!done) sim_engine_step(g); /* time goes on for the copies too */
  return set_pred(&PRED(0), done, mask);
}

HANDLER(mbarrier_pending) {
  ACTIVE(l, mask) R32(0)[l] = sim_mbar_token_pending(R64(1)[l]);
  return STEP_NEXT;
}

/* The thread's copies are complete here at the latest (the moment is the simulator's choice), and it arrives; without .noinc the
 * arrival is added to those that the phase waits for. */
HANDLER(cp_async_arrive) {
  drain_copies(w, w->group + 1);
  w->spin.acted = true;
  ACTIVE(l, mask) {
    SimMbar *b = sim_mbar_at(w, in, (int)l, lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l));
    if (!b) return STEP_YIELD;
    SimMbarArrival a = {.count = 1};
    uint64_t token;
    bool ended;
    if (!in->sub) b->s.pending++;
    SimMbarFault f = b->s.pending > SIM_MBAR_MOST ? MBAR_COUNT : sim_mbar_arrive(&b->s, &a, &token, &ended);
    if (f) return sim_mbar_fault_at(w, in, (int)l, b, f);
    if (w->checks) sim_past_release(b->past, w, lane_bit[l]);
    if (ended) sim_mbar_ended(b, w);
  }
  sim_order_tick(w);
  return w->cta->group->faulted ? STEP_YIELD : STEP_NEXT;
}

/* ---- fences ---- */

static void fence_mbarriers(SimWarp *w) {
  for (uint32_t i = 0; i < SIM_COUNT(&w->cta->mbars, SimMbar *); i++) {
    SimMbar *b = SIM_AT(&w->cta->mbars, SimMbar *, i);
    if (b->maker == w) b->fenced = true;
  }
}

HANDLER(fence_mbarrier_init) {
  (void)in, (void)mask;
  fence_mbarriers(w);
  return STEP_NEXT;
}

HANDLER(fence_async) { /* fence.proxy.async */
  (void)in;
  fence_mbarriers(w);
  if (w->checks) sim_order_proxy(w, mask);
  return STEP_NEXT;
}

/* ---- bulk copies ---- */

static bool find_map(SimWarp *w, const SimInstr *in, uint32_t l, uint64_t address, SimMap *map) {
  const SimLaunch *launch = w->cta->launch;
  uint64_t window = address & ~SIM_WINDOW_MASK, at = address & SIM_WINDOW_MASK;
  const char *bytes = NULL;
  if (address % SIM_MAP_ALIGN)
    return sim_fault(w, in, (int)l, DRV_MISALIGNED_ADDRESS, "misaligned", "generic", address, "a tensor map at an address that is no multiple of 64"), false;
  if (window == SIM_PARAM_BASE && at + SIM_MAP_BYTES <= launch->fn->param_bytes) bytes = (const char *)launch->params + at;
  SimAlloc *a = window == SIM_PARAM_BASE ? NULL : sim_memory_range(&launch->dev->memory, address, SIM_MAP_BYTES);
  if (a) bytes = a->host + (address - a->base);
  if (!bytes)
    return sim_fault(w, in, (int)l, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "generic", address,
                     "a tensor map must be a parameter or lie in global memory, as a generic address (cvta.param)"), false;
  if (!sim_map_read(map, bytes))
    return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "bulk", "generic", address, "the 128 bytes here are no tensor map"), false;
  if (map->rank != in->n)
    return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "bulk", "generic", address, "the tensor map has %u dimensions, the instruction %u",
                     map->rank, in->n), false;
  return true;
}

/* The CTA and the offset of a destination; the mbarrier must be in the same. */
static bool find_target(SimBulk *b, uint32_t to, uint32_t mbar) {
  SimWarp *w = b->warp;
  uint32_t at;
  SimCta *c = sim_cluster_cta(w, to, &b->shared), *own = sim_cluster_cta(w, mbar, &at);
  if (!c || c != own)
    return sim_fault(w, b->in, b->lane, DRV_LAUNCH_FAILED, "cluster", "shared", to,
                     "a copy into the shared memory of one CTA signals an mbarrier in another, or there is no such CTA"), false;
  b->mbar = at;
  b->ctas = (uint16_t)(1u << c->rank);
  return true;
}

static bool gather_load(SimBulk *b, uint32_t l) {
  SimWarp *w = b->warp;
  const SimInstr *in = b->in;
  bool tensor = in->sub & BULK_TENSOR, peer = (in->sub & BULK_KIND) != BULK_LOAD;
  int mbar = tensor ? 2 + in->n : 3;
  if (tensor) {
    if (!find_map(w, in, l, R64(1)[l], &b->map)) return false;
    for (int i = 0; i < in->n; i++) b->at[i] = (int32_t)R32(2 + i)[l];
    b->bytes = sim_map_box_bytes(&b->map);
  } else {
    b->bytes = R32(2)[l];
    if (peer) b->from = w->cta, b->source = lane_address(w, in, 1, SIM_I_ADDR32B, in->imm2, l);
    else b->global = lane_wide(w, in, 1, in->imm2, l);
  }
  uint32_t to = lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l);
  uint32_t at = tensor ? lane_address(w, in, mbar, SIM_I_ADDR32B, in->imm2, l) : lane_address(w, in, mbar, SIM_I_ADDR32C, in->imm3, l);
  if (!find_target(b, to, at)) return false;
  if (in->sub & BULK_MULTICAST) b->ctas = (uint16_t)R32(mbar + 1)[l];
  if (!b->ctas) return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "cluster", "", 0, "a multicast to no CTA"), false;
  return true;
}

static bool gather_store(SimBulk *b, uint32_t l) {
  SimWarp *w = b->warp;
  const SimInstr *in = b->in;
  b->group = w->bulk_group[l];
  if (!(in->sub & BULK_TENSOR)) {
    b->global = lane_wide(w, in, 0, in->imm, l);
    b->shared = lane_address(w, in, 1, SIM_I_ADDR32B, in->imm2, l);
    b->bytes = R32(2)[l];
    return true;
  }
  if (!find_map(w, in, l, R64(0)[l], &b->map)) return false;
  for (int i = 0; i < in->n; i++) b->at[i] = (int32_t)R32(1 + i)[l];
  b->shared = lane_address(w, in, 1 + in->n, SIM_I_ADDR32, in->imm, l);
  b->bytes = sim_map_box_bytes(&b->map);
  return true;
}

HANDLER(bulk) {
  int kind = in->sub & BULK_KIND;
  w->spin.acted = true;
  ACTIVE(l, mask) {
    SimBulk b = {.warp = w, .in = in, .lane = (int)l, .sub = in->sub};
    bool ok = kind == BULK_STORE || kind == BULK_REDUCE ? gather_store(&b, l) : gather_load(&b, l);
    if (!ok || sim_bulk_issue(&b) != STEP_NEXT) return STEP_YIELD;
  }
  return STEP_NEXT;
}

HANDLER(bulk_commit) {
  (void)in;
  sim_bulk_commit(w, mask);
  return STEP_NEXT;
}

HANDLER(bulk_wait) {
  w->spin.acted = true;
  return sim_bulk_wait(w, in, mask, (uint32_t)in->imm, in->sub);
}

/* ---- clusters ---- */

#define MAPPED(address, rank) (((uint32_t)(address) & ((1u << SIM_RANK_SHIFT) - 1)) | ((rank) + 1) << SIM_RANK_SHIFT)
static inline uint32_t rank_at(const SimWarp *w, uint64_t address) {
  uint32_t r = (uint32_t)address >> SIM_RANK_SHIFT;
  return r ? r - 1 : w->cta->rank;
}

static int bad_rank(SimWarp *w, const SimInstr *in, uint32_t l, uint32_t rank) {
  return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "cluster", "", 0, "rank %u: the cluster has %u CTAs", rank, w->cta->group->nctas);
}

HANDLER(mapa_b32) {
  ACTIVE(l, mask) {
    if (R32(2)[l] >= w->cta->group->nctas) return bad_rank(w, in, l, R32(2)[l]);
    R32(0)[l] = MAPPED(R32(1)[l], R32(2)[l]);
  }
  return STEP_NEXT;
}
HANDLER(mapa_b64) {
  ACTIVE(l, mask) {
    if (R32(2)[l] >= w->cta->group->nctas) return bad_rank(w, in, l, R32(2)[l]);
    R64(0)[l] = (R64(1)[l] & ~SIM_WINDOW_MASK) | MAPPED(R64(1)[l], R32(2)[l]);
  }
  return STEP_NEXT;
}
HANDLER(getctarank_b32) {
  ACTIVE(l, mask) R32(0)[l] = rank_at(w, R32(1)[l]);
  return STEP_NEXT;
}
HANDLER(getctarank_b64) {
  ACTIVE(l, mask) R32(0)[l] = rank_at(w, R64(1)[l]);
  return STEP_NEXT;
}

/* A lane's piece in the shared memory of any CTA, judged. */
static char *judged_piece(SimWarp *w, const SimInstr *in, uint32_t l, uint32_t address, uint32_t bytes, bool write, uint32_t flags) {
  uint32_t at;
  SimCta *c = sim_cluster_cta(w, address, &at);
  SimArea a = {c, at, bytes};
  if (!c) return bad_rank(w, in, l, (address >> SIM_RANK_SHIFT) - 1), NULL;
  if (!sim_area_in(&a))
    return sim_fault(w, in, (int)l, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", at, "%s %u bytes; the block has %u to %u",
                     write ? "writes" : "reads", bytes, w->shared_first, w->shared_end), NULL;
  if (at & (bytes - 1))
    return sim_fault(w, in, (int)l, DRV_MISALIGNED_ADDRESS, "misaligned", "shared", at, "an access of %u bytes at an address that is no multiple of it",
                     bytes), NULL;
  if (!sim_cluster_lives(w, in, (int)l, c, at)) return NULL;
  if (write && !(flags & SIM_CELL_STRONG) && !sim_area_write(w, in, (int)l, a, false)) return NULL;
  if (!write && !in->sem && !sim_area_read(w, in, (int)l, a, false)) return NULL;
  if (!write && !in->sem) sim_area_far_read(w, a);
  if (write) sim_area_written(a, w->cta->group->time << SIM_CELL_TIME | w->agent | flags, l);
  return c->warp[0].shared + at;
}

/* The warp itself reads or writes there. */
static char *cluster_piece(SimWarp *w, const SimInstr *in, uint32_t l, uint32_t address, uint32_t bytes, bool write, uint32_t flags) {
  uint32_t at;
  char *p = judged_piece(w, in, l, address, bytes, write, flags);
  return p && sim_cluster_reach(w, in, (int)l, sim_cluster_cta(w, address, &at), address) ? p : NULL;
}

static bool far_pieces(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *local, uint32_t bytes, SimAccess how, char **p) {
  uint32_t flags = how == ACCESS_UPDATE || in->sem ? SIM_CELL_STRONG : 0;
  if (how != ACCESS_LOAD) w->spin.acted = true;
  ACTIVE(l, mask)
    if (!(p[l] = cluster_piece(w, in, l, (uint32_t)local[l], bytes, how != ACCESS_LOAD, flags))) return false;
  return true;
}

HANDLER(ld_cluster) {
  char *p[SIM_LANES];
  uint32_t bytes = (uint32_t)in->n * in->size;
  ACTIVE(l, mask)
    if (!(p[l] = cluster_piece(w, in, l, lane_address(w, in, in->n, SIM_I_ADDR32, in->imm, l), bytes, false, 0))) return STEP_YIELD;
  load_lanes(w, in, mask, (const char *const *)p);
  return STEP_NEXT;
}

HANDLER(st_cluster) {
  char *p[SIM_LANES];
  uint32_t bytes = (uint32_t)in->n * in->size;
  w->spin.acted = true;
  ACTIVE(l, mask)
    if (!(p[l] = cluster_piece(w, in, l, lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l), bytes, true, in->sem ? SIM_CELL_STRONG : 0))) return STEP_YIELD;
  store_lanes(w, in, mask, p);
  return STEP_NEXT;
}

HANDLER(atom_cluster) {
  w->spin.acted = true;
  ACTIVE(l, mask) {
    char *p = cluster_piece(w, in, l, lane_address(w, in, ATOM_RETURNS(in) ? 1 : 0, SIM_I_ADDR32, in->imm, l), in->size, true, SIM_CELL_STRONG);
    if (!p) return STEP_YIELD;
    atom_at(w, in, l, p, false);
  }
  return STEP_NEXT;
}

/* st.async, red.async: complete at once, and the mbarrier counts the bytes. Who sees its phase end knows them done, whatever else their warp does. */
static int async_piece(SimWarp *w, const SimInstr *in, uint32_t l, uint32_t bytes, bool atomic, char **p, SimMbar **b) {
  uint32_t to = lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l), at, mbar = lane_address(w, in, 1 + in->n, SIM_I_ADDR32B, in->imm2, l);
  SimCta *c = sim_cluster_cta(w, to, &at);
  *b = sim_mbar_signalled(w, in, (int)l, mbar);
  if (!*b || !(*p = judged_piece(w, in, l, to, bytes, true, atomic ? SIM_CELL_STRONG : 0))) return STEP_YIELD;
  if ((*b)->cta != c) return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "cluster", "shared", at, "writes to one CTA and signals an mbarrier in another");
  return STEP_NEXT;
}

static int async_signal(SimWarp *w, const SimInstr *in, uint32_t l, uint32_t bytes, SimMbar *b) {
  SimGroup *g = w->cta->group;
  uint32_t to = lane_address(w, in, 0, SIM_I_ADDR32, in->imm, l), at, column = sim_column(g, b->agent);
  SimCta *c = sim_cluster_cta(w, to, &at);
  sim_area_written((SimArea){c, at, bytes}, g->time << SIM_CELL_TIME | b->agent, SIM_LANE_WARP);
  if (g->launch->dev->meter) g->meter[sim_code_index(w, in)].written[KILNSIM_SHARED] += bytes;
  for (int k = 0; k < CLOCKS; k++) b->past[k].near[column] = g->time;
  c->touched[column] = g->time;
  sim_order_tick(w);
  bool ended;
  SimMbarFault f = sim_mbar_bytes(&b->s, -(int64_t)bytes, &ended);
  if (f) return sim_mbar_fault_at(w, in, (int)l, b, f);
  if (ended) sim_mbar_ended(b, w);
  return g->faulted ? STEP_YIELD : STEP_NEXT;
}

HANDLER(st_async) { /* address, values, mbarrier */
  uint32_t bytes = (uint32_t)in->n * in->size;
  w->spin.acted = true;
  ACTIVE(l, mask) {
    char *p;
    SimMbar *b;
    if (async_piece(w, in, l, bytes, false, &p, &b) != STEP_NEXT) return STEP_YIELD;
    for (int i = 0; i < in->n; i++) memcpy(p + i * in->size, in->size == 8 ? (void *)&R64(1 + i)[l] : (void *)&R32(1 + i)[l], in->size);
    if (async_signal(w, in, l, bytes, b) != STEP_NEXT) return STEP_YIELD;
  }
  return STEP_NEXT;
}

HANDLER(red_async) {
  static const uint8_t op[8] = {ATOM_ADD, ATOM_MIN, ATOM_MAX, ATOM_INC, ATOM_DEC, ATOM_AND, ATOM_OR, ATOM_XOR};
  static const uint8_t type[4] = {ATOM_U32, ATOM_S32, ATOM_U64, ATOM_S64};
  w->spin.acted = true;
  ACTIVE(l, mask) {
    char *p;
    SimMbar *b;
    uint64_t old = 0, v = in->size == 8 ? R64(1)[l] : R32(1)[l];
    if (async_piece(w, in, l, in->size, true, &p, &b) != STEP_NEXT) return STEP_YIELD;
    memcpy(&old, p, in->size);
    v = atom_apply(op[BULK_OP_OF(in->sub)], type[BULK_TYPE_OF(in->sub) & 3], old, v, 0, false);
    memcpy(p, &v, in->size);
    if (async_signal(w, in, l, in->size, b) != STEP_NEXT) return STEP_YIELD;
  }
  return STEP_NEXT;
}

HANDLER(cluster_arrive) {
  if (in->n && whole_warp(w, in, mask, "barrier.cluster.arrive.aligned") != STEP_NEXT) return STEP_YIELD;
  return sim_cluster_arrive(w, in, mask);
}
HANDLER(cluster_wait) {
  if (in->n && whole_warp(w, in, mask, "barrier.cluster.wait.aligned") != STEP_NEXT) return STEP_YIELD;
  return sim_cluster_wait(w, in, mask);
}

HANDLER(depend) { /* griddepcontrol.wait: race.c holds accesses before it against what the launch before has written */
  (void)in, (void)mask;
  if (!w->depended) w->depended = w->cta->group->time;
  sim_order_tick(w);
  return STEP_NEXT;
}

/* ---- register budgets: a CTA's registers are those that it was started with ---- */

HANDLER(setmaxnreg) {
  SimCta *c = w->cta;
  uint32_t n = (uint32_t)in->imm;
  if (whole_warp(w, in, mask, "setmaxnreg") != STEP_NEXT) return STEP_YIELD;
  w->waits_regs = false;
  if (!w->nregs) return STEP_NEXT; /* neither .maxnreg nor .maxntid with .minnctapersm: ptxas drops the instruction */
  if (in->sub ? n < w->nregs : n > w->nregs)
    return sim_fault(w, in, -1, DRV_LAUNCH_FAILED, "registers", "", 0, "setmaxnreg.%s to %u, and the warp has %u registers a thread",
                     in->sub ? "inc" : "dec", n, w->nregs);
  if (!in->sub) {
    c->free_regs += w->nregs - n;
    for (uint32_t i = 0; i < c->nwarps; i++)
      if (c->warp[i].state == WARP_HELD && c->warp[i].waits_regs) sim_group_ready(&c->warp[i]);
  } else if (n - w->nregs > c->free_regs) {
    w->waits_regs = true;
    w->waits = "for registers (setmaxnreg.inc) that nobody gives back";
    w->state = WARP_HELD;
    w->pc = (uint32_t)(in - w->code);
    return STEP_YIELD;
  } else {
    c->free_regs -= n - w->nregs;
  }
  w->nregs = n;
  return STEP_NEXT;
}
