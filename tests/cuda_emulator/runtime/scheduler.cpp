#include "scheduler.h"

#include <string>
#include <utility>

#include "exported.h"
#include "failures.h"
#include "faults.h"
#include "shadow.h"
#include "shared_memory.h"
#include "warp.h"

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
}

namespace cuda_emulator {

extern "C" {
int cuda_emulator_lane;
}

Execution execution;
Thread* current;
std::vector<Thread> threads;
std::vector<Warp> warps;
long switches, barriers;

namespace {

void* launch_stack_pointer;  // of the code that called run_block
void* abandoned;             // where the switch saves what nobody returns to

uint64_t random_state;
std::vector<int> sequence;    // the order in which threads get their turn until the next barrier
int turn;                     // position in `sequence`
std::vector<int> just_freed;  // by a warp operation: they go first, the last one added foremost

int live;  // threads that have not ended

// The block-wide barrier that threads wait in.
struct Barrier {
  int waiting;
  const char* operation;
  Site site;
  int count, all, any;     // of the predicates brought so far
  int count_result, all_result, any_result;

  void forget_votes() { count = 0, all = 1, any = 0; }
} barrier;

void resume(Thread* thread) {
  current = thread;
  thread->state = ThreadState::Running;
  threadIdx = thread->index;
  cuda_emulator_lane = thread->lane;
}

Thread* next_thread() {
  while (!just_freed.empty()) {
    if (execution.order == Order::Shuffled) {
      std::swap(just_freed[random_number() % just_freed.size()], just_freed.back());
    }
    Thread* thread = &threads[just_freed.back()];
    just_freed.pop_back();
    if (thread->state == ThreadState::Ready) return thread;
  }
  while (turn < int(sequence.size())) {
    Thread* thread = &threads[sequence[turn++]];
    if (thread->state == ThreadState::Ready || thread->state == ThreadState::Unstarted) return thread;
  }
  return nullptr;
}

[[noreturn]] void deadlock() {
  std::string text = "deadlock: no thread can run;";
  int shown = 0;
  for (const Thread& thread : threads) {
    if (thread.state != ThreadState::AtBarrier && thread.state != ThreadState::InWarpOperation) continue;
    if (++shown > 4) {
      text += " ...";
      break;
    }
    text += format(" thread (%u,%u,%u) waits in %s at %s;", thread.index.x, thread.index.y, thread.index.z,
                   thread.operation, place(thread.site).c_str());
  }
  current = nullptr;
  fail(0, "%s", text.c_str());
}

void release_barrier() {
  barrier.waiting = 0;
  barrier.count_result = barrier.count, barrier.all_result = barrier.all, barrier.any_result = barrier.any;
  barrier.forget_votes();
  for (Thread& thread : threads) {
    if (thread.state == ThreadState::AtBarrier) thread.state = ThreadState::Ready;
  }
  turn = 0;
  if (execution.order == Order::Shuffled) shuffle(sequence);
  barriers++;
  start_epoch();
}

void end_thread(Thread* thread) {
  thread->state = ThreadState::Ended;
  live--;
  if (barrier.waiting) {
    fail(0, "barrier divergence: this thread ends while others wait in %s at %s", barrier.operation,
         place(barrier.site).c_str());
  }
  lane_ended(thread);
}

// What runs on every fiber: threads, one after another, until one has to wait; a fiber whose thread ended takes on the
// next. A kernel without barriers never switches.
void run_threads() {
  for (;;) {
    execution.kernel(execution.arguments);
    Fiber* fiber = current->fiber;
    end_thread(current);
    Thread* next = next_thread();
    if (!next) {
      if (live) deadlock();
      give_back_fiber(fiber);
      leave_block();
    }
    if (next->state == ThreadState::Unstarted) {
      next->fiber = fiber;
      resume(next);
      continue;
    }
    give_back_fiber(fiber);
    switches++;
    resume(next);
    cuda_emulator_switch(&abandoned, next->stack_pointer);
  }
}

void wait_at_barrier(const char* operation, Site site, uintptr_t caller) {
  if (time_is_up) fail_for_time(caller);
  if (barrier.waiting && (site.line != barrier.site.line || site.file != barrier.site.file)) {
    fail(caller, "barrier divergence: this thread reaches %s at %s while others wait in %s at %s", operation,
         place(site).c_str(), barrier.operation, place(barrier.site).c_str());
  }
  if (live != int(threads.size())) {
    fail(caller, "barrier divergence: %s at %s after %d of %d threads have ended", operation, place(site).c_str(),
         int(threads.size()) - live, int(threads.size()));
  }
  barrier.operation = operation;
  barrier.site = site;
  current->state = ThreadState::AtBarrier;
  current->operation = operation;
  current->site = site;
  if (++barrier.waiting == live) release_barrier();
  wait_for_others();
}

}  // namespace

uint32_t random_number() {
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return uint32_t(random_state >> 33);
}

void shuffle(std::vector<int>& values) {
  for (size_t left = values.size(); left > 1; left--) std::swap(values[left - 1], values[random_number() % left]);
}

void prepare_threads(unsigned x, unsigned y, unsigned z, uint64_t seed) {
  random_state = (seed + 1) * 0x9E3779B97F4A7C15ull;
  const int count = int(x * y * z);
  threads.assign(count, Thread{});
  warps.assign((count + WARP_LANES - 1) / WARP_LANES, Warp{});
  sequence.resize(count);
  for (int i = 0; i < count; i++) {
    Thread& thread = threads[i];
    thread.linear = uint16_t(i);
    thread.warp = uint16_t(i / WARP_LANES);
    thread.lane = uint8_t(i % WARP_LANES);
    thread.index.x = unsigned(i) % x;
    thread.index.y = unsigned(i) / x % y;
    thread.index.z = unsigned(i) / (x * y);
    warps[thread.warp].lanes |= 1u << thread.lane;
    sequence[i] = execution.order == Order::Reverse ? count - 1 - i : i;
  }
  switches = barriers = 0;
}

void run_block() {
  for (Thread& thread : threads) thread.state = ThreadState::Unstarted;
  for (Warp& warp : warps) warp.live = warp.lanes, warp.open = nullptr;
  live = int(threads.size());
  barrier.waiting = 0;
  barrier.forget_votes();
  turn = 0;
  just_freed.clear();
  if (execution.order == Order::Shuffled) shuffle(sequence);
  start_block_epoch();
  poison_shared_memory();
  Thread* first = next_thread();
  first->fiber = take_fiber();
  resume(first);
  cuda_emulator_switch(&launch_stack_pointer, prepare_fiber(first->fiber, run_threads));
  current = nullptr;
}

void wait_for_others() {
  Thread* waiting = current;
  Thread* next = next_thread();
  if (!next) deadlock();
  if (next == waiting) {
    resume(waiting);
    return;
  }
  switches++;
  void* target = next->stack_pointer;
  if (next->state == ThreadState::Unstarted) {
    next->fiber = take_fiber();
    target = prepare_fiber(next->fiber, run_threads);
  }
  resume(next);
  cuda_emulator_switch(&waiting->stack_pointer, target);
}

void make_ready(Thread* thread) {
  thread->state = ThreadState::Ready;
  just_freed.push_back(thread->linear);
}

void leave_block() {
  cuda_emulator_switch(&abandoned, launch_stack_pointer);
  __builtin_unreachable();
}

}  // namespace cuda_emulator

// ---- what kernels call
using namespace cuda_emulator;

EXPORTED void cuda_emulator_barrier(const char* operation, const char* file, int line) {
  wait_at_barrier(operation, {file, line}, RETURN_ADDRESS);
}

EXPORTED int cuda_emulator_barrier_vote(const char* operation, int predicate, Vote kind, const char* file, int line) {
  const int vote = predicate != 0;
  barrier.count += vote;
  barrier.all &= vote;
  barrier.any |= vote;
  wait_at_barrier(operation, {file, line}, RETURN_ADDRESS);
  return kind == Vote::Count ? barrier.count_result : kind == Vote::And ? barrier.all_result : barrier.any_result;
}
