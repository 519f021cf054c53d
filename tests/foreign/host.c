/* host.c - see host.h. */
#include "host.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t state;
static int checks, failures;

void host_check(CUresult result, const char *call) {
  const char *name = NULL, *text = NULL;
  if (result == CUDA_SUCCESS) return;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &text);
  fprintf(stderr, "%s: %d %s: %s\n", call, (int)result, name ? name : "?", text ? text : "?");
  exit(1);
}

char *host_read(const char *path) {
  FILE *f = fopen(path, "rb");
  long n = 0;
  if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0 || fseek(f, 0, SEEK_SET)) {
    perror(path);
    exit(2);
  }
  char *text = host_alloc((size_t)n + 1);
  if (fread(text, 1, (size_t)n, f) != (size_t)n) {
    perror(path);
    exit(2);
  }
  fclose(f);
  text[n] = 0;
  return text;
}

void *host_alloc(size_t bytes) {
  void *p = malloc(bytes ? bytes : 1);
  if (!p) {
    fprintf(stderr, "out of memory\n");
    exit(2);
  }
  return p;
}

static void load(Host *h, const char *path) {
  char log[4096] = "", *text = host_read(path);
  unsigned options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, (void *)(uintptr_t)sizeof log};
#ifdef WITH_CUDA_H
  CUresult result = cuModuleLoadDataEx(&h->module, text, 2, (CUjit_option *)options, values);
#else
  CUresult result = cuModuleLoadDataEx(&h->module, text, 2, options, values);
#endif
  if (result != CUDA_SUCCESS) fprintf(stderr, "%s: %s\n", path, log);
  host_check(result, "cuModuleLoadDataEx");
  free(text);
}

void host_open(Host *h, int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s FILE.ptx [SEED]\n", argv[0]);
    exit(2);
  }
  state = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)clock();
  printf("%s seed %llu\n", argv[1], (unsigned long long)state);
  state = state * 0x9e3779b97f4a7c15ull + 1;
  CHECK(cuInit(0));
  CHECK(cuDeviceGet(&h->device, 0));
  CHECK(cuDevicePrimaryCtxRetain(&h->context, h->device));
  CHECK(cuCtxSetCurrent(h->context));
  CHECK(cuStreamCreate(&h->stream, CU_STREAM_NON_BLOCKING));
  load(h, argv[1]);
}

CUfunction host_function(const Host *h, const char *name) {
  CUfunction f;
  CHECK(cuModuleGetFunction(&f, h->module, name));
  return f;
}

void host_close(Host *h) {
  CHECK(cuModuleUnload(h->module));
  CHECK(cuStreamDestroy(h->stream));
  CHECK(cuDevicePrimaryCtxRelease(h->device));
}

uint64_t host_random(void) { /* splitmix64 */
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}
int host_between(int low, int high) { return low + (int)(host_random() % (uint64_t)(high - low + 1)); }
float host_unit(void) { return (float)(int32_t)(host_random() >> 32) * 0x1p-31f; }

CUdeviceptr host_room(size_t bytes) {
  CUdeviceptr p;
  CHECK(cuMemAlloc(&p, bytes ? bytes : 1));
  return p;
}

CUdeviceptr host_upload(const void *data, size_t bytes) {
  CUdeviceptr p = host_room(bytes);
  CHECK(cuMemcpyHtoD(p, data, bytes));
  return p;
}

void host_expect(bool ok, const char *fmt, ...) {
  checks++;
  if (ok) return;
  if (failures++ >= 5) return; /* the first few say enough */
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "WRONG: ");
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "\n");
  va_end(ap);
}

int host_verdict(void) {
  printf("%d checks, %d wrong\n", checks, failures);
  return failures || !checks ? 1 : 0;
}
