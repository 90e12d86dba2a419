// What shared_rewrite.py turns __shared__ declarations into.
#pragma once

namespace cuda_emulator {

CUDA_EMULATOR_INLINE void* shared_address(SharedSlot& slot) {
  return slot.launch == cuda_emulator_launch ? slot.address : cuda_emulator_shared(&slot);
}

}  // namespace cuda_emulator

// `__shared__ float tile[4][8];` becomes `CUDA_EMULATOR_SHARED(tile, float shared_type_tile[4][8]);`
#define CUDA_EMULATOR_SHARED(name, ...)                                                                     \
  typedef __VA_ARGS__;                                                                                      \
  static ::cuda_emulator::SharedSlot shared_slot_##name = {sizeof(shared_type_##name),                      \
                                                           alignof(shared_type_##name), #name, 0, nullptr}; \
  shared_type_##name& name = *static_cast<shared_type_##name*>(::cuda_emulator::shared_address(shared_slot_##name))

// `extern __shared__ float tile[];` becomes `CUDA_EMULATOR_DYNAMIC_SHARED(tile, alignof(float), float);`
#define CUDA_EMULATOR_DYNAMIC_SHARED(name, alignment, ...) \
  __VA_ARGS__* name = static_cast<__VA_ARGS__*>(::cuda_emulator::cuda_emulator_dynamic_shared(alignment))
