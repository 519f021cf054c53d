// histogram.cu - how often each byte occurs: every block counts in shared memory, then adds its counts to those in global memory.
// -DNO_BARRIER is the broken twin: counting begins before every thread has cleared its counters.
extern "C" __global__ void histogram(const unsigned char *data, unsigned n, unsigned *bins) {
  __shared__ unsigned count[256];
  for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) count[i] = 0; // MARK: or the other side of that race
#ifndef NO_BARRIER
  __syncthreads();
#endif
  unsigned words = n / 4, all = gridDim.x * blockDim.x, me = blockIdx.x * blockDim.x + threadIdx.x;
  const uchar4 *quad = (const uchar4 *)data;
  for (unsigned i = me; i < words; i += all) {
    uchar4 q = quad[i];
    atomicAdd(&count[q.x], 1u); // MARK: counts where another warp clears
    atomicAdd(&count[q.y], 1u); // MARK
    atomicAdd(&count[q.z], 1u); // MARK
    atomicAdd(&count[q.w], 1u); // MARK
  }
  if (me < n % 4) atomicAdd(&count[data[words * 4 + me]], 1u); // MARK
  __syncthreads();
  for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
    if (count[i]) atomicAdd(&bins[i], count[i]);
}

// The same where threads of a warp that saw the same byte first agree on one of them, and 64-bit counts.
extern "C" __global__ void histogram_by_match(const unsigned char *data, unsigned n, unsigned long long *bins) {
  unsigned lane = threadIdx.x % 32;
  for (unsigned base = blockIdx.x * blockDim.x + threadIdx.x - lane; base < n; base += gridDim.x * blockDim.x) {
    unsigned i = base + lane, who = __ballot_sync(0xffffffffu, i < n);
    if (i >= n) break;
    unsigned same = __match_any_sync(who, data[i]);
    if (lane == __ffs(same) - 1) atomicAdd(&bins[data[i]], (unsigned long long)__popc(same));
  }
}
