"""Batch normalisation, and sums over all but the channels."""

from __future__ import annotations

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.cupy_ops.elementwise import CupyElementwise
from cnn.backends.ops import Array
from cnn.kernels.families.normalization import row_chunks


def column_sums(ops: CupyBase, x: Array, rows: int, c: int) -> Array:
    """Sums (c,) over the rows of x, seen as (rows, c). The order of the additions follows from the shape alone."""
    chunks = row_chunks(rows, c)
    sums = ops.empty((chunks, c))
    ops.launch("column_sums", x, sums, rows, c)
    return sums.reshape(c) if chunks == 1 else column_sums(ops, sums, chunks, c)


class CupyNormalization(CupyElementwise):
    """Kernels in `cnn/kernels/normalization.cu`."""

    def bias_backward(self, dy: Array) -> Array:
        return column_sums(self, dy, *_rows_and_channels(dy))

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, eps: float, relu: bool = False
    ) -> tuple[Array, Array, Array]:
        rows, c = _rows_and_channels(x)
        chunks = row_chunks(rows, c)
        means, squares = self.empty((chunks, c)), self.empty((chunks, c))
        self.launch("batch_norm_statistics", x, means, squares, rows, c)
        mean, variance = self.empty((c,)), self.empty((c,))
        self.launch("batch_norm_merge", x, means, squares, mean, variance, rows, c, chunks)
        return self.batch_norm_inference(x, gamma, beta, mean, variance, eps, relu), mean, variance

    def batch_norm_inference(
        self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float, relu: bool = False
    ) -> Array:
        y = self.empty(x.shape)
        self.launch("batch_norm_inference", x, gamma, beta, mean, variance, y, *_rows_and_channels(x), eps, int(relu))
        return y

    def batch_norm_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        variance: Array,
        eps: float,
        y: Array | None = None,
        relu_before: bool = False,
    ) -> tuple[Array, Array, Array]:
        rows, c = _rows_and_channels(x)
        chunks = row_chunks(rows, c)
        sums = self.empty((chunks, 2, c))
        self.launch("batch_norm_backward_sums", dy, x, y, mean, variance, sums, rows, c, eps)
        if chunks > 1:
            sums = column_sums(self, sums, chunks, 2 * c)
        dbeta, dgamma = sums.reshape(2, c)
        dx = self.empty(x.shape)
        self.launch("batch_norm_backward_input", dy, x, y, gamma, mean, variance, dgamma, dbeta, dx, rows, c, eps)
        if relu_before:
            dx = self.relu_backward(dx, x)
        return dx, dgamma, dbeta

    def running_average(self, running: Array, current: Array, momentum: float) -> None:
        self.launch("running_average", running, current, momentum, 1 - momentum, running.size)


def _rows_and_channels(x: Array) -> tuple[int, int]:
    c = x.shape[-1]
    return x.size // c, c
