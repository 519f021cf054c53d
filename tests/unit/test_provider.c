/* test_provider.c - the shipped provider, with a shell script in the command's place: settings from arguments, cache, damage, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "fake_driver.h"
#include "kiln.h"
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], command[128], calls[128], cache[128];
static kiln_device *dev;

/* Logs its arguments; emits a contract whose `set` line repeats what it was asked for. */
static const char script[] =
    "#!/bin/sh\n"
    "echo \"$*\" >> '%s'\n"
    "if [ \"$1 $2\" = 'list --variants' ]; then\n"
    "  [ $3 = plain ] && exit 1; [ $3 = chained ] && { echo 'c-1  up.rows=1 down.vec=8'; exit 0; }\n"
    "  echo 'variant  schedule'; echo 'a-r1  rows=1 vec=8'; echo 'a-r2  rows=2 vec=1'; exit 0\n"
    "fi\n"
    "if [ \"$1\" = list ]; then\n"
    "  case $2 in broken) echo 'unknown op' >&2; exit 1;; open) echo \"$2  x_major=n|m x_a=1|2|3 x_b=1|2|3\"; exit 0;;\n"
    "    sample) echo \"$2  dtype=bf16|f32 x_M=no|yes u_N=no|yes\"; exit 0;;\n"
    "    codes) echo \"$2  dtype=bf16|f16|f32\"; exit 0;; scaled) echo \"$2  dtype=bf16|f16|f32 s_dtype=f32\"; exit 0;; esac\n"
    "  echo \"$2  y = x * w, some op\"; echo '  dtype=bf16|f16|f32 w=yes|no w_dtype=same|f32 act=none|silu x_major=n|m'; exit 0\n"
    "fi\n"
    "op=$2; target=$4; out=$6; set=$8; schedule=${10}\n"
    "require=''; case $schedule in *vec=8*) require='//@ require N%%8==0 \"pieces of 8\"';; esac\n"
    "case $op in endless) exec sleep 60;; esac\n"
    "case $op in refused) echo \"refused: $target lacks what $op needs\" >&2; exit 3;; esac\n"
    "major=n; stride='[x0,1]'\n"
    "case $set in *x_major=m*) stride='[1,x0]';; esac\n"
    "{ echo '//@ kiln 1'; echo \"//@ op $op\"; echo \"//@ target $target\"; echo \"//@ set $(echo $set | tr , ' ')\"\n"
    "  echo \"//@ schedule $schedule\"\n"
    "  echo \"//@ tensor x in f32 [M,N] strides $stride align 4\"\n"
    "  case $set in *w=yes*) echo '//@ tensor w in bf16 [N] strides [1] align 2';; esac\n"
    "  echo '//@ tensor y out f32 [M,N] strides [y0,1] align 4'\n"
    "  [ -n \"$require\" ] && echo \"$require\"\n"
    "  echo '//@ step main entry e grid M,1,1 block 32 shared 0 args x y'; echo '//@ end'\n"
    "  echo '.visible .entry e(.param .u64 x, .param .u64 y) { ret; }'; } > \"$out\"\n";

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/kiln-provider-XXXXXX");
  if (!mkdtemp(folder)) return 1;
  snprintf(command, sizeof command, "%s/kiln", folder);
  snprintf(calls, sizeof calls, "%s/calls", folder);
  snprintf(cache, sizeof cache, "%s/cache", folder);
  FILE *f = fopen(command, "w");
  if (!f) return 1;
  fprintf(f, script, calls);
  fclose(f);
  chmod(command, 0755);
  setenv("XDG_CACHE_HOME", cache, 1);
  fake_memory = (struct FakeMemory){0};
  kiln_mem_hook(fake_mem, NULL);
  fake_install(89);
  return kiln_open(&dev, NULL) != KILN_OK || kiln_set_provider(dev, kiln_emit_provider, command) != KILN_OK;
}

static int teardown(void **state) {
  (void)state;
  char line[128];
  kiln_close(dev);
  driver_override(DRIVER_CUDA, NULL);
  kiln_mem_hook(NULL, NULL);
  snprintf(line, sizeof line, "rm -rf '%s'", folder);
  return system(line) != 0 || fake_held() || fake_memory.held;
}

static int count_calls(const char *word) {
  char line[512];
  int n = 0;
  FILE *f = fopen(calls, "r");
  while (f && fgets(line, sizeof line, f)) n += strstr(line, word) != NULL;
  if (f) fclose(f);
  return n;
}

static kiln_status plan(kiln_plan **out, const char *op, bool w, bool columns) {
  static const int64_t shape[] = {4, 8}, row[] = {8}, transposed[] = {1, 4};
  kiln_tensor x = {NULL, KILN_F32, 2, shape, columns ? transposed : NULL}, y = {NULL, KILN_F32, 2, shape, NULL},
              weight = {NULL, KILN_BF16, 1, row, NULL};
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}, {.name = "act", .text = "silu"},
                     {.name = "w", .tensor = &weight}};
  return kiln_plan_create(out, dev, op, args, w ? 4 : 3);
}

static void assert_settings(const char *op, bool w, bool columns, const char *expected) {
  kiln_plan *p;
  kiln_plan_info info;
  kiln_status s = plan(&p, op, w, columns);
  if (s) fail_msg("%s: %s", kiln_status_name(s), kiln_error());
  kiln_plan_query(p, &info);
  assert_string_equal(info.settings, expected);
  kiln_plan_destroy(p);
}

static void test_settings(void **state) {
  (void)state;
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n");
  assert_settings("thing", false, true, "dtype=f32 w=no act=silu x_major=m"); /* both were emitted at once */
  assert_int_equal(count_calls("emit"), 4); /* two schedules of each */
  assert_settings("thing", true, false, "dtype=f32 w=yes w_dtype=bf16 act=silu x_major=n");
  assert_int_equal(count_calls("emit"), 8);
  assert_settings("plain", false, false, "dtype=f32 w=no act=silu x_major=n"); /* without a list of schedules */
  assert_int_equal(count_calls("emit plain"), 2);
  kiln_plan *p; /* whether a tensor has a dim is not for its name to say: both are emitted; u is not there */
  assert_int_equal(plan(&p, "sample", false, false), KILN_UNKNOWN_ARG); /* act */
  assert_int_equal(count_calls("emit sample"), 4);
  assert_int_equal(count_calls("u_N=no,x_M=yes"), 3);
}

/* Of codes first the dtype is one of the other tensors', in whatever order these come; a tensor with a setting of its own has no say. */
static void test_dtype(void **state) {
  (void)state;
  static const int64_t shape[] = {4, 8};
  kiln_tensor q = {NULL, KILN_E4M3, 2, shape, NULL}, y = {NULL, KILN_F16, 2, shape, NULL}, s = {NULL, KILN_F32, 1, shape, NULL};
  kiln_arg args[] = {{.name = "q", .tensor = &q}, {.name = "s", .tensor = &s}, {.name = "y", .tensor = &y}};
  kiln_plan *p;
  assert_int_equal(kiln_plan_create(&p, dev, "codes", args, 3), KILN_UNKNOWN_ARG); /* the script's contract has x */
  assert_int_equal(count_calls("emit codes --target sm_89"), 4);                   /* two schedules of each */
  assert_int_equal(count_calls("--set dtype=f16 --schedule"), 2);
  assert_int_equal(count_calls("--set dtype=f32 --schedule"), 2);
  assert_int_equal(kiln_plan_create(&p, dev, "scaled", args, 3), KILN_UNKNOWN_ARG);
  assert_int_equal(count_calls("emit scaled --target sm_89"), 2);
  assert_int_equal(count_calls("--set dtype=f16,s_dtype=f32 --schedule"), 2);
}

/* Schedules of several stages, whose keys have dots. */
static void test_chain(void **state) {
  (void)state;
  assert_settings("chained", false, false, "dtype=f32 w=no act=silu x_major=n");
  assert_int_equal(count_calls("--schedule up.rows=1,down.vec=8"), 2);
}

static void reopen(void) {
  kiln_close(dev);
  assert_int_equal(kiln_open(&dev, NULL), KILN_OK);
  assert_int_equal(kiln_set_provider(dev, kiln_emit_provider, command), KILN_OK);
}

static void test_cache(void **state) {
  (void)state;
  char path[512], *newest = NULL;
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n");
  int before = count_calls("emit");
  reopen();
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n");
  assert_int_equal(count_calls("emit"), before); /* from the cache */
  snprintf(path, sizeof path, "%s/kiln", cache);
  DIR *d = opendir(path);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') {
      assert_true(strlen(e->d_name) < 3); /* no temporary file stays */
      continue;
    }
    char file[800];
    snprintf(file, sizeof file, "%s/%s", path, e->d_name);
    FILE *f = fopen(file, "r+"); /* a flipped byte in the middle of each entry */
    assert_non_null(f);
    fseek(f, 120, SEEK_SET);
    fputc('#', f);
    fclose(f);
    newest = file;
  }
  closedir(d);
  assert_non_null(newest);
  reopen();
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n");
  assert_int_equal(count_calls("emit"), 2 * before); /* damaged entries are made anew */
  reopen();
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n");
  assert_int_equal(count_calls("emit"), 2 * before);
}

/* A schedule that was measured: that one, under the settings that are named, and nothing is listed. */
static void test_named(void **state) {
  (void)state;
  kiln_request r = {.op = "thing", .target = "sm_89", .settings = "dtype=f32 w=no act=silu x_major=n", .schedule = "rows=4 vec=2"};
  assert_int_equal(kiln_emit_provider(command, dev, &r), KILN_OK);
  assert_int_equal(count_calls(""), 1);
  assert_int_equal(count_calls("emit thing --target sm_89 -o "), 1);
  assert_int_equal(count_calls("--set dtype=f32,w=no,act=silu,x_major=n --schedule rows=4,vec=2"), 1);
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n"); /* it is there, and fits */
  assert_int_equal(count_calls(""), 1);
  char longest[4096];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  r.schedule = longest;
  assert_int_equal(kiln_emit_provider(command, dev, &r), KILN_PROVIDER);
}

static void test_refusals(void **state) {
  (void)state;
  kiln_plan *p;
  assert_int_equal(plan(&p, "open", false, false), KILN_PROVIDER); /* 18 combinations: none is left out unseen */
  assert_non_null(strstr(kiln_error(), "settings that these arguments leave open"));
  assert_int_equal(plan(&p, "broken", false, false), KILN_PROVIDER);
  assert_non_null(strstr(kiln_error(), "does not know the op: unknown op"));
  assert_int_equal(plan(&p, "refused", false, false), KILN_PROVIDER);
  assert_non_null(strstr(kiln_error(), "refused: sm_89 lacks what refused needs"));
  setenv("KILN_EMIT_SECONDS", "1", 1);
  assert_int_equal(plan(&p, "endless", false, false), KILN_PROVIDER);
  unsetenv("KILN_EMIT_SECONDS");
  assert_non_null(strstr(kiln_error(), "had not ended after 1 s"));
  assert_int_equal(plan(&p, "-o", false, false), KILN_BAD_CALL);
  kiln_set_provider(dev, kiln_emit_provider, "/nonexistent/kiln");
  assert_int_equal(plan(&p, "thing", false, false), KILN_PROVIDER);
  assert_non_null(strstr(kiln_error(), "was not found"));
}

/* A program that ignores SIGCHLD never learns how a child ended. */
static void test_children_unseen(void **state) {
  (void)state;
  kiln_plan *p;
  void (*before)(int) = signal(SIGCHLD, SIG_IGN);
  kiln_status made = plan(&p, "unseen", true, false), refused = plan(&(kiln_plan *){0}, "refused", false, false);
  signal(SIGCHLD, before);
  assert_int_equal(refused, KILN_PROVIDER);
  assert_non_null(strstr(kiln_error(), "emit wrote nothing that can be read: refused: sm_89 lacks"));
  if (made) fail_msg("%s", kiln_status_name(made));
  kiln_plan_destroy(p);
}

static void test_without_cache(void **state) {
  (void)state;
  setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
  setenv("TMPDIR", folder, 1);
  assert_settings("thing", false, false, "dtype=f32 w=no act=silu x_major=n");
  unsetenv("TMPDIR");
}

static void test_memory(void **state) {
  (void)state;
  kiln_status s = KILN_NO_MEMORY;
  for (int n = 1; s != KILN_OK && n < 200; n++) {
    reopen();
    kiln_plan *p;
    fake_memory.requests = 0;
    fake_memory.fail_at = n;
    s = plan(&p, "thing", false, false);
    fake_memory.fail_at = 0;
    if (s == KILN_OK) kiln_plan_destroy(p);
    else if (s != KILN_NO_MEMORY) fail_msg("allocation %d: %s", n, kiln_error());
  }
  assert_int_equal(s, KILN_OK);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(test_settings), TEST(test_dtype), TEST(test_chain),
                                     TEST(test_cache), TEST(test_named), TEST(test_refusals), TEST(test_children_unseen), TEST(test_without_cache),
                                     TEST(test_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
