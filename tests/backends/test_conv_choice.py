"""Which algorithm a convolution gets."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")

from cnn.backends import CONVOLUTIONS, Activation, Epilogue, Ops, Window, get_ops
from cnn.backends.cpu import CpuOps
from cnn.backends.cpu.conv_choice import FILTER_GRADIENT, FORWARD, INFERENCE, cost
from cnn.backends.cpu.conv_problem import ConvProblem, cut


def problem(batch=64, side=24, channels=64, filters=128, kernel=3, stride=1, padding="same", groups=1):
    window = Window.over((side, side), kernel, stride, padding)
    return ConvProblem(batch, channels, filters, window, groups)


def chosen(ops: CpuOps, kind: str = FORWARD, **shape) -> str:
    return ops.selector.select(kind, problem(**shape), ops.algorithms, lambda algorithm: None).name


@pytest.fixture(scope="module")
def auto():
    return CpuOps(1)


def test_large_3x3_convolutions_are_winograds(auto):
    assert chosen(auto) == "winograd4"
    assert chosen(auto, kind=FILTER_GRADIENT) == "winograd4"


def test_what_winograd_does_not_support_is_not_given_to_it(auto):
    for shape in ({"kernel": 5}, {"stride": 2}, {"groups": 2}, {"kernel": 1}):
        assert not chosen(auto, **shape).startswith("winograd")
    assert chosen(auto, channels=32, filters=32, groups=32) == "depthwise"


def test_a_single_small_image_is_not_worth_a_large_filters_transform(auto):
    assert not chosen(auto, batch=1, side=3, channels=256, filters=256).startswith("winograd")


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_named_algorithm_is_taken_wherever_it_supports_the_shape(name):
    ops = CpuOps(1, name)
    assert chosen(ops) == name
    if name.startswith("winograd"):
        assert chosen(ops, stride=2) != name


def test_the_selection_is_the_same_every_time_and_recorded():
    records = []
    for threads in (1, 2):
        ops = get_ops("cpu", threads)
        x, w = np.ones((4, 24, 24, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)
        window = Window.over((24, 24), 3, 1, "same")
        ops.conv2d_backward_filter(ops.conv2d(x, w, None, window, 1), x, window, 1)
        records.append(ops.selector.record())
    assert records[0] == records[1]
    assert [row["pass"] for row in records[0]] == [FORWARD, FILTER_GRADIENT]
    assert records[0][0]["input"] == [24, 24, 16]


def test_tuning_tries_all_that_support_the_shape_and_keeps_the_fastest():
    ops, tried = CpuOps(1, "tune"), []
    fastest = ops.selector.select(FORWARD, problem(), ops.algorithms, lambda each: tried.append(each.name))
    assert set(tried) == set(CONVOLUTIONS)
    assert fastest.name in CONVOLUTIONS
    again = ops.selector.select(FORWARD, problem(), ops.algorithms, lambda each: pytest.fail("tried twice"))
    assert again is fastest


def test_a_tuned_convolution_is_right(rng):
    x, w = rng.normal(size=(3, 9, 9, 4)), rng.normal(size=(3, 3, 4, 5))
    window = Window.over((9, 9), 3, 1, "same")
    given = (x, w, None, window, 1, Epilogue(Activation("relu")))
    np.testing.assert_allclose(CpuOps(1, "tune").conv2d(*given), Ops().conv2d(*given), atol=1e-12)


@pytest.mark.parametrize("kind", [FORWARD, INFERENCE, FILTER_GRADIENT])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_larger_problem_costs_more(name, kind):
    one = cost(name, kind, problem())
    assert 0 < one < cost(name, kind, problem(batch=128))
    assert one < cost(name, kind, problem(filters=256))
    assert one < cost(name, kind, problem(side=48))


@pytest.mark.parametrize(
    ("batch", "rows", "row_bytes", "step"), [(1, 9, 100, 4), (1, 192, 200_000, 4), (33, 7, 9, 2), (5, 1, 1, 1)]
)
def test_a_cut_covers_every_row_of_every_image_once(batch, rows, row_bytes, step):
    shape = ConvProblem(batch, 1, 1, Window.over((rows, 3), 1, 1, "valid"))
    seen = np.zeros((batch, rows), int)
    for chunk in cut(shape, row_bytes, step):
        assert chunk.rows.start % step == 0
        seen[chunk.images, chunk.rows] += 1
    assert (seen == 1).all()
