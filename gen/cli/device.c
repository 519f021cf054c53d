/* device.c - see device.h. */
#include "device.h"
#include "../../runtime/sim/kilnsim.h"
#include <dlfcn.h>
#include <string.h>

static void add_name(DeviceNames *out, const char *where) {
  if (out->n < DEVICES_MAX) snprintf(out->at[out->n++], sizeof out->at[0], "%s", where);
}

/* "sim" or "sim,cores=1": a device per target. */
static void add_every_target(DeviceNames *out, const char *options, const char *wanted) {
  for (int i = 0; target_at(i); i++) {
    const Target *t = target_at(i);
    char where[128];
    if (wanted && strcmp(wanted, t->name) != 0 && !target_runs(t, wanted + 3)) continue;
    snprintf(where, sizeof where, "sim:%s%.90s", t->name, options);
    add_name(out, where);
  }
}

static bool has_gpu(void) {
  kiln_device *dev;
  kiln_status status = kiln_open(&dev, "cuda:0");
  if (status == KILN_OK) kiln_close(dev);
  else if (status != KILN_NO_DEVICE) cli_note("the GPU cannot be used: %s", kiln_error());
  return status == KILN_OK;
}

static bool is_every_target(const char *where) { return strcmp(where, "sim") == 0 || strncmp(where, "sim,", 4) == 0; }

bool device_not_one(const Options *o, const char *command) {
  bool several = o->ndevices > 1 || (o->ndevices == 1 && is_every_target(o->device[0]));
  if (several) cli_error("%s: one device at a time%s", command, o->ndevices == 1 ? "; name its target, such as --device sim:sm_80" : "");
  return several;
}

bool devices_named(const Options *o, DeviceNames *out) {
  out->n = 0;
  for (int i = 0; i < o->ndevices; i++) {
    const char *where = o->device[i];
    if (is_every_target(where)) add_every_target(out, where + 3, o->target);
    else add_name(out, where);
  }
  if (o->ndevices) return true;
  if (has_gpu()) {
    add_name(out, "cuda:0");
    return true;
  }
  char where[128];
  snprintf(where, sizeof where, "sim:%s", o->target ? o->target : "sm_80");
  cli_note("no GPU: running on the simulator, %s (--device says where to run)", where);
  add_name(out, where);
  return true;
}

bool device_open(Device *d, const char *where, const char *target) {
  memset(d, 0, sizeof *d);
  snprintf(d->where, sizeof d->where, "%s", where);
  if (kiln_open(&d->dev, where) != KILN_OK || kiln_device_query(d->dev, &d->info) != KILN_OK) {
    cli_error("%s: %s", where, kiln_error());
    device_close(d);
    return false;
  }
  const Target *own = target_for(target ? target : d->info.target);
  if (!own) {
    cli_error("%s is %s, for which kiln has no target of its own; name one that it runs with --target (%s)", where, d->info.target,
              target_names());
    device_close(d);
    return false;
  }
  static char said[sizeof d->where]; /* a command opens a device several times */
  bool again = strcmp(said, d->where) == 0;
  snprintf(said, sizeof said, "%s", d->where);
  if (!target && !again && strcmp(own->name, d->info.target) != 0) cli_note("%s is %s: %s is taken, whose PTX it runs", where, d->info.target, own->name);
  snprintf(d->target, sizeof d->target, "%s", own->name);
  return true;
}

void device_close(Device *d) {
  kiln_close(d->dev);
  d->dev = NULL;
}

bool device_counters(const Device *d, DeviceCounters *out) {
  if (!d->info.simulated) return false;
  /* libkiln has loaded it; it is only looked up again here. */
  void *sim = dlopen("libkilnsim.so.0", RTLD_NOW | RTLD_NOLOAD);
  if (!sim) return false;
  unsigned (*total)(int, kilnsim_counters *);
  *(void **)&total = dlsym(sim, "kilnsim_total");
  kilnsim_counters c;
  bool done = total && total(d->info.ordinal, &c) == 0;
  if (done)
    *out = (DeviceCounters){(double)c.lane_instructions, (double)c.warp_instructions, (double)c.tensor_macs, c.seconds};
  dlclose(sim);
  return done;
}
