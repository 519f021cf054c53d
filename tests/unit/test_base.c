/* test_base.c - arena, vectors, text and diagnostics. */
#include "../runtime/alloc.h"
#include "base.h"
#include <cmocka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static int64_t live_bytes;
static int fail_at = -1, requests; /* fail_at: index of the request that fails, -1: none */

static void *counting(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user;
  if (new_bytes > old_bytes && requests++ == fail_at) return NULL;
  kiln_mem_hook(NULL, NULL);
  void *out = kiln_mem(ptr, old_bytes, new_bytes);
  kiln_mem_hook(counting, NULL);
  live_bytes += (int64_t)new_bytes - (int64_t)old_bytes;
  return out;
}

static void arena_gives_zeroed_aligned_memory(void **state) {
  (void)state;
  Arena a;
  arena_init(&a, 0);
  for (size_t n = 0; n < 300000; n = n * 3 + 1) {
    unsigned char *p = arena_try(&a, KEEP, n);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, n);
  }
  assert_null(arena_try(&a, KEEP, SIZE_MAX));
  assert_null(arena_try(&a, PASS, SIZE_MAX / 2 + 1));
  arena_free(&a);
}

static void arena_lifetimes_and_accounting(void **state) {
  (void)state;
  kiln_mem_hook(counting, NULL);
  live_bytes = 0;
  Arena a;
  arena_init(&a, 0);
  char *kept = arena_printf(&a, KEEP, "%d-%s", 42, "kept");
  size_t before = a.total_bytes;
  for (int i = 0; i < 100; i++) arena_alloc(&a, PASS, 5000);
  assert_true(a.total_bytes > before);
  arena_reset_pass(&a);
  assert_int_equal(a.total_bytes, before);
  assert_string_equal(kept, "42-kept");
  assert_int_equal(live_bytes, (int64_t)a.total_bytes);
  arena_free(&a);
  assert_int_equal(live_bytes, 0);
  assert_int_equal(a.total_bytes, 0);
  kiln_mem_hook(NULL, NULL);
}

static void arena_limit_lands(void **state) {
  (void)state;
  Arena a;
  jmp_buf landing;
  arena_init(&a, 1 << 20);
  a.on_exhausted = &landing;
  volatile int rounds = 0;
  if (!setjmp(landing)) {
    for (;; rounds++) arena_alloc(&a, KEEP, 1000);
  }
  assert_in_range(rounds, 900, 1049);
  assert_true(a.total_bytes <= 1 << 20);
  assert_null(arena_try(&a, KEEP, 1 << 20));
  arena_free(&a);
}

static void every_failing_request_lands(void **state) {
  (void)state;
  kiln_mem_hook(counting, NULL);
  live_bytes = 0;
  bool whole = false;
  for (fail_at = 0; !whole && fail_at < 100; fail_at++) {
    Arena a;
    jmp_buf landing;
    requests = 0;
    arena_init(&a, 0);
    a.on_exhausted = &landing;
    if (!setjmp(landing)) {
      Text t;
      VEC(uint64_t) v = {0};
      text_init(&t, &a, PASS);
      for (uint32_t i = 0; i < 30000; i++) {
        *VEC_PUSH(&a, KEEP, &v) = i;
        text_fmt(&t, "%u,", i);
      }
      for (uint32_t i = 0; i < v.n; i++) assert_int_equal(v.at[i], i);
      whole = true;
    }
    arena_free(&a);
    assert_int_equal(live_bytes, 0);
  }
  assert_true(whole);
  assert_true(fail_at > 5);
  fail_at = -1;
  kiln_mem_hook(NULL, NULL);
}

static void text_grows(void **state) {
  (void)state;
  Arena a;
  arena_init(&a, 0);
  Text t;
  text_init(&t, &a, KEEP);
  assert_string_equal(t.at, "");
  for (int i = 0; i < 1000; i++) {
    text_fmt(&t, "%d;", i);
    if (i % 7 == 0) arena_alloc(&a, KEEP, 8); /* now the text must move */
  }
  text_put(&t, "abc", 2);
  assert_int_equal(strlen(t.at), t.n);
  assert_memory_equal(t.at, "0;1;2;3;", 8);
  assert_string_equal(t.at + t.n - 6, "999;ab");
  arena_free(&a);
}

static void diagnostics_quote_the_line(void **state) {
  (void)state;
  Arena a;
  Diag d;
  arena_init(&a, 0);
  diag_init(&d, &a);
  uint16_t f = diag_file(&d, "ops/x.lua", "first\n\tlocal y = z + 1\r\nlast");
  assert_int_equal(diag_file(&d, "ops/x.lua", NULL), f);
  assert_int_not_equal(diag_file(&d, "ops/y.lua", NULL), f);
  diag_error(&d, (Loc){.file = f, .line = 2, .col = 12}, "unknown name '%s'", "z");
  assert_string_equal(d.text.at, "ops/x.lua:2: unknown name 'z'\n   local y = z + 1\n             ^\n");
  size_t n = d.text.n;
  diag_error(&d, (Loc){.file = f, .line = 2}, "no column");
  assert_string_equal(d.text.at + n, "ops/x.lua:2: no column\n   local y = z + 1\n   ^\n");
  n = d.text.n;
  diag_error(&d, (Loc){.file = f, .line = 9}, "no such line");
  assert_string_equal(d.text.at + n, "ops/x.lua:9: no such line\n");
  n = d.text.n;
  diag_error(&d, (Loc){0}, "nowhere");
  assert_string_equal(d.text.at + n, "nowhere\n");
  n = d.text.n;
  diag_error(&d, (Loc){.file = 999, .line = 3}, "file out of range");
  assert_string_equal(d.text.at + n, "file out of range\n");
  n = d.text.n;
  char line[400];
  memset(line, 'x', sizeof line);
  line[sizeof line - 1] = 0;
  uint16_t long_file = diag_file(&d, "long", line);
  diag_error(&d, (Loc){.file = long_file, .line = 1, .col = 300}, "far out");
  assert_true(d.text.n - n < 300); /* clipped around the column */
  assert_non_null(strchr(d.text.at + n, '^'));
  arena_free(&a);
}

static void diagnostics_stop_at_twenty(void **state) {
  (void)state;
  Arena a;
  Diag d;
  arena_init(&a, 0);
  diag_init(&d, &a);
  for (int i = 1; i <= 30; i++) diag_error(&d, (Loc){0}, "error %d", i);
  assert_int_equal(d.errors, 30);
  assert_non_null(strstr(d.text.at, "error 20\nmore errors\n"));
  assert_null(strstr(d.text.at, "error 21"));
  const char *first = strstr(d.text.at, "more errors");
  assert_null(strstr(first + 1, "more errors"));
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arena_gives_zeroed_aligned_memory),
      cmocka_unit_test(arena_lifetimes_and_accounting),
      cmocka_unit_test(arena_limit_lands),
      cmocka_unit_test(every_failing_request_lands),
      cmocka_unit_test(text_grows),
      cmocka_unit_test(diagnostics_quote_the_line),
      cmocka_unit_test(diagnostics_stop_at_twenty),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
