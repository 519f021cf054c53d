/* async.h - cp.async: a copy of 4, 8 or 16 bytes per lane from global to shared memory, complete at the wait that covers its group.
 * PTX ISA, Data Movement: cp.async, cp.async.commit_group, cp.async.wait_group. Until then the destination is in flight: any access
 * of it is reported. Its data lands at once (eager), at the wait (lazy), or at a random moment between. */

static void land_copy(SimWarp *w, SimCopy *c) {
  if (c->landed) return;
  ACTIVE(l, c->mask) {
    char *d = w->shared + c->dst[l];
    if (c->src_bytes[l] == 16) memcpy(d, c->src[l], 16);
    else {
      if (c->src_bytes[l]) memcpy(d, c->src[l], c->src_bytes[l]);
      memset(d + c->src_bytes[l], 0, c->bytes - c->src_bytes[l]);
    }
  }
  c->landed = true;
}

/* Full pieces as a group, shorter ones one at a time. */
static bool copy_source(SimWarp *w, const SimInstr *in, SimCopy *c, const uint64_t *src, uint32_t mask) {
  uint32_t full = 0;
  ACTIVE(l, mask) full |= c->src_bytes[l] == c->bytes ? lane_bit[l] : 0;
  if (full && !resolve_global(w, in, full, src, c->bytes, ACCESS_LOAD, (char **)c->src)) return false;
  ACTIVE(k, mask & ~full) {
    if (!c->src_bytes[k]) continue;
    if (src[k] & (c->bytes - 1u))
      return sim_fault(w, in, (int)k, DRV_MISALIGNED_ADDRESS, "misaligned", "global", src[k],
                       "copies from an address that is no multiple of %u", c->bytes), false;
    SimAlloc *a = sim_memory_range(&w->cta->launch->dev->memory, src[k], c->src_bytes[k]);
    if (!a) return sim_fault_global(w, in, (int)k, src[k], c->src_bytes[k], "copies from"), false;
    c->src[k] = a->host + (src[k] - a->base);
    if (w->checks && sim_race_range(w, in, a, src[k] - a->base, c->src_bytes[k], false, RACE_ORDINARY)) return false;
    uint64_t bad;
    if (w->checks && !atomic_load_explicit(&a->all_init, memory_order_relaxed) && !sim_memory_written(a, src[k], c->src_bytes[k], &bad))
      return sim_fault(w, in, (int)k, DRV_LAUNCH_FAILED, "uninitialised", "global", bad,
                       "copies from global memory that nobody has written"), false;
  }
  return true;
}

HANDLER(cp_async) {
  uint64_t dst[SIM_LANES] __attribute__((aligned(64))), src[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, 0, in->flags & SIM_I_ADDR32, in->imm, dst);
  read_addresses(w, in, 1, in->flags & SIM_I_ADDR32B, in->imm2, src);
  if (shared_bad(w, mask, dst, in->size)) return fault_shared(w, in, mask, dst, in->size, "copies to");
  if (w->ncopies == w->copies_cap && !sim_cta_more_copies(w))
    return sim_fault(w, in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
  SimCopy *c = &w->copies[w->ncopies];
  c->group = w->group;
  c->mask = mask;
  c->in = in;
  c->bytes = in->size;
  c->landed = false;
  if (in->n) { /* operand 3: bytes to read, the rest is zero */
    const L32 *s = R32(3);
    LANES { c->src_bytes[l] = s[l] < in->size ? s[l] : in->size; }
  } else {
    LANES { c->src_bytes[l] = in->size; }
  }
  LANES { c->dst[l] = (uint32_t)dst[l]; }
  if (!copy_source(w, in, c, src, mask)) return STEP_YIELD;
  if (w->checks) {
    Readers readers;
    find_readers(w, &readers);
    ACTIVE(l, mask) if (shadow_write(w, in, (uint32_t)dst[l], in->size, (int)l, SIM_CELL_PENDING, &readers) != STEP_NEXT) return STEP_YIELD;
  }
  w->ncopies++;
  if (w->cta->policy == POLICY_EAGER) land_copy(w, c);
  else if (w->cta->policy == POLICY_RANDOM && (sim_group_random(w->cta->group) & 3) == 0)
    land_copy(w, &w->copies[sim_group_random(w->cta->group) % w->ncopies]);
  return STEP_NEXT;
}

/* The warp's copies of groups below upto are complete: what they wrote is from now on a write of this warp. */
static void drain_copies(SimWarp *w, uint32_t upto) {
  uint32_t kept = 0, n = w->ncopies;
  for (uint32_t i = 0; i < n; i++) {
    SimCopy *c = &w->copies[i];
    if (c->group >= upto) {
      if (kept != i) w->copies[kept] = *c;
      kept++;
      continue;
    }
    land_copy(w, c);
    if (!w->checks) continue;
    uint32_t cells = (uint32_t)c->bytes >> w->shift, now = w->cta->group->time << SIM_CELL_TIME | w->agent;
    ACTIVE(l, c->mask) {
      uint32_t *wr = w->wr + ((c->dst[l] - w->shared_first) >> w->shift);
      for (uint32_t k = 0; k < cells; k++)
        if ((wr[k] & (SIM_CELL_PENDING | SIM_CELL_AGENT)) == (SIM_CELL_PENDING | w->agent)) wr[k] = now;
    }
  }
  w->ncopies = kept;
}

HANDLER(cp_async_commit) {
  (void)in, (void)mask;
  w->group++;
  return STEP_NEXT;
}

HANDLER(cp_async_wait) { /* imm: groups that may stay in flight; below 0: none, not even what is not committed */
  (void)mask;
  if (in->imm < 0) drain_copies(w, w->group + 1);
  else if ((uint64_t)in->imm <= w->group) drain_copies(w, w->group - (uint32_t)in->imm);
  return STEP_NEXT;
}
