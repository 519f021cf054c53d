/* arch.h - how tile operations become PTX on a generation: one const Arch each, rows reused from its elders.
 *
 * A row has a function, or a reason: then the message says what is missing and what to use here. */
#ifndef KILN_ARCH_H
#define KILN_ARCH_H
#include "../lower.h"

typedef struct ArchRow {
  void (*lower)(Lower *l);
  const char *reason; /* why not, with the target that has it and the way out */
} ArchRow;

typedef struct ArchMma { /* one shape of mma.sync, f32 accumulators */
  uint8_t a, b;          /* kiln_dtype of the operands */
  uint8_t k;             /* 8, 16 or 32; m is 16, n is 8. 1: no mma.sync, each thread multiplies for itself (lower_f32.c) */
  uint16_t form;         /* IsaId */
} ArchMma;

struct Arch {
  const char *name;
  ArchRow row[TILE_OPS];
  ArchMma mma[12];       /* ends with dtype 0 */
};

/* The rows are written as functions of an index so that a younger generation can take its elder's table and change some. */
extern const Arch arch_sm75, arch_sm80, arch_sm89, arch_sm90, arch_sm100, arch_sm120;
#endif
