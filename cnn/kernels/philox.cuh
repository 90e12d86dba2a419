// Philox4x32-10: random numbers as a pure function of a counter and a key, the same as cnn/backends/philox.py draws.
//
// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

// The key of a stream of random numbers: a RandomKey in 32-bit words. The step is read on the device, so that each
// replay of a captured graph draws other numbers.
struct RandomKey {
  unsigned seed_low, seed_high, stream, step_low, step_high;

  __device__ __forceinline__ RandomKey(unsigned seed_low, unsigned seed_high, unsigned stream, long long step)
      : seed_low(seed_low),
        seed_high(seed_high),
        stream(stream),
        step_low(static_cast<unsigned>(step)),
        step_high(static_cast<unsigned>(step >> 32)) {}
};

// Ten rounds on a counter of four words, with a key of two.
__device__ __forceinline__ uint4 philox4x32(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    // 64-bit products: one instruction yields the upper and the lower half.
    const unsigned long long product0 = 0xD2511F53ull * counter.x, product1 = 0xCD9E8D57ull * counter.z;
    counter = make_uint4(static_cast<unsigned>(product1 >> 32) ^ counter.y ^ key.x, static_cast<unsigned>(product1),
                         static_cast<unsigned>(product0 >> 32) ^ counter.w ^ key.y, static_cast<unsigned>(product0));
    key.x += 0x9E3779B9u;  // golden ratio and sqrt(3) - 1, the Weyl constants of the paper
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// Block `block` of the stream `key`: four 32-bit words, or eight 16-bit halves.
__device__ __forceinline__ uint4 random_words(const RandomKey& key, unsigned block) {
  return philox4x32(make_uint4(block, key.stream, key.step_low, key.step_high),
                    make_uint2(key.seed_low, key.seed_high));
}

// Word k of four.
__device__ __forceinline__ unsigned word(const uint4& words, unsigned k) {
  return k == 0 ? words.x : k == 1 ? words.y : k == 2 ? words.z : words.w;
}

// Half k of eight: the words in order, the low half of a word before its high half.
__device__ __forceinline__ unsigned random_half(const uint4& words, int k) {
  const unsigned both = word(words, k / 2);
  return k % 2 ? both >> 16 : both & 0xFFFFu;
}
