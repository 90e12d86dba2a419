"""Containers of files: a folder, a zip, a tar or a single file, read as a stream of members without unpacking."""

from __future__ import annotations

import bz2
import copy
import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from data_tools.sources.base import Fingerprint
from foundation.errors import UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


# Limits against archives that unpack to more than anybody meant to store: 3 MB can hold 3 GB, and 10 MB 280 TB.
LARGEST_MEMBER = 2**30  # bytes of one unpacked file; FER-2013's table has 300 MB
LARGEST_RATIO = 200  # unpacked bytes for each byte of an archive, ...
ALWAYS_UNPACKED = 2**30  # ... which counts from this many on
_LARGEST_NAME = 2**20  # bytes of a long name or of extended attributes in a tar

LZMA_MEMORY = 2**29  # bytes of LZMA's dictionary; `xz -9` has 64 MiB, a header may claim 4 GiB
_ONE_READ = 512  # compressed bytes that LZMA in a zip gets at once: it unpacks all of them, to 4 MB at most


def _of_a_day(folder: Path) -> bool:
    return re.fullmatch(r"\d{4}-\d\d-\d\d", folder.name) is not None


# What lies in the folders into which commands write unless they are told otherwise.
_OUTPUTS: dict[str, Callable[[Path], bool]] = {
    "audits": _of_a_day,
    "runs": lambda folder: _of_a_day(folder) or folder.name == "benchmark",
    "sweeps": _of_a_day,
    "packs": lambda folder: (folder / "pack.json").is_file(),
}


class MemberError(Exception):
    """One member cannot be read; the message gives the reason in a few words. Other members are not affected."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder in a container. `open` is None for a folder and for a refused member.

    The stream of `open()` must be read before the next member is requested, because a tar is read strictly forwards.
    """

    path: str
    open: Callable[[], IO[bytes]] | None = None
    size: int = 0
    refused: str = ""  # why the member must not be read


class Container(Protocol):
    """A stream of members in any order, and a fingerprint of the container."""

    path: Path

    def members(self) -> Iterator[Member]:
        """Stream all members. Raises `UserError` if the container is damaged."""
        ...

    def fingerprint(self) -> Fingerprint:
        """Size and time of the current content."""
        ...


class LoneFile:
    """A single file, which is its only member."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def members(self) -> Iterator[Member]:
        """The file itself."""
        yield Member(printable(self.path.name), lambda: _open(self.path), self.path.stat().st_size)

    def fingerprint(self) -> Fingerprint:
        """Name, size and time of the file."""
        return file_fingerprint(self.path)


class Folder:
    """A folder tree on disk, listed once.

    A symbolic link is followed if it stays inside the folder and does not lead back to a folder around it; others are
    refused. With `deep=False` the folders in it are left out. So are those that a command wrote when it was called in
    this folder: they are named in `outputs`.
    """

    def __init__(self, path: Path, deep: bool = True) -> None:
        self.path = path
        self._deep = deep
        self.outputs: list[str] = []
        self._listing: list[Path] | None = None

    def members(self) -> Iterator[Member]:
        """Folders and files below the folder, by path."""
        for file in self._files():
            yield self.member(file)

    def member(self, file: Path) -> Member:
        """The member at `file`, a path below the folder."""
        name = printable(file.relative_to(self.path).as_posix())
        try:
            if file.is_symlink() and (reason := self._leads(file)):
                return Member(name, refused=reason)
            info = file.stat()
            if stat.S_ISDIR(info.st_mode):
                os.scandir(file).close()  # whether it can be listed
                return Member(name)
        except OSError as error:
            return Member(name, refused=unreadable(error))
        if stat.S_ISREG(info.st_mode):
            return Member(name, lambda: _open(file), info.st_size)
        return Member(name, refused="neither a file nor a folder")

    def fingerprint(self) -> Fingerprint:
        """Number of files, their total size, the latest time among them, and a hash of all paths.

        The times of folders are left out: writing results beside the images changes them.
        """
        count = size = latest = 0
        paths = hashlib.sha256()
        for file in self._files():
            try:
                info = file.stat()
            except OSError:
                continue  # removed meanwhile; `member` refuses what cannot be read
            paths.update(os.fsencode(file.relative_to(self.path)) + b"\0")
            if stat.S_ISREG(info.st_mode):
                count, size, latest = count + 1, size + info.st_size, max(latest, info.st_mtime_ns)
        return {
            "name": self.path.name, "files": count, "size": size, "mtime_ns": latest, "paths": paths.hexdigest()[:16]
        }  # fmt: skip

    def _files(self) -> list[Path]:
        if self._listing is None:
            self._listing = list(self._walk(self.path))
        return self._listing

    def _walk(self, folder: Path) -> Iterator[Path]:
        try:
            paths = sorted(folder.iterdir())
        except OSError:
            if folder == self.path:
                raise
            return  # `member` refuses it
        for path in paths:
            is_folder = path.is_dir()
            if is_folder and not self._deep:
                continue
            if is_folder and folder == self.path and _is_output(path):
                self.outputs.append(path.name)
                continue
            yield path
            if is_folder and not (path.is_symlink() and self._leads(path)):
                yield from self._walk(path)

    def _leads(self, link: Path) -> str:
        """Why a symbolic link must not be followed; '' if it may."""
        try:
            target, top = link.resolve(strict=True), self.path.resolve()
        except OSError as error:  # a loop is an OSError from Python 3.13 on
            return "symbolic link in a circle" if error.errno == errno.ELOOP else "symbolic link to nothing"
        except RuntimeError:
            return "symbolic link in a circle"
        if target.is_dir() and link.parent.resolve().is_relative_to(target):
            return "symbolic link in a circle"
        if not target.is_relative_to(top):
            return "symbolic link out of the data folder"
        # Behind a followed link, only as far as the tree itself goes: else two links to each other's folders loop.
        if any(parent.is_symlink() for parent in link.parents if parent != self.path and self.path in parent.parents):
            return "symbolic link behind a symbolic link"
        return ""


def _is_output(folder: Path) -> bool:
    """Whether this is one of the folders of results, with nothing in it but results."""
    looks = _OUTPUTS.get(folder.name)
    try:
        return looks is not None and all(entry.name.startswith(".") or looks(entry) for entry in folder.iterdir())
    except OSError:
        return False


class Budget:
    """The bytes that an archive may still unpack to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = max(ALWAYS_UNPACKED, LARGEST_RATIO * path.stat().st_size)

    def take(self, count: int) -> None:
        """Count unpacked bytes. Raises `UserError` for an archive that unpacks to too much."""
        self._left -= count
        if self._left < 0:
            raise UserError(
                f"{self._path} unpacks to more than {LARGEST_RATIO} times its size: if that is right, unpack it by hand"
            )


class ZipArchive:
    """A zip file, read member by member; its directory is read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None

    def members(self) -> Iterator[Member]:
        """Folders and files of the archive, in its own order."""
        with damaged(self.path):
            if self._archive is None:
                self._archive = zipfile.ZipFile(self.path)
            archive, budget = self._archive, Budget(self.path)
            for info in archive.infolist():
                name = printable(info.filename)
                mode = info.external_attr >> 16
                if reason := leaves(name):
                    yield Member(name, refused=reason)
                elif stat.S_ISLNK(mode):
                    yield Member(name, refused="symbolic link")
                elif info.is_dir():
                    yield Member(name.rstrip("/"))
                elif info.flag_bits & 1:
                    yield Member(name, refused="encrypted")
                else:
                    yield Member(name, lambda info=info: _unzip(archive, info, budget), info.file_size)  # type: ignore[misc]

    def fingerprint(self) -> Fingerprint:
        """Name, size and time of the archive."""
        return file_fingerprint(self.path)


class TarArchive:
    """A tar, plain or compressed, read once from front to back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def members(self) -> Iterator[Member]:
        """Folders and files of the archive, in its own order."""
        # Decompressed outside of tarfile, whose own streams accept a truncated file.
        budget = Budget(self.path)
        with (
            damaged(self.path),
            self._decompressed() as file,
            _Counted(file, budget) as raw,
            _tar(cast(Any, raw)) as archive,
        ):
            for info in archive:
                name = printable(info.name)
                if reason := leaves(name):
                    yield Member(name, refused=reason)
                elif info.isdir():
                    yield Member(name)
                elif info.isreg():
                    yield Member(name, lambda info=info: _untar(archive, info), info.size)  # type: ignore[misc]
                else:
                    kind = "symbolic link" if info.issym() else "hard link" if info.islnk() else "device"
                    yield Member(name, refused=kind)
            while raw.read(2**16):
                pass  # to the end, where the checksum is; tarfile stops earlier

    def fingerprint(self) -> Fingerprint:
        """Name, size and time of the archive."""
        return file_fingerprint(self.path)

    def _decompressed(self) -> IO[bytes]:
        with self.path.open("rb") as file:
            start = file.read(8)  # the first bytes show the compression; the file name may be wrong
        if (opener := _compression(start)) is not None:
            return opener(self.path)
        # An uncompressed tar has no checksum; if it is cut between two members, only its end marker is missing.
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < 512 or not file.seek(-512, os.SEEK_END) or any(file.read()):
                raise EOFError("it does not end like a tar")
        return self.path.open("rb")


class _Counted(io.RawIOBase):
    """The stream of a tar, whose bytes count, also those of members that are passed over."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._stream.read(size if size is not None and size >= 0 else 2**16)
        self._budget.take(len(data))
        return data


class _StrictTarInfo(tarfile.TarInfo):
    """Raises an error for a damaged header, which tarfile takes for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictTarInfo:
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error
        if not (found.isreg() or found.isdir()) and found.size > _LARGEST_NAME:  # tarfile reads it at once
            raise tarfile.ReadError(f"a header claims {found.size:,} bytes")
        return found


def _tar(raw: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=raw, mode="r|", tarinfo=_StrictTarInfo)


class damaged:
    """Context manager that turns the archive libraries' errors on a damaged archive into a `UserError` naming it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        broken = (
            *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError),
            UnicodeDecodeError,  # a name in a zip that is marked as UTF-8 and is not
            *(NotImplementedError, struct.error),  # of zipfile on versions and headers that it does not know
        )
        if isinstance(error, MemberError):  # of the table that the source needs
            raise UserError(f"{self.path}: the table in it: {error}") from error
        corrupt = isinstance(error, OSError) and error.errno is None  # raised by bz2, not by the disk
        if corrupt or isinstance(error, broken):
            raise UserError(f"{self.path} is damaged or incomplete ({error}); download it again") from error


def open_container(path: Path) -> Container:
    """The container at `path`: a folder, zip, tar or single file; without a known suffix, its first bytes decide."""
    if path.is_dir():
        return Folder(path)
    name = path.name.lower()
    if name.endswith(".zip"):
        return ZipArchive(path)
    if name.endswith(ARCHIVE_SUFFIXES):
        return TarArchive(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if start.startswith(b"PK\x03\x04"):
            return ZipArchive(path)
        if (opener := _compression(start)) is not None:
            with opener(path) as stream:
                start = stream.read(512)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return LoneFile(path)  # what reads it says what is wrong
    return TarArchive(path) if start[257:262] == b"ustar" else LoneFile(path)


def _compression(start: bytes) -> Callable[[Path], IO[bytes]] | None:
    """The opener of a compressed file that begins like this; None if it is not compressed."""
    openers = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ": _open_xz, b"BZh": bz2.open}
    return next((cast(Any, opener) for magic, opener in openers.items() if start.startswith(magic)), None)


def _open_xz(path: Path) -> IO[bytes]:
    return io.BufferedReader(_Xz(path))


class _Xz(io.RawIOBase):
    """The content of an .xz file, of one stream or several. Unlike `lzma.open` it has a limit of memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decompressor = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            if self._decompressor.eof:
                rest = (self._decompressor.unused_data + self._file.read(2**16)).lstrip(b"\0")  # padding
                if not rest:
                    return 0
                self._decompressor = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
            else:
                rest = self._file.read(2**16) if self._decompressor.needs_input else b""
                if self._decompressor.needs_input and not rest:
                    raise EOFError("the compressed data end too early")
            data = self._decompressor.decompress(rest, len(view))
            if data:
                view[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def again(container: Container, seen: list[Member]) -> Iterable[Member]:
    """The members that were `seen` in one pass over the container, to be opened now.

    Only a tar is passed over again, because it can only be read forwards.
    """
    return container.members() if isinstance(container, TarArchive) else seen


def leaves(name: str) -> str:
    """Why a member's name is not a path below the archive; '' if it is one."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        return "path leaves the archive"
    return "absolute path" if parts[0] == "" or re.match(r"^[A-Za-z]:", name) else ""


def printable(name: str) -> str:
    """A file name that can be written as UTF-8: bytes that are not UTF-8 become `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def file_fingerprint(path: Path) -> Fingerprint:
    """Name, size and modification time of a file."""
    info = path.stat()
    return {"name": path.name, "size": info.st_size, "mtime_ns": info.st_mtime_ns}


def unreadable(error: OSError) -> str:
    """Why a file or folder cannot be read, in a few words."""
    return f"cannot be read ({os.strerror(error.errno or 0)})"


def _open(path: Path) -> IO[bytes]:
    try:
        return io.BufferedReader(_Forwards(path.open("rb"), OSError))
    except OSError as error:
        raise MemberError(unreadable(error)) from error


_BROKEN_IN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error, RuntimeError),
    *(IndexError, TypeError, UnicodeError, MemoryError),  # of the library on headers that it does not expect
)


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> IO[bytes]:
    if info.file_size > LARGEST_MEMBER:
        raise MemberError(_TOO_LARGE)
    try:
        if info.compress_type == zipfile.ZIP_LZMA:
            _check_dictionary(archive, info)
        stream = _bunzipped(archive, info) if info.compress_type == zipfile.ZIP_BZIP2 else archive.open(info)
    except NotImplementedError as error:
        raise MemberError("compressed by a method that cannot be read") from error
    except _BROKEN_IN_ZIP as error:
        raise MemberError("damaged in the archive") from error
    bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    if not bounded:
        cast(Any, stream).MIN_READ_SIZE = _ONE_READ
    return io.BufferedReader(_Forwards(stream, _BROKEN_IN_ZIP, budget, 2**16 if bounded else _ONE_READ, info.file_size))


def _bunzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member of bzip2 with a bound on what is unpacked at once; `zipfile` has none, and 40 bytes can be 46 MB."""
    return cast(Any, bz2.open(_compressed(archive, info)))  # it has checksums of its own


def _check_dictionary(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Raise `MemberError` for a member of LZMA whose dictionary would take too much memory."""
    with _compressed(archive, info) as stream:
        start = stream.read(9)  # version, length of the properties, a byte of them, the size of the dictionary
    if len(start) == 9 and int.from_bytes(start[5:], "little") > LZMA_MEMORY:
        raise MemberError(f"needs more than {LZMA_MEMORY >> 20} MiB of memory to unpack")


def _compressed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """The bytes of a member as they are in the archive."""
    stored = copy.copy(info)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
    stored.CRC = cast(Any, None)  # that of the unpacked bytes
    return archive.open(stored)


_TOO_LARGE = f"unpacks to more than {LARGEST_MEMBER >> 20} MiB"


def _untar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    if info.size > LARGEST_MEMBER:  # the holes of a sparse file are not in the archive
        raise MemberError(_TOO_LARGE)
    stream = archive.extractfile(info)
    assert stream is not None  # the caller has checked that it is a regular file
    return io.BufferedReader(_Forwards(stream))


class _Forwards(io.RawIOBase):
    """A member as a complete binary stream; tarfile's own stream lacks `seekable`.

    `failures` are the errors in reading that concern only this member; they become a `MemberError`. What is read counts
    in the `budget` of the archive and at most `at_once` bytes are asked for. With `size`, a stream of another size is
    one of these failures.
    """

    def __init__(
        self,
        stream: IO[bytes],
        failures: type[Exception] | tuple[type[Exception], ...] = (),
        budget: Budget | None = None,
        at_once: int = 2**20,
        size: int | None = None,
    ) -> None:
        self._stream = stream
        self._failures = failures
        self._budget = budget
        self._at_once = at_once
        self._size, self._done = size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._stream.read(min(len(view), self._at_once))
        except self._failures as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise MemberError(unreadable(error)) from error
            raise MemberError("damaged in the archive") from error
        self._done += len(data)
        if self._size is not None and (self._done > self._size or (not data and self._done < self._size)):
            raise MemberError("damaged in the archive")
        if self._done > LARGEST_MEMBER and self._budget is not None:
            raise MemberError(_TOO_LARGE)
        if self._budget is not None:
            self._budget.take(len(data))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
