"""The packs in a folder: found by their options and sources or by their content, listed, removed."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.sources.base import Fingerprint
from foundation.errors import UserError
from foundation.files import read_json

ARRAYS = ("images", "labels", "splits")


@dataclass(frozen=True)
class Found:
    """A pack: its folder and the content of its `pack.json`."""

    folder: Path
    description: dict[str, Any]

    @property
    def images(self) -> int:
        """The number of images."""
        count = self.description.get("images", 0)
        return count if isinstance(count, int) else 0

    @property
    def origin(self) -> str:
        """The folder of its sources when it was made; '' if they need none, and for a pack of an earlier version."""
        return str(self.description.get("origin", ""))


def folder_name(name: str, options_hash: str, sources: Mapping[str, Fingerprint]) -> str:
    """The name of a pack's folder: it differs for other options and for another state of the sources."""
    state = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:8]
    return f"{name}-{options_hash}-{state}"


def packs_in(pack_dir: Path) -> Iterator[Found]:
    """The packs in a folder by name, damaged ones too as long as their `pack.json` can be read."""
    folders = sorted(pack_dir.iterdir()) if pack_dir.is_dir() else []
    for folder in folders:
        if folder.name.startswith("."):
            continue
        try:
            description = read_json(folder / "pack.json")
        except (UserError, OSError):
            continue  # no pack
        if isinstance(description, dict):
            yield Found(folder, description)


def find(
    pack_dir: Path, chosen: Mapping[str, Any], sources: Mapping[str, Fingerprint] | None, origin: str
) -> Found | None:
    """The complete pack with these options and sources, None if there is none.

    With `sources` None, because they are not on this machine, the options decide, and of several packs the one that was
    made of sources in `origin`. Raises `UserError` if that leaves more than one.
    """
    fitting = [
        pack
        for pack in packs_in(pack_dir)
        if pack.description.get("options") == chosen
        and (sources is None or pack.description.get("sources") == sources)
        and is_complete(pack.folder)
    ]
    if sources is not None or len(fitting) < 2:
        return fitting[0] if fitting else None
    from_there = [pack for pack in fitting if pack.origin == origin]
    if len(from_there) == 1:
        return from_there[0]
    names = ", ".join(f"{pack.folder.name} (of {pack.origin or 'unknown origin'})" for pack in fitting)
    raise UserError(
        f"{pack_dir} holds {len(fitting)} packs with these options, and no sources are here to choose by: {names}; "
        "remove all but one, or move one to a folder of its own and give data.pack_dir"
    )


def by_content(pack_dir: Path, content_hash: str) -> Path | None:
    """The folder of the complete pack with this content; None if there is none."""
    fitting = (pack for pack in packs_in(pack_dir) if pack.description.get("content_hash") == content_hash)
    return next((pack.folder for pack in fitting if is_complete(pack.folder)), None)


def is_pack(folder: Path) -> bool:
    """Whether the folder is meant to be a pack, damaged or not."""
    return (folder / "pack.json").exists() or any((folder / f"{name}.npy").exists() for name in ARRAYS)


def is_complete(folder: Path) -> bool:
    """Whether the arrays of a pack have the sizes that their headers state."""
    try:
        for name in ARRAYS:
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return False
    return True


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def age_of(folder: Path) -> float:
    """Seconds since a pack was written."""
    return max(0.0, time.time() - (folder / "pack.json").stat().st_mtime)


def remove(pack_dir: Path, names: Sequence[str]) -> None:
    """Remove the packs of these names. Raises `UserError` before the first is removed if one is no pack there."""
    known = {pack.folder.name: pack.folder for pack in packs_in(pack_dir)}
    for name in names:
        if name not in known:
            raise UserError(
                f"remove={name}: {pack_dir} has no pack of this name; python -m data_tools.packs lists them"
            )
        if known[name].is_symlink():
            raise UserError(f"remove={name}: {known[name]} is a link to another folder; remove it by hand")
    for name in names:
        shutil.rmtree(known[name])
