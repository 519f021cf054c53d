/* reduce.c - runs reduce.cu: sum and largest element, several lengths, launched again without anything put back by hand. */
#include "host.h"
#include <math.h>
#include <stdlib.h>

typedef struct Partial { float sum, most; } Partial;

static void run(const Host *h, CUfunction f, unsigned n, unsigned blocks, unsigned threads) {
  float *x = host_alloc(n * sizeof *x), most = -INFINITY;
  double sum = 0, size = 0;
  for (unsigned i = 0; i < n; i++) {
    x[i] = host_unit();
    sum += x[i];
    size += fabs((double)x[i]);
    most = fmaxf(most, x[i]);
  }
  CUdeviceptr dx = host_upload(x, n * sizeof *x), partial = host_room(blocks * sizeof(Partial)), result = host_room(sizeof(Partial));
  struct { CUdeviceptr x; unsigned n; CUdeviceptr partial, result; } block = {dx, n, partial, result};
  size_t bytes = sizeof block;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  Partial *got;
  CHECK(cuMemAllocHost((void **)&got, 2 * sizeof *got));
  for (int again = 0; again < 2; again++) {
    CHECK(cuLaunchKernel(f, blocks, 1, 1, threads, 1, 1, 0, h->stream, NULL, extra));
    CHECK(cuMemcpyDtoHAsync(&got[again], result, sizeof *got, h->stream));
  }
  CHECK(cuStreamSynchronize(h->stream));
  for (int again = 0; again < 2; again++) {
    double error = fabs(got[again].sum - sum), bound = size * 0x1p-24 * (n / (blocks * threads) + 40);
    host_expect(error <= bound, "n=%u: sum %g, expected %g (error %g, at most %g)", n, got[again].sum, sum, error, bound);
    host_expect(got[again].most == most, "n=%u: largest %g, expected %g", n, got[again].most, most);
  }
  CHECK(cuMemFreeHost(got));
  CHECK(cuMemFree(dx));
  CHECK(cuMemFree(partial));
  CHECK(cuMemFree(result));
  free(x);
}

int main(int argc, char **argv) {
  Host h;
  host_open(&h, argc, argv);
  CUfunction f = host_function(&h, "reduce");
  run(&h, f, (unsigned)host_between(3000, 9000), 7, 128);
  run(&h, f, (unsigned)host_between(1, 31), 1, 32);
  run(&h, f, (unsigned)host_between(100, 999), 33, 64); /* more blocks than the last one has threads; many of them idle */
  host_close(&h);
  return host_verdict();
}
