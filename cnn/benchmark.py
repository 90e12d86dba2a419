"""`python -m cnn.benchmark`: training steps and their kernels, timed beside the machine's ceilings and PyTorch."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from cnn.assembly import ops_of
from cnn.backends import Ops
from cnn.benchmarking.ceilings import CeilingSizes, measure_ceilings
from cnn.benchmarking.cells import Bench
from cnn.benchmarking.clock import Clock, clock_of
from cnn.benchmarking.models import model_config
from cnn.benchmarking.pytorch import torch_facts, torch_missing
from cnn.benchmarking.report import clean, markdown, remarks, terminal_table
from cnn.benchmarking.settings import BenchmarkSettings
from cnn.reporting.provenance import collect_provenance
from foundation.entry import entry, typed
from foundation.files import write_json, write_text


@entry("benchmark")
def main(config: DictConfig) -> None:
    """Measure, print one table, and leave `benchmark.json` and `benchmark.md` in the run's folder."""
    hydra = HydraConfig.get()
    ops = ops_of(config)
    command = " ".join(["python -m cnn.benchmark", *hydra.overrides.task])
    folder = Path(hydra.runtime.output_dir)
    record = run(config, ops, clock_of(ops), folder, command)
    # Into a file or a pipe the table goes unwrapped.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(terminal_table(record))
    for line in remarks(record):
        console.print(line, markup=False, highlight=False)
    print(os.path.relpath(folder / "benchmark.md"))


def run(
    config: DictConfig, ops: Ops, clock: Clock, folder: Path, command: str, sizes: CeilingSizes | None = None
) -> dict[str, Any]:
    """Every model at every batch size. The files are written anew after each, so that a run cut short has its part."""
    settings = typed(config, "benchmark", BenchmarkSettings)
    for name in settings.models:
        model_config(name)  # a name that is wrong shall not end the run half-way
    provenance = collect_provenance()
    sizes = sizes or (CeilingSizes.quick() if settings.quick else CeilingSizes())
    ceilings, figures = measure_ceilings(ops, clock, sizes)
    bench = Bench(config, settings, ops, clock, ceilings)
    about: dict[str, Any] = {"command": command, "provenance": provenance}
    if settings.torch and not torch_missing():
        about["torch"] = torch_facts()
    cells: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for name, batch in itertools.product(settings.models, settings.batch_sizes):
        cells.append(bench.cell(name, batch))
        record = clean(about | bench.record(cells, figures))
        write_json(folder / "benchmark.json", record)
        write_text(folder / "benchmark.md", markdown(record))
    return record


if __name__ == "__main__":
    main()
