"""Maps that show where a feature map speaks for a class: Grad-CAM, and class activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.explaining.gradients import score_gradient
from cnn.models import Model
from foundation.errors import UserError

_BATCH = 64  # images at a time: a backward pass holds all feature maps behind the node


@dataclass(frozen=True)
class ClassMaps:
    """For each image how much each place of a feature map speaks for a class."""

    node: str
    method: str
    classes: NDArray[np.int64]  # (n,) the class that each map is about
    scores: NDArray[np.float32]  # (n,) the logit of that class
    maps: NDArray[np.float32]  # (n, p, q), of the node's own size

    def resized(self, hw: tuple[int, int]) -> NDArray[np.float32]:
        """The maps at `hw` pixels, (n, h, w), bilinear between the centres of places."""
        return resize(self.maps, hw)

    def strengths(self, hw: tuple[int, int]) -> NDArray[np.float32]:
        """The positive part at `hw` pixels, (n, h, w), divided by the largest value of each image: from 0 to 1.

        A map without a positive value is 0 everywhere.
        """
        positive = np.maximum(self.maps, 0)
        largest = positive.max(axis=(1, 2), keepdims=True)
        return resize(positive / np.where(largest > 0, largest, 1), hw)


def grad_cam(output: NDArray[np.float32], gradient: NDArray[np.float32]) -> NDArray[np.float32]:
    """max(0, sum over channels of weight * output), (n, p, q); a channel's weight is the mean of its gradient.

    Selvaraju et al. 2017, Grad-CAM: Visual explanations from deep networks via gradient-based localization. Both
    arguments are (n, p, q, c).
    """
    weights = gradient.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    return np.maximum((weights * output).sum(axis=3), 0).astype(np.float32)


def class_activation(output: NDArray[np.float32], gradient: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum over channels of gradient * output at each place, (n, p, q), of either sign.

    Where all that follows the feature map is linear, such as global average pooling, dropout and a dense layer, the map
    sums to the class's logit without its bias, and is the class activation map of Zhou et al. 2016 (Learning deep
    features for discriminative localization) divided by the number of places. Elsewhere it is its first-order
    approximation (Draelos & Carin 2020, HiResCAM). Both arguments are (n, p, q, c).
    """
    return (gradient.astype(np.float64) * output).sum(axis=3).astype(np.float32)


METHODS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]] = {
    "grad_cam": grad_cam,
    "class_activation": class_activation,
}


def last_feature_map(model: Model) -> str | None:
    """The name of the last node that returns an image of more than one pixel; None in a network without one."""
    found = [node.name for node in model.graph.nodes if len(node.shape) == 3 and math.prod(node.shape[:2]) > 1]
    return found[-1] if found else None


def class_maps(
    model: Model, x: Array, classes: NDArray[np.int64], node: str | None = None, method: str = "grad_cam"
) -> ClassMaps:
    """The maps of the images x (n, h, w, c), the network's input, for the class numbers `classes` (n,).

    `node` is the name of the node whose output is looked at, by default the last feature map; `method` is one of
    `METHODS`. Raises `UserError` for an unknown method or node, and for a node that returns no image.
    """
    if method not in METHODS:
        raise UserError(f"method is '{method}'; choose one of: {', '.join(METHODS)}")
    name = last_feature_map(model) if node is None else node
    if name is None:
        raise UserError(f"the network '{model.name}' has no feature map with more than one place: nothing can be shown")
    known = {each.name: each.shape for each in model.graph.nodes}
    if name not in known:
        raise UserError(f"there is no node '{name}'; the nodes are: {', '.join(known)}")
    if len(known[name]) != 3:
        raise UserError(f"node '{name}' returns a vector {known[name]}, which has no places: name one before it")
    scores, maps = [], []
    for start in range(0, len(x), _BATCH):
        chosen = classes[start : start + _BATCH]
        found = score_gradient(model, x[start : start + _BATCH], chosen, name)
        logits, output, gradient = (model.ops.to_numpy(each) for each in found)
        scores.append(logits[np.arange(len(chosen)), chosen].astype(np.float32))
        maps.append(METHODS[method](output, gradient))
    return ClassMaps(name, method, np.asarray(classes), np.concatenate(scores), np.concatenate(maps))


def resize(maps: NDArray[np.floating], hw: tuple[int, int]) -> NDArray[np.float32]:
    """Maps (n, p, q) at `hw` pixels, (n, h, w): bilinear between the centres of places, constant outside them."""
    for axis, side in ((1, hw[0]), (2, hw[1])):
        count = maps.shape[axis]
        at = np.clip((np.arange(side) + 0.5) * count / side - 0.5, 0, count - 1)
        low = np.floor(at).astype(np.int64)
        fraction = (at - low).reshape([-1 if place == axis else 1 for place in range(3)])
        high = np.minimum(low + 1, count - 1)
        maps = maps.take(low, axis) * (1 - fraction) + maps.take(high, axis) * fraction
    return maps.astype(np.float32)
