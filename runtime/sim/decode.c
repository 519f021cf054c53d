/* decode.c - from a row of gen/isa to a handler and its fields. The row says the form; what it means stands in the handlers, which
 * are found here by mnemonic and modifiers alone. */
#include "parse.h"
#include <stdio.h>
#include <string.h>

enum { MAX_WORDS = 16 };
typedef struct Words { const char *at[MAX_WORDS]; uint32_t n[MAX_WORDS]; int count; } Words;

typedef struct Decode {
  SimParser *p;
  const IsaForm *form;
  SimInstr *in;
  const SimOpnd *ops;
  int nops;
  uint32_t line;
  Words w;
} Decode;

static void split_words(const char *opcode, Words *w) {
  w->count = 0;
  for (const char *s = opcode; *s && w->count < MAX_WORDS;) {
    size_t n = strcspn(s, ".");
    w->at[w->count] = s;
    w->n[w->count++] = (uint32_t)n;
    s += n;
    if (*s == '.') s++;
  }
}

static bool word_is(const Words *w, int i, const char *s) {
  return i < w->count && strlen(s) == w->n[i] && memcmp(s, w->at[i], w->n[i]) == 0;
}

static int has_word(const Words *w, const char *s) { /* its place, or 0 */
  for (int i = 1; i < w->count; i++)
    if (word_is(w, i, s)) return i;
  return 0;
}

static int find_in(const Words *w, int i, const char *const *list, int n) {
  for (int k = 0; k < n; k++)
    if (word_is(w, i, list[k])) return k;
  return -1;
}

static bool refuse(Decode *d) {
  return sim_parse_fail(d->p, d->line, DRV_INVALID_PTX, "'%s' is not simulated", d->form->opcode);
}

static bool use(Decode *d, const char *name) {
  int h = sim_handler_find(name, strlen(name));
  if (h < 0) return refuse(d);
  d->in->handler = (uint16_t)h;
  return true;
}

/* mnemonic and modifiers joined by '_', without .rn; then, for operations that do not look at signs, with the type as .bN */
static bool decode_plain(Decode *d) {
  char name[96];
  size_t n = 0, last = 0;
  for (int i = 0; i < d->w.count; i++) {
    if (i && word_is(&d->w, i, "rn")) continue;
    if (n + d->w.n[i] + 2 > sizeof name) return refuse(d);
    if (n) name[n++] = '_';
    last = n;
    memcpy(name + n, d->w.at[i], d->w.n[i]);
    n += d->w.n[i];
  }
  name[n] = 0;
  if (sim_handler_find(name, n) >= 0) return use(d, name);
  name[last] = 'b';
  return use(d, name);
}

static bool decode_lop3(Decode *d) {
  d->in->sub = (uint16_t)(d->ops[d->nops - 1].imm & 0xff);
  return use(d, "lop3_b32");
}

static bool decode_selp(Decode *d) {
  return use(d, word_is(&d->w, 1, "b64") || word_is(&d->w, 1, "f64") || word_is(&d->w, 1, "u64") || word_is(&d->w, 1, "s64") ? "selp_b64" : "selp_b32");
}

static bool decode_setp(Decode *d) {
  static const char *const cmps[] = {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
  static const char *const joins[] = {"", "and", "or", "xor"};
  char name[32];
  int cmp = find_in(&d->w, 1, cmps, 14), last = d->w.count - 1, join = d->w.count == 4 ? find_in(&d->w, 2, joins, 4) : 0;
  if (cmp < 0 || join < 0 || d->w.count < 3 || d->w.count > 4 || d->w.n[last] > 8) return refuse(d);
  d->in->sub = (uint16_t)(cmp | join << 8);
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
  return t < 0 ? refuse(d) : use(d, "testp_f32");
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
    if (r->kind == VREG_SPECIAL && r->value >= SPECIAL_CLOCK) {
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
  uint64_t base = word_is(&d->w, i, "shared") ? SIM_SHARED_BASE : word_is(&d->w, i, "param") && to ? SIM_PARAM_BASE : 0;
  if (word_is(&d->w, i, "local")) return refuse(d);
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
  if (d->form->op[0].cls == 'r') in->flags |= SIM_I_WIDE;
  snprintf(name, sizeof name, "cvt_%.*s_%.*s", (int)d->w.n[last - 1], d->w.at[last - 1], (int)d->w.n[last], d->w.at[last]);
  if (plain && sim_handler_find(name, strlen(name)) >= 0) return use(d, name);
  if (from < 8 && to < 8) {
    if (from == 5 && to >= 6) return use(d, "cvt_u64_u32"); /* zero extension, whatever the destination's sign */
    if (from == 4 && to >= 6) return use(d, "cvt_s64_s32");
    if (!mods && (from == 6 || from == 7) && (to == 4 || to == 5)) return use(d, "mov_narrow");
    return use(d, "cvt_int");
  }
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
  case SPACE_PARAM: return use(d, "ld_param");
  case SPACE_GENERIC: return use(d, "ld_generic");
  default: return refuse(d);
  }
}

static bool decode_store(Decode *d) {
  if (!element_type(d, d->w.count - 1)) return false;
  strength(d, SEM_WEAK);
  if (d->in->sem && (d->in->space == SPACE_GLOBAL || d->in->space == SPACE_SHARED || d->in->space == SPACE_GENERIC)) return use(d, "st_strong");
  switch (d->in->space) {
  case SPACE_GLOBAL: return use(d, "st_global");
  case SPACE_SHARED: return use(d, "st_shared");
  case SPACE_GENERIC: return use(d, "st_generic");
  default: return refuse(d);
  }
}

static bool decode_atom(Decode *d) {
  static const char *const ops[] = {"add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"};
  static const char *const types[] = {"u32", "s32", "u64", "s64", "f32", "f64", "f16x2", "bf16x2", "b32", "b64"};
  int op = -1, type = -1;
  for (int i = 1; i < d->w.count; i++) {
    if (op < 0) op = find_in(&d->w, i, ops, 10);
    if (type < 0) type = find_in(&d->w, i, types, 10);
  }
  if (op < 0 || type < 0) return refuse(d);
  if (type >= 8) type = type == 8 ? 0 : 2;
  bool returns = word_is(&d->w, 0, "atom");
  d->in->sub = (uint16_t)(op | type << 4 | (returns ? 1 << 8 : 0));
  d->in->size = type == 2 || type == 3 || type == 5 ? 8 : 4;
  d->in->n = has_word(&d->w, "v2") ? 2 : has_word(&d->w, "v4") ? 4 : 1;
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

/* ---- mma.sync.aligned.SHAPE.row.col.D.A.B.C ---- */
static bool decode_mma(Decode *d) {
  static const char *const types[] = {"f16", "bf16", "tf32", "e4m3", "e5m2"};
  const Words *w = &d->w;
  SimInstr *in = d->in;
  int last = w->count - 1, K = 0;
  if (w->count != 10 || !word_is(w, 4, "row") || !word_is(w, 5, "col")) return refuse(d);
  const char *k = memchr(w->at[3], 'k', w->n[3]);
  if (!k) return refuse(d);
  for (k++; k < w->at[3] + w->n[3]; k++) K = K * 10 + (*k - '0');
  in->flags |= SIM_I_MACS;
  if (word_is(w, last, "f64")) return word_is(w, 3, "m8n8k4") ? use(d, "mma_f64") : refuse(d);
  in->n = (uint8_t)K;
  if (word_is(w, last, "s32")) {
    if ((K != 16 && K != 32) || has_word(w, "satfinite")) return refuse(d);
    in->size = w->at[3][1] == '8' ? 8 : 16;
    in->sub = (uint16_t)((word_is(w, 7, "s8") ? 1 : 0) | (word_is(w, 8, "s8") ? 2 : 0));
    return use(d, "mma_int");
  }
  int ta = find_in(w, 7, types, 5), tb = find_in(w, 8, types, 5);
  if (ta < 0 || tb < 0 || memcmp(w->at[3], "m16n8k", 6) != 0 || K > 32) return refuse(d);
  in->sub = (uint16_t)(ta | tb << 4);
  bool half = word_is(w, last, "f16") && word_is(w, 6, "f16");
  if (half) in->flags |= SIM_I_SIGNED;
  else if (!word_is(w, last, "f32") || !word_is(w, 6, "f32")) return refuse(d);
  if (!half && ta == tb && ta <= 1 && (K == 8 || K == 16)) {
    in->n = (uint8_t)(K / 8);
    return use(d, ta ? "mma_bf16" : "mma_f16");
  }
  return use(d, "mma_general");
}

/* ---- control, barriers, warp ---- */

static bool decode_bra(Decode *d) { return use(d, "bra"); }
static bool decode_exit(Decode *d) { return use(d, "exit"); }
static bool decode_trap(Decode *d) { return use(d, "trap"); }
static bool decode_nop(Decode *d) { return use(d, "nop"); }

static bool decode_bar(Decode *d) {
  if (word_is(&d->w, 1, "warp")) return use(d, "bar_warp_sync");
  d->in->n = d->nops > 1;
  if (word_is(&d->w, 1, "sync")) return use(d, "bar_sync");
  if (word_is(&d->w, 1, "arrive")) return use(d, "bar_arrive");
  if (!word_is(&d->w, 1, "red")) return refuse(d);
  d->in->sub = word_is(&d->w, 2, "and") ? 1 : word_is(&d->w, 2, "or") ? 2 : 3;
  return use(d, "bar_red");
}

static bool decode_shfl(Decode *d) {
  static const char *const how[] = {"up", "down", "bfly", "idx"};
  int s = find_in(&d->w, 2, how, 4);
  d->in->sub = (uint16_t)s;
  d->in->n = d->ops[0].kind == OPND_PAIR ? 2 : 1;
  return s < 0 ? refuse(d) : use(d, "shfl");
}

static bool decode_vote(Decode *d) {
  static const char *const how[] = {"all", "any", "uni", "ballot"};
  int s = find_in(&d->w, 2, how, 4);
  d->in->sub = (uint16_t)s;
  return s < 0 ? refuse(d) : use(d, "vote");
}

static bool decode_match(Decode *d) {
  d->in->n = d->ops[0].kind == OPND_PAIR ? 2 : 1;
  return has_word(&d->w, "b32") && (d->in->n == 2) == word_is(&d->w, 1, "all") ? use(d, "match") : refuse(d);
}

static bool decode_activemask(Decode *d) { return use(d, "activemask"); }
static bool decode_elect(Decode *d) { return use(d, "elect"); }

static bool decode_redux(Decode *d) {
  static const char *const ops[] = {"add", "min", "max", "and", "or", "xor"};
  int s = find_in(&d->w, 2, ops, 6), last = d->w.count - 1;
  d->in->sub = (uint16_t)s;
  d->in->size = word_is(&d->w, last, "f32") ? (has_word(&d->w, "NaN") ? 3 : 2) : word_is(&d->w, last, "s32");
  return s < 0 ? refuse(d) : use(d, "redux");
}

static const struct { const char *mnemonic; bool (*decode)(Decode *d); } decoders[] = {
  {"lop3", decode_lop3}, {"selp", decode_selp}, {"setp", decode_setp}, {"testp", decode_testp}, {"sin", decode_trig},
  {"cos", decode_trig}, {"mov", decode_mov}, {"cvta", decode_cvta}, {"cvt", decode_cvt}, {"ld", decode_load}, {"st", decode_store},
  {"atom", decode_atom}, {"red", decode_atom}, {"cp", decode_cp}, {"ldmatrix", decode_matrix}, {"stmatrix", decode_matrix},
  {"movmatrix", decode_movmatrix}, {"prefetch", decode_prefetch}, {"createpolicy", decode_policy},
  {"mma", decode_mma}, {"bra", decode_bra}, {"ret", decode_exit},
  {"exit", decode_exit}, {"trap", decode_trap}, {"nanosleep", decode_nop}, {"membar", decode_fence}, {"fence", decode_fence},
  {"bar", decode_bar}, {"shfl", decode_shfl}, {"vote", decode_vote}, {"match", decode_match}, {"activemask", decode_activemask},
  {"redux", decode_redux}, {"elect", decode_elect},
};

bool sim_decode(SimParser *p, const IsaForm *form, SimInstr *in, const SimOpnd *ops, int n, uint32_t line) {
  Decode d = {.p = p, .form = form, .in = in, .ops = ops, .nops = n, .line = line};
  split_words(form->opcode, &d.w);
  for (size_t i = 0; i < sizeof decoders / sizeof decoders[0]; i++)
    if (word_is(&d.w, 0, decoders[i].mnemonic)) return decoders[i].decode(&d);
  return decode_plain(&d);
}
