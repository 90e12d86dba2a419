"""The yardsticks: their accuracies, and that large images cost neither much memory nor the result of a run."""

import json

import numpy as np
import pytest

import cnn.reporting.run_files
from cnn.reporting.baselines import features, logistic_regression, majority_guess
from cnn.reporting.run_files import write_run_files


@pytest.mark.parametrize("shape", [(48, 48, 1), (32, 32, 3), (5, 7, 1), (1, 3072, 1)])
def test_small_images_are_taken_as_they_are(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    np.testing.assert_array_equal(features(images), images.reshape(3, -1))


@pytest.mark.parametrize(("shape", "side"), [((64, 64, 1), 2), ((99, 99, 3), 4), ((101, 37, 3), 2), ((3, 5000, 1), 3)])
def test_large_images_are_means_of_squares(shape, side):
    images = np.random.default_rng(1).integers(0, 256, (2, *shape), np.uint8)
    found = features(images)
    expected = np.stack([
        [[image[row : row + side, column : column + side].mean(axis=(0, 1)) for column in range(0, shape[1], side)]
         for row in range(0, shape[0], side)]
        for image in images
    ]).reshape(2, -1)  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.shape[1] <= 3072
    assert found.dtype == np.float32


def test_it_learns_from_large_images():
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 2
    images = rng.integers(0, 100, (40, 90, 90, 3), np.uint8) + (labels[:, None, None, None] * 100).astype(np.uint8)
    assert logistic_regression(images[:20], labels[:20], images[20:], labels[20:]) == 1
    assert majority_guess(np.array([0, 0, 1]), labels) == 0.5


@pytest.fixture
def arguments(monkeypatch):
    for name in ("plot_curves", "plot_confusion_matrix", "plot_predictions"):
        monkeypatch.setattr(cnn.reporting.run_files, name, lambda *_: None)
    labels = np.array([0, 1, 0])
    return {
        "images": np.zeros((3, 4, 4, 1), np.uint8), "labels": labels, "probabilities": np.eye(2)[labels],
        "classes": ["a", "b"], "history": [], "best_epoch": 1, "baselines": {"majority guess": 2 / 3},
        "metrics": {"model": "m", "data": "d", "seed": 0, "pack_hash": "x"}, "summary_rows": [], "configuration": "",
        "provenance": {"versions": {}},
    }  # fmt: skip


def test_the_result_is_written_before_a_slow_baseline(arguments, tmp_path):
    seen = []

    def killed():
        seen.append(json.loads((tmp_path / "metrics.json").read_text()))
        assert "100.0 %" in (tmp_path / "report.html").read_text()
        raise KeyboardInterrupt  # or the kernel, for want of memory

    with pytest.raises(KeyboardInterrupt):
        write_run_files(tmp_path, **arguments, more_baselines=killed)
    assert seen[0]["test_accuracy"] == 1
    assert json.loads((tmp_path / "metrics.json").read_text()) == seen[0]


def test_a_slow_baseline_is_added(arguments, tmp_path):
    write_run_files(tmp_path, **arguments, notes=["One image is left out."], more_baselines=lambda: {"slow": 0.25})
    assert json.loads((tmp_path / "metrics.json").read_text())["baselines"] == {"majority guess": 2 / 3, "slow": 0.25}
    page = (tmp_path / "report.html").read_text()
    assert "slow" in page
    assert "One image is left out." in page
    assert "mean of all 2 classes" in page
