"""The results of a sweep, read from its job folders: one entry per configuration, with its scores by seed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # the parser that OmegaConf uses

from foundation.command_line import unquoted
from foundation.errors import UserError
from foundation.files import read_json

# A configuration: the model's name, and the other overridden keys with their values, sorted by key.
Configuration = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Entry:
    """One configuration: the metrics of its finished jobs by seed, and the number of jobs without a score."""

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
            entry.runs[seed] = metrics  # a seed that ran twice counts once, because it is not a second sample
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
    """The metrics of a job; None if it failed, has not finished, or its file cannot be read."""
    try:
        metrics = read_json(job / "metrics.json")
    except UserError:
        return None
    return metrics if isinstance(metrics, dict) else None


def _overrides(job: Path) -> dict[str, str]:
    """The overrides of the job's command line, key -> value; `+key=value` and `key=value` are the same."""
    listed = _load(job / ".hydra" / "overrides.yaml")
    found = {}
    for override in listed if isinstance(listed, list) else []:
        key, equals, value = str(override).partition("=")
        found[key.lstrip("+~")] = unquoted(value) if equals else "(removed)"
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
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return None
