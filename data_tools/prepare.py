"""`python -m data_tools.prepare data=fer2013`: write the pack of a data set and print its counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from data_tools.auditing.findings import examine
from data_tools.auditing.report import write_audit
from data_tools.config import GROUPS, DataConfig, leaks, load, options, options_hash
from data_tools.merging.balancing import class_weights
from data_tools.packs.pack import find_pack, write_pack
from data_tools.packs.tables import console, show, show_leaks, show_not_looked_for
from data_tools.preparation import collect_and_merge, decoded_stores, open_sources
from data_tools.reading.labels import LabelMap
from foundation.entry import entry
from foundation.errors import UserError


def prepare(config: DictConfig) -> Path:
    """The folder of the pack that `config.data` and `config.merge` describe; writes the pack unless it is current.

    A pack is current if its options and the fingerprints of its sources are unchanged. Its folder also holds
    `audit.json` and `audit.html`. Raises `UserError` for bad options and unusable data, and `OSError` if the pack
    cannot be written; no partial file is left. Images that an interrupted call has decoded are not decoded again.
    """
    data, policy = load(config)
    LabelMap(data.classes, data.label_map)  # raises for bad classes before anything is read
    chosen, out = options(data, policy), console()
    folder = _folder(data, chosen)
    try:
        sources = open_sources(data)
        fingerprints = {source.name: source.fingerprint() for source in sources}
    except UserError as missing:
        # The pack is enough for training: it may have been copied to this machine without its sources.
        if find_pack(folder, chosen, None) is None:
            raise
        print(f"{missing}; using the pack {folder} as it is")
        return folder
    if (found := find_pack(folder, chosen, fingerprints)) is not None:
        print(f"using the pack {folder} ({found['images']:,} images)")
        return folder
    with decoded_stores(data, policy, fingerprints) as stores:
        prepared = collect_and_merge(sources, data, policy, stores)
        collection = prepared.collection
        findings = examine(prepared, data, policy)
        weights = class_weights(collection.rows, data.classes) if policy.balance.method == "class_weight" else None
        description = write_pack(
            folder, collection, data, chosen, fingerprints, weights,
            lambda place: write_audit(place, prepared, findings),
        )  # fmt: skip
    show(out, collection.rows, description, prepared.ignored, folder)
    show_not_looked_for(out, findings.numbers["not_looked_for"])
    show_leaks(out, findings.numbers["twins"], leaks(policy))
    return folder


def pack_folder(config: DictConfig) -> Path:
    """The folder of the pack of `config.data` and `config.merge`, whether or not it exists."""
    data, policy = load(config)
    return _folder(data, options(data, policy))


def _folder(data: DataConfig, chosen: dict[str, Any]) -> Path:
    return Path(data.pack_dir).expanduser() / f"{data.name}-{options_hash(chosen)}"


@entry("prepare", GROUPS)
def main(config: DictConfig) -> None:
    """Write the pack, unless it is current."""
    prepare(config)


if __name__ == "__main__":
    main()
