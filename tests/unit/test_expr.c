/* test_expr.c - the contract's expressions: values, precedence, laziness, overflow, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "expr.h"
#include "whole.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static ExprName look_up(void *user, const char *name, size_t bytes, uint32_t *index, const char **what) {
  (void)user;
  static const struct { const char *name; ExprName kind; } names[] = {
      {"M", EXPR_INT}, {"N", EXPR_INT}, {"big", EXPR_INT}, {"zero", EXPR_INT}, {"eps", EXPR_REAL}, {"x", EXPR_OTHER}};
  for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i].name) == bytes && memcmp(names[i].name, name, bytes) == 0) {
      *index = i;
      *what = "is a tensor";
      return names[i].kind;
    }
  return EXPR_UNKNOWN;
}

static const ExprValue values[] = {{.i = 7}, {.i = -3}, {.i = INT64_MAX}, {.i = 0}, {.d = 0.5}, {.i = 0}};

static void assert_int_value(const char *text, int64_t expected) {
  Pool pool = {0};
  Expr e;
  char why[256] = "";
  int64_t got = 0;
  if (expr_parse(&e, &pool, text, strlen(text), false, look_up, NULL, why, sizeof why)) fail_msg("%s: %s", text, why);
  const char *failure = expr_int(&e, values, &got);
  if (failure) fail_msg("%s %s", text, failure);
  if (got != expected) fail_msg("%s is %lld, expected %lld", text, (long long)got, (long long)expected);
  assert_string_equal(e.text, text);
  pool_free(&pool);
}

static void assert_real_value(const char *text, double expected) {
  Pool pool = {0};
  Expr e;
  char why[256] = "";
  double got = 0;
  if (expr_parse(&e, &pool, text, strlen(text), true, look_up, NULL, why, sizeof why)) fail_msg("%s: %s", text, why);
  assert_null(expr_real(&e, values, &got));
  if (!(got == expected || (isnan(got) && isnan(expected)))) fail_msg("%s is %.17g, expected %.17g", text, got, expected);
  pool_free(&pool);
}

static void assert_no_value(const char *text, const char *expected) {
  Pool pool = {0};
  Expr e;
  char why[256] = "";
  int64_t got;
  if (expr_parse(&e, &pool, text, strlen(text), false, look_up, NULL, why, sizeof why)) fail_msg("%s: %s", text, why);
  const char *failure = expr_int(&e, values, &got);
  if (!failure || strcmp(failure, expected) != 0) fail_msg("%s: \"%s\", expected \"%s\"", text, failure ? failure : "a value", expected);
  pool_free(&pool);
}

static void assert_refused(const char *text, bool real, const char *expected) {
  Pool pool = {0};
  Expr e;
  char why[256] = "";
  assert_int_equal(expr_parse(&e, &pool, text, strlen(text), real, look_up, NULL, why, sizeof why), EXPR_WRONG);
  if (!strstr(why, expected)) fail_msg("%s: \"%s\" does not say \"%s\"", text, why, expected);
  assert_int_equal(e.n, 0);
  pool_free(&pool);
}

static void test_integers(void **state) {
  (void)state;
  assert_int_value("1+2*3-4", 3);
  assert_int_value("(1+2)*3", 9);
  assert_int_value("10-3-2", 5);
  assert_int_value("-M+1", -6);
  assert_int_value("--M", 7);
  assert_int_value("7/2", 3);
  assert_int_value("-7/2", -3);
  assert_int_value("-7%2", -1);
  assert_int_value("ceildiv(M,2)", 4);
  assert_int_value("ceildiv(-7,2)", -3);
  assert_int_value("ceildiv(7,-2)", -3);
  assert_int_value("ceildiv(-7,-2)", 4);
  assert_int_value("ceildiv(8,2)", 4);
  assert_int_value("roundup(M, 4)", 8);
  assert_int_value("min(M,N)*10+max(M,N)", -23);
  assert_int_value("1<2&&2<=2&&3>2&&3>=3&&1!=2&&2==2", 1);
  assert_int_value("1<2==1", 1);
  assert_int_value("!0+!5", 1);
  assert_int_value("5&&6", 1);
  assert_int_value("0||9", 1);
  assert_int_value("M>5?10:20", 10);
  assert_int_value("M>9?10:N<0?30:40", 30);
  assert_int_value("9223372036854775807", INT64_MAX);
  assert_int_value("big-1+1", INT64_MAX);
  assert_int_value("-big-1", INT64_MIN);
}

static void test_laziness(void **state) {
  (void)state;
  assert_int_value("zero==0||1/zero", 1);
  assert_int_value("zero!=0&&1/zero", 0);
  assert_int_value("zero?1/zero:3", 3);
  assert_int_value("1?3:1/zero", 3);
}

static void test_no_value(void **state) {
  (void)state;
  assert_no_value("1/zero", "divides by zero");
  assert_no_value("1%zero", "divides by zero");
  assert_no_value("ceildiv(1,zero)", "divides by zero");
  assert_no_value("big+1", "overflows 64 bits");
  assert_no_value("big*2", "overflows 64 bits");
  assert_no_value("-big-2", "overflows 64 bits");
  assert_no_value("-(-big-1)", "overflows 64 bits");
  assert_no_value("(-big-1)/(0-1)", "overflows 64 bits");
  assert_no_value("roundup(big,4)", "overflows 64 bits");
}

static void test_reals(void **state) {
  (void)state;
  assert_real_value("1/4", 0.25);
  assert_real_value("M/2", 3.5);
  assert_real_value("eps*2+1e-06", 1.000001);
  assert_real_value("9.9999999999999995e-07", 1e-6);
  assert_real_value("1e300*10", 1e301);
  assert_real_value("log2e", 1.4426950408889634074);
  assert_real_value("ceildiv(7,2)", 4);
  assert_real_value("eps>0.25?1.5:2", 1.5);
  assert_real_value("7%4", 3);
  assert_real_value("1/zero", INFINITY);
  assert_real_value("!(eps<1)", 0);
}

static void test_refusals(void **state) {
  (void)state;
  assert_refused("", false, "the expression ends");
  assert_refused("1+", false, "the expression ends");
  assert_refused("(1", false, "expected ')' at column 3");
  assert_refused("1)", false, "unexpected character at column 2");
  assert_refused("1 2", false, "unexpected character");
  assert_refused("min(1)", false, "expected ','");
  assert_refused("Q*2", false, "'Q' is not defined before at column 1");
  assert_refused("x+1", false, "'x' is a tensor");
  assert_refused("1.5", false, "not an integer");
  assert_refused("eps", false, "'eps' is no integer");
  assert_refused("9223372036854775808", false, "exceeds 64 bits");
  assert_refused("1e999", true, "not a number");
  assert_refused("0x10", true, "not a number");
  assert_refused("1?2", false, "expected ':'");
  assert_refused("@", false, "unexpected character");
  char deep[400];
  memset(deep, '(', sizeof deep);
  deep[sizeof deep - 1] = 0;
  assert_refused(deep, false, "too deep");
  memset(deep, '-', sizeof deep - 1);
  assert_refused(deep, false, "too deep");
  char wide[6000];
  for (size_t i = 0; i < sizeof wide - 1; i++) wide[i] = "1+"[i % 2];
  wide[sizeof wide - 2] = '1', wide[sizeof wide - 1] = 0;
  if (wide[sizeof wide - 3] == '1') wide[sizeof wide - 3] = '+';
  assert_refused(wide, false, "too long");
}

static void test_reads(void **state) {
  (void)state;
  Pool pool = {0};
  Expr e;
  char why[64];
  uint32_t reads[4];
  assert_int_equal(expr_parse(&e, &pool, "M*N+M", 5, false, look_up, NULL, why, sizeof why), EXPR_OK);
  assert_int_equal(expr_reads(&e, reads, 4), 2);
  assert_int_equal(reads[0], 0);
  assert_int_equal(reads[1], 1);
  assert_int_equal(expr_reads(&e, reads, 1), 1);
  pool_free(&pool);
}

/* whole.h stands in for libm, which libkiln does not link; here both are at hand. */
static void rounding_is_that_of_libm(void **state) {
  (void)state;
  static const double x[] = {0, -0.0, 0.5, -0.5, 1, -1, 2.5, -2.5, 7, -7, 1e15 + 0.5, -1e15 - 0.5, 0x1p52, -0x1p52, 0x1p60, 1e300, INFINITY, -INFINITY};
  enum { N = sizeof x / sizeof *x };
  for (int i = 0; i < N; i++) {
    assert_true(whole_down(x[i]) == floor(x[i]));
    assert_true(whole_up(x[i]) == ceil(x[i]));
    assert_true(whole_toward_zero(x[i]) == trunc(x[i]));
    for (int k = 0; k < N; k++)
      if (fabs(x[i]) <= 0x1p53 && isfinite(x[k]) && x[k] != 0 && fabs(x[i] / x[k]) < 1e9) assert_true(whole_remainder(x[i], x[k]) == fmod(x[i], x[k]));
  }
  assert_true(isnan(whole_remainder(1, 0)));
  assert_true(isnan(whole_down(NAN)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounding_is_that_of_libm), cmocka_unit_test(test_integers), cmocka_unit_test(test_laziness), cmocka_unit_test(test_no_value),
      cmocka_unit_test(test_reals),    cmocka_unit_test(test_refusals), cmocka_unit_test(test_reads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
