// A matrix product by tiles: c (m, n) = a (m, k) * b (k, n), where a and b are read by operand iterators, so that a
// convolution multiplies windows that were never written out (implicit GEMM; Chetlur et al., "cuDNN: Efficient
// Primitives for Deep Learning", 2014).
//
// A block computes a BM x BN tile of c, along k in steps of BK: every thread fetches a few values of the next step from
// global memory into registers, the block multiplies the current step from shared memory, and the fetched values are
// written to the other half of a double buffer. One barrier per step. Each thread keeps a TM x TN part of c in
// registers, as groups of four rows and columns, so that shared memory is read by 16 bytes.
//
// An operand iterator yields one operand, four values at a time. It has
//   kAlongK               whether the four are neighbours along k (else along m, or n for operand b),
//   Cursor at(int i)      its state for row i of a (column i of b), computed once before the loop,
//   float4 load(cursor, int k, int k_end)   the values at k (or k ... k + 3), zeros outside the matrix and from k_end.
#pragma once
#include "merge.cuh"
#include "vectors.cuh"

// A sum is cut at multiples of so many values of k, whatever a tile's BK is: the tile changes no sum.
constexpr int kSplitStep = 16;

template <int BM_, int BN_, int BK_, int TM_, int TN_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_;
  static constexpr int kThreads = (BM / TM) * (BN / TN);
  static constexpr int kThreadColumns = BN / TN;
  // Blocks that must fit a multiprocessor at once: 128 registers a thread, or 170 for many sums in few threads.
  static constexpr int kBlocks = kThreads < 256 && TM * TN == 64 ? 3 : 512 / kThreads;
  static_assert(kSplitStep % BK == 0, "parts of whole steps");
};

// A matrix whose rows (of a; columns of b) lie in memory one after another, `ld` floats apart.
template <bool VECTOR>
struct RowsAlongK {
  static constexpr bool kAlongK = true;
  const float* data;
  int rows, ld;

  struct Cursor {
    const float* row;  // null beyond the last row
  };

  __device__ __forceinline__ Cursor at(int i) const { return {i < rows ? data + i * ld : nullptr}; }

  __device__ __forceinline__ float4 load(const Cursor& cursor, int k, int k_end) const {
    return cursor.row ? load4<VECTOR>(cursor.row + k, k_end - k) : zeros4();
  }
};

// A matrix whose line k has all values for that k, `ld` floats after line k - 1.
template <bool VECTOR>
struct LinesOfK {
  static constexpr bool kAlongK = false;
  const float* data;
  int columns, ld;

  struct Cursor {
    int column, valid;  // how many of the four columns exist
  };

  __device__ __forceinline__ Cursor at(int i) const { return {i, columns - i}; }

  __device__ __forceinline__ float4 load(const Cursor& cursor, int k, int k_end) const {
    return k < k_end ? load4<VECTOR>(data + k * ld + cursor.column, cursor.valid) : zeros4();
  }
};

// Copies one operand through a thread's registers into shared memory, WIDTH x BK values per step.
template <class Source, int WIDTH, int BK, int THREADS>
struct TileCopy {
  static constexpr int kLoads = WIDTH * BK / 4 / THREADS;
  static constexpr int kCursors = Source::kAlongK ? kLoads : 1;
  static constexpr int kPitch = WIDTH + 4;  // the padding avoids bank conflicts of transposed writes
  static_assert(kLoads >= 1 && kLoads * 4 * THREADS == WIDTH * BK, "every thread copies equally much");
  static_assert(THREADS % (WIDTH / 4) == 0, "all loads of a thread have the same columns");

  typename Source::Cursor cursors[kCursors];
  float4 fetched[kLoads];

  // Position of a thread's load in the tile: along k and across it.
  __device__ __forceinline__ static int k_of(int load) {
    const int slot = threadIdx.x + load * THREADS;
    return Source::kAlongK ? slot % (BK / 4) * 4 : slot / (WIDTH / 4);
  }
  __device__ __forceinline__ static int across_of(int load) {
    const int slot = threadIdx.x + load * THREADS;
    return Source::kAlongK ? slot / (BK / 4) : slot % (WIDTH / 4) * 4;
  }

  __device__ __forceinline__ TileCopy(const Source& source, int first) {
#pragma unroll
    for (int i = 0; i < kCursors; ++i) cursors[i] = source.at(first + across_of(i));
  }

  __device__ __forceinline__ void fetch(const Source& source, int k0, int k_end) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      fetched[i] = source.load(cursors[Source::kAlongK ? i : 0], k0 + k_of(i), k_end);
    }
  }

  __device__ __forceinline__ void store(float (*tile)[kPitch]) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int k = k_of(i), across = across_of(i);
      if (Source::kAlongK) {
        tile[k][across] = fetched[i].x;
        tile[k + 1][across] = fetched[i].y;
        tile[k + 2][across] = fetched[i].z;
        tile[k + 3][across] = fetched[i].w;
      } else {
        *reinterpret_cast<float4*>(&tile[k][across]) = fetched[i];
      }
    }
  }
};

// The first of the four rows (columns) that group g of a thread's part covers.
template <int EXTENT, int PER_THREAD>
__device__ __forceinline__ int group_start(int thread, int g) {
  return g * (EXTENT / (PER_THREAD / 4)) + thread * 4;
}

// This thread's part of the block's tile at (m0, n0), summed over k_begin <= k < k_end. Called by the whole block.
template <class T, class A, class B>
__device__ __forceinline__ void multiply_tile(const A& a, const B& b, int m0, int n0, int k_begin, int k_end,
                                              float (&sums)[T::TM][T::TN]) {
  using CopyA = TileCopy<A, T::BM, T::BK, T::kThreads>;
  using CopyB = TileCopy<B, T::BN, T::BK, T::kThreads>;
  __shared__ __align__(16) float tile_a[2][T::BK][CopyA::kPitch];
  __shared__ __align__(16) float tile_b[2][T::BK][CopyB::kPitch];
  const int row = threadIdx.x / T::kThreadColumns, column = threadIdx.x % T::kThreadColumns;

#pragma unroll
  for (int i = 0; i < T::TM; ++i) {
#pragma unroll
    for (int j = 0; j < T::TN; ++j) sums[i][j] = 0.f;
  }
  CopyA copy_a(a, m0);
  CopyB copy_b(b, n0);
  copy_a.fetch(a, k_begin, k_end);
  copy_b.fetch(b, k_begin, k_end);
  copy_a.store(tile_a[0]);
  copy_b.store(tile_b[0]);
  __syncthreads();

  int half = 0;
  for (int k0 = k_begin; k0 < k_end; k0 += T::BK) {
    const bool more = k0 + T::BK < k_end;
    if (more) {
      copy_a.fetch(a, k0 + T::BK, k_end);
      copy_b.fetch(b, k0 + T::BK, k_end);
    }
#pragma unroll 2  // with more, the large tile does not fit 128 registers on every architecture
    for (int k = 0; k < T::BK; ++k) {
      float4 rows[T::TM / 4], columns[T::TN / 4];
#pragma unroll
      for (int g = 0; g < T::TM / 4; ++g) {
        rows[g] = *reinterpret_cast<const float4*>(&tile_a[half][k][group_start<T::BM, T::TM>(row, g)]);
      }
#pragma unroll
      for (int g = 0; g < T::TN / 4; ++g) {
        columns[g] = *reinterpret_cast<const float4*>(&tile_b[half][k][group_start<T::BN, T::TN>(column, g)]);
      }
#pragma unroll
      for (int i = 0; i < T::TM; ++i) {
        const float left = component(rows[i / 4], i % 4);
#pragma unroll
        for (int g = 0; g < T::TN / 4; ++g) {
          sums[i][g * 4] = fmaf(left, columns[g].x, sums[i][g * 4]);
          sums[i][g * 4 + 1] = fmaf(left, columns[g].y, sums[i][g * 4 + 1]);
          sums[i][g * 4 + 2] = fmaf(left, columns[g].z, sums[i][g * 4 + 2]);
          sums[i][g * 4 + 3] = fmaf(left, columns[g].w, sums[i][g * 4 + 3]);
        }
      }
    }
    if (more) {
      copy_a.store(tile_a[1 - half]);
      copy_b.store(tile_b[1 - half]);
      __syncthreads();
      half = 1 - half;
    }
  }
}

// The epilogue of a sum: bias (may be null) and ReLU.
struct Epilogue {
  const float* bias;
  bool relu;

  __device__ __forceinline__ float operator()(float sum, int column) const {
    const float v = bias ? sum + bias[column] : sum;
    return relu && v < 0.f ? 0.f : v;  // NaN stays NaN
  }
};

// Writes this thread's part of the tile at (m0, n0) into c (rows, columns), whose rows are `ld` floats apart.
// With VECTOR `columns` and `ld` are multiples of four and c is 16-byte aligned.
template <class T, bool VECTOR>
__device__ __forceinline__ void write_tile(const float (&sums)[T::TM][T::TN], float* c, int m0, int n0, int rows,
                                           int columns, int ld, const Epilogue& epilogue) {
  const int row = threadIdx.x / T::kThreadColumns, column = threadIdx.x % T::kThreadColumns;
#pragma unroll
  for (int i = 0; i < T::TM; ++i) {
    const int m = m0 + group_start<T::BM, T::TM>(row, i / 4) + i % 4;
    if (m >= rows) continue;
#pragma unroll
    for (int g = 0; g < T::TN / 4; ++g) {
      const int n = n0 + group_start<T::BN, T::TN>(column, g);
      float* out = c + m * ld + n;
      if (VECTOR) {
        if (n < columns) {
          *reinterpret_cast<float4*>(out) =
              make_float4(epilogue(sums[i][g * 4], n), epilogue(sums[i][g * 4 + 1], n + 1),
                          epilogue(sums[i][g * 4 + 2], n + 2), epilogue(sums[i][g * 4 + 3], n + 3));
        }
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (n + j < columns) out[j] = epilogue(sums[i][g * 4 + j], n + j);
        }
      }
    }
  }
}

// The part of k that split `split` of `splits` sums: whole steps, the last part shorter or empty.
struct Range {
  int begin, end;
};

__device__ __forceinline__ Range split_range(int k, int split, int splits) {
  const int steps = (k + kSplitStep - 1) / kSplitStep, per_split = (steps + splits - 1) / splits;
  const int begin = split * per_split * kSplitStep, end = begin + per_split * kSplitStep;
  return {begin < k ? begin : k, end < k ? end : k};
}

// A product: tile (blockIdx.x, blockIdx.y), split blockIdx.z % splits of its sum. With several splits there are parts for
// all blocks (tiles, splits, BM, BN), and counters for them.
template <class T, bool VECTOR, class A, class B>
__device__ __forceinline__ void gemm(const A& a, const B& b, float* c, float* parts, unsigned* counters, int rows,
                                     int columns, int k, int ld, int splits, const Epilogue& epilogue) {
  const int m0 = blockIdx.x * T::BM, n0 = blockIdx.y * T::BN, split = blockIdx.z % splits;
  const Range range = split_range(k, split, splits);
  float sums[T::TM][T::TN];
  multiply_tile<T>(a, b, m0, n0, range.begin, range.end, sums);
  const unsigned tile = (blockIdx.z / splits * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const bool all = add_splits<T::kThreads, T::TM * T::TN / 4>(
      tile, split, splits, parts, counters, [&](int i) { return &sums[i / (T::TN / 4)][i % (T::TN / 4) * 4]; });
  if (all) write_tile<T, VECTOR>(sums, c, m0, n0, rows, columns, ld, epilogue);
}
