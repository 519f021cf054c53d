/* gradient.c - see gradient.h. */
#include "gradient.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings ---- */

typedef struct Settings { kiln_gen_pair pair[40]; char text[2048]; int n; } Settings;

static void put(Settings *s, const char *key, size_t key_bytes, const char *value, size_t value_bytes) {
  size_t used = 0;
  for (int i = 0; i < s->n; i++) used += strlen(s->pair[i].key) + strlen(s->pair[i].value) + 2;
  if (s->n == 40 || used + key_bytes + value_bytes + 2 > sizeof s->text) return;
  char *at = s->text + used;
  s->pair[s->n++] = (kiln_gen_pair){at, at + key_bytes + 1};
  snprintf(at, key_bytes + 1, "%s", key);
  snprintf(at + key_bytes + 1, value_bytes + 1, "%s", value);
}

/* The next "key=value" of a text separated by spaces. */
static bool next_pair(const char **at, const char **key, size_t *key_bytes, const char **value, size_t *value_bytes) {
  while (**at == ' ') ++*at;
  *key = *at;
  *key_bytes = strcspn(*at, "=");
  if (!(*key)[*key_bytes]) return false;
  *value = *key + *key_bytes + 1;
  *value_bytes = strcspn(*value, " ");
  *at = *value + *value_bytes;
  return true;
}

static bool offers(const char *settings, const char *key, size_t key_bytes) {
  const char *k, *v;
  size_t kn, vn;
  while (next_pair(&settings, &k, &kn, &v, &vn))
    if (kn == key_bytes && strncmp(k, key, kn) == 0) return true;
  return false;
}

static const char *list_settings(KilnGen *gen, const char *op) {
  static char text[2048];
  const char *colon = strstr(op, ".lua:");
  char path[512];
  snprintf(path, sizeof path, "%.*s", colon ? (int)(colon - op) + 4 : 0, op);
  const kiln_gen_op *ops;
  int n;
  if ((colon ? kiln_gen_script_ops(gen, path, &ops, &n) : kiln_gen_ops(gen, &ops, &n)) != KILN_GEN_OK) return NULL;
  for (int i = 0; i < n; i++)
    if (strcmp(ops[i].name, colon ? colon + 5 : op) == 0) {
      snprintf(text, sizeof text, "%s", ops[i].settings);
      return text;
    }
  return NULL;
}

const char *gradient_settings(const char *lua_dir, const char *op) {
  KilnGen *gen;
  char name[600];
  snprintf(name, sizeof name, "%s.grad", op);
  if (kiln_gen_open(&gen, lua_dir) != KILN_GEN_OK) return NULL;
  const char *text = list_settings(gen, name);
  kiln_gen_close(gen);
  return text;
}

/* ---- definitions ---- */

static bool define(Gradient *g, KilnGen *gen, const char *op, const Settings *s, const KilnDef **def) {
  kiln_gen_request r = {.op = op, .set = s->pair, .nset = s->n};
  kiln_gen_status status = kiln_gen_define(gen, &r, def);
  if (status == KILN_GEN_OK) return true;
  snprintf(g->why, sizeof g->why, "%s%s", status == KILN_GEN_REFUSED ? "refused: " : "", kiln_gen_message(gen));
  return false;
}

/* f32, where the op has it: roundings are left out in any case. */
static void put_dtype(Settings *s, const char *offered) {
  const char *k, *v;
  size_t kn, vn;
  while (next_pair(&offered, &k, &kn, &v, &vn))
    if (kn == 5 && strncmp(k, "dtype", 5) == 0 && memmem(v, vn, "f32", 3)) put(s, "dtype", 5, "f32", 3);
}

/* The op's settings: f32, those of the gradient, optional outputs there. */
static bool forward_settings(Gradient *g, const char *op, const char *given, Settings *s) {
  static char offered[2048];
  const char *text = list_settings(g->forward_gen, op), *at, *k, *v;
  size_t kn, vn;
  if (!text) return snprintf(g->why, sizeof g->why, "%s: %s", op, kiln_gen_message(g->forward_gen)), false;
  snprintf(offered, sizeof offered, "%s", text);
  Settings plain = {0};
  put_dtype(&plain, offered);
  const KilnDef *def;
  if (!define(g, g->forward_gen, op, &plain, &def)) return false;
  put_dtype(s, offered);
  for (at = offered; next_pair(&at, &k, &kn, &v, &vn);)
    for (int t = 0; t < def->ntensors; t++)
      if (def->tensor[t].is_out && strlen(def->tensor[t].name) == kn && strncmp(def->tensor[t].name, k, kn) == 0) put(s, k, kn, "yes", 3);
  for (at = given; next_pair(&at, &k, &kn, &v, &vn);) {
    bool output = false;
    for (int i = 0; i < s->n; i++) output |= strlen(s->pair[i].key) == kn && strncmp(s->pair[i].key, k, kn) == 0;
    if (!output && offers(offered, k, kn)) put(s, k, kn, v, vn);
  }
  return true;
}

static DefNode *without_roundings(const KilnDef *def) {
  DefNode *node = malloc((def->nnodes + 1) * sizeof *node);
  if (!node) return NULL;
  memcpy(node, def->node, def->nnodes * sizeof *node);
  for (uint32_t i = 0; i < def->nnodes; i++)
    if (node[i].op == DEF_ROUND) {
      node[i].op = DEF_STOP;
      node[i].dtype = KILN_F32;
    }
  return node;
}

/* ---- sizes and tensors, by name ---- */

static int64_t size_of_dim(Gradient *g, const char *name) {
  for (int i = 0; i < g->ndims; i++)
    if (strcmp(g->dim[i].name, name) == 0) return g->dim[i].size;
  if (g->ndims == GRADIENT_DIMS) return 0;
  /* Rows few, columns odd or even by the seed, tables longer than the rows and narrower than the columns. */
  int64_t size = 2 + (int64_t)random_below(&g->random, 2);
  if (name[0] == 'N') size = 9 + (int64_t)random_below(&g->random, 4);
  if (name[0] == 'P') size = 8;
  if (name[0] == 'R') size = 4;
  snprintf(g->dim[g->ndims].name, sizeof g->dim[0].name, "%s", name);
  g->dim[g->ndims++].size = size;
  return size;
}

GradientTensor *gradient_find(Gradient *g, const char *name) {
  for (int i = 0; i < g->ntensors; i++)
    if (strcmp(g->tensor[i].name, name) == 0) return &g->tensor[i];
  return NULL;
}

static void fill(Gradient *g, const DefTensor *t, GradientTensor *x) {
  for (size_t i = 0; i < x->elems; i++)
    x->value[i] = t->dtype == KILN_BOOL ? (double)(random_below(&g->random, 4) == 0) : random_normal(&g->random);
}

/* Every present tensor of a definition; what the other has by that name is shared. Inputs begin with random values. */
static bool add_tensors(Gradient *g, const KilnDef *def) {
  for (int i = 0; i < def->ntensors; i++) {
    const DefTensor *t = &def->tensor[i];
    if (!t->present || gradient_find(g, t->name)) continue;
    GradientTensor *x = &g->tensor[g->ntensors++];
    snprintf(x->name, sizeof x->name, "%s", t->name);
    x->elems = 1;
    for (int k = 0; k < t->rank; k++) x->elems *= (size_t)size_of_dim(g, def->dims[t->dim[k]]);
    x->value = calloc(x->elems + 1, sizeof *x->value);
    if (!x->value) return false;
    if (!t->is_out) fill(g, t, x);
  }
  return true;
}

bool gradient_open(Gradient *g, const char *lua_dir, const char *op, const char *settings, uint64_t seed) {
  memset(g, 0, sizeof *g);
  random_start(&g->random, seed);
  if (kiln_gen_open(&g->forward_gen, lua_dir) != KILN_GEN_OK || kiln_gen_open(&g->backward_gen, lua_dir) != KILN_GEN_OK) return false;
  Settings forward = {0}, backward = {0};
  if (!forward_settings(g, op, settings, &forward) || !define(g, g->forward_gen, op, &forward, &g->forward)) return false;
  const char *k, *v;
  size_t kn, vn;
  char name[600];
  snprintf(name, sizeof name, "%s.grad", op);
  const char *offered = list_settings(g->backward_gen, name);
  if (!offered) return snprintf(g->why, sizeof g->why, "%.100s: %.140s", name, kiln_gen_message(g->backward_gen)), false;
  put_dtype(&backward, offered);
  for (const char *at = settings; next_pair(&at, &k, &kn, &v, &vn);) put(&backward, k, kn, v, vn);
  if (!define(g, g->backward_gen, name, &backward, &g->backward)) return false;
  g->forward_node = without_roundings(g->forward);
  g->backward_node = without_roundings(g->backward);
  return g->forward_node && g->backward_node && add_tensors(g, g->forward) && add_tensors(g, g->backward);
}

void gradient_close(Gradient *g) {
  for (int i = 0; i < g->ntensors; i++) free(g->tensor[i].value);
  free(g->forward_node);
  free(g->backward_node);
  if (g->forward_gen) kiln_gen_close(g->forward_gen);
  if (g->backward_gen) kiln_gen_close(g->backward_gen);
  memset(g, 0, sizeof *g);
}

/* ---- evaluation ---- */

typedef struct Sink { Gradient *g; const KilnDef *def; } Sink;

static size_t place(const KilnDef *def, const DefTensor *t, Gradient *g, const int64_t at[DEF_MAX_DIMS]) {
  size_t i = 0;
  for (int k = 0; k < t->rank; k++) i = i * (size_t)size_of_dim(g, def->dims[t->dim[k]]) + (size_t)at[t->dim[k]];
  return i;
}

static void take(void *user, const EvalChunk *c) {
  Sink *s = user;
  const DefTensor *t = &s->def->tensor[c->tensor];
  GradientTensor *x = gradient_find(s->g, t->name);
  int64_t at[DEF_MAX_DIMS], total = 1;
  for (int d = 0; d < DEF_MAX_DIMS; d++) {
    at[d] = c->dims >> d & 1 ? c->start[d] : 0;
    if (c->dims >> d & 1) total *= c->count[d];
  }
  for (int64_t i = 0; i < total; i++) {
    x->value[place(s->def, t, s->g, at)] = c->value[i];
    for (int d = DEF_MAX_DIMS - 1; d >= 0; d--) {
      if (!(c->dims >> d & 1)) continue;
      if (++at[d] < c->start[d] + c->count[d]) break;
      at[d] = c->start[d];
    }
  }
}

/* Offsets of a dense tensor, by dim. */
static int64_t *offsets(Gradient *g, const KilnDef *def, const DefTensor *t, int k) {
  int64_t size = size_of_dim(g, def->dims[t->dim[k]]), stride = 1;
  for (int j = k + 1; j < t->rank; j++) stride *= size_of_dim(g, def->dims[t->dim[j]]);
  int64_t *at = malloc((size_t)(size + 1) * sizeof *at);
  for (int64_t i = 0; at && i < size; i++) at[i] = i * stride;
  return at;
}

static bool run(Gradient *g, const KilnDef *given, DefNode *nodes) {
  KilnDef def = *given;
  def.node = nodes;
  EvalInput in = {.def = &def};
  int64_t *all[DEF_MAX_TENSORS * DEF_MAX_DIMS];
  int n = 0;
  bool ok = true;
  for (int d = 0; d < def.ndims; d++) in.size[d] = in.count[d] = size_of_dim(g, def.dims[d]);
  for (int i = 0; i < def.nscalars; i++) {
    in.scalar[i] = def.scalar[i].has_default ? def.scalar[i].deflt : 0.5;
    if (g->scalar && strcmp(g->scalar, def.scalar[i].name) == 0) in.scalar[i] = g->scalar_value;
  }
  for (int i = 0; i < def.ntensors; i++) {
    const DefTensor *t = &def.tensor[i];
    if (!t->present || t->is_out) continue;
    in.tensor[i] = (EvalTensor){.dtype = KILN_F64, .data = gradient_find(g, t->name)->value};
    for (int k = 0; k < t->rank; k++) {
      in.tensor[i].offset[t->dim[k]] = all[n] = offsets(g, &def, t, k);
      ok = ok && all[n] != NULL;
      n++;
    }
  }
  Sink sink = {g, &def};
  ok = ok && evaluate(&in, take, &sink, g->why, sizeof g->why);
  for (int i = 0; i < n; i++) free(all[i]);
  return ok;
}

bool gradient_run(Gradient *g) { return run(g, g->forward, g->forward_node) && run(g, g->backward, g->backward_node); }

double gradient_loss(Gradient *g) {
  if (!run(g, g->forward, g->forward_node)) return NAN;
  double loss = 0;
  for (int i = 0; i < g->forward->ntensors; i++) {
    const DefTensor *t = &g->forward->tensor[i];
    char name[64];
    snprintf(name, sizeof name, "d%s", t->name);
    GradientTensor *y = gradient_find(g, t->name), *dy = t->is_out && t->present ? gradient_find(g, name) : NULL;
    for (size_t k = 0; dy && k < y->elems; k++) loss += y->value[k] * dy->value[k];
  }
  return loss;
}

/* ---- graphs ---- */

static void mark(const KilnDef *def, uint32_t i, bool *seen) {
  if (seen[i]) return;
  seen[i] = true;
  for (int k = 0; k < def->node[i].nargs; k++) mark(def, def->node[i].arg[k], seen);
}

static bool *mark_outputs(const KilnDef *def) {
  bool *seen = calloc(def->nnodes + 1, 1);
  for (int t = 0; seen && t < def->ntensors; t++)
    if (def->tensor[t].value >= 0) mark(def, (uint32_t)def->tensor[t].value, seen);
  return seen;
}

static bool is_row_sum(const KilnDef *def, const DefNode *n) {
  return (n->op == DEF_SUM || n->op == DEF_AMAX || n->op == DEF_AMIN) && def->dims[n->index][0] == 'N';
}

int gradient_row_sums(const KilnDef *def, int *levels) {
  bool *seen = mark_outputs(def);
  int *depth = calloc(def->nnodes + 1, sizeof *depth), sums = 0;
  *levels = 0;
  for (uint32_t i = 0; seen && depth && i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    for (int k = 0; k < n->nargs; k++)
      if (depth[n->arg[k]] > depth[i]) depth[i] = depth[n->arg[k]];
    if (is_row_sum(def, n)) depth[i]++;
    if (!seen[i]) continue;
    sums += is_row_sum(def, n);
    if (depth[i] > *levels) *levels = depth[i];
  }
  free(depth);
  free(seen);
  return sums;
}

bool gradient_reads(const KilnDef *def, const char *tensor) {
  bool *seen = mark_outputs(def), reads = false;
  for (uint32_t i = 0; seen && i < def->nnodes; i++)
    reads |= seen[i] && def->node[i].op == DEF_ARG && strcmp(def->tensor[def->node[i].index].name, tensor) == 0;
  free(seen);
  return reads;
}

static const char *const names[] = {
  [DEF_ARG] = "arg", [DEF_SCALAR] = "scalar", [DEF_CONST] = "const", [DEF_DIM] = "dim", [DEF_NEG] = "neg", [DEF_ABS] = "abs",
  [DEF_EXP] = "exp", [DEF_EXP2] = "exp2", [DEF_LOG] = "log", [DEF_LOG2] = "log2", [DEF_SQRT] = "sqrt", [DEF_RSQRT] = "rsqrt",
  [DEF_RCP] = "rcp", [DEF_TANH] = "tanh", [DEF_ERF] = "erf", [DEF_SIN] = "sin", [DEF_COS] = "cos", [DEF_NOT] = "not", [DEF_ADD] = "add",
  [DEF_SUB] = "sub", [DEF_MUL] = "mul", [DEF_DIV] = "div", [DEF_MIN] = "min", [DEF_MAX] = "max", [DEF_LT] = "lt", [DEF_LE] = "le",
  [DEF_EQ] = "eq", [DEF_NE] = "ne", [DEF_AND] = "and", [DEF_OR] = "or", [DEF_WHERE] = "where", [DEF_ROUND] = "round", [DEF_SUM] = "sum",
  [DEF_AMAX] = "amax", [DEF_AMIN] = "amin", [DEF_INDEX] = "index", [DEF_SIZE] = "size", [DEF_FLOAT] = "float", [DEF_STOP] = "stop",
  [DEF_IDIV] = "idiv", [DEF_MOD] = "mod", [DEF_SWAP_PAIRS] = "swap_pairs", [DEF_SWAP_HALVES] = "swap_halves", [DEF_LOOKUP] = "lookup",
};

void gradient_print(const KilnDef *def) {
  printf("%s: %s\n", def->op, def->doc);
  for (int t = 0; t < def->ntensors; t++) {
    const DefTensor *x = &def->tensor[t];
    printf("  %s %s%s", x->is_out ? "out" : "in", x->name, x->present ? "" : " (absent)");
    for (int k = 0; k < x->rank; k++) printf(" %s", def->dims[x->dim[k]]);
    if (x->value >= 0) printf(" = %%%d", x->value);
    printf("\n");
  }
  for (uint32_t i = 0; i < def->nnodes; i++) {
    const DefNode *n = &def->node[i];
    bool named = n->op < sizeof names / sizeof names[0] && names[n->op];
    printf("  %%%u = %s", i, named ? names[n->op] : "?");
    for (int k = 0; k < n->nargs; k++) printf(" %%%u", n->arg[k]);
    if (n->op == DEF_CONST) printf(" %.9g", n->value);
    if (n->op == DEF_ARG) printf(" %s", def->tensor[n->index].name);
    if (n->op == DEF_SCALAR) printf(" %s", def->scalar[n->index].name);
    if (is_row_sum(def, n) || n->op == DEF_SUM || n->op == DEF_DIM || n->op == DEF_INDEX || n->op == DEF_SIZE) printf(" over %s", def->dims[n->index]);
    printf("   [");
    for (int d = 0; d < def->ndims; d++)
      if (n->dims >> d & 1) printf(" %s", def->dims[d]);
    printf(" ]\n");
  }
}
