// From stored images to network input: selection of the next images, their augmentation, and the batch.
#include "merge.cuh"
#include "philox.cuh"
#include "storage.cuh"

// --- the next images of an epoch -------------------------------------------------------------------------------------

// Image `image` of the batch that begins at `first`; beyond the end of order (images,) its last entry.
__device__ __forceinline__ void next_image(const long long* order, const long long* labels, long long first, int images,
                                           unsigned image, long long* indices, long long* batch_labels) {
  const long long index = order[min(first + image, images - 1ll)];
  indices[image] = index;
  batch_labels[image] = labels[index];
}

// The clock after a batch, and the numbers (width,) of its step; beyond the end of schedule (batches, width) the last row.
__device__ __forceinline__ void advance(long long* clock, long long step, long long batch, long long next,
                                        const float* schedule, int batches, int width, float* numbers) {
  const float* row = schedule + min(batch, batches - 1ll) * width;
  for (int k = 0; k < width; ++k) numbers[k] = row[k];
  clock[0] = step;
  clock[1] = batch + 1;
  clock[2] = next;
}

// indices and batch_labels (count,): the next `count` images of order (images,) and their labels. clock (3,) is the
// number of the step, of batches and of images of this epoch so far; the kernel advances it and sets numbers (width,)
// to the batch's row of schedule (batches, width). One block: all of its threads read the clock before one of them sets it.
__global__ void __launch_bounds__(256)
    next_batch(const long long* __restrict__ order, const float* __restrict__ schedule,
               const long long* __restrict__ labels, long long* clock, float* __restrict__ numbers,
               long long* __restrict__ indices, long long* __restrict__ batch_labels, int images, int batches,
               int width, int count) {
  const long long step = clock[0] + 1, batch = clock[1], first = clock[2];
  __syncthreads();
  if (threadIdx.x == 0) advance(clock, step, batch, first + count, schedule, batches, width, numbers);
  for (int k = threadIdx.x; k < count; k += blockDim.x) {
    next_image(order, labels, first, images, k, indices, batch_labels);
  }
}

// --- augmentation ----------------------------------------------------------------------------------------------------

// Number `place` in [0, 1) of the random stream `key`, one 32-bit word each.
__device__ __forceinline__ double uniform(const RandomKey& key, unsigned place) {
  return word(random_words(key, place / 4), place % 4) * (1.0 / 4294967296.0);
}

// An integer from -reach to reach.
__device__ __forceinline__ double offset(double number, int reach) { return floor(number * (2 * reach + 1)) - reach; }

// The side of a square of this area in integer pixels, from 1 to `most`.
__device__ __forceinline__ int side(double area, int most) {
  return max(1, min(most, static_cast<int>(rint(sqrt(area)))));
}

// How images of h x w pixels are augmented. With `flip` an image is mirrored with probability one half. It is shifted by up
// to reach_h rows and reach_w columns, rotated by up to `rotate` degrees and zoomed from 1 - zoom to 1 + zoom. With
// probability `erase_rate` a rectangle of least_area to most_area of its pixels is erased. All this is of a crop of at
// least `least_crop` of the image's area, if that is below 1. Its input is multiplied by 1 - contrast to 1 + contrast and
// shifted by up to `brightness`. Field order as in structs.py.
struct AugmentRules {
  double rotate, zoom, erase_rate, least_area, most_area, least_crop, brightness, contrast;
  unsigned seed_low, seed_high, move_stream, warp_stream, crop_stream, tone_stream;
  int h, w, flip, reach_h, reach_w;
};

// A row of a matrix, whose position is moved into a crop: `side` of `size` pixels, at `place` from 0 to 1.
__device__ __forceinline__ void crop_row(double* row, double side, int size, double place) {
  const double part = min(side, 1.0);
#pragma unroll
  for (int k = 0; k < 3; ++k) row[k] *= part;
  row[2] += (size - 1) / 2.0 * (1.0 - part) + (place - 0.5) * (1.0 - part) * size;
}

// affine (2, 3), erase (4,) and tone (2,) of an image of the batch in this step.
__device__ __forceinline__ void augment(const AugmentRules& rules, long long step, unsigned image, float* affine,
                                        int* erase, float* tone) {
  const auto [rotate, zoom, erase_rate, least_area, most_area, least_crop, brightness, contrast, seed_low, seed_high,
              move_stream, warp_stream, crop_stream, tone_stream, h, w, flip, reach_h, reach_w] = rules;
  const RandomKey moves(seed_low, seed_high, move_stream, step);
  const RandomKey warps(seed_low, seed_high, warp_stream, step);

  const double sense = flip && uniform(moves, image * 3) < 0.5 ? -1.0 : 1.0;
  const double down = offset(uniform(moves, image * 3 + 1), reach_h);
  const double right = offset(uniform(moves, image * 3 + 2), reach_w);
  const double size = 1.0 + zoom * (2.0 * uniform(warps, image * 7 + 1) - 1.0);
  double sine, cosine;
  sincospi(rotate * (2.0 * uniform(warps, image * 7) - 1.0) / 180.0, &sine, &cosine);
  sine /= size;
  cosine /= size;
  const double centre_row = (h - 1) / 2.0, centre_column = (w - 1) / 2.0;
  const double from_row = centre_row + down, from_column = centre_column + right;
  double a[6] = {cosine,
                 sine,
                 centre_row - (cosine * from_row + sine * from_column),
                 -sense * sine,
                 sense * cosine,
                 centre_column - (-sense * sine * from_row + sense * cosine * from_column)};
  if (least_crop < 1.0) {
    const RandomKey crops(seed_low, seed_high, crop_stream, step);
    const double area = least_crop + (1.0 - least_crop) * uniform(crops, image * 4);
    // Height / width, from 3 / 4 to 4 / 3: 4 / 3 to the power of a number from -1 to 1.
    const double aspect = exp(0.28768207245178085 * (2.0 * uniform(crops, image * 4 + 1) - 1.0));
    crop_row(a, sqrt(area * aspect), h, uniform(crops, image * 4 + 2));
    crop_row(a + 3, sqrt(area / aspect), w, uniform(crops, image * 4 + 3));
  }
#pragma unroll
  for (int k = 0; k < 6; ++k) affine[k] = static_cast<float>(a[k]);

  tone[0] = 1.f;
  tone[1] = 0.f;
  if (brightness > 0.0 || contrast > 0.0) {
    const RandomKey tones(seed_low, seed_high, tone_stream, step);
    tone[0] = static_cast<float>(1.0 + contrast * (2.0 * uniform(tones, image * 2) - 1.0));
    tone[1] = static_cast<float>(brightness * (2.0 * uniform(tones, image * 2 + 1) - 1.0));
  }

  int rectangle[4] = {0, 0, 0, 0};  // top, left, height, width
  if (uniform(warps, image * 7 + 2) < erase_rate) {
    const double pixels = (least_area + (most_area - least_area) * uniform(warps, image * 7 + 3)) * h * w;
    // Height / width, from 0.3 to 1 / 0.3: 0.3 to the power of a number from 1 to -1.
    const double aspect = exp(-1.2039728043259361 * (1.0 - 2.0 * uniform(warps, image * 7 + 4)));
    rectangle[2] = side(pixels * aspect, h);
    rectangle[3] = side(pixels / aspect, w);
    rectangle[0] = static_cast<int>(floor(uniform(warps, image * 7 + 5) * (h - rectangle[2] + 1)));
    rectangle[1] = static_cast<int>(floor(uniform(warps, image * 7 + 6) * (w - rectangle[3] + 1)));
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) erase[k] = rectangle[k];
}

// affine (count, 2, 3), erase (count, 4) and tone (count, 2) for `gather_batch`: the numbers that `Batches.augmentation` in
// cnn/backends/reference/batches.py draws, also in double precision. clock[0] is the step. One thread per image.
__global__ void __launch_bounds__(128)
    augmentation(const long long* __restrict__ clock, float* __restrict__ affine, int* __restrict__ erase,
                 float* __restrict__ tone, const AugmentRules rules, int count) {
  const unsigned image = blockIdx.x * blockDim.x + threadIdx.x;
  if (image < count) augment(rules, clock[0], image, affine + image * 6, erase + image * 4, tone + image * 2);
}

// `next_batch` and `augmentation` of its step in one launch. The last block advances the clock, when all have read it.
__global__ void __launch_bounds__(128)
    next_augmented_batch(const long long* __restrict__ order, const float* __restrict__ schedule,
                         const long long* __restrict__ labels, long long* clock, float* __restrict__ numbers,
                         long long* __restrict__ indices, long long* __restrict__ batch_labels,
                         float* __restrict__ affine, int* __restrict__ erase, float* __restrict__ tone,
                         unsigned* counters, const AugmentRules rules, int images, int batches, int width, int count) {
  const unsigned image = blockIdx.x * blockDim.x + threadIdx.x;
  const long long step = clock[0] + 1, batch = clock[1], first = clock[2];
  if (image < count) {
    next_image(order, labels, first, images, image, indices, batch_labels);
    augment(rules, step, image, affine + image * 6, erase + image * 4, tone + image * 2);
  }
  if (!arrives_last(counters, gridDim.x) || threadIdx.x != 0) return;
  advance(clock, step, batch, first + count, schedule, batches, width, numbers);
}

// --- the batch -------------------------------------------------------------------------------------------------------

// batch (n, h, w, c): image k is images[indices[k]] of images (m, h, w, c), bytes or floats, warped by affine[k] (2,
// 3), if given, with bilinear interpolation and repeated edges, times scale (c,) plus offset (c,), then times tone[k][0]
// plus tone[k][1], if given, and 0 in the rectangle erase[k] (4,), if given: top, left, height, width. The grid is
// (images, chunks of an image); one thread per pixel.
template <class Pixel, class T>
__global__ void __launch_bounds__(256)
    gather_batch(const Pixel* __restrict__ images, const long long* __restrict__ indices,
                 const float* __restrict__ affine, const int* __restrict__ erase, const float* __restrict__ tone,
                 const float* __restrict__ scale, const float* __restrict__ offset, T* __restrict__ batch, int n, int h,
                 int w, int c) {
  const int pixel = blockIdx.y * 256 + threadIdx.x, image = blockIdx.x;
  if (pixel >= h * w) return;
  const int i = pixel / w, j = pixel - i * w;
  T* out = batch + (image * h * w + pixel) * c;
  const Pixel* stored = images + static_cast<int>(indices[image]) * h * w * c;

  if (erase) {
    const int* rectangle = erase + image * 4;
    const int down = i - rectangle[0], across = j - rectangle[1];
    if (0 <= down && down < rectangle[2] && 0 <= across && across < rectangle[3]) {
      for (int k = 0; k < c; ++k) assign(out[k], 0.f);
      return;
    }
  }
  const float gain = tone ? tone[image * 2] : 1.f, shift = tone ? tone[image * 2 + 1] : 0.f;
  if (!affine) {
    for (int k = 0; k < c; ++k) assign(out[k], (scale[k] * stored[pixel * c + k] + offset[k]) * gain + shift);
    return;
  }

  // Rounded after each operation, as in NumPy, so that both backends sample the same position.
  const float* a = affine + image * 6;
  const float y = __fadd_rn(__fadd_rn(__fmul_rn(a[0], i), __fmul_rn(a[1], j)), a[2]);
  const float x = __fadd_rn(__fadd_rn(__fmul_rn(a[3], i), __fmul_rn(a[4], j)), a[5]);
  const float row = fminf(fmaxf(y, 0.f), h - 1), column = fminf(fmaxf(x, 0.f), w - 1);
  const int top = static_cast<int>(row), left = static_cast<int>(column);
  const float down_part = row - top, right_part = column - left;

  // On the last row or column the neighbour beyond it has weight 0, and the pixel itself is read instead.
  const int to_right = left + 1 < w ? c : 0, to_below = top + 1 < h ? w * c : 0;
  const Pixel* corner = stored + (top * w + left) * c;
  for (int k = 0; k < c; ++k, ++corner) {
    const float v00 = corner[0], v01 = corner[to_right], v10 = corner[to_below], v11 = corner[to_below + to_right];
    const float upper = v00 + right_part * (v01 - v00), lower = v10 + right_part * (v11 - v10);
    assign(out[k], (scale[k] * (upper + down_part * (lower - upper)) + offset[k]) * gain + shift);
  }
}

// --- mixed images ----------------------------------------------------------------------------------------------------

// y (n, h, w, c): image i of x mixed with image n - 1 - i. mixing (5,) is blend, top, left, height, width: the partner's
// pixel inside the rectangle, else blend times the own and 1 - blend times the partner's. The grid is (images, chunks of an
// image); one thread per pixel.
template <class T>
__global__ void __launch_bounds__(256)
    mix_batch(const T* __restrict__ x, const float* __restrict__ mixing, T* __restrict__ y, int n, int h, int w, int c) {
  const int pixel = blockIdx.y * 256 + threadIdx.x, image = blockIdx.x;
  if (pixel >= h * w) return;
  const float down = pixel / w - mixing[1], across = pixel % w - mixing[2];
  const bool inside = 0.f <= down && down < mixing[3] && 0.f <= across && across < mixing[4];
  const float own = inside ? 0.f : mixing[0], other = 1.f - own;
  const int first = (image * h * w + pixel) * c, second = ((n - 1 - image) * h * w + pixel) * c;
  for (int k = 0; k < c; ++k) {
    const float a = loaded(x[first + k]), b = loaded(x[second + k]);
    assign(y[first + k], inside ? b : own * a + other * b);
  }
}

// Class j of what image `image` shows: of table[indices[image]], or by its label; NaN for a label that is no class.
__device__ __forceinline__ float shown(const long long* labels, const float* table, const long long* indices, int image,
                                       int j, int classes) {
  if (table) return table[indices[image] * classes + j];
  const long long label = labels[image];
  return label < 0 || label >= classes ? nanf("") : label == j ? 1.f : 0.f;
}

// targets (n, classes): share (1,) times what image i shows and 1 - share times what image n - 1 - i does, by labels (n,) or,
// if given, by the rows indices (n,) of table (images, classes). One thread per number.
__global__ void __launch_bounds__(256)
    batch_targets(const long long* __restrict__ labels, const float* __restrict__ share, const float* __restrict__ table,
                  const long long* __restrict__ indices, float* __restrict__ targets, int n, int classes) {
  const int place = blockIdx.x * 256 + threadIdx.x;
  if (place >= n * classes) return;
  const int image = place / classes, j = place - image * classes;
  const float own = shown(labels, table, indices, image, j, classes);
  const float other = shown(labels, table, indices, n - 1 - image, j, classes);
  targets[place] = share[0] * own + (1.f - share[0]) * other;
}
