"""A thread pool: compiled loops release the interpreter lock, so chunks of a batch run on all cores."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """The cores that this process may use (a container may see more than it owns).

    `CNN_THREADS` in the environment is the number that a launcher of several jobs has given to this one.
    """
    if (given := os.environ.get("CNN_THREADS", "")).isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(length: int, size: int) -> list[slice]:
    """Cut `range(length)` into slices of at most `size`.

    The cut depends on the shape alone and never on the number of threads, so that sums over chunks have one
    order and a seeded run repeats bit for bit on any number of cores.
    """
    size = max(1, size)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


# Bytes of a memory pass from which a second thread pays: it fetches its part from the first one's cache.
WORTH_A_THREAD = 1 << 20

# Wait until the int64 at an address has a value, for at most so many looks; whether it had.
Spin = Callable[[int, int, int], bool]
# The fewest and the most looks before a thread goes to sleep, of tens of nanoseconds each. Waking it takes longer
# than a layer of a single image; but where the cores are busy, the thread that spins has the core that the other needs.
_LOOKS = (1 << 9, 1 << 17)


class _Signal:
    """A number that one thread raises and another waits for, at first spinning, then asleep.

    It spins long after a time that this was enough, and less long after each time that it was in vain.
    """

    def __init__(self, spin: Spin | None) -> None:
        self._number = np.zeros(1, np.int64)
        self._address, self._spin = self._number.ctypes.data, spin
        self._asleep, self._looks = False, _LOOKS[1]
        self._guard, self._wake = threading.Lock(), threading.Lock()
        self._wake.acquire()

    def set(self, number: int) -> None:
        """Raise it to `number`."""
        with self._guard:
            self._number[0] = number
            sleeper, self._asleep = self._asleep, False
        if sleeper:
            self._wake.release()

    def is_at(self, number: int) -> bool:
        """Whether it is `number`."""
        return bool(self._number[0] == number)

    def wait(self, number: int) -> None:
        """Return once it is `number`. Only one thread waits."""
        if self._spin is not None:
            least, most = _LOOKS
            if self._spin(self._address, number, self._looks):
                self._looks = most
                return
            self._looks = max(self._looks // 4, least)
        with self._guard:
            self._asleep = asleep = self._number[0] != number
        if asleep:
            self._wake.acquire()


class _ThreadPool:
    """Helper threads that wait for work. They refer to this pool alone, so that its owner can be freed.

    A queue and a future for each task would take as long as a layer takes on a single image.
    """

    def __init__(self, helpers: int, spin: Spin | None) -> None:
        self.task: Callable[[], None] | None = None
        self.errors: list[BaseException] = []
        self.turns = [0] * helpers
        self.begin, self.done = ([_Signal(spin) for _ in range(helpers)] for _ in range(2))
        for number in range(helpers):
            threading.Thread(target=self._help, args=(number,), name="cnn", daemon=True).start()

    def _help(self, number: int) -> None:
        turn = 0
        while True:
            turn += 1
            self.begin[number].wait(turn)
            if self.task is None:
                return
            try:
                self.task()
            except BaseException as error:
                self.errors.append(error)
            self.done[number].set(turn)

    def run(self, task: Callable[[], None], helpers: int) -> None:
        """Run `task` in this thread and in `helpers` others; wait for all; raise what one of them raised."""
        self.errors.clear()  # where this thread failed as well, its own error was raised and theirs are left
        self.start(task, helpers)
        try:
            task()
        finally:
            self.wait(helpers)
        if self.errors:
            raise self.errors[0]

    def start(self, task: Callable[[], None], helpers: int) -> None:
        """Begin `task` in `helpers` other threads, which are idle."""
        self.task = task
        for number in range(helpers):
            self.turns[number] += 1
            self.begin[number].set(self.turns[number])

    def wait(self, helpers: int) -> None:
        """Wait until the first `helpers` threads are idle."""
        for number in range(helpers):
            self.done[number].wait(self.turns[number])
        self.task = None

    def is_idle(self, number: int) -> bool:
        """Whether a helper has finished what it was given."""
        return self.done[number].is_at(self.turns[number])

    def close(self) -> None:
        """End the threads."""
        self.task = None
        for turn, begin in zip(self.turns, self.begin, strict=True):
            begin.set(turn + 1)


class Workers:
    """`threads` threads. With `spin` they wait for each other awake for a moment, before they sleep.

    What they run must not use BLAS, whose own threads would compete with these, and which is the user's to set.
    """

    def __init__(self, threads: int, spin: Spin | None = None) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads, self._spin = threads, spin
        self._pool: _ThreadPool | None = None
        self._process = 0
        self._busy = threading.Lock()
        self._later: deque[Callable[[], object]] = deque()
        self._apart = False  # whether a helper works on `_later`, which holds `_busy`

    def later(self, task: Callable[[], object]) -> None:
        """Run `task` in one helper beside what follows, at the latest in `join`. Until then `map` uses one thread.

        Tasks must not depend on one another.
        """
        if not self._apart:
            if self.threads == 1 or not self._busy.acquire(blocking=False):
                task()
                return
            self._apart = True
            self._helpers().errors.clear()
        self._later.append(task)
        pool = self._helpers()
        if pool.is_idle(0):
            pool.start(self._drain_later, 1)

    def join(self) -> None:
        """Return when every task of `later` is done; raise what one of them raised."""
        if not self._apart:
            return
        pool = self._helpers()
        try:
            self._drain_later()
        finally:
            self._later.clear()  # after an error
            pool.wait(1)
            self._apart = False
            self._busy.release()
        if pool.errors:
            raise pool.errors[0]

    def _drain_later(self) -> None:
        while True:
            try:
                task = self._later.popleft()
            except IndexError:
                return
            task()

    def map(self, function: Callable[[Item], Result], work: Sequence[Item], size: int = WORTH_A_THREAD) -> list[Result]:
        """`function` of every chunk of `work`, results in the order of the chunks.

        `size` is in bytes, of a memory pass: the calling thread does a small one alone.
        """
        alone = self.threads == 1 or len(work) == 1 or size < WORTH_A_THREAD
        if alone or not self._busy.acquire(blocking=False):
            return [function(chunk) for chunk in work]  # also inside a chunk, or beside another thread's map
        try:
            return self._share(function, work)
        finally:
            self._busy.release()

    def shares(self, length: int, step: int) -> list[slice]:
        """Cut `range(length)` into a slice for each thread, at multiples of `step`.

        Only for what computes each number by itself: the cut depends on the number of threads.
        """
        return chunks(length, step * -(-length // (step * self.threads)))

    def _helpers(self) -> _ThreadPool:
        if self._pool is None or self._process != os.getpid():  # a fork takes no threads along
            self._pool, self._process = _ThreadPool(self.threads - 1, self._spin), os.getpid()
            weakref.finalize(self, self._pool.close)
        return self._pool

    def _share(self, function: Callable[[Item], Result], work: Sequence[Item]) -> list[Result]:
        pool = self._helpers()
        results: list[Any] = [None] * len(work)
        todo = iter(range(len(work)))  # `next` of it is one step for the interpreter: two threads never get one index

        def drain() -> None:
            # Each thread takes the next chunk as it finishes one: a slow core does not hold up the rest.
            for index in todo:
                results[index] = function(work[index])

        pool.run(drain, min(self.threads, len(work)) - 1)
        return results
