/* Derived gradients in double against finite differences of the op: every shipped op under each of its settings and at scalars that
 * matter, the functions of the language one by one (tests/ops/lua), and random compositions. And what the derived graphs look like, where that decides
 * their speed: row sums, how many of them wait for another, and what is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gradient.h"

static char lua_dir[512], lua_tests[500];

/* ---- one op under some settings against finite differences ---- */

typedef struct Tally { int compared, kinks; } Tally;

static const char *running = ""; /* the script of a composition, shown where it fails */

/* The slope of the loss along one element, at step h. */
static double slope(Gradient *g, double *at, double h) {
  double x = *at;
  *at = x + h;
  double up = gradient_loss(g);
  *at = x - h;
  double down = gradient_loss(g);
  *at = x;
  return (up - down) / (2 * h);
}

/* Elements of an input, the first, the last and some between. Where two steps do not agree, a kink lies between them. */
static void compare_input(Gradient *g, const char *label, const char *input, const char *gradient, Tally *tally) {
  GradientTensor *x = gradient_find(g, input), *dx = gradient_find(g, gradient);
  size_t few = x->elems < 7 ? x->elems : 7;
  for (size_t k = 0; k < few; k++) {
    size_t i = k == 0 ? 0 : k == 1 ? x->elems - 1 : (size_t)random_below(&g->random, x->elems);
    double wide = slope(g, &x->value[i], 2e-4), narrow = slope(g, &x->value[i], 1e-4);
    double best = (4 * narrow - wide) / 3, got = dx->value[i], scale = 1e-3 + fabs(best);
    if (fabs(wide - narrow) > 1e-4 * scale) {
      tally->kinks++;
      continue;
    }
    tally->compared++;
    if (!(fabs(got - best) <= 2e-6 * scale))
      fail_msg("%s: %s[%zu] is %.10g, finite differences give %.10g\n%s", label, gradient, i, got, best, running);
  }
}

/* scalar: of that name, with that value; NULL: all by default. */
static bool check_with(const char *op, const char *settings, const char *scalar, double value, uint64_t seed, Tally *tally) {
  static Gradient g;
  char label[800];
  snprintf(label, sizeof label, "%s %s %s (seed %llu)", op, settings, scalar ? scalar : "", (unsigned long long)seed);
  if (!gradient_open(&g, lua_dir, op, settings, seed)) {
    bool refused = strncmp(g.why, "refused: no gradient", 20) == 0;
    if (!refused) fail_msg("%s: %s", label, g.why);
    gradient_close(&g);
    return false;
  }
  g.scalar = scalar;
  g.scalar_value = value;
  if (!gradient_run(&g)) fail_msg("%s: %s", label, g.why);
  int compared = 0;
  for (int t = 0; t < g.backward->ntensors; t++) {
    const DefTensor *d = &g.backward->tensor[t];
    if (!d->is_out || !d->present) continue;
    assert_int_equal(d->name[0], 'd');
    GradientTensor *x = gradient_find(&g, d->name + 1);
    if (!x) fail_msg("%s: %s is no gradient of an input", label, d->name);
    compare_input(&g, label, d->name + 1, d->name, tally);
    compared++;
  }
  if (!compared) fail_msg("%s: no gradient was compared", label);
  gradient_close(&g);
  return true;
}

static bool check_gradient(const char *op, const char *settings, uint64_t seed, Tally *tally) {
  return check_with(op, settings, NULL, 0, seed, tally);
}

/* The defaults, then each setting away from its default; dtypes are f32 throughout. */
static void check_settings(const char *op, uint64_t seed, Tally *tally) {
  const char *offered = gradient_settings(lua_dir, op);
  if (!offered) fail_msg("%s has no gradient", op);
  char text[2048];
  snprintf(text, sizeof text, "%s", offered);
  check_gradient(op, "", seed, tally);
  for (char *at = text; *at;) {
    size_t n = strcspn(at, " "), key = strcspn(at, "=");
    bool dtype = key >= 5 && strncmp(at + key - 5, "dtype", 5) == 0;
    for (char *v = at + key + 1; !dtype && (v = memchr(v, '|', (size_t)(at + n - v))); v++) {
      char settings[128];
      size_t value = strcspn(v + 1, "| ");
      snprintf(settings, sizeof settings, "%.*s=%.*s", (int)key, at, (int)value, v + 1);
      check_gradient(op, settings, ++seed, tally);
    }
    at += n;
    at += *at == ' ';
  }
}

static void tally_is_sound(const Tally *t, int least) {
  if (t->compared < least || t->kinks * 20 > t->compared) fail_msg("%d compared, %d left out at kinks", t->compared, t->kinks);
}

/* ---- the shipped ops ---- */

static void shipped_ops(void **state) {
  (void)state;
  KilnGen *gen;
  assert_int_equal(kiln_gen_open(&gen, lua_dir), KILN_GEN_OK);
  const kiln_gen_op *ops;
  int n, gradients = 0;
  assert_int_equal(kiln_gen_ops(gen, &ops, &n), KILN_GEN_OK);
  Tally tally = {0};
  for (int i = 0; i < n; i++) {
    const char *dot = strstr(ops[i].name, ".grad");
    if (!dot) continue;
    char op[700];
    int bytes = (int)(dot - ops[i].name);
    snprintf(op, sizeof op, "%s/ops/%.*s.lua:%.*s", lua_dir, bytes, ops[i].name, bytes, ops[i].name); /* the others stay unread */
    check_settings(op, random_entropy() & 0xFFFFFF, &tally);
    gradients++;
  }
  kiln_gen_close(gen);
  assert_true(gradients >= 1);
  tally_is_sound(&tally, 100 * gradients / 5);
}

/* Rows shorter than eps, rows and positions at which a rotation begins and ends, a scale: what scalars move. */
static void scalars(void **state) {
  (void)state;
  static const struct { const char *op, *settings, *scalar; double value; } cases[] = {
      {"l2_normalize", "", "eps", 100}, {"l2_normalize2", "", "eps", 3}, {"rms_norm", "", "eps", 2}, {"layer_norm", "rstd=no", "eps", 2},
      {"rope", "", "q_rows", 1},        {"rope", "pairs=halves", "k_rows", 0}, {"rope", "table=pair", "pos", 3}, {"ln_rope", "", "q_rows", 1},
      {"rope", "", "pos", 7}, /* beyond the table there is no angle: cosine and sine are 0 */
      {"rms_norm_rope", "", "pos", 2},  {"softmax", "mask=yes", "scale", -0.5},
  };
  Tally tally = {0};
  enum { CASES = sizeof cases / sizeof cases[0] };
  for (int i = 0; i < CASES; i++) {
    char op[700];
    snprintf(op, sizeof op, "%s/ops/%s.lua:%s", lua_dir, cases[i].op, cases[i].op);
    assert_true(check_with(op, cases[i].settings, cases[i].scalar, cases[i].value, random_entropy() & 0xFFFFFF, &tally));
  }
  tally_is_sound(&tally, 5 * CASES);
}

/* ---- every function of the language in an op of its own ---- */

static void script_ops(const char *file, int least) {
  char path[560], names[64][64];
  snprintf(path, sizeof path, "%s/%s", lua_tests, file);
  KilnGen *gen;
  assert_int_equal(kiln_gen_open(&gen, lua_dir), KILN_GEN_OK);
  const kiln_gen_op *ops;
  int n, count = 0;
  if (kiln_gen_script_ops(gen, path, &ops, &n) != KILN_GEN_OK) fail_msg("%s", kiln_gen_message(gen));
  for (int i = 0; i < n && count < 64; i++) {
    const char *dot = strstr(ops[i].name, ".grad");
    if (dot) snprintf(names[count++], sizeof names[0], "%.*s", (int)(dot - ops[i].name), ops[i].name);
  }
  kiln_gen_close(gen);
  assert_true(count >= least);
  Tally tally = {0};
  for (int i = 0; i < count; i++) {
    char op[640];
    snprintf(op, sizeof op, "%.560s:%.63s", path, names[i]);
    check_settings(op, random_entropy() & 0xFFFFFF, &tally);
  }
  tally_is_sound(&tally, 5 * count);
}

static void functions(void **state) {
  (void)state;
  script_ops("functions.lua", 30);
}
static void differentiable(void **state) {
  (void)state;
  script_ops("products.lua", 10);
  script_ops("gradients.lua", 20);
  script_ops("rows.lua", 14);
}

/* ---- random compositions ---- */

typedef struct Script { char at[6000]; size_t n; } Script;

static void say(Script *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(Script *t, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int n = vsnprintf(t->at + t->n, sizeof t->at - t->n, format, list);
  va_end(list);
  t->n += (size_t)n < sizeof t->at - t->n ? (size_t)n : 0;
}

/* a, b, c: earlier values, near 1 in size; the result stays there. R: a reduction over the row's columns. */
static const char *const forms[] = {
    "a + b", "a - b", "a * b", "a * b", "a / (b * b + 1)", "a * t.g", "b * t.w", "a * t.w + t.g", "-a", "tanh(a)", "exp(tanh(a))",
    "log(a * a + 1)", "log2(a * a + 2)", "exp2(tanh(b))", "sqrt(a * a + 1)", "rsqrt(a * a + 1)", "rcp(a * a + 1)", "erf(a)", "sin(a)",
    "cos(b)", "abs(a)", "min(a, b)", "max(a, b)", "where(lt(a, b), c, a)", "where(all(lt(0, a), lt(b, 1)), a * c, b)",
    "where(eq(index \"N\" % 3, 1), a, b)", "silu(a)", "gelu(a)", "gelu_tanh(a)", "sigmoid(a)", "relu(a)", "a * stop(b * 0 + 0.5)",
    "a * (1 + t.k)", "(a * b) * (a - c)", "a + 1 - b * 1",
};
static const char *const row_forms[] = { /* of values with columns */
    "b - mean(a)", "a * rsqrt(mean(a * a) + 0.1)", "b * rsqrt(var(a) + 0.1)", "(a - mean(a)) * rsqrt(mean((a - mean(a)) * (a - mean(a))) + 0.1)",
    "softmax(a) * b", "a - logsumexp(a)", "b * tanh(sum(a * b))", "a - amax(b)", "b * amin(a)", "swap_pairs(a) * b",
    "swap_halves(a, 4) + b", "where(lt(index \"N\" % 4, 2), -swap_halves(a, 4), swap_halves(a, 4))", "softmax(where(lt(b, 0), excluded, a))",
    "a * mean(b * t.w)", "swap_pairs(a * mean(b))", "a * var(b)",
};

static void fill_in(Script *t, const char *form, Random *r, int values) {
  char pick[3];
  for (int i = 0; i < 3; i++) pick[i] = (char)random_below(r, (uint64_t)values);
  for (const char *c = form; *c; c++) {
    bool letter = *c >= 'a' && *c <= 'c';
    bool begins = c == form || !strchr("abcdefghijklmnopqrstuvwxyz_.\"0123456789", c[-1]);
    bool alone = letter && begins && !strchr("abcdefghijklmnopqrstuvwxyz_", c[1] ? c[1] : '!');
    if (alone) say(t, "v%d", pick[*c - 'a']);
    else say(t, "%c", *c);
  }
}

static void write_composition(Script *t, Random *r) {
  enum { GIVEN = 3 };
  say(t, "return rowwise.op \"random\" {\n  tensors = { \"x M N\", \"z B M N\", \"g M\", \"w N\", \"y B M N out\", \"s B M out\" },\n"
         "  scalars = { \"k f32 = 0.5\" },\n  forward = function(t)\n    local v0, v1, v2 = t.x, t.z, t.x * t.w\n");
  int values = GIVEN, wanted = GIVEN + 3 + (int)random_below(r, 7);
  for (; values < wanted; values++) {
    bool row = random_below(r, 3) == 0;
    size_t of = row ? sizeof row_forms / sizeof row_forms[0] : sizeof forms / sizeof forms[0];
    say(t, "    local v%d = ", values);
    fill_in(t, (row ? row_forms : forms)[random_below(r, of)], r, values);
    say(t, "\n");
  }
  say(t, "    t.s = mean(v%d * v%d)\n    t.y = v%d", (int)random_below(r, (uint64_t)values), values - 2, values - 1);
  if (random_below(r, 2)) say(t, " + t.s");
  say(t, "\n  end,\n}\n");
}

static void random_compositions(void **state) {
  (void)state;
  uint64_t seed = random_entropy() & 0xFFFFFFFF;
  Random r;
  random_start(&r, seed);
  char path[] = "/tmp/kiln-gradient-XXXXXX.lua", op[64];
  int file = mkstemps(path, 4);
  assert_true(file >= 0);
  close(file);
  snprintf(op, sizeof op, "%s:random", path);
  Tally tally = {0};
  for (int i = 0; i < 40; i++) {
    Script t = {.n = 0};
    write_composition(&t, &r);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fwrite(t.at, 1, t.n, f) == t.n);
    assert_int_equal(fclose(f), 0);
    if (i == 0) print_message("compositions of seed %llu\n", (unsigned long long)seed);
    running = t.at;
    check_gradient(op, "", seed + (uint64_t)i, &tally);
    running = "";
  }
  unlink(path);
  if (tally.compared < 600 || tally.kinks * 4 > tally.compared) fail_msg("%d compared, %d left out at kinks", tally.compared, tally.kinks);
}

/* ---- what the graphs look like ---- */

static void expect_graph(const char *op, const char *settings, int sums, int levels, const char *reads, const char *not) {
  static Gradient g;
  char path[700];
  if (strchr(op, ':')) snprintf(path, sizeof path, "%s/%s", lua_tests, op);
  else snprintf(path, sizeof path, "%s/ops/%s.lua:%s", lua_dir, op, op);
  if (!gradient_open(&g, lua_dir, path, settings, 1)) fail_msg("%s %s: %s", op, settings, g.why);
  int l, s = gradient_row_sums(g.backward, &l);
  bool as_wanted = s == sums && l == levels;
  char names[128];
  for (int k = 0; k < 2; k++) {
    snprintf(names, sizeof names, "%s", k ? not : reads);
    for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) as_wanted &= gradient_reads(g.backward, name) == (k == 0);
  }
  if (!as_wanted) gradient_print(g.backward);
  if (!as_wanted) fail_msg("%s %s: %d row sums on %d levels; wanted %d on %d, reading %s and not %s", op, settings, s, l, sums, levels, reads, not);
  gradient_close(&g);
}

static void graphs(void **state) {
  (void)state;
  expect_graph("layer_norm", "", 2, 1, "dy x w mean rstd", "y");
  expect_graph("layer_norm", "mean=no rstd=no", 4, 2, "dy x w", "y mean rstd");
  expect_graph("layer_norm", "dx=no", 0, 0, "dy x", "w");
  expect_graph("rms_norm", "", 1, 1, "dy x w rstd", "y");
  expect_graph("rms_norm", "rstd=no", 2, 1, "dy x w", "y rstd");
  expect_graph("rms_norm", "rstd=no w=no", 2, 1, "dy x", "y");
  expect_graph("softmax", "", 1, 1, "dy y", "x");
  expect_graph("softmax", "mask=yes", 1, 1, "dy y mask", "x");
  expect_graph("add_rms_norm", "", 1, 1, "dy dh h w rstd", "x r y");
  expect_graph("add_rms_norm", "rstd=no", 2, 1, "dy dh h w", "x r y");
  expect_graph("l2_normalize", "", 2, 1, "dy x", "y");
  expect_graph("rope", "", 0, 0, "dyq dyk cos sin", "q k");
  expect_graph("ln_rope", "k=no", 4, 2, "dyq q cos sin", "k");
  expect_graph("rms_norm_rope", "", 1, 1, "dy x w rstd cos sin", "y");
  expect_graph("layer_norm_adaln", "", 2, 1, "dy x scale mean rstd", "shift y");
  expect_graph("gated", "", 0, 0, "dy gate up", "y");
  expect_graph("rms_norm2", "", 2, 1, "dy1 dy2 x1 x2 rstd1 rstd2", "y1 y2");
  expect_graph("head_layer_norm", "", 8, 2, "dyq dyk q k", "yq yk");
  /* Without the rule of var: the sum of the whole adjoint would wait for another, its parts do not. */
  expect_graph("gradients.lua:g_norm_by_hand", "", 5, 2, "dy x w", "y b");
}

int main(void) {
  const char *root = getenv("KILN_TEST_ROOT");
  snprintf(lua_dir, sizeof lua_dir, "%s/lua", root ? root : ".");
  snprintf(lua_tests, sizeof lua_tests, "%s/tests/ops/lua", root ? root : ".");
  if (getenv("KILN_TEST_LUA")) snprintf(lua_dir, sizeof lua_dir, "%s", getenv("KILN_TEST_LUA"));
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(graphs), cmocka_unit_test(shipped_ops), cmocka_unit_test(scalars), cmocka_unit_test(functions), cmocka_unit_test(differentiable),
      cmocka_unit_test(random_compositions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
