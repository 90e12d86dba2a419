"""Updates of flat arrays, by learning rates and steps that lie on the device."""

import numpy as np
import pytest

SIZES = pytest.mark.parametrize("size", [1, 4, 37, 5001])
DECAYS = pytest.mark.parametrize(("weight_decay", "decoupled"), [(0.0, False), (0.01, False), (0.01, True)])
RATE = 0.05


def numbers(rng, size, count):
    return rng.normal(size=(count, size)).astype(np.float32)


@SIZES
@DECAYS
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(cuda, size, weight_decay, decoupled, nesterov, rng):
    p, g, v = numbers(rng, size, 3)
    arrays = [cuda.array(values) for values in (p, g, v)]
    rate = cuda.array(np.array([RATE], np.float32))
    cuda.sgd_update(
        *arrays,
        learning_rate=rate,
        momentum=cuda.array(np.array([0.9], np.float32)),
        nesterov=nesterov,
        weight_decay=weight_decay,
        decoupled=decoupled,
    )
    p, g, v = (values.astype(float) for values in (p, g, v))
    shrunk = p * (1 - RATE * weight_decay) if decoupled else p
    gradient = g if decoupled else g + weight_decay * p
    velocity = 0.9 * v + gradient
    step = gradient + 0.9 * velocity if nesterov else velocity
    np.testing.assert_allclose(cuda.to_numpy(arrays[2]), velocity, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cuda.to_numpy(arrays[0]), shrunk - RATE * step, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cuda.to_numpy(arrays[1]), g)


@SIZES
@DECAYS
@pytest.mark.parametrize("step", [1, 2, 1000, 10**6])
def test_adam(cuda, size, weight_decay, decoupled, step, rng):
    p, g, m, v = numbers(rng, size, 4)
    v = np.abs(v)
    arrays = [cuda.array(values) for values in (p, g, m, v)]
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    cuda.adam_update(
        *arrays,
        learning_rate=cuda.array(np.array([RATE], np.float32)),
        clock=cuda.array(np.array([step, 3, 4])),
        beta1=cuda.array(np.array([beta1], np.float32)),
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        decoupled=decoupled,
    )
    p, g, m, v = (values.astype(float) for values in (p, g, m, v))
    shrunk = p * (1 - RATE * weight_decay) if decoupled else p
    gradient = g if decoupled else g + weight_decay * p
    m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
    change = RATE * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
    np.testing.assert_allclose(cuda.to_numpy(arrays[2]), m, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cuda.to_numpy(arrays[3]), v, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(cuda.to_numpy(arrays[0]) - p, shrunk - p - change, rtol=1e-5, atol=1e-6)


def test_adam_without_memory_of_the_gradient(cuda):
    """Both betas 0: the step is the learning rate in the gradient's sign."""
    p, g = cuda.zeros((3,), np.float32), cuda.array(np.array([1e-3, -5, 2], np.float32))
    cuda.adam_update(
        *(p, g, cuda.zeros((3,), np.float32), cuda.zeros((3,), np.float32)),
        learning_rate=cuda.array(np.array([0.1], np.float32)),
        clock=cuda.array(np.array([1])),
        **{"beta1": cuda.zeros((1,), np.float32), "beta2": 0.0, "eps": 1e-12, "weight_decay": 0.0, "decoupled": False},
    )
    np.testing.assert_allclose(cuda.to_numpy(p), [-0.1, 0.1, -0.1], rtol=1e-5)


def test_part_of_an_arena_is_updated_in_place(cuda, rng):
    arenas = [cuda.array(values) for values in numbers(rng, 200, 3)]
    before = cuda.to_numpy(arenas[0]).copy()
    part = slice(16, 16 + 37)
    cuda.sgd_update(
        *(arena[part] for arena in arenas),
        learning_rate=cuda.array(np.array([0.5], np.float32)),
        **{
            "momentum": cuda.array(np.array([0.9], np.float32)),
            "nesterov": False,
            "weight_decay": 0.0,
            "decoupled": False,
        },
    )
    changed = cuda.to_numpy(arenas[0]) != before
    assert changed[part].all()
    assert changed.sum() == 37


@pytest.mark.parametrize("first", [0, 1, 2, 4])
@pytest.mark.parametrize("op", ["sgd_update", "adam_update"])
def test_a_copy_in_bfloat16_may_begin_anywhere_and_ends_with_the_parameters(cuda, op, first, rng):
    p, g, m, v = numbers(rng, 37, 4)
    p[5], g[7] = np.inf, np.nan
    moments = (m,) if op == "sgd_update" else (m, np.abs(v))
    copies = cuda.array(np.full(48, 0xBEEF, np.uint16))
    arrays = [cuda.array(values) for values in (p, g, *moments)]
    inertia = cuda.array(np.array([0.9], np.float32))
    options = {"momentum": inertia, "nesterov": True}
    if op == "adam_update":
        options = {"beta1": inertia, "beta2": 0.99, "eps": 1e-8}
    if op == "adam_update":
        options["clock"] = cuda.array(np.array([3, 0, 0]))
    rate = cuda.array(np.array([RATE], np.float32))
    getattr(cuda, op)(
        *arrays,
        **options,
        **{"learning_rate": rate, "weight_decay": 0.01, "decoupled": True, "copy": copies[first : first + 37]},
    )
    wanted = cuda.to_numpy(cuda.stored(arrays[0], "bfloat16"))
    assert np.isnan(wanted[7])
    np.testing.assert_array_equal(cuda.to_numpy(copies[first : first + 37]), wanted)
    rest = cuda.xp.asnumpy(copies)
    assert (np.concatenate([rest[:first], rest[first + 37 :]]) == 0xBEEF).all()


def test_arrays_of_different_length_are_refused(cuda):
    arrays = [cuda.zeros((size,), np.float32) for size in (8, 8, 7)]
    with pytest.raises(ValueError, match=r"^an update's arrays must be equally long, not of 8, 8, 7 elements$"):
        cuda.sgd_update(
            *arrays,
            learning_rate=cuda.zeros((1,), np.float32),
            **{
                "momentum": cuda.array(np.array([0.9], np.float32)),
                "nesterov": False,
                "weight_decay": 0.0,
                "decoupled": False,
            },
        )
    with pytest.raises(ValueError, match=r"^an update's arrays must be equally long, not of 8, 8, 8, 9 elements$"):
        cuda.sgd_update(
            *arrays[:2],
            cuda.zeros((8,), np.float32),
            learning_rate=cuda.zeros((1,), np.float32),
            copy=cuda.zeros((9,), np.uint16),
            **{
                "momentum": cuda.array(np.array([0.9], np.float32)),
                "nesterov": False,
                "weight_decay": 0.0,
                "decoupled": False,
            },
        )


@SIZES
@pytest.mark.parametrize("share", [0.0, 1e-3, 0.5, 1.0])
@pytest.mark.parametrize("first", [0, 1])
def test_a_blend(cuda, size, share, first, rng):
    into, values = numbers(rng, size + first, 2)
    values[0] = np.nan if share == 0 else values[0]
    array = cuda.array(into)
    cuda.blend(array[first:], cuda.array(values)[first:], cuda.array(np.array([share], np.float32)))
    expected = into.astype(float)
    if share:
        expected[first:] += share * (values[first:].astype(float) - into[first:])
    found = cuda.to_numpy(array)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    if share in (0, 1):
        np.testing.assert_array_equal(found[first:], (values if share else into)[first:])


@SIZES
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_blend_fills_a_copy_unless_nothing_changes(cuda, size, share, rng):
    into, values = (cuda.array(each) for each in numbers(rng, size, 2))
    copies = cuda.array(np.full(size, 0xBEEF, np.uint16))
    cuda.blend(into, values, cuda.array(np.array([share], np.float32)), copies)
    if share:
        np.testing.assert_array_equal(cuda.to_numpy(copies), cuda.to_numpy(cuda.stored(into, "bfloat16")))
    else:
        assert (cuda.xp.asnumpy(copies) == 0xBEEF).all()


@SIZES
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_clipping(cuda, size, scale, rng):
    g = (numbers(rng, size, 1)[0] + 3) * np.float32(scale)
    expected = np.sqrt(np.sum(g.astype(float) ** 2))
    for limit, factor in ((expected / 2, 0.5), (expected * 2, 1.0)):
        array = cuda.array(g)
        norm = cuda.clip_by_global_norm(array, float(limit))
        assert norm.shape == ()
        assert float(cuda.to_numpy(norm)) == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(cuda.to_numpy(array), g * factor, rtol=1e-6)


def test_a_gradient_within_the_limit_stays_bit_for_bit(cuda, rng):
    g = numbers(rng, 4097, 1)[0]
    array = cuda.array(g)
    cuda.clip_by_global_norm(array, 1e6)
    assert cuda.to_numpy(array).tobytes() == g.tobytes()


def test_the_norm_of_nan_is_nan_and_clips_nothing(cuda):
    array = cuda.array(np.array([1, np.nan, 3], np.float32))
    assert np.isnan(cuda.to_numpy(cuda.clip_by_global_norm(array, 0.1)))
    np.testing.assert_array_equal(cuda.to_numpy(array), [1, np.nan, 3])
