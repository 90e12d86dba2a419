"""Scores against numbers worked out by hand and against the formulas themselves."""

import json
import math

import numpy as np
import pytest
import sklearn.metrics

from cnn.reporting.classification_report import classification_text, write_classification_report
from cnn.reporting.metrics import compute_scores, wilson_interval
from cnn.training.inference import loss_and_accuracy
from foundation.errors import UserError

CLASSES = ["cat", "dog", "eel"]
# true:      cat  cat  cat  dog  dog  eel
# predicted: cat  cat  dog  dog  cat  dog
LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.1, 0.8, 0.1]],
    dtype=np.float32,
)


def wilson_by_formula(correct: int, images: int) -> tuple[float, float]:
    z, share = 1.959963984540054, correct / images
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + z * z / (4 * images**2))
    return centre - half, centre + half


def test_scores_by_hand():
    scores = compute_scores(LABELS, PROBABILITIES, CLASSES)
    assert scores.images == 6
    assert scores.accuracy == pytest.approx(3 / 6)
    assert scores.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert scores.confusion.dtype == np.int64
    # cat: precision 2/3, recall 2/3; dog: precision 1/3, recall 1/2; eel: never predicted
    assert scores.per_class["cat"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert scores.per_class["dog"] == pytest.approx({"precision": 1 / 3, "recall": 1 / 2, "f1": 0.4, "support": 2})
    assert scores.per_class["eel"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert scores.macro_f1 == pytest.approx((2 / 3 + 0.4 + 0) / 3)
    given_to_truth = [0.8, 0.6, 0.2, 0.8, 0.25, 0.1]
    assert scores.log_loss == pytest.approx(-sum(map(math.log, given_to_truth)) / 6, rel=1e-6)


@pytest.mark.parametrize(("correct", "images"), [(0, 5), (5, 5), (1, 1), (50, 100), (2333, 3589)])
def test_wilson_interval_by_formula(correct, images):
    low, high = wilson_interval(correct, images)
    expected_low, expected_high = wilson_by_formula(correct, images)
    assert low == pytest.approx(expected_low, abs=1e-9)
    assert high == pytest.approx(expected_high, abs=1e-9)
    assert 0 <= low <= correct / images <= high <= 1


def test_a_class_without_images_keeps_its_row():
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.9, 0.1, 0], [0.2, 0.8, 0]])
    scores = compute_scores(labels, probabilities, CLASSES)
    assert scores.accuracy == 1
    assert scores.per_class["eel"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert scores.confusion.shape == (3, 3)
    assert scores.macro_f1 == 1
    assert scores.macro_f1_of == "mean of the 2 classes with images in this split; none of eel"
    assert scores.as_dict()["macro_f1_of"] == scores.macro_f1_of
    assert "count eel as 0" in classification_text(labels, probabilities, CLASSES)


@pytest.mark.parametrize(("images", "classes"), [(5, 2), (40, 7), (9, 30)])
def test_macro_f1_is_that_of_scikit_learn_over_the_classes_with_images(images, classes):
    rng = np.random.default_rng(images)
    labels, probabilities = rng.integers(0, classes, images), rng.dirichlet(np.ones(classes), images)
    scores = compute_scores(labels, probabilities, [str(number) for number in range(classes)])
    expected = sklearn.metrics.f1_score(
        labels, probabilities.argmax(axis=1), labels=np.unique(labels), average="macro", zero_division=0
    )
    assert scores.macro_f1 == pytest.approx(expected)
    left_out = classes - len(np.unique(labels))
    assert scores.macro_f1_of.startswith(f"mean of the {classes - left_out} " if left_out else f"mean of all {classes}")


def test_as_dict_is_json_and_complete():
    scores = compute_scores(LABELS, PROBABILITIES, CLASSES)
    back = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert back["accuracy_interval"] == pytest.approx(wilson_by_formula(3, 6))
    assert back["per_class"]["dog"]["support"] == 2
    assert back["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert back["classes"] == CLASSES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("likelihood", [0.0, 1e-300, 1e-42, 2.0**-126, 1e-37, 1e-20, 1e-16, 1e-7, 0.3, 1.0])
def test_training_and_report_take_the_same_log_loss(likelihood, dtype):
    """Down to 2^-126 and no further: the smallest normal float32, whatever type the probabilities have."""
    labels = np.array([0, 1, 1])
    probabilities = np.array([[likelihood, 1 - likelihood], [0.5, 0.5], [0.25, 0.75]], dtype)
    scores = compute_scores(labels, probabilities, ["a", "b"])
    expected = -(math.log(max(likelihood, 2.0**-126)) + math.log(0.5) + math.log(0.75)) / 3
    assert scores.log_loss == pytest.approx(expected, rel=1e-7, abs=1e-12)
    assert loss_and_accuracy(probabilities, labels)[0] == scores.log_loss


@pytest.mark.parametrize(("images", "classes"), [(1, 2), (17, 3), (401, 7)])
def test_log_loss_is_that_of_scikit_learn(images, classes):
    rng = np.random.default_rng(images)
    probabilities = rng.dirichlet(np.full(classes, 0.3), images) + 1e-9
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(0, classes, images)
    scores = compute_scores(labels, probabilities, [str(number) for number in range(classes)])
    expected = sklearn.metrics.log_loss(labels, probabilities, labels=range(classes))
    assert scores.log_loss == pytest.approx(expected, rel=1e-12)


def test_a_diverged_network_gets_no_score():
    broken = PROBABILITIES.copy()
    broken[2, 1] = np.nan
    with pytest.raises(UserError, match="diverged"):
        compute_scores(LABELS, broken, CLASSES)


def test_an_empty_split_is_refused():
    with pytest.raises(UserError, match="no images"):
        compute_scores(np.zeros(0, np.int64), np.zeros((0, 3)), CLASSES)


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "message"),
    [
        (LABELS, PROBABILITIES[:5], CLASSES, "expected"),
        (LABELS, PROBABILITIES[:, :2], CLASSES, "expected"),
        (LABELS + 1, PROBABILITIES, CLASSES, "labels run"),
        (LABELS - 1, PROBABILITIES, CLASSES, "labels run"),
        (LABELS, PROBABILITIES, ["cat", "cat", "eel"], "distinct"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(labels, probabilities, classes, message):
    with pytest.raises(ValueError, match=message):
        compute_scores(labels, probabilities, classes)


def test_classification_report_holds_every_class(tmp_path):
    path = tmp_path / "classification_report.txt"
    text = write_classification_report(path, LABELS, PROBABILITIES, ["cat", "dog", "<Aal> ünïcode 怒"])
    assert path.read_text(encoding="utf-8") == text
    lines = {line.rsplit(maxsplit=4)[0].strip(): line.split()[-4:] for line in text.splitlines() if line.strip()}
    assert lines["cat"] == ["0.6667", "0.6667", "0.6667", "3"]
    assert lines["dog"] == ["0.3333", "0.5000", "0.4000", "2"]
    assert lines["<Aal> ünïcode 怒"] == ["0.0000", "0.0000", "0.0000", "1"]
    assert "accuracy" in text
