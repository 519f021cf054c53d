/* launch.c - what the runtime costs the CPU: kiln_launch beside a bare cuLaunchKernel of the same kernel with the same arguments,
 * and plan creation with the module loaded. On sm_90a the same for a kernel with tensor maps, of which bare launches pass those that are there.
 *
 *   launch DEVICE FILE.ptx [--json FILE]      the file: rms_norm in bf16 with a weight, as `kiln emit rms_norm` writes it
 *
 * Launches go to a stream of their own in batches shorter than the driver's queue, and only the issuing is timed. The bare launch
 * takes the arguments that kiln_launch recorded into a captured graph, so both do the same work for the driver. */
#define _GNU_SOURCE
#include "../../runtime/kiln.h"
#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 8, COLS = 1024, BATCH = 200, BATCHES = 101, PLANS = 1001, MAPS = 3 };

/* Three maps, and nothing to do: the GPU is never behind. */
static const char mapped[] =
    "//@ kiln 1\n//@ op mapped\n//@ target sm_90a\n//@ tensor x in bf16 [M,N] strides [x0,1] align 16\n"
    "//@ tensor w in bf16 [N] strides [1] align 16\n//@ tensor y out bf16 [M,N] strides [y0,1] align 16\n"
    "//@ map xm x dims [M,N] strides [x0,1] box [8,64] swizzle 128 l2 128\n//@ map wm w dims [N] strides [1] box [64] swizzle 128\n"
    "//@ map ym y dims [M,N] strides [y0,1] box [8,64] swizzle 128\n"
    "//@ step main entry mapped grid M,1,1 block 128 shared 0 args xm wm ym M N\n//@ end\n"
    ".version 8.0\n.target sm_90a\n.address_size 64\n"
    ".visible .entry mapped(.param .align 64 .b8 x[128], .param .align 64 .b8 w[128], .param .align 64 .b8 y[128], .param .u64 M, .param .u64 N)\n"
    "{\n  ret;\n}\n";

/* cuGraphKernelNodeGetParams_v2's struct */
typedef struct NodeParams {
  void *function;
  unsigned grid[3], block[3], shared_bytes;
  void **params, **extra;
  void *kernel, *context;
} NodeParams;

typedef struct Driver { /* the calls that the runtime's interface has no name for; codes are the driver's, 0 is success */
  unsigned (*begin)(void *stream, unsigned mode);
  unsigned (*end)(void *stream, void **graph);
  unsigned (*nodes)(void *graph, void **nodes, size_t *n);
  unsigned (*node_params)(void *node, NodeParams *params);
  unsigned (*launch)(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                     void *stream, void **params, void **extra);
} Driver;

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *times, size_t n) {
  qsort(times, n, sizeof *times, compare);
  return times[n / 2];
}

static void check(kiln_status status, const char *what) {
  if (status == KILN_OK) return;
  fprintf(stderr, "launch: %s: %s\n", what, kiln_error());
  exit(1);
}

static bool find_driver(Driver *d) {
  void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (!lib) return false;
  *(void **)&d->begin = dlsym(lib, "cuStreamBeginCapture_v2");
  *(void **)&d->end = dlsym(lib, "cuStreamEndCapture");
  *(void **)&d->nodes = dlsym(lib, "cuGraphGetNodes");
  *(void **)&d->node_params = dlsym(lib, "cuGraphKernelNodeGetParams_v2");
  *(void **)&d->launch = dlsym(lib, "cuLaunchKernel");
  return d->begin && d->end && d->nodes && d->node_params && d->launch;
}

/* What kiln_launch gives to the driver: captured, so that it need not be taken apart by hand. */
static bool capture(const Driver *d, const kiln_plan *plan, const kiln_call *call, void *stream, NodeParams *out) {
  void *graph = NULL, *node[4] = {0};
  size_t n = 4;
  if (d->begin(stream, 2)) return false; /* 2: relaxed */
  check(kiln_launch(plan, call, stream), "kiln_launch under capture");
  if (d->end(stream, &graph) || d->nodes(graph, node, &n) || n != 1) return false;
  return d->node_params(node[0], out) == 0; /* the graph lives on: it owns the arguments */
}

typedef struct Times { double kiln_ns, bare_ns, plan_ns; } Times;

static void time_launches(kiln_device *dev, const Driver *d, const NodeParams *p, const kiln_plan *plan, const kiln_call *call,
                          void *stream, Times *out) {
  static double kiln[BATCHES], bare[BATCHES];
  for (int b = -5; b < BATCHES; b++) { /* taking turns, so that clocks and caches treat both alike; the first ones warm up */
    double t0 = now_ns();
    for (int i = 0; i < BATCH; i++) check(kiln_launch(plan, call, stream), "kiln_launch");
    double t1 = now_ns();
    check(kiln_stream_sync(dev, stream), "waiting");
    if (b >= 0) kiln[b] = (t1 - t0) / BATCH;
    if (!p) continue;
    t0 = now_ns();
    for (int i = 0; i < BATCH; i++) {
      unsigned code = d->launch(p->function, p->grid[0], p->grid[1], p->grid[2], p->block[0], p->block[1], p->block[2],
                                p->shared_bytes, stream, p->params, p->extra);
      if (code) {
        fprintf(stderr, "launch: cuLaunchKernel: %u\n", code);
        exit(1);
      }
    }
    t1 = now_ns();
    check(kiln_stream_sync(dev, stream), "waiting");
    if (b >= 0) bare[b] = (t1 - t0) / BATCH;
  }
  out->kiln_ns = median(kiln, BATCHES);
  out->bare_ns = p ? median(bare, BATCHES) : 0;
}

static void time_plans(kiln_device *dev, const char *op, const kiln_arg *args, int nargs, Times *out) {
  static double times[PLANS];
  for (int i = -20; i < PLANS; i++) {
    kiln_plan *plan = NULL;
    double t0 = now_ns();
    check(kiln_plan_create(&plan, dev, op, args, nargs), "kiln_plan_create");
    double t1 = now_ns();
    kiln_plan_destroy(plan);
    if (i >= 0) times[i] = t1 - t0;
  }
  out->plan_ns = median(times, PLANS);
}

/* An op of x, w and y; its pointers go by name. */
static Times time_op(kiln_device *dev, const char *op, const kiln_tensor *x, const kiln_tensor *w, const kiln_tensor *y, void *stream) {
  const kiln_arg args[] = {{.name = "x", .tensor = x}, {.name = "w", .tensor = w}, {.name = "y", .tensor = y}};
  kiln_plan *plan = NULL;
  check(kiln_plan_create(&plan, dev, op, args, 3), "kiln_plan_create");
  kiln_plan_info info;
  check(kiln_plan_query(plan, &info), "kiln_plan_query");
  void *pointers[3] = {0};
  for (int i = 0; i < info.ntensors && i < 3; i++)
    for (int k = 0; k < 3; k++)
      if (!strcmp(kiln_plan_tensor_name(plan, i), args[k].name)) pointers[i] = args[k].tensor->data;
  kiln_call call = {.pointers = pointers};
  Driver driver;
  NodeParams params;
  bool bare = find_driver(&driver) && capture(&driver, plan, &call, stream, &params);
  Times times = {0};
  time_launches(dev, &driver, bare ? &params : NULL, plan, &call, stream, &times);
  time_plans(dev, op, args, 3, &times);
  printf("%s, %d x %d elements\n", info.variant, ROWS, COLS);
  kiln_plan_destroy(plan);
  return times;
}

static void print(const Times *t) {
  if (t->bare_ns > 0)
    printf("launch: kiln_launch %.3f us, bare cuLaunchKernel %.3f us, ratio %.3f\n", t->kiln_ns / 1e3, t->bare_ns / 1e3, t->kiln_ns / t->bare_ns);
  else
    printf("launch: kiln_launch %.3f us (no bare cuLaunchKernel to compare with on this device)\n", t->kiln_ns / 1e3);
  printf("plan creation with the module loaded: %.2f us\n", t->plan_ns / 1e3);
}

static void write_json(const char *path, const Times *plain, const Times *maps) {
  FILE *file = fopen(path, "w");
  if (!file) {
    perror(path);
    exit(1);
  }
  fprintf(file, "{\"kiln_launch_ns\": %.1f, \"bare_launch_ns\": %.1f, \"plan_ns\": %.1f", plain->kiln_ns, plain->bare_ns, plain->plan_ns);
  if (maps->kiln_ns > 0)
    fprintf(file, ", \"maps\": {\"number\": %d, \"kiln_launch_ns\": %.1f, \"bare_launch_ns\": %.1f, \"plan_ns\": %.1f}", MAPS, maps->kiln_ns,
            maps->bare_ns, maps->plan_ns);
  fprintf(file, "}\n");
  fclose(file);
}

int main(int argc, char **argv) {
  if (argc != 3 && !(argc == 5 && !strcmp(argv[3], "--json"))) {
    fprintf(stderr, "usage: launch DEVICE FILE.ptx [--json FILE]\nexample: launch cuda:0 rms_norm.ptx\n");
    return 2;
  }
  kiln_device *dev = NULL;
  check(kiln_open(&dev, argv[1]), "kiln_open");
  check(kiln_add(dev, argv[2]), "kiln_add");
  check(kiln_add_text(dev, "mapped.ptx", mapped, sizeof mapped), "kiln_add_text");
  void *x = NULL, *y = NULL, *w = NULL, *stream = NULL, *has_maps = NULL;
  check(kiln_malloc(dev, &x, ROWS * COLS * 2), "kiln_malloc");
  check(kiln_malloc(dev, &y, ROWS * COLS * 2), "kiln_malloc");
  check(kiln_malloc(dev, &w, COLS * 2), "kiln_malloc");
  check(kiln_fill(dev, x, 0x3f, ROWS * COLS * 2, NULL), "kiln_fill");
  check(kiln_fill(dev, w, 0x3f, COLS * 2, NULL), "kiln_fill");
  check(kiln_sync(dev), "kiln_sync");
  check(kiln_stream_create(dev, &stream), "kiln_stream_create");

  int64_t matrix[] = {ROWS, COLS}, row[] = {COLS};
  kiln_tensor tx = {x, KILN_BF16, 2, matrix, NULL}, ty = {y, KILN_BF16, 2, matrix, NULL}, tw = {w, KILN_BF16, 1, row, NULL};
  Times plain = time_op(dev, "rms_norm", &tx, &tw, &ty, stream), maps = {0};
  print(&plain);
  kiln_device_info info;
  check(kiln_device_query(dev, &info), "kiln_device_query");
  if (!strcmp(info.target, "sm_90a") && kiln_driver_symbol(dev, "cuTensorMapEncodeTiled", &has_maps) == KILN_OK) {
    maps = time_op(dev, "mapped", &tx, &tw, &ty, stream);
    print(&maps);
    if (maps.bare_ns > 0) printf("of each of %d maps: %.1f ns beyond 1.05 of the bare launch\n", MAPS, (maps.kiln_ns - 1.05 * maps.bare_ns) / MAPS);
  }
  if (argc == 5) write_json(argv[4], &plain, &maps);
  check(kiln_stream_destroy(dev, stream), "kiln_stream_destroy");
  kiln_free(dev, x);
  kiln_free(dev, y);
  kiln_free(dev, w);
  kiln_close(dev);
  return 0;
}
