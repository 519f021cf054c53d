/* test_mutate.c - reading PTX for mutation, the texts of mutants, and the rules of equivalence: where each holds, and where, one
 * instruction further, it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gen/cli/mutate.h"
#include <stdio.h>
#include <string.h>

#define HEAD                                                                                                           \
  ".version 7.0\n.target sm_80\n.address_size 64\n"               \
  ".file 1 \"k.lua\"\n.extern .shared .align 1024 .b8 sh[];\n"                                                         \
  ".visible .entry k(\n .param .u64 p)\n.reqntid 64, 1, 1\n{\n"            \
  ".reg .pred %p<9>;\n.reg .b32 %r<40>;\n.reg .b64 %l<9>;\n.reg .f32 %f<40>;\n"
#define BEGIN                                                                                                          \
  "ld.param.b64 %l0, [p];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.eq.s32 %p0, %r0, 0;\n"                    \
  "setp.eq.s32 %p1, %r1, 0;\nmov.u32 %r2, sh;\n"
#define TAIL "ret;\n}\n"

/* The first mutant of a kind at the instruction that begins where mark stands. */
static bool find_mutant(const MutProgram *p, MutantKind kind, const char *mark, Mutant *m) {
  MutantList list = {0};
  Random r;
  bool found = false;
  random_start(&r, 1);
  mutate_synchronising(p, &list);
  mutate_others(p, &r, &list);
  const char *at = strstr(p->text, mark);
  assert_non_null(at);
  for (int i = 0; i < list.n && !found; i++) {
    found = list.at[i].kind == kind && p->text + p->instr[list.at[i].instr].all.at == at;
    if (found) *m = list.at[i];
  }
  cli_free(list.at);
  return found;
}

static void expect_rule(const char *file, int line, const char *text, MutantKind kind, const char *mark, const char *want) {
  MutProgram p;
  MutFlow f;
  Mutant m;
  mutate_read(&p, text, strlen(text));
  if (p.nentries != 1 || !p.entry[0].known) fail_msg("%s:%d: the text is not understood", file, line);
  if (!find_mutant(&p, kind, mark, &m)) fail_msg("%s:%d: no such mutant", file, line);
  mutate_flow_make(&f, &p, &p.entry[0]);
  const char *rule = mutate_equivalent(&f, &m);
  if ((rule == NULL) != (want == NULL) || (rule && strcmp(rule, want) != 0))
    fail_msg("%s:%d: %s, expected %s", file, line, rule ? rule : "no rule", want ? want : "none");
  mutate_flow_free(&f);
  mutate_free(&p);
}
#define RULE(body, kind, mark, want) expect_rule(__FILE__, __LINE__, HEAD BEGIN body TAIL, kind, mark, want)

/* ---- reading and writing ---- */

static void reads_a_program(void **state) {
  (void)state;
  const char *text = HEAD BEGIN ".loc 1 7 0\n@!%p0 st.shared.v4.f32 [%r2+16], {%f0, %f1, %f2, %f3}; // a store\n"
                                "$L1: bar.sync 0;\n@%p1 bra $L1;\n" TAIL;
  MutProgram p;
  mutate_read(&p, text, strlen(text));
  assert_int_equal(p.nentries, 1);
  assert_true(p.entry[0].known);
  assert_int_equal(p.entry[0].threads, 64);
  const MutInstr *st = &p.instr[6];
  assert_int_equal(st->id, ISA_st_shared_v4_f32);
  assert_true(st->guard_not);
  assert_string_equal(p.name[st->guard], "%p0");
  assert_int_equal(st->op[0].offset, 16);
  assert_int_equal(st->op[1].n, 4);
  assert_int_equal(st->src_line, 7);
  assert_string_equal(p.file[1], "k.lua");
  assert_true(p.instr[7].joins);
  assert_int_equal(p.instr[8].target, 7);
  mutate_free(&p);
}

static void refuses_what_it_does_not_know(void **state) {
  (void)state;
  static const char *const bodies[] = {"frob.b32 %r1, %r2;\n", "add.s32 %r1;\n", "bra $nowhere;\n", "{ .reg .b32 %x; }\n"};
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    char text[2000];
    MutProgram p;
    MutantList list = {0};
    snprintf(text, sizeof text, "%s%s%s%s", HEAD, BEGIN, bodies[i], "bar.sync 0;\n" TAIL);
    mutate_read(&p, text, strlen(text));
    assert_false(p.entry[0].known);
    mutate_synchronising(&p, &list);
    assert_int_equal(list.n, 0);
    mutate_free(&p);
  }
}

static void expect_text(const char *body, MutantKind kind, const char *mark, const char *want) {
  char text[3000];
  MutProgram p;
  Mutant m;
  snprintf(text, sizeof text, "%s%s%s%s", HEAD, BEGIN, body, TAIL);
  mutate_read(&p, text, strlen(text));
  assert_true(find_mutant(&p, kind, mark, &m));
  char *changed = mutate_apply(&p, &m);
  if (!strstr(changed, want)) fail_msg("%s: not in\n%s", want, changed);
  int lines = 0;
  for (const char *s = text; *s; s++) lines += *s == '\n';
  for (const char *s = changed; *s; s++) lines -= *s == '\n';
  assert_int_equal(lines, 0);
  cli_free(changed);
  mutate_free(&p);
}

static void writes_mutants(void **state) {
  (void)state;
  expect_text("mov.b32 %r3, 1;\nbar.sync\n  0;\nmov.b32 %r4, 1;\n", MUTANT_DELETE, "bar.sync", "%r3, 1;\n\n\nmov.b32 %r4");
  expect_text("cp.async.wait_group 1;\n", MUTANT_LOOSEN, "cp.async", "cp.async.wait_group 2;\n");
  expect_text("fence.acq_rel.gpu;\n", MUTANT_WEAKEN, "fence", "\nfence.acq_rel.cta;\n");
  expect_text("shfl.sync.bfly.b32 %f3, %f2, 1, 31, -1;\n", MUTANT_BYPASS, "shfl", "\nmov.f32 %f3, %f2;\n");
  expect_text("@%p0 ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%l0];\n", MUTANT_SHIFT, "@%p0 ld", "}, [%l0+16];\n");
  expect_text("ld.shared.b32 %r3, [sh+8];\n", MUTANT_SHIFT, "ld.shared", "%r3, [sh+12];\n");
  expect_text("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r3}, [%r2];\n", MUTANT_SHIFT, "ldmatrix", "{%r3}, [%r2+16];\n");
  expect_text("cp.async.cg.shared.global [%r2], [%l0+32], 16;\n", MUTANT_SHIFT, "cp.async", "[%r2+16], [%l0+32], 16;\n");
  expect_text("ld.global.v2.f32 {%f0, %f1}, [%l0];\n", MUTANT_SWAP, "ld.global", "{%f1, %f0}, [%l0];\n");
}

/* Of later targets: mbarriers, copies in bulk, products of warpgroups. */
static void writes_mutants_of_hopper(void **state) {
  (void)state;
  expect_text("$W:\nmbarrier.try_wait.parity.shared.b64 %p3, [%r2], %r4;\n@!%p3 bra $W;\n", MUTANT_AT_ONCE, "mbarrier", "\nmov.pred %p3, 1;\n");
  expect_text("mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 4096;\n", MUTANT_LOOSEN, "mbarrier", "_, [%r2], 4080;\n");
  expect_text("mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 4096;\n", MUTANT_DELETE, "mbarrier", "sh;\n\nret;");
  expect_text("mbarrier.arrive.shared.b64 _, [%r2];\n", MUTANT_SHIFT, "mbarrier", "_, [%r2+8];\n");
  expect_text("wgmma.wait_group.sync.aligned 0;\n", MUTANT_LOOSEN, "wgmma", "aligned 1;\n");
  expect_text("wgmma.fence.sync.aligned;\n", MUTANT_DELETE, "wgmma", "sh;\n\nret;");
  expect_text("wgmma.commit_group.sync.aligned;\n", MUTANT_DELETE, "wgmma", "sh;\n\nret;");
  expect_text("fence.proxy.async.shared::cta;\n", MUTANT_DELETE, "fence", "sh;\n\nret;");
  expect_text("barrier.cluster.arrive.release.aligned;\n", MUTANT_WEAKEN, "barrier", "\nbarrier.cluster.arrive.relaxed.aligned;\n");
#define TENSOR "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
  expect_text(TENSOR "[%r2], [%l0, {%r4, %r5}], [%r6];\n", MUTANT_DELETE, "cp.async", "sh;\n\nret;");
  expect_text(TENSOR "[%r2], [%l0, {%r4, %r5}], [%r6];\n", MUTANT_SWAP, "cp.async", "[%l0, {%r5, %r4}], [%r6];\n");
  /* arrivals are counted, and so are waits with a count: two of them are not one */
  RULE("st.shared.b32 [%r2], %r0;\nbar.arrive 1, 64; //1\nbar.arrive 1, 64;\n", MUTANT_DELETE, "bar.arrive 1, 64; //1", NULL);
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 1, 64; //1\nbar.sync 1, 64;\n", MUTANT_DELETE, "bar.sync 1, 64; //1", NULL);
  RULE("st.shared.b32 [%r2], %r0;\nbarrier.cluster.wait; //1\nbarrier.cluster.wait;\n", MUTANT_DELETE, "barrier.cluster.wait; //1", NULL);
  RULE("fence.proxy.async; //1\nfence.proxy.async;\nst.shared.b32 [%r2], %r0;\n", MUTANT_DELETE, "fence.proxy.async; //1", "repeated after");
}

/* ---- barriers and fences ---- */

static void barriers(void **state) {
  (void)state;
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0; //1\nbar.sync 0;\nld.shared.b32 %r3, [%r2];\n", MUTANT_DELETE, "bar.sync 0; //1", "repeated after");
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0;\nbar.sync 0; //1\nld.shared.b32 %r3, [%r2];\n", MUTANT_DELETE, "bar.sync 0; //1", "repeated before");
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0; //1\nbar.sync 1;\nld.shared.b32 %r3, [%r2];\n", MUTANT_DELETE, "bar.sync 0; //1", NULL);
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0; //1\nld.global.b32 %r4, [%l0];\nbar.sync 0;\nst.global.b32 [%l0], %r4;\n", MUTANT_DELETE,
       "bar.sync 0; //1", NULL);
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0; //1\nfence.acq_rel.gpu;\nbar.sync 0;\n", MUTANT_DELETE, "bar.sync 0; //1", NULL);
  RULE("bar.sync 0; //1\n@%p1 bra $A;\nst.shared.b32 [%r2], %r0;\n$A:\nbar.sync 0;\nld.shared.b32 %r3, [%r2];\nst.global.b32 [%l0], %r3;\n",
       MUTANT_DELETE, "bar.sync 0; //1", "repeated before"); /* nothing was done yet */
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0; //1\n@%p1 bra $A;\nst.shared.b32 [%r2], %r0;\n$A:\nbar.sync 0;\n", MUTANT_DELETE,
       "bar.sync 0; //1", NULL); /* one path has an access */
  RULE("st.shared.b32 [%r2], %r0;\nbar.sync 0; //1\n", MUTANT_DELETE, "bar.sync 0; //1", "repeated after"); /* the end */
  /* a copy that is waited for after the first barrier is published by the second */
  RULE("cp.async.ca.shared.global [%r2], [%l0], 4;\ncp.async.commit_group;\nbar.sync 0;\ncp.async.wait_group 0;\nbar.sync 0; //1\n"
       "ld.shared.b32 %r3, [%r2+4];\nst.global.b32 [%l0], %r3;\n", MUTANT_DELETE, "bar.sync 0; //1", NULL);
  RULE("cp.async.ca.shared.global [%r2], [%l0], 4;\ncp.async.commit_group;\nbar.sync 0; //1\ncp.async.wait_group 0;\nbar.sync 0;\n"
       "ld.shared.b32 %r3, [%r2+4];\nst.global.b32 [%l0], %r3;\n", MUTANT_DELETE, "bar.sync 0; //1", "repeated after");
  /* warps that go different ways pair other barriers with each other */
  RULE("st.shared.b32 [%r2], %r0;\n@%p0 bra $A;\nbar.sync 0; //1\nbar.sync 0;\nbra $B;\n$A:\nbar.sync 0;\nld.shared.b32 %r3, [%r2];\n"
       "bar.sync 0;\n$B:\nst.global.b32 [%l0], %r3;\n", MUTANT_DELETE, "bar.sync 0; //1", NULL);
  RULE("st.shared.b32 [%r2], %r0;\n@%p0 bra $A;\nadd.s32 %r4, %r4, 1;\n$A:\nbar.sync 0; //1\nbar.sync 0;\n", MUTANT_DELETE,
       "bar.sync 0; //1", "repeated after");
  RULE("st.shared.b32 [%r2], %r0;\nmov.b32 %r4, 0;\n$A:\nadd.s32 %r4, %r4, 1;\nbar.sync 0; //1\nbar.sync 0;\nld.shared.b32 %r3, [%r2];\n"
       "setp.lt.s32 %p2, %r4, %r1;\n@%p2 bra $A;\n", MUTANT_DELETE, "bar.sync 0; //1", "repeated after");
  RULE("st.shared.b32 [%r2], %r0;\nmov.b32 %r4, 0;\n$A:\nadd.s32 %r4, %r4, 1;\nbar.sync 0; //1\nbar.sync 0;\nld.shared.b32 %r3, [%r2];\n"
       "setp.lt.s32 %p2, %r4, %r0;\n@%p2 bra $A;\n", MUTANT_DELETE, "bar.sync 0; //1", NULL); /* a count by thread */
  RULE("mov.b32 %r4, 0;\n@%p0 bra $C;\nmov.b32 %r4, 1;\n$C:\nsetp.eq.s32 %p2, %r4, 0;\n@%p2 bra $D;\nbar.sync 0;\n$D:\nst.shared.b32 [%r2], %r0;\n"
       "bar.sync 0; //1\nbar.sync 0;\n", MUTANT_DELETE, "bar.sync 0; //1", NULL); /* what was written where threads had parted */
  RULE("st.global.b32 [%l0], %r0;\nfence.acq_rel.gpu; //1\nfence.acq_rel.gpu;\nst.global.b32 [%l0+8], %r0;\n", MUTANT_DELETE,
       "fence.acq_rel.gpu; //1", "repeated after");
  RULE("st.global.b32 [%l0], %r0;\nfence.acq_rel.gpu; //1\nfence.acq_rel.cta;\nst.global.b32 [%l0+8], %r0;\n", MUTANT_DELETE,
       "fence.acq_rel.gpu; //1", NULL);
  RULE("bra $E;\nbar.sync 0; //1\n$E:\nst.global.b32 [%l0], %r0;\n", MUTANT_DELETE, "bar.sync 0; //1", "unreachable");
}

/* ---- copies ---- */

#define COPY "cp.async.ca.shared.global [%r2], [%l0], 4;\n"
#define COMMIT "cp.async.commit_group;\n"
static void copies(void **state) {
  (void)state;
  RULE(COMMIT "cp.async.wait_group 0; //1\nbar.sync 0;\nst.global.b32 [%l0], %r0;\n", MUTANT_DELETE, "cp.async.wait_group 0; //1", "nothing in flight");
  RULE(COPY COMMIT "cp.async.wait_group 0; //1\nbar.sync 0;\n", MUTANT_DELETE, "cp.async.wait_group 0; //1", NULL);
  RULE(COPY COMMIT "cp.async.wait_group 0;\ncp.async.wait_group 0; //1\n", MUTANT_DELETE, "cp.async.wait_group 0; //1", "nothing in flight");
  RULE(COPY COMMIT "cp.async.wait_group 1; //1\ncp.async.wait_group 0;\n", MUTANT_DELETE, "cp.async.wait_group 1; //1", "nothing in flight");
  RULE(COPY COMMIT COPY COMMIT "cp.async.wait_group 1; //1\ncp.async.wait_group 0;\n", MUTANT_DELETE, "cp.async.wait_group 1; //1", "covered");
  RULE(COPY COMMIT COPY COMMIT "cp.async.wait_group 0; //1\ncp.async.wait_group 1;\n", MUTANT_DELETE, "cp.async.wait_group 0; //1", NULL);
  RULE(COPY COMMIT COPY COMMIT "cp.async.wait_group 1; //1\nld.shared.b32 %r3, [%r2];\ncp.async.wait_group 0;\n", MUTANT_DELETE,
       "cp.async.wait_group 1; //1", NULL);
  RULE(COPY COMMIT COPY COMMIT "cp.async.wait_group 1; //1\n@%p1 bra $A;\ncp.async.wait_group 0;\n$A:\nbar.sync 0;\n", MUTANT_DELETE,
       "cp.async.wait_group 1; //1", NULL);
  RULE(COPY COMMIT COPY COMMIT "cp.async.wait_group 1; //1\n", MUTANT_LOOSEN, "cp.async.wait_group 1; //1", NULL);
  RULE(COPY COMMIT COMMIT COMMIT "cp.async.wait_group 1; //1\n", MUTANT_LOOSEN, "cp.async.wait_group 1; //1", "nothing in flight");
  RULE(COPY "cp.async.wait_all; //1\n", MUTANT_DELETE, "cp.async.wait_all; //1", NULL); /* not committed, and yet waited for */
  RULE("mov.b32 %r4, 0;\n$A:\n" COPY COMMIT "cp.async.wait_group 1;\nadd.s32 %r4, %r4, 1;\nsetp.lt.s32 %p2, %r4, %r1;\n@%p2 bra $A;\n"
       "cp.async.wait_group 0; //1\n", MUTANT_DELETE, "cp.async.wait_group 0; //1", NULL);
  RULE(COMMIT "//\n" COPY COMMIT "cp.async.wait_group 1;\n", MUTANT_DELETE, COMMIT "//", "nothing in flight");
  RULE(COPY COMMIT "//1\n" COMMIT "//2\ncp.async.wait_group 1;\n", MUTANT_DELETE, COMMIT "//2", NULL); /* it makes the first one older */
}

/* ---- values ---- */

static void values(void **state) {
  (void)state;
#define LOAD4 "ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%l0];\n"
#define STORE "st.global.f32 [%l0+64], %f9;\n"
  RULE(LOAD4 "add.rn.f32 %f9, %f0, %f1;\n" STORE, MUTANT_SHIFT, LOAD4, NULL);
  RULE("ld.global.f32 %f5, [%l0+32];\n" LOAD4 "add.rn.f32 %f9, %f0, %f1;\n" STORE, MUTANT_SHIFT, "ld.global.f32 %f5", "dead value");
  RULE("ld.volatile.global.f32 %f5, [%l0+32];\n" LOAD4 "add.rn.f32 %f9, %f0, %f1;\n" STORE, MUTANT_SHIFT, "ld.volatile", NULL);
  RULE("ld.global.f32 %f9, [%l0+32];\n@%p1 bra $A;\nmov.f32 %f9, 0f00000000;\n$A:\n" STORE, MUTANT_SHIFT, "ld.global.f32 %f9", NULL);
  RULE("ld.global.f32 %f9, [%l0+32];\nmov.f32 %f9, 0f00000000;\n" STORE, MUTANT_SHIFT, "ld.global.f32 %f9", "dead value");
  RULE("ld.global.f32 %f9, [%l0+32];\n@%p0 mov.f32 %f9, 0f00000000;\n" STORE, MUTANT_SHIFT, "ld.global.f32 %f9", NULL);
#define LOAD2 "ld.global.v2.f32 {%f0, %f1}, [%l0];\n"
  RULE(LOAD2 "add.rn.f32 %f9, %f0, %f1;\n" STORE, MUTANT_SWAP, LOAD2, "same values");
  RULE(LOAD2 "sub.rn.f32 %f9, %f0, %f1;\n" STORE, MUTANT_SWAP, LOAD2, NULL);
  RULE(LOAD2 "fma.rn.f32 %f9, %f0, %f1, %f2;\n" STORE, MUTANT_SWAP, LOAD2, "same values");
  RULE(LOAD2 "fma.rn.f32 %f9, %f0, %f2, %f1;\n" STORE, MUTANT_SWAP, LOAD2, NULL);
  RULE(LOAD2 "max.f32 %f3, %f0, %f2;\nmax.f32 %f9, %f3, %f1;\n" STORE, MUTANT_SWAP, LOAD2, "same values");
  RULE(LOAD2 "min.f32 %f3, %f0, %f2;\nmax.f32 %f9, %f3, %f1;\n" STORE, MUTANT_SWAP, LOAD2, NULL);
  RULE(LOAD2 "add.rn.f32 %f3, %f0, %f2;\nadd.rn.f32 %f9, %f3, %f1;\n" STORE, MUTANT_SWAP, LOAD2, "order of a sum");
  RULE(LOAD2 "fma.rn.f32 %f3, %f0, %f0, %f2;\nfma.rn.f32 %f9, %f1, %f1, %f3;\n" STORE, MUTANT_SWAP, LOAD2, "order of a sum");
  RULE(LOAD2 "fma.rn.f32 %f3, %f0, %f0, %f2;\nfma.rn.f32 %f9, %f1, %f1, %f3;\n" STORE "st.global.f32 [%l0+80], %f0;\n", MUTANT_SWAP, LOAD2, NULL);
  RULE("ld.global.v2.b32 {%r3, %r4}, [%l0];\nadd.s32 %r5, %r3, %r6;\nadd.s32 %r7, %r5, %r4;\nst.global.b32 [%l0], %r7;\n", MUTANT_SWAP,
       "ld.global.v2.b32", "same values");
  RULE(LOAD2 "max.f32 %f3, %f0, %f1;\nadd.rn.f32 %f4, %f0, %f1;\nsetp.nan.f32 %p3, %f0, %f1;\nselp.f32 %f5, %f4, %f3, %p3;\n"
       "max.f32 %f6, %f5, %f2;\nadd.rn.f32 %f7, %f5, %f2;\nsetp.nan.f32 %p3, %f5, %f2;\nselp.f32 %f9, %f7, %f6, %p3;\n" STORE, MUTANT_SWAP,
       LOAD2, "same values");
}

/* Two maxima of a loop that are joined behind it; and the same where one is also stored, or the joining is a difference. */
static void gathered(void **state) {
  (void)state;
#define LOOP                                                                                                           \
  "mov.f32 %f10, 0f00000000;\nmov.f32 %f11, 0f00000000;\nmov.b32 %r4, 0;\n$A:\nld.global.v2.f32 {%f0, %f1}, [%l0]; //1\n" \
  "max.f32 %f12, %f10, %f0;\nmax.f32 %f13, %f11, %f1;\nmov.f32 %f10, %f12;\nmov.f32 %f11, %f13;\nadd.s64 %l0, %l0, 8;\n" \
  "add.s32 %r4, %r4, 1;\nsetp.lt.s32 %p2, %r4, %r1;\n@%p2 bra $A;\n"
  RULE(LOOP "max.f32 %f9, %f10, %f11;\n" STORE, MUTANT_SWAP, "ld.global.v2.f32 {%f0, %f1}, [%l0]; //1", "same values");
  RULE(LOOP "sub.rn.f32 %f9, %f10, %f11;\n" STORE, MUTANT_SWAP, "ld.global.v2.f32 {%f0, %f1}, [%l0]; //1", NULL);
  RULE(LOOP "max.f32 %f9, %f10, %f11;\nst.global.f32 [%l0], %f10;\n" STORE, MUTANT_SWAP, "ld.global.v2.f32 {%f0, %f1}, [%l0]; //1", NULL);
  RULE(LOOP "min.f32 %f9, %f10, %f11;\n" STORE, MUTANT_SWAP, "ld.global.v2.f32 {%f0, %f1}, [%l0]; //1", NULL);
}

/* What the lanes of a warp owe one another. */
static void lanes(void **state) {
  (void)state;
#define SYNC "bar.warp.sync -1; //1\n"
#define WAIT "$W:\nmbarrier.try_wait.parity.shared.b64 %p3, [%r2], %r1;\n@!%p3 bra $W;\n"
#define ELECT(n) "elect.sync %r9|%p4, -1;\n@!%p4 bra $E" #n ";\n"
#define SUM "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f1, %f2, %f3, %f4}, %l1, %l2, %p1, 1, 1, 0, 0;\n"
  /* the program ends, another barrier of all lanes follows; but no access may stand between */
  RULE("st.shared.b32 [%r2], %r0;\n" SYNC, MUTANT_DELETE, SYNC, "nothing follows");
  RULE("st.shared.b32 [%r2], %r0;\n" SYNC "bar.sync 1, 64;\nld.shared.b32 %r3, [%r2];\n", MUTANT_DELETE, SYNC, "nothing follows");
  RULE("st.shared.b32 [%r2], %r0;\n" SYNC "ld.shared.b32 %r3, [%r2];\nbar.sync 0;\n", MUTANT_DELETE, SYNC, NULL);
  RULE("st.shared.b32 [%r2], %r0;\n" SYNC "@%p0 bar.sync 0;\nld.shared.b32 %r3, [%r2];\n", MUTANT_DELETE, SYNC, NULL);
  RULE("st.shared.b32 [%r2], %r0;\n" SYNC "mbarrier.arrive.shared.b64 _, [%r2+8];\nbar.sync 0;\n", MUTANT_DELETE, SYNC, NULL);
  /* all lanes have waited, one tells of it; but not if one alone has waited, or lanes have looked at what they were waiting for */
  RULE(WAIT SYNC "@%p0 mbarrier.arrive.shared.b64 _, [%r2+8];\n", MUTANT_DELETE, SYNC, "nothing to hand on");
  RULE(WAIT "wgmma.fence.sync.aligned;\n" SUM "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n" SYNC
       "@%p0 mbarrier.arrive.shared.b64 _, [%r2+8];\n", MUTANT_DELETE, SYNC, "nothing to hand on");
  RULE(WAIT "ld.shared.b32 %r3, [%r2+16];\n" SYNC "@%p0 mbarrier.arrive.shared.b64 _, [%r2+8];\n", MUTANT_DELETE, SYNC, NULL);
  RULE("@%p0 bra $S;\n" WAIT "$S:\n" SYNC "mbarrier.arrive.shared.b64 _, [%r2+8];\n", MUTANT_DELETE, SYNC, NULL);
  RULE(ELECT(0) WAIT "$E0:\n" SYNC "ld.shared.b32 %r3, [%r2+16];\n", MUTANT_DELETE, SYNC, NULL);
  /* the lane that elect.sync chooses does it all; another one does not */
  RULE(ELECT(0) WAIT "$E0:\n" SYNC ELECT(1) "ld.shared.b32 %r3, [%r2+16];\n$E1:\nbar.sync 0;\n", MUTANT_DELETE, SYNC, "one lane");
  RULE(ELECT(0) WAIT "$E0:\n" SYNC "elect.sync %r9|%p4, 15;\n@!%p4 bra $E1;\nld.shared.b32 %r3, [%r2+16];\n$E1:\nbar.sync 0;\n", MUTANT_DELETE,
       SYNC, NULL);
  RULE(ELECT(0) WAIT "$E0:\n" SYNC "@!%p0 bra $E1;\nld.shared.b32 %r3, [%r2+16];\n$E1:\nbar.sync 0;\n", MUTANT_DELETE, SYNC, NULL);
  RULE(ELECT(0) WAIT "$E0:\n" SYNC "elect.sync %r9|%p4, -1;\n@%p4 bra $E1;\nld.shared.b32 %r3, [%r2+16];\n$E1:\nbar.sync 0;\n", MUTANT_DELETE,
       SYNC, NULL);
  RULE(ELECT(0) WAIT "$E0:\n" SYNC ELECT(1) "st.shared.b32 [%r2+16], %r1;\n$E1:\nst.shared.b32 [%r2+20], %r1;\n", MUTANT_DELETE, SYNC, NULL);
  /* a cluster's barrier brings what is known before; not if it is relaxed */
  RULE("st.shared.b32 [%r2], %r0;\nbarrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" SYNC
       "ld.shared.b32 %r3, [%r2+4];\n", MUTANT_DELETE, SYNC, "nothing to hand on");
  RULE("st.shared.b32 [%r2], %r0;\nbarrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" SYNC
       "ld.shared.b32 %r3, [%r2+4];\n", MUTANT_DELETE, SYNC, NULL);

#define AGAIN "wgmma.fence.sync.aligned; //2\n"
  RULE("wgmma.fence.sync.aligned;\n" SUM "add.s32 %r3, %r1, 1;\n" AGAIN SUM, MUTANT_DELETE, AGAIN, "registers untouched");
  RULE("wgmma.fence.sync.aligned;\n" SUM "mul.rn.f32 %f2, %f2, %f5;\n" AGAIN SUM, MUTANT_DELETE, AGAIN, NULL);
  RULE("wgmma.fence.sync.aligned;\n" SUM "st.shared.f32 [%r2], %f2;\n" AGAIN SUM, MUTANT_DELETE, AGAIN, NULL);
  RULE(AGAIN SUM, MUTANT_DELETE, AGAIN, NULL);
  RULE("@%p0 bra $S;\nwgmma.fence.sync.aligned;\n" SUM "$S:\n" AGAIN SUM, MUTANT_DELETE, AGAIN, NULL);

#define SHFL "shfl.sync.idx.b32 %r4, %r3, 0, 31, -1;\n"
  RULE("shr.u32 %r3, %r0, 5;\n" SHFL "st.shared.b32 [%r2], %r4;\n", MUTANT_BYPASS, SHFL, "same in all lanes");
  RULE("add.s32 %r3, %r1, 5;\n" SHFL "st.shared.b32 [%r2], %r4;\n", MUTANT_BYPASS, SHFL, "same in all lanes");
  RULE("shr.u32 %r3, %r0, 4;\n" SHFL "st.shared.b32 [%r2], %r4;\n", MUTANT_BYPASS, SHFL, NULL);
  RULE("shr.u32 %r3, %r0, 5;\n@%p0 mov.b32 %r3, 0;\n" SHFL "st.shared.b32 [%r2], %r4;\n", MUTANT_BYPASS, SHFL, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(reads_a_program), cmocka_unit_test(refuses_what_it_does_not_know), cmocka_unit_test(writes_mutants),
    cmocka_unit_test(writes_mutants_of_hopper),
    cmocka_unit_test(barriers), cmocka_unit_test(copies), cmocka_unit_test(values), cmocka_unit_test(gathered), cmocka_unit_test(lanes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
