/* The command line's options: what is taken, what is refused, and that refusals say what was expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gen/cli/options.h"

static Options o;
static char message[512];

static bool parse(uint32_t allowed, int most, int argc, const char *const *argv) {
  message[0] = 0;
  return options_parse(&o, "check", allowed, most, argc, (char **)argv, message, sizeof message);
}
#define PARSE(allowed, most, ...)                                                                                      \
  parse(allowed, most, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})
#define ALL 0xFFFFFFFFu

static void takes_everything(void **state) {
  (void)state;
  assert_true(
      PARSE(ALL, 1, "gemm", "--set", "dtype=f16,act=gelu", "--size=M=2x3,N=0", "--seed", "0x10", "--quick", "-o", "x.ptx"));
  assert_int_equal(o.noperands, 1);
  assert_string_equal(o.operand[0], "gemm");
  assert_int_equal(o.nset, 2);
  assert_string_equal(o.set[1].key, "act");
  assert_string_equal(o.set[1].value, "gelu");
  assert_int_equal(o.size[0].value, 6);
  assert_int_equal(o.size[0].nparts, 2);
  assert_int_equal(o.size[1].value, 0);
  assert_int_equal(o.seed, 16);
  assert_true(options_has(&o, OPTION_QUICK));
  assert_false(options_has(&o, OPTION_JSON));
  assert_string_equal(o.out, "x.ptx");
}

static void joins_repeated_lists(void **state) {
  (void)state;
  assert_true(PARSE(ALL, 1, "--set", "dtype=f16", "--set", "w=no"));
  assert_int_equal(o.nset, 2);
  assert_false(PARSE(ALL, 1, "--set", "dtype=f16", "--set", "dtype=f32"));
  assert_non_null(strstr(message, "dtype\" is given twice"));
}

static void divides_devices(void **state) {
  (void)state;
  assert_true(PARSE(ALL, 1, "--device", "sim:sm_80,sms=4,checks=off,cuda:1,sim,cores=1"));
  assert_int_equal(o.ndevices, 3);
  assert_string_equal(o.device[0], "sim:sm_80,sms=4,checks=off");
  assert_string_equal(o.device[1], "cuda:1");
  assert_string_equal(o.device[2], "sim,cores=1");
}

static void everything_after_two_dashes_is_an_operand(void **state) {
  (void)state;
  assert_true(PARSE(ALL, 1, "--", "--set"));
  assert_string_equal(o.operand[0], "--set");
}

#define RANGES (TAKES(SIZES) | TAKES(FORCE) | TAKES(SECONDS))

/* Ranges, lists and repetition; what is said twice counts once. */
static void takes_ranges(void **state) {
  (void)state;
  static const int64_t n[] = {1024, 2048, 4096, 64, 80, 96, 7};
  assert_true(PARSE(RANGES, 1, "--size", "M=2x3|5,N=1024..4100*2", "--size=N=64..96+16|80", "--size", "N=7", "--seconds", "9", "--force"));
  assert_int_equal(o.nranged, 9);
  assert_int_equal(o.nsizes, 0);
  assert_int_equal(o.seconds, 9);
  assert_string_equal(o.ranged[0].name, "M");
  assert_true(o.ranged[0].value == 6 && o.ranged[0].nparts == 2 && o.ranged[0].part[1] == 3 && o.ranged[1].value == 5);
  for (int i = 0; i < 7; i++) {
    assert_string_equal(o.ranged[i + 2].name, "N");
    assert_true(o.ranged[i + 2].value == n[i] && o.ranged[i + 2].nparts == 1 && o.ranged[i + 2].part[0] == n[i]);
  }
  assert_true(PARSE(RANGES, 1, "--size", "N=1..900000000000000000*900000000000000000")); /* the step after the last leaves 64 bits */
  assert_int_equal(o.nranged, 2);
  static const char *const wrong[][2] = {{"N=8..4*2", "LOW..HIGH*FACTOR"}, {"N=4..8", "LOW..HIGH*FACTOR"}, {"N=0..8*2", "LOW..HIGH*FACTOR"},
      {"N=4..8*1", "LOW..HIGH*FACTOR"}, {"N=4..8+0", "LOW..HIGH*FACTOR"}, {"N=4..8*x", "LOW..HIGH*FACTOR"}, {"N=..8*2", "LOW..HIGH*FACTOR"},
      {"N=|8", "expected a number"}, {"N=8|", "expected a number"}, {"N", "expected DIM=NUMBER"}, {"N=1..999+1", "more than 256 values"}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_false(PARSE(RANGES, 1, "--size", wrong[i][0]));
    assert_non_null(strstr(message, wrong[i][1]));
  }
}

typedef struct Wrong { const char *argv[3]; const char *says; } Wrong;

static void refuses_with_what_was_expected(void **state) {
  (void)state;
  static const Wrong wrong[] = {
      {{"--set", "dtype=bf16,"}, "a setting is empty"},
      {{"--set", ",dtype=bf16"}, "a setting is empty"},
      {{"--set", "dtype"}, "expected NAME=VALUE, got \"dtype\""},
      {{"--set", "dtype="}, "has no value"},
      {{"--set", "=bf16"}, "expected a name"},
      {{"--set", ""}, "got nothing"},
      {{"--set", "w=no,w=yes"}, "\"w\" is given twice"},
      {{"--set"}, "expected dtype=bf16,w=no after it"},
      {{"--schedule", "rows"}, "--schedule: expected NAME=VALUE"},
      {{"--size", "M"}, "expected DIM=NUMBER"},
      {{"--size", "M=-1"}, "expected a number from 0 on"},
      {{"--size", "M=1e3"}, "expected a number from 0 on"},
      {{"--size", "M=2x"}, "expected a number from 0 on"},
      {{"--size", "M=2x2x2x2x2"}, "more than 4 factors"},
      {{"--size", "M=1,M=2"}, "given twice"},
      {{"--size", "M=9999999999999999999"}, "expected a number"},
      {{"--size", "M=999999999999x999999999999"}, "too large"},
      {{"--size", ""}, "expected DIM=NUMBER"},
      {{"--target", "sm_90000"}, "unknown target \"sm_90000\"; there are sm_75"},
      {{"--device", "gpu"}, "expected cuda:N, sim:TARGET or sim"},
      {{"--device", "cuda:x"}, "expected cuda:N"},
      {{"--device", "sim:sm_1"}, "unknown target \"sm_1\""},
      {{"--device", "sms=4"}, "stands before any device"},
      {{"--device", "cuda:0,sms=4"}, "a GPU takes no options"},
      {{"--device", "sim,"}, "expected cuda:N"},
      {{"--seed", "x"}, "expected a number"},
      {{"--seed", "-1"}, "expected a number"},
      {{"--as", "rust"}, "expected ptx or c"},
      {{"--quick=yes"}, "takes no value"},
      {{"--unknown"}, "unknown option"},
      {{"--quick", "--quick"}, "given twice"},
      {{"a", "b"}, "unexpected \"b\""},
      {{""}, "empty"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    int argc = wrong[i].argv[1] ? 2 : 1;
    bool taken = parse(ALL, 1, argc, wrong[i].argv);
    if (taken || !strstr(message, wrong[i].says)) print_error("%s %s: \"%s\"\n", wrong[i].argv[0], wrong[i].argv[1], message);
    assert_false(taken);
    assert_non_null(strstr(message, wrong[i].says));
  }
}

static void refuses_another_command_s_option(void **state) {
  (void)state;
  assert_false(PARSE(TAKES(SET), 1, "--json"));
  assert_string_equal(message, "--json is not an option of check");
}

/* Lists beyond every limit end in a message, not in memory. */
static void refuses_what_is_too_long(void **state) {
  (void)state;
  static char text[20000];
  memset(text, 'a', sizeof text - 1);
  text[1] = '=';
  assert_false(PARSE(ALL, 1, "--set", text));
  assert_non_null(strstr(message, "too long"));
  size_t n = 0;
  for (int i = 0; i < OPTIONS_MAX_PAIRS + 1; i++) n += (size_t)snprintf(text + n, sizeof text - n, "%sk%d=1", i ? "," : "", i);
  assert_false(PARSE(ALL, 1, "--set", text));
  assert_non_null(strstr(message, "more than 128"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(takes_everything),
      cmocka_unit_test(joins_repeated_lists),
      cmocka_unit_test(divides_devices),
      cmocka_unit_test(takes_ranges),
      cmocka_unit_test(everything_after_two_dashes_is_an_operand),
      cmocka_unit_test(refuses_with_what_was_expected),
      cmocka_unit_test(refuses_another_command_s_option),
      cmocka_unit_test(refuses_what_is_too_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
