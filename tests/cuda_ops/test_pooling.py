"""Pooling over windows that overlap, stick out and leave pixels over."""

import numpy as np
import pytest

from cnn.backends import Window

WINDOWS = {
    "2x2": Window.over((9, 7), 2, 2),
    "3x3 same": Window.over((9, 7), 3, 2, "same"),
    "3x3 same_lower": Window.over((8, 10), 3, 2, "same_lower"),
    "3x3 ceil": Window.over((10, 9), 3, 2, 0, ceil=True),
    "padded ceil": Window.over((9, 7), 3, 2, (1, 0, 1, 2), ceil=True),
    "dilated ceil": Window.over((12, 11), 3, 3, 1, 2, ceil=True),
    "4x3": Window.over((9, 7), (4, 3), (3, 1), (2, 1, 0, 2)),
    "stride above window": Window.over((11, 11), 2, 5, 1),
    "17x17": Window.over((24, 24), 17, 9, 3, ceil=True),
}
over = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
CHANNELS = pytest.mark.parametrize("channels", [4, 3])


def seen(window, i, j):
    """(tap number, row, column) of all taps of output pixel (i, j), those outside the image too."""
    top, _, left, _ = window.padding
    for k in range(window.kernel[0]):
        for m in range(window.kernel[1]):
            yield (
                k * window.kernel[1] + m,
                i * window.stride[0] + k * window.dilation[0] - top,
                j * window.stride[1] + m * window.dilation[1] - left,
            )


def inside(window, row, column, margins=(0, 0, 0, 0)):
    (h, w), (top, bottom, left, right) = window.input_hw, margins
    return -top <= row < h + bottom and -left <= column < w + right


def outputs(window):
    return [(i, j) for i in range(window.output_hw[0]) for j in range(window.output_hw[1])]


def test_the_windows_reach_beyond_the_padding():
    assert WINDOWS["3x3 ceil"].overhang == (1, 0)
    assert any(WINDOWS["padded ceil"].overhang)
    assert any(WINDOWS["dilated ceil"].overhang)


@over
@CHANNELS
def test_max_pool(device, window, channels, rng):
    x = rng.normal(size=(2, *window.input_hw, channels))
    y, argmax = device.ops.max_pool2d(device.put(x), window)
    values, found = device.rounded(x), device.ops.to_numpy(argmax)
    dy = rng.normal(size=y.shape)
    expected_dx = np.zeros(x.shape)
    for i, j in outputs(window):
        taps = [(tap, row, column) for tap, row, column in seen(window, i, j) if inside(window, row, column)]
        pixels = np.stack([values[:, row, column] for _, row, column in taps])
        first = pixels.argmax(axis=0)
        np.testing.assert_array_equal(device.get(y)[:, i, j], pixels.max(axis=0))
        np.testing.assert_array_equal(found[:, i, j], np.array([tap for tap, _, _ in taps])[first])
        for n in range(2):
            for c in range(channels):
                _, row, column = taps[first[n, c]]
                expected_dx[n, row, column, c] += device.rounded(dy)[n, i, j, c]
    device.assert_close(device.ops.max_pool2d_backward(device.put(dy), argmax, window), expected_dx, 1e-6)


@over
@CHANNELS
@pytest.mark.parametrize("count_padding", [False, True])
def test_average_pool(device, window, channels, count_padding, rng):
    x = rng.normal(2, 1, (2, *window.input_hw, channels))
    dy = rng.normal(size=(2, *window.output_hw, channels))
    values, given = device.rounded(x), device.rounded(dy)
    margins = window.padding if count_padding else (0, 0, 0, 0)
    expected, expected_dx = np.zeros(dy.shape), np.zeros(x.shape)
    for i, j in outputs(window):
        divisor = sum(inside(window, row, column, margins) for _, row, column in seen(window, i, j))
        for _, row, column in seen(window, i, j):
            if inside(window, row, column):
                expected[:, i, j] += values[:, row, column] / divisor
                expected_dx[:, row, column] += given[:, i, j] / divisor
    device.assert_close(device.ops.avg_pool2d(device.put(x), window, count_padding), expected)
    device.assert_close(device.ops.avg_pool2d_backward(device.put(dy), window, count_padding), expected_dx)


def test_an_infinite_gradient_reaches_the_maximum_alone(device):
    window = Window.over((4, 4), 2, 2)
    x = np.arange(64.0).reshape(1, 4, 4, 4)
    _, argmax = device.ops.max_pool2d(device.put(x), window)
    dx = device.get(device.ops.max_pool2d_backward(device.put(np.full((1, 2, 2, 4), np.inf)), argmax, window))
    assert np.isposinf(dx[0, 1::2, 1::2]).all()
    dx[0, 1::2, 1::2] = 0
    assert not dx.any()


@pytest.mark.parametrize(("n", "hw", "c"), [(2, (5, 7), 3), (1, (40, 41), 36), (3, (1, 1), 4)], ids=str)
def test_global_average_pool(device, n, hw, c, rng):
    x, dy = rng.normal(2, 1, (n, *hw, c)), rng.normal(size=(n, c))
    device.assert_close(device.ops.global_avg_pool2d(device.put(x)), device.rounded(x).mean(axis=(1, 2)), 3e-7)
    expected = np.broadcast_to(device.rounded(dy)[:, None, None] / (hw[0] * hw[1]), x.shape)
    device.assert_close(device.ops.global_avg_pool2d_backward(device.put(dy), hw), expected, 3e-7)
