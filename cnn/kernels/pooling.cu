// Pooling of NHWC images, and the gradients, which gather: an input pixel sums over the windows that contain it.
//
// A thread computes four neighbouring channels of a pixel if their number and the addresses allow it, else one;
// neighbouring threads compute neighbouring channels. Most of a thread's instructions are index divisions, so there are
// only three per thread, and in the gradients a thread computes all pixels of one stride.
#include "channels.cuh"
#include "window.cuh"

// Four blocks per multiprocessor leave 64 registers per thread. Without a limit the compiler uses fewer and spills.
constexpr int kThreads = 256, kBlocks = 4;

// An image, a place in a grid of rows and columns, and a channel.
struct Place {
  int image, row, column, channel;

  // The index of this place in a tensor (images, rows, columns, channels).
  __device__ __forceinline__ int in(int rows, int columns, int channels) const {
    return ((image * rows + row) * columns + column) * channels + channel;
  }
};

// The place with number `item`, counting N channels at a time.
template <int N>
__device__ __forceinline__ Place place(unsigned item, unsigned rows, unsigned columns, unsigned channels) {
  const unsigned packs = channels / N, pixel = item / packs, line = pixel / columns, image = line / rows;
  return {static_cast<int>(image), static_cast<int>(line - image * rows),
          static_cast<int>(pixel - line * columns), static_cast<int>((item - pixel * packs) * N)};
}

// n / divisor for n >= 0; fast for 1, the usual divisor.
__device__ __forceinline__ int quotient(int n, int divisor) { return divisor == 1 ? n : n / divisor; }

// --- windows of an output pixel ---------------------------------------------------------------------------------

// Calls visit(pixel, tap) for N channels of every input pixel in the window of the output pixel `at`, in the taps'
// order. With K > 0 the window is K x K, and the compiler issues all of its loads before the first is used; else those
// of some taps of a line.
template <int N, int K, class T, class Visit>
__device__ __forceinline__ void visit_window(const T* __restrict__ x, const Window2D& window, const Place& at,
                                             Visit visit) {
  constexpr int kAtOnce = 6;
  const int top = at.row * window.stride_h - window.top, left = at.column * window.stride_w - window.left;
  const auto sees = [&](int row, int column) {
    return row >= 0 && row < window.h && column >= 0 && column < window.w;
  };
  const auto pixel = [&](int row, int column) {
    return load_pack<N>(x + Place{at.image, row, column, at.channel}.in(window.h, window.w, window.c));
  };
  if constexpr (K > 0) {
    Pack<float, N> pixels[K * K];
    bool inside[K * K];
#pragma unroll
    for (int tap = 0; tap < K * K; ++tap) {
      const int row = top + tap / K * window.dilation_h, column = left + tap % K * window.dilation_w;
      inside[tap] = sees(row, column);
      if (inside[tap]) pixels[tap] = pixel(row, column);
    }
#pragma unroll
    for (int tap = 0; tap < K * K; ++tap) {
      if (inside[tap]) visit(pixels[tap], tap);
    }
  } else {
    for (int r = 0; r < window.kh; ++r) {
      const int row = top + r * window.dilation_h;
      for (int begin = 0; begin < window.kw; begin += kAtOnce) {
        Pack<float, N> pixels[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          const int column = left + (begin + k) * window.dilation_w;
          if (begin + k < window.kw && sees(row, column)) pixels[k] = pixel(row, column);
        }
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          const int column = left + (begin + k) * window.dilation_w;
          if (begin + k < window.kw && sees(row, column)) visit(pixels[k], r * window.kw + begin + k);
        }
      }
    }
  }
}

template <int N, int K, class T, class Index>
__device__ __forceinline__ void max_pool(const T* __restrict__ x, T* __restrict__ y, Index* __restrict__ argmax,
                                         const Window2D& window) {
  const unsigned items = static_cast<unsigned>(window.n) * window.p * window.q * (window.c / N);
  for (unsigned item = grid_thread(); item < items; item += grid_threads()) {
    const Place at = place<N>(item, window.p, window.q, window.c);
    Pack<float, N> largest;
    Pack<Index, N> number = {};
#pragma unroll
    for (int k = 0; k < N; ++k) largest.at[k] = -__int_as_float(0x7f800000);  // -infinity
    bool first = true;
    visit_window<N, K>(x, window, at, [&](const Pack<float, N>& pixel, int tap) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const bool larger = first || pixel.at[k] > largest.at[k];
        if (larger) number.at[k] = static_cast<Index>(tap);
        if (larger || pixel.at[k] != pixel.at[k]) largest.at[k] = pixel.at[k];  // NaN stays: it is the largest
      }
      first = false;
    });
    const int out = at.in(window.p, window.q, window.c);
    store_pack(y + out, largest);
    store_pack(argmax + out, number);
  }
}

template <int N, class T, class Index>
__device__ __forceinline__ void max_pool(const T* x, T* y, Index* argmax, const Window2D& window) {
  constexpr bool kSmall = sizeof(Index) == 1;  // a wider type means that the window has more than 256 taps
  if (kSmall && window.kh == 2 && window.kw == 2) {
    max_pool<N, kSmall ? 2 : 0>(x, y, argmax, window);
  } else if (kSmall && window.kh == 3 && window.kw == 3) {
    max_pool<N, kSmall ? 3 : 0>(x, y, argmax, window);
  } else {
    max_pool<N, 0>(x, y, argmax, window);
  }
}

// x (n, h, w, c) to y (n, p, q, c) and argmax (n, p, q, c), the number of the tap with the maximum: the first of equal
// taps, and never one in the padding.
template <class Index, class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    max_pool2d(const T* __restrict__ x, T* __restrict__ y, Index* __restrict__ argmax, Window2D window) {
  if (by_fours(window.c, x, y, argmax)) {
    max_pool<4>(x, y, argmax, window);
  } else {
    max_pool<1>(x, y, argmax, window);
  }
}

// The padding that counts in a mean: rows above and below, columns left and right; 0 where padding does not count.
struct Margins {
  int top, bottom, left, right;
};

// The number of `taps` from `begin` to before `end`, in one direction, for a window that starts at `start`.
__device__ __forceinline__ int taps_between(int start, int taps, int dilation, int begin, int end) {
  const int last = end > start ? min(taps, quotient(end - start - 1, dilation) + 1) : 0;
  return max(last - (start < begin ? quotient(begin - start + dilation - 1, dilation) : 0), 0);
}

// 1 / the number of taps in the mean of output pixel (i, j), at least 1.
__device__ __forceinline__ float weight_of(const Window2D& window, const Margins& counted, int i, int j) {
  const int rows = taps_between(i * window.stride_h - window.top, window.kh, window.dilation_h, -counted.top,
                                window.h + counted.bottom);
  const int columns = taps_between(j * window.stride_w - window.left, window.kw, window.dilation_w, -counted.left,
                                   window.w + counted.right);
  return 1.f / static_cast<float>(max(rows * columns, 1));
}

template <int N, int K, class T>
__device__ __forceinline__ void avg_pool(const T* __restrict__ x, T* __restrict__ y, const Window2D& window,
                                         const Margins& counted) {
  const unsigned items = static_cast<unsigned>(window.n) * window.p * window.q * (window.c / N);
  for (unsigned item = grid_thread(); item < items; item += grid_threads()) {
    const Place at = place<N>(item, window.p, window.q, window.c);
    LongSums<N> own;
    visit_window<N, K>(x, window, at, [&](const Pack<float, N>& pixel, int) {
#pragma unroll
      for (int k = 0; k < N; ++k) own.add(k, pixel.at[k]);
    });
    auto sum = own.totals().pack();
    const float weight = weight_of(window, counted, at.row, at.column);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] *= weight;
    store_pack(y + at.in(window.p, window.q, window.c), sum);
  }
}

template <int N, class T>
__device__ __forceinline__ void avg_pool(const T* x, T* y, const Window2D& window, const Margins& counted) {
  if (window.kh == 2 && window.kw == 2) {
    avg_pool<N, 2>(x, y, window, counted);
  } else if (window.kh == 3 && window.kw == 3) {
    avg_pool<N, 3>(x, y, window, counted);
  } else {
    avg_pool<N, 0>(x, y, window, counted);
  }
}

// x (n, h, w, c) to y (n, p, q, c), the mean of each window over the pixels that count; padding is 0.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    avg_pool2d(const T* __restrict__ x, T* __restrict__ y, Window2D window, Margins counted) {
  if (by_fours(window.c, x, y)) {
    avg_pool<4>(x, y, window, counted);
  } else {
    avg_pool<1>(x, y, window, counted);
  }
}

// --- windows over an input pixel --------------------------------------------------------------------------------

// Calls visit(i, j, tap) for every output pixel (i, j) whose window has the input pixel as its tap, in the taps' order.
//
// In one direction, tap r of output i reads the padded input at i * stride + r * dilation. So the windows that contain
// the pixel at cell * stride + offset (0 <= offset < stride) are those of i = cell, in which its distance from the
// start is `offset`, of i = cell - 1, with distance offset + stride, and so on up to the window's size.
template <class Visit>
__device__ __forceinline__ void visit_windows_over(const Window2D& window, int cell_row, int offset_row,
                                                   int cell_column, int offset_column, Visit visit) {
  const int reach_h = (window.kh - 1) * window.dilation_h, reach_w = (window.kw - 1) * window.dilation_w;
  for (int i = cell_row, down = offset_row; i >= 0 && down <= reach_h; --i, down += window.stride_h) {
    const int r = quotient(down, window.dilation_h);
    if (i >= window.p || r * window.dilation_h != down) continue;
    for (int j = cell_column, across = offset_column; j >= 0 && across <= reach_w; --j, across += window.stride_w) {
      const int s = quotient(across, window.dilation_w);
      if (j < window.q && s * window.dilation_w == across) visit(i, j, r * window.kw + s);
    }
  }
}

// dx (n, h, w, c): every element is the sum of what contribute(out, i, j, tap, sum) adds for the windows that contain
// it, where `out` is the index of the window's output pixel in dy.
//
// A thread computes a cell: the stride_h x stride_w input pixels whose first window is the same.
template <int N, class T, class Contribute>
__device__ __forceinline__ void gather_gradient(T* __restrict__ dx, const Window2D& window, Contribute contribute) {
  const int first_row = window.top / window.stride_h, first_column = window.left / window.stride_w;
  const int cell_rows = (window.top + window.h - 1) / window.stride_h - first_row + 1;
  const int cell_columns = (window.left + window.w - 1) / window.stride_w - first_column + 1;
  const unsigned items = static_cast<unsigned>(window.n) * cell_rows * cell_columns * (window.c / N);
  for (unsigned item = grid_thread(); item < items; item += grid_threads()) {
    const Place cell = place<N>(item, cell_rows, cell_columns, window.c);
    const int cell_row = cell.row + first_row, cell_column = cell.column + first_column;
    for (int a = 0; a < window.stride_h; ++a) {
      const int row = cell_row * window.stride_h + a - window.top;
      if (row < 0 || row >= window.h) continue;
      for (int b = 0; b < window.stride_w; ++b) {
        const int column = cell_column * window.stride_w + b - window.left;
        if (column < 0 || column >= window.w) continue;
        Pack<float, N> sum = {};
        visit_windows_over(window, cell_row, a, cell_column, b, [&](int i, int j, int tap) {
          contribute(Place{cell.image, i, j, cell.channel}.in(window.p, window.q, window.c), i, j, tap, sum);
        });
        store_pack(dx + Place{cell.image, row, column, cell.channel}.in(window.h, window.w, window.c), sum);
      }
    }
  }
}

template <int N, class T, class Index>
__device__ __forceinline__ void max_pool_backward(const T* __restrict__ dy, const Index* __restrict__ argmax,
                                                  T* __restrict__ dx, const Window2D& window) {
  gather_gradient<N>(dx, window, [=](int out, int, int, int tap, Pack<float, N>& sum) {
    const auto gradient = load_pack<N>(dy + out);
    const auto number = load_pack<N>(argmax + out);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] += number.at[k] == tap ? gradient.at[k] : 0.f;
  });
}

// dy and argmax (n, p, q, c) to dx (n, h, w, c).
template <class Index, class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    max_pool2d_backward(const T* __restrict__ dy, const Index* __restrict__ argmax, T* __restrict__ dx,
                        Window2D window) {
  if (by_fours(window.c, dy, argmax, dx)) {
    max_pool_backward<4>(dy, argmax, dx, window);
  } else {
    max_pool_backward<1>(dy, argmax, dx, window);
  }
}

template <int N, class T>
__device__ __forceinline__ void avg_pool_backward(const T* __restrict__ dy, T* __restrict__ dx, const Window2D& window,
                                                  const Margins& counted) {
  gather_gradient<N>(dx, window, [=](int out, int i, int j, int, Pack<float, N>& sum) {
    const auto gradient = load_pack<N>(dy + out);
    const float weight = weight_of(window, counted, i, j);
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] += gradient.at[k] * weight;
  });
}

// dy (n, p, q, c) to dx (n, h, w, c).
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    avg_pool2d_backward(const T* __restrict__ dy, T* __restrict__ dx, Window2D window, Margins counted) {
  if (by_fours(window.c, dy, dx)) {
    avg_pool_backward<4>(dy, dx, window, counted);
  } else {
    avg_pool_backward<1>(dy, dx, window, counted);
  }
}

// --- the whole image --------------------------------------------------------------------------------------------

// The elements of a thread in the global poolings: one channel of one image, every (kThreads / lanes)-th pixel. A block
// has `lanes` channels of an image, at most 32; with few channels, a warp reads several neighbouring pixels.
struct ChannelLane {
  int lanes = 1, image, channel;
  int first, step, count;  // its elements in a tensor (n, pixels, c): first, first + step, ...

  __device__ __forceinline__ ChannelLane(int pixels, int c) {
    while (lanes < c && lanes < 32) lanes *= 2;
    const int groups = (c + lanes - 1) / lanes, rows = kThreads / lanes, row = threadIdx.x / lanes;
    image = blockIdx.x / groups;
    channel = (blockIdx.x - image * groups) * lanes + threadIdx.x % lanes;
    first = (image * pixels + row) * c + channel;
    step = rows * c;
    count = channel < c ? pixels / rows + (row < pixels % rows) : 0;
  }
};

// x (n, pixels, c) to y (n, c), the mean over the pixels.
template <class T>
__global__ void __launch_bounds__(kThreads)
    global_avg_pool2d(const T* __restrict__ x, T* __restrict__ y, int n, int pixels, int c) {
  __shared__ float sums[kThreads];
  const ChannelLane mine(pixels, c);
  const int t = threadIdx.x;
  LongSum sum;
#pragma unroll 8
  for (int k = 0; k < mine.count; ++k) sum.add(loaded(x[mine.first + k * mine.step]));
  sums[t] = sum.total();
  __syncthreads();
  for (int half = kThreads / 2; half >= mine.lanes; half /= 2) {  // keeps channels apart
    if (t < half) sums[t] += sums[t + half];
    __syncthreads();
  }
  if (t < mine.lanes && mine.channel < c) {
    assign(y[mine.image * c + mine.channel], sums[t] / static_cast<float>(pixels));
  }
}

// dy (n, c) to dx (n, pixels, c).
template <class T>
__global__ void __launch_bounds__(kThreads)
    global_avg_pool2d_backward(const T* __restrict__ dy, T* __restrict__ dx, int n, int pixels, int c) {
  const ChannelLane mine(pixels, c);
  if (mine.count == 0) return;
  const float gradient = loaded(dy[mine.image * c + mine.channel]) / static_cast<float>(pixels);
  for (int k = 0; k < mine.count; ++k) assign(dx[mine.first + k * mine.step], gradient);
}
