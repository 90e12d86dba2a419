"""Hostile numbers, and oracles that others wrote: SciPy's correlate, scikit-learn's log_loss."""

import numpy as np
import pytest
from scipy import signal, special
from sklearn.metrics import log_loss

from backends import oracles
from backends.cases import TOLERANCES
from backends.running import assert_close
from cnn.backends import RandomKey, Window


def test_convolution_agrees_with_scipy(backend, rng):
    x = rng.normal(size=(2, 11, 9, 3)).astype(backend.dtype)
    w = rng.normal(size=(4, 3, 3, 5)).astype(backend.dtype)
    window = Window.over((11, 9), (4, 3))
    y = backend.ops.to_numpy(backend.ops.conv2d(backend.ops.array(x), backend.ops.array(w), None, window, 1))
    expected = np.zeros(y.shape)
    for i in range(2):
        for k in range(5):
            expected[i, ..., k] = signal.correlate(x[i].astype(float), w[..., k].astype(float), "valid")[..., 0]
    assert_close(y, expected, TOLERANCES[backend.dtype]["sum"])


def test_convolution_same_agrees_with_scipy(backend, rng):
    x, w = rng.normal(size=(1, 8, 9, 1)).astype(backend.dtype), rng.normal(size=(3, 5, 1, 1)).astype(backend.dtype)
    window = Window.over((8, 9), (3, 5), padding="same")
    y = backend.ops.to_numpy(backend.ops.conv2d(backend.ops.array(x), backend.ops.array(w), None, window, 1))
    expected = signal.correlate2d(x[0, ..., 0].astype(float), w[..., 0, 0].astype(float), "same")
    assert_close(y[0, ..., 0], expected, TOLERANCES[backend.dtype]["sum"])


@pytest.mark.parametrize("shape", [(64, 12, 12, 3), (19, 48, 48, 4), (500, 7)], ids=str)
def test_batch_norm_survives_a_mean_a_million_deviations_away(backend, rng, shape):
    """x near 10,000 with deviation 0.01: E[x^2] - E[x]^2 in float32 would leave nothing of the variance."""
    x = rng.normal(1e4, 1e-2, shape).astype(backend.dtype)
    gamma, beta = np.ones(shape[-1]), np.zeros(shape[-1])
    eps = 1e-6
    expected_y, expected_mean, expected_variance = oracles.batch_norm(x.astype(float), gamma, beta, eps)
    array = backend.ops.array
    y, mean, variance = (
        backend.ops.to_numpy(a)
        for a in backend.ops.batch_norm(
            array(x), array(gamma.astype(backend.dtype)), array(beta.astype(backend.dtype)), eps
        )
    )
    # In float32 the neighbours of 10,000 are a tenth of a deviation apart: the mean may be one of the two nearest, and
    # no element of y may be off by more than that and its own rounding.
    place, spread = {"float32": (np.spacing(np.float32(1e4)), 1e-2), "float64": (1e-10, 1e-9)}[backend.dtype]
    assert np.abs(mean - expected_mean).max() <= place
    assert np.abs(variance / expected_variance - 1).max() < spread
    assert np.abs(y - expected_y).max() <= 1.5 * place / 1e-2 + spread


def test_batch_norm_statistics_of_ordinary_activations(backend, rng):
    x = rng.normal(3, 2, (32, 24, 24, 8)).astype(backend.dtype)
    unit = backend.ops.array(np.ones(8, backend.dtype))
    _, mean, variance = backend.ops.batch_norm(backend.ops.array(x), unit, unit, 1e-5)
    assert_close(backend.ops.to_numpy(mean), x.mean(axis=(0, 1, 2), dtype=float), 1e-6)
    assert_close(backend.ops.to_numpy(variance), x.var(axis=(0, 1, 2), dtype=float), 1e-6)


def test_batch_norm_of_a_constant_channel_is_beta(backend):
    x = np.full((3, 4, 5, 2), 0.1, backend.dtype)
    gamma, beta = np.array([2, 3], backend.dtype), np.array([-1, 0.5], backend.dtype)
    array = backend.ops.array
    y, _, variance = backend.ops.batch_norm(array(x), array(gamma), array(beta), 1e-3)
    np.testing.assert_allclose(backend.ops.to_numpy(y), np.broadcast_to(beta, x.shape), atol=1e-5)
    assert (backend.ops.to_numpy(variance) >= 0).all()


@pytest.mark.parametrize("magnitude", [1e4, 80.0])
def test_softmax_of_extreme_logits(backend, magnitude):
    logits = np.array([[magnitude, -magnitude, 0], [-magnitude] * 3, [magnitude] * 3], backend.dtype)
    targets, weights = np.eye(3, dtype=backend.dtype), np.ones(3, backend.dtype)
    array = backend.ops.array
    probabilities = backend.ops.to_numpy(backend.ops.softmax(array(logits)))
    assert_close(probabilities, special.softmax(logits.astype(float), axis=1), 1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    loss, gradient = (
        backend.ops.to_numpy(a)
        for a in backend.ops.softmax_cross_entropy(array(logits), array(targets), array(weights))
    )
    expected_loss, expected_gradient = oracles.softmax_cross_entropy(logits.astype(float), np.eye(3), np.ones(3))
    assert_close(loss, expected_loss, 1e-6)
    assert_close(gradient, expected_gradient, 1e-6)


def test_the_loss_of_a_certain_and_wrong_prediction_is_its_logit_gap(backend):
    """A probability that underflows to zero still has its logarithm."""
    array = backend.ops.array
    logits, targets = np.array([[-1e4, 1e4]], backend.dtype), np.array([[1, 0]], backend.dtype)
    loss, gradient = backend.ops.softmax_cross_entropy(array(logits), array(targets), array(np.ones(1, backend.dtype)))
    assert float(loss) == pytest.approx(2e4)
    np.testing.assert_allclose(backend.ops.to_numpy(gradient), [[-1, 1]])


def test_cross_entropy_agrees_with_scikit_learn(backend, rng):
    n, classes = 23, 5
    logits = rng.normal(0, 2, (n, classes)).astype(backend.dtype)
    labels, weights = rng.integers(classes, size=n), rng.uniform(0.5, 2, n).astype(backend.dtype)
    array = backend.ops.array
    targets = backend.ops.soft_targets(array(labels), classes, 0.0, array(logits))
    loss, _ = backend.ops.softmax_cross_entropy(array(logits), targets, array(weights))
    probabilities = special.softmax(logits.astype(float), axis=1)
    total = log_loss(labels, probabilities, labels=range(classes), sample_weight=weights.astype(float), normalize=False)
    assert float(loss) == pytest.approx(total / n, rel=1e-12 if backend.dtype == "float64" else 1e-6)


def test_cross_entropy_divides_by_the_batch_and_not_by_the_weights(backend):
    logits, targets = np.zeros((4, 2), backend.dtype), np.tile([1, 0], (4, 1)).astype(backend.dtype)
    array = backend.ops.array
    loss, _ = backend.ops.softmax_cross_entropy(array(logits), array(targets), array(np.full(4, 3, backend.dtype)))
    assert float(loss) == pytest.approx(3 * np.log(2))


def test_count_correct_takes_the_first_of_equal_maxima(backend):
    """70 classes: more than a warp's lanes, so that a lane compares classes of its own."""
    logits = backend.ops.array(np.zeros((4, 70), backend.dtype))
    assert int(backend.ops.count_correct(logits, backend.ops.array(np.array([0, 0, 32, 64])))) == 2


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "elu", "gelu", "silu"])
def test_activations_far_from_zero_neither_overflow_nor_lose_their_limit(backend, op):
    options = {"leaky_relu": (0.1,), "elu": (1.0,)}.get(op, ())
    x = np.array([1e4, 50.0, -50.0, -1e4], backend.dtype)
    y = backend.ops.to_numpy(getattr(backend.ops, op)(backend.ops.array(x), *options))
    limits = {"relu": [0, 0], "leaky_relu": [-5, -1000], "elu": [-1, -1], "gelu": [0, 0], "silu": [0, 0]}[op]
    np.testing.assert_allclose(y, [1e4, 50, *limits], rtol=1e-6, atol=1e-10)
    dy = backend.ops.array(np.ones(4, backend.dtype))
    dx = backend.ops.to_numpy(getattr(backend.ops, f"{op}_backward")(dy, backend.ops.array(x), *options))
    slopes = [0.1, 0.1] if op == "leaky_relu" else [0, 0]
    np.testing.assert_allclose(dx, [1, 1, *slopes], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(
    ("op", "parameter", "slope"),
    [("relu", (), 0), ("leaky_relu", (0.1,), 0.1), ("elu", (0.7,), 0.7), ("gelu", (), 0.5)],
)
def test_activations_at_zero_have_the_slope_of_what_is_below(backend, op, parameter, slope):
    x, dy = (backend.ops.array(np.array(numbers, backend.dtype)) for numbers in ([0.0, -0.0], [2, 2]))
    np.testing.assert_array_equal(backend.ops.to_numpy(getattr(backend.ops, op)(x, *parameter)), 0)
    dx = backend.ops.to_numpy(getattr(backend.ops, f"{op}_backward")(dy, x, *parameter))
    np.testing.assert_allclose(dx, 2 * slope, rtol=1e-6)


def test_activations_keep_their_digits_near_zero(backend):
    """exp(x) - 1 would lose them."""
    x = np.array([-1e-2, -1e-4, -1e-6], backend.dtype)
    y = backend.ops.to_numpy(backend.ops.elu(backend.ops.array(x), 0.7))
    np.testing.assert_allclose(y, 0.7 * np.expm1(x.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "elu", "gelu", "silu"])
def test_not_a_number_goes_on_through_activations(backend, op):
    options = {"leaky_relu": (0.1,), "elu": (1.0,)}.get(op, ())
    x = np.array([1, np.nan, -2, 3, 4], backend.dtype)
    y = backend.ops.to_numpy(getattr(backend.ops, op)(backend.ops.array(x), *options))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (2, 1), (2, 2), (8, 1)])
def test_not_a_number_goes_on_through_convolution(backend, channels, groups):
    """Behind a fused ReLU too: a network that has diverged must show it."""
    x, w = np.ones((1, 4, 5, channels), backend.dtype), np.ones((3, 3, channels // groups, 4), backend.dtype)
    x[0, 0, 0] = np.nan
    window = Window.over((4, 5), 3, padding="same")
    y = backend.ops.to_numpy(backend.ops.conv2d(backend.ops.array(x), backend.ops.array(w), None, window, groups, True))
    expected = np.zeros((4, 5), bool)
    expected[:2, :2] = True  # the windows that see the first pixel
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(expected[..., None], y.shape))


def test_not_a_number_goes_on_through_dense_norm_and_dropout(backend):
    ops, unit = backend.ops, backend.ops.array(np.ones(4, backend.dtype))
    x = np.ones((3, 4), backend.dtype)
    x[1, 2] = np.nan
    y = ops.to_numpy(ops.dense(ops.array(x), ops.array(np.eye(4, dtype=backend.dtype)), None, True))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x).any(axis=1, keepdims=True) & np.ones(4, bool))
    y = ops.to_numpy(ops.batch_norm_inference(ops.array(x), unit, unit, unit, unit, 1e-3, True))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    for count in (64, 67):  # whole vectors, and what is left over
        y, _ = ops.dropout(ops.array(np.full(count, np.nan, backend.dtype)), 0.5, RandomKey(1, 2, 3))
        assert np.isnan(ops.to_numpy(y)).all()


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_not_a_number_goes_on_through_a_maximum(backend, kernel, place):
    """First in its window, in the middle or last, and then no larger number beats it."""
    x = np.arange(48, dtype=backend.dtype).reshape(1, 12, 4, 1)
    row = {0: 0, 1: kernel // 2, 2: kernel - 1}[place]
    x[0, row, row] = np.nan
    y, _ = backend.ops.max_pool2d(backend.ops.array(x), Window.over((12, 4), kernel, kernel))
    assert np.argwhere(np.isnan(backend.ops.to_numpy(y)[0, ..., 0])).tolist() == [[0, 0]]


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 2, 2, 0)], ids=str)
def test_padding_never_wins_a_maximum(backend, rng, padding):
    """All pixels negative: a rim of zeros would win every window that it touches."""
    x = -rng.uniform(1, 2, (2, 5, 6, 3)).astype(backend.dtype)
    window = Window.over((5, 6), 3, 2, padding)
    y, winner = backend.ops.max_pool2d(backend.ops.array(x), window)
    assert (backend.ops.to_numpy(y) < 0).all()
    dy = backend.ops.array(np.ones(y.shape, backend.dtype))
    dx = backend.ops.to_numpy(backend.ops.max_pool2d_backward(dy, winner, window))
    assert dx.sum() == y.size  # every gradient found a pixel of the image


def test_of_equal_taps_the_first_wins(backend):
    x = backend.ops.array(np.ones((2, 6, 6, 3), backend.dtype))
    _, winner = backend.ops.max_pool2d(x, Window.over((6, 6), 3, 3))
    assert not backend.ops.to_numpy(winner).any()
    _, winner = backend.ops.max_pool2d(x, Window.over((6, 6), 3, 3, padding=(1, 0, 1, 0)))
    assert backend.ops.to_numpy(winner)[0, :, :, 0].tolist() == [[4, 3], [1, 0]]


def test_padding_does_not_count_in_an_average(backend):
    x = backend.ops.array(np.full((1, 5, 5, 2), 7, backend.dtype))
    y = backend.ops.avg_pool2d(x, Window.over((5, 5), 3, 2, "same"))
    np.testing.assert_allclose(backend.ops.to_numpy(y), 7, rtol=1e-6)


WHOLE = {
    # rows of a matrix on a 5x5 picture, and what it makes of the picture
    "identity": ([[1, 0, 0], [0, 1, 0]], lambda picture: picture),
    "mirrored": ([[1, 0, 0], [0, -1, 4]], lambda picture: picture[:, ::-1]),
    "upside_down": ([[-1, 0, 4], [0, 1, 0]], lambda picture: picture[::-1]),
    "turned_anticlockwise": ([[0, 1, 0], [-1, 0, 4]], np.rot90),
    "turned_clockwise": ([[0, -1, 4], [1, 0, 0]], lambda picture: np.rot90(picture, -1)),
    "one_down_and_two_right": ([[1, 0, -1], [0, 1, -2]], lambda picture: picture[[0, 0, 1, 2, 3]][:, [0, 0, 0, 1, 2]]),
    "far_up_and_left": ([[1, 0, 90], [0, 1, 90]], lambda picture: np.broadcast_to(picture[4, 4], picture.shape)),
}


@pytest.mark.parametrize(("matrix", "expected"), WHOLE.values(), ids=WHOLE.keys())
def test_gather_batch_is_exact_where_the_matrix_is_whole(backend, rng, matrix, expected):
    images = rng.integers(0, 256, (3, 5, 5, 2), dtype=np.uint8)
    np.testing.assert_array_equal(gathered(backend, images, matrix), expected(images[1]).astype(float))


def test_gather_batch_mixes_rows_and_columns_in_their_share(backend):
    """Input position (0.25, 0.5) of a single bright pixel at (0, 1), and its neighbours' shares."""
    images = np.zeros((3, 2, 2, 1), np.uint8)
    images[1, 0, 1] = 80
    seen = gathered(backend, images, [[1, 0, 0.25], [0, 1, 0.5]])[..., 0]
    np.testing.assert_array_equal(seen, [[0.75 * 0.5 * 80, 0.75 * 80], [0, 0]])  # clamped beyond row and column 1


def test_gather_batch_erases_after_it_normalises(backend):
    images = np.full((3, 4, 5, 1), 9, np.uint8)
    batch = gathered(backend, images, [[1, 0, 0], [0, 1, 0]], rectangle=(1, 2, 2, 3), offset=-3)[..., 0]
    assert batch.tolist() == [[6] * 5, [6, 6, 0, 0, 0], [6, 6, 0, 0, 0], [6] * 5]
    for nothing in ((1, 2, 0, 3), (1, 2, 3, 0), (4, 5, 0, 0)):
        assert (gathered(backend, images, [[1, 0, 0], [0, 1, 0]], rectangle=nothing, offset=-3) == 6).all()


def gathered(backend, images, matrix, rectangle=(0, 0, 0, 0), offset=0):
    """The second image under one matrix, plus `offset`."""
    channels, array = images.shape[3], backend.ops.array
    batch = backend.ops.gather_batch(
        array(images),
        array(np.array([1])),
        array(np.array([matrix], np.float32)),
        array(np.array([rectangle], np.int32)),
        array(np.ones(channels, backend.dtype)),
        array(np.full(channels, offset, backend.dtype)),
    )
    return backend.ops.to_numpy(batch)[0]


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("op", ["sgd_update", "adam_update"])
def test_twenty_updates_follow_the_papers(backend, op, decoupled):
    """Small errors of one step must not grow: the state carries them on."""
    rng = np.random.default_rng(4)
    slots = 1 if op == "sgd_update" else 2
    shape = (3, 4)
    expected = [[rng.normal(size=shape)], *([np.zeros(shape)] for _ in range(slots))]
    actual = [[backend.ops.array(tensor[0].astype(backend.dtype))] for tensor in expected]
    options = {"learning_rate": 0.05, "weight_decay": [0.01], "decoupled": decoupled}
    options |= {"momentum": 0.9, "nesterov": True} if slots == 1 else {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    for step in range(1, 21):
        grad = rng.normal(size=shape)
        numbered = options if slots == 1 else options | {"step": step}
        changed = getattr(oracles, op)(expected[0], [grad], *expected[1:], **numbered)
        expected = [[tensor] for tensor in changed]
        getattr(backend.ops, op)(actual[0], [backend.ops.array(grad.astype(backend.dtype))], *actual[1:], **numbered)
    tolerance = {"float64": 1e-13, "float32": 2e-5}[backend.dtype]
    for own, other in zip(actual, expected, strict=True):
        assert_close(backend.ops.to_numpy(own[0]), other[0], tolerance)


def test_first_adam_step_is_the_learning_rate_in_the_sign_of_the_gradient(backend):
    p, m, v = ([backend.ops.array(np.zeros(3, backend.dtype))] for _ in range(3))
    grads = [backend.ops.array(np.array([1e-3, -5, 2], backend.dtype))]
    options = {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-12, "step": 1}
    backend.ops.adam_update(p, grads, m, v, **options, weight_decay=[0.0], decoupled=False)
    np.testing.assert_allclose(backend.ops.to_numpy(p[0]), [-0.1, 0.1, -0.1], rtol=1e-5)


def test_float32_stays_close_to_float64_over_a_whole_training_step(ops):
    """Convolution, norm, activation, pooling, dense, loss and back: the errors of one float32 step add up little."""
    rng = np.random.default_rng(9)
    window = Window.over((12, 12), 3, padding="same")
    values = {
        "x": rng.normal(size=(16, 12, 12, 3)),
        "w": rng.normal(size=(3, 3, 3, 8)) / 5,
        "gamma": np.ones(8),
        "beta": np.zeros(8),
        "dense": rng.normal(size=(8, 5)),
    }
    labels = rng.integers(5, size=16)

    def gradient(dtype):
        x, w, gamma, beta, dense = (values[name].astype(dtype) for name in ("x", "w", "gamma", "beta", "dense"))
        conv = ops.conv2d(x, w, None, window, 1)
        norm, mean, variance = ops.batch_norm(conv, gamma, beta, 1e-5)
        features = ops.global_avg_pool2d(ops.gelu(norm))
        logits = ops.dense(features, dense, None)
        targets = ops.soft_targets(labels, 5, 0.1, logits)
        loss, dlogits = ops.softmax_cross_entropy(logits, targets, np.ones(16, dtype))
        dy = ops.global_avg_pool2d_backward(ops.dense_backward_input(dlogits, dense), (12, 12))
        dy, _, _ = ops.batch_norm_backward(ops.gelu_backward(dy, norm), conv, gamma, mean, variance, 1e-5)
        return float(loss), ops.conv2d_backward_filter(dy, x, window, 1)

    (loss32, dw32), (loss64, dw64) = gradient("float32"), gradient("float64")
    assert loss32 == pytest.approx(loss64, rel=1e-6)
    assert np.linalg.norm(dw32 - dw64) < 1e-5 * np.linalg.norm(dw64)


def test_padding_wins_not_even_over_minus_infinity(backend):
    window = Window.over((3, 4), 3, 2, (2, 1, 2, 1))
    x = np.full((1, 3, 4, 2), -np.inf, backend.dtype)
    y, winner = (backend.ops.to_numpy(a) for a in backend.ops.max_pool2d(backend.ops.array(x), window))
    assert (y == -np.inf).all()
    # Windows begin at rows -2 and 0 and at columns -2, 0 and 2: of the first, only the last tap is in the image.
    np.testing.assert_array_equal(winner[0, :, :, 0], [[8, 6, 6], [2, 0, 0]])
