/* The cases that `kiln check` derives from a definition: which dims are rows, columns, tables; what sizes, layouts and values they get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "gen/cli/forward.h"
#include "gen/cli/number.h"

#define IN(n, t, r, ...) {.name = n, .dtype = t, .present = true, .rank = r, .dim = {__VA_ARGS__}, .value = -1, .over = -1}
#define OUT(n, v, o, r, ...) \
  {.name = n, .dtype = KILN_BF16, .is_out = true, .present = true, .rank = r, .dim = {__VA_ARGS__}, .value = v, .over = o}

/* dw = sum over B and M of dy * x; dims B M N. */
static DefNode sum_nodes[] = {{.op = DEF_ARG, .index = 0},
                              {.op = DEF_ARG, .index = 1},
                              {.op = DEF_MUL, .arg = {0, 1}},
                              {.op = DEF_SUM, .index = 1, .arg = {2}},
                              {.op = DEF_SUM, .index = 0, .arg = {3}}};
static const KilnDef sums = {
    .op = "sums",
    .dims = {"B", "M", "N"},
    .ndims = 3,
    .lead_dims = 2,
    .ntensors = 3,
    .tensor = {IN("dy", KILN_BF16, 3, 0, 1, 2), IN("x", KILN_BF16, 3, 0, 1, 2), OUT("dw", 4, -1, 1, 2)},
    .node = sum_nodes,
    .nnodes = 5};

/* yq = q * cos[T + pos, N / 2], yk = k * cos[S + pos, N / 2]: pairs of channels share an entry. dims B H T N G S P R. */
enum { B, H, T, N, G, S, P, R };
static DefNode rotate_nodes[] = {
    {.op = DEF_ARG, .index = 0},
    {.op = DEF_ARG, .index = 1},
    {.op = DEF_ARG, .index = 2},
    {.op = DEF_SCALAR, .index = 0, .dtype = KILN_I32},
    {.op = DEF_INDEX, .index = T, .dims = 1 << T, .dtype = KILN_I32},
    {.op = DEF_ADD, .arg = {4, 3}, .dims = 1 << T, .dtype = KILN_I32},
    {.op = DEF_INDEX, .index = S, .dims = 1 << S, .dtype = KILN_I32},
    {.op = DEF_ADD, .arg = {6, 3}, .dims = 1 << S, .dtype = KILN_I32},
    {.op = DEF_INDEX, .index = N, .dims = 1 << N, .dtype = KILN_I32},
    {.op = DEF_CONST, .value = 2, .dtype = KILN_I32},
    {.op = DEF_IDIV, .arg = {8, 9}, .dims = 1 << N, .dtype = KILN_I32},
    {.op = DEF_LOOKUP, .arg = {2, 5, 10}},
    {.op = DEF_LOOKUP, .arg = {2, 7, 10}},
    {.op = DEF_MUL, .arg = {0, 11}},
    {.op = DEF_MUL, .arg = {1, 12}},
};
static const KilnDef rotate = {
    .op = "rotate",
    .dims = {"B", "H", "T", "N", "G", "S", "P", "R"},
    .ndims = 8,
    .ntensors = 5,
    .nscalars = 1,
    .tensor = {IN("q", KILN_BF16, 4, B, H, T, N), IN("k", KILN_BF16, 4, B, G, S, N), IN("cos", KILN_F32, 2, P, R),
               OUT("yq", 13, 0, 4, B, H, T, N), OUT("yk", 14, 1, 4, B, G, S, N)},
    .scalar = {{.name = "pos", .dtype = KILN_I32, .has_default = true, .at_call = true}},
    .node = rotate_nodes,
    .nnodes = 15};

/* Two tensors of different rows and columns in one launch; dims B M1 N1 M2 N2. */
static DefNode two_nodes[] = {{.op = DEF_ARG, .index = 0}, {.op = DEF_ARG, .index = 1}, {.op = DEF_NEG, .arg = {0}}, {.op = DEF_NEG, .arg = {1}}};
static const KilnDef two = {
    .op = "two",
    .dims = {"B", "M1", "N1", "M2", "N2"},
    .ndims = 5,
    .lead_dims = 2 | 8,
    .ntensors = 4,
    .tensor = {IN("x1", KILN_BF16, 3, 0, 1, 2), IN("x2", KILN_BF16, 3, 0, 3, 4), OUT("y1", 2, -1, 3, 0, 1, 2), OUT("y2", 3, -1, 3, 0, 3, 4)},
    .node = two_nodes,
    .nnodes = 4};

static void roles_follow_from_the_use(void **state) {
  (void)state;
  Roles r = cases_roles(&sums);
  assert_int_equal(r.row, 3);
  assert_int_equal(r.column, 4);
  assert_int_equal(r.reduced, 3);
  r = cases_roles(&rotate);
  assert_int_equal(r.column, 1 << N);
  assert_int_equal(r.row, 1 << B | 1 << H | 1 << T | 1 << G | 1 << S);
  assert_int_equal(r.table, 1 << P | 1 << R);
  r = cases_roles(&two);
  assert_int_equal(r.column, 4 | 16);
  assert_int_equal(r.row, 1 | 2 | 8);
}

static void sums_meet_many_rows_and_empty_ones(void **state) {
  (void)state;
  CaseList list = {0};
  bool many = false, none = false, batches = false, split = false, columns = false, broadcast = false, special = false, longest = false;
  cases_generic(&list, &sums, CASES_FULL);
  for (int i = 0; i < list.n; i++) {
    const Case *c = &list.at[i];
    int64_t rows = c->size[0] * c->size[1];
    many |= rows > 100000;
    none |= rows == 0;
    batches |= c->size[0] > 1 && c->size[1] > 1;
    split |= c->nlead[1] > 1 && c->size[1] == c->lead[1][0] * c->lead[1][1] * (c->nlead[1] > 2 ? c->lead[1][2] : 1);
    columns |= c->layout == LAYOUT_COLUMNS;
    broadcast |= c->layout == LAYOUT_BROADCAST;
    special |= c->special;
    longest |= c->size[2] == 262144;
    assert_true(c->size[2] > 0 && !c->in_place);
  }
  assert_true(many && none && batches && split && columns && broadcast && special && longest);
  cases_free(&list);
}

static void tables_suffice(void **state) {
  (void)state;
  CaseList list = {0};
  bool exact = false, larger = false, all = false, few = false, in_place = false, differ = false;
  cases_generic(&list, &rotate, CASES_FULL);
  for (int i = 0; i < list.n; i++) {
    const Case *c = &list.at[i];
    int64_t rows = (c->size[T] > c->size[S] ? c->size[T] : c->size[S]) + (int64_t)case_scalar(&rotate.scalar[0], c->scalars) + 1; /* for the second launch */
    assert_true(c->size[P] >= rows);
    exact |= c->size[P] == rows;
    larger |= c->size[P] > rows;
    all |= c->size[R] == c->size[N] / 2;
    few |= c->size[R] < c->size[N] / 2;
    differ |= c->size[T] != c->size[S] && c->size[H] != c->size[G];
    in_place |= c->in_place;
    assert_true(c->size[N] >= 2 && c->size[R] >= 1);
  }
  assert_true(exact && larger && all && few && in_place && differ);
  cases_free(&list);
}

static void segments_differ(void **state) {
  (void)state;
  CaseList list = {0};
  int rows = 0, columns = 0;
  cases_generic(&list, &two, CASES_QUICK);
  for (int i = 0; i < list.n; i++) {
    rows += list.at[i].size[1] != list.at[i].size[3];
    columns += list.at[i].size[2] != list.at[i].size[4];
    assert_true(list.at[i].size[4] > 0);
  }
  assert_true(list.n >= 6 && rows > list.n / 2 && columns > list.n / 2);
  cases_free(&list);
}

static void sizes_are_completed(void **state) {
  (void)state;
  struct { const KilnDef *def; const char *text; const char *name; } cases[] = {
      {&sums, "M=3,N=5", "B=1,M=3,N=5"},
      {&sums, "M=2x3,N=5 strided special", "B=1,M=2x3,N=5 strided special"},
      {&rotate, "H=2,T=6,N=8", "B=1,H=2,T=6,N=8,G=2,S=6,P=7,R=4"},
      {&rotate, "H=2,T=6,N=8,S=4,P=9,R=2 in_place", "B=1,H=2,T=6,N=8,G=2,S=4,P=9,R=2 in_place"},
      {&two, "M1=3,N1=5", "B=1,M1=3,N1=5,M2=3,N2=5"},
      {&sums, "M=3", NULL},
      {&rotate, "T=3", NULL},
      {&sums, "M=3,N=4,K=5", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    CaseList list = {0};
    char message[256] = "";
    bool done = cases_line(&list, cases[i].def, cases[i].text, strlen(cases[i].text), message, sizeof message);
    assert_int_equal(done, cases[i].name != NULL);
    if (done) assert_string_equal(list.at[0].name, cases[i].name);
    else assert_true(*message && list.n == 0);
    cases_free(&list);
  }
}

/* Elements that a view reaches: all inside the buffer, and no two of an output's in one place. */
static void check_view(const CaseTensor *t, const Case *c) {
  int64_t total = 1, at[DEF_MAX_DIMS] = {0};
  for (int i = 0; i < t->def->rank; i++) total *= c->size[t->def->dim[i]];
  uint8_t *seen = cli_alloc((size_t)t->elems + 1);
  for (int64_t k = 0; k < total; k++) {
    int64_t place = t->first;
    for (int i = 0; i < t->def->rank; i++) place += t->offset[t->def->dim[i]][at[i]];
    assert_true(place >= 0 && place < t->elems);
    if (t->def->is_out) assert_int_equal(seen[place]++, 0);
    for (int i = t->def->rank - 1; i >= 0 && ++at[i] == c->size[t->def->dim[i]]; i--) at[i] = 0;
  }
  cli_free(seen);
}

static void views_fit_their_buffers(void **state) {
  (void)state;
  const KilnDef *defs[] = {&sums, &rotate, &two};
  Majors majors = {0};
  Device nowhere = {0};
  int zero_columns = 0, zero_rows = 0, wide_columns = 0, shared = 0;
  for (int k = 0; k < 3; k++) {
    CaseList list = {0};
    cases_generic(&list, defs[k], CASES_FULL);
    for (int i = 0; i < list.n; i++) {
      const Case *c = &list.at[i];
      CaseData d;
      if (case_elems(defs[k], c) > 100000) continue;
      tensors_make(&d, defs[k], c, &majors, i % 2);
      for (int j = 0; j < d.ntensors; j++) {
        const CaseTensor *t = &d.tensor[j];
        check_view(t, c);
        int64_t step = t->stride[t->rank - 1];
        zero_columns += step == 0;
        wide_columns += step > 1;
        zero_rows += t->rank > 1 && t->stride[0] == 0 && t->shape[0] > 1;
        if (!t->over) continue;
        shared++;
        assert_true(t->over->elems == t->elems && t->over->first == t->first && t->over->overwritten);
        assert_memory_equal(t->stride, t->over->stride, (size_t)t->rank * sizeof *t->stride);
      }
      tensors_free(&d, &nowhere);
    }
    cases_free(&list);
  }
  assert_true(zero_columns && zero_rows && wide_columns && shared);
}

/* Large tensors repeat a million numbers; every element of the view is one of them, nothing else is touched, and rows differ. */
static void large_tensors_are_filled_whole(void **state) {
  (void)state;
  static const char *const lines[] = {"B=3,M=700,N=2100", "B=3,M=700,N=2100 strided", "B=3,M=700,N=2100 columns"};
  Majors majors = {0};
  Device nowhere = {0};
  Random r;
  random_start(&r, random_entropy());
  for (int k = 0; k < 3; k++) {
    CaseList list = {0};
    CaseData d;
    char message[256];
    assert_true(cases_line(&list, &sums, lines[k], strlen(lines[k]), message, sizeof message));
    tensors_make(&d, &sums, &list.at[0], &majors, false);
    tensors_fill(&d, &r);
    for (int j = 0; j < 2; j++) {
      const CaseTensor *t = &d.tensor[j];
      int64_t poisoned = 0, outside = t->elems;
      double sum = 0, squares = 0, same = 0;
      if (t->stride[t->rank - 1] == 0) continue;
      for (int64_t b = 0; b < 3; b++)
        for (int64_t m = 0; m < 700; m++)
          for (int64_t n = 0; n < 2100; n++, outside--) {
            const char *at = t->host + (size_t)(t->first + t->offset[0][b] + t->offset[1][m] + t->offset[2][n]) * 2;
            double v = number_load(KILN_BF16, at);
            poisoned += number_bits(KILN_BF16, at) == number_poison(KILN_BF16);
            sum += v;
            squares += v * v;
            if (m > 0) same += v == number_load(KILN_BF16, at - (t->offset[1][m] - t->offset[1][m - 1]) * 2);
          }
      assert_int_equal(poisoned, 0);
      assert_true(fabs(sum) < 2e4 && fabs(squares / 4.41e6 - 1) < 0.02 && same < 4.41e6 / 20);
      for (int64_t i = 0; i < t->elems; i++) outside -= number_bits(KILN_BF16, t->host + i * 2) == number_poison(KILN_BF16);
      assert_int_equal(outside, 0);
    }
    tensors_free(&d, &nowhere);
    cases_free(&list);
  }
}

/* y = x / s / 1/t / u, u a value per row: s and t are numbers that everything is divided by. */
static DefNode quotient_nodes[] = {{.op = DEF_ARG, .index = 0},        {.op = DEF_ARG, .index = 1},        {.op = DEF_ARG, .index = 2},
                                   {.op = DEF_ARG, .index = 3},        {.op = DEF_DIV, .arg = {0, 1}},     {.op = DEF_RCP, .arg = {2}},
                                   {.op = DEF_MUL, .arg = {4, 5}},     {.op = DEF_DIV, .arg = {6, 3}}};
static const KilnDef quotient = {
    .op = "quotient",
    .dims = {"M", "N"},
    .ndims = 2,
    .ntensors = 6,
    .tensor = {IN("x", KILN_BF16, 2, 0, 1), {.name = "s", .dtype = KILN_F32, .present = true, .value = -1, .over = -1},
               {.name = "t", .dtype = KILN_F32, .present = true, .value = -1, .over = -1}, IN("u", KILN_F32, 1, 0), OUT("y", 7, -1, 2, 0, 1),
               {.name = "unread", .dtype = KILN_F32, .present = true, .value = -1, .over = -1}},
    .node = quotient_nodes,
    .nnodes = 8};

static void divisors_keep_away_from_0(void **state) {
  (void)state;
  static const char *const lines[] = {"M=5,N=8", "M=5,N=8 special"};
  Majors majors = {0};
  Device nowhere = {0};
  Random r;
  random_start(&r, random_entropy());
  assert_int_equal(cases_divisors(&quotient), 1 << 1 | 1 << 2);
  assert_int_equal(cases_divisors(&sums), 0);
  for (int k = 0; k < 200; k++) {
    CaseList list = {0};
    CaseData d;
    char message[256];
    double most = k % 2 ? 0.25 : 8;
    assert_true(cases_line(&list, &quotient, lines[k % 2], strlen(lines[k % 2]), message, sizeof message));
    tensors_make(&d, &quotient, &list.at[0], &majors, false);
    tensors_fill(&d, &r);
    for (int j = 1; j < 3; j++) {
      double x = fabs(number_load(KILN_F32, d.tensor[j].host + (size_t)d.tensor[j].first * 4));
      assert_true(x >= most / 2 && x <= most);
    }
    tensors_free(&d, &nowhere);
    cases_free(&list);
  }
}

static void call_scalars_move(void **state) {
  (void)state;
  CaseList list = {0};
  char message[256];
  assert_true(cases_line(&list, &rotate, "H=2,T=6,N=8", 11, message, sizeof message));
  CaseData d;
  Majors majors = {0};
  Device nowhere = {0};
  kiln_arg args[32];
  tensors_make(&d, &rotate, &list.at[0], &majors, false);
  assert_int_equal(tensors_args(&d, NULL, 0, args, 32), 5); /* pos is no argument of the plan */
  assert_true(d.scalar[0] == 0);
  assert_false(tensors_move_scalars(&d, -1)); /* no position below 0 */
  assert_true(tensors_move_scalars(&d, 1) && d.scalar[0] == 1);
  assert_true(tensors_move_scalars(&d, -1) && d.scalar[0] == 0);
  tensors_free(&d, &nowhere);
  cases_free(&list);
}

/* ---- results of the forward run ---- */

/* s = sum over N of x^2, as f32; and its gradient's definition, with dims in another order, which reads x and s. */
static DefNode squares_nodes[] = {{.op = DEF_ARG, .index = 0}, {.op = DEF_MUL, .arg = {0, 0}}, {.op = DEF_SUM, .index = 1, .arg = {1}}};
static const KilnDef squares = {
    .op = "squares",
    .dims = {"M", "N"},
    .ndims = 2,
    .lead_dims = 1,
    .ntensors = 2,
    .tensor = {IN("x", KILN_BF16, 2, 0, 1), {.name = "s", .dtype = KILN_F32, .is_out = true, .present = true, .rank = 1, .value = 2, .over = -1}},
    .node = squares_nodes,
    .nnodes = 3};
static DefNode slope_nodes[] = {{.op = DEF_ARG, .index = 0}, {.op = DEF_ARG, .index = 1}, {.op = DEF_MUL, .arg = {0, 1}}};
static const KilnDef slope = {
    .op = "squares.grad",
    .dims = {"N", "M"},
    .ndims = 2,
    .lead_dims = 2,
    .ntensors = 3,
    .tensor = {IN("s", KILN_F32, 1, 1), IN("x", KILN_BF16, 2, 1, 0), OUT("dx", 2, -1, 2, 1, 0)},
    .node = slope_nodes,
    .nnodes = 3};

static void gradients_read_what_the_forward_run_wrote(void **state) {
  (void)state;
  static const char *const lines[] = {"M=5,N=300", "M=2x3,N=40 strided", "M=7,N=9 unaligned", "M=4,N=20 columns"};
  Majors majors = {0};
  Device nowhere = {0};
  Random r;
  random_start(&r, random_entropy());
  for (int k = 0; k < 4; k++) {
    CaseList list = {0};
    CaseData d;
    char message[256];
    assert_true(cases_line(&list, &slope, lines[k], strlen(lines[k]), message, sizeof message));
    tensors_make(&d, &slope, &list.at[0], &majors, false);
    tensors_fill(&d, &r);
    assert_true(forward_fill(&squares, &d, &r, message, sizeof message));
    const CaseTensor *s = &d.tensor[0], *x = &d.tensor[1];
    for (int64_t m = 0; m < list.at[0].size[1]; m++) {
      double sum = 0, got = number_load(KILN_F32, s->host + (size_t)(s->first + s->offset[1][m]) * 4);
      for (int64_t n = 0; n < list.at[0].size[0]; n++) {
        double v = number_load(KILN_BF16, x->host + (size_t)(x->first + x->offset[1][m] + x->offset[0][n]) * 2);
        sum += v * v;
      }
      assert_true(got == (double)(float)sum);
    }
    tensors_free(&d, &nowhere);
    cases_free(&list);
  }
  assert_true(forward_is_gradient("squares.grad") && forward_is_gradient("/a/b.lua:squares.grad"));
  assert_false(forward_is_gradient("squares") || forward_is_gradient(".grad") || forward_is_gradient("a.grad.lua"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(roles_follow_from_the_use),
      cmocka_unit_test(sums_meet_many_rows_and_empty_ones),
      cmocka_unit_test(tables_suffice),
      cmocka_unit_test(segments_differ),
      cmocka_unit_test(sizes_are_completed),
      cmocka_unit_test(views_fit_their_buffers),
      cmocka_unit_test(call_scalars_move),
      cmocka_unit_test(divisors_keep_away_from_0),
      cmocka_unit_test(large_tensors_are_filled_whole),
      cmocka_unit_test(gradients_read_what_the_forward_run_wrote),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
