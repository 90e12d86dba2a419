"""Pairs that are worth a closer look, from indexes: never all pairs of a large collection."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates.embedding import Embedding
from data_tools.duplicates.perceptual_hash import perceptual_hashes
from data_tools.duplicates.pictures import Floats

Pairs = NDArray[np.int32]  # (n, 3): first and second picture, first < second, and 1 if the second is to be mirrored

ALL_PAIRS_UP_TO = 64  # pictures: too few to fit an embedding to
_EXACT_UP_TO = 20_000  # pictures: below, comparing all vectors is faster than an inverted file and misses nothing
_PROBED = 48  # lists of the inverted file that a search looks into, of about 4 * sqrt(n)
_HASH_PARTS, _FLIPPED = 4, 1  # 16 bits each, one of which may differ: finds every hash that differs in at most 7 bits
_HASH_RADIUS = 7
_SEED = 1234


def candidates(pictures: NDArray[np.uint8], neighbours: int, mirrored: bool) -> tuple[Pairs, Floats]:
    """Candidate pairs of uint8 (n, 48, 48), sorted, each once, and float32 (n,): how alike their embeddings are.

    Every picture brings its `neighbours` nearest in the embedding, those of its mirror image if `mirrored`, and all
    whose perceptual hash differs from its own, or its mirror image's, in at most 7 bits.
    """
    number = len(pictures)
    turned = np.ascontiguousarray(pictures[:, :, ::-1])
    kinds = (0, 1) if mirrored else (0,)
    if number <= ALL_PAIRS_UP_TO:
        first, second = np.triu_indices(number, 1)
        parts = [_pairs(first, second, np.ones(len(first), np.float32), kind) for kind in kinds]
    else:
        embed = Embedding(pictures)
        vectors, hashes = embed(pictures), perceptual_hashes(pictures)
        index, bits = _vector_index(vectors), _hash_index(hashes)
        parts = []
        for kind in kinds:
            asked = embed(turned) if kind else vectors
            likeness, found = index.search(asked, min(neighbours + 1, number))
            first = np.repeat(np.arange(number), found.shape[1])
            parts.append(_pairs(first, found.ravel(), likeness.ravel(), kind))
            limits, _, close = bits.range_search(perceptual_hashes(turned) if kind else hashes, _HASH_RADIUS + 1)
            first = np.repeat(np.arange(number), np.diff(limits.astype(np.int64)).astype(np.int64))
            # Equal hashes need no likeness of embeddings to be worth a look.
            parts.append(_pairs(first, close, np.ones(len(close), np.float32), kind))
    return _unique(np.concatenate([pairs for pairs, _ in parts]), np.concatenate([alike for _, alike in parts]))


def _pairs(first: NDArray[np.integer], second: NDArray[np.integer], alike: Floats, kind: int) -> tuple[Pairs, Floats]:
    apart = (first != second) & (second >= 0)  # FAISS fills up with -1 where it finds too few
    first, second = first[apart], second[apart]
    pairs = np.stack([np.minimum(first, second), np.maximum(first, second), np.full(len(first), kind)], axis=1)
    return pairs.astype(np.int32), alike[apart]


def _unique(pairs: Pairs, alike: Floats) -> tuple[Pairs, Floats]:
    order = np.lexsort((-alike, pairs[:, 2], pairs[:, 1], pairs[:, 0]))
    pairs, alike = pairs[order], alike[order]
    fresh = np.ones(len(pairs), bool)
    fresh[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[fresh], alike[fresh]


def _vector_index(vectors: Floats) -> faiss.Index:
    """Nearest by inner product: exact for small collections, an inverted file (Sivic and Zisserman 2003) for others."""
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
