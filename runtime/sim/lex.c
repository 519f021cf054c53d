/* lex.c - tokens of PTX text, and messages about it. */
#include "parse.h"
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sim_parse_fail(SimParser *p, uint32_t line, DrvResult code, const char *fmt, ...) {
  if (p->code) return false; /* the first error stays */
  p->code = code;
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (line)
    snprintf(p->log, p->log_bytes, "ptx line %u: %s", line, text);
  else
    snprintf(p->log, p->log_bytes, "%s", text);
  p->tok.kind = TOK_END;
  p->at = p->end;
  return false;
}

bool sim_parse_memory(SimParser *p) { return sim_parse_fail(p, 0, DRV_OUT_OF_MEMORY, "out of memory while reading PTX"); }

static void skip_blanks(SimParser *p) {
  while (p->at < p->end) {
    char c = *p->at;
    if (c == '\n') p->line++, p->at++;
    else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') p->at++;
    else if (c == '/' && p->end - p->at > 1 && p->at[1] == '/') {
      while (p->at < p->end && *p->at != '\n') p->at++;
    } else if (c == '/' && p->end - p->at > 1 && p->at[1] == '*') {
      uint32_t start = p->line;
      p->at += 2;
      while (p->end - p->at > 1 && !(p->at[0] == '*' && p->at[1] == '/')) {
        if (*p->at == '\n') p->line++;
        p->at++;
      }
      if (p->end - p->at < 2) {
        sim_parse_fail(p, start, DRV_INVALID_PTX, "comment is not closed");
        return;
      }
      p->at += 2;
    } else {
      return;
    }
  }
}

static bool word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' || c == '.';
}

static bool word_inside(char c) { return word_start(c) || (c >= '0' && c <= '9'); }

static void read_word(SimParser *p) {
  SimToken *t = &p->tok;
  t->kind = TOK_WORD;
  const char *s = p->at;
  while (s < p->end) {
    if (word_inside(*s) && (*s != '%' || s == p->at)) s++;
    else if (*s == ':' && p->end - s > 2 && s[1] == ':' && word_inside(s[2])) s += 2; /* .shared::cta */
    else break;
  }
  t->n = (uint32_t)(s - p->at);
  p->at = s;
}

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

static uint64_t read_digits(SimParser *p, int base, int *count, bool *overflow) {
  uint64_t v = 0;
  *count = 0;
  while (p->at < p->end && digit_of(*p->at) < base) {
    uint64_t w = v * (uint64_t)base + (uint64_t)digit_of(*p->at);
    if (v > UINT64_MAX / (uint64_t)base || w < v * (uint64_t)base) *overflow = true;
    v = w;
    p->at++;
    ++*count;
  }
  return v;
}

static void read_decimal(SimParser *p) { /* 1.5, 1e-3: at most 60 characters */
  static locale_t plain; /* the program's own may have a comma; made once, under the driver's lock */
  SimToken *t = &p->tok;
  char text[64];
  size_t n = 0;
  const char *s = t->at;
  while (s < p->end && n < sizeof text - 1 &&
         ((*s >= '0' && *s <= '9') || *s == '.' || *s == 'e' || *s == 'E' ||
          ((*s == '+' || *s == '-') && n && (text[n - 1] == 'e' || text[n - 1] == 'E'))))
    text[n++] = *s++;
  text[n] = 0;
  char *stop;
  if (!plain) plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (!plain) {
    sim_parse_memory(p);
    return;
  }
  double v = strtod_l(text, &stop, plain);
  if (*stop) {
    sim_parse_fail(p, t->line, DRV_INVALID_PTX, "'%s' is no number", text);
    return;
  }
  t->kind = TOK_FLOAT;
  t->single = t->hex = false;
  memcpy(&t->value, &v, 8);
  p->at = s;
}

static void read_number(SimParser *p) {
  SimToken *t = &p->tok;
  int base = 10, count;
  bool overflow = false;
  t->kind = TOK_INT;
  char next = p->end - p->at > 1 ? p->at[1] : 0;
  if (*p->at == '0' && (next == 'f' || next == 'F' || next == 'd' || next == 'D')) {
    bool single = next == 'f' || next == 'F';
    p->at += 2;
    t->value = read_digits(p, 16, &count, &overflow);
    t->kind = TOK_FLOAT;
    t->single = single;
    t->hex = true;
    if (count != (single ? 8 : 16))
      sim_parse_fail(p, t->line, DRV_INVALID_PTX, "a %s needs %d hexadecimal digits", single ? "0f number" : "0d number", single ? 8 : 16);
    return;
  }
  if (*p->at == '0' && (next == 'x' || next == 'X')) base = 16, p->at += 2;
  else if (*p->at == '0' && (next == 'b' || next == 'B')) base = 2, p->at += 2;
  else if (*p->at == '0' && next >= '0' && next <= '7') base = 8, p->at += 1;
  t->value = read_digits(p, base, &count, &overflow);
  if (base == 10 && p->at < p->end && (*p->at == '.' || *p->at == 'e' || *p->at == 'E')) {
    read_decimal(p);
    return;
  }
  if (p->at < p->end && *p->at == 'U') p->at++;
  if (count == 0 || overflow || (p->at < p->end && word_inside(*p->at)))
    sim_parse_fail(p, t->line, DRV_INVALID_PTX, overflow ? "number does not fit 64 bits" : "malformed number");
}

static void read_string(SimParser *p) {
  SimToken *t = &p->tok;
  t->kind = TOK_STRING;
  const char *s = ++p->at;
  while (p->at < p->end && *p->at != '"' && *p->at != '\n') p->at += (*p->at == '\\' && p->end - p->at > 1) ? 2 : 1;
  if (p->at >= p->end || *p->at != '"') {
    sim_parse_fail(p, t->line, DRV_INVALID_PTX, "string is not closed");
    return;
  }
  t->at = s;
  t->n = (uint32_t)(p->at - s);
  p->at++;
}

void sim_lex_next(SimParser *p) {
  SimToken *t = &p->tok;
  skip_blanks(p);
  t->at = p->at;
  t->n = 0;
  t->line = p->line;
  t->punct = 0;
  if (p->at >= p->end) {
    t->kind = TOK_END;
    return;
  }
  char c = *p->at;
  if (c >= '0' && c <= '9') read_number(p);
  else if (word_start(c)) read_word(p);
  else if (c == '"') read_string(p);
  else {
    t->kind = TOK_PUNCT;
    t->punct = c;
    t->n = 1;
    p->at++;
    if ((unsigned char)c < ' ' || (unsigned char)c > '~')
      sim_parse_fail(p, t->line, DRV_INVALID_PTX, "byte 0x%02x has no place in PTX", (unsigned char)c);
  }
}

bool sim_lex_is(const SimParser *p, const char *word) {
  return p->tok.kind == TOK_WORD && strlen(word) == p->tok.n && memcmp(word, p->tok.at, p->tok.n) == 0;
}

bool sim_lex_punct(const SimParser *p, char c) { return p->tok.kind == TOK_PUNCT && p->tok.punct == c; }

bool sim_lex_take(SimParser *p, char c) {
  if (!sim_lex_punct(p, c)) return false;
  sim_lex_next(p);
  return true;
}

bool sim_lex_expect(SimParser *p, char c) {
  if (sim_lex_take(p, c)) return true;
  if (p->tok.kind == TOK_END) return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "expected '%c', the text ends", c);
  return sim_parse_fail(p, p->tok.line, DRV_INVALID_PTX, "expected '%c' before '%.*s'", c, (int)(p->tok.n > 40 ? 40 : p->tok.n), p->tok.at);
}
