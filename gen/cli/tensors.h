/* tensors.h - the tensors of one case: views with strides of their own in host and device buffers, filled, guarded, compared. */
#ifndef KILN_CLI_TENSORS_H
#define KILN_CLI_TENSORS_H
#include "cases.h"
#include "compare.h"
#include "device.h"
#include "evaluate.h"
#include "random.h"

#define TENSOR_MAX_RANK (DEF_MAX_DIMS + OPTIONS_MAX_LEADS)

typedef struct CaseTensor CaseTensor;
struct CaseTensor {
  const DefTensor *def;
  int index;                        /* in the definition */
  int rank;                         /* as the caller sees it: leading dims apart */
  int64_t shape[TENSOR_MAX_RANK], stride[TENSOR_MAX_RANK];
  int of[TENSOR_MAX_RANK];          /* the dim of the definition that each one is, or is part of */
  int64_t *offset[DEF_MAX_DIMS];    /* by dim of the definition: where its i-th index lies, in elements after `first` */
  int64_t elems, first;             /* of the buffer, and where in it the view begins */
  const CaseTensor *over;           /* the input whose memory it takes; NULL: it has its own */
  bool overwritten;                 /* an input whose memory an output takes */
  char *host;                       /* what was uploaded: an input as it was before the launch */
  void *device;
  kiln_tensor view;
};

typedef struct CaseData {
  const KilnDef *def;
  const Case *c;
  CaseTensor tensor[DEF_MAX_TENSORS];
  int ntensors;                     /* the present ones, in order of the definition */
  double scalar[8];
} CaseData;

/* What contracts say of a tensor's form, by tensor of the definition. */
typedef struct Majors {
  uint8_t from_end[DEF_MAX_TENSORS]; /* which dim is contiguous: its index from the end (1: the last); 0: not said */
  bool may_lack[DEF_MAX_TENSORS];    /* the first dim may be missing where its size is 1; every second case leaves it out */
  bool may_be_one[DEF_MAX_TENSORS];  /* the first dim may have size 1 and is repeated then; strided cases do it to odd tensors */
} Majors;

/* Lays the tensors out in host memory, everything poisoned. guard: elements before and after each view that must stay as
 * they are (a simulated device watches the ends of an allocation itself and takes none). */
void tensors_make(CaseData *d, const KilnDef *def, const Case *c, const Majors *majors, bool guard);
/* The same, but memory for some of the definition's tensors (a mask) only. */
void tensors_make_these(CaseData *d, const KilnDef *def, const Case *c, const Majors *majors, bool guard, uint32_t tensors);
/* Shapes and strides only, without memory: for asking what would be chosen. */
void tensors_shape(CaseData *d, const KilnDef *def, const Case *c, const Majors *majors);
void tensors_fill(CaseData *d, Random *r);                  /* inputs; every element of every view */
void tensors_fill_fast(CaseData *d, Random *r);             /* the same numbers over and over: for measuring */
bool tensors_upload(CaseData *d, const Device *dev);        /* allocates; false after a message */
bool tensors_restore(CaseData *d, const Device *dev);       /* everything on the device as it was before the launch */
void tensors_free(CaseData *d, const Device *dev);
/* The same tensors for another device: host memory is shared and must outlive them, device memory is their own. */
void tensors_share(CaseData *to, const CaseData *from);
void tensors_unshare(CaseData *d, const Device *dev);       /* frees what is its own */

/* Arguments of a plan: tensors, scalars, then settings that the caller names. Returns their number. */
int tensors_args(const CaseData *d, const kiln_gen_pair *options, int noptions, kiln_arg *args, int room);
/* What the evaluator reads of it: every index of every dim. */
void tensors_eval_input(const CaseData *d, EvalInput *in);
/* Device pointers in the plan's order. */
void tensors_pointers(const CaseData *d, const kiln_plan *plan, int n, void **pointers);
/* Scalars that come with each launch, in the plan's order. */
void tensors_scalars(const CaseData *d, const kiln_plan *plan, int n, kiln_scalar *scalars);
/* Gives them other values, integers by `step` (not below 0), for a second launch of the same plan. false: nothing has changed. */
bool tensors_move_scalars(CaseData *d, int step);

typedef struct CaseVerdict {
  bool passed;
  double error, bound;  /* of the element nearest to its bound, or farthest beyond it */
  double ratio;         /* error / bound of that element */
  int64_t compared;
  bool sampled;         /* not every element was compared with the evaluator */
  char text[640];       /* what is wrong; "" if nothing is */
} CaseVerdict;

/* Downloads the outputs and compares: values, what lies around the views, that every element was written, that inputs are as
 * they were, and that a perturbed twin is refused. work: evaluator's steps to spend. false: the device failed (verdict text). */
bool tensors_compare(CaseData *d, const Device *dev, Random *r, double work, CaseVerdict *v);
#endif
