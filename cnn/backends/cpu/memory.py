"""Memory that is used again: an array that nobody holds any more leaves its block to the next of its size.

A fresh block of some megabytes costs a page fault for every 4 KB, which takes longer than the pass that fills it.
A training step asks for the same sizes each time, so after the first step it finds all of them here.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Below, NumPy's own allocator is as fast and wastes nothing.
_SMALLEST = 1 << 14
# A free block serves a request down to this fraction of its size; so the bytes held exceed those in use by little.
_FIT = 0.8
# Free bytes that are kept, as a fraction of the most that was ever in use at one time, and at least.
_SPARE, _LEAST_SPARE = 1.0, 32 << 20


class _Block:
    """Some bytes, and where they lie: asking an array for its address takes longer than all the rest here."""

    __slots__ = ("_raw", "address", "size")

    def __init__(self, size: int) -> None:
        self._raw = np.empty(size + 64, np.uint8)
        self.size, self.address = size, -(-self._raw.ctypes.data // 64) * 64


class _Lease:
    """One block, lent to an array. The array and all its views hold the lease; its end returns the block."""

    __slots__ = ("__array_interface__", "_block", "_returned")

    def __init__(
        self, block: _Block, returned: deque[_Block], shape: tuple[int, ...] | int, kind: np.dtype[Any]
    ) -> None:
        self._block, self._returned = block, returned
        self.__array_interface__ = {
            "shape": shape if isinstance(shape, tuple) else (shape,),
            "typestr": kind.str,
            "data": (block.address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        # Runs wherever the last view dies, maybe within `Pool.empty`: an append takes no lock.
        self._returned.append(self._block)


class Pool:
    """Lends uninitialised arrays, from any thread, and takes their memory back once they are garbage."""

    def __init__(self) -> None:
        self._free: dict[int, list[_Block]] = {}  # by size in bytes
        self._returned: deque[_Block] = deque()
        self._lock = threading.Lock()
        self.in_use = self.most_in_use = self.spare = 0  # bytes lent; the most of them; bytes of free blocks
        self.fresh = 0  # blocks that were made, and not used again: a steady step adds none

    def empty(self, shape: tuple[int, ...] | int, dtype: DTypeLike) -> NDArray[Any]:
        """A C-contiguous array of any content, aligned to 64 bytes if it is not small."""
        kind = np.dtype(dtype)
        size = kind.itemsize * (math.prod(shape) if isinstance(shape, tuple) else shape)
        if size < _SMALLEST:
            return np.empty(shape, kind)
        return np.asarray(_Lease(self._block(size), self._returned, shape, kind))

    def zeros(self, shape: tuple[int, ...] | int, dtype: DTypeLike) -> NDArray[Any]:
        """As `empty`, filled with zeros."""
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def _block(self, size: int) -> _Block:
        with self._lock:
            while self._returned:
                self._take_back(self._returned.popleft())
            fitting: int | None = size
            if not self._free.get(size):
                fitting = min(
                    (free for free, some in self._free.items() if some and _FIT * free <= size <= free), default=None
                )
            if fitting is None:
                self._make_room(size)
                self.fresh += 1
                block = _Block(size)
            else:
                block = self._free[fitting].pop()
                self.spare -= fitting
            self.in_use += block.size
            self.most_in_use = max(self.most_in_use, self.in_use)
            return block

    def _take_back(self, block: _Block) -> None:
        self._free.setdefault(block.size, []).append(block)
        self.in_use -= block.size
        self.spare += block.size

    def _make_room(self, size: int) -> None:
        """Give up free blocks, the largest first, until a new one of `size` bytes keeps the spare within bounds."""
        most = max(self.most_in_use, self.in_use + size)
        for free in sorted(self._free, reverse=True):
            some = self._free[free]
            while some and self.spare > max(_LEAST_SPARE, _SPARE * most):
                some.pop()
                self.spare -= free
            if not some:
                del self._free[free]
