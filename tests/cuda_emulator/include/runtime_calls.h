// What kernel code and the runtime have in common: the calls that a kernel's translation unit makes into the runtime.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector_types.h>

// Kernel code is compiled with hidden symbols, so that two kernel files may define the same names.
#define CUDA_EMULATOR_EXPORTED __attribute__((visibility("default")))

// Of everything that calls the runtime, so that the address a report carries lies in the kernel's own text.
#define CUDA_EMULATOR_INLINE inline __attribute__((always_inline))

// The place of a call in the kernel text, as trailing default arguments of every barrier and warp operation.
#define CUDA_EMULATOR_SITE const char* file = __builtin_FILE(), int line = __builtin_LINE()

namespace cuda_emulator {

struct Site {
  const char* file;
  int line;
};

// One warp operation in progress: what each lane brought, until every lane of the mask has come and read.
struct WarpGroup {
  const char* operation;
  Site site;
  uint32_t mask, arrived, unread;
  bool complete;
  uint64_t value[32];
  WarpGroup* next;
};

// A static __shared__ variable. Constant-initialised; the runtime gives it memory at its first use in a launch.
struct SharedSlot {
  size_t bytes, alignment;
  const char* name;
  uint32_t launch;  // number of the launch that `address` was prepared for
  void* address;
};

enum class Vote : int { Count, And, Or };

#pragma GCC visibility push(default)
extern "C" {
  extern int cuda_emulator_lane;         // lane of the running thread in its warp
  extern uint32_t cuda_emulator_launch;  // number of the running launch

  void cuda_emulator_barrier(const char* operation, const char* file, int line);
  int cuda_emulator_barrier_vote(const char* operation, int predicate, Vote kind, const char* file, int line);

  // Waits until every lane of the mask has come; the caller must then call `read` exactly once.
  WarpGroup* cuda_emulator_warp_meet(const char* operation, uint32_t mask, uint64_t value, const char* file, int line);
  void cuda_emulator_warp_read(WarpGroup* group);
  void cuda_emulator_bad_source_lane(const char* operation, int lane, const char* file, int line);
  uint32_t cuda_emulator_live_lanes();

  void* cuda_emulator_shared(SharedSlot* slot);
  void* cuda_emulator_dynamic_shared(size_t alignment);

  void cuda_emulator_atomic_begin(const void* address);  // the accesses up to `end` are one atomic operation
  void cuda_emulator_atomic_end();
  void cuda_emulator_fence();

  void cuda_emulator_stop(const char* reason, const char* file, int line);  // ends the launch with an error
}
#pragma GCC visibility pop

}  // namespace cuda_emulator
