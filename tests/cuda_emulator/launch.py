"""`RawKernel`: checks a launch's arguments as the kernel's compiled signature wants them, and runs it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.kernels.capture import Streams
from cuda_emulator.arguments import Parameter, StandIns
from cuda_emulator.errors import EmulatorError
from cuda_emulator.locate import source_lines
from cuda_emulator.runtime_library import Counts, Launch, PassedArgument, Report, Reports, runtime
from cuda_emulator.trace import Trace

MOST_THREADS = 1024  # in a block
MOST_IN_BLOCK = (1024, 1024, 64)
MOST_IN_GRID = (2**31 - 1, 65535, 65535)
MOST_DYNAMIC_SHARED = 227 << 10
DYNAMIC_SHARED_UNASKED = 48 << 10  # what a kernel gets without setting `max_dynamic_shared_size_bytes`
MOST_ARGUMENT_BYTES = 4096  # on every architecture and toolkit

ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}

# The runtime runs one launch at a time.
_LAUNCHING = threading.Lock()
_REPORTS = Reports()


@dataclass
class LaunchSettings:
    """How an emulator runs its kernels."""

    mode: str
    order: str
    seed: int
    timeout_s: float
    placement: int
    streams: Streams
    launches: int = 0  # so far; every launch has another shuffled order
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True)
class LaunchStats:
    """What the last launch counted."""

    switches: int  # between threads
    barriers: int  # passed by a whole block
    accesses: int  # to arrays and shared memory; the checked build alone counts them


class RawKernel:
    """A compiled kernel; called like CuPy's: `kernel(grid, block, args, shared_mem=0)`."""

    def __init__(
        self,
        settings: LaunchSettings,
        name: str,
        signature: list[str],
        parameter_names: Sequence[str],
        call: int | None,
        library: Path,
    ) -> None:
        self.name, self.signature, self.stats = name, signature, LaunchStats(0, 0, 0)
        self.max_dynamic_shared_size_bytes = DYNAMIC_SHARED_UNASKED
        self._settings, self._library = settings, library
        self._parameters = [
            Parameter(name, number, *pair) for number, pair in enumerate(zip(parameter_names, signature, strict=True))
        ]
        if sum(parameter.bytes for parameter in self._parameters) > MOST_ARGUMENT_BYTES:
            raise EmulatorError(f"{name} takes more than {MOST_ARGUMENT_BYTES} bytes of arguments")
        self._passed = (PassedArgument * len(signature))()
        self._storage = [ctypes.create_string_buffer(max(parameter.bytes, 8)) for parameter in self._parameters]
        for parameter, passed, storage in zip(self._parameters, self._passed, self._storage, strict=True):
            passed.value = ctypes.addressof(storage)
            passed.bytes = 0 if parameter.pointer else parameter.bytes
            passed.is_const = parameter.const
        self._launch = Launch(kernel=call, arguments=self._passed, argument_count=len(signature))
        self._launch.order, self._launch.checked = ORDERS[settings.order], settings.mode != "fast"
        self._launch.traced = settings.mode == "traced"
        self._launch.timeout = settings.timeout_s

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        shared_mem: int = 0,
        **_: Any,
    ) -> None:
        """Runs the kernel to its end. Raises EmulatorError for a bad launch and for what the kernel does wrong.

        While a stream captures, the launch is recorded, and checked and run by each launch of the graph.
        """
        grid, block = _three(grid), _three(block)
        self._check_configuration(grid, block, shared_mem)
        if len(args) != len(self._parameters):
            raise EmulatorError(f"{self.name} takes {len(self._parameters)} arguments, not {len(args)}")
        self._settings.streams.submit(args, lambda given: self._run_with(grid, block, given, shared_mem))

    def _run_with(self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], shared_mem: int) -> None:
        stand_ins = StandIns(self._settings.placement)
        with _LAUNCHING:
            for parameter, storage, given in zip(self._parameters, self._storage, args, strict=True):
                storage[: parameter.bytes] = parameter.accept(given, stand_ins)
            reports = self._run(grid, block, shared_mem)
        stand_ins.copy_back()
        if reports:
            raise EmulatorError(self._message(reports, args))

    def _check_configuration(self, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int) -> None:
        if min(grid + block) < 1:
            raise EmulatorError(f"{self.name}: grid {grid} and block {block} must be at least 1 everywhere")
        threads = block[0] * block[1] * block[2]
        if threads > MOST_THREADS or any(size > most for size, most in zip(block, MOST_IN_BLOCK, strict=True)):
            raise EmulatorError(f"{self.name}: block {block} is more than {MOST_THREADS} threads, or {MOST_IN_BLOCK}")
        if any(size > most for size, most in zip(grid, MOST_IN_GRID, strict=True)):
            raise EmulatorError(f"{self.name}: grid {grid} is more than {MOST_IN_GRID}")
        if not 0 <= shared_mem <= MOST_DYNAMIC_SHARED:
            raise EmulatorError(f"{self.name}: {shared_mem} bytes of dynamic shared memory, not 0 to 227 KiB")
        if shared_mem > max(self.max_dynamic_shared_size_bytes, DYNAMIC_SHARED_UNASKED):
            raise EmulatorError(
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, but max_dynamic_shared_size_bytes is "
                f"{self.max_dynamic_shared_size_bytes}"
            )

    def _run(self, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int) -> Reports | None:
        settings, launch = self._settings, self._launch
        launch.grid[:], launch.block[:], launch.shared_bytes = grid, block, shared_mem
        launch.seed = (settings.seed * 1_000_003 + settings.launches) % 2**64
        settings.launches += 1
        reports, counts = _REPORTS, Counts()
        found = runtime().emulator_launch(launch, reports, counts)
        self.stats = LaunchStats(counts.switches, counts.barriers, counts.accesses)
        if launch.traced:
            settings.trace.add_launch(self.name, self._library, [parameter.name for parameter in self._parameters])
        if not found:
            return None
        copy = Reports()
        ctypes.pointer(copy)[0] = reports
        return copy

    def _message(self, reports: Reports, args: Sequence[Any]) -> str:
        texts = [self._describe(reports.report[number], args) for number in range(reports.count)]
        if reports.stopped:
            texts.insert(0, texts.pop())  # what ended the launch comes first
        return f"{self.name}: " + "\n".join(texts)

    def _describe(self, report: Report, args: Sequence[Any]) -> str:
        text = report.text.decode(errors="replace")
        if report.array:
            text = text.replace("{array}", self._array_name(report.array, args))
        if place := self._place(report.address):
            text += f" at {place}"
        if report.other_address and (place := self._place(report.other_address)):
            text += f"; the other access at {place}"
        return text

    def _place(self, address: int) -> str:
        """The source lines of an instruction of the kernel; "" for one that is not its own."""
        base = runtime().emulator_module_base(self._launch.kernel)
        if not address or runtime().emulator_module_base(address) != base:
            return ""
        return " < ".join(source_lines(self._library, address - base)[:3])

    def _array_name(self, array: int, args: Sequence[Any]) -> str:
        """Which argument the array is, or through which struct the kernel came to it."""
        last = array + runtime().emulator_array_bytes(array)
        for parameter, storage, given in zip(self._parameters, self._storage, args, strict=True):
            raw = storage.raw
            for offset in range(0, max(parameter.bytes, 8) - 7, 8):
                if not array <= int.from_bytes(raw[offset : offset + 8], "little") < max(last, array + 1):
                    continue
                if parameter.pointer:
                    return f"{parameter}, {given.dtype}{list(given.shape)}"
                if parameter.struct:
                    return f"the array at byte {offset} of {parameter}"
        return "an array that is no argument"


def _three(sizes: Sequence[int]) -> tuple[int, ...]:
    """CuPy takes one to three sizes."""
    given = tuple(map(int, sizes))
    if not 1 <= len(given) <= 3:
        raise EmulatorError(f"a grid or a block has one to three sizes, not {given}")
    return given + (1,) * (3 - len(given))
