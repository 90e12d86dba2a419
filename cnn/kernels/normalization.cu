// Statistics of x (rows, c) per channel, and sums over rows, which biases and gradients use.
//
// Sums over rows take two kernels: `moments` and the `..._sums` give a result for each chunk of rows, and a second
// kernel merges the chunks in their order. The number of chunks depends only on the shape.
#include "channels.cuh"

// --- column sums -----------------------------------------------------------------------------------------------------

template <int N, class T>
__device__ __forceinline__ void sum_columns(const T* __restrict__ x, float* __restrict__ sums, float* __restrict__ more,
                                            int rows, int c) {
  const ChannelWalk<N> walk(rows, c);
  LongSums<N> own;
  walk.for_rows([&](unsigned, unsigned i) {
    const auto u = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) own.add(k, u.at[k]);
  });
  const auto total = merge_lanes(own.totals(), walk.lanes, walk.width);
  if (!walk.first) return;
  const unsigned half = more ? c / 2 : c;
  float* out = walk.channel < half ? sums + walk.channel : more + (walk.channel - half);
  store_pack(out + blockIdx.y * half, total.pack());
}

// sums (chunks, c) of x (rows, c), where the grid is (tiles of channels, chunks). With `more` the second half of the
// channels is written there: then both are (chunks, c / 2).
template <class T>
__global__ void __launch_bounds__(256) column_sums(const T* __restrict__ x, float* __restrict__ sums,
                                                   float* __restrict__ more, int rows, int c) {
  if (by_fours(more ? c / 2 : c, x, sums, more)) {
    sum_columns<4>(x, sums, more, rows, c);
  } else {
    sum_columns<1>(x, sums, more, rows, c);
  }
}

// --- moments ---------------------------------------------------------------------------------------------------------

// Count, mean and variance of some rows of N channels. The variance instead of the sum of squares, which overflows
// earlier.
template <int N>
struct Moments {
  float count, mean[N], variance[N];

  // Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
  __device__ __forceinline__ void merge(const Moments& other) {
    if (other.count == 0.f) return;
    const float total = count + other.count, weight = count / total, other_weight = other.count / total;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float delta = other.mean[k] - mean[k], step = delta * other_weight;
      mean[k] += step;
      variance[k] = variance[k] * weight + other.variance[k] * other_weight + step * (delta * weight);
    }
    count = total;
  }
};

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
__device__ __forceinline__ void moments_of_chunk(const T* __restrict__ x, float* __restrict__ means,
                                                 float* __restrict__ variances, int rows, int c) {
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
  if (!walk.first) return;
  Pack<float, N> mean, variance;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    mean.at[k] = gridDim.y == 1 ? shift.at[k] + own.mean[k] : own.mean[k];
    variance.at[k] = own.variance[k];
  }
  store_pack(means + blockIdx.y * c + walk.channel, mean);
  store_pack(variances + blockIdx.y * c + walk.channel, variance);
}

// Mean and biased variance of x (rows, c) in one pass: means and variances (chunks, c) of each chunk of rows. The
// channel's first value x[0] is subtracted from all values, because a mean much larger than the deviation would cost it
// its digits; with several chunks `merge_moments` adds it to the means again. A variance too large for a float is
// infinite. The grid is (tiles of channels, chunks).
template <class T>
__global__ void __launch_bounds__(256)
    moments(const T* __restrict__ x, float* __restrict__ means, float* __restrict__ variances, int rows, int c) {
  if (by_fours(c, x, means, variances)) {
    moments_of_chunk<4>(x, means, variances, rows, c);
  } else {
    moments_of_chunk<1>(x, means, variances, rows, c);
  }
}

template <int N, class T>
__device__ __forceinline__ void merge_chunks(const T* __restrict__ x, const float* __restrict__ means,
                                             const float* __restrict__ variances, float* __restrict__ result, int rows,
                                             int c, int chunks) {
  constexpr int kChunks = 4;  // at a time: their loads overlap
  const ChannelWalk<N> walk(chunks, c);
  Moments<N> own{};
  for (unsigned first = walk.row; first < walk.end; first += kChunks * walk.lanes) {
    Pack<float, N> mean[kChunks], variance[kChunks];
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const unsigned chunk = first + i * walk.lanes;
      if (chunk >= walk.end) continue;
      mean[i] = load_pack<N>(means + chunk * c + walk.channel);
      variance[i] = load_pack<N>(variances + chunk * c + walk.channel);
    }
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const unsigned chunk = first + i * walk.lanes;
      if (chunk >= walk.end) continue;
      const Rows part = chunk_of_rows(rows, chunk, chunks);
      Moments<N> other;
      other.count = static_cast<float>(part.end - part.begin);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        other.mean[k] = mean[i].at[k];
        other.variance[k] = variance[i].at[k];
      }
      own.merge(other);
    }
  }
  own = merge_lanes(own, walk.lanes, walk.width);
  if (!walk.first) return;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    result[walk.channel + k] = loaded(x[walk.channel + k]) + own.mean[k];
    result[c + walk.channel + k] = own.variance[k];
  }
}

// Merges the chunks of `moments` into result (2, c), mean and variance of x (rows, c). The grid is tiles of channels.
template <class T>
__global__ void __launch_bounds__(256)
    merge_moments(const T* __restrict__ x, const float* __restrict__ means, const float* __restrict__ variances,
                  float* __restrict__ result, int rows, int c, int chunks) {
  if (by_fours(c, means, variances)) {
    merge_chunks<4>(x, means, variances, result, rows, c, chunks);
  } else {
    merge_chunks<1>(x, means, variances, result, rows, c, chunks);
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
