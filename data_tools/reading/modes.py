"""What a file holds, and how it becomes grey or RGB values: palettes, transparency, CMYK, 16 bits, floating point."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from data_tools.reading.metadata import png_header

# Root mean square distance, in grey levels, of what is drawn on transparency from a background that hides it.
_HIDDEN = 24.0

_SEVERAL = {"GIF": "first frame of an animation", "PNG": "first frame of an animation",
            "WEBP": "first frame of an animation", "TIFF": "first page of several"}  # fmt: skip

_PLAIN = {
    "1": "black and white, 1 bit",
    "L": "grey, 8 bits",
    "P": "palette",
    "RGB": "colour, 8 bits",
}

_COLOUR, _GREY_AND_ALPHA, _COLOUR_AND_ALPHA = 2, 4, 6  # colour types of PNG

# Pillow takes the upper byte of a 16-bit value by the byte order that the raw mode names. With the other order it takes
# the lower one.
_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{'B' if (_NATIVE if order == 'N' else order) == 'L' else 'L'}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order in "LBN"
}

# What EXIF's orientations ask for; 1 and unknown numbers leave the image as it is.
_TURNS: dict[object, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: np.rot90(values.swapaxes(0, 1), 2),
    8: np.rot90,
}


class ImageError(Exception):
    """The image is unusable; the message gives the reason in a few words."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image at its own size: uint8, or uint16 or float32 whose range is not decided yet; (h, w) grey or (h, w, 3).

    `mode` says what the file holds and what was done with it, in words: `mode: decision; note; note`.
    """

    values: np.ndarray
    mode: str


def pixels_of(image: Image.Image, data: bytes) -> Pixels:
    """The pixels of an opened image; `data` is its file. Raises `ImageError` and any exception of a decoder."""
    notes = []
    if (kind := _SEVERAL.get(image.format or "")) and _has_several(image):
        notes.append(kind)
    wide = _all_sixteen_bits(image, data)
    image.load()
    values, mode = wide or _values(image)
    if wide is None and (png_header(data) or (8,))[0] == 16 and values.dtype == np.uint8:
        notes.append("upper byte of 16 bits")
    if (turn := _TURNS.get(_orientation(image))) is not None:
        values = turn(values)
        notes.append("turned as EXIF says")
    return Pixels(values, "; ".join([mode, *notes]))


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(0x0112)
    except Exception:  # damaged EXIF may raise anything; the pixels are whole
        return None


def _has_several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # it looks for a second frame, which may be damaged
        return False


def _values(image: Image.Image) -> tuple[np.ndarray, str]:
    if image.mode == "F" or image.mode.startswith("I"):
        return _more_bits(np.asarray(image))
    if image.mode == "LAB":
        to_rgb: Any = ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        return np.asarray(to_rgb), "LAB: converted to RGB"
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _on_background(image)
    name = _PLAIN.get(image.mode, f"{image.mode}: converted to RGB")
    return np.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB")), name


def _more_bits(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Whole numbers as uint16, others as float32. Raises `ImageError` for values that neither can be."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError("floating-point pixels that are not numbers")
    if values.min(initial=0) < 0:
        kind = "floating-point pixels" if values.dtype.kind == "f" else "pixels"
        raise ImageError(f"{kind} below 0 ({values.min():.4g}), so that their range is not clear")
    if values.dtype.kind == "f":
        return values.astype(np.float32), "grey, floating point"
    if values.max(initial=0) > 0xFFFF:
        raise ImageError("pixels of more than 16 bits")
    return values.astype(np.uint16), "grey, 16 bits"


def _on_background(image: Image.Image) -> tuple[np.ndarray, str]:
    """The image on white, or on black if what is drawn would not be visible on white.

    Decided for each image by itself, so that the same file is read equally in every data set, and in prediction.
    """
    name = {"P": "palette", "L": "grey", "LA": "grey", "La": "grey", "PA": "palette"}.get(image.mode, "colour")
    if image.mode in ("La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    layer = image.convert("RGBA")
    alpha = np.asarray(layer.getchannel("A"))
    name += " with transparency"
    if (alpha == 255).all():
        return np.asarray(layer.convert("RGB")), f"{name}: none of it transparent"
    background, decision = "white", "on white"
    if not alpha.any():
        decision = "nothing drawn, so white"
    elif _hidden(layer, alpha):
        background, decision = "black", "on black, because on white the drawing is not visible"
    blended = Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)
    return np.asarray(blended)[:, :, :3], f"{name}: {decision}"


def _hidden(layer: Image.Image, alpha: np.ndarray) -> bool:
    """Whether what is drawn, weighted by its opacity, is nearly white."""
    light = np.asarray(layer.convert("RGB").convert("L"), np.float64)
    weight = alpha.astype(np.float64) / 255
    return bool(np.sqrt((weight * (255 - light) ** 2).sum() / weight.sum()) < _HIDDEN)


def _all_sixteen_bits(image: Image.Image, data: bytes) -> tuple[np.ndarray, str] | None:
    """16-bit colour, or grey with opacity, as uint16 (h, w, 3) or (h, w) and its mode: Pillow halves these values.

    None for other files, and where the image is translucent.
    """
    header = png_header(data) if image.format == "PNG" else None
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or "transparency" in image.info:
        return None
    if header == (16, _GREY_AND_ALPHA):
        # As if each of the four bytes of a pixel were a channel of its own.
        both, opacity = (layers := _decoded_as(data, lambda raw: "RGBA"))[:, :, :2], layers[:, :, 2]
        return (_joined(both[:, :, 0], both[:, :, 1]), "grey, 16 bits") if (opacity == 255).all() else None
    if header not in (None, (16, _COLOUR), (16, _COLOUR_AND_ALPHA)):
        return None
    if any(raw not in _OTHER_BYTE for raw in map(_raw_mode, _tiles(image))):
        return None
    lower = _decoded_as(data, _OTHER_BYTE.__getitem__)
    image.load()
    upper = np.asarray(image)
    if upper.shape[2] == 4 and not (upper[:, :, 3] == 255).all():
        return None
    return _joined(upper[:, :, :3], lower[:, :, :3]), "colour, 16 bits"


def _decoded_as(data: bytes, other: Callable[[str], str]) -> np.ndarray:
    """The image decoded with other raw modes, which tell Pillow what the bytes of a pixel are."""
    with Image.open(io.BytesIO(data)) as image:
        tiles = []
        for tile in _tiles(image):
            raw = other(_raw_mode(tile))
            tiles.append(tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:])))
        image.tile = tiles
        image.load()
        return np.asarray(image)


def _tiles(image: Image.Image) -> list[Any]:
    """What Pillow's decoders will read: codec, extents, offset in the file, arguments with the raw mode first."""
    return list(getattr(image, "tile", ()))


def _raw_mode(tile: Any) -> str:
    raw: str = tile.args if isinstance(tile.args, str) else tile.args[0]
    return raw


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    joined: np.ndarray = (upper.astype(np.uint16) << 8) | lower
    return joined
