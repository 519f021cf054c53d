/* evaluate.h - evaluates an op's definition (KilnDef) naively in double, with a bound on what a kernel may differ.
 *
 * Shares nothing with lowering but the definition itself. Beside each value v it carries an error e >= 0: how far a kernel that
 * computes in f32 may be from v, by running error analysis (docs/exactness.md).
 *
 * Big shapes: a dim that nothing reduces may be evaluated at chosen indices only (evaluate_samplable). The walk goes in chunks
 * along one dim: results are handed out chunk by chunk, and sums over that dim grow from chunk to chunk, so that nothing of the
 * size of a tensor is ever held. Outputs that differ in what they reduce are evaluated apart (evaluate_groups). */
#ifndef KILN_CLI_EVALUATE_H
#define KILN_CLI_EVALUATE_H
#include "../define.h"

/* A tensor as the evaluator reads it: element (i, j, ..) of its dims lies offset[d0][i] + offset[d1][j] + .. elements after data. */
typedef struct EvalTensor {
  kiln_dtype dtype;
  const void *data;
  const int64_t *offset[DEF_MAX_DIMS]; /* by dim of the definition, one entry per evaluated index; NULL: does not have it */
} EvalTensor;

typedef struct EvalInput {
  const KilnDef *def;
  uint32_t outputs;            /* mask of tensors: the outputs to evaluate; 0: all present ones */
  int64_t size[DEF_MAX_DIMS];  /* of each dim */
  int64_t count[DEF_MAX_DIMS]; /* indices of it that are evaluated: size, or fewer where it is sampled */
  const int64_t *index[DEF_MAX_DIMS]; /* which ones these are; NULL: 0, 1, 2 .. */
  EvalTensor tensor[DEF_MAX_TENSORS]; /* the present inputs; outputs are not read */
  double scalar[8];
  /* For asking what a result is made of (its terms, which may cancel): each element of a floating input is multiplied by 1 + nudge * r, r in
   * [-1, 1) by seed, tensor and place. So elements that share memory are moved each by itself. smooth: nothing is rounded to a dtype or
   * to whole numbers, so that a small nudge has a small effect. */
  double nudge;
  uint64_t nudge_seed;
  bool smooth;
} EvalInput;

/* Part of one output: values in the order of ascending dims, every dim of the tensor present. */
typedef struct EvalChunk {
  int tensor;
  uint32_t dims;
  int64_t start[DEF_MAX_DIMS], count[DEF_MAX_DIMS]; /* evaluated indices, by dim of the definition */
  const double *value, *error;
} EvalChunk;

typedef void (*EvalSink)(void *user, const EvalChunk *chunk);

/* Masks of outputs that are best evaluated together: they reduce the same dims and keep the same others. Returns their number. */
int evaluate_groups(const KilnDef *def, uint32_t group[DEF_MAX_TENSORS]);
/* Dims (a mask) of which indices may be left out: nothing that these outputs (a mask; 0: all) need reads across them. */
uint32_t evaluate_samplable(const KilnDef *def, uint32_t outputs);
/* Elementary steps that evaluating these counts takes, for choosing how much to sample. */
double evaluate_work(const KilnDef *def, uint32_t outputs, const int64_t count[DEF_MAX_DIMS]);
/* What element `place` (counted in the order of ascending dims) of an input is multiplied by. */
double evaluate_nudge(const EvalInput *in, int tensor, int64_t place);
/* false: the definition is not one, or memory ran out; why says it. */
bool evaluate(const EvalInput *in, EvalSink sink, void *user, char *why, size_t why_bytes);

/* ---- between the evaluator's files ---- */
typedef struct EvalValue {
  double *v, *e;      /* e NULL: exact */
  double *q;          /* sums: of the terms' squares */
  size_t elems;       /* room of each */
  uint32_t dims;      /* mask of dims; laid out in ascending order, the last one contiguous */
} EvalValue;

typedef struct EvalShape { /* of the running chunk */
  int64_t extent[DEF_MAX_DIMS]; /* evaluated indices, by dim */
  int64_t start[DEF_MAX_DIMS];  /* the first of them */
} EvalShape;

int64_t eval_stride(uint32_t dims, const EvalShape *s, int d); /* of dim d in an array over dims; 0: it does not have it */
int64_t eval_elems(uint32_t dims, const EvalShape *s);
enum { EVAL_EXACT = 1, EVAL_ERROR = 2, EVAL_SQUARES = 3 };     /* arrays of a value: v; and e; and q */
bool eval_room(EvalValue *x, int arrays, size_t elems);        /* grows them to elems */
void eval_release(EvalValue *x);
bool eval_is_integer(uint8_t dtype);

bool eval_undecided_product(double a, double ea, double b, double eb); /* an infinity and what f32 may make 0, say */
bool eval_elementwise(const DefNode *n, const EvalValue *const arg[3], EvalValue *out, const EvalShape *s);
/* A reduction: start, then add as often as its dim has chunks, then end with the number of terms. */
bool eval_reduce_start(const DefNode *n, EvalValue *out, const EvalShape *s);
void eval_reduce_add(const DefNode *n, const EvalValue *a, EvalValue *out, const EvalShape *s);
void eval_reduce_end(const DefNode *n, EvalValue *out, const EvalShape *s, int64_t terms);
bool eval_dot(const DefNode *n, const EvalValue *a, const EvalValue *b, EvalValue *out, const EvalShape *s);
/* What goes by position: index, swap_pairs, swap_halves, lookup. */
bool eval_position(const EvalInput *in, const DefNode *n, const EvalValue *const arg[3], EvalValue *out, const EvalShape *s);

#define EVAL_U 0x1p-24 /* unit roundoff of f32, in which kernels accumulate */
#endif
