"""The surest mistakes and the surest hits of a network, with the places that spoke for its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.pictures import image_uri, strongest_place, veil_uri

# Maps (k, p, q) for the images with these indices (k,) and for these class numbers (k,); a larger value speaks more
# for the class.
Explain = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating]]
MISTAKES, HITS = 12, 9


@dataclass(frozen=True)
class View:
    """An image, or an image under a veil."""

    image: str  # the address of the image
    veil: str | None
    alt: str
    caption: str


@dataclass(frozen=True)
class Example:
    """One image with the network's answer."""

    predicted: str
    confidence: float
    label: str
    right: bool
    views: tuple[View, ...]


def surest(
    labels: NDArray[Any], probabilities: NDArray[Any], mistakes: int = MISTAKES, hits: int = HITS
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of the most confident mistakes and of the most confident hits, most confident first.

    The hits are the surest one of each class, the surest classes first; further ones if there are few classes.
    """
    predicted = probabilities.argmax(axis=1)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    right = predicted[order] == labels[order]
    found = order[right]
    first = np.sort(np.unique(predicted[found], return_index=True)[1])  # places in `found`
    chosen = np.concatenate([found[first], np.delete(found, first)])
    return order[~right][:mistakes], chosen[:hits]


def examples(
    chosen: NDArray[np.int64],
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    explain: Explain | None = None,
) -> list[Example]:
    """The images `chosen` by index, each with the map of the prediction and, of a mistake, that of the label."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    wrong = chosen[predicted[chosen] != labels[chosen]]
    said, meant = {}, {}
    if explain is not None and len(chosen):
        said = dict(zip(chosen.tolist(), explain(chosen, predicted[chosen]), strict=True))
        if len(wrong):
            meant = dict(zip(wrong.tolist(), explain(wrong, np.asarray(labels)[wrong]), strict=True))
    found = []
    for index in chosen.tolist():
        answer, label = classes[predicted[index]], classes[labels[index]]
        shown = image_uri(images[index])
        sure = f"{probabilities[index].max():.0%}"
        views = [View(shown, None, f"image with the label {label}, predicted as {answer} with {sure}", "image")]
        for name, maps in ((answer, said), (label, meant)):
            if index in maps:
                strength = strengths(maps[index])
                alt = f"what speaks for {name}: {strongest_place(strength)}"
                views.append(View(shown, veil_uri(strength), alt, f"for {name}"))
        right = bool(predicted[index] == labels[index])
        found.append(Example(answer, float(probabilities[index].max()), label, right, tuple(views)))
    return found


def strengths(map_: NDArray[np.floating]) -> NDArray[np.float64]:
    """A map (p, q) as numbers from 0 to 1: its positive part, divided by the largest value."""
    positive = np.maximum(np.asarray(map_, np.float64), 0)
    return positive / (positive.max() or 1.0)
