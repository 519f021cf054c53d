/* script_define.c - core.define: an op's definition, from a plain table to a KilnDef (define.h). Nothing in it is believed. */
#include "script_lua.h"
#include <stdio.h>
#include <string.h>

enum { MOST_NODES = 100000 };

static const char *const op_names[] = {
  [DEF_ARG] = "arg", [DEF_SCALAR] = "scalar", [DEF_CONST] = "const", [DEF_DIM] = "dim", [DEF_NEG] = "neg", [DEF_ABS] = "abs",
  [DEF_EXP] = "exp", [DEF_EXP2] = "exp2", [DEF_LOG] = "log", [DEF_LOG2] = "log2", [DEF_SQRT] = "sqrt", [DEF_RSQRT] = "rsqrt",
  [DEF_RCP] = "rcp", [DEF_TANH] = "tanh", [DEF_ERF] = "erf", [DEF_SIN] = "sin", [DEF_COS] = "cos", [DEF_RINT] = "rint",
  [DEF_NOT] = "not",
  [DEF_ADD] = "add", [DEF_SUB] = "sub", [DEF_MUL] = "mul", [DEF_DIV] = "div", [DEF_MIN] = "min", [DEF_MAX] = "max",
  [DEF_LT] = "lt", [DEF_LE] = "le", [DEF_EQ] = "eq", [DEF_NE] = "ne", [DEF_AND] = "and", [DEF_OR] = "or", [DEF_WHERE] = "where",
  [DEF_ROUND] = "round", [DEF_SUM] = "sum", [DEF_AMAX] = "amax", [DEF_AMIN] = "amin", [DEF_DOT] = "dot",
  [DEF_INDEX] = "index", [DEF_SIZE] = "size", [DEF_FLOAT] = "float", [DEF_STOP] = "stop", [DEF_IDIV] = "idiv", [DEF_MOD] = "mod",
  [DEF_SWAP_PAIRS] = "swap_pairs", [DEF_SWAP_HALVES] = "swap_halves", [DEF_LOOKUP] = "lookup",
  [DEF_BLOCK_AMAX] = "block_amax", [DEF_SPREAD] = "spread",
};
enum { OPS = sizeof op_names / sizeof op_names[0] };

static bool wants_dim(DefOp op) {
  return op == DEF_DIM || op == DEF_INDEX || op == DEF_SIZE || op == DEF_SWAP_PAIRS || op == DEF_SWAP_HALVES || def_blocks(op) ||
         def_reduces(op);
}

/* ---- fields of the table on top of the stack ---- */

static bool is_name(const char *s) {
  if (!*s || (*s >= '0' && *s <= '9')) return false;
  for (; *s; s++)
    if (!(*s == '_' || (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))) return false;
  return true;
}

static const char *take_text(lua_State *L, const char *where, const char *field, bool required) {
  int type = lua_getfield(L, -1, field);
  if (type != LUA_TSTRING && (required || type != LUA_TNIL)) script_fail(L, "definition: %s: '%s' must be a text", where, field);
  const char *s = type == LUA_TSTRING ? script_copy(L, -1) : NULL;
  lua_pop(L, 1);
  return s;
}

static const char *take_name(lua_State *L, const char *where) {
  const char *s = take_text(L, where, "name", true);
  if (!is_name(s)) script_fail(L, "definition: %s: '%s' is no name", where, s);
  return s;
}

static bool take_flag(lua_State *L, const char *where, const char *field, bool otherwise) {
  int type = lua_getfield(L, -1, field);
  if (type != LUA_TBOOLEAN && type != LUA_TNIL) script_fail(L, "definition: %s: '%s' must be true or false", where, field);
  bool b = type == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return b;
}

/* 1-based in Lua; -1: absent. */
static int take_index(lua_State *L, const char *where, const char *field, uint32_t count) {
  int type = lua_getfield(L, -1, field), exact = 0;
  lua_Integer i = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &exact) : 0;
  lua_pop(L, 1);
  if (type == LUA_TNIL) return -1;
  if (!exact || i < 1 || i > (lua_Integer)count) script_fail(L, "definition: %s: '%s' is out of range", where, field);
  return (int)i - 1;
}

static kiln_dtype take_dtype(lua_State *L, const char *where, bool required) {
  const char *s = take_text(L, where, "dtype", required);
  kiln_dtype dtype = s ? tile_dtype_find(s) : KILN_NO_DTYPE;
  if (s && !dtype) script_fail(L, "definition: %s: unknown dtype '%s'", where, s);
  return dtype;
}

static int find_dim(const KilnDef *d, const char *name) {
  for (int i = 0; i < d->ndims; i++)
    if (!strcmp(d->dims[i], name)) return i;
  return -1;
}

/* The dim named by element i of the list on top of the stack. */
static int list_dim(lua_State *L, const KilnDef *d, const char *where, size_t i) {
  int dim = lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TSTRING ? find_dim(d, lua_tostring(L, -1)) : -1;
  if (dim < 0) script_fail(L, "definition: %s: its dim %zu is none of the op's", where, i);
  lua_pop(L, 1);
  return dim;
}

/* Pushes the list in the field; its length. */
static size_t open_list(lua_State *L, const char *where, const char *field, bool required, size_t most) {
  int type = lua_getfield(L, -1, field);
  if (type == LUA_TNIL && !required) return 0;
  if (type != LUA_TTABLE) script_fail(L, "definition: %s: '%s' must be a list", where, field);
  size_t n = lua_rawlen(L, -1);
  if (n > most) script_fail(L, "definition: %s: '%s' has %zu elements; at most %zu are possible", where, field, n, most);
  return n;
}

static void open_element(lua_State *L, const char *where, size_t i) {
  if (lua_rawgeti(L, -1, (lua_Integer)i) != LUA_TTABLE)
    script_fail(L, "definition: element %zu of the %s must be a table", i, where);
}

/* ---- parts ---- */

static void read_dims(lua_State *L, KilnDef *d) {
  size_t n = open_list(L, "op", "dims", true, DEF_MAX_DIMS);
  for (size_t i = 0; i < n; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TSTRING || !is_name(lua_tostring(L, -1)))
      script_fail(L, "definition: dim %zu is no name", i + 1);
    if (find_dim(d, lua_tostring(L, -1)) >= 0) script_fail(L, "definition: dim '%s' stands there twice", lua_tostring(L, -1));
    d->dims[d->ndims] = script_copy(L, -1);
    d->ndims++;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  n = open_list(L, "op", "lead", false, DEF_MAX_DIMS);
  for (size_t i = 0; i < n; i++) d->lead_dims |= 1u << list_dim(L, d, "lead", i + 1);
  lua_pop(L, 1);
}

/* Dims that count blocks of others: a list of { dim, of, size }. */
static void read_blocks(lua_State *L, KilnDef *d) {
  size_t n = open_list(L, "op", "blocks", false, DEF_MAX_DIMS);
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    open_element(L, "blocks", i);
    const char *name = take_text(L, "blocks", "dim", true), *parent = take_text(L, "blocks", "of", true);
    int dim = find_dim(d, name), of = find_dim(d, parent), size = take_index(L, "blocks", "size", 1 << 20) + 1;
    if (dim < 0 || of < 0 || dim == of || d->block[dim].size || size < 1)
      script_fail(L, "definition: '%s' counts no blocks of '%s'", name, parent);
    d->block[dim].of = (int8_t)of;
    d->block[dim].size = size;
  }
  lua_pop(L, 1);
  for (int i = 0; i < d->ndims; i++)
    if (d->block[i].size && d->block[d->block[i].of].size) script_fail(L, "definition: '%s' counts blocks of blocks", d->dims[i]);
}

static void check_unused(lua_State *L, const KilnDef *d, const char *name) {
  for (int i = 0; i < d->ntensors; i++)
    if (!strcmp(d->tensor[i].name, name)) script_fail(L, "definition: two arguments are called '%s'", name);
  for (int i = 0; i < d->nscalars; i++)
    if (!strcmp(d->scalar[i].name, name)) script_fail(L, "definition: two arguments are called '%s'", name);
}

static void read_tensor(lua_State *L, KilnDef *d, uint32_t nodes) {
  DefTensor *t = &d->tensor[d->ntensors];
  t->name = take_name(L, "tensor");
  check_unused(L, d, t->name);
  t->dtype = take_dtype(L, t->name, true);
  t->is_out = take_flag(L, t->name, "out", false);
  t->optional = take_flag(L, t->name, "optional", false);
  t->present = take_flag(L, t->name, "present", true);
  t->finite = take_flag(L, t->name, "finite", false);
  t->value = take_index(L, t->name, "value", nodes);
  if (!t->present && !t->optional) script_fail(L, "definition: tensor '%s' is not optional, yet absent", t->name);
  if (t->value >= 0 && !t->is_out) script_fail(L, "definition: input '%s' has a value", t->name);
  if (t->value < 0 && t->is_out && t->present) script_fail(L, "output '%s' is never assigned", t->name);
  size_t n = open_list(L, t->name, "dims", true, DEF_MAX_DIMS);
  uint32_t seen = 0;
  for (size_t i = 0; i < n; i++) {
    int dim = list_dim(L, d, t->name, i + 1);
    if (seen >> dim & 1) script_fail(L, "definition: tensor '%s' has the dim '%s' twice", t->name, d->dims[dim]);
    seen |= 1u << dim;
    t->dim[i] = (uint8_t)dim;
  }
  lua_pop(L, 1);
  t->rank = (uint8_t)n;
  const char *over = take_text(L, t->name, "over", false);
  t->over = -1;
  for (int i = 0; over && i < d->ntensors; i++)
    if (!strcmp(d->tensor[i].name, over) && !d->tensor[i].is_out) t->over = i;
  if (over && t->over < 0) script_fail(L, "definition: tensor '%s' is over '%s', which is no input before it", t->name, over);
  d->ntensors++;
}

static void read_scalar(lua_State *L, KilnDef *d) {
  DefScalar *s = &d->scalar[d->nscalars];
  s->name = take_name(L, "scalar");
  check_unused(L, d, s->name);
  s->dtype = take_dtype(L, s->name, true);
  int type = lua_getfield(L, -1, "default");
  if (type != LUA_TNUMBER && type != LUA_TNIL) script_fail(L, "definition: scalar '%s': its default must be a number", s->name);
  s->has_default = type == LUA_TNUMBER;
  s->deflt = s->has_default ? lua_tonumber(L, -1) : 0;
  lua_pop(L, 1);
  s->at_call = take_flag(L, s->name, "call", false);
  d->nscalars++;
}

static uint32_t tensor_dims(const DefTensor *t) {
  uint32_t dims = 0;
  for (int i = 0; i < t->rank; i++) dims |= 1u << t->dim[i];
  return dims;
}

static void read_products(lua_State *L, const char *where, DefNode *n) {
  static const char *const names[] = {[DEF_PRODUCTS_EXACT] = "exact", [DEF_PRODUCTS_TF32] = "tf32", [DEF_PRODUCTS_SPLIT] = "3xtf32"};
  const char *given = n->op == DEF_DOT ? take_text(L, where, "products", false) : NULL;
  while (given && strcmp(names[n->products], given) != 0)
    if (++n->products == sizeof names / sizeof *names) script_fail(L, "definition: %s: products are exact, tf32 or 3xtf32, not '%s'", where, given);
}

/* What the node refers to beside its operands: an argument, a dim, a number. */
static void read_reference(lua_State *L, const KilnDef *d, const char *where, DefNode *n) {
  if (n->op == DEF_ARG || n->op == DEF_SCALAR) {
    int i = take_index(L, where, "index", (uint32_t)(n->op == DEF_ARG ? d->ntensors : d->nscalars));
    if (i < 0) script_fail(L, "definition: %s: '%s' lacks its index", where, op_names[n->op]);
    if (n->op == DEF_ARG && (!d->tensor[i].present || d->tensor[i].is_out))
      script_fail(L, "definition: %s: '%s' is no input that is there", where, d->tensor[i].name);
    n->index = (uint16_t)i;
  }
  if (wants_dim(n->op)) {
    const char *name = take_text(L, where, "dim", true);
    int dim = find_dim(d, name);
    if (dim < 0) script_fail(L, "definition: %s: there is no dim '%s'", where, name);
    n->index = (uint16_t)dim;
  }
  int type = lua_getfield(L, -1, "value");
  if (n->op == DEF_CONST && type != LUA_TNUMBER) script_fail(L, "definition: %s: a const lacks its value", where);
  n->value = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (n->op == DEF_DOT && n->value != 0 && n->value != -1 && !(n->value >= 1 && n->value <= 1 << 20))
    script_fail(L, "definition: %s: the value of a dot is -1, 0 or a number of terms", where);
  lua_pop(L, 1);
}

/* Dims follow from the operands: elementwise nodes broadcast by name, reductions remove their dim, a table's dims are looked up in. */
static uint32_t infer_dims(lua_State *L, const KilnDef *d, const char *where, const DefNode *n) {
  if (n->op == DEF_ARG) return tensor_dims(&d->tensor[n->index]);
  if (n->op == DEF_INDEX) return 1u << n->index;
  uint32_t dims = 0;
  for (int k = n->op == DEF_LOOKUP; k < n->nargs; k++) dims |= d->node[n->arg[k]].dims;
  if (def_blocks(n->op)) {
    uint32_t blocks = 1u << n->index, elements = 1u << d->block[n->index].of, from = n->op == DEF_SPREAD ? blocks : elements;
    if (!d->block[n->index].size || !(dims & from) || dims & (blocks | elements) & ~from)
      script_fail(L, "definition: %s: '%s' of blocks that its operand has not", where, op_names[n->op]);
    return dims ^ blocks ^ elements;
  }
  if (!wants_dim(n->op) || !n->nargs) return dims;
  for (int k = 0; k < (n->op == DEF_SWAP_HALVES ? 1 : n->nargs); k++)
    if (!(d->node[n->arg[k]].dims >> n->index & 1))
      script_fail(L, "definition: %s: an operand of '%s' lacks the dim '%s'", where, op_names[n->op], d->dims[n->index]);
  return def_reduces(n->op) ? dims & ~(1u << n->index) : dims;
}

/* Operands that must be integers, from bit 0; what is none of these may be either where all are. */
static void check_integers(lua_State *L, const KilnDef *d, const char *where, const DefNode *n) {
  static const uint8_t wanted[] = {[DEF_FLOAT] = 1, [DEF_IDIV] = 3, [DEF_MOD] = 3, [DEF_SWAP_HALVES] = 2, [DEF_LOOKUP] = 6};
  uint32_t must = n->op < sizeof wanted ? wanted[n->op] : 0, may_be = 0, are = 0;
  if ((n->op >= DEF_ADD && n->op <= DEF_NE && n->op != DEF_DIV)) may_be = 3;
  if (n->op == DEF_WHERE) may_be = 6;
  for (int k = 0; k < n->nargs; k++)
    if (d->node[n->arg[k]].dtype == KILN_I32 && d->node[n->arg[k]].op != DEF_ROUND) are |= 1u << k;
  if (must ? are != must : are && are != may_be)
    script_fail(L, "definition: %s: '%s' of integers and numbers mixed", where, op_names[n->op]);
  if (n->op == DEF_LOOKUP && (d->node[n->arg[0]].op != DEF_ARG || d->tensor[d->node[n->arg[0]].index].rank != 2))
    script_fail(L, "definition: %s: 'lookup' wants a tensor of two dims", where);
}

/* given: what the table says, or none. */
static kiln_dtype dtype_of(const KilnDef *d, const DefNode *n, kiln_dtype given) {
  kiln_dtype of_arg = n->nargs ? d->node[n->arg[n->nargs - 1]].dtype : KILN_F32;
  switch ((DefOp)n->op) {
  case DEF_ARG: return d->tensor[n->index].dtype == KILN_BOOL ? KILN_BOOL : KILN_F32;
  case DEF_SCALAR: return d->scalar[n->index].dtype == KILN_I32 || d->scalar[n->index].dtype == KILN_I64 ? KILN_I32 : KILN_F32;
  case DEF_CONST: return given == KILN_I32 ? KILN_I32 : KILN_F32;
  case DEF_ROUND: return given;
  case DEF_INDEX: case DEF_SIZE: case DEF_IDIV: case DEF_MOD: return KILN_I32;
  case DEF_ADD: case DEF_SUB: case DEF_MUL: case DEF_MIN: case DEF_MAX: case DEF_WHERE:
    return of_arg == KILN_I32 && d->node[n->arg[n->nargs - 1]].op != DEF_ROUND ? KILN_I32 : KILN_F32;
  case DEF_NOT: case DEF_LT: case DEF_LE: case DEF_EQ: case DEF_NE: case DEF_AND: case DEF_OR: return KILN_BOOL;
  default: return KILN_F32;
  }
}

static void read_operands(lua_State *L, const char *where, DefNode *n, uint32_t before) {
  size_t count = open_list(L, where, "args", false, 3), want = (size_t)def_operands(n->op);
  if (count != want) script_fail(L, "definition: %s: '%s' takes %zu operands, %zu given", where, op_names[n->op], want, count);
  for (size_t k = 0; k < count; k++) {
    int exact = 0;
    lua_Integer i = lua_rawgeti(L, -1, (lua_Integer)k + 1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact || i < 1 || i > (lua_Integer)before)
      script_fail(L, "definition: %s: operand %zu of '%s' is no earlier node", where, k + 1, op_names[n->op]);
    n->arg[k] = (uint32_t)i - 1;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  n->nargs = (uint8_t)count;
}

static void read_line(lua_State *L, DefNode *n) {
  if (lua_getfield(L, -1, "line") == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    int file = (int)lua_tointeger(L, -2), line = (int)lua_tointeger(L, -1);
    lua_pop(L, 2);
    if (!script_loc(L, file, line, &n->loc)) script_fail_memory(L);
  }
  lua_pop(L, 1);
}

static void read_node(lua_State *L, KilnDef *d, uint32_t at) {
  char where[24];
  lua_Integer number = (lua_Integer)at + 1;
  DefNode *n = &d->node[at];
  snprintf(where, sizeof where, "node %lld", (long long)number);
  const char *name = take_text(L, where, "op", true);
  int op = 0;
  while (op < OPS && strcmp(op_names[op], name)) op++;
  if (op == OPS) script_fail(L, "definition: %s: there is no operation '%s'", where, name);
  n->op = (uint8_t)op;
  read_operands(L, where, n, at);
  read_reference(L, d, where, n);
  read_products(L, where, n);
  check_integers(L, d, where, n);
  n->dims = infer_dims(L, d, where, n);
  kiln_dtype dtype = take_dtype(L, where, op == DEF_ROUND), is = dtype_of(d, n, dtype);
  if (dtype && dtype != is) script_fail(L, "definition: %s: '%s' gives no %s", where, op_names[op], tile_dtype_name(dtype));
  n->dtype = (uint8_t)is;
  read_line(L, n);
  if (lua_getfield(L, -1, "dims") == LUA_TTABLE) {
    uint32_t given = 0;
    for (size_t i = 1, count = lua_rawlen(L, -1); i <= count && i <= DEF_MAX_DIMS; i++) given |= 1u << list_dim(L, d, where, i);
    if (given != n->dims) script_fail(L, "definition: %s: the dims of '%s' do not follow from its operands", where, name);
  }
  lua_pop(L, 1);
}

/* A value may lack dims of its output (it is broadcast), never have others. */
static void check_outputs(lua_State *L, const KilnDef *d) {
  for (int i = 0; i < d->ntensors; i++) {
    const DefTensor *t = &d->tensor[i];
    uint32_t more = t->value >= 0 ? d->node[t->value].dims & ~tensor_dims(t) : 0;
    for (int dim = 0; dim < d->ndims; dim++)
      if (more >> dim & 1) script_fail(L, "output '%s' has no dim '%s', but the value assigned to it has", t->name, d->dims[dim]);
  }
}

int script_define(lua_State *L) {
  Script *s = script_of(L);
  if (s->work != SCRIPT_DEFINE) script_fail(L, "core.define: no definition is asked for");
  if (s->call->def) script_fail(L, "core.define: called twice");
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  KilnDef *d = script_alloc(L, sizeof *d);
  d->op = take_text(L, "op", "op", true);
  d->doc = take_text(L, "op", "doc", false);
  d->cases = take_text(L, "op", "cases", false);
  read_dims(L, d);
  read_blocks(L, d);
  lua_getfield(L, -1, "nodes");
  if (lua_type(L, -1) != LUA_TTABLE) script_fail(L, "definition: op: 'nodes' must be a list");
  size_t nodes = lua_rawlen(L, -1);
  lua_pop(L, 1);
  if (nodes > MOST_NODES) script_fail(L, "definition: %zu nodes; at most %d are possible", nodes, MOST_NODES);
  size_t n = open_list(L, "op", "tensors", true, DEF_MAX_TENSORS);
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    open_element(L, "tensors", i);
    read_tensor(L, d, (uint32_t)nodes);
  }
  lua_pop(L, 1);
  n = open_list(L, "op", "scalars", false, sizeof d->scalar / sizeof d->scalar[0]);
  for (size_t i = 1; i <= n; i++, lua_pop(L, 1)) {
    open_element(L, "scalars", i);
    read_scalar(L, d);
  }
  lua_pop(L, 1);
  d->node = script_alloc(L, (nodes + 1) * sizeof *d->node);
  open_list(L, "op", "nodes", true, MOST_NODES);
  for (; d->nnodes < nodes; d->nnodes++, lua_pop(L, 1)) {
    open_element(L, "nodes", d->nnodes + 1);
    read_node(L, d, d->nnodes);
  }
  check_outputs(L, d);
  if (!d->doc) d->doc = "";
  s->call->def = d;
  return 0;
}
