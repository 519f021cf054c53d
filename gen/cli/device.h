/* device.h - the devices that a command line means, opened through libkiln. */
#ifndef KILN_CLI_DEVICE_H
#define KILN_CLI_DEVICE_H
#include "cli.h"

typedef struct Device {
  kiln_device *dev;
  kiln_device_info info;
  char where[128];     /* "cuda:0", "sim:sm_80,cores=1" */
  char target[16];     /* what to emit for: --target, or the device's own */
} Device;

#define DEVICES_MAX 64
typedef struct DeviceNames { char at[DEVICES_MAX][128]; int n; } DeviceNames;

/* The devices of --device; "sim" alone is every target (only those that can run --target, if one is given). Without --device:
 * the first GPU, or else, after saying so, a simulator of --target (sm_80 without one). */
bool devices_named(const Options *o, DeviceNames *out);
/* Of a command that takes one device: is "sim" given, which is every target, or several? Then it says so. */
bool device_not_one(const Options *o, const char *command);
bool device_open(Device *d, const char *where, const char *target); /* false after a message */
void device_close(Device *d);

/* Counters of all launches so far on a simulated device (a plan of several steps is several); false where they cannot be had. */
typedef struct DeviceCounters { double lane_instructions, warp_instructions, tensor_macs, seconds; } DeviceCounters;
bool device_counters(const Device *d, DeviceCounters *out);
#endif
