/* api_module.c - driver entry points: modules, functions, launches. A launch is executed before the call returns; a kernel that trips
 * a check fails it, and fails the next synchronising call as well, unless another launch comes first. */
#include "api.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 28 };

typedef struct JitLog { char *info, *error; size_t info_bytes, error_bytes; void **error_size, **info_size; } JitLog;

static void read_jit_options(unsigned n, const unsigned *options, void **values, JitLog *log) {
  *log = (JitLog){0};
  for (unsigned i = 0; options && values && i < n; i++) {
    switch (options[i]) {
    case DRV_JIT_INFO_LOG_BUFFER: log->info = values[i]; break;
    case DRV_JIT_ERROR_LOG_BUFFER: log->error = values[i]; break;
    case DRV_JIT_INFO_LOG_BUFFER_SIZE_BYTES: log->info_bytes = (size_t)(uintptr_t)values[i], log->info_size = &values[i]; break;
    case DRV_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: log->error_bytes = (size_t)(uintptr_t)values[i], log->error_size = &values[i]; break;
    default: break; /* advice to a compiler */
    }
  }
}

static void write_log(char *buffer, size_t bytes, void **size, const char *text) {
  if (buffer && bytes) snprintf(buffer, bytes, "%s", text);
  if (size) *size = (void *)(uintptr_t)(text[0] ? strlen(text) + 1 : 0);
}

static DrvResult load(DrvModule *module, const char *text, unsigned n, unsigned *options, void **values) {
  char log[800];
  JitLog jit;
  DrvResult code;
  struct CUctx_st *ctx = sim_current();
  if (!ctx) return DRV_INVALID_CONTEXT;
  read_jit_options(n, options, values, &jit);
  SimModule *m = sim_parse_module(ctx->dev, text, &code, log, sizeof log);
  write_log(jit.error, jit.error_bytes, jit.error_size, m ? "" : log);
  write_log(jit.info, jit.info_bytes, jit.info_size, "");
  if (!m) {
    sim_report_hand('r', log);
    return sim_say(code, "%s", log);
  }
  m->ctx = ctx;
  if (!sim_handle_add(&sim_state.modules, m)) {
    sim_module_free(m);
    return sim_say(DRV_OUT_OF_MEMORY, "out of memory");
  }
  *module = (DrvModule)(void *)m;
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuModuleLoadDataEx(DrvModule *module, const void *image, unsigned n, unsigned *options, void **values) {
  sim_enter();
  if (!module || !image) return sim_leave(DRV_INVALID_VALUE);
  if (strncmp(image, "\177ELF", 4) == 0) return sim_leave(sim_say(DRV_INVALID_IMAGE, "a cubin: the simulator runs PTX text"));
  return sim_leave(load(module, image, n, options, values));
}
DRV_EXPORT DrvResult cuModuleLoadData(DrvModule *module, const void *image) { return cuModuleLoadDataEx(module, image, 0, NULL, NULL); }

DrvResult sim_read_file(const char *path, SimBuf *text) {
  FILE *f = fopen(path, "rb");
  if (!f) return sim_say(301, "%s: cannot be read", path); /* file not found */
  bool ok = true;
  for (size_t got = 1; ok && got && text->n < MAX_FILE;) {
    char *at = sim_push(text, 65536);
    ok = at != NULL;
    if (!ok) break;
    got = fread(at, 1, 65536, f);
    text->n -= 65536 - got;
  }
  fclose(f);
  return ok && sim_push(text, 1) ? DRV_SUCCESS : sim_say(DRV_OUT_OF_MEMORY, "out of memory");
}

DRV_EXPORT DrvResult cuModuleLoad(DrvModule *module, const char *path) {
  sim_enter();
  if (!module || !path) return sim_leave(DRV_INVALID_VALUE);
  SimBuf text = {0};
  DrvResult code = sim_read_file(path, &text);
  if (!code) code = load(module, text.at, 0, NULL, NULL);
  sim_buf_free(&text);
  return sim_leave(code);
}

SimModule *sim_known_module(DrvModule module) {
  if (sim_handle_known(&sim_state.modules, module)) return (SimModule *)(void *)module;
  sim_say(DRV_INVALID_HANDLE, "no such module");
  return NULL;
}

SimFunction *sim_known_function(DrvFunction function) {
  for (uint32_t i = 0; i < SIM_COUNT(&sim_state.modules, SimModule *); i++)
    if (sim_handle_known(&SIM_AT(&sim_state.modules, SimModule *, i)->functions, function)) return (SimFunction *)(void *)function;
  sim_say(DRV_INVALID_HANDLE, "no such function");
  return NULL;
}

DRV_EXPORT DrvResult cuModuleUnload(DrvModule module) {
  sim_enter();
  SimModule *m = sim_known_module(module);
  if (!m) return sim_leave(DRV_INVALID_HANDLE);
  sim_handle_drop(&sim_state.modules, m);
  sim_module_free(m);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuModuleGetFunction(DrvFunction *function, DrvModule module, const char *name) {
  sim_enter();
  if (!function || !name) return sim_leave(DRV_INVALID_VALUE);
  SimModule *m = sim_known_module(module);
  if (!m) return sim_leave(DRV_INVALID_HANDLE);
  for (uint32_t i = 0; i < SIM_COUNT(&m->functions, SimFunction *); i++) {
    SimFunction *f = SIM_AT(&m->functions, SimFunction *, i);
    if (!f->entry || strcmp(f->name, name) != 0) continue;
    *function = (DrvFunction)(void *)f;
    return sim_leave(DRV_SUCCESS);
  }
  return sim_leave(sim_say(DRV_NOT_FOUND, "the module has no entry '%.100s'", name));
}

DRV_EXPORT DrvResult cuModuleGetGlobal_v2(DrvPtr *ptr, size_t *bytes, DrvModule module, const char *name) {
  sim_enter();
  if (!name) return sim_leave(DRV_INVALID_VALUE);
  SimModule *m = sim_known_module(module);
  if (!m) return sim_leave(DRV_INVALID_HANDLE);
  for (uint32_t i = 0; i < SIM_COUNT(&m->vars, SimVar); i++) {
    SimVar *v = &SIM_AT(&m->vars, SimVar, i);
    if (strcmp(v->name, name) != 0) continue;
    if (ptr) *ptr = v->address;
    if (bytes) *bytes = (size_t)v->bytes;
    return sim_leave(DRV_SUCCESS);
  }
  return sim_leave(sim_say(DRV_NOT_FOUND, "the module has no array '%.100s'", name));
}

/* ---- functions ---- */

static uint32_t product(const uint32_t d[3]) { return d[0] * d[1] * d[2]; }

static int most_threads(const SimFunction *f) {
  uint32_t by_regs = 65536 / f->regs / 32 * 32, most = by_regs < 1024 ? by_regs : 1024;
  if (f->reqntid[0]) most = product(f->reqntid);
  else if (f->maxntid[0]) most = product(f->maxntid);
  return (int)most;
}

static int registers(const SimFunction *f) { /* the estimate, brought below what the declared block leaves */
  uint32_t threads = f->reqntid[0] ? product(f->reqntid) : f->maxntid[0] ? product(f->maxntid) : 0, regs = (f->regs + 7) / 8 * 8;
  uint32_t room = threads ? 65536 / ((threads + 31) / 32 * 32) / 8 * 8 : 255;
  regs = regs > room ? room : regs;
  return (int)(regs > 255 ? 255 : regs);
}

DRV_EXPORT DrvResult cuFuncGetAttribute(int *value, unsigned attribute, DrvFunction function) {
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (!value) return sim_leave(DRV_INVALID_VALUE);
  if (!f) return sim_leave(DRV_INVALID_HANDLE);
  switch (attribute) {
  case DRV_FUNC_MAX_THREADS_PER_BLOCK: *value = most_threads(f); break;
  case DRV_FUNC_SHARED_SIZE_BYTES: *value = (int)f->shared_static; break;
  case DRV_FUNC_NUM_REGS: *value = registers(f); break;
  case DRV_FUNC_PTX_VERSION: *value = f->module->version; break;
  case DRV_FUNC_BINARY_VERSION: *value = f->module->dev->target->sm; break;
  case DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = (int)f->max_dynamic; break;
  case DRV_FUNC_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: *value = f->large_clusters; break;
  case 2: /* constant bytes */
  case DRV_FUNC_LOCAL_SIZE_BYTES: *value = 0; break;
  default: return sim_leave(sim_say(DRV_INVALID_VALUE, "function attribute %u is not simulated", attribute));
  }
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuFuncSetAttribute(DrvFunction function, unsigned attribute, int value) {
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (!f) return sim_leave(DRV_INVALID_HANDLE);
  if (attribute == DRV_FUNC_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) return f->large_clusters = value != 0, sim_leave(DRV_SUCCESS);
  if (attribute == 9) return sim_leave(DRV_SUCCESS); /* preferred carve-out: advice */
  if (attribute != DRV_FUNC_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    return sim_leave(sim_say(DRV_INVALID_VALUE, "function attribute %u cannot be set", attribute));
  uint32_t most = f->module->dev->target->shared_block;
  if (value < 0 || f->shared_static + (uint64_t)value > most)
    return sim_leave(sim_say(DRV_INVALID_VALUE, "%d bytes of dynamic and %u of static shared memory: a block of %s has at most %u", value,
                             f->shared_static, f->module->dev->target->name, most));
  f->max_dynamic = (uint32_t)value;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, DrvFunction function, int threads, size_t shared) {
  sim_enter();
  SimFunction *f = sim_known_function(function);
  if (!blocks || threads < 1 || threads > 1024) return sim_leave(DRV_INVALID_VALUE);
  if (!f) return sim_leave(DRV_INVALID_HANDLE);
  *blocks = (int)sim_launch_occupancy(f->module->dev->target, f, (uint32_t)threads, shared);
  return sim_leave(DRV_SUCCESS);
}

/* ---- launches ---- */

static DrvResult check_launch(const SimFunction *f, const SimLaunch *l) {
  const SimTarget *t = l->dev->target;
  uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
  if (!l->grid[0] || !l->grid[1] || !l->grid[2] || l->grid[0] > 2147483647u || l->grid[1] > 65535 || l->grid[2] > 65535)
    return sim_say(DRV_INVALID_VALUE, "%s: grid %u,%u,%u is outside 1..2147483647,65535,65535", f->name, l->grid[0], l->grid[1], l->grid[2]);
  if (!threads || l->block[0] > 1024 || l->block[1] > 1024 || l->block[2] > 64 || threads > 1024)
    return sim_say(DRV_INVALID_VALUE, "%s: block %u,%u,%u has not 1 to 1024 threads", f->name, l->block[0], l->block[1], l->block[2]);
  for (int i = 0; i < 3 && f->reqntid[0]; i++)
    if (l->block[i] != f->reqntid[i])
      return sim_say(DRV_INVALID_VALUE, "%s: block %u,%u,%u, the kernel requires %u,%u,%u", f->name, l->block[0], l->block[1], l->block[2],
                     f->reqntid[0], f->reqntid[1], f->reqntid[2]);
  if (f->maxntid[0] && threads > product(f->maxntid))
    return sim_say(DRV_LAUNCH_OUT_OF_RESOURCES, "%s: %u threads, the kernel allows %u", f->name, (unsigned)threads, product(f->maxntid));
  uint64_t shared = (uint64_t)l->dynamic_bytes + f->shared_static;
  if (l->dynamic_bytes > f->max_dynamic || shared > t->shared_block)
    return sim_say(DRV_INVALID_VALUE, "%s: %u bytes of dynamic and %u of static shared memory; allowed are %u dynamic (cuFuncSetAttribute) and %u in all",
                   f->name, l->dynamic_bytes, f->shared_static, f->max_dynamic, t->shared_block);
  return DRV_SUCCESS;
}

static DrvResult gather_params(const SimFunction *f, void **params, void **extra, uint8_t *block) {
  if (extra) {
    const void *buffer = NULL;
    size_t bytes = 0;
    for (int i = 0; i < 16 && extra[i] != DRV_EXTRA_END; i += 2) {
      if (extra[i] == DRV_EXTRA_BUFFER) buffer = extra[i + 1];
      else if (extra[i] == DRV_EXTRA_BUFFER_SIZE && extra[i + 1]) bytes = *(const size_t *)extra[i + 1];
      else return sim_say(DRV_INVALID_VALUE, "%s: unknown marker in extra", f->name);
    }
    if (params || !buffer || bytes < f->param_bytes)
      return sim_say(DRV_INVALID_VALUE, "%s: the argument buffer has %zu bytes, the kernel takes %u", f->name, bytes, f->param_bytes);
    memcpy(block, buffer, f->param_bytes);
    return DRV_SUCCESS;
  }
  for (uint32_t i = 0; i < f->nparams; i++) {
    if (!params || !params[i]) return sim_say(DRV_INVALID_VALUE, "%s: argument %u of %u is missing", f->name, i, f->nparams);
    memcpy(block + f->params[i].offset, params[i], f->params[i].bytes);
  }
  return DRV_SUCCESS;
}

static SimPolicy policy_of(const SimDevice *d) {
  if (d->policy != POLICY_ALTERNATE) return d->policy;
  return d->launches & 1 ? POLICY_EAGER : POLICY_LAZY;
}

enum { PORTABLE_CLUSTER = 8, LARGEST_CLUSTER = 16 };

/* The shape of a cluster: the kernel's, or the launch's. */
static DrvResult find_cluster(const SimFunction *f, SimLaunch *l, const uint32_t *given) {
  const uint32_t *shape = f->reqcluster[0] ? f->reqcluster : given;
  uint64_t n = 1;
  for (int i = 0; i < 3; i++) {
    l->cluster[i] = shape[0] && shape[i] ? shape[i] : 1;
    n *= l->cluster[i];
    if (f->reqcluster[0] && given[0] && given[i] != f->reqcluster[i])
      return sim_say(DRV_INVALID_CLUSTER_SIZE, "%s: a cluster of %u,%u,%u, the kernel requires %u,%u,%u", f->name, given[0], given[1], given[2],
                     f->reqcluster[0], f->reqcluster[1], f->reqcluster[2]);
  }
  if (n == 1) return DRV_SUCCESS;
  if (!sim_target_clusters(l->dev->target)) return sim_say(DRV_INVALID_CLUSTER_SIZE, "%s: %s has no clusters", f->name, l->dev->target->name);
  uint32_t most = f->large_clusters ? LARGEST_CLUSTER : PORTABLE_CLUSTER;
  if (n > most || (f->maxrank && n > f->maxrank))
    return sim_say(DRV_INVALID_CLUSTER_SIZE, "%s: a cluster of %llu blocks, at most %u are possible (%u with the function attribute for larger ones)",
                   f->name, (unsigned long long)n, f->maxrank && f->maxrank < most ? f->maxrank : most, LARGEST_CLUSTER);
  for (int i = 0; i < 3; i++)
    if (l->grid[i] % l->cluster[i])
      return sim_say(DRV_INVALID_VALUE, "%s: the grid %u,%u,%u is no multiple of the cluster %u,%u,%u", f->name, l->grid[0], l->grid[1], l->grid[2],
                     l->cluster[0], l->cluster[1], l->cluster[2]);
  return DRV_SUCCESS;
}

typedef struct Extras { bool cooperative, overlaps; uint32_t cluster[3]; } Extras; /* what launch attributes say */

static DrvResult launch(SimDevice *d, const SimFunction *f, const DrvLaunchConfig *c, const Extras *x, void **params, void **extra) {
  bool cooperative = x->cooperative;
  SimLaunch l = {.dev = d, .fn = f, .grid = {c->grid_x, c->grid_y, c->grid_z}, .block = {c->block_x, c->block_y, c->block_z},
                 .dynamic_bytes = c->shared_bytes, .shared_bytes = c->shared_bytes + f->shared_static, .checks = d->checks, .seed = d->seed,
                 .policy = policy_of(d), .cooperative = cooperative, .overlaps = x->overlaps};
  DrvResult code = check_launch(f, &l);
  if (code) return code;
  l.threads = l.block[0] * l.block[1] * l.block[2];
  l.nwarps = (l.threads + SIM_LANES - 1) / SIM_LANES;
  code = find_cluster(f, &l, x->cluster);
  if (code) return code;
  l.clocks = f->uses_async ? CLOCKS : 1;
  l.ctas = (uint64_t)l.grid[0] * l.grid[1] * l.grid[2];
  uint32_t most = sim_launch_occupancy(d->target, f, l.threads, l.dynamic_bytes) * (uint32_t)d->sms;
  if (cooperative && l.ctas > most)
    return sim_say(DRV_COOPERATIVE_LAUNCH_TOO_LARGE, "%s: a cooperative launch of %llu blocks; %d multiprocessors hold %u at a time", f->name,
                   (unsigned long long)l.ctas, d->sms, most);
  if (cooperative && !sim_workspace_open(d)) return sim_say(DRV_OUT_OF_MEMORY, "out of memory");
  l.workspace = cooperative ? d->workspace : 0;
  uint8_t *block = sim_new(f->param_bytes);
  if (!block) return sim_say(DRV_OUT_OF_MEMORY, "out of memory");
  code = gather_params(f, params, extra, block);
  if (!code) {
    l.params = block;
    code = sim_launch_run(&l);
    d->launches++;
    d->found = l.code != DRV_SUCCESS;
    d->finding = l.finding;
    d->pending = code;
    if (code) sim_say(code, "%s", d->found ? l.finding.text : "out of memory for the launch");
  }
  sim_delete(block, f->param_bytes);
  return code;
}

static DrvResult launch_config(const DrvLaunchConfig *c, DrvFunction function, const Extras *x, void **params, void **extra) {
  SimDevice *d = sim_current_device();
  if (!d) return DRV_INVALID_CONTEXT;
  SimFunction *f = sim_known_function(function);
  if (!f || !sim_stream_ok(c->stream)) return DRV_INVALID_HANDLE;
  if (f->module->dev != d) return sim_say(DRV_INVALID_CONTEXT, "%s belongs to another device", f->name);
  if (!sim_stream_of(c->stream, d)) return DRV_INVALID_HANDLE;
  uint64_t before = d->launches;
  DrvResult code = launch(d, f, c, x, params, extra);
  sim_report_hand(!code ? 'l' : d->launches != before ? 'f' : 'r', sim_message());
  return code;
}

DRV_EXPORT DrvResult cuLaunchKernel(DrvFunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                    unsigned shared, DrvStream stream, void **params, void **extra) {
  sim_enter();
  DrvLaunchConfig c = {.grid_x = gx, .grid_y = gy, .grid_z = gz, .block_x = bx, .block_y = by, .block_z = bz, .shared_bytes = shared, .stream = stream};
  return sim_leave(launch_config(&c, function, &(Extras){0}, params, extra));
}

DRV_EXPORT DrvResult cuLaunchCooperativeKernel(DrvFunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                               unsigned bz, unsigned shared, DrvStream stream, void **params) {
  sim_enter();
  DrvLaunchConfig c = {.grid_x = gx, .grid_y = gy, .grid_z = gz, .block_x = bx, .block_y = by, .block_z = bz, .shared_bytes = shared, .stream = stream};
  return sim_leave(launch_config(&c, function, &(Extras){.cooperative = true}, params, NULL));
}

static DrvResult check_attributes(const DrvLaunchConfig *c, Extras *x) {
  for (unsigned i = 0; i < c->count; i++) {
    const DrvLaunchAttribute *a = &c->attributes[i];
    bool cluster = a->id == DRV_LAUNCH_CLUSTER_DIMENSION;
    if (cluster && (!a->value.cluster.x || !a->value.cluster.y || !a->value.cluster.z))
      return sim_say(DRV_INVALID_VALUE, "a cluster of %u,%u,%u blocks", a->value.cluster.x, a->value.cluster.y, a->value.cluster.z);
    if (cluster) x->cluster[0] = a->value.cluster.x, x->cluster[1] = a->value.cluster.y, x->cluster[2] = a->value.cluster.z;
    bool harmless = a->id == 0 || a->id == 1 || a->id == 8 || a->id == 14 || /* ignore, access window, priority, carve-out */
                    a->id == DRV_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION || a->id == DRV_LAUNCH_COOPERATIVE;
    if (a->id == DRV_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION) x->overlaps = a->value.programmatic_serialization != 0;
    if (a->id == DRV_LAUNCH_COOPERATIVE) x->cooperative = a->value.cooperative != 0;
    if (!cluster && !harmless) return sim_say(DRV_NOT_SUPPORTED, "launch attribute %u is not simulated", a->id);
  }
  return DRV_SUCCESS;
}

DRV_EXPORT DrvResult cuLaunchKernelEx(const DrvLaunchConfig *config, DrvFunction function, void **params, void **extra) {
  sim_enter();
  if (!config || (config->count && !config->attributes)) return sim_leave(DRV_INVALID_VALUE);
  Extras x = {0};
  DrvResult code = check_attributes(config, &x);
  return sim_leave(code ? code : launch_config(config, function, &x, params, extra));
}

/* ---- occupancy of clusters ---- */

/* What a launch like this would be: its cluster, and how many blocks an SM holds. A GPU's clusters lie within a part of its SMs; a simulated
 * device is one such part. */
static DrvResult plan_clusters(DrvFunction function, const DrvLaunchConfig *c, SimLaunch *l, uint32_t *per_sm) {
  SimFunction *f = sim_known_function(function);
  Extras x = {0};
  if (!f) return DRV_INVALID_HANDLE;
  DrvResult code = check_attributes(c, &x);
  *l = (SimLaunch){.dev = f->module->dev, .fn = f, .grid = {c->grid_x, c->grid_y, c->grid_z}, .block = {c->block_x, c->block_y, c->block_z},
                   .dynamic_bytes = c->shared_bytes};
  if (!code) code = check_launch(f, l);
  if (!code) code = find_cluster(f, l, x.cluster);
  if (!code) *per_sm = sim_launch_occupancy(l->dev->target, f, product(l->block), l->dynamic_bytes);
  return code;
}

DRV_EXPORT DrvResult cuOccupancyMaxActiveClusters(int *clusters, DrvFunction function, const DrvLaunchConfig *config) {
  SimLaunch l;
  uint32_t per_sm = 0;
  sim_enter();
  if (!clusters || !config || (config->count && !config->attributes)) return sim_leave(DRV_INVALID_VALUE);
  DrvResult code = plan_clusters(function, config, &l, &per_sm);
  if (!code) *clusters = (int)((uint64_t)per_sm * (uint32_t)l.dev->sms / product(l.cluster));
  return sim_leave(code);
}

/* The most blocks of a cluster, whatever shape the configuration names. */
DRV_EXPORT DrvResult cuOccupancyMaxPotentialClusterSize(int *blocks, DrvFunction function, const DrvLaunchConfig *config) {
  SimLaunch l;
  uint32_t per_sm = 0;
  sim_enter();
  if (!blocks || !config || (config->count && !config->attributes)) return sim_leave(DRV_INVALID_VALUE);
  DrvLaunchConfig alone = *config;
  alone.count = 0;
  DrvResult code = plan_clusters(function, &alone, &l, &per_sm);
  if (code) return sim_leave(code);
  uint32_t most = sim_target_clusters(l.dev->target) ? l.fn->large_clusters ? LARGEST_CLUSTER : PORTABLE_CLUSTER : 1;
  uint64_t room = (uint64_t)per_sm * (uint32_t)l.dev->sms;
  if (l.fn->maxrank && l.fn->maxrank < most) most = l.fn->maxrank;
  while (most > 1 && most > room) most /= 2;
  *blocks = room ? (int)most : 0;
  return sim_leave(DRV_SUCCESS);
}
