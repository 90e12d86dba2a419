"""A clock that ticks by itself, a `cupy` that computes nothing, and the options of a small benchmark."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from idle_cupy import TICK

from benchmarks.clock import HostClock
from benchmarks.kernels.ceilings import CeilingSizes
from benchmarks.step.settings import BenchmarkSettings
from benchmarks.workload import Options, options_of
from foundation.config import config_dir, typed

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


def settings_and_options(*overrides: str) -> tuple[BenchmarkSettings, Options]:
    """Those of a small benchmark, with options of the command line."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("benchmark", overrides=[*SMALL, *overrides])
    return typed(config, "benchmark", BenchmarkSettings), options_of(config)


def options(*overrides: str) -> Options:
    """Only the options."""
    return settings_and_options(*overrides)[1]
