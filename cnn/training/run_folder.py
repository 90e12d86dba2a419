"""Where the network of a folder is: of a run, of `Classifier.save`, or of a model that was exported to share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnn.training.checkpoint import BEST, Tensors, load_checkpoint
from foundation.errors import UserError
from foundation.plain_config import config_dir

MODEL = "model.safetensors"  # the network of an exported folder
ZOO = "zoo"  # the folder of networks that come with the project


def run_folder(given: Path) -> Path:
    """The folder `given`; for zoo/NAME, if there is no such folder, that of the network that comes with us."""
    if not given.exists() and not given.is_absolute() and len(given.parts) == 2 and given.parts[0] == ZOO:
        bundled = config_dir().parent / ZOO / given.parts[1]
        if bundled.is_dir():
            return bundled
    return given


def network_file(folder: Path) -> Path:
    """The file of the network in `folder` or zoo/NAME: the best epoch of a run, else that of an exported folder."""
    folder = run_folder(folder)
    shared = folder / MODEL
    return shared if shared.is_file() and not (folder / BEST).exists() else folder / BEST


def open_folder(given: Path, shown: str) -> tuple[Path, Path, Tensors, dict[str, Any]]:
    """The folder itself, the file of its network, and the tensors and metadata in it.

    `shown` is how a message calls the folder. Raises `UserError` if it is missing, and for a missing or damaged file.
    """
    folder = run_folder(given)
    if not folder.is_dir():
        raise UserError(f"{shown}: there is no such folder")
    path = network_file(folder)
    return folder, path, *load_checkpoint(path)
