// Group norm (Wu & He, "Group normalization", 2018) of x (n, pixels, c): each example's groups of neighbouring channels
// are normalised over pixels and channels. With one pixel and one group it is layer norm over the channels.
//
// A warp (THREADS 32) or a block (THREADS 256) computes one group in two or three passes; only the first reads from
// memory, the others from the caches.
#include "channels.cuh"
#include "fast_divmod.cuh"

// The elements of a group that a thread visits: N neighbouring channels of a pixel at a time.
template <int N, int THREADS>
struct GroupWalk {
  bool active;        // whether there is a group for this warp or block
  int group;          // its number among all groups of all examples
  unsigned first;     // where it begins
  unsigned channel;   // its first channel
  float count;        // how many elements it has
  int packs, pixels;  // packs of N channels of a pixel, and pixels
  int c;

  __device__ __forceinline__ GroupWalk(int n, int all_pixels, int channels, int groups)
      : pixels(all_pixels), c(channels) {
    group = blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS;
    active = group < n * groups;
    const int example = group / groups, width = c / groups;
    channel = (group - example * groups) * width;
    first = static_cast<unsigned>(example) * pixels * c + channel;
    count = static_cast<float>(pixels) * width;
    packs = width / N;
  }

  // f(index of the pack's first element in x, its first channel), for each of the thread's packs.
  template <class F>
  __device__ __forceinline__ void for_packs(F f) const {
    const int lane = threadIdx.x % THREADS, pixel_step = THREADS / packs, pack_step = THREADS - pixel_step * packs;
    int pixel = lane / packs, pack = lane - pixel * packs;
    while (pixel < pixels) {
      f(first + static_cast<unsigned>(pixel) * c + pack * N, channel + pack * N);
      pixel += pixel_step;
      pack += pack_step;
      if (pack >= packs) {
        pack -= packs;
        ++pixel;
      }
    }
  }
};

// The sum over a group's threads, in each of them. SLOT numbers the sums of a kernel.
template <int THREADS, int SLOT>
__device__ __forceinline__ float group_sum(float value) {
  if constexpr (THREADS == 32) {
    return warp_sum(value);
  } else {
    return block_sum<THREADS, SLOT>(value);
  }
}

// --- forward ---------------------------------------------------------------------------------------------------------

template <int N, int THREADS, class T>
__device__ __forceinline__ void normalize_group(const T* __restrict__ x, const float* __restrict__ gamma,
                                                const float* __restrict__ beta, T* __restrict__ y,
                                                float* __restrict__ statistics, int n, int pixels, int c, int groups,
                                                float eps) {
  const GroupWalk<N, THREADS> walk(n, pixels, c, groups);
  if (!walk.active) return;
  // Minus the group's first value, because a mean much larger than the deviation would cost it its digits.
  const float shift = loaded(x[walk.first]);
  LongSum sum, squares;
  walk.for_packs([&](unsigned i, unsigned) {
    const auto v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.add(v.at[k] - shift);
  });
  const float shifted_mean = group_sum<THREADS, 0>(sum.total()) / walk.count, fraction = 1.f / walk.count;
  walk.for_packs([&](unsigned i, unsigned) {
    const auto v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float deviation = v.at[k] - shift - shifted_mean;
      squares.add(deviation * fraction * deviation);  // in this order: the square alone might overflow
    }
  });
  const float variance = group_sum<THREADS, 1>(squares.total()), mean = shift + shifted_mean;
  const float inverse = 1.f / sqrtf(variance + eps);
  walk.for_packs([&](unsigned i, unsigned channel) {
    auto v = load_pack<N>(x + i);
    const auto scale = load_pack<N>(gamma + channel), offset = load_pack<N>(beta + channel);
#pragma unroll
    for (int k = 0; k < N; ++k) v.at[k] = (v.at[k] - mean) * inverse * scale.at[k] + offset.at[k];
    store_pack(y + i, v);
  });
  if (threadIdx.x % THREADS == 0) {
    statistics[walk.group * 2] = mean;
    statistics[walk.group * 2 + 1] = variance;
  }
}

// y of x, both (n, pixels, c), by gamma and beta (c,); and statistics (n, groups, 2), mean and biased variance.
template <int THREADS, class T>
__global__ void __launch_bounds__(256)
    group_norm(const T* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
               T* __restrict__ y, float* __restrict__ statistics, int n, int pixels, int c, int groups, float eps) {
  if (by_fours(c / groups, x, gamma, beta, y)) {
    normalize_group<4, THREADS>(x, gamma, beta, y, statistics, n, pixels, c, groups, eps);
  } else {
    normalize_group<1, THREADS>(x, gamma, beta, y, statistics, n, pixels, c, groups, eps);
  }
}

// --- backward --------------------------------------------------------------------------------------------------------

template <int N, int THREADS, class T>
__device__ __forceinline__ void group_input_gradient(const T* __restrict__ dy, const T* __restrict__ x,
                                                     const float* __restrict__ gamma,
                                                     const float* __restrict__ statistics, T* __restrict__ dx, int n,
                                                     int pixels, int c, int groups, float eps) {
  const GroupWalk<N, THREADS> walk(n, pixels, c, groups);
  if (!walk.active) return;
  const float mean = statistics[walk.group * 2], inverse = 1.f / sqrtf(statistics[walk.group * 2 + 1] + eps);
  LongSum plain, weighted;
  walk.for_packs([&](unsigned i, unsigned channel) {
    const auto g = load_pack<N>(dy + i), v = load_pack<N>(x + i), scale = load_pack<N>(gamma + channel);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float given = g.at[k] * scale.at[k];
      plain.add(given);
      weighted.add(given * ((v.at[k] - mean) * inverse));
    }
  });
  const float mean_dy = group_sum<THREADS, 0>(plain.total()) / walk.count;
  const float mean_dy_xhat = group_sum<THREADS, 1>(weighted.total()) / walk.count;
  walk.for_packs([&](unsigned i, unsigned channel) {
    auto g = load_pack<N>(dy + i);
    const auto v = load_pack<N>(x + i), scale = load_pack<N>(gamma + channel);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      g.at[k] = (g.at[k] * scale.at[k] - mean_dy - (v.at[k] - mean) * inverse * mean_dy_xhat) * inverse;
    }
    store_pack(dx + i, g);
  });
}

// dx of dy and x, all (n, pixels, c), with the forward pass's statistics.
template <int THREADS, class T>
__global__ void __launch_bounds__(256)
    group_norm_backward_input(const T* __restrict__ dy, const T* __restrict__ x, const float* __restrict__ gamma,
                              const float* __restrict__ statistics, T* __restrict__ dx, int n, int pixels, int c,
                              int groups, float eps) {
  if (by_fours(c / groups, dy, x, gamma, dx)) {
    group_input_gradient<4, THREADS>(dy, x, gamma, statistics, dx, n, pixels, c, groups, eps);
  } else {
    group_input_gradient<1, THREADS>(dy, x, gamma, statistics, dx, n, pixels, c, groups, eps);
  }
}

template <int N, class T>
__device__ __forceinline__ void sum_group_gradients(const T* __restrict__ dy, const T* __restrict__ x,
                                                    const float* __restrict__ statistics, float* dgamma, float* dbeta,
                                                    float* parts, unsigned* counters, int rows, int c,
                                                    const FastDivmod& pixels, int groups, float eps) {
  const ChannelWalk<N> walk(rows, c);
  LongSums<2 * N> own;  // N of gamma, N of beta
  const unsigned group = walk.channel / (c / groups);
  walk.for_rows([&](unsigned row, unsigned i) {
    const float* own_statistics = statistics + (pixels.quotient(row) * groups + group) * 2;
    const float mean = own_statistics[0], inverse = 1.f / sqrtf(own_statistics[1] + eps);
    const auto g = load_pack<N>(dy + i), v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      own.add(k, g.at[k] * ((v.at[k] - mean) * inverse));
      own.add(N + k, g.at[k]);
    }
  });
  finish_sums<2>(walk, merge_lanes(own.totals(), walk.lanes, walk.width), {dgamma, dbeta}, parts, counters);
}

// dgamma and dbeta (c,) of dy and x (rows, c). An example has `pixels` rows. The grid is (tiles of channels, chunks of
// rows). With several chunks there are parts (chunks, 2, c), and counters for all blocks.
template <class T>
__global__ void __launch_bounds__(256)
    group_norm_backward_sums(const T* __restrict__ dy, const T* __restrict__ x, const float* __restrict__ statistics,
                             float* dgamma, float* dbeta, float* parts, unsigned* counters, int rows, int c,
                             FastDivmod pixels, int groups, float eps) {
  if (c / groups % 4 == 0 && by_fours(c, dy, x)) {
    sum_group_gradients<4>(dy, x, statistics, dgamma, dbeta, parts, counters, rows, c, pixels, groups, eps);
  } else {
    sum_group_gradients<1>(dy, x, statistics, dgamma, dbeta, parts, counters, rows, c, pixels, groups, eps);
  }
}
