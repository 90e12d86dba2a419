// Small correct kernels, one for each thing that the emulator stands in for.
#include "tiles.cuh"

// ---- threads and blocks
extern "C" __global__ void thread_index(int* y) {
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}

extern "C" __global__ void turn(int* counter, int* turn_of) {
  turn_of[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, 1);
}

extern "C" __global__ void turns_after_barriers(int* counter, int* turn_of, int barriers) {
  for (int i = 0; i < barriers; i++) {
    turn_of[i * blockDim.x + threadIdx.x] = atomicAdd(counter, 1);
    __syncthreads();
  }
}

// ---- barriers
extern "C" __global__ void rotate(const float* x, float* y, int steps) {
  __shared__ float tile[256];
  tile[threadIdx.x] = x[threadIdx.x];
  for (int i = 0; i < steps; i++) {
    __syncthreads();
    const float next = tile[(threadIdx.x + 1) % blockDim.x];
    __syncthreads();
    tile[threadIdx.x] = next;
  }
  y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void votes(const int* x, int* y) {
  const int value = x[threadIdx.x];
  const int count = __syncthreads_count(value > 3);
  const int all = __syncthreads_and(value > 3), any = __syncthreads_or(value > 3);
  y[threadIdx.x] = count * 100 + (all != 0) * 10 + (any != 0);
}

// ---- warp operations
extern "C" __global__ void shuffles(const int* x, int* y) {
  const int value = x[threadIdx.x], n = blockDim.x, t = threadIdx.x;
  y[0 * n + t] = __shfl_sync(0xffffffffu, value, 5);
  y[1 * n + t] = __shfl_sync(0xffffffffu, value, 3, 8);
  y[2 * n + t] = __shfl_up_sync(0xffffffffu, value, 2);
  y[3 * n + t] = __shfl_down_sync(0xffffffffu, value, 3, 16);
  y[4 * n + t] = __shfl_xor_sync(0xffffffffu, value, 9);
  const double wide = __shfl_xor_sync(0xffffffffu, value + 0.5, 1);
  y[5 * n + t] = int(2 * wide);
}

extern "C" __global__ void half_warps(const int* x, int* y) {
  int value = x[threadIdx.x];
  const int lane = threadIdx.x % 32;
  if (lane < 16) {
    for (int lanes = 8; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0x0000ffffu, value, lanes, 16);
  } else {
    for (int round = 0; round < 2; round++) {
      for (int lanes = 8; lanes > 0; lanes /= 2) value = max(value, __shfl_xor_sync(0xffff0000u, value, lanes, 16));
    }
  }
  __syncwarp();
  y[threadIdx.x] = value;
}

extern "C" __global__ void ballots(const int* x, unsigned* y) {
  const int value = x[threadIdx.x], n = blockDim.x, t = threadIdx.x;
  y[0 * n + t] = __ballot_sync(0xffffffffu, value > 3);
  y[1 * n + t] = __any_sync(0xffffffffu, value > 3);
  y[2 * n + t] = __all_sync(0xffffffffu, value > 3);
  y[3 * n + t] = __activemask();
  y[4 * n + t] = __reduce_add_sync(0xffffffffu, value);
  y[5 * n + t] = __reduce_max_sync(0xffffffffu, value);
  y[6 * n + t] = __reduce_min_sync(0xffffffffu, unsigned(value));
  y[7 * n + t] = __reduce_xor_sync(0xffffffffu, unsigned(value));
}

extern "C" __global__ void lanes_after_exit(int* y) {
  if (threadIdx.x >= 20) return;
  y[threadIdx.x] = __popc(__activemask() & 0xfffff) * 100 + __popc(__ballot_sync(0xfffffu, 1));
}

// ---- shared memory
extern "C" __global__ void transpose(const float* x, float* y) {
  __shared__ __align__(16) float tile[8][8 + 1];
  tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 8 + threadIdx.x];
  __syncthreads();
  y[threadIdx.y * 8 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

extern "C" __global__ void carve(float* y, int n) {
  extern __shared__ __align__(16) unsigned char raw[];
  float* floats = reinterpret_cast<float*>(raw);
  int* ints = reinterpret_cast<int*>(floats + n);
  floats[threadIdx.x] = threadIdx.x;
  ints[threadIdx.x] = 2 * threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = floats[n - 1 - threadIdx.x] + ints[threadIdx.x];
}

extern "C" __global__ void two_sums(const float* x, float* y, double* z) {
  const float single_sum = block_sum<float>(x[threadIdx.x]);
  const double double_sum = block_sum<double>(x[threadIdx.x]);
  if (threadIdx.x == 0) *y = single_sum, *z = double_sum;
}

template <int SIZE, bool NEGATE>
__global__ void __launch_bounds__(SIZE * (NEGATE ? 1 : 2)) reversed(const int* x, int* y) {
  __shared__ int tile[SIZE], spare[SIZE / 4 > 8 ? SIZE / 4 : 8];
  if (threadIdx.x == 0) spare[0] = 0;
  tile[threadIdx.x] = NEGATE ? -x[threadIdx.x] : x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[SIZE - 1 - threadIdx.x];
}

__global__ void reversed_by_macro(const int* x, int* y) {
  REVERSED_IN_TILE(int, 32, x[threadIdx.x], y[threadIdx.x]);
}

extern "C" __global__ void odd_declarations(float* y) {
  __shared__ union {
    float real;
    int whole;
  } either;
  /* a comment with __shared__ in it; */
  __shared__ Pack<Pack<float, 2>, 3> packs[2], *there;
  __shared__ alignas(16) volatile float four[4];
  if (threadIdx.x == 0) {
    either.whole = 0x3f800000;
    packs[1].values[2].values[1] = 2.0f;
    there = &packs[1];
    for (int i = 0; i < 4; i++) four[i] = i;
  }
  __syncthreads();
  y[threadIdx.x] = either.real + there->values[2].values[1] + four[threadIdx.x % 4];
}

// ---- atomics
extern "C" __global__ void atomics(int* ints, unsigned* wraps, float* floats, unsigned long long* wide) {
  const int t = threadIdx.x;
  atomicAdd(&ints[0], t);
  atomicSub(&ints[1], 1);
  atomicMin(&ints[2], -t);
  atomicMax(&ints[3], t);
  atomicAnd(&ints[4], ~(1 << (t % 8)));
  atomicOr(&ints[5], 1 << (t % 8));
  atomicXor(&ints[6], 1);
  if (t == 0) ints[8] = atomicExch(&ints[7], 5);
  atomicCAS(&ints[9], 0, t + 1);
  atomicInc(&wraps[0], 9);
  atomicDec(&wraps[1], 9);
  atomicAdd(&floats[0], 0.5f);
  atomicAdd(wide, 1ull << 33);
}

extern "C" __global__ void last_block(const float* x, float* parts, unsigned* count, float* y) {
  __shared__ bool last;
  const float sum = block_sum<float>(x[blockIdx.x * blockDim.x + threadIdx.x]);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(count, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float total = 0;
    for (int block = 0; block < int(gridDim.x); block++) total += parts[block];
    *y = total;
  }
}

// ---- arguments
extern "C" __global__ void scalars(float a, int b, bool c, long long d, unsigned char e, double f, double* y) {
  y[0] = double(a) + b + c + d + e + f;
}

extern "C" __global__ void by_struct(const float* x, float* y, Scale scale, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x ? x[i] * scale.factor * scale.repeats + scale.offset : scale.offset;
}

struct Tensors {
  float* data[4];
  int size[4];
};

extern "C" __global__ void by_pointers(Tensors tensors, float add) {
  for (int i = threadIdx.x; i < tensors.size[blockIdx.x]; i += blockDim.x) tensors.data[blockIdx.x][i] += add;
}

extern "C" __global__ void copy_bytes(const unsigned char* x, unsigned char* y, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i] + 1;
}

extern "C" __global__ void add_vectors(const float4* a, const float4* b, float4* y) {
  const float4 u = __ldg(a + threadIdx.x), v = b[threadIdx.x];
  y[threadIdx.x] = make_float4(u.x + v.x, u.y + v.y, u.z + v.z, u.w + v.w);
}

// ---- more that has to be right in the checked build too
extern "C" __global__ void warp_tiles(const float* x, float* y) {
  __shared__ float tile[4][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int round = 0; round < 3; round++) {
    tile[warp][lane] = x[threadIdx.x] + round;
    __syncwarp();
    y[threadIdx.x * 3 + round] = tile[warp][31 - lane];
    __syncwarp();
  }
}

extern "C" __global__ void half_warp_tiles(const float* x, float* y) {
  __shared__ float tile[32];
  const int lane = threadIdx.x;
  const unsigned mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  tile[lane] = x[lane];
  if (lane < 16) {
    __syncwarp(mask);
    y[lane] = tile[15 - lane];
  } else {
    __syncwarp(mask);
    y[lane] = tile[47 - lane];
  }
}

extern "C" __global__ void double_buffer(const float* x, float* y, int tiles) {
  __shared__ float buffer[2][64];
  float sum = 0;
  buffer[0][threadIdx.x] = x[threadIdx.x];
  for (int tile = 0; tile < tiles; tile++) {
    __syncthreads();
    if (tile + 1 < tiles) buffer[(tile + 1) % 2][threadIdx.x] = x[(tile + 1) * 64 + threadIdx.x];
    for (int i = 0; i < 64; i++) sum += buffer[tile % 2][i];
  }
  y[threadIdx.x] = sum;
}

extern "C" __global__ void histogram(const int* x, int* bins, int n) {
  __shared__ int own[16];
  if (threadIdx.x < 16) own[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&own[x[i]], 1);
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], own[threadIdx.x]);
}

// ---- maths
extern "C" __global__ void maths(const float* x, float* y) {
  const float v = x[threadIdx.x];
  float* out = y + 12 * threadIdx.x;
  out[0] = rsqrtf(v), out[1] = erff(v), out[2] = __expf(v), out[3] = tanhf(v), out[4] = fmaf(v, v, 1.0f);
  out[5] = max(v, 0.5f), out[6] = rintf(v), out[7] = __saturatef(v), out[8] = __int_as_float(__float_as_int(v));
  out[9] = isnan(v) || !isfinite(v), out[10] = floorf(-v), out[11] = normcdff(v);
}

extern "C" __global__ void integers(const unsigned* x, unsigned* y) {
  const unsigned v = x[threadIdx.x];
  unsigned* out = y + 8 * threadIdx.x;
  out[0] = __popc(v), out[1] = __clz(v), out[2] = __ffs(v), out[3] = __umulhi(v, 0x9E3779B9u), out[4] = __brev(v);
  out[5] = __byte_perm(v, 0, 0x0123), out[6] = __funnelshift_l(v, v, 8), out[7] = min(v, 77u);
}

// s[i] and c[i]: sine and cosine of x[i] half turns.
extern "C" __global__ void half_turns(const double* x, double* s, double* c) {
  const int i = threadIdx.x;
  sincospi(x[i], &s[i], &c[i]);
}
