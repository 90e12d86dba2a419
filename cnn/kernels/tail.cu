// The tail of a block in one memory pass: normalisation per channel and what follows it, pixel by pixel.
//
// The stages of a tail, each of which but the first may be absent: normalisation, ReLU, dropout, the maximum of 2 x 2
// pixels, the sum with another branch, ReLU, dropout. The backward passes read the tail's input and the gradient of
// its output only: masks and maxima are computed again, by the same expressions as in the forward pass.
//
// Kernels with DROPOUT take more registers; without it stages have none. Rows are pixels of the output. With POOL a row is a window of four pixels of the input, which has twice as many rows
// and columns as the output; a tap is one of the four, row by row.
#include "channels.cuh"
#include "fast_divmod.cuh"
#include "philox.cuh"

// What follows the normalisation. Field order as in structs.py.
struct TailStages {
  FastDivmod columns;  // of the pooled image, with POOL
  int relu, dropout;   // sums of places in the tail; dropout has one place at most
  unsigned threshold, seed_low, seed_high, stream;
  float scale;  // of elements that dropout keeps
};

// Places in the tail: before maximum and sum, or behind them.
constexpr int kBefore = 1, kBehind = 2;

// Channels of a thread: 16 bytes, or four where more values of a channel are in registers.
template <class T>
constexpr int kWide = 16 / sizeof(T);
constexpr int kNarrow = 4;

// Blocks of a multiprocessor in the pass that computes dx of eight channels at a time: from compute capability 10.0 on
// the compiler needs more registers than three leave.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kInputBlocks = 2;
#else
constexpr int kInputBlocks = 3;
#endif

// --- values of a row -------------------------------------------------------------------------------------------------

// The pixel of tap `tap` of row `row`.
template <bool POOL>
__device__ __forceinline__ unsigned pixel_of(unsigned row, int tap, const FastDivmod& columns) {
  if (!POOL) return row;
  const unsigned width = columns.divisor, line = columns.quotient(static_cast<int>(row));
  return 2 * (row + line * width) + tap % 2 + tap / 2 * 2 * width;
}

// The normalisation of a thread's channels.
template <int N>
struct Affine {
  Pack<float, N> mean, scale, offset;

  // `beta` may be null, which is 0.
  __device__ __forceinline__ Affine(const float* gamma, const float* beta, const float* moments, unsigned channel,
                                    int c, float eps)
      : mean(load_floats<N>(moments + channel)), scale(load_floats<N>(gamma + channel)), offset{} {
    if (beta) offset = load_floats<N>(beta + channel);
    const auto variance = load_floats<N>(moments + c + channel);
#pragma unroll
    for (int k = 0; k < N; ++k) scale.at[k] /= sqrtf(variance.at[k] + eps);
  }

  // The mean is subtracted first, because with the mean in the offset digits cancel if mean >> deviation. An explicit
  // fmaf, so that the value has the same bits in all passes.
  __device__ __forceinline__ float operator()(int k, float x) const {
    return fmaf(x - mean.at[k], scale.at[k], offset.at[k]);
  }
};

// ReLU of v; NaN stays NaN.
__device__ __forceinline__ float rectified(float v) { return v < 0.f ? 0.f : v; }

template <int N>
__device__ __forceinline__ void rectify(Pack<float, N>& v) {
#pragma unroll
  for (int k = 0; k < N; ++k) v.at[k] = rectified(v.at[k]);
}

// Which of the elements first, ..., first + N - 1 dropout keeps, as bits. N divides `first`.
template <int N>
__device__ __forceinline__ unsigned kept_by(const TailStages& stages, const long long* clock, unsigned first) {
  const RandomKey key(stages.seed_low, stages.seed_high, stages.stream, clock[0]);
  const uint4 words = random_words(key, first / 8);
  const unsigned begin = N == 8 ? 0 : first % 8;
  unsigned kept = 0;
#pragma unroll
  for (int k = 0; k < N; ++k) kept |= (random_half(words, begin + k) >= stages.threshold ? 1u : 0u) << k;
  return kept;
}

// v * scale where its bit is set, else 0.
template <int N>
__device__ __forceinline__ void drop(Pack<float, N>& v, unsigned kept, float scale) {
#pragma unroll
  for (int k = 0; k < N; ++k) v.at[k] = kept >> k & 1u ? v.at[k] * scale : 0.f;
}

// A row's values before maximum and sum, and what dropout there keeps. A gradient needs no ReLU in them: with it, it is 0
// wherever the maximum is not positive, and a positive one is the same.
template <int N, int TAPS, bool DROPOUT, bool FORWARD>
struct RowValues {
  Pack<float, N> at[TAPS];
  unsigned kept[TAPS];  // bits of channels

  template <class T>
  __device__ __forceinline__ RowValues(const Stored<T, N> (&x)[TAPS], const Affine<N>& affine, const TailStages& stages,
                                       const long long* clock, unsigned row, unsigned c, unsigned channel) {
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
#pragma unroll
      for (int k = 0; k < N; ++k) at[tap].at[k] = affine(k, x[tap].value(k));
      kept[tap] = ~0u;
    }
    if (FORWARD && stages.relu & kBefore) {
#pragma unroll
      for (int tap = 0; tap < TAPS; ++tap) rectify(at[tap]);
    }
    if (DROPOUT && stages.dropout == kBefore) {
#pragma unroll
      for (int tap = 0; tap < TAPS; ++tap) {
        kept[tap] = kept_by<N>(stages, clock, pixel_of<(TAPS > 1)>(row, tap, stages.columns) * c + channel);
        drop(at[tap], kept[tap], stages.scale);
      }
    }
  }

  // The maximum of channel k. visit(tap) is called for each tap whose value is larger than those before it, so the last
  // call is for the argmax. NaN is the largest, but no tap is its argmax unless it is the first.
  template <class Visit>
  __device__ __forceinline__ float largest(int k, Visit visit) const {
    float largest = at[0].at[k];
#pragma unroll
    for (int tap = 1; tap < TAPS; ++tap) {
      const float v = at[tap].at[k];
      const bool larger = v > largest;
      if (larger) visit(tap);
      if (larger || v != v) largest = v;
    }
    return largest;
  }
};

// Calls visit(row, x, extra) for each row of the thread: its input pixels, and the pack of `other` (rows, c), which may
// be null unless GIVEN. Several rows at a time, so that their loads overlap; one where channels come one by one, which is
// rare. Calls finish() behind each such batch of rows.
template <int N, bool POOL, bool DROPOUT, bool GIVEN, class T, class Visit, class Finish>
__device__ __forceinline__ void for_batches(const ChannelWalk<N>& walk, const T* __restrict__ x,
                                            const T* __restrict__ other, const FastDivmod& columns, Visit visit,
                                            Finish finish) {
  constexpr int kTaps = POOL ? 4 : 1, kMost = POOL || N > 4 ? 2 : 4;
  constexpr int kRows = N == 1 ? 1 : DROPOUT ? kMost / 2 : kMost;
  for (unsigned first = walk.row; first < walk.end; first += kRows * walk.lanes) {
    Stored<T, N> pixels[kRows][kTaps], extra[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const unsigned row = first + i * walk.lanes;
      if (row >= walk.end) continue;
      const unsigned begin = pixel_of<POOL>(row, 0, columns) * walk.c + walk.channel, down = 2 * columns.divisor;
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        pixels[i][tap] = load_stored<N>(x + begin + (tap % 2 + tap / 2 * down) * walk.c);
      }
      if (GIVEN || other) extra[i] = load_stored<N>(other + row * walk.c + walk.channel);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const unsigned row = first + i * walk.lanes;
      if (row < walk.end) visit(row, pixels[i], extra[i]);
    }
    finish();
  }
}

// --- forward ---------------------------------------------------------------------------------------------------------

template <int N, bool POOL, bool DROPOUT, class T>
__device__ __forceinline__ void tail_rows(const T* __restrict__ x, const T* __restrict__ other,
                                          const float* __restrict__ gamma, const float* __restrict__ beta,
                                          const float* __restrict__ moments, const long long* __restrict__ clock,
                                          T* __restrict__ y, int rows, int c, float eps, const TailStages& stages) {
  constexpr int kTaps = POOL ? 4 : 1;
  const ChannelWalk<N> walk(rows, c);
  if (!walk.active) return;
  const Affine<N> affine(gamma, beta, moments, walk.channel, c, eps);
  for_batches<N, POOL, DROPOUT, false>(
      walk, x, other, stages.columns, [&](unsigned row, const Stored<T, N>(&pixels)[kTaps], const Stored<T, N>& extra) {
        const RowValues<N, kTaps, DROPOUT, true> values(pixels, affine, stages, clock, row, c, walk.channel);
        const unsigned out = row * c + walk.channel;
        Pack<float, N> result;
#pragma unroll
        for (int k = 0; k < N; ++k) result.at[k] = values.largest(k, [](int) {});
        if (other) {
#pragma unroll
          for (int k = 0; k < N; ++k) result.at[k] += extra.value(k);
        }
        if (stages.relu & kBehind) rectify(result);
        if (DROPOUT && stages.dropout == kBehind) drop(result, kept_by<N>(stages, clock, out), stages.scale);
        store_pack(y + out, result);
      },
      [] {});
}

// y (rows, c) of x (rows, c), or (4 * rows, c) with POOL: (x - mean) / sqrt(variance + eps) * gamma + beta by
// gamma, beta (c,) and moments (2, c), mean and variance, and then the stages. `other` (rows, c), if given, is added.
// `running` (2, c), if given, is updated: momentum * running + one_minus_momentum * moments. clock[0] is the step of
// dropout's random key. The grid is (tiles of channels, chunks of rows).
template <bool POOL, bool DROPOUT, class T>
__global__ void __launch_bounds__(256, DROPOUT ? 2 : 3)
    tail(const T* __restrict__ x, const T* __restrict__ other, const float* __restrict__ gamma,
         const float* __restrict__ beta, const float* __restrict__ moments, float* __restrict__ running,
         const long long* __restrict__ clock, T* __restrict__ y, int rows, int c, float eps, float momentum,
         float one_minus_momentum, TailStages stages) {
  if (running && blockIdx.x == 0 && blockIdx.y == 0) {
    for (int i = threadIdx.x; i < 2 * c; i += 256) {
      running[i] = momentum * running[i] + one_minus_momentum * moments[i];
    }
  }
  constexpr int kChannels = POOL ? kNarrow : kWide<T>;
  if (by_packs<kChannels>(c, x, other, y)) {
    tail_rows<kChannels, POOL, DROPOUT>(x, other, gamma, beta, moments, clock, y, rows, c, eps, stages);
  } else {
    tail_rows<1, POOL, DROPOUT>(x, other, gamma, beta, moments, clock, y, rows, c, eps, stages);
  }
}

// --- backward --------------------------------------------------------------------------------------------------------

// The gradient of a row's output before its last dropout.
template <bool DROPOUT, int N, class T>
__device__ __forceinline__ Pack<float, N> row_gradient(const Stored<T, N>& dy, const TailStages& stages,
                                                       const long long* clock, unsigned first) {
  Pack<float, N> g;
#pragma unroll
  for (int k = 0; k < N; ++k) g.at[k] = dy.value(k);
  if (DROPOUT && stages.dropout == kBehind) drop(g, kept_by<N>(stages, clock, first), stages.scale);
  return g;
}

// g, the gradient of a row's maximum, as that of the normalised value at the argmax: its value v, and the bits of
// channels that dropout keeps there.
template <bool DROPOUT>
__device__ __forceinline__ float gradient_at(const TailStages& stages, float v, unsigned kept, int k, float g) {
  if (DROPOUT && stages.dropout == kBefore) g = kept >> k & 1u ? g * stages.scale : 0.f;
  return stages.relu & kBefore && !(v > 0.f) ? 0.f : g;
}

template <int N, bool POOL, bool DROPOUT, class T>
__device__ __forceinline__ void sum_gradients(const T* __restrict__ dy, const T* __restrict__ x,
                                              const float* __restrict__ gamma, const float* __restrict__ beta,
                                              const float* __restrict__ moments, const long long* __restrict__ clock,
                                              float* dgamma, float* dbeta, float* parts, unsigned* counters, int rows,
                                              int c, float eps, const TailStages& stages) {
  constexpr int kTaps = POOL ? 4 : 1;
  const ChannelWalk<N> walk(rows, c);
  LongSums<2 * N> own;       // N of gamma, N of beta
  float batch[2 * N] = {};  // of the rows of a batch, which are few
  if (walk.active) {
    const Affine<N> affine(gamma, beta, moments, walk.channel, c, eps);
    for_batches<N, POOL, DROPOUT, true>(
        walk, x, dy, stages.columns, [&](unsigned row, const Stored<T, N>(&pixels)[kTaps], const Stored<T, N>& given) {
          const RowValues<N, kTaps, DROPOUT, false> values(pixels, affine, stages, clock, row, c, walk.channel);
          const auto g = row_gradient<DROPOUT>(given, stages, clock, row * c + walk.channel);
#pragma unroll
          for (int k = 0; k < N; ++k) {
            float u = pixels[0].value(k), v = values.at[0].at[k];
            unsigned kept = values.kept[0];
            values.largest(k, [&](int tap) {
              u = pixels[tap].value(k);
              v = values.at[tap].at[k];
              kept = values.kept[tap];
            });
            const float gradient = gradient_at<DROPOUT>(stages, v, kept, k, g.at[k]);
            batch[k] = fmaf(gradient, u - affine.mean.at[k], batch[k]);
            batch[N + k] += gradient;
          }
        },
        [&] {
#pragma unroll
          for (int k = 0; k < 2 * N; ++k) own.add(k, batch[k]), batch[k] = 0.f;
        });
  }
  auto sums = merge_lanes(own.totals(), walk.lanes, walk.width);
  if (walk.first) {
    const auto variance = load_floats<N>(moments + c + walk.channel);
#pragma unroll
    for (int k = 0; k < N; ++k) sums.at[k] /= sqrtf(variance.at[k] + eps);
  }
  finish_sums<2>(walk, sums, {dgamma, dbeta}, parts, counters);
}

// dgamma and dbeta (c,) of dy (rows, c) and x as in `tail`. The stages may have neither a sum nor a ReLU behind it. The grid
// is (tiles of channels, chunks of rows). With several chunks there are parts (chunks, 2, c), and counters for all blocks.
template <bool POOL, bool DROPOUT, class T>
__global__ void __launch_bounds__(256, POOL || DROPOUT || sizeof(T) > 2 ? 2 : 3)
    tail_backward_sums(const T* __restrict__ dy, const T* __restrict__ x, const float* __restrict__ gamma,
                       const float* __restrict__ beta, const float* __restrict__ moments,
                       const long long* __restrict__ clock, float* dgamma, float* dbeta, float* parts,
                       unsigned* counters, int rows, int c, float eps, TailStages stages) {
  if (by_packs<kNarrow>(c, dy, x)) {
    sum_gradients<kNarrow, POOL, DROPOUT>(dy, x, gamma, beta, moments, clock, dgamma, dbeta, parts, counters, rows, c, eps,
                                          stages);
  } else {
    sum_gradients<1, POOL, DROPOUT>(dy, x, gamma, beta, moments, clock, dgamma, dbeta, parts, counters, rows, c, eps, stages);
  }
}

template <int N, bool POOL, bool DROPOUT, class T>
__device__ __forceinline__ void input_gradient(const T* __restrict__ dy, const T* __restrict__ x,
                                               const float* __restrict__ gamma, const float* __restrict__ beta,
                                               const float* __restrict__ moments, const float* __restrict__ dgamma,
                                               const float* __restrict__ dbeta, const long long* __restrict__ clock,
                                               T* __restrict__ dx, int rows, int c, float eps, bool batch,
                                               bool input_relu, const TailStages& stages) {
  constexpr int kTaps = POOL ? 4 : 1;
  const ChannelWalk<N> walk(rows, c);
  if (!walk.active) return;
  // dx = gamma / std * (dy - mean(dy) - normalised * mean(dy * normalised)), computed as (x - mean) * factor + share
  // + dy * scale with three numbers per channel. With constant moments only the last term remains.
  const Affine<N> affine(gamma, beta, moments, walk.channel, c, eps);
  Pack<float, N> factor{}, share{};
  if (batch) {
    const auto variance = load_floats<N>(moments + c + walk.channel);
    factor = load_floats<N>(dgamma + walk.channel);
    share = load_floats<N>(dbeta + walk.channel);
    const float pixels = static_cast<float>(rows) * kTaps;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      factor.at[k] *= -affine.scale.at[k] / sqrtf(variance.at[k] + eps) / pixels;
      share.at[k] *= -affine.scale.at[k] / pixels;
    }
  }
  for_batches<N, POOL, DROPOUT, true>(
      walk, x, dy, stages.columns, [&](unsigned row, const Stored<T, N>(&pixels)[kTaps], const Stored<T, N>& given) {
        const RowValues<N, kTaps, DROPOUT, false> values(pixels, affine, stages, clock, row, c, walk.channel);
        const auto g = row_gradient<DROPOUT>(given, stages, clock, row * c + walk.channel);
        Pack<float, N> results[kTaps];
#pragma unroll
        for (int k = 0; k < N; ++k) {
          int number = 0;
          float v = values.at[0].at[k];
          unsigned kept = values.kept[0];
          values.largest(k, [&](int tap) {
            number = tap;
            v = values.at[tap].at[k];
            kept = values.kept[tap];
          });
          const float gradient = gradient_at<DROPOUT>(stages, v, kept, k, g.at[k]) * affine.scale.at[k];
#pragma unroll
          for (int tap = 0; tap < kTaps; ++tap) results[tap].at[k] = number == tap ? gradient : 0.f;
        }
        const auto for_all = [&](auto change) {
#pragma unroll
          for (int tap = 0; tap < kTaps; ++tap) {
#pragma unroll
            for (int k = 0; k < N; ++k) change(results[tap].at[k], pixels[tap].value(k), k);
          }
        };
        if (batch) {
          for_all([&](float& result, float u, int k) {
            result += fmaf(u - affine.mean.at[k], factor.at[k], share.at[k]);
          });
        }
        if (input_relu) for_all([](float& result, float u, int) { result = u > 0.f ? result : 0.f; });
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
          const unsigned i = pixel_of<POOL>(row, tap, stages.columns) * c + walk.channel;
          store_pack(dx + i, results[tap]);
        }
      },
      [] {});
}

// dx like x of dy, x and stages as in `tail_backward_sums` and the finished dgamma, dbeta (c,). With `batch` the moments
// are those of x itself, and the gradient flows through them. With `input_relu` x is the output of a ReLU, and dx the
// gradient of that ReLU's input.
template <bool POOL, bool DROPOUT, class T>
__global__ void __launch_bounds__(256, POOL || DROPOUT || sizeof(T) > 2 ? 2 : kInputBlocks)
    tail_backward_input(const T* __restrict__ dy, const T* __restrict__ x, const float* __restrict__ gamma,
                        const float* __restrict__ beta, const float* __restrict__ moments,
                        const float* __restrict__ dgamma, const float* __restrict__ dbeta,
                        const long long* __restrict__ clock, T* __restrict__ dx, int rows, int c, float eps, int batch,
                        int input_relu, TailStages stages) {
  constexpr int kChannels = POOL ? kNarrow : kWide<T>;
  if (by_packs<kChannels>(c, dy, x, dx)) {
    input_gradient<kChannels, POOL, DROPOUT>(dy, x, gamma, beta, moments, dgamma, dbeta, clock, dx, rows, c, eps, batch != 0,
                                   input_relu != 0, stages);
  } else {
    input_gradient<1, POOL, DROPOUT>(dy, x, gamma, beta, moments, dgamma, dbeta, clock, dx, rows, c, eps, batch != 0,
                            input_relu != 0, stages);
  }
}
