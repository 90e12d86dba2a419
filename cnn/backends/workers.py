"""Both cores busy: NumPy releases the interpreter lock inside its loops, so pieces of a batch run in threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")


def available_cores() -> int:
    """The cores that this process may use (a container may see more than it owns)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pieces(length: int, size: int) -> list[slice]:
    """Cut `range(length)` into slices of at most `size`.

    The cut depends on the shape alone and never on the number of threads, so that sums over pieces have one
    order and a seeded run repeats bit for bit on any number of cores.
    """
    size = max(1, size)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


class Workers:
    """A pool of `threads` threads; BLAS is held to one thread, since the pieces already fill the cores."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        ThreadpoolController().limit(limits=1, user_api="blas")

    def map(self, function: Callable[[slice], Result], work: Sequence[slice]) -> list[Result]:
        """`function` of every piece of `work`, results in the order of the pieces."""
        if self.threads == 1 or len(work) == 1:
            return [function(piece) for piece in work]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="cnn")
        results: list[Any] = [None] * len(work)
        todo, lock = iter(range(len(work))), threading.Lock()

        def drain() -> None:
            # Each thread takes the next piece as it finishes one: a slow core does not hold up the rest.
            while True:
                with lock:
                    index = next(todo, None)
                if index is None:
                    return
                results[index] = function(work[index])

        helpers = [self._pool.submit(drain) for _ in range(min(self.threads, len(work)) - 1)]
        drain()
        for helper in helpers:
            helper.result()
        return results
