/* descriptor.h - matrices in shared memory as wgmma reads them: by a 64-bit descriptor, in core matrices of 8 lines of 16 bytes. PTX ISA,
 * Asynchronous warpgroup-level matrix instructions: Shared Memory Matrix Layout, Matrix Descriptor. */
#ifndef KILN_SIM_DESCRIPTOR_H
#define KILN_SIM_DESCRIPTOR_H
#include "tensor_map.h"

typedef struct SimDescriptor {
  uint32_t start, leading, stride; /* bytes */
  uint32_t width;                  /* of the swizzle, bytes; 0: none */
  uint32_t base_offset, reserved;  /* not 0: the first is not simulated, the second no descriptor */
} SimDescriptor;

static inline SimDescriptor sim_descriptor(uint64_t bits) {
  static const uint8_t width[4] = {0, 128, 64, 32};
  uint32_t low = (uint32_t)bits, high = (uint32_t)(bits >> 32);
  return (SimDescriptor){.start = (low & 0x3fff) << 4, .leading = (low >> 16 & 0x3fff) << 4, .stride = (high & 0x3fff) << 4,
                         .width = width[high >> 30], .base_offset = high >> 17 & 7,
                         .reserved = (low & 0xc000c000u) | (high & 0x3ff1c000u)};
}

/* Line `line` of the core matrix (i, j): the ith group of 8 along M or N (of 16 bytes, where that is the contiguous direction), the jth of
 * 16 bytes along K (of 8, there). transposed: the M or N direction is contiguous. */
static inline uint32_t sim_descriptor_line(const SimDescriptor *d, bool transposed, uint32_t i, uint32_t j, uint32_t line) {
  uint32_t at = d->start, across = d->width / 16; /* core matrices beside one another in an atom of the swizzle */
  if (!transposed && !d->width) at += i * d->stride + j * d->leading + line * 16;
  else if (!transposed) at += i * d->stride + j * 16 + line * d->width;
  else if (!d->width) at += i * d->stride + j * d->leading + line * 16;
  else at += i / across * d->leading + j * d->stride + i % across * 16 + line * d->width;
  return sim_swizzle(at, d->width);
}
#endif
