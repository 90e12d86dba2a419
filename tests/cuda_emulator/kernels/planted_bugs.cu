// One bug in each kernel. A line that a report may name ends in "// BUG": of a race, both accesses.
#include "ptx.cuh"

struct Tensors {
  float* data[2];
};

// ---- barriers left out
extern "C" __global__ void no_barrier_before_read(const float* x, float* y) {
  __shared__ float tile[128];
  tile[threadIdx.x] = x[threadIdx.x];  // BUG
  y[threadIdx.x] = tile[127 - threadIdx.x];  // BUG
}

extern "C" __global__ void no_barrier_before_reuse(const float* x, float* y) {
  __shared__ float tile[128];
  for (int i = 0; i < 2; i++) {
    tile[threadIdx.x] = x[threadIdx.x] + i;  // BUG
    __syncthreads();
    y[i * 128 + threadIdx.x] = tile[127 - threadIdx.x];  // BUG
  }
}

extern "C" __global__ void no_syncwarp(const float* x, float* y) {
  __shared__ float tile[32];
  tile[threadIdx.x] = x[threadIdx.x];  // BUG
  y[threadIdx.x] = tile[31 - threadIdx.x];  // BUG
}

extern "C" __global__ void shuffle_is_no_syncwarp(const float* x, float* y) {
  __shared__ float tile[32];
  tile[threadIdx.x] = x[threadIdx.x];  // BUG
  const float other = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
  y[threadIdx.x] = tile[31 - threadIdx.x] + 0 * other;  // BUG
}

// ---- out of bounds
extern "C" __global__ void read_past_end(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x + 1];  // BUG
}

extern "C" __global__ void read_before_start(const float* x, float* y) {
  y[threadIdx.x] = x[int(threadIdx.x) - 1];  // BUG
}

extern "C" __global__ void write_past_end(const float* x, float* y) {
  y[threadIdx.x + 1] = x[threadIdx.x];  // BUG
}

extern "C" __global__ void write_before_start(const float* x, float* y) {
  y[int(threadIdx.x) - 1] = x[threadIdx.x];  // BUG
}

extern "C" __global__ void shared_read_past_end(const float* x, float* y) {
  __shared__ float tile[128];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  float* p = tile;
  y[threadIdx.x] = p[threadIdx.x + 1];  // BUG
}

extern "C" __global__ void shared_write_past_end(const float* x, float* y) {
  __shared__ float tile[128];
  float* p = tile;
  p[threadIdx.x + 1] = x[threadIdx.x];  // BUG
  __syncthreads();
  y[threadIdx.x] = tile[127];
}

extern "C" __global__ void shared_read_before_start(const float* x, float* y) {
  __shared__ float tile[128];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  float* p = tile;
  y[threadIdx.x] = p[int(threadIdx.x) - 1];  // BUG
}

extern "C" __global__ void shared_row_too_long(const float* x, float* y) {
  __shared__ float tile[4][32];
  const int row = threadIdx.x / 32, column = threadIdx.x % 32;
  tile[row][column + (row == 3)] = x[threadIdx.x];  // BUG
  __syncthreads();
  y[threadIdx.x] = tile[0][column];
}

extern "C" __global__ void wrong_shared_size(const float* x, float* y) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = x[threadIdx.x];  // BUG
  __syncthreads();
  y[threadIdx.x] = tile[127 - threadIdx.x];
}

extern "C" __global__ void local_array_overflow(const float* x, float* y, int n) {
  float own[8];
  for (int i = 0; i < n; i++) own[i] = x[i];  // BUG
  y[threadIdx.x] = own[n & 7];
}

extern "C" __global__ void struct_pointer_past_end(Tensors tensors, int n) {
  if (int(threadIdx.x) <= n) tensors.data[1][threadIdx.x] = 1.0f;  // BUG
}

extern "C" __global__ void use_after_free(Tensors tensors) {
  tensors.data[0][threadIdx.x] = tensors.data[1][threadIdx.x];  // BUG
}

extern "C" __global__ void null_pointer(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];  // BUG
}

// ---- uninitialised
extern "C" __global__ void shared_not_initialised(const float* x, float* y) {
  __shared__ float sum;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 128; i++) sum += x[i];  // BUG
  }
  __syncthreads();
  y[threadIdx.x] = sum;
}

extern "C" __global__ void accumulates_into_empty(const float* x, float* y) {
  y[threadIdx.x] += x[threadIdx.x];  // BUG
}

extern "C" __global__ void local_not_initialised(const float* x, float* y) {
  float sums[4];
  for (int i = 0; i < 128; i++) sums[i % 4] += x[i];
  y[threadIdx.x] = sums[0] + sums[1] + sums[2] + sums[3];
}

extern "C" __global__ void output_not_written(const float* x, float* y) {
  if (threadIdx.x != 77) y[threadIdx.x] = x[threadIdx.x];
}

// ---- races
extern "C" __global__ void race_between_warps(const float* x, float* y) {
  __shared__ float last;
  if (threadIdx.x % 32 == 0) last = x[threadIdx.x];  // BUG
  __syncthreads();
  y[threadIdx.x] = last;
}

extern "C" __global__ void race_inside_a_warp(const float* x, float* y) {
  __shared__ float last;
  if (threadIdx.x < 2) last = x[threadIdx.x];  // BUG
  __syncthreads();
  y[threadIdx.x] = last;
}

extern "C" __global__ void race_between_blocks(const float* x, float* y) {
  if (threadIdx.x == 0) y[0] += x[blockIdx.x];  // BUG
}

extern "C" __global__ void blocks_overlap(const float* x, float* y) {
  const int i = blockIdx.x * (blockDim.x / 2) + threadIdx.x;
  y[i] = x[i] + blockIdx.x;  // BUG
}

extern "C" __global__ void plain_histogram(const int* x, int* y) {
  y[x[threadIdx.x]] += 1;  // BUG
}

extern "C" __global__ void reads_another_block(const float* x, float* y) {
  y[blockIdx.x * blockDim.x + threadIdx.x] = x[threadIdx.x];  // BUG
  if (blockIdx.x > 0) y[blockIdx.x * blockDim.x + threadIdx.x] += y[threadIdx.x];  // BUG
}

extern "C" __global__ void last_block_without_fence(const float* x, float* parts, unsigned* count, float* y) {
  if (threadIdx.x > 0) return;
  parts[blockIdx.x] = x[blockIdx.x];  // BUG
  if (atomicAdd(count, 1u) < gridDim.x - 1) return;
  float total = 0;
  for (int block = 0; block < int(gridDim.x); block++) total += parts[block];  // BUG
  *y = total;
}

// ---- divergence
extern "C" __global__ void early_exit(const float* x, float* y) {
  if (threadIdx.x >= 100) return;
  __syncthreads();  // BUG
  y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void barrier_in_branch(const float* x, float* y) {
  if (threadIdx.x < 64) __syncthreads();  // BUG
  y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void two_barriers(const float* x, float* y) {
  if (threadIdx.x < 64) {
    __syncthreads();  // BUG
  } else {
    __syncthreads();  // BUG
  }
  y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void shuffle_from_ended_lane(const float* x, float* y) {
  if (threadIdx.x >= 16) return;
  y[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 20);  // BUG
}

extern "C" __global__ void shuffle_from_lane_outside(const float* x, float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_down_sync(0x0000ffffu, x[threadIdx.x], 4);  // BUG
}

extern "C" __global__ void mask_lacks_caller(const float* x, float* y) {
  y[threadIdx.x] = __shfl_sync(0x0000ffffu, x[threadIdx.x], 0);  // BUG
}

extern "C" __global__ void shuffles_in_branches(const float* x, float* y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);  // BUG
  } else {
    y[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 16);  // BUG
  }
}

extern "C" __global__ void deadlock(const float* x, float* y) {
  if (threadIdx.x < 16) {
    __syncwarp();  // BUG
  } else {
    __syncthreads();  // BUG
  }
  y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void endless_loop(const float* x, float* y, int step) {
  for (int i = threadIdx.x; i < 128; i += step) y[i] = x[i];  // BUG
}

// ---- the rest
extern "C" __global__ void misaligned_vector(const float* x, float* y) {
  reinterpret_cast<float4*>(y)[threadIdx.x] = *reinterpret_cast<const float4*>(x + 1 + 4 * threadIdx.x);  // BUG
}

extern "C" __global__ void writes_const(const float* x, float* y) {
  const_cast<float*>(x)[threadIdx.x] = 1.0f;  // BUG
}

extern "C" __global__ void divides_by_zero(const int* x, int* y) {
  y[threadIdx.x] = 100 / x[threadIdx.x];  // BUG
}

extern "C" __global__ void overflows(const int* x, int* y) {
  y[threadIdx.x] = x[threadIdx.x] * 65536;  // BUG
}

extern "C" __global__ void shifts_too_far(const int* x, int* y) {
  y[threadIdx.x] = 1 << x[threadIdx.x];  // BUG
}

extern "C" __global__ void large_frame(const float* x, float* y, int n) {
  volatile float own[60000];
  own[n] = x[0];
  y[0] = own[n];
}

extern "C" __global__ void too_much_static_shared(const float* x, float* y) {
  __shared__ float tile[12289];  // BUG
  tile[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void failed_assertion(const float* x, float* y) {
  assert(threadIdx.x < 100);  // BUG
  y[threadIdx.x] = x[threadIdx.x];
}

// ---- tensor cores and asynchronous copies
extern "C" __global__ void copy_without_wait(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x + threadIdx.x * 4, true);
  commit_copies();
  __syncthreads();
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[threadIdx.x * 4 + i];  // BUG
}

extern "C" __global__ void copy_waits_for_too_little(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x + threadIdx.x * 4, true);
  commit_copies();
  wait_for_copies<1>();
  __syncthreads();
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[threadIdx.x * 4 + i];  // BUG
}

extern "C" __global__ void copy_is_not_committed(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x + threadIdx.x * 4, true);
  wait_for_copies<0>();
  __syncthreads();
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[threadIdx.x * 4 + i];  // BUG
}

extern "C" __global__ void copy_without_barrier(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x + threadIdx.x * 4, true);
  commit_copies();
  wait_for_copies<0>();  // BUG
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[127 - (threadIdx.x * 4 + i)];  // BUG
}

extern "C" __global__ void copy_into_what_is_read(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  for (int i = 0; i < 4; i++) tile[threadIdx.x * 4 + i] = x[threadIdx.x * 4 + i];
  __syncthreads();
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[127 - (threadIdx.x * 4 + i)];  // BUG
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x, true);  // BUG
  commit_copies();
  wait_for_copies<0>();
}

extern "C" __global__ void copy_past_end(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x + 4 + threadIdx.x * 4, true);  // BUG
  commit_copies();
  wait_for_copies<0>();
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[threadIdx.x * 4 + i];
}

extern "C" __global__ void copy_of_unaligned(const float* x, float* y) {
  __shared__ __align__(128) float tile[128];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x + 1, true);  // BUG
  commit_copies();
  wait_for_copies<0>();
  y[threadIdx.x] = tile[threadIdx.x * 4];
}

extern "C" __global__ void copies_conflict(const float* x, float* y) {
  __shared__ __align__(128) float tile[32 * 32];
  copy_or_zero_16(shared_address(tile + threadIdx.x * 32), x + threadIdx.x * 4, true);  // BUG
  commit_copies();
  wait_for_copies<0>();
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[threadIdx.x * 32 + i];
}

extern "C" __global__ void matrices_conflict(const float* x, float* y) {
  __shared__ __align__(128) float tile[32 * 8];
  for (int i = 0; i < 8; i++) tile[threadIdx.x * 8 + i] = x[threadIdx.x];
  __syncwarp();
  unsigned r[4];
  load_matrices(r, shared_address(tile + threadIdx.x * 8));  // BUG
  y[threadIdx.x] = __uint_as_float(r[threadIdx.x / 8]);
}

extern "C" __global__ void matrices_unaligned(const float* x, float* y) {
  __shared__ __align__(128) float tile[32 * 4 + 2];
  for (int i = 0; i < 4; i++) tile[threadIdx.x * 4 + 2 + i] = x[threadIdx.x];
  __syncwarp();
  unsigned r[4];
  load_matrices(r, shared_address(tile + threadIdx.x * 4 + 2));  // BUG
  y[threadIdx.x] = __uint_as_float(r[threadIdx.x / 8]);
}

extern "C" __global__ void matrices_without_barrier(const float* x, float* y) {
  __shared__ __align__(128) float tile[32 * 4];
  for (int i = 0; i < 4; i++) tile[threadIdx.x * 4 + i] = x[threadIdx.x];  // BUG
  unsigned r[4];
  load_matrices(r, shared_address(tile + threadIdx.x * 4));  // BUG
  y[threadIdx.x] = __uint_as_float(r[threadIdx.x / 8]);
}

extern "C" __global__ void product_of_half_a_warp(const float* x, float* y) {
  if (threadIdx.x >= 16) return;
  unsigned a[4] = {0, 0, 0, 0};
  float d[4] = {x[threadIdx.x], 0, 0, 0};
  multiply_bfloat16(d, a, 0, 0);  // BUG
  y[threadIdx.x] = d[0];
}

// A warpgroup's product of ones: as bfloat16, floats of one are pairs of zero and one, so that the sums are 8.
__device__ void begin_product(float (&sums)[8][4], SharedAddress tile) {
  begin_products();
  multiply_warpgroup<false, false>(sums, matrix_view(tile, 0), matrix_view(tile, 0));
}

__device__ void begin_sums(float (&sums)[8][4], float* tile, const float* x) {
  for (int i = threadIdx.x; i < 2048; i += blockDim.x) tile[i] = x[0];
  for (int i = 0; i < 32; i++) sums[i / 4][i % 4] = 0;
  __syncthreads();
}

extern "C" __global__ void copy_into_a_product(const float* x, float* y) {
  __shared__ __align__(1024) float tile[2048];
  float sums[8][4];
  begin_sums(sums, tile, x);
  begin_product(sums, shared_address(tile));
  commit_products();
  copy_or_zero_16(shared_address(tile + threadIdx.x * 4), x, false);
  commit_copies();
  wait_for_products<0>();
  wait_for_copies<0>();
  y[threadIdx.x] = sums[0][0];
}

extern "C" __global__ void product_waits_for_too_little(const float* x, float* y) {
  __shared__ __align__(1024) float tile[2048];
  float sums[8][4];
  begin_sums(sums, tile, x);
  for (int i = 0; i < 2; i++) {
    begin_product(sums, shared_address(tile));
    commit_products();
  }
  wait_for_products<1>();
  y[threadIdx.x] = sums[0][0];
}

extern "C" __global__ void product_is_not_committed(const float* x, float* y) {
  __shared__ __align__(1024) float tile[2048];
  float sums[8][4];
  begin_sums(sums, tile, x);
  begin_product(sums, shared_address(tile));
  wait_for_products<0>();
  y[threadIdx.x] = sums[0][0];
}

extern "C" __global__ void product_of_three_warps(const float* x, float* y) {
  __shared__ __align__(1024) float tile[2048];
  float sums[8][4];
  begin_sums(sums, tile, x);
  multiply_warpgroup<false, false>(sums, matrix_view(shared_address(tile), 0), matrix_view(shared_address(tile), 0));  // BUG
  y[threadIdx.x] = sums[0][0];
}

extern "C" __global__ void view_of_unaligned(const float* x, float* y) {
  __shared__ __align__(1024) float tile[2048];
  float sums[8][4];
  begin_sums(sums, tile, x);
  const MatrixView view = matrix_view(shared_address(tile) + 8, 0);
  multiply_warpgroup<false, false>(sums, view, view);  // BUG
  y[threadIdx.x] = sums[0][0];
}
