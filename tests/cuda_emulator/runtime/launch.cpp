// A kernel launch, from Python's call to the reports.
#include <dlfcn.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "exported.h"
#include "failures.h"
#include "faults.h"
#include "regions.h"
#include "scheduler.h"
#include "shadow.h"
#include "shared_memory.h"
#include "trace.h"
#include "warp.h"

namespace cuda_emulator {

// launch.py fills these structs: keep the two in step.
struct PassedArgument {
  void* value;       // the bytes that the kernel gets
  uint64_t bytes;    // of a value; 0 for a pointer
  int32_t is_const;  // a pointer through which the kernel may not write
  int32_t unused;
};

struct Launch {
  void (*kernel)(void**);
  const PassedArgument* arguments;
  int32_t argument_count;
  uint32_t grid[3], block[3];
  uint32_t shared_bytes;
  int32_t order, checked, traced, unused;
  uint64_t seed;
  double timeout;
};

struct Counts {
  int64_t switches, barriers, accesses;
};

namespace {

Launch launch;

// The blocks in the launch's order; a permutation is made only where it is needed.
void run_blocks() {
  const uint64_t count = uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  std::vector<int> shuffled;
  if (execution.order == Order::Shuffled) {
    shuffled.resize(count);
    std::iota(shuffled.begin(), shuffled.end(), 0);
    shuffle(shuffled);
  }
  for (uint64_t i = 0; i < count && !reports.stopped; i++) {
    const uint64_t block = execution.order == Order::Shuffled  ? uint64_t(shuffled[i])
                           : execution.order == Order::Reverse ? count - 1 - i
                                                               : i;
    blockIdx.x = unsigned(block % launch.grid[0]);
    blockIdx.y = unsigned(block / launch.grid[0] % launch.grid[1]);
    blockIdx.z = unsigned(block / launch.grid[0] / launch.grid[1]);
    run_block();
    if (!reports.stopped) check_shared_slack();
  }
}

// The arrays that the kernel can reach: its pointer arguments, and pointers inside structs passed by value.
struct Reachable {
  std::vector<Region*> written, only_read;

  void add(uint64_t address, bool is_const) {
    Region* region = find_region(address);
    if (!region || !region->live || region->kind != RegionKind::Array) return;
    std::vector<Region*>& list = is_const ? only_read : written;
    if (std::find(list.begin(), list.end(), region) == list.end()) list.push_back(region);
  }

  Reachable() {
    for (int i = 0; i < launch.argument_count; i++) {
      const PassedArgument& argument = launch.arguments[i];
      const uint64_t* words = static_cast<const uint64_t*>(argument.value);
      if (!argument.bytes) {
        add(*words, argument.is_const);
        continue;
      }
      for (uint64_t word = 0; word < argument.bytes / 8; word++) add(words[word], false);
    }
    only_read.erase(std::remove_if(only_read.begin(), only_read.end(),
                                   [&](Region* region) {
                                     return std::find(written.begin(), written.end(), region) != written.end();
                                   }),
                    only_read.end());
  }
};

std::vector<ArgumentAddress> argument_addresses() {
  std::vector<ArgumentAddress> found;
  for (int i = 0; i < launch.argument_count; i++) {
    const PassedArgument& argument = launch.arguments[i];
    const uint64_t words = argument.bytes ? argument.bytes / 8 : 1;
    for (uint64_t word = 0; word < words; word++) found.push_back({static_cast<uint64_t*>(argument.value)[word], i});
  }
  return found;
}

// The checked build sees every write by itself. Of the fast one's arrays the large are left open: to close and open
// their pages would take longer than most kernels.
constexpr size_t MOST_PROTECTED_BYTES = 256 << 10;

void protect(const std::vector<Region*>& regions, bool read_only) {
  for (Region* region : regions) {
    region->read_only = read_only;
    if (!execution.checked && region->bytes <= MOST_PROTECTED_BYTES) write_protect(region, read_only);
  }
}

void check_slack(const std::vector<Region*>& regions) {
  for (Region* region : regions) {
    const char* side = overwritten_slack(region);
    if (!*side) continue;
    poison_slack(region);  // so that the next launch is not blamed
    if (!reports.stopped) note(region, 0, 0, format("bytes %s of %s were overwritten", side, describe(region).c_str()));
  }
}

}  // namespace

// Returns the number of reports.
EXPORTED int emulator_launch(const Launch* wanted, Reports* out, Counts* counts) {
  launch = *wanted;
  reports.count = reports.stopped = 0;
  current = nullptr;
  std::vector<void*> values(launch.argument_count);
  for (int i = 0; i < launch.argument_count; i++) values[i] = launch.arguments[i].value;
  execution.kernel = launch.kernel;
  execution.arguments = values.data();
  execution.order = Order(launch.order);
  execution.checked = launch.checked;
  gridDim = dim3(launch.grid[0], launch.grid[1], launch.grid[2]);
  blockDim = dim3(launch.block[0], launch.block[1], launch.block[2]);
  Dl_info module{};
  dladdr(reinterpret_cast<void*>(launch.kernel), &module);
  prepare_threads(launch.block[0], launch.block[1], launch.block[2], launch.seed);
  prepare_shared_memory(launch.shared_bytes);
  reset_fibers();
  reset_warp_groups();
  start_launch_epoch(reinterpret_cast<uintptr_t>(module.dli_fbase));
  start_trace(launch.traced, reinterpret_cast<uintptr_t>(module.dli_fbase), threads.size(), argument_addresses());

  const Reachable reachable;
  protect(reachable.only_read, true);
  run_guarded(run_blocks, launch.timeout);
  protect(reachable.only_read, false);
  current = nullptr;
  if (tracing) end_trace_epoch();
  check_slack(reachable.written);
  *counts = {switches, barriers, accesses};
  if (reports.count) *out = reports;
  return reports.count;
}

// Where the shared object that holds the address was loaded, for addr2line.
EXPORTED uint64_t emulator_module_base(void* address) {
  Dl_info module{};
  return dladdr(address, &module) ? reinterpret_cast<uint64_t>(module.dli_fbase) : 0;
}

}  // namespace cuda_emulator
