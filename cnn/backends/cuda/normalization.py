"""Normalisation, and sums over all axes but the channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnn.backends.blocks import Array, Normalize
from cnn.backends.cuda.arrays import CudaArrays, named, rows_and_channels
from cnn.kernels import STRUCTS, fast_divmod
from cnn.kernels.families.channel_rules import row_chunks
from cnn.kernels.families.group_normalization import shared_by


def column_sums(
    ops: CudaArrays, x: Array, rows: int, c: int, out: Array | None = None, more: Array | None = None
) -> Array:
    """Sums (c,) over the rows of x, reshaped to (rows, c), in `out` if it is given.

    With `more` the sums of the second half of the columns are written to it. The order of additions depends only on the
    shape.
    """
    chunks = row_chunks(rows, c)
    if chunks > 1:
        parts = ops.floats(chunks, c)
        ops.launch(named("column_sums", x), x, parts, None, rows, c)
        return column_sums(ops, parts, chunks, c, out, more)
    out = ops.floats(c) if out is None else out
    ops.launch(named("column_sums", x), x, out, more, rows, c)
    return out


def two_column_sums(
    ops: CudaArrays,
    rows: int,
    c: int,
    out: tuple[Array, Array] | None,
    run: Callable[[Array, Array, int], None],
) -> tuple[Array, Array]:
    """Two arrays (c,) of sums over rows, in `out` if it is given; `run` computes the sums of chunks of rows.

    `run` gets the arrays for the first chunk's sums of both, and the distance to those of the next chunk.
    """
    first, second = out or (ops.floats(c), ops.floats(c))
    chunks = row_chunks(rows, c)
    if chunks == 1:
        run(first, second, c)
    else:
        parts = ops.floats(chunks * 2 * c)
        run(parts, parts[c:], 2 * c)
        column_sums(ops, parts, chunks, 2 * c, first, second)
    return first, second


class CudaNormalization(CudaArrays):
    """Kernels in `cnn/kernels/normalization.cu` and `group_normalization.cu`; `normalize` is a tail of one stage."""

    tail: Callable[..., tuple[Array, Any]]
    tail_backward: Callable[..., tuple[Array, list[Array]]]

    def moments(self, x: Array, out: Array | None = None) -> Array:
        rows, c = rows_and_channels(x)
        result, chunks = self.floats(2, c) if out is None else out, row_chunks(rows, c)
        means, variances = result if chunks == 1 else self.floats(2, chunks, c)
        self.launch(named("moments", x), x, means, variances, rows, c)
        if chunks > 1:
            self.launch(named("merge_moments", x), x, means, variances, result, rows, c, chunks)
        return result

    def normalize(self, x: Array, gamma: Array, beta: Array, moments: Array, eps: float) -> Array:
        return self.tail(x, [Normalize(gamma, beta, moments, eps, batch=False)], keep=False)[0]

    def normalize_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array,
        moments: Array,
        eps: float,
        batch: bool,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array, Array]:
        gradients = out or (self.floats(x.shape[-1]), self.floats(x.shape[-1]))
        # Without a ReLU behind it the gradient does not depend on beta.
        stage = Normalize(gamma, None, moments, eps, batch, gradients)
        return self.tail_backward(dy, [stage], [x])[0], *gradients

    def running_average(self, running: Array, current: Array, momentum: float) -> None:
        self.launch("running_average", running, current, momentum, 1 - momentum, running.size)

    def group_norm(self, x: Array, gamma: Array, beta: Array, groups: int, eps: float) -> tuple[Array, Array]:
        n, pixels, c = _examples(x)
        y, statistics = self.empty(x.shape, x.dtype), self.floats(n, groups, 2)
        kernel = named(f"group_norm_by_{shared_by(pixels * c // groups)}", x)
        self.launch(kernel, x, gamma, beta, y, statistics, n, pixels, c, groups, eps)
        return y, statistics

    def group_norm_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array,
        statistics: Array,
        groups: int,
        eps: float,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array, Array]:
        n, pixels, c = _examples(x)
        by_pixels = np.array([fast_divmod(pixels)], STRUCTS["FastDivmod"])
        dgamma, dbeta = two_column_sums(
            self,
            n * pixels,
            c,
            out,
            lambda dgamma, dbeta, pitch: self.launch(
                named("group_norm_backward_sums", x),
                *(dy, x, statistics, dgamma, dbeta, n * pixels, c, pitch, by_pixels, groups, eps),
            ),
        )
        dx = self.empty(x.shape, x.dtype)
        kernel = named(f"group_norm_backward_input_by_{shared_by(pixels * c // groups)}", x)
        self.launch(kernel, dy, x, gamma, statistics, dx, n, pixels, c, groups, eps)
        return dx, dgamma, dbeta


def _examples(x: Array) -> tuple[int, int, int]:
    """The numbers of examples, pixels per example, and channels of x (n, ..., c)."""
    n, c = x.shape[0], x.shape[-1]
    return n, x.size // (n * c), c
