/* api.h - what the driver's entry points share: the lock, devices, contexts, handles, this thread's state. */
#ifndef KILN_SIM_API_H
#define KILN_SIM_API_H
#include "sim.h"

#define DRV_EXPORT __attribute__((visibility("default")))
#define SIM_MAX_DEVICES 1024
#define SIM_MAX_STACK 32

struct CUctx_st { SimDevice *dev; bool primary, dead; int pushed; };
struct CUfunc_st { SimFunction fn; }; /* handles of functions are SimFunction; the tag is the ABI's */
struct CUstream_st { SimDevice *dev; };
struct CUevent_st { SimDevice *dev; double seconds; bool recorded, untimed; };

typedef struct SimState {
  bool ready;                       /* cuInit was called */
  SimDevice *device[SIM_MAX_DEVICES];
  int ndevices;
  SimBuf modules, streams, events, contexts; /* pointers of what lives */
} SimState;
extern SimState sim_state;

/* Every entry point begins with sim_enter and ends with sim_leave: one lock, and a fresh message. */
void sim_enter(void);
DrvResult sim_leave(DrvResult code);
DrvResult sim_say(DrvResult code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *sim_message(void);

DrvResult sim_device_add(const char *options, int *ordinal);
DrvResult sim_device_default(void);          /* at least one device */
SimDevice *sim_device_at(int ordinal);       /* NULL: none, said */
struct CUctx_st *sim_current(void);          /* this thread's context; NULL: none, said */
SimDevice *sim_current_device(void);         /* its device */
bool sim_handle_add(SimBuf *list, void *h);
bool sim_handle_known(const SimBuf *list, const void *h);
void sim_handle_drop(SimBuf *list, const void *h);
DrvResult sim_pending(SimDevice *dev);       /* the code of a failed launch, once */
bool sim_stream_ok(DrvStream s);
#endif
