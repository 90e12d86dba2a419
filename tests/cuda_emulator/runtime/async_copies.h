// cp.async: copies to shared memory that land when their thread waits for them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cuda_emulator {

extern size_t copies_on_their_way;  // 16-byte places of the running block's shared memory

// Ends the launch if one of the bytes belongs to a copy that nobody has waited for.
void check_copies_have_landed(uintptr_t address, size_t bytes, bool write, uintptr_t caller);

}  // namespace cuda_emulator
