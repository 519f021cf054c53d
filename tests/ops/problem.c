/* problem.c - settings, sizes, layouts, numbers and random inputs of a problem; see problem.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/cli/random.h"
#include "problem.h"
#include "problem_impl.h"

/* ---- texts ---- */

/* "k=v k=v" into pairs. */
static int read_pairs(const char *text, ProblemPair *pair) {
  int n = 0;
  while (*text) {
    size_t key = strcspn(text, "="), word = strcspn(text, " ");
    assert_true(n < PROBLEM_PAIRS && key > 0 && key < word && key < sizeof pair->key && word - key <= sizeof pair->text);
    memset(&pair[n], 0, sizeof *pair);
    memcpy(pair[n].key, text, key);
    memcpy(pair[n].text, text + key + 1, word - key - 1);
    n++;
    text += word;
    text += strspn(text, " ");
  }
  return n;
}

static void read_sizes(Problem *p) {
  ProblemPair pair[PROBLEM_PAIRS];
  int n = read_pairs(p->spec.sizes, pair);
  for (int d = 0; d < p->def->ndims; d++) {
    bool found = false;
    for (int i = 0; i < n; i++) {
      if (strcmp(pair[i].key, p->def->dims[d]) != 0) continue;
      found = true;
      p->size[d] = 1;
      for (char *at = pair[i].text; *at; at += *at == 'x') {
        assert_true(p->nparts[d] < 4);
        p->part[d][p->nparts[d]] = strtol(at, &at, 10);
        p->size[d] *= p->part[d][p->nparts[d]++];
      }
    }
    if (!found) fail_msg("%s: no size for the dim %s in \"%s\"", p->spec.op, p->def->dims[d], p->spec.sizes);
  }
}

static void read_scalars(Problem *p) {
  ProblemPair pair[PROBLEM_PAIRS];
  int n = read_pairs(p->spec.scalars, pair);
  for (int s = 0; s < p->def->nscalars; s++) {
    p->scalar[s] = p->def->scalar[s].deflt;
    for (int i = 0; i < n; i++)
      if (strcmp(pair[i].key, p->def->scalar[s].name) == 0) p->scalar[s] = strtod(pair[i].text, NULL);
    p->scalar[s] = problem_round(p->def->scalar[s].dtype, p->scalar[s]);
  }
}

/* ---- numbers ---- */

typedef struct Format { int digits, lowest, highest; } Format; /* of the significand; exponents of the smallest and largest normal */

static bool is_byte(kiln_dtype dtype) { return dtype == KILN_E4M3 || dtype == KILN_E5M2; }

static Format format_of(kiln_dtype dtype) {
  if (dtype == KILN_F32) return (Format){24, -126, 127};
  if (dtype == KILN_F16) return (Format){11, -14, 15};
  if (dtype == KILN_E4M3) return (Format){4, -6, 8};
  if (dtype == KILN_E5M2) return (Format){3, -14, 15};
  assert_int_equal(dtype, KILN_BF16);
  return (Format){8, -126, 127};
}

double problem_round(kiln_dtype dtype, double x) {
  if (dtype == KILN_F64 || dtype == KILN_I32 || dtype == KILN_I64 || dtype == KILN_BOOL || x == 0 || !isfinite(x)) return x;
  Format f = format_of(dtype);
  int exponent = ilogb(x);
  double unit = ldexp(1, (exponent < f.lowest ? f.lowest : exponent) - f.digits + 1), rounded = rint(x / unit) * unit;
  if (is_byte(dtype)) { /* e4m3's last code is NaN */
    double most = dtype == KILN_E4M3 ? 448 : 57344;
    return fabs(rounded) > most ? copysign(most, x) : rounded;
  }
  return fabs(rounded) >= ldexp(1, f.highest + 1) ? copysign(INFINITY, x) : rounded;
}

double problem_unit(kiln_dtype dtype) { return ldexp(1, -format_of(dtype).digits); }

size_t problem_bytes(kiln_dtype dtype) {
  switch (dtype) {
  case KILN_BOOL: case KILN_E4M3: case KILN_E5M2: return 1;
  case KILN_F32: case KILN_I32: return 4;
  case KILN_F16: case KILN_BF16: return 2;
  default: fail_msg("dtype %d", (int)dtype); return 0;
  }
}

/* Of a number of 1 + exponent + fraction bits, infinities and NaN apart. */
static double read_small(uint32_t w, int fraction_bits, int bias, int bits) {
  double fraction = w & ((1u << fraction_bits) - 1), sign = w >> (bits - 1) & 1 ? -1 : 1;
  int exponent = (int)((w & ((1u << (bits - 1)) - 1)) >> fraction_bits);
  return sign * (exponent ? ldexp((double)(1 << fraction_bits) + fraction, exponent - bias - fraction_bits) : ldexp(fraction, 1 - bias - fraction_bits));
}

static uint32_t write_small(double x, int fraction_bits, int bias, int bits) {
  int exponent = x == 0 || ilogb(x) < 1 - bias ? 1 - bias : ilogb(x);
  uint32_t one = 1u << fraction_bits, units = (uint32_t)ldexp(fabs(x), fraction_bits - exponent); /* one and more: normal */
  assert_true(isfinite(x));
  return (signbit(x) ? 1u << (bits - 1) : 0) | (units >= one ? (uint32_t)(exponent + bias) << fraction_bits | (units - one) : units);
}

double problem_read(kiln_dtype dtype, const void *at) {
  uint32_t w = 0;
  int32_t i;
  float f;
  memcpy(&w, at, problem_bytes(dtype));
  if (dtype == KILN_BOOL) return w != 0;
  if (dtype == KILN_I32) return memcpy(&i, at, 4), i;
  if (dtype == KILN_E4M3) return read_small(w, 3, 7, 8);
  if (dtype == KILN_E5M2) return read_small(w, 2, 15, 8);
  if (dtype == KILN_BF16) w <<= 16;
  if (dtype != KILN_F16) return memcpy(&f, &w, 4), f;
  if ((w >> 10 & 31) == 31) return w & 0x3FF ? NAN : w & 0x8000 ? -INFINITY : INFINITY;
  return read_small(w, 10, 15, 16);
}

/* x is a value of the dtype. */
void problem_write(kiln_dtype dtype, void *at, double x) {
  float f = (float)x;
  int32_t i = (int32_t)x;
  uint32_t w;
  memcpy(&w, dtype == KILN_I32 ? (const void *)&i : &f, 4);
  if (dtype == KILN_BOOL) w = x != 0;
  if (dtype == KILN_BF16) w >>= 16;
  if (dtype == KILN_F16) w = write_small(x, 10, 15, 16);
  if (dtype == KILN_E4M3) w = write_small(x, 3, 7, 8);
  if (dtype == KILN_E5M2) w = write_small(x, 2, 15, 8);
  memcpy(at, &w, problem_bytes(dtype));
}

/* ---- layouts ---- */

static int64_t at_least_one(int64_t n) { return n > 0 ? n : 1; }

static bool is_one_row(const Problem *p, const ProblemTensor *t, int index) {
  return p->spec.lie == LIE_ONE_ROW && !t->def->is_out && (p->forward ? t->def->name[0] == 'd' : index % 2 == 1);
}

static void lay_strides(const Problem *p, ProblemTensor *t, int index) {
  int order[PROBLEM_RANK];
  int64_t next = p->spec.lie == LIE_COLUMNS ? 2 : 1;
  for (int i = 0; i < t->rank; i++) order[i] = t->rank - 1 - i;
  if (p->spec.lie == LIE_PADDED && index % 2 == 1 && t->rank > 2) {
    order[t->rank - 1] = 1;
    order[t->rank - 2] = 0;
  }
  for (int i = 0; i < t->rank; i++) {
    t->stride[order[i]] = next;
    next *= at_least_one(t->shape[order[i]]);
    if (p->spec.lie == LIE_PADDED) next = (next + 15) / 16 * 16 + 16 * (index % 3);
    if (p->spec.lie == LIE_ODD && i == 0) next += 2 - next % 2 + 1;
    if (is_one_row(p, t, index) && order[i] < t->rank - 1) t->stride[order[i]] = 0;
  }
}

static void lay_offsets(const Problem *p, ProblemTensor *t) {
  for (int d = 0; d < p->def->ndims; d++) {
    bool has = false;
    for (int i = 0; i < t->rank; i++) has = has || t->of[i] == d;
    if (!has) continue;
    t->offset[d] = calloc((size_t)at_least_one(p->size[d]), sizeof(int64_t));
    for (int64_t i = 0; i < p->size[d]; i++) {
      int64_t rest = i;
      for (int k = t->rank - 1; k >= 0; k--) {
        if (t->of[k] != d) continue;
        t->offset[d][i] += rest % t->shape[k] * t->stride[k];
        rest /= t->shape[k];
      }
    }
  }
}

static void lay(Problem *p, int index) {
  ProblemTensor *t = &p->tensor[index];
  const DefTensor *def = &p->def->tensor[index];
  t->def = def;
  t->elems = 1;
  for (int i = 0; i < def->rank; i++) t->elems *= (size_t)p->size[def->dim[i]];
  if (def->is_out) t->reference = calloc(t->elems + 1, sizeof(double)); /* absent ones too: what a gradient may read */
  if (!def->present) return;
  for (int i = 0; i < def->rank; i++)
    for (int k = 0; k < p->nparts[def->dim[i]]; k++) {
      t->of[t->rank] = def->dim[i];
      t->shape[t->rank++] = p->part[def->dim[i]][k];
    }
  lay_strides(p, t, index);
  lay_offsets(p, t);
  t->first = p->spec.lie == LIE_ODD ? 1 + (size_t)index % 2 * 2 : 0;
  t->room = t->first + 1;
  for (int i = 0; i < t->rank; i++) t->room += (size_t)((at_least_one(t->shape[i]) - 1) * t->stride[i]);
  t->host = malloc(t->room * problem_bytes(def->dtype));
  memset(t->host, 0xA5, t->room * problem_bytes(def->dtype));
  t->value = calloc(t->elems + 1, sizeof(double));
  t->bound = calloc(t->elems + 1, sizeof(double));
}

size_t problem_place(const Problem *p, const ProblemTensor *t, size_t i) {
  size_t at = t->first;
  for (int k = t->def->rank - 1; k >= 0; k--) {
    size_t size = (size_t)p->size[t->def->dim[k]];
    at += (size_t)t->offset[t->def->dim[k]][i % size];
    i /= size;
  }
  return at;
}

/* ---- inputs ---- */

/* Masks hide a quarter, and the whole of the first row. */
static double draw(const Problem *p, const ProblemTensor *t, size_t i, Random *r) {
  kiln_dtype dtype = t->def->dtype;
  size_t row = t->def->rank ? (size_t)p->size[t->def->dim[t->def->rank - 1]] : 1;
  if (dtype == KILN_BOOL) return i < row || random_below(r, 4) == 0;
  if (dtype == KILN_I32) return (double)random_below(r, 17) - 8;
  double x = random_normal(r) * (p->spec.spread > 0 ? p->spec.spread : 1);
  bool is_row = t->def->rank > 1 && !(p->forward && t->def->name[0] == 'd');
  return problem_round(dtype, is_row ? x + p->spec.offset : x);
}

static const ProblemTensor *tensor_named(const Problem *p, const char *name) {
  for (int t = 0; p && t < p->def->ntensors; t++)
    if (strcmp(p->def->tensor[t].name, name) == 0) return &p->tensor[t];
  return NULL;
}

static void fill(Problem *p, ProblemTensor *t, Random *r) {
  const ProblemTensor *known = tensor_named(p->forward, t->def->name);
  const double *from = known ? (known->def->is_out ? known->reference : known->value) : NULL;
  if (from) assert_int_equal(known->elems, t->elems);
  for (size_t i = 0; i < t->elems; i++) {
    t->value[i] = from ? problem_round(t->def->dtype, from[i]) : draw(p, t, i, r);
    problem_write(t->def->dtype, t->host + problem_place(p, t, i) * problem_bytes(t->def->dtype), t->value[i]);
  }
  for (size_t i = 0; i < t->elems; i++) /* where elements share their memory, the last one stays */
    t->value[i] = problem_read(t->def->dtype, t->host + problem_place(p, t, i) * problem_bytes(t->def->dtype));
}

void problem_open(Problem *p, KilnGen *gen, const ProblemSpec *spec, const Problem *forward) {
  kiln_gen_pair set[PROBLEM_PAIRS];
  Random r;
  memset(p, 0, sizeof *p);
  p->gen = gen;
  p->spec = *spec;
  p->forward = forward;
  p->nsettings = read_pairs(spec->settings, p->setting);
  for (int i = 0; i < p->nsettings; i++) set[i] = (kiln_gen_pair){p->setting[i].key, p->setting[i].text};
  kiln_gen_request request = {.op = spec->op, .target = "sm_80", .set = set, .nset = p->nsettings};
  if (kiln_gen_define(gen, &request, &p->def) != KILN_GEN_OK) fail_msg("%s %s: %s", spec->op, spec->settings, kiln_gen_message(gen));
  read_sizes(p);
  read_scalars(p);
  random_start(&r, random_entropy());
  for (int t = 0; t < p->def->ntensors; t++) lay(p, t);
  for (int t = 0; t < p->def->ntensors; t++)
    if (p->tensor[t].host && !p->tensor[t].def->is_out) fill(p, &p->tensor[t], &r);
}

void problem_close(Problem *p) {
  for (int t = 0; t < DEF_MAX_TENSORS; t++) {
    ProblemTensor *x = &p->tensor[t];
    free(x->value);
    free(x->bound);
    free(x->reference);
    free(x->host);
    for (int d = 0; d < DEF_MAX_DIMS; d++) free(x->offset[d]);
  }
  memset(p, 0, sizeof *p);
}

/* ---- for the references ---- */

const double *problem_own(const Problem *p, const char *name) {
  const ProblemTensor *t = tensor_named(p, name);
  return t ? t->value : NULL;
}

const double *problem_in(const Problem *p, const char *name) {
  const ProblemTensor *t = tensor_named(p, name);
  if (t && t->host && !t->def->is_out) return t->value;
  t = tensor_named(p->forward, name);
  return t ? (t->def->is_out ? t->reference : t->value) : NULL;
}

double *problem_out(Problem *p, const char *name) {
  const ProblemTensor *t = tensor_named(p, name);
  return t ? t->reference : NULL;
}

size_t problem_size(const Problem *p, const char *dim) {
  for (; p; p = p->forward)
    for (int d = 0; d < p->def->ndims; d++)
      if (strcmp(p->def->dims[d], dim) == 0) return (size_t)p->size[d];
  return 1;
}

double problem_scalar(const Problem *p, const char *name) {
  for (; p; p = p->forward)
    for (int s = 0; s < p->def->nscalars; s++)
      if (strcmp(p->def->scalar[s].name, name) == 0) return p->scalar[s];
  fail_msg("no scalar %s", name);
  return 0;
}

const char *problem_setting(const Problem *p, const char *key, const char *deflt) {
  for (int i = 0; i < p->nsettings; i++)
    if (strcmp(p->setting[i].key, key) == 0) return p->setting[i].text;
  return deflt;
}

bool problem_has_dim(const Problem *p, const char *tensor, const char *dim) {
  for (; p; p = p->forward) {
    const ProblemTensor *t = tensor_named(p, tensor);
    for (int i = 0; t && i < t->def->rank; i++)
      if (strcmp(p->def->dims[t->def->dim[i]], dim) == 0) return true;
  }
  return false;
}

kiln_dtype problem_dtype(const Problem *p, const char *tensor) {
  for (; p; p = p->forward)
    if (tensor_named(p, tensor)) return tensor_named(p, tensor)->def->dtype;
  fail_msg("no tensor %s", tensor);
  return KILN_NO_DTYPE;
}

bool problem_has_bytes(const Problem *p) {
  for (int t = 0; t < p->def->ntensors; t++)
    if (p->def->tensor[t].present && is_byte(p->def->tensor[t].dtype)) return true;
  for (uint32_t i = 0; i < p->def->nnodes; i++)
    if (p->def->node[i].op == DEF_ROUND && is_byte(p->def->node[i].dtype)) return true;
  return false;
}
