/* evaluator.h - PTX executed a second time, simply: straight from the text, one thread after the other, no vectors, no decoding ahead.
 *
 * It shares nothing with runtime/sim. What a form looks like comes from the text alone, what it means from meaning.c. It knows
 * what tests/fuzz/program.c writes: one entry, 64-bit parameters, one statement per line. */
#ifndef EVALUATOR_H
#define EVALUATOR_H
#include "meaning.h"

typedef struct EvalBuffer { uint64_t base; size_t bytes; uint8_t *at; } EvalBuffer; /* global memory */

typedef struct EvalLaunch {
  unsigned grid, block;          /* one dimension */
  const uint64_t *params;        /* in the entry's order */
  EvalBuffer buffers[4];
  int nbuffers;
  long limit;                    /* instructions of one thread */
} EvalLaunch;

/* Executes the text's entry; false: why says what it could not do. */
bool evaluate(const char *text, const EvalLaunch *l, char *why, size_t bytes);

/* Memory forms: "ld.global.v2.b32" and the like; false: not of those. */
typedef struct Access { bool load, store, atomic; int bits, count; bool is_signed; char space; /* 'g' 's' 'p' */ char op[8]; Type type; } Access;
bool access_find(const char *opcode, Access *a);
#endif
