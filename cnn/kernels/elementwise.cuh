// The loop of element-wise kernels: a grid-stride loop, four elements at a time if the addresses allow it.
//
// Loop counters are unsigned: near 2^31 elements, a counter plus the stride exceeds an int.
#pragma once
#include "storage.cuh"

// This thread's number in the grid, and the number of threads of the grid.
__device__ __forceinline__ unsigned grid_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ unsigned grid_threads() { return gridDim.x * blockDim.x; }

// y[i] = f(x[i]) for i < count.
template <class X, class Y, class F>
__device__ __forceinline__ void map_elements(const X* __restrict__ x, Y* __restrict__ y, unsigned count, F f) {
  const unsigned packs = packs_at<4>(x) && packs_at<4>(y) ? count / 4 : 0;
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto u = load_pack<4>(x + i * 4);
    Pack<arithmetic<Y>, 4> result;
#pragma unroll
    for (int k = 0; k < 4; ++k) result.at[k] = f(u.at[k]);
    store_pack(y + i * 4, result);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) assign(y[i], f(loaded(x[i])));
}

// y[i] = f(a[i], b[i]) for i < count.
template <class T, class F>
__device__ __forceinline__ void map_elements(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y,
                                             unsigned count, F f) {
  const unsigned packs = packs_at<4>(a) && packs_at<4>(b) && packs_at<4>(y) ? count / 4 : 0;
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto u = load_pack<4>(a + i * 4);
    const auto v = load_pack<4>(b + i * 4);
    Pack<arithmetic<T>, 4> result;
#pragma unroll
    for (int k = 0; k < 4; ++k) result.at[k] = f(u.at[k], v.at[k]);
    store_pack(y + i * 4, result);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) {
    assign(y[i], f(loaded(a[i]), loaded(b[i])));
  }
}
