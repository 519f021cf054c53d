/* pipeline.c - runs pipeline.cu: y = A x, odd numbers of rows, columns any multiple of 4. The kernel's dynamic shared memory is set as
 * a program does that has asked how much there is. */
#include "host.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS = 8, COLS = 64, STAGES = 3, STAGE_BYTES = (ROWS + 1) * COLS * 4 };

static void run(CUfunction f, int rows, int cols) {
  size_t n = (size_t)rows * cols;
  float *A = host_alloc(n * 4), *x = host_alloc((size_t)cols * 4), *y = host_alloc((size_t)rows * 4);
  for (size_t i = 0; i < n; i++) A[i] = host_unit();
  for (int i = 0; i < cols; i++) x[i] = host_unit();
  CUdeviceptr dA = host_upload(A, n * 4), dx = host_upload(x, (size_t)cols * 4), dy = host_room((size_t)rows * 4);
  void *params[] = {&dA, &dx, &dy, &rows, &cols};
  CHECK(cuLaunchKernel(f, (unsigned)(rows + ROWS - 1) / ROWS, 1, 1, 128, 1, 1, STAGES * STAGE_BYTES, NULL, params, NULL));
  CHECK(cuCtxSynchronize());
  CHECK(cuMemcpyDtoH(y, dy, (size_t)rows * 4));
  for (int r = 0; r < rows; r++) {
    double want = 0, size = 0;
    for (int c = 0; c < cols; c++) {
      double p = (double)A[(size_t)r * cols + c] * x[c];
      want += p;
      size += fabs(p);
    }
    double bound = size * 0x1p-24 * (cols / 16 + 8);
    host_expect(fabs(y[r] - want) <= bound, "%dx%d: y[%d] = %g, expected %g", rows, cols, r, y[r], want);
  }
  CHECK(cuMemFree(dA));
  CHECK(cuMemFree(dx));
  CHECK(cuMemFree(dy));
  free(A), free(x), free(y);
}

int main(int argc, char **argv) {
  Host h;
  int regs = 0, blocks = 0;
  host_open(&h, argc, argv);
  CUfunction f = host_function(&h, "multiply");
  CHECK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, STAGES * STAGE_BYTES));
  CHECK(cuFuncGetAttribute(&regs, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
  CHECK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, STAGES * STAGE_BYTES));
  host_expect(regs > 0 && regs < 256 && blocks > 0, "%d registers, %d blocks", regs, blocks);
  run(f, host_between(17, 40), 4 * host_between(60, 130));
  run(f, host_between(1, 7), 4 * host_between(1, 15)); /* fewer tiles than stages */
  run(f, host_between(9, 15), 64 * host_between(3, 6));
  host_close(&h);
  return host_verdict();
}
