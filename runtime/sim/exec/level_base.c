/* level_base.c - the handlers for any host (SSE2 on x86-64). */
#ifdef __x86_64__
#include <immintrin.h>
#endif
#define SIM_LEVEL sim_level_base
#define SIM_LEVEL_NAME "base"
#include "level.h"
