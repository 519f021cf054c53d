/* The shipped ops two ways: by hand, and by the evaluator on the traced definition, both in double.
 *   test_references [backward]     backward: their gradients, which the generator derives */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "problem_meet.h"

static void evaluate(Problem *p, int number) {
  (void)number;
  problem_evaluate(p);
  problem_assert_evaluated(p);
}

static void op_agrees(void **state) { meet_problems(*state, MEET_FORWARD, false, evaluate); }
static void gradient_agrees(void **state) { meet_problems(*state, MEET_BACKWARD, false, evaluate); }

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "backward") == 0) return meet_all(MEET_BACKWARD, gradient_agrees, argc > 2 ? argv[2] : NULL);
  return meet_all(MEET_FORWARD, op_agrees, argc > 1 ? argv[1] : NULL);
}
