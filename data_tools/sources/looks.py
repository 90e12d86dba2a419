"""The size and the colour of a sample of images."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from foundation.errors import UserError

LARGEST_SIDE = 64  # of a pack that nobody chose: what a CPU trains on in minutes
SMALLEST_SIDE = 8
GREY = 8  # levels by which the channels of an image may differ that is grey: JPEG rounds


def looks_of(path: Path, files: Sequence[bytes]) -> tuple[int, int, str]:
    """A side for the pack, its channels, and a sentence about the images in the sample."""
    sides, grey, colour = [], 0, 0
    for data in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(data)) as image:
                    sides.append(image.size)
                    is_grey = _is_grey(image)
        except Exception:
            continue
        grey, colour = grey + is_grey, colour + (not is_grey)
    if not grey + colour:
        raise UserError(f"{path}: none of the {len(files):,} files looked at could be read as an image")
    middle = int(np.median([round((width * height) ** 0.5) for width, height in sides]))
    side, channels = bounded(middle), 3 if colour else 1
    low, high = min(sides), max(sides)
    span = f"{low[0]} x {low[1]}" if low == high else f"{low[0]} x {low[1]} to {high[0]} x {high[1]}"
    kind = "grey" if not colour else "colour" if not grey else f"{colour} of {grey + colour} in colour"
    return side, channels, (
        f"Of {grey + colour} images looked at: {span} pixels, {kind}; "
        f"the pack has {side} x {side} pixels, {'grey' if channels == 1 else 'RGB'}."
    )  # fmt: skip


def bounded(side: int) -> int:
    """The side as the side of a pack."""
    return min(max(side, SMALLEST_SIDE), LARGEST_SIDE)


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
        return True
    image.draft("RGB", (LARGEST_SIDE, LARGEST_SIDE))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.NEAREST)
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return bool((pixels.max(axis=2) - pixels.min(axis=2)).max(initial=0) <= GREY)
