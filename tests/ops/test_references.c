/* The shipped ops three ways: the hand-written references, the evaluator on the traced definition, and the kernel on the
 * simulator through contract and runtime. Each pair must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/cli/evaluate.h"
#include "gen/cli/random.h"
#include "gen/cli/variants.h"
#include "gen/kiln_gen.h"
#include "references.h"

typedef struct Op { /* an op under some settings, its tensors as dense doubles beside those of the case */
  KilnGen *gen;
  const KilnDef *def;
  Case c;
  CaseData d;
  double *dense[DEF_MAX_TENSORS]; /* inputs as drawn; outputs by the evaluator */
  double *bound[DEF_MAX_TENSORS];
} Op;

static size_t elems_of(const Op *op, int t) {
  size_t n = 1;
  for (int i = 0; i < op->def->tensor[t].rank; i++) n *= (size_t)op->c.size[op->def->tensor[t].dim[i]];
  return n;
}

static int tensor_named(const Op *op, const char *name) {
  for (int t = 0; t < op->def->ntensors; t++)
    if (strcmp(op->def->tensor[t].name, name) == 0) return op->def->tensor[t].present ? t : -1;
  return -1;
}

static int64_t size_named(const Op *op, const char *name) {
  for (int d = 0; d < op->def->ndims; d++)
    if (strcmp(op->def->dims[d], name) == 0) return op->c.size[d];
  fail_msg("no dim %s", name);
  return 0;
}

static const double *input(const Op *op, const char *name) {
  int t = tensor_named(op, name);
  return t < 0 ? NULL : op->dense[t];
}

/* Element i of a dense tensor, in the case's own layout. */
static size_t place(const Op *op, const CaseTensor *t, size_t i) {
  size_t at = (size_t)t->first;
  for (int k = t->def->rank - 1; k >= 0; k--) {
    size_t size = (size_t)op->c.size[t->def->dim[k]];
    at += (size_t)t->offset[t->def->dim[k]][i % size];
    i /= size;
  }
  return at;
}

static double read_element(kiln_dtype dtype, const char *at) { /* bf16, f16 and f32, written here once more */
  uint32_t w = 0;
  float f;
  if (dtype == KILN_F32) return memcpy(&f, at, 4), f;
  memcpy(&w, at, 2);
  if (dtype == KILN_BF16) return w <<= 16, memcpy(&f, &w, 4), f;
  assert_int_equal(dtype, KILN_F16);
  double fraction = w & 0x3FF, sign = w & 0x8000 ? -1 : 1;
  int exponent = (int)(w >> 10 & 31);
  return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static size_t bytes_of(kiln_dtype dtype) { return dtype == KILN_F32 ? 4 : 2; }

static void take_chunk(void *user, const EvalChunk *chunk) {
  Op *op = user;
  const DefTensor *t = &op->def->tensor[chunk->tensor];
  size_t n = 1;
  for (int k = 0; k < t->rank; k++) n *= (size_t)chunk->count[t->dim[k]];
  for (size_t i = 0; i < n; i++) {
    size_t rest = i, at = 0, step = 1;
    for (int k = t->rank - 1; k >= 0; k--) { /* dims of the shipped ops' outputs are in ascending order */
      int d = t->dim[k];
      at += (rest % (size_t)chunk->count[d] + (size_t)chunk->start[d]) * step;
      rest /= (size_t)chunk->count[d];
      step *= (size_t)op->c.size[d];
    }
    op->dense[chunk->tensor][at] = chunk->value[i];
    op->bound[chunk->tensor][at] = chunk->error[i];
  }
}

/* Traces, draws inputs, evaluates. settings: "k=v k=v" or "". sizes: as --size. */
static void open_op(Op *op, KilnGen *gen, const char *name, const char *settings, const char *sizes) {
  static Options o;
  char message[256] = "";
  Random r;
  memset(op, 0, sizeof *op);
  memset(&o, 0, sizeof o);
  op->gen = gen;
  if (*settings) assert_true(options_pairs(&o, "set", settings, o.set, &o.nset, message, sizeof message));
  kiln_gen_request request = {.op = name, .target = "sm_80", .set = o.set, .nset = o.nset};
  assert_int_equal(kiln_gen_define(gen, &request, &op->def), KILN_GEN_OK);
  assert_true(options_sizes(&o, sizes, message, sizeof message));
  CaseList list = {0};
  assert_true(cases_sizes(&list, op->def, &o, message, sizeof message));
  op->c = list.at[0];
  op->c.layout = LAYOUT_STRIDED;
  op->c.other_scalars = true;
  cases_free(&list);
  random_start(&r, random_entropy());
  Majors majors = {.from_end = {0}};
  tensors_make(&op->d, op->def, &op->c, &majors, true);
  tensors_fill(&op->d, &r);
  EvalInput in = {.def = op->def};
  memcpy(in.size, op->c.size, sizeof in.size);
  memcpy(in.count, op->c.size, sizeof in.count);
  memcpy(in.scalar, op->d.scalar, sizeof in.scalar);
  for (int k = 0; k < op->d.ntensors; k++) {
    const CaseTensor *t = &op->d.tensor[k];
    size_t n = elems_of(op, t->index), bytes = bytes_of(t->def->dtype);
    op->dense[t->index] = malloc((n + 1) * sizeof(double));
    op->bound[t->index] = malloc((n + 1) * sizeof(double));
    for (size_t i = 0; i < n && !t->def->is_out; i++)
      op->dense[t->index][i] = read_element(t->def->dtype, t->host + place(op, t, i) * bytes);
    EvalTensor *e = &in.tensor[t->index];
    *e = (EvalTensor){.dtype = t->def->dtype, .data = t->host + (size_t)t->first * bytes};
    for (int d = 0; d < op->def->ndims; d++) e->offset[d] = t->offset[d];
  }
  if (!evaluate(&in, take_chunk, op, message, sizeof message)) fail_msg("%s", message);
}

static void close_op(Op *op) {
  Device none = {0};
  tensors_free(&op->d, &none);
  for (int i = 0; i < DEF_MAX_TENSORS; i++) {
    free(op->dense[i]);
    free(op->bound[i]);
  }
}

/* The evaluator may differ from the reference by double's own rounding (and by scalars being f32). Where terms cancel (gelu
 * far below 0 is x times 1 - 1), that rounding is large beside the result: the kernel's bound knows by how much, for f32,
 * whose unit is 2^29 of double's. */
static void assert_agree(const Op *op, const char *name, const double *reference) {
  int t = tensor_named(op, name);
  assert_true(t >= 0);
  double size = 0;
  for (size_t i = 0; i < elems_of(op, t); i++) size = fmax(size, fabs(reference[i]));
  for (size_t i = 0; i < elems_of(op, t); i++) {
    double difference = fabs(op->dense[t][i] - reference[i]);
    if (!(difference <= 1e-11 * (fabs(reference[i]) + size) + 0x1p-26 * op->bound[t][i]))
      fail_msg("%s[%zu]: %.17g, reference %.17g", name, i, op->dense[t][i], reference[i]);
  }
}

static void rms_norm_agrees(void **state) {
  KilnGen *gen = *state;
  static const char *const settings[] = {"", "dtype=f16", "dtype=f32 w=no", "rstd=yes", "dtype=f16 w_dtype=f32 rstd=yes"};
  static const char *const sizes[] = {"M=1,N=1", "M=2x3,N=77", "M=9,N=1024", "M=3,N=5000"};
  for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++)
    for (size_t z = 0; z < sizeof sizes / sizeof sizes[0]; z++) {
      Op op;
      open_op(&op, gen, "rms_norm", settings[s], sizes[z]);
      size_t m = (size_t)size_named(&op, "M"), n = (size_t)size_named(&op, "N");
      double *y = malloc(m * n * sizeof *y), *rstd = malloc(m * sizeof *rstd);
      RefNorm norm = {.samples = 1, .rows = m, .n = n, .x = input(&op, "x"), .w = input(&op, "w"), .eps = op.d.scalar[0]};
      ref_rms_norm(&norm, y, rstd);
      assert_agree(&op, "y", y);
      if (tensor_named(&op, "rstd") >= 0) assert_agree(&op, "rstd", rstd);
      free(y);
      free(rstd);
      close_op(&op);
    }
}

static void gemm_agrees(void **state) {
  KilnGen *gen = *state;
  static const char *const acts[] = {"none", "relu", "gelu", "gelu_tanh", "silu"};
  static const char *const settings[] = {"act=%s", "act=%s dtype=f16 c=yes", "act=%s bias=yes c=yes d_dtype=f32",
                                         "act=%s a_major=m b_major=n bias=yes"};
  static const char *const sizes[] = {"B=1,M=1,N=1,K=1", "B=2,M=33,N=17,K=70", "B=1,M=5,N=7,K=0", "B=1,M=40,N=64,K=300"};
  for (size_t a = 0; a < 5; a++)
    for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
      char text[128];
      Op op;
      snprintf(text, sizeof text, settings[s], acts[a]);
      open_op(&op, gen, "gemm", text, sizes[(a + s) % 4]);
      RefGemm g = {(size_t)size_named(&op, "B"),
                   (size_t)size_named(&op, "M"),
                   (size_t)size_named(&op, "N"),
                   (size_t)size_named(&op, "K"),
                   input(&op, "a"),
                   input(&op, "b"),
                   input(&op, "c"),
                   input(&op, "bias"),
                   op.d.scalar[0],
                   op.d.scalar[1],
                   acts[a]};
      double *d = malloc(g.batch * g.m * g.n * sizeof *d);
      ref_gemm(&g, d);
      assert_agree(&op, "d", d);
      free(d);
      close_op(&op);
    }
}

/* A kernel on the simulator against the reference, in a bound stated here: rounding of the result to bf16, and f32 sums. */
static void run_kernel(KilnGen *gen, const char *name, const char *sizes, Op *op, Group *group) {
  char why[512] = "";
  GroupRequest request = {.op = name, .where = "sim:sm_80,cores=1"};
  assert_int_equal(group_open(group, gen, &request, why, sizeof why), KILN_GEN_OK);
  open_op(op, gen, name, "", sizes);
  Random r; /* the tensors once more, with the contiguous dims that the contract asks for */
  random_start(&r, random_entropy());
  Device none = {0};
  tensors_free(&op->d, &none);
  tensors_make(&op->d, op->def, &op->c, &group->majors, false);
  tensors_fill(&op->d, &r);
  for (int k = 0; k < op->d.ntensors; k++) {
    const CaseTensor *t = &op->d.tensor[k];
    for (size_t i = 0; i < elems_of(op, t->index) && !t->def->is_out; i++)
      op->dense[t->index][i] = read_element(t->def->dtype, t->host + place(op, t, i) * bytes_of(t->def->dtype));
  }
  kiln_plan *plan;
  assert_true(tensors_upload(&op->d, &group->device));
  assert_int_equal(group_plan(group, &op->d, NULL, &plan), KILN_OK);
  assert_int_equal(group_launch(group, &op->d, plan), KILN_OK);
  kiln_plan_destroy(plan);
}

static void assert_kernel(Op *op, Group *group, const char *name, const double *reference, double size) {
  for (int k = 0; k < op->d.ntensors; k++) {
    CaseTensor *t = &op->d.tensor[k];
    if (strcmp(t->def->name, name) != 0) continue;
    size_t bytes = bytes_of(t->def->dtype);
    assert_int_equal(kiln_download(group->device.dev, t->host, t->device, (size_t)t->elems * bytes), KILN_OK);
    for (size_t i = 0; i < elems_of(op, t->index); i++) {
      double got = read_element(t->def->dtype, t->host + place(op, t, i) * bytes);
      if (!(fabs(got - reference[i]) <= fabs(reference[i]) / 250 + size))
        fail_msg("%s[%zu]: %g, reference %g", name, i, got, reference[i]);
    }
    return;
  }
  fail_msg("no tensor %s", name);
}

static void kernels_agree(void **state) {
  KilnGen *gen = *state;
  Op op;
  Group *group = calloc(1, sizeof *group);
  run_kernel(gen, "rms_norm", "M=2x3,N=1000", &op, group);
  double *y = malloc(6 * 1000 * sizeof *y);
  RefNorm norm = {.samples = 1, .rows = 6, .n = 1000, .x = input(&op, "x"), .w = input(&op, "w"), .eps = op.d.scalar[0]};
  ref_rms_norm(&norm, y, NULL);
  assert_kernel(&op, group, "y", y, 1e-6);
  tensors_free(&op.d, &group->device);
  close_op(&op);
  group_close(group);
  free(y);
  run_kernel(gen, "gemm", "B=2,M=70,N=72,K=136", &op, group);
  double *d = malloc(2 * 70 * 72 * sizeof *d);
  RefGemm g = {2, 70, 72, 136, input(&op, "a"), input(&op, "b"), NULL, NULL, op.d.scalar[0], 0, "none"};
  ref_gemm(&g, d);
  assert_kernel(&op, group, "d", d, 1e-4);
  tensors_free(&op.d, &group->device);
  close_op(&op);
  group_close(group);
  free(d);
  free(group);
}

static int open_generator(void **state) { return kiln_gen_open((KilnGen **)state, NULL) != KILN_GEN_OK; }
static int close_generator(void **state) {
  kiln_gen_close(*state);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rms_norm_agrees),
      cmocka_unit_test(gemm_agrees),
      cmocka_unit_test(kernels_agree),
  };
  return cmocka_run_group_tests(tests, open_generator, close_generator);
}
