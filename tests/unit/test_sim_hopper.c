/* test_sim_hopper.c - asynchronous copies, mbarriers, clusters, register budgets and products in flight: kernels that are right, and the same
 * with one thing wrong, whose report must name its kind and the line marked "// HERE" ("// OR": where the order decides). */
#include "sim_case.h"

#define HEAD                                                                                                           \
  ".version 8.6\n.target sm_90a\n.address_size 64\n.file 1 \"ops/planted.lua\"\n"                                      \
  ".extern .shared .align 1024 .b8 dyn[];\n"                                                                           \
  ".visible .entry k(.param .align 64 .b8 map[128], .param .align 64 .b8 out[128], .param .u64 x, .param .u64 y)"      \
  "%s\n{\n"                                                                                                            \
  "  .reg .pred %%p<10>; .reg .b16 %%h<4>; .reg .b32 %%r<40>; .reg .b64 %%l<30>; .reg .f32 %%f<72>;\n"                 \
  "  mov.u64 %%l0, map;\n  cvta.param.u64 %%l0, %%l0;\n  mov.u64 %%l1, out;\n  cvta.param.u64 %%l1, %%l1;\n"           \
  "  ld.param.b64 %%l2, [x];\n  ld.param.b64 %%l3, [y];\n  mov.u32 %%r0, %%tid.x;\n  mov.u32 %%r1, dyn;\n"             \
  "  add.s32 %%r2, %%r1, 16384;\n  mov.b32 %%r3, 0;\n  shr.u32 %%r4, %%r0, 5;\n  setp.eq.u32 %%p1, %%r0, 0;\n"         \
  "  setp.ne.u32 %%p2, %%r0, 0;\n  setp.eq.u32 %%p3, %%r4, 0;\n  shl.b32 %%r5, %%r0, 2;\n  add.s32 %%r6, %%r1, %%r5;\n" \
  "  mul.wide.u32 %%l4, %%r0, 4;\n  add.s64 %%l5, %%l2, %%l4;\n  add.s64 %%l6, %%l3, %%l4;\n"                          \
  "  mov.u32 %%r20, %%cluster_ctarank;\n  mov.u32 %%r21, %%ctaid.x;\n  .loc 1 77 1\n"
/* r1: 16384 bytes of tiles; r2: mbarriers behind them; r6: the thread's word; l5, l6: its word of x and y; p1: thread 0; p2: the others */

/* pieces of kernels */
#define INIT "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 1;\n  fence.mbarrier_init.release.cluster;\nmade:\n  bar.sync 0;\n"
#define LOAD "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2];"
#define WAIT(name, parity) name ":\n  mbarrier.try_wait.parity.shared.b64 %p4, [%r2], " parity ";\n  @!%p4 bra " name ";\n"
/* r9: the other CTA's mbarrier, which expects 1024 bytes; r10: the other's word */
#define BOTH_MAKE                                                                                                      \
  "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 1;\n  fence.mbarrier_init.release.cluster;\n"                  \
  "  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 1024;\nmade:\n"                                                    \
  "  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n  xor.b32 %r8, %r20, 1;\n"      \
  "  mapa.shared::cluster.u32 %r9, %r2, %r8;\n  mapa.shared::cluster.u32 %r10, %r6, %r8;\n"
#define SEND "  st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r10], %r0, [%r9]; // OR\n"
#define OUT_OF_CTA "  ld.shared.b32 %r7, [%r6];\n  mul.wide.u32 %l7, %r21, 512;\n  add.s64 %l7, %l6, %l7;\n  st.global.b32 [%l7], %r7;\n"
#define OUT "  ld.shared.b32 %r7, [%r6];\n  st.global.b32 [%l6], %r7;\n"

typedef struct Kernel {
  const char *kind;   /* NULL: right */
  const char *says, *body;
  const char *params; /* directives behind the parameters */
  unsigned grid, block, cluster;
} Kernel;

static char text[20000];
static uint32_t source[4096];

static void write_kernel(const Kernel *k) {
  text[0] = 0;
  sprintf(text, HEAD, k->params ? k->params : "");
  strcat(text, k->body);
  strcat(text, "  ret;\n}\n");
}

/* x: 64 by 64 words, by `map` (boxes of 32 columns, 8 rows, swizzle 128B) and as bytes; y: as much, unwritten, by `out`. */
static unsigned run_kernel(const Kernel *k, const char *device, SimCase *c) {
  DrvTensorMap map, out;
  write_kernel(k);
  case_open(c, device, text);
  for (int i = 0; i < 4096; i++) source[i] = (uint32_t)i * 3 + 1;
  DrvPtr dx = device_copy(source, sizeof source), dy = device_copy(NULL, sizeof source);
  uint64_t dims[2] = {64, 64}, strides[1] = {256};
  uint32_t box[2] = {32, 8}, steps[2] = {1, 1};
  OK(cuTensorMapEncodeTiled((struct CUtensorMap_st *)&map, DRV_MAP_UINT32, 2, (void *)(uintptr_t)dx, dims, strides, box, steps, 0, DRV_MAP_SWIZZLE_128B, 0, 0));
  OK(cuTensorMapEncodeTiled((struct CUtensorMap_st *)&out, DRV_MAP_UINT32, 2, (void *)(uintptr_t)dy, dims, strides, box, steps, 0, DRV_MAP_SWIZZLE_128B, 0, 0));
  DrvFunction f;
  OK(cuModuleGetFunction(&f, c->module, "k"));
  OK(cuFuncSetAttribute(f, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65536));
  DrvLaunchAttribute cluster = {.id = DRV_LAUNCH_CLUSTER_DIMENSION, .value.cluster = {k->cluster ? k->cluster : 1, 1, 1}};
  DrvLaunchConfig config = {k->grid ? k->grid : 1, 1, 1, k->block ? k->block : 128, 1, 1, 20480, NULL, &cluster, k->cluster ? 1u : 0u};
  return cuLaunchKernelEx(&config, f, (void *[]){&map, &out, &dx, &dy}, NULL);
}

static int marked(int line) {
  const char *at = text;
  for (int i = 1; i < line && at; i++) at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
  if (!at) return 0;
  size_t n = strcspn(at, "\n");
  return n > 5 && (memmem(at, n, "// HERE", 7) || memmem(at, n, "// OR", 5));
}

/* One of the kinds "a|b". */
static int kind_is(const char *kinds, const char *kind) {
  size_t n = strlen(kind);
  for (const char *s = kinds; s; s = strchr(s, '|') ? strchr(s, '|') + 1 : NULL)
    if (strncmp(s, kind, n) == 0 && (s[n] == 0 || s[n] == '|')) return 1;
  return 0;
}

static const char *const devices[] = {"sm_90a,policy=lazy", "sm_90a,policy=eager", "sm_90a,policy=random,seed=1", "sm_90a,policy=random,seed=2",
                                      "sm_90a,policy=lazy,seed=3"};
enum { DEVICES = sizeof devices / sizeof *devices };

static const Kernel kernels[] = {
  /* ---- a copy of bytes: right; then what can go wrong with its mbarrier ---- */
  {NULL, NULL, INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n  " LOAD "\non:\n" WAIT("w", "0") OUT, NULL, 0, 0, 0},
  /* granules of a byte make a page of the race check 8192 bytes: a copy that begins in one and ends in the next is read in both */
  {"race", "with no synchronisation", INIT "  add.s64 %l8, %l2, 8176;\n  @%p2 bra end;\n  setp.ne.u32 %p5, %r21, 0;\n  @%p5 bra other;\n"
   "  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 32;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l8], 32, [%r2]; // HERE\n" WAIT("w", "0")
   "  bra end;\nother:\n  st.global.u8 [%l2+8180], %r0; // OR\nend:\n", NULL, 2, 0, 0},
  {"mbarrier", "nobody has initialised", "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512; // HERE\non:\n", NULL, 0, 0, 0},
  {"deadlock", "bytes missing", INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 1024;\n  " LOAD "\non:\nw:\n"
   "  mbarrier.try_wait.parity.shared.b64 %p4, [%r2], 0; // HERE\n  @!%p4 bra w;\n" OUT, NULL, 0, 0, 0},
  {"deadlock", "-512 bytes", INIT "  @%p2 bra on;\n  mbarrier.arrive.shared.b64 _, [%r2];\n  bra on;\non:\n  @%p2 bra on2;\n  " LOAD "\non2:\n" WAIT("w", "0")
   "  bar.sync 0;\nv:\n  mbarrier.try_wait.parity.shared.b64 %p4, [%r2], 1; // HERE\n  @!%p4 bra v;\n", NULL, 0, 0, 0},
  {"race|pending_copy|deadlock", "", INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; // OR\non:\nw:\n"
   "  mbarrier.try_wait.parity.shared.b64 %p4, [%r2], 1; // OR: the phase before, or the next\n  @!%p4 bra w;\n  ld.shared.b32 %r7, [%r6]; // HERE\n"
   , NULL, 0, 0, 0},
  {"race|mbarrier", "initialised", "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 128;\n  bra done;\nmade:\n  nanosleep.u32 100;\ndone:\n"
   "  @%p3 bra end;\n  mbarrier.arrive.shared.b64 _, [%r2]; // HERE\nend:\n", NULL, 0, 0, 0},
  {"mbarrier", "more arrivals", INIT "  @%p2 bra end;\n  mbarrier.arrive.shared.b64 _, [%r2], 2; // HERE\nend:\n", NULL, 0, 0, 0},
  {"mbarrier", "inval comes first", INIT "  @%p2 bra end;\n  mbarrier.init.shared.b64 [%r2], 1; // HERE\nend:\n", NULL, 0, 0, 0},
  {NULL, NULL, INIT "  @%p2 bra end;\n  mbarrier.inval.shared.b64 [%r2];\n  mbarrier.init.shared.b64 [%r2], 1;\nend:\n", NULL, 0, 0, 0},
  {"misaligned", "multiple of 8", "  @%p2 bra end;\n  mbarrier.init.shared.b64 [%r2+4], 1; // HERE\nend:\n", NULL, 0, 0, 0},
  {"mbarrier", "count outside", "  @%p2 bra end;\n  mbarrier.init.shared.b64 [%r2], 0; // HERE\nend:\n", NULL, 0, 0, 0},
  {"proxy", "fence.mbarrier_init", "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 1;\nmade:\n  bar.sync 0;\n  @%p2 bra on;\n"
   "  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; "
   "// HERE\non:\n" WAIT("w", "0") OUT, NULL, 0, 0, 0},
  {"unwaited_copy", "has waited", INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n  "
   "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; // OR\non:\n  ret; // HERE\n", NULL, 0, 32, 0},
  {NULL, NULL, /* as others spell it */
   "  @%p2 bra made;\n  mbarrier.init.shared::cta.b64 [%r2], 1;\n  fence.mbarrier_init.release.cluster;\n  fence.proxy.async;\nmade:\n  bar.sync 0;\n"
   "  @%p2 bra on;\n"
   "  mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %l9, [%r2], 512;\n"
   "  cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2];\non:\nw:\n"
   "  mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p4, [%r2], 0, 1000;\n  @!%p4 bra w;\n" OUT, NULL, 0, 0, 0},
  {NULL, NULL, /* a state instead of a parity; polling */
   INIT "  @%p2 bra end;\n  mbarrier.arrive.expect_tx.shared.b64 %l9, [%r2], 512;\n  " LOAD "\n"
   "w:\n  mbarrier.test_wait.shared.b64 %p4, [%r2], %l9;\n  @!%p4 bra w;\n" OUT "end:\n", NULL, 0, 0, 0},
  /* ---- what the copy writes over ---- */
  {"race|pending_copy", "", INIT "  st.shared.b32 [%r6], %r0;\n  fence.proxy.async.shared::cta;\n  bar.sync 0;\n"
   "  ld.shared.b32 %r7, [%r6]; // OR\n  @%p2 bra on;\n"
   "  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; "
   "// HERE\non:\n  @%p3 bra first;\n  ld.shared.b32 %r7, [%r6]; // OR\nfirst:\n" WAIT("w", "0"), NULL, 0, 0, 0},
  {"proxy", "fence.proxy.async", INIT "  st.shared.b32 [%r6], %r0;\n  bar.sync 0;\n  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; // HERE\non:\n" WAIT("w", "0") OUT, NULL, 0, 0, 0},
  {"pending_copy|race", "", INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 1024;\n  " LOAD "\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; // HERE\non:\n" WAIT("w", "0"), NULL, 0, 0, 0},
  {"mbarrier", "an mbarrier", INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%l2], 512, [%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  {"mbarrier", "an mbarrier", INIT "  @%p1 st.shared.b32 [%r2+4], %r3; // HERE\n", NULL, 0, 0, 0},
  {"mbarrier", "an mbarrier", INIT "  @%p1 ld.shared.b64 %l9, [%r2]; // HERE\n", NULL, 0, 0, 0},
  {NULL, NULL, INIT "  @%p2 bra end;\n  mbarrier.inval.shared.b64 [%r2];\n  st.shared.b32 [%r2+4], %r3;\nend:\n", NULL, 0, 0, 0},
  /* ---- sizes and places ---- */
  {"bulk", "multiple of 16", INIT "  @%p2 bra on;\n  mov.b32 %r8, 40;\n  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], %r8, "
   "[%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  {"misaligned", "multiple of 16", INIT "  @%p2 bra on;\n  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1+8], [%l2], 512, "
   "[%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  {"out_of_bounds", "allocation", INIT "  @%p2 bra on;\n  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2+16256], 512, "
   "[%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  {"uninitialised", "nobody has written", INIT "  @%p2 bra on;\n  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l3], 512, "
   "[%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  /* ---- a box of a tensor in, out again ---- */
  {NULL, NULL, INIT "  @%p2 bra on;\n  mov.b32 %r8, 32;\n  mov.b32 %r9, 16;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 1024;\n"
   "  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l0, {%r8, %r9}], [%r2];\non:\n" WAIT("w", "0")
   "  @%p2 bra end;\n  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%l1, {%r8, %r9}], [%r1];\n  cp.async.bulk.commit_group;\n"
   "  cp.async.bulk.wait_group 0;\nend:\n", NULL, 0, 0, 0},
  {"unwaited_copy", "wait_group", INIT "  st.shared.b32 [%r6], %r0;\n  st.shared.b32 [%r6+512], %r0;\n  fence.proxy.async.shared::cta;\n"
   "  bar.sync 0;\n  @%p2 bra end;\n"
   "  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%l1, {%r3, %r3}], [%r1]; // HERE\n  cp.async.bulk.commit_group;\nend:\n", NULL, 0, 0, 0},
  {"proxy", "fence.proxy.async", INIT "  st.shared.b32 [%r6], %r0;\n  st.shared.b32 [%r6+512], %r0;\n  bar.sync 0;\n  @%p2 bra end;\n"
   "  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%l1, {%r3, %r3}], [%r1]; // HERE\n  cp.async.bulk.commit_group;\n"
   "  cp.async.bulk.wait_group.read 0;\nend:\n", NULL, 0, 0, 0},
  {"race|uninitialised", "written", INIT "  st.shared.b32 [%r6], %r0; // OR\n  st.shared.b32 [%r6+512], %r0; // HERE\n"
   "  fence.proxy.async.shared::cta;\n  @%p2 bra end;\n"
   "  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%l1, {%r3, %r3}], [%r1]; // OR\n  cp.async.bulk.commit_group;\n"
   "  cp.async.bulk.wait_group.read 0;\nend:\n", NULL, 0, 0, 0},
  {"in_flight", "still reading", INIT "  st.shared.b32 [%r6], %r0;\n  st.shared.b32 [%r6+512], %r0;\n  fence.proxy.async.shared::cta;\n  bar.sync 0;\n"
   "  @%p2 bra end;\n"
   "  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%l1, {%r3, %r3}], [%r1];\n  cp.async.bulk.commit_group;\n"
   "  st.shared.b32 [%r6], %r3; // HERE\n  cp.async.bulk.wait_group.read 0;\nend:\n", NULL, 0, 0, 0},
  {NULL, NULL, INIT "  st.shared.b32 [%r6], %r0;\n  st.shared.b32 [%r6+512], %r0;\n  fence.proxy.async.shared::cta;\n  bar.sync 0;\n  @%p2 bra end;\n"
   "  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%l1, {%r3, %r3}], [%r1];\n  cp.async.bulk.commit_group;\n"
   "  cp.async.bulk.wait_group.read 0;\n  st.shared.b32 [%r6], %r3;\nend:\n", NULL, 0, 0, 0},
  {"misaligned", "multiple of 128", INIT "  @%p2 bra on;\n  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1+64], "
   "[%l0, {%r3, %r3}], [%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  {"bulk", "dimensions", INIT "  @%p2 bra on;\n  cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], "
   "[%l0, {%r3, %r3, %r3}], [%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  {"bulk", "no tensor map", INIT "  @%p2 bra on;\n  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], "
   "[%l2, {%r3, %r3}], [%r2]; // HERE\non:\n", NULL, 0, 0, 0},
  /* ---- clusters ---- */
  {NULL, NULL, /* each CTA multicasts its half to both; all know of it before they end */
   "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 1;\n  fence.mbarrier_init.release.cluster;\nmade:\n"
   "  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n  @%p2 bra on;\n"
   "  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 1024;\n  shl.b32 %r8, %r20, 9;\n  add.s32 %r8, %r1, %r8;\n  mov.b16 %h0, 3;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r8], [%l2], 512, [%r2], %h0;\non:\n"
    WAIT("w", "0") OUT_OF_CTA, NULL, 2, 0, 2},
  {"deadlock", "bytes missing", /* the peer does not expect the bytes of the multicast */
   "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 1;\n  fence.mbarrier_init.release.cluster;\nmade:\n"
   "  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n  @%p2 bra on;\n  setp.ne.u32 %p5, %r20, 0;\n  @%p5 bra peer;\n"
   "  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n  mov.b16 %h0, 3;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%l2], 512, [%r2], %h0;\n  bra on;\n"
   "peer:\n  nanosleep.u32 10;\non:\nw:\n  mbarrier.try_wait.parity.shared.b64 %p4, [%r2], 0; // HERE\n  @!%p4 bra w;\n" OUT_OF_CTA, NULL, 2, 0, 2},
  {NULL, NULL, /* a word of the neighbour, and both wait for each other at the end */
   "  st.shared.b32 [%r6], %r0;\n  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n  xor.b32 %r8, %r20, 1;\n"
   "  mapa.shared::cluster.u32 %r9, %r6, %r8;\n  ld.shared::cluster.b32 %r7, [%r9];\n"
   "  barrier.cluster.arrive.relaxed.aligned;\n  barrier.cluster.wait.aligned;\n", ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"race", "has written", "  st.shared.b32 [%r6], %r0; // OR\n  barrier.cluster.arrive.relaxed.aligned;\n  barrier.cluster.wait.aligned;\n"
   "  xor.b32 %r8, %r20, 1;\n"
   "  mapa.shared::cluster.u32 %r9, %r6, %r8;\n  ld.shared::cluster.b32 %r7, [%r9]; // HERE\n"
   "  barrier.cluster.arrive.aligned;\n  barrier.cluster.wait.aligned;\n", ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"cluster", "end", "  st.shared.b32 [%r6], %r0;\n  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n"
   "  xor.b32 %r8, %r20, 1;\n"
   "  mapa.shared::cluster.u32 %r9, %r6, %r8;\n  ld.shared::cluster.b32 %r7, [%r9]; // OR\n  ret; // HERE\n", ".reqnctapercluster 2, 1, 1", 2, 32, 0},
  {NULL, NULL, /* a word of each thread and one added, to the neighbour, whose mbarrier counts them: all that it must know before it ends */
   BOTH_MAKE SEND "  red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r10], %r20, [%r9];\n" WAIT("w", "0") OUT_OF_CTA,
   ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"cluster|unwaited_copy", "end", BOTH_MAKE SEND "  ret; // HERE\n", ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"race|pending_copy", "", BOTH_MAKE SEND "  ld.shared.b32 %r7, [%r6]; // HERE\n" WAIT("w", "0"), ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"barrier", "without having arrived", "  barrier.cluster.wait.aligned; // HERE\n", ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"barrier", "again", "  barrier.cluster.arrive.aligned;\n  barrier.cluster.arrive.aligned; // HERE\n", ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"cluster", "the cluster has 2", "  mov.b32 %r8, 2;\n  mapa.shared::cluster.u32 %r9, %r6, %r8; // HERE\n", ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {NULL, NULL, /* arrivals at the neighbour's mbarrier */
   "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 128;\n  fence.mbarrier_init.release.cluster;\nmade:\n"
   "  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n  xor.b32 %r8, %r20, 1;\n  mapa.shared::cluster.u32 %r9, %r2, %r8;\n"
   "  mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r9];\n" WAIT("w", "0"), ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  {"proxy", "fence.mbarrier_init",
   "  @%p2 bra made;\n  mbarrier.init.shared.b64 [%r2], 128;\nmade:\n"
   "  barrier.cluster.arrive.release.aligned;\n  barrier.cluster.wait.acquire.aligned;\n  xor.b32 %r8, %r20, 1;\n  mapa.shared::cluster.u32 %r9, %r2, %r8;\n"
   "  mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r9]; // HERE\n" WAIT("w", "0"), ".reqnctapercluster 2, 1, 1", 2, 0, 0},
  /* ---- register budgets ---- */
  {NULL, NULL, "  setp.ge.u32 %p5, %r0, 128;\n  @%p5 bra more;\n  setmaxnreg.dec.sync.aligned.u32 64;\n  bra end;\nmore:\n"
   "  setmaxnreg.inc.sync.aligned.u32 192;\n"
   "end:\n", ".maxntid 256, 1, 1 .minnctapersm 2", 0, 256, 0}, /* they start with 128 */
  {"deadlock", "registers", "  setp.ge.u32 %p5, %r0, 128;\n  @%p5 bra more;\n  setmaxnreg.dec.sync.aligned.u32 64;\n  bra end;\nmore:\n"
   "  setmaxnreg.inc.sync.aligned.u32 200; // HERE\nend:\n", ".maxntid 256, 1, 1 .minnctapersm 2", 0, 256, 0},
  {"registers", "setmaxnreg.dec", "  setmaxnreg.dec.sync.aligned.u32 200; // HERE\n", ".maxntid 256, 1, 1 .minnctapersm 2", 0, 256, 0},
};

static int check_kernel(const Kernel *k, const char *device) { /* wrong things */
  SimCase c;
  kilnsim_finding found = {0};
  unsigned code = run_kernel(k, device, &c);
  int wrong = 1;
  if (code) OK(kilnsim_report(c.ordinal, &found));
  if (!k->kind && code) print_error("%s: %s\n%s", device, found.text, k->body);
  else if (k->kind && !code) print_error("%s: passes, is %s:\n%s", device, k->kind, k->body);
  else if (k->kind && (!kind_is(k->kind, found.kind) || !strstr(found.text, k->says)))
    print_error("%s: not %s (%s): %s\n%s", device, k->kind, k->says, found.text, k->body);
  else if (k->kind && (!marked(found.ptx_line) || found.line != 77)) print_error("%s: another line: %s\n%s", device, found.text, k->body);
  else wrong = 0;
  case_close(&c);
  return wrong;
}

static void test_kernels(void **state) {
  (void)state;
  int wrong = 0;
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
    for (int d = 0; d < DEVICES; d++) wrong += check_kernel(&kernels[i], devices[d]);
  assert_int_equal(wrong, 0);
}

/* ---- products in flight: a warpgroup, A and B as two boxes of 64 rows of 128 bytes; D in 32 registers ---- */

#define D32                                                                                                            \
  "{%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8, %f9, %f10, %f11, %f12, %f13, %f14, %f15, %f16, %f17, %f18, %f19, %f20, %f21, "              \
  "%f22, %f23, %f24, %f25, %f26, %f27, %f28, %f29, %f30, %f31}"
#define FILLED INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 16384;\n"                        \
  "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 16384, [%r2];\non:\n" WAIT("w", "0")                    \
  "  mov.b64 %l10, 0x4000004000010040;\n  mov.b64 %l11, 0x4000004000010240;\n"
#define PRODUCT(scale) "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " D32 ", %l10, %l11, " scale ", 1, 1, 0, 0;"
#define FENCE "  wgmma.fence.sync.aligned;\n"
#define COMMIT "  wgmma.commit_group.sync.aligned;\n"
#define DONE "  wgmma.wait_group.sync.aligned 0;\n"
#define USE "  st.global.f32 [%l6], %f5;\n"

static const Kernel products[] = {
  {NULL, NULL, FILLED FENCE PRODUCT("0") PRODUCT("1") COMMIT DONE USE, NULL, 0, 0, 0},
  {"wgmma", "wgmma.fence", FILLED PRODUCT("0") " // HERE\n" COMMIT DONE USE, NULL, 0, 0, 0},
  {"wgmma", "wgmma.fence", FILLED FENCE PRODUCT("0") COMMIT DONE "  mov.f32 %f5, 0f00000000;\n" PRODUCT("1") " // HERE\n" COMMIT DONE USE, NULL, 0, 0, 0},
  {NULL, NULL, FILLED FENCE PRODUCT("0") COMMIT DONE "  mov.f32 %f5, 0f00000000;\n" FENCE PRODUCT("1") COMMIT DONE USE, NULL, 0, 0, 0},
  {"in_flight", "wait_group", FILLED FENCE PRODUCT("0") COMMIT "  st.global.f32 [%l6], %f5; // HERE\n" DONE, NULL, 0, 0, 0},
  {"in_flight", "wait_group", FILLED FENCE PRODUCT("0") COMMIT "  mov.f32 %f31, 0f00000000; // HERE\n" DONE, NULL, 0, 0, 0},
  {"in_flight", "wait_group", FILLED FENCE PRODUCT("0") COMMIT PRODUCT("1") COMMIT "  wgmma.wait_group.sync.aligned 1;\n"
   "  st.global.f32 [%l6], %f5; // HERE\n" DONE,
   NULL, 0, 0, 0},
  {"uninitialised", "scale-d", FILLED FENCE PRODUCT("1") " // HERE\n" COMMIT DONE USE, NULL, 0, 0, 0},
  {"unwaited_copy", "ends", FILLED FENCE PRODUCT("0") " // HERE\n" COMMIT, NULL, 0, 0, 0},
  {"proxy", "fence.proxy.async", FILLED "  st.shared.b32 [%r6], %r3;\n  bar.sync 0;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE USE, NULL, 0, 0, 0},
  {NULL, NULL, FILLED "  st.shared.b32 [%r6], %r3;\n  fence.proxy.async.shared::cta;\n  bar.sync 0;\n" FENCE PRODUCT("0") COMMIT DONE USE, NULL, 0, 0, 0},
  {"race", "", FILLED "  st.shared.b32 [%r6], %r3; // OR\n  fence.proxy.async.shared::cta;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE USE, NULL, 0, 0, 0},
  {"in_flight", "still reading", FILLED FENCE PRODUCT("0") COMMIT "  @%p3 st.shared.b32 [%r1], %r3; // HERE\n" DONE, NULL, 0, 0, 0},
  {"race|in_flight", "", FILLED FENCE PRODUCT("0") COMMIT "  @%p2 bra go;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 512;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 512, [%r2]; // HERE: the slot is overwritten too early\ngo:\n"
    DONE, NULL, 0, 0, 0},
  {"pending_copy|race", "", INIT "  @%p2 bra on;\n  mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 16384;\n"
   "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%l2], 16384, [%r2];\non:\n  mov.b64 %l10, 0x4000004000010040;\n"
   "  mov.b64 %l11, 0x4000004000010240;\n  bar.sync 0;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE, NULL, 0, 0, 0},
  {"collective", "same products", FILLED FENCE PRODUCT("0") COMMIT DONE "  setp.eq.u32 %p5, %r4, 2;\n  @%p5 bra end;\n"
    FENCE PRODUCT("0") COMMIT DONE "end:\n  ret; // HERE\n",
   NULL, 0, 0, 0},
  {"collective", "lanes", FILLED "  add.s64 %l11, %l11, %l4;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE, NULL, 0, 0, 0},
  {"wgmma", "must be 0", FILLED "  mov.b64 %l11, 0x400000400001C240;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE, NULL, 0, 0, 0},
  {"out_of_bounds", "matrix", FILLED "  mov.b64 %l11, 0x4000004000011240;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE, NULL, 0, 0, 0},
  {"uninitialised", "nobody has written", "  mov.b64 %l10, 0x4000004000010040;\n  mov.b64 %l11, %l10;\n" FENCE PRODUCT("0") " // HERE\n"
    COMMIT DONE, NULL, 0, 0, 0},
  {"collective", "warpgroup", "  mov.b64 %l10, 0x4000004000010040;\n  mov.b64 %l11, %l10;\n" FENCE PRODUCT("0") " // HERE\n" COMMIT DONE, NULL, 0, 64, 0},
};

static void test_products(void **state) {
  (void)state;
  int wrong = 0;
  for (size_t i = 0; i < sizeof products / sizeof *products; i++)
    for (int d = 0; d < DEVICES; d++) wrong += check_kernel(&products[i], devices[d]);
  assert_int_equal(wrong, 0);
}

/* ---- dependent launches: what the kernel before has written is read behind griddepcontrol.wait ---- */

static const char dependent[] =
  ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry first(.param .u64 y)\n{\n  .reg .b64 %l<4>; .reg .b32 %r<4>;\n"
  "  ld.param.b64 %l0, [y];\n  mov.u32 %r0, %tid.x;\n  mul.wide.u32 %l1, %r0, 4;\n  add.s64 %l0, %l0, %l1;\n  st.global.b32 [%l0], %r0;\n  ret;\n}\n"
  ".visible .entry second(.param .u64 y)\n{\n  .reg .b64 %l<4>; .reg .b32 %r<4>; .reg .pred %p<2>;\n  ld.param.b64 %l0, [y];\n  mov.u32 %r0, %tid.x;\n"
  "  mul.wide.u32 %l1, %r0, 4;\n  add.s64 %l0, %l0, %l1;\n  setp.ge.u32 %p0, %r0, 32;\n  @%p0 bra REST;\n  griddepcontrol.wait;\nREST:\n"
  "  // BARRIER\n  ld.global.b32 %r1, [%l0]; // HERE\n  st.global.b32 [%l0+256], %r1;\n  ret;\n}\n";

static void run_dependent(const char *barrier, int overlaps, const char *says) {
  static char source_text[3000];
  SimCase c;
  DrvFunction first, second;
  snprintf(source_text, sizeof source_text, "%s", dependent);
  memcpy(strstr(source_text, "// BARRIER"), barrier, strlen(barrier));
  case_open(&c, "sm_90a,policy=lazy", source_text);
  OK(cuModuleGetFunction(&first, c.module, "first"));
  OK(cuModuleGetFunction(&second, c.module, "second"));
  DrvPtr dy = device_copy(NULL, 512);
  DrvLaunchAttribute early = {.id = DRV_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION, .value.programmatic_serialization = overlaps};
  DrvLaunchConfig config = {1, 1, 1, 64, 1, 1, 0, NULL, &early, 1};
  OK(cuLaunchKernel(first, 1, 1, 1, 64, 1, 1, 0, NULL, (void *[]){&dy}, NULL));
  unsigned code = cuLaunchKernelEx(&config, second, (void *[]){&dy}, NULL);
  if (!says) OK(code);
  else if (code != DRV_LAUNCH_FAILED || !strstr(last_message(), says)) fail_msg("%u: %s", code, last_message());
  OK(cuMemFree_v2(dy));
  case_close(&c);
}

static void test_dependent(void **state) {
  (void)state;
  run_dependent("bar.sync 0;", 1, NULL);                        /* warp 0 waits, the barrier tells warp 1 */
  run_dependent("          ", 1, "griddepcontrol.wait comes first"); /* warp 1 reads too early */
  run_dependent("          ", 0, NULL);                         /* an ordinary launch */
}

DrvResult cuOccupancyMaxPotentialClusterSize(int *blocks, DrvFunction function, const DrvLaunchConfig *config); /* which the runtime does not use */

/* Clusters that fit at a time, and how large they may be. */
static void test_occupancy(void **state) {
  (void)state;
  SimCase c;
  DrvFunction f, pair;
  int n = -1;
  case_open(&c, "sm_90a,sms=9", ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{\n  ret;\n}\n"
                                ".visible .entry pair()\n.reqnctapercluster 2, 1, 1\n{\n  ret;\n}\n");
  OK(cuModuleGetFunction(&f, c.module, "k"));
  OK(cuModuleGetFunction(&pair, c.module, "pair"));
  OK(cuFuncSetAttribute(f, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200 * 1024));
  OK(cuFuncSetAttribute(pair, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200 * 1024));
  DrvLaunchAttribute four = {.id = DRV_LAUNCH_CLUSTER_DIMENSION, .value.cluster = {4, 1, 1}};
  DrvLaunchConfig config = {64, 1, 1, 128, 1, 1, 200 * 1024, NULL, &four, 1}, alone = {64, 1, 1, 128, 1, 1, 200 * 1024, NULL, NULL, 0};
  OK(cuOccupancyMaxActiveClusters(&n, f, &config)); /* a block to an SM: two of four, and one SM is left over */
  assert_int_equal(n, 2);
  OK(cuOccupancyMaxActiveClusters(&n, pair, &alone));
  assert_int_equal(n, 4);
  assert_int_equal(cuOccupancyMaxActiveClusters(&n, pair, &config), DRV_INVALID_CLUSTER_SIZE);
  OK(cuOccupancyMaxPotentialClusterSize(&n, f, &config));
  assert_int_equal(n, 8);
  four.value.cluster.x = 16;
  assert_int_equal(cuOccupancyMaxActiveClusters(&n, f, &config), DRV_INVALID_CLUSTER_SIZE);
  four.value.cluster.x = 3;
  assert_int_equal(cuOccupancyMaxActiveClusters(&n, f, &config), DRV_INVALID_VALUE);
  assert_int_equal(cuOccupancyMaxActiveClusters(NULL, f, &config), DRV_INVALID_VALUE);
  assert_int_equal(cuOccupancyMaxActiveClusters(&n, f, NULL), DRV_INVALID_VALUE);
  assert_int_equal(cuOccupancyMaxActiveClusters(&n, NULL, &alone), DRV_INVALID_HANDLE);
  case_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_products), cmocka_unit_test(test_dependent),
                                     cmocka_unit_test(test_occupancy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
