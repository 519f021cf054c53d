/* The shipped ops two ways: by hand, and by the evaluator on the traced definition, both in double.
 *   test_references forward|backward [OP]     backward: their gradients, which the generator derives */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "problem_meet.h"

static Direction direction;

static void evaluate(Problem *p, int number) {
  (void)number;
  problem_evaluate(p);
  problem_assert_evaluated(p);
}

static void definition_agrees(void **state) { meet_problems(*state, direction, MEET_EVERY, evaluate); }

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "backward") == 0) direction = MEET_BACKWARD;
  return meet_all(direction, definition_agrees, argc > 2 ? argv[2] : NULL);
}
