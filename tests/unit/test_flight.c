/* test_flight.c - hazard_flight.c and hazard_store.c on small programs in text form: products in flight, what may be touched and given
 * back when, which end of a ring a skip passes over; how many groups of stores an acquire leaves. */
#include "tile_case.h"

static void run_text(Run *r, const char *text) {
  read_text(r, text);
  r->ok = tile_check(&r->tiles) && tile_complete(&r->tiles) && tile_hazard(&r->tiles);
}

/* body: what the role of the products does. */
static void run(Run *r, const char *body) {
  char text[8192];
  snprintf(text, sizeof text,
           "kernel name=\"k\" threads=256 min_ctas=1 {\n"
           "  v = view tensor=\"x\" rank=2 dtype=bf16 align=16 sizes=\"M,K\" strides=\"s,1\"\n"
           "  m = map v dims=\"M,K\" box=[64,64] swizzle=128\n"
           "  n = param name=\"n\" dtype=i32\n"
           "  a = smem dtype=bf16 shape=[64,64] name=\"a\"\n"
           "  b = smem dtype=bf16 shape=[64,64] name=\"b\"\n"
           "  plain = smem dtype=bf16 shape=[64,64]\n"
           "  ring = ring a, b stages=3 filled_by=\"tma\" emptied_by=\"math\" fields=\"a,b\"\n"
           "  role name=\"load\" warps=4 regs=40 {\n"
           "    elect {\n"
           "      i = for 0, n, 1 {\n"
           "        s = acquire ring\n"
           "        fill_slot s, m, 0:i64, i field=\"a\"\n"
           "        fill_slot s, m, 0:i64, i field=\"b\"\n"
           "        commit s\n"
           "      }\n"
           "    }\n"
           "    skip ring, n\n"
           "  }\n"
           "  role name=\"math\" warps=4 regs=232 {\n"
           "    acc = frag dtype=f32 shape=[64,64]\n%s"
           "  }\n}\n", body);
  run_text(r, text);
}

static void assert_accepted(const char *body) {
  Run r;
  run(&r, body);
  if (!r.ok) fprintf(stderr, "%s\n", r.diag.text.at);
  assert_true(r.ok);
  end(&r);
}

static void assert_refused(const char *body, const char *words) {
  Run r;
  run(&r, body);
  assert_false(r.ok);
  if (!strstr(r.diag.text.at, words)) fprintf(stderr, "%s\n", r.diag.text.at);
  assert_non_null(strstr(r.diag.text.at, words));
  end(&r);
}

#define SLOT(n)                                                                                                                        \
  "    s" n " = wait ring\n    a" n " = field s" n " name=\"a\"\n    b" n " = field s" n " name=\"b\"\n    t" n " = trans b" n "\n"
#define HALF "r2@1:1 r2@0:8 r4@1:8 l4@1:2 l8@0:1 w4@0:16"
#define FIRST SLOT("0") "    mma acc, a0, t0 zero\n"
#define USE "    x = read acc\n    y = add x, 1.0\n    set acc, y\n"

static void products_are_waited_for(void **state) {
  (void)state;
  assert_accepted(FIRST "    mma_commit\n    mma_wait n=0\n    release s0\n" USE);
}

static void a_fragment_in_flight_is_not_read(void **state) {
  (void)state;
  assert_refused(FIRST "    mma_commit\n" USE "    mma_wait n=0\n    release s0\n", "in use by products in flight");
  assert_refused(FIRST "    mma_commit\n    mma_wait n=1\n" USE "    mma_wait n=0\n    release s0\n", "in use by products in flight");
}

static void a_value_that_shows_its_registers_is_the_fragment(void **state) { /* read and slice copy nothing */
  (void)state;
  assert_refused("    zero acc\n    x = read acc\n" FIRST "    mma_commit\n    y = add x, 1.0\n    mma_wait n=0\n    release s0\n    set acc, y\n",
                 "in use by products in flight");
  assert_refused("    zero acc\n    x = slice acc start=[0,32] shape=[64,32]\n    z = frag dtype=f32 shape=[64,32] layout=\"" HALF "\"\n" FIRST
                 "    mma_commit\n    y = add x, 1.0\n    mma_wait n=0\n    release s0\n    set z, y\n",
                 "in use by products in flight");
}

static void a_slot_in_flight_is_not_released(void **state) {
  (void)state;
  assert_refused(FIRST "    mma_commit\n    release s0\n    mma_wait n=0\n", "may still read the slot");
}

static void only_the_older_slot_is_free(void **state) {
  (void)state;
  const char *head = FIRST "    mma_commit\n" SLOT("1") "    mma acc, a1, t1\n    mma_commit\n    mma_wait n=1\n";
  char text[2048];
  snprintf(text, sizeof text, "%s    release s0\n    mma_wait n=0\n    release s1\n", head);
  assert_accepted(text);
  snprintf(text, sizeof text, "%s    release s1\n    mma_wait n=0\n    release s0\n", head);
  assert_refused(text, "may still read the slot");
}

#define LOOP(wait)                                                                                                                     \
  FIRST "    mma_commit\n    before = carry s0\n    i = for 1, n, 1 {\n" SLOT("1") "    mma acc, a1, t1\n    mma_commit\n" wait         \
    "    done = swap before, s1\n    release done\n    }\n    mma_wait n=0\n    last = take before\n    release last\n" USE

static void a_carried_slot_is_as_old_as_its_product(void **state) {
  (void)state;
  assert_accepted(LOOP("    mma_wait n=1\n"));
  assert_refused(LOOP("    mma_wait n=2\n"), "may still read the slot"); /* found in the second round: two groups back is too young */
  assert_refused(LOOP(""), "may still read the slot");
}

/* an operand in registers, read in each iteration from a field that lasts; the wait leaves the youngest group in flight, or none */
#define OPERAND "r2@1:1 r2@0:8 r8@1:8 l4@1:2 l8@0:1 w4@0:16"
#define REGISTERS(left)                                                                                                                \
  SLOT("0") "    for 0, n, 1 {\n      f = load a0, 0:i64, 0:i64 shape=[64,64] layout=\"" OPERAND "\"\n      mma_rs acc, f, t0\n"           \
            "      mma_commit\n      mma_wait n=" left "\n    }\n    mma_wait n=0\n    release s0\n"

static void an_operand_in_flight_is_not_loaded_again(void **state) {
  (void)state;
  assert_accepted(REGISTERS("0"));
  assert_refused(REGISTERS("1"), "may still read its registers");
  assert_refused(SLOT("0") "    f = load a0, 0:i64, 0:i64 shape=[64,64] layout=\"" OPERAND "\"\n    mma_rs acc, f, t0\n    mma_commit\n"
                 "    g = add f, f\n    mma_wait n=0\n    release s0\n", "in use by products in flight");
}

static void groups_are_closed(void **state) {
  (void)state;
  assert_refused(FIRST "    mma_wait n=0\n    mma_commit\n    release s0\n", "close their group with mma_commit");
  assert_refused(FIRST "    i = for 0, n, 1 {\n    }\n    mma_commit\n    mma_wait n=0\n    release s0\n", "close their group with mma_commit");
}

static void a_role_waits_for_its_products(void **state) {
  (void)state;
  assert_refused(FIRST "    mma_commit\n    mma_wait n=0\n    release s0\n" SLOT("1") "    mma acc, a1, t1\n    mma_commit\n    c = carry s1\n"
                 "    d = take c\n    mma_wait n=1\n    mma_wait n=0\n    release d\n    mma acc, plain, plain zero\n", "plain shared tile");
}

static void one_branch_in_flight_is_enough(void **state) {
  (void)state;
  assert_refused(FIRST "    mma_commit\n    p = lt 0, n\n    if p {\n      mma_wait n=0\n    }\n    release s0\n    mma_wait n=0\n", "may still read the slot");
}

static void a_skip_knows_its_end(void **state) {
  (void)state;
  Run r;
  run(&r, FIRST "    mma_commit\n    mma_wait n=0\n    release s0\n    skip ring, n\n" USE);
  assert_true(r.ok);
  int seen = 0;
  for (uint32_t i = 1; i < r.tiles.nodes.n; i++)
    if (r.tiles.nodes.at[i].op == TILE_skip) assert_int_equal(r.tiles.nodes.at[i].derived, seen++ == 0); /* the loader's, then the reader's */
  assert_int_equal(seen, 2);
  end(&r);
}

/* A role that keeps as many slots as there are waits for ever, and so do two that leave too few to each other. */
#define GET(n) "    s" n " = wait ring\n"
#define PRODUCT FIRST "    mma_commit\n    mma_wait n=0\n    release s0\n"
static void a_ring_is_deep_enough(void **state) {
  (void)state;
  assert_accepted(PRODUCT GET("1") GET("2") GET("3") "    release s1\n    release s2\n    release s3\n");
  assert_refused(PRODUCT GET("1") GET("2") GET("3") GET("4") "    release s1\n    release s2\n    release s3\n    release s4\n", "has all 3 slots");
  assert_accepted(PRODUCT GET("1") "    c = carry s1\n    j = for 1, n, 1 {\n      s2 = wait ring\n      u = swap c, s2\n      release u\n    }\n"
                  "    w = take c\n    release w\n");
  assert_refused(PRODUCT GET("1") "    c = carry s1\n" GET("2") GET("3") GET("4") "    release s2\n    release s3\n    release s4\n"
                 "    w = take c\n    release w\n", "has all 3 slots");
}

#define TWO_AT_ONCE                                                                                                    \
  "kernel name=\"k\" threads=256 min_ctas=1 {\n  v = view tensor=\"x\" rank=2 dtype=bf16 align=16 sizes=\"M,K\" strides=\"s,1\"\n"     \
  "  m = map v dims=\"M,K\" box=[64,64] swizzle=128\n  a = smem dtype=bf16 shape=[64,64] name=\"a\"\n"                 \
  "  ring = ring a stages=%d filled_by=\"tma\" emptied_by=\"math\" fields=\"a\"\n  role name=\"load\" warps=4 {\n    elect {\n"   \
  "      s = acquire ring\n      t = acquire ring\n      fill_slot s, m, 0:i64, 0:i64 field=\"a\"\n"                  \
  "      fill_slot t, m, 0:i64, 0:i64 field=\"a\"\n      commit s\n      commit t\n    }\n  }\n"                       \
  "  role name=\"math\" warps=4 {\n    x = wait ring\n    y = wait ring\n    release x\n    release y\n  }\n}\n"

static void two_roles_leave_each_other_slots(void **state) {
  (void)state;
  for (int stages = 2; stages <= 3; stages++) {
    char text[4096];
    Run r;
    snprintf(text, sizeof text, TWO_AT_ONCE, stages);
    run_text(&r, text);
    assert_int_equal(r.ok, stages == 3);
    if (stages == 2) assert_non_null(strstr(r.diag.text.at, "both wait for ever"));
    if (stages == 2) assert_non_null(strstr(r.diag.text.at, "test.tile:18:")); /* the wait */
    end(&r);
  }
}

/* Rows that fill no pieces of the swizzle: named with the line of the tile. */
static void a_tile_that_cannot_be_swizzled_is_refused(void **state) {
  (void)state;
  static const struct { const char *shape, *box, *says; } cases[] = {
    {"shape=[64,24]", "box=[64,24] swizzle=128", "rows of 48 bytes with a swizzle of 128"},
    {"shape=[64,24] swizzle=64", "box=[64,24] swizzle=64", "rows of 48 bytes with a swizzle of 64"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[2048];
    Run r;
    snprintf(text, sizeof text,
             "kernel name=\"k\" threads=256 min_ctas=1 {\n  v = view tensor=\"x\" rank=2 dtype=bf16 align=16 sizes=\"M,K\" strides=\"s,1\"\n"
             "  m = map v dims=\"M,K\" %s\n  a = smem dtype=bf16 %s name=\"a\"\n"
             "  ring = ring a stages=2 filled_by=\"tma\" emptied_by=\"math\" fields=\"a\"\n  role name=\"load\" warps=4 {\n    elect {\n"
             "      s = acquire ring\n      fill_slot s, m, 0:i64, 0:i64 field=\"a\"\n      commit s\n    }\n  }\n"
             "  role name=\"math\" warps=4 {\n    x = wait ring\n    release x\n  }\n}\n", cases[i].box, cases[i].shape);
    run_text(&r, text);
    assert_false(r.ok);
    if (!strstr(r.diag.text.at, cases[i].says)) fprintf(stderr, "%s\n", r.diag.text.at);
    assert_non_null(strstr(r.diag.text.at, cases[i].says));
    assert_non_null(strstr(r.diag.text.at, "test.tile:4:"));
    end(&r);
  }
}

/* Of each acquire and drain of one role in turn: what it waits for, plus one; ^: behind a barrier. */
static void assert_left(const char *body, const char *expected) {
  char text[4096], found[64] = "";
  Run r;
  snprintf(text, sizeof text,
           "kernel name=\"k\" threads=128 min_ctas=1 {\n  v = view tensor=\"x\" rank=2 dtype=f32 align=16 sizes=\"M,K\" strides=\"s,1\"\n"
           "  m = map v dims=\"M,K\" box=[64,16]\n  n = param name=\"n\" dtype=i32\n  a = smem dtype=f32 shape=[64,16]\n"
           "  b = smem dtype=f32 shape=[64,16]\n  r = ring a stages=2 filled_by=\"store\" fields=\"a\"\n"
           "  q = ring b stages=3 filled_by=\"store\" fields=\"a\"\n  f = frag dtype=f32 shape=[64,16] layout=\"r2@1:1 r2@0:8 r2@1:8 l4@1:2 l8@0:1 w4@0:16\"\n"
           "  role name=\"math\" warps=4 {\n%s  }\n}\n", body);
  run_text(&r, text);
  if (!r.ok) fprintf(stderr, "%s\n", r.diag.text.at);
  assert_true(r.ok);
  for (uint32_t i = 1; i < r.tiles.nodes.n; i++) {
    const TileNode *n = &r.tiles.nodes.at[i];
    if (n->op == TILE_acquire || n->op == TILE_drain) sprintf(found + strlen(found), "%d%s ", (int)n->derived, n->sync_before ? "^" : "");
  }
  assert_string_equal(found, expected);
  end(&r);
}

#define STORED(s, ring) "s" s " = acquire " ring "\n put_slot s" s ", f field=\"a\"\n store_slot s" s ", m, 0:i64, 0:i64 field=\"a\"\n commit s" s "\n"

static void stores_wait_for_no_more_than_their_slot(void **state) {
  (void)state;
  assert_left("for 0, n, 1 {\n" STORED("0", "r") "}\ndrain r\n", "2 1 ");                      /* two slots: one group may be left */
  assert_left(STORED("0", "r") STORED("1", "r") STORED("2", "r") "drain r\n", "0 0 2 1 ");      /* the first two slots are new */
  assert_left("for 0, n, 1 {\n" STORED("0", "r") STORED("1", "q") "}\ndrain r\ndrain q\n", "4 0 1 0 "); /* those of both rings count; one wait does for both */
  assert_left("for 0, n, 1 {\n" STORED("0", "r") "if 1:bool {\n" STORED("1", "q") "}\n}\ndrain q\ndrain r\n", "2 0 1 0 "); /* fewer on one path */
  assert_left(STORED("0", "r") "drain r\n" STORED("1", "r") STORED("2", "r") "drain r\n", "0 1 0 0 1 "); /* what a drain has covered */
  /* a drain is heard of by its own thread: before the others write the slot again, there is a barrier; that of a store will do */
  assert_left("for 0, n, 1 {\n" STORED("0", "r") STORED("1", "r") "drain r\n}\n", "0^ 0 1 ");
  assert_left(STORED("0", "r") STORED("1", "r") "drain r\nsync\n" STORED("2", "r") "drain r\n", "0 0 1 0 1 ");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_ring_is_deep_enough), cmocka_unit_test(two_roles_leave_each_other_slots),
    cmocka_unit_test(a_tile_that_cannot_be_swizzled_is_refused),
    cmocka_unit_test(products_are_waited_for), cmocka_unit_test(a_fragment_in_flight_is_not_read),
    cmocka_unit_test(a_value_that_shows_its_registers_is_the_fragment), cmocka_unit_test(a_slot_in_flight_is_not_released),
    cmocka_unit_test(only_the_older_slot_is_free), cmocka_unit_test(a_carried_slot_is_as_old_as_its_product),
    cmocka_unit_test(an_operand_in_flight_is_not_loaded_again), cmocka_unit_test(groups_are_closed), cmocka_unit_test(a_role_waits_for_its_products),
    cmocka_unit_test(one_branch_in_flight_is_enough), cmocka_unit_test(a_skip_knows_its_end),
    cmocka_unit_test(stores_wait_for_no_more_than_their_slot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
