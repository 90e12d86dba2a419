"""Functions that g++ does not know by CUDA's names."""

import numpy as np
from scipy.special import erf, ndtr

X = np.array([0.1, 0.5, 1.0, 2.5, 3.75, 7.5, 0.25, 1.5], np.float32)


def test_floats(bench):
    y = bench.xp.empty((8, 12), np.float32)
    bench.launch("maths", bench.xp.asarray(X), y, block=8)
    expected = [
        *(1 / np.sqrt(X), erf(X), np.exp(X), np.tanh(X), X * X + 1, np.maximum(X, 0.5)),
        *(np.rint(X), np.minimum(X, 1), X, np.zeros(8), np.floor(-X), ndtr(X)),
    ]
    assert np.allclose(bench.xp.asnumpy(y), np.stack(expected, axis=1), rtol=1e-6)


def test_integers(bench):
    x = np.array([0, 1, 2, 77, 0x80000000, 0xFFFFFFFF, 0x12345678, 40], np.uint32)
    y = bench.xp.empty((8, 8), np.uint32)
    bench.launch("integers", bench.xp.asarray(x), y, block=8)
    for value, row in zip(x.tolist(), bench.xp.asnumpy(y).tolist(), strict=True):
        assert row == [
            value.bit_count(),
            32 - value.bit_length(),
            (value & -value).bit_length(),
            value * 0x9E3779B9 >> 32,
            int(f"{value:032b}"[::-1], 2),
            int.from_bytes(value.to_bytes(4, "little"), "big"),
            (value << 8 | value >> 24) & 0xFFFFFFFF,
            min(value, 77),
        ]


def test_half_turns_are_exact_where_they_are_whole(bench):
    x = np.array([0, 0.5, 1, 1.5, 2, -0.5, -1, 7.5, 1 / 3, -0.1, 12.3, 0.25])
    s, c = bench.xp.empty(12, np.float64), bench.xp.empty(12, np.float64)
    bench.launch("half_turns", bench.xp.asarray(x), s, c, block=12)
    assert np.abs(s[:8]).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert (s[:8] + 0).tolist() == [0, 1, 0, -1, 0, -1, 0, -1]
    assert (c[:8] + 0).tolist() == [1, 0, -1, 0, 1, 0, -1, 0]
    assert np.allclose([s, c], [np.sin(np.pi * x), np.cos(np.pi * x)], rtol=0, atol=1e-14)
