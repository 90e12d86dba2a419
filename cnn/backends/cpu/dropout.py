"""Dropout: random bits and the memory pass in one compiled loop; of whole examples in a pass over those kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray
from cnn.backends.cpu.workers import chunks
from cnn.backends.philox import RandomKey
from cnn.backends.reference.dropout import dropout_threshold, halves_from

_PER_BLOCK = 8  # elements of a Philox block
_CHUNK = 1 << 16  # elements of a chunk, a multiple of that


class CpuDropout(CpuArrays):
    """The mask is drawn in the forward and again in the backward pass."""

    def dropout(self, x: FloatArray, rate: float, key: RandomKey, first: int = 0) -> FloatArray:
        if first % _PER_BLOCK:
            return super().dropout(x, rate, key, first)
        threshold, scale = dropout_threshold(rate)
        y = self.memory.empty(x.shape, x.dtype)
        flat_x, flat_y = x.reshape(-1), y.reshape(-1)
        words: Any = [np.uint64(int(part) & (2**64 - 1)) for part in (key.seed, key.stream, key.step[0])]
        factor = x.dtype.type(scale)

        def run(chunk: slice) -> None:
            kernels.dropout(
                *(flat_x[chunk], *words, (first + chunk.start) // _PER_BLOCK, threshold, factor, flat_y[chunk])
            )

        self.workers.map(run, chunks(x.size, _CHUNK))
        return y

    def drop_path(self, x: FloatArray, rate: float, key: RandomKey, first: int = 0) -> FloatArray:
        threshold, scale = dropout_threshold(rate)
        kept, factor = halves_from(key, first, len(x)) >= threshold, x.dtype.type(scale)
        y = self.memory.empty(x.shape, x.dtype)

        def run(chunk: slice) -> None:
            for example in range(chunk.start, chunk.stop):
                if kept[example]:
                    np.multiply(x[example], factor, out=y[example])
                else:
                    y[example] = 0

        self.workers.map(run, chunks(len(x), max(1, _CHUNK // max(1, x[0].size))), x.nbytes)
        return y
