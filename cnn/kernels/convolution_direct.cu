// Convolutions for which a matrix product would waste most of its work: images of one channel, where a window has only
// a few numbers, and depthwise convolutions, where every filter reads one channel.
#include "fast_divmod.cuh"
#include "merge.cuh"
#include "storage.cuh"
#include "window.cuh"

// --- one channel: the filters' taps stay in registers while a thread loops over output pixels ----------------------

// Thread t of the grid computes FILTERS neighbouring filters of every pixel_lanes-th output pixel.
template <int FILTERS>
struct FilterLane {
  int first, lane, lanes;  // filter, output pixel to begin with, step between pixels

  __device__ __forceinline__ FilterLane(int filters) {
    const int filter_lanes = (filters + FILTERS - 1) / FILTERS;
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    first = thread % filter_lanes * FILTERS;
    lane = thread / filter_lanes;
    lanes = gridDim.x * blockDim.x / filter_lanes;
  }
};

// Neighbouring output pixels of a row that a thread computes together, as their windows overlap: where rows are whole
// runs, and windows move by one pixel.
constexpr int kRun = 4, kGradientRun = 2;  // the filter gradient needs more registers

__device__ __forceinline__ bool in_runs(const Window2D& window) {
  return window.q % kRun == 0 && window.stride_w == 1 && window.dilation_w == 1;
}

// The windows of RUN output pixels from m on, zeros outside the image: pixel i has columns i to i + KW - 1.
template <int KH, int KW, int RUN, class T>
__device__ __forceinline__ void read_windows(const T* __restrict__ x, const Window2D& window, const FastDivmod& p,
                                             const FastDivmod& q, int m, float (&values)[KH][KW + RUN - 1]) {
  int i, j;
  const int image = p.divmod(q.divmod(m, j), i);
  const int top = i * window.stride_h - window.top, left = j * window.stride_w - window.left;
  const T* pixels = x + image * window.h * window.w;
#pragma unroll
  for (int r = 0; r < KH; ++r) {
    const int row = top + r * window.dilation_h;
    const bool inside = static_cast<unsigned>(row) < static_cast<unsigned>(window.h);
#pragma unroll
    for (int s = 0; s < KW + RUN - 1; ++s) {
      const int column = left + s * window.dilation_w;
      const bool exists = inside && static_cast<unsigned>(column) < static_cast<unsigned>(window.w);
      values[r][s] = exists ? loaded(pixels[row * window.w + column]) : 0.f;
    }
  }
}

template <int KH, int KW, int FILTERS, int RUN, class T>
__device__ __forceinline__ void convolve_one_channel(const T* __restrict__ x, const T* __restrict__ w,
                                                     const float* __restrict__ bias, T* __restrict__ y,
                                                     const Window2D& window, const FastDivmod& p, const FastDivmod& q,
                                                     int filters, bool relu) {
  const FilterLane<FILTERS> mine(filters);
  if (mine.lane >= mine.lanes) return;  // threads left over when the filters' lanes do not divide the grid
  float taps[KH][KW][FILTERS], values[KH][KW + RUN - 1], offset[FILTERS];
#pragma unroll
  for (int f = 0; f < FILTERS; ++f) {
    const bool valid = mine.first + f < filters;
#pragma unroll
    for (int t = 0; t < KH * KW; ++t) taps[t / KW][t % KW][f] = valid ? loaded(w[t * filters + mine.first + f]) : 0.f;
    offset[f] = bias && valid ? bias[mine.first + f] : 0.f;
  }
  const bool vector = filters % FILTERS == 0 && packs_at<FILTERS>(y);
  const int runs = window.n * window.p * window.q / RUN;
  for (int run = mine.lane; run < runs; run += mine.lanes) {
    read_windows<KH, KW, RUN>(x, window, p, q, run * RUN, values);
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      Pack<float, FILTERS> sums;
#pragma unroll
      for (int f = 0; f < FILTERS; ++f) {
        float sum = 0.f;
#pragma unroll
        for (int t = 0; t < KH * KW; ++t) sum = fmaf(values[t / KW][t % KW + i], taps[t / KW][t % KW][f], sum);
        sum += offset[f];
        sums.at[f] = relu && sum < 0.f ? 0.f : sum;
      }
      T* out = y + (run * RUN + i) * filters + mine.first;
      if (vector) {
        store_pack(out, sums);
      } else {
#pragma unroll
        for (int f = 0; f < FILTERS; ++f) {
          if (mine.first + f < filters) assign(out[f], sums.at[f]);
        }
      }
    }
  }
}

// y (n, p, q, filters) of x (n, h, w, 1) and w (KH, KW, 1, filters), plus bias, then ReLU if `relu`.
template <int KH, int KW, int FILTERS, class T>
__global__ void __launch_bounds__(256)
    conv_one_channel(const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias,
                     T* __restrict__ y, Window2D window, FastDivmod p, FastDivmod q, int filters, int relu) {
  if (in_runs(window)) {
    convolve_one_channel<KH, KW, FILTERS, kRun>(x, w, bias, y, window, p, q, filters, relu != 0);
  } else {
    convolve_one_channel<KH, KW, FILTERS, 1>(x, w, bias, y, window, p, q, filters, relu != 0);
  }
}

// A block's 256 threads are filter lanes x pixel lanes. After the pixels, the pixel lanes of a filter are summed in
// order from shared memory, one tap at a time.
template <int KH, int KW, int FILTERS, int RUN, class T>
__device__ __forceinline__ void filter_gradient_one_channel(const T* __restrict__ x, const T* __restrict__ dy,
                                                            float* parts, float* lanes_sums,
                                                            const Window2D& window, const FastDivmod& p,
                                                            const FastDivmod& q, int filters) {
  const int filter_lanes = min((filters + FILTERS - 1) / FILTERS, 256), pixel_lanes = 256 / filter_lanes;
  const int filter_lane = threadIdx.x % filter_lanes, pixel_lane = threadIdx.x / filter_lanes;
  const int runs = window.n * window.p * window.q / RUN;
  const bool vector = filters % FILTERS == 0 && packs_at<FILTERS>(dy);
  const int blocks = gridDim.x, block = blockIdx.x, per_block = (runs + blocks - 1) / blocks;
  const int begin = min(block * per_block, runs), end = min(begin + per_block, runs);

  for (int base = 0; base < filters; base += filter_lanes * FILTERS) {  // more than once only above 256 * FILTERS
    const int first = base + filter_lane * FILTERS;
    float sums[KH][KW][FILTERS] = {}, values[KH][KW + RUN - 1];
    for (int run = begin + pixel_lane; pixel_lane < pixel_lanes && run < end; run += pixel_lanes) {
      Stored<T, FILTERS> d[RUN] = {};
#pragma unroll
      for (int i = 0; i < RUN; ++i) {
        const T* gradients = dy + (run * RUN + i) * filters + first;
        if (vector) {
          if (first < filters) d[i] = load_stored<FILTERS>(gradients);
        } else {
          Pack<float, FILTERS> some{};
#pragma unroll
          for (int f = 0; f < FILTERS; ++f) {
            if (first + f < filters) some.at[f] = loaded(gradients[f]);
          }
          d[i].set(some);
        }
      }
      read_windows<KH, KW, RUN>(x, window, p, q, run * RUN, values);
#pragma unroll
      for (int i = 0; i < RUN; ++i) {
#pragma unroll
        for (int f = 0; f < FILTERS; ++f) {
#pragma unroll
          for (int t = 0; t < KH * KW; ++t) {
            float& sum = sums[t / KW][t % KW][f];
            sum = fmaf(values[t / KW][t % KW + i], d[i].value(f), sum);
          }
        }
      }
    }
#pragma unroll
    for (int t = 0; t < KH * KW; ++t) {
      __syncthreads();  // the tap before this one has been read
#pragma unroll
      for (int f = 0; f < FILTERS; ++f) lanes_sums[threadIdx.x * FILTERS + f] = sums[t / KW][t % KW][f];
      __syncthreads();
      for (int column = threadIdx.x; column < filter_lanes * FILTERS; column += 256) {
        float sum = 0.f;
        for (int lane = 0; lane < pixel_lanes; ++lane) sum += lanes_sums[lane * filter_lanes * FILTERS + column];
        if (base + column < filters) parts[(block * KH * KW + t) * filters + base + column] = sum;
      }
    }
  }
}

// dw (KH, KW, 1, filters) from parts (blocks, KH * KW, filters), one of the pixels of each block, and counters for the
// blocks. If there is one block, parts is dw.
template <int KH, int KW, int FILTERS, class T>
__global__ void __launch_bounds__(256, KH * KW < 25 ? 2 : 1)
    conv_one_channel_backward_filter(const T* __restrict__ x, const T* __restrict__ dy, float* parts, float* dw,
                                     unsigned* counters, Window2D window, FastDivmod p, FastDivmod q, int filters) {
  __shared__ float lanes_sums[256 * FILTERS];
  if (in_runs(window)) {
    filter_gradient_one_channel<KH, KW, FILTERS, kGradientRun>(x, dy, parts, lanes_sums, window, p, q, filters);
  } else {
    filter_gradient_one_channel<KH, KW, FILTERS, 1>(x, dy, parts, lanes_sums, window, p, q, filters);
  }
  const unsigned size = KH * KW * filters;
  add_parts(blockIdx.x, gridDim.x, parts, size, size, dw, counters, threadIdx.x, 256);
}

// --- depthwise: filter k reads only channel k / multiplier ----------------------------------------------------------

// y (n, p, q, filters) of x (n, h, w, c) and w (kh, kw, 1, filters); filters is a multiple of c.
template <class T>
__global__ void __launch_bounds__(256)
    conv_depthwise(const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias, T* __restrict__ y,
                   Window2D window, int filters, int relu) {
  const int count = window.n * window.p * window.q * filters, multiplier = filters / window.c;
  for (unsigned e = blockIdx.x * blockDim.x + threadIdx.x; e < count; e += gridDim.x * blockDim.x) {
    const int k = e % filters, m = e / filters, j = m % window.q, i = m / window.q % window.p;
    const int image = m / (window.p * window.q), channel = k / multiplier;
    const int top = i * window.stride_h - window.top, left = j * window.stride_w - window.left;
    float sum = 0.f;
    for (int r = 0; r < window.kh; ++r) {
      const int row = top + r * window.dilation_h;
      if (row < 0 || row >= window.h) continue;
      for (int s = 0; s < window.kw; ++s) {
        const int column = left + s * window.dilation_w;
        if (column < 0 || column >= window.w) continue;
        const float pixel = loaded(x[((image * window.h + row) * window.w + column) * window.c + channel]);
        sum = fmaf(pixel, loaded(w[(r * window.kw + s) * filters + k]), sum);
      }
    }
    if (bias) sum += bias[k];
    assign(y[e], relu && sum < 0.f ? 0.f : sum);
  }
}

// dx (n, h, w, c) of dy (n, p, q, filters): every input pixel sums over the windows that contain it.
template <class T>
__global__ void __launch_bounds__(256)
    conv_depthwise_backward_input(const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ dx,
                                  Window2D window, int filters) {
  const int count = window.n * window.h * window.w * window.c, multiplier = filters / window.c;
  for (unsigned e = blockIdx.x * blockDim.x + threadIdx.x; e < count; e += gridDim.x * blockDim.x) {
    const int channel = e % window.c, pixel = e / window.c, column = pixel % window.w;
    const int row = pixel / window.w % window.h, image = pixel / (window.w * window.h);
    float sum = 0.f;
    for (int r = 0; r < window.kh; ++r) {
      const int from_i = row + window.top - r * window.dilation_h, i = from_i / window.stride_h;
      if (from_i < 0 || from_i % window.stride_h || i >= window.p) continue;
      for (int s = 0; s < window.kw; ++s) {
        const int from_j = column + window.left - s * window.dilation_w, j = from_j / window.stride_w;
        if (from_j < 0 || from_j % window.stride_w || j >= window.q) continue;
        const T* gradients = dy + ((image * window.p + i) * window.q + j) * filters + channel * multiplier;
        const T* taps = w + (r * window.kw + s) * filters + channel * multiplier;
        for (int k = 0; k < multiplier; ++k) sum = fmaf(loaded(gradients[k]), loaded(taps[k]), sum);
      }
    }
    assign(dx[e], sum);
  }
}

// dw (kh, kw, 1, filters) from parts (chunks, kh * kw, filters), and counters for all blocks; with one chunk parts is dw.
// blockIdx.x is for 32 filters, blockIdx.y a tap, blockIdx.z a chunk of the output pixels; a block is 32 filters x 8 pixel
// lanes.
template <class T>
__global__ void __launch_bounds__(256)
    conv_depthwise_backward_filter(const T* __restrict__ x, const T* __restrict__ dy, float* parts, float* dw,
                                   unsigned* counters, Window2D window, int filters) {
  __shared__ float lane_sums[8][32];
  const int k = blockIdx.x * 32 + threadIdx.x, tap = blockIdx.y, lane = threadIdx.y;
  const int r = tap / window.kw, s = tap % window.kw, pixels = window.n * window.p * window.q;
  const int chunks = gridDim.z, chunk = blockIdx.z, per_chunk = (pixels + chunks - 1) / chunks;
  const int begin = min(chunk * per_chunk, pixels), end = min(begin + per_chunk, pixels);
  float sum = 0.f;
  if (k < filters) {
    const int channel = k / (filters / window.c);
    for (int m = begin + lane; m < end; m += 8) {
      const int j = m % window.q, i = m / window.q % window.p, image = m / (window.p * window.q);
      const int row = i * window.stride_h - window.top + r * window.dilation_h;
      const int column = j * window.stride_w - window.left + s * window.dilation_w;
      if (row < 0 || row >= window.h || column < 0 || column >= window.w) continue;
      const float pixel = loaded(x[((image * window.h + row) * window.w + column) * window.c + channel]);
      sum = fmaf(pixel, loaded(dy[m * filters + k]), sum);
    }
  }
  lane_sums[lane][threadIdx.x] = sum;
  __syncthreads();
  if (lane == 0 && k < filters) {
    float total = 0.f;
    for (int l = 0; l < 8; ++l) total += lane_sums[l][threadIdx.x];
    parts[(chunk * static_cast<int>(gridDim.y) + tap) * filters + k] = total;
  }
  const unsigned begin_k = tap * filters + blockIdx.x * 32, tile = blockIdx.y * gridDim.x + blockIdx.x;
  add_parts(chunk, chunks, parts + begin_k, gridDim.y * filters, min(filters - blockIdx.x * 32, 32u), dw + begin_k,
            counters + tile * chunks, lane * 32 + threadIdx.x, 256);
}
