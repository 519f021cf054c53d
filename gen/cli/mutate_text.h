/* mutate_text.h - a PTX text as instructions with operands, registers and branches, each with its place in the text.
 *
 * Reads text by the table of forms only, so that edited files are taken as well. An entry in which something is not understood
 * (an opcode or operand of no form, registers declared in inner braces, a branch to nowhere) is not known: nothing is mutated in
 * it, and nothing is proved about it. */
#ifndef KILN_CLI_MUTATE_TEXT_H
#define KILN_CLI_MUTATE_TEXT_H
#include "../isa/isa.h"
#include <stddef.h>

#define MUT_NONE (-1)
#define MUT_OPERANDS ISA_MAX_OPERANDS
#define MUT_ELEMENTS 128

typedef struct MutSpan { uint32_t at, bytes; } MutSpan; /* in the text */

typedef struct MutElement { /* a register, or whatever else stands there */
  int name;                    /* interned text */
  bool reg;
  MutSpan span;
} MutElement;

typedef struct MutOperand {
  const IsaOperand *is;        /* what the form says of it */
  bool negated;
  uint8_t n;                   /* elements: of a brace vector, both of a pair a|p, base of an address (0: a symbol), 1 otherwise */
  uint8_t swap[2];             /* two elements that have changed places; the same: none */
  const MutElement *e;         /* see mutate_element */
  MutSpan all;
  int symbol;                  /* address of a symbol: its name, else MUT_NONE */
  int64_t offset;              /* of an address; value of an immediate */
} MutOperand;

static inline const MutElement *mutate_element(const MutOperand *o, int k) {
  return &o->e[k == o->swap[0] ? o->swap[1] : k == o->swap[1] ? o->swap[0] : k];
}

typedef struct MutInstr {
  const IsaForm *form;
  IsaId id;
  MutSpan all;                 /* from the guard to the semicolon */
  MutSpan opcode;
  int line, src_line, src_file; /* of the text; of .loc (0: none) */
  int guard;                   /* its name, or MUT_NONE */
  bool guard_not;
  int n;
  MutOperand op[MUT_OPERANDS];
  int target;                  /* of a branch: an instruction, which may be the one past the last; else MUT_NONE */
  bool joins;                  /* a label stands before it */
} MutInstr;

typedef struct MutEntry {
  int name, first, n;          /* its instructions */
  int threads;                 /* .reqntid; 0: not said */
  bool in_a_row;               /* by .reqntid all along x, in whole warps */
  bool known;
} MutEntry;

typedef struct MutProgram {
  const char *text;
  size_t bytes;
  MutInstr *instr;
  MutEntry *entry;
  MutElement **chunk;          /* where the elements of operands lie */
  int nchunks, chunk_room, chunk_used;
  char **name;                 /* interned */
  int *bucket, *chain;         /* by hash */
  char *file[256];             /* by the number that .file gives */
  int ninstr, nentries, nnames, instr_room, entry_room, name_room;
} MutProgram;

/* The text must live as long as the program. */
void mutate_read(MutProgram *p, const char *text, size_t bytes);
void mutate_free(MutProgram *p);

/* Is an element a register that the instruction reads, or writes? */
bool mutate_reads(const MutOperand *o, int k);
bool mutate_writes(const MutOperand *o, int k);
#endif
