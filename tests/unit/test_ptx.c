/* test_ptx.c - the PTX program: merging, simplification, folding as opcode sequences, checks as messages, text as bytes; the table
 * of forms and the table of targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptx.h"
#include <stdio.h>
#include <string.h>

typedef struct World {
  Arena arena;
  Diag diag;
  PtxProgram *p;
  PtxReg base, x, y; /* 64-bit parameter, two 32-bit special registers */
} World;

static World *open_on(const char *target) {
  static World w;
  memset(&w, 0, sizeof w);
  arena_init(&w.arena, 0);
  diag_init(&w.diag, &w.arena);
  diag_file(&w.diag, "test.lua", NULL);
  w.p = ptx_new(&w.arena, &w.diag, target_find(target), "test");
  w.p->loc = (Loc){.file = 1, .line = 7};
  w.base = ptx_def(w.p, ISA_ld_param_b64, po_sym_mem(ptx_param(w.p, "base", ".u64", 8, 8), 0));
  w.x = ptx_def(w.p, ISA_mov_u32_special, po_special(PTX_TID_X));
  w.y = ptx_def(w.p, ISA_mov_u32_special, po_special(PTX_TID_Y));
  return &w;
}
static World *open_world(void) { return open_on("sm_80"); }
static void close_world(World *w) { arena_free(&w->arena); }

#define DEF(form, ...) ptx_def(w->p, ISA_##form, __VA_ARGS__)
#define PUT(form, ...) ptx_put(w->p, ISA_##form, __VA_ARGS__)
#define R(r) po_r(r)
#define I(v) po_i(v)

static void use(World *w, PtxReg r) { /* keeps a 32-bit register alive */
  PUT(st_global_b32, po_mem(w->base, 0), R(r));
}

/* Ends the program and gives its opcodes, one per line, addresses with their offsets. */
static const char *fold(World *w) {
  static char out[4096];
  char *at = out;
  PUT(ret);
  ptx_fold(w->p);
  if (!ptx_check(w->p)) fail_msg("%s", w->diag.text.at);
  for (uint32_t i = 0; i < w->p->code.n; i++) {
    const PtxInstr *in = &w->p->code.at[i];
    if (!in->form) {
      at += sprintf(at, in->label ? "label\n" : "// %s\n", in->label ? "" : w->p->notes.at[in->note]);
      continue;
    }
    at += sprintf(at, "%s%s", in->guard ? "@ " : "", isa_form((IsaId)in->form)->opcode);
    for (int k = 0; k < in->nops; k++) {
      const PtxOpnd *o = &w->p->opnds.at[in->ops + (uint32_t)k];
      if (o->kind == PTXO_IMM) at += sprintf(at, " #%lld", (long long)o->imm);
      if (o->kind == PTXO_MEM_REG || o->kind == PTXO_MEM_SYM)
        at += sprintf(at, " [%s+%lld]", o->kind == PTXO_MEM_SYM ? w->p->syms.at[o->id].name : "", (long long)o->imm);
    }
    at += sprintf(at, "\n");
  }
  return out;
}

#define HEAD_BASE "ld.param.b64 [base+0]\n"
#define HEAD_X HEAD_BASE "mov.u32\n"

/* ---- the tables ---- */

static void every_row_is_found(void **state) {
  (void)state;
  for (int id = 1; id < ISA_COUNT; id++) {
    const IsaForm *f = isa_form((IsaId)id);
    IsaId at = isa_find(f->opcode, (uint32_t)strlen(f->opcode));
    while (at && at != (IsaId)id) at = isa_next(at);
    assert_int_equal(at, id);
    assert_true(f->nmin <= f->nops && f->flags != 0);
    assert_int_equal(strlen(f->operands) == 0, f->nops == 0);
  }
  assert_int_equal(isa_find("add.s33", 7), ISA_NONE);
  assert_int_equal(isa_find("add", 3), ISA_NONE);
  assert_int_equal(isa_special_find("%tid.x", 6), ISA_SPECIAL_TID_X);
  assert_int_equal(isa_special_find("%tid", 4), ISA_SPECIALS);
}

static void operands_are_decoded(void **state) {
  (void)state;
  const IsaForm *f = isa_form(ISA_mma_m16n8k8_f32_f16_f16_f32);
  assert_int_equal(f->nops, 4);
  assert_true(f->op[0].writes && !f->op[0].reads && f->op[0].count == 4 && f->op[0].cls == 'f');
  assert_true(f->op[2].brace && f->op[2].count == 1 && f->op[2].cls == 'r' && f->op[2].reads);
  f = isa_form(ISA_cp_async_cg_16_zfill);
  assert_true(f->op[2].kind == ISA_OPND_IMM && f->op[2].fixed && f->op[2].value == 16 && f->nfixed == 1);
  assert_true(f->op[0].kind == ISA_OPND_MEM && f->op[0].cls == 's' && f->op[3].imm_ok);
  f = isa_form(ISA_bar_sync);
  assert_true(f->nops == 2 && f->nmin == 1 && f->op[1].optional);
  f = isa_form(ISA_shfl_sync_idx_b32_pred);
  assert_true(f->op[0].pair_pred && f->op[0].writes && f->nops == 5);
  f = isa_form(ISA_vote_sync_all_pred);
  assert_true(f->op[1].negatable && f->op[1].cls == 'p');
}

static void targets_know_what_they_run(void **state) {
  (void)state;
  static const struct { const char *target, *needs; bool runs; } rows[] = {
    {"sm_75", "75", true},    {"sm_75", "80", false},    {"sm_89", "86", true},        {"sm_90a", "90a", true},  {"sm_100a", "90a", false},
    {"sm_100a", "90", true},  {"sm_103a", "100f", true}, {"sm_120a", "100f", false},   {"sm_100a", "103f", false},
    {"sm_120a", "100f 120f", true}, {"sm_120a", "90a 100a", false}, {"sm_90a", "90a 100a", true}, {"sm_100a", "103a", false},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (target_runs(target_find(rows[i].target), rows[i].needs) != rows[i].runs) fail_msg("%s %s", rows[i].target, rows[i].needs);
  }
  assert_null(target_find("sm_70"));
  assert_null(target_find("sm_90"));
  assert_string_equal(target_names(), "sm_75 sm_80 sm_86 sm_89 sm_90a sm_100a sm_103a sm_120a");
  int names = 1;
  for (const char *c = target_names(); *c; c++) names += *c == ' ';
  assert_non_null(target_at(names - 1));
  assert_null(target_at(names));
  assert_int_equal(target_find("sm_86")->shared_block, 99 * 1024);
}

/* ---- merging ---- */

static void equal_instructions_merge(void **state) {
  (void)state;
  World *w = open_world();
  PtxReg a = DEF(mul_lo_s32, R(w->x), R(w->y)), b = DEF(mul_lo_u32, R(w->y), R(w->x));
  assert_int_equal(a.id, b.id);
  assert_int_equal(DEF(mov_u32_special, po_special(PTX_TID_X)).id, w->x.id);
  assert_int_not_equal(DEF(sub_s32, R(w->x), R(w->y)).id, DEF(sub_s32, R(w->y), R(w->x)).id);
  assert_int_not_equal(DEF(mov_u32_special, po_special(PTX_CLOCK)).id, DEF(mov_u32_special, po_special(PTX_CLOCK)).id);
  assert_int_not_equal(DEF(ld_global_b32, po_mem(w->base, 0)).id, DEF(ld_global_b32, po_mem(w->base, 0)).id);
  PtxReg v = ptx_var(w->p, PTX_R);
  PUT(mov_b32, R(v), R(a));
  assert_int_not_equal(DEF(mul_lo_s32, R(v), R(w->x)).id, DEF(mul_lo_s32, R(v), R(w->x)).id);
  PtxReg q = DEF(setp_lt_s32, R(w->x), R(w->y));
  ptx_guard(w->p, q, false);
  assert_int_not_equal(DEF(mul_lo_s32, R(w->x), R(w->y)).id, a.id);
  ptx_guard(w->p, (PtxReg){0}, false);
  assert_int_equal(DEF(mul_lo_s32, R(w->x), R(w->y)).id, a.id);
  close_world(w);
}

static void merging_follows_dominance(void **state) {
  (void)state;
  World *w = open_world();
  PtxReg before = DEF(xor_b32, R(w->x), R(w->y));
  PtxReg q = DEF(setp_lt_s32, R(w->x), R(w->y));
  PtxLabel other = ptx_label(w->p), end = ptx_label(w->p);
  ptx_guard(w->p, q, true);
  PUT(bra, po_label(other));
  ptx_guard(w->p, (PtxReg){0}, false);
  PtxReg then = DEF(and_b32, R(w->x), R(w->y));
  PUT(bra, po_label(end));
  ptx_place(w->p, other);
  assert_int_not_equal(DEF(and_b32, R(w->x), R(w->y)).id, then.id);
  assert_int_equal(DEF(xor_b32, R(w->x), R(w->y)).id, before.id);
  PtxReg otherwise = DEF(or_b32, R(w->x), R(w->y));
  ptx_place(w->p, end);
  assert_int_equal(DEF(xor_b32, R(w->x), R(w->y)).id, before.id);
  assert_int_not_equal(DEF(or_b32, R(w->x), R(w->y)).id, otherwise.id);
  ptx_scope_begin(w->p);
  PtxReg inner = DEF(mul_lo_s32, R(w->x), R(w->y));
  assert_int_equal(DEF(mul_lo_s32, R(w->x), R(w->y)).id, inner.id);
  ptx_scope_end(w->p);
  assert_int_not_equal(DEF(mul_lo_s32, R(w->x), R(w->y)).id, inner.id);
  close_world(w);
}

/* The stack of what may be reused shrinks and grows again between a branch and its label. */
static void a_label_forgets_by_age(void **state) {
  (void)state;
  World *w = open_world();
  PtxReg q = DEF(setp_lt_s32, R(w->x), R(w->y));
  PtxLabel skip = ptx_label(w->p);
  ptx_scope_begin(w->p);
  DEF(xor_b32, R(w->x), R(w->y));
  DEF(and_b32, R(w->x), R(w->y));
  ptx_guard(w->p, q, false);
  PUT(bra, po_label(skip));
  ptx_guard(w->p, (PtxReg){0}, false);
  ptx_scope_end(w->p);
  PtxReg young = DEF(or_b32, R(w->x), R(w->y));
  ptx_place(w->p, skip);
  assert_int_not_equal(DEF(or_b32, R(w->x), R(w->y)).id, young.id);
  close_world(w);
}

/* ---- constants ---- */

static void constants_are_computed(void **state) {
  (void)state;
  static const struct { IsaId form; int n; int64_t v[3], result; } rows[] = {
    {ISA_add_s32, 2, {INT32_MAX, 1}, INT32_MIN}, {ISA_sub_u32, 2, {3, 5}, -2}, {ISA_mul_lo_s32, 2, {65536, 65537}, 65536},
    {ISA_mad_lo_s64, 3, {1ll << 40, 3, -1}, 3 * (1ll << 40) - 1}, {ISA_mul_wide_u32, 2, {-1, 2}, 0x1FFFFFFFEll},
    {ISA_mul_wide_s32, 2, {-1, 2}, -2}, {ISA_div_s32, 2, {-7, 2}, -3}, {ISA_rem_s32, 2, {-7, 2}, -1}, {ISA_div_u32, 2, {-1, 16}, 0x0FFFFFFF},
    {ISA_shr_s32, 2, {-8, 40}, -1}, {ISA_shr_u32, 2, {-8, 1}, 0x7FFFFFFC}, {ISA_shl_b32, 2, {1, 32}, 0}, {ISA_shl_b32, 2, {3, 31}, INT32_MIN},
    {ISA_min_u32, 2, {-1, 5}, 5}, {ISA_max_u32, 2, {-1, 5}, -1}, {ISA_cvt_u64_u32, 1, {-1}, 0xFFFFFFFFll}, {ISA_cvt_s64_s32, 1, {-1}, -1},
    {ISA_cvt_u32_u64, 1, {0x1FFFFFFFFll}, -1}, {ISA_add_rn_f32, 2, {0x3F800000, 0x3F800000}, 0x40000000},
    {ISA_fma_rn_f32, 3, {0x3F800001, 0x3F800001, (int32_t)0xBF800002}, 0x28800000}, {ISA_cvt_rn_f32_s32, 1, {16777217}, 0x4B800000},
    {ISA_selp_b32, 3, {5, 6, 1}, 5}, {ISA_selp_b32, 3, {5, 6, 0}, 6},
  };
  World *w = open_world();
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const IsaForm *f = isa_form(rows[i].form);
    PtxOpnd src[3];
    for (int k = 0; k < rows[i].n; k++) {
      char c = f->op[k + 1].cls;
      IsaId mov = c == 'l' ? ISA_mov_b64 : c == 'f' ? ISA_mov_f32 : c == 'p' ? ISA_mov_pred : ISA_mov_b32;
      src[k] = R(ptx_def(w->p, mov, I(rows[i].v[k])));
    }
    PtxReg r = ptx_def_n(w->p, rows[i].form, rows[i].n, src);
    char c = f->op[0].cls;
    PtxReg want = ptx_def(w->p, c == 'l' ? ISA_mov_b64 : c == 'f' ? ISA_mov_f32 : ISA_mov_b32, I(rows[i].result));
    if (r.id != want.id) fail_msg("%s", f->name);
  }
  PtxReg yes = DEF(setp_lt_s32, I(-1), I(0)), no = DEF(setp_lt_u32, I(-1), I(0));
  assert_int_equal(yes.id, DEF(mov_pred, I(1)).id);
  assert_int_equal(no.id, DEF(mov_pred, I(0)).id);
  PtxReg nan = DEF(sub_rn_f32, po_f(1.0f / 0.0f), po_f(1.0f / 0.0f)), zero = DEF(div_s32, I(1), I(0));
  assert_int_equal(w->p->code.at[w->p->regs.at[nan.id].def - 1].form, ISA_sub_rn_f32); /* the hardware's NaN, not ours */
  assert_int_equal(w->p->code.at[w->p->regs.at[zero.id].def - 1].form, ISA_div_s32);
  close_world(w);
}

static void identities_vanish(void **state) {
  (void)state;
  World *w = open_world();
  uint32_t before = w->p->regs.n;
  assert_int_equal(DEF(add_s32, R(w->x), I(0)).id, w->x.id);
  assert_int_equal(DEF(mul_lo_s32, I(1), R(w->x)).id, w->x.id);
  assert_int_equal(DEF(and_b32, R(w->x), I(0xFFFFFFFF)).id, w->x.id);
  assert_int_equal(DEF(or_b32, R(w->x), R(w->x)).id, w->x.id);
  assert_int_equal(DEF(shl_b32, R(w->x), I(0)).id, w->x.id);
  assert_int_equal(DEF(mov_b32, R(w->x)).id, w->x.id);
  assert_int_equal(w->p->regs.n, before);
  assert_int_equal(DEF(cvt_u32_u64, R(DEF(cvt_s64_s32, R(w->x)))).id, w->x.id);
  PtxReg f = DEF(cvt_rn_f32_s32, R(w->x));
  assert_int_equal(DEF(mul_rn_f32, R(f), po_f(1.0f)).id, f.id);
  assert_int_not_equal(DEF(add_rn_f32, R(f), po_f(0.0f)).id, f.id); /* -0 + 0 is 0 */
  assert_int_not_equal(DEF(mul_rn_f32, R(f), po_f(0.0f)).id, DEF(mov_f32, po_f(0.0f)).id);
  PtxReg v = ptx_var(w->p, PTX_R);
  PUT(mov_b32, R(v), I(3));
  assert_int_not_equal(DEF(add_s32, R(v), I(0)).id, v.id); /* a variable is copied: it may change */
  close_world(w);
}

/* ---- folding, as opcode sequences ---- */

static void constants_travel_into_addresses(void **state) {
  (void)state;
  World *w = open_world();
  for (int i = 0; i < 2; i++) {
    PtxReg index = DEF(mul_lo_s32, R(DEF(add_s32, R(w->x), I(8 * i))), I(4));
    PtxReg at = DEF(add_s32, R(DEF(mov_u32_symbol, po_sym((PtxSym){1}))), R(index));
    (void)at;
    PtxReg wide = DEF(mul_lo_s64, R(DEF(add_s64, R(DEF(cvt_s64_s32, R(w->x))), I(8 * i))), I(4));
    use(w, DEF(ld_global_b32, po_mem(DEF(add_s64, R(w->base), R(wide)), 0)));
  }
  assert_string_equal(fold(w), HEAD_X "cvt.s64.s32\nshl.b64 #2\nadd.s64\nld.global.b32 [+0]\nst.global.b32 [+0]\n"
                                      "ld.global.b32 [+32]\nst.global.b32 [+0]\nret\n");
  close_world(w);
}

static void symbols_become_addresses(void **state) {
  (void)state;
  World *w = open_world();
  PtxSym s = ptx_shared(w->p, "tile", 64, 16, false);
  PtxReg at = DEF(add_s32, R(DEF(mov_u32_symbol, po_sym(s))), I(16));
  use(w, DEF(ld_shared_b32, po_mem(at, 4)));
  assert_string_equal(fold(w), HEAD_BASE "ld.shared.b32 [tile+20]\nst.global.b32 [+0]\nret\n");
  close_world(w);
}

/* ptr + 16 may become [ptr+16] only while ptr is what it was. */
static void variables_fold_until_they_change(void **state) {
  (void)state;
  World *w = open_world();
  PtxReg ptr = ptx_var(w->p, PTX_L);
  PUT(mov_b64, R(ptr), R(w->base));
  PtxReg at = DEF(add_s64, R(ptr), I(16));
  use(w, DEF(ld_global_b32, po_mem(at, 0)));
  PUT(add_s64, R(ptr), R(ptr), I(64));
  use(w, DEF(ld_global_b32, po_mem(at, 0)));
  assert_string_equal(fold(w), HEAD_BASE "mov.b64\nadd.s64 #16\nld.global.b32 [+16]\nst.global.b32 [+0]\nadd.s64 #64\n"
                                         "ld.global.b32 [+0]\nst.global.b32 [+0]\nret\n");
  close_world(w);
}

static void products_join_sums(void **state) {
  (void)state;
  World *w = open_world();
  use(w, DEF(add_s32, R(DEF(mul_lo_s32, R(w->x), I(48))), R(w->y)));
  PtxReg twice = DEF(mul_lo_s32, R(w->x), I(80));
  use(w, DEF(add_s32, R(twice), R(w->y)));
  use(w, DEF(xor_b32, R(twice), R(w->y)));
  use(w, DEF(ld_global_b32, po_mem(DEF(add_s64, R(w->base), R(DEF(mul_wide_s32, R(w->x), I(12)))), 0)));
  assert_string_equal(fold(w), HEAD_X "mov.u32\nmad.lo.s32 #48\nst.global.b32 [+0]\nmul.lo.s32 #80\nadd.s32\nst.global.b32 [+0]\n"
                                      "xor.b32\nst.global.b32 [+0]\nmad.wide.s32 #12\nld.global.b32 [+0]\nst.global.b32 [+0]\nret\n");
  close_world(w);
}

static void dead_code_goes(void **state) {
  (void)state;
  World *w = open_world();
  ptx_note(w->p, "nothing of this stays");
  PtxReg a = DEF(mul_lo_s32, R(w->x), R(w->y));
  DEF(ld_global_b32, po_mem(w->base, 4));
  PtxReg v = ptx_var(w->p, PTX_R);
  PUT(mov_b32, R(v), R(a));
  PUT(add_s32, R(v), R(v), I(1)); /* reads itself, nothing else does */
  ptx_note(w->p, "this does");
  PUT(bar_sync, I(0));
  DEF(shfl_sync_bfly_b32, R(w->x), I(1), I(31), I(-1)); /* others may wait for it */
  PtxLabel next = ptx_label(w->p), unnamed = ptx_label(w->p);
  PUT(bra, po_label(next));
  ptx_place(w->p, next);
  ptx_place(w->p, unnamed);
  PtxReg q = DEF(setp_lt_s32, R(w->x), R(w->y));
  ptx_guard(w->p, q, false);
  PUT(red_global_add_u32, po_mem(w->base, 0), I(1));
  ptx_guard(w->p, (PtxReg){0}, false);
  assert_string_equal(fold(w), HEAD_X "mov.u32\n// this does\nbar.sync #0\nshfl.sync.bfly.b32 #1 #31 #-1\nsetp.lt.s32\n"
                                      "@ red.global.add.u32 [+0] #1\nret\n");
  close_world(w);
}

static void loops_keep_their_counters(void **state) {
  (void)state;
  World *w = open_world();
  PtxReg i = ptx_var(w->p, PTX_R), again = ptx_reg(w->p, PTX_P);
  PUT(mov_b32, R(i), I(0));
  PtxLabel top = ptx_label(w->p);
  ptx_place(w->p, top);
  use(w, i);
  PUT(add_s32, R(i), R(i), I(1));
  PUT(setp_lt_s32, R(again), R(i), R(w->x));
  ptx_guard(w->p, again, false);
  PUT(bra, po_label(top));
  ptx_guard(w->p, (PtxReg){0}, false);
  assert_string_equal(fold(w), HEAD_X "mov.b32 #0\nlabel\nst.global.b32 [+0]\nadd.s32 #1\nsetp.lt.s32\n@ bra\nret\n");
  close_world(w);
}

static void operands_are_made_to_fit(void **state) {
  (void)state;
  World *w = open_world();
  PtxReg c = DEF(mov_b32, I(5));
  use(w, DEF(sub_s32, I(9), R(w->x)));                              /* no immediate there: moved into a register */
  use(w, DEF(add_s32, R(w->x), R(c)));                              /* a register with a constant becomes one */
  use(w, DEF(mov_b32_from_f32, R(DEF(ex2_approx_f32, R(DEF(mov_f32, po_f(1.0f))))))); /* approximate: as the hardware does it */
  PtxSym s = ptx_shared(w->p, "tile", 64, 16, false);
  PUT(cp_async_cg_16, po_sym_mem(s, 0), po_mem(w->base, 0));
  PUT(cp_async_cg_16_zfill, po_sym_mem(s, 0), po_mem(w->base, 0), R(w->x));
  PUT(cp_async_ca_4, po_sym_mem(s, 0), po_mem(w->base, 0), I(4));
  assert_string_equal(fold(w), HEAD_X "mov.b32 #9\nsub.s32\nst.global.b32 [+0]\nadd.s32 #5\nst.global.b32 [+0]\nmov.f32 #1065353216\n"
                                      "ex2.approx.f32\nmov.b32\nst.global.b32 [+0]\ncp.async.cg.shared.global [tile+0] [+0] #16\n"
                                      "cp.async.cg.shared.global [tile+0] [+0] #16\ncp.async.ca.shared.global [tile+0] [+0] #4\nret\n");
  close_world(w);
}

/* ---- checks ---- */

static PtxReg other(World *w, PtxClass c) { return ptx_var(w->p, c); }

#define MISTAKE(name, message, ...)                                                                                           \
  static void name(void **state) {                                                                                            \
    (void)state;                                                                                                              \
    World *w = open_world();                                                                                                  \
    __VA_ARGS__;                                                                                                              \
    assert_false(ptx_check(w->p));                                                                                            \
    if (!strstr(w->diag.text.at, message)) fail_msg("%s", w->diag.text.at);                                                   \
    assert_non_null(strstr(w->diag.text.at, "test.lua:7: "));                                                                 \
    close_world(w);                                                                                                           \
  }

MISTAKE(wrong_class, "add.s32: operand 3 takes a .b32 register, not .b64", PUT(add_s32, R(other(w, PTX_R)), R(w->x), R(w->base)))
MISTAKE(wrong_count, "takes 2 operands, not 1", PUT(mov_b32, R(other(w, PTX_R))))
MISTAKE(wrong_vector, "operand 1 takes 4 .b32 registers, not 2",
        PUT(ld_global_v4_b32, po_vec(w->p, (PtxReg[]){other(w, PTX_R), other(w, PTX_R)}, 2), po_mem(w->base, 0)))
MISTAKE(no_register, "operand 3 has no register", PUT(add_s32, R(other(w, PTX_R)), R(w->x), R((PtxReg){0})))
MISTAKE(narrow_address, "ld.global.b32: operand 2 takes a .b64 register, not .b32", PUT(ld_global_b32, R(other(w, PTX_R)), po_mem(w->x, 0)))
MISTAKE(far_offset, "offset 4294967296 does not fit", PUT(ld_global_b32, R(other(w, PTX_R)), po_mem(w->base, 1ll << 32)))
MISTAKE(wrong_symbol, "takes no such symbol", PUT(ld_shared_b32, R(other(w, PTX_R)), po_sym_mem((PtxSym){1}, 0)))
MISTAKE(wrong_kind, "is of another kind", PUT(bra, R(w->x)))
MISTAKE(negated_number, "cannot be negated", PUT(mov_b32, R(other(w, PTX_R)), po_not(w->x)))
MISTAKE(unplaced_label, "label is never placed", PUT(bra, po_label(ptx_label(w->p))))
MISTAKE(label_twice, "placed twice", PtxLabel l = ptx_label(w->p); ptx_place(w->p, l); ptx_place(w->p, l))
MISTAKE(unwritten, "reads a .b32 register before anything is written", use(w, other(w, PTX_R)))
MISTAKE(written_twice, "not a variable for the second time", PtxReg r = ptx_reg(w->p, PTX_R); PUT(mov_b32, R(r), I(1));
        PUT(mov_b32, R(r), I(2)))
MISTAKE(guarded_barrier, "bar.sync is executed by the whole warp", ptx_guard(w->p, DEF(setp_lt_s32, R(w->x), R(w->y)), false);
        PUT(bar_sync, I(0)))
MISTAKE(too_new, "needs sm_90, the target is sm_80", PUT(stmatrix_x1, po_mem(w->x, 0), po_vec(w->p, &w->y, 1)))
MISTAKE(only_there, "needs sm_100f, the target is sm_80",
        PtxReg f = DEF(cvt_rn_f32_s32, R(w->x)); PUT(redux_sync_max_f32, R(other(w, PTX_F)), R(f), I(-1)))
MISTAKE(wide_immediate, "4294967297 does not fit", PUT(st_global_b32, po_mem(w->base, 0), R(w->x));
        PUT(bar_sync, R(w->x)); w->p->opnds.at[w->p->opnds.n - 1] = I(4294967297))
MISTAKE(wrong_fixed, "is always 16, not 8", PUT(cp_async_cg_16, po_mem(w->x, 0), po_mem(w->base, 0), I(8)))
MISTAKE(wrong_special, "is of another kind", PUT(mov_u32_special, R(other(w, PTX_R)), po_special(PTX_CLOCK64)))
MISTAKE(much_shared, "declares 50000 bytes of static shared memory", ptx_shared(w->p, "tile", 50000, 16, false))

static void version_is_the_lowest(void **state) {
  (void)state;
  World *w = open_on("sm_75");
  assert_int_equal(ptx_version(w->p), 63);
  DEF(tanh_approx_f32, R(DEF(cvt_rn_f32_s32, R(w->x))));
  assert_int_equal(ptx_version(w->p), 70);
  close_world(w);
}

/* ---- text ---- */

static void build_sample(World *w) {
  PtxProgram *p = w->p;
  p->threads = 128, p->min_ctas = 2;
  PtxSym tile = ptx_shared(p, "tile", 512, 16, false);
  ptx_shared(p, "pool", 0, 128, true);
  PtxReg v[2] = {ptx_reg(p, PTX_F), ptx_reg(p, PTX_F)};
  ptx_note(p, "load a pair\nof numbers");
  PUT(ld_global_v2_f32, po_vec(p, v, 2), po_mem(w->base, -8));
  p->loc = (Loc){.file = 1, .line = 9, .col = 3};
  PtxReg r = DEF(fma_rn_f32, R(v[0]), R(v[1]), po_f(0.5f));
  PtxReg q = DEF(setp_lt_s32, R(w->x), I(0x12345678));
  PtxLabel end = ptx_label(p);
  ptx_guard(p, q, true);
  PUT(bra, po_label(end));
  ptx_guard(p, (PtxReg){0}, false);
  PUT(st_shared_f32, po_sym_mem(tile, 4), R(r));
  PUT(bar_warp_sync, I(-1));
  ptx_place(p, end);
  PUT(shfl_sync_idx_b32_pred, po_pair(ptx_reg(p, PTX_R), ptx_reg(p, PTX_P)), R(w->x), I(0), I(31), I(-1));
  PUT(ret);
  ptx_fold(p);
  assert_true(ptx_check(p));
}

static void text_is_exact(void **state) {
  (void)state;
  static const char want[] =
    ".version 7.0\n.target sm_80\n.address_size 64\n.file 1 \"test.lua\"\n"
    "\n.extern .shared .align 128 .b8 pool[];\n"
    "\n.visible .entry test(\n    .param .u64 base)\n.reqntid 128, 1, 1\n.minnctapersm 2\n{\n"
    "    .reg .pred %p<2>;\n    .reg .b32 %r<2>;\n    .reg .b64 %l<1>;\n    .reg .f32 %f<3>;\n    .shared .align 16 .b8 tile[512];\n\n"
    "    .loc 1 7 0\n    ld.param.b64 %l0, [base];\n    mov.u32 %r0, %tid.x;\n"
    "    // load a pair of numbers\n    ld.global.v2.f32 {%f0, %f1}, [%l0-8];\n"
    "    .loc 1 9 3\n    fma.rn.f32 %f2, %f0, %f1, 0f3F000000;  // 0.5\n    setp.lt.s32 %p0, %r0, 0x12345678;\n    @!%p0 bra $L1;\n"
    "    st.shared.f32 [tile+4], %f2;\n    bar.warp.sync -1;\n$L1:\n"
    "    shfl.sync.idx.b32 %r1|%p1, %r0, 0, 31, -1;\n    ret;\n}\n";
  for (int round = 0; round < 2; round++) {
    World *w = open_world();
    Text out;
    build_sample(w);
    text_init(&out, &w->arena, KEEP);
    ptx_header(&out, w->p->target, ptx_version(w->p), &w->diag);
    ptx_externs(w->p, &out);
    ptx_text(w->p, &out);
    assert_string_equal(out.at, want);
    close_world(w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_row_is_found), cmocka_unit_test(operands_are_decoded), cmocka_unit_test(targets_know_what_they_run),
    cmocka_unit_test(equal_instructions_merge), cmocka_unit_test(merging_follows_dominance), cmocka_unit_test(a_label_forgets_by_age),
    cmocka_unit_test(constants_are_computed), cmocka_unit_test(identities_vanish), cmocka_unit_test(constants_travel_into_addresses),
    cmocka_unit_test(symbols_become_addresses), cmocka_unit_test(variables_fold_until_they_change), cmocka_unit_test(products_join_sums),
    cmocka_unit_test(dead_code_goes), cmocka_unit_test(loops_keep_their_counters), cmocka_unit_test(operands_are_made_to_fit),
    cmocka_unit_test(wrong_class), cmocka_unit_test(wrong_count), cmocka_unit_test(wrong_vector), cmocka_unit_test(no_register),
    cmocka_unit_test(narrow_address), cmocka_unit_test(far_offset), cmocka_unit_test(wrong_symbol), cmocka_unit_test(wrong_kind),
    cmocka_unit_test(negated_number), cmocka_unit_test(unplaced_label), cmocka_unit_test(label_twice), cmocka_unit_test(unwritten),
    cmocka_unit_test(written_twice), cmocka_unit_test(guarded_barrier), cmocka_unit_test(too_new), cmocka_unit_test(only_there),
    cmocka_unit_test(wide_immediate), cmocka_unit_test(wrong_fixed), cmocka_unit_test(wrong_special), cmocka_unit_test(much_shared),
    cmocka_unit_test(version_is_the_lowest), cmocka_unit_test(text_is_exact),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
