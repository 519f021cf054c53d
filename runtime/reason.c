/* reason.c - see reason.h. The line's text is cut into parts, and each part evaluated as an expression of its own. */
#include "reason.h"
#include "error.h"
#include "reader.h"
#include "select.h"
#include <string.h>

typedef struct Reason {
  Reader reader; /* of a copy of the contract with a pool of its own */
  const Binding *binding;
  ReasonFn fn;
  void *user;
} Reason;

static void tell(Reason *r, ReasonKind kind, const char *text, size_t bytes) {
  Expr e;
  double value;
  if (reader_expr(&r->reader, (Word){text, bytes}, true, &e) || expr_real(&e, r->binding->value, &value)) return;
  r->fn(r->user, kind, text, bytes, value);
}

/* Is the sign at `at` between two summands? Not at the front, behind an operator, or in 1e-9. */
static bool divides(const char *text, const char *at) {
  if (at == text || !(expr_is_name(at[-1]) || at[-1] == ')')) return false;
  const char *word = at;
  while (word > text && (expr_is_name(word[-1]) || word[-1] == '.')) word--;
  return !(expr_is_digit(*word) && at[-1] == 'e');
}

/* A sum at the top level is cut at its signs; anything looser than a sum is one term. */
static void tell_terms(Reason *r, const char *text) {
  int depth = 0;
  bool sum = true;
  for (const char *c = text; *c; c++) {
    depth += (*c == '(') - (*c == ')');
    if (depth == 0 && strchr("?<>=&|!", *c)) sum = false;
  }
  const char *from = text;
  for (const char *c = text; *c; c++) {
    depth += (*c == '(') - (*c == ')');
    if (!sum || depth || (*c != '+' && *c != '-') || !divides(text, c)) continue;
    tell(r, REASON_TERM, from, (size_t)(c - from));
    from = *c == '+' ? c + 1 : c; /* a minus stays with its term */
  }
  tell(r, REASON_TERM, from, strlen(from));
}

static bool stands_before(const char *text, const char *at, size_t n) {
  for (const char *c = text; c < at; c++)
    if (strncmp(c, at, n) == 0 && (c == text || !expr_is_name(c[-1])) && !expr_is_name(c[n])) return true;
  return false;
}

/* Calls and names, each once, in order of appearance. */
static void tell_parts(Reason *r, const char *text, ReasonKind kind) {
  for (const char *c = text; *c;) {
    size_t n = 0;
    while (expr_is_name(c[n])) n++;
    if (n == 0) {
      c++;
      continue;
    }
    bool name = !expr_is_digit(*c), call = c[n] == '(';
    size_t all = n;
    for (int depth = 0; call && c[all]; all++) {
      depth += (c[all] == '(') - (c[all] == ')');
      if (depth == 0) break;
    }
    if (call && c[all]) all++;
    if (name && call == (kind == REASON_CALL) && !stands_before(text, c, all)) tell(r, kind, c, all);
    c += n;
    while (expr_is_digit(c[-1]) && *c == '.') c += 1 + strspn(c + 1, "0123456789e"); /* the rest of a number is no name */
  }
}

static void tell_all(Reason *r, const Contract *c) {
  if (c->cost.n) {
    tell_terms(r, c->cost.text);
    tell_parts(r, c->cost.text, REASON_CALL);
    tell_parts(r, c->cost.text, REASON_NAME);
  }
  if (c->bytes.n) tell(r, REASON_BYTES, c->bytes.text, strlen(c->bytes.text));
  if (c->flop.n) tell(r, REASON_FLOP, c->flop.text, strlen(c->flop.text));
}

kiln_status reason_cost(kiln_device *dev, const char *op, const kiln_arg *args, int nargs, const char *variant, ReasonFn fn, void *user) {
  ArgView views[BIND_MAX_ARGS];
  Binding binding;
  Selection chosen;
  kiln_plan_options options = {.variant = variant, .untuned = 1};
  if (nargs < 0 || nargs > BIND_MAX_ARGS) return error_set(KILN_BAD_CALL, "nargs is %d; expected 0 to %d", nargs, BIND_MAX_ARGS);
  kiln_status s = bind_view(args, nargs, views);
  if (s) return s;
  pthread_mutex_lock(&dev->lock);
  s = select_variant(dev, op, views, nargs, &options, &chosen, &binding);
  if (!s) {
    Contract copy = chosen.variant->contract;
    copy.pool = (Pool){0};
    Reason r = {.reader = {.c = &copy, .name = chosen.variant->file}, .binding = &binding, .fn = fn, .user = user};
    tell_all(&r, &copy);
    pool_free(&copy.pool);
  }
  pthread_mutex_unlock(&dev->lock);
  return s;
}
