/* reader.c - see reader.h. */
#include "reader.h"
#include <stdarg.h>
#include <stdio.h>

kiln_status reader_wrong(const Reader *r, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return error_set(KILN_BAD_CONTRACT, "%s:%d: %s; emit the file anew, or mend the line (docs/contract.md)", r->name, r->line,
                   text);
}

kiln_status reader_newer(const Reader *r, const char *what, Word w) {
  return error_set(KILN_NEWER,
                   "%s:%d: %s '%.*s' is not known to this runtime (kiln %s, contracts of version %d): if a newer kiln wrote it, "
                   "update libkiln; if not, the line is damaged, and the file is to be emitted anew",
                   r->name, r->line, what, WORD_SHOWN(w), kiln_version(), CONTRACT_VERSION);
}

kiln_status reader_no_memory(const Reader *r) {
  return error_set(KILN_NO_MEMORY, "out of memory while reading the contract of %s", r->name);
}

/* ---- words ---- */

/* The next word of the line: up to a blank outside parentheses. False at the end of the line. */
bool reader_next(Reader *r, Word *w) {
  while (r->at < r->end && *r->at == ' ') r->at++;
  w->at = r->at;
  int depth = 0;
  for (; r->at < r->end && (*r->at != ' ' || depth > 0); r->at++) {
    if (*r->at == '(') depth++;
    if (*r->at == ')') depth--;
  }
  w->n = (size_t)(r->at - w->at);
  return w->n > 0;
}

bool reader_is_name(Word w) {
  if (w.n == 0 || w.n > CONTRACT_MAX_NAME || expr_is_digit(*w.at)) return false;
  for (size_t i = 0; i < w.n; i++)
    if (!expr_is_name(w.at[i])) return false;
  return true;
}

kiln_status reader_word(Reader *r, Word *w, const char *what) {
  return reader_next(r, w) ? KILN_OK : reader_wrong(r, "the line ends where %s is expected", what);
}

kiln_status reader_name(Reader *r, Word *w, const char *what) {
  kiln_status s = reader_word(r, w, what);
  if (s || reader_is_name(*w)) return s;
  return reader_wrong(r, "'%.*s' is no name, where %s is expected", WORD_SHOWN(*w), what);
}

kiln_status reader_end(Reader *r) {
  Word w;
  return reader_next(r, &w) ? reader_wrong(r, "unexpected '%.*s'", WORD_SHOWN(w)) : KILN_OK;
}

/* Cuts the first piece off a list at commas outside parentheses. False when nothing is left. */
bool reader_piece(Word *list, Word *piece) {
  if (!list->at) return false;
  size_t i = 0;
  int depth = 0;
  for (; i < list->n && (list->at[i] != ',' || depth > 0); i++) {
    if (list->at[i] == '(') depth++;
    if (list->at[i] == ')') depth--;
  }
  *piece = (Word){list->at, i};
  *list = i < list->n ? (Word){list->at + i + 1, list->n - i - 1} : (Word){NULL, 0};
  return true;
}

kiln_status reader_keep(Reader *r, Word w, const char **out) {
  *out = pool_text(&r->c->pool, w.at, w.n);
  return *out ? KILN_OK : reader_no_memory(r);
}

/* ---- symbols and expressions ---- */

kiln_status reader_symbol(Reader *r, Word w, SymbolKind kind, int dtype, int index, int *out) {
  Contract *c = r->c;
  if (contract_find(c, w.at, w.n) >= 0) return reader_wrong(r, "'%.*s' is defined twice", WORD_SHOWN(w));
  if (c->nsymbol == CONTRACT_MAX_SYMBOLS) return reader_wrong(r, "more than %d names", CONTRACT_MAX_SYMBOLS);
  Symbol *more = pool_grow(&c->pool, c->symbol, c->nsymbol, &r->cap_symbol, sizeof *more);
  if (!more) return reader_no_memory(r);
  c->symbol = more;
  const char *name;
  kiln_status s = reader_keep(r, w, &name);
  if (s) return s;
  c->symbol[c->nsymbol] = (Symbol){name, (uint8_t)kind, (uint8_t)dtype, (uint16_t)index};
  if (out) *out = c->nsymbol;
  c->nsymbol++;
  return KILN_OK;
}

static ExprName look_up(void *user, const char *name, size_t bytes, uint32_t *index, const char **what) {
  Contract *c = ((Reader *)user)->c;
  int i = contract_find(c, name, bytes);
  if (i < 0) return EXPR_UNKNOWN;
  *index = (uint32_t)i;
  switch ((SymbolKind)c->symbol[i].kind) {
  case SYMBOL_TENSOR:
  case SYMBOL_WORKSPACE: *what = "is memory and has no value"; return EXPR_OTHER;
  case SYMBOL_MAP: *what = "is a tensor map and has no value"; return EXPR_OTHER;
  case SYMBOL_FASTDIV: *what = "is a divisor for the kernel and has no value"; return EXPR_OTHER;
  case SYMBOL_CALL: *what = "changes at each launch and may stand only among args"; return EXPR_OTHER;
  default: return reader_is_real(c->symbol[i].dtype) ? EXPR_REAL : EXPR_INT;
  }
}

kiln_status reader_expr(Reader *r, Word w, bool real, Expr *out) {
  char why[256];
  switch (expr_parse(out, &r->c->pool, w.at, w.n, real, look_up, r, why, sizeof why)) {
  case EXPR_OK: return KILN_OK;
  case EXPR_NO_MEMORY: return reader_no_memory(r);
  default: return reader_wrong(r, "%s", why);
  }
}

kiln_status reader_need_expr(Reader *r, const char *what, bool real, Expr *out) {
  Word w;
  kiln_status s = reader_word(r, &w, what);
  return s ? s : reader_expr(r, w, real, out);
}

kiln_status reader_dtype(Reader *r, uint8_t *out) {
  Word w;
  kiln_status s = reader_word(r, &w, "a dtype");
  if (s) return s;
  for (int d = KILN_NO_DTYPE + 1; d <= KILN_BOOL; d++)
    if (reader_is(w, kiln_dtype_name((kiln_dtype)d))) return *out = (uint8_t)d, KILN_OK;
  return reader_newer(r, "dtype", w);
}

kiln_status reader_number(Reader *r, const char *what, int64_t low, int64_t high, int64_t *out) {
  Word w;
  kiln_status s = reader_word(r, &w, what);
  if (s) return s;
  if (expr_integer(w.at, w.n, out) && *out >= low && *out <= high) return KILN_OK;
  return reader_wrong(r, "'%.*s' where %s from %lld to %lld is expected", WORD_SHOWN(w), what, (long long)low, (long long)high);
}

/* A word out of a few, as its place among them. */
kiln_status reader_choice(Reader *r, const char *what, const char *const *choices, int n, uint8_t *out) {
  Word w;
  kiln_status s = reader_word(r, &w, what);
  for (int i = 0; !s && i < n; i++)
    if (reader_is(w, choices[i])) return *out = (uint8_t)i, KILN_OK;
  return s ? s : reader_newer(r, what, w);
}

/* "[a,b,c]" into its pieces; at most CONTRACT_MAX_RANK. Blanks inside are part of no piece. */
kiln_status reader_list(Reader *r, const char *what, Word *pieces, int *n) {
  while (r->at < r->end && *r->at == ' ') r->at++;
  const char *close = memchr(r->at, ']', (size_t)(r->end - r->at));
  if (r->at == r->end || *r->at != '[' || !close) return reader_wrong(r, "%s in [] are expected", what);
  Word list = {r->at + 1, (size_t)(close - r->at - 1)}, piece;
  r->at = close + 1;
  *n = 0;
  if (list.n == 0) return KILN_OK;
  while (reader_piece(&list, &piece)) {
    while (piece.n && *piece.at == ' ') piece.at++, piece.n--;
    while (piece.n && piece.at[piece.n - 1] == ' ') piece.n--;
    if (piece.n == 0) return reader_wrong(r, "an empty place among %s", what);
    if (*n == CONTRACT_MAX_RANK) return reader_wrong(r, "more than %d %s", CONTRACT_MAX_RANK, what);
    pieces[(*n)++] = piece;
  }
  return KILN_OK;
}
