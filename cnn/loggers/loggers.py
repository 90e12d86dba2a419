"""The loggers of a run together: one that fails is dropped, and the run goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnn.loggers.base import Logger, RunRecord
from cnn.loggers.settings import LoggerSettings
from foundation.errors import UserError
from foundation.files import read_json, write_json

_IDS = "loggers.json"  # in the run's folder: how each logger finds the run again
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)  # the folder may be from a stranger
_FIGURES = {
    "learning_curves": "curves.png",
    "confusion_matrix": "confusion_matrix.png",
    "predictions": "predictions.png",
}


class Loggers:
    """Any number of loggers."""

    def __init__(self, loggers: list[Logger]) -> None:
        self._loggers = loggers

    @classmethod
    def of(cls, settings: LoggerSettings) -> Loggers:
        """The loggers that are chosen. Raises `UserError` for one whose package is not installed."""
        loggers: list[Logger] = []
        if settings.tensorboard is not None:
            from cnn.loggers.tensorboard import TensorboardLogger  # noqa: PLC0415

            loggers.append(TensorboardLogger(settings.tensorboard))
        if settings.mlflow is not None:
            from cnn.loggers.mlflow import MlflowLogger  # noqa: PLC0415

            loggers.append(MlflowLogger(settings.mlflow))
        if settings.wandb is not None:
            from cnn.loggers.wandb import WandbLogger  # noqa: PLC0415

            loggers.append(WandbLogger(settings.wandb))
        return cls(loggers)

    @contextmanager
    def following(
        self,
        folder: Path,
        config: Mapping[str, Any],
        epoch: int = 0,
        early: tuple[type[BaseException], ...] = (KeyboardInterrupt,),
    ) -> Iterator[None]:
        """Log the run in `folder`, whose training has come to `epoch`, to the end of the block.

        The exceptions `early` interrupt a run, others are its failure. Raises `UserError` if a logger cannot begin:
        better now than after the training.
        """
        state = "failed"
        try:
            self._begin(folder, config, epoch)
            yield
            state = "finished"
        except early:
            state = "interrupted"
            raise
        finally:
            self._tell(lambda logger: logger.close(state))

    def _begin(self, folder: Path, config: Mapping[str, Any], epoch: int) -> None:
        ids = _recorded(folder) if epoch else {}
        begun: dict[str, str] = {}
        for place, logger in enumerate(self._loggers):
            try:
                known = logger.begin(RunRecord(folder, config, epoch, ids.get(logger.name)))
            except Exception as error:
                del self._loggers[place:]  # the others are closed
                raise UserError(f"logger={logger.name} cannot begin: {type(error).__name__}: {error}") from error
            if known is not None:
                begun[logger.name] = known
        if begun:
            write_json(folder / _IDS, begun)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch has ended."""
        numbers = _numbers(row)
        self._tell(lambda logger: logger.epoch(numbers))

    def end(self, folder: Path) -> None:
        """The run is finished: its scores and figures are in `folder`."""
        if not self._loggers:
            return
        metrics = read_json(folder / "metrics.json")
        scores = {key: value for key, value in _numbers(metrics).items() if key not in ("seed", "epochs")}
        figures = {name: folder / file for name, file in _FIGURES.items() if (folder / file).is_file()}
        self._tell(lambda logger: logger.end(scores, figures, int(metrics["best_epoch"])))

    def _tell(self, tell: Callable[[Logger], None]) -> None:
        for logger in [*self._loggers]:
            try:
                tell(logger)
            except Exception as error:  # a full disk, a lost connection: the training is worth more
                self._loggers.remove(logger)
                text = " ".join(str(error).split())
                print(f"logger={logger.name} stops, the run goes on: {type(error).__name__}: {text}")


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: value for key, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _recorded(folder: Path) -> dict[str, str]:
    try:
        ids = read_json(folder / _IDS)
    except UserError:
        return {}
    pairs = ids.items() if isinstance(ids, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str) and _ID.fullmatch(value)}
