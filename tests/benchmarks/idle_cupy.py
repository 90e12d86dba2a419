"""A `cupy` that computes nothing, on a device on which everything takes a tick. Needs NumPy alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from benchmarks.kernels.dry_run import DryRun

TICK = 1e-3  # seconds between two events


class IdleCupy(DryRun):
    """What the benchmark asks of CuPy itself, on a device on which everything takes a tick."""

    __version__ = "14.2.0"

    def __init__(self) -> None:
        super().__init__()
        now = [0]

        class Event:
            def record(self) -> None:
                now[0] += 1
                self.at = now[0]

            def synchronize(self) -> None:
                assert self.at

        self.cuda = SimpleNamespace(
            **vars(self.cuda),
            Event=Event,
            get_elapsed_time=lambda begin, end: (end.at - begin.at) * 1e3 * TICK,
            runtime=SimpleNamespace(
                getDeviceProperties=lambda number: {
                    **{"name": b"Idle", "major": 9, "minor": 0, "multiProcessorCount": 4},
                    **{"totalGlobalMem": 1 << 30, "l2CacheSize": 1 << 20},
                },
                getDeviceCount=lambda: 1,
                driverGetVersion=lambda: 13000,
                runtimeGetVersion=lambda: 12080,
            ),
        )
        self.pool = SimpleNamespace(free_all_blocks=lambda: None, total_bytes=lambda: 100 << 20)

    def get_default_memory_pool(self) -> Any:
        return self.pool
