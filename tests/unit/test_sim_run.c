/* test_sim_run.c - kernels through the simulated driver: results, launch paths, divergence, tensor cores, asynchronous copies. */
#include "sim_case.h"
#include "alloc.h"
#include <stdatomic.h>
#include <stdbool.h>
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
  kilnsim_counters before, after;
  OK(kilnsim_total(c.ordinal, &before));
  OK(case_launch(&c, ROWS, 32, 0, (void *[]){&dx, &dy, &n}));
  OK(kilnsim_total(c.ordinal, &after));
  assert_int_equal(after.ctas - before.ctas, ROWS);
  assert_int_equal(after.lane_instructions - before.lane_instructions, count.lane_instructions);
  assert_true(before.lane_instructions >= count.lane_instructions && after.seconds > before.seconds);
  case_close(&c);
}

static void test_row_sum(void **state) {
  (void)state;
  run_row_sum("sm_80");
  run_row_sum("sm_90a,checks=off");
  run_row_sum("sm_89,cores=1,seed=5");
}


/* ---- divergence: nested branches and a loop of a different length in each lane ---- */

static const char divergent[] = PTX_HEAD
  ".visible .entry k(.param .u64 y)\n{\n"
  "  .reg .pred %p<5>; .reg .b32 %r<10>; .reg .b64 %rd<10>;\n"
  "  ld.param.b64 %rd1, [y];\n  mov.u32 %r1, %tid.x;\n  mov.b32 %r2, 0;\n  mov.b32 %r3, 0;\n"
  "again:\n"
  "  and.b32 %r4, %r3, 1;\n  setp.eq.s32 %p1, %r4, 0;\n  @%p1 bra even;\n"
  "  add.s32 %r2, %r2, 100;\n  bra join;\n"
  "even:\n  add.s32 %r2, %r2, 1;\n  setp.gt.s32 %p2, %r1, 20;\n  @!%p2 bra join;\n  add.s32 %r2, %r2, 10000;\n"
  "join:\n  add.s32 %r3, %r3, 1;\n  setp.lt.s32 %p3, %r3, %r1;\n  @%p3 bra again;\n"
  "  mov.b32 %r5, %r2;\n  bar.warp.sync -1;\n" /* all lanes are together again */
  "  mul.wide.u32 %rd2, %r1, 4;\n  add.s64 %rd3, %rd1, %rd2;\n  st.global.b32 [%rd3], %r5;\n  ret;\n}\n";

static void test_divergence(void **state) {
  (void)state;
  int y[32];
  SimCase c;
  case_open(&c, "sm_80", divergent);
  DrvPtr dy = device_copy(NULL, sizeof y);
  OK(case_launch(&c, 1, 32, 0, (void *[]){&dy}));
  OK(cuMemcpyDtoH_v2(y, dy, sizeof y));
  for (int t = 0; t < 32; t++) {
    int want = 0, i = 0;
    do {
      want += i & 1 ? 100 : t > 20 ? 10001 : 1;
    } while (++i < t);
    assert_int_equal(y[t], want);
  }
  case_close(&c);
}

/* ---- tensor cores: one warp, m16n8k16, fragments loaded by ldmatrix from shared memory filled by cp.async ---- */

static const char mma[] = PTX_HEAD
  ".extern .shared .align 16 .b8 dyn[];\n"
  ".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 d)\n{\n"
  "  .reg .pred %p<3>; .reg .b32 %r<40>; .reg .b64 %rd<10>; .reg .f32 %f<10>;\n"
  "  ld.param.b64 %rd1, [a];\n  ld.param.b64 %rd2, [b];\n  ld.param.b64 %rd3, [d];\n"
  "  mov.u32 %r1, %tid.x;\n  mov.u32 %r2, dyn;\n"
  "  shl.b32 %r3, %r1, 4;\n  add.s32 %r4, %r2, %r3;\n  cvt.u64.u32 %rd4, %r3;\n  add.s64 %rd5, %rd1, %rd4;\n"
  "  cp.async.cg.shared.global [%r4], [%rd5], 16;\n" /* A: 16 rows of 16, 512 bytes */
  "  add.s64 %rd6, %rd2, %rd4;\n"
  "  setp.lt.s32 %p1, %r1, 16;\n"
  "  @%p1 cp.async.cg.shared.global [%r4+512], [%rd6], 16;\n" /* B: 8 columns of 16 k, 256 bytes */
  "  cp.async.commit_group;\n  cp.async.wait_group 0;\n  bar.sync 0;\n"
  "  and.b32 %r5, %r1, 15;\n  shl.b32 %r6, %r5, 5;\n  shr.u32 %r7, %r1, 4;\n  shl.b32 %r8, %r7, 4;\n"
  "  add.s32 %r9, %r6, %r8;\n  add.s32 %r10, %r2, %r9;\n"
  "  ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r11, %r12, %r13, %r14}, [%r10];\n"
  "  and.b32 %r15, %r1, 7;\n  shl.b32 %r16, %r15, 5;\n  shr.u32 %r17, %r1, 3;\n  and.b32 %r18, %r17, 1;\n  shl.b32 %r19, %r18, 4;\n"
  "  add.s32 %r20, %r16, %r19;\n  add.s32 %r21, %r2, %r20;\n"
  "  ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r22, %r23}, [%r21+512];\n"
  "  mov.f32 %f1, 0f3f800000;\n  mov.f32 %f2, %f1;\n  mov.f32 %f3, %f1;\n  mov.f32 %f4, %f1;\n"
  "  mma.sync.aligned.m16n8k16.row.col.f32.TYPE.TYPE.f32 {%f1,%f2,%f3,%f4}, {%r11,%r12,%r13,%r14}, {%r22,%r23}, {%f1,%f2,%f3,%f4};\n"
  "  shr.u32 %r24, %r1, 2;\n  and.b32 %r25, %r1, 3;\n  shl.b32 %r26, %r24, 5;\n  shl.b32 %r27, %r25, 3;\n  add.s32 %r28, %r26, %r27;\n"
  "  cvt.u64.u32 %rd7, %r28;\n  add.s64 %rd8, %rd3, %rd7;\n"
  "  st.global.v2.f32 [%rd8], {%f1, %f2};\n  st.global.v2.f32 [%rd8+256], {%f3, %f4};\n  ret;\n}\n";

static uint16_t to_16(float f, int bf16) { /* exact values only */
  uint32_t u;
  memcpy(&u, &f, 4);
  if (bf16) return (uint16_t)(u >> 16);
  return (uint16_t)(f == 0 ? 0 : (u >> 16 & 0x8000) | ((u >> 13 & 0x3ffff) - (112u << 10)));
}

static void run_mma(const char *options, int bf16) {
  char text[sizeof mma + 32];
  const char *from = mma;
  char *to = text;
  while (*from) {
    if (strncmp(from, "TYPE", 4) == 0) to += sprintf(to, "%s", bf16 ? "bf16" : "f16"), from += 4;
    else *to++ = *from++;
  }
  *to = 0;
  static uint16_t a[16 * 16], b[8 * 16];
  float fa[16 * 16], fb[8 * 16], d[16 * 8];
  for (int i = 0; i < 256; i++) a[i] = to_16(fa[i] = (float)(i * 7 % 23 - 11) * 0.25f, bf16);
  for (int i = 0; i < 128; i++) b[i] = to_16(fb[i] = (float)(i * 5 % 19 - 9) * 0.5f, bf16);
  SimCase c;
  case_open(&c, options, text);
  DrvPtr da = device_copy(a, sizeof a), db = device_copy(b, sizeof b), dd = device_copy(NULL, sizeof d);
  OK(case_launch(&c, 1, 32, 1024, (void *[]){&da, &db, &dd}));
  OK(cuMemcpyDtoH_v2(d, dd, sizeof d));
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 8; n++) {
      float want = 1;
      for (int k = 0; k < 16; k++) want += fa[m * 16 + k] * fb[n * 16 + k];
      assert_true(d[m * 8 + n] == want);
    }
  kilnsim_counters count;
  OK(kilnsim_count(c.ordinal, &count));
  assert_int_equal(count.tensor_macs, 16 * 8 * 16);
  case_close(&c);
}

static void test_mma(void **state) {
  (void)state;
  static const char *const options[] = {"sm_80,policy=lazy", "sm_80,policy=eager", "sm_89,policy=random,seed=3", "sm_90a,checks=off"};
  for (int i = 0; i < 4; i++) run_mma(options[i], 0), run_mma(options[i], 1);
}

/* ---- launch paths ---- */

static const char limits[] = PTX_HEAD
  ".extern .shared .align 16 .b8 dyn[];\n"
  ".visible .entry k(.param .u64 y) .maxntid 64, 1, 1\n{\n"
  "  .reg .b32 %r<4>; .reg .b64 %rd<4>;\n  .shared .align 4 .b8 fixed[100];\n"
  "  ld.param.b64 %rd1, [y];\n  mov.u32 %r1, dyn;\n  st.shared.b32 [%r1+60000], %r1;\n  ld.shared.b32 %r2, [%r1+60000];\n"
  "  st.global.b32 [%rd1], %r2;\n  ret;\n}\n";

static void test_limits(void **state) {
  (void)state;
  SimCase c;
  int value;
  unsigned y = 0;
  case_open(&c, "sm_80", limits);
  DrvFunction f;
  DrvPtr d = device_copy(NULL, 4);
  OK(cuModuleGetFunction(&f, c.module, "k"));
  assert_int_equal(cuModuleGetFunction(&f, c.module, "none"), DRV_NOT_FOUND);
  OK(cuFuncGetAttribute(&value, DRV_FUNC_SHARED_SIZE_BYTES, f));
  assert_int_equal(value, 112); /* 100 and the padding before the dynamic part */
  assert_int_equal(case_launch(&c, 1, 32, 65536, (void *[]){&d}), DRV_INVALID_VALUE);
  assert_int_equal(cuFuncSetAttribute(f, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1 << 20), DRV_INVALID_VALUE);
  OK(cuFuncSetAttribute(f, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65536));
  OK(case_launch(&c, 1, 1, 65536, (void *[]){&d}));
  OK(cuMemcpyDtoH_v2(&y, d, 4));
  assert_int_equal(y, 112);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, f, 64, 65536));
  assert_int_equal(value, 2);
  assert_int_equal(case_launch(&c, 1, 128, 65536, (void *[]){&d}), DRV_LAUNCH_OUT_OF_RESOURCES);
  assert_int_equal(case_launch(&c, 1, 2048, 65536, (void *[]){&d}), DRV_INVALID_VALUE);
  assert_int_equal(case_launch(&c, 0, 32, 65536, (void *[]){&d}), DRV_INVALID_VALUE);
  assert_int_equal(case_launch(&c, 1, 32, 65536, NULL), DRV_INVALID_VALUE);
  uint64_t buffer = d;
  size_t bytes = sizeof buffer;
  void *extra[] = {DRV_EXTRA_BUFFER, &buffer, DRV_EXTRA_BUFFER_SIZE, &bytes, DRV_EXTRA_END};
  OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 65536, NULL, NULL, extra));
  DrvLaunchConfig config = {1, 1, 1, 1, 1, 1, 65536, NULL, NULL, 0};
  OK(cuLaunchKernelEx(&config, f, (void *[]){&d}, NULL));
  DrvLaunchAttribute cluster = {.id = DRV_LAUNCH_CLUSTER_DIMENSION, .value.cluster = {2, 1, 1}};
  config.attributes = &cluster, config.count = 1;
  assert_int_equal(cuLaunchKernelEx(&config, f, (void *[]){&d}, NULL), DRV_INVALID_CLUSTER_SIZE);
  case_close(&c);
}

static void test_memory(void **state) {
  (void)state;
  SimCase c;
  unsigned char b[64] = {0};
  case_open(&c, "sm_80", PTX_HEAD);
  DrvPtr p = device_copy(NULL, 64), q = device_copy(NULL, 64);
  OK(cuMemsetD8_v2(p, 7, 64));
  OK(cuMemsetD32_v2(p + 8, 0x01020304, 2));
  OK(cuMemcpyDtoD_v2(q, p, 64));
  OK(cuMemcpyDtoH_v2(b, q, 64));
  assert_int_equal(b[7], 7);
  assert_int_equal(b[8], 4);
  assert_int_equal(b[15], 1);
  assert_int_equal(cuMemcpyDtoH_v2(b, p + 60, 8), DRV_INVALID_VALUE);
  assert_int_equal(cuMemFree_v2(p + 4), DRV_INVALID_VALUE);
  OK(cuMemFree_v2(p));
  assert_int_equal(cuMemFree_v2(p), DRV_INVALID_VALUE);
  assert_int_equal(cuMemcpyHtoD_v2(p, b, 4), DRV_INVALID_VALUE);
  unsigned type = 0;
  OK(cuPointerGetAttribute(&type, DRV_POINTER_MEMORY_TYPE, q + 5));
  assert_int_equal(type, DRV_MEMORYTYPE_DEVICE);
  assert_int_equal(cuPointerGetAttribute(&type, DRV_POINTER_MEMORY_TYPE, (DrvPtr)(uintptr_t)b), DRV_INVALID_VALUE);
  void *fn;
  unsigned found;
  OK(cuGetProcAddress_v2("cuMemAlloc", &fn, 12000, 0, &found));
  assert_ptr_equal((void (*)(void))(uintptr_t)fn, (void (*)(void))cuMemAlloc_v2);
  assert_int_equal(cuGetProcAddress_v2("cuNothing", &fn, 12000, 0, &found), DRV_NOT_FOUND);
  case_close(&c);
}

static void test_options(void **state) {
  (void)state;
  int a, b;
  OK(kilnsim_configure("sm_80,seed=9", &a));
  OK(kilnsim_configure("sm_80,seed=9", &b));
  assert_int_equal(a, b);
  static const char *const bad[] = {"sm_81", "sm_80,", "sm_80,sms=0", "sm_80,checks=maybe", "sm_80,policy=x", "sm_80,seed", "sm_80,color=red"};
  for (int i = 0; i < 7; i++) {
    assert_int_equal(kilnsim_configure(bad[i], &a), DRV_INVALID_VALUE);
    assert_true(strlen(last_message()) > 10);
  }
}

/* Two devices are told apart as two GPUs are: by addresses, and by the streams that kernels and events take. */
static void test_two_devices(void **state) {
  (void)state;
  static const char ptx[] = ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n .reg .b64 %rd<2>;\n"
                            " ld.param.u64 %rd1, [p];\n st.global.u32 [%rd1], 7;\n ret;\n}\n";
  SimCase a, b;
  DrvStream stream_a, stream_b;
  DrvEvent event;
  DrvFunction f;
  int ordinal;
  case_open(&a, "sm_80,seed=11", ptx);
  DrvPtr of_a = device_copy(NULL, 64);
  OK(cuStreamCreate(&stream_a, 1));
  case_open(&b, "sm_80,seed=12", ptx);
  DrvPtr of_b = device_copy(NULL, 64);
  OK(cuStreamCreate(&stream_b, 1));
  OK(cuEventCreate(&event, 0));
  assert_true(a.ordinal != b.ordinal && of_a != of_b);
  OK(cuPointerGetAttribute(&ordinal, DRV_POINTER_DEVICE_ORDINAL, of_a));
  assert_int_equal(ordinal, a.ordinal);
  OK(cuPointerGetAttribute(&ordinal, DRV_POINTER_DEVICE_ORDINAL, of_b));
  assert_int_equal(ordinal, b.ordinal);
  OK(cuModuleGetFunction(&f, b.module, "k"));
  OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, stream_b, (void *[]){&of_b}, NULL));
  assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, stream_b, (void *[]){&of_a}, NULL), DRV_ILLEGAL_ADDRESS);
  assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, stream_a, (void *[]){&of_b}, NULL), DRV_INVALID_HANDLE);
  assert_non_null(strstr(last_message(), "the stream belongs to device"));
  assert_int_equal(cuEventRecord(event, stream_a), DRV_INVALID_HANDLE);
  OK(cuEventRecord(event, stream_b));
  OK(cuMemsetD8Async(of_b, 0, 64, stream_a)); /* memory operations take the stream of any device */
  OK(cuEventDestroy_v2(event));
  OK(cuStreamDestroy_v2(stream_b));
  case_close(&b);
  OK(cuStreamDestroy_v2(stream_a));
  case_close(&a);
}

/* A context of the program's own keeps its memory when a library has given back the primary one, and ends with it. */
static void test_own_context(void **state) {
  (void)state;
  int ordinal;
  uint32_t value = 7, got = 0;
  DrvContext own, primary;
  OK(kilnsim_configure("sm_80,seed=13", &ordinal));
  OK(cuInit(0));
  OK(cuCtxCreate_v2(&own, 0, ordinal));
  DrvPtr p = device_copy(&value, sizeof value);
  OK(cuDevicePrimaryCtxRetain(&primary, ordinal));
  OK(cuDevicePrimaryCtxRelease_v2(ordinal));
  OK(cuMemcpyDtoH_v2(&got, p, sizeof got));
  assert_int_equal(got, 7);
  OK(cuCtxDestroy_v2(own));
  OK(cuDevicePrimaryCtxRetain(&primary, ordinal));
  OK(cuCtxPushCurrent_v2(primary));
  assert_int_equal(cuMemcpyDtoH_v2(&got, p, sizeof got), DRV_INVALID_VALUE);
  OK(cuCtxPopCurrent_v2(NULL));
  OK(cuDevicePrimaryCtxRelease_v2(ordinal));
}

/* ---- every allocation of loading and launching fails in turn: out of memory each time, and nothing is lost ---- */

static atomic_int countdown; /* the host's cores ask for memory at the same time */
static atomic_long live_bytes;
static void *failing_memory(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user;
  if (new_bytes && countdown > 0 && atomic_fetch_sub(&countdown, 1) == 1) return NULL;
  live_bytes += (long)new_bytes - (long)(ptr ? old_bytes : 0);
  if (new_bytes == 0) {
    free(ptr);
    return NULL;
  }
  return realloc(ptr, new_bytes);
}

static unsigned load_and_launch(DrvPtr x, DrvPtr y) {
  DrvModule m;
  DrvFunction f;
  int n = 75;
  unsigned code = cuModuleLoadDataEx(&m, row_sum, 0, NULL, NULL);
  if (code) return code;
  OK(cuModuleGetFunction(&f, m, "k"));
  code = cuLaunchKernel(f, 9, 1, 1, 32, 1, 1, 0, NULL, (void *[]){&x, &y, &n}, NULL);
  OK(cuModuleUnload(m));
  return code;
}

static void test_no_memory(void **state) {
  (void)state;
  SimCase c;
  case_open(&c, "sm_80,cores=2", PTX_HEAD);
  DrvPtr x = device_copy(NULL, 4096), y = device_copy(NULL, 4096);
  OK(cuMemsetD8_v2(x, 0, 4096));
  int failed = 0;
  for (int n = 1; n < 1000; n++) {
    long before = live_bytes;
    countdown = n;
    unsigned code = load_and_launch(x, y);
    bool reached = countdown == 0;
    countdown = 0;
    if (!reached) {
      OK(code);
      break;
    }
    /* the table of forms is a service: a launch succeeds without it */
    if (code && code != DRV_OUT_OF_MEMORY) fail_msg("allocation %d: %u: %s", n, code, last_message());
    failed += code != 0;
    OK(load_and_launch(x, y)); /* what the device keeps for itself is there now */
    if (n > 1) assert_true(live_bytes - before < 1 << 20);
  }
  assert_true(failed > 30);
  case_close(&c);
}

int main(void) {
  kiln_mem_hook(failing_memory, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_row_sum), cmocka_unit_test(test_divergence), cmocka_unit_test(test_mma),
                                     cmocka_unit_test(test_limits), cmocka_unit_test(test_memory),
                                     cmocka_unit_test(test_options), cmocka_unit_test(test_two_devices),
                                     cmocka_unit_test(test_own_context), cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
