// Which of two accesses of one launch came first for certain, whatever order a GPU runs the threads in.
#pragma once
#include <cstdint>
#include <vector>

namespace cuda_emulator {

// Counts block-wide meetings: barriers, and the starts of blocks and launches. It only grows, so that what an earlier
// launch left in the shadow is known to be earlier.
extern uint32_t epoch, block_epoch, launch_epoch;

// An access as the shadow keeps it.
struct Access {
  uint32_t epoch;       // 0 for none
  uint32_t instruction; // offset in the kernel's machine code
  uint32_t lane_clock;  // of its thread, see lane_order
  uint16_t thread;      // in its block
  uint16_t atomic;
};

// Order between lanes of one warp that meet in __syncwarp: vector clocks, one component for each lane. They start
// afresh in every epoch.
uint32_t lane_clock(int warp, int lane);
bool lane_order(int warp, int earlier_lane, uint32_t earlier_clock, int later_lane);
void synchronise_lanes(int warp, uint32_t lanes);

// Order between blocks: a block that has fenced and then done an atomic operation on some word comes before what
// another block does after an atomic operation on that word (the last-block-done pattern).
void forget_blocks();  // at a launch
void note_block();     // a block starts
void note_fence();
void note_atomic(uintptr_t address, int thread);
bool block_order(const Access& earlier, int later_thread);

// Where the block that made the access lies in the grid.
struct BlockIndex {
  unsigned x, y, z;
};
BlockIndex block_of(const Access& access);

}  // namespace cuda_emulator
