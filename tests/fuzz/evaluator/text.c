/* text.c - see text.h. */
#include "text.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Reader { Program *p; const char *at; int line; char *why; size_t bytes; } Reader;
#define FAIL(r, ...) (snprintf((r)->why, (r)->bytes, __VA_ARGS__), false)

static void skip_blanks(Reader *r) {
  while (*r->at == ' ' || *r->at == '\t') r->at++;
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.' || c == ':' || c == '%' || c == '$'; }

static bool read_word(Reader *r, char *to, size_t bytes) {
  size_t n = 0;
  skip_blanks(r);
  while (word_char(r->at[n])) n++;
  if (n == 0 || n >= bytes) return FAIL(r, "line %d: a word was expected at '%.20s'", r->line, r->at);
  memcpy(to, r->at, n);
  to[n] = 0;
  r->at += n;
  return true;
}

static bool take(Reader *r, char c) {
  skip_blanks(r);
  if (*r->at != c) return false;
  r->at++;
  return true;
}

/* ---- memory forms ---- */

static bool known_modifier(const char *w, size_t n) { /* advice, order and scope: one thread at a time needs none of them */
  static const char *const list[] = {"nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "volatile", "relaxed", "acquire", "release", "acq_rel", "weak",
                                     "cta", "gpu",
                                     "sys", "L1::no_allocate", "L1::evict_first", "L1::evict_last", "L1::evict_normal", "L2::64B", "L2::128B", "L2::256B"};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (strlen(list[i]) == n && memcmp(list[i], w, n) == 0) return true;
  return false;
}

static bool access_word(const char *w, size_t n, Access *a) {
  static const char *const ops[] = {"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"};
  static const struct { const char *name; char letter; } spaces[] = {{"global", 'g'}, {"shared", 's'}, {"shared::cta", 's'}, {"param", 'p'}};
  for (size_t i = 0; i < 4; i++)
    if (strlen(spaces[i].name) == n && memcmp(spaces[i].name, w, n) == 0) return a->space = spaces[i].letter, true;
  for (size_t i = 0; i < sizeof ops / sizeof *ops && a->atomic; i++)
    if (strlen(ops[i]) == n && memcmp(ops[i], w, n) == 0) return memcpy(a->op, w, n), a->op[n] = 0, true;
  if (n == 2 && w[0] == 'v' && (w[1] == '2' || w[1] == '4' || w[1] == '8')) return a->count = w[1] - '0', true;
  if ((w[0] == 'b' || w[0] == 'u' || w[0] == 's' || w[0] == 'f') && n <= 3 && isdigit((unsigned char)w[1])) {
    a->bits = atoi(w + 1);
    a->is_signed = w[0] == 's';
    a->type = (Type){w[0] == 's' ? TYPE_SIGNED : w[0] == 'u' ? TYPE_UNSIGNED : w[0] == 'f' ? TYPE_FLOAT : TYPE_BITS, a->bits, 1, NULL};
    return true;
  }
  return known_modifier(w, n);
}

bool access_find(const char *opcode, Access *a) {
  *a = (Access){.count = 1};
  const char *s = opcode;
  size_t n = strcspn(s, ".");
  if (n == 2 && memcmp(s, "ld", 2) == 0) a->load = true;
  else if (n == 2 && memcmp(s, "st", 2) == 0) a->store = true;
  else if (n == 4 && memcmp(s, "atom", 4) == 0) a->atomic = a->load = true;
  else if (n == 3 && memcmp(s, "red", 3) == 0) a->atomic = true;
  else return false;
  for (s += n; *s; s += n) {
    n = strcspn(++s, ".");
    if (!access_word(s, n, a)) return false;
  }
  if (a->atomic && (!a->op[0] || a->type.kind == TYPE_FLOAT || a->count != 1 || a->bits < 32)) return false;
  return a->bits && a->space;
}

/* ---- operands ---- */

static int find_register(Reader *r, const char *name) { /* of a declared range; -1: none */
  Program *p = r->p;
  size_t n = strcspn(name, "0123456789");
  for (int i = 0; i < p->nregs; i++)
    if (strcmp(p->reg[i].name, name) == 0) return i;
  for (int i = 0; i < p->nranges; i++) {
    if (strlen(p->range[i].prefix) != n || memcmp(p->range[i].prefix, name, n) != 0 || !name[n] || p->nregs == MAX_REGS) continue;
    snprintf(p->reg[p->nregs].name, sizeof p->reg[0].name, "%.15s", name);
    p->reg[p->nregs].bits = p->range[i].bits;
    return p->nregs++;
  }
  return -1;
}

static bool read_number(Reader *r, uint64_t *v) { /* 12, -12, 0x1f, 0f3f800000, 0d... */
  skip_blanks(r);
  bool minus = *r->at == '-';
  const char *s = r->at + minus;
  char *end;
  if (!isdigit((unsigned char)*s)) return FAIL(r, "line %d: a number was expected at '%.20s'", r->line, r->at);
  if (s[0] == '0' && (s[1] == 'f' || s[1] == 'd')) *v = strtoull(s + 2, &end, 16);
  else *v = strtoull(s, &end, 0);
  if (minus) *v = 0 - *v;
  r->at = end;
  return true;
}

static bool name_address(Reader *r, const char *name, uint64_t *v) {
  Program *p = r->p;
  for (int i = 0; i < p->nparams; i++)
    if (strcmp(p->param[i], name) == 0) return *v = 8 * (uint64_t)i, true;
  for (int i = 0; i < p->nshared; i++)
    if (strcmp(p->shared[i].name, name) == 0) return *v = p->shared[i].at, true;
  return false;
}

static bool read_memory(Reader *r, EvalOperand *o) {
  char word[48];
  uint64_t more = 0;
  o->kind = OP_MEMORY;
  o->reg[0] = -1;
  if (!read_word(r, word, sizeof word)) return false;
  if (word[0] == '%') {
    o->reg[0] = find_register(r, word);
    if (o->reg[0] < 0) return FAIL(r, "line %d: no register %s", r->line, word);
  } else if (!name_address(r, word, &o->value)) return FAIL(r, "line %d: no name %s", r->line, word);
  if (take(r, '+') && !read_number(r, &more)) return false;
  o->value += more;
  return take(r, ']') || FAIL(r, "line %d: ']' was expected", r->line);
}

static bool read_vector(Reader *r, EvalOperand *o) {
  char word[48];
  o->kind = OP_VECTOR;
  do {
    if (o->n == 8 || !read_word(r, word, sizeof word)) return false;
    o->reg[o->n] = find_register(r, word);
    if (o->reg[o->n++] < 0) return FAIL(r, "line %d: no register %s", r->line, word);
  } while (take(r, ','));
  return take(r, '}') || FAIL(r, "line %d: '}' was expected", r->line);
}

static bool read_operand(Reader *r, EvalOperand *o) {
  char word[48];
  skip_blanks(r);
  o->n = 0;
  if (take(r, '[')) return read_memory(r, o);
  if (take(r, '{')) return read_vector(r, o);
  if (isdigit((unsigned char)*r->at) || *r->at == '-') return o->kind = OP_INTEGER, read_number(r, &o->value);
  o->negated = take(r, '!');
  if (!read_word(r, word, sizeof word)) return false;
  o->reg[0] = find_register(r, word);
  o->n = 1;
  if (o->reg[0] >= 0) {
    o->kind = OP_REGISTER;
    if (!take(r, '|')) return true;
    o->kind = OP_PAIR;
    o->n = 2;
    if (!read_word(r, word, sizeof word)) return false;
    o->reg[1] = find_register(r, word);
    return o->reg[1] >= 0 || FAIL(r, "line %d: no register %s", r->line, word);
  }
  snprintf(o->name, sizeof o->name, "%.23s", word);
  o->kind = word[0] == '%' ? OP_SPECIAL : name_address(r, word, &o->value) ? OP_SYMBOL : OP_LABEL;
  return true;
}

/* ---- statements ---- */

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

static bool find_action(Reader *r, EvalInstr *i) {
  const char *s = i->opcode;
  if (begins(s, "bra")) i->action = ACT_BRANCH;
  else if (!strcmp(s, "ret") || !strcmp(s, "exit")) i->action = ACT_RETURN;
  else if (!strcmp(s, "bar.sync") || begins(s, "bar.red.")) i->action = ACT_BARRIER;
  else if (begins(s, "shfl.sync.") || begins(s, "vote.sync.") || begins(s, "match.") || begins(s, "redux.sync.") || !strcmp(s, "activemask.b32") ||
           !strcmp(s, "bar.warp.sync") || !strcmp(s, "elect.sync"))
    i->action = ACT_COLLECTIVE;
  else if (begins(s, "membar.") || begins(s, "fence.") || begins(s, "cvta.")) i->action = begins(s, "cvta.") ? ACT_SPECIAL : ACT_NOTHING;
  else if (begins(s, "mov.") && i->nops == 2 && (i->op[1].kind == OP_SPECIAL || i->op[1].kind == OP_SYMBOL)) i->action = ACT_SPECIAL;
  else if (access_find(s, &i->access)) i->action = ACT_ACCESS;
  else if (meaning_find(s, &i->meaning)) i->action = ACT_MEANING;
  else return FAIL(r, "line %d: %s has no meaning here", r->line, s);
  return true;
}

static bool read_instruction(Reader *r) {
  Program *p = r->p;
  char word[48];
  if (p->ncode == MAX_CODE) return FAIL(r, "more than %d instructions", MAX_CODE);
  EvalInstr *i = &p->code[p->ncode++];
  memset(i, 0, sizeof *i);
  i->guard = -1;
  i->line = r->line;
  if (take(r, '@')) {
    i->guard_negated = take(r, '!');
    if (!read_word(r, word, sizeof word)) return false;
    i->guard = find_register(r, word);
    if (i->guard < 0) return FAIL(r, "line %d: no register %s", r->line, word);
  }
  if (!read_word(r, i->opcode, sizeof i->opcode)) return false;
  while (!take(r, ';')) {
    if (i->nops == MAX_OPERANDS || (i->nops && !take(r, ','))) return FAIL(r, "line %d: ',' was expected at '%.20s'", r->line, r->at);
    if (!read_operand(r, &i->op[i->nops++])) return false;
  }
  return find_action(r, i);
}

static bool read_declaration(Reader *r, const char *word) {
  Program *p = r->p;
  char type[16], name[48];
  uint64_t n = 0;
  if (!strcmp(word, ".reg")) {
    if (p->nranges == 16 || !read_word(r, type, sizeof type) || !read_word(r, name, sizeof name)) return false;
    p->range[p->nranges].bits = !strcmp(type, ".pred") ? 1 : atoi(type + 2);
    snprintf(p->range[p->nranges++].prefix, sizeof p->range[0].prefix, "%.7s", name);
    return take(r, '<') && read_number(r, &n) && take(r, '>') && take(r, ';');
  }
  if (!strcmp(word, ".shared")) { /* .align 16 .b8 name[n]; */
    if (p->nshared == 8 || !read_word(r, type, sizeof type) || !read_number(r, &n) || !read_word(r, type, sizeof type) ||
        !read_word(r, name, sizeof name))
      return false;
    snprintf(p->shared[p->nshared].name, sizeof p->shared[0].name, "%.23s", name);
    p->shared[p->nshared++].at = p->shared_bytes;
    if (!take(r, '[') || !read_number(r, &n) || !take(r, ']') || !take(r, ';')) return false;
    p->shared_bytes += (uint32_t)(n + 15) & ~15u;
    return true;
  }
  if (!strcmp(word, ".param")) { /* a line of its own in the entry's list */
    if (p->nparams == MAX_PARAMS || !read_word(r, type, sizeof type) || !read_word(r, name, sizeof name)) return false;
    snprintf(p->param[p->nparams++], sizeof p->param[0], "%.23s", name);
    return true;
  }
  return true; /* .version, .target, .address_size, .visible */
}

static bool read_line(Reader *r) {
  Program *p = r->p;
  skip_blanks(r);
  if (!*r->at || *r->at == '\n' || *r->at == '/' || *r->at == '(' || *r->at == ')' || *r->at == '{' || *r->at == '}') return true;
  if (*r->at == '@') return read_instruction(r);
  const char *start = r->at;
  char word[48];
  if (!read_word(r, word, sizeof word)) return false;
  size_t n = strlen(word);
  if (word[n - 1] == ':') { /* a label; words may contain colons */
    if (p->nlabels == MAX_LABELS || n >= sizeof p->label[0].name) return FAIL(r, "line %d: too many labels, or too long", r->line);
    memcpy(p->label[p->nlabels].name, word, n - 1);
    p->label[p->nlabels].name[n - 1] = 0;
    p->label[p->nlabels++].at = p->ncode;
    return true;
  }
  if (word[0] == '.') return read_declaration(r, word) || FAIL(r, "line %d: %s", r->line, word);
  r->at = start;
  return read_instruction(r);
}

static bool resolve_labels(Reader *r) {
  Program *p = r->p;
  for (int i = 0; i < p->ncode; i++)
    for (int k = 0; k < p->code[i].nops; k++) {
      EvalOperand *o = &p->code[i].op[k];
      if (o->kind != OP_LABEL) continue;
      int l = 0;
      while (l < p->nlabels && strcmp(p->label[l].name, o->name) != 0) l++;
      if (l == p->nlabels) return FAIL(r, "line %d: no label %s", p->code[i].line, o->name);
      o->value = (uint64_t)p->label[l].at;
    }
  return true;
}

bool text_read(const char *text, Program *p, char *why, size_t bytes) {
  Reader r = {.p = p, .at = text, .line = 1, .why = why, .bytes = bytes};
  p->ncode = p->nregs = p->nranges = p->nlabels = p->nparams = p->nshared = 0;
  p->shared_bytes = 0;
  while (*r.at) {
    if (!read_line(&r)) return false;
    while (*r.at && *r.at != '\n') r.at++;
    if (*r.at) r.at++, r.line++;
  }
  return resolve_labels(&r);
}
