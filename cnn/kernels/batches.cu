// From stored pictures to network input.

// batch (n, h, w, c): picture k is images[indices[k]] of images (m, h, w, c), warped by affine[k] (2, 3) with bilinear
// interpolation and repeated rims, times scale (c,) plus offset (c,), and 0 in the rectangle erase[k] (4,): top, left,
// height, width. The grid is (pictures, pieces of a picture); a thread makes a pixel.
__global__ void __launch_bounds__(256)
    gather_batch(const unsigned char* __restrict__ images, const long long* __restrict__ indices,
                 const float* __restrict__ affine, const int* __restrict__ erase, const float* __restrict__ scale,
                 const float* __restrict__ offset, float* __restrict__ batch, int n, int h, int w, int c) {
  const int pixel = blockIdx.y * 256 + threadIdx.x, picture = blockIdx.x;
  if (pixel >= h * w) return;
  const int i = pixel / w, j = pixel - i * w;
  float* out = batch + (picture * h * w + pixel) * c;

  const int* rectangle = erase + picture * 4;
  const int down = i - rectangle[0], across = j - rectangle[1];
  if (0 <= down && down < rectangle[2] && 0 <= across && across < rectangle[3]) {
    for (int k = 0; k < c; ++k) out[k] = 0.f;
    return;
  }

  // Rounded after each operation, as NumPy does it: then both backends look at the same place.
  const float* a = affine + picture * 6;
  const float y = __fadd_rn(__fadd_rn(__fmul_rn(a[0], i), __fmul_rn(a[1], j)), a[2]);
  const float x = __fadd_rn(__fadd_rn(__fmul_rn(a[3], i), __fmul_rn(a[4], j)), a[5]);
  const float row = fminf(fmaxf(y, 0.f), h - 1), column = fminf(fmaxf(x, 0.f), w - 1);
  const int top = static_cast<int>(row), left = static_cast<int>(column);
  const float down_part = row - top, right_part = column - left;

  // On the last row or column the neighbour beyond it counts nothing, and the pixel itself stands in for it.
  const int to_right = left + 1 < w ? c : 0, to_below = top + 1 < h ? w * c : 0;
  const unsigned char* corner = images + (static_cast<int>(indices[picture]) * h * w + top * w + left) * c;
  for (int k = 0; k < c; ++k, ++corner) {
    const float v00 = corner[0], v01 = corner[to_right], v10 = corner[to_below], v11 = corner[to_below + to_right];
    const float upper = v00 + right_part * (v01 - v00), lower = v10 + right_part * (v11 - v10);
    out[k] = scale[k] * (upper + down_part * (lower - upper)) + offset[k];
  }
}
