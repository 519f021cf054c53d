/* meter.h - what the simulator's meter counted in one launch: by kernel, and by line of the script. */
#ifndef KILN_CLI_METER_H
#define KILN_CLI_METER_H
#include "../../runtime/sim/kilnsim.h"
#include "variants.h"

#define METER_OPCODES 400

typedef struct MeterMix { const char *opcode; double lanes; } MeterMix;
typedef struct MeterSum { /* of a kernel, or of one of its script's lines (file, line) */
  char entry[128], file[256];
  int line;
  double lanes, shared_requests, shared_wavefronts, shared_ideal, global_requests, global_sectors, global_ideal;
  double read[KILNSIM_SPACES], written[KILNSIM_SPACES];
  MeterMix mix[METER_OPCODES]; /* of a kernel: most frequent first */
  int nmix;
} MeterSum;

typedef struct Meter { MeterSum *kernel, *line; int nkernels, nlines; } Meter; /* lines: in order of kernel, file and line */

/* Launches a case once, by a plan's variant, on a device like the group's with a meter. The group must have its texts. false: why. */
bool meter_run(const Group *g, const CaseData *d, const kiln_plan_info *plan, Meter *out, char *why, size_t why_bytes);
void meter_free(Meter *m);
void meter_print(const Meter *m, bool lines);
void meter_print_json(const Meter *m, bool lines); /* "meter": [..] without what goes before or after */
#endif
