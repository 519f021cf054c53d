/* api_settings.c - driver entry points: settings of contexts, and questions about devices that a program asks before it begins. Limits
 * and preferences are kept and given back; nothing depends on them. */
#include "api.h"
#include <stdio.h>
#include <string.h>

/* stack bytes per thread, printf buffer, heap, depth and number of pending launches, L2 fetch granularity, persisting L2 */
static const size_t first_limits[SIM_LIMITS] = {1024, 1 << 20, 8 << 20, 2, 2048, 64, 0};

DRV_EXPORT DrvResult cuCtxGetLimit(size_t *value, unsigned limit) {
  sim_enter();
  struct CUctx_st *c = sim_current();
  if (!value || limit >= SIM_LIMITS) return sim_leave(sim_say(DRV_INVALID_VALUE, "limit %u is not simulated", limit));
  if (!c) return sim_leave(DRV_INVALID_CONTEXT);
  *value = c->limit_set >> limit & 1 ? c->limit[limit] : first_limits[limit];
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxSetLimit(unsigned limit, size_t value) {
  sim_enter();
  struct CUctx_st *c = sim_current();
  if (limit >= SIM_LIMITS) return sim_leave(sim_say(DRV_INVALID_VALUE, "limit %u is not simulated", limit));
  if (!c) return sim_leave(DRV_INVALID_CONTEXT);
  c->limit[limit] = value;
  c->limit_set |= 1u << limit;
  return sim_leave(DRV_SUCCESS);
}

static DrvResult get_setting(unsigned *value, size_t offset) {
  sim_enter();
  struct CUctx_st *c = sim_current();
  if (!value) return sim_leave(DRV_INVALID_VALUE);
  if (!c) return sim_leave(DRV_INVALID_CONTEXT);
  memcpy(value, (char *)c + offset, sizeof *value);
  return sim_leave(DRV_SUCCESS);
}

static DrvResult set_setting(unsigned value, size_t offset) {
  sim_enter();
  struct CUctx_st *c = sim_current();
  if (!c) return sim_leave(DRV_INVALID_CONTEXT);
  memcpy((char *)c + offset, &value, sizeof value);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxGetFlags(unsigned *flags) { return get_setting(flags, offsetof(struct CUctx_st, flags)); }
DRV_EXPORT DrvResult cuCtxSetFlags(unsigned flags) { return set_setting(flags, offsetof(struct CUctx_st, flags)); }
DRV_EXPORT DrvResult cuCtxGetCacheConfig(unsigned *config) { return get_setting(config, offsetof(struct CUctx_st, cache_config)); }
DRV_EXPORT DrvResult cuCtxSetCacheConfig(unsigned config) { return set_setting(config, offsetof(struct CUctx_st, cache_config)); }
DRV_EXPORT DrvResult cuCtxGetSharedMemConfig(unsigned *config) { return get_setting(config, offsetof(struct CUctx_st, bank_config)); }
DRV_EXPORT DrvResult cuCtxSetSharedMemConfig(unsigned config) { return set_setting(config, offsetof(struct CUctx_st, bank_config)); }

DRV_EXPORT DrvResult cuCtxGetApiVersion(DrvContext context, unsigned *version) {
  sim_enter();
  if (!version) return sim_leave(DRV_INVALID_VALUE);
  if (context ? !sim_handle_known(&sim_state.contexts, context) : !sim_current()) return sim_leave(sim_say(DRV_INVALID_CONTEXT, "no such context"));
  *version = 3020; /* contexts of cuCtxCreate_v2 and later */
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuCtxGetId(DrvContext context, unsigned long long *id) {
  sim_enter();
  if (!id) return sim_leave(DRV_INVALID_VALUE);
  for (uint32_t i = 0; i < SIM_COUNT(&sim_state.contexts, void *); i++)
    if (SIM_AT(&sim_state.contexts, void *, i) == (context ? context : sim_current())) return *id = i + 1, sim_leave(DRV_SUCCESS);
  return sim_leave(sim_say(DRV_INVALID_CONTEXT, "no such context"));
}

DRV_EXPORT DrvResult cuCtxGetStreamPriorityRange(int *least, int *greatest) { /* one priority alone */
  sim_enter();
  if (!sim_current()) return sim_leave(DRV_INVALID_CONTEXT);
  if (least) *least = 0;
  if (greatest) *greatest = 0;
  return sim_leave(DRV_SUCCESS);
}

/* ---- contexts under their other versions: the parameters in between ask for what is not simulated unless they are NULL ---- */

DRV_EXPORT DrvResult cuCtxCreate_v3(DrvContext *context, const void *affinities, int count, unsigned flags, DrvDevice device) {
  if (affinities && count) return sim_refuse("cuCtxCreate: execution affinities are not simulated");
  return cuCtxCreate_v2(context, flags, device);
}

typedef struct ContextParams { void *affinities; int count; void *shared; } ContextParams;
DRV_EXPORT DrvResult cuCtxCreate_v4(DrvContext *context, const ContextParams *params, unsigned flags, DrvDevice device) {
  if (params && ((params->affinities && params->count) || params->shared)) return sim_refuse("cuCtxCreate: its parameters are not simulated; pass NULL");
  return cuCtxCreate_v2(context, flags, device);
}

DRV_EXPORT DrvResult cuDevicePrimaryCtxGetState(DrvDevice device, unsigned *flags, int *active) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!flags || !active) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  *flags = d->primary ? d->primary->flags : 0;
  *active = d->primary_users > 0;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDevicePrimaryCtxSetFlags_v2(DrvDevice device, unsigned flags) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  if (d->primary) d->primary->flags = flags;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDevicePrimaryCtxReset_v2(DrvDevice device) { /* as its last release does, but that its users keep it */
  sim_enter();
  SimDevice *d = sim_device_at(device);
  int users = d ? d->primary_users : 0;
  if (users) d->primary_users = 1;
  sim_leave(DRV_SUCCESS);
  if (!users) return d ? DRV_SUCCESS : DRV_INVALID_DEVICE;
  DrvResult code = cuDevicePrimaryCtxRelease_v2(device);
  d->primary_users = users;
  return code;
}

/* ---- devices ---- */

DRV_EXPORT DrvResult cuDeviceGetUuid_v2(unsigned char *uuid, DrvDevice device) { return cuDeviceGetUuid(uuid, device); }

DRV_EXPORT DrvResult cuDeviceComputeCapability(int *major, int *minor, DrvDevice device) {
  sim_enter();
  SimDevice *d = sim_device_at(device);
  if (!major || !minor) return sim_leave(DRV_INVALID_VALUE);
  if (!d) return sim_leave(DRV_INVALID_DEVICE);
  *major = d->target->sm / 10;
  *minor = d->target->sm % 10;
  return sim_leave(DRV_SUCCESS);
}

/* A bus that no machine has: domain 0x51ad. */
DRV_EXPORT DrvResult cuDeviceGetPCIBusId(char *id, int bytes, DrvDevice device) {
  sim_enter();
  if (!id || bytes < 13) return sim_leave(sim_say(DRV_INVALID_VALUE, "an id takes 13 bytes"));
  if (!sim_device_at(device)) return sim_leave(DRV_INVALID_DEVICE);
  snprintf(id, (size_t)bytes, "51ad:%02x:00.0", (unsigned)device & 0xff);
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDeviceGetByPCIBusId(DrvDevice *device, const char *id) {
  sim_enter();
  unsigned domain, bus;
  if (!device || !id) return sim_leave(DRV_INVALID_VALUE);
  if (sscanf(id, "%x:%x:", &domain, &bus) != 2 || domain != 0x51ad || !sim_device_at((int)bus))
    return sim_leave(sim_say(DRV_INVALID_DEVICE, "no device %.40s", id));
  *device = (DrvDevice)bus;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuDeviceCanAccessPeer(int *can, DrvDevice device, DrvDevice peer) {
  sim_enter();
  if (!can) return sim_leave(DRV_INVALID_VALUE);
  if (!sim_device_at(device) || !sim_device_at(peer)) return sim_leave(DRV_INVALID_DEVICE);
  *can = 0;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT DrvResult cuProfilerStart(void) { return DRV_SUCCESS; }
DRV_EXPORT DrvResult cuProfilerStop(void) { return DRV_SUCCESS; }
