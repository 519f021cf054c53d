/* ptx_simplify.c - one pure instruction made simpler before it is built.
 *
 * Addresses are the point: additions of constants travel outwards, (x + 8) * 2 + y becomes (x * 2 + y) + 16, so that what differs
 * only by a constant shares its base and the constant ends in the [reg+imm] of the load. Integers wrap, so this is exact at equal
 * width. Floats change only where the result is the same bit for bit. */
#include "ptx_impl.h"

typedef enum { NOTHING, REWRITTEN, KNOWN } Change;

typedef struct Simplify {
  PtxProgram *p;
  PtxExpr *e;
  PtxReg known;                       /* when KNOWN */
  bool is_const[ISA_MAX_OPERANDS];
  int64_t value[ISA_MAX_OPERANDS];
} Simplify;

typedef struct Width { IsaId add, sub, mul, mad, shl, shr, sar, and; int bits; } Width;
static const Width w32 = {ISA_add_s32, ISA_sub_s32, ISA_mul_lo_s32, ISA_mad_lo_s32, ISA_shl_b32, ISA_shr_u32, ISA_shr_s32, ISA_and_b32, 32};
static const Width w64 = {ISA_add_s64, ISA_sub_s64, ISA_mul_lo_s64, ISA_mad_lo_s64, ISA_shl_b64, ISA_shr_u64, ISA_shr_s64, ISA_and_b64, 64};

/* ---- outcomes ---- */

static PtxClass result_class(const PtxExpr *e) { return ptx_class_of(isa_form(e->form)->op[0].cls); }

static Change rewrite2(Simplify *s, IsaId form, PtxOpnd a, PtxOpnd b) {
  s->e->form = form, s->e->n = 2, s->e->src[0] = a, s->e->src[1] = b;
  return REWRITTEN;
}

static Change become_constant(Simplify *s, int64_t v) {
  PtxClass c = result_class(s->e);
  s->known = ptx_def(s->p, ptx_move_form(c), po_i(ptx_wrap(c, v)));
  return KNOWN;
}

/* The result is this operand's value. A variable may change later, so it is copied. */
static Change become(Simplify *s, PtxOpnd o) {
  PtxClass c = result_class(s->e);
  if (o.kind == PTXO_REG && !o.neg && !s->p->regs.at[o.id].variable) return s->known = (PtxReg){o.id}, KNOWN;
  if (o.kind == PTXO_IMM) return become_constant(s, o.imm);
  if (o.neg || s->e->form == ptx_move_form(c)) return NOTHING;
  s->e->form = ptx_move_form(c), s->e->n = 1, s->e->src[0] = o;
  return REWRITTEN;
}

/* ---- what operands are ---- */

static bool is_fixed_reg(const PtxProgram *p, const PtxOpnd *o) {
  return o->kind == PTXO_REG && !o->neg && !o->id2 && !p->regs.at[o->id].variable;
}

static bool same_reg(const PtxProgram *p, const PtxOpnd *a, const PtxOpnd *b) {
  return is_fixed_reg(p, a) && is_fixed_reg(p, b) && a->id == b->id;
}

/* o = x + c with x unchanging? */
static bool split_add(const PtxProgram *p, const Width *w, const PtxOpnd *o, PtxOpnd *x, int64_t *c) {
  if (!is_fixed_reg(p, o)) return false;
  const PtxInstr *in = ptx_definition(p, o->id);
  if (!in || in->form != w->add) return false;
  const PtxOpnd *a = ptx_operand(p, in, 1), *b = ptx_operand(p, in, 2);
  if (!is_fixed_reg(p, a) || b->kind != PTXO_IMM) return false;
  *x = *a, *c = b->imm;
  return true;
}

static int log2_of(int64_t v) { return v > 0 && (v & (v - 1)) == 0 ? __builtin_ctzll((uint64_t)v) : -1; }

/* ---- sums ---- */

static Change simplify_add(Simplify *s, const Width *w) {
  PtxOpnd *a = &s->e->src[0], *b = &s->e->src[1], x, y;
  int64_t ca = 0, cb = 0;
  bool sa = split_add(s->p, w, a, &x, &ca);
  if (s->is_const[1]) {
    if (s->value[1] == 0) return become(s, *a);
    if (!sa) return NOTHING;
    return rewrite2(s, w->add, x, po_i((int64_t)((uint64_t)ca + (uint64_t)s->value[1])));
  }
  bool sb = split_add(s->p, w, b, &y, &cb);
  if (!is_fixed_reg(s->p, a) || !is_fixed_reg(s->p, b) || (!sa && !sb)) return NOTHING;
  PtxReg sum = ptx_def(s->p, w->add, sa ? x : *a, sb ? y : *b);
  return rewrite2(s, w->add, po_r(sum), po_i((int64_t)((sa ? (uint64_t)ca : 0) + (sb ? (uint64_t)cb : 0))));
}

static Change simplify_sub(Simplify *s, const Width *w) {
  PtxOpnd *a = &s->e->src[0], *b = &s->e->src[1], x, y;
  int64_t ca = 0, cb = 0;
  if (s->is_const[1]) return rewrite2(s, w->add, *a, po_i((int64_t)(0 - (uint64_t)s->value[1])));
  if (same_reg(s->p, a, b)) return become_constant(s, 0);
  bool sa = split_add(s->p, w, a, &x, &ca), sb = split_add(s->p, w, b, &y, &cb);
  if ((!sa && !sb) || !is_fixed_reg(s->p, a) || !is_fixed_reg(s->p, b)) return NOTHING;
  PtxReg difference = ptx_def(s->p, w->sub, sa ? x : *a, sb ? y : *b);
  return rewrite2(s, w->add, po_r(difference), po_i((int64_t)((uint64_t)ca - (uint64_t)cb)));
}

/* ---- products ---- */

static Change simplify_mul(Simplify *s, const Width *w) {
  PtxOpnd *a = &s->e->src[0], x;
  int64_t c, m = s->value[1];
  if (!s->is_const[1]) return NOTHING;
  if (m == 0) return become_constant(s, 0);
  if (m == 1) return become(s, *a);
  if (log2_of(m) >= 0) return rewrite2(s, w->shl, *a, po_i(log2_of(m)));
  if (!split_add(s->p, w, a, &x, &c)) return NOTHING;
  PtxReg product = ptx_def(s->p, w->mul, x, po_i(m));
  return rewrite2(s, w->add, po_r(product), po_i((int64_t)((uint64_t)c * (uint64_t)m)));
}

static Change simplify_shl(Simplify *s, const Width *w) {
  PtxOpnd *a = &s->e->src[0], x;
  int64_t c, by = s->value[1];
  if (!s->is_const[1]) return NOTHING;
  if (by < 0 || by >= w->bits) return become_constant(s, 0); /* amounts are unsigned and clamp */
  if (by == 0) return become(s, *a);
  if (split_add(s->p, w, a, &x, &c)) {
    PtxReg shifted = ptx_def(s->p, w->shl, x, po_i(by));
    return rewrite2(s, w->add, po_r(shifted), po_i((int64_t)((uint64_t)c << by)));
  }
  const PtxInstr *in = is_fixed_reg(s->p, a) ? ptx_definition(s->p, a->id) : NULL;
  if (!in || in->form != w->shl) return NOTHING;
  const PtxOpnd *inner = ptx_operand(s->p, in, 1), *first = ptx_operand(s->p, in, 2);
  if (!is_fixed_reg(s->p, inner) || first->kind != PTXO_IMM) return NOTHING;
  if (first->imm < 0 || first->imm + by >= w->bits) return become_constant(s, 0);
  return rewrite2(s, w->shl, *inner, po_i(first->imm + by));
}

static Change simplify_mad(Simplify *s, const Width *w) {
  PtxOpnd a = s->e->src[0], b = s->e->src[1], c = s->e->src[2], x;
  int64_t constant;
  if (s->is_const[2] && s->value[2] == 0) return rewrite2(s, w->mul, a, b);
  if (s->is_const[1] && (s->value[1] == 0 || s->value[1] == 1 || split_add(s->p, w, &a, &x, &constant)))
    return rewrite2(s, w->add, po_r(ptx_def(s->p, w->mul, a, b)), c);
  if (split_add(s->p, w, &c, &x, &constant) && is_fixed_reg(s->p, &a) && (s->is_const[1] || is_fixed_reg(s->p, &b)))
    return rewrite2(s, w->add, po_r(ptx_def(s->p, w->mad, a, b, x)), po_i(constant));
  return NOTHING;
}

/* ---- the others ---- */

static Change simplify_logic(Simplify *s) {
  PtxOpnd *a = &s->e->src[0], *b = &s->e->src[1];
  int64_t ones = result_class(s->e) == PTX_P ? 1 : -1, v = s->value[1];
  switch (s->e->form) {
  case ISA_and_b32: case ISA_and_b64: case ISA_and_pred:
    if (same_reg(s->p, a, b) || (s->is_const[1] && v == ones)) return become(s, *a);
    return s->is_const[1] && v == 0 ? become_constant(s, 0) : NOTHING;
  case ISA_or_b32: case ISA_or_b64: case ISA_or_pred:
    if (same_reg(s->p, a, b) || (s->is_const[1] && v == 0)) return become(s, *a);
    return s->is_const[1] && v == ones ? become_constant(s, ones) : NOTHING;
  default: /* xor, shr */
    return s->is_const[1] && v == 0 ? become(s, *a) : NOTHING;
  }
}

static Change simplify_select(Simplify *s) {
  PtxOpnd *a = &s->e->src[0], *b = &s->e->src[1];
  if (s->is_const[2]) return become(s, s->value[2] ? *a : *b);
  if (same_reg(s->p, a, b)) return become(s, *a);
  return s->is_const[0] && s->is_const[1] && s->value[0] == s->value[1] ? become(s, *a) : NOTHING;
}

/* x / d as the high half of x * m, shifted on, for every x of 32 bits: m = ceil(2^(32+by) / d), which is too much by at most 2^by / d
 * (Granlund and Montgomery, Division by invariant integers using multiplication, 1994, theorem 4.2). Some d want 33 bits of m. */
static bool find_reciprocal(uint32_t d, uint32_t *m, int *by) {
  for (*by = 0; *by < 32; ++*by) {
    uint64_t power = 1ull << (32 + *by), up = (power + d - 1) / d;
    if (up <= UINT32_MAX && up * d - power <= 1ull << *by) return *m = (uint32_t)up, true;
  }
  return false;
}

static Change divide_by_product(Simplify *s, bool divides) {
  PtxOpnd *a = &s->e->src[0];
  uint32_t d = s->is_const[1] ? (uint32_t)s->value[1] : 0, m;
  int by;
  if (d < 3 || !is_fixed_reg(s->p, a) || !find_reciprocal(d, &m, &by)) return NOTHING;
  PtxReg high = ptx_def(s->p, ISA_mul_hi_u32, *a, po_i(m));
  if (divides) return rewrite2(s, ISA_shr_u32, po_r(high), po_i(by));
  PtxReg quotient = ptx_def(s->p, ISA_shr_u32, po_r(high), po_i(by));
  return rewrite2(s, ISA_sub_s32, *a, po_r(ptx_def(s->p, ISA_mul_lo_s32, po_r(quotient), po_i(d))));
}

/* By a constant. ptxas makes neither a shift nor a product of these: of 64 bits it calls a subroutine. */
static Change simplify_division(Simplify *s, const Width *w, bool divides) {
  PtxOpnd *a = &s->e->src[0];
  int k = s->is_const[1] ? log2_of(w->bits == 32 ? (int64_t)(uint32_t)s->value[1] : s->value[1]) : -1;
  if (k < 0) return w->bits == 32 ? divide_by_product(s, divides) : NOTHING;
  if (divides) return rewrite2(s, w->shr, *a, po_i(k));
  return rewrite2(s, w->and, *a, po_i((int64_t)((1ull << k) - 1)));
}

/* The same, towards zero: 2^k - 1 more where the operand is negative. */
static Change simplify_signed_division(Simplify *s, const Width *w, bool divides) {
  PtxOpnd *a = &s->e->src[0];
  int k = s->is_const[1] ? log2_of(s->value[1]) : -1;
  if (k < 0 || !is_fixed_reg(s->p, a)) return NOTHING;
  if (k == 0) return divides ? become(s, *a) : become_constant(s, 0);
  PtxReg sign = ptx_def(s->p, w->sar, *a, po_i(w->bits - 1));
  PtxReg more = ptx_def(s->p, w->add, *a, po_r(ptx_def(s->p, w->shr, po_r(sign), po_i(w->bits - k))));
  if (divides) return rewrite2(s, w->sar, po_r(more), po_i(k));
  return rewrite2(s, w->sub, *a, po_r(ptx_def(s->p, w->and, po_r(more), po_i(-(int64_t)(1ull << k)))));
}

/* Narrowing what was widened. */
static Change simplify_narrow(Simplify *s) {
  const PtxInstr *in = is_fixed_reg(s->p, &s->e->src[0]) ? ptx_definition(s->p, s->e->src[0].id) : NULL;
  if (!in) return NOTHING;
  switch (in->form) {
  case ISA_cvt_s64_s32: case ISA_cvt_u64_u32: case ISA_cvt_s64_u32: case ISA_cvt_u64_s32: {
    PtxOpnd inner = *ptx_operand(s->p, in, 1);
    return is_fixed_reg(s->p, &inner) ? become(s, inner) : NOTHING;
  }
  default: return NOTHING;
  }
}

static Change simplify_f32(Simplify *s) {
  const int64_t one = 0x3F800000;
  bool times_one = s->is_const[1] && (uint32_t)s->value[1] == one;
  if (s->e->form == ISA_mul_rn_f32 && times_one) return become(s, s->e->src[0]);
  if (s->e->form == ISA_fma_rn_f32 && times_one) return rewrite2(s, ISA_add_rn_f32, s->e->src[0], s->e->src[2]);
  return NOTHING;
}

/* A float rounded to a whole number, then made an integer: at once. */
static Change simplify_rounded(Simplify *s) {
  const PtxOpnd *o = &s->e->src[0];
  const PtxInstr *in = is_fixed_reg(s->p, o) ? ptx_definition(s->p, o->id) : NULL;
  if (!in || in->form != ISA_cvt_rni_f32_f32 || !is_fixed_reg(s->p, ptx_operand(s->p, in, 1))) return NOTHING;
  s->e->form = ISA_cvt_rni_s32_f32, s->e->src[0] = *ptx_operand(s->p, in, 1);
  return REWRITTEN;
}

static Change simplify_form(Simplify *s) {
  switch (s->e->form) {
  case ISA_mov_b16: case ISA_mov_b32: case ISA_mov_b64: case ISA_mov_f32: case ISA_mov_f64: case ISA_mov_pred:
    return is_fixed_reg(s->p, &s->e->src[0]) ? become(s, s->e->src[0]) : NOTHING;
  case ISA_add_s32: return simplify_add(s, &w32);
  case ISA_add_s64: return simplify_add(s, &w64);
  case ISA_sub_s32: return simplify_sub(s, &w32);
  case ISA_sub_s64: return simplify_sub(s, &w64);
  case ISA_mul_lo_s32: return simplify_mul(s, &w32);
  case ISA_mul_lo_s64: return simplify_mul(s, &w64);
  case ISA_shl_b32: return simplify_shl(s, &w32);
  case ISA_shl_b64: return simplify_shl(s, &w64);
  case ISA_mad_lo_s32: return simplify_mad(s, &w32);
  case ISA_mad_lo_s64: return simplify_mad(s, &w64);
  case ISA_and_b32: case ISA_and_b64: case ISA_and_pred: case ISA_or_b32: case ISA_or_b64: case ISA_or_pred: case ISA_xor_b32:
  case ISA_xor_b64: case ISA_shr_u32: case ISA_shr_s32: case ISA_shr_u64: case ISA_shr_s64:
    return simplify_logic(s);
  case ISA_selp_b16: case ISA_selp_b32: case ISA_selp_b64: case ISA_selp_f32: case ISA_selp_f64: return simplify_select(s);
  case ISA_div_u32: case ISA_rem_u32: return simplify_division(s, &w32, s->e->form == ISA_div_u32);
  case ISA_div_u64: case ISA_rem_u64: return simplify_division(s, &w64, s->e->form == ISA_div_u64);
  case ISA_div_s32: case ISA_rem_s32: return simplify_signed_division(s, &w32, s->e->form == ISA_div_s32);
  case ISA_div_s64: case ISA_rem_s64: return simplify_signed_division(s, &w64, s->e->form == ISA_div_s64);
  case ISA_cvt_u32_u64: case ISA_cvt_s32_s64: case ISA_cvt_u32_s64: case ISA_cvt_s32_u64: return simplify_narrow(s);
  case ISA_mul_rn_f32: case ISA_fma_rn_f32: return simplify_f32(s);
  case ISA_cvt_rzi_s32_f32: return simplify_rounded(s);
  default: return NOTHING;
  }
}

/* ---- one spelling for equal things ---- */

static IsaId spell_form(IsaId form) { /* these wrap, so that signed and unsigned are the same */
  switch (form) {
  case ISA_add_u32: return ISA_add_s32;
  case ISA_sub_u32: return ISA_sub_s32;
  case ISA_mul_lo_u32: return ISA_mul_lo_s32;
  case ISA_mad_lo_u32: return ISA_mad_lo_s32;
  case ISA_add_u64: return ISA_add_s64;
  case ISA_sub_u64: return ISA_sub_s64;
  case ISA_mul_lo_u64: return ISA_mul_lo_s64;
  case ISA_mad_lo_u64: return ISA_mad_lo_s64;
  default: return form;
  }
}

static bool commutes(IsaId form) { /* in the first two sources */
  switch (form) {
  case ISA_add_s32: case ISA_add_s64: case ISA_mul_lo_s32: case ISA_mul_lo_s64: case ISA_mad_lo_s32: case ISA_mad_lo_s64:
  case ISA_mul_wide_s32: case ISA_mul_wide_u32: case ISA_mul_hi_s32: case ISA_mul_hi_u32: case ISA_and_b32: case ISA_and_b64:
  case ISA_and_pred: case ISA_or_b32: case ISA_or_b64: case ISA_or_pred: case ISA_xor_b32: case ISA_xor_b64: case ISA_xor_pred:
  case ISA_min_s32: case ISA_max_s32: case ISA_min_u32: case ISA_max_u32: case ISA_min_s64: case ISA_max_s64: case ISA_min_u64:
  case ISA_max_u64: case ISA_setp_eq_s32: case ISA_setp_ne_s32: case ISA_setp_eq_s64: case ISA_setp_ne_s64: case ISA_setp_eq_u32:
  case ISA_setp_ne_u32: case ISA_setp_eq_b32: case ISA_setp_ne_b32: case ISA_add_rn_f32: case ISA_mul_rn_f32: case ISA_fma_rn_f32:
    return true;
  default: return false;
  }
}

static void find_constants(Simplify *s) {
  const IsaForm *f = isa_form(s->e->form);
  for (int i = 0; i < s->e->n; i++) {
    PtxClass c = f->op[i + 1].kind == ISA_OPND_REG ? ptx_class_of(f->op[i + 1].cls) : PTX_CLASSES;
    s->is_const[i] = ptx_constant(s->p, &s->e->src[i], &s->value[i]);
    if (s->is_const[i] && c != PTX_CLASSES) s->value[i] = ptx_wrap(c, s->value[i]);
  }
}

static void spell(Simplify *s) {
  PtxExpr *e = s->e;
  e->form = spell_form(e->form);
  find_constants(s);
  if (!commutes(e->form) || s->is_const[1]) return;
  bool swap = s->is_const[0] || (e->src[0].kind == PTXO_REG && e->src[1].kind == PTXO_REG && e->src[0].id > e->src[1].id);
  if (!swap) return;
  PtxOpnd a = e->src[0];
  e->src[0] = e->src[1], e->src[1] = a;
  find_constants(s);
}

PtxReg ptx_simplify(PtxProgram *p, PtxExpr *e) {
  for (int round = 0; round < 8; round++) {
    Simplify s = {.p = p, .e = e};
    int64_t result;
    spell(&s);
    bool all = e->n > 0;
    for (int i = 0; i < e->n; i++) all &= s.is_const[i];
    if (all && e->form != ptx_move_form(result_class(e)) && ptx_evaluate(e->form, e->n, s.value, &result)) {
      become_constant(&s, result);
      return s.known;
    }
    Change change = simplify_form(&s);
    if (change == KNOWN) return s.known;
    if (change == NOTHING) break;
  }
  return (PtxReg){0};
}
