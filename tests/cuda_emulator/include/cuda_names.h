// The words of CUDA C++ that g++ does not know, the built-in variables, and the vector types of NVIDIA's own headers.
#pragma once
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector_functions.h>
#include <vector_types.h>

#define __CUDA_EMULATOR__ 1

// NVIDIA's headers give some of these words a meaning for host compilers; here each stands for what runs on this CPU.
#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __managed__
#undef __grid_constant__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#undef __align__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// The runtime sets them at every switch between threads.
#pragma GCC visibility push(default)
extern "C" {
  extern uint3 threadIdx, blockIdx;
  extern dim3 blockDim, gridDim;
}
#pragma GCC visibility pop
static constexpr int warpSize = 32;

#undef assert
#define assert(condition) \
  ((condition) ? (void)0 : cuda_emulator::cuda_emulator_stop("assert(" #condition ") failed", __FILE__, __LINE__))

inline void __trap(CUDA_EMULATOR_SITE) { cuda_emulator::cuda_emulator_stop("__trap()", file, line); }

// There is no time in the emulator: clocks only advance.
inline long long clock64() {
  static long long ticks;
  return ++ticks;
}
inline void __nanosleep(unsigned) {}

namespace cuda_emulator {

// Keeps a parameter out of template argument deduction: atomicAdd(float*, 1) deduces from the pointer alone.
template <class T>
struct Same {
  typedef T type;
};
template <class T>
using same_t = typename Same<T>::type;

template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast between types of different size");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace cuda_emulator
