// Parameter updates in place: all tensors of a list in one launch.
#include "elementwise.cuh"
#include "tensor_list.cuh"

// Runs `rule` over this block's piece of the list. The blocks go through the tensors in order, `piece` elements a
// block, and no block works on two tensors.
template <class Rule>
__device__ __forceinline__ void update(const TensorList& tensors, unsigned piece, const Rule& rule) {
  int t = 0;
  unsigned block = blockIdx.x;
  for (;;) {
    const unsigned blocks = (tensors.size[t] + piece - 1) / piece;
    if (block < blocks) break;
    block -= blocks;
    ++t;
  }
  float* __restrict__ param = reinterpret_cast<float*>(tensors.param[t]);
  const float* __restrict__ grad = reinterpret_cast<const float*>(tensors.grad[t]);
  float* __restrict__ first = reinterpret_cast<float*>(tensors.first[t]);
  float* __restrict__ second = reinterpret_cast<float*>(tensors.second[t]);
  const float decay = tensors.weight_decay[t];
  const unsigned begin = block * piece, end = min(static_cast<unsigned>(tensors.size[t]), begin + piece);

  const bool fit = packs_at<4>(param) && packs_at<4>(grad) && packs_at<4>(first) && packs_at<4>(second);
  const unsigned packs_end = fit ? begin + (end - begin) / 4 * 4 : begin;
  for (unsigned i = begin + threadIdx.x * 4; i < packs_end; i += blockDim.x * 4) {
    auto p = load_pack<4>(param + i), m = load_pack<4>(first + i), v = Rule::kTwoMoments ? load_pack<4>(second + i) : m;
    const auto g = load_pack<4>(grad + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) rule(p.at[k], g.at[k], m.at[k], v.at[k], decay);
    store_pack(param + i, p);
    store_pack(first + i, m);
    if (Rule::kTwoMoments) store_pack(second + i, v);
  }
  for (unsigned i = packs_end + threadIdx.x; i < end; i += blockDim.x) {
    float p = param[i], m = first[i], v = Rule::kTwoMoments ? second[i] : 0.f;
    rule(p, grad[i], m, v, decay);
    param[i] = p;
    first[i] = m;
    if (Rule::kTwoMoments) second[i] = v;
  }
}

// The gradient with L2 decay added; decoupled decay shrinks p instead.
__device__ __forceinline__ float decayed(float& p, float g, float decay, bool decoupled) {
  if (!decoupled) return g + decay * p;
  p -= decay * p;
  return g;
}

struct Sgd {
  static constexpr bool kTwoMoments = false;
  float learning_rate, momentum;
  bool nesterov, decoupled;

  __device__ __forceinline__ void operator()(float& p, float g, float& velocity, float&, float decay) const {
    g = decayed(p, g, decay, decoupled);
    velocity = momentum * velocity + g;
    p -= learning_rate * (nesterov ? g + momentum * velocity : velocity);
  }
};

struct Adam {
  static constexpr bool kTwoMoments = true;
  float step_size, beta1, rest1, beta2, rest2, correction2, eps;
  bool decoupled;

  __device__ __forceinline__ void operator()(float& p, float g, float& first, float& second, float decay) const {
    g = decayed(p, g, decay, decoupled);
    first = beta1 * first + rest1 * g;
    second = beta2 * second + rest2 * (g * g);
    p -= step_size * first / (sqrtf(second * correction2) + eps);
  }
};

// Stochastic gradient descent; `first` holds the velocities. Decoupled decay comes multiplied by the learning rate.
__global__ void __launch_bounds__(256)
    sgd_update(TensorList tensors, int piece, float learning_rate, float momentum, int nesterov, int decoupled) {
  update(tensors, piece, Sgd{learning_rate, momentum, nesterov != 0, decoupled != 0});
}

// Adam. step_size is the learning rate over the first moment's bias correction, correction2 one over the second's, and
// rest1, rest2 are 1 - beta1, 1 - beta2. Decay as in `sgd_update`.
__global__ void __launch_bounds__(256)
    adam_update(TensorList tensors, int piece, float step_size, float beta1, float rest1, float beta2, float rest2,
                float correction2, float eps, int decoupled) {
  update(tensors, piece, Adam{step_size, beta1, rest1, beta2, rest2, correction2, eps, decoupled != 0});
}
