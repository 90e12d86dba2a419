// Reductions in a fixed order: the result is the same in every run.
#pragma once

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr float kLargestFloat = 3.402823466e38f;

// The values of a warp's 32 lanes, combined by `combine`, in every lane. Called by the whole warp.
template <class T, class Combine>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int reach = 16; reach > 0; reach /= 2) value = combine(value, __shfl_xor_sync(kWholeWarp, value, reach));
  return value;
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, [](T a, T b) { return a + b; });
}

__device__ __forceinline__ float warp_max(float value) {
  return warp_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}

// A sum of many numbers and its rounding error (two-sum; Knuth, "The Art of Computer Programming" 2, 4.2.2): together
// they are as exact as a sum with twice as many digits.
struct LongSum {
  float sum = 0.f, lost = 0.f;

  __device__ __forceinline__ void add(float number) {
    const float next = sum + number, added = next - sum;
    lost += (sum - (next - added)) + (number - added);
    sum = next;
  }

  // If the sum is infinite or NaN, the error has no meaning.
  __device__ __forceinline__ float total() const { return fabsf(lost) <= kLargestFloat ? sum + lost : sum; }
};

// The sum over a block of THREADS, in every thread. Called by the whole block, once in a kernel for each SLOT.
template <int THREADS, int SLOT = 0, class T>
__device__ __forceinline__ T block_sum(T value) {
  __shared__ T warps[THREADS / 32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = 0;
#pragma unroll
  for (int i = 0; i < THREADS / 32; ++i) sum += warps[i];
  return sum;
}

// Merges, by T::merge, the values of threads that are `width` apart: thread j < width gets those of the `lanes` threads
// j, j + width, ...; the results of other threads have no meaning, and threads from lanes * width on have no values.
// `handed` is shared memory for every thread's value. Called by the whole block, with a barrier before the next such use.
template <class T>
__device__ __forceinline__ T merge_lanes(T value, int lanes, int width, T* handed) {
  const int lane = threadIdx.x / width;
  while (lanes > 1) {
    const int half = (lanes + 1) / 2;
    if (half <= lane && lane < lanes) handed[threadIdx.x] = value;
    __syncthreads();  // one is enough: the next round writes to none of the addresses that this one reads
    if (lane + half < lanes) value.merge(handed[threadIdx.x + half * width]);
    lanes = half;
  }
  return value;
}

// The same of a block of at most 256 threads, once in a kernel.
template <class T>
__device__ __forceinline__ T merge_lanes(T value, int lanes, int width) {
  __shared__ T handed[256];
  return merge_lanes(value, lanes, width, handed);
}
