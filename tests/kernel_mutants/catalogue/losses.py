"""Mutants of losses.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_loss = partial(Mutant, "losses.cu")

LOSSES = [
    _loss("overflow", "softmax without the maximum", "return warp_max(largest);", "return 0.f;"),
    _loss("bound", "classes from the 33rd on are lost in the sum", "j += 32) sum += expf", "j += 64) sum += expf"),
    _loss(
        "bound",
        "softmax: a row beyond the last",
        "if (warp_row() >= rows) return;",
        "if (warp_row() > rows) return;",
    ),
    _loss("tie", "argmax: of equal maxima the last counts", "other_place < place)", "other_place > place)"),
    _loss(
        "tie",
        "argmax: within a lane the last of equals counts",
        "if (larger(row[j], best))",
        "if (!larger(best, row[j]))",
    ),
    _loss("NaN", "argmax: NaN is the largest no more", "a > b || (a != a && b == b)", "a > b"),
    _loss("reduction", "argmax: half of the warp is left out", "int reach = 16", "int reach = 8"),
    _loss(
        "statistics", "targets are taken to sum to one", "/ sum * mass - target(j, row[j])", "/ sum - target(j, row[j])"
    ),
    _loss("infinity", "a target of 0 times an infinite logarithm", "if (t != 0.f) loss -= t", "loss -= t"),
    _loss("sign", "the logarithm is added", "- largest - log_sum)", "- largest + log_sum)"),
    _loss("reduction", "every lane keeps its own loss", "loss = warp_sum(loss);", ""),
    _loss(
        "infinity",
        "a row of weight 0 has an infinite loss",
        "return weight == 0.f ? 0.f : weight * loss",
        "return weight * loss",
    ),
    _loss(
        "statistics",
        "distributions: the sum over the batch",
        "row_loss(logits, dlogits, classes, 1.f / static_cast<float>(rows), [=]",
        "row_loss(logits, dlogits, classes, 1.f, [=]",
    ),
    _loss(
        "statistics",
        "distributions: no weights",
        "(1.f - smoothing) * target[j] * class_weights[j] + even",
        "(1.f - smoothing) * target[j] + even",
    ),
    _loss(
        "statistics",
        "distributions: smoothed by the own weight",
        "all += target[j] * class_weights[j]",
        "all += target[j]",
    ),
    _loss("bound", "distributions: masked classes count", "return masked ? 0.f : (1.f", "return false ? 0.f : (1.f"),
    _loss("bound", "distributions: every -inf is masked", "kLargestFloat && target[j] == 0.f", "kLargestFloat"),
    _loss(
        "tie",
        "distributions: correct by the label's place",
        "outcomes[warp_row()] = best == shown",
        "outcomes[warp_row()] = best == 0",
    ),
    _loss(
        "bound",
        "distributions: a row beyond the last",
        "if (warp_row() < rows) {",
        "if (warp_row() <= rows) {",
        1,
        2,
    ),
    _loss(
        "bound",
        "labels: a row beyond the last",
        "if (warp_row() < rows) {",
        "if (warp_row() <= rows) {",
        2,
        2,
    ),
    _loss("statistics", "labels: rows that do not count are divided by", "counted = 0;\n    for", "for"),
    _loss("bound", "labels: the last row is not counted", "(threadIdx.x) < rows &&", "(threadIdx.x) < rows - 1 &&"),
    _loss(
        "tail",
        "labels: rows beyond the first block are not counted",
        "i < rows; i += 256) {\n      counted",
        "i < 256; i += 256) {\n      counted",
    ),
    _loss(
        "initial value",
        "labels: the gradient of a row that does not count is not set",
        "out[j] = 0.f;\n    return {0.f",
        ";\n    return {0.f",
    ),
    _loss(
        "statistics",
        "labels: a row that does not count is a miss",
        "return {0.f, 2};",
        "return {0.f, 0};",
    ),
    _loss("bound", "labels: a class beyond the last has a weight", "label < classes;", "label <= classes;"),
    _loss("bound", "labels: a class before the first has a weight", "0 <= label && ", ""),
    _loss("statistics", "labels: no weights", '(known ? class_weights[label] : nanf(""))', '(known ? 1.f : nanf(""))'),
    _loss(
        "statistics",
        "labels: the label gets nothing of the smoothing",
        "own = 1.f - smoothing + other",
        "own = 1.f - smoothing",
    ),
    _loss(
        "infinity",
        "labels: a masked class gets its part of the smoothing",
        "logit >= -kLargestFloat || logit != logit ? other : 0.f",
        "other",
    ),
    _loss(
        "NaN",
        "labels: a NaN gets nothing of the smoothing",
        " || logit != logit ? other",
        " ? other",
        may_survive="Any NaN among the logits makes the row's loss and gradient NaN, whatever its target.",
    ),
    _loss(
        "reduction",
        "totals: rows beyond the first 256 are lost",
        "row < rows; row += 256",
        "row < min(rows, 256); row += 256",
    ),
    _loss("statistics", "totals: rows that do not count are misses", "all += outcome != 2", "all += 1"),
    _loss("statistics", "totals: any outcome is a hit", "found += outcome == 1", "found += outcome != 0"),
    _loss("race", "totals: every block adds up", "if (!arrives_last(counters, gridDim.x)) return;", ""),
    _loss("sign", "totals: replaced, not added to", "totals[1] += found", "totals[1] = found"),
    _loss("statistics", "totals: the mean loss, not times the rows", "totals[0] += sum * all", "totals[0] += sum"),
    _loss("barrier", "totals: one shared memory for two sums", "block_sum<256, 1>(found)", "block_sum<256, 0>(found)"),
    _loss(
        "tail",
        "penalty: weights beyond the last pack are lost",
        "i < count; i += grid_threads()) sum += w[i] * w[i]",
        "i < packs * 4; i += grid_threads()) sum += w[i] * w[i]",
    ),
    _loss("index", "penalty: every block is written over the first", "partials[blockIdx.x]", "partials[0]"),
    _loss(
        "sign",
        "penalty's gradient: replaces what was there",
        "v.at[k] += factor * u.at[k]",
        "v.at[k] = factor * u.at[k]",
    ),
    _loss(
        "tail",
        "penalty's gradient: the last weight is lost",
        "i < count; i += grid_threads()) dw[i]",
        "i + 1 < count; i += grid_threads()) dw[i]",
    ),
    _loss(
        "vector",
        "penalty's gradient: vectors at any address of dw",
        "packs_at<4>(w) && packs_at<4>(dw) ?",
        "packs_at<4>(w) ?",
    ),
]
