// Conversion between storage types.
#include "elementwise.cuh"

// y[i] = x[i] for i < count, rounded to the type of y.
template <class X, class Y>
__global__ void __launch_bounds__(256) convert(const X* __restrict__ x, Y* __restrict__ y, int count) {
  map_elements(x, y, count, [](float u) { return u; });
}
