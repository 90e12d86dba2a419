"""Mixup and CutMix: what is drawn, and what the step makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from cnn.training.batches import AugmentSettings
from cnn.training.mixing import UNMIXED, mixing_of_epoch
from cnn.training.optimizers import SgdSettings
from cnn.training.progress import Progress
from foundation.errors import UserError


def drawn(steps=2000, hw=(20, 30), seed=3, epoch=2, **settings):
    return mixing_of_epoch(AugmentSettings(**settings), hw, seed, epoch, steps)


def test_without_it_nothing_is_mixed():
    assert (drawn() == UNMIXED).all()
    assert (drawn(mixup=1.0, cutmix=1.0, mix_probability=0.0) == UNMIXED).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_share_of_mixup_is_beta_distributed(alpha):
    mixing = drawn(mixup=alpha)
    np.testing.assert_array_equal(mixing[:, 0], mixing[:, 1])
    assert not mixing[:, 2:].any()
    assert stats.kstest(mixing[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_the_share_of_cutmix_is_that_of_the_pixels_that_stay():
    mixing = drawn(cutmix=1.0)
    assert (mixing[:, 1] == 1).all()
    top, left, tall, wide = mixing[:, 2:].T
    assert (mixing[:, 2:] >= 0).all()
    assert (top + tall <= 20).all()
    assert (left + wide <= 30).all()
    np.testing.assert_allclose(mixing[:, 0], 1 - tall * wide / 600, rtol=1e-6)
    assert 0.1 < np.quantile(1 - mixing[:, 0], 0.25) < 0.3  # uniform but for what the edge cuts off
    assert len(np.unique(top)) > 15
    # The rectangle has the shape of the image, but for the edge.
    inside = (top > 0) & (left > 0) & (top + tall < 20) & (left + wide < 30) & (tall > 5)
    np.testing.assert_allclose(wide[inside] / tall[inside], 1.5, atol=0.25)


def test_one_of_the_two_at_random_and_in_a_part_of_the_steps():
    mixing = drawn(mixup=0.4, cutmix=1.0, mix_probability=0.6)
    mixes, cuts = mixing[:, 1] < 1, mixing[:, 4] > 0
    assert not (mixes & cuts).any()
    assert 0.25 < mixes.mean() < 0.35
    assert 0.25 < cuts.mean() < 0.35


def test_the_numbers_depend_on_seed_and_epoch_alone():
    settings = {"mixup": 0.4, "cutmix": 1.0}
    np.testing.assert_array_equal(drawn(**settings), drawn(**settings))
    np.testing.assert_array_equal(drawn(steps=50, **settings), drawn(**settings)[:50])
    assert (drawn(seed=4, **settings) != drawn(**settings)).any()
    assert (drawn(epoch=3, **settings) != drawn(**settings)).any()


@pytest.mark.parametrize("augment", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 0.5}], ids=str)
def test_a_network_learns_from_mixed_images(make_trainer, pack, augment):
    trainer = make_trainer(augment=augment, epochs=12)
    with Progress() as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    assert trainer.best.value > 0.85  # chance: 0.33
    assert trainer.history[-1]["train_loss"] > 0.2  # of labels that are shared the loss has a floor


@pytest.mark.parametrize(
    "settings",
    [
        {"mixup": -1.0},
        {"cutmix": float("inf")},
        {"mix_probability": 1.5},
        {"crop": 0.0},
        {"crop": 1.5},
        {"contrast": 1.0},
        {"brightness": -0.1},
        {"brightness": float("nan")},
    ],
    ids=str,
)
def test_settings_without_sense_are_refused(settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"^augment.{name} ") as caught:
        AugmentSettings(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("augment", [{}, {"mixup": 0.5, "cutmix": 0.5}])
def test_soft_labels_train_as_their_distributions(make_trainer, pack, rng, augment):
    """Targets that are all on a label give the same run as the label; others give the loss of their formula."""
    train, states = pack.splits["train"], []
    one_hot = np.eye(3, dtype=np.float32)[train.host_labels]
    soft = rng.dirichlet(np.ones(3), len(train)).astype(np.float32)
    for targets in (None, one_hot, soft):
        trainer = make_trainer(None, epochs=1, augment=augment, batch_size=45)
        with Progress(False, False) as progress:
            trainer.fit(replace(train, targets=targets), None, progress)
        states.append((trainer.history[0]["train_loss"], trainer.model.state()))
    assert states[0][0] == pytest.approx(states[1][0], rel=1e-6)
    for name, tensor in states[0][1].items():
        np.testing.assert_allclose(states[1][1][name], tensor, rtol=1e-4, atol=1e-6, err_msg=name)
        assert "batch_norm" in name or not np.allclose(states[2][1][name], tensor, rtol=1e-4, atol=1e-6)


def test_the_loss_of_soft_labels_is_their_cross_entropy(make_trainer, pack, rng, ops):
    """Of a step with all images and without an update, by the formula."""
    train = pack.splits["train"]
    targets = rng.dirichlet(np.ones(3), len(train)).astype(np.float32)
    layers = ["flatten", {"dense": "classes"}]
    still = SgdSettings(learning_rate=1e-30)
    trainer = make_trainer(None, epochs=1, augment={"flip": False}, batch_size=90, layers=layers, optimizer=still)
    logits = trainer.model.forward(trainer.batches.plain(train.images, np.arange(len(train))), False)[0]
    with Progress(False, False) as progress:
        trainer.fit(replace(train, targets=ops.array(targets)), None, progress)
    expected = -(targets * special.log_softmax(logits.astype(float), axis=1)).sum(axis=1).mean()
    assert trainer.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
