"""From the config to a merged collection: the steps that `prepare` and `audit` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data_tools.config import NOT_IN_PACK, DataConfig, GuardsConfig, MergeConfig
from data_tools.duplicates.assign import Grouping, find_groups
from data_tools.duplicates.levels import LEVELS, PIXELS, includes
from data_tools.merging.merge import merge
from data_tools.progress import bar
from data_tools.reading.decoded import DecodedStores
from data_tools.reading.labels import LabelMap
from data_tools.reading.manifest import KEPT, SET_ASIDE
from data_tools.reading.read import Collection, read
from data_tools.sources.base import Fingerprint, Source
from data_tools.sources.find import make_source
from foundation.errors import UserError

CACHE = ".twins"  # in data.pack_dir: the cache of the search for near-duplicates


@dataclass
class Prepared:
    """A collection after the merge, and the groups of duplicates that were found before it."""

    collection: Collection
    grouping: Grouping
    ignored: dict[str, int]  # files of each source that are no images


def open_sources(data: DataConfig) -> list[Source]:
    """The sources that the config names. Raises `UserError` if one is missing."""
    return [
        make_source(name, data.root, kind, LabelMap(data.classes, data.label_map).names)
        for name, kind in data.sources.items()
    ]


def decoded_stores(data: DataConfig, policy: MergeConfig, fingerprints: Mapping[str, Fingerprint]) -> DecodedStores:
    """The stores of decoded images, beside the packs, for a run after an interruption; the audit shares them.

    Of the policy they depend only on the class maps, because the other options apply after decoding.
    """
    shape = {key: value for key, value in asdict(data).items() if key not in ("name", "audit", *NOT_IN_PACK)}
    shape["class_maps"] = policy.class_maps
    return DecodedStores(Path(data.pack_dir).expanduser(), fingerprints, shape)


def collect_and_merge(
    sources: Sequence[Source], data: DataConfig, policy: MergeConfig, stores: DecodedStores, trains: bool = True
) -> Prepared:
    """Read every source, find the groups at every level that the policy or the audit needs, and merge.

    Images in `stores` are not decoded again; newly decoded ones are added. Without `trains` splits and classes may be
    empty, there may be no image at all, and where a guard of the merge stops, only images with equal pixels are taken
    as duplicates.
    """
    labels = {
        source.name: LabelMap(data.classes, data.label_map | policy.class_maps.get(source.name, {}))
        for source in sources
    }
    expected = [source.expected() for source in sources]
    total = None if None in expected else sum(number or 0 for number in expected)
    with bar("reading images", total) as progress:
        collection = read(sources, labels, data.image_size, data.channels, progress.advance, data.workers, stores)
    usable = [row for row in collection.rows if row.status == KEPT]
    level = max(policy.duplicates, data.audit, key=LEVELS.index)
    cache = Path(data.pack_dir).expanduser() / CACHE
    with bar("finding duplicates") as progress:
        grouping = find_groups(
            usable, collection.thumbnails, level, policy.twins, data.workers, cache, progress.report, collection.images
        )
    if grouping.note:
        print(grouping.note)
    try:
        with bar("merging"):
            merge(collection, grouping, policy, data.classes, trains)
    except UserError as guarded:
        if trains:
            raise
        _only_equal_pixels(collection, grouping, f"duplicates: by equal pixels alone: {guarded}")
        unguarded = replace(policy, duplicates=PIXELS, guards=GuardsConfig(1, 1, 1, 1))
        merge(collection, grouping, unguarded, data.classes, trains)
    return Prepared(collection, grouping, {source.name: source.ignored for source in sources})


def _only_equal_pixels(collection: Collection, grouping: Grouping, note: str) -> None:
    """Forget the groups above equal pixels, and what a merge that stopped has done with the rows."""
    for level in (*grouping.groups,):
        if not includes(PIXELS, level):
            del grouping.groups[level]
    grouping.confirmed, grouping.loose, grouping.note = [], {}, note
    for row in collection.rows:
        if row.status != SET_ASIDE:
            row.status, row.reason, row.duplicate_of = KEPT, "", ""
