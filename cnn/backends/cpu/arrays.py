"""Arrays of the CPU engine: reused memory, and memory passes in chunks on all cores."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu.conv_choice import AUTO, TUNE, AlgorithmSelector
from cnn.backends.cpu.memory import Pool
from cnn.backends.cpu.spin import spin
from cnn.backends.cpu.workers import Workers, available_cores, chunks
from cnn.backends.ops import Ops
from cnn.backends.reference.arrays import round_to_bfloat16

FloatArray = NDArray[Any]

# Elements of a chunk in an element-wise pass: three float32 operands fit the L2 cache.
_CHUNK = 1 << 16


class CpuArrays(Ops):
    """Array creation, and two kinds of memory passes in chunks."""

    name = "cpu"

    def __init__(self, threads: int | None = None, convolution: str = AUTO) -> None:
        """Compute with `threads` threads; None takes every core that the process may use.

        `convolution` is the policy that selects the algorithm of a convolution: see `AlgorithmSelector`.
        """
        self.workers = Workers(threads or available_cores(), spin)
        self.memory = Pool()
        self.selector = AlgorithmSelector(convolution)
        self.device = f"CPU, {threads or available_cores()} threads"
        self._is_beside = False  # within `beside`, for work that is worth it
        self._constants: set[int] = set()  # the addresses of living arrays that were given as constants

    def constant(self, values: NDArray[Any]) -> FloatArray:
        array = self.array(values)
        self._constants.add(id(array))
        weakref.finalize(array, self._constants.discard, id(array))
        return array

    def is_constant(self, x: FloatArray) -> bool:
        """Whether `constant` returned this very array."""
        return id(x) in self._constants

    @contextmanager
    def beside(self, *read: FloatArray) -> Iterator[None]:
        # On two cores the two gradients of a convolution on a single image each take a core: to share each of them
        # would cost two hand-overs in place of one, and its Python runs while the other computes.
        self._is_beside = self.workers.threads == 2 and len(read[0]) == 1 and self.selector.policy != TUNE
        try:
            yield
        finally:
            self._is_beside = False

    def join(self) -> None:
        self.workers.join()

    def beside_or_now(self, work: Callable[[], object]) -> None:
        """Run it: within `beside` in another thread, if that is worth it. It fills arrays that `join` completes."""
        if self._is_beside:
            self.workers.later(work)
        else:
            work()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> FloatArray:
        return self.memory.empty(shape, dtype)

    def stored(self, x: FloatArray, storage: str) -> FloatArray:
        return x if storage == "float32" else self.elementwise(round_chunk, x)

    def elementwise(
        self, function: Callable[..., object], *arrays: FloatArray, out: FloatArray | None = None
    ) -> FloatArray:
        """Run `function(*chunks, out=chunk)` over the flat chunks of C-contiguous arrays of one shape.

        The result is a new array like the first argument, unless `out` is given.
        """
        result = self.memory.empty(arrays[0].shape, arrays[0].dtype) if out is None else out
        flat = [array.reshape(-1) for array in arrays]
        flat_result = result.reshape(-1)

        def run(chunk: slice) -> None:
            function(*(array[chunk] for array in flat), out=flat_result[chunk])

        self.workers.map(run, chunks(flat_result.size, _CHUNK))
        return result

    def in_place(self, function: Callable[..., Any], *arrays: FloatArray) -> list[Any]:
        """Run `function(*chunks)` over the flat chunks of C-contiguous arrays of one shape; the results in order."""
        flat = [array.reshape(-1) for array in arrays]
        return self.workers.map(lambda chunk: function(*(array[chunk] for array in flat)), chunks(flat[0].size, _CHUNK))

    @staticmethod
    def channel_chunks(rows: int, channels: int) -> list[slice]:
        """Cut the rows of a (rows, channels) view into chunks that fit the cache."""
        return chunks(rows, max(1, _CHUNK // channels))


def round_chunk(x: FloatArray, out: FloatArray) -> None:
    """`out` (n,) = x (n,) rounded to bfloat16."""
    if x.dtype == np.float32:
        kernels.round_to_bfloat16(x.view(np.uint32), out.view(np.uint32))
    else:
        out[...] = round_to_bfloat16(x)
