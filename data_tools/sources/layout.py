"""Which folders of a path name the split and the class of an image."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from data_tools.sources.split_names import is_numbered, split_in, split_named

Folders = tuple[str, ...]  # of a path, from the outermost

_NUMBER = re.compile(r"^\d+[\s_.-]+(?=.*[^\W\d_])")  # of `0_angry`


def comparable(name: str) -> str:
    """The form in which class names are compared: one form of accented letters, no case, no blanks around."""
    return composed(composed(name).strip().casefold())


def composed(name: str) -> str:
    """The name with accented letters as one character each, as most people type them."""
    return unicodedata.normalize("NFC", name)


def without_number(name: str) -> str:
    """`angry` of `0_angry`; other names unchanged."""
    return _NUMBER.sub("", name)


class Layout:
    """Finds split and class in the folders of a path.

    `known` are the names of classes, if they are known: the class is then the folder with such a name, whatever lies
    above or below it. Else it is the folder below the split, or the innermost one if there are no splits.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = {comparable(name) for name in known}
        self.numbered: set[str] = set()  # class folders that were read without their number
        self.plain: set[str] = set()  # and those that have none
        self._places: dict[Folders, tuple[str, str]] = {}  # folders repeat for every image in them

    def place(self, folders: Folders) -> tuple[str, str]:
        """Split and class; '' if the folders do not name them."""
        if folders not in self._places:
            self._places[folders] = self._place(folders)
        return self._places[folders]

    def _place(self, folders: Folders) -> tuple[str, str]:
        at = self.split_of(folders)
        if at is None:
            candidates, default = folders[::-1], folders[-1] if folders else ""
            split = ""
        else:
            behind, above = folders[at + 1 :], folders[:at]
            if not behind and self.knows(folders[at]):
                return "", self._label(folders[at])  # a class that is called like a split: bus, car, train
            candidates, default = (*behind, *above[::-1]), behind[0] if behind else ""
            split = split_named(folders[at]) or split_in(folders[at]) or ""
        return split, self._label(next((name for name in candidates if self.knows(name)), default))

    def split_of(self, folders: Folders) -> int | None:
        """Position of the folder that names the split, or None.

        The outermost such folder; of several in a row, as in `train/train/cat` or `test data/train/cat`, the innermost
        that has a class behind it. If no name is a split's, one that has such a word in it (`seg_train`), if a known
        class is behind it.
        """
        at = next((index for index, name in enumerate(folders) if split_named(name)), None)
        while at is not None and at + 2 < len(folders) and split_named(folders[at + 1]):
            at += 1
        if at is None and self._known:
            behind = [any(map(self.knows, folders[index + 1 :])) for index in range(len(folders))]
            for index, name in enumerate(folders):
                if split_in(name) and behind[index] and not self.knows(name):
                    at = index
        return at

    def knows(self, name: str) -> bool:
        """Whether it is the name of a known class, with or without a number before it."""
        return comparable(name) in self._known or comparable(without_number(name)) in self._known

    def _label(self, name: str) -> str:
        name = composed(name)
        short = without_number(name)
        if self._known and comparable(name) not in self._known and comparable(short) in self._known:
            self.numbered.add(name)
            return short
        if comparable(name) in self._known:
            self.plain.add(name)
        return name

    def mixed(self) -> tuple[str, str] | None:
        """A class folder with a number and one without, if there are both."""
        return (min(self.numbered), min(self.plain)) if self.numbered and self.plain else None


class Strays:
    """Finds a folder beside splits that is a split by another name: its images would go into training."""

    def __init__(self) -> None:
        self._in_splits: dict[Folders, set[str]] = {}  # by the folder of the splits: their classes
        self._others: dict[Folders, set[str]] = {}  # by a folder: the names of those in it
        self._names: dict[tuple[Folders, str], set[str]] = {}  # by the folder of the splits and a split: its names

    def add(self, folders: Folders, at: int | None) -> None:
        """Count an image; `at` is the position of its split."""
        if at is not None:
            self._in_splits.setdefault(folders[:at], set()).update(map(comparable, folders[at + 1 : at + 2]))
            self._names.setdefault((folders[:at], split_named(folders[at]) or ""), set()).add(folders[at])
            return
        for depth in range(1, len(folders)):
            self._others.setdefault(folders[:depth], set()).update(map(comparable, folders[depth:]))

    def find(self) -> str | None:
        """Such a folder, if there is one: it has one of the splits' classes in it, or is `train2` beside `train`."""
        for folder, inside in self._others.items():
            if inside & self._in_splits.get(folder[:-1], set()):
                return "/".join(folder)
        for (folder, _), names in self._names.items():
            if any(map(is_numbered, names)) and not all(map(is_numbered, names)):
                return "/".join((*folder, min(filter(is_numbered, names))))
        return None


def folders_of(path: str) -> Folders:
    """The folders of a member's path."""
    return PurePosixPath(path.replace("\\", "/")).parent.parts


def all_numbered(names: Iterable[str]) -> bool:
    """Whether every name is like `0_angry`, with different names behind different numbers."""
    names = list(names)
    short = {comparable(without_number(name)) for name in names}
    return bool(names) and all(without_number(name) != name for name in names) and len(short) == len(names)
