/* evaluate_plan.c - what evaluating a definition takes: which nodes outputs need, over which dims each ranges, what may be left
 * out, and how much work it is. */
#include "evaluate_plan.h"
#include "../../runtime/alloc.h"
#include <stdio.h>
#include <string.h>

/* The table of a lookup is read where it lies, never as a whole: its node is not evaluated. */
static int first_operand(uint8_t op) { return op == DEF_LOOKUP ? 1 : 0; }

bool eval_is_reduction(uint8_t op) { return op == DEF_SUM || op == DEF_AMAX || op == DEF_AMIN; }

bool eval_is_integer(uint8_t dtype) {
  return dtype == KILN_I64 || dtype == KILN_I32 || dtype == KILN_I16 || dtype == KILN_I8 || dtype == KILN_U8;
}

uint32_t eval_tensor_dims(const DefTensor *t) {
  uint32_t mask = 0;
  for (int i = 0; i < t->rank; i++) mask |= 1u << t->dim[i];
  return mask;
}

bool eval_wanted(const KilnDef *def, uint32_t outputs, int t) {
  return def->tensor[t].is_out && def->tensor[t].present && (outputs == 0 || outputs >> t & 1);
}

int32_t eval_output_node(const KilnDef *def, int t) {
  const DefTensor *o = &def->tensor[t];
  if (!o->is_out || !o->present || o->value < 0 || (uint32_t)o->value >= def->nnodes) return -1;
  const DefNode *n = &def->node[o->value];
  return n->op == DEF_ROUND && n->dtype == o->dtype && n->arg[0] < (uint32_t)o->value ? (int32_t)n->arg[0] : o->value;
}

void eval_mark_needed(const KilnDef *def, uint32_t outputs, uint8_t *needed) {
  memset(needed, 0, def->nnodes);
  for (int t = 0; t < def->ntensors; t++)
    if (eval_wanted(def, outputs, t) && eval_output_node(def, t) >= 0) needed[eval_output_node(def, t)] = 1;
  for (uint32_t i = def->nnodes; i-- > 0;)
    if (needed[i])
      for (int k = first_operand(def->node[i].op); k < def_operands((DefOp)def->node[i].op); k++)
        if (def->node[i].arg[k] < i) needed[def->node[i].arg[k]] = 1;
}

/* The tensor that a lookup reads; NULL: its first operand is none. */
static const DefTensor *table_of(const KilnDef *def, const DefNode *n) {
  const DefNode *arg = n->arg[0] < def->nnodes ? &def->node[n->arg[0]] : NULL;
  return arg && arg->op == DEF_ARG && arg->index < def->ntensors ? &def->tensor[arg->index] : NULL;
}

uint32_t eval_bound_dims(const KilnDef *def, const DefNode *n) {
  switch (n->op) {
  case DEF_SUM: case DEF_AMAX: case DEF_AMIN: case DEF_DOT: case DEF_SWAP_PAIRS: case DEF_SWAP_HALVES:
    return n->index < DEF_MAX_DIMS ? 1u << n->index : 0;
  case DEF_BLOCK_AMAX: case DEF_SPREAD: return n->index < def->ndims ? 1u << n->index | 1u << def->block[n->index].of : 0;
  case DEF_LOOKUP: return table_of(def, n) ? eval_tensor_dims(table_of(def, n)) : 0;
  default: return 0;
  }
}

static uint32_t all_bound(const KilnDef *def, const uint8_t *needed) {
  uint32_t mask = 0;
  for (uint32_t i = 0; i < def->nnodes; i++)
    if (needed[i]) mask |= eval_bound_dims(def, &def->node[i]);
  return mask;
}

/* ---- over which dims each node ranges ---- */

static bool refuse(const EvalInput *in, EvalWhy *why, const char *text, uint32_t node) {
  snprintf(why->text, why->bytes, "definition of %s, node %u: %s", in->def->op, node, text);
  return false;
}

static bool check_leaf(const EvalInput *in, uint32_t i, uint32_t *dims, EvalWhy *why) {
  const KilnDef *def = in->def;
  const DefNode *n = &def->node[i];
  bool by_dim = n->op == DEF_DIM || n->op == DEF_INDEX || n->op == DEF_SIZE;
  if (n->op == DEF_SCALAR && n->index >= def->nscalars) return refuse(in, why, "names a scalar that is not there", i);
  if (by_dim && n->index >= def->ndims) return refuse(in, why, "names a dim that is not there", i);
  if (n->op == DEF_INDEX) *dims = 1u << n->index;
  if (n->op != DEF_ARG) return true;
  if (n->index >= def->ntensors) return refuse(in, why, "names a tensor that is not there", i);
  const DefTensor *t = &def->tensor[n->index];
  if (!t->present || !in->tensor[n->index].data) return refuse(in, why, "reads a tensor that is absent", i);
  *dims = eval_tensor_dims(t);
  for (int d = 0; d < def->ndims; d++)
    if (*dims >> d & 1 && !in->tensor[n->index].offset[d]) return refuse(in, why, "reads a tensor without its strides", i);
  return true;
}

/* What reads across a dim needs all of it, in order; dims: those of the operands. */
static bool check_bound(const EvalInput *in, uint32_t i, const uint32_t *dims, EvalWhy *why) {
  const KilnDef *def = in->def;
  const DefNode *n = &def->node[i];
  uint32_t table = 0;
  if (n->op == DEF_LOOKUP) {
    const DefTensor *t = table_of(def, n);
    if (!t || t->rank != 2 || n->arg[0] >= i) return refuse(in, why, "looks up in what is no tensor of two dims", i);
    return check_leaf(in, n->arg[0], &table, why);
  }
  if (n->index >= def->ndims) return refuse(in, why, "reduces a dim that is not there", i);
  if (def_blocks((DefOp)n->op)) {
    uint32_t both = eval_bound_dims(def, n), own = 1u << n->index, from = n->op == DEF_SPREAD ? own : both & ~own;
    if (def->block[n->index].size < 1 || (dims[n->arg[0]] & both) != from) return refuse(in, why, "takes blocks that its operand has not", i);
    return true;
  }
  uint32_t bit = 1u << n->index;
  if (!(dims[n->arg[0]] & bit)) return refuse(in, why, "reduces a dim that its operand lacks", i);
  if (n->op == DEF_DOT && !(dims[n->arg[1]] & bit)) return refuse(in, why, "multiplies over a dim that one operand lacks", i);
  if (n->op == DEF_SWAP_HALVES && dims[n->arg[1]]) return refuse(in, why, "swaps halves of a width that is not the same everywhere", i);
  return true;
}

static bool infer_node(const EvalInput *in, uint32_t i, uint32_t *dims, EvalWhy *why) {
  const KilnDef *def = in->def;
  const DefNode *n = &def->node[i];
  int nargs = def_operands((DefOp)n->op);
  dims[i] = 0;
  for (int k = first_operand(n->op); k < nargs; k++) {
    if (n->arg[k] >= i) return refuse(in, why, "uses a node that comes later", i);
    dims[i] |= dims[n->arg[k]];
  }
  if (nargs == 0) return check_leaf(in, i, &dims[i], why);
  bool reads_across = eval_is_reduction(n->op) || n->op == DEF_DOT || n->op == DEF_SWAP_PAIRS || n->op == DEF_SWAP_HALVES;
  reads_across = reads_across || def_blocks((DefOp)n->op);
  if (!reads_across && n->op != DEF_LOOKUP) return true;
  if (!check_bound(in, i, dims, why)) return false;
  uint32_t bound = eval_bound_dims(def, n);
  for (int d = 0; d < def->ndims; d++)
    if (bound >> d & 1 && in->count[d] != in->size[d]) return refuse(in, why, "reads across a dim that was sampled", i);
  if (eval_is_reduction(n->op) || n->op == DEF_DOT) dims[i] &= ~bound;
  if (def_blocks((DefOp)n->op)) dims[i] ^= bound;
  return true;
}

bool eval_infer_dims(const EvalInput *in, const uint8_t *needed, uint32_t *dims, EvalWhy *why) {
  const KilnDef *def = in->def;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    dims[i] = 0;
    if (!needed[i]) continue;
    if (def->node[i].op > DEF_SPREAD) return refuse(in, why, "unknown operation", i);
    if (!infer_node(in, i, dims, why)) return false;
  }
  for (int t = 0; t < def->ntensors; t++) {
    if (!eval_wanted(def, in->outputs, t)) continue;
    int32_t value = eval_output_node(def, t);
    if (value < 0) return refuse(in, why, "an output that nothing is assigned to", 0);
    if (dims[value] & ~eval_tensor_dims(&def->tensor[t]))
      return refuse(in, why, "an output that lacks a dim of its value", (uint32_t)value);
  }
  return true;
}

/* ---- what may be left out, and how much work there is ---- */

uint32_t evaluate_samplable(const KilnDef *def, uint32_t outputs) {
  uint8_t *needed = kiln_mem(NULL, 0, def->nnodes + 1);
  if (!needed) return 0;
  eval_mark_needed(def, outputs, needed);
  uint32_t all = (1u << def->ndims) - 1u, mask = all & ~all_bound(def, needed);
  kiln_mem(needed, def->nnodes + 1, 0);
  return mask;
}

int evaluate_groups(const KilnDef *def, uint32_t group[DEF_MAX_TENSORS]) {
  uint32_t bound[DEF_MAX_TENSORS], kept[DEF_MAX_TENSORS];
  int n = 0;
  for (int t = 0; t < def->ntensors; t++) {
    if (!eval_wanted(def, 0, t)) continue;
    uint32_t all = (1u << def->ndims) - 1u, b = all & ~evaluate_samplable(def, 1u << t), k = eval_tensor_dims(&def->tensor[t]) & ~b;
    int at = 0;
    while (at < n && (bound[at] != b || kept[at] != k)) at++;
    if (at == n) {
      bound[n] = b;
      kept[n] = k;
      group[n++] = 0;
    }
    group[at] |= 1u << t;
  }
  return n;
}

static double node_work(const DefNode *n, double elems) {
  switch (n->op) {
  case DEF_DOT: return elems / 4; /* products run in blocks: about four times as fast */
  case DEF_LOOKUP: case DEF_EXP: case DEF_EXP2: case DEF_LOG: case DEF_LOG2: case DEF_TANH: case DEF_ERF: return 4 * elems;
  case DEF_SIN: case DEF_COS: return 4 * elems;
  default: return elems;
  }
}

double evaluate_work(const KilnDef *def, uint32_t outputs, const int64_t count[DEF_MAX_DIMS]) {
  size_t n = def->nnodes + 1, bytes = n * (sizeof(uint32_t) + 1);
  char *memory = kiln_mem(NULL, 0, bytes);
  if (!memory) return 0;
  uint32_t *all = (uint32_t *)memory;
  uint8_t *needed = (uint8_t *)memory + n * sizeof(uint32_t);
  eval_mark_needed(def, outputs, needed);
  double work = 0;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *node = &def->node[i];
    uint32_t dims = node->op == DEF_ARG && node->index < def->ntensors ? eval_tensor_dims(&def->tensor[node->index]) : 0;
    if (node->op == DEF_INDEX && node->index < def->ndims) dims = 1u << node->index;
    for (int k = first_operand(node->op); k < def_operands((DefOp)node->op); k++)
      if (node->arg[k] < i) dims |= all[node->arg[k]];
    double elems = 1;
    for (int d = 0; d < def->ndims; d++)
      if (dims >> d & 1) elems *= (double)count[d];
    if (needed[i]) work += node_work(node, elems);
    all[i] = eval_is_reduction(node->op) || node->op == DEF_DOT ? dims & ~(1u << node->index) : dims;
    if (def_blocks((DefOp)node->op)) all[i] ^= eval_bound_dims(def, node);
  }
  kiln_mem(memory, bytes, 0);
  return work;
}
