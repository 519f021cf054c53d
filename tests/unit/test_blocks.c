/* The evaluator's dims of blocks: the largest of each block and its value at each element, along either dim of a matrix, the last
 * block shorter, NaN and errors carried; which dims may be sampled; and what is no definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "gen/cli/evaluate.h"

enum { R, N, RB, NB, ROWS = 7, COLS = 10, ROW_BLOCK = 3, COL_BLOCK = 4, RBS = 3, NBS = 3 };

/* y[r,n] = x / the largest |x| of its block of 3 x 4, and that one itself as m */
static DefNode nodes[] = {
    {.op = DEF_ARG, .index = 0},
    {.op = DEF_ABS, .nargs = 1, .arg = {0}},
    {.op = DEF_BLOCK_AMAX, .nargs = 1, .index = NB, .arg = {1}},
    {.op = DEF_BLOCK_AMAX, .nargs = 1, .index = RB, .arg = {2}},
    {.op = DEF_RCP, .nargs = 1, .arg = {3}}, /* with an error, which spread carries */
    {.op = DEF_SPREAD, .nargs = 1, .index = RB, .arg = {4}},
    {.op = DEF_SPREAD, .nargs = 1, .index = NB, .arg = {5}},
    {.op = DEF_MUL, .nargs = 2, .arg = {0, 6}},
};

static KilnDef definition(void) {
  return (KilnDef){
      .op = "blocks",
      .dims = {"R", "N", "R_3", "N_4"},
      .ndims = 4,
      .block = {[RB] = {R, ROW_BLOCK}, [NB] = {N, COL_BLOCK}},
      .ntensors = 3,
      .tensor = {{.name = "x", .dtype = KILN_F32, .present = true, .rank = 2, .dim = {R, N}, .value = -1},
                 {.name = "y", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {R, N}, .value = 7},
                 {.name = "m", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 2, .dim = {RB, NB}, .value = 3}},
      .node = nodes,
      .nnodes = sizeof nodes / sizeof *nodes,
  };
}

typedef struct Got { double y[ROWS][COLS], m[RBS][NBS], error[ROWS][COLS], m_error; int seen; } Got;

static void take(void *user, const EvalChunk *c) {
  Got *got = user;
  int row = c->tensor == 1 ? R : RB, col = c->tensor == 1 ? N : NB;
  for (int64_t i = 0, at = 0; i < c->count[row]; i++)
    for (int64_t j = 0; j < c->count[col]; j++, at++) {
      int64_t r = c->start[row] + i, n = c->start[col] + j;
      got->seen++;
      if (c->tensor == 1) {
        got->y[r][n] = c->value[at];
        got->error[r][n] = c->error[at];
      } else {
        got->m[r][n] = c->value[at];
        got->m_error = fmax(got->m_error, c->error[at]);
      }
    }
}

static bool run(const KilnDef *def, const float *x, Got *got, char *why) {
  int64_t by_row[ROWS], by_column[COLS];
  for (int i = 0; i < ROWS; i++) by_row[i] = i * COLS;
  for (int i = 0; i < COLS; i++) by_column[i] = i;
  EvalInput in = {.def = def, .size = {ROWS, COLS, RBS, NBS}, .count = {ROWS, COLS, RBS, NBS}};
  in.tensor[0] = (EvalTensor){.dtype = KILN_F32, .data = x, .offset = {by_row, by_column}};
  memset(got, 0, sizeof *got);
  return evaluate(&in, take, got, why, 256);
}

static void largest_of_each_block_at_each_element(void **state) {
  float x[ROWS][COLS];
  char why[256] = "";
  Got got;
  (void)state;
  for (int r = 0; r < ROWS; r++)
    for (int n = 0; n < COLS; n++) x[r][n] = (float)((r * 31 + n * 17) % 23 - 11.5);
  x[4][9] = NAN; /* in the middle block of the last columns, of which there are two */
  KilnDef def = definition();
  if (!run(&def, &x[0][0], &got, why)) fail_msg("%s", why);
  assert_int_equal(got.seen, ROWS * COLS + RBS * NBS);
  for (int r = 0; r < ROWS; r++)
    for (int n = 0; n < COLS; n++) {
      double most = 0;
      for (int i = r / ROW_BLOCK * ROW_BLOCK; i < r / ROW_BLOCK * ROW_BLOCK + ROW_BLOCK && i < ROWS; i++)
        for (int j = n / COL_BLOCK * COL_BLOCK; j < n / COL_BLOCK * COL_BLOCK + COL_BLOCK && j < COLS; j++)
          most = isnan(most) || isnan(x[i][j]) ? NAN : fmax(most, fabs(x[i][j]));
      double m = got.m[r / ROW_BLOCK][n / COL_BLOCK];
      assert_true(isnan(most) ? isnan(m) && isnan(got.y[r][n]) : m == most && fabs(got.y[r][n] - x[r][n] / most) < 1e-15);
      if (!isnan(most) && x[r][n] != 0) assert_true(got.error[r][n] > 0 && got.error[r][n] < 1e-6);
    }
  assert_true(got.m_error == 0); /* of exact values the largest is exact */
}

static void dims_of_blocks_are_not_sampled(void **state) {
  KilnDef def = definition();
  (void)state;
  assert_int_equal(evaluate_samplable(&def, 0), 0);
  def.dims[def.ndims++] = "B"; /* one more, which no node reads across */
  assert_int_equal(evaluate_samplable(&def, 0), 1 << 4);
}

static void what_has_no_such_blocks_is_refused(void **state) {
  static const float x[ROWS * COLS];
  char why[256] = "";
  Got got;
  (void)state;
  KilnDef def = definition();
  def.block[NB].size = 0;
  assert_false(run(&def, x, &got, why));
  assert_non_null(strstr(why, "blocks that its operand has not"));
  DefNode twice[sizeof nodes / sizeof *nodes];
  memcpy(twice, nodes, sizeof nodes);
  twice[3].index = NB; /* again over the dim that is gone */
  def = definition();
  def.node = twice;
  assert_false(run(&def, x, &got, why));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(largest_of_each_block_at_each_element),
      cmocka_unit_test(dims_of_blocks_are_not_sampled),
      cmocka_unit_test(what_has_no_such_blocks_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
