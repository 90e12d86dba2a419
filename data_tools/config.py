"""The config groups `data` and `merge` as dataclasses: their keys, types and checks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from data_tools.duplicates.levels import AUGMENTED, AUTO, LEVELS, NONE, PIXELS, SEARCHED, search_missing
from data_tools.duplicates.settings import SearchConfig
from data_tools.sources.base import SPLITS
from foundation.config import typed
from foundation.errors import UserError
from foundation.schema import UNSET

if TYPE_CHECKING:
    from omegaconf import DictConfig

NOT_IN_PACK = ("path", "root", "pack_dir", "workers", "downloads")  # keys of `data` that do not change the pack
FORMAT_VERSION = 3  # of the pack; raise it when older packs must be written again

# Kinds of sources that read nothing below data.root, and why.
WITHOUT_FILES = {
    "toy_faces": "the toy faces are drawn, nothing is read",
    "digits": "the digits come with scikit-learn, nothing is read",
}

# Limits of a config, which may be a stranger's: beyond them are typing errors and attempts to fill a disk.
LARGEST_SIDE = 8000  # pixels of an image of the pack
MOST_WORKERS = 1024
MOST_REPEATS = 1000  # of an image, by merge.weights
MOST_IMAGES = 10_000_000  # of a class, by merge.balance.target

CONFLICTS = ("keep", "prefer", "drop", "majority")  # for training images whose duplicates have another label
BLANK = ("keep", "train", "all")  # from which splits blank images are dropped: none, training, all
_NAME = re.compile(r"(?!\.)[^/\\:\x00-\x1f\x7f]{1,100}")  # of a data set: a part of the names of its packs' folders
METHODS = ("none", "class_weight", "oversample", "undersample", "augment_to")


@dataclass
class DataConfig:
    """`conf/data/*.yaml`: the sources, and the size, channels and classes of the pack."""

    name: str = UNSET
    path: str | None = None
    root: str = "data"
    pack_dir: str = "packs"
    image_size: int = 48
    channels: int = 1
    workers: int | None = None
    classes: list[str] = UNSET  # type: ignore[assignment]
    label_map: dict[str, str] = field(default_factory=dict)
    audit: str = AUTO
    sources: dict[str, dict[str, Any]] = UNSET  # type: ignore[assignment]
    downloads: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in (None, UNSET) and not _NAME.fullmatch(self.name):
            raise UserError(
                f"data.name is {self.name!r}: it is a part of a folder's name, so it has at most 100 letters, begins "
                "with no dot, and has no slash, backslash or colon"
            )


@dataclass
class DataOptions(DataConfig):
    """The same as composed: what is null is found out at `path`, see data_tools/detection.py."""

    name: str | None = UNSET  # type: ignore[assignment]
    root: str | None = "data"  # type: ignore[assignment]
    image_size: int | None = 48  # type: ignore[assignment]
    channels: int | None = 1  # type: ignore[assignment]
    classes: list[str] | None = UNSET  # type: ignore[assignment]
    sources: dict[str, dict[str, Any]] | None = UNSET  # type: ignore[assignment]


@dataclass
class DrawConfig:
    """A stratified fraction of the training images that becomes another split."""

    fraction: float = 0.0
    when: str = "missing"  # or 'always'
    seed: int = 0
    by_image: bool = False  # leaks: duplicates are drawn separately


@dataclass
class BalanceConfig:
    """How the training classes are balanced."""

    method: str = "augment_to"
    before_validation: bool = False  # leaks: augmented copies are drawn separately from their originals
    target: int | None = None
    trim: bool = False
    seed: int = 0
    rotation: float = 20.0
    shift: float = 0.1
    zoom: float = 0.15
    flip: bool = True


@dataclass
class GuardsConfig:
    """When the merge stops because it would drop different images as duplicates. Fractions of different images."""

    group: float = 0.25
    mixed_labels: float = 0.2
    lost: float = 0.85
    lost_evaluation: float = 0.25
    at_least: int = 20


@dataclass
class MergeConfig:
    """`conf/merge/*.yaml`: the policy by which sources become one data set."""

    source_priority: list[str] | None = None
    duplicates: str = "pixels"
    twins: SearchConfig = field(default_factory=SearchConfig)
    governs: str | None = None
    within_split: bool = False  # leaks: duplicates are searched in each split separately
    conflicts: str = "keep"
    prefer: str | None = None
    blank: str = "keep"
    class_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    split_map: dict[str, str] = field(default_factory=lambda: {split: split for split in SPLITS})
    split_precedence: list[str] = field(default_factory=lambda: ["test", "validation", "train"])
    thin: list[str] = field(default_factory=lambda: ["train"])
    repeats: str = "one"  # or all
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    test: DrawConfig = field(default_factory=DrawConfig)
    validation: DrawConfig = field(default_factory=DrawConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)


GROUPS: dict[str, tuple[type, ...]] = {"data": (DataOptions,), "merge": (MergeConfig,)}


def load(config: DictConfig, with_search: bool = False) -> tuple[DataConfig, MergeConfig]:
    """Both groups, checked, with `source_priority` and the levels of duplicates filled in.

    `with_search` gives the options of a machine on which the search for near-duplicates is installed, whether or not it
    is here. Raises `UserError` naming the key that is wrong.
    """
    data, merge = typed(config, "data", DataConfig), typed(config, "merge", MergeConfig)
    sized = 0 < data.image_size <= LARGEST_SIDE
    _demand(sized, "data.image_size", f"must be positive and at most {LARGEST_SIDE:,}", data.image_size)
    _demand(data.channels in (1, 3), "data.channels", "must be 1 or 3", data.channels)
    counted = data.workers is None or 0 < data.workers <= MOST_WORKERS
    _demand(counted, "data.workers", f"must be positive and at most {MOST_WORKERS:,}", data.workers)
    _demand(bool(data.sources), "data.sources", "names no source", data.sources)
    if data.root != DataConfig.root and reads_nothing(data):
        reason = WITHOUT_FILES[min(str(source["kind"]) for source in data.sources.values())]
        raise UserError(f"data.root: {reason}; for images in a folder use data=folder data.path={data.root}")
    if data.path is not None and not any(source.get("stem") for source in data.sources.values()):
        raise UserError(f"data.path: data={data.name} does not read it; use data=folder data.path={data.path}")
    if merge.source_priority is None:
        merge.source_priority = list(data.sources)
    _same("merge.source_priority", "each source", merge.source_priority, data.sources)
    _same("merge.split_precedence", "each split", merge.split_precedence, SPLITS)
    _same("merge.split_map", "each split", merge.split_map, SPLITS)
    _among("merge.split_map", merge.split_map.values(), SPLITS)
    _among("merge.thin", merge.thin, SPLITS)
    _among("merge.repeats", [merge.repeats], ("one", "all"))
    missing = None if with_search else search_missing()
    merge.duplicates = _level("merge.duplicates", merge.duplicates, LEVELS, missing)
    data.audit = _level("data.audit", data.audit, LEVELS[1:], missing)
    for key, source in (("merge.governs", merge.governs), ("merge.prefer", merge.prefer)):
        _among(key, [] if source is None else [source], data.sources)
    _among("merge.conflicts", [merge.conflicts], CONFLICTS)
    _demand(merge.conflicts != "prefer" or merge.prefer is not None, "merge.prefer", "must name a source", None)
    _among("merge.blank", [merge.blank], BLANK)
    for key, by_source in (("merge.class_maps", merge.class_maps), ("merge.weights", merge.weights)):
        _among(key, by_source, data.sources)
    for source, weight in merge.weights.items():
        within = 0 <= weight <= MOST_REPEATS
        _demand(within, f"merge.weights.{source}", f"must be 0 or more and at most {MOST_REPEATS:,}", weight)
    _check_search(merge.twins)
    for name in ("group", "mixed_labels", "lost", "lost_evaluation"):
        value = getattr(merge.guards, name)
        _demand(0 < value <= 1, f"merge.guards.{name}", "must be above 0 and at most 1", value)
    _demand(merge.guards.at_least >= 0, "merge.guards.at_least", "must be 0 or more", merge.guards.at_least)
    for key, draw in (("merge.test", merge.test), ("merge.validation", merge.validation)):
        _demand(0 <= draw.fraction < 1, f"{key}.fraction", "must be at least 0 and below 1", draw.fraction)
        _among(f"{key}.when", [draw.when], ("missing", "always"))
    balance = merge.balance
    _among("merge.balance.method", [balance.method], METHODS)
    aimed = balance.target is None or 0 < balance.target <= MOST_IMAGES
    _demand(aimed, "merge.balance.target", f"must be positive and at most {MOST_IMAGES:,}", balance.target)
    _demand(0 <= balance.zoom < 1, "merge.balance.zoom", "must be at least 0 and below 1", balance.zoom)
    return data, merge


def reads_nothing(data: DataConfig) -> bool:
    """Whether all sources are drawn or come with a package, so that nothing is read below `data.root`."""
    return all(source.get("kind") in WITHOUT_FILES for source in data.sources.values())


def options(data: DataConfig, merge: MergeConfig) -> dict[str, Any]:
    """The options that decide the content of the pack, without the paths."""
    shape = {key: value for key, value in asdict(data).items() if key not in NOT_IN_PACK}
    return {"format_version": FORMAT_VERSION, "data": shape, "merge": asdict(merge)}


def options_hash(chosen: dict[str, Any]) -> str:
    """Hash of the options, eight hexadecimal digits. It does not depend on the order of mappings, so of the sources."""
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]


def leaks(merge: MergeConfig) -> list[str]:
    """The options that make a policy leak on any data, each with its effect."""
    reasons = {
        "duplicates: none": merge.duplicates == NONE,
        "within_split: an image may be in training and in another split": merge.within_split,
        "balance.before_validation: copies of validation images are in training": merge.balance.before_validation,
        "validation.by_image: duplicates are drawn separately": merge.validation.by_image,
        "test.by_image: duplicates are drawn separately": merge.test.by_image,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _check_search(search: SearchConfig) -> None:
    for name in ("correlation", "detail", "alike", "alike_detail", "chain"):
        value = getattr(search, name)
        _demand(0 < value <= 1, f"merge.twins.{name}", "must be above 0 and at most 1", value)
    _demand(search.neighbours > 0, "merge.twins.neighbours", "must be positive", search.neighbours)
    for name in ("near_shift", "blank_below", "strangers", "cells", "fine"):
        _demand(getattr(search, name) >= 0, f"merge.twins.{name}", "must be 0 or more", getattr(search, name))


def _level(key: str, option: str, levels: tuple[str, ...], missing: str | None) -> str:
    """The level that an option names; `missing` tells what to install for a search.

    Raises `UserError` for an unknown level and for one that needs what is missing.
    """
    _among(key, [option], (*levels, AUTO))
    level = (PIXELS if missing else AUGMENTED) if option == AUTO else option
    if level in SEARCHED and missing:
        raise UserError(f"{key}={level} needs a search: {missing}. Without it, {key}=pixels finds equal images")
    return level


def _same(key: str, what: str, given: Iterable[str], wanted: Iterable[str]) -> None:
    wanted, given = list(wanted), list(given)
    _demand(sorted(given) == sorted(wanted), key, f"must name {what} once ({', '.join(wanted)})", given)


def _among(key: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    for value in given:
        _demand(value in allowed, key, f"must be one of {', '.join(allowed)}", value)


def _demand(holds: bool, key: str, rule: str, value: object) -> None:
    if not holds:
        raise UserError(f"{key}: {rule}, got {value}")
