"""Moments, normalisation per channel and per group, and sums over rows."""

import numpy as np
import pytest

# One chunk of rows and several; channels in packs, in packs that no tile holds, and not; more than a tile of them.
SHAPES = [(3, 5, 7, 4), (3, 5, 7, 3), (1500, 8), (2111, 5), (1100, 136), (6, 300), (1, 4)]
over = pytest.mark.parametrize("shape", SHAPES, ids=str)
EPS = 1e-3


def rows_of(x):
    return x.reshape(-1, x.shape[-1])


@over
def test_sums_over_rows(device, shape, rng):
    dy = rng.normal(size=shape)
    expected = rows_of(device.rounded(dy)).sum(axis=0)
    device.assert_close(device.ops.bias_backward(device.put(dy)), expected, 1e-6)
    out = device.ops.zeros((shape[-1],), np.float32)
    assert device.ops.bias_backward(device.put(dy), out) is out
    device.assert_close(out, expected, 1e-6)


@over
def test_moments(device, shape, rng):
    x = rng.normal(3, 2, shape)
    rows = rows_of(device.rounded(x))
    expected = np.stack([rows.mean(axis=0), rows.var(axis=0)])
    device.assert_close(device.ops.moments(device.put(x)), expected, 1e-6)
    out = device.ops.zeros((2, shape[-1]), np.float32)
    assert device.ops.moments(device.put(x), out) is out
    device.assert_close(out, expected, 1e-6)


def test_moments_of_a_mean_a_million_deviations_away(cuda, rng):
    x = rng.normal(1e4, 1e-2, (1600, 4)).astype(np.float32)
    mean, variance = cuda.to_numpy(cuda.moments(cuda.array(x)))
    assert np.abs(mean - x.mean(axis=0, dtype=float)).max() <= np.spacing(np.float32(1e4))
    np.testing.assert_allclose(variance, x.var(axis=0, dtype=float), rtol=1e-4)


@pytest.mark.parametrize("rows", [40, 3000])
@pytest.mark.parametrize("size", [1e17, 1e19, 1.7e19])
def test_moments_are_finite_as_long_as_the_variance_is(cuda, rows, size, rng):
    """The squares of these numbers, or their sum, overflow; the variance does not."""
    x = rng.choice([-size, size], (rows, 4)).astype(np.float32)
    mean, variance = cuda.to_numpy(cuda.moments(cuda.array(x)))
    np.testing.assert_allclose(variance, x.var(axis=0, dtype=float), rtol=1e-5)
    assert np.abs(mean - x.mean(axis=0, dtype=float)).max() < 1e-5 * size


@pytest.mark.parametrize("rows", [40, 3000])
def test_a_variance_too_large_for_a_float_is_infinite_and_then_beta_is_left(cuda, rows, rng):
    x = rng.choice([-1e25, 1e25], (rows, 4)).astype(np.float32)
    gamma, beta = np.float32([1, 2, 3, 4]), np.float32([0, -1, 0.5, 7])
    moments = cuda.moments(cuda.array(x))
    assert np.isposinf(cuda.to_numpy(moments)[1]).all()
    y = cuda.normalize(cuda.array(x), cuda.array(gamma), cuda.array(beta), moments, EPS)
    np.testing.assert_array_equal(cuda.to_numpy(y), np.broadcast_to(beta, x.shape))
    dy = cuda.array(np.ones_like(x))
    dx, dgamma, _ = cuda.normalize_backward(dy, cuda.array(x), cuda.array(gamma), moments, EPS, batch=True)
    assert not cuda.to_numpy(dx).any()
    assert not cuda.to_numpy(dgamma).any()


def test_infinity_and_nan_are_not_swallowed(cuda):
    x = np.ones((1500, 4), np.float32)
    x[700, 1], x[900, 2], x[800, 3], x[1300, 3] = np.nan, np.inf, np.inf, -np.inf
    np.testing.assert_array_equal(cuda.to_numpy(cuda.bias_backward(cuda.array(x))), [1500, np.nan, np.inf, np.nan])
    moments = cuda.to_numpy(cuda.moments(cuda.array(x)))
    assert np.isfinite(moments).all(axis=0).tolist() == [True, False, False, False]


def test_long_sums_keep_their_digits(device, rng):
    """Twenty thousand numbers of one sign and very different sizes: added up one by one they would lose digits."""
    x = rng.uniform(0, 1, (20_000, 4)) ** 8 + 1e-3
    seen = device.rounded(x)
    np.testing.assert_allclose(device.get(device.ops.bias_backward(device.put(x))), seen.sum(axis=0), rtol=2e-7)
    np.testing.assert_allclose(device.get(device.ops.moments(device.put(x)))[0], seen.mean(axis=0), rtol=5e-7)
    image = device.ops.global_avg_pool2d(device.put(x.reshape(1, 100, 200, 4)))
    np.testing.assert_allclose(
        device.get(image)[0], seen.mean(axis=0), rtol=2e-7 if device.storage == "float32" else 2**-8
    )


@over
def test_normalize(device, shape, rng):
    c = shape[-1]
    x, (gamma, beta, mean) = rng.normal(size=shape), rng.normal(size=(3, c)).astype(np.float32)
    moments = np.stack([mean, rng.uniform(0.5, 2, c).astype(np.float32)])
    ops, given = device.ops, [device.ops.array(values) for values in (gamma, beta, moments)]
    expected = (device.rounded(x) - mean) / np.sqrt(moments[1] + EPS) * gamma.astype(float) + beta
    device.assert_close(ops.normalize(device.put(x), *given, EPS), expected)


def gradients(dy, x, gamma, mean, variance, batch):
    """dx, dgamma, dbeta by the chain rule over all rows, in float64."""
    inverse = 1 / np.sqrt(variance + EPS)
    normalized = (x - mean) * inverse
    dgamma, dbeta = (dy * normalized).sum(axis=0), dy.sum(axis=0)
    through = (dbeta + normalized * dgamma) / len(x) if batch else 0
    return gamma * inverse * (dy - through), dgamma, dbeta


@over
@pytest.mark.parametrize("batch", [False, True])
def test_normalize_backward(device, shape, batch, rng):
    c, ops = shape[-1], device.ops
    dy, x = rng.normal(size=(2, *shape))
    gamma, mean = rng.normal(size=(2, c)).astype(np.float32)
    moments = np.stack([mean, rng.uniform(0.5, 2, c).astype(np.float32)])
    numbers = ops.array(gamma), ops.array(moments), EPS, batch
    given, seen = (rows_of(device.rounded(values)) for values in (dy, x))

    def check(found, expected):
        device.assert_close(found[0], expected[0].reshape(shape), 1e-5)
        device.assert_close(found[1], expected[1], 1e-5)
        device.assert_close(found[2], expected[2], 1e-5)

    plain = gradients(given, seen, gamma.astype(float), *moments.astype(float), batch)
    check(ops.normalize_backward(device.put(dy), device.put(x), *numbers), plain)
    out = ops.zeros((c,), np.float32), ops.zeros((c,), np.float32)
    found = ops.normalize_backward(device.put(dy), device.put(x), *numbers, out=out)
    assert (found[1], found[2]) == out if c == 1 else (found[1] is out[0] and found[2] is out[1])
    check(found, plain)


def test_given_moments_take_no_part_in_the_gradient_even_of_an_infinite_input(cuda):
    x = np.ones((3, 4), np.float32)
    x[1] = np.inf
    moments = np.stack([np.zeros(4), np.ones(4)]).astype(np.float32)
    ones = cuda.array(np.ones(4, np.float32))
    dx, _, _ = cuda.normalize_backward(
        cuda.array(np.ones((3, 4), np.float32)), cuda.array(x), ones, cuda.array(moments), 0.0, batch=False
    )
    np.testing.assert_array_equal(cuda.to_numpy(dx), 1)


def test_running_average(cuda, rng):
    running, current = rng.normal(size=(2, 2, 300)).astype(np.float32)
    array = cuda.array(running)
    cuda.running_average(array, cuda.array(current), 0.9)
    np.testing.assert_allclose(cuda.to_numpy(array), 0.9 * running + 0.1 * current, rtol=1e-6, atol=1e-7)


# --- group norm ------------------------------------------------------------------------------------------------------

# Groups for a warp and for a block; channels in packs and not; fewer groups than a block takes; layer norm.
GROUPED = [
    ((3, 5, 7, 8), 2),
    ((3, 5, 7, 6), 3),
    ((2, 33, 33, 4), 1),
    ((2, 20, 33, 6), 2),
    ((21, 1, 12), 1),
    ((1030, 1, 8), 1),
    ((2, 3, 6), 6),
    ((5, 4, 4, 8), 8),
    ((9, 40), 2),
    ((1, 1, 3000), 1),
]


def grouped(x, groups):
    return x.reshape(len(x), -1, groups, x.shape[-1] // groups)


@pytest.mark.parametrize(("shape", "groups"), GROUPED, ids=str)
def test_group_norm(device, shape, groups, rng):
    x, c, ops = rng.normal(2, 3, shape), shape[-1], device.ops
    gamma, beta = rng.normal(size=(2, c)).astype(np.float32)
    seen = grouped(device.rounded(x), groups)
    mean, variance = seen.mean(axis=(1, 3), keepdims=True), seen.var(axis=(1, 3), keepdims=True)
    y, statistics = ops.group_norm(device.put(x), ops.array(gamma), ops.array(beta), groups, EPS)
    normalized = ((seen - mean) / np.sqrt(variance + EPS)).reshape(shape)
    device.assert_close(y, normalized * gamma + beta, 4e-6)
    device.assert_close(statistics, np.stack([mean[:, 0, :, 0], variance[:, 0, :, 0]], axis=-1), 1e-6)


@pytest.mark.parametrize(("shape", "groups"), GROUPED, ids=str)
def test_group_norm_backward(device, shape, groups, rng):
    dy, x, c, ops = rng.normal(size=shape), rng.normal(2, 3, shape), shape[-1], device.ops
    gamma = rng.normal(size=c).astype(np.float32)
    array = ops.array(gamma)
    _, statistics = ops.group_norm(device.put(x), array, array, groups, EPS)
    seen, given = grouped(device.rounded(x), groups), grouped(device.rounded(dy) * gamma, groups)
    mean, variance = seen.mean(axis=(1, 3), keepdims=True), seen.var(axis=(1, 3), keepdims=True)
    inverse = 1 / np.sqrt(variance + EPS)
    normalized = (seen - mean) * inverse
    # The chain rule through y = normalised: the projection off the mean and off the normalised values themselves.
    level = given.mean(axis=(1, 3), keepdims=True)
    slope = (given * normalized).mean(axis=(1, 3), keepdims=True)
    expected = ((given - level - normalized * slope) * inverse).reshape(shape)
    out = ops.zeros((c,), np.float32), ops.zeros((c,), np.float32)
    for target in (None, out):
        dx, dgamma, dbeta = ops.group_norm_backward(
            device.put(dy), device.put(x), array, statistics, groups, EPS, target
        )
        assert target is None or (dgamma is out[0] and dbeta is out[1])
        device.assert_close(dx, expected, 1e-5)
        raw = rows_of(device.rounded(dy))
        device.assert_close(dgamma, (raw * rows_of(normalized.reshape(shape))).sum(axis=0), 1e-5)
        device.assert_close(dbeta, raw.sum(axis=0), 1e-5)


@pytest.mark.parametrize(("shape", "groups"), [((3, 5, 7, 8), 2), ((2, 33, 33, 4), 1)], ids=str)
def test_group_norm_survives_a_mean_far_away_and_large_numbers(cuda, shape, groups, rng):
    ones, zeros = cuda.array(np.ones(shape[-1], np.float32)), cuda.zeros((shape[-1],), np.float32)
    x = rng.normal(1e4, 1e-2, shape).astype(np.float32)
    _, statistics = cuda.group_norm(cuda.array(x), ones, zeros, groups, 1e-6)
    np.testing.assert_allclose(
        cuda.to_numpy(statistics)[..., 1], grouped(x.astype(float), groups).var(axis=(1, 3)), rtol=1e-4
    )
    x = rng.choice([-1.7e19, 1.7e19], shape).astype(np.float32)
    y, statistics = cuda.group_norm(cuda.array(x), ones, zeros, groups, 1e-6)
    variance = grouped(x.astype(float), groups).var(axis=(1, 3))
    np.testing.assert_allclose(cuda.to_numpy(statistics)[..., 1], variance, rtol=1e-5)
    assert np.abs(cuda.to_numpy(y)).max() < 2
