/* level.c - which of the handler tables this host runs, and the handlers' names. */
#include "sim.h"
#include <string.h>

#define LANE1(name, ...) #name,
#define LANE2(name, ...) #name,
#define LANE3(name, ...) #name,
#define PAIR1(name, ...) #name,
#define PAIR2(name, ...) #name,
#define PAIR3(name, ...) #name,
#define CALL(name) #name,
static const char *const names[] = {
#include "handlers.def"
};
enum { HANDLERS = sizeof names / sizeof names[0], SLOTS = 2048 };
_Static_assert(HANDLERS * 2 < SLOTS, "the index of handler names is too small");

static uint32_t hash_name(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  return (h ^ h >> 13) & (SLOTS - 1);
}

static uint16_t slot_of[SLOTS]; /* handler + 1; filled once */
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill_slots(void) {
  for (int i = 0; i < HANDLERS; i++) {
    uint32_t s = hash_name(names[i], strlen(names[i]));
    while (slot_of[s]) s = (s + 1) & (SLOTS - 1);
    slot_of[s] = (uint16_t)(i + 1);
  }
}

int sim_handler_find(const char *name, size_t n) {
  pthread_once(&filled, fill_slots);
  for (uint32_t s = hash_name(name, n); slot_of[s]; s = (s + 1) & (SLOTS - 1)) {
    const char *have = names[slot_of[s] - 1];
    if (strncmp(have, name, n) == 0 && have[n] == 0) return slot_of[s] - 1;
  }
  return -1;
}

const char *sim_handler_name(int handler) { return handler >= 0 && handler < HANDLERS ? names[handler] : ""; }

static bool host_runs(const SimLevel *level) {
#if defined(__x86_64__) && !defined(KILN_SIM_ONE_LEVEL)
  __builtin_cpu_init();
  bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (level == &sim_level_v3) return v3;
  if (level == &sim_level_v4)
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
#endif
  return level == &sim_level_base;
}

const SimLevel *sim_level(const char *name, size_t n) {
  static const SimLevel *const levels[] = { /* best first */
#if defined(__x86_64__) && !defined(KILN_SIM_ONE_LEVEL)
    &sim_level_v4, &sim_level_v3,
#endif
    &sim_level_base};
  for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
    if (host_runs(levels[i]) && (!name || (strlen(levels[i]->name) == n && memcmp(levels[i]->name, name, n) == 0))) return levels[i];
  return NULL;
}
