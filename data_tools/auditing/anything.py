"""From paths to what is audited: sources, classes and a policy that changes no split, for images of any kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from data_tools.config import DataConfig, MergeConfig, load
from data_tools.reading.labels import normalise
from data_tools.sources.base import Entry, Fingerprint, Source, WrappedSource
from data_tools.sources.detect import detect
from data_tools.sources.detected import NO_LABEL, Detected, named
from data_tools.sources.find import make_source
from data_tools.sources.split_names import split_named

_SIDE, _LARGER_SIDE, _LARGER_UP_TO = 48, 64, 40_000  # pixels in which images are held, and for up to how many images


@dataclass(frozen=True)
class Subject:
    """What an audit looks at. With `merged` the policy is one to train with, and its result is judged."""

    data: DataConfig
    policy: MergeConfig
    sources: list[Source]
    merged: bool
    lines: list[str] = field(default_factory=list)  # what was found, for the person


def subject_of(paths: Sequence[Path], config: DictConfig) -> Subject:
    """Everything at the paths, each a source. Of `config` the options `duplicates` and `merge.twins` count.

    A path without splits of its own whose name is that of a split, such as `test/`, is that split. Raises `UserError`
    for a path at which there are no images.
    """
    found = [detect(path) for path in paths]
    names = _names(paths)
    sources = [
        _source(name, path, detected) for name, path, detected in zip(names, paths, found, strict=True)
    ]  # fmt: skip
    expected = [source.expected() for source in sources]
    few = None not in expected and sum(number or 0 for number in expected) <= _LARGER_UP_TO
    side = _LARGER_SIDE if few and max(one.image_size for one in found) > _SIDE else _SIDE
    level = config.get("duplicates", "auto")
    composed = OmegaConf.create(
        {
            "data": {
                "name": " and ".join(names[:3]) + (" and others" if len(names) > 3 else ""),
                "audit": level,
                "pack_dir": "audits/.cache",
                "image_size": side,
                "channels": max(one.channels for one in found),
                "classes": _classes(found),
                "sources": {name: {} for name in names},
            },
            "merge": {
                **({"twins": config.merge.twins} if "merge" in config else {}),
                "duplicates": level,
                "thin": ["train"],
            },
        }
    )
    data, policy = load(composed)
    lines = [detected.lines[0] for detected in found]
    lines += [line for detected in found for line in detected.lines[1:] if line.startswith("Not read")]
    return Subject(data, policy, sources, merged=False, lines=lines)


def _source(name: str, path: Path, detected: Detected) -> Source:
    whole = named(path)
    source = make_source(name, str(whole.parent), detected.config, detected.classes)
    split = None if detected.splits else split_named(whole.name.partition(".")[0])
    return _OfSplit(source, split) if split else source


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each path: its last part, numbered where several have the same."""
    names: list[str] = []
    for path in paths:
        whole = path.resolve().name
        name = re.sub(r"[^\w-]+", "_", whole.partition(".")[0] or whole).strip("_") or "images"
        same = sum(other == name or re.fullmatch(rf"{re.escape(name)}_\d+", other) is not None for other in names)
        names.append(f"{name}_{same + 1}" if same else name)
    return names


def _classes(found: Sequence[Detected]) -> list[str]:
    """The classes of all, each once whatever its case; one for images without labels."""
    classes: dict[str, str] = {}
    for detected in found:
        for name in detected.classes or (NO_LABEL,):
            classes.setdefault(normalise(name), name)
    return sorted(classes.values())


class _OfSplit(WrappedSource):
    """A source all of whose images are of one split."""

    def __init__(self, source: Source, split: str) -> None:
        super().__init__(source.name, source)
        self._split = split

    def entries(self) -> Iterator[Entry]:
        for entry in self._source.entries():
            yield replace(entry, original_split=self._split)

    def fingerprint(self) -> Fingerprint:
        return {**super().fingerprint(), "split": self._split}
