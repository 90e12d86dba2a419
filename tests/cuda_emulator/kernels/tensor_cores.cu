// Small correct kernels around each function of ptx.cuh. One warp.
#include "ptx.cuh"

// Words as lanes hold them: a (32, 4), b (32, 2), c and d (32, 4).
extern "C" __global__ void products_bfloat16(const unsigned* a, const unsigned* b, const float* c, float* d) {
  const int lane = threadIdx.x;
  unsigned left[4];
  float sum[4];
  for (int i = 0; i < 4; i++) left[i] = a[lane * 4 + i], sum[i] = c[lane * 4 + i];
  multiply_bfloat16(sum, left, b[lane * 2], b[lane * 2 + 1]);
  for (int i = 0; i < 4; i++) d[lane * 4 + i] = sum[i];
}

extern "C" __global__ void products_tf32(const unsigned* a, const unsigned* b, const float* c, float* d) {
  const int lane = threadIdx.x;
  unsigned left[4];
  float sum[4];
  for (int i = 0; i < 4; i++) left[i] = a[lane * 4 + i], sum[i] = c[lane * 4 + i];
  multiply_tf32(sum, left, b[lane * 2], b[lane * 2 + 1]);
  for (int i = 0; i < 4; i++) d[lane * 4 + i] = sum[i];
}

// x: 32 rows of four words. Lane l brings row order[l]; y (2, 32, 4): what it gets, and of the transposed matrices.
extern "C" __global__ void matrices(const unsigned* x, const int* order, unsigned* y) {
  __shared__ __align__(128) unsigned rows[32 * 4];
  const int lane = threadIdx.x;
  for (int i = 0; i < 4; i++) rows[lane * 4 + i] = x[lane * 4 + i];
  __syncwarp();
  unsigned r[4];
  load_matrices(r, shared_address(rows + order[lane] * 4));
  for (int i = 0; i < 4; i++) y[lane * 4 + i] = r[i];
  load_matrices_transposed(r, shared_address(rows + order[lane] * 4));
  for (int i = 0; i < 4; i++) y[128 + lane * 4 + i] = r[i];
}

// y (steps, 32, 4) = x where copied[lane] is not 0, else 0, through a pipeline of three buffers.
extern "C" __global__ void copies(const float* x, const int* copied, float* y, int steps) {
  __shared__ __align__(128) float buffers[3][32 * 4];
  const int lane = threadIdx.x;
  for (int step = 0; step < 2; step++) {
    if (step < steps) {
      copy_or_zero_16(shared_address(buffers[step] + lane * 4), x + (step * 32 + lane) * 4, copied[lane] != 0);
    }
    commit_copies();
  }
  for (int step = 0; step < steps; step++) {
    wait_for_copies<1>();
    __syncthreads();
    const int next = step + 2;
    if (next < steps) {
      copy_or_zero_16(shared_address(buffers[next % 3] + lane * 4), x + (next * 32 + lane) * 4, copied[lane] != 0);
    }
    commit_copies();
    for (int i = 0; i < 4; i++) y[step * 128 + 127 - (lane * 4 + i)] = buffers[step % 3][127 - (lane * 4 + i)];
  }
}

extern "C" __global__ void rounded(const float* x, unsigned* pairs, unsigned* tf32) {
  const int lane = threadIdx.x;
  pairs[lane] = pack_bfloat16(x[2 * lane], x[2 * lane + 1]);
  for (int i = 0; i < 2; i++) tf32[2 * lane + i] = round_to_tf32(__float_as_uint(x[2 * lane + i]));
}
