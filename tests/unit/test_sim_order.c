/* test_sim_order.c - happens-before in global and shared memory: each rule by a right kernel, which must pass, and its wrong twins, which
 * must be named with kind and line ("// HERE"; "// OR": the other side, where it decides who is told), whatever seed, policy and number
 * of host cores. */
#include "sim_case.h"

/* x: 2048 words of zero, y: 2048 words; r2 thread, r3 CTA, r4 number of CTAs, r6 warp; rd4, rd5: x and y at the CTA's word, rd6, rd7: at
 * the thread's word in the grid; rd8: x at the word of the grid's next block; r10: shared memory, r11 the thread's word there, r12 that
 * of the same lane in the other warp; p1: not thread 0, p2: not CTA 0, p3: not warp 0 */
#define HEAD                                                                                                           \
  ".version 7.8\n.target sm_90\n.address_size 64\n.shared .align 16 .b32 words[256];\n"                                \
  ".visible .entry k(.param .u64 x, .param .u64 y)\n{\n"                                                               \
  "  .reg .pred %p<12>; .reg .b16 %h<4>; .reg .b32 %r<32>; .reg .b64 %rd<24>; .reg .f32 %f<8>;\n"                      \
  "  ld.param.b64 %rd1, [x];\n  ld.param.b64 %rd2, [y];\n  mov.u32 %r2, %tid.x;\n  mov.u32 %r3, %ctaid.x;\n"           \
  "  mov.u32 %r4, %nctaid.x;\n  shr.u32 %r6, %r2, 5;\n  mul.wide.u32 %rd3, %r3, 4;\n  add.s64 %rd4, %rd1, %rd3;\n"     \
  "  add.s64 %rd5, %rd2, %rd3;\n  mov.u32 %r7, %ntid.x;\n  mad.lo.s32 %r8, %r3, %r7, %r2;\n  mul.wide.u32 %rd9, %r8, 4;\n" \
  "  add.s64 %rd6, %rd1, %rd9;\n  add.s64 %rd7, %rd2, %rd9;\n  mul.wide.u32 %rd10, %r7, 4;\n  add.s64 %rd8, %rd6, %rd10;\n" \
  "  mov.u32 %r10, words;\n  shl.b32 %r9, %r2, 2;\n  add.s32 %r11, %r10, %r9;\n  xor.b32 %r9, %r9, 128;\n"             \
  "  add.s32 %r12, %r10, %r9;\n  mov.b32 %r20, 1;\n  mov.b32 %r21, 0;\n"                                               \
  "  setp.ne.s32 %p1, %r2, 0;\n  setp.ne.s32 %p2, %r3, 0;\n  setp.ne.s32 %p3, %r6, 0;\n"

typedef struct Case {
  const char *kind;   /* NULL: right */
  unsigned grid, block;
  const char *body, *says;
} Case;

/* CTA 1 writes x[0], says so by `publish`, and CTA 0 waits by `look` and reads it; one thread each */
#define PASS(publish, look)                                                                                            \
  "@%p1 ret;\n @!%p2 bra reader;\n st.global.b32 [%rd1], %r20; // OR\n" publish "\n ret;\nreader:\n" look               \
  "\n setp.eq.s32 %p4, %r22, 0;\n @%p4 bra reader;\n"
#define READ " ld.global.b32 %r23, [%rd1]; // HERE\n"
#define FLAG "[%rd1+4096]"

static const Case cases[] = {
  /* ---- release and acquire ---- */
  {NULL, 2, 32, PASS("st.release.gpu.global.b32 " FLAG ", %r20;", "ld.acquire.gpu.global.b32 %r22, " FLAG ";") READ, NULL},
  {NULL, 2, 32, PASS("fence.acq_rel.gpu;\n"
   " st.relaxed.gpu.global.b32 " FLAG ", %r20;", "ld.relaxed.gpu.global.b32 %r22, " FLAG ";") "fence.acq_rel.gpu;\n" READ, NULL},
  {NULL, 2, 32, PASS("membar.gl;\n st.volatile.global.b32 " FLAG ", %r20;", "ld.volatile.global.b32 %r22, " FLAG ";") "membar.gl;\n" READ, NULL},
  {NULL, 2, 32, PASS("fence.sc.sys;\n red.global.add.u32 " FLAG ", %r20;", "atom.acquire.gpu.global.add.u32 %r22, " FLAG ", 0;") READ, NULL},
  {NULL, 2, 32, PASS("atom.release.gpu.global.add.u32 %r24, " FLAG ", 1;", "ld.acquire.sys.global.b32 %r22, " FLAG ";") READ, NULL},
  {"race", 2, 32, PASS("st.relaxed.gpu.global.b32 " FLAG ", %r20;", "ld.acquire.gpu.global.b32 %r22, " FLAG ";") READ, "no synchronisation"},
  {"race", 2, 32, PASS("st.release.gpu.global.b32 " FLAG ", %r20;", "ld.relaxed.gpu.global.b32 %r22, " FLAG ";") READ, "no synchronisation"},
  {"race", 2, 32, PASS("membar.gl;\n st.volatile.global.b32 " FLAG ", %r20;", "ld.volatile.global.b32 %r22, " FLAG ";") READ, NULL},
  {"race", 2, 32, PASS("st.volatile.global.b32 " FLAG ", %r20;\n membar.gl;", "ld.volatile.global.b32 %r22, " FLAG ";") "membar.gl;\n" READ, NULL},
  {"race", 2, 32, PASS("red.global.add.u32 " FLAG ", %r20;", "atom.acquire.gpu.global.add.u32 %r22, " FLAG ", 0;") READ, NULL},
  /* a fence after the flag was read, but not by the warp that read it */
  {"race", 2, 64, "@!%p2 bra reader;\n @%p1 ret;\n st.global.b32 [%rd1], %r20; // OR\n st.release.gpu.global.b32 " FLAG ", %r20;\n ret;\n"
   "reader:\n @%p1 bra ready;\nwait:\n ld.relaxed.gpu.global.b32 %r22, " FLAG ";\n setp.eq.s32 %p4, %r22, 0;\n @%p4 bra wait;\n"
   "ready:\n bar.sync 0;\n fence.acq_rel.gpu;\n @!%p3 ret;\n" READ, NULL},
  /* the plain flag: the waiting read and the write race */
  {"race", 2, 32, "@%p1 ret;\n @!%p2 bra reader;\n st.global.b32 " FLAG ", %r20; // HERE\n ret;\nreader:\n ld.relaxed.gpu.global.b32 %r22, " FLAG
   "; // OR\n setp.eq.s32 %p4, %r22, 0;\n @%p4 bra reader;\n", NULL},
  /* ---- scopes ---- */
  {"scope", 2, 32, PASS("fence.acq_rel.cta;\n st.relaxed.gpu.global.b32 " FLAG ", %r20;", "ld.acquire.gpu.global.b32 %r22, " FLAG ";") READ, "wider"},
  {"scope", 2, 32, PASS("membar.cta;\n st.volatile.global.b32 " FLAG ", %r20;", "ld.volatile.global.b32 %r22, " FLAG ";") "membar.gl;\n" READ, "wider"},
  {"scope", 2, 32, PASS("fence.acq_rel.gpu;\n"
   " st.relaxed.gpu.global.b32 " FLAG ", %r20;", "ld.relaxed.gpu.global.b32 %r22, " FLAG ";") "fence.acq_rel.cta;\n" READ, "wider"},
  /* ---- through a barrier and several hands ---- */
  {NULL, 2, 64, "@!%p2 bra reader;\n st.global.b32 [%rd6], %r20;\n bar.sync 0;\n @%p1 ret;\n fence.acq_rel.gpu;\n"
   " st.relaxed.gpu.global.b32 " FLAG ", %r20;\n ret;\nreader:\n @%p1 bra ready;\nwait:\n ld.relaxed.gpu.global.b32 %r22, " FLAG ";\n"
   " setp.eq.s32 %p4, %r22, 0;\n @%p4 bra wait;\n fence.acq_rel.gpu;\nready:\n bar.sync 0;\n ld.global.b32 %r23, [%rd8];\n", NULL},
  {"race", 2, 64, "@!%p2 bra reader;\n st.global.b32 [%rd6], %r20; // OR\n @%p1 ret;\n fence.acq_rel.gpu;\n" /* no bar before the fence */
   " st.relaxed.gpu.global.b32 " FLAG ", %r20;\n ret;\nreader:\n @%p1 bra ready;\nwait:\n ld.relaxed.gpu.global.b32 %r22, " FLAG ";\n"
   " setp.eq.s32 %p4, %r22, 0;\n @%p4 bra wait;\n fence.acq_rel.gpu;\nready:\n bar.sync 0;\n ld.global.b32 %r23, [%rd8]; // HERE\n", NULL},
  {NULL, 3, 32, "@%p1 ret;\n setp.eq.s32 %p5, %r3, 1;\n setp.eq.s32 %p6, %r3, 2;\n @%p5 bra middle;\n @%p6 bra last;\n" /* 0 to 1 to 2 */
   " st.global.b32 [%rd1], %r20;\n st.release.gpu.global.b32 " FLAG ", %r20;\n ret;\n"
   "middle:\n ld.acquire.gpu.global.b32 %r22, " FLAG ";\n setp.eq.s32 %p4, %r22, 0;\n @%p4 bra middle;\n"
   " st.release.gpu.global.b32 [%rd1+4100], %r20;\n ret;\n"
   "last:\n ld.acquire.gpu.global.b32 %r22, [%rd1+4100];\n setp.eq.s32 %p4, %r22, 0;\n @%p4 bra last;\n ld.global.b32 %r23, [%rd1];\n", NULL},
  /* ---- a chain of atomics carries on what was released; a store ends it ---- */
  {NULL, 3, 32, "@%p1 ret;\n setp.eq.s32 %p6, %r3, 2;\n @%p6 bra last;\n st.global.b32 [%rd4], %r20;\n fence.acq_rel.gpu;\n"
   " red.global.add.u32 " FLAG ", 1;\n ret;\nlast:\n ld.acquire.gpu.global.b32 %r22, " FLAG ";\n setp.ne.s32 %p4, %r22, 2;\n @%p4 bra last;\n"
   " ld.global.b32 %r23, [%rd1];\n ld.global.b32 %r23, [%rd1+4];\n", NULL},
  {"race", 3, 32, "@%p1 ret;\n setp.eq.s32 %p6, %r3, 2;\n @%p6 bra last;\n @!%p2 bra first;\n" /* 1 waits, and stores without knowing */
   "wait:\n ld.relaxed.gpu.global.b32 %r22, " FLAG ";\n setp.eq.s32 %p4, %r22, 0;\n @%p4 bra wait;\n mov.b32 %r25, 2;\n"
   " st.relaxed.gpu.global.b32 " FLAG ", %r25;\n st.relaxed.gpu.global.b32 [%rd1+4100], %r25;\n ret;\n"
   "first:\n st.global.b32 [%rd1], %r20; // OR\n st.release.gpu.global.b32 " FLAG ", %r20;\n ret;\n"
   "last:\n ld.relaxed.gpu.global.b32 %r22, [%rd1+4100];\n setp.ne.s32 %p4, %r22, 2;\n @%p4 bra last;\n"
   " ld.acquire.gpu.global.b32 %r22, " FLAG ";\n ld.global.b32 %r23, [%rd1]; // HERE\n", NULL},
  /* ---- the last block ---- */
#define SHARE "@%p1 ret;\n st.global.b32 [%rd4], %r3; // OR\n"
#define LAST " add.s32 %r23, %r4, -1;\n setp.ne.s32 %p4, %r22, %r23;\n @%p4 ret;\n"
#define SUM "add:\n add.s64 %rd11, %rd1, %rd12;\n ld.global.b32 %r24, [%rd11]; // HERE\n add.s64 %rd12, %rd12, 4;\n add.s32 %r21, %r21, 1;\n"  \
  " setp.lt.u32 %p4, %r21, %r4;\n @%p4 bra add;\n"
  {NULL, 24, 32, SHARE "membar.gl;\n atom.global.inc.u32 %r22, " FLAG ", 1000;\n membar.gl;\n" LAST " mov.b64 %rd12, 0;\n" SUM, NULL},
  {NULL, 24, 32, SHARE "atom.acq_rel.gpu.global.add.u32 %r22, " FLAG ", 1;\n" LAST " mov.b64 %rd12, 0;\n" SUM, NULL},
  {"race", 24, 32, SHARE "atom.global.inc.u32 %r22, " FLAG ", 1000;\n membar.gl;\n" LAST " mov.b64 %rd12, 0;\n" SUM, NULL},
  {"race", 24, 32, SHARE "membar.gl;\n atom.global.inc.u32 %r22, " FLAG ", 1000;\n" LAST " mov.b64 %rd12, 0;\n" SUM, NULL},
  {"scope", 24, 32, SHARE "membar.cta;\n atom.global.inc.u32 %r22, " FLAG ", 1000;\n membar.gl;\n" LAST " mov.b64 %rd12, 0;\n" SUM, NULL},
  /* ---- plain accesses of several CTAs and warps ---- */
  {NULL, 8, 64, "st.global.b32 [%rd6], %r20;\n ld.global.b32 %r22, [%rd6];\n ld.global.b32 %r22, [%rd2];\n st.global.b32 [%rd6], %r22;\n", NULL},
  {"race", 8, 32, "@%p1 ret;\n st.global.b32 [%rd2], %r3; // HERE\n", "cta (0,0,0) warp 0 has written"},
  {"race", 8, 32, "@%p1 ret;\n ld.global.b32 %r22, [%rd2]; // OR\n setp.ne.s32 %p4, %r3, 5;\n @%p4 ret;\n st.global.b32 [%rd2], %r3; // HERE\n", NULL},
  {"race", 2, 64, "st.global.b32 [%rd6], %r20; // HERE\n ld.global.b32 %r22, [%rd8]; // OR\n", NULL},
  {"race", 1, 64, "@%p3 bra one;\n st.global.b32 [%rd6], %r20; // HERE\n ret;\none:\n ld.global.b32 %r22, [%rd6+-128]; // OR\n", NULL},
  {NULL, 1, 64, "@!%p3 st.global.b32 [%rd6], %r20;\n bar.sync 0;\n @%p3 ld.global.b32 %r22, [%rd6+-128];\n bar.sync 0;\n st.global.b32 [%rd6], %r20;\n"
   "", NULL},
  {"race", 1, 64, "@%p3 ld.global.b32 %r22, [%rd6+-128]; // OR\n @!%p3 st.global.b32 [%rd6], %r20; // HERE\n", NULL},
  /* ---- halves and bytes of one word belong to whom they belong ---- */
  {NULL, 8, 32, "@%p1 ret;\n mul.wide.u32 %rd12, %r3, 2;\n add.s64 %rd13, %rd1, %rd12;\n mov.b16 %h1, 7;\n st.global.b16 [%rd13], %h1;\n", NULL},
  {"race", 8, 32, "@%p1 ret;\n mul.wide.u32 %rd12, %r3, 2;\n add.s64 %rd13, %rd1, %rd12;\n mov.b16 %h1, 7;\n st.global.b16 [%rd13], %h1; // OR\n"
   " ld.global.b16 %h2, [%rd13+2]; // HERE\n", NULL},
  /* ---- atomics ---- */
  {NULL, 8, 64, "red.global.add.u32 [%rd1], 1;\n atom.global.add.u32 %r22, [%rd1], 1;\n ld.relaxed.gpu.global.b32 %r22, [%rd1];\n", NULL},
  {"race", 8, 32, "@%p1 ret;\n red.global.add.u32 [%rd1], 1; // OR\n ld.global.b32 %r22, [%rd1]; // HERE\n", NULL},
  {"race", 4, 32, "@%p1 ret;\n @!%p2 st.global.b32 [%rd1], %r20; // OR\n red.global.add.u32 [%rd1], 1; // HERE\n", NULL},
  /* ---- shared memory: the same between warps ---- */
  {NULL, 1, 64, "@!%p1 st.volatile.shared.b32 [%r10+1000], %r21;\n bar.sync 0;\n @%p3 bra one;\n st.shared.b32 [%r11], %r20;\n bar.warp.sync -1;\n"
   " membar.cta;\n @!%p1 st.volatile.shared.b32 [%r10+1000], %r20;\n ret;\none:\n ld.volatile.shared.b32 %r22, [%r10+1000];\n"
   " setp.eq.s32 %p4, %r22, 0;\n @%p4 bra one;\n membar.cta;\n ld.shared.b32 %r23, [%r12];\n", NULL},
  {"race", 1, 64, "@!%p1 st.volatile.shared.b32 [%r10+1000], %r21;\n bar.sync 0;\n @%p3 bra one;\n st.shared.b32 [%r11], %r20;\n bar.warp.sync -1;\n"
   " @!%p1 st.volatile.shared.b32 [%r10+1000], %r20;\n ret;\none:\n ld.volatile.shared.b32 %r22, [%r10+1000];\n"
   " setp.eq.s32 %p4, %r22, 0;\n @%p4 bra one;\n membar.cta;\n ld.shared.b32 %r23, [%r12]; // HERE\n", NULL},
  {NULL, 1, 64, "@!%p1 st.shared.b32 [%r10], %r21;\n bar.sync 0;\n atom.shared.add.u32 %r22, [%r10], 1;\n bar.sync 0;\n ld.shared.b32 %r22, [%r10];\n", NULL},
  {"race", 1, 64, "@!%p1 st.shared.b32 [%r10], %r21;\n bar.sync 0;\n atom.shared.add.u32 %r22, [%r10], 1; // OR\n"
   " ld.shared.b32 %r22, [%r10]; // HERE\n", NULL},
  /* ---- lanes of one store ---- */
  {NULL, 1, 32, "st.global.b32 [%rd1], %r20;\n st.shared.b32 [%r10], %r20;\n", NULL},
  {"race", 1, 32, "st.global.b32 [%rd1], %r2; // HERE\n", "another lane"},
  {"race", 1, 32, "shr.u32 %r22, %r11, 3;\n shl.b32 %r22, %r22, 3;\n st.shared.b32 [%r22], %r2; // HERE\n", "another lane"},
};

static void run(const Case *c, const char *options) {
  static char text[8000];
  static unsigned zero[2048];
  SimCase s;
  kilnsim_finding found;
  sprintf(text, "%s%s  ret;\n}\n", HEAD, c->body);
  case_open(&s, options, text);
  DrvPtr x = device_copy(zero, sizeof zero), y = device_copy(zero, sizeof zero);
  unsigned code = case_launch(&s, c->grid, c->block, 0, (void *[]){&x, &y});
  if (!c->kind && code) fail_msg("%s: %s: %s", options, c->body, last_message());
  if (c->kind) {
    if (code != DRV_LAUNCH_FAILED) fail_msg("%s: %s: not found (%u)", options, c->body, code);
    OK(kilnsim_report(s.ordinal, &found));
    int here = found.ptx_line == line_of(text, "// HERE") || (strstr(text, "// OR") && found.ptx_line == line_of(text, "// OR"));
    if (strcmp(found.kind, c->kind) || !here || (c->says && !strstr(found.text, c->says)))
      fail_msg("%s: %s: %s line %d: %s", options, c->body, found.kind, found.ptx_line, found.text);
  }
  case_close(&s);
}

static void test_cases(void **state) {
  (void)state;
  static const char *const options[] = {"sm_90,cores=1,limit=100000", "sm_90,cores=2,limit=100000,seed=3", "sm_90,cores=3,limit=100000,seed=12,policy=random",
                                        "sm_90,cores=1,limit=100000,seed=900,level=base"};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    for (int o = 0; o < 4; o++) run(&cases[i], options[o]);
}

/* A race is told the same way on any number of host cores. */
static void test_report(void **state) {
  (void)state;
  static const char *const bodies[] = {
    "@%p1 ret;\n st.global.b32 [%rd2], %r3;\n",
    "@%p1 ret;\n ld.global.b32 %r22, [%rd2];\n setp.ne.s32 %p4, %r3, 40;\n @%p4 ret;\n st.global.b32 [%rd2], %r3;\n",
    "@%p1 ret;\n red.global.add.u32 [%rd1], 1;\n st.global.b32 [%rd2+40], %r3;\n"};
  static char text[8000], told[1400];
  static unsigned zero[2048];
  for (int b = 0; b < 3; b++)
    for (int cores = 1; cores <= 4; cores++)
      for (int again = 0; again < 4; again++) {
        SimCase s;
        char options[64];
        kilnsim_finding found;
        snprintf(options, sizeof options, "sm_90,seed=5,cores=%d", cores);
        sprintf(text, "%s%s  ret;\n}\n", HEAD, bodies[b]);
        case_open(&s, options, text);
        DrvPtr x = device_copy(zero, sizeof zero), y = device_copy(zero, sizeof zero);
        assert_int_equal(case_launch(&s, 64, 32, 0, (void *[]){&x, &y}), DRV_LAUNCH_FAILED);
        OK(kilnsim_report(s.ordinal, &found));
        if (cores == 1 && again == 0) snprintf(told, sizeof told, "%s", strstr(found.text, "cta"));
        else if (strncmp(told, strstr(found.text, "cta"), strcspn(told, "[")) != 0) fail_msg("cores=%d: %s, but %s", cores, found.text, told);
        case_close(&s);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_report)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
