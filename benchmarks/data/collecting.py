"""The usable images of a data set, read by `data_tools`, for measurements of the search for near-duplicates."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from data_tools.config import load
from data_tools.duplicates.settings import SearchConfig
from data_tools.preparation import open_sources
from data_tools.reading.labels import LabelMap
from data_tools.reading.manifest import KEPT
from data_tools.reading.read import Collection, read
from foundation.config import config_dir


def collect(name: str, root: str, workers: int | None = None) -> tuple[Collection, SearchConfig]:
    """`data=name` from the folder `root` with its usable rows, and the thresholds of its merge."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        data, policy = load(compose("audit", [f"data={name}", f"data.root={root}"]))
    sources, labels = open_sources(data), LabelMap(data.classes, data.label_map)
    by_source = {source.name: labels for source in sources}
    collection = read(sources, by_source, data.image_size, data.channels, lambda: None, workers)
    collection.rows = [row for row in collection.rows if row.status == KEPT]
    return collection, policy.twins
