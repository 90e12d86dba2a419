"""Mutants of batches.cu, dense.cu, dropout.cu, elementwise.cu and optimizers.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_batch = partial(Mutant, "batches.cu")
_dense = partial(Mutant, "dense.cu")
_dropout = partial(Mutant, "dropout.cu")
_element = partial(Mutant, "elementwise.cu")
_optimizer = partial(Mutant, "optimizers.cu")

SMALL_FILES = [
    # --- batches.cu ---
    _batch("bound", "a pixel beyond the last", "if (pixel >= h * w)", "if (pixel > h * w)"),
    _batch(
        "index",
        "lines as long as the picture is high",
        "i = pixel / w, j = pixel - i * w",
        "i = pixel / h, j = pixel - i * h",
    ),
    _batch("erase", "one row too many is erased", "down < rectangle[2]", "down <= rectangle[2]"),
    _batch("erase", "the first column is not erased", "0 <= across", "0 < across"),
    _batch("erase", "the erased part gets the offset", "out[k] = 0.f", "out[k] = offset[k]"),
    _batch("erase", "everything above the rectangle is erased", "if (0 <= down && down", "if (down"),
    _batch(
        "index",
        "rows and columns change places in the matrix",
        "__fmul_rn(a[0], i), __fmul_rn(a[1], j)",
        "__fmul_rn(a[1], i), __fmul_rn(a[0], j)",
    ),
    _batch("bound", "a row beyond the last", "h - 1), column", "h), column"),
    _batch("bound", "columns left of the picture", "fminf(fmaxf(x, 0.f), w - 1)", "fminf(fmaxf(x, -1.f), w - 1)"),
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
    _batch(
        "index", "pictures in their order, without indices", "static_cast<int>(indices[picture]) * h", "picture * h"
    ),
    _batch("index", "rows and columns change places in the picture", "top * w + left)", "left * w + top)"),
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
        "continuous: the picture stays the same within rounding.",
    ),
    # --- dense.cu ---
    _dense("relu", "forward: no ReLU", "Epilogue{bias, relu != 0});", "Epilogue{bias, false});"),
    _dense("bound", "data gradient: rows for columns", "b{w, columns, k};", "b{w, rows, k};"),
    _dense("index", "filter gradient: lines as long as the output", "a{x, rows, rows};", "a{x, rows, columns};"),
    _dense(
        "split",
        "data gradient: every split sums the same part",
        "k, columns, blockIdx.z, splits, Epilogue{nullptr",
        "k, columns, 0, splits, Epilogue{nullptr",
        1,
        2,
    ),
    _dense("reduction", "the last split is not added", "s < splits; ++s", "s < splits - 1; ++s"),
    _dense("initial value", "the first split counts twice", "    float sum = 0.f;\n", "    float sum = parts[i];\n"),
    _dense("bias", "the bias by row, not by column", "epilogue(sum, i % columns)", "epilogue(sum, i / columns)"),
    _dense("relu", "no ReLU behind the splits' sum", "epilogue{bias, relu != 0};", "epilogue{bias, false};"),
    _dense("stride", "parts lie one element too close", "(s) * count + i", "(s) * (count - 1) + i"),
    _dense("grid", "a thread sums one element and no more", "i += gridDim.x * blockDim.x", "i += count"),
    # --- dropout.cu ---
    _dropout(
        "random",
        "packs: the threshold itself is dropped",
        "random_half(words, k) >= threshold;\n        values",
        "random_half(words, k) > threshold;\n        values",
    ),
    _dropout(
        "random",
        "elements: the threshold itself is dropped",
        "random_half(words, k) >= threshold;\n        y",
        "random_half(words, k) > threshold;\n        y",
    ),
    _dropout("statistics", "packs: what is kept is not scaled", "kept.at[k] ? scale : 0.f", "kept.at[k] ? 1.f : 0.f"),
    _dropout("tail", "elements that fill no block are lost", "(elements + 7) / 8", "elements / 8"),
    _dropout("bound", "a pack where fewer are left", "first + 8 <= elements", "first <= elements"),
    _dropout(
        "vector",
        "a pack at any address of the mask",
        " && packs_at<8>(mask);",
        ";",
        may_survive="The mask is always a new array, and a new array begins where a pack may be written whenever those "
        "of x and y do: not reachable through the backend.",
    ),
    _dropout("index", "blocks of seven elements", "first = block * 8", "first = block * 7"),
    _dropout("sign", "the mask tells what was dropped", "mask[first + k] = kept;", "mask[first + k] = !kept;"),
    _dropout(
        "NaN",
        "what is dropped becomes a plain zero",
        "x[first + k] * (kept ? scale : 0.f)",
        "kept ? x[first + k] * scale : 0.f",
    ),
    _dropout("statistics", "backward: not scaled", "g * (kept ? scale : 0.f)", "g * (kept ? 1.f : 0.f)"),
    # --- elementwise.cu ---
    _element("sign", "add: the difference", "return u + v", "return u - v"),
    _element("NaN", "ReLU swallows NaN", "x < 0.f ? 0.f : x", "x > 0.f ? x : 0.f"),
    _element("relu", "ReLU's gradient passes at zero", "return x > 0.f ? dy : 0.f", "return x >= 0.f ? dy : 0.f"),
    _element(
        "relu",
        "leaky ReLU's gradient at zero is one",
        "return x > 0.f ? dy : slope * dy",
        "return x >= 0.f ? dy : slope * dy",
    ),
    _element("cancellation", "ELU: exp(x) - 1", "alpha * expm1f(x)", "alpha * (expf(x) - 1.f)"),
    _element(
        "relu",
        "ELU's gradient at zero is one",
        "return x > 0.f ? dy : dy * (alpha",
        "return x >= 0.f ? dy : dy * (alpha",
    ),
    _element("sign", "GELU: the density grows", "expf(-0.5f * x * x)", "expf(0.5f * x * x)"),
    _element(
        "statistics",
        "GELU: the density is forgotten",
        "normal_cdf(x) + x * (kDensity",
        "normal_cdf(x) + 0.f * (kDensity",
    ),
    _element("overflow", "SiLU's gradient: an exponential that overflows", "expf(-fabsf(x))", "expf(-x)"),
    _element(
        "sign",
        "SiLU's gradient: the sigmoids change places",
        "s = x < 0.f ? smaller : larger",
        "s = x < 0.f ? larger : smaller",
    ),
    # --- optimizers.cu ---
    _optimizer(
        "tail",
        "pieces: what fills no piece is lost",
        "(tensors.size[t] + piece - 1) / piece",
        "max(tensors.size[t] / piece, 1u)",
    ),
    _optimizer(
        "bound",
        "pieces: one too many where they fit exactly",
        "(tensors.size[t] + piece - 1) / piece",
        "tensors.size[t] / piece + 1",
    ),
    _optimizer(
        "bound", "a tensor's block counts for the one before", "if (block < blocks) break", "if (block <= blocks) break"
    ),
    _optimizer(
        "bound",
        "a piece goes on beyond the tensor",
        "min(static_cast<unsigned>(tensors.size[t]), begin + piece)",
        "begin + piece",
    ),
    _optimizer("vector", "packs where fewer are left", "begin + (end - begin) / 4 * 4 : begin", "end : begin"),
    _optimizer(
        "tail", "elements of packs are updated twice", "i = packs_end + threadIdx.x; i", "i = begin + threadIdx.x; i"
    ),
    _optimizer("vector", "packs at any address of the gradient", " && packs_at<4>(grad)", ""),
    _optimizer("index", "every tensor decays like the first", "tensors.weight_decay[t]", "tensors.weight_decay[0]"),
    _optimizer(
        "optimizer", "packs: the second moment is not stored", "if (Rule::kTwoMoments) store_pack(second + i, v);", ""
    ),
    _optimizer("optimizer", "elements: the second moment is not stored", "if (Rule::kTwoMoments) second[i] = v;", ""),
    _optimizer("sign", "L2 decay the wrong way", "return g + decay * p;", "return g - decay * p;"),
    _optimizer("optimizer", "decoupled and L2 decay change places", "if (!decoupled) return", "if (decoupled) return"),
    _optimizer(
        "optimizer",
        "decoupled decay takes from the gradient",
        "p -= decay * p;\n  return g;",
        "p -= decay * g;\n  return g;",
    ),
    _optimizer(
        "optimizer", "Nesterov without the look ahead", "nesterov ? g + momentum * velocity : velocity", "velocity"
    ),
    _optimizer(
        "eps", "Adam: eps under the root", "(sqrtf(second * correction2) + eps)", "sqrtf(second * correction2 + eps)"
    ),
    _optimizer("optimizer", "Adam: the second moment is not corrected", "sqrtf(second * correction2)", "sqrtf(second)"),
    _optimizer("optimizer", "Adam: the gradient is not squared", "rest2 * (g * g)", "rest2 * g"),
    _optimizer(
        "optimizer",
        "Adam: the first moment's share for the second",
        "second = beta2 * second + rest2",
        "second = beta2 * second + rest1",
    ),
    _optimizer("optimizer", "Adam: the gradient instead of its average", "step_size * first /", "step_size * g /"),
]
