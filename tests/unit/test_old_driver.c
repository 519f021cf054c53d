/* test_old_driver.c - a driver without the entry points that kiln needs is refused with what it lacks, again at every try.
 *
 * The library in argv[1] has the SONAME libcuda.so.1, so once it is loaded, that name means it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "kiln.h"
#include <dlfcn.h>
#include <string.h>

static void test_refused(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    kiln_device *dev = (kiln_device *)(uintptr_t)1;
    assert_int_equal(kiln_open(&dev, i ? "current" : NULL), KILN_DRIVER_TOO_OLD);
    assert_null(dev);
    assert_non_null(strstr(kiln_error(), "libcuda.so.1 has no cuDriverGetVersion"));
    assert_non_null(strstr(kiln_error(), "CUDA 11.4 or later"));
  }
}

int main(int argc, char **argv) {
  if (argc != 2 || !dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
