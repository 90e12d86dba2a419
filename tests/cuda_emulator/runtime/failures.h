// What went wrong, on its way to Python. An array is written as {array}: Python knows which argument that is.
#pragma once
#include <cstdint>
#include <string>

#include "../include/runtime_calls.h"
#include "regions.h"

namespace cuda_emulator {

// launch.py reads these structs: keep the two in step.
struct Report {
  uint64_t address;        // in the machine code; 0 where unknown
  uint64_t other_address;  // of the other access of a race
  uint64_t array;          // where the array begins that `text` calls {array}
  char text[640];
};

constexpr int MAX_REPORTS = 16;

struct Reports {
  int32_t count;
  int32_t stopped;  // the launch was ended early
  Report report[MAX_REPORTS];
};

extern Reports reports;

#define RETURN_ADDRESS reinterpret_cast<uintptr_t>(__builtin_return_address(0))

__attribute__((format(printf, 1, 2))) std::string format(const char* text, ...);
std::string place(Site site);                // file:line
std::string describe(const Region* region);  // {array} or the shared variable's name, with its size

// Ends the launch.
[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(uintptr_t address, const char* text, ...);
[[noreturn]] __attribute__((format(printf, 3, 4))) void fail_in(const Region* region, uintptr_t address,
                                                                const char* text, ...);

// Notes a report and lets the launch go on. The same finding at the same place is noted once.
void note(const Region* region, uintptr_t address, uintptr_t other_address, const std::string& text);

// Writes a report without memory from the heap: for the signal handler.
void record(uintptr_t address, uint64_t array, const char* text);

}  // namespace cuda_emulator
