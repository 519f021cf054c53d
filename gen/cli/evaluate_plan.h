/* evaluate_plan.h - which nodes of a definition outputs need and over which dims they range: between the evaluator's files. */
#ifndef KILN_CLI_EVALUATE_PLAN_H
#define KILN_CLI_EVALUATE_PLAN_H
#include "evaluate.h"

typedef struct EvalWhy { char *text; size_t bytes; } EvalWhy; /* where a refusal is said */

bool eval_is_reduction(uint8_t op);
uint32_t eval_tensor_dims(const DefTensor *t);
bool eval_wanted(const KilnDef *def, uint32_t outputs, int t); /* tensor t is a present output among these (0: all) */

/* The node that an output is compared with; -1: none. Its own last rounding is left to the comparison, which admits it once. */
int32_t eval_output_node(const KilnDef *def, int t);
void eval_mark_needed(const KilnDef *def, uint32_t outputs, uint8_t *needed);

/* Dims that a node reads across: what it gives at one index depends on its operands at others. */
uint32_t eval_bound_dims(const KilnDef *def, const DefNode *n);
bool eval_infer_dims(const EvalInput *in, const uint8_t *needed, uint32_t *dims, EvalWhy *why);
#endif
