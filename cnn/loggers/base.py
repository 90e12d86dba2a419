"""What a logger is: it is told of the beginning of a run, of each epoch, and of the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunRecord:
    """The run that is logged."""

    folder: Path
    config: Mapping[str, Any]  # composed, as plain mappings and lists
    epoch: int = 0  # the last one that an interrupted run has trained; 0 for a new run
    known_as: str | None = None  # the id that the logger gave the run before the interruption

    @property
    def name(self) -> str:
        """A short name: the model, the data and the folder."""
        parts = [str(self.config.get(group, {}).get("name", "")) for group in ("model", "data")]
        return " ".join(filter(None, [*parts, "/".join(self.folder.absolute().parts[-2:])]))


class Logger(ABC):
    """Follows one run. What it raises after `begin` ends the logging and not the training."""

    name: str  # as in `logger=NAME`

    @abstractmethod
    def begin(self, run: RunRecord) -> str | None:
        """Begin, or go on after `run.epoch`. Returns an id by which the run is found again, None without any."""

    @abstractmethod
    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch has ended: the row of `metrics.csv`, with `epoch` from 1."""

    @abstractmethod
    def end(self, scores: Mapping[str, float], figures: Mapping[str, Path], epoch: int) -> None:
        """The run is finished: its scores, and PNG files by name. `epoch` is the one that was scored."""

    @abstractmethod
    def close(self, state: str) -> None:
        """Nothing follows; the run is `finished`, `interrupted` or `failed`."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The options of a nested config by their full names: `trainer.epochs`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
