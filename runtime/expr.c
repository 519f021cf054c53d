/* expr.c - see expr.h. */
#include "expr.h"
#include "whole.h"
#include <math.h> /* isfinite: no call */
#include <stdio.h>
#include <string.h>

typedef enum Op {
  OP_PUSH,
  OP_LOAD,
  OP_LOAD_INT_AS_REAL,
  OP_NEG,
  OP_NOT,
  OP_BOOL,
  OP_ADD,
  OP_SUB,
  OP_MUL,
  OP_DIV,
  OP_MOD,
  OP_EQ,
  OP_NE,
  OP_LT,
  OP_LE,
  OP_GT,
  OP_GE,
  OP_CEILDIV,
  OP_ROUNDUP,
  OP_MIN,
  OP_MAX,
  OP_JUMP_FALSE,
  OP_JUMP,
} Op;

typedef struct Parser {
  const char *start, *at, *end;
  bool real, out_of_memory, failed;
  int nesting;
  int depth; /* values on the stack at this point of the code */
  ExprOp *code;
  int n, capacity;
  Pool *pool;
  ExprLookup lookup;
  void *user;
  char *why;
  size_t why_bytes;
} Parser;

static void fail(Parser *p, const char *what) {
  if (p->failed) return;
  p->failed = true;
  snprintf(p->why, p->why_bytes, "%s at column %d of \"%.*s\"", what, (int)(p->at - p->start) + 1,
           (int)(p->end - p->start > 200 ? 200 : p->end - p->start), p->start);
}

/* Appends an operation; `change` is what it does to the number of values on the stack. */
static int emit(Parser *p, Op op, int change) {
  if (p->failed) return 0;
  if (p->n >= EXPR_MAX_CODE) return fail(p, "the expression is too long"), 0;
  ExprOp *code = pool_grow(p->pool, p->code, p->n, &p->capacity, sizeof *code);
  if (!code) {
    p->failed = p->out_of_memory = true;
    return 0;
  }
  p->code = code;
  p->code[p->n] = (ExprOp){.op = (uint16_t)op};
  p->depth += change;
  if (p->depth > EXPR_MAX_DEPTH) fail(p, "the expression is too deep");
  return p->n++;
}

static void skip_blanks(Parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\t')) p->at++;
}

static bool take(Parser *p, const char *sign) {
  skip_blanks(p);
  size_t n = strlen(sign);
  if (p->failed || (size_t)(p->end - p->at) < n || memcmp(p->at, sign, n) != 0) return false;
  p->at += n;
  return true;
}

static void expect(Parser *p, const char *sign) {
  if (p->failed || take(p, sign)) return;
  char what[32];
  snprintf(what, sizeof what, "expected '%s'", sign);
  fail(p, what);
}

static void parse_expr(Parser *p);

/* strtod would obey the program's locale. Exact for up to 19 digits and powers of ten up to 27, which covers what %.17g writes
 * for numbers of ordinary size; beyond that within an ulp. */
bool expr_decimal(const char *text, size_t bytes, double *out) {
  const char *c = text, *end = text + bytes;
  uint64_t digits = 0;
  int exponent = 0, written = 0, any = 0;
  bool negative = c < end && *c == '-', after_point = false;
  if (negative) c++;
  for (; c < end && (expr_is_digit(*c) || (*c == '.' && !after_point)); c++) {
    if (*c == '.') {
      after_point = true;
      continue;
    }
    any = 1;
    if (digits <= (UINT64_MAX - 9) / 10)
      digits = digits * 10 + (uint64_t)(*c - '0'), exponent -= after_point;
    else
      exponent += !after_point;
  }
  if (!any) return false;
  if (c < end && (*c == 'e' || *c == 'E')) {
    bool down = ++c < end && *c == '-';
    if (c < end && (*c == '-' || *c == '+')) c++;
    if (c == end) return false;
    for (; c < end && expr_is_digit(*c) && written < 100000; c++) written = written * 10 + (*c - '0');
    exponent += down ? -written : written;
  }
  if (c != end) return false;
  long double value = (long double)digits, power = 1;
  for (int i = exponent < 0 ? -exponent : exponent; i > 0 && digits; i--) {
    power *= 10;
    if (i > 400) return exponent < 0 ? (*out = negative ? -0.0 : 0.0, true) : false;
  }
  value = exponent < 0 ? value / power : value * power;
  *out = (double)(negative ? -value : value);
  return isfinite(*out);
}

bool expr_integer(const char *text, size_t bytes, int64_t *out) {
  bool negative = bytes && *text == '-';
  size_t i = negative;
  if (i == bytes) return false;
  for (*out = 0; i < bytes; i++) {
    if (!expr_is_digit(text[i]) || __builtin_mul_overflow(*out, 10, out)) return false;
    int digit = text[i] - '0';
    if (__builtin_add_overflow(*out, negative ? -digit : digit, out)) return false;
  }
  return true;
}

static void parse_number(Parser *p) {
  const char *c = p->at;
  bool decimal = false;
  for (; c < p->end; c++) {
    bool sign_of_exponent = (*c == '+' || *c == '-') && c > p->at && (c[-1] == 'e' || c[-1] == 'E');
    if (!expr_is_name(*c) && *c != '.' && !sign_of_exponent) break;
    if (!expr_is_digit(*c)) decimal = true;
  }
  size_t n = (size_t)(c - p->at);
  ExprValue value;
  if (p->real ? !expr_decimal(p->at, n, &value.d) : !expr_integer(p->at, n, &value.i))
    return fail(p, p->real   ? "not a number"
                   : decimal ? "not an integer, in an integer expression"
                             : "the number exceeds 64 bits");
  p->at = c;
  int at = emit(p, OP_PUSH, +1);
  if (!p->failed) p->code[at].value = value;
}

static void parse_call(Parser *p, Op op) {
  parse_expr(p);
  expect(p, ",");
  parse_expr(p);
  expect(p, ")");
  emit(p, op, -1);
}

static void parse_name(Parser *p) {
  static const struct {
    const char *name;
    Op op;
  } functions[] = {{"ceildiv", OP_CEILDIV}, {"roundup", OP_ROUNDUP}, {"min", OP_MIN}, {"max", OP_MAX}};
  const char *name = p->at, *c = p->at;
  while (c < p->end && (expr_is_name(*c))) c++;
  size_t n = (size_t)(c - name);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    if (n == strlen(functions[i].name) && memcmp(name, functions[i].name, n) == 0 && c < p->end && *c == '(') {
      p->at = c + 1;
      return parse_call(p, functions[i].op);
    }
  uint32_t index = 0;
  const char *what = "has no value";
  ExprName kind = p->lookup(p->user, name, n, &index, &what);
  if (kind == EXPR_UNKNOWN && p->real && n == 5 && memcmp(name, "log2e", 5) == 0) {
    p->at = c;
    int at = emit(p, OP_PUSH, +1);
    if (!p->failed) p->code[at].value.d = 1.4426950408889634074;
    return;
  }
  char text[160];
  int shown = n > 64 ? 64 : (int)n;
  if (kind == EXPR_UNKNOWN) snprintf(text, sizeof text, "'%.*s' is not defined before", shown, name);
  if (kind == EXPR_OTHER) snprintf(text, sizeof text, "'%.*s' %s", shown, name, what);
  if (kind == EXPR_REAL && !p->real) snprintf(text, sizeof text, "'%.*s' is no integer, in an integer expression", shown, name);
  if (kind == EXPR_UNKNOWN || kind == EXPR_OTHER || (kind == EXPR_REAL && !p->real)) return fail(p, text);
  p->at = c;
  int at = emit(p, p->real && kind == EXPR_INT ? OP_LOAD_INT_AS_REAL : OP_LOAD, +1);
  if (!p->failed) p->code[at].index = index;
}

static void parse_unary(Parser *p) {
  skip_blanks(p);
  if (p->failed) return;
  if (++p->nesting > EXPR_MAX_DEPTH) return fail(p, "the expression is too deep");
  if (p->at == p->end) {
    fail(p, "the expression ends");
  } else if (*p->at == '-' || *p->at == '!') {
    Op op = *p->at++ == '-' ? OP_NEG : OP_NOT;
    parse_unary(p);
    emit(p, op, 0);
  } else if (*p->at == '(') {
    p->at++;
    parse_expr(p);
    expect(p, ")");
  } else if (expr_is_digit(*p->at)) {
    parse_number(p);
  } else if (expr_is_name(*p->at)) {
    parse_name(p);
  } else {
    fail(p, "unexpected character");
  }
  p->nesting--;
}

/* Binary operators by level, loosest first; longer signs before their prefixes. */
static const struct {
  const char *sign;
  Op op;
} levels[][5] = {
    {{"==", OP_EQ}, {"!=", OP_NE}, {0}},
    {{"<=", OP_LE}, {">=", OP_GE}, {"<", OP_LT}, {">", OP_GT}, {0}},
    {{"+", OP_ADD}, {"-", OP_SUB}, {0}},
    {{"*", OP_MUL}, {"/", OP_DIV}, {"%", OP_MOD}, {0}},
};

static void parse_level(Parser *p, size_t level) {
  if (level == sizeof levels / sizeof *levels) return parse_unary(p);
  parse_level(p, level + 1);
  while (!p->failed) {
    int i = 0;
    while (levels[level][i].sign && !take(p, levels[level][i].sign)) i++;
    if (!levels[level][i].sign) return;
    parse_level(p, level + 1);
    emit(p, levels[level][i].op, -1);
  }
}

static void push_truth(Parser *p, bool truth) {
  int at = emit(p, OP_PUSH, +1);
  if (p->failed) return;
  if (p->real)
    p->code[at].value.d = truth;
  else
    p->code[at].value.i = truth;
}

static void land(Parser *p, int jump) {
  if (!p->failed) p->code[jump].to = (uint16_t)p->n;
}

static void parse_and(Parser *p) {
  parse_level(p, 0);
  while (take(p, "&&")) {
    int no = emit(p, OP_JUMP_FALSE, -1);
    parse_level(p, 0);
    emit(p, OP_BOOL, 0);
    int done = emit(p, OP_JUMP, -1);
    land(p, no);
    push_truth(p, false);
    land(p, done);
  }
}

static void parse_or(Parser *p) {
  parse_and(p);
  while (take(p, "||")) {
    int no = emit(p, OP_JUMP_FALSE, -1);
    push_truth(p, true);
    int done = emit(p, OP_JUMP, -1);
    land(p, no);
    parse_and(p);
    emit(p, OP_BOOL, 0);
    land(p, done);
  }
}

static void parse_expr(Parser *p) {
  if (++p->nesting > EXPR_MAX_DEPTH) return fail(p, "the expression is too deep");
  parse_or(p);
  if (take(p, "?")) {
    int no = emit(p, OP_JUMP_FALSE, -1);
    parse_expr(p);
    expect(p, ":");
    int done = emit(p, OP_JUMP, -1);
    land(p, no);
    parse_expr(p);
    land(p, done);
  }
  p->nesting--;
}

ExprResult expr_parse(Expr *out, Pool *pool, const char *text, size_t bytes, bool real, ExprLookup lookup, void *user, char *why,
                      size_t why_bytes) {
  Parser p = {.start = text,
              .at = text,
              .end = text + bytes,
              .real = real,
              .pool = pool,
              .lookup = lookup,
              .user = user,
              .why = why,
              .why_bytes = why_bytes};
  *out = (Expr){0};
  parse_expr(&p);
  skip_blanks(&p);
  if (!p.failed && p.at < p.end) fail(&p, "unexpected character");
  const char *copy = p.failed ? NULL : pool_text(pool, text, bytes);
  if (p.out_of_memory || (!p.failed && !copy)) return EXPR_NO_MEMORY;
  if (p.failed) return EXPR_WRONG;
  *out = (Expr){p.code, p.n, copy};
  return EXPR_OK;
}

/* ---- evaluation. The stack cannot overflow: emit() has counted. ---- */

static const char overflows[] = "overflows 64 bits";
static const char by_zero[] = "divides by zero";

static const char *divide_int(Op op, int64_t a, int64_t b, int64_t *out) {
  if (b == 0) return by_zero;
  if (a == INT64_MIN && b == -1) return overflows;
  int64_t quotient = a / b, rest = a % b;
  if (op == OP_DIV)
    *out = quotient;
  else if (op == OP_MOD)
    *out = rest;
  else {
    if (rest != 0 && (rest < 0) == (b < 0)) quotient++;
    *out = quotient;
    if (op == OP_ROUNDUP && __builtin_mul_overflow(quotient, b, out)) return overflows;
  }
  return NULL;
}

static const char *binary_int(Op op, int64_t a, int64_t b, int64_t *out) {
  switch (op) {
  case OP_ADD: return __builtin_add_overflow(a, b, out) ? overflows : NULL;
  case OP_SUB: return __builtin_sub_overflow(a, b, out) ? overflows : NULL;
  case OP_MUL: return __builtin_mul_overflow(a, b, out) ? overflows : NULL;
  case OP_EQ: *out = a == b; return NULL;
  case OP_NE: *out = a != b; return NULL;
  case OP_LT: *out = a < b; return NULL;
  case OP_LE: *out = a <= b; return NULL;
  case OP_GT: *out = a > b; return NULL;
  case OP_GE: *out = a >= b; return NULL;
  case OP_MIN: *out = a < b ? a : b; return NULL;
  case OP_MAX: *out = a > b ? a : b; return NULL;
  default: return divide_int(op, a, b, out);
  }
}

static double binary_real(Op op, double a, double b) {
  switch (op) {
  case OP_ADD: return a + b;
  case OP_SUB: return a - b;
  case OP_MUL: return a * b;
  case OP_DIV: return a / b;
  case OP_MOD: return whole_remainder(a, b);
  case OP_EQ: return a == b;
  case OP_NE: return a != b;
  case OP_LT: return a < b;
  case OP_LE: return a <= b;
  case OP_GT: return a > b;
  case OP_GE: return a >= b;
  case OP_CEILDIV: return whole_up(a / b);
  case OP_ROUNDUP: return whole_up(a / b) * b;
  case OP_MIN: return a < b ? a : b;
  default: return a > b ? a : b; /* OP_MAX */
  }
}

const char *expr_int(const Expr *e, const ExprValue *values, int64_t *out) {
  int64_t stack[EXPR_MAX_DEPTH + 1];
  int n = 0;
  *out = 0;
  for (int at = 0; at < e->n; at++) {
    const ExprOp *o = &e->code[at];
    switch ((Op)o->op) {
    case OP_PUSH: stack[n++] = o->value.i; break;
    case OP_LOAD: stack[n++] = values[o->index].i; break;
    case OP_NEG:
      if (__builtin_sub_overflow(0, stack[n - 1], &stack[n - 1])) return overflows;
      break;
    case OP_NOT: stack[n - 1] = !stack[n - 1]; break;
    case OP_BOOL: stack[n - 1] = stack[n - 1] != 0; break;
    case OP_JUMP_FALSE:
      if (!stack[--n]) at = o->to - 1;
      break;
    case OP_JUMP: at = o->to - 1; break;
    default: {
      n--;
      const char *why = binary_int((Op)o->op, stack[n - 1], stack[n], &stack[n - 1]);
      if (why) return why;
    }
    }
  }
  *out = stack[0];
  return NULL;
}

const char *expr_real(const Expr *e, const ExprValue *values, double *out) {
  double stack[EXPR_MAX_DEPTH + 1];
  int n = 0;
  *out = 0;
  for (int at = 0; at < e->n; at++) {
    const ExprOp *o = &e->code[at];
    switch ((Op)o->op) {
    case OP_PUSH: stack[n++] = o->value.d; break;
    case OP_LOAD: stack[n++] = values[o->index].d; break;
    case OP_LOAD_INT_AS_REAL: stack[n++] = (double)values[o->index].i; break;
    case OP_NEG: stack[n - 1] = -stack[n - 1]; break;
    case OP_NOT: stack[n - 1] = !(stack[n - 1] != 0); break;
    case OP_BOOL: stack[n - 1] = stack[n - 1] != 0; break;
    case OP_JUMP_FALSE:
      if (!(stack[--n] != 0)) at = o->to - 1;
      break;
    case OP_JUMP: at = o->to - 1; break;
    default: n--; stack[n - 1] = binary_real((Op)o->op, stack[n - 1], stack[n]);
    }
  }
  *out = stack[0];
  return NULL;
}

int expr_reads(const Expr *e, uint32_t *index, int max) {
  int n = 0;
  for (int at = 0; at < e->n; at++) {
    if (e->code[at].op != OP_LOAD && e->code[at].op != OP_LOAD_INT_AS_REAL) continue;
    int known = 0;
    while (known < n && index[known] != e->code[at].index) known++;
    if (known == n && n < max) index[n++] = e->code[at].index;
  }
  return n;
}
