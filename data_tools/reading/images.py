"""Decoding images: from encoded bytes to pixels, with a reason for every file that cannot be used."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from data_tools.reading.metadata import check_png, reduced_files
from data_tools.reading.modes import ImageError, Pixels, pixels_of
from data_tools.reading.value_range import FULL, ValueRange, exact
from data_tools.sources.class_folders import LARGEST_FILE

__all__ = ["ImageError", "bytes_sha256", "canonical", "decode", "decode_file", "fit", "pixels_sha256", "read_image"]

# Pixels, 8,000 x 8,000: a small file may claim any size, and this limit keeps one image below 200 MB of memory.
LARGEST_IMAGE = 64_000_000

# Pillow also logs what it refuses, which Python prints if nobody has said where logs go: the reason is in our report.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Quietly:
    """Suppresses warnings while any thread is inside, because `warnings.catch_warnings` is not thread-safe.

    The first thread that enters saves the process's filters, and the last one that leaves restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._saved.__exit__(None, None, None)


_quietly = _Quietly()


def read_image(data: bytes, most: int = LARGEST_IMAGE) -> Pixels:
    """The pixels of an encoded image at its own size, and how they were read.

    Of an animation only the first frame is read. EXIF's rotation is applied. Transparency is blended with white, or
    with black if what is drawn would not be visible on white. Damaged metadata does not matter if the pixels are whole.
    Raises `ImageError`.
    """
    if not data:
        raise ImageError("empty file")
    with _quietly:  # such as damaged metadata: only the pixels matter
        try:
            return _opened(data, most)
        except ImageError:
            raise
        except Exception as error:
            for reduced in reduced_files(data):
                with contextlib.suppress(Exception):
                    found = _opened(reduced, most)
                    return Pixels(found.values, f"{found.mode}; damaged metadata left out")
            raise _reason(error) from error


def decode_file(path: Path, range_: ValueRange = FULL) -> np.ndarray:
    """As `decode`, of a file. Raises `ImageError`, also for one that is larger than an image may be."""
    if path.stat().st_size > LARGEST_FILE:
        raise ImageError(f"file larger than {LARGEST_FILE >> 20} MiB")
    return decode(path.read_bytes(), range_)


def decode(data: bytes, range_: ValueRange = FULL, most: int = LARGEST_IMAGE) -> np.ndarray:
    """Pixels of an encoded image at its own size, uint8: (h, w) if it is grey, else (h, w, 3) RGB.

    As `read_image`, of at most `most` pixels. Values of 16 bits or floating point become 8 bits by `range_`. A colour
    file without any colour becomes grey, so that it is equal to the same image stored as grey. Raises `ImageError`.
    """
    values = read_image(data, most).values
    if values.dtype == np.float32 and range_ is FULL:
        raise ImageError("floating-point pixels, whose range a single file does not tell")
    return canonical(range_.reduce(values))


def _opened(data: bytes, most: int) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > most:
            limit = "" if most == LARGEST_IMAGE else f"; at most {most:,} in all"
            raise ImageError(f"too large ({image.width} x {image.height} pixels{limit})")
        if image.format == "PNG":
            check_png(data)
        found = pixels_of(image, data)
    values = canonical(found.values)
    grey = values.ndim < found.values.ndim and found.mode.startswith("colour,")
    return Pixels(values, f"{found.mode}; colour file without colour, so grey" if grey else found.mode)


def _reason(error: Exception) -> ImageError:
    """What a decoder's exception means; decoders raise any on hostile bytes."""
    if isinstance(error, Image.UnidentifiedImageError):
        return ImageError("not an image that can be recognised")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError("too large (a decompression bomb)")
    return ImageError(f"{'truncated' if 'truncated' in str(error).lower() else 'damaged'} image file")


def canonical(pixels: np.ndarray) -> np.ndarray:
    """The form of an image that is hashed: C-contiguous, (h, w) if all channels are equal, else (h, w, 3)."""
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels)


def fit(pixels: np.ndarray, size: int | tuple[int, int], channels: int) -> np.ndarray:
    """Canonical pixels as (height, width, channels) of their own type; one number as `size` stands for both sides.

    Colour becomes grey by the luma weights of ITU-R 601; grey becomes three equal channels. An image of another size
    is resampled with Pillow's Lanczos filter, which also smooths when it reduces; the aspect ratio is not kept.
    """
    if pixels.dtype != np.uint8:
        return _fit_wide(pixels, size, channels)
    if pixels.ndim == 3 and channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    height, width = (size, size) if isinstance(size, int) else size
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], channels, axis=2)
    return np.ascontiguousarray(pixels)


def _fit_wide(pixels: np.ndarray, size: int | tuple[int, int], channels: int) -> np.ndarray:
    """As `fit`, for uint16 and float32. Lanczos overshoots at edges: the values stay below the largest before."""
    if pixels.ndim == 3 and channels == 1:
        luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        pixels = (np.rint(luma) if pixels.dtype == np.uint16 else luma).astype(pixels.dtype)
    height, width = (size, size) if isinstance(size, int) else size
    if pixels.shape[:2] != (height, width):
        layers = [pixels] if pixels.ndim == 2 else [pixels[:, :, channel] for channel in range(3)]
        resized = np.stack([
            np.asarray(
                Image.fromarray(layer.astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
            )
            for layer in layers
        ], axis=2).clip(0, pixels.max(initial=0))  # fmt: skip
        resized = np.rint(resized) if pixels.dtype == np.uint16 else resized
        pixels = resized.astype(pixels.dtype)
    elif pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return np.ascontiguousarray(np.repeat(pixels, channels, axis=2) if pixels.shape[2] < channels else pixels)


def bytes_sha256(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pixels_sha256(pixels: np.ndarray) -> str:
    """SHA-256 of canonical pixels and their shape, in hexadecimal.

    Of values of more than 8 bits as they are in the file, so that equal files are equal in every source; if they are
    8-bit values in a wider file, that of the 8-bit values.
    """
    pixels = exact(pixels)
    digest = hashlib.sha256("x".join(map(str, pixels.shape)).encode() + b":")
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
