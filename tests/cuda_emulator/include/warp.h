// Warp operations: shuffles, votes, reductions. Each lane of the mask brings a value and waits for the others.
#pragma once

#include <initializer_list>

namespace cuda_emulator {

template <class T>
inline uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8, "warp operations move at most 8 bytes");
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
inline T from_bits(uint64_t bits) {
  T value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// The value that lane `source` brought. A lane that takes no part has none to give.
template <class T>
CUDA_EMULATOR_INLINE T shuffle(const char* operation, unsigned mask, T value, int source, const char* file, int line) {
  WarpGroup* group = cuda_emulator_warp_meet(operation, mask, to_bits(value), file, line);
  if (!(group->arrived >> source & 1)) cuda_emulator_bad_source_lane(operation, source, file, line);
  T result = from_bits<T>(group->value[source]);
  cuda_emulator_warp_read(group);
  return result;
}

// First lane of the caller's segment, when a warp is cut into segments of `width` lanes.
inline int segment_begin(int width) { return cuda_emulator_lane & ~(width - 1); }

template <class T, class Combine>
CUDA_EMULATOR_INLINE T reduce(const char* operation, unsigned mask, T value, Combine combine, const char* file,
                              int line) {
  WarpGroup* group = cuda_emulator_warp_meet(operation, mask, to_bits(value), file, line);
  bool first = true;
  T result = 0;
  for (int lane = 0; lane < 32; lane++) {
    if (!(group->arrived >> lane & 1)) continue;
    T brought = from_bits<T>(group->value[lane]);
    result = first ? brought : combine(result, brought);
    first = false;
  }
  cuda_emulator_warp_read(group);
  return result;
}

}  // namespace cuda_emulator

CUDA_EMULATOR_INLINE void __syncwarp(unsigned mask = 0xffffffffu, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  cuda_emulator_warp_read(cuda_emulator_warp_meet("__syncwarp", mask, 0, file, line));
}

template <class T>
CUDA_EMULATOR_INLINE T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_SITE) {
  source = cuda_emulator::segment_begin(width) | (source & (width - 1));
  return cuda_emulator::shuffle("__shfl_sync", mask, value, source, file, line);
}
template <class T>
CUDA_EMULATOR_INLINE T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDA_EMULATOR_SITE) {
  int source = cuda_emulator::cuda_emulator_lane ^ lanes;
  if (source >= cuda_emulator::segment_begin(width) + width) source = cuda_emulator::cuda_emulator_lane;
  return cuda_emulator::shuffle("__shfl_xor_sync", mask, value, source, file, line);
}
template <class T>
CUDA_EMULATOR_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATOR_SITE) {
  int source = cuda_emulator::cuda_emulator_lane + int(delta);
  if (source >= cuda_emulator::segment_begin(width) + width) source = cuda_emulator::cuda_emulator_lane;
  return cuda_emulator::shuffle("__shfl_down_sync", mask, value, source, file, line);
}
template <class T>
CUDA_EMULATOR_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATOR_SITE) {
  int source = cuda_emulator::cuda_emulator_lane - int(delta);
  if (source < cuda_emulator::segment_begin(width)) source = cuda_emulator::cuda_emulator_lane;
  return cuda_emulator::shuffle("__shfl_up_sync", mask, value, source, file, line);
}

CUDA_EMULATOR_INLINE unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  unsigned vote = predicate ? 1u << cuda_emulator_lane : 0u;
  return reduce("__ballot_sync", mask, vote, [](unsigned a, unsigned b) { return a | b; }, file, line);
}
CUDA_EMULATOR_INLINE int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  return reduce("__any_sync", mask, int(predicate != 0), [](int a, int b) { return a | b; }, file, line);
}
CUDA_EMULATOR_INLINE int __all_sync(unsigned mask, int predicate, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  return reduce("__all_sync", mask, int(predicate != 0), [](int a, int b) { return a & b; }, file, line);
}
// A GPU may answer with fewer lanes (those that happen to run together); no kernel may rely on more than its own.
CUDA_EMULATOR_INLINE unsigned __activemask() { return cuda_emulator::cuda_emulator_live_lanes(); }

#define CUDA_EMULATOR_REDUCE(name, type, expression)                                                       \
  CUDA_EMULATOR_INLINE type name(unsigned mask, type value, CUDA_EMULATOR_SITE) {                          \
    return cuda_emulator::reduce(#name, mask, value, [](type a, type b) -> type { return expression; }, file, line); \
  }
CUDA_EMULATOR_REDUCE(__reduce_add_sync, int, int(unsigned(a) + unsigned(b)))
CUDA_EMULATOR_REDUCE(__reduce_add_sync, unsigned, a + b)
CUDA_EMULATOR_REDUCE(__reduce_min_sync, int, a < b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_max_sync, int, a > b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_and_sync, unsigned, a & b)
CUDA_EMULATOR_REDUCE(__reduce_or_sync, unsigned, a | b)
CUDA_EMULATOR_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef CUDA_EMULATOR_REDUCE
