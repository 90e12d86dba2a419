"""A clock that ticks by itself, a `cupy` that computes nothing, and the options of a small benchmark."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks.clock import HostClock
from benchmarks.kernels.ceilings import CeilingSizes
from benchmarks.kernels.dry_run import DryRun
from foundation.config import config_dir

TICK = 1e-3  # seconds between two marks
TINY = CeilingSizes(copy_bytes=1 << 12, blocks=2, rounds=2, matrix=16, repeats=2)

SMALL = (
    "benchmark.models=[lenet]",
    "benchmark.batch_sizes=[2]",
    "benchmark.image_size=12",
    "benchmark.images=4",
    "benchmark.steps=2",
    "benchmark.repeats=1",
    "benchmark.torch=false",
)


class TickingClock(HostClock):
    """Every mark is a thousandth of a second after the one before."""

    ticks = 0

    def mark(self) -> float:
        self.ticks += 1
        return self.ticks * TICK


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
                driverGetVersion=lambda: 13000,
                runtimeGetVersion=lambda: 12080,
            ),
        )
        self.pool = SimpleNamespace(free_all_blocks=lambda: None, total_bytes=lambda: 100 << 20)

    def get_default_memory_pool(self) -> Any:
        return self.pool


def options(*overrides: str) -> DictConfig:
    """The composed options of a small benchmark."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("benchmark", overrides=[*SMALL, *overrides])
