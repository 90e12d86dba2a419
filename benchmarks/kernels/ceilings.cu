// What a device can do at most: kernels that only copy, only read, or only multiply and add. The benchmark holds the
// project's kernels against them; nothing else uses them.

// Something that is no constant: other bits for every element, floats between 1 and 2.
__global__ void fill_floats(float* y, int count) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    unsigned v = (i + 1u) * 2654435761u;
    v ^= v >> 15;
    y[i] = 1.f + (v & 0x7fffffu) * 1.1920929e-7f;
  }
}

// y = x, four floats a thread.
__global__ void copy_floats(const float4* __restrict__ x, float4* __restrict__ y, int fours) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < fours) y[i] = x[i];
}

// Reads all of x. The sum is written only if it is a number that it never is, so that no read can be left out.
__global__ void read_floats(const float4* __restrict__ x, float* sink, int fours) {
  float sum = 0.f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < fours; i += gridDim.x * blockDim.x) {
    const float4 v = x[i];
    sum += v.x + v.y + v.z + v.w;
  }
  if (sum == -1.f) *sink = sum;
}

constexpr int CHAINS = 8, UNROLLED = 16;

// 2 * CHAINS * UNROLLED * rounds operations a thread, in CHAINS chains that do not wait for each other.
__global__ void multiply_add(float* y, float factor, float term, int rounds) {
  float chain[CHAINS];
#pragma unroll
  for (int k = 0; k < CHAINS; ++k) chain[k] = threadIdx.x + k;
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < UNROLLED; ++i) {
#pragma unroll
      for (int k = 0; k < CHAINS; ++k) chain[k] = fmaf(chain[k], factor, term);
    }
  }
  float sum = 0.f;
#pragma unroll
  for (int k = 0; k < CHAINS; ++k) sum += chain[k];
  y[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
