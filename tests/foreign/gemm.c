/* gemm.c - runs gemm.cu against sums in double, odd M, N and K. Has a context of its own and loads the file by its name. */
#include "host.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint16_t half_of(int eighths) { /* eighths / 8, exactly: |eighths| <= 1024 */
  int e = 0, m = abs(eighths);
  if (!m) return 0;
  while (m >> (e + 1)) e++;
  return (uint16_t)((eighths < 0 ? 0x8000 : 0) | (e - 3 + 15) << 10 | ((m << (10 - e)) & 1023));
}

static void run(const Host *h, int M, int N, int K) {
  size_t a_n = (size_t)M * K, b_n = (size_t)K * N, c_n = (size_t)M * N;
  int *ai = host_alloc(a_n * sizeof *ai), *bi = host_alloc(b_n * sizeof *bi);
  uint16_t *a = host_alloc(a_n * 2), *b = host_alloc(b_n * 2);
  float *c0 = host_alloc(c_n * 4), *c = host_alloc(c_n * 4);
  for (size_t i = 0; i < a_n; i++) a[i] = half_of(ai[i] = host_between(-24, 24));
  for (size_t i = 0; i < b_n; i++) b[i] = half_of(bi[i] = host_between(-24, 24));
  for (size_t i = 0; i < c_n; i++) c0[i] = (float)host_between(-64, 64) / 64;
  CUdeviceptr da = host_upload(a, a_n * 2), db = host_upload(b, b_n * 2), dc = host_upload(c0, c_n * 4);
  void *params[] = {&da, &db, &dc, &M, &N, &K};
  CHECK(cuLaunchKernel(host_function(h, "gemm"), (unsigned)(N + 63) / 64, (unsigned)(M + 63) / 64, 1, 128, 1, 1, 0, NULL, params, NULL));
  CHECK(cuMemcpyDtoH(c, dc, c_n * 4));
  for (int i = 0; i < M; i++)
    for (int j = 0; j < N; j++) { /* multiples of 1/64 well below 2^24: every sum is exact, in any order */
      long sum = 0;
      for (int k = 0; k < K; k++) sum += (long)ai[(size_t)i * K + k] * bi[(size_t)k * N + j];
      float want = (float)sum / 64 + c0[(size_t)i * N + j];
      host_expect(c[(size_t)i * N + j] == want, "%dx%dx%d: C[%d][%d] = %g, expected %g", M, N, K, i, j, c[(size_t)i * N + j], want);
    }
  CHECK(cuMemFree(da));
  CHECK(cuMemFree(db));
  CHECK(cuMemFree(dc));
  free(ai), free(bi), free(a), free(b), free(c0), free(c);
}

int main(int argc, char **argv) {
  Host h;
  host_open(&h, argc, argv);
  CUcontext own;
  CUmodule module;
  CHECK(cuCtxCreate_v2(&own, 0, h.device));
  CHECK(cuModuleLoad(&module, argv[1]));
  Host mine = {.context = own, .device = h.device, .module = module};
  run(&mine, host_between(65, 90), host_between(70, 140), host_between(33, 80));
  run(&mine, host_between(1, 9), host_between(1, 9), host_between(1, 9));
  CHECK(cuModuleUnload(module));
  CHECK(cuCtxDestroy(own));
  CHECK(cuCtxSetCurrent(h.context));
  host_close(&h);
  return host_verdict();
}
