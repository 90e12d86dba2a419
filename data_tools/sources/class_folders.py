"""Images in folders named after their classes: `split/class/file` or `class/file`, on disk or in an archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from data_tools.sources.base import Entry, Fingerprint
from data_tools.sources.containers import ARCHIVE_SUFFIXES, Container, Folder, Member, MemberError, TarArchive, damaged
from data_tools.sources.split_names import known_names, split_named
from foundation.errors import UserError

# File names of FER-2013 begin with the value of its Usage column; the folders of a download may differ from it.
SPLIT_PREFIXES = {"Training_": "train", "PublicTest_": "validation", "PrivateTest_": "test"}

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pnm", ".tga", ".jp2", ".avif"),
)
LARGEST_FILE = 64 * 2**20  # bytes: larger than any image of a face; a zip member may unpack to any size


class ClassFolders:
    """A tree of class folders, which may lie below a few wrapping folders.

    A file with an image suffix becomes an entry in any folder. Links and paths that lead out of the archive become
    refused entries. All other files are counted in `ignored`.
    """

    def __init__(self, name: str, container: Container, split_from_name: bool = False) -> None:
        self.name = name
        self.ignored = 0
        self._container = container
        self._split_from_name = split_from_name

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the folder or archive."""
        return self._container.fingerprint()

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
        self.ignored = 0
        folders: set[PurePosixPath] = set()
        filled: set[PurePosixPath] = set()  # folders with an image or another real file
        archives: list[str] = []
        images, places = 0, _Places()
        for member in self._container.members():
            path = PurePosixPath(member.path.replace("\\", "/"))
            if is_rubbish(path):
                self.ignored += 1
            elif member.refused:
                yield self._entry(member, path, error=member.refused)
            elif member.open is None:
                folders.add(path)
            elif member.path.lower().endswith((*ARCHIVE_SUFFIXES, ".rar", ".7z")):
                filled.update(path.parents)
                archives.append(member.path)
                yield self._entry(member, path, error="archive inside: unpack it, or make it a source of its own")
            elif is_image_name(member.path):
                images += 1
                filled.update(path.parents)
                places.add(path)
                yield self._read(member, path)
            else:
                self.ignored += 1
                folders.add(path.parent)
                if split_of(path.parent.parts) is None:
                    filled.update(path.parents)  # such as documentation beside the classes
        self._refuse_empty(folders, filled)
        if stray := places.stray():
            raise UserError(
                f"data source '{self.name}': {self._container.path} has images in {stray} beside splits, with the same "
                f"classes, but its name is of no split: rename it or take it away ({known_names()})"
            )
        if not images:
            only = f" but the archive {archives[0]}, which should replace the folder" if archives else ""
            raise UserError(f"data source '{self.name}': {self._container.path} holds no image{only}")

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
        split, label = place(path)
        if self._split_from_name:
            named = (use for prefix, use in SPLIT_PREFIXES.items() if path.name.startswith(prefix))
            split = next(named, split)
        if not label and not error:
            return Entry(self.name, member.path, split, "", error="not inside a class folder")
        return Entry(self.name, member.path, split, label, data=data, error=error)

    def _refuse_empty(self, folders: set[PurePosixPath], filled: set[PurePosixPath]) -> None:
        has_splits = any(split_of(folder.parts) is not None for folder in folders | filled)
        for folder in sorted(folders - filled - {PurePosixPath(".")}):
            if has_splits and split_of(folder.parts) is None:
                continue  # beside the splits, so not a class folder
            kind = "split" if split_named(folder.name) else "class"
            shown = self._container.path / folder if isinstance(self._container, Folder) else folder
            where = "" if isinstance(self._container, Folder) else f" in {self._container.path}"
            raise UserError(
                f"data source '{self.name}': {kind} folder {shown}{where} holds no image; fill it or remove it"
            )


class _Places:
    """Which folders have images of which classes: to find one beside splits that is a split by another name."""

    def __init__(self) -> None:
        self._in_splits: dict[tuple[str, ...], set[str]] = {}  # by the folder of the splits: their classes
        self._others: dict[tuple[str, ...], set[str]] = {}  # by a folder: the names of those in it

    def add(self, path: PurePosixPath) -> None:
        """Count an image."""
        folders = path.parent.parts
        at = split_of(folders)
        if at is not None:
            self._in_splits.setdefault(folders[:at], set()).update(folders[at + 1 : at + 2])
            return
        for depth in range(1, len(folders)):
            self._others.setdefault(folders[:depth], set()).update(folders[depth:])

    def stray(self) -> str | None:
        """Such a folder, if there is one: beside splits, with one of their classes in it."""
        for folder, inside in self._others.items():
            if inside & self._in_splits.get(folder[:-1], set()):
                return "/".join(folder)
        return None


def place(path: PurePosixPath) -> tuple[str, str]:
    """Split and class name of an image at `path`; '' if the folders do not name them."""
    folders = path.parent.parts
    at = split_of(folders)
    if at is None:
        return "", folders[-1] if folders else ""
    return split_named(folders[at]) or "", folders[at + 1] if at + 1 < len(folders) else ""


def split_of(folders: tuple[str, ...]) -> int | None:
    """Position of the folder that names the split, or None.

    The outermost such folder; of several in a row, as in `train/train/cat` or `test data/train/cat`, the innermost that
    has a class behind it.
    """
    at = next((index for index, name in enumerate(folders) if split_named(name)), None)
    while at is not None and at + 2 < len(folders) and split_named(folders[at + 1]):
        at += 1
    return at


def is_image_name(path: str) -> bool:
    """Whether the name has an image suffix and is not a hidden or system file."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.suffix.lower() in IMAGE_SUFFIXES and not is_rubbish(pure)


def is_rubbish(path: PurePosixPath) -> bool:
    """Whether the path is a hidden file, in `__MACOSX`, or a thumbnail cache."""
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    return hidden or "__MACOSX" in path.parts or path.name.lower() in ("thumbs.db", "desktop.ini")
