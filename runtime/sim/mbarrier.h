/* mbarrier.h - an mbarrier object: what it counts, and when its phase ends. PTX ISA, Parallel Synchronization: mbarrier. */
#ifndef KILN_SIM_MBARRIER_H
#define KILN_SIM_MBARRIER_H
#include <stdbool.h>
#include <stdint.h>

#define SIM_MBAR_MOST 1048575 /* of arrivals, and of bytes in either direction: 2^20 - 1 */

typedef struct SimMbarState {
  uint32_t expected, pending; /* arrivals per phase from the next one on; arrivals that the present one still waits for */
  int32_t bytes;              /* expected minus come */
  uint32_t phase;             /* phases that have ended; the lowest bit is the parity of the present one */
} SimMbarState;

typedef enum {
  MBAR_OK, MBAR_COUNT,        /* count outside 1 to 2^20 - 1 */
  MBAR_ARRIVALS,              /* more arrivals than the phase waits for */
  MBAR_BYTES,                 /* bytes outside their range */
  MBAR_COMPLETES,             /* an arrival without completion would have completed the phase */
  MBAR_PHASE,                 /* the state is neither of the present phase nor of the one before */
} SimMbarFault;
const char *sim_mbar_fault(SimMbarFault f);

typedef struct SimMbarArrival { uint32_t count; int64_t expect; bool drop, no_complete; } SimMbarArrival;

SimMbarFault sim_mbar_init(SimMbarState *b, uint32_t count);
/* The arrival's state token is *token. *ended: the phase has ended by it. */
SimMbarFault sim_mbar_arrive(SimMbarState *b, const SimMbarArrival *a, uint64_t *token, bool *ended);
SimMbarFault sim_mbar_bytes(SimMbarState *b, int64_t expect, bool *ended); /* expect_tx; complete_tx with a negative number */
SimMbarFault sim_mbar_test(const SimMbarState *b, uint64_t token, bool *ended);
static inline bool sim_mbar_parity(const SimMbarState *b, uint32_t parity) { return (b->phase & 1) != (parity & 1); }
uint32_t sim_mbar_token_pending(uint64_t token);
#endif
