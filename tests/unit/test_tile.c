/* test_tile.c - the tile IR: builders and inference, each kind of mistake with its message, round trips of the six kernels and of
 * random programs. */
#include "kiln_gen.h"
#include "tile.h"
#include <cmocka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Case {
  Arena a;
  Diag d;
  TileProgram p;
} Case;

static void begin(Case *c) {
  arena_init(&c->a, 0);
  diag_init(&c->d, &c->a);
  tile_init(&c->p, &c->a, &c->d);
}

static const char *print(Case *c) {
  Text t;
  text_init(&t, &c->a, KEEP);
  tile_print(&c->p, &t);
  return t.at;
}

/* Fails the test unless `text` is accepted. */
static void accept(Case *c, const char *name, const char *text) {
  begin(c);
  bool ok = tile_parse(&c->p, name, text, strlen(text)) && tile_check(&c->p);
  if (!ok) fail_msg("%s", c->d.text.at);
  assert_int_equal(c->d.errors, 0);
}

/* Prints, reads back, prints again: the same bytes, and still accepted. */
static void check_round_trip(Case *c) {
  const char *first = print(c);
  Case again;
  accept(&again, "printed", first);
  assert_string_equal(first, print(&again));
  arena_free(&again.a);
}

/* ---- builders ---- */

static TileAttr I(TileAttrKey k, int64_t v) { return (TileAttr){.key = (uint8_t)k, .kind = 'i', .i = v}; }
static TileAttr S(TileAttrKey k, const char *v) { return (TileAttr){.key = (uint8_t)k, .kind = 's', .s = v}; }
static TileAttr D(int dtype) { return (TileAttr){.key = TA_dtype, .kind = 'd', .i = dtype}; }
static TileAttr L(TileAttrKey k, const int64_t *list, int n) {
  return (TileAttr){.key = (uint8_t)k, .kind = 'l', .i = n, .list = list};
}

static TileId node(Case *c, TileOp op, int nargs, const TileId *args, int nattrs, const TileAttr *attrs) {
  return tile_node(&c->p, op, args, nargs, attrs, nattrs, (Loc){0});
}
static TileId one(Case *c, TileOp op, TileId a) { return node(c, op, 1, &a, 0, NULL); }
static TileId two(Case *c, TileOp op, TileId a, TileId b) { return node(c, op, 2, (TileId[]){a, b}, 0, NULL); }
static TileId number(Case *c, int dtype, double v) {
  return node(c, TILE_const, 0, NULL, 2, (TileAttr[]){D(dtype), {.key = TA_value, .kind = 'n', .n = v}});
}
static TileId frag(Case *c, int dtype, int rank, const int64_t *shape, const char *layout) {
  return node(c, TILE_frag, 0, NULL, layout ? 3 : 2, (TileAttr[]){D(dtype), L(TA_shape, shape, rank), S(TA_layout, layout)});
}
static TileId kernel(Case *c, int threads) {
  TileId k = node(c, TILE_kernel, 0, NULL, 2, (TileAttr[]){S(TA_name, "k"), I(TA_threads, threads)});
  tile_open(&c->p, k, 0);
  return k;
}
static const TileType *type(const Case *c, TileId id) {
  assert_int_not_equal(id.i, 0);
  return &tile_at(&c->p, id)->type;
}
static void refused(Case *c, TileId id, const char *words) {
  assert_int_equal(id.i, 0);
  if (!strstr(c->d.text.at, words)) fail_msg("expected \"%s\" in:\n%s", words, c->d.text.at);
  diag_init(&c->d, &c->a);
}

static const char row_layout[] = "r8@1:1 r2@1:2048 l32@1:8 w8@1:256"; /* [1,4096] on 8 warps */

static void builders_infer_elementwise(void **state) {
  (void)state;
  Case c;
  begin(&c);
  kernel(&c, 256);
  int64_t shape[] = {1, 4096};
  TileId f = frag(&c, KILN_F32, 2, shape, row_layout), g = frag(&c, KILN_F32, 2, shape, NULL);
  assert_true(type(&c, f)->is_mutable);
  assert_int_not_equal(type(&c, f)->layout, 0);
  assert_int_equal(type(&c, g)->layout, 0);
  assert_true(number(&c, KILN_F32, -3.4028235e38).i != 0); /* as people write the largest f32, which it rounds to */
  TileId s = number(&c, KILN_F32, 0.5), sum = two(&c, TILE_add, g, f), scaled = two(&c, TILE_mul, s, sum);
  assert_int_equal(type(&c, sum)->layout, type(&c, f)->layout); /* the layout that is known */
  assert_false(type(&c, sum)->is_mutable);
  assert_int_equal(type(&c, scaled)->kind, TK_FRAG);
  assert_int_equal(type(&c, two(&c, TILE_add, s, s))->kind, TK_SCALAR);
  TileId less = two(&c, TILE_lt, scaled, s);
  assert_int_equal(type(&c, less)->dtype, KILN_BOOL);
  assert_int_equal(type(&c, less)->shape[1], 4096);
  TileId chosen = node(&c, TILE_where, 3, (TileId[]){less, s, scaled}, 0, NULL);
  assert_int_equal(type(&c, chosen)->dtype, KILN_F32);
  assert_int_equal(type(&c, chosen)->kind, TK_FRAG);
  assert_int_equal(type(&c, node(&c, TILE_cvt, 1, &f, 1, (TileAttr[]){D(KILN_BF16)}))->dtype, KILN_BF16);
  assert_int_equal(type(&c, node(&c, TILE_coord, 1, &f, 1, (TileAttr[]){I(TA_dim, 1)}))->dtype, KILN_I32);
  TileId i = number(&c, KILN_I32, 3);
  refused(&c, two(&c, TILE_add, f, i), "operand 1 is f32, operand 2 is i32; operands have one dtype");
  refused(&c, one(&c, TILE_exp, i), "works on f64 f32 f16 bf16, not on i32");
  refused(&c, two(&c, TILE_rem, s, s), "works on integers, not on f32");
  refused(&c, one(&c, TILE_not, s), "works on predicates, not on f32");
  refused(&c, two(&c, TILE_add, less, less), "no arithmetic on bool");
  refused(&c, node(&c, TILE_where, 3, (TileId[]){s, s, s}, 0, NULL), "the condition is f32");
  refused(&c, node(&c, TILE_where, 3, (TileId[]){less, s, i}, 0, NULL), "both branches have one dtype");
  assert_int_equal(c.d.errors, 0);
  arena_free(&c.a);
}

static void builders_infer_slices(void **state) {
  (void)state;
  Case c;
  begin(&c);
  kernel(&c, 256);
  int64_t shape[] = {1, 4096}, square[] = {64, 64}, tall[] = {64, 32}, line[] = {64};
  TileId f = frag(&c, KILN_F32, 2, shape, row_layout);
  TileAttr over_cols[] = {S(TA_kind, "sum"), I(TA_dim, 1)}, over_rows[] = {S(TA_kind, "max"), I(TA_dim, 0)};
  TileId r = node(&c, TILE_reduce, 1, &f, 2, over_cols);
  assert_int_equal(type(&c, r)->rank, 1);
  assert_int_equal(type(&c, r)->along, 1);
  Layout slice = layout_slice(&c.p.frag_layouts.at[type(&c, f)->layout], 1);
  assert_true(layout_equal(&slice, &c.p.frag_layouts.at[type(&c, r)->layout]));
  assert_int_equal(type(&c, two(&c, TILE_mul, f, r))->layout, type(&c, f)->layout);
  assert_int_equal(type(&c, node(&c, TILE_reduce, 1, &r, 2, over_rows))->kind, TK_SCALAR);
  /* square tiles: which dim a one-dimensional fragment lies along must be known */
  TileId q = frag(&c, KILN_F32, 2, square, NULL), t = frag(&c, KILN_F32, 1, line, NULL);
  refused(&c, two(&c, TILE_add, q, t), "may lie along either dim");
  TileId rows = node(&c, TILE_rows, 1, &t, 1, (TileAttr[]){I(TA_dim, 0)}),
         cols = node(&c, TILE_rows, 1, &t, 1, (TileAttr[]){I(TA_dim, 1)});
  assert_int_equal(type(&c, two(&c, TILE_add, q, rows))->rank, 2);
  assert_int_equal(type(&c, node(&c, TILE_fma, 3, (TileId[]){q, rows, cols}, 0, NULL))->rank, 2);
  refused(&c, two(&c, TILE_add, rows, cols), "one operand has a value per row, the other per column");
  refused(&c, node(&c, TILE_rows, 1, &rows, 1, (TileAttr[]){I(TA_dim, 1)}), "lies along dim 0 already");
  TileId u = frag(&c, KILN_F32, 2, tall, NULL);
  assert_int_equal(type(&c, two(&c, TILE_mul, t, u))->rank, 2); /* only rows have 64 values here */
  refused(&c, two(&c, TILE_add, u, cols), "is no slice of");
  refused(&c, two(&c, TILE_add, q, u), "does not go with");
  TileId other = frag(&c, KILN_F32, 2, shape, "r16@1:1 l32@1:16 w8@1:512");
  refused(&c, two(&c, TILE_add, f, other), "a conversion is never inserted");
  TileAttr rows_of[] = {D(KILN_F32), L(TA_shape, line, 1), {.key = TA_rows_of, .kind = 'b', .i = 1}};
  assert_int_equal(type(&c, node(&c, TILE_frag, 1, &u, 3, rows_of))->along, 1);
  refused(&c, node(&c, TILE_frag, 1, &u, 2, rows_of), "for a value per row say rows_of");
  refused(&c, node(&c, TILE_frag, 0, NULL, 3, rows_of), "rows_of needs the fragment");
  arena_free(&c.a);
}

static void builders_check_arguments(void **state) {
  (void)state;
  Case c;
  begin(&c);
  TileAttr view[] = {S(TA_tensor, "x"), I(TA_rank, 2), D(KILN_BF16), I(TA_align, 16)};
  refused(&c, number(&c, KILN_F32, 1), "stands outside of a kernel");
  TileId k = kernel(&c, 64);
  refused(&c, node(&c, TILE_kernel, 0, NULL, 2, (TileAttr[]){S(TA_name, "z"), I(TA_threads, 32)}),
          "stands inside another statement");
  TileId v = node(&c, TILE_view, 0, NULL, 4, view), s = number(&c, KILN_I32, 1);
  assert_int_equal(tile_attr_int(&c.p, tile_at(&c.p, v), TA_align, 0), 16);
  assert_string_equal(tile_attr_str(&c.p, tile_at(&c.p, v), TA_tensor, ""), "x");
  assert_null(tile_attr(&c.p, tile_at(&c.p, v), TA_sizes));
  refused(&c, node(&c, TILE_view, 0, NULL, 3, view), "attribute 'align' (an integer) is missing");
  refused(&c, node(&c, TILE_view, 0, NULL, 4, (TileAttr[]){view[0], view[1], view[2], S(TA_align, "16")}),
          "attribute 'align' must be an integer");
  refused(&c, node(&c, TILE_view, 0, NULL, 5, (TileAttr[]){view[0], view[1], view[2], view[3], I(TA_stages, 2)}),
          "has no attribute 'stages'; it takes: tensor:s");
  refused(&c, node(&c, TILE_view, 0, NULL, 5, (TileAttr[]){view[0], view[1], view[2], view[3], view[3]}),
          "'align' is given twice");
  refused(&c, two(&c, TILE_add, s, v), "operand 2 is a global view of bf16 with 2 dims; expected a scalar or a fragment");
  refused(&c, one(&c, TILE_add, s), "operand 2 is missing; expected a scalar or a fragment");
  refused(&c, two(&c, TILE_neg, s, s), "takes 1 operand here, 2 given");
  refused(&c, tile_node(&c.p, (TileOp)9999, NULL, 0, NULL, 0, (Loc){0}), "unknown operation");
  refused(&c, number(&c, KILN_I8, 300), "300 is not a i8");
  refused(&c, number(&c, KILN_E4M3, 1), "no numbers of e4m3");
  refused(&c, one(&c, TILE_neg, (TileId){0}), "operand 1 is missing");
  diag_error(&c.d, (Loc){0}, "an earlier mistake");
  assert_int_equal(one(&c, TILE_neg, (TileId){0}).i, 0); /* what failed before is not reported again */
  assert_int_equal(c.d.errors, 1);
  diag_init(&c.d, &c.a);
  tile_close(&c.p);
  assert_int_equal(tile_region(&c.p, tile_at(&c.p, k), 0)->n, 2);
  tile_open(&c.p, k, 0);
  c.p.max_nodes = c.p.nodes.n;
  number(&c, KILN_F32, 1);
  refused(&c, number(&c, KILN_F32, 1), "statements; unroll less, or use a run-time loop");
  assert_int_equal(number(&c, KILN_F32, 1).i, 0);
  assert_int_equal(c.d.errors, 0); /* said once */
  arena_free(&c.a);
}

static void tables_agree(void **state) {
  (void)state;
  for (int op = 1; op < TILE_OPS; op++) {
    const TileOpInfo *info = tile_op_info((TileOp)op);
    assert_int_equal(tile_op_find(info->name), op);
    assert_non_null(strchr("TWGCP-", info->scope));
    for (const char *f = info->flags; *f; f++) assert_non_null(strchr("PRWASM", *f));
    assert_true(*info->doc);
    assert_true(strspn(info->args, "sfevmtuxarkobqcVMFhTAKOw?*") == strlen(info->args));
  }
  assert_int_equal(tile_op_find("no such"), TILE_NONE);
  for (int k = 1; k < TA_COUNT; k++)
    assert_true(strcmp(tile_attr_name((TileAttrKey)(k - 1)), tile_attr_name((TileAttrKey)k)) < 0);
  assert_int_equal(tile_dtype_find("bf16"), KILN_BF16);
  assert_int_equal(tile_dtype_bytes(KILN_E4M3), 1);
  assert_true(tile_op_is(TILE_add, 'P'));
  assert_false(tile_op_is(TILE_store, 'P'));
}

/* ---- mistakes and their messages ---- */

#define KERNEL(threads, body) "kernel name=\"k\" threads=" #threads " {\n" body "}\n"
#define MEMORY                                                                                                             \
  "v = view tensor=\"a\" rank=2 dtype=bf16 align=16\nm = map v dims=\"M,K\" box=[64,64] swizzle=128\nt = smem dtype=bf16 " \
  "shape=[64,64]\n"                                                                                                        \
  "f = frag dtype=bf16 shape=[64,64]\n"
#define RING        MEMORY "r = ring t stages=3 filled_by=\"tma\" emptied_by=\"math\" fields=\"a\"\n"
#define FILL        "s = acquire r\nfill_slot s, m, 0, 0 field=\"a\"\ncommit s\n"
#define LOAD        "role name=\"load\" warps=4 {\n for 0, 9, 1 {\n" FILL "}\n}\n"
#define ROLES(math) KERNEL(256, RING LOAD "g = role name=\"math\" warps=4 {\n" math "}\n")
#define COPY_RING   MEMORY "r = ring t stages=2 filled_by=\"cp.async\" fields=\"a\"\n"
#define WALK(dim, step) COPY_RING "w = walk r, v, 0, 0 field=\"a\" dim=" dim " step=" step "\n"
#define STORE_RING  MEMORY "r = ring t stages=2 filled_by=\"store\" fields=\"a\"\n"

typedef struct Mistake {
  const char *text, *message;
} Mistake;

static void expect_refused(const Mistake *cases, size_t n) {
  for (size_t i = 0; i < n; i++) {
    Case c;
    begin(&c);
    bool ok = tile_parse(&c.p, "case.tile", cases[i].text, strlen(cases[i].text)) && tile_check(&c.p);
    if (ok) fail_msg("accepted, expected \"%s\":\n%s", cases[i].message, cases[i].text);
    if (!strstr(c.d.text.at, cases[i].message))
      fail_msg("expected \"%s\" in:\n%s\nfor:\n%s", cases[i].message, c.d.text.at, cases[i].text);
    bool quoted = strchr(c.d.text.at, '^') || strstr(c.d.text.at, "the end of the text"); /* there is no line there to quote */
    if (strncmp(c.d.text.at, "case.tile:", 10) || !quoted) fail_msg("no line and caret in:\n%s", c.d.text.at);
    assert_true(c.d.errors > 0);
    arena_free(&c.a);
  }
}
#define REFUSED(...)                                     \
  do {                                                   \
    static const Mistake cases[] = {__VA_ARGS__};        \
    expect_refused(cases, sizeof cases / sizeof *cases); \
  } while (0)

static void mistakes_of_text(void **state) {
  (void)state;
  REFUSED(
      {"kernel name=\"k\" threads=32", "expected '{'"},
      {"kernel name=\"k\" threads=32 {\n", "expected '}', found the end of the text"}, {"}", "expected a kernel"},
      {KERNEL(32, "x = frobnicate 1\n"), "'frobnicate' is no operation"}, {KERNEL(32, "x = add 1, y\n"), "'y' is not known here"},
      {KERNEL(32, "x = add 1, 2\nx = add 1, 2\n"), "'x' is bound already, in line 2"},
      {KERNEL(32, "for 0, 1, 1 {\ny = add 1, 2\n}\nz = add y, 1\n"), "'y' is not known here"},
      {KERNEL(32, "i = for 0, 1, 1 {\n}\nz = add i, 1\n"), "'i' is not known here"},
      {KERNEL(32, "x = sync\n"), "sync has no value"}, {KERNEL(32, "else = add 1, 2\n"), "is a word of the text form"},
      {KERNEL(32, "x = cta axis=\"0\"\n"), "expected an integer"},
      {KERNEL(32, "x = cta axis=1234567890123456789012\n"), "at most 18 digits"},
      {KERNEL(32, "x = cta axos=0\n"), "cta has no attribute 'axos'; it takes: axis:i"},
      {KERNEL(32, "x = add 1, 2 3\n"), "expected the end of the statement"},
      {KERNEL(32, "x = param name=\"a dtype=f32\n"), "expected a string"},
      {KERNEL(32, "x = param name=\"\\q\" dtype=f32\n"), "no other escapes"},
      {KERNEL(32, "x = param name=\"\\x00\" dtype=f32\n"), "without a zero byte"},
      {KERNEL(32, "x = param name=\"a\" dtype=f33\n"), "expected a dtype"},
      {KERNEL(32, "x = frag dtype=f32 shape=[1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8]\n"), "a list of at most 16"},
      {KERNEL(32, "x = add 1, 2 @1:5\n"), "names no line of a file"},
      {KERNEL(32, "x = add 1, 2 ^fast\n"), "expected sync or derived"}, {KERNEL(32, "x = add 1.2.3, 2\n"), "expected a number"},
      {KERNEL(32, "x = $\n"), "'$' is no operation"}, {"\x01\x02", "expected a statement, found '?'"});
  Case c; /* deep nesting ends in a message, not in the stack */
  begin(&c);
  Text t;
  text_init(&t, &c.a, KEEP);
  text_str(&t, "kernel name=\"k\" threads=32 {\n");
  for (int i = 0; i < 10000; i++) text_str(&t, "for 0, 1, 1 {\n");
  assert_false(tile_parse(&c.p, "deep.tile", t.at, t.n));
  assert_non_null(strstr(c.d.text.at, "nested deeper than 64"));
  arena_free(&c.a);
}

static void mistakes_of_types(void **state) {
  (void)state;
  REFUSED(
      {"kernel name=\"9k\" threads=32 {\n}\n", "is no name"},
      {"kernel name=\"k\" threads=33 {\n}\n", "threads is 33; expected 32 to 1024, a multiple of 32"},
      {"kernel name=\"k\" threads=32 cluster=[4,8] {\n}\n", "a cluster of 32 CTAs"},
      {KERNEL(32, "x = cta axis=3\n"), "axis is 3; expected 0 to 2"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64,64] layout=\"r2\"\n"), "cannot read layout"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64,64] layout=\"l32@0:1\"\n"), "does not hold every element"},
      {KERNEL(32, "x = frag dtype=f32 shape=[32] layout=\"r1@0:1 l32@0:1\"\n"), "does not hold every element"},
      {KERNEL(32, "x = frag dtype=f32 shape=[0]\n"), "dim 0 of 'shape' is 0"},
      {KERNEL(32, "x = frag dtype=f32 shape=[1048576,64]\n"), "more than 16777216 elements"},
      {KERNEL(32, "x = frag dtype=f32 shape=[1,2,3,4]\n"), "has 4 dims; 1 to 3"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64]\ny = neg x\nset y, x\n"), "is a value, not a mutable fragment"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64]\nfill x, 1\n"), "cannot take a i32 scalar"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64]\ny = neg x\nzero y\n"), "a fragment that is not mutable: declare it by frag"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64]\ny = reduce x kind=\"mean\" dim=0\n"), "expected sum, max or min"},
      {KERNEL(32, "x = frag dtype=f32 shape=[64]\ny = reduce x kind=\"sum\" dim=1\n"), "dim 1; the operand has dims 0 to 0"},
      {KERNEL(32, "for 0, 1:i64, 1 {\n}\n"), "for: bounds and step have one dtype"},
      {KERNEL(32, "for 0, 8, 0 {\n}\n"), "for: step 0; it is 1 or more"},
      {KERNEL(32, "for 0, 8, -1 down {\n}\n"), "for: step -1; it is 1 or more"},
      {KERNEL(32, "x = const dtype=f32 value=1e39\n"), "const: 1e+39 is infinite in f32"},
      {KERNEL(32, "x = const dtype=f32 value=-1e-50\n"), "const: -1e-50 is 0 in f32"},
      {KERNEL(32, "if 1 {\n}\n"), "the condition is i32"},
      {KERNEL(32, "x = view tensor=\"x\" rank=6 dtype=f32 align=4\n"), "rank 6; 0 to 5"},
      {KERNEL(32, "x = view tensor=\"x\" rank=1 dtype=f32 align=3\n"), "expected a power of two"},
      {KERNEL(32, "x = view tensor=\"x\" rank=2 dtype=f32 align=4 sizes=\"M\"\n"), "names 1 values; the rank is 2"},
      {KERNEL(32, MEMORY "z = map v dims=\"M\" box=[64,64]\n"), "names 1 dims, box has 2"},
      {KERNEL(32, MEMORY "z = map v dims=\"M,K\" box=[512,64]\n"), "at most 256"},
      {KERNEL(32, MEMORY "z = map v dims=\"M,K\" box=[64,128] swizzle=128\n"), "is 256 bytes; with swizzle 128"},
      {KERNEL(32, MEMORY "z = map v dims=\"M,K\" box=[64,64] round=\"tf32\"\n"), "round=tf32 is for f32; the view is bf16"},
      {KERNEL(32, MEMORY "z = map v dims=\"M,K\" box=[64,63]\n"), "a multiple of 16"},
      {KERNEL(32, "x = smem dtype=f32 shape=[64] swizzle=48\n"), "expected 0, 32, 64 or 128"},
      {KERNEL(32, MEMORY "z = smem t dtype=f32 shape=[64,64]\n"), "takes 16384 bytes; what it shares its bytes with has 8192"},
      {KERNEL(32, "x = workspace name=\"w\" dtype=f32\n"), "either a constant 'shape', or a 'rank'"},
      {KERNEL(32, MEMORY "x = load v, 0 shape=[64,64]\n"), "1 coordinate given; a global view of bf16 with 2 dims has 2 dims"},
      {KERNEL(32, MEMORY "x = load v, 0, 0\n"), "the tile's 'shape' must be given"},
      {KERNEL(32, MEMORY "x = load v, 0, 0.5 shape=[64,64]\n"), "coordinate 1 is f32"},
      {KERNEL(32, MEMORY "x = load m, 0, 0 shape=[64,64]\n"), "through a ring"},
      {KERNEL(32, MEMORY "x = load t shape=[64,128]\n"), "128 elements along dim 1"},
      {KERNEL(32, MEMORY "x = load t halves=\"h\"\n"), "halves \"h\"; expected two names"},
      {KERNEL(32, MEMORY "x = load t halves=\"h,by\" run=3\n"), "run is 3; expected a power of two"},
      {KERNEL(32, MEMORY "x = load v, 0, 0 shape=[64,64] halves=\"h,by\" run=8\n"), "a view has an order of its own"},
      {KERNEL(32, MEMORY "x = load v, 0, 0 shape=[64,64] dims=[0,0]\n"), "names dim 0 of the memory twice"},
      {KERNEL(32, MEMORY "x = load v, 0, 0 shape=[64,64] dims=[0]\n"), "'dims' lists 1 dims; the tile has 2"},
      {KERNEL(32, MEMORY "x = load v, 0, 0 shape=[64,64] cache=\"kept\"\n"), "cache \"kept\"; expected nc, stream, keep"},
      {KERNEL(32, MEMORY "x = load1 v, 0, 0 cache=\"kept\"\n"), "cache \"kept\"; expected nc, stream, keep"},
      {KERNEL(32, MEMORY "x = load v, 0, 0 shape=[64,64] inside=[2]\n"), "'inside' names dim 2 of the tile, which has dims 0 to 1"},
      {KERNEL(32, MEMORY "x = load v, 0, 0 shape=[64,64] dims=[0,2]\n"), "names dim 2 of the memory"},
      {KERNEL(32, MEMORY "x = cvt f dtype=f32\nstore v, x, 0, 0\n"), "holds bf16, the fragment is f32; convert with cvt"},
      {KERNEL(32, MEMORY "atomic_add t, f\n"), "adds to global memory"},
      {KERNEL(32, MEMORY "x = load1 v, 0\n"), "1 coordinate given"},
      {KERNEL(32, MEMORY "store1 v, 1.0, 0, 0\n"), "the view holds bf16, the value is f32"},
      {KERNEL(32, MEMORY "x = slice t start=[0,32] shape=[64,64]\n"), "64 elements from 32 on along dim 1"},
      {KERNEL(32, MEMORY "x = part t, 0 dim=0 size=48\n"), "do not divide so"},
      {KERNEL(32, MEMORY "x = load_like t, f dims=[-1,-1]\n"), "nothing of"},
      {KERNEL(32, "x = sched 4 kind=\"magic\"\n"), "expected static, persistent or dynamic"},
      {KERNEL(32, "w = workspace name=\"w\" dtype=i32 shape=[1]\nx = sched 4, w kind=\"static\"\n"),
       "only a dynamic scheduler has a counter"},
      {KERNEL(32, MEMORY "x = semaphore v\n"), "its counters are i32"},
      {KERNEL(32, "role name=\"x\" warps=1 regs=100 {\n}\n"), "regs is 100; expected 24 to 256, a multiple of 8"});
}

static void mistakes_of_rings_and_products(void **state) {
  (void)state;
#define PRODUCT \
  "acc = frag dtype=f32 shape=[64,64]\na = smem dtype=bf16 shape=[64,32]\nb = smem dtype=bf16 shape=[64,32]\nbt = trans b\n"
  REFUSED({KERNEL(128, PRODUCT "mma acc, a, b\n"), "[64,32] x [64,32] gives no [64,64]; expected [M,K] x [K,N] -> [M,N]: trans"},
          {KERNEL(128, PRODUCT "h = frag dtype=bf16 shape=[64,64]\nmma h, a, bt\n"),
           "bf16 operands accumulate in f32; the accumulator is bf16"},
          {KERNEL(128, PRODUCT "c = smem dtype=f16 shape=[32,64]\nmma acc, a, c\n"), "a is bf16, b is f16; they have one dtype"},
          {KERNEL(128, PRODUCT MEMORY "mma acc, v, bt\n"), "expected a shared or a tensor-memory tile"},
          {KERNEL(128, PRODUCT "mma acc, a, bt pair\n"), "pair needs an accumulator in tensor memory"},
          {KERNEL(128, PRODUCT "mma acc, a, bt split\n"), "split is for f32 operands, which tensor cores read as tf32; bf16 is multiplied as it is"},
          {KERNEL(128, PRODUCT "x = tmem dtype=bf16 shape=[64,32]\nmma acc, x, bt\n"), "needs the accumulator there too"},
          {KERNEL(128, PRODUCT "x = neg acc\nmma x, a, bt\n"), "not mutable"},
          {KERNEL(128, "a = smem dtype=f64 shape=[8,8]\nacc = frag dtype=f32 shape=[8,8]\nmma acc, a, a\n"), "accumulate in f64"},
          {KERNEL(128, "x = tmem dtype=f32 shape=[128,64]\na = smem dtype=e4m3 shape=[128,128]\nb = smem dtype=e4m3 "
                       "shape=[128,64]\ns = smem dtype=u8 shape=[64,4]\nmma_scaled x, a, b, s, s\n"),
           "the scales of a"},
          {KERNEL(32, MEMORY "r = ring t stages=0 filled_by=\"tma\" fields=\"a\"\n"), "stages 0; 1 to 64"},
          {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"magic\" fields=\"a\"\n"),
           "expected one of: tma cp.async threads mma store"},
          {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"tma\" fields=\"a,b\"\n"), "names 2 tiles; 1 are given"},
          {KERNEL(32, MEMORY "r = ring t, t stages=2 filled_by=\"tma\" fields=\"a,a\"\n"), "field \"a\" is named twice"},
          {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"mma\" fields=\"a\"\n"), "mma fills tensor-memory tiles"},
          {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"tma\" fields=\"a\" multicast=\"b\"\n"), "multicast names \"b\""},
          {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"store\" emptied_by=\"x\" fields=\"a\"\n"),
           "the copies of a store ring empty it"},
          {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"tma\" fields=\"a\" op=\"add\"\n"),
           "slots filled by tma are not stored"},
          {KERNEL(32, RING "s = acquire r\nfill_slot s, m, 0, 0 field=\"b\"\n"), "the slot has no field \"b\"; its fields are a"},
          {KERNEL(32, RING "s = acquire r\nfill_slot s, v, 0, 0 field=\"a\"\n"), "declare a map over the view"},
          {KERNEL(32, RING "s = acquire r\nput_slot s, f field=\"a\"\n"), "the ring is filled by tma; fragments go into"},
          {KERNEL(32, RING "s = acquire r\nstore_slot s, m, 0, 0 field=\"a\"\n"),
           "slots that go to memory have filled_by store or threads"},
          {KERNEL(32, STORE_RING "s = acquire r\nfill_slot s, m, 0, 0 field=\"a\"\n"),
           "only rings filled by tma, cp.async or threads"},
          {KERNEL(32, STORE_RING "h = frag dtype=bf16 shape=[32,64]\ns = acquire r\nput_slot s, h field=\"a\"\n"),
           "the fragment a fragment bf16[32,64]"},
          {KERNEL(32, STORE_RING "h = frag dtype=bf16 shape=[48,64]\ns = acquire r\nput_slot s, h, 0 field=\"a\" dim=0\n"),
           "is no piece of"},
          {KERNEL(32, STORE_RING "s = acquire r\nput_slot s, f, 0 field=\"a\"\n"), "are given together"},
          {KERNEL(32, MEMORY
                  "r = ring t stages=2 filled_by=\"cp.async\" fields=\"a\"\ns = acquire r\nfill_slot s, m, 0, 0 field=\"a\"\n"),
           "copies from a view"},
          {KERNEL(32, MEMORY "m3 = map v dims=\"M,K\" box=[128,64]\nr = ring t stages=2 filled_by=\"tma\" fields=\"a\"\ns = "
                             "acquire r\nfill_slot s, m3, 0, 0 field=\"a\"\n"),
           "64 along dim 0 is no multiple of the box"},
          {KERNEL(32, RING "w = walk r, v, 0, 0 field=\"a\" dim=1 step=64\n"), "walks are for rings filled by cp.async or threads"},
          {KERNEL(32, WALK("2", "64")), "walk: dim 2; the field is a shared tile bf16[64,64]"},
          {KERNEL(32, WALK("1", "0")), "walk: step 0"},
          {KERNEL(32, COPY_RING "w = walk r, m, 0, 0 field=\"a\" dim=1 step=64\n"), "expected a global view"},
          {KERNEL(32, COPY_RING "w = walk r, v, 0, 0 field=\"b\" dim=1 step=64\n"), "the slot has no field \"b\""},
          {KERNEL(32, COPY_RING "w = walk r, v, 0 field=\"a\" dim=1 step=64\n"), "coordinate"},
          {KERNEL(32, WALK("1", "64") "s = acquire r\nfill_slot s, w, 0, 0 field=\"a\"\n"), "a walk knows where it stands"},
          {KERNEL(32, WALK("1", "64") "s = acquire r\nfill_slot s, w field=\"a\" whole\n"), "whole has no meaning for a walk"},
          {KERNEL(32, WALK("1", "64") "u = smem dtype=bf16 shape=[64,64]\nq = ring u stages=2 filled_by=\"cp.async\" fields=\"a\"\ns = acquire q\n"
                      "fill_slot s, w field=\"a\"\n"), "is of field \"a\" of its ring, not of this one"},
          {KERNEL(32, WALK("1", "64") "rewalk w, 0\n"), "coordinate"},
          {KERNEL(32, WALK("1", "64") "rewalk v, 0, 0\n"), "expected a walk"},
          {KERNEL(32, WALK("1", "64") "x = load w, 0, 0 shape=[64,64]\n"), "expected memory"},
          {KERNEL(32, RING "skip r, 1.0\n"), "the count is f32"},
          {KERNEL(32, RING "q = ring t stages=3 filled_by=\"tma\" emptied_by=\"math\" fields=\"a\"\na = wait r\nb = wait q\nh = "
                           "carry a\nc = swap h, b\n"),
           "of another ring"});
}

static void mistakes_of_scope(void **state) {
  (void)state;
#define DIVERGENT(body) KERNEL(128, MEMORY "if 1:bool divergent {\n" body "}\n")
#define ELECT(body)     KERNEL(128, RING "elect {\n" body "}\n")
  REFUSED(
      {DIVERGENT("sync\n"), "sync: inside a divergent if (line 6)"},
      {DIVERGENT("x = reduce f kind=\"sum\" dim=1\n"), "reduce: inside a divergent if"},
      {DIVERGENT("for 0, 1, 1 {\nmma f, t, t\n}\n"), "accumulate in f32"},
      {DIVERGENT("elect {\n}\n"), "elect: inside a divergent if"},
      {DIVERGENT("for 0, 1, 1 {\nif 1:bool {\nsync\n}\n}\n"), "sync: inside a divergent if"},
      {ELECT("sync\n"), "sync: needs every thread of its group; inside elect (line 7)"},
      {ELECT("x = neg f\n"), "neg: a fragment lies in the registers of many threads"},
      {ELECT("store v, f, 0, 0\n"), "store: a fragment lies"}, {ELECT("elect {\n}\n"), "elect: needs every thread"},
      {ELECT("mma_commit\n"), "mma_commit: needs every thread"},
      {KERNEL(128, MEMORY "r = ring t stages=2 filled_by=\"cp.async\" fields=\"a\"\nelect {\ns = acquire r\nfill_slot s, v, 0, 0 "
                          "field=\"a\"\n}\n"),
       "shared out over all threads"},
      {KERNEL(64, "mma_commit\n"), "works on groups of 4 warps; the kernel's 64 threads"},
      {KERNEL(64, "role name=\"a\" warps=2 {\nmma_wait n=0\n}\n"), "role \"a\" has groups of 2 warps from warp 0 on"},
      {KERNEL(160, "role name=\"z\" warps=1 {\n}\nrole name=\"a\" warps=4 {\nmma_wait n=0\n}\n"),
       "from warp 1 on: give it warps=4 and align=4"},
      {KERNEL(32, "for 0, 1, 1 {\nrole name=\"a\" warps=1 {\n}\n}\n"), "roles stand at the kernel's top level"},
      {KERNEL(32, "for 0, 1, 1 {\no = order groups=2\n}\n"), "order: declared inside for"},
      {KERNEL(32, "yield 1:bool\n"), "yield: ends the condition of a while"},
      {KERNEL(32, "while {\n} do {\n}\n"), "its first region ends in yield"},
      {KERNEL(32, "while {\nyield 1:bool\nsync\n} do {\n}\n"), "is the last statement"},
      {KERNEL(32, "while {\nyield 1\n} do {\n}\n"), "gives one predicate"},
      {KERNEL(32, "elect leader {\n}\n"), "leader needs CTA pairs"},
      {KERNEL(32, MEMORY "r = ring t stages=2 filled_by=\"tma\" fields=\"a\" multicast=\"a\"\n"), "multicast needs a cluster"},
      {KERNEL(32, "o = order groups=2\nenter o\n"), "the order is for 2 groups, the kernel has 1"},
      {KERNEL(32, "c = sched 4 kind=\"static\"\nt = each c start {\n}\n"), "there is no role here"},
      {KERNEL(32, "x = add 1, 2\n") KERNEL(32, "x = add 1, 2\n"), "two kernels are called \"k\""});
}

static void mistakes_of_roles(void **state) {
  (void)state;
#define TWO_ROLES(a, b) "role name=\"a\" " a " {\n}\nrole name=\"b\" " b " {\n}\n"
  REFUSED({KERNEL(128, TWO_ROLES("warps=1", "warps=2")), "the roles take 3 warps, 96 threads; the kernel has threads=128"},
          {KERNEL(128, TWO_ROLES("warps=2", "warps=1 groups=3")), "the roles take 5 warps"},
          {KERNEL(64, "role name=\"a\" warps=1 {\n}\nrole name=\"a\" warps=1 {\n}\n"), "two roles are called \"a\""},
          {KERNEL(384, TWO_ROLES("warps=4 regs=24", "warps=4 groups=2 regs=248")),
           "add up to 66560 (regs x 128 per warpgroup); the register file leaves 65536"},
          {KERNEL(256, TWO_ROLES("warps=1 regs=24", "warps=7 regs=240")), "four warps share one budget"},
          {KERNEL(64, "a = barrier\nb = barrier\nc = barrier\nd = barrier\ne = barrier\nf = barrier\ng = barrier\nh = barrier\no "
                      "= order groups=8\n"),
           "17 named barriers are needed"},
          {KERNEL(1024,
                  "f = frag dtype=f32 shape=[64,64]\nrole name=\"a\" warps=2 groups=16 {\nx = reduce f kind=\"sum\" dim=1\n}\n"),
           "17 named barriers are needed"});
  Case c; /* the second role begins at a multiple of 4 and leaves three warps idle */
  accept(&c, "idle", KERNEL(256, TWO_ROLES("warps=1", "warps=4 align=4")));
  int total;
  assert_int_equal(tile_role_first_warp(&c.p, (TileId){1}, (TileId){3}, &total), 4);
  assert_int_equal(total, 8);
  arena_free(&c.a);
  begin(&c); /* a value of a region that has ended: text cannot say it, builders can */
  kernel(&c, 32);
  TileId loop =
      node(&c, TILE_for, 3, (TileId[]){number(&c, KILN_I32, 0), number(&c, KILN_I32, 4), number(&c, KILN_I32, 1)}, 0, NULL);
  tile_open(&c.p, loop, 0);
  TileId inner = two(&c, TILE_add, loop, loop);
  tile_close(&c.p);
  two(&c, TILE_mul, inner, inner);
  one(&c, TILE_neg, loop);
  tile_close(&c.p);
  assert_false(tile_check(&c.p));
  assert_non_null(strstr(c.d.text.at, "mul: operand 1 is a value of line 0 (add), whose region has ended"));
  assert_non_null(strstr(c.d.text.at, "neg: operand 1"));
  arena_free(&c.a);
}

static void mistakes_of_tokens(void **state) {
  (void)state;
#define WAIT "s = wait r\n"
#define FILLING(body) \
  KERNEL(256, RING "role name=\"load\" warps=4 {\n" body "}\nrole name=\"math\" warps=4 {\nk = wait r\nrelease k\n}\n")
  REFUSED(
      {ROLES(WAIT), "wait: the slot token is not released by the end of its region"},
      {ROLES(WAIT "release s\nrelease s\n"),
       "release: the slot token of line 15 ended with the release in line 16; each token is released exactly once"},
      {ROLES(WAIT "release s\na = field s name=\"a\"\n"), "field: the slot token of line 15 ended"},
      {ROLES(WAIT "a = field s name=\"a\"\nrelease s\nx = load a\n"), "load: the slot token of line 15 ended"},
      {ROLES(WAIT "a = field s name=\"a\"\nb = trans a\nrelease s\nx = load b\n"), "load: the slot token"},
      {ROLES(WAIT "if 1:bool {\nrelease s\n}\n"), "if: the slot token of line 15 ends in one branch only (release in line 17)"},
      {ROLES(WAIT "if 1:bool {\n} else {\nrelease s\n}\n"), "ends in one branch only"},
      {ROLES(WAIT "for 0, 4, 1 {\nrelease s\n}\n"), "would end once per iteration"},
      {ROLES(WAIT "commit s\n"), "the slot of line 15 was obtained by wait; release ends it"},
      {ROLES(WAIT "h = carry s\n"), "carry: a token is still carried at the end of the region"},
      {ROLES(WAIT "h = carry s\nrelease s\n"), "was handed to a carrier in line 16"},
      {ROLES(WAIT "h = carry s\na = take h\nrelease a\nb = take h\nrelease b\n"), "the carrier of line 16 is empty"},
      {ROLES(WAIT "h = carry s\nfor 0, 3, 1 {\na = take h\nrelease a\n}\n"), "take: in a loop, but the carrier of line 16"},
      {ROLES(WAIT "h = carry s\nif 1:bool {\na = take h\nrelease a\n}\n"), "if: the carrier of line 16 ends in one branch only"},
      {ROLES(WAIT "fill_slot s, m, 0, 0 field=\"a\"\nrelease s\n"), "was obtained by wait, to be read"},
      {FILLING("s = acquire r\n"), "acquire: the slot token is not committed"},
      {FILLING("s = acquire r\ncommit s\n"), "field \"a\" of the slot was not filled on every path"},
      {FILLING("s = acquire r\nif 1:bool {\nfill_slot s, m, 0, 0 field=\"a\"\n}\ncommit s\n"), "was not filled on every path"},
      {FILLING("s = acquire r\nfill_slot s, m, 0, 0 field=\"a\"\nrelease s\n"), "was obtained by acquire; commit ends it"},
      {FILLING("s = acquire r\nfill_slot s, m, 0, 0 field=\"a\"\na = field s name=\"a\"\ncommit s\n"),
       "is being filled by copies"},
      {FILLING(FILL "fill_slot s, m, 0, 0 field=\"a\"\n"), "ended with the commit"},
      {FILLING(FILL "z = wait r\nrelease z\n"), "role \"load\" is not named there"},
      {KERNEL(128, STORE_RING "s = acquire r\nput_slot s, f field=\"a\"\ncommit s\n"), "the store of field \"a\" was not queued"},
      {KERNEL(128, STORE_RING "s = acquire r\nstore_slot s, m, 0, 0 field=\"a\"\nput_slot s, f field=\"a\"\ncommit s\n"),
       "the field has no contents yet"},
      {KERNEL(
           128, STORE_RING
           "s = acquire r\nput_slot s, f field=\"a\"\nstore_slot s, m, 0, 0 field=\"a\"\nput_slot s, f field=\"a\"\ncommit s\n"),
       "the store of this field is queued already"},
      {KERNEL(128, STORE_RING "s = wait r\nrelease s\n"), "is emptied by its stores"});
}

static void mistakes_of_ring_ends(void **state) {
  (void)state;
#define ENDS(emptied, load, math)                                                                                          \
  KERNEL(256, MEMORY "r = ring t stages=3 filled_by=\"tma\" " emptied " fields=\"a\"\nrole name=\"load\" warps=4 {\n" load \
                     "}\nrole name=\"math\" warps=4 {\n" math "}\n")
#define TAKE "k = wait r\nrelease k\n"
  REFUSED({ENDS("", FILL, ""), "emptied_by is missing"},
          {ENDS("emptied_by=\"maths\"", FILL, ""), "the kernel has no role \"maths\""},
          {ENDS("emptied_by=\"math/2\"", FILL, TAKE), "how many of the role's 1 groups"},
          {ENDS("emptied_by=\"math\"", FILL, ""), "nobody waits for its slots: the producer would stop after 3"},
          {ENDS("emptied_by=\"math\"", "", TAKE), "nothing fills it"},
          {ENDS("emptied_by=\"math\"", FILL, FILL), "is filled by role \"load\" already"},
          {ENDS("emptied_by=\"load\"", FILL, "skip r, 2\n"), "role \"math\" neither fills the ring of line 6 nor empties it"},
          {KERNEL(128, "c = sched 4 kind=\"dynamic\"\nrole name=\"a\" warps=4 {\nt = each c {\n}\n}\n"), "none produces them"},
          {KERNEL(128, "c = sched 4 kind=\"dynamic\"\nrole name=\"a\" warps=2 {\nt = produce c {\n}\n}\nrole name=\"b\" warps=2 "
                       "{\nt = produce c {\n}\n}\n"),
           "is produced in line 4 already"},
          {KERNEL(256, "o = order groups=2\ng = role name=\"a\" warps=4 groups=2 {\nenter o\n}\n"),
           "one iteration enters the order of line 2 without leaving it"},
          {KERNEL(256, "o = order groups=2\ng = role name=\"a\" warps=4 groups=2 {\nleave o\nenter o\n}\n"),
           "has not entered the order"},
          {KERNEL(256, "o = order groups=2\ng = role name=\"a\" warps=4 groups=2 {\nenter o\nenter o\nleave o\n}\n"),
           "has entered the order of line 2 already"},
          {KERNEL(256, "o = order groups=2\ng = role name=\"a\" warps=4 groups=2 {\nif 1:bool {\nenter o\n}\nleave o\n}\n"),
           "in one branch only"});
}

static void mistakes_of_clusters(void **state) {
  (void)state;
#define PAIR(body)     "kernel name=\"k\" threads=256 cluster=[2,1,1] {\n" MEMORY body "}\n"
#define TWO(load, math) "role name=\"load\" warps=4 {\n" load "}\nrole name=\"math\" warps=4 {\n" math "}\n"
  REFUSED({KERNEL(256, "cluster_sync\n"), "the kernel has no cluster"},
          {PAIR(TWO("cluster_sync\n", "cluster_sync\ncluster_sync\n")), "every thread of the cluster must come to each"},
          {PAIR(TWO("elect {\ncluster_sync\n}\n", "cluster_sync\n")), "needs every thread of its group"},
          {KERNEL(256, MEMORY "p = peer t, 1\n"), "peer: the kernel has no cluster"},
          {PAIR("p = peer t, 1.5\n"), "the rank is f32; expected i32 or i64"},
          {PAIR("p = peer t, 1\nq = peer p, 0\n"), "not a slot's and not a peer's"},
          {PAIR("p = peer t, 1\nstore p, f, 0:i64, 0:i64\n"), "is read by load only"},
          {PAIR("r = ring t stages=3 filled_by=\"tma\" emptied_by=\"math\" multicast=\"a\" among=3 fields=\"a\"\n" TWO(FILL, "k = wait r\nrelease k\n")),
           "multicast among 3 CTAs"},
          {PAIR("r = ring t stages=3 filled_by=\"tma\" emptied_by=\"math\" among=2 fields=\"a\"\n" TWO(FILL, "k = wait r\nrelease k\n")),
           "among 2; it says how many neighbouring CTAs"});
}

static void legal_programs(void **state) {
  (void)state;
  static const char *const texts[] = {
      ROLES("for 0, 9, 1 {\n" WAIT "release s\n}\n"),
      ROLES(WAIT "if 1:bool {\nrelease s\n} else {\nrelease s\n}\n"),
      ROLES(WAIT "h = carry s\nfor 1, 9, 1 {\na = wait r\nb = swap h, a\nrelease b\n}\nc = take h\nrelease c\n"),
      ROLES("if 1:bool {\n" WAIT "if 1:bool {\nx = wait r\nrelease x\n}\nrelease s\n}\n"),
      ROLES("skip r, 4\n" WAIT "a = field s name=\"a\"\nb = part a, g dim=0 size=64\nx = load b\nrelease s\n"),
      KERNEL(
          128, STORE_RING
          "for 0, 3, 1 {\ns = acquire r\nput_slot s, f field=\"a\"\nstore_slot s, m, 0, 0 field=\"a\"\ncommit s\n}\ndrain r\n"),
      KERNEL(256, "o = order groups=2\ng = role name=\"a\" warps=4 groups=2 {\nfor 0, 9, 1 {\nenter o, g\nif 1:bool {\nleave "
                  "o\n} else {\nleave o\n}\n}\n}\n"),
      KERNEL(32, "while {\nx = lt 1, 2\nyield x\n} do {\n}\n"),
      KERNEL(128, MEMORY "r = ring t stages=2 filled_by=\"cp.async\" fields=\"a\"\nfor 0, 3, 1 {\ns = acquire r\nfill_slot s, v, "
                         "0, 0 field=\"a\"\ncommit s\nw = wait r\na = field w name=\"a\"\nx = load a\nrelease w\n}\n"),
      KERNEL(128, WALK("1", "64") "for 0, 3, 1 {\ns = acquire r\nfill_slot s, w field=\"a\"\ncommit s\nk = wait r\na = field k name=\"a\"\n"
                  "x = load a\nrelease k\n}\n"),
      KERNEL(128, MEMORY "x = load v, 0, 0 shape=[64,1] dims=[1,0]\ny = load_like v, x, 0, 0\nz = load_like v, f, 0, 0 "
                         "dims=[-1,0]\nw = add z, f\nif 1:bool divergent {\nq = neg w\nstore v, q, 0, 0\n}\n"),
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    Case c;
    accept(&c, "legal.tile", texts[i]);
    check_round_trip(&c);
    arena_free(&c.a);
  }
}

/* ---- text ---- */

static void text_says_everything(void **state) {
  (void)state;
  const char *text = "file 7 \"ops/a \\\"b\\\".lua\"\nfile 3 \"x.lua\"\n" KERNEL(
      32, "a = param name=\"q\\n\\x80\\\\\" dtype=f32 @3:10\nb = add a, -inf @7:2:5\nc = mul b, 1e-06\nd = const dtype=f32 "
          "value=0.1\ne = mul c, d ^sync ^derived=3\nx = param name=\"f\" dtype=i64\ny = add x, 4611686018427387904:i64\n"
          "z = eq 1:bool, 0:bool\nn = mul e, nan\nm = mul n, -0.0\nlong = fma m,\n  1.0,\n  2.5 -- goes on after a comma\n");
  const char *expected =
      "file 1 \"x.lua\"\nfile 2 \"ops/a \\\"b\\\".lua\"\n\nkernel name=\"k\" threads=32 {\n  a = param name=\"q\\n\\x80\\\\\" "
      "dtype=f32 @1:10\n  b = add a, -inf @2:2:5\n  c = mul b, 1e-06\n"
      "  d = const dtype=f32 value=0.1\n  e = mul c, d ^sync ^derived=3\n  x = param name=\"f\" dtype=i64\n  y = add x, "
      "4.611686018427388e+18:i64\n  z = eq 1:bool, 0:bool\n  n = mul e, nan\n  m = mul n, -0.0\n  long = fma m, 1.0, 2.5\n}\n";
  Case c;
  accept(&c, "text.tile", text);
  assert_string_equal(print(&c), expected);
  check_round_trip(&c);
  arena_free(&c.a);
}

static void builder_names_are_made_unique(void **state) {
  (void)state;
  Case c;
  begin(&c);
  kernel(&c, 32);
  TileId x = node(&c, TILE_cta, 0, NULL, 1, (TileAttr[]){I(TA_axis, 0)}), y = one(&c, TILE_neg, x), z = one(&c, TILE_neg, y),
         w = one(&c, TILE_neg, z), u = one(&c, TILE_neg, w);
  tile_name(&c.p, x, "v1");
  tile_name(&c.p, z, "v1");
  tile_name(&c.p, w, "rows_of");
  tile_name(&c.p, u, "9 lives");
  tile_close(&c.p);
  assert_string_equal(print(&c), "kernel name=\"k\" threads=32 {\n  v1 = cta axis=0\n  v2 = neg v1\n  v1_2 = neg v2\n  rows_of_2 "
                                 "= neg v1_2\n  _9_lives = neg rows_of_2\n}\n");
  check_round_trip(&c);
  arena_free(&c.a);
}

static char *read_kernel(const char *name) {
  const char *root = getenv("KILN_TEST_ROOT");
  char path[1024];
  snprintf(path, sizeof path, "%s/docs/kernels/%s.tile", root ? root : ".", name);
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("cannot open %s", path);
  char *text = calloc(1, 1 << 20);
  size_t n = fread(text, 1, (1 << 20) - 1, f);
  fclose(f);
  assert_in_range(n, 100, (1 << 20) - 2);
  return text;
}

/* What the text says, without comments, blank lines and blanks at line ends. */
static void strip(char *text) {
  char *to = text;
  for (char *line = text, *next; *line; line = next) {
    char *end = strchr(line, '\n');
    next = end ? end + 1 : line + strlen(line);
    if (!end) end = next;
    for (char *c = line; c + 1 < end; c++)
      if (c[0] == '-' && c[1] == '-') end = c;
    while (end > line && end[-1] == ' ') end--;
    if (end == line) continue;
    memmove(to, line, (size_t)(end - line));
    to += end - line;
    *to++ = '\n';
  }
  *to = 0;
}

static void six_kernels(void **state) {
  (void)state;
  static const char *const names[] = {"attention_forward",  "gemm_ping_pong",    "gemm_fp8_blocks",
                                      "attention_backward", "rms_norm_backward", "gemm_tcgen05_pair"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *text = read_kernel(names[i]);
    Case c;
    accept(&c, names[i], text);
    check_round_trip(&c);
    char *printed = strdup(print(&c));
    strip(text); /* the file is written as the printer would */
    strip(printed);
    assert_string_equal(text, printed);
    free(printed);
    free(text);
    arena_free(&c.a);
  }
}

/* However little memory there is, reading, checking and printing land where the arena says, or finish. */
static void too_little_memory(void **state) {
  (void)state;
  char *text = read_kernel("attention_backward");
  bool finished = false;
  size_t limit = 0;
  while (!finished) {
    limit += 40000;
    Case c;
    jmp_buf landing;
    arena_init(&c.a, limit);
    c.a.on_exhausted = &landing;
    if (!setjmp(landing)) {
      diag_init(&c.d, &c.a);
      tile_init(&c.p, &c.a, &c.d);
      assert_true(tile_parse(&c.p, "limit.tile", text, strlen(text)));
      assert_true(tile_check(&c.p));
      print(&c);
      finished = true;
    }
    assert_true(c.a.total_bytes <= limit);
    arena_free(&c.a);
  }
  assert_in_range(limit, 100000, 4000000);
  free(text);
}

/* What the families build, after each pass, reads back too. */
static void emitted_programs(void **state) {
  (void)state;
  static const char *const passes[] = {"script", "layout", "hazard"};
  KilnGen *lister, *g; /* two: a list lives until the next call on its session */
  const kiln_gen_curated *list;
  const char *text;
  int n;
  assert_int_equal(kiln_gen_open(&lister, NULL), KILN_GEN_OK);
  assert_int_equal(kiln_gen_open(&g, NULL), KILN_GEN_OK);
  assert_int_equal(kiln_gen_curated_set(lister, &list, &n), KILN_GEN_OK);
  assert_true(n > 0);
  for (int i = 0; i < n; i += 1 + n / 40) { /* about forty of them */
    for (int k = 0; k < 3; k++) {
      if (kiln_gen_dump(g, &list[i].request, passes[k], &text) != KILN_GEN_OK)
        fail_msg("%s after %s: %s", list[i].path, passes[k], kiln_gen_message(g));
      Case c;
      accept(&c, "dump", text);
      assert_string_equal(print(&c), text);
      arena_free(&c.a);
    }
  }
  kiln_gen_close(g);
  kiln_gen_close(lister);
}

/* ---- random programs: what the builders accept must survive the text ---- */

static uint64_t seed;
static unsigned below(unsigned n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(seed >> 33) % n;
}

typedef struct Pool {
  TileId at[400];
  unsigned n;
} Pool;

static void add_random(Case *c, Pool *pool, int depth);

static void add_region(Case *c, Pool *pool, TileId at, int region, int depth) {
  unsigned kept = pool->n;
  tile_open(&c->p, at, region);
  for (unsigned i = below(6); i > 0; i--) add_random(c, pool, depth + 1);
  tile_close(&c->p);
  pool->n = kept;
}

static void add_random(Case *c, Pool *pool, int depth) {
  static const int dtypes[] = {KILN_F32, KILN_F32, KILN_I32, KILN_BF16, KILN_I64, KILN_BOOL};
  static const TileOp ops[] = {TILE_neg, TILE_exp,   TILE_add, TILE_mul, TILE_sub, TILE_max,
                               TILE_lt,  TILE_where, TILE_fma, TILE_set, TILE_zero};
  int dtype = dtypes[below(6)];
  TileId out = {0}, args[3] = {{0}};
  int64_t shape[] = {1 << below(7), 1 << below(7)};
  unsigned kind = below(12);
  for (int k = 0; k < 3 && pool->n; k++) args[k] = pool->at[below(pool->n)];
  if (kind < 2 || !pool->n)
    out = number(c, dtype,
                 dtype == KILN_BOOL                              ? below(2)
                 : dtype == KILN_I32                             ? (double)below(1000) - 500
                 : below(100) / 8.0 - 3 < 0 && dtype == KILN_I64 ? -7
                                                                 : (double)below(64));
  else if (kind == 2)
    out = frag(c, dtype, 1 + (int)below(2), shape, NULL);
  else if (kind == 3 && depth < 5) {
    TileId bounds[3] = {number(c, KILN_I32, 0), number(c, KILN_I32, below(9)), number(c, KILN_I32, 1)};
    out = node(c, TILE_for, 3, bounds, 1, (TileAttr[]){{.key = TA_down, .kind = 'b', .i = below(2)}});
    pool->at[pool->n++] = out;
    add_region(c, pool, out, 0, depth);
    pool->n--;
    if (below(2)) tile_name(&c->p, out, "i");
    return;
  } else if (kind == 4 && depth < 5) {
    TileId yes = number(c, KILN_BOOL, 1), test = node(c, TILE_if, 1, &yes, 0, NULL);
    add_region(c, pool, test, 0, depth);
    if (below(2)) add_region(c, pool, test, 1, depth);
    return;
  } else if (kind == 5)
    out = node(c, TILE_cvt, 1, args, 1, (TileAttr[]){D(dtype)});
  else {
    TileOp op = ops[below(sizeof ops / sizeof *ops)];
    out = node(c, op, (int)strlen(tile_op_info(op)->args), args, 0, NULL); /* many are refused */
  }
  diag_init(&c->d, &c->a);
  static const char *const given[] = {"x", "acc", "s2", "v3", "x_2", "inf", "a b"};
  if (out.i && below(2)) tile_name(&c->p, out, given[below(7)]);
  if (out.i && tile_at(&c->p, out)->type.kind != TK_NONE && pool->n < 390) pool->at[pool->n++] = out;
}

static void random_programs(void **state) {
  (void)state;
  uint64_t statements = 0;
  for (int round = 0; round < 300; round++) {
    seed = (uint64_t)round * 7919 + 1;
    Case c;
    Pool pool = {.n = 0};
    begin(&c);
    kernel(&c, 128);
    for (int i = 0; i < 60; i++) add_random(&c, &pool, 0);
    tile_close(&c.p);
    assert_true(tile_check(&c.p));
    statements += c.p.nodes.n;
    check_round_trip(&c);
    arena_free(&c.a);
  }
  assert_true(statements > 20000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(builders_infer_elementwise),
      cmocka_unit_test(builders_infer_slices),
      cmocka_unit_test(builders_check_arguments),
      cmocka_unit_test(tables_agree),
      cmocka_unit_test(mistakes_of_text),
      cmocka_unit_test(mistakes_of_types),
      cmocka_unit_test(mistakes_of_rings_and_products),
      cmocka_unit_test(mistakes_of_scope),
      cmocka_unit_test(mistakes_of_roles),
      cmocka_unit_test(mistakes_of_tokens),
      cmocka_unit_test(mistakes_of_clusters), cmocka_unit_test(mistakes_of_ring_ends),
      cmocka_unit_test(legal_programs),
      cmocka_unit_test(text_says_everything),
      cmocka_unit_test(builder_names_are_made_unique),
      cmocka_unit_test(six_kernels),
      cmocka_unit_test(too_little_memory),
      cmocka_unit_test(emitted_programs),
      cmocka_unit_test(random_programs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
