"""The range test against a softmax regression written out, and its rates, smoothing and end by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from cnn.models.builder import build_model
from cnn.training.batches import epoch_order
from cnn.training.optimizers import SgdSettings
from cnn.training.progress import Progress
from cnn.training.rate_range import RateRange, growing_rates, range_test
from cnn.training.teacher import DistilSettings, Teacher
from foundation.errors import UserError

DENSE = ["flatten", {"dense": {"units": "classes"}}]
PLAIN = SgdSettings(learning_rate=1, momentum=0.0, nesterov=False)


def ran(make_trainer, pack, rates, smoothing=0.9, **options):
    options = {"folder": None, "optimizer": PLAIN, "layers": DENSE, "augment": {"shift": 0.0}} | options
    trainer = make_trainer(**options)
    weights = trainer.model.state()
    return range_test(trainer, pack.splits["train"], rates, Progress(False, False), smoothing), trainer, weights


@pytest.mark.parametrize("batch_size", [16, 90, 37])
def test_each_step_is_one_of_softmax_regression_at_its_rate(make_trainer, pack, ops, batch_size):
    """Over more than one epoch, with a smaller last batch."""
    rates = growing_rates(1e-3, 0.5, 23)
    found, trainer, weights = ran(make_trainer, pack, rates, batch_size=batch_size)
    train = pack.splits["train"]
    indices = ops.array(np.arange(len(train)))
    x = ops.to_numpy(trainer.batches.plain(train.images, indices)).reshape(len(train), -1).astype(np.float64)
    w, b = (weights[f"dense_1.{name}"].astype(np.float64) for name in ("weight", "bias"))
    expected, epoch = [], 0
    while len(expected) < len(rates):
        epoch += 1
        order = epoch_order(len(train), trainer.seed, epoch)
        for start in range(0, len(order), batch_size):
            if len(expected) == len(rates):
                break
            batch = order[start : start + batch_size]
            p = softmax(x[batch] @ w + b, axis=1)
            own = np.arange(len(batch)), train.host_labels[batch]
            rate = rates[len(expected)]
            expected.append(-np.log(p[own]).mean())
            p[own] -= 1
            w, b = w - rate * x[batch].T @ p / len(batch), b - rate * p.mean(axis=0)
    np.testing.assert_allclose(found.losses, expected, rtol=2e-4)
    np.testing.assert_array_equal(found.rates, rates)


@pytest.mark.parametrize("part", ["mixup", "lookahead", "soft labels", "a teacher", "momentum"])
def test_its_steps_are_those_of_training(make_trainer, pack, ops, part):
    """At a constant rate: the weights of both after two epochs."""
    options = {
        "folder": None, "optimizer": SgdSettings(learning_rate=0.05, momentum=0.9 if part == "momentum" else 0.0),
        "augment": {"shift": 0.1} | ({"mixup": 0.4, "cutmix": 1.0} if part == "mixup" else {}), "epochs": 2,
    } | ({"lookahead": 3} if part == "lookahead" else {})  # fmt: skip
    train = pack.splits["train"]
    if part == "soft labels":
        soft = np.random.default_rng(1).dirichlet(np.ones(3), len(train)).astype(np.float32)
        train = replace(train, targets=ops.array(soft))
    trained, tested, plain = (make_trainer(**options) for _ in range(3))
    if part == "a teacher":
        for trainer in (trained, tested):
            teacher = build_model({"name": "a", "layers": DENSE}, ops, pack.image_shape, 3, seed=7)
            trainer.teacher = Teacher(ops, [teacher], DistilSettings(["a run"], 0.5), 16, 3)
    steps = 2 * -(-len(train) // 16)
    with Progress(False, False) as progress:
        trained.fit(train, None, progress)
        range_test(tested, train, np.full(steps, 0.05), progress)
        plain.fit(pack.splits["train"], None, progress)
    for name, weights in trained.model.state().items():
        np.testing.assert_array_equal(tested.model.state()[name], weights, name)
    if part in ("soft labels", "a teacher"):
        assert any((plain.model.state()[name] != weights).any() for name, weights in trained.model.state().items())


def test_the_smoothed_loss_is_the_weighted_mean_of_the_losses(make_trainer, pack):
    found, _, _ = ran(make_trainer, pack, growing_rates(1e-4, 0.01, 20), smoothing=0.7)
    for number in range(20):
        weights = 0.7 ** np.arange(number, -1, -1)
        assert found.smoothed[number] == pytest.approx(np.average(found.losses[: number + 1], weights=weights))


def test_rates_grow_by_one_factor():
    rates = growing_rates(1e-5, 2.0, 40)
    assert rates[0] == pytest.approx(1e-5)
    assert rates[-1] == pytest.approx(2)
    np.testing.assert_allclose(rates[1:] / rates[:-1], (2 / 1e-5) ** (1 / 39))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_it_ends_when_the_loss_diverges(make_trainer, pack):
    found, _, _ = ran(make_trainer, pack, growing_rates(1e-3, 1e6, 60))
    assert 10 < len(found.rates) < 60
    assert np.isfinite(found.losses).all()
    assert found.smoothed[-1] > 2 * found.smoothed.min()
    assert found.suggested < found.rates[-1] / 10
    assert found.suggested == pytest.approx(found.lowest / 10)


def test_the_noise_of_the_first_steps_is_not_the_lowest_loss():
    losses = np.array([0.1, *np.full(10, 2.0), 1.5, 1.2, 1.4, 3.0])
    rates = np.geomspace(1e-5, 1, len(losses))
    assert RateRange(rates, losses, losses).lowest == rates[12]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((0, 1, 50), "lowest=0"),
        ((1, 0.1, 50), "highest=0.1"),
        ((1e-5, float("inf"), 50), "inf"),
        ((1e-5, 1, 3), "steps"),
    ],
)
def test_rates_that_do_not_grow_are_refused(given, words):
    with pytest.raises(UserError, match=words):
        growing_rates(*given)


def test_a_smoothing_of_one_is_refused(make_trainer, pack):
    with pytest.raises(UserError, match="smoothing"):
        ran(make_trainer, pack, growing_rates(1e-3, 1, 20), smoothing=1.0)
