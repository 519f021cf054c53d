/* problem_meet.h - takes every op of problem_cases.c, opens its problems, computes the references, and hands them to a comparison. */
#ifndef KILN_TESTS_PROBLEM_MEET_H
#define KILN_TESTS_PROBLEM_MEET_H
#include "problem.h"
#include "problem_cases.h"

typedef enum { MEET_FORWARD, MEET_BACKWARD } Direction;
typedef void (*Compare)(Problem *p, int number); /* number: counts the op's problems */

typedef enum {
  MEET_EVERY,    /* every choice of settings at every size */
  MEET_IN_TURN,  /* every choice of settings at one size, in turn */
  MEET_EXTREMES, /* the first settings at the extreme sizes */
} Choice;

void meet_problems(const OpCases *c, Direction direction, Choice choice, Compare compare);

/* A cmocka test per row of the table, its state the row; beside them one which asserts that every op that ships has rows, and that
 * every row's op ships. only: rows of this op alone (NULL: all). Returns the number that failed. */
int meet_all(Direction direction, void (*test)(void **), const char *only);
#endif
