"""Measures each block of a model's training passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cnn.backends import Array, Ops
from cnn.models.execute import Executor, ReadyBlock, SavedBlock
from cnn.models.plan import Block


class Stopwatch:
    """Seconds of named parts of a step. A device is waited for before and after each, so that its time is its own."""

    def __init__(self, ops: Ops) -> None:
        self._ops, self._word = ops, ops.zeros((1,), "float32")
        self.parts: dict[tuple[str, str], list[float]] = {}  # (part, pass) -> seconds of each step

    @contextmanager
    def measure(self, part: str, direction: str) -> Iterator[None]:
        """Add the seconds of the block to the part's."""
        self.wait()
        started = time.perf_counter()
        yield
        self.wait()
        self.parts.setdefault((part, direction), []).append(time.perf_counter() - started)

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        self._ops.join()
        self._ops.to_numpy(self._word)  # a transfer to the host waits for all before it


class TimedExecutor(Executor):
    """An executor whose blocks are measured, one by one."""

    watch: Stopwatch
    names: Callable[[Block], str]

    @classmethod
    def of(cls, executor: Executor, watch: Stopwatch) -> TimedExecutor:
        """One that computes as `executor` does, on the same tensors."""
        given = executor.ops, executor.plan, executor.params, executor.grads, executor.seed, executor.storage
        found = cls(*given)
        found.watch, found.names = watch, executor.plan.name_of
        return found

    def block_forward(self, ready: ReadyBlock, values: Mapping[int, Array]) -> tuple[Array, SavedBlock]:
        """As that of `Executor`."""
        with self.watch.measure(self.names(ready.block), "forward"):
            return super().block_forward(ready, values)

    def block_backward(self, ready: ReadyBlock, saved: SavedBlock, given: dict[int, Array]) -> None:
        """As that of `Executor`."""
        with self.watch.measure(self.names(ready.block), "backward"):
            super().block_backward(ready, saved, given)
