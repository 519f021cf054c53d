/* problem.h - an op under some settings at some sizes, with inputs drawn, for comparing what computes it: the references, the
 * evaluator on the traced definition, and a kernel through contract and runtime. Layouts, number formats and random numbers
 * are written here once more, apart from the command's. Everything fails the running test instead of returning an error. */
#ifndef KILN_TESTS_PROBLEM_H
#define KILN_TESTS_PROBLEM_H
#include "gen/kiln_gen.h"
#include "references.h"

#define PROBLEM_PAIRS 16
#define PROBLEM_RANK 12

/* How tensors lie: rows at multiples of 16 elements and outer dims exchanged; odd strides and bases; columns two apart; one row for
 * all (every second input, and what comes in for a gradient). */
typedef enum { LIE_DENSE, LIE_PADDED, LIE_ODD, LIE_COLUMNS, LIE_ONE_ROW, LIES } Lie;

typedef struct ProblemSpec {
  const char *op;        /* "rms_norm" */
  const char *settings;  /* "dtype=f16 w=no"; "": the defaults */
  const char *sizes;     /* "B=2 M=2x3 N=77": a dim that stands for several may be split */
  const char *scalars;   /* "eps=0.5 pos=3"; "": the defaults */
  Lie lie;
  double spread, offset; /* of random inputs; spread 0: 1. Tensors with rows only: weights lie around 0 */
} ProblemSpec;

typedef struct ProblemPair { char key[32], text[64]; } ProblemPair;

typedef struct ProblemTensor {
  const DefTensor *def;
  size_t elems;
  double *value;         /* dense, row-major by the tensor's own dims: inputs as stored; outputs by the evaluator */
  double *bound;         /* of outputs: the evaluator's bound for kernels */
  double *reference;     /* of outputs: by hand */
  int rank;              /* as callers see it */
  int64_t shape[PROBLEM_RANK], stride[PROBLEM_RANK];
  int of[PROBLEM_RANK];  /* dim of the definition */
  int64_t *offset[DEF_MAX_DIMS];
  size_t first, room;    /* of the buffer, in elements: where the view begins, and how many there are */
  char *host;
} ProblemTensor;

typedef struct Problem {
  KilnGen *gen;          /* its definition is alive: one generator serves one problem at a time */
  ProblemSpec spec;
  const KilnDef *def;
  ProblemPair setting[PROBLEM_PAIRS];
  int nsettings;
  int64_t size[DEF_MAX_DIMS], part[DEF_MAX_DIMS][4];
  int nparts[DEF_MAX_DIMS];
  double scalar[8];
  ProblemTensor tensor[DEF_MAX_TENSORS]; /* by tensor of the definition */
  const struct Problem *forward;         /* of a gradient: the problem that it is the gradient of */
} Problem;

/* Traces and draws. forward: NULL, or the forward problem with its references computed: what the gradient shares with it by name
 * is taken from there, outputs as they are stored. */
void problem_open(Problem *p, KilnGen *gen, const ProblemSpec *spec, const Problem *forward);
void problem_close(Problem *p);

/* ---- for the references ---- */
const double *problem_in(const Problem *p, const char *name);   /* of this problem, else of its forward; NULL: absent */
const double *problem_own(const Problem *p, const char *name);  /* of this problem alone; NULL: absent */
double *problem_out(Problem *p, const char *name);              /* where to put the reference's result; NULL: no such tensor */
size_t problem_size(const Problem *p, const char *dim);         /* of this problem, else of its forward, else 1 */
double problem_scalar(const Problem *p, const char *name);      /* of this problem, else of its forward */
const char *problem_setting(const Problem *p, const char *key, const char *deflt);
bool problem_has_dim(const Problem *p, const char *tensor, const char *dim);
bool problem_has_bytes(const Problem *p);                       /* are there tensors of e4m3 or e5m2, or values? */
kiln_dtype problem_dtype(const Problem *p, const char *tensor); /* of this problem, else of its forward */
double problem_round(kiln_dtype dtype, double x);               /* to the nearest value of the dtype */

/* Hand-written forward and backward of the op, out of the table in problem_ops.c. */
void problem_refer(Problem *p);

/* ---- comparing ---- */
void problem_evaluate(Problem *p);
/* Every output of the evaluator against the reference, within double's own rounding. Returns the elements compared. */
size_t problem_assert_evaluated(const Problem *p);
/* Runs the op's kernel on a device of that name ("sim:sm_80") and compares every output with the reference,
 * within the bound that the evaluator gives. */
void problem_assert_kernel(Problem *p, const char *where);
#endif
