/* quantize_fp8 and dequantize_fp8 on the simulator against values by hand: every number of 16 bits to both formats and every code back,
 * with the conversion instructions and without; the u8 format's worked values; scales of every kind, ragged blocks, strides, zeros,
 * NaN, infinities, tiny numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fp8_run.h"

static const char *const targets[] = {"sim:sm_80,cores=1", "sim:sm_90a,cores=1"}; /* integers; instructions */
static const kiln_dtype formats[] = {KILN_E4M3, KILN_E5M2};
static const char *name_of(kiln_dtype t) {
  return t == KILN_E4M3 ? "e4m3" : t == KILN_E5M2 ? "e5m2" : t == KILN_F16 ? "f16" : t == KILN_BF16 ? "bf16" : "f32";
}

static Fp8Tensor matrix(const char *name, kiln_dtype t, int64_t rows, int64_t cols, void *data, bool out) {
  return (Fp8Tensor){name, t, 2, {rows, cols}, {cols, 1}, data, (size_t)(rows * cols), out};
}
static Fp8Tensor number(const char *name, float *x, bool out) { return (Fp8Tensor){.name = name, .dtype = KILN_F32, .data = x, .room = 1, .out = out}; }

static int format_settings(char *text, size_t bytes, kiln_dtype dtype, kiln_dtype format, const char *per) {
  return snprintf(text, bytes, "dtype=%s format=%s per=%s", name_of(dtype), name_of(format), per);
}

/* ---- conversions ---- */

static void expect_code(kiln_dtype format, double x, uint8_t got) {
  uint8_t want = fp8_nearest(format, x);
  bool same = isnan(x) ? isnan(fp8_value(format, got)) : got == want;
  if (!same) fail_msg("%s of %.9g is 0x%02x, by hand 0x%02x", name_of(format), x, got, want);
}

static void every_number_of_16_bits(void **state) {
  static uint16_t x[65536];
  static uint8_t q[65536];
  (void)state;
  for (int i = 0; i < 65536; i++) x[i] = (uint16_t)i;
  for (int k = 0; k < 8; k++) {
    kiln_dtype dtype = k & 1 ? KILN_BF16 : KILN_F16, format = formats[k >> 1 & 1];
    char settings[64];
    float one = 1;
    Fp8Tensor t[] = {matrix("x", dtype, 256, 256, x, false), matrix("q", format, 256, 256, q, true), number("scale", &one, false)};
    format_settings(settings, sizeof settings, dtype, format, "given");
    fp8_run("quantize_fp8", settings, targets[k >> 2], t, 3);
    for (int i = 0; i < 65536; i++) expect_code(format, dtype == KILN_F16 ? fp8_f16(x[i]) : fp8_bf16(x[i]), q[i]);
  }
}

/* Every upper half with lower halves beside it: what is cut off decides between neighbours. */
static void numbers_of_32_bits_around_every_middle(void **state) {
  static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0xffff};
  enum { N = 5 * 65536 };
  uint32_t *x = malloc(N * sizeof *x);
  uint8_t *q = malloc(N);
  (void)state;
  for (uint32_t i = 0; i < N; i++) x[i] = (i / 5) << 16 | low[i % 5];
  for (int k = 0; k < 4; k++) {
    char settings[64];
    float one = 1;
    Fp8Tensor t[] = {matrix("x", KILN_F32, 1280, 256, x, false), matrix("q", formats[k & 1], 1280, 256, q, true), number("scale", &one, false)};
    format_settings(settings, sizeof settings, KILN_F32, formats[k & 1], "given");
    fp8_run("quantize_fp8", settings, targets[k >> 1], t, 3);
    for (int i = 0; i < N; i++) {
      float f;
      memcpy(&f, &x[i], 4);
      expect_code(formats[k & 1], f, q[i]);
    }
  }
  free(x);
  free(q);
}

static double load(kiln_dtype t, const void *data, size_t i) {
  if (t == KILN_F32) return ((const float *)data)[i];
  return t == KILN_F16 ? fp8_f16(((const uint16_t *)data)[i]) : fp8_bf16(((const uint16_t *)data)[i]);
}

static void every_code_back(void **state) {
  static const kiln_dtype to[] = {KILN_F32, KILN_F16, KILN_BF16};
  static uint8_t q[256];
  static float y[256];
  (void)state;
  for (int i = 0; i < 256; i++) q[i] = (uint8_t)i;
  for (int k = 0; k < 12; k++) {
    kiln_dtype format = formats[k & 1], dtype = to[k / 4];
    char settings[64];
    float one = 1;
    Fp8Tensor t[] = {matrix("q", format, 2, 128, q, false), number("scale", &one, false), matrix("y", dtype, 2, 128, y, true)};
    format_settings(settings, sizeof settings, dtype, format, "tensor");
    fp8_run("dequantize_fp8", settings, targets[k >> 1 & 1], t, 3);
    for (size_t i = 0; i < 256; i++) {
      double want = fp8_value(format, q[i]), got = load(dtype, y, i);
      if (!(isnan(want) ? isnan(got) : got == want && !signbit(got) == !signbit(want)))
        fail_msg("code 0x%02zx of %s is %g in %s, by hand %g", i, name_of(format), got, name_of(dtype), want);
    }
  }
}

/* ---- the u8 format ---- */

static void worked_values_of_u8(void **state) {
  static const char *const devices[] = {"sim:sm_75,cores=1", "sim:sm_90a,cores=1"};
  static const uint8_t codes[] = {1, 128, 170, 234, 192};
  static const double back[] = {-3, 0, 0.9921875, 2.50390625, 1.51171875};
  (void)state;
  for (int k = 0; k < 2; k++) {
    float x[] = {-3, 0, 1, 2.5f, 1.5f}, scale = 0, y[5];
    uint8_t q[5];
    Fp8Tensor t[] = {matrix("x", KILN_F32, 1, 5, x, false), matrix("q", KILN_U8, 1, 5, q, true), number("scale", &scale, true)};
    fp8_run("quantize_fp8", "dtype=f32 format=u8 per=tensor", devices[k], t, 3);
    assert_true(scale == (float)(448.0 / 3));
    assert_memory_equal(q, codes, 5);
    Fp8Tensor u[] = {matrix("q", KILN_U8, 1, 5, q, false), number("scale", &scale, false), matrix("y", KILN_F32, 1, 5, y, true)};
    fp8_run("dequantize_fp8", "dtype=f32 format=u8 per=tensor", devices[k], u, 3);
    for (int i = 0; i < 5; i++) assert_true(y[i] == back[i]);
  }
}

static void u8_has_all_zero_and_nan(void **state) {
  float x[] = {0, -0.0f, 0, 0}, odd[] = {NAN, 1e9f, -1e9f, INFINITY}, scale = 0, given = 2;
  uint8_t q[4];
  (void)state;
  Fp8Tensor t[] = {matrix("x", KILN_F32, 1, 4, x, false), matrix("q", KILN_U8, 1, 4, q, true), number("scale", &scale, true)};
  fp8_run("quantize_fp8", "dtype=f32 format=u8 per=tensor", targets[0], t, 3);
  assert_true(scale == 1);
  assert_memory_equal(q, "\x80\x80\x80\x80", 4);
  Fp8Tensor u[] = {matrix("x", KILN_F32, 1, 4, odd, false), matrix("q", KILN_U8, 1, 4, q, true), number("scale", &given, false)};
  fp8_run("quantize_fp8", "dtype=f32 format=u8 per=given", targets[1], u, 3);
  assert_memory_equal(q, "\x80\xff\x01\xff", 4);
}

/* ---- scales ---- */

enum { BATCH = 2, ROWS = 150, COLS = 200, COLS_APART = 3 };

typedef struct Kind { const char *per; int batch, row, col; } Kind; /* elements of a scale along each dim; 0: all of them */
static const Kind kinds[] = {{"tensor", 0, 0, 0}, {"row", 1, 1, 0}, {"column", 1, 0, 1}, {"block1", 1, 1, 128}, {"block128", 1, 128, 128}};

static int64_t along(int size, int step) { return step ? (size + step - 1) / step : 1; }

/* Index of the scale of an element. */
static size_t scale_of(const Kind *k, int b, int r, int c) {
  int64_t rows = along(ROWS, k->row), cols = along(COLS, k->col);
  int64_t at = ((k->batch ? b : 0) * rows + (k->row ? r / k->row : 0)) * cols + (k->col ? c / k->col : 0);
  return (size_t)at;
}

static size_t fill(float *x, unsigned seed) {
  for (int i = 0; i < BATCH * ROWS * COLS; i++) {
    seed = seed * 1664525u + 1013904223u;
    double u = (double)(seed >> 8) / (1 << 24) - 0.5;
    x[i] = (float)(u * exp2((double)(i / COLS % 7) - 3));
  }
  return BATCH * ROWS * COLS;
}

/* Where the scale tensor has a stride of its own for every dim, the innermost COLS_APART. */
static Fp8Tensor scale_tensor(const Kind *k, float *data) {
  Fp8Tensor t = {.name = "scale", .dtype = KILN_F32, .data = data, .out = true};
  int64_t size[] = {BATCH, along(ROWS, k->row), along(COLS, k->col)}, stride = COLS_APART;
  int step[] = {k->batch, k->row, k->col};
  for (int d = 0; d < 3; d++)
    if (step[d]) t.shape[t.rank++] = size[d];
  for (int d = t.rank - 1; d >= 0; d--, stride *= t.shape[d + 1] + 1) t.stride[d] = stride;
  t.room = (size_t)(stride + 1);
  return t;
}

static double read_scale(const Kind *k, const Fp8Tensor *t, size_t index) {
  int64_t at = 0, size[] = {BATCH, along(ROWS, k->row), along(COLS, k->col)};
  int step[] = {k->batch, k->row, k->col}, d = t->rank;
  for (int i = 2; i >= 0; i--) {
    if (!step[i]) continue;
    at += (int64_t)index % size[i] * t->stride[--d];
    index /= (size_t)size[i];
  }
  return ((const float *)t->data)[at];
}

static void check_scales(const Kind *k, kiln_dtype format, const float *x, const uint8_t *q, const Fp8Tensor *s) {
  size_t scales = (size_t)(along(BATCH, k->batch) * along(ROWS, k->row) * along(COLS, k->col));
  double *most = calloc(scales, sizeof *most);
  for (int i = 0; i < BATCH * ROWS * COLS; i++) {
    double *m = &most[scale_of(k, i / COLS / ROWS, i / COLS % ROWS, i % COLS)];
    *m = isnan(x[i]) || isnan(*m) ? NAN : fmax(*m, fabs(x[i]));
  }
  for (size_t i = 0; i < scales; i++) {
    double want = most[i] == 0 ? 1 : isnan(most[i]) ? NAN : fmax(most[i] / fp8_largest(format), 0x1p-126), got = read_scale(k, s, i);
    if (!(isnan(want) ? isnan(got) : isinf(want) ? got == want : fabs(got - want) <= 2e-7 * want))
      fail_msg("per %s: scale %zu is %.9g, by hand %.9g", k->per, i, got, want);
  }
  for (int i = 0; i < BATCH * ROWS * COLS; i++) {
    double scale = read_scale(k, s, scale_of(k, i / COLS / ROWS, i / COLS % ROWS, i % COLS)), v = x[i] * (1 / scale);
    bool near = q[i] == fp8_nearest(format, v * (1 + 4e-7)) || q[i] == fp8_nearest(format, v * (1 - 4e-7));
    if (!(isnan(v) ? isnan(fp8_value(format, q[i])) : near))
      fail_msg("per %s: element %d is 0x%02x, by hand 0x%02x (%.9g / %.9g)", k->per, i, q[i], fp8_nearest(format, v), x[i], scale);
  }
  free(most);
}

static void quantize_kind(const Kind *k, kiln_dtype format, float *x, const char *where) {
  char settings[64];
  uint8_t *q = malloc(BATCH * ROWS * COLS);
  float *scale = malloc(sizeof(float) * 4 * (BATCH + 1) * (ROWS + 1) * (COLS + 1));
  Fp8Tensor s = scale_tensor(k, scale);
  for (size_t i = 0; i < s.room; i++) scale[i] = -7;
  Fp8Tensor t[] = {
      {"x", KILN_F32, 3, {BATCH, ROWS, COLS}, {ROWS * COLS, COLS, 1}, x, BATCH * ROWS * COLS, false},
      {"q", format, 3, {BATCH, ROWS, COLS}, {ROWS * COLS, COLS, 1}, q, BATCH * ROWS * COLS, true},
      s,
  };
  format_settings(settings, sizeof settings, KILN_F32, format, k->per);
  fp8_run("quantize_fp8", settings, where, t, 3);
  check_scales(k, format, x, q, &s);
  size_t untouched = 0, scales = (size_t)(along(BATCH, k->batch) * along(ROWS, k->row) * along(COLS, k->col));
  for (size_t i = 0; i < s.room; i++) untouched += scale[i] == -7;
  assert_int_equal(untouched, s.room - scales); /* only its own elements */
  free(q);
  free(scale);
}

static void scales_of_every_kind(void **state) {
  float *x = malloc(sizeof(float) * BATCH * ROWS * COLS);
  (void)state;
  for (unsigned i = 0; i < 5; i++) {
    fill(x, i);
    quantize_kind(&kinds[i], formats[i % 2], x, targets[i % 2]);
    quantize_kind(&kinds[i], formats[1 - i % 2], x, targets[i % 2]);
  }
  free(x);
}

/* A part of zeros, one of tiny numbers; a NaN and an infinity, which spoil their own parts only. */
static void zeros_and_what_is_no_number(void **state) {
  float *x = malloc(sizeof(float) * BATCH * ROWS * COLS);
  (void)state;
  for (unsigned i = 0; i < 5; i++) {
    fill(x, 10 + i);
    for (int r = 0; r < ROWS; r++)
      for (int c = 0; c < COLS; c++) {
        if (r < 128 && c < 128) x[r * COLS + c] = 0;
        if (r >= 128 && c >= 128) x[r * COLS + c] *= 0x1p-135f;
        if (r == 5 || c == 7) x[ROWS * COLS + r * COLS + c] = 0;
      }
    if (i > 0) x[140 * COLS + 3] = NAN;
    if (i > 0) x[ROWS * COLS + 60 * COLS + 150] = -INFINITY;
    quantize_kind(&kinds[i], formats[i % 2], x, targets[(i + 1) % 2]);
    memset(x, 0, sizeof(float) * BATCH * ROWS * COLS);
    quantize_kind(&kinds[i], formats[i % 2], x, targets[i % 2]);
  }
  free(x);
}

/* The transpose of a matrix by strides alone, and rows that lie apart at odd places. */
static void any_strides(void **state) {
  static float x[96 * 70];
  static uint8_t q[90 * 133];
  (void)state;
  for (int i = 0; i < 96 * 70; i++) x[i] = (float)((i * 37) % 101 - 50);
  for (int i = 0; i < 5; i++) {
    char settings[64];
    float *scale = calloc(64 * 96, sizeof *scale);
    Fp8Tensor s = {.name = "scale", .dtype = KILN_F32, .data = scale, .room = 64 * 96, .out = true};
    int step[] = {kinds[i].row, kinds[i].col}, size[] = {64, 90};
    for (int d = 0; d < 2; d++)
      if (step[d]) s.shape[s.rank] = along(size[d], step[d]), s.stride[s.rank++] = d == 0 && step[1] ? 96 : 1;
    Fp8Tensor t[] = {
        {"x", KILN_F32, 2, {64, 90}, {1, 70}, x, 96 * 70, false},
        {"q", KILN_E4M3, 2, {64, 90}, {133, 1}, q, 90 * 133, true},
        s,
    };
    memset(q, 0xA5, sizeof q);
    format_settings(settings, sizeof settings, KILN_F32, KILN_E4M3, kinds[i].per);
    fp8_run("quantize_fp8", settings, targets[i % 2], t, 3);
    for (int r = 0; r < 64; r++)
      for (int c = 0; c < 133; c++) {
        if (c >= 90) {
          assert_int_equal(q[r * 133 + c], 0xA5);
          continue;
        }
        size_t at = (size_t)((step[0] ? r / step[0] : 0) * (step[1] ? 96 : 1) + (step[1] ? c / step[1] : 0));
        double v = x[c * 70 + r] * (1 / (double)scale[at]);
        uint8_t got = q[r * 133 + c];
        assert_true(scale[at] > 0);
        assert_true(got == fp8_nearest(KILN_E4M3, v * (1 + 4e-7)) || got == fp8_nearest(KILN_E4M3, v * (1 - 4e-7)));
      }
    free(scale);
  }
}

/* Nothing to be scaled: the scales are there, and 1. */
static void scales_of_nothing(void **state) {
  static const struct { const char *per; int rank; int64_t rows, cols; } nothing[] = {
      {"tensor", 0, 0, 64}, {"tensor", 0, 3, 0}, {"row", 1, 3, 0}, {"column", 1, 0, 3}};
  (void)state;
  for (int i = 0; i < 4; i++) {
    char settings[64];
    float x[1] = {0}, scale[3] = {7, 7, 7};
    uint8_t q[1] = {0};
    Fp8Tensor t[] = {
        {"x", KILN_F32, 2, {nothing[i].rows, nothing[i].cols}, {nothing[i].cols, 1}, x, 1, false},
        {"q", KILN_E4M3, 2, {nothing[i].rows, nothing[i].cols}, {nothing[i].cols, 1}, q, 1, true},
        {"scale", KILN_F32, nothing[i].rank, {3}, {1}, scale, 3, true},
    };
    format_settings(settings, sizeof settings, KILN_F32, KILN_E4M3, nothing[i].per);
    fp8_run("quantize_fp8", settings, targets[i % 2], t, 3);
    for (int k = 0; k < 3; k++) assert_true(scale[k] == (k == 0 || nothing[i].rank ? 1 : 7));
  }
}

/* Several kernels, a workspace: the same bits on any number of SMs. */
static void same_on_any_number_of_sms(void **state) {
  float *x = malloc(sizeof(float) * BATCH * ROWS * COLS), scale[2][BATCH * COLS];
  uint8_t *q[2] = {malloc(BATCH * ROWS * COLS), malloc(BATCH * ROWS * COLS)};
  (void)state;
  fill(x, 99);
  for (int kind = 0; kind < 2; kind++) {
    for (int i = 0; i < 2; i++) {
      Fp8Tensor t[] = {
          {"x", KILN_F32, 3, {BATCH, ROWS, COLS}, {ROWS * COLS, COLS, 1}, x, BATCH * ROWS * COLS, false},
          {"q", KILN_E4M3, 3, {BATCH, ROWS, COLS}, {ROWS * COLS, COLS, 1}, q[i], BATCH * ROWS * COLS, true},
          {"scale", KILN_F32, kind ? 2 : 0, {BATCH, COLS}, {COLS, 1}, scale[i], BATCH * COLS, true},
      };
      memset(scale[i], 0, sizeof scale[i]);
      fp8_run("quantize_fp8", kind ? "dtype=f32 format=e4m3 per=column" : "dtype=f32 format=e4m3 per=tensor",
              i ? "sim:sm_90a,sms=132,cores=1" : "sim:sm_90a,sms=1,cores=1", t, 3);
    }
    assert_memory_equal(scale[0], scale[1], sizeof scale[0]);
    assert_memory_equal(q[0], q[1], BATCH * ROWS * COLS);
  }
  free(x);
  free(q[0]);
  free(q[1]);
}

/* b lies with k contiguous. The operands' values are rounded to f16, and so is the result, whatever d is: beyond 65504 it is infinite. */
static void products_of_u8(void **state) {
  enum { M = 35, N = 24, K = 72 };
  static uint8_t a[M * K], b[N * K];
  static float d[M * N];
  (void)state;
  for (int k = 0; k < 4; k++) {
    float sa = k < 2 ? 9.5f : 0.25f, sb = 13.0f;
    int infinite = 0;
    for (int i = 0; i < M * K; i++) a[i] = (uint8_t)(1 + (i * 37 + k * 11 + i / 9) % 255);
    for (int i = 0; i < N * K; i++) b[i] = (uint8_t)(1 + (i * 91 + k * 29 + i / 7) % 255);
    Fp8Tensor t[] = {matrix("a", KILN_U8, M, K, a, false), {"b", KILN_U8, 2, {K, N}, {1, K}, b, N * K, false}, number("scale_a", &sa, false),
                     number("scale_b", &sb, false), matrix("d", KILN_F32, M, N, d, true)};
    fp8_run("fp8_gemm_u8", "dtype=f32", targets[k % 2], t, 5);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) {
        double sum = 0, size = 0, got = d[i * N + j];
        for (int l = 0; l < K; l++) {
          double x = (a[i * K + l] - 128) / 127.0 * 448 / sa * ((b[j * K + l] - 128) / 127.0 * 448 / sb);
          sum += x, size += fabs(x);
        }
        double slack = 0x1p-10 * size + 0x1p-11 * fabs(sum);
        bool may_be_infinite = fabs(sum) + slack >= 65520;
        infinite += isinf(got) != 0;
        if (isinf(got) ? !may_be_infinite || (got < 0) != (sum < 0) : fabs(got - sum) > slack || fabs(got) > 65504)
          fail_msg("d[%d, %d] is %.9g, by hand %.9g", i, j, got, sum);
      }
    assert_true(k < 2 ? infinite == 0 : infinite > 0);
  }
}

static int start(void **state) {
  (void)state;
  return fp8_start() ? 0 : -1;
}
static int end(void **state) {
  (void)state;
  fp8_end();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_number_of_16_bits),    cmocka_unit_test(numbers_of_32_bits_around_every_middle),
      cmocka_unit_test(every_code_back),            cmocka_unit_test(worked_values_of_u8),
      cmocka_unit_test(u8_has_all_zero_and_nan),    cmocka_unit_test(scales_of_every_kind),
      cmocka_unit_test(zeros_and_what_is_no_number), cmocka_unit_test(any_strides),
      cmocka_unit_test(scales_of_nothing),           cmocka_unit_test(same_on_any_number_of_sms),
      cmocka_unit_test(products_of_u8),
  };
  return cmocka_run_group_tests(tests, start, end);
}
