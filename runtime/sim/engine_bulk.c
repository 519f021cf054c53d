/* engine_bulk.c - bulk copies: a run of bytes, or a box of a tensor, between global memory and the shared memory of the cluster. PTX ISA, Data
 * Movement: Non-tensor and tensor copy instructions.
 *
 * A copy is judged when it is issued: bounds, alignment, who has read and written its shared memory. Its data moves at once (eager), when
 * nobody can go on without it (lazy), or at random moments; a store also when its group is waited for. */
#include "engine.h"
#include <string.h>

#define KIND(b) ((b)->sub & BULK_KIND)
#define IS_TENSOR(b) (((b)->sub & BULK_TENSOR) != 0)
#define IS_STORE(b) (KIND(b) == BULK_STORE || KIND(b) == BULK_REDUCE)
#define FAULT(b, code, kind, space, address, ...) \
  sim_fault((b)->warp, (b)->in, (b)->lane, code, kind, space, address, __VA_ARGS__)

/* ---- rows: a box is several, a run of bytes is one ---- */

typedef struct Rows { const SimBulk *b; SimMapWalk walk; bool done; } Rows;

static Rows rows_of(const SimBulk *b) {
  Rows r = {.b = b};
  if (IS_TENSOR(b)) r.walk = sim_map_walk(&b->map, b->at);
  return r;
}

static bool next_row(Rows *r, SimMapRow *row) {
  if (IS_TENSOR(r->b)) return sim_map_next(&r->walk, row);
  *row = (SimMapRow){0, r->b->bytes, 0, r->b->bytes, r->b->global};
  return r->done ? false : (r->done = true);
}

static uint32_t width_of(const SimBulk *b) { return IS_TENSOR(b) ? sim_map_swizzle_bytes(&b->map) : 0; }

/* The shared memory of a copy: a swizzle moves bytes within its width. */
static SimArea area_of(const SimBulk *b, SimCta *c) {
  uint32_t width = width_of(b), from = b->shared, to = b->shared + b->bytes;
  if (width) from = from / width * width, to = (to + width - 1) / width * width;
  return (SimArea){c, from, to - from};
}

static char *shared_of(const SimCta *c) { return c->warp[0].shared; } /* minus its first address */

/* Bytes of a row to or from shared memory, where the swizzle puts them. */
static void put_row(const SimBulk *b, char *shared, uint32_t offset, const char *from, uint32_t bytes) {
  uint32_t width = width_of(b), at = b->shared + offset;
  if (!width) {
    memcpy(shared + at, from, bytes);
    return;
  }
  for (uint32_t i = 0; i < bytes; i += 16) memcpy(shared + sim_swizzle(at + i, width), from + i, 16);
}

static void get_row(const SimBulk *b, const char *shared, uint32_t offset, char *to, uint32_t bytes) {
  uint32_t width = width_of(b), at = b->shared + offset;
  if (!width) {
    memcpy(to, shared + at, bytes);
    return;
  }
  for (uint32_t i = 0; i < bytes; i += 16) memcpy(to + i, shared + sim_swizzle(at + i, width), 16);
}

static char *global_bytes(const SimBulk *b, const SimMapRow *row) {
  SimAlloc *a = sim_memory_range(&b->warp->cta->launch->dev->memory, row->address, row->inside);
  return a ? a->host + (row->address - a->base) : NULL;
}

/* ---- what it writes over or reads, when it is issued ---- */

static bool check_global(const SimBulk *b, bool write) {
  SimMemory *m = &b->warp->cta->launch->dev->memory;
  Rows rows = rows_of(b);
  for (SimMapRow row; next_row(&rows, &row);) {
    if (!row.inside) continue;
    SimAlloc *a = sim_memory_range(m, row.address, row.inside);
    uint64_t bad;
    if (!a) return sim_fault_global(b->warp, b->in, b->lane, row.address, row.inside, write ? "copies to" : "copies from"), false;
    if (b->warp->checks && sim_race_range(b->warp, b->in, a, row.address - a->base, row.inside, write, RACE_STARTED)) return false;
    if (!b->warp->checks || atomic_load_explicit(&a->all_init, memory_order_relaxed)) continue;
    if (write && KIND(b) == BULK_STORE) sim_memory_mark(a, row.address, row.inside);
    else if (!sim_memory_written(a, row.address, row.inside, &bad))
      return FAULT(b, DRV_LAUNCH_FAILED, "uninitialised", "global", bad, "copies from global memory that nobody has written"), false;
  }
  return true;
}

/* Its thread has waited for the store: from now on what it hands on includes the write. */
static void wrote_global(const SimBulk *b) {
  Rows rows = rows_of(b);
  for (SimMapRow row; b->warp->checks && next_row(&rows, &row);) {
    SimAlloc *a = row.inside ? sim_memory_range(&b->warp->cta->launch->dev->memory, row.address, row.inside) : NULL;
    if (a && sim_race_range(b->warp, b->in, a, row.address - a->base, row.inside, true, RACE_WAITED)) return;
  }
}

static bool check_place(const SimBulk *b, SimCta *c) {
  uint32_t align = IS_TENSOR(b) ? 128 : 16;
  SimArea a = area_of(b, c);
  if (b->shared % align)
    return FAULT(b, DRV_MISALIGNED_ADDRESS, "misaligned", "shared", b->shared, "a bulk copy at shared memory that is no multiple of %u", align), false;
  if (!sim_area_in(&a))
    return FAULT(b, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", b->shared, "a bulk copy of %u bytes; the block has %u to %u", b->bytes,
                 b->warp->shared_first, b->warp->shared_end), false;
  return true;
}

/* What the manual does not say, and an H200 takes for an illegal instruction (measured on loads and prefetches, and on stores and reductions). */
static bool check_start(const SimBulk *b) {
  if ((int64_t)b->at[0] * b->map.size % 16)
    return FAULT(b, DRV_LAUNCH_FAILED, "bulk", "", 0, "a box that starts at innermost coordinate %d, which is no multiple of 16 bytes", b->at[0]), false;
  for (int i = 0; IS_STORE(b) && i < b->map.rank; i++)
    if (b->at[i] < 0) return FAULT(b, DRV_LAUNCH_FAILED, "bulk", "", 0, "a store of a box that starts at coordinate %d of dimension %d", b->at[i], i), false;
  return true;
}

static bool check_sizes(const SimBulk *b) {
  if (IS_TENSOR(b)) return check_start(b);
  if (b->from && b->warp->cta->group->nctas == 1)
    return FAULT(b, DRV_LAUNCH_FAILED, "cluster", "", 0, "a copy between the shared memories of a cluster that has one CTA: an H200 takes none"), false;
  if (!b->bytes || b->bytes % 16)
    return FAULT(b, DRV_LAUNCH_FAILED, "bulk", "", 0, "a bulk copy of %u bytes: it must be a multiple of 16", b->bytes), false;
  if (KIND(b) != BULK_PEER && KIND(b) != BULK_REDUCE_PEER && b->global % 16)
    return FAULT(b, DRV_MISALIGNED_ADDRESS, "misaligned", "global", b->global, "a bulk copy at global memory that is no multiple of 16"), false;
  if (b->from && b->source % 16)
    return FAULT(b, DRV_MISALIGNED_ADDRESS, "misaligned", "shared", b->source, "a bulk copy at shared memory that is no multiple of 16"), false;
  return true;
}

static SimMbar *mbar_of(const SimBulk *b, uint32_t rank) {
  return sim_mbar_signalled(b->warp, b->in, b->lane, b->mbar | (rank + 1) << SIM_RANK_SHIFT);
}

static bool check_loads(SimBulk *b) { /* every destination: its mbarrier, and what lies there */
  SimGroup *g = b->warp->cta->group;
  for (uint32_t m = b->ctas; m; m &= m - 1) {
    uint32_t rank = (uint32_t)__builtin_ctz(m);
    if (rank >= g->nctas)
      return FAULT(b, DRV_LAUNCH_FAILED, "cluster", "", 0, "a copy to the CTA of rank %u: the cluster has %u", rank, g->nctas), false;
    SimCta *c = &g->cta[rank];
    SimMbar *mb = mbar_of(b, rank);
    if (!mb || !check_place(b, c)) return false;
    if (b->warp->checks && !mb->fenced && !sim_knows(b->warp, b->lane, CLOCK_ASYNC, mb->maker->agent, mb->made, (uint32_t)mb->lane))
      return FAULT(b, DRV_LAUNCH_FAILED, "proxy", "shared", mb->address,
                   "a copy signals an mbarrier whose initialisation (ptx line %u) no fence.mbarrier_init and no fence.proxy.async has followed",
                   mb->line), false;
    if (!sim_area_write(b->warp, b->in, b->lane, area_of(b, c), true)) return false;
  }
  for (uint32_t m = b->ctas; m; m &= m - 1) {
    SimCta *c = &g->cta[__builtin_ctz(m)];
    sim_area_written(area_of(b, c), g->time << SIM_CELL_TIME | SIM_CELL_PENDING | mbar_of(b, c->rank)->agent, SIM_LANE_WARP);
  }
  return true;
}

static SimArea source_of(const SimBulk *b) {
  return b->from ? (SimArea){b->from, b->source, b->bytes} : area_of(b, b->warp->cta);
}

static bool check_source(const SimBulk *b) { /* shared memory that the copy reads */
  SimArea a = source_of(b);
  if (!b->from && !check_place(b, a.cta)) return false;
  if (!sim_area_in(&a))
    return FAULT(b, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "shared", a.address, "a bulk copy reads %u bytes; the block has %u to %u", a.bytes,
                 b->warp->shared_first, b->warp->shared_end), false;
  if (!sim_area_read(b->warp, b->in, b->lane, a, true)) return false;
  sim_area_reading(b->warp, a);
  return true;
}

/* ---- reductions, element by element ---- */

static float half_value(uint32_t h, bool bf) {
  uint32_t sign = (h & 0x8000u) << 16, em = h & 0x7fff;
  float f;
  if (bf) {
    uint32_t u = h << 16;
    memcpy(&f, &u, 4);
    return f;
  }
  uint32_t u = em << 13;
  memcpy(&f, &u, 4);
  f *= 0x1p112f;
  memcpy(&u, &f, 4);
  if (em >= 0x7c00) u = 0x7f800000u | (em & 0x3ff) << 13;
  u |= sign;
  memcpy(&f, &u, 4);
  return f;
}

static uint32_t half_bits(float f, bool bf) { /* nearest even; NaN canonical */
  uint32_t u;
  memcpy(&u, &f, 4);
  uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000u) return 0x7fff;
  if (bf) return (u + 0x7fff + (u >> 16 & 1)) >> 16;
  if (a >= 0x477ff000u) return sign | 0x7c00;
  if (a < 0x38800000u) { /* below 2^-14: multiples of 2^-24 */
    float v, scaled;
    memcpy(&v, &a, 4);
    scaled = v + 0.5f;
    memcpy(&u, &scaled, 4);
    return sign | (u - 0x3f000000u);
  }
  return sign | (a + 0xc8000fffu + (a >> 13 & 1)) >> 13;
}

static double real_of(int type, uint64_t bits) {
  uint32_t u = (uint32_t)bits;
  float f;
  double d;
  switch (type) {
  case BULK_F16: return (double)half_value(u & 0xffff, false);
  case BULK_BF16: return (double)half_value(u & 0xffff, true);
  case BULK_F32: memcpy(&f, &u, 4); return (double)f;
  default: memcpy(&d, &bits, 8); return d;
  }
}

/* Of a sum: a format of at least twice the bits and two rounds to the narrower one as the exact sum would (f32 by way of f64, f16 and bf16
 * by way of f32). */
static uint64_t bits_of_real(int type, double v) {
  uint64_t bits = 0;
  float f = (float)v;
  if (type == BULK_F64) memcpy(&bits, &v, 8);
  else if (type == BULK_F32) {
    uint32_t u;
    memcpy(&u, &f, 4);
    bits = v != v ? 0x7fffffffu : u;
  } else {
    bits = half_bits(f, type == BULK_BF16);
  }
  return bits;
}

static uint64_t combine_real(int op, int type, uint64_t old, uint64_t v) {
  double a = real_of(type, old), b = real_of(type, v);
  if (op == BULK_ADD) return bits_of_real(type, a + b);
  if (a != a) return v;
  if (b != b) return old;
  return (op == BULK_MIN ? a < b : a > b) ? old : v;
}

static uint64_t combine(int op, int type, uint64_t old, uint64_t v) {
  uint32_t o = (uint32_t)old, x = (uint32_t)v;
  bool less = type == BULK_S32 ? (int32_t)o < (int32_t)x : type == BULK_S64 ? (int64_t)old < (int64_t)v : old < v;
  switch (op) {
  case BULK_AND: return old & v;
  case BULK_OR: return old | v;
  case BULK_XOR: return old ^ v;
  case BULK_INC: return o >= x ? 0 : o + 1;
  case BULK_DEC: return o == 0 || o > x ? x : o - 1;
  default: break;
  }
  if (type >= BULK_F16) return combine_real(op, type, old, v);
  if (op == BULK_ADD) return type >= BULK_U64 ? old + v : o + x;
  return (op == BULK_MIN) == less ? old : v;
}

static const uint8_t type_bytes[BULK_TYPES] = {4, 4, 8, 8, 2, 2, 4, 8};

/* Atomic per element: groups on other host cores reduce into the same memory. */
static void reduce_element(char *p, int op, int type, const char *from) {
  uint64_t v = 0;
  switch (type_bytes[type]) {
#define REDUCE(T)                                                                                                      \
  {                                                                                                                    \
    T x, old = __atomic_load_n((T *)(void *)p, __ATOMIC_RELAXED);                                                      \
    memcpy(&x, from, sizeof x);                                                                                        \
    v = x;                                                                                                             \
    while (!__atomic_compare_exchange_n((T *)(void *)p, &old, (T)combine(op, type, old, v), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) { \
    }                                                                                                                  \
    break;                                                                                                             \
  }
  case 2: REDUCE(uint16_t)
  case 4: REDUCE(uint32_t)
  default: REDUCE(uint64_t)
#undef REDUCE
  }
}

static int reduced_type(const SimBulk *b) { /* of a tensor: its map's */
  static const uint8_t of_map[] = {BULK_TYPES, BULK_TYPES, BULK_U32, BULK_S32, BULK_U64, BULK_S64, BULK_F16, BULK_F32, BULK_F64, BULK_BF16, BULK_F32,
                                   BULK_TYPES, BULK_TYPES};
  return IS_TENSOR(b) ? of_map[b->map.type] : BULK_TYPE_OF(b->sub);
}

static void reduce_bytes(const SimBulk *b, char *to, const char *from, uint32_t bytes) {
  int type = reduced_type(b), op = BULK_OP_OF(b->sub);
  for (uint32_t i = 0; i < bytes; i += type_bytes[type]) reduce_element(to + i, op, type, from + i);
}

static bool check_reduction(const SimBulk *b) {
  int type = reduced_type(b), op = BULK_OP_OF(b->sub);
  bool good = type < BULK_TYPES && (op != BULK_INC && op != BULK_DEC ? true : type == BULK_U32) &&
              (op >= BULK_AND || op == BULK_INC || op == BULK_DEC ? type < BULK_F16 : true) &&
              (op == BULK_MIN || op == BULK_MAX ? type <= BULK_BF16 : true);
  if (good) return true;
  return FAULT(b, DRV_LAUNCH_FAILED, "bulk", "", 0, "the operation does not exist for the element type of the tensor map"), false;
}

/* ---- the data ---- */

static void fill_row(const SimBulk *b, const SimMapRow *row, char *to) {
  if (row->inside < row->bytes) {
    uint64_t fill = sim_map_fill(&b->map);
    for (uint32_t i = 0; i < row->bytes; i += b->map.size) memcpy(to + i, &fill, b->map.size);
  }
  const char *from = row->inside ? global_bytes(b, row) : NULL;
  if (from) memcpy(to + row->before, from, row->inside);
}

/* Maps of tf32 round what they load: to nearest, of two the one further from zero, as an H200 does (the manual does not say). */
static void round_row(const SimBulk *b, char *row, uint32_t bytes) {
  if (b->map.type != DRV_MAP_TFLOAT32 && b->map.type != DRV_MAP_TFLOAT32_FTZ) return;
  for (uint32_t i = 0; i < bytes; i += 4) {
    uint32_t u;
    memcpy(&u, row + i, 4);
    if ((u & 0x7f800000u) != 0x7f800000u) u = (u + 0x1000u) & 0xffffe000u;
    memcpy(row + i, &u, 4);
  }
}

static void land(const SimBulk *b, SimCta *c) { /* into one CTA */
  char *shared = shared_of(c);
  Rows rows = rows_of(b);
  if (KIND(b) == BULK_PEER) {
    memmove(shared + b->shared, shared_of(b->from) + b->source, b->bytes);
    return;
  }
  if (KIND(b) == BULK_REDUCE_PEER) {
    reduce_bytes(b, shared + b->shared, shared_of(b->from) + b->source, b->bytes);
    return;
  }
  if (!IS_TENSOR(b)) {
    SimMapRow row;
    const char *from = next_row(&rows, &row) ? global_bytes(b, &row) : NULL;
    if (from) memcpy(shared + b->shared, from, b->bytes);
    return;
  }
  char buffer[256 * 8];
  for (SimMapRow row; next_row(&rows, &row);) {
    fill_row(b, &row, buffer);
    round_row(b, buffer, row.bytes);
    put_row(b, shared, row.offset, buffer, row.bytes);
  }
}

/* The bytes have come: the mbarrier counts them, and hands the write on to those who see its phase end. */
static void signal(const SimBulk *b, SimCta *c) {
  SimGroup *g = c->group;
  SimMbar *mb = NULL;
  for (uint32_t i = 0; i < SIM_COUNT(&c->mbars, SimMbar *) && !mb; i++)
    if (SIM_AT(&c->mbars, SimMbar *, i)->address == b->mbar) mb = SIM_AT(&c->mbars, SimMbar *, i);
  if (!mb || !mb->live) {
    FAULT(b, DRV_LAUNCH_FAILED, "mbarrier", "shared", b->mbar, "the mbarrier that a copy signals has been invalidated while the copy was under way");
    return;
  }
  uint32_t column = sim_column(g, mb->agent);
  sim_area_written(area_of(b, c), g->time << SIM_CELL_TIME | mb->agent, SIM_LANE_WARP);
  for (int k = 0; k < CLOCKS; k++) mb->past[k].near[column] = g->time;
  c->touched[column] = g->time;
  sim_order_tick(b->warp);
  bool ended;
  SimMbarFault f = sim_mbar_bytes(&mb->s, -(int64_t)b->bytes, &ended);
  if (f) sim_mbar_fault_at(b->warp, b->in, b->lane, mb, f);
  else if (ended) sim_mbar_ended(mb, b->warp);
}

static void read_store(SimBulk *b) { /* its source may be written over from now on */
  if (b->read) return;
  Rows rows = rows_of(b);
  for (SimMapRow row; next_row(&rows, &row);) get_row(b, shared_of(b->warp->cta), row.offset, b->held + row.offset, row.bytes);
  b->read = true;
}

static void write_store(SimBulk *b) {
  Rows rows = rows_of(b);
  for (SimMapRow row; next_row(&rows, &row);) {
    char *to = row.inside ? global_bytes(b, &row) : NULL;
    if (!to) continue; /* outside the tensor; or freed meanwhile, which no host does during a launch */
    if (KIND(b) == BULK_STORE) memcpy(to, b->held + row.offset + row.before, row.inside);
    else reduce_bytes(b, to, b->held + row.offset + row.before, row.inside);
  }
}

static void complete(SimBulk *b) {
  SimGroup *g = b->warp->cta->group;
  if (IS_STORE(b)) {
    read_store(b);
    write_store(b);
    sim_delete(b->held, b->bytes);
    b->held = NULL;
    return;
  }
  for (uint32_t m = b->ctas; m; m &= m - 1) land(b, &g->cta[__builtin_ctz(m)]);
  if (b->from) sim_area_was_read(b->warp, source_of(b), (uint32_t)b->lane);
  for (uint32_t m = b->ctas; m; m &= m - 1) signal(b, &g->cta[__builtin_ctz(m)]);
}

static void drop_bulk(SimGroup *g, uint32_t i) {
  uint32_t n = SIM_COUNT(&g->bulks, SimBulk);
  memmove(&SIM_AT(&g->bulks, SimBulk, i), &SIM_AT(&g->bulks, SimBulk, i + 1), (n - i - 1) * sizeof(SimBulk));
  g->bulks.n -= sizeof(SimBulk);
}

/* ---- issue, groups ---- */

static int no_memory(const SimBulk *b) {
  return sim_fault(b->warp, b->in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
}

/* For the meter: bytes by where they are read and written, sectors of each row. What lies outside of a tensor is not read; every CTA that a
 * load goes to is written. */
static void count_bytes(const SimBulk *b) {
  SimWarp *w = b->warp;
  SimMeter *m = &w->cta->group->meter[sim_code_index(w, b->in)];
  bool store = IS_STORE(b), reduces = KIND(b) == BULK_REDUCE || KIND(b) == BULK_REDUCE_PEER;
  if (store || b->from) m->read[KILNSIM_SHARED] += b->bytes;
  if (!store) m->written[KILNSIM_SHARED] += (uint64_t)b->bytes * (uint32_t)__builtin_popcount(b->ctas);
  if (KIND(b) == BULK_REDUCE_PEER) m->read[KILNSIM_SHARED] += b->bytes;
  if (b->from) return;
  Rows rows = rows_of(b);
  uint64_t inside = 0;
  for (SimMapRow row; next_row(&rows, &row);) {
    if (!row.inside) continue;
    inside += row.inside;
    m->global_sectors += (row.address + row.inside - 1) / 32 - row.address / 32 + 1;
  }
  m->global_requests++;
  m->global_ideal += (inside + 31) / 32;
  if (store) m->written[KILNSIM_GLOBAL] += inside;
  if (!store || reduces) m->read[KILNSIM_GLOBAL] += inside;
}

int sim_bulk_issue(SimBulk *b) {
  SimGroup *g = b->warp->cta->group;
  bool store = IS_STORE(b);
  if (!check_sizes(b)) return STEP_YIELD;
  if ((KIND(b) == BULK_REDUCE || KIND(b) == BULK_REDUCE_PEER) && !check_reduction(b)) return STEP_YIELD;
  if ((store || b->from) && !check_source(b)) return STEP_YIELD;
  if (!b->from && !check_global(b, store)) return STEP_YIELD;
  if (!store && !check_loads(b)) return STEP_YIELD;
  SimBulk *slot = sim_push(&g->bulks, sizeof *slot);
  if (!slot) return no_memory(b);
  *slot = *b;
  if (store && !(slot->held = sim_new(b->bytes))) {
    g->bulks.n -= sizeof *slot;
    return no_memory(b);
  }
  if (g->launch->dev->meter) count_bytes(b);
  SimPolicy policy = b->warp->cta->policy;
  bool now = policy == POLICY_EAGER || (policy == POLICY_RANDOM && (sim_group_random(g) & 3) == 0);
  if (now && !store) {
    SimBulk done = *slot;
    g->bulks.n -= sizeof *slot;
    complete(&done);
  } else if (now) {
    read_store(slot);
  }
  return g->faulted ? STEP_YIELD : STEP_NEXT;
}

void sim_bulk_commit(SimWarp *w, uint32_t mask) {
  for (; mask; mask &= mask - 1) w->bulk_group[__builtin_ctz(mask)]++;
}

/* What one store has read others of the warp may be reading still: that stays marked. */
static void keep_marks(SimWarp *w, SimArea freed) {
  SimGroup *g = w->cta->group;
  for (uint32_t i = 0; i < SIM_COUNT(&g->bulks, SimBulk) && w->checks; i++) {
    const SimBulk *b = &SIM_AT(&g->bulks, SimBulk, i);
    if (b->warp != w || b->waited || !(IS_STORE(b) || b->from)) continue;
    SimArea a = source_of(b);
    if (a.cta == freed.cta && a.address < freed.address + freed.bytes && freed.address < a.address + a.bytes) sim_area_mark(w, a, SIM_FULL, SIM_FLIGHT);
  }
}

int sim_bulk_wait(SimWarp *w, const SimInstr *in, uint32_t mask, uint32_t keep, bool read) {
  SimGroup *g = w->cta->group;
  (void)in;
  for (uint32_t i = 0; i < SIM_COUNT(&g->bulks, SimBulk);) {
    SimBulk *b = &SIM_AT(&g->bulks, SimBulk, i);
    uint32_t groups = w->bulk_group[b->lane];
    if (b->warp != w || !IS_STORE(b) || !(mask >> b->lane & 1) || b->group >= groups || groups - b->group <= keep) {
      i++;
      continue;
    }
    bool waited = b->waited;
    b->waited = true;
    if (!waited) sim_area_was_read(w, source_of(b), (uint32_t)b->lane), keep_marks(w, source_of(b));
    read_store(b);
    if (read) {
      i++;
      continue;
    }
    complete(b);
    wrote_global(b);
    drop_bulk(g, i);
  }
  return g->faulted ? STEP_YIELD : STEP_NEXT;
}

bool sim_engine_step(SimGroup *g) {
  uint32_t n = SIM_COUNT(&g->bulks, SimBulk);
  if (!n) return false;
  uint32_t first = g->launch->seed ? (uint32_t)(sim_group_random(g) % n) : 0;
  for (uint32_t k = 0; k < n; k++) { /* stores wait for their group, or for the end */
    uint32_t i = (first + k) % n;
    if (IS_STORE(&SIM_AT(&g->bulks, SimBulk, i))) continue;
    SimBulk b = SIM_AT(&g->bulks, SimBulk, i);
    drop_bulk(g, i);
    complete(&b);
    return true;
  }
  return false;
}

/* ---- ends ---- */

static bool cta_ended(const SimCta *c) {
  for (uint32_t i = 0; i < c->nwarps; i++)
    if (c->warp[i].live) return false;
  return true;
}

bool sim_engine_end(SimWarp *w, const SimInstr *in) {
  SimGroup *g = w->cta->group;
  if (!w->checks) return true;
  bool last = cta_ended(w->cta);
  for (uint32_t i = 0; i < SIM_COUNT(&g->bulks, SimBulk); i++) {
    SimBulk *b = &SIM_AT(&g->bulks, SimBulk, i);
    if (IS_STORE(b) && b->warp == w && !b->waited)
      return FAULT(b, DRV_LAUNCH_FAILED, "unwaited_copy", "shared", b->shared,
                   "the thread ends while a bulk copy may still read its shared memory: no cp.async.bulk.wait_group has waited for it"), false;
    if (last && !IS_STORE(b) && (b->ctas >> w->cta->rank & 1))
      return FAULT(b, DRV_LAUNCH_FAILED, "unwaited_copy", "shared", b->shared,
                   "the block ends while a copy to its shared memory is under way: nobody has waited for the phase of its mbarrier"), false;
  }
  return !last || sim_cluster_leave(w, in);
}

void sim_engine_begin(SimGroup *g) {
  for (uint32_t i = 0; i < SIM_COUNT(&g->bulks, SimBulk); i++) sim_delete(SIM_AT(&g->bulks, SimBulk, i).held, SIM_AT(&g->bulks, SimBulk, i).bytes);
  g->bulks.n = 0;
  for (uint32_t i = 0; i < g->nctas; i++) {
    SimCta *c = &g->cta[i];
    for (uint32_t k = 0; k < SIM_COUNT(&c->mbars, SimMbar *); k++) SIM_AT(&c->mbars, SimMbar *, k)->live = false;
    c->free_regs = 0;
    memset(c->touched, 0, g->ncolumns * sizeof *c->touched);
  }
  memset(g->settled, 0, g->ncolumns * sizeof *g->settled);
  sim_past_clear(g->barrier->past, g);
  sim_past_clear(g->barrier->seen, g);
  g->barrier->phase = g->barrier->arrived = 0;
}

void sim_engine_finish(SimGroup *g) { /* stores that only their CTA's end completes */
  for (uint32_t i = 0; i < SIM_COUNT(&g->bulks, SimBulk); i++)
    if (IS_STORE(&SIM_AT(&g->bulks, SimBulk, i))) complete(&SIM_AT(&g->bulks, SimBulk, i));
  g->bulks.n = 0;
}

void sim_engine_close(SimGroup *g) {
  for (uint32_t i = 0; i < SIM_COUNT(&g->bulks, SimBulk); i++) sim_delete(SIM_AT(&g->bulks, SimBulk, i).held, SIM_AT(&g->bulks, SimBulk, i).bytes);
  sim_buf_free(&g->bulks);
  for (uint32_t i = 0; i < g->nctas; i++) sim_mbar_close(&g->cta[i]);
  for (int k = 0; k < CLOCKS; k++) sim_past_drop(&g->barrier->past[k]), sim_past_drop(&g->barrier->seen[k]);
}
