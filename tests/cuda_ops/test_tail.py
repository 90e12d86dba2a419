"""A tail in few passes is what its stages are one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from cnn.backends import Activation, Dropout, Epilogue, Join, Normalize, Pool, PReLU, RandomKey, Window
from cnn.backends.reference.tail import Tail

N, H, W, C = 3, 6, 5, 4
RELU, GELU = Activation("relu"), Activation("gelu")


class Stages:
    """Makes stages whose arrays lie on the device; gradients of parameters go to arrays of their own."""

    def __init__(self, device, rng) -> None:
        self.device, self.rng = device, rng

    def norm(self, batch: bool = True) -> Normalize:
        floats = self.device.ops.array
        moments = np.stack([self.rng.normal(size=C), self.rng.uniform(0.5, 2, C)]).astype(np.float32)
        gradients = tuple(self.device.ops.zeros((C,), np.float32) for _ in range(2))
        gamma, beta = self.rng.normal(size=(2, C)).astype(np.float32)
        return Normalize(floats(gamma), floats(beta), floats(moments), 1e-3, batch, gradients)

    def prelu(self) -> PReLU:
        slope = self.rng.normal(size=C).astype(np.float32)
        return PReLU(self.device.ops.array(slope), self.device.ops.zeros((C,), np.float32))

    def join(self, kind: str, shape=(N, H, W, C)) -> Join:
        return Join(kind, self.device.put(self.rng.normal(size=shape)))

    def dropout(self) -> Dropout:
        return Dropout(0.4, RandomKey(5, 6, self.device.ops.array(np.array([7]))))


WINDOW = Window.over((H, W), 2, 2)
TAILS = {
    "nothing": lambda s: [],
    "norm relu": lambda s: [s.norm(), RELU],
    "norm relu pool": lambda s: [s.norm(), RELU, Pool("max", WINDOW)],
    "relu norm": lambda s: [RELU, s.norm()],
    "norm relu norm relu": lambda s: [s.norm(), RELU, s.norm(batch=False), RELU],
    "norm gelu": lambda s: [s.norm(), GELU],
    "norm prelu dropout": lambda s: [s.norm(), s.prelu(), s.dropout()],
    "norm add relu": lambda s: [s.norm(), s.join("add"), RELU],
    "norm relu add pool": lambda s: [s.norm(False), RELU, s.join("add"), Pool("average", WINDOW, True)],
    "gate and product": lambda s: [s.join("multiply", (N, C)), RELU, s.join("multiply"), RELU],
}


def results(device, stages, y, dx, others):
    arrays = [y, dx, *others]
    for stage in stages:
        if isinstance(stage, Normalize):
            arrays += stage.gradients
        elif isinstance(stage, PReLU):
            arrays.append(stage.gradient)
    return [device.get(array) for array in arrays]


@pytest.mark.parametrize("name", TAILS)
@pytest.mark.parametrize("before", [None, "relu", "tanh"])
def test_a_tail_is_its_stages(device, name, before, rng):
    ops = device.ops
    stages = TAILS[name](Stages(device, rng))
    x = rng.normal(size=(N, H, W, C))
    output = device.put(np.maximum(x, 0) if before == "relu" else np.tanh(x))
    producer = (Activation(before), output) if before else None
    dy = rng.normal(size=(N, H // 2, W // 2, C) if any(isinstance(stage, Pool) for stage in stages) else (N, H, W, C))

    def run(kind):
        y, saved = kind.tail(ops, output, stages)
        dx, others = kind.tail_backward(ops, device.put(dy), stages, saved, producer)
        return results(device, stages, y, dx, others)

    found, expected = run(type(ops)), run(Tail)
    assert len(found) == len(expected)
    for a, e in zip(found, expected, strict=True):
        # What is fused is not rounded in between.
        coarse = 2.0**-6 if device.storage == "bfloat16" else 1e-6
        np.testing.assert_allclose(a, e, rtol=0, atol=coarse * max(np.abs(e).max(), 1))


def test_without_a_backward_pass_nothing_is_kept(device, rng):
    stages = TAILS["norm relu pool"](Stages(device, rng))
    x = device.put(rng.normal(size=(N, H, W, C)))
    kept, saved = device.ops.tail(x, stages)
    y, nothing = device.ops.tail(x, stages, keep=False)
    assert nothing is None
    assert any(array is not None for array in saved)
    np.testing.assert_array_equal(device.get(y), device.get(kept))


@pytest.mark.parametrize("activation", [None, RELU, GELU, Activation("clip", 0, 0.5)], ids=str)
def test_an_epilogue_follows_its_product(cuda, activation, rng):
    x, w, b = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 6, 4), (3, 3, 4, 8), (8,)))
    window = Window.over((5, 6), 3, padding="same")
    arrays = [cuda.array(values) for values in (x, w, b)]
    for product in (
        lambda epilogue: cuda.conv2d(*arrays, window, 1, epilogue),
        lambda epilogue: cuda.dense(cuda.array(x.reshape(60, 4)), cuda.array(w[0, 0]), arrays[2], epilogue),
    ):
        plain = product(Epilogue())
        expected = plain if activation is None else cuda.activation(plain, activation)
        moments = cuda.zeros((2, 8), np.float32)
        y = product(Epilogue(activation, moments))
        np.testing.assert_array_equal(cuda.to_numpy(y), cuda.to_numpy(expected))
        rows = cuda.to_numpy(y).astype(float).reshape(-1, 8)
        np.testing.assert_allclose(cuda.to_numpy(moments), [rows.mean(axis=0), rows.var(axis=0)], rtol=0, atol=2e-5)
