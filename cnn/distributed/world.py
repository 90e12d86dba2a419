"""The processes of a run that `mpiexec` has started: who they are, what they tell each other, how they end."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.extras import install_command

# What MPICH, Open MPI and SLURM set for each process that they start.
_RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
_LOOKS = 200  # times to look for a result before sleeping between two looks
_SLEEP, _LONGEST = 20e-6, 0.02  # seconds between two looks, at first and at most
# Seconds for rank 0 to end all, before another rank does: after a signal, which all have got, and after an error.
_INTERRUPTED, _FAILED = 2.0, 1.0
_LOOK_AT_PARENT = 1.0  # seconds between two looks whether the process that started this one lives


class World:
    """The processes of a run. `communicator` is one of mpi4py's, or a stand-in; None for one process alone."""

    def __init__(self, communicator: Any = None) -> None:
        self.communicator = communicator
        self.rank: int = 0 if communicator is None else communicator.Get_rank()
        self.size: int = 1 if communicator is None else communicator.Get_size()

    def all_gather(self, own: NDArray[Any]) -> NDArray[Any]:
        """The arrays of all processes, of one shape and type: (size, ...)."""
        own = np.ascontiguousarray(own)
        found = np.empty((self.size, *own.shape), own.dtype)
        if self.communicator is None:
            found[0] = own
        else:
            wait_for(self.communicator.Iallgather(own.view(np.uint8).reshape(-1), found.view(np.uint8).reshape(-1)))
        return found

    def all_gather_rows(self, own: NDArray[Any]) -> NDArray[Any]:
        """The rows of all processes, in order; each may have another number of them."""
        counts = self.all_gather(np.array([len(own)]))[:, 0].tolist()
        padded = np.zeros((max(counts), *own.shape[1:]), own.dtype)
        padded[: len(own)] = own
        return np.concatenate([rows[:count] for rows, count in zip(self.all_gather(padded), counts, strict=True)])

    def told(self, text: str) -> str:
        """The text of rank 0."""
        raw = np.frombuffer(text.encode() if self.rank == 0 else b"", np.uint8)
        return self.all_gather_rows(raw).tobytes().decode()

    def wait(self) -> None:
        """Wait until all processes are here, without keeping a core busy."""
        self.all_gather(np.zeros(1, np.uint8))

    def neighbours(self) -> tuple[int, int]:
        """The own place among the processes of this machine that may use the same cores, and their number."""
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0)))) if hasattr(os, "sched_getaffinity") else ""
        key = f"{os.uname().nodename if hasattr(os, 'uname') else ''} {cores}".encode()[:200].ljust(200)
        all_keys = [bytes(row) for row in self.all_gather(np.frombuffer(key, np.uint8))]
        same = [rank for rank, other in enumerate(all_keys) if other == all_keys[self.rank]]
        return same.index(self.rank), len(same)

    def abort(self, status: int) -> None:
        """End all processes with this exit status."""
        if self.communicator is not None and self.size > 1:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            self.communicator.Abort(status)


def wait_for(request: Any) -> None:
    """Wait for a request. Between two looks signals are handled, and a core is left to others."""
    looks, pause = 0, _SLEEP
    while not request.Test():
        looks += 1
        if looks > _LOOKS:
            time.sleep(pause)
            pause = min(pause * 1.1, _LONGEST)
        elif hasattr(os, "sched_yield"):
            os.sched_yield()


_world: World | None = None


def world() -> World:
    """The processes that were started with this one; started alone it is one."""
    global _world  # noqa: PLW0603 - MPI is initialised once in a process
    if _world is None:
        _world = World()
        if any(name in os.environ for name in _RANKS) and importlib.util.find_spec("mpi4py") is not None:
            _world = World(communicator())
        elif int(os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or 1) > 1:
            raise UserError(f"started by mpiexec, which needs mpi4py: {install_command('mpi')}")
    return _world


def communicator() -> Any:
    """MPI's communicator of all processes. Raises `UserError` without mpi4py or an MPI library."""
    try:
        mpi: Any = importlib.import_module("mpi4py")
        mpi.rc.thread_level = "funneled"  # one thread calls MPI
        return importlib.import_module("mpi4py.MPI").COMM_WORLD
    except ImportError as error:
        raise UserError(
            f"trainer.distributed needs mpi4py and an MPI library: {install_command('mpi')} ({error})"
        ) from error


@contextmanager
def together() -> Iterator[None]:
    """In the block an error of one process ends all of them, after its message, with its exit status.

    What most processes fail for, such as a wrong option, all fail for: rank 0 says it. Another rank speaks only if
    rank 0 has not ended all by then.
    """
    here, held, before = world(), io.StringIO(), sys.stderr
    if here.rank:
        sys.stderr = held
    if here.size > 1:
        threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    try:
        yield
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if status:
            _end_all(here, held, before, status)
        raise
    except BaseException:
        if here.size > 1:
            sys.excepthook(*sys.exc_info())
            _end_all(here, held, before, 1)
        raise
    finally:
        sys.stderr = before


def _end_with(parent: int) -> None:
    """End this process when its parent, which MPI has put there, has ended: nobody else would then."""
    while os.getppid() == parent:
        time.sleep(_LOOK_AT_PARENT)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_INTERRUPTED + _FAILED)
    os._exit(128 + signal.SIGTERM)


def _end_all(here: World, held: io.StringIO, errors: TextIO, status: int) -> None:
    if here.size == 1:
        return
    if here.rank:
        time.sleep(_INTERRUPTED if status > 128 else _FAILED)
        for line in held.getvalue().splitlines():
            print(f"process {here.rank} of {here.size}: {line}", file=errors)
    here.abort(status)
