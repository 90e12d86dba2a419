// Dropout: the mask comes out of the counter-based generator, so every backend drops the same elements.
#include "elementwise.cuh"
#include "philox.cuh"

// y and mask of x, all (count,): element e is kept (mask 1) where its 16 random bits are at least `threshold`, and is
// then multiplied by `scale`. A thread takes the eight elements that one block of the generator serves.
__global__ void __launch_bounds__(256)
    dropout(const float* __restrict__ x, float* __restrict__ y, unsigned char* __restrict__ mask, int count,
            unsigned threshold, float scale, unsigned seed_low, unsigned seed_high, unsigned stream, unsigned step_low,
            unsigned step_high) {
  const RandomKey key{seed_low, seed_high, stream, step_low, step_high};
  const bool packs = packs_at<8>(x) && packs_at<8>(y) && packs_at<8>(mask);
  const unsigned elements = count, blocks = (elements + 7) / 8;
  for (unsigned block = grid_thread(); block < blocks; block += grid_threads()) {
    const uint4 words = random_words(key, block);
    const unsigned first = block * 8;
    // Times 0 and not just 0: as in NumPy, what is dropped keeps its sign, and NaN stays NaN.
    if (packs && first + 8 <= elements) {
      auto values = load_pack<8>(x + first);
      Pack<unsigned char, 8> kept;
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        kept.at[k] = random_half(words, k) >= threshold;
        values.at[k] *= kept.at[k] ? scale : 0.f;
      }
      store_pack(y + first, values);
      store_pack(mask + first, kept);
    } else {
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        if (first + k >= elements) break;
        const bool kept = random_half(words, k) >= threshold;
        y[first + k] = x[first + k] * (kept ? scale : 0.f);
        mask[first + k] = kept;
      }
    }
  }
}

// dx = dy * mask * scale, all (count,).
__global__ void __launch_bounds__(256)
    dropout_backward(const float* __restrict__ dy, const unsigned char* __restrict__ mask, float* __restrict__ dx,
                     float scale, int count) {
  map_elements(dy, mask, dx, count, [=](float g, unsigned char kept) { return g * (kept ? scale : 0.f); });
}
