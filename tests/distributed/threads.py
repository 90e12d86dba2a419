"""Processes that are threads: the communicator of mpi4py, and that of NCCL, as far as `cnn.distributed` uses them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from cnn.distributed.world import World


class Board:
    """Where threads leave what they send: by the number of the operation and the rank."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent: dict[tuple[str, int], dict[int, Any]] = {}
        self.changed = threading.Condition()
        self.failed: list[BaseException] = []

    def put(self, key: tuple[str, int], rank: int, value: Any) -> None:
        with self.changed:
            self.sent.setdefault(key, {})[rank] = value
            self.changed.notify_all()

    def all_sent(self, key: tuple[str, int]) -> dict[int, Any] | None:
        with self.changed:
            if self.failed:
                raise RuntimeError("another rank has failed")
            found = self.sent.get(key, {})
            return found if len(found) == self.size else None

    def wait(self, key: tuple[str, int]) -> dict[int, Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.failed or len(self.sent.get(key, {})) == self.size, 60)
        found = self.all_sent(key)
        assert found is not None
        return found


class Request:
    """Is over when every rank has called, and has been looked at `looks` times."""

    def __init__(self, board: Board, key: tuple[str, int], finish: Callable[[Any], None], looks: int) -> None:
        self._board, self._key, self._finish, self._looks = board, key, finish, looks

    def Test(self) -> bool:
        self._looks -= 1
        if self._looks > 0 or (found := self._board.all_sent(self._key)) is None:
            return False
        self._finish(found)
        return True


class ThreadCommunicator:
    """What `World` and `HostTransport` call of mpi4py's communicator.

    As with MPI the n-th calls of all ranks belong together, whatever they are: calls in another order meet wrongly.
    """

    def __init__(self, board: Board, rank: int, luck: np.random.Generator, name: str = "world") -> None:
        self._board, self._rank, self._luck, self._number, self._name = board, rank, luck, 0, name
        self._copies = 0

    def Dup(self) -> ThreadCommunicator:
        self._copies += 1
        return ThreadCommunicator(self._board, self._rank, self._luck, f"{self._name}.{self._copies}")

    def Get_rank(self) -> int:
        return self._rank

    def Get_size(self) -> int:
        return self._board.size

    def Iallgather(self, own: Any, found: Any) -> Request:
        found = found.reshape(self._board.size, -1)

        def finish(sent: dict[int, Any]) -> None:
            for rank, values in sent.items():
                found[rank] = values.reshape(-1)

        return self._begin(own, finish)

    def Ialltoall(self, own: Any, found: Any) -> Request:
        def finish(sent: dict[int, Any]) -> None:
            for rank, values in sent.items():
                found[rank] = values[self._rank]

        return self._begin(own, finish)

    def _begin(self, own: Any, finish: Callable[[dict[int, Any]], None]) -> Request:
        self._number += 1
        key = (self._name, self._number)
        self._board.put(key, self._rank, own.copy())
        return Request(self._board, key, finish, int(self._luck.integers(4)))


def run_ranks(size: int, work: Callable[[World], Any], luck: int = 0) -> list[Any]:
    """`work(world)` on every rank, each in a thread; the results by rank. An error of one is raised."""
    board, results = Board(size), [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = work(World(ThreadCommunicator(board, rank, np.random.default_rng([luck, rank]))))
        except BaseException as error:
            with board.changed:
                board.failed.append(error)
                board.changed.notify_all()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if board.failed:
        raise board.failed[0]
    return results


class ThreadNccl:
    """`cupy` as far as `NcclTransport` uses it, its arrays NumPy's: pointers are those of the arrays' memory.

    Sends within a group are exchanged when the group ends, as with NCCL.
    """

    class Array(np.ndarray):
        @property
        def data(self) -> Any:  # CuPy's memory pointer
            return SimpleNamespace(ptr=self.ctypes.data)

    def __init__(self, board: Board, rank: int) -> None:
        self._board, self._rank, self._number = board, rank, 0
        self._group: list[tuple[str, int, int, int]] = []
        event = SimpleNamespace()
        stream = SimpleNamespace(ptr=0, wait_event=lambda event: None, record=lambda: event)
        nccl = SimpleNamespace(
            NCCL_FLOAT32=7, NCCL_FLOAT64=8, available=True, groupStart=self._group.clear, groupEnd=self._end,
            get_unique_id=lambda: (1, -2, 3) + (0,) * 125, NcclCommunicator=self._communicator,
        )  # fmt: skip
        self.cuda = SimpleNamespace(nccl=nccl, Stream=lambda non_blocking: _Stream(), get_current_stream=lambda: stream)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.empty(shape, dtype).view(self.Array)

    def _communicator(self, size: int, identity: tuple[int, ...], rank: int) -> Any:
        assert (size, rank, identity[:3]) == (self._board.size, self._rank, (1, -2, 3))
        return SimpleNamespace(
            send=lambda *call: self._group.append(("send", *call[:4])),
            recv=lambda *call: self._group.append(("recv", *call[:4])),
            allGather=self._all_gather,
        )

    def _end(self) -> None:
        self._number += 1
        key = ("nccl", self._number)
        sent = {to: _memory(ptr, count, kind).copy() for what, ptr, count, kind, to in self._group if what == "send"}
        self._board.put(key, self._rank, sent)
        found = self._board.wait(key)
        for what, ptr, count, kind, other in self._group:
            if what == "recv":
                _memory(ptr, count, kind)[...] = found[other][self._rank]

    def _all_gather(self, own: int, target: int, count: int, kind: int, stream: int) -> None:
        self._number += 1
        key = ("nccl", self._number)
        self._board.put(key, self._rank, _memory(own, count, kind).copy())
        found = self._board.wait(key)
        _memory(target, count * self._board.size, kind)[...] = np.concatenate([found[r] for r in sorted(found)])


class _Stream(nullcontext):
    def wait_event(self, event: Any) -> None: ...

    def record(self) -> None: ...


def _memory(address: int, count: int, kind: int) -> np.ndarray:
    import ctypes  # noqa: PLC0415

    number = {7: ctypes.c_float, 8: ctypes.c_double}[kind]
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(number)), (count,))
