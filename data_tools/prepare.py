"""`python -m data_tools.prepare data=fer2013`: write the pack of a data set and print its counts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from data_tools.auditing.findings import examine
from data_tools.auditing.report import write_audit
from data_tools.config import GROUPS, leaks, load, options, options_hash, reads_nothing
from data_tools.detection import fill_in, recall
from data_tools.duplicates.levels import search_missing
from data_tools.merging.balancing import class_weights
from data_tools.packs.listing import find, folder_name, packs_in
from data_tools.packs.pack import write_pack
from data_tools.packs.tables import console, show, show_leaks, show_not_looked_for, show_others
from data_tools.preparation import collect_and_merge, decoded_stores, open_sources
from data_tools.progress import bar
from data_tools.reading.labels import LabelMap
from data_tools.sources.base import Fingerprint
from foundation.entry import entry
from foundation.errors import UserError
from foundation.files import locked

details = logging.getLogger("data_tools.prepare")  # shown with hydra.verbose=true


def prepare(config: DictConfig, new_packs: Path | None = None) -> Path:
    """The folder of the pack that `config.data` and `config.merge` describe; writes the pack unless it is current.

    With `new_packs` the pack is written there, and `config.data.pack_dir` is only read: the config may be a stranger's.
    What is null in `config.data` is found out first and set there: see `data_tools.detection.fill_in`.

    A pack is current if its options and the fingerprints of its sources are unchanged; both are part of the name of its
    folder, so that another state of the sources, or other sources under one name, get a pack of their own. The folder
    also holds `audit.json` and `audit.html`. Raises `UserError` for bad options and unusable data, and `OSError` if the
    pack cannot be written; no partial file is left. Images that an interrupted call has decoded are not decoded again.
    """
    try:
        fill_in(config)
    except UserError:
        known = (pack.description for pack in packs_in(Path(config.data.pack_dir).expanduser()))
        if not recall(config, known):
            raise
    data, policy = load(config)
    LabelMap(data.classes, data.label_map)  # raises for bad classes before anything is read
    if len(data.classes) == 1:
        raise UserError(
            f"data.classes: there is one class, '{data.classes[0]}', and a network tells two or more apart; "
            "python -m data_tools.audit works with one"
        )
    chosen, out, pack_dir = options(data, policy), console(), new_packs or Path(data.pack_dir).expanduser()
    places = dict.fromkeys([Path(data.pack_dir).expanduser(), pack_dir])
    data.pack_dir = str(pack_dir)
    # A pack that was made with the search is used where the search is not installed.
    wanted = [chosen, options(*load(config, with_search=True))] if search_missing() else [chosen]
    origin = "" if reads_nothing(data) else str(Path(data.path or data.root).expanduser().absolute())
    try:
        sources = open_sources(data)
        with bar("looking at the sources"):
            fingerprints = {source.name: source.fingerprint() for source in sources}
    except UserError as missing:
        # The pack is enough for training: it may have been copied to this machine without its sources.
        for each, place in product(wanted, places):
            if (found := find(place, each, None, origin)) is not None:
                print(f"{missing}; using the pack {found.folder} as it is")
                return found.folder
        raise
    details.debug("options of the pack: %s", chosen)
    details.debug("fingerprints of its sources: %s", fingerprints)
    folder = pack_dir / folder_name(data.name, options_hash(chosen), fingerprints)
    if (current := _current(places, wanted, fingerprints, origin)) is not None:
        return current
    # Jobs of a sweep begin at the same time: one of them prepares the pack.
    waiting = partial(print, f"waiting for another process, which prepares {folder}")
    with locked(pack_dir / f".{folder.name}.lock", waiting):
        if (current := _current(places, wanted, fingerprints, origin)) is not None:
            return current
        with decoded_stores(data, policy, fingerprints) as stores:
            prepared = collect_and_merge(sources, data, policy, stores)
            collection = prepared.collection
            with bar("counting duplicates and overlaps"):
                findings = examine(prepared, data, policy)
            weights = class_weights(collection.rows, data.classes) if policy.balance.method == "class_weight" else None
            with bar("writing the pack"):
                description = write_pack(
                    folder, collection, data, chosen, fingerprints, weights, origin,
                    lambda place: write_audit(place, prepared, findings),
                )  # fmt: skip
    show(out, collection.rows, description, prepared.ignored, folder)
    show_not_looked_for(out, findings.numbers["not_looked_for"])
    show_leaks(out, findings.numbers["twins"], leaks(policy))
    show_others(out, [pack.folder.name for pack in packs_in(pack_dir)], folder.name)
    return folder


def _current(
    places: Iterable[Path], wanted: Sequence[dict[str, Any]], fingerprints: Mapping[str, Fingerprint], origin: str
) -> Path | None:
    """The folder of a pack that is there already, made with one of the wanted options."""
    for each, place in product(wanted, places):
        if (found := find(place, each, fingerprints, origin)) is not None:
            print(f"using the pack {found.folder} ({found.images:,} images)")
            return found.folder
    return None


@entry("prepare", GROUPS)
def main(config: DictConfig) -> None:
    """Write the pack, unless it is current."""
    prepare(config)


if __name__ == "__main__":
    main()
