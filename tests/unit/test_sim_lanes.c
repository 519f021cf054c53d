/* test_sim_lanes.c - lanes of a warp that stand at different instructions: collectives that wait for their members, lanes that spin on
 * others of their own warp, barriers that the rest of a warp reaches later; and what can never come together. */
#include "sim_case.h"

/* y: 64 words of results, one per thread; x: 64 words of zero. r2 thread, r3 lane; p1: lane below 16, p2: lane odd, p3: not lane 0,
 * p4: second warp; a lane whose result is not what it should be traps at "wrong" */
#define HEAD                                                                                                           \
  PTX_HEAD ".shared .align 4 .b32 word[64];\n.visible .entry k(.param .u64 x, .param .u64 y)\n{\n"                    \
  "  .reg .pred %p<12>; .reg .b32 %r<32>; .reg .b64 %rd<8>;\n  ld.param.b64 %rd1, [x];\n  ld.param.b64 %rd2, [y];\n"    \
  "  mov.u32 %r2, %tid.x;\n  and.b32 %r3, %r2, 31;\n  mul.wide.u32 %rd3, %r2, 4;\n  add.s64 %rd4, %rd2, %rd3;\n"       \
  "  and.b32 %r4, %r3, 1;\n  setp.lt.u32 %p1, %r3, 16;\n  setp.ne.s32 %p2, %r4, 0;\n  setp.ne.s32 %p3, %r3, 0;\n"      \
  "  setp.ge.u32 %p4, %r2, 32;\n  mov.u32 %r5, word;\n  mov.b32 %r20, 1;\n"
#define WANT(value) "  setp.ne.s32 %p9, %r10, " value ";\n  @%p9 bra wrong;\n"

typedef struct Case { const char *kind, *body, *says; } Case;

static const Case cases[] = {
  /* one collective at two places: members meet, and exchange what each holds there */
  {NULL, "@%p1 bra low;\n add.s32 %r6, %r3, 100;\n shfl.sync.bfly.b32 %r10, %r6, 16, 31, -1;\n bra join;\n"
         "low:\n add.s32 %r7, %r3, 200;\n shfl.sync.bfly.b32 %r10, %r7, 16, 31, -1;\njoin:\n xor.b32 %r8, %r3, 16;\n"
         " selp.s32 %r9, 100, 200, %p1;\n add.s32 %r8, %r8, %r9;\n" WANT("%r8"), NULL},
  {NULL, "mov.b32 %r6, 0;\n@%p2 bra odd;\n shfl.sync.idx.b32 %r10|%p5, %r3, 31, 31, -1;\n bra join;\nodd:\n add.s32 %r6, %r3, 1;\n"
         " shfl.sync.idx.b32 %r10|%p5, %r6, 31, 31, -1;\njoin:\n" WANT("32"), NULL},
  {NULL, "setp.lt.u32 %p6, %r3, 4;\n @%p2 bra odd;\n vote.sync.ballot.b32 %r10, %p6, -1;\n bra join;\nodd:\n"
         " vote.sync.ballot.b32 %r10, !%p6, -1;\njoin:\n" WANT("0xaaaaaaa5"), NULL},
  {NULL, "setp.lt.u32 %p6, %r3, 4;\n @%p2 bra odd;\n vote.sync.any.pred %p7, %p6, -1;\n bra join;\nodd:\n setp.lt.u32 %p8, %r3, 0;\n"
         " vote.sync.any.pred %p7, %p8, -1;\njoin:\n selp.s32 %r10, 1, 0, %p7;\n" WANT("1"), NULL},
  {NULL, "shr.u32 %r6, %r3, 4;\n @%p2 bra odd;\n match.any.sync.b32 %r10, %r6, -1;\n bra join;\nodd:\n shr.u32 %r7, %r3, 4;\n"
         " match.any.sync.b32 %r10, %r7, -1;\njoin:\n selp.b32 %r8, 0xffff, 0xffff0000, %p1;\n" WANT("%r8"), NULL},
  {NULL, "@%p2 bra odd;\n redux.sync.add.s32 %r10, %r3, -1;\n bra join;\nodd:\n redux.sync.add.s32 %r10, %r3, -1;\njoin:\n" WANT("496"), NULL},
  /* a mask of some, twice at once, at different places */
  {NULL, "@%p2 bra odd;\n redux.sync.add.s32 %r10, %r3, 0x55555555;\n bra join;\nodd:\n redux.sync.add.s32 %r10, %r3, 0xaaaaaaaa;\njoin:\n"
         " selp.s32 %r8, 256, 240, %p2;\n" WANT("%r8"), NULL},
  /* lanes at one place name different sets: tiles of 16, of 4 */
  {NULL, "selp.b32 %r6, 0xffff, 0xffff0000, %p1;\n redux.sync.add.s32 %r10, %r20, %r6;\n" WANT("16") " and.b32 %r8, %r3, 16;\n"
         " shfl.sync.idx.b32 %r10, %r3, 0, 0x101f, %r6;\n" WANT("%r8") " vote.sync.ballot.b32 %r10, %p2, %r6;\n and.b32 %r8, %r6, 0xaaaaaaaa;\n"
         WANT("%r8") " match.any.sync.b32 %r10, %r4, %r6;\n not.b32 %r9, %r8;\n @!%p2 and.b32 %r8, %r9, %r6;\n" WANT("%r8"), NULL},
  {NULL, "and.b32 %r7, %r3, 28;\n mov.b32 %r6, 15;\n shl.b32 %r6, %r6, %r7;\n shl.b32 %r8, %r2, 2;\n add.s32 %r8, %r8, %r5;\n"
         " st.shared.b32 [%r8], %r2;\n bar.warp.sync %r6;\n xor.b32 %r9, %r8, 4;\n ld.shared.b32 %r10, [%r9];\n xor.b32 %r8, %r2, 1;\n" WANT("%r8"), NULL},
  {NULL, "@%p2 bra odd;\n selp.b32 %r6, 0x5555, 0x55550000, %p1;\n redux.sync.add.s32 %r10, %r20, %r6;\n bra join;\nodd:\n"
         " redux.sync.add.s32 %r10, %r20, 0xaaaaaaaa;\n add.s32 %r10, %r10, -8;\njoin:\n" WANT("8"), NULL},
  {"collective", "selp.b32 %r6, 0xff, 0xffff0000, %p1;\n redux.sync.add.s32 %r10, %r20, %r6; // HERE\n", "leaves out 0x0000ff00"},
  /* the value of a lane that nobody reads need not be there: one lane has added for all */
  {NULL, "@!%p3 mov.b32 %r6, 7;\n shfl.sync.idx.b32 %r10, %r6, 0, 31, -1;\n" WANT("7"), NULL},
  {"uninitialised", "@!%p3 mov.b32 %r6, 7;\n shfl.sync.bfly.b32 %r10, %r6, 1, 31, -1; // HERE\n", "lane 1 has not written"},
  /* guarded lanes come round a second time */
  {NULL, "mov.b32 %r10, 0;\n @%p1 shfl.sync.bfly.b32 %r10, %r3, 16, 31, -1;\n @!%p1 shfl.sync.bfly.b32 %r10, %r3, 16, 31, -1;\n"
         " xor.b32 %r8, %r3, 16;\n" WANT("%r8"), NULL},
  {NULL, "@%p1 ret;\n redux.sync.add.s32 %r10, %r20, -1;\n" WANT("16"), NULL}, /* lanes that have ended are not waited for */
  {NULL, "@!%p1 bra high;\n redux.sync.add.s32 %r10, %r20, -1;\n" WANT("16") " bra join;\nhigh:\n ret;\njoin:\n", NULL}, /* nor those that end later */
  {NULL, "@%p1 bra low;\n st.volatile.shared.b32 [%r5], %r20;\n bar.warp.sync -1;\n bra join;\nlow:\n bar.warp.sync -1;\njoin:\n"
         " ld.volatile.shared.b32 %r10, [%r5];\n" WANT("1"), NULL},
  /* a lock of lanes of one warp: they spin on one another */
  {NULL, "@%p4 ret;\n @!%p3 st.volatile.shared.b32 [%r5+4], 0;\n bar.warp.sync -1;\n"
         "take:\n atom.global.cas.b32 %r6, [%rd1], 0, 1;\n setp.ne.s32 %p5, %r6, 0;\n @%p5 bra take;\n ld.volatile.shared.b32 %r7, [%r5+4];\n"
         " add.s32 %r7, %r7, 1;\n st.volatile.shared.b32 [%r5+4], %r7;\n atom.global.exch.b32 %r6, [%rd1], 0;\n bar.warp.sync -1;\n"
         " ld.volatile.shared.b32 %r10, [%r5+4];\n" WANT("32"), NULL},
  /* one lane waits for the other warp; the rest of its warp waits at the barrier */
  {NULL, "@%p4 bra other;\n @%p3 bra meet;\nlook:\n ld.acquire.gpu.global.b32 %r6, [%rd1];\n setp.eq.s32 %p5, %r6, 0;\n @%p5 bra look;\n"
         "meet:\n bar.sync 0;\n ret;\nother:\n @!%p3 st.release.gpu.global.b32 [%rd1], %r20;\n bar.sync 0;\n", NULL},
  /* barriers that need not be aligned: each lane waits for the others of its warp, at different places too, and not for those that end */
  {NULL, "@%p4 bra other;\n @!%p3 st.shared.b32 [%r5], %r20;\n @%p1 bra low;\n barrier.sync 0;\n bra join;\nlow:\n barrier.sync 0;\njoin:\n ret;\n"
         "other:\n barrier.sync 0;\n ld.shared.b32 %r10, [%r5];\n" WANT("1"), NULL},
  {NULL, "@%p1 bra low;\n barrier.sync 0;\n bra join;\nlow:\n ret;\njoin:\n", NULL},
  {NULL, "@%p1 barrier.sync 0;\n @!%p1 barrier.sync 0;\n", NULL},
  {"barrier", "@%p1 bra low;\n barrier.sync 0; // HERE\n ret;\nlow:\n barrier.sync 1; // OR\n", "lanes"},
  {"barrier", "@%p1 bra low;\n barrier.sync.aligned 0; // HERE\n ret;\nlow:\n barrier.sync.aligned 0; // OR\n", "alone"},
  /* what never comes together */
  {"collective", "@%p1 bra low;\n shfl.sync.bfly.b32 %r10, %r3, 16, 31, -1; // HERE\n ret;\nlow:\n vote.sync.ballot.b32 %r10, %p2, -1; // OR\n"
   "", "they wait elsewhere"},
  {"collective", "@%p1 bra low;\n shfl.sync.bfly.b32 %r10, %r3, 16, 31, -1; // HERE\n ret;\nlow:\n"
   " shfl.sync.bfly.b32 %r10, %r3, 16, 31, 0x7fffffff; // OR\n", "they wait elsewhere"},
  {"collective", "@%p1 shfl.sync.bfly.b32 %r10, %r3, 1, 31, 0xff; // HERE\n", "leaves out"},
  {"collective", "@%p1 ret;\n shfl.sync.idx.b32 %r10, %r3, 3, 31, -1; // HERE\n", "does not take part"},
  {"barrier", "@%p1 bra low;\n bar.sync 0; // HERE\n ret;\nlow:\n bar.sync 0; // OR\n", "alone"},
  {"deadlock", "@%p3 bra meet;\nlook:\n ld.volatile.global.b32 %r6, [%rd1];\n setp.eq.s32 %p5, %r6, 0;\n @%p5 bra look; // HERE\nmeet:\n bar.sync 0;\n"
   "", "nobody can go on"},
};

static void run(const Case *c, const char *options) {
  static char text[8000];
  unsigned zero[64] = {0};
  SimCase s;
  kilnsim_finding found;
  sprintf(text, "%s%s  ret;\nwrong:\n  trap; // WRONG\n}\n", HEAD, c->body);
  case_open(&s, options, text);
  DrvPtr x = device_copy(zero, sizeof zero), y = device_copy(zero, sizeof zero);
  unsigned code = case_launch(&s, 1, 64, 0, (void *[]){&x, &y});
  if (!c->kind && code) fail_msg("%s: %s: %s", options, c->body, last_message());
  if (c->kind) {
    if (code != DRV_LAUNCH_FAILED) fail_msg("%s: %s: not found (%u)", options, c->body, code);
    OK(kilnsim_report(s.ordinal, &found));
    int here = found.ptx_line == line_of(text, "// HERE") || (strstr(text, "// OR") && found.ptx_line == line_of(text, "// OR"));
    if (strcmp(found.kind, c->kind) || !here || !strstr(found.text, c->says))
      fail_msg("%s: %s: %s line %d: %s", options, c->body, found.kind, found.ptx_line, found.text);
  }
  case_close(&s);
}

static void test_cases(void **state) {
  (void)state;
  static const char *const options[] = {"sm_80,limit=100000", "sm_80,limit=100000,seed=3,level=base", "sm_89,limit=100000,seed=8"};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    for (int o = 0; o < 3; o++) run(&cases[i], options[o]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
