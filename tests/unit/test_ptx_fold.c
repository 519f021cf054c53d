/* test_ptx_fold.c - folding keeps the meaning. Random programs with branches and loops are built twice: once as usual, merged and
 * folded, once plainly, every register a variable, so that nothing is known about anything. A small interpreter runs both, and
 * they must store the same values. Its arithmetic is written on its own, not taken from the generator's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptx.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL 64
#define STORES 256

typedef struct Value { PtxReg reg, plain; } Value; /* in the folded program and in the plain one */

typedef struct Pool { Value at[POOL]; int n; } Pool;

typedef struct World {
  Arena arena;
  Diag diag;
  PtxProgram *p, *plain;
  uint64_t seed;
  Pool narrow, wide;            /* what may be used here: .b32 and .b64 */
  Value var32, var64, out;
} World;

typedef struct Stores { uint64_t at[STORES]; int n; } Stores;

static uint32_t random_of(World *w, uint32_t n) {
  w->seed ^= w->seed << 13, w->seed ^= w->seed >> 7, w->seed ^= w->seed << 17;
  return (uint32_t)((w->seed * 0x2545F4914F6CDD1Dull) >> 33) % n;
}

static int64_t random_constant(World *w) {
  static const int64_t some[] = {0, 1, -1, 2, 3, 4, 8, 12, 16, 31, 32, 100, 256, 4096, -8, -16, 0x7FFFFFFF, -0x7FFFFFFF - 1, 65536, 5, 6, 7, 641};
  return some[random_of(w, sizeof some / sizeof *some)];
}

/* ---- what the instructions mean ---- */

static uint64_t width_mask(int bits) { return bits == 64 ? UINT64_MAX : UINT32_MAX; }
static int64_t as_signed(uint64_t v, int bits) { return bits == 64 ? (int64_t)v : (int64_t)(int32_t)(uint32_t)v; }

/* Opcodes are read as text, so that this table and the generator's have nothing in common. */
static bool compute(const char *opcode, const uint64_t *v, uint64_t *out) {
  const char *type = strrchr(opcode, '.') + 1;
  int bits = atoi(type + 1) == 64 ? 64 : 32;
  uint64_t mask = width_mask(bits), a = v[0] & mask, b = v[1] & mask, c = v[2] & mask;
  int64_t sa = as_signed(a, bits), sb = as_signed(b, bits);
  bool is_signed = type[0] == 's';
#define IS(prefix) (strncmp(opcode, prefix ".", sizeof prefix) == 0)
  if (strncmp(opcode, "mul.wide", 8) == 0 || strncmp(opcode, "mad.wide", 8) == 0) {
    *out = is_signed ? (uint64_t)((int64_t)(int32_t)v[0] * (int32_t)v[1]) : (uint64_t)(uint32_t)v[0] * (uint32_t)v[1];
    if (opcode[1] == 'a') *out += v[2];
    return true;
  }
  if (strcmp(opcode, "mul.hi.u32") == 0) return *out = (a * b) >> 32, true;
  if (IS("cvt")) {
    const char *to = opcode + 4;
    *out = is_signed ? (uint64_t)sa : a;
    if (strncmp(to + 1, "32", 2) == 0) *out &= UINT32_MAX;
    return true;
  }
  if (IS("setp")) {
    const char *cmp = opcode + 5;
    bool less = is_signed ? sa < sb : a < b;
    *out = cmp[0] == 'e' ? a == b : cmp[0] == 'n' ? a != b : cmp[0] == 'l' ? (cmp[1] == 't' ? less : less || a == b) : !less && (cmp[1] == 'e' || a != b);
    return true;
  }
  if (IS("selp")) return *out = (v[2] & 1 ? v[0] : v[1]) & mask, true;
  if (IS("mov")) return *out = v[0] & mask, true;
  if (IS("add")) *out = a + b;
  else if (IS("sub")) *out = a - b;
  else if (IS("mul")) *out = a * b;
  else if (IS("mad")) *out = a * b + c;
  else if (IS("and")) *out = a & b;
  else if (IS("or")) *out = a | b;
  else if (IS("xor")) *out = a ^ b;
  else if (IS("shl")) *out = (v[1] & UINT32_MAX) >= (unsigned)bits ? 0 : a << (v[1] & UINT32_MAX);
  else if (IS("shr") && is_signed) *out = (uint64_t)(sa >> ((v[1] & UINT32_MAX) >= (unsigned)bits ? bits - 1 : (int)(v[1] & 63)));
  else if (IS("shr")) *out = (v[1] & UINT32_MAX) >= (unsigned)bits ? 0 : a >> (v[1] & UINT32_MAX);
  else if (IS("min")) *out = (is_signed ? sa < sb : a < b) ? a : b;
  else if (IS("max")) *out = (is_signed ? sa > sb : a > b) ? a : b;
  else if (IS("div") && is_signed) *out = sb == -1 ? 0 - a : sb ? (uint64_t)(sa / sb) : 0;
  else if (IS("rem") && is_signed) *out = sb == -1 || !sb ? 0 : (uint64_t)(sa % sb);
  else if (IS("div")) *out = b ? a / b : 0;
  else if (IS("rem")) *out = b ? a % b : 0;
  else return false;
  *out &= mask;
  return true;
}

static uint64_t loaded_from(uint32_t address) { return (address * 2654435761u) ^ 0x5bd1e995u; } /* shared memory holds this */

/* ---- building both ---- */

static const IsaId narrow_forms[] = {
  ISA_add_s32, ISA_add_u32, ISA_sub_s32, ISA_sub_u32, ISA_mul_lo_s32, ISA_mul_lo_u32, ISA_mad_lo_s32, ISA_shl_b32, ISA_shr_u32,
  ISA_shr_s32, ISA_and_b32, ISA_or_b32, ISA_xor_b32, ISA_min_s32, ISA_max_s32, ISA_min_u32, ISA_max_u32, ISA_div_u32, ISA_rem_u32,
  ISA_div_s32, ISA_rem_s32,
  ISA_cvt_u32_u64, ISA_cvt_s32_s64, ISA_add_s32, ISA_add_s32, ISA_mul_lo_s32, ISA_shl_b32, ISA_selp_b32, ISA_ld_shared_b32,
};
static const IsaId wide_forms[] = {
  ISA_add_s64, ISA_add_u64, ISA_sub_s64, ISA_mul_lo_s64, ISA_mad_lo_s64, ISA_shl_b64, ISA_shr_u64, ISA_and_b64, ISA_xor_b64,
  ISA_div_s64, ISA_rem_s64, ISA_div_u64, ISA_rem_u64, ISA_min_s64, ISA_max_s64, ISA_cvt_s64_s32, ISA_cvt_u64_u32,
  ISA_mul_wide_s32, ISA_mul_wide_u32, ISA_add_s64, ISA_selp_b64,
};
static const IsaId compares[] = {ISA_setp_lt_s32, ISA_setp_lt_u32, ISA_setp_eq_s32, ISA_setp_ge_s32, ISA_setp_gt_u32, ISA_setp_le_s32};

static void remember(Pool *pool, Value v) { pool->at[pool->n < POOL ? pool->n++ : POOL - 1] = v; }

typedef struct Both { PtxOpnd p, plain; } Both;

static Both both(Value v) { return (Both){po_r(v.reg), po_r(v.plain)}; }

/* An operand of class c: a register of the pool, now and then a variable or a constant. */
static Both pick(World *w, char c, bool imm_ok) {
  uint32_t kind = random_of(w, 10);
  if (imm_ok && kind < 4) {
    PtxOpnd o = po_i(random_constant(w));
    return (Both){o, o};
  }
  if (kind == 9) return both(c == 'l' ? w->var64 : w->var32);
  return both(c == 'l' ? w->wide.at[random_of(w, (uint32_t)w->wide.n)] : w->narrow.at[random_of(w, (uint32_t)w->narrow.n)]);
}

/* The same instruction in both; in the plain one its result goes to a variable. */
static Value define_both(World *w, IsaId form, int n, const Both *src) {
  static const char letters[] = "phrlfd";
  PtxOpnd p[3], plain[4];
  Value v;
  v.plain = ptx_var(w->plain, (PtxClass)(strchr(letters, isa_form(form)->op[0].cls) - letters));
  plain[0] = po_r(v.plain);
  for (int i = 0; i < n; i++) p[i] = src[i].p, plain[i + 1] = src[i].plain;
  v.reg = ptx_def_n(w->p, form, n, p);
  ptx_put_n(w->plain, form, n + 1, plain);
  return v;
}

static void put_both(World *w, IsaId form, int n, const Both *ops) {
  PtxOpnd p[3], plain[3];
  for (int i = 0; i < n; i++) p[i] = ops[i].p, plain[i] = ops[i].plain;
  ptx_put_n(w->p, form, n, p);
  ptx_put_n(w->plain, form, n, plain);
}

static Value predicate(World *w) {
  IsaId form = compares[random_of(w, sizeof compares / sizeof *compares)];
  Both src[2] = {pick(w, 'r', false), pick(w, 'r', true)};
  return define_both(w, form, 2, src);
}

static Value define(World *w, IsaId form) {
  const IsaForm *f = isa_form(form);
  Both src[3];
  if (form == ISA_ld_shared_b32) {
    Both base = pick(w, 'r', false);
    int64_t offset = (int64_t)random_of(w, 64) * 4;
    src[0] = (Both){po_mem((PtxReg){base.p.id}, offset), po_mem((PtxReg){base.plain.id}, offset)};
    return define_both(w, form, 1, src);
  }
  for (int k = 0; k + 1 < f->nops; k++)
    src[k] = f->op[k + 1].cls == 'p' ? both(predicate(w)) : pick(w, f->op[k + 1].cls, f->op[k + 1].imm_ok);
  return define_both(w, form, f->nops - 1, src);
}

static void store(World *w, Value v, bool wide) {
  Both ops[2] = {{po_mem(w->out.reg, 0), po_mem(w->out.plain, 0)}, both(v)};
  put_both(w, wide ? ISA_st_global_b64 : ISA_st_global_b32, 2, ops);
}

static void change_variable(World *w) {
  bool wide = random_of(w, 2);
  Value v = wide ? w->var64 : w->var32;
  Both ops[3] = {both(v), both(v), pick(w, wide ? 'l' : 'r', true)};
  put_both(w, wide ? ISA_add_s64 : ISA_add_s32, 3, ops);
}

/* Labels have the same number in both. */
static PtxLabel new_label(World *w) {
  PtxLabel l = ptx_label(w->p);
  assert_int_equal(ptx_label(w->plain).id, l.id);
  return l;
}

static void place(World *w, PtxLabel l) { ptx_place(w->p, l), ptx_place(w->plain, l); }

static void jump(World *w, Value pred, bool negated, PtxLabel to) {
  ptx_guard(w->p, pred.reg, negated), ptx_guard(w->plain, pred.plain, negated);
  put_both(w, ISA_bra, 1, &(Both){po_label(to), po_label(to)});
  ptx_guard(w->p, (PtxReg){0}, false), ptx_guard(w->plain, (PtxReg){0}, false);
}

static void build_piece(World *w, int steps, int depth);

/* A piece whose results are not used after it; half of the time the builder is not told so, the labels must do. */
static void build_inner(World *w, int depth) {
  Pool narrow = w->narrow, wide = w->wide;
  bool scoped = random_of(w, 2);
  if (scoped) ptx_scope_begin(w->p);
  build_piece(w, 8, depth + 1);
  if (scoped) ptx_scope_end(w->p);
  w->narrow = narrow, w->wide = wide;
}

static void build_branch(World *w, int depth) {
  Value q = predicate(w);
  PtxLabel otherwise = new_label(w), end = new_label(w);
  bool has_else = random_of(w, 2);
  jump(w, q, true, otherwise);
  build_inner(w, depth);
  if (has_else) jump(w, (Value){{0}, {0}}, false, end);
  place(w, otherwise);
  if (has_else) build_inner(w, depth);
  if (has_else) place(w, end);
}

/* Three rounds; now and then none or one, by a test that leaves. */
static void build_loop(World *w, int depth) {
  Value i = {ptx_var(w->p, PTX_R), ptx_var(w->plain, PTX_R)}, leaves = predicate(w);
  PtxLabel top = new_label(w), end = new_label(w);
  Both zero[2] = {both(i), {po_i(0), po_i(0)}}, next[3] = {both(i), both(i), {po_i(1), po_i(1)}}, test[2] = {both(i), {po_i(3), po_i(3)}};
  put_both(w, ISA_mov_b32, 2, zero);
  if (random_of(w, 2)) jump(w, leaves, false, end);
  place(w, top);
  build_inner(w, depth);
  put_both(w, ISA_add_s32, 3, next);
  jump(w, define_both(w, ISA_setp_lt_s32, 2, test), false, top);
  place(w, end);
}

static void build_piece(World *w, int steps, int depth) {
  for (int i = 0; i < steps; i++) {
    uint32_t kind = random_of(w, 20);
    if (kind < 9) remember(&w->narrow, define(w, narrow_forms[random_of(w, sizeof narrow_forms / sizeof *narrow_forms)]));
    else if (kind < 13) remember(&w->wide, define(w, wide_forms[random_of(w, sizeof wide_forms / sizeof *wide_forms)]));
    else if (kind < 15) change_variable(w);
    else if (kind < 16 && depth < 3) build_branch(w, depth);
    else if (kind < 17 && depth < 2) build_loop(w, depth);
    else if (kind < 19) store(w, w->narrow.at[w->narrow.n - 1], false);
    else store(w, w->wide.at[w->wide.n - 1], true);
  }
}

/* ---- running ---- */

static uint64_t read_operand(const uint64_t *reg, const PtxOpnd *o) { return o->kind == PTXO_IMM ? (uint64_t)o->imm : reg[o->id]; }

static uint32_t find_label(const PtxProgram *p, uint32_t label) {
  uint32_t i = 0;
  while (p->code.at[i].form || p->code.at[i].label != label) i++;
  return i;
}

static void run(PtxProgram *p, Stores *out) {
  uint64_t *reg = ARENA_ARRAY(p->arena, KEEP, uint64_t, p->regs.n);
  for (uint32_t pc = 0; pc < p->code.n; pc++) {
    const PtxInstr *in = &p->code.at[pc];
    const PtxOpnd *o = &p->opnds.at[in->ops];
    if (!in->form || (in->guard && (reg[in->guard] != 0) == in->guard_neg)) continue;
    uint64_t v[3] = {0};
    switch (in->form) {
    case ISA_bra: pc = find_label(p, o[0].id); continue;
    case ISA_ret: return;
    case ISA_st_global_b32: case ISA_st_global_b64:
      if (out->n < STORES) out->at[out->n++] = reg[o[1].id];
      continue;
    case ISA_ld_shared_b32: reg[o[0].id] = loaded_from((uint32_t)reg[o[1].id] + (uint32_t)o[1].imm); continue;
    case ISA_ld_param_b64: reg[o[0].id] = 0x100000; continue;
    case ISA_mov_u32_special: reg[o[0].id] = o[1].id == PTX_TID_X ? 77 : 5; continue;
    case ISA_mov_pred: reg[o[0].id] = read_operand(reg, &o[1]) & 1; continue;
    default: break;
    }
    for (int k = 1; k < in->nops && k < 4; k++) v[k - 1] = read_operand(reg, &o[k]);
    const char *opcode = isa_form((IsaId)in->form)->opcode;
    if (!compute(opcode, v, &reg[o[0].id])) fail_msg("the interpreter lacks %s", opcode);
  }
}

static void open_world(World *w, uint64_t seed) {
  memset(w, 0, sizeof *w);
  arena_init(&w->arena, 0);
  diag_init(&w->diag, &w->arena);
  w->p = ptx_new(&w->arena, &w->diag, target_find("sm_80"), "test");
  w->plain = ptx_new(&w->arena, &w->diag, target_find("sm_80"), "test");
  w->seed = seed * 0x9E3779B97F4A7C15ull;
  PtxOpnd param = po_sym_mem(ptx_param(w->p, "out", ".u64", 8, 8), 0);
  ptx_param(w->plain, "out", ".u64", 8, 8);
  w->out = define_both(w, ISA_ld_param_b64, 1, &(Both){param, param});
  remember(&w->wide, w->out);
  for (PtxSpecial s = PTX_TID_X; s <= PTX_TID_Y; s++)
    remember(&w->narrow, define_both(w, ISA_mov_u32_special, 1, &(Both){po_special(s), po_special(s)}));
  w->var32 = (Value){ptx_var(w->p, PTX_R), ptx_var(w->plain, PTX_R)};
  w->var64 = (Value){ptx_var(w->p, PTX_L), ptx_var(w->plain, PTX_L)};
  put_both(w, ISA_mov_b32, 2, (Both[]){both(w->var32), {po_i(3), po_i(3)}});
  put_both(w, ISA_mov_b64, 2, (Both[]){both(w->var64), {po_i(1ll << 33), po_i(1ll << 33)}});
}

static void compare(World *w, uint64_t seed) {
  static Stores have, want;
  have.n = want.n = 0;
  run(w->p, &have);
  run(w->plain, &want);
  int i = 0;
  while (i < have.n && i < want.n && have.at[i] == want.at[i]) i++;
  if (i == have.n && i == want.n) return;
  Text text;
  text_init(&text, &w->arena, KEEP);
  ptx_text(w->plain, &text);
  ptx_text(w->p, &text);
  fail_msg("seed %llu, store %d: %llx, not %llx\n%s", (unsigned long long)seed, i, (unsigned long long)have.at[i],
           (unsigned long long)want.at[i], text.at);
}

static void folding_keeps_the_meaning(void **state) {
  (void)state;
  uint64_t kept = 0, built = 0;
  for (uint64_t seed = 1; seed <= 3000; seed++) {
    static World w;
    open_world(&w, seed);
    build_piece(&w, 60, 0);
    store(&w, w.var32, false), store(&w, w.var64, true);
    put_both(&w, ISA_ret, 0, NULL);
    ptx_fold(w.p);
    kept += w.p->code.n, built += w.plain->code.n;
    if (!ptx_check(w.p)) fail_msg("seed %llu: %s", (unsigned long long)seed, w.diag.text.at);
    compare(&w, seed);
    arena_free(&w.arena);
  }
  assert_true(kept < built); /* it does fold something */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(folding_keeps_the_meaning)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
