// Reductions in a fixed order: the same bits whichever thread runs first.
#pragma once

constexpr unsigned kWholeWarp = 0xffffffffu;

// The values of a warp's 32 lanes, combined by `combine`, in every lane. Called by the whole warp.
template <class T, class Combine>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int reach = 16; reach > 0; reach /= 2) value = combine(value, __shfl_xor_sync(kWholeWarp, value, reach));
  return value;
}

__device__ __forceinline__ float warp_sum(float value) {
  return warp_reduce(value, [](float a, float b) { return a + b; });
}

__device__ __forceinline__ float warp_max(float value) {
  return warp_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}

// The sum over a block of THREADS, in every thread. Called by the whole block, once in a kernel.
template <int THREADS>
__device__ __forceinline__ float block_sum(float value) {
  __shared__ float warps[THREADS / 32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < THREADS / 32; ++i) sum += warps[i];
  return sum;
}

// Merges, by T::merge, what the threads of a block hold that lie `width` apart: thread j < width gets the values of
// threads j, j + width, ..., `lanes` of them; threads beyond lanes * width take no part, the others' results mean
// nothing. Called by the whole block of at most 256 threads, once in a kernel.
template <class T>
__device__ __forceinline__ T merge_lanes(T value, int lanes, int width) {
  __shared__ T handed[256];
  const int lane = threadIdx.x / width;
  while (lanes > 1) {
    const int half = (lanes + 1) / 2;
    if (half <= lane && lane < lanes) handed[threadIdx.x] = value;
    __syncthreads();  // one is enough: the next round writes none of the places that this one reads
    if (lane + half < lanes) value.merge(handed[threadIdx.x + half * width]);
    lanes = half;
  }
  return value;
}
