/* stub.c - what a toolkit offers as stubs/libcuda.so: the names to link against, and nothing behind them. */
#define FOREIGN_NAMES_ONLY
#include "driver.h"

#define DEFINE(name, params, args) DEFINE_AS(name)
#define DEFINE_AS(name)                                                                                                \
  __attribute__((visibility("default"))) CUresult name(void);                                                          \
  CUresult name(void) { return 34; } /* CUDA_ERROR_STUB_LIBRARY */
FUNCTIONS(DEFINE)
