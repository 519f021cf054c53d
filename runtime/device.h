/* device.h - inside of a device: its driver and context, and the files that were added to it. */
#ifndef KILN_DEVICE_H
#define KILN_DEVICE_H
#include "contract.h"
#include "cuda/driver.h"
#include "kiln.h"
#include "tuned.h"
#include <pthread.h>

/* A variant's axes, and its winners among the device's measurements (prefer.h). */
typedef struct TunedPlace {
  bool looked;                    /* first and n are known */
  uint8_t naxes;
  uint8_t end[TUNED_MAX_AXES];    /* by axis: where the next one's symbols begin */
  uint16_t symbol[2 * TUNED_MAX_AXES];
  int first, n;
} TunedPlace;

/* One added file. Immutable but for what the device's lock guards. */
typedef struct Variant {
  Contract contract;
  char *file;            /* path as added */
  size_t file_bytes;
  const char *name;      /* in `file`: after the last slash, with .ptx */
  char *stem;            /* the name without .ptx */
  size_t stem_bytes;
  char *text;            /* whole PTX, ends in NUL; NULL if this device cannot run it */
  size_t text_bytes;
  int preference;        /* higher is taken first; -1: this device cannot run it */
  /* under the lock: */
  int refs;              /* the device's list, and every plan */
  DrvModule module;      /* NULL until a plan needs it */
  char remarks[512];     /* of the driver's compiler about the code that it made of it; written before `module` is */
  DrvFunction *function; /* one per step */
  int *dynamic_bytes;    /* one per step: the most dynamic shared memory that the function was prepared for */
  TunedPlace tuned;
} Variant;

typedef struct DeviceLimits {
  int grid[3], block_threads;
  int shared_bytes;          /* of a block, opt-in */
  bool pageable, clusters;   /* ordinary host memory is addressable; cluster launches */
} DeviceLimits;

struct kiln_device {
  const DriverTable *driver;
  DrvDevice device;
  DrvContext context;
  bool retained;             /* the primary context is held */
  kiln_device_info info;
  DeviceLimits limits;
  kiln_provider_fn provider;
  void *provider_user;
  pthread_mutex_t lock;      /* guards the rest, and modules */
  int refs;                  /* the opener, and every plan */
  Variant **variant;         /* in order of op, preference (highest first), file name */
  int nvariant, capacity;
  struct TunedTable *tuned;  /* NULL: nothing was measured */
  bool tuned_read;           /* its file was looked for */
};

/* Makes the device's context current for this thread, and puts the former one back. */
typedef struct DeviceScope { bool pushed; } DeviceScope;
kiln_status device_enter(const kiln_device *dev, DeviceScope *scope);
void device_leave(const kiln_device *dev, DeviceScope *scope);

/* The status of a driver call, with its message. */
kiln_status device_result(const kiln_device *dev, DrvResult result, const char *call);

int device_preference(const kiln_device *dev, const char *target); /* -1: cannot run it */

/* ---- store.c: the files. All under the lock. ---- */

/* The op's files are variant[*first .. *first + n - 1]; returns n. */
int store_find(const kiln_device *dev, const char *op, int *first);
void store_release(const kiln_device *dev, Variant *v);
void store_free(kiln_device *dev);

/* ---- module.c: their modules. All under the lock, with the context current. ---- */

/* Loads the module and finds the functions of a variant, at first use. */
kiln_status module_load(const kiln_device *dev, Variant *v);
kiln_status module_allow_shared(const kiln_device *dev, Variant *v, int step, int bytes);
kiln_status module_allow_cluster(const kiln_device *dev, Variant *v, int step, unsigned blocks); /* beyond the portable size */
void module_unload(const kiln_device *dev, Variant *v);

/* ---- device.c ---- */
void device_release(kiln_device *dev); /* not under the lock; may free dev */
#endif
