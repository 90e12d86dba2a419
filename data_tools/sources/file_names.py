"""Finds the file that a name in a table means, among the files that there are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from data_tools.sources.class_folders import is_image_name
from data_tools.sources.split_names import split_named


class FileNames:
    """The paths of a folder or an archive, by the ways in which tables write them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._exact: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}  # without case; with the suffix and without it
        for path in paths:
            exact = _exact(path)
            self._exact.setdefault(exact, path)
            if is_image_name(path):
                name = PurePosixPath(exact.casefold()).name
                for key in {name, name.rpartition(".")[0]}:
                    self._by_name.setdefault(key, []).append(path)

    def find(self, *spellings: str, split: str = "") -> str:
        """The path that the first fitting one of `spellings` means.

        An equal path, or the only one that ends like it, without regard to case; its suffix may be missing. Of several
        it is the only one in a folder of the split `split`. Raises `LookupError` with the reason if there is no such
        file, or several.
        """
        for spelling in spellings:
            if (path := self._exact.get(_exact(spelling))) is not None:
                return path
        for spelling in spellings:
            wanted = f"/{_exact(spelling).casefold()}"
            fitting = [
                path
                for path in self._by_name.get(PurePosixPath(wanted).name, [])
                for whole in [f"/{_exact(path).casefold()}"]
                if whole.endswith(wanted) or whole.rpartition(".")[0].endswith(wanted)
            ]
            own = [path for path in fitting if split in map(split_named, PurePosixPath(path).parts[:-1])]
            if 1 in (len(fitting), len(own)):
                return (own if len(own) == 1 else fitting)[0]
            if fitting:
                raise LookupError(f"{len(fitting)} files are called '{spelling}', such as {fitting[0]}")
        raise LookupError(f"there is no file '{spellings[0]}'")


def _exact(path: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(path.replace("\\", "/")).as_posix())
