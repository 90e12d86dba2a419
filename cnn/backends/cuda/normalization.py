"""Normalisation, and sums over all axes but the channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnn.backends.blocks import Array, Normalize
from cnn.backends.cuda.arrays import CudaArrays, named, rows_and_channels
from cnn.kernels import STRUCTS, fast_divmod
from cnn.kernels.families.channel_rules import row_chunks, tiles
from cnn.kernels.families.group_normalization import shared_by


def column_sums(ops: CudaArrays, x: Array, rows: int, c: int, out: Array | None = None) -> Array:
    """Sums (c,) over the rows of x, reshaped to (rows, c), in `out` if it is given.

    The order of additions depends only on the shape.
    """
    out = ops.floats(c) if out is None else out
    ops.launch(named("column_sums", x), x, out, *chunk_parts(ops, rows, c), rows, c)
    return out


def chunk_parts(ops: CudaArrays, rows: int, c: int, sums: int = 1) -> tuple[Array | None, Array | None]:
    """The parts and counters of a kernel that computes `sums` sums (c,) over rows (rows, c), chunk by chunk."""
    return ops.parts(row_chunks(rows, c), sums * c, tiles(c))


class CudaNormalization(CudaArrays):
    """Kernels in `cnn/kernels/normalization.cu` and `group_normalization.cu`; `normalize` is a tail of one stage."""

    tail: Callable[..., tuple[Array, Any]]
    tail_backward: Callable[..., tuple[Array, list[Array]]]

    def moments(self, x: Array, out: Array | None = None) -> Array:
        rows, c = rows_and_channels(x)
        result = self.floats(2, c) if out is None else out
        self.launch(named("moments", x), x, result, *chunk_parts(self, rows, c, 2), rows, c)
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
        dgamma, dbeta = out or (self.floats(c), self.floats(c))
        self.launch(
            named("group_norm_backward_sums", x),
            *(dy, x, statistics, dgamma, dbeta, *chunk_parts(self, n * pixels, c, 2), n * pixels, c),
            *(by_pixels, groups, eps),
        )
        dx = self.empty(x.shape, x.dtype)
        kernel = named(f"group_norm_backward_input_by_{shared_by(pixels * c // groups)}", x)
        self.launch(kernel, dy, x, gamma, statistics, dx, n, pixels, c, groups, eps)
        return dx, dgamma, dbeta


def _examples(x: Array) -> tuple[int, int, int]:
    """The numbers of examples, pixels per example, and channels of x (n, ..., c)."""
    n, c = x.shape[0], x.shape[-1]
    return n, x.size // (n * c), c
