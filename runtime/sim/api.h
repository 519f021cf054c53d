/* api.h - what the driver's entry points share: the lock, devices, contexts, handles, this thread's state. */
#ifndef KILN_SIM_API_H
#define KILN_SIM_API_H
#include "sim.h"

#define DRV_EXPORT __attribute__((visibility("default")))
#define SIM_MAX_DEVICES 1024
#define SIM_MAX_STACK 32

enum { SIM_LIMITS = 7 };
struct CUctx_st {
  SimDevice *dev;
  bool primary, dead;
  int pushed;
  unsigned flags, cache_config, bank_config; /* kept and given back */
  size_t limit[SIM_LIMITS];
  unsigned limit_set;                        /* a bit per limit that was set */
};
struct CUfunc_st { SimFunction fn; }; /* handles of functions are SimFunction; the tag is the ABI's */
struct CUstream_st { SimDevice *dev; DrvContext ctx; unsigned flags; };
struct CUevent_st { SimDevice *dev; double seconds; bool recorded, untimed; };

typedef struct SimState {
  bool ready;                       /* cuInit was called */
  SimDevice *device[SIM_MAX_DEVICES];
  int ndevices;
  SimBuf modules, streams, events, contexts, links; /* pointers of what lives */
  SimBuf host;                      /* HostBlock of api_host.c */
} SimState;
extern SimState sim_state;

/* Every entry point begins with sim_enter and ends with sim_leave: one lock, and a fresh message. */
void sim_enter(void);
DrvResult sim_leave(DrvResult code);
DrvResult sim_say(DrvResult code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *sim_message(void);

DrvResult sim_device_default(void);          /* at least one device */
SimDevice *sim_device_at(int ordinal);       /* NULL: none, said */
struct CUctx_st *sim_current(void);          /* this thread's context; NULL: none, said */
SimDevice *sim_current_device(void);         /* its device */
bool sim_handle_add(SimBuf *list, void *h);
bool sim_handle_known(const SimBuf *list, const void *h);
void sim_handle_drop(SimBuf *list, const void *h);
DrvResult sim_pending(SimDevice *dev);       /* the code of a failed launch, once */
bool sim_stream_ok(DrvStream s);
bool sim_stream_of(DrvStream s, const SimDevice *dev); /* one that is ok: does the device have it? Kernels and events ask, copies do not */

SimModule *sim_known_module(DrvModule module);        /* NULL: no such module, said */
SimFunction *sim_known_function(DrvFunction function); /* likewise */
DrvResult sim_read_file(const char *path, SimBuf *text); /* the whole of it, ended by NUL */
DrvResult sim_refuse(const char *why);                 /* not supported; locks and leaves by itself */

void sim_report_hand(char kind, const char *text); /* report.c: to the process that asked for it, if one did */

/* Entry points that others are made of. */
#define DRIVER(need, name, params, args) DRV_EXPORT DrvResult name params;
#include "cuda/driver.def"
DrvResult cuCtxCreate_v2(DrvContext *context, unsigned flags, DrvDevice device);
DrvResult cuDeviceGetUuid(unsigned char *uuid, DrvDevice device);
DrvResult cuModuleLoad(DrvModule *module, const char *path);
DrvResult cuModuleLoadData(DrvModule *module, const void *image);
DrvResult cuModuleGetGlobal_v2(DrvPtr *ptr, size_t *bytes, DrvModule module, const char *name);
DrvResult cuMemcpyAsync(DrvPtr to, DrvPtr from, size_t bytes, DrvStream stream);
DrvResult cuMemsetD16Async(DrvPtr to, unsigned short value, size_t n, DrvStream stream);
DrvResult cuMemsetD32Async(DrvPtr to, unsigned value, size_t n, DrvStream stream);
#endif
