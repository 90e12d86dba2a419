// Atomic operations. One thread runs at a time, so plain code is atomic; the checked build is told what is one.
#pragma once

namespace cuda_emulator {

struct AtomicSection {
#ifdef CUDA_EMULATOR_CHECKED
  CUDA_EMULATOR_INLINE explicit AtomicSection(const void* address) { cuda_emulator_atomic_begin(address); }
  CUDA_EMULATOR_INLINE ~AtomicSection() { cuda_emulator_atomic_end(); }
#else
  CUDA_EMULATOR_INLINE explicit AtomicSection(const void*) {}
#endif
};

template <class T, class Update>
CUDA_EMULATOR_INLINE T atomic_update(T* address, Update update) {
  AtomicSection section(address);
  T old = *address;
  *address = update(old);
  return old;
}

}  // namespace cuda_emulator

// `a` is the value in memory, `b` the argument.
#define CUDA_EMULATOR_ATOMIC(name, expression)                                    \
  template <class T>                                                              \
  CUDA_EMULATOR_INLINE T name(T* address, cuda_emulator::same_t<T> b) {           \
    return cuda_emulator::atomic_update(address, [b](T a) -> T { return expression; }); \
  }
CUDA_EMULATOR_ATOMIC(atomicAdd, a + b)
CUDA_EMULATOR_ATOMIC(atomicSub, a - b)
CUDA_EMULATOR_ATOMIC(atomicMin, b < a ? b : a)
CUDA_EMULATOR_ATOMIC(atomicMax, a < b ? b : a)
CUDA_EMULATOR_ATOMIC(atomicAnd, a & b)
CUDA_EMULATOR_ATOMIC(atomicOr, a | b)
CUDA_EMULATOR_ATOMIC(atomicXor, a ^ b)
CUDA_EMULATOR_ATOMIC(atomicExch, b)
CUDA_EMULATOR_ATOMIC(atomicInc, a >= b ? T(0) : T(a + 1))
CUDA_EMULATOR_ATOMIC(atomicDec, a == 0 || a > b ? b : T(a - 1))
#undef CUDA_EMULATOR_ATOMIC

template <class T>
CUDA_EMULATOR_INLINE T atomicCAS(T* address, cuda_emulator::same_t<T> compare, cuda_emulator::same_t<T> value) {
  return cuda_emulator::atomic_update(address, [=](T old) { return old == compare ? value : old; });
}
