/* driver.h - the driver as a table of functions: NVIDIA's libcuda.so.1, or kiln's simulator, which exports the same names. */
#ifndef KILN_DRIVER_H
#define KILN_DRIVER_H
#include "../kiln.h"
#include "driver_abi.h"
#include <stdbool.h>

typedef struct DriverTable {
#define DRIVER(need, name, params, args) DrvFn_##name *name;
#include "driver.def"
} DriverTable;

typedef enum DriverKind { DRIVER_CUDA, DRIVER_SIM } DriverKind;

/* The table of a library, opened and initialised (cuInit) at first use and kept until the process ends. Errors: NO_DEVICE (no
 * driver, or no
 * GPU), NO_SIMULATOR, DRIVER_TOO_OLD, DRIVER. Safe from several threads. */
kiln_status driver_load(DriverKind kind, const DriverTable **out);

/* Tests put their own table in a library's place; NULL takes it back. Not while another thread opens a device. */
void driver_override(DriverKind kind, const DriverTable *table);

/* An entry point by name, also one without a row ("kilnsim_count"); NULL if the library has none. */
void *driver_symbol(const DriverTable *d, const char *name);

/* The message for a failed driver call, "cuModuleLoadDataEx failed with 218 (CUDA_ERROR_INVALID_PTX: ...)", and the status it
 * stands for; the simulator's report is appended. */
kiln_status driver_error(const DriverTable *d, DrvResult result, const char *call);
#endif
