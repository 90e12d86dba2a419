// Guarded memory. Every array and every shared variable is a region: pages of its own between pages that fault.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace cuda_emulator {

struct Shadow;

enum class RegionKind : uint8_t { Array, Shared };

// Where a region lies within its pages: its last byte against the guard after it, or its first against the one before.
enum class Placement : int { End, Start };

// What an array's bytes are before anyone writes them.
enum class Fill : int { Poison, Zero, Host };  // Host: the caller writes every byte right away

struct Region {
  char* pages;          // first readable page
  size_t page_bytes;    // readable bytes
  size_t slot_bytes;    // address space between the two guards; kept when the region is freed and used again
  bool resident;        // its pages may hold what an earlier array left there
  char* begin;          // of the region itself
  size_t bytes;
  RegionKind kind;
  bool live, read_only;
  bool track_initialised;  // reads of elements that nobody wrote are errors
  const char* name;        // of a shared variable
  Shadow* shadow;          // made at the first access that is checked
};

constexpr unsigned char POISON = 0xFF;  // a float of four such bytes is NaN, an int is -1

Region* allocate_region(size_t bytes, size_t alignment, RegionKind kind, Placement placement, Fill fill,
                        const char* name);
void free_region(Region* region);
void write_protect(Region* region, bool read_only);

// The region whose pages or guards hold the address; null outside the pool. A freed region is still found.
Region* find_region(uintptr_t address);
bool in_pool(uintptr_t address);

// Where beside the region bytes were written, "" if nowhere: from its ends to those of its pages all must be poison.
const char* overwritten_slack(const Region* region);
void poison_slack(Region* region);

size_t live_regions();

}  // namespace cuda_emulator
