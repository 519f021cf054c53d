/* ptx_fold.c - the pass over a whole program: constant parts of addresses into [reg+imm], products into sums, dead code out.
 *
 * Merging and constants happened while the program was built (ptx.c, ptx_simplify.c). Everything here is linear in its length. */
#include "ptx_impl.h"
#include <string.h>

typedef struct Fold {
  PtxProgram *p;
  uint32_t *uses;        /* by register: how often it is read */
  uint32_t *last_write;  /* by register: index + 1 of its last write so far */
  uint32_t last_label;   /* index + 1 of the last label so far */
  bool *live;            /* by instruction */
} Fold;

/* ---- addresses ---- */

/* Does x still hold at instruction `at` what it held at `def`? Always, if it is written once; a variable does within straight code
 * without a write in between. */
static bool still_holds(const Fold *f, const PtxOpnd *x, uint32_t def) {
  if (x->kind != PTXO_REG || x->neg) return false;
  if (!f->p->regs.at[x->id].variable) return true;
  return def + 1 > f->last_label && f->last_write[x->id] <= def;
}

static void fold_address(const Fold *f, PtxOpnd *m) {
  while (m->kind == PTXO_MEM_REG) {
    const PtxInstr *in = ptx_definition(f->p, m->id);
    if (!in) return;
    uint32_t def = (uint32_t)(in - f->p->code.at);
    if (in->form == ISA_mov_u32_symbol || in->form == ISA_mov_u64_symbol) {
      *m = po_sym_mem((PtxSym){ptx_operand(f->p, in, 1)->id}, m->imm);
      return;
    }
    if (in->form != ISA_add_s32 && in->form != ISA_add_s64) return;
    const PtxOpnd *x = ptx_operand(f->p, in, 1), *c = ptx_operand(f->p, in, 2);
    if (c->kind != PTXO_IMM || !still_holds(f, x, def)) return;
    int64_t sum = m->imm + c->imm;
    if (c->imm != (int32_t)c->imm || sum != (int32_t)sum) return;
    *m = po_mem((PtxReg){x->id}, sum);
  }
}

static void fold_addresses(Fold *f) {
  PtxProgram *p = f->p;
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  for (uint32_t i = 0; i < p->code.n; i++) {
    PtxInstr *in = &p->code.at[i];
    if (!in->form) {
      if (in->label) f->last_label = i + 1;
      continue;
    }
    const IsaForm *form = isa_form((IsaId)in->form);
    for (int k = 0; k < in->nops && k < form->nops; k++) {
      PtxOpnd *o = ptx_operand(p, in, k);
      if (form->op[k].kind == ISA_OPND_MEM && !form->op[k].opens) fold_address(f, o);
      else if (form->op[k].writes)
        for (int n = ptx_operand_regs(p, o, regs); n-- > 0;) f->last_write[regs[n]] = i + 1;
    }
  }
}

/* ---- products into sums ---- */

static void count_uses(Fold *f) {
  const PtxProgram *p = f->p;
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  for (uint32_t i = 0; i < p->code.n; i++) {
    const PtxInstr *in = &p->code.at[i];
    if (!in->form) continue;
    const IsaForm *form = isa_form((IsaId)in->form);
    if (in->guard) f->uses[in->guard]++;
    for (int k = 0; k < in->nops && k < form->nops; k++)
      if (form->op[k].reads)
        for (int n = ptx_operand_regs(p, ptx_operand(p, in, k), regs); n-- > 0;) f->uses[regs[n]]++;
  }
}

static IsaId joined_form(uint16_t sum, uint16_t product) {
  if (sum == ISA_add_s32) return product == ISA_mul_lo_s32 ? ISA_mad_lo_s32 : ISA_NONE;
  switch (product) {
  case ISA_mul_lo_s64: return ISA_mad_lo_s64;
  case ISA_mul_wide_s32: return ISA_mad_wide_s32;
  case ISA_mul_wide_u32: return ISA_mad_wide_u32;
  default: return ISA_NONE;
  }
}

/* Source k of the sum is a product that nothing else reads, of operands that do not change: one instruction instead of two. */
static bool join_product(Fold *f, PtxInstr *sum, int k) {
  PtxProgram *p = f->p;
  PtxOpnd *o = ptx_operand(p, sum, k);
  if (o->kind != PTXO_REG || f->uses[o->id] != 1) return false;
  const PtxInstr *product = ptx_definition(p, o->id);
  IsaId form = product ? joined_form(sum->form, product->form) : ISA_NONE;
  if (!form) return false;
  PtxOpnd ops[4] = {*ptx_operand(p, sum, 0), *ptx_operand(p, product, 1), *ptx_operand(p, product, 2), *ptx_operand(p, sum, 3 - k)};
  for (int i = 1; i < 3; i++)
    if (ops[i].kind == PTXO_REG && p->regs.at[ops[i].id].variable) return false;
  f->uses[o->id] = 0;
  sum->form = (uint16_t)form, sum->nops = 4, sum->ops = p->opnds.n;
  for (int i = 0; i < 4; i++) *VEC_PUSH(p->arena, KEEP, &p->opnds) = ops[i];
  return true;
}

static void join_products(Fold *f) {
  count_uses(f);
  for (uint32_t i = 0; i < f->p->code.n; i++) {
    PtxInstr *in = &f->p->code.at[i];
    if (in->form == ISA_add_s32 || in->form == ISA_add_s64) {
      if (!join_product(f, in, 1)) join_product(f, in, 2);
    }
  }
}

/* ---- dead code ---- */

static bool may_drop(const IsaForm *f) {
  return (f->flags & (ISA_PURE | ISA_READS)) && !(f->flags & (ISA_WRITES | ISA_SYNC | ISA_ASYNC | ISA_TERMINATOR));
}

typedef struct Writers { /* of each register: at[first[r]] .. at[first[r+1]] */
  uint32_t *first, *at;
} Writers;

static Writers find_writers(Fold *f) {
  PtxProgram *p = f->p;
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  Writers w = {ARENA_ARRAY(p->arena, PASS, uint32_t, p->regs.n + 2), NULL};
  for (int round = 0; round < 2; round++) {
    for (uint32_t i = 0; i < p->code.n; i++) {
      const PtxInstr *in = &p->code.at[i];
      if (!in->form) continue;
      const IsaForm *form = isa_form((IsaId)in->form);
      for (int k = 0; k < in->nops && k < form->nops; k++) {
        if (!form->op[k].writes) continue;
        for (int n = ptx_operand_regs(p, ptx_operand(p, in, k), regs); n-- > 0;) {
          if (round) w.at[w.first[regs[n] + 1]++] = i;
          else w.first[regs[n] + 2]++;
        }
      }
    }
    if (round) break;
    for (uint32_t r = 2; r < p->regs.n + 2; r++) w.first[r] += w.first[r - 1];
    w.at = ARENA_ARRAY(p->arena, PASS, uint32_t, w.first[p->regs.n + 1] + 1);
  }
  return w;
}

static void mark_live(Fold *f) {
  PtxProgram *p = f->p;
  Writers w = find_writers(f);
  uint32_t regs[PTX_MAX_OPERAND_REGS], todo = 0, *stack = ARENA_ARRAY(p->arena, PASS, uint32_t, p->code.n + 1);
  bool *read = ARENA_ARRAY(p->arena, PASS, bool, p->regs.n);
  for (uint32_t i = 0; i < p->code.n; i++)
    if (p->code.at[i].form && !may_drop(isa_form((IsaId)p->code.at[i].form))) f->live[i] = true, stack[todo++] = i;
  while (todo) {
    const PtxInstr *in = &p->code.at[stack[--todo]];
    const IsaForm *form = isa_form((IsaId)in->form);
    for (int k = -1; k < in->nops && k < form->nops; k++) {
      int n = 0;
      if (k < 0) n = in->guard ? (regs[0] = in->guard, 1) : 0;
      else if (form->op[k].reads) n = ptx_operand_regs(p, ptx_operand(p, in, k), regs);
      while (n-- > 0) {
        uint32_t r = regs[n];
        if (read[r]) continue;
        read[r] = true;
        for (uint32_t at = w.first[r]; at < w.first[r + 1]; at++)
          if (!f->live[w.at[at]]) f->live[w.at[at]] = true, stack[todo++] = w.at[at];
      }
    }
  }
}

/* A branch to the very next instruction goes nowhere. */
static void drop_short_branches(Fold *f) {
  PtxProgram *p = f->p;
  for (uint32_t i = 0; i < p->code.n; i++) {
    const PtxInstr *in = &p->code.at[i];
    if (in->form != ISA_bra && in->form != ISA_bra_uni) continue;
    uint32_t label = ptx_operand(p, in, 0)->id;
    for (uint32_t k = i + 1; k < p->code.n && (!p->code.at[k].form || !f->live[k]); k++)
      if (!p->code.at[k].form && p->code.at[k].label == label) f->live[i] = false;
  }
}

/* Labels live while a branch names them; a note lives while something between it and the next note or label does. */
static void keep_lines(Fold *f) {
  PtxProgram *p = f->p;
  bool *named = ARENA_ARRAY(p->arena, PASS, bool, p->nlabels + 1);
  for (uint32_t i = 0; i < p->code.n; i++) {
    const PtxInstr *in = &p->code.at[i];
    if (!in->form || !f->live[i]) continue;
    for (int k = 0; k < in->nops; k++)
      if (ptx_operand(p, in, k)->kind == PTXO_LABEL) named[ptx_operand(p, in, k)->id] = true;
  }
  bool useful = false;
  for (uint32_t i = p->code.n; i-- > 0;) {
    const PtxInstr *in = &p->code.at[i];
    if (in->form) useful |= f->live[i];
    else if (in->label) f->live[i] = named[in->label], useful = true;
    else f->live[i] = useful, useful = false;
  }
}

static void compact(Fold *f) {
  PtxProgram *p = f->p;
  uint32_t *moved = ARENA_ARRAY(p->arena, PASS, uint32_t, p->code.n + 1), n = 0;
  for (uint32_t i = 0; i < p->code.n; i++) {
    if (!f->live[i]) continue;
    p->code.at[n] = p->code.at[i];
    moved[i + 1] = ++n;
  }
  p->code.n = n;
  for (uint32_t r = 1; r < p->regs.n; r++) p->regs.at[r].def = moved[p->regs.at[r].def];
}

void ptx_fold(PtxProgram *p) {
  Fold f = {.p = p};
  f.uses = ARENA_ARRAY(p->arena, PASS, uint32_t, p->regs.n);
  f.last_write = ARENA_ARRAY(p->arena, PASS, uint32_t, p->regs.n);
  f.live = ARENA_ARRAY(p->arena, PASS, bool, p->code.n + 1);
  fold_addresses(&f);
  join_products(&f);
  mark_live(&f);
  drop_short_branches(&f);
  keep_lines(&f);
  compact(&f);
}
