#include "happens_before.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "scheduler.h"

namespace cuda_emulator {

uint32_t epoch = 1, block_epoch = 1, launch_epoch = 1;

// ---- lanes of a warp
namespace {

struct LaneClocks {
  uint32_t epoch;                          // what the clocks are for
  uint32_t clock[WARP_LANES];              // of each lane
  uint32_t seen[WARP_LANES][WARP_LANES];   // seen[a][b]: how far lane a knows that lane b has come
};

std::vector<LaneClocks> lane_clocks;

LaneClocks& clocks_of(int warp) {
  if (lane_clocks.size() <= size_t(warp)) lane_clocks.resize(warp + 1, LaneClocks{});
  LaneClocks& clocks = lane_clocks[warp];
  if (clocks.epoch != epoch) {
    memset(&clocks, 0, sizeof clocks);
    std::fill_n(clocks.clock, WARP_LANES, 1u);
    clocks.epoch = epoch;
  }
  return clocks;
}

}  // namespace

uint32_t lane_clock(int warp, int lane) { return clocks_of(warp).clock[lane]; }

bool lane_order(int warp, int earlier_lane, uint32_t earlier_clock, int later_lane) {
  return clocks_of(warp).seen[later_lane][earlier_lane] >= earlier_clock;
}

void synchronise_lanes(int warp, uint32_t lanes) {
  LaneClocks& clocks = clocks_of(warp);
  uint32_t joint[WARP_LANES] = {};
  for (int lane = 0; lane < WARP_LANES; lane++) {
    if (!(lanes >> lane & 1)) continue;
    for (int other = 0; other < WARP_LANES; other++) joint[other] = std::max(joint[other], clocks.seen[lane][other]);
    joint[lane] = std::max(joint[lane], clocks.clock[lane]);
  }
  for (int lane = 0; lane < WARP_LANES; lane++) {
    if (!(lanes >> lane & 1)) continue;
    memcpy(clocks.seen[lane], joint, sizeof joint);
    clocks.clock[lane]++;
  }
}

// ---- blocks of a launch
namespace {

struct Release {
  uint32_t block, epoch;
  int thread;
};

struct Acquired {
  Release release;
  uint32_t epoch;
  int thread;
};

struct BlockStart {
  uint32_t epoch;
  BlockIndex index;
};

std::vector<BlockStart> starts;                                    // of the launch's blocks so far, in their order
std::unordered_map<uintptr_t, std::vector<Release>> releases;      // by the word of the atomic operation
std::unordered_map<uint32_t, std::vector<Acquired>> acquired;      // by the running block, which blocks came before it
bool fenced;                                                       // some thread of the running block has

uint32_t ordinal(uint32_t of_epoch) {
  auto after = std::upper_bound(starts.begin(), starts.end(), of_epoch,
                                [](uint32_t value, const BlockStart& start) { return value < start.epoch; });
  return uint32_t(after - starts.begin()) - 1;
}

}  // namespace

void forget_blocks() {
  starts.clear();
  releases.clear();
  acquired.clear();
}

void note_block() {
  starts.push_back({epoch, {blockIdx.x, blockIdx.y, blockIdx.z}});
  acquired.clear();
  fenced = false;
}

void note_fence() { fenced = true; }

void note_atomic(uintptr_t address, int thread) {
  if (!fenced && releases.empty()) return;
  const uint32_t block = uint32_t(starts.size()) - 1;
  std::vector<Release>& here = releases[address];
  for (const Release& release : here) {
    if (release.block != block) acquired[release.block].push_back({release, epoch, thread});
  }
  if (fenced) here.push_back({block, epoch, thread});
}

bool block_order(const Access& earlier, int later_thread) {
  if (acquired.empty()) return false;
  auto found = acquired.find(ordinal(earlier.epoch));
  if (found == acquired.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const Acquired& a) {
    const bool released = earlier.epoch < a.release.epoch || earlier.thread == a.release.thread;
    return released && (a.epoch < epoch || a.thread == later_thread);
  });
}

BlockIndex block_of(const Access& access) { return starts[ordinal(access.epoch)].index; }

}  // namespace cuda_emulator
