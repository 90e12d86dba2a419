"""Vectors that stay close together when a picture is turned, moved and zoomed.

Histograms of oriented gradients (Dalal and Triggs 2005), projected by linear discriminant analysis (Fisher 1936):
warped copies of a sample of the pictures are the classes, so that the projection keeps what tells photographs apart
and drops what a warp changes. It is fitted to the pictures at hand, in seconds, and needs no labels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

from data_tools.duplicates.pictures import SIDE, Floats, standardised
from data_tools.ordered import CHUNK_BYTES, ordered_map
from data_tools.randomness import generator_for

DIMENSIONS = 64
_BINS, _CELLS = 8, 8
_PIECE = 128  # pictures that are worked on at a time: their intermediate arrays stay in the cache
_SAMPLE, _COPIES = 3000, 8
_ROTATION, _SHIFT, _ZOOM = 20.0, 0.1, 0.2  # what the projection learns to ignore: degrees, share of the side, factor
_RIDGE = 0.05  # of the mean variance within a class: keeps directions in which the sample happens not to vary at bay


class Embedding:
    """A projection fitted to `pictures`, uint8 (n, 48, 48), by so many threads, whose number changes nothing.

    Which of the pictures it learns from depends on their content.
    """

    def __init__(self, pictures: NDArray[np.uint8], workers: int = 1) -> None:
        self._workers = workers
        step = max(1, len(pictures) // _SAMPLE)
        sample = pictures[::step][:_SAMPLE]
        own = gradient_histograms(sample, workers)
        within = np.zeros((own.shape[1], own.shape[1]))
        for number in range(_COPIES):  # one copy of each at a time keeps memory low
            difference = (gradient_histograms(_warped(sample, number), workers) - own).astype(np.float64)
            within += difference.T @ difference
        within /= len(sample) * _COPIES
        within += _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
        self._mean = own.mean(axis=0)
        between = np.cov((own - self._mean).astype(np.float64), rowvar=False)
        first = len(within) - min(DIMENSIONS, max(1, len(sample) - 1))
        _, axes = linalg.eigh(between, within, subset_by_index=(first, len(within) - 1))
        self._axes = axes.astype(np.float32)

    def __call__(self, pictures: NDArray[np.uint8]) -> Floats:
        """float32 (n, dimensions), rows of length 1, of uint8 (n, 48, 48)."""
        vectors = (gradient_histograms(pictures, self._workers) - self._mean) @ self._axes
        return np.ascontiguousarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))


def gradient_histograms(pictures: NDArray[np.uint8], workers: int = 1) -> Floats:
    """float32 (n, 512): 8 directions of the gradient in 8 x 8 overlapping cells, each cell of length about 1."""
    out = np.empty((len(pictures), _CELLS * _CELLS * _BINS), np.float32)

    def fill(at: int) -> None:
        piece = slice(at, at + _PIECE)
        out[piece] = _histograms(pictures[piece])

    for _ in ordered_map(fill, range(0, len(pictures), _PIECE), workers, lambda at: CHUNK_BYTES):
        pass
    return out


def _histograms(pictures: NDArray[np.uint8]) -> Floats:
    smooth = ndimage.gaussian_filter(standardised(pictures), (0, 0.8, 0.8))
    down, right = np.gradient(smooth, axis=(1, 2))
    direction = np.arctan2(down, right) * (_BINS / (2 * np.pi))
    lower = np.floor(direction)
    share = direction - lower
    lower = lower.astype(np.int8) % _BINS
    strength = np.sqrt(np.hypot(down, right)) * _WINDOW
    cells = np.empty((len(pictures), _CELLS, _CELLS, _BINS), np.float32)
    for number in range(_BINS):
        weight = (lower == number) * (1 - share) + (lower == (number - 1) % _BINS) * share
        cells[..., number] = _POOL @ (strength * weight) @ _POOL.T
    cells /= np.linalg.norm(cells, axis=-1, keepdims=True) + 0.1
    return cells.reshape(len(pictures), -1)


def _warped(pictures: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Every picture under its own random warp, the edge repeated outwards."""
    generator = generator_for(0, "warps to ignore", number)
    draws = generator.uniform(-1, 1, (len(pictures), 5))
    out = np.empty_like(pictures)
    middle = (SIDE - 1) / 2
    for picture, (turn, tall, wide, down, right), target in zip(pictures, draws, out, strict=True):
        angle = np.deg2rad(_ROTATION * turn)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = matrix @ np.diag([1 + _ZOOM * wide, 1 + _ZOOM * tall])
        moved = middle - matrix @ (middle, middle) + SIDE * _SHIFT * np.array([right, down])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(
            picture, np.column_stack([matrix, moved]), (SIDE, SIDE), dst=target, flags=flags,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return out


def _window() -> Floats:
    """The corners, which a turn moves out of the picture, count little."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.exp(-((np.hypot(y, x) / 22) ** 4)).astype(np.float32)


def _pool() -> Floats:
    """(8, 48): row by row a bell of 3 pixels' width about the middle of a cell."""
    middles = (np.arange(_CELLS) + 0.5) * SIDE / _CELLS - 0.5
    bells = np.exp(-0.5 * ((np.arange(SIDE) - middles[:, None]) / 3) ** 2)
    return (bells / bells.sum(axis=1, keepdims=True)).astype(np.float32)


_WINDOW, _POOL = _window(), _pool()
