"""Work on a stream with threads: results in the stream's order, however many threads there are."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# A small picture is decoded in a tenth of a millisecond: handed over one by one, the handing over would cost as much.
CHUNK_ITEMS = 64
CHUNK_BYTES = 8 * 2**20


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, size_of: Callable[[Item], int]
) -> Iterator[Result]:
    """`map` on `workers` threads. `items` is read by the calling thread, as far ahead as the workers need.

    Memory stays bounded: at most 2 * `workers` + 1 chunks are on the way, each of at most 64 items, and closed as
    soon as `size_of` (in bytes) adds up to 8 MiB. An exception of `function` is raised in its item's place.
    """
    with ThreadPoolExecutor(workers, "ordered_map") as pool:
        waiting: deque[Future[list[Result]]] = deque()
        try:
            for chunk in _chunks(items, size_of):
                waiting.append(pool.submit(_apply, function, chunk))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:  # after an error, an interrupt, or when nobody wants the rest
            for future in waiting:
                future.cancel()


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _apply(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _chunks(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += size_of(item)
        if len(chunk) == CHUNK_ITEMS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
