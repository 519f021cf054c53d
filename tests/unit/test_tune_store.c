/* test_tune_store.c - the file of measurements as the command writes it: several processes at once, damage, other versions, going on where
 * a run stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "../../gen/cli/tune_store.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS = 2, LINES = 40 };
#define HASH "0123456789abcdef"

static char folder[64];
static kiln_device_info info = {.name = "a device", .target = "sm_80", .sms = 108};

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/kiln-store-XXXXXX");
  return !mkdtemp(folder) || setenv("XDG_CACHE_HOME", folder, 1);
}

static int teardown(void **state) {
  (void)state;
  char line[128];
  snprintf(line, sizeof line, "rm -rf '%s'", folder);
  return system(line) != 0;
}

static char *subject(int writer, int line) {
  TunedKey key = {.op = "an_op", .target = "sm_80", .settings = "dtype=bf16,w=no"};
  snprintf(key.sizes, sizeof key.sizes, "M=%d,N=%d", writer + 1, line + 1);
  snprintf(key.schedule, sizeof key.schedule, "rows=1,warps=%d", line % 8);
  return tune_store_subject(&key);
}

static bool add(TuneStore *s, int writer, int line, const char *result) {
  char *words = subject(writer, line);
  bool done = tune_store_add(s, words, HASH, result);
  cli_free(words);
  return done;
}

static bool find(TuneStore *s, int writer, int line, const char *hash, TunedLine *out) {
  char *words = subject(writer, line);
  bool found = tune_store_find(s, words, hash, out);
  cli_free(words);
  return found;
}

static int write_all(int writer) {
  TuneStore s;
  char result[32];
  if (!tune_store_open(&s, &info)) return 1;
  for (int i = 0; i < LINES; i++) {
    snprintf(result, sizeof result, "%d.5", 100 * writer + i);
    if (!add(&s, writer, i, result)) return 1;
  }
  tune_store_close(&s);
  return 0;
}

static void test_writers(void **state) {
  (void)state;
  pid_t child[WRITERS];
  for (int w = 0; w < WRITERS; w++) {
    child[w] = fork();
    assert_true(child[w] >= 0);
    if (child[w] == 0) _exit(write_all(w));
  }
  for (int left = WRITERS, last = 0; left;) { /* a reader sees a whole file each time, and never less than before */
    TuneStore s;
    int status;
    assert_true(tune_store_open(&s, &info));
    assert_false(s.foreign);
    assert_int_equal(s.damaged, 0);
    assert_true(s.n >= last);
    last = s.n;
    tune_store_close(&s);
    if (waitpid(-1, &status, WNOHANG) <= 0) continue;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    left--;
  }
  TuneStore s;
  assert_true(tune_store_open(&s, &info));
  assert_int_equal(s.n, WRITERS * LINES);
  for (int w = 0; w < WRITERS; w++)
    for (int i = 0; i < LINES; i++) {
      TunedLine line;
      double figure;
      assert_true(find(&s, w, i, HASH, &line));
      assert_true(tuned_figure(&line, &figure) && figure == 100 * w + i + 0.5);
    }
  tune_store_close(&s);
}

static void test_resume(void **state) {
  (void)state;
  TuneStore s;
  TunedLine line;
  double figure;
  assert_true(tune_store_open(&s, &info));
  assert_int_equal(s.n, 0);
  assert_true(add(&s, 0, 0, "12.5") && add(&s, 0, 1, "hang"));
  tune_store_close(&s);
  assert_true(tune_store_open(&s, &info));
  assert_true(find(&s, 0, 0, HASH, &line) && tuned_figure(&line, &figure) && figure == 12.5);
  assert_true(find(&s, 0, 1, HASH, &line) && !tuned_figure(&line, &figure));
  assert_string_equal(line.result, "hang");
  assert_false(find(&s, 0, 2, HASH, &line));
  assert_false(find(&s, 0, 0, "fedcba9876543210", &line)); /* another text is another kernel */
  assert_true(add(&s, 0, 1, "7"));
  assert_int_equal(s.n, 2); /* in the place of the earlier one */
  assert_true(find(&s, 0, 1, HASH, &line) && tuned_figure(&line, &figure) && figure == 7);
  tune_store_close(&s);
}

static void test_damage(void **state) {
  (void)state;
  TuneStore s;
  TunedLine line;
  assert_true(tune_store_open(&s, &info));
  for (int i = 0; i < 3; i++) assert_true(add(&s, 0, i, "1"));
  FILE *f = fopen(s.path, "r+");
  fseek(f, (long)strlen(s.header) + 5, SEEK_SET); /* in the first line */
  fputc('#', f);
  fseek(f, 0, SEEK_END);
  fputs("no line of ours\n\nanother", f);
  fclose(f);
  tune_store_close(&s);
  assert_true(tune_store_open(&s, &info));
  assert_int_equal(s.n, 2);
  assert_int_equal(s.damaged, 4);
  assert_false(find(&s, 0, 0, HASH, &line));
  assert_true(add(&s, 0, 0, "2"));
  tune_store_close(&s);
  assert_true(tune_store_open(&s, &info));
  assert_int_equal(s.n, 3);
  assert_int_equal(s.damaged, 0); /* the damage is gone */
  tune_store_close(&s);
}

static void test_foreign(void **state) {
  (void)state;
  TuneStore s;
  assert_true(tune_store_open(&s, &info));
  assert_true(add(&s, 0, 0, "1"));
  FILE *f = fopen(s.path, "r+");
  fputs("kiln tuned 9", f);
  fclose(f);
  tune_store_close(&s);
  assert_true(tune_store_open(&s, &info));
  assert_true(s.foreign);
  assert_int_equal(s.n, 0);
  assert_true(add(&s, 0, 1, "1"));
  tune_store_close(&s);
  assert_true(tune_store_open(&s, &info));
  assert_false(s.foreign);
  assert_int_equal(s.n, 1);
  tune_store_close(&s);
  info.sms++; /* another device has a file of its own */
  assert_true(tune_store_open(&s, &info));
  assert_int_equal(s.n, 0);
  assert_false(s.foreign);
  tune_store_close(&s);
  info.sms--;
}

static void test_no_folder(void **state) {
  (void)state;
  TuneStore s;
  setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
  assert_false(tune_store_open(&s, &info));
}

/* A file that is too large to be read is not replaced by one with the newest line. */
static void test_large(void **state) {
  (void)state;
  TuneStore s;
  struct stat about;
  assert_true(tune_store_open(&s, &info));
  assert_true(add(&s, 0, 0, "1.5"));
  assert_int_equal(truncate(s.path, CACHE_MAX_BYTES), 0);
  assert_false(add(&s, 0, 1, "2.5"));
  assert_int_equal(stat(s.path, &about), 0);
  assert_int_equal(about.st_size, CACHE_MAX_BYTES);
  tune_store_close(&s);
  assert_false(tune_store_open(&s, &info));
  tune_store_close(&s);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(test_writers), TEST(test_large), TEST(test_resume), TEST(test_damage), TEST(test_foreign), TEST(test_no_folder)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
