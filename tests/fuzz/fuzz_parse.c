/* fuzz_parse.c - any bytes as PTX, read and thrown away: the simulator's reader must end in a module or in a message. Nothing is
 * launched, so that many inputs can be tried (fuzz_ptx.c launches what it takes). The first byte chooses the target. */
#include "kilnsim.h"
#include <stdlib.h>
#include <string.h>

#include "cuda/driver_abi.h"
#define DRIVER(need, name, params, args) DrvResult name params;
#include "cuda/driver.def"

static const char *const targets[] = {"sm_100a,cores=1", "sm_90a,cores=1", "sm_80,cores=1", "sm_75,cores=1"};
enum { TARGETS = sizeof targets / sizeof *targets };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static DrvContext ctx[TARGETS];
  for (int i = 0, ordinal; i < TARGETS && !ctx[i]; i++)
    if (kilnsim_configure(targets[i], &ordinal) || cuInit(0) || cuDevicePrimaryCtxRetain(&ctx[i], ordinal)) abort();
  char *text = malloc(size + 1);
  if (!text) return 0;
  memcpy(text, data, size);
  text[size] = 0;
  DrvModule m = NULL;
  if (cuCtxPushCurrent_v2(ctx[size ? data[0] % TARGETS : 0])) abort();
  if (cuModuleLoadDataEx(&m, text, 0, NULL, NULL) == DRV_SUCCESS) cuModuleUnload(m);
  else {
    const char *why = "";
    kilnsim_message(&why);
    if (!*why) abort(); /* a refusal says why */
  }
  if (cuCtxPopCurrent_v2(NULL)) abort();
  free(text);
  return 0;
}
