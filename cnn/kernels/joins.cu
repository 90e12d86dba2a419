// Joins of branches: sums, products, gates, and concatenation of channels.
#include "channels.cuh"

// y = a + b, all (count,).
template <class T>
__global__ void __launch_bounds__(256)
    add(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, int count) {
  map_elements(a, b, y, count, [](float u, float v) { return u + v; });
}

// y = a * b, all (count,).
template <class T>
__global__ void __launch_bounds__(256)
    multiply(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, int count) {
  map_elements(a, b, y, count, [](float u, float v) { return u * v; });
}

// --- a gate for each image and channel: blockIdx.x is a tile of channels, blockIdx.y a chunk of an image's pixels, and
// --- blockIdx.z the first of its images, with stride gridDim.z -------------------------------------------------------

template <int N, class T>
__device__ __forceinline__ void gate_rows(const T* __restrict__ x, const T* __restrict__ gate, T* __restrict__ y, int n,
                                          int pixels, int c) {
  const ChannelWalk<N> walk(pixels, c);
  if (!walk.active) return;
  for (int image = blockIdx.z; image < n; image += gridDim.z) {
    const unsigned first = static_cast<unsigned>(image) * pixels * c;
    const auto factor = load_pack<N>(gate + image * c + walk.channel);
    walk.for_rows([&](unsigned, unsigned i) {
      auto v = load_pack<N>(x + first + i);
#pragma unroll
      for (int k = 0; k < N; ++k) v.at[k] *= factor.at[k];
      store_pack(y + first + i, v);
    });
  }
}

// y = x * gate for x and y (n, pixels, c) and gate (n, c).
template <class T>
__global__ void __launch_bounds__(256) multiply_gate(const T* __restrict__ x, const T* __restrict__ gate,
                                                     T* __restrict__ y, int n, int pixels, int c) {
  if (by_fours(c, x, gate, y)) {
    gate_rows<4>(x, gate, y, n, pixels, c);
  } else {
    gate_rows<1>(x, gate, y, n, pixels, c);
  }
}

// The sum over an image's pixels of the product of dy and x, both (pixels, c), in the block's first threads.
template <int N, class T>
__device__ __forceinline__ Sums<N> sum_products(const T* __restrict__ dy, const T* __restrict__ x,
                                                const ChannelWalk<N>& walk) {
  LongSums<N> own;
  walk.for_rows([&](unsigned, unsigned i) {
    const auto g = load_pack<N>(dy + i), v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) own.add(k, g.at[k] * v.at[k]);
  });
  return merge_lanes(own.totals(), walk.lanes, walk.width);
}

template <int N, class T>
__device__ __forceinline__ void gate_gradients(const T* __restrict__ dy, const T* __restrict__ x,
                                               T* __restrict__ dgate, int n, int pixels, int c) {
  const ChannelWalk<N> walk(pixels, c);
  for (int image = blockIdx.z; image < n; image += gridDim.z) {
    const unsigned first = static_cast<unsigned>(image) * pixels * c;
    const auto sums = sum_products<N>(dy + first, x + first, walk);
    if (walk.first) store_pack(dgate + image * c + walk.channel, sums.pack());
    __syncthreads();  // the next image's sums go through the same shared memory
  }
}

// dgate (n, c) of dy and x (n, pixels, c). One chunk holds all pixels.
template <class T>
__global__ void __launch_bounds__(256) gate_backward(const T* __restrict__ dy, const T* __restrict__ x,
                                                     T* __restrict__ dgate, int n, int pixels, int c) {
  if (by_fours(c, dy, x, dgate)) {
    gate_gradients<4>(dy, x, dgate, n, pixels, c);
  } else {
    gate_gradients<1>(dy, x, dgate, n, pixels, c);
  }
}

// --- concatenation of channels ---------------------------------------------------------------------------------------

// Channel k of row r of y is channel k of row r of x, for k < channels. Rows of x are x_pitch elements apart and begin
// at x_first, those of y are y_pitch apart and begin at y_first: one part of a concatenation, or of a split.
template <int N, class T>
__device__ __forceinline__ void copy_rows(const T* __restrict__ x, T* __restrict__ y, int rows, int channels,
                                          int x_pitch, int x_first, int y_pitch, int y_first) {
  const unsigned packs = channels / N, count = static_cast<unsigned>(rows) * packs;
  for (unsigned i = grid_thread(); i < count; i += grid_threads()) {
    const unsigned row = i / packs, channel = (i - row * packs) * N;
    *reinterpret_cast<Pack<T, N>*>(y + row * y_pitch + y_first + channel) =
        *reinterpret_cast<const Pack<T, N>*>(x + row * x_pitch + x_first + channel);
  }
}

template <class T>
__global__ void __launch_bounds__(256) copy_channels(const T* __restrict__ x, T* __restrict__ y, int rows, int channels,
                                                     int x_pitch, int x_first, int y_pitch, int y_first) {
  if ((channels | x_pitch | x_first | y_pitch | y_first) % 4 == 0 && packs_at<4>(x) && packs_at<4>(y)) {
    copy_rows<4>(x, y, rows, channels, x_pitch, x_first, y_pitch, y_first);
  } else {
    copy_rows<1>(x, y, rows, channels, x_pitch, x_first, y_pitch, y_first);
  }
}
