/* test_hazard.c - hazard.c on small programs in text form: where barriers go, what a ring's wait may leave in flight, what is
 * refused. */
#include "tile_case.h"

static void run_in(Run *r, const char *kernel, const char *body) {
  char text[8192];
  snprintf(text, sizeof text,
           "kernel name=\"k\" threads=128 %s{\n"
           "  v = view tensor=\"x\" rank=2 dtype=f16 align=16 sizes=\"M,N\" strides=\"s,1\"\n"
           "  acc = frag dtype=f32 shape=[64,64] layout=\"r2@1:1 r2@0:8 r4@1:8 r2@0:16 l4@1:2 l8@0:1 w2@0:32 w2@1:32\"\n"
           "  t = smem dtype=f32 shape=[64,64]\n"
           "  a = smem dtype=f16 shape=[64,32] name=\"a\"\n"
           "  b = smem dtype=f16 shape=[64,32] name=\"b\"\n"
           "  ring = ring a, b stages=2 filled_by=\"cp.async\" fields=\"a,b\"\n%s}\n", kernel, body);
  read_text(r, text);
  r->ok = tile_complete(&r->tiles) && tile_hazard(&r->tiles);
}

static void run(Run *r, const char *body) { run_in(r, "", body); }

static const TileNode *nth(const Run *r, TileOp op, int n) {
  for (uint32_t i = 1; i < r->tiles.nodes.n; i++)
    if (r->tiles.nodes.at[i].op == op && n-- == 0) return &r->tiles.nodes.at[i];
  return NULL;
}

static void assert_refused_in(const char *kernel, const char *body, const char *words) {
  Run r;
  run_in(&r, kernel, body);
  assert_false(r.ok);
  if (!strstr(r.diag.text.at, words)) fprintf(stderr, "%s\n", r.diag.text.at);
  assert_non_null(strstr(r.diag.text.at, words));
  end(&r);
}

static void assert_refused(const char *body, const char *words) { assert_refused_in("", body, words); }

#define READ_AS(warps) "load t, 0:i64, 0:i64 shape=[64,64] layout=\"r2@1:1 r2@0:8 r4@1:8 r2@0:16 l4@1:2 l8@0:1 " warps "\"\n"
#define READ READ_AS("w2@1:32 w2@0:32")     /* what other warps wrote than those that read it */
#define READ_OWN READ_AS("w2@0:32 w2@1:32") /* as acc lies */

static void read_after_write_needs_a_barrier(void **state) {
  (void)state;
  Run r;
  run(&r, "  store t, acc, 0:i64, 0:i64\n  f = " READ "  g = " READ);
  assert_true(r.ok);
  assert_false(nth(&r, TILE_store, 0)->sync_before);
  assert_true(nth(&r, TILE_load, 0)->sync_before);
  assert_false(nth(&r, TILE_load, 1)->sync_before);
  end(&r);
}

static void own_elements_need_none(void **state) {
  (void)state;
  Run r;
  run(&r, "  i = for 0, 4, 1 {\n    f = " READ_OWN "    store t, acc, 0:i64, 0:i64\n    g = " READ_OWN "  }\n  h = " READ);
  assert_true(r.ok);
  assert_false(nth(&r, TILE_store, 0)->sync_before);
  assert_false(nth(&r, TILE_load, 0)->sync_before);
  assert_false(nth(&r, TILE_load, 1)->sync_before);
  assert_true(nth(&r, TILE_load, 2)->sync_before);
  end(&r);
  run(&r, "  f = " READ_OWN "  g = " READ "  store t, acc, 0:i64, 0:i64\n  h = " READ_OWN); /* one of two reads was by others */
  assert_true(r.ok);
  assert_true(nth(&r, TILE_store, 0)->sync_before);
  assert_false(nth(&r, TILE_load, 2)->sync_before);
  end(&r);
  run(&r, "  m = param name=\"M\" dtype=i64\n  p = lt m, 4:i64\n  if p {\n    f = " READ "  } else {\n    g = " READ_OWN "  }\n  store t, acc, 0:i64, 0:i64\n");
  assert_true(r.ok);
  assert_true(nth(&r, TILE_store, 0)->sync_before);
  end(&r);
}

#define PIECE "shape=[64,32] layout=\"r2@1:1 r2@0:8 r2@1:8 r2@0:16 l4@1:2 l8@0:1 w2@0:32 w2@1:16\"\n"
#define PIECES "  half = frag dtype=f32 " PIECE "  flat = frag dtype=f32 shape=[32,64] layout=\"r2@1:1 r2@0:8 r4@1:8 l4@1:2 l8@0:1 w2@0:16 w2@1:32\"\n" \
  "  u = smem dtype=f32 shape=[64,64]\n"

static void pieces_of_one_size_need_none(void **state) { /* whichever of them they are */
  (void)state;
  Run r;
  run(&r, PIECES "  i = for 0, 2, 1 {\n    p = part u, i dim=1 size=32\n    store p, half, 0:i64, 0:i64\n  }\n"
          "  i = for 0, 2, 1 {\n    p = part u, i dim=1 size=32\n    f = load p, 0:i64, 0:i64 " PIECE "  }\n");
  if (!r.ok) fprintf(stderr, "%s\n", r.diag.text.at);
  assert_true(r.ok);
  assert_false(nth(&r, TILE_store, 0)->sync_before);
  assert_false(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
  run(&r, PIECES "  p = part u, 0:i32 dim=1 size=32\n  store p, half, 0:i64, 0:i64\n  q = part u, 1:i32 dim=0 size=32\n  store q, flat, 0:i64, 0:i64\n");
  assert_true(r.ok);
  assert_true(nth(&r, TILE_store, 1)->sync_before);
  end(&r);
  run(&r, PIECES "  store u, half, 0:i64, 0:i64\n  store u, half, 0:i64, 32:i64\n"); /* not whole: what lies elsewhere may be anyone's */
  assert_true(r.ok);
  assert_true(nth(&r, TILE_store, 1)->sync_before);
  end(&r);
}

/* Of two threads that hold an element one writes it, and what lies like accumulators of a warpgroup is read by the warp. */
static void elements_of_several_threads_need_one(void **state) {
  (void)state;
  static const char *const layouts[] = {"r4@1:4 r16@0:4 l4@1:1 l4@0:1 l2@* w4@1:16", "r2@1:1 r2@0:8 r8@1:8 l4@1:2 l8@0:1 w4@0:16"};
  for (int i = 0; i < 2; i++) {
    char text[1024];
    snprintf(text, sizeof text, "  g = frag dtype=f32 shape=[64,64] layout=\"%s\"\n  store t, g, 0:i64, 0:i64\n"
             "  f = load t, 0:i64, 0:i64 shape=[64,64] layout=\"%s\"\n", layouts[i], layouts[i]);
    Run r;
    run(&r, text);
    if (!r.ok) fprintf(stderr, "%s\n", r.diag.text.at);
    assert_true(r.ok);
    assert_true(nth(&r, TILE_load, 0)->sync_before);
    end(&r);
  }
}

static void an_explicit_barrier_serves(void **state) {
  (void)state;
  Run r;
  run(&r, "  store t, acc, 0:i64, 0:i64\n  sync\n  f = " READ);
  assert_true(r.ok);
  assert_false(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
}

static void a_store_of_a_slot_serves(void **state) { /* it begins once all have written the slot */
  (void)state;
  Run r;
  run_in(&r, "", "  o = smem dtype=f16 shape=[64,32]\n  h = frag dtype=f16 shape=[64,32] layout=\"r2@1:1 r2@0:8 r4@1:8 l4@1:2 l8@0:1 w4@0:16\"\n"
         "  m = map v dims=\"M,N\" box=[64,32] swizzle=64\n  out = ring o stages=2 filled_by=\"store\" fields=\"o\"\n"
         "  store t, acc, 0:i64, 0:i64\n  s = acquire out\n  put_slot s, h field=\"o\"\n  store_slot s, m, 0:i64, 0:i64 field=\"o\"\n  commit s\n"
         "  f = " READ "  drain out\n");
  if (!r.ok) fprintf(stderr, "%s\n", r.diag.text.at);
  assert_true(r.ok);
  assert_false(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
}

static void a_loop_meets_itself(void **state) { /* the write of the next round follows the read of this one */
  (void)state;
  Run r;
  run(&r, "  i = for 0, 4, 1 {\n    store t, acc, 0:i64, 0:i64\n    f = " READ "  }\n");
  assert_true(r.ok);
  assert_true(nth(&r, TILE_store, 0)->sync_before);
  assert_true(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
}

static void one_branch_is_enough(void **state) {
  (void)state;
  Run r;
  run(&r, "  m = param name=\"M\" dtype=i64\n  p = lt m, 4:i64\n  if p {\n    store t, acc, 0:i64, 0:i64\n  }\n  f = " READ);
  assert_true(r.ok);
  assert_true(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
}

#define FILL(s, k)                                                                                       \
  "  " s " = acquire ring\n  fill_slot " s ", v, 0:i64, " k ":i64 field=\"a\"\n  fill_slot " s ", v, 0:i64, " k \
  ":i64 field=\"b\"\n  commit " s "\n"

static void waits_leave_the_younger_copies(void **state) {
  (void)state;
  Run r;
  run(&r, FILL("s0", "0") FILL("s1", "32") "  w0 = wait ring\n  release w0\n  w1 = wait ring\n  release w1\n");
  assert_true(r.ok);
  assert_int_equal(nth(&r, TILE_wait, 0)->derived, 1);
  assert_int_equal(nth(&r, TILE_wait, 1)->derived, 0);
  end(&r);
}

static void a_steady_loop_needs_no_barrier_of_its_own(void **state) {
  (void)state;
  Run r;
  run(&r, FILL("s0", "0") "  i = for 0, 8, 1 {\n  w = wait ring\n" FILL("s1", "32")
                          "  ta = field w name=\"a\"\n  tb = field w name=\"b\"\n  bt = trans tb\n  mma acc, ta, bt\n  release w\n  }\n");
  assert_true(r.ok);
  assert_int_equal(nth(&r, TILE_wait, 0)->derived, 0);
  assert_false(nth(&r, TILE_acquire, 1)->sync_before);
  end(&r);
}

static void an_acquire_behind_a_release_needs_one(void **state) {
  (void)state;
  Run r;
  run(&r, FILL("s0", "0") "  w = wait ring\n  ta = field w name=\"a\"\n  tb = field w name=\"b\"\n  bt = trans tb\n"
          "  mma acc, ta, bt\n  release w\n" FILL("s1", "32") "  w1 = wait ring\n  release w1\n");
  assert_true(r.ok);
  assert_true(nth(&r, TILE_acquire, 1)->sync_before);
  end(&r);
}

static void too_many_slots_are_refused(void **state) {
  (void)state;
  assert_refused(FILL("s0", "0") FILL("s1", "0") FILL("s2", "0"), "all 2 slots of the ring are taken");
}

static void waiting_for_nothing_is_refused(void **state) {
  (void)state;
  assert_refused("  w = wait ring\n  release w\n", "no committed slot is left");
}

static void an_uneven_loop_is_refused(void **state) {
  (void)state;
  assert_refused("  i = for 0, 8, 1 {\n" FILL("s0", "0") "  }\n", "do not come out even");
}

#define ALIAS "  d = smem ring dtype=f32 shape=[64,32]\n"
#define LIKE "layout=\"r2@1:1 r2@0:8 r2@1:8 r2@0:16 l4@1:2 l8@0:1 w2@0:32 w2@1:16\"\n"
#define READ_ALIAS "load d, 0:i64, 0:i64 shape=[64,32] " LIKE

static void bytes_of_a_ring_in_use_are_refused(void **state) {
  (void)state;
  assert_refused(ALIAS FILL("s0", "0") "  g = frag dtype=f32 shape=[64,32] " LIKE
                 "  store d, g, 0:i64, 0:i64\n  w = wait ring\n  release w\n",
                 "shares its bytes with a ring of which 1 slots are held and 1 copies under way");
  assert_refused(ALIAS FILL("s0", "0") "  w = wait ring\n  f = " READ_ALIAS "  release w\n", "shares its bytes with a ring of which 1 slots are held and 0");
}

static void an_acquire_behind_a_read_of_its_bytes_needs_one(void **state) {
  (void)state;
  Run r;
  run(&r, ALIAS "  f = " READ_ALIAS FILL("s0", "0") "  w = wait ring\n  release w\n");
  assert_true(r.ok);
  assert_true(nth(&r, TILE_acquire, 0)->sync_before);
  end(&r);
}

static void an_alias_behind_a_drain_needs_one(void **state) {
  (void)state;
  Run r;
  run(&r, ALIAS FILL("s0", "0") "  w = wait ring\n  release w\n  drain ring\n"
          "  g = frag dtype=f32 shape=[64,32] " LIKE "  store d, g, 0:i64, 0:i64\n  f = " READ_ALIAS);
  assert_true(r.ok);
  assert_true(nth(&r, TILE_store, 0)->sync_before);
  assert_true(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
}

static void slots_are_committed_in_order(void **state) {
  (void)state;
  assert_refused("  s0 = acquire ring\n  s1 = acquire ring\n  commit s1\n  commit s0\n", "is not committed yet");
}

static void a_tensor_that_is_stored_and_loaded_needs_one(void **state) {
  (void)state;
  Run r;
  run(&r, "  y = view tensor=\"y\" rank=2 dtype=f32 align=16 sizes=\"M,N\" strides=\"s,1\"\n"
          "  z = view tensor=\"y\" rank=2 dtype=f32 align=16 sizes=\"M,N\" strides=\"s,1\"\n"
          "  store y, acc, 0:i64, 0:i64\n  store y, acc, 64:i64, 0:i64\n  f = load_like z, acc, 0:i64, 0:i64\n  store y, acc, 0:i64, 0:i64\n");
  assert_true(r.ok);
  assert_false(nth(&r, TILE_store, 1)->sync_before);
  assert_true(nth(&r, TILE_load_like, 0)->sync_before);
  assert_true(nth(&r, TILE_store, 2)->sync_before);
  end(&r);
}

/* Each tile is written in one branch, and read in the next one a round before. */
static void a_chain_of_tiles_in_a_loop(void **state) {
  (void)state;
  char text[6000];
  int n = 0, tiles = 12;
  for (int k = 0; k < tiles; k++) n += snprintf(text + n, sizeof text - (size_t)n, "  t%d = smem dtype=f32 shape=[64,64]\n", k);
  n += snprintf(text + n, sizeof text - (size_t)n, "  i = for 0, 8, 1 {\n");
  for (int k = tiles - 1; k >= 0; k--)
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "    p%d = lt i, %d:i32\n    if p%d {\n      store t%d, acc, 0:i64, 0:i64\n"
                  "      f%d = load_like t%d, acc, 0:i64, 0:i64\n    }\n", k, k, k, k, k, (k + 1) % tiles);
  snprintf(text + n, sizeof text - (size_t)n, "  }\n");
  Run r;
  run(&r, text);
  assert_true(r.ok);
  for (int k = 0; k < tiles - 1; k++) assert_true(nth(&r, TILE_store, k)->sync_before);
  end(&r);
}

#define READ_PEER "load p, 0:i64, 0:i64 shape=[64,64] layout=\"r2@1:1 r2@0:8 r4@1:8 r2@0:16 l4@1:2 l8@0:1 w2@0:32 w2@1:32\"\n"

static void other_ctas_need_a_barrier_of_the_cluster(void **state) {
  (void)state;
  Run r;
  run_in(&r, "cluster=[2,1,1] ",
         "  p = peer t, 1\n  for 0, 4, 1 {\n  store t, acc, 0:i64, 0:i64\n  cluster_sync\n  f = " READ_PEER "  cluster_sync\n  }\n");
  assert_true(r.ok);
  assert_false(nth(&r, TILE_load, 0)->sync_before);
  end(&r);
  assert_refused_in("cluster=[2,1,1] ", "  p = peer t, 1\n  store t, acc, 0:i64, 0:i64\n  sync\n  f = " READ_PEER,
                    "written since the last cluster_sync");
  assert_refused_in("cluster=[2,1,1] ",
                    "  p = peer t, 1\n  for 0, 4, 1 {\n  store t, acc, 0:i64, 0:i64\n  cluster_sync\n  f = " READ_PEER "  }\n",
                    "may still be read by other CTAs");
  assert_refused_in("cluster=[2,1,1] ", "  p = peer t, 1\n  store t, acc, 0:i64, 0:i64\n  cluster_sync relaxed\n", "leave out relaxed");
  assert_refused_in("cluster=[2,1,1] ", "  p = peer t, 1\n  f = " READ_PEER "  cluster_sync relaxed\n", "leave out relaxed");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(other_ctas_need_a_barrier_of_the_cluster),
    cmocka_unit_test(bytes_of_a_ring_in_use_are_refused), cmocka_unit_test(an_acquire_behind_a_read_of_its_bytes_needs_one),
    cmocka_unit_test(an_alias_behind_a_drain_needs_one), cmocka_unit_test(slots_are_committed_in_order),
    cmocka_unit_test(a_tensor_that_is_stored_and_loaded_needs_one), cmocka_unit_test(a_chain_of_tiles_in_a_loop),
    cmocka_unit_test(own_elements_need_none),           cmocka_unit_test(pieces_of_one_size_need_none),
    cmocka_unit_test(elements_of_several_threads_need_one),
    cmocka_unit_test(read_after_write_needs_a_barrier), cmocka_unit_test(an_explicit_barrier_serves),
    cmocka_unit_test(a_store_of_a_slot_serves),
    cmocka_unit_test(a_loop_meets_itself),              cmocka_unit_test(one_branch_is_enough),
    cmocka_unit_test(waits_leave_the_younger_copies),   cmocka_unit_test(a_steady_loop_needs_no_barrier_of_its_own),
    cmocka_unit_test(an_acquire_behind_a_release_needs_one), cmocka_unit_test(too_many_slots_are_refused),
    cmocka_unit_test(waiting_for_nothing_is_refused),   cmocka_unit_test(an_uneven_loop_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
