// How an element-wise kernel walks over its elements: a grid-stride loop, four at a time where the addresses allow it.
//
// Loop counters are unsigned: near 2^31 elements, a counter and the stride together pass what an int holds.
#pragma once

// N neighbouring values, which one instruction loads or stores.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T at[N];
};

// Whether a Pack may be read or written at p.
template <int N, class T>
__device__ __forceinline__ bool packs_at(const T* p) {
  return reinterpret_cast<unsigned long long>(p) % sizeof(Pack<T, N>) == 0;
}

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}

template <int N, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& values) {
  *reinterpret_cast<Pack<T, N>*>(p) = values;
}

// This thread's place in the grid, and how many threads the grid has.
__device__ __forceinline__ unsigned grid_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ unsigned grid_threads() { return gridDim.x * blockDim.x; }

// y[i] = f(x[i]) for i < count.
template <class F>
__device__ __forceinline__ void map_elements(const float* __restrict__ x, float* __restrict__ y, unsigned count, F f) {
  const unsigned packs = packs_at<4>(x) && packs_at<4>(y) ? count / 4 : 0;
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto u = load_pack<4>(x + i * 4);
    Pack<float, 4> result;
#pragma unroll
    for (int k = 0; k < 4; ++k) result.at[k] = f(u.at[k]);
    store_pack(y + i * 4, result);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) y[i] = f(x[i]);
}

// y[i] = f(a[i], b[i]) for i < count.
template <class B, class F>
__device__ __forceinline__ void map_elements(const float* __restrict__ a, const B* __restrict__ b,
                                             float* __restrict__ y, unsigned count, F f) {
  const unsigned packs = packs_at<4>(a) && packs_at<4>(b) && packs_at<4>(y) ? count / 4 : 0;
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto u = load_pack<4>(a + i * 4);
    const auto v = load_pack<4>(b + i * 4);
    Pack<float, 4> result;
#pragma unroll
    for (int k = 0; k < 4; ++k) result.at[k] = f(u.at[k], v.at[k]);
    store_pack(y + i * 4, result);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) y[i] = f(a[i], b[i]);
}
