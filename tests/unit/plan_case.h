/* plan_case.h - for tests of plans and launches: a device of the fake driver, files in memory, tensors at chosen addresses. Included by
 * tests/unit/test_select.c and test_maps.c. */
#ifndef PLAN_CASE_H
#define PLAN_CASE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "fake_driver.h"
#include "kiln.h"

static kiln_device *dev;

static inline int setup_capability(int capability) {
  fake_memory = (struct FakeMemory){0};
  kiln_mem_hook(fake_mem, NULL);
  fake_install(capability);
  return kiln_open(&dev, "cuda:0") != KILN_OK;
}

static inline int teardown(void **state) {
  (void)state;
  kiln_close(dev);
  dev = NULL;
  driver_override(DRIVER_CUDA, NULL);
  kiln_mem_hook(NULL, NULL);
  return fake_held() || fake_memory.held; /* every test gives everything back */
}

static inline const char *data_path(const char *name) {
  static char path[1024];
  const char *root = getenv("KILN_TEST_ROOT");
  snprintf(path, sizeof path, "%s/tests/data/%s", root ? root : ".", name);
  return path;
}

static inline kiln_status add(const char *name, const char *contract) {
  char text[4096];
  int n = snprintf(text, sizeof text, "//@ kiln 1\n%s//@ end\n.visible .entry e(.param .u64 a, .param .u64 b) { ret; }\n", contract);
  return kiln_add_text(dev, name, text, (size_t)n);
}

static inline void *at(uint64_t offset) { return (void *)(uintptr_t)((1ull << 40) + offset); }

static inline kiln_tensor f32(void *data, int rank, const int64_t *shape, const int64_t *strides) {
  return (kiln_tensor){data, KILN_F32, rank, shape, strides};
}

#define assert_status(expected, call) \
  do { \
    kiln_status got_ = (call); \
    if (got_ != (expected)) \
      fail_msg("%s, expected %s: %s", kiln_status_name(got_), kiln_status_name(expected), got_ ? kiln_error() : "no error"); \
  } while (0)
#define assert_says(words) \
  do { \
    if (!strstr(kiln_error(), (words))) fail_msg("\"%s\" is not in \"%s\"", (words), kiln_error()); \
  } while (0)
#endif
