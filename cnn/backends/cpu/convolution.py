"""Convolution and its gradients, each by the algorithm that is selected for its shape."""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import Any

import numpy as np

from cnn.backends.blocks import Epilogue
from cnn.backends.cpu import conv_primitives as primitives
from cnn.backends.cpu.arrays import FloatArray
from cnn.backends.cpu.conv_algorithms import Algorithm, Depthwise, Direct, Im2col, Winograd
from cnn.backends.cpu.conv_choice import FILTER_GRADIENT, FORWARD, INFERENCE
from cnn.backends.cpu.conv_problem import CHUNK_BYTES, ConvProblem, Filter
from cnn.backends.cpu.dense import CpuDense, ends_in_relu
from cnn.backends.cpu.workers import chunks
from cnn.backends.window import Window

_NOTHING = Epilogue()


class CpuConvolution(CpuDense):
    """`conv2d` and its gradients."""

    @cached_property
    def algorithms(self) -> dict[str, Algorithm]:
        """The algorithms by name."""
        parts = (self.memory, self.workers)
        every = [Im2col(*parts), Direct(*parts), Winograd(*parts, 2), Winograd(*parts, 4), Depthwise(*parts)]
        return {each.name: each for each in every}

    @cached_property
    def _depthwise(self) -> Depthwise:
        return Depthwise(self.memory, self.workers)

    @cached_property
    def _packed(self) -> dict[tuple[int, bool, str], Any]:
        return {}

    def conv2d(
        self,
        x: FloatArray,
        w: FloatArray,
        b: FloatArray | None,
        window: Window,
        groups: int,
        epilogue: Epilogue = _NOTHING,
    ) -> FloatArray:
        y = self._convolved(x, Filter(w, groups), b, ends_in_relu(epilogue), window, w.shape[3])
        return self.after(y, epilogue)

    def conv2d_backward_input(
        self, dy: FloatArray, w: FloatArray, window: Window, groups: int, added: FloatArray | None = None
    ) -> FloatArray:
        dx = self._backward_input(dy, w, window, groups)
        return dx if added is None else self.add(added, dx)

    def _backward_input(self, dy: FloatArray, w: FloatArray, window: Window, groups: int) -> FloatArray:
        channels, back = w.shape[2] * groups, window.transposed()
        if back is not None:
            return self._convolved(dy, Filter(w, groups, flipped=True), None, False, back, channels)
        # With a stride the gradient is not a convolution with stride 1: add each window's gradient to its pixels.
        dx = self.memory.empty((len(dy), *window.input_hw, channels), dy.dtype)
        problem = ConvProblem(len(dy), channels, w.shape[3], window, groups, dy.itemsize)
        if problem.is_depthwise:
            self._depthwise.input_gradient(dy, w, problem, dx)
            return dx
        whole = Filter(w.reshape(1, 1, -1, w.shape[3]), groups, flipped=True)  # all taps as rows of one matrix
        weights, size = primitives.filter_weights(whole), window.taps * channels

        def run(chunk: slice) -> None:
            given = dy[chunk]
            columns = self.memory.empty((given.size // w.shape[3], size), dy.dtype)
            left = primitives.matrix_rows(given.reshape(-1, w.shape[3]))
            primitives.products(left._replace(length=w.shape[3] // groups), weights, columns)
            dx[chunk] = _roll_up(columns, len(given), window, groups)

        one = window.output_hw[0] * window.output_hw[1] * size * dy.itemsize
        self.workers.map(run, chunks(len(dy), min(max(1, CHUNK_BYTES // one), -(-len(dy) // 8))))
        return dx

    def conv2d_backward_filter(
        self, dy: FloatArray, x: FloatArray, window: Window, groups: int, out: FloatArray | None = None
    ) -> FloatArray:
        problem = ConvProblem(len(x), x.shape[3], dy.shape[3], window, groups, x.itemsize)
        shape = (*window.kernel, x.shape[3] // groups, dy.shape[3])
        dw = self.memory.empty(shape, x.dtype) if out is None else out

        def compute(algorithm: Algorithm) -> None:
            algorithm.filter_gradient(dy, x, problem, dw)

        self.beside_or_now(lambda: compute(self.selector.select(FILTER_GRADIENT, problem, self.algorithms, compute)))
        return dw

    def _convolved(
        self, x: FloatArray, given: Filter, b: FloatArray | None, relu: bool, window: Window, filters: int
    ) -> FloatArray:
        problem = ConvProblem(len(x), x.shape[3], filters, window, given.groups, x.itemsize)
        y = self.memory.empty((len(x), *window.output_hw, filters), x.dtype)

        def compute(algorithm: Algorithm) -> bool:
            return algorithm.forward(x, given, self._packed_filter(algorithm, given), b, relu, problem, y)

        kind = INFERENCE if self.is_constant(given.w) else FORWARD
        if not compute(self.selector.select(kind, problem, self.algorithms, compute)):
            self.algorithms[Direct.name].forward(x, given, None, b, relu, problem, y)
        return y

    def _packed_filter(self, algorithm: Algorithm, given: Filter) -> Any:
        """The packed weights of a constant filter, kept as long as the constant itself; None for other filters."""
        if not self.is_constant(given.w):
            return None
        key = (id(given.w), given.flipped, algorithm.name)
        if key not in self._packed:
            self._packed[key] = algorithm.packed(given)
            weakref.finalize(given.w, self._packed.pop, key, None)
        return self._packed[key]


def _roll_up(columns: FloatArray, n: int, window: Window, groups: int) -> FloatArray:
    """Col2im, the adjoint of im2col: columns (n * p * q, groups * taps * c / groups) summed to (n, h, w, c)."""
    windows = columns.reshape(n, *window.output_hw, groups, *window.kernel, -1)
    padded = np.zeros((n, *window.padded_hw, groups, windows.shape[-1]), columns.dtype)
    for k, l, rows, cols in window.taps_in_order():  # noqa: E741
        padded[:, rows, cols] += windows[:, :, :, :, k, l]
    return padded[:, *window.inside].reshape(n, *window.input_hw, -1)
