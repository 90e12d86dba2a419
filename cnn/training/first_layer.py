"""Shows training images to a model whose first layer is computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.models import Model
from cnn.training.pixel_scaling import PixelScaling

_MOST_IMAGES = 2000  # a filter of a few pixels depends on no more


def take_from_images(model: Model, images: NDArray[Any], scaling: PixelScaling) -> None:
    """In place: give `model` the tensors that its layers compute from training images (n, h, w, c), if it has such.

    The images are scaled by `scaling` and not augmented; of many, equally many are left out between two that are used.
    """
    if model.sees_images:
        used = images[:: -(-len(images) // _MOST_IMAGES)]
        model.take_from_images((used * scaling.scale + scaling.offset).astype(np.float32))
