"""Test-time augmentation: views of an image whose class probabilities are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError

Matrix = NDArray[np.float32]  # (2, 3), from output to input pixels: see `Ops.gather_batch`


@dataclass(frozen=True)
class ViewSettings:
    """How images are seen when they are scored."""

    tta: str = "none"
    tta_shift: int = 2  # of shifts: pixels
    tta_crop: float = 0.875  # of ten_crop: side of a crop, as a fraction of that of the image

    def __post_init__(self) -> None:
        if self.tta not in VIEWS:
            raise UserError(f"tta is '{self.tta}'; choose one of: {', '.join(VIEWS)}")
        if not isinstance(self.tta_shift, int) or isinstance(self.tta_shift, bool) or self.tta_shift < 1:
            raise UserError(f"tta_shift must be a whole number of pixels of at least 1, not {self.tta_shift!r}")
        if not isinstance(self.tta_crop, int | float) or not 0 < self.tta_crop < 1:
            raise UserError(f"tta_crop must be a fraction of the image's side between 0 and 1, not {self.tta_crop!r}")

    def views(self, hw: tuple[int, int]) -> list[Matrix | None]:
        """The views of images of `hw` pixels; None is the unchanged image.

        Raises `UserError` for a shift that is not smaller than the image.
        """
        if self.tta == "shifts" and self.tta_shift >= min(hw):
            raise UserError(f"tta_shift={self.tta_shift} moves an image of {hw[0]} x {hw[1]} pixels out of sight")
        return VIEWS[self.tta](hw, self)

    @property
    def suffix(self) -> str:
        """Of the names of files: empty without augmentation."""
        return "" if self.tta == "none" else f"_{self.tta}"


def _none(hw: tuple[int, int], settings: ViewSettings) -> list[Matrix | None]:
    return [None]


def _flip(hw: tuple[int, int], settings: ViewSettings) -> list[Matrix | None]:
    """The image and its mirror image."""
    return [None, _mirrored(_window(hw, hw, (0, 0)), hw)]


def _shifts(hw: tuple[int, int], settings: ViewSettings) -> list[Matrix | None]:
    """Nine: the image shifted by 0 and by the pixels either way, in both directions; the edge is repeated outwards."""
    steps = (0, -settings.tta_shift, settings.tta_shift)
    return [_window(hw, hw, (down, right)) if down or right else None for down in steps for right in steps]


def _ten_crop(hw: tuple[int, int], settings: ViewSettings) -> list[Matrix | None]:
    """The four corners and the centre, and their mirror images (Krizhevsky et al. 2012, section 4.1).

    The network's input has the size of the image, so a crop is enlarged to it (bilinear, corner pixel on corner pixel).
    """
    size = max(1, round(settings.tta_crop * hw[0])), max(1, round(settings.tta_crop * hw[1]))
    down, right = hw[0] - size[0], hw[1] - size[1]
    corners = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    crops = [_window(hw, size, corner) for corner in corners]
    return [*crops, *(_mirrored(crop, hw) for crop in crops)]


VIEWS: dict[str, Callable[[tuple[int, int], ViewSettings], list[Matrix | None]]] = {
    "none": _none,
    "flip": _flip,
    "shifts": _shifts,
    "ten_crop": _ten_crop,
}


def _window(hw: tuple[int, int], size: tuple[int, int], corner: tuple[int, int]) -> Matrix:
    """The window of `size` pixels at `corner` (row, column), enlarged to `hw`."""
    scale = [(window - 1) / max(side - 1, 1) for window, side in zip(size, hw, strict=True)]
    return np.array([[scale[0], 0, corner[0]], [0, scale[1], corner[1]]], np.float32)


def _mirrored(view: Matrix, hw: tuple[int, int]) -> Matrix:
    """The mirror image of a view, left to right."""
    mirrored = view.copy()
    mirrored[:, 1], mirrored[:, 2] = -view[:, 1], view[:, 2] + view[:, 1] * (hw[1] - 1)
    return mirrored
