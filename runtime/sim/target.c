/* target.c - the devices that can be simulated, and the only place of the simulator that compares architectures. */
#include "sim.h"
#include <string.h>

/* name, sm, suffix, shared per block (opt-in) / per SM / static, threads and CTAs per SM, first shared address, reserved per CTA,
 * tensor cores */
#define KB 1024
static const SimTarget targets[] = {
  {"sm_75", 75, 0, 64 * KB, 64 * KB, 48 * KB, 1024, 16, 0, 0, SIM_TENSOR_TURING},
  {"sm_80", 80, 0, 163 * KB, 164 * KB, 48 * KB, 2048, 32, 0, KB, SIM_TENSOR_AMPERE},
  {"sm_86", 86, 0, 99 * KB, 100 * KB, 48 * KB, 1536, 16, 0, KB, SIM_TENSOR_AMPERE},
  {"sm_87", 87, 0, 163 * KB, 164 * KB, 48 * KB, 1536, 16, 0, KB, SIM_TENSOR_AMPERE},
  {"sm_88", 88, 0, 99 * KB, 100 * KB, 48 * KB, 1536, 16, 0, KB, SIM_TENSOR_AMPERE},
  {"sm_89", 89, 0, 99 * KB, 100 * KB, 48 * KB, 1536, 24, 0, KB, SIM_TENSOR_ADA},
  {"sm_90", 90, 0, 227 * KB, 228 * KB, 48 * KB, 2048, 32, KB, KB, SIM_TENSOR_HOPPER},
  {"sm_90a", 90, 'a', 227 * KB, 228 * KB, 227 * KB, 2048, 32, KB, KB, SIM_TENSOR_HOPPER},
  {"sm_100", 100, 0, 227 * KB, 228 * KB, 48 * KB, 2048, 32, KB, KB, SIM_TENSOR_BLACKWELL},
  {"sm_100f", 100, 'f', 227 * KB, 228 * KB, 48 * KB, 2048, 32, KB, KB, SIM_TENSOR_BLACKWELL},
  {"sm_100a", 100, 'a', 227 * KB, 228 * KB, 227 * KB, 2048, 32, KB, KB, SIM_TENSOR_BLACKWELL},
  {"sm_103", 103, 0, 227 * KB, 228 * KB, 48 * KB, 2048, 32, KB, KB, SIM_TENSOR_BLACKWELL},
  {"sm_103f", 103, 'f', 227 * KB, 228 * KB, 48 * KB, 2048, 32, KB, KB, SIM_TENSOR_BLACKWELL},
  {"sm_103a", 103, 'a', 227 * KB, 228 * KB, 227 * KB, 2048, 32, KB, KB, SIM_TENSOR_BLACKWELL},
  {"sm_120", 120, 0, 99 * KB, 100 * KB, 48 * KB, 1536, 24, KB, KB, SIM_TENSOR_BLACKWELL_RTX},
  {"sm_120f", 120, 'f', 99 * KB, 100 * KB, 48 * KB, 1536, 24, KB, KB, SIM_TENSOR_BLACKWELL_RTX},
  {"sm_120a", 120, 'a', 99 * KB, 100 * KB, 99 * KB, 1536, 24, KB, KB, SIM_TENSOR_BLACKWELL_RTX},
};
enum { TARGETS = sizeof targets / sizeof targets[0], DEFAULT_TARGET = 1 };

const SimTarget *sim_target_find(const char *name, size_t n) {
  for (int i = 0; i < TARGETS; i++)
    if (strlen(targets[i].name) == n && memcmp(targets[i].name, name, n) == 0) return &targets[i];
  return NULL;
}

const SimTarget *sim_target_default(void) { return &targets[DEFAULT_TARGET]; }

const char *sim_target_names(void) {
  return "sm_75 sm_80 sm_86 sm_87 sm_88 sm_89 sm_90 sm_90a sm_100 sm_100f sm_100a sm_103 sm_103f sm_103a sm_120 sm_120f sm_120a";
}

/* "90a" or "sm_90a" -> 90, 'a'; false if it is no architecture */
static bool read_sm(const char *s, size_t n, unsigned *sm, char *suffix) {
  if (n > 3 && memcmp(s, "sm_", 3) == 0) s += 3, n -= 3;
  *sm = 0;
  *suffix = 0;
  size_t i = 0;
  while (i < n && i < 4 && s[i] >= '0' && s[i] <= '9') *sm = *sm * 10 + (unsigned)(s[i++] - '0');
  if (i == 0) return false;
  if (i < n && (s[i] == 'a' || s[i] == 'f')) *suffix = s[i++];
  return i == n;
}

/* Code for an older or equal plain architecture; 'f': the same family (same tens); 'a': that architecture alone. */
static bool allows_one(const char *have, size_t n, const char *needs, size_t needs_n) {
  unsigned have_sm, needs_sm;
  char have_suffix, needs_suffix;
  if (!read_sm(have, n, &have_sm, &have_suffix) || !read_sm(needs, needs_n, &needs_sm, &needs_suffix)) return false;
  if (!needs_suffix) return have_sm >= needs_sm;
  if (needs_suffix == 'f') return have_suffix && have_sm / 10 == needs_sm / 10 && have_sm >= needs_sm;
  return have_suffix == 'a' && have_sm == needs_sm;
}

bool sim_target_allows(const char *have, size_t n, const char *needs) {
  for (const char *s = needs; *s; s += *s == ' ') {
    size_t word = strcspn(s, " ");
    if (allows_one(have, n, s, word)) return true;
    s += word;
  }
  return false;
}

bool sim_target_clusters(const SimTarget *t) { return t->sm >= 90; }

bool sim_target_loads(const char *have, size_t n, const SimTarget *dev) {
  unsigned sm;
  char suffix;
  if (!read_sm(have, n, &sm, &suffix)) return false;
  if (!suffix) return dev->sm >= sm;
  if (suffix == 'f') return dev->sm / 10 == sm / 10 && dev->sm >= sm;
  return dev->sm == sm;
}
