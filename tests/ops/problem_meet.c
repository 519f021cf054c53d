/* problem_meet.c - see problem_meet.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problem_meet.h"

/* Generators are costly to open; a definition lives until its generator's next call: one for ops, one for gradients. */
static KilnGen *generator[2];

static int open_generators(void **state) {
  (void)state;
  return kiln_gen_open(&generator[0], NULL) != KILN_GEN_OK || kiln_gen_open(&generator[1], NULL) != KILN_GEN_OK;
}

static int close_generators(void **state) {
  (void)state;
  kiln_gen_close(generator[0]);
  kiln_gen_close(generator[1]);
  return 0;
}

/* The settings that gradient and op share: without dx=no and the like. */
static void strip(const char *settings, char *text, size_t bytes) {
  *text = 0;
  while (*settings) {
    size_t word = strcspn(settings, " ");
    bool own = settings[0] == 'd' && strncmp(settings, "dtype=", 6) != 0;
    if (!own) snprintf(text + strlen(text), bytes - strlen(text), "%s%.*s", *text ? " " : "", (int)word, settings);
    settings += word;
    settings += strspn(settings, " ");
  }
}

static void meet_one(const ProblemSpec *spec, Direction direction, Compare compare, int number) {
  Problem forward, gradient;
  ProblemSpec of = *spec;
  char settings[256], name[64];
  strip(spec->settings, settings, sizeof settings);
  of.settings = settings;
  problem_open(&forward, generator[0], &of, NULL);
  problem_refer(&forward);
  if (direction == MEET_FORWARD) {
    compare(&forward, number);
  } else {
    of.settings = spec->settings;
    snprintf(name, sizeof name, "%s.grad", spec->op);
    of.op = name;
    problem_open(&gradient, generator[1], &of, &forward);
    problem_refer(&gradient);
    compare(&gradient, number);
    problem_close(&gradient);
  }
  problem_close(&forward);
}

void meet_problems(const OpCases *c, Direction direction, Choice choice, Compare compare) {
  const char *const *settings = direction == MEET_FORWARD ? c->forward : c->backward;
  const char *const *sizes = choice == MEET_EXTREMES ? c->extremes : c->sizes;
  int nsettings = choice == MEET_EXTREMES ? 1 : texts_in(settings, CASES_SETTINGS), nscalars = texts_in(c->scalars, CASES_SCALARS);
  int nsizes = texts_in(sizes, choice == MEET_EXTREMES ? CASES_EXTREMES : CASES_SIZES), number = 0;
  for (int s = 0; s < nsettings; s++)
    for (int z = 0; z < (choice == MEET_IN_TURN ? 1 : nsizes); z++, number++) {
      ProblemSpec spec = {.op = c->op,
                          .settings = settings[s],
                          .sizes = sizes[choice == MEET_IN_TURN ? s % nsizes : z],
                          .scalars = c->scalars[(s + z) % nscalars],
                          .lie = (Lie)((s + z) % (c->contiguous ? LIE_COLUMNS : LIES)),
                          .spread = c->spread,
                          .offset = c->offset};
      meet_one(&spec, direction, compare, number);
    }
}

/* ---- all of them ---- */

static bool ships(const char *name) {
  const kiln_gen_op *ops;
  int n;
  assert_int_equal(kiln_gen_ops(generator[0], &ops, &n), KILN_GEN_OK);
  for (int i = 0; i < n; i++)
    if (strcmp(ops[i].name, name) == 0) return true;
  return false;
}

/* Quantisation, and the format of codes that are even steps, have no gradient and other bounds: tests of their own (test_fp8.c). */
static bool is_covered(const char *name) {
  size_t stem = strlen(name);
  if (stem > 5 && strcmp(name + stem - 5, ".grad") == 0) stem -= 5;
  for (const OpCases *c = op_cases; c->op; c++)
    if (strlen(c->op) == stem && memcmp(c->op, name, stem) == 0) return true;
  return strcmp(name, "quantize_fp8") == 0 || strcmp(name, "dequantize_fp8") == 0 || strcmp(name, "fp8_gemm_u8") == 0;
}

static void the_table_is_whole(void **state) {
  (void)state;
  const kiln_gen_op *ops;
  int n;
  for (const OpCases *c = op_cases; c->op; c++) {
    char gradient[64];
    snprintf(gradient, sizeof gradient, "%s.grad", c->op);
    if (!ships(c->op)) fail_msg("%s does not ship", c->op);
    if (!c->backward[0] == ships(gradient)) fail_msg("%s: rows for a gradient that does not ship, or none for one that does", gradient);
  }
  assert_int_equal(kiln_gen_ops(generator[0], &ops, &n), KILN_GEN_OK);
  for (int i = 0; i < n; i++)
    if (!is_covered(ops[i].name)) fail_msg("%s has no reference", ops[i].name);
}

int meet_all(Direction direction, void (*test)(void **), const char *only) {
  struct CMUnitTest tests[64] = {{.name = "the_table_is_whole", .test_func = the_table_is_whole}};
  size_t n = 1;
  for (const OpCases *c = op_cases; c->op && n < sizeof tests / sizeof tests[0]; c++)
    if ((direction == MEET_FORWARD || c->backward[0]) && (!only || strcmp(only, c->op) == 0))
      tests[n++] = (struct CMUnitTest){.name = c->op, .test_func = test, .initial_state = (void *)c};
  return _cmocka_run_group_tests(direction == MEET_FORWARD ? "ops" : "gradients", tests, n, open_generators, close_generators);
}
