/* bind.c - see bind.h. The checks run in the order of the statuses' values, cheap ones first: most candidates fall at the
 * first. */
#include "bind.h"
#include "error.h"
#include "number.h"
#include "overlap.h"
#include "whole.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- arguments on their own ---- */

static kiln_status view_tensor(const kiln_arg *arg, ArgView *v) {
  const kiln_tensor *t = arg->tensor;
  size_t element = kiln_dtype_bytes(t->dtype);
  if (!element) return error_set(KILN_BAD_DTYPE, "tensor %s: %d is no dtype", arg->name, (int)t->dtype);
  if (t->rank < 0 || t->rank > CONTRACT_MAX_RANK)
    return error_set(KILN_BAD_RANK, "tensor %s has %d dims; expected 0 to %d", arg->name, t->rank, CONTRACT_MAX_RANK);
  if (t->rank && !t->shape) return error_set(KILN_BAD_CALL, "tensor %s has %d dims and shape NULL", arg->name, t->rank);
  int64_t dense = 1, last = 0, elements = 1;
  bool large = false, empty = false;
  for (int i = 0; i < t->rank; i++) empty |= t->shape[i] == 0;
  for (int i = t->rank - 1; i >= 0; i--) {
    if (t->shape[i] < 0)
      return error_set(KILN_BAD_SIZE, "tensor %s: dim %d is %lld; expected 0 or more", arg->name, i, (long long)t->shape[i]);
    v->stride[i] = t->strides ? t->strides[i] : dense;
    if (empty) continue; /* no stride matters, and none need be representable */
    if (v->stride[i] < 0 && t->shape[i] > 1)
      return error_set(KILN_BAD_STRIDE,
                       "tensor %s: the stride of dim %d is %lld; expected 0 or more (copy a reversed tensor first)", arg->name, i,
                       (long long)v->stride[i]);
    int64_t reach = 0;
    if (t->shape[i] > 1) large |= __builtin_mul_overflow(t->shape[i] - 1, v->stride[i], &reach);
    large |= __builtin_add_overflow(last, reach, &last);
    large |= __builtin_mul_overflow(elements, t->shape[i], &elements);
    large |= __builtin_mul_overflow(dense, t->shape[i], &dense);
  }
  large |=
      __builtin_add_overflow(last, 1, &last) || __builtin_mul_overflow(last, (int64_t)element, &last) || last > INT64_MAX / 2;
  if (large) return error_set(KILN_TOO_LARGE, "tensor %s: sizes and strides reach beyond 2^62 bytes, or 2^63 elements", arg->name);
  if (empty) elements = last = 0;
  v->elements = elements;
  v->extent_bytes = last;
  return KILN_OK;
}

kiln_status bind_view(const kiln_arg *args, int nargs, ArgView *views) {
  for (int i = 0; i < nargs; i++) {
    const kiln_arg *a = &args[i];
    if (!a->name || !*a->name) return error_set(KILN_BAD_CALL, "argument %d has no name", i);
    for (int j = 0; j < i; j++)
      if (strcmp(args[j].name, a->name) == 0) return error_set(KILN_MISSING_ARG, "argument %s is given twice", a->name);
    if (a->tensor && a->text) return error_set(KILN_BAD_CALL, "argument %s is both a tensor and a text", a->name);
    views[i] = (ArgView){.arg = a};
    kiln_status s = a->tensor ? view_tensor(a, &views[i]) : KILN_OK;
    if (s) return s;
  }
  return KILN_OK;
}

/* ---- one contract ---- */

typedef struct Binder {
  const kiln_device *dev;
  const Contract *c;
  const ArgView *views;
  int nviews;
  bool quiet;
  Binding *out;
  uint64_t used;                          /* bit per view */
  uint8_t bound_by[CONTRACT_MAX_SYMBOLS]; /* the tensor whose dim or stride gave the value */
  bool undecided[CONTRACT_MAX_SYMBOLS];   /* a stride seen only where the size is 1 */
  int scalar_view[CONTRACT_MAX_SCALARS];  /* per scalar of the contract; -1: its default */
} Binder;

static kiln_status refuse(const Binder *b, kiln_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static kiln_status refuse(const Binder *b, kiln_status status, const char *fmt, ...) {
  if (b->quiet) return status;
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return error_set(status, "%s", text);
}

static int find_view(const Binder *b, const char *name) {
  for (int i = 0; i < b->nviews; i++)
    if (strcmp(b->views[i].arg->name, name) == 0) return i;
  return -1;
}

static kiln_status match_settings(Binder *b) {
  const Contract *c = b->c;
  for (int i = 0; i < c->noption; i++) {
    const ContractOption *o = &c->option[i];
    int v = find_view(b, o->key);
    const char *asked = v >= 0 ? b->views[v].arg->text : o->fallback;
    if (!asked)
      return refuse(b, KILN_BAD_SETTING, "setting %s is missing; this variant has %s=%s, and no default", o->key, o->key,
                    o->value);
    if (strcmp(asked, o->value) != 0)
      return refuse(b, KILN_BAD_SETTING, "setting %s is \"%s\"%s; this variant has \"%s\"", o->key, asked,
                    v < 0 ? " by default" : "", o->value);
    if (v >= 0) b->used |= 1ull << v;
  }
  for (int v = 0; v < b->nviews; v++) {
    const kiln_arg *a = b->views[v].arg;
    if (!a->text || (b->used >> v & 1)) continue;
    int i = 0;
    while (i < c->nset && strcmp(c->set[i].key, a->name) != 0) i++;
    if (i == c->nset) return refuse(b, KILN_UNKNOWN_ARG, "setting %s: this variant has no such setting", a->name);
    if (strcmp(c->set[i].value, a->text) != 0)
      return refuse(b, KILN_BAD_SETTING, "setting %s is \"%s\"; this variant has \"%s\"", a->name, a->text, c->set[i].value);
    b->used |= 1ull << v;
  }
  return KILN_OK;
}

static kiln_status match_names(Binder *b) {
  const Contract *c = b->c;
  const char *lacks = NULL,
             *kind = ""; /* reported after unknown arguments: of two variants, the one that knows all came closer */
  for (int i = 0; i < c->ntensor; i++) {
    int v = find_view(b, c->tensor[i].name);
    if (v >= 0) b->used |= 1ull << v;
    if (v < 0 || !b->views[v].arg->tensor) {
      if (!lacks) lacks = c->tensor[i].name, kind = v < 0 ? "this tensor is missing" : "a tensor is expected";
      continue;
    }
    b->out->tensor[i].arg = b->views[v].arg->tensor;
    b->out->tensor[i].view = v;
  }
  for (int i = 0; i < c->nscalar; i++) {
    int v = find_view(b, c->scalar[i].name);
    b->scalar_view[i] = v;
    if (v >= 0) b->used |= 1ull << v;
    bool other = v >= 0 && (b->views[v].arg->tensor || b->views[v].arg->text);
    if (lacks || (c->scalar[i].call && !other)) continue; /* a call scalar comes with each launch */
    if (v < 0 ? !c->scalar[i].has_default : other)
      lacks = c->scalar[i].name, kind = v < 0 ? "this scalar is missing" : "a scalar is expected";
  }
  for (int v = 0; v < b->nviews; v++)
    if (!(b->used >> v & 1))
      return refuse(b, KILN_UNKNOWN_ARG, "argument %s: this variant has none of that name (its settings: %s)",
                    b->views[v].arg->name, c->settings);
  if (!lacks) return KILN_OK;
  return refuse(b, KILN_MISSING_ARG, "argument %s: %s", lacks, kind);
}

static const char *dim_name(const Binder *b, const ContractDim *d) {
  return d->symbol >= 0 ? b->c->symbol[d->symbol].name : d->expr.text;
}

/* Element type and rank; the shape in the contract's rank, with 1s for what the caller left out. */
static kiln_status match_kind(Binder *b) {
  for (int i = 0; i < b->c->ntensor; i++) {
    const kiln_tensor *x = b->out->tensor[i].arg;
    if (x->dtype != b->c->tensor[i].dtype)
      return refuse(b, KILN_BAD_DTYPE, "tensor %s is %s; this variant takes %s", b->c->tensor[i].name, kiln_dtype_name(x->dtype),
                    kiln_dtype_name(b->c->tensor[i].dtype));
  }
  for (int i = 0; i < b->c->ntensor; i++) {
    const ContractTensor *t = &b->c->tensor[i];
    BoundTensor *x = &b->out->tensor[i];
    int left_out = t->rank - x->arg->rank;
    if (left_out < 0 || left_out > t->lead) {
      if (t->lead)
        return refuse(b, KILN_BAD_RANK, "tensor %s has %d dims; expected %d to %d", t->name, x->arg->rank, t->rank - t->lead,
                      t->rank);
      return refuse(b, KILN_BAD_RANK, "tensor %s has %d dims; expected %d", t->name, x->arg->rank, t->rank);
    }
    for (int d = 0, from = 0; d < t->rank; d++) {
      bool out = d >= t->lead_at && d < t->lead_at + left_out;
      x->shape[d] = out ? 1 : x->arg->shape[from];
      x->stride[d] = out ? 0 : b->views[x->view].stride[from];
      from += !out;
    }
  }
  return KILN_OK;
}

/* "dim 1 (N)" of the tensor as the caller has it, who may have left out leading dims. */
typedef struct DimWords { char at[CONTRACT_MAX_NAME + 64]; } DimWords;
static DimWords dim_words(const Binder *b, int tensor, int d) {
  const ContractTensor *t = &b->c->tensor[tensor];
  int left_out = t->rank - b->out->tensor[tensor].arg->rank;
  const char *name = t->dim[d].symbol >= 0 ? b->c->symbol[t->dim[d].symbol].name : NULL;
  DimWords words;
  if (d >= t->lead_at && d < t->lead_at + left_out)
    snprintf(words.at, sizeof words.at, "dim %.*s, which is left out,", CONTRACT_MAX_NAME, name ? name : "");
  else
    snprintf(words.at, sizeof words.at, "dim %d%s%.*s%s", d < t->lead_at ? d : d - left_out, name ? " (" : "", CONTRACT_MAX_NAME, name ? name : "",
             name ? ")" : "");
  return words;
}

/* Dims of one name have one size, as the caller sees them: before anything is collapsed. */
static kiln_status match_sizes(Binder *b) {
  for (int i = 0; i < b->c->ntensor; i++) {
    const ContractTensor *t = &b->c->tensor[i];
    for (int d = 0; d < t->rank; d++) {
      int symbol = t->dim[d].symbol;
      int64_t size = b->out->tensor[i].shape[d];
      if (symbol < 0) continue;
      if (t->dim[d].binds) {
        b->out->value[symbol].i = size;
        b->bound_by[symbol] = (uint8_t)i;
      } else if (size != b->out->value[symbol].i && !(t->dim[d].or_one && size == 1)) {
        return refuse(b, KILN_BAD_SIZE, "tensor %s: %s is %lld; expected %lld%s, as in tensor %s", t->name,
                      dim_words(b, i, d).at, (long long)size, (long long)b->out->value[symbol].i,
                      t->dim[d].or_one ? " or 1" : "", b->c->tensor[b->bound_by[symbol]].name);
      }
    }
  }
  return KILN_OK;
}

static int place_of(const ContractTensor *t, int symbol) {
  for (int d = 0; d < t->rank; d++)
    if (t->dim[d].symbol == symbol) return d;
  return -1;
}

/* May dim a of the list, the outer one, be walked as a continuation of dim i in every tensor? */
static bool mergeable(const Binder *b, const int16_t *list, int a, int i) {
  const Contract *c = b->c;
  for (int k = 0; k < c->ntensor; k++) {
    const BoundTensor *x = &b->out->tensor[k];
    int outer = place_of(&c->tensor[k], list[a]), inner = place_of(&c->tensor[k], list[i]);
    if (outer < 0) continue; /* it has none of the list */
    int64_t step = x->shape[outer] == 1 ? 0 : x->stride[outer], below = x->shape[inner] == 1 ? 0 : x->stride[inner], span;
    if (__builtin_mul_overflow(below, b->out->value[list[i]].i, &span) || step != span) return false;
  }
  return true;
}

/* Merges neighbours wherever every tensor allows it; what is left moves to the end of the list, innermost last. */
static void collapse_dims(Binder *b, const int16_t *list, int n) {
  const Contract *c = b->c;
  int ngroups = 0, outermost = 0;
  int inner[CONTRACT_MAX_COLLAPSE];
  int64_t size[CONTRACT_MAX_COLLAPSE];
  bool empty = false;
  for (int i = 0; i < n; i++) empty |= b->out->value[list[i]].i == 0;
  for (int i = n - 1; i >= 0; i--) {
    int64_t here = b->out->value[list[i]].i;
    if (here == 1) continue;
    int64_t merged = 0; /* can overflow only where another dim of every tensor is 0 */
    bool fits = ngroups && !__builtin_mul_overflow(size[ngroups - 1], here, &merged);
    if (fits && (empty || mergeable(b, list, i, outermost)))
      size[ngroups - 1] = merged;
    else
      inner[ngroups] = i, size[ngroups++] = here;
    outermost = i;
  }
  if (ngroups && empty) size[0] = 0;
  for (int k = 0; k < c->ntensor; k++) {
    BoundTensor *x = &b->out->tensor[k];
    const ContractTensor *t = &c->tensor[k];
    int64_t shape[CONTRACT_MAX_COLLAPSE], stride[CONTRACT_MAX_COLLAPSE];
    if (place_of(t, list[0]) < 0) continue;
    for (int g = 0; g < n; g++) {
      int d = g < ngroups ? place_of(t, list[inner[g]]) : -1;
      bool broadcast = d >= 0 && x->shape[d] == 1;
      shape[g] = d < 0 || broadcast ? 1 : size[g];
      stride[g] = d < 0 || broadcast ? 0 : x->stride[d];
    }
    for (int g = 0; g < n; g++) {
      int d = place_of(t, list[n - 1 - g]);
      x->shape[d] = shape[g];
      x->stride[d] = stride[g];
    }
  }
  for (int g = 0; g < n; g++) b->out->value[list[n - 1 - g]].i = g < ngroups ? size[g] : 1;
}

/* ---- strides, alignment, overlap ---- */

static kiln_status match_stride(Binder *b, int tensor, int d) {
  const ContractTensor *t = &b->c->tensor[tensor];
  const ContractDim *s = &t->stride[d];
  BoundTensor *x = &b->out->tensor[tensor];
  bool matters = x->shape[d] > 1;
  int64_t stride = matters ? x->stride[d] : 0, expected = 0;
  if (s->symbol >= 0 && (s->binds || (b->undecided[s->symbol] && matters))) {
    b->out->value[s->symbol].i = stride;
    b->undecided[s->symbol] = !matters;
    b->bound_by[s->symbol] = (uint8_t)tensor;
    return KILN_OK;
  }
  if (!matters) return KILN_OK;
  if (s->symbol >= 0) {
    expected = b->out->value[s->symbol].i;
  } else {
    const char *why = expr_int(&s->expr, b->out->value, &expected);
    if (why) return refuse(b, KILN_TOO_LARGE, "tensor %s: its stride %s %s", t->name, s->expr.text, why);
  }
  if (stride == expected) return KILN_OK;
  return refuse(b, KILN_BAD_STRIDE, "tensor %s: the stride of %s is %lld elements; expected %lld%s", t->name,
                dim_name(b, &t->dim[d]), (long long)stride, (long long)expected, expected == 1 ? " (consecutive elements)" : "");
}

static kiln_status match_tensor(Binder *b, int tensor) {
  const ContractTensor *t = &b->c->tensor[tensor];
  BoundTensor *x = &b->out->tensor[tensor];
  for (int d = 0; d < t->rank; d++) {
    if (t->dim[d].symbol >= 0) continue;
    int64_t expected;
    const char *why = expr_int(&t->dim[d].expr, b->out->value, &expected);
    if (why) return refuse(b, KILN_TOO_LARGE, "tensor %s: its dim %s %s", t->name, t->dim[d].expr.text, why);
    if (x->shape[d] != expected && !(t->dim[d].or_one && x->shape[d] == 1))
      return refuse(b, KILN_BAD_SIZE, "tensor %s: %s is %lld; expected %s = %lld", t->name, dim_words(b, tensor, d).at, (long long)x->shape[d],
                    t->dim[d].expr.text, (long long)expected);
  }
  for (int d = 0; d < t->rank; d++) {
    kiln_status s = match_stride(b, tensor, d);
    if (s) return s;
  }
  return KILN_OK;
}

static kiln_status match_alignment(Binder *b) {
  for (int i = 0; i < b->c->ntensor; i++) {
    const ContractTensor *t = &b->c->tensor[i];
    const BoundTensor *x = &b->out->tensor[i];
    uint64_t mask = t->align_bytes - 1, element = kiln_dtype_bytes((kiln_dtype)t->dtype);
    if (!b->views[x->view].elements || mask == 0) continue;
    b->out->demand = t->align_bytes;
    for (int d = 0; d < t->rank; d++)
      if (t->stride[d].symbol >= 0 && x->shape[d] > 1 && ((uint64_t)x->stride[d] * element & mask))
        return refuse(b, KILN_BAD_ALIGN,
                      "tensor %s: the stride of %s is %lld elements (%llu bytes); expected a multiple of %u bytes", t->name,
                      dim_name(b, &t->dim[d]), (long long)x->stride[d], (unsigned long long)((uint64_t)x->stride[d] * element),
                      t->align_bytes);
    if ((uintptr_t)x->arg->data & mask)
      return refuse(b, KILN_BAD_ALIGN, "tensor %s: pointer %p; expected a multiple of %u bytes", t->name, x->arg->data,
                    t->align_bytes);
  }
  return KILN_OK;
}

static kiln_status match_pair(const Binder *b, int output, int other) {
  const ContractTensor *t = &b->c->tensor[output], *u = &b->c->tensor[other];
  const BoundTensor *x = &b->out->tensor[output], *y = &b->out->tensor[other];
  const ArgView *vx = &b->views[x->view], *vy = &b->views[y->view];
  if (!x->arg->data || !y->arg->data) return KILN_OK;
  if (!overlap_pair(vx, (uintptr_t)x->arg->data, vy, (uintptr_t)y->arg->data)) return KILN_OK;
  bool alias = t->alias == other || u->alias == output;
  if (alias && x->arg->data == y->arg->data && overlap_same_elements(vx, vy)) return KILN_OK;
  return refuse(b, KILN_OVERLAP, "output %s (%p, %lld bytes) overlaps tensor %s (%p, %lld bytes); expected separate memory%s",
                t->name, x->arg->data, (long long)vx->extent_bytes, u->name, y->arg->data, (long long)vy->extent_bytes,
                alias ? ", or the same pointer, sizes and strides" : "");
}

/* "[1,0,2]" of the first element that meets another (sign 1), or of that other one (sign -1). */
typedef struct Place { char at[CONTRACT_MAX_RANK * 21 + 2]; } Place;
static Place place_words(const OverlapSteps *s, int rank, int sign) {
  int64_t coordinate[CONTRACT_MAX_RANK] = {0};
  Place words = {"["};
  for (int k = 0; k < s->n; k++)
    if (s->d[k] * sign > 0) coordinate[s->dim[k]] = s->d[k] * sign;
  for (int i = 0, used = 1; i < rank; i++)
    used += snprintf(words.at + used, sizeof words.at - (size_t)used, "%lld%s", (long long)coordinate[i], i + 1 < rank ? "," : "]");
  return words;
}

static kiln_status match_own(const Binder *b, int output) {
  const ArgView *v = &b->views[b->out->tensor[output].view];
  OverlapSteps steps;
  OverlapMeeting meeting = overlap_own(v, &steps);
  if (meeting == OVERLAP_APART) return KILN_OK;
  if (b->quiet) return KILN_OVERLAP;
  char strides[CONTRACT_MAX_RANK * 21 + 1] = "";
  for (int i = 0, used = 0, rank = v->arg->tensor->rank; i < rank; i++)
    used += snprintf(strides + used, sizeof strides - (size_t)used, "%s%lld", i ? "," : "", (long long)v->stride[i]);
  if (meeting == OVERLAP_UNTOLD)
    return refuse(b, KILN_OVERLAP, "output %s: strides [%s] are such that it takes too long to tell whether elements share an address; expected "
                  "each stride to exceed what the smaller ones reach", b->c->tensor[output].name, strides);
  return refuse(b, KILN_OVERLAP, "output %s: elements %s and %s share one address (strides [%s]); expected one address each",
                b->c->tensor[output].name, place_words(&steps, v->arg->tensor->rank, 1).at,
                place_words(&steps, v->arg->tensor->rank, -1).at, strides);
}

static kiln_status match_overlap(const Binder *b) {
  for (int i = 0; i < b->c->ntensor; i++) {
    if (!b->c->tensor[i].out) continue;
    kiln_status own = match_own(b, i);
    if (own) return own;
    for (int j = 0; j < b->c->ntensor; j++) {
      if (j == i || (b->c->tensor[j].out && j < i)) continue;
      kiln_status s = match_pair(b, i, j);
      if (s) return s;
    }
  }
  return KILN_OK;
}

/* ---- scalars, values, requirements ---- */

static kiln_status take_scalar(Binder *b, int i) {
  const ContractScalar *x = &b->c->scalar[i];
  if (x->call) return KILN_OK;
  double given = b->scalar_view[i] >= 0 ? b->views[b->scalar_view[i]].arg->scalar : x->fallback;
  ExprValue *value = &b->out->value[x->symbol];
  char text[NUMBER_BYTES];
  if (x->dtype == KILN_F32 || x->dtype == KILN_F64) {
    if (x->dtype == KILN_F32 && isfinite(given) && !isfinite((float)given))
      return refuse(b, KILN_BAD_DTYPE, "scalar %s is %s; expected a number that f32 has, which go to 3.4028e38", x->name,
                    number_text(text, sizeof text, "%.17g", given));
    value->d = given;
    return KILN_OK;
  }
  double limit = x->dtype == KILN_I32 ? 0x1p31 : 0x1p63;
  if (!(given >= -limit && given < limit) || given != whole_down(given))
    return refuse(b, KILN_BAD_DTYPE, "scalar %s is %s; expected an integer that fits %s", x->name,
                  number_text(text, sizeof text, "%.17g", given), kiln_dtype_name((kiln_dtype)x->dtype));
  value->i = (int64_t)given;
  return KILN_OK;
}

/* n/d == (n*m) >> s for 0 <= n < 2^31: m rounded up leaves an error below 2^s/n. A divisor of 0 occurs when there is nothing
 * to divide. */
static int64_t pack_fastdiv(int64_t d) {
  if (d == 0 || d > INT32_MAX) return 0; /* quotient 0 */
  int bits = 0;
  while ((1ll << bits) < d) bits++;
  uint64_t shift = 31 + (uint64_t)bits;
  uint64_t m = (uint64_t)(((unsigned __int128)1 << shift) / (uint64_t)d) + ((((unsigned __int128)1 << shift) % (uint64_t)d) != 0);
  return (int64_t)(shift << 32 | m);
}

static kiln_status take_value(Binder *b, const ContractItem *item) {
  ExprValue *value = &b->out->value[item->index];
  const char *why = NULL, *name = b->c->symbol[item->index].name;
  if (item->dtype == KILN_F32 || item->dtype == KILN_F64) {
    expr_real(&item->expr, b->out->value, &value->d);
    return KILN_OK;
  }
  int64_t number;
  why = expr_int(&item->expr, b->out->value, &number);
  if (!why && item->dtype == KILN_I32 && (number < INT32_MIN || number > INT32_MAX)) why = "exceeds 32 bits";
  if (!why && item->fastdiv && number < 0) why = "is a negative divisor";
  if (why && b->out->empty) why = NULL, number = 0;
  if (why) return refuse(b, KILN_TOO_LARGE, "%s = %s %s for these sizes", name, item->expr.text, why);
  value->i = item->fastdiv ? pack_fastdiv(number) : number;
  return KILN_OK;
}

static kiln_status check_require(Binder *b, const ContractItem *item) {
  int64_t truth;
  if (b->out->empty) return KILN_OK;
  const char *why = expr_int(&item->expr, b->out->value, &truth);
  if (!why && truth) return KILN_OK;
  if (b->quiet) return KILN_REQUIRE;
  char here[256] = "";
  uint32_t reads[8];
  int n = expr_reads(&item->expr, reads, 8);
  for (int i = 0, used = 0; i < n && used < (int)sizeof here - 96; i++)
    used += snprintf(here + used, sizeof here - (size_t)used, "%s%s=%lld", i ? ", " : "; here ", b->c->symbol[reads[i]].name,
                     (long long)b->out->value[reads[i]].i);
  return refuse(b, KILN_REQUIRE, "requires %s (%s)%s%s%s", item->expr.text, item->text, here, why ? ", which " : "",
                why ? why : "");
}

static const char *call_name(const Contract *c, int call) {
  int i = 0;
  while (!c->scalar[i].call || c->symbol[c->scalar[i].symbol].index != call) i++;
  return c->scalar[i].name;
}

/* Held against each launch; what no launch could keep is refused here. */
static kiln_status take_limit(Binder *b, int index) {
  const ContractItem *item = &b->c->item[index];
  BoundLimit *x = &b->out->limit[b->out->nlimits];
  if (b->out->empty) return KILN_OK;
  const Expr *failed = &item->expr;
  const char *why = expr_int(failed, b->out->value, &x->low), *name = call_name(b->c, item->index);
  if (!why) why = expr_int(failed = &item->high, b->out->value, &x->high);
  if (why) return refuse(b, KILN_TOO_LARGE, "the limit %s of scalar %s %s for these sizes", failed->text, name, why);
  if (x->low > x->high)
    return refuse(b, KILN_REQUIRE, "no value of scalar %s will do: it is %lld to %lld, from %s to %s (%s)", name, (long long)x->low,
                  (long long)x->high, item->expr.text, item->high.text, item->text);
  x->scalar = item->index;
  x->item = (uint16_t)index;
  b->out->nlimits++;
  return KILN_OK;
}

static kiln_status walk_items(Binder *b, bool requires) {
  kiln_status s = KILN_OK;
  for (int i = 0; !s && i < b->c->nitem; i++) {
    const ContractItem *item = &b->c->item[i];
    if ((item->kind == ITEM_REQUIRE || item->kind == ITEM_LIMIT) != requires) continue;
    switch ((ItemKind)item->kind) {
    case ITEM_TENSOR: s = match_tensor(b, item->index); break;
    case ITEM_SCALAR: s = take_scalar(b, item->index); break;
    case ITEM_VALUE: s = take_value(b, item); break;
    case ITEM_REQUIRE: s = check_require(b, item); break;
    case ITEM_LIMIT: s = take_limit(b, i); break;
    }
  }
  return s;
}

/* ---- workspaces and steps ---- */

static kiln_status size_workspaces(Binder *b) {
  for (int i = 0; i < b->c->nworkspace; i++) {
    const ContractWorkspace *w = &b->c->workspace[i];
    int64_t bytes = (int64_t)kiln_dtype_bytes((kiln_dtype)w->dtype), dim;
    for (int d = 0; d < w->rank; d++) {
      const char *why = expr_int(&w->dim[d], b->out->value, &dim);
      if (!why && dim < 0) why = "is negative";
      if (!why && __builtin_mul_overflow(bytes, dim, &bytes)) why = "makes it exceed 63 bits";
      if (why) return refuse(b, KILN_TOO_LARGE, "workspace %s: its dim %s %s", w->name, w->dim[d].text, why);
    }
    if (bytes > INT64_MAX / 64) return refuse(b, KILN_TOO_LARGE, "workspace %s needs %lld bytes", w->name, (long long)bytes);
    b->out->workspace_bytes[i] = bytes;
  }
  return KILN_OK;
}

static kiln_status take_number(const Binder *b, const ContractStep *step, const char *what, const Expr *e, int64_t low,
                               int64_t high, unsigned *out) {
  int64_t number;
  const char *why = expr_int(e, b->out->value, &number);
  if (why) return refuse(b, KILN_TOO_LARGE, "step %s: its %s %s %s for these sizes", step->name, what, e->text, why);
  if (number < low || number > high)
    return refuse(b, KILN_TOO_LARGE, "step %s: its %s %s is %lld; the device takes %lld to %lld", step->name, what, e->text,
                  (long long)number, (long long)low, (long long)high);
  *out = (unsigned)number;
  return KILN_OK;
}

static kiln_status size_cluster(const Binder *b, const ContractStep *step, BoundStep *x) {
  kiln_status s = KILN_OK;
  for (int d = 0; !s && d < 3; d++) {
    s = take_number(b, step, "cluster", &step->cluster[d], 1, BIND_MAX_CLUSTER, &x->cluster[d]);
    if (!s && x->grid[d] % x->cluster[d])
      return refuse(b, KILN_UNSUPPORTED,
                    "step %s: its grid %s is %u, no multiple of the cluster's %s = %u; emit the file with roundup(%s,%u)",
                    step->name, step->grid[d].text, x->grid[d], step->cluster[d].text, x->cluster[d], step->grid[d].text,
                    x->cluster[d]);
  }
  unsigned blocks = s ? 1 : bind_cluster_blocks(x);
  if (blocks > BIND_MAX_CLUSTER)
    return refuse(b, KILN_UNSUPPORTED, "step %s: a cluster of %u blocks; devices take up to %d", step->name, blocks,
                  BIND_MAX_CLUSTER);
  if (blocks > 1 && !b->dev->limits.clusters)
    return refuse(b, KILN_UNSUPPORTED, "step %s needs thread block clusters; %s has none", step->name, b->dev->info.name);
  return s;
}

static kiln_status size_step(const Binder *b, const ContractStep *step, BoundStep *x) {
  const DeviceLimits *limits = &b->dev->limits;
  int64_t when = 1;
  *x = (BoundStep){.cluster = {1, 1, 1}};
  if (b->out->empty) return KILN_OK;
  const char *why = step->when.n ? expr_int(&step->when, b->out->value, &when) : NULL;
  if (why) return refuse(b, KILN_TOO_LARGE, "step %s: its condition %s %s", step->name, step->when.text, why);
  if (!when) return KILN_OK;
  kiln_status s = KILN_OK;
  for (int d = 0; !s && d < 3; d++) s = take_number(b, step, "grid", &step->grid[d], 0, limits->grid[d], &x->grid[d]);
  if (!s) s = take_number(b, step, "block", &step->block, 1, limits->block_threads, &x->block);
  if (!s) s = take_number(b, step, "shared", &step->shared, 0, INT32_MAX, &x->shared_bytes);
  if (!s && x->shared_bytes > (unsigned)limits->shared_bytes)
    s = refuse(b, KILN_UNSUPPORTED, "step %s needs %u bytes of shared memory; a block of %s has at most %d", step->name,
               x->shared_bytes, b->dev->info.name, limits->shared_bytes);
  if (!s && step->cluster[0].n) s = size_cluster(b, step, x);
  x->extended = step->pdl || bind_cluster_blocks(x) > 1;
  if (!s && x->extended && !b->dev->driver->cuLaunchKernelEx)
    s = refuse(b, KILN_UNSUPPORTED, "step %s: the driver of %s has no cuLaunchKernelEx, which came with CUDA 11.8; update it",
               step->name, b->dev->info.name);
  x->runs = !s && x->grid[0] && x->grid[1] && x->grid[2];
  return s;
}

/* ---- tensor maps ---- */

static const int64_t MAP_MAX_DIM = 1ll << 32, MAP_MAX_STRIDE = 1ll << 40; /* a stride is below, in bytes */

static const char *map_memory(const Binder *b, const ContractMap *m) {
  return m->kind == ARG_TENSOR ? b->c->tensor[m->index].name : b->c->workspace[m->index].name;
}

/* Dim d of the contract, the outer ones first, is the driver's dim rank - 1 - d. Where the size is 1 the stride does not matter: the
 * smallest that is legal is passed. A stride of 0 repeats the same elements. */
static kiln_status size_map_dim(Binder *b, const ContractMap *m, int d, BoundMap *out) {
  int64_t size, stride = 0, bytes = 0, element = (int64_t)kiln_dtype_bytes((kiln_dtype)m->dtype);
  const char *memory = map_memory(b, m);
  const char *why = expr_int(&m->dim[d], b->out->value, &size);
  if (why) return refuse(b, KILN_TOO_LARGE, "map %s of %s: its dim %s %s for these sizes", m->name, memory, m->dim[d].text, why);
  why = expr_int(&m->stride[d], b->out->value, &stride);
  if (why)
    return refuse(b, KILN_TOO_LARGE, "map %s of %s: its stride %s %s for these sizes", m->name, memory, m->stride[d].text, why);
  if (size < 1 || size > MAP_MAX_DIM)
    return refuse(b, KILN_REQUIRE, "map %s of %s: dim %d (%s) is %lld; a tensor map takes 1 to 2^32: add a file of the op without maps",
                  m->name, memory, d, m->dim[d].text, (long long)size);
  int place = m->rank - 1 - d;
  out->dim[place] = (uint64_t)size;
  if (place == 0) return KILN_OK;
  bool large = __builtin_mul_overflow(stride, element, &bytes);
  if (size == 1) bytes = BIND_MAP_ALIGN, large = false;
  if (!large && bytes % BIND_MAP_ALIGN) {
    b->out->demand = BIND_MAP_ALIGN;
    return refuse(b, KILN_BAD_ALIGN,
                  "map %s of %s: the stride of dim %d (%s) is %lld elements (%lld bytes); expected a multiple of %d bytes: pad the "
                  "rows, or add a file of the op without maps",
                  m->name, memory, d, m->stride[d].text, (long long)stride, (long long)bytes, BIND_MAP_ALIGN);
  }
  if (large || bytes < 0 || bytes >= MAP_MAX_STRIDE)
    return refuse(b, KILN_REQUIRE,
                  "map %s of %s: the stride of dim %d (%s) is %lld elements; a tensor map takes 0 to 2^40 - 1 bytes: add a file of the "
                  "op without maps",
                  m->name, memory, d, m->stride[d].text, (long long)stride);
  out->stride_bytes[place - 1] = (uint64_t)bytes;
  return KILN_OK;
}

/* A copy's bounds are the map's, not the tensor's: a map that reaches further would read and write what is not the call's. */
static kiln_status check_map_reach(const Binder *b, const ContractMap *m, const BoundMap *x) {
  bool tensor = m->kind == ARG_TENSOR;
  int64_t has = tensor ? b->views[b->out->tensor[m->index].view].extent_bytes : b->out->workspace_bytes[m->index];
  uint64_t element = kiln_dtype_bytes((kiln_dtype)m->dtype), reach = x->dim[0] * element, step;
  bool large = false;
  for (int i = 1; i < m->rank; i++) {
    large |= __builtin_mul_overflow(x->dim[i] - 1, x->stride_bytes[i - 1], &step);
    large |= __builtin_add_overflow(reach, step, &reach);
  }
  if (!large && reach <= (uint64_t)has) return KILN_OK;
  return refuse(b, KILN_BAD_CONTRACT, "map %s reaches %s%llu bytes behind the first of %s, which has %lld; emit the file anew", m->name,
                large ? "more than " : "", large ? (unsigned long long)UINT64_MAX : (unsigned long long)reach, map_memory(b, m),
                (long long)has);
}

static const uint8_t map_types[] = {
    [KILN_F64] = DRV_MAP_FLOAT64, [KILN_F32] = DRV_MAP_FLOAT32, [KILN_F16] = DRV_MAP_FLOAT16, [KILN_BF16] = DRV_MAP_BFLOAT16,
    [KILN_E4M3] = DRV_MAP_UINT8,  [KILN_E5M2] = DRV_MAP_UINT8,  [KILN_I64] = DRV_MAP_INT64,   [KILN_I32] = DRV_MAP_INT32,
    [KILN_I16] = DRV_MAP_UINT16,  [KILN_I8] = DRV_MAP_UINT8,    [KILN_U8] = DRV_MAP_UINT8,    [KILN_BOOL] = DRV_MAP_UINT8,
};

/* The address is one that any map may have: each launch puts its own in. */
static kiln_status encode_map(const Binder *b, const ContractMap *m, const BoundMap *x, DrvTensorMap *out) {
  static const uint32_t every[CONTRACT_MAX_MAP_RANK] = {1, 1, 1, 1, 1};
  enum { ANY_ADDRESS = 4096 };
  const DriverTable *driver = b->dev->driver;
  uint32_t box[CONTRACT_MAX_MAP_RANK];
  if (!driver->cuTensorMapEncodeTiled || !driver->cuTensorMapReplaceAddress)
    return refuse(b, KILN_UNSUPPORTED,
                  "map %s of %s: the driver of %s has no tensor maps (cuTensorMapEncodeTiled), which came with CUDA 12.0; update it, or "
                  "add a file of the op without maps",
                  m->name, map_memory(b, m), b->dev->info.name);
  for (int d = 0; d < m->rank; d++) box[m->rank - 1 - d] = m->box[d];
  unsigned type = m->tf32 ? DRV_MAP_TFLOAT32 : map_types[m->dtype];
  DrvResult result = driver->cuTensorMapEncodeTiled(
      (struct CUtensorMap_st *)out, type, m->rank, (void *)(uintptr_t)ANY_ADDRESS, x->dim, x->stride_bytes, box, every,
      DRV_MAP_INTERLEAVE_NONE, m->swizzle, m->l2, m->nan ? DRV_MAP_FILL_NAN : DRV_MAP_FILL_ZERO);
  if (!result) return KILN_OK;
  if (b->quiet) return KILN_UNSUPPORTED;
  driver_error(driver, result, "cuTensorMapEncodeTiled");
  return error_prefix(KILN_UNSUPPORTED, "map %s of %s: ", m->name, map_memory(b, m));
}

static kiln_status make_map(Binder *b, int i) {
  const ContractMap *m = &b->c->map[i];
  BoundMap *x = &b->out->map[i];
  const void *pointer = m->kind == ARG_TENSOR ? b->out->tensor[m->index].arg->data : NULL;
  if ((uintptr_t)pointer % BIND_MAP_ALIGN) {
    b->out->demand = BIND_MAP_ALIGN;
    return refuse(b, KILN_BAD_ALIGN, "tensor %s: pointer %p; map %s expects a multiple of %d bytes", map_memory(b, m), pointer, m->name,
                  BIND_MAP_ALIGN);
  }
  kiln_status s = KILN_OK;
  for (int d = 0; !s && d < m->rank; d++) s = size_map_dim(b, m, d, x);
  if (!s) s = check_map_reach(b, m, x);
  return s ? s : encode_map(b, m, x, &b->out->encoded[i]);
}

/* Only maps that a step takes: the others may have no sizes. */
static kiln_status make_maps(Binder *b) {
  const Contract *c = b->c;
  DeviceScope scope;
  if (!c->nmap) return KILN_OK;
  for (int i = 0; i < c->nmap; i++) b->out->map[i].used = false;
  for (int i = 0; i < c->nstep; i++)
    for (int a = 0; b->out->step[i].runs && a < c->step[i].nargs; a++)
      if (c->step[i].args[a].kind == ARG_MAP) b->out->map[c->step[i].args[a].index].used = true;
  kiln_status s = device_enter(b->dev, &scope);
  for (int i = 0; !s && i < c->nmap; i++)
    if (b->out->map[i].used) s = make_map(b, i);
  device_leave(b->dev, &scope);
  return s;
}

static void prepare(Binder *b) {
  Binding *out = b->out;
  memset(b->undecided, 0, (size_t)b->c->nsymbol * sizeof *b->undecided);
  memset(out->value, 0, (size_t)b->c->nsymbol * sizeof *out->value);
  out->value[SYMBOL_SMS].i = b->dev->info.sms;
  out->value[SYMBOL_BW].d = b->dev->info.bandwidth_bytes_ns;
  out->value[SYMBOL_TENSOR_RATE].d = b->dev->info.tensor_flop_ns;
  out->cost_ns = HUGE_VAL;
  out->demand = 0;
  out->nlimits = 0;
}

static void find_empty(Binder *b) {
  bool outputs = false;
  b->out->empty = true;
  for (int i = 0; i < b->c->ntensor; i++) {
    if (!b->c->tensor[i].out) continue;
    outputs = true;
    if (b->views[b->out->tensor[i].view].elements) b->out->empty = false;
  }
  if (!outputs) b->out->empty = false;
}

kiln_status bind_contract(const kiln_device *dev, const Contract *c, const ArgView *views, int nviews, bool quiet, Binding *out) {
  Binder b; /* its arrays are filled as far as the contract has names, not cleared whole: this runs for every candidate */
  b.dev = dev;
  b.c = c;
  b.views = views;
  b.nviews = nviews;
  b.quiet = quiet;
  b.out = out;
  b.used = 0;
  prepare(&b);
  kiln_status s = match_settings(&b);
  if (!s) s = match_names(&b);
  if (!s) s = match_kind(&b);
  if (!s) s = match_sizes(&b);
  if (s) return s;
  find_empty(&b);
  for (int k = 0, from = 0; k < c->ncollapse_list; from = c->collapse_end[k++]) collapse_dims(&b, c->collapse + from, c->collapse_end[k] - from);
  s = walk_items(&b, false);
  if (!s) s = match_alignment(&b);
  if (!s) s = match_overlap(&b);
  if (!s) s = walk_items(&b, true);
  if (!s) s = size_workspaces(&b);
  for (int i = 0; !s && i < c->nstep; i++) s = size_step(&b, &c->step[i], &out->step[i]);
  if (!s) s = make_maps(&b);
  if (!s && c->cost.n) {
    expr_real(&c->cost, out->value, &out->cost_ns);
    if (isnan(out->cost_ns)) out->cost_ns = HUGE_VAL;
  }
  return s;
}
