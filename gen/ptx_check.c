/* ptx_check.c - is the program well-formed and fit for its target? Whatever passes here, ptxas and the simulator accept. */
#include "ptx_impl.h"
#include <string.h>

typedef struct Check {
  PtxProgram *p;
  const PtxInstr *in;
  const IsaForm *form;
  uint32_t *writes;    /* by register: writes so far */
  uint8_t *placed;     /* by label: how often placed in all */
} Check;

static const char *const class_name[PTX_CLASSES] = {".pred", ".b16", ".b32", ".b64", ".f32", ".f64"};

#define ERROR(c, ...) diag_error((c)->p->diag, (c)->in->loc, __VA_ARGS__)

/* ---- one operand ---- */

static void check_class(Check *c, int k, uint32_t reg, PtxClass want) {
  if (reg == 0 || reg >= c->p->regs.n) {
    ERROR(c, "%s: operand %d has no register", c->form->opcode, k + 1);
    return;
  }
  PtxClass have = (PtxClass)c->p->regs.at[reg].cls;
  if (have != want) ERROR(c, "%s: operand %d takes a %s register, not %s", c->form->opcode, k + 1, class_name[want], class_name[have]);
}

static void check_immediate(Check *c, int k, const IsaOperand *want, int64_t v) {
  if (!want->imm_ok) {
    ERROR(c, "%s: operand %d takes no immediate", c->form->opcode, k + 1);
    return;
  }
  if (want->kind == ISA_OPND_IMM && want->fixed && v != want->value)
    ERROR(c, "%s: operand %d is always %d, not %lld", c->form->opcode, k + 1, want->value, (long long)v);
  PtxClass cls = ptx_class_of(want->cls);
  bool fits = cls == PTX_H ? v >= -32768 && v <= 65535 : cls == PTX_R || cls == PTX_F ? v >= INT32_MIN && v <= UINT32_MAX : true;
  if (!fits) ERROR(c, "%s: %lld does not fit a %s operand", c->form->opcode, (long long)v, class_name[cls]);
}

static void check_register(Check *c, int k, const IsaOperand *want, const PtxOpnd *o) {
  PtxClass cls = ptx_class_of(want->cls);
  if (o->kind == PTXO_IMM) {
    check_immediate(c, k, want, o->imm);
    return;
  }
  int count = o->kind == PTXO_VEC ? o->n : o->kind == PTXO_REG ? 1 : 0;
  if (count != want->count || (o->kind == PTXO_VEC && !want->brace)) {
    ERROR(c, "%s: operand %d takes %d %s register%s, not %d", c->form->opcode, k + 1, want->count, class_name[cls],
          want->count > 1 ? "s" : "", count);
    return;
  }
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  if (o->kind == PTXO_REG) check_class(c, k, o->id, cls);
  else
    for (int n = ptx_operand_regs(c->p, o, regs); n-- > 0;) check_class(c, k, regs[n], cls);
  if (o->neg && !want->negatable) ERROR(c, "%s: operand %d cannot be negated", c->form->opcode, k + 1);
  if (want->pair_pred) check_class(c, k, o->id2, PTX_P);
  else if (o->id2) ERROR(c, "%s: operand %d is not a pair", c->form->opcode, k + 1);
}

static void check_memory(Check *c, int k, const IsaOperand *want, const PtxOpnd *o) {
  if (o->imm != (int32_t)o->imm) ERROR(c, "%s: offset %lld does not fit 32 bits", c->form->opcode, (long long)o->imm);
  if (o->kind == PTXO_MEM_SYM) {
    bool known = o->id && o->id < c->p->syms.n, param = known && c->p->syms.at[o->id].is_param;
    if (!known || param != (want->cls == 'p') || (!param && want->cls != 's' && want->cls != 'k'))
      ERROR(c, "%s: operand %d takes no such symbol", c->form->opcode, k + 1);
    return;
  }
  if (o->kind != PTXO_MEM_REG || want->cls == 'p') {
    ERROR(c, "%s: operand %d is not an address of its state space", c->form->opcode, k + 1);
    return;
  }
  if (want->opens && o->imm) ERROR(c, "%s: the address of a tensor map takes no offset", c->form->opcode);
  check_class(c, k, o->id, want->cls == 's' || want->cls == 'k' || want->cls == 'l' ? PTX_R : PTX_L);
}

static void check_operand(Check *c, int k) {
  const IsaOperand *want = &c->form->op[k];
  const PtxOpnd *o = ptx_operand(c->p, c->in, k);
  bool good = true;
  switch (want->kind) {
  case ISA_OPND_REG: check_register(c, k, want, o); break;
  case ISA_OPND_MEM: check_memory(c, k, want, o); break;
  case ISA_OPND_IMM:
  case ISA_OPND_SINK:
    if (o->kind == PTXO_IMM) check_immediate(c, k, want, o->imm);
    else good = false;
    break;
  case ISA_OPND_LABEL:
    good = o->kind == PTXO_LABEL && o->id && o->id <= c->p->nlabels;
    if (good && !c->placed[o->id]) ERROR(c, "%s: its label is never placed", c->form->opcode);
    break;
  case ISA_OPND_SYMBOL: good = o->kind == PTXO_SYM && o->id && o->id < c->p->syms.n; break;
  default:
    good = o->kind == PTXO_SPECIAL && o->id < PTX_SPECIALS && isa_special((IsaSpecialId)o->id)->cls == c->form->op[0].cls;
    break;
  }
  if (!good) ERROR(c, "%s: operand %d is of another kind than the instruction takes", c->form->opcode, k + 1);
}

/* ---- reads and writes ---- */

static void check_read(Check *c, uint32_t reg) {
  if (reg < c->p->regs.n && !c->writes[reg])
    ERROR(c, "%s reads a %s register before anything is written to it", c->form->opcode, class_name[c->p->regs.at[reg].cls]);
}

static void check_flow(Check *c) {
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  if (c->in->guard) {
    check_read(c, c->in->guard);
    if (c->p->regs.at[c->in->guard].cls != PTX_P) ERROR(c, "%s: the guard is no predicate", c->form->opcode);
  }
  for (int k = 0; k < c->in->nops; k++)
    if (c->form->op[k].reads && !c->form->op[k].unset_ok)
      for (int n = ptx_operand_regs(c->p, ptx_operand(c->p, c->in, k), regs); n-- > 0;) check_read(c, regs[n]);
  for (int k = 0; k < c->in->nops; k++) {
    if (!c->form->op[k].writes) continue;
    for (int n = ptx_operand_regs(c->p, ptx_operand(c->p, c->in, k), regs); n-- > 0;)
      if (regs[n] < c->p->regs.n && c->writes[regs[n]]++ && !c->p->regs.at[regs[n]].variable)
        ERROR(c, "%s writes a register that is not a variable for the second time", c->form->opcode);
  }
}

/* ---- one instruction ---- */

static void check_needs(Check *c) {
  if (target_runs(c->p->target, c->form->sm)) return;
  ERROR(c, "%s needs sm_%s, the target is %s", c->form->opcode, c->form->sm, c->p->target->name);
}

static void check_instruction(Check *c) {
  check_needs(c);
  if (c->in->nops < c->form->nmin || c->in->nops > c->form->nops) {
    ERROR(c, "%s takes %d operands, not %d", c->form->opcode, c->form->nmin, c->in->nops);
    return;
  }
  if (c->in->guard && (c->form->flags & ISA_COLLECTIVE))
    ERROR(c, "%s is executed by the whole warp and cannot be predicated", c->form->opcode);
  int before = c->p->diag->errors;
  for (int k = 0; k < c->in->nops; k++) check_operand(c, k);
  if (c->p->diag->errors == before) check_flow(c);
}

static void check_labels(Check *c) {
  for (uint32_t i = 0; i < c->p->code.n; i++) {
    c->in = &c->p->code.at[i];
    if (c->in->form || !c->in->label) continue;
    if (c->in->label > c->p->nlabels) ERROR(c, "a label that was never made is placed");
    else if (c->placed[c->in->label]++) ERROR(c, "a label is placed twice");
  }
}

/* Static shared memory is held against what every target gives without asking; the rest must be dynamic. */
#define STATIC_SHARED_BYTES 49152u

static void check_shared(Check *c) {
  uint64_t bytes = 0;
  for (uint32_t i = 1; i < c->p->syms.n; i++)
    if (!c->p->syms.at[i].is_param && !c->p->syms.at[i].is_extern) bytes += c->p->syms.at[i].bytes;
  if (bytes > STATIC_SHARED_BYTES)
    diag_error(c->p->diag, c->p->loc, "%s declares %llu bytes of static shared memory, at most %u are possible; use dynamic shared memory",
               c->p->entry, (unsigned long long)bytes, STATIC_SHARED_BYTES);
}

bool ptx_check(PtxProgram *p) {
  Check c = {.p = p};
  int before = p->diag->errors;
  c.writes = ARENA_ARRAY(p->arena, PASS, uint32_t, p->regs.n);
  c.placed = ARENA_ARRAY(p->arena, PASS, uint8_t, p->nlabels + 1);
  check_labels(&c);
  for (uint32_t i = 0; i < p->code.n; i++) {
    c.in = &p->code.at[i];
    if (!c.in->form) continue;
    c.form = isa_form((IsaId)c.in->form);
    check_instruction(&c);
  }
  check_shared(&c);
  return p->diag->errors == before;
}

int ptx_version(const PtxProgram *p) {
  int version = p->target->version;
  for (uint32_t i = 0; i < p->code.n; i++) {
    if (!p->code.at[i].form) continue;
    int needs = isa_form((IsaId)p->code.at[i].form)->version;
    if (needs > version) version = needs;
  }
  return version;
}
