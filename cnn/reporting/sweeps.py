"""The results of a sweep, read from its job folders: one entry per configuration, with its scores by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.command_line import unquoted
from foundation.errors import UserError
from foundation.files import read_json
from foundation.strict_yaml import read_yaml

METRICS = "metrics.json"  # of a finished run; written last
PRUNED = "pruned.json"  # of a run that a search has stopped
ERROR = "error.txt"  # of a job that failed

# A configuration: the model's name, and the other overridden keys with their values, sorted by key.
Configuration = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Entry:
    """One configuration: the metrics of its finished jobs by seed, and the number of jobs without a score."""

    model: str
    overrides: dict[str, str]
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # seed -> metrics.json
    folders: dict[str, Path] = field(default_factory=dict)  # seed -> the folder of that run
    failed: int = 0
    pruned: list[dict[str, Any]] = field(default_factory=list)  # pruned.json of the jobs that a search has stopped

    def values(self, key: str) -> list[float]:
        """The value of `key` for each seed that has a finite one."""
        found = (run.get(key) for run in self.runs.values())
        return [float(value) for value in found if isinstance(value, int | float) and math.isfinite(value)]

    def mean(self, key: str) -> float | None:
        """The mean over the seeds, None without any."""
        values = self.values(key)
        return statistics.fmean(values) if values else None

    def deviation(self, key: str) -> float | None:
        """The sample standard deviation over the seeds (n - 1), None for fewer than two."""
        values = self.values(key)
        return statistics.stdev(values) if len(values) > 1 else None


def read_entries(sweep_dir: Path) -> list[Entry]:
    """The configurations of a sweep, best validation accuracy first (the test split selects nothing)."""
    entries: dict[Configuration, Entry] = {}
    for job in job_folders(sweep_dir):
        overrides = read_overrides(job) or {}
        metrics, pruned = _record(job, METRICS), _record(job, PRUNED)
        seed = overrides.pop("seed", None) or str((metrics or {}).get("seed", job.name))
        model = overrides.pop("model", None) or _chosen_model(job) or str((metrics or {}).get("model", ""))
        entry = entries.setdefault((model, tuple(sorted(overrides.items()))), Entry(model, overrides))
        if metrics is not None:
            entry.runs[seed] = metrics  # a seed that ran twice counts once, because it is not a second sample
            entry.folders[seed] = job
        elif pruned is not None:
            entry.pruned.append(pruned)
        else:
            entry.failed += 1
    if not entries:
        raise UserError(f"{sweep_dir} has no job folders; a leaderboard needs the folder of a sweep")
    return sorted(entries.values(), key=_rank)


def varying_keys(entries: Sequence[Entry]) -> list[str]:
    """The overridden keys whose value is not the same in all entries."""
    return [key for key in overridden_keys(entries) if len({entry.overrides.get(key) for entry in entries}) > 1]


def _rank(entry: Entry) -> tuple[bool, float]:
    accuracy = entry.mean("val_accuracy")
    return (accuracy is None, -(accuracy or 0.0))


def overridden_keys(entries: Sequence[Entry]) -> list[str]:
    """Every overridden key of any entry, sorted."""
    return sorted({key for entry in entries for key in entry.overrides})


def state_of(job: Path) -> str:
    """What became of a job: finished, pruned, failed, or begun."""
    marks = {METRICS: "finished", PRUNED: "pruned", ERROR: "failed"}
    return next((state for name, state in marks.items() if (job / name).exists()), "begun")


def job_folders(sweep_dir: Path) -> Iterator[Path]:
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
    return any((folder / name).exists() for name in (METRICS, PRUNED, ERROR, ".hydra"))


def _record(job: Path, name: str) -> dict[str, Any] | None:
    """The file `name` of a job; None if it is not there or cannot be read."""
    try:
        record = read_json(job / name)
    except UserError:
        return None
    return record if isinstance(record, dict) else None


def read_overrides(job: Path) -> dict[str, str] | None:
    """The overrides of the job's command line, key -> value; `+key=value` and `key=value` are the same.

    None if they cannot be read.
    """
    listed = _load(job / ".hydra" / "overrides.yaml")
    return options_of(map(str, listed)) if isinstance(listed, list) else None


def options_of(overrides: Iterable[str]) -> dict[str, str]:
    """What overrides set, key -> value without quotes; `+key=value` and `key=value` are the same.

    Not among them are Hydra's own options, and `resume`, which says how a job is continued and not what it is.
    """
    found = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.lstrip("+~")
        if key != "resume" and not key.startswith(("hydra.", "hydra/")):
            found[key] = unquoted(value) if equals else "(removed)"
    return found


def _chosen_model(job: Path) -> str | None:
    """The model that the config chose if the command line did not name one."""
    composed = _load(job / ".hydra" / "hydra.yaml")
    try:
        return str(composed["hydra"]["runtime"]["choices"]["model"])
    except (KeyError, TypeError):
        return None


def _load(path: Path) -> Any:
    """A YAML file as plain lists and dictionaries, interpolations unresolved; None if unreadable."""
    try:
        return read_yaml(path)
    except (OSError, UserError):
        return None
