/* mutate_flow.h - what is true on every path of an entry: successors, reachability, registers that are read later, copies in
 * flight. Everything errs on the side of "may": a rule that follows from it holds for every run of the program. */
#ifndef KILN_CLI_MUTATE_FLOW_H
#define KILN_CLI_MUTATE_FLOW_H
#include "mutate_text.h"

/* Copies of one agent before an instruction: bit k of groups: the k-th youngest committed group may have copies that are not
 * known to be complete (bit 31: or an older one); open: copies that are not committed. */
typedef struct MutCopies { uint32_t groups; bool open; } MutCopies;

typedef struct MutFlow {
  const MutProgram *p;
  const MutEntry *e;           /* instructions below are counted from its first */
  bool *reached;
  int *pred_first, *pred;      /* predecessors of i: pred[pred_first[i] .. pred_first[i + 1]) */
  int *block, nblocks;         /* block of each instruction; a block is entered at its first and left at its last alone */
  int *block_first;            /* nblocks + 1 */
  uint64_t *live_out;          /* per block: names of registers, `words` each */
  int words;
  MutCopies *copies;           /* before each instruction */
  bool *lanes_vary;            /* names of registers that may differ among the lanes of a warp */
  bool *apart;                 /* blocks that not all lanes of a warp may execute together */
  bool *one_lane;              /* instructions that of a warp one lane alone executes, and always the same: the one that elect.sync chooses */
  bool in_step;                /* all threads of a CTA meet the same barriers in the same order: none depends on which thread it is */
} MutFlow;

void mutate_flow_make(MutFlow *f, const MutProgram *p, const MutEntry *e);
void mutate_flow_free(MutFlow *f);

/* Successors, counted from the entry's first instruction; e->n: the end of the program. Returns their number. */
int mutate_next(const MutFlow *f, int i, int next[2]);
bool mutate_live_out(const MutFlow *f, int block, int name);

/* Is this the first word of the opcode? Are these, separated by blanks, its first words? */
bool mutate_is(const MutInstr *in, const char *mnemonic);
bool mutate_begins(const MutInstr *in, const char *words);
bool mutate_has(const MutInstr *in, const char *word); /* is it any of them? */

/* What an instruction may do to memory that threads share, for the rules on order. */
bool mutate_touches_memory(const MutInstr *in);   /* reads or writes global or shared memory, or starts to */
bool mutate_orders(const MutInstr *in);           /* synchronises memory accesses: barriers, fences, waits */

/* Groups that a wait lets be under way; -1: all must be complete, committed or not; false: it is no wait for groups of copies. */
bool mutate_wait(const MutInstr *in, int *groups);
#endif
