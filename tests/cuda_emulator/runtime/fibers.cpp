#include "fibers.h"

#include <cstring>
#include <deque>
#include <vector>

#include "pages.h"

namespace cuda_emulator {

asm(R"(
.text
.globl cuda_emulator_switch
.hidden cuda_emulator_switch
.type cuda_emulator_switch,@function
cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulator_switch,.-cuda_emulator_switch
)");

namespace {

std::deque<Fiber> all;
std::vector<Fiber*> unused;

// Stacks start at different offsets in their pages, or all threads' frames would fall into the same cache sets.
size_t colour(const Fiber* fiber) { return size_t(fiber->number % 31) * 192; }

}  // namespace

Fiber* take_fiber() {
  if (unused.empty()) {
    Fiber fiber;
    fiber.pages = map_pages(PAGE + STACK_BYTES, PROT_READ | PROT_WRITE);
    fiber.number = int(all.size());
    mprotect(fiber.pages, PAGE, PROT_NONE);
    all.push_back(fiber);
    return &all.back();
  }
  Fiber* fiber = unused.back();
  unused.pop_back();
  return fiber;
}

void give_back_fiber(Fiber* fiber) { unused.push_back(fiber); }

void reset_fibers() {
  if (unused.size() == all.size()) return;
  unused.clear();
  for (Fiber& fiber : all) unused.push_back(&fiber);
}

void* prepare_fiber(Fiber* fiber, void (*entry)()) {
  // Six registers, the return address, and a word that leaves the stack 8 bytes off 16, as right after a call.
  constexpr int WORDS = 8;
  void** top = reinterpret_cast<void**>(fiber->pages + PAGE + STACK_BYTES - colour(fiber)) - WORDS;
  memset(top, 0, WORDS * sizeof(void*));
  top[6] = reinterpret_cast<void*>(entry);
  return top;
}

bool in_stack_guard(const Fiber* fiber, uintptr_t address) {
  return fiber && address - reinterpret_cast<uintptr_t>(fiber->pages) < PAGE;
}

}  // namespace cuda_emulator
