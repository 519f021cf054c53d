/* decode.c - from a row of gen/isa to a handler and its fields. The row says the form; what it means stands in the handlers, which
 * are found here by mnemonic and modifiers alone. */
#include "decode.h"
#include <stdio.h>
#include <string.h>

/* mnemonic and modifiers joined by '_', without .rn; returns where the last word begins, 0: too long */
static size_t plain_name(const Decode *d, char name[96]) {
  size_t n = 0, last = 0;
  for (int i = 0; i < d->w.count; i++) {
    if (i && word_is(&d->w, i, "rn")) continue;
    if (n + d->w.n[i] + 2 > 96) return 0;
    if (n) name[n++] = '_';
    last = n;
    memcpy(name + n, d->w.at[i], d->w.n[i]);
    n += d->w.n[i];
  }
  name[n] = 0;
  return last;
}

/* A handler of that name; then, for operations that do not look at signs, with the type as .bN */
static bool decode_plain(Decode *d) {
  char name[96];
  for (int written = 1; written >= 0; written--) { /* as written, then as the row has it */
    if (!written) split_words(d->form->opcode, (uint32_t)strlen(d->form->opcode), &d->w);
    size_t last = plain_name(d, name);
    if (!last) return refuse(d);
    if (sim_handler_find(name, strlen(name)) >= 0) return use(d, name);
    name[last] = 'b';
    if (sim_handler_find(name, strlen(name)) >= 0) return use(d, name);
  }
  return refuse(d);
}

static bool decode_lop3(Decode *d) {
  bool pred = !word_is(&d->w, 1, "b32");
  d->in->sub = (uint16_t)(d->ops[pred ? 4 : d->nops - 1].imm & 0xff);
  if (!pred) return use(d, "lop3_b32");
  if (word_is(&d->w, 1, "and")) d->in->sub |= 0x100;
  return use(d, "lop3_pred");
}

static bool is_wide_word(const Words *w, int i) { return i >= 0 && i < w->count && w->n[i] == 3 && w->at[i][1] == '6'; } /* b64, f64 ... */

static bool decode_selp(Decode *d) { return use(d, is_wide_word(&d->w, 1) ? "selp_b64" : "selp_b32"); }

static bool decode_slct(Decode *d) {
  d->in->sub = (uint16_t)((word_is(&d->w, d->w.count - 1, "f32") ? 1 : 0) | (has_word(&d->w, "ftz") ? 2 : 0));
  return use(d, is_wide_word(&d->w, d->w.count - 2) ? "slct_b64" : "slct_b32");
}

/* comparison and type of set, setp.ftz, setp of pairs: as exec/arith.h has them */
static const char *const comparisons[] = {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
static int find_comparison(const Decode *d) {
  static const char *const unsigned_names[] = {"lo", "ls", "hi", "hs"};
  int cmp = find_in(&d->w, 1, comparisons, 14), u = find_in(&d->w, 1, unsigned_names, 4);
  return u >= 0 ? 2 + u : cmp; /* lt le gt ge */
}

static int find_set_type(const Decode *d) {
  static const char *const types[] = {"s32", "u32", "f32", "f16", "bf16", "f16x2", "bf16x2"};
  int t = find_in(&d->w, d->w.count - 1, types, 7);
  return t >= 5 ? t - 2 : t;
}

static bool ends_in_pair(const Decode *d) {
  int last = d->w.count - 1;
  return d->w.n[last] > 2 && memcmp(d->w.at[last] + d->w.n[last] - 2, "x2", 2) == 0;
}

static bool decode_set(Decode *d) {
  int cmp = find_comparison(d), type = find_set_type(d), to = d->w.count - 2;
  if (cmp < 0 || type < 0) return refuse(d);
  d->in->sub = (uint16_t)(cmp | type << 4);
  d->in->n = word_is(&d->w, to, "u32") || word_is(&d->w, to, "s32") ? 1 : 2;
  d->in->size = ends_in_pair(d) ? 8 : type >= 3 && d->in->n == 2 ? 2 : 4;
  if (has_word(&d->w, "ftz")) d->in->flags |= SIM_I_SIGNED;
  if (word_is(&d->w, to, "f32")) d->in->flags |= SIM_I_WIDE;
  return use(d, "set");
}

/* p|q: the second result becomes the last register, so that the others lie where they lie without it. */
static void move_second_result(Decode *d) {
  uint32_t n = SIM_COUNT(&d->p->refs, SimRef), first = SIM_AT(&d->p->first_ref, uint32_t, SIM_COUNT(&d->p->first_ref, uint32_t) - 1) + 1;
  SimRef q = SIM_AT(&d->p->refs, SimRef, first + 1);
  for (uint32_t i = first + 1; i + 1 < n; i++) SIM_AT(&d->p->refs, SimRef, i) = SIM_AT(&d->p->refs, SimRef, i + 1);
  SIM_AT(&d->p->refs, SimRef, n - 1) = q;
  d->in->n = (uint8_t)(n - 1 - first);
}

static bool decode_setp(Decode *d) {
  static const char *const joins[] = {"", "and", "or", "xor"};
  char name[32];
  int cmp = find_comparison(d), last = d->w.count - 1, join = find_in(&d->w, 2, joins, 4);
  if (cmp < 0 || d->w.count < 3 || d->w.n[last] > 8) return refuse(d);
  if (join < 0) join = 0;
  if (ends_in_pair(d)) {
    d->in->sub = (uint16_t)(cmp | find_set_type(d) << 4);
    if (has_word(&d->w, "ftz")) d->in->flags |= SIM_I_SIGNED;
    return join ? refuse(d) : use(d, "setp_pair");
  }
  d->in->sub = (uint16_t)(cmp | join << 8);
  if (d->ops[0].kind == OPND_PAIR) move_second_result(d);
  if (has_word(&d->w, "ftz")) {
    d->in->size = (uint8_t)find_set_type(d);
    return use(d, "setp_flushed");
  }
  char type[12];
  memcpy(type, d->w.at[last], d->w.n[last]);
  type[d->w.n[last]] = 0;
  if (type[0] == 'b' && type[1] != 'f') type[0] = 'u';
  snprintf(name, sizeof name, "setp_%s", type);
  return use(d, name);
}

static bool decode_testp(Decode *d) {
  static const char *const tests[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  int t = find_in(&d->w, 1, tests, 6);
  d->in->sub = (uint16_t)t;
  return t < 0 ? refuse(d) : use(d, word_is(&d->w, 2, "f64") ? "testp_f64" : "testp_f32");
}

/* ---- floats: a handler of its own where there is one, the general ones otherwise ---- */

static bool decode_general_float(Decode *d, int op) {
  static const char *const rounds[] = {"rn", "rz", "rm", "rp"};
  int last = d->w.count - 1, round = 0;
  for (int k = 0; k < 4; k++)
    if (has_word(&d->w, rounds[k])) round = k;
  d->in->sub = (uint16_t)(op | round << 4 | (has_word(&d->w, "ftz") ? 1 << 6 : 0) | (has_word(&d->w, "sat") ? 1 << 7 : 0) |
                          (has_word(&d->w, "relu") ? 1 << 8 : 0) | (has_word(&d->w, "NaN") ? 1 << 9 : 0) | (has_word(&d->w, "xorsign") ? 1 << 10 : 0));
  d->in->n = (uint8_t)(d->nops - 1);
  if (word_is(&d->w, last, "f32")) return use(d, "arith_f32");
  if (word_is(&d->w, last, "f64")) return use(d, "arith_f64");
  if (d->w.at[last][0] == 'b') d->in->flags |= SIM_I_SIGNED;
  d->in->size = ends_in_pair(d) ? 4 : 2;
  return use(d, "arith_half");
}

static bool decode_float(Decode *d) { /* add sub mul fma mad div rcp sqrt min max abs neg */
  static const char *const ops[] = {"add", "sub", "mul", "fma", "div", "rcp", "sqrt", "min", "max", "abs", "neg"};
  char name[96];
  const char *last = d->w.at[d->w.count - 1];
  bool mad = word_is(&d->w, 0, "mad"), real = *last == 'f' || (*last == 'b' && last[1] == 'f');
  if (!real) return decode_plain(d);
  if (!mad && plain_name(d, name) && sim_handler_find(name, strlen(name)) >= 0) return use(d, name);
  int op = mad ? 3 : find_in(&d->w, 0, ops, 11);
  return op < 0 ? refuse(d) : decode_general_float(d, op);
}

/* ---- sums in pieces: the carry is a register that nobody names ---- */

static bool push_carry(Decode *d, int access) {
  uint32_t *cc = &d->p->carry;
  if (!*cc) *cc = sim_vreg_new(d->p, VREG_PLAIN, 0, 0);
  return *cc && sim_push_ref(d->p, *cc, access);
}

static bool decode_carry(Decode *d) {
  bool reads = d->w.at[0][d->w.n[0] - 1] == 'c', mad = d->w.at[0][0] == 'm', writes = has_word(&d->w, "cc") != 0; /* addc subc madc */
  if (!reads && !writes) return decode_float(d);
  int last = d->w.count - 1;
  d->in->sub = (uint16_t)((d->w.at[0][0] == 's' ? 1 : !mad ? 0 : has_word(&d->w, "hi") ? 3 : 2) | (reads ? 4 : 0) | (writes ? 8 : 0));
  d->in->size = is_wide_word(&d->w, last) ? 8 : 4;
  if (d->w.at[last][0] == 's') d->in->flags |= SIM_I_SIGNED;
  return (!reads || push_carry(d, SIM_REF_READ)) && (!writes || push_carry(d, SIM_REF_WRITTEN)) && use(d, "carry");
}

static bool decode_trig(Decode *d) {
  d->in->sub = has_word(&d->w, "ftz") ? 1 : 0;
  return use(d, word_is(&d->w, 0, "sin") ? "sin_approx_f32" : "cos_approx_f32");
}

static uint32_t opnd_vreg(const Decode *d, int i) { return d->ops[i].kind == OPND_REG ? d->ops[i].reg[0] : 0; }

static bool decode_mov(Decode *d) {
  const SimOpnd *a = &d->ops[0], *b = &d->ops[1];
  bool wide = d->w.n[1] == 3 && d->w.at[1][1] == '6';
  if (word_is(&d->w, 1, "pred")) return use(d, "mov_pred");
  if (a->kind == OPND_VEC) return use(d, a->n == 4 ? "mov_unpack_b64_h" : wide ? "mov_unpack_b64_r" : "mov_unpack_b32_h");
  if (b->kind == OPND_VEC) return use(d, b->n == 4 ? "mov_pack_b64_h" : wide ? "mov_pack_b64_r" : "mov_pack_b32_h");
  uint32_t v = opnd_vreg(d, 1);
  if (v) {
    const SimVreg *r = &SIM_AT(&d->p->vregs, SimVreg, v);
    if (r->kind == VREG_SPECIAL && SIM_SPECIAL(r->value) >= SPECIAL_CLOCK) {
      d->in->size = wide ? 8 : 4;
      return use(d, "mov_clock");
    }
    if (r->kind == VREG_SPECIAL && r->width == 8 && !wide) return use(d, "mov_narrow");
    if (r->kind == VREG_SPECIAL && r->width == 4 && wide) return use(d, "mov_widen");
  }
  return use(d, wide ? "mov_b64" : "mov_b32");
}

static bool push_window(Decode *d, uint64_t base) { /* the window as a second source */
  uint32_t v = sim_vreg_const(d->p, 8, base);
  SimRef *r = v ? sim_push(&d->p->refs, sizeof *r) : NULL;
  if (!r) return d->p->code ? false : sim_parse_memory(d->p);
  *r = (SimRef){v, 1};
  return true;
}

static bool decode_cvta(Decode *d) {
  bool to = word_is(&d->w, 1, "to");
  int i = to ? 2 : 1;
  uint64_t base = word_is(&d->w, i, "shared")        ? SIM_SHARED_BASE
                  : word_is(&d->w, i, "local")       ? SIM_LOCAL_BASE
                  : word_is(&d->w, i, "param") && to ? SIM_PARAM_BASE
                                                     : 0;
  return push_window(d, base) && use(d, to ? "cvta_to" : "cvta_from"); /* a parameter's symbol is a generic address already */
}

/* ---- cvt ---- */

static int cvt_type(const Words *w, int i) {
  static const char *const types[] = {"s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f16", "bf16", "f32", "f64"};
  return i < 0 ? -1 : find_in(w, i, types, 12);
}

static int cvt_round(const Words *w) {
  static const char *const r[] = {"rn", "rz", "rm", "rp"}, *const ri[] = {"rni", "rzi", "rmi", "rpi"};
  for (int i = 1; i < w->count; i++)
    for (int k = 0; k < 4; k++)
      if (word_is(w, i, r[k]) || word_is(w, i, ri[k])) return k;
  return 0;
}

static bool decode_cvt(Decode *d) {
  SimInstr *in = d->in;
  int last = d->w.count - 1, from = cvt_type(&d->w, last), to = cvt_type(&d->w, last - 1), mods = 0;
  char name[40];
  if (has_word(&d->w, "pack")) return decode_plain(d);
  if (has_word(&d->w, "sat")) mods |= 1;
  if (has_word(&d->w, "relu")) mods |= 2;
  if (has_word(&d->w, "satfinite")) mods |= 4;
  if (has_word(&d->w, "ftz")) mods |= 8;
  in->sub = (uint16_t)((from & 15) | (to & 15) << 4 | cvt_round(&d->w) << 8 | mods << 12);
  if (has_word(&d->w, "e4m3x2") || has_word(&d->w, "e5m2x2")) {
    in->n = has_word(&d->w, "e4m3x2") ? 1 : 2;
    return use(d, word_is(&d->w, last, "f32") ? "cvt_fp8_f32" : word_is(&d->w, last, "f16x2") ? "cvt_fp8_f16x2" : "cvt_f16x2_fp8");
  }
  bool plain = mods == 0 && cvt_round(&d->w) == 0;
  if (word_is(&d->w, last - 1, "f16x2") || word_is(&d->w, last - 1, "bf16x2")) {
    bool bf = word_is(&d->w, last - 1, "bf16x2");
    in->n = 2;
    in->sub = (uint16_t)((in->sub & 0xff0f) | (bf ? 9 : 8) << 4);
    return use(d, !plain ? "cvt_pair" : bf ? "cvt_bf16x2_f32" : "cvt_f16x2_f32");
  }
  if (word_is(&d->w, last - 1, "tf32")) {
    in->n = 1;
    return use(d, has_word(&d->w, "rna") ? "cvt_rna_tf32_f32" : "cvt_pair");
  }
  if (from < 0 || to < 0) return refuse(d);
  if (d->ops[0].kind == OPND_REG && SIM_AT(&d->p->vregs, SimVreg, d->ops[0].reg[0]).bits == 32) in->flags |= SIM_I_WIDE;
  snprintf(name, sizeof name, "cvt_%.*s_%.*s", (int)d->w.n[last - 1], d->w.at[last - 1], (int)d->w.n[last], d->w.at[last]);
  if (plain && sim_handler_find(name, strlen(name)) >= 0) return use(d, name);
  if (from < 8 && to < 8) {
    if (!mods && from == 5 && to >= 6) return use(d, "cvt_u64_u32"); /* zero extension, whatever the destination's sign */
    if (!mods && from == 4 && to >= 6) return use(d, "cvt_s64_s32");
    if (!mods && (from == 6 || from == 7) && (to == 4 || to == 5)) return use(d, "mov_narrow");
    return use(d, "cvt_int");
  }
  in->size = has_word(&d->w, "rni") || has_word(&d->w, "rzi") || has_word(&d->w, "rmi") || has_word(&d->w, "rpi");
  return use(d, to < 8 ? "cvt_to_int" : from < 8 ? "cvt_from_int" : "cvt_float");
}

/* ---- memory ---- */

static bool element_type(Decode *d, int i) { /* size and sign from a type word; vector length from .vN */
  uint8_t type, bits;
  if (i < 1 || !sim_type_word(d->w.at[i], d->w.n[i], &type, &bits) || type == 'p') return refuse(d);
  d->in->size = (uint8_t)(bits / 8);
  if (type == 's') d->in->flags |= SIM_I_SIGNED;
  d->in->n = has_word(&d->w, "v2") ? 2 : has_word(&d->w, "v4") ? 4 : has_word(&d->w, "v8") ? 8 : 1;
  uint32_t bytes = d->in->size;
  const SimOpnd *value = &d->ops[word_is(&d->w, 0, "st") ? 1 : 0]; /* narrower than its registers */
  for (int k = 0; k < value->n && bytes < 8; k++)
    if (value->reg[k] && value->reg[k] < SIM_SINK && value->kind != OPND_MEM && SIM_AT(&d->p->vregs, SimVreg, value->reg[k]).width == 8)
      d->in->flags |= SIM_I_WIDE;
  d->in->space = has_word(&d->w, "shared") ? SPACE_SHARED : has_word(&d->w, "param") ? SPACE_PARAM
                 : has_word(&d->w, "global") ? SPACE_GLOBAL : has_word(&d->w, "local") ? SPACE_LOCAL
                 : has_word(&d->w, "const") ? SPACE_CONST : SPACE_GENERIC;
  if (d->in->space == SPACE_SHARED || d->in->space == SPACE_GENERIC) {
    uint32_t shift = bytes == 1 ? 0 : bytes == 2 ? 1 : 2;
    if (d->p->fn->shift > shift) d->p->fn->shift = shift;
  }
  if (d->in->space == SPACE_GLOBAL || d->in->space == SPACE_GENERIC) {
    uint32_t granule = bytes == 1 ? 0 : bytes == 2 ? 1 : 2;
    if (d->p->fn->granule > granule) d->p->fn->granule = granule;
  }
  return true;
}

/* .param of a device function, or of a call: the stack. An entry's own parameters are the launch's. */
static bool param_on_stack(const Decode *d, int place) {
  const SimOpnd *o = &d->ops[place];
  if (o->sym_base) return SIM_AT(&d->p->syms, SimSym, o->sym).kind == SYM_STACK;
  return !d->p->fn->entry;
}

/* .sem and .scope. A strong access that may touch global memory makes the kernel one whose CTAs may wait for each other. */
static void strength(Decode *d, SimSem otherwise) {
  static const char *const sems[] = {"relaxed", "acquire", "release", "acq_rel", "sc"};
  static const char *const scopes[] = {"cta", "cluster", "gpu", "sys"};
  SimInstr *in = d->in;
  in->sem = (uint8_t)otherwise;
  for (int i = 1; i < d->w.count; i++) {
    int sem = find_in(&d->w, i, sems, 5), scope = find_in(&d->w, i, scopes, 4);
    if (sem >= 0) in->sem = (uint8_t)(SEM_RELAXED + sem);
    if (scope >= 0) in->scope = (uint8_t)(SCOPE_CTA + scope);
  }
  if (has_word(&d->w, "volatile") || has_word(&d->w, "mmio")) in->sem = SEM_RELAXED, in->scope = SCOPE_SYS;
  if (in->sem && !in->scope) in->scope = SCOPE_GPU;
  if (in->sem && in->space != SPACE_SHARED && in->space != SPACE_NONE) d->p->fn->meets = true;
}

static bool decode_load(Decode *d) {
  if (!element_type(d, d->w.count - 1)) return false;
  strength(d, SEM_WEAK);
  if (d->in->sem && (d->in->space == SPACE_GLOBAL || d->in->space == SPACE_SHARED || d->in->space == SPACE_GENERIC)) return use(d, "ld_strong");
  switch (d->in->space) {
  case SPACE_GLOBAL:
  case SPACE_CONST: return use(d, "ld_global");
  case SPACE_SHARED: return use(d, "ld_shared");
  case SPACE_PARAM: return use(d, param_on_stack(d, 1) ? "ld_local" : "ld_param");
  case SPACE_LOCAL: return use(d, "ld_local");
  case SPACE_GENERIC: return use(d, "ld_generic");
  default: return refuse(d);
  }
}

/* Compilers hand on structures whole: what lies between their members comes from registers that nobody has written. */
static bool store_stack(Decode *d) {
  uint32_t n = SIM_COUNT(&d->p->refs, SimRef);
  for (uint32_t i = 1; i <= d->in->n; i++) SIM_AT(&d->p->refs, SimRef, n - i).access |= SIM_REF_LAX;
  return use(d, "st_local");
}

static bool decode_store(Decode *d) {
  if (!element_type(d, d->w.count - 1)) return false;
  strength(d, SEM_WEAK);
  if (d->in->sem && (d->in->space == SPACE_GLOBAL || d->in->space == SPACE_SHARED || d->in->space == SPACE_GENERIC)) return use(d, "st_strong");
  switch (d->in->space) {
  case SPACE_GLOBAL: return use(d, "st_global");
  case SPACE_SHARED: return use(d, "st_shared");
  case SPACE_PARAM: return param_on_stack(d, 0) ? store_stack(d) : refuse(d);
  case SPACE_LOCAL: return store_stack(d);
  case SPACE_GENERIC: return use(d, "st_generic");
  default: return refuse(d);
  }
}

static bool decode_atom(Decode *d) {
  static const char *const ops[] = {"add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"};
  static const char *const types[] = {"u32", "s32", "u64", "s64", "f32", "f64", "f16x2", "bf16x2", "f16", "bf16", "b16", "b32", "b64"};
  int op = -1, type = -1;
  for (int i = 1; i < d->w.count; i++) {
    if (op < 0) op = find_in(&d->w, i, ops, 10);
    if (type < 0) type = find_in(&d->w, i, types, 13);
  }
  if (op < 0 || type < 0) return refuse(d);
  if (type >= 11) type = type == 11 ? 0 : 2;
  bool returns = word_is(&d->w, 0, "atom");
  d->in->sub = (uint16_t)(op | type << 4 | (returns ? 1 << 8 : 0));
  d->in->size = type == 2 || type == 3 || type == 5 ? 8 : type >= 8 ? 2 : 4;
  d->in->n = has_word(&d->w, "v2") ? 2 : has_word(&d->w, "v4") ? 4 : has_word(&d->w, "v8") ? 8 : 1;
  uint32_t shift = d->in->size == 2 ? 1 : 2;
  if (d->p->fn->shift > shift) d->p->fn->shift = shift;
  if (d->p->fn->granule > shift) d->p->fn->granule = shift;
  d->in->space = has_word(&d->w, "shared") ? SPACE_SHARED : has_word(&d->w, "global") ? SPACE_GLOBAL : SPACE_GENERIC;
  strength(d, SEM_RELAXED);
  return use(d, "atom");
}

/* fence.{sc,acq_rel}.scope; membar.{cta,gl,sys} is fence.sc. Fences of proxies and the like have no effect in what is simulated. */
static bool decode_fence(Decode *d) {
  bool old = word_is(&d->w, 0, "membar");
  strength(d, SEM_SC);
  d->in->scope = (uint8_t)(has_word(&d->w, "cta") ? SCOPE_CTA : has_word(&d->w, "cluster") ? SCOPE_CLUSTER
                           : has_word(&d->w, "gl") || has_word(&d->w, "gpu") ? SCOPE_GPU : SCOPE_SYS);
  if (!old && !has_word(&d->w, "sc") && !has_word(&d->w, "acq_rel")) return use(d, "nop");
  return use(d, "fence");
}

static bool decode_cp(Decode *d) {
  if (has_word(&d->w, "commit_group")) return use(d, "cp_async_commit");
  if (has_word(&d->w, "wait_all")) {
    d->in->imm = -1;
    return use(d, "cp_async_wait");
  }
  if (has_word(&d->w, "wait_group")) {
    d->in->imm = d->ops[0].imm;
    return d->ops[0].imm < 0 ? sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "cp.async.wait_group needs a count of 0 or more") : use(d, "cp_async_wait");
  }
  int64_t bytes = d->ops[2].imm;
  if (bytes != 4 && bytes != 8 && bytes != 16)
    return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "cp.async copies 4, 8 or 16 bytes, not %lld", (long long)bytes);
  if (has_word(&d->w, "cg") && bytes != 16) return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "cp.async.cg copies 16 bytes, not %lld", (long long)bytes);
  d->in->size = (uint8_t)bytes;
  d->in->n = d->nops > 3;
  d->p->fn->uses_cp_async = true;
  return use(d, "cp_async");
}

static bool decode_matrix(Decode *d) { /* ldmatrix, stmatrix */
  d->in->n = has_word(&d->w, "x1") ? 1 : has_word(&d->w, "x2") ? 2 : 4;
  if (has_word(&d->w, "trans")) d->in->flags |= SIM_I_TRANS;
  if (!has_word(&d->w, "m8n8") || !has_word(&d->w, "b16")) return refuse(d);
  return use(d, word_is(&d->w, 0, "ldmatrix") ? "ldmatrix" : "stmatrix");
}

/* A policy has no effect here: its value is the fraction's bits, so that what uses it is written. */
static bool decode_policy(Decode *d) { return use(d, "mov_b64"); }
static bool decode_prefetch(Decode *d) { return use(d, "prefetch"); }
static bool decode_movmatrix(Decode *d) { return use(d, "movmatrix"); }

/* ---- mma.sync.aligned.SHAPE.row.col.D.A.B.C, wmma ---- */

static bool read_shape(const Words *w, int i, int shape[3]) { /* m16n8k16 */
  const char *at = w->at[i], *end = at + w->n[i];
  for (int k = 0; k < 3; k++) {
    if (at >= end || *at++ != "mnk"[k]) return false;
    for (shape[k] = 0; at < end && *at >= '0' && *at <= '9'; at++) shape[k] = shape[k] * 10 + (*at - '0');
  }
  return at == end;
}

/* satfinite may stand before the types, an operation on bits behind them */
static bool decode_mma_int(Decode *d, int types, const int shape[3]) {
  const Words *w = &d->w;
  SimInstr *in = d->in;
  int bits = word_is(w, types + 1, "b1") ? 1 : w->at[types + 1][1] == '4' ? 4 : 8;
  in->n = (uint8_t)(shape[2] / 8);
  in->size = (uint8_t)shape[0];
  in->space = (uint8_t)bits;
  in->sub = (uint16_t)((w->at[types + 1][0] == 's' ? 1 : 0) | (w->at[types + 2][0] == 's' ? 2 : 0) | (has_word(w, "satfinite") ? 4 : 0) |
                       (has_word(w, "and") ? 8 : 0));
  return use(d, "mma_int");
}

static bool decode_mma(Decode *d) {
  static const char *const kinds[] = {"f16", "bf16", "tf32", "e4m3", "e5m2"};
  const Words *w = &d->w;
  SimInstr *in = d->in;
  int shape[3], types = has_word(w, "satfinite") ? 7 : 6, c = types + 3;
  if (w->count < c + 1 || !read_shape(w, 3, shape)) return refuse(d);
  in->flags |= SIM_I_MACS;
  if (shape[0] == 8 && shape[2] == 4 && word_is(w, types + 1, "f16")) {
    in->sub = (uint16_t)((word_is(w, 4, "col") ? 1 : 0) | (word_is(w, 5, "row") ? 2 : 0) | (word_is(w, c, "f32") ? 4 : 0) |
                         (word_is(w, types, "f32") ? 8 : 0));
    return use(d, "mma_quad");
  }
  if (!word_is(w, 4, "row") || !word_is(w, 5, "col")) return refuse(d);
  if (word_is(w, c, "f64")) return shape[0] == 8 && shape[2] == 4 ? use(d, "mma_f64") : refuse(d);
  if (word_is(w, c, "s32")) return decode_mma_int(d, types, shape);
  int ta = find_in(w, types + 1, kinds, 5), tb = find_in(w, types + 2, kinds, 5);
  if (ta < 0 || tb < 0 || shape[0] != 16 || shape[1] != 8 || shape[2] > 32) return refuse(d);
  in->n = (uint8_t)shape[2];
  in->sub = (uint16_t)(ta | tb << 4);
  bool half = word_is(w, c, "f16") && word_is(w, types, "f16");
  if (half) in->flags |= SIM_I_SIGNED;
  else if (!word_is(w, c, "f32") || !word_is(w, types, "f32")) return refuse(d);
  if (!half && ta == tb && ta <= 1 && (shape[2] == 8 || shape[2] == 16)) {
    in->n = (uint8_t)(shape[2] / 8);
    if (d->p->dev->mma_exact) return use(d, ta ? "mma_bf16_exact" : "mma_f16_exact");
    return use(d, ta ? "mma_bf16" : "mma_f16");
  }
  return use(d, "mma_general");
}

static int fragment_type(const Words *w, int i) {
  static const char *const types[] = {"f16", "bf16", "tf32", "f32", "f64", "s32", "s8", "u8", "s4", "u4", "b1"};
  return find_in(w, i, types, 11);
}

static bool decode_wmma_mma(Decode *d, int at, const int shape[3]) { /* .D.C of f16, .D.A.B.C of others */
  const Words *w = &d->w;
  SimInstr *in = d->in;
  int last = word_is(w, w->count - 1, "rn") ? w->count - 2 : w->count - 1;
  int td = fragment_type(w, at + 1), tc = fragment_type(w, last), ta = last - at == 2 ? 0 : fragment_type(w, at + 2);
  if (td < 0 || tc < 0 || ta < 0) return refuse(d);
  in->imm2 = shape[0] | shape[1] << 8 | shape[2] << 16;
  in->sub = (uint16_t)(ta | tc << 4 | td << 8);
  in->n = (uint8_t)(d->ops[1].n | d->ops[2].n << 4);
  in->size = (uint8_t)(d->ops[0].n | d->ops[3].n << 4);
  in->flags |= SIM_I_MACS | (has_word(w, "and") ? SIM_I_TRANS : 0);
  return use(d, "wmma_mma");
}

static bool decode_wmma(Decode *d) {
  const Words *w = &d->w;
  SimInstr *in = d->in;
  int shape[3], at = 1;
  while (at < w->count && !read_shape(w, at, shape)) at++;
  if (at == w->count) return refuse(d);
  if (word_is(w, 1, "mma")) return decode_wmma_mma(d, at, shape);
  bool store = word_is(w, 1, "store");
  int type = fragment_type(w, w->count - 1), what = store || word_is(w, 2, "c") ? 2 : word_is(w, 2, "b") ? 1 : 0;
  if (type < 0) return refuse(d);
  in->imm2 = shape[0] | shape[1] << 8 | shape[2] << 16;
  in->sub = (uint16_t)(type | what << 4 | (word_is(w, at - 1, "col") ? 1 << 6 : 0));
  in->n = d->ops[store ? 1 : 0].n;
  in->size = d->nops > 2;
  in->space = has_word(w, "global") ? SPACE_GLOBAL : has_word(w, "shared") ? SPACE_SHARED : SPACE_GENERIC;
  return use(d, store ? "wmma_store" : "wmma_load");
}

/* ---- control, barriers, warp ---- */

static bool decode_bra(Decode *d) { return use(d, "bra"); }
static bool decode_brx(Decode *d) { return use(d, "brx"); }
static bool decode_exit(Decode *d) { return use(d, word_is(&d->w, 0, "ret") && !d->p->fn->entry ? "ret" : "exit"); }
static bool decode_trap(Decode *d) { return use(d, "trap"); }
static bool decode_nop(Decode *d) { return use(d, "nop"); }

static bool use_members(Decode *d, const char *name) { /* the last operand is the member mask */
  uint32_t v = opnd_vreg(d, d->nops - 1);
  if (v && SIM_AT(&d->p->vregs, SimVreg, v).kind != VREG_CONST) d->in->flags |= SIM_I_MASKS;
  return use(d, name);
}

static bool decode_bar(Decode *d) {
  if (word_is(&d->w, 1, "warp")) return use_members(d, "bar_warp_sync");
  d->in->n = d->nops > 1;
  if (has_word(&d->w, "sync")) return use(d, "bar_sync");
  if (has_word(&d->w, "arrive")) return use(d, "bar_arrive");
  if (!has_word(&d->w, "red")) return refuse(d);
  d->in->n = d->nops > 3; /* a count before the predicate */
  d->in->sub = has_word(&d->w, "and") ? 1 : has_word(&d->w, "or") ? 2 : 3;
  return use(d, "bar_red");
}

static bool decode_isspacep(Decode *d) {
  static const char *const spaces[] = {"global", "shared", "local", "param", "const"};
  int s = find_in(&d->w, 1, spaces, 5);
  d->in->space = (uint8_t)(SPACE_GLOBAL + s);
  return s < 0 ? refuse(d) : use(d, "isspacep");
}

static bool decode_shfl(Decode *d) {
  static const char *const how[] = {"up", "down", "bfly", "idx"};
  int s = find_in(&d->w, 2, how, 4);
  d->in->sub = (uint16_t)s;
  d->in->n = d->ops[0].kind == OPND_PAIR ? 2 : 1;
  SIM_AT(&d->p->refs, SimRef, SIM_COUNT(&d->p->refs, SimRef) - 4).access |= SIM_REF_MAYBE; /* the value: only of lanes that are read */
  return s < 0 ? refuse(d) : use_members(d, "shfl");
}

static bool decode_vote(Decode *d) {
  static const char *const how[] = {"all", "any", "uni", "ballot"};
  int s = find_in(&d->w, 2, how, 4);
  d->in->sub = (uint16_t)s;
  return s < 0 ? refuse(d) : use_members(d, "vote");
}

static bool decode_match(Decode *d) {
  d->in->n = d->ops[0].kind == OPND_PAIR ? 2 : 1;
  d->in->sub = word_is(&d->w, 1, "all");
  d->in->size = has_word(&d->w, "b64") ? 8 : 4;
  return use_members(d, "match");
}

static bool decode_activemask(Decode *d) { return use(d, "activemask"); }
static bool decode_elect(Decode *d) { return use_members(d, "elect"); }

static bool decode_redux(Decode *d) {
  static const char *const ops[] = {"add", "min", "max", "and", "or", "xor"};
  int s = find_in(&d->w, 2, ops, 6), last = d->w.count - 1;
  d->in->sub = (uint16_t)s;
  d->in->size = word_is(&d->w, last, "f32") ? (has_word(&d->w, "NaN") ? 3 : 2) : word_is(&d->w, last, "s32");
  return s < 0 ? refuse(d) : use_members(d, "redux");
}

static const struct { const char *mnemonic; bool (*decode)(Decode *d); } decoders[] = {
  {"add", decode_carry}, {"addc", decode_carry}, {"sub", decode_carry}, {"subc", decode_carry}, {"mad", decode_carry}, {"madc", decode_carry},
  {"mul", decode_float}, {"fma", decode_float}, {"div", decode_float}, {"rcp", decode_float}, {"sqrt", decode_float}, {"min", decode_float},
  {"max", decode_float}, {"abs", decode_float}, {"neg", decode_float}, {"set", decode_set}, {"slct", decode_slct},
  {"lop3", decode_lop3}, {"selp", decode_selp}, {"setp", decode_setp}, {"testp", decode_testp}, {"sin", decode_trig},
  {"cos", decode_trig}, {"mov", decode_mov}, {"cvta", decode_cvta}, {"cvt", decode_cvt}, {"ld", decode_load}, {"st", decode_store},
  {"atom", decode_atom}, {"red", decode_atom}, {"cp", decode_cp}, {"ldmatrix", decode_matrix}, {"stmatrix", decode_matrix},
  {"movmatrix", decode_movmatrix}, {"prefetch", decode_prefetch}, {"createpolicy", decode_policy},
  {"mma", decode_mma}, {"wmma", decode_wmma}, {"bra", decode_bra}, {"brx", decode_brx}, {"ret", decode_exit},
  {"exit", decode_exit}, {"trap", decode_trap}, {"nanosleep", decode_nop}, {"membar", decode_fence}, {"fence", decode_fence},
  {"bar", decode_bar}, {"barrier", decode_bar}, {"isspacep", decode_isspacep}, {"ldu", decode_load}, {"prefetchu", decode_prefetch},
  {"applypriority", decode_prefetch}, {"discard", decode_prefetch}, {"brkpt", decode_trap}, {"pmevent", decode_nop},
  {"shfl", decode_shfl}, {"vote", decode_vote}, {"match", decode_match}, {"activemask", decode_activemask},
  {"redux", decode_redux}, {"elect", decode_elect},
};

bool sim_decode(SimParser *p, const IsaForm *form, SimInstr *in, const SimOpnd *ops, int n, const SimToken *opcode) {
  Decode d = {.p = p, .form = form, .in = in, .ops = ops, .nops = n, .line = opcode->line};
  split_words(opcode->at, opcode->n, &d.w);
  if (sim_is_async(&d.w)) return sim_decode_async(&d);
  for (size_t i = 0; i < sizeof decoders / sizeof decoders[0]; i++)
    if (word_is(&d.w, 0, decoders[i].mnemonic)) return decoders[i].decode(&d);
  return decode_plain(&d);
}
