"""Work on the device as a CUDA graph: recorded once, then replayed by one call of the driver.

Inside a recorded step, work whose result is not needed soon may run on a second stream beside what follows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

# Priorities of streams, which the nodes of a graph keep: the lower number is first.
_HIGH, _LOW = -1, 0


class SideStream:
    """A stream for work that runs beside what follows it on the current stream, until the two are joined.

    Its blocks start where the other stream, which has priority, leaves a multiprocessor room. So the filter gradients,
    which need arithmetic, fill the passes in between, which need memory. CuPy's memory pools are per stream, and an
    array that has been freed can be overwritten at once by its own stream, which does not wait for this one. So the
    arrays of the other stream that the work here reads are kept until then.
    """

    def __init__(self, cuda: Any) -> None:
        """`cuda` is `cupy.cuda`, or a module with the same interface."""
        self._cuda, self._stream = cuda, cuda.Stream(non_blocking=True, priority=_LOW)
        self._read: list[Any] = []
        self._apart = False  # whether there was work since they were joined

    @contextlib.contextmanager
    def beside(self, *read: Any) -> Iterator[None]:
        """Work in this context begins behind all work so far; `read` are the arrays that it reads."""
        self._stream.wait_event(self._cuda.get_current_stream().record())
        self._read += read
        self._apart = True
        with self._stream:
            yield

    def join(self) -> None:
        """The current stream goes on when the work here is done."""
        if self._apart:
            self._cuda.get_current_stream().wait_event(self._stream.record())
            self._read.clear()
            self._apart = False


class RecordedStep:
    """A function without arguments whose work on the device is recorded by its second call, and replayed from then on.

    The first call runs as any code does. It compiles the kernels, which is not allowed while CUDA records, and fills
    the memory pool. The second call records a graph, which executes nothing, and launches it. Each later call is one
    launch on the current stream; the function itself does not run any more. So values that change from call to call
    must be in arrays, and arrays that the function uses must be changed in place.

    The arrays that the function returns are the same from the second call on; each call overwrites them. Those of the
    first call should be dropped before the second, which else takes more memory from the device.

    The memory of the recorded work is in a pool of its own, which lives as long as the graph: a graph has addresses
    and no references, so nobody else may get this memory. CuPy's pools are per stream, so the first call runs on the
    stream that records, which is never the null stream: CUDA does not record that one. It does not synchronise with
    the null stream, so that other libraries' work there does not disturb the recording.
    """

    def __init__(self, xp: Any, step: Callable[[], Any]) -> None:
        """`xp` is the module `cupy`, or one with the same interface."""
        self._cuda, self._step = xp.cuda, step
        self._stream, self._pool = xp.cuda.Stream(non_blocking=True, priority=_HIGH), xp.cuda.MemoryPool()
        self._warm = False
        self._graph: Any = None
        self._result: Any = None

    def __call__(self) -> Any:
        """Run, record, or replay."""
        if self._graph is not None:
            self._graph.launch()
            return self._result
        if not self._warm:
            return self._run()
        self._graph, self._result = self._record()
        self._graph.launch()
        return self._result

    @property
    def pool_bytes(self) -> int:
        """Bytes that the pool has taken from the device."""
        return int(self._pool.total_bytes())

    def _run(self) -> Any:
        """Run on the own stream, after all earlier work of the current stream and before all later work."""
        self._cuda.get_current_stream().synchronize()
        with self._own_stream():
            result = self._step()
        self._stream.synchronize()
        self._warm = True
        return result

    def _record(self) -> tuple[Any, Any]:
        with self._own_stream():
            # CuPy's default mode, "relaxed", allows cudaMalloc, in case that the pool's free blocks do not fit.
            self._stream.begin_capture()
            try:
                result = self._step()
            except BaseException as error:
                with contextlib.suppress(Exception):  # the error to report is the first one
                    self._stream.end_capture()
                error.add_note("while a CUDA graph was recorded; backend.graph=false runs without one")
                raise
            return self._stream.end_capture(), result

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        with self._stream, self._cuda.using_allocator(self._pool.malloc):
            yield
