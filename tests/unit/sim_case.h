/* sim_case.h - for tests of the simulator: a PTX text, a device, arguments, and what came of it. Included by tests/unit/test_sim_*.c. */
#ifndef SIM_CASE_H
#define SIM_CASE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda/driver_abi.h"
#include "kilnsim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRIVER(need, name, params, args) DrvResult name params;
#include "cuda/driver.def"

/* entry points that libkiln itself does not call */
DrvResult cuModuleGetGlobal_v2(DrvPtr *ptr, size_t *bytes, DrvModule module, const char *name);
DrvResult cuCtxCreate_v2(DrvContext *context, unsigned flags, DrvDevice device);
DrvResult cuCtxDestroy_v2(DrvContext context);
DrvResult cuMemcpyDtoD_v2(DrvPtr to, DrvPtr from, size_t bytes);
DrvResult cuMemsetD8_v2(DrvPtr to, unsigned char v, size_t n);
DrvResult cuMemsetD32_v2(DrvPtr to, unsigned v, size_t n);
DrvResult cuMemGetInfo_v2(size_t *free_bytes, size_t *total);
DrvResult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, uint64_t flags, unsigned *status);

#define OK(call)                                                                                                       \
  do {                                                                                                                 \
    unsigned ok_ = (call);                                                                                             \
    if (ok_) fail_msg("%s: %u: %s", #call, ok_, last_message());                                                       \
  } while (0)

static inline const char *last_message(void) {
  const char *s = "";
  kilnsim_message(&s);
  return s;
}

typedef struct SimCase { int ordinal; DrvContext ctx; DrvModule module; } SimCase;

/* A device of these options is current afterwards, and the text is loaded (or the load's result returned). */
static inline unsigned case_load(SimCase *c, const char *options, const char *ptx) {
  OK(kilnsim_configure(options, &c->ordinal));
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&c->ctx, c->ordinal));
  OK(cuCtxPushCurrent_v2(c->ctx));
  c->module = NULL;
  return cuModuleLoadDataEx(&c->module, ptx, 0, NULL, NULL);
}

static inline void case_open(SimCase *c, const char *options, const char *ptx) { OK(case_load(c, options, ptx)); }

static inline void case_close(SimCase *c) {
  if (c->module) OK(cuModuleUnload(c->module));
  OK(cuCtxPopCurrent_v2(NULL));
  OK(cuDevicePrimaryCtxRelease_v2(c->ordinal));
}

static inline DrvPtr device_copy(const void *host, size_t bytes) {
  DrvPtr p;
  OK(cuMemAlloc_v2(&p, bytes));
  if (host) OK(cuMemcpyHtoD_v2(p, host, bytes));
  return p;
}

/* Launches the entry "k" and returns the driver's code. */
static inline unsigned case_launch(SimCase *c, unsigned grid, unsigned block, unsigned shared, void **params) {
  DrvFunction f;
  OK(cuModuleGetFunction(&f, c->module, "k"));
  return cuLaunchKernel(f, grid, 1, 1, block, 1, 1, shared, NULL, params, NULL);
}

/* The number of the first line of text that contains mark. */
static inline int line_of(const char *text, const char *mark) {
  const char *at = strstr(text, mark);
  assert_non_null(at);
  int line = 1;
  for (const char *s = text; s < at; s++) line += *s == '\n';
  return line;
}

#define PTX_HEAD ".version 7.0\n.target sm_80\n.address_size 64\n"
#endif
