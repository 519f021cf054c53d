// pipeline.cu - y = A x for a row-major A with rows of any multiple of 4 floats: a ring of stages is filled by cp.async while the oldest
// is multiplied. Dynamic shared memory holds the stages. -DNO_WAIT is the broken twin: one stage too few is waited for.
#include <cuda_pipeline.h>

enum { THREADS = 128, ROWS = 8, COLS = 64, STAGES = 3 };
#ifdef NO_WAIT
enum { LEFT = STAGES - 1 };
#else
enum { LEFT = STAGES - 2 };
#endif

struct Tile { float a[ROWS][COLS], x[COLS]; };

static __device__ void fetch(Tile *t, const float *A, const float *x, int row0, int col0, int rows, int cols) {
  for (int i = threadIdx.x; i < ROWS * COLS / 4; i += THREADS) {
    int r = i / (COLS / 4), c = i % (COLS / 4) * 4;
    bool there = row0 + r < rows && col0 + c < cols;
    __pipeline_memcpy_async(&t->a[r][c], there ? &A[(size_t)(row0 + r) * cols + col0 + c] : A, 16, there ? 0 : 16);
  }
  for (int c = threadIdx.x; c < COLS; c += THREADS) {
    bool there = col0 + c < cols;
    __pipeline_memcpy_async(&t->x[c], there ? &x[col0 + c] : x, 4, there ? 0 : 4);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) multiply(const float *A, const float *x, float *y, int rows, int cols) {
  extern __shared__ __align__(16) unsigned char bytes[];
  Tile *stage = (Tile *)bytes;
  int row0 = blockIdx.x * ROWS, lane = threadIdx.x % 16, row = threadIdx.x / 16, tiles = (cols + COLS - 1) / COLS;
  for (int i = 0; i < STAGES - 1; i++) {
    if (i < tiles) fetch(&stage[i], A, x, row0, i * COLS, rows, cols);
    __pipeline_commit();
  }
  float sum = 0;
  for (int i = 0; i < tiles; i++) {
    __pipeline_wait_prior(LEFT);
    __syncthreads(); // everybody's copies have landed, and nobody reads the stage that is filled next
    int ahead = i + STAGES - 1;
    if (ahead < tiles) fetch(&stage[ahead % STAGES], A, x, row0, ahead * COLS, rows, cols);
    __pipeline_commit();
    const Tile *t = &stage[i % STAGES];
    for (int c = lane; c < COLS; c += 16) sum = fmaf(t->a[row][c], t->x[c], sum); // MARK: reads the stage
  }
  __pipeline_wait_prior(0);
  for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0 && row0 + row < rows) y[row0 + row] = sum;
}
