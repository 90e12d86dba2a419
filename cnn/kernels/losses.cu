// Softmax and its loss, one warp per row; the L2 penalty.
#include "elementwise.cuh"
#include "merge.cuh"
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

// The argmax of a row of logits (the first of equal ones), in every lane. As in NumPy, NaN is the largest.
__device__ __forceinline__ int row_argmax(const float* row, int classes) {
  const auto larger = [](float a, float b) { return a > b || (a != a && b == b); };
  float best = row[0];
  int place = 0;
  for (int j = warp_lane(); j < classes; j += 32) {
    if (larger(row[j], best)) {
      best = row[j];
      place = j;
    }
  }
#pragma unroll
  for (int reach = 16; reach > 0; reach /= 2) {
    const float other = __shfl_xor_sync(kWholeWarp, best, reach);
    const int other_place = __shfl_xor_sync(kWholeWarp, place, reach);
    if (larger(other, best) || (!larger(best, other) && other_place < place)) {
      best = other;
      place = other_place;
    }
  }
  return place;
}

// The loss of this warp's row, times `weight`, and its gradient. target(class, its logit) need not sum to one over the
// classes. A class with target 0 adds nothing, even if its logit is -infinity, and so does a row of weight 0.
template <class Target>
__device__ __forceinline__ float row_loss(const float* logits, float* dlogits, int classes, float weight,
                                          Target target) {
  const float* row = logits + warp_row() * classes;
  float* out = dlogits + warp_row() * classes;
  const float largest = row_max(row, classes), sum = exp_sum(row, classes, largest), log_sum = logf(sum);
  float mass = 0.f, loss = 0.f;
  for (int j = warp_lane(); j < classes; j += 32) {
    const float t = target(j, row[j]);
    mass += t;
    if (t != 0.f) loss -= t * (row[j] - largest - log_sum);
  }
  mass = warp_sum(mass);
  loss = warp_sum(loss);
  for (int j = warp_lane(); j < classes; j += 32) {
    out[j] = weight == 0.f ? 0.f : weight * (expf(row[j] - largest) / sum * mass - target(j, row[j]));
  }
  return weight == 0.f ? 0.f : weight * loss;
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

// loss () and, if given, totals (3,) in place: += loss * counted rows, correct rows, counted rows. They are of row_losses
// (rows,) and outcomes (rows,): 1 for a correct row, 0 for another, 2 for one that does not count. The last block adds
// them up, in double precision and a fixed order; one counter. Called by all blocks.
__device__ __forceinline__ void add_rows(const float* row_losses, const unsigned char* outcomes, float* loss,
                                         double* totals, unsigned* counters, int rows) {
  if (!arrives_last(counters, gridDim.x)) return;
  double sum = 0.0, found = 0.0, all = 0.0;
  for (int row = threadIdx.x; row < rows; row += 256) {
    const unsigned char outcome = __ldcg(outcomes + row);
    sum += __ldcg(row_losses + row);
    found += outcome == 1;
    all += outcome != 2;
  }
  sum = block_sum<256, 0>(sum);
  found = block_sum<256, 1>(found);
  all = block_sum<256, 2>(all);
  if (threadIdx.x != 0) return;
  loss[0] = static_cast<float>(sum);
  if (totals) {
    totals[0] += sum * all;
    totals[1] += found;
    totals[2] += all;
  }
}

// `cross_entropy` below, expected for labels drawn from targets (rows, classes), which need not sum to one: class j weighs
// (1 - smoothing) * targets[j] * class_weights[j] and smoothing / classes times the sum of all targets * class_weights. A
// row is correct if its argmax is that of its targets. row_losses, outcomes and totals are as in add_rows.
__global__ void __launch_bounds__(256, 4)  // without the 4 the compiler uses fewer registers and spills
    soft_cross_entropy(const float* __restrict__ logits, const float* __restrict__ targets,
                       const float* __restrict__ class_weights, float* row_losses, unsigned char* outcomes,
                       float* __restrict__ dlogits, float* loss, double* totals, unsigned* counters, int rows,
                       int classes, float smoothing) {
  if (warp_row() < rows) {
    const float* target = targets + warp_row() * classes;
    float all = 0.f;
    for (int j = warp_lane(); j < classes; j += 32) all += target[j] * class_weights[j];
    const float even = smoothing / static_cast<float>(classes) * warp_sum(all);
    const float row = row_loss(logits, dlogits, classes, 1.f / static_cast<float>(rows), [=](int j, float logit) {
      const bool masked = logit < -kLargestFloat && target[j] == 0.f;
      return masked ? 0.f : (1.f - smoothing) * target[j] * class_weights[j] + even;
    });
    const int best = row_argmax(logits + warp_row() * classes, classes), shown = row_argmax(target, classes);
    if (warp_lane() == 0) row_losses[warp_row()] = row, outcomes[warp_row()] = best == shown;
  }
  add_rows(row_losses, outcomes, loss, totals, counters, rows);
}

// Of a row in `cross_entropy`, in lane 0 of its warp: its part of the mean loss, and 1 if the argmax is the label, 0 if it is
// not, 2 if the row does not count.
struct RowOutcome {
  float loss;
  unsigned char outcome;
};

__device__ __forceinline__ RowOutcome labelled_row(const float* __restrict__ logits,
                                                   const long long* __restrict__ labels,
                                                   const float* __restrict__ class_weights,
                                                   float* __restrict__ dlogits, int counted, int classes,
                                                   float smoothing, bool ignoring, long long ignored) {
  const long long label = labels[warp_row()];
  if (ignoring && label == ignored) {
    float* out = dlogits + warp_row() * classes;
    for (int j = warp_lane(); j < classes; j += 32) out[j] = 0.f;
    return {0.f, 2};
  }
  const bool known = 0 <= label && label < classes;
  const float weight = (known ? class_weights[label] : nanf("")) / static_cast<float>(counted);
  const float other = smoothing / static_cast<float>(classes), own = 1.f - smoothing + other;
  const float loss = row_loss(logits, dlogits, classes, weight, [=](int j, float logit) {
    return j == label ? own : logit >= -kLargestFloat || logit != logit ? other : 0.f;
  });
  const int best = row_argmax(logits + warp_row() * classes, classes);
  return {loss, static_cast<unsigned char>(best == label)};
}

// loss () and dlogits (rows, classes) of logits (rows, classes), labels (rows,) and class_weights (classes,). Targets are
// 1 - smoothing + smoothing / classes at the label, smoothing / classes at the other classes, but 0 where the logit is
// -infinity. A row whose label is `ignored` does not count, nor in the number of rows that the mean divides by; a label out
// of range gives NaN. row_losses, outcomes and totals are as in add_rows.
__global__ void __launch_bounds__(256, 4)  // without the 4 the compiler uses fewer registers and spills
    cross_entropy(const float* __restrict__ logits, const long long* __restrict__ labels,
                  const float* __restrict__ class_weights, float* row_losses, unsigned char* outcomes,
                  float* __restrict__ dlogits, float* loss, double* totals, unsigned* counters, int rows, int classes,
                  float smoothing, int ignoring, long long ignored) {
  int counted = rows;
  if (ignoring) {  // every block counts all labels, which are few
    counted = 0;
    for (int i = 0; i < rows; i += 256) {
      counted += __syncthreads_count(i + static_cast<int>(threadIdx.x) < rows && labels[i + threadIdx.x] != ignored);
    }
  }
  if (warp_row() < rows) {
    const auto own = labelled_row(logits, labels, class_weights, dlogits, counted, classes, smoothing, ignoring, ignored);
    if (warp_lane() == 0) row_losses[warp_row()] = own.loss, outcomes[warp_row()] = own.outcome;
  }
  add_rows(row_losses, outcomes, loss, totals, counters, rows);
}

// --- L2 penalty ----------------------------------------------------------------------------------------------------

// partials (blocks,): coefficient times the sum of squares of each block's elements of w (count,).
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
