// Matrix products of dense layers.
#include "gemm.cuh"

// y (rows, columns) = x (rows, k) * w (k, columns) + bias (columns,), then ReLU if `relu`. parts and counters: see `gemm`.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    dense_forward(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
                  float* __restrict__ y, float* parts, unsigned* counters, int rows, int k, int columns, int splits,
                  int relu) {
  const RowsAlongK<VECTOR> a{x, rows, k};
  const LinesOfK<VECTOR> b{w, columns, columns};
  gemm<T, VECTOR>(a, b, y, parts, counters, rows, columns, k, columns, splits, Epilogue{bias, relu != 0});
}

// dx (rows, columns) = dy (rows, k) * w^T, where w is (columns, k).
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    dense_backward_input(const float* __restrict__ dy, const float* __restrict__ w, float* __restrict__ dx,
                         float* parts, unsigned* counters, int rows, int k, int columns, int splits) {
  const RowsAlongK<VECTOR> a{dy, rows, k};
  const RowsAlongK<VECTOR> b{w, columns, k};
  gemm<T, VECTOR>(a, b, dx, parts, counters, rows, columns, k, columns, splits, Epilogue{nullptr, false});
}

// dw (rows, columns) = x^T * dy, where x is (k, rows) and dy is (k, columns): k is the batch.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    dense_backward_filter(const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dw,
                          float* parts, unsigned* counters, int rows, int k, int columns, int splits) {
  const LinesOfK<VECTOR> a{x, rows, rows};
  const LinesOfK<VECTOR> b{dy, columns, columns};
  gemm<T, VECTOR>(a, b, dw, parts, counters, rows, columns, k, columns, splits, Epilogue{nullptr, false});
}

// y (count,) = x + bias (columns,) by the last axis, then ReLU if `relu`: behind a product by another library.
__global__ void __launch_bounds__(256) add_bias(const float* __restrict__ x, const float* __restrict__ bias,
                                                float* __restrict__ y, int count, int columns, int relu) {
  const Epilogue epilogue{bias, relu != 0};
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    y[i] = epilogue(x[i], i % columns);
  }
}
