"""Where a network looked, for a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.api.pixels import as_bytes
from cnn.explaining import ClassMaps
from cnn.explaining.overlay import overlaid
from foundation.inlined import png_uri

_SHOWN = 32  # images in a notebook
_SIDE = 96  # of one, in pixels of the screen


@dataclass(frozen=True)
class Explanation:
    """For each image a map of the places that speak for a label."""

    images: NDArray[Any]  # (n, h, w, c)
    labels: NDArray[Any]  # (n,) that the maps are about
    found: ClassMaps

    @property
    def node(self) -> str:
        """The node whose feature map was read."""
        return self.found.node

    @property
    def scores(self) -> NDArray[np.float32]:
        """The logits of the labels (n,)."""
        return self.found.scores

    @property
    def maps(self) -> NDArray[np.float32]:
        """The maps (n, p, q), of the size of the feature map."""
        return self.found.maps

    @cached_property
    def strengths(self) -> NDArray[np.float32]:
        """What speaks for the label, at the size of the images (n, h, w): 0 for nothing, 1 at the strongest place."""
        return self.found.strengths(self.images.shape[1:3])

    def overlay(self) -> NDArray[np.uint8]:
        """The images (n, h, w, 3) with an orange veil where something speaks for the label."""
        return overlaid(as_bytes(self.images), self.strengths)

    def _repr_html_(self) -> str:
        """The first images with their maps."""
        from PIL import Image  # noqa: PLC0415 - only for display

        shown = []
        for label, pixels in zip(self.labels[:_SHOWN].tolist(), self.overlay(), strict=False):
            text = html.escape(str(label), quote=True)
            shown.append(
                f'<figure style="margin: 0"><img alt="what speaks for {text}" width="{_SIDE}" '
                f'src="{png_uri(Image.fromarray(pixels))}"><figcaption>{text}</figcaption></figure>'
            )
        return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{"".join(shown)}</div>'

    def __repr__(self) -> str:
        """What was computed, in one line."""
        return f"{self.found.method} at {self.node}: maps {self.maps.shape} of {len(self.labels)} images"
