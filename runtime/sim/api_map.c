/* api_map.c - driver entry points: tensor maps. Every rule of the driver's documentation is checked; what the simulator does not carry out
 * (interleaved layouts, elements below a byte) is refused as such. */
#include "api.h"
#include "tensor_map.h"
#include <string.h>

struct CUtensorMap_st { unsigned char bytes[SIM_MAP_BYTES]; };

static const uint8_t element_bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4}; /* by DRV_MAP_UINT8 and on */
#define TYPES (sizeof element_bytes / sizeof *element_bytes)

static bool is_float(unsigned type) { return type >= DRV_MAP_FLOAT16; }

static DrvResult check_modes(unsigned type, uint32_t rank, unsigned interleave, unsigned swizzle, unsigned l2, unsigned fill) {
  if (type >= TYPES + 3) return sim_say(DRV_INVALID_VALUE, "tensor map: data type %u, there are 0 to %d", type, (int)TYPES + 2);
  if (rank < 1 || rank > SIM_MAP_RANK) return sim_say(DRV_INVALID_VALUE, "tensor map: rank %u, it is 1 to %d", rank, SIM_MAP_RANK);
  if (interleave > DRV_MAP_INTERLEAVE_32B || swizzle > 6 || l2 > DRV_MAP_L2_256B || fill > DRV_MAP_FILL_NAN)
    return sim_say(DRV_INVALID_VALUE, "tensor map: interleave %u, swizzle %u, L2 promotion %u, fill %u: one of them is no such mode", interleave,
                   swizzle, l2, fill);
  if (interleave && rank < 3) return sim_say(DRV_INVALID_VALUE, "tensor map: an interleaved layout has at least 3 dimensions, not %u", rank);
  if (interleave == DRV_MAP_INTERLEAVE_32B && swizzle != DRV_MAP_SWIZZLE_32B)
    return sim_say(DRV_INVALID_VALUE, "tensor map: interleave 32B goes with swizzle 32B, not %u", swizzle);
  if (fill && !is_float(type)) return sim_say(DRV_INVALID_VALUE, "tensor map: NaN as fill of the integer type %u", type);
  if (type >= TYPES || interleave || swizzle > DRV_MAP_SWIZZLE_128B)
    return sim_say(DRV_NOT_SUPPORTED, "tensor map: data type %u, interleave %u, swizzle %u: not simulated", type, interleave, swizzle);
  return DRV_SUCCESS;
}

static DrvResult check_sizes(const SimMap *m) {
  for (int i = 0; i < m->rank; i++) {
    if (m->dim[i] < 1 || m->dim[i] > (uint64_t)1 << 32)
      return sim_say(DRV_INVALID_VALUE, "tensor map: size %llu of dimension %d, it is 1 to 2^32", (unsigned long long)m->dim[i], i);
    if (i && (m->stride[i] % 16 || m->stride[i] >= (uint64_t)1 << 40))
      return sim_say(DRV_INVALID_VALUE, "tensor map: stride %llu of dimension %d, it is a multiple of 16 below 2^40",
                     (unsigned long long)m->stride[i], i);
  }
  uint32_t inner = m->box[0] * (uint32_t)m->size, span = sim_map_swizzle_bytes(m);
  if (inner % 16) return sim_say(DRV_INVALID_VALUE, "tensor map: the box is %u bytes wide, no multiple of 16", inner);
  if (span && inner > span) return sim_say(DRV_INVALID_VALUE, "tensor map: the box is %u bytes wide, more than the %u of its swizzle", inner, span);
  return DRV_SUCCESS;
}

static DrvResult fill_map(SimMap *m, const uint64_t *dims, const uint64_t *strides, const uint32_t *box, const uint32_t *steps) {
  for (int i = 0; i < m->rank; i++) {
    if (box[i] < 1 || box[i] > 256) return sim_say(DRV_INVALID_VALUE, "tensor map: box of %u along dimension %d, it is 1 to 256", box[i], i);
    if (steps[i] < 1 || steps[i] > 8)
      return sim_say(DRV_INVALID_VALUE, "tensor map: element stride %u of dimension %d, it is 1 to 8", steps[i], i);
    m->dim[i] = dims[i];
    m->stride[i] = i ? strides[i - 1] : m->size;
    m->box[i] = (uint16_t)box[i];
    m->step[i] = i ? (uint8_t)steps[i] : 1; /* the innermost one is not looked at without an interleaved layout */
  }
  return check_sizes(m);
}

static DrvResult store_map(struct CUtensorMap_st *map, SimMap *m) {
  if (m->address % 16) return sim_say(DRV_INVALID_VALUE, "tensor map: address 0x%llx is no multiple of 16", (unsigned long long)m->address);
  sim_map_seal(m);
  memset(map, 0, sizeof *map);
  memcpy(map, m, sizeof *m);
  return DRV_SUCCESS;
}

static DrvResult check_pointer(const struct CUtensorMap_st *map) {
  if (!map || (uintptr_t)map % SIM_MAP_ALIGN)
    return sim_say(DRV_INVALID_VALUE, "tensor map: its own address %p is no multiple of %d", (const void *)map, SIM_MAP_ALIGN);
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuTensorMapEncodeTiled(struct CUtensorMap_st *map, unsigned type, uint32_t rank, void *address, const uint64_t *dims,
                                            const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides, unsigned interleave,
                                            unsigned swizzle, unsigned l2, unsigned fill) {
  sim_enter();
  DrvResult code = check_pointer(map);
  if (code) return sim_leave(code);
  if (!dims || !box || !element_strides || (rank > 1 && !strides))
    return sim_leave(sim_say(DRV_INVALID_VALUE, "tensor map: sizes, strides, box and element strides must be given"));
  code = check_modes(type, rank, interleave, swizzle, l2, fill);
  if (code) return sim_leave(code);
  SimMap m;
  memset(&m, 0, sizeof m); /* padding too: the check sum is over it */
  m.type = (uint8_t)type, m.rank = (uint8_t)rank, m.swizzle = (uint8_t)swizzle, m.fill = (uint8_t)fill;
  m.size = element_bytes[type];
  m.address = (uint64_t)(uintptr_t)address;
  code = fill_map(&m, dims, strides, box, element_strides);
  return sim_leave(code ? code : store_map(map, &m));
}

DRV_EXPORT DrvResult cuTensorMapReplaceAddress(struct CUtensorMap_st *map, void *address) {
  sim_enter();
  SimMap m;
  DrvResult code = check_pointer(map);
  if (code) return sim_leave(code);
  if (!sim_map_read(&m, map)) return sim_leave(sim_say(DRV_INVALID_VALUE, "tensor map: these bytes are none"));
  m.address = (uint64_t)(uintptr_t)address;
  return sim_leave(store_map(map, &m));
}
