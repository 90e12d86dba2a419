// Batch normalisation over x (rows, c), and the sums over rows that it shares with biases and losses.
//
// What is summed over rows is summed twice: `..._sums` and `..._statistics` give a result per chunk of rows, and a
// second kernel merges the chunks in their order. The number of chunks follows from the shape alone.
#include "channels.cuh"

// --- column sums ---------------------------------------------------------------------------------------------------

template <int N>
__device__ __forceinline__ void sum_columns(const float* __restrict__ x, float* __restrict__ sums, int rows, int c) {
  const ChannelWalk<N> walk(rows, c);
  Sums<N> own{};
  walk.for_rows([&](unsigned, unsigned i) {
    const auto u = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) own.at[k] += u.at[k];
  });
  own = merge_lanes(own, walk.lanes, walk.width);
  if (!walk.first) return;
  Pack<float, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k) out.at[k] = own.at[k];
  store_pack(sums + blockIdx.y * c + walk.channel, out);
}

// sums (chunks, c) of x (rows, c), where the grid is (tiles of channels, chunks).
__global__ void __launch_bounds__(256)
    column_sums(const float* __restrict__ x, float* __restrict__ sums, int rows, int c) {
  if (by_fours(c, x, sums)) {
    sum_columns<4>(x, sums, rows, c);
  } else {
    sum_columns<1>(x, sums, rows, c);
  }
}

// --- statistics ----------------------------------------------------------------------------------------------------

// Count, mean and squared deviations from the mean, of the same rows of N channels.
template <int N>
struct Moments {
  float count, mean[N], squares[N];

  // Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
  __device__ __forceinline__ void merge(const Moments& other) {
    if (other.count == 0.f) return;
    const float total = count + other.count, share = other.count / total;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float delta = other.mean[k] - mean[k];
      mean[k] += delta * share;
      squares[k] += other.squares[k] + delta * delta * (count * share);
    }
    count = total;
  }
};

// Of ROWS values per channel, in two walks over registers.
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
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) squares += (values[i].at[k] - mean) * (values[i].at[k] - mean);
    result.mean[k] = mean;
    result.squares[k] = squares;
  }
  return result;
}

// The thread's next ROWS rows from `row` on, each less `shift`.
template <int ROWS, int N>
__device__ __forceinline__ Moments<N> moments_of_rows(const float* __restrict__ x, const ChannelWalk<N>& walk,
                                                      unsigned row, const Pack<float, N>& shift) {
  Pack<float, N> values[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    values[i] = load_pack<N>(x + (row + i * walk.lanes) * walk.c + walk.channel);
#pragma unroll
    for (int k = 0; k < N; ++k) values[i].at[k] -= shift.at[k];
  }
  return moments_of(values);
}

template <int N>
__device__ __forceinline__ void chunk_statistics(const float* __restrict__ x, float* __restrict__ means,
                                                 float* __restrict__ squares, int rows, int c) {
  constexpr int kRows = 8;  // at a time: loads in flight, and one division for all of them
  const ChannelWalk<N> walk(rows, c);
  Moments<N> own{};
  if (walk.active) {
    const auto shift = load_pack<N>(x + walk.channel);
    unsigned row = walk.row;
    for (; row + (kRows - 1) * walk.lanes < walk.end; row += kRows * walk.lanes) {
      own.merge(moments_of_rows<kRows>(x, walk, row, shift));
    }
    for (; row < walk.end; row += walk.lanes) own.merge(moments_of_rows<1>(x, walk, row, shift));
  }
  own = merge_lanes(own, walk.lanes, walk.width);
  if (!walk.first) return;
  Pack<float, N> mean_out, squares_out;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    mean_out.at[k] = own.mean[k];
    squares_out.at[k] = own.squares[k];
  }
  store_pack(means + blockIdx.y * c + walk.channel, mean_out);
  store_pack(squares + blockIdx.y * c + walk.channel, squares_out);
}

// means and squares (chunks, c) of x (rows, c), in one walk: a chunk's mean less the channel's first value x[0], and
// its squared deviations from its mean. Less the first value, since a mean that is large next to the deviation would
// leave too few digits for it. The grid is (tiles of channels, chunks).
__global__ void __launch_bounds__(256)
    batch_norm_statistics(const float* __restrict__ x, float* __restrict__ means, float* __restrict__ squares, int rows,
                          int c) {
  if (by_fours(c, x, means, squares)) {
    chunk_statistics<4>(x, means, squares, rows, c);
  } else {
    chunk_statistics<1>(x, means, squares, rows, c);
  }
}

// The chunks' results of `batch_norm_statistics` to mean (c,) and biased variance (c,) of x (rows, c).
__global__ void __launch_bounds__(256)
    batch_norm_merge(const float* __restrict__ x, const float* __restrict__ means, const float* __restrict__ squares,
                     float* __restrict__ mean, float* __restrict__ variance, int rows, int c, int chunks) {
  const ChannelWalk<1> walk(chunks, c);
  Moments<1> own{};
  walk.for_rows([&](unsigned chunk, unsigned i) {
    const Rows part = chunk_of_rows(rows, chunk, chunks);
    own.merge(Moments<1>{static_cast<float>(part.end - part.begin), {means[i]}, {squares[i]}});
  });
  own = merge_lanes(own, walk.lanes, walk.width);
  if (!walk.first) return;
  mean[walk.channel] = x[walk.channel] + own.mean[0];
  variance[walk.channel] = own.squares[0] / static_cast<float>(rows);
}

// --- forward -------------------------------------------------------------------------------------------------------

template <int N>
__device__ __forceinline__ void normalize(const float* __restrict__ x, const float* __restrict__ gamma,
                                          const float* __restrict__ beta, const float* __restrict__ mean,
                                          const float* __restrict__ variance, float* __restrict__ y, int rows, int c,
                                          float eps, bool relu) {
  const ChannelWalk<N> walk(rows, c);
  if (!walk.active) return;
  Pack<float, N> scale = load_pack<N>(gamma + walk.channel);
  const auto level = load_pack<N>(beta + walk.channel), centre = load_pack<N>(mean + walk.channel),
             spread = load_pack<N>(variance + walk.channel);
#pragma unroll
  for (int k = 0; k < N; ++k) scale.at[k] /= sqrtf(spread.at[k] + eps);
  walk.for_rows([&](unsigned, unsigned i) {
    auto v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      // Subtract first: folding the mean into the offset would cancel badly where mean >> deviation.
      const float result = (v.at[k] - centre.at[k]) * scale.at[k] + level.at[k];
      v.at[k] = relu && result < 0.f ? 0.f : result;  // a NaN stays one
    }
    store_pack(y + i, v);
  });
}

// y (rows, c) of x (rows, c) by gamma, beta, mean, variance (c,): (x - mean) / sqrt(variance + eps) * gamma + beta,
// then ReLU if asked for.
__global__ void __launch_bounds__(256)
    batch_norm_inference(const float* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
                         const float* __restrict__ mean, const float* __restrict__ variance, float* __restrict__ y,
                         int rows, int c, float eps, int relu) {
  if (by_fours(c, x, gamma, beta, mean, variance, y)) {
    normalize<4>(x, gamma, beta, mean, variance, y, rows, c, eps, relu != 0);
  } else {
    normalize<1>(x, gamma, beta, mean, variance, y, rows, c, eps, relu != 0);
  }
}

// --- backward ------------------------------------------------------------------------------------------------------

// The gradients at index i; with y, the output of a ReLU, only those where it is positive.
template <int N>
__device__ __forceinline__ Pack<float, N> counted_gradient(const float* __restrict__ dy, const float* __restrict__ y,
                                                           unsigned i) {
  auto g = load_pack<N>(dy + i);
  if (y) {
    const auto out = load_pack<N>(y + i);
#pragma unroll
    for (int k = 0; k < N; ++k) g.at[k] = out.at[k] > 0.f ? g.at[k] : 0.f;
  }
  return g;
}

template <int N>
__device__ __forceinline__ void sum_gradients(const float* __restrict__ dy, const float* __restrict__ x,
                                              const float* __restrict__ y, const float* __restrict__ mean,
                                              const float* __restrict__ variance, float* __restrict__ sums, int rows,
                                              int c, float eps) {
  const ChannelWalk<N> walk(rows, c);
  Sums<2 * N> own{};  // N of beta, N of gamma
  if (walk.active) {
    const auto centre = load_pack<N>(mean + walk.channel);
    walk.for_rows([&](unsigned, unsigned i) {
      const auto g = counted_gradient<N>(dy, y, i), u = load_pack<N>(x + i);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        own.at[k] += g.at[k];
        own.at[N + k] += g.at[k] * (u.at[k] - centre.at[k]);
      }
    });
  }
  own = merge_lanes(own, walk.lanes, walk.width);
  if (!walk.first) return;
  const auto spread = load_pack<N>(variance + walk.channel);
  Pack<float, N> dbeta, dgamma;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    dbeta.at[k] = own.at[k];
    dgamma.at[k] = own.at[N + k] / sqrtf(spread.at[k] + eps);
  }
  store_pack(sums + blockIdx.y * 2 * c + walk.channel, dbeta);
  store_pack(sums + (blockIdx.y * 2 + 1) * c + walk.channel, dgamma);
}

// sums (chunks, 2, c): dbeta and dgamma of each chunk of dy, x (rows, c). y (rows, c), if given, is the output of the
// forward pass with ReLU. The grid is (tiles of channels, chunks).
__global__ void __launch_bounds__(256)
    batch_norm_backward_sums(const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ y,
                             const float* __restrict__ mean, const float* __restrict__ variance,
                             float* __restrict__ sums, int rows, int c, float eps) {
  if (by_fours(c, dy, x, y, mean, variance, sums)) {
    sum_gradients<4>(dy, x, y, mean, variance, sums, rows, c, eps);
  } else {
    sum_gradients<1>(dy, x, y, mean, variance, sums, rows, c, eps);
  }
}

template <int N>
__device__ __forceinline__ void input_gradient(const float* __restrict__ dy, const float* __restrict__ x,
                                               const float* __restrict__ y, const float* __restrict__ gamma,
                                               const float* __restrict__ mean, const float* __restrict__ variance,
                                               const float* __restrict__ dgamma, const float* __restrict__ dbeta,
                                               float* __restrict__ dx, int rows, int c, float eps) {
  const ChannelWalk<N> walk(rows, c);
  if (!walk.active) return;
  // dx = gamma / std * (dy - mean(dy) - normalised * mean(dy * normalised)), as three factors per channel.
  const auto centre = load_pack<N>(mean + walk.channel);
  Pack<float, N> scale = load_pack<N>(gamma + walk.channel), slope = load_pack<N>(dgamma + walk.channel),
                 level = load_pack<N>(dbeta + walk.channel);
  const auto spread = load_pack<N>(variance + walk.channel);
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const float inverse = 1.f / sqrtf(spread.at[k] + eps);
    scale.at[k] *= inverse;
    slope.at[k] *= -scale.at[k] * inverse / static_cast<float>(rows);
    level.at[k] *= -scale.at[k] / static_cast<float>(rows);
  }
  walk.for_rows([&](unsigned, unsigned i) {
    const auto g = counted_gradient<N>(dy, y, i);
    auto v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      v.at[k] = (v.at[k] - centre.at[k]) * slope.at[k] + level.at[k] + g.at[k] * scale.at[k];
    }
    store_pack(dx + i, v);
  });
}

// dx (rows, c) of dy, x (rows, c) and the finished dgamma, dbeta (c,). y as in `batch_norm_backward_sums`.
__global__ void __launch_bounds__(256)
    batch_norm_backward_input(const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ y,
                              const float* __restrict__ gamma, const float* __restrict__ mean,
                              const float* __restrict__ variance, const float* __restrict__ dgamma,
                              const float* __restrict__ dbeta, float* __restrict__ dx, int rows, int c, float eps) {
  if (by_fours(c, dy, x, y, gamma, mean, variance, dgamma, dbeta, dx)) {
    input_gradient<4>(dy, x, y, gamma, mean, variance, dgamma, dbeta, dx, rows, c, eps);
  } else {
    input_gradient<1>(dy, x, y, gamma, mean, variance, dgamma, dbeta, dx, rows, c, eps);
  }
}

// --- running statistics --------------------------------------------------------------------------------------------

// In place: running = momentum * running + rest * current, both (count,), where rest is 1 - momentum.
__global__ void __launch_bounds__(256)
    running_average(float* running, const float* current, float momentum, float rest, int count) {
  for (unsigned i = grid_thread(); i < count; i += grid_threads()) {
    running[i] = momentum * running[i] + rest * current[i];
  }
}
