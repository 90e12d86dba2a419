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


def test_same_lower_is_same_with_the_odd_pixel_at_the_beginning():
    for size, kernel, stride in itertools.product(range(1, 12), range(1, 6), range(1, 4)):
        upper, lower = (Window.over((size, 12 - size), kernel, stride, rule) for rule in ("same", "same_lower"))
        top, bottom, left, right = upper.padding
        assert lower.padding == (bottom, top, right, left)
        assert lower.output_hw == upper.output_hw


def test_ceil_adds_a_window_for_pixels_left_over_unless_it_begins_behind_the_image():
    """PyTorch's rule, by counting: the added window begins inside the image or the padding before it."""
    for size, kernel, stride, before, after, dilation in itertools.product(
        range(1, 9), range(1, 5), range(1, 5), range(3), range(3), (1, 2)
    ):
        reach, padded = (kernel - 1) * dilation + 1, before + size + after
        if 2 * max(before, after) > reach:
            continue  # PyTorch takes no padding beyond half the window
        count = len([start for start in range(0, padded, stride) if start + reach <= padded])
        if (count - 1) * stride + reach < padded and count * stride < before + size:
            count += 1
        geometry = ((size, size), kernel, stride, (before, after, 4, 4), dilation)
        if count < 1:
            with pytest.raises(ValueError, match="does not fit"):
                Window.over(*geometry, ceil=True)
            continue
        window = Window.over(*geometry, ceil=True)
        assert window.output_hw[0] == count
        assert window.overhang[0] == max(0, (count - 1) * stride + reach - padded)
        assert window.padding == (before, after, 4, 4)


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
        ({"kernel": 3, "padding": "full"}, "padding must be 'same', 'same_lower', 'valid' or numbers .*, not 'full'"),
        ({"kernel": 3, "padding": -1}, "none negative"),
        ({"kernel": 3, "padding": (1, 2, 3)}, "1, 2 or 4 numbers"),
    ],
)
def test_impossible_geometry_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Window.over((9, 9), **arguments)
