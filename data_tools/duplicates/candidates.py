"""Candidate pairs for the comparison, from indexes: never all pairs of a large collection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates.embedding import Embedding
from data_tools.duplicates.perceptual_hash import perceptual_hashes
from data_tools.duplicates.thumbnails import SIDE, Floats

Report = Callable[[int, int], object]  # amount done, total
Affine = NDArray[np.float64]
Pairs = NDArray[np.int32]  # (n, 3): numbers of the first and second image, and 1 if one is to be mirrored

ALL_PAIRS_UP_TO = 64  # images: these are too few to fit an embedding
_EXACT_UP_TO = 20_000  # images: up to here an exact search is faster than an inverted file
_PROBED = 48  # lists of the inverted file that a search visits, of about 4 * sqrt(n)
# Warps beyond the range that the embedding tolerates; images are searched again under each of them: degrees, zoom,
# pixels to the right and down.
WARPS = (
    *((degrees, 1.0, 0.0, 0.0) for degrees in (-28.0, 28.0)),
    *((0.0, zoom, 0.0, 0.0) for zoom in (0.74, 1.35)),
    *((0.0, 1.0, right, down) for right, down in product((-8.0, 0.0, 8.0), repeat=2) if right or down),
)
_OTHER_WAY = tuple(WARPS.index((-degrees, zoom, -right, down)) for degrees, zoom, right, down in WARPS)
_WARPED_NEIGHBOURS = 4
_WARPED_FROM = 0.64  # least similarity
# Similarity given to pairs that were not found by the embedding: all starting maps are tried, no threshold is lowered.
_UNKNOWN = 0.7
_HASH_PARTS, _FLIPPED = 4, 1  # parts of 16 bits, one bit of which may differ: finds all hashes within 7 bits
_HASH_RADIUS = 7
_SEED = 1234


class Candidates:
    """Indexes over `images`, uint8 (n, 48, 48). The number of threads `workers` does not change the result."""

    def __init__(self, images: NDArray[np.uint8], workers: int = 1) -> None:
        self._images = images
        self._few = len(images) <= ALL_PAIRS_UP_TO
        if not self._few:
            self._embed = Embedding(images, workers)
            self._vectors = self._embed(images)  # of the images, and of their mirror images
            self._index = _vector_index(self._vectors[0])

    def nearest(self, neighbours: int, mirrored: bool) -> tuple[Pairs, Floats]:
        """Distinct pairs, sorted, and the similarity of their embeddings, float32 (m,).

        Each image is paired with its `neighbours` nearest in the embedding, with those of its mirror image if
        `mirrored`, and with all images whose perceptual hash differs from its own, or from its mirror image's, in at
        most 7 bits. For up to `ALL_PAIRS_UP_TO` images all pairs are returned.
        """
        number = len(self._images)
        kinds = (0, 1) if mirrored else (0,)
        if self._few:
            first, second = np.triu_indices(number, 1)
            parts = [_pairs(first, second, np.full(len(first), _UNKNOWN, np.float32), kind) for kind in kinds]
        else:
            hashes = perceptual_hashes(self._images)
            bits = _hash_index(hashes)
            parts = []
            for kind in kinds:
                similarity, found = self._index.search(self._vectors[kind], min(neighbours + 1, number))
                first = np.repeat(np.arange(number), found.shape[1])
                parts.append(_pairs(first, found.ravel(), similarity.ravel(), kind))
                own = perceptual_hashes(np.ascontiguousarray(self._images[:, :, ::-1])) if kind else hashes
                limits, _, close = bits.range_search(own, _HASH_RADIUS + 1)
                first = np.repeat(np.arange(number), np.diff(limits.astype(np.int64)).astype(np.int64))
                parts.append(_pairs(first, close, np.full(len(close), _UNKNOWN, np.float32), kind))
        pairs, alike = (np.concatenate(each) for each in zip(*parts, strict=True))
        best = _best(pairs, alike)
        return pairs[best], alike[best]

    def warped(self, queries: NDArray[np.integer], report: Report = lambda done, total: None) -> tuple[Pairs, Floats]:
        """Further pairs for the images numbered `queries`, found after warping them by each of `WARPS`.

        Returns (m, 3): the query, the other image, and 1 if the query was mirrored first; and float32 (m,): the
        index in `WARPS` of the warp under which the two are most similar.
        """
        found = [(np.zeros((0, 3), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))]
        for number in range(len(WARPS)) if len(queries) and not self._few else ():
            report(number, len(WARPS))
            # The mirror image of a warped image is the mirror image warped the other way.
            both = self._embed(self._images[queries], partial(warped, matrix=warp_map(number)))
            for mirrored, vectors in enumerate(both):
                warp = _OTHER_WAY[number] if mirrored else number
                similarity, others = self._index.search(vectors, _WARPED_NEIGHBOURS + 1)
                first, second, similarity = np.repeat(queries, others.shape[1]), others.ravel(), similarity.ravel()
                worth = (similarity >= _WARPED_FROM) & (first != second) & (second >= 0)
                kind = np.full(int(worth.sum()), mirrored)
                pairs = np.stack([first[worth], second[worth], kind], axis=1).astype(np.int32)
                found.append((pairs, similarity[worth], np.full(len(pairs), warp, np.float32)))
        pairs, similarity, warps = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best = _best(pairs, similarity)
        return pairs[best], warps[best]


def warp_map(number: int) -> Affine:
    """The map (2, 3) from coordinates of an image to those in the image warped by `WARPS[number]`."""
    degrees, zoom, right, down = WARPS[number]
    turned = np.asarray(cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), degrees, zoom), np.float64)
    return turned + np.array([[0.0, 0.0, right], [0.0, 0.0, down]])


def warped(images: NDArray[np.uint8], matrix: Affine) -> NDArray[np.uint8]:
    """Every image warped by the map `matrix`; pixels from outside repeat the edge."""
    out = np.empty_like(images, order="C")
    for image, target in zip(images, out, strict=True):
        cv2.warpAffine(
            np.ascontiguousarray(image), matrix, (SIDE, SIDE), dst=target, flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return out


def _pairs(first: NDArray[np.integer], second: NDArray[np.integer], alike: Floats, kind: int) -> tuple[Pairs, Floats]:
    apart = (first != second) & (second >= 0)  # FAISS returns -1 where it finds fewer than asked for
    first, second = first[apart], second[apart]
    pairs = np.stack([np.minimum(first, second), np.maximum(first, second), np.full(len(first), kind)], axis=1)
    return pairs.astype(np.int32), alike[apart]


def _best(pairs: Pairs, alike: Floats) -> NDArray[np.intp]:
    """Indices of the most similar occurrence of each pair, in the order of the pairs."""
    order = np.lexsort((-alike, pairs[:, 2], pairs[:, 1], pairs[:, 0]))
    fresh = np.ones(len(pairs), bool)
    fresh[1:] = (pairs[order][1:] != pairs[order][:-1]).any(axis=1)
    return order[fresh]


def _vector_index(vectors: Floats) -> faiss.Index:
    """Index by inner product: exact for small collections, an inverted file (Sivic and Zisserman 2003) for others."""
    number, dimensions = vectors.shape
    flat = faiss.IndexFlatIP(dimensions)
    if number <= _EXACT_UP_TO:
        flat.add(vectors)
        return flat
    lists = int(4 * np.sqrt(number))
    index = faiss.IndexIVFFlat(flat, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = _SEED, 10
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.nprobe = _PROBED
    index.add(vectors)
    return index


def _hash_index(hashes: NDArray[np.uint8]) -> faiss.IndexBinary:
    index = faiss.IndexBinaryMultiHash(64, _HASH_PARTS, 64 // _HASH_PARTS)
    index.nflip = _FLIPPED
    index.add(hashes)
    return index
