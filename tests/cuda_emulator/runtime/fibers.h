// Fibers: stacks that the emulated threads take turns on, and the switch between two of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cuda_emulator {

constexpr size_t STACK_BYTES = 128 << 10;

struct Fiber {
  char* pages;  // a guard page, then the stack
  int number;
};

// Saves the callee-saved registers on the running stack and its pointer in `*saved`, then goes on where `target` was
// saved. `ucontext` would make a system call here; this costs a few nanoseconds.
extern "C" void cuda_emulator_switch(void** saved, void* target);

Fiber* take_fiber();
void give_back_fiber(Fiber* fiber);
void reset_fibers();  // all are free again, whatever ran on them

// A stack pointer from which the switch enters `entry` on the fiber's empty stack.
void* prepare_fiber(Fiber* fiber, void (*entry)());

bool in_stack_guard(const Fiber* fiber, uintptr_t address);

}  // namespace cuda_emulator
