"""The taps of a window that see the image, counted by hand."""

from __future__ import annotations

from collections.abc import Iterator

from cnn.backends import Window


def seen(window: Window, i: int, j: int) -> Iterator[tuple[int, int, int, int]]:
    """(tap row, tap column, image row, image column) of every tap of output pixel (i, j) that is in the image."""
    top, _, left, _ = window.padding
    for k in range(window.kernel[0]):
        for m in range(window.kernel[1]):
            row = i * window.stride[0] + k * window.dilation[0] - top
            column = j * window.stride[1] + m * window.dilation[1] - left
            if 0 <= row < window.input_hw[0] and 0 <= column < window.input_hw[1]:
                yield k, m, row, column
