"""`data.path`: what was left out of the config is found out at that path and written into the config."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from data_tools.sources.detect import detect
from data_tools.sources.detected import Detected, named
from foundation.errors import UserError

# Keys of `data` that are found out if they are null.
FOUND = (
    "name",
    "root",
    "image_size",
    "channels",
    "classes",
    "sources",
)

SMALLEST_SIDE = 16  # of a pack whose size nobody chose: the default network needs 12


def fill_in(config: DictConfig, say: Callable[[str], object] = print) -> None:
    """Set the keys of `config.data` that are null by looking at `config.data.path`, and say what was found.

    Does nothing if `data` has no path, or if nothing is null, as in the recorded config of a run. Raises `UserError`
    for a path without images, and for images without labels.
    """
    data = config.data
    if "path" not in data or all(data[key] is not None for key in FOUND):
        return
    if data.path is None:
        raise UserError("data.path=PATH is missing: the folder, archive or table with your images")
    for key in ("root", "sources"):
        if data[key] is not None:
            raise UserError(f"data.{key} is not used by data=folder: data.path says where the images are")
    path = Path(str(data.path)).expanduser()
    given = data.classes
    found = detect(path, None if given is None else [str(name) for name in given])
    for line in found.lines:
        say(line)
    if not found.classes:
        raise UserError(
            f"{path} names no classes: put the images of each class into a folder of its own, or list them in a CSV "
            "path,label"
        )
    if len(found.classes) < 2 and given is None:
        raise UserError(f"{path} has one class only, {found.classes[0]}: a classifier needs at least two")
    values = values_for(path, found)
    if found.image_size < SMALLEST_SIDE and data.image_size is None:
        values["image_size"] = SMALLEST_SIDE
        say(f"They are enlarged to {SMALLEST_SIDE} x {SMALLEST_SIDE}, because most networks need that; else give "
            "data.image_size.")  # fmt: skip
    _set(config, values)


def values_for(path: Path, found: Detected) -> dict[str, Any]:
    """The keys of `data` for what was found at `path`."""
    whole, name = named(path), name_for(path)
    return {
        "name": name,
        "root": str(whole.parent),
        "image_size": found.image_size,
        "channels": found.channels,
        "classes": list(found.classes),
        "sources": {name: found.config},
    }


def name_for(path: Path) -> str:
    """The name of the data set at `path`."""
    return re.sub(r"[^\w-]+", "_", named(path).name.partition(".")[0]).strip("_") or "images"


def recall(config: DictConfig, descriptions: Iterable[Mapping[str, Any]]) -> bool:
    """Set the keys of `config.data` that are null to those of the packs of the same name, if these agree.

    For a machine without the images: `descriptions` are the packs that are there. Returns whether the keys are set.
    """
    data = config.data
    if data.get("path") is None:
        return False
    path = Path(str(data.path)).expanduser()
    name = data.name or name_for(path)
    found: list[dict[str, Any]] = []
    for description in descriptions:
        recorded = description["options"]["data"]
        given = all(data[key] in (None, recorded.get(key)) for key in FOUND if key not in ("root", "sources"))
        if description.get("name") == name and given and recorded not in found:
            found.append(recorded)
    if len(found) != 1:
        return False
    _set(config, {**{key: found[0][key] for key in FOUND if key in found[0]}, "root": str(named(path).parent)})
    return True


def _set(config: DictConfig, values: dict[str, Any]) -> None:
    with open_dict(config):
        for key, value in values.items():
            if config.data[key] is None:
                config.data[key] = value
