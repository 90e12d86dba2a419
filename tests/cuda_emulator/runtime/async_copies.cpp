// A copy's destination is poison until its thread waits. For the race check it is written twice: when the copy starts,
// so that what was read there must be ordered before, and in the wait, so that who reads it must be ordered behind.
#include "async_copies.h"

#include <cstring>
#include <unordered_map>
#include <vector>

#include "exported.h"
#include "failures.h"
#include "happens_before.h"
#include "regions.h"
#include "scheduler.h"
#include "shadow.h"

namespace cuda_emulator {

size_t copies_on_their_way;

namespace {

constexpr unsigned BYTES = 16;

struct Copy {
  char* to;
  unsigned group;
  char data[BYTES];
};

struct Copies {
  unsigned group;  // the one that is being made
  std::vector<Copy> pending;
};

uint32_t block;  // block_epoch of the block that all this is about
std::vector<Copies> of_threads;
std::unordered_map<uintptr_t, unsigned> places;  // by address / BYTES: copies on their way there

Copies& mine() {
  if (block != block_epoch) {
    block = block_epoch;
    of_threads.clear();
    places.clear();
    copies_on_their_way = 0;
  }
  if (of_threads.size() <= current->linear) of_threads.resize(current->linear + 1);
  return of_threads[current->linear];
}

void check(const void* address, AccessKind kind, uintptr_t caller) {
  if (execution.checked) check_access(reinterpret_cast<uintptr_t>(address), BYTES, kind, caller);
}

uintptr_t place_of(const void* address) { return reinterpret_cast<uintptr_t>(address) / BYTES; }

}  // namespace

void check_copies_have_landed(uintptr_t address, size_t bytes, bool write, uintptr_t caller) {
  if (block != block_epoch) return;
  for (uintptr_t at = address / BYTES; at <= (address + bytes - 1) / BYTES; at++) {
    if (!places.count(at)) continue;
    const Region* region = find_region(address);
    fail_in(region, caller, "cp.async: %s of %s at byte offset %zd, where a copy is on its way that no thread has waited for",
            write ? "write" : "read", describe(region).c_str(),
            ssize_t(address - reinterpret_cast<uintptr_t>(region->begin)));
  }
}

EXPORTED void cuda_emulator_copy_async(void* to, const void* from, unsigned bytes) {
  if (reinterpret_cast<uintptr_t>(to) % BYTES || (bytes && reinterpret_cast<uintptr_t>(from) % BYTES)) {
    fail(RETURN_ADDRESS, "cp.async: an address is no multiple of %u", BYTES);
  }
  Copies& copies = mine();
  Copy copy{static_cast<char*>(to), copies.group, {}};
  if (bytes) {
    check(from, AccessKind::Read, RETURN_ADDRESS);
    memcpy(copy.data, from, BYTES);
  }
  check(to, AccessKind::Write, RETURN_ADDRESS);
  memset(to, POISON, BYTES);
  copies.pending.push_back(copy);
  places[place_of(to)]++;
  copies_on_their_way++;
}

EXPORTED void cuda_emulator_copy_commit() { mine().group++; }

EXPORTED void cuda_emulator_copy_wait(unsigned groups_left) {
  Copies& copies = mine();
  size_t kept = 0;
  for (const Copy& copy : copies.pending) {
    if (copy.group + groups_left >= copies.group) {  // also what was not committed yet
      copies.pending[kept++] = copy;
      continue;
    }
    const auto place = places.find(place_of(copy.to));
    if (!--place->second) places.erase(place);
    copies_on_their_way--;
    check(copy.to, AccessKind::Write, RETURN_ADDRESS);
    memcpy(copy.to, copy.data, BYTES);
  }
  copies.pending.resize(kept);
}

}  // namespace cuda_emulator
