"""Finds out which folders are classes, from all the folders of a source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.sources.layout import (
    Folders,
    Layout,
    Strays,
    all_numbered,
    comparable,
    composed,
    folders_of,
    without_number,
)
from data_tools.sources.split_names import known_names, split_in
from foundation.errors import UserError

_NO_CLASS = ("images", "image", "imgs", "img", "photos", "pictures", "pics", "jpg", "jpeg", "png", "all", "data", "raw")
_HAS_NUMBER = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class FoundClasses:
    """Classes in order, the number of images in each split ('' is none), and remarks for the person."""

    classes: tuple[str, ...]
    splits: dict[str, int]
    notes: tuple[str, ...]


def read_folders(source: Path, images: Iterable[str], known: Sequence[str] = ()) -> FoundClasses:
    """The classes of the images at these paths; `known` are the classes, if the person has named them.

    Raises `UserError` if the folders can be read in two ways, and for a folder beside splits that is no known split.
    """
    folders = Counter(map(folders_of, images))
    notes: list[str] = []
    names = list(known) or _class_names(source, folders, notes)
    layout, strays, splits = Layout(names), Strays(), Counter[str]()
    outside = 0
    for path, count in folders.items():
        split, label = layout.place(path)
        strays.add(path, layout.split_of(path))
        if not names or (label and layout.knows(label)):
            splits[split] += count
        else:
            outside += count
    if (stray := strays.find()) is not None:
        raise UserError(
            f"{source} has images in {stray} beside splits, with the same classes, but its name is of no split: "
            f"rename it or take it away ({known_names()})"
        )
    if outside:
        notes.append(f"{outside:,} images are in no class folder; they are set aside.")
    return FoundClasses(tuple(names), dict(splits), tuple(notes))


def _class_names(source: Path, folders: Counter[Folders], notes: list[str]) -> list[str]:
    """The names of the classes, sorted; [] if the folders name none."""
    found = _labels(source, list(folders), notes)
    spellings: dict[str, Counter[str]] = {}
    for path, label in found.items():
        spellings.setdefault(comparable(label), Counter())[composed(label)] += folders[path]
    names = [max(sorted(own), key=own.__getitem__) for own in spellings.values()]
    for own in spellings.values():
        if len(own) > 1:
            notes.append(f"{' and '.join(sorted(own))} are one class.")
    if all_numbered(names):
        numbers = {name: int(re.match(r"\d+", name)[0]) for name in names}  # type: ignore[index]
        if len(set(numbers.values())) == len(names):
            names.sort(key=numbers.__getitem__)
            notes.append(f"The numbers before the class names ({names[0]}, ...) give their order.")
            return [without_number(name) for name in names]
    return sorted(names)


def _labels(source: Path, folders: list[Folders], notes: list[str]) -> dict[Folders, str]:
    """The folder that is the class, for every path that has one."""
    at = _split_positions(folders)
    if all(position is None for position in at.values()):
        return _without_splits(source, folders, notes)
    inside = {path: path[position + 1 :] for path, position in at.items() if position is not None}
    if any(inside.values()):
        level = _wrapping(list(filter(None, inside.values())))
        if level:
            wrapping = "/".join(next(filter(None, inside.values()))[:level])
            notes.append(f"The folder {wrapping} in every split is taken for a wrapping, not a class.")
        return {path: rest[level] for path, rest in inside.items() if len(rest) > level}
    above = {path: path[position - 1] for path, position in at.items() if position}
    if len(set(above.values())) > 1:
        return above  # cat/train, cat/test, dog/train, ...
    beside = [path for path, position in at.items() if position is None and path]
    if beside and len(inside) == 1:
        (path,) = inside
        if all(len(other) == len(path) and other[:-1] == path[:-1] for other in beside):
            return {each: each[-1] for each in folders if each}  # bus, car, train
    return {}


def _split_positions(folders: list[Folders]) -> dict[Folders, int | None]:
    layout = Layout()
    at = {path: layout.split_of(path) for path in folders}
    if any(position is not None for position in at.values()):
        return at
    # seg_train beside seg_test: names that have a split's word in them, at least two different ones side by side.
    beside: dict[Folders, set[str]] = {}
    for path in folders:
        for index, name in enumerate(path):
            if split_in(name):
                beside.setdefault(path[:index], set()).add(split_in(name) or "")
    tops = {parent for parent, splits in beside.items() if len(splits) > 1}
    for path in folders:
        places = [index for index, name in enumerate(path) if split_in(name)]
        if places and path[: places[0]] in tops:
            behind = [index for index in places if index + 1 < len(path)]
            at[path] = (behind or places)[-1]
    return at


def _wrapping(inside: list[Folders]) -> int:
    """How many folders behind the split hold the class folders: of `train/images/cat` one."""
    level = 0
    while len({path[level] for path in inside}) == 1 and all(len(path) > level + 1 for path in inside):
        if len({path[level + 1] for path in inside}) < 2:
            break
        level += 1
    return level


def _without_splits(source: Path, folders: list[Folders], notes: list[str]) -> dict[Folders, str]:
    common = _common(folders)
    rest = {path: path[common:] for path in folders if len(path) > common}
    outer = {path: own[0] for path, own in rest.items()}
    if len(rest) == 0:  # all in one folder
        (path,) = folders
        return {path: path[-1]} if path and path[-1].casefold() not in _NO_CLASS else {}
    deep = {path: own for path, own in rest.items() if len(own) > 1}
    if not deep or len(set(outer.values())) < 2 or len(deep) < len(rest):
        return outer
    inner = {path: own[-1] for path, own in deep.items()}
    above: dict[str, set[str]] = {}
    for path, name in inner.items():
        above.setdefault(comparable(name), set()).add(outer[path])
    first, last = sorted(set(outer.values())), sorted(set(inner.values()))
    if all(map(_HAS_NUMBER.search, last)) or len(last) == 1:
        notes.append(f"Folders inside the classes ({inner[next(iter(inner))]}, ...) are not classes.")
        return outer
    everywhere = all(len(tops) == len(first) for tops in above.values())
    if everywhere and all(map(_HAS_NUMBER.search, first)):
        notes.append(f"The folders {', '.join(first[:5])} have the same classes in them; their images are pooled.")
        return inner
    raise UserError(
        f"{source}: its folders can be read in two ways: are {', '.join(first[:3])} the classes, or "
        f"{', '.join(last[:3])} in them? data.classes=[...] with the names of the classes says which"
    )


def _common(folders: list[Folders]) -> int:
    """Number of folders that all the paths begin with, but not all of the only path."""
    common = 0
    longest = max(map(len, folders))
    while common < longest and len({path[common : common + 1] for path in folders}) == 1:
        common += 1
    return common
