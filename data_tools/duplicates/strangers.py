"""Whether the fine structure tells the images of a collection apart, measured on the collection itself.

In faces and photographs it does: the fine structure of two of them hardly agrees, however they are warped onto each
other. In digits, drawings, icons and objects shown alike it agrees by itself, and the search would take different
images for copies. So a sample of images is compared with images that resemble them, of which most are no copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_tools.reading.ordered import ordered_map

if TYPE_CHECKING:
    from data_tools.duplicates.alignment import Aligner

FEWEST = 16  # images: fewer say too little
_COLLECTION, _SAMPLE = 3000, 100  # images: neighbours are sought among so many, of so many
_NEAREST, _FURTHEST, _COMPARED = 4, 40, 8  # neighbours: an eighth of the images, between these; of them so many
_COPIES = 1 / 3  # of the neighbours may be copies of the image itself
_MOST = 0.8  # quantile over the sample: a fifth of the images is enough to make the search unsafe


@dataclass(frozen=True, slots=True)
class Strangers:
    """How far different images of a collection agree."""

    images: int  # in the sample
    agreement: float  # of their fine structure: a fifth of the sample agrees with its neighbours at least so far
    plain: float  # fraction of the sample that has little fine structure


def measure(places: NDArray[np.integer], images: NDArray[np.uint8], aligner: Aligner, workers: int = 1) -> Strangers:
    """Measured on the images uint8 (n, 48, 48) numbered `places`, which `aligner` holds; the order decides the sample.

    The agreement of an image is that with its neighbours, after the highest third of them: these may be copies.
    """
    from data_tools.duplicates.embedding import gradient_histograms  # noqa: PLC0415  # needs the extra `audit`

    places = _spaced(places, _COLLECTION)
    vectors = gradient_histograms(np.ascontiguousarray(images[places]), workers)
    vectors -= vectors.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    sample = _spaced(np.arange(len(places)), _SAMPLE)
    alike = vectors[sample] @ vectors.T
    alike[np.arange(len(sample)), sample] = -np.inf
    deepest = min(len(places) - 1, max(_NEAREST, min(_FURTHEST, len(places) // 8)))
    ranks = _spaced(np.arange(deepest), _COMPARED)
    neighbours = np.argsort(-alike, axis=1, kind="stable")[:, ranks]

    def agreement(row: int) -> float:
        pairs = [(places[sample[row]], places[other], 0) for other in neighbours[row]]
        found = sorted(aligner.agreements(np.array(pairs)))
        return found[int((1 - _COPIES) * (len(found) - 1))]

    levels = list(ordered_map(agreement, range(len(sample)), workers, lambda row: 1 << 20))
    plain = np.mean([aligner.plain(int(places[row])) for row in sample])
    return Strangers(len(sample), float(np.quantile(levels, _MOST, method="lower")), float(plain))


def _spaced(items: NDArray[np.integer], number: int) -> NDArray[np.integer]:
    return items[np.unique(np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(np.intp))]
