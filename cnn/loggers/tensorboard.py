"""`logger=tensorboard`: files for TensorBoard, by tensorboardX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]  # comes with OmegaConf
from PIL import Image

from cnn.loggers.base import Logger, RunRecord
from cnn.loggers.settings import TensorboardSettings
from foundation.extras import needed

# Curves of one kind in one diagram.
_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
}


class TensorboardLogger(Logger):
    """Writes the folder `tensorboard` of the run; `tensorboard --logdir runs` shows all runs."""

    name = "tensorboard"

    def __init__(self, settings: TensorboardSettings) -> None:
        """Raises `UserError` without tensorboardX."""
        self._settings = settings
        self._package = needed("tensorboardX", "logger=tensorboard", "tensorboard")

    def begin(self, run: RunRecord) -> None:
        """Open the files. What an interrupted run has written after its checkpoint is not shown."""
        above = self._settings.folder
        folder = run.folder / "tensorboard" if above is None else Path(above).expanduser() / run.folder.name
        purge: dict[str, Any] = {"purge_step": run.epoch + 1} if run.epoch else {}
        # tensorboardX names a file by the second: one of a run that is resumed at once would replace the one before.
        self._writer = self._package.SummaryWriter(str(folder), filename_suffix=f".{run.epoch:06d}", **purge)
        text = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
        self._writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()), run.epoch)

    def epoch(self, row: Mapping[str, float]) -> None:
        """A point of each curve."""
        for key, value in row.items():
            if key != "epoch":
                self._writer.add_scalar(_TAGS.get(key, key), value, int(row["epoch"]))
        self._writer.flush()

    def end(self, scores: Mapping[str, float], figures: Mapping[str, Path], epoch: int) -> None:
        """The scores under `score/`, and the figures as images."""
        for key, value in scores.items():
            self._writer.add_scalar(f"score/{key}", value, epoch)
        for name, path in figures.items():
            with Image.open(path) as image:
                self._writer.add_image(name, np.asarray(image.convert("RGB")), epoch, dataformats="HWC")

    def close(self, state: str) -> None:
        """Close the files."""
        self._writer.close()
