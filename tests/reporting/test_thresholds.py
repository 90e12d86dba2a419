"""Thresholds against a count of every candidate."""

import numpy as np
import pytest

from cnn.reporting.thresholds import PRECISION, class_thresholds, shown


def counted(own, taken):
    """Precision, recall and F1 by counting; 0 where there is nothing to divide by."""
    hits = float((own & taken).sum())
    return hits / max(taken.sum(), 1), hits / max(own.sum(), 1), 2 * hits / max(own.sum() + taken.sum(), 1)


@pytest.mark.parametrize("images", [4, 33, 250])
def test_thresholds_are_the_best_of_all_on_validation(rng, images):
    labels = rng.integers(0, 3, (2, images))
    probabilities = rng.dirichlet([0.7, 0.7, 0.7], (2, images))
    probabilities[np.arange(2)[:, None], np.arange(images), labels] += 0.3  # better than chance
    probabilities /= probabilities.sum(axis=2, keepdims=True)
    found = class_thresholds((labels[0], probabilities[0]), (labels[1], probabilities[1]), ["a", "b", "c"])
    assert [row.name for row in found] == ["a", "b", "c"]
    for number, row in enumerate(found):
        own, sure = labels[0] == number, probabilities[0][:, number]
        candidates = np.unique(np.floor(sure * 1000) / 1000)
        precision, _, f1 = zip(*(counted(own, sure >= at) for at in candidates), strict=True)
        precise = [at for at, value in zip(candidates, precision, strict=True) if value >= PRECISION]
        if not own.any():
            assert row.balanced is row.strict is None
            continue
        assert counted(own, sure >= row.balanced.value)[2] == pytest.approx(max(f1))
        assert (row.strict and row.strict.value) == (min(precise) if precise else None)
        for at in filter(None, (row.balanced, row.strict)):
            new, taken = labels[1] == number, probabilities[1][:, number] >= at.value
            assert at.images == taken.sum()
            precision, recall, _ = counted(new, taken)
            assert at.precision == (pytest.approx(precision) if taken.any() else None)
            assert at.recall == (pytest.approx(recall) if new.any() else None)
            assert float(shown(at.value)) == at.value  # what a page shows is what was scored


def test_a_class_that_a_split_lacks_has_no_threshold_or_no_score():
    both = np.array([[0.9, 0.1], [0.8, 0.2]])
    lacking, there = np.array([0, 0]), np.array([0, 1])
    (_, second) = class_thresholds((lacking, both), (there, both), ["a", "b"])
    assert (second.balanced, second.strict) == (None, None)
    (_, second) = class_thresholds((there, both), (lacking, both), ["a", "b"])
    assert second.balanced.recall is None
    assert shown(second.balanced.recall) == "–"
