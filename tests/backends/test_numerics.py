"""Hostile numbers, and oracles that others wrote: SciPy's correlate, scikit-learn's log_loss."""

import math

import numpy as np
import pytest
from scipy import signal, special
from sklearn.metrics import log_loss

from backends import oracles
from backends.cases import TOLERANCES
from backends.cases.elementwise import ACTIVATIONS, named
from backends.running import assert_close, compute
from cnn.backends import Activation, Epilogue, Normalize, Ops, Pool, RandomKey, Window, get_ops

_RELU = Activation("relu")
EACH_ACTIVATION = pytest.mark.parametrize("activation", ACTIVATIONS, ids=named)


# --- convolution ----------------------------------------------------------------------------------------------------


def test_convolution_agrees_with_scipy(backend, rng):
    x, w = rng.normal(size=(2, 11, 9, 3)).astype("float32"), rng.normal(size=(4, 3, 3, 5)).astype("float32")
    y = compute(backend, "conv2d", x.astype(float), w.astype(float), None, Window.over((11, 9), (4, 3)), 1)
    wanted = np.zeros(y.shape)
    for i in range(2):
        for k in range(5):
            wanted[i, ..., k] = signal.correlate(x[i].astype(float), w[..., k].astype(float), "valid")[..., 0]
    assert_close(y, wanted, TOLERANCES[backend.dtype]["sum"])


def test_convolution_same_agrees_with_scipy(backend, rng):
    x, w = rng.normal(size=(1, 8, 9, 1)).astype("float32"), rng.normal(size=(3, 5, 1, 1)).astype("float32")
    window = Window.over((8, 9), (3, 5), padding="same")
    y = compute(backend, "conv2d", x.astype(float), w.astype(float), None, window, 1)
    wanted = signal.correlate2d(x[0, ..., 0].astype(float), w[..., 0, 0].astype(float), "same")
    assert_close(y[0, ..., 0], wanted, TOLERANCES[backend.dtype]["sum"])


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (2, 1), (2, 2), (8, 1)])
def test_not_a_number_goes_on_through_convolution(backend, channels, groups):
    """Behind a ReLU in the same pass too: a network that has diverged must show it."""
    x, w = np.ones((1, 4, 5, channels)), np.ones((3, 3, channels // groups, 4))
    x[0, 0, 0] = np.nan
    window = Window.over((4, 5), 3, padding="same")
    y = compute(backend, "conv2d", x, w, None, window, groups, Epilogue(_RELU))
    wanted = np.zeros((4, 5), bool)
    wanted[:2, :2] = True  # the windows that see the first pixel
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(wanted[..., None], y.shape))


def test_not_a_number_goes_on_through_dense_norm_and_dropout(backend):
    x = np.ones((3, 4))
    x[1, 2] = np.nan
    y = compute(backend, "dense", x, np.eye(4), None, Epilogue(_RELU))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x).any(axis=1, keepdims=True) & np.ones(4, bool))
    y, _ = compute(backend, "tail", x, [Normalize(np.ones(4), np.ones(4), np.ones((2, 4)), 1e-3, False), _RELU], False)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    for count in (64, 67):  # whole vectors, and what is left over
        y = compute(backend, "dropout", np.full(count, np.nan), 0.5, RandomKey(1, 2, np.array([3])))
        kept = compute(backend, "dropout", np.ones(count), 0.5, RandomKey(1, 2, np.array([3]))) != 0
        np.testing.assert_array_equal(np.isnan(y), kept)


def test_float32_stays_close_to_float64_over_a_whole_training_step(backend):
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

    def gradient(ops, dtype):
        x, w, gamma, beta, dense = (ops.array(value.astype(dtype)) for value in values.values())
        moments = ops.empty((2, 8), dtype)
        conv = ops.conv2d(x, w, None, window, 1, Epilogue(moments=moments))
        stages = [Normalize(gamma, beta, moments, 1e-5, True), Activation("gelu")]
        y, saved = ops.tail(conv, stages)
        logits = ops.dense(ops.global_avg_pool2d(y), dense, None)
        loss, dlogits = ops.cross_entropy(logits, ops.array(labels), ops.array(np.ones(5, dtype)), 0.1)
        dy = ops.global_avg_pool2d_backward(ops.dense_backward_input(dlogits, dense), (12, 12))
        dy, _ = ops.tail_backward(dy, stages, saved)
        return float(loss), np.array(ops.to_numpy(ops.conv2d_backward_filter(dy, x, window, 1)))

    (loss, dw), (wanted_loss, wanted_dw) = gradient(backend.ops, backend.dtype), gradient(Ops(), "float64")
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert np.linalg.norm(dw - wanted_dw) < 1e-5 * np.linalg.norm(wanted_dw)


# --- statistics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 12, 12, 3), (19, 48, 48, 4), (500, 7)], ids=str)
def test_batch_norm_survives_a_mean_a_million_deviations_away(backend, rng, shape):
    """x near 10,000 with deviation 0.01: E[x^2] - E[x]^2 in float32 would leave nothing of the variance."""
    x = rng.normal(1e4, 1e-2, shape).astype(backend.dtype).astype(float)
    eps = 1e-6
    wanted_mean, wanted_variance = oracles.moments(x)[0]
    moments = compute(backend, "moments", x)
    # In float32 the neighbours of 10,000 are a tenth of a deviation apart: the mean may be one of the two nearest, and
    # no element of y may be off by more than that and its own rounding.
    place, spread = {"float32": (np.spacing(np.float32(1e4)), 1e-2), "float64": (1e-10, 1e-9)}[backend.dtype]
    assert np.abs(moments[0] - wanted_mean).max() <= place
    assert np.abs(moments[1] / wanted_variance - 1).max() < spread
    one = np.ones(shape[-1])
    y = compute(backend, "normalize", x, one, 0 * one, moments.astype(float), eps)
    wanted = oracles.normalize(x, one, 0 * one, (wanted_mean, wanted_variance), eps)[0]
    assert np.abs(y - wanted).max() <= 1.5 * place / 1e-2 + spread


@pytest.mark.parametrize("groups", [1, 3])
def test_group_norm_survives_a_mean_a_million_deviations_away(backend, rng, groups):
    x = rng.normal(1e4, 1e-2, (3, 12, 12, 6)).astype(backend.dtype).astype(float)
    _, wanted = oracles.group_norm(x, np.ones(6), np.zeros(6), groups, 1e-6)
    _, statistics = compute(backend, "group_norm", x, np.ones(6), np.zeros(6), groups, 1e-6)
    place, spread = {"float32": (np.spacing(np.float32(1e4)), 1e-2), "float64": (1e-10, 1e-9)}[backend.dtype]
    assert np.abs(statistics[..., 0] - wanted[..., 0]).max() <= place
    assert np.abs(statistics[..., 1] / wanted[..., 1] - 1).max() < spread


def test_statistics_of_ordinary_activations(backend, rng):
    x = rng.normal(3, 2, (32, 24, 24, 8)).astype("float32").astype(float)
    mean, variance = compute(backend, "moments", x)
    assert_close(mean, x.mean(axis=(0, 1, 2)), 1e-6)
    assert_close(variance, x.var(axis=(0, 1, 2)), 1e-6)


def test_sums_over_large_images_lose_nothing(backend, rng):
    """50,000 pixels: added one after the other in float32 they would lose two digits."""
    x = rng.uniform(0, 1, (2, 224, 224, 3)).astype("float32").astype(float)
    assert_close(compute(backend, "global_avg_pool2d", x), x.mean(axis=(1, 2)), 3e-7)
    assert_close(compute(backend, "moments", x), oracles.moments(x)[0], 3e-7)
    assert_close(compute(backend, "bias_backward", x), x.sum(axis=(0, 1, 2)), 1e-6)
    assert_close(compute(backend, "l2_penalty", x, 1.0), np.array((x * x).sum()), 3e-7)


def test_normalisation_of_a_constant_channel_is_beta(backend):
    x, gamma, beta = np.full((3, 4, 5, 2), np.float32(0.1), float), np.array([2.0, 3.0]), np.array([-1, 0.5])
    moments = compute(backend, "moments", x)
    assert (moments[1] >= 0).all()
    wanted = np.broadcast_to(beta, x.shape)
    y = compute(backend, "normalize", x, gamma, beta, moments.astype(float), 1e-3)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    for groups in (1, 2):
        y, statistics = compute(backend, "group_norm", x, gamma, beta, groups, 1e-3)
        assert (statistics[..., 1] >= 0).all()
        np.testing.assert_allclose(y, wanted, atol=1e-5)


@pytest.mark.parametrize("size", [1e19, 3e19, 1e30])
def test_a_variance_beyond_float32_is_infinite_and_the_output_beta(backend, rng, size):
    if backend.dtype == "float64":
        pytest.skip("float64 holds these variances")
    x = size * rng.choice([-1.0, 1.0], (4, 6, 5, 2))
    moments = compute(backend, "moments", x)
    exact = oracles.moments(x.astype(np.float32).astype(float))[0][1]
    np.testing.assert_array_equal(np.isinf(moments[1]), exact > np.finfo(np.float32).max)
    y = compute(backend, "normalize", x, np.array([2.0, 3]), np.array([-1.0, 0.5]), moments.astype(float), 1e-3)
    if np.isinf(moments[1]).all():
        np.testing.assert_array_equal(y, np.broadcast_to(np.float32([-1, 0.5]), x.shape))
    assert np.isfinite(y).all()


# --- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("magnitude", [1e4, 80.0])
def test_softmax_of_extreme_logits(backend, magnitude):
    logits = np.array([[magnitude, -magnitude, 0], [-magnitude] * 3, [magnitude] * 3])
    probabilities = compute(backend, "softmax", logits)
    assert_close(probabilities, special.softmax(logits, axis=1), 1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    for results in (
        compute(backend, "soft_cross_entropy", logits, np.eye(3), np.ones(3)),
        compute(backend, "cross_entropy", logits, np.arange(3), np.ones(3)),
    ):
        for actual, wanted in zip(results, oracles.soft_cross_entropy(logits, np.eye(3), np.ones(3)), strict=True):
            assert_close(actual, wanted, 1e-6)


def test_the_loss_of_a_certain_and_wrong_prediction_is_its_logit_gap(backend):
    """A probability that underflows to zero still has its logarithm."""
    logits = np.array([[-1e4, 1e4]])
    for loss, gradient in (
        compute(backend, "soft_cross_entropy", logits, np.array([[1.0, 0.0]]), np.ones(2)),
        compute(backend, "cross_entropy", logits, np.array([0]), np.ones(2)),
    ):
        assert float(loss) == pytest.approx(2e4)
        np.testing.assert_allclose(gradient, [[-1, 1]])


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_loss_of_an_excluded_class_is_infinite_only_where_it_is_a_target(backend, share):
    """The logit -inf of a class masks it; where it has a share of the target the loss is infinite."""
    logits, targets = np.array([[-np.inf, 1.0, 0.0]]), np.array([[share, 1 - share, 0.0]])
    loss, _ = compute(backend, "soft_cross_entropy", logits, targets, np.ones(3))
    assert float(loss) == (np.inf if share else pytest.approx(np.log1p(np.exp(-1)), rel=1e-6))


def test_cross_entropy_agrees_with_scikit_learn(backend, rng):
    n, classes = 23, 5
    logits = rng.normal(0, 2, (n, classes)).astype("float32").astype(float)
    labels, weights = rng.integers(classes, size=n), rng.uniform(0.5, 2, classes).astype("float32").astype(float)
    loss, _ = compute(backend, "cross_entropy", logits, labels, weights)
    probabilities = special.softmax(logits, axis=1)
    total = log_loss(labels, probabilities, labels=range(classes), sample_weight=weights[labels], normalize=False)
    assert float(loss) == pytest.approx(total / n, rel=1e-12 if backend.dtype == "float64" else 1e-6)


def test_cross_entropy_divides_by_the_rows_that_count_and_not_by_their_weights(backend):
    logits, labels = np.zeros((4, 2)), np.array([0, 1, 7, 0])
    loss, gradient = compute(backend, "cross_entropy", logits, labels, np.full(2, 3.0), ignore_index=7)
    assert float(loss) == pytest.approx(3 * np.log(2))
    np.testing.assert_allclose(gradient, [[-0.5, 0.5], [0.5, -0.5], [0, 0], [-0.5, 0.5]], rtol=1e-6)
    loss, _ = compute(backend, "soft_cross_entropy", logits, np.tile([1.0, 0.0], (4, 1)), np.full(2, 3.0))
    assert float(loss) == pytest.approx(3 * np.log(2))


def test_a_batch_of_ignored_rows_costs_nothing(backend):
    """Whatever their logits: no 0 / 0, and no 0 * inf."""
    totals = np.array([1.0, 2, 3])
    logits = np.array([[np.nan, 1], [np.inf, 0], [-np.inf, -np.inf]])
    placed = backend.ops.array(totals)
    array = backend.ops.array
    loss, gradient = backend.ops.cross_entropy(
        array(logits.astype(backend.dtype)),
        array(np.full(3, -1)),
        array(np.ones(2, backend.dtype)),
        ignore_index=-1,
        totals=placed,
    )
    assert float(loss) == 0
    assert not np.array(backend.ops.to_numpy(gradient)).any()
    np.testing.assert_array_equal(backend.ops.to_numpy(placed), totals)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_masked_classes_leave_the_loss_finite(backend, smoothing):
    """A mask of -inf takes a class out: those that are left have the loss that they have alone, but for smoothing."""
    logits, labels = np.array([[1.0, -np.inf, 2, -np.inf], [0.5, -np.inf, 0.25, 3]]), np.array([2, 3])
    loss, gradient = compute(backend, "cross_entropy", logits, labels, np.ones(4), smoothing)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert not gradient[:, 1].any()
    wanted, _ = oracles.cross_entropy(logits, labels, np.ones(4), smoothing)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)


def test_totals_gather_over_batches(backend, rng):
    """In float64: thousands of batches of float32 losses would lose digits."""
    totals = backend.ops.array(np.zeros(3))
    weights = backend.ops.array(np.ones(5, backend.dtype))
    losses, hits = [], 0
    for _ in range(7):
        logits, labels = rng.normal(size=(6, 5)).astype(backend.dtype), rng.integers(5, size=6)
        loss, _ = backend.ops.cross_entropy(
            backend.ops.array(logits), backend.ops.array(labels), weights, ignore_index=0, totals=totals
        )
        losses.append(float(loss) * int((labels != 0).sum()))
        hits += int(((logits.argmax(axis=1) == labels) & (labels != 0)).sum())
    total = backend.ops.to_numpy(totals)
    assert total.dtype == np.float64
    assert total[0] == pytest.approx(math.fsum(losses), rel=1e-6)
    assert total[1] == hits


def test_a_hit_is_the_first_of_equal_maxima(backend):
    """70 classes: more than a warp's lanes, so that a lane compares classes of its own."""
    totals = backend.ops.array(np.zeros(3))
    array = backend.ops.array
    logits, labels = np.zeros((4, 70), backend.dtype), np.array([0, 0, 32, 64])
    backend.ops.cross_entropy(array(logits), array(labels), array(np.ones(70, backend.dtype)), totals=totals)
    assert backend.ops.to_numpy(totals)[1] == 2


# --- activations ----------------------------------------------------------------------------------------------------


def slopes(backend, x, activation, dy):
    """The gradient at x."""
    saved = compute(backend, "activation", x, activation).astype(float) if activation.needs == "output" else x
    return compute(backend, "activation_backward", dy, saved, activation)


# What becomes of a number far from zero: below and above, the value and the slope, of x, a and b.
LIMITS = {
    "relu": lambda x, a, b: ((0, 0), (x, 1)),
    "clip": lambda x, a, b: ((a, 0), (b, 0)),
    "sigmoid": lambda x, a, b: ((0, 0), (1, 0)),
    "tanh": lambda x, a, b: ((-1, 0), (1, 0)),
    "leaky_relu": lambda x, a, b: ((-a * x, a), (x, 1)),
    "elu": lambda x, a, b: ((-a, 0), (x, 1)),
    "selu": lambda x, a, b: ((-a * b, 0), (b * x, b)),
    **dict.fromkeys(("softplus", "gelu", "silu", "mish", "hard_swish"), lambda x, a, b: ((0, 0), (x, 1))),
}


@EACH_ACTIVATION
@pytest.mark.parametrize("far", [1e4, 1e30])
def test_activations_far_from_zero_neither_overflow_nor_lose_their_limit(backend, activation, far):
    limits = LIMITS[activation.name](far, activation.a, activation.b)
    for x, (value, slope) in zip((np.array([-far]), np.array([far])), limits, strict=True):
        y, dx = compute(backend, "activation", x, activation), slopes(backend, x, activation, np.ones(1))
        np.testing.assert_allclose(y, value, rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(dx, slope, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (_RELU, 0),
        (Activation("clip", 0.0, 6.0), 0),
        (Activation("leaky_relu", 0.1), 0.1),
        (Activation("elu", 0.7), 0.7),
        (Activation("selu", 1.5, 1.25), 1.5 * 1.25),
        (Activation("gelu"), 0.5),
        (Activation("silu"), 0.5),
        (Activation("mish"), 0.6),
        (Activation("tanh"), 1),
        (Activation("hard_swish"), 0.5),
    ],
    ids=lambda value: value.name if isinstance(value, Activation) else "",
)
def test_activations_at_zero_are_zero_with_the_slope_of_what_is_below(backend, activation, slope):
    x = np.array([0.0, -0.0])
    np.testing.assert_array_equal(compute(backend, "activation", x, activation), 0)
    np.testing.assert_allclose(slopes(backend, x, activation, np.full(2, 2.0)), 2 * slope, rtol=1e-6)


NEAR_ZERO = [Activation("elu", 0.7), Activation("selu", 1.6732632423543772, 1.0507009873554805), Activation("tanh")]
TAILS = [Activation("sigmoid"), Activation("softplus"), Activation("silu"), Activation("mish")]


@pytest.mark.parametrize(
    ("activation", "x"),
    [*((each, [-1e-2, -1e-4, -1e-6]) for each in NEAR_ZERO), *((each, [-5, -20, -60]) for each in TAILS)],
    ids=lambda value: value.name if isinstance(value, Activation) else "",
)
def test_activations_keep_their_digits_where_they_are_small(backend, activation, x):
    """exp(x) - 1 near zero and log(1 + exp(x)) far below it would lose them."""
    exact = np.array(x, np.float32).astype(float)
    y = compute(backend, "activation", exact, activation)
    np.testing.assert_allclose(y, oracles.activation(exact, activation)[0], rtol=5e-6)


@EACH_ACTIVATION
def test_not_a_number_goes_on_through_activations(backend, activation):
    x = np.array([1, np.nan, -2, 3, 4])
    np.testing.assert_array_equal(np.isnan(compute(backend, "activation", x, activation)), np.isnan(x))


@EACH_ACTIVATION
def test_where_the_slope_is_zero_an_infinite_gradient_is_zero(backend, activation):
    """As the definition of each gradient says, though 0 * inf is not a number."""
    x = np.array([-2.0, -7, 9, 0.25, -1e5, 1e5])
    slope = slopes(backend, x, activation, np.ones(6))
    dx = slopes(backend, x, activation, np.array([np.inf, -np.inf, np.inf, -np.inf, np.inf, np.inf]))
    np.testing.assert_array_equal(dx[slope == 0], 0)
    assert np.isinf(dx[slope != 0]).all()


def test_an_infinite_gradient_reaches_the_argmax_alone(backend, rng):
    for window in (Window.over((6, 8), 2, 2), Window.over((6, 8), 3, 2, "same")):
        x = rng.permutation(np.arange(96.0)).reshape(1, 6, 8, 2)
        _, argmax = compute(backend, "max_pool2d", x, window)
        dy = np.full((1, *window.output_hw, 2), np.inf)
        dx = compute(backend, "max_pool2d_backward", dy, argmax, window)
        ones = compute(backend, "max_pool2d_backward", np.ones(dy.shape), argmax, window)
        np.testing.assert_array_equal(dx, np.where(ones > 0, np.inf, 0))


# --- pooling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_not_a_number_goes_on_through_a_maximum(backend, kernel, place):
    """First in its window, in the middle or last, and then no larger number beats it."""
    x = np.arange(48.0).reshape(1, 12, 4, 1)
    row = {0: 0, 1: kernel // 2, 2: kernel - 1}[place]
    x[0, row, row] = np.nan
    y, _ = compute(backend, "max_pool2d", x, Window.over((12, 4), kernel, kernel))
    assert np.argwhere(np.isnan(y[0, ..., 0])).tolist() == [[0, 0]]


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 2, 2, 0)], ids=str)
def test_padding_is_never_the_maximum(backend, rng, padding):
    """All pixels negative: a rim of zeros would be the largest of every window that it touches."""
    x = -rng.uniform(1, 2, (2, 5, 6, 3))
    window = Window.over((5, 6), 3, 2, padding)
    y, argmax = compute(backend, "max_pool2d", x, window)
    assert (y < 0).all()
    dx = compute(backend, "max_pool2d_backward", np.ones(y.shape), argmax, window)
    assert dx.sum() == y.size  # every gradient found a pixel of the image


def test_padding_is_not_the_maximum_of_minus_infinities(backend):
    window = Window.over((3, 4), 3, 2, (2, 1, 2, 1))
    y, argmax = compute(backend, "max_pool2d", np.full((1, 3, 4, 2), -np.inf), window)
    assert (y == -np.inf).all()
    # Windows begin at rows -2 and 0 and at columns -2, 0 and 2: of the first, only the last tap is in the image.
    np.testing.assert_array_equal(argmax[0, :, :, 0], [[8, 6, 6], [2, 0, 0]])


def test_of_equal_taps_the_first_is_the_argmax(backend):
    _, argmax = compute(backend, "max_pool2d", np.ones((2, 6, 6, 3)), Window.over((6, 6), 3, 3))
    assert not argmax.any()
    _, argmax = compute(backend, "max_pool2d", np.ones((2, 6, 6, 3)), Window.over((6, 6), 3, 3, padding=(1, 0, 1, 0)))
    assert argmax[0, :, :, 0].tolist() == [[4, 3], [1, 0]]


def test_a_fused_pooling_finds_the_first_of_equals_too(backend):
    """A norm makes all pixels of a channel alike: the gradient goes to one pixel of each window, the first."""
    one = np.ones(4)
    x, dy = np.full((1, 4, 6, 4), 0.5), np.ones((1, 2, 3, 4))
    arrays = [backend.ops.array(a.astype(backend.dtype)) for a in (one, one, np.stack([0 * one, one]), one, one)]
    stages = [Normalize(*arrays[:3], 1e-3, False, tuple(arrays[3:])), _RELU, Pool("max", Window.over((4, 6), 2, 2))]
    _, saved = backend.ops.tail(backend.ops.array(x.astype(backend.dtype)), stages)
    dx, _ = backend.ops.tail_backward(backend.ops.array(dy.astype(backend.dtype)), stages, saved)
    wanted = np.zeros((4, 6))
    wanted[::2, ::2] = 1
    np.testing.assert_array_equal(np.array(backend.ops.to_numpy(dx))[0, :, :, 0] != 0, wanted != 0)


def test_padding_counts_in_an_average_only_if_asked(backend):
    x, window = np.full((1, 5, 5, 2), 7.0), Window.over((5, 5), 3, 2, "same")
    np.testing.assert_allclose(compute(backend, "avg_pool2d", x, window), 7, rtol=1e-6)
    counted = compute(backend, "avg_pool2d", x, window, True)[0, :, :, 0]
    np.testing.assert_allclose(counted * 9 / 7, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


def test_what_ceil_reaches_beyond_the_padding_never_counts(backend):
    """Six pixels, a padding of 1 and windows of 3 in steps of 3: the last begins at pixel 5, then sees padding only.

    So of each line the windows count three, three and two, of which two, three and one are in the image.
    """
    window = Window.over((6, 6), 3, 3, 1, ceil=True)
    assert window.output_hw == (3, 3)
    counted = compute(backend, "avg_pool2d", np.full((1, 6, 6, 1), 6.0), window, True)[0, :, :, 0]
    line = np.array([2 / 3, 1, 1 / 2])
    np.testing.assert_allclose(counted, 6 * np.outer(line, line), rtol=1e-6)


# --- batches --------------------------------------------------------------------------------------------------------

WHOLE = {
    # rows of a matrix on a 5x5 image, and what it makes of the image
    "identity": ([[1, 0, 0], [0, 1, 0]], lambda image: image),
    "mirrored": ([[1, 0, 0], [0, -1, 4]], lambda image: image[:, ::-1]),
    "upside_down": ([[-1, 0, 4], [0, 1, 0]], lambda image: image[::-1]),
    "turned_anticlockwise": ([[0, 1, 0], [-1, 0, 4]], np.rot90),
    "turned_clockwise": ([[0, -1, 4], [1, 0, 0]], lambda image: np.rot90(image, -1)),
    "one_down_and_two_right": ([[1, 0, -1], [0, 1, -2]], lambda image: image[[0, 0, 1, 2, 3]][:, [0, 0, 0, 1, 2]]),
    "far_up_and_left": ([[1, 0, 90], [0, 1, 90]], lambda image: np.broadcast_to(image[4, 4], image.shape)),
}


@pytest.mark.parametrize(("matrix", "wanted"), WHOLE.values(), ids=WHOLE.keys())
def test_gather_batch_is_exact_where_the_matrix_is_whole(backend, rng, matrix, wanted):
    images = rng.integers(0, 256, (3, 5, 5, 2), dtype=np.uint8)
    np.testing.assert_array_equal(gathered(backend, images, matrix), wanted(images[1]).astype(float))


def test_gather_batch_mixes_rows_and_columns_by_their_fractions(backend):
    """Input position (0.25, 0.5) of a single bright pixel at (0, 1), and its neighbours."""
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
    channels = images.shape[3]
    return compute(
        backend,
        "gather_batch",
        images,
        np.array([1]),
        np.array([matrix], np.float32),
        np.array([rectangle], np.int32),
        None,
        np.ones(channels),
        np.full(channels, float(offset)),
    )[0]


# --- updates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("op", ["sgd_update", "adam_update"])
def test_twenty_updates_follow_the_papers(backend, op, decoupled):
    """Small errors of one step must not grow: the state carries them on."""
    rng = np.random.default_rng(4)
    slots = 1 if op == "sgd_update" else 2
    wanted = [rng.normal(size=12).astype("float32").astype(float), *(np.zeros(12) for _ in range(slots))]
    actual = [backend.ops.array(tensor.astype(backend.dtype)) for tensor in wanted]
    options = {"weight_decay": 0.01, "decoupled": decoupled}
    options |= {"nesterov": True} if slots == 1 else {"beta2": 0.99, "eps": 1e-8}
    numbers = {"learning_rate": np.array([0.05], np.float32)}
    numbers["momentum" if slots == 1 else "beta1"] = np.array([0.9], np.float32)
    clock = backend.ops.array(np.array([0, 0, 0]))
    placed = options | {name: backend.ops.array(number) for name, number in numbers.items()}
    options |= numbers
    for step in range(1, 21):
        grad = rng.normal(size=12).astype("float32").astype(float)
        backend.ops.copy_in(clock, np.array([step, 0, 0]))
        numbered = ({}, {}) if slots == 1 else ({"clock": np.array([step])}, {"clock": clock})
        wanted = list(getattr(oracles, op)(wanted[0], grad, *wanted[1:], **options, **numbered[0]))
        gradient = backend.ops.array(grad.astype(backend.dtype))
        getattr(backend.ops, op)(actual[0], gradient, *actual[1:], **placed, **numbered[1])
    most = {"float64": 1e-13, "float32": 2e-5}[backend.dtype]
    for own, other in zip(actual, wanted, strict=True):
        assert_close(backend.ops.to_numpy(own), other, most)


@pytest.mark.parametrize("size", [1, 37, 64, 70_001])
@pytest.mark.parametrize("op", ["sgd_update", "adam_update"])
def test_updates_fill_a_copy_with_the_rounded_parameters_and_are_the_same_without(backend, op, size):
    rng, ops = np.random.default_rng(size), backend.ops
    given = [rng.normal(size=size).astype(backend.dtype) for _ in range(2)]
    given += [rng.uniform(0.1, 2, size).astype(backend.dtype) for _ in range(1 if op == "sgd_update" else 2)]
    options = {"learning_rate": ops.array(np.array([0.05], np.float32)), "weight_decay": 0.01, "decoupled": True}
    inertia = ops.array(np.array([0.9], np.float32))
    options |= {"momentum": inertia, "nesterov": True}
    if op == "adam_update":
        options = {name: options[name] for name in ("learning_rate", "weight_decay", "decoupled")}
        options |= {"beta1": inertia, "beta2": 0.99, "eps": 1e-8}
        options["clock"] = ops.array(np.array([3, 0, 0]))
    copy, found = ops.stored(ops.array(np.full(size, np.nan, backend.dtype)), "bfloat16"), []
    for extra in ({}, {"copy": copy}):
        arrays = [ops.array(values) for values in given]
        getattr(ops, op)(*arrays, **options, **extra)
        found.append([np.array(ops.to_numpy(array)) for array in arrays])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    mantissa, exponent = np.frexp(found[0][0].astype(np.float32))  # 8 bits of precision, ties to even
    np.testing.assert_array_equal(ops.to_numpy(copy), np.ldexp(np.rint(mantissa * 2**8), exponent - 8))


@pytest.mark.parametrize("beta2", [0.999, 0.99999])  # near 1, 1 - beta2 loses digits unless it is taken care of
def test_the_first_adam_step_is_the_learning_rate_in_the_sign_of_the_gradient(backend, beta2):
    array = backend.ops.array
    p, m, v = (array(np.zeros(3, backend.dtype)) for _ in range(3))
    options = {"learning_rate": array(np.array([0.1], np.float32)), "clock": array(np.array([1]))}
    options |= {
        "beta1": array(np.array([0.9], np.float32)),
        "beta2": beta2,
        "eps": 1e-12,
        "weight_decay": 0.0,
        "decoupled": False,
    }
    backend.ops.adam_update(p, array(np.array([1e-3, -5, 2], backend.dtype)), m, v, **options)
    np.testing.assert_allclose(backend.ops.to_numpy(p), [-0.1, 0.1, -0.1], rtol=1e-5)


def test_clipping_leaves_the_direction_and_the_limit_as_the_norm(backend, rng):
    grads = rng.normal(size=5001).astype("float32")
    placed = backend.ops.array(grads.astype(backend.dtype))
    norm = float(backend.ops.clip_by_global_norm(placed, 2.5))
    clipped = np.array(backend.ops.to_numpy(placed)).astype(float)
    assert norm == pytest.approx(np.linalg.norm(grads.astype(float)), rel=1e-6)
    assert np.linalg.norm(clipped) == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(clipped / grads, 2.5 / norm, rtol=1e-5)
    assert float(backend.ops.clip_by_global_norm(placed, 2.6)) == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_array_equal(backend.ops.to_numpy(placed), clipped.astype(backend.dtype))


def test_a_gradient_that_is_not_a_number_stays_one_when_clipped(backend):
    """It must show in the parameters, not vanish."""
    grads = np.ones(70)
    grads[3] = np.nan
    placed = backend.ops.array(grads.astype(backend.dtype))
    assert np.isnan(float(backend.ops.clip_by_global_norm(placed, 1.0)))
    assert np.isnan(np.array(backend.ops.to_numpy(placed))[3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_engines_loss_of_rows_that_are_not_numbers_is_the_references(dtype):
    """NaN, infinities and a weight of 0 in some rows; the sums of the others are not touched."""
    rows = [
        [np.nan, 0, 1],
        [0, np.inf, 1],
        [np.inf, np.inf, 0],
        [-np.inf, 2, 1],
        [-np.inf, -np.inf, -np.inf],
        [1, 2, 3],
    ]
    for smoothing in (0.0, 0.1):
        for label in range(3):
            for weights in ((1, 1, 1), (0, 2, 1)):
                labels, counts = np.full(len(rows), label), [np.zeros(3), np.zeros(3)]
                with np.errstate(all="ignore"):
                    (loss, dlogits), (wanted, gradient) = (
                        get_ops(name).cross_entropy(
                            *(np.array(rows, dtype), labels, np.array(weights, dtype), smoothing), totals=kept
                        )
                        for name, kept in zip(("cpu", "numpy"), counts, strict=True)
                    )
                np.testing.assert_allclose(dlogits, gradient, rtol=2e-6)
                np.testing.assert_allclose(loss, wanted, rtol=2e-6)
                np.testing.assert_array_equal(counts[0][1:], counts[1][1:])


@pytest.mark.parametrize("label", [3, 100])
def test_a_label_beyond_the_classes_is_an_error_on_the_engine_too(label):
    with pytest.raises(IndexError):
        get_ops("cpu").cross_entropy(np.zeros((2, 3), np.float32), np.array([0, label]), np.ones(3, np.float32))
