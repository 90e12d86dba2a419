"""The embedding: vectors that change little when an image is rotated, shifted and zoomed.

Histograms of oriented gradients (Dalal and Triggs 2005) are projected by linear discriminant analysis (Fisher 1936).
Its classes are the warped copies of each image of a sample, so the projection keeps what distinguishes photographs and
drops what a warp changes. It is fitted to the given images in seconds and needs no labels.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

from data_tools.duplicates.thumbnails import SIDE, Floats, standardised
from data_tools.randomness import generator_for
from data_tools.reading.ordered import CHUNK_BYTES, ordered_map

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

DIMENSIONS = 64
_BINS, _CELLS = 8, 8
_CHUNK = 128  # images at a time, so that their intermediate arrays stay in the cache
_SAMPLE, _COPIES = 3000, 8
_ROTATION, _SHIFT, _ZOOM = 20.0, 0.1, 0.2  # warps that the projection ignores: degrees, fraction of the side, factor
_RIDGE = 0.05  # of the mean variance within a class: regularises directions in which the sample hardly varies


class Embedding:
    """A projection fitted to `images`, uint8 (n, 48, 48). The number of threads `workers` does not change it.

    It is fitted to every k-th of the images, about 3,000 of them.
    """

    def __init__(self, images: NDArray[np.uint8], workers: int = 1) -> None:
        self._workers = workers
        step = max(1, len(images) // _SAMPLE)
        sample = images[::step][:_SAMPLE]
        own = gradient_histograms(sample, workers)
        within = np.zeros((own.shape[1], own.shape[1]))
        for number in range(_COPIES):  # one copy of each image at a time keeps memory low
            difference = (gradient_histograms(_warped(sample, number), workers) - own).astype(np.float64)
            within += difference.T @ difference
        within /= len(sample) * _COPIES
        within += _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
        self._mean = own.mean(axis=0)
        between = np.cov((own - self._mean).astype(np.float64), rowvar=False)
        first = len(within) - min(DIMENSIONS, max(1, len(sample) - 1))
        _, axes = linalg.eigh(between, within, subset_by_index=(first, len(within) - 1))
        self._axes = axes.astype(np.float32)

    def __call__(self, images: NDArray[np.uint8], change: Change = lambda chunk: chunk) -> tuple[Floats, Floats]:
        """Vectors float32 (n, dimensions) of length 1, of images uint8 (n, 48, 48), to which `change` is applied.

        And those of the mirror images of the results, which need no histograms of their own.
        """
        histograms = gradient_histograms(images, self._workers, change)
        # To mirror the few axes is cheaper than to mirror the histograms.
        return self._project(histograms, np.arange(len(self._axes))), self._project(histograms, _MIRRORED)

    def _project(self, histograms: Floats, order: NDArray[np.intp]) -> Floats:
        axes = self._axes[order]
        vectors = histograms @ axes - self._mean[order] @ axes
        return np.ascontiguousarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))


def gradient_histograms(images: NDArray[np.uint8], workers: int = 1, change: Change = lambda chunk: chunk) -> Floats:
    """Histograms float32 (n, 512): 8 gradient directions in 8 x 8 overlapping cells, each cell of length about 1.

    `change` is applied to the images first, by the same threads.
    """
    out = np.empty((len(images), _CELLS * _CELLS * _BINS), np.float32)

    def fill(at: int) -> None:
        chunk = slice(at, at + _CHUNK)
        out[chunk] = _histograms(change(images[chunk]))

    for _ in ordered_map(fill, range(0, len(images), _CHUNK), workers, lambda at: CHUNK_BYTES):
        pass
    return out


def _histograms(images: NDArray[np.uint8]) -> Floats:
    smooth = ndimage.gaussian_filter(standardised(images), (0, 0.8, 0.8))
    down, right = np.gradient(smooth, axis=(1, 2))
    direction = np.arctan2(down, right) * (_BINS / (2 * np.pi))
    lower = np.floor(direction)
    fraction = direction - lower
    lower = lower.astype(np.int8) % _BINS
    strength = np.sqrt(np.hypot(down, right)) * _WINDOW
    cells = np.empty((len(images), _CELLS, _CELLS, _BINS), np.float32)
    for number in range(_BINS):
        weight = (lower == number) * (1 - fraction) + (lower == (number - 1) % _BINS) * fraction
        cells[..., number] = _POOL @ (strength * weight) @ _POOL.T
    cells /= np.linalg.norm(cells, axis=-1, keepdims=True) + 0.1
    return cells.reshape(len(images), -1)


def _warped(images: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Every image under its own random warp; pixels from outside repeat the edge."""
    generator = generator_for(0, "warps to ignore", number)
    draws = generator.uniform(-1, 1, (len(images), 5))
    out = np.empty_like(images)
    middle = (SIDE - 1) / 2
    for image, (turn, tall, wide, down, right), target in zip(images, draws, out, strict=True):
        angle = np.deg2rad(_ROTATION * turn)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = matrix @ np.diag([1 + _ZOOM * wide, 1 + _ZOOM * tall])
        moved = middle - matrix @ (middle, middle) + SIDE * _SHIFT * np.array([right, down])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(
            image, np.column_stack([matrix, moved]), (SIDE, SIDE), dst=target, flags=flags,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return out


def _window() -> Floats:
    """Weight of each pixel: small in the corners, which a rotation moves out of the image."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.exp(-((np.hypot(y, x) / 22) ** 4)).astype(np.float32)


def _pool() -> Floats:
    """Pooling matrix (8, 48): each row is a Gaussian of 3 pixels' deviation about the centre of a cell."""
    middles = (np.arange(_CELLS) + 0.5) * SIDE / _CELLS - 0.5
    gaussians = np.exp(-0.5 * ((np.arange(SIDE) - middles[:, None]) / 3) ** 2)
    return (gaussians / gaussians.sum(axis=1, keepdims=True)).astype(np.float32)


def _mirrored() -> NDArray[np.intp]:
    """For each place in the histograms of a mirror image the place in those of the image, (512,)."""
    places = np.arange(_CELLS * _CELLS * _BINS).reshape(_CELLS, _CELLS, _BINS)
    # To the right becomes to the left: the angle t becomes pi - t.
    return places[:, ::-1, (_BINS // 2 - np.arange(_BINS)) % _BINS].ravel()


_WINDOW, _POOL, _MIRRORED = _window(), _pool(), _mirrored()
