"""Mutants of tail.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_tail = partial(Mutant, "tail.cu")

TAIL = [
    # --- values of a row ---
    _tail("index", "windows overlap from line to line", "2 * (row + line * width)", "2 * row + line * width"),
    _tail("index", "a window's lower pixels are its upper ones", " + tap / 2 * 2 * width", ""),
    _tail("index", "a window's right pixels are its left ones", " + tap % 2 + tap / 2", " + tap / 2"),
    _tail(
        "index", "a window's lines are as long as the output's", "down = 2 * columns.divisor", "down = columns.divisor"
    ),
    _tail(
        "eps",
        "eps outside the root",
        "scale.at[k] /= sqrtf(variance.at[k] + eps)",
        "scale.at[k] /= sqrtf(variance.at[k]) + eps",
    ),
    _tail(
        "statistics",
        "the mean folded into the offset",
        "fmaf(x - mean.at[k], scale.at[k], offset.at[k])",
        "fmaf(x, scale.at[k], offset.at[k] - mean.at[k] * scale.at[k])",
    ),
    _tail("NaN", "ReLU swallows NaN", "return v < 0.f ? 0.f : v;", "return v > 0.f ? v : 0.f;"),
    _tail("relu", "no ReLU before the maximum", "if (FORWARD && stages.relu & kBefore) {", "if (false) {"),
    _tail("random", "an element is kept from beyond the threshold on", ") >= stages.threshold", ") > stages.threshold"),
    _tail("random", "packs all begin at a block's first element", "N == 8 ? 0 : first % 8", "0"),
    _tail("random", "dropout knows no blocks", "random_words(key, first / 8)", "random_words(key, first)"),
    _tail("NaN", "what is dropped is multiplied by 0", "v.at[k] * scale : 0.f", "v.at[k] * scale : v.at[k] * 0.f"),
    _tail(
        "random",
        "dropout before the maximum counts windows, not pixels",
        "pixel_of<(TAPS > 1)>(row, tap, stages.columns) * c + channel",
        "row * c + channel",
    ),
    _tail("random", "dropout before the maximum keeps all", "drop(at[tap], kept[tap], stages.scale);", ""),
    _tail("argmax", "the last of equal pixels", "larger = v > largest", "larger = v >= largest"),
    _tail("NaN", "the maximum passes over NaN", "if (larger || v != v) largest", "if (larger) largest"),
    _tail("argmax", "the fourth pixel takes no part", "tap = 1; tap < TAPS", "tap = 1; tap < TAPS - 1"),
    # --- the loop ---
    _tail("bound", "rows beyond the chunk", "if (row >= walk.end) continue;", ""),
    _tail("tail", "a batch's last row is lost", "if (row < walk.end) visit", "if (row + 1 < walk.end) visit"),
    _tail("index", "batches overlap", "first += kRows * walk.lanes", "first += walk.lanes"),
    # --- forward ---
    _tail("sum", "the other branch is not added", "result.at[k] += extra.value(k)", "result.at[k] += 0.f"),
    _tail("relu", "no ReLU behind the sum", "if (stages.relu & kBehind) rectify(result);", ""),
    _tail(
        "random",
        "no dropout at the end",
        "if (DROPOUT && stages.dropout == kBehind) drop(result,",
        "if (false) drop(result,",
    ),
    _tail(
        "bound",
        "threads beyond the channels read",
        "return;\n  const Affine<N> affine(gamma, beta, moments, walk.channel, c, eps);\n  for_batches",
        "rows = rows;\n  const Affine<N> affine(gamma, beta, moments, walk.channel, c, eps);\n  for_batches",
    ),
    _tail("race", "every block moves the running moments", "running && blockIdx.x == 0 && blockIdx.y == 0", "running"),
    _tail(
        "statistics",
        "running moments: the weights change places",
        "momentum * running[i] + one_minus_momentum * moments[i]",
        "one_minus_momentum * running[i] + momentum * moments[i]",
    ),
    _tail("bound", "running moments: the means alone", "i < 2 * c; i += 256", "i < c; i += 256"),
    _tail("grid", "running moments: of the first channels alone", "i < 2 * c; i += 256", "i < 2 * c; i += 2 * c"),
    _tail("vector", "vectors at any address of other", "(c, x, other, y)", "(c, x, y)"),
    # --- backward ---
    _tail(
        "random",
        "backward: no dropout at the end",
        "if (DROPOUT && stages.dropout == kBehind) drop(g,",
        "if (false) drop(g,",
    ),
    _tail(
        "random",
        "backward: dropout before the maximum keeps all",
        "g = kept >> k & 1u ? g * stages.scale : 0.f;",
        "g *= stages.scale;",
    ),
    _tail(
        "relu",
        "backward: gradients pass where ReLU gave zero",
        "stages.relu & kBefore && !(v > 0.f)",
        "stages.relu & kBefore && !(v >= 0.f)",
    ),
    _tail("argmax", "sums: the gradient belongs to the first pixel", "u = pixels[tap].value(k);\n              v", "v"),
    _tail("relu", "sums: the first pixel's ReLU", "v = values.at[tap].at[k];\n              kept", "kept"),
    _tail(
        "random", "sums: the first pixel's dropout", "kept = values.kept[tap];\n            });", "\n            });"
    ),
    _tail(
        "statistics",
        "sums: the mean is not subtracted",
        "fmaf(gradient, u - affine.mean.at[k], batch[k])",
        "fmaf(gradient, u, batch[k])",
    ),
    _tail(
        "eps",
        "backward: dgamma without eps",
        "sums.at[k] /= sqrtf(variance.at[k] + eps)",
        "sums.at[k] /= sqrtf(variance.at[k])",
    ),
    _tail("index", "backward: dbeta and dgamma change places", "{dgamma, dbeta}", "{dbeta, dgamma}"),
    _tail(
        "eps",
        "backward: dx without eps",
        "-affine.scale.at[k] / sqrtf(variance.at[k] + eps) / pixels",
        "-affine.scale.at[k] / sqrtf(variance.at[k]) / pixels",
    ),
    _tail("sign", "backward: dgamma's part of dx is added", "factor.at[k] *= -affine", "factor.at[k] *= affine"),
    _tail(
        "statistics",
        "backward: means over windows, not pixels",
        "static_cast<float>(rows) * kTaps",
        "static_cast<float>(rows)",
    ),
    _tail(
        "statistics",
        "backward: dbeta's part of dx is forgotten",
        "factor.at[k], share.at[k]);",
        "factor.at[k], 0.f);",
    ),
    _tail("argmax", "backward: every pixel gets the gradient", "number == tap ? gradient : 0.f", "gradient"),
    _tail(
        "relu",
        "backward: the ReLU before passes at zero",
        "result = u > 0.f ? result : 0.f",
        "result = u >= 0.f ? result : 0.f",
    ),
    _tail("relu", "backward: the ReLU before is forgotten", "if (input_relu) for_all", "if (false) for_all"),
    _tail("vector", "backward: vectors at any address of x", "(c, dy, x, dx)", "(c, dy, dx)"),
]
