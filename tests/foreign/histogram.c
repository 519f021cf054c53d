/* histogram.c - runs histogram.cu: both kernels over bytes of a lopsided distribution, odd lengths and starts. */
#include "host.h"
#include <stdlib.h>
#include <string.h>

static void run(const Host *h, unsigned n, unsigned blocks, unsigned threads, bool skewed) {
  unsigned char *data = host_alloc(n);
  unsigned want[256] = {0}, got[256];
  unsigned long long got_wide[256];
  for (unsigned i = 0; i < n; i++) {
    data[i] = (unsigned char)(skewed ? host_random() & host_random() & host_random() : host_random());
    want[data[i]]++;
  }
  CUdeviceptr d = host_upload(data, n), bins = host_room(sizeof got), wide = host_room(sizeof got_wide);
  CHECK(cuMemsetD32(bins, 0, 256));
  CHECK(cuMemsetD8(wide, 0, sizeof got_wide));
  CHECK(cuLaunchKernel(host_function(h, "histogram"), blocks, 1, 1, threads, 1, 1, 0, NULL, (void *[]){&d, &n, &bins}, NULL));
  CHECK(cuLaunchKernel(host_function(h, "histogram_by_match"), blocks, 1, 1, threads, 1, 1, 0, NULL, (void *[]){&d, &n, &wide}, NULL));
  CHECK(cuCtxSynchronize());
  CHECK(cuMemcpyDtoH(got, bins, sizeof got));
  CHECK(cuMemcpyDtoH(got_wide, wide, sizeof got_wide));
  for (int i = 0; i < 256; i++) {
    host_expect(got[i] == want[i], "n=%u: %u times byte %d, expected %u", n, got[i], i, want[i]);
    host_expect(got_wide[i] == want[i], "n=%u, by match: %llu times byte %d, expected %u", n, got_wide[i], i, want[i]);
  }
  CHECK(cuMemFree(d));
  CHECK(cuMemFree(bins));
  CHECK(cuMemFree(wide));
  free(data);
}

int main(int argc, char **argv) {
  Host h;
  host_open(&h, argc, argv);
  run(&h, (unsigned)host_between(4000, 9000), 5, 128, true);
  run(&h, (unsigned)host_between(1, 300), 2, 96, false);
  run(&h, (unsigned)host_between(1000, 3000) | 1, 3, 256, false);
  host_close(&h);
  return host_verdict();
}
