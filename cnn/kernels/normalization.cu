// Statistics of x (rows, c) per channel, and sums over rows, which biases and gradients use.
//
// Each block has a chunk of the rows; the number of chunks depends only on the shape, and blocks merge them in their order.
#include "channels.cuh"
#include "moments.cuh"

// --- column sums -----------------------------------------------------------------------------------------------------

template <int N, class T>
__device__ __forceinline__ void sum_columns(const T* __restrict__ x, float* sums, float* parts, unsigned* counters,
                                            int rows, int c) {
  const ChannelWalk<N> walk(rows, c);
  LongSums<N> own;
  walk.for_rows([&](unsigned, unsigned i) {
    const auto u = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) own.add(k, u.at[k]);
  });
  finish_sums<1>(walk, merge_lanes(own.totals(), walk.lanes, walk.width), {sums}, parts, counters);
}

// sums (c,) of x (rows, c). The grid is (tiles of channels, chunks of rows). With several chunks there are parts
// (chunks, c), and counters for all blocks.
template <class T>
__global__ void __launch_bounds__(256)
    column_sums(const T* __restrict__ x, float* sums, float* parts, unsigned* counters, int rows, int c) {
  if (by_fours(c, x)) {
    sum_columns<4>(x, sums, parts, counters, rows, c);
  } else {
    sum_columns<1>(x, sums, parts, counters, rows, c);
  }
}

// --- moments ---------------------------------------------------------------------------------------------------------

// Of ROWS values per channel, in two passes over registers.
template <int N, int ROWS>
__device__ __forceinline__ Moments<N> moments_of(const Pack<float, N> (&values)[ROWS]) {
  Moments<N> result;
  result.count = ROWS;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    float sum = values[0].at[k];
#pragma unroll
    for (int i = 1; i < ROWS; ++i) sum += values[i].at[k];
    const float mean = sum * (1.f / ROWS);
    float variance = 0.f;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      const float deviation = values[i].at[k] - mean;
      variance += deviation * (1.f / ROWS) * deviation;
    }
    result.mean[k] = mean;
    result.variance[k] = variance;
  }
  return result;
}

// The thread's next ROWS rows from `row` on, each minus `shift`.
template <int ROWS, int N, class T>
__device__ __forceinline__ Moments<N> moments_of_rows(const T* __restrict__ x, const ChannelWalk<N>& walk, unsigned row,
                                                      const Pack<float, N>& shift) {
  Pack<float, N> values[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    values[i] = load_pack<N>(x + (row + i * walk.lanes) * walk.c + walk.channel);
#pragma unroll
    for (int k = 0; k < N; ++k) values[i].at[k] -= shift.at[k];
  }
  return moments_of(values);
}

template <int N, class T>
__device__ __forceinline__ void moments_of_channels(const T* __restrict__ x, float* result, float* parts,
                                                    unsigned* counters, int rows, int c) {
  constexpr int kRows = 8;  // rows at a time: their loads overlap, and they share one division
  const ChannelWalk<N> walk(rows, c);
  Moments<N> own{};
  Pack<float, N> shift{};
  if (walk.active) {
    shift = load_pack<N>(x + walk.channel);
    unsigned row = walk.row;
    for (; row + (kRows - 1) * walk.lanes < walk.end; row += kRows * walk.lanes) {
      own.merge(moments_of_rows<kRows>(x, walk, row, shift));
    }
    for (; row < walk.end; row += walk.lanes) own.merge(moments_of_rows<1>(x, walk, row, shift));
  }
  own = merge_lanes(own, walk.lanes, walk.width);
  const auto place = [&](unsigned chunk) { return parts + chunk * 2 * c + walk.channel; };
  const bool all = merge_blocks<kMergedChunks>(
      blockIdx.y, gridDim.y, counters + blockIdx.x * gridDim.y,
      [&](unsigned chunk) {
        if (!walk.first) return;
        Pack<float, N> mean, variance;
#pragma unroll
        for (int k = 0; k < N; ++k) mean.at[k] = own.mean[k], variance.at[k] = own.variance[k];
        store_pack(place(chunk), mean);
        store_pack(place(chunk) + c, variance);
      },
      [&](unsigned first, unsigned step, unsigned members) {
        if (!walk.first) return;
        own = {};
#pragma unroll 4
        for (unsigned member = 0; member < members; ++member) {
          const unsigned chunk = first + member * step;
          const auto mean = merged_load<N>(place(chunk)), variance = merged_load<N>(place(chunk) + c);
          Moments<N> part;
          part.count = static_cast<float>(chunk_of_rows(rows, min(chunk + step, gridDim.y) - 1, gridDim.y).end -
                                          chunk_of_rows(rows, chunk, gridDim.y).begin);
#pragma unroll
          for (int k = 0; k < N; ++k) part.mean[k] = mean.at[k], part.variance[k] = variance.at[k];
          own.merge(part);
        }
      });
  if (!all || !walk.first) return;
  Pack<float, N> mean, variance;
#pragma unroll
  for (int k = 0; k < N; ++k) mean.at[k] = shift.at[k] + own.mean[k], variance.at[k] = own.variance[k];
  store_floats(result + walk.channel, mean);
  store_floats(result + c + walk.channel, variance);
}

// result (2, c): mean and biased variance of x (rows, c) in one pass. The channel's first value x[0] is subtracted from all
// values, because a mean much larger than the deviation would cost it its digits. A variance too large for a float is
// infinite. The grid is (tiles of channels, chunks of rows). With several chunks there are parts (chunks, 2, c), and
// counters for all blocks.
template <class T>
__global__ void __launch_bounds__(256)
    moments(const T* __restrict__ x, float* result, float* parts, unsigned* counters, int rows, int c) {
  if (by_fours(c, x)) {
    moments_of_channels<4>(x, result, parts, counters, rows, c);
  } else {
    moments_of_channels<1>(x, result, parts, counters, rows, c);
  }
}

// --- running statistics ----------------------------------------------------------------------------------------------

// In place: running = momentum * running + one_minus_momentum * current, both (count,).
__global__ void __launch_bounds__(256)
    running_average(float* running, const float* current, float momentum, float one_minus_momentum, int count) {
  for (unsigned i = grid_thread(); i < count; i += grid_threads()) {
    running[i] = momentum * running[i] + one_minus_momentum * current[i];
  }
}
