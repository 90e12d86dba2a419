// Shared memory: a guarded region for each variable, poisoned at the start of every block.
#pragma once
#include <cstddef>

namespace cuda_emulator {

constexpr size_t MOST_STATIC_SHARED = 48 << 10;
constexpr size_t MOST_SHARED = 227 << 10;  // static and dynamic together

void prepare_shared_memory(size_t dynamic_size);  // at a launch
void poison_shared_memory();                       // at a block
void check_shared_slack();                         // after a block

}  // namespace cuda_emulator
