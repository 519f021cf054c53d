/* host.h - what the programs share: a context and a module, inputs, verdicts. */
#ifndef FOREIGN_HOST_H
#define FOREIGN_HOST_H
#include "driver.h"
#include <stdbool.h>

#define CHECK(call) host_check((call), #call)
void host_check(CUresult result, const char *call); /* ends the program with 1 unless it is success */

typedef struct Host {
  CUcontext context;
  CUdevice device;
  CUmodule module;
  CUstream stream;
} Host;

/* Arguments are FILE.ptx [SEED]; without a seed one is drawn. Prints it. The device's primary context is current afterwards. */
void host_open(Host *h, int argc, char **argv);
CUfunction host_function(const Host *h, const char *name);
void host_close(Host *h);

char *host_read(const char *path); /* a file's bytes, ended by NUL */
void *host_alloc(size_t bytes);

uint64_t host_random(void);
int host_between(int low, int high);
float host_unit(void); /* in [-1, 1) */

CUdeviceptr host_upload(const void *data, size_t bytes);
CUdeviceptr host_room(size_t bytes); /* allocated, not written */

/* One check: prints and remembers; the program's exit status. */
void host_expect(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int host_verdict(void);
#endif
