// Warp operations: the lanes of a mask meet, leave a value each, and read those of the others.
#pragma once
#include "scheduler.h"

namespace cuda_emulator {

void reset_warp_groups();       // at a launch
void lane_ended(Thread* lane);  // others may have waited for it alone

}  // namespace cuda_emulator
