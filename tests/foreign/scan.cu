// scan.cu - inclusive prefix sums in one pass with decoupled look-back: a tile publishes its own sum, walks back over its predecessors,
// adding sums until it meets one that knows its prefix, and publishes its own prefix. Tiles are taken in the order in which blocks
// begin, so that a tile waits only for such as run already. Two ways to publish:
//   scan_volatile   value and flag are two words: plain store, __threadfence, volatile flag
//   scan_acquire    the same with st.release and ld.acquire
// -DNO_FENCE is the broken twin of both: the flag says that a value is there which nothing has published.
#ifdef NO_FENCE
#define FENCE()
#define RELEASE "st.relaxed.gpu.global.u32"
#else
#define FENCE() __threadfence()
#define RELEASE "st.release.gpu.global.u32"
#endif

enum { THREADS = 128, EACH = 4, TILE = THREADS * EACH };
enum { NOTHING = 0, SUM = 1, PREFIX = 2 };

struct State { unsigned flag, sum, prefix, pad; }; // per tile

struct Volatile {
  static __device__ void publish(unsigned *flag, unsigned v) {
    FENCE();
    *(volatile unsigned *)flag = v;
  }
  static __device__ unsigned look(const unsigned *flag) {
    unsigned v = *(const volatile unsigned *)flag;
    __threadfence();
    return v;
  }
};

struct Acquire {
  static __device__ void publish(unsigned *flag, unsigned v) { asm volatile(RELEASE " [%0], %1;" ::"l"(flag), "r"(v) : "memory"); }
  static __device__ unsigned look(const unsigned *flag) {
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(flag) : "memory");
    return v;
  }
};

static __device__ unsigned over_warp(unsigned v) { // inclusive
  unsigned lane = threadIdx.x % 32;
  for (unsigned step = 1; step < 32; step *= 2) {
    unsigned below = __shfl_up_sync(0xffffffffu, v, step);
    if (lane >= step) v += below;
  }
  return v;
}

template <typename Way> static __device__ unsigned look_back(State *state, unsigned tile) { // what lies before the tile; one thread
  unsigned before = 0;
  for (unsigned i = tile; i-- > 0;) {
    unsigned flag;
    while ((flag = Way::look(&state[i].flag)) == NOTHING) {}
    if (flag == PREFIX) return before + state[i].prefix; // MARK
    before += state[i].sum; // MARK: what a predecessor published
  }
  return before;
}

template <typename Way> static __device__ void scan(const unsigned *in, unsigned *out, unsigned n, unsigned *next, State *state) {
  __shared__ unsigned tile_shared, before_shared, warp_sum[THREADS / 32];
  if (threadIdx.x == 0) tile_shared = atomicAdd(next, 1u);
  __syncthreads();
  unsigned tile = tile_shared, warp = threadIdx.x / 32, first = tile * TILE + threadIdx.x * EACH, v[EACH], total = 0;
#pragma unroll
  for (unsigned i = 0; i < EACH; i++) v[i] = total += first + i < n ? in[first + i] : 0;
  unsigned inclusive = over_warp(total);
  if (threadIdx.x % 32 == 31) warp_sum[warp] = inclusive;
  __syncthreads();
  unsigned base = inclusive - total, sum = 0;
#pragma unroll
  for (unsigned w = 0; w < THREADS / 32; w++) {
    if (w < warp) base += warp_sum[w];
    sum += warp_sum[w];
  }
  if (threadIdx.x == 0) {
    State *mine = &state[tile];
    mine->sum = sum; // MARK
    Way::publish(&mine->flag, SUM);
    unsigned before = look_back<Way>(state, tile);
    mine->prefix = before + sum; // MARK
    Way::publish(&mine->flag, PREFIX);
    before_shared = before;
  }
  __syncthreads();
  base += before_shared;
#pragma unroll
  for (unsigned i = 0; i < EACH; i++)
    if (first + i < n) out[first + i] = base + v[i];
}

extern "C" __global__ void scan_volatile(const unsigned *in, unsigned *out, unsigned n, unsigned *next, State *state) {
  scan<Volatile>(in, out, n, next, state);
}
extern "C" __global__ void scan_acquire(const unsigned *in, unsigned *out, unsigned n, unsigned *next, State *state) {
  scan<Acquire>(in, out, n, next, state);
}
