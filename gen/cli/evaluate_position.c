/* evaluate_position.c - nodes that go by position: coordinates, neighbours and halves exchanged, entries of a table. They move
 * values and add no error of their own. */
#include "evaluate.h"
#include "number.h"
#include <math.h>

static bool eval_index(const EvalInput *in, const DefNode *n, EvalValue *out, const EvalShape *s) {
  int64_t extent = s->extent[n->index], start = s->start[n->index];
  const int64_t *index = in->index[n->index];
  if (!eval_room(out, EVAL_EXACT, (size_t)extent)) return false;
  for (int64_t i = 0; i < extent; i++) out->v[i] = (double)(index ? index[start + i] : start + i);
  return true;
}

/* Which column column c takes its value from; -1: none, it gets 0. */
static int64_t source(const DefNode *n, int64_t c, int64_t columns, int64_t width) {
  int64_t from;
  if (n->op == DEF_SWAP_PAIRS) {
    from = c ^ 1;
    return from < columns ? from : -1;
  }
  if (width < 2 || c >= columns / width * width) return -1;
  from = c % width < width / 2 ? c + width / 2 : c - width / 2;
  return from;
}

static bool eval_swap(const DefNode *n, const EvalValue *a, double width, EvalValue *out, const EvalShape *s) {
  int64_t total = eval_elems(out->dims, s), columns = s->extent[n->index], inner = eval_stride(out->dims, s, n->index);
  int64_t block = width >= 2 && width <= (double)columns ? (int64_t)width : 0;
  if (!eval_room(out, a->e ? EVAL_ERROR : EVAL_EXACT, (size_t)total)) return false;
  for (int64_t row = 0, c = 0; row < total; row += inner, c = c + 1 == columns ? 0 : c + 1) {
    int64_t from = source(n, c, columns, block), at = row + (from - c) * inner;
    for (int64_t i = 0; i < inner; i++) {
      out->v[row + i] = from < 0 ? 0 : a->v[at + i];
      if (a->e) out->e[row + i] = from < 0 ? 0 : a->e[at + i];
    }
  }
  return true;
}

/* Offset of an operand at element i of the result. */
static int64_t offset_at(const EvalValue *x, uint32_t dims, const EvalShape *s, int64_t i) {
  int64_t offset = 0;
  for (int d = DEF_MAX_DIMS - 1; d >= 0; d--) {
    if (!(dims >> d & 1)) continue;
    offset += i % s->extent[d] * eval_stride(x->dims, s, d);
    i /= s->extent[d];
  }
  return offset;
}

static bool eval_lookup(const EvalInput *in, const DefNode *n, const EvalValue *row, const EvalValue *entry, EvalValue *out,
                        const EvalShape *s) {
  int table = in->def->node[n->arg[0]].index;
  const EvalTensor *t = &in->tensor[table];
  const uint8_t *dim = in->def->tensor[table].dim;
  int64_t total = eval_elems(out->dims, s), rows = in->size[dim[0]], entries = in->size[dim[1]];
  size_t bytes = number_bytes(t->dtype);
  if (!eval_room(out, EVAL_EXACT, (size_t)total)) return false;
  int last = out->dims ? 31 - __builtin_clz(out->dims) : 0;
  int64_t inner = out->dims ? s->extent[last] : 1, row_step = eval_stride(row->dims, s, last), entry_step = eval_stride(entry->dims, s, last);
  for (int64_t done = 0; done < total; done += inner) {
    const double *r = row->v + offset_at(row, out->dims, s, done), *e = entry->v + offset_at(entry, out->dims, s, done);
    for (int64_t i = 0; i < inner; i++, r += row_step, e += entry_step) {
      bool inside = *r >= 0 && *r < (double)rows && *e >= 0 && *e < (double)entries;
      int64_t at = inside ? t->offset[dim[0]][(int64_t)*r] + t->offset[dim[1]][(int64_t)*e] : 0;
      out->v[done + i] = inside ? number_load(t->dtype, (const char *)t->data + at * (int64_t)bytes) : 0;
      if (!inside || in->nudge == 0 || !number_is_float(t->dtype)) continue;
      int64_t place = dim[0] < dim[1] ? (int64_t)*r * entries + (int64_t)*e : (int64_t)*e * rows + (int64_t)*r;
      out->v[done + i] *= evaluate_nudge(in, table, place);
    }
  }
  return true;
}

/* One of the dims counts blocks of the other: where element i of the longer one lies among the values of blocks. */
static int64_t block_of(const KilnDef *def, const DefNode *n, uint32_t dims, uint32_t blocks, const EvalShape *s, int64_t i) {
  int64_t offset = 0;
  for (int d = DEF_MAX_DIMS - 1; d >= 0; d--) {
    if (!(dims >> d & 1)) continue;
    int64_t at = i % s->extent[d];
    offset += d == def->block[n->index].of ? at / def->block[n->index].size * eval_stride(blocks, s, n->index) : at * eval_stride(blocks, s, d);
    i /= s->extent[d];
  }
  return offset;
}

static bool eval_spread(const KilnDef *def, const DefNode *n, const EvalValue *a, EvalValue *out, const EvalShape *s) {
  int64_t total = eval_elems(out->dims, s);
  if (!eval_room(out, a->e ? EVAL_ERROR : EVAL_EXACT, (size_t)total)) return false;
  for (int64_t i = 0; i < total; i++) {
    int64_t from = block_of(def, n, out->dims, a->dims, s, i);
    out->v[i] = a->v[from];
    if (a->e) out->e[i] = a->e[from];
  }
  return true;
}

static bool eval_block_amax(const KilnDef *def, const DefNode *n, const EvalValue *a, EvalValue *out, const EvalShape *s) {
  int64_t total = eval_elems(a->dims, s), blocks = eval_elems(out->dims, s);
  if (!eval_room(out, a->e ? EVAL_ERROR : EVAL_EXACT, (size_t)blocks)) return false;
  for (int64_t i = 0; i < blocks; i++) {
    out->v[i] = -INFINITY;
    if (a->e) out->e[i] = 0;
  }
  for (int64_t i = 0; i < total; i++) {
    int64_t to = block_of(def, n, a->dims, out->dims, s, i);
    double v = a->v[i];
    if (isnan(v) || v > out->v[to]) out->v[to] = v; /* nothing is larger than a NaN that is there */
    if (a->e && a->e[i] > out->e[to]) out->e[to] = a->e[i];
  }
  return true;
}

bool eval_position(const EvalInput *in, const DefNode *n, const EvalValue *const arg[3], EvalValue *out, const EvalShape *s) {
  switch (n->op) {
  case DEF_INDEX: return eval_index(in, n, out, s);
  case DEF_SWAP_PAIRS: return eval_swap(n, arg[0], 0, out, s);
  case DEF_SWAP_HALVES: return eval_swap(n, arg[0], arg[1]->v[0], out, s);
  case DEF_BLOCK_AMAX: return eval_block_amax(in->def, n, arg[0], out, s);
  case DEF_SPREAD: return eval_spread(in->def, n, arg[0], out, s);
  default: return eval_lookup(in, n, arg[1], arg[2], out, s);
  }
}
