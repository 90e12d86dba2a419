"""What the families of NumPy operations share: pieces, workers, and the plain array helpers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.composed import ComposedOps
from cnn.backends.numpy_ops.conv_choice import AUTO, Choice
from cnn.backends.numpy_ops.memory import Pool
from cnn.backends.window import Window
from cnn.backends.workers import Spin, Workers, available_cores, pieces

FloatArray = NDArray[Any]

# Elements that one thread takes at a time in an element-wise pass: three float32 operands stay in the L2 cache.
_PIECE = 1 << 16


class NumpyBase(ComposedOps):
    """Array creation and the two ways of walking over an array in pieces."""

    name = "numpy"

    compiled = False  # whether the passes over memory are compiled ones
    spin: Spin | None = None  # how threads wait for each other awake

    def __init__(self, threads: int | None = None, convolution: str = AUTO) -> None:
        """Compute with `threads` threads; None takes every core that the process may use.

        `convolution` is how the algorithm of a convolution is chosen: see `Choice`.
        """
        self.workers = Workers(threads or available_cores(), self.spin)
        self.memory = Pool()
        self.choice = Choice(convolution, self.compiled)
        self.device = f"CPU, {threads or available_cores()} threads"

    def array(self, values: NDArray[Any]) -> FloatArray:
        return np.array(values, order="C")

    def constant(self, values: NDArray[Any]) -> FloatArray:
        array = self.array(values)
        array.flags.writeable = False
        return array

    def to_numpy(self, x: FloatArray) -> FloatArray:
        return x

    def zeros_like(self, x: FloatArray) -> FloatArray:
        return np.zeros_like(x)

    def add(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return self.elementwise(np.add, a, b)

    def elementwise(
        self, function: Callable[..., object], *arrays: FloatArray, out: FloatArray | None = None
    ) -> FloatArray:
        """Run `function(*pieces, out=piece)` over equally shaped C-contiguous arrays, flat piece by flat piece.

        The result is a new array like the first argument, unless `out` names one.
        """
        result = self.memory.empty(arrays[0].shape, arrays[0].dtype) if out is None else out
        flat = [array.reshape(-1) for array in arrays]
        flat_result = result.reshape(-1)

        def run(piece: slice) -> None:
            function(*(array[piece] for array in flat), out=flat_result[piece])

        self.workers.map(run, pieces(flat_result.size, _PIECE))
        return result

    def in_place(self, function: Callable[..., None], *arrays: FloatArray) -> None:
        """Run `function(*pieces)` for its side effects, over equally shaped C-contiguous arrays."""
        flat = [array.reshape(-1) for array in arrays]
        self.workers.map(lambda piece: function(*(array[piece] for array in flat)), pieces(flat[0].size, _PIECE))

    @staticmethod
    def channel_pieces(rows: int, channels: int) -> list[slice]:
        """Cut the rows of a (rows, channels) view into pieces of cache size."""
        return pieces(rows, max(1, _PIECE // channels))


def by_channel(x: FloatArray) -> FloatArray:
    """x (..., c) seen as (rows, c)."""
    return x.reshape(-1, x.shape[-1])


def column_sum(x: FloatArray) -> FloatArray:
    """Sum of x (rows, c) over its rows: (c,). A product with ones, which BLAS does five times faster than sum."""
    return np.ones(len(x), x.dtype) @ x


def pad(x: FloatArray, window: Window, value: float = 0) -> FloatArray:
    """x (n, h, w, c) with the window's padding around it, filled with `value`; x itself where there is none."""
    if not window.has_padding:
        return x
    padded = np.full((len(x), *window.padded_hw, x.shape[3]), value, x.dtype)
    padded[:, *window.inside] = x
    return padded
