// Hardware faults and the time limit: signals while kernels run become reports.
#pragma once
#include <cstdint>

namespace cuda_emulator {

// The time is over, but the signal came while the runtime or the C library ran, where a jump could leave a lock held.
// The runtime's entries for kernels look at it.
extern volatile bool time_is_up;
[[noreturn]] void fail_for_time(uintptr_t caller);

// Runs `work`; a fault or the end of the time (of this thread's CPU, in seconds) leaves it with a report.
void run_guarded(void (*work)(), double timeout);

}  // namespace cuda_emulator
