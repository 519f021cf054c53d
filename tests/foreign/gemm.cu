// gemm.cu - C = A B + C, f16 with f32 sums: tiles of 64 x 64 x 32 in shared memory, ldmatrix, mma.sync. Any M, N, K; A is row-major,
// B is K x N row-major (ldmatrix transposes it). The next tile is read into registers while the present one is multiplied.
#include <cuda_fp16.h>

enum { BM = 64, BN = 64, BK = 32, PAD = 8, THREADS = 128 };

static __device__ unsigned shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

static __device__ void load_fragment(unsigned (&r)[4], const __half *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
static __device__ void load_transposed(unsigned (&r)[4], const __half *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A tile of ROWS x COLS of a matrix with `rows` and `cols`, zero beyond them: each thread's share in registers, later stored
template <int ROWS, int COLS> struct Stage {
  __half v[ROWS * COLS / THREADS];
  __device__ void read(const __half *m, int row0, int col0, int rows, int cols) {
#pragma unroll
    for (int i = 0; i < ROWS * COLS / THREADS; i++) {
      int at = i * THREADS + threadIdx.x, row = row0 + at / COLS, col = col0 + at % COLS;
      v[i] = row < rows && col < cols ? m[(size_t)row * cols + col] : __ushort_as_half(0);
    }
  }
  __device__ void write(__half (*tile)[COLS + PAD]) const {
#pragma unroll
    for (int i = 0; i < ROWS * COLS / THREADS; i++) {
      int at = i * THREADS + threadIdx.x;
      tile[at / COLS][at % COLS] = v[i];
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) gemm(const __half *A, const __half *B, float *C, int M, int N, int K) {
  __shared__ __align__(16) __half a[BM][BK + PAD], b[BK][BN + PAD];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
  int wm = warp / 2 * 32, wn = warp % 2 * 32; // a warp's 32 x 32
  float sum[2][4][4] = {};
  Stage<BM, BK> next_a;
  Stage<BK, BN> next_b;
  next_a.read(A, m0, 0, M, K);
  next_b.read(B, 0, n0, K, N);
  for (int k0 = 0; k0 < K; k0 += BK) {
    __syncthreads();
    next_a.write(a);
    next_b.write(b);
    __syncthreads();
    if (k0 + BK < K) {
      next_a.read(A, m0, k0 + BK, M, K);
      next_b.read(B, k0 + BK, n0, K, N);
    }
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
      unsigned fa[2][4], fb[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        load_fragment(fa[i], &a[wm + i * 16 + lane % 16][k + lane / 16 * 8]);
        load_transposed(fb[i], &b[k + lane % 16][wn + i * 16 + lane / 16 * 8]);
      }
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) multiply(sum[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int row = m0 + wm + i * 16 + lane / 4 + e / 2 * 8, col = n0 + wn + j * 8 + lane % 4 * 2 + e % 2;
        if (row < M && col < N) C[(size_t)row * N + col] += sum[i][j][e];
      }
}
