// Mean and variance of many numbers, from those of parts of them.
#pragma once

// Count, mean and biased variance of some rows of N channels. The variance instead of the sum of squares, which overflows
// earlier.
template <int N>
struct Moments {
  float count, mean[N], variance[N];

  // Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
  __device__ __forceinline__ void merge(const Moments& other) {
    if (other.count == 0.f) return;
    const float total = count + other.count, weight = count / total, other_weight = other.count / total;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float delta = other.mean[k] - mean[k], step = delta * other_weight;
      mean[k] += step;
      variance[k] = variance[k] * weight + other.variance[k] * other_weight + step * (delta * weight);
    }
    count = total;
  }
};
