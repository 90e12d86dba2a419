"""`cnn.ops` on NumPy arrays against SciPy, adjoints and finite differences, and on the emulated GPU against NumPy."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.special import expit, log_softmax

from cnn import ops
from cnn.ops import dispatch
from cuda_emulator import unavailable


@pytest.fixture
def rng():
    return np.random.default_rng(23)


# --- convolution and linear pooling: SciPy forward, and gradients by the adjoint's identity ---------------------------


def by_scipy(x, w, bias, stride, pads, groups):
    """Cross-correlation by `scipy.signal.correlate2d`, a channel at a time; pads are top, bottom, left, right."""
    (top, bottom, left, right), per_group = pads, w.shape[3] // groups
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    images = []
    for image in padded:
        maps = [
            sum(
                correlate2d(image[:, :, k // per_group * w.shape[2] + d], w[:, :, d, k], mode="valid")
                for d in range(w.shape[2])
            )
            for k in range(w.shape[3])
        ]
        images.append(np.stack(maps, axis=-1))
    return np.stack(images)[:, :: stride[0], :: stride[1]] + bias


CONVOLUTIONS = {
    # (h, w), (kh, kw), channels, filters, groups, stride, padding, and that padding in pixels
    "same": ((7, 9), (3, 3), 3, 5, 1, 1, "same", (1, 1, 1, 1)),
    "valid": ((7, 6), (2, 5), 2, 4, 1, 1, "valid", (0, 0, 0, 0)),
    "same, even": ((6, 8), (4, 2), 2, 3, 1, 1, "same", (1, 2, 0, 1)),
    "same_lower, even": ((6, 8), (4, 2), 2, 3, 1, 1, "same_lower", (2, 1, 1, 0)),
    "numbers, stride": ((9, 8), (3, 3), 4, 4, 2, (2, 3), (2, 0, 1, 3), (2, 0, 1, 3)),
    "depthwise": ((5, 5), (3, 3), 4, 8, 4, 1, 1, (1, 1, 1, 1)),
    "one pixel": ((1, 1), (1, 1), 1, 1, 1, 1, "same", (0, 0, 0, 0)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolution_and_its_gradients(rng, case, dtype):
    hw, kernel, channels, filters, groups, stride, padding, pads = case
    x, w, bias = (
        rng.normal(size=shape) for shape in ((2, *hw, channels), (*kernel, channels // groups, filters), (filters,))
    )
    expected = by_scipy(x, w, bias, np.broadcast_to(stride, 2), pads, groups)
    dy = rng.normal(size=expected.shape)
    x, w, bias, given = (array.astype(dtype) for array in (x, w, bias, dy))
    options = {"stride": stride, "padding": padding, "groups": groups}
    rtol = 1e-4 if dtype == np.float32 else 1e-10
    y = ops.conv2d(x, w, bias, **options)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=rtol, atol=rtol)
    # <dy, conv(x)> = <dx, x> = <dw, w>, for any x and w: the gradients are the adjoints.
    product = np.vdot(dy, expected - bias)
    dx = ops.conv2d_backward_input(given, w, hw, **options)
    dw = ops.conv2d_backward_filter(given, x, kernel, **options)
    assert (dx.shape, dw.shape, dx.dtype, dw.dtype) == (x.shape, w.shape, dtype, dtype)
    for gradient, value in ((dx, x), (dw, w)):
        np.testing.assert_allclose(np.vdot(gradient, value), product, rtol=100 * rtol, atol=100 * rtol)
    np.testing.assert_allclose(ops.bias_backward(given), dy.sum(axis=(0, 1, 2)), rtol=100 * rtol, atol=100 * rtol)


def test_a_gradient_of_a_convolution_is_that_of_every_single_input(rng):
    """The adjoint's identity with one pixel at a time."""
    w = rng.normal(size=(3, 2, 2, 3))
    dy = rng.normal(size=(1, 2, 3, 3))
    options = {"stride": 2, "padding": (1, 0), "dilation": (2, 1)}
    dx = ops.conv2d_backward_input(dy, w, (6, 6), **options)
    for place in itertools.product(range(6), range(6), range(2)):
        spot = np.zeros((1, 6, 6, 2))
        spot[(0, *place)] = 1
        np.testing.assert_allclose(dx[(0, *place)], np.vdot(dy, ops.conv2d(spot, w, **options)), atol=1e-12)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
def test_average_pooling_and_its_gradient(rng, ceil, padded):
    x = rng.normal(size=(2, 5, 8, 3))
    options = {"kernel": (2, 3), "stride": (2, 2), "padding": 1, "ceil": ceil, "count_include_pad": padded}
    y = ops.avg_pool2d(x, **options)
    for i, j in itertools.product(range(y.shape[1]), range(y.shape[2])):
        rows, columns = (np.arange(2 * place - 1, 2 * place - 1 + size) for place, size in ((i, 2), (j, 3)))
        inside = x[:, [r for r in rows if 0 <= r < 5]][:, :, [c for c in columns if 0 <= c < 8]]
        counted = sum(r <= 5 for r in rows) * sum(c <= 8 for c in columns)  # the padding, nothing beyond it
        total = inside.sum(axis=(1, 2))
        np.testing.assert_allclose(y[:, i, j], total / (counted if padded else inside[0, :, :, 0].size))
    dy = rng.normal(size=y.shape)
    dx = ops.avg_pool2d_backward(dy, (5, 8), **options)
    assert np.vdot(dx, x) == pytest.approx(np.vdot(dy, y))


def test_global_average_pooling_and_its_gradient(rng):
    x, dy = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(3, 2))
    np.testing.assert_allclose(ops.global_avg_pool2d(x), x.mean(axis=(1, 2)))
    np.testing.assert_allclose(
        ops.global_avg_pool2d_backward(dy, (4, 5)), np.tile(dy[:, None, None] / 20, (1, 4, 5, 1))
    )


# --- the rest: plain formulas forward, finite differences backward ----------------------------------------------------


def assert_gradients(function, values, gradients, rng, dy):
    """The gradients of sum(dy * function(values)) against central differences along random directions."""
    for number, gradient in enumerate(gradients):
        direction = rng.normal(size=values[number].shape)
        ends = []
        for sign in (1, -1):
            moved = list(values)
            moved[number] = values[number] + sign * 1e-5 * direction
            ends.append(np.vdot(dy, function(*moved)))
        assert np.vdot(gradient, direction) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("kernel", [2, (3, 2), (17, 17)])
def test_max_pooling_and_its_gradient(rng, kernel):
    x = rng.permutation(2 * 18 * 19 * 2).reshape(2, 18, 19, 2) / 100.0  # no two are equal
    options = {"kernel": kernel, "stride": (2, 1), "padding": (1, 0)}
    y, argmax = ops.max_pool2d(x, **options)
    kh, kw = np.broadcast_to(kernel, 2)
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))[:, ::2]
    np.testing.assert_array_equal(y, windows.max(axis=(4, 5)))
    np.testing.assert_array_equal(argmax, windows.reshape(*y.shape, -1).argmax(axis=-1))
    dy = rng.normal(size=y.shape)
    dx = ops.max_pool2d_backward(dy, argmax, (18, 19), **options)
    assert_gradients(lambda x: ops.max_pool2d(x, **options)[0], [x], [dx], rng, dy)


def test_batch_norm_and_its_gradients(rng):
    x, gamma, beta = rng.normal(3, 2, (4, 3, 5, 6)), rng.normal(size=6), rng.normal(size=6)
    y, moments = ops.batch_norm(x, gamma, beta)
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    np.testing.assert_allclose(moments, [mean, variance])
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta)
    dy = rng.normal(size=y.shape)
    gradients = ops.batch_norm_backward(dy, x, gamma, moments)
    assert_gradients(lambda *values: ops.batch_norm(*values)[0], [x, gamma, beta], gradients, rng, dy)


def test_batch_norm_with_moments_given(rng):
    x, gamma, beta = rng.normal(size=(5, 4)), rng.normal(size=4), rng.normal(size=4)
    moments = np.stack([rng.normal(size=4), rng.uniform(1, 2, 4)])
    y, taken = ops.batch_norm(x, gamma, beta, moments, eps=0.1)
    np.testing.assert_array_equal(taken, moments)
    np.testing.assert_allclose(y, (x - moments[0]) / np.sqrt(moments[1] + 0.1) * gamma + beta)
    dy = rng.normal(size=y.shape)
    gradients = ops.batch_norm_backward(dy, x, gamma, moments, eps=0.1, batch=False)
    function = lambda *values: ops.batch_norm(*values, moments, eps=0.1)[0]  # noqa: E731
    assert_gradients(function, [x, gamma, beta], gradients, rng, dy)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_and_its_gradients(rng, groups):
    x, gamma, beta = rng.normal(3, 2, (3, 4, 5, 6)), rng.normal(size=6), rng.normal(size=6)
    y, statistics = ops.group_norm(x, gamma, beta, groups)
    grouped = x.reshape(3, 20, groups, 6 // groups)
    mean, variance = grouped.mean(axis=(1, 3), keepdims=True), grouped.var(axis=(1, 3), keepdims=True)
    np.testing.assert_allclose(y, ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta)
    dy = rng.normal(size=y.shape)
    gradients = ops.group_norm_backward(dy, x, gamma, statistics, groups)
    assert_gradients(lambda *values: ops.group_norm(*values, groups)[0], [x, gamma, beta], gradients, rng, dy)


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 7), (7,)], ids=str)
def test_layer_norm_and_its_gradients(rng, shape):
    x, gamma, beta = rng.normal(3, 2, shape), rng.normal(size=7), rng.normal(size=7)
    y, statistics = ops.layer_norm(x, gamma, beta)
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta)
    dy = rng.normal(size=y.shape)
    gradients = ops.layer_norm_backward(dy, x, gamma, statistics)
    assert_gradients(lambda *values: ops.layer_norm(*values)[0], [x, gamma, beta], gradients, rng, dy)


ACTIVATIONS = {
    "relu": ({}, lambda x: np.maximum(x, 0)),
    "clip": ({}, lambda x: np.clip(x, 0, 6)),
    "clip, own": ({"a": -0.3, "b": 0.7}, lambda x: np.clip(x, -0.3, 0.7)),
    "sigmoid": ({}, expit),
    "tanh": ({}, np.tanh),
    "leaky_relu": ({}, lambda x: np.where(x > 0, x, 0.01 * x)),
    "leaky_relu, own": ({"a": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    "elu": ({}, lambda x: np.where(x > 0, x, np.expm1(x))),
    "selu": ({}, lambda x: 1.05070098735548 * np.where(x > 0, x, 1.67326324235438 * np.expm1(x))),
    "silu": ({}, lambda x: x * expit(x)),
    "mish": ({}, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "softplus": ({}, lambda x: np.log1p(np.exp(x))),
    "hard_swish": ({}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_gradients(rng, name):
    numbers, formula = ACTIVATIONS[name]
    name = name.partition(",")[0]
    x = rng.normal(0, 3, (3, 5, 7))
    x[np.abs(x) < 1e-3] = 0.5  # away from the kinks
    dy = rng.normal(size=x.shape)
    np.testing.assert_allclose(ops.activation(x, name, **numbers), formula(x), rtol=1e-9, atol=1e-12)
    dx = ops.activation_backward(dy, x, name, **numbers)
    assert_gradients(lambda x: ops.activation(x, name, **numbers), [x], [dx], rng, dy)


def test_softmax_and_cross_entropy(rng):
    logits, weights = rng.normal(0, 3, (6, 4)), rng.uniform(0.5, 2, 4)
    labels = np.array([0, 3, 2, 9, 1, 3], np.int16)
    np.testing.assert_allclose(ops.softmax(logits), np.exp(log_softmax(logits, axis=1)))
    counted = labels != 9
    targets = 0.9 * np.eye(4)[labels[counted]] + 0.1 / 4
    rows = -(targets * log_softmax(logits[counted], axis=1)).sum(axis=1)
    loss, dlogits = ops.cross_entropy(logits, labels, weights, smoothing=0.1, ignore_index=9)
    assert float(loss) == pytest.approx((weights[labels[counted]] * rows).mean())
    assert not dlogits[3].any()
    function = lambda logits: ops.cross_entropy(logits, labels, weights, 0.1, 9)[0]  # noqa: E731
    assert_gradients(function, [logits], [dlogits], rng, np.ones(()))
    assert float(ops.cross_entropy(logits[counted], labels[counted])[0]) == pytest.approx(
        -log_softmax(logits, axis=1)[counted, labels[counted]].mean()
    )


# --- arguments as they come -------------------------------------------------------------------------------------------


def test_any_layout_gives_the_same_and_nothing_is_changed(rng):
    x, w = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(3, 3, 3, 4))
    expected = ops.conv2d(x, w)
    read_only = x.copy()
    read_only.setflags(write=False)
    wide = np.repeat(x, 2, axis=2)[:, :, ::2]
    for same in (np.asfortranarray(x), x[::-1][::-1], wide, read_only):
        before = same.copy()
        np.testing.assert_array_equal(ops.conv2d(same, np.asfortranarray(w)), expected)
        np.testing.assert_array_equal(same, before)


IMAGE, FILTERS = np.zeros((2, 6, 5, 3), np.float32), np.zeros((3, 3, 3, 4), np.float32)
SUMS = np.zeros((2, 6, 5, 4), np.float32)
WRONG = {
    "a list": (lambda: ops.conv2d(IMAGE.tolist(), FILTERS), TypeError, "x must be a NumPy or CuPy array, not list"),
    "masked": (lambda: ops.softmax(np.ma.zeros((2, 3))), TypeError, "logits must be a NumPy or CuPy array"),
    "whole numbers": (lambda: ops.conv2d(IMAGE.astype(int), FILTERS), TypeError, "x is int64"),
    "half precision": (lambda: ops.global_avg_pool2d(IMAGE.astype(np.float16)), TypeError, "x is float16"),
    "other byte order": (lambda: ops.global_avg_pool2d(IMAGE.astype(">f4")), TypeError, "x is >f4"),
    "two dtypes": (lambda: ops.conv2d(IMAGE, FILTERS.astype(float)), TypeError, "w is float64, but x is float32"),
    "no batch": (lambda: ops.conv2d(IMAGE[0], FILTERS), ValueError, r"x has shape \(6, 5, 3\), but must be \(n, h"),
    "nothing": (lambda: ops.conv2d(IMAGE[:0], FILTERS), ValueError, r"x has shape \(0, 6, 5, 3\): it has no elements"),
    "channels": (lambda: ops.conv2d(IMAGE, FILTERS[:, :, :2]), ValueError, "x of 3 channels"),
    "groups": (lambda: ops.conv2d(IMAGE, FILTERS[:, :, :1], groups=3), ValueError, "groups divides k"),
    "no groups": (lambda: ops.conv2d(IMAGE, FILTERS, groups=0), ValueError, "groups must be a whole number"),
    "bias": (lambda: ops.conv2d(IMAGE, FILTERS, SUMS[0, 0, 0, :3]), ValueError, r"bias has .* with k = 4"),
    "padding": (lambda: ops.conv2d(IMAGE, FILTERS, padding="full"), ValueError, "padding"),
    "stride": (lambda: ops.conv2d(IMAGE, FILTERS, stride=0), ValueError, "stride"),
    "kernel": (lambda: ops.max_pool2d(IMAGE, 9), ValueError, "9x9 window"),
    "padding alone": (lambda: ops.max_pool2d(IMAGE, 2, padding=3), ValueError, "nothing but padding"),
    "dy's pixels": (lambda: ops.conv2d_backward_input(SUMS, FILTERS, (9, 5)), ValueError, "dy has 6x5 pixels"),
    "dy's batch": (lambda: ops.conv2d_backward_filter(SUMS[:1], IMAGE, 3), ValueError, "x has shape .* with n = 1"),
    "argmax's type": (
        lambda: ops.max_pool2d_backward(IMAGE, np.zeros(IMAGE.shape, np.int32), (12, 10)),
        TypeError,
        "argmax must be what max_pool2d returned",
    ),
    "argmax's shape": (
        lambda: ops.max_pool2d_backward(IMAGE, np.zeros((2, 6, 5, 4), np.uint8), (12, 10)),
        ValueError,
        "argmax has shape",
    ),
    "gamma": (lambda: ops.batch_norm(IMAGE, *np.zeros((2, 4), np.float32)), ValueError, "gamma has .* with c = 3"),
    "moments": (lambda: ops.batch_norm(SUMS, *np.zeros((2, 4), np.float32), FILTERS[0, 0]), ValueError, "moments has"),
    "eps": (lambda: ops.batch_norm(SUMS, *np.zeros((2, 4), np.float32), eps=-1), ValueError, "eps must be"),
    "norm's groups": (lambda: ops.group_norm(SUMS, *np.zeros((2, 4), np.float32), 3), ValueError, "divides the 4"),
    "statistics": (
        lambda: ops.layer_norm_backward(SUMS, SUMS, SUMS[0, 0, 0], np.zeros((9, 1, 2), np.float32)),
        ValueError,
        r"statistics has shape \(9, 1, 2\), but must be \(60, 1, 2\)",
    ),
    "activation": (lambda: ops.activation(IMAGE, "swish"), ValueError, "there is no activation 'swish'"),
    "label": (lambda: ops.cross_entropy(SUMS[0, 0], np.array([0, 1, 4, 2, 0])), ValueError, "labels holds 4"),
    "negative label": (
        lambda: ops.cross_entropy(SUMS[0, 0], np.array([0, -1, 3, 2, 0])),
        ValueError,
        "labels holds -1",
    ),
    "labels' type": (lambda: ops.cross_entropy(SUMS[0, 0], np.zeros(5)), TypeError, "labels must be whole numbers"),
    "labels' shape": (lambda: ops.cross_entropy(SUMS[0, 0], np.zeros(4, int)), ValueError, "labels has shape"),
}


@pytest.mark.parametrize(("call", "kind", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_argument_is_named(call, kind, says):
    with pytest.raises(kind, match=says):
        call()


# --- CuPy's arrays ----------------------------------------------------------------------------------------------------


@functools.cache
def emulated():
    from backends.emulated import new_emulated_ops  # noqa: PLC0415

    return new_emulated_ops("fast")


@pytest.fixture
def on_device(monkeypatch):
    """Arrays of the emulator are sent the way that CuPy's go; the fixture puts an array there."""
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    monkeypatch.setattr(dispatch, "_CUPY", "cuda_emulator")
    monkeypatch.setattr(dispatch, "_backend", lambda kind: emulated() if kind == "cupy" else dispatch._on_host())
    return emulated().array


def calls(rng):
    """Each function with arrays in a list, and what calls it with them."""
    x, w, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 6, 5, 4), (3, 3, 2, 6), (6,)))
    dy, gamma = rng.normal(size=(2, 6, 5, 6)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    pooled, argmax = ops.max_pool2d(x)
    averaged, labels = ops.global_avg_pool2d(x), np.array([3, 1])
    _, moments = ops.batch_norm(x, gamma, gamma)
    _, by_group = ops.group_norm(x, gamma, gamma, 2)
    _, by_pixel = ops.layer_norm(x, gamma, gamma)
    return {
        "conv2d": ([x, w, bias], lambda *a: ops.conv2d(*a, groups=2)),
        "conv2d_backward_input": ([dy, w], lambda *a: ops.conv2d_backward_input(*a, (6, 5), groups=2)),
        "conv2d_backward_filter": ([dy, x], lambda *a: ops.conv2d_backward_filter(*a, 3, groups=2)),
        "bias_backward": ([dy], ops.bias_backward),
        "max_pool2d": ([x], ops.max_pool2d),
        "max_pool2d_backward": ([pooled, argmax], lambda *a: ops.max_pool2d_backward(*a, (6, 5))),
        "avg_pool2d": ([x], lambda a: ops.avg_pool2d(a, 3, 2, 1)),
        "avg_pool2d_backward": ([x], lambda a: ops.avg_pool2d_backward(a, (6, 5), 3, 1, 1)),
        "global_avg_pool2d": ([x], ops.global_avg_pool2d),
        "global_avg_pool2d_backward": ([averaged], lambda a: ops.global_avg_pool2d_backward(a, (6, 5))),
        "batch_norm": ([x, gamma, gamma], ops.batch_norm),
        "batch_norm_backward": ([x, x, gamma, moments], ops.batch_norm_backward),
        "group_norm": ([x, gamma, gamma], lambda *a: ops.group_norm(*a, 2)),
        "group_norm_backward": ([x, x, gamma, by_group], lambda *a: ops.group_norm_backward(*a, 2)),
        "layer_norm": ([x, gamma, gamma], ops.layer_norm),
        "layer_norm_backward": ([x, x, gamma, by_pixel], ops.layer_norm_backward),
        "activation": ([x], lambda a: ops.activation(a, "gelu")),
        "activation_backward": ([x, x[::-1].copy()], lambda *a: ops.activation_backward(*a, "sigmoid")),
        "softmax": ([averaged], ops.softmax),
        "cross_entropy": ([averaged, labels, np.abs(gamma)], ops.cross_entropy),
    }


def test_every_function_is_called_on_the_device():
    assert set(calls(np.random.default_rng(0))) == set(ops.__all__)


@pytest.mark.parametrize("name", ops.__all__)
def test_the_kernels_compute_what_numpy_does(on_device, rng, name):
    arrays, call = calls(rng)[name]
    expected, found = call(*arrays), call(*map(on_device, arrays))
    if not isinstance(expected, tuple):
        expected, found = (expected,), (found,)
    for ours, theirs in zip(found, expected, strict=True):
        assert dispatch.kind_of("it", ours) == "cupy"
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(emulated().to_numpy(ours), theirs, rtol=2e-5, atol=2e-5)


def test_arrays_of_two_libraries_do_not_meet(on_device):
    with pytest.raises(TypeError, match="x is a CuPy array, but w is not"):
        ops.conv2d(on_device(IMAGE), FILTERS)
    with pytest.raises(TypeError, match="one library"):
        ops.cross_entropy(on_device(SUMS[0, 0]), np.zeros(5, int))


def test_double_precision_is_for_numpy_alone(on_device):
    with pytest.raises(TypeError, match="x is float64, but CuPy arrays must be float32 here"):
        ops.global_avg_pool2d(on_device(IMAGE.astype(float)))
