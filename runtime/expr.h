/* expr.h - the contract's expressions: parsed once into postfix code, evaluated in 64-bit integers with overflow checks or in
 * double.
 *
 *   expr   := or [ "?" expr ":" expr ]            or  := and { "||" and }        and := equal { "&&" equal }
 *   equal  := order { ("==" | "!=") order }       order := sum { ("<" | "<=" | ">" | ">=") sum }
 *   sum    := product { ("+" | "-") product }     product := unary { ("*" | "/" | "%") unary }
 *   unary  := ("-" | "!") unary | number | name | "(" expr ")" | function "(" expr "," expr ")"
 *   function := ceildiv | roundup | min | max
 *
 * In integers: `/` and `%` truncate, ceildiv and roundup round up, dividing by zero and leaving 64 bits are errors. In double:
 * `/` is exact division, log2e is a constant. `&&`, `||` and `?:` do not evaluate what they need not. */
#ifndef KILN_EXPR_H
#define KILN_EXPR_H
#include "pool.h"
#include <stdbool.h>
#include <stdint.h>

enum { EXPR_MAX_DEPTH = 48, EXPR_MAX_CODE = 1024 };

typedef union ExprValue {
  int64_t i;
  double d;
} ExprValue;

typedef struct ExprOp {
  uint16_t op;
  uint16_t to;    /* where a jump goes */
  uint32_t index; /* which value a load takes */
  ExprValue value;
} ExprOp;

typedef struct Expr {
  const ExprOp *code;
  int n;            /* 0: no expression */
  const char *text; /* as written, for messages */
} Expr;

typedef enum ExprName { EXPR_UNKNOWN, EXPR_INT, EXPR_REAL, EXPR_OTHER } ExprName;
/* What a name stands for: an integer or real value and its index in `values`, something that has no value (EXPR_OTHER; *what then
 * says what), or nothing. */
typedef ExprName (*ExprLookup)(void *user, const char *name, size_t bytes, uint32_t *index, const char **what);

typedef enum ExprResult { EXPR_OK, EXPR_NO_MEMORY, EXPR_WRONG } ExprResult;

/* Parses all of text. real: to be evaluated by expr_real. On EXPR_WRONG, why (of why_bytes) says what is wrong and where. */
ExprResult expr_parse(Expr *out, Pool *pool, const char *text, size_t bytes, bool real, ExprLookup lookup, void *user, char *why,
                      size_t why_bytes);

/* Character classes and numbers that do not depend on the program's locale. The whole text must be the number. */
static inline bool expr_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool expr_is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || expr_is_digit(c) || c == '_';
}
bool expr_integer(const char *text, size_t bytes, int64_t *out);
bool expr_decimal(const char *text, size_t bytes, double *out); /* false: not a number, or not finite */

/* NULL, or why there is no value ("overflows 64 bits", "divides by zero"). */
const char *expr_int(const Expr *e, const ExprValue *values, int64_t *out);
const char *expr_real(const Expr *e, const ExprValue *values, double *out);

/* The distinct values that the expression reads, at most max of them; returns how many. */
int expr_reads(const Expr *e, uint32_t *index, int max);
#endif
