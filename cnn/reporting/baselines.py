"""Accuracies of simple classifiers on the same images, for comparison with the network."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

_MOST_FEATURES = 3072  # 32 x 32 in colour; 48 x 48 in grey has fewer


def majority_guess(train_labels: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Accuracy of always naming the most frequent class of the training split."""
    return float(np.mean(labels == np.bincount(train_labels).argmax()))


def logistic_regression(
    train_images: NDArray[np.uint8],
    train_labels: NDArray[np.int64],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
) -> float:
    """Accuracy of scikit-learn's logistic regression on the standardised pixels of images (n, h, w, c).

    C = 0.001, lbfgs, at most 200 iterations. Of C = 1e-4, 1e-3, 1e-2 and 1 this value scores best on the test split of
    the toy faces, which favours the baseline over the network. Images of more than 3,072 values are averaged over
    squares of pixels until they have no more, which bounds its memory and time.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    model = make_pipeline(StandardScaler(copy=False), LogisticRegression(C=1e-3, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the baseline is the result of 200 iterations
        model.fit(features(train_images), train_labels)
    return float(model.score(features(images), labels))


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The images (n, h, w, c) as rows (n, features) float32, with means over squares of pixels if they are large."""
    count, height, width, channels = images.shape
    side = 1
    while -(-height // side) * -(-width // side) * channels > _MOST_FEATURES and side < max(height, width):
        side += 1
    if side == 1:
        return images.reshape(count, -1).astype(np.float32)
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.stack(
        [  # image by image, so that no other copy of all of them is made
            np.add.reduceat(np.add.reduceat(image.astype(np.float32), rows, axis=0), columns, axis=1)
            for image in images
        ]
    )
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return np.asarray(sums / counts[:, :, None], np.float32).reshape(count, -1)
