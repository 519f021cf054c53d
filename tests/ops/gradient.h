/* gradient.h - an op and its derived gradient, evaluated in double: for test_gradients.c and test_gradient_graphs.c.
 *
 * Both definitions run without their roundings (a rounding node passes its operand on), so that finite differences see smooth
 * functions; tensors are dense doubles, shared by name between the two. */
#ifndef KILN_TESTS_GRADIENT_H
#define KILN_TESTS_GRADIENT_H
#include "gen/cli/evaluate.h"
#include "gen/cli/random.h"
#include "gen/kiln_gen.h"

enum { GRADIENT_TENSORS = 3 * DEF_MAX_TENSORS, GRADIENT_DIMS = 3 * DEF_MAX_DIMS };

typedef struct GradientTensor { /* of either definition */
  char name[48];
  double *value;
  size_t elems;
} GradientTensor;

typedef struct Gradient {
  KilnGen *forward_gen, *backward_gen; /* a definition lives until the next call on its session */
  const KilnDef *forward, *backward;
  DefNode *forward_node, *backward_node; /* the nodes without roundings */
  GradientTensor tensor[GRADIENT_TENSORS];
  int ntensors;
  struct { char name[48]; int64_t size; } dim[GRADIENT_DIMS];
  int ndims;
  const char *scalar; /* one that does not have its default: its name and value; NULL: none */
  double scalar_value;
  Random random;
  char why[256];
} Gradient;

/* settings: "w=no rstd=no" of the gradient op; of the op itself those that it has, with every optional output there. script: "rms_norm"
 * or "path.lua:NAME". false: why says it; "refused" where these settings ask for no gradient. */
bool gradient_open(Gradient *g, const char *lua_dir, const char *op, const char *settings, uint64_t seed);
void gradient_close(Gradient *g);
/* The settings that the gradient op offers, "dtype=.. w=yes|no ..", in a static buffer. */
const char *gradient_settings(const char *lua_dir, const char *op);

/* Runs the op, then the gradient on fresh inputs. false: why. */
bool gradient_run(Gradient *g);
GradientTensor *gradient_find(Gradient *g, const char *name);
/* The sum of dY * Y over all outputs, the op run anew on its inputs as they stand. */
double gradient_loss(Gradient *g);
/* A definition as text, a node a line, for a reader. */
void gradient_print(const KilnDef *def);
/* Reductions over columns that outputs need; levels: how many stand one above the other. */
int gradient_row_sums(const KilnDef *def, int *levels);
bool gradient_reads(const KilnDef *def, const char *tensor);
#endif
