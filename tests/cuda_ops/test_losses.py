"""Softmax and cross-entropy: labels, weights, smoothing, rows and classes that do not count."""

import math

import numpy as np
import pytest
from scipy import special

ROWS, IGNORED = 19, -100  # more than two blocks of rows


def expected_of(logits, labels, weights, smoothing=0.0, ignored=None):
    """Loss, gradient and totals, row by row and class by class."""
    classes, logs = logits.shape[1], special.log_softmax(logits.astype(float), axis=1)
    counted = [i for i, label in enumerate(labels) if label != ignored]
    loss, gradient, hits = 0.0, np.zeros(logits.shape), 0
    for i in counted:
        targets = [
            0.0
            if np.isneginf(logits[i, j]) and j != labels[i]
            else smoothing / classes + (1 - smoothing) * (j == labels[i])
            for j in range(classes)
        ]
        row = -math.fsum(t * logs[i, j] for j, t in enumerate(targets) if t)
        loss += weights[labels[i]] * row / len(counted)
        gradient[i] = weights[labels[i]] / len(counted) * (np.exp(logs[i]) * sum(targets) - targets)
        hits += max(range(classes), key=logits[i].__getitem__) == labels[i]
    return loss, gradient, (loss * len(counted), hits, len(counted))


def check(cuda, logits, labels, weights, smoothing=0.0, ignored=None):
    totals = cuda.array(np.array([10.0, 20, 30]))
    given = (cuda.array(np.asarray(values)) for values in (logits, labels, weights))
    loss, gradient = cuda.cross_entropy(*given, smoothing, ignored, totals)
    expected_loss, expected_gradient, sums = expected_of(logits, labels, weights, smoothing, ignored)
    assert loss.shape == ()
    assert float(cuda.to_numpy(loss)) == pytest.approx(expected_loss, rel=2e-6)
    np.testing.assert_allclose(
        cuda.to_numpy(gradient), expected_gradient, atol=2e-6 * max(np.abs(expected_gradient).max(), 1e-30)
    )
    np.testing.assert_allclose(cuda.to_numpy(totals) - [10, 20, 30], sums, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 7, 32, 70])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [None, IGNORED])
def test_labels(cuda, classes, smoothing, ignored, rng):
    logits = rng.normal(0, 3, (ROWS, classes)).astype(np.float32)
    labels, weights = rng.integers(classes, size=ROWS), rng.uniform(0, 2, classes).astype(np.float32)
    if ignored is not None:
        labels[[0, 3, 8, 18]] = ignored
    check(cuda, logits, labels, weights, smoothing, ignored)


def test_many_rows_are_counted_by_every_block(cuda, rng):
    logits, labels = rng.normal(size=(700, 3)).astype(np.float32), rng.integers(3, size=700)
    labels[rng.random(700) < 0.4] = 2
    check(cuda, logits, labels, np.ones(3, np.float32), 0.1, ignored=2)


def test_where_no_row_counts_loss_and_gradient_are_0(cuda):
    logits = np.array([[np.inf, 1, np.nan]] * 3, np.float32)
    check(cuda, logits, np.full(3, 1), np.ones(3, np.float32), 0.1, ignored=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_masked_classes_leave_the_loss_finite(cuda, smoothing, rng):
    logits = rng.normal(size=(ROWS, 5)).astype(np.float32)
    labels = rng.integers(1, 5, ROWS)
    logits[:, 0] = -np.inf
    logits[labels != 3, 3] = -np.inf
    check(cuda, logits, labels, np.arange(1, 6).astype(np.float32), smoothing)


def test_a_masked_label_is_an_infinite_loss_unless_it_weighs_nothing(cuda):
    logits, labels = cuda.array(np.array([[-np.inf, 1]], np.float32)), cuda.array(np.array([0]))
    loss, gradient = cuda.cross_entropy(logits, labels, cuda.array(np.ones(2, np.float32)))
    assert cuda.to_numpy(loss) == np.inf
    assert cuda.to_numpy(gradient).tolist() == [[-1, 1]]
    loss, gradient = cuda.cross_entropy(logits, labels, cuda.array(np.array([0, 1], np.float32)))
    assert cuda.to_numpy(loss) == 0
    assert not cuda.to_numpy(gradient).any()


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_label_that_is_no_class_gives_nan_and_reads_nothing(cuda, label):
    logits, weights = cuda.array(np.zeros((2, 3), np.float32)), cuda.array(np.ones(3, np.float32))
    loss, gradient = cuda.cross_entropy(logits, cuda.array(np.array([label, 1])), weights)
    assert np.isnan(cuda.to_numpy(loss))
    assert np.isnan(cuda.to_numpy(gradient)).all(axis=1).tolist() == [True, False]


def test_the_first_of_equal_logits_is_the_prediction_and_nan_is_the_largest(cuda):
    logits = np.zeros((5, 70), np.float32)
    logits[3, 40], logits[4, [5, 66]] = np.nan, np.nan
    totals = cuda.zeros((3,), np.float64)
    cuda.cross_entropy(
        cuda.array(logits), cuda.array(np.array([0, 32, 64, 40, 5])), cuda.array(np.ones(70, np.float32)), totals=totals
    )
    assert cuda.to_numpy(totals)[1:].tolist() == [3, 5]


def test_extreme_logits(cuda):
    logits = np.array([[1e4, -1e4, 0], [-1e4] * 3, [1e4] * 3, [-80, 80, 0]], np.float32)
    check(cuda, logits, np.array([1, 0, 2, 0]), np.ones(3, np.float32))


@pytest.mark.parametrize("classes", [1, 6, 33])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets_are_labels_by_their_weight(cuda, classes, smoothing, rng):
    logits = rng.normal(0, 3, (ROWS, classes)).astype(np.float32)
    targets = rng.dirichlet(np.ones(classes), ROWS).astype(np.float32) * (rng.random((ROWS, classes)) < 0.7)
    weights, totals = rng.uniform(0, 2, classes).astype(np.float32), cuda.array(np.array([10.0, 20, 30]))
    given = (cuda.array(values) for values in (logits, targets, weights))
    loss, gradient = cuda.soft_cross_entropy(*given, smoothing, totals)
    expected, slope = 0.0, np.zeros(logits.shape)
    for i, row in enumerate(targets.astype(float)):
        for label in range(classes):
            one, part, _ = expected_of(logits[i : i + 1], [label], weights, smoothing)
            expected += row[label] * one / ROWS
            slope[i] += row[label] * part[0] / ROWS
    assert float(cuda.to_numpy(loss)) == pytest.approx(expected, rel=2e-6)
    np.testing.assert_allclose(cuda.to_numpy(gradient), slope, atol=1e-6)
    hits = (logits.argmax(axis=1) == targets.argmax(axis=1)).sum()
    np.testing.assert_allclose(cuda.to_numpy(totals) - [10, 20, 30], [ROWS * expected, hits, ROWS], rtol=2e-6)


def test_targets_of_0_add_nothing_where_the_logit_is_minus_infinity(cuda, rng):
    logits = rng.normal(size=(ROWS, 6)).astype(np.float32)
    logits[:, 2] = -np.inf
    targets = rng.uniform(0, 1, (ROWS, 6)).astype(np.float32)
    targets[:, 2] = targets[4] = 0
    loss, gradient = cuda.soft_cross_entropy(*(cuda.array(values) for values in (logits, targets, np.ones(6, "f4"))))
    logs = np.where(targets == 0, 0, special.log_softmax(logits.astype(float), axis=1))
    assert float(cuda.to_numpy(loss)) == pytest.approx(-(targets * logs).sum() / ROWS, rel=2e-6)
    slope = (special.softmax(logits.astype(float), axis=1) * targets.sum(axis=1, keepdims=True) - targets) / ROWS
    np.testing.assert_allclose(cuda.to_numpy(gradient), slope, atol=1e-6)


def test_softmax_with_a_masked_class(cuda):
    y = cuda.to_numpy(cuda.softmax(cuda.array(np.array([[0, -np.inf, 0], [-np.inf, 5, 5]], np.float32))))
    np.testing.assert_allclose(y, [[0.5, 0, 0.5], [0, 0.5, 0.5]])


@pytest.mark.parametrize("size", [3, 4096, 9001])
def test_penalty(cuda, size, rng):
    w, dw = rng.normal(size=(2, size)).astype(np.float32)
    assert float(cuda.to_numpy(cuda.l2_penalty(cuda.array(w), 0.3))) == pytest.approx(
        0.3 * np.sum(w.astype(float) ** 2), rel=2e-6
    )
    array = cuda.array(dw)
    cuda.l2_penalty_backward(cuda.array(w), 0.3, array)
    np.testing.assert_allclose(cuda.to_numpy(array), dw + 0.6 * w.astype(float), rtol=1e-5, atol=1e-6)
