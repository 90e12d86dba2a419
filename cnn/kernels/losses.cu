// Softmax and its loss, a warp to a row; the L2 penalty; the count of right answers.
#include "elementwise.cuh"
#include "reduce.cuh"

// --- rows of logits: blocks of eight warps -------------------------------------------------------------------------

__device__ __forceinline__ int warp_row() { return blockIdx.x * 8 + threadIdx.x / 32; }
__device__ __forceinline__ int warp_lane() { return threadIdx.x % 32; }

// The largest of a row's `classes` logits, so that no exponential overflows.
__device__ __forceinline__ float row_max(const float* row, int classes) {
  float largest = row[0];
  for (int j = warp_lane(); j < classes; j += 32) largest = fmaxf(largest, row[j]);
  return warp_max(largest);
}

__device__ __forceinline__ float exp_sum(const float* row, int classes, float largest) {
  float sum = 0.f;
  for (int j = warp_lane(); j < classes; j += 32) sum += expf(row[j] - largest);
  return warp_sum(sum);
}

// y (rows, classes): the softmax of each row of logits (rows, classes).
__global__ void __launch_bounds__(256)
    softmax(const float* __restrict__ logits, float* __restrict__ y, int rows, int classes) {
  if (warp_row() >= rows) return;
  const float* row = logits + warp_row() * classes;
  const float largest = row_max(row, classes), sum = exp_sum(row, classes, largest);
  float* out = y + warp_row() * classes;
  for (int j = warp_lane(); j < classes; j += 32) out[j] = expf(row[j] - largest) / sum;
}

// row_losses (rows,) and dlogits (rows, classes) of logits, targets (rows, classes) and weights (rows,). A row counts
// weight / rows in the mean over the batch.
__global__ void __launch_bounds__(256)
    softmax_cross_entropy(const float* __restrict__ logits, const float* __restrict__ targets,
                          const float* __restrict__ weights, float* __restrict__ row_losses,
                          float* __restrict__ dlogits, int rows, int classes) {
  if (warp_row() >= rows) return;
  const float* row = logits + warp_row() * classes;
  const float* target = targets + warp_row() * classes;
  float* out = dlogits + warp_row() * classes;
  const float largest = row_max(row, classes), sum = exp_sum(row, classes, largest), log_sum = logf(sum);
  const float share = weights[warp_row()] / static_cast<float>(rows);
  // Targets need not sum to one, so their sum stays in the gradient.
  float mass = 0.f, loss = 0.f;
  for (int j = warp_lane(); j < classes; j += 32) {
    mass += target[j];
    loss -= target[j] * (row[j] - largest - log_sum);
  }
  mass = warp_sum(mass);
  loss = warp_sum(loss);
  for (int j = warp_lane(); j < classes; j += 32) {
    out[j] = share * (expf(row[j] - largest) / sum * mass - target[j]);
  }
  if (warp_lane() == 0) row_losses[warp_row()] = share * loss;
}

// Adds to `correct` () how many rows of logits (rows, classes) have their first maximum at labels (rows,). The order of
// integer additions does not show in their sum.
__global__ void __launch_bounds__(256)
    count_correct(const float* __restrict__ logits, const long long* __restrict__ labels, int* correct, int rows,
                  int classes) {
  bool hit = false;
  if (warp_row() < rows) {
    const float* row = logits + warp_row() * classes;
    float best = row[0];
    int winner = 0;
    for (int j = warp_lane(); j < classes; j += 32) {
      if (row[j] > best) {
        best = row[j];
        winner = j;
      }
    }
#pragma unroll
    for (int reach = 16; reach > 0; reach /= 2) {
      const float other = __shfl_xor_sync(kWholeWarp, best, reach);
      const int place = __shfl_xor_sync(kWholeWarp, winner, reach);
      if (other > best || (other == best && place < winner)) {
        best = other;
        winner = place;
      }
    }
    hit = warp_lane() == 0 && winner == labels[warp_row()];
  }
  const int hits = __syncthreads_count(hit);
  if (threadIdx.x == 0 && hits > 0) atomicAdd(correct, hits);
}

// targets (count / classes, classes): `rest` everywhere, and `extra` more at the row's label.
__global__ void __launch_bounds__(256) soft_targets(const long long* __restrict__ labels, float* __restrict__ targets,
                                                    float rest, float extra, int classes, int count) {
  for (unsigned i = grid_thread(); i < count; i += grid_threads()) {
    const unsigned row = i / classes;
    targets[i] = labels[row] == i - row * classes ? rest + extra : rest;
  }
}

// --- L2 penalty ----------------------------------------------------------------------------------------------------

// partials (blocks,): coefficient times the sum of squares of each block's share of w (count,).
__global__ void __launch_bounds__(256)
    l2_penalty(const float* __restrict__ w, float* __restrict__ partials, float coefficient, int count) {
  float sum = 0.f;
  const unsigned packs = packs_at<4>(w) ? count / 4 : 0;
#pragma unroll 4
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto v = load_pack<4>(w + i * 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += v.at[k] * v.at[k];
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) sum += w[i] * w[i];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = coefficient * sum;
}

// In place: dw += factor * w, both (count,).
__global__ void __launch_bounds__(256)
    l2_penalty_backward(const float* __restrict__ w, float* __restrict__ dw, float factor, int count) {
  const unsigned packs = packs_at<4>(w) && packs_at<4>(dw) ? count / 4 : 0;
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto u = load_pack<4>(w + i * 4);
    auto v = load_pack<4>(dw + i * 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) v.at[k] += factor * u.at[k];
    store_pack(dw + i * 4, v);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) dw[i] += factor * w[i];
}
