/* test_tuned.c - measurements of `kiln tune` in selection, on the fake driver: which sizes they speak for, what overrides them, files that
 * are damaged or foreign, winners that no file has, and memory that runs out. */
#include "plan_case.h"

#include "tuned.h"
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[CACHE_PATH_BYTES + CACHE_NAME_BYTES];
static kiln_device_info info;

static void reopen(void) {
  kiln_close(dev);
  assert_status(KILN_OK, kiln_open(&dev, "cuda:0"));
  assert_status(KILN_OK, kiln_add(dev, data_path("")));
}

static int setup(void **state) {
  (void)state;
  unsetenv("KILN_TUNED");
  snprintf(folder, sizeof folder, "/tmp/kiln-tuned-XXXXXX");
  if (!mkdtemp(folder)) return 1;
  setenv("XDG_CACHE_HOME", folder, 1);
  if (setup_capability(89)) return 1;
  kiln_device_query(dev, &info);
  return !tuned_path(&info, path, true) || kiln_add(dev, data_path("")) != KILN_OK;
}

static int tear(void **state) {
  char line[128];
  snprintf(line, sizeof line, "rm -rf '%s'", folder);
  return teardown(state) | (system(line) != 0);
}

typedef struct Measured { const char *sizes, *schedule, *result; } Measured;

static void put_line(FILE *f, const Measured *m) {
  char line[TUNED_LINE_BYTES];
  TunedLine l = {"scaled_copy", "sm_75", "dtype=f32,gain=plain", m->sizes, m->schedule, m->result, "0123456789abcdef"};
  assert_true(tuned_write(&l, line, sizeof line) < (int)sizeof line);
  fputs(line, f);
}

static void write_file(const char *header, const Measured *list, int n) {
  char own[TUNED_HEADER_BYTES];
  tuned_header(&info, own);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "%s\n", header ? header : own);
  for (int i = 0; i < n; i++) put_line(f, &list[i]);
  fclose(f);
  reopen();
}

static kiln_status plan(kiln_plan **out, int64_t rows, int64_t columns, const kiln_plan_options *options) {
  int64_t shape[] = {rows, columns};
  kiln_tensor x = f32(NULL, 2, shape, NULL), y = f32(NULL, 2, shape, NULL);
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  return kiln_plan_create_with(out, dev, "scaled_copy", args, 2, options);
}

static const char *choice(int64_t rows, int64_t columns, const kiln_plan_options *options) {
  static char schedule[64];
  kiln_plan *p;
  kiln_plan_info about;
  assert_status(KILN_OK, plan(&p, rows, columns, options));
  kiln_plan_query(p, &about);
  snprintf(schedule, sizeof schedule, "%s", about.schedule);
  kiln_plan_destroy(p);
  return schedule;
}

/* By cost vec=4 is taken wherever N is a multiple of 4. */
static const Measured slower_wins[] = {
    {"M0*M1=32,N=64", "vec=4", "900.0"}, {"M0*M1=32,N=64", "vec=1", "700.5"}, {"M0*M1=1024,N=64", "vec=4", "100"}, {"M0*M1=1024,N=64", "vec=1", "hang"}};

static void test_sizes(void **state) {
  (void)state;
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  write_file(NULL, slower_wins, 4);
  assert_string_equal(choice(32, 64, NULL), "vec=1");
  assert_string_equal(choice(64, 64, NULL), "vec=1"); /* within a factor of 2 */
  assert_string_equal(choice(16, 128, NULL), "vec=1");
  assert_string_equal(choice(65, 64, NULL), "vec=4");
  assert_string_equal(choice(15, 64, NULL), "vec=4");
  assert_string_equal(choice(32, 132, NULL), "vec=4");
  assert_string_equal(choice(1024, 64, NULL), "vec=4"); /* a word is no figure */
  assert_string_equal(choice(0, 64, NULL), "vec=4");
  int64_t split[] = {4, 8, 64}, apart[] = {8 * 64 + 16, 64, 1};
  kiln_tensor x = f32(NULL, 3, split, apart), y = f32(NULL, 3, split, NULL); /* dims that do not merge, but whose product is the same */
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  kiln_plan *p;
  kiln_plan_info about;
  assert_status(KILN_OK, kiln_plan_create(&p, dev, "scaled_copy", args, 2));
  kiln_plan_query(p, &about);
  assert_string_equal(about.schedule, "vec=1");
  kiln_plan_destroy(p);
}

static void test_nearest(void **state) {
  (void)state;
  static const Measured list[] = {{"M0*M1=64,N=64", "vec=1", "5"}, {"M0*M1=100,N=64", "vec=4", "5"}, {"M0*M1=64,N=64", "vec=1", "6"}};
  write_file(NULL, list, 3);
  assert_string_equal(choice(70, 64, NULL), "vec=1");
  assert_string_equal(choice(90, 64, NULL), "vec=4");
  assert_string_equal(choice(84, 64, NULL), "vec=4");
  assert_string_equal(choice(80, 64, NULL), "vec=1");
}

static void test_switches(void **state) {
  (void)state;
  write_file(NULL, slower_wins, 2);
  assert_string_equal(choice(32, 64, &(kiln_plan_options){.untuned = 1}), "vec=4");
  assert_string_equal(choice(32, 64, &(kiln_plan_options){.variant = "scaled_copy-f32-v4"}), "vec=4"); /* a wish is a wish */
  setenv("KILN_TUNED", "0", 1);
  reopen();
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  unsetenv("KILN_TUNED");
  assert_string_equal(choice(32, 64, NULL), "vec=4"); /* the environment is read once */
  reopen();
  assert_string_equal(choice(32, 64, NULL), "vec=1");
}

static void count_verdict(void *user, const kiln_verdict *v) {
  int *counts = user;
  counts[0] += v->wins;
  counts[1] += v->tuned && v->wins && strcmp(v->schedule, "vec=1") == 0;
  counts[2] += v->tuned;
}

static void test_explanation(void **state) {
  (void)state;
  write_file(NULL, slower_wins, 2);
  for (int untuned = 0; untuned < 2; untuned++) {
    int64_t shape[] = {32, 64};
    int counts[3] = {0};
    kiln_tensor x = f32(NULL, 2, shape, NULL), y = f32(NULL, 2, shape, NULL);
    kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
    assert_status(KILN_OK, kiln_explain(dev, "scaled_copy", args, 2, &(kiln_plan_options){.untuned = untuned}, count_verdict, counts));
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], !untuned);
    assert_int_equal(counts[2], !untuned);
  }
}

/* A winner that does not fit leaves the choice to the cost. */
static void test_unfit(void **state) {
  (void)state;
  static const Measured list[] = {{"M0*M1=32,N=64", "vec=4", "1"}};
  write_file(NULL, list, 1);
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  assert_string_equal(choice(32, 63, NULL), "vec=1");
}

static void test_foreign(void **state) {
  (void)state;
  char header[TUNED_HEADER_BYTES + 8];
  kiln_device_info other = info;
  snprintf(header, sizeof header, "kiln tuned %d %s", TUNED_VERSION + 1, "ns sm_89 sms=10 Fake 0");
  write_file(header, slower_wins, 2);
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  other.sms++;
  tuned_header(&other, header);
  write_file(header, slower_wins, 2);
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  write_file("", slower_wins, 2);
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  unlink(path);
  mkdir(path, 0700);
  reopen();
  assert_string_equal(choice(32, 64, NULL), "vec=4");
  rmdir(path);
}

/* Every byte in turn is another one: a plan is made each time, and what a damaged line said is not followed. */
static void test_damage(void **state) {
  (void)state;
  char text[2048];
  write_file(NULL, slower_wins, 2);
  FILE *f = fopen(path, "r");
  size_t n = fread(text, 1, sizeof text, f);
  fclose(f);
  size_t header = strcspn(text, "\n") + 1, first = header + strcspn(text + header, "\n") + 1;
  for (size_t i = 0; i < n; i++) {
    f = fopen(path, "w");
    text[i] ^= 5;
    fwrite(text, 1, n, f);
    fclose(f);
    text[i] ^= 5;
    reopen();
    bool follows = i >= header && i < first - 1; /* the slower one's line, but not its end, with which the next one goes */
    assert_string_equal(choice(32, 64, NULL), follows ? "vec=1" : "vec=4");
  }
  for (size_t cut = 0; cut < n; cut += 7) {
    truncate(path, 0);
    f = fopen(path, "w");
    fwrite(text, 1, cut, f);
    fclose(f);
    reopen();
    assert_string_equal(choice(32, 64, NULL), cut == n - 1 ? "vec=1" : "vec=4");
  }
}

/* ---- winners that no file has ---- */

static int asked, gives;
static char wanted[128];

static kiln_status provide(void *user, kiln_device *d, const kiln_request *r) {
  (void)user;
  (void)d;
  asked++;
  snprintf(wanted, sizeof wanted, "%s|%s|%s|%s", r->op, r->target, r->settings ? r->settings : "", r->schedule ? r->schedule : "");
  if (!gives) return KILN_PROVIDER;
  return add("late.ptx", "//@ op scaled_copy\n//@ target sm_75\n//@ set dtype=f32 gain=plain\n//@ option gain plain default plain\n"
                         "//@ schedule vec=2\n//@ collapse M0 M1\n//@ tensor x in f32 [M0,M1,N] strides [x0,x1,1] align 8 lead 2\n"
                         "//@ tensor y out f32 [M0,M1,N] strides [y0,y1,1] align 8 lead 2 alias x exact\n//@ cost 9999\n"
                         "//@ step main entry e grid M1,M0,1 block 128 shared 0 args x y\n");
}

static void test_missing(void **state) {
  (void)state;
  static const Measured list[] = {{"M0*M1=32,N=64", "vec=2", "1"}, {"M0*M1=32,N=64", "vec=4", "2"}};
  for (gives = 0; gives < 2; gives++) {
    write_file(NULL, list, 2);
    assert_status(KILN_OK, kiln_set_provider(dev, provide, NULL));
    asked = 0;
    for (int i = 0; i < 3; i++) assert_string_equal(choice(32, 64, NULL), gives ? "vec=2" : "vec=4");
    assert_int_equal(asked, 1);
    assert_string_equal(wanted, "scaled_copy|sm_75|dtype=f32 gain=plain|vec=2");
    assert_string_equal(choice(3000, 64, NULL), "vec=4");
  }
  write_file(NULL, list, 2); /* and without a provider */
  assert_string_equal(choice(32, 64, NULL), "vec=4");
}

/* A winner whose module does not load is no reason to refuse: the cheapest serves. */
static void test_broken_winner(void **state) {
  (void)state;
  static const Measured list[] = {{"M0*M1=32,N=64", "vec=2", "1"}};
  write_file(NULL, list, 1);
  assert_status(KILN_OK, add("broken.ptx", "//@ op scaled_copy\n//@ target sm_75\n//@ set dtype=f32 gain=plain\n"
                                           "//@ option gain plain default plain\n//@ schedule vec=2\n//@ collapse M0 M1\n"
                                           "//@ tensor x in f32 [M0,M1,N] strides [x0,x1,1] align 8 lead 2\n"
                                           "//@ tensor y out f32 [M0,M1,N] strides [y0,y1,1] align 8 lead 2\n//@ cost 9999\n"
                                           "//@ step main entry absent grid M1,M0,1 block 128 shared 0 args x y\n"));
  assert_string_equal(choice(32, 64, NULL), "vec=4");
}

/* Each allocation fails in turn: of the file, its table, the winners, for which the cost serves; then of the plan itself. */
static void test_memory(void **state) {
  (void)state;
  int served = 0, refused = 0;
  write_file(NULL, slower_wins, 2);
  for (int n = 1;; n++) {
    kiln_plan *p;
    kiln_plan_info about;
    reopen();
    fake_memory.requests = 0;
    fake_memory.fail_at = n;
    kiln_status s = plan(&p, 32, 64, NULL);
    bool failed = fake_memory.requests >= n;
    fake_memory.fail_at = 0;
    if (s) {
      assert_int_equal(s, KILN_NO_MEMORY);
      refused++;
      continue;
    }
    kiln_plan_query(p, &about);
    assert_string_equal(about.schedule, failed ? "vec=4" : "vec=1");
    kiln_plan_destroy(p);
    if (!failed) break;
    assert_string_equal(choice(32, 64, NULL), "vec=4"); /* the file is not read a second time */
    served++;
  }
  assert_int_equal(served, 3);
  assert_true(refused > 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, tear)
  const struct CMUnitTest tests[] = {TEST(test_sizes),  TEST(test_nearest), TEST(test_switches), TEST(test_explanation),
                                     TEST(test_unfit),  TEST(test_foreign), TEST(test_damage),   TEST(test_missing),
                                     TEST(test_broken_winner), TEST(test_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
