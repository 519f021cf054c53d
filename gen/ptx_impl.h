/* ptx_impl.h - between the files ptx*.c: constants, simplification of one instruction, operands. */
#ifndef KILN_PTX_IMPL_H
#define KILN_PTX_IMPL_H
#include "ptx.h"

/* The instruction that defines r for good, or NULL (variables, guarded or several definitions, vectors). */
const PtxInstr *ptx_definition(const PtxProgram *p, uint32_t reg);
/* Is the operand an immediate, or a register that holds one? */
bool ptx_constant(const PtxProgram *p, const PtxOpnd *o, int64_t *value);
PtxOpnd *ptx_operand(const PtxProgram *p, const PtxInstr *in, int k);
/* The registers that an operand names, those of an address included; their number is returned. */
#define PTX_MAX_OPERAND_REGS 128
int ptx_operand_regs(const PtxProgram *p, const PtxOpnd *o, uint32_t out[PTX_MAX_OPERAND_REGS]);

PtxClass ptx_class_of(char letter);    /* of isa.h's class letters; PTX_CLASSES: none */
IsaId ptx_move_form(PtxClass c);       /* the move into a register of the class */
int64_t ptx_wrap(PtxClass c, int64_t v); /* an immediate as the class holds it, sign-extended */

/* Result of a pure form on constants, values sign-extended; false: not known (ptx_const.c). */
bool ptx_evaluate(IsaId form, int n, const int64_t *v, int64_t *result);

/* What is to be defined (ptx_simplify.c): returns a register that already holds it, or none, and the expression rewritten. */
typedef struct PtxExpr {
  IsaId form;
  int n;
  PtxOpnd src[ISA_MAX_OPERANDS];
} PtxExpr;
PtxReg ptx_simplify(PtxProgram *p, PtxExpr *e);
#endif
