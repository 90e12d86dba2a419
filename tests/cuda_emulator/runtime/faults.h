// Hardware faults and the time limit: signals while kernels run become reports.
#pragma once

namespace cuda_emulator {

// Runs `work`; a fault or the end of the time (of this thread's CPU, in seconds) leaves it with a report.
void run_guarded(void (*work)(), double timeout);

}  // namespace cuda_emulator
