/* memory.c - global memory of a device: allocations with unmapped space around them, tombstones of freed ones, written bits.
 *
 * Addresses are never used twice, so that a stale pointer is recognised, and are the same in every run. */
#include "sim.h"
#include <string.h>

enum { MAX_TOMBSTONES = 4096 };

static SimAlloc **allocs(const SimMemory *m) { return m->allocs.at; }

static void free_alloc(SimAlloc *a) {
  sim_race_free(a);
  sim_delete(a->host, a->bytes);
  sim_delete(a->init, (a->bytes + 7) / 8);
  a->host = NULL;
  a->init = NULL;
}

static void drop_tombstones(SimMemory *m) { /* the older half of them, when there are many */
  uint32_t n = SIM_COUNT(&m->allocs, SimAlloc *), dead = 0, kept = 0;
  for (uint32_t i = 0; i < n; i++) dead += allocs(m)[i]->freed;
  if (dead < MAX_TOMBSTONES) return;
  uint32_t drop = dead / 2;
  for (uint32_t i = 0; i < n; i++) {
    SimAlloc *a = allocs(m)[i];
    if (a->freed && drop) {
      drop--;
      sim_delete(a, sizeof *a);
    } else {
      allocs(m)[kept++] = a;
    }
  }
  m->allocs.n = kept * sizeof(SimAlloc *);
}

DrvResult sim_memory_alloc(SimMemory *m, uint64_t bytes, uint64_t *base) {
  if (bytes == 0) return DRV_INVALID_VALUE;
  if (bytes > m->total_bytes || m->live_bytes > m->total_bytes - bytes) return DRV_OUT_OF_MEMORY;
  drop_tombstones(m);
  SimAlloc *a = sim_new(sizeof *a);
  if (!a) return DRV_OUT_OF_MEMORY;
  a->bytes = bytes;
  a->host = sim_new(bytes);
  a->init = a->host ? sim_new((bytes + 7) / 8) : NULL;
  SimAlloc **slot = a->init ? sim_push(&m->allocs, sizeof *slot) : NULL;
  if (!slot) {
    free_alloc(a);
    sim_delete(a, sizeof *a);
    return DRV_OUT_OF_MEMORY;
  }
  memset(a->host, 0xff, bytes); /* NaN in every float format: what is never written shows */
  if (!m->next_base) m->next_base = SIM_GLOBAL_BASE + SIM_GUARD_BYTES;
  a->base = m->next_base;
  m->next_base = (a->base + bytes + SIM_GUARD_BYTES + 511) & ~(uint64_t)511;
  a->serial = ++m->serial;
  m->live_bytes += bytes;
  *slot = a;
  *base = a->base;
  return DRV_SUCCESS;
}

SimAlloc *sim_memory_nearest(const SimMemory *m, uint64_t addr) {
  uint32_t low = 0, high = SIM_COUNT(&m->allocs, SimAlloc *);
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    if (allocs(m)[mid]->base <= addr) low = mid + 1;
    else high = mid;
  }
  return low ? allocs(m)[low - 1] : NULL;
}

SimAlloc *sim_memory_find(const SimMemory *m, uint64_t addr) {
  SimAlloc *a = sim_memory_nearest(m, addr);
  return a && addr - a->base < a->bytes ? a : NULL;
}

SimAlloc *sim_memory_range(const SimMemory *m, uint64_t addr, uint64_t bytes) {
  SimAlloc *a = sim_memory_find(m, addr);
  return a && !a->freed && bytes <= a->bytes - (addr - a->base) ? a : NULL;
}

DrvResult sim_memory_free(SimMemory *m, uint64_t base) {
  SimAlloc *a = sim_memory_find(m, base);
  if (!a || a->base != base || a->freed) return DRV_INVALID_VALUE;
  a->freed = true;
  m->live_bytes -= a->bytes;
  free_alloc(a);
  return DRV_SUCCESS;
}

bool sim_memory_free_of(SimMemory *m, const struct CUctx_st *owner) {
  bool last = true;
  for (uint32_t i = 0; i < SIM_COUNT(&m->allocs, SimAlloc *); i++) {
    SimAlloc *a = allocs(m)[i];
    if (a->owner == owner && !a->freed) sim_memory_free(m, a->base);
    last = last && (a->freed || !a->owner);
  }
  return last;
}

/* CTAs on several host cores mark neighbouring bytes: partial bytes of the bitmap are set atomically. */
void sim_memory_mark(SimAlloc *a, uint64_t addr, uint64_t bytes) {
  uint8_t *init = a->init;
  if (atomic_load_explicit(&a->all_init, memory_order_relaxed) || bytes == 0) return;
  uint64_t first = addr - a->base, end = first + bytes;
  uint64_t b0 = first / 8, b1 = (end - 1) / 8;
  uint8_t head = (uint8_t)(0xff << first % 8), tail = (uint8_t)(0xff >> (7 - (end - 1) % 8));
  if (b0 == b1) head &= tail;
  if (head == 0xff) __atomic_store_n(&init[b0], 0xff, __ATOMIC_RELAXED);
  else __atomic_fetch_or(&init[b0], head, __ATOMIC_RELAXED);
  if (b0 == b1) return;
  if (b1 - b0 > 64) memset(init + b0 + 1, 0xff, b1 - b0 - 1);
  else
    for (uint64_t i = b0 + 1; i < b1; i++) __atomic_store_n(&init[i], 0xff, __ATOMIC_RELAXED);
  if (tail == 0xff) __atomic_store_n(&init[b1], 0xff, __ATOMIC_RELAXED);
  else __atomic_fetch_or(&init[b1], tail, __ATOMIC_RELAXED);
}

void sim_memory_unmark(SimAlloc *a, uint64_t addr, uint64_t bytes) {
  if (!atomic_load_explicit(&a->all_init, memory_order_relaxed)) memset(a->init + (addr - a->base) / 8, 0, bytes / 8);
}

bool sim_memory_written(const SimAlloc *a, uint64_t addr, uint64_t bytes, uint64_t *first_bad) {
  if (atomic_load_explicit(&a->all_init, memory_order_relaxed)) return true;
  uint64_t i = addr - a->base, end = i + bytes;
  while (i < end) {
    uint8_t b = __atomic_load_n(&a->init[i / 8], __ATOMIC_RELAXED);
    if (b == 0xff && i % 8 == 0) {
      i += 8;
      continue;
    }
    if (!(b >> i % 8 & 1)) {
      *first_bad = a->base + i;
      return false;
    }
    i++;
  }
  return true;
}

/* Called between launches, when nobody else marks. */
void sim_memory_settle(SimAlloc *a) {
  if (atomic_load_explicit(&a->all_init, memory_order_relaxed)) return;
  uint64_t whole = a->bytes / 8;
  for (uint64_t i = 0; i < whole; i++)
    if (a->init[i] != 0xff) return;
  for (uint64_t i = whole * 8; i < a->bytes; i++)
    if (!(a->init[i / 8] >> i % 8 & 1)) return;
  atomic_store(&a->all_init, true);
}

void sim_memory_close(SimMemory *m) {
  for (uint32_t i = 0; i < SIM_COUNT(&m->allocs, SimAlloc *); i++) {
    free_alloc(allocs(m)[i]);
    sim_delete(allocs(m)[i], sizeof(SimAlloc));
  }
  sim_buf_free(&m->allocs);
}
