// Parameter updates in place, over flat arrays: an arena, or the part of it with one weight decay. Step and learning
// rate are read on the device, so that each replay of a captured graph uses the current ones.
#include "elementwise.cuh"
#include "reduce.cuh"

// Runs `rule` over all elements; changes param and first, and with Rule::kTwoMoments second, in place. `copy`, unless it
// is null, gets the new parameters rounded to bfloat16.
template <class Rule>
__device__ __forceinline__ void update(float* __restrict__ param, const float* __restrict__ grad,
                                       float* __restrict__ first, float* __restrict__ second,
                                       bfloat16* __restrict__ copy, unsigned count, const Rule& rule) {
  const bool fit = packs_at<4>(param) && packs_at<4>(grad) && packs_at<4>(first) && packs_at<4>(second) &&
                   packs_at<4>(copy);  // null fits
  const unsigned packs = fit ? count / 4 : 0;
  for (unsigned i = grid_thread() * 4; i < packs * 4; i += grid_threads() * 4) {
    auto p = load_pack<4>(param + i), m = load_pack<4>(first + i), v = Rule::kTwoMoments ? load_pack<4>(second + i) : m;
    const auto g = load_pack<4>(grad + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) rule(p.at[k], g.at[k], m.at[k], v.at[k]);
    store_pack(param + i, p);
    store_pack(first + i, m);
    if (Rule::kTwoMoments) store_pack(second + i, v);
    if (copy) store_pack(copy + i, p);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) {
    float p = param[i], m = first[i], v = Rule::kTwoMoments ? second[i] : 0.f;
    rule(p, grad[i], m, v);
    param[i] = p;
    first[i] = m;
    if (Rule::kTwoMoments) second[i] = v;
    if (copy) assign(copy[i], p);
  }
}

// Weight decay: added to the gradient or, if decoupled, subtracted from the parameter.
struct Decay {
  float rate, learning_rate;
  bool decoupled;

  // The gradient with the decay.
  __device__ __forceinline__ float operator()(float& p, float g) const {
    if (!decoupled) return g + rate * p;
    p -= learning_rate * rate * p;
    return g;
  }
};

struct Sgd {
  static constexpr bool kTwoMoments = false;
  Decay decay;
  float learning_rate, momentum;
  bool nesterov;

  __device__ __forceinline__ void operator()(float& p, float g, float& velocity, float&) const {
    g = decay(p, g);
    velocity = momentum * velocity + g;
    p -= learning_rate * (nesterov ? g + momentum * velocity : velocity);
  }
};

struct Adam {
  static constexpr bool kTwoMoments = true;
  Decay decay;
  float step_size, beta1, one_minus_beta1, beta2, one_minus_beta2, correction2, eps;

  __device__ __forceinline__ void operator()(float& p, float g, float& first, float& second) const {
    g = decay(p, g);
    first = beta1 * first + one_minus_beta1 * g;
    second = beta2 * second + one_minus_beta2 * (g * g);
    p -= step_size * first / (sqrtf(second * correction2) + eps);
  }
};

// Stochastic gradient descent of param (count,) by grad, with velocity; learning_rate and momentum (1,). `copy` (count,) or null: the
// new parameters in bfloat16.
__global__ void __launch_bounds__(256)
    sgd_update(float* __restrict__ param, const float* __restrict__ grad, float* __restrict__ velocity,
               const float* __restrict__ learning_rate, const float* __restrict__ momentum,
               bfloat16* __restrict__ copy, int count, int nesterov, float weight_decay, int decoupled) {
  const float rate = learning_rate[0];
  const Decay decay{weight_decay, rate, decoupled != 0};
  update(param, grad, velocity, velocity, copy, count, Sgd{decay, rate, momentum[0], nesterov != 0});
}

// 1 - beta^step from the logarithm of beta, without the cancellation of digits for beta near 1.
__device__ __forceinline__ float bias_correction(long long step, float log_beta) {
  return -expm1f(static_cast<float>(step) * log_beta);
}

// Adam of param (count,) by grad, with both moments; learning_rate and beta1 (1,), and clock[0] is the step, counted from 1.
// `copy` is as in sgd_update.
__global__ void __launch_bounds__(256)
    adam_update(float* __restrict__ param, const float* __restrict__ grad, float* __restrict__ first,
                float* __restrict__ second, const float* __restrict__ learning_rate,
                const float* __restrict__ beta1, const long long* __restrict__ clock, bfloat16* __restrict__ copy,
                int count, float beta2, float one_minus_beta2, float log_beta2, float eps, float weight_decay,
                int decoupled) {
  const float rate = learning_rate[0], inertia = beta1[0];
  const float step_size = rate / bias_correction(clock[0], logf(inertia));
  const float correction2 = 1.f / bias_correction(clock[0], log_beta2);
  const Decay decay{weight_decay, rate, decoupled != 0};
  update(param, grad, first, second, copy, count,
         Adam{decay, step_size, inertia, 1.f - inertia, beta2, one_minus_beta2, correction2, eps});
}

// In place: into (count,) += share (1,) * (values - into). A share of 1 gives values, and one of 0 changes nothing. `copy`
// is as in sgd_update.
__global__ void __launch_bounds__(256)
    blend(float* __restrict__ into, const float* __restrict__ values, const float* __restrict__ share,
          bfloat16* __restrict__ copy, int count) {
  const float part = share[0];
  if (part == 0.f) return;
  const auto mix = [=](float own, float other) { return part == 1.f ? other : own + part * (other - own); };
  const unsigned packs = packs_at<4>(into) && packs_at<4>(values) && packs_at<4>(copy) ? count / 4 : 0;  // null fits
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    auto u = load_pack<4>(into + i * 4);
    const auto v = load_pack<4>(values + i * 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) u.at[k] = mix(u.at[k], v.at[k]);
    store_pack(into + i * 4, u);
    if (copy) store_pack(copy + i * 4, u);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) {
    into[i] = mix(into[i], values[i]);
    if (copy) assign(copy[i], into[i]);
  }
}

// --- clipping by the global norm -------------------------------------------------------------------------------------

// partials (blocks,): the sum of squares of each block's elements of grad (count,), in double precision, in which no
// square of a float overflows.
__global__ void __launch_bounds__(256)
    sum_squares(const float* __restrict__ grad, double* __restrict__ partials, int count) {
  double sum = 0.0;
  const unsigned packs = packs_at<4>(grad) ? count / 4 : 0;
#pragma unroll 4
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    const auto g = load_pack<4>(grad + i * 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += static_cast<double>(g.at[k]) * g.at[k];
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) {
    sum += static_cast<double>(grad[i]) * grad[i];
  }
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// In place: grad (count,) *= limit / norm if norm, the root of the sum of partials (blocks,), is above `limit`; sets
// norm (1,). Every block adds up the partials, in the same order.
__global__ void __launch_bounds__(256)
    clip_to_norm(float* __restrict__ grad, const double* __restrict__ partials, float* __restrict__ norm, float limit,
                 int blocks, int count) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < blocks; i += 256) sum += partials[i];
  const double found = sqrt(block_sum<256>(sum));
  if (grid_thread() == 0) norm[0] = static_cast<float>(found);
  if (!(found > limit)) return;
  const float scale = static_cast<float>(limit / found);
  const unsigned packs = packs_at<4>(grad) ? count / 4 : 0;
  for (unsigned i = grid_thread(); i < packs; i += grid_threads()) {
    auto g = load_pack<4>(grad + i * 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) g.at[k] *= scale;
    store_pack(grad + i * 4, g);
  }
  for (unsigned i = packs * 4 + grid_thread(); i < count; i += grid_threads()) grad[i] *= scale;
}
