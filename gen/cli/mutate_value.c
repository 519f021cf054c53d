/* mutate_value.c - the rule on values: a block of the program and of the mutant are evaluated side by side as expressions over what
 * the block finds; if everything that leaves it is the same expression, the two mean the same.
 *
 * What leaves a block: operands of stores, atomics, synchronising and collective instructions and branches, in order, and the
 * registers that are read later. Loads are expressions of their address and of what was stored before. Sources of commutative
 * operations are sorted, those of associative ones flattened first. */
#include "mutate.h"
#include <string.h>

enum { EXPR_FOUND = -1, EXPR_TEXT = -2, EXPR_LOAD = -3, EXPR_EFFECT = -4, EXPR_SELECT = -5, EXPR_MANY = -6, EXPR_UNKNOWN = -7, EXPR_NOT = -8 };
enum { KEY_MAX = 72, MANY_MAX = 48 };

typedef struct Expr { int first, n; } Expr; /* its key: ints in the pool; [0]: an IsaId, or one of the above */
typedef struct Values {
  int *pool, npool, pool_room;
  Expr *expr;
  int nexprs, expr_room;
  int *slot, slots;       /* open addressing: expression + 1 */
} Values;

typedef struct Ints { int *at, n, room; } Ints;

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

/* The terms of a flattened operation, or x itself. Returns their number, 0 if they are too many. */
static int terms_of(const Values *v, int id, int x, int *to, int room) {
  const Expr *e = &v->expr[x];
  const int *key = v->pool + e->first;
  if (key[0] != EXPR_MANY || key[1] != id) return room > 0 ? (to[0] = x, 1) : 0;
  if (e->n - 2 > room) return 0;
  memcpy(to, key + 2, (size_t)(e->n - 2) * sizeof *to);
  return e->n - 2;
}

static int pure(Values *v, const IsaForm *form, IsaId id, int *key, int n, int nsources) {
  int *source = key + n - nsources;
  if (nsources < 2 || !is_commutative(form->opcode)) return expr(v, key, n);
  if (nsources == 2 && is_associative(form->opcode)) {
    int many[KEY_MAX] = {EXPR_MANY, (int)id}, a = terms_of(v, (int)id, source[0], many + 2, MANY_MAX);
    int b = a ? terms_of(v, (int)id, source[1], many + 2 + a, MANY_MAX - a) : 0;
    if (b) {
      sort(many + 2, a + b);
      return expr(v, many, 2 + a + b);
    }
  }
  sort(source, 2);
  return expr(v, key, n);
}

/* ---- a block ---- */

typedef struct Eval {
  Values *v;
  const MutFlow *f;
  int *value;           /* by name; expression + 1, 0: as it was found */
  int epoch;            /* of memory */
  bool forget;          /* the changed instruction gives anything */
  Ints *seen;
} Eval;

static int value_of(const Eval *e, int name) { return e->value[name] ? e->value[name] - 1 : expr2(e->v, EXPR_FOUND, name); }

/* The sources of an instruction: appended to a key. Too many: false. */
static bool put_sources(const Eval *e, const MutInstr *in, int *key, int *n, int *nsources) {
  *nsources = 0;
  for (int i = 0; i < in->n; i++) {
    const MutOperand *o = &in->op[i];
    bool address = o->is->kind == ISA_OPND_MEM;
    if (!address && !o->is->reads && o->is->kind == ISA_OPND_REG) continue;
    for (int k = 0; k < o->n; k++) {
      if (*n + 6 > KEY_MAX) return false;
      int x = o->reg[k] ? value_of(e, o->name[k]) : expr2(e->v, EXPR_TEXT, o->name[k]);
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
    for (uint32_t m = mutate_writes(&in->op[i]); m; m &= m - 1) {
      int k = __builtin_ctz(m), x;
      key[place] = nresults;
      if (changed && e->forget) x = expr(e->v, (int[]){EXPR_UNKNOWN, nresults}, 2);
      else x = pure(e->v, in->form, in->id, key, n, effect || load ? 0 : nsources);
      name[nresults] = in->op[i].name[k];
      result[nresults++] = x;
    }
  for (int i = 0; i < nresults; i++) assign(e, in, name[i], result[i]);
  return true;
}

static bool run_block(Eval *e, int block, int instr, const MutInstr *changed) {
  const MutFlow *f = e->f;
  for (int i = f->block_first[block]; i < f->block_first[block + 1]; i++) {
    int at = f->e->first + i;
    bool here = at == instr;
    if (!run(e, i, here && changed ? changed : &f->p->instr[at], here)) return false;
  }
  for (int name = 0; name < f->p->nnames; name++)
    if (mutate_live_out(f, block, name)) push(e->seen, value_of(e, name));
  return true;
}

const char *mutate_same_values(const MutFlow *f, int instr, const MutInstr *changed) {
  Values v = {0};
  Ints seen[4] = {{0}};
  bool known = true;
  int block = f->block[instr - f->e->first];
  for (int i = 0; i < 4 && known; i++) { /* the program and the mutant, as they are; and with any result of theirs */
    Eval e = {.v = &v, .f = f, .forget = i >= 2, .seen = &seen[i], .value = cli_alloc(((size_t)f->p->nnames + 1) * sizeof(int))};
    known = run_block(&e, block, instr, i % 2 ? changed : NULL);
    cli_free(e.value);
  }
  bool same[2];
  for (int i = 0; i < 2; i++)
    same[i] = known && seen[2 * i].n == seen[2 * i + 1].n &&
              memcmp(seen[2 * i].at, seen[2 * i + 1].at, (size_t)seen[2 * i].n * sizeof(int)) == 0;
  bool dead = same[1] && same[0] && seen[2].n == seen[0].n && memcmp(seen[2].at, seen[0].at, (size_t)seen[0].n * sizeof(int)) == 0;
  for (int i = 0; i < 4; i++) cli_free(seen[i].at);
  cli_free(v.pool);
  cli_free(v.expr);
  cli_free(v.slot);
  return dead ? "dead value" : same[0] ? "same values" : NULL;
}
