// reduce.cu - sum and largest element of an array in one launch: warp shuffles, shared memory, and the block that finishes last adds up
// what all the others have left in global memory. -DNO_FENCE is the broken twin: the partial results are not published.
struct Partial { float sum, most; };

__device__ unsigned finished = 0; // blocks that are done; the last one puts it back

static __device__ Partial join(Partial a, Partial b) { return {a.sum + b.sum, fmaxf(a.most, b.most)}; }

static __device__ Partial over_warp(Partial p) {
  for (int step = 16; step > 0; step /= 2)
    p = join(p, {__shfl_down_sync(0xffffffffu, p.sum, step), __shfl_down_sync(0xffffffffu, p.most, step)});
  return p;
}

// The result is right in thread 0. slot has a place per warp; the caller's threads have met since it was last read.
static __device__ Partial over_block(Partial p, Partial *slot) {
  unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  p = over_warp(p);
  if (lane == 0) slot[warp] = p;
  __syncthreads();
  if (warp == 0) p = over_warp(lane < warps ? slot[lane] : Partial{0.0f, -INFINITY});
  return p;
}

extern "C" __global__ void reduce(const float *x, unsigned n, Partial *partial, Partial *result) {
  __shared__ Partial slot[32];
  __shared__ bool last;
  Partial p = {0.0f, -INFINITY};
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) p = join(p, {x[i], x[i]});
  p = over_block(p, slot);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = p; // MARK: or the other side of that race
#ifndef NO_FENCE
    __threadfence();
#endif
    last = atomicInc(&finished, gridDim.x - 1) == gridDim.x - 1;
#ifndef NO_FENCE
    __threadfence(); // before the barrier: the thread that saw the others finish takes over what they published, and hands it on
#endif
  }
  __syncthreads();
  if (!last) return;
  p = {0.0f, -INFINITY};
  for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) p = join(p, partial[i]); // MARK: reads other blocks' partials
  p = over_block(p, slot);
  if (threadIdx.x == 0) *result = p;
}
