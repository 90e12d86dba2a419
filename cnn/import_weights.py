"""`python -m cnn.import_weights weights=FILE output=FOLDER`: weights of PyTorch or Keras as a network of ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from cnn.assembly import groups, ops_of, require_int, to_container
from cnn.exporting.formats import Export, export_network
from cnn.exporting.opening import portable
from cnn.importing.check import check_torch
from cnn.importing.keras_weights import read_keras
from cnn.importing.matching import converted, match
from cnn.importing.modules import Module, Weights
from cnn.importing.torch_weights import read_pt, read_safetensors
from cnn.models import build_model
from cnn.models.summary import summary_line
from cnn.training.loop import TrainerSettings
from foundation.config import load_choice
from foundation.entry import entry
from foundation.errors import UserError
from foundation.schema import UNSET
from foundation.screen import screen

_READERS = {
    ".safetensors": read_safetensors,
    **dict.fromkeys((".pt", ".pth", ".bin"), read_pt),
    **dict.fromkeys((".keras", ".h5", ".hdf5"), read_keras),
}


@dataclass
class ImportSettings:
    """The options outside the groups."""

    weights: str = UNSET
    output: str = UNSET
    classes: list[str] | None = None
    image_size: int = 48
    channels: int = 1
    names: dict[str, str] = field(default_factory=dict)
    divisor: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None


@entry("import_weights", groups("backend", top=ImportSettings))
def main(config: DictConfig) -> None:
    """Write the folder, and print which module of the file became which node."""
    path, output, ops = Path(config.weights), Path(config.output), ops_of(config)
    if path.suffix.lower() not in _READERS:
        raise UserError(f"weights={path}: known are files that end in {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"weights={path}: there is no such file")
    weights = _READERS[path.suffix.lower()](path)
    classes = list(weights.classes or ()) if config.classes is None else list(config.classes)
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UserError("classes=[...] is missing: the file does not say what its outputs are; name them, in its order")
    size, channels = require_int(config, "image_size", 1), require_int(config, "channels", 1)
    chosen = to_container(config.model)
    model = build_model(chosen, ops, (size, size, channels), len(classes), 0)
    matched = match(model.graph, weights, config.names)
    tensors = converted(model, weights, matched)
    scale, offset = _scaling(config, weights, channels)
    network = portable(
        tensors,
        {
            "model": chosen,
            "classes": classes,
            "image_shape": [size, size, channels],
            "pixel_scale": scale,
            "pixel_offset": offset,
            "pack_hash": None,
            "seed": 0,
            "epoch": 0,
            "imported": path.name,
            **{group: load_choice(group, name) for group, name in _RECIPE.items()},
            "trainer": asdict(TrainerSettings()),
        },
        ops,
        {},
    )
    _print(matched, len(tensors))
    parity = check_torch(network, matched, weights.channels_first) if weights.library == "torch" else None
    if parity is not None:
        print(f"Compared: {parity}.")
    else:
        print(
            f"Not compared with {weights.library}: the numbers are converted as documented, but nothing has run them."
        )
    export_network(network, output, Export("safetensors"))
    print(f"{summary_line(network.model)}\nWritten to {output}, which the commands take as run={output}")


_RECIPE = {"optimizer": "adam", "schedule": "constant", "augment": "none"}  # of a later training from Python


def _scaling(config: DictConfig, weights: Weights, channels: int) -> tuple[list[float], list[float]]:
    """Scale and offset of pixels per channel, by the options, else by the file, else pixels / 255."""
    given = config.divisor, config.mean, config.std
    if all(each is None for each in given):
        if weights.scale is not None and weights.offset is not None:
            return _each(weights.scale, channels, "its scaling"), _each(weights.offset, channels, "its scaling")
        print("Pixels are divided by 255: the file does not say how they are scaled; divisor, mean and std do.")
    divisor = 255.0 if config.divisor is None else float(config.divisor)
    mean = np.array(_each([0.0] if config.mean is None else config.mean, channels, "mean"))
    std = np.array(_each([1.0] if config.std is None else config.std, channels, "std"))
    if not divisor > 0 or not (std > 0).all():
        raise UserError("divisor and std must be above 0")
    return (1 / (divisor * std)).tolist(), (-mean / std).tolist()


def _each(numbers: Any, channels: int, name: str) -> list[float]:
    """A number for each channel, from as many or one."""
    found = [float(number) for number in numbers]
    if len(found) not in (1, channels):
        raise UserError(f"{name} has {len(found)} numbers, and the images have {channels} channels")
    return found * channels if len(found) == 1 else found


def _print(matched: dict[str, Module], tensors: int) -> None:
    table = Table("node", "module of the file", "shape of its first tensor")
    for node, module in matched.items():
        shape = next(iter(module.tensors.values())).shape
        table.add_row(Text(node), Text(module.name), " x ".join(map(str, shape)))
    screen().print(table)
    print(f"{tensors} tensors")


if __name__ == "__main__":
    main()
