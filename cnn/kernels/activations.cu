// Activations and their gradients; and PReLU, the leaky ReLU with trained slopes.
#include "channels.cuh"

// --- element-wise functions with parameters a and b ------------------------------------------------------------------
//
// `value` is y of x. `derivative` is dy/dx, from the output y for Relu, Clip, Sigmoid and Tanh, from the input x for
// the others (GRADIENT_NEEDS in cnn/backends/blocks.py). A comparison with NaN is false; the comparisons are written
// such that NaN gives NaN, as in NumPy.

struct Relu {
  static __device__ __forceinline__ float value(float x, float, float) { return x < 0.f ? 0.f : x; }
  static __device__ __forceinline__ float derivative(float y, float, float) { return y > 0.f ? 1.f : 0.f; }
};

struct Clip {
  static __device__ __forceinline__ float value(float x, float a, float b) {
    const float raised = x < a ? a : x;  // b is applied last, also if b < a
    return raised > b ? b : raised;
  }
  static __device__ __forceinline__ float derivative(float y, float a, float b) { return y > a && y < b ? 1.f : 0.f; }
};

// 1 / (1 + exp(-x)), which is 0 if the exponential overflows.
__device__ __forceinline__ float logistic(float x) { return 1.f / (1.f + expf(-x)); }

struct Sigmoid {
  static __device__ __forceinline__ float value(float x, float, float) { return logistic(x); }
  static __device__ __forceinline__ float derivative(float y, float, float) { return y * (1.f - y); }
};

struct Tanh {
  static __device__ __forceinline__ float value(float x, float, float) { return tanhf(x); }
  static __device__ __forceinline__ float derivative(float y, float, float) { return 1.f - y * y; }
};

struct LeakyRelu {
  static __device__ __forceinline__ float value(float x, float a, float) { return x > 0.f ? x : a * x; }
  static __device__ __forceinline__ float derivative(float x, float a, float) { return x > 0.f ? 1.f : a; }
};

struct Elu {
  // expm1 instead of exp(x) - 1, which loses all digits for small x.
  static __device__ __forceinline__ float value(float x, float a, float) { return x > 0.f ? x : a * expm1f(x); }
  static __device__ __forceinline__ float derivative(float x, float a, float) { return x > 0.f ? 1.f : a * expf(x); }
};

struct Selu {
  static __device__ __forceinline__ float value(float x, float a, float b) { return b * Elu::value(x, a, 0.f); }
  static __device__ __forceinline__ float derivative(float x, float a, float b) {
    return b * Elu::derivative(x, a, 0.f);
  }
};

struct Gelu {
  static constexpr float kSqrtHalf = 0.707106781186547524f, kDensity = 0.398942280401432678f;  // 1 / sqrt(2 pi)

  static __device__ __forceinline__ float normal_cdf(float x) { return 0.5f * (1.f + erff(x * kSqrtHalf)); }
  static __device__ __forceinline__ float value(float x, float, float) { return x * normal_cdf(x); }
  static __device__ __forceinline__ float derivative(float x, float, float) {
    return normal_cdf(x) + x * (kDensity * expf(-0.5f * x * x));
  }
};

struct Silu {
  static __device__ __forceinline__ float value(float x, float, float) { return x * logistic(x); }
  static __device__ __forceinline__ float derivative(float x, float, float) {
    // sigmoid(|x|) and sigmoid(-|x|): an exponential that cannot overflow, and no difference 1 - s that cancels.
    const float e = expf(-fabsf(x)), larger = 1.f / (1.f + e), smaller = e * larger;
    const float s = x < 0.f ? smaller : larger, one_minus_s = x < 0.f ? larger : smaller;
    return s * (1.f + x * one_minus_s);
  }
};

struct Mish {
  // With e = exp(-|x|), tanh(log(1 + exp(x))) is above / below, and 1 minus it is gap / below.
  float above, below, gap;

  __device__ __forceinline__ explicit Mish(float x) {
    const float e = expf(-fabsf(x));
    above = x < 0.f ? e * (e + 2.f) : 1.f + 2.f * e;
    gap = x < 0.f ? 2.f : 2.f * e * e;
    below = above + gap;
  }

  static __device__ __forceinline__ float value(float x, float, float) {
    const Mish mish(x);
    return x * (mish.above / mish.below);
  }
  static __device__ __forceinline__ float derivative(float x, float, float) {
    const Mish mish(x);
    const float t = mish.above / mish.below;
    return t + x * (1.f + t) * (mish.gap / mish.below) * logistic(x);
  }
};

struct Softplus {
  static __device__ __forceinline__ float value(float x, float, float) {
    return (x < 0.f ? 0.f : x) + log1pf(expf(-fabsf(x)));
  }
  static __device__ __forceinline__ float derivative(float x, float, float) { return logistic(x); }
};

struct HardSwish {
  static __device__ __forceinline__ float value(float x, float, float) {
    return x <= -3.f ? 0.f : x >= 3.f ? x : x * (x + 3.f) * (1.f / 6.f);
  }
  static __device__ __forceinline__ float derivative(float x, float, float) {
    return x <= -3.f ? 0.f : x >= 3.f ? 1.f : x * (1.f / 3.f) + 0.5f;
  }
};

// dy * slope; 0 if the slope is 0, also for an infinite dy.
__device__ __forceinline__ float scaled(float dy, float slope) { return slope == 0.f ? 0.f : dy * slope; }

// y of x, both (count,).
template <class Function, class T>
__global__ void __launch_bounds__(256)
    activation(const T* __restrict__ x, T* __restrict__ y, float a, float b, int count) {
  map_elements(x, y, count, [=](float u) { return Function::value(u, a, b); });
}

// dx of dy and the saved output or input of the forward pass, all (count,).
template <class Function, class T>
__global__ void __launch_bounds__(256)
    activation_backward(const T* __restrict__ dy, const T* __restrict__ saved, T* __restrict__ dx, float a, float b,
                        int count) {
  map_elements(dy, saved, dx, count, [=](float g, float s) { return scaled(g, Function::derivative(s, a, b)); });
}

// --- PReLU: x where x > 0, else slope * x, with a slope for each channel ---------------------------------------------

template <int N, class T>
__device__ __forceinline__ void prelu_rows(const T* __restrict__ x, const float* __restrict__ slope, T* __restrict__ y,
                                           int rows, int c) {
  const ChannelWalk<N> walk(rows, c);
  if (!walk.active) return;
  const auto factor = load_pack<N>(slope + walk.channel);
  walk.for_rows([&](unsigned, unsigned i) {
    auto v = load_pack<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) v.at[k] = v.at[k] > 0.f ? v.at[k] : factor.at[k] * v.at[k];
    store_pack(y + i, v);
  });
}

// y of x, both (rows, c), and slope (c,). The grid is (tiles of channels, chunks of rows).
template <class T>
__global__ void __launch_bounds__(256) prelu(const T* __restrict__ x, const float* __restrict__ slope,
                                             T* __restrict__ y, int rows, int c) {
  if (by_fours(c, x, slope, y)) {
    prelu_rows<4>(x, slope, y, rows, c);
  } else {
    prelu_rows<1>(x, slope, y, rows, c);
  }
}

template <int N, class T>
__device__ __forceinline__ void prelu_gradients(const T* __restrict__ dy, const T* __restrict__ x,
                                                const float* __restrict__ slope, T* __restrict__ dx,
                                                float* dslope, float* parts, unsigned* counters, int rows, int c) {
  const ChannelWalk<N> walk(rows, c);
  LongSums<N> own;
  if (walk.active) {
    const auto factor = load_pack<N>(slope + walk.channel);
    walk.for_rows([&](unsigned, unsigned i) {
      auto g = load_pack<N>(dy + i);
      const auto u = load_pack<N>(x + i);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        own.add(k, u.at[k] >= 0.f ? 0.f : g.at[k] * u.at[k]);
        g.at[k] = u.at[k] > 0.f ? g.at[k] : scaled(g.at[k], factor.at[k]);
      }
      store_pack(dx + i, g);
    });
  }
  finish_sums<1>(walk, merge_lanes(own.totals(), walk.lanes, walk.width), {dslope}, parts, counters);
}

// dx of dy and x, all (rows, c), and dslope (c,). The grid is (tiles of channels, chunks of rows). With several chunks there
// are parts (chunks, c), and counters for all blocks.
template <class T>
__global__ void __launch_bounds__(256)
    prelu_backward(const T* __restrict__ dy, const T* __restrict__ x, const float* __restrict__ slope,
                   T* __restrict__ dx, float* dslope, float* parts, unsigned* counters, int rows, int c) {
  if (by_fours(c, dy, x, slope, dx)) {
    prelu_gradients<4>(dy, x, slope, dx, dslope, parts, counters, rows, c);
  } else {
    prelu_gradients<1>(dy, x, slope, dx, dslope, parts, counters, rows, c);
  }
}
