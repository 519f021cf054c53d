/* fuzz_parse.c - any bytes as PTX, read and thrown away: the simulator's reader must end in a module or in a message. Nothing is
 * launched, so that many inputs can be tried (fuzz_ptx.c launches what it takes). The first byte chooses the target. Whatever was
 * allocated for an input is given back when its context has ended. */
#include "alloc.h"
#include "kilnsim.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdbool.h>
#include <string.h>

#include "cuda/driver_abi.h"
#define DRIVER(need, name, params, args) DrvResult name params;
#include "cuda/driver.def"

static const char *const targets[] = {"sm_100a,cores=1", "sm_90a,cores=1", "sm_80,cores=1", "sm_75,cores=1"};
enum { TARGETS = sizeof targets / sizeof *targets };

static size_t live; /* bytes that the simulator holds */

static void *count_bytes(void *user, void *ptr, size_t old_bytes, size_t new_bytes) {
  (void)user;
  void *p = new_bytes ? realloc(ptr, new_bytes) : NULL;
  if (!new_bytes) free(ptr);
  if (p || !new_bytes) live += new_bytes - old_bytes;
  return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int ordinal[TARGETS];
  static bool ready;
  int target = size ? data[0] % TARGETS : 0;
  DrvContext ctx;
  if (!ready) kiln_mem_hook(count_bytes, NULL);
  for (int i = 0; i < TARGETS && !ready; i++)
    if (kilnsim_configure(targets[i], &ordinal[i]) || cuInit(0) || cuDevicePrimaryCtxRetain(&ctx, ordinal[i]) ||
        cuDevicePrimaryCtxRelease_v2(ordinal[i]))
      abort();
  ready = true;
  size_t before = live;
  if (cuDevicePrimaryCtxRetain(&ctx, ordinal[target])) abort();
  char *text = malloc(size + 1);
  if (!text) return 0;
  memcpy(text, data, size);
  text[size] = 0;
  DrvModule m = NULL;
  if (cuCtxPushCurrent_v2(ctx)) abort();
  if (cuModuleLoadDataEx(&m, text, 0, NULL, NULL) == DRV_SUCCESS) cuModuleUnload(m);
  else {
    const char *why = "";
    kilnsim_message(&why);
    if (!*why) abort(); /* a refusal says why */
  }
  if (cuCtxPopCurrent_v2(NULL) || cuDevicePrimaryCtxRelease_v2(ordinal[target])) abort();
  if (live != before) fprintf(stderr, "%zu bytes are not given back\n", live - before), abort();
  free(text);
  return 0;
}
