/* ptx.h - a PTX program: instructions by form, registers by typed id, structured labels. Built by lowering, folded, checked,
 * printed. No text is made before ptx_text. */
#ifndef KILN_PTX_H
#define KILN_PTX_H
#include "base.h"
#include "target.h"

/* Register classes; also an index into the printed prefixes %p %h %r %l %f %d. */
typedef enum { PTX_P, PTX_H, PTX_R, PTX_L, PTX_F, PTX_D, PTX_CLASSES } PtxClass;

typedef struct PtxReg { uint32_t id; } PtxReg;     /* 0: none. Class and name stand in PtxProgram.regs */
typedef struct PtxLabel { uint32_t id; } PtxLabel; /* 0: none */
typedef struct PtxSym { uint32_t id; } PtxSym;     /* 0: none: a parameter or a shared array */

typedef enum { PTXO_NONE, PTXO_REG, PTXO_VEC, PTXO_IMM, PTXO_MEM_REG, PTXO_MEM_SYM, PTXO_LABEL, PTXO_SYM, PTXO_SPECIAL } PtxOpndKind;
typedef enum { /* special registers: the rows of isa/special.def, PTX_TID_X and so on */
#define SPECIAL(id, text, cls, fixed, section) PTX_##id,
#include "isa/special.def"
#undef SPECIAL
  PTX_SPECIALS
} PtxSpecial;

typedef struct PtxOpnd {
  uint8_t kind, n;  /* n: registers of a VEC */
  bool neg;         /* negated predicate source */
  uint32_t id;      /* register, first element in PtxProgram.vecs for VEC, symbol, label, special */
  int64_t imm;      /* IMM: bits (an f32 immediate is its 32 bits); MEM: byte offset */
  uint32_t id2;     /* second register of an r|p pair */
} PtxOpnd;

typedef struct PtxInstr {
  uint16_t form;    /* IsaId; 0: a label or a comment line */
  uint8_t nops;
  bool guard_neg;
  uint32_t guard;   /* predicate register, 0: none */
  uint32_t ops;     /* first operand in PtxProgram.opnds */
  uint32_t label;   /* form == 0: this label stands here */
  uint32_t note;    /* index into PtxProgram.notes, 0: none; printed as a // comment line before it */
  Loc loc;
} PtxInstr;

typedef struct PtxRegInfo {
  uint8_t cls;
  bool variable; /* written more than once */
  uint32_t def;  /* index + 1 in code of the only instruction that writes it, if that is known and has no guard; else 0 */
} PtxRegInfo;
typedef struct PtxSymInfo {
  const char *name;
  bool is_param;
  const char *type;   /* parameters: ".u64" ".f32" ".u32" ".s64" */
  uint32_t bytes, align;
  bool is_extern;     /* dynamic shared memory */
} PtxSymInfo;

typedef struct PtxProgram {
  Arena *arena;
  Diag *diag;
  const Target *target;
  const char *entry;              /* entry name */
  uint32_t threads;               /* .reqntid / .maxntid */
  uint32_t min_ctas;              /* .minnctapersm, 0: absent */
  uint32_t max_regs;              /* .maxnreg, 0: absent */
  uint32_t cluster[3];            /* .reqnctapercluster, 0: absent */
  VEC(PtxInstr) code;
  VEC(PtxOpnd) opnds;
  VEC(uint32_t) vecs;             /* register ids of brace vectors */
  VEC(PtxRegInfo) regs;
  VEC(PtxSymInfo) syms;
  VEC(const char *) notes;
  uint32_t nlabels;
  /* building state */
  Loc loc;                        /* stamped on each instruction */
  uint32_t guard; bool guard_neg; /* stamped on each instruction while set */
  struct PtxCse *cse;
} PtxProgram;

PtxProgram *ptx_new(Arena *a, Diag *d, const Target *t, const char *entry);

/* ---- building ---- */
PtxReg ptx_reg(PtxProgram *p, PtxClass c);      /* to be written once (or by one vector load) */
PtxReg ptx_var(PtxProgram *p, PtxClass c);      /* may be written many times: loop counters, accumulators */
PtxLabel ptx_label(PtxProgram *p);              /* a new label, not placed yet */
void ptx_place(PtxProgram *p, PtxLabel l);      /* stands here; merging forgets what was computed since the scope opened */
PtxSym ptx_param(PtxProgram *p, const char *name, const char *type, uint32_t bytes, uint32_t align);
PtxSym ptx_shared(PtxProgram *p, const char *name, uint32_t bytes, uint32_t align, bool is_extern);
void ptx_note(PtxProgram *p, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* comment before the next instruction */
void ptx_guard(PtxProgram *p, PtxReg pred, bool negated); /* following instructions are predicated; PtxReg{0}: no longer */

/* operands */
PtxOpnd po_r(PtxReg r);
PtxOpnd po_not(PtxReg pred);
PtxOpnd po_i(int64_t v);
PtxOpnd po_f(float v);                                     /* f32 immediate by its bits */
PtxOpnd po_vec(PtxProgram *p, const PtxReg *r, int n);
PtxOpnd po_mem(PtxReg base, int64_t byte_offset);
PtxOpnd po_sym_mem(PtxSym s, int64_t byte_offset);
PtxOpnd po_sym(PtxSym s);
PtxOpnd po_label(PtxLabel l);
PtxOpnd po_special(PtxSpecial s);
PtxOpnd po_pair(PtxReg d, PtxReg pred);                    /* d|p */

/* ptx_put appends an instruction with all its operands; an immediate where the form takes none is moved into a register first, and
 * operands that the form fixes (the 16 of cp_async_cg_16) may be left out. ptx_def does so for forms with one destination register: it makes
 * the register, or, where the form is pure and an equal instruction dominates, returns that one's; constants fold. */
void ptx_put_n(PtxProgram *p, IsaId form, int n, const PtxOpnd *ops);
PtxReg ptx_def_n(PtxProgram *p, IsaId form, int n, const PtxOpnd *srcs);
#define ptx_put(p, form, ...) ptx_put_n((p), (form), (int)(sizeof((PtxOpnd[]){__VA_ARGS__}) / sizeof(PtxOpnd)), (PtxOpnd[]){__VA_ARGS__})
#define ptx_def(p, form, ...) ptx_def_n((p), (form), (int)(sizeof((PtxOpnd[]){__VA_ARGS__}) / sizeof(PtxOpnd)), (PtxOpnd[]){__VA_ARGS__})

/* What was defined inside a scope (the body of an if or a loop) is not reused after it. */
void ptx_scope_begin(PtxProgram *p);
void ptx_scope_end(PtxProgram *p);

/* ---- passes, in this order ---- */
void ptx_fold(PtxProgram *p);   /* constants, address arithmetic into [reg+imm], merging within scopes, dead code */
bool ptx_check(PtxProgram *p);  /* operand classes and widths, target needs, guards on collectives, undefined registers; to diag */
int ptx_version(const PtxProgram *p); /* lowest .version times ten that has every form used (at least the target's own) */

/* The body: ".visible .entry name(...) ... { ... }" appended to out. The header (.version .target .file) is written once per
 * file by ptx_header, as a file may hold several entries. */
void ptx_header(Text *out, const Target *t, int version, const Diag *files);
void ptx_externs(const PtxProgram *p, Text *out); /* what the kernels of a file share: once, before the first */
void ptx_text(PtxProgram *p, Text *out);
#endif
