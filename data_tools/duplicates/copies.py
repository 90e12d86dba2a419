"""Copies that can be told from strangers where the search for warped copies cannot: encoded again, and mirrored.

In digits, drawings, icons and objects that are all shown alike, one image is a warped copy of the next. A file that was
encoded again, or mirrored, still has nearly the same pixels in the same places, so it is much closer to its original
than any stranger is. How much closer a stranger can be by chance is measured on the collection. Images of `m`
independent properties lie around an image as points in `m` dimensions. There the distance of the second neighbour is
more than `x` times that of the first with the probability `x ** -m` (Facco et al. 2017, Estimating the intrinsic
dimension of datasets by a minimal neighborhood information), and of the fifth and the fourth with `x ** (-4 * m)`. The
latter gives `m`, because an image rarely has four copies. A copy must be so much closer than the next image that less
than one pair of strangers in twenty collections is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_tools.duplicates.alignment import MIRROR
from data_tools.duplicates.levels import MIRRORED, NEAR, SEARCHED
from data_tools.duplicates.search import NearDuplicate
from data_tools.duplicates.strangers import FEWEST
from data_tools.duplicates.thumbnails import SIDE, Floats

MOST_MIRRORED = 0.25  # fraction of the images: with more in mirrored pairs, these are how the images were made
_NEIGHBOURS = 8  # candidates of each image
_MOST_COPIES = 4  # of an image, in either of the two ways
_FALSE_PAIRS = 0.05  # expected pairs of strangers in the whole collection
_CLEAR = 3.0  # times as far as a copy the next image must be at least
_ROUNDING = 0.1  # grey levels: distances are not told apart below it
_MOST, _LARGEST = 0.12, 0.6  # of the standard deviation of an image: root mean square and largest difference of a copy
_COLOUR = 12.0  # grey levels between the colours of a copy and its original, in 4 x 4 parts of the image
_TAIL = 0.9  # quantile that gives the dimension: the lowest that a tenth of the images has
_BLOCK = 4  # pixels: candidates are sought by the means of blocks
_EXACT_UP_TO = 100_000  # images: up to here the search is exact; one that misses neighbours makes the others look clear
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Copies:
    """The pairs, sorted, and the end of a sentence about those that are left out."""

    pairs: list[NearDuplicate]
    note: str = ""


def find_copies(
    images: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    alike: Sequence[object],
    colours: NDArray[np.uint8],
    with_mirrored: bool = True,
) -> Copies:
    """The copies among those of `images`, uint8 (n, 48, 48), that are `usable`, `with_mirrored` ones or without.

    Only images that are equal in `alike`, such as their size and class, can be copies; `colours` has the images as
    uint8 (n, 4, 4, 3). Mirrored pairs are left out if more than `MOST_MIRRORED` of the images are in them.
    """
    places = np.flatnonzero(usable)
    if len(places) < FEWEST:
        return Copies([])
    own, kinds = np.ascontiguousarray(images[places]), {value: n for n, value in enumerate(dict.fromkeys(alike))}
    classes = np.array([kinds[alike[place]] for place in places.tolist()])
    index = _index(_blocks(own))
    pairs: list[NearDuplicate] = []
    dimension, note = 0.0, ""
    for level, queries in ((NEAR, own), (MIRRORED, own[:, :, ::-1]))[: 1 + with_mirrored]:
        others, distances = _nearest(own, queries, index)
        dimension = dimension or _dimension(distances)
        found = [
            (first, second)
            for first, second in _closer(others, distances, dimension)
            if classes[first] == classes[second]
            and _agree(own[first], queries[second])
            and _same_colour(colours[places[first]], colours[places[second]], level == MIRRORED)
        ]
        fraction = len({image for pair in found for image in pair}) / len(own)
        if level == MIRRORED and fraction > MOST_MIRRORED:
            note = f"; nor do mirror images count as copies: {fraction:.0%} of the images are mirror images of others"
            found = []
        for first, second in found:
            detail = float(np.corrcoef(own[first].ravel(), queries[second].ravel())[0, 1])
            affine = MIRROR if level == MIRRORED else np.eye(2, 3)
            pairs.append(NearDuplicate(int(places[first]), int(places[second]), level, detail, affine))
    return Copies(sorted(pairs, key=lambda pair: (pair.first, pair.second, SEARCHED.index(pair.level))), note)


def _blocks(images: NDArray[np.uint8]) -> Floats:
    number, parts = len(images), SIDE // _BLOCK
    return images.reshape(number, parts, _BLOCK, parts, _BLOCK).mean(axis=(2, 4), dtype=np.float32).reshape(number, -1)


def _index(vectors: Floats) -> faiss.Index:
    flat = faiss.IndexFlatL2(vectors.shape[1])
    if len(vectors) <= _EXACT_UP_TO:
        flat.add(vectors)
        return flat
    lists = int(4 * np.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(flat, vectors.shape[1], lists)
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = 1234, 10, 1
    index.train(vectors)
    index.nprobe = 64
    index.add(vectors)
    return index


def _nearest(
    images: NDArray[np.uint8], queries: NDArray[np.uint8], index: faiss.Index
) -> tuple[NDArray[np.intp], Floats]:
    """The nearest other images of each query, nearest first, and their distances: root mean square, (n, neighbours)."""
    neighbours = min(_NEIGHBOURS, len(images) - 1)
    _, found = index.search(_blocks(queries), neighbours + 1)
    others = np.zeros((len(images), neighbours), np.intp)
    distances = np.full((len(images), neighbours), np.inf, np.float32)
    for at in range(0, len(images), _CHUNK):
        chunk = found[at : at + _CHUNK]
        numbers = np.arange(at, at + len(chunk))[:, None]
        # The image itself goes to the end and is left out, with what an inverted file did not find (-1).
        left_out = (chunk == numbers) | (chunk < 0)
        difference = images[np.maximum(chunk, 0)].astype(np.float32)
        difference -= queries[at : at + len(chunk), None]
        far = np.sqrt(np.square(difference).mean(axis=(2, 3)))
        far[left_out] = np.inf
        order = np.argsort(far, axis=1, kind="stable")[:, :neighbours]
        others[at : at + len(chunk)] = np.take_along_axis(chunk, order, 1)
        distances[at : at + len(chunk)] = np.take_along_axis(far, order, 1)
    return others, np.maximum(distances, _ROUNDING)


def _dimension(distances: Floats) -> float:
    """The number of independent properties of the images; low where only some images have so few."""
    fourth, fifth = distances[:, _MOST_COPIES - 1], distances[:, _MOST_COPIES]
    known = np.isfinite(fifth)
    ratio = float(np.quantile(fifth[known] / fourth[known], _TAIL)) if known.any() else np.inf
    return float(-np.log(1 - _TAIL) / (_MOST_COPIES * np.log(max(ratio, 1 + 1e-6))))


def _closer(others: NDArray[np.intp], distances: Floats, dimension: float) -> list[tuple[int, int]]:
    """Pairs of which each image is among the few that are much closer to the other than all further ones."""
    clear = max(_CLEAR, (2 * len(others) / _FALSE_PAIRS) ** (1 / dimension))
    jump = distances[:, 1 : _MOST_COPIES + 1] >= clear * distances[:, :_MOST_COPIES]
    copies = np.where(jump.any(axis=1), jump.shape[1] - np.argmax(jump[:, ::-1], axis=1), 0)
    wanted = {
        (image, int(other)) for image in np.flatnonzero(copies).tolist() for other in others[image, : copies[image]]
    }
    return [(first, second) for first, second in sorted(wanted) if first < second and (second, first) in wanted]


def _agree(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Whether two images differ no further than by their encoding, and nowhere much."""
    one, other = first.astype(np.float32), second.astype(np.float32)
    spread, difference = min(float(one.std()), float(other.std())), one - other
    root = float(np.sqrt(np.square(difference).mean()))
    return root <= _MOST * spread and float(np.abs(difference).max()) <= _LARGEST * spread


def _same_colour(one: NDArray[np.uint8], other: NDArray[np.uint8], mirrored: bool) -> bool:
    other = other[:, ::-1] if mirrored else other
    return bool(np.abs(one.astype(np.float32) - other).max() <= _COLOUR)


def joined(number: int, pairs: Sequence[NearDuplicate]) -> list[int]:
    """The group of each of `number` images, which the pairs connect."""
    first, second = [pair.first for pair in pairs], [pair.second for pair in pairs]
    links = coo_array((np.ones(len(pairs)), (first, second)), shape=(number, number))
    return list(connected_components(links, directed=False)[1].tolist())


def small_colours(images: Sequence[np.ndarray]) -> NDArray[np.uint8]:
    """Images uint8 (h, w), (h, w, 1) or (h, w, 3) as (n, 4, 4, 3)."""
    out = np.empty((len(images), 4, 4, 3), np.uint8)
    for image, small in zip(images, out, strict=True):
        flat = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
        resized = cv2.resize(np.ascontiguousarray(flat), (4, 4), interpolation=cv2.INTER_AREA)
        small[:] = resized if resized.ndim == 3 else resized[:, :, None]
    return out
