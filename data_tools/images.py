"""From encoded bytes to pixels, by way of everything that can be wrong with a picture file."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

# 8,000 x 8,000. A small file may claim any size; the limit keeps one picture below 200 MB of memory.
LARGEST_IMAGE = 64_000_000


class ImageError(Exception):
    """The picture is unusable; the message says why, shortly."""


class _Quietly:
    """No warnings while any thread is inside. `warnings.catch_warnings` alone is not made for threads.

    The first thread in saves the process's filters and the last one out restores them.
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


def decode(data: bytes) -> np.ndarray:
    """Pixels of an encoded image at its own size: uint8, (h, w) where it is grey, else (h, w, 3) RGB.

    Only the first frame of an animation is taken; the rotation in EXIF is applied; transparency is laid on white;
    16-bit values keep their upper half; a colour file without any colour counts as grey, so that it can be found
    to be the same picture as a grey one. Raises `ImageError`.
    """
    if not data:
        raise ImageError("empty file")
    with _quietly:  # damaged metadata, odd palettes: the pixels decide
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > LARGEST_IMAGE:
                    raise ImageError(f"too large ({image.width} x {image.height} pixels)")
                image.load()
                if image.format == "PNG":
                    _check_sums(data)
                return canonical(_eight_bits(ImageOps.exif_transpose(image)))
        except ImageError:
            raise
        except Image.UnidentifiedImageError as error:
            raise ImageError("not an image that can be recognised") from error
        except Image.DecompressionBombError as error:
            raise ImageError("too large (a decompression bomb)") from error
        except Exception as error:  # decoders meet hostile bytes with whatever comes up: OSError, struct.error, ...
            kind = "truncated" if "truncated" in str(error).lower() else "damaged"
            raise ImageError(f"{kind} image file") from error


def canonical(pixels: np.ndarray) -> np.ndarray:
    """uint8 (h, w) or (h, w, 3) in the one form that is hashed: C-contiguous, (h, w) if all channels are equal."""
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels)


def fit(pixels: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Canonical pixels as uint8 (size, size, channels).

    Colour becomes grey by the luma weights of ITU-R 601; grey becomes three equal channels. Another size is
    resampled with Pillow's Lanczos filter, which smooths when it reduces; another aspect ratio is stretched.
    """
    if pixels.ndim == 3 and channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    if pixels.shape[:2] != (size, size):
        pixels = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], channels, axis=2)
    return np.ascontiguousarray(pixels)


def bytes_sha256(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pixels_sha256(pixels: np.ndarray) -> str:
    """SHA-256 of canonical pixels and their shape, in hexadecimal."""
    digest = hashlib.sha256("x".join(map(str, pixels.shape)).encode() + b":")
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _check_sums(data: bytes) -> None:
    """Raise `SyntaxError` if a checksum of a PNG is wrong: those of its pixels are ignored when it is loaded."""
    with Image.open(io.BytesIO(data)) as image:
        image.verify()


def _eight_bits(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ImageError("floating-point pixels")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 0xFFFF:
            raise ImageError("pixels of more than 16 bits")
        return (wide >> 8).astype(np.uint8)
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer))[:, :, :3]
    return np.asarray(image.convert("RGB"))
