/* symbol.c - names while PTX is read: scopes, register ranges, virtual registers, constants.
 *
 * A range (.reg .b32 %r<100000>) costs nothing until one of its registers is named: the register's own symbol is made then, in
 * the range's scope. */
#include "parse.h"
#include <string.h>

enum { MAX_VREGS = 1 << 20, MAX_SYMS = 1 << 21 };

static uint32_t hash_name(const char *s, uint32_t n) {
  uint32_t h = 2166136261u;
  for (uint32_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  return (h ^ h >> 15) & (SIM_BUCKETS - 1);
}

static SimSym *find_exact(SimParser *p, const char *name, uint32_t n) {
  SimSym *best = NULL;
  for (uint32_t i = p->bucket[hash_name(name, n)]; i; i = SIM_AT(&p->syms, SimSym, i).next) {
    SimSym *s = &SIM_AT(&p->syms, SimSym, i);
    if (s->n == n && memcmp(s->name, name, n) == 0 && (!best || s->depth > best->depth)) best = s;
  }
  return best;
}

static SimSym *insert_sym(SimParser *p, const char *name, uint32_t n, SimSymKind kind, uint32_t depth) {
  if (p->syms.n == 0 && !sim_push(&p->syms, sizeof(SimSym))) return sim_parse_memory(p), NULL;
  uint32_t index = SIM_COUNT(&p->syms, SimSym);
  if (index >= MAX_SYMS) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "more than %d names", MAX_SYMS), NULL;
  SimSym *s = sim_push(&p->syms, sizeof *s);
  if (!s) return sim_parse_memory(p), NULL;
  uint32_t h = hash_name(name, n);
  *s = (SimSym){.name = name, .n = n, .kind = kind, .depth = (uint8_t)depth, .next = p->bucket[h], .older = p->newest[depth]};
  p->bucket[h] = index;
  p->newest[depth] = index;
  return s;
}

SimSym *sim_sym_add(SimParser *p, const SimToken *name, SimSymKind kind) {
  SimSym *old = find_exact(p, name->at, name->n);
  if (old && old->depth == p->depth) {
    sim_parse_fail(p, name->line, DRV_INVALID_PTX, "'%.*s' is declared twice", (int)(name->n > 60 ? 60 : name->n), name->at);
    return NULL;
  }
  return insert_sym(p, name->at, name->n, kind, p->depth);
}

/* %r12 -> the range %r with 12 below its count */
static SimSym *find_range(SimParser *p, const char *name, uint32_t n, uint64_t *number) {
  uint32_t k = n;
  while (k > 0 && name[k - 1] >= '0' && name[k - 1] <= '9') k--;
  if (k == n || k == 0 || n - k > 9 || (n - k > 1 && name[k] == '0')) return NULL;
  SimSym *s = find_exact(p, name, k);
  if (!s || s->kind != SYM_RANGE) return NULL;
  uint64_t v = 0;
  for (uint32_t i = k; i < n; i++) v = v * 10 + (uint64_t)(name[i] - '0');
  *number = v;
  return v < s->value ? s : NULL;
}

SimSym *sim_sym_find(SimParser *p, const char *name, uint32_t n) {
  SimSym *s = find_exact(p, name, n);
  uint64_t number;
  SimSym *range = find_range(p, name, n, &number);
  if (!range || (s && s->depth >= range->depth)) return s;
  uint8_t type = range->type, bits = range->bits, depth = range->depth;
  uint32_t v = sim_vreg_new(p, VREG_PLAIN, bits == 1 ? 0 : bits == 64 ? 8 : 4, 0);
  if (!v) return NULL;
  SIM_AT(&p->vregs, SimVreg, v).type = type;
  SIM_AT(&p->vregs, SimVreg, v).bits = bits;
  s = insert_sym(p, name, n, SYM_REG, depth);
  if (!s) return NULL;
  s->id = v;
  s->type = type;
  s->bits = bits;
  return s;
}

uint32_t sim_vreg_named(SimParser *p, const char *name, uint32_t n) {
  SimSym *s = sim_sym_find(p, name, n);
  return s && s->kind == SYM_REG ? s->id : 0;
}

bool sim_scope_open(SimParser *p) {
  if (p->depth + 1 > SIM_MAX_DEPTH)
    return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "scopes are nested deeper than %d", SIM_MAX_DEPTH);
  p->newest[++p->depth] = 0;
  p->stack_saved[p->depth] = p->stack_at;
  return true;
}

/* Jumps to labels of the scope that ends are resolved; the others wait for the scope around it. */
static void resolve_jumps(SimParser *p) {
  uint32_t kept = 0, n = SIM_COUNT(&p->jumps, SimJump);
  uint32_t first = n;
  while (first > 0 && SIM_AT(&p->jumps, SimJump, first - 1).depth >= p->depth) first--;
  kept = first;
  for (uint32_t i = first; i < n; i++) {
    SimJump j = SIM_AT(&p->jumps, SimJump, i);
    SimSym *s = find_exact(p, j.name, j.n);
    if (s && s->kind == (j.kind == JUMP_LIST ? SYM_TARGETS : SYM_LABEL) && s->depth == p->depth) {
      if (j.kind == JUMP_BRANCH) SIM_AT(&p->code_buf, SimInstr, j.at).target = s->id;
      else if (j.kind == JUMP_SLOT) SIM_AT(&p->targets, uint32_t, j.at) = s->id;
      else SIM_AT(&p->code_buf, SimInstr, j.at).imm = s->id;
      continue;
    }
    j.depth = (uint8_t)(p->depth - 1);
    SIM_AT(&p->jumps, SimJump, kept++) = j;
  }
  p->jumps.n = kept * sizeof(SimJump);
}

bool sim_scope_close(SimParser *p) {
  resolve_jumps(p);
  for (uint32_t i = p->newest[p->depth]; i;) {
    SimSym *s = &SIM_AT(&p->syms, SimSym, i);
    uint32_t *link = &p->bucket[hash_name(s->name, s->n)];
    while (*link != i) link = &SIM_AT(&p->syms, SimSym, *link).next;
    *link = s->next;
    i = s->older;
  }
  p->stack_at = p->stack_saved[p->depth];
  p->depth--;
  return true;
}

uint32_t sim_vreg_new(SimParser *p, SimVregKind kind, uint8_t width, uint64_t value) {
  uint32_t id = SIM_COUNT(&p->vregs, SimVreg);
  if (id >= MAX_VREGS) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "more than %d registers in use", MAX_VREGS), 0;
  SimVreg *v = sim_push(&p->vregs, sizeof *v);
  uint32_t *next = v ? sim_push(&p->const_next, sizeof *next) : NULL;
  if (!next) return sim_parse_memory(p), 0;
  v->kind = kind;
  v->width = width;
  v->value = value;
  v->bits = width == 0 ? 1 : (uint8_t)(width * 8);
  v->type = width == 0 ? 'p' : 'b';
  return id;
}

uint32_t sim_vreg_const(SimParser *p, uint8_t width, uint64_t value) {
  uint32_t h = (uint32_t)((value * 0x9e3779b97f4a7c15ull) >> 54) & 1023;
  for (uint32_t i = p->const_bucket[h]; i; i = SIM_AT(&p->const_next, uint32_t, i)) {
    SimVreg *v = &SIM_AT(&p->vregs, SimVreg, i);
    if (v->value == value && v->width == width && v->kind == VREG_CONST && v->name == 0) return i;
  }
  uint32_t id = sim_vreg_new(p, VREG_CONST, width, value);
  if (!id) return 0;
  SIM_AT(&p->const_next, uint32_t, id) = p->const_bucket[h];
  p->const_bucket[h] = id;
  return id;
}

bool sim_type_word(const char *s, uint32_t n, uint8_t *type, uint8_t *bits) {
  if (n && *s == '.') s++, n--;
  if (n == 4 && memcmp(s, "pred", 4) == 0) return *type = 'p', *bits = 1, true;
  if (n < 2 || n > 4 || !strchr("busf", *s)) return false;
  unsigned b = 0;
  for (uint32_t i = 1; i < n; i++) {
    if (s[i] < '0' || s[i] > '9') return false;
    b = b * 10 + (unsigned)(s[i] - '0');
  }
  if (b != 8 && b != 16 && b != 32 && b != 64) return false;
  *type = (uint8_t)*s;
  *bits = (uint8_t)b;
  return true;
}
