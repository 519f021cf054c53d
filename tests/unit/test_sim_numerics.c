/* test_sim_numerics.c - arithmetic of single forms against the host's: a kernel of one instruction over chosen and random operands. */
#include "sim_case.h"
#include <math.h>

enum { N = 4096 };

/* d[i] = OP(a[i], b[i], c[i]) on 32-bit cells; operands by name in the body: %ra %rb %rc (b32), %fa ... (f32), %ha ... (b16), result in %rd */
static const char frame[] =
  ".version 8.6\n.target sm_100a\n.address_size 64\n"
  ".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)\n{\n"
  "  .reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %r<20>; .reg .b64 %l<20>; .reg .f32 %f<20>; .reg .f64 %e<8>;\n"
  "  ld.param.b64 %l1, [a];\n  ld.param.b64 %l2, [b];\n  ld.param.b64 %l3, [c];\n  ld.param.b64 %l4, [d];\n"
  "  mov.u32 %r11, %ctaid.x;\n  mov.u32 %r12, %ntid.x;\n  mov.u32 %r13, %tid.x;\n  mad.lo.s32 %r14, %r11, %r12, %r13;\n"
  "  mul.wide.u32 %l5, %r14, 4;\n  add.s64 %l1, %l1, %l5;\n  add.s64 %l2, %l2, %l5;\n  add.s64 %l3, %l3, %l5;\n  add.s64 %l4, %l4, %l5;\n"
  "  ld.global.b32 %r1, [%l1];\n  ld.global.b32 %r2, [%l2];\n  ld.global.b32 %r3, [%l3];\n"
  "  mov.b32 %f1, %r1;\n  mov.b32 %f2, %r2;\n  mov.b32 %f3, %r3;\n  cvt.u16.u32 %h1, %r1;\n  cvt.u16.u32 %h2, %r2;\n  cvt.u16.u32 %h3, %r3;\n"
  "%s\n  st.global.b32 [%%l4], %%r10;\n  ret;\n}\n";

static uint32_t A[N], B[N], C[N], D[N];

static uint32_t random_bits(void) {
  static uint64_t s = 88172645463325252ull;
  s ^= s << 13, s ^= s >> 7, s ^= s << 17;
  return (uint32_t)(s >> 16);
}

static float f_of(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static uint32_t u_of(float f) {
  uint32_t u;
  if (f != f) return 0x7fffffff;
  memcpy(&u, &f, 4);
  return u;
}

static void fill_operands(void) {
  static const uint32_t special[] = {0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000, 0x7f7fffff, 0x7f800000,
                                     0xff800000, 0x7fc00000, 0xffffffff, 0x33800000, 0x477fefff, 0x477ff000, 0x38800000, 0x387fffff, 0x4f000000, 0xcf000000};
  enum { S = sizeof special / sizeof special[0] };
  for (int i = 0; i < N; i++) {
    A[i] = random_bits(), B[i] = random_bits(), C[i] = random_bits();
    if (i < S * S) A[i] = special[i / S], B[i] = special[i % S], C[i] = special[(i / S + i) % S];
    else if (i & 1) A[i] = u_of((float)((int)(A[i] % 20001) - 10000) / 977), B[i] = u_of((float)((int)(B[i] % 2001) - 1000) / 97);
  }
}

static void run_form(const char *options, const char *body) {
  static char text[4000];
  /* the frame is a format only around its one %s */
  char *at = text;
  for (const char *s = frame; *s; s++) {
    if (s[0] == '%' && s[1] == 's' && s[2] == '\n') at += sprintf(at, "%s", body), s++;
    else if (s[0] == '%' && s[1] == '%') *at++ = '%', s++;
    else *at++ = *s;
  }
  *at = 0;
  SimCase c;
  case_open(&c, options, text);
  DrvPtr a = device_copy(A, sizeof A), b = device_copy(B, sizeof B), x = device_copy(C, sizeof C), d = device_copy(NULL, sizeof D);
  OK(case_launch(&c, N / 128, 128, 0, (void *[]){&a, &b, &x, &d}));
  OK(cuMemcpyDtoH_v2(D, d, sizeof D));
  case_close(&c);
}

#define CHECK_EXACT(body, expr)                                                                                        \
  do {                                                                                                                 \
    run_form("sm_100a", body);                                                                                         \
    for (int i = 0; i < N; i++) {                                                                                      \
      uint32_t a = A[i], b = B[i], c = C[i], want = (uint32_t)(expr);                                                  \
      (void)a, (void)b, (void)c;                                                                                       \
      if (D[i] != want) fail_msg("%s: a %08x b %08x c %08x gives %08x, not %08x", body, a, b, c, D[i], want);          \
    }                                                                                                                  \
  } while (0)

static uint32_t order_of(float a, float b, int larger) { /* a NaN loses, -0 is below +0 */
  if (a != a) return u_of(b);
  if (b != b) return u_of(a);
  if (a == b) return u_of(!!signbit(a) == larger ? b : a);
  return u_of((a > b) == larger ? a : b);
}

static void test_f32(void **state) {
  (void)state;
  CHECK_EXACT("add.rn.f32 %f4, %f1, %f2;\n mov.b32 %r10, %f4;", u_of(f_of(a) + f_of(b)));
  CHECK_EXACT("sub.rn.f32 %f4, %f1, %f2;\n mov.b32 %r10, %f4;", u_of(f_of(a) - f_of(b)));
  CHECK_EXACT("mul.rn.f32 %f4, %f1, %f2;\n mov.b32 %r10, %f4;", u_of(f_of(a) * f_of(b)));
  CHECK_EXACT("fma.rn.f32 %f4, %f1, %f2, %f3;\n mov.b32 %r10, %f4;", u_of(fmaf(f_of(a), f_of(b), f_of(c))));
  CHECK_EXACT("div.rn.f32 %f4, %f1, %f2;\n mov.b32 %r10, %f4;", u_of(f_of(a) / f_of(b)));
  CHECK_EXACT("sqrt.rn.f32 %f4, %f1;\n mov.b32 %r10, %f4;", u_of(sqrtf(f_of(a))));
  CHECK_EXACT("neg.f32 %f4, %f1;\n mov.b32 %r10, %f4;", a ^ 0x80000000);
  CHECK_EXACT("max.f32 %f4, %f1, %f2;\n mov.b32 %r10, %f4;",
              order_of(f_of(a), f_of(b), 1));
  CHECK_EXACT("min.f32 %f4, %f1, %f2;\n mov.b32 %r10, %f4;",
              order_of(f_of(a), f_of(b), 0));
  CHECK_EXACT("setp.lt.f32 %p1, %f1, %f2;\n selp.b32 %r10, 1, 0, %p1;", f_of(a) < f_of(b));
  CHECK_EXACT("setp.neu.f32 %p1, %f1, %f2;\n selp.b32 %r10, 1, 0, %p1;", f_of(a) != f_of(b));
  CHECK_EXACT("setp.ne.f32 %p1, %f1, %f2;\n selp.b32 %r10, 1, 0, %p1;", f_of(a) < f_of(b) || f_of(a) > f_of(b));
}

static void test_integers(void **state) {
  (void)state;
  CHECK_EXACT("mul.hi.s32 %r10, %r1, %r2;", ((int64_t)(int32_t)a * (int32_t)b) >> 32);
  CHECK_EXACT("mad.lo.s32 %r10, %r1, %r2, %r3;", a * b + c);
  CHECK_EXACT("shr.s32 %r10, %r1, %r2;", (int32_t)a >> (b > 31 ? 31 : b));
  CHECK_EXACT("shl.b32 %r10, %r1, %r2;", b > 31 ? 0 : a << b);
  CHECK_EXACT("shf.r.wrap.b32 %r10, %r1, %r2, %r3;", (((uint64_t)b << 32 | a) >> (c & 31)));
  CHECK_EXACT("lop3.b32 %r10, %r1, %r2, %r3, 0xe8;", (a & b) | (a & c) | (b & c));
  CHECK_EXACT("prmt.b32 %r10, %r1, %r2, 0x7531;",
              (a >> 8 & 0xff) | (a >> 24) << 8 | (b >> 8 & 0xff) << 16 | (b >> 24) << 24);
  CHECK_EXACT("bfe.u32 %r10, %r1, 5, 11;", a >> 5 & 0x7ff);
  CHECK_EXACT("bfi.b32 %r10, %r1, %r2, 8, 4;", (b & ~0xf00u) | (a & 15) << 8);
  CHECK_EXACT("div.s32 %r10, %r1, %r2;", b == 0 ? 0xffffffffu : (int32_t)b == -1 ? 0 - a : (uint32_t)((int32_t)a / (int32_t)b));
  CHECK_EXACT("rem.u32 %r10, %r1, %r2;", b == 0 ? a : a % b);
  CHECK_EXACT("brev.b32 %r4, %r1;\n brev.b32 %r10, %r4;", a);
  CHECK_EXACT("clz.b32 %r10, %r1;", a ? __builtin_clz(a) : 32);
  CHECK_EXACT("popc.b32 %r10, %r1;", __builtin_popcount(a));
  CHECK_EXACT("cvt.sat.s8.s32 %r10, %r1;", (int32_t)a < -128 ? -128 : (int32_t)a > 127 ? 127 : (int32_t)a);
  CHECK_EXACT("cvt.s64.s32 %l6, %r1;\n shr.s64 %l6, %l6, 32;\n cvt.u32.u64 %r10, %l6;", (int32_t)a >> 31);
}

static uint32_t to_int(float f, int is_signed) {
  if (f != f) return 0;
  f = truncf(f);
  if (is_signed) return f <= -2147483648.0f ? 0x80000000u : f >= 2147483648.0f ? 0x7fffffffu : (uint32_t)(int32_t)f;
  return f <= 0 ? 0 : f >= 4294967296.0f ? 0xffffffffu : (uint32_t)f;
}

static uint32_t half_of(double x) { /* nearest even, by scaling: independent of the simulator's */
  if (x != x) return 0x7fff;
  uint32_t sign = signbit(x) ? 0x8000 : 0;
  double m = fabs(x);
  if (m >= 65520) return sign | 0x7c00;
  int e;
  frexp(m, &e);
  if (m == 0 || e < -13) return sign | (uint32_t)rint(ldexp(m, 24));
  double scaled = rint(ldexp(m, 11 - e)); /* 1024 .. 2048 */
  return sign | (uint32_t)(((e + 14) << 10) + (int)scaled - 1024);
}
static float half_to(uint32_t h) {
  uint32_t e = h >> 10 & 31, m = h & 1023;
  float v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf((float)(m + 1024), (int)e - 25) : ldexpf((float)m, -24);
  return h & 0x8000 ? -v : v;
}
static uint32_t brain_of(float f) {
  uint32_t u = u_of(f);
  return f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

static void test_conversions(void **state) {
  (void)state;
  CHECK_EXACT("cvt.rzi.s32.f32 %r10, %f1;", to_int(f_of(a), 1));
  CHECK_EXACT("cvt.rzi.u32.f32 %r10, %f1;", to_int(f_of(a), 0));
  CHECK_EXACT("cvt.rn.f32.s32 %f4, %r1;\n mov.b32 %r10, %f4;", u_of((float)(int32_t)a));
  CHECK_EXACT("cvt.rn.f32.u32 %f4, %r1;\n mov.b32 %r10, %f4;", u_of((float)a));
  CHECK_EXACT("cvt.rn.f16.f32 %h4, %f1;\n cvt.u32.u16 %r10, %h4;", half_of(f_of(a)));
  CHECK_EXACT("cvt.rn.bf16.f32 %h4, %f1;\n cvt.u32.u16 %r10, %h4;", brain_of(f_of(a)));
  CHECK_EXACT("cvt.rn.f16x2.f32 %r10, %f1, %f2;", half_of(f_of(a)) << 16 | half_of(f_of(b)));
  CHECK_EXACT("cvt.rn.bf16x2.f32 %r10, %f1, %f2;", brain_of(f_of(a)) << 16 | brain_of(f_of(b)));
  CHECK_EXACT("cvt.f32.f16 %f4, %h1;\n mov.b32 %r10, %f4;", u_of(half_to(a & 0xffff)));
  CHECK_EXACT("cvt.f32.bf16 %f4, %h1;\n mov.b32 %r10, %f4;", u_of(f_of(a << 16)));
  CHECK_EXACT("cvt.rna.tf32.f32 %r10, %f1;",
              (a & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : (a & 0x7f800000) == 0x7f800000 ? a : (a + 0x1000) & 0xffffe000);
  CHECK_EXACT("fma.rn.f16x2 %r10, %r1, %r2, %r3;",
              half_of(fma(half_to(a >> 16), half_to(b >> 16), half_to(c >> 16))) << 16 |
                half_of(fma(half_to(a & 0xffff), half_to(b & 0xffff), half_to(c & 0xffff))));
  CHECK_EXACT("add.rn.f16x2 %r10, %r1, %r2;",
              half_of((double)half_to(a >> 16) + half_to(b >> 16)) << 16 | half_of((double)half_to(a & 0xffff) + half_to(b & 0xffff)));
}

/* fp8 through its own definition: the nearest of all 127 finite values, ties to the even code */
static float small_to(int code, int mantissa, int bias) {
  int e = code >> mantissa, m = code & ((1 << mantissa) - 1);
  return e ? ldexpf((float)(m + (1 << mantissa)), e - bias - mantissa) : ldexpf((float)m, 1 - bias - mantissa);
}
static uint32_t small_of(float f, int mantissa, int bias, int last) {
  if (f != f) return 0x7f;
  float a = fabsf(f);
  int best = 0;
  for (int code = 1; code <= last; code++) {
    float d = fabsf(small_to(code, mantissa, bias) - a), o = fabsf(small_to(best, mantissa, bias) - a);
    if (d < o || (d == o && !(code & 1))) best = code;
  }
  if (a >= small_to(last, mantissa, bias)) best = last;
  return (uint32_t)best | (signbit(f) ? 0x80 : 0);
}

static void test_fp8(void **state) {
  (void)state;
  for (int i = 0; i < N; i++)
    if (i % 3) A[i] = u_of(ldexpf((float)(int)(A[i] % 4096) - 2048, -(int)(B[i] % 24)));
  CHECK_EXACT("cvt.rn.satfinite.e4m3x2.f32 %h4, %f1, %f2;\n cvt.u32.u16 %r10, %h4;",
              small_of(f_of(a), 3, 7, 0x7e) << 8 | small_of(f_of(b), 3, 7, 0x7e));
  CHECK_EXACT("cvt.rn.satfinite.e5m2x2.f32 %h4, %f1, %f2;\n cvt.u32.u16 %r10, %h4;",
              small_of(f_of(a), 2, 15, 0x7b) << 8 | small_of(f_of(b), 2, 15, 0x7b));
  fill_operands();
}

/* The bounds of the PTX ISA; the simulator's results are the correctly rounded ones or their neighbours. */
static void check_ulp(const char *body, double (*want)(double), double ulps) {
  run_form("sm_100a", body);
  for (int i = 0; i < N; i++) {
    float x = f_of(A[i]), got = f_of(D[i]);
    double w = want((double)x);
    float near = (float)w;
    if (near != near || isinf(near) || near == 0) {
      if (u_of(got) != u_of(near) && !(near == 0 && got == 0)) fail_msg("%s: %a gives %a, not %a", body, x, got, near);
      continue;
    }
    double unit = fabs((double)nextafterf(fabsf(near), INFINITY) - fabs((double)near));
    if (!(fabs((double)got - w) <= ulps * unit)) fail_msg("%s: %a gives %a, not %a", body, x, got, near);
  }
}
static double reciprocal(double x) { return 1 / x; }
static double inverse_root(double x) { return x == 0 ? copysign(INFINITY, x) : 1 / sqrt(x); }

static void test_approximations(void **state) {
  (void)state;
  check_ulp("ex2.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", exp2, 0.51);
  check_ulp("lg2.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", log2, 0.51);
  check_ulp("rcp.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", reciprocal, 0.51);
  check_ulp("rsqrt.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", inverse_root, 0.51);
  check_ulp("tanh.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", tanh, 2);
}

/* Every level of handlers that this host runs gives the same bits. */
static void test_levels(void **state) {
  (void)state;
  static const char *const bodies[] = {
    "ex2.approx.ftz.f32 %f4, %f1;\n mov.b32 %r10, %f4;", "lg2.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;",
    "tanh.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", "fma.rn.f32 %f4, %f1, %f2, %f3;\n mov.b32 %r10, %f4;",
    "rsqrt.approx.f32 %f4, %f1;\n mov.b32 %r10, %f4;", "fma.rn.bf16x2 %r10, %r1, %r2, %r3;", "tanh.approx.f16x2 %r10, %r1;",
    "cvt.rn.f16x2.f32 %r10, %f1, %f2;", "mul.hi.u32 %r10, %r1, %r2;",
    "mov.b32 %r4, %r2;\n mov.b32 %r5, %r3;\n mov.f32 %f4, 0f3f800000;\n"
    " mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f4,%f5,%f6,%f7}, {%r1,%r2,%r3,%r4}, {%r5,%r1}, {%f4,%f4,%f4,%f4};\n mov.b32 %r10, %f6;",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4,%f5,%f6,%f7}, {%r1,%r2,%r3,%r1}, {%r2,%r1}, {%f1,%f2,%f3,%f1};\n mov.b32 %r10, %f5;",
  };
  static const char *const levels[] = {"sm_100a,level=base", "sm_100a,level=v3", "sm_100a,level=v4"};
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    static uint32_t first[N];
    for (int k = 0; k < 3; k++) {
      int ordinal;
      if (k && kilnsim_configure(levels[k], &ordinal)) continue; /* not on this host */
      run_form(levels[k], bodies[i]);
      if (k == 0) memcpy(first, D, sizeof D);
      for (int j = 0; j < N; j++)
        if (first[j] != D[j]) fail_msg("%s, %s: %08x gives %08x, base %08x", levels[k], bodies[i], A[j], D[j], first[j]);
    }
  }
}

int main(void) {
  fill_operands();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_integers), cmocka_unit_test(test_conversions),
                                     cmocka_unit_test(test_fp8), cmocka_unit_test(test_approximations), cmocka_unit_test(test_levels)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
