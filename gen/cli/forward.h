/* forward.h - inputs of a gradient that are outputs of its op's forward run: rstd, a softmax's result, a sum that was stored. They
 * are not drawn at random but computed from the other inputs by the forward definition, and rounded as it stores them. */
#ifndef KILN_CLI_FORWARD_H
#define KILN_CLI_FORWARD_H
#include "tensors.h"

/* A definition that outlives the generator's next call. */
KilnDef *define_copy(const KilnDef *def);
void define_free(KilnDef *def);

bool forward_is_gradient(const char *op); /* NAME.grad */

/* Traces the definition of the op that `gradient` (of `op`, under these settings) belongs to, with all outputs that the gradient
 * reads. *forward NULL, and KILN_GEN_OK: it reads none. */
kiln_gen_status forward_define(KilnGen *gen, const char *op, const KilnDef *gradient, const kiln_gen_pair *set, int nset,
                               KilnDef **forward, char *why, size_t why_bytes);

/* Writes those inputs of d, whose other inputs are filled. false: why says what is wrong. */
bool forward_fill(const KilnDef *forward, CaseData *d, Random *r, char *why, size_t why_bytes);
#endif
