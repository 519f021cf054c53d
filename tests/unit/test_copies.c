/* test_copies.c - a process with two copies of libkiln, and with a driver beside the simulated one: this program exports names that both libraries
 * have, and neither may call its own functions by way of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "cuda/driver_abi.h"
#include "kiln.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the other copy, of which nothing may be called ---- */

static int strayed;
#define OTHER __attribute__((visibility("default")))
OTHER const char *kiln_error(void) { return strayed++, "the other copy's message"; }
OTHER size_t kiln_dtype_bytes(kiln_dtype dtype) { return (void)dtype, strayed++, (size_t)0; }
OTHER const char *kiln_dtype_name(kiln_dtype dtype) { return (void)dtype, strayed++, "?"; }
OTHER kiln_status kiln_plan_create_with(kiln_plan **out, kiln_device *dev, const char *op, const kiln_arg *args, int nargs,
                                        const kiln_plan_options *options) {
  (void)out, (void)dev, (void)op, (void)args, (void)nargs, (void)options;
  return strayed++, KILN_BAD_CALL;
}
OTHER kiln_status kiln_launch(const kiln_plan *plan, const kiln_call *call, void *stream) {
  (void)plan, (void)call, (void)stream;
  return strayed++, KILN_BAD_CALL;
}
OTHER void kiln_mem_hook(kiln_mem_fn fn, void *user) { (void)fn, (void)user, strayed++; }
/* and the other driver: the entry points that the simulator makes others of */
OTHER DrvResult cuModuleLoadDataEx(DrvModule *module, const void *image, unsigned count, unsigned *options, void **values) {
  (void)module, (void)image, (void)count, (void)options, (void)values;
  return strayed++, DRV_NO_DEVICE;
}
OTHER DrvResult cuMemFree_v2(DrvPtr ptr) { return (void)ptr, strayed++, DRV_NO_DEVICE; }

/* ---- the libraries, as a framework opens them ---- */

static void *library;
static void *find(const char *name) {
  void *symbol = dlsym(library, name);
  if (!symbol) fail_msg("%s", dlerror());
  return symbol;
}
#define CALL(name) ((__typeof__(&(name)))find(#name))
#define OK(call) \
  do { \
    kiln_status got_ = (call); \
    if (got_) fail_msg("%s: %d: %s", #call, got_, CALL(kiln_error)()); \
  } while (0)

static void test_calls_stay(void **state) {
  (void)state;
  char path[1024];
  const char *build = getenv("KILN_TEST_BUILD"), *root = getenv("KILN_TEST_ROOT");
  snprintf(path, sizeof path, "%s/libkiln.so.0", build ? build : "build");
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail_msg("%s", dlerror());
  kiln_device *dev;
  kiln_plan *plan;
  void *x, *y, *load;
  int64_t shape[] = {4, 8};
  OK(CALL(kiln_open)(&dev, "sim:sm_80"));
  snprintf(path, sizeof path, "%s/tests/data/scaled_copy-f32.ptx", root ? root : ".");
  OK(CALL(kiln_add)(dev, path));
  OK(CALL(kiln_malloc)(dev, &x, 128));
  OK(CALL(kiln_malloc)(dev, &y, 128));
  OK(CALL(kiln_fill)(dev, x, 0, 128, NULL));
  kiln_tensor tx = {x, KILN_F32, 2, shape, NULL}, ty = {y, KILN_F32, 2, shape, NULL};
  OK(CALL(kiln_plan_create)(&plan, dev, "scaled_copy", (kiln_arg[]){{"x", &tx, 0, NULL}, {"y", &ty, 0, NULL}}, 2));
  OK(CALL(kiln_launch_parts)(plan, NULL, NULL, NULL, NULL));
  OK(CALL(kiln_driver_symbol)(dev, "cuModuleLoadData", &load)); /* the simulator's: it is made of another */
  DrvModule module;
  ((DrvResult(*)(DrvModule *, const void *))(uintptr_t)load)(&module, "no ptx");
  CALL(kiln_plan_destroy)(plan);
  OK(CALL(kiln_free)(dev, x));
  CALL(kiln_close)(dev);
  assert_int_equal(strayed, 0);
  dlclose(library);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_calls_stay)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
