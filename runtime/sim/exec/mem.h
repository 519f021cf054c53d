/* mem.h - loads, stores, atomics, prefetch. Addresses of all lanes are computed first; a full warp on adjacent elements takes a
 * block path, everything else goes lane by lane. Bounds and alignment are checked always, the rest when checks are on. */


static inline void read_addresses(SimWarp *w, const SimInstr *in, int slot, bool narrow, int64_t offset, uint64_t *addr) {
  if (narrow) {
    const L32 *a = R32(slot);
    LANES { addr[l] = (uint32_t)(a[l] + (uint32_t)offset); }
  } else {
    const L64 *a = R64(slot);
    LANES { addr[l] = a[l] + (uint64_t)offset; }
  }
}

static inline bool adjacent(const uint64_t *addr, uint64_t bytes) {
  uint64_t bad = 0, first = addr[0];
  LANES { bad |= addr[l] ^ (first + (uint64_t)l * bytes); }
  return bad == 0;
}

/* ---- registers <- memory ---- */

#define LOAD_STRIDED(T, S, R, N)                                                                                       \
  for (int i = 0; i < N; i++) {                                                                                        \
    S *d = R(i);                                                                                                       \
    const T *s = (const T *)src + i;                                                                                   \
    LANES { d[l] = (S)s[l * N]; }                                                                                      \
  }
/* What load_block and store_block know: a register as wide as the element, or unsigned and one wider. */
static inline bool fits_block(const SimInstr *in) {
  if (in->flags & SIM_I_WIDE) return false;
  return in->n == 1 || in->size >= 4 || (in->size == 2 && !(in->flags & SIM_I_SIGNED));
}

static inline void load_block(SimWarp *w, const SimInstr *in, const char *src) { /* all lanes, adjacent */
  switch (in->size << 4 | in->n) {
  case 1 << 4 | 1:
    if (in->flags & SIM_I_SIGNED) LOAD_STRIDED(I8, L32, R32, 1)
    else LOAD_STRIDED(L8, L32, R32, 1)
    break;
  case 2 << 4 | 1:
    if (in->flags & SIM_I_SIGNED) LOAD_STRIDED(I16, L32, R32, 1)
    else LOAD_STRIDED(L16, L32, R32, 1)
    break;
  case 1 << 4 | 2:
    if (in->flags & SIM_I_SIGNED) LOAD_STRIDED(I8, L32, R32, 2)
    else LOAD_STRIDED(L8, L32, R32, 2)
    break;
  case 1 << 4 | 4:
    if (in->flags & SIM_I_SIGNED) LOAD_STRIDED(I8, L32, R32, 4)
    else LOAD_STRIDED(L8, L32, R32, 4)
    break;
  case 2 << 4 | 2:
    if (in->flags & SIM_I_SIGNED) LOAD_STRIDED(I16, L32, R32, 2)
    else LOAD_STRIDED(L16, L32, R32, 2)
    break;
  case 2 << 4 | 4:
    if (in->flags & SIM_I_SIGNED) LOAD_STRIDED(I16, L32, R32, 4)
    else LOAD_STRIDED(L16, L32, R32, 4)
    break;
  case 4 << 4 | 1: memcpy(R32(0), src, 128); break;
  case 4 << 4 | 2: LOAD_STRIDED(L32, L32, R32, 2) break;
  case 4 << 4 | 4: load_quads(w, in, src); break;
  case 4 << 4 | 8: LOAD_STRIDED(L32, L32, R32, 8) break;
  case 8 << 4 | 1: memcpy(R64(0), src, 256); break;
  case 8 << 4 | 2: LOAD_STRIDED(L64, L64, R64, 2) break;
  default: LOAD_STRIDED(L64, L64, R64, 4) break;
  }
}

static inline uint64_t load_element(const char *p, int size, bool is_signed) {
  uint8_t b;
  uint16_t h;
  uint32_t r;
  uint64_t q;
  switch (size) {
  case 1: memcpy(&b, p, 1); return is_signed ? (uint32_t)(int32_t)(int8_t)b : b;
  case 2: memcpy(&h, p, 2); return is_signed ? (uint32_t)(int32_t)(int16_t)h : h;
  case 4: memcpy(&r, p, 4); return r;
  default: memcpy(&q, p, 8); return q;
  }
}

static void load_lanes(SimWarp *w, const SimInstr *in, uint32_t mask, const char *const *p) {
  bool sign = in->flags & SIM_I_SIGNED;
  for (int i = 0; i < in->n; i++) {
    if (in->flags & SIM_I_WIDE) { /* 64-bit registers for less */
      L64 *d = R64(i);
      bool extend = sign && in->size <= 4;
      ACTIVE(l, mask) {
        uint64_t v = load_element(p[l] + in->size * i, in->size, sign);
        d[l] = extend ? (uint64_t)(int64_t)(int32_t)v : v;
      }
    } else if (in->size == 4) {
      L32 *d = R32(i);
      ACTIVE(l, mask) memcpy(&d[l], p[l] + 4 * i, 4);
    } else if (in->size == 8) {
      L64 *d = R64(i);
      ACTIVE(l, mask) memcpy(&d[l], p[l] + 8 * i, 8);
    } else {
      L32 *d = R32(i);
      ACTIVE(l, mask) d[l] = (uint32_t)load_element(p[l] + in->size * i, in->size, sign);
    }
  }
}

/* ---- memory <- registers. Operands of a store: address, then values ---- */

#define STORE_STRIDED(T, S, R, N)                                                                                      \
  for (int i = 0; i < N; i++) {                                                                                        \
    const S *s = R(i + 1);                                                                                             \
    T *d = (T *)dst + i;                                                                                               \
    LANES { d[l * N] = (T)s[l]; }                                                                                      \
  }
static inline void store_block(SimWarp *w, const SimInstr *in, char *dst) {
  switch (in->size << 4 | in->n) {
  case 1 << 4 | 1: STORE_STRIDED(L8, L32, R32, 1) break;
  case 2 << 4 | 1: STORE_STRIDED(L16, L32, R32, 1) break;
  case 1 << 4 | 2: STORE_STRIDED(L8, L32, R32, 2) break;
  case 1 << 4 | 4: STORE_STRIDED(L8, L32, R32, 4) break;
  case 2 << 4 | 2: STORE_STRIDED(L16, L32, R32, 2) break;
  case 2 << 4 | 4: STORE_STRIDED(L16, L32, R32, 4) break;
  case 4 << 4 | 1: memcpy(dst, R32(1), 128); break;
  case 4 << 4 | 2: STORE_STRIDED(L32, L32, R32, 2) break;
  case 4 << 4 | 4: store_quads(w, in, dst); break;
  case 4 << 4 | 8: STORE_STRIDED(L32, L32, R32, 8) break;
  case 8 << 4 | 1: memcpy(dst, R64(1), 256); break;
  case 8 << 4 | 2: STORE_STRIDED(L64, L64, R64, 2) break;
  default: STORE_STRIDED(L64, L64, R64, 4) break;
  }
}

static void store_lanes(SimWarp *w, const SimInstr *in, uint32_t mask, char *const *p) {
  for (int i = 0; i < in->n; i++) {
    if (in->size == 8 || in->flags & SIM_I_WIDE) {
      const L64 *s = R64(i + 1); /* little-endian: the low bytes */
      ACTIVE(l, mask) memcpy(p[l] + in->size * i, &s[l], in->size);
    } else {
      const L32 *s = R32(i + 1);
      ACTIVE(l, mask) memcpy(p[l] + in->size * i, &s[l], in->size);
    }
  }
}

/* Lanes that store to one address at once: which of them is last is not defined, so their values must be the same. */
static int lanes_agree(SimWarp *w, const SimInstr *in, uint32_t mask, char *const *p, const uint64_t *addr, const char *space) {
  for (int i = 0; i < in->n; i++) {
    const char *s = (const char *)SLOT(i + 1);
    uint32_t width = in->size == 8 || in->flags & SIM_I_WIDE ? 8 : 4;
    ACTIVE(l, mask) {
      if (memcmp(p[l] + in->size * i, s + width * l, in->size) == 0) continue;
      uint32_t differ = 0; /* or it was a store of another host core, which is not theirs */
      ACTIVE(j, mask) differ |= p[j] == p[l] && memcmp(s + width * j, s + width * l, in->size) != 0;
      if (!differ) continue;
      return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "race", space, addr[l] + (uint64_t)(in->size * i),
                       "and another lane of the instruction store different values to one address");
    }
  }
  return STEP_NEXT;
}

/* ---- global ---- */

/* Where the active lanes' pieces lie: a pointer per lane. False: faulted. */
/* Bytes that are written are marked, those that are read must have been written. */
static bool resolve_written(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr, uint32_t bytes, bool write) {
  SimAlloc *a = w->cache[in->mem];
  ACTIVE(l, mask) {
    uint64_t bad;
    if (addr[l] < a->base || addr[l] - a->base >= a->bytes) a = sim_memory_find(&w->cta->launch->dev->memory, addr[l]);
    if (atomic_load_explicit(&a->all_init, memory_order_relaxed)) continue;
    if (write) sim_memory_mark(a, addr[l], bytes);
    else if (!sim_memory_written(a, addr[l], bytes, &bad))
      return sim_fault(w, in, (int)l, DRV_LAUNCH_FAILED, "uninitialised", "global", bad,
                       "reads global memory that nobody has written (byte %llu of allocation %llu)",
                       (unsigned long long)(bad - a->base), (unsigned long long)a->serial), false;
  }
  return true;
}

typedef struct Stretch { SimAlloc *a; uint64_t at, end; } Stretch; /* neighbouring pieces of lanes, judged together */

static bool judge_stretch(SimWarp *w, const SimInstr *in, const Stretch *s, bool write) { /* false: faulted */
  return s->end == s->at || !sim_race_range(w, in, s->a, s->at - s->a->base, s->end - s->at, write, RACE_ORDINARY);
}

static bool resolve_global(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr, uint32_t bytes, SimAccess how, char **p) {
  const char *verb = how == ACCESS_STORE ? "writes" : how == ACCESS_LOAD ? "reads" : "updates";
  SimAlloc *a = w->cache[in->mem];
  Stretch s = {0};
  ACTIVE(l, mask) {
    if (!a || a->freed || addr[l] < a->base || addr[l] - a->base > a->bytes || a->bytes - (addr[l] - a->base) < bytes) {
      a = sim_memory_range(&w->cta->launch->dev->memory, addr[l], bytes);
      if (!a) return sim_fault_global(w, in, (int)l, addr[l], bytes, verb), false;
      w->cache[in->mem] = a;
    }
    if (addr[l] & (bytes - 1))
      return sim_fault(w, in, (int)l, DRV_MISALIGNED_ADDRESS, "misaligned", "global", addr[l],
                       "%s %u bytes at an address that is no multiple of %u", verb, bytes, bytes), false;
    p[l] = a->host + (addr[l] - a->base);
    if (!w->checks) continue;
    if (a == s.a && addr[l] >= s.at && addr[l] <= s.end) {
      if (addr[l] + bytes > s.end) s.end = addr[l] + bytes;
    } else {
      if (!judge_stretch(w, in, &s, how != ACCESS_LOAD)) return false;
      s = (Stretch){a, addr[l], addr[l] + bytes};
    }
  }
  if (!w->checks) return true;
  return judge_stretch(w, in, &s, how != ACCESS_LOAD) && resolve_written(w, in, mask, addr, bytes, how == ACCESS_STORE);
}
/* Block path: all lanes adjacent and inside the allocation met last. NULL: take the other path. */
static inline char *block_global(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr, uint32_t bytes, bool write, SimAlloc **alloc) {
  if (mask != SIM_FULL || !fits_block(in) || !adjacent(addr, bytes)) return NULL;
  SimAlloc *a = w->cache[in->mem];
  uint64_t at = addr[0], total = (uint64_t)bytes * SIM_LANES;
  if (!a || a->freed || at < a->base || at - a->base > a->bytes || a->bytes - (at - a->base) < total || (at & (bytes - 1))) return NULL;
  if (w->checks && !atomic_load_explicit(&a->all_init, memory_order_relaxed)) {
    uint64_t bad;
    if (write) sim_memory_mark(a, at, total);
    else if (!sim_memory_written(a, at, total, &bad)) return NULL; /* the other path names the lane */
  }
  *alloc = a;
  return a->host + (at - a->base);
}

static int load_global(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  uint32_t bytes = (uint32_t)in->n * in->size;
  char *p[SIM_LANES], *block;
  SimAlloc *a;
  if ((block = block_global(w, in, mask, addr, bytes, false, &a))) {
    if (w->checks && sim_race_range(w, in, a, addr[0] - a->base, bytes * SIM_LANES, false, RACE_ORDINARY)) return STEP_YIELD;
    load_block(w, in, block);
    return STEP_NEXT;
  }
  if (!resolve_global(w, in, mask, addr, bytes, ACCESS_LOAD, p)) return STEP_YIELD;
  load_lanes(w, in, mask, (const char *const *)p);
  return STEP_NEXT;
}

static int store_global(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  w->spin.acted = true;
  uint32_t bytes = (uint32_t)in->n * in->size;
  char *p[SIM_LANES], *block;
  SimAlloc *a;
  if ((block = block_global(w, in, mask, addr, bytes, true, &a))) {
    if (w->checks && sim_race_range(w, in, a, addr[0] - a->base, bytes * SIM_LANES, true, RACE_ORDINARY)) return STEP_YIELD;
    store_block(w, in, block);
    return STEP_NEXT;
  }
  if (!resolve_global(w, in, mask, addr, bytes, ACCESS_STORE, p)) return STEP_YIELD;
  store_lanes(w, in, mask, p);
  return w->checks ? lanes_agree(w, in, mask, p, addr, "global") : STEP_NEXT;
}

HANDLER(ld_global) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, in->n, false, in->imm, addr);
  return load_global(w, in, mask, addr);
}
HANDLER(st_global) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, 0, false, in->imm, addr);
  return store_global(w, in, mask, addr);
}

/* ---- shared: the shadow holds a cell per 1 << shift bytes (the narrowest access of the kernel) ---- */

/* Cells of one access, four at a time where there are four. A cell is bad if it is unwritten (to a reader), in flight, or written by another
 * warp since that warp's last release to this one. What the own warp has done since its lanes were joined last is looked at lane by lane. */
typedef uint32_t ALIAS __attribute__((vector_size(16), aligned(4))) Cells;
#define BAD_WRITER(v, limit, me)                                                                                       \
  (((v) & (SIM_CELL_PENDING | SIM_CELL_ENGINE)) | ((Cells)((v) >> SIM_CELL_TIME > (limit)) & (Cells)(((v) & SIM_CELL_AGENT) != (me))))
#define BAD_WRITER1(v, limit, me)                                                                                      \
  (((v) & (SIM_CELL_PENDING | SIM_CELL_ENGINE)) | ((uint32_t)((v) >> SIM_CELL_TIME > (limit)) & (uint32_t)(((v) & SIM_CELL_AGENT) != (me))))
#define OWN_WRITER(v, joined, me) ((Cells)((v) >> SIM_CELL_TIME > (joined)) & (Cells)(((v) & SIM_CELL_AGENT) == (me)))
#define OWN_WRITER1(v, joined, me) ((uint32_t)((v) >> SIM_CELL_TIME > (joined)) & (uint32_t)(((v) & SIM_CELL_AGENT) == (me)))
static inline uint32_t any_cell(Cells v) { return v[0] | v[1] | v[2] | v[3]; }

/* The cells of an access, and whose they are: cell i of lane code + (i >> shift). */
typedef struct Piece { uint32_t first, n, code, shift, joined; } Piece;
enum { NO_SHIFT = 31 };

static inline Piece piece_of(const SimWarp *w, uint32_t addr, uint32_t bytes, int lane) { /* lane -1: adjacent ones of all lanes */
  uint32_t n = bytes >> w->shift;
  return (Piece){(addr - w->shared_first) >> w->shift, n, lane < 0 ? 0 : (uint32_t)lane, lane < 0 ? (uint32_t)__builtin_ctz(n / SIM_LANES) : NO_SHIFT,
                 w->hb[w->agent]};
}
static inline uint32_t code_at(const Piece *p, uint32_t i) { return p->code + (i >> p->shift); }

/* A read of each cell is noted; several lanes' reads since they were joined become SIM_LANE_MANY's. */
static inline uint32_t note_read(uint32_t old, uint32_t now, uint32_t code, uint32_t seen) {
  if (old >= SIM_FLIGHT) return old;
  return now | (old > seen && SIM_READ_LANE(old) != code ? SIM_LANE_MANY : code) << 1;
}

static inline uint32_t read_cells(SimWarp *w, const Piece *p, uint32_t n, uint32_t now, bool *own) {
  const uint32_t *wr = w->wr + p->first;
  uint32_t *rd = w->rd + p->first, limit = w->min_hb, me = w->agent, joined = p->joined, seen = SIM_READ_SEEN(joined), i = 0, rest = 0, mine1 = 0;
  bool together = p->code == SIM_LANE_MANY && !w->flights; /* whoever has read it before, it is many now */
  Cells bad = {0}, mine = {0};
  for (; i + 4 <= n; i += 4) {
    Cells v = *(const Cells *)(wr + i);
    bad |= (Cells)(v == 0) | BAD_WRITER(v, limit, me);
    mine |= OWN_WRITER(v, joined, me);
    if (together) {
      *(Cells *)(rd + i) = (Cells){0} + (now | SIM_LANE_MANY << 1);
      continue;
    }
    Cells old = *(const Cells *)(rd + i), at = {i, i + 1, i + 2, i + 3}, code = p->code + (at >> p->shift);
    Cells many = (Cells)(old > seen) & (Cells)((old >> 1 & 63) != code), flies = (Cells)(old >= SIM_FLIGHT);
    Cells read = now | ((code & ~many) | (SIM_LANE_MANY & many)) << 1;
    *(Cells *)(rd + i) = (read & ~flies) | (old & flies);
  }
  for (; i < n; i++) {
    rest |= (uint32_t)(wr[i] == 0) | BAD_WRITER1(wr[i], limit, me);
    mine1 |= OWN_WRITER1(wr[i], joined, me);
    rd[i] = note_read(rd[i], now, code_at(p, i), seen);
  }
  *own = any_cell(mine) | mine1;
  return any_cell(bad) | rest;
}

/* Has another lane of the warp written a cell since they were joined? */
static inline bool lanes_differ(const SimWarp *w, const Piece *p, uint32_t i) {
  uint32_t v = w->wr[p->first + i], lane = w->wl[p->first + i];
  return OWN_WRITER1(v, p->joined, w->agent) && lane != code_at(p, i) && lane != SIM_LANE_WARP;
}

static int judge_reads(SimWarp *w, const SimInstr *in, const Piece *p, int lane, bool bad) {
  for (uint32_t i = 0; i < p->n && !bad; i++) bad = lanes_differ(w, p, i);
  for (uint32_t i = 0; i < p->n && bad; i++) {
    uint32_t code = code_at(p, i);
    if (sim_shadow_read_slow(w, in, p->first + i, lane < 0 ? (int)code : lane, code)) return STEP_YIELD;
  }
  return STEP_NEXT;
}

static inline int shadow_read_piece(SimWarp *w, const SimInstr *in, const Piece *p, int lane) {
  uint32_t time = w->cta->group->time, now = time << 7 | (in->sem != SEM_WEAK);
  bool own;
  uint32_t bad = p->n == 4 ? read_cells(w, p, 4, now, &own) : read_cells(w, p, p->n, now, &own);
  w->cta->last_read[w->index] = time;
  w->dirty |= p->shift == NO_SHIFT && p->code < SIM_LANES ? lane_bit[p->code] : SIM_FULL;
  return __builtin_expect(bad == 0 && !own, 1) ? STEP_NEXT : judge_reads(w, in, p, lane, bad != 0);
}

static inline int shadow_read(SimWarp *w, const SimInstr *in, uint32_t addr, uint32_t bytes, int lane) {
  Piece p = piece_of(w, addr, bytes, lane);
  return shadow_read_piece(w, in, &p, lane);
}

/* Matrices: the warp reads and writes them together. */
static inline int shadow_read_together(SimWarp *w, const SimInstr *in, uint32_t addr, uint32_t bytes, int lane) {
  Piece p = piece_of(w, addr, bytes, lane);
  p.code = SIM_LANE_MANY;
  return shadow_read_piece(w, in, &p, lane);
}

/* The warps whose latest reads are not all known to have happened before: only their cells need a look; and what the instruction has
 * written so far (mask of lanes at addr): two lanes may store the same to one place. */
typedef struct Readers {
  uint32_t n, seen[SIM_MAX_WARPS];
  const uint32_t *rd[SIM_MAX_WARPS];
  bool own;                 /* the own warp has read something since its lanes were joined */
  const uint32_t *far;      /* other CTAs have, and not all of that is known to be over; NULL: no */
  const uint64_t *addr;
  uint32_t mask, bytes;
} Readers;

static inline void find_readers(SimWarp *w, Readers *r) {
  const SimCta *cta = w->cta;
  r->n = 0;
  r->addr = NULL;
  r->mask = 0;
  for (uint32_t i = 0, first = cta->rank * cta->nwarps; i < cta->nwarps; i++) {
    uint32_t known = w->hb[first + i];
    if (i == w->index ? !w->flights : cta->last_read[i] <= known) continue; /* of its own reads those in flight */
    r->seen[r->n] = i == w->index ? SIM_FLIGHT - 1 : SIM_READ_SEEN(known);
    r->rd[r->n++] = cta->rd + i * cta->cells;
  }
  r->own = cta->last_read[w->index] > w->hb[w->agent];
  r->far = cta->last_far > w->min_hb ? cta->far : NULL;
}

static inline uint32_t write_cells(SimWarp *w, const Piece *p, uint32_t n, uint32_t now, const Readers *r, bool *own) {
  uint32_t *wr = w->wr + p->first, limit = w->min_hb, me = w->agent, joined = p->joined, c = p->first, i = 0, rest = 0, mine1 = 0;
  const uint32_t *read = r->own ? w->rd + p->first : NULL;
  Cells bad = {0}, mine = {0};
  for (; i + 4 <= n; i += 4) {
    Cells v = *(Cells *)(wr + i);
    bad |= BAD_WRITER(v, limit, me);
    mine |= OWN_WRITER(v, joined, me);
    if (read) mine |= (Cells)(*(const Cells *)(read + i) > SIM_READ_SEEN(joined));
    for (uint32_t k = 0; k < r->n; k++) bad |= (Cells)(*(const Cells *)(r->rd[k] + c + i) > r->seen[k]);
  }
  for (uint32_t j = i; j < n; j++) {
    rest |= BAD_WRITER1(wr[j], limit, me);
    mine1 |= OWN_WRITER1(wr[j], joined, me) | (read ? (uint32_t)(read[j] > SIM_READ_SEEN(joined)) : 0);
    for (uint32_t k = 0; k < r->n; k++) rest |= (uint32_t)(r->rd[k][c + j] > r->seen[k]);
  }
  for (uint32_t j = 0; r->far && j < n; j++) rest |= (uint32_t)(r->far[c + j] >> SIM_CELL_TIME > limit);
  *own = any_cell(mine) | mine1;
  if (__builtin_expect((any_cell(bad) | rest | *own) != 0, 0)) return any_cell(bad) | rest;
  for (i = 0; i + 4 <= n; i += 4) *(Cells *)(wr + i) = (Cells){now, now, now, now};
  for (; i < n; i++) wr[i] = now;
  return 0;
}

static inline void note_writers(SimWarp *w, const Piece *p) {
  uint8_t *wl = w->wl + p->first;
  uint32_t i = 0, four = p->code * 0x01010101u;
  if (p->shift != NO_SHIFT)
    for (; i < p->n; i++) wl[i] = (uint8_t)(i >> p->shift);
  for (; i + 4 <= p->n; i += 4) memcpy(wl + i, &four, 4);
  for (; i < p->n; i++) wl[i] = (uint8_t)p->code;
}

/* A lower lane of this instruction has written the cell just now. */
static inline bool written_together(const SimWarp *w, const Readers *r, uint32_t cell) {
  uint32_t at = w->shared_first + (cell << w->shift);
  if (!r->addr) return false;
  ACTIVE(l, r->mask) if (at >= (uint32_t)r->addr[l] && at < (uint32_t)r->addr[l] + r->bytes) return true;
  return false;
}

static int judge_writes(SimWarp *w, const SimInstr *in, const Piece *p, int lane, uint32_t flags, uint32_t now, const Readers *r, bool bad) {
  const uint32_t *rd = w->rd + p->first;
  for (uint32_t i = 0; i < p->n && !bad; i++) {
    uint32_t other = SIM_READ_LANE(rd[i]);
    bad = lanes_differ(w, p, i) || (rd[i] > SIM_READ_SEEN(p->joined) && other != code_at(p, i) && other != SIM_LANE_WARP);
  }
  for (uint32_t i = 0; i < p->n; i++) {
    uint32_t code = code_at(p, i), cell = p->first + i;
    bool together = bad && written_together(w, r, cell);
    if (bad && !together && sim_shadow_write_slow(w, in, cell, lane < 0 ? (int)code : lane, code, flags)) return STEP_YIELD;
    w->wr[cell] = now;
    w->wl[cell] = (uint8_t)(together ? SIM_LANE_MANY : code);
  }
  return STEP_NEXT;
}

static inline int shadow_write_piece(SimWarp *w, const SimInstr *in, const Piece *p, int lane, uint32_t flags, const Readers *r) {
  uint32_t now = w->cta->group->time << SIM_CELL_TIME | flags | w->agent;
  bool own;
  uint32_t bad = p->n == 4 ? write_cells(w, p, 4, now, r, &own) : write_cells(w, p, p->n, now, r, &own);
  w->dirty |= p->shift == NO_SHIFT && p->code < SIM_LANES ? lane_bit[p->code] : SIM_FULL;
  if (__builtin_expect(bad || own, 0)) return judge_writes(w, in, p, lane, flags, now, r, bad != 0);
  note_writers(w, p);
  return STEP_NEXT;
}

static inline int shadow_write(SimWarp *w, const SimInstr *in, uint32_t addr, uint32_t bytes, int lane, uint32_t flags, const Readers *r) {
  Piece p = piece_of(w, addr, bytes, lane);
  return shadow_write_piece(w, in, &p, lane, flags, r);
}

static inline int shadow_write_together(SimWarp *w, const SimInstr *in, uint32_t addr, uint32_t bytes, int lane, const Readers *r) {
  Piece p = piece_of(w, addr, bytes, lane);
  p.code = SIM_LANE_MANY;
  return shadow_write_piece(w, in, &p, lane, 0, r);
}

static int fault_shared(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr, uint32_t bytes, const char *verb) {
  ACTIVE(l, mask) {
    if (addr[l] < w->shared_first || addr[l] > w->shared_end || w->shared_end - addr[l] < bytes)
      return sim_fault(w, in, (int)l, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", addr[l],
                       "%s %u bytes at shared address %llu; the block has %u to %u", verb, bytes, (unsigned long long)addr[l],
                       w->shared_first, w->shared_end);
    if (addr[l] & (bytes - 1))
      return sim_fault(w, in, (int)l, DRV_MISALIGNED_ADDRESS, "misaligned", "shared", addr[l],
                       "%s %u bytes at an address that is no multiple of %u", verb, bytes, bytes);
  }
  return STEP_NEXT;
}

static inline bool shared_bad(SimWarp *w, uint32_t mask, const uint64_t *addr, uint32_t bytes) {
  uint64_t bad = 0, first = w->shared_first, room = (uint64_t)w->shared_end - first;
  if (room < bytes) return true;
  room -= bytes;
  LANES {
    uint64_t wrong = (uint64_t)(addr[l] - first > room) | (addr[l] & (bytes - 1));
    bad |= (mask & lane_bit[l]) ? wrong : 0;
  }
  return bad != 0;
}

static int load_shared(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  uint32_t bytes = (uint32_t)in->n * in->size;
  if (shared_bad(w, mask, addr, bytes)) return fault_shared(w, in, mask, addr, bytes, "reads");
  if (mask == SIM_FULL && fits_block(in) && adjacent(addr, bytes)) {
    if (w->checks && shadow_read(w, in, (uint32_t)addr[0], bytes * SIM_LANES, -1) != STEP_NEXT) return STEP_YIELD;
    load_block(w, in, w->shared + addr[0]);
    return STEP_NEXT;
  }
  const char *p[SIM_LANES];
  ACTIVE(l, mask) {
    if (w->checks && shadow_read(w, in, (uint32_t)addr[l], bytes, (int)l) != STEP_NEXT) return STEP_YIELD;
    p[l] = w->shared + addr[l];
  }
  load_lanes(w, in, mask, p);
  return STEP_NEXT;
}

static int store_shared(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  w->spin.acted = true;
  uint32_t bytes = (uint32_t)in->n * in->size;
  if (shared_bad(w, mask, addr, bytes)) return fault_shared(w, in, mask, addr, bytes, "writes");
  Readers readers = {0};
  if (w->checks) find_readers(w, &readers);
  if (mask == SIM_FULL && fits_block(in) && adjacent(addr, bytes)) {
    if (w->checks && shadow_write(w, in, (uint32_t)addr[0], bytes * SIM_LANES, -1, 0, &readers) != STEP_NEXT) return STEP_YIELD;
    store_block(w, in, w->shared + addr[0]);
    return STEP_NEXT;
  }
  char *p[SIM_LANES];
  readers.addr = addr;
  readers.bytes = bytes;
  ACTIVE(l, mask) {
    if (w->checks && shadow_write(w, in, (uint32_t)addr[l], bytes, (int)l, 0, &readers) != STEP_NEXT) return STEP_YIELD;
    readers.mask |= lane_bit[l];
    p[l] = w->shared + addr[l];
  }
  store_lanes(w, in, mask, p);
  return w->checks ? lanes_agree(w, in, mask, p, addr, "shared") : STEP_NEXT;
}

HANDLER(ld_shared) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, in->n, in->flags & SIM_I_ADDR32, in->imm, addr);
  return load_shared(w, in, mask, addr);
}
HANDLER(st_shared) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, 0, in->flags & SIM_I_ADDR32, in->imm, addr);
  return store_shared(w, in, mask, addr);
}

/* ---- parameters and generic addresses ---- */

static int load_param(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  uint32_t bytes = (uint32_t)in->n * in->size, size = w->cta->launch->fn->param_bytes;
  const char *p[SIM_LANES];
  ACTIVE(l, mask) {
    uint64_t at = addr[l] & SIM_WINDOW_MASK;
    if (at > size || size - at < bytes)
      return sim_fault(w, in, (int)l, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "param", at, "reads %u bytes at parameter offset %llu of %u",
                       bytes, (unsigned long long)at, size);
    p[l] = (const char *)w->cta->launch->params + at;
  }
  load_lanes(w, in, mask, p);
  return STEP_NEXT;
}

/* ---- local memory: each lane's own ---- */

static bool resolve_local(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr, uint32_t bytes, const char *verb, char **p) {
  ACTIVE(l, mask) {
    p[l] = sim_frame_local(w, addr[l], l, bytes);
    if (!p[l])
      return sim_fault(w, in, (int)l, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "local", addr[l], "%s %u bytes outside of the thread's live arrays",
                       verb, bytes), false;
    if (addr[l] & (bytes - 1))
      return sim_fault(w, in, (int)l, DRV_MISALIGNED_ADDRESS, "misaligned", "local", addr[l],
                       "%s %u bytes at an address that is no multiple of %u", verb, bytes, bytes), false;
  }
  return true;
}

static int load_local(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  char *p[SIM_LANES];
  if (!resolve_local(w, in, mask, addr, (uint32_t)in->n * in->size, "reads", p)) return STEP_YIELD;
  load_lanes(w, in, mask, (const char *const *)p);
  return STEP_NEXT;
}

static int store_local(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *addr) {
  char *p[SIM_LANES];
  if (!resolve_local(w, in, mask, addr, (uint32_t)in->n * in->size, "writes", p)) return STEP_YIELD;
  store_lanes(w, in, mask, p);
  return STEP_NEXT;
}

HANDLER(ld_local) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, in->n, in->flags & SIM_I_ADDR32, in->imm, addr);
  return load_local(w, in, mask, addr);
}
HANDLER(st_local) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, 0, in->flags & SIM_I_ADDR32, in->imm, addr);
  return store_local(w, in, mask, addr);
}

HANDLER(ld_param) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64)));
  read_addresses(w, in, in->n, in->flags & SIM_I_ADDR32, in->imm, addr);
  return load_param(w, in, mask, addr);
}

/* The lanes whose generic address lies in a window; their addresses become those of the state space. */
static uint32_t in_window(uint32_t mask, const uint64_t *addr, uint64_t base, uint64_t *local) {
  uint32_t m = 0;
  ACTIVE(l, mask) {
    if ((addr[l] & ~SIM_WINDOW_MASK) != base) continue;
    m |= lane_bit[l];
    local[l] = addr[l] & SIM_WINDOW_MASK;
  }
  return m;
}

/* Lanes whose shared address names a CTA of the cluster (engine.h): hopper.h. */
static inline uint32_t far_lanes(uint32_t mask, const uint64_t *local) {
  uint32_t far = 0;
  ACTIVE(l, mask) far |= local[l] >> SIM_RANK_SHIFT ? lane_bit[l] : 0;
  return far;
}
static bool far_pieces(SimWarp *w, const SimInstr *in, uint32_t mask, const uint64_t *local, uint32_t bytes, SimAccess how, char **p);

HANDLER(ld_generic) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64))), local[SIM_LANES] __attribute__((aligned(64))) = {0};
  read_addresses(w, in, in->n, false, in->imm, addr);
  uint32_t shared = in_window(mask, addr, SIM_SHARED_BASE, local), far = far_lanes(shared, local);
  if (far) {
    char *p[SIM_LANES];
    if (!far_pieces(w, in, far, local, (uint32_t)in->n * in->size, ACCESS_LOAD, p)) return STEP_YIELD;
    load_lanes(w, in, far, (const char *const *)p);
  }
  if (shared & ~far && load_shared(w, in, shared & ~far, local) != STEP_NEXT) return STEP_YIELD;
  uint32_t param = in_window(mask, addr, SIM_PARAM_BASE, local);
  if (param && load_param(w, in, param, local) != STEP_NEXT) return STEP_YIELD;
  uint32_t stack = in_window(mask, addr, SIM_LOCAL_BASE, local);
  if (stack && load_local(w, in, stack, local) != STEP_NEXT) return STEP_YIELD;
  uint32_t rest = mask & ~shared & ~param & ~stack;
  return rest ? load_global(w, in, rest, addr) : STEP_NEXT;
}
HANDLER(st_generic) {
  uint64_t addr[SIM_LANES] __attribute__((aligned(64))), local[SIM_LANES] __attribute__((aligned(64))) = {0};
  read_addresses(w, in, 0, false, in->imm, addr);
  uint32_t shared = in_window(mask, addr, SIM_SHARED_BASE, local), far = far_lanes(shared, local);
  if (far) {
    char *p[SIM_LANES];
    if (!far_pieces(w, in, far, local, (uint32_t)in->n * in->size, ACCESS_STORE, p)) return STEP_YIELD;
    store_lanes(w, in, far, p);
  }
  if (shared & ~far && store_shared(w, in, shared & ~far, local) != STEP_NEXT) return STEP_YIELD;
  uint32_t stack = in_window(mask, addr, SIM_LOCAL_BASE, local), rest = mask & ~shared & ~stack;
  if (stack && store_local(w, in, stack, local) != STEP_NEXT) return STEP_YIELD;
  return rest ? store_global(w, in, rest, addr) : STEP_NEXT;
}

HANDLER(prefetch) {
  (void)w, (void)in, (void)mask;
  return STEP_NEXT;
}

/* ---- atomics: lane after lane, each by the host's compare-and-swap, as CTAs run on several host cores ---- */

enum { ATOM_ADD, ATOM_MIN, ATOM_MAX, ATOM_AND, ATOM_OR, ATOM_XOR, ATOM_EXCH, ATOM_INC, ATOM_DEC, ATOM_CAS };
enum { ATOM_U32, ATOM_S32, ATOM_U64, ATOM_S64, ATOM_F32, ATOM_F64, ATOM_F16X2, ATOM_BF16X2, ATOM_F16, ATOM_BF16, ATOM_B16 };
#define ATOM_OP(in) ((in)->sub & 15)
#define ATOM_TYPE(in) ((in)->sub >> 4 & 15)
#define ATOM_RETURNS(in) ((in)->sub >> 8 & 1)
#define ATOM_ORDER(x, y, op) ((op) == ATOM_MIN ? ((x) < (y) ? (x) : (y)) : (x) > (y) ? (x) : (y))

static uint32_t atom_half(int op, bool bf, uint32_t a, uint32_t b) { /* the smaller or larger of 16 bits */
  float x = bf ? f32_of_bf16(a & 0xffff) : f32_of_f16(a & 0xffff), y = bf ? f32_of_bf16(b & 0xffff) : f32_of_f16(b & 0xffff);
  float r = op == ATOM_MIN ? smaller(x, y) : larger(x, y);
  return bf ? bf16_of_f32(r) : f16_of_f32(r);
}

static uint64_t atom_apply(int op, int type, uint64_t old, uint64_t b, uint64_t c, bool flush) {
  uint32_t o = (uint32_t)old, v = (uint32_t)b;
  switch (op) {
  case ATOM_EXCH: return b;
  case ATOM_CAS: return old == b ? c : old;
  case ATOM_AND: return old & b;
  case ATOM_OR: return old | b;
  case ATOM_XOR: return old ^ b;
  case ATOM_INC: return o >= v ? 0 : o + 1;
  case ATOM_DEC: return o == 0 || o > v ? v : o - 1;
  case ATOM_ADD:
    if (type == ATOM_F32) {
      float r = flush ? ftz(ftz(f32_of(o)) + ftz(f32_of(v))) : f32_of(o) + f32_of(v);
      return bits_of(canon(r));
    }
    if (type == ATOM_F64) return bits_of64(canon64(f64_of(old) + f64_of(b)));
    if (type == ATOM_F16X2) return half_add_f16x2(o, v, 0) | half_add_f16x2(o, v, 1) << 16;
    if (type == ATOM_F16) return half_add_f16x2(o, v, 0);
    if (type == ATOM_BF16) return half_add_bf16x2(o, v, 0);
    if (type == ATOM_BF16X2) return half_add_bf16x2(o, v, 0) | half_add_bf16x2(o, v, 1) << 16;
    return type == ATOM_U64 || type == ATOM_S64 ? old + b : (uint32_t)(o + v);
  default:
    if (type == ATOM_F16 || type == ATOM_BF16) return atom_half(op, type == ATOM_BF16, o, v);
    if (type == ATOM_F16X2 || type == ATOM_BF16X2)
      return atom_half(op, type == ATOM_BF16X2, o, v) | (uint64_t)atom_half(op, type == ATOM_BF16X2, o >> 16, v >> 16) << 16;
    if (type == ATOM_S32) return (uint32_t)ATOM_ORDER((int32_t)o, (int32_t)v, op);
    if (type == ATOM_U32) return ATOM_ORDER(o, v, op);
    if (type == ATOM_S64) return (uint64_t)ATOM_ORDER((int64_t)old, (int64_t)b, op);
    return ATOM_ORDER(old, b, op);
  }
}

static uint64_t atom_lane(char *p, const SimInstr *in, uint64_t b, uint64_t c, bool flush) {
  int op = ATOM_OP(in), type = ATOM_TYPE(in);
  if (in->size == 8) {
    L64 *q = (L64 *)p;
    uint64_t old = __atomic_load_n(q, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(q, &old, atom_apply(op, type, old, b, c, flush), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    }
    return old;
  }
  if (in->size == 2) {
    L16 *q = (L16 *)p, old = __atomic_load_n(q, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(q, &old, (uint16_t)atom_apply(op, type, old, b & 0xffff, c & 0xffff, flush), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
    }
    return old;
  }
  L32 *q = (L32 *)p;
  uint32_t old = __atomic_load_n(q, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(q, &old, (uint32_t)atom_apply(op, type, old, b, c, flush), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
  return old;
}

HANDLER(isspacep) { /* p address; space; constants lie in global memory and are told apart by their allocation */
  const L64 *a = R64(1);
  uint32_t v = 0;
  ACTIVE(l, mask) {
    uint64_t window = a[l] & ~SIM_WINDOW_MASK;
    SimSpace is = window == SIM_SHARED_BASE ? SPACE_SHARED : window == SIM_LOCAL_BASE ? SPACE_LOCAL : window == SIM_PARAM_BASE ? SPACE_PARAM
                                                                                                                           : SPACE_GLOBAL;
    if (is == SPACE_GLOBAL) {
      const SimAlloc *alloc = sim_memory_find(&w->cta->launch->dev->memory, a[l]);
      if (alloc && alloc->constant) is = SPACE_CONST;
    }
    v |= is == in->space ? lane_bit[l] : 0;
  }
  return set_pred(&PRED(0), v, mask);
}
