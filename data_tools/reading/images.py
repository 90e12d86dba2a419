"""Decoding images: from encoded bytes to pixels, with a reason for every file that cannot be used."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

# Pixels, 8,000 x 8,000: a small file may claim any size, and this limit keeps one image below 200 MB of memory.
LARGEST_IMAGE = 64_000_000


class ImageError(Exception):
    """The image is unusable; the message gives the reason in a few words."""


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


def decode(data: bytes) -> np.ndarray:
    """Pixels of an encoded image at its own size, uint8: (h, w) if it is grey, else (h, w, 3) RGB.

    Of an animation only the first frame is read. EXIF's rotation is applied, transparency is blended with white, and
    16-bit values keep their upper byte. A colour file without any colour becomes grey, so that it is equal to the
    same image stored as grey. Raises `ImageError`.
    """
    if not data:
        raise ImageError("empty file")
    with _quietly:  # such as damaged metadata: only the pixels matter
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
        except Exception as error:  # decoders raise any exception on hostile bytes
            kind = "truncated" if "truncated" in str(error).lower() else "damaged"
            raise ImageError(f"{kind} image file") from error


def canonical(pixels: np.ndarray) -> np.ndarray:
    """The form of an image that is hashed: uint8, C-contiguous, (h, w) if all channels are equal, else (h, w, 3)."""
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels)


def fit(pixels: np.ndarray, size: int | tuple[int, int], channels: int) -> np.ndarray:
    """Canonical pixels as uint8 (height, width, channels); one number as `size` stands for both sides.

    Colour becomes grey by the luma weights of ITU-R 601; grey becomes three equal channels. An image of another size
    is resampled with Pillow's Lanczos filter, which also smooths when it reduces; the aspect ratio is not kept.
    """
    if pixels.ndim == 3 and channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    height, width = (size, size) if isinstance(size, int) else size
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
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
    """Raise `SyntaxError` if a checksum of a PNG is wrong; loading it does not check those of the pixels."""
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
