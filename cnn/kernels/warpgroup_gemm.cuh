// The product of a tile by two warpgroups of compute capability 9.0: operands in bfloat16 in shared memory, sums in float.
// The same pipeline of copies as in tensor_gemm.cuh; products run on while the next copies are begun.
#pragma once
#include "tensor_gemm.cuh"

// A block computes BM x BN of the result, in steps of 64 along the sum; a warpgroup has the upper or the lower half of its
// rows, in pieces of 64. With DRAINED a step's products are done before the next step's begin, so that its stage is free
// earlier: for tiles of which several share a multiprocessor.
template <int BM_, int BN_, int STAGES_, bool DRAINED>
struct WarpgroupTile {
  using Element = bfloat16;
  static constexpr int BM = BM_, BN = BN_, BK = 64, WN = BN_, STAGES = STAGES_, kThreads = 256;
  static constexpr bool kWarpgroups = true, kDrained = DRAINED;
  static constexpr int kResident = DRAINED ? 2 : 1;
  static constexpr int kAhead = DRAINED ? STAGES - 1 : STAGES - 2;  // steps that copies run ahead
  static constexpr int kChunk = 8, kPieces = BM / 128, kPixelLanes = 8;
  static constexpr int kBytesA = BM * BK * 2, kStageBytes = kBytesA + BN * BK * 2;
  static_assert(BM % 128 == 0 && BN % 64 == 0, "whole products");
  static_assert(kAhead >= 1, "copies run ahead");

  // How an operand lies in shared memory: see `MatrixView`.
  template <Along ALONG, bool IS_A>
  struct View {
    static constexpr int kPitch = 128, kPattern = 8;
    static constexpr int kEight = BK * 128;  // bytes from a chunk of a row along the result to the eighth behind it
    __device__ __forceinline__ static int place(int row, int chunk) {
      return chunk / 8 * kEight + row * kPitch + ((chunk % 8 ^ row % 8) << 4);
    }
  };

  __device__ __forceinline__ static int row(int i) {
    return threadIdx.x / 128 * (BM / 2) + i / 2 * 64 + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + i % 2 * 8;
  }
  __device__ __forceinline__ static int column() { return threadIdx.x % 4 * 2; }
};

template <class Tile>
__device__ __forceinline__ void settle(Accumulators<Tile>& sums) {
#pragma unroll
  for (int i = 0; i < Tile::kPieces; ++i) settle_sums(sums[i]);
}

// sums = a b over `steps` steps, perhaps none. fetch(address) starts the copies of the next step to a stage.
template <Along A, Along B, int BM, int BN, int STAGES, bool DRAINED, class Fetch>
__device__ __forceinline__ void multiply_tiles(WarpgroupTile<BM, BN, STAGES, DRAINED>,
                                               Accumulators<WarpgroupTile<BM, BN, STAGES, DRAINED>>& sums,
                                               SharedAddress shared, int steps, Fetch& fetch) {
  using Tile = WarpgroupTile<BM, BN, STAGES, DRAINED>;
  constexpr bool kByResultA = A == Along::Result, kByResultB = B == Along::Result;
  constexpr int kNextBlock = Tile::BK * 128;
  // From 16 numbers along the sum to the next 16, and from 64 rows of a to the next 64.
  constexpr int kStepA = kByResultA ? 2048 : 32, kStepB = kByResultB ? 2048 : 32, kPieceA = 64 * 128;
  for_pairs<Tile>(sums, [](float* sum, int, int) { sum[0] = sum[1] = 0.f; });
  settle<Tile>(sums);
#pragma unroll
  for (int s = 0; s < Tile::kAhead; ++s) {
    if (s < steps) fetch(shared + s * Tile::kStageBytes);
    commit_copies();
  }
  const int half = threadIdx.x / 128 * Tile::kPieces;
  int reading = 0, writing = Tile::kAhead * Tile::kStageBytes;
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<Tile::kAhead - 1>();
    publish_copies();
    if (DRAINED) wait_for_products<0>();
    __syncthreads();  // everyone's copies are here, and everyone's products with the stage that is filled next are done
    if (step + Tile::kAhead < steps) fetch(shared + writing);
    commit_copies();
    const MatrixView a = matrix_view(shared + reading + half * kPieceA, kNextBlock);
    const MatrixView b = matrix_view(shared + reading + Tile::kBytesA, kNextBlock);
    begin_products();
#pragma unroll
    for (int k = 0; k < Tile::BK / 16; ++k) {
#pragma unroll
      for (int i = 0; i < Tile::kPieces; ++i) {
        multiply_warpgroup<kByResultA, kByResultB>(sums[i], advanced(a, i * kPieceA + k * kStepA),
                                                   advanced(b, k * kStepB));
      }
    }
    commit_products();
    if (!DRAINED) wait_for_products<1>();
    reading = next_stage<Tile>(reading);
    writing = next_stage<Tile>(writing);
  }
  wait_for_products<0>();
  settle<Tile>(sums);
}
