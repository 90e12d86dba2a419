"""Batch norm, group norm and layer norm, and their gradients."""

from __future__ import annotations

from cnn.backends import Array
from cnn.ops.dispatch import read


def batch_norm(
    x: Array, gamma: Array, beta: Array, moments: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Array]:
    """(x - mean) / sqrt(variance + eps) * gamma + beta, for each channel of x (..., c) (Ioffe & Szegedy 2015).

    Returns y and the moments (2, c) that it used: mean and biased variance of x, as in training, or `moments`, as in
    inference. gamma and beta are (c,).
    """
    given = read(x=(x, "... c"), gamma=(gamma, "c"), beta=(beta, "c"), moments=(moments, "2 c"))
    x, gamma, beta, moments = given.arrays
    taken = given.ops.moments(x) if moments is None else moments
    return given.ops.normalize(x, gamma, beta, taken, _eps(eps)), taken


def batch_norm_backward(
    dy: Array, x: Array, gamma: Array, moments: Array, eps: float = 1e-5, batch: bool = True
) -> tuple[Array, Array, Array]:
    """dx (..., c), dgamma (c,) and dbeta (c,) for dy (..., c); x and gamma are arguments of `batch_norm`, moments its
    result.

    With `batch` the moments are those of x, and the gradient flows through them; else they are constants.
    """
    given = read(dy=(dy, "... c"), x=(x, "... c"), gamma=(gamma, "c"), moments=(moments, "2 c"))
    dy, x, gamma, moments = given.arrays
    _check_alike(dy, x)
    return given.ops.normalize_backward(dy, x, gamma, moments, _eps(eps), batch)


def group_norm(x: Array, gamma: Array, beta: Array, groups: int, eps: float = 1e-5) -> tuple[Array, Array]:
    """Each example's groups of channels normalised over its pixels and channels (Wu & He 2018).

    x (n, ..., c), gamma and beta (c,) to y like x, and the statistics (n, groups, 2) that its gradient needs: mean and
    biased variance. One group normalises a whole example, groups = c is instance norm.
    """
    given = read(x=(x, "... c"), gamma=(gamma, "c"), beta=(beta, "c"))
    x, gamma, beta = given.arrays
    _check_groups(x, groups)
    return given.ops.group_norm(x, gamma, beta, groups, _eps(eps))


def group_norm_backward(
    dy: Array, x: Array, gamma: Array, statistics: Array, groups: int, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """dx (n, ..., c), dgamma (c,) and dbeta (c,) for dy (n, ..., c); `statistics` is what `group_norm` returned."""
    given = read(dy=(dy, "... c"), x=(x, "... c"), gamma=(gamma, "c"), statistics=(statistics, "n g 2"))
    dy, x, gamma, statistics = given.arrays
    _check_alike(dy, x)
    _check_groups(x, groups)
    if statistics.shape[:2] != (len(x), groups):
        raise ValueError(f"statistics has shape {statistics.shape}, but must be ({len(x)}, {groups}, 2)")
    return given.ops.group_norm_backward(dy, x, gamma, statistics, groups, _eps(eps))


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array]:
    """The last axis of x (..., c) normalised, then scaled by gamma (c,) and shifted by beta (c,) (Ba et al. 2016).

    Returns y like x, and the statistics (rows, 1, 2) that its gradient needs; rows are all elements of the other axes.
    """
    given = read(x=(x, "... c"), gamma=(gamma, "c"), beta=(beta, "c"))
    x, gamma, beta = given.arrays
    y, statistics = given.ops.group_norm(_rows(x), gamma, beta, 1, _eps(eps))
    return y.reshape(x.shape), statistics


def layer_norm_backward(
    dy: Array, x: Array, gamma: Array, statistics: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """dx (..., c), dgamma (c,) and dbeta (c,) for dy (..., c); `statistics` is what `layer_norm` returned."""
    given = read(dy=(dy, "... c"), x=(x, "... c"), gamma=(gamma, "c"), statistics=(statistics, "rows 1 2"))
    dy, x, gamma, statistics = given.arrays
    _check_alike(dy, x)
    if (rows := x.size // x.shape[-1]) != len(statistics):
        raise ValueError(f"statistics has shape {statistics.shape}, but must be ({rows}, 1, 2)")
    dx, dgamma, dbeta = given.ops.group_norm_backward(_rows(dy), _rows(x), gamma, statistics, 1, _eps(eps))
    return dx.reshape(x.shape), dgamma, dbeta


def _rows(x: Array) -> Array:
    return x.reshape(-1, 1, x.shape[-1])


def _check_alike(dy: Array, x: Array) -> None:
    if dy.shape != x.shape:
        raise ValueError(f"dy has shape {dy.shape}, but x {x.shape}")


def _check_groups(x: Array, groups: int) -> None:
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}, but must be (n, ..., c)")
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"groups must be a whole number that divides the {x.shape[-1]} channels, not {groups!r}")


def _eps(eps: float) -> float:
    if not 0 <= eps < 1:
        raise ValueError(f"eps must be a number from 0 to below 1, not {eps!r}")
    return float(eps)
