// Matrix products of dense layers, and the sum over the partial sums of a split product.
#include "gemm.cuh"
#include "storage.cuh"

// y (rows, columns) = x (rows, k) * w (k, columns) + bias (columns,), then ReLU if `relu`. With splits > 1, y is
// (splits, rows, columns): part s is the sum over the s-th part of k, and `sum_splits` applies bias and ReLU.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    dense_forward(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
                  float* __restrict__ y, int rows, int k, int columns, int splits, int relu) {
  const RowsAlongK<VECTOR> a{x, rows, k};
  const LinesOfK<VECTOR> b{w, columns, columns};
  gemm<T, VECTOR>(a, b, y, rows, columns, k, columns, blockIdx.z, splits, Epilogue{bias, relu != 0});
}

// dx (rows, columns) = dy (rows, k) * w^T, where w is (columns, k).
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    dense_backward_input(const float* __restrict__ dy, const float* __restrict__ w, float* __restrict__ dx, int rows,
                         int k, int columns, int splits) {
  const RowsAlongK<VECTOR> a{dy, rows, k};
  const RowsAlongK<VECTOR> b{w, columns, k};
  gemm<T, VECTOR>(a, b, dx, rows, columns, k, columns, blockIdx.z, splits, Epilogue{nullptr, false});
}

// dw (rows, columns) = x^T * dy, where x is (k, rows) and dy is (k, columns): k is the batch.
template <class T, bool VECTOR>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    dense_backward_filter(const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dw, int rows,
                          int k, int columns, int splits) {
  const LinesOfK<VECTOR> a{x, rows, rows};
  const LinesOfK<VECTOR> b{dy, columns, columns};
  gemm<T, VECTOR>(a, b, dw, rows, columns, k, columns, blockIdx.z, splits, Epilogue{nullptr, false});
}

// y (count,) = the sum of parts (splits, count), in order, plus bias (columns,) by the last axis, then ReLU if asked
// for, rounded to what y holds. Element i is in column i % columns.
template <class T>
__global__ void __launch_bounds__(256)
    sum_splits(const float* __restrict__ parts, const float* __restrict__ bias, T* __restrict__ y, int count,
               int splits, int columns, int relu) {
  const Epilogue epilogue{bias, relu != 0};
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    float sum = 0.f;
    for (int s = 0; s < splits; ++s) sum += parts[static_cast<long long>(s) * count + i];
    assign(y[i], epilogue(sum, i % columns));
  }
}
