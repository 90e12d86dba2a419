"""Tails in fewer memory passes: normalisation, ReLU and max pooling fused into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn.backends.blocks import Activation, Array, Normalize, Pool, Stage
from cnn.backends.cpu import norm_kernels
from cnn.backends.cpu.arrays import FloatArray
from cnn.backends.cpu.conv_problem import image_chunks
from cnn.backends.cpu.normalization import CpuNormalization, scale_of
from cnn.backends.cpu.pooling import CHUNK_BYTES, PooledChunk, pooled_chunks
from cnn.backends.window import Window


class _Head(NamedTuple):
    """The first stages of a tail, which are computed in one pass."""

    length: int  # number of stages
    norm: Normalize
    relu: bool
    window: Window | None  # of the max pooling


class _Saved(NamedTuple):
    """What the backward pass of a head needs: its input, its output if a ReLU is part of it, and the argmax."""

    x: FloatArray
    y: FloatArray | None
    argmax: FloatArray | None


class CpuTail(CpuNormalization):
    """`Normalize`, then an optional ReLU, then an optional max pooling of adjacent windows, in one pass.

    With pooling the normalised image is not stored, only the pooled one, which has a quarter of the size at 2 x 2.
    """

    def tail(self, x: Array, stages: Sequence[Stage], keep: bool = True) -> tuple[Array, Any]:
        head = _head_of(stages)
        if head is None:
            return super().tail(x, stages, keep)
        self._move_running(head.norm)
        if head.window is None:
            y, argmax = self.normalized(x, head.norm, head.relu), None
        else:
            y, argmax = self._pooled(x, head.norm, head.window, head.relu)
        saved = _Saved(x, y if head.relu else None, argmax)
        others = stages[head.length :]
        y, saved_of_others = super().tail(y, others, keep) if others else (y, [])
        return y, (saved, saved_of_others) if keep else None

    def tail_backward(
        self, dy: Array, stages: Sequence[Stage], saved: Any, before: tuple[Activation, Array] | None = None
    ) -> tuple[Array, list[Array]]:
        head = _head_of(stages)
        if head is None:
            return super().tail_backward(dy, stages, saved, before)
        kept, saved_of_others = saved
        dy, others = super().tail_backward(dy, stages[head.length :], saved_of_others)
        fused = before is not None and _is_relu(before[0])
        if head.window is None:
            dx = self.normalized_backward(dy, kept.x, kept.y, head.norm, fused)
        else:
            dx = self._pooled_backward(dy, kept, head.norm, head.window, head.relu, fused)
        if before is not None and not fused:
            dx = self.activation_backward(dx, before[1], before[0])
        return dx, others

    def _pooled(self, x: FloatArray, norm: Normalize, window: Window, relu: bool) -> tuple[FloatArray, FloatArray]:
        shape = (len(x), *window.output_hw, x.shape[3])
        y, argmax = self.memory.empty(shape, x.dtype), self.memory.empty(shape, np.uint8)
        mean, scale = norm.moments[0], scale_of(norm)

        def run(chunk: PooledChunk) -> None:
            out = chunk.output
            norm_kernels.pool(x[chunk.input], mean, scale, norm.beta, window.kernel, relu, y[out], argmax[out])

        self.workers.map(run, pooled_chunks(x, window), x.nbytes)
        return y, argmax

    def _pooled_backward(
        self, dy: FloatArray, kept: _Saved, norm: Normalize, window: Window, relu: bool, input_relu: bool
    ) -> FloatArray:
        x, argmax = kept.x, kept.argmax
        y = dy if kept.y is None else kept.y  # read only if a ReLU followed
        assert argmax is not None
        dx, work = self.memory.empty(x.shape, x.dtype), image_chunks(x, CHUNK_BYTES)
        mean, kernel = norm.moments[0], window.kernel

        sums: Any = np.empty((len(work), 2, x.shape[3]), x.dtype)

        def reduce(number: int) -> None:
            chunk = work[number]
            given: Any = (dy[chunk], argmax[chunk], y[chunk], relu, x[chunk], mean)
            norm_kernels.pool_reduce(*(*given, kernel, *sums[number]))

        self.workers.map(reduce, range(len(work)), x.nbytes)
        factors: Any = self.backward_factors(sums, norm, x.size // x.shape[3])

        def run(chunk: slice) -> None:
            given: Any = (dy[chunk], argmax[chunk], y[chunk], relu, x[chunk], mean)
            norm_kernels.pool_backward(*(*given, *factors, kernel, input_relu, dx[chunk]))

        self.workers.map(run, work, x.nbytes)
        return dx


def _head_of(stages: Sequence[Stage]) -> _Head | None:
    if not stages or not isinstance(norm := stages[0], Normalize):
        return None
    relu = len(stages) > 1 and _is_relu(stages[1])
    at = 2 if relu else 1
    pool = stages[at] if at < len(stages) else None
    if isinstance(pool, Pool) and pool.kind == "max" and pool.window.side_by_side:
        return _Head(at + 1, norm, relu, pool.window)
    return _Head(at, norm, relu, None)


def _is_relu(stage: Stage) -> bool:
    return isinstance(stage, Activation) and stage.name == "relu"
