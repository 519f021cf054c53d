/* operand.c - one instruction: its operands as written, the row of gen/isa that they fit, and the flattened register list. */
#include "parse.h"
#include <stdio.h>
#include <string.h>

static const struct { const char *name; uint8_t id, width; } specials[] = {
  {"%tid.x", SPECIAL_TID_X, 4}, {"%tid.y", SPECIAL_TID_Y, 4}, {"%tid.z", SPECIAL_TID_Z, 4},
  {"%ntid.x", SPECIAL_NTID_X, 4}, {"%ntid.y", SPECIAL_NTID_Y, 4}, {"%ntid.z", SPECIAL_NTID_Z, 4},
  {"%ctaid.x", SPECIAL_CTAID_X, 4}, {"%ctaid.y", SPECIAL_CTAID_Y, 4}, {"%ctaid.z", SPECIAL_CTAID_Z, 4},
  {"%nctaid.x", SPECIAL_NCTAID_X, 4}, {"%nctaid.y", SPECIAL_NCTAID_Y, 4}, {"%nctaid.z", SPECIAL_NCTAID_Z, 4},
  {"%laneid", SPECIAL_LANEID, 4}, {"%warpid", SPECIAL_WARPID, 4}, {"%nwarpid", SPECIAL_NWARPID, 4},
  {"%clusterid.x", SPECIAL_CLUSTERID_X, 4}, {"%clusterid.y", SPECIAL_CLUSTERID_Y, 4}, {"%clusterid.z", SPECIAL_CLUSTERID_Z, 4},
  {"%nclusterid.x", SPECIAL_NCLUSTERID_X, 4}, {"%nclusterid.y", SPECIAL_NCLUSTERID_Y, 4}, {"%nclusterid.z", SPECIAL_NCLUSTERID_Z, 4},
  {"%cluster_ctaid.x", SPECIAL_CLUSTER_CTAID_X, 4}, {"%cluster_ctaid.y", SPECIAL_CLUSTER_CTAID_Y, 4},
  {"%cluster_ctaid.z", SPECIAL_CLUSTER_CTAID_Z, 4}, {"%cluster_nctaid.x", SPECIAL_CLUSTER_NCTAID_X, 4},
  {"%cluster_nctaid.y", SPECIAL_CLUSTER_NCTAID_Y, 4}, {"%cluster_nctaid.z", SPECIAL_CLUSTER_NCTAID_Z, 4},
  {"%cluster_ctarank", SPECIAL_CLUSTER_CTARANK, 4}, {"%cluster_nctarank", SPECIAL_CLUSTER_NCTARANK, 4},
  {"%smid", SPECIAL_SMID, 4}, {"%nsmid", SPECIAL_NSMID, 4}, {"%gridid", SPECIAL_GRIDID, 8},
  {"%lanemask_eq", SPECIAL_LANEMASK_EQ, 4}, {"%lanemask_lt", SPECIAL_LANEMASK_LT, 4},
  {"%lanemask_le", SPECIAL_LANEMASK_LE, 4}, {"%lanemask_gt", SPECIAL_LANEMASK_GT, 4},
  {"%lanemask_ge", SPECIAL_LANEMASK_GE, 4}, {"%dynamic_smem_size", SPECIAL_DYNAMIC_SMEM, 4},
  {"%total_smem_size", SPECIAL_TOTAL_SMEM, 4}, {"%clock", SPECIAL_CLOCK, 4}, {"%clock64", SPECIAL_CLOCK64, 8},
  {"%envreg1", SPECIAL_ENVREG1, 4}, {"%envreg2", SPECIAL_ENVREG2, 4}, {"%globaltimer", SPECIAL_TIMER, 8}, {"WARP_SZ", SPECIAL_NONE, 4},
};

static uint32_t special_vreg(SimParser *p, const SimToken *t) {
  for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
    if (strlen(specials[i].name) != t->n || memcmp(specials[i].name, t->at, t->n) != 0) continue;
    if (specials[i].id == SPECIAL_NONE) return sim_vreg_const(p, 4, SIM_LANES);
    uint32_t *known = &p->special[specials[i].id];
    if (!*known) *known = sim_vreg_new(p, VREG_SPECIAL, specials[i].width, specials[i].id);
    return *known;
  }
  return 0;
}

static bool fail_here(SimParser *p, const SimToken *t, const char *what) {
  return sim_parse_fail(p, t->line, DRV_INVALID_PTX, "%s '%.*s'", what, (int)(t->n > 60 ? 60 : t->n), t->at);
}

/* a signed constant: -?INT, or -?FLOAT into the token's value */
static bool read_constant(SimParser *p, SimToken *t, int64_t *imm) {
  bool minus = sim_lex_take(p, '-');
  *t = p->tok;
  if (t->kind == TOK_INT) {
    t->value = minus ? 0 - t->value : t->value;
    *imm = (int64_t)t->value;
  } else if (t->kind == TOK_FLOAT) {
    if (minus) t->value ^= t->single ? 0x80000000ull : 0x8000000000000000ull;
    *imm = 0;
  } else {
    return fail_here(p, t, "expected a number before");
  }
  sim_lex_next(p);
  return true;
}

/* The vector is left as it is: only as much of it as is read is ever looked at. */
static void clear_operand(SimOpnd *o) {
  memset(o, 0, offsetof(SimOpnd, reg));
  o->reg[0] = o->reg[1] = 0;
}

/* a name: register, special register or symbol */
static bool read_name(SimParser *p, SimOpnd *o) {
  SimToken t = p->tok;
  sim_lex_next(p);
  o->token = t;
  o->n = 1;
  if (t.n == 1 && *t.at == '_') {
    o->kind = OPND_SINK;
    return true;
  }
  SimSym *s = sim_sym_find(p, t.at, t.n);
  if (p->code) return false;
  if (s && s->kind == SYM_REG) {
    o->kind = OPND_REG;
    o->reg[0] = s->id;
    return true;
  }
  uint32_t v = special_vreg(p, &t);
  if (v) {
    o->kind = OPND_REG;
    o->reg[0] = v;
    return true;
  }
  if (p->code) return false;
  o->kind = OPND_SYM;
  o->sym = s ? (uint32_t)(s - (SimSym *)p->syms.at) : 0; /* 0: perhaps a label further down */
  if (*t.at == '%') return fail_here(p, &t, "no register");
  if (sim_lex_take(p, '+')) {
    SimToken c;
    return read_constant(p, &c, &o->imm);
  }
  return true;
}

static bool read_memory(SimParser *p, SimOpnd *o) {
  SimOpnd base;
  clear_operand(&base);
  o->kind = OPND_MEM;
  o->token = p->tok;
  o->n = 1;
  if (p->tok.kind == TOK_WORD) {
    if (!read_name(p, &base)) return false;
    if (base.kind == OPND_REG) {
      o->reg[0] = base.reg[0];
    } else if (base.kind == OPND_SYM && base.sym) {
      o->sym_base = true;
      o->sym = base.sym;
      o->imm = base.imm;
    } else {
      return fail_here(p, &base.token, "no such name:");
    }
    if (!sim_lex_punct(p, ']') && !sim_lex_punct(p, ',')) {
      bool plus = sim_lex_take(p, '+');
      if (!plus && !sim_lex_punct(p, '-')) return fail_here(p, &p->tok, "expected ']' before");
      SimToken t;
      int64_t imm;
      if (!read_constant(p, &t, &imm)) return false;
      o->imm = (int64_t)((uint64_t)o->imm + (uint64_t)imm);
    }
  } else {
    SimToken t;
    if (!read_constant(p, &t, &o->imm)) return false;
  }
  if (o->imm > INT32_MAX || o->imm < INT32_MIN)
    return sim_parse_fail(p, o->token.line, DRV_INVALID_PTX, "the offset of an address does not fit 32 bits");
  if (sim_lex_punct(p, ',')) return o->opens = true; /* a tensor map; coordinates follow */
  return sim_lex_expect(p, ']');
}

static bool read_vector(SimParser *p, SimOpnd *o) {
  o->kind = OPND_VEC;
  o->token = p->tok;
  do {
    if (o->n == SIM_MAX_VECTOR) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "more than %d elements in a vector", SIM_MAX_VECTOR);
    if (p->tok.kind == TOK_WORD) {
      SimOpnd e;
      clear_operand(&e);
      if (!read_name(p, &e)) return false;
      if (e.kind == OPND_SINK) o->reg[o->n] = SIM_SINK;
      else if (e.kind == OPND_REG) o->reg[o->n] = e.reg[0];
      else return fail_here(p, &e.token, "no register");
    } else {
      int64_t imm;
      if (o->n >= SIM_MAX_ELEMENTS) return fail_here(p, &p->tok, "no register");
      if (!read_constant(p, &o->element[o->n], &imm)) return false;
      o->reg[o->n] = SIM_IMMEDIATE;
    }
    o->n++;
  } while (sim_lex_take(p, ','));
  return sim_lex_expect(p, '}');
}

bool sim_parse_operand(SimParser *p, SimOpnd *o) {
  if (sim_lex_take(p, '[')) return read_memory(p, o);
  if (sim_lex_take(p, '{')) return read_vector(p, o);
  if (sim_lex_take(p, '!')) {
    o->negated = true;
    if (p->tok.kind != TOK_WORD || !read_name(p, o)) return fail_here(p, &p->tok, "expected a predicate before");
    return o->kind == OPND_REG ? true : fail_here(p, &o->token, "no register");
  }
  if (p->tok.kind != TOK_WORD) {
    SimToken t;
    if (!read_constant(p, &t, &o->imm)) return false;
    o->token = t;
    o->kind = t.kind == TOK_FLOAT ? OPND_FLOAT : OPND_INT;
    return true;
  }
  if (!read_name(p, o)) return false;
  if (!sim_lex_take(p, '|')) return true;
  SimOpnd second;
  clear_operand(&second);
  if (p->tok.kind != TOK_WORD || !read_name(p, &second)) return fail_here(p, &p->tok, "expected a predicate before");
  if ((o->kind != OPND_REG && o->kind != OPND_SINK) || (second.kind != OPND_REG && second.kind != OPND_SINK))
    return fail_here(p, &second.token, "a pair needs two registers, not");
  o->reg[0] = o->kind == OPND_REG ? o->reg[0] : SIM_SINK;
  o->reg[1] = second.kind == OPND_REG ? second.reg[0] : SIM_SINK;
  o->kind = OPND_PAIR;
  o->n = 2;
  return true;
}

/* ---- does an operand fit a place of the row? ---- */

static uint8_t class_bits(char cls) { return cls == 'p' ? 1 : cls == 'h' ? 16 : cls == 'l' || cls == 'd' ? 64 : 32; }

static bool register_fits(SimParser *p, uint32_t v, char cls) {
  if (v == SIM_SINK) return true;
  const SimVreg *r = &SIM_AT(&p->vregs, SimVreg, v);
  if (r->kind == VREG_CONST) return cls != 'p';
  return r->bits == class_bits(cls) || (r->bits == 8 && cls == 'h') || 
         (p->takes_wider && (cls == 'h' || cls == 'r') && r->bits >= p->takes_wider && r->bits >= 16);
}

static bool element_fits(SimParser *p, const SimOpnd *o, int i, const IsaOperand *want) {
  if (o->reg[i] == SIM_IMMEDIATE) return want->reads && !want->writes;
  return register_fits(p, o->reg[i], want->cls);
}

static bool space_fits(SimParser *p, const SimOpnd *o, char cls) {
  if (o->sym_base) {
    SimSymKind k = SIM_AT(&p->syms, SimSym, o->sym).kind;
    if (cls == 'a' && p->in_shared) cls = 's';
    return cls == 'p'   ? k == SYM_PARAM || k == SYM_STACK
           : cls == 's' || cls == 'k' ? k == SYM_SHARED || k == SYM_DYNAMIC
           : cls == 'l' ? k == SYM_STACK
                        : k == SYM_GLOBAL;
  }
  if (!o->reg[0]) return true; /* an absolute address */
  uint8_t bits = SIM_AT(&p->vregs, SimVreg, o->reg[0]).bits;
  return bits == 64 || (bits == 32 && cls != 'g' && (cls != 'a' || p->in_shared));
}

static bool operand_fits(SimParser *p, const SimOpnd *o, const IsaOperand *want) {
  if (o->negated && !want->negatable) return false;
  if (want->brace != (o->kind == OPND_VEC) || want->opens != o->opens || want->closes != o->closes) return false;
  switch (want->kind) {
  case ISA_OPND_REG: {
    if (o->kind == OPND_PAIR && p->takes_second && want->writes && want->cls == 'p')
      return register_fits(p, o->reg[0], 'p') && register_fits(p, o->reg[1], 'p');
    if (want->pair_pred)
      return o->kind == OPND_PAIR && register_fits(p, o->reg[0], want->cls) && register_fits(p, o->reg[1], 'p');
    if (o->kind == OPND_VEC) {
      if (o->n != want->count) return false;
      for (int i = 0; i < o->n; i++)
        if (!element_fits(p, o, i, want)) return false;
      return true;
    }
    if (want->count != 1) return false;
    if (o->kind == OPND_REG) return register_fits(p, o->reg[0], want->cls);
    if (o->kind == OPND_SINK) return want->writes;
    bool number = want->imm_ok || (p->takes_number && !want->writes);
    if (o->kind == OPND_INT) return number && want->cls != 'f' && want->cls != 'd';
    if (o->kind == OPND_FLOAT) return number && want->cls != 'h';
    return false;
  }
  case ISA_OPND_MEM: return o->kind == OPND_MEM && space_fits(p, o, want->cls);
  case ISA_OPND_IMM: return o->kind == OPND_INT && (!want->fixed || want->value == o->imm);
  case ISA_OPND_SINK: return o->kind == OPND_SINK;
  case ISA_OPND_LABEL:
  case ISA_OPND_TARGETS: return o->kind == OPND_SYM;
  case ISA_OPND_CALL: return false; /* func.c reads these */
  case ISA_OPND_SYMBOL: return o->kind == OPND_SYM && o->sym && SIM_AT(&p->syms, SimSym, o->sym).kind != SYM_LABEL;
  case ISA_OPND_SPECIAL: return o->kind == OPND_REG && SIM_AT(&p->vregs, SimVreg, o->reg[0]).kind != VREG_PLAIN;
  }
  return false;
}

static bool row_fits(SimParser *p, const IsaForm *f, const SimOpnd *ops, int n) {
  if (n > f->nops) return false;
  for (int i = 0; i < n; i++)
    if (!operand_fits(p, &ops[i], &f->op[i])) return false;
  for (int i = n; i < f->nops; i++)
    if (!f->op[i].optional) return false;
  return true;
}

/* ---- flattening: every operand's registers, in order, become byte offsets later ---- */

bool sim_push_ref(SimParser *p, uint32_t v, int access) {
  SimRef *r = sim_push(&p->refs, sizeof *r);
  if (!v || !r) return p->code ? false : sim_parse_memory(p);
  r->vreg = v;
  r->access = (uint8_t)access;
  return true;
}

static uint32_t sink_vreg(SimParser *p, char cls) {
  uint8_t width = cls == 'p' ? 0 : cls == 'l' || cls == 'd' ? 8 : 4;
  uint32_t *s = &p->sink[width / 4];
  if (!*s) *s = sim_vreg_new(p, VREG_SINK, width, 0);
  return *s;
}

uint32_t sim_vreg_immediate(SimParser *p, const SimToken *t, char cls) {
  uint8_t width = cls == 'l' || cls == 'd' ? 8 : cls == 'p' ? 0 : 4;
  uint64_t v = t->value;
  if (t->kind == TOK_FLOAT) {
    double d;
    float f;
    if (t->single) {
      uint32_t bits = (uint32_t)v;
      memcpy(&f, &bits, 4);
      d = f;
    } else {
      memcpy(&d, &v, 8);
      f = (float)d;
    }
    if (width == 8 && !(cls == 'l' && t->single)) memcpy(&v, &d, 8);
    else if (!t->single) {
      uint32_t bits;
      memcpy(&bits, &f, 4);
      v = bits;
    }
  }
  if (cls == 'p') v = v ? SIM_FULL : 0;
  else if (cls == 'h') v &= 0xffff;
  else if (width == 4) v &= 0xffffffffu;
  return sim_vreg_const(p, width, v);
}

static uint32_t special_new(SimParser *p, uint64_t value) { return sim_vreg_new(p, VREG_SPECIAL, 8, value); }

/* What lies on the stack has its address from the activation: that of the stack itself for accesses, of the array where it is taken. */
static uint32_t stack_vreg(SimParser *p, uint32_t sym, bool access) {
  SimSym *s = &SIM_AT(&p->syms, SimSym, sym);
  uint32_t *known = access ? &p->special[SPECIAL_STACK] : &s->id;
  if (!*known) *known = special_new(p, SPECIAL_STACK | (access ? 0 : s->value << SIM_SPECIAL_BITS));
  return *known;
}

static uint32_t address_vreg(SimParser *p, const SimOpnd *o, uint8_t width) { /* of a symbol */
  SimSym *s = &SIM_AT(&p->syms, SimSym, o->sym);
  if (s->kind == SYM_FUNCTION) sim_use_function(p, s->id, o->token.line);
  if (s->kind != SYM_DYNAMIC) return sim_vreg_const(p, width, s->value);
  p->fn->dynamic_shared = true;
  uint32_t v = sim_vreg_new(p, VREG_CONST, width, 0); /* the base is known when the function ends */
  if (v) SIM_AT(&p->vregs, SimVreg, v).name = 1;
  return v;
}

static bool flatten(SimParser *p, SimInstr *in, const IsaOperand *want, const SimOpnd *o, int *nmem) {
  int access = (want->reads ? SIM_REF_READ : 0) | (want->writes ? SIM_REF_WRITTEN : 0) | (want->unset_ok ? SIM_REF_MAYBE | SIM_REF_HELD : 0);
  if (want->count == 4 && want->reads && strncmp(isa_form((IsaId)in->form)->opcode, "wgmma", 5) == 0) access |= SIM_REF_HELD; /* A */
  if (o->negated) in->flags |= SIM_I_NEGATE;
  if (want->kind == ISA_OPND_SINK) return true;
  switch (o->kind) {
  case OPND_REG: return sim_push_ref(p, o->reg[0], access);
  case OPND_SINK: return sim_push_ref(p, sink_vreg(p, want->cls), access);
  case OPND_PAIR:
    return sim_push_ref(p, o->reg[0] == SIM_SINK ? sink_vreg(p, want->cls) : o->reg[0], access) &&
           sim_push_ref(p, o->reg[1] == SIM_SINK ? sink_vreg(p, 'p') : o->reg[1], access);
  case OPND_VEC:
    for (int i = 0; i < o->n; i++) {
      uint32_t v = o->reg[i] == SIM_SINK        ? sink_vreg(p, want->cls)
                   : o->reg[i] == SIM_IMMEDIATE ? sim_vreg_immediate(p, &o->element[i], want->cls)
                                                : o->reg[i];
      if (!sim_push_ref(p, v, access)) return false;
    }
    return true;
  case OPND_INT:
  case OPND_FLOAT: return sim_push_ref(p, sim_vreg_immediate(p, &o->token, want->kind == ISA_OPND_IMM ? 'r' : want->cls), 1);
  case OPND_MEM: {
    bool stack = o->sym_base && SIM_AT(&p->syms, SimSym, o->sym).kind == SYM_STACK;
    uint32_t v = stack ? stack_vreg(p, o->sym, true) : o->sym_base ? address_vreg(p, o, 8) : o->reg[0] ? o->reg[0] : sim_vreg_const(p, 8, 0);
    if (!v) return false;
    bool narrow = SIM_AT(&p->vregs, SimVreg, v).width == 4;
    if (want->opens) return sim_push_ref(p, v, 1); /* a tensor map: no offset */
    if (*nmem == 0) {
      in->imm = o->imm + (stack ? (int64_t)SIM_AT(&p->syms, SimSym, o->sym).value : 0);
      in->flags |= narrow ? SIM_I_ADDR32 : 0;
    } else if (*nmem == 1) {
      in->imm2 = (int32_t)o->imm;
      in->flags |= narrow ? SIM_I_ADDR32B : 0;
    } else {
      in->imm3 = (int32_t)o->imm;
      in->flags |= narrow ? SIM_I_ADDR32C : 0;
    }
    ++*nmem;
    return sim_push_ref(p, v, 1);
  }
  case OPND_SYM: {
    if (want->kind == ISA_OPND_LABEL || want->kind == ISA_OPND_TARGETS) {
      SimJump *j = sim_push(&p->jumps, sizeof *j);
      if (!j) return sim_parse_memory(p);
      *j = (SimJump){SIM_COUNT(&p->code_buf, SimInstr) - 1, o->token.at, o->token.n, o->token.line, (uint8_t)p->depth,
                     want->kind == ISA_OPND_LABEL ? JUMP_BRANCH : JUMP_LIST};
      return true;
    }
    const SimSym *s = &SIM_AT(&p->syms, SimSym, o->sym);
    uint8_t width = want[-1].cls == 'l' ? 8 : 4; /* mov d, symbol: as wide as d */
    uint32_t v = s->kind == SYM_PARAM   ? sim_vreg_const(p, width, SIM_PARAM_BASE + s->value)
                 : s->kind == SYM_STACK ? o->imm ? special_new(p, SPECIAL_STACK | (s->value + (uint64_t)o->imm) << SIM_SPECIAL_BITS)
                                                 : stack_vreg(p, o->sym, false)
                                        : address_vreg(p, o, width);
    if (!v) return false;
    if (o->imm && s->kind != SYM_STACK) {
      if (SIM_AT(&p->vregs, SimVreg, v).name) SIM_AT(&p->vregs, SimVreg, v).value += (uint64_t)o->imm;
      else v = sim_vreg_const(p, width, SIM_AT(&p->vregs, SimVreg, v).value + (uint64_t)o->imm);
    }
    return sim_push_ref(p, v, 1);
  }
  }
  return false;
}

/* ---- the instruction ---- */

/* What loads and stores takes registers that are wider than its type, what converts 8 or 16 bits any of 16 and 32: the narrowest, or 0. */
static uint8_t takes_wider(const IsaForm *f) {
  const char *last = strrchr(f->opcode, '.');
  uint8_t type, bits;
  if (strncmp(f->opcode, "cvt.", 4) == 0)
    return strstr(f->opcode, ".s8") || strstr(f->opcode, ".u8") || strstr(f->opcode, ".s16") || strstr(f->opcode, ".u16") ? 16 : 0;
  bool moves = strncmp(f->opcode, "ld.", 3) == 0 || strncmp(f->opcode, "ldu.", 4) == 0 || strncmp(f->opcode, "st.", 3) == 0;
  return moves && last && sim_type_word(last, (uint32_t)strlen(last), &type, &bits) ? bits : 0;
}

static bool has_hint(const IsaReading *r) {
  for (uint32_t i = 0; i < r->nmodifiers; i++)
    if (r->modifier[i]->group == 'h') return true;
  return false;
}

static bool reading_fits(SimParser *p, const IsaReading *r, const IsaForm *f, const SimOpnd *ops, int n) {
  bool hint = has_hint(r); /* the policy is the last operand */
  if (hint && (n < 2 || ops[n - 1].kind != OPND_REG || !register_fits(p, ops[n - 1].reg[0], 'l'))) return false;
  p->in_shared = false;
  for (uint32_t i = 0; i < r->nmodifiers; i++) p->in_shared |= r->modifier[i]->group == 'a' && strcmp(r->modifier[i]->word, "shared") == 0;
  p->takes_wider = takes_wider(f);
  p->takes_second = strncmp(f->opcode, "setp.", 5) == 0;
  p->takes_number = !(f->flags & (ISA_COLLECTIVE | ISA_ASYNC));
  return row_fits(p, f, ops, hint ? n - 1 : n);
}

static const IsaForm *find_row(SimParser *p, const SimToken *op, const SimOpnd *ops, int n, IsaReading *r) {
  const IsaForm *seen = NULL;
  *r = (IsaReading){0};
  for (IsaId first; (first = isa_read(r, op->at, op->n)) != ISA_NONE;)
    for (IsaId id = first; id != ISA_NONE; id = isa_next(id)) {
      const IsaForm *f = isa_form(id);
      if (reading_fits(p, r, f, ops, n)) return f;
      if (!seen || !r->step) seen = f;
    }
  if (!seen)
    sim_parse_fail(p, op->line, DRV_INVALID_PTX, "'%.*s' is not an instruction that the simulator knows", (int)(op->n > 80 ? 80 : op->n), op->at);
  else sim_parse_fail(p, op->line, DRV_INVALID_PTX, "the operands do not fit '%s' (its form: %s)", seen->opcode, seen->operands);
  return NULL;
}

static bool check_one(SimParser *p, const char *opcode, const char *sm, int version, uint32_t line) {
  if (!sim_target_allows(p->mod->target, strlen(p->mod->target), sm))
    return sim_parse_fail(p, line, DRV_INVALID_PTX, "'%s' needs sm_%s, .target is %s", opcode, sm, p->mod->target);
  if (p->mod->version < version)
    return sim_parse_fail(p, line, DRV_INVALID_PTX, "'%s' needs .version %d.%d, the text says %d.%d", opcode, version / 10, version % 10,
                          p->mod->version / 10, p->mod->version % 10);
  return true;
}

static bool check_needs(SimParser *p, const IsaForm *f, const IsaReading *r, uint32_t line) {
  if (!check_one(p, f->opcode, f->sm, r && r->version > f->version ? r->version : f->version, line)) return false;
  for (uint32_t i = 0; r && i < r->nmodifiers; i++)
    if (!check_one(p, r->modifier[i]->word, r->modifier[i]->sm, r->modifier[i]->version, line)) return false;
  return true;
}

/* The instruction so far: its guard is always the first register. */
SimInstr *sim_begin_instruction(SimParser *p, const SimToken *op, const IsaForm *f, uint32_t guard, bool negated) {
  if (!check_needs(p, f, NULL, op->line)) return NULL;
  uint32_t *first = sim_push(&p->first_ref, sizeof *first);
  SimInstr *in = first ? sim_push(&p->code_buf, sizeof *in) : NULL;
  if (!in) return sim_parse_memory(p), NULL;
  *first = SIM_COUNT(&p->refs, SimRef);
  in->line = op->line;
  in->src_line = p->src_line;
  in->src_file = p->src_file;
  in->form = (uint16_t)isa_find(f->opcode, (uint32_t)strlen(f->opcode));
  in->target = SIM_FULL;
  in->flip = negated ? SIM_FULL : 0;
  return sim_push_ref(p, guard ? guard : sim_vreg_const(p, 0, SIM_FULL), 1) ? in : NULL;
}

bool sim_parse_instruction(SimParser *p, const SimToken *op, uint32_t guard, bool negated) {
  SimOpnd ops[SIM_MAX_OPERANDS];
  int n = 0, nmem = 0;
  IsaId id = isa_find(op->at, op->n);
  if (id != ISA_NONE && isa_form(id)->nops && isa_form(id)->op[0].kind == ISA_OPND_CALL) return sim_parse_call(p, op, guard, negated);
  while (!p->code && !sim_lex_punct(p, ';')) {
    if (n == SIM_MAX_OPERANDS) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "more than %d operands", SIM_MAX_OPERANDS);
    if (n && !sim_lex_expect(p, ',')) return false;
    clear_operand(&ops[n]);
    if (!sim_parse_operand(p, &ops[n])) return p->code ? false : sim_parse_memory(p);
    if (n++ && ops[n - 2].opens) {
      if (ops[n - 1].kind != OPND_VEC || !sim_lex_expect(p, ']')) return p->code ? false : fail_here(p, &ops[n - 1].token, "expected coordinates before");
      ops[n - 1].closes = true;
    }
  }
  if (!sim_lex_expect(p, ';')) return false;
  IsaReading reading;
  const IsaForm *f = find_row(p, op, ops, n, &reading);
  if (!f || !check_needs(p, f, &reading, op->line)) return false;
  SimInstr *in = sim_begin_instruction(p, op, f, guard, negated);
  if (!in) return false;
  if (has_hint(&reading)) n--; /* a policy has no effect here */
  for (int i = 0; i < n; i++)
    if (!flatten(p, in, &f->op[i], &ops[i], &nmem)) return p->code ? false : sim_parse_memory(p);
  if (nmem) in->mem = p->fn->nmem++;
  return sim_decode(p, f, in, ops, n, op);
}
