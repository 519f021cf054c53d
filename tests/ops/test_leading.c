/* Rows of a linear layer in one, two or no leading dims of the caller's: the same numbers, forward and backward; and a message where the leading
 * dims do not lie as rows of one matrix. Inputs are small whole numbers, so that every sum is exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "gen/kiln_gen.h"
#include "runtime/kiln.h"

enum { ROWS = 6, IN = 8, OUT = 16, MOST = 16 * ROWS };

typedef struct Bench {
  kiln_device *dev;
  void *x, *w, *y, *dx, *dw;
} Bench;

static float x_at(int i, int k) { return (float)((i * 5 + k * 3) % 7 - 3); }
static float w_at(int k, int n) { return (float)((k * 2 + n * 3) % 5 - 2); }
static float dy_at(int i, int n) { return (float)((i + 2 * n) % 3 - 1); }

static void add(kiln_device *dev, const char *op) {
  KilnGen *gen;
  const char *text, *name;
  size_t bytes;
  const kiln_gen_pair set[] = {{"dtype", "f32"}, {"bias", "no"}, {"b_major", "n"}};
  kiln_gen_request r = {.op = op, .target = "sm_80", .set = set, .nset = 3};
  assert_int_equal(kiln_gen_open(&gen, NULL), KILN_GEN_OK);
  if (kiln_gen_emit(gen, &r, &text, &bytes, &name) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(gen));
  if (kiln_add_text(dev, name, text, bytes) != KILN_OK) fail_msg("%s", kiln_error());
  kiln_gen_close(gen);
}

static void *put(kiln_device *dev, const float *from, int n) {
  void *at = NULL;
  assert_int_equal(kiln_malloc(dev, &at, MOST * IN * sizeof(float)), KILN_OK);
  if (from) assert_int_equal(kiln_upload(dev, at, from, (size_t)n * sizeof(float)), KILN_OK);
  return at;
}

static int open_bench(void **state) {
  Bench *b = calloc(1, sizeof *b);
  float x[ROWS * IN], w[IN * OUT];
  if (!b || kiln_open(&b->dev, "sim:sm_80") != KILN_OK) return free(b), -1;
  for (int i = 0; i < ROWS * IN; i++) x[i] = x_at(i / IN, i % IN);
  for (int i = 0; i < IN * OUT; i++) w[i] = w_at(i / OUT, i % OUT);
  add(b->dev, "linear");
  add(b->dev, "linear.grad");
  b->x = put(b->dev, x, ROWS * IN);
  b->w = put(b->dev, w, IN * OUT);
  b->y = put(b->dev, NULL, 0);
  b->dx = put(b->dev, NULL, 0);
  b->dw = put(b->dev, NULL, 0);
  *state = b;
  return 0;
}

static int close_bench(void **state) {
  Bench *b = *state;
  void *const all[] = {b->x, b->w, b->y, b->dx, b->dw};
  for (int i = 0; i < 5; i++) kiln_free(b->dev, all[i]);
  kiln_close(b->dev);
  free(b);
  return 0;
}

/* Rows of n elements in leading dims of these sizes; strides: of all, or NULL. */
static kiln_tensor rows(void *at, int rank, const int64_t *shape, const int64_t *strides) {
  return (kiln_tensor){at, KILN_F32, rank, shape, strides};
}

static kiln_status run(Bench *b, const char *op, const kiln_arg *args, int nargs) {
  kiln_plan *plan;
  kiln_plan_info info;
  void *workspace = NULL;
  kiln_status status = kiln_plan_create(&plan, b->dev, op, args, nargs);
  if (status != KILN_OK) return status;
  assert_int_equal(kiln_plan_query(plan, &info), KILN_OK);
  if (info.workspace_bytes) assert_int_equal(kiln_malloc(b->dev, &workspace, info.workspace_bytes), KILN_OK);
  status = kiln_launch(plan, &(kiln_call){.workspace = workspace}, NULL);
  if (status == KILN_OK) status = kiln_sync(b->dev);
  if (workspace) kiln_free(b->dev, workspace);
  kiln_plan_destroy(plan);
  return status;
}

static kiln_status forward(Bench *b, int leads, const int64_t *lead, const int64_t *strides) {
  int64_t xs[5], ys[5];
  for (int i = 0; i < leads; i++) xs[i] = ys[i] = lead[i];
  xs[leads] = IN, ys[leads] = OUT;
  kiln_tensor x = rows(b->x, leads + 1, xs, strides), w = rows(b->w, 2, (const int64_t[]){IN, OUT}, NULL), y = rows(b->y, leads + 1, ys, NULL);
  const kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "w", .tensor = &w}, {.name = "y", .tensor = &y}, {.name = "act", .text = "none"}};
  return run(b, "linear", args, 4);
}

static void expect_rows(Bench *b, int n) {
  float y[ROWS * OUT];
  assert_int_equal(kiln_download(b->dev, y, b->y, sizeof y), KILN_OK);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < OUT; j++) {
      float sum = 0;
      for (int k = 0; k < IN; k++) sum += x_at(i, k) * w_at(k, j);
      if (y[i * OUT + j] != sum) fail_msg("y[%d,%d] = %g, not %g", i, j, y[i * OUT + j], sum);
    }
}

static void rows_in_any_leading_dims(void **state) {
  Bench *b = *state;
  static const struct { int leads, rows; int64_t lead[4]; } forms[] = {
      {1, 6, {6}}, {2, 6, {2, 3}}, {3, 6, {1, 3, 2}}, {4, 6, {3, 1, 2, 1}}, {0, 1, {0}}, {2, 2, {1, 2}}};
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    static const float poison[ROWS * OUT] = {-99};
    assert_int_equal(kiln_upload(b->dev, b->y, poison, sizeof poison), KILN_OK);
    if (forward(b, forms[f].leads, forms[f].lead, NULL) != KILN_OK) fail_msg("form %zu: %s", f, kiln_error());
    expect_rows(b, forms[f].rows);
  }
}

static void rows_that_are_no_matrix_are_refused(void **state) {
  Bench *b = *state;
  assert_int_not_equal(forward(b, 2, (const int64_t[]){2, 2}, (const int64_t[]){3 * IN, IN, 1}), KILN_OK);
  assert_non_null(strstr(kiln_error(), "the leading dims lie as the rows of one matrix do"));
}

static void gradients_take_them_too(void **state) {
  Bench *b = *state;
  float dy[ROWS * OUT], dx[ROWS * IN], dw[IN * OUT];
  for (int i = 0; i < ROWS * OUT; i++) dy[i] = dy_at(i / OUT, i % OUT);
  assert_int_equal(kiln_upload(b->dev, b->y, dy, sizeof dy), KILN_OK);
  const int64_t wide[] = {2, 3, OUT}, narrow[] = {2, 3, IN}, weight[] = {IN, OUT};
  kiln_tensor ty = rows(b->y, 3, wide, NULL), tx = rows(b->x, 3, narrow, NULL), tw = rows(b->w, 2, weight, NULL);
  kiln_tensor tdx = rows(b->dx, 3, narrow, NULL), tdw = rows(b->dw, 2, weight, NULL);
  const kiln_arg args[] = {{.name = "dy", .tensor = &ty}, {.name = "x", .tensor = &tx}, {.name = "w", .tensor = &tw}, {.name = "dx", .tensor = &tdx},
                           {.name = "dw", .tensor = &tdw}, {.name = "act", .text = "none"}};
  if (run(b, "linear.grad", args, 6) != KILN_OK) fail_msg("%s", kiln_error());
  assert_int_equal(kiln_download(b->dev, dx, b->dx, sizeof dx), KILN_OK);
  assert_int_equal(kiln_download(b->dev, dw, b->dw, sizeof dw), KILN_OK);
  for (int i = 0; i < ROWS; i++)
    for (int k = 0; k < IN; k++) {
      float sum = 0;
      for (int j = 0; j < OUT; j++) sum += dy_at(i, j) * w_at(k, j);
      assert_true(dx[i * IN + k] == sum);
    }
  for (int k = 0; k < IN; k++)
    for (int j = 0; j < OUT; j++) {
      float sum = 0;
      for (int i = 0; i < ROWS; i++) sum += x_at(i, k) * dy_at(i, j);
      assert_true(dw[k * OUT + j] == sum);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_in_any_leading_dims),
      cmocka_unit_test(rows_that_are_no_matrix_are_refused),
      cmocka_unit_test(gradients_take_them_too),
  };
  return cmocka_run_group_tests(tests, open_bench, close_bench);
}
