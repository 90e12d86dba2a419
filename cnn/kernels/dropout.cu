// Dropout: the counter-based generator determines the mask, so every backend drops the same elements, and the gradient
// is the same function of dy.
#include "elementwise.cuh"
#include "philox.cuh"

// y of x, both (count,): element e is multiplied by `scale` if its 16 random bits are at least `threshold`, and is 0
// otherwise. clock[0] is the step. A thread computes eight elements, whose random bits are one block of the generator's
// output.
template <class T>
__global__ void __launch_bounds__(256)
    dropout(const T* __restrict__ x, T* __restrict__ y, const long long* __restrict__ clock, int count,
            unsigned threshold, float scale, unsigned seed_low, unsigned seed_high, unsigned stream) {
  const RandomKey key(seed_low, seed_high, stream, clock[0]);
  const bool packs = packs_at<8>(x) && packs_at<8>(y);
  const unsigned elements = count, blocks = (elements + 7) / 8;
  for (unsigned block = grid_thread(); block < blocks; block += grid_threads()) {
    const uint4 words = random_words(key, block);
    const unsigned first = block * 8;
    if (packs && first + 8 <= elements) {
      auto values = load_pack<8>(x + first);
#pragma unroll
      for (int k = 0; k < 8; ++k) values.at[k] = random_half(words, k) >= threshold ? values.at[k] * scale : 0.f;
      store_pack(y + first, values);
    } else {
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        if (first + k >= elements) break;
        assign(y[first + k], random_half(words, k) >= threshold ? loaded(x[first + k]) * scale : 0.f);
      }
    }
  }
}

// y of x, both (n, size): example i is multiplied by `scale` if the stream's 16-bit number i is at least `threshold`, and
// is 0 otherwise. clock[0] is the step. blockIdx.y is the first of a block's examples, with stride gridDim.y.
template <class T>
__global__ void __launch_bounds__(256)
    drop_path(const T* __restrict__ x, T* __restrict__ y, const long long* __restrict__ clock, int n, int size,
              unsigned threshold, float scale, unsigned seed_low, unsigned seed_high, unsigned stream) {
  const RandomKey key(seed_low, seed_high, stream, clock[0]);
  for (unsigned example = blockIdx.y; example < n; example += gridDim.y) {
    const bool kept = random_half(random_words(key, example / 8), example % 8) >= threshold;
    const unsigned first = example * size;
    map_elements(x + first, y + first, size, [&](float v) { return kept ? v * scale : 0.f; });
  }
}
