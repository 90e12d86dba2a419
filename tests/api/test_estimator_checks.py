"""scikit-learn's own checks of an estimator, on vectors, which are what they feed."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from cnn import Classifier

ROUNDING = (
    "asks for equal probabilities to 1e-7 however X is cut or ordered, but the network computes in float32, where a "
    "matrix product's rounding depends on the rows beside it; tests/api/test_predicting.py asks for 1e-5"
)
EXPECTED_FAILURES = {"check_methods_subset_invariance": ROUNDING, "check_methods_sample_order_invariance": ROUNDING}


@parametrize_with_checks([Classifier(threads=1)], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_sklearns_checks(estimator, check):
    check(estimator)
