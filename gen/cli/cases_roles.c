/* cases_roles.c - what the dims of a definition are for: rows, columns, tables, products. Read from how tensors and nodes use
 * them; a dim's name says nothing here. */
#include "cases.h"
#include <string.h>

static uint32_t dims_of(const DefTensor *t) {
  uint32_t mask = 0;
  for (int i = 0; i < t->rank; i++) mask |= 1u << t->dim[i];
  return mask;
}

/* Tensors that lookups read. */
static uint32_t tables_of(const KilnDef *def) {
  uint32_t tables = 0;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (n->op == DEF_LOOKUP && def->node[n->arg[0]].op == DEF_ARG) tables |= 1u << def->node[n->arg[0]].index;
  }
  return tables;
}

uint32_t cases_divisors(const KilnDef *def) {
  uint32_t mask = 0;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (n->op != DEF_RCP && n->op != DEF_DIV) continue;
    const DefNode *by = &def->node[n->arg[n->op == DEF_DIV]];
    if (by->op == DEF_ARG && def->tensor[by->index].rank == 0) mask |= 1u << by->index;
  }
  return mask;
}

/* Batch dims are those of both operands of every product. */
static void study_products(const KilnDef *def, Roles *r) {
  r->batch = r->summed ? (1u << def->ndims) - 1u : 0;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (n->op == DEF_DOT) r->batch &= def->node[n->arg[0]].dims & def->node[n->arg[1]].dims;
  }
  r->batch &= ~r->summed;
}

Roles cases_roles(const KilnDef *def) {
  Roles r = {0};
  uint32_t tables = tables_of(def), elsewhere = 0, followed = 0, last = 0;
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (n->op == DEF_DOT) r.summed |= 1u << n->index;
    if (n->op == DEF_SUM || n->op == DEF_AMAX || n->op == DEF_AMIN) r.reduced |= 1u << n->index;
  }
  study_products(def, &r);
  for (int t = 0; t < def->ntensors; t++) {
    const DefTensor *x = &def->tensor[t];
    if (tables >> t & 1) r.table |= dims_of(x);
    else elsewhere |= dims_of(x);
    for (int i = 0; i < x->rank && !(tables >> t & 1); i++) {
      if (i + 1 < x->rank) followed |= 1u << x->dim[i];
      else if (x->rank > 1) last |= 1u << x->dim[i];
    }
  }
  for (int d = 0; d < def->ndims; d++)
    if (def->block[d].size) r.block |= 1u << d;
  r.table &= ~elsewhere;
  r.column = last & ~followed & ~r.block;
  r.row = followed & ~r.block;
  return r;
}

int cases_rows(const KilnDef *def, const Roles *r, int t, int dim[DEF_MAX_DIMS]) {
  const DefTensor *x = &def->tensor[t];
  if (!x->present || x->rank < 2 || !(r->column >> x->dim[x->rank - 1] & 1)) return 0;
  for (int i = 0; i + 1 < x->rank; i++) dim[i] = x->dim[i];
  return x->rank - 1;
}

/* ---- tables ---- */

/* An integer node where every coordinate is at its last place: what is looked up grows with the coordinates. */
static int64_t largest(const KilnDef *def, const Case *c, uint32_t node) {
  const DefNode *n = &def->node[node];
  int64_t a = 0, b = 0;
  if (def_operands((DefOp)n->op) == 2) {
    a = largest(def, c, n->arg[0]);
    b = largest(def, c, n->arg[1]);
  }
  switch (n->op) {
  case DEF_INDEX: return c->size[n->index] - 1;
  case DEF_SIZE: return c->size[n->index];
  case DEF_CONST: return (int64_t)n->value;
  case DEF_SCALAR: return (int64_t)case_scalar(&def->scalar[n->index], c->scalars);
  case DEF_ADD: return a + b;
  case DEF_SUB: return a - b;
  case DEF_MUL: return a * b;
  case DEF_IDIV: return b > 0 ? a / b : 0;
  case DEF_MOD: return b > 0 ? a % b : 0;
  case DEF_MIN: return a < b ? a : b;
  case DEF_MAX: return a > b ? a : b;
  default: return 0;
  }
}

/* Is it made of a scalar that comes with each launch? */
static bool moves(const KilnDef *def, uint32_t node) {
  const DefNode *n = &def->node[node];
  if (n->op == DEF_SCALAR) return def->scalar[n->index].at_call;
  for (int k = 0; k < def_operands((DefOp)n->op); k++)
    if (moves(def, n->arg[k])) return true;
  return false;
}

/* Entries per row: a whole row of columns has one each, or one for a pair. A table of every column's half tells which: if the last
 * column is then looked up within it, pairs share an entry. */
static int64_t choose_entries(Case *c, const KilnDef *def, const DefNode *lookup, int dim, int pick) {
  int64_t columns = 0;
  for (int d = 0; d < def->ndims; d++)
    if (def->node[lookup->arg[2]].dims >> d & 1 && c->size[d] > columns) columns = c->size[d];
  c->size[dim] = columns / 2;
  bool pairs = columns > 1 && largest(def, c, lookup->arg[2]) < c->size[dim];
  int64_t all = pairs ? columns / 2 : columns / 2 * 2, few = all / 8 * 2, least = pairs ? 1 : 2;
  int64_t choice = pick % 3 == 0 ? all : pick % 3 == 1 ? few : least;
  return choice < least ? least : choice;
}

void cases_size_tables(Case *c, const KilnDef *def, const Roles *r, int pick, uint32_t known) {
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    if (n->op != DEF_LOOKUP) continue;
    const DefTensor *t = &def->tensor[def->node[n->arg[0]].index];
    uint32_t fixed = known | ~r->table;
    if (!(fixed >> t->dim[1] & 1)) c->size[t->dim[1]] = choose_entries(c, def, n, t->dim[1], pick);
    /* exactly as many as are read by the second launch, whose scalars are one more, or some beyond */
    int64_t rows = largest(def, c, n->arg[1]) + 1 + (moves(def, n->arg[1]) ? 1 : 0) + (pick % 2 ? 3 : 0);
    if (!(fixed >> t->dim[0] & 1) && rows > c->size[t->dim[0]]) c->size[t->dim[0]] = rows;
  }
}
