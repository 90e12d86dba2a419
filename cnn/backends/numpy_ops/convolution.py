"""Convolution and the dense layer: the contract's operations, each by the algorithm chosen for its shape."""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase, by_channel, column_sum
from cnn.backends.numpy_ops.conv_algorithms import Algorithm, Depthwise, Im2col, Shifted, Winograd, by_group
from cnn.backends.numpy_ops.conv_choice import FILTER_GRADIENT, FORWARD, INFERENCE
from cnn.backends.numpy_ops.conv_kit import ConvKit
from cnn.backends.numpy_ops.conv_problem import PIECE_BYTES, ConvProblem
from cnn.backends.window import Window
from cnn.backends.workers import pieces

# Columns of a dense layer's product that one thread takes at a time.
_DENSE_COLUMNS = 64
_SMALL_PRODUCT = 1 << 20  # multiply-accumulates that are done before another thread has woken up


class NumpyConvolution(NumpyBase):
    """`conv2d`, `dense` and their gradients."""

    @cached_property
    def algorithms(self) -> dict[str, Algorithm]:
        """Every way to compute a convolution, by name."""
        return {each.name: each for each in self._algorithms()}

    def _algorithms(self) -> list[Algorithm]:
        parts = (self.kit, self.memory, self.workers)
        return [Im2col(*parts), Shifted(*parts), Winograd(*parts, 2), Winograd(*parts, 4), Depthwise(*parts)]

    @cached_property
    def _forms(self) -> dict[tuple[int, str], FloatArray]:
        return {}

    @property
    def kit(self) -> ConvKit:
        """The passes over memory that the algorithms are made of."""
        return ConvKit()

    def conv2d(
        self, x: FloatArray, w: FloatArray, b: FloatArray | None, window: Window, groups: int, relu: bool = False
    ) -> FloatArray:
        problem = ConvProblem(len(x), x.shape[3], w.shape[3], window, groups, x.itemsize)
        y = self.memory.empty((len(x), *window.output_hw, w.shape[3]), x.dtype)

        def compute(algorithm: Algorithm) -> None:
            algorithm.forward(x, self._form(algorithm, w, groups), b, relu, problem, y)

        way = FORWARD if w.flags.writeable else INFERENCE
        compute(self.choice.choose(way, problem, self.algorithms, compute))
        return y

    def _form(self, algorithm: Algorithm, w: FloatArray, groups: int) -> FloatArray:
        """The filter as the algorithm wants it; of a constant it is kept as long as the constant itself."""
        if w.flags.writeable:
            return algorithm.filter_form(w, groups)
        key = (id(w), algorithm.name)
        if key not in self._forms:
            form = algorithm.filter_form(w, groups)
            if np.may_share_memory(form, w):
                return form  # a view costs nothing to make, and kept it would keep the constant
            self._forms[key] = form
            weakref.finalize(w, self._forms.pop, key, None)
        return self._forms[key]

    def conv2d_backward_input(self, dy: FloatArray, w: FloatArray, window: Window, groups: int) -> FloatArray:
        back = window.transposed()
        if back is not None:
            return self.conv2d(dy, _flip_filter(w, groups), None, back, groups)
        # With a stride the gradient is no plain convolution: spread each window's gradient over the pixels it saw.
        channels = w.shape[2] * groups
        dx = self.memory.empty((len(dy), *window.input_hw, channels), dy.dtype)
        matrices = Im2col.matrices(w, groups).transpose(0, 2, 1)

        def run(piece: slice) -> None:
            columns = np.matmul(by_group(dy[piece], groups), matrices)  # (groups, rows, taps * c / groups)
            dx[piece] = _roll_up(columns, len(dy[piece]), window, channels)

        one = window.output_hw[0] * window.output_hw[1] * window.taps * channels * dy.itemsize
        self.workers.map(run, pieces(len(dy), min(max(1, PIECE_BYTES // one), -(-len(dy) // 8))))
        return dx

    def conv2d_backward_filter(self, dy: FloatArray, x: FloatArray, window: Window, groups: int) -> FloatArray:
        problem = ConvProblem(len(x), x.shape[3], dy.shape[3], window, groups, x.itemsize)

        def compute(algorithm: Algorithm) -> FloatArray:
            return algorithm.filter_gradient(dy, x, problem)

        return compute(self.choice.choose(FILTER_GRADIENT, problem, self.algorithms, compute))

    def bias_backward(self, dy: FloatArray) -> FloatArray:
        rows = by_channel(dy)
        sums = self.workers.map(lambda piece: column_sum(rows[piece]), self.channel_pieces(*rows.shape))
        return np.add.reduce(sums)

    def dense(self, x: FloatArray, w: FloatArray, b: FloatArray | None, relu: bool = False) -> FloatArray:
        y = self._product(x, w)
        if b is not None:
            y += b
        if relu:
            np.maximum(y, 0, out=y)
        return y

    def dense_backward_input(self, dy: FloatArray, w: FloatArray) -> FloatArray:
        return self._product(dy, w.T)

    def dense_backward_filter(self, dy: FloatArray, x: FloatArray) -> FloatArray:
        return self._product(x.T, dy)

    def _product(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """a (m, k) @ b (k, n), by pieces of columns or, where those are few, of rows."""
        result = self.memory.empty((len(a), b.shape[1]), a.dtype)
        if a.size * b.shape[1] < _SMALL_PRODUCT:
            np.matmul(a, b, out=result)
        elif b.shape[1] >= len(a):
            work = pieces(b.shape[1], _DENSE_COLUMNS)
            self.workers.map(lambda some: np.matmul(a, b[:, some], out=result[:, some]), work)
        else:
            work = pieces(len(a), max(_DENSE_COLUMNS, -(-len(a) // 8)))
            self.workers.map(lambda some: np.matmul(a[some], b, out=result[some]), work)
        return result


def _roll_up(columns: FloatArray, n: int, window: Window, channels: int) -> FloatArray:
    """Col2im, the adjoint of unrolling: columns (groups, n * p * q, taps * c / groups) summed to (n, h, w, c)."""
    groups = len(columns)
    windows = columns.reshape(groups, n, *window.output_hw, *window.kernel, channels // groups)
    padded = np.zeros((n, *window.padded_hw, groups, channels // groups), columns.dtype)
    for k, l, rows, cols in window.taps_in_order():  # noqa: E741
        padded[:, rows, cols] += windows[:, :, :, :, k, l].transpose(1, 2, 3, 0, 4)
    return padded[:, *window.inside].reshape(n, *window.input_hw, channels)


def _flip_filter(w: FloatArray, groups: int) -> FloatArray:
    """The filter of the transposed convolution: taps reversed, inputs and outputs exchanged within each group."""
    kh, kw, depth, filters = w.shape
    grouped = w[::-1, ::-1].reshape(kh, kw, depth, groups, filters // groups)
    return np.ascontiguousarray(grouped.transpose(0, 1, 4, 3, 2)).reshape(kh, kw, filters // groups, depth * groups)
