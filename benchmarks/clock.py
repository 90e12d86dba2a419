"""Clocks of the host, and of the device by its events, with other functions for measurements."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol

from benchmarks.kernels.ceiling_kernels import CeilingKernels
from cnn.backends import Ops

# Size of the array that is read between two repeats to empty the L2 cache, in multiples of the cache's size.
_CACHES, _LEAST_FLUSH = 8, 64 << 20


class Marks(Protocol):
    """Marks points in time and gives the seconds between two of them."""

    def mark(self) -> Any:
        """A mark at this point."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Seconds from one mark to another; waits until the work before `end` is done."""

    def wait(self) -> None:
        """Wait until all work is done."""


class Clock(Marks, Protocol):
    """The interface to the machine for measurements."""

    method: str  # of the measurement, for the record
    on_gpu: bool  # whether the timed work is on a GPU

    def cool(self) -> None:
        """Empty the caches, so that the next work reads its data from memory."""

    def forget_memory(self) -> None:
        """Free unused memory, and count the peak from here."""

    def memory_peak(self) -> int | None:
        """The largest number of bytes taken from the device; None if it is not counted."""

    def facts(self) -> dict[str, Any]:
        """A description of the machine."""


class HostClock:
    """The host's clock, for work that is finished when its call returns."""

    method = "the host's clock; caches as the work before left them"
    on_gpu = False

    def __init__(self, device: str) -> None:
        self.device = device

    def mark(self) -> float:
        """Now."""
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """The difference."""
        return end - begin

    def wait(self) -> None:
        """Nothing to wait for."""

    def cool(self) -> None:
        """Does nothing to the caches."""

    def forget_memory(self) -> None:
        """Nobody counts."""

    def memory_peak(self) -> int | None:
        """Nobody counts."""
        return None

    def facts(self) -> dict[str, Any]:
        """The device's name."""
        return {"name": self.device}


class DeviceClock:
    """CUDA events, through CuPy. A mark does not block the host."""

    on_gpu = True

    def __init__(self, ops: Any) -> None:
        self.xp, self.device = ops.xp, ops.device
        self._recorded_bytes = ops.recorded_bytes
        self._properties = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)
        size = max(_CACHES * int(self._properties.get("l2CacheSize", 0)), _LEAST_FLUSH)
        self.method = f"device events; {size >> 20} MiB are read before every repeat, so that the L2 cache is cold"
        self._kernels = CeilingKernels(self.xp)
        self._flush = self.xp.zeros(size // 4, "float32")
        self._sink = self.xp.zeros(1, "float32")

    def mark(self) -> Any:
        """An event, recorded behind all work so far."""
        event = self.xp.cuda.Event()
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """The device's time from one event to the other."""
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(begin, end)) / 1e3

    def wait(self) -> None:
        """Wait until the device is idle."""
        self.xp.cuda.Device().synchronize()

    def cool(self) -> None:
        """Read an array larger than the L2 cache, which leaves no data in it that would be written back later.

        This takes the device about 100 microseconds, in which the host queues the work to be timed. So the time of a
        short kernel does not include the host's time.
        """
        self._kernels.read(self._flush, self._sink)

    def forget_memory(self) -> None:
        """Empty the pool; a captured step and its memory are freed with the last reference to it."""
        self.wait()
        gc.collect()  # a step refers to what it captured, and the other way round
        self.xp.get_default_memory_pool().free_all_blocks()

    def memory_peak(self) -> int | None:
        """Bytes that the pools, with those of captured steps, have taken from the device since then.

        Without the array that is read to flush.
        """
        pool = int(self.xp.get_default_memory_pool().total_bytes())
        return pool + self._recorded_bytes() - int(self._flush.nbytes)

    def facts(self) -> dict[str, Any]:
        """The device, its driver and libraries."""
        runtime, properties = self.xp.cuda.runtime, self._properties
        return {
            "name": self.device,
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "multiprocessors": int(properties["multiProcessorCount"]),
            "memory_bytes": int(properties["totalGlobalMem"]),
            "l2_bytes": int(properties.get("l2CacheSize", 0)),
            "cuda_driver": _version(runtime.driverGetVersion()),
            "cuda_runtime": _version(runtime.runtimeGetVersion()),
            "cupy": str(self.xp.__version__),
        }


class TorchEvents:
    """CUDA events, through PyTorch."""

    def __init__(self) -> None:
        self.cuda: Any = importlib.import_module("torch").cuda

    def mark(self) -> Any:
        """An event, recorded behind all work so far."""
        event = self.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """The device's time from one event to the other."""
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def wait(self) -> None:
        """Wait until the device is idle."""
        self.cuda.synchronize()


def clock_of(ops: Ops) -> Clock:
    """The clock for a backend: events for CuPy, else the host's clock."""
    xp = getattr(ops, "xp", None)
    return DeviceClock(ops) if hasattr(getattr(xp, "cuda", None), "Event") else HostClock(ops.device)


def time_each(clock: Clock, run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, after two that are not counted; caches are cold before each."""
    for _ in range(2):
        run()
    marks = []
    for _ in range(repeats):
        clock.cool()
        begin = clock.mark()
        run()
        marks.append((begin, clock.mark()))
    return [clock.seconds(*pair) for pair in marks]


def time_through(clock: Marks, run: Callable[[], Any], times: int) -> float:
    """Seconds per call of `times` consecutive calls; waits only at both ends."""
    clock.wait()
    begin = clock.mark()
    for _ in range(times):
        run()
    return clock.seconds(begin, clock.mark()) / times


def time_host(clock: Clock, run: Callable[[], Any], times: int) -> float:
    """The median of the host's seconds per call; the device is idle before each, so that its queue is never full."""
    taken = []
    for _ in range(times):
        clock.wait()
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    clock.wait()
    return median(taken)


def _version(number: int) -> str:
    """CUDA's 13000 as 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"
