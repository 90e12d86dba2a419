"""Paired comparisons against sums over all outcomes, and the frequency with which an interval holds the truth."""

import math

import numpy as np
import pytest
import scipy.stats

from cnn.reporting.comparison import PairedCounts, SeedDifference


def mcnemar_by_summing(only_a: int, only_b: int) -> float:
    """Twice the smaller tail of a fair coin, at most 1."""
    tosses = only_a + only_b
    tail = sum(math.comb(tosses, heads) for heads in range(min(only_a, only_b) + 1)) / 2**tosses
    return min(1.0, 2 * tail)


def test_counts_of_two_answers():
    a = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    b = np.array([1, 0, 0, 1, 0, 0, 1], bool)
    counts = PairedCounts.of(a, b)
    assert (counts.both, counts.only_a, counts.only_b, counts.neither) == (2, 2, 1, 2)
    assert counts.difference == pytest.approx(a.mean() - b.mean())
    swapped = PairedCounts.of(b, a)
    assert swapped.interval() == pytest.approx(tuple(-end for end in reversed(counts.interval())))
    assert swapped.p_value() == counts.p_value()
    with pytest.raises(ValueError, match="one length"):
        PairedCounts.of(a, b[1:])


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 9), (5, 5), (13, 4), (150, 110)])
def test_mcnemars_exact_test_sums_the_tail(only_a, only_b):
    assert PairedCounts(3, only_a, only_b, 2).p_value() == pytest.approx(mcnemar_by_summing(only_a, only_b))


@pytest.mark.parametrize(("images", "cells"), [(15, (0.5, 0.2, 0.1, 0.2)), (60, (0.85, 0.05, 0.02, 0.08))])
def test_the_interval_holds_the_difference_as_often_as_it_says(rng, images, cells):
    """Small samples with rare differences, in which Wald's interval is too narrow."""
    truth, held = cells[1] - cells[2], []
    for both, only_a, only_b, neither in rng.multinomial(images, cells, 1500).tolist():
        low, high = PairedCounts(both, only_a, only_b, neither).interval()
        held.append(low <= truth <= high)
    assert 0.94 < np.mean(held) < 0.996


def test_the_interval_of_many_images_is_that_of_the_mean_difference(rng):
    differences = rng.choice([-1, 0, 1], 20000, p=[0.06, 0.85, 0.09])
    counts = PairedCounts.of(differences >= 0, differences <= 0)
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    assert counts.interval() == pytest.approx((expected.low, expected.high), abs=1e-4)


@pytest.mark.parametrize("counts", [(9, 0, 0, 0), (0, 1, 0, 0), (0, 0, 7, 0), (0, 0, 0, 1)])
def test_the_interval_has_a_width_and_stays_within_bounds(counts):
    low, high = PairedCounts(*counts).interval()
    assert -1 <= low < high <= 1


def test_recipes_are_paired_by_seed():
    a, b = {0: 0.61, 1: 0.66, 7: 0.63}, {7: 0.60, 0: 0.60, 1: 0.64}  # in another order
    found = SeedDifference.of(a, b)
    expected = scipy.stats.ttest_rel([0.61, 0.66, 0.63], [0.60, 0.64, 0.60]).confidence_interval()
    assert found.paired
    assert found.value == pytest.approx(0.02)
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_recipes_of_other_seeds_are_compared_as_groups():
    a, b = {0: 0.61, 1: 0.66}, {0: 0.60, 1: 0.64, 2: 0.60}
    found = SeedDifference.of(a, b)
    expected = scipy.stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False).confidence_interval()
    assert not found.paired
    assert found.value == pytest.approx(np.mean(list(a.values())) - np.mean(list(b.values())))
    assert found.interval == pytest.approx((expected.low, expected.high))
