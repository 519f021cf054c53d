/* ptx.c - building a PTX program: registers, labels, operands, instructions, and the merging of equal pure instructions. */
#include "ptx_impl.h"
#include <stdio.h>
#include <string.h>

/* ---- merging ----
 * A stack of the pure instructions whose results may be used again here, with a hash index. What is on the stack dominates the
 * place where building stands: a branch forward remembers how far the stack had come, and where its label is placed everything
 * younger is forgotten. Serial numbers tell the young from the old also after something was forgotten in between. */

typedef struct CseEntry {
  uint32_t hash, instr, serial;
  uint32_t next; /* the next older entry of the bucket + 1 */
} CseEntry;

typedef struct PtxCse {
  VEC(CseEntry) stack;
  VEC(uint32_t) scopes;        /* serial at which each open scope began */
  VEC(uint32_t) label_serial;  /* by label: the lowest serial at a branch to it; 0: none yet */
  uint32_t *buckets;           /* youngest entry + 1 */
  uint32_t nbuckets, serial;
} PtxCse;

PtxProgram *ptx_new(Arena *a, Diag *d, const Target *t, const char *entry) {
  PtxProgram *p = ARENA_NEW(a, KEEP, PtxProgram);
  p->arena = a, p->diag = d, p->target = t, p->entry = entry;
  p->cse = ARENA_NEW(a, KEEP, PtxCse);
  p->cse->nbuckets = 1024;
  p->cse->buckets = ARENA_ARRAY(a, KEEP, uint32_t, p->cse->nbuckets);
  p->cse->serial = 1;
  /* Index 0 of each table means "none". */
  VEC_PUSH(a, KEEP, &p->regs);
  VEC_PUSH(a, KEEP, &p->syms);
  VEC_PUSH(a, KEEP, &p->notes);
  VEC_PUSH(a, KEEP, &p->cse->label_serial);
  return p;
}

static void forget_since(PtxCse *c, uint32_t serial) {
  while (c->stack.n && c->stack.at[c->stack.n - 1].serial >= serial) {
    const CseEntry *e = &c->stack.at[--c->stack.n];
    c->buckets[e->hash & (c->nbuckets - 1)] = e->next;
  }
}

static void grow_buckets(PtxProgram *p) {
  PtxCse *c = p->cse;
  c->nbuckets *= 4;
  c->buckets = ARENA_ARRAY(p->arena, KEEP, uint32_t, c->nbuckets);
  for (uint32_t i = 0; i < c->stack.n; i++) {
    uint32_t *b = &c->buckets[c->stack.at[i].hash & (c->nbuckets - 1)];
    c->stack.at[i].next = *b;
    *b = i + 1;
  }
}

static void remember(PtxProgram *p, uint32_t hash, uint32_t instr) {
  PtxCse *c = p->cse;
  if (c->stack.n >= c->nbuckets * 2) grow_buckets(p);
  CseEntry *e = VEC_PUSH(p->arena, KEEP, &c->stack);
  uint32_t *b = &c->buckets[hash & (c->nbuckets - 1)];
  *e = (CseEntry){.hash = hash, .instr = instr, .serial = c->serial++, .next = *b};
  *b = c->stack.n;
}

static uint32_t mix(uint32_t h, uint64_t v) {
  v = (v ^ h) * 0x9E3779B97F4A7C15ull;
  return (uint32_t)(v ^ v >> 32);
}

static uint32_t hash_expr(const PtxProgram *p, const PtxExpr *e) {
  uint32_t h = mix(17, (uint64_t)e->form);
  for (int i = 0; i < e->n; i++) {
    const PtxOpnd *o = &e->src[i];
    h = mix(h, (uint64_t)o->kind << 32 | (uint64_t)o->neg << 40 | (o->kind == PTXO_VEC ? o->n : o->id));
    h = mix(h, (uint64_t)o->imm);
    for (int k = 0; o->kind == PTXO_VEC && k < o->n; k++) h = mix(h, p->vecs.at[o->id + (uint32_t)k]);
  }
  return h;
}

static bool same_operand(const PtxProgram *p, const PtxOpnd *a, const PtxOpnd *b) {
  if (a->kind != b->kind || a->n != b->n || a->neg != b->neg || a->imm != b->imm || a->id2 != b->id2) return false;
  if (a->kind != PTXO_VEC) return a->id == b->id;
  return memcmp(&p->vecs.at[a->id], &p->vecs.at[b->id], sizeof(uint32_t) * a->n) == 0;
}

static PtxReg find_equal(const PtxProgram *p, uint32_t hash, const PtxExpr *e) {
  const PtxCse *c = p->cse;
  for (uint32_t at = c->buckets[hash & (c->nbuckets - 1)]; at; at = c->stack.at[at - 1].next) {
    const CseEntry *entry = &c->stack.at[at - 1];
    const PtxInstr *in = &p->code.at[entry->instr];
    if (entry->hash != hash || in->form != e->form || in->nops != e->n + 1) continue;
    bool same = true;
    for (int i = 0; i < e->n && same; i++) same = same_operand(p, &e->src[i], ptx_operand(p, in, i + 1));
    if (same) return (PtxReg){ptx_operand(p, in, 0)->id};
  }
  return (PtxReg){0};
}

/* Pure, and made of what does not change: no variables, no clocks. */
static bool may_merge(const PtxProgram *p, const PtxExpr *e) {
  uint32_t regs[PTX_MAX_OPERAND_REGS];
  if (p->guard || !(isa_form(e->form)->flags & ISA_PURE)) return false;
  for (int i = 0; i < e->n; i++) {
    const PtxOpnd *o = &e->src[i];
    if (o->kind == PTXO_SPECIAL && !isa_special((IsaSpecialId)o->id)->fixed) return false;
    int n = ptx_operand_regs(p, o, regs);
    for (int k = 0; k < n; k++)
      if (p->regs.at[regs[k]].variable) return false;
  }
  return true;
}

/* ---- registers, labels, symbols, notes ---- */

static PtxReg new_reg(PtxProgram *p, PtxClass c, bool variable) {
  PtxRegInfo *r = VEC_PUSH(p->arena, KEEP, &p->regs);
  r->cls = (uint8_t)c, r->variable = variable;
  return (PtxReg){p->regs.n - 1};
}

PtxReg ptx_reg(PtxProgram *p, PtxClass c) { return new_reg(p, c, false); }
PtxReg ptx_var(PtxProgram *p, PtxClass c) { return new_reg(p, c, true); }

PtxLabel ptx_label(PtxProgram *p) {
  VEC_PUSH(p->arena, KEEP, &p->cse->label_serial);
  return (PtxLabel){++p->nlabels};
}

void ptx_place(PtxProgram *p, PtxLabel l) {
  PtxInstr *in = VEC_PUSH(p->arena, KEEP, &p->code);
  in->label = l.id, in->loc = p->loc;
  if (p->cse->label_serial.at[l.id]) forget_since(p->cse, p->cse->label_serial.at[l.id]);
}

void ptx_scope_begin(PtxProgram *p) { *VEC_PUSH(p->arena, KEEP, &p->cse->scopes) = p->cse->serial++; }

void ptx_scope_end(PtxProgram *p) {
  BUG_IF(!p->cse->scopes.n, "ptx_scope_end without a scope");
  forget_since(p->cse, p->cse->scopes.at[--p->cse->scopes.n]);
}

static PtxSym new_symbol(PtxProgram *p, PtxSymInfo info) {
  *VEC_PUSH(p->arena, KEEP, &p->syms) = info;
  return (PtxSym){p->syms.n - 1};
}

PtxSym ptx_param(PtxProgram *p, const char *name, const char *type, uint32_t bytes, uint32_t align) {
  return new_symbol(p, (PtxSymInfo){.name = name, .is_param = true, .type = type, .bytes = bytes, .align = align});
}

PtxSym ptx_shared(PtxProgram *p, const char *name, uint32_t bytes, uint32_t align, bool is_extern) {
  return new_symbol(p, (PtxSymInfo){.name = name, .bytes = bytes, .align = align, .is_extern = is_extern});
}

void ptx_note(PtxProgram *p, const char *fmt, ...) {
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < ' ') *c = ' '; /* a note is one line */
  *VEC_PUSH(p->arena, KEEP, &p->notes) = arena_str(p->arena, KEEP, text, strlen(text));
  PtxInstr *in = VEC_PUSH(p->arena, KEEP, &p->code);
  in->note = p->notes.n - 1, in->loc = p->loc;
}

void ptx_guard(PtxProgram *p, PtxReg pred, bool negated) { p->guard = pred.id, p->guard_neg = negated; }

/* ---- operands ---- */

PtxOpnd po_r(PtxReg r) { return (PtxOpnd){.kind = PTXO_REG, .id = r.id}; }
PtxOpnd po_not(PtxReg pred) { return (PtxOpnd){.kind = PTXO_REG, .id = pred.id, .neg = true}; }
PtxOpnd po_i(int64_t v) { return (PtxOpnd){.kind = PTXO_IMM, .imm = v}; }
PtxOpnd po_mem(PtxReg base, int64_t byte_offset) { return (PtxOpnd){.kind = PTXO_MEM_REG, .id = base.id, .imm = byte_offset}; }
PtxOpnd po_sym_mem(PtxSym s, int64_t byte_offset) { return (PtxOpnd){.kind = PTXO_MEM_SYM, .id = s.id, .imm = byte_offset}; }
PtxOpnd po_sym(PtxSym s) { return (PtxOpnd){.kind = PTXO_SYM, .id = s.id}; }
PtxOpnd po_label(PtxLabel l) { return (PtxOpnd){.kind = PTXO_LABEL, .id = l.id}; }
PtxOpnd po_special(PtxSpecial s) { return (PtxOpnd){.kind = PTXO_SPECIAL, .id = (uint32_t)s}; }
PtxOpnd po_pair(PtxReg d, PtxReg pred) { return (PtxOpnd){.kind = PTXO_REG, .id = d.id, .id2 = pred.id}; }

PtxOpnd po_f(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  return (PtxOpnd){.kind = PTXO_IMM, .imm = (int32_t)bits};
}

PtxOpnd po_vec(PtxProgram *p, const PtxReg *r, int n) {
  uint32_t first = p->vecs.n;
  for (int i = 0; i < n; i++) *VEC_PUSH(p->arena, KEEP, &p->vecs) = r[i].id;
  return (PtxOpnd){.kind = PTXO_VEC, .n = (uint8_t)n, .id = first};
}

PtxOpnd *ptx_operand(const PtxProgram *p, const PtxInstr *in, int k) { return &p->opnds.at[in->ops + (uint32_t)k]; }

int ptx_operand_regs(const PtxProgram *p, const PtxOpnd *o, uint32_t out[PTX_MAX_OPERAND_REGS]) {
  int n = 0;
  switch (o->kind) {
  case PTXO_REG:
    out[n++] = o->id;
    if (o->id2) out[n++] = o->id2;
    return n;
  case PTXO_MEM_REG: out[n++] = o->id; return n;
  case PTXO_VEC:
    for (; n < o->n && n < PTX_MAX_OPERAND_REGS; n++) out[n] = p->vecs.at[o->id + (uint32_t)n];
    return n;
  default: return 0;
  }
}

PtxClass ptx_class_of(char letter) {
  switch (letter) {
  case 'p': return PTX_P;
  case 'h': return PTX_H;
  case 'r': return PTX_R;
  case 'l': return PTX_L;
  case 'f': return PTX_F;
  case 'd': return PTX_D;
  default: return PTX_CLASSES;
  }
}

IsaId ptx_move_form(PtxClass c) {
  static const IsaId form[PTX_CLASSES] = {ISA_mov_pred, ISA_mov_b16, ISA_mov_b32, ISA_mov_b64, ISA_mov_f32, ISA_mov_f64};
  return form[c];
}

int64_t ptx_wrap(PtxClass c, int64_t v) {
  switch (c) {
  case PTX_P: return v != 0;
  case PTX_H: return (int16_t)v;
  case PTX_R: case PTX_F: return (int32_t)v;
  default: return v;
  }
}

const PtxInstr *ptx_definition(const PtxProgram *p, uint32_t reg) {
  uint32_t def = p->regs.at[reg].def;
  return def ? &p->code.at[def - 1] : NULL;
}

bool ptx_constant(const PtxProgram *p, const PtxOpnd *o, int64_t *value) {
  if (o->kind == PTXO_IMM) return *value = o->imm, true;
  if (o->kind != PTXO_REG || o->neg || o->id2) return false;
  const PtxInstr *in = ptx_definition(p, o->id);
  if (!in || in->form != ptx_move_form((PtxClass)p->regs.at[o->id].cls)) return false;
  const PtxOpnd *src = ptx_operand(p, in, 1);
  return *value = src->imm, src->kind == PTXO_IMM;
}

/* ---- instructions ---- */

static void append(PtxProgram *p, IsaId form, int n, const PtxOpnd *ops) {
  uint32_t first = p->opnds.n;
  for (int i = 0; i < n; i++) *VEC_PUSH(p->arena, KEEP, &p->opnds) = ops[i];
  PtxInstr *in = VEC_PUSH(p->arena, KEEP, &p->code);
  *in = (PtxInstr){.form = (uint16_t)form, .nops = (uint8_t)n, .guard = p->guard, .guard_neg = p->guard_neg, .ops = first, .loc = p->loc};
}

/* Operands that the form fixes are put in where they were left out. */
static int insert_fixed(const IsaForm *f, int n, const PtxOpnd *from, PtxOpnd *to) {
  bool missing = f->nfixed && n == f->nmin - f->nfixed;
  int count = 0;
  for (int i = 0; (i < n || (missing && count < f->nmin)) && count < ISA_MAX_OPERANDS;) {
    if (missing && f->op[count].fixed) to[count] = po_i(f->op[count].value), count++;
    else if (i < n) to[count++] = from[i++];
    else break;
  }
  return count;
}

/* Registers that hold constants become immediates where the form takes them, immediates become registers where it does not. The
 * approximate functions keep their registers: ptxas would fold them more exactly than the hardware computes. */
static void legalize(PtxProgram *p, const IsaForm *f, int first, int n, PtxOpnd *ops) {
  for (int i = first; i < n && i < f->nops; i++) {
    const IsaOperand *o = &f->op[i];
    int64_t value;
    if (o->kind != ISA_OPND_REG || o->writes || ops[i].kind == PTXO_VEC) continue;
    if (o->imm_ok && !(f->flags & ISA_APPROX)) {
      if (ptx_constant(p, &ops[i], &value)) ops[i] = po_i(ptx_wrap(ptx_class_of(o->cls), value));
    } else if (ops[i].kind == PTXO_IMM && ptx_class_of(o->cls) != PTX_CLASSES) {
      uint32_t guard = p->guard;
      p->guard = 0;
      ops[i] = po_r(ptx_def(p, ptx_move_form(ptx_class_of(o->cls)), ops[i]));
      p->guard = guard;
    }
  }
}

/* Where registers are written for the only time, the instruction is their definition. */
static void note_definition(PtxProgram *p, const IsaForm *f, const PtxOpnd *ops) {
  if (p->guard || !f->nops || !f->op[0].writes || f->op[0].reads || ops[0].kind != PTXO_REG) return;
  PtxRegInfo *r = &p->regs.at[ops[0].id];
  if (!r->variable && !r->def) r->def = p->code.n;
}

void ptx_put_n(PtxProgram *p, IsaId form, int n, const PtxOpnd *given) {
  const IsaForm *f = isa_form(form);
  PtxOpnd ops[ISA_MAX_OPERANDS];
  BUG_IF(n > ISA_MAX_OPERANDS, "too many operands");
  n = insert_fixed(f, n, given, ops);
  legalize(p, f, 0, n, ops);
  append(p, form, n, ops);
  note_definition(p, f, ops);
  if (n && ops[n - 1].kind == PTXO_LABEL) { /* what is younger does not dominate the label */
    uint32_t *serial = &p->cse->label_serial.at[ops[n - 1].id];
    if (!*serial || p->cse->serial < *serial) *serial = p->cse->serial;
  }
}

PtxReg ptx_def_n(PtxProgram *p, IsaId form, int n, const PtxOpnd *srcs) {
  const IsaForm *f = isa_form(form);
  BUG_IF(n >= ISA_MAX_OPERANDS || !f->nops || !f->op[0].writes || f->op[0].kind != ISA_OPND_REG || f->op[0].brace || f->op[0].pair_pred,
         "ptx_def of a form without one destination register");
  PtxOpnd ops[ISA_MAX_OPERANDS + 1] = {{0}};
  PtxExpr e = {.form = form};
  memcpy(e.src, srcs, sizeof *srcs * (size_t)n);
  e.n = n;
  bool pure = (f->flags & ISA_PURE) && !p->guard;
  if (pure) {
    PtxReg known = ptx_simplify(p, &e);
    if (known.id) return known;
  }
  memcpy(ops + 1, e.src, sizeof *ops * (size_t)e.n);
  f = isa_form(e.form);
  legalize(p, f, 1, e.n + 1, ops);
  memcpy(e.src, ops + 1, sizeof *ops * (size_t)e.n);
  bool merge = may_merge(p, &e);
  uint32_t hash = merge ? hash_expr(p, &e) : 0;
  if (merge) {
    PtxReg equal = find_equal(p, hash, &e);
    if (equal.id) return equal;
  }
  PtxReg r = ptx_reg(p, ptx_class_of(f->op[0].cls));
  ops[0] = po_r(r);
  append(p, e.form, e.n + 1, ops);
  note_definition(p, f, ops);
  if (merge) remember(p, hash, p->code.n - 1);
  return r;
}
