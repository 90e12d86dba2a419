"""How arrays of a backend get from process to process: by MPI through the host, or by NCCL between GPUs.

Both only move numbers; they are added in `cnn.distributed`, in the order of the ranks. So a sum depends on the number
of processes, but not on the time at which its parts arrive or on the algorithm of a library.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from cnn.backends import Array, Ops
from cnn.distributed.world import World, wait_for

# Whether a transfer is over; with True it is waited for.
Ready = Callable[[bool], bool]


class Transport(Protocol):
    """Moves C-contiguous arrays of the backend. All processes call the same methods in the same order."""

    def gather(self, own: Array) -> Array:
        """The arrays of all processes: (size, ...)."""

    def begin_exchange(self, own: Array, found: Array) -> Ready:
        """Begin to send own[r] to process r; found[r] is what r has sent. Both are (size, n)."""

    def begin_gather(self, own: Array, found: Array) -> Ready:
        """Begin to send own (n,) to all processes; found[r] of found (size, n) is that of process r."""

    def beside(self) -> AbstractContextManager[Any]:
        """What is computed in this context may run beside the network's passes, after what was computed before it."""

    def join(self) -> None:
        """What follows may use what was computed in `beside`."""


class HostTransport:
    """By MPI. Arrays of a GPU are copied to the host and back."""

    def __init__(self, world: World, ops: Ops) -> None:
        self._world, self._ops = world, ops
        # MPI matches the calls of a communicator by their order. Each process goes on with a gather when its exchange
        # is over, at another time than the others: so exchanges and gathers have communicators of their own.
        if world.communicator is not None:
            self._exchanges, self._gathers = world.communicator.Dup(), world.communicator.Dup()

    def gather(self, own: Array) -> Array:
        """The arrays of all processes: (size, ...)."""
        found = self._world.all_gather(self._ops.to_numpy(own))
        return found if self._ops.name != "cupy" else self._ops.array(found)

    def begin_exchange(self, own: Array, found: Array) -> Ready:
        """See `Transport`."""
        return self._begin(self._exchanges.Ialltoall, own, found)

    def begin_gather(self, own: Array, found: Array) -> Ready:
        """See `Transport`."""
        return self._begin(self._gathers.Iallgather, own, found)

    def _begin(self, operation: Callable[[Any, Any], Any], own: Array, found: Array) -> Ready:
        host = self._ops.to_numpy(own)
        target = found if host is own else np.empty(found.shape, found.dtype)
        request, over = operation(host, target), False

        def ready(wait: bool) -> bool:
            nonlocal over
            if over:
                return True
            if wait:
                wait_for(request)
            elif not request.Test():
                return False
            if target is not found:
                self._ops.copy_in(found, target)
            over = True
            return True

        return ready

    def beside(self) -> AbstractContextManager[Any]:
        """See `Transport`; here in its place."""
        return nullcontext()

    def join(self) -> None:
        """See `Transport`."""


class NcclTransport:
    """By NCCL, through CuPy, on a stream of its own: the host waits for nothing.

    Only sends and receives, and gathers: NCCL's own sums would depend on its algorithm.
    """

    def __init__(self, cupy: Any, now: Any, beside: Any, size: int) -> None:
        """`now` and `beside` are each a `cupy.cuda.nccl.NcclCommunicator` of these `size` processes.

        Two, because two streams must not use one communicator at the same time.
        """
        self._cupy, self._nccl, self._now, self._beside, self._size = cupy, cupy.cuda.nccl, now, beside, size
        self._stream = cupy.cuda.Stream(non_blocking=True)

    @classmethod
    def of_world(cls, cupy: Any, world: World) -> NcclTransport:
        """NCCL between the GPUs of these processes, which learn of one another by MPI."""

        def new() -> Any:
            own = bytes(np.array(cupy.cuda.nccl.get_unique_id(), np.int8)) if world.rank == 0 else b""
            identity = tuple(np.frombuffer(bytes.fromhex(world.told(own.hex())), np.int8).tolist())
            return cupy.cuda.nccl.NcclCommunicator(world.size, identity, world.rank)

        return cls(cupy, new(), new(), world.size)

    def _type(self, array: Array) -> int:
        return {"float32": self._nccl.NCCL_FLOAT32, "float64": self._nccl.NCCL_FLOAT64}[array.dtype.name]

    def gather(self, own: Array) -> Array:
        """The arrays of all processes: (size, ...)."""
        found = self._cupy.empty((self._size, *own.shape), own.dtype)
        self._gather(self._now, own, found)
        return found

    def begin_exchange(self, own: Array, found: Array) -> Ready:
        """See `Transport`."""
        stream, kind = self._cupy.cuda.get_current_stream().ptr, self._type(own)
        self._nccl.groupStart()
        for other in range(self._size):
            self._beside.send(own[other].data.ptr, own[other].size, kind, other, stream)
            self._beside.recv(found[other].data.ptr, found[other].size, kind, other, stream)
        self._nccl.groupEnd()
        return lambda wait: True  # what follows is on the same stream

    def begin_gather(self, own: Array, found: Array) -> Ready:
        """See `Transport`."""
        self._gather(self._beside, own, found)
        return lambda wait: True

    def _gather(self, communicator: Any, own: Array, found: Array) -> None:
        stream = self._cupy.cuda.get_current_stream().ptr
        communicator.allGather(own.data.ptr, found.data.ptr, own.size, self._type(own), stream)

    def beside(self) -> AbstractContextManager[Any]:
        """See `Transport`."""
        self._stream.wait_event(self._cupy.cuda.get_current_stream().record())
        stream: AbstractContextManager[Any] = self._stream
        return stream

    def join(self) -> None:
        """See `Transport`."""
        self._cupy.cuda.get_current_stream().wait_event(self._stream.record())
