"""`python -m cnn.benchmark`: times training steps and kernels; compares with the hardware's limits and PyTorch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from benchmarks.clock import clock_of
from benchmarks.step.bench import run
from benchmarks.step.report import remarks, terminal_table
from benchmarks.step.settings import BenchmarkSettings
from benchmarks.workload import options_of
from cnn.assembly import groups, ops_of
from foundation.config import typed
from foundation.entry import entry


@entry("benchmark", groups("augment", "optimizer", "backend") | {"benchmark": (BenchmarkSettings,)})
def main(config: DictConfig) -> None:
    """Measure, print one table, and write `benchmark.json` and `benchmark.md` to the folder of the run."""
    hydra = HydraConfig.get()
    ops = ops_of(config)
    command = " ".join(["python -m cnn.benchmark", *hydra.overrides.task])
    folder = Path(hydra.runtime.output_dir)
    settings = typed(config, "benchmark", BenchmarkSettings)
    record = run(settings, options_of(config), ops, clock_of(ops), folder, command)
    # In a file or a pipe the table is not wrapped.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(terminal_table(record))
    for line in remarks(record):
        console.print(line, markup=False, highlight=False)
    print(os.path.relpath(folder / "benchmark.md"))


if __name__ == "__main__":
    main()
