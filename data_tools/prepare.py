"""`python -m data_tools.prepare data=fer2013`: from the sources to the pack, with the counts on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from data_tools.auditing.findings import examine
from data_tools.auditing.report import write_audit
from data_tools.balancing import class_weights
from data_tools.config import DataConfig, leaks, load, options, options_hash
from data_tools.labels import LabelMap
from data_tools.pack import find_pack, write_pack
from data_tools.preparation import collect_and_merge, decoded_stores, open_sources
from data_tools.tables import console, show, show_twins
from foundation.entry import entry
from foundation.errors import UserError


def prepare(config: DictConfig) -> Path:
    """Folder of the pack that `config.data` and `config.merge` describe; it is made unless it is there and current.

    A pack is current if its options and the fingerprints of its sources are those of now. Beside the pack's own files
    lie `audit.json` and `audit.html`. Raises `UserError` for bad options and unusable data, `OSError` if the pack
    cannot be written; nothing half-written is left. What an interrupted call had decoded is taken up again.
    """
    data, policy = load(config)
    LabelMap(data.classes, data.label_map)  # complains of bad classes before anything is read
    chosen, out = options(data, policy), console()
    folder = _folder(data, chosen)
    try:
        sources = open_sources(data)
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
    show_twins(out, findings.numbers["twins"], leaks(policy))
    return folder


def pack_folder(config: DictConfig) -> Path:
    """Where the pack of `config.data` and `config.merge` lies, or would lie."""
    data, policy = load(config)
    return _folder(data, options(data, policy))


def _folder(data: DataConfig, chosen: dict[str, Any]) -> Path:
    return Path(data.pack_dir).expanduser() / f"{data.name}-{options_hash(chosen)}"


@entry("prepare")
def main(config: DictConfig) -> None:
    """Make the pack, or find it."""
    prepare(config)


if __name__ == "__main__":
    main()
