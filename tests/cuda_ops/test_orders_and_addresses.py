"""Neither the order of threads, nor the size of the grid, nor where an array begins changes a bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnn.backends import Activation, Augmentation, Dropout, Join, Normalize, Pool, RandomKey, Window
from cnn.kernels.families import launch_rules, pooling
from cuda_ops.conftest import Device, emulated

CHANNELS = 8
IMAGES = (3, 12, 10, CHANNELS)
WINDOW = Window.over((12, 10), 3, 2, 1, ceil=True)


def arguments(rng):
    """Host arrays by name; those of activations are rounded to the storage type on the device."""
    floats = {name: rng.normal(size=IMAGES) for name in ("x", "dy")}
    floats["halved"] = rng.normal(size=(3, 6, 5, CHANNELS))
    floats |= {"gate": rng.normal(size=(3, CHANNELS)), "pooled": rng.normal(size=(3, *WINDOW.output_hw, CHANNELS))}
    exact = {name: rng.normal(size=CHANNELS).astype(np.float32) for name in ("gamma", "beta")}
    exact |= {
        "moments": rng.uniform(0.5, 2, (2, CHANNELS)).astype(np.float32),
        "statistics": rng.uniform(0.5, 2, (3, 2, 2)).astype(np.float32),
        "logits": rng.normal(size=(70, CHANNELS)).astype(np.float32),
        "labels": rng.integers(0, CHANNELS, 70),
        "flat": rng.normal(size=2800).astype(np.float32),
        "clock": np.array([3, 0, 0]),
        "pixels": rng.integers(0, 256, (5, 9, 8, 4), dtype=np.uint8),
        "indices": np.array([4, 0, 2]),
        "argmax": rng.integers(0, 9, (3, *WINDOW.output_hw, CHANNELS)).astype(np.uint8),
    }
    return floats, exact


CALLS = {
    "activation": lambda o, a: o.activation(a["x"], Activation("mish")),
    "activation_backward": lambda o, a: o.activation_backward(a["dy"], a["x"], Activation("gelu")),
    "prelu": lambda o, a: o.prelu(a["x"], a["gamma"]),
    "prelu_backward": lambda o, a: o.prelu_backward(a["dy"], a["x"], a["gamma"]),
    "add": lambda o, a: o.add(a["x"], a["dy"]),
    "gate": lambda o, a: o.multiply(a["x"], a["gate"]),
    "gate_backward": lambda o, a: o.multiply_backward(a["dy"], a["x"], a["gate"]),
    "concat": lambda o, a: o.concat([a["x"], a["dy"]]),
    "split": lambda o, a: o.split(a["x"], [4, 4]),
    "moments": lambda o, a: o.moments(a["x"]),
    "bias_backward": lambda o, a: o.bias_backward(a["dy"]),
    "normalize": lambda o, a: o.normalize(a["x"], a["gamma"], a["beta"], a["moments"], 1e-3),
    "normalize_backward": lambda o, a: o.normalize_backward(a["dy"], a["x"], a["gamma"], a["moments"], 1e-3, True),
    "tail": lambda o, a: o.tail(a["x"], chain(a), keep=False)[0],
    "tail_backward": lambda o, a: chain_backward(o, a),  # noqa: PLW0108 - it stands below
    "group_norm": lambda o, a: o.group_norm(a["x"], a["gamma"], a["beta"], 2, 1e-3),
    "group_norm_backward": lambda o, a: o.group_norm_backward(a["dy"], a["x"], a["gamma"], a["statistics"], 2, 1e-3),
    "max_pool2d": lambda o, a: o.max_pool2d(a["x"], WINDOW),
    "max_pool2d_backward": lambda o, a: o.max_pool2d_backward(a["pooled"], a["argmax"], WINDOW),
    "avg_pool2d": lambda o, a: o.avg_pool2d(a["x"], WINDOW, True),
    "avg_pool2d_backward": lambda o, a: o.avg_pool2d_backward(a["pooled"], WINDOW, True),
    "global_avg_pool2d": lambda o, a: o.global_avg_pool2d(a["x"]),
    "global_avg_pool2d_backward": lambda o, a: o.global_avg_pool2d_backward(a["gate"], (5, 3)),
    "dropout": lambda o, a: o.dropout(a["x"], 0.3, RandomKey(1, 2, a["clock"])),
    "drop_path": lambda o, a: o.drop_path(a["x"], 0.5, RandomKey(1, 2, a["clock"])),
    "cross_entropy": lambda o, a: o.cross_entropy(a["logits"], a["labels"], a["gamma"], 0.1, 3),
    "soft_cross_entropy": lambda o, a: o.soft_cross_entropy(a["logits"], o.softmax(a["logits"]), a["gamma"], 0.1),
    "softmax": lambda o, a: o.softmax(a["logits"]),
    "clip_by_global_norm": lambda o, a: (o.clip_by_global_norm(a["flat"], 1.0), a["flat"]),
    "augmentation": lambda o, a: o.augmentation(a["clock"], 200, (9, 8), Augmentation(1, True, 0.1, 9.0, 0.1, 0.5)),
    "mix_batch": lambda o, a: o.mix_batch(a["x"], a["gamma"][:5]),
    "gather_batch": lambda o, a: gathered(o, a),  # noqa: PLW0108 - it stands below
    "conv2d_backward_filter": lambda o, a: o.conv2d_backward_filter(
        o.stored(a["x"], "float32"), o.stored(a["dy"], "float32"), Window.over((12, 10), 3, padding="same"), 1
    ),
}
over = pytest.mark.parametrize("name", CALLS)
STORAGES = pytest.mark.parametrize("storage", ["float32", "bfloat16"])


def chain(a):
    """A normalisation and what is computed in the same pass."""
    window = Window.over(IMAGES[1:3], 2, 2)
    norm = Normalize(a["gamma"], a["beta"], a["moments"], 1e-3, batch=True)
    dropout = Dropout(0.3, RandomKey(1, 2, a["clock"]))
    return [norm, Activation("relu"), dropout, Pool("max", window), Join("add", a["halved"])]


def chain_backward(ops, a):
    gradients = ops.zeros((CHANNELS,), np.float32), ops.zeros((CHANNELS,), np.float32)
    norm, *others = chain(a)
    stages = [replace(norm, gradients=gradients), *others]
    dx, _ = ops.tail_backward(a["halved"], stages, [a["x"], None, None, None, None])
    return dx, *gradients


def gathered(ops, a):
    """The batch in both storage types."""
    given = a["pixels"], a["indices"], None, None, None, a["gamma"][:4], a["beta"][:4]
    return tuple(ops.gather_batch(*given, storage) for storage in ("float32", "bfloat16"))


def placed(device: Device) -> Noted:
    floats, exact = arguments(np.random.default_rng(8))
    arrays = {key: device.put(values) for key, values in floats.items()}
    return Noted(arrays | {key: device.ops.array(values) for key, values in exact.items()})


def results(device: Device, name: str, arrays: Noted) -> list[np.ndarray]:
    returned = CALLS[name](device.ops, arrays)
    outputs = returned if isinstance(returned, tuple | list) else (returned,)
    return [device.ops.to_numpy(output) for output in outputs]


def run(device: Device, name: str) -> list[bytes]:
    return [output.tobytes() for output in results(device, name, placed(device))]


@over
@pytest.mark.parametrize("order", ["reverse", "shuffled"])
def test_the_order_of_threads_does_not_show(name, order):
    expected = run(Device(emulated("fast"), "bfloat16"), name)
    assert run(Device(emulated("fast", order), "bfloat16"), name) == expected


@over
@STORAGES
def test_one_block_does_the_work_of_many(name, storage, monkeypatch):
    device = Device(emulated("fast"), storage)
    expected = run(device, name)
    for rules in (launch_rules, pooling):
        monkeypatch.setattr(rules, "MOST_BLOCKS", 1)
    assert run(device, name) == expected


class Noted(dict):
    """Notes which of its values are asked for."""

    def __init__(self, values) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)


@over
@STORAGES
def test_arrays_may_begin_where_no_vector_fits(name, storage):
    """Each argument in turn. The checked mode sees every misaligned access."""
    device = Device(emulated("checked"), storage)

    def moved(array):
        space = device.ops.empty((array.size + 9,), array.dtype)
        odd = next(k for k in range(1, 9) if (space.data.ptr + k * array.itemsize) % (2 * array.itemsize))
        part = space[odd : odd + array.size]
        part[...] = array.reshape(-1)
        return part.reshape(array.shape)

    aligned = placed(device)
    expected = results(device, name, aligned)
    for argument in sorted(aligned.asked):
        arrays = placed(device)
        arrays[argument] = moved(arrays[argument])
        for got, wanted in zip(results(device, name, arrays), expected, strict=True):
            assert got.shape == wanted.shape
            # Sums over rows are cut otherwise where vectors do not fit.
            np.testing.assert_allclose(got, wanted, rtol=2**-7, atol=1e-5 * np.abs(wanted).max())


def test_a_bfloat16_batch_is_the_float32_one_rounded():
    device = Device(emulated("fast"), "bfloat16")
    floats, words = run(device, "gather_batch")
    values = np.frombuffer(floats, np.float32)
    np.testing.assert_array_equal(np.frombuffer(words, np.float32), device.rounded(values))
