/* The comparison of kernels with the evaluator, and the number formats that it stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "gen/cli/compare.h"
#include "gen/cli/number.h"
#include "gen/cli/random.h"

static bool is_right(kiln_dtype t, double got, double want, double e) {
  double error, bound;
  return compare_element(t, got, want, e, &error, &bound);
}

static void one_rounding_is_right_and_two_units_are_not(void **state) {
  (void)state;
  static const kiln_dtype types[] = {KILN_F32, KILN_F16, KILN_BF16, KILN_E4M3, KILN_E5M2};
  Random r;
  random_start(&r, random_entropy());
  for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
    for (int i = 0; i < 10000; i++) {
      double want = random_normal(&r), got = number_round(types[k], want);
      assert_true(is_right(types[k], got, want, 0));
      double step = 4 * number_unit(types[k]) * fabs(want) + 2 * number_tiny(types[k]);
      assert_false(is_right(types[k], got + step, want, 0));
      assert_false(is_right(types[k], got - step, want, 0));
    }
}

static void error_analysis_widens_the_bound_twice(void **state) {
  (void)state;
  assert_true(is_right(KILN_F32, 1.0 + 1.9e-3, 1.0, 1e-3));
  assert_false(is_right(KILN_F32, 1.0 + 2.1e-3, 1.0, 1e-3));
}

static void specials_agree_in_place_and_sign(void **state) {
  (void)state;
  assert_true(is_right(KILN_F32, NAN, NAN, 0));
  assert_false(is_right(KILN_F32, 1, NAN, 0));
  assert_false(is_right(KILN_F32, NAN, 1, 0));
  assert_true(is_right(KILN_F32, INFINITY, INFINITY, 0));
  assert_false(is_right(KILN_F32, -INFINITY, INFINITY, 0));
  assert_false(is_right(KILN_F32, NAN, INFINITY, 0));
  assert_false(is_right(KILN_F32, INFINITY, 1, 0));
  /* f16: 65520 rounds to infinity, 65504 does not; near the border both are right */
  assert_true(is_right(KILN_F16, INFINITY, 65530, 0));
  assert_true(is_right(KILN_F16, 65504, 65519, 0));
  assert_false(is_right(KILN_F16, INFINITY, 65400, 0));
  assert_false(is_right(KILN_F16, -INFINITY, 65530, 0));
}

static void an_endless_bound_admits_nothing(void **state) {
  (void)state;
  assert_false(is_right(KILN_F32, 1, 1, INFINITY));
  assert_false(is_right(KILN_F32, 1, 1, NAN));
}

static void integers_are_exact(void **state) {
  (void)state;
  assert_true(is_right(KILN_I8, 0, NAN, 0) && is_right(KILN_I8, 127, INFINITY, 0) && is_right(KILN_I8, -128, -INFINITY, 0));
  assert_true(is_right(KILN_U8, 0, NAN, 0) && is_right(KILN_U8, 255, INFINITY, 0) && is_right(KILN_U8, 0, -INFINITY, 0));
  assert_false(is_right(KILN_I8, 1, NAN, 0) || is_right(KILN_U8, 254, INFINITY, 0));
  assert_true(is_right(KILN_I32, 7, 7, 0));
  assert_false(is_right(KILN_I32, 8, 7, 0));
  assert_false(is_right(KILN_BOOL, 0, 1, 0));
}

static void the_twin_is_refused(void **state) {
  (void)state;
  static const kiln_dtype types[] = {KILN_F32, KILN_F16, KILN_BF16, KILN_I32, KILN_U8, KILN_BOOL};
  static const double wants[] = {0, 1, 65504, 1e-30, INFINITY, NAN};
  for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++) {
      if (!number_is_float(types[k]) && i > 1) continue;
      Compare c;
      compare_start(&c, types[k], 1);
      compare_add(&c, 0, 1, 1, 0);
      compare_add(&c, 1, number_round(types[k], wants[i]), wants[i], 0);
      assert_int_equal(c.bad, 0);
      assert_true(compare_twin_fails(&c));
    }
}

/* Where the analysis admits anything, the check must say that it is worth nothing. */
static void the_twin_shows_a_loose_bound(void **state) {
  (void)state;
  Compare c;
  compare_start(&c, KILN_F32, 0);
  compare_add(&c, 0, 1, 1, 0.2);
  assert_int_equal(c.bad, 0);
  assert_false(compare_twin_fails(&c));
}

static void few_elements_may_be_small(void **state) {
  (void)state;
  Compare c; /* three times a small bias, after a difference that cancels: fine among inputs of size 1, not among 16 such results */
  compare_start(&c, KILN_BF16, 1);
  for (int i = 0; i < 3; i++) compare_add(&c, i, -0.01746, -0.01746, 1.3e-3);
  assert_true(compare_twin_fails(&c));
  compare_start(&c, KILN_BF16, 1);
  for (int i = 0; i < 16; i++) compare_add(&c, i, -0.01746, -0.01746, 1.3e-3);
  assert_false(compare_twin_fails(&c));
  compare_start(&c, KILN_BF16, 1); /* and a bound wider than an eighth shows nothing, however few they are */
  for (int i = 0; i < 3; i++) compare_add(&c, i, -0.01746, -0.01746, 0.1);
  assert_false(compare_twin_fails(&c));
}

static void a_result_may_cancel_as_a_whole(void **state) {
  (void)state;
  Compare c; /* centred rows of equal values: what is left is double's rounding */
  compare_start(&c, KILN_BF16, 1);
  for (int i = 0; i < 100; i++) compare_add(&c, i, 2e-8, i % 2 ? 5e-17 : -2e-16, 1e-7);
  assert_true(c.bad == 0 && compare_twin_fails(&c));
  compare_start(&c, KILN_BF16, 1);
  for (int i = 0; i < 100; i++) compare_add(&c, i, 0.1, 5e-17, 0.1);
  assert_false(compare_twin_fails(&c));
  compare_start(&c, KILN_BF16, 1); /* small, but not by rounding */
  for (int i = 0; i < 100; i++) compare_add(&c, i, 1e-9, 1e-9, 1e-7);
  assert_false(compare_twin_fails(&c));
}

/* The candidate known best relative to its size; terms of which it is made. */
static bool stands_by(const Compare *c, double terms) { return compare_twin_fails_by(c, compare_twin(c), terms); }

/* A hundred results of size `want`, each known to e. */
static Compare alike(kiln_dtype dtype, double want, double e) {
  Compare c;
  compare_start(&c, dtype, 1);
  c.rounding = number_unit(KILN_F32);
  for (int i = 0; i < 100; i++) compare_add(&c, i, number_round(dtype, want), want, e);
  return c;
}

/* dx of rows of equal dy: 1e-9 is left of terms of 0.02, which f32 knows to 1e-7. */
static void what_cancelled_is_known_by_its_terms(void **state) {
  (void)state;
  Compare c = alike(KILN_BF16, 1e-9, 2e-7);
  assert_true(c.bad == 0 && !compare_twin_fails(&c) && !compare_vanishes(&c));
  assert_true(stands_by(&c, 0.02));
  assert_false(stands_by(&c, 0.0003)); /* known to no 1024th of these */
  c = alike(KILN_BF16, 1e-9, 300 * 2e-7);
  assert_false(stands_by(&c, 0.02));
  c = alike(KILN_BF16, 1e-17, 300 * 2e-7); /* moved by 1 this passes for a good bound */
  assert_true(compare_vanishes(&c) && compare_twin_fails(&c));
  assert_false(stands_by(&c, 0.02));
  c = alike(KILN_F32, 1e-17, 2e-7);
  assert_true(compare_vanishes(&c) && stands_by(&c, 0.02));
}

/* Nobody's bound is wider for its terms but that of a result less than 1/128 of them, however coarse what is rounded on the way. */
static void terms_do_not_rescue_what_did_not_cancel(void **state) {
  (void)state;
  static const double sizes[] = {0.3, 1, 3, 10, 60, 120};
  static const kiln_dtype roundings[] = {KILN_F32, KILN_BF16, KILN_E4M3, KILN_E5M2};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    for (size_t k = 0; k < sizeof roundings / sizeof roundings[0]; k++) {
      Compare c = alike(KILN_BF16, 0.01, 0.01); /* too wide, even for the quarter of e5m2 */
      c.rounding = number_unit(roundings[k]);
      assert_false(compare_twin_fails(&c));
      assert_false(stands_by(&c, 0.01 * sizes[i]));
      CompareTwin better = {0, 0.01, 1e-6, true}; /* nor by turning to another candidate */
      assert_false(compare_twin_fails_by(&c, &better, 0.01 * sizes[i]));
      c = alike(KILN_BF16, 0.01, 1e-4); /* and a good one stands */
      assert_true(compare_twin_fails(&c) && stands_by(&c, 0.01 * sizes[i]));
    }
  Compare c = alike(KILN_F32, 1e-9, 2e-4); /* nor an element that cancelled, where others did not */
  c.rounding = number_unit(KILN_BF16);
  assert_true(stands_by(&c, 0.1));
  compare_add(&c, 100, 0.01, 0.01, 2e-3);
  assert_false(stands_by(&c, 0.1));
}

static void a_twin_knows_its_place(void **state) {
  (void)state;
  Compare c;
  compare_start(&c, KILN_F32, 3);
  compare_pass(&c);
  assert_null(compare_twin(&c));
  for (int i = 1; i < 8; i++) compare_add(&c, 10 * i, i, i, 1e-3);
  assert_true(compare_twin(&c)->index == 30 && compare_twin(&c)->want == 3);
}

static void undecided_elements_are_left_out(void **state) {
  (void)state;
  Compare c;
  compare_start(&c, KILN_F32, 2);
  for (int i = 0; i < 5; i++) compare_pass(&c);
  assert_true(c.seen == 5 && c.bad == 0 && compare_twin_fails(&c));
  compare_add(&c, 5, 1, 1, 0.2); /* what is compared must still be worth something */
  assert_false(compare_twin_fails(&c));
  compare_add(&c, 6, 1, 2, 0);
  assert_int_equal(c.bad, 1);
}

/* Rows of two nearly equal inputs are known badly, however large their result; the others speak for the kernel. */
static void one_bad_row_says_nothing_of_the_others(void **state) {
  (void)state;
  Compare c;
  compare_start(&c, KILN_BF16, 0);
  c.twin_stride = 1;
  for (int i = 0; i < 8; i++) compare_add(&c, i, i == 3 ? 1.6 : 0, i == 3 ? 1.6 : 1e-6, i == 3 ? 0.25 : 1e-6);
  assert_true(c.bad == 0 && compare_twin_fails(&c));
  compare_start(&c, KILN_BF16, 0);
  c.twin_stride = 1;
  for (int i = 0; i < 8; i++) compare_add(&c, i, 1.6, 1.6, 0.25);
  assert_false(compare_twin_fails(&c));
}

static void the_first_bad_element_is_kept(void **state) {
  (void)state;
  Compare c;
  compare_start(&c, KILN_F32, 0);
  for (int i = 0; i < 10; i++) compare_add(&c, 100 + i, i >= 4 ? 2 : 1, 1, 0);
  assert_int_equal(c.bad, 6);
  assert_int_equal(c.first_index, 104);
  assert_true(c.first_got == 2 && c.worst_error == 1);
}

/* What a kernel rounds to eight bits ends at the largest value, and so does what is expected. */
static void eight_bits_saturate(void **state) {
  (void)state;
  double error, bound;
  static const struct { kiln_dtype dtype; double got, want; } right[] = {
      {KILN_E4M3, 448, 664}, {KILN_E4M3, -448, -INFINITY}, {KILN_E5M2, 57344, INFINITY}, {KILN_E5M2, -57344, -1e6},
      {KILN_U8, 255, 300},   {KILN_U8, 0, -5},             {KILN_I8, -128, -1e9},        {KILN_I8, 127, INFINITY},
  };
  for (size_t k = 0; k < sizeof right / sizeof right[0]; k++) {
    assert_true(compare_element(right[k].dtype, right[k].got, right[k].want, 0, &error, &bound));
    assert_false(compare_element(right[k].dtype, right[k].got / 2 + 8, right[k].want, 0, &error, &bound));
    assert_false(compare_element(right[k].dtype, NAN, right[k].want, 0, &error, &bound));
  }
  assert_false(compare_element(KILN_E5M2, INFINITY, INFINITY, 0, &error, &bound));
  assert_true(compare_element(KILN_E5M2, NAN, NAN, 0, &error, &bound));
}

/* ---- formats ---- */

static void every_small_float_survives(void **state) {
  (void)state;
  static const kiln_dtype types[] = {KILN_F16, KILN_BF16, KILN_E4M3, KILN_E5M2};
  for (size_t k = 0; k < 4; k++)
    for (uint32_t bits = 0; bits < (number_bytes(types[k]) == 2 ? 65536u : 256u); bits++) {
      uint16_t in = (uint16_t)bits, out = 0;
      double x = number_load(types[k], &in);
      if (isnan(x)) continue;
      number_store(types[k], &out, x);
      assert_int_equal(out, in);
    }
}

static void rounds_to_nearest_even_once(void **state) {
  (void)state;
  assert_true(number_round(KILN_BF16, 1 + 0x1p-8) == 1);                /* a tie: to the even one */
  assert_true(number_round(KILN_BF16, 1 + 0x3p-8) == 1 + 0x1p-6);       /* a tie upwards */
  assert_true(number_round(KILN_BF16, 1 + 0x1p-8 + 0x1p-40) == 1 + 0x1p-7); /* through f32 this would be a tie */
  assert_true(number_round(KILN_F16, 65519.99) == 65504);
  assert_true(isinf(number_round(KILN_F16, 65520)));
  assert_true(number_round(KILN_F16, 0x1p-25) == 0);
  assert_true(number_round(KILN_F16, 0x1.8p-25) == 0x1p-24);
  assert_true(isnan(number_round(KILN_E4M3, 1000)));
  assert_true(number_round(KILN_E4M3, 448) == 448);
  assert_true(isinf(number_round(KILN_E5M2, 70000)));
}

static void poison_is_no_number(void **state) {
  (void)state;
  for (int t = KILN_F64; t <= KILN_E5M2; t++) {
    uint64_t bits = number_poison((kiln_dtype)t);
    assert_true(isnan(number_load((kiln_dtype)t, &bits)));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_rounding_is_right_and_two_units_are_not),
      cmocka_unit_test(error_analysis_widens_the_bound_twice),
      cmocka_unit_test(specials_agree_in_place_and_sign),
      cmocka_unit_test(an_endless_bound_admits_nothing),
      cmocka_unit_test(integers_are_exact),
      cmocka_unit_test(eight_bits_saturate),
      cmocka_unit_test(the_twin_is_refused),
      cmocka_unit_test(the_twin_shows_a_loose_bound),
      cmocka_unit_test(few_elements_may_be_small),
      cmocka_unit_test(a_result_may_cancel_as_a_whole),
      cmocka_unit_test(what_cancelled_is_known_by_its_terms),
      cmocka_unit_test(terms_do_not_rescue_what_did_not_cancel),
      cmocka_unit_test(a_twin_knows_its_place),
      cmocka_unit_test(one_bad_row_says_nothing_of_the_others),
      cmocka_unit_test(undecided_elements_are_left_out),
      cmocka_unit_test(the_first_bad_element_is_kept),
      cmocka_unit_test(every_small_float_survives),
      cmocka_unit_test(rounds_to_nearest_even_once),
      cmocka_unit_test(poison_is_no_number),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
