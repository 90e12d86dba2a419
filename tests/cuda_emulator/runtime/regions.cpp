#include "regions.h"

#include <sys/mman.h>

#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "exported.h"
#include "pages.h"
#include "shadow.h"

namespace cuda_emulator {

namespace {

constexpr size_t POOL_BYTES = size_t(1) << 38;  // address space, not memory
constexpr size_t GUARD_BYTES = 64 << 10;        // on each side, so that an index off by a whole row faults too

// Freed address space of one size rests until so many others of that size were freed after it; meanwhile a use of the
// freed array faults.
constexpr size_t resting_count(size_t slot_bytes) { return slot_bytes <= (1 << 20) ? 16 : 2; }

// Freed arrays keep their memory up to this sum, as new pages cost far more than used ones.
constexpr size_t MOST_RESIDENT_BYTES = 256 << 20;

char* pool;
size_t pool_used;
uint32_t* region_of_page;  // index into `regions`, 0 for none
std::deque<Region> regions(1);
std::unordered_map<size_t, std::deque<uint32_t>> resting;  // by slot size
size_t resident_bytes;                                     // of freed regions
size_t live_count;
std::mutex changing;  // another of Python's threads may drop an array while a kernel runs

// At most an eighth is wasted, and few sizes differ.
size_t slot_size(size_t bytes) {
  size_t pages = (bytes + PAGE - 1) / PAGE, step = 1;
  while (step * 16 <= pages) step *= 2;
  pages = (pages + step - 1) / step * step;
  return (pages ? pages : 1) * PAGE;
}

uint32_t new_slot(size_t slot_bytes) {
  if (!pool) {
    pool = map_pages(POOL_BYTES, PROT_NONE);
    region_of_page = reinterpret_cast<uint32_t*>(map_pages(POOL_BYTES / PAGE * 4, PROT_READ | PROT_WRITE));
  }
  const size_t span = GUARD_BYTES + slot_bytes + GUARD_BYTES;
  if (pool_used + span > POOL_BYTES) return 0;
  const uint32_t id = uint32_t(regions.size());
  for (size_t page = 0; page < span / PAGE; page++) region_of_page[pool_used / PAGE + page] = id;
  Region region{};
  region.pages = pool + pool_used + GUARD_BYTES;
  region.slot_bytes = slot_bytes;
  regions.push_back(region);
  pool_used += span;
  return id;
}

uint32_t rested_slot(size_t slot_bytes, size_t least) {
  auto found = resting.find(slot_bytes);
  if (found == resting.end() || found->second.size() <= least) return 0;
  const uint32_t id = found->second.front();
  found->second.pop_front();
  if (regions[id].resident) resident_bytes -= slot_bytes;
  return id;
}

void give_memory_back() {
  for (const auto& [slot_bytes, ids] : resting) {
    for (uint32_t id : ids) {
      if (regions[id].resident) madvise(regions[id].pages, slot_bytes, MADV_DONTNEED);
      regions[id].resident = false;
    }
  }
  resident_bytes = 0;
}

}  // namespace

Region* allocate_region(size_t bytes, size_t alignment, RegionKind kind, Placement placement, Fill fill,
                        const char* name) {
  const std::lock_guard<std::mutex> lock(changing);
  const size_t slot_bytes = slot_size(bytes);
  uint32_t id = rested_slot(slot_bytes, resting_count(slot_bytes));
  if (!id) id = new_slot(slot_bytes);
  if (!id) id = rested_slot(slot_bytes, 0);
  if (!id) return nullptr;
  Region& region = regions[id];
  region.page_bytes = bytes ? (bytes + PAGE - 1) / PAGE * PAGE : PAGE;
  region.bytes = bytes;
  region.kind = kind;
  region.name = name;
  region.live = true;
  region.read_only = region.track_initialised = false;
  const size_t offset = placement == Placement::Start ? 0 : (region.page_bytes - bytes) / alignment * alignment;
  region.begin = region.pages + offset;
  if (mprotect(region.pages, region.page_bytes, PROT_READ | PROT_WRITE)) return nullptr;
  poison_slack(&region);
  if (fill == Fill::Poison) memset(region.begin, POISON, bytes);
  if (fill == Fill::Zero && region.resident) memset(region.begin, 0, bytes);  // new pages are zero by themselves
  region.resident = true;
  live_count++;
  return &region;
}

void free_region(Region* region) {
  const std::lock_guard<std::mutex> lock(changing);
  if (!region || !region->live) return;
  region->live = false;
  live_count--;
  mprotect(region->pages, region->page_bytes, PROT_NONE);
  free_shadow(region);
  const uint32_t id = region_of_page[(region->pages - pool) / PAGE];
  resting[region->slot_bytes].push_back(id);
  resident_bytes += region->slot_bytes;
  if (resident_bytes > MOST_RESIDENT_BYTES) give_memory_back();
}

void write_protect(Region* region, bool read_only) {
  mprotect(region->pages, region->page_bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE);
}

bool in_pool(uintptr_t address) { return pool && address - reinterpret_cast<uintptr_t>(pool) < POOL_BYTES; }

Region* find_region(uintptr_t address) {
  if (!in_pool(address)) return nullptr;
  const uint32_t id = region_of_page[(address - reinterpret_cast<uintptr_t>(pool)) / PAGE];
  return id ? &regions[id] : nullptr;
}

const char* overwritten_slack(const Region* region) {
  auto changed = [](const char* from, const char* to) {
    for (; from < to; from++) {
      if (*from != char(POISON)) return true;
    }
    return false;
  };
  if (changed(region->pages, region->begin)) return "before the start";
  if (changed(region->begin + region->bytes, region->pages + region->page_bytes)) return "after the end";
  return "";
}

void poison_slack(Region* region) {
  char* end = region->begin + region->bytes;
  memset(region->pages, POISON, region->begin - region->pages);
  memset(end, POISON, region->pages + region->page_bytes - end);
}

size_t live_regions() { return live_count; }

}  // namespace cuda_emulator

// ---- what Python calls
using namespace cuda_emulator;

EXPORTED void* emulator_allocate(size_t bytes, int placement, int fill, int track_initialised) {
  // 16 bytes: the widest vector access. A GPU aligns more, but the closer the guard, the more it catches.
  Region* region = allocate_region(bytes, 16, RegionKind::Array, Placement(placement), Fill(fill), nullptr);
  if (!region) return nullptr;
  region->track_initialised = track_initialised;
  return region->begin;
}

EXPORTED void emulator_free(void* address) { free_region(find_region(reinterpret_cast<uintptr_t>(address))); }

// The host wrote into the array: nothing in it counts as uninitialised any more.
EXPORTED void emulator_mark_initialised(void* address) {
  if (Region* region = find_region(reinterpret_cast<uintptr_t>(address))) region->track_initialised = false;
}

// The start of the array that holds the address; null where no living array does.
EXPORTED void* emulator_array_at(void* address) {
  Region* region = find_region(reinterpret_cast<uintptr_t>(address));
  return region && region->live && region->kind == RegionKind::Array ? region->begin : nullptr;
}

EXPORTED size_t emulator_array_bytes(void* address) {
  Region* region = find_region(reinterpret_cast<uintptr_t>(address));
  return region ? region->bytes : 0;
}

EXPORTED size_t emulator_live_regions() { return live_regions(); }
