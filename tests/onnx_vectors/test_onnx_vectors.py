"""ONNX's own vectors on every backend: what nobody here has written."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx (the extra `test`) is not installed")

from backends.running import assert_close
from onnx_vectors import reasons, table
from onnx_vectors.adapter import OPERATORS, run
from onnx_vectors.cases import Case, all_cases, our_cases

# The largest error allowed, as a fraction of the largest expected value. The vectors are float32, and some were
# calculated in float32 or written down with seven digits, so that float64 comes no closer.
TOLERANCE = 2e-6
FOUR_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 2e-4}


@pytest.mark.parametrize("onnx_case", our_cases(), ids=lambda case: f"{case.source}-{case.name.removeprefix('test_')}")
def test_operator_gives_what_onnx_expects(backend, onnx_case: Case):
    actual = run(backend.ops, backend.dtype, onnx_case)
    for name, wanted in onnx_case.expected.items():
        if wanted.dtype.kind == "f":
            most = FOUR_DIGITS.get(onnx_case.name, TOLERANCE)
            assert_close(actual[name].astype(float), wanted.astype(float), most)
        else:
            np.testing.assert_array_equal(actual[name], wanted)


def test_every_case_of_the_package_is_run_or_has_its_reason():
    for case in all_cases():
        if not case.reason:
            assert set(case.ops) <= set(OPERATORS), case.name
    assert {case.name for case in our_cases()} == {case.name for case in all_cases() if not case.reason}


def test_every_reason_is_needed():
    """Neither an operator that the package does not have, nor one that is run after all."""
    given = {op for case in all_cases() for op in case.ops}
    assert set(reasons.NOT_OURS) <= given
    assert not set(reasons.NOT_OURS) & set(OPERATORS)
    assert {case.reason for case in all_cases()} >= {text for _, text in sum(reasons.LIMITS.values(), ())}


def test_every_operator_of_the_adapter_is_run():
    used = {node.op for case in our_cases() for node in case.nodes}
    assert set(OPERATORS) == used


def test_the_table_in_the_docs_is_what_the_command_makes():
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), f"stale: {table.COMMAND}"
