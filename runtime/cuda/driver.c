/* driver.c - see driver.h. libcuda.so is never opened: without the ".1" it may be the stub that toolkits install for linking. */
#define _GNU_SOURCE /* dladdr */
#include "driver.h"
#include "../error.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct Library {
  DriverTable table;
  const DriverTable *override;
  void *handle; /* of dlopen */
  bool loaded;
} Library;

static Library libraries[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void driver_override(DriverKind kind, const DriverTable *table) { libraries[kind].override = table; }

/* The file that this code is in. A program that is linked with -static has none that the loader knows, and what it opens crashes at its first
 * variable of a thread. */
static bool is_in_file(Dl_info *info) { return dladdr((void *)(uintptr_t)&driver_load, info) && info->dli_fname; }

/* The simulator stands beside this library (or beside the executable that contains it), or where an installed command finds
 * it. */
static void *open_simulator(char *tried, size_t tried_bytes) {
  static const char *const places[] = {"", "../lib/"};
  Dl_info info;
  tried[0] = 0;
  if (is_in_file(&info)) {
    const char *slash = strrchr(info.dli_fname, '/');
    int folder = slash ? (int)(slash - info.dli_fname) + 1 : 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
      char path[1024];
      int n = snprintf(path, sizeof path, "%.*s%slibkilnsim.so.0", folder, folder ? info.dli_fname : "", places[i]);
      if (n < 0 || n >= (int)sizeof path) continue;
      void *library = strchr(path, '/') ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
      if (library) return library;
      size_t used = strlen(tried);
      snprintf(tried + used, tried_bytes - used, "%s%.400s", used ? ", " : "", path);
    }
  }
  return dlopen("libkilnsim.so.0", RTLD_NOW | RTLD_LOCAL);
}

static kiln_status open_library(DriverKind kind, void **library) {
  if (kind == DRIVER_CUDA) {
    *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (*library) return KILN_OK;
    const char *why = dlerror();
    return error_set(KILN_NO_DEVICE,
                     "no NVIDIA driver: libcuda.so.1 cannot be opened (%s); install the driver, or open \"sim:sm_90a\" "
                     "for the simulator",
                     why ? why : "no reason given");
  }
  Dl_info info;
  if (!is_in_file(&info))
    return error_set(KILN_NO_SIMULATOR, "this program is linked with -static and cannot open the simulator libkilnsim.so.0; link libkiln.a "
                                        "without -static");
  char tried[1024];
  *library = open_simulator(tried, sizeof tried);
  if (*library) return KILN_OK;
  const char *why = dlerror();
  return error_set(KILN_NO_SIMULATOR,
                   "the simulator libkilnsim.so.0 cannot be opened: tried %s and the library path (%s); put it beside "
                   "libkiln",
                   tried, why ? why : "no reason given");
}

typedef enum Need { REQUIRED, OPTIONAL, SIMONLY } Need;

/* The rows as data: what dlsym is asked for, and where the answer goes. */
static const struct {
  const char *name;
  uint16_t offset;
  uint8_t need;
} rows[] = {
#define DRIVER(need, name, params, args) {#name, offsetof(DriverTable, name), need},
#include "driver.def"
};
enum { ROWS = sizeof rows / sizeof *rows };

/* POSIX: a function's address travels in a void *. */
static void set_entry(DriverTable *t, int row, void *symbol) { memcpy((char *)t + rows[row].offset, &symbol, sizeof symbol); }

static kiln_status resolve(DriverKind kind, void *library, DriverTable *t) {
  for (int i = 0; i < ROWS; i++) {
    if (rows[i].need == SIMONLY && kind != DRIVER_SIM) continue;
    void *symbol = dlsym(library, rows[i].name);
    if (!symbol && rows[i].need != OPTIONAL)
      return error_set(kind == DRIVER_SIM ? KILN_NO_SIMULATOR : KILN_DRIVER_TOO_OLD, "%s has no %s; %s",
                       kind == DRIVER_SIM ? "libkilnsim.so.0" : "libcuda.so.1", rows[i].name,
                       kind == DRIVER_SIM ? "it belongs to another version of kiln" : "kiln needs a driver of CUDA 11.4 or later");
    set_entry(t, i, symbol);
  }
  return KILN_OK;
}

static kiln_status initialise(const DriverTable *t) {
  DrvResult result = t->cuInit(0);
  if (result == DRV_SUCCESS) return KILN_OK;
  if (result == DRV_NO_DEVICE)
    return error_set(KILN_NO_DEVICE, "the NVIDIA driver finds no GPU (cuInit: no device); \"sim:sm_90a\" opens the simulator");
  if (result == DRV_STUB_LIBRARY)
    return error_set(KILN_NO_DEVICE, "libcuda.so.1 is the stub for linking, not a driver; take its folder off the library path");
  if (result == DRV_SYSTEM_DRIVER_MISMATCH)
    return error_set(KILN_DRIVER_TOO_OLD,
                     "libcuda.so.1 and the kernel's driver are of different versions; reboot or reinstall the driver");
  return driver_error(t, result, "cuInit");
}

static kiln_status load(DriverKind kind, Library *l) {
  void *library;
  kiln_status s = open_library(kind, &library);
  if (s) return s;
  DriverTable table = {0};
  s = resolve(kind, library, &table);
  if (!s) s = initialise(&table);
  if (s) {
    dlclose(library);
    return s;
  }
  l->table = table;
  l->handle = library;
  l->loaded = true;
  return KILN_OK;
}

kiln_status driver_load(DriverKind kind, const DriverTable **out) {
  Library *l = &libraries[kind];
  *out = NULL;
  if (l->override) {
    kiln_status s = initialise(l->override);
    if (!s) *out = l->override;
    return s;
  }
  pthread_mutex_lock(&lock);
  kiln_status s = l->loaded ? KILN_OK : load(kind, l);
  pthread_mutex_unlock(&lock);
  if (!s) *out = &l->table;
  return s;
}

void *driver_symbol(const DriverTable *d, const char *name) {
  for (int i = 0; i < ROWS; i++)
    if (strcmp(name, rows[i].name) == 0) {
      void *symbol;
      memcpy(&symbol, (const char *)d + rows[i].offset, sizeof symbol);
      return symbol;
    }
  for (int kind = DRIVER_CUDA; kind <= DRIVER_SIM; kind++)
    if (d == &libraries[kind].table) return dlsym(libraries[kind].handle, name);
  return NULL;
}

/* ---- failed calls ---- */

static bool is_fault(DrvResult result) {
  switch (result) {
  case DRV_ILLEGAL_ADDRESS:
  case DRV_LAUNCH_TIMEOUT:
  case DRV_ASSERT:
  case DRV_HARDWARE_STACK_ERROR:
  case DRV_ILLEGAL_INSTRUCTION:
  case DRV_MISALIGNED_ADDRESS:
  case DRV_INVALID_ADDRESS_SPACE:
  case DRV_INVALID_PC:
  case DRV_LAUNCH_FAILED:
  case DRV_TENSOR_MEMORY_LEAK: return true;
  default: return false;
  }
}

static kiln_status status_of(DrvResult result) {
  if (is_fault(result)) return KILN_KERNEL_FAULT;
  switch (result) {
  case DRV_OUT_OF_MEMORY: return KILN_NO_DEVICE_MEMORY;
  case DRV_NO_DEVICE:
  case DRV_INVALID_DEVICE: return KILN_NO_DEVICE;
  case DRV_INVALID_IMAGE:
  case DRV_INVALID_PTX:
  case DRV_NO_BINARY_FOR_GPU: return KILN_BAD_PTX;
  case DRV_JIT_COMPILER_NOT_FOUND:
  case DRV_UNSUPPORTED_PTX_VERSION: return KILN_DRIVER_TOO_OLD;
  case DRV_INVALID_CLUSTER_SIZE:
  case DRV_COOPERATIVE_LAUNCH_TOO_LARGE: return KILN_UNSUPPORTED;
  default: return KILN_DRIVER;
  }
}

kiln_status driver_error(const DriverTable *d, DrvResult result, const char *call) {
  const char *name = NULL, *text = NULL, *report = NULL;
  if (d->kilnsim_message && d->kilnsim_message(&report) != DRV_SUCCESS) report = NULL;
  if (d->cuGetErrorName(result, &name) != DRV_SUCCESS || !name) name = "unknown error";
  if (d->cuGetErrorString(result, &text) != DRV_SUCCESS || !text) text = "no text";
  kiln_status s = error_set(status_of(result), "%s failed with %u (%s: %s)", call, result, name, text);
  if (is_fault(result) && !report)
    error_append("; a kernel launched earlier went wrong, and its context is lost: close the device");
  if (report && *report) {
    error_append("\n");
    error_append(report);
  }
  return s;
}
