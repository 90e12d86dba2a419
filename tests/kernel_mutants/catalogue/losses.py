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
        1,
        2,
    ),
    _loss(
        "statistics", "cross-entropy: targets are taken to sum to one", "/ sum * mass - target[j]", "/ sum - target[j]"
    ),
    _loss(
        "statistics",
        "cross-entropy: the sum over the batch",
        "weights[warp_row()] / static_cast<float>(rows)",
        "weights[warp_row()]",
    ),
    _loss(
        "statistics",
        "cross-entropy: no weights",
        "weights[warp_row()] / static_cast<float>(rows)",
        "1.f / static_cast<float>(rows)",
    ),
    _loss("sign", "cross-entropy: the logarithm is added", "- largest - log_sum)", "- largest + log_sum)"),
    _loss("reduction", "cross-entropy: every lane keeps its own loss", "loss = warp_sum(loss);", ""),
    _loss(
        "tie",
        "count: of equal maxima the last wins",
        "other == best && place < winner",
        "other == best && place > winner",
    ),
    _loss("tie", "count: within a lane the last of equals wins", "if (row[j] > best)", "if (row[j] >= best)"),
    _loss("race", "count: blocks add without waiting for each other", "atomicAdd(correct, hits)", "*correct += hits"),
    _loss("bound", "count: a row beyond the last", "if (warp_row() < rows) {", "if (warp_row() <= rows) {"),
    _loss("statistics", "soft targets: the label's own share is forgotten", "rest + extra : rest", "extra : rest"),
    _loss("index", "soft targets: one class further", "== i - row * classes ?", "== i - row * classes + 1 ?"),
    _loss(
        "grid",
        "soft targets: a thread takes one element and no more",
        "i < count; i += grid_threads()) {\n    const unsigned row",
        "i < count; i += count) {\n    const unsigned row",
    ),
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
