/* test_threads.c - threads that share a device and a plan: launches at once, plans made and destroyed at once. With the TSan lane it says
 * that launching writes nothing shared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "fake_driver.h"
#include "kiln.h"
#include <pthread.h>

enum { THREADS = 4, ROUNDS = 200 };

typedef struct Shared {
  kiln_device *dev;
  kiln_plan *plan, *tiles; /* tiles: with tensor maps */
  const char *folder;
} Shared;

static kiln_status make_plan(kiln_plan **out, kiln_device *dev, const char *op, int64_t rows) {
  int64_t shape[] = {rows, 8};
  kiln_tensor x = {NULL, KILN_F32, 2, shape, NULL}, y = x;
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  return kiln_plan_create(out, dev, op, args, 2);
}

typedef struct Worker { const Shared *shared; int number; } Worker;

/* Every thread: launches the shared plans, of which the second must get this thread's addresses into its maps, makes plans of its own, provokes
 * errors of its own, and adds files. */
static void *work(void *user) {
  const Worker *worker = user;
  const Shared *s = worker->shared;
  uintptr_t failures = 0;
  char *memory = (char *)(uintptr_t)(1ull << 40);
  void *pointers[] = {memory, memory + (1 << 20)}, *nothing[] = {NULL, NULL};
  char *mine = memory + ((int64_t)(1 + worker->number) << 24); /* no other thread's */
  void *boxes[] = {mine, mine + (1 << 20)};
  for (int i = 0; i < ROUNDS; i++) {
    kiln_plan *own;
    failures += kiln_launch(s->plan, &(kiln_call){.pointers = pointers}, NULL) != KILN_OK;
    failures += kiln_launch(s->tiles, &(kiln_call){.pointers = boxes, .workspace = mine + (2 << 20)}, NULL) != KILN_OK;
    failures += fake_mapped[0] != (uintptr_t)(mine + (2 << 20)) || fake_mapped[1] != (uintptr_t)boxes[1]; /* the second step's */
    failures += kiln_launch(s->plan, &(kiln_call){.pointers = nothing}, NULL) != KILN_NULL_POINTER;
    failures += strstr(kiln_error(), "is null") == NULL; /* this thread's message, not another's */
    if (i % 4) continue;
    failures += make_plan(&own, s->dev, "scaled_copy", 1 + i) != KILN_OK;
    failures += kiln_launch(own, &(kiln_call){.pointers = pointers}, NULL) != KILN_OK;
    kiln_plan_destroy(own);
    failures += kiln_plan_create(&own, s->dev, "unheard_of", NULL, 0) != KILN_NO_OP;
    failures += strstr(kiln_error(), "unheard_of") == NULL;
    if (i % 40 == 0) failures += kiln_add(s->dev, s->folder) != KILN_OK; /* replaces what plans were made from */
  }
  failures += fake_depth != 0; /* no context left current */
  return (void *)failures;
}

static void test_shared_plan(void **state) {
  (void)state;
  char folder[1024];
  const char *root = getenv("KILN_TEST_ROOT");
  snprintf(folder, sizeof folder, "%s/tests/data", root ? root : ".");
  kiln_mem_hook(fake_mem, NULL);
  fake_install(90);
  Shared s = {.folder = folder};
  assert_int_equal(kiln_open(&s.dev, NULL), KILN_OK);
  assert_int_equal(kiln_add(s.dev, folder), KILN_OK);
  assert_int_equal(make_plan(&s.plan, s.dev, "scaled_copy", 3), KILN_OK);
  assert_int_equal(make_plan(&s.tiles, s.dev, "tile_copy", 30), KILN_OK);
  pthread_t thread[THREADS];
  Worker worker[THREADS];
  for (int i = 0; i < THREADS; i++) {
    worker[i] = (Worker){&s, i};
    assert_int_equal(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *failures;
    pthread_join(thread[i], &failures);
    assert_null(failures);
  }
  assert_int_equal(fake.launches, THREADS * (3 * ROUNDS + ROUNDS / 4));
  kiln_plan_destroy(s.plan);
  kiln_plan_destroy(s.tiles);
  kiln_close(s.dev);
  assert_int_equal(fake_held(), 0);
  assert_int_equal(fake_memory.held, 0);
  kiln_mem_hook(NULL, NULL);
  driver_override(DRIVER_CUDA, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_plan)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
