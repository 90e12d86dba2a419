// Memory straight from the kernel, given back lazily and taken only where touched.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace cuda_emulator {

constexpr size_t PAGE = 4096;

inline char* map_pages(size_t bytes, int protection) {
  void* pages = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) {
    perror("cuda_emulator: mmap");
    abort();
  }
  return static_cast<char*>(pages);
}

}  // namespace cuda_emulator
