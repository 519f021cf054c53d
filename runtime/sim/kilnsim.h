/* kilnsim.h - what libkilnsim.so.0 exports beside the CUDA driver API: configuration, reports, counters.
 *
 * The library is a CUDA driver whose devices are simulated. Without any configuration it offers one device, "sm_80". */
#ifndef KILNSIM_H
#define KILNSIM_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Results are driver codes (CUresult as unsigned; 0 is success). */

/* Adds a simulated device and stores its ordinal for cuDeviceGet. The same text again gives the same device.
 * options: "sm_90a,sms=4,cores=1,checks=off,seed=3,policy=random,limit=1000000"
 *   first word   the target, as ptxas spells it
 *   sms=N        multiprocessors that the device reports (default: 4)
 *   cores=N      host cores that CTAs are spread over (default: all); results do not depend on it
 *   checks=on    the checker; off keeps only what memory safety needs (bounds, alignment)
 *   seed=N       order of warps, and the moments at which asynchronous copies complete
 *   policy=      lazy, eager, random, or alternate (default: lazy on even launches, eager on odd ones)
 *   limit=N      warp instructions that one warp may execute before it is stopped (default: 20000000000)
 *   meter=on     counts accesses by instruction, for kilnsim_meter (default: off)
 *   mma=         fast: tensor products added in f32, one rounding for each; exact: as the target's tensor cores do (default: fast)
 *   level=       base, v3, v4: handlers for SSE2, AVX2, AVX-512 (default: the best that the host runs); results are the same
 * An option or target it does not know: invalid value, and kilnsim_message says which. */
unsigned kilnsim_configure(const char *options, int *ordinal);

/* This thread's last report or refusal as text ("" if none). Valid until this thread's next call of the library. */
unsigned kilnsim_message(const char **text);

typedef struct kilnsim_finding { /* what stopped the last failed launch */
  char kind[32];          /* "out_of_bounds" "misaligned" "use_after_free" "uninitialised" "race" "scope" "pending_copy" "barrier" "deadlock"
                             "collective" "unwaited_copy" "limit" "trap" "call" "stack" "assert" "memory" (the simulator's own ran out) */
  char space[16];         /* "global" "shared" "param" "register" or "" */
  char entry[128];        /* kernel */
  char file[256];         /* script file of .file/.loc, "" if none */
  int line;               /* its line, 0 if none */
  int ptx_line;           /* line of the PTX text, 0 if none */
  unsigned cta[3];
  int warp, lane;         /* -1: not of one warp, not of one lane */
  uint64_t address;       /* 0 where none applies */
  char text[1400];        /* the same as a sentence */
} kilnsim_finding;

/* The finding of the last launch on the device, if it failed: success; not found (500) if it passed. */
unsigned kilnsim_report(int ordinal, kilnsim_finding *out);

typedef struct kilnsim_counters { /* of the last launch on the device */
  uint64_t warp_instructions;
  uint64_t lane_instructions; /* one instruction in one active lane */
  uint64_t tensor_macs;       /* multiply-adds of mma instructions */
  uint64_t ctas;
  double seconds;             /* host wall time of the execution */
} kilnsim_counters;
unsigned kilnsim_count(int ordinal, kilnsim_counters *out);
/* The same of all launches on the device so far together: a plan of several steps is several launches. */
unsigned kilnsim_total(int ordinal, kilnsim_counters *out);

/* Lane instructions of the last launch by PTX form, most frequent first; index runs from 0, not found past the last. */
unsigned kilnsim_count_form(int ordinal, int index, const char **opcode, uint64_t *lane_instructions);

/* The meter (option meter=on). A request is one warp's execution of a memory instruction.
 *
 * Shared memory has 32 banks of 4 bytes. Lanes are served together that move at most 128 bytes: all 32 up to 4 bytes each, 16 at 8
 * bytes, 8 at 16 bytes (rows of ldmatrix and stmatrix as well); each such group takes as many wavefronts as the bank with the most
 * distinct words has of them, ideally one. Global memory moves sectors of 32 bytes; ideally as few as the distinct bytes would fill. */
enum { KILNSIM_GLOBAL, KILNSIM_SHARED, KILNSIM_LOCAL, KILNSIM_PARAM, KILNSIM_CONST, KILNSIM_SPACES };
typedef struct kilnsim_meter_row { /* of one instruction */
  char entry[128];            /* kernel */
  char file[256];             /* script file of .file/.loc, "" if none */
  int line;                   /* its line, 0 if none */
  int ptx_line;
  const char *opcode;         /* lives as long as the library */
  uint64_t lane_instructions;
  uint64_t shared_requests, shared_wavefronts, shared_ideal;
  uint64_t global_requests, global_sectors, global_ideal;
  uint64_t read[KILNSIM_SPACES], written[KILNSIM_SPACES]; /* bytes, by lane: what several lanes read together counts for each */
} kilnsim_meter_row;
/* Rows of all launches on the device since the last reset, together, of the instructions that were executed; index runs from 0, not
 * found (500) past the last, or if the device has no meter. */
unsigned kilnsim_meter(int ordinal, int index, kilnsim_meter_row *out);
unsigned kilnsim_meter_reset(int ordinal);

/* Does the simulator take a form of the PTX table (gen/isa, by its id)? Success; not supported (801), and kilnsim_message says why. */
unsigned kilnsim_simulates(const char *form);

/* Who gets what device code prints (vprintf), when a call of the driver synchronises; NULL: the program's standard output. */
void kilnsim_print(void (*fn)(void *user, const char *text, size_t bytes), void *user);

#ifdef __cplusplus
}
#endif
#endif
