/* isa.h - the table of PTX forms, one row per form, in *.def beside this file.
 *
 * Read by four clients: the emitter prints a row, ptx_check.c checks classes and needs, the simulator's parser accepts it, the
 * simulator's dispatch runs it. Only *form* is shared; *meaning* is written by hand in runtime/sim from the manual.
 *
 * A row:   ISA(id, opcode, operands, sm, version, flags, section)
 *   id        C identifier; the enum constant is ISA_<id>
 *   opcode    the whole opcode with all its modifiers, exactly as printed: "ld.global.v4.b32"
 *   operands  one token per operand, separated by blanks (legend below)
 *   sm        lowest target, as ptxas spells it: "75", "80", "90"; "90a" = that one target only, "100f" = that family (sm_100f,
 *             sm_100a, sm_103a, ...); several alternatives are separated by blanks
 *   version   lowest .version times ten: 63, 70, 78, 80, 86
 *   flags     the drawn legend below, as a string of eight letters
 *   section   heading of the PTX ISA manual
 *
 * Operand tokens
 *   =         prefix: written by the instruction (otherwise read);  & prefix: read and written
 *   ?         prefix: written, and read where a predicate of the form says so: need not hold anything before
 *   1 2 .. 128  prefix: a brace vector of that many registers {a,b,c,d}
 *   p h r l f d   register class: .pred .b16 .b32 .b64 .f32 .f64
 *   i         suffix to a class: an immediate of that class is accepted too (ri = .b32 register or immediate)
 *   #         an immediate only;  #16: that very number, fixed by the form (whoever builds the instruction may leave it out)
 *   [g] [s] [l] [p] [c] [a]   memory operand of state space global, shared, local, param, const, generic: register+imm or symbol+imm
 *   [k]       likewise, in shared memory of any CTA of the cluster (shared::cluster); an address of the own CTA's is one too
 *   [a 2r]    two operands in one pair of brackets: the generic address of a tensor map (no offset), a vector of coordinates
 *   _         the sink, printed as such: a result that nobody wants (whoever builds the instruction may leave it out)
 *   @         a label;  S a symbol (address of);  %  a special register;  T a list of labels (.branchtargets)
 *   C         a call: [(results),] function [, (arguments)] [, prototype]
 *   !p        predicate source that may be negated
 *   r|p       destination pair "a|p" (shfl, match, elect)
 *   .         suffix to the last operand(s): may be left out (trailing optionals)
 *
 * An operand of class h r l f d takes a register of just that class. (ptxas allows more: any class of the right width.)
 *
 * Flags (column ruler of the .def files: one letter per property, '-' where it does not hold)
 *   P pure: result depends on operands only, may be merged, moved and dropped
 *   R reads memory     W writes memory      S synchronises (never moved, merged or dropped)
 *   C warp-collective: all lanes of the warp must execute it converged (.sync.aligned)
 *   A asynchronous: its effect is not visible until a wait
 *   X approximate: result differs from the correctly rounded one within the bound in docs/simulator.md
 *   T terminator: ends a block
 */
#ifndef KILN_ISA_H
#define KILN_ISA_H
#include <stdbool.h>
#include <stdint.h>

typedef enum IsaId {
  ISA_NONE,
#define ISA(id, opcode, operands, sm, version, flags, section) ISA_##id,
#include "isa.def"
#undef ISA
  ISA_COUNT
} IsaId;

typedef enum {
  ISA_PURE = 1,
  ISA_READS = 2,
  ISA_WRITES = 4,
  ISA_SYNC = 8,
  ISA_COLLECTIVE = 16,
  ISA_ASYNC = 32,
  ISA_APPROX = 64,
  ISA_TERMINATOR = 128,
} IsaFlag;

typedef enum { /* what stands in an operand's place */
  ISA_OPND_REG,     /* register(s) of class cls */
  ISA_OPND_MEM,     /* [reg+imm] or [symbol+imm] in space */
  ISA_OPND_IMM,     /* immediate only */
  ISA_OPND_LABEL,
  ISA_OPND_SYMBOL,
  ISA_OPND_SPECIAL,
  ISA_OPND_SINK,    /* _ */
  ISA_OPND_TARGETS,
  ISA_OPND_CALL,
} IsaOperandKind;

typedef struct IsaOperand {
  uint8_t kind;     /* IsaOperandKind */
  char cls;         /* 'p' 'h' 'r' 'l' 'f' 'd'; for MEM: 'g' 's' 'l' 'p' 'c' 'a' 'k' */
  uint8_t count;    /* 1 to 128: registers of a brace vector */
  bool writes, reads, imm_ok, negatable, pair_pred, optional;
  bool brace;       /* written in braces, also when it is one register */
  bool fixed;       /* IMM: the form allows only `value`; SINK */
  bool opens, closes; /* the bracket is open behind it; it closes the bracket that stands open */
  bool unset_ok;    /* read, but need not hold anything */
  int16_t value;
} IsaOperand;

#define ISA_MAX_OPERANDS 8
typedef struct IsaForm {
  const char *name;   /* id as text */
  const char *opcode;
  const char *operands;
  const char *sm;     /* "75" "80" "90a" */
  uint16_t version;   /* 63 = 6.3 */
  uint16_t flags;     /* IsaFlag bits */
  const char *section;
  uint8_t nops;        /* operands, optional and fixed ones included */
  uint8_t nmin;        /* operands without the optional ones */
  uint8_t nfixed;      /* fixed ones among them */
  IsaOperand op[ISA_MAX_OPERANDS];
} IsaForm;

/* Decoded once, lazily and thread-safely, from the rows. */
const IsaForm *isa_form(IsaId id);
/* The row of an opcode as written in PTX text, or ISA_NONE. Several rows may share an opcode (they differ in operands):
 * isa_next gives the following one. */
IsaId isa_find(const char *opcode, uint32_t len);
IsaId isa_next(IsaId id);

/* ---- opcodes as written (modifier.def) ---- */
typedef struct IsaModifier {
  const char *word;
  char group;
  const char *opcodes, *last, *sm;
  uint16_t version;
  const char *section;
} IsaModifier;
const IsaModifier *isa_modifier(uint32_t i); /* NULL: past the last */

typedef struct IsaSpelling { const char *written, *row; uint16_t version; } IsaSpelling;
const IsaSpelling *isa_spelling(const char *word, uint32_t len); /* of a part of an opcode; NULL: it stands for itself */

#define ISA_MAX_MODIFIERS 8
typedef struct IsaReading { /* zero before the first isa_read of an opcode */
  uint32_t step, n, nmodifiers;
  uint16_t version;         /* that the spelling of its words needs */
  const IsaModifier *modifier[ISA_MAX_MODIFIERS];
  char text[96];
} IsaReading;
/* The first row of an opcode as PTX text has it, then, call by call, of the other opcodes that it reads as; ISA_NONE: no more. */
IsaId isa_read(IsaReading *r, const char *opcode, uint32_t len);

/* ---- special registers (special.def) ---- */
typedef enum {
#define SPECIAL(id, text, cls, fixed, section) ISA_SPECIAL_##id,
#include "special.def"
#undef SPECIAL
  ISA_SPECIALS
} IsaSpecialId;

typedef struct IsaSpecial {
  const char *text;    /* "%tid.x" */
  char cls;            /* 'r' or 'l' */
  bool fixed;          /* every reading by one thread gives the same */
  const char *section;
} IsaSpecial;
const IsaSpecial *isa_special(IsaSpecialId id);
IsaSpecialId isa_special_find(const char *text, uint32_t len); /* ISA_SPECIALS: none */
#endif
