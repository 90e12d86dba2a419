"""`logger=wandb`: a run of Weights & Biases, online or in files for `wandb sync`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cnn.loggers.base import Logger, RunRecord
from cnn.loggers.settings import WandbSettings
from foundation.extras import needed


class WandbLogger(Logger):
    """Sends the curves, the scores and the figures; no code, no console output and nothing about the machine."""

    name = "wandb"

    def __init__(self, settings: WandbSettings) -> None:
        """Raises `UserError` without wandb."""
        self._settings = settings
        self._package = needed("wandb", "logger=wandb", "wandb")

    def begin(self, run: RunRecord) -> str:
        """Begin a run, or reopen that of `run.known_as`."""
        self._run = self._package.init(
            project=self._settings.project,
            entity=self._settings.entity,
            mode=self._settings.mode,
            name=run.name,
            dir=str(run.folder),
            config=dict(run.config),
            id=run.known_as,
            resume="allow" if run.known_as else None,
            reinit="create_new",
            save_code=False,
            settings=self._package.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True,
                x_disable_machine_info=True,
            ),
        )  # fmt: skip
        return str(self._run.id)

    def epoch(self, row: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._run.log(dict(row), step=int(row["epoch"]))

    def end(self, scores: Mapping[str, float], figures: Mapping[str, Path], epoch: int) -> None:
        """The scores as the run's summary, the figures as images."""
        self._run.summary.update(dict(scores))
        self._run.log({name: self._package.Image(str(path)) for name, path in figures.items()})

    def close(self, state: str) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if state == "finished" else 1)
