"""`python -m cnn.predict run=FOLDER images=PATH`: class probabilities for your own images."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cnn.assembly import groups, ops_of, require_int, views_of
from cnn.finished_run import FinishedRun
from cnn.training.inference import predict_probabilities
from data_tools.reading.images import ImageError, decode, fit
from data_tools.reading.value_range import range_up_to
from data_tools.sources.class_folders import LARGEST_FILE
from foundation.csv_cells import cell
from foundation.entry import entry
from foundation.errors import UserError
from foundation.files import write_text
from foundation.schema import UNSET
from foundation.screen import Screen, screen


@dataclass
class PredictSettings:
    """The options outside the groups."""

    run: str = UNSET
    images: str = UNSET
    csv: str | None = None
    tta: str = "none"
    tta_shift: int = 2
    tta_crop: float = 0.875
    batch_size: int = 256


@entry("predict", groups("backend", top=PredictSettings))
def main(config: DictConfig) -> None:
    """Print a table: one row per image: its prediction, and the probability of each class."""
    ops, paths, views = ops_of(config), _paths(Path(config.images)), views_of(config)
    run = FinishedRun.open(Path(config.run), ops)
    *size, channels = run.image_shape
    if channels not in (1, 3):
        raise UserError(f"run={config.run}: its network sees images of {channels} channels, files hold 1 or 3")
    images, names, refused = [], [], []
    range_ = range_up_to(run.value_top)  # images of more than 8 bits are as bright as in training
    for path in paths:
        if path.stat().st_size > LARGEST_FILE:
            refused.append(f"{path}: file larger than {LARGEST_FILE >> 20} MiB")
            continue
        try:
            images.append(fit(decode(path.read_bytes(), range_), (size[0], size[1]), channels))
            names.append(str(path))
        except ImageError as error:
            refused.append(f"{path}: {error}")
    for line in refused:
        print(f"set aside: {line}")
    if not images:
        raise UserError(f"images={config.images}: none of {len(refused)} files could be read as an image")
    probabilities = predict_probabilities(
        run.model,
        ops.array(np.stack(images)),
        run.batches,
        require_int(config, "batch_size", 1),
        views=views.views((size[0], size[1])),
    )
    table = Table("image", "prediction", *map(escape, run.classes))
    for name, row in zip(names, probabilities, strict=True):
        table.add_row(Text(name), Text(run.classes[int(row.argmax())], "bold"), *(f"{p:.3f}" for p in row))
    # In a pipe or file the table is so wide that long names are not cut.
    console = screen() if screen().is_terminal else Screen(width=1000)
    console.print(table)
    if config.csv is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "prediction", *map(cell, run.classes)])
        for name, row in zip(names, probabilities, strict=True):
            writer.writerow([cell(name), cell(run.classes[int(row.argmax())]), *map(float, row)])
        write_text(Path(config.csv), text.getvalue())


def _paths(given: Path) -> list[Path]:
    """The file itself, or the files directly in a folder, hidden ones left out."""
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise UserError(f"images={given}: there is no such file or folder")
    found = sorted(path for path in given.iterdir() if path.is_file() and not path.name.startswith("."))
    if not found:
        raise UserError(f"images={given}: the folder holds no files")
    return found


if __name__ == "__main__":
    main()
