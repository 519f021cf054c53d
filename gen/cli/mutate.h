/* mutate.h - kiln check --mutate: kernels with one instruction changed, which the checker must refuse or whose result must differ. */
#ifndef KILN_CLI_MUTATE_H
#define KILN_CLI_MUTATE_H
#include "mutate_flow.h"
#include "random.h"
#include "variants.h"

typedef enum {
  MUTANT_DELETE,  /* the instruction is gone */
  MUTANT_BYPASS,  /* an exchange between lanes gives each lane its own value */
  MUTANT_AT_ONCE, /* a wait that looks at memory finds what it waits for, the first time */
  MUTANT_WEAKEN,  /* another form, of gen/isa/weaker.def */
  MUTANT_LOOSEN,  /* another count, likewise */
  MUTANT_SHIFT,   /* an address, by what the instruction moves */
  MUTANT_SWAP,    /* two registers of a vector change places */
} MutantKind;

typedef struct Mutant {
  MutantKind kind;
  int entry, instr;        /* instr: of the program */
  int operand, a, b;       /* shift, loosen, swap: the operand; swap: two of its elements */
  int64_t change;          /* shift, loosen */
  IsaId into;              /* bypass, at once, weaken */
  const char *rule;        /* not NULL: equivalent, by that rule */
} Mutant;

typedef struct MutantList { Mutant *at; int n, room; } MutantList;

void mutate_add(MutantList *list, Mutant m);
/* Every mutant of the synchronising instructions, and one per address and vector of the others. */
void mutate_synchronising(const MutProgram *p, MutantList *out);
void mutate_others(const MutProgram *p, Random *r, MutantList *out);
char *mutate_apply(const MutProgram *p, const Mutant *m);                            /* the text; lines keep their numbers */
MutInstr mutate_changed(const MutProgram *p, const Mutant *m);                       /* the instruction as it is then */
void mutate_describe(const MutProgram *p, const Mutant *m, char *text, size_t bytes); /* "bar.sync 0; deleted" */

/* The name of a rule by which the mutant means the same as the program; NULL: none of them says so. */
const char *mutate_equivalent(const MutFlow *f, const Mutant *m);
/* ---- between the files of rules ---- */
typedef enum { MUTATE_GO_ON, MUTATE_SATISFIED, MUTATE_VIOLATED } MutVerdict;
typedef MutVerdict (*MutJudge)(const MutFlow *f, int from, int here); /* counted from the entry's first instruction */
bool mutate_on_every_path(const MutFlow *f, int from, bool backwards, bool at_end, MutJudge judge);
/* mutate_lanes.c: is a bar.warp.sync, a wgmma.fence, an exchange between lanes of no consequence? */
const char *mutate_lanes_know(const MutFlow *f, int i);
const char *mutate_registers_untouched(const MutFlow *f, int i);
const char *mutate_same_in_warp(const MutFlow *f, int i);
/* The rule on values (mutate_value.c): does the changed instruction leave everything that others can see as it was? */
const char *mutate_same_values(const MutFlow *f, int instr, const MutInstr *changed);

/* The command's part: everything that kiln check --mutate does. Returns an exit code. */
int mutate_run(const Options *o, KilnGen *gen, const OpList *ops, int nops, const DeviceNames *devices, uint64_t seed);
#endif
