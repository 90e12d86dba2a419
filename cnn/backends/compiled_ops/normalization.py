"""Batch normalisation, compiled, alone and with the max pooling that follows."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn.backends.compiled_ops import norm_kernels
from cnn.backends.compiled_ops.pooling import PIECE_BYTES, PooledPiece, pooled_pieces
from cnn.backends.numpy_ops.base import FloatArray, by_channel
from cnn.backends.numpy_ops.normalization import NumpyNormalization, gradient_factors
from cnn.backends.window import Window
from cnn.backends.workers import pieces


class CompiledNormalization(NumpyNormalization):
    """Each pass of the NumPy implementation in one walk over memory."""

    def _piece_statistics(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        mean, rest, squares = np.empty((3, rows.shape[1]), rows.dtype)
        norm_kernels.statistics(rows, mean, rest, squares)
        return mean, rest, squares

    def _affine_map(
        self, rows: FloatArray, mean: FloatArray, scale: FloatArray, beta: FloatArray, relu: bool, out: FloatArray
    ) -> None:
        norm_kernels.apply(rows, mean, scale, beta, relu, out)

    def _gradient_sums(self, dy: FloatArray, rows: FloatArray, mean: FloatArray, y: FloatArray | None) -> FloatArray:
        sums = np.empty((2, rows.shape[1]), rows.dtype)
        norm_kernels.reduce(dy, rows, mean, dy if y is None else y, y is not None, sums[0], sums[1])
        return sums

    def _input_gradient(
        self,
        dy: FloatArray,
        rows: FloatArray,
        mean: FloatArray,
        slope: FloatArray,
        level: FloatArray,
        scale: FloatArray,
        y: FloatArray | None,
        relu_before: bool,
        out: FloatArray,
    ) -> None:
        last = dy if y is None else y
        norm_kernels.backward(dy, rows, mean, slope, level, scale, last, y is not None, relu_before, out)

    def batch_norm_max_pool2d(
        self, x: FloatArray, gamma: FloatArray, beta: FloatArray, eps: float, window: Window, relu: bool = False
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        if not window.side_by_side:
            return super().batch_norm_max_pool2d(x, gamma, beta, eps, window, relu)
        mean, variance = self._statistics(by_channel(x))
        y, winner = self._pool(x, gamma, beta, mean, variance, eps, window, relu)
        return y, winner, mean, variance

    def batch_norm_max_pool2d_inference(
        self,
        x: FloatArray,
        gamma: FloatArray,
        beta: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        eps: float,
        window: Window,
        relu: bool = False,
    ) -> FloatArray:
        if not window.side_by_side:
            return super().batch_norm_max_pool2d_inference(x, gamma, beta, mean, variance, eps, window, relu)
        return self._pool(x, gamma, beta, mean, variance, eps, window, relu)[0]

    def batch_norm_max_pool2d_backward(
        self,
        dy: FloatArray,
        winner: FloatArray,
        y: FloatArray,
        x: FloatArray,
        gamma: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        eps: float,
        window: Window,
        relu: bool = False,
        relu_before: bool = False,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        if not window.side_by_side:
            return super().batch_norm_max_pool2d_backward(
                dy, winner, y, x, gamma, mean, variance, eps, window, relu, relu_before
            )
        dx, work = self.memory.empty(x.shape, x.dtype), _image_pieces(x)

        def reduce(piece: slice) -> FloatArray:
            sums = np.empty((2, x.shape[3]), x.dtype)
            norm_kernels.pool_reduce(
                dy[piece], winner[piece], y[piece], relu, x[piece], mean, window.kernel, sums[0], sums[1]
            )
            return sums

        dbeta, centred = np.add.reduce(self.workers.map(reduce, work))
        dgamma, *factors = gradient_factors(dbeta, centred, gamma, variance, eps, x.size // x.shape[3])

        def run(piece: slice) -> None:
            given: Any = (dy[piece], winner[piece], y[piece], relu, x[piece], mean)
            norm_kernels.pool_backward(*(*given, *factors, window.kernel, relu_before, dx[piece]))

        self.workers.map(run, work)
        return dx, dgamma, dbeta

    def _pool(
        self,
        x: FloatArray,
        gamma: FloatArray,
        beta: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        eps: float,
        window: Window,
        relu: bool,
    ) -> tuple[FloatArray, FloatArray]:
        shape = (len(x), *window.output_hw, x.shape[3])
        y, winner = self.memory.empty(shape, x.dtype), self.memory.empty(shape, np.uint8)
        scale = gamma / np.sqrt(variance + x.dtype.type(eps))

        def run(piece: PooledPiece) -> None:
            made = piece.made
            norm_kernels.pool(x[piece.seen], mean, scale, beta, window.kernel, relu, y[made], winner[made])

        self.workers.map(run, pooled_pieces(x, window))
        return y, winner


def _image_pieces(x: FloatArray) -> list[slice]:
    return pieces(len(x), max(1, PIECE_BYTES // max(1, x.nbytes // max(1, len(x)))))
