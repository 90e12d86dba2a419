"""Mutants of normalization.cu and group_normalization.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_norm = partial(Mutant, "normalization.cu")
_group = partial(Mutant, "group_normalization.cu")

NORMALIZATION = [
    _norm(
        "statistics",
        "squares, not squared deviations",
        "deviation = values[i].at[k] - mean;",
        "deviation = values[i].at[k];",
    ),
    _norm(
        "overflow",
        "squares are divided after they are added",
        "variance += deviation * (1.f / ROWS) * deviation;",
        "variance += deviation * deviation;",
    ),
    _norm("statistics", "values are not shifted", "values[i].at[k] -= shift.at[k];", ";"),
    _norm(
        "tail",
        "eight rows at a time go on beyond the chunk",
        "row + (kRows - 1) * walk.lanes < walk.end; row",
        "row < walk.end; row",
    ),
    _norm(
        "tail",
        "rows that do not come in eights are lost",
        "for (; row < walk.end; row += walk.lanes) own.merge",
        "for (; row > walk.end; row += walk.lanes) own.merge",
    ),
    _norm("index", "tiles of channels share counters", "counters + blockIdx.x * gridDim.y", "counters"),
    _norm(
        "index",
        "merging: members are neighbours on every level",
        "chunk = first + member * step;",
        "chunk = first + member;",
    ),
    _norm(
        "statistics",
        "chunks count alike, though the last is shorter",
        "chunk_of_rows(rows, min(chunk + step, gridDim.y) - 1, gridDim.y).end",
        "(chunk + step) * ((rows + gridDim.y - 1) / gridDim.y)",
    ),
    _norm(
        "statistics",
        "merged chunks count as one",
        "min(chunk + step, gridDim.y) - 1, gridDim.y).end",
        "chunk, gridDim.y).end",
    ),
    _norm("statistics", "the mean is not shifted back", "shift.at[k] + own.mean[k]", "own.mean[k]"),
    _norm(
        "index",
        "mean and variance change places",
        "store_floats(result + c + walk.channel, variance)",
        "store_floats(result + c + walk.channel, mean)",
    ),
    _norm("index", "chunks overlap", "parts + chunk * 2 * c", "parts + chunk * c"),
    _norm(
        "statistics",
        "running average: the weights change places",
        "momentum * running[i] + one_minus_momentum * current[i]",
        "one_minus_momentum * running[i] + momentum * current[i]",
    ),
    _norm(
        "grid",
        "running average: a thread takes one element and no more",
        "i < count; i += grid_threads()",
        "i < count; i += count",
    ),
    # --- group_normalization.cu ---
    _group(
        "index",
        "a block has one group too few",
        "blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS",
        "blockIdx.x + threadIdx.x / THREADS",
    ),
    _group("bound", "a warp beyond the last group works", "active = group < n * groups", "active = true"),
    _group(
        "index",
        "every group begins at the first channel",
        "channel = (group - example * groups) * width;",
        "channel = 0;",
    ),
    _group("index", "a step over pixels loses channels", "pack += pack_step;", ""),
    _group("index", "the channels left over do not carry", "pack -= packs;\n        ++pixel;", "pack -= packs;"),
    _group(
        "statistics", "values are not shifted", "const float shift = loaded(x[walk.first]);", "const float shift = 0.f;"
    ),
    _group("statistics", "the mean is not shifted back", "mean = shift + shifted_mean;", "mean = shifted_mean;"),
    _group("statistics", "squares, not squared deviations", "v.at[k] - shift - shifted_mean;", "v.at[k] - shift;"),
    _group(
        "overflow",
        "squares are divided after the fact",
        "deviation * fraction * deviation",
        "deviation * deviation * fraction",
    ),
    _group("eps", "forward: no eps", "1.f / sqrtf(variance + eps)", "1.f / sqrtf(variance)"),
    _group(
        "index",
        "forward: the first group's gamma for all",
        "scale = load_pack<N>(gamma + channel), offset",
        "scale = load_pack<N>(gamma + (channel - walk.channel)), offset",
    ),
    _group("race", "forward: every thread writes the statistics", "if (threadIdx.x % THREADS == 0) {", "{"),
    _group(
        "index",
        "mean and variance change places",
        "statistics[walk.group * 2 + 1] = variance",
        "statistics[walk.group * 2 + 1] = mean",
    ),
    _group(
        "vector",
        "vectors although a group's channels do not come in fours",
        "by_fours(c / groups, x, gamma, beta, y)",
        "by_fours(c, x, gamma, beta, y)",
    ),
    _group("statistics", "backward: the mean of the gradient is forgotten", " - mean_dy - (v.at[k]", " - (v.at[k]"),
    _group(
        "sign",
        "backward: the projection is added",
        "(v.at[k] - mean) * inverse * mean_dy_xhat) * inverse",
        "(mean - v.at[k]) * inverse * mean_dy_xhat) * inverse",
    ),
    _group("statistics", "backward: gradients without gamma", "plain.add(given);", "plain.add(g.at[k]);"),
    _group(
        "eps",
        "backward: no eps",
        "1.f / sqrtf(statistics[walk.group * 2 + 1] + eps)",
        "1.f / sqrtf(statistics[walk.group * 2 + 1])",
    ),
    _group(
        "index",
        "sums: the first example's statistics for all",
        "(pixels.quotient(row) * groups + group) * 2",
        "group * 2",
    ),
    _group(
        "index",
        "sums: the first group's statistics for all",
        "(pixels.quotient(row) * groups + group) * 2",
        "pixels.quotient(row) * groups * 2",
    ),
    _group("index", "sums: dbeta and dgamma change places", "{dgamma, dbeta}", "{dbeta, dgamma}"),
    _group(
        "vector", "sums: vectors although a group's channels do not come in fours", "c / groups % 4 == 0 && by", "by"
    ),
]
