// A header of a kernel file: shared memory in device functions, plain and templated.
#pragma once

struct Scale {
  float factor, offset;
  int repeats;
};

template <typename T, int N>
struct Pack {
  T values[N];
};

// The sum over a block, in shared memory whose type depends on the template.
template <typename T>
__device__ __noinline__ T block_sum(T value) {
  __shared__ T of_warp[32];
  __shared__ Pack<T, 3> total;
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_down_sync(0xffffffffu, value, lanes);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    T sum = 0;
    for (int warp = 0; warp < int(blockDim.x) / 32; warp++) sum += of_warp[warp];
    total.values[1] = sum;
  }
  __syncthreads();
  return total.values[1];
}

#define REVERSED_IN_TILE(type, size, value, result) \
  __shared__ type macro_tile[size];                 \
  macro_tile[threadIdx.x] = value;                  \
  __syncthreads();                                  \
  result = macro_tile[size - 1 - threadIdx.x];
