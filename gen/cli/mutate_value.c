/* mutate_value.c - the rule on values: a block of the program and of the mutant are evaluated side by side as expressions over what
 * the block finds; if everything that leaves it is the same expression, the two mean the same.
 *
 * What leaves a block: operands of stores, atomics, synchronising and collective instructions and branches, in order, and the
 * registers that are read later. Loads are expressions of their address and of what was stored before. Sources of commutative
 * operations are sorted, those of associative ones flattened first.
 *
 * Registers that gather (maxima of a loop, say, each of its own elements, which are joined in the end) may leave the block
 * different, if joined they are the same. Then every block of the program is looked at, with registers of the mutant of which no
 * more than that is known. */
#include "mutate.h"
#include <string.h>

enum { EXPR_FOUND = -1, EXPR_TEXT = -2, EXPR_LOAD = -3, EXPR_EFFECT = -4, EXPR_SELECT = -5, EXPR_MANY = -6, EXPR_UNKNOWN = -7, EXPR_NOT = -8,
       EXPR_OTHER = -9, EXPR_JOINED = -10, EXPR_PRODUCT = -11 };
enum { KEY_MAX = 300, MANY_MAX = 280, GROUP_MAX = 32 };

typedef struct Expr { int first, n; } Expr; /* its key: ints in the pool; [0]: an IsaId, or one of the above */
typedef struct Values {
  int *pool, npool, pool_room;
  Expr *expr;
  int nexprs, expr_room;
  int *slot, slots;       /* open addressing: expression + 1 */
} Values;

typedef struct Ints { int *at, n, room; } Ints;

typedef struct Gathered { int name[GROUP_MAX], n, op; } Gathered; /* registers that are the same only when joined by op */

static int *room_for(int *at, int n, int more, int *room) {
  if (n + more <= *room) return at;
  int wider = 2 * *room + more + 1024;
  int *to = cli_alloc((size_t)wider * sizeof *to);
  if (n) memcpy(to, at, (size_t)n * sizeof *to);
  cli_free(at);
  *room = wider;
  return to;
}

static void push(Ints *v, int x) {
  v->at = room_for(v->at, v->n, 1, &v->room);
  v->at[v->n++] = x;
}

static uint32_t hash_key(const int *key, int n) {
  uint32_t h = 2166136261u;
  for (int i = 0; i < n; i++) h = (h ^ (uint32_t)key[i]) * 16777619u, h ^= h >> 13;
  return h;
}

static void place(Values *v, int e) {
  const int *key = v->pool + v->expr[e].first;
  uint32_t i = hash_key(key, v->expr[e].n) & (uint32_t)(v->slots - 1);
  while (v->slot[i]) i = (i + 1) & (uint32_t)(v->slots - 1);
  v->slot[i] = e + 1;
}

static void widen(Values *v) {
  if (2 * (v->nexprs + 1) < v->slots) return;
  cli_free(v->slot);
  v->slots = v->slots ? 2 * v->slots : 4096;
  v->slot = cli_alloc((size_t)v->slots * sizeof *v->slot);
  for (int e = 0; e < v->nexprs; e++) place(v, e);
}

/* The expression of a key: the same key, the same number. */
static int expr(Values *v, const int *key, int n) {
  widen(v);
  for (uint32_t i = hash_key(key, n) & (uint32_t)(v->slots - 1); v->slot[i]; i = (i + 1) & (uint32_t)(v->slots - 1)) {
    const Expr *e = &v->expr[v->slot[i] - 1];
    if (e->n == n && memcmp(v->pool + e->first, key, (size_t)n * sizeof *key) == 0) return v->slot[i] - 1;
  }
  v->pool = room_for(v->pool, v->npool, n, &v->pool_room);
  memcpy(v->pool + v->npool, key, (size_t)n * sizeof *key);
  if (v->nexprs == v->expr_room) {
    int room = v->expr_room ? 2 * v->expr_room : 1024;
    Expr *to = cli_alloc((size_t)room * sizeof *to);
    if (v->nexprs) memcpy(to, v->expr, (size_t)v->nexprs * sizeof *to);
    cli_free(v->expr);
    v->expr = to;
    v->expr_room = room;
  }
  v->expr[v->nexprs] = (Expr){v->npool, n};
  v->npool += n;
  place(v, v->nexprs);
  return v->nexprs++;
}

static int expr2(Values *v, int kind, int what) { return expr(v, (int[]){kind, what}, 2); }

/* ---- operations ---- */

static bool word_is(const char *opcode, const char *word) {
  size_t n = strlen(word);
  return strncmp(opcode, word, n) == 0 && opcode[n] == '.';
}

static bool has_float(const char *opcode) { return strstr(opcode, ".f16") || strstr(opcode, ".bf16") || strstr(opcode, ".f32") || strstr(opcode, ".f64"); }

static bool is_commutative(const char *opcode) {
  static const char *const words[] = {"add", "mul", "fma", "mad", "min", "max", "and", "or", "xor"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (word_is(opcode, words[i])) return true;
  return false;
}

/* Whose order does not show in a single bit: not sums of floats. Minimum and maximum take a NaN or leave it, whatever the order. */
static bool is_associative(const char *opcode) {
  if (strstr(opcode, ".xorsign")) return false;
  bool picks = word_is(opcode, "min") || word_is(opcode, "max") || word_is(opcode, "and") || word_is(opcode, "or") || word_is(opcode, "xor");
  return picks || (word_is(opcode, "add") && !has_float(opcode) && !strstr(opcode, ".sat"));
}

static void sort(int *x, int n) {
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && x[k - 1] > x[k]; k--) {
      int t = x[k];
      x[k] = x[k - 1];
      x[k - 1] = t;
    }
}

typedef struct Eval {
  Values *v;
  const MutFlow *f;
  int *value;           /* by name; expression + 1, 0: as it was found */
  int epoch;            /* of memory */
  bool sums;            /* sums of floats are the same in any order */
  bool forget;          /* the changed instruction gives anything */
  bool mutant;
  const Gathered *gathered;
  Ints *seen;
} Eval;

/* The terms of a flattened operation, or x itself. Returns their number, 0 if they are too many. */
static int terms_of(const Values *v, int op, int x, int *to, int room) {
  const Expr *e = &v->expr[x];
  const int *key = v->pool + e->first;
  if (key[0] != EXPR_MANY || key[1] != op) return room > 0 ? (to[0] = x, 1) : 0;
  if (e->n - 2 > room) return 0;
  memcpy(to, key + 2, (size_t)(e->n - 2) * sizeof *to);
  return e->n - 2;
}

static int as_found(const Eval *e, int name) {
  for (int i = 0; e->mutant && i < e->gathered->n; i++)
    if (e->gathered->name[i] == name) return expr2(e->v, EXPR_OTHER, name);
  return expr2(e->v, EXPR_FOUND, name);
}

/* All gathered registers among the terms, as they were found: one expression in program and mutant. */
static int join_gathered(const Eval *e, int op, int *term, int n) {
  const Gathered *g = e->gathered;
  int at[GROUP_MAX];
  if (g->n == 0 || g->op != op) return n;
  for (int i = 0; i < g->n; i++) {
    int x = as_found(e, g->name[i]), k = 0;
    while (k < n && term[k] != x) k++;
    if (k == n) return n;
    at[i] = k;
  }
  for (int i = 0; i < g->n; i++) term[at[i]] = -1;
  int kept = 0;
  for (int k = 0; k < n; k++)
    if (term[k] >= 0) term[kept++] = term[k];
  term[kept++] = expr2(e->v, EXPR_JOINED, op);
  return kept;
}

/* x op y op ..: flattened and sorted. -1: too long for that. */
static int many(const Eval *e, int op, const int *x, int n) {
  int key[KEY_MAX] = {EXPR_MANY, op}, used = 0;
  for (int i = 0; i < n; i++) {
    int more = terms_of(e->v, op, x[i], key + 2 + used, MANY_MAX - used);
    if (!more) return -1;
    used += more;
  }
  used = join_gathered(e, op, key + 2, used);
  sort(key + 2, used);
  return used == 1 ? key[2] : expr(e->v, key, 2 + used);
}

/* Sums of floats, where their order does not count: a * b + c is a sum of the product and c. */
static int sum(const Eval *e, const char *opcode, const int *source, int n) {
  int op = strstr(opcode, ".f32") ? ISA_add_rn_f32 : ISA_add_rn_f64;
  if (!e->sums || !(strstr(opcode, ".f32") || strstr(opcode, ".f64")) || strstr(opcode, ".sat")) return -1;
  if (word_is(opcode, "add") && n == 2) return many(e, op, source, 2);
  if (!word_is(opcode, "fma") || n != 3) return -1;
  int product[] = {EXPR_PRODUCT, source[0], source[1]};
  sort(product + 1, 2);
  return many(e, op, (int[]){expr(e->v, product, 3), source[2]}, 2);
}

static int operation(const Eval *e, IsaId id, int x, int y);

/* NaN if x or y is, else the larger one: x + y where they are unordered, which is then the one NaN that there is. */
static int larger_or_nan(const Eval *e, const int *source) {
  const Expr *p = &e->v->expr[source[2]];
  const int *test = e->v->pool + p->first;
  if (p->n != 6 || test[0] != ISA_setp_nan_f32) return -1;
  int x = test[4], y = test[5];
  if (source[0] != operation(e, ISA_add_rn_f32, x, y) || source[1] != operation(e, ISA_max_f32, x, y)) return -1;
  return many(e, ISA_max_NaN_f32, (int[]){x, y}, 2);
}

static int pure(const Eval *e, const IsaForm *form, IsaId id, int *key, int n, int nsources) {
  int *source = key + n - nsources, x = -1;
  if (nsources == 1 && word_is(form->opcode, "mov") && !form->op[0].brace && !form->op[1].brace) return source[0]; /* a copy */
  if (id == ISA_selp_f32 && nsources == 3) x = larger_or_nan(e, source);
  if (x >= 0) return x;
  if (nsources < 2 || !is_commutative(form->opcode)) return expr(e->v, key, n);
  if (nsources == 2 && is_associative(form->opcode)) x = many(e, (int)id, source, 2);
  else x = sum(e, form->opcode, source, nsources);
  if (x >= 0) return x;
  sort(source, 2);
  return expr(e->v, key, n);
}

static int operation(const Eval *e, IsaId id, int x, int y) {
  int key[KEY_MAX] = {(int)id, 0, 0, 0, x, y};
  return pure(e, isa_form(id), id, key, 6, 2);
}

/* ---- a block ---- */

static int value_of(const Eval *e, int name) { return e->value[name] ? e->value[name] - 1 : as_found(e, name); }

/* The sources of an instruction: appended to a key. Too many: false. */
static bool put_sources(const Eval *e, const MutInstr *in, int *key, int *n, int *nsources) {
  *nsources = 0;
  for (int i = 0; i < in->n; i++) {
    const MutOperand *o = &in->op[i];
    bool address = o->is->kind == ISA_OPND_MEM;
    if (!address && !o->is->reads && o->is->kind == ISA_OPND_REG) continue;
    for (int k = 0; k < o->n; k++) {
      if (*n + 6 > KEY_MAX) return false;
      const MutElement *element = mutate_element(o, k);
      int x = element->reg ? value_of(e, element->name) : expr2(e->v, EXPR_TEXT, element->name);
      if (o->negated) x = expr2(e->v, EXPR_NOT, x);
      key[(*n)++] = x;
      ++*nsources;
    }
    if (!address) continue;
    key[(*n)++] = o->symbol;
    key[(*n)++] = (int)o->offset;
    key[(*n)++] = (int)(o->offset >> 32);
    *nsources = 0; /* not an operation on values */
  }
  return true;
}

static bool is_effect(const MutInstr *in) {
  uint16_t f = in->form->flags;
  if (f & ISA_PURE) return false;
  return f & (ISA_WRITES | ISA_SYNC | ISA_ASYNC | ISA_TERMINATOR) || !(f & ISA_READS);
}

static void assign(Eval *e, const MutInstr *in, int name, int x) {
  if (in->guard != MUT_NONE) x = expr(e->v, (int[]){EXPR_SELECT, value_of(e, in->guard), in->guard_not, x, value_of(e, name)}, 5);
  e->value[name] = x + 1;
}

static bool run(Eval *e, int at, const MutInstr *in, bool changed) {
  int key[KEY_MAX + 8], n = 0, nsources, result[MUT_OPERANDS * MUT_ELEMENTS], name[MUT_OPERANDS * MUT_ELEMENTS], nresults = 0;
  bool effect = is_effect(in), load = !effect && in->form->flags & ISA_READS && !(in->form->flags & ISA_PURE);
  key[n++] = effect ? EXPR_EFFECT : load ? EXPR_LOAD : (int)in->id;
  key[n++] = effect ? at : load ? e->epoch : 0;
  key[n++] = load ? (int)in->id : 0;
  int place = n;
  key[n++] = 0; /* which of the results */
  if (!put_sources(e, in, key, &n, &nsources)) return false;
  if (effect) {
    push(e->seen, at);
    push(e->seen, in->guard == MUT_NONE ? -1 : value_of(e, in->guard));
    for (int i = place; i < n; i++) push(e->seen, key[i]);
    e->epoch++;
  }
  for (int i = 0; i < in->n; i++)
    for (int k = 0; k < in->op[i].n; k++) {
      int x;
      if (!mutate_writes(&in->op[i], k)) continue;
      key[place] = nresults;
      if (changed && e->forget) x = expr(e->v, (int[]){EXPR_UNKNOWN, nresults}, 2);
      else x = pure(e, in->form, in->id, key, n, effect || load ? 0 : nsources);
      name[nresults] = mutate_element(&in->op[i], k)->name;
      result[nresults++] = x;
    }
  for (int i = 0; i < nresults; i++) assign(e, in, name[i], result[i]);
  return true;
}

static bool is_gathered(const Gathered *g, int name) {
  for (int i = 0; i < g->n; i++)
    if (g->name[i] == name) return true;
  return false;
}

/* What a block leaves behind: effects, then the registers that live on; of gathered ones what they are together. */
static bool run_block(Eval *e, int block, int instr, const MutInstr *changed) {
  const MutFlow *f = e->f;
  const Gathered *g = e->gathered;
  int joined[GROUP_MAX];
  for (int i = f->block_first[block]; i < f->block_first[block + 1]; i++) {
    int at = f->e->first + i;
    bool here = at == instr;
    if (!run(e, i, here && changed ? changed : &f->p->instr[at], here)) return false;
  }
  bool any = false;
  for (int name = 0; name < f->p->nnames; name++) {
    if (!mutate_live_out(f, block, name)) continue;
    push(e->seen, name);
    if (is_gathered(g, name)) any = true;
    else push(e->seen, value_of(e, name));
  }
  for (int i = 0; i < g->n && any; i++) joined[i] = value_of(e, g->name[i]);
  int all = any ? many(e, g->op, joined, g->n) : 0;
  push(e->seen, all);
  return all >= 0;
}

typedef struct Pair { /* program and mutant */
  const MutFlow *f;
  Values *v;
  int instr;
  const MutInstr *changed;
  bool sums, forget;
  Gathered gathered;
} Pair;

static bool run_pair(const Pair *p, int block, Ints seen[2]) {
  bool known = true;
  for (int i = 0; i < 2; i++) {
    Eval e = {.v = p->v, .f = p->f, .sums = p->sums, .forget = p->forget && i, .mutant = i, .gathered = &p->gathered, .seen = &seen[i],
              .value = cli_alloc(((size_t)p->f->p->nnames + 1) * sizeof(int))};
    known &= run_block(&e, block, p->instr, i ? p->changed : NULL);
    cli_free(e.value);
  }
  return known;
}

static bool equal(const Ints *a, const Ints *b) { return a->n == b->n && memcmp(a->at, b->at, (size_t)a->n * sizeof *a->at) == 0; }

static bool same_block(const Pair *p, int block) {
  Ints seen[2] = {{0}};
  bool same = run_pair(p, block, seen) && equal(&seen[0], &seen[1]);
  cli_free(seen[0].at);
  cli_free(seen[1].at);
  return same;
}

/* The registers in which a block's ends differ, if each is an operation of one kind, and nothing else differs. */
static bool find_gathered(Pair *p, int block) {
  Ints seen[2] = {{0}};
  Gathered g = {.n = 0};
  bool found = run_pair(p, block, seen) && seen[0].n == seen[1].n;
  int lives = 0;
  for (int name = 0; name < p->f->p->nnames; name++) lives += mutate_live_out(p->f, block, name);
  int first = seen[0].n - 1 - 2 * lives; /* pairs of name and value stand before the last */
  for (int i = 0; i < seen[0].n && found; i++) {
    if (seen[0].at[i] == seen[1].at[i]) continue;
    found = i >= first && i < seen[0].n - 1 && (i - first) % 2 == 1 && g.n < GROUP_MAX; /* the value of a pair: an expression */
    if (!found) break;
    const int *key = p->v->pool + p->v->expr[seen[0].at[i]].first;
    found = key[0] == EXPR_MANY && (g.n == 0 || g.op == key[1]);
    if (!found) break;
    g.op = key[1];
    g.name[g.n++] = seen[0].at[i - 1];
  }
  cli_free(seen[0].at);
  cli_free(seen[1].at);
  p->gathered = g;
  return found && g.n > 1;
}

static bool same_everywhere(const Pair *p) {
  for (int b = 0; b < p->f->nblocks; b++)
    if (p->f->reached[p->f->block_first[b]] && !same_block(p, b)) return false;
  return true;
}

/* With the order of sums as it is, then without. */
static const char *find_rule(Pair *p, int block) {
  static const char *const rules[] = {"same values", "order of a sum"};
  for (int i = 0; i < 2; i++) {
    p->sums = i;
    p->gathered.n = 0;
    if (same_block(p, block) || (find_gathered(p, block) && same_everywhere(p))) return rules[i];
  }
  return NULL;
}

const char *mutate_same_values(const MutFlow *f, int instr, const MutInstr *changed) {
  Values v = {0};
  int block = f->block[instr - f->e->first];
  Pair p = {.f = f, .v = &v, .instr = instr, .changed = changed, .forget = true};
  const char *rule = same_block(&p, block) ? "dead value" : NULL;
  p.forget = false;
  if (!rule) rule = find_rule(&p, block);
  cli_free(v.pool);
  cli_free(v.expr);
  cli_free(v.slot);
  return rule;
}
