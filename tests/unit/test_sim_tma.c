/* test_sim_tma.c - boxes of tensors: what a load brings to shared memory, byte by byte (coordinates anywhere, edges, strides of elements,
 * swizzles, fills), what a store and a reduction leave in the tensor; and what the driver refuses in a tensor map. */
#include "sim_case.h"
#include <math.h>
#include <stdbool.h>

enum { MOST = 5, SHARED = 65536, FIRST = 1024 };

typedef struct Box {
  unsigned type, size;     /* DRV_MAP_*, bytes of an element */
  int rank, swizzle, fill;
  uint64_t dim[MOST], stride[MOST]; /* stride[0]: of an element */
  uint32_t box[MOST], step[MOST];
  int at[MOST];
} Box;

static uint32_t seed = 7;
static uint32_t draw(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

static char text[8000];
static void add(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsprintf(text + strlen(text), fmt, ap);
  va_end(ap);
}

#define HEAD                                                                                                           \
  ".version 8.6\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 dyn[];\n"                           \
  ".visible .entry k(.param .align 64 .b8 map[128], .param .u64 bytes, .param .align 4 .b8 at[20])\n{\n"               \
  "  .reg .pred %%p<4>; .reg .b32 %%r<20>; .reg .b64 %%l<10>;\n  mov.u64 %%l0, map;\n  cvta.param.u64 %%l0, %%l0;\n"   \
  "  ld.param.b64 %%l1, [bytes];\n  mov.u32 %%r0, %%tid.x;\n  mov.u32 %%r1, dyn;\n  add.s32 %%r2, %%r1, %d;\n"         \
  "  setp.ne.u32 %%p0, %%r0, 0;\n  ld.param.b32 %%r10, [at];\n  ld.param.b32 %%r11, [at+4];\n  ld.param.b32 %%r12, [at+8];\n" \
  "  ld.param.b32 %%r13, [at+12];\n  ld.param.b32 %%r14, [at+16];\n  @%%p0 bra on;\n  mbarrier.init.shared.b64 [%%r2], 1;\n" \
  "  fence.mbarrier_init.release.cluster;\n"

static void add_coordinates(int rank) {
  for (int i = 0; i < rank; i++) add("%s%%r%d", i ? ", " : "", 10 + i);
}

static void write_load(const Box *b, uint32_t bytes) { /* the box to shared memory, and all of it to `bytes` */
  text[0] = 0;
  add(HEAD, SHARED);
  add("  mbarrier.arrive.expect_tx.shared.b64 _, [%%r2], %u;\n", bytes);
  add("  cp.async.bulk.tensor.%dd.shared::cluster.global.mbarrier::complete_tx::bytes [%%r1], [%%l0, {", b->rank);
  add_coordinates(b->rank);
  add("}], [%%r2];\non:\n  bar.sync 0;\nw:\n  mbarrier.try_wait.parity.shared.b64 %%p1, [%%r2], 0;\n  @!%%p1 bra w;\n  mov.b32 %%r3, 0;\n"
      "loop:\n  shl.b32 %%r4, %%r0, 2;\n  add.s32 %%r4, %%r4, %%r3;\n  setp.ge.s32 %%p2, %%r4, %u;\n  @%%p2 bra end;\n"
      "  add.s32 %%r5, %%r1, %%r4;\n  ld.shared.b32 %%r6, [%%r5];\n  cvt.u64.u32 %%l3, %%r4;\n  add.s64 %%l3, %%l1, %%l3;\n"
      "  st.global.b32 [%%l3], %%r6;\n  add.s32 %%r3, %%r3, 512;\n  bra loop;\nend:\n  ret;\n}\n", bytes);
}

static void write_store(const Box *b, uint32_t bytes, const char *op) { /* `bytes` to shared memory, and the box to the tensor */
  text[0] = 0;
  add(HEAD, SHARED);
  add("  mbarrier.arrive.expect_tx.shared.b64 _, [%%r2], %u;\n"
      "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%%r1], [%%l1], %u, [%%r2];\n"
      "w:\n  mbarrier.try_wait.parity.shared.b64 %%p1, [%%r2], 0;\n  @!%%p1 bra w;\n", bytes, bytes);
  if (op) add("  cp.reduce.async.bulk.tensor.%dd.global.shared::cta.%s.bulk_group [%%l0, {", b->rank, op);
  else add("  cp.async.bulk.tensor.%dd.global.shared::cta.bulk_group [%%l0, {", b->rank);
  add_coordinates(b->rank);
  add("}], [%%r1];\n  cp.async.bulk.commit_group;\n  cp.async.bulk.wait_group 0;\non:\n  ret;\n}\n");
}

/* ---- the reference: element after element ---- */

static uint32_t count(const Box *b, int i) { return i ? (b->box[i] + b->step[i] - 1) / b->step[i] : b->box[0]; }
static uint32_t box_bytes(const Box *b) {
  uint32_t n = b->size;
  for (int i = 0; i < b->rank; i++) n *= count(b, i);
  return n;
}
static uint64_t tensor_bytes(const Box *b) {
  uint64_t n = b->dim[0] * b->size;
  for (int i = 1; i < b->rank; i++) n += (b->dim[i] - 1) * b->stride[i];
  return n;
}

/* The place of the nth element of the box in shared memory, and in the tensor (UINT64_MAX: outside). */
static uint32_t place(const Box *b, uint32_t n, uint64_t *global) {
  uint32_t a = FIRST + n * b->size, left = n, bit = 0;
  *global = 0;
  for (int i = 0; i < b->rank; i++) {
    int64_t c = b->at[i] + (int64_t)(left % count(b, i)) * (i ? b->step[i] : 1);
    left /= count(b, i);
    if (c < 0 || c >= (int64_t)b->dim[i]) *global = UINT64_MAX;
    else if (*global != UINT64_MAX) *global += (uint64_t)c * b->stride[i];
  }
  for (int k = 0; k < b->swizzle; k++) bit |= (a >> (7 + k) & 1) << (4 + k); /* 32B: one bit, 64B: two, 128B: three */
  return (a ^ bit) - FIRST;
}

/* kinds: 9 types of elements that are loaded, 8 that are stored. */
static Box draw_box(int rank, uint32_t kinds) {
  static const struct { unsigned type, size; } types[] = {{DRV_MAP_UINT8, 1}, {DRV_MAP_UINT16, 2}, {DRV_MAP_BFLOAT16, 2}, {DRV_MAP_FLOAT32, 4},
                                                         {DRV_MAP_INT32, 4}, {DRV_MAP_UINT64, 8}, {DRV_MAP_FLOAT64, 8}, {DRV_MAP_FLOAT16, 2},
                                                         {DRV_MAP_TFLOAT32, 4}};
  uint32_t t = draw(kinds);
  Box b = {.type = types[t].type, .size = types[t].size, .rank = rank, .swizzle = (int)draw(4)};
  b.fill = (b.type >= DRV_MAP_FLOAT16) && draw(2);
  uint32_t span = b.swizzle ? 16u << b.swizzle : 256; /* boxes as wide as their swizzle: how narrower ones lie is not said by the manual */
  b.box[0] = b.swizzle ? span / b.size : 16 / b.size * (1 + draw(span / 16));
  if (b.box[0] > 256) b.box[0] = 256 / (16 / b.size) * (16 / b.size);
  b.dim[0] = 1 + draw(3 * b.box[0]);
  b.stride[0] = b.size;
  b.step[0] = 1;
  uint64_t dense = b.dim[0] * b.size;
  for (int i = 1; i < rank; i++) {
    b.stride[i] = (dense + 15) / 16 * 16 + 16 * draw(3);
    b.box[i] = 1 + draw(rank > 3 ? 3 : 9);
    b.step[i] = draw(3) ? 1 : 1 + draw(3);
    b.dim[i] = 1 + draw(2 * b.box[i]);
    dense = b.stride[i] * b.dim[i];
  }
  for (int i = 0; i < rank; i++) b.at[i] = (int)draw((uint32_t)b.dim[i] + b.box[i]) - (int)b.box[i] / 2;
  b.at[0] -= b.at[0] % (int)(16 / b.size); /* only from multiples of 16 bytes: test_starts */
  return b;
}

static void encode(const Box *b, DrvTensorMap *map, DrvPtr address) {
  OK(cuTensorMapEncodeTiled((struct CUtensorMap_st *)map, b->type, (uint32_t)b->rank, (void *)(uintptr_t)address, b->dim, b->stride + 1, b->box, b->step, 0,
                            (unsigned)b->swizzle, 0, (unsigned)b->fill));
}

static unsigned try_launch(SimCase *c, DrvTensorMap *map, DrvPtr *bytes, const Box *b) {
  DrvFunction f;
  OK(cuModuleGetFunction(&f, c->module, "k"));
  OK(cuFuncSetAttribute(f, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, SHARED + 16));
  return case_launch(c, 1, 128, SHARED + 16, (void *[]){map, bytes, (void *)(uintptr_t)b->at});
}

static void launch(SimCase *c, DrvTensorMap *map, DrvPtr *bytes, const Box *b) { OK(try_launch(c, map, bytes, b)); }

static const char *const devices[] = {"sm_90a,policy=lazy", "sm_90a,policy=eager", "sm_90a,policy=random,seed=5"};

static uint64_t fill_of(const Box *b) {
  if (!b->fill) return 0;
  return b->size == 2 ? 0x7fff : b->size == 4 ? 0x7fffffff : 0x7fffffffffffffffull;
}

/* To 11 bits by arithmetic: nearest, halves away from zero. */
static float tf32(const void *from) {
  float x;
  int exponent;
  memcpy(&x, from, 4);
  if (!isfinite(x) || x == 0) return x;
  (void)frexp(x, &exponent);
  if (exponent < -125) exponent = -125; /* subnormals have steps of 2^-136 */
  double step = ldexp(1, exponent - 11);
  return (float)(copysign(floor(fabs(x) / step + 0.5), x) * step);
}

static void test_loads(void **state) {
  (void)state;
  static uint8_t have[SHARED], tensor[1 << 20];
  for (int turn = 0; turn < 120; turn++) {
    Box b = draw_box(1 + turn % MOST, 9);
    uint32_t bytes = box_bytes(&b);
    if (bytes > SHARED || tensor_bytes(&b) > sizeof tensor) continue;
    for (size_t i = 0; i < tensor_bytes(&b); i++) tensor[i] = (uint8_t)(draw(256));
    SimCase c;
    DrvTensorMap map;
    write_load(&b, bytes);
    case_open(&c, devices[turn % 3], text);
    DrvPtr dt = device_copy(tensor, tensor_bytes(&b)), dy = device_copy(NULL, bytes + 64);
    encode(&b, &map, dt);
    launch(&c, &map, &dy, &b);
    OK(cuMemcpyDtoH_v2(have, dy, bytes));
    for (uint32_t n = 0; n < bytes / b.size; n++) {
      uint64_t global, fill = fill_of(&b);
      uint32_t at = place(&b, n, &global);
      const void *want = global == UINT64_MAX ? (const void *)&fill : tensor + global;
      float rounded = b.type == DRV_MAP_TFLOAT32 ? tf32(want) : 0;
      if (b.type == DRV_MAP_TFLOAT32) want = &rounded;
      if (memcmp(have + at, want, b.size) != 0) fail_msg("turn %d, rank %d, swizzle %d: element %u at byte %u is wrong", turn, b.rank, b.swizzle, n, at);
    }
    OK(cuMemFree_v2(dt));
    OK(cuMemFree_v2(dy));
    case_close(&c);
  }
}

/* The value of an element as it is added or compared here, and back; small whole numbers, exact in all types. */
static int64_t number(const Box *b, const uint8_t *p) {
  float f;
  double d;
  uint16_t h;
  int32_t i;
  int64_t l;
  switch (b->type) {
  case DRV_MAP_FLOAT32: memcpy(&f, p, 4); return (int64_t)f;
  case DRV_MAP_FLOAT64: memcpy(&d, p, 8); return (int64_t)d;
  case DRV_MAP_BFLOAT16: {
    memcpy(&h, p, 2);
    uint32_t u = (uint32_t)h << 16;
    memcpy(&f, &u, 4);
    return (int64_t)f;
  }
  case DRV_MAP_FLOAT16: {
    memcpy(&h, p, 2);
    int e = (h >> 10 & 31) - 25;
    int64_t m = (h & 1023) | 1024, v = (h & 0x7fff) == 0 ? 0 : e >= 0 ? m << e : m >> -e;
    return h >> 15 ? -v : v;
  }
  case DRV_MAP_INT32:
  case DRV_MAP_UINT32: memcpy(&i, p, 4); return i;
  default: memcpy(&l, p, 8); return l;
  }
}

static void put_number(const Box *b, uint8_t *p, int v) {
  float f = (float)v;
  double d = v;
  uint32_t u, m = (uint32_t)abs(v), e = 0;
  uint16_t h;
  int64_t l = v;
  memcpy(&u, &f, 4);
  while (m >> (e + 1)) e++;
  switch (b->type) {
  case DRV_MAP_FLOAT32: memcpy(p, &f, 4); return;
  case DRV_MAP_FLOAT64: memcpy(p, &d, 8); return;
  case DRV_MAP_BFLOAT16: h = (uint16_t)(u >> 16), memcpy(p, &h, 2); return;
  case DRV_MAP_FLOAT16: h = m ? (uint16_t)((v < 0) << 15 | (e + 15) << 10 | (m << 10 >> e & 1023)) : 0, memcpy(p, &h, 2); return;
  case DRV_MAP_INT32:
  case DRV_MAP_UINT32: memcpy(p, &v, 4); return;
  default: memcpy(p, &l, 8); return;
  }
}

static int combine(const char *op, int old, int v) {
  if (!op) return v;
  if (strcmp(op, "add") == 0) return old + v;
  if (strcmp(op, "inc") == 0) return old >= v ? 0 : old + 1;
  if (strcmp(op, "dec") == 0) return old == 0 || old > v ? v : old - 1;
  return strcmp(op, "min") == 0 ? (old < v ? old : v) : (old > v ? old : v);
}

static void check_store(Box *b, const char *op, const char *device) {
  static uint8_t source[SHARED], before[1 << 20], after[1 << 20];
  int lowest = b->type == DRV_MAP_UINT64 || b->type == DRV_MAP_UINT32 ? 0 : -20;
  uint32_t bytes = box_bytes(b);
  uint64_t total = tensor_bytes(b);
  if (bytes > SHARED || total > sizeof before) return;
  memset(before, 0, sizeof before);
  for (uint64_t i = 0; i + b->size <= total; i += b->size) put_number(b, before + i, (int)draw(40) + lowest);
  for (uint32_t i = 0; i < bytes; i += b->size) put_number(b, source + i, (int)draw(40) + lowest);
  SimCase c;
  DrvTensorMap map;
  write_store(b, bytes, op);
  case_open(&c, device, text);
  DrvPtr dt = device_copy(before, total), dy = device_copy(source, bytes);
  encode(b, &map, dt);
  launch(&c, &map, &dy, b);
  OK(cuMemcpyDtoH_v2(after, dt, total));
  for (uint32_t n = 0; n < bytes / b->size; n++) {
    uint64_t global;
    uint32_t at = place(b, n, &global);
    if (global == UINT64_MAX) continue;
    int v = combine(op, (int)number(b, before + global), (int)number(b, source + at));
    put_number(b, before + global, v);
  }
  for (uint64_t i = 0; i < total; i++)
    if (after[i] != before[i])
      fail_msg("%s, rank %d, type %u, swizzle %d: byte %llu is 0x%02x, not 0x%02x", op ? op : "store", b->rank, b->type, b->swizzle,
               (unsigned long long)i, after[i], before[i]);
  OK(cuMemFree_v2(dt));
  OK(cuMemFree_v2(dy));
  case_close(&c);
}

static void test_stores(void **state) {
  (void)state;
  static const char *const ops[] = {NULL, "add", "min", "max"};
  for (int turn = 0; turn < 240; turn++) {
    Box b = draw_box(1 + turn % MOST, 8);
    const char *op = ops[turn / MOST % 4];
    int real = b.type == DRV_MAP_FLOAT32 || b.type == DRV_MAP_FLOAT64;
    if (b.size == 1 || b.type == DRV_MAP_UINT16) continue; /* no numbers of these types here */
    if (real && op && op[0] == 'm') op = "add"; /* which f32 and f64 do not have */
    for (int i = 0; i < b.rank; i++) b.at[i] = abs(b.at[i]); /* only from inside: test_starts */
    check_store(&b, op, devices[turn % 3]);
  }
}

/* inc and dec, which maps of u32 have. */
static void test_counts(void **state) {
  (void)state;
  for (int turn = 0; turn < 4 * MOST; turn++) {
    Box b;
    do b = draw_box(1 + turn % MOST, 8);
    while (b.type != DRV_MAP_INT32);
    b.type = DRV_MAP_UINT32;
    for (int i = 0; i < b.rank; i++) b.at[i] = abs(b.at[i]);
    check_store(&b, turn / MOST % 2 ? "inc" : "dec", devices[turn % 3]);
  }
}

/* Where a box may not start: its innermost coordinate goes by 16 bytes, and a store starts inside. */
static void test_starts(void **state) {
  (void)state;
  static const struct { bool store; int at[2]; bool good; } starts[] = {
      {false, {8, 0}, true}, {false, {4, 0}, false}, {false, {-8, -3}, true}, {false, {-7, 0}, false},
      {true, {8, 62}, true}, {true, {12, 0}, false}, {true, {0, -1}, false},  {true, {-8, 0}, false},
  };
  for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
    Box b = {DRV_MAP_BFLOAT16, 2, 2, 0, 0, {64, 64}, {2, 128}, {32, 4}, {1, 1}, {starts[i].at[0], starts[i].at[1]}};
    SimCase c;
    DrvTensorMap map;
    if (starts[i].store) write_store(&b, box_bytes(&b), NULL);
    else write_load(&b, box_bytes(&b));
    case_open(&c, devices[i % 3], text);
    DrvPtr dt = device_copy(NULL, 8192), dy = device_copy((uint8_t[256]){0}, box_bytes(&b));
    OK(cuMemsetD8_v2(dt, 0, 8192));
    encode(&b, &map, dt);
    assert_int_equal(try_launch(&c, &map, &dy, &b), starts[i].good ? 0 : DRV_LAUNCH_FAILED);
    case_close(&c);
  }
}

/* ---- the driver's rules ---- */

static unsigned try_map(Box b, uint64_t address, int interleave) {
  DrvTensorMap map;
  return cuTensorMapEncodeTiled((struct CUtensorMap_st *)&map, b.type, (uint32_t)b.rank, (void *)(uintptr_t)address, b.dim, b.stride + 1, b.box, b.step,
                                (unsigned)interleave, (unsigned)b.swizzle, 0, (unsigned)b.fill);
}

static void test_rules(void **state) {
  (void)state;
  const Box good = {DRV_MAP_BFLOAT16, 2, 2, 3, 0, {64, 64}, {2, 128}, {64, 64}, {1, 1}, {0}};
  Box b = good;
  assert_int_equal(try_map(b, 4096, 0), 0);
  assert_int_equal(try_map(b, 4104, 0), DRV_INVALID_VALUE);               /* address */
  b = good, b.rank = 6;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.rank = 0;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.dim[1] = 0;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.dim[1] = (1ull << 32) + 1;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.dim[1] = 1ull << 32;
  assert_int_equal(try_map(b, 4096, 0), 0);
  b = good, b.stride[1] = 136;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.stride[1] = 1ull << 40;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.box[1] = 257;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.box[1] = 0;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.box[0] = 128;                                                /* wider than its swizzle */
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b.swizzle = 0;
  assert_int_equal(try_map(b, 4096, 0), 0);
  b = good, b.box[0] = 4;                                                  /* 8 bytes */
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.step[1] = 9;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.step[1] = 0;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good, b.type = DRV_MAP_UINT16, b.fill = 1;
  assert_int_equal(try_map(b, 4096, 0), DRV_INVALID_VALUE);
  b = good;
  assert_int_equal(try_map(b, 4096, 1), DRV_INVALID_VALUE);               /* interleaved with 2 dimensions */
  b.rank = 3, b.dim[2] = 4, b.stride[2] = 8192, b.box[2] = 1, b.step[2] = 1;
  assert_int_equal(try_map(b, 4096, 1), DRV_NOT_SUPPORTED);
  assert_int_equal(try_map(b, 4096, 2), DRV_INVALID_VALUE);               /* 32B goes with swizzle 32B */
  DrvTensorMap map = {{0}};
  assert_int_equal(cuTensorMapReplaceAddress((struct CUtensorMap_st *)&map, (void *)4096), DRV_INVALID_VALUE);
  unsigned char bytes[256];
  uintptr_t odd = ((uintptr_t)bytes + 63) / 64 * 64 + 16;
  assert_int_equal(cuTensorMapReplaceAddress((struct CUtensorMap_st *)odd, (void *)4096), DRV_INVALID_VALUE);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_loads), cmocka_unit_test(test_stores), cmocka_unit_test(test_counts), cmocka_unit_test(test_starts),
                                    cmocka_unit_test(test_rules)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
