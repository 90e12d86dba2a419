"""Schedules, the best epoch, class weights, pixel scaling, optimizers: each against its formula."""

import math

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cnn.models import build_model
from cnn.training.best import Best
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.optimizers import OPTIMIZERS, Adam, Sgd, build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.schedules import ScheduleSettings, build_schedule
from foundation.config import typed
from foundation.errors import UserError

# --- schedules ----------------------------------------------------------------------------------------------------


def rates(total, learning_rate=0.2, **settings):
    schedule = build_schedule(ScheduleSettings(**settings), learning_rate, total)
    return np.array([schedule.learning_rate(step) for step in range(1, total + 1)])


def test_constant_schedule_leaves_the_rate():
    assert set(rates(50)) == {0.2}


def test_cosine_without_warmup_falls_from_the_full_rate_to_the_end():
    found = rates(100, name="cosine", end=0.1)
    expected = [0.2 * (0.1 + 0.9 * (1 + math.cos(math.pi * done / 100)) / 2) for done in range(100)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == 0.2
    assert 0.02 < found[-1] < 0.0201
    assert (np.diff(found) < 0).all()


def test_cosine_with_warmup_rises_in_a_line_and_then_falls():
    found = rates(100, name="cosine", warmup=0.2, start=0.1)
    np.testing.assert_allclose(np.diff(found[:20]), 0.2 * 0.9 / 20, rtol=1e-9)
    assert found[0] == pytest.approx(0.2 * (0.1 + 0.9 / 20))
    assert found.argmax() == 19
    assert found[19] == pytest.approx(0.2)
    # 81 steps from the peak at step 20 to step 101, where the rate would be 0
    np.testing.assert_allclose(found[19:], 0.1 * (1 + np.cos(np.pi * np.arange(81) / 81)), rtol=1e-9)


def test_one_cycle_begins_low_peaks_at_its_fraction_and_ends_near_nothing():
    found = rates(200, name="one_cycle", warmup=0.3, start=0.04, end=1e-4)
    assert found[0] == pytest.approx(0.2 * (0.04 + 0.96 / 60))
    assert found.argmax() == 59
    assert found.max() == pytest.approx(0.2)
    assert 1e-4 < found[-1] / 0.2 < 3e-4
    assert (np.diff(found[:60]) > 0).all()
    assert (np.diff(found[59:]) < 0).all()


def test_the_momentum_of_one_cycle_mirrors_its_rate():
    schedule = build_schedule(ScheduleSettings(name="one_cycle", warmup=0.3, base_momentum=0.85), 0.2, 200)
    momenta = np.array([schedule.momentum(step, 0.95) for step in range(1, 201)])
    own = np.array([schedule.learning_rate(step) for step in range(1, 201)])
    np.testing.assert_allclose(momenta, 0.95 - 0.1 * own / 0.2, rtol=1e-12)
    assert momenta.argmin() == 59
    assert momenta.min() == pytest.approx(0.85)


def test_other_schedules_leave_the_momentum():
    for settings in ({}, {"name": "cosine"}, {"name": "plateau"}, {"name": "one_cycle"}):
        schedule = build_schedule(ScheduleSettings(**settings), 0.2, 50)
        assert {schedule.momentum(step, 0.9) for step in range(1, 51)} == {0.9}


@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 4999])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (0.04, 1e-4), (0.5, 0.5)])
@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_every_step_trains_and_the_rate_rises_once_and_falls_once(name, total, warmup, start, end):
    found = rates(total, name=name, warmup=warmup, start=start, end=end) / 0.2
    assert (found > min(start, end)).all()
    assert (found <= 1).all()
    peak = found.argmax()
    assert (np.diff(found[: peak + 1]) > 0).all()
    assert (np.diff(found[peak:]) < 0).all()
    # Without a jump: no two steps are further apart than the line of the rise or the steepest part of the cosine.
    steepest = max(1 / max(1.0, warmup * total), math.pi / 2 / (total * (1 - warmup)))
    assert (np.abs(np.diff(found)) <= steepest * (1 + 1e-9)).all()


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "plateau"])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.9])
def test_a_run_of_one_step_trains_at_the_base_rate(name, warmup):
    assert rates(1, name=name, warmup=warmup) == [0.2]


def test_plateau_against_a_sequence_by_hand():
    schedule = build_schedule(ScheduleSettings(name="plateau", factor=0.5, patience=2, minimum=0.02), 0.1, 100)
    told = [
        # value told, rate after it
        (0.50, 0.1),  # the first is the best
        (0.50, 0.1),  # equal is not better: waited 1
        (0.60, 0.1),  # better: waiting starts anew
        (0.55, 0.1),  # waited 1
        (0.60, 0.05),  # waited 2: halved, waiting starts anew
        (0.10, 0.05),  # 1
        (0.10, 0.025),  # 2
        (0.61, 0.025),  # better
        (0.00, 0.025),  # 1
        (0.00, 0.02),  # 2: 0.0125 is below the minimum
        (0.00, 0.02),
        (0.00, 0.02),
    ]
    for step, (value, rate) in enumerate(told, start=1):
        schedule.epoch_end(value)
        assert schedule.learning_rate(step) == pytest.approx(rate)


def test_plateau_never_raises_the_rate():
    schedule = build_schedule(ScheduleSettings(name="plateau", patience=1, minimum=1e-3), 1e-4, 100)
    for _ in range(3):
        schedule.epoch_end(0.5)
    assert schedule.learning_rate(1) == 1e-4


def test_plateau_goes_on_from_its_state():
    settings = ScheduleSettings(name="plateau", patience=2)
    values = [0.5, 0.4, 0.3, 0.6, 0.5, 0.2, 0.1]
    whole = build_schedule(settings, 0.1, 10)
    for value in values:
        whole.epoch_end(value)
    for split in range(len(values)):
        first, second = build_schedule(settings, 0.1, 10), build_schedule(settings, 0.1, 10)
        for value in values[:split]:
            first.epoch_end(value)
        second.load_state(first.state())
        for value in values[split:]:
            second.epoch_end(value)
        assert second.state() == whole.state()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "steps"}, r"schedule\.name is 'steps'; choose one of: constant, cosine, one_cycle, plateau"),
        ({"name": "cosine", "warmup": 1.0}, r"schedule\.warmup is a fraction of all steps"),
        ({"name": "cosine", "warmup": -0.1}, r"schedule\.warmup is a fraction of all steps"),
    ],
)
def test_schedules_without_sense_are_refused(settings, says):
    with pytest.raises(UserError, match=says):
        build_schedule(ScheduleSettings(**settings), 0.1, 100)


# --- the best epoch -----------------------------------------------------------------------------------------------


def test_best_keeps_the_first_of_equals_and_counts_the_epochs_since():
    best = Best(patience=2)
    assert [best.update(value, epoch) for epoch, value in enumerate([0.3, 0.5, 0.5, 0.4], start=1)] == [
        True,
        True,
        False,
        False,
    ]
    assert (best.value, best.epoch) == (0.5, 2)
    assert [best.exhausted(epoch) for epoch in (2, 3, 4)] == [False, False, True]
    assert not Best().exhausted(10_000)


def test_best_goes_on_from_its_state():
    for values in ([], [0.3, 0.2]):
        first, second = Best(patience=3), Best(patience=3)
        for epoch, value in enumerate(values, start=1):
            first.update(value, epoch)
        second.load_state(first.state())
        assert second == first


# --- loss and class weights ---------------------------------------------------------------------------------------


def test_balanced_class_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2, 3], [5, 10, 40, 1])
    weights = class_weights("balanced", labels, 4)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(4), y=labels), rtol=1e-6)
    np.testing.assert_allclose(weights, 56 / (4 * np.array([5, 10, 40, 1])), rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)  # the loss keeps its size


def test_a_class_without_images_weighs_one():
    weights = class_weights("balanced", np.array([0, 0, 2]), 4)
    assert weights[[1, 3]].tolist() == [1, 1]
    assert np.isfinite(weights).all()


def test_no_class_weights_are_ones_and_an_unknown_rule_is_refused():
    assert class_weights("none", np.array([0, 0, 1]), 3).tolist() == [1, 1, 1]
    with pytest.raises(UserError, match=r"trainer\.class_weights is 'inverse'; choose none or balanced"):
        class_weights("inverse", np.array([0]), 3)


def test_cross_entropy_with_weights_and_smoothing_by_hand(ops):
    logits, labels = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]]), np.array([0, 2])
    loss, gradient = CrossEntropy(ops, np.array([1, 2, 5], np.float32), smoothing=0.3)(logits, labels)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    assert float(loss) == pytest.approx(-(1 * (targets[0] @ logs[0]) + 5 * (targets[1] @ logs[1])) / 2)
    np.testing.assert_allclose(gradient, np.array([[1], [5]]) / 2 * (np.exp(logs) - targets))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(ops, smoothing):
    with pytest.raises(UserError, match=r"trainer\.label_smoothing must be from 0 to below 1"):
        CrossEntropy(ops, np.ones(3, np.float32), smoothing)


# --- pixels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_standardized_pixels_have_zero_mean_and_unit_deviation(channels):
    images = np.random.default_rng(0).integers(20, 200, (40, 9, 7, channels), dtype=np.uint8)
    scaling = PixelScaling.fit("standardize", images)
    mean, deviation = (getattr(images.astype(float), f)(axis=(0, 1, 2)) for f in ("mean", "std"))
    np.testing.assert_allclose(scaling.scale, 1 / deviation, rtol=1e-6)
    np.testing.assert_allclose(scaling.offset, -mean / deviation, rtol=1e-6)
    assert scaling.scale.dtype == scaling.offset.dtype == np.float32
    scaled = images * scaling.scale.astype(float) + scaling.offset
    np.testing.assert_allclose(scaled.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=(0, 1, 2)), 1, rtol=1e-6)


def test_unit_pixels_run_from_zero_to_one():
    scaling = PixelScaling.fit("unit", np.zeros((1, 2, 2, 3), np.uint8))
    np.testing.assert_allclose(scaling.scale, [1 / 255] * 3)
    assert scaling.offset.tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_channel_becomes_zero_and_not_infinite(value):
    scaling = PixelScaling.fit("standardize", np.full((3, 4, 5, 1), value, np.uint8))
    np.testing.assert_allclose(value * scaling.scale + scaling.offset, 0, atol=1e-6)


def test_unknown_scaling_is_refused():
    with pytest.raises(UserError, match=r"trainer\.pixels is 'zscore'; choose unit or standardize"):
        PixelScaling.fit("zscore", np.zeros((1, 2, 2, 1), np.uint8))


# --- optimizers ---------------------------------------------------------------------------------------------------


def small_model(ops):
    layers = ["flatten", {"dense": 4}, "batch_norm", "prelu", {"dense": "classes"}]
    return build_model({"name": "m", "layers": layers}, ops, (3, 3, 1), 2, seed=0)


def optimizer_of(ops, name, **settings):
    return build_optimizer(OPTIMIZERS[name](**settings), small_model(ops))


def update(optimizer, gradient, rate=0.1, step=1):
    """One update by `gradient`, which is everywhere the same or given by name."""
    for name, place in optimizer.model.gradients.tensors.items():
        place[...] = gradient[name] if isinstance(gradient, dict) else gradient
    momentum = np.array([optimizer.momentum], np.float32)
    optimizer.step(np.array([rate], np.float32), momentum, np.array([step, 0, 0]))


def test_the_settings_choose_the_optimizer(ops):
    assert isinstance(optimizer_of(ops, "sgd"), Sgd)
    assert isinstance(optimizer_of(ops, "adam"), Adam)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("sgd", {"beta1": 0.9}, r"optimizer.*beta1"),
        ("adam", {"learning_rate": "fast"}, r"optimizer\.learning_rate"),
        ("adam", {"learning_rate": 0}, r"optimizer\.learning_rate must be above 0, not 0"),
        ("sgd", {"learning_rate": -1}, r"optimizer\.learning_rate must be above 0, not -1"),
        ("sgd", {"learning_rate": math.nan}, r"optimizer\.learning_rate must be above 0, not nan"),
        ("sgd", {"momentum": 1}, r"optimizer\.momentum must be from 0 to below 1, not 1"),
        ("sgd", {"weight_decay": -1e-3}, r"optimizer\.weight_decay must be at least 0, not -0\.001"),
        ("adam", {"beta1": -0.1}, r"optimizer\.beta1 must be from 0 to below 1, not -0\.1"),
        ("adam", {"beta2": 1.0}, r"optimizer\.beta2 must be from 0 to below 1, not 1"),
        ("adam", {"eps": 0}, r"optimizer\.eps must be above 0, not 0"),
    ],
)
def test_bad_optimizers_are_refused_by_key(name, settings, says):
    with pytest.raises(UserError, match=says) as caught:
        typed({"optimizer": {"name": name} | settings}, "optimizer", OPTIMIZERS[name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_weight_decay_shrinks_weights_and_nothing_else(ops, name):
    optimizer = optimizer_of(ops, name, weight_decay=0.5, decoupled=True)
    before = optimizer.model.state()
    update(optimizer, 0)
    for key, tensor in optimizer.model.state().items():
        factor = 1 - 0.1 * 0.5 if key.endswith(".weight") else 1
        np.testing.assert_allclose(tensor, before[key] * factor, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_an_optimizer_goes_on_from_its_state(ops, name):
    rng = np.random.default_rng(1)
    first, second = (optimizer_of(ops, name) for _ in range(2))
    gradients = [
        {key: rng.normal(size=tensor.shape) for key, tensor in first.model.values.tensors.items()} for _ in range(4)
    ]
    for step in (1, 2):
        update(first, gradients[step - 1], step=step)
    second.model.load_state(first.model.state(), "a file")
    second.load_state(first.state())
    for step in (3, 4):
        update(first, gradients[step - 1], step=step)
        update(second, gradients[step - 1], step=step)
    for key, tensor in first.model.state().items():
        np.testing.assert_array_equal(tensor, second.model.state()[key])


def test_moments_of_other_shapes_are_refused_and_nothing_has_changed(ops):
    """More numbers would go into the moments behind them."""
    optimizer = optimizer_of(ops, "adam")
    update(optimizer, 1.0)
    before = optimizer.state()
    for shape in ((9, 5), (9, 3), (36,), (4, 9)):
        state = {name: np.full_like(tensor, 7) for name, tensor in before.items()}
        with pytest.raises(UserError, match=r"second_moment of dense_1\.weight has shape .*, the model needs \(9, 4\)"):
            optimizer.load_state(state | {"second_moment/dense_1.weight": np.zeros(shape, np.float32)})
    for name, tensor in optimizer.state().items():
        np.testing.assert_array_equal(tensor, before[name])


def test_a_state_of_another_optimizer_or_model_is_refused(ops):
    sgd, adam = optimizer_of(ops, "sgd"), optimizer_of(ops, "adam")
    missing = dict(list(adam.state().items())[1:])
    for state in (sgd.state(), missing, adam.state() | {"first_moment/x": np.zeros(1)}):
        with pytest.raises(UserError, match="optimizer state is of another optimizer or model"):
            adam.load_state(state)
