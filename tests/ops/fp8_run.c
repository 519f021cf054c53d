/* fp8_run.c - see fp8_run.h. */
#include "fp8_run.h"
#include "gen/kiln_gen.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static KilnGen *generator;

bool fp8_start(void) { return kiln_gen_open(&generator, NULL) == KILN_GEN_OK; }
void fp8_end(void) { kiln_gen_close(generator); }

/* ---- formats ---- */

double fp8_largest(kiln_dtype format) { return format == KILN_E4M3 ? 448 : 57344; }

double fp8_value(kiln_dtype format, uint8_t code) {
  int mantissa = format == KILN_E4M3 ? 3 : 2, bias = format == KILN_E4M3 ? 7 : 15, steps = 1 << mantissa;
  int exponent = (code & 0x7f) / steps, fraction = code % steps;
  double sign = code & 0x80 ? -1 : 1;
  if (format == KILN_E4M3 && (code & 0x7f) == 0x7f) return NAN;
  if (format == KILN_E5M2 && exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexp(fraction, 1 - bias - mantissa);
  return sign * ldexp(steps + fraction, exponent - bias - mantissa);
}

static const double *values_of(kiln_dtype format) {
  static double value[2][0x80];
  double *v = value[format == KILN_E5M2];
  if (v[1] == 0)
    for (int c = 0; c < 0x80; c++) v[c] = fp8_value(format, (uint8_t)c);
  return v;
}

uint8_t fp8_nearest(kiln_dtype format, double x) {
  if (isnan(x)) return 0x7f;
  const double *value = values_of(format);
  int best = 0;
  double size = fmin(fabs(x), fp8_largest(format)), distance = size;
  for (int c = 1; c < 0x7f && isfinite(value[c]); c++) {
    double d = fabs(value[c] - size);
    if (d < distance || (d == distance && c % 2 == 0)) best = c, distance = d;
  }
  return (uint8_t)(best | (signbit(x) ? 0x80 : 0));
}

static double small_float(uint16_t bits, int mantissa, int width) {
  int exponent = bits >> mantissa & ((1 << width) - 1), fraction = bits & ((1 << mantissa) - 1), bias = (1 << (width - 1)) - 1;
  double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << width) - 1) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? ldexp((1 << mantissa) + fraction, exponent - bias - mantissa) : ldexp(fraction, 1 - bias - mantissa));
}

double fp8_f16(uint16_t bits) { return small_float(bits, 10, 5); }
double fp8_bf16(uint16_t bits) { return small_float(bits, 7, 8); }

/* ---- running ---- */

enum { PAIRS = 64 }; /* of all stages of a chain */
const char *fp8_only;

static int split(char *text, kiln_gen_pair pair[PAIRS]) {
  int n = 0;
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    char *equal = strchr(word, '=');
    assert_true(equal && n < PAIRS);
    *equal = 0;
    pair[n++] = (kiln_gen_pair){word, equal + 1};
  }
  return n;
}

static void expect_ok(kiln_status status, const char *what) {
  if (status != KILN_OK) fail_msg("%s: %s", what, kiln_error());
}

static void add_variants(kiln_device *dev, const char *op, const char *target, const kiln_gen_pair *set, int nset) {
  kiln_gen_request r = {.op = op, .target = target, .set = set, .nset = nset};
  const char *const *list, *text, *name;
  char *schedule[64];
  int n;
  size_t bytes;
  if (kiln_gen_schedules(generator, &r, &list, &n) != KILN_GEN_OK) fail_msg("%s: %s", op, kiln_gen_message(generator));
  assert_in_range(n, 1, 64);
  int used = 0;
  for (int i = 0; i < n; i++)
    if (!fp8_only || strstr(list[i], fp8_only)) schedule[used++] = strdup(list[i]);
  n = used;
  for (int i = 0; i < n; i++) {
    kiln_gen_pair pair[PAIRS];
    r.nschedule = split(schedule[i], pair);
    r.schedule = pair;
    if (kiln_gen_emit(generator, &r, &text, &bytes, &name) != KILN_GEN_OK) fail_msg("%s: %s", op, kiln_gen_message(generator));
    expect_ok(kiln_add_text(dev, name, text, bytes), name);
    free(schedule[i]);
  }
}

static size_t bytes_of(kiln_dtype t) { return t == KILN_F32 ? 4 : t == KILN_F16 || t == KILN_BF16 ? 2 : 1; }

void fp8_run(const char *op, const char *settings, const char *where, Fp8Tensor *tensor, int n) {
  kiln_device *dev;
  kiln_plan *plan;
  kiln_plan_info info;
  kiln_gen_pair set[PAIRS];
  kiln_arg arg[16] = {{0}};
  kiln_tensor view[8];
  void *memory[8] = {0}, *workspace = NULL;
  char target[16] = "", text[128];
  snprintf(text, sizeof text, "%s", settings);
  int nset = split(text, set), nargs = 0;
  assert_int_equal(sscanf(where, "sim:%15[a-z0-9_]", target), 1);
  expect_ok(kiln_open(&dev, where), where);
  add_variants(dev, op, target, set, nset);
  for (int i = 0; i < n; i++) {
    Fp8Tensor *t = &tensor[i];
    size_t bytes = t->room * bytes_of(t->dtype);
    expect_ok(kiln_malloc(dev, &memory[i], bytes), t->name);
    expect_ok(kiln_upload(dev, memory[i], t->data, bytes), t->name);
    view[i] = (kiln_tensor){memory[i], t->dtype, t->rank, t->shape, t->stride};
    arg[nargs++] = (kiln_arg){.name = t->name, .tensor = &view[i]};
  }
  for (int i = 0; i < nset; i++)
    if (strcmp(set[i].key, "dtype") != 0) arg[nargs++] = (kiln_arg){.name = set[i].key, .text = set[i].value};
  expect_ok(kiln_plan_create(&plan, dev, op, arg, nargs), settings);
  expect_ok(kiln_plan_query(plan, &info), settings);
  if (info.workspace_bytes) expect_ok(kiln_malloc(dev, &workspace, info.workspace_bytes), "workspace");
  expect_ok(kiln_launch(plan, &(kiln_call){.workspace = workspace}, NULL), info.variant);
  expect_ok(kiln_sync(dev), info.variant);
  for (int i = 0; i < n; i++) {
    Fp8Tensor *t = &tensor[i];
    if (t->out) expect_ok(kiln_download(dev, t->data, memory[i], t->room * bytes_of(t->dtype)), t->name);
    kiln_free(dev, memory[i]);
  }
  if (workspace) kiln_free(dev, workspace);
  kiln_plan_destroy(plan);
  kiln_close(dev);
}
