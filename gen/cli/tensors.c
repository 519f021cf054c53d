/* tensors.c - layout, filling and transport of a case's tensors; see tensors.h. */
#include "tensors.h"
#include "number.h"
#include <string.h>

/* ---- layout ---- */

/* The dims as the caller sees them: a leading dim is split, a first one may be missing or 1. of[i]: the dim of the definition. */
static int expand(const Case *c, const CaseTensor *tensor, const Majors *majors, int64_t *shape, int *of) {
  const DefTensor *t = tensor->def;
  int rank = 0;
  for (int i = 0; i < t->rank; i++) {
    int d = t->dim[i];
    bool split = c->nlead[d] > 1;
    if (i == 0 && majors->may_lack[tensor->index] && c->size[d] == 1 && c->number % 2) continue;
    if (i == 0 && majors->may_be_one[tensor->index] && c->layout == LAYOUT_STRIDED && tensor->index % 2 == 1) {
      of[rank] = d;
      shape[rank++] = 1;
      continue;
    }
    for (int k = 0; k < (split ? c->nlead[d] : 1); k++) {
      of[rank] = d;
      shape[rank++] = split ? c->lead[d][k] : c->size[d];
    }
  }
  return rank;
}

/* Dims from the innermost in memory to the outermost. Strided cases turn the two outermost dims of every second tensor. */
static void order_dims(const CaseTensor *t, const Case *c, int from_end, int *order) {
  int unit = t->rank - from_end, n = 0;
  if (unit < 0) unit = t->rank - 1;
  order[n++] = unit;
  for (int i = t->rank - 1; i >= 0; i--)
    if (i != unit) order[n++] = i;
  if (c->layout == LAYOUT_STRIDED && t->index % 2 == 1 && n > 2) {
    int outer = order[n - 1];
    order[n - 1] = order[n - 2];
    order[n - 2] = outer;
  }
}

static int64_t at_least_one(int64_t n) { return n > 0 ? n : 1; }

/* How far apart neighbours in a row lie where columns have a stride: every third input has all of them in one place. */
static int64_t column_step(const CaseTensor *t, const Case *c) {
  if (c->layout != LAYOUT_COLUMNS) return 1;
  return !t->def->is_out && !c->in_place && (t->index + c->number) % 3 == 1 ? 0 : 2 + t->index % 2;
}

/* Strides from the inside out. Strided: gaps of a multiple of 16 elements, so that 16-byte pieces stay aligned; unaligned: odd.
 * Broadcast: every second input has one row for all. */
static void lay_strides(CaseTensor *t, const Case *c, int from_end) {
  int order[TENSOR_MAX_RANK];
  int64_t next = column_step(t, c);
  bool repeated = c->layout == LAYOUT_BROADCAST && !t->def->is_out && (t->index + c->number) % 2 == 0;
  order_dims(t, c, from_end, order);
  for (int i = 0; i < t->rank; i++) {
    t->stride[order[i]] = repeated && i > 0 ? 0 : next;
    next = at_least_one(next * t->shape[order[i]]);
    if (c->layout == LAYOUT_STRIDED) next = (next + 15) / 16 * 16 + 16 * (1 + t->index % 3);
    if (c->layout == LAYOUT_UNALIGNED && i == 0) next = next + 2 + next % 2 - 1 + 2 * (t->index % 2);
  }
}

static bool has_dim(const DefTensor *t, int d) {
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] == d) return true;
  return false;
}

/* Offsets by index of a dim of the definition; a split one counts through its parts, the last one fastest; a missing or repeated
 * one stays where it is. */
static void lay_offsets(CaseTensor *t, const KilnDef *def, const Case *c) {
  for (int d = 0; d < def->ndims; d++) {
    int parts[TENSOR_MAX_RANK], n = 0;
    for (int i = 0; i < t->rank; i++)
      if (t->of[i] == d) parts[n++] = i;
    if (!has_dim(t->def, d)) continue;
    t->offset[d] = cli_alloc((size_t)at_least_one(c->size[d]) * sizeof(int64_t));
    for (int64_t i = 0; i < c->size[d]; i++) {
      int64_t rest = i, at = 0;
      for (int k = n - 1; k >= 0; k--) {
        at += rest % t->shape[parts[k]] * t->stride[parts[k]];
        rest /= t->shape[parts[k]];
      }
      t->offset[d][i] = at;
    }
  }
}

static void make_memory(CaseTensor *t, const KilnDef *def, const Case *c, bool guard) {
  lay_offsets(t, def, c);
  size_t bytes = number_bytes(t->def->dtype);
  int64_t span = 1;
  for (int i = 0; i < t->rank; i++) span += (at_least_one(t->shape[i]) - 1) * t->stride[i];
  for (int i = 0; i < t->rank; i++)
    if (t->shape[i] == 0) span = 0;
  int64_t fence = guard ? (int64_t)(256 / bytes) : 0; /* the allocation's own alignment is kept */
  t->first = fence + (c->layout == LAYOUT_UNALIGNED ? 1 + (t->over ? t->over->index : t->index) % 2 * 2 : 0);
  t->elems = t->first + span + fence;
  t->host = cli_alloc((size_t)at_least_one(t->elems) * bytes);
  number_fill(t->def->dtype, t->host, (size_t)t->elems, number_poison(t->def->dtype));
}

/* In place: the output lies as the input does, and takes its memory. */
static void lay_over(CaseData *d, CaseTensor *t) {
  if (!d->c->in_place || !t->def->is_out || t->def->over < 0) return;
  for (CaseTensor *x = d->tensor; x < t; x++) {
    if (x->index != t->def->over || x->def->dtype != t->def->dtype || x->rank != t->rank) continue;
    if (memcmp(x->shape, t->shape, (size_t)t->rank * sizeof *t->shape) != 0) continue;
    t->over = x;
    x->overwritten = true;
    memcpy(t->stride, x->stride, (size_t)t->rank * sizeof *t->stride);
  }
}

void tensors_shape(CaseData *d, const KilnDef *def, const Case *c, const Majors *majors) {
  memset(d, 0, sizeof *d);
  d->def = def;
  d->c = c;
  for (int i = 0; i < def->ntensors; i++) {
    if (!def->tensor[i].present) continue;
    CaseTensor *t = &d->tensor[d->ntensors++];
    t->def = &def->tensor[i];
    t->index = i;
    t->rank = expand(c, t, majors, t->shape, t->of);
    lay_strides(t, c, majors->from_end[i] ? majors->from_end[i] : 1);
    lay_over(d, t);
    t->view = (kiln_tensor){.dtype = t->def->dtype, .rank = t->rank, .shape = t->shape, .strides = t->stride};
  }
  for (int i = 0; i < def->nscalars; i++) d->scalar[i] = number_round(def->scalar[i].dtype, case_scalar(&def->scalar[i], c->scalars));
}

void tensors_make_these(CaseData *d, const KilnDef *def, const Case *c, const Majors *majors, bool guard, uint32_t tensors) {
  tensors_shape(d, def, c, majors);
  for (int i = 0; i < d->ntensors; i++)
    if (tensors >> d->tensor[i].index & 1) make_memory(&d->tensor[i], def, c, guard);
}

void tensors_make(CaseData *d, const KilnDef *def, const Case *c, const Majors *majors, bool guard) {
  tensors_make_these(d, def, c, majors, guard, ~0u);
}

void tensors_free(CaseData *d, const Device *dev) {
  for (int i = 0; i < d->ntensors; i++) {
    CaseTensor *t = &d->tensor[i];
    if (t->device && !t->over) kiln_free(dev->dev, t->device);
    cli_free(t->host);
    for (int k = 0; k < DEF_MAX_DIMS; k++) cli_free(t->offset[k]);
  }
  memset(d, 0, sizeof *d);
}

void tensors_share(CaseData *to, const CaseData *from) {
  *to = *from;
  for (int i = 0; i < to->ntensors; i++) {
    CaseTensor *t = &to->tensor[i];
    t->device = NULL;
    t->view.shape = t->shape;
    t->view.strides = t->stride;
    if (t->over) t->over = &to->tensor[t->over - from->tensor];
  }
}

void tensors_unshare(CaseData *d, const Device *dev) {
  for (int i = 0; i < d->ntensors; i++)
    if (d->tensor[i].device && !d->tensor[i].over) kiln_free(dev->dev, d->tensor[i].device);
  memset(d, 0, sizeof *d);
}

/* ---- filling ---- */

static double draw(kiln_dtype dtype, Random *r) {
  if (dtype == KILN_BOOL) return (double)random_below(r, 2);
  if (!number_is_float(dtype)) return (double)random_below(r, 17) + (dtype == KILN_U8 ? 120 : -8); /* around the u8 format's zero */
  return random_normal(r);
}

/* What everything is divided by. Of such a size that the u8 format's values above come to be as large as other numbers, and sums of their
 * products stay far from the end of f16, through which they may go: next to it nobody can say what is infinite in f32. Special: so
 * small that some of the sums are beyond it. */
static double draw_divisor(bool special, Random *r) {
  double x = (4 + 4 * random_uniform(r)) * (special ? 0x1p-5 : 1);
  return random_below(r, 2) ? x : -x;
}

/* About one element in 64 of a kind that goes wrong easily; NaN and infinities are sown apart, a few in all. */
static double draw_special(kiln_dtype dtype, Random *r) {
  double x = draw(dtype, r);
  if (!number_is_float(dtype)) return x;
  switch (random_below(r, 256)) {
  case 0: return 0.0;
  case 1: return -0.0;
  case 2: return x * 0x1p-120; /* subnormal, or zero after rounding */
  case 3: return x * 256;
  default: return x;
  }
}

typedef struct Walk { /* over the elements of a view: its last dim of the definition runs fastest */
  const CaseTensor *t;
  int dim[DEF_MAX_DIMS], n;
  int64_t at[DEF_MAX_DIMS], extent[DEF_MAX_DIMS], total;
} Walk;

static Walk walk_view(const CaseTensor *t, const Case *c) {
  Walk w = {.t = t, .n = t->def->rank, .total = 1};
  for (int i = 0; i < w.n; i++) {
    w.dim[i] = t->def->dim[i];
    w.extent[i] = c->size[w.dim[i]];
    w.total *= w.extent[i];
  }
  return w;
}

/* The position of the current element in the buffer; then goes on. */
static int64_t walk_on(Walk *w) {
  int64_t at = w->t->first;
  for (int i = 0; i < w->n; i++) at += w->t->offset[w->dim[i]][w->at[i]];
  for (int i = w->n - 1; i >= 0 && ++w->at[i] == w->extent[i]; i--) w->at[i] = 0;
  return at;
}

static void sow(CaseTensor *t, const Case *c, Random *r) {
  static const double seeds[] = {__builtin_nan(""), __builtin_inf(), -__builtin_inf()};
  size_t bytes = number_bytes(t->def->dtype);
  for (int k = 0; k < (t->def->finite ? 1 : 3) && number_is_float(t->def->dtype); k++) {
    int64_t at = t->first;
    for (int i = 0; i < t->def->rank; i++) at += t->offset[t->def->dim[i]][random_below(r, (uint64_t)c->size[t->def->dim[i]])];
    number_store(t->def->dtype, t->host + (size_t)at * bytes, seeds[k]);
  }
}

/* Millions of elements: the same million numbers over and over, from a random place on in each row. */
static void fill_large(CaseTensor *t, Walk *w, Random *r) {
  enum { NUMBERS = 1 << 20 };
  size_t bytes = number_bytes(t->def->dtype);
  int64_t inner = w->extent[w->n - 1], *last = t->offset[w->dim[w->n - 1]];
  bool dense = inner < 2 || last[inner - 1] == inner - 1;
  char *numbers = cli_alloc(NUMBERS * bytes);
  for (int64_t i = 0; i < NUMBERS; i++) number_store(t->def->dtype, numbers + (size_t)i * bytes, draw(t->def->dtype, r));
  for (int64_t row = 0; row < w->total; row += inner) {
    int64_t from = (int64_t)random_below(r, NUMBERS);
    for (int64_t i = 0, n; i < inner; i += n, from = (from + n) % NUMBERS) {
      n = !dense ? 1 : inner - i < NUMBERS - from ? inner - i : NUMBERS - from;
      w->at[w->n - 1] = i + n - 1; /* and on from there: to the next row after the last piece */
      int64_t at = walk_on(w) - (dense ? n - 1 : 0);
      memcpy(t->host + (size_t)at * bytes, numbers + (size_t)from * bytes, (size_t)n * bytes);
    }
  }
  cli_free(numbers);
}

void tensors_fill(CaseData *d, Random *r) {
  /* NaN and infinities in every input; or, every second time, in one: of two that are multiplied the other is then known good,
   * and a sum over rows is NaN in few columns only. */
  uint32_t divisors = cases_divisors(d->def);
  int only = d->c->special && random_below(r, 2) ? (int)random_below(r, (uint64_t)d->ntensors) : -1;
  for (int i = 0; i < d->ntensors; i++) {
    CaseTensor *t = &d->tensor[i];
    if (t->def->is_out || !t->host) continue;
    Walk w = walk_view(t, d->c);
    if (w.total > 1 << 22 && !d->c->special && number_is_float(t->def->dtype)) {
      fill_large(t, &w, r);
      continue;
    }
    size_t bytes = number_bytes(t->def->dtype);
    int64_t total = w.total, inner = w.n ? w.extent[w.n - 1] : 1;
    uint64_t row = 0; /* conditions: of some rows all, or none, so that a row may be masked as a whole */
    for (int64_t k = 0; k < total; k++) {
      if (k % inner == 0) row = random_below(r, 4);
      double x = d->c->special ? draw_special(t->def->dtype, r) : draw(t->def->dtype, r);
      if (divisors >> t->index & 1) x = draw_divisor(d->c->special, r);
      if (t->def->dtype == KILN_BOOL && row < 2) x = (double)row;
      number_store(t->def->dtype, t->host + (size_t)walk_on(&w) * bytes, x);
    }
    bool sown = d->c->special && (only < 0 || only == i);
    if (sown && total > 64 && t->def->rank > 1) sow(t, d->c, r); /* not into a vector that all rows share */
  }
}

void tensors_fill_fast(CaseData *d, Random *r) {
  for (int i = 0; i < d->ntensors; i++) {
    CaseTensor *t = &d->tensor[i];
    if (t->def->is_out) continue;
    size_t bytes = number_bytes(t->def->dtype);
    int64_t block = t->elems < 1 << 20 ? t->elems : 1 << 20;
    for (int64_t k = 0; k < block; k++) number_store(t->def->dtype, t->host + (size_t)k * bytes, draw(t->def->dtype, r));
    for (int64_t k = block; k < t->elems; k += block)
      memcpy(t->host + (size_t)k * bytes, t->host, (size_t)(t->elems - k < block ? t->elems - k : block) * bytes);
  }
}

/* ---- transport ---- */

static bool send(CaseTensor *t, const Device *dev) {
  size_t bytes = (size_t)t->elems * number_bytes(t->def->dtype);
  if (!bytes || t->over || kiln_upload(dev->dev, t->device, t->host, bytes) == KILN_OK) return true;
  cli_error("%s: %s", t->def->name, kiln_error());
  return false;
}

bool tensors_upload(CaseData *d, const Device *dev) {
  for (int i = 0; i < d->ntensors; i++) {
    CaseTensor *t = &d->tensor[i];
    size_t bytes = (size_t)t->elems * number_bytes(t->def->dtype);
    if (t->over) {
      t->device = t->over->device;
    } else if (kiln_malloc(dev->dev, &t->device, bytes) != KILN_OK) {
      cli_error("%s: %s", t->def->name, kiln_error());
      return false;
    }
    if (!send(t, dev)) return false;
    t->view.data = t->device ? (char *)t->device + (size_t)t->first * number_bytes(t->def->dtype) : NULL;
  }
  return true;
}

bool tensors_restore(CaseData *d, const Device *dev) {
  for (int i = 0; i < d->ntensors; i++)
    if (!send(&d->tensor[i], dev)) return false;
  return true;
}

/* ---- arguments ---- */

int tensors_args(const CaseData *d, const kiln_gen_pair *options, int noptions, kiln_arg *args, int room) {
  int n = 0;
  for (int i = 0; i < d->ntensors && n < room; i++)
    args[n++] = (kiln_arg){.name = d->tensor[i].def->name, .tensor = &d->tensor[i].view};
  for (int i = 0; i < d->def->nscalars && n < room; i++)
    if (!d->def->scalar[i].at_call) args[n++] = (kiln_arg){.name = d->def->scalar[i].name, .scalar = d->scalar[i]};
  for (int i = 0; i < noptions && n < room; i++) args[n++] = (kiln_arg){.name = options[i].key, .text = options[i].value};
  return n;
}

void tensors_pointers(const CaseData *d, const kiln_plan *plan, int n, void **pointers) {
  for (int i = 0; i < n; i++) {
    pointers[i] = NULL;
    for (int k = 0; k < d->ntensors; k++)
      if (strcmp(d->tensor[k].def->name, kiln_plan_tensor_name(plan, i)) == 0) pointers[i] = d->tensor[k].view.data;
  }
}

void tensors_scalars(const CaseData *d, const kiln_plan *plan, int n, kiln_scalar *scalars) {
  for (int i = 0; i < n; i++) {
    scalars[i].i = 0;
    for (int k = 0; k < d->def->nscalars; k++) {
      const DefScalar *s = &d->def->scalar[k];
      if (strcmp(s->name, kiln_plan_scalar_name(plan, i)) != 0) continue;
      if (number_is_float(s->dtype)) scalars[i].f = d->scalar[k];
      else scalars[i].i = (int64_t)d->scalar[k];
    }
  }
}

bool tensors_move_scalars(CaseData *d, int step) {
  bool any = false;
  for (int i = 0; i < d->def->nscalars; i++) {
    const DefScalar *s = &d->def->scalar[i];
    if (!s->at_call) continue;
    double whole = d->scalar[i] > 1 << 20 ? 1 : d->scalar[i] + step, x = number_is_float(s->dtype) ? d->scalar[i] * 0.75 : whole;
    if (x < 0 && d->scalar[i] >= 0) x = d->scalar[i]; /* a position, say */
    any |= x != d->scalar[i];
    d->scalar[i] = number_round(s->dtype, x);
  }
  return any;
}
