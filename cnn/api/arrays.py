"""Checks X and y of a caller and converts them to the input of networks."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d, validate_data

from foundation.errors import UserError

Images = NDArray[Any]  # (n, h, w, c), uint8 or another real type


class Examples(NamedTuple):
    """Images and the numbers of their labels (n,)."""

    images: Images
    labels: NDArray[np.int64]

    def some(self, indices: NDArray[np.int64]) -> Examples:
        """Those of `indices`."""
        return Examples(self.images[indices], self.labels[indices])


class TrainingData(NamedTuple):
    """The data of `fit`: examples, the distinct labels in order (classes,), and the shape of one example."""

    examples: Examples
    classes: NDArray[Any]
    shape: tuple[int, ...]  # (h, w, c) of images, (c,) of vectors


def read_training_data(estimator: BaseEstimator, X: Any, y: Any) -> TrainingData:
    """X and y of `fit`, checked.

    Raises ValueError for data that scikit-learn's estimators refuse, images without pixels, and fewer than two classes.
    """
    if vectors := _dimensions(X) <= 2:
        X, y = validate_data(estimator, X, y)  # also sets the number of features and, for a data frame, their names
    else:
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit, to vectors
            vars(estimator).pop(name, None)
        X = _images(X)
        if y is None:
            raise UserError("y is missing: a classifier requires y to be passed")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
    check_classification_targets(y)
    classes, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"y holds one class only, {classes[0]!r}: a classifier needs at least two")
    images = _with_channels(X)
    shape = images.shape[3:] if vectors else images.shape[1:]
    return TrainingData(Examples(images, labels.astype(np.int64)), classes, shape)


def read_images(estimator: BaseEstimator, X: Any, shape: tuple[int, ...]) -> Images:
    """X of `predict` as images (n, h, w, c); the estimator was fitted to images (h, w, c) or vectors (c,) of `shape`.

    Raises ValueError if X does not fit.
    """
    if len(shape) == 1:
        return _with_channels(validate_data(estimator, X, reset=False))
    images = _with_channels(_images(X))
    if images.shape[1:] != shape:
        raise UserError(f"X holds images of shape {images.shape[1:]}, but the network was trained on {shape}")
    return images


def label_numbers(y: Any, classes: NDArray[Any], name: str) -> NDArray[np.int64]:
    """The indices (n,) of the labels y in `classes`. Raises ValueError naming a label that is not in it."""
    given = column_or_1d(y)
    known = {label: number for number, label in enumerate(classes.tolist())}
    found = [known.get(label, -1) for label in given.tolist()]
    if -1 in found:
        raise UserError(f"{name} holds the label {given[found.index(-1)]!r}, which was not in training")
    return np.array(found, np.int64)


def stratified_split(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Examples for training and for validation: of each class the fraction, rounded, but never all of it."""
    labels = examples.labels
    random = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        chosen.append(own[: min(round(fraction * len(own)), len(own) - 1)])
    validation = np.sort(np.concatenate(chosen))
    if not len(validation):
        raise UserError(f"validation={fraction} of {len(labels)} examples is not one of any class: give more of either")
    return examples.some(np.setdiff1d(np.arange(len(labels)), validation)), examples.some(validation)


def _dimensions(X: Any) -> int:
    return len(X.shape) if hasattr(X, "shape") else np.asarray(X).ndim


def _images(X: Any) -> NDArray[Any]:
    """X (n, h, w[, c]) as an array of finite numbers."""
    images = check_array(X, ensure_2d=False, allow_nd=True)
    if images.ndim not in (3, 4):
        raise UserError(
            f"X has shape {images.shape}; images are (n, h, w) or (n, h, w, channels), vectors (n, features). "
            "Reshape your data"
        )
    if 0 in images.shape:
        raise UserError(f"X has shape {images.shape}: these images have no pixels")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[2] == images.shape[3] > 4:
        warnings.warn(
            f"X has shape {images.shape}, read as (n, h, w, channels): if channels come first, give "
            "X.transpose(0, 2, 3, 1)",
            stacklevel=4,
        )
    return images


def _with_channels(X: NDArray[Any]) -> Images:
    """Vectors (n, c) as images of one pixel, images without channels as those of one; C-contiguous.

    Integers from 0 to 255 become uint8, which backends store unchanged.
    """
    if X.dtype.kind in "iub" and X.min() >= 0 and X.max() <= 255:
        X = X.astype(np.uint8, copy=False)
    if X.ndim == 2:
        X = X[:, None, None, :]
    return np.ascontiguousarray(X if X.ndim == 4 else X[..., None])
