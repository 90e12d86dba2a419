#include "shadow.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "async_copies.h"
#include "failures.h"
#include "faults.h"
#include "happens_before.h"
#include "pages.h"
#include "scheduler.h"
#include "trace.h"

namespace cuda_emulator {

long accesses;

namespace {

// Two readers are enough to notice that someone else than the writer has read.
struct Cell {
  Access write, read[2];
};

// Most arrays are of 4-byte elements or larger ones; the first access to less than a granule makes the granules bytes.
constexpr size_t COARSE = 4;

}  // namespace

struct Shadow {
  Cell* cells;
  char* initialised;  // for each granule; null where it does not matter
  size_t granule, count;
};

namespace {

uintptr_t module_base;
bool atomic;

void make_cells(Shadow* shadow, size_t bytes, bool track_initialised) {
  shadow->count = (bytes + shadow->granule - 1) / shadow->granule + 1;
  shadow->cells = reinterpret_cast<Cell*>(map_pages(shadow->count * sizeof(Cell), PROT_READ | PROT_WRITE));
  shadow->initialised = track_initialised ? static_cast<char*>(calloc(shadow->count, 1)) : nullptr;
}

void release_cells(Shadow* shadow) {
  munmap(shadow->cells, shadow->count * sizeof(Cell));
  free(shadow->initialised);
}

void refine(Region* region) {
  Shadow* shadow = region->shadow;
  Shadow coarse = *shadow;
  shadow->granule = 1;
  make_cells(shadow, region->bytes, coarse.initialised != nullptr);
  for (size_t i = 0; i < region->bytes; i++) {
    shadow->cells[i] = coarse.cells[i / coarse.granule];
    if (coarse.initialised) shadow->initialised[i] = coarse.initialised[i / coarse.granule];
  }
  release_cells(&coarse);
}

Shadow* shadow_for(Region* region, size_t offset, size_t bytes) {
  if (!region->shadow) {
    region->shadow = new Shadow{};
    region->shadow->granule = COARSE;
    make_cells(region->shadow, region->bytes, region->track_initialised);
  }
  const size_t granule = region->shadow->granule;
  if (offset % granule || bytes % granule) refine(region);
  return region->shadow;
}

// Whether a GPU might run the earlier access after the one that the current thread is about to make.
bool unordered(const Access& earlier, RegionKind kind) {
  if (earlier.epoch < (kind == RegionKind::Shared ? block_epoch : launch_epoch)) return false;
  if (atomic && earlier.atomic) return false;
  if (earlier.epoch < block_epoch) return !block_order(earlier, current->linear);
  if (earlier.epoch < epoch || earlier.thread == current->linear) return false;
  if (earlier.thread / WARP_LANES != current->warp) return true;
  return !lane_order(current->warp, earlier.thread % WARP_LANES, earlier.lane_clock, current->lane);
}

void note_race(const Region* region, size_t offset, const Access& earlier, const char* now, const char* before,
               uintptr_t caller) {
  std::string who = format("thread #%d", earlier.thread);
  if (earlier.epoch < block_epoch) {
    const BlockIndex block = block_of(earlier);
    who += format(" of block (%u,%u,%u)", block.x, block.y, block.z);
  }
  const char* missing = earlier.epoch < block_epoch                        ? "no order between blocks"
                        : earlier.thread / WARP_LANES == current->warp ? "no __syncwarp between"
                                                                           : "no barrier between";
  note(region, caller, module_base + earlier.instruction,
       format("race on %s at byte offset %zu: this thread %s what %s has %s, %s", describe(region).c_str(), offset, now,
              who.c_str(), before, missing));
}

void check_read(Region* region, Cell& cell, size_t offset, const Access& now, uintptr_t caller) {
  if (unordered(cell.write, region->kind)) note_race(region, offset, cell.write, "reads", "written", caller);
  if (cell.read[0].epoch != now.epoch || cell.read[0].thread != now.thread) cell.read[1] = cell.read[0];
  cell.read[0] = now;
}

void check_write(Region* region, Cell& cell, size_t offset, const Access& now, uintptr_t caller) {
  if (unordered(cell.write, region->kind)) {
    note_race(region, offset, cell.write, "overwrites", "written", caller);
  } else {
    for (const Access& read : cell.read) {
      if (!unordered(read, region->kind)) continue;
      note_race(region, offset, read, "overwrites", "read", caller);
      break;
    }
  }
  cell.write = now;
}

// Nobody has written the granule: not a thread of this block (shared memory), not a kernel and not the host (arrays).
bool uninitialised(const Region* region, const Shadow* shadow, size_t granule) {
  if (region->kind == RegionKind::Shared) return shadow->cells[granule].write.epoch < block_epoch;
  if (!shadow->initialised || !region->track_initialised || shadow->initialised[granule]) return false;
  // The host writes unseen, but hardly ever the poison.
  const char* bytes = region->begin + granule * shadow->granule;
  for (size_t i = 0; i < shadow->granule && granule * shadow->granule + i < region->bytes; i++) {
    if (bytes[i] != char(POISON)) return false;
  }
  return true;
}

}  // namespace

void check_access(uintptr_t address, size_t bytes, AccessKind kind, uintptr_t caller, bool plain) {
  if (!current) return;
  if (time_is_up) fail_for_time(caller);
  if (!in_pool(address)) return;
  accesses++;
  Region* region = find_region(address);
  if (!region) return;  // the access itself will fault
  const bool write = kind == AccessKind::Write;
  const size_t offset = address - reinterpret_cast<uintptr_t>(region->begin);
  if (!region->live) {
    fail_in(region, caller, "use after free: %s of %zu bytes at byte offset %zd of %s", write ? "write" : "read", bytes,
            ssize_t(offset), describe(region).c_str());
  }
  if (offset > region->bytes || bytes > region->bytes - offset) {
    fail_in(region, caller, "out of bounds: %s of %zu bytes at byte offset %zd of %s", write ? "write" : "read", bytes,
            ssize_t(offset), describe(region).c_str());
  }
  if (write && region->read_only) {
    fail_in(region, caller, "write to a const argument: %zu bytes at byte offset %zu of %s", bytes, offset,
            describe(region).c_str());
  }
  if (copies_on_their_way && region->kind == RegionKind::Shared) {
    check_copies_have_landed(address, bytes, write, caller);
  }
  // What a copy writes is left out: it is written twice here, and include/ptx has compared its banks.
  if (tracing && (plain || !write)) trace_access(region, offset, bytes, write, caller);
  Shadow* shadow = shadow_for(region, offset, bytes);
  const Access now{epoch, uint32_t(caller - module_base), lane_clock(current->warp, current->lane), current->linear,
                   uint16_t(atomic)};
  const size_t first = offset / shadow->granule, last = (offset + bytes - 1) / shadow->granule;
  for (size_t granule = first; granule <= last; granule++) {
    Cell& cell = shadow->cells[granule];
    const size_t at = granule * shadow->granule;
    if (write) {
      check_write(region, cell, at, now, caller);
      if (shadow->initialised) shadow->initialised[granule] = 1;
    } else {
      if (uninitialised(region, shadow, granule)) {
        note(region, caller, 0,
             format("uninitialised read at byte offset %zu of %s", at, describe(region).c_str()));
      }
      check_read(region, cell, at, now, caller);
    }
  }
}

void free_shadow(Region* region) {
  if (!region->shadow) return;
  release_cells(region->shadow);
  delete region->shadow;
  region->shadow = nullptr;
}

// ---- epochs
void start_launch_epoch(uintptr_t base) {
  module_base = base;
  atomic = false;
  accesses = 0;
  launch_epoch = ++epoch;
  forget_blocks();
}

void start_block_epoch() {
  if (tracing) end_trace_epoch();
  block_epoch = ++epoch;
  if (execution.checked) note_block();
}

void start_epoch() {
  ++epoch;
  if (tracing) end_trace_epoch();
}

void lanes_synchronised(int warp, uint32_t lanes) {
  if (execution.checked) synchronise_lanes(warp, lanes);
}

void begin_atomic(uintptr_t address) {
  atomic = true;
  const Region* region = find_region(address);
  if (region && region->kind == RegionKind::Array) note_atomic(address, current->linear);
}

void end_atomic() { atomic = false; }

void fence() { note_fence(); }

}  // namespace cuda_emulator
