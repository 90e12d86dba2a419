// CUDA's mathematical functions that the C library does not have under the same name.
// The fast ones (__expf and its like) are exact here, so a kernel's rounding differs from a GPU's in the last bits.
#pragma once

// ---- float and double
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
inline float sinpif(float x) { return float(sin(3.14159265358979323846 * x)); }
inline float cospif(float x) { return float(cos(3.14159265358979323846 * x)); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline void sincospi(double x, double* s, double* c) {
  const double quarters = nearbyint(2.0 * x), rest = 3.14159265358979323846 * (x - quarters / 2.0);
  const double sine = sin(rest), cosine = cos(rest);
  switch (int(fmod(quarters, 4.0)) & 3) {  // whole and half turns are exact
    case 0: *s = sine, *c = cosine; break;
    case 1: *s = cosine, *c = -sine; break;
    case 2: *s = -sine, *c = -cosine; break;
    default: *s = -cosine, *c = sine;
  }
}
inline float fdividef(float x, float y) { return x / y; }

inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __tanhf(float x) { return tanhf(x); }
inline void __sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }  // NaN becomes 0

// Rounded on their own, never contracted into a fused multiply-add.
inline float __fadd_rn(float x, float y) {
  volatile float sum = x + y;
  return sum;
}
inline float __fsub_rn(float x, float y) { return __fadd_rn(x, -y); }
inline float __fmul_rn(float x, float y) {
  volatile float product = x * y;
  return product;
}
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }

// ---- min and max, with CUDA's overloads for mixed types
#define CUDA_EMULATOR_MIN_MAX(result, left, right)  \
  inline result min(left a, right b) {              \
    const result first = a, second = b;             \
    return second < first ? second : first;         \
  }                                                 \
  inline result max(left a, right b) {              \
    const result first = a, second = b;             \
    return first < second ? second : first;         \
  }
CUDA_EMULATOR_MIN_MAX(int, int, int)
CUDA_EMULATOR_MIN_MAX(unsigned, unsigned, unsigned)
CUDA_EMULATOR_MIN_MAX(unsigned, int, unsigned)
CUDA_EMULATOR_MIN_MAX(unsigned, unsigned, int)
CUDA_EMULATOR_MIN_MAX(long, long, long)
CUDA_EMULATOR_MIN_MAX(unsigned long, unsigned long, unsigned long)
CUDA_EMULATOR_MIN_MAX(unsigned long, long, unsigned long)
CUDA_EMULATOR_MIN_MAX(unsigned long, unsigned long, long)
CUDA_EMULATOR_MIN_MAX(long long, long long, long long)
CUDA_EMULATOR_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
CUDA_EMULATOR_MIN_MAX(unsigned long long, long long, unsigned long long)
CUDA_EMULATOR_MIN_MAX(unsigned long long, unsigned long long, long long)
#undef CUDA_EMULATOR_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

// ---- integers
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; bit++) reversed |= (x >> bit & 1u) << (31 - bit);
  return reversed;
}
inline int __mulhi(int x, int y) { return int((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((unsigned long long)x * y >> 32); }
inline long long __mul64hi(long long x, long long y) { return (long long)((__int128)x * y >> 64); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
inline int __mul24(int x, int y) { return (int(unsigned(x) << 8) >> 8) * (int(unsigned(y) << 8) >> 8); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  unsigned long long bytes = (unsigned long long)y << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) {
    unsigned choice = selector >> (4 * i) & 15u, byte = unsigned(bytes >> (8 * (choice & 7))) & 255u;
    if (choice & 8) byte = byte & 128 ? 255u : 0u;  // the selector's fourth bit repeats the sign
    result |= byte << (8 * i);
  }
  return result;
}

// ---- bits and conversions
inline int __float_as_int(float x) { return cuda_emulator::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_emulator::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_emulator::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_emulator::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_emulator::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_emulator::bit_cast<double>(x); }

namespace cuda_emulator {

// A GPU's conversion: NaN becomes 0, all beyond the range its nearest end.
template <class T>
inline T to_integer(double x, double lowest, double highest) {
  if (x != x) return 0;
  return x <= lowest ? T(lowest) : x >= highest ? T(highest) : T(x);
}
inline int to_int(double x) { return to_integer<int>(x, -2147483648.0, 2147483647.0); }
inline unsigned to_unsigned(double x) { return to_integer<unsigned>(x, 0.0, 4294967295.0); }

}  // namespace cuda_emulator

inline int __float2int_rn(float x) { return cuda_emulator::to_int(nearbyintf(x)); }
inline int __float2int_rz(float x) { return cuda_emulator::to_int(truncf(x)); }
inline int __float2int_rd(float x) { return cuda_emulator::to_int(floorf(x)); }
inline int __float2int_ru(float x) { return cuda_emulator::to_int(ceilf(x)); }
inline unsigned __float2uint_rn(float x) { return cuda_emulator::to_unsigned(nearbyintf(x)); }
inline unsigned __float2uint_rz(float x) { return cuda_emulator::to_unsigned(truncf(x)); }
inline unsigned __float2uint_rd(float x) { return cuda_emulator::to_unsigned(floorf(x)); }
inline unsigned __float2uint_ru(float x) { return cuda_emulator::to_unsigned(ceilf(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline float __double2float_rn(double x) { return float(x); }
