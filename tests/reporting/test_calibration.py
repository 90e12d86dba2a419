"""Temperature compared with the lowest loss that a search finds, the calibration error with a plain loop."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from cnn.reporting.calibration import BINS, Reliability, apply_temperature, fit_temperature
from cnn.reporting.reliability_plot import describe_reliability, plot_reliability
from foundation.errors import UserError


def overconfident(images, classes, factor, rng):
    """Logits (N, K) whose softmax at temperature `factor` is the truth, and labels drawn from it."""
    logits = rng.normal(size=(images, classes)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((images, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return factor * logits, labels


def softmax_of(logits):
    return softmax(logits, axis=1).astype(np.float32)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.7])
@pytest.mark.parametrize(("images", "classes"), [(35, 2), (500, 7)])
def test_the_temperature_has_the_lowest_loss(rng, images, classes, factor):
    logits, labels = overconfident(images, classes, factor, rng)

    def loss(log_temperature):
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(images), labels].mean()

    lowest = minimize_scalar(loss, (-1, 1), tol=1e-12)
    temperature = fit_temperature(labels, softmax_of(logits))
    assert temperature == pytest.approx(np.exp(lowest.x), rel=1e-4)
    assert temperature == pytest.approx(factor, rel=0.6 if images == 35 else 0.15)
    scaled = apply_temperature(softmax_of(logits), temperature)
    np.testing.assert_allclose(scaled, softmax_of(logits / temperature), atol=1e-5)
    np.testing.assert_array_equal(scaled.argmax(axis=1), logits.argmax(axis=1))


def test_probabilities_of_zero_stay_finite():
    probabilities = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.5, 0.3]], np.float32)
    labels = np.array([1, 1, 1])
    temperature = fit_temperature(labels, probabilities)
    scaled = apply_temperature(probabilities, temperature)
    assert temperature > 1
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("labels", "words"), [([0, 1, 0], "right on each of the 3 validation images"), ([1, 0, 1], "worse than equal")]
)
def test_where_no_temperature_fits_it_says_so(labels, words):
    probabilities = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    with pytest.raises(UserError, match=words):
        fit_temperature(np.array(labels), probabilities)


def error_by_loop(labels, probabilities, bins):
    total = 0.0
    for number in range(1, bins + 1):
        inside = [
            (max(row), int(np.argmax(row)) == label)
            for row, label in zip(probabilities.tolist(), labels, strict=True)
            if (number - 1) / bins < max(row) <= number / bins
        ]
        if inside:
            sure, right = zip(*inside, strict=True)
            total += abs(sum(right) - sum(sure)) / len(labels)
    return total


@pytest.mark.parametrize(("images", "classes"), [(1, 2), (33, 3), (400, 7)])
def test_the_calibration_error_is_that_of_a_plain_loop(rng, images, classes):
    logits, labels = overconfident(images, classes, 2.0, rng)
    probabilities = softmax_of(logits).astype(np.float64)
    found = Reliability.of(labels, probabilities)
    assert found.error == pytest.approx(error_by_loop(labels, probabilities, BINS))
    assert found.images.sum() == images
    back = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert len(back["bins"]) == BINS
    assert sum(row["images"] * row["accuracy"] for row in back["bins"]) == pytest.approx(
        (probabilities.argmax(axis=1) == labels).sum()
    )


def test_the_edge_of_a_bin_belongs_to_the_lower_bin():
    found = Reliability.of(np.array([0, 0, 1]), np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]), bins=4)
    assert found.images.tolist() == [0, 1, 1, 1]
    assert found.error == pytest.approx((0.5 + 0.25 + 1.0) / 3)


def test_scaling_lowers_the_error_of_an_overconfident_network(rng, tmp_path):
    logits, labels = overconfident(3000, 5, 3.0, rng)
    fresh, fresh_labels = overconfident(3000, 5, 3.0, rng)
    temperature = fit_temperature(labels, softmax_of(logits))
    before = Reliability.of(fresh_labels, softmax_of(fresh))
    after = Reliability.of(fresh_labels, apply_temperature(softmax_of(fresh), temperature))
    assert after.error < before.error / 3
    assert after.log_loss < before.log_loss
    plot_reliability(before, after, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    text = describe_reliability(before, after, temperature)
    assert "too sure" in text
    assert f"{before.error:.3f}" in text
    assert f"{after.error:.3f}" in text
