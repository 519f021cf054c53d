/* test_sim_calls.c - device functions on the simulator: arguments and results, recursion, indirect calls, the stack, jump tables,
 * variables that hold addresses, the output of vprintf, and what is refused. */
#include "sim_case.h"
#include "comma_locale.h"
#include "alloc.h"
#include <stdbool.h>

#define STORE "  mad.wide.u32 %rd9, %r9, 4, %rd8;\n  st.global.b32 [%rd9], "
#define ENTRY                                                                                                                            \
  ".visible .entry k(.param .u64 out, .param .u32 n)\n{\n  .reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %rd<16>;\n"    \
  "  ld.param.u64 %rd8, [out];\n  ld.param.u32 %r8, [n];\n  mov.u32 %r9, %tid.x;\n"

static void run(const char *ptx, int n, int block, uint32_t *out, int words) {
  SimCase c;
  case_open(&c, "sm_80,seed=1", ptx);
  DrvPtr d = device_copy(NULL, 4 * (size_t)words);
  OK(cuMemsetD8_v2(d, 0, 4 * (size_t)words));
  OK(case_launch(&c, 1, (unsigned)block, 0, (void *[]){&d, &n}));
  OK(cuMemcpyDtoH_v2(out, d, 4 * (size_t)words));
  case_close(&c);
}

/* fib by two calls of itself: lanes go to different depths */
static const char recursive[] = PTX_HEAD
  ".func (.param .b32 r) fib(.param .b32 n);\n"
  ENTRY
  "  {\n  .param .b32 a;\n  .param .b32 b;\n  st.param.b32 [a], %r9;\n  call.uni (b), fib, (a);\n  ld.param.b32 %r1, [b];\n  }\n"
  STORE "%r1;\n  ret;\n}\n"
  ".func (.param .b32 r) fib(.param .b32 n)\n{\n  .reg .pred %p; .reg .b32 %r<6>;\n"
  "  ld.param.u32 %r0, [n];\n  mov.u32 %r5, %r0;\n  setp.lt.s32 %p, %r0, 2;\n  @%p bra done;\n"
  "  sub.s32 %r1, %r0, 1;\n  sub.s32 %r2, %r0, 2;\n"
  "  call (%r3), fib, (%r1);\n  call (%r4), fib, (%r2);\n  add.s32 %r5, %r3, %r4;\n"
  "done:\n  st.param.b32 [r], %r5;\n  ret;\n}\n";

static void test_recursion(void **state) {
  uint32_t out[40];
  (void)state;
  run(recursive, 0, 13, out, 40);
  uint32_t a = 0, b = 1;
  for (int i = 0; i < 13; i++) {
    assert_int_equal(out[i], a);
    uint32_t t = a + b;
    a = b, b = t;
  }
  assert_int_equal(out[13], 0);
}

/* each lane its own function of a table in memory; one of them ends the thread, a guard keeps lanes from calling */
static const char indirect[] = PTX_HEAD
  ".func (.param .b64 r) twice(.param .b64 x)\n{\n  .reg .b64 %d;\n  ld.param.b64 %d, [x];\n  add.s64 %d, %d, %d;\n  st.param.b64 [r], %d;\n  ret;\n}\n"
  ".func (.param .b64 r) square(.param .b64 x)\n{\n  .reg .b64 %d;\n  ld.param.b64 %d, [x];\n  mul.lo.s64 %d, %d, %d;\n  st.param.b64 [r], %d;\n}\n"
  ".func (.param .b64 r) leave(.param .b64 x)\n{\n  exit;\n}\n"
  ".global .align 8 .u64 table[3] = {twice, square, leave};\n"
  ".global .align 8 .u64 where = generic(table)+8;\n"
  ENTRY
  "  rem.u32 %r1, %r9, 3;\n  ld.global.u64 %rd1, [where];\n  mul.wide.u32 %rd2, %r1, 8;\n  add.s64 %rd1, %rd1, %rd2;\n  ld.u64 %rd3, [%rd1+-8];\n"
  "  cvt.u64.u32 %rd4, %r9;\n  mov.u64 %rd5, 1000;\n  setp.ne.s32 %p1, %r9, 4;\n"
  "  proto : .callprototype (.param .b64 _) _ (.param .b64 _);\n"
  "  @%p1 call (%rd5), %rd3, (%rd4), proto;\n"
  "  cvt.u32.u64 %r2, %rd5;\n  add.s32 %r2, %r2, 1;\n"
  STORE "%r2;\n  ret;\n}\n";

static void test_indirect(void **state) {
  uint32_t out[32];
  (void)state;
  run(indirect, 0, 32, out, 32);
  for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[i], i == 4 ? 1001 : i % 3 == 0 ? 2 * i + 1 : i % 3 == 1 ? i * i + 1 : 0);
}

/* a pointer to the caller's array, through a generic address; 16-bit and vector arguments; an array of the callee's own */
static const char stack[] = PTX_HEAD
  ".func (.param .b32 r) sum(.param .b64 p, .param .b16 n)\n{\n"
  "  .reg .pred %q; .reg .b16 %h; .reg .b32 %r<6>; .reg .b64 %d<6>;\n  .local .align 16 .b8 own[64];\n"
  "  ld.param.b64 %d1, [p];\n  ld.param.u16 %r1, [n];\n  mov.b32 %r2, 0;\n  mov.u64 %d2, own;\n  cvta.local.u64 %d3, %d2;\n"
  "loop:\n  ld.u32 %r3, [%d1];\n  st.local.u32 [%d2], %r3;\n  ld.u32 %r4, [%d3];\n  add.s32 %r2, %r2, %r4;\n"
  "  add.s64 %d1, %d1, 4;\n  add.s64 %d2, %d2, 4;\n  add.s64 %d3, %d3, 4;\n  sub.s32 %r1, %r1, 1;\n  setp.gt.s32 %q, %r1, 0;\n  @%q bra loop;\n"
  "  st.param.b32 [r], %r2;\n  ret;\n}\n"
  ENTRY
  "  .local .align 16 .b8 array[48];\n  mov.u64 %rd1, array;\n  cvta.local.u64 %rd2, %rd1;\n  mov.b32 %r1, 0;\n"
  "fill:\n  mul.lo.s32 %r2, %r1, %r9;\n  st.local.u32 [%rd1], %r2;\n  add.s64 %rd1, %rd1, 4;\n  add.s32 %r1, %r1, 1;\n"
  "  setp.lt.s32 %p1, %r1, 12;\n  @%p1 bra fill;\n"
  "  cvt.u16.u32 %h1, %r8;\n"
  "  {\n  .param .align 8 .b8 a[8];\n  .param .b16 b;\n  .param .b32 c;\n  mov.b64 {%r3, %r4}, %rd2;\n  st.param.v2.b32 [a], {%r3, %r4};\n"
  "  st.param.b16 [b], %h1;\n  call (c), sum, (a, b);\n  ld.param.b32 %r5, [c];\n  }\n"
  STORE "%r5;\n  ret;\n}\n";

static void test_stack(void **state) {
  uint32_t out[64];
  (void)state;
  run(stack, 12, 64, out, 64);
  for (uint32_t i = 0; i < 64; i++) assert_int_equal(out[i], 66 * i);
  SimCase c; /* one element further: beyond the caller's array lies nothing */
  int n = 13;
  kilnsim_finding f;
  case_open(&c, "sm_80", stack);
  DrvPtr d = device_copy(NULL, 256);
  assert_int_equal(case_launch(&c, 1, 64, 0, (void *[]){&d, &n}), DRV_ILLEGAL_ADDRESS);
  OK(kilnsim_report(c.ordinal, &f));
  assert_string_equal(f.kind, "out_of_bounds");
  assert_string_equal(f.space, "local");
  assert_int_equal(f.ptx_line, line_of(stack, "ld.u32 %r3"));
  case_close(&c);
}

static const char jumps[] = PTX_HEAD ENTRY
  "list: .branchtargets A, B, C;\n  and.b32 %r1, %r9, 3;\n  setp.lt.u32 %p1, %r1, 3;\n  mov.b32 %r2, 7;\n"
  "  @%p1 brx.idx %r1, list;\n  add.s32 %r2, %r2, 100;\n  bra end;\n"
  "A:\n  add.s32 %r2, %r2, 1;\nB:\n  add.s32 %r2, %r2, 10;\n  bra end;\nC:\n  mov.b32 %r2, %r9;\nend:\n"
  STORE "%r2;\n  ret;\n}\n";

static void test_jump_table(void **state) {
  uint32_t out[32];
  (void)state;
  run(jumps, 0, 32, out, 32);
  for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[i], i % 4 == 0 ? 18 : i % 4 == 1 ? 17 : i % 4 == 2 ? i : 107);
}

/* ---- vprintf ---- */

static char printed[4096];
static void keep_print(void *user, const char *text, size_t n) {
  (void)user;
  strncat(printed, text, n);
}

static const char printing[] = PTX_HEAD
  ".extern .func (.param .b32 r) vprintf(.param .b64 format, .param .b64 args);\n"
  ".global .align 1 .b8 text[32] = {116, 37, 100, 32, 37, 53, 46, 49, 102, 32, 37, 115, 32, 37, 108, 108, 120, 37, 37, 10};\n" /* t%d %5.1f %s %llx%%\n */
  ".global .align 1 .b8 word[4] = {97, 98, 0};\n"
  ENTRY
  "  .local .align 8 .b8 args[32];\n  mov.u64 %rd1, args;\n  mov.u32 %r1, %ctaid.x;\n  mad.lo.s32 %r2, %r1, 10, %r9;\n"
  "  st.local.u32 [%rd1], %r2;\n  mov.b64 %rd2, 0d4004000000000000;\n  st.local.b64 [%rd1+8], %rd2;\n"
  "  mov.u64 %rd3, word;\n  cvta.global.u64 %rd3, %rd3;\n  st.local.b64 [%rd1+16], %rd3;\n  mov.b64 %rd4, 0x123456789ab;\n"
  "  st.local.b64 [%rd1+24], %rd4;\n  cvta.local.u64 %rd5, %rd1;\n  mov.u64 %rd6, text;\n  cvta.global.u64 %rd6, %rd6;\n"
  "  call (%r3), vprintf, (%rd6, %rd5);\n  ret;\n}\n";

static void test_print(void **state) {
  SimCase c;
  int n = 0;
  char want[4096] = "";
  (void)state;
  printed[0] = 0;
  kilnsim_print(keep_print, NULL);
  case_open(&c, "sm_80", printing);
  DrvPtr d = device_copy(NULL, 16);
  OK(case_launch(&c, 3, 2, 0, (void *[]){&d, &n}));
  assert_string_equal(printed, ""); /* nothing before a call that synchronises */
  OK(cuCtxSynchronize());
  for (int i = 0; i < 6; i++) sprintf(want + strlen(want), "t%d   2.5 ab 123456789ab%%\n", i / 2 * 10 + i % 2);
  assert_string_equal(printed, want);
  OK(cuCtxSynchronize());
  assert_string_equal(printed, want);
  case_close(&c);
  kilnsim_print(NULL, NULL);
}

/* A program whose locale writes 1,5 gets what a GPU prints. */
static void test_print_with_commas(void **state) {
  if (!comma_locale()) skip();
  test_print(state);
  setlocale(LC_ALL, "C");
}

/* ---- assertions, the heap ---- */

static const char heap[] = PTX_HEAD
  ".extern .func (.param .b64 r) malloc(.param .b64 n);\n.extern .func free(.param .b64 p);\n"
  ENTRY
  "  cvt.u64.u32 %rd1, %r8;\n  call (%rd2), malloc, (%rd1);\n  setp.eq.s64 %p1, %rd2, 0;\n  mov.b32 %r1, 0;\n  @%p1 bra end;\n"
  "  st.u32 [%rd2], %r9;\n  ld.u32 %r1, [%rd2];\n  add.s32 %r1, %r1, 1;\n  call free, (%rd2);\nend:\n"
  STORE "%r1;\n  ret;\n}\n";

/* Two warps take and give back by turns: each block begins anew, whoever had it before. */
static const char heap_again[] = PTX_HEAD
  ".extern .func (.param .b64 r) malloc(.param .b64 n);\n.extern .func free(.param .b64 p);\n"
  ENTRY
  "  mov.b64 %rd1, 40;\n  mov.b32 %r1, 0;\nagain:\n  call (%rd2), malloc, (%rd1);\n  setp.gt.u32 %p1, %r8, 100;\n"
  "  @!%p1 st.u32 [%rd2+4], %r9;\n  ld.u32 %r2, [%rd2+4];\n  call free, (%rd2);\n  add.s32 %r1, %r1, 1;\n  setp.lt.u32 %p1, %r1, 3;\n"
  "  @%p1 bra again;\n" STORE "%r2;\n  ret;\n}\n";

/* A block's end is written over: with 0, as with what looks like a size. */
static const char heap_overrun[] = PTX_HEAD
  ".extern .func (.param .b64 r) malloc(.param .b64 n);\n.extern .func free(.param .b64 p);\n"
  ENTRY
  "  mov.b64 %rd1, 16;\n  setp.ne.u32 %p1, %r9, 0;\n  @%p1 bra end;\n  call (%rd2), malloc, (%rd1);\n  st.u32 [%rd2+16], %r8;\n"
  "  call (%rd3), malloc, (%rd1);\n  call free, (%rd3);\nend:\n  ret;\n}\n";

static void test_heap_books(void **state) {
  static const int over[] = {0, 24, 16 << 20};
  uint32_t out[64];
  int n = 1;
  (void)state;
  run(heap_again, n, 64, out, 64);
  for (uint32_t i = 0; i < 64; i++) assert_int_equal(out[i], i);
  SimCase c;
  kilnsim_finding f;
  case_open(&c, "sm_80", heap_again); /* what was there before is not: nobody has written it */
  DrvPtr d = device_copy(NULL, 256);
  n = 101;
  assert_int_equal(case_launch(&c, 1, 32, 0, (void *[]){&d, &n}), DRV_LAUNCH_FAILED);
  OK(kilnsim_report(c.ordinal, &f));
  assert_string_equal(f.kind, "uninitialised");
  case_close(&c);
  for (int i = 0; i < 3; i++) {
    case_open(&c, "sm_80", heap_overrun);
    n = over[i];
    assert_int_equal(case_launch(&c, 1, 32, 0, (void *[]){&d, &n}), DRV_ILLEGAL_ADDRESS);
    assert_non_null(strstr(last_message(), "heap of malloc overwritten"));
    case_close(&c);
  }
}

static void test_heap(void **state) {
  uint32_t out[32];
  (void)state;
  run(heap, 40, 32, out, 32);
  for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[i], i + 1);
  run(heap, 1 << 24, 32, out, 32); /* more than there is */
  for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[i], 0);
}

static const char asserting[] = PTX_HEAD
  ".extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n"
  ".global .align 1 .b8 text[8] = {120, 62, 48};\n.global .align 1 .b8 file[8] = {97, 46, 99, 117};\n.global .align 1 .b8 name[4] = {102};\n"
  ENTRY
  "  mov.u64 %rd1, text;\n  mov.u64 %rd2, file;\n  mov.u64 %rd3, name;\n  setp.eq.u32 %p1, %r9, 5;\n  mov.b64 %rd4, 1;\n  mov.b32 %r1, 17;\n"
  "  @%p1 call __assertfail, (%rd1, %rd2, %r1, %rd3, %rd4);\n  ret;\n}\n";

static void test_assert(void **state) {
  SimCase c;
  int n = 0;
  kilnsim_finding f;
  (void)state;
  case_open(&c, "sm_80", asserting);
  DrvPtr d = device_copy(NULL, 16);
  assert_int_equal(case_launch(&c, 1, 32, 0, (void *[]){&d, &n}), DRV_ASSERT);
  OK(kilnsim_report(c.ordinal, &f));
  assert_string_equal(f.kind, "assert");
  assert_int_equal(f.lane, 5);
  assert_non_null(strstr(f.text, "a.cu:17: f: assertion `x>0' failed"));
  case_close(&c);
}

/* ---- what is refused ---- */

static const char endless[] = PTX_HEAD
  ".func down(.param .b32 x)\n{\n  .reg .b32 %r;\n  ld.param.b32 %r, [x];\n  call down, (%r);\n  ret;\n}\n"
  ENTRY "  call down, (%r9);\n  ret;\n}\n";
static const char no_function[] = PTX_HEAD ENTRY "  mov.b64 %rd1, 64;\n  call %rd1, (%r9);\n  ret;\n}\n";
static const char other_shape[] = PTX_HEAD
  ".func f(.param .b64 x)\n{\n  ret;\n}\n" ENTRY "  mov.u64 %rd1, f;\n  call %rd1, (%r9);\n  ret;\n}\n";
static const char beyond[] = PTX_HEAD ENTRY "list: .branchtargets A;\n  brx.idx %r9, list;\nA:\n  ret;\n}\n";

static void test_faults(void **state) {
  static const struct { const char *ptx, *kind; unsigned code; } cases[] = {
    {endless, "stack", DRV_LAUNCH_FAILED}, {no_function, "call", DRV_ILLEGAL_ADDRESS}, {other_shape, "call", DRV_LAUNCH_FAILED},
    {beyond, "call", DRV_LAUNCH_FAILED}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    SimCase c;
    int n = 0;
    kilnsim_finding f;
    case_open(&c, "sm_80", cases[i].ptx);
    DrvPtr d = device_copy(NULL, 16);
    assert_int_equal(case_launch(&c, 1, 32, 0, (void *[]){&d, &n}), cases[i].code);
    OK(kilnsim_report(c.ordinal, &f));
    assert_string_equal(f.kind, cases[i].kind);
    case_close(&c);
  }
}

static void test_refused(void **state) {
  static const struct { const char *text, *says; } cases[] = {
    {".func f(.param .b32 x);\n" ENTRY "  call f, (%r9);\n  ret;\n}\n", "the function 'f' is declared and nowhere defined"},
    {".func f(.param .b32 x)\n{\n ret;\n}\n" ENTRY "  call f, (%rd8);\n  ret;\n}\n", "another size"},
    {".func f(.param .b32 x)\n{\n ret;\n}\n" ENTRY "  call f;\n  ret;\n}\n", "has 1 parameters and 0 results, the call has 0 and 0"},
    {".func f(.param .b32 x);\n.func f(.param .b64 x)\n{\n ret;\n}\n", "declared before with other parameters"},
    {".func f()\n{\n ret;\n}\n.func f()\n{\n ret;\n}\n", "declared twice"},
    {ENTRY "  call k, (%r9);\n  ret;\n}\n", "an entry cannot be called"},
    {ENTRY "  brx.idx %r9, list;\n  ret;\n}\n", "no label 'list'"},
    {ENTRY "list: .branchtargets A;\n  brx.idx %r9, list;\n  ret;\n}\n", "no label 'A'"},
    {".global .u64 x = nobody;\n", "the name of an array or function"},
    {".func f(.reg .b32 x)\n{\n ret;\n}\n", "as .param, not as .reg"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[2048];
    SimCase c;
    snprintf(text, sizeof text, "%s%s", PTX_HEAD, cases[i].text);
    assert_int_equal(case_load(&c, "sm_80", text), DRV_INVALID_PTX);
    if (!strstr(last_message(), cases[i].says)) fail_msg("%s: %s", cases[i].says, last_message());
    case_close(&c);
  }
}

/* ---- every allocation fails in turn ---- */

static int countdown;
static void *failing_memory(void *user, void *p, size_t old_bytes, size_t new_bytes) {
  (void)user, (void)old_bytes;
  if (!new_bytes) {
    free(p);
    return NULL;
  }
  return countdown && --countdown == 0 ? NULL : realloc(p, new_bytes);
}

static void test_no_memory(void **state) {
  static const char *const texts[] = {recursive, indirect, printing, jumps};
  (void)state;
  kilnsim_print(keep_print, NULL);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    SimCase c;
    int n = 40, failed = 0;
    case_open(&c, "sm_80,cores=1", texts[i]);
    DrvPtr d = device_copy(NULL, 256);
    OK(cuModuleUnload(c.module));
    for (int k = 1; k < 2000; k += k < 60 ? 1 : 9) {
      printed[0] = 0;
      countdown = k;
      unsigned code = cuModuleLoadDataEx(&c.module, texts[i], 0, NULL, NULL);
      if (!code) {
        code = case_launch(&c, 1, 32, 0, (void *[]){&d, &n});
        OK(cuModuleUnload(c.module));
      }
      bool reached = countdown == 0;
      countdown = 0;
      cuCtxSynchronize();
      if (code && code != DRV_OUT_OF_MEMORY) fail_msg("text %zu, allocation %d: %u: %s", i, k, code, last_message());
      failed += code != 0;
      if (!reached) break;
    }
    assert_true(failed > 20);
    c.module = NULL;
    case_close(&c);
  }
  kilnsim_print(NULL, NULL);
}

int main(void) {
  kiln_mem_hook(failing_memory, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_recursion), cmocka_unit_test(test_indirect), cmocka_unit_test(test_stack),
                                     cmocka_unit_test(test_jump_table), cmocka_unit_test(test_print), cmocka_unit_test(test_print_with_commas),
                                     cmocka_unit_test(test_heap),
                                     cmocka_unit_test(test_heap_books),
                                     cmocka_unit_test(test_assert), cmocka_unit_test(test_faults), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
