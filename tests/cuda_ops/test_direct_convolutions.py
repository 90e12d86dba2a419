"""Convolutions that are no matrix products, one channel and depthwise, on the storage type as it is."""

from __future__ import annotations

import numpy as np
import pytest

from cnn.backends import Activation, Epilogue, Ops, Window

# Images, filters, groups, window.
CASES = {
    "8 filters": ((3, 7, 6, 1), 8, 1, Window.over((7, 6), 3, padding="same")),
    "64 filters": ((2, 5, 9, 1), 64, 1, Window.over((5, 9), 3, padding="same")),
    "3 filters, stride 2": ((2, 9, 8, 1), 3, 1, Window.over((9, 8), 3, 2, 1)),
    "12 filters, dilation": ((2, 8, 9, 1), 12, 1, Window.over((8, 9), 3, 1, 2, (2, 1))),
    "rows of whole runs": ((3, 5, 8, 1), 8, 1, Window.over((5, 8), 3, padding="same")),
    "rows of whole runs, many blocks": ((9, 20, 24, 1), 64, 1, Window.over((20, 24), 3, padding="same")),
    "rows of whole runs, 5x5": ((2, 6, 12, 1), 7, 1, Window.over((6, 12), 5, padding="same")),
    "rows of whole runs, stride 2": ((2, 9, 16, 1), 8, 1, Window.over((9, 16), 3, 2, 1)),
    "rows of whole runs, stride 2 down": ((2, 9, 12, 1), 8, 1, Window.over((9, 12), 3, (2, 1), 1)),
    "rows of fours, dilation": ((2, 5, 8, 1), 8, 1, Window.over((5, 8), 3, 1, "same", (1, 2))),
    "5x5": ((2, 8, 7, 1), 6, 1, Window.over((8, 7), 5, padding="same")),
    "5x5, odd": ((2, 8, 7, 1), 5, 1, Window.over((8, 7), 5)),
    "many parts": ((9, 20, 21, 1), 8, 1, Window.over((20, 21), 3, padding="same")),
    "depthwise": ((2, 7, 8, 5), 5, 5, Window.over((7, 8), 3, padding="same")),
    "depthwise, two filters a channel": ((3, 7, 9, 4), 8, 4, Window.over((7, 9), 3, 2, 1)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_and_its_gradients(device, name, relu, rng):
    shape, filters, groups, window = CASES[name]
    x, b = rng.normal(size=shape), rng.normal(size=filters).astype(np.float32)
    w = rng.normal(size=(*window.kernel, shape[3] // groups, filters))
    dy = rng.normal(size=(shape[0], *window.output_hw, filters))
    ops, reference, epilogue = device.ops, Ops(), Epilogue(Activation("relu") if relu else None)
    seen, taps, given = (device.rounded(values) for values in (x, w, dy))
    x, w, dy, launched = device.put(x), device.put(w), device.put(dy), []
    ops.launch.observe = lambda kernel, arguments: launched.append(kernel.name)
    try:
        y = ops.conv2d(x, w, ops.array(b), window, groups, epilogue)
        dw = ops.conv2d_backward_filter(dy, x, window, groups)
        dx = ops.conv2d_backward_input(dy, w, window, groups) if groups > 1 else None
    finally:
        ops.launch.observe = None
    device.assert_close(y, reference.conv2d(seen, taps, b.astype(float), window, groups, epilogue))
    device.assert_close(dw, reference.conv2d_backward_filter(given, seen, window, groups))
    assert dw.dtype == np.float32
    if dx is not None:
        device.assert_close(dx, reference.conv2d_backward_input(given, taps, window, groups))
    kind = "conv_depthwise" if groups > 1 else "conv_one_channel"
    assert all(name.startswith(kind) for name in launched)
    assert len(launched) == (3 if groups > 1 else 2)
