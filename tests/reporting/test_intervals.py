"""Intervals compared with SciPy's own bootstrap and t tests, and with scores of scikit-learn."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from cnn.reporting.intervals import accuracy, bootstrap_interval, macro_f1, mean_interval, welch_interval


def guesses(images, classes, skill, rng):
    """Labels and predictions with classes of unequal size."""
    weights = np.arange(1, classes + 1) ** 2.0
    labels = rng.choice(classes, images, p=weights / weights.sum())
    return labels, np.where(rng.random(images) < skill, labels, rng.integers(0, classes, images))


def f1_of(labels, predicted):
    """Over the classes that have images."""
    return sklearn.metrics.f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)


@pytest.mark.parametrize(("images", "classes", "skill"), [(1, 2, 0), (37, 3, 0.5), (301, 7, 0.6), (50, 5, 0)])
def test_statistics_of_a_confusion_matrix_are_those_of_scikit_learn(rng, images, classes, skill):
    labels, predicted = guesses(images, classes, skill, rng)
    confusion = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(classes))
    assert accuracy(confusion) == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert macro_f1(confusion) == pytest.approx(f1_of(labels, predicted))


@pytest.mark.parametrize(("images", "classes", "skill"), [(41, 3, 0.5), (203, 5, 0.8)])
@pytest.mark.parametrize("score", ["accuracy", "macro_f1"])
def test_bootstrap_agrees_with_scipys(rng, images, classes, skill, score):
    """On images one by one; both draw, so they agree to a few percent of the width."""
    labels, predicted = guesses(images, classes, skill, rng)
    own = {"accuracy": accuracy, "macro_f1": macro_f1}[score]
    confusion = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(classes))
    low, high = bootstrap_interval(confusion, own, resamples=3000)
    oracle = scipy.stats.bootstrap(
        (labels, predicted),
        (lambda a, b: np.mean(a == b)) if score == "accuracy" else (lambda a, b: fast_f1(a, b, classes)),
        paired=True,
        vectorized=False,
        n_resamples=3000,
        method="BCa",
        rng=np.random.default_rng(5),
    ).confidence_interval
    # Accuracy moves in steps of one image.
    tolerance = 0.08 * (oracle.high - oracle.low) + (1 / images if score == "accuracy" else 0)
    assert low == pytest.approx(oracle.low, abs=tolerance)
    assert high == pytest.approx(oracle.high, abs=tolerance)


def fast_f1(labels, predicted, classes):
    """The formula, class by class."""
    scores = []
    for number in range(classes):
        right = np.sum((labels == number) & (predicted == number))
        if np.any(labels == number):
            scores.append(2 * right / (np.sum(labels == number) + np.sum(predicted == number)))
    return np.mean(scores)


def test_bootstrap_is_seeded_and_widens_with_confidence():
    confusion = np.array([[30, 9], [4, 17]])
    assert bootstrap_interval(confusion, macro_f1, seed=3) == bootstrap_interval(confusion, macro_f1, seed=3)
    assert bootstrap_interval(confusion, macro_f1, seed=3) != bootstrap_interval(confusion, macro_f1, seed=4)
    low, high = bootstrap_interval(confusion, macro_f1, confidence=0.99)
    inner_low, inner_high = bootstrap_interval(confusion, macro_f1, confidence=0.8)
    assert low < inner_low < macro_f1(confusion) < inner_high < high


@pytest.mark.parametrize("confusion", [[[5, 0], [0, 3]], [[0, 4], [6, 0]], [[1, 0], [0, 0]]])
def test_bootstrap_of_scores_that_cannot_vary_is_one_value(confusion):
    matrix = np.array(confusion)
    assert bootstrap_interval(matrix, accuracy) == (accuracy(matrix), accuracy(matrix))


@pytest.mark.parametrize("values", [[0.61, 0.64], [0.6620, 0.6682, 0.6643], [1.0, 1.0, 1.0]])
def test_mean_over_seeds_is_students(values):
    mean = mean_interval(values)
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.deviation == pytest.approx(np.std(values, ddof=1))
    if mean.deviation:
        expected = scipy.stats.ttest_1samp(values, 0).confidence_interval()
        assert mean.interval == pytest.approx((expected.low, expected.high))
    else:
        assert mean.interval == (1, 1)
    with pytest.raises(ValueError, match="two values"):
        mean_interval(values[:1])


@pytest.mark.parametrize(("first", "second"), [([0.6, 0.65, 0.61], [0.7, 0.71]), ([1.0, 3.0], [2.0, 2.0, 2.25])])
def test_difference_of_independent_seeds_is_welchs(first, second):
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert welch_interval(first, second) == pytest.approx((expected.low, expected.high))
    assert welch_interval([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25)
