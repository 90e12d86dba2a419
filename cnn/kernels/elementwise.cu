// Element-wise kernels: the join of a residual connection, and the activations with their gradients.
#include "elementwise.cuh"

// y = a + b, all (count,).
__global__ void __launch_bounds__(256)
    add(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y, int count) {
  map_elements(a, b, y, count, [](float u, float v) { return u + v; });
}

// --- activations: `value` of x, and `gradient`, dx of dy and the same x ----------------------------------------------
//
// A comparison with NaN is false; the values are written so that NaN goes on as NaN, as in NumPy.

struct Relu {
  static __device__ __forceinline__ float value(float x, float) { return x < 0.f ? 0.f : x; }
  static __device__ __forceinline__ float gradient(float dy, float x, float) { return x > 0.f ? dy : 0.f; }
};

struct LeakyRelu {
  static __device__ __forceinline__ float value(float x, float slope) { return x > 0.f ? x : slope * x; }
  static __device__ __forceinline__ float gradient(float dy, float x, float slope) { return x > 0.f ? dy : slope * dy; }
};

struct Elu {
  // expm1 and not exp(x) - 1, which loses every digit where x is small.
  static __device__ __forceinline__ float value(float x, float alpha) { return x > 0.f ? x : alpha * expm1f(x); }
  static __device__ __forceinline__ float gradient(float dy, float x, float alpha) {
    return x > 0.f ? dy : dy * (alpha * expf(x));
  }
};

struct Gelu {
  static constexpr float kSqrtHalf = 0.707106781186547524f, kDensity = 0.398942280401432678f;  // 1 / sqrt(2 pi)

  static __device__ __forceinline__ float normal_cdf(float x) { return 0.5f * (1.f + erff(x * kSqrtHalf)); }
  static __device__ __forceinline__ float value(float x, float) { return x * normal_cdf(x); }
  static __device__ __forceinline__ float gradient(float dy, float x, float) {
    return dy * (normal_cdf(x) + x * (kDensity * expf(-0.5f * x * x)));
  }
};

struct Silu {
  static __device__ __forceinline__ float value(float x, float) { return x / (1.f + expf(-x)); }
  static __device__ __forceinline__ float gradient(float dy, float x, float) {
    // sigmoid(|x|) and sigmoid(-|x|): an exponential that cannot overflow, and no difference 1 - s that cancels.
    const float e = expf(-fabsf(x)), larger = 1.f / (1.f + e), smaller = e * larger;
    const float s = x < 0.f ? smaller : larger, one_minus_s = x < 0.f ? larger : smaller;
    return dy * (s * (1.f + x * one_minus_s));
  }
};

// y of x, both (count,). `parameter` is the activation's slope or alpha, if it has one.
template <class Activation>
__global__ void __launch_bounds__(256)
    activation(const float* __restrict__ x, float* __restrict__ y, float parameter, int count) {
  map_elements(x, y, count, [=](float u) { return Activation::value(u, parameter); });
}

// dx of dy and the forward's input x, all (count,).
template <class Activation>
__global__ void __launch_bounds__(256)
    activation_backward(const float* __restrict__ dy, const float* __restrict__ x, float* __restrict__ dx,
                        float parameter, int count) {
  map_elements(dy, x, dx, count, [=](float g, float u) { return Activation::gradient(g, u, parameter); });
}
