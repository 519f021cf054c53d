/* api_library.c - driver entry points: what a module holds, libraries (a module of the current context under another name), the linker (of one
 * text: it is handed on),
 * occupancy for a block size that is looked for. */
#include "api.h"
#include <stdlib.h>
#include <string.h>

DRV_EXPORT DrvResult cuModuleLoadFatBinary(DrvModule *module, const void *image) {
  static const unsigned char magic[] = {0x50, 0xed, 0x55, 0xba};
  if (image && memcmp(image, magic, 4) == 0) return sim_refuse("cuModuleLoadFatBinary: a fat binary: the simulator runs PTX text");
  return cuModuleLoadData(module, image);
}

DRV_EXPORT DrvResult cuModuleGetLoadingMode(unsigned *mode) {
  if (!mode) return DRV_INVALID_VALUE;
  *mode = 1; /* eager */
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuModuleGetFunctionCount(unsigned *count, DrvModule module) {
  sim_enter();
  SimModule *m = sim_known_module(module);
  if (!count) return sim_leave(DRV_INVALID_VALUE);
  if (!m) return sim_leave(DRV_INVALID_HANDLE);
  *count = SIM_COUNT(&m->functions, SimFunction *);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuModuleEnumerateFunctions(DrvFunction *functions, unsigned n, DrvModule module) {
  sim_enter();
  SimModule *m = sim_known_module(module);
  if (!functions) return sim_leave(DRV_INVALID_VALUE);
  if (!m) return sim_leave(DRV_INVALID_HANDLE);
  for (unsigned i = 0; i < n && i < SIM_COUNT(&m->functions, SimFunction *); i++)
    functions[i] = (DrvFunction)(void *)SIM_AT(&m->functions, SimFunction *, i);
  return sim_leave(DRV_SUCCESS);
}

/* ---- functions ---- */

DRV_EXPORT DrvResult cuFuncGetModule(DrvModule *module, DrvFunction function) {
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (!module) return sim_leave(DRV_INVALID_VALUE);
  if (!f) return sim_leave(DRV_INVALID_HANDLE);
  *module = (DrvModule)(void *)f->module;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuFuncGetName(const char **name, DrvFunction function) {
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (!name) return sim_leave(DRV_INVALID_VALUE);
  if (!f) return sim_leave(DRV_INVALID_HANDLE);
  *name = f->name;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuFuncGetParamInfo(DrvFunction function, size_t index, size_t *offset, size_t *bytes) {
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (!f) return sim_leave(DRV_INVALID_HANDLE);
  if (!offset || index >= f->nparams) return sim_leave(sim_say(DRV_INVALID_VALUE, "%s has %u parameters", f->name, f->nparams));
  *offset = f->params[index].offset;
  if (bytes) *bytes = f->params[index].bytes;
  return sim_leave(DRV_SUCCESS);
}

static DrvResult is_function(DrvFunction function) { /* settings that change nothing */
  sim_enter();
  return sim_leave(sim_known_function(function) ? DRV_SUCCESS : DRV_INVALID_HANDLE);
}
DRV_EXPORT DrvResult cuFuncSetCacheConfig(DrvFunction function, unsigned config) { return config > 3 ? DRV_INVALID_VALUE : is_function(function); }
DRV_EXPORT DrvResult cuFuncSetSharedMemConfig(DrvFunction function, unsigned config) { return config > 2 ? DRV_INVALID_VALUE : is_function(function); }
DRV_EXPORT DrvResult cuFuncLoad(DrvFunction function) { return is_function(function); }
DRV_EXPORT DrvResult cuFuncIsLoaded(unsigned *state, DrvFunction function) {
  if (!state) return DRV_INVALID_VALUE;
  *state = 1;
  return is_function(function);
}

/* ---- libraries: their handles are those of modules and functions ---- */

#define LIBRARY_OPTIONS                                                                                                \
  unsigned *jit, void **jit_values, unsigned njit, unsigned *options, void **values, unsigned n
DRV_EXPORT DrvResult cuLibraryLoadData(DrvModule *library, const void *code, LIBRARY_OPTIONS) {
  (void)options, (void)values, (void)n;
  return cuModuleLoadDataEx(library, code, njit, jit, jit_values);
}
DRV_EXPORT DrvResult cuLibraryLoadFromFile(DrvModule *library, const char *path, LIBRARY_OPTIONS) {
  (void)jit, (void)jit_values, (void)njit, (void)options, (void)values, (void)n;
  return cuModuleLoad(library, path);
}
DRV_EXPORT DrvResult cuLibraryUnload(DrvModule library) { return cuModuleUnload(library); }
DRV_EXPORT DrvResult cuLibraryGetKernel(DrvFunction *kernel, DrvModule library, const char *name) { return cuModuleGetFunction(kernel, library, name); }
DRV_EXPORT DrvResult cuLibraryGetKernelCount(unsigned *count, DrvModule library) { return cuModuleGetFunctionCount(count, library); }
DRV_EXPORT DrvResult cuLibraryGetGlobal(DrvPtr *ptr, size_t *bytes, DrvModule library, const char *name) {
  return cuModuleGetGlobal_v2(ptr, bytes, library, name);
}
DRV_EXPORT DrvResult cuLibraryGetModule(DrvModule *module, DrvModule library) {
  sim_enter();
  if (!module) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_known_module(library)) return sim_leave(DRV_INVALID_HANDLE);
  *module = library;
  return sim_leave(DRV_SUCCESS);
}
DRV_EXPORT DrvResult cuKernelGetFunction(DrvFunction *function, DrvFunction kernel) {
  DrvResult code = function ? is_function(kernel) : DRV_INVALID_VALUE;
  if (!code) *function = kernel;
  return code;
}
DRV_EXPORT DrvResult cuKernelGetAttribute(int *value, unsigned attribute, DrvFunction kernel, DrvDevice device) {
  (void)device;
  return cuFuncGetAttribute(value, attribute, kernel);
}
DRV_EXPORT DrvResult cuKernelSetAttribute(unsigned attribute, int value, DrvFunction kernel, DrvDevice device) {
  (void)device;
  return cuFuncSetAttribute(kernel, attribute, value);
}

/* ---- the linker ---- */

struct CUlinkState_st { char *text; size_t bytes; };
typedef struct CUlinkState_st *Link;
enum { LINK_PTX = 1, MAX_LINK = 1 << 28 };

DRV_EXPORT DrvResult cuLinkCreate_v2(unsigned n, unsigned *options, void **values, Link *link) {
  sim_enter();
  (void)n, (void)options, (void)values; /* advice to a compiler; a text's errors are said when it is loaded */
  if (!link) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_current()) return sim_leave(DRV_INVALID_CONTEXT);
  Link l = sim_new(sizeof *l);
  if (!l || !sim_handle_add(&sim_state.links, l)) {
    sim_delete(l, sizeof *l);
    return sim_leave(sim_say(DRV_OUT_OF_MEMORY, "out of memory"));
  }
  *link = l;
  return sim_leave(DRV_SUCCESS);
}

static DrvResult add_text(Link l, unsigned type, const char *text, size_t bytes) {
  if (!sim_handle_known(&sim_state.links, l)) return sim_say(DRV_INVALID_HANDLE, "no such link");
  if (type != LINK_PTX) return sim_say(DRV_INVALID_IMAGE, "input of kind %u: the simulator links PTX text alone", type);
  if (l->text) return sim_say(DRV_NOT_SUPPORTED, "linking several texts is not simulated");
  bytes = strnlen(text, bytes);
  l->text = sim_copy_text(text, bytes);
  l->bytes = bytes + 1;
  return l->text ? DRV_SUCCESS : sim_say(DRV_OUT_OF_MEMORY, "out of memory");
}

DRV_EXPORT DrvResult cuLinkAddData_v2(Link link, unsigned type, void *data, size_t bytes, const char *name, unsigned n, unsigned *options, void **values) {
  sim_enter();
  (void)name, (void)n, (void)options, (void)values;
  DrvResult code = data ? add_text(link, type, data, bytes) : DRV_INVALID_VALUE;
  if (code) sim_report_hand('r', sim_message());
  return sim_leave(code);
}

DRV_EXPORT DrvResult cuLinkAddFile_v2(Link link, unsigned type, const char *path, unsigned n, unsigned *options, void **values) {
  sim_enter();
  (void)n, (void)options, (void)values;
  SimBuf text = {0};
  if (!path) return sim_leave(DRV_INVALID_VALUE);
  DrvResult code = sim_read_file(path, &text);
  if (!code) code = add_text(link, type, text.at, text.n);
  sim_buf_free(&text);
  return sim_leave(code);
}

DRV_EXPORT DrvResult cuLinkComplete(Link link, void **image, size_t *bytes) {
  sim_enter();
  if (!image) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_handle_known(&sim_state.links, link)) return sim_leave(sim_say(DRV_INVALID_HANDLE, "no such link"));
  if (!link->text) return sim_leave(sim_say(DRV_INVALID_VALUE, "nothing was added"));
  *image = link->text; /* cuModuleLoadData takes it */
  if (bytes) *bytes = link->bytes;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuLinkDestroy(Link link) {
  sim_enter();
  if (!sim_handle_known(&sim_state.links, link)) return sim_leave(sim_say(DRV_INVALID_HANDLE, "no such link"));
  sim_handle_drop(&sim_state.links, link);
  sim_delete(link->text, link->bytes);
  sim_delete(link, sizeof *link);
  return sim_leave(DRV_SUCCESS);
}

/* ---- occupancy ---- */

DRV_EXPORT DrvResult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, DrvFunction function, int threads, size_t shared, unsigned flags) {
  if (flags > 1) return DRV_INVALID_VALUE;
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}

typedef size_t (*SharedOf)(int threads);
DRV_EXPORT DrvResult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, DrvFunction function, SharedOf shared_of, size_t shared,
                                                               int limit, unsigned flags) {
  int most = 0, best = 0, best_threads = -1, sms = 0, blocks;
  DrvDevice device;
  if (!grid || !block || flags > 1) return DRV_INVALID_VALUE;
  DrvResult code = cuFuncGetAttribute(&most, DRV_FUNC_MAX_THREADS_PER_BLOCK, function);
  if (!code) code = cuCtxGetDevice(&device);
  if (!code) code = cuDeviceGetAttribute(&sms, DRV_DEVICE_MULTIPROCESSOR_COUNT, device);
  if (limit > 0 && limit < most) most = limit;
  for (int threads = most; threads > 0 && !code; threads = (threads - 1) / 32 * 32) { /* the largest of the sizes that fill an SM best */
    code = cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, threads, shared_of ? shared_of(threads) : shared);
    if (!code && blocks * threads > best_threads) best = threads, best_threads = blocks * threads, *grid = blocks * sms;
  }
  *block = best;
  return code;
}
DRV_EXPORT DrvResult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, DrvFunction function, SharedOf shared_of, size_t shared, int limit) {
  return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, shared_of, shared, limit, 0);
}

DRV_EXPORT DrvResult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, DrvFunction function, int blocks, int threads) {
  int active = 0;
  size_t low = 0, high = 0;
  if (!bytes || blocks < 1) return DRV_INVALID_VALUE;
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (f) high = f->max_dynamic;
  sim_leave(DRV_SUCCESS);
  if (!f) return DRV_INVALID_HANDLE;
  DrvResult code = cuOccupancyMaxActiveBlocksPerMultiprocessor(&active, function, threads, 0);
  if (code || active < blocks) return code ? code : DRV_INVALID_VALUE;
  while (low < high && !code) { /* the most with which as many still fit */
    size_t mid = low + (high - low + 1) / 2;
    code = cuOccupancyMaxActiveBlocksPerMultiprocessor(&active, function, threads, mid);
    if (active >= blocks) low = mid;
    else high = mid - 1;
  }
  *bytes = low;
  return code;
}
