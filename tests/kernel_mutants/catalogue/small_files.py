"""Mutants of arrays.cu, batches.cu, dense.cu, dropout.cu and updates.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_array = partial(Mutant, "arrays.cu")
_batch = partial(Mutant, "batches.cu")
_dense = partial(Mutant, "dense.cu")
_dropout = partial(Mutant, "dropout.cu")
_update = partial(Mutant, "updates.cu")

SMALL_FILES = [
    # --- batches.cu ---
    _batch("bound", "a pixel beyond the last", "if (pixel >= h * w)", "if (pixel > h * w)", 1, 2),
    _batch(
        "statistics",
        "the shift before the gain",
        "+ offset[k]) * gain + shift);\n  }\n}",
        "+ offset[k] + shift) * gain);\n  }\n}",
    ),
    _batch(
        "statistics", "no tone without a warp", "tone ? tone[image * 2] : 1.f", "tone && affine ? tone[image * 2] : 1.f"
    ),
    # --- mixed images ---
    _batch("bound", "mixed: a pixel beyond the last", "if (pixel >= h * w)", "if (pixel > h * w)", 2, 2),
    _batch("index", "mixed: with itself", "((n - 1 - image) * h * w + pixel) * c;", "(image * h * w + pixel) * c;"),
    _batch("bound", "mixed: a line below the rectangle", "down < mixing[3]", "down <= mixing[3]"),
    _batch(
        "bound",
        "mixed: without the rectangle's first column",
        "0.f <= across && across < mixing[4]",
        "0.f < across && across < mixing[4]",
    ),
    _batch("statistics", "mixed: the partner whole", "other = 1.f - own;", "other = 1.f;"),
    _batch("statistics", "targets: the partner's share is the own", "(1.f - share[0]) * other", "share[0] * other"),
    _batch(
        "index",
        "targets: of the image before the partner",
        "indices, n - 1 - image, j",
        "indices, max(n - 2 - image, 0), j",
    ),
    _batch(
        "index",
        "targets: by place and not by image",
        "table[indices[image] * classes + j]",
        "table[image * classes + j]",
    ),
    _batch(
        "bound",
        "targets: labels below 0 are none of the classes",
        'label < 0 || label >= classes ? nanf("")',
        'label >= classes ? nanf("")',
    ),
    # --- crops and tones ---
    _batch("index", "crops: about the corner", "(size - 1) / 2.0 * (1.0 - part) + (place", "(place"),
    _batch("statistics", "crops: in the middle", "(place - 0.5) * (1.0 - part) * size", "0.0"),
    _batch(
        "statistics", "crops: larger than the image", "const double part = min(side, 1.0);", "const double part = side;"
    ),
    _batch("statistics", "crops: of one shape", "exp(0.28768207245178085 *", "exp(0.0 *"),
    _batch(
        "random",
        "crops: by the numbers of the warps",
        "crops(seed_low, seed_high, crop_stream, step)",
        "crops(seed_low, seed_high, warp_stream, step)",
    ),
    _batch(
        "statistics",
        "tones: brighter only",
        "brightness * (2.0 * uniform(tones, image * 2 + 1) - 1.0)",
        "brightness * uniform(tones, image * 2 + 1)",
    ),
    _batch(
        "index",
        "lines as long as the image is high",
        "i = pixel / w, j = pixel - i * w",
        "i = pixel / h, j = pixel - i * h",
    ),
    _batch("erase", "one row too many is erased", "down < rectangle[2]", "down <= rectangle[2]"),
    _batch("erase", "the first column is not erased", "0 <= across", "0 < across"),
    _batch("erase", "the erased part gets the offset", "assign(out[k], 0.f)", "assign(out[k], offset[k])"),
    _batch("erase", "everything above the rectangle is erased", "if (0 <= down && down", "if (down"),
    _batch(
        "index",
        "rows and columns change places in the matrix",
        "__fmul_rn(a[0], i), __fmul_rn(a[1], j)",
        "__fmul_rn(a[1], i), __fmul_rn(a[0], j)",
    ),
    _batch("bound", "a row beyond the last", "h - 1), column", "h), column"),
    _batch("bound", "columns left of the image", "fminf(fmaxf(x, 0.f), w - 1)", "fminf(fmaxf(x, -1.f), w - 1)"),
    _batch(
        "interpolation",
        "the left neighbour's share for the right one",
        "right_part = column - left",
        "right_part = 1.f - (column - left)",
    ),
    _batch(
        "interpolation",
        "shares down and right change places",
        "down_part = row - top, right_part = column - left",
        "right_part = row - top, down_part = column - left",
    ),
    _batch("interpolation", "no interpolation between rows", "(upper + down_part * (lower - upper))", "upper"),
    _batch("bound", "a neighbour right of the last column", "left + 1 < w ? c : 0", "left < w ? c : 0"),
    _batch("index", "images in their order, without indices", "static_cast<int>(indices[image]) * h", "image * h"),
    _batch("index", "rows and columns change places in the image", "top * w + left)", "left * w + top)"),
    _batch(
        "statistics",
        "the offset is scaled",
        "(upper + down_part * (lower - upper)) + offset[k]",
        "(upper + down_part * (lower - upper) + offset[k])",
    ),
    _batch(
        "unsigned",
        "pixels above 127 are negative",
        "const float v00 = corner[0],",
        "const float v00 = static_cast<signed char>(corner[0]),",
    ),
    _batch(
        "rounding",
        "positions by fused multiply-adds",
        "__fadd_rn(__fadd_rn(__fmul_rn(a[0], i), __fmul_rn(a[1], j)), a[2])",
        "fmaf(a[0], i, fmaf(a[1], j, a[2]))",
        may_survive="It moves the place that a pixel looks at by some 1e-7 pixels, and bilinear interpolation is "
        "continuous: the image stays the same within rounding.",
    ),
    _batch("erase", "without a rectangle one is read", "  if (erase) {\n", "  if (true) {\n"),
    _batch("index", "without a matrix: the first image", "stored[pixel * c + k]", "images[pixel * c + k]"),
    _batch(
        "statistics",
        "without a matrix: no offset",
        "scale[k] * stored[pixel * c + k] + offset[k]",
        "scale[k] * stored[pixel * c + k]",
    ),
    _batch(
        "barrier",
        "next: none before the clock moves on",
        "  __syncthreads();\n  if (threadIdx.x == 0) advance",
        "  if (threadIdx.x == 0) advance",
    ),
    _batch("bound", "next: rows beyond the last", "min(batch, batches - 1ll) * width", "batch * width"),
    _batch("bound", "next: images beyond the last", "order[min(first + image, images - 1ll)]", "order[first + image]"),
    _batch("index", "next: the epoch's first images", "min(first + image, images", "min(0ll + image, images"),
    _batch("index", "next: labels in their order", "labels[index]", "labels[min(first + image, images - 1ll)]"),
    _batch("optimizer", "next: the step stays", "clock[0] = step;", ""),
    _batch(
        "tail",
        "next: images beyond the first 256 are lost",
        "k < count; k += blockDim.x",
        "k < min(count, 256); k += blockDim.x",
    ),
    _batch("random", "draws: words in the wrong order", "place % 4)", "3 - place % 4)"),
    _batch("random", "draws: moves reach one pixel less", "number * (2 * reach + 1)", "number * (2 * reach)"),
    _batch("random", "draws: mirrored without being asked to", "flip && uniform", "true || uniform"),
    _batch("random", "draws: rows and columns move alike", "image * 3 + 2), reach_w", "image * 3 + 1), reach_w"),
    _batch(
        "random",
        "draws: the zoom's number is the angle's",
        "uniform(warps, image * 7 + 1) - 1.0)",
        "uniform(warps, image * 7) - 1.0)",
    ),
    _batch("random", "draws: both streams are one", "move_stream, step", "warp_stream, step"),
    _batch("statistics", "draws: angles in another unit", "/ 180.0, &sine", "/ 200.0, &sine"),
    _batch("sign", "draws: turned the other way", "                 sine,\n", "                 -sine,\n"),
    _batch("sign", "draws: mirrored rows", "                 sense * cosine,\n", "                 cosine,\n"),
    _batch("index", "draws: about the corner, not the centre", "centre_row = (h - 1) / 2.0", "centre_row = 0.0"),
    _batch(
        "random",
        "draws: erased with the other probability",
        "image * 7 + 2) < erase_rate",
        "image * 7 + 2) >= erase_rate",
    ),
    _batch(
        "statistics", "draws: height and width change places", "side(pixels * aspect, h)", "side(pixels / aspect, h)"
    ),
    _batch(
        "bound", "draws: the last place of a rectangle is never taken", "(h - rectangle[2] + 1)", "(h - rectangle[2])"
    ),
    _batch(
        "bound",
        "draws: sides longer than the image",
        "max(1, min(most, static_cast<int>(rint(sqrt(area)))))",
        "max(1, static_cast<int>(rint(sqrt(area))))",
    ),
    _batch("bound", "draws: an image beyond the last", "if (image < count) augment", "if (image <= count) augment"),
    _batch(
        "random",
        "next, augmented: draws of the step before",
        "long long step = clock[0] + 1, batch = clock[1], first = clock[2];\n  if",
        "long long step = clock[0], batch = clock[1], first = clock[2];\n  if",
    ),
    _batch(
        "race",
        "next, augmented: the first block moves the clock on",
        "!arrives_last(counters, gridDim.x) || threadIdx.x",
        "blockIdx.x || threadIdx.x",
    ),
    _batch(
        "bound",
        "next, augmented: an image beyond the last",
        "  if (image < count) {\n    next_image",
        "  if (image <= count) {\n    next_image",
    ),
    # --- dense.cu ---
    _dense("relu", "forward: no ReLU", "Epilogue{bias, relu != 0});", "Epilogue{bias, false});"),
    _dense("bound", "data gradient: rows for columns", "b{w, columns, k};", "b{w, rows, k};"),
    _dense("index", "filter gradient: lines as long as the output", "a{x, rows, rows};", "a{x, rows, columns};"),
    _dense("index", "the bias by row, not by column", "epilogue(x[i], i % columns)", "epilogue(x[i], i / columns)"),
    _dense("relu", "no ReLU behind another library's product", "epilogue{bias, relu != 0};", "epilogue{bias, false};"),
    _dense("grid", "a thread adds one element and no more", "i += gridDim.x * blockDim.x", "i += count"),
    # --- dropout.cu ---
    _dropout(
        "random",
        "packs: the threshold itself is dropped",
        "random_half(words, k) >= threshold ? values",
        "random_half(words, k) > threshold ? values",
    ),
    _dropout(
        "random",
        "elements: the threshold itself is dropped",
        "random_half(words, k) >= threshold ? loaded",
        "random_half(words, k) > threshold ? loaded",
    ),
    _dropout("statistics", "packs: what is kept is not scaled", "values.at[k] * scale : 0.f", "values.at[k] : 0.f"),
    _dropout(
        "statistics", "elements: what is kept is not scaled", "loaded(x[first + k]) * scale", "loaded(x[first + k])"
    ),
    _dropout("tail", "elements that fill no block are lost", "(elements + 7) / 8", "elements / 8"),
    _dropout("bound", "a pack where fewer are left", "first + 8 <= elements", "first <= elements"),
    _dropout("vector", "a pack at any address of x", "packs_at<8>(x) && packs_at<8>(y)", "packs_at<8>(y)"),
    _dropout("index", "blocks of seven elements", "first = block * 8", "first = block * 7"),
    _dropout(
        "NaN",
        "packs: what is dropped is multiplied by 0",
        "? values.at[k] * scale : 0.f",
        "? values.at[k] * scale : values.at[k] * 0.f",
    ),
    _dropout("random", "the first step for all", "stream, clock[0])", "stream, 1)", 1, 2),
    _dropout("random", "examples: the first step for all", "stream, clock[0])", "stream, 1)", 2, 2),
    _dropout("grid", "a thread takes one block and no more", "block += grid_threads()", "block += blocks"),
    _dropout(
        "random",
        "examples: the threshold itself is dropped",
        "random_half(random_words(key, example / 8), example % 8) >= threshold",
        "random_half(random_words(key, example / 8), example % 8) > threshold",
    ),
    _dropout("random", "all examples from the first block", "random_words(key, example / 8)", "random_words(key, 0)"),
    _dropout("statistics", "examples that are kept are not scaled", "kept ? v * scale : 0.f", "kept ? v : 0.f"),
    _dropout(
        "NaN", "an example that is dropped is multiplied by 0", "kept ? v * scale : 0.f", "v * (kept ? scale : 0.f)"
    ),
    # --- arrays.cu ---
    _array("sign", "conversion turns the sign", "return u;", "return -u;"),
    # --- updates.cu ---
    _update("vector", "packs where fewer are left", "fit ? count / 4 : 0;", "fit ? (count + 3) / 4 : 0;"),
    _update(
        "tail",
        "elements of packs are updated twice",
        "i = packs * 4 + grid_thread(); i < count; i += grid_threads()) {\n    float p",
        "i = grid_thread(); i < count; i += grid_threads()) {\n    float p",
    ),
    _update(
        "tail",
        "elements beyond the last pack are lost",
        "i < count; i += grid_threads()) {\n    float p",
        "i < packs * 4; i += grid_threads()) {\n    float p",
    ),
    _update(
        "grid",
        "a thread takes one pack and no more",
        "i < packs * 4; i += grid_threads() * 4",
        "i < packs * 4; i += packs * 4",
    ),
    _update(
        "vector",
        "packs at any address of the gradient",
        "packs_at<4>(grad) && packs_at<4>(first)",
        "packs_at<4>(first)",
    ),
    _update(
        "optimizer", "packs: the second moment is not stored", "if (Rule::kTwoMoments) store_pack(second + i, v);", ""
    ),
    _update("optimizer", "elements: the second moment is not stored", "if (Rule::kTwoMoments) second[i] = v;", ""),
    _update("vector", "packs at any address of the copy", " &&\n                   packs_at<4>(copy)", ""),
    _update("optimizer", "packs: the copy is not stored", "if (copy) store_pack(copy + i, p);", ""),
    _update("optimizer", "elements: the copy is not stored", "if (copy) assign(copy[i], p);", ""),
    _update(
        "optimizer", "packs: the copy is of the first moment", "store_pack(copy + i, p)", "store_pack(copy + i, m)"
    ),
    _update("sign", "L2 decay the wrong way", "return g + rate * p;", "return g - rate * p;"),
    _update("optimizer", "decoupled and L2 decay change places", "if (!decoupled) return", "if (decoupled) return"),
    _update(
        "optimizer", "decoupled decay without the learning rate", "p -= learning_rate * rate * p;", "p -= rate * p;"
    ),
    _update(
        "optimizer",
        "decoupled decay takes from the gradient",
        "p -= learning_rate * rate * p;",
        "p -= learning_rate * rate * g;",
    ),
    _update(
        "optimizer", "Nesterov without the look ahead", "nesterov ? g + momentum * velocity : velocity", "velocity"
    ),
    _update(
        "eps", "Adam: eps under the root", "(sqrtf(second * correction2) + eps)", "sqrtf(second * correction2 + eps)"
    ),
    _update("optimizer", "blend: away from the values", "own + part * (other - own)", "own - part * (other - own)"),
    _update("optimizer", "blend: a share of 0 changes", "if (part == 0.f) return;", ""),
    _update("copy", "blend: the copy stays", "    if (copy) assign(copy[i], into[i]);\n", ""),
    _update("optimizer", "Adam: the second moment is not corrected", "sqrtf(second * correction2)", "sqrtf(second)"),
    _update(
        "optimizer",
        "Adam: the first moment is not corrected",
        "rate / bias_correction(clock[0], logf(inertia))",
        "rate",
    ),
    _update(
        "cancellation",
        "Adam: 1 - exp in the corrections",
        "-expm1f(static_cast<float>(step) * log_beta)",
        "1.f - expf(static_cast<float>(step) * log_beta)",
    ),
    _update("optimizer", "Adam: the gradient is not squared", "one_minus_beta2 * (g * g)", "one_minus_beta2 * g"),
    _update(
        "optimizer",
        "Adam: the first moment's weight for the second",
        "second = beta2 * second + one_minus_beta2",
        "second = beta2 * second + one_minus_beta1",
    ),
    _update("optimizer", "Adam: the gradient instead of its average", "step_size * first /", "step_size * g /"),
    _update("overflow", "norm: squares of floats", "static_cast<double>(g.at[k]) * g.at[k]", "g.at[k] * g.at[k]"),
    _update(
        "tail",
        "norm: elements beyond the last pack are lost",
        "i < count; i += grid_threads()) {\n    sum +=",
        "i < packs * 4; i += grid_threads()) {\n    sum +=",
    ),
    _update("index", "norm: every block over the first", "partials[blockIdx.x] = sum", "partials[0] = sum"),
    _update("reduction", "clip: partial sums beyond the first 256 are lost", "i < blocks; i += 256", "i < 1; i += 256"),
    _update("bound", "clip: gradients within the limit are stretched", "if (!(found > limit)) return;", ""),
    _update("NaN", "clip: a NaN norm clips", "if (!(found > limit)) return;", "if (found <= limit) return;"),
    _update(
        "tail",
        "clip: elements beyond the last pack stay",
        "i < count; i += grid_threads()) grad[i] *= scale",
        "i < packs * 4; i += grid_threads()) grad[i] *= scale",
    ),
]
