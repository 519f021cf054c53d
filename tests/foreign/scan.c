/* scan.c - runs scan.cu: inclusive prefix sums over odd lengths, both ways of publishing, more tiles than a device holds at once. */
#include "host.h"
#include <stdlib.h>

enum { THREADS = 128, TILE = 512, STATE_BYTES = 16 };

static void run(const Host *h, const char *name, unsigned n) {
  unsigned *x = host_alloc(n * sizeof *x), *y = host_alloc(n * sizeof *y), tiles = (n + TILE - 1) / TILE, sum = 0;
  for (unsigned i = 0; i < n; i++) x[i] = (unsigned)host_random();
  CUdeviceptr in = host_upload(x, n * sizeof *x), out = host_room(n * sizeof *y), next = host_room(4), states = host_room(tiles * STATE_BYTES);
  CUevent ready;
  CHECK(cuEventCreate(&ready, 0));
  CHECK(cuMemsetD32Async(next, 0, 1, h->stream));
  CHECK(cuMemsetD32Async(states, 0, tiles * STATE_BYTES / 4, h->stream));
  CHECK(cuEventRecord(ready, h->stream));
  CHECK(cuStreamWaitEvent(NULL, ready, 0));
  CHECK(cuLaunchKernel(host_function(h, name), tiles, 1, 1, THREADS, 1, 1, 0, NULL, (void *[]){&in, &out, &n, &next, &states}, NULL));
  CHECK(cuMemcpyDtoH(y, out, n * sizeof *y));
  for (unsigned i = 0; i < n; i++) {
    sum += x[i];
    host_expect(y[i] == sum, "%s, n=%u: prefix %u is %u, expected %u", name, n, i, y[i], sum);
  }
  CHECK(cuEventDestroy(ready));
  CHECK(cuMemFree(in));
  CHECK(cuMemFree(out));
  CHECK(cuMemFree(next));
  CHECK(cuMemFree(states));
  free(x);
  free(y);
}

int main(int argc, char **argv) {
  static const char *const names[] = {"scan_volatile", "scan_acquire"};
  Host h;
  host_open(&h, argc, argv);
  for (int i = 0; i < 2; i++) {
    run(&h, names[i], (unsigned)host_between(5000, 9000) | 1);
    run(&h, names[i], (unsigned)host_between(1, 511));
    run(&h, names[i], TILE * 40 + (unsigned)host_between(1, 99));
  }
  host_close(&h);
  return host_verdict();
}
