/* mutate_lab.h - where mutants run: small cases of one variant on simulated devices of several policies and seeds. */
#ifndef KILN_CLI_MUTATE_LAB_H
#define KILN_CLI_MUTATE_LAB_H
#include "mutate.h"

enum { LAB_CONFIGS = 5, LAB_CASES = 160 };

typedef struct LabTrial { /* a case on a device of one configuration */
  CaseData d;
  char *result[DEF_MAX_TENSORS]; /* what the kernel itself leaves in memory */
  bool there;
} LabTrial;

typedef struct LabCase {
  const Case *c;
  CaseData d;      /* host memory of its trials, once it is needed */
  bool made, large; /* large: when all others were in vain, on the first device and on one of many SMs */
  bool too_long;    /* the kernel itself runs into the limit */
} LabCase;

typedef struct Lab {
  const Group *g;
  const Variant *v;
  const CaseList *cases;
  Random *random;
  Device device[LAB_CONFIGS];
  LabCase at[LAB_CASES];
  LabTrial trial[LAB_CONFIGS][LAB_CASES];
  int ncases;
} Lab;

bool lab_open(Lab *lab, const Group *g, const char *where, const CaseList *cases, Random *r); /* false after a message */
void lab_close(Lab *lab);

/* Chooses the cases that a variant takes, smallest first; small ones several times, with other numbers; some large ones, in which rings come
 * round, rows fill a grid, and sums have many parts. false after a message. */
bool lab_take(Lab *lab, const Variant *v);
void lab_drop(Lab *lab);

typedef enum { SURVIVED, CAUGHT, NOT_RUN } Fate; /* not run: the kernel itself fails, which is said */
/* Runs a mutant's text until the simulator objects (kind: of its report) or memory differs from what the kernel leaves ("result"). */
Fate lab_run(Lab *lab, const char *text, size_t bytes, char *kind, size_t kind_bytes);
#endif
