"""`python -m data_tools.prepare data=fer2013`: from the sources to the pack, with the counts on the way."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data_tools.config import NOT_IN_PACK, DataConfig, load, options, options_hash
from data_tools.decoded import DecodedStores
from data_tools.labels import LabelMap
from data_tools.merge import merge
from data_tools.pack import find_pack, write_pack
from data_tools.reading import Collection, read
from data_tools.sources.base import Fingerprint, Source
from data_tools.sources.find import make_source
from data_tools.tables import console, show
from foundation.entry import entry
from foundation.errors import UserError


def prepare(config: DictConfig) -> Path:
    """Folder of the pack that `config.data` and `config.merge` describe; it is made unless it is there and current.

    A pack is current if its options and the fingerprints of its sources are those of now. Raises `UserError` for
    bad options and unusable data, `OSError` if the pack cannot be written; nothing half-written is left. What an
    interrupted call had decoded is taken up again.
    """
    data, policy = load(config)
    labels = LabelMap(data.classes, data.label_map)
    chosen, out = options(data, policy), console()
    folder = _folder(data, chosen)
    try:
        sources = [make_source(name, data.root, kind) for name, kind in data.sources.items()]
        fingerprints = {source.name: source.fingerprint() for source in sources}
    except UserError as missing:
        # A pack is enough to train with: it may have come to this machine without the data it was made from.
        if find_pack(folder, chosen, None) is None:
            raise
        print(f"{missing}; using the pack {folder} as it stands")
        return folder
    if (found := find_pack(folder, chosen, fingerprints)) is not None:
        print(f"using the pack {folder} ({found['images']:,} images)")
        return folder
    with decoded_stores(data, fingerprints) as stores:
        collection = _read_with_progress(sources, labels, data, stores)
        merge(collection, policy, data.classes)
        description = write_pack(folder, collection, data, chosen, fingerprints)
    show(out, collection.rows, description, {source.name: source.ignored for source in sources}, folder)
    return folder


def pack_folder(config: DictConfig) -> Path:
    """Where the pack of `config.data` and `config.merge` lies, or would lie."""
    data, policy = load(config)
    return _folder(data, options(data, policy))


def _folder(data: DataConfig, chosen: dict[str, Any]) -> Path:
    return Path(data.pack_dir).expanduser() / f"{data.name}-{options_hash(chosen)}"


def decoded_stores(data: DataConfig, fingerprints: dict[str, Fingerprint]) -> DecodedStores:
    """Where decoded images wait, beside the packs, in case this run is interrupted."""
    shape = {key: value for key, value in asdict(data).items() if key not in ("name", *NOT_IN_PACK)}
    return DecodedStores(Path(data.pack_dir).expanduser(), fingerprints, shape)


def _read_with_progress(
    sources: Iterable[Source], labels: LabelMap, data: DataConfig, stores: DecodedStores | None = None
) -> Collection:
    """Read all sources behind a progress bar, which stays away where nobody watches."""
    expected = [source.expected() for source in sources]
    total = None if None in expected else sum(number or 0 for number in expected)
    screen = Console(file=sys.stderr)
    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=total)
        advance = partial(progress.advance, task)
        return read(sources, labels, data.image_size, data.channels, advance, data.workers, stores)


@entry("prepare")
def main(config: DictConfig) -> None:
    """Make the pack, or find it."""
    prepare(config)


if __name__ == "__main__":
    main()
