// The n-th access of each lane at the same machine instruction since the last barrier is one access of the warp.
#include "trace.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "exported.h"
#include "scheduler.h"

namespace cuda_emulator {

bool tracing;

namespace {

constexpr unsigned BANKS = 32, WORD = 4, SECTOR = 32, MOST_BYTES = 16;  // that an instruction moves for a lane

// trace.py reads this struct: keep the two in step.
struct Line {
  uint64_t instruction;  // in the machine code: what lies behind it
  int32_t shared, write, bytes, argument;  // -1: no argument
  int64_t most_ways;
  int64_t accesses;         // of warps
  int64_t uniform;          // those all of whose lanes have the same address
  int64_t passes, least;    // shared memory: what banks need, and would without conflicts
  int64_t sectors, useful;  // global memory, uniform ones apart: of 32 bytes each; bytes of them that lanes asked for
};

struct WarpAccess {
  uint32_t lanes;
  uint64_t address[WARP_LANES];
};

struct Open {
  Line line;
  std::vector<uint32_t> executed;               // by each thread
  std::vector<std::vector<WarpAccess>> of_warp;  // since the last barrier
};

uintptr_t base;
size_t thread_count;
std::vector<ArgumentAddress> pointers;  // by address
std::map<std::tuple<uintptr_t, bool, bool, int>, Open> lines;

// The most different words that lanes ask of one bank.
int bank_passes(const WarpAccess& access, int first, int lanes, unsigned bytes) {
  uint64_t seen[BANKS][WARP_LANES];
  int count[BANKS] = {}, most = 0;
  for (int lane = first; lane < first + lanes; lane++) {
    if (!(access.lanes >> lane & 1)) continue;
    for (uint64_t word = access.address[lane] / WORD; word <= (access.address[lane] + bytes - 1) / WORD; word++) {
      const unsigned bank = word % BANKS;
      if (std::find(seen[bank], seen[bank] + count[bank], word) != seen[bank] + count[bank]) continue;
      seen[bank][count[bank]++] = word;
      most = std::max(most, count[bank]);
    }
  }
  return most;
}

// A warp's accesses of 8 bytes are served by half warps, of 16 by quarters.
void count_banks(Line& line, const WarpAccess& access) {
  const int lanes = line.bytes <= 4 ? 32 : line.bytes <= 8 ? 16 : 8;
  for (int first = 0; first < WARP_LANES; first += lanes) {
    const int passes = bank_passes(access, first, lanes, line.bytes);
    line.passes += passes;
    line.least += passes > 0;
    line.most_ways = std::max<int64_t>(line.most_ways, passes);
  }
}

void count_sectors(Line& line, const WarpAccess& access) {
  struct {
    uint64_t number;
    uint32_t bytes;  // one bit each
  } sectors[2 * WARP_LANES];
  int count = 0;
  for (int lane = 0; lane < WARP_LANES; lane++) {
    if (!(access.lanes >> lane & 1)) continue;
    for (uint64_t at = access.address[lane]; at < access.address[lane] + line.bytes; at++) {
      int i = count - 1;
      while (i >= 0 && sectors[i].number != at / SECTOR) i--;
      if (i < 0) sectors[i = count++] = {at / SECTOR, 0};
      sectors[i].bytes |= 1u << at % SECTOR;
    }
  }
  line.sectors += count;
  for (int i = 0; i < count; i++) line.useful += __builtin_popcount(sectors[i].bytes);
}

bool is_uniform(const WarpAccess& access) {
  const uint64_t address = access.address[__builtin_ctz(access.lanes)];
  for (int lane = 0; lane < WARP_LANES; lane++) {
    if ((access.lanes >> lane & 1) && access.address[lane] != address) return false;
  }
  return true;
}

// The last argument that points before the address into the same region.
int argument_at(const Region* region, uintptr_t address) {
  auto behind = std::upper_bound(pointers.begin(), pointers.end(), address,
                                 [](uintptr_t a, const ArgumentAddress& b) { return a < b.address; });
  if (region->kind == RegionKind::Shared || behind == pointers.begin()) return -1;
  --behind;
  return behind->address >= reinterpret_cast<uintptr_t>(region->begin) ? behind->argument : -1;
}

}  // namespace

void start_trace(bool wanted, uintptr_t module_base, size_t threads, std::vector<ArgumentAddress> arguments) {
  tracing = wanted;
  base = module_base;
  thread_count = threads;
  pointers = std::move(arguments);
  std::sort(pointers.begin(), pointers.end(), [](auto& a, auto& b) { return a.address < b.address; });
  lines.clear();
}

void trace_access(const Region* region, size_t offset, size_t bytes, bool write, uintptr_t caller) {
  // Arrays of a GPU begin at multiples of 256 bytes, wherever they lie here.
  const uint64_t address = reinterpret_cast<uintptr_t>(region->pages) + offset;
  const bool shared = region->kind == RegionKind::Shared;
  const int argument = argument_at(region, reinterpret_cast<uintptr_t>(region->begin) + offset);
  // What is larger or no power of two is moved in parts: 36 bytes by nine instructions, 32 by two.
  const size_t part = std::min<size_t>(MOST_BYTES, bytes & -bytes);
  for (size_t done = 0; done < bytes; done += part) {
    Open& open = lines[{caller, shared, write, argument}];
    if (open.executed.empty()) {
      open.line = {caller - base, shared, write, int32_t(part), argument, 0, 0, 0, 0, 0, 0, 0};
      open.executed.resize(thread_count);
      open.of_warp.resize((thread_count + WARP_LANES - 1) / WARP_LANES);
    }
    std::vector<WarpAccess>& accesses = open.of_warp[current->warp];
    const uint32_t number = open.executed[current->linear]++;
    if (accesses.size() <= number) accesses.resize(number + 1);
    accesses[number].lanes |= 1u << current->lane;
    accesses[number].address[current->lane] = address + done;
  }
}

void end_trace_epoch() {
  for (auto& [key, open] : lines) {
    std::fill(open.executed.begin(), open.executed.end(), 0);
    for (std::vector<WarpAccess>& accesses : open.of_warp) {
      for (const WarpAccess& access : accesses) {
        open.line.accesses++;
        const bool uniform = is_uniform(access);
        open.line.uniform += uniform;
        if (open.line.shared) {
          count_banks(open.line, access);
        } else if (!uniform) {
          count_sectors(open.line, access);
        }
      }
      accesses.clear();
    }
  }
}

}  // namespace cuda_emulator

// ---- what Python calls
using namespace cuda_emulator;

EXPORTED int emulator_trace_lines() { return int(lines.size()); }

// Fills as many lines as there are.
EXPORTED void emulator_trace(Line* out) {
  for (const auto& [key, open] : lines) *out++ = open.line;
}
