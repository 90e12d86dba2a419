// The address trace: what a GPU's memory would make of each access of a warp. Off, it costs a test of a flag.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "regions.h"

namespace cuda_emulator {

extern bool tracing;  // in a launch of the checked build

// Where a pointer argument points, or a pointer in an argument's struct.
struct ArgumentAddress {
  uintptr_t address;
  int argument;
};

void start_trace(bool wanted, uintptr_t module_base, size_t threads, std::vector<ArgumentAddress> arguments);

// An access of the running thread, whose bytes lie within the region.
void trace_access(const Region* region, size_t offset, size_t bytes, bool write, uintptr_t caller);

// All threads of the block have met, or it ends: their accesses until here are put together to those of warps.
void end_trace_epoch();

}  // namespace cuda_emulator
