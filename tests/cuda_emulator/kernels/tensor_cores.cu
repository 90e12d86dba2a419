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

// Where the two operands lie in the bytes that are given, as `matrix_view` and `advanced` want it.
struct Views {
  int first_a, first_b, next_block_a, next_block_b, eight_rows_a, eight_rows_b, further_a, further_b;
};

// c and d (128, N / 8, 4), as threads hold them: d = c + twice the product. One warpgroup; `bytes` are all of shared memory.
template <int N, bool A_BY_RESULT, bool B_BY_RESULT>
__global__ void products_warpgroup(const float4* bytes, int size, const float* c, float* d, const Views views) {
  extern __shared__ __align__(1024) float4 shared[];
  const int thread = threadIdx.x;
  for (int i = thread; i < size / 16; i += 128) shared[i] = bytes[i];
  publish_copies();
  __syncthreads();
  float sums[N / 8][4];
  for (int i = 0; i < N / 2; i++) sums[i / 4][i % 4] = c[thread * (N / 2) + i];
  settle_sums(sums);
  const SharedAddress first = shared_address(shared);
  const MatrixView a = matrix_view(first + views.first_a, views.next_block_a, views.eight_rows_a);
  const MatrixView b = matrix_view(first + views.first_b, views.next_block_b, views.eight_rows_b);
  begin_products();
  for (int i = 0; i < 2; i++) {
    multiply_warpgroup<A_BY_RESULT, B_BY_RESULT>(sums, advanced(a, views.further_a), advanced(b, views.further_b));
  }
  commit_products();
  wait_for_products<0>();
  settle_sums(sums);
  for (int i = 0; i < N / 2; i++) d[thread * (N / 2) + i] = sums[i / 4][i % 4];
}
