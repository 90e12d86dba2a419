"""Mutants of activations.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_activation = partial(Mutant, "activations.cu")

ACTIVATIONS = [
    _activation("NaN", "ReLU swallows NaN", "x < 0.f ? 0.f : x; }", "x > 0.f ? x : 0.f; }"),
    _activation("kink", "ReLU's slope at zero is one", "return y > 0.f ? 1.f : 0.f", "return y >= 0.f ? 1.f : 0.f"),
    _activation("bound", "clip: no upper end", "return raised > b ? b : raised", "return raised"),
    _activation("bound", "clip: the lower end is the last word", "raised = x < a ? a : x;", "raised = x;"),
    _activation("kink", "clip's slope at the lower end is one", "y > a && y < b", "y >= a && y < b"),
    _activation("kink", "clip's slope at the upper end is one", "y > a && y < b", "y > a && y <= b"),
    _activation("sign", "sigmoid of -x", "1.f / (1.f + expf(-x))", "1.f / (1.f + expf(x))"),
    _activation("formula", "sigmoid's slope is y", "return y * (1.f - y)", "return y"),
    _activation("formula", "tanh's slope is 1 - y", "return 1.f - y * y", "return 1.f - y"),
    _activation(
        "kink", "leaky ReLU's slope at zero is one", "return x > 0.f ? 1.f : a; }", "return x >= 0.f ? 1.f : a; }"
    ),
    _activation("cancellation", "ELU: exp(x) - 1", "a * expm1f(x)", "a * (expf(x) - 1.f)"),
    _activation("kink", "ELU's slope at zero is one", "x > 0.f ? 1.f : a * expf(x)", "x >= 0.f ? 1.f : a * expf(x)"),
    _activation("formula", "SELU without its scale", "return b * Elu::value", "return Elu::value"),
    _activation("formula", "SELU's slope without its scale", "return b * Elu::derivative", "return Elu::derivative"),
    _activation("sign", "GELU: the density grows", "expf(-0.5f * x * x)", "expf(0.5f * x * x)"),
    _activation("formula", "GELU: the density is forgotten", "+ x * (kDensity", "+ 0.f * (kDensity"),
    _activation(
        "overflow",
        "SiLU's slope: an exponential that overflows",
        "const float e = expf(-fabsf(x)), larger",
        "const float e = expf(-x), larger",
    ),
    _activation(
        "sign",
        "SiLU's slope: the sigmoids change places",
        "s = x < 0.f ? smaller : larger",
        "s = x < 0.f ? larger : smaller",
    ),
    _activation("formula", "Mish: below zero without its second term", "e * (e + 2.f)", "e * 2.f"),
    _activation("formula", "Mish: above zero the gap is that of below", "x < 0.f ? 2.f : 2.f * e * e", "2.f"),
    _activation("formula", "Mish's slope: 1 - t for 1 - t * t", "x * (1.f + t) * (mish.gap", "x * (mish.gap"),
    _activation("overflow", "softplus: an exponential that overflows", "log1pf(expf(-fabsf(x)))", "log1pf(expf(-x))"),
    _activation("cancellation", "softplus: log(1 + e)", "log1pf(expf(-fabsf(x)))", "logf(1.f + expf(-fabsf(x)))"),
    _activation("bound", "hard swish ends at 2", "x >= 3.f ? x :", "x >= 2.f ? x :"),
    _activation(
        "kink", "hard swish's slope at -3", "x <= -3.f ? 0.f : x >= 3.f ? 1.f", "x < -3.f ? 0.f : x >= 3.f ? 1.f"
    ),
    _activation("infinity", "a slope of 0 is multiplied", "slope == 0.f ? 0.f : dy * slope", "dy * slope"),
    _activation(
        "index", "dy and what was kept change places", "map_elements(dy, saved, dx", "map_elements(saved, dy, dx"
    ),
    # --- PReLU ---
    _activation(
        "kink", "PReLU: the slope above zero", "v.at[k] > 0.f ? v.at[k] : factor", "v.at[k] < 0.f ? v.at[k] : factor"
    ),
    _activation(
        "vector", "PReLU: vectors at any address of the slopes", "by_fours(c, x, slope, y)", "by_fours(c, x, y)"
    ),
    _activation(
        "kink",
        "PReLU's slope: numbers above zero count",
        "u.at[k] >= 0.f ? 0.f : g.at[k] * u.at[k]",
        "g.at[k] * u.at[k]",
    ),
    _activation("infinity", "PReLU's slope: 0 times infinity", "u.at[k] >= 0.f ? 0.f : g", "u.at[k] > 0.f ? 0.f : g"),
    _activation(
        "reduction",
        "PReLU's slope: of one lane alone",
        "merge_lanes(own.totals(), walk.lanes, walk.width), {dslope}",
        "own.totals(), {dslope}",
    ),
    _activation(
        "infinity", "PReLU: a slope of 0 is multiplied", "scaled(g.at[k], factor.at[k])", "g.at[k] * factor.at[k]"
    ),
]
