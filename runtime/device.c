/* device.c - opening and closing devices, their properties, and the context that is current around every call. */
#include "device.h"
#include "alloc.h"
#include "error.h"
#include "prefer.h"
#include <stdio.h>
#include <string.h>

/* ---- contexts ---- */

kiln_status device_enter(const kiln_device *dev, DeviceScope *scope) {
  DrvContext current = NULL;
  scope->pushed = false;
  DrvResult result = dev->driver->cuCtxGetCurrent(&current);
  if (result) return device_result(dev, result, "cuCtxGetCurrent");
  if (current == dev->context) return KILN_OK;
  result = dev->driver->cuCtxPushCurrent_v2(dev->context);
  if (result) return device_result(dev, result, "cuCtxPushCurrent");
  scope->pushed = true;
  return KILN_OK;
}

void device_leave(const kiln_device *dev, DeviceScope *scope) {
  DrvContext popped;
  if (scope->pushed) dev->driver->cuCtxPopCurrent_v2(&popped);
  scope->pushed = false;
}

kiln_status device_result(const kiln_device *dev, DrvResult result, const char *call) {
  return result == DRV_SUCCESS ? KILN_OK : driver_error(dev->driver, result, call);
}

/* ---- what the device is ---- */

/* Per capability: whether its own target has the suffix a, and dense 16-bit tensor FLOP per clock and SM. A row serves all
 * capabilities from its own up to the next row's. */
static const struct {
  int capability;
  bool suffix;
  int tensor_flop_clock;
} kinds[] = {
    {0, false, 256},  {75, false, 1024}, {80, false, 2048}, {86, false, 1024},
    {90, true, 4096}, {100, true, 8192}, {120, true, 1024},
};

/* Of two files that fit, the one made for the device itself, then for its family, then for the newest elder. */
int device_preference(const kiln_device *dev, const char *target) {
  const char *end = target + strlen(target);
  int64_t number;
  if (strncmp(target, "sm_", 3) != 0) return -1;
  char suffix = end[-1] == 'a' || end[-1] == 'f' ? *--end : 0;
  if (!expr_integer(target + 3, (size_t)(end - target - 3), &number) || number < 0 || number > 9999) return -1;
  int own = dev->info.compute_capability;
  if (suffix == 'a') return number == own ? 20001 : -1;
  if (suffix == 'f') return number / 10 == own / 10 && number <= own ? 10000 + (int)number : -1;
  return number <= own ? (int)number : -1;
}

typedef struct Attribute {
  unsigned attribute;
  int *value;
} Attribute;

static kiln_status read_attributes(kiln_device *dev, int *major, int *minor, int *memory_khz, int *bus_bits) {
  kiln_device_info *info = &dev->info;
  int pageable = 0, clusters = 0;
  const Attribute needed[] = {
      {DRV_DEVICE_COMPUTE_CAPABILITY_MAJOR, major},
      {DRV_DEVICE_COMPUTE_CAPABILITY_MINOR, minor},
      {DRV_DEVICE_MULTIPROCESSOR_COUNT, &info->sms},
      {DRV_DEVICE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &info->shared_bytes_block},
      {DRV_DEVICE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, &info->shared_bytes_sm},
      {DRV_DEVICE_MAX_GRID_DIM_X, &dev->limits.grid[0]},
      {DRV_DEVICE_MAX_GRID_DIM_Y, &dev->limits.grid[1]},
      {DRV_DEVICE_MAX_GRID_DIM_Z, &dev->limits.grid[2]},
      {DRV_DEVICE_MAX_THREADS_PER_BLOCK, &dev->limits.block_threads},
  };
  const Attribute welcome[] = {
      /* a driver that does not know them answers 0 */
      {DRV_DEVICE_CLOCK_RATE, &info->clock_khz},      {DRV_DEVICE_L2_CACHE_SIZE, &info->l2_bytes},
      {DRV_DEVICE_MEMORY_CLOCK_RATE, memory_khz},     {DRV_DEVICE_GLOBAL_MEMORY_BUS_WIDTH, bus_bits},
      {DRV_DEVICE_PAGEABLE_MEMORY_ACCESS, &pageable}, {DRV_DEVICE_CLUSTER_LAUNCH, &clusters},
  };
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    DrvResult result = dev->driver->cuDeviceGetAttribute(needed[i].value, needed[i].attribute, dev->device);
    if (result) return device_result(dev, result, "cuDeviceGetAttribute");
  }
  for (size_t i = 0; i < sizeof welcome / sizeof *welcome; i++)
    if (dev->driver->cuDeviceGetAttribute(welcome[i].value, welcome[i].attribute, dev->device)) *welcome[i].value = 0;
  dev->limits.shared_bytes = info->shared_bytes_block;
  dev->limits.pageable = pageable;
  dev->limits.clusters = clusters;
  return KILN_OK;
}

static kiln_status read_info(kiln_device *dev) {
  kiln_device_info *info = &dev->info;
  int major, minor, memory_khz, bus_bits;
  size_t bytes;
  kiln_status s = read_attributes(dev, &major, &minor, &memory_khz, &bus_bits);
  if (s) return s;
  DrvResult result = dev->driver->cuDeviceGetName(info->name, (int)sizeof info->name, dev->device);
  if (result) return device_result(dev, result, "cuDeviceGetName");
  result = dev->driver->cuDeviceTotalMem_v2(&bytes, dev->device);
  if (result) return device_result(dev, result, "cuDeviceTotalMem");
  result = dev->driver->cuDriverGetVersion(&info->driver_version);
  if (result) return device_result(dev, result, "cuDriverGetVersion");
  info->memory_bytes = bytes;
  info->compute_capability = major * 10 + minor;
  size_t kind = 0;
  while (kind + 1 < sizeof kinds / sizeof *kinds && kinds[kind + 1].capability <= info->compute_capability) kind++;
  snprintf(info->target, sizeof info->target, "sm_%d%s", info->compute_capability, kinds[kind].suffix ? "a" : "");
  double peak = (double)memory_khz * 2e3 * bus_bits / 8 * 1e-9; /* double data rate; bytes per ns */
  info->bandwidth_bytes_ns = peak > 0 ? 0.92 * peak : 900;
  double ghz = info->clock_khz > 0 ? info->clock_khz * 1e-6 : 1.5;
  info->tensor_flop_ns = ghz * info->sms * kinds[kind].tensor_flop_clock;
  return KILN_OK;
}

/* ---- opening ---- */

static kiln_status open_ordinal(kiln_device *dev, int ordinal) {
  const DriverTable *d = dev->driver;
  int count = 0;
  DrvResult result = d->cuDeviceGetCount(&count);
  if (result) return device_result(dev, result, "cuDeviceGetCount");
  if (count == 0) return error_set(KILN_NO_DEVICE, "the driver finds no GPU; \"sim:sm_90a\" opens the simulator");
  if (ordinal >= count)
    return error_set(KILN_NO_DEVICE, "there is no cuda:%d: the driver finds %d GPU%s, numbered from 0", ordinal, count,
                     count == 1 ? "" : "s");
  result = d->cuDeviceGet(&dev->device, ordinal);
  if (result) return device_result(dev, result, "cuDeviceGet");
  result = d->cuDevicePrimaryCtxRetain(&dev->context, dev->device);
  if (result) return device_result(dev, result, "cuDevicePrimaryCtxRetain");
  dev->retained = true;
  dev->info.ordinal = ordinal;
  return KILN_OK;
}

static kiln_status open_cuda(kiln_device *dev, const char *number, size_t bytes) {
  int64_t ordinal;
  if (!expr_integer(number, bytes, &ordinal) || ordinal < 0 || ordinal > 1023)
    return error_set(KILN_BAD_CALL, "kiln_open: \"cuda:%.32s\": a device number from 0 is expected after cuda:", number);
  kiln_status s = driver_load(DRIVER_CUDA, &dev->driver);
  return s ? s : open_ordinal(dev, (int)ordinal);
}

static kiln_status open_current(kiln_device *dev) {
  kiln_status s = driver_load(DRIVER_CUDA, &dev->driver);
  if (s) return s;
  DrvResult result = dev->driver->cuCtxGetCurrent(&dev->context);
  if (result) return device_result(dev, result, "cuCtxGetCurrent");
  if (!dev->context)
    return error_set(KILN_NO_DEVICE,
                     "kiln_open: \"current\", but this thread has no current CUDA context; make one current, or open \"cuda:0\"");
  result = dev->driver->cuCtxGetDevice(&dev->device);
  if (result) return device_result(dev, result, "cuCtxGetDevice");
  dev->info.ordinal = dev->device; /* the driver's devices are their ordinals */
  return KILN_OK;
}

static kiln_status open_simulated(kiln_device *dev, const char *options) {
  kiln_status s = driver_load(DRIVER_SIM, &dev->driver);
  if (s) return s;
  int ordinal = 0;
  if (dev->driver->kilnsim_configure(options, &ordinal)) {
    const char *why = NULL;
    if (dev->driver->kilnsim_message(&why) || !why || !*why) why = "the simulator refused it";
    return error_set(KILN_BAD_CALL, "kiln_open: \"sim:%s\": %s", options, why);
  }
  dev->info.simulated = 1;
  return open_ordinal(dev, ordinal);
}

static kiln_status open_where(kiln_device *dev, const char *where) {
  if (!where || strcmp(where, "cuda") == 0) return open_cuda(dev, "0", 1);
  if (strcmp(where, "current") == 0) return open_current(dev);
  if (strncmp(where, "cuda:", 5) == 0) return open_cuda(dev, where + 5, strlen(where + 5));
  if (strncmp(where, "sim:", 4) == 0 && where[4]) return open_simulated(dev, where + 4);
  return error_set(KILN_BAD_CALL,
                   "kiln_open: \"%.64s\" is no device: expected \"cuda:N\", \"current\", \"sim:sm_90a,...\" or NULL", where);
}

kiln_status kiln_open(kiln_device **out, const char *where) {
  if (!out) return error_set(KILN_BAD_CALL, "kiln_open: out is NULL");
  *out = NULL;
  kiln_device *dev = kiln_mem(NULL, 0, sizeof *dev);
  if (!dev) return error_set(KILN_NO_MEMORY, "kiln_open: out of memory");
  memset(dev, 0, sizeof *dev);
  dev->refs = 1;
  if (pthread_mutex_init(&dev->lock, NULL)) {
    kiln_mem(dev, sizeof *dev, 0);
    return error_set(KILN_NO_MEMORY, "kiln_open: out of memory for a lock");
  }
  kiln_status s = open_where(dev, where);
  if (!s) s = read_info(dev);
  if (s)
    device_release(dev);
  else
    *out = dev;
  return s;
}

/* ---- closing ---- */

void device_release(kiln_device *dev) {
  pthread_mutex_lock(&dev->lock);
  int left = --dev->refs;
  pthread_mutex_unlock(&dev->lock);
  if (left) return;
  prefer_free(dev);
  if (dev->retained) dev->driver->cuDevicePrimaryCtxRelease_v2(dev->device);
  pthread_mutex_destroy(&dev->lock);
  kiln_mem(dev, sizeof *dev, 0);
}

void kiln_close(kiln_device *dev) {
  if (!dev) return;
  pthread_mutex_lock(&dev->lock);
  store_free(dev);
  pthread_mutex_unlock(&dev->lock);
  device_release(dev);
}

/* ---- queries ---- */

kiln_status kiln_device_query(const kiln_device *dev, kiln_device_info *info) {
  if (info) *info = (kiln_device_info){0};
  if (!dev || !info) return error_set(KILN_BAD_CALL, "kiln_device_query: %s is NULL", dev ? "info" : "dev");
  *info = dev->info;
  return KILN_OK;
}

kiln_status kiln_driver_symbol(const kiln_device *dev, const char *name, void **out) {
  if (out) *out = NULL;
  if (!dev || !name || !out)
    return error_set(KILN_BAD_CALL, "kiln_driver_symbol: %s is NULL", !dev ? "dev" : !name ? "name" : "out");
  *out = driver_symbol(dev->driver, name);
  return *out ? KILN_OK : error_set(KILN_NOT_FOUND, "the driver of %s has no %.64s", dev->info.name, name);
}

kiln_status kiln_set_provider(kiln_device *dev, kiln_provider_fn fn, void *user) {
  if (!dev) return error_set(KILN_BAD_CALL, "kiln_set_provider: dev is NULL");
  dev->provider = fn;
  dev->provider_user = user;
  return KILN_OK;
}
