/* gemm of f32 on the simulator with one term per sum, so that each pair of the numbers below is multiplied by itself: infinities, NaN,
 * zeros of both signs, the largest and smallest, and what lies in the middle between two of tf32. And with sums whose terms
 * cancel, where what one of tf32 cannot hold is all that remains. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fp8_run.h"

enum { N = 24, PITCH = 4 }; /* PITCH: a row of one element, at a multiple of 16 bytes */

static const float numbers[N] = {
    0.0f, -0.0f, 1.0f, -1.5f, INFINITY, -INFINITY, NAN, FLT_MAX, -FLT_MAX, 0x1.ffcp127f, 1e20f, -1e30f, 0x1p-126f, 0x1p-130f, 0x1p-140f,
    1 / 3.0f, 3.14159274f, -2.71828175f, 0x1.000002p0f, 0x1.000ffep0f, 0x1.001p0f, -0x1.fff002p5f, 1e-10f, -7.0f,
};

static bool is_beyond(double x) { return isfinite(x) && fabs(x) >= 0x1.ffep127; } /* of tf32's largest number */

/* relative: how exact products are. */
static void expect_product(double a, double b, double got, double relative, const char *what) {
  double want = a * b, other = is_beyond(a) || is_beyond(b) ? 0x1p-9 : relative;
  if (isinf(want) && fmin(fabs(a), fabs(b)) < 0x1p-136) return;          /* 0 as tf32, and then NaN */
  if (relative > 0x1p-15 && (is_beyond(a) || is_beyond(b))) return;      /* infinite as tf32, where it is rounded */
  double room = other * fabs(want) + 0x1p-135 * (fabs(a) + fabs(b)) + 0x1p-126;
  bool right = isnan(want) ? isnan(got) : isinf(want) ? got == want : isinf(got) ? fabs(want) + room > FLT_MAX && got * want > 0 : fabs(got - want) <= room;
  if (!right) fail_msg("%s: %.9g * %.9g is %.9g, got %.9g", what, a, b, want, got);
}

/* Every pair, a and b with k or with the other dim contiguous. */
static void multiply_pairs(const char *where, const char *settings, const char *only, double relative) {
  static const char *const majors[] = {"", " a_major=m", " b_major=n", " a_major=m b_major=n"};
  for (int m = 0; m < 4; m++) {
    char text[96], what[160];
    float a[N * PITCH] = {0}, b[N * PITCH] = {0}, d[N * N];
    int a_step = m & 1 ? 1 : PITCH, b_step = m & 2 ? 1 : PITCH;
    for (int i = 0; i < N; i++) a[i * a_step] = b[i * b_step] = numbers[i];
    snprintf(text, sizeof text, "dtype=f32 %s%s", settings, majors[m]);
    snprintf(what, sizeof what, "%s on %s%s%s", text, where, only ? ", " : "", only ? only : "");
    Fp8Tensor t[] = {{"a", KILN_F32, 2, {N, 1}, {m & 1 ? 1 : PITCH, m & 1 ? N : 1}, a, N * PITCH, false},
                     {"b", KILN_F32, 2, {1, N}, {m & 2 ? N : 1, m & 2 ? 1 : PITCH}, b, N * PITCH, false},
                     {"d", KILN_F32, 2, {N, N}, {N, 1}, d, N * N, true}};
    fp8_only = only;
    fp8_run("gemm", text, where, t, 3);
    fp8_only = NULL;
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) expect_product(numbers[i], numbers[j], d[i * N + j], relative, what);
  }
}

static void every_pair_by_fma(void **state) {
  (void)state;
  multiply_pairs("sim:sm_75,cores=1", "f32=3xtf32", NULL, 0x1p-24);
}

static void every_pair_split(void **state) {
  (void)state;
  multiply_pairs("sim:sm_80,cores=1", "f32=3xtf32", NULL, 0x1p-20);
  multiply_pairs("sim:sm_80,cores=1", "f32=3xtf32", "vec=1", 0x1p-20);
  multiply_pairs("sim:sm_90a,cores=1", "f32=3xtf32", NULL, 0x1p-20);
}

static void every_pair_as_tf32(void **state) {
  (void)state;
  multiply_pairs("sim:sm_80,cores=1", "f32=tf32", NULL, 0x1p-10);
  multiply_pairs("sim:sm_90a,cores=1", "f32=tf32", "core=wgmma", 0x1p-10);
}

/* (1 + 2^-23)^2 - 1 - 2^-22 and its like, over 64 of k: as tf32 nothing would remain of them. */
static void what_remains_when_terms_cancel(void **state) {
  enum { K = 64, M = 16 };
  static const char *const devices[] = {"sim:sm_75,cores=1", "sim:sm_80,cores=1", "sim:sm_90a,cores=1"};
  (void)state;
  for (size_t w = 0; w < sizeof devices / sizeof *devices; w++) {
    static float a[M * K], b[K * M], d[M * M];
    for (int i = 0; i < M; i++)
      for (int k = 0; k < K; k++) {
        float x = 1 + (float)(i * K + k + 1) * 0x1p-23f;
        a[i * K + k] = k % 2 ? -1.0f : x;                   /* x 1 - 1 (x - small): small remains */
        b[i * K + k] = k % 2 ? 1 + (float)(k - 1) * 0x1p-23f : 1.0f;
      }
    Fp8Tensor t[] = {{"a", KILN_F32, 2, {M, K}, {K, 1}, a, M * K, false}, {"b", KILN_F32, 2, {K, M}, {1, K}, b, K * M, false},
                     {"d", KILN_F32, 2, {M, M}, {M, 1}, d, M * M, true}};
    fp8_run("gemm", "dtype=f32", devices[w], t, 3);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < M; j++) {
        double want = 0;
        for (int k = 0; k < K; k++) want += (double)a[i * K + k] * b[j * K + k];
        if (!(want > 0x1p-19 && fabs(d[i * M + j] - want) <= 0x1p-20))
          fail_msg("on %s: %.9g remains, got %.9g", devices[w], want, (double)d[i * M + j]);
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_pair_by_fma),
      cmocka_unit_test(every_pair_split),
      cmocka_unit_test(every_pair_as_tf32),
      cmocka_unit_test(what_remains_when_terms_cancel),
  };
  if (!fp8_start()) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  fp8_end();
  return failed;
}
