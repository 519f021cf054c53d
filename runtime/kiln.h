/* kiln.h - the runtime: loads PTX that kiln emitted, checks arguments against its contract, and launches it.
 *
 *   kiln_device *dev;   kiln_open(&dev, "cuda:0");
 *                       kiln_add(dev, "ptx_out");
 *   kiln_plan *plan;    kiln_plan_create(&plan, dev, "rms_norm", args, nargs);      checks, selects, loads
 *                       kiln_launch(plan, &(kiln_call){ .pointers = pointers }, stream);
 *                       kiln_plan_destroy(plan);   kiln_close(dev);
 *
 * Rules that hold for every function here
 *   Status     A function that can fail returns a kiln_status; KILN_OK is 0. kiln_error() then says, for this thread, what was
 *              expected, what came, where, and the way out. On failure, results are set to NULL or zero, and nothing is leaked
 *              or half done. Nothing here prints, exits or aborts. Once a kernel has failed on a GPU, any function that asks the
 *              driver may say KILN_KERNEL_FAULT.
 *   Pointers   "device pointer" is an address that the device can read and write (cuMemAlloc, kiln_malloc, a framework's
 *              allocator). Shapes, strides, names and texts are borrowed for the duration of the call only.
 *   Units      Sizes and strides of tensors are in elements; what is in bytes or nanoseconds says so in its name.
 *   Contexts   Calls work whichever CUDA context is current, and leave the same one current.
 *   Threads    A plan is immutable: any number of threads may launch it at once. A device may be used by several threads;
 *              kiln_set_provider is called before they start. Destroying what another thread uses is the caller's mistake.
 *              Plans of one device are selected, and their modules compiled, by one thread at a time; launches wait for nobody.
 *   Fork       A GPU's driver does not survive fork: a child uses nothing that its parent opened, and opens devices only where the
 *              parent had opened none.
 *   Memory     Host memory comes from the hook of kiln_mem_hook (malloc unless set). kiln_launch allocates none.
 *
 * The contract that arguments are checked against is described in docs/contract.md. */
#ifndef KILN_H
#define KILN_H
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define KILN_API __attribute__((visibility("default")))
#else
#define KILN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status and errors ---- */

/* Values are part of the ABI; kiln_status_text gives each one's meaning in a line. */
typedef enum kiln_status {
  KILN_OK = 0,
  KILN_BAD_CALL = 1,          /* an argument of the call itself is NULL or out of range */
  KILN_NO_MEMORY = 2,         /* out of host memory */
  KILN_NO_DEVICE_MEMORY = 3,

  KILN_NO_DEVICE = 10,        /* no GPU, no driver, or no device of that number */
  KILN_DRIVER_TOO_OLD = 11,
  KILN_NO_SIMULATOR = 12,     /* libkilnsim.so.0 is not beside libkiln or the executable */
  KILN_DRIVER = 13,           /* a driver call failed; the message names the call, the code and the driver's own text */
  KILN_KERNEL_FAULT = 14,     /* a kernel failed while running (reported by a later call), or the simulator objected */

  KILN_NOT_FOUND = 20,        /* no such file or folder */
  KILN_FILE = 21,             /* a file could not be read or written */
  KILN_NO_CONTRACT = 22,      /* PTX without contract: kiln did not emit it */
  KILN_BAD_CONTRACT = 23,     /* the message names the line */
  KILN_TRUNCATED = 24,        /* no "//@ end" */
  KILN_NEWER = 25,            /* a newer format, or a feature that this runtime does not have */
  KILN_BAD_PTX = 26,          /* the driver's compiler refused the text; the message carries its log */

  KILN_NO_OP = 30,            /* no file of that op was added */
  KILN_NO_TARGET = 31,        /* files were added, none of them for this device */
  KILN_NO_VARIANT = 32,       /* options.variant or .target names none */
  KILN_BAD_SETTING = 33,
  KILN_UNKNOWN_ARG = 34,
  KILN_MISSING_ARG = 35,      /* missing, given twice, or a scalar where a tensor is expected */
  KILN_BAD_DTYPE = 36,
  KILN_BAD_RANK = 37,
  KILN_BAD_SIZE = 38,
  KILN_BAD_STRIDE = 39,
  KILN_BAD_ALIGN = 40,
  KILN_BAD_POINTER = 41,      /* host memory, or another device's */
  KILN_NULL_POINTER = 42,
  KILN_OVERLAP = 43,          /* an output shares memory with another tensor, or with itself */
  KILN_REQUIRE = 44,          /* a `require` or a `limit` of the contract */
  KILN_TOO_LARGE = 45,        /* an expression overflows, or a grid exceeds the device's limit */
  KILN_UNSUPPORTED = 46,      /* the device or driver lacks what the kernel needs (clusters, tensor maps, shared memory) */
  KILN_PROVIDER = 47
} kiln_status;

/* One line that explains a status ("a stride does not fit"); static; never NULL, also for a value that is no status. */
KILN_API const char *kiln_status_text(kiln_status status);

/* The status' name as written above without prefix ("BAD_STRIDE"); static; "?" for a value that is no status. */
KILN_API const char *kiln_status_name(kiln_status status);

/* The message of this thread's last failed call; "" if none failed yet. It may have several lines: the last ones are then the
 * driver's compile log or the simulator's report. Valid until this thread's next failing call. Never NULL. */
KILN_API const char *kiln_error(void);

/* "0.1.0"; static. */
KILN_API const char *kiln_version(void);

/* ---- elements, tensors, arguments ---- */

/* Element types. The values are part of the ABI. */
typedef enum kiln_dtype {
  KILN_NO_DTYPE,
  KILN_F64, KILN_F32, KILN_F16, KILN_BF16,
  KILN_E4M3, KILN_E5M2,
  KILN_I64, KILN_I32, KILN_I16, KILN_I8, KILN_U8,
  KILN_BOOL /* one byte, 0 or 1 */
} kiln_dtype;

/* Size of one element; 0 for a value that is no dtype. */
KILN_API size_t kiln_dtype_bytes(kiln_dtype dtype);

/* "bf16", as contracts and the command spell it; static; "?" for a value that is no dtype. */
KILN_API const char *kiln_dtype_name(kiln_dtype dtype);

/* The dtype of a name; KILN_NO_DTYPE for an unknown name or NULL. */
KILN_API kiln_dtype kiln_dtype_from_name(const char *name);

/* A view of device memory; owns nothing. Sizes and strides are 0 or more; all of it lies within 2^62 bytes. Elements of an output have an
 * address each. Where the size of a dim is 0 or 1 its stride does not matter. */
typedef struct kiln_tensor {
  void *data;             /* device pointer; may be NULL at plan creation for sizes only, and for tensors without elements */
  kiln_dtype dtype;
  int rank;               /* 0 to 8 */
  const int64_t *shape;   /* rank sizes; may be NULL where rank is 0 */
  const int64_t *strides; /* rank strides in elements; NULL: dense row-major */
} kiln_tensor;

typedef struct kiln_arg { /* one named argument: a tensor, a scalar, or the text of a setting ("act" = "silu") */
  const char *name;
  const kiln_tensor *tensor; /* not NULL: a tensor */
  double scalar;             /* tensor and text NULL: a scalar; integers are exact up to 2^53 */
  const char *text;          /* not NULL: a setting */
} kiln_arg;

/* ---- devices ---- */

typedef struct kiln_device kiln_device;

/* Opens a device. `where`:
 *   "cuda:N"   GPU number N of the driver (libcuda.so.1); retains its primary context, as the CUDA runtime and frameworks do
 *   "current"  the device of the context that is current now; that context is used and not retained (it must outlive dev and its plans)
 *   "sim:sm_90a,sms=4,..."  a simulated device (docs/simulator.md lists the options), from libkilnsim.so.0 beside libkiln or
 *              the executable
 *   NULL       the first GPU; there is no silent change to the simulator
 * *out is owned by the caller: kiln_close. Errors: BAD_CALL, NO_DEVICE, DRIVER_TOO_OLD, NO_SIMULATOR, DRIVER, NO_MEMORY. */
KILN_API kiln_status kiln_open(kiln_device **out, const char *where);

/* Gives the device up. Plans that still exist stay valid and keep what they need until they are destroyed. NULL is ignored. */
KILN_API void kiln_close(kiln_device *dev);

typedef struct kiln_device_info {
  char name[128];             /* as the driver gives it */
  char target[16];            /* the device's own target, "sm_90a" */
  int compute_capability;     /* 90 */
  int ordinal;                /* N of "cuda:N" */
  int simulated;              /* 1 for "sim:..." */
  int driver_version;         /* 13000 for 13.0 */
  int sms;                    /* streaming multiprocessors */
  int clock_khz;
  int l2_bytes;
  int shared_bytes_block;     /* most shared memory of a block, opt-in */
  int shared_bytes_sm;
  uint64_t memory_bytes;
  double bandwidth_bytes_ns;  /* `bw` of cost lines: 0.92 of the memory's peak, in bytes per ns (equals GB/s) */
  double tensor_flop_ns;      /* `tensor` of cost lines: dense 16-bit tensor-core FLOP per ns, an estimate from sms and clock */
} kiln_device_info;

/* Fills *info. Errors: BAD_CALL. */
KILN_API kiln_status kiln_device_query(const kiln_device *dev, kiln_device_info *info);

/* The address of an entry point of the device's driver by its exact name ("cuLaunchKernel", "cuMemAlloc_v2", "kilnsim_count"),
 * for what kiln does not wrap: bare launches in measurements, the simulator's counters. Errors: BAD_CALL, NOT_FOUND. */
KILN_API kiln_status kiln_driver_symbol(const kiln_device *dev, const char *name, void **out);

/* ---- kernels ---- */

/* Adds a .ptx file, or every *.ptx below a folder (in order of name). Files for other architectures are noted for messages,
 * their text is not kept. A file whose path was added before takes the place of the earlier one. A folder with a damaged file
 * adds the others and returns that file's error. Errors: NOT_FOUND, FILE, NO_CONTRACT, BAD_CONTRACT, TRUNCATED, NEWER, NO_MEMORY,
 * BAD_CALL. */
KILN_API kiln_status kiln_add(kiln_device *dev, const char *path);

/* Adds PTX text from memory (`kiln emit --as c` makes such arrays). name: as a file's path in messages and choices
 * ("rms_norm-bf16.ptx"). The text is copied; a final NUL is neither needed nor counted. Errors as for kiln_add. */
KILN_API kiln_status kiln_add_text(kiln_device *dev, const char *name, const char *text, size_t bytes);

/* What a provider is asked for. All of it is borrowed for the duration of the call. */
typedef struct kiln_request {
  const char *op;
  const char *target;   /* the device's own, or the pinned one of the options */
  const kiln_arg *args; /* as given to kiln_plan_create */
  int nargs;
  const char *settings, *schedule; /* not NULL: of the op under these settings (as its contract has them) this schedule, which was measured
                                      as the best but is in none of the added files; what is asked for here is no more than a help */
} kiln_request;

/* Called during plan creation when no added file fits: adds some (kiln_add, kiln_add_text) and returns KILN_OK; selection then
 * runs once more. Any other status ends plan creation with it; a message set by a kiln call inside is kept. Called also, once each, for
 * schedules that `kiln tune` found best and no file has; then any other status means that what was added before serves. Several threads
 * may be in it at once. */
typedef kiln_status (*kiln_provider_fn)(void *user, kiln_device *dev, const kiln_request *request);

/* fn NULL: none (the default). Errors: BAD_CALL. */
KILN_API kiln_status kiln_set_provider(kiln_device *dev, kiln_provider_fn fn, void *user);

/* The shipped provider: runs the command `kiln emit` as a child process and keeps its output below $XDG_CACHE_HOME/kiln (or
 * ~/.cache/kiln), written to a temporary name and renamed; a damaged entry is ignored and made anew. The settings asked for
 * are the text arguments, `dtype` (the first tensor's), which optional tensors are there and their own dtypes; every schedule
 * that the op offers for them is added, and selection chooses. A child that takes longer than KILN_EMIT_SECONDS (environment;
 * 120) is ended. user: path of the command as const char *; NULL: "kiln" on PATH.
 *   kiln_set_provider(dev, kiln_emit_provider, NULL);
 * Errors: PROVIDER (message: what the child said), NO_MEMORY. */
KILN_API kiln_status kiln_emit_provider(void *user, kiln_device *dev, const kiln_request *request);

/* ---- plans ---- */

typedef struct kiln_plan kiln_plan;

typedef struct kiln_plan_options { /* zeros: no wish */
  const char *target;  /* only files of this target, "sm_80": also one older than the device's own */
  const char *variant; /* only the file with this name (without folder; ".ptx" may be left out) */
  int untuned;         /* 1: by predicted cost alone, whatever `kiln tune` measured */
} kiln_plan_options;

/* Checks args against the contracts of the op's files; takes of those that fit the one that `kiln tune` measured as the fastest at these
 * sizes on such a device (docs/tuning.md; KILN_TUNED=0 in the environment switches that off), or else the cheapest; loads its module (once per device) and
 * prepares its launches.
 *   args   in any order, 64 at most. Shapes, strides, dtypes, which optional tensors are there, and scalars are fixed for the plan's life;
 *          pointers are not: they are checked here if they are not NULL (device, alignment, overlap), and are the default of
 *          kiln_launch.
 * *out is owned by the caller: kiln_plan_destroy. If nothing fits, the error is that of the file which came closest, and names
 * argument, rule and value; kiln_explain gives all of them.
 * Errors: BAD_CALL, NO_MEMORY, DRIVER, BAD_PTX, BAD_CONTRACT (the file lacks an entry that its contract names, or a map of it reaches
 * beyond its tensor), the 30s and the 40s above. */
KILN_API kiln_status kiln_plan_create(kiln_plan **out, kiln_device *dev, const char *op, const kiln_arg *args, int nargs);

/* The same with options (NULL: none). Adds error NO_VARIANT. */
KILN_API kiln_status kiln_plan_create_with(kiln_plan **out, kiln_device *dev, const char *op, const kiln_arg *args, int nargs,
                                           const kiln_plan_options *options);

/* Frees the plan. Launches already on a stream are not affected. NULL is ignored. */
KILN_API void kiln_plan_destroy(kiln_plan *plan);

/* What one candidate gets told. Texts are borrowed for the duration of the callback. */
typedef struct kiln_verdict {
  const char *file, *variant, *target; /* path as added; file name without folder and .ptx; "sm_80" */
  const char *settings, *schedule;     /* the contract's lines, "dtype=bf16 w=yes"; "" if it has none */
  kiln_status status;                  /* KILN_OK: it fits */
  const char *rule;                    /* "" or the rule that it broke, with the value that came */
  double cost_ns;                      /* predicted time if it fits */
  int wins;                            /* 1 for the one that kiln_plan_create_with would take */
  int tuned;                           /* 1: and it was a measurement of `kiln tune` that decided, not the predicted time */
} kiln_verdict;
typedef void (*kiln_verdict_fn)(void *user, const kiln_verdict *verdict);

/* Calls fn for every file of the op, in order of preference (target, then file name), also for those of other architectures.
 * Loads nothing and asks no provider. Errors: BAD_CALL, NO_OP, NO_MEMORY; that nothing fits is no error here. */
KILN_API kiln_status kiln_explain(kiln_device *dev, const char *op, const kiln_arg *args, int nargs,
                                  const kiln_plan_options *options, kiln_verdict_fn fn, void *user);

typedef struct kiln_plan_info {  /* texts live as long as the plan */
  const char *op, *variant, *target, *file;
  const char *settings, *schedule;
  int ntensors;                  /* length of kiln_call.pointers */
  int nscalars;                  /* length of kiln_call.scalars */
  int nsteps;                    /* kernels that a launch starts; 0 if there is nothing to compute */
  size_t workspace_bytes, workspace_align;
  double cost_ns, bytes, flop;   /* by the contract's cost, bytes and flop lines; 0 where it has none */
} kiln_plan_info;

/* Errors: BAD_CALL. */
KILN_API kiln_status kiln_plan_query(const kiln_plan *plan, kiln_plan_info *info);

typedef struct kiln_step_info {  /* texts live as long as the plan */
  const char *name, *entry;
  unsigned grid[3], block, cluster[3]; /* cluster 1,1,1: none */
  unsigned shared_bytes;         /* dynamic shared memory of a block */
  unsigned static_shared_bytes;
  unsigned local_bytes;          /* per thread: more than 0 means spills or local arrays */
  unsigned registers;            /* per thread */
  unsigned blocks_sm;            /* resident blocks per SM by the driver's occupancy calculation */
  void *function;                /* the driver's CUfunction, for measurements */
} kiln_step_info;

/* Errors: BAD_CALL (step out of range), DRIVER. */
KILN_API kiln_status kiln_plan_step(const kiln_plan *plan, int step, kiln_step_info *info);

/* Name of tensor i of kiln_call.pointers, 0 <= i < ntensors, or of call scalar i; NULL out of range. Lives as long as the
 * plan. */
KILN_API const char *kiln_plan_tensor_name(const kiln_plan *plan, int i);
KILN_API const char *kiln_plan_scalar_name(const kiln_plan *plan, int i);

/* What the driver's compiler remarked on the code that it made of the plan's PTX: lines of its log that warn, or tell of lost performance
 * (products of warpgroups that run one after another). "": nothing, or the driver had the code in its cache. A plan of NULL has none. Lives
 * as long as the plan. */
KILN_API const char *kiln_plan_remarks(const kiln_plan *plan);

/* The dtype of call scalar i, 0 <= i < nscalars (f32 and f64 travel in kiln_scalar.f, i32 and i64 in .i); KILN_NO_DTYPE out of range. */
KILN_API kiln_dtype kiln_plan_scalar_dtype(const kiln_plan *plan, int i);

/* Bytes of workspace that each launch in flight needs, and through *align (may be NULL) their alignment. 0 bytes: none. */
KILN_API size_t kiln_plan_workspace(const kiln_plan *plan, size_t *align);

/* Writes a readable account of the plan (variant, grid, arguments, workspace, cost) of at most size_bytes, NUL included;
 * returns the bytes of the whole text without NUL, as snprintf does. */
KILN_API size_t kiln_plan_describe(const kiln_plan *plan, char *text, size_t size_bytes);

/* ---- launches ---- */

typedef union kiln_scalar { /* a `call` scalar: f for f32 and f64, i for i32 and i64 */
  double f;
  int64_t i;
} kiln_scalar;

typedef struct kiln_call {
  void *const *pointers;      /* ntensors device pointers in contract order; NULL: those given at plan creation */
  const kiln_scalar *scalars; /* nscalars values in contract order; may be NULL when there are none */
  void *workspace;            /* device memory of workspace_bytes; not that of another launch in flight, nor a tensor's */
} kiln_call;

/* Puts the plan's kernels on a stream (a CUstream; NULL: the default stream) and returns; results are there when the stream
 * has come that far. Allocates nothing, takes no lock and writes nothing to the plan (tensor maps are encoded at plan creation; a
 * launch puts its pointers into copies of its own); may be captured into a CUDA graph. call may be NULL if pointers, scalars and
 * workspace all are. Whatever it refers to may be reused at return, device memory excepted. A tensor that a map describes must be
 * aligned to 16 bytes, whatever its own line in the contract asks for. Addresses are compared, not looked up: memory that was freed,
 * or is another device's, makes the kernel fail. A kernel of `attr pdl` may start before what stands before it on the stream has
 * ended, and waits for that by itself.
 * Errors: BAD_CALL, NULL_POINTER, BAD_ALIGN, OVERLAP, TOO_LARGE (a call scalar that its i32 or f32 cannot hold), REQUIRE (a call scalar
 * beyond a `limit` of the contract: a position behind the end of a table, say), DRIVER, KERNEL_FAULT. */
KILN_API kiln_status kiln_launch(const kiln_plan *plan, const kiln_call *call, void *stream);

/* The same with the members of kiln_call as arguments, for callers that put pointers into a text of bytes rather than a structure
 * (ctypes and the like). */
KILN_API kiln_status kiln_launch_parts(const kiln_plan *plan, void *const *pointers, const kiln_scalar *scalars, void *workspace,
                                       void *stream);

/* ---- memory, streams and events of a device: thin, for programs without a framework, and the same on the simulator ---- */

/* Device memory, aligned to 256 bytes or more; bytes 0 gives NULL. Owned by the caller: kiln_free.
 * Errors: BAD_CALL, NO_DEVICE_MEMORY, DRIVER. */
KILN_API kiln_status kiln_malloc(kiln_device *dev, void **out, size_t bytes);

/* NULL is ignored. Errors: BAD_CALL, DRIVER, KERNEL_FAULT (of a kernel that ran before). */
KILN_API kiln_status kiln_free(kiln_device *dev, void *ptr);

/* Copies between host and device; the bytes are there at return. Ordered after work on the default stream only: kiln_sync first
 * when kernels run elsewhere. Errors: BAD_CALL, DRIVER, KERNEL_FAULT. */
KILN_API kiln_status kiln_upload(kiln_device *dev, void *to, const void *from, size_t bytes);
KILN_API kiln_status kiln_download(kiln_device *dev, void *to, const void *from, size_t bytes);

/* Device-to-device copy and byte fill on a stream. Errors: BAD_CALL, DRIVER, KERNEL_FAULT. */
KILN_API kiln_status kiln_copy(kiln_device *dev, void *to, const void *from, size_t bytes, void *stream);
KILN_API kiln_status kiln_fill(kiln_device *dev, void *to, unsigned char value, size_t bytes, void *stream);

/* Waits for all work of the device's context. A kernel's failure shows here. Errors: BAD_CALL, DRIVER, KERNEL_FAULT. */
KILN_API kiln_status kiln_sync(kiln_device *dev);

/* A stream that does not wait for the default stream (a CUstream). Owned by the caller. Errors: BAD_CALL, DRIVER,
 * KERNEL_FAULT. */
KILN_API kiln_status kiln_stream_create(kiln_device *dev, void **out);
KILN_API kiln_status kiln_stream_destroy(kiln_device *dev, void *stream); /* NULL is ignored */
KILN_API kiln_status kiln_stream_sync(kiln_device *dev, void *stream);

/* Events with timing (a CUevent). Owned by the caller. kiln_event_elapsed waits for `end` and gives the time since `start` in
 * nanoseconds. Errors: BAD_CALL, DRIVER, KERNEL_FAULT. */
KILN_API kiln_status kiln_event_create(kiln_device *dev, void **out);
KILN_API kiln_status kiln_event_destroy(kiln_device *dev, void *event); /* NULL is ignored */
KILN_API kiln_status kiln_event_record(kiln_device *dev, void *event, void *stream);
KILN_API kiln_status kiln_event_elapsed(kiln_device *dev, void *start, void *end, double *ns);

/* ---- host memory ---- */

/* The allocation hook: new_bytes == 0 frees; ptr == NULL allocates; NULL means out of memory, and the old block then stays
 * valid. fn NULL restores realloc and free. Set it before any other call of the library. Several threads
 * may be in fn at once; it calls nothing of kiln. */
typedef void *(*kiln_mem_fn)(void *user, void *ptr, size_t old_bytes, size_t new_bytes);
KILN_API void kiln_mem_hook(kiln_mem_fn fn, void *user);

#ifdef __cplusplus
}
#endif
#endif
