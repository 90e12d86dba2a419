"""Clocks: the host's, and the device's with its events; and what else is asked of a machine while measuring."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol

from benchmarks.kernels.ceiling_kernels import CeilingKernels
from cnn.backends import Ops

# What is read between two repeats, so that none finds its data in the L2 cache: so many times the cache's size.
_CACHES, _LEAST_FLUSH = 8, 64 << 20


class Marks(Protocol):
    """Marks points in the course of the work and tells the time between two of them."""

    def mark(self) -> Any:
        """This point."""

    def seconds(self, begin: Any, end: Any) -> float:
        """From one mark to another; waits until the work before `end` is done."""

    def wait(self) -> None:
        """Until all work is done."""


class Clock(Marks, Protocol):
    """What else is asked of the machine."""

    method: str  # how it measures, for the record
    on_gpu: bool  # whether what it times is on a GPU

    def cool(self) -> None:
        """Drop what the caches hold, so that the next work finds its data in memory."""

    def forget_memory(self) -> None:
        """Give back memory that nobody uses; the peak counts from here."""

    def memory_peak(self) -> int | None:
        """Bytes that were taken from the device at most; None where nobody counts them."""

    def facts(self) -> dict[str, Any]:
        """What the machine is."""


class HostClock:
    """The host's clock, for work that is done when its call returns."""

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
        """Nothing runs behind the host's back."""

    def cool(self) -> None:
        """The caches stay as they are."""

    def forget_memory(self) -> None:
        """Nobody counts."""

    def memory_peak(self) -> int | None:
        """Nobody counts."""
        return None

    def facts(self) -> dict[str, Any]:
        """The device's name."""
        return {"name": self.device}


class DeviceClock:
    """CUDA events, through CuPy. A mark costs the host no wait."""

    on_gpu = True

    def __init__(self, ops: Any) -> None:
        self.xp, self.device = ops.xp, ops.device
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
        """Until the device is idle."""
        self.xp.cuda.Device().synchronize()

    def cool(self) -> None:
        """Read through the L2 cache, which leaves nothing in it that would have to be written back.

        It takes the device some 100 microseconds, during which the host queues what is to be timed: so the time of a
        short kernel does not hold the host's own.
        """
        self._kernels.read(self._flush, self._sink)

    def forget_memory(self) -> None:
        """Empty the pool."""
        self.wait()
        self.xp.get_default_memory_pool().free_all_blocks()

    def memory_peak(self) -> int | None:
        """What the pool has taken from the device since, and keeps; the array that is read to flush does not count."""
        return int(self.xp.get_default_memory_pool().total_bytes()) - int(self._flush.nbytes)

    def facts(self) -> dict[str, Any]:
        """The device and the software below us."""
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
        """Until the device is idle."""
        self.cuda.synchronize()


def clock_of(ops: Ops) -> Clock:
    """The clock for a backend: events where CuPy itself computes, else the host's."""
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
    """Seconds of one of `times` calls that follow each other; nothing waits but at both ends."""
    clock.wait()
    begin = clock.mark()
    for _ in range(times):
        run()
    return clock.seconds(begin, clock.mark()) / times


def time_host(clock: Clock, run: Callable[[], Any], times: int) -> float:
    """Seconds that a call keeps the host; the device is idle before each, so its queue never fills. The median."""
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
