"""The geometry of a sliding window against counting by hand."""

import itertools
import math

import pytest

from cnn.backends import Window


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_gives_the_input_over_the_stride_with_the_odd_pixel_at_the_end(stride, dilation):
    for size, kernel in itertools.product(range(1, 12), range(1, 6)):
        check_same(size, kernel, stride, dilation)


def check_same(size, kernel, stride, dilation):
    window = Window.over((size, 12 - size), kernel, stride, "same", dilation)
    assert window.output_hw == (math.ceil(size / stride), math.ceil((12 - size) / stride))
    top, bottom, left, right = window.padding
    assert bottom - top in (0, 1)
    assert right - left in (0, 1)
    reach = (kernel - 1) * dilation + 1
    assert top + bottom == max((window.output_hw[0] - 1) * stride + reach - size, 0)


def test_valid_padding_counts_the_places_where_the_window_fits():
    for size, kernel, stride in itertools.product([5, 8, 11], [1, 2, 5], [1, 2, 3]):
        places = len([start for start in range(0, size, stride) if start + kernel <= size])
        assert Window.over((size, size), kernel, stride).output_hw == (places, places)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [(2, (2, 2, 2, 2)), ((1, 3), (1, 1, 3, 3)), ((0, 1, 2, 3), (0, 1, 2, 3)), ("valid", (0,) * 4)],
)
def test_explicit_padding_is_top_bottom_left_right(padding, expected):
    assert Window.over((9, 9), 3, padding=padding).padding == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 10}, "10x10 window .* does not fit into the 9x9 image"),
        ({"kernel": 5, "dilation": 3}, "13x13 window .* does not fit"),
        ({"kernel": 0}, "kernel must be whole numbers of at least 1, not 0"),
        ({"kernel": (3, 1.5)}, "kernel must be whole numbers"),
        ({"kernel": 3, "stride": 0}, "stride must be whole numbers"),
        ({"kernel": 3, "dilation": -1}, "dilation must be whole numbers"),
        ({"kernel": 3, "padding": "full"}, "padding must be 'same', 'valid' or numbers of pixels, not 'full'"),
        ({"kernel": 3, "padding": -1}, "none negative"),
        ({"kernel": 3, "padding": (1, 2, 3)}, "1, 2 or 4 numbers"),
    ],
)
def test_impossible_geometry_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Window.over((9, 9), **arguments)
