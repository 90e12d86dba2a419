// The threads of the running block: who runs, who waits for what, and who comes next.
#pragma once
#include <vector>

#include "../include/runtime_calls.h"
#include "fibers.h"

#pragma GCC visibility push(default)
extern "C" {
  extern uint3 threadIdx, blockIdx;
  extern dim3 blockDim, gridDim;
}
#pragma GCC visibility pop

namespace cuda_emulator {

constexpr int WARP_LANES = 32;

enum class Order : int { Forward, Reverse, Shuffled };

enum class ThreadState : uint8_t { Unstarted, Ready, Running, AtBarrier, InWarpOperation, Ended };

struct Thread {
  uint3 index;
  uint16_t linear, warp;
  uint8_t lane;
  ThreadState state;
  void* stack_pointer;  // while it waits
  Fiber* fiber;
  const char* operation;  // what it waits in
  Site site;
  WarpGroup* group;
};

struct Warp {
  uint32_t lanes, live;  // those that exist, those that have not ended
  WarpGroup* open;       // operations that wait for lanes
};

// A kernel launch as the scheduler sees it.
struct Execution {
  void (*kernel)(void**);
  void** arguments;
  Order order;
  bool checked;
};

extern Execution execution;
extern Thread* current;  // the running thread; null outside of kernels
extern std::vector<Thread> threads;
extern std::vector<Warp> warps;
extern long switches, barriers;

void prepare_threads(unsigned x, unsigned y, unsigned z, uint64_t seed);
void run_block();  // blockIdx is set
uint32_t random_number();
void shuffle(std::vector<int>& values);

void wait_for_others();            // the running thread cannot go on: run another
void make_ready(Thread* thread);   // it runs before threads that no one has freed
[[noreturn]] void leave_block();   // back to the launch, whatever the threads were doing

}  // namespace cuda_emulator
