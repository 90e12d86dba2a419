"""Max pooling, compiled for adjacent windows; global average pooling in chunks of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cnn.backends.cpu import pool_kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray
from cnn.backends.cpu.workers import chunks
from cnn.backends.window import Window

# Bytes of a chunk of images. Batch normalisation reads a chunk twice, the second time from the cache.
CHUNK_BYTES = 1 << 18
# Bytes from which a single image is cut: a second core has to fetch its part from the cache of the first.
_WORTH_TWO_CORES = 1 << 20


class PooledChunk(NamedTuple):
    """Some images, or some rows of one image: the slices of the input and of the output."""

    input: tuple[slice, slice]
    output: tuple[slice, slice]


def pooled_chunks(x: FloatArray, window: Window) -> list[PooledChunk]:
    """x (n, h, w, c) in chunks of about `CHUNK_BYTES` with contiguous views: whole images, or rows of one image."""
    return _pooled_chunks(len(x), max(1, x.nbytes // max(1, len(x))), window)


@lru_cache(maxsize=256)
def _pooled_chunks(count: int, one: int, window: Window) -> list[PooledChunk]:
    """The chunks of `count` images of `one` bytes each; a network asks for the same ones in every pass."""
    images, rows = max(1, CHUNK_BYTES // one), window.output_hw[0]
    down = max(1, rows * CHUNK_BYTES // one if count == 1 and one >= _WORTH_TWO_CORES else rows)
    height = window.kernel[0]
    return [
        PooledChunk((some, slice(height * lines.start, height * lines.stop)), (some, lines))
        for some in chunks(count, images)
        for lines in chunks(rows, down)
    ]


class CpuPooling(CpuArrays):
    """Max pooling of adjacent windows; other windows and average pooling run the reference, image by image."""

    def max_pool2d(self, x: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
        shape = (len(x), *window.output_hw, x.shape[3])
        y, argmax = self.memory.empty(shape, x.dtype), self.memory.empty(shape, argmax_dtype(window))
        if window.side_by_side:
            self.workers.map(
                lambda chunk: pool_kernels.max_pool(
                    x[chunk.input], window.kernel, y[chunk.output], argmax[chunk.output]
                ),
                pooled_chunks(x, window),
            )
            return y, argmax
        reference = super().max_pool2d

        def run(chunk: slice) -> None:
            y[chunk], argmax[chunk] = reference(x[chunk], window)

        self.workers.map(run, chunks(len(x), 1))
        return y, argmax

    def max_pool2d_backward(self, dy: FloatArray, argmax: FloatArray, window: Window) -> FloatArray:
        dx = self.memory.empty((len(dy), *window.input_hw, dy.shape[3]), dy.dtype)
        reference = super().max_pool2d_backward

        def run(chunk: slice) -> None:
            if window.side_by_side:
                pool_kernels.max_pool_backward(dy[chunk], argmax[chunk], window.kernel, dx[chunk])
            else:
                dx[chunk] = reference(dy[chunk], argmax[chunk], window)

        self.workers.map(run, chunks(len(dy), 1))
        return dx

    def avg_pool2d(self, x: FloatArray, window: Window, count_padding: bool = False) -> FloatArray:
        y = self.memory.empty((len(x), *window.output_hw, x.shape[3]), x.dtype)
        return self._by_image(super().avg_pool2d, x, window, count_padding, y)

    def avg_pool2d_backward(self, dy: FloatArray, window: Window, count_padding: bool = False) -> FloatArray:
        dx = self.memory.empty((len(dy), *window.input_hw, dy.shape[3]), dy.dtype)
        return self._by_image(super().avg_pool2d_backward, dy, window, count_padding, dx)

    def global_avg_pool2d(self, x: FloatArray) -> FloatArray:
        reference = super().global_avg_pool2d
        return np.concatenate(self.workers.map(lambda chunk: reference(x[chunk]), chunks(len(x), 1)))

    def _by_image(
        self,
        reference: Callable[[FloatArray, Window, bool], FloatArray],
        given: FloatArray,
        window: Window,
        count_padding: bool,
        out: FloatArray,
    ) -> FloatArray:
        def run(chunk: slice) -> None:
            out[chunk] = reference(given[chunk], window, count_padding)

        self.workers.map(run, chunks(len(given), 1))
        return out


def argmax_dtype(window: Window) -> type[np.generic]:
    """The dtype of tap numbers."""
    return np.uint8 if window.taps <= 256 else np.int32
