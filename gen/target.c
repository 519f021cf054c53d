/* target.c - the table of architectures, and the only comparisons of their numbers. */
#include "target.h"
#include <stdlib.h>
#include <string.h>

/* Defined in gen/arch; the table needs no more than their addresses. */
#define TARGET(name, sm, suffix, version, block, sm_shared, threads, ctas, arch) extern const Arch arch;
#include "target.def"
#undef TARGET

static const Target targets[] = {
#define TARGET(name, sm, suffix, version, block, sm_shared, threads, ctas, arch)                                                   \
  {name, sm, suffix, version, (block) * 1024u, (sm_shared) * 1024u, threads, ctas, &arch},
#include "target.def"
#undef TARGET
};
#define TARGETS (int)(sizeof targets / sizeof *targets)

const Target *target_at(int i) { return i >= 0 && i < TARGETS ? &targets[i] : NULL; }

const Target *target_find(const char *name) {
  for (int i = 0; i < TARGETS; i++)
    if (strcmp(targets[i].name, name) == 0) return &targets[i];
  return NULL;
}

/* Architectures that devices have and that have no row. */
static const unsigned rowless[] = {87, 88, 101, 110, 121};

const Target *target_for(const char *name) {
  const Target *t = target_find(name);
  char *end;
  if (t || strncmp(name, "sm_", 3) != 0) return t;
  unsigned long sm = strtoul(name + 3, &end, 10);
  bool known = false;
  for (size_t i = 0; i < sizeof rowless / sizeof *rowless; i++) known |= rowless[i] == sm;
  if (!known || (*end && strcmp(end, "a") != 0)) return NULL;
  for (int i = 0; i < TARGETS; i++)
    if (!targets[i].suffix && targets[i].sm <= sm) t = &targets[i];
  return t;
}

const char *target_names(void) {
  static const char names[] = ""
#define TARGET(name, sm, suffix, version, block, sm_shared, threads, ctas, arch) " " name
#include "target.def"
#undef TARGET
    ;
  return names + 1;
}

/* One alternative of a row's sm column: "80" any from it on, "90a" that one, "100f" its family from it on. */
static bool runs_one(const Target *t, const char *needs, size_t n) {
  unsigned sm = (unsigned)strtoul(needs, NULL, 10);
  switch (needs[n - 1]) {
  case 'a': return t->sm == sm && t->suffix == 'a';
  case 'f': return t->sm / 10 == sm / 10 && t->sm >= sm && t->suffix != 0;
  default: return t->sm >= sm;
  }
}

bool target_runs(const Target *t, const char *needs_sm) {
  for (const char *s = needs_sm; *s;) {
    size_t n = strcspn(s, " ");
    if (n && runs_one(t, s, n)) return true;
    s += n + (s[n] == ' ');
  }
  return false;
}
