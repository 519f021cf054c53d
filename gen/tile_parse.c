/* tile_parse.c - the text form read back (tile_text.c says what it looks like).
 *
 * Everything goes through tile_node, so what comes in this way is checked like what the script builds. A wrong statement is
 * reported and left out, the next ones are read on; where the structure itself is in doubt, reading ends. */
#include "tile_impl.h"
#include <stdlib.h>
#include <string.h>

typedef enum { T_END, T_LINE, T_NAME, T_NUMBER, T_STRING, T_MARK, T_BAD } TokenKind; /* T_MARK: one of = , [ ] { } : @ ^ */

typedef struct Token {
  uint8_t kind;
  char mark;
  const char *at;
  size_t n;
  uint32_t line, col;
} Token;

enum { MOST_DEPTH = 64, MOST_OPERANDS = 64, MOST_LIST = 16, MOST_FILES = 256, MOST_DIGITS = 48 };

typedef struct FileNumber {
  long long number;
  uint16_t file;
} FileNumber;

typedef struct Parser {
  TileProgram *p;
  const char *at, *end, *line_start;
  uint32_t line;
  Token tok, ahead;
  TileNames names;
  VEC(FileNumber) files;
  int depth;
  bool stop; /* the structure is lost */
} Parser;

/* One statement as read, before tile_node sees it. */
typedef struct Statement {
  Token name, op_token;
  TileOp op;
  TileId args[MOST_OPERANDS];
  int nargs;
  TileAttr attrs[TA_COUNT];
  int nattrs;
  Loc loc;
  bool sync;
  int32_t derived;
} Statement;

/* ---- tokens ---- */

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_blanks(Parser *s) {
  while (s->at < s->end) {
    if (*s->at == ' ' || *s->at == '\t' || *s->at == '\r')
      s->at++;
    else if (*s->at == '-' && s->end - s->at > 1 && s->at[1] == '-')
      while (s->at < s->end && *s->at != '\n') s->at++;
    else
      return;
  }
}

static void scan_number(Parser *s) {
  if (*s->at == '-') s->at++;
  while (s->at < s->end) {
    bool exponent = *s->at == 'e' || *s->at == 'E';
    if (!is_digit(*s->at) && *s->at != '.' && !exponent) break;
    s->at++;
    if (exponent && s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
  }
}

static Token scan(Parser *s) {
  skip_blanks(s);
  Token t = {.at = s->at, .line = s->line, .col = (uint32_t)(s->at - s->line_start) + 1};
  if (s->at == s->end) return t;
  char c = *s->at, next = s->end - s->at > 1 ? s->at[1] : 0;
  if (c == '\n') {
    t.kind = T_LINE;
    s->line++;
    s->line_start = ++s->at;
  } else if (is_letter(c)) {
    t.kind = T_NAME;
    while (s->at < s->end && (is_letter(*s->at) || is_digit(*s->at))) s->at++;
  } else if (is_digit(c) || (c == '-' && is_digit(next))) {
    t.kind = T_NUMBER;
    scan_number(s);
  } else if (c == '-' && is_letter(next)) { /* -inf */
    t.kind = T_NUMBER;
    s->at++;
    while (s->at < s->end && is_letter(*s->at)) s->at++;
  } else if (c == '"') {
    t.kind = T_STRING;
    for (s->at++; s->at < s->end && *s->at != '"' && *s->at != '\n'; s->at++)
      if (*s->at == '\\' && s->end - s->at > 1 && s->at[1] != '\n') s->at++;
    if (s->at == s->end || *s->at != '"')
      t.kind = T_BAD;
    else
      s->at++;
  } else {
    t.kind = c && strchr("=,[]{}:@^", c) ? T_MARK : T_BAD;
    t.mark = c;
    s->at++;
  }
  t.n = (size_t)(s->at - t.at);
  return t;
}

static void advance(Parser *s) {
  s->tok = s->ahead;
  s->ahead = scan(s);
}

static bool at_mark(const Parser *s, char c) { return s->tok.kind == T_MARK && s->tok.mark == c; }
static bool ahead_mark(const Parser *s, char c) { return s->ahead.kind == T_MARK && s->ahead.mark == c; }
static bool token_is(const Token *t, const char *word) {
  return t->kind == T_NAME && strlen(word) == t->n && !memcmp(t->at, word, t->n);
}

static Loc place(const Parser *s, const Token *t) {
  return (Loc){.file = s->p->text_file, .col = (uint16_t)(t->col > UINT16_MAX ? 0 : t->col), .line = t->line};
}

static const char *token_text(const Parser *s, const Token *t) {
  if (t->kind == T_END) return "the end of the text";
  if (t->kind == T_LINE) return "the end of the line";
  size_t n = t->n > 40 ? 40 : t->n;
  char *copy = arena_str(s->p->arena, PASS, t->at, n);
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)copy[i] < 0x20 || (unsigned char)copy[i] >= 0x7f) copy[i] = '?';
  return arena_printf(s->p->arena, PASS, "'%s'", copy);
}

static bool expected(Parser *s, const char *what) {
  diag_error(s->p->diag, place(s, &s->tok), "expected %s, found %s", what, token_text(s, &s->tok));
  return false;
}

static bool take_mark(Parser *s, char c) {
  char what[4] = {'\'', c, '\'', 0};
  if (!at_mark(s, c)) return expected(s, what);
  advance(s);
  return true;
}

static void skip_lines(Parser *s) {
  while (s->tok.kind == T_LINE) advance(s);
}

/* ---- values ---- */

static bool read_double(Parser *s, double *out) {
  char digits[MOST_DIGITS + 1];
  const Token *t = &s->tok;
  bool word = token_is(t, "inf") || token_is(t, "nan");
  if (t->n > MOST_DIGITS || (t->kind != T_NUMBER && !word)) return expected(s, "a number");
  memcpy(digits, t->at, t->n);
  digits[t->n] = 0;
  char *rest;
  *out = strtod(digits, &rest);
  if (*rest) return expected(s, "a number");
  advance(s);
  return true;
}

static bool read_int(Parser *s, long long *out) {
  const Token *t = &s->tok;
  bool negative = t->n && *t->at == '-';
  if (t->kind != T_NUMBER || t->n > 18u + negative) return expected(s, "an integer of at most 18 digits");
  *out = 0;
  for (size_t i = negative; i < t->n; i++) {
    if (!is_digit(t->at[i])) return expected(s, "an integer");
    *out = *out * 10 + (t->at[i] - '0');
  }
  if (negative) *out = -*out;
  advance(s);
  return true;
}

static int hex_digit(char c) {
  return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_string(Parser *s, const char **out) {
  if (s->tok.kind != T_STRING) return expected(s, "a string in \"\"");
  const char *from = s->tok.at + 1, *end = s->tok.at + s->tok.n - 1;
  char *to = arena_alloc(s->p->arena, PASS, s->tok.n);
  *out = to;
  while (from < end) {
    char c = *from++;
    if (c == '\\') { /* the scanner has seen to it that a character follows */
      c = *from++;
      int high = c == 'x' && end - from >= 2 ? hex_digit(from[0]) : -1, low = high >= 0 ? hex_digit(from[1]) : -1;
      if (low >= 0) {
        c = (char)(high * 16 + low);
        from += 2;
      } else if (c == 'n') {
        c = '\n';
      } else if (c != '"' && c != '\\') {
        return expected(s, "a string with no other escapes than \\\" \\\\ \\n \\xHH");
      }
    }
    if (!c) return expected(s, "a string without a zero byte");
    *to++ = c;
  }
  advance(s);
  return true;
}

static bool read_list(Parser *s, TileAttr *a) {
  int64_t *list = ARENA_ARRAY(s->p->arena, PASS, int64_t, MOST_LIST);
  a->list = list;
  if (!take_mark(s, '[')) return false;
  skip_lines(s);
  while (!at_mark(s, ']')) {
    long long v;
    if (a->i == MOST_LIST) return expected(s, "a list of at most 16 numbers");
    if (a->i && !take_mark(s, ',')) return false;
    skip_lines(s);
    if (!read_int(s, &v)) return false;
    list[a->i++] = v;
    skip_lines(s);
  }
  advance(s);
  return true;
}

static bool read_dtype(Parser *s, int64_t *out) {
  char name[16] = {0};
  if (s->tok.kind == T_NAME && s->tok.n < sizeof name) memcpy(name, s->tok.at, s->tok.n);
  *out = *name ? tile_dtype_find(name) : KILN_NO_DTYPE;
  if (*out == KILN_NO_DTYPE) return expected(s, "a dtype (f64 f32 f16 bf16 e4m3 e5m2 i64 i32 i16 i8 u8 bool)");
  advance(s);
  return true;
}

static bool read_attr(Parser *s, const TileOpInfo *info, TileAttr *a) {
  TileAttrSpec spec;
  const char *specs = info->attrs;
  bool known = false;
  while (!known && tile_spec_next(&specs, &spec)) known = token_is(&s->tok, tile_attr_name(spec.key));
  if (!known) {
    diag_error(s->p->diag, place(s, &s->tok), "%s has no attribute %s; it takes: %s", info->name, token_text(s, &s->tok),
               *info->attrs ? info->attrs : "none");
    return false;
  }
  *a = (TileAttr){.key = (uint8_t)spec.key, .kind = spec.kind};
  advance(s);
  if (spec.kind == 'b' && !at_mark(s, '=')) {
    a->i = 1;
    return true;
  }
  if (!take_mark(s, '=')) return false;
  long long v = 0;
  bool ok;
  switch (spec.kind) {
  case 'i':
  case 'b':
    ok = read_int(s, &v);
    a->i = v;
    return ok;
  case 'n': return read_double(s, &a->n);
  case 's': return read_string(s, &a->s);
  case 'l': return read_list(s, a);
  default: return read_dtype(s, &a->i);
  }
}

/* ---- statements ---- */

/* A literal: an unnamed const in the region being read. */
static bool read_literal(Parser *s, Loc loc, TileId *out) {
  TileAttr attrs[2] = {{.key = TA_dtype, .kind = 'd'}, {.key = TA_value, .kind = 'n'}};
  Token t = s->tok;
  if (!read_double(s, &attrs[1].n)) return false;
  bool real = false;
  for (size_t i = 0; i < t.n; i++) real |= strchr(".eEn", t.at[i]) != NULL;
  attrs[0].i = real ? KILN_F32 : KILN_I32;
  if (at_mark(s, ':')) {
    advance(s);
    if (!read_dtype(s, &attrs[0].i)) return false;
  }
  *out = tile_node(s->p, TILE_const, NULL, 0, attrs, 2, loc);
  return true;
}

static bool read_operand(Parser *s, Statement *st) {
  if (st->nargs == MOST_OPERANDS) return expected(s, "at most 64 operands");
  TileId *out = &st->args[st->nargs++];
  if (s->tok.kind == T_NUMBER || token_is(&s->tok, "inf") || token_is(&s->tok, "nan"))
    return read_literal(s, place(s, &s->tok), out);
  if (s->tok.kind != T_NAME) return expected(s, "an operand");
  const TileBinding *b = tile_names_find(&s->names, s->tok.at, s->tok.n);
  if (!b) {
    diag_error(s->p->diag, place(s, &s->tok), "%s is not known here; a name ends with the region that it is bound in",
               token_text(s, &s->tok));
    return false;
  }
  *out = b->id;
  advance(s);
  return true;
}

/* Does an operand begin here, where an attribute might as well? */
static bool operand_begins(const Parser *s, const TileOpInfo *info) {
  if (!*info->args) return false;
  if (s->tok.kind == T_NUMBER) return true;
  if (s->tok.kind != T_NAME || ahead_mark(s, '=')) return false;
  bool optional = info->args[1] && strchr("?*", info->args[1]);
  return !optional || token_is(&s->tok, "inf") || token_is(&s->tok, "nan") || !tile_name_reserved(s->tok.at, s->tok.n);
}

static bool read_place(Parser *s, Statement *st) {
  long long number, line, col = 0;
  advance(s);
  if (!read_int(s, &number) || !take_mark(s, ':') || !read_int(s, &line)) return false;
  if (at_mark(s, ':')) {
    advance(s);
    if (!read_int(s, &col)) return false;
  }
  for (uint32_t i = 0; i < s->files.n; i++)
    if (s->files.at[i].number == number && line >= 1 && line <= UINT32_MAX && col >= 0 && col <= UINT16_MAX) {
      st->loc = (Loc){.file = s->files.at[i].file, .line = (uint32_t)line, .col = (uint16_t)col};
      return true;
    }
  diag_error(s->p->diag, st->loc, "@%lld:%lld names no line of a file in the table at the head", number, line);
  return false;
}

static bool read_note(Parser *s, Statement *st) {
  long long v = 1;
  bool sync, derived;
  advance(s);
  sync = token_is(&s->tok, "sync");
  derived = token_is(&s->tok, "derived");
  if (!sync && !derived) return expected(s, "sync or derived");
  advance(s);
  if (sync) {
    st->sync = true;
    return true;
  }
  if (!take_mark(s, '=') || !read_int(s, &v)) return false;
  if (v < -1000 || v > 1000) return expected(s, "a small number");
  st->derived = (int32_t)v;
  return true;
}

static bool read_head(Parser *s, Statement *st) {
  if (s->tok.kind != T_NAME) return expected(s, "a statement");
  if (ahead_mark(s, '=')) {
    st->name = s->tok;
    advance(s);
    advance(s);
  }
  char name[32] = {0};
  st->op_token = s->tok;
  st->loc = place(s, &s->tok);
  if (s->tok.kind == T_NAME && s->tok.n < sizeof name) memcpy(name, s->tok.at, s->tok.n);
  st->op = *name ? tile_op_find(name) : TILE_NONE;
  if (st->op == TILE_NONE) {
    diag_error(s->p->diag, st->loc, "%s is no operation of the tile IR", token_text(s, &s->tok));
    return false;
  }
  const TileOpInfo *info = tile_op_info(st->op);
  advance(s);
  if (operand_begins(s, info)) {
    if (!read_operand(s, st)) return false;
    while (at_mark(s, ',')) {
      advance(s);
      skip_lines(s);
      if (!read_operand(s, st)) return false;
    }
  }
  while (s->tok.kind == T_NAME) {
    if (st->nattrs == TA_COUNT) return expected(s, "fewer attributes");
    if (!read_attr(s, info, &st->attrs[st->nattrs++])) return false;
  }
  while (at_mark(s, '@') || at_mark(s, '^'))
    if (!(at_mark(s, '@') ? read_place(s, st) : read_note(s, st))) return false;
  return true;
}

static bool bind_name(Parser *s, const Statement *st, TileId id) {
  const Token *t = &st->name;
  bool has_value = id.i && tile_at(s->p, id)->type.kind != TK_NONE;
  if (!t->n) return true; /* a value may stay nameless: a loop whose counter is not used */
  if (id.i && !has_value) {
    diag_error(s->p->diag, place(s, t), "%s has no value to be named", tile_op_info(st->op)->name);
    return false;
  }
  const TileBinding *b = tile_names_find(&s->names, t->at, t->n);
  if (b || tile_name_reserved(t->at, t->n)) {
    if (b)
      diag_error(s->p->diag, place(s, t), "%s is bound already, in line %u", token_text(s, t), b->line);
    else
      diag_error(s->p->diag, place(s, t), "%s is a word of the text form; choose another name", token_text(s, t));
    return false;
  }
  char *name = arena_str(s->p->arena, PASS, t->at, t->n);
  tile_name(s->p, id, name);
  tile_names_add(&s->names, name, id, t->line);
  return true;
}

static void read_statements(Parser *s);

static void read_region(Parser *s, TileId id, int region) {
  uint32_t scope = s->names.all.n;
  advance(s);
  if (++s->depth > MOST_DEPTH) {
    diag_error(s->p->diag, place(s, &s->tok), "regions nested deeper than %d", MOST_DEPTH);
    s->stop = true;
    return;
  }
  tile_open(s->p, id, region);
  read_statements(s);
  if (!s->stop && !take_mark(s, '}')) s->stop = true;
  tile_close(s->p);
  s->depth--;
  tile_names_cut(&s->names, scope);
}

static void read_regions(Parser *s, const Statement *st, TileId id) {
  int nregions = tile_at(s->p, id)->nregions;
  if (!at_mark(s, '{')) {
    expected(s, "'{'");
    s->stop = true;
    return;
  }
  read_region(s, id, 0);
  const char *word = st->op == TILE_if ? "else" : "do";
  if (s->stop || nregions < 2 || !token_is(&s->tok, word)) return;
  advance(s);
  if (at_mark(s, '{')) {
    read_region(s, id, 1);
  } else {
    expected(s, "'{'");
    s->stop = true;
  }
}

/* After a mistake: the rest of the line, unless it opens a region, which cannot be read without its statement. */
static void recover(Parser *s, const Statement *st) {
  while (s->tok.kind != T_END && s->tok.kind != T_LINE && !at_mark(s, '{')) advance(s);
  bool structured = st->op != TILE_NONE && tile_op_info(st->op)->regions;
  if (structured || s->tok.kind != T_LINE) s->stop = true;
}

static void read_statement(Parser *s) {
  Statement here = {0}, *st = &here;
  if (!read_head(s, st)) {
    recover(s, st);
    return;
  }
  TileId id = tile_node(s->p, st->op, st->args, st->nargs, st->attrs, st->nattrs, st->loc);
  if (!id.i && tile_op_info(st->op)->regions) {
    s->stop = true;
    return;
  }
  if (id.i) {
    TileNode *n = tile_at(s->p, id);
    n->sync_before = st->sync;
    n->derived = st->derived;
  }
  uint32_t scope = s->names.all.n;
  bind_name(s, st, id);
  if (tile_op_info(st->op)->regions) {
    read_regions(s, st, id);
    tile_names_cut(&s->names, scope); /* a counter is known inside only */
  }
  if (!s->stop && s->tok.kind != T_LINE && s->tok.kind != T_END && !at_mark(s, '}')) {
    expected(s, "the end of the statement");
    recover(s, st);
  }
}

static void read_file_line(Parser *s) {
  long long number;
  const char *name;
  advance(s);
  bool ok = read_int(s, &number) && read_string(s, &name);
  if (ok && s->files.n == MOST_FILES) ok = expected(s, "at most 256 files");
  if (!ok) {
    s->stop = true;
    return;
  }
  uint16_t file = diag_file(s->p->diag, name, NULL);
  *VEC_PUSH(s->p->arena, PASS, &s->files) = (FileNumber){.number = number, .file = file};
}

static void read_statements(Parser *s) {
  while (!s->stop) {
    skip_lines(s);
    if (s->tok.kind == T_END || at_mark(s, '}')) return;
    if (s->depth == 0 && token_is(&s->tok, "file"))
      read_file_line(s);
    else
      read_statement(s);
    if (s->p->diag->errors > 20) s->stop = true;
  }
}

bool tile_parse(TileProgram *p, const char *name, const char *text, size_t n) {
  int errors = p->diag->errors;
  char *copy = arena_str(p->arena, KEEP, text, n); /* diagnostics quote it */
  Parser *s = ARENA_NEW(p->arena, PASS, Parser);
  s->p = p;
  s->names.arena = p->arena;
  s->at = s->line_start = copy;
  s->end = copy + n;
  s->line = 1;
  p->text_file = diag_file(p->diag, name, copy);
  uint32_t open = p->open.n;
  advance(s);
  advance(s);
  read_statements(s);
  if (!s->stop && s->tok.kind != T_END) expected(s, "a kernel");
  p->open.n = open;
  return p->diag->errors == errors;
}
