// Loads and stores with a cache hint: plain ones here.
#pragma once

#define CUDA_EMULATOR_LOAD(name)                                                    \
  template <class T>                                                                \
  CUDA_EMULATOR_INLINE T name(const T* address) {                  \
    return *address;                                                                \
  }
#define CUDA_EMULATOR_STORE(name)                                                             \
  template <class T>                                                                          \
  CUDA_EMULATOR_INLINE void name(T* address, cuda_emulator::same_t<T> value) { \
    *address = value;                                                                         \
  }
CUDA_EMULATOR_LOAD(__ldg)
CUDA_EMULATOR_LOAD(__ldca)
CUDA_EMULATOR_LOAD(__ldcg)
CUDA_EMULATOR_LOAD(__ldcs)
CUDA_EMULATOR_LOAD(__ldcv)
CUDA_EMULATOR_LOAD(__ldlu)
CUDA_EMULATOR_STORE(__stcg)
CUDA_EMULATOR_STORE(__stcs)
CUDA_EMULATOR_STORE(__stwb)
CUDA_EMULATOR_STORE(__stwt)
#undef CUDA_EMULATOR_LOAD
#undef CUDA_EMULATOR_STORE
