/* evaluate_ops.c - elementwise operations and reductions of the evaluator, each with its rule of error.
 *
 * The rules are first order: e of f(a) is |f'(a)| e(a), plus what the operation itself may lose in f32. A result that is not
 * finite is exact (a kernel must reproduce it), so its e is 0. */
#include "evaluate.h"
#include "number.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define U EVAL_U

typedef struct Operand {
  const double *v, *e;
  int64_t step;
} Operand; /* step 0 or 1 along the row; e walks with it, or stays at zero */

/* e is NaN (0 times infinity) where an infinite operand, which is exact, gives a finite result: exp(-inf) is exactly 0. */
static double settle(double v, double e) { return fabs(v) <= DBL_MAX && !isnan(e) ? e : 0; }

/* Division by what f32 barely holds, or holds no more, gives zero: div.approx promises nothing for divisors above 2^126. */
static double lost(double quotient, double divisor) { return fabs(divisor) > 0x1p125 ? fabs(quotient) : 0; }

static double larger(double a, double b) { return a > b ? a : b; }

/* ---- infinities that f32 may make, or unmake ----
 *
 * An infinity is exact, but what it meets may not be: times a value that f32 may flush to 0 (the double is 1e-85) it is NaN there
 * and infinite here; likewise where f32 overflows and double does not. Such a result is undecided, and so is what follows from it:
 * e is infinite. */
static bool vanishes(double x, double e) { return (x != 0 || e > 0) && (fabs(x) <= e || fabs(x) < 0x1p-126); }
static bool overflows(double x) { return isfinite(x) && fabs(x) > 0x1p127; }

static bool undecided_factor(double a, double b, double eb) {
  return (isinf(a) && vanishes(b, eb)) || (overflows(a) && (b == 0 || vanishes(b, eb)));
}
bool eval_undecided_product(double a, double ea, double b, double eb) {
  return undecided_factor(a, b, eb) || undecided_factor(b, a, ea);
}
static bool undecided_sum(double a, double b) {
  return (isinf(a) && overflows(b)) || (overflows(a) && isinf(b)) || (overflows(a) && overflows(b));
}
static bool undecided_quotient(double a, double ea, double b, double eb) {
  return (isinf(a) && overflows(b)) || (overflows(a) && (isinf(b) || overflows(b))) || (vanishes(a, ea) && (b == 0 || vanishes(b, eb)));
}

/* The error of a result: operands' errors are finite, or it is undecided like them. */
static double carry(double v, double err, double operands, bool undecided) {
  return undecided || isinf(operands) ? INFINITY : settle(v, err);
}

/* ---- one operand ---- */

/* Runs EXPR for every element: sets v and e from a and ea. */
#define ROW1(EXPR)                                                                                                     \
  for (int64_t i = 0; i < n; i++) {                                                                                    \
    double a = x.v[i * x.step], ea = x.e[i * estep], r, err;                                                           \
    EXPR;                                                                                                              \
    v[i] = r;                                                                                                          \
    if (e) e[i] = carry(r, err, ea, false);                                                                            \
  }                                                                                                                    \
  break

/* A value that is exact rounds alike everywhere; another may land on a neighbour, if a border between two lies within its error (taken
 * twice, as the last bound takes it). */
static double rounding_error(kiln_dtype dtype, double a, double ea, double r) {
  return larger(number_round(dtype, a + 2 * ea) - r, r - number_round(dtype, a - 2 * ea));
}

static void run_unary(const DefNode *node, Operand x, int64_t estep, double *v, double *e, int64_t n) {
  kiln_dtype dtype = (kiln_dtype)node->dtype;
  switch (node->op) {
  case DEF_NEG: ROW1((r = -a, err = ea));
  case DEF_ABS: ROW1((r = fabs(a), err = ea));
  case DEF_STOP: ROW1((r = a, err = ea));
  case DEF_FLOAT: ROW1((r = a, err = ea + ((float)a != a ? U * fabs(a) : 0))); /* integers beyond 2^24 */
  case DEF_NOT: ROW1((r = a == 0, err = ea));
  /* exp goes by exp2(a log2 e): the rounding of that product is worth |a| u. */
  case DEF_EXP: ROW1((r = exp(a), err = r * (ea + (2 * fabs(a) + 4) * U)));
  case DEF_EXP2: ROW1((r = exp2(a), err = r * (M_LN2 * ea + 4 * U)));
  case DEF_LOG: ROW1((r = log(a), err = ea / fabs(a) + 4 * U * (fabs(r) + 1)));
  case DEF_LOG2: ROW1((r = log2(a), err = M_LOG2E * ea / fabs(a) + 4 * U * (fabs(r) + 1)));
  case DEF_SQRT: ROW1((r = sqrt(a), err = (r > 0 ? ea / (2 * r) : sqrt(ea)) + 4 * U * r));
  case DEF_RSQRT: ROW1((r = 1 / sqrt(a), err = r * ea / (2 * fabs(a)) + 4 * U * r));
  case DEF_RCP: ROW1((r = 1 / a, err = r * r * ea + 4 * U * fabs(r) + lost(r, a)));
  case DEF_TANH: ROW1((r = tanh(a), err = ea * (1 - r * r) + 8 * U * fabs(r)));
  case DEF_ERF: ROW1((r = erf(a), err = ea * M_2_SQRTPI * exp(-a * a) + 8 * U * fabs(r)));
  case DEF_SIN: ROW1((r = sin(a), err = ea + 8 * U + fabs(a) * 4 * U));
  case DEF_COS: ROW1((r = cos(a), err = ea + 8 * U + fabs(a) * 4 * U));
  /* Either neighbour, where errors reach across the middle between two whole numbers. */
  case DEF_RINT: ROW1((r = nearbyint(a), err = larger(nearbyint(a + ea) - r, r - nearbyint(a - ea))));
  case DEF_ROUND: ROW1((r = number_round(dtype, a), err = ea > 0 ? rounding_error(dtype, a, ea, r) : 0));
  default: break; /* infer_dims lets no other through */
  }
}

/* ---- two operands ---- */

#define ROW2(EXPR) ROW2_UNLESS(false, EXPR)
#define ROW2_UNLESS(UNDECIDED, EXPR)                                                                                   \
  for (int64_t i = 0; i < n; i++) {                                                                                    \
    double a = x.v[i * x.step], b = y.v[i * y.step], ea = x.e[i * xe], eb = y.e[i * ye], r, err;                       \
    EXPR;                                                                                                              \
    v[i] = r;                                                                                                          \
    if (e) e[i] = carry(r, err, ea + eb, UNDECIDED);                                                                   \
  }                                                                                                                    \
  break

/* A comparison of values that errors could exchange is undecided: e = 1. But a value equals itself, and the one that is
 * its row's own largest equals that, whatever the errors (node->value: the operands are such). */
#define COMPARE(HOLDS) ROW2((r = HOLDS, err = (ea + eb > 0 && fabs(a - b) <= ea + eb && !(own && a == b)) ? 1 : 0))

static double pick_min(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
static double pick_max(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }

/* What adding loses: nothing, where the operands are exact and f32 holds the sum (codes of integers that are shifted, say). */
static double added(double sum, double operands) { return operands == 0 && (float)sum == sum ? 0 : U * fabs(sum); }

/* What dividing loses: nothing, by 1 (the mean of a row of one column). */
static double divided(double quotient, double by, double eb) { return by == 1 && eb == 0 ? 0 : 4 * U * fabs(quotient); }

static void run_binary(const DefNode *node, Operand x, int64_t xe, Operand y, int64_t ye, double *v, double *e, int64_t n) {
  bool own = node->value != 0;
  switch (node->op) {
  case DEF_ADD: ROW2_UNLESS(undecided_sum(a, b), (r = a + b, err = ea + eb + added(r, ea + eb)));
  case DEF_SUB: ROW2_UNLESS(undecided_sum(a, b), (r = a - b, err = ea + eb + added(r, ea + eb)));
  case DEF_MUL: ROW2_UNLESS(eval_undecided_product(a, ea, b, eb), (r = a * b, err = fabs(a) * eb + fabs(b) * ea + ea * eb + U * fabs(r)));
  case DEF_DIV: ROW2_UNLESS(undecided_quotient(a, ea, b, eb), (r = a / b, err = (ea + fabs(r) * eb) / fabs(b) + divided(r, b, eb) + lost(r, b)));
  /* Of integers, which are exact; dividing by zero, of which nothing is promised, gives 0. */
  case DEF_IDIV: ROW2((r = b == 0 ? 0 : trunc(a / b), err = ea + eb));
  case DEF_MOD: ROW2((r = b == 0 ? 0 : fmod(a, b), err = ea + eb));
  case DEF_MIN: ROW2((r = pick_min(a, b), err = larger(ea, eb)));
  case DEF_MAX: ROW2((r = pick_max(a, b), err = larger(ea, eb)));
  case DEF_LT: COMPARE(a < b);
  case DEF_LE: COMPARE(a <= b);
  case DEF_EQ: COMPARE(a == b);
  case DEF_NE: COMPARE(a != b);
  case DEF_AND: ROW2((r = a != 0 && b != 0, err = larger(ea, eb)));
  case DEF_OR: ROW2((r = a != 0 || b != 0, err = larger(ea, eb)));
  default: break;
  }
}

static void run_where(const Operand x[3], const int64_t estep[3], double *v, double *e, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    double c = x[0].v[i * x[0].step], a = x[1].v[i * x[1].step], b = x[2].v[i * x[2].step];
    double ea = x[1].e[i * estep[1]], eb = x[2].e[i * estep[2]];
    v[i] = c != 0 ? a : b;
    if (!e) continue;
    bool undecided = x[0].e[i * estep[0]] > 0;
    e[i] = carry(v[i], undecided ? larger(ea, eb) + fabs(a - b) : c != 0 ? ea : eb, undecided ? ea + eb : c != 0 ? ea : eb,
                 undecided && !(isfinite(a) && isfinite(b)) && !(isnan(a) && isnan(b)) && a != b);
  }
}

/* ---- rows of an array ---- */

static const double no_error = 0;

/* Only operations that add nothing of their own keep an exact operand exact. */
static bool stays_exact(const DefNode *n, const EvalValue *const arg[3], int nargs) {
  for (int k = 0; k < nargs; k++)
    if (arg[k]->e) return false;
  if (eval_is_integer(n->dtype)) return true;
  switch (n->op) {
  case DEF_NEG: case DEF_ABS: case DEF_NOT: case DEF_STOP: case DEF_ROUND: case DEF_MIN: case DEF_MAX: case DEF_LT: case DEF_LE: case DEF_EQ:
  case DEF_NE: case DEF_AND: case DEF_OR: case DEF_WHERE: return true;
  default: return false;
  }
}

bool eval_elementwise(const DefNode *node, const EvalValue *const arg[3], EvalValue *out, const EvalShape *s) {
  int nargs = arg[2] ? 3 : arg[1] ? 2 : 1, dim[DEF_MAX_DIMS], n = 0;
  int64_t total = eval_elems(out->dims, s), at[DEF_MAX_DIMS] = {0};
  for (int d = 0; d < DEF_MAX_DIMS; d++)
    if (out->dims >> d & 1) dim[n++] = d;
  bool exact = stays_exact(node, arg, nargs); /* then e is not kept: NULL */
  if (!eval_room(out, exact ? EVAL_EXACT : EVAL_ERROR, (size_t)total)) return false;
  int64_t inner = n ? s->extent[dim[n - 1]] : 1;
  for (int64_t done = 0; done < total; done += inner) {
    Operand x[3] = {0};
    int64_t estep[3] = {0};
    for (int k = 0; k < nargs; k++) {
      int64_t offset = 0;
      for (int j = 0; j < n - 1; j++) offset += at[j] * eval_stride(arg[k]->dims, s, dim[j]);
      x[k].v = arg[k]->v + offset;
      x[k].e = arg[k]->e ? arg[k]->e + offset : &no_error;
      x[k].step = n ? eval_stride(arg[k]->dims, s, dim[n - 1]) : 0;
      estep[k] = arg[k]->e ? x[k].step : 0;
    }
    double *v = out->v + done, *e = exact ? NULL : out->e + done;
    if (nargs == 1) run_unary(node, x[0], estep[0], v, e, inner);
    else if (nargs == 2) run_binary(node, x[0], estep[0], x[1], estep[1], v, e, inner);
    else run_where(x, estep, v, e, inner);
    for (int j = n - 2; j >= 0 && ++at[j] == s->extent[dim[j]]; j--) at[j] = 0;
  }
  return true;
}

/* ---- reductions: v holds the running value, e the sum (or the largest) of the errors, q the sum of the squares ---- */

bool eval_reduce_start(const DefNode *node, EvalValue *out, const EvalShape *s) {
  int64_t total = eval_elems(out->dims, s);
  if (!eval_room(out, EVAL_SQUARES, (size_t)total)) return false;
  double v = node->op == DEF_AMAX ? -INFINITY : node->op == DEF_AMIN ? INFINITY : 0;
  for (int64_t i = 0; i < total; i++) {
    out->v[i] = v;
    out->e[i] = out->q[i] = 0;
  }
  return true;
}

typedef struct Fold { double *v, *e, *q; } Fold; /* one place of the result */

/* Does a term that f32 has as infinite meet a sum of the other sign that it has as infinite, too? It makes NaN of them. */
static bool meets_opposite(double sum, const double *v, int64_t n) {
  for (int64_t i = 0; i < n && !isnan(v[i]); i++) {
    bool both = fabs(v[i]) > 0x1p127 && fabs(sum) > 0x1p127;
    if (both && signbit(v[i]) != signbit(sum) && (isfinite(v[i]) || isfinite(sum))) return true;
    sum += v[i];
  }
  return false;
}

static void fold_sum(Fold f, const double *v, const double *e, int64_t n) {
  double sum = *f.v, error = *f.e, squares = *f.q;
  for (int64_t i = 0; i < n; i++) {
    sum += v[i];
    squares += v[i] * v[i];
    if (e) error += e[i];
  }
  if (!(squares <= 0x1p254) && meets_opposite(*f.v, v, n)) error = INFINITY; /* no term can be so large where the squares are not */
  *f.v = sum;
  *f.e = error;
  *f.q = squares;
}

/* NaN stays: no comparison with it holds. */
static void fold_extreme(Fold f, bool largest, const double *v, const double *e, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (isnan(v[i]) || (largest ? v[i] > *f.v : v[i] < *f.v)) *f.v = v[i];
    if (e && e[i] > *f.e) *f.e = e[i];
  }
}

void eval_reduce_add(const DefNode *node, const EvalValue *a, EvalValue *out, const EvalShape *s) {
  int64_t n = s->extent[node->index], inner = eval_stride(a->dims, s, node->index), total = eval_elems(out->dims, s);
  bool sum = node->op == DEF_SUM, largest = node->op == DEF_AMAX;
  if (n == 0 || total == 0) return;
  for (int64_t o = 0; o < total; o += inner) {
    const double *v = a->v + o * n, *e = a->e ? a->e + o * n : NULL;
    /* Along the innermost dim at once; else row by row of what lies inside. */
    if (inner == 1) {
      Fold f = {out->v + o, out->e + o, out->q + o};
      if (sum) fold_sum(f, v, e, n);
      else fold_extreme(f, largest, v, e, n);
      continue;
    }
    for (int64_t j = 0; j < n; j++, v += inner, e = e ? e + inner : NULL)
      for (int64_t i = 0; i < inner; i++) {
        Fold f = {out->v + o + i, out->e + o + i, out->q + o + i};
        if (sum) fold_sum(f, v + i, e ? e + i : NULL, 1);
        else fold_extreme(f, largest, v + i, e ? e + i : NULL, 1);
      }
  }
}

/* Partial sums of n terms stay near |sum| + 4 sqrt(sum of squares); each of the roundings of a chain errs to either side. It
 * holds for every order: row sums in a few warps and column sums in partials of thousands of rows alike. One term is its own sum. */
void eval_reduce_end(const DefNode *node, EvalValue *out, const EvalShape *s, int64_t terms) {
  int64_t total = eval_elems(out->dims, s);
  double steps = node->op == DEF_SUM && terms > 1 && !eval_is_integer(node->dtype) ? U * (2 * sqrt((double)terms) + 8) : 0;
  for (int64_t i = 0; i < total; i++)
    out->e[i] = carry(out->v[i], out->e[i] + (steps > 0 ? steps * (fabs(out->v[i]) + 4 * sqrt(out->q[i])) : 0), out->e[i], false);
}
