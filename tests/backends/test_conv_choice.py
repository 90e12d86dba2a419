"""Which algorithm a convolution gets."""

import numpy as np
import pytest

from cnn.backends import CONVOLUTIONS, NumpyOps, Window, get_ops
from cnn.backends.numpy_ops.conv_choice import FILTER_GRADIENT, FORWARD, INFERENCE, cost
from cnn.backends.numpy_ops.conv_problem import ConvProblem, cut
from foundation.errors import UserError


def problem(batch=64, side=24, channels=64, filters=128, kernel=3, stride=1, padding="same", groups=1):
    window = Window.over((side, side), kernel, stride, padding)
    return ConvProblem(batch, channels, filters, window, groups)


def chosen(ops: NumpyOps, way: str = FORWARD, **shape) -> str:
    return ops.choice.choose(way, problem(**shape), ops.algorithms, lambda algorithm: None).name


@pytest.fixture(scope="module")
def auto():
    return NumpyOps(1)


def test_large_3x3_convolutions_are_winograds(auto):
    assert chosen(auto) == "winograd4"
    assert chosen(auto, way=FILTER_GRADIENT) == "winograd4"


def test_what_winograd_does_not_support_is_not_given_to_it(auto):
    assert chosen(auto, kernel=5) in ("im2col", "shifted")
    assert chosen(auto, stride=2) == "im2col"
    assert chosen(auto, groups=2) == "im2col"
    assert chosen(auto, channels=32, filters=32, groups=32) == "depthwise"
    assert chosen(auto, kernel=1) in ("im2col", "shifted")


def test_a_single_small_image_is_not_worth_a_large_filters_transform(auto):
    assert chosen(auto, way=INFERENCE, batch=1, side=6, channels=256, filters=256) == "im2col"


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_named_algorithm_is_taken_wherever_it_supports_the_shape(name):
    ops = NumpyOps(1, name)
    assert chosen(ops) == name
    assert chosen(ops, stride=2) == "im2col"


def test_the_choice_is_the_same_every_time_and_recorded():
    records = []
    for threads in (1, 2):
        ops = get_ops("numpy", threads)
        x, w = np.ones((4, 24, 24, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)
        window = Window.over((24, 24), 3, 1, "same")
        ops.conv2d_backward_filter(ops.conv2d(x, w, None, window, 1), x, window, 1)
        records.append(ops.choice.record())
    assert records[0] == records[1]
    assert [row["way"] for row in records[0]] == [FORWARD, FILTER_GRADIENT]
    assert records[0][0]["input"] == [24, 24, 16]


def test_tuning_tries_all_that_support_the_shape_and_keeps_the_fastest():
    ops, tried = NumpyOps(1, "tune"), []
    fastest = ops.choice.choose(FORWARD, problem(), ops.algorithms, lambda each: tried.append(each.name))
    assert set(tried) == set(CONVOLUTIONS)
    assert fastest.name in CONVOLUTIONS
    again = ops.choice.choose(FORWARD, problem(), ops.algorithms, lambda each: pytest.fail("tried twice"))
    assert again is fastest


def test_a_tuned_convolution_is_right(rng):
    x, w = rng.normal(size=(3, 9, 9, 4)), rng.normal(size=(3, 3, 4, 5))
    window = Window.over((9, 9), 3, 1, "same")
    expected = NumpyOps(1, "im2col").conv2d(x, w, None, window, 1, relu=True)
    np.testing.assert_allclose(NumpyOps(1, "tune").conv2d(x, w, None, window, 1, relu=True), expected, atol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("way", [FORWARD, INFERENCE, FILTER_GRADIENT])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_larger_problem_costs_more(name, way, compiled):
    one = cost(name, way, problem(), compiled)
    assert 0 < one < cost(name, way, problem(batch=128), compiled)
    assert one < cost(name, way, problem(filters=256), compiled)
    assert one < cost(name, way, problem(side=48), compiled)


@pytest.mark.parametrize(
    ("batch", "rows", "row_bytes", "step"), [(1, 9, 100, 4), (1, 192, 200_000, 4), (33, 7, 9, 2), (5, 1, 1, 1)]
)
def test_a_cut_covers_every_row_of_every_image_once(batch, rows, row_bytes, step):
    shape = ConvProblem(batch, 1, 1, Window.over((rows, 3), 1, 1, "valid"))
    seen = np.zeros((batch, rows), int)
    for piece in cut(shape, row_bytes, step):
        assert piece.rows.start % step == 0
        seen[piece.images, piece.rows] += 1
    assert (seen == 1).all()


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(UserError, match=r"backend\.convolution is 'fft'; choose one of: auto, tune, im2col"):
        get_ops("numpy", 1, convolution="fft")
