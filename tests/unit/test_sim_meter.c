/* test_sim_meter.c - the meter: accesses whose wavefronts and sectors are known by hand. */
#include "sim_case.h"
#include <stdbool.h>

typedef struct Want { uint64_t shared_requests, wavefronts, shared_ideal, global_requests, sectors, global_ideal; } Want;
typedef struct Case { const char *body; Want want; } Case; /* the instruction in question ends in "// X" */

/* r2 lane; r3 shared memory; r4, r5, r6: 4, 8 and 16 bytes of it per lane; rd1 global memory; rd4: 4 bytes of it per lane */
#define HEAD                                                                                                           \
  ".version 7.8\n.target sm_80\n.address_size 64\n.shared .align 128 .b8 tile[8192];\n"                                \
  ".visible .entry k(.param .u64 x)\n{\n .reg .pred %p<4>; .reg .b32 %r<40>; .reg .b64 %rd<16>; .reg .b16 %h<8>;\n"     \
  " ld.param.b64 %rd1, [x]; // P\n mov.u32 %r2, %tid.x;\n mov.u32 %r3, tile;\n shl.b32 %r10, %r2, 2;\n add.s32 %r4, %r3, %r10;\n"  \
  " shl.b32 %r11, %r2, 3;\n add.s32 %r5, %r3, %r11;\n shl.b32 %r12, %r2, 4;\n add.s32 %r6, %r3, %r12;\n"               \
  " mul.wide.u32 %rd3, %r2, 4;\n add.s64 %rd4, %rd1, %rd3;\n setp.lt.s32 %p1, %r2, 16;\n"
#define AT(stride) " mad.lo.s32 %r7, %r2, " #stride ", %r3;\n"
#define GLOBAL(stride) " mul.wide.u32 %rd5, %r2, " #stride ";\n add.s64 %rd6, %rd1, %rd5;\n"

static const Case cases[] = {
  /* ---- shared memory: requests, wavefronts, ideal ---- */
  {"st.shared.b32 [%r4], %r2; // X\n", {1, 1, 1, 0, 0, 0}},                      /* a word of each bank */
  {"st.shared.b32 [%r5], %r2; // X\n", {1, 2, 1, 0, 0, 0}},                      /* every second word: two lanes to a bank */
  {AT(128) "st.shared.b32 [%r7], %r2; // X\n", {1, 32, 1, 0, 0, 0}},             /* all in one bank */
  {AT(132) "st.shared.b32 [%r7], %r2; // X\n", {1, 1, 1, 0, 0, 0}},              /* rows padded by a word */
  {AT(64) "st.shared.b32 [%r7], %r2; // X\n", {1, 16, 1, 0, 0, 0}},
  {"ld.shared.b32 %r20, [%r3]; // X\n", {1, 1, 1, 0, 0, 0}},                     /* one word for all */
  {AT(1) "ld.shared.u8 %r20, [%r7]; // X\n", {1, 1, 1, 0, 0, 0}},                /* four lanes to a word */
  {" and.b32 %r8, %r2, 1;\n mad.lo.s32 %r7, %r8, 128, %r3;\n ld.shared.b32 %r20, [%r7]; // X\n", {1, 2, 1, 0, 0, 0}}, /* two words of one bank */
  {"st.shared.v2.b32 [%r5], {%r2, %r2}; // X\n", {1, 2, 2, 0, 0, 0}},            /* by half warps */
  {"st.shared.v4.b32 [%r6], {%r2, %r2, %r2, %r2}; // X\n", {1, 4, 4, 0, 0, 0}},  /* by quarters */
  {AT(32) "st.shared.v4.b32 [%r7], {%r2, %r2, %r2, %r2}; // X\n", {1, 8, 4, 0, 0, 0}},
  {AT(128) "st.shared.v4.b32 [%r7], {%r2, %r2, %r2, %r2}; // X\n", {1, 32, 4, 0, 0, 0}},
  {"@%p1 st.shared.v4.b32 [%r6], {%r2, %r2, %r2, %r2}; // X\n", {1, 2, 2, 0, 0, 0}}, /* half of the lanes: two quarters */
  {"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r6]; // X\n", {1, 4, 4, 0, 0, 0}},
  {"ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r20, %r21}, [%r6]; // X\n", {1, 2, 2, 0, 0, 0}},
  {AT(128) "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r7]; // X\n", {1, 32, 4, 0, 0, 0}},
  {AT(144) "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r7]; // X\n", {1, 4, 4, 0, 0, 0}},
  {" cvt.u64.u32 %rd7, %r5;\n cvta.shared.u64 %rd8, %rd7;\n ld.b32 %r20, [%rd8]; // X\n", {1, 2, 1, 0, 0, 0}}, /* a generic address */
  {"atom.shared.add.u32 %r20, [%r4], 1; // X\n", {1, 1, 1, 0, 0, 0}},
  /* ---- global memory: requests, sectors, ideal ---- */
  {"ld.global.b32 %r20, [%rd4]; // X\n", {0, 0, 0, 1, 4, 4}},
  {"ld.global.b32 %r20, [%rd1]; // X\n", {0, 0, 0, 1, 1, 1}},                    /* one word for all */
  {"ld.global.b32 %r20, [%rd4+4]; // X\n", {0, 0, 0, 1, 5, 4}},                  /* across the border of a sector */
  {GLOBAL(8) "ld.global.b32 %r20, [%rd6]; // X\n", {0, 0, 0, 1, 8, 4}},
  {GLOBAL(16) "ld.global.b32 %r20, [%rd6]; // X\n", {0, 0, 0, 1, 16, 4}},
  {GLOBAL(32) "ld.global.b32 %r20, [%rd6]; // X\n", {0, 0, 0, 1, 32, 4}},
  {GLOBAL(128) "ld.global.b32 %r20, [%rd6]; // X\n", {0, 0, 0, 1, 32, 4}},
  {GLOBAL(16) "ld.global.v4.b32 {%r20, %r21, %r22, %r23}, [%rd6]; // X\n", {0, 0, 0, 1, 16, 16}},
  {GLOBAL(2) "ld.global.b16 %h1, [%rd6]; // X\n", {0, 0, 0, 1, 2, 2}},
  {"@%p1 st.global.b32 [%rd4], %r2; // X\n", {0, 0, 0, 1, 2, 2}},
  {"red.global.add.u32 [%rd4], 1; // X\n", {0, 0, 0, 1, 4, 4}},
  /* ---- a copy is both; nothing is read where its size is 0 ---- */
  {GLOBAL(16) "cp.async.cg.shared.global [%r6], [%rd6], 16; // X\n cp.async.wait_all;\n", {1, 4, 4, 1, 16, 16}},
  {GLOBAL(16) " selp.b32 %r9, 16, 0, %p1;\n cp.async.cg.shared.global [%r6], [%rd6], 16, %r9; // X\n cp.async.wait_all;\n", {1, 4, 4, 1, 8, 8}},
};

static bool find_row(const SimCase *c, int line, kilnsim_meter_row *row) {
  for (int i = 0; kilnsim_meter(c->ordinal, i, row) == 0; i++)
    if (row->ptx_line == line) return true;
  return false;
}

static kilnsim_meter_row run(SimCase *c, const char *options, const char *body, unsigned launches) {
  char text[3000];
  kilnsim_meter_row row;
  snprintf(text, sizeof text, "%s%s ret;\n}\n", HEAD, body);
  case_open(c, options, text);
  OK(kilnsim_meter_reset(c->ordinal));
  char host[8192] = {0};
  DrvPtr x = device_copy(host, sizeof host);
  for (unsigned i = 0; i < launches; i++) OK(case_launch(c, 1, 32, 0, (void *[]){&x}));
  if (!find_row(c, line_of(text, "// X"), &row)) fail_msg("no row for %s", body);
  return row;
}

static void counts_by_hand(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    SimCase c;
    kilnsim_meter_row r = run(&c, "sm_80,meter=on,checks=off", cases[i].body, 1);
    const Want *w = &cases[i].want;
    if (r.shared_requests != w->shared_requests || r.shared_wavefronts != w->wavefronts || r.shared_ideal != w->shared_ideal ||
        r.global_requests != w->global_requests || r.global_sectors != w->sectors || r.global_ideal != w->global_ideal)
      fail_msg("%s: shared %d in %d of %d, global %d in %d of %d", cases[i].body, (int)r.shared_requests, (int)r.shared_wavefronts,
               (int)r.shared_ideal, (int)r.global_requests, (int)r.global_sectors, (int)r.global_ideal);
    case_close(&c);
  }
}

static void counts_bytes_and_launches(void **state) {
  (void)state;
  SimCase c;
  kilnsim_meter_row r = run(&c, "sm_80,meter=on,seed=1", GLOBAL(16) "cp.async.cg.shared.global [%r6], [%rd6], 16; // X\n cp.async.wait_all;\n", 3);
  assert_int_equal(r.read[KILNSIM_GLOBAL], 3 * 512);
  assert_int_equal(r.written[KILNSIM_SHARED], 3 * 512);
  assert_int_equal(r.written[KILNSIM_GLOBAL] + r.read[KILNSIM_SHARED], 0);
  assert_int_equal(r.lane_instructions, 3 * 32);
  assert_string_equal(r.opcode, "cp.async.cg.shared.global");
  assert_string_equal(r.entry, "k");
  kilnsim_meter_row param;
  assert_true(find_row(&c, line_of(HEAD, "// P"), &param));
  assert_int_equal(param.read[KILNSIM_PARAM], 3 * 32 * 8);
  OK(kilnsim_meter_reset(c.ordinal));
  assert_int_equal(kilnsim_meter(c.ordinal, 0, &r), DRV_NOT_FOUND);
  case_close(&c);
}

/* Bulk copies: bytes and sectors of the copy, none of a lane; st.async: those of the lane. */
#define BULK_HEAD                                                                                                      \
  ".version 8.1\n.target sm_90a\n.address_size 64\n.shared .align 128 .b8 tile[2048];\n.shared .align 8 .b8 bar[8];\n"  \
  ".visible .entry k(.param .u64 x)\n{\n .reg .pred %p<4>; .reg .b32 %r<40>; .reg .b64 %rd<16>;\n"                    \
  " ld.param.b64 %rd1, [x];\n add.s64 %rd2, %rd1, 4096;\n mov.u32 %r2, %tid.x;\n mov.u32 %r3, tile;\n mov.u32 %r4, bar;\n" \
  " setp.ne.u32 %p0, %r2, 0;\n @%p0 bra on;\n mbarrier.init.shared.b64 [%r4], 1;\n fence.proxy.async;\n"             \
  " mbarrier.arrive.expect_tx.shared.b64 _, [%r4], 1032;\n"                                                            \
  " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1+16], 1024, [%r4]; // L\n"            \
  " add.s32 %r5, %r3, 1024;\n mapa.shared::cluster.u32 %r6, %r5, 0;\n mapa.shared::cluster.u32 %r7, %r4, 0;\n"        \
  " st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%r6], {%r2, %r2}, [%r7]; // A\n"                 \
  "w:\n mbarrier.try_wait.parity.shared.b64 %p1, [%r4], 0;\n @!%p1 bra w;\n"                                          \
  " cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r3], 512; // S\n"                                            \
  " cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd2], [%r3], 256; // R\n"                             \
  " cp.async.bulk.commit_group;\n cp.async.bulk.wait_group 0;\non:\n ret;\n}\n"

static void counts_bulk_copies(void **state) {
  (void)state;
  SimCase c;
  kilnsim_meter_row r;
  case_open(&c, "sm_90a,meter=on,checks=off", BULK_HEAD);
  OK(kilnsim_meter_reset(c.ordinal));
  char host[8192] = {0};
  DrvPtr x = device_copy(host, sizeof host);
  OK(case_launch(&c, 1, 32, 0, (void *[]){&x}));
  assert_true(find_row(&c, line_of(BULK_HEAD, "// L"), &r));
  assert_int_equal(r.read[KILNSIM_GLOBAL], 1024);
  assert_int_equal(r.written[KILNSIM_SHARED], 1024);
  assert_true(r.global_requests == 1 && r.global_sectors == 33 && r.global_ideal == 32);
  assert_true(r.shared_requests == 0 && r.read[KILNSIM_SHARED] == 0 && r.written[KILNSIM_GLOBAL] == 0);
  assert_true(find_row(&c, line_of(BULK_HEAD, "// A"), &r));
  assert_int_equal(r.written[KILNSIM_SHARED], 8);
  assert_true(find_row(&c, line_of(BULK_HEAD, "// S"), &r));
  assert_true(r.read[KILNSIM_SHARED] == 512 && r.written[KILNSIM_GLOBAL] == 512 && r.read[KILNSIM_GLOBAL] == 0 && r.global_sectors == 16);
  assert_true(find_row(&c, line_of(BULK_HEAD, "// R"), &r));
  assert_true(r.read[KILNSIM_SHARED] == 256 && r.written[KILNSIM_GLOBAL] == 256 && r.read[KILNSIM_GLOBAL] == 256);
  case_close(&c);
}

/* An atomic of global memory waits for its turn; it is one request all the same. A device without the option has no rows. */
static void counts_once(void **state) {
  (void)state;
  SimCase c;
  kilnsim_meter_row r = run(&c, "sm_80,meter=on,seed=7", "atom.global.add.u32 %r20, [%rd1], 1; // X\n", 1);
  assert_int_equal(r.global_requests, 1);
  assert_int_equal(r.global_sectors, 1);
  assert_int_equal(r.read[KILNSIM_GLOBAL], 32 * 4);
  case_close(&c);
  case_open(&c, "sm_80,meter=off", HEAD " ret;\n}\n");
  DrvPtr x = device_copy(NULL, 64);
  OK(case_launch(&c, 1, 32, 0, (void *[]){&x}));
  assert_int_equal(kilnsim_meter(c.ordinal, 0, &r), DRV_NOT_FOUND);
  assert_non_null(strstr(last_message(), "meter=on"));
  case_close(&c);
  int ordinal;
  assert_int_equal(kilnsim_configure("sm_80,meter=maybe", &ordinal), DRV_INVALID_VALUE);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(counts_by_hand), cmocka_unit_test(counts_bytes_and_launches), cmocka_unit_test(counts_once),
                                     cmocka_unit_test(counts_bulk_copies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
