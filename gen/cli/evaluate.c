/* evaluate.c - walks a definition node by node, chunk by chunk; see evaluate.h. */
#include "evaluate.h"
#include "../../runtime/alloc.h"
#include "evaluate_plan.h"
#include "number.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* When a node is evaluated, seen from the chunked dim. */
enum { BEFORE, WITHIN, AFTER }; /* does not depend on it; has it; depends on a reduction over it */

typedef struct Walk {
  const EvalInput *in;
  uint32_t *dims;     /* by node: the dims of its value */
  uint8_t *needed;    /* by node: an output needs it */
  uint8_t *stage;     /* by node */
  EvalValue *value;   /* by node */
  EvalShape shape;    /* of the running chunk */
  int chunk_dim;      /* -1: everything at once */
  EvalWhy why;
} Walk;

static bool refuse(Walk *w, const char *text, uint32_t node) {
  snprintf(w->why.text, w->why.bytes, "definition of %s, node %u: %s", w->in->def->op, node, text);
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

static void release(double **x, size_t elems) {
  if (*x) kiln_mem(*x, elems * sizeof(double), 0);
  *x = NULL;
}

void eval_release(EvalValue *x) {
  release(&x->v, x->elems);
  release(&x->e, x->elems);
  release(&x->q, x->elems);
  x->elems = 0;
}

bool eval_room(EvalValue *x, int arrays, size_t elems) {
  if (elems == 0) elems = 1;
  if (x->elems >= elems && x->v && (arrays < EVAL_ERROR || x->e) && (arrays < EVAL_SQUARES || x->q)) return true;
  eval_release(x);
  x->elems = elems;
  x->v = kiln_mem(NULL, 0, elems * sizeof(double));
  if (arrays >= EVAL_ERROR) x->e = kiln_mem(NULL, 0, elems * sizeof(double));
  if (arrays >= EVAL_SQUARES) x->q = kiln_mem(NULL, 0, elems * sizeof(double));
  if (x->v && (arrays < EVAL_ERROR || x->e) && (arrays < EVAL_SQUARES || x->q)) return true;
  eval_release(x);
  return false;
}

/* ---- one node ---- */

static bool eval_leaf(Walk *w, uint32_t i, double x) {
  EvalValue *out = &w->value[i];
  /* A constant that f32 cannot hold is rounded by the kernel; integers are not. */
  bool error = (float)x != x && isfinite(x) && !eval_is_integer(w->in->def->node[i].dtype);
  if (!eval_room(out, error ? EVAL_ERROR : EVAL_EXACT, 1)) return refuse(w, "out of memory", i);
  out->v[0] = x;
  if (error) out->e[0] = fabs(x) * EVAL_U;
  return true;
}

/* By splitmix64 (random.c), of a number that tells seed, tensor and place. */
double evaluate_nudge(const EvalInput *in, int tensor, int64_t place) {
  uint64_t z = in->nudge_seed + (uint64_t)(tensor + 1) * 0xD1B54A32D192ED03u + (uint64_t)place * 0x9E3779B97F4A7C15u;
  for (int i = 0; i < 2; i++) { /* once is not enough where seeds differ by what places do */
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
  }
  return 1 + in->nudge * ((double)(z >> 11) * 0x1p-52 - 1);
}

static void nudge_arg(const Walk *w, uint32_t i) {
  const EvalInput *in = w->in;
  int tensor = in->def->node[i].index;
  int64_t total = eval_elems(w->dims[i], &w->shape);
  if (!number_is_float(in->tensor[tensor].dtype)) return;
  for (int64_t k = 0; k < total; k++) {
    int64_t place = 0, weight = 1, rest = k;
    for (int d = DEF_MAX_DIMS - 1; d >= 0; d--) {
      if (!(w->dims[i] >> d & 1)) continue;
      place += (w->shape.start[d] + rest % w->shape.extent[d]) * weight;
      rest /= w->shape.extent[d];
      weight *= in->count[d];
    }
    w->value[i].v[k] *= evaluate_nudge(in, tensor, place);
  }
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
      first[n] = w->shape.start[d];
      extent[n++] = w->shape.extent[d];
    }
  int64_t total = eval_elems(w->dims[i], &w->shape);
  if (!eval_room(out, EVAL_EXACT, (size_t)total)) return refuse(w, "out of memory", i);
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
  if (w->in->nudge != 0) nudge_arg(w, i);
  return true;
}

static bool over_chunks(const Walk *w, const DefNode *n) {
  return eval_is_reduction(n->op) && n->index == w->chunk_dim;
}

/* Is one operand the other one itself, or the largest or smallest of its row? */
static bool compares_own(const KilnDef *def, const DefNode *n) {
  if (n->arg[0] == n->arg[1]) return true;
  for (int k = 0; k < 2; k++) {
    const DefNode *a = &def->node[n->arg[k]];
    if ((a->op == DEF_AMAX || a->op == DEF_AMIN) && a->arg[0] == n->arg[1 - k]) return true;
  }
  return false;
}

static bool eval_comparison(Walk *w, const DefNode *n, const EvalValue *const arg[3], EvalValue *out) {
  DefNode told = *n;
  told.value = compares_own(w->in->def, n);
  return eval_elementwise(&told, arg, out, &w->shape);
}

static bool eval_smooth(Walk *w, const DefNode *n, const EvalValue *const arg[3], EvalValue *out) {
  DefNode copy = *n;
  if (w->in->smooth) copy.op = DEF_STOP;
  return eval_elementwise(&copy, arg, out, &w->shape);
}

static bool eval_node(Walk *w, uint32_t i) {
  const KilnDef *def = w->in->def;
  const DefNode *n = &def->node[i];
  EvalValue *out = &w->value[i];
  out->dims = w->dims[i];
  const EvalValue *arg[3] = {0};
  for (int k = 0; k < def_operands((DefOp)n->op); k++) arg[k] = &w->value[n->arg[k]];
  bool done = false;
  switch (n->op) {
  case DEF_ARG: return eval_arg(w, i);
  case DEF_CONST: return eval_leaf(w, i, n->value);
  case DEF_DIM: case DEF_SIZE: return eval_leaf(w, i, (double)w->in->size[n->index]);
  case DEF_SCALAR: return eval_leaf(w, i, number_round(def->scalar[n->index].dtype, w->in->scalar[n->index]));
  case DEF_SUM: case DEF_AMAX: case DEF_AMIN:
    done = eval_reduce_start(n, out, &w->shape);
    if (!done) break;
    eval_reduce_add(n, arg[0], out, &w->shape);
    eval_reduce_end(n, out, &w->shape, w->in->count[n->index]);
    break;
  case DEF_INDEX: case DEF_SWAP_PAIRS: case DEF_SWAP_HALVES: case DEF_LOOKUP: case DEF_BLOCK_AMAX: case DEF_SPREAD:
    done = eval_position(w->in, n, arg, out, &w->shape);
    break;
  case DEF_LT: case DEF_LE: case DEF_EQ: case DEF_NE: done = eval_comparison(w, n, arg, out); break;
  case DEF_ROUND: case DEF_RINT: done = eval_smooth(w, n, arg, out); break;
  case DEF_DOT: done = eval_dot(n, arg[0], arg[1], out, &w->shape); break;
  default: done = eval_elementwise(n, arg, out, &w->shape); break;
  }
  return done || refuse(w, "out of memory", i);
}

/* ---- handing out ---- */

/* An output may have more dims than its value: then the value is repeated along them. */
static bool hand_out(Walk *w, int t, EvalValue *spread, EvalSink sink, void *user) {
  const DefTensor *o = &w->in->def->tensor[t];
  EvalValue *x = &w->value[eval_output_node(w->in->def, t)];
  uint32_t dims = eval_tensor_dims(o);
  EvalChunk chunk = {.tensor = t, .dims = dims};
  for (int d = 0; d < DEF_MAX_DIMS; d++) {
    chunk.count[d] = dims >> d & 1 ? w->shape.extent[d] : 1;
    chunk.start[d] = dims >> d & 1 ? w->shape.start[d] : 0;
  }
  DefNode copy = {.op = DEF_STOP, .nargs = 1};
  if (x->dims != dims || !x->e) {
    size_t elems = (size_t)eval_elems(dims, &w->shape);
    spread->dims = dims;
    const EvalValue *arg[3] = {x, NULL, NULL};
    if (!eval_room(spread, EVAL_ERROR, elems) || !eval_elementwise(&copy, arg, spread, &w->shape))
      return refuse(w, "out of memory", (uint32_t)o->value);
    if (!x->e) memset(spread->e, 0, elems * sizeof(double));
    x = spread;
  }
  chunk.value = x->v;
  chunk.error = x->e;
  sink(user, &chunk);
  return true;
}

static bool has_chunk_dim(const Walk *w, int t) {
  return w->chunk_dim >= 0 && eval_tensor_dims(&w->in->def->tensor[t]) >> w->chunk_dim & 1;
}

/* The outputs that have the chunked dim, or those that lack it. */
static bool hand_out_all(Walk *w, bool within, EvalValue *spread, EvalSink sink, void *user) {
  bool ok = true;
  for (int t = 0; ok && t < w->in->def->ntensors; t++)
    if (eval_wanted(w->in->def, w->in->outputs, t) && has_chunk_dim(w, t) == within) ok = hand_out(w, t, spread, sink, user);
  return ok;
}

/* ---- the chunks ---- */

/* Stages of all nodes if dim c were chunked. false: it cannot be, because something reads across it in another way than by a
 * reduction, or depends on such a reduction while it runs over c. */
static bool stages(const Walk *w, int c, uint8_t *stage) {
  const KilnDef *def = w->in->def;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    bool across = eval_bound_dims(def, n) >> c & 1, after = false;
    stage[i] = BEFORE;
    if (!w->needed[i]) continue;
    if (across && !eval_is_reduction(n->op)) return false;
    for (int k = n->op == DEF_LOOKUP ? 1 : 0; k < def_operands((DefOp)n->op); k++) after |= stage[n->arg[k]] == AFTER;
    if (after && w->dims[i] >> c & 1) return false;
    if (after && across) return false;
    stage[i] = after || across ? AFTER : w->dims[i] >> c & 1 ? WITHIN : BEFORE;
  }
  for (int t = 0; t < def->ntensors; t++)
    if (eval_wanted(def, w->in->outputs, t) && eval_tensor_dims(&def->tensor[t]) >> c & 1 && stage[eval_output_node(def, t)] == AFTER)
      return false; /* a reduced value, repeated along what it was reduced over */
  return true;
}

/* Elements of the widest array where dim c (-1: none) has one index at a time. */
static double widest(const Walk *w, int c) {
  double most = 1;
  EvalShape one = w->shape;
  if (c >= 0 && one.extent[c] > 1) one.extent[c] = 1;
  for (uint32_t i = 0; i < w->in->def->nnodes; i++) {
    double elems = w->needed[i] ? (double)eval_elems(w->dims[i], &one) : 0;
    if (elems > most) most = elems;
  }
  return most;
}

/* The dim that leaves the smallest arrays; of those, the one with most indices. */
static int choose_chunk_dim(const Walk *w, uint8_t *stage) {
  int best = -1;
  double least = widest(w, -1);
  for (int c = 0; c < w->in->def->ndims; c++) {
    if (!stages(w, c, stage)) continue;
    double width = widest(w, c);
    if (width > least || (best >= 0 && width == least && w->in->count[c] <= w->in->count[best])) continue;
    best = c;
    least = width;
  }
  return best;
}

/* As many indices as keep the largest array of a chunk in the second-level cache; a product wants taller ones, to use its
 * second operand more often. */
static int64_t choose_chunk(const Walk *w) {
  const KilnDef *def = w->in->def;
  int64_t wide = 1, budget = 1 << 15;
  EvalShape one = w->shape;
  one.extent[w->chunk_dim] = 1;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    if (!w->needed[i]) continue;
    if (def->node[i].op == DEF_DOT) budget = 1 << 20;
    if (w->dims[i] >> w->chunk_dim & 1 && eval_elems(w->dims[i], &one) > wide) wide = eval_elems(w->dims[i], &one);
  }
  int64_t n = budget / wide;
  return n < 1 ? 1 : n;
}

/* Reductions over the chunked dim: begun before the first chunk, grown by each, finished after the last. */
static bool start_sums(Walk *w) {
  const KilnDef *def = w->in->def;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    if (!w->needed[i] || !over_chunks(w, &def->node[i])) continue;
    w->value[i].dims = w->dims[i];
    if (!eval_reduce_start(&def->node[i], &w->value[i], &w->shape)) return refuse(w, "out of memory", i);
  }
  return true;
}

static bool walk_nodes(Walk *w, int stage) {
  const KilnDef *def = w->in->def;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (!w->needed[i]) continue;
    bool sum = over_chunks(w, n);
    if (sum && stage == WITHIN) eval_reduce_add(n, &w->value[n->arg[0]], &w->value[i], &w->shape);
    if (sum && stage == AFTER) eval_reduce_end(n, &w->value[i], &w->shape, w->in->count[n->index]);
    if (!sum && w->stage[i] == stage && !eval_node(w, i)) return false;
  }
  return true;
}

static bool walk(Walk *w, EvalSink sink, void *user) {
  const EvalInput *in = w->in;
  eval_mark_needed(in->def, in->outputs, w->needed);
  if (!eval_infer_dims(in, w->needed, w->dims, &w->why)) return false;
  for (int d = 0; d < DEF_MAX_DIMS; d++) w->shape.extent[d] = d < in->def->ndims ? in->count[d] : 1;
  int c = w->chunk_dim = choose_chunk_dim(w, w->stage);
  memset(w->stage, BEFORE, in->def->nnodes);
  if (c >= 0) stages(w, c, w->stage);
  int64_t whole = c < 0 ? 0 : in->count[c], step = c < 0 ? 1 : choose_chunk(w);
  EvalValue spread = {0};
  bool ok = walk_nodes(w, BEFORE) && (c < 0 || start_sums(w)); /* what does not depend on the chunk, once */
  for (int64_t start = 0; ok && start < whole; start += step) {
    w->shape.start[c] = start;
    w->shape.extent[c] = whole - start < step ? whole - start : step;
    ok = walk_nodes(w, WITHIN) && hand_out_all(w, true, &spread, sink, user);
  }
  if (c >= 0) w->shape.start[c] = 0;
  ok = ok && (c < 0 || walk_nodes(w, AFTER)) && hand_out_all(w, false, &spread, sink, user);
  eval_release(&spread);
  return ok;
}

bool evaluate(const EvalInput *in, EvalSink sink, void *user, char *why, size_t why_bytes) {
  size_t n = in->def->nnodes ? in->def->nnodes : 1, bytes = n * (sizeof(uint32_t) + sizeof(EvalValue) + 2);
  char *memory = kiln_mem(NULL, 0, bytes);
  if (!memory) {
    snprintf(why, why_bytes, "out of memory");
    return false;
  }
  memset(memory, 0, bytes);
  Walk w = {.in = in, .why = {why, why_bytes}};
  w.value = (EvalValue *)memory;
  w.dims = (uint32_t *)(w.value + n);
  w.needed = (uint8_t *)(w.dims + n);
  w.stage = w.needed + n;
  bool ok = walk(&w, sink, user);
  for (size_t i = 0; i < n; i++) eval_release(&w.value[i]);
  kiln_mem(memory, bytes, 0);
  return ok;
}
