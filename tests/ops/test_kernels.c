/* The shipped ops' kernels on the simulator, through contract and runtime, against the references.
 *   test_kernels forward|backward usual|extremes [OP]     backward: their gradients; extremes: long rows, many rows, none */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "problem_meet.h"

static Direction direction;
static Choice choice = MEET_IN_TURN;

/* Products of bytes begin with sm_89. */
static void run(Problem *p, int number) {
  const char *elder = problem_has_bytes(p) ? "sim:sm_89,cores=1" : "sim:sm_80,cores=1";
  problem_assert_kernel(p, number % 2 ? elder : "sim:sm_90a,cores=1");
}

static void kernel_agrees(void **state) { meet_problems(*state, direction, choice, run); }

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "backward") == 0) direction = MEET_BACKWARD;
  if (argc > 2 && strcmp(argv[2], "extremes") == 0) choice = MEET_EXTREMES;
  return meet_all(direction, kernel_agrees, argc > 3 ? argv[3] : NULL);
}
