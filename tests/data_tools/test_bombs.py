"""Archives that unpack to more than their limits, which are made small here: one line, and little memory."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from data_tools.sources import containers
from data_tools.sources.containers import MemberError, open_container
from foundation.errors import UserError

MB = 2**20


def read(path) -> dict[str, bytes | str]:
    """Every member's content, or why it has none."""
    found: dict[str, bytes | str] = {}
    for member in open_container(path).members():
        try:
            found[member.path] = member.open().read() if member.open else member.refused
        except MemberError as error:
            found[member.path] = str(error)
    return found


def peak(path) -> int:
    tracemalloc.start()
    read(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def zipped(path, content: bytes, method: int, declared: int | None = None) -> None:
    """A zip with `a.csv` whose headers claim `declared` bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.csv", content)
        archive.writestr("b.txt", b"whole")
    if declared is not None:
        data, real = bytearray(path.read_bytes()), struct.pack("<I", len(content))
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = data.index(signature) + offset
            assert data[at : at + 4] == real
            data[at : at + 4] = struct.pack("<I", declared)
        path.write_bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_to_more_than_it_declares_is_damaged_and_costs_no_memory(tmp_path, method):
    path = tmp_path / "a.zip"
    zipped(path, b"\0" * 64 * MB, method, 1000)
    assert read(path) == {"a.csv": "damaged in the archive", "b.txt": b"whole"}
    assert peak(path) < 32 * MB


def test_a_member_that_declares_more_than_it_has_is_damaged(tmp_path):
    path = tmp_path / "a.zip"
    zipped(path, b"abc" * 1000, zipfile.ZIP_DEFLATED, 5000)
    assert read(path)["a.csv"] == "damaged in the archive"


def test_a_large_member_is_refused_by_its_header_and_by_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "LARGEST_MEMBER", MB)
    path = tmp_path / "a.zip"
    zipped(path, bytes(2 * MB), zipfile.ZIP_DEFLATED)
    assert read(path) == {"a.csv": containers._TOO_LARGE, "b.txt": b"whole"}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = 2 * MB
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert read(tmp_path / "a.tar.gz") == {"a.csv": containers._TOO_LARGE}


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_unpacks_to_many_times_its_size_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(containers, "ALWAYS_UNPACKED", 4 * MB)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(6):
                archive.writestr(f"{number}.csv", bytes(MB))
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for number in range(6):
                info = tarfile.TarInfo(f"{number}.csv")
                info.size = MB
                archive.addfile(info, io.BytesIO(bytes(MB)))
    with pytest.raises(UserError, match="times its size: if that is right, unpack it by hand"):
        read(path)
    if kind != "zip":  # also if nothing in it is wanted
        with pytest.raises(UserError, match="times its size"):
            list(open_container(path).members())
    monkeypatch.setattr(containers, "LARGEST_RATIO", 10**6)
    assert len(read(path)) == 6


def test_a_long_header_of_a_tar_is_not_read_at_once(tmp_path):
    path = tmp_path / "a.tar.bz2"
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 64 * MB
    path.write_bytes(bz2.compress(header.tobuf() + bytes(64 * MB + 1024)))
    tracemalloc.start()
    with pytest.raises(UserError, match="damaged"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 32 * MB
    tracemalloc.stop()


def test_a_dictionary_of_lzma_that_takes_gigabytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    zipped(path, b"abc" * 1000, zipfile.ZIP_LZMA)
    assert read(path) == {"a.csv": b"abc" * 1000, "b.txt": b"whole"}
    data = bytearray(path.read_bytes())
    at = data.index(b"a.csv") + 5 + 5  # behind the name: version, length and first byte of the properties
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read(path)["a.csv"] == "needs more than 512 MiB of memory to unpack"
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz", preset=9) as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = 3000
        archive.addfile(info, io.BytesIO(b"abc" * 1000))
    assert read(tmp_path / "a.tar.xz") == {"a.csv": b"abc" * 1000}
    monkeypatch.setattr(containers, "LZMA_MEMORY", MB)
    with pytest.raises(UserError, match=r"[Mm]emory"):
        read(tmp_path / "a.tar.xz")


def test_several_streams_of_xz_are_one_file(tmp_path):
    plain = tmp_path / "a.tar"
    with tarfile.open(plain, "w") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = 5000
        archive.addfile(info, io.BytesIO(b"x" * 5000))
    data = plain.read_bytes()
    (tmp_path / "b.tar.xz").write_bytes(lzma.compress(data[:3000]) + bytes(8) + lzma.compress(data[3000:]) + bytes(4))
    assert read(tmp_path / "b.tar.xz") == {"a.csv": b"x" * 5000}


def test_a_table_in_an_archive_is_read_row_by_row(tmp_path):
    from data_tools.sources.find import make_source  # noqa: PLC0415

    path = tmp_path / "listed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fer2013.csv", "emotion,pixels,Usage\n" + " " * 100 + ("\n" * 1000 + " " * 100_000) * 300)
    source = make_source("listed", str(tmp_path), {"kind": "files"})
    tracemalloc.start()
    assert list(source.entries()) == []
    assert tracemalloc.get_traced_memory()[1] < 8 * MB
    tracemalloc.stop()
