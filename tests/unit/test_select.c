/* test_select.c - arguments against contracts, choice of a variant, plans and launches, on the fake driver. */
#include "plan_case.h"

#include "bind.h"
#include "comma_locale.h"
#include "number.h"
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state) {
  (void)state;
  return setup_capability(89);
}

/* ---- scaled_copy ---- */

static kiln_status plan_copy(kiln_plan **plan, kiln_tensor *x, kiln_tensor *y, const kiln_plan_options *options) {
  kiln_arg args[] = {{.name = "x", .tensor = x}, {.name = "y", .tensor = y}, {.name = "alpha", .scalar = 0.5}};
  return kiln_plan_create_with(plan, dev, "scaled_copy", args, 3, options);
}

static void test_choice_and_launch(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
  int64_t shape[] = {3, 5, 8}, padded[] = {100, 20, 1};
  kiln_tensor x = f32(at(0), 3, shape, padded), y = f32(at(1 << 20), 3, shape, NULL);
  kiln_plan *plan;
  kiln_plan_info info;
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  assert_string_equal(info.variant, "scaled_copy-f32-v4"); /* the cheaper one */
  assert_int_equal(info.ntensors, 2);
  assert_int_equal(info.nsteps, 1);
  assert_true(info.bytes == 8 * 3 * 5 * 8 && info.flop == 3 * 5 * 8);
  assert_string_equal(kiln_plan_tensor_name(plan, 1), "y");
  assert_null(kiln_plan_tensor_name(plan, 2));
  void *pointers[] = {at(4096), at(1 << 21)};
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = pointers}, (void *)(uintptr_t)0x77));
  const FakeLaunch *l = &fake.launch[0];
  assert_string_equal(l->entry, "scaled_copy_f32_v4");
  assert_int_equal(l->grid[0], 15); /* 100 = 5 * 20: x merges as well */
  assert_int_equal(l->grid[1], 1);
  assert_int_equal(l->nparams, 8);
  assert_true(l->stream == (void *)(uintptr_t)0x77);
  assert_true(l->param[0] == (uintptr_t)pointers[0] && l->param[1] == (uintptr_t)pointers[1]);
  assert_int_equal(l->param[3], 20);
  assert_int_equal(l->param[5], 8);
  assert_int_equal(l->param[6], 8);
  float alpha;
  memcpy(&alpha, &l->param[7], 4);
  assert_true(alpha == 0.5f);
  kiln_plan_destroy(plan);
  /* 96 is no 5 * 20: rows stay two-dimensional; an odd size needs the general variant */
  int64_t odd[] = {3, 5, 7}, apart[] = {140, 20, 1};
  x = f32(at(0), 3, odd, apart), y = f32(at(1 << 20), 3, odd, NULL);
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  assert_string_equal(info.variant, "scaled_copy-f32");
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL)); /* pointers of creation */
  l = &fake.launch[1];
  assert_int_equal(l->grid[0], 5);
  assert_int_equal(l->grid[1], 3);
  assert_int_equal(l->param[2], 140);
  assert_int_equal(l->param[4], 35);
  assert_true(l->param[0] == (uintptr_t)at(0));
  kiln_plan_destroy(plan);
}

static void test_lead_dims(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("scaled_copy-f32.ptx")));
  int64_t row[] = {9}, matrix[] = {4, 9}, deep[] = {1, 1, 4, 9};
  kiln_plan *plan;
  kiln_tensor x = f32(at(0), 1, row, NULL), y = f32(at(4096), 1, row, NULL);
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  assert_int_equal(fake.launch[0].grid[0], 1);
  kiln_plan_destroy(plan);
  x = f32(at(0), 2, matrix, NULL), y = f32(at(4096), 2, matrix, NULL);
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  assert_int_equal(fake.launch[1].grid[0], 4);
  kiln_plan_destroy(plan);
  x = f32(at(0), 4, deep, NULL);
  assert_status(KILN_BAD_RANK, plan_copy(&plan, &x, &y, NULL));
  assert_says("tensor x has 4 dims; expected 1 to 3");
  x = f32(at(0), 2, matrix, NULL), y = f32(at(4096), 1, row, NULL);
  assert_status(KILN_BAD_SIZE, plan_copy(&plan, &x, &y, NULL));
  assert_says("tensor y: dim M1, which is left out, is 1; expected 4, as in tensor x");
  assert_null(plan);
}

static void test_refusals(void **state) {
  (void)state;
  kiln_tensor none_at_all = {0};
  assert_status(KILN_BAD_DTYPE, plan_copy(&(kiln_plan *){0}, &none_at_all, &none_at_all, NULL));
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
  int64_t shape[] = {4, 8}, other[] = {4, 12}, wide[] = {16, 2}, negative[] = {-8, 1}, minus[] = {4, -8}, none[] = {0, 1};
  kiln_tensor x = f32(at(0), 2, shape, NULL), y = f32(at(4096), 2, shape, NULL), bad;
  kiln_plan *plan;
  kiln_arg args[4] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};

  bad = x, bad.dtype = KILN_BF16;
  assert_status(KILN_BAD_DTYPE, plan_copy(&plan, &bad, &y, NULL));
  assert_says("tensor x is bf16; this variant takes f32");
  bad = x, bad.shape = other;
  assert_status(KILN_BAD_SIZE, plan_copy(&plan, &bad, &y, NULL));
  assert_says("tensor y: dim 1 (N) is 8; expected 12, as in tensor x");
  bad = x, bad.shape = minus;
  assert_status(KILN_BAD_SIZE, plan_copy(&plan, &bad, &y, NULL));
  bad = x, bad.strides = wide;
  assert_status(KILN_BAD_STRIDE, plan_copy(&plan, &bad, &y, NULL));
  assert_says("the stride of N is 2 elements; expected 1");
  bad = x, bad.strides = negative;
  assert_status(KILN_BAD_STRIDE, plan_copy(&plan, &bad, &y, NULL));
  bad = y, bad.strides = none;
  assert_status(KILN_OVERLAP, plan_copy(&plan, &x, &bad, NULL));
  assert_says("output y");
  bad = x, bad.data = at(2);
  assert_status(KILN_BAD_ALIGN, plan_copy(&plan, &bad, &y, NULL));
  assert_says("expected a multiple of 4 bytes");
  bad = y, bad.data = at(64);
  assert_status(KILN_OVERLAP, plan_copy(&plan, &x, &bad, NULL));
  assert_says("overlaps tensor x");
  bad = y, bad.data = (void *)&bad;
  assert_status(KILN_BAD_POINTER, plan_copy(&plan, &x, &bad, NULL));
  assert_says("host memory");
  bad = y, bad.data = (void *)(uintptr_t)(2ull << 40);
  assert_status(KILN_BAD_POINTER, plan_copy(&plan, &x, &bad, NULL));
  assert_says("memory of device 1");

  assert_status(KILN_MISSING_ARG, kiln_plan_create(&plan, dev, "scaled_copy", args, 1));
  args[2] = (kiln_arg){.name = "x", .tensor = &x};
  assert_status(KILN_MISSING_ARG, kiln_plan_create(&plan, dev, "scaled_copy", args, 3));
  assert_says("given twice");
  args[2] = (kiln_arg){.name = "beta", .scalar = 1};
  assert_status(KILN_UNKNOWN_ARG, kiln_plan_create(&plan, dev, "scaled_copy", args, 3));
  args[2] = (kiln_arg){.name = "gain", .text = "steep"};
  assert_status(KILN_BAD_SETTING, kiln_plan_create(&plan, dev, "scaled_copy", args, 3));
  assert_says("setting gain is \"steep\"; this variant has \"plain\"");
  args[2] = (kiln_arg){.name = "gain", .text = "plain"};
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "scaled_copy", args, 3));
  kiln_plan_destroy(plan);
  args[2] = (kiln_arg){.name = "dtype", .text = "f32"};
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "scaled_copy", args, 3));
  kiln_plan_destroy(plan);
  args[0].tensor = NULL;
  assert_status(KILN_MISSING_ARG, kiln_plan_create(&plan, dev, "scaled_copy", args, 2));
  assert_says("a tensor is expected");
  assert_status(KILN_NO_OP, kiln_plan_create(&plan, dev, "unheard_of", args, 2));
  assert_status(KILN_BAD_CALL, kiln_plan_create(NULL, dev, "scaled_copy", args, 2));
  assert_status(KILN_BAD_CALL, kiln_plan_create(&plan, NULL, "scaled_copy", args, 2));
  assert_status(KILN_BAD_CALL, kiln_plan_create(&plan, dev, "scaled_copy", NULL, 2));
  assert_status(KILN_BAD_CALL, kiln_plan_create(&plan, dev, "scaled_copy", args, 1000));
}

static void test_alias_and_columns(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("scaled_copy-f32.ptx")));
  int64_t shape[] = {4, 8}, rows[] = {32, 1};
  kiln_plan *plan;
  kiln_tensor x = f32(at(0), 2, shape, rows), y = x; /* in place */
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  void *crossed[] = {at(0), at(16)};
  assert_status(KILN_OVERLAP, kiln_launch(plan, &(kiln_call){.pointers = crossed}, NULL));
  void *columns[] = {at(0), at(32)}; /* columns 0-7 and 8-15 of one matrix of 32 columns */
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = columns}, NULL));
  kiln_plan_destroy(plan);
  y.data = at(32);
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  kiln_plan_destroy(plan);
  y.strides = NULL, y.data = x.data; /* the same pointer with other strides is no alias */
  assert_status(KILN_OVERLAP, plan_copy(&plan, &x, &y, NULL));
  assert_says("or the same pointer, sizes and strides");
}

/* Sizes whose product is 2^64, which 64 bits hold as 0: such a tensor was taken for an empty one, and nothing was computed. */
static void test_too_many_elements(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
  int64_t large[] = {1ll << 32, 1ll << 32}, none[] = {0, 0}, shape[] = {4, 8};
  kiln_plan *plan;
  kiln_tensor x = f32(NULL, 2, large, NULL), y = x;
  assert_status(KILN_TOO_LARGE, plan_copy(&plan, &x, &y, NULL));
  assert_says("tensor x: sizes and strides reach beyond 2^62 bytes");
  x.strides = none;
  assert_status(KILN_TOO_LARGE, plan_copy(&plan, &x, &y, NULL));
  x = f32(at(0), 2, shape, NULL), y = f32(at(4096), 2, shape, (int64_t[]){1ll << 62, 1});
  assert_status(KILN_TOO_LARGE, plan_copy(&plan, &x, &y, NULL));
  int64_t empty[] = {1ll << 31, 1ll << 32, 0}; /* dense strides go beyond 64 bits; none of them matters */
  x = f32(NULL, 3, empty, NULL), y = x;
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  kiln_plan_info info;
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  assert_int_equal(info.nsteps, 0);
  kiln_plan_destroy(plan);
}

/* Three dims of which no two meet: elements [1,0,0] and [0,1,1] were both accepted as places of an output. */
static void test_output_meets_itself(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
  int64_t shape[] = {2, 2, 2}, longer[] = {2, 3, 2}, thrice[] = {3, 2, 1}, apart[] = {6, 4, 1};
  kiln_plan *plan;
  kiln_tensor x = f32(at(0), 3, shape, NULL), y = f32(at(4096), 3, shape, thrice);
  assert_status(KILN_OVERLAP, plan_copy(&plan, &x, &y, NULL));
  assert_says("output y: elements [1,0,0] and [0,1,1] share one address (strides [3,2,1]); expected one address each");
  x.shape = y.shape = longer, y.strides = apart;
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  kiln_plan_destroy(plan);
}

static void test_empty(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
  int64_t shape[] = {0, 8};
  kiln_tensor x = f32(NULL, 2, shape, NULL), y = x;
  kiln_plan *plan;
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  assert_int_equal(fake.launches, 0);
  char text[64];
  assert_true(kiln_plan_describe(plan, text, sizeof text) > 64); /* more than fits, and what fits ends in NUL */
  assert_int_equal(strlen(text), 63);
  kiln_plan_destroy(plan);
}

static void test_workspace_and_call_scalars(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("accumulate-f32.ptx")));
  int64_t shape[] = {100}, twice[] = {2};
  kiln_tensor x = f32(at(0), 1, shape, twice), y = f32(at(1 << 16), 1, shape, NULL);
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "accumulate", args, 2));
  size_t align, bytes = kiln_plan_workspace(plan, &align);
  assert_int_equal(bytes, 512); /* 400, rounded up */
  assert_int_equal(align, 256);
  assert_string_equal(kiln_plan_scalar_name(plan, 1), "shift");
  kiln_scalar scalars[] = {{.f = 1.5}, {.i = -7}};
  kiln_call call = {.scalars = scalars, .workspace = at(1 << 20)};
  assert_status(KILN_OK, kiln_launch(plan, &call, NULL));
  assert_int_equal(fake.memsets, 1);
  assert_int_equal(fake.memset_bytes, 400);
  assert_true(fake.memset_at == (uintptr_t)call.workspace);
  assert_int_equal(fake.launches, 2);
  assert_int_equal(fake.launch[0].grid[0], 2);
  assert_true(fake.launch[0].param[1] == (uintptr_t)call.workspace && fake.launch[1].param[0] == (uintptr_t)call.workspace);
  assert_int_equal(fake.launch[0].param[2], 2);
  float gain;
  memcpy(&gain, &fake.launch[0].param[4], 4);
  assert_true(gain == 1.5f);
  assert_int_equal((int32_t)fake.launch[1].param[3], -7);
  call.workspace = NULL;
  assert_status(KILN_NULL_POINTER, kiln_launch(plan, &call, NULL));
  call.workspace = at((1 << 20) + 64);
  assert_status(KILN_BAD_ALIGN, kiln_launch(plan, &call, NULL));
  call.workspace = at(512); /* in the midst of x, whose elements have gaps of one between them */
  assert_status(KILN_OVERLAP, kiln_launch(plan, &call, NULL));
  assert_says("accumulate: call.workspace");
  assert_says("512 bytes) overlaps tensor x (");
  call.workspace = at((1 << 16) - 256);
  assert_status(KILN_OVERLAP, kiln_launch(plan, &call, NULL));
  assert_says("overlaps tensor y");
  call.scalars = NULL;
  assert_status(KILN_BAD_CALL, kiln_launch(plan, &call, NULL));
  scalars[1].i = 1ll << 40;
  call.scalars = scalars;
  assert_status(KILN_TOO_LARGE, kiln_launch(plan, &call, NULL));
  void *pointers[] = {NULL, at(1 << 16)};
  call.pointers = pointers;
  assert_status(KILN_NULL_POINTER, kiln_launch(plan, &call, NULL));
  assert_says("tensor x (number 0) is null");
  pointers[0] = at(1);
  assert_status(KILN_BAD_ALIGN, kiln_launch(plan, &call, NULL));
  assert_status(KILN_BAD_CALL, kiln_launch(NULL, &call, NULL));
  assert_int_equal(fake.launches, 2);
  kiln_plan_destroy(plan);
}

/* What a call scalar may be is worked out for the plan and held against each launch; every reason by itself. */
static void test_limits_of_call_scalars(void **state) {
  (void)state;
  assert_status(KILN_OK, add("turn.ptx", "//@ op turn\n//@ target sm_80\n//@ tensor x in f32 [T] strides [1]\n//@ tensor t in f32 [P] strides [1]\n"
                                         "//@ tensor y out f32 [T] strides [1]\n//@ scalar pos i32 call\n//@ scalar rows i32 default 100\n"
                                         "//@ scalar gain f32 call\n//@ limit pos 0 P-min(T,rows) \"each row has one of t\"\n"
                                         "//@ limit pos T-90 1000 \"as many as that\"\n//@ step s entry e grid T,1,1 block 32 shared 0 args x y\n"));
  int64_t few[] = {5}, many[] = {8}, none[] = {0}, most[] = {94};
  kiln_tensor x = f32(at(0), 1, few, NULL), y = f32(at(4096), 1, few, NULL), t = f32(at(8192), 1, many, NULL);
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}, {.name = "t", .tensor = &t}, {.name = "rows", .scalar = 100}};
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "turn", args, 4));
  kiln_scalar scalars[] = {{.i = 3}, {.f = 1}};
  kiln_call call = {.scalars = scalars};
  assert_status(KILN_OK, kiln_launch(plan, &call, NULL));
  scalars[0].i = 0;
  assert_status(KILN_OK, kiln_launch(plan, &call, NULL));
  scalars[0].i = 4;
  assert_status(KILN_REQUIRE, kiln_launch(plan, &call, NULL));
  assert_says("turn: scalar pos is 4; expected 0 to 3 (each row has one of t)");
  scalars[0].i = -1;
  assert_status(KILN_REQUIRE, kiln_launch(plan, &call, NULL));
  scalars[0].i = 0, scalars[1].f = 1e39;
  assert_status(KILN_TOO_LARGE, kiln_launch(plan, &call, NULL));
  assert_says("scalar gain is 9.9999999999999994e+38; expected");
  scalars[1].f = (double)INFINITY;
  assert_status(KILN_OK, kiln_launch(plan, &call, NULL));
  assert_int_equal(fake.launches, 3);
  char text[1024];
  kiln_plan_describe(plan, text, sizeof text);
  assert_non_null(strstr(text, "scalar pos with each launch, 0 to 3, -85 to 1000\n  scalar gain with each launch\n"));
  kiln_plan_destroy(plan);
  x.shape = y.shape = most, args[3].scalar = 2; /* the second one's turn */
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "turn", args, 4));
  assert_status(KILN_REQUIRE, kiln_launch(plan, &call, NULL));
  assert_says("expected 4 to 1000 (as many as that)");
  kiln_plan_destroy(plan);
  args[3].scalar = 9;
  assert_status(KILN_REQUIRE, kiln_plan_create(&plan, dev, "turn", args, 4));
  assert_says("no value of scalar pos will do: it is 0 to -1, from 0 to P-min(T,rows) (each row has one of t)");
  x.shape = y.shape = none; /* nothing is computed, whatever the scalars */
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "turn", args, 4));
  assert_status(KILN_OK, kiln_launch(plan, &call, NULL));
  kiln_plan_destroy(plan);
  args[3] = (kiln_arg){.name = "pos", .tensor = &t}; /* its name, but no scalar */
  assert_status(KILN_MISSING_ARG, kiln_plan_create(&plan, dev, "turn", args, 4));
  assert_says("argument pos: a scalar is expected");
}

/* ---- targets, options, explanations ---- */

#define TINY(target, extra) \
  "//@ op tiny\n//@ target " target "\n//@ tensor a in f32 [N] strides [1] align 4\n//@ tensor b out f32 [N] strides [1] align 4\n" \
  extra "//@ step main entry e grid N,1,1 block 32 shared 0 args a b\n"

static kiln_status plan_tiny(kiln_plan **plan, int64_t n, const kiln_plan_options *options) {
  kiln_tensor a = f32(NULL, 1, &n, NULL), b = a;
  kiln_arg args[] = {{.name = "a", .tensor = &a}, {.name = "b", .tensor = &b}};
  return kiln_plan_create_with(plan, dev, "tiny", args, 2, options);
}

static void assert_takes(const char *variant, int64_t n, const kiln_plan_options *options) {
  kiln_plan *plan;
  kiln_plan_info info;
  assert_status(KILN_OK, plan_tiny(&plan, n, options));
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  assert_string_equal(info.variant, variant);
  kiln_plan_destroy(plan);
}

static void reopen(int capability) {
  kiln_close(dev);
  fake.capability = capability;
  assert_status(KILN_OK, kiln_open(&dev, NULL));
  assert_status(KILN_OK, add("t/sm_80/old.ptx", TINY("sm_80", "//@ cost 1\n")));
  assert_status(KILN_OK, add("t/sm_89/mid.ptx", TINY("sm_89", "//@ cost 100\n")));
  assert_status(KILN_OK, add("t/sm_89/mid_big.ptx", TINY("sm_89", "//@ require N>1000 \"it is for large N\"\n//@ cost 2\n")));
  assert_status(KILN_OK, add("t/sm_90a/own.ptx", TINY("sm_90a", "//@ cost 1e9\n")));
  assert_status(KILN_OK, add("t/sm_100a/new.ptx", TINY("sm_100a", "")));
}

static void test_targets(void **state) {
  (void)state;
  reopen(90);
  assert_takes("own", 10, NULL); /* the device's own comes first, whatever its cost */
  assert_takes("old", 10, &(kiln_plan_options){.target = "sm_80"});
  assert_takes("mid", 10, &(kiln_plan_options){.variant = "mid.ptx"});
  kiln_plan *plan;
  assert_status(KILN_NO_VARIANT, plan_tiny(&plan, 10, &(kiln_plan_options){.variant = "none"}));
  assert_status(KILN_NO_VARIANT, plan_tiny(&plan, 10, &(kiln_plan_options){.target = "sm_100a"}));
  assert_status(KILN_REQUIRE, plan_tiny(&plan, 10, &(kiln_plan_options){.variant = "mid_big"}));
  assert_says("requires N>1000 (it is for large N); here N=10");
  reopen(89);
  assert_takes("mid", 10, NULL); /* the highest plain target not above the device */
  assert_takes("mid_big", 2000, NULL);
  reopen(86);
  assert_takes("old", 10, NULL);
  reopen(100);
  assert_takes("new", 10, NULL);
  reopen(75);
  assert_status(KILN_NO_TARGET, plan_tiny(&plan, 10, NULL));
  assert_says("sm_80");
}

typedef struct Verdicts { char text[4096]; int n, wins; } Verdicts;
static void note(void *user, const kiln_verdict *v) {
  Verdicts *all = user;
  size_t used = strlen(all->text);
  snprintf(all->text + used, sizeof all->text - used, "%s|%s|%s|%g|%s\n", v->variant, v->target, kiln_status_name(v->status), v->cost_ns,
           v->rule);
  all->n++;
  all->wins += v->wins;
}

static void test_explain(void **state) {
  (void)state;
  reopen(89);
  int64_t n = 10;
  kiln_tensor a = f32(NULL, 1, &n, NULL), b = a;
  kiln_arg args[] = {{.name = "a", .tensor = &a}, {.name = "b", .tensor = &b}};
  Verdicts all = {0};
  assert_status(KILN_OK, kiln_explain(dev, "tiny", args, 2, NULL, note, &all));
  assert_int_equal(all.n, 5);
  assert_int_equal(all.wins, 1);
  assert_non_null(strstr(all.text, "mid|sm_89|OK|100|\n"));
  assert_non_null(strstr(all.text, "mid_big|sm_89|REQUIRE|0|requires N>1000"));
  assert_non_null(strstr(all.text, "old|sm_80|OK|1|\n"));
  assert_non_null(strstr(all.text, "new|sm_100a|NO_TARGET|0|made for sm_100a; the device is sm_89"));
  assert_status(KILN_NO_OP, kiln_explain(dev, "unheard_of", args, 2, NULL, note, &all));
}

static void test_replacement_and_close(void **state) {
  (void)state;
  reopen(89);
  kiln_plan *plan;
  assert_status(KILN_OK, plan_tiny(&plan, 10, NULL));
  assert_status(KILN_OK, add("t/sm_89/mid.ptx", TINY("sm_89", "//@ cost 3\n//@ require N<5 \"small\"\n")));
  kiln_plan_info info;
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  assert_string_equal(info.variant, "mid"); /* the plan keeps the file it was made from */
  assert_takes("old", 10, NULL);
  void *pointers[] = {at(0), at(4096)};
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = pointers}, NULL));
  kiln_close(dev);
  dev = NULL;
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = pointers}, NULL)); /* and its device */
  kiln_plan_destroy(plan);
}

/* ---- geometry, values, modules ---- */

static void test_limits(void **state) {
  (void)state;
  kiln_plan *plan;
  assert_status(KILN_OK, add("grid.ptx", "//@ op tiny\n//@ target sm_80\n//@ tensor a in f32 [N] strides [1] align 4\n"
                                         "//@ tensor b out f32 [N] strides [1] align 4\n"
                                         "//@ step main entry e grid 1,N,1 block 32 shared N*1000 args a b\n"));
  assert_status(KILN_TOO_LARGE, plan_tiny(&plan, 70000, NULL));
  assert_says("its grid N is 70000; the device takes 0 to 65535");
  assert_status(KILN_UNSUPPORTED, plan_tiny(&plan, 200, NULL));
  assert_says("needs 200000 bytes of shared memory");
  assert_status(KILN_OK, plan_tiny(&plan, 90, NULL)); /* beyond 48 KB: allowed first */
  void *pointers[] = {at(0), at(4096)};
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = pointers}, NULL));
  assert_int_equal(fake.launch[0].shared, 90000);
  kiln_plan *smaller;
  assert_status(KILN_OK, plan_tiny(&smaller, 60, NULL)); /* must not take the allowance back */
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = pointers}, NULL));
  kiln_plan_destroy(smaller);
  kiln_plan_destroy(plan);
}

static void test_coresident_and_clusters(void **state) {
  (void)state;
  reopen(90);
  assert_status(KILN_OK, add("c.ptx", "//@ op spin\n//@ target sm_90a\n//@ tensor a in f32 [N] strides [1] align 4\n"
                                      "//@ tensor b out f32 [N] strides [1] align 4\n"
                                      "//@ step main entry e grid N,1,1 block 32 shared 0 cluster 2,1,1 attr coresident,pdl args a b\n"));
  int64_t n = 20;
  kiln_tensor a = f32(at(0), 1, &n, NULL), b = f32(at(4096), 1, &n, NULL);
  kiln_arg args[] = {{.name = "a", .tensor = &a}, {.name = "b", .tensor = &b}};
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "spin", args, 2));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  assert_int_equal(fake.launch[0].cluster[0], 2);
  kiln_plan_destroy(plan);
  n = 22; /* 10 SMs of 2 blocks */
  assert_status(KILN_UNSUPPORTED, kiln_plan_create(&plan, dev, "spin", args, 2));
  assert_says("22 blocks that wait for each other");
  n = 19;
  assert_status(KILN_UNSUPPORTED, kiln_plan_create(&plan, dev, "spin", args, 2));
  assert_says("its grid N is 19, no multiple of the cluster's 2 = 2");
  fake.clusters = 4; /* SMs that no cluster fits on: fewer blocks than SMs times blocks of each */
  n = 10;
  assert_status(KILN_UNSUPPORTED, kiln_plan_create(&plan, dev, "spin", args, 2));
  assert_says("10 blocks that wait for each other; Fake 0 holds 8");
  fake_front.cuLaunchKernelEx = NULL;
  assert_status(KILN_UNSUPPORTED, kiln_plan_create(&plan, dev, "spin", args, 2));
  assert_says("no cuLaunchKernelEx");
}

static const char values_text[] =
    "//@ kiln 1\n//@ op values\n//@ target sm_80\n//@ tensor q in f32 [B,H] strides [qb,1] align 8\n"
    "//@ tensor bias in f32 [B|1,H] strides [bb,1] align 4\n//@ tensor o out f32 [B,H*2] strides [ob,1] align 4\n"
    "//@ tensor one in f32 []\n//@ scalar scale f32\n//@ scalar k i32 default 3\n//@ scalar z f64 default 0.25\n"
    "//@ derived sl2 f32 scale*log2e\n//@ derived g fastdiv H/2\n//@ let parts min(ceildiv(B,2),256)\n//@ derived small i32 parts+k\n"
    "//@ step main entry e grid parts,1,1 block 32 shared 0 args q bias o one qb bb ob parts sl2 g small k z\n//@ end\n"
    ".entry e(.param a .param b .param c .param d .param e .param f .param g .param h .param i .param j .param k .param l .param m)\n";

static void test_values(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add_text(dev, "v.ptx", values_text, sizeof values_text));
  int64_t sizes[] = {5, 14}, twice[] = {5, 28}, single[] = {1, 14};
  kiln_tensor q = f32(at(0), 2, sizes, NULL), bias = f32(at(4096), 2, single, NULL), o = f32(at(8192), 2, twice, NULL),
              one = f32(at(12288), 0, NULL, NULL);
  kiln_arg args[] = {{.name = "q", .tensor = &q}, {.name = "bias", .tensor = &bias}, {.name = "o", .tensor = &o},
                     {.name = "one", .tensor = &one}, {.name = "scale", .scalar = 2}, {.name = "k", .scalar = 1.5}};
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_plan_create(&plan, dev, "values", args, 5));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  const FakeLaunch *l = &fake.launch[0];
  assert_int_equal(l->nparams, 13);
  assert_int_equal(l->param[4], 14);
  assert_int_equal(l->param[5], 0); /* broadcast */
  assert_int_equal(l->param[6], 28);
  assert_int_equal(l->param[7], 3);
  float sl2;
  memcpy(&sl2, &l->param[8], 4);
  assert_true(sl2 == (float)(2 * 1.4426950408889634074));
  uint64_t m = l->param[9] & 0xffffffff, shift = l->param[9] >> 32;
  for (uint64_t n = 0; n < 1000; n++) assert_int_equal(n * m >> shift, n / 7);
  assert_int_equal(0x7fffffffull * m >> shift, 0x7fffffff / 7);
  assert_int_equal((int32_t)l->param[10], 6);
  assert_int_equal((int32_t)l->param[11], 3);
  double z;
  memcpy(&z, &l->param[12], 8);
  assert_true(z == 0.25);
  kiln_plan_destroy(plan);
  assert_status(KILN_BAD_DTYPE, kiln_plan_create(&plan, dev, "values", args, 6));
  assert_says("scalar k is 1.5; expected an integer that fits i32");
  args[4].scalar = 1e300;
  assert_status(KILN_BAD_DTYPE, kiln_plan_create(&plan, dev, "values", args, 5));
  assert_says("expected a number that f32 has");
  args[4].scalar = 2;
  assert_status(KILN_MISSING_ARG, kiln_plan_create(&plan, dev, "values", args, 4));
  assert_says("scale: this scalar is missing");
  o.shape = sizes;
  assert_status(KILN_BAD_SIZE, kiln_plan_create(&plan, dev, "values", args, 5));
  assert_says("tensor o: dim 1 is 14; expected H*2 = 28");
  int64_t odd_stride[] = {15, 1};
  o.shape = twice;
  q.strides = odd_stride;
  assert_status(KILN_BAD_ALIGN, kiln_plan_create(&plan, dev, "values", args, 5));
  assert_says("the stride of B is 15 elements (60 bytes); expected a multiple of 8 bytes");
}

static void test_bad_modules(void **state) {
  (void)state;
  kiln_plan *plan;
  assert_status(KILN_OK, add("t.ptx", TINY("sm_80", "")));
  fake.refuse_ptx = true;
  assert_status(KILN_BAD_PTX, plan_tiny(&plan, 4, NULL));
  assert_says("t.ptx (made for sm_80, device is sm_89, driver 13.0)");
  assert_says("a log of the fake");
  fake.refuse_ptx = false;
  assert_status(KILN_OK, plan_tiny(&plan, 4, NULL)); /* a failure is not remembered */
  kiln_plan_destroy(plan);
  assert_status(KILN_OK, plan_tiny(&plan, 5, NULL));
  kiln_plan_destroy(plan);
  assert_int_equal(fake.loads, 1); /* loaded once */
  assert_status(KILN_OK, add("t.ptx", "//@ op tiny\n//@ target sm_80\n//@ tensor a in f32 [N] strides [1] align 4\n"
                                      "//@ tensor b out f32 [N] strides [1] align 4\n"
                                      "//@ step main entry missing grid N,1,1 block 32 shared 0 args a b\n"));
  assert_status(KILN_BAD_CONTRACT, plan_tiny(&plan, 4, NULL));
  assert_says("names entry missing");
}

/* The driver copies as many bytes from where a launch points as the entry declares: what it would read must be there. */
static void test_parameters(void **state) {
  (void)state;
  static const struct { const char *params, *says; } cases[] = {
      {".param .u64 a, .param .u64 b", NULL},
      {"\n  .param .u64 a , // two\n .param /* of */ .b64 b\n", NULL},
      {".param .u64 .ptr .global .align 4 a, .param .b8 b[8]", NULL},
      {".param .u64 a, .param .u64 b, .param .u32 c", "takes more parameters than the 2 that the contract passes"},
      {".param .u64 a, .param .align 4 .b8 b[11025]", "parameter 1 of entry e has 11025 bytes; expected 8"},
      {".param .u32 a, .param .u64 b", "parameter 0 of entry e has 4 bytes; expected 8"},
      {".param .b64 a[2305843009213693952], .param .u64 b", "parameter 0 of entry e has 18446744073709551615 bytes; expected 8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[1024];
    kiln_plan *plan;
    int n = snprintf(text, sizeof text, "//@ kiln 1\n%s//@ end\n.visible .entry other(.param .u8 x) { ret; }\n.visible .entry e(%s) { ret; }\n",
                     TINY("sm_80", ""), cases[i].params);
    assert_status(KILN_OK, kiln_add_text(dev, "p.ptx", text, (size_t)n));
    assert_status(cases[i].says ? KILN_BAD_CONTRACT : KILN_OK, plan_tiny(&plan, 4, NULL));
    if (cases[i].says) assert_says(cases[i].says);
    kiln_plan_destroy(plan);
  }
}

/* Of the compiler's log what tells of something amiss is kept; of what it says besides, nothing. */
static void test_remarks(void **state) {
  (void)state;
  kiln_plan *plan;
  assert_string_equal(kiln_plan_remarks(NULL), "");
  fake.jit_says = "ptxas info    : 0 bytes gmem\nptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized\n"
                  "ptxas info    : Used 40 registers\nptxas warning : Stack size cannot be determined";
  assert_status(KILN_OK, add("t.ptx", TINY("sm_80", "")));
  assert_status(KILN_OK, plan_tiny(&plan, 4, NULL));
  assert_string_equal(kiln_plan_remarks(plan), "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized\n"
                                               "ptxas warning : Stack size cannot be determined");
  kiln_plan_destroy(plan);
  fake.jit_says = "ptxas info    : 0 bytes gmem";
  assert_status(KILN_OK, add("t.ptx", TINY("sm_80", "")));
  assert_status(KILN_OK, plan_tiny(&plan, 4, NULL));
  assert_string_equal(kiln_plan_remarks(plan), "");
  kiln_plan_destroy(plan);
  fake.jit_says = NULL;
}

static void test_devices(void **state) {
  (void)state;
  kiln_device *other;
  kiln_device_info info;
  assert_status(KILN_OK, kiln_device_query(dev, &info));
  assert_string_equal(info.target, "sm_89");
  assert_string_equal(info.name, "Fake 0");
  assert_true(fabs(info.bandwidth_bytes_ns - 0.92 * 1024) < 1);
  assert_status(KILN_NO_DEVICE, kiln_open(&other, "cuda:2"));
  assert_says("there is no cuda:2: the driver finds 2 GPUs");
  assert_null(other);
  assert_status(KILN_BAD_CALL, kiln_open(&other, "cuda:x"));
  assert_status(KILN_BAD_CALL, kiln_open(&other, "rocm:0"));
  assert_status(KILN_BAD_CALL, kiln_open(NULL, NULL));
  assert_status(KILN_NO_DEVICE, kiln_open(&other, "current"));
  fake_stack[fake_depth++] = &fake_context[1];
  assert_status(KILN_OK, kiln_open(&other, "current"));
  assert_status(KILN_OK, kiln_device_query(other, &info));
  assert_int_equal(info.ordinal, 1);
  void *ptr;
  assert_status(KILN_OK, kiln_malloc(dev, &ptr, 100)); /* in device 0's context, whatever is current */
  assert_true((uintptr_t)ptr >> 40 == 1);
  assert_int_equal(fake_depth, 1);
  assert_ptr_equal(fake_stack[0], &fake_context[1]);
  assert_status(KILN_OK, kiln_free(dev, ptr));
  assert_status(KILN_NO_DEVICE_MEMORY, kiln_malloc(dev, &ptr, (size_t)1 << 40));
  assert_null(ptr);
  assert_status(KILN_OK, kiln_malloc(dev, &ptr, 0));
  assert_null(ptr);
  kiln_close(other);
  fake_depth = 0;
  fake.devices = 0;
  assert_status(KILN_NO_DEVICE, kiln_open(&other, NULL));
  assert_says("finds no GPU");
  fake.devices = 2;
}

static void test_files(void **state) {
  (void)state;
  assert_status(KILN_NOT_FOUND, kiln_add(dev, "/nonexistent/folder"));
  assert_status(KILN_FILE, kiln_add(dev, "/dev/null"));
  char pipe[] = "/tmp/kiln-pipe-XXXXXX", path[64];
  assert_non_null(mkdtemp(pipe));
  snprintf(path, sizeof path, "%s/a.ptx", pipe);
  assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes to it: to be refused, not waited for */
  assert_status(KILN_FILE, kiln_add(dev, path));
  assert_says("is no ordinary file");
  assert_status(KILN_NOT_FOUND, kiln_add(dev, pipe));
  unlink(path);
  rmdir(pipe);
  assert_status(KILN_NO_CONTRACT, kiln_add_text(dev, "n.ptx", ".version 7.0\n", 13));
  assert_status(KILN_BAD_CONTRACT, kiln_add_text(dev, "n.ptx", "//@ kiln 1\n\0more", 16));
  assert_status(KILN_TRUNCATED, kiln_add_text(dev, "n.ptx", "//@ kiln 1\n//@ op a\n", 20));
  assert_status(KILN_NEWER, kiln_add_text(dev, "n.ptx", "//@ kiln 2\n", 11));
  assert_status(KILN_BAD_CALL, kiln_add_text(dev, "", "x", 1));
  assert_status(KILN_BAD_CALL, kiln_add(NULL, "x"));
}

static void write_file(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

/* Of a folder's errors the first one counts, with its own message, also where it was in a folder below; other files are added. */
static void test_folder_errors(void **state) {
  (void)state;
  char root[] = "/tmp/kiln-select-XXXXXX", path[64], below[64], first[64], second[64], good[64];
  kiln_plan *plan;
  assert_non_null(mkdtemp(root));
  snprintf(below, sizeof below, "%s/a", root);
  snprintf(first, sizeof first, "%s/a/none.ptx", root);
  snprintf(second, sizeof second, "%s/b_cut.ptx", root);
  snprintf(good, sizeof good, "%s/c_good.ptx", root);
  assert_int_equal(mkdir(below, 0700), 0);
  write_file(first, ".version 7.0\n");
  write_file(second, "//@ kiln 1\n//@ op a\n");
  write_file(good, "//@ kiln 1\n" TINY("sm_80", "") "//@ end\n.visible .entry e(.param .u64 a, .param .u64 b) { ret; }\n");
  snprintf(path, sizeof path, "%s/", root);
  assert_status(KILN_NO_CONTRACT, kiln_add(dev, path));
  assert_says("a/none.ptx has no contract");
  assert_status(KILN_OK, plan_tiny(&plan, 3, NULL));
  kiln_plan_destroy(plan);
  unlink(first), unlink(second), unlink(good), rmdir(below), rmdir(root);
}

static kiln_status provide(void *user, kiln_device *d, const kiln_request *request) {
  (void)d;
  int *calls = user;
  ++*calls;
  assert_string_equal(request->op, "tiny");
  assert_string_equal(request->target, "sm_89");
  return add("provided.ptx", TINY("sm_80", ""));
}

static void test_provider(void **state) {
  (void)state;
  int calls = 0;
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_set_provider(dev, provide, &calls));
  for (int i = 0; i < 2; i++) {
    assert_status(KILN_OK, plan_tiny(&plan, 3, NULL));
    kiln_plan_destroy(plan);
  }
  assert_int_equal(calls, 1); /* the second time the file is there */
}

static void test_streams_and_events(void **state) {
  (void)state;
  void *stream, *start, *end;
  double ns;
  assert_status(KILN_OK, kiln_stream_create(dev, &stream));
  assert_status(KILN_OK, kiln_event_create(dev, &start));
  assert_status(KILN_OK, kiln_event_create(dev, &end));
  assert_status(KILN_OK, kiln_event_record(dev, start, stream));
  assert_status(KILN_OK, kiln_event_record(dev, end, stream));
  assert_status(KILN_OK, kiln_event_elapsed(dev, start, end, &ns));
  assert_true(ns == 5e5);
  assert_status(KILN_BAD_CALL, kiln_event_record(dev, NULL, stream));
  assert_status(KILN_OK, kiln_stream_sync(dev, stream));
  assert_status(KILN_OK, kiln_event_destroy(dev, start));
  assert_status(KILN_OK, kiln_event_destroy(dev, end));
  assert_status(KILN_OK, kiln_stream_destroy(dev, stream));
  assert_status(KILN_OK, kiln_sync(dev));
  void *symbol;
  assert_status(KILN_OK, kiln_driver_symbol(dev, "cuLaunchKernel", &symbol));
  assert_status(KILN_NOT_FOUND, kiln_driver_symbol(dev, "cuNoSuchCall", &symbol));
}

/* ---- in a program whose locale writes 1,5: contracts are read, and messages say numbers, as before ---- */

static int setup_commas(void **state) { return setup(state) || !comma_locale(); }
static int teardown_commas(void **state) {
  setlocale(LC_ALL, "C");
  return teardown(state);
}

static void test_cost_in_words(void **state) {
  (void)state;
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
  int64_t shape[] = {3, 5, 8};
  kiln_tensor x = f32(at(0), 3, shape, NULL), y = f32(at(1 << 20), 3, shape, NULL);
  kiln_plan *plan;
  kiln_plan_info info;
  char text[2048], want[128], cost[NUMBER_BYTES];
  assert_status(KILN_OK, plan_copy(&plan, &x, &y, NULL));
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  kiln_plan_describe(plan, text, sizeof text);
  snprintf(want, sizeof want, "  predicted %s us, 960 bytes, 120 FLOP\n", number_text(cost, sizeof cost, "%.6g", info.cost_ns * 1e-3));
  assert_non_null(strchr(cost, '.'));
  assert_non_null(strstr(text, want));
  assert_null(strchr(cost, ','));
  kiln_plan_destroy(plan);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_choice_and_launch), TEST(test_lead_dims), TEST(test_refusals), TEST(test_alias_and_columns),
      TEST(test_too_many_elements), TEST(test_output_meets_itself), TEST(test_empty),
      TEST(test_workspace_and_call_scalars), TEST(test_limits_of_call_scalars), TEST(test_targets), TEST(test_explain), TEST(test_replacement_and_close),
      TEST(test_limits), TEST(test_coresident_and_clusters), TEST(test_values), TEST(test_bad_modules), TEST(test_parameters), TEST(test_remarks),
      TEST(test_devices),
      TEST(test_files), TEST(test_folder_errors), TEST(test_provider), TEST(test_streams_and_events),
      TEST(test_cost_in_words),
  };
#define COMMA_TEST(name) {"with commas: " #name, name, setup_commas, teardown_commas, NULL}
  const struct CMUnitTest comma_tests[] = {
      COMMA_TEST(test_choice_and_launch), COMMA_TEST(test_limits_of_call_scalars), COMMA_TEST(test_explain), COMMA_TEST(test_values),
      COMMA_TEST(test_cost_in_words),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!comma_locale()) return failed;
  setlocale(LC_ALL, "C");
  return failed + cmocka_run_group_tests(comma_tests, NULL, NULL);
}
