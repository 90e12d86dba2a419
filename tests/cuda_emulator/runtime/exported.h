// Marks what kernels and Python may see of the runtime; all else is hidden.
#pragma once

#define EXPORTED extern "C" __attribute__((visibility("default")))
