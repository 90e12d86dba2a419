"""A stand-in for CuPy's streams, graphs and memory pools, for machines without a GPU.

A stream records launches between `begin_capture` and `end_capture` without running them; `Graph.launch` runs them in
order. Work of a stream that was forked from the recording one is done as late as its events allow.

What CUDA or CuPy forbids while a stream records raises `CaptureError` here: transfers between host and device, waiting,
loading a module, work on a stream that was not forked, and in any mode but "relaxed", which is CuPy's default, taking
memory from the device. In that mode it is counted, as a step that is warm should have no need of it: only where its
second call happens to fit into the pool's free blocks in another way.

As a graph has addresses and no references, a launch raises `CaptureError` if memory that it uses has been freed, unless
the pool that the memory came from still exists. A pool selects free blocks as CuPy's does: best fit, split, merge.
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

_UNIT = 512  # bytes: CuPy rounds allocations up to multiples of this

RELAXED = 2  # cudaStreamCaptureModeRelaxed

Launch = Callable[[list[Any]], Any]

_recording: set[int] = set()  # the streams that record now, of any device


class CaptureError(RuntimeError):
    """Something that is not allowed while a stream records, or a graph whose memory is gone."""


def forbid(what: str) -> None:
    """Raise `CaptureError` if any stream is recording: for arrays, which do not know their device."""
    if _recording:
        raise CaptureError(f"{what} is not allowed while a stream is capturing")


class Streams:
    """The streams, pools and graphs of one device; `namespace()` has the names that `cupy.cuda` has."""

    def __init__(self, array: type[np.ndarray]) -> None:
        """`array` is the class of arrays on the device."""
        self.array = array
        self.null = Stream(self, null=True)
        self.stack = [self.null]
        self.pool: MemoryPool | None = None
        self.recording: Stream | None = None
        self.forked: list[Stream] = []  # streams that wait for an event of the recording one: they are recorded too
        self.relaxed, self.taken = True, 0  # the mode of recording; bytes taken from the device while recording
        self._blocks: dict[int, Block] = {}
        self.graphs: list[int] = []  # the number of launches of each recorded graph

    def namespace(self) -> dict[str, Any]:
        """Streams and memory pools by their names in `cupy.cuda`."""
        return {
            "Stream": lambda null=False, non_blocking=False, ptds=False, priority=None: Stream(
                self, null, non_blocking
            ),
            "MemoryPool": lambda: MemoryPool(self),
            "get_current_stream": lambda: self.stack[-1],
            "using_allocator": self.using_allocator,
        }

    @contextlib.contextmanager
    def using_allocator(self, allocator: Any) -> Iterator[None]:
        """Arrays are from the pool whose method `malloc` this is."""
        before, self.pool = self.pool, allocator.__self__
        try:
            yield
        finally:
            self.pool = before

    def forbid(self, what: str) -> None:
        """Raise `CaptureError` if a stream is recording."""
        if self.recording is not None:
            raise CaptureError(f"{what} is not allowed while a stream is capturing")

    def submit(self, arguments: Sequence[Any], launch: Launch) -> None:
        """Run `launch(arguments)`, or record it: values as they are now, arrays by their addresses."""
        if self.recording is None:
            launch(list(arguments))
            return
        stream = self.stack[-1]
        if stream is not self.recording and stream not in self.forked:
            raise CaptureError("work on a stream while another one is capturing")
        kept = [self._address(each) if isinstance(each, self.array) else copy.copy(each) for each in arguments]
        stream.blocks += [each.block for each in kept if isinstance(each, Address)]
        stream.nodes.append(lambda: launch([each() if isinstance(each, Address) else each for each in kept]))

    def allocated(self, owner: np.ndarray) -> None:
        """Count new memory: `owner` is the array that all arrays in this memory are views of."""
        self._count(Block(self.pool, owner), owner)

    def _count(self, block: Block, owner: np.ndarray) -> Block:
        self._blocks[id(owner)] = block
        weakref.finalize(owner, self._freed, id(owner)).atexit = False
        return block

    def _freed(self, key: int) -> None:
        self._blocks.pop(key).free()

    def _address(self, array: np.ndarray) -> Address:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        block = self._blocks.get(id(owner)) or self._count(Block(None, owner), owner)
        return Address(array, block)


class Block:
    """Memory of the device, from a pool or not."""

    def __init__(self, pool: MemoryPool | None, owner: np.ndarray) -> None:
        self._pool = None if pool is None else weakref.ref(pool)
        self._in_use, self.size = True, max(_UNIT, -(-owner.nbytes // _UNIT) * _UNIT)
        if pool is not None:
            self.stream = pool.current_stream()
            self.start = pool.take(self.size, self.stream)
            pool.memory.append(owner.base)  # what the array lies in; kept as long as the pool

    def given_back_to(self, stream: Stream) -> bool:
        """Whether the stream may use it for other arrays now."""
        return self._pool is not None and not self._in_use and self.stream is stream

    @property
    def valid(self) -> bool:
        """Whether nobody else may get the memory."""
        return self._in_use or (self._pool is not None and self._pool() is not None)

    def free(self) -> None:
        """No array is in it any more."""
        self._in_use = False
        pool = None if self._pool is None else self._pool()
        if pool is not None:
            pool.give(self.start, self.size, self.stream)


class Address:
    """An array in a graph: where it lies, without a reference to it."""

    def __init__(self, array: np.ndarray, block: Block) -> None:
        self._kind, self._interface, self.block = type(array), dict(array.__array_interface__), block

    def __call__(self) -> np.ndarray:
        """The array again. Raises `CaptureError` if its memory has been freed."""
        if not self.block.valid:
            raise CaptureError("a graph uses memory that has been freed")
        return np.asarray(SimpleNamespace(__array_interface__=self._interface)).view(self._kind)


class Stream:
    """A queue of work, which is done at once, or recorded."""

    def __init__(self, streams: Streams, null: bool = False, non_blocking: bool = False) -> None:
        self._streams, self._null, self.non_blocking = streams, null, non_blocking
        self.ptr = id(self)  # where CuPy has the address of CUDA's stream
        self.nodes: list[Callable[[], Any]] = []
        self.blocks: list[Block] = []  # the memory that the nodes use

    def __enter__(self) -> Stream:
        self._streams.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._streams.stack.pop()

    def begin_capture(self, mode: int | None = None) -> None:
        """Record from here on."""
        if self._null:
            raise CaptureError("cannot capture on the default (legacy) stream")
        self._streams.forbid("the beginning of another capture")
        self._streams.recording, self._streams.relaxed, self.nodes = self, mode in (None, RELAXED), []
        self._streams.forked, self.blocks = [], []
        _recording.add(id(self))

    def end_capture(self) -> Graph:
        """The graph of the work since `begin_capture`."""
        if not self.is_capturing():
            raise CaptureError("the stream is not capturing")
        self._streams.recording = None
        _recording.discard(id(self))
        if any(stream.nodes for stream in self._streams.forked):
            raise CaptureError("work on another stream was not joined to the one that is capturing")
        return Graph(self._streams, self.nodes)

    def record(self, event: Event | None = None) -> Event:
        """An event behind the work so far."""
        return Event(self)

    def wait_event(self, event: Event) -> None:
        """Do what follows behind the event.

        While `self` is recorded, the other stream's work goes into the graph here, as late as it may: what does not
        wait for it is done before.
        """
        streams = self._streams
        if streams.recording is None:
            return
        if self is streams.recording:
            if event.stream in streams.forked:
                event.stream.join(self)
        elif event.stream is streams.recording and self not in streams.forked:
            streams.forked.append(self)
            self.nodes = []

    def is_capturing(self) -> bool:
        """Whether it records."""
        return self._streams.recording is self

    def synchronize(self) -> None:
        """Wait for the work so far."""
        self._streams.forbid("waiting for a stream")

    def join(self, other: Stream) -> None:
        """The recorded work goes to the other stream."""
        if any(block.given_back_to(other) for block in self.blocks):
            raise CaptureError(
                "memory was given back to its stream before the work on another one, which uses it, was joined"
            )
        other.nodes += self.nodes
        self.nodes, self.blocks = [], []


class Event:
    """A place in a stream's work."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class Graph:
    """Recorded work."""

    def __init__(self, streams: Streams, nodes: list[Callable[[], Any]]) -> None:
        self._nodes, self._streams, self._number = nodes, streams, len(streams.graphs)
        streams.graphs.append(0)

    def launch(self, stream: Stream | None = None) -> None:
        """Run the work once."""
        self._streams.forbid("launching a graph")
        self._streams.graphs[self._number] += 1
        for node in self._nodes:
            node()


class MemoryPool:
    """Free blocks of memory, selected as CuPy does: the stream's smallest that is large enough, split to size."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.memory: list[Any] = []
        self._free: dict[Stream, list[tuple[int, int]]] = {}  # by stream: size and start, in ascending order
        self._total = self._next = 0

    def malloc(self, size: int) -> None:
        """Named by `using_allocator`; arrays come from `take`."""
        raise NotImplementedError

    def total_bytes(self) -> int:
        """Bytes taken from the device."""
        return self._total

    def current_stream(self) -> Stream:
        """The stream to which new blocks belong."""
        return self._streams.stack[-1]

    def take(self, size: int, stream: Stream) -> int:
        """The start of a block of this size."""
        free_blocks = self._free.setdefault(stream, [])
        for index, (free, start) in enumerate(free_blocks):
            if free >= size:
                del free_blocks[index]
                if free > size:
                    insort(free_blocks, (free - size, start + size))
                return start
        if self._streams.recording is not None:
            if not self._streams.relaxed:
                self._streams.forbid(f"taking {size} bytes from the device")
            self._streams.taken += size
        start, self._total = self._next, self._total + size
        self._next += size + _UNIT  # a gap: blocks that the device gave separately are never merged
        return start

    def give(self, start: int, size: int, stream: Stream) -> None:
        """Return a block, merged with free neighbours."""
        free_blocks = self._free[stream]
        for free, other in [each for each in free_blocks if start in (sum(each), each[1] - size)]:
            free_blocks.remove((free, other))
            start, size = min(start, other), size + free
        insort(free_blocks, (size, start))
