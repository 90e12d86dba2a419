// Convolutions by tensor cores as implicit matrix products: NHWC images and (kh, kw, c, n) filters in bfloat16 or float
// (then rounded to tf32), sums in float32. Channels and filters come in whole 16-byte chunks; what does not fill a tile is
// filled up with zeros. A dense layer is a convolution of one tap over images of one pixel.
//
// No division in a main loop: a row of an operand is an offset and a mask of the taps that miss the image.
#include "fast_divmod.cuh"
#include "tensor_gemm.cuh"
#include "warpgroup_gemm.cuh"

// A product whose rows are pixels of the result and whose sum runs over taps and channels of gathered images: the
// forward product, or the data gradient of one parity class. Field order as in structs.py.
struct GatherShape {
  int rows;                     // pixels of the result: images * p * q
  FastDivmod p, q;              // rows and columns of the result in an image
  int h, w, c;                  // the images that are read; c is summed over
  int stride_h, stride_w, dilation_h, dilation_w;
  int top, left;                // the window of pixel (i, j) begins at (i * stride_h + top, j * stride_w + left)
  int kh, kw;                   // taps, at most 16 each way
  int n;                        // columns of the result
  int w_first, w_down, w_across;  // where tap (0, 0) lies in the filters, and how far the next ones are
  int out_h, out_w;             // the images that are written
  int step_h, step_w, first_h, first_w;  // pixel (i, j) goes to (i * step_h + first_h, j * step_w + first_w)
  int steps_per_split;          // steps of BK that a split of the sum takes
};

// The taps that miss an image of `size` pixels, of a window that begins at `first`: bit i for tap i of 16.
__device__ __forceinline__ unsigned taps_outside(int first, int dilation, int taps, int size) {
  if (dilation == 1) {
    const int begin = min(max(-first, 0), taps), end = min(max(size - first, begin), taps);
    return ((1u << taps) - 1u) & ~((1u << end) - (1u << begin));
  }
  unsigned outside = 0;
  for (int tap = 0; tap < taps; ++tap) {
    outside |= static_cast<unsigned>(first + tap * dilation) < static_cast<unsigned>(size) ? 0u : 1u << tap;
  }
  return outside;
}

// The two bits of a tap in a mask of both directions.
__device__ __forceinline__ unsigned tap_bits(int row, int column) { return 1u << row | 0x10000u << column; }

// This thread's copies of a step of the filters. FILTERS says how they lie: the forward product sums over their rows
// (Along::Result), the data gradient along them (Along::Sum). FITS: channels fill every step, columns every tile.
template <class Tile, Along FILTERS, bool FITS>
struct FilterFetch {
  using T = typename Tile::Element;
  using View = typename Tile::template View<FILTERS, false>;
  static constexpr bool kSum = FILTERS == Along::Sum;
  static constexpr int kChunks = (kSum ? Tile::BK : Tile::BN) / Tile::kChunk;
  static constexpr int kRows = Tile::kThreads / kChunks, kCopies = (kSum ? Tile::BN : Tile::BK) / kRows;
  static_assert(kCopies >= 1 && (kSum ? Tile::BN : Tile::BK) % kRows == 0, "whole rounds of copies");
  static_assert(kRows % View::kPattern == 0, "every round meets the same pattern of chunks");

  const GatherShape& g;
  const T* filters;
  int from, to, room;  // the first copy; how many rows of the tile exist from this thread's first on

  __device__ __forceinline__ FilterFetch(const GatherShape& shape, const T* w, int n0) : g(shape), filters(w) {
    const int chunk = threadIdx.x % kChunks, row = threadIdx.x / kChunks, column = n0 + chunk * Tile::kChunk;
    to = View::place(row, chunk);
    from = kSum ? (n0 + row) * g.c + chunk * Tile::kChunk : row * g.n + column;
    room = kSum ? g.n - n0 - row : column < g.n ? g.c - row : 0;
    keep(to), keep(from);
  }

  // Where the filters of a tap begin.
  __device__ __forceinline__ int tap_offset(int row, int column) const {
    return g.w_first + row * g.w_down + column * g.w_across;
  }

  // How far a channel lies behind the first.
  __device__ __forceinline__ int channel_offset(int channel) const { return kSum ? channel : channel * g.n; }

  // The channels from `channel` on, at `offset`.
  __device__ __forceinline__ void operator()(SharedAddress stage, int offset, int channel) const {
    const T* b = filters + (from + offset);
    const int own_channel = channel + static_cast<int>(threadIdx.x) % kChunks * Tile::kChunk;
    const int rows = !kSum ? room - channel : own_channel < g.c ? room : 0;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      copy_or_zero_16(stage + to + i * kRows * View::kPitch, b + i * kRows * (kSum ? g.c : g.n), FITS || i * kRows < rows);
    }
  }
};

// The copies of both operands, step by step: all taps of some channels, then the next channels, so that the pixels that
// neighbouring taps share are read again soon.
template <class Tile, Along FILTERS, bool FITS>
struct GatherFetch {
  using T = typename Tile::Element;
  using View = typename Tile::template View<Along::Sum, true>;
  static constexpr int kChunks = Tile::BK / Tile::kChunk;
  static constexpr int kRows = Tile::kThreads / kChunks, kCopies = Tile::BM / kRows;
  static_assert(Tile::BM % kRows == 0 && kRows % 8 == 0, "whole rounds, every one meets the same pattern of chunks");

  const GatherShape& g;
  const T* images;
  FilterFetch<Tile, FILTERS, FITS> filters;
  unsigned from[kCopies];     // bytes from the images' start to this thread's pixels, as if there were no padding
  unsigned outside[kCopies];  // the taps that miss the image; all of them for a pixel behind the end
  int to, first_channel;
  int tap_row, tap_column, channel;  // the next step
  int image_offset, filter_offset;   // and where it lies
  unsigned tap;

  __device__ __forceinline__ GatherFetch(const GatherShape& shape, const T* x, const T* w, int m0, int n0,
                                         int first_step)
      : g(shape), images(x), filters(shape, w, n0) {
    const int chunk = threadIdx.x % kChunks, row = threadIdx.x / kChunks;
    to = View::place(row, chunk);
    first_channel = chunk * Tile::kChunk;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int pixel = m0 + row + i * kRows;
      int across, down;
      const int image = g.p.divmod(g.q.divmod(pixel, across), down);
      const int top = down * g.stride_h, left = across * g.stride_w;
      from[i] = (((static_cast<unsigned>(image) * g.h + top) * g.w + left) * g.c + first_channel) * sizeof(T);
      outside[i] = pixel >= g.rows ? ~0u
                                   : taps_outside(top + g.top, g.dilation_h, g.kh, g.h) |
                                         taps_outside(left + g.left, g.dilation_w, g.kw, g.w) << 16;
      keep(from[i]), keep(outside[i]);
    }
    const int taps = max(g.kh * g.kw, 1), first_tap = first_step % taps;  // a class may have no taps
    channel = first_step / taps * Tile::BK;
    tap_row = first_tap / max(g.kw, 1), tap_column = first_tap % max(g.kw, 1);
    find_tap();
    keep(to);
  }

  __device__ __forceinline__ void find_tap() {
    tap = tap_bits(tap_row, tap_column);
    image_offset = ((tap_row * g.dilation_h + g.top) * g.w + tap_column * g.dilation_w + g.left) * g.c + channel;
    filter_offset = filters.tap_offset(tap_row, tap_column) + filters.channel_offset(channel);
  }

  // Starts the copies of one step and goes on to the next.
  __device__ __forceinline__ void operator()(SharedAddress stage) {
    const bool channels_exist = FITS || channel + first_channel < g.c;
    const char* a = reinterpret_cast<const char*>(images + image_offset);
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      copy_or_zero_16(stage + to + i * kRows * View::kPitch, a + from[i], !(outside[i] & tap) && channels_exist);
    }
    filters(stage + Tile::kBytesA, filter_offset, channel);
    if (++tap_column == g.kw) {
      tap_column = 0;
      if (++tap_row == g.kh) tap_row = 0, channel += Tile::BK;
    }
    find_tap();
  }
};

// The tile of the result that blockIdx.x names, of split blockIdx.z. Tiles of the same rows follow each other, so that
// they read the images while these are in the L2 cache.
template <class Tile, Along FILTERS, bool FITS>
__device__ __forceinline__ void gathered_product(const typename Tile::Element* images,
                                                 const typename Tile::Element* filters, const float* bias,
                                                 typename Tile::Element* out, const typename Tile::Element* added,
                                                 float* parts, float* moments, float* tile_moments, unsigned* counters,
                                                 const GatherShape& g, int splits, bool relu) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const int column_tiles = (g.n + Tile::BN - 1) / Tile::BN;
  const int m0 = blockIdx.x / column_tiles * Tile::BM, n0 = blockIdx.x % column_tiles * Tile::BN;
  const int all_steps = g.kh * g.kw * ((g.c + Tile::BK - 1) / Tile::BK), first = blockIdx.z * g.steps_per_split;
  Accumulators<Tile> sums;
  GatherFetch<Tile, FILTERS, FITS> fetch(g, images, filters, m0, n0, first);
  multiply_tiles<Along::Sum, FILTERS>(Tile(), sums, shared_address(shared), min(all_steps - first, g.steps_per_split),
                                      fetch);
  if (!add_splits<Tile>(sums, blockIdx.x, blockIdx.z, splits, parts, counters)) return;
  add_bias<Tile>(sums, bias, relu, n0, g.n);
  auto row_offset = [&](int row) {
    if (m0 + row >= g.rows) return -1;
    int across, down;
    const int image = g.p.divmod(g.q.divmod(m0 + row, across), down);
    const int i = down * g.step_h + g.first_h, j = across * g.step_w + g.first_w;
    return ((image * g.out_h + i) * g.out_w + j) * g.n;
  };
  if constexpr (sizeof(typename Tile::Element) == 4) {
    store_sums<Tile>(sums, out, n0, g.n, row_offset);
  } else {
    __syncthreads();  // the stages have been read
    const RoundedTile<Tile> tile(sums, shared, row_offset);
    const auto store = [&] { tile.store(out, added, n0, g.n); };
    if (!moments) return store();
    const int row_tiles = gridDim.x / column_tiles;
    unsigned* of_columns = counters + splits * gridDim.x + blockIdx.x % column_tiles * row_tiles;
    const auto own = tile.moments(n0, g.n, min(g.rows - m0, Tile::BM));
    merge_moments<Tile>(own, shared, moments, tile_moments, of_columns, m0 / Tile::BM, n0, g.n, g.rows, store);
  }
}

// In the launch bounds one block a multiprocessor, even where more are meant to fit, but for tiles that would else take more
// than 128 registers, for the sums over splits: without a number the compiler may stop at 128 registers, and spill.

// y = x * w, plus bias (n,), then ReLU if `relu`. With several splits of the sum there are parts for all blocks (tiles,
// splits, BM, BN). moments (2, n), only for bfloat16, gets mean and variance of y's columns; with several tiles of rows by
// way of tile_moments (tiles of rows, 2, n). counters: for the blocks, and behind them for the tiles.
template <class Tile, bool FITS>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident)
    tensor_forward(const typename Tile::Element* __restrict__ x, const typename Tile::Element* __restrict__ w,
                   const float* __restrict__ bias, typename Tile::Element* __restrict__ y, float* parts, float* moments,
                   float* tile_moments, unsigned* counters, const GatherShape shape, int splits, int relu) {
  gathered_product<Tile, Along::Result, FITS>(x, w, bias, y, nullptr, parts, moments, tile_moments, counters, shape, splits,
                                              relu != 0);
}

// dx from dy: pixel (i, j) gets tap (r, s) of the window that has it there. With strides, the pixels of one parity class
// (alike in i % stride_h and j % stride_w) have the same taps, and are a product of stride 1 with the taps in reverse
// order; a launch computes one class. Where `added` (like dx, only for bfloat16) is given it is added to dx.
template <class Tile, bool FITS>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident)
    tensor_backward_input(const typename Tile::Element* __restrict__ dy, const typename Tile::Element* __restrict__ w,
                          typename Tile::Element* __restrict__ dx, const typename Tile::Element* __restrict__ added,
                          float* parts, unsigned* counters, const GatherShape shape, int splits) {
  gathered_product<Tile, Along::Sum, FITS>(dy, w, nullptr, dx, added, parts, nullptr, nullptr, counters, shape, splits,
                                           false);
}

// The filter gradient: rows are taps and channels as they lie in dw, columns filters, the sum runs over pixels of dy.
struct WgradShape {
  int pixels;            // of dy: images * p * q
  int pixels_per_split;  // a multiple of BK
  FastDivmod p, q;
  int h, w, c, n;  // x; filters
  int stride_h, stride_w, dilation_h, dilation_w, top, left;  // as in GatherShape
  int kh, kw;
};

// dw (kh, kw, c, n). With several splits of the sum there are parts for all blocks (tiles, splits, BM, BN), and counters.
template <class Tile, bool FITS>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident)
    tensor_backward_filter(const typename Tile::Element* __restrict__ x, const typename Tile::Element* __restrict__ dy,
                           float* __restrict__ dw, float* parts, unsigned* counters, const WgradShape g, int splits) {
  using T = typename Tile::Element;
  using A = typename Tile::template View<Along::Result, true>;
  using B = typename Tile::template View<Along::Result, false>;
  constexpr int kLanes = Tile::kPixelLanes;         // threads that share a pixel
  constexpr int kPixels = Tile::kThreads / kLanes;  // of a round of copies
  constexpr int kGroupsA = Tile::BM / Tile::kChunk / kLanes, kGroupsB = Tile::BN / Tile::kChunk / kLanes;
  static_assert(Tile::BK % kPixels == 0 && kPixels % 8 == 0, "whole rounds, each meets the same pattern of chunks");
  extern __shared__ __align__(1024) unsigned char shared[];
  const int rows = g.kh * g.kw * g.c, column_tiles = (g.n + Tile::BN - 1) / Tile::BN;
  const int m0 = blockIdx.x / column_tiles * Tile::BM, n0 = blockIdx.x % column_tiles * Tile::BN;
  const int begin = blockIdx.z * g.pixels_per_split, end = min(begin + g.pixels_per_split, g.pixels);

  const int pixel_row = threadIdx.x / kLanes, chunk = threadIdx.x % kLanes;
  const int to_a = A::place(pixel_row, chunk), to_b = Tile::kBytesA + B::place(pixel_row, chunk);
  const int filters_left = g.n - n0 - chunk * Tile::kChunk;
  // Each of this thread's chunks of rows: where its tap lies in the window, and its channel. Where tiles fit, all are of
  // the block's one tap, or, by warpgroups, every 64 rows of one tap.
  constexpr bool kOneTap = FITS && !Tile::kWarpgroups;
  constexpr int kTaps = kOneTap ? 1 : kGroupsA;
  int tap_h[kTaps], tap_w[kTaps], channels[kTaps];
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const int row = m0 + (kOneTap ? 0 : (chunk + k * kLanes) * Tile::kChunk), tap = row / g.c;
    tap_h[k] = row < rows ? g.top + tap / g.kw * g.dilation_h : -(1 << 30);  // outside of any image
    tap_w[k] = g.left + tap % g.kw * g.dilation_w;
    channels[k] = row % g.c + (kOneTap ? chunk * Tile::kChunk : 0);
  }

  int pixel = begin + pixel_row;
  auto fetch = [&](SharedAddress stage) {
#pragma unroll
    for (int round = 0; round < Tile::BK / kPixels; ++round) {
      int across, down;
      const int image = g.p.divmod(g.q.divmod(pixel, across), down);
      const bool exists = pixel < end;
      const T* from_x[kTaps];
      bool inside[kTaps];
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        const int i = down * g.stride_h + tap_h[k], j = across * g.stride_w + tap_w[k];
        inside[k] = exists && static_cast<unsigned>(i) < static_cast<unsigned>(g.h) &&
                    static_cast<unsigned>(j) < static_cast<unsigned>(g.w);
        // Unsigned: outside of the image it may wrap.
        from_x[k] = x + static_cast<int>(((static_cast<unsigned>(image) * g.h + i) * g.w + j) * g.c + channels[k]);
      }
      const T* from_dy = dy + (pixel * g.n + n0 + chunk * Tile::kChunk);
      // Chunk + kLanes k: the exclusive or with what stays below eight chunks, the sum with the rest.
#pragma unroll
      for (int k = 0; k < kGroupsA; ++k) {
        const int low = kLanes * k % 8 * 16, high = kLanes * k / 8 * A::kEight + round * kPixels * A::kPitch;
        copy_or_zero_16(stage + (to_a ^ low) + high, from_x[k % kTaps] + (kOneTap ? k * kLanes * Tile::kChunk : 0),
                        inside[k % kTaps]);
      }
#pragma unroll
      for (int k = 0; k < kGroupsB; ++k) {
        const int low = kLanes * k % 8 * 16, high = kLanes * k / 8 * B::kEight + round * kPixels * B::kPitch;
        copy_or_zero_16(stage + (to_b ^ low) + high, from_dy + k * kLanes * Tile::kChunk,
                        exists && (FITS || k * kLanes * Tile::kChunk < filters_left));
      }
      pixel += kPixels;
    }
  };
  Accumulators<Tile> sums;
  multiply_tiles<Along::Result, Along::Result>(Tile(), sums, shared_address(shared),
                                               (max(end - begin, 0) + Tile::BK - 1) / Tile::BK, fetch);
  if (!add_splits<Tile>(sums, blockIdx.x, blockIdx.z, splits, parts, counters)) return;
  store_sums<Tile>(sums, dw, n0, g.n, [&](int row) { return m0 + row < rows ? (m0 + row) * g.n : -1; });
}
