"""The fit of the engine's cost model."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")

from benchmarks.cpu_convolutions import fitted
from cnn.backends import CONVOLUTIONS, Window
from cnn.backends.cpu.conv_choice import COSTS, FILTER_GRADIENT, FORWARD, INFERENCE, Costs, cost
from cnn.backends.cpu.conv_problem import ConvProblem
from cnn.backends.cpu.vectors import AVX2, AVX512

PROBLEMS = [
    ConvProblem(batch, channels, filters, Window.over((side, side), 3, 1, "same"))
    for batch in (1, 3, 20)
    for side, channels, filters in ((24, 16, 64), (13, 64, 70), (6, 200, 256), (48, 8, 24))
]


@pytest.mark.parametrize("tile", [AVX2, AVX512])
def test_the_fit_finds_the_constants_behind_the_times(tile):
    made = Costs(0.01, 9, 0.1, 0.05, 0.3, 0.02, 0.01, 0.6)
    measured = {
        (name, kind, problem): 1e-6 * cost(name, kind, problem, tile, made)
        for name in CONVOLUTIONS
        for kind in (FORWARD, INFERENCE, FILTER_GRADIENT)
        for problem in PROBLEMS
    }
    np.testing.assert_allclose(fitted(measured, tile, COSTS[tile]), made, rtol=0.02)


def test_wider_vectors_leave_winograd_less_to_save():
    """The products get faster, the transforms, which memory holds up, do not."""
    problem = ConvProblem(64, 64, 128, Window.over((24, 24), 3, 1, "same"))
    saved = [
        cost("winograd4", FORWARD, problem, tile, COSTS[tile]) / cost("direct", FORWARD, problem, tile, COSTS[tile])
        for tile in (AVX512, AVX2)
    ]
    assert saved[0] > saved[1]
