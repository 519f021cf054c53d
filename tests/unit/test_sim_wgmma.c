/* test_sim_wgmma.c - products of a warpgroup, functionally: every type, both sources of A, every layout and swizzle that the types allow.
 * The operands are laid out here element by element, by the offsets of the manual's canonical layouts, copied to shared memory as bytes,
 * and the result is compared with sums of small whole numbers. */
#include "sim_case.h"
#include <math.h>

typedef enum { F16, BF16, TF32, E4M3, E5M2, S8, U8 } Type;
static const struct { const char *name; int bytes, k; } types[] = {
  {"f16", 2, 16}, {"bf16", 2, 16}, {"tf32", 4, 8}, {"e4m3", 1, 32}, {"e5m2", 1, 32}, {"s8", 1, 32}, {"u8", 1, 32}};

typedef struct Product {
  Type a, b;
  const char *d;      /* "f32" "f16" "s32" */
  int n, width;       /* columns; bytes of the swizzle, 0 none */
  int a_regs, trans_a, trans_b, minus;
} Product;

/* ---- values ---- */

static uint32_t encode(Type t, int v) { /* whole numbers from -4 to 7 are exact in every type */
  float f = (float)v;
  uint32_t u, m = (uint32_t)abs(v), e = 0;
  memcpy(&u, &f, 4);
  uint32_t sign = v < 0;
  while (m >> (e + 1)) e++;
  uint32_t frac = m ? m << 10 >> e & 1023 : 0; /* ten bits below the leading one */
  switch (t) {
  case F16: return m ? sign << 15 | (e + 15) << 10 | frac : 0;
  case BF16: return u >> 16;
  case TF32: return u | 0x155; /* the low bits are not looked at */
  case E4M3: return m ? sign << 7 | (e + 7) << 3 | frac >> 7 : 0;
  case E5M2: return m ? sign << 7 | (e + 15) << 2 | frac >> 8 : 0;
  default: return (uint32_t)v & 0xff;
  }
}

static int value(Type t, int row, int k, int salt) { /* e5m2 has two bits of mantissa: 5 and 7 stay out */
  int v = (row * 7 + k * 5 + salt + row * k % 3) % 9 - 3;
  if (v == 5) v = 4;
  return t == U8 && v < 0 ? -v : v;
}

/* ---- layouts: the offset of element (mn, k), and what a descriptor says of it ---- */

typedef struct Layout { int width, es, mn_major; uint32_t leading, stride; } Layout;

/* Dense tiles; rows of `rows` groups. Leading and stride are chosen so that nothing overlaps. */
static Layout layout_of(int width, int es, int mn_major, int rows) {
  Layout l = {width, es, mn_major, 16, 0};
  if (!mn_major && width) l.stride = (uint32_t)(8 * width);
  else if (!mn_major) l.leading = (uint32_t)(rows / 8 * 128), l.stride = 128;
  else if (width) l.leading = (uint32_t)(2 * 8 * width), l.stride = (uint32_t)(8 * width);
  else l.leading = 128, l.stride = 256;
  return l;
}

static uint32_t offset_of(const Layout *l, uint32_t base, int mn, int k) {
  uint32_t w = (uint32_t)l->width, es = (uint32_t)l->es, t = 16 / es, m = (uint32_t)mn, j = (uint32_t)k, at;
  if (!l->mn_major && w) at = m / 8 * l->stride + m % 8 * w + j * es;
  else if (!l->mn_major) at = m / 8 * l->stride + m % 8 * 16 + j / t * l->leading + j % t * es;
  else if (w) at = m / (w / es) * l->leading + j / 8 * l->stride + j % 8 * w + m % (w / es) * es;
  else at = m / t * l->stride + j / 8 * l->leading + j % 8 * 16 + m % t * es;
  at += base;
  if (w == 128) at ^= (at >> 7 & 7) << 4;
  if (w == 64) at ^= (at >> 7 & 3) << 4;
  if (w == 32) at ^= (at >> 7 & 1) << 4;
  return at;
}

static uint64_t descriptor(const Layout *l, uint32_t base) {
  static const uint64_t mode[5] = {0, 3, 2, 0, 1};
  return (uint64_t)(base >> 4) | (uint64_t)(l->leading >> 4) << 16 | (uint64_t)(l->stride >> 4) << 32 | mode[l->width / 32] << 62;
}

enum { FIRST = 1024, A_AT = 1024, B_AT = 1024 + 16384, IMAGE = 16384 + 32768 };

static void place(uint8_t *image, const Layout *l, uint32_t base, Type t, int rows, int salt) {
  for (int r = 0; r < rows; r++)
    for (int k = 0; k < types[t].k; k++) {
      uint32_t v = encode(t, value(t, r, k, salt)), at = offset_of(l, base, r, k) - FIRST;
      assert_true(at + (uint32_t)l->es <= IMAGE);
      memcpy(image + at, &v, (size_t)l->es);
    }
}

/* ---- the kernel: the image to shared memory, D = A*B, D = A*B + D, D to memory ---- */

static char text[60000];
static void add(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsprintf(text + strlen(text), fmt, ap);
  va_end(ap);
}

static void add_product(const Product *p, int nregs, const char *scale) {
  const char *d = p->d[0] == 'f' && p->d[1] == '3' ? "f" : "r";
  add("  wgmma.mma_async.sync.aligned.m64n%dk%d.%s.%s.%s {", p->n, types[p->a].k, p->d, types[p->a].name, types[p->b].name);
  for (int i = 0; i < nregs; i++) add("%s%%%s%d", i ? ", " : "", d, i);
  add(p->a_regs ? "}, {%%a0, %%a1, %%a2, %%a3}, %%l2, %s" : "}, %%l1, %%l2, %s", scale);
  if (p->a < S8) add(", %d, %d", p->minus ? -1 : 1, 1);
  if (p->a <= BF16 && !p->a_regs) add(", %d", p->trans_a);
  if (p->a <= BF16) add(", %d", p->trans_b);
  add(";\n");
}

static void write_kernel(const Product *p, uint64_t da, uint64_t db, int nregs) {
  text[0] = 0;
  add(".version 8.4\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 dyn[];\n"
      ".visible .entry k(.param .u64 image, .param .u64 a, .param .u64 d) .maxntid 128, 1, 1\n{\n"
      "  .reg .pred %%p<4>; .reg .b32 %%r<140>, %%a<4>, %%t<8>; .reg .b64 %%l<12>; .reg .f32 %%f<140>;\n"
      "  ld.param.b64 %%l3, [image];\n  ld.param.b64 %%l5, [a];\n  ld.param.b64 %%l4, [d];\n  mov.u32 %%t0, %%tid.x;\n"
      "  setp.ne.u32 %%p0, %%t0, 0;\n  mov.u32 %%t2, dyn;\n  add.s32 %%t1, %%t2, %d;\n  @%%p0 bra ready;\n"
      "  mbarrier.init.shared.b64 [%%t1], 1;\n  fence.mbarrier_init.release.cluster;\n"
      "  mbarrier.arrive.expect_tx.shared.b64 _, [%%t1], %d;\n"
      "  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%%t2], [%%l3], %d, [%%t1];\n"
      "ready:\n  bar.sync 0;\nagain:\n  mbarrier.try_wait.parity.shared.b64 %%p1, [%%t1], 0;\n  @!%%p1 bra again;\n", IMAGE, IMAGE, IMAGE);
  add("  mul.wide.u32 %%l6, %%t0, 16;\n  add.s64 %%l6, %%l5, %%l6;\n  ld.global.v4.b32 {%%a0, %%a1, %%a2, %%a3}, [%%l6];\n");
  add("  mov.b64 %%l1, 0x%llx;\n  mov.b64 %%l2, 0x%llx;\n  setp.eq.u32 %%p2, %%t0, -1;\n  wgmma.fence.sync.aligned;\n", (unsigned long long)da,
      (unsigned long long)db);
  add_product(p, nregs, "%p2");
  add_product(p, nregs, "1");
  add("  wgmma.commit_group.sync.aligned;\n  wgmma.wait_group.sync.aligned 0;\n");
  add("  mul.wide.u32 %%l7, %%t0, %d;\n  add.s64 %%l7, %%l4, %%l7;\n", 4 * nregs);
  for (int i = 0; i < nregs; i++) add("  st.global.%s [%%l7+%d], %%%s%d;\n", p->d[1] == '3' && p->d[0] == 'f' ? "f32" : "b32", 4 * i,
                                      p->d[1] == '3' && p->d[0] == 'f' ? "f" : "r", i);
  add("  ret;\n}\n");
}

/* A's fragment: element e of register i of a thread (the manual's figures for .16, .8 and .tf32 elements). */
static void fill_a(uint32_t *a, Type t) {
  int per = 4 / types[t].bytes;
  for (int th = 0; th < 128; th++)
    for (int i = 0; i < 4; i++) {
      uint32_t word = 0;
      for (int e = 0; e < per; e++) {
        int row = th / 32 * 16 + th % 32 / 4 + 8 * (i & 1), k = (i >> 1) * 4 * per + th % 4 * per + e;
        word |= encode(t, value(t, row, k, 1)) << (8 * types[t].bytes * e);
      }
      a[4 * th + i] = word;
    }
}

static double half(uint32_t h) {
  int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
  double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return h >> 15 ? -v : v;
}

static double result_at(const Product *p, const uint32_t *d, int nregs, int row, int col) {
  int th = row / 16 * 32 + row % 8 * 4 + col % 8 / 2, i = col / 8 * 4 + (row % 16 / 8) * 2 + (col & 1);
  if (p->d[1] == '1') { /* f16: pairs */
    uint32_t w = d[th * nregs + i / 2];
    return half(i & 1 ? w >> 16 : w & 0xffff);
  }
  uint32_t w = d[th * nregs + i];
  float f;
  memcpy(&f, &w, 4);
  return p->d[0] == 's' ? (double)(int32_t)w : (double)f;
}

static void check_product(const Product *p, const char *device) {
  static uint8_t image[IMAGE];
  static uint32_t a[512], d[128 * 128];
  int nregs = p->d[1] == '1' ? p->n / 4 : p->n / 2;
  Layout la = layout_of(p->width, types[p->a].bytes, p->trans_a, 64), lb = layout_of(p->width, types[p->b].bytes, p->trans_b, p->n);
  memset(image, 0x55, sizeof image);
  if (!p->a_regs) place(image, &la, A_AT, p->a, 64, 1);
  place(image, &lb, B_AT, p->b, p->n, 2);
  fill_a(a, p->a);
  write_kernel(p, descriptor(&la, A_AT), descriptor(&lb, B_AT), nregs);
  SimCase c;
  case_open(&c, device, text);
  DrvFunction f;
  OK(cuModuleGetFunction(&f, c.module, "k"));
  OK(cuFuncSetAttribute(f, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
  DrvPtr di = device_copy(image, sizeof image), da = device_copy(a, sizeof a), dd = device_copy(NULL, 128u * 4 * (unsigned)nregs);
  OK(case_launch(&c, 1, 128, IMAGE + 64, (void *[]){&di, &da, &dd}));
  OK(cuMemcpyDtoH_v2(d, dd, 128u * 4 * (unsigned)nregs));
  for (int row = 0; row < 64; row++)
    for (int col = 0; col < p->n; col++) {
      double want = 0;
      for (int k = 0; k < types[p->a].k; k++) want += (double)value(p->a, row, k, 1) * value(p->b, col, k, 2);
      want *= p->minus ? -2 : 2;
      double have = result_at(p, d, nregs, row, col);
      if (have != want)
        fail_msg("%s x %s -> %s, n %d, swizzle %d%s%s%s: D[%d][%d] = %g, not %g", types[p->a].name, types[p->b].name, p->d, p->n, p->width,
                 p->a_regs ? ", A in registers" : "", p->trans_a ? ", A transposed" : "", p->trans_b ? ", B transposed" : "", row, col, have, want);
    }
  OK(cuMemFree_v2(di));
  OK(cuMemFree_v2(da));
  OK(cuMemFree_v2(dd));
  case_close(&c);
}

/* ---- everything that the types allow ---- */

static const char *const devices[] = {"sm_90a,policy=lazy", "sm_90a,policy=eager", "sm_90a,policy=random,seed=3", "sm_90a,mma=exact"};

static void test_types(void **state) { /* every pair of types, sources of A, swizzles */
  (void)state;
  static const struct { Type a, b; const char *d; } pairs[] = {
    {F16, F16, "f32"}, {F16, F16, "f16"}, {BF16, BF16, "f32"}, {TF32, TF32, "f32"}, {E4M3, E4M3, "f32"}, {E4M3, E5M2, "f32"}, {E5M2, E4M3, "f32"},
    {E5M2, E5M2, "f32"}, {E4M3, E4M3, "f16"}, {E4M3, E5M2, "f16"}, {E5M2, E4M3, "f16"}, {E5M2, E5M2, "f16"}, {S8, S8, "s32"}, {S8, U8, "s32"},
    {U8, S8, "s32"}, {U8, U8, "s32"}};
  int turn = 0;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    for (int width = 0; width <= 128; width = width ? 2 * width : 32)
      for (int regs = 0; regs < 2; regs++) {
        Product p = {pairs[i].a, pairs[i].b, pairs[i].d, 32, width, regs, 0, 0, (turn & 1) && pairs[i].a < S8};
        check_product(&p, devices[turn++ % 4]);
      }
}

static void test_majors(void **state) { /* f16 and bf16: both operands of either major */
  (void)state;
  int turn = 0;
  for (int t = F16; t <= BF16; t++)
    for (int width = 0; width <= 128; width = width ? 2 * width : 32)
      for (int major = 1; major < 4; major++) {
        Product p = {(Type)t, (Type)t, "f32", 128, width, 0, major & 1, major >> 1, 0};
        check_product(&p, devices[turn++ % 4]);
      }
  for (int width = 0; width <= 128; width = width ? 2 * width : 32) {
    Product p = {BF16, BF16, "f32", 64, width, 1, 0, 1, 0};
    check_product(&p, devices[turn++ % 4]);
  }
}

static void test_sizes(void **state) { /* every N */
  (void)state;
  for (int n = 8; n <= 256; n += 8) {
    Product p = {BF16, BF16, "f32", n, 32 << n / 8 % 3, 0, 0, 0, 0};
    check_product(&p, devices[n / 8 % 4]);
    if (n > 32 && n % 16) continue;
    Product q = {S8, U8, "s32", n, 128, n / 16 & 1, 0, 0, 0};
    check_product(&q, devices[n / 8 % 4]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_majors), cmocka_unit_test(test_sizes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
