// Shadow memory of the checked build: who last wrote and read each granule of a region, and when.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "regions.h"

namespace cuda_emulator {

struct Thread;

void start_launch_epoch(uintptr_t module_base);  // at a launch
void start_block_epoch();                        // at a block
void start_epoch();                              // all threads of the block have met
void lanes_synchronised(int warp, uint32_t lanes);

void begin_atomic(uintptr_t address);
void end_atomic();
void fence();

enum class AccessKind { Read, Write };

// Every access that the checked build makes comes through here before it happens.
// `plain`: by a load or store in the kernel's text, not by a copy that the runtime makes.
void check_access(uintptr_t address, size_t bytes, AccessKind kind, uintptr_t caller, bool plain = false);

void free_shadow(Region* region);

extern long accesses;

}  // namespace cuda_emulator
