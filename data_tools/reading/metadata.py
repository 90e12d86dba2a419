"""Files whose metadata is damaged while their pixels are whole: what decoding needs, without the rest."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}  # the chunks of a PNG that its pixels depend on
_EXIF = b"Exif\0\0"


def reduced_files(data: bytes) -> Iterator[bytes]:
    """The file with less and less metadata, for another attempt: first all but EXIF is left out, then EXIF too.

    PNG and JPEG; for other formats nothing. Damage of the pixels themselves stays in these files.
    """
    for keep_exif in (True, False):
        try:
            if data.startswith(_PNG):
                yield _png_without(data, keep_exif)
            elif data.startswith(_JPEG):
                yield _jpeg_without(data, keep_exif)
        except (ValueError, struct.error):
            return


def check_png(data: bytes) -> None:
    """Raise `ValueError` if a PNG is cut off, or if a checksum of a chunk that its pixels depend on is wrong.

    Pillow does not check the checksums of the pixels when it loads them.
    """
    for name, body, checksum in _png_chunks(data):
        if name in _PIXELS and zlib.crc32(name + body) != checksum:
            raise ValueError(f"wrong checksum of {name!r}")


def png_header(data: bytes) -> tuple[int, int] | None:
    """Bits of a channel and colour type of a PNG, None for another file."""
    return (data[24], data[25]) if data.startswith(_PNG) and len(data) > 25 else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Name, content and checksum of every chunk up to IEND. Raises `ValueError` if there is none."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            break
        yield name, data[at + 8 : end], int.from_bytes(data[end : end + 4], "big")
        if name == b"IEND":
            return
        at = end + 4
    raise ValueError("truncated PNG")


def _png_without(data: bytes, keep_exif: bool) -> bytes:
    parts = [_PNG]
    for name, body, checksum in _png_chunks(data):
        intact = keep_exif and name == b"eXIf" and zlib.crc32(name + body) == checksum
        if name in _PIXELS or intact:
            parts.append(struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum))
    return b"".join(parts)


def _jpeg_without(data: bytes, keep_exif: bool) -> bytes:
    """The segments APP0 to APP15 and comments left out, up to the first scan; Adobe's says how colours are coded."""
    parts, at = [_JPEG], len(_JPEG)
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return b"".join(parts) + data[at:]
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        body = data[at + 4 : end]
        adobe = marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12
        exif = keep_exif and marker == 0xE1 and body.startswith(_EXIF)
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or adobe or exif:
            parts.append(data[at:end])
        at = end
    raise ValueError("truncated JPEG")
