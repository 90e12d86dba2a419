// Convolution of NHWC images with (kh, kw, c / groups, filters) filters as implicit matrix products: forward, data
// gradient and filter gradient. The operand iterators below read the windows directly from the images.
//
// In all three blockIdx.z = group * splits + split. parts and counters: see `gemm`.
#include "fast_divmod.cuh"
#include "gemm.cuh"
#include "window.cuh"

// The forward product's first operand, the windows of a batch as a matrix: row m is output pixel m (image, row,
// column), its values are the taps, and of each tap the group's channels.
template <bool VECTOR>
struct ForwardImages {
  static constexpr bool kAlongK = true;
  const float* x;  // at the group's first channel
  const Window2D& window;
  const ConvDivmods& by;
  int channels;  // of the group

  struct Cursor {
    const float* image;  // null beyond the last output pixel
    int top, left;       // where tap (0, 0) lies in the image
  };

  __device__ __forceinline__ Cursor at(int m) const {
    if (m >= window.n * window.p * window.q) return {nullptr, 0, 0};
    int i, j;
    const int image = by.p.divmod(by.q.divmod(m, j), i);
    return {x + image * window.h * window.w * window.c, i * window.stride_h - window.top,
            j * window.stride_w - window.left};
  }

  // Channel c at tap (r, s) and the next values in memory, of which `valid` are used.
  __device__ __forceinline__ float4 pixel(const Cursor& cursor, int tap, int c, int valid) const {
    int s;
    const int r = by.kw.divmod(tap, s);
    const int i = cursor.top + r * window.dilation_h, j = cursor.left + s * window.dilation_w;
    if (i < 0 || i >= window.h || j < 0 || j >= window.w) return zeros4();
    return load4<VECTOR>(cursor.image + (i * window.w + j) * window.c + c, valid);
  }

  __device__ __forceinline__ float4 load(const Cursor& cursor, int k, int k_end) const {
    if (!cursor.image || k >= k_end) return zeros4();
    int c;
    int tap = by.channels.divmod(k, c);
    if constexpr (VECTOR) {
      return pixel(cursor, tap, c, 4);
    } else {
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        v[e] = k + e < k_end ? pixel(cursor, tap, c, 1).x : 0.f;
        if (++c == channels) c = 0, ++tap;
      }
      return make_float4(v[0], v[1], v[2], v[3]);
    }
  }
};

// The data gradient's first operand, dy at the output pixels of an input pixel: row m is input pixel m, its values are
// the taps, and of each tap the group's filters at the output pixel whose window has that tap on pixel m; zero if there
// is none.
template <bool VECTOR>
struct DgradGradients {
  static constexpr bool kAlongK = true;
  const float* dy;  // at the group's first filter
  const Window2D& window;
  const ConvDivmods& by;
  int filters, group_filters;

  struct Cursor {
    const float* image;  // of dy; null beyond the last input pixel
    int row, column;     // of the input pixel, in the padded image
  };

  __device__ __forceinline__ Cursor at(int m) const {
    if (m >= window.n * window.h * window.w) return {nullptr, 0, 0};
    int i, j;
    const int image = by.h.divmod(by.w.divmod(m, j), i);
    return {dy + image * window.p * window.q * filters, i + window.top, j + window.left};
  }

  __device__ __forceinline__ float4 pixel(const Cursor& cursor, int tap, int f, int valid) const {
    int s, remainder_i, remainder_j;
    const int r = by.kw.divmod(tap, s);
    const int from_i = cursor.row - r * window.dilation_h, from_j = cursor.column - s * window.dilation_w;
    if (from_i < 0 || from_j < 0) return zeros4();
    const int i = by.stride_h.divmod(from_i, remainder_i), j = by.stride_w.divmod(from_j, remainder_j);
    if (remainder_i || remainder_j || i >= window.p || j >= window.q) return zeros4();
    return load4<VECTOR>(cursor.image + (i * window.q + j) * filters + f, valid);
  }

  __device__ __forceinline__ float4 load(const Cursor& cursor, int k, int k_end) const {
    if (!cursor.image || k >= k_end) return zeros4();
    int f;
    int tap = by.filters.divmod(k, f);
    if constexpr (VECTOR) {
      return pixel(cursor, tap, f, 4);
    } else {
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        v[e] = k + e < k_end ? pixel(cursor, tap, f, 1).x : 0.f;
        if (++f == group_filters) f = 0, ++tap;
      }
      return make_float4(v[0], v[1], v[2], v[3]);
    }
  }
};

// The data gradient's second operand, the filters: column c is an input channel of the group, its values are the taps,
// and of each tap the group's filters.
template <bool VECTOR>
struct DgradFilters {
  static constexpr bool kAlongK = true;
  const float* w;  // at the group's first filter
  const ConvDivmods& by;
  int channels, filters, group_filters;

  struct Cursor {
    int channel;  // negative beyond the last
  };

  __device__ __forceinline__ Cursor at(int c) const { return {c < channels ? c : -1}; }

  __device__ __forceinline__ float4 load(const Cursor& cursor, int k, int k_end) const {
    if (cursor.channel < 0 || k >= k_end) return zeros4();
    int f;
    int tap = by.filters.divmod(k, f);
    if constexpr (VECTOR) {
      return load4<true>(w + (tap * channels + cursor.channel) * filters + f, 4);
    } else {
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        v[e] = k + e < k_end ? w[(tap * channels + cursor.channel) * filters + f] : 0.f;
        if (++f == group_filters) f = 0, ++tap;
      }
      return make_float4(v[0], v[1], v[2], v[3]);
    }
  }
};

// The filter gradient's first operand, the windows transposed: row m is a tap and a channel of the group, its values
// are the output pixels.
template <bool VECTOR>
struct WgradImages {
  static constexpr bool kAlongK = false;
  static constexpr int kParts = VECTOR ? 1 : 4;  // four neighbouring rows share a tap only if they are one vector
  const float* x;                                // at the group's first channel
  const Window2D& window;
  const ConvDivmods& by;
  int channels;

  struct Cursor {
    int row[kParts], column[kParts];  // of the tap, relative to the window's stride position
    int channel[kParts];              // negative beyond the last row
  };

  __device__ __forceinline__ Cursor at(int m) const {
    Cursor cursor;
#pragma unroll
    for (int e = 0; e < kParts; ++e) {
      const int tap = (m + e) / channels;
      cursor.row[e] = tap / window.kw * window.dilation_h - window.top;
      cursor.column[e] = tap % window.kw * window.dilation_w - window.left;
      cursor.channel[e] = tap < window.kh * window.kw ? (m + e) % channels : -1;
    }
    return cursor;
  }

  __device__ __forceinline__ float4 load(const Cursor& cursor, int k, int k_end) const {
    if (k >= k_end) return zeros4();
    int p, q;
    const int image = by.p.divmod(by.q.divmod(k, q), p);
    float4 parts[kParts];
#pragma unroll
    for (int e = 0; e < kParts; ++e) {
      const int i = p * window.stride_h + cursor.row[e], j = q * window.stride_w + cursor.column[e];
      const bool inside = cursor.channel[e] >= 0 && i >= 0 && i < window.h && j >= 0 && j < window.w;
      const int offset = ((image * window.h + i) * window.w + j) * window.c + cursor.channel[e];
      parts[e] = inside ? load4<VECTOR>(x + offset, VECTOR ? 4 : 1) : zeros4();
    }
    if constexpr (VECTOR) {
      return parts[0];
    } else {
      return make_float4(parts[0].x, parts[1].x, parts[2].x, parts[3].x);
    }
  }
};

// y (n, p, q, filters) = x (n, h, w, c) convolved with w, plus bias (filters,), then ReLU if `relu`.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    conv_forward(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
                 float* __restrict__ y, float* parts, unsigned* counters, Window2D window, ConvDivmods by, int filters,
                 int groups, int splits, int relu) {
  const int group = blockIdx.z / splits, channels = window.c / groups, group_filters = filters / groups;
  const int first = group * group_filters;
  const ForwardImages<VECTOR> a{x + group * channels, window, by, channels};
  const LinesOfK<VECTOR> b{w + first, group_filters, filters};
  const Epilogue epilogue{bias ? bias + first : nullptr, relu != 0};
  gemm<T, VECTOR>(a, b, y + first, parts, counters, window.n * window.p * window.q, group_filters, window.kh * window.kw * channels,
                  filters, splits, epilogue);
}

// dx (n, h, w, c) of dy (n, p, q, filters). Gathers: every input pixel sums over the windows that contain it.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    conv_backward_input(const float* __restrict__ dy, const float* __restrict__ w, float* __restrict__ dx,
                        float* parts, unsigned* counters, Window2D window, ConvDivmods by, int filters, int groups, int splits) {
  const int group = blockIdx.z / splits, channels = window.c / groups, group_filters = filters / groups;
  const DgradGradients<VECTOR> a{dy + group * group_filters, window, by, filters, group_filters};
  const DgradFilters<VECTOR> b{w + group * group_filters, by, channels, filters, group_filters};
  gemm<T, VECTOR>(a, b, dx + group * channels, parts, counters, window.n * window.h * window.w, channels,
                  window.kh * window.kw * group_filters, window.c, splits,
                  Epilogue{nullptr, false});
}

// dw (kh, kw, c / groups, filters) of x (n, h, w, c) and dy (n, p, q, filters): a sum over all output pixels.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    conv_backward_filter(const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dw,
                         float* parts, unsigned* counters, Window2D window, ConvDivmods by, int filters, int groups, int splits) {
  const int group = blockIdx.z / splits, channels = window.c / groups, group_filters = filters / groups;
  const int first = group * group_filters;
  const WgradImages<VECTOR> a{x + group * channels, window, by, channels};
  const LinesOfK<VECTOR> b{dy + first, group_filters, filters};
  gemm<T, VECTOR>(a, b, dw + first, parts, counters, window.kh * window.kw * channels, group_filters, window.n * window.p * window.q,
                  filters, splits, Epilogue{nullptr, false});
}
