"""The leaderboard of a sweep: one row per configuration, mean and deviation over its seeds.

`python -m cnn.reporting.leaderboard FOLDER` rewrites one by hand.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # the parser that OmegaConf stands on

from foundation.errors import UserError
from foundation.files import read_json, write_text

# A configuration: the model's name, and the other overridden keys with their values, sorted by key.
Configuration = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Entry:
    """One configuration: what its finished jobs scored, by seed, and how many jobs have no score."""

    model: str
    overrides: dict[str, str]
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # seed -> metrics.json
    failed: int = 0

    def values(self, key: str) -> list[float]:
        """The value of `key` for each seed that has one."""
        found = (run.get(key) for run in self.runs.values())
        return [float(value) for value in found if isinstance(value, int | float)]

    def mean(self, key: str) -> float | None:
        """The mean over the seeds, None without any."""
        values = self.values(key)
        return statistics.fmean(values) if values else None

    def deviation(self, key: str) -> float | None:
        """The sample standard deviation over the seeds (n - 1), None for fewer than two."""
        values = self.values(key)
        return statistics.stdev(values) if len(values) > 1 else None


class Leaderboard(Callback):
    """Hydra callback that rewrites the sweep's leaderboard after each job, so that a failing job does not cost it."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called after each job, also after one that failed."""
        if config.hydra.mode == RunMode.MULTIRUN:
            # The job may have changed the working directory (hydra.job.chdir); the sweep's is relative to the start.
            write_leaderboard(Path(config.hydra.runtime.cwd) / config.hydra.sweep.dir)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called when all jobs are done: with a parallel launcher, the last writer may not have seen every job."""
        write_leaderboard(Path(config.hydra.runtime.cwd) / config.hydra.sweep.dir)


def write_leaderboard(sweep_dir: Path) -> list[Entry]:
    """Write `leaderboard.csv` and `leaderboard.png` into `sweep_dir`, and return the entries, best first."""
    entries = read_entries(sweep_dir)
    write_text(sweep_dir / "leaderboard.csv", _as_csv(entries))
    if any(entry.runs for entry in entries):
        # Here and not above: every command loads this module as a callback, only a sweep needs the picture.
        from cnn.reporting.leaderboard_plot import plot_leaderboard  # noqa: PLC0415

        plot_leaderboard(entries, sweep_dir / "leaderboard.png")
    return entries


def read_entries(sweep_dir: Path) -> list[Entry]:
    """The configurations of a sweep, best validation accuracy first (the test split selects nothing)."""
    entries: dict[Configuration, Entry] = {}
    for job in _job_folders(sweep_dir):
        overrides = _overrides(job)
        metrics = _metrics(job)
        seed = overrides.pop("seed", None) or str((metrics or {}).get("seed", job.name))
        model = overrides.pop("model", None) or _chosen_model(job) or str((metrics or {}).get("model", ""))
        entry = entries.setdefault((model, tuple(sorted(overrides.items()))), Entry(model, overrides))
        if metrics is None:
            entry.failed += 1
        else:
            entry.runs[seed] = metrics  # a seed that ran twice counts once: it is no second sample
    if not entries:
        raise UserError(f"{sweep_dir} has no job folders: a leaderboard is made of the folder of a sweep")
    return sorted(entries.values(), key=_rank)


def varying_keys(entries: Sequence[Entry]) -> list[str]:
    """The overridden keys whose value is not the same in all entries."""
    return [key for key in _keys(entries) if len({entry.overrides.get(key) for entry in entries}) > 1]


def _rank(entry: Entry) -> tuple[bool, float]:
    accuracy = entry.mean("val_accuracy")
    return (accuracy is None, -(accuracy or 0.0))


def _keys(entries: Sequence[Entry]) -> list[str]:
    return sorted({key for entry in entries for key in entry.overrides})


def _as_csv(entries: Sequence[Entry]) -> str:
    keys = _keys(entries)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = ("val_accuracy", "test_accuracy")
    writer.writerow(
        ["model", *keys, "parameters", "seeds"]
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
        writer.writerow(row)
    return text.getvalue()


def _rounded(value: float | None, digits: int) -> str:
    return "" if value is None else str(round(value, digits))


def _job_folders(sweep_dir: Path) -> Iterator[Path]:
    """Folders of jobs one or two levels down (`sweep.subdir` may contain a slash)."""
    for folder in _subfolders(sweep_dir):
        if _is_job(folder):
            yield folder
        else:
            yield from filter(_is_job, _subfolders(folder))


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_job(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("metrics.json", "error.txt", ".hydra"))


def _metrics(job: Path) -> dict[str, Any] | None:
    """The job's scores; None if it has none: it failed, has not finished, or left a file that cannot be read."""
    try:
        metrics = read_json(job / "metrics.json")
    except UserError:
        return None
    return metrics if isinstance(metrics, dict) else None


def _overrides(job: Path) -> dict[str, str]:
    """What the job's command line set, key -> value; `+key=value` and `key=value` count as the same."""
    listed = _load(job / ".hydra" / "overrides.yaml")
    found = {}
    for override in listed if isinstance(listed, list) else []:
        key, equals, value = str(override).partition("=")
        found[key.lstrip("+~")] = value if equals else "(removed)"
    return found


def _chosen_model(job: Path) -> str | None:
    """The model that the config chose where the command line did not name one."""
    composed = _load(job / ".hydra" / "hydra.yaml")
    try:
        return str(composed["hydra"]["runtime"]["choices"]["model"])
    except (KeyError, TypeError):
        return None


def _load(path: Path) -> Any:
    """A YAML file as plain lists and dictionaries, interpolations left as they stand; None if unreadable."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the leaderboard of a sweep folder and print it."""
    parser = argparse.ArgumentParser(prog="python -m cnn.reporting.leaderboard", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the folder of a sweep")
    folder = parser.parse_args(arguments).folder
    try:
        write_leaderboard(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print((folder / "leaderboard.csv").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
