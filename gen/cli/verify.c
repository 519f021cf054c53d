/* verify.c - what a launch left behind, against the evaluator: values, untouched surroundings, complete outputs, whole inputs.
 *
 * The evaluator sees the inputs as they were uploaded; the outputs come back into a buffer of their own. */
#include "number.h"
#include "tensors.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct Verify {
  CaseData *d;
  Random *r;
  CaseVerdict *verdict;
  uint32_t outputs;               /* mask: those that are evaluated together */
  int64_t *sample[DEF_MAX_DIMS];  /* evaluated indices of a dim; NULL: all of them */
  int64_t count[DEF_MAX_DIMS];
  char *result[DEF_MAX_TENSORS];  /* what came back, by tensor of the definition */
  Compare compare[DEF_MAX_TENSORS];
  const CaseTensor *of[DEF_MAX_TENSORS];
} Verify;

static void blame(CaseVerdict *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void blame(CaseVerdict *v, const char *fmt, ...) {
  size_t n = strlen(v->text);
  v->passed = false;
  if (n + 2 >= sizeof v->text) return;
  va_list args;
  va_start(args, fmt);
  if (n) v->text[n++] = '\n';
  vsnprintf(v->text + n, sizeof v->text - n, fmt, args);
  va_end(args);
}

/* ---- which indices ---- */

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

/* `n` of `size` indices, ascending and distinct: the ends, the sides of the borders of usual tiles, the rest at random. */
static int64_t *choose_sample(Random *r, int64_t size, int64_t n) {
  static const int64_t borders[] = {0, -1, 1, 63, 64, 127, 128, 255, 256, -2};
  int64_t *at = cli_alloc((size_t)n * sizeof *at), used = 0;
  for (int64_t i = 0; used < n; i++) {
    int64_t index = i < 10 ? borders[i] : (int64_t)random_below(r, (uint64_t)size);
    if (index < 0) index += size;
    bool known = index < 0 || index >= size;
    for (int64_t k = 0; !known && k < used; k++) known = at[k] == index;
    if (!known) at[used++] = index;
  }
  qsort(at, (size_t)n, sizeof *at, by_value);
  return at;
}

/* Halves the largest dim that may be sampled until the work fits; no dim goes below 32 indices. */
static void choose_counts(Verify *v, double work) {
  const KilnDef *def = v->d->def;
  uint32_t may = evaluate_samplable(def, v->outputs);
  for (int d = 0; d < def->ndims; d++) v->count[d] = v->d->c->size[d];
  while (evaluate_work(def, v->outputs, v->count) > work) {
    int largest = -1;
    for (int d = 0; d < def->ndims; d++)
      if (may >> d & 1 && v->count[d] > 32 && (largest < 0 || v->count[d] > v->count[largest])) largest = d;
    if (largest < 0) return;
    v->count[largest] = v->count[largest] / 2 < 32 ? 32 : v->count[largest] / 2;
  }
}

static void choose_samples(Verify *v, double work) {
  choose_counts(v, work);
  for (int d = 0; d < v->d->def->ndims; d++) {
    if (v->count[d] == v->d->c->size[d]) continue;
    if (v->count[d] > 2048) v->count[d] = 2048; /* choosing distinct ones takes the square */
    v->sample[d] = choose_sample(v->r, v->d->c->size[d], v->count[d]);
    v->verdict->sampled = true;
  }
}

/* ---- values ---- */

static int64_t true_index(const Verify *v, int d, int64_t i) { return v->sample[d] ? v->sample[d][i] : i; }

static void take_chunk(void *user, const EvalChunk *chunk) {
  Verify *v = user;
  const CaseTensor *t = v->of[chunk->tensor];
  kiln_dtype dtype = t->def->dtype;
  size_t bytes = number_bytes(dtype);
  int dim[DEF_MAX_DIMS], n = 0;
  int64_t at[DEF_MAX_DIMS] = {0}, total = 1;
  for (int d = 0; d < DEF_MAX_DIMS; d++)
    if (chunk->dims >> d & 1) {
      dim[n++] = d;
      total *= chunk->count[d];
    }
  for (int64_t i = 0; i < total; i++) {
    int64_t from = t->first, index = 0;
    for (int k = 0; k < n; k++) {
      int64_t place = chunk->start[dim[k]] + at[k];
      index = index * v->count[dim[k]] + place;
      from += t->offset[dim[k]][true_index(v, dim[k], place)];
    }
    double got = number_load(dtype, v->result[chunk->tensor] + (size_t)from * bytes);
    Compare *c = &v->compare[chunk->tensor];
    if (v->d->c->special && isinf(chunk->error[i])) compare_pass(c);
    else compare_add(c, index, got, chunk->value[i], chunk->error[i]);
    for (int k = n - 1; k >= 0 && ++at[k] == chunk->count[dim[k]]; k--) at[k] = 0;
  }
}

void tensors_eval_input(const CaseData *d, EvalInput *in) {
  memset(in, 0, sizeof *in);
  in->def = d->def;
  for (int i = 0; i < d->def->ndims; i++) in->size[i] = in->count[i] = d->c->size[i];
  memcpy(in->scalar, d->scalar, sizeof in->scalar);
  for (int k = 0; k < d->ntensors; k++) {
    const CaseTensor *t = &d->tensor[k];
    EvalTensor *e = &in->tensor[t->index];
    if (!t->host) continue;
    e->dtype = t->def->dtype;
    e->data = t->host + (size_t)t->first * number_bytes(t->def->dtype);
    for (int i = 0; i < d->def->ndims; i++) e->offset[i] = t->offset[i];
  }
}

/* How inputs are changed for it: not at all, or to see what a result is made of. */
typedef struct Change { bool smooth; double nudge; uint64_t seed; } Change;

static bool run_evaluator(const Verify *v, Change change, EvalSink sink, void *user, char *why, size_t why_bytes) {
  const CaseData *d = v->d;
  EvalInput in;
  int64_t *lists[DEF_MAX_TENSORS * DEF_MAX_DIMS];
  int nlists = 0;
  tensors_eval_input(d, &in);
  in.outputs = v->outputs;
  in.smooth = change.smooth;
  in.nudge = change.nudge;
  in.nudge_seed = change.seed;
  for (int i = 0; i < d->def->ndims; i++) {
    if (!v->sample[i]) continue;
    in.count[i] = v->count[i];
    in.index[i] = v->sample[i];
    for (int k = 0; k < d->ntensors; k++) {
      const CaseTensor *t = &d->tensor[k];
      if (!t->offset[i]) continue;
      int64_t *list = cli_alloc((size_t)v->count[i] * sizeof *list);
      for (int64_t j = 0; j < v->count[i]; j++) list[j] = t->offset[i][v->sample[i][j]];
      in.tensor[t->index].offset[i] = lists[nlists++] = list;
    }
  }
  bool done = evaluate(&in, sink, user, why, why_bytes);
  while (nlists > 0) cli_free(lists[--nlists]);
  return done;
}

/* The evaluated indices of element `index` of an output, as take_chunk numbers them. Returns the output's dims. */
static uint32_t find_place(const Verify *v, const CaseTensor *t, int64_t index, int64_t place[DEF_MAX_DIMS]) {
  uint32_t dims = 0;
  memset(place, 0, DEF_MAX_DIMS * sizeof *place);
  for (int i = 0; i < t->def->rank; i++) dims |= 1u << t->def->dim[i];
  for (int d = DEF_MAX_DIMS - 1; d >= 0; d--)
    if (dims >> d & 1) {
      place[d] = index % v->count[d];
      index /= v->count[d];
    }
  return dims;
}

static void write_place(const Verify *v, const CaseTensor *t, int64_t index, char *text, size_t bytes) {
  int64_t place[DEF_MAX_DIMS];
  find_place(v, t, index, place);
  size_t n = (size_t)snprintf(text, bytes, "%s[", t->def->name);
  for (int i = 0; i < t->def->rank && n < bytes; i++)
    n += (size_t)snprintf(text + n, bytes - n, "%s%lld", i ? "," : "", (long long)true_index(v, t->def->dim[i], place[t->def->dim[i]]));
  if (n < bytes) snprintf(text + n, bytes - n, "]");
}

/* ---- what an element is made of ---- */

/* Its terms may cancel: dx of a row of equal dy is 0, but for the rounding of a saved mean. Then neither its size nor the other
 * elements' says how well a kernel can know it. How much it moves where each element of the inputs moves by itself does. */
#define NUDGE 0x1p-20 /* double leaves 2^-33 of it, and squares of it show in nothing that an f32 kernel can do well */

typedef struct Element { int64_t place[DEF_MAX_DIMS]; double value; } Element;

static void take_element(void *user, const EvalChunk *chunk) {
  Element *e = user;
  int64_t at = 0;
  for (int d = 0; d < DEF_MAX_DIMS; d++) {
    if (!(chunk->dims >> d & 1)) continue;
    int64_t i = e->place[d] - chunk->start[d];
    if (i < 0 || i >= chunk->count[d]) return;
    at = at * chunk->count[d] + i;
  }
  e->value = chunk->value[at];
}

static double value_near(const Verify *v, Element *e, double nudge, uint64_t seed) {
  char why[256];
  e->value = NAN;
  return run_evaluator(v, (Change){true, nudge, seed}, take_element, e, why, sizeof why) ? e->value : NAN;
}

/* The size of the terms of one element of an output: by how much it moves with its inputs, relative to the nudge. 0: there are none, or
 * they cannot be told, because the element does not move in proportion to the nudge (a comparison that changes sides). */
static double size_of_terms(const Verify *v, const CaseTensor *t, int64_t index) {
  enum { RUNS = 8 }; /* of 4, one in 200 shows less than a quarter of the terms: these are normal deviates */
  Verify near = *v; /* of the dims that nothing reads across, the element's index alone */
  Element e;
  int64_t chosen[DEF_MAX_DIMS];
  near.outputs = 1u << t->index;
  find_place(v, t, index, e.place);
  uint32_t may = evaluate_samplable(v->d->def, near.outputs);
  for (int d = 0; d < v->d->def->ndims; d++) {
    if (!(may >> d & 1) || v->count[d] == 0) continue;
    chosen[d] = true_index(v, d, e.place[d]);
    near.sample[d] = &chosen[d];
    near.count[d] = 1;
    e.place[d] = 0;
  }
  double still = value_near(&near, &e, 0, 0), moved = 0, bent = 0;
  for (uint64_t seed = 1; seed <= RUNS; seed++) {
    double far = value_near(&near, &e, NUDGE, seed) - still, quarter = value_near(&near, &e, NUDGE / 4, seed) - still;
    moved += far * far;
    bent += (far - 4 * quarter) * (far - 4 * quarter);
  }
  return isfinite(moved) && bent < moved / 16 ? sqrt(moved / RUNS) / NUDGE : 0;
}

/* Where an eighth of it shows nothing, because the result cancels, by what it is made of; of either candidate, since one that is known well
 * relative to its size need not be so relative to its terms. What did not cancel gains nothing by it (compare_twin_fails_by). */
static bool twin_is_refused(const Verify *v, const CaseTensor *t) {
  const Compare *c = &v->compare[t->index];
  bool refused = compare_twin_fails(c), told = false, by_terms = false;
  if ((refused && !compare_vanishes(c)) || !number_is_float(t->def->dtype)) return refused;
  for (int i = 0; i < 2 && !by_terms; i++) {
    const CompareTwin *twin = &c->twin[i];
    double terms = twin->seen ? size_of_terms(v, t, twin->index) : 0;
    told |= terms > 0;
    by_terms = terms > 0 && compare_twin_fails_by(c, twin, terms);
  }
  return told ? by_terms : refused;
}

static void judge_values(Verify *v, const CaseTensor *t) {
  const Compare *c = &v->compare[t->index];
  v->verdict->compared += c->seen;
  if (c->seen && c->worst_ratio > v->verdict->ratio) { /* over all outputs */
    v->verdict->ratio = c->worst_ratio;
    v->verdict->error = c->worst_error;
    v->verdict->bound = c->worst_bound;
  }
  if (c->bad) {
    char place[128];
    write_place(v, t, c->first_index, place, sizeof place);
    blame(v->verdict, "%lld of %lld elements differ; first %s = %.9g, expected %.9g within %.3g", (long long)c->bad,
          (long long)c->seen, place, c->first_got, c->first_want, c->first_bound);
  } else if (!twin_is_refused(v, t)) {
    blame(v->verdict, "%s: the check itself fails: one element moved by an eighth, or a share of its terms (from %.9g), was accepted",
          t->def->name, compare_twin(c)->want);
  }
}

/* ---- what must be untouched, and what must be written ---- */

typedef struct Marks { uint8_t *bits; int64_t elems; } Marks;

static Marks mark_view(const CaseTensor *t, const Case *c) {
  Marks m = {cli_alloc((size_t)t->elems / 8 + 1), t->elems};
  int64_t at[DEF_MAX_DIMS] = {0}, total = 1;
  int n = t->def->rank;
  for (int i = 0; i < n; i++) total *= c->size[t->def->dim[i]];
  int64_t inner = n ? c->size[t->def->dim[n - 1]] : 1;
  for (int64_t k = 0; k < total; k += inner) { /* row by row */
    const int64_t *last = n ? t->offset[t->def->dim[n - 1]] : NULL;
    int64_t row = t->first;
    for (int i = 0; i + 1 < n; i++) row += t->offset[t->def->dim[i]][at[i]];
    for (int64_t i = 0; i < inner; i++) {
      int64_t place = row + (last ? last[i] : 0);
      m.bits[place / 8] |= (uint8_t)(1u << place % 8);
    }
    for (int i = n - 2; i >= 0 && ++at[i] == c->size[t->def->dim[i]]; i--) at[i] = 0;
  }
  return m;
}

static inline bool is_poison(const char *at, size_t bytes, uint64_t poison) {
  uint16_t half;
  uint32_t word;
  switch (bytes) {
  case 2: return memcpy(&half, at, 2), half == poison;
  case 4: return memcpy(&word, at, 4), word == poison;
  case 1: return (uint8_t)*at == poison;
  default: return memcmp(at, &poison, 8) == 0;
  }
}

static void judge_surroundings(Verify *v, const CaseTensor *t) {
  Marks m = mark_view(t, v->d->c);
  kiln_dtype dtype = t->def->dtype;
  uint64_t poison = number_poison(dtype);
  size_t bytes = number_bytes(dtype);
  const char *result = v->result[t->index];
  bool poison_shows = bytes > 1; /* a byte may rightly hold any value */
  int64_t touched = -1, missed = -1, ntouched = 0, nmissed = 0;
  for (int64_t i = 0; i < m.elems; i++) {
    bool inside = m.bits[i / 8] >> i % 8 & 1, poisoned = is_poison(result + (size_t)i * bytes, bytes, poison);
    if (inside && poisoned && poison_shows && nmissed++ == 0) missed = i;
    if (!inside && !poisoned && ntouched++ == 0) touched = i;
  }
  cli_free(m.bits);
  if (ntouched)
    blame(v->verdict, "%s: %lld elements outside the view were written; first %lld elements from its beginning", t->def->name,
          (long long)ntouched, (long long)(touched - t->first));
  if (nmissed)
    blame(v->verdict, "%s: %lld elements were never written; first %lld elements from its beginning", t->def->name,
          (long long)nmissed, (long long)(missed - t->first));
}

/* ---- all of it ---- */

static bool download(Verify *v, const Device *dev) {
  for (int i = 0; i < v->d->ntensors; i++) {
    CaseTensor *t = &v->d->tensor[i];
    size_t bytes = (size_t)t->elems * number_bytes(t->def->dtype);
    v->of[t->index] = t;
    v->result[t->index] = cli_alloc(bytes + 1);
    if (bytes && kiln_download(dev->dev, v->result[t->index], t->device, bytes) != KILN_OK) {
      blame(v->verdict, "%s", kiln_error());
      return false;
    }
  }
  return true;
}

static double coarsest_rounding(const KilnDef *def) {
  double most = 0;
  for (uint32_t i = 0; i < def->nnodes; i++) most = fmax(most, number_unit((kiln_dtype)def->node[i].dtype));
  return most;
}

static void start_compare(Verify *v, const CaseTensor *t) {
  int64_t elems = 1;
  for (int k = 0; k < t->def->rank; k++) elems *= v->count[t->def->dim[k]];
  compare_start(&v->compare[t->index], t->def->dtype, (int64_t)random_below(v->r, (uint64_t)elems));
  /* Of so many that one stands out: of sums of 512 products in eight bits, the largest of 16 was within twice its bound one time in sixty. */
  v->compare[t->index].twin_stride = (elems + 1023) / 1024;
  v->compare[t->index].rounding = coarsest_rounding(v->d->def);
}

/* The outputs that are evaluated together: sampled, evaluated, judged. */
static void judge_group(Verify *v, uint32_t outputs, double work) {
  char why[256];
  v->outputs = outputs;
  choose_samples(v, work);
  for (int i = 0; i < v->d->ntensors; i++)
    if (outputs >> v->d->tensor[i].index & 1) start_compare(v, &v->d->tensor[i]);
  if (!run_evaluator(v, (Change){0}, take_chunk, v, why, sizeof why)) blame(v->verdict, "%s", why);
  for (int i = 0; i < v->d->ntensors; i++)
    if (outputs >> v->d->tensor[i].index & 1) judge_values(v, &v->d->tensor[i]);
  for (int i = 0; i < DEF_MAX_DIMS; i++) {
    cli_free(v->sample[i]);
    v->sample[i] = NULL;
  }
}

bool tensors_compare(CaseData *d, const Device *dev, Random *r, double work, CaseVerdict *verdict) {
  Verify v = {.d = d, .r = r, .verdict = verdict};
  uint32_t group[DEF_MAX_TENSORS];
  memset(verdict, 0, sizeof *verdict);
  verdict->passed = true;
  verdict->ratio = -1;
  bool arrived = download(&v, dev);
  int groups = arrived ? evaluate_groups(d->def, group) : 0;
  for (int i = 0; i < groups; i++) judge_group(&v, group[i], work / groups);
  for (int i = 0; arrived && i < d->ntensors; i++) {
    CaseTensor *t = &d->tensor[i];
    size_t bytes = (size_t)t->elems * number_bytes(t->def->dtype);
    if (t->def->is_out) judge_surroundings(&v, t);
    else if (!t->overwritten && memcmp(v.result[t->index], t->host, bytes) != 0) blame(verdict, "%s: an input was changed", t->def->name);
  }
  for (int i = 0; i < DEF_MAX_TENSORS; i++) cli_free(v.result[i]);
  return arrived;
}
