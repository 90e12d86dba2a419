"""Mutants of normalization.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_norm = partial(Mutant, "normalization.cu")

NORMALIZATION = [
    _norm(
        "index",
        "column sums: every chunk is written over the first",
        "sums + blockIdx.y * c + walk.channel, out",
        "sums + walk.channel, out",
    ),
    _norm(
        "statistics", "merging squares forgets the counts", "delta * delta * (count * share)", "delta * delta * share"
    ),
    _norm("statistics", "merging means gives both sides half", "delta * share;", "delta * 0.5f;"),
    _norm(
        "statistics",
        "merging forgets that means differ",
        "other.squares[k] + delta * delta * (count * share)",
        "other.squares[k]",
    ),
    _norm("statistics", "merging nothing with nothing divides by zero", "if (other.count == 0.f) return;", ""),
    _norm(
        "statistics",
        "squares, not squared deviations",
        "(values[i].at[k] - mean) * (values[i].at[k] - mean)",
        "values[i].at[k] * values[i].at[k]",
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
    _norm(
        "statistics",
        "chunks count alike, though the last is shorter",
        "static_cast<float>(part.end - part.begin)",
        "static_cast<float>((rows + chunks - 1) / chunks)",
    ),
    _norm(
        "statistics",
        "an unbiased variance",
        "own.squares[0] / static_cast<float>(rows)",
        "own.squares[0] / static_cast<float>(rows - 1)",
    ),
    _norm("statistics", "the mean is not shifted back", "x[walk.channel] + own.mean[0]", "own.mean[0]"),
    _norm(
        "eps",
        "forward: eps outside the root",
        "scale.at[k] /= sqrtf(spread.at[k] + eps)",
        "scale.at[k] /= sqrtf(spread.at[k]) + eps",
    ),
    _norm(
        "statistics",
        "forward: the mean folded into the offset",
        "(v.at[k] - centre.at[k]) * scale.at[k] + level.at[k];\n      v",
        "v.at[k] * scale.at[k] + (level.at[k] - centre.at[k] * scale.at[k]);\n      v",
    ),
    _norm("relu", "forward: no ReLU", "relu && result < 0.f ? 0.f : result", "result"),
    _norm(
        "NaN",
        "forward: ReLU swallows NaN",
        "relu && result < 0.f ? 0.f : result",
        "relu && !(result > 0.f) ? 0.f : result",
    ),
    _norm(
        "bound",
        "forward: threads beyond the channels read",
        "  if (!walk.active) return;\n  Pack<float, N> scale",
        "  Pack<float, N> scale",
    ),
    _norm(
        "relu",
        "backward: gradients pass where ReLU gave zero",
        "out.at[k] > 0.f ? g.at[k]",
        "out.at[k] >= 0.f ? g.at[k]",
    ),
    _norm(
        "eps",
        "backward: dgamma without eps",
        "own.at[N + k] / sqrtf(spread.at[k] + eps)",
        "own.at[N + k] / sqrtf(spread.at[k])",
    ),
    _norm(
        "index",
        "backward: dbeta and dgamma change places",
        "own.at[k];\n    dgamma.at[k] = own.at[N + k]",
        "own.at[N + k];\n    dgamma.at[k] = own.at[k]",
    ),
    _norm(
        "index",
        "backward: chunks overlap",
        "sums + blockIdx.y * 2 * c + walk.channel",
        "sums + blockIdx.y * c + walk.channel",
    ),
    _norm("eps", "backward: dx without eps", "1.f / sqrtf(spread.at[k] + eps)", "1.f / sqrtf(spread.at[k])"),
    _norm(
        "sign", "backward: dgamma's part of dx is added", "slope.at[k] *= -scale.at[k]", "slope.at[k] *= scale.at[k]"
    ),
    _norm(
        "statistics",
        "backward: dbeta's part of dx is not divided",
        "level.at[k] *= -scale.at[k] / static_cast<float>(rows)",
        "level.at[k] *= -scale.at[k]",
    ),
    _norm(
        "statistics",
        "running average: the shares change places",
        "momentum * running[i] + rest * current[i]",
        "rest * running[i] + momentum * current[i]",
    ),
    _norm(
        "grid",
        "running average: a thread takes one element and no more",
        "i < count; i += grid_threads()",
        "i < count; i += count",
    ),
]
