/* module.c - PTX becomes a module of the driver, once per device and file. */
#include "alloc.h"
#include "device.h"
#include "error.h"
#include <stdlib.h>
#include <string.h>

enum { LOG_BYTES = 4096 };

/* The compile log names lines of the text; what the file is, and what to do, is ours to say. */
static kiln_status explain_load(const kiln_device *dev, const Variant *v, DrvResult result, const char *log) {
  kiln_status s = driver_error(dev->driver, result, "cuModuleLoadDataEx");
  if (result == DRV_UNSUPPORTED_PTX_VERSION || result == DRV_JIT_COMPILER_NOT_FOUND)
    error_append(result == DRV_UNSUPPORTED_PTX_VERSION
                     ? "; the driver is older than the PTX's .version: update the driver"
                     : "; the driver's PTX compiler (libnvidia-ptxjitcompiler) is not installed");
  error_prefix(s, "%s (made for %s, device is %s, driver %d.%d): ", v->file, v->contract.target, dev->info.target,
               dev->info.driver_version / 1000, dev->info.driver_version % 1000 / 10);
  if (log[0] && !strstr(kiln_error(), log)) {
    error_append("\n");
    error_append(log);
  }
  return s;
}

/* Of what the compiler says of code that it has made, the lines that tell of something amiss: warnings, and products of warpgroups that
 * it lets run one after another (C75xx). */
static void keep_remarks(Variant *v, const char *log) {
  size_t used = 0;
  v->remarks[0] = 0;
  while (*log && used + 2 < sizeof v->remarks) {
    size_t n = strcspn(log, "\n"), room = sizeof v->remarks - used - 2;
    char line[LOG_BYTES];
    memcpy(line, log, n);
    line[n] = 0;
    if (strstr(line, "arning") || strstr(line, "Performance Loss") || strstr(line, "(C75")) {
      if (used) v->remarks[used++] = '\n';
      memcpy(v->remarks + used, line, n < room ? n : room);
      used += n < room ? n : room;
      v->remarks[used] = 0;
    }
    log += n + (log[n] == '\n');
  }
}

static kiln_status load_text(const kiln_device *dev, Variant *v, DrvModule *module) {
  char log[LOG_BYTES] = "", info[LOG_BYTES] = "";
  unsigned options[] = {DRV_JIT_ERROR_LOG_BUFFER, DRV_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, DRV_JIT_INFO_LOG_BUFFER, DRV_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                        DRV_JIT_LOG_VERBOSE, DRV_JIT_GENERATE_LINE_INFO};
  void *values[] = {log, (void *)(uintptr_t)(LOG_BYTES - 1), info, (void *)(uintptr_t)(LOG_BYTES - 1), (void *)(uintptr_t)1,
                    (void *)(uintptr_t)1}; /* integers travel in the pointer */
  DrvResult result = dev->driver->cuModuleLoadDataEx(module, v->text, 6, options, values);
  log[LOG_BYTES - 1] = info[LOG_BYTES - 1] = 0;
  if (!result) keep_remarks(v, info);
  return result ? explain_load(dev, v, result, log) : KILN_OK;
}

/* ---- the parameters that the PTX declares: the driver copies as many bytes from where a launch points as the entry says ---- */

static const char *skip_blank(const char *at) {
  for (;;) {
    at += strspn(at, " \t\r\n");
    if (at[0] == '/' && at[1] == '/') at += strcspn(at, "\n");
    else if (at[0] == '/' && at[1] == '*') at = strstr(at, "*/") ? strstr(at, "*/") + 2 : at + strlen(at);
    else return at;
  }
}

/* Behind the opening parenthesis of an entry; NULL: it is not found, or has none. */
static const char *find_parameters(const char *text, const char *entry) {
  size_t n = strlen(entry);
  for (const char *at = strstr(text, ".entry"); at; at = strstr(at, ".entry")) {
    at = skip_blank(at + 6);
    if (strncmp(at, entry, n) != 0) continue;
    const char *open = skip_blank(at + n);
    if (*open == '(') return open + 1;
  }
  return NULL;
}

/* One of the list, ".param .align 64 .b8 map[128]": its bytes, and where the next one begins; false: the list ends here. */
static bool next_parameter(const char **list, uint64_t *bytes) {
  const char *at = skip_blank(*list), *end;
  if (strncmp(at, ".param", 6) != 0) return false;
  uint64_t width = 0, count = 1;
  for (at = skip_blank(at + 6); *at && *at != ',' && *at != ')'; at = skip_blank(end)) {
    end = at + 1 + strcspn(at + 1, " \t\r\n,)[");
    if (at[0] == '.' && at[1] && strchr("bufs", at[1]) && at[2] >= '0' && at[2] <= '9') width = strtoull(at + 2, NULL, 10) / 8;
    if (at[0] == '[') count = strtoull(at + 1, NULL, 0), end = at + strcspn(at, "],)") + (at[strcspn(at, "],)")] == ']');
  }
  *list = *at == ',' ? at + 1 : at;
  if (__builtin_mul_overflow(width, count, bytes)) *bytes = UINT64_MAX;
  return true;
}

/* What a launch points to is an address, a number of 8 bytes at most, or a tensor map. */
static kiln_status check_parameters(const Variant *v, const ContractStep *x) {
  const char *list = find_parameters(v->text, x->entry);
  uint64_t bytes;
  for (int i = 0; list && next_parameter(&list, &bytes); i++) {
    if (i == x->nargs)
      return error_set(KILN_BAD_CONTRACT, "%s: step %s: entry %s takes more parameters than the %d that the contract passes; emit the file anew",
                       v->file, x->name, x->entry, x->nargs);
    bool map = x->args[i].kind == ARG_MAP, address = x->args[i].kind == ARG_TENSOR || x->args[i].kind == ARG_WORKSPACE;
    uint64_t most = map ? sizeof(DrvTensorMap) : sizeof(ExprValue);
    if (bytes > most || ((map || address) && bytes && bytes != most)) /* 0: no type, which the driver will not take */
      return error_set(KILN_BAD_CONTRACT, "%s: step %s: parameter %d of entry %s has %llu bytes; expected %s%llu, as the contract has it; emit the "
                       "file anew", v->file, x->name, i, x->entry, (unsigned long long)bytes, map || address ? "" : "at most ",
                       (unsigned long long)most);
  }
  return KILN_OK;
}

kiln_status module_load(const kiln_device *dev, Variant *v) {
  if (v->module) return KILN_OK;
  const Contract *c = &v->contract;
  size_t function_bytes = (size_t)c->nstep * sizeof *v->function, dynamic_bytes = (size_t)c->nstep * sizeof *v->dynamic_bytes;
  if (!v->function) v->function = kiln_mem(NULL, 0, function_bytes);
  if (!v->dynamic_bytes) v->dynamic_bytes = kiln_mem(NULL, 0, dynamic_bytes);
  if (!v->function || !v->dynamic_bytes) return error_set(KILN_NO_MEMORY, "out of memory while loading %s", v->file);
  memset(v->function, 0, function_bytes);
  memset(v->dynamic_bytes, 0, dynamic_bytes);
  DrvModule module = NULL;
  kiln_status s = load_text(dev, v, &module);
  for (int i = 0; !s && i < c->nstep; i++) {
    DrvResult result = dev->driver->cuModuleGetFunction(&v->function[i], module, c->step[i].entry);
    if (result == DRV_NOT_FOUND)
      s = error_set(KILN_BAD_CONTRACT, "%s: step %s names entry %s, which the PTX does not have; emit the file anew", v->file,
                    c->step[i].name, c->step[i].entry);
    else if (result)
      s = device_result(dev, result, "cuModuleGetFunction");
    else
      s = check_parameters(v, &c->step[i]);
  }
  if (!s)
    v->module = module;
  else if (module)
    dev->driver->cuModuleUnload(module);
  return s;
}

void module_unload(const kiln_device *dev, Variant *v) {
  DeviceScope scope;
  bool entered = device_enter(dev, &scope) == KILN_OK; /* if not, the driver is asked all the same: it may still know the module */
  dev->driver->cuModuleUnload(v->module);
  if (entered) device_leave(dev, &scope);
  v->module = NULL;
}

/* Beyond 48 KB a function must be told in advance; the allowance only grows, since other plans may rely on it. Steps may share an
 * entry, and then its allowance. */
kiln_status module_allow_shared(const kiln_device *dev, Variant *v, int step, int bytes) {
  enum { ALWAYS_ALLOWED = 48 << 10 };
  DrvFunction function = v->function[step];
  int allowed = ALWAYS_ALLOWED;
  for (int i = 0; i < v->contract.nstep; i++)
    if (v->function[i] == function && v->dynamic_bytes[i] > allowed) allowed = v->dynamic_bytes[i];
  if (bytes <= allowed) return KILN_OK;
  DrvResult result = dev->driver->cuFuncSetAttribute(function, DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
  if (result == DRV_INVALID_VALUE)
    return error_set(KILN_UNSUPPORTED,
                     "%s: step %s needs %d bytes of shared memory; a block of %s has at most %d, static memory included", v->file,
                     v->contract.step[step].name, bytes, dev->info.name, dev->limits.shared_bytes);
  if (result) return device_result(dev, result, "cuFuncSetAttribute");
  v->dynamic_bytes[step] = bytes;
  return KILN_OK;
}

kiln_status module_allow_cluster(const kiln_device *dev, Variant *v, int step, unsigned blocks) {
  DrvResult result = dev->driver->cuFuncSetAttribute(v->function[step], DRV_FUNC_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
  if (!result) return KILN_OK;
  kiln_status s = device_result(dev, result, "cuFuncSetAttribute");
  return error_prefix(result == DRV_INVALID_VALUE ? KILN_UNSUPPORTED : s, "%s: step %s has clusters of %u blocks, which %s does not allow: ",
                      v->file, v->contract.step[step].name, blocks, dev->info.name);
}
