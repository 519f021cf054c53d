/* by_name.c - every driver function as one that looks for itself in libcuda.so.1 when it is first called: half of them by dlsym, the
 * others by cuGetProcAddress. For the programs that are not linked against the driver. */
#include "driver.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *find(const char *exact) {
  static void *driver;
  static CUresult (*ask)(const char *, void **, int, uint64_t, void *);
  static int turn;
  void *found = NULL;
  if (!driver && !(driver = dlopen("libcuda.so.1", RTLD_NOW))) {
    fprintf(stderr, "%s\n", dlerror());
    exit(2);
  }
  if (!ask) *(void **)&ask = dlsym(driver, "cuGetProcAddress_v2");
  char plain[64];
  snprintf(plain, sizeof plain, "%s", exact);
  char *version = strstr(plain, "_v");
  if (version) *version = 0;
  if (ask && turn++ & 1 && ask(plain, &found, 12000, 0, NULL) == CUDA_SUCCESS && found) return found;
  if (!(found = dlsym(driver, exact))) {
    fprintf(stderr, "the driver has no %s\n", exact);
    exit(2);
  }
  return found;
}

#define DEFINE(name, params, args)                                                                                     \
  CUresult name params {                                                                                               \
    static CUresult (*entry) params;                                                                                   \
    if (!entry) *(void **)&entry = find(TEXT(name));                                                                   \
    return entry args;                                                                                                 \
  }
#define TEXT(name) TEXT_OF(name)
#define TEXT_OF(name) #name
FUNCTIONS(DEFINE)
