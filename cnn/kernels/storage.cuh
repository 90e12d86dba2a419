// The storage types of activations. Arithmetic is in float for all of them.
#pragma once
#include "ptx.cuh"

// bfloat16, the upper half of a float: its exponent, and 8 bits of precision. The type of `cuda_bf16.h` would need the
// folder of that header at run time.
struct bfloat16 {
  unsigned short bits;
};

// The arithmetic type of storage type T.
template <class T>
struct Arithmetic {
  using Type = T;
};
template <>
struct Arithmetic<bfloat16> {
  using Type = float;
};
template <class T>
using arithmetic = typename Arithmetic<T>::Type;

template <class T>
__device__ __forceinline__ T loaded(T value) {
  return value;
}
__device__ __forceinline__ float loaded(bfloat16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

// A word whose upper half is the value in bfloat16.
__device__ __forceinline__ unsigned rounded_bits(float value) {
  // To the nearest, ties to even. The quiet bit is set for NaN, because its upper half could be that of an infinity.
  const unsigned bits = __float_as_uint(value), rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
  return value == value ? rounded : bits | 0x400000u;
}

// Two values in a word, the first in the lower half.
__device__ __forceinline__ unsigned pair_of(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return pack_bfloat16(first, second);  // one instruction; NaN becomes 0x7FFF
#else
  return rounded_bits(first) >> 16 | (rounded_bits(second) & 0xFFFF0000u);
#endif
}

__device__ __forceinline__ void assign(bfloat16& target, float value) {
  target.bits = static_cast<unsigned short>(rounded_bits(value) >> 16);
}
template <class T>
__device__ __forceinline__ void assign(T& target, T value) {
  target = value;
}

// N neighbouring values, loaded or stored by one instruction.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T at[N];
};

// A pack as it lies in memory, loaded or stored by one instruction too.
template <class T, int N, bool PAIRS = (sizeof(T) == 2 && N % 2 == 0)>
struct alignas(N * sizeof(T)) Stored {
  T at[N];

  __device__ __forceinline__ arithmetic<T> value(int k) const { return loaded(at[k]); }
  __device__ __forceinline__ void set(const Pack<arithmetic<T>, N>& values) {
#pragma unroll
    for (int k = 0; k < N; ++k) assign(at[k], values.at[k]);
  }
};

// bfloat16 in words of two, each of which one instruction takes out.
template <class T, int N>
struct alignas(N * sizeof(T)) Stored<T, N, true> {
  unsigned pairs[N / 2];

  __device__ __forceinline__ float value(int k) const {
    return __uint_as_float(k % 2 ? pairs[k / 2] & 0xFFFF0000u : pairs[k / 2] << 16);
  }
  __device__ __forceinline__ void set(const Pack<float, N>& values) {
#pragma unroll
    for (int k = 0; k < N; k += 2) pairs[k / 2] = pair_of(values.at[k], values.at[k + 1]);
  }
};

// Whether a pack may be read or written at p.
template <int N, class T>
__device__ __forceinline__ bool packs_at(const T* p) {
  return reinterpret_cast<unsigned long long>(p) % sizeof(Pack<T, N>) == 0;
}

// The N values at p as they lie there.
template <int N, class T>
__device__ __forceinline__ Stored<T, N> load_stored(const T* p) {
  return *reinterpret_cast<const Stored<T, N>*>(p);
}

// The N values at p in the arithmetic type.
template <int N, class T>
__device__ __forceinline__ Pack<arithmetic<T>, N> load_pack(const T* p) {
  const auto stored = load_stored<N>(p);
  Pack<arithmetic<T>, N> values;
#pragma unroll
  for (int k = 0; k < N; ++k) values.at[k] = stored.value(k);
  return values;
}

template <int N, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<arithmetic<T>, N>& values) {
  Stored<T, N> stored;
  stored.set(values);
  *reinterpret_cast<Stored<T, N>*>(p) = stored;
}
