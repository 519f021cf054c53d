/* test_faults_runtime.c - every allocation and every driver call of open, add, plan, launch and close fails in turn: a status and a message
 * each time, nothing held afterwards, and the next try without fault succeeds.
 *
 * On the fake driver, and on the simulator when libkilnsim is beside the build. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "../unit/fake_driver.h"
#include "kiln.h"

static const char *where; /* what the scenario opens */
static bool mapped;       /* and whether that has tensor maps and clusters */

static const char *data_folder(void) {
  static char path[1024];
  const char *root = getenv("KILN_TEST_ROOT");
  snprintf(path, sizeof path, "%s/tests/data", root ? root : ".");
  return path;
}

typedef struct Session { /* all that a run holds */
  kiln_device *dev;
  kiln_plan *copy, *accumulate, *tiles;
  void *x, *y, *workspace, *between, *stream, *start, *end;
} Session;

#define TRY(call) \
  do { \
    kiln_status s_ = (call); \
    if (s_) return s_; \
  } while (0)

enum { ROWS = 6, COLUMNS = 40, ELEMENTS = ROWS * COLUMNS };

static kiln_status run_copy(Session *s, float *host) {
  int64_t shape[] = {ROWS, COLUMNS};
  kiln_tensor x = {s->x, KILN_F32, 2, shape, NULL}, y = {s->y, KILN_F32, 2, shape, NULL};
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}, {.name = "alpha", .scalar = 3}};
  kiln_step_info step;
  TRY(kiln_plan_create(&s->copy, s->dev, "scaled_copy", args, 3));
  TRY(kiln_plan_step(s->copy, 0, &step));
  TRY(kiln_event_record(s->dev, s->start, s->stream));
  TRY(kiln_launch(s->copy, NULL, s->stream));
  TRY(kiln_event_record(s->dev, s->end, s->stream));
  double ns;
  TRY(kiln_event_elapsed(s->dev, s->start, s->end, &ns));
  return kiln_download(s->dev, host, s->y, ELEMENTS * sizeof *host);
}

static kiln_status run_accumulate(Session *s, float *host) {
  int64_t shape[] = {ELEMENTS};
  kiln_tensor x = {s->x, KILN_F32, 1, shape, NULL}, y = {s->y, KILN_F32, 1, shape, NULL};
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  kiln_scalar scalars[] = {{.f = 2}, {.i = 5}};
  TRY(kiln_plan_create(&s->accumulate, s->dev, "accumulate", args, 2));
  TRY(kiln_malloc(s->dev, &s->workspace, kiln_plan_workspace(s->accumulate, NULL)));
  TRY(kiln_launch(s->accumulate, &(kiln_call){.scalars = scalars, .workspace = s->workspace}, s->stream));
  TRY(kiln_stream_sync(s->dev, s->stream));
  TRY(kiln_sync(s->dev));
  return kiln_download(s->dev, host, s->y, ELEMENTS * sizeof *host);
}

/* By tensor maps of tensors and a workspace, in clusters, the second step by a programmatic launch. */
static kiln_status run_tiles(Session *s, float *host) {
  int64_t shape[] = {ROWS, COLUMNS};
  kiln_tensor x = {s->x, KILN_F32, 2, shape, NULL}, y = {s->y, KILN_F32, 2, shape, NULL};
  kiln_arg args[] = {{.name = "x", .tensor = &x}, {.name = "y", .tensor = &y}};
  TRY(kiln_plan_create(&s->tiles, s->dev, "tile_copy", args, 2));
  TRY(kiln_malloc(s->dev, &s->between, kiln_plan_workspace(s->tiles, NULL)));
  TRY(kiln_fill(s->dev, s->y, 0xff, ELEMENTS * sizeof *host, s->stream));
  TRY(kiln_launch(s->tiles, &(kiln_call){.workspace = s->between}, s->stream));
  TRY(kiln_stream_sync(s->dev, s->stream));
  return kiln_download(s->dev, host, s->y, ELEMENTS * sizeof *host);
}

typedef struct Results { float copied[ELEMENTS], accumulated[ELEMENTS], tiles[ELEMENTS]; } Results;

static kiln_status scenario(Session *s, Results *out) {
  float host[ELEMENTS];
  for (int i = 0; i < ELEMENTS; i++) host[i] = (float)i;
  TRY(kiln_open(&s->dev, where));
  TRY(kiln_add(s->dev, data_folder()));
  TRY(kiln_stream_create(s->dev, &s->stream));
  TRY(kiln_event_create(s->dev, &s->start));
  TRY(kiln_event_create(s->dev, &s->end));
  TRY(kiln_malloc(s->dev, &s->x, sizeof host));
  TRY(kiln_malloc(s->dev, &s->y, sizeof host));
  TRY(kiln_upload(s->dev, s->x, host, sizeof host));
  TRY(kiln_fill(s->dev, s->y, 0xff, sizeof host, s->stream));
  TRY(run_copy(s, out->copied));
  if (mapped) TRY(run_tiles(s, out->tiles));
  return run_accumulate(s, out->accumulated);
}

/* A release that fails may be tried again: only before the driver was reached does it leave the thing alone. */
static void give_back(kiln_status (*release)(kiln_device *, void *), kiln_device *dev, void *what, const int *held) {
  int before = *held;
  if (what && release(dev, what) != KILN_OK && *held == before) release(dev, what);
}

static void clean(Session *s) {
  kiln_plan_destroy(s->copy);
  kiln_plan_destroy(s->tiles);
  if (s->dev) {
    give_back(kiln_free, s->dev, s->workspace, &fake.memory);
    give_back(kiln_free, s->dev, s->between, &fake.memory);
    give_back(kiln_free, s->dev, s->y, &fake.memory);
    give_back(kiln_free, s->dev, s->x, &fake.memory);
    give_back(kiln_event_destroy, s->dev, s->end, &fake.events);
    give_back(kiln_event_destroy, s->dev, s->start, &fake.events);
    give_back(kiln_stream_destroy, s->dev, s->stream, &fake.streams);
  }
  kiln_close(s->dev);
  kiln_plan_destroy(s->accumulate); /* after the device: it keeps what it needs */
}

/* One run with the faults that are set; what it answers must be honest, and nothing may remain. */
static kiln_status run(bool check_results) {
  Session s = {0};
  Results results = {0};
  fake_depth = 0;
  kiln_status status = scenario(&s, &results);
  if (status != KILN_OK) assert_int_not_equal(*kiln_error(), 0);
  for (int i = 0; status == KILN_OK && check_results && i < ELEMENTS; i++) {
    assert_true(results.copied[i] == 3 * (float)i);
    assert_true(!mapped || results.tiles[i] == (float)i);
    assert_true(results.accumulated[i] == 2 * (float)i + 5);
  }
  clean(&s);
  return status;
}

/* Fails the first, second, third ... call until one run needs fewer. A fault may be survived (a welcome attribute); a run may be cut short at
 * its release. */
static void fail_every_call(bool check_results) {
  int survived = 0, refused = 0;
  for (fake.fail_at = 1;; fake.fail_at++) {
    fake.calls = 0;
    fake.failed = NULL;
    int64_t before = fake_memory.held;
    kiln_status status = run(false);
    if (!fake.failed) {
      assert_int_equal(status, KILN_OK);
      break;
    }
    if (status == KILN_OK) survived++;
    else refused++;
    if (fake_held()) fail_msg("call %d, %s, failed: %d objects are still held", fake.fail_at, fake.failed, fake_held());
    if (fake_memory.held != before)
      fail_msg("call %d, %s, failed: %lld bytes leaked", fake.fail_at, fake.failed, (long long)(fake_memory.held - before));
    assert_int_equal(fake_depth, 0);
  }
  fake.fail_at = 0;
  assert_true(refused > 40);
  assert_true(survived < refused);
  assert_int_equal(run(check_results), KILN_OK);
}

static void fail_every_allocation(bool check_results) {
  for (fake_memory.fail_at = 1;; fake_memory.fail_at++) {
    fake_memory.requests = 0;
    int64_t before = fake_memory.held;
    kiln_status status = run(check_results);
    if (fake_memory.requests < fake_memory.fail_at) {
      assert_int_equal(status, KILN_OK);
      break;
    }
    if (status != KILN_NO_MEMORY)
      fail_msg("allocation %d failed: %s: %s", fake_memory.fail_at, kiln_status_name(status), kiln_error());
    if (fake_memory.held != before || fake_held())
      fail_msg("allocation %d failed: %lld bytes and %d objects are held", fake_memory.fail_at, (long long)(fake_memory.held - before),
               fake_held());
  }
  assert_true(fake_memory.fail_at > 20);
  fake_memory.fail_at = 0;
}

static int setup_fake(void **state) {
  (void)state;
  fake_memory = (struct FakeMemory){0};
  kiln_mem_hook(fake_mem, NULL);
  fake_install(80);
  where = "cuda:0";
  mapped = false;
  return 0;
}

static int setup_maps(void **state) {
  int failed = setup_fake(state);
  fake_install(90);
  mapped = true;
  return failed;
}

static int teardown(void **state) {
  (void)state;
  driver_override(DRIVER_CUDA, NULL);
  driver_override(DRIVER_SIM, NULL);
  kiln_mem_hook(NULL, NULL);
  return 0;
}

static void test_fake_calls(void **state) {
  (void)state;
  fail_every_call(false);
}

static void test_fake_allocations(void **state) {
  (void)state;
  fail_every_allocation(false);
}

static void test_fake_maps(void **state) {
  (void)state;
  fail_every_call(false);
  fail_every_allocation(false);
  assert_true(fake.encoded > 6 && fake.launches > 4);
}

/* Has the simulated sm_90a what the third scenario needs? */
static bool has_clusters(const DriverTable *sim) {
  int ordinal, clusters = 0;
  DrvDevice device;
  if (sim->kilnsim_configure("sm_90a,sms=2,cores=1", &ordinal) || sim->cuDeviceGet(&device, ordinal)) return false;
  return !sim->cuDeviceGetAttribute(&clusters, DRV_DEVICE_CLUSTER_LAUNCH, device) && clusters;
}

/* The simulator's own table behind the counting front. */
static bool put_simulator(void) {
  const DriverTable *sim;
  if (driver_load(DRIVER_SIM, &sim)) return false;
  memset(&fake, 0, sizeof fake);
  fake_memory = (struct FakeMemory){0};
  fake_count(DRIVER_SIM, sim);
  kiln_mem_hook(fake_mem, NULL);
  mapped = has_clusters(sim);
  where = mapped ? "sim:sm_90a,sms=2,cores=1" : "sim:sm_80,sms=2,cores=1";
  return true;
}

static void test_simulator(void **state) {
  (void)state;
  if (!put_simulator()) {
    if (getenv("KILN_TEST_BUILD")) fail_msg("%s", kiln_error()); /* there it must be */
    skip();
  }
  kiln_status s = run(true);
  if (s) fail_msg("%s", kiln_error());
  fail_every_call(true);
  fail_every_allocation(true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_fake_calls, setup_fake, teardown),
      cmocka_unit_test_setup_teardown(test_fake_allocations, setup_fake, teardown),
      cmocka_unit_test_setup_teardown(test_fake_maps, setup_maps, teardown),
      cmocka_unit_test_teardown(test_simulator, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
