/* problem_run.c - the evaluator and the kernel on a problem, and their comparison with the references; see problem.h. */
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
#include "problem.h"
#include "problem_impl.h"

/* ---- the evaluator ---- */

/* A chunk's values lie by ascending dims of the definition, ours by the tensor's own. */
static void take_chunk(void *user, const EvalChunk *chunk) {
  Problem *p = user;
  ProblemTensor *t = &p->tensor[chunk->tensor];
  size_t step[DEF_MAX_DIMS] = {0}, stride = 1;
  int64_t at[DEF_MAX_DIMS] = {0}, total = 1;
  for (int k = t->def->rank - 1; k >= 0; k--) {
    step[t->def->dim[k]] = stride;
    stride *= (size_t)p->size[t->def->dim[k]];
    total *= chunk->count[t->def->dim[k]];
  }
  for (int64_t i = 0; i < total; i++) {
    size_t place = 0;
    for (int d = 0; d < DEF_MAX_DIMS; d++) place += step[d] * (size_t)(chunk->start[d] + at[d]);
    t->value[place] = chunk->value[i];
    t->bound[place] = chunk->error[i];
    for (int d = DEF_MAX_DIMS - 1; d >= 0; d--) {
      if (step[d] == 0) continue;
      if (++at[d] < chunk->count[d]) break;
      at[d] = 0;
    }
  }
}

void problem_evaluate(Problem *p) {
  char why[256] = "";
  EvalInput in = {.def = p->def};
  memcpy(in.size, p->size, sizeof in.size);
  memcpy(in.count, p->size, sizeof in.count);
  memcpy(in.scalar, p->scalar, sizeof in.scalar);
  for (int i = 0; i < p->def->ntensors; i++) {
    ProblemTensor *t = &p->tensor[i];
    for (size_t k = 0; t->host && t->def->is_out && k < t->elems; k++) t->value[k] = t->bound[k] = NAN;
    if (!t->host || t->def->is_out) continue;
    EvalTensor *e = &in.tensor[i];
    *e = (EvalTensor){.dtype = t->def->dtype, .data = t->host + t->first * problem_bytes(t->def->dtype)};
    for (int d = 0; d < p->def->ndims; d++) e->offset[d] = t->offset[d];
  }
  if (!evaluate(&in, take_chunk, p, why, sizeof why)) fail_msg("%s", why);
}

/* ---- comparing ---- */

typedef struct Comparison {
  const Problem *p;
  const ProblemTensor *t;
  double most, middle; /* largest and root mean square of the reference */
} Comparison;

static Comparison compare_with(const Problem *p, const ProblemTensor *t) {
  Comparison c = {p, t, 0, 0};
  for (size_t i = 0; i < t->elems; i++) {
    c.most = fmax(c.most, fabs(t->reference[i]));
    c.middle += t->reference[i] * t->reference[i] / (double)t->elems;
  }
  c.middle = sqrt(c.middle);
  return c;
}

/* The evaluator may differ from the reference by double's own rounding. Where terms cancel, that rounding is large beside the
 * result: the kernel's bound knows by how much, for f32, whose unit is 2^29 of double's. */
static bool evaluated_well(const Comparison *c, size_t i, double got) {
  double want = c->t->reference[i];
  return fabs(got - want) <= 1e-11 * (fabs(want) + c->most) + 0x1p-26 * c->t->bound[i];
}

/* A kernel may differ by rounding its result, once more where it reads back what it has rounded (the sum of two numbers in f32
 * may round the other way than the exact one), and by f32 arithmetic in between, of which the evaluator's bound knows. */
static bool computed_well(const Comparison *c, size_t i, double got) {
  double want = c->t->reference[i], unit = problem_unit(c->t->def->dtype);
  return fabs(got - want) <= 2 * unit * fabs(want) + (1 + unit) * c->t->bound[i] + 0x1p-25;
}

typedef bool (*Judge)(const Comparison *c, size_t i, double got);

/* All elements. Of some, each changed by an eighth of itself (or of the tensor's size; or by 1, where a few elements may all be what
 * is left of terms that cancel), every one must be refused, or, where bounds may rightly be wide in a row of nearly equal
 * elements, at least one. */
static void assert_output(const Comparison *c, Judge well, const double *got, bool every) {
  const ProblemTensor *t = c->t;
  const ProblemSpec *s = &c->p->spec;
  size_t step = t->elems / 16 + 1, tried = 0, refused = 0;
  double middle = t->elems < 16 ? fmax(c->middle, 8) : c->middle;
  for (size_t i = 0; i < t->elems; i++)
    if (!well(c, i, got[i]))
      fail_msg("%s %s at %s, %s: %s[%zu] is %.12g, by hand %.12g", s->op, s->settings, s->sizes, s->scalars, t->def->name, i, got[i],
               t->reference[i]);
  for (size_t i = 0; i < t->elems; i += step, tried++) {
    double change = fmax(fmax(fabs(t->reference[i]), middle), 1e-5) / 8;
    refused += !well(c, i, got[i] + change) || !well(c, i, got[i] - change);
  }
  if (every ? refused < tried : tried > 0 && refused == 0)
    fail_msg("%s %s at %s: %s: only %zu of %zu changed elements were refused", s->op, s->settings, s->sizes, t->def->name, refused, tried);
}

size_t problem_assert_evaluated(const Problem *p) {
  size_t compared = 0;
  for (int i = 0; i < p->def->ntensors; i++) {
    const ProblemTensor *t = &p->tensor[i];
    if (!t->host || !t->def->is_out) continue;
    Comparison c = compare_with(p, t);
    assert_output(&c, evaluated_well, t->value, true);
    compared += t->elems;
  }
  assert_true(compared > 0);
  return compared;
}

/* ---- the kernel ---- */

enum { SCHEDULE_PAIRS = 128 }; /* of all stages of a chain */
#define KERNEL_ARGS (DEF_MAX_TENSORS + 8 + PROBLEM_PAIRS)

typedef struct Kernel {
  kiln_device *dev;
  kiln_plan *plan;
  kiln_plan_info info;
  void *memory[DEF_MAX_TENSORS], *workspace;
  kiln_tensor view[DEF_MAX_TENSORS];
  kiln_arg arg[KERNEL_ARGS];
  int nargs;
} Kernel;

static void expect_ok(const Problem *p, kiln_status status, const char *what) {
  if (status != KILN_OK) fail_msg("%s %s at %s: %s: %s", p->spec.op, p->spec.settings, p->spec.sizes, what, kiln_error());
}

/* Every variant that is offered, so that the runtime has its choice. The definition is traced again afterwards: it is gone with the
 * next call of the generator. */
static void add_variants(Problem *p, Kernel *k, const char *target) {
  kiln_gen_pair set[PROBLEM_PAIRS];
  for (int i = 0; i < p->nsettings; i++) set[i] = (kiln_gen_pair){p->setting[i].key, p->setting[i].text};
  kiln_gen_request request = {.op = p->spec.op, .target = target, .set = set, .nset = p->nsettings};
  const char *const *list, *text, *name;
  char *schedule[64];
  int n = 0, room = (int)(sizeof schedule / sizeof schedule[0]);
  size_t bytes;
  if (kiln_gen_schedules(p->gen, &request, &list, &n) != KILN_GEN_OK) fail_msg("%s: %s", p->spec.op, kiln_gen_message(p->gen));
  if (n > room) n = room;
  for (int i = 0; i < n; i++) schedule[i] = strdup(list[i]);
  for (int i = 0; i < n; i++) {
    kiln_gen_pair pair[SCHEDULE_PAIRS];
    int npairs = 0;
    for (char *word = strtok(schedule[i], " "); word; word = strtok(NULL, " ")) {
      char *equal = strchr(word, '=');
      assert_true(equal && npairs < SCHEDULE_PAIRS);
      *equal = 0;
      pair[npairs++] = (kiln_gen_pair){word, equal + 1};
    }
    request.schedule = pair;
    request.nschedule = npairs;
    if (kiln_gen_emit(p->gen, &request, &text, &bytes, &name) != KILN_GEN_OK) fail_msg("%s: %s", p->spec.op, kiln_gen_message(p->gen));
    expect_ok(p, kiln_add_text(k->dev, name, text, bytes), name);
    free(schedule[i]);
  }
  request.schedule = NULL;
  request.nschedule = 0;
  request.target = "sm_80";
  if (kiln_gen_define(p->gen, &request, &p->def) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(p->gen));
  for (int t = 0; t < p->def->ntensors; t++) p->tensor[t].def = &p->def->tensor[t];
}

/* Whether a tensor is there shows by itself; other settings are texts. */
static bool names_tensor(const Problem *p, const char *key) {
  for (int t = 0; t < p->def->ntensors; t++)
    if (strcmp(p->def->tensor[t].name, key) == 0) return true;
  return false;
}

static void bring_arguments(Problem *p, Kernel *k) {
  for (int i = 0; i < p->def->ntensors; i++) {
    ProblemTensor *t = &p->tensor[i];
    if (!t->host) continue;
    size_t bytes = problem_bytes(t->def->dtype);
    if (t->def->is_out) memset(t->host, 0xA5, t->room * bytes);
    expect_ok(p, kiln_malloc(k->dev, &k->memory[i], t->room * bytes), "memory");
    expect_ok(p, kiln_upload(k->dev, k->memory[i], t->host, t->room * bytes), "upload");
    k->view[i] = (kiln_tensor){(char *)k->memory[i] + t->first * bytes, t->def->dtype, t->rank, t->shape, t->stride};
    k->arg[k->nargs++] = (kiln_arg){.name = t->def->name, .tensor = &k->view[i]};
  }
  for (int s = 0; s < p->def->nscalars; s++)
    if (!p->def->scalar[s].at_call) k->arg[k->nargs++] = (kiln_arg){.name = p->def->scalar[s].name, .scalar = p->scalar[s]};
  for (int i = 0; i < p->nsettings; i++)
    if (!names_tensor(p, p->setting[i].key)) k->arg[k->nargs++] = (kiln_arg){.name = p->setting[i].key, .text = p->setting[i].text};
}

static void launch(Problem *p, Kernel *k) {
  kiln_scalar scalars[8] = {{0}};
  expect_ok(p, kiln_plan_create(&k->plan, k->dev, p->def->op, k->arg, k->nargs), "plan");
  expect_ok(p, kiln_plan_query(k->plan, &k->info), "plan");
  for (int i = 0; i < k->info.nscalars; i++)
    for (int s = 0; s < p->def->nscalars; s++) {
      if (strcmp(kiln_plan_scalar_name(k->plan, i), p->def->scalar[s].name) != 0) continue;
      kiln_dtype dtype = kiln_plan_scalar_dtype(k->plan, i);
      if (dtype == KILN_F32 || dtype == KILN_F64) scalars[i].f = p->scalar[s];
      else scalars[i].i = (int64_t)p->scalar[s];
    }
  if (k->info.workspace_bytes) expect_ok(p, kiln_malloc(k->dev, &k->workspace, k->info.workspace_bytes), "workspace");
  expect_ok(p, kiln_launch(k->plan, &(kiln_call){.scalars = scalars, .workspace = k->workspace}, NULL), k->info.variant);
  expect_ok(p, kiln_sync(k->dev), k->info.variant);
}

static void read_output(const Problem *p, Kernel *k, int i, double *got) {
  const ProblemTensor *t = &p->tensor[i];
  size_t bytes = problem_bytes(t->def->dtype);
  expect_ok(p, kiln_download(k->dev, t->host, k->memory[i], t->room * bytes), "download");
  for (size_t e = 0; e < t->elems; e++) got[e] = problem_read(t->def->dtype, t->host + problem_place(p, t, e) * bytes);
}

void problem_assert_kernel(Problem *p, const char *where) {
  Kernel *k = calloc(1, sizeof *k);
  char target[16] = "";
  problem_evaluate(p);
  sscanf(where, "sim:%15[a-z0-9_]", target);
  expect_ok(p, kiln_open(&k->dev, where), where);
  add_variants(p, k, target);
  bring_arguments(p, k);
  launch(p, k);
  for (int i = 0; i < p->def->ntensors; i++) {
    const ProblemTensor *t = &p->tensor[i];
    if (!t->host || !t->def->is_out) continue;
    double *got = calloc(t->elems + 1, sizeof *got);
    read_output(p, k, i, got);
    Comparison c = compare_with(p, t);
    assert_output(&c, computed_well, got, false);
    free(got);
  }
  for (int i = 0; i < DEF_MAX_TENSORS; i++)
    if (k->memory[i]) kiln_free(k->dev, k->memory[i]);
  if (k->workspace) kiln_free(k->dev, k->workspace);
  kiln_plan_destroy(k->plan);
  kiln_close(k->dev);
  free(k);
}
