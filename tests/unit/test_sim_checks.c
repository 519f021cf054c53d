/* test_sim_checks.c - small kernels with one planted fault each: the simulator must name its kind and its line. The line carries the
 * mark "// HERE" ("// OR": the other side of a race, where the order of the warps decides who comes second); a twin without the
 * fault, where there is one, must pass. */
#include "sim_case.h"

typedef struct Fault {
  const char *kind, *space;
  const char *body;   /* parameters: x (64 floats, written), y (64 floats, not written), n = 64; 64 threads, 1024 bytes of dynamic shared memory */
  unsigned code;
  const char *says;   /* a part of the message */
} Fault;

#define HEAD                                                                                                           \
  PTX_HEAD ".file 1 \"ops/planted.lua\"\n.extern .shared .align 16 .b8 dyn[];\n.const .b32 table[2] = {1, 2};\n"       \
  ".visible .entry k(.param .u64 x, .param .u64 y, .param .u32 n)\n{\n"                                                \
  "  .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .f32 %f<20>;\n"                      \
  "  ld.param.b64 %rd1, [x];\n  ld.param.b64 %rd2, [y];\n  ld.param.b32 %r1, [n];\n  mov.u32 %r2, %tid.x;\n"           \
  "  mul.wide.u32 %rd3, %r2, 4;\n  add.s64 %rd4, %rd1, %rd3;\n  add.s64 %rd5, %rd2, %rd3;\n"                           \
  "  mov.u32 %r3, dyn;\n  shl.b32 %r4, %r2, 2;\n  add.s32 %r5, %r3, %r4;\n  shr.u32 %r6, %r2, 5;\n"                    \
  "  xor.b32 %r7, %r4, 128;\n  add.s32 %r8, %r3, %r7;\n" /* r8: the same lane's cell of the other warp */              \
  "  setp.eq.s32 %p1, %r6, 0;\n  setp.lt.s32 %p2, %r2, 16;\n  .loc 1 77 1\n"

static const Fault faults[] = {
  /* ---- global memory ---- */
  {"out_of_bounds", "global", "ld.global.f32 %f1, [%rd4+4]; // HERE\n", DRV_ILLEGAL_ADDRESS, "offset 256 of allocation"},
  {"out_of_bounds", "global", "mov.b64 %rd6, 0;\n ld.global.f32 %f1, [%rd6]; // HERE\n", DRV_ILLEGAL_ADDRESS, "nothing is allocated"},
  {"misaligned", "global", "ld.global.v2.f32 {%f1, %f2}, [%rd4]; // HERE\n", DRV_MISALIGNED_ADDRESS, "multiple of 8"},
  {"misaligned", "global", "st.global.b32 [%rd5+2], %r1; // HERE\n", DRV_MISALIGNED_ADDRESS, "multiple of 4"},
  {"uninitialised", "global", "ld.global.f32 %f1, [%rd5]; // HERE\n", DRV_LAUNCH_FAILED, "nobody has written"},
  {"uninitialised", "global", "@%p2 st.global.b32 [%rd5], %r1;\n ld.global.f32 %f1, [%rd5]; // HERE\n", DRV_LAUNCH_FAILED, NULL},
  {"out_of_bounds", "const", "mov.u64 %rd6, table;\n @%p2 st.b32 [%rd6], %r1; // HERE\n", DRV_ILLEGAL_ADDRESS, "only read"},
  {"out_of_bounds", "const", "mov.u64 %rd6, table;\n red.add.u32 [%rd6+4], %r1; // HERE\n", DRV_ILLEGAL_ADDRESS, "only read"},
  /* ---- shared memory ---- */
  {"out_of_bounds", "shared", "st.shared.b32 [%r5+1020], %r1; // HERE\n", DRV_ILLEGAL_ADDRESS, "the block has"},
  {"misaligned", "shared", "st.shared.b32 [%r5+1], %r1; // HERE\n", DRV_MISALIGNED_ADDRESS, "multiple of 4"},
  {"uninitialised", "shared", "ld.shared.b32 %r9, [%r5]; // HERE\n", DRV_LAUNCH_FAILED, "nobody has written"},
  {"race", "shared", "st.shared.b32 [%r5], %r1; // OR\n ld.shared.b32 %r9, [%r8]; // HERE\n", DRV_LAUNCH_FAILED, NULL},
  {"race", "shared", "st.shared.b32 [%r5], %r1;\n bar.sync 0;\n ld.shared.b32 %r9, [%r8]; // OR\n st.shared.b32 [%r5], %r1; // HERE\n",
   DRV_LAUNCH_FAILED, NULL},
  {"race", "shared", "st.shared.b32 [%r3], %r1; // HERE\n", DRV_LAUNCH_FAILED, "has written"},
  {"race", "shared", "cvt.u16.u32 %h1, %r2;\n shl.b32 %r9, %r6, 1;\n add.s32 %r10, %r3, %r9;\n st.shared.b16 [%r10], %h1; // OR\n"
   " st.shared.b16 [%r3], %h1; // HERE\n", DRV_LAUNCH_FAILED, NULL},
  /* ---- registers ---- */
  {"uninitialised", "register", "add.s32 %r9, %r10, 1; // HERE\n", DRV_LAUNCH_FAILED, "not written"},
  {"uninitialised", "register", "@%p2 mov.b32 %r9, 1;\n add.s32 %r10, %r9, 1; // HERE\n", DRV_LAUNCH_FAILED, "not written"},
  {"uninitialised", "register", "@%p5 mov.b32 %r9, 1; // HERE\n", DRV_LAUNCH_FAILED, "not written"},
  /* ---- barriers ---- */
  {"barrier", "", "@%p2 bra skip;\n bar.sync 0; // HERE\nskip:\n", DRV_LAUNCH_FAILED, "elsewhere"},
  {"barrier", "", "@%p1 bra skip;\n bar.sync 0, 64; // HERE\nskip:\n", DRV_LAUNCH_FAILED, "have ended"},
  {"race", "shared", "@!%p1 bra skip;\n st.shared.b32 [%r5], %r1;\n bra end;\nskip:\n bar.sync 0;\n ld.shared.b32 %r9, [%r8]; // HERE\nend:\n",
   DRV_LAUNCH_FAILED, NULL}, /* a warp that ends completes the barrier and hands nothing on */
  {"barrier", "", "@%p1 bra skip;\n bar.sync 1, 32;\n bar.sync 0, 64; // HERE\nskip:\n", DRV_LAUNCH_FAILED, "have ended"},
  {"barrier", "", "bar.sync 0, 33; // HERE\n", DRV_LAUNCH_FAILED, "multiple of 32"},
  {"barrier", "", "mov.b32 %r9, 0;\n bar.arrive 1, %r9; // HERE\n", DRV_LAUNCH_FAILED, "not 0"},
  {"barrier", "", "bar.sync 17; // HERE\n", DRV_LAUNCH_FAILED, "there are 16"},
  {"barrier", "", "bar.sync 3, 96; // HERE\n", DRV_LAUNCH_FAILED, "the block has 2 warps"},
  {"deadlock", "", "@%p1 bra one;\n bar.sync 2; // HERE\n bra end;\none:\n bar.sync 1; // OR\nend:\n", DRV_LAUNCH_FAILED, "at barrier"},
  /* ---- collectives ---- */
  {"collective", "", "@%p2 bra skip;\n shfl.sync.bfly.b32 %r9, %r2, 1, 31, -1; // HERE\n bra end;\nskip:\n bar.warp.sync -1; // OR\nend:\n",
   DRV_LAUNCH_FAILED, "do not execute it"},
  {"collective", "", "shfl.sync.bfly.b32 %r9, %r2, 1, 31, 65535; // HERE\n", DRV_LAUNCH_FAILED, "leaves out"},
  {"collective", "", "st.shared.b32 [%r5], %r1;\n bar.sync 0;\n @%p2 bra skip;\n ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r9}, [%r3]; "
    "// HERE\nskip:\n", DRV_LAUNCH_FAILED, "all 32 lanes"},
  /* ---- asynchronous copies ---- */
  {"pending_copy", "shared", "cp.async.ca.shared.global [%r5], [%rd4], 4;\n cp.async.commit_group;\n ld.shared.b32 %r9, [%r5]; // HERE\n"
   " cp.async.wait_all;\n", DRV_LAUNCH_FAILED, "not been waited for"},
  {"pending_copy", "shared", "cp.async.ca.shared.global [%r5], [%rd4], 4;\n cp.async.commit_group;\n"
   " cp.async.ca.shared.global [%r5+256], [%rd4], 4;\n cp.async.commit_group;\n cp.async.wait_group 1;\n ld.shared.b32 %r9, [%r5];\n"
   " ld.shared.b32 %r9, [%r5+256]; // HERE\n cp.async.wait_all;\n", DRV_LAUNCH_FAILED, "not been waited for"},
  {"pending_copy", "shared", "cp.async.ca.shared.global [%r5], [%rd4], 4;\n st.shared.b32 [%r5], %r1; // HERE\n cp.async.wait_all;\n",
   DRV_LAUNCH_FAILED, "overwrites"},
  {"race", "shared", "cp.async.ca.shared.global [%r5], [%rd4], 4; // OR\n cp.async.wait_all;\n ld.shared.b32 %r9, [%r8]; // HERE\n",
   DRV_LAUNCH_FAILED, NULL},
  {"race", "shared", "st.shared.b32 [%r5], %r1;\n bar.sync 0;\n ld.shared.b32 %r9, [%r8]; // OR\n"
   " cp.async.ca.shared.global [%r5], [%rd4], 4; // HERE\n cp.async.wait_all;\n", DRV_LAUNCH_FAILED, NULL},
  {"unwaited_copy", "shared", "cp.async.ca.shared.global [%r5], [%rd4], 4; // HERE\n cp.async.commit_group;\n", DRV_LAUNCH_FAILED, "in flight"},
  {"out_of_bounds", "global", "cp.async.ca.shared.global [%r5], [%rd4+4], 4; // HERE\n cp.async.wait_all;\n", DRV_ILLEGAL_ADDRESS, "offset 256"},
  {"uninitialised", "global", "cp.async.ca.shared.global [%r5], [%rd5], 4; // HERE\n cp.async.wait_all;\n", DRV_LAUNCH_FAILED, "nobody has written"},
  {"misaligned", "global", "shl.b32 %r9, %r2, 3;\n add.s32 %r10, %r3, %r9;\n cp.async.ca.shared.global [%r10], [%rd4], 8; // HERE\n cp.async.wait_all;\n",
   DRV_MISALIGNED_ADDRESS, "multiple of 8"},
  /* ---- others ---- */
  {"trap", "", "trap; // HERE\n", DRV_LAUNCH_FAILED, "trap"},
  {"limit", "", "loop:\n bra loop; // HERE\n", DRV_LAUNCH_TIMEOUT, "limit"},
};

static void write_kernel(char *text, const char *body) { sprintf(text, "%s%s  ret;\n}\n", HEAD, body); }

static unsigned run_body(SimCase *c, const char *options, const char *text) {
  float x[64] = {0};
  unsigned n = 64;
  case_open(c, options, text);
  DrvPtr dx = device_copy(x, sizeof x), dy = device_copy(NULL, sizeof x);
  return case_launch(c, 1, 64, 1024, (void *[]){&dx, &dy, &n});
}

static int marked(const char *text, int line) {
  return line == line_of(text, "// HERE") || (strstr(text, "// OR") && line == line_of(text, "// OR"));
}

static void check_fault(const Fault *f, const char *options) {
  char text[4000];
  SimCase c;
  kilnsim_finding found;
  write_kernel(text, f->body);
  unsigned code = run_body(&c, options, text);
  if (code != f->code) fail_msg("%s: %s: code %u (%s)", options, f->body, code, last_message());
  OK(kilnsim_report(c.ordinal, &found));
  if (strcmp(f->kind, found.kind) || strcmp(found.space, f->space) || !marked(text, found.ptx_line) ||
      (f->says && !strstr(found.text, f->says)))
    fail_msg("%s: %s: kind %s space %s line %d: %s", options, f->body, found.kind, found.space, found.ptx_line, found.text);
  assert_string_equal(found.file, "ops/planted.lua");
  assert_int_equal(found.line, 77);
  assert_string_equal(found.entry, "k");
  assert_int_equal(cuCtxSynchronize(), f->code); /* the next synchronising call says so too, once */
  OK(cuCtxSynchronize());
  case_close(&c);
}

static void test_faults(void **state) {
  (void)state;
  static const char *const options[] = {"sm_80,policy=lazy,limit=100000", "sm_80,policy=eager,limit=100000,seed=4",
                                        "sm_89,policy=random,limit=100000,seed=11"};
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
    for (int o = 0; o < 3; o++)
      check_fault(&faults[i], options[o]);
}

/* Correct twins: nothing may be reported, whatever the policy and order. */
static const char *const clean[] = {
  "@%p1 bra skip;\n st.shared.b32 [%r5], %r1;\n bar.sync 0;\n ld.shared.b32 %r9, [%r5];\nskip:\n",     /* exited warps hold nobody up */
  "@%p2 ret;\n st.shared.b32 [%r5], %r1;\n bar.sync 0;\n xor.b32 %r10, %r5, 128;\n", /* nor do exited lanes */
  "st.shared.b32 [%r5], %r1;\n bar.sync 0;\n ld.shared.b32 %r9, [%r8];\n bar.sync 0;\n st.shared.b32 [%r5], %r9;\n",
  "st.shared.b32 [%r5], %r1;\n bar.sync 0, 64;\n ld.shared.b32 %r9, [%r8];\n bar.sync 1;\n st.shared.b32 [%r5], %r9;\n",
  "@%p2 mov.b32 %r9, 1;\n @%p2 add.s32 %r10, %r9, 1;\n",
  "mov.b32 %r9, 0;\n @%p2 mov.b32 %r9, 1;\n add.s32 %r10, %r9, 1;\n",
  "cp.async.ca.shared.global [%r5], [%rd4], 4;\n cp.async.commit_group;\n cp.async.wait_group 0;\n bar.sync 0;\n ld.shared.b32 %r9, [%r8];\n",
  "cp.async.ca.shared.global [%r5], [%rd4], 4;\n cp.async.commit_group;\n cp.async.ca.shared.global [%r5+256], [%rd4], 4;\n"
  " cp.async.commit_group;\n cp.async.wait_group 1;\n ld.shared.b32 %r9, [%r5];\n cp.async.wait_group 0;\n ld.shared.b32 %r9, [%r5+256];\n",
  "mov.b32 %r9, 0;\n mov.b64 %rd6, 0;\n shl.b32 %r11, %r2, 4;\n add.s32 %r12, %r3, %r11;\n"
  " cp.async.cg.shared.global [%r12], [%rd6], 16, %r9;\n cp.async.wait_all;\n ld.shared.b32 %r10, [%r12+12];\n",
  "@%p1 bra one;\n bar.arrive 1, 64;\n bra end;\none:\n bar.sync 1, 64;\nend:\n",
  "cvt.u16.u32 %h1, %r2;\n shl.b32 %r9, %r2, 1;\n add.s32 %r10, %r3, %r9;\n st.shared.b16 [%r10], %h1;\n ld.shared.b16 %h2, [%r10];\n",
  "st.global.b32 [%rd5], %r1;\n ld.global.b32 %r9, [%rd5];\n",
  "setp.eq.s32 %p3, %r2, 5;\n bar.red.popc.u32 %r9, 0, %p3;\n mul.lo.s32 %r9, %r9, 4;\n cvt.u64.u32 %rd6, %r9;\n add.s64 %rd7, %rd1, %rd6;\n"
  " sub.s64 %rd7, %rd7, 4;\n ld.global.b32 %r10, [%rd7];\n",
};

static void test_clean(void **state) {
  (void)state;
  static const char *const options[] = {"sm_80,policy=lazy,seed=1", "sm_80,policy=eager", "sm_89,policy=random,seed=21", "sm_90a,checks=off"};
  for (size_t i = 0; i < sizeof clean / sizeof clean[0]; i++)
    for (int o = 0; o < 4; o++) {
      char text[4000];
      SimCase c;
      write_kernel(text, clean[i]);
      unsigned code = run_body(&c, options[o], text);
      if (code) fail_msg("%s: %s: %s", options[o], clean[i], last_message());
      case_close(&c);
    }
}

/* Before the wait, lazy copies have not landed and eager ones have; without checks a reader sees the difference. */
static void test_policies(void **state) {
  (void)state;
  static const char body[] = "mov.b32 %r9, 5;\n st.shared.b32 [%r5], %r9;\n cp.async.ca.shared.global [%r5], [%rd4], 4;\n"
                             " ld.shared.b32 %r10, [%r5];\n st.global.b32 [%rd5], %r10;\n cp.async.wait_all;\n";
  char text[4000];
  write_kernel(text, body);
  for (int eager = 0; eager < 2; eager++) {
    unsigned x[64], y[64], n = 64;
    SimCase c;
    memset(x, 0, sizeof x);
    case_open(&c, eager ? "sm_80,checks=off,policy=eager" : "sm_80,checks=off,policy=lazy", text);
    DrvPtr dx = device_copy(x, sizeof x), dy = device_copy(NULL, sizeof x);
    OK(case_launch(&c, 1, 64, 1024, (void *[]){&dx, &dy, &n}));
    OK(cuMemcpyDtoH_v2(y, dy, sizeof y));
    assert_int_equal(y[3], eager ? 0 : 5);
    case_close(&c);
  }
}

static void test_use_after_free(void **state) {
  (void)state;
  char text[4000];
  SimCase c;
  unsigned n = 64;
  kilnsim_finding found;
  write_kernel(text, "ld.global.f32 %f1, [%rd4]; // HERE\n");
  case_open(&c, "sm_80", text);
  DrvPtr d = device_copy(NULL, 256);
  OK(cuMemFree_v2(d));
  assert_int_equal(case_launch(&c, 1, 64, 1024, (void *[]){&d, &d, &n}), DRV_ILLEGAL_ADDRESS);
  OK(kilnsim_report(c.ordinal, &found));
  assert_string_equal(found.kind, "use_after_free");
  assert_int_equal(found.ptx_line, line_of(text, "// HERE"));
  case_close(&c);
}

/* Several CTAs fail: the first is reported, whatever the number of host cores. */
static void test_first_cta(void **state) {
  (void)state;
  char text[4000];
  write_kernel(text, "mov.u32 %r9, %ctaid.x;\n setp.lt.s32 %p3, %r9, 37;\n @%p3 ret;\n trap; // HERE\n");
  static const char *const options[] = {"sm_80,cores=1", "sm_80,cores=4", "sm_80,cores=16"};
  for (int o = 0; o < 3; o++) {
    SimCase c;
    DrvPtr d = 0;
    unsigned n = 0;
    kilnsim_finding found;
    case_open(&c, options[o], text);
    assert_int_equal(case_launch(&c, 200, 64, 1024, (void *[]){&d, &d, &n}), DRV_LAUNCH_FAILED);
    OK(kilnsim_report(c.ordinal, &found));
    assert_int_equal(found.cta[0], 37);
    case_close(&c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults), cmocka_unit_test(test_clean), cmocka_unit_test(test_policies),
                                     cmocka_unit_test(test_use_after_free), cmocka_unit_test(test_first_cta)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
