/* parse.h - the state of reading one PTX text: tokens, symbols, the function being built. */
#ifndef KILN_SIM_PARSE_H
#define KILN_SIM_PARSE_H
#include "sim.h"

typedef enum { TOK_END, TOK_WORD, TOK_INT, TOK_FLOAT, TOK_STRING, TOK_PUNCT } SimTokenKind;
typedef struct SimToken {
  SimTokenKind kind;
  const char *at;
  uint32_t n, line;
  uint64_t value;   /* INT: its bits. FLOAT: bits of the double, or of the f32 if single */
  bool single;      /* FLOAT written as 0fXXXXXXXX */
  bool hex;         /* FLOAT written as 0f or 0d */
  char punct;
} SimToken;

typedef enum { SYM_REG, SYM_RANGE, SYM_LABEL, SYM_PARAM, SYM_SHARED, SYM_DYNAMIC, SYM_GLOBAL, SYM_FUNCTION, SYM_STACK,
               SYM_TARGETS } SimSymKind;
typedef struct SimSym {
  const char *name;
  uint32_t n;
  uint8_t kind, depth, type, bits;
  uint32_t next;    /* in its bucket, 0: end */
  uint32_t older;   /* declared before it in the same scope */
  uint32_t id;      /* REG: vreg; LABEL: instruction; FUNCTION: index; TARGETS: where its list begins; STACK: vreg of its address, or 0 */
  uint64_t value;   /* RANGE: count; others: address; STACK: offset */
  uint64_t bytes;
  uint32_t align;
} SimSym;

#define SIM_MAX_DEPTH 64
#define SIM_MAX_OPERANDS 12
#define SIM_MAX_VECTOR 128
#define SIM_MAX_ELEMENTS 8 /* of a vector that may hold immediates */
#define SIM_BUCKETS 65536u

typedef enum { OPND_REG, OPND_VEC, OPND_INT, OPND_FLOAT, OPND_MEM, OPND_SYM, OPND_PAIR, OPND_SINK } SimOpndKind;
typedef struct SimOpnd {
  uint8_t kind, n;
  bool negated;
  bool sym_base;
  bool opens, closes;         /* [map, {...}]: two operands in one pair of brackets */
  uint32_t sym;               /* SYM, and MEM with a symbol as base: index + 1 */
  SimToken token;             /* where it begins, for messages; INT and FLOAT: its value */
  int64_t imm;                /* offset of MEM or SYM; INT: value with its sign */
  uint32_t reg[SIM_MAX_VECTOR]; /* vregs; in a vector SIM_SINK, SIM_IMMEDIATE too. From here on set only as far as `n` says */
  SimToken element[SIM_MAX_ELEMENTS]; /* vector elements that are immediates: reg is SIM_IMMEDIATE */
} SimOpnd;
#define SIM_IMMEDIATE 0xffffffffu
#define SIM_SINK 0xfffffffeu

/* lax: may be read before it is written; maybe: read where a predicate says so (then it must have been); held: used by an asynchronous product
 * after the instruction */
enum { SIM_REF_READ = 1, SIM_REF_WRITTEN = 2, SIM_REF_LAX = 4, SIM_REF_MAYBE = 8, SIM_REF_HELD = 16 };
typedef struct SimRef { /* one flattened register operand of an instruction, while the function is built */
  uint32_t vreg;
  uint8_t access;       /* SIM_REF_* */
} SimRef;

/* A label named before it is known: of an instruction's target, of a place in a list of targets, or of such a list. */
typedef enum { JUMP_BRANCH, JUMP_SLOT, JUMP_LIST } SimJumpKind;
typedef struct SimJump { uint32_t at; const char *name; uint32_t n, line; uint8_t depth, kind; } SimJump; /* at: instruction or place */

/* [.align N] .type name [ '[' count ']' ]... */
typedef struct SimDecl { SimToken name; uint8_t type, bits; uint64_t align, count, bytes; bool open; } SimDecl;

typedef struct SimParser {
  SimDevice *dev;
  SimModule *mod;
  const char *at, *end;
  uint32_t line;
  SimToken tok;
  char *log;
  size_t log_bytes;
  DrvResult code;            /* not success: refused, and the log says why */
  uint32_t *bucket;
  SimBuf syms;               /* SimSym, [0] unused */
  uint32_t newest[SIM_MAX_DEPTH + 1]; /* last symbol declared in each open scope */
  uint32_t depth;
  bool have_version, have_target;
  uint8_t takes_wider;       /* registers of the row that is being tried may have more bits than its type, which has these; 0: no */
  bool in_shared;            /* its generic address is one of shared memory */
  bool takes_second;         /* p|q: the opposite too */
  bool takes_number;         /* and sources may be numbers */
  /* the function being built */
  SimFunction *fn;
  SimBuf code_buf;           /* SimInstr */
  SimBuf vregs;              /* SimVreg, [0] unused */
  SimBuf refs;               /* SimRef */
  SimBuf first_ref;          /* uint32_t per instruction, and the end */
  SimBuf jumps;              /* SimJump not yet resolved */
  SimBuf calls, args, targets; /* SimCall, SimArg, uint32_t */
  uint64_t stack_at;         /* where the next array of the stack goes */
  SimBuf stack_map;          /* SimFunction.stack_map */
  uint64_t stack_saved[SIM_MAX_DEPTH + 1];
  uint32_t src_line;
  uint16_t src_file, own_file; /* own: of its first .loc */
  uint32_t const_bucket[1024]; /* constants by value: vreg + chain below */
  SimBuf const_next;         /* uint32_t per vreg */
  uint32_t sink[3];          /* by width: 0, 4, 8 bytes */
  uint32_t carry;            /* vreg of the carry, 0: not used so far */
  uint32_t special[SPECIAL_TIMER + 1]; /* vregs of special registers in use */
} SimParser;

/* lex.c */
void sim_lex_next(SimParser *p);
bool sim_lex_is(const SimParser *p, const char *word);   /* the token is this word */
bool sim_lex_punct(const SimParser *p, char c);
bool sim_lex_take(SimParser *p, char c);                 /* consumes it if it stands here */
bool sim_lex_expect(SimParser *p, char c);               /* or fails */
bool sim_parse_fail(SimParser *p, uint32_t line, DrvResult code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool sim_parse_memory(SimParser *p);                     /* out of memory; returns false */

/* symbol.c */
SimSym *sim_sym_find(SimParser *p, const char *name, uint32_t n);
SimSym *sim_sym_add(SimParser *p, const SimToken *name, SimSymKind kind); /* NULL: failed, said */
bool sim_scope_open(SimParser *p);
bool sim_scope_close(SimParser *p);
uint32_t sim_vreg_new(SimParser *p, SimVregKind kind, uint8_t width, uint64_t value); /* 0: failed */
uint32_t sim_vreg_const(SimParser *p, uint8_t width, uint64_t value);
uint32_t sim_vreg_named(SimParser *p, const char *name, uint32_t n); /* a declared register; 0: none such, nothing said */
bool sim_type_word(const char *s, uint32_t n, uint8_t *type, uint8_t *bits); /* "b32" -> 'b', 32 */

/* parse.c: shared with func.c */
bool sim_parse_decl(SimParser *p, SimDecl *d);
SimFunction *sim_function_new(SimParser *p, const SimToken *name); /* and its name; NULL: failed, said */
bool sim_parse_directives(SimParser *p);                  /* between the head of a function and its body */
bool sim_parse_code(SimParser *p, uint64_t shared_next);  /* the body and what follows from it */
/* func.c */
bool sim_parse_func(SimParser *p, bool is_extern, uint64_t shared_next);
bool sim_parse_stack(SimParser *p, bool keeps);           /* .local (keeps its room) or .param of a body */
bool sim_parse_call(SimParser *p, const SimToken *opcode, uint32_t guard, bool negated);
bool sim_parse_special_label(SimParser *p, const SimToken *name, bool *done); /* name: .branchtargets and the like */
bool sim_use_function(SimParser *p, uint32_t index, uint32_t line);
bool sim_link_functions(SimParser *p);
/* operand.c: one instruction, from the opcode to the semicolon */
bool sim_parse_operand(SimParser *p, SimOpnd *o);         /* one operand as written */
SimInstr *sim_begin_instruction(SimParser *p, const SimToken *op, const IsaForm *f, uint32_t guard, bool negated);
bool sim_push_ref(SimParser *p, uint32_t vreg, int access);
uint32_t sim_vreg_immediate(SimParser *p, const SimToken *t, char cls);
bool sim_parse_instruction(SimParser *p, const SimToken *opcode, uint32_t guard_vreg, bool guard_negated);
/* decode.c: handler and fields for a row. False: not simulated, said. */
bool sim_decode(SimParser *p, const IsaForm *form, SimInstr *in, const SimOpnd *ops, int n, const SimToken *opcode);
/* flow.c: slots, definedness, jump targets; false: failed, said */
bool sim_flow_finish(SimParser *p);
#endif
