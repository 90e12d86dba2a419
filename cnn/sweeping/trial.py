"""A job's own view of the search that it belongs to: it reports each epoch, and learns whether to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.reporting.sweeps import PRUNED
from foundation.command_line import quote
from foundation.files import write_json

if TYPE_CHECKING:
    from optuna.trial import Trial as OptunaTrial

_VARIABLE = "CNN_TRIAL"  # in the environment of the job: number and path of the journal


class Pruned(Exception):
    """Raised by `Trial.report` if the search stops the run."""


class Trial:
    """A trial of the search."""

    def __init__(self, journal: Path, number: int) -> None:
        self._journal, self._number = journal, number
        self._loaded: OptunaTrial | None = None

    @classmethod
    def of_this_job(cls) -> Trial | None:
        """The trial that the environment names, None outside of a search."""
        number, _, journal = os.environ.get(_VARIABLE, "").partition(" ")
        return cls(Path(journal), int(number)) if journal else None

    def report(self, row: Mapping[str, Any]) -> None:
        """Report the validation accuracy of an epoch. Raises `Pruned` if the search stops the run."""
        if self._loaded is None:
            from cnn.sweeping.study import load_trial  # noqa: PLC0415

            self._loaded = load_trial(self._journal, self._number)
        step = int(row["epoch"]) - 1
        if step not in self._loaded.study.trials[self._number].intermediate_values:  # it is after an interruption
            self._loaded.report(row["val_accuracy"], step)
        if self._loaded.should_prune():
            raise Pruned


def override_for(journal: Path, number: int) -> str:
    """The override that makes a job that trial, with whatever launcher."""
    return f"+hydra.job.env_set.{_VARIABLE}={quote(f'{number} {journal}')}"


def write_pruned(folder: Path, epoch: int, accuracy: float) -> None:
    """Mark the run in `folder` as stopped after `epoch`; its test split is not scored."""
    write_json(folder / PRUNED, {"epoch": epoch, "val_accuracy": accuracy})
