// What tensor cores multiply at most by mma.sync: eight products that do not wait for each other, from registers.
#include "ptx.cuh"

constexpr int CHAINS = 8;

// Two numbers between 1 and 2 in bfloat16, others for every lane and every `number`: products of zeros are faster.
__device__ __forceinline__ unsigned some_pair(unsigned number) {
  unsigned v = (threadIdx.x * 16u + number + 1u) * 2654435761u;
  v ^= v >> 15;
  return (v & 0x007f007fu) | 0x3f803f80u;
}

// 4096 * CHAINS * rounds operations a warp.
__global__ void multiply_matrices(float* y, int rounds) {
  unsigned a[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) a[k] = some_pair(k);
  unsigned b[CHAINS];
  float d[CHAINS][4] = {};
#pragma unroll
  for (int k = 0; k < CHAINS; ++k) b[k] = some_pair(4 + k);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int k = 0; k < CHAINS; ++k) multiply_bfloat16(d[k], a, b[k], b[(k + 1) % CHAINS]);
  }
  float sum = 0.f;
#pragma unroll
  for (int k = 0; k < CHAINS; ++k) sum += d[k][0] + d[k][1] + d[k][2] + d[k][3];
  y[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
