"""A normalisation with the stages after it, in one pass forward and two backward, against the reference in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnn.backends import Activation, Dropout, Join, Normalize, Ops, Pool, RandomKey, Window
from cnn.backends.philox import random_halves
from cuda_ops.conftest import Device

RELU, GELU = Activation("relu"), Activation("gelu")
HALVED = "halved"  # the maximum of 2 x 2 pixels
SHAPES = [(2, 6, 10, 3), (3, 4, 6, 4), (1, 2, 2, 8), (2, 8, 4, 12), (2, 4, 6, 16), (3, 40, 44, 8), (2, 6, 4, 136)]
CHAINS = {
    "norm": [],
    "relu": [RELU],
    "pool": [HALVED],
    "relu pool": [RELU, HALVED],
    "relu add": [RELU, "add"],
    "add relu": ["add", RELU],
    "relu add relu dropout": [RELU, "add", RELU, "dropout"],
    "pool dropout": [HALVED, "dropout"],
    "dropout pool": ["dropout", HALVED],
    "relu dropout pool add": [RELU, "dropout", HALVED, "add"],
    "relu pool add dropout": [RELU, HALVED, "add", "dropout"],
    "relu dropout": [RELU, "dropout"],
}


def chain(rng, shape, names, batch=True, window=None, x=None):
    """x, the stages as arrays of the host, and dy."""
    c = shape[-1]
    x = rng.normal(size=shape) if x is None else x
    gamma, beta = rng.uniform(0.5, 2, c) * rng.choice([-1, 1], c), rng.normal(size=c)
    rows = x.reshape(-1, c)
    # Of a batch: about its moments. The gradient's formula holds for any.
    moments = np.stack([rows.mean(axis=0), rows.var(axis=0)]) if batch else np.stack([beta, np.abs(gamma)])
    stages = [Normalize(*(a.astype(np.float32) for a in (gamma, beta, moments)), 1e-3, batch)]
    for name in names:
        if name is HALVED:
            stages.append(Pool("max", window or Window.over(shape[1:3], 2, 2)))
            shape = (shape[0], *stages[-1].window.output_hw, c)
        elif name == "add":
            stages.append(Join("add", rng.normal(size=shape)))
        elif name == "dropout":
            # One half scales by 2, which rounds nothing where dropout's gradient takes a pass of its own.
            stages.append(Dropout(0.5, RandomKey(2**35 + 11, 6, np.array([2**33 + 7]))))
        else:
            stages.append(name)
    return x, stages, rng.normal(size=shape)


def on_device(device, stages):
    """The stages with arrays of the device, and arrays of NaN for the gradients."""
    floats, placed = device.ops.array, []
    for stage in stages:
        match stage:
            case Normalize():
                arrays = floats(stage.gamma), floats(stage.beta), floats(stage.moments)
                poison = tuple(floats(np.full(stage.gamma.size, np.nan, np.float32)) for _ in range(2))
                placed.append(Normalize(*arrays, stage.eps, stage.batch, poison))
            case Join():
                placed.append(replace(stage, other=device.put(stage.other)))
            case Dropout():
                placed.append(replace(stage, key=stage.key._replace(step=floats(stage.key.step))))
            case _:
                placed.append(stage)
    return placed


def exactly(device, stages):
    """The stages in float64, activations rounded as on the device."""
    exact = []
    for stage in stages:
        if isinstance(stage, Normalize):
            c = stage.gamma.size
            arrays = (a.astype(float) for a in (stage.gamma, stage.beta, stage.moments))
            exact.append(Normalize(*arrays, stage.eps, stage.batch, (np.empty(c), np.empty(c))))
        else:
            exact.append(replace(stage, other=device.rounded(stage.other)) if isinstance(stage, Join) else stage)
    return exact


def both_passes(ops, x, stages, dy, before=None):
    """y, dx, the gradients of joins, dgamma and dbeta."""
    y, saved = ops.tail(x, stages)
    dx, others = ops.tail_backward(dy, stages, saved, before and (before, x))
    norms = [stage for stage in stages if isinstance(stage, Normalize)]
    return [y, dx, *others, *(gradient for norm in norms for gradient in norm.gradients)]


def check(device, x, stages, dy, before=None):
    """What is computed in one pass is rounded once."""
    expected = both_passes(Ops(), device.rounded(x), exactly(device, stages), device.rounded(dy), before)
    found = both_passes(device.ops, device.put(x), on_device(device, stages), device.put(dy), before)
    assert len(found) == len(expected)
    for number, (array, wanted) in enumerate(zip(found, expected, strict=True)):
        actual = device.get(array)
        assert actual.shape == wanted.shape
        coarse = 2.0**-8 if device.storage == "bfloat16" and number < len(found) - 2 else 1e-5
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(wanted))
        scale = max(np.nanmax(np.abs(wanted)), 1)
        np.testing.assert_allclose(actual, wanted, rtol=coarse, atol=2e-6 * scale)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_its_stages(device, name, shape, rng):
    # What is in the producer does not show in the forward pass, and the moments not in the rest: one of each is enough.
    batch, relu_before = len(name) % 2 == 0, shape[-1] % 8 == 0
    x, stages, dy = chain(rng, shape, CHAINS[name], batch)
    check(device, np.maximum(x, 0) if relu_before else x, stages, dy, RELU if relu_before else None)


@pytest.mark.parametrize("c", [3, 8])
def test_the_first_of_equal_pixels_gets_the_gradient(device, c, rng):
    shape = (3, 6, 8, c)
    for names in ([HALVED], [RELU, HALVED], ["dropout", HALVED]):
        check(device, *chain(rng, shape, names, batch=False, x=rng.integers(-1, 2, shape).astype(float)))


@pytest.mark.parametrize("names", [[], [RELU], [HALVED], [RELU, HALVED], [RELU, "dropout"]], ids=len)
@pytest.mark.parametrize("c", [5, 8])
def test_nan_stays_nan_in_the_output_and_passes_no_gradient_through_a_relu(device, names, c, rng):
    x, stages, dy = chain(rng, (2, 4, 4, c), names, batch=False)
    x[0, 0, 0, 1] = x[1, 1, 2, 2] = x[1, 3, 3, 0] = np.nan
    exact, placed = exactly(device, stages), on_device(device, stages)
    wanted, saved = Ops().tail(device.rounded(x), exact)
    dx, _ = Ops().tail_backward(device.rounded(dy), exact, saved)
    y, kept = device.ops.tail(device.put(x), placed)
    assert np.isnan(wanted).any()
    np.testing.assert_allclose(device.get(y), wanted, rtol=2**-8, atol=1e-6)
    found, _ = device.ops.tail_backward(device.put(dy), placed, kept)
    np.testing.assert_allclose(device.get(found), dx, rtol=2**-8, atol=1e-6)


def test_a_mean_far_larger_than_the_deviation_costs_no_digits(cuda, rng):
    x = rng.normal(1e4, 0.1, (3, 4, 4, 8)).astype(np.float32)
    mean, deviation = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
    ones, moments = np.ones(8, np.float32), np.stack([mean, deviation**2])
    y, _ = cuda.tail(cuda.array(x), [Normalize(cuda.array(ones), cuda.array(0 * ones), cuda.array(moments), 0.0, True)])
    np.testing.assert_allclose(cuda.to_numpy(y), (x.astype(float) - mean) / deviation, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("c", [3, 8, 300])
@pytest.mark.parametrize("names", [[RELU], [HALVED]], ids=["relu", "pool"])
def test_running_moments_move_in_the_forward_pass_alone(device, names, c, rng):
    x, stages, dy = chain(rng, (2, 6, 4, c), names)
    before = rng.normal(size=(2, c)).astype(np.float32)
    running = device.ops.array(before)
    norm, *others = on_device(device, stages)
    stages = [replace(norm, running=(running, 0.9)), *others]
    moments = device.get(norm.moments)
    (_, saved), launched = launches(device.ops, lambda: device.ops.tail(device.put(x), stages))
    np.testing.assert_allclose(device.get(running), 0.9 * before + 0.1 * moments, rtol=1e-6, atol=1e-7)
    assert not [name for name in launched if name.startswith("running")]
    after = device.get(running)
    device.ops.tail_backward(device.put(dy), stages, saved)
    np.testing.assert_array_equal(device.get(running), after)
    np.testing.assert_array_equal(device.get(norm.moments), moments)


@pytest.mark.parametrize("names", [["dropout"], [HALVED, "dropout"]], ids=len)
def test_the_element_whose_random_number_is_the_threshold_is_kept(device, names, rng):
    x, stages, dy = chain(rng, (2, 6, 4, 8), names)
    number = random_halves(stages[-1].key, 0, dy.size)[21]
    check(device, x, [*stages[:-1], replace(stages[-1], rate=number / 65536)], dy)


# --- what is launched ------------------------------------------------------------------------------------------------


def launches(ops, run):
    names: list[str] = []
    ops.launch.observe = lambda kernel, arguments: names.append(kernel.name.replace("_bf16", ""))
    try:
        return run(), names
    finally:
        ops.launch.observe = None


BACKWARD = ["tail_backward_sums", "tail_backward_input"]
POOL_BACKWARD = ["tail_pool_backward_sums", "tail_pool_backward_input"]
LAUNCHES = {
    "relu": (["tail"], BACKWARD),
    "relu pool": (["tail_pool"], POOL_BACKWARD),
    "relu add": (["tail"], BACKWARD),
    "add relu": (["tail"], ["relu_backward", *BACKWARD]),
    "relu add relu dropout": (["tail_dropout"], ["dropout", "relu_backward", *BACKWARD]),
    "pool dropout": (["tail_pool_dropout"], ["tail_pool_dropout_backward_sums", "tail_pool_dropout_backward_input"]),
    "dropout pool": (["tail_pool_dropout"], ["tail_pool_dropout_backward_sums", "tail_pool_dropout_backward_input"]),
    "relu dropout pool add": (
        ["tail_pool_dropout"],
        ["tail_pool_dropout_backward_sums", "tail_pool_dropout_backward_input"],
    ),
    "relu pool add dropout": (["tail_pool_dropout"], ["dropout", *POOL_BACKWARD]),
    "relu dropout": (["tail_dropout"], ["tail_dropout_backward_sums", "tail_dropout_backward_input"]),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_chain_takes_one_launch_forward_and_two_backward(device, name, rng):
    ops = device.ops
    x, stages, dy = chain(rng, (2, 4, 6, 8), CHAINS[name])
    x, stages, dy = device.put(np.maximum(x, 0)), on_device(device, stages), device.put(dy)
    (_, saved), forward = launches(ops, lambda: ops.tail(x, stages))
    without_operands = [replace(stage, other=None) if isinstance(stage, Join) else stage for stage in stages]
    _, backward = launches(ops, lambda: ops.tail_backward(dy, without_operands, saved, (RELU, x)))
    assert (forward, backward) == LAUNCHES[name]


def test_of_a_chain_its_input_is_all_that_is_kept(device, rng):
    x, stages, _ = chain(rng, (2, 4, 6, 8), CHAINS["relu dropout pool add"])
    x = device.put(x)
    _, saved = device.ops.tail(x, on_device(device, stages))
    assert [kept for kept in saved if kept is not None] == [saved[0]]
    assert saved[0] is x


WINDOWS = {
    "odd height": Window.over((7, 8), 2, 2),
    "odd width": Window.over((8, 7), 2, 2),
    "padding": Window.over((8, 8), 2, 2, (1, 0, 1, 0)),
    "ceil": Window.over((7, 7), 2, 2, ceil=True),
    "overlap": Window.over((8, 8), 3, 2, "same"),
    "stride 1": Window.over((6, 6), 2, 1),
    "three by three": Window.over((6, 9), 3, 3),
    "whole image": Window.over((6, 4), (6, 4)),
    "dilation": Window.over((8, 8), 2, 2, 1, 2),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_other_windows_take_a_pass_of_their_own(device, name, rng):
    window = WINDOWS[name]
    x, stages, dy = chain(rng, (2, *window.input_hw, 4), [RELU, HALVED], window=window)
    placed = on_device(device, stages)
    _, names = launches(device.ops, lambda: both_passes(device.ops, device.put(x), placed, device.put(dy)))
    names = [name for name in names if name != "round_to"]
    assert names == ["tail", "max_pool2d_uint8", "max_pool2d_backward_uint8", *BACKWARD]
    if device.storage == "float32":  # bfloat16 makes ties of what was different before it was rounded
        check(device, x, stages, dy)


@pytest.mark.parametrize(
    "names",
    [
        [GELU, "add"],
        ["dropout", RELU],
        ["dropout", "dropout"],
        [HALVED, RELU, "add"],
        ["add", HALVED],
        [RELU, RELU, "add", "add"],
    ],
    ids=str,
)
def test_a_chain_ends_where_the_kernels_do(cuda, names, rng):
    check(Device(cuda, "float32"), *chain(rng, (2, 4, 6, 4), names))


def test_the_windows_of_many_chunks(device, rng):
    """More windows than one chunk of rows has, in a number that the chunks do not share equally."""
    check(device, *chain(rng, (7, 34, 38, 8), [RELU, HALVED]))
    check(device, *chain(rng, (5, 30, 30, 5), ["dropout", HALVED]))
