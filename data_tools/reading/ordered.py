"""Map a function over a stream with threads; the results keep the order of the stream."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items are handed over in chunks: decoding a small image takes 0.1 ms, as long as handing it over to a thread.
CHUNK_ITEMS = 64
CHUNK_BYTES = 8 * 2**20


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, size_of: Callable[[Item], int]
) -> Iterator[Result]:
    """`map` on `workers` threads. The calling thread reads `items`, as far ahead as the workers need.

    Memory is bounded: at most 2 * `workers` + 1 chunks are in progress. A chunk has at most 64 items, and ends as
    soon as the sum of `size_of` (in bytes) reaches 8 MiB. An exception of `function` is raised where its result
    would come.
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
        finally:  # after an error, an interrupt, or when the caller stops early
            for future in waiting:
                future.cancel()


def cores() -> int:
    """The number of cores that this process may use."""
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
