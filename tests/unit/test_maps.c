/* test_maps.c - tensor maps, clusters and programmatic launches: what the driver is given, what is unfit and why, what a launch writes. On the
 * fake driver, which holds maps against the rules of cuda.h by itself. */
#include "plan_case.h"

#include "plan.h"

static int setup(void **state) {
  (void)state;
  return setup_capability(90);
}

/* x and y in f32 of [B|1,M,N]; the extra lines are the case's own. */
#define TENSORS                                                        \
  "//@ tensor x in f32 [B|1,M,N] strides [xb,x0,1] align 4 lead 1\n"   \
  "//@ tensor y out f32 [B,M,N] strides [yb,y0,1] align 4 lead 1\n"
#define FIRST "//@ tensor b in f32 [B] strides [1] align 4\n" /* binds B, so that x may repeat */

static kiln_status add_mapped(const char *name, const char *lines, const char *step) {
  char text[4096];
  int n = snprintf(text, sizeof text,
                   "//@ kiln 1\n//@ op boxes\n//@ target sm_90a\n" FIRST TENSORS "%s"
                   "//@ step main entry e grid 2,1,1 block 32 shared 0 %s\n//@ end\n"
                   ".visible .entry e(.param .align 64 .b8 a[128], .param .u64 b) { ret; }\n",
                   lines, step);
  return kiln_add_text(dev, name, text, (size_t)n);
}

static kiln_status add_plain(void) {
  static const char text[] = "//@ kiln 1\n//@ op boxes\n//@ target sm_90a\n" FIRST TENSORS
                             "//@ cost 1000\n//@ step main entry e grid 1,1,1 block 32 shared 0 args x y\n//@ end\n"
                             ".visible .entry e(.param .u64 a, .param .u64 b) { ret; }\n";
  return kiln_add_text(dev, "plain.ptx", text, sizeof text - 1);
}

#define X_MAP "//@ map x_map x dims [B,M,N] strides [xb,x0,1] box [1,8,32] swizzle 128\n//@ cost 1\n"

static kiln_status plan_boxes(kiln_plan **plan, kiln_tensor *x, kiln_tensor *y) {
  int64_t batch = y->rank == 3 ? y->shape[0] : 1;
  kiln_tensor b = f32(at(1 << 24), 1, &batch, NULL);
  kiln_arg args[] = {{.name = "b", .tensor = &b}, {.name = "x", .tensor = x}, {.name = "y", .tensor = y}};
  return kiln_plan_create(plan, dev, "boxes", args, 3);
}

static void assert_takes(const char *variant, kiln_tensor *x, kiln_tensor *y) {
  kiln_plan *plan;
  kiln_plan_info info;
  assert_status(KILN_OK, plan_boxes(&plan, x, y));
  assert_status(KILN_OK, kiln_plan_query(plan, &info));
  assert_string_equal(info.variant, variant);
  kiln_plan_destroy(plan);
}

static kiln_status plan_tiles(kiln_plan **plan, void *x, void *y, int64_t rows, int64_t columns) {
  int64_t shape[] = {rows, columns}, padded[] = {columns + 8, 1};
  kiln_tensor tx = f32(x, 2, shape, padded), ty = f32(y, 2, shape, NULL);
  kiln_arg args[] = {{.name = "x", .tensor = &tx}, {.name = "y", .tensor = &ty}};
  return kiln_plan_create(plan, dev, "tile_copy", args, 2);
}

static void test_launch(void **state) {
  (void)state;
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_add(dev, data_path("tile_copy-f32.ptx")));
  assert_status(KILN_OK, plan_tiles(&plan, NULL, NULL, 20, 100)); /* sizes only: an address takes the pointer's place */
  kiln_call call = {.pointers = (void *[]){at(4096), at(1 << 20)}, .workspace = at(1 << 21)};
  unsigned char *before = malloc(plan->block_bytes);
  memcpy(before, plan, plan->block_bytes);
  int requests = fake_memory.requests, encoded = fake.encoded;
  assert_status(KILN_OK, kiln_launch(plan, &call, at(7)));
  call.pointers = (void *[]){at(16), at(1 << 22)};
  assert_status(KILN_OK, kiln_launch(plan, &call, NULL));
  assert_memory_equal(before, plan, plan->block_bytes); /* written by no launch */
  assert_int_equal(fake_memory.requests, requests);
  assert_int_equal(fake.encoded, encoded);
  free(before);
  const FakeLaunch *l = fake.launch;
  assert_int_equal(fake.launches, 4);
  assert_int_equal(l[0].nparams, 2);
  const FakeMap *x = &l[0].map[0], *between = &l[0].map[1], *y = &l[1].map[1];
  assert_true(x->address == (uintptr_t)at(4096) && between->address == (uintptr_t)at(1 << 21) && y->address == (uintptr_t)at(1 << 20));
  assert_true(l[2].map[0].address == (uintptr_t)at(16) && l[3].map[1].address == (uintptr_t)at(1 << 22));
  assert_true(l[3].map[0].address == (uintptr_t)at(1 << 21));
  assert_true(x->rank == 2 && x->type == DRV_MAP_FLOAT32 && x->swizzle == DRV_MAP_SWIZZLE_NONE && x->l2 == DRV_MAP_L2_128B);
  assert_true(x->dim[0] == 100 && x->dim[1] == 20 && x->stride[0] == 108 * 4 && between->stride[0] == 400 && y->stride[0] == 400);
  assert_true(x->box[0] == 32 && x->box[1] == 8 && x->fill == DRV_MAP_FILL_ZERO && y->fill == DRV_MAP_FILL_NAN && y->l2 == DRV_MAP_L2_NONE);
  assert_true(l[0].extended && l[0].cluster[0] == 2 && l[0].cluster[1] == 1 && !l[0].pdl);
  assert_true(l[1].extended && l[1].cluster[0] == 2 && l[1].pdl && l[0].stream == at(7));
  assert_true(l[0].grid[0] == 4 && l[0].grid[1] == 3);
  char text[1024];
  kiln_plan_describe(plan, text, sizeof text);
  assert_non_null(strstr(text, "  map x_map of x [20,100] strides [432,4] bytes, box [8,32] swizzle 0\n"));
  assert_non_null(strstr(text, "cluster 2,1,1 pdl, 2 parameters"));
  kiln_plan_destroy(plan);
}

static void test_pointers(void **state) {
  (void)state;
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_add(dev, data_path("tile_copy-f32.ptx")));
  assert_status(KILN_BAD_ALIGN, plan_tiles(&plan, at(8), NULL, 4, 8));
  assert_says("tensor x: pointer 0x10000000008; map x_map expects a multiple of 16 bytes");
  assert_status(KILN_OK, plan_tiles(&plan, NULL, NULL, 4, 8));
  kiln_call call = {.pointers = (void *[]){at(4096), at(8)}, .workspace = at(1 << 21)};
  assert_status(KILN_BAD_ALIGN, kiln_launch(plan, &call, NULL));
  assert_says("of tensor y (number 1); expected a multiple of 16 bytes");
  call.pointers = (void *[]){NULL, at(16)};
  assert_status(KILN_NULL_POINTER, kiln_launch(plan, &call, NULL));
  call.pointers = (void *[]){at(4096), at(1 << 20)};
  call.workspace = at(8);
  assert_status(KILN_BAD_ALIGN, kiln_launch(plan, &call, NULL));
  assert_int_equal(fake.launches, 0);
  kiln_plan_destroy(plan);
}

/* What has no elements has no maps either, and a map that no step takes is not made. */
static void test_unused(void **state) {
  (void)state;
  kiln_plan *plan;
  assert_status(KILN_OK, kiln_add(dev, data_path("tile_copy-f32.ptx")));
  assert_status(KILN_OK, plan_tiles(&plan, NULL, NULL, 0, 8));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  kiln_plan_destroy(plan);
  assert_int_equal(fake.encoded, 0);
  assert_status(KILN_OK, add_mapped("skipped.ptx", X_MAP, "when M>2 args x_map y"));
  int64_t shape[] = {2, 7};
  kiln_tensor x = f32(at(8), 2, shape, NULL), y = f32(at(1 << 20), 2, shape, NULL); /* would fit no map */
  assert_status(KILN_OK, plan_boxes(&plan, &x, &y));
  assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
  kiln_plan_destroy(plan);
  assert_int_equal(fake.encoded + fake.launches, 0);
}

static FakeMap encode_boxes(kiln_tensor *x, kiln_tensor *y) {
  kiln_plan *plan;
  fake.launches = 0;
  assert_status(KILN_OK, plan_boxes(&plan, x, y));
  void *pointers[] = {at(1 << 24), at(0), at(1ll << 39)};
  assert_status(KILN_OK, kiln_launch(plan, &(kiln_call){.pointers = pointers}, NULL));
  kiln_plan_destroy(plan);
  assert_true(fake.launch[0].map[0].swizzle == DRV_MAP_SWIZZLE_128B && fake.launch[0].map[0].rank == 3);
  return fake.launch[0].map[0];
}

static void test_strides(void **state) {
  (void)state;
  assert_status(KILN_OK, add_mapped("boxes.ptx", X_MAP, "args x_map y"));
  int64_t shape[] = {3, 5, 8}, flat[] = {5, 8}, once[] = {1, 5, 8}, thin[] = {3, 1, 8}, odd[] = {35, 7, 1}, far[] = {80, 16, 1};
  kiln_tensor x = f32(NULL, 3, shape, far), y = f32(NULL, 3, shape, NULL);
  FakeMap m = encode_boxes(&x, &y);
  assert_true(m.dim[2] == 3 && m.dim[1] == 5 && m.dim[0] == 8 && m.stride[0] == 64 && m.stride[1] == 320);
  assert_true(m.box[2] == 1 && m.box[1] == 8 && m.box[0] == 32 && m.address == (uintptr_t)at(0));
  x = f32(NULL, 3, once, NULL); /* a broadcast: the same elements for each B */
  m = encode_boxes(&x, &y);
  assert_true(m.dim[2] == 3 && m.stride[1] == 0 && m.stride[0] == 32);
  x = f32(NULL, 2, flat, NULL), y = f32(NULL, 2, flat, NULL); /* B left out: of size 1, with any legal stride */
  m = encode_boxes(&x, &y);
  assert_true(m.dim[2] == 1 && m.stride[1] == 16);
  x = f32(NULL, 3, thin, (int64_t[]){12, 7, 1}), y = f32(NULL, 3, thin, NULL); /* a stride that does not matter */
  m = encode_boxes(&x, &y);
  assert_true(m.dim[1] == 1 && m.stride[0] == 16 && m.stride[1] == 48);
  x = f32(NULL, 3, shape, odd), y = f32(NULL, 3, shape, NULL);
  kiln_plan *plan;
  assert_status(KILN_BAD_ALIGN, plan_boxes(&plan, &x, &y));
  assert_says("map x_map of x: the stride of dim 0 (xb) is 35 elements (140 bytes); expected a multiple of 16 bytes: pad the rows");
}

/* Every rule makes the mapped file unfit; one without maps then takes the call. */
static void assert_unfit(const char *lines, kiln_tensor *x, kiln_tensor *y, kiln_status status, const char *words) {
  kiln_plan *plan;
  assert_status(KILN_OK, add_mapped("boxes.ptx", lines, "args x_map y"));
  assert_status(status, plan_boxes(&plan, x, y));
  assert_says(words);
  assert_status(KILN_OK, add_plain());
  assert_takes("plain", x, y);
  kiln_close(dev);
  assert_status(KILN_OK, kiln_open(&dev, "cuda:0"));
}

static void test_unfit(void **state) {
  (void)state;
  int64_t shape[] = {3, 5, 8}, huge[] = {2, 1, 8}, long_[] = {1, 1, (1ll << 32) + 1}, none[] = {3, 5, 0};
  int64_t odd[] = {80, 14, 1}, far[] = {1ll << 38, 16, 1};
  kiln_tensor x = f32(NULL, 3, shape, odd), y = f32(NULL, 3, shape, NULL), z;
  assert_unfit(X_MAP, &x, &y, KILN_BAD_ALIGN, "dim 1 (x0) is 14 elements (56 bytes)");
  x.strides = NULL, x.data = at(4);
  assert_unfit(X_MAP, &x, &y, KILN_BAD_ALIGN, "pointer 0x10000000004; map x_map expects");
  x = f32(NULL, 3, huge, far), z = f32(NULL, 3, huge, NULL);
  assert_unfit(X_MAP, &x, &z, KILN_REQUIRE, "the stride of dim 0 (xb) is 274877906944 elements; a tensor map takes 0 to 2^40 - 1 bytes");
  x = f32(NULL, 3, long_, NULL), z = f32(NULL, 3, long_, NULL);
  assert_unfit(X_MAP, &x, &z, KILN_REQUIRE, "dim 2 (N) is 4294967297; a tensor map takes 1 to 2^32");
  x = f32(NULL, 3, shape, NULL);
  assert_unfit("//@ map x_map x dims [M-5,N] strides [x0,1] box [8,32] swizzle 0\n", &x, &y, KILN_REQUIRE, "dim 0 (M-5) is 0; a tensor map");
  assert_unfit("//@ map x_map x dims [M,N] strides [x0-12,1] box [8,32] swizzle 0\n", &x, &y, KILN_REQUIRE, "(x0-12) is -4 elements");
  assert_unfit("//@ map x_map x dims [M/(N-8),N] strides [x0,1] box [8,32] swizzle 0\n", &x, &y, KILN_TOO_LARGE, "its dim M/(N-8) divides by zero");
  assert_unfit("//@ map x_map x dims [M,N] strides [x0/(N-8),1] box [8,32] swizzle 0\n", &x, &y, KILN_TOO_LARGE, "its stride x0/(N-8) divides by zero");
  assert_unfit("//@ map x_map x dims [B*M+1,N] strides [x0,1] box [8,32] swizzle 0\n", &x, &y, KILN_BAD_CONTRACT,
               "map x_map reaches 512 bytes behind the first of x, which has 480");
  assert_unfit("//@ workspace w f32 [M,N]\n//@ map x_map w dims [M,N+4] strides [N,1] box [8,32] swizzle 0\n", &x, &y, KILN_BAD_CONTRACT,
               "of w, which has 160");
  fake.refuse_stride = 32; /* a driver that knows more rules than this runtime */
  assert_unfit(X_MAP, &x, &y, KILN_UNSUPPORTED, "map x_map of x: cuTensorMapEncodeTiled failed with 1");
  fake.refuse_stride = 0;
  x = f32(NULL, 3, none, NULL), z = f32(at(0), 3, shape, NULL);
  kiln_plan *plan; /* no elements: the output's sizes differ, so no file fits */
  assert_status(KILN_OK, add_mapped("boxes.ptx", X_MAP, "args x_map y"));
  assert_status(KILN_BAD_SIZE, plan_boxes(&plan, &x, &z));
}

static void test_old_driver(void **state) {
  (void)state;
  int64_t shape[] = {3, 5, 8};
  kiln_tensor x = f32(NULL, 3, shape, NULL), y = f32(NULL, 3, shape, NULL);
  fake_front.cuTensorMapReplaceAddress = NULL;
  assert_unfit(X_MAP, &x, &y, KILN_UNSUPPORTED, "the driver of Fake 0 has no tensor maps (cuTensorMapEncodeTiled), which came with CUDA 12.0");
  fake_front.cuTensorMapReplaceAddress = counted_cuTensorMapReplaceAddress;
  fake_front.cuTensorMapEncodeTiled = NULL;
  assert_unfit(X_MAP, &x, &y, KILN_UNSUPPORTED, "has no tensor maps");
}

typedef struct Rules { char mapped[512]; int n; } Rules;
static void note(void *user, const kiln_verdict *v) {
  Rules *rules = user;
  rules->n++;
  if (strcmp(v->variant, "boxes") == 0) snprintf(rules->mapped, sizeof rules->mapped, "%s: %s", kiln_status_name(v->status), v->rule);
}

static void test_explain(void **state) {
  (void)state;
  int64_t shape[] = {3, 5, 7}, one = 3;
  kiln_tensor b = f32(NULL, 1, &one, NULL), x = f32(NULL, 3, shape, NULL), y = f32(NULL, 3, shape, NULL);
  kiln_arg args[] = {{.name = "b", .tensor = &b}, {.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  Rules rules = {0};
  assert_status(KILN_OK, add_mapped("boxes.ptx", X_MAP, "args x_map y"));
  assert_status(KILN_OK, add_plain());
  assert_status(KILN_OK, kiln_explain(dev, "boxes", args, 3, NULL, note, &rules));
  assert_int_equal(rules.n, 2);
  assert_non_null(strstr(rules.mapped, "BAD_ALIGN: map x_map of x: the stride of dim 0 (xb) is 35 elements"));
  assert_int_equal(fake_depth, 0);
}

static void test_types(void **state) {
  (void)state;
  static const struct { kiln_dtype dtype; uint8_t type; } types[] = {
      {KILN_F64, DRV_MAP_FLOAT64}, {KILN_F32, DRV_MAP_FLOAT32}, {KILN_F16, DRV_MAP_FLOAT16}, {KILN_BF16, DRV_MAP_BFLOAT16},
      {KILN_E4M3, DRV_MAP_UINT8},  {KILN_E5M2, DRV_MAP_UINT8},  {KILN_I64, DRV_MAP_INT64},   {KILN_I32, DRV_MAP_INT32},
      {KILN_I16, DRV_MAP_UINT16},  {KILN_I8, DRV_MAP_UINT8},    {KILN_U8, DRV_MAP_UINT8},    {KILN_BOOL, DRV_MAP_UINT8},
  };
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "//@ kiln 1\n//@ op typed\n//@ target sm_90a\n//@ tensor x out %s [K,M,L,H,N] strides [a,b,c,d,1] align 16\n"
                     "//@ map m x dims [K,M,L,H,N] strides [a,b,c,d,1] box [1,2,3,4,%zu] swizzle 32 l2 64\n"
                     "//@ step main entry e grid 1,1,1 block 32 shared 0 args m\n//@ end\n.entry e(.param .align 64 .b8 a[128])\n",
                     kiln_dtype_name(types[i].dtype), 16 / kiln_dtype_bytes(types[i].dtype));
    assert_status(KILN_OK, kiln_add_text(dev, "typed.ptx", text, (size_t)n));
    int64_t shape[] = {2, 3, 4, 5, 16};
    kiln_tensor x = {at(0), types[i].dtype, 5, shape, NULL};
    kiln_plan *plan;
    fake.launches = 0;
    assert_status(KILN_OK, kiln_plan_create(&plan, dev, "typed", &(kiln_arg){.name = "x", .tensor = &x}, 1));
    assert_status(KILN_OK, kiln_launch(plan, NULL, NULL));
    kiln_plan_destroy(plan);
    const FakeMap *m = &fake.launch[0].map[0];
    assert_int_equal(m->type, types[i].type);
    assert_true(m->rank == 5 && m->swizzle == DRV_MAP_SWIZZLE_32B && m->l2 == DRV_MAP_L2_64B && m->dim[4] == 2 && m->box[3] == 2);
    assert_int_equal(m->stride[3], 3 * 4 * 5 * 16 * kiln_dtype_bytes(types[i].dtype));
  }
}

/* ---- clusters ---- */

static kiln_status launch_cluster(const char *cluster, const char *grid) {
  char text[1024];
  int n = snprintf(text, sizeof text,
                   "//@ kiln 1\n//@ op gang\n//@ target sm_90a\n//@ tensor y out f32 [N] strides [1] align 4\n"
                   "//@ step main entry e grid %s block 32 shared 0 %s args y\n//@ end\n.entry e(.param .u64 a)\n", grid, cluster);
  int64_t size = 48;
  kiln_tensor y = f32(at(0), 1, &size, NULL);
  kiln_plan *plan;
  fake.launches = 0;
  kiln_status s = kiln_add_text(dev, "gang.ptx", text, (size_t)n);
  if (!s) s = kiln_plan_create(&plan, dev, "gang", &(kiln_arg){.name = "y", .tensor = &y}, 1);
  if (s) return s;
  s = kiln_launch(plan, NULL, NULL);
  kiln_plan_destroy(plan);
  return s;
}

static void test_clusters(void **state) {
  (void)state;
  assert_status(KILN_OK, launch_cluster("", "N,1,1"));
  assert_false(fake.launch[0].extended); /* cuLaunchKernel */
  assert_status(KILN_OK, launch_cluster("cluster 1,1,1", "N,1,1"));
  assert_false(fake.launch[0].extended);
  assert_status(KILN_OK, launch_cluster("attr pdl", "sms,1,1"));
  assert_true(fake.launch[0].extended && fake.launch[0].pdl && !fake.launch[0].cluster[0] && fake.launch[0].grid[0] == 10);
  assert_status(KILN_OK, launch_cluster("cluster 4,2,1", "N,2,1"));
  assert_true(fake.launch[0].extended && !fake.launch[0].pdl && fake.launch[0].cluster[0] == 4 && fake.launch[0].cluster[1] == 2);
  assert_status(KILN_OK, launch_cluster("cluster 16,1,1", "N,1,1")); /* not portable: allowed first */
  assert_int_equal(fake.launch[0].cluster[0], 16);
  assert_status(KILN_UNSUPPORTED, launch_cluster("cluster 16,2,1", "N,2,1"));
  assert_says("step main: a cluster of 32 blocks; devices take up to 16");
  assert_status(KILN_TOO_LARGE, launch_cluster("cluster 48,1,1", "N,1,1"));
  assert_status(KILN_UNSUPPORTED, launch_cluster("cluster 2,1,1", "N+1,1,1"));
  assert_says("step main: its grid N+1 is 49, no multiple of the cluster's 2 = 2; emit the file with roundup(N+1,2)");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_launch), TEST(test_pointers), TEST(test_unused), TEST(test_strides), TEST(test_unfit),
      TEST(test_old_driver), TEST(test_explain), TEST(test_types), TEST(test_clusters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
