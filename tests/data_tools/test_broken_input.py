"""Broken and odd input of every kind: set aside with its reason or refused in one line, and the rest is complete.

Tables have their own files: test_fer_csv.py, test_listed.py, test_fer_plus.py, test_csv_rows.py.
"""

import errno
import io
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import Pack, configured, encoded, files_of, pixels, png, prepared, write_tar, write_tree, write_zip
from PIL import Image

from data_tools.prepare import prepare
from data_tools.reading.images import fit
from foundation.errors import UserError

GOOD = files_of({"train": 4, "validation": 2, "test": 2})
OTHER = files_of({"train": 2, "validation": 1, "test": 1}, first=300)


def merged(root: Path) -> Pack:
    """The pack of the source under test, `tiny`, and a whole one beside it; every good image must be in it."""
    write_tree(root / "other", OTHER)
    pack = prepared(configured(root, "tiny", "other"))
    for name, files in (("tiny", GOOD), ("other", OTHER)):
        for path, data in files.items():
            row = pack.by_id[f"{name}:{path}"]
            assert row.status == "kept"
            assert encoded(pack.images[row.pack_row, :, :, 0]) == data
    assert all(bool(row.reason) == (row.status != "kept") for row in pack.rows)
    return pack


def refused(root: Path, message: str) -> None:
    write_tree(root / "other", OTHER)
    with pytest.raises(UserError, match=message) as caught:
        prepare(configured(root, "tiny", "other"))
    assert str(caught.value).isprintable()
    assert not (root.parent / "packs").exists() or not list((root.parent / "packs").iterdir())


def only_set_aside(pack: Pack) -> tuple[str, str]:
    (row,) = pack.where(status="set_aside")
    assert row.pack_row is None
    return row.path, row.reason


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) if crc is None else crc)
    )


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def scan(side: int, crc: int | None = None) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes((side + 1) * side)), crc)


JPEG = encoded(pixels(1, 64), "jpeg")
PROGRESSIVE = encoded(pixels(1, 64), "jpeg", progressive=True)
TIFF = encoded(pixels(1, 64), "tiff")
NOT_AN_IMAGE = "not an image that can be recognised"
DAMAGED = "(truncated|damaged) image file"

# What stands under the name of a image, and the reason that the manifest gives.
BROKEN_FILES: dict[str, tuple[str, bytes, str]] = {
    "no bytes": ("x.png", b"", "empty file"),
    "one byte": ("x.png", b"\x89", NOT_AN_IMAGE),
    "text": ("x.jpg", b"hello", NOT_AN_IMAGE),
    "zeros": ("x.jpg", bytes(5000), NOT_AN_IMAGE),
    "an error page": ("x.jpg", b"<!DOCTYPE html><html><body>404</body></html>", NOT_AN_IMAGE),
    "a pointer of Git LFS": (
        "x.jpg",
        b"version https://git-lfs.github.com/spec/v1\n",
        NOT_AN_IMAGE,
    ),
    "SVG": ("x.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", NOT_AN_IMAGE),
    "a zip": ("x.png", b"PK\x03\x04" + bytes(60), NOT_AN_IMAGE),
    "wrong magic": ("x.png", b"\x88" + png(1)[1:], NOT_AN_IMAGE),
    "magic and nothing more": ("x.png", b"\x89PNG\r\n\x1a\n", f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "JPEG cut in its data": ("x.jpg", JPEG[:-300], DAMAGED),
    "JPEG cut in its header": ("x.jpg", JPEG[:30], f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "progressive JPEG cut": ("x.jpg", PROGRESSIVE[: len(PROGRESSIVE) // 2], DAMAGED),
    "PNG cut": ("x.png", encoded(pixels(1, 64))[:-300], DAMAGED),
    "PNG without data": ("x.png", png_of(8, 8), DAMAGED),
    "PNG with a wrong checksum": ("x.png", png_of(8, 8, scan(8, crc=1)), f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "PNG of no width": ("x.png", png_of(0, 8, scan(8)), f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "TIFF cut": ("x.tif", TIFF[:100], f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "GIF cut": ("x.gif", encoded(pixels(1, 64), "gif")[:200], f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "BMP cut": ("x.bmp", encoded(pixels(1, 64), "bmp")[:400], f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "WebP cut": ("x.webp", encoded(pixels(1, 64, 3), "webp")[:200], f"{NOT_AN_IMAGE}|{DAMAGED}"),
    "floating point below 0": ("x.tif", saved(Image.new("F", (8, 8), -0.5), "tiff"), "floating-point pixels below 0"),
    "floating point, not a number": (
        "x.tif",
        saved(Image.new("F", (8, 8), float("nan")), "tiff"),
        "floating-point pixels that are not numbers",
    ),
    "32 bits": ("x.tif", saved(Image.new("I", (8, 8), 70_000), "tiff"), "pixels of more than 16 bits"),
    "20,000 x 20,000": ("x.png", png_of(20_000, 20_000, scan(8)), "too large"),
    "60,000 x 60,000": ("x.png", png_of(60_000, 60_000, scan(8)), "too large"),
    "9,000 x 9,000 in few bytes": (
        "x.png",
        saved(Image.new("1", (9000, 9000)), "png"),
        "too large .9000 x 9000 pixels.",
    ),
}


@pytest.mark.parametrize("container", ["folder", "zip", "tar.xz"])
@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_broken_file_is_set_aside(root: Path, kind: str, container: str) -> None:
    name, data, reason = BROKEN_FILES[kind]
    files = GOOD | {f"train/cat/{name}": data}
    if container == "folder":
        write_tree(root / "tiny", files)
    else:
        (write_zip if container == "zip" else write_tar)(root / f"tiny.{container}", files)
    path, told = only_set_aside(merged(root))
    assert path == f"train/cat/{name}"
    assert re.match(reason, told), told


def rotated() -> tuple[bytes, np.ndarray]:
    upright = pixels(5, 16)
    image = Image.fromarray(np.rot90(upright))  # a quarter turn to the left; orientation 6 says: turn it right
    exif = image.getexif()
    exif[0x0112] = 6
    return saved(image, "png", exif=exif), upright


def animated(kind: str, **options: object) -> bytes:
    frames = [Image.new("RGB", (8, 8), (value,) * 3) for value in (10, 90, 200)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)


def palette() -> bytes:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 80, 80, 80])
    image.paste(1, (0, 0, 8, 4))
    return saved(image, "png", transparency=0)


HALF = np.repeat(np.array([80, 255], np.uint8), 32).reshape(8, 8)
WIDE = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
FLAT = np.full((8, 8), 10, np.uint8)

# Odd files that are whole, and the grey 8 x 8 image that has to come of them (give or take JPEG's rounding).
ODD_FILES: dict[str, tuple[str, bytes, np.ndarray]] = {
    "PNG called JPEG": ("x.jpg", png(50), pixels(50)),
    "a suffix in capitals": ("x.PNG", png(50), pixels(50)),
    "16 bits": ("x.png", encoded(WIDE), (WIDE >> 8).astype(np.uint8)),
    "1 bit": ("x.png", saved(Image.fromarray(HALF > 100), "png"), np.where(HALF > 100, 255, 0)),
    "CMYK": ("x.jpg", saved(Image.new("CMYK", (8, 8), (0, 0, 0, 245)), "jpeg", quality=100), FLAT),
    "palette with transparency": ("x.png", palette(), HALF),
    "grey with transparency": ("x.png", saved(Image.new("LA", (8, 8), (9, 0)), "png"), np.full((8, 8), 255)),
    "animated GIF": ("x.gif", animated("gif"), FLAT),
    "animated WebP": ("x.webp", animated("webp", lossless=True), FLAT),
    "animated PNG": ("x.png", animated("png"), FLAT),
    "TIFF of several pages": ("x.tif", animated("tiff"), FLAT),
    "turned by EXIF": ("x.png", rotated()[0], fit(rotated()[1], 8, 1)[:, :, 0]),
    "EXIF that is noise": ("x.jpg", saved(Image.fromarray(FLAT), "jpeg", exif=b"Exif\0\0" + bytes(range(60))), FLAT),
    "PNG with text that unpacks to 80 MB": (
        "x.png",
        encoded(FLAT).replace(
            b"\0\0\0\0IEND", chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000))) + b"\0\0\0\0IEND"
        ),
        FLAT,
    ),
    "1 x 1": ("x.png", encoded(np.full((1, 1), 10, np.uint8)), FLAT),
    "20,000 x 3": ("x.png", encoded(np.full((3, 20_000), 10, np.uint8)), FLAT),
    "3 x 20,000": ("x.png", encoded(np.full((20_000, 3), 10, np.uint8)), FLAT),
    "JPEG with rubbish behind it": ("x.jpg", encoded(FLAT, "jpeg") + b"rubbish" * 99, FLAT),
    "a line break in the name": ("a\nb.png", png(50), pixels(50)),
    "a name of 250 letters": ("x" * 246 + ".png", png(50), pixels(50)),
    "a comma and quotes in the name": ('a,"b".png', png(50), pixels(50)),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_file_is_kept(root: Path, kind: str) -> None:
    name, data, sample = ODD_FILES[kind]
    write_tree(root / "tiny", GOOD | {f"train/cat/{name}": data})
    pack = merged(root)
    row = pack.by_id[f"tiny:train/cat/{name}"]
    assert row.status == "kept"
    difference = pack.images[row.pack_row, :, :, 0].astype(int) - sample
    assert abs(difference).max() <= (2 if data.startswith(b"\xff\xd8") else 0)


def test_names_that_differ_in_case_alone_are_two_images(root: Path) -> None:
    write_zip(root / "tiny.zip", GOOD | {"train/cat/X.png": png(50), "train/cat/x.png": png(51)})
    pack = merged(root)
    assert {pack.by_id[f"tiny:train/cat/{name}.png"].status for name in "xX"} == {"kept"}


@pytest.mark.parametrize("container", ["folder", "tar", "zip"])
def test_name_that_is_not_utf8(root: Path, container: str) -> None:
    name = "train/cat/\udcff.png"
    if container == "folder":
        write_tree(root / "tiny", GOOD | {name: png(50)})
    elif container == "tar":
        write_tar(root / "tiny.tar", GOOD)
        with tarfile.open(root / "tiny.tar", "a", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(png(50))
            archive.addfile(info, io.BytesIO(png(50)))
    else:
        write_zip(root / "tiny.zip", GOOD | {"train/cat/?.png": png(50)})
        data = (root / "tiny.zip").read_bytes()
        (root / "tiny.zip").write_bytes(data.replace(b"cat/?.png", b"cat/\xff.png"))
    # A zip without the flag for UTF-8 has its names in code page 437, where 0xFF is a no-break space.
    shown = "train/cat/\xa0.png" if container == "zip" else "train/cat/\\xff.png"
    assert merged(root).by_id[f"tiny:{shown}"].status == "kept"


def test_zip_name_that_claims_to_be_utf8_and_is_not(root: Path) -> None:
    write_zip(root / "tiny.zip", GOOD | {"train/cat/é.png": png(50)})
    data = (root / "tiny.zip").read_bytes()
    (root / "tiny.zip").write_bytes(data.replace("é".encode(), b"\xff\xff"))
    refused(root, r"tiny\.zip is damaged or incomplete .*download it again")


def loop(folder: Path) -> str:
    (folder / "train/cat/loop").symlink_to(folder)
    return "train/cat/loop"


def self_loop(folder: Path) -> str:
    (folder / "train/cat/loop.png").symlink_to("loop.png")
    return "train/cat/loop.png"


def link_out(folder: Path) -> str:
    (folder / "train/cat/out.png").symlink_to("/etc/hostname")
    return "train/cat/out.png"


def dangling(folder: Path) -> str:
    (folder / "train/cat/gone.png").symlink_to(folder / "nowhere.png")
    return "train/cat/gone.png"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "train/cat/pipe.png")
    return "train/cat/pipe.png"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        *((make, "symbolic link in a circle") for make in (loop, self_loop)),
        (link_out, "symbolic link out of the data folder"),
        (dangling, "symbolic link to nothing"),
        (pipe, "neither a file nor a folder"),
    ],
)
def test_what_is_no_file_on_disk(root: Path, make: Callable[[Path], str], reason: str) -> None:
    write_tree(root / "tiny", GOOD)
    path = make(root / "tiny")
    assert only_set_aside(merged(root)) == (path, reason)


def test_file_of_65_mib(root: Path) -> None:
    write_tree(root / "tiny", GOOD | {"train/cat/x.png": png(50)})
    os.truncate(root / "tiny/train/cat/x.png", 65 * 2**20)
    assert only_set_aside(merged(root)) == ("train/cat/x.png", "file larger than 64 MiB")


class FailingDisk(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "cannot be read (Permission denied)"),  # injected: nothing is closed to root
        (errno.ENOENT, "cannot be read (No such file or directory)"),  # deleted between listing and reading
        (errno.EIO, "cannot be read (Input/output error)"),  # after it was opened
    ],
)
def test_file_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    write_tree(root / "tiny", GOOD | {"train/cat/x.png": png(50)})
    whole = Path.open

    def failing(path: Path, *arguments: object, **options: object) -> object:
        if path.name != "x.png":
            return whole(path, *arguments, **options)
        if number == errno.EIO:
            return FailingDisk()
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", failing)
    assert only_set_aside(merged(root)) == ("train/cat/x.png", reason)


def test_folder_that_cannot_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(root / "tiny", GOOD | {"train/cat/closed/x.png": png(50)})

    def closed(function: Callable) -> Callable:
        def listing(path: Path, *arguments: object) -> object:
            if not isinstance(path, int) and Path(path).name == "closed":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *arguments)

        return listing

    for owner, name in ((Path, "iterdir"), (os, "scandir"), (os, "listdir")):
        monkeypatch.setattr(owner, name, closed(getattr(owner, name)))
    assert only_set_aside(merged(root)) == ("train/cat/closed", "cannot be read (Permission denied)")


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x.png", "path leaves the archive"),
        ("train/cat/../../../../x.png", "path leaves the archive"),
        ("train\\cat\\..\\..\\..\\x.png", "path leaves the archive"),
        ("/train/cat/x.png", "absolute path"),
        ("//server/share/x.png", "absolute path"),
        ("C:/train/cat/x.png", "absolute path"),
    ],
)
def test_member_that_leads_out(root: Path, kind: str, name: str, reason: str) -> None:
    (write_zip if kind == "zip" else write_tar)(root / f"tiny.{kind}", GOOD | {name: png(50)})
    assert only_set_aside(merged(root)) == (name, reason)
    assert not list(root.parent.rglob("x.png"))


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        (tarfile.LNKTYPE, "../../secret.png", "hard link"),
        (tarfile.LNKTYPE, "/etc/passwd", "hard link"),
        (tarfile.LNKTYPE, "train/cat/0.png", "hard link"),
        (tarfile.SYMTYPE, "/etc/passwd", "symbolic link"),
        (tarfile.SYMTYPE, "x.png", "symbolic link"),
        (tarfile.CHRTYPE, "", "device"),
        (tarfile.FIFOTYPE, "", "device"),
    ],
)
def test_member_of_a_tar_that_is_no_file(root: Path, kind: bytes, target: str, reason: str) -> None:
    (root.parent / "secret.png").write_bytes(png(77))
    info = tarfile.TarInfo("train/cat/x.png")
    info.type, info.linkname = kind, target
    write_tar(root / "tiny.tar.gz", GOOD, (info,))
    assert only_set_aside(merged(root)) == ("train/cat/x.png", reason)


def test_symbolic_link_in_a_zip(root: Path) -> None:
    write_zip(root / "tiny.zip", GOOD)
    info = zipfile.ZipInfo("train/cat/x.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(root / "tiny.zip", "a") as archive:
        archive.writestr(info, "/etc/passwd")
    assert only_set_aside(merged(root)) == ("train/cat/x.png", "symbolic link")


def patched(data: bytes, name: bytes, offset: int, central: int, value: bytes) -> bytes:
    """A zip with a field of one member's two headers overwritten."""
    out = bytearray(data)
    local = data.index(name) - 30
    directory = data.rindex(name) - 46
    out[local + offset : local + offset + len(value)] = value
    out[directory + central : directory + central + len(value)] = value
    return bytes(out)


@pytest.mark.parametrize(
    ("offset", "central", "value", "reason"),
    [
        (6, 8, b"\x01\x00", "encrypted"),
        (8, 10, b"\x63\x00", "compressed by a method that cannot be read"),
        (8, 10, b"\x08\x00", "damaged in the archive"),  # said to be deflated, which it is not
        (14, 16, b"\x00\x00\x00\x00", "damaged in the archive"),  # its checksum
        (22, 24, b"\xf0\xff\xff\xff", "file larger than 64 MiB"),  # said to unpack to 4 GiB
        (0, 42, b"\xff\xff\xff\x00", "damaged in the archive"),  # said to lie elsewhere
    ],
)
def test_damaged_member_of_a_zip(root: Path, offset: int, central: int, value: bytes, reason: str) -> None:
    write_zip(root / "tiny.zip", GOOD | {"train/cat/x.png": png(50)})
    data = (root / "tiny.zip").read_bytes()
    if central == 42:
        directory = data.rindex(b"train/cat/x.png") - 46
        data = data[: directory + 42] + value + data[directory + 46 :]
    else:
        data = patched(data, b"train/cat/x.png", offset, central, value)
    (root / "tiny.zip").write_bytes(data)
    assert only_set_aside(merged(root)) == ("train/cat/x.png", reason)


@pytest.mark.parametrize("container", ["folder", "zip", "tar"])
@pytest.mark.parametrize("name", ["train/cat/more.zip", "more.tar.gz", "test/old.7z"])
def test_archive_in_the_source(root: Path, container: str, name: str) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("train/cat/hidden.png", png(50))
    files = GOOD | {name: inner.getvalue()}
    if container == "folder":
        write_tree(root / "tiny", files)
    else:
        (write_zip if container == "zip" else write_tar)(root / f"tiny.{container}", files)
    path, reason = only_set_aside(merged(root))
    assert (path, reason) == (name, "archive inside: unpack it, or make it a source of its own")


def test_nothing_but_an_archive_in_the_folder(root: Path) -> None:
    write_tree(root / "tiny", {"archive.zip": b"PK"})
    refused(root, r"tiny holds no image but the archive archive\.zip, which should replace the folder")


ARCHIVES = ["tiny.zip", "tiny.tar", "tiny.tar.gz", "tiny.tar.xz", "tiny.tar.bz2"]


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("damage", ["empty", "cut in half", "last byte lost", "one byte changed", "noise", "a PDF"])
def test_damaged_archive_is_refused(root: Path, name: str, damage: str) -> None:
    if name == "tiny.tar" and damage in ("last byte lost", "one byte changed"):
        pytest.skip("what ends a plain tar is padding, and its members have no checksums")
    if name == "tiny.zip" and damage == "one byte changed":
        pytest.skip("each member of a zip has its own checksum: test_damaged_member_of_a_zip")
    (write_zip if name.endswith("zip") else write_tar)(root / name, GOOD)
    data = (root / name).read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    noise = np.random.default_rng(0).bytes(5000)
    damaged = {
        "empty": b"",
        "cut in half": data[: len(data) // 2],
        "last byte lost": data[:-1],
        "one byte changed": bytes(changed),
        "noise": noise,
        "a PDF": b"%PDF-1.4 " + noise,
    }
    (root / name).write_bytes(damaged[damage])
    refused(root, rf"{name} is damaged or incomplete .*download it again")


def test_tar_with_a_damaged_header_in_its_middle_is_refused(root: Path) -> None:
    """To Python's tarfile such an archive ends there, and the members behind would be lost without a word."""
    write_tar(root / "tiny.tar", GOOD)
    data = bytearray((root / "tiny.tar").read_bytes())
    start = data.index(b"validation/dog/0.png")
    data[start] ^= 1
    (root / "tiny.tar").write_bytes(data)
    refused(root, r"tiny\.tar is damaged or incomplete .bad checksum")


def test_one_path_twice(root: Path) -> None:
    write_zip(root / "tiny.zip", GOOD | {"train/cat/a.png": png(50), "train/cat/b.png": b""})
    data = (root / "tiny.zip").read_bytes()
    (root / "tiny.zip").write_bytes(data.replace(b"cat/a.png", b"cat/0.png").replace(b"cat/b.png", b"cat/0.png"))
    pack = merged(root)
    assert pack.by_id["tiny:train/cat/0.png#2"].status == "kept"
    assert pack.by_id["tiny:train/cat/0.png#3"].reason == "empty file"


def test_many_kinds_at_once(root: Path) -> None:
    """All broken and odd files in one source: each has its row, and rows in are rows out."""
    broken = {f"train/cat/b{i}-{name}": data for i, (name, data, _) in enumerate(BROKEN_FILES.values())}
    odd = {f"train/dog/o{i}{Path(name).suffix}": data for i, (name, data, _) in enumerate(ODD_FILES.values())}
    write_tree(root / "tiny", GOOD | broken | odd)
    pack = merged(root)
    assert sorted(row.path for row in pack.rows if row.source == "tiny") == sorted(GOOD | broken | odd)
    assert {row.path for row in pack.where(status="set_aside")} == set(broken)
