// The product of a tile by tensor cores: operands in shared memory, a pipeline of stages, fragments, accumulators.
// Elements are bfloat16, or floats that are rounded to tf32 on their way from shared memory to a multiplication.
//
// A block computes BM x BN of the result, a warp WM x WN of it. It goes along the sum in steps of BK. Copies from global
// to shared memory run ahead of the multiplication by up to STAGES - 1 steps, 16 bytes (a "chunk") at a time.
#pragma once
#include "merge.cuh"
#include "moments.cuh"
#include "ptx.cuh"
#include "reduce.cuh"
#include "storage.cuh"

// Along which side an operand's elements are neighbours: the sum's (k), or the result's (m of a, n of b).
enum class Along { Sum, Result };

template <class Tile, Along ALONG, bool IS_A>
struct Operand;

template <class T, int BM_, int BN_, int BK_, int WM_, int WN_, int STAGES_>
struct TensorTile {
  using Element = T;
  template <Along ALONG, bool IS_A>
  using View = Operand<TensorTile, ALONG, IS_A>;
  static constexpr int BM = BM_, BN = BN_, BK = BK_, WM = WM_, WN = WN_, STAGES = STAGES_;
  static constexpr int kWarpsN = BN / WN, kThreads = BM / WM * kWarpsN * 32;
  static constexpr int kChunk = 16 / sizeof(T);  // elements of a chunk
  static constexpr bool kWarpgroups = false;
  static constexpr int kResident = 1;  // blocks of a multiprocessor that must have registers
  static constexpr int kPieces = WM / 16;                // fragments of rows of a thread, each of two rows
  static constexpr int kPixelLanes = sizeof(T) == 4 ? 8 : 4;  // threads that copy a pixel: so swizzled chunks do not meet
  static constexpr int kBytesA = BM * BK * sizeof(T), kStageBytes = kBytesA + BN * BK * sizeof(T);
  static_assert(BM % WM == 0 && BN % WN == 0 && WM % 16 == 0 && WN % 16 == 0, "warps of whole fragments");
  static_assert(BK * sizeof(T) % 32 == 0, "steps of whole fragments");

  // The rows of the block's tile that this thread has sums of, and its first column; pairs of columns are 8 apart.
  __device__ __forceinline__ static int row(int i) {
    return threadIdx.x / 32 / kWarpsN * WM + threadIdx.x % 32 / 4 + i * 8;
  }
  __device__ __forceinline__ static int column() { return threadIdx.x / 32 % kWarpsN * WN + threadIdx.x % 4 * 2; }
};

// Where a chunk lies, in rows of PITCH bytes. The chunks of a row trade places, so that neither the eight rows of an
// ldmatrix meet in a bank, nor the chunks that eight threads copy: eight of one row, or four of each of two rows. The
// pattern repeats every eight rows. It is an exclusive or: offset ^ 32 i lies 2 i chunks further, as long as adding 2 i
// to the chunk's number carries nothing.
template <int PITCH>
__device__ __forceinline__ int swizzled(int row, int chunk) {
  static_assert(PITCH == 64 || PITCH % 128 == 0, "rows of four chunks, or of eight and multiples");
  const int turn = PITCH == 64 ? row >> 1 & 3 : (row & 1) << 2 | (row >> 1 & 3);
  return row * PITCH + ((chunk ^ turn) << 4);
}

// The same for floats that are read one by one: the chunks of a row trade places by pairs, so that the eight elements that
// a multiplication reads of each of four rows lie in different banks. The pattern repeats every four rows.
template <int PITCH>
__device__ __forceinline__ int swizzled_pairs(int row, int chunk) {
  static_assert(PITCH % 128 == 0, "rows of eight chunks and multiples");
  return row * PITCH + ((chunk ^ (row & 3) << 1) << 4);
}

// A warp's view of an operand: reads pieces of 16 rows (of a; columns of b) x 32 bytes along the sum as the
// multiplication wants them: first half and second half of the result, of the first half and the second half of the sum;
// for b in the other order.
template <class Tile, Along ALONG, bool IS_A>
struct Operand {
  using T = typename Tile::Element;
  static constexpr int kExtent = IS_A ? Tile::BM : Tile::BN;
  static constexpr int kPitch = (ALONG == Along::Sum ? Tile::BK : kExtent) * sizeof(T);
  static constexpr bool kWords = ALONG == Along::Result && sizeof(T) == 4;  // ldmatrix transposes 16-bit elements alone
  static constexpr int kPattern = kWords ? 4 : 8;  // rows after which the places of chunks repeat
  static constexpr int kEight = 128;               // bytes from a chunk to the eighth behind it
  int lane_offset;                                 // of what this lane reads of the warp's first piece: a row of matrices, or an element

  // Where a chunk of the operand lies.
  __device__ __forceinline__ static int place(int row, int chunk) {
    if constexpr (kWords) {
      return swizzled_pairs<kPitch>(row, chunk);
    } else {
      return swizzled<kPitch>(row, chunk);
    }
  }

  // `first`: where the warp's part begins along the result.
  __device__ __forceinline__ Operand(int first, int lane) {
    // The four matrices in the order of a's registers, or of b's: half 1 of the result or of the sum comes second.
    const int second = lane >> 3 & 1, third = lane >> 4, row = lane & 7;
    const int result = IS_A ? second : third, sum = IS_A ? third : second;
    if (kWords) {
      lane_offset = place(lane % 4, (first + lane / 4) / 4) + lane / 4 % 4 * 4;
    } else if (ALONG == Along::Sum) {
      lane_offset = place(first + result * 8 + row, sum);
    } else {
      lane_offset = place(sum * 8 + row, first / 8 + result);
    }
  }

  // Piece i along the result, k along the sum.
  __device__ __forceinline__ void read(unsigned (&r)[4], SharedAddress operand, int i, int k) const {
    if (kWords) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int result = IS_A ? e % 2 : e / 2, sum = IS_A ? e / 2 : e % 2, chunk = i * 4 + result * 2;
        r[e] = load_word(operand + (k * 8 + sum * 4) * kPitch + (lane_offset ^ chunk % 8 * 16) + chunk / 8 * 128);
      }
    } else if (ALONG == Along::Sum) {
      load_matrices(r, operand + i * 16 * kPitch + (lane_offset ^ k * 32));
    } else {
      load_matrices_transposed(r, operand + k * 16 * kPitch + (lane_offset ^ i * 32));
    }
    if (sizeof(T) == 4) {
#pragma unroll
      for (int e = 0; e < 4; ++e) r[e] = round_to_tf32(r[e]);
    }
  }
};

template <class Tile>
using Accumulators = float[Tile::kPieces][Tile::WN / 8][4];

// f(sum, row, column) for each pair of neighbouring sums: &sum of the first, and its place in the block's tile.
template <class Tile, class F>
__device__ __forceinline__ void for_pairs(Accumulators<Tile>& sums, F f) {
#pragma unroll
  for (int i = 0; i < 2 * Tile::kPieces; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::WN / 8; ++j) {
      f(&sums[i / 2][j][i % 2 * 2], Tile::row(i), Tile::column() + j * 8);
    }
  }
}

// sums += a b over one step, whose operands lie at the two addresses.
template <class Tile, class A, class B>
__device__ __forceinline__ void multiply_step(Accumulators<Tile>& sums, SharedAddress at_a, const A& a,
                                              SharedAddress at_b, const B& b) {
#pragma unroll
  for (int k = 0; k < Tile::BK * static_cast<int>(sizeof(typename Tile::Element)) / 32; ++k) {
    unsigned left[Tile::WM / 16][4], right[Tile::WN / 16][4];
#pragma unroll
    for (int i = 0; i < Tile::WM / 16; ++i) a.read(left[i], at_a, i, k);
#pragma unroll
    for (int j = 0; j < Tile::WN / 16; ++j) b.read(right[j], at_b, j, k);
#pragma unroll
    for (int i = 0; i < Tile::WM / 16; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::WN / 8; ++j) {
        const unsigned *b0 = &right[j / 2][j % 2 * 2], *b1 = b0 + 1;
        if constexpr (sizeof(typename Tile::Element) == 4) {
          multiply_tf32(sums[i][j], left[i], *b0, *b1);
        } else {
          multiply_bfloat16(sums[i][j], left[i], *b0, *b1);
        }
      }
    }
  }
}

// The stage behind the one at `offset`.
template <class Tile>
__device__ __forceinline__ int next_stage(int offset) {
  return offset == (Tile::STAGES - 1) * Tile::kStageBytes ? 0 : offset + Tile::kStageBytes;
}

// sums = a b over `steps` steps, perhaps none. fetch(address) starts the copies of the next step to a stage.
template <Along A, Along B, class Tile, class Fetch>
__device__ __forceinline__ void multiply_tiles(Tile, Accumulators<Tile>& sums, SharedAddress shared, int steps,
                                               Fetch& fetch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Operand<Tile, A, true> a(warp / Tile::kWarpsN * Tile::WM, lane);
  const Operand<Tile, B, false> b(warp % Tile::kWarpsN * Tile::WN, lane);
  for_pairs<Tile>(sums, [](float* sum, int, int) { sum[0] = sum[1] = 0.f; });
  // One group a step, empty ones at the end, so that the wait can count.
#pragma unroll
  for (int s = 0; s < Tile::STAGES - 1; ++s) {
    if (s < steps) fetch(shared + s * Tile::kStageBytes);
    commit_copies();
  }
  int reading = 0, writing = (Tile::STAGES - 1) * Tile::kStageBytes;
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<Tile::STAGES - 2>();
    __syncthreads();  // everyone's copies are here, and everyone has read the stage that is filled next
    if (step + Tile::STAGES - 1 < steps) fetch(shared + writing);
    commit_copies();
    multiply_step<Tile>(sums, shared + reading, a, shared + reading + Tile::kBytesA, b);
    reading = next_stage<Tile>(reading);
    writing = next_stage<Tile>(writing);
  }
}

// --- the way out -----------------------------------------------------------------------------------------------------

// Sums over the splits of a tile: see `add_splits`.
template <class Tile>
__device__ __forceinline__ bool add_splits(Accumulators<Tile>& sums, int tile, int split, int splits, float* parts,
                                           unsigned* counters) {
  constexpr int kFours = Tile::kPieces * Tile::WN / 8;
  return add_splits<Tile::kThreads, kFours>(tile, split, splits, parts, counters,
                                            [&](int i) { return sums[i / (Tile::WN / 8)][i % (Tile::WN / 8)]; });
}

// What happens to the sums of column n0 and on: bias (may be null) and ReLU.
template <class Tile>
__device__ __forceinline__ void add_bias(Accumulators<Tile>& sums, const float* bias, bool relu, int n0, int columns) {
  for_pairs<Tile>(sums, [&](float* sum, int, int column) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      if (bias && n0 + column < columns) sum[e] += bias[n0 + column + e];
      if (relu && sum[e] < 0.f) sum[e] = 0.f;  // a NaN stays one
    }
  });
}

// Writes the sums to rows of `columns` floats; row_offset(row) is where a row of the tile begins, negative for none.
template <class Tile, class Rows>
__device__ __forceinline__ void store_sums(const Accumulators<Tile>& sums, float* out, int n0, int columns,
                                           Rows row_offset) {
  const int first = n0 + Tile::column();
#pragma unroll
  for (int i = 0; i < 2 * Tile::kPieces; ++i) {
    const int offset = row_offset(Tile::row(i));
    if (offset < 0) continue;
    float* row = out + offset + first;
#pragma unroll
    for (int j = 0; j < Tile::WN / 8; ++j) {
      const float* pair = &sums[i / 2][j][i % 2 * 2];
      if (first + j * 8 < columns) *reinterpret_cast<float2*>(row + j * 8) = make_float2(pair[0], pair[1]);
    }
  }
}

// Eight numbers of a chunk.
__device__ __forceinline__ void unpack(const uint4& chunk, float (&v)[8]) {
  const unsigned words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    v[2 * e] = __uint_as_float(words[e] << 16);
    v[2 * e + 1] = __uint_as_float(words[e] & 0xffff0000u);
  }
}

__device__ __forceinline__ uint4 sum_of(const uint4& a, const uint4& b) {
  float u[8], v[8];
  unpack(a, u), unpack(b, v);
  return {pack_bfloat16(u[0] + v[0], u[1] + v[1]), pack_bfloat16(u[2] + v[2], u[3] + v[3]),
          pack_bfloat16(u[4] + v[4], u[5] + v[5]), pack_bfloat16(u[6] + v[6], u[7] + v[7])};
}

// What a thread adds up of the eight columns of its chunk: of the values less `shift`, a value of the same column, and of
// their squares. So a mean much larger than the deviation costs no digits.
struct ShiftedSums {
  float shift[8], sum[8], square[8];

  __device__ __forceinline__ explicit ShiftedSums(const uint4& chunk) {
    unpack(chunk, shift);
#pragma unroll
    for (int e = 0; e < 8; ++e) sum[e] = square[e] = 0.f;
  }

  __device__ __forceinline__ void add(const uint4& chunk) {
    float v[8];
    unpack(chunk, v);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      v[e] -= shift[e];
      sum[e] += v[e];
      square[e] += v[e] * v[e];
    }
  }
};

// The result rounded to bfloat16, in shared memory, so that whole chunks are written. All stages must have been read. Behind
// the numbers are where its rows begin in memory, by row_offset as in store_sums, and place for sums of each thread.
template <class Tile>
struct RoundedTile {
  static_assert(Tile::kThreads >= Tile::BN, "a thread for each column");
  static constexpr int kPitch = Tile::BN * 2, kChunks = Tile::BN / 8, kStep = Tile::kThreads / kChunks;

  unsigned char* shared;
  int* offsets;
  float* parts;

  template <class Rows>
  __device__ __forceinline__ RoundedTile(Accumulators<Tile>& sums, unsigned char* place, Rows row_offset)
      : shared(place), offsets(reinterpret_cast<int*>(place + Tile::BM * kPitch)),
        parts(reinterpret_cast<float*>(offsets + Tile::BM)) {
    for (int row = threadIdx.x; row < Tile::BM; row += Tile::kThreads) offsets[row] = row_offset(row);
    for_pairs<Tile>(sums, [&](float* sum, int row, int column) {
      *reinterpret_cast<unsigned*>(shared + swizzled<kPitch>(row, column / 8) + column % 8 * 2) =
          pack_bfloat16(sum[0], sum[1]);
    });
    __syncthreads();
  }

  // The chunk of a row that is this thread's.
  static __device__ __forceinline__ int chunk() { return threadIdx.x % kChunks; }
  __device__ __forceinline__ uint4 value(int row) const {
    return *reinterpret_cast<const uint4*>(shared + swizzled<kPitch>(row, chunk()));
  }

  // work(row) for the rows of this thread that exist, if its columns do.
  template <class Work>
  __device__ __forceinline__ void for_rows(int n0, int columns, Work work) const {
    if (n0 + chunk() * 8 >= columns) return;
#pragma unroll 1
    for (int row = threadIdx.x / kChunks; row < Tile::BM; row += kStep) {
      if (offsets[row] >= 0) work(row);
    }
  }

  // Writes it to `out`, plus the chunks of `added`, which is laid out like `out`, if it is given.
  __device__ __forceinline__ void store(bfloat16* out, const bfloat16* added, int n0, int columns) const {
    const int column = n0 + chunk() * 8;
    for_rows(n0, columns, [&](int row) {
      uint4 v = value(row);
      if (added) v = sum_of(v, *reinterpret_cast<const uint4*>(added + offsets[row] + column));
      *reinterpret_cast<uint4*>(out + offsets[row] + column) = v;
    });
  }

  // Those of a column each in threads below BN, over its first `rows` rows, which exist.
  __device__ __forceinline__ Moments<1> moments(int n0, int columns, int rows) const {
    ShiftedSums own(value(0));
    for_rows(n0, columns, [&](int row) { own.add(value(row)); });
    const int first_row = threadIdx.x / kChunks;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      parts[first_row * 2 * Tile::BN + chunk() * 8 + e] = own.sum[e];
      parts[(first_row * 2 + 1) * Tile::BN + chunk() * 8 + e] = own.square[e];
    }
    __syncthreads();
    Moments<1> result{};
    if (const int c = threadIdx.x; c < Tile::BN && n0 + c < columns) {
      float sum = 0.f, square = 0.f;
      for (int i = 0; i < kStep; ++i) sum += parts[i * 2 * Tile::BN + c], square += parts[(i * 2 + 1) * Tile::BN + c];
      const unsigned bits = *reinterpret_cast<const unsigned short*>(shared + swizzled<kPitch>(0, c / 8) + c % 8 * 2);
      const float mean = sum / rows, variance = square / rows - mean * mean;
      result.count = rows;
      result.mean[0] = __uint_as_float(bits << 16) + mean;
      result.variance[0] = variance < 0.f ? 0.f : variance;  // NaN stays NaN
    }
    return result;
  }
};

// result (2, columns): mean and variance of the columns from n0 on over all `rows` rows, from those of each tile of BM, which
// threads below BN have. parts (tiles, 2, columns) and counters, one a tile, are theirs to meet; store() writes the tile
// meanwhile: a block that waited until its tile is in memory would keep the next one waiting. Behind it all of `shared` is free.
template <class Tile, class Store>
__device__ __forceinline__ void merge_moments(Moments<1> own, unsigned char* shared, float* result, float* parts,
                                              unsigned* counters, int tile, int n0, int columns, int rows, Store store) {
  constexpr int kLanes = Tile::kThreads / Tile::BN, kAtOnce = 4;
  const int lane = threadIdx.x / Tile::BN, column = n0 + threadIdx.x % Tile::BN, tiles = (rows + Tile::BM - 1) / Tile::BM;
  const bool exists = column < columns, first_lane = lane == 0 && exists;
  const auto place = [&](unsigned number) { return parts + static_cast<size_t>(number) * 2 * columns + column; };
  const bool all = merge_blocks<64>(
      tile, tiles, counters,
      [&](unsigned number) {
        if (!first_lane) return;
        place(number)[0] = own.mean[0];
        place(number)[columns] = own.variance[0];
      },
      [&](unsigned first, unsigned step, unsigned members) {
        own = {};
        for (unsigned begin = lane; exists && begin < members; begin += kAtOnce * kLanes) {
          Moments<1> given[kAtOnce] = {};  // their loads overlap
#pragma unroll
          for (int i = 0; i < kAtOnce; ++i) {
            const unsigned member = begin + i * kLanes, number = first + member * step;
            if (member >= members) continue;
            given[i].count = min(rows - static_cast<int>(number) * Tile::BM, static_cast<int>(step) * Tile::BM);
            given[i].mean[0] = merged_load<1>(place(number)).at[0];
            given[i].variance[0] = merged_load<1>(place(number) + columns).at[0];
          }
#pragma unroll
          for (int i = 0; i < kAtOnce; ++i) own.merge(given[i]);
        }
        own = merge_lanes(own, kLanes, Tile::BN, reinterpret_cast<Moments<1>*>(shared));
      },
      store);
  if (!all || !first_lane) return;
  result[column] = own.mean[0];
  result[columns + column] = own.variance[0];
}
