/* test_sim_meet.c - CTAs that wait for one another: residency, order, parking, deadlock; the same outcome on any number of host cores. */
#include "sim_case.h"
#include "alloc.h"
#include <stdatomic.h>

DrvResult cuLaunchCooperativeKernel(DrvFunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                    unsigned shared, DrvStream stream, void **params);

/* x: 1024 words of zero that CTAs share; y: 1024 words of results; r2 thread, r3 CTA, r4 number of CTAs */
#define HEAD                                                                                                           \
  ".version 7.0\n.target sm_75\n.address_size 64\n.shared .align 4 .b32 word[4];\n"                                    \
  ".visible .entry k(.param .u64 x, .param .u64 y)\n{\n"                                                               \
  "  .reg .pred %p<8>; .reg .b32 %r<24>; .reg .b64 %rd<24>; .reg .f32 %f<8>;\n"                                        \
  "  ld.param.b64 %rd1, [x];\n  ld.param.b64 %rd2, [y];\n  mov.u32 %r2, %tid.x;\n  mov.u32 %r3, %ctaid.x;\n"           \
  "  mov.u32 %r4, %nctaid.x;\n  mul.wide.u32 %rd3, %r3, 4;\n  add.s64 %rd4, %rd1, %rd3;\n  add.s64 %rd5, %rd2, %rd3;\n" \
  "  mul.wide.u32 %rd6, %r2, 4;\n  setp.ne.s32 %p1, %r2, 0;\n"

typedef struct Run { unsigned code; unsigned y[1024]; char text[1400]; int line; char kind[32]; } Run;

static void run(Run *r, const char *options, const char *body, unsigned grid, unsigned block, int cooperative) {
  static char text[8000];
  static unsigned zero[1024];
  SimCase c;
  DrvFunction f;
  kilnsim_finding found;
  memset(r, 0, sizeof *r);
  sprintf(text, "%s%s  ret;\n}\n", HEAD, body);
  case_open(&c, options, text);
  DrvPtr x = device_copy(zero, sizeof zero), y = device_copy(zero, sizeof zero);
  void *params[] = {&x, &y};
  OK(cuModuleGetFunction(&f, c.module, "k"));
  r->code = cooperative ? cuLaunchCooperativeKernel(f, grid, 1, 1, block, 1, 1, 0, NULL, params)
                        : cuLaunchKernel(f, grid, 1, 1, block, 1, 1, 0, NULL, params, NULL);
  snprintf(r->text, sizeof r->text, "%s", last_message());
  OK(cuMemcpyDtoH_v2(r->y, y, sizeof r->y));
  if (r->code && kilnsim_report(c.ordinal, &found) == 0) {
    r->line = found.ptx_line;
    snprintf(r->kind, sizeof r->kind, "%s", found.kind);
    if (strstr(text, "// HERE") && found.ptx_line != line_of(text, "// HERE")) fail_msg("line %d: %s", found.ptx_line, found.text);
  }
  case_close(&c);
}

static const char *const devices[] = {"sm_80,cores=1,limit=1000000", "sm_80,cores=2,limit=1000000", "sm_75,cores=3,seed=5,limit=1000000",
                                      "sm_89,cores=1,seed=77,limit=1000000", "sm_90a,cores=2,checks=off,limit=1000000"};
enum { DEVICES = sizeof devices / sizeof devices[0] };

/* CTA 0 comes first and waits for the last one. */
#define FLAG                                                                                                           \
  "  @%p1 ret;\n  setp.ne.s32 %p2, %r3, 0;\n  @%p2 bra other;\n"                                                        \
  "wait:\n  ld.acquire.gpu.global.b32 %r5, [%rd1+4000];\n  setp.eq.s32 %p3, %r5, 0;\n  @%p3 bra wait;\n"                \
  "  ld.global.b32 %r6, [%rd1];\n  st.global.b32 [%rd2], %r6;\n  ret;\n"                                                \
  "other:\n  add.s32 %r5, %r4, -1;\n  setp.ne.s32 %p2, %r3, %r5;\n  @%p2 ret;\n"                                        \
  "  mov.b32 %r6, 1234;\n  st.global.b32 [%rd1], %r6;\n  mov.b32 %r7, 1;\n  st.release.gpu.global.b32 [%rd1+4000], %r7;\n"

/* Every CTA in its turn by a semaphore: y[i] = i + sum of all before. */
#define SEMAPHORE                                                                                                      \
  "  @%p1 bra ready;\n"                                                                                                \
  "wait:\n  ld.relaxed.gpu.global.b32 %r5, [%rd1+4000];\n  setp.ne.s32 %p3, %r5, %r3;\n  @%p3 bra wait;\n"              \
  "  fence.acq_rel.gpu;\nready:\n  bar.sync 0;\n"                                                                       \
  "  @%p1 bra done;\n  ld.global.b32 %r6, [%rd1];\n  add.s32 %r6, %r6, %r3;\n  st.global.b32 [%rd1], %r6;\n"            \
  "  st.global.b32 [%rd5], %r6;\ndone:\n  bar.sync 0;\n  @%p1 ret;\n  membar.gl;\n  add.s32 %r7, %r3, 1;\n"             \
  "  st.relaxed.gpu.global.b32 [%rd1+4000], %r7;\n"

/* Each CTA writes a share; the last to arrive adds them up. */
#define LAST_BLOCK                                                                                                     \
  "  @%p1 ret;\n  add.s32 %r5, %r3, 1;\n  st.global.b32 [%rd4], %r5;\n  membar.gl;\n"                                   \
  "  atom.global.add.u32 %r6, [%rd1+4000], 1;\n  membar.gl;\n  add.s32 %r7, %r4, -1;\n  setp.ne.s32 %p2, %r6, %r7;\n"   \
  "  @%p2 ret;\n  mov.b32 %r8, 0;\n  mov.b32 %r9, 0;\n  mov.b64 %rd7, %rd1;\nadd:\n  ld.global.b32 %r10, [%rd7];\n"     \
  "  add.s32 %r9, %r9, %r10;\n  add.s64 %rd7, %rd7, 4;\n  add.s32 %r8, %r8, 1;\n  setp.lt.s32 %p3, %r8, %r4;\n"         \
  "  @%p3 bra add;\n  st.global.b32 [%rd2], %r9;\n"

/* Decoupled look-back with one predecessor at a time: prefix sums of i + 1. */
#define LOOK_BACK                                                                                                      \
  "  @%p1 ret;\n  add.s32 %r9, %r3, 1;\n  setp.eq.s32 %p2, %r3, 0;\n  @%p2 bra publish;\n"                              \
  "wait:\n  ld.acquire.gpu.global.b32 %r5, [%rd4+1996];\n  setp.eq.s32 %p3, %r5, 0;\n  @%p3 bra wait;\n"                \
  "  ld.global.b32 %r6, [%rd5+-4];\n  add.s32 %r9, %r9, %r6;\n"                                                         \
  "publish:\n  st.global.b32 [%rd5], %r9;\n  mov.b32 %r7, 1;\n  st.release.gpu.global.b32 [%rd4+2000], %r7;\n"

/* All CTAs of a cooperative launch meet twice; each reads its neighbour's word in between. */
#define ARRIVE(n)                                                                                                      \
  "  bar.sync 0;\n  @%p1 bra in" n ";\n  fence.acq_rel.gpu;\n  atom.global.add.u32 %r5, [%rd1+4000], 1;\n"               \
  "wait" n ":\n  ld.relaxed.gpu.global.b32 %r5, [%rd1+4000];\n  mul.lo.s32 %r6, %r4, " n ";\n  setp.lt.u32 %p3, %r5, %r6;\n" \
  "  @%p3 bra wait" n ";\n  fence.acq_rel.gpu;\nin" n ":\n  bar.sync 0;\n"
#define GRID_BARRIER                                                                                                   \
  "  @!%p1 st.global.b32 [%rd4], %r3;\n" ARRIVE("1")                                                                    \
  "  add.s32 %r7, %r3, 1;\n  rem.u32 %r7, %r7, %r4;\n  mul.wide.u32 %rd7, %r7, 4;\n  add.s64 %rd8, %rd1, %rd7;\n"       \
  "  ld.global.b32 %r8, [%rd8];\n" ARRIVE("2")                                                                          \
  "  @%p1 ret;\n  mov.b32 %r9, 77;\n  st.global.b32 [%rd4], %r9;\n  st.global.b32 [%rd5], %r8;\n"

/* The same as cooperative groups do it: the barrier lies in a workspace that %envreg1 and %envreg2 name, 0 where there is none. The first
 * CTA adds what turns the highest bit when all have come. */
#define MEET(n)                                                                                                        \
  "  barrier.sync 0;\n  @%p1 bra in" n ";\n  atom.add.release.gpu.u32 %r5, [%rd9+4], %r11;\nwait" n ":\n"                \
  "  ld.acquire.gpu.u32 %r6, [%rd9+4];\n  xor.b32 %r6, %r6, %r5;\n  setp.gt.s32 %p3, %r6, -1;\n  @%p3 bra wait" n ";\n"  \
  "in" n ":\n  barrier.sync 0;\n"
#define GRID_GROUP                                                                                                     \
  "  mov.u32 %r5, %envreg2;\n  cvt.u64.u32 %rd7, %r5;\n  mov.u32 %r6, %envreg1;\n  cvt.u64.u32 %rd8, %r6;\n"            \
  "  bfi.b64 %rd9, %rd8, %rd7, 32, 32;\n  setp.ne.s64 %p2, %rd9, 0;\n  @%p2 bra there;\n  trap; // HERE\nthere:\n"       \
  "  setp.eq.s32 %p4, %r3, 0;\n  sub.s32 %r10, -2147483647, %r4;\n  selp.b32 %r11, %r10, 1, %p4;\n"                    \
  "  @!%p1 st.global.b32 [%rd4], %r3;\n" MEET("1")                                                                     \
  "  add.s32 %r7, %r3, 1;\n  rem.u32 %r7, %r7, %r4;\n  mul.wide.u32 %rd7, %r7, 4;\n  add.s64 %rd8, %rd1, %rd7;\n"       \
  "  ld.global.b32 %r8, [%rd8];\n" MEET("2") "  @%p1 ret;\n  st.global.b32 [%rd4], %r4;\n  st.global.b32 [%rd5], %r8;\n"

static void test_grid_group(void **state) {
  (void)state;
  static Run r;
  for (int d = 0; d < DEVICES; d++) {
    run(&r, devices[d], GRID_GROUP, 9, 64, 1);
    if (r.code) fail_msg("%s: %s", devices[d], r.text);
    for (unsigned i = 0; i < 9; i++) assert_int_equal(r.y[i], (i + 1) % 9);
    run(&r, devices[d], GRID_GROUP, 9, 64, 0); /* a launch that is not cooperative */
    assert_string_equal(r.kind, "trap");
  }
}

static void test_patterns(void **state) {
  (void)state;
  static Run r;
  for (int d = 0; d < DEVICES; d++) {
    run(&r, devices[d], FLAG, 16, 32, 0);
    if (r.code) fail_msg("flag, %s: %s", devices[d], r.text);
    assert_int_equal(r.y[0], 1234);
    run(&r, devices[d], SEMAPHORE, 100, 64, 0);
    if (r.code) fail_msg("semaphore, %s: %s", devices[d], r.text);
    for (unsigned i = 0; i < 100; i++) assert_int_equal(r.y[i], i * (i + 1) / 2);
    run(&r, devices[d], LAST_BLOCK, 200, 64, 0);
    if (r.code) fail_msg("last block, %s: %s", devices[d], r.text);
    assert_int_equal(r.y[0], 200 * 201 / 2);
    run(&r, devices[d], LOOK_BACK, 400, 32, 0);
    if (r.code) fail_msg("look-back, %s: %s", devices[d], r.text);
    for (unsigned i = 0; i < 400; i++) assert_int_equal(r.y[i], (i + 1) * (i + 2) / 2);
    run(&r, devices[d], GRID_BARRIER, 32, 96, 1);
    if (r.code) fail_msg("grid barrier, %s: %s", devices[d], r.text);
    for (unsigned i = 0; i < 32; i++) assert_int_equal(r.y[i], (i + 1) % 32);
  }
}

static void test_deadlock(void **state) {
  (void)state;
  static Run r;
  for (int d = 0; d < DEVICES; d++) {
    /* nobody writes */
    run(&r, devices[d], "wait:\n  ld.volatile.global.b32 %r5, [%rd1+4000];\n  setp.eq.s32 %p3, %r5, 0;\n  @%p3 bra wait; // HERE\n", 3, 32, 0);
    assert_int_equal(r.code, DRV_LAUNCH_FAILED);
    assert_string_equal(r.kind, "deadlock");
    assert_non_null(strstr(r.text, "2 other CTAs"));
    /* a lock that nobody gives back */
    run(&r, devices[d], "  @%p1 ret;\nwait:\n  atom.global.cas.b32 %r5, [%rd1], 0, 1;\n  setp.ne.s32 %p3, %r5, 0;\n  @%p3 bra wait; // HERE\n", 5, 32, 0);
    if (strcmp(r.kind, "deadlock")) fail_msg("%s: %u %s %s", devices[d], r.code, r.kind, r.text);
    /* a shared word that no warp writes */
    run(&r, devices[d], "  mov.u32 %r6, word;\n  @!%p1 st.volatile.shared.b32 [%r6], %r2;\n  bar.sync 0;\n"
        "wait:\n  ld.volatile.shared.b32 %r5, [%r6];\n  setp.eq.s32 %p3, %r5, 0;\n  @%p3 bra wait; // HERE\n", 2, 64, 0);
    if (strcmp(r.kind, "deadlock")) fail_msg("%s: %u %s %s", devices[d], r.code, r.kind, r.text);
  }
  /* all wait for the last, which the device cannot hold at the same time */
  run(&r, "sm_80,sms=1,cores=2",
      "  @%p1 ret;\n  add.s32 %r5, %r4, -1;\n  setp.eq.s32 %p2, %r3, %r5;\n  @%p2 bra last;\n"
      "wait:\n  ld.acquire.gpu.global.b32 %r5, [%rd1];\n  setp.eq.s32 %p3, %r5, 0;\n  @%p3 bra wait; // HERE\n  ret;\n"
      "last:\n  mov.b32 %r7, 1;\n  st.release.gpu.global.b32 [%rd1], %r7;\n", 500, 1024, 0);
  assert_string_equal(r.kind, "deadlock");
  assert_non_null(strstr(r.text, "498 CTAs are not resident: 1 multiprocessors hold 2"));
  run(&r, "sm_80,sms=1", GRID_BARRIER, 3, 1024, 1);
  assert_int_equal(r.code, DRV_COOPERATIVE_LAUNCH_TOO_LARGE);
}

/* Tickets: the order in which CTAs come is one for a seed, whatever the host, and differs between seeds. */
static void test_order(void **state) {
  (void)state;
  static Run r[2];
  static const char body[] = "  @%p1 ret;\n  mov.b32 %r8, 0;\nloop:\n  atom.global.add.u32 %r5, [%rd1], 1;\n  mul.wide.u32 %rd7, %r5, 4;\n"
                             "  add.s64 %rd8, %rd2, %rd7;\n  st.global.b32 [%rd8], %r3;\n  add.s32 %r8, %r8, 1;\n"
                             "  setp.lt.s32 %p3, %r8, 8;\n  @%p3 bra loop;\n";
  unsigned last[1024] = {0};
  for (int seed = 0; seed < 6; seed++) {
    for (int cores = 1; cores <= 4; cores++) {
      char options[64];
      snprintf(options, sizeof options, "sm_80,seed=%d,cores=%d", seed, cores);
      run(&r[cores > 1], options, body, 128, 64, 0);
      if (r[cores > 1].code) fail_msg("%s: %s", options, r[cores > 1].text);
      if (cores > 1) assert_memory_equal(r[0].y, r[1].y, sizeof r[0].y);
    }
    assert_memory_not_equal(last, r[0].y, sizeof last);
    memcpy(last, r[0].y, sizeof last);
  }
}

/* ---- every allocation of a launch fails in turn, on one host core and on two: out of memory, and nothing is lost ---- */

static atomic_int countdown;
static atomic_long live_bytes;
static void *failing_memory(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user;
  if (new_bytes && atomic_load(&countdown) > 0 && atomic_fetch_sub(&countdown, 1) == 1) return NULL;
  atomic_fetch_add(&live_bytes, (long)new_bytes - (long)(ptr ? old_bytes : 0));
  if (new_bytes) return realloc(ptr, new_bytes);
  free(ptr);
  return NULL;
}

static void fail_each(const char *options, const char *body) {
  static char text[8000];
  static unsigned zero[1024];
  SimCase c;
  DrvFunction f;
  int failed = 0, n = 1;
  sprintf(text, "%s%s  ret;\n}\n", HEAD, body);
  case_open(&c, options, text);
  OK(cuModuleGetFunction(&f, c.module, "k"));
  long kept = 0;
  for (; n < 2000; n++) {
    DrvPtr x = device_copy(zero, sizeof zero), y = device_copy(zero, sizeof zero);
    atomic_store(&countdown, n);
    unsigned code = cuLaunchKernel(f, 12, 1, 1, 64, 1, 1, 0, NULL, (void *[]){&x, &y}, NULL);
    int reached = atomic_load(&countdown) <= 0;
    atomic_store(&countdown, 0);
    if (code && code != DRV_OUT_OF_MEMORY) fail_msg("%s, allocation %d: %u: %s", options, n, code, last_message());
    OK(cuMemFree_v2(x));
    OK(cuMemFree_v2(y));
    failed += code != 0;
    if (!reached) break;
    if (n == 300) kept = atomic_load(&live_bytes);
    if (n > 300) assert_true(atomic_load(&live_bytes) - kept < 1 << 20); /* tombstones of allocations */
  }
  assert_true(failed > 20);
  case_close(&c);
}

static void test_no_memory(void **state) {
  (void)state;
  static const char *const options[] = {"sm_80,cores=1,limit=100000", "sm_80,cores=2,seed=3,limit=100000"};
  for (int o = 0; o < 2; o++) {
    fail_each(options[o], SEMAPHORE);
    fail_each(options[o], LAST_BLOCK);
    fail_each(options[o], LOOK_BACK);
  }
}

int main(void) {
  kiln_mem_hook(failing_memory, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_memory), cmocka_unit_test(test_patterns), cmocka_unit_test(test_grid_group),
                                     cmocka_unit_test(test_deadlock), cmocka_unit_test(test_order)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
