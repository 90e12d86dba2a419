"""Images in folders named after their classes: `split/class/file` or `class/file`, on disk or in an archive."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

from data_tools.sources.base import Entry
from data_tools.sources.contained import Contained
from data_tools.sources.containers import (
    ARCHIVE_SUFFIXES,
    Container,
    Folder,
    Member,
    MemberError,
    TarArchive,
    damaged,
)
from data_tools.sources.layout import Layout, Strays
from data_tools.sources.signatures import SIGNATURE, is_image_data
from data_tools.sources.split_names import known_names, split_named
from foundation.errors import UserError

# File names of FER-2013 begin with the value of its Usage column; the folders of a download may differ from it.
SPLIT_PREFIXES = {"Training_": "train", "PublicTest_": "validation", "PrivateTest_": "test"}

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pnm", ".tga", ".jp2", ".avif"),
)
LARGEST_FILE = 64 * 2**20  # bytes: larger than any image of a face; a zip member may unpack to any size


class ClassFolders(Contained):
    """A tree of class folders, which may lie below a few wrapping folders.

    A file with an image suffix, or without a suffix and with the first bytes of an image, becomes an entry in any
    folder. Links and paths that lead out of the archive become refused entries. All other files are counted in
    `ignored`. `classes` are the names of folders that are known to be classes: see `Layout`. If `label` is given, it
    is the label of every image. With `split_from_name` the beginning of a file's name gives the split, where it is one
    of `SPLIT_PREFIXES`; with `must_name` at least one must be.
    """

    def __init__(
        self,
        name: str,
        container: Container,
        split_from_name: bool = False,
        classes: Collection[str] = (),
        label: str | None = None,
        must_name: bool = False,
    ) -> None:
        super().__init__(name, container)
        self._split_from_name, self._must_name, self._named = split_from_name, must_name, 0
        self._classes = classes
        self._label = label
        self._layout = Layout(classes)

    def expected(self) -> int | None:
        """Number of images; None for a tar, because counting would read all of it."""
        if isinstance(self._container, TarArchive):
            return None
        return sum(1 for member in self._container.members() if is_image_name(member.path))

    def entries(self) -> Iterator[Entry]:
        """Stream the images.

        Raises `UserError` for an empty class folder, for a source without any image, and for a folder beside splits
        that has their classes but is no known split.
        """
        with damaged(self._container.path):  # the damage of a compressed tar shows only while it is read
            yield from self._entries()

    def _entries(self) -> Iterator[Entry]:
        self.ignored = self._named = 0
        self._layout = Layout(self._classes)
        folders: set[PurePosixPath] = set()
        filled: set[PurePosixPath] = set()  # folders with an image or another real file
        seen: set[PurePosixPath] = set()  # folders with an image
        archives: list[str] = []
        images, strays = 0, Strays()
        for member in self._container.members():
            path = PurePosixPath(member.path.replace("\\", "/"))
            if is_rubbish(path):
                self.ignored += 1
            elif member.refused:
                yield self._entry(member, path, error=member.refused)
            elif member.open is None:
                folders.add(path)
            elif is_archive_name(member.path):
                filled.update(path.parents)
                archives.append(member.path)
                yield self._entry(member, path, error="archive inside: unpack it, or make it a source of its own")
            elif (entry := self._image(member, path)) is not None:
                images += 1
                filled.update(path.parents)
                if path.parent not in seen:
                    seen.add(path.parent)
                    strays.add(path.parent.parts, self._layout.split_of(path.parent.parts))
                yield entry
            else:
                self.ignored += 1
                folders.add(path.parent)
                if self._layout.split_of(path.parent.parts) is None:
                    filled.update(path.parents)  # such as documentation beside the classes
        self._refuse_empty(folders, filled)
        if not images:
            only = f" but the archive {archives[0]}, which should replace the folder" if archives else ""
            raise UserError(f"data source '{self.name}': {self._container.path} holds no image{only}")
        self._refuse_layout(strays)

    def _refuse_layout(self, strays: Strays) -> None:
        if (stray := strays.find()) is not None:
            raise UserError(
                f"data source '{self.name}': {self._container.path} has images in {stray} beside splits, with the same "
                f"classes, but its name is of no split: rename it or take it away ({known_names()})"
            )
        if (mixed := self._layout.mixed()) is not None:
            raise UserError(
                f"data source '{self.name}': {self._container.path} has the class folders {mixed[0]} and {mixed[1]}: "
                "either all names of classes begin with a number or none"
            )
        if self._must_name and not self._named:
            raise UserError(
                f"data.sources.{self.name}.split_from_name: no file name in {self._container.path} begins with "
                f"{', '.join(SPLIT_PREFIXES)}, so the folders give the splits: leave the option out"
            )

    def _image(self, member: Member, path: PurePosixPath) -> Entry | None:
        """The entry of a file that is an image by its name or, without a suffix, by its first bytes; else None."""
        if is_image_name(member.path):
            return self._read(member, path)
        if not may_be_image(member.path):
            return None
        assert member.open is not None
        try:
            with member.open() as stream:
                start = stream.read(SIGNATURE)
                if not is_image_data(start):
                    return None
                if member.size > LARGEST_FILE:
                    return self._entry(member, path, error=f"file larger than {LARGEST_FILE >> 20} MiB")
                return self._entry(member, path, data=start + stream.read())
        except MemberError as error:
            return self._entry(member, path, error=str(error))

    def _read(self, member: Member, path: PurePosixPath) -> Entry:
        if member.size > LARGEST_FILE:
            return self._entry(member, path, error=f"file larger than {LARGEST_FILE >> 20} MiB")
        assert member.open is not None
        try:
            with member.open() as stream:
                return self._entry(member, path, data=stream.read())
        except MemberError as error:
            return self._entry(member, path, error=str(error))

    def _entry(self, member: Member, path: PurePosixPath, data: bytes | None = None, error: str = "") -> Entry:
        if error in ("path leaves the archive", "absolute path"):
            return Entry(self.name, member.path, "", "", error=error)
        split, label = self._layout.place(path.parent.parts)
        if self._split_from_name:
            named = next((use for prefix, use in SPLIT_PREFIXES.items() if path.name.startswith(prefix)), None)
            self._named += named is not None
            split = named or split
        label = label if self._label is None else self._label
        if not label and not error:
            return Entry(self.name, member.path, split, "", error="not inside a class folder")
        return Entry(self.name, member.path, split, label, data=data, error=error)

    def _refuse_empty(self, folders: set[PurePosixPath], filled: set[PurePosixPath]) -> None:
        has_splits = any(self._layout.split_of(folder.parts) is not None for folder in folders | filled)
        for folder in sorted(folders - filled - {PurePosixPath(".")}):
            if has_splits and self._layout.split_of(folder.parts) is None:
                continue  # beside the splits, so not a class folder
            kind = "split" if split_named(folder.name) else "class"
            shown = self._container.path / folder if isinstance(self._container, Folder) else folder
            where = "" if isinstance(self._container, Folder) else f" in {self._container.path}"
            raise UserError(
                f"data source '{self.name}': {kind} folder {shown}{where} holds no image; fill it or remove it"
            )


def is_image_name(path: str) -> bool:
    """Whether the name has an image suffix and is not a hidden or system file."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.suffix.lower() in IMAGE_SUFFIXES and not is_rubbish(pure)


def may_be_image(path: str) -> bool:
    """Whether the name has no suffix that says what the file is, so that its first bytes must."""
    suffix = PurePosixPath(path.replace("\\", "/")).suffix
    return suffix in ("", ".") or suffix[1:].isdigit() or len(suffix) > 5


def is_archive_name(path: str) -> bool:
    """Whether the name is that of an archive, one that can be read or another."""
    return path.lower().endswith((*ARCHIVE_SUFFIXES, ".rar", ".7z"))


def is_rubbish(path: PurePosixPath) -> bool:
    """Whether the path is a hidden file, in `__MACOSX`, or a thumbnail cache."""
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    return hidden or "__MACOSX" in path.parts or path.name.lower() in ("thumbs.db", "desktop.ini")
