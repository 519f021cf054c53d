/* fuzz_ptx.c - any bytes as PTX: the simulator's reader must end in a module or a message, without a leak or a stray access. What it
 * takes is launched, with a small limit, so that execution meets random programs too. */
#include "kilnsim.h"
#include <stdlib.h>
#include <string.h>

#include "cuda/driver_abi.h"
#define DRIVER(need, name, params, args) DrvResult name params;
#include "cuda/driver.def"

static void run_entries(DrvModule m, const char *text) {
  static void *params[32768]; /* as many and as large as parameters can be: 32764 bytes in all */
  static uint64_t zero[4096];
  for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) params[i] = zero;
  for (const char *s = strstr(text, ".entry"); s; s = strstr(s, ".entry")) {
    char name[64];
    size_t n = 0;
    s += 6;
    while (*s == ' ' || *s == '\t' || *s == '\n') s++;
    while (n + 1 < sizeof name && s[n] && !strchr(" \t\n({", s[n])) name[n] = s[n], n++;
    name[n] = 0;
    DrvFunction f;
    if (cuModuleGetFunction(&f, m, name) == DRV_SUCCESS) cuLaunchKernel(f, 2, 1, 1, 64, 1, 1, 1024, NULL, params, NULL);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static DrvContext ctx;
  static int ordinal;
  if (!ctx && (kilnsim_configure("sm_90a,cores=1,limit=20000,policy=random,seed=1", &ordinal) || cuInit(0) ||
               cuDevicePrimaryCtxRetain(&ctx, ordinal) || cuCtxPushCurrent_v2(ctx)))
    abort();
  char *text = malloc(size + 1);
  if (!text) return 0;
  memcpy(text, data, size);
  text[size] = 0;
  DrvModule m = NULL;
  if (cuModuleLoadDataEx(&m, text, 0, NULL, NULL) == DRV_SUCCESS) {
    run_entries(m, text);
    cuModuleUnload(m);
  } else {
    const char *why = "";
    kilnsim_message(&why);
    if (!*why) abort(); /* a refusal says why */
  }
  free(text);
  return 0;
}
