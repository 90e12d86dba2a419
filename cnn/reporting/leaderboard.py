"""The leaderboard of a sweep: one row per configuration, mean and deviation over its seeds.

`python -m cnn.reporting.leaderboard FOLDER` rewrites one by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from cnn.reporting.sweeps import Entry, overridden_keys, read_entries
from foundation.csv_cells import cell
from foundation.errors import UserError
from foundation.files import write_text
from foundation.progress import Pulse


class Leaderboard(Callback):
    """Hydra callback that rewrites the leaderboard of a sweep after each job, so that a failed job does not lose it.

    It also tells how many jobs are done, and the time that the others take at that rate, unless they are quick.
    """

    def __init__(self) -> None:
        self._pulse, self._done = Pulse(sys.stdout), 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called before the first job."""
        self._pulse.begin("jobs of the sweep", job_count(list(config.hydra.overrides.task)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called after each job, also after one that failed."""
        if config.hydra.mode == RunMode.MULTIRUN:
            self._done += 1
            self._pulse.update(self._done)
            # The job may have changed the working directory (hydra.job.chdir); the sweep's is relative to the start.
            write_leaderboard(Path(config.hydra.runtime.cwd) / config.hydra.sweep.dir, plot=False)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called when all jobs are done: the plot, which takes longer than the rest, is drawn once."""
        show_leaderboard(Path(config.hydra.runtime.cwd) / config.hydra.sweep.dir)


def job_count(overrides: Sequence[str]) -> int:
    """The number of jobs of a sweep over all combinations; 0 if it cannot be told."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        sweeps = [override for override in parsed if override.is_sweep_override()]
        return math.prod(sum(1 for _ in sweep.sweep_string_iterator()) for sweep in sweeps)
    except (HydraException, ValueError):
        return 0


def write_leaderboard(sweep_dir: Path, plot: bool = True) -> list[Entry]:
    """Write `leaderboard.csv`, `.html` and, with `plot`, `.png` into `sweep_dir`; returns the entries, best first."""
    entries = read_entries(sweep_dir)
    write_text(sweep_dir / "leaderboard.csv", _as_csv(entries))
    # Imported here, because every command loads this module as a callback and only a sweep needs plot and page.
    if plot:
        from cnn.reporting.leaderboard_plot import plot_leaderboard  # noqa: PLC0415

        plot_leaderboard(entries, sweep_dir / "leaderboard.png")
    from cnn.reporting.leaderboard_page import write_page  # noqa: PLC0415

    write_page(entries, sweep_dir)
    return entries


def show_leaderboard(sweep_dir: Path) -> None:
    """Write the leaderboard of a sweep and print it, with the path of its page; nothing if there is no job yet."""
    with contextlib.suppress(UserError):
        _show(sweep_dir)


def _show(sweep_dir: Path) -> None:
    from cnn.reporting.leaderboard_page import PAGE  # noqa: PLC0415
    from cnn.reporting.leaderboard_table import print_leaderboard  # noqa: PLC0415

    print_leaderboard(write_leaderboard(sweep_dir))
    print(f"leaderboard: {os.path.relpath(sweep_dir / PAGE)}")


def _as_csv(entries: Sequence[Entry]) -> str:
    keys = overridden_keys(entries)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = ("val_accuracy", "test_accuracy")
    writer.writerow(
        ["model", *map(cell, keys), "parameters", "seeds"]
        + [f"{score}_{statistic}" for score in scores for statistic in ("mean", "std")]
        + ["macro_f1_mean", "seconds_mean", "images_per_second_mean", "failed"]
    )
    for entry in entries:
        parameters = entry.mean("parameters")
        row: list[Any] = [entry.model, *(entry.overrides.get(key, "") for key in keys)]
        row += ["" if parameters is None else round(parameters), len(entry.runs)]
        for score in scores:
            row += [_rounded(entry.mean(score), 6), _rounded(entry.deviation(score), 6)]
        row += [_rounded(entry.mean("macro_f1"), 6), _rounded(entry.mean("seconds"), 1)]
        row += [_rounded(entry.mean("images_per_second"), 1), entry.failed]
        writer.writerow(map(cell, row))
    return text.getvalue()


def _rounded(value: float | None, digits: int) -> str:
    return "" if value is None else str(round(value, digits))


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the leaderboard of a sweep folder and print it."""
    parser = argparse.ArgumentParser(prog="python -m cnn.reporting.leaderboard", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the folder of a sweep")
    folder = parser.parse_args(arguments).folder
    try:
        _show(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
