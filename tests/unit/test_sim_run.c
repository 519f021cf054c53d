/* test_sim_run.c - kernels through the simulated driver: results, launch paths, divergence, tensor cores, asynchronous copies. */
#include "sim_case.h"
#include <math.h>

/* sums of rows of n floats, a warp per row */
static const char row_sum[] = PTX_HEAD
  ".visible .entry k(.param .u64 x, .param .u64 y, .param .u32 n)\n"
  "{\n"
  "  .reg .pred %p<3>; .reg .b32 %r<10>; .reg .b64 %rd<10>; .reg .f32 %f<10>;\n"
  "  ld.param.b64 %rd1, [x];\n  ld.param.b64 %rd2, [y];\n  ld.param.b32 %r1, [n];\n"
  "  mov.u32 %r2, %tid.x;\n  mov.u32 %r3, %ctaid.x;\n"
  "  mul.lo.s32 %r4, %r3, %r1;\n"
  "  mov.f32 %f1, 0f00000000;\n"
  "  mov.b32 %r5, %r2;\n"
  "loop:\n"
  "  setp.ge.s32 %p1, %r5, %r1;\n"
  "  @%p1 bra done;\n"
  "  add.s32 %r6, %r4, %r5;\n"
  "  mul.wide.s32 %rd3, %r6, 4;\n"
  "  add.s64 %rd4, %rd1, %rd3;\n"
  "  ld.global.f32 %f2, [%rd4];\n"
  "  add.rn.f32 %f1, %f1, %f2;\n"
  "  add.s32 %r5, %r5, 32;\n"
  "  bra loop;\n"
  "done:\n"
  "  shfl.sync.bfly.b32 %f2, %f1, 16, 31, -1;\n  add.rn.f32 %f1, %f1, %f2;\n"
  "  shfl.sync.bfly.b32 %f2, %f1, 8, 31, -1;\n  add.rn.f32 %f1, %f1, %f2;\n"
  "  shfl.sync.bfly.b32 %f2, %f1, 4, 31, -1;\n  add.rn.f32 %f1, %f1, %f2;\n"
  "  shfl.sync.bfly.b32 %f2, %f1, 2, 31, -1;\n  add.rn.f32 %f1, %f1, %f2;\n"
  "  shfl.sync.bfly.b32 %f2, %f1, 1, 31, -1;\n  add.rn.f32 %f1, %f1, %f2;\n"
  "  setp.ne.s32 %p2, %r2, 0;\n"
  "  mul.wide.s32 %rd3, %r3, 4;\n  add.s64 %rd4, %rd2, %rd3;\n"
  "  @!%p2 st.global.f32 [%rd4], %f1;\n"
  "  ret;\n"
  "}\n";

static void run_row_sum(const char *options) {
  enum { ROWS = 9, N = 75 };
  static float x[ROWS * N], y[ROWS];
  SimCase c;
  case_open(&c, options, row_sum);
  for (int i = 0; i < ROWS * N; i++) x[i] = (float)(i % 17) - 5;
  DrvPtr dx = device_copy(x, sizeof x), dy = device_copy(NULL, sizeof y);
  int n = N;
  OK(case_launch(&c, ROWS, 32, 0, (void *[]){&dx, &dy, &n}));
  OK(cuMemcpyDtoH_v2(y, dy, sizeof y));
  for (int r = 0; r < ROWS; r++) {
    float s = 0;
    for (int i = 0; i < N; i++) s += x[r * N + i];
    assert_true(s == y[r]);
  }
  kilnsim_counters count;
  OK(kilnsim_count(c.ordinal, &count));
  assert_int_equal(count.ctas, ROWS);
  case_close(&c);
}

static void test_row_sum(void **state) {
  (void)state;
  run_row_sum("sm_80");
  run_row_sum("sm_90a,checks=off");
  run_row_sum("sm_89,cores=1,seed=5");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_row_sum)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
