/* tensor_map.h - tensor maps: their (private) encoding, the box that a copy moves piece by piece, swizzles of shared memory. */
#ifndef KILN_SIM_TENSOR_MAP_H
#define KILN_SIM_TENSOR_MAP_H
#include <stdbool.h>
#include <stdint.h>

#define SIM_MAP_RANK 5
#define SIM_MAP_BYTES 128
#define SIM_MAP_ALIGN 64

/* What the 128 bytes hold. Numbers are those of the driver's enums. */
typedef struct SimMap {
  uint32_t magic, check;          /* check: over the rest */
  uint8_t type, rank, swizzle, fill;
  uint8_t size;                   /* bytes of an element */
  uint8_t step[SIM_MAP_RANK];     /* every step-th element along a dimension; the innermost has 1 */
  uint16_t box[SIM_MAP_RANK];     /* elements, before steps */
  uint64_t address;
  uint64_t dim[SIM_MAP_RANK];     /* innermost first */
  uint64_t stride[SIM_MAP_RANK];  /* bytes; the innermost has `size` */
} SimMap;
_Static_assert(sizeof(SimMap) <= SIM_MAP_BYTES, "a tensor map holds more than it can");

void sim_map_seal(SimMap *m);                          /* magic and check */
bool sim_map_read(SimMap *m, const void *bytes);       /* false: these bytes are no tensor map */
/* Elements along a dimension that a copy moves, and its bytes in shared memory (whole boxes, also where they hang over the edge). */
uint32_t sim_map_box_bytes(const SimMap *m);

/* A row of a box: `bytes` of shared memory at `offset` in the box, without swizzle, of which `inside` from `before` on lie in the tensor,
 * at `address`. */
typedef struct SimMapRow { uint32_t offset, bytes, before, inside; uint64_t address; } SimMapRow;
typedef struct SimMapWalk { const SimMap *map; int32_t at[SIM_MAP_RANK]; uint32_t i[SIM_MAP_RANK], offset; bool done; } SimMapWalk;
SimMapWalk sim_map_walk(const SimMap *m, const int32_t *coordinates);
bool sim_map_next(SimMapWalk *w, SimMapRow *row);      /* false: no more rows */

/* What stands in shared memory where a load hangs over the edge: the bits of an element. */
uint64_t sim_map_fill(const SimMap *m);

/* The place of a byte of shared memory, by the width of the swizzle in bytes (0, 32, 64, 128): PTX ISA, Tensors: Swizzling modes.
 * The pattern lies on the addresses themselves. */
static inline uint32_t sim_swizzle(uint32_t address, uint32_t width) {
  uint32_t chunks = width / 16; /* pieces of 16 bytes that change places: the lines of 128 bytes are counted modulo their number */
  return chunks > 1 ? address ^ (address / 128 % chunks) * 16 : address;
}
static inline uint32_t sim_map_swizzle_bytes(const SimMap *m) { return m->swizzle ? 16u << m->swizzle : 0; }
#endif
