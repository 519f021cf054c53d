/* evaluate.c - walks a definition node by node, chunk by chunk; see evaluate.h. */
#include "evaluate.h"
#include "../../runtime/alloc.h"
#include "number.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Walk {
  const EvalInput *in;
  uint32_t *dims;     /* by node: the dims of its value */
  uint8_t *needed;    /* by node: an output needs it */
  EvalValue *value;   /* by node */
  EvalShape shape;    /* of the running chunk */
  int chunk_dim;      /* -1: everything at once */
  int64_t start;      /* first index of the chunk */
  char *why;
  size_t why_bytes;
} Walk;

static bool refuse(Walk *w, const char *text, uint32_t node) {
  snprintf(w->why, w->why_bytes, "definition of %s, node %u: %s", w->in->def->op, node, text);
  return false;
}

/* ---- arrays ---- */

int64_t eval_stride(uint32_t dims, const EvalShape *s, int d) {
  if (!(dims >> d & 1)) return 0;
  int64_t stride = 1;
  for (int i = d + 1; i < DEF_MAX_DIMS; i++)
    if (dims >> i & 1) stride *= s->extent[i];
  return stride;
}

int64_t eval_elems(uint32_t dims, const EvalShape *s) {
  int64_t n = 1;
  for (int i = 0; i < DEF_MAX_DIMS; i++)
    if (dims >> i & 1) n *= s->extent[i];
  return n;
}

void eval_release(EvalValue *x) {
  if (x->v) kiln_mem(x->v, x->elems * sizeof(double), 0);
  if (x->e) kiln_mem(x->e, x->elems * sizeof(double), 0);
  x->v = x->e = NULL;
  x->elems = 0;
}

bool eval_room(EvalValue *x, bool error, size_t elems) {
  if (elems == 0) elems = 1;
  if (x->elems < elems || !x->v || (error && !x->e)) {
    eval_release(x);
    x->elems = elems;
    x->v = kiln_mem(NULL, 0, elems * sizeof(double));
    if (error) x->e = kiln_mem(NULL, 0, elems * sizeof(double));
    if (!x->v || (error && !x->e)) {
      eval_release(x);
      return false;
    }
  }
  return true;
}

/* ---- what an output needs, and over which dims each node ranges ---- */

static int expected_args(uint8_t op) {
  if (op <= DEF_DIM) return 0;
  if (op == DEF_WHERE) return 3;
  if (op == DEF_DOT || (op >= DEF_ADD && op <= DEF_OR)) return 2;
  return 1;
}

static bool reduces(const DefNode *n) { return n->op == DEF_SUM || n->op == DEF_AMAX || n->op == DEF_AMIN || n->op == DEF_DOT; }

static uint32_t tensor_dims(const DefTensor *t) {
  uint32_t mask = 0;
  for (int i = 0; i < t->rank; i++) mask |= 1u << t->dim[i];
  return mask;
}

/* The node that an output is compared with. Its own last rounding is left to the comparison, which admits it once. */
static int32_t output_node(const KilnDef *def, int t) {
  const DefTensor *o = &def->tensor[t];
  if (!o->is_out || !o->present || o->value < 0 || (uint32_t)o->value >= def->nnodes) return -1;
  const DefNode *n = &def->node[o->value];
  return n->op == DEF_ROUND && n->dtype == o->dtype && n->arg[0] < (uint32_t)o->value ? (int32_t)n->arg[0] : o->value;
}

static void mark_needed(const KilnDef *def, uint8_t *needed) {
  memset(needed, 0, def->nnodes);
  for (int t = 0; t < def->ntensors; t++)
    if (output_node(def, t) >= 0) needed[output_node(def, t)] = 1;
  for (uint32_t i = def->nnodes; i-- > 0;)
    if (needed[i])
      for (int k = 0; k < expected_args(def->node[i].op); k++)
        if (def->node[i].arg[k] < i) needed[def->node[i].arg[k]] = 1;
}

static bool check_leaf(Walk *w, uint32_t i) {
  const KilnDef *def = w->in->def;
  const DefNode *n = &def->node[i];
  if (n->op == DEF_SCALAR && n->index >= def->nscalars) return refuse(w, "names a scalar that is not there", i);
  if (n->op == DEF_DIM && n->index >= def->ndims) return refuse(w, "names a dim that is not there", i);
  if (n->op != DEF_ARG) return true;
  if (n->index >= def->ntensors) return refuse(w, "names a tensor that is not there", i);
  const DefTensor *t = &def->tensor[n->index];
  if (!t->present || !w->in->tensor[n->index].data) return refuse(w, "reads a tensor that is absent", i);
  w->dims[i] = tensor_dims(t);
  for (int d = 0; d < def->ndims; d++)
    if (w->dims[i] >> d & 1 && !w->in->tensor[n->index].offset[d]) return refuse(w, "reads a tensor without its strides", i);
  return true;
}

static bool infer_dims(Walk *w) {
  const KilnDef *def = w->in->def;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    w->dims[i] = 0;
    if (!w->needed[i]) continue;
    if (n->op > DEF_DOT) return refuse(w, "unknown operation", i);
    int nargs = expected_args(n->op);
    for (int k = 0; k < nargs; k++) {
      if (n->arg[k] >= i) return refuse(w, "uses a node that comes later", i);
      w->dims[i] |= w->dims[n->arg[k]];
    }
    if (nargs == 0 && !check_leaf(w, i)) return false;
    if (!reduces(n)) continue;
    if (n->index >= def->ndims) return refuse(w, "reduces a dim that is not there", i);
    uint32_t bit = 1u << n->index;
    if (!(w->dims[i] & bit)) return refuse(w, "reduces a dim that its operand lacks", i);
    if (n->op == DEF_DOT && !(w->dims[n->arg[0]] & w->dims[n->arg[1]] & bit))
      return refuse(w, "multiplies over a dim that one operand lacks", i);
    if (w->in->count[n->index] != w->in->size[n->index]) return refuse(w, "reduces a dim that was sampled", i);
    w->dims[i] &= ~bit;
  }
  for (int t = 0; t < def->ntensors; t++) {
    const DefTensor *o = &def->tensor[t];
    if (!o->is_out || !o->present) continue;
    int32_t value = output_node(def, t);
    if (value < 0) return refuse(w, "an output that nothing is assigned to", 0);
    if (w->dims[value] & ~tensor_dims(o)) return refuse(w, "an output that lacks a dim of its value", (uint32_t)value);
  }
  return true;
}

static uint32_t reduced_dims(const KilnDef *def, const uint8_t *needed) {
  uint32_t mask = 0;
  for (uint32_t i = 0; i < def->nnodes; i++)
    if (needed[i] && reduces(&def->node[i])) mask |= 1u << def->node[i].index;
  return mask;
}

uint32_t evaluate_samplable(const KilnDef *def) {
  uint8_t *needed = kiln_mem(NULL, 0, def->nnodes + 1);
  if (!needed) return 0;
  mark_needed(def, needed);
  uint32_t all = (1u << def->ndims) - 1u, mask = all & ~reduced_dims(def, needed);
  kiln_mem(needed, def->nnodes + 1, 0);
  return mask;
}

/* ---- one node ---- */

static bool eval_leaf(Walk *w, uint32_t i, double x) {
  EvalValue *out = &w->value[i];
  /* A constant that f32 cannot hold is rounded by the kernel. */
  bool error = (float)x != x && isfinite(x);
  if (!eval_room(out, error, 1)) return refuse(w, "out of memory", i);
  out->v[0] = x;
  if (error) out->e[0] = fabs(x) * EVAL_U;
  return true;
}

/* Reads rows of the innermost dim; what lies outside advances like an odometer. */
static bool eval_arg(Walk *w, uint32_t i) {
  const EvalTensor *t = &w->in->tensor[w->in->def->node[i].index];
  EvalValue *out = &w->value[i];
  int dim[DEF_MAX_DIMS], n = 0;
  int64_t extent[DEF_MAX_DIMS], at[DEF_MAX_DIMS] = {0}, first[DEF_MAX_DIMS];
  for (int d = 0; d < DEF_MAX_DIMS; d++)
    if (w->dims[i] >> d & 1) {
      dim[n] = d;
      first[n] = d == w->chunk_dim ? w->start : 0;
      extent[n++] = w->shape.extent[d];
    }
  int64_t total = eval_elems(w->dims[i], &w->shape);
  if (!eval_room(out, false, (size_t)total)) return refuse(w, "out of memory", i);
  size_t bytes = number_bytes(t->dtype);
  int64_t inner = n ? extent[n - 1] : 1;
  const int64_t *row = n ? t->offset[dim[n - 1]] + first[n - 1] : NULL;
  for (int64_t done = 0; done < total; done += inner) {
    int64_t base = 0;
    for (int k = 0; k < n - 1; k++) base += t->offset[dim[k]][first[k] + at[k]];
    const char *p = (const char *)t->data + base * (int64_t)bytes;
    double *v = out->v + done;
    for (int64_t j = 0; j < inner; j++) v[j] = number_load(t->dtype, p + (row ? row[j] : 0) * (int64_t)bytes);
    for (int k = n - 2; k >= 0 && ++at[k] == extent[k]; k--) at[k] = 0;
  }
  return true;
}

static bool eval_node(Walk *w, uint32_t i) {
  const KilnDef *def = w->in->def;
  const DefNode *n = &def->node[i];
  EvalValue *out = &w->value[i];
  out->dims = w->dims[i];
  const EvalValue *arg[3] = {0};
  for (int k = 0; k < expected_args(n->op); k++) arg[k] = &w->value[n->arg[k]];
  bool done = false;
  switch (n->op) {
  case DEF_ARG: return eval_arg(w, i);
  case DEF_CONST: return eval_leaf(w, i, n->value);
  case DEF_DIM: return eval_leaf(w, i, (double)w->in->size[n->index]);
  case DEF_SCALAR: return eval_leaf(w, i, number_round(def->scalar[n->index].dtype, w->in->scalar[n->index]));
  case DEF_SUM: case DEF_AMAX: case DEF_AMIN: done = eval_reduce(n, arg[0], out, &w->shape); break;
  case DEF_DOT: done = eval_dot(n, arg[0], arg[1], out, &w->shape); break;
  default: done = eval_elementwise(n, arg, out, &w->shape); break;
  }
  return done || refuse(w, "out of memory", i);
}

/* ---- handing out ---- */

/* An output may have more dims than its value: then the value is repeated along them. */
static bool hand_out(Walk *w, int t, EvalValue *spread, EvalSink sink, void *user) {
  const DefTensor *o = &w->in->def->tensor[t];
  EvalValue *x = &w->value[output_node(w->in->def, t)];
  uint32_t dims = tensor_dims(o);
  EvalChunk chunk = {.tensor = t, .dims = dims};
  for (int d = 0; d < DEF_MAX_DIMS; d++) {
    chunk.count[d] = dims >> d & 1 ? w->shape.extent[d] : 1;
    chunk.start[d] = d == w->chunk_dim ? w->start : 0;
  }
  DefNode copy = {.op = DEF_ADD, .nargs = 2};
  double zero = 0;
  EvalValue zeros = {.v = &zero, .elems = 1, .dims = dims}; /* gives the sum its dims, read through stride 0 */
  if (x->dims != dims || !x->e) {
    zeros.dims = 0;
    spread->dims = dims;
    const EvalValue *arg[3] = {x, &zeros, NULL};
    if (!eval_elementwise(&copy, arg, spread, &w->shape)) return refuse(w, "out of memory", (uint32_t)o->value);
    if (!x->e) memset(spread->e, 0, (size_t)eval_elems(dims, &w->shape) * sizeof(double));
    x = spread;
  }
  chunk.value = x->v;
  chunk.error = x->e;
  sink(user, &chunk);
  return true;
}

/* ---- the chunks ---- */

/* The chunked dim must belong to every output and be reduced nowhere; of those, the one with most indices. */
static int choose_chunk_dim(const Walk *w) {
  const KilnDef *def = w->in->def;
  uint32_t mask = ((1u << def->ndims) - 1u) & ~reduced_dims(def, w->needed);
  for (int t = 0; t < def->ntensors; t++)
    if (def->tensor[t].is_out && def->tensor[t].present) mask &= tensor_dims(&def->tensor[t]);
  int best = -1;
  for (int d = 0; d < def->ndims; d++)
    if (mask >> d & 1 && (best < 0 || w->in->count[d] > w->in->count[best])) best = d;
  return best;
}

/* As many indices as keep the largest array of a chunk in the second-level cache; a product wants taller ones, to use its
 * second operand more often. */
static int64_t choose_chunk(const Walk *w) {
  const KilnDef *def = w->in->def;
  int64_t widest = 1, budget = 1 << 15;
  EvalShape one = w->shape;
  one.extent[w->chunk_dim] = 1;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    if (!w->needed[i]) continue;
    if (def->node[i].op == DEF_DOT) budget = 1 << 20;
    if (w->dims[i] >> w->chunk_dim & 1 && eval_elems(w->dims[i], &one) > widest) widest = eval_elems(w->dims[i], &one);
  }
  int64_t n = budget / widest;
  return n < 1 ? 1 : n;
}

static bool walk_nodes(Walk *w, bool with_chunk_dim) {
  for (uint32_t i = 0; i < w->in->def->nnodes; i++) {
    bool has = w->chunk_dim >= 0 && w->dims[i] >> w->chunk_dim & 1;
    if (w->needed[i] && has == with_chunk_dim && !eval_node(w, i)) return false;
  }
  return true;
}

static bool walk(Walk *w, EvalSink sink, void *user) {
  const EvalInput *in = w->in;
  mark_needed(in->def, w->needed);
  if (!infer_dims(w)) return false;
  for (int d = 0; d < DEF_MAX_DIMS; d++) w->shape.extent[d] = d < in->def->ndims ? in->count[d] : 1;
  w->chunk_dim = choose_chunk_dim(w);
  int64_t whole = w->chunk_dim < 0 ? 1 : in->count[w->chunk_dim], step = w->chunk_dim < 0 ? 1 : choose_chunk(w);
  EvalValue spread = {0};
  bool ok = walk_nodes(w, false); /* what does not depend on the chunk, once */
  for (w->start = 0; ok && w->start < whole; w->start += step) {
    if (w->chunk_dim >= 0) w->shape.extent[w->chunk_dim] = whole - w->start < step ? whole - w->start : step;
    ok = walk_nodes(w, true);
    for (int t = 0; ok && t < in->def->ntensors; t++)
      if (in->def->tensor[t].is_out && in->def->tensor[t].present) ok = hand_out(w, t, &spread, sink, user);
  }
  eval_release(&spread);
  return ok;
}

bool evaluate(const EvalInput *in, EvalSink sink, void *user, char *why, size_t why_bytes) {
  size_t n = in->def->nnodes ? in->def->nnodes : 1, bytes = n * (sizeof(uint32_t) + sizeof(EvalValue) + 1);
  char *memory = kiln_mem(NULL, 0, bytes);
  if (!memory) {
    snprintf(why, why_bytes, "out of memory");
    return false;
  }
  memset(memory, 0, bytes);
  Walk w = {.in = in, .why = why, .why_bytes = why_bytes};
  w.value = (EvalValue *)memory;
  w.dims = (uint32_t *)(w.value + n);
  w.needed = (uint8_t *)(w.dims + n);
  bool ok = walk(&w, sink, user);
  for (size_t i = 0; i < n; i++) eval_release(&w.value[i]);
  kiln_mem(memory, bytes, 0);
  return ok;
}

double evaluate_work(const KilnDef *def, const int64_t count[DEF_MAX_DIMS]) {
  EvalInput in = {.def = def};
  size_t n = def->nnodes + 1, bytes = n * (sizeof(uint32_t) + 1);
  char *memory = kiln_mem(NULL, 0, bytes);
  if (!memory) return 0;
  Walk w = {.in = &in, .dims = (uint32_t *)memory, .needed = (uint8_t *)memory + n * sizeof(uint32_t)};
  mark_needed(def, w.needed);
  double work = 0;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *node = &def->node[i];
    uint32_t dims = node->op == DEF_ARG && node->index < def->ntensors ? tensor_dims(&def->tensor[node->index]) : 0;
    for (int k = 0; k < expected_args(node->op); k++)
      if (node->arg[k] < i) dims |= w.dims[node->arg[k]];
    double elems = 1;
    for (int d = 0; d < def->ndims; d++)
      if (dims >> d & 1) elems *= (double)count[d];
    if (w.needed[i]) work += node->op == DEF_DOT ? elems / 4 : elems; /* products run in blocks: about four times as fast */
    w.dims[i] = reduces(node) ? dims & ~(1u << node->index) : dims;
  }
  kiln_mem(memory, bytes, 0);
  return work;
}
