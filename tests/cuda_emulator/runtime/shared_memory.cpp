#include "shared_memory.h"

#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "exported.h"
#include "failures.h"
#include "regions.h"

namespace cuda_emulator {

extern "C" {
uint32_t cuda_emulator_launch;
}

namespace {

std::vector<Region*> in_use;                         // of the running launch
std::unordered_map<SharedSlot*, Region*> of_slot;    // kept from launch to launch
std::map<std::pair<size_t, size_t>, Region*> of_dynamic;  // by size and alignment
Region* dynamic;                                          // made at its first use in a launch
size_t dynamic_bytes, static_bytes;

Region* guarded(size_t bytes, size_t alignment, const char* name) {
  Region* region = allocate_region(bytes, alignment, RegionKind::Shared, Placement::End, Fill::Poison, name);
  if (!region) fail(0, "the emulator's address space is used up");
  return region;
}

}  // namespace

void prepare_shared_memory(size_t dynamic_size) {
  if (!++cuda_emulator_launch) cuda_emulator_launch = 1;  // 0 is a slot that was never used
  in_use.clear();
  static_bytes = 0;
  dynamic = nullptr;
  dynamic_bytes = dynamic_size;
}

void poison_shared_memory() {
  for (Region* region : in_use) memset(region->begin, POISON, region->bytes);
}

void check_shared_slack() {
  for (Region* region : in_use) {
    const char* side = overwritten_slack(region);
    if (!*side) continue;
    poison_slack(region);
    note(region, 0, 0, format("bytes %s of %s were overwritten", side, describe(region).c_str()));
  }
}

}  // namespace cuda_emulator

// ---- what kernels call
namespace cuda_emulator {

EXPORTED void* cuda_emulator_shared(SharedSlot* slot) {
  if (slot->launch == cuda_emulator_launch) return slot->address;
  static_bytes += slot->bytes;
  if (static_bytes > MOST_STATIC_SHARED) {
    fail(RETURN_ADDRESS, "static shared memory: '%s' brings it to %zu bytes, more than 48 KiB", slot->name,
         static_bytes);
  }
  if (static_bytes + dynamic_bytes > MOST_SHARED) {
    fail(RETURN_ADDRESS, "shared memory: %zu static and %zu dynamic bytes are more than 227 KiB", static_bytes,
         dynamic_bytes);
  }
  Region*& region = of_slot[slot];
  if (!region) region = guarded(slot->bytes, slot->alignment, slot->name);
  memset(region->begin, POISON, region->bytes);
  in_use.push_back(region);
  slot->address = region->begin;
  slot->launch = cuda_emulator_launch;
  return slot->address;
}

EXPORTED void* cuda_emulator_dynamic_shared(size_t alignment) {
  if (!dynamic_bytes) fail(RETURN_ADDRESS, "extern __shared__ is used, but shared_mem is 0");
  if (!dynamic) {
    // At least the 16 bytes that every GPU gives without being asked.
    const size_t given = alignment < 16 ? 16 : alignment;
    Region*& region = of_dynamic[{dynamic_bytes, given}];
    if (!region) region = guarded(dynamic_bytes, given, "dynamic");
    dynamic = region;
    in_use.push_back(region);
    memset(region->begin, POISON, region->bytes);
  }
  if (reinterpret_cast<uintptr_t>(dynamic->begin) % alignment) {
    fail(RETURN_ADDRESS, "dynamic shared memory must be aligned to %zu bytes in its first declaration too", alignment);
  }
  return dynamic->begin;
}

}  // namespace cuda_emulator
