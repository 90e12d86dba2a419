// The storage types of activations. Arithmetic is in float for all of them.
#pragma once

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

__device__ __forceinline__ void assign(bfloat16& target, float value) {
  // To the nearest, ties to even. The quiet bit is set for NaN, because its upper half could be that of an infinity.
  const unsigned bits = __float_as_uint(value), rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
  target.bits = static_cast<unsigned short>((value == value ? rounded : bits | 0x400000u) >> 16);
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

// Whether a pack may be read or written at p.
template <int N, class T>
__device__ __forceinline__ bool packs_at(const T* p) {
  return reinterpret_cast<unsigned long long>(p) % sizeof(Pack<T, N>) == 0;
}

// The N values at p in the arithmetic type.
template <int N, class T>
__device__ __forceinline__ Pack<arithmetic<T>, N> load_pack(const T* p) {
  const auto stored = *reinterpret_cast<const Pack<T, N>*>(p);
  Pack<arithmetic<T>, N> values;
#pragma unroll
  for (int k = 0; k < N; ++k) values.at[k] = loaded(stored.at[k]);
  return values;
}

template <int N, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<arithmetic<T>, N>& values) {
  Pack<T, N> stored;
#pragma unroll
  for (int k = 0; k < N; ++k) assign(stored.at[k], values.at[k]);
  *reinterpret_cast<Pack<T, N>*>(p) = stored;
}
