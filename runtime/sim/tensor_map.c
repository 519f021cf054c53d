/* tensor_map.c - tensor maps as the simulator keeps them, and the rows of a box. PTX ISA, Tensors: Dimension, size and format; Tensor access
 * modes: tiled; Swizzling modes. */
#include "tensor_map.h"
#include "cuda/driver_abi.h"
#include <stddef.h>
#include <string.h>

#define MAGIC 0x70614d54u

static uint32_t check_of(const SimMap *m) {
  const unsigned char *b = (const unsigned char *)m;
  uint32_t h = 2166136261u;
  for (size_t i = offsetof(SimMap, type); i < sizeof *m; i++) h = (h ^ b[i]) * 16777619u;
  return h;
}

void sim_map_seal(SimMap *m) {
  m->magic = MAGIC;
  m->check = check_of(m);
}

bool sim_map_read(SimMap *m, const void *bytes) {
  memcpy(m, bytes, sizeof *m);
  return m->magic == MAGIC && m->check == check_of(m);
}

static uint32_t count_along(const SimMap *m, int dim) { return (m->box[dim] + m->step[dim] - 1u) / m->step[dim]; }

uint32_t sim_map_box_bytes(const SimMap *m) {
  uint32_t n = m->size;
  for (int i = 0; i < m->rank; i++) n *= count_along(m, i);
  return n;
}

SimMapWalk sim_map_walk(const SimMap *m, const int32_t *coordinates) {
  SimMapWalk w = {.map = m};
  memcpy(w.at, coordinates, m->rank * sizeof *coordinates);
  return w;
}

static void advance(SimMapWalk *w) {
  for (int i = 1; i < w->map->rank; i++) {
    if (++w->i[i] < count_along(w->map, i)) return;
    w->i[i] = 0;
  }
  w->done = true;
}

bool sim_map_next(SimMapWalk *w, SimMapRow *row) {
  const SimMap *m = w->map;
  if (w->done) return false;
  uint64_t address = m->address;
  bool outside = false;
  for (int i = 1; i < m->rank; i++) {
    int64_t c = (int64_t)w->at[i] + (int64_t)w->i[i] * m->step[i];
    if (c < 0 || (uint64_t)c >= m->dim[i]) outside = true;
    else address += (uint64_t)c * m->stride[i];
  }
  int64_t first = w->at[0], end = first + m->box[0], dim = (int64_t)m->dim[0];
  int64_t from = first < 0 ? 0 : first, to = end > dim ? dim : end;
  if (outside || from >= to) from = to = first;
  *row = (SimMapRow){w->offset, m->box[0] * (uint32_t)m->size, (uint32_t)(from - first) * m->size, (uint32_t)(to - from) * m->size,
                     address + (uint64_t)from * m->size};
  w->offset += row->bytes;
  advance(w);
  return true;
}

uint64_t sim_map_fill(const SimMap *m) {
  if (m->fill != DRV_MAP_FILL_NAN) return 0;
  switch (m->type) {
  case DRV_MAP_FLOAT16: case DRV_MAP_BFLOAT16: return 0x7fff;
  case DRV_MAP_FLOAT64: return 0x7fffffffffffffffull;
  default: return 0x7fffffff;
  }
}
