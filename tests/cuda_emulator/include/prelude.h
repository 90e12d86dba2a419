// Put in front of every kernel file: CUDA C++ as g++ can read it. One header for each subject.
#pragma once
#include "runtime_calls.h"

#include "cuda_names.h"

#include "atomics.h"
#include "barriers.h"
#include "cached_access.h"
#include "maths.h"
#include "shared_variables.h"
#include "trampolines.h"
#include "warp.h"
