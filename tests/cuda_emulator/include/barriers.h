// Block-wide barriers and memory fences.
#pragma once

CUDA_EMULATOR_INLINE void __syncthreads(CUDA_EMULATOR_SITE) {
  cuda_emulator::cuda_emulator_barrier("__syncthreads", file, line);
}
CUDA_EMULATOR_INLINE int __syncthreads_count(int predicate, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  return cuda_emulator_barrier_vote("__syncthreads_count", predicate, Vote::Count, file, line);
}
CUDA_EMULATOR_INLINE int __syncthreads_and(int predicate, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  return cuda_emulator_barrier_vote("__syncthreads_and", predicate, Vote::And, file, line);
}
CUDA_EMULATOR_INLINE int __syncthreads_or(int predicate, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  return cuda_emulator_barrier_vote("__syncthreads_or", predicate, Vote::Or, file, line);
}

// One thread runs at a time, so memory is always coherent; the checked build alone takes note of fences.
CUDA_EMULATOR_INLINE void __threadfence() {
#ifdef CUDA_EMULATOR_CHECKED
  cuda_emulator::cuda_emulator_fence();
#endif
}
CUDA_EMULATOR_INLINE void __threadfence_system() { __threadfence(); }
CUDA_EMULATOR_INLINE void __threadfence_block() {}
