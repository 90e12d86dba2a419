// A block's loop over x (rows, c), where channels are contiguous: a block has a tile of neighbouring channels
// (blockIdx.x) and a chunk of the rows (blockIdx.y), several rows at a time. A thread has the same channels in all its
// rows, so that values per channel stay in registers and no index is divided.
#pragma once
#include "elementwise.cuh"
#include "merge.cuh"
#include "reduce.cuh"

// The rows from `begin` to before `end`. Unsigned, because near 2^31 rows the end of a chunk may exceed an int.
struct Rows {
  unsigned begin, end;
};

// Chunk `chunk` of `chunks`; the last may be shorter, or empty.
__device__ __forceinline__ Rows chunk_of_rows(unsigned rows, unsigned chunk, unsigned chunks) {
  const unsigned length = (rows + chunks - 1) / chunks;
  const unsigned begin = min(rows, chunk * length);
  return {begin, min(rows, begin + length)};
}

// A thread's elements, N neighbouring channels per row; c must be a multiple of N. A block has 256 threads, a tile at
// most 256 channels.
template <int N>
struct ChannelWalk {
  int width, lanes;    // threads side by side in a row, and rows at a time
  unsigned channel;    // the thread's first channel
  bool active, first;  // whether it has any; whether the results of the other lanes are merged into it
  unsigned row, end;   // its first row, and where the chunk ends
  unsigned c;

  __device__ __forceinline__ ChannelWalk(int rows, int channels) : c(channels) {
    const int columns = channels / N;
    width = (columns + gridDim.x - 1) / gridDim.x;
    lanes = 256 / width;
    const int lane = threadIdx.x / width, column = blockIdx.x * width + threadIdx.x % width;
    channel = column * N;
    active = lane < lanes && column < columns;
    first = active && lane == 0;
    const Rows chunk = chunk_of_rows(rows, blockIdx.y, gridDim.y);
    end = chunk.end;
    row = active ? chunk.begin + lane : end;
  }

  // f(row, index of the thread's first element in that row), for each of its rows.
  template <class F>
  __device__ __forceinline__ void for_rows(F f) const {
#pragma unroll 4
    for (unsigned r = row; r < end; r += lanes) f(r, r * c + channel);
  }
};

// Whether rows of c channels can be visited N channels at a time, for arrays at these addresses.
template <int N, class... Arrays>
__device__ __forceinline__ bool by_packs(int c, const Arrays*... arrays) {
  return c % N == 0 && (... && packs_at<N>(arrays));
}

template <class... Arrays>
__device__ __forceinline__ bool by_fours(int c, const Arrays*... arrays) {
  return by_packs<4>(c, arrays...);
}

// The N floats at p, four at a time where its address allows it: numbers per channel beside packs of activations.
template <int N>
__device__ __forceinline__ Pack<float, N> load_floats(const float* p) {
  constexpr int kStep = N % 4 == 0 ? 4 : 1;
  Pack<float, N> values;
  if (packs_at<kStep>(p)) {
#pragma unroll
    for (int k = 0; k < N; k += kStep) {
      const auto some = load_pack<kStep>(p + k);
#pragma unroll
      for (int j = 0; j < kStep; ++j) values.at[k + j] = some.at[j];
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) values.at[k] = p[k];
  }
  return values;
}

template <int N>
__device__ __forceinline__ void store_floats(float* p, const Pack<float, N>& values) {
  constexpr int kStep = N % 4 == 0 ? 4 : 1;
  if (packs_at<kStep>(p)) {
#pragma unroll
    for (int k = 0; k < N; k += kStep) {
      Pack<float, kStep> some;
#pragma unroll
      for (int j = 0; j < kStep; ++j) some.at[j] = values.at[k + j];
      store_pack(p + k, some);
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) p[k] = values.at[k];
  }
}

// N sums that a block adds up.
template <int N>
struct Sums {
  float at[N];

  __device__ __forceinline__ void merge(const Sums& other) {
#pragma unroll
    for (int k = 0; k < N; ++k) at[k] += other.at[k];
  }

  // M of them, from `first` on.
  template <int M = N>
  __device__ __forceinline__ Pack<float, M> pack(int first = 0) const {
    Pack<float, M> values;
#pragma unroll
    for (int k = 0; k < M; ++k) values.at[k] = at[first + k];
    return values;
  }
};

// N sums of many numbers of a thread.
template <int N>
struct LongSums {
  LongSum at[N];

  __device__ __forceinline__ void add(int k, float number) { at[k].add(number); }

  __device__ __forceinline__ Sums<N> totals() const {
    Sums<N> sums;
#pragma unroll
    for (int k = 0; k < N; ++k) sums.at[k] = at[k].total();
    return sums;
  }
};

constexpr unsigned kMergedChunks = 32;  // that one block merges

// Completes sums over rows, SETS of them for each channel: those of this block's chunk, in the walk's first threads, and of
// all others become results[s] (c,). With several chunks there are parts (chunks, SETS, c), at a multiple of 16 bytes, and
// counters for every block. Called by the whole block.
template <int SETS, int N>
__device__ __forceinline__ void finish_sums(const ChannelWalk<N>& walk, Sums<SETS * N> sums,
                                            float* const (&results)[SETS], float* parts, unsigned* counters) {
  const auto place = [&](unsigned chunk, int set) { return parts + (chunk * SETS + set) * walk.c + walk.channel; };
  const bool all = merge_blocks<kMergedChunks>(
      blockIdx.y, gridDim.y, counters + blockIdx.x * gridDim.y,
      [&](unsigned chunk) {
        if (!walk.first) return;
#pragma unroll
        for (int set = 0; set < SETS; ++set) store_pack(place(chunk, set), sums.template pack<N>(set * N));
      },
      [&](unsigned first, unsigned step, unsigned members) {
        if (!walk.first) return;
        LongSums<SETS * N> merged;
#pragma unroll 8
        for (unsigned member = 0; member < members; ++member) {
#pragma unroll
          for (int set = 0; set < SETS; ++set) {
            const auto part = merged_load<N>(place(first + member * step, set));
#pragma unroll
            for (int k = 0; k < N; ++k) merged.add(set * N + k, part.at[k]);
          }
        }
        sums = merged.totals();
      });
  if (!all || !walk.first) return;
#pragma unroll
  for (int set = 0; set < SETS; ++set) store_floats(results[set] + walk.channel, sums.template pack<N>(set * N));
}
