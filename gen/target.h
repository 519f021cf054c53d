/* target.h - the architectures, and the only functions that compare them. */
#ifndef KILN_TARGET_H
#define KILN_TARGET_H
#include "isa/isa.h"

typedef struct Arch Arch; /* gen/arch: how tile statements become PTX on a generation (arch/arch.h) */

/* One row of target.def. Sizes are bytes. */
typedef struct Target {
  const char *name;         /* "sm_90a", as ptxas spells it */
  uint16_t sm;              /* 90 */
  char suffix;              /* 0, 'a', 'f' */
  uint16_t version;         /* lowest .version of the target, times ten */
  uint32_t shared_block;    /* most shared memory of a block, opt-in */
  uint32_t shared_sm;       /* shared memory of an SM; 1 KB per CTA of it is the system's from sm_80 on */
  uint16_t threads_sm, ctas_sm;
  const Arch *arch;
} Target;

const Target *target_find(const char *name);             /* NULL: unknown */
const Target *target_for(const char *name);              /* the same; of an architecture without a row ("sm_87") the newest elder whose PTX it runs */
const Target *target_at(int i);                          /* in order of target.def; NULL past the last */
const char *target_names(void);                          /* "sm_75 sm_80 ..." for messages */
bool target_runs(const Target *t, const char *needs_sm); /* may PTX that needs "80" or "90a" be assembled for t? */
#endif
