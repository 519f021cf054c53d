/* The shipped ops' kernels on the simulator, through contract and runtime, against the references.
 *   test_kernels [backward] [OP]   backward: their gradients */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "problem_meet.h"

static void run(Problem *p, int number) { problem_assert_kernel(p, number % 2 ? "sim:sm_90a,cores=1" : "sim:sm_80,cores=1"); }

static void op_agrees(void **state) { meet_problems(*state, MEET_FORWARD, true, run); }
static void gradient_agrees(void **state) { meet_problems(*state, MEET_BACKWARD, true, run); }

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "backward") == 0) return meet_all(MEET_BACKWARD, gradient_agrees, argc > 2 ? argv[2] : NULL);
  return meet_all(MEET_FORWARD, op_agrees, argc > 1 ? argv[1] : NULL);
}
