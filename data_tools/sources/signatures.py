"""What a file is, by its first bytes, for files whose names do not say it."""

from __future__ import annotations

import re

SIGNATURE = 32  # bytes that `is_image_data` looks at

_IMAGES = (
    rb"\xff\xd8\xff",  # JPEG
    rb"\x89PNG\r\n\x1a\n",
    rb"GIF8[79]a",
    rb"BM.{4}\0\0\0\0.{4}[\x0c-\x7f]\0\0\0",  # BMP: two reserved fields are zero, then the size of its header
    rb"II\*\0|MM\0\*",  # TIFF
    rb"RIFF.{4}WEBP",
    rb"P[1-6]\s+(#|\d)",  # PBM, PGM, PPM
    rb"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
    rb".{4}ftyp(avif|avis)",
)
_IMAGE = re.compile(b"|".join(_IMAGES), re.DOTALL)


def is_image_data(start: bytes) -> bool:
    """Whether these first bytes of a file are those of an image in one of the usual formats."""
    return _IMAGE.match(start) is not None
